//! The blocks of a pcapng file, one by one (draft-ietf-opsawg-pcapng).
//!
//! `pcap-file` writes our captures, but doesn't read pcapng here: its reader (2.0) says neither where an error is nor which number is wrong, and
//! ends with an error at any block above 8 MB, also of a type that could be skipped. A test holds both readers side by side.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::error::{ReadError, Reason};

// Block types, pcapng draft, section 11.1.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

// Options: for all blocks, of interface descriptions, of interface statistics.
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_IFRECV: u16 = 4;

/// Longest block that is held in memory; the largest TLP with all its prefixes has less than 5 KiB. Blocks of types that we don't
/// need may be longer: they are skipped.
pub(super) const MAX_BLOCK: u32 = 1 << 20;

/// Bytes of a packet block's body before the packet.
const PACKET_FIXED: usize = 20;

/// Most interfaces of a section: two for each link that a fabric can have.
pub(super) const MAX_INTERFACES: usize = 1 << 15;

/// An interface of a capture: in ours, a link and direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `host-rc -> switch`; empty if it has none.
    pub name: String,
    /// What its packets are (tcpdump.org's list of link types).
    pub link_type: u16,
    /// `if_tsresol`.
    pub resolution: u8,
}

/// A block that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// A section begins.
    Section,
    /// An interface was described.
    Interface,
    /// A packet: see [`Blocks::packet`].
    Packet,
    /// A packet in an older kind of block, which is skipped: it has no time, or its makers advise against it.
    OldPacket,
    /// Any other block.
    Other,
}

/// The packet of the current block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawPacket<'a> {
    /// Its interface.
    pub(crate) interface: &'a Interface,
    /// Its timestamp in the interface's units.
    pub(crate) timestamp: u64,
    /// Bytes that the packet had.
    pub(crate) original: u32,
    /// Bytes of it that the block has room for.
    pub(crate) room: usize,
    /// What was captured.
    pub(crate) data: &'a [u8],
}

