//! Captures held against the ordering table (PCIe base specification 2.4.1): who passed whom in a switch or a root complex, and whether the table forbids it.
//!
//! The table and the [`Checker`] are the fabric's ([`mlx5_twin_sim::ordering`]); here they're shown what a file has, packet by packet, so that memory is bounded
//! whatever its length.
//!
//! - **Our own captures**: their interfaces' names say which nodes the links join; no profile is needed. Pairs that came into a node by the same link are judged. Those
//!   that came by different ones are if the longest time from a first symbol to the node's queues is given.
//! - **NetTLP's framing**: such a capture was taken at one point of one link. Nothing is seen to come into a node and to leave it, so it has no pairs to judge; the report says so.

mod report;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use mlx5_twin_sim::Time;
use mlx5_twin_sim::ordering::{Appearance, Checker, Lane, Topology};
use mlx5_twin_sim::probe::{Direction, LinkId};
use mlx5_twin_sim::tlp::Prefixes;

use crate::capture::{ETHERNET, Flow, Frame, Interface, NotTlp, Packet, Reader, Records};
use crate::replay::{FileError, GZIP, ReplayError, Wrong};

pub use report::{FileReport, OrderReport, Passed, TlpRow};

/// Checks the capture in a file, which may be compressed by gzip. With `transit` pairs that came into a node by different links are judged too: it's the longest
/// time from a TLP's first symbol on any link to its place in the queues of the node at the other end.
///
/// # Errors
/// [`FileError`] with the file, the offset and the reason.
pub fn check(path: &Path, transit: Option<Time>) -> Result<FileReport, FileError> {
    let failed = |error| FileError { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| failed(ReplayError::Open(error)))?;
    check_input(&path.display().to_string(), file, transit).map_err(failed)
}

/// Checks a capture that is read from `input`; the report will call it `name`.
///
/// # Errors
/// [`ReplayError`] with the offset and the reason.
pub fn check_input<R: Read>(name: &str, mut input: R, transit: Option<Time>) -> Result<FileReport, ReplayError> {
    let mut begin = Vec::new();
    (&mut input).take(GZIP.len() as u64).read_to_end(&mut begin).map_err(ReplayError::Open)?;
    let compressed = begin == GZIP;
    let whole = io::Cursor::new(begin).chain(input);
    if compressed { plain(name, MultiGzDecoder::new(whole), transit) } else { plain(name, whole, transit) }
}

fn plain<R: Read>(name: &str, input: R, transit: Option<Time>) -> Result<FileReport, ReplayError> {
    match Records::open(input)? {
        Records::Ours(blocks) => ours(name, Reader::from_blocks(blocks), transit),
        records => one_link(name, records),
    }
}

/// The links of a capture, by the names of its interfaces: each link has one for each direction, downstream first.
#[derive(Debug, Default)]
struct Links {
    /// By number of a node: its name.
    nodes: Vec<String>,
    numbers: BTreeMap<String, u16>,
    /// By number of a link: its ends.
    ends: Vec<[u16; 2]>,
    /// The interfaces' names.
    names: Vec<String>,
}

impl Links {
    fn of(interfaces: &[Interface]) -> Result<Links, Wrong> {
        let mut links = Links::default();
        for (number, Interface { name, .. }) in interfaces.iter().enumerate() {
            links.names.push(name.clone());
            if number % 2 == 1 {
                continue;
            }
            let wrong = || Wrong::Interface { found: name.clone(), expected: "UPPER -> LOWER".to_owned() };
            let (upper, lower) = name.split_once(" -> ").ok_or_else(wrong)?;
            let ends = [links.node(upper)?, links.node(lower)?];
            links.ends.push(ends);
        }
        Ok(links)
    }

    fn node(&mut self, name: &str) -> Result<u16, Wrong> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        let (found, count) = (u16::MAX, usize::from(u16::MAX));
        let number = u16::try_from(self.nodes.len()).map_err(|_| Wrong::Link { found, count })?;
        self.nodes.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    fn topology(&self) -> Topology {
        Topology::new((0..=u16::MAX).zip(&self.ends).map(|(link, ends)| (LinkId(link), *ends)))
    }

    /// The name of a lane's interface.
    fn lane(&self, lane: Lane) -> Option<&str> {
        self.names.get(usize::from(lane.link.0) * 2 + lane.direction as usize).map(String::as_str)
    }

