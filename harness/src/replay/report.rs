//! What replays show: as text for people, and as one JSON object.

use std::collections::BTreeMap;
use std::fmt;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::tlp::Header;
use serde::Serialize;

use super::Agents;
use crate::capture::{Histogram, NotTlp};
use crate::report::{FaultCounts, ProfileId, grouped};

/// What was counted of one file, or of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Frames of the file.
    pub frames: u64,
    /// Those whose TLP has a valid header.
    pub decoded: u64,
    /// Those of them that were encoded to the same bytes again, as far as they were captured.
    pub byte_exact: u64,
    /// The other frames, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Decoded TLPs that are requests, posted ones included.
    pub requests: u64,
    /// Decoded TLPs that are completions.
    pub completions_captured: u64,
    /// Completions that the simulation sent. For our own captures: on all links, as the captured ones.
    pub completions_simulated: u64,
}

impl Counts {
    /// Counts a TLP; `exact` says whether it was encoded to the same bytes.
    pub(super) fn decoded(&mut self, header: &Header, exact: bool) {
        self.decoded += 1;
        self.byte_exact += u64::from(exact);
        *(if header.kind().is_completion() { &mut self.completions_captured } else { &mut self.requests }) += 1;
    }

    /// Counts a frame that isn't taken.
    pub(super) fn reject(&mut self, reason: &NotTlp) {
        *self.rejected.entry(reason.reason()).or_default() += 1;
    }

    fn add(&mut self, other: &Counts) {
        self.frames += other.frames;
        self.decoded += other.decoded;
        self.byte_exact += other.byte_exact;
        self.requests += other.requests;
        self.completions_captured += other.completions_captured;
        self.completions_simulated += other.completions_simulated;
        for (reason, count) in &other.rejected {
            *self.rejected.entry(reason.clone()).or_default() += count;
        }
    }
}

/// All that a replay has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The profile.
    pub profile: ProfileId,
    /// The sums over all files.
    #[serde(flatten)]
    pub totals: Counts,
    /// The files, as they were given.
    pub files: Vec<FileReport>,
}

impl Report {
    /// The report of files that were replayed with this profile.
    pub fn new(profile: ProfileId, files: Vec<FileReport>) -> Report {
        let mut totals = Counts::default();
        files.iter().for_each(|file| totals.add(&file.counts));
        Report { profile, totals, files }
    }

    /// TLPs of our own captures that weren't replayed as they were captured.
    pub fn differences(&self) -> u64 {
        let different = |file: &FileReport| match &file.detail {
            Detail::Exact(exact) => exact.tlps_different,
            Detail::NetTlp(_) => 0,
        };
        self.files.iter().map(different).sum()
    }
}

/// What was found in one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// `pcap` or `pcapng`.
    pub container: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// What only this kind of capture has.
    #[serde(flatten)]
    pub detail: Detail,
}

/// What only one kind of capture has.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "framing")]
pub enum Detail {
    /// NetTLP's framing.
    #[serde(rename = "nettlp")]
    NetTlp(NetTlp),
    /// A capture of ours.
    #[serde(rename = "mlx5-twin")]
    Exact(Exact),
}

