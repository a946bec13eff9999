//! Captures of real devices in NetTLP's framing, beside a simulated root complex.
//!
//! **Which way.** The IPv4 addresses of a frame say which way its TLP went; a completion answers a request that went the other way. **The device** is
//! the requester ID whose memory requests, one way, ask for or bring the most bytes; among equals, the one that comes first in the capture. This rule
//! is ours: a device's DMA moves more than the accesses to its registers. All requests that went the device's way are played, each at its time
//! since the first frame. Requests the other way, as accesses to the device's registers are, would have to be answered by the device,
//! which isn't there: they're counted.
//!
//! **What is compared.** The captured completions of each request that was played and the simulated ones: how many, their lengths, Byte Counts, Lower
//! Addresses and statuses, in order. Not what they carry: the simulated memory holds zeroes where the device hasn't written. And
//! the time from a request to its last completion. Captured times hold whatever was between the device and the clock.
//!
//! **The simulation** is the profile's host without its switch: a root complex with `topology.max_payload`, `topology.read_completion_boundary` and
//! `timing`, and `topology.host.link` to the device. Its memory reaches as far as the device's requests do, up to 1 TiB; as much of it as
//! `topology.host.memory_mib` can be written.

mod answers;
mod play;
mod trace;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use mlx5_twin_sim::tlp::{Bdf, Header, Status};

use self::answers::{Answer, Answers, Part};
use self::trace::{Item, Trace};
use super::report::{Counts, Detail, Forwarded, Latency, NetTlp, SplitRow, Splits};
use super::{Options, ReplayError};
use crate::capture::{Histogram, Records};

/// Most rows of a table of splits. Ours.
const ROWS: usize = 32;

/// Most runs of equal lengths that are written out. Ours.
const RUNS: usize = 6;

/// Plays a capture in NetTLP's framing.
pub(super) fn replay<R: Read>(
    mut records: Records<R>,
    options: &Options<'_>,
    counts: &mut Counts,
) -> Result<Detail, ReplayError> {
    let trace = Arc::new(Trace::read(&mut records, counts, options.progress)?);
    let device = trace.device();
    let captured = Captured::new(&trace, device.map(|device| device.flow));
    let requests_played = captured.requests.len() as u64;
    let played = play::play(&trace, captured.requests, options)?;
    counts.completions_simulated = played.completions;

    let mut splits = Table::default();
    let (mut latency_captured, mut latency_simulated) = (Histogram::default(), Histogram::default());
    let mut unanswered = 0;
    for (number, simulated) in captured.asked.iter().zip(0..) {
        let Some((captured, simulated)) = captured.answers.get(*number).zip(played.answers.get(simulated)) else {
            continue;
        };
        if captured.parts.is_empty() {
            unanswered += 1;
            continue;
        }
        splits.add(captured, simulated);
        if let Some((real, model)) = captured.done.zip(simulated.done) {
            latency_captured.add(real.since(captured.asked).as_ps());
            latency_simulated.add(model.since(simulated.asked).as_ps());
        }
    }
    let topology = &options.profile.profile.topology;
    Ok(Detail::NetTlp(NetTlp {
        device: device.map(|device| device.id.to_string()),
        requests_played,
        requests_other_direction: captured.other,
        completions_to_device: captured.to_device,
        unanswered,
        unexpected_completions: captured.answers.unexpected(),
        completions_before_request: captured.answers.early,
        tags_reused_in_flight: captured.answers.reused,
        cut_payloads: trace.cut,
        time_steps_back: trace.steps_back,
        max_payload: topology.max_payload,
        read_completion_boundary: topology.read_completion_boundary,
        splits: splits.finish(),
        forwarded: captured.forwarded,
        latency_captured: Latency::of(&latency_captured),
        latency_simulated: Latency::of(&latency_simulated),
        faults: played.faults.into(),
        simulated_ps: played.end_ps,
    }))
}

/// What a capture has of requests and their completions.
#[derive(Default)]
struct Captured {
    /// TLPs that are to be played: their numbers in the trace.
    requests: Vec<u32>,
    /// Those of them that ask for completions, by their numbers in `answers`.
    asked: Vec<u32>,
    answers: Answers,
    other: u64,
    to_device: u64,
    forwarded: Vec<Forwarded>,
}

impl Captured {
    /// Goes through a trace; requests that went the way `flow` are the device's.
    fn new(trace: &Trace, flow: Option<u32>) -> Captured {
        let mut captured = Captured::default();
        let mut hops = Hops::default();
        for (item, number) in trace.items.iter().zip(0..) {
            let Item { flow: way, time, header, .. } = *item;
            if header.kind().is_completion() {
                let back = trace.reverse(way);
                captured.to_device += u64::from(back.is_some() && back == flow);
                // A way on which no request can have come has no number.
                captured.answers.complete(back.unwrap_or(u32::MAX), &header, time);
                continue;
            }
            let asked = captured.answers.ask(way, &header, time);
            if Some(way) == flow {
                captured.requests.push(number);
                captured.asked.extend(asked);
                hops.read(&header, asked);
            } else {
                captured.other += 1;
                hops.sent_on(&header, &captured.answers);
            }
        }
        captured.forwarded = hops.finish(&captured.answers);
        captured
    }
}