    /// Shows a packet to the checker.
    fn show(&self, checker: &mut Checker, packet: &Packet<'_>) -> Result<(), ReplayError> {
        let lane = Lane { link: packet.link, direction: packet.direction };
        let expected = self.lane(lane).unwrap_or_default();
        if packet.interface.name != expected {
            let reason = Wrong::Interface { found: packet.interface.name.clone(), expected: expected.to_owned() };
            return Err(ReplayError::At { offset: packet.offset, reason });
        }
        let (header, payload) = parts(packet.bytes);
        checker.see(&Appearance { at: packet.time, lane, header, payload });
        Ok(())
    }
}

fn ours<R: Read>(name: &str, mut reader: Reader<R>, transit: Option<Time>) -> Result<FileReport, ReplayError> {
    // All interfaces stand before the first packet, and are known when that has been read.
    let first =
        reader.next_packet()?.map(|packet| (packet.interface.clone(), packet.bytes.to_vec(), Place::of(&packet)));
    let Some((interface, bytes, place)) = first else {
        return Err(ReplayError::At { offset: reader.offset(), reason: Wrong::Empty });
    };
    let links = Links::of(reader.interfaces()).map_err(|reason| ReplayError::At { offset: place.offset, reason })?;
    let checker = Checker::new(links.topology());
    let mut checker = transit.into_iter().fold(checker, Checker::with_transit);
    links.show(&mut checker, &place.packet(&interface, &bytes))?;
    while let Some(packet) = reader.next_packet()? {
        links.show(&mut checker, &packet)?;
    }
    if !reader.is_complete() {
        return Err(ReplayError::At { offset: reader.offset(), reason: Wrong::Incomplete });
    }
    let node = |node| links.nodes.get(usize::from(node));
    Ok(FileReport::new(name, &checker.report(), links.ends.len(), node, |lane| links.lane(lane)))
}

/// All of a packet that isn't borrowed from the reader.
struct Place {
    offset: u64,
    link: LinkId,
    direction: Direction,
    sequence: u64,
    time: Time,
}

impl Place {
    fn of(packet: &Packet<'_>) -> Place {
        let Packet { offset, link, direction, sequence, time, .. } = *packet;
        Place { offset, link, direction, sequence, time }
    }

    fn packet<'a>(&self, interface: &'a Interface, bytes: &'a [u8]) -> Packet<'a> {
        let Place { offset, link, direction, sequence, time } = *self;
        Packet { offset, interface, link, direction, sequence, time, bytes }
    }
}

/// Prefixes and header of a TLP, and its payload as far as it's there.
fn parts(tlp: &[u8]) -> (&[u8], &[u8]) {
    let prefixes = Prefixes::parse(tlp).map_or(0, |prefixes| prefixes.wire_len());
    let header = mlx5_twin_sim::tlp::Header::decode(tlp.get(prefixes..).unwrap_or_default());
    // What can't be read is the checker's to count.
    let Ok(header) = header else { return (tlp, &[]) };
    let begin = prefixes + header.header_len();
    let (head, rest) = tlp.split_at_checked(begin).unwrap_or((tlp, &[]));
    (head, rest.get(..header.payload_len()).unwrap_or(rest))
}

/// A capture of one link, seen at one point.
fn one_link<R: Read>(name: &str, mut records: Records<R>) -> Result<FileReport, ReplayError> {
    let mut checker = Checker::new(Topology::new([(LinkId(0), [0, 1])]));
    let (mut first, mut frames, mut first_wrong) = (None::<Flow>, 0_u64, None);
    let mut rejected = 0_u64;
    while let Some(record) = records.next_record()? {
        frames += 1;
        let frame = match record.link_type {
            ETHERNET => Frame::decode(record.data),
            other => Err(NotTlp::LinkType(other)),
        };
        let Frame { flow, tlp } = match frame {
            Ok(frame) => frame,
            Err(reason) => {
                first_wrong.get_or_insert((record.offset, reason.to_string()));
                rejected += 1;
                continue;
            }
        };
        let direction = if flow == *first.get_or_insert(flow) { Direction::Upstream } else { Direction::Downstream };
        let (header, payload) = parts(tlp);
        let lane = Lane { link: LinkId(0), direction };
        checker.see(&Appearance { at: Time::ZERO, lane, header, payload });
    }
    let mut report = checker.report();
    report.unreadable += rejected;
    if report.seen == 0 {
        let (offset, reason) = match first_wrong {
            Some((offset, first)) => (offset, Wrong::Foreign { frames, first }),
            None => (0, Wrong::Empty),
        };
        return Err(ReplayError::At { offset, reason });
    }
    Ok(FileReport::new(name, &report, 1, |_| None, |_| None))
}