/// Reads blocks. After an error it gives nothing more.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: BufReader<R>,
    offset: u64,
    big_endian: bool,
    comment: Option<String>,
    interfaces: Vec<Interface>,
    /// The body of the current block.
    body: Vec<u8>,
    packets: u64,
    announced: BTreeMap<u32, u64>,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    /// Reads the section header.
    pub(crate) fn new(input: R) -> Result<Blocks<R>, ReadError> {
        let mut blocks = Blocks {
            input: BufReader::with_capacity(1 << 16, input),
            offset: 0,
            big_endian: true,
            comment: None,
            interfaces: Vec::new(),
            body: Vec::new(),
            packets: 0,
            announced: BTreeMap::new(),
            ended: false,
        };
        match blocks.next_block()? {
            // Nothing else can come first: `read_block` sees to it.
            Some(_) => Ok(blocks),
            None => Err(at(0, Reason::Truncated { missing: 28 })),
        }
    }

    /// The section's comment.
    pub(crate) fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The interfaces described so far.
    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// How far reading has come, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether each interface, of which there is one at least, had a count of its packets, and all packets were there.
    pub(crate) fn is_complete(&self) -> bool {
        let announced = self.announced.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let all = !self.interfaces.is_empty() && self.announced.len() == self.interfaces.len();
        all && announced == self.packets
    }

    /// Reads blocks until an interface is described: gives the first one. `None` if the file ends before it.
    pub(crate) fn first_interface(&mut self) -> Result<Option<&Interface>, ReadError> {
        while self.interfaces.is_empty() {
            match self.next_block()? {
                Some((offset, Block::Packet)) => {
                    if let Err(reason) = self.packet().map(drop) {
                        return Err(self.fail(offset, reason));
                    }
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(self.interfaces.first())
    }

    /// Reads a block, and takes up what sections and interfaces say. Gives where it begins, and what it is; `None` at the end.
    pub(crate) fn next_block(&mut self) -> Result<Option<(u64, Block)>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        match self.read_block() {
            Ok(Some(kind)) => Ok(Some((offset, kind))),
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(Failure::Rule(reason)) => Err(self.fail(offset, reason)),
            Err(Failure::Io(source)) => {
                self.ended = true;
                Err(ReadError::Io { offset: self.offset, source })
            }
        }
    }

    /// Ends reading: a rule is broken by the block at `offset`.
    pub(crate) fn fail(&mut self, offset: u64, reason: Reason) -> ReadError {
        self.ended = true;
        at(offset, reason)
    }

    /// The packet of the block that was read last, if it was one.
    pub(crate) fn packet(&self) -> Result<RawPacket<'_>, Reason> {
        let [found, high, low, captured, original] = [0, 4, 8, 12, 16].map(|offset| self.u32_at(offset));
        let count = self.interfaces.len();
        let interface = self.interfaces.get(found as usize).ok_or(Reason::Interface { found, count })?;
        let room = self.body.len().saturating_sub(PACKET_FIXED);
        let end = PACKET_FIXED.saturating_add(captured as usize);
        let data = self.body.get(PACKET_FIXED..end).ok_or(Reason::Captured { original, captured, room })?;
        let timestamp = u64::from(high) << 32 | u64::from(low);
        Ok(RawPacket { interface, timestamp, original, room, data })
    }

    fn read_block(&mut self) -> Result<Option<Block>, Failure> {
        let mut head = [0; 8];
        match self.fill(&mut head)? {
            0 => return Ok(None),
            8 => {}
            has => return Err(truncated(8 - has as u64)),
        }
        let [k0, k1, k2, k3, l0, l1, l2, l3] = head;
        let (kind, length) = ([k0, k1, k2, k3], [l0, l1, l2, l3]);
        // A section header is the same in both byte orders; which one it has, its body says.
        let is_section = u32::from_be_bytes(kind) == SECTION_HEADER;
        let mut magic = [0; 4];
        if is_section {
            let has = self.fill(&mut magic)? as u64;
            if has < 4 {
                return Err(truncated(20 - has));
            }
            self.big_endian = match u32::from_be_bytes(magic) {
                0x1a2b_3c4d => true,
                0x4d3c_2b1a => false,
                found => return Err(Reason::ByteOrder { found }.into()),
            };
        } else if offset_is_start(self.offset) {
            return Err(Reason::NotPcapng { found: u32::from_be_bytes(kind) }.into());
        }
        let (kind, length) = (self.u32(kind), self.u32(length));
        let min = match kind {
            SECTION_HEADER => 28,
            INTERFACE_DESCRIPTION => 20,
            INTERFACE_STATISTICS => 24,
            ENHANCED_PACKET => 32,
            _ => 12,
        };
        let known = min != 12;
        if length % 4 != 0 || length < min || known && length > MAX_BLOCK {
            return Err(Reason::Length { kind, length, min }.into());
        }
        let rest = if is_section { length - 16 } else { length - 12 };
        if known {
            // Room is made for what is there, not for what the length says.
            self.body.clear();
            let has = (&mut self.input).take(u64::from(rest)).read_to_end(&mut self.body).map_err(Failure::Io)? as u64;
            self.offset += has;
            if has < u64::from(rest) {
                return Err(truncated(u64::from(rest) - has + 4));
            }
        } else {
            let skipped =
                io::copy(&mut (&mut self.input).take(u64::from(rest)), &mut io::sink()).map_err(Failure::Io)?;
            self.offset += skipped;
            if skipped < u64::from(rest) {
                return Err(truncated(u64::from(rest) - skipped + 4));
            }
        }
        let mut trailer = [0; 4];
        let has = self.fill(&mut trailer)? as u64;
        if has < 4 {
            return Err(truncated(4 - has));
        }
        let last = self.u32(trailer);
        if last != length {
            return Err(Reason::LengthsDiffer { first: length, last }.into());
        }
        Ok(Some(match kind {
            SECTION_HEADER => {
                self.take_section()?;
                Block::Section
            }
            INTERFACE_DESCRIPTION => {
                self.take_interface()?;
                Block::Interface
            }
            INTERFACE_STATISTICS => {
                self.take_statistics()?;
                Block::Other
            }
            ENHANCED_PACKET => {
                self.packets += 1;
                Block::Packet
            }
            OLD_PACKET | SIMPLE_PACKET => Block::OldPacket,
            _ => Block::Other,
        }))
    }

    fn take_section(&mut self) -> Result<(), Reason> {
        let [major, minor] = [0, 2].map(|offset| self.u16_at(offset));
        // 1.2 is an older writer's name for 1.0 (pcapng draft, section 4.1).
        if major != 1 || ![0, 2].contains(&minor) {
            return Err(Reason::Version { major, minor });
        }
        self.interfaces.clear();
        self.announced.clear();
        self.packets = 0;
        self.comment = None;
        let mut comment = None;
        self.options(12, |code, value| {
            if code == OPT_COMMENT && comment.is_none() {
                comment = Some(String::from_utf8_lossy(value).into_owned());
            }
            true
        })?;
        self.comment = comment;
        Ok(())
    }

    fn take_interface(&mut self) -> Result<(), Reason> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Reason::Interfaces);
        }
        // Without the option timestamps are in microseconds.
        let mut interface = Interface { name: String::new(), link_type: self.u16_at(0), resolution: 6 };
        self.options(8, |code, value| {
            match (code, value) {
                (IF_NAME, name) => interface.name = String::from_utf8_lossy(name).into_owned(),
                (IF_TSRESOL, [resolution]) => interface.resolution = *resolution,
                (IF_TSRESOL, _) => return false,
                _ => {}
            }
            true
        })?;
        self.interfaces.push(interface);
        Ok(())
    }

    fn take_statistics(&mut self) -> Result<(), Reason> {
        let found = self.u32_at(0);
        if found as usize >= self.interfaces.len() {
            return Err(Reason::Interface { found, count: self.interfaces.len() });
        }
        let big_endian = self.big_endian;
        let mut received = None;
        self.options(12, |code, value| {
            if code == ISB_IFRECV {
                received = value.try_into().ok().map(if big_endian { u64::from_be_bytes } else { u64::from_le_bytes });
                return received.is_some();
            }
            true
        })?;
        if let Some(received) = received {
            self.announced.insert(found, received);
        }
        Ok(())
    }

    /// Gives each option of the current block from `offset` on to `take`, which says whether its length is right.
    fn options(&self, offset: usize, mut take: impl FnMut(u16, &[u8]) -> bool) -> Result<(), Reason> {
        let mut rest = self.body.get(offset..).unwrap_or_default();
        while let Some((&[c0, c1, l0, l1], after)) = rest.split_first_chunk() {
            let (code, length) = (self.u16([c0, c1]), self.u16([l0, l1]));
            if code == OPT_END {
                break;
            }
            let wrong = Reason::OptionLength { code, length };
            let length = usize::from(length);
            let value = after.get(..length).ok_or(wrong)?;
            if !take(code, value) {
                return Err(wrong);
            }
            rest = after.get(length.next_multiple_of(4)..).ok_or(wrong)?;
        }
        Ok(())
    }

    /// Reads until `bytes` is full or the input ends: how many bytes there were.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, Failure> {
        let mut has = 0;
        while let Some(room) = bytes.get_mut(has..).filter(|room| !room.is_empty()) {
            match self.input.read(room) {
                Ok(0) => break,
                Ok(n) => has += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Io(error)),
            }
        }
        self.offset += has as u64;
        Ok(has)
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// A number in the fixed part of the current block, whose length was checked; 0 beyond its end.
    fn u16_at(&self, offset: usize) -> u16 {
        self.u16(self.chunk(offset))
    }

    /// As [`Blocks::u16_at`].
    fn u32_at(&self, offset: usize) -> u32 {
        self.u32(self.chunk(offset))
    }

    fn chunk<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.body.get(offset..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }
}

/// Whether the block whose first 8 bytes have just been read is the file's first.
fn offset_is_start(offset: u64) -> bool {
    offset == 8
}

enum Failure {
    Io(io::Error),
    Rule(Reason),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Failure {
        Failure::Rule(reason)
    }
}

fn truncated(missing: u64) -> Failure {
    Failure::Rule(Reason::Truncated { missing })
}

fn at(offset: u64, reason: Reason) -> ReadError {
    ReadError::Block { offset, reason }
}
