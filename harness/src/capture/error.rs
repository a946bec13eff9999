//! Why a capture file can't be read on: where in the file, and which rule it breaks.

use std::io;

use super::blocks::{MAX_BLOCK, MAX_INTERFACES, SECTION_HEADER};
use super::format::{HeaderError, LINK_TYPE, TIMESTAMP_RESOLUTION};
use super::pcap::MAX_RECORD;

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
    /// The file's header or the record of a pcap file that begins at `offset` breaks a rule.
    #[error("record at byte {offset}: {reason}")]
    Record {
        /// Where the record begins.
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
    /// It begins as no capture does.
    #[error("the file begins with {found:#010x}, as neither a pcap file nor a pcapng file does")]
    NoCapture {
        /// What is there.
        found: u32,
    },
    /// The byte-order magic is none.
    #[error("byte-order magic {found:#010x}")]
    ByteOrder {
        /// What is there.
        found: u32,
    },
    /// Another version of the file's format.
    #[error("version {major}.{minor}: of pcapng 1.0 is known, of pcap 2.4")]
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
    /// A record of a pcap file is longer than any packet.
    #[error("a record of {length} bytes: at most {MAX_RECORD} are read")]
    RecordLength {
        /// Its length.
        length: u32,
    },
    /// A record's fraction of a second is a second or more.
    #[error("a time of {fraction} ns after a whole second")]
    Fraction {
        /// The fraction in ns.
        fraction: u64,
    },
    /// More bytes are said to be captured than the packet had.
    #[error("{captured} bytes captured of a packet of {original}")]
    Longer {
        /// Bytes captured.
        captured: u32,
        /// Bytes of the packet.
        original: u32,
    },
    /// `pcap-file` refuses it.
    #[error("{0}")]
    Pcap(&'static str),
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