/// A capture in NetTLP's framing, beside its simulation.
#[derive(Clone, Debug, Serialize)]
pub struct NetTlp {
    /// Requester ID of the device. `None` if there are no memory requests.
    pub device: Option<String>,
    /// Requests of the device's side, which were played.
    pub requests_played: u64,
    /// Requests the other way, to which the simulation has no answer.
    pub requests_other_direction: u64,
    /// Captured completions of the requests that were played.
    pub completions_to_device: u64,
    /// Requests that were played and ask for completions, of which the capture has none.
    pub unanswered: u64,
    /// Captured completions that answer no request of the capture.
    pub unexpected_completions: u64,
    /// Captured completions that come a little before the request which they answer, as the two directions may have been captured apart.
    pub completions_before_request: u64,
    /// Requests whose requester ID and tag were those of one still open.
    pub tags_reused_in_flight: u64,
    /// TLPs of which the capture has only the beginning; zeroes were played for the rest.
    pub cut_payloads: u64,
    /// Frames with a time before that of the frame they follow. They were played by time.
    pub time_steps_back: u64,
    /// Max_Payload_Size of the simulated root complex, in bytes.
    pub max_payload: u32,
    /// Its Read Completion Boundary, in bytes.
    pub read_completion_boundary: u32,
    /// How answers were split.
    pub splits: Splits,
    /// Reads of the device that the capture also has the other way, as somebody between it and the target sent them on.
    pub forwarded: Vec<Forwarded>,
    /// From a request to its last completion, in the capture. `None` if no request was answered.
    pub latency_captured: Option<Latency>,
    /// The same in the simulation, for the same requests.
    pub latency_simulated: Option<Latency>,
    /// What went wrong on the simulated fabric.
    pub faults: FaultCounts,
    /// Virtual time that the simulation took, in picoseconds.
    pub simulated_ps: u64,
}

/// Completions of requests: as captured, and as simulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Splits {
    /// Requests that were answered in the capture.
    pub compared: u64,
    /// Those whose completions are the same: how many, their lengths, Byte Counts, Lower Addresses and statuses, in order.
    pub equal: u64,
    /// The others.
    pub different: u64,
    /// By what was asked for, and how it was answered.
    pub rows: Vec<SplitRow>,
    /// Requests that are in none of the rows, of which there are 32 at most.
    pub in_no_row: u64,
}

/// Requests that were answered in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitRow {
    /// Type and bytes: `MRd32 512 B`.
    pub request: String,
    /// Captured completions: `2 x 256 B`.
    pub captured: String,
    /// Simulated completions.
    pub simulated: String,
    /// In what they differ: `number`, and of completions that both have `lengths`, `byte counts`, `lower addresses`, `statuses`;
    /// `incomplete` if only one side has all.
    pub different: Vec<&'static str>,
    /// How many requests.
    pub count: u64,
}

/// A read that was sent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forwarded {
    /// Type, bytes and requester: `MRd32 512 B by 1a:00.0`.
    pub request: String,
    /// The requests that became of it: `8 x 64 B by 64:00.0`.
    pub sent_on: String,
    /// How many times.
    pub count: u64,
}

/// Spans of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The shortest, in picoseconds.
    pub min_ps: u64,
    /// The median; see [`Histogram`] for how exact it is.
    pub median_ps: u64,
    /// 99 of 100 are no longer.
    pub p99_ps: u64,
    /// The longest.
    pub max_ps: u64,
}

impl Latency {
    /// What a histogram holds. `None` if that's nothing.
    pub(super) fn of(histogram: &Histogram) -> Option<Latency> {
        Some(Latency {
            count: histogram.count(),
            min_ps: histogram.min()?,
            median_ps: histogram.percentile(50)?,
            p99_ps: histogram.percentile(99)?,
            max_ps: histogram.max()?,
        })
    }
}

/// A capture of ours, beside its replay.
#[derive(Clone, Debug, Serialize)]
pub struct Exact {
    /// The device that was run.
    pub device: String,
    /// The seed of the run.
    pub seed: u64,
    /// The version of this program that made the capture.
    pub made_by: String,
    /// Whose TLPs were played.
    pub agents: Agents,
    /// TLPs on links that were the same at the same picosecond.
    pub tlps_equal: u64,
    /// TLPs on links that were others, or at other times, or missing on one side.
    pub tlps_different: u64,
    /// The first of them.
    pub first_difference: Option<Difference>,
    /// Each direction of each link.
    pub links: Vec<LaneRow>,
    /// When the last TLP of the replay left, in picoseconds.
    pub simulated_ps: u64,
}

/// A direction of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneRow {
    /// `host -> switch`.
    pub name: String,
    /// Whether its TLPs were played. If not, they're the fabric's own doing, or the device's.
    pub played: bool,
    /// TLPs that the capture has.
    pub recorded: u64,
    /// TLPs that the replay had.
    pub replayed: u64,
    /// Those that are the same at the same picosecond.
    pub equal: u64,
}

