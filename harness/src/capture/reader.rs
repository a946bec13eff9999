//! Reads captures back, block by block.
//!
//! `pcap-file` writes our captures, but doesn't read them here: its reader (2.0) says neither where an error is nor which number is wrong, and
//! ends with an error at any block above 8 MB, also of a type that could be skipped. A test holds both readers side by side.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Direction, LinkId};
use mlx5_twin_sim::tlp::{Malformed, Tlp};

use super::format::{HeaderError, LINK_TYPE, PacketHeader, TIMESTAMP_RESOLUTION};

// Block types, pcapng draft (draft-ietf-opsawg-pcapng), section 11.1.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
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
const MAX_BLOCK: u32 = 1 << 20;

/// Bytes of a packet block's body before the packet.
const PACKET_FIXED: usize = 20;

/// Most interfaces of a section: two for each link that a fabric can have.
const MAX_INTERFACES: usize = 1 << 15;

/// A link and direction of the capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `host-rc -> switch`; empty if it has none.
    pub name: String,
    link_type: u16,
    resolution: u8,
}

/// A TLP on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where its block begins in the file.
    pub offset: u64,
    /// Its interface.
    pub interface: &'a Interface,
    /// The link.
    pub link: LinkId,
    /// The direction on it.
    pub direction: Direction,
    /// Its number on this link and direction.
    pub sequence: u64,
    /// When its first symbol left.
    pub time: Time,
    /// Prefixes, header, payload and digest in wire order. Not checked.
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The TLP.
    ///
    /// # Errors
    /// The rule that its bytes break.
    pub fn tlp(&self) -> Result<Tlp<'a>, Malformed> {
        Tlp::parse(self.bytes)
    }
}

/// Why a capture can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be read.
    #[error("at byte {offset}: {source}")]
    Io {
        /// How far reading came.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The block that begins at `offset` breaks a rule.
    #[error("block at byte {offset}: {reason}")]
    Block {
        /// Where the block begins.
        offset: u64,
        /// The rule.
        reason: Reason,
    },
}

/// A rule that a capture breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It doesn't begin with a section header.
    #[error("a pcapng file begins with block type {SECTION_HEADER:#010x}, this one with {found:#010x}")]
    NotPcapng {
        /// What is there.
        found: u32,
    },
    /// The byte-order magic is none.
    #[error("byte-order magic {found:#010x}")]
    ByteOrder {
        /// What is there.
        found: u32,
    },
    /// Another version of pcapng.
    #[error("pcapng version {major}.{minor}: 1.0 is known")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// The file ends inside the block.
    #[error("the file ends {missing} bytes too early")]
    Truncated {
        /// How many bytes the block lacks.
        missing: u64,
    },
    /// A block's length isn't possible.
    #[error("a length of {length} bytes for block type {kind:#010x}: it's a multiple of 4 from {min} to {MAX_BLOCK}")]
    Length {
        /// The block's type.
        kind: u32,
        /// Its length.
        length: u32,
        /// The shortest block of the type.
        min: u32,
    },
    /// The length at the end of the block is another one.
    #[error("the length is {first} at the block's beginning and {last} at its end")]
    LengthsDiffer {
        /// At the beginning.
        first: u32,
        /// At the end.
        last: u32,
    },
    /// An option ends after its block, or has the wrong length.
    #[error("option {code} has {length} bytes, which doesn't fit")]
    OptionLength {
        /// The option's code.
        code: u16,
        /// Its length.
        length: u16,
    },
    /// Too many interfaces.
    #[error("there are more than {MAX_INTERFACES} interfaces")]
    Interfaces,
    /// A packet of an interface that isn't described.
    #[error("interface {found} of {count}")]
    Interface {
        /// The interface that the packet names.
        found: u32,
        /// How many are described.
        count: usize,
    },
    /// Not our link type.
    #[error("link type {found}: ours is {LINK_TYPE}")]
    LinkType {
        /// What is there.
        found: u16,
    },
    /// Timestamps aren't in nanoseconds.
    #[error("if_tsresol {found}: ours is {TIMESTAMP_RESOLUTION}")]
    Resolution {
        /// What is there.
        found: u8,
    },
    /// More bytes are said to be captured than the block has, or the packet was cut.
    #[error("a packet of {original} bytes, {captured} of them captured, in {room}")]
    Captured {
        /// Bytes of the packet.
        original: u32,
        /// Bytes captured.
        captured: u32,
        /// Bytes that the block has room for.
        room: usize,
    },
    /// Our header is wrong.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// The block's timestamp isn't the one of our header.
    #[error("the block's timestamp is {block} ns, our header's is {header} ns")]
    Timestamp {
        /// The block's, in ns.
        block: u64,
        /// Our header's, in ns.
        header: u64,
    },
}

