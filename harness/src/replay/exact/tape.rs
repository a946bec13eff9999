//! A capture of ours in memory: for each link and direction what was on it, and the order of all.

use std::io::Read;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Direction, LinkId};
use mlx5_twin_sim::tlp::Tlp;

use crate::capture::{LinkName, NotTlp, Packet, Reader};
use crate::profile::Loaded;
use crate::replay::report::Counts;
use crate::replay::{PROGRESS_FRAMES, Progress, ReplayError, Wrong};

/// The latest time that a TLP may have: 106 days. Ours, so that nothing overflows.
const MAX_TIME: Time = Time::ps(1 << 63);

/// What a capture says of the run that it's from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// The device that was run, or [`NO_DEVICE`](crate::serve::NO_DEVICE).
    pub(super) device: String,
    /// The seed.
    pub(super) seed: u64,
    /// The program's version.
    pub(super) version: String,
}

impl About {
    /// Reads the comment of a capture, and checks that `profile` is the one it was made with.
    pub(super) fn parse(comment: Option<&str>, profile: &Loaded) -> Result<About, Wrong> {
        let comment = comment.ok_or(Wrong::NoComment)?;
        let line = |item: &'static str| {
            let value = comment.lines().find_map(|line| line.strip_prefix(item)?.strip_prefix(' '));
            value.ok_or(Wrong::Comment { item, found: String::new() })
        };
        let wrong = |item: &'static str, found: &str| Wrong::Comment { item, found: found.to_owned() };
        let device = line("device")?;
        let found = line("profile")?;
        let (name, hash) = found.rsplit_once(' ').ok_or_else(|| wrong("profile", found))?;
        let hash = u64::from_str_radix(hash, 16).map_err(|_| wrong("profile", found))?;
        if hash != profile.hash {
            let (name, given) = (name.to_owned(), profile.name.clone());
            return Err(Wrong::Profile { name, hash, given, given_hash: profile.hash });
        }
        let found = line("seed")?;
        let seed = found.parse().map_err(|_| wrong("seed", found))?;
        Ok(About { device: device.to_owned(), seed, version: line("mlx5-twin")?.to_owned() })
    }
}

/// A TLP of a capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    /// When its first symbol left.
    pub(super) time: Time,
    /// Where its block begins in the file.
    pub(super) offset: u64,
    /// Where its bytes begin in those of the tape, and how many they are.
    begin: usize,
    len: u32,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// `host -> switch`.
    pub(super) name: String,
    /// What was on it, by sequence number.
    pub(super) recorded: Vec<Recorded>,
}

/// A capture.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    /// By link, downstream first.
    pub(super) lanes: Vec<Lane>,
    /// All TLPs in the order of the file, in which transmitters took them up: lane, and number in it.
    pub(super) order: Vec<(u16, u32)>,
    bytes: Vec<u8>,
}

/// The number of a lane.
pub(super) fn lane_of(link: LinkId, direction: Direction) -> usize {
    usize::from(link.0) * 2 + direction as usize
}

impl Tape {
    /// Reads a capture of a machine with these links to its end.
    pub(super) fn read<R: Read>(
        reader: &mut Reader<R>,
        links: &[(String, String)],
        counts: &mut Counts,
        progress: &dyn Fn(Progress),
    ) -> Result<Tape, ReplayError> {
        let lanes = links.iter().flat_map(|(upper, lower)| {
            let name = LinkName::new(upper, lower);
            [Direction::Downstream, Direction::Upstream].map(|direction| name.directed(direction))
        });
        let lanes = lanes.map(|name| Lane { name, recorded: Vec::new() }).collect();
        let mut tape = Tape { lanes, order: Vec::new(), bytes: Vec::new() };
        while let Some(packet) = reader.next_packet()? {
            if counts.frames.is_multiple_of(PROGRESS_FRAMES) {
                progress(Progress::Read(packet.offset));
            }
            let offset = packet.offset;
            tape.take(&packet).map_err(|reason| ReplayError::At { offset, reason })?;
            count(counts, packet.bytes);
        }
        let at_end = |reason| ReplayError::At { offset: reader.offset(), reason };
        if !reader.is_complete() {
            return Err(at_end(Wrong::Incomplete));
        }
        if tape.order.is_empty() {
            return Err(at_end(Wrong::Empty));
        }
        Ok(tape)
    }

    fn take(&mut self, packet: &Packet<'_>) -> Result<(), Wrong> {
        let Packet { interface, link, direction, sequence, time, bytes, offset } = *packet;
        let (number, count) = (lane_of(link, direction), self.lanes.len() / 2);
        let lane = self.lanes.get_mut(number).ok_or(Wrong::Link { found: link.0, count })?;
        if interface.name != lane.name {
            return Err(Wrong::Interface { found: interface.name.clone(), expected: lane.name.clone() });
        }
        let next = lane.recorded.len() as u64;
        if sequence != next {
            return Err(Wrong::Sequence { found: sequence, expected: next });
        }
        let last = lane.recorded.last().map_or(Time::ZERO, |last| last.time);
        if time < last || time > MAX_TIME {
            return Err(Wrong::Time { found: time, last });
        }
        let (begin, len) = (self.bytes.len(), bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        lane.recorded.push(Recorded { time, offset, begin, len });
        // A capture of more than 2^32 TLPs doesn't fit into memory.
        self.order.push((number as u16, next as u32));
        Ok(())
    }

    /// A TLP by lane and number.
    pub(super) fn get(&self, lane: usize, number: u64) -> Option<&Recorded> {
        self.lanes.get(lane)?.recorded.get(usize::try_from(number).ok()?)
    }

    /// A TLP's bytes.
    pub(super) fn bytes(&self, recorded: &Recorded) -> &[u8] {
        self.bytes.get(recorded.begin..recorded.begin + recorded.len as usize).unwrap_or_default()
    }

    /// For each TLP in the order of the file: a time at which its transmitter has taken it up for sure, but its wire hasn't begun to carry
    /// it. Transmitters take TLPs up in this order, and none later than its first symbol leaves; so the earliest departure of all that
    /// follow will do. It never falls.
    pub(super) fn taken_up(&self) -> Vec<Time> {
        let mut times: Vec<_> = self
            .order
            .iter()
            .map(|&(lane, number)| self.get(usize::from(lane), u64::from(number)).map_or(Time::ZERO, |tlp| tlp.time))
            .collect();
        let mut earliest = Time::MAX;
        for time in times.iter_mut().rev() {
            earliest = earliest.min(*time);
            *time = earliest;
        }
        times
    }
}

/// Counts a TLP by what it is.
fn count(counts: &mut Counts, bytes: &[u8]) {
    counts.frames += 1;
    match Tlp::parse(bytes) {
        Ok(tlp) => counts.decoded(&tlp.header, tlp.to_vec().is_ok_and(|again| again == bytes)),
        Err(rule) => counts.reject(&NotTlp::from(rule)),
    }
}
