//! The records of a classic pcap file, one by one, by `pcap-file`'s parser.
//!
//! Its reader isn't used: it refuses records that were cut by the file's snap length, which is what most captures of TLPs are.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};

use pcap_file::pcap::{PcapParser, RawPcapPacket};
use pcap_file::{Endianness, PcapError, TsResolution};

use super::error::{ReadError, Reason};
use super::record::Record;

/// Longest record that is read, in bytes: the largest snap length of libpcap.
pub(super) const MAX_RECORD: u32 = 1 << 18;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Picoseconds in a second.
const SECOND: u128 = 1_000_000_000_000;

/// Reads records. After an error it gives nothing more.
#[derive(Debug)]
pub(crate) struct Pcap<R> {
    input: BufReader<R>,
    parser: PcapParser,
    offset: u64,
    record: Vec<u8>,
    ended: bool,
}

impl<R: Read> Pcap<R> {
    /// Reads the file's header.
    pub(super) fn new(input: R) -> Result<Pcap<R>, ReadError> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let mut header = Vec::with_capacity(FILE_HEADER);
        let has = read(&mut input, FILE_HEADER, &mut header).map_err(|source| ReadError::Io { offset: 0, source })?;
        if has < FILE_HEADER {
            return Err(at(0, Reason::Truncated { missing: (FILE_HEADER - has) as u64 }));
        }
        let (_, parser) = PcapParser::new(&header).map_err(|error| at(0, reason(&error)))?;
        let (major, minor) = (parser.header().version_major, parser.header().version_minor);
        if (major, minor) != (2, 4) {
            return Err(at(0, Reason::Version { major, minor }));
        }
        Ok(Pcap { input, parser, offset: FILE_HEADER as u64, record: Vec::new(), ended: false })
    }

    /// What the packets are (tcpdump.org's list of link types).
    pub(super) fn link_type(&self) -> u32 {
        // The upper bits tell of frame check sequences.
        u32::from(self.parser.header().datalink) & 0xffff
    }

    /// The next record. `None` at the end.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let offset = self.offset;
        if self.ended {
            return Ok(None);
        }
        // Until all has gone well.
        self.ended = true;
        if !self.fill()? {
            return Ok(None);
        }
        let (_, raw) = self.parser.next_raw_packet(&self.record).map_err(|error| at(offset, reason(&error)))?;
        let RawPcapPacket { ts_sec, ts_frac, incl_len: captured, orig_len: original, data } = raw;
        // The parser borrows what it's given.
        let Cow::Borrowed(data) = data else { return Ok(None) };
        let unit = match self.parser.header().ts_resolution {
            TsResolution::MicroSecond => 1_000,
            TsResolution::NanoSecond => 1,
        };
        let fraction = u64::from(ts_frac) * unit;
        if fraction >= 1_000_000_000 {
            return Err(at(offset, Reason::Fraction { fraction }));
        }
        if captured > original {
            return Err(at(offset, Reason::Longer { captured, original }));
        }
        self.ended = false;
        let time = u128::from(ts_sec) * SECOND + u128::from(fraction) * 1_000;
        Ok(Some(Record { offset, time: Some(time), link_type: self.link_type(), data }))
    }

    /// Reads a whole record. `false` at the end.
    fn fill(&mut self) -> Result<bool, ReadError> {
        let begin = self.offset;
        let truncated = |missing: usize| at(begin, Reason::Truncated { missing: missing as u64 });
        self.record.clear();
        let failed = |source| ReadError::Io { offset: begin, source };
        let has = read(&mut self.input, RECORD_HEADER, &mut self.record).map_err(failed)?;
        if has == 0 {
            return Ok(false);
        }
        let Some(&[.., l0, l1, l2, l3, _, _, _, _]) = self.record.first_chunk::<RECORD_HEADER>() else {
            return Err(truncated(RECORD_HEADER - has));
        };
        let length = match self.parser.header().endianness {
            Endianness::Big => u32::from_be_bytes([l0, l1, l2, l3]),
            Endianness::Little => u32::from_le_bytes([l0, l1, l2, l3]),
        };
        if length > MAX_RECORD {
            return Err(at(begin, Reason::RecordLength { length }));
        }
        let has = read(&mut self.input, length as usize, &mut self.record).map_err(failed)?;
        if has < length as usize {
            return Err(truncated(length as usize - has));
        }
        self.offset += (RECORD_HEADER + has) as u64;
        Ok(true)
    }
}

/// Appends up to `len` bytes to `bytes`: gives how many there were. Room is made for what is there, not for what is asked for.
fn read(input: &mut impl Read, len: usize, bytes: &mut Vec<u8>) -> io::Result<usize> {
    input.take(len as u64).read_to_end(bytes)
}

fn at(offset: u64, reason: Reason) -> ReadError {
    ReadError::Record { offset, reason }
}

fn reason(error: &PcapError) -> Reason {
    match error {
        PcapError::InvalidField(what) => Reason::Pcap(what),
        _ => Reason::Pcap("not a pcap file"),
    }
}
