//! Holds what the fabric carries beside what the capture has.

use std::sync::Arc;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Probe, Transmit};
use mlx5_twin_sim::tlp::Tlp;

use super::tape::{Recorded, Tape, lane_of};
use crate::replay::report::{Difference, LaneRow, Seen};

/// What became of one lane.
#[derive(Clone, Debug, Default)]
struct Outcome {
    replayed: u64,
    equal: u64,
    /// Its first difference, with its time.
    first: Option<(Time, Difference)>,
}

/// A probe that compares.
#[derive(Debug)]
pub(super) struct Comparison {
    tape: Arc<Tape>,
    lanes: Vec<Outcome>,
    /// TLPs on links that are completions.
    completions: u64,
    /// Reused: the TLP's bytes.
    bytes: Vec<u8>,
    last: Time,
}

impl Comparison {
    pub(super) fn new(tape: &Arc<Tape>) -> Comparison {
        let lanes = vec![Outcome::default(); tape.lanes.len()];
        Comparison { tape: Arc::clone(tape), lanes, completions: 0, bytes: Vec::new(), last: Time::ZERO }
    }

    /// Completions that the replay had on its links.
    pub(super) fn completions(&self) -> u64 {
        self.completions
    }

    /// When the last TLP left.
    pub(super) fn last(&self) -> Time {
        self.last
    }

    /// What became of each lane, and the first difference of all.
    pub(super) fn finish(mut self, played: &[bool]) -> (Vec<LaneRow>, Option<Difference>) {
        let tape = Arc::clone(&self.tape);
        let mut rows = Vec::with_capacity(tape.lanes.len());
        let mut first: Option<(Time, Difference)> = None;
        for (number, (lane, outcome)) in tape.lanes.iter().zip(&mut self.lanes).enumerate() {
            let recorded = lane.recorded.len() as u64;
            // What was recorded and never came.
            if let (None, Some(missing)) = (&outcome.first, tape.get(number, outcome.replayed)) {
                outcome.first = Some((missing.time, difference(&tape, number, outcome.replayed, Some(missing), None)));
            }
            rows.push(LaneRow {
                name: lane.name.clone(),
                played: played.get(number) == Some(&true),
                recorded,
                replayed: outcome.replayed,
                equal: outcome.equal,
            });
            if let Some(found) = outcome.first.take()
                && first.as_ref().is_none_or(|(time, _)| found.0 < *time)
            {
                first = Some(found);
            }
        }
        (rows, first.map(|(_, difference)| difference))
    }
}

impl Probe for Comparison {
    fn transmit(&mut self, event: &Transmit<'_>) {
        let Transmit { at, link, direction, sequence, header, payload, digest } = *event;
        self.last = self.last.max(at);
        self.bytes.clear();
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_from_slice(digest.as_ref().map_or(&[], |digest| digest.as_slice()));
        self.completions += u64::from(Tlp::parse(&self.bytes).is_ok_and(|tlp| tlp.header.kind().is_completion()));
        let number = lane_of(link, direction);
        let Some(outcome) = self.lanes.get_mut(number) else { return };
        outcome.replayed += 1;
        let recorded = self.tape.get(number, sequence);
        if recorded.is_some_and(|recorded| recorded.time == at && self.tape.bytes(recorded) == self.bytes) {
            outcome.equal += 1;
        } else if outcome.first.is_none() {
            let time = recorded.map_or(at, |recorded| recorded.time.min(at));
            let found = difference(&self.tape, number, sequence, recorded, Some((at, &self.bytes)));
            outcome.first = Some((time, found));
        }
    }
}

fn difference(
    tape: &Tape,
    lane: usize,
    number: u64,
    recorded: Option<&Recorded>,
    replayed: Option<(Time, &[u8])>,
) -> Difference {
    let seen = |time: Time, bytes: &[u8]| Seen {
        time_ps: time.as_ps(),
        tlp: Tlp::parse(bytes).map_or_else(|rule| format!("no TLP: {rule}"), |tlp| tlp.to_string()),
        bytes: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    Difference {
        link: tape.lanes.get(lane).map_or_else(String::new, |lane| lane.name.clone()),
        number,
        offset: recorded.map(|recorded| recorded.offset),
        recorded: recorded.map(|recorded| seen(recorded.time, tape.bytes(recorded))),
        replayed: replayed.map(|(time, bytes)| seen(time, bytes)),
    }
}