/// A TLP that isn't the same in capture and replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The direction of the link.
    pub link: String,
    /// Its number there, from 0.
    pub number: u64,
    /// Where it is in the file.
    pub offset: Option<u64>,
    /// What the capture has. `None` if the capture ends before it.
    pub recorded: Option<Seen>,
    /// What the replay had. `None` if there was nothing.
    pub replayed: Option<Seen>,
}

/// A TLP on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// When its first symbol left, in picoseconds.
    pub time_ps: u64,
    /// What it is.
    pub tlp: String,
    /// Its bytes in hexadecimal.
    pub bytes: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProfileId { name, hash } = &self.profile;
        writeln!(f, "Profile {name} ({hash})")?;
        for file in &self.files {
            write!(f, "\n{file}")?;
        }
        if self.files.len() > 1 {
            writeln!(f, "\n{} files", grouped(self.files.len() as u64))?;
            write_counts(f, &self.totals)?;
        }
        Ok(())
    }
}

/// The lines that all kinds of captures have.
fn write_counts(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    let Counts { frames, decoded, byte_exact, rejected, requests, completions_captured, completions_simulated } =
        counts;
    let rejections: u64 = rejected.values().sum();
    let [frames, decoded, byte_exact, rejections] = [*frames, *decoded, *byte_exact, rejections].map(grouped);
    writeln!(f, "Frames       {frames}: {decoded} decoded, {byte_exact} of them byte-exact, {rejections} rejected")?;
    for (reason, count) in rejected {
        writeln!(f, "             {:>8}  {reason}", grouped(*count))?;
    }
    let [requests, captured, simulated] = [*requests, *completions_captured, *completions_simulated].map(grouped);
    writeln!(f, "TLPs         {requests} requests; {captured} completions captured, {simulated} simulated")
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = match &self.detail {
            Detail::NetTlp(_) => "NetTLP's framing",
            Detail::Exact(_) => "our own capture",
        };
        writeln!(f, "{}: {framing}, {}", self.file, self.container)?;
        write_counts(f, &self.counts)?;
        match &self.detail {
            Detail::NetTlp(detail) => detail.fmt(f),
            Detail::Exact(detail) => detail.fmt(f),
        }
    }
}

impl fmt::Display for NetTlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_deref().unwrap_or("none");
        let (played, other) = (grouped(self.requests_played), grouped(self.requests_other_direction));
        writeln!(f, "Device       {device}: {played} requests played, {other} requests the other way")?;
        let (payload, boundary) = (self.max_payload, self.read_completion_boundary);
        writeln!(f, "Simulation   Max_Payload_Size {payload} B, Read Completion Boundary {boundary} B")?;
        let FaultCounts { unsupported_request, completer_abort, unexpected_completion, completion_timeout, malformed } =
            self.faults;
        for (count, what) in [
            (self.cut_payloads, "TLPs were cut in the capture and filled up with zeroes"),
            (self.unanswered, "requests have no completion in the capture"),
            (self.unexpected_completions, "completions in the capture answer no request"),
            (self.completions_before_request, "completions were captured before their requests"),
            (self.tags_reused_in_flight, "requests have the tag of one still open"),
            (self.time_steps_back, "frames have an earlier time than the one before"),
            (unsupported_request, "unsupported requests in the simulation"),
            (completer_abort, "completer aborts in the simulation"),
            (unexpected_completion, "unexpected completions in the simulation"),
            (completion_timeout, "completion timeouts in the simulation"),
            (malformed, "TLPs were larger than the simulated link takes"),
        ] {
            if count > 0 {
                writeln!(f, "             {:>8}  {what}", grouped(count))?;
            }
        }
        self.write_splits(f)?;
        self.write_latencies(f)
    }
}