/// Finds reads of the device that went on to their target: as requests the other way for a part of what an open read asks for.
#[derive(Default)]
struct Hops {
    /// Open reads by address: where they end, and their number.
    reads: BTreeMap<u64, (u64, u32)>,
    /// By the read's number: who sent it on, and in which lengths.
    parts: BTreeMap<u32, (Bdf, Vec<u32>)>,
}

impl Hops {
    fn read(&mut self, header: &Header, number: Option<u32>) {
        if let Some(number) = number.filter(|_| header.kind().is_memory_read()) {
            let end = header.address().saturating_add(u64::from(header.length_dw()) * 4);
            self.reads.insert(header.address(), (end, number));
        }
    }

    fn sent_on(&mut self, header: &Header, answers: &Answers) {
        let (address, len) = (header.address(), header.length_dw() * 4);
        let Some((_, &(end, number))) = self.reads.range(..=address).next_back() else { return };
        let inside = address.checked_add(u64::from(len)).is_some_and(|last| last <= end);
        if header.kind().is_memory_read() && inside && answers.is_open(number) {
            self.parts.entry(number).or_insert((header.requester(), Vec::new())).1.push(len);
        }
    }

    fn finish(self, answers: &Answers) -> Vec<Forwarded> {
        let mut rows: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (number, (requester, lengths)) in self.parts {
            let Some(answer) = answers.get(number) else { continue };
            let request = format!("{} by {}", asked(&answer.request), answer.request.requester());
            let sent_on = format!("{} by {requester}", runs(lengths.iter().map(|len| format!("{len} B"))));
            let key = (request, sent_on);
            if rows.len() < ROWS || rows.contains_key(&key) {
                *rows.entry(key).or_default() += 1;
            }
        }
        rows.into_iter().map(|((request, sent_on), count)| Forwarded { request, sent_on, count }).collect()
    }
}

/// Counts requests by how they were answered.
#[derive(Default)]
struct Table {
    splits: Splits,
    rows: BTreeMap<(String, String, String, Vec<&'static str>), u64>,
}

impl Table {
    fn add(&mut self, captured: &Answer, simulated: &Answer) {
        let different = differences(captured, simulated);
        self.splits.compared += 1;
        *(if different.is_empty() { &mut self.splits.equal } else { &mut self.splits.different }) += 1;
        let key = (asked(&captured.request), parts(&captured.parts), parts(&simulated.parts), different);
        if self.rows.len() < ROWS || self.rows.contains_key(&key) {
            *self.rows.entry(key).or_default() += 1;
        } else {
            self.splits.in_no_row += 1;
        }
    }

    fn finish(mut self) -> Splits {
        let row = |((request, captured, simulated, different), count)| SplitRow {
            request,
            captured,
            simulated,
            different,
            count,
        };
        self.splits.rows = self.rows.into_iter().map(row).collect();
        self.splits
    }
}

/// In what two answers differ: how many completions there are, and what those have that are on both sides.
fn differences(captured: &Answer, simulated: &Answer) -> Vec<&'static str> {
    let both = || captured.parts.iter().zip(&simulated.parts);
    let found = [
        ("number", captured.parts.len() != simulated.parts.len()),
        ("lengths", both().any(|(one, other)| one.bytes != other.bytes)),
        ("byte counts", both().any(|(one, other)| one.byte_count != other.byte_count)),
        ("lower addresses", both().any(|(one, other)| one.lower_address != other.lower_address)),
        ("statuses", both().any(|(one, other)| one.status != other.status)),
        ("incomplete", captured.done.is_some() != simulated.done.is_some()),
    ];
    found.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| what).collect()
}

/// What a request asks for: `MRd32 512 B`.
fn asked(request: &Header) -> String {
    let bytes = request.completion_length_dw() * 4;
    if bytes == 0 { request.kind().to_string() } else { format!("{} {bytes} B", request.kind()) }
}

/// Completions: `2 x 256 B`, `UnsupportedRequest`.
fn parts(parts: &[Part]) -> String {
    runs(parts.iter().map(|part| match part.status {
        Status::Successful if part.bytes == 0 => "Cpl".to_owned(),
        Status::Successful => format!("{} B", part.bytes),
        status => format!("{status:?}"),
    }))
}

/// Equal neighbours are counted, and what goes on for too long is cut.
fn runs(items: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(String, u64)> = Vec::new();
    let mut more = false;
    for item in items {
        let full = runs.len() == RUNS;
        match runs.last_mut() {
            Some((last, count)) if *last == item => *count += 1,
            _ if full => {
                more = true;
                break;
            }
            _ => runs.push((item, 1)),
        }
    }
    let mut text: Vec<_> =
        runs.into_iter().map(|(item, count)| if count == 1 { item } else { format!("{count} x {item}") }).collect();
    if more {
        text.push("...".to_owned());
    }
    if text.is_empty() { "none".to_owned() } else { text.join(" + ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_runs() {
        let text = |lengths: &[u32]| runs(lengths.iter().map(|len| format!("{len} B")));
        assert_eq!(text(&[]), "none");
        assert_eq!(text(&[64, 256, 256, 192]), "64 B + 2 x 256 B + 192 B");
        assert_eq!(text(&[1, 2, 3, 4, 5, 6, 6, 7]), "1 B + 2 B + 3 B + 4 B + 5 B + 2 x 6 B + ...");
    }
}
