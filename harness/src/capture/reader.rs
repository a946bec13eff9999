//! Reads our own captures back, packet by packet.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Direction, LinkId};
use mlx5_twin_sim::tlp::{Malformed, Tlp};

use super::blocks::{Block, Blocks, Interface};
use super::error::{ReadError, Reason};
use super::format::{LINK_TYPE, PacketHeader, TIMESTAMP_RESOLUTION};

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

/// Reads a capture. After an error it gives nothing more.
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
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
        Blocks::new(input).map(Reader::from_blocks)
    }

    /// Reads on from blocks of which no packet has been read.
    pub(crate) fn from_blocks(blocks: Blocks<R>) -> Reader<R> {
        Reader { blocks }
    }

    /// The section's comment, which says what was run: lines `device`, `profile`, `seed`, and versions.
    pub fn comment(&self) -> Option<&str> {
        self.blocks.comment()
    }

    /// The interfaces described so far.
    pub fn interfaces(&self) -> &[Interface] {
        self.blocks.interfaces()
    }

    /// How far reading has come, in bytes of the file.
    pub fn offset(&self) -> u64 {
        self.blocks.offset()
    }

    /// Whether the counts at the capture's end were there, and all packets too. Of meaning when the end has been reached. A capture without
    /// any interface has no counts, and so never is.
    pub fn is_complete(&self) -> bool {
        self.blocks.is_complete()
    }

    /// The next packet. `None` at the end.
    ///
    /// # Errors
    /// The rule that the capture breaks, and where.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, ReadError> {
        let offset = loop {
            match self.blocks.next_block()? {
                Some((offset, Block::Packet)) => break offset,
                Some(_) => {}
                None => return Ok(None),
            }
        };
        let (header, range) = match self.check_packet() {
            Ok(found) => found,
            Err(reason) => return Err(self.blocks.fail(offset, reason)),
        };
        let PacketHeader { link, direction, sequence, time, .. } = header;
        // It's the packet that has just been checked.
        let Ok(raw) = self.blocks.packet() else { return Ok(None) };
        let bytes = raw.data.get(range).unwrap_or_default();
        Ok(Some(Packet { offset, interface: raw.interface, link, direction, sequence, time, bytes }))
    }

    /// Checks the packet of the current block: gives our header, and where in the packet the TLP lies.
    fn check_packet(&self) -> Result<(PacketHeader, Range<usize>), Reason> {
        let raw = self.blocks.packet()?;
        let Interface { link_type, resolution, .. } = *raw.interface;
        if link_type != LINK_TYPE {
            return Err(Reason::LinkType { found: link_type });
        }
        if resolution != TIMESTAMP_RESOLUTION {
            return Err(Reason::Resolution { found: resolution });
        }
        let (original, captured, room) = (raw.original, raw.data.len() as u32, raw.room);
        if captured != original {
            return Err(Reason::Captured { original, captured, room });
        }
        let (header, tlp) = PacketHeader::decode(raw.data)?;
        if raw.timestamp != header.time.as_ns() {
            return Err(Reason::Timestamp { block: raw.timestamp, header: header.time.as_ns() });
        }
        Ok((header, raw.data.len() - tlp.len()..raw.data.len()))
    }
}
