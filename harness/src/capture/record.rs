//! The packets of a capture file of any kind, as the network's capture programs write them: pcap or pcapng, found out by content.

use std::io::{Cursor, Read};

use super::blocks::{Block, Blocks, RawPacket, SECTION_HEADER};
use super::error::{ReadError, Reason};
use super::format::LINK_TYPE;
use super::pcap::Pcap;

/// Picoseconds in a second, as a power of ten.
const SECOND: u32 = 12;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Where its record or block begins in the file.
    pub(crate) offset: u64,
    /// When it was captured, in picoseconds since 1970; `None` if that isn't known.
    pub(crate) time: Option<u128>,
    /// What the packet is (tcpdump.org's list of link types).
    pub(crate) link_type: u32,
    /// What of it was captured.
    pub(crate) data: &'a [u8],
}

/// A file whose first bytes have been looked at.
type Input<R> = std::io::Chain<Cursor<Vec<u8>>, R>;

/// A capture file, by what it holds.
#[derive(Debug)]
pub(crate) enum Records<R> {
    /// A pcap file.
    Pcap(Pcap<Input<R>>),
    /// A pcapng file of others.
    PcapNg(Blocks<Input<R>>),
    /// A pcapng file whose first interface has our link type.
    Ours(Blocks<Input<R>>),
}

impl<R: Read> Records<R> {
    /// Looks at the beginning of a capture.
    ///
    /// # Errors
    /// It can't be read, or is no capture.
    pub(crate) fn open(mut input: R) -> Result<Records<R>, ReadError> {
        let mut magic = Vec::with_capacity(4);
        let has = (&mut input).take(4).read_to_end(&mut magic).map_err(|source| ReadError::Io { offset: 0, source })?;
        let found = magic.first_chunk().map(|magic| u32::from_be_bytes(*magic));
        let input = Cursor::new(magic).chain(input);
        match found {
            None => Err(ReadError::Record { offset: 0, reason: Reason::Truncated { missing: 24 - has as u64 } }),
            Some(SECTION_HEADER) => {
                let mut blocks = Blocks::new(input)?;
                let ours = blocks.first_interface()?.is_some_and(|interface| interface.link_type == LINK_TYPE);
                Ok(if ours { Records::Ours(blocks) } else { Records::PcapNg(blocks) })
            }
            Some(0xa1b2_c3d4 | 0xa1b2_3c4d | 0xd4c3_b2a1 | 0x4d3c_b2a1) => Ok(Records::Pcap(Pcap::new(input)?)),
            Some(found) => Err(ReadError::Record { offset: 0, reason: Reason::NoCapture { found } }),
        }
    }

    /// The link type of all packets, if the file has one for all.
    pub(crate) fn link_type(&self) -> Option<u32> {
        match self {
            Records::Pcap(pcap) => Some(pcap.link_type()),
            Records::PcapNg(_) | Records::Ours(_) => None,
        }
    }

    /// The next packet. `None` at the end.
    ///
    /// # Errors
    /// The rule that the file breaks, and where.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let blocks = match self {
            Records::Pcap(pcap) => return pcap.next_record(),
            Records::PcapNg(blocks) | Records::Ours(blocks) => blocks,
        };
        let offset = loop {
            match blocks.next_block()? {
                Some((offset, Block::Packet)) => break offset,
                Some((offset, Block::OldPacket)) => {
                    return Ok(Some(Record { offset, time: None, link_type: 0, data: &[] }));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        };
        if let Err(reason) = blocks.packet().map(drop) {
            return Err(blocks.fail(offset, reason));
        }
        let Ok(RawPacket { interface, timestamp, data, .. }) = blocks.packet() else { return Ok(None) };
        let time = Some(picoseconds(timestamp, interface.resolution));
        Ok(Some(Record { offset, time, link_type: u32::from(interface.link_type), data }))
    }
}

/// A timestamp in units of `if_tsresol`: with bit 7 a negative power of 2, else of 10.
fn picoseconds(timestamp: u64, resolution: u8) -> u128 {
    let timestamp = u128::from(timestamp);
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 != 0 {
        // 64 bits and 40 for the factor: no overflow.
        return (timestamp * 10_u128.pow(SECOND)).checked_shr(exponent).unwrap_or(0);
    }
    match SECOND.checked_sub(exponent) {
        Some(finer) => timestamp * 10_u128.pow(finer),
        None => 10_u128.checked_pow(exponent - SECOND).map_or(0, |unit| timestamp / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_every_resolution() {
        let cases = [
            (5, 6, 5_000_000),
            (5, 9, 5_000),
            (5, 12, 5),
            (5_999, 15, 5),
            (7, 0, 7_000_000_000_000),
            (3, 0x81, 1_500_000_000_000),
            (1 << 40, 0xa8, 1_000_000_000_000),
            (u64::MAX, 0x7f, 0),
            (u64::MAX, 0xff, 0),
        ];
        for (timestamp, resolution, expected) in cases {
            assert_eq!(picoseconds(timestamp, resolution), expected, "{timestamp} in {resolution:#x}");
        }
    }
}