impl NetTlp {
    fn write_splits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Splits { compared, equal, different, rows, in_no_row } = &self.splits;
        if *compared > 0 {
            let [compared, equal, different] = [*compared, *equal, *different].map(grouped);
            writeln!(
                f,
                "\nSplits       {compared} requests compared: {equal} answered in the same parts, {different} in others"
            )?;
            writeln!(f, "  {:<16}{:<24}{:<24}{:>10}", "", "captured", "simulated", "requests")?;
        }
        for SplitRow { request, captured, simulated, different, count } in rows {
            writeln!(f, "  {request:<16}{captured:<24}{simulated:<24}{:>10}", grouped(*count))?;
            if !different.is_empty() {
                writeln!(f, "  {:<16}they differ in: {}", "", different.join(", "))?;
            }
        }
        if *in_no_row > 0 {
            writeln!(f, "  {:<64}{:>10}", "in other ways", grouped(*in_no_row))?;
        }
        for Forwarded { request, sent_on, count } in &self.forwarded {
            writeln!(f, "  {request} was sent on as {sent_on}, {} times", grouped(*count))?;
        }
        Ok(())
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [("captured", self.latency_captured), ("simulated", self.latency_simulated)];
        if rows.iter().any(|(_, latency)| latency.is_some()) {
            writeln!(f, "\n{:<12}{:>10}{:>14}{:>14}{:>14}", "Latency", "count", "min", "median", "p99")?;
        }
        for (name, latency) in rows {
            if let Some(Latency { count, min_ps, median_ps, p99_ps, .. }) = latency {
                let [min, median, p99] = [min_ps, median_ps, p99_ps].map(|ps| Time::ps(ps).to_string());
                writeln!(f, "  {name:<10}{:>10}{min:>14}{median:>14}{p99:>14}", grouped(count))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exact { device, seed, made_by, tlps_equal, tlps_different, simulated_ps, .. } = self;
        let played = match self.agents {
            Agents::All => "root complexes and devices are played",
            Agents::RootComplexes => "root complexes are played, the device is the model",
        };
        writeln!(f, "Run          {device}, seed {seed}, mlx5-twin {made_by}; {played}")?;
        let (equal, time) = (grouped(*tlps_equal), Time::ps(*simulated_ps));
        match tlps_different {
            0 => writeln!(f, "Replay       {equal} TLPs on links, all the same at the same picosecond, until {time}")?,
            count => writeln!(f, "Replay       {} TLPs on links DIFFER, {equal} are the same", grouped(*count))?,
        }
        let width = self.links.iter().map(|row| row.name.len()).max().unwrap_or(0).max(20) + 2;
        writeln!(f, "\n{:<w$}{:>12}{:>12}{:>12}", "Links", "recorded", "replayed", "equal", w = width + 12)?;
        for LaneRow { name, played, recorded, replayed, equal } in &self.links {
            let how = if *played { "played" } else { "carried" };
            let [recorded, replayed, equal] = [*recorded, *replayed, *equal].map(grouped);
            writeln!(f, "  {name:<width$}{how:<10}{recorded:>12}{replayed:>12}{equal:>12}")?;
        }
        let Some(Difference { link, number, offset, recorded, replayed }) = &self.first_difference else {
            return Ok(());
        };
        let place = offset.map_or_else(String::new, |offset| format!(", byte {offset} of the file"));
        writeln!(f, "\nThe first difference: {link}, number {number}{place}")?;
        for (side, seen) in [("recorded", recorded), ("replayed", replayed)] {
            match seen {
                Some(Seen { time_ps, tlp, .. }) => writeln!(f, "  {side}  {time_ps} ps  {tlp}")?,
                None => writeln!(f, "  {side}  nothing")?,
            }
        }
        if let (Some(recorded), Some(replayed)) = (recorded, replayed)
            && recorded.tlp == replayed.tlp
            && recorded.bytes != replayed.bytes
        {
            writeln!(f, "  The header is the same, the other bytes aren't.")?;
        }
        if self.agents == Agents::All {
            writeln!(f, "  If software kept TLPs waiting for itself, --model plays that too.")?;
        }
        Ok(())
    }
}