/// Reads a capture. After an error it gives nothing more.
#[derive(Debug)]
pub struct Reader<R> {
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

impl Reader<File> {
    /// Opens a capture.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn open(path: &Path) -> Result<Reader<File>, ReadError> {
        Reader::new(File::open(path).map_err(|source| ReadError::Io { offset: 0, source })?)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the section header.
    ///
    /// # Errors
    /// The input can't be read, or doesn't begin as a capture does.
    pub fn new(input: R) -> Result<Reader<R>, ReadError> {
        let mut reader = Reader {
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
        match reader.next_block()? {
            Some((_, SECTION_HEADER)) => {}
            Some((offset, found)) => return Err(at(offset, Reason::NotPcapng { found })),
            None => return Err(at(0, Reason::Truncated { missing: 28 })),
        }
        Ok(reader)
    }

    /// The section's comment, which says what was run: lines `device`, `profile`, `seed`, and versions.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The interfaces described so far.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Whether the counts at the capture's end were there, and all packets too. Of meaning when the end has been reached. A capture without
    /// any interface has no counts, and so never is.
    pub fn is_complete(&self) -> bool {
        let announced = self.announced.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let all = !self.interfaces.is_empty() && self.announced.len() == self.interfaces.len();
        all && announced == self.packets
    }

    /// The next packet. `None` at the end.
    ///
    /// # Errors
    /// The rule that the capture breaks, and where.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, ReadError> {
        let (offset, found) = loop {
            match self.next_block()? {
                Some((offset, ENHANCED_PACKET)) => break (offset, self.check_packet()),
                Some(_) => {}
                None => return Ok(None),
            }
        };
        let (interface, header, range) = match found {
            Ok(found) => found,
            Err(reason) => return Err(self.fail(offset, reason)),
        };
        self.packets += 1;
        let PacketHeader { link, direction, sequence, time, .. } = header;
        let bytes = self.body.get(range).unwrap_or_default();
        let packet = |interface| Packet { offset, interface, link, direction, sequence, time, bytes };
        Ok(self.interfaces.get(interface).map(packet))
    }

    /// Checks the packet block in `body`: gives its interface, our header, and where the TLP lies.
    fn check_packet(&self) -> Result<(usize, PacketHeader, Range<usize>), Reason> {
        let [found, high, low, captured, original] = [0, 4, 8, 12, 16].map(|offset| self.u32_at(offset));
        let count = self.interfaces.len();
        let interface = self.interfaces.get(found as usize).ok_or(Reason::Interface { found, count })?;
        if interface.link_type != LINK_TYPE {
            return Err(Reason::LinkType { found: interface.link_type });
        }
        if interface.resolution != TIMESTAMP_RESOLUTION {
            return Err(Reason::Resolution { found: interface.resolution });
        }
        let room = self.body.len().saturating_sub(PACKET_FIXED);
        let end = PACKET_FIXED.saturating_add(captured as usize);
        let data = self.body.get(PACKET_FIXED..end).filter(|_| captured == original);
        let (header, tlp) = PacketHeader::decode(data.ok_or(Reason::Captured { original, captured, room })?)?;
        let block = u64::from(high) << 32 | u64::from(low);
        if block != header.time.as_ns() {
            return Err(Reason::Timestamp { block, header: header.time.as_ns() });
        }
        Ok((found as usize, header, end - tlp.len()..end))
    }

    /// Ends reading.
    fn fail(&mut self, offset: u64, reason: Reason) -> ReadError {
        self.ended = true;
        at(offset, reason)
    }

    /// Reads a block into `body` (nothing for types that are skipped), and takes up what sections and interfaces say. Gives where it begins,
    /// and its type; `None` at the end.
    fn next_block(&mut self) -> Result<Option<(u64, u32)>, ReadError> {
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

    fn read_block(&mut self) -> Result<Option<u32>, Failure> {
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
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            body.resize(rest as usize, 0);
            let has = self.fill(&mut body)?;
            self.body = body;
            if has < rest as usize {
                return Err(truncated(u64::from(rest) - has as u64 + 4));
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
        match kind {
            SECTION_HEADER => self.take_section()?,
            INTERFACE_DESCRIPTION => self.take_interface()?,
            INTERFACE_STATISTICS => self.take_statistics()?,
            _ => {}
        }
        Ok(Some(kind))
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

    /// As [`Reader::u16_at`].
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
