//! What a run shows: as text for people, and as one JSON object.

use std::collections::BTreeMap;
use std::fmt;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::Faults;
use serde::Serialize;

use crate::capture::{LinkName, Statistics};
use crate::devices::serial::uart::Counts;
use crate::devices::{FoundFunction, HostReport, Summary, TextReport};
use crate::faults;

/// All that a run has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The emulated device.
    pub device: String,
    /// The backend: `sim`.
    pub backend: String,
    /// The profile.
    pub profile: ProfileId,
    /// The seed.
    pub seed: u64,
    /// What the host program found and did, on the root complex above the first function that was served.
    pub host: HostReport,
    /// What the host programs of further root complexes found and did, if functions below those were served.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_hosts: Vec<OtherHost>,
    /// What the emulation program did.
    pub emulation: Summary,
    /// TLPs that arrived, by type.
    pub tlps: Vec<TlpRow>,
    /// What each link carried.
    pub links: Vec<LinkRow>,
    /// What went wrong on the fabric.
    pub faults: FaultCounts,
    /// What came of mistakes that the emulation program made on purpose, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes: Option<String>,
    /// The faults that happened on the fabric by rule, by kind, if there were rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired: Option<BTreeMap<String, u64>>,
    /// How much virtual time the run took, in picoseconds.
    pub simulated_ps: u64,
    /// How much real time it took, in nanoseconds.
    pub real_ns: u64,
    /// The capture, if one was asked for.
    pub capture: Option<CaptureFile>,
}

/// The host program of a further root complex.
#[derive(Clone, Debug, Serialize)]
pub struct OtherHost {
    /// The root complex, by its name in the profile.
    pub root: String,
    /// What it found and did.
    #[serde(flatten)]
    pub report: HostReport,
}

/// Which profile was used.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileId {
    /// Its name.
    pub name: String,
    /// FNV-1a hash of its file, 16 hexadecimal digits.
    pub hash: String,
}

/// TLPs of one type, with the times from their source to where they were consumed, in picoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct TlpRow {
    /// The type: `MRd64`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// The shortest time.
    pub min_ps: u64,
    /// The median; see [`crate::capture::Histogram`] for how exact it is.
    pub median_ps: u64,
    /// 99 of 100 took no longer.
    pub p99_ps: u64,
    /// The longest.
    pub max_ps: u64,
}

/// What a link carried.
#[derive(Clone, Debug, Serialize)]
pub struct LinkRow {
    /// The end nearer to the root complex.
    pub upper: String,
    /// The other end.
    pub lower: String,
    /// TLPs away from the root complex.
    pub down_tlps: u64,
    /// Their bytes, without framing.
    pub down_bytes: u64,
    /// TLPs towards the root complex.
    pub up_tlps: u64,
    /// Their bytes, without framing.
    pub up_bytes: u64,
}

/// What went wrong on the fabric. Requests to functions that don't exist, by which enumeration finds out, are Unsupported Requests too.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FaultCounts {
    /// Unsupported Requests.
    pub unsupported_request: u64,
    /// Completer Aborts.
    pub completer_abort: u64,
    /// Completions that answer no request.
    pub unexpected_completion: u64,
    /// Requests whose completion didn't come in time.
    pub completion_timeout: u64,
    /// TLPs that break the rules of their format.
    pub malformed: u64,
}

impl From<Faults> for FaultCounts {
    fn from(faults: Faults) -> FaultCounts {
        FaultCounts {
            unsupported_request: faults.unsupported_request,
            completer_abort: faults.completer_abort,
            unexpected_completion: faults.unexpected_completion,
            completion_timeout: faults.completion_timeout,
            malformed: faults.malformed,
        }
    }
}

/// A capture that was written.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureFile {
    /// Where it is.
    pub path: String,
    /// TLPs on links in it.
    pub packets: u64,
    /// Its length.
    pub bytes: u64,
}

/// The rows of TLPs by type, in the order of the types.
pub fn tlp_rows(statistics: &Statistics) -> Vec<TlpRow> {
    let row = |(kind, latency): (mlx5_twin_sim::tlp::Kind, &crate::capture::Histogram)| {
        Some(TlpRow {
            kind: kind.to_string(),
            count: latency.count(),
            min_ps: latency.min()?,
            median_ps: latency.percentile(50)?,
            p99_ps: latency.percentile(99)?,
            max_ps: latency.max()?,
        })
    };
    statistics.by_kind().filter_map(row).collect()
}

/// The rows of links, in the order of their numbers.
pub fn link_rows(statistics: &Statistics, names: &[LinkName]) -> Vec<LinkRow> {
    let traffic = |link: usize| statistics.links().get(link).copied().unwrap_or_default();
    let row = |(link, name): (usize, &LinkName)| {
        let [down, up] = traffic(link);
        LinkRow {
            upper: name.upper.clone(),
            lower: name.lower.clone(),
            down_tlps: down.tlps,
            down_bytes: down.bytes,
            up_tlps: up.tlps,
            up_bytes: up.bytes,
        }
    };
    names.iter().enumerate().map(row).collect()
}

/// How many errors of a host are shown one by one.
const SHOWN: usize = 8;

/// Names of capabilities in the PCI list (PCI code and ID assignment specification).
fn capability_name(id: u8) -> String {
    match id {
        0x01 => "PM".to_owned(),
        0x05 => "MSI".to_owned(),
        0x09 => "vendor".to_owned(),
        0x10 => "PCIe".to_owned(),
        0x11 => "MSI-X".to_owned(),
        other => format!("{other:#04x}"),
    }
}

/// A number with a comma after each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest unit that gives a whole number.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{} B", grouped(bytes)), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

fn write_text(text: &TextReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let TextReport { chip, baud, characters, .. } = text;
    let (baud, characters) = (grouped(*baud), grouped(*characters));
    writeln!(f, "          {chip} at {baud} baud: {characters} characters there and back, each as it was sent")
}

/// Lines about functions that were reset after an error, and about those that the host has lost.
pub(crate) fn write_errors(host: &HostReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for error in host.recoveries.iter().take(SHOWN) {
        writeln!(f, "          the function was reset after: {error}")?;
    }
    if let Some(more) = host.recoveries.len().checked_sub(SHOWN).filter(|&more| more > 0) {
        writeln!(f, "          and after {} other errors", grouped(more as u64))?;
    }
    for lost in &host.lost {
        writeln!(f, "          lost {lost}")?;
    }
    Ok(())
}

/// Lines about what the emulation program did.
pub(crate) fn write_software(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Summary { reads, writes, interrupts, interrupts_dropped, resets, characters } = *summary;
    let (reads, writes, interrupts) = (grouped(reads), grouped(writes), grouped(interrupts));
    write!(f, "Software  {reads} reads answered, {writes} writes taken, {interrupts} interrupts raised")?;
    for (count, what) in [(interrupts_dropped, "interrupts dropped"), (resets, "resets")] {
        if count > 0 {
            write!(f, ", {} {what}", grouped(count))?;
        }
    }
    writeln!(f)?;
    if let Some(Counts { sent, received, overruns, overflows, cut_off, test_losses }) = characters {
        write!(f, "          {} characters to the line, {} from it", grouped(sent), grouped(received))?;
        let losses = [
            (overruns, "lost by overruns"),
            (overflows, "lost by overflows"),
            (cut_off, "cut off"),
            (test_losses, "lost in loopback tests"),
        ];
        for (count, what) in losses.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {} {what}", grouped(count))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// Lines about what a host program did.
fn write_exercise(host: &HostReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let HostReport { rounds, reads, writes, interrupts, mismatches, first_mismatches, text, .. } = host;
    let vectors: Vec<_> = interrupts.iter().map(|count| grouped(*count)).collect();
    let (rounds, reads, writes) = (grouped(*rounds), grouped(*reads), grouped(*writes));
    let what = if text.is_some() { "lines" } else { "rounds" };
    writeln!(
        f,
        "Host      {rounds} {what}: {reads} reads, {writes} writes, interrupts by vector {}",
        vectors.join(" + ")
    )?;
    match (text, mismatches) {
        (Some(text), _) => write_text(text, f)?,
        (None, 0) => writeln!(f, "          all values as expected")?,
        (None, count) => writeln!(f, "          {count} values were NOT as expected, the first of them:")?,
    }
    for mismatch in first_mismatches {
        writeln!(f, "          {}: {:#x}, not {:#x}", mismatch.what, mismatch.found, mismatch.expected)?;
    }
    write_errors(host, f)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProfileId { name, hash } = &self.profile;
        writeln!(f, "{} on {}, profile {name} ({hash}), seed {}\n", self.device, self.backend, self.seed)?;
        writeln!(f, "The host found")?;
        self.write_functions(&self.host, f)?;
        write_exercise(&self.host, f)?;
        for OtherHost { root, report } in &self.other_hosts {
            writeln!(f, "\nThe host of {root} found")?;
            self.write_functions(report, f)?;
            write_exercise(report, f)?;
        }
        write_software(&self.emulation, f)?;
        writeln!(f)?;
        self.write_tlps(f)?;
        self.write_links(f)?;
        self.write_faults(f)?;
        let (simulated, real) = (Time::ps(self.simulated_ps), Time::ps(self.real_ns.saturating_mul(1000)));
        let done = Time::ps(self.host.finished_ps);
        writeln!(f, "Time      {simulated} simulated in {real}; the host was done after {done}")?;
        if let Some(CaptureFile { path, packets, bytes }) = &self.capture {
            writeln!(f, "Capture   {path}: {} TLPs on links, {} bytes", grouped(*packets), grouped(*bytes))?;
        }
        Ok(())
    }
}

impl Report {
    fn write_functions(&self, host: &HostReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, function) in host.functions.iter().enumerate() {
            let FoundFunction { id, vendor, device, class, bridge, depth, bars, capabilities } = function;
            let indent = usize::from(*depth) * 2;
            let what = if *bridge { "bridge".to_owned() } else { format!("class {class:06x}") };
            let names: Vec<_> = capabilities.iter().map(|id| capability_name(*id)).collect();
            let mark = if host.exercised.contains(&index) { format!("   <- {}", self.device) } else { String::new() };
            writeln!(f, "  {:indent$}{id}  {vendor:04x}:{device:04x}  {what}  [{}]{mark}", "", names.join(" "))?;
            for bar in bars {
                let kind = if bar.prefetchable { ", prefetchable" } else { "" };
                writeln!(f, "  {:indent$}    BAR {}: {} at {:#x}{kind}", "", bar.index, size(bar.size), bar.address)?;
            }
        }
        writeln!(f)
    }

    fn write_tlps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{:>10}{:>14}{:>14}{:>14}", "TLPs", "count", "min", "median", "p99")?;
        for row in &self.tlps {
            let [min, median, p99] = [row.min_ps, row.median_ps, row.p99_ps].map(|ps| Time::ps(ps).to_string());
            writeln!(f, "  {:<10}{:>10}{min:>14}{median:>14}{p99:>14}", row.kind, grouped(row.count))?;
        }
        writeln!(f, "  {:<10}{:>10}\n", "all", grouped(self.tlps.iter().map(|row| row.count).sum()))
    }

    fn write_links(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |row: &LinkRow| format!("{} - {}", row.upper, row.lower);
        let width = self.links.iter().map(|row| name(row).len()).max().unwrap_or(0).max(20) + 2;
        writeln!(f, "{:<width$}{:>12}{:>14}{:>12}{:>14}", "Links", "TLPs down", "bytes", "TLPs up", "bytes")?;
        let (used, idle): (Vec<_>, Vec<_>) = self.links.iter().partition(|row| row.down_tlps + row.up_tlps > 0);
        for row in used {
            let columns = [row.down_tlps, row.down_bytes, row.up_tlps, row.up_bytes].map(grouped);
            let [down, down_bytes, up, up_bytes] = &columns;
            writeln!(f, "  {:<w$}{down:>12}{down_bytes:>14}{up:>12}{up_bytes:>14}", name(row), w = width - 2)?;
        }
        if !idle.is_empty() {
            writeln!(f, "  {} more that carried nothing", grouped(idle.len() as u64))?;
        }
        writeln!(f)
    }

    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FaultCounts { unsupported_request, completer_abort, unexpected_completion, completion_timeout, malformed } =
            self.faults;
        let counts = [
            (unsupported_request, "unsupported requests"),
            (completer_abort, "completer aborts"),
            (unexpected_completion, "unexpected completions"),
            (completion_timeout, "completion timeouts"),
            (malformed, "malformed TLPs"),
        ];
        let said: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{} {what}", grouped(*n))).collect();
        if !said.is_empty() {
            writeln!(f, "Faults    {}", said.join(", "))?;
        }
        match &self.fired {
            Some(counts) => writeln!(f, "By rule   {}", faults::in_words(counts)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        let sizes = [(0, "0 B"), (1500, "1,500 B"), (16 << 10, "16 KiB"), (64 << 20, "64 MiB"), (3 << 30, "3 GiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }

    /// A report with something in every part, and numbers as wide as they get.
    fn report() -> Report {
        let function = |id: &str, bridge, depth| FoundFunction {
            id: id.to_owned(),
            vendor: 0xfff1,
            device: 1,
            class: 0xff_0000,
            bridge,
            depth,
            bars: Vec::new(),
            capabilities: vec![0x01, 0x10, 0x11],
        };
        let mut end = function("03:00.0", false, 3);
        end.bars.push(crate::devices::FoundBar { index: 0, address: 0xc000_0000, size: 0x4000, prefetchable: false });
        let row = |kind: &str| TlpRow {
            kind: kind.to_owned(),
            count: 1_234_567,
            min_ps: 105_250,
            median_ps: 999_999_999,
            p99_ps: 50_000_000_000,
            max_ps: 60_000_000_000,
        };
        Report {
            device: "scratch".to_owned(),
            backend: "sim".to_owned(),
            profile: ProfileId { name: "bluefield3-ib".to_owned(), hash: "0123456789abcdef".to_owned() },
            seed: u64::MAX,
            host: HostReport {
                functions: vec![function("00:00.0", true, 0), function("01:00.0", true, 1), end],
                exercised: vec![2],
                rounds: 40,
                interrupts: vec![3, 1],
                finished_ps: 2_500_000_000,
                ..HostReport::default()
            },
            other_hosts: Vec::new(),
            emulation: Summary { reads: 2000, resets: 1, ..Summary::default() },
            tlps: vec![row("MWr32"), row("FetchAdd64")],
            links: [("function 0", 12_345_678, 1_234_567_890), ("function 1", 0, 0), ("function 2", 0, 0)]
                .map(|(lower, tlps, bytes)| LinkRow {
                    upper: "switch".to_owned(),
                    lower: lower.to_owned(),
                    down_tlps: tlps,
                    down_bytes: bytes,
                    up_tlps: tlps,
                    up_bytes: bytes,
                })
                .into(),
            faults: Faults { unsupported_request: 31, malformed: 1, ..Faults::default() }.into(),
            mistakes: None,
            fired: Some([("drop".to_owned(), 12), ("link-down".to_owned(), 1)].into()),
            simulated_ps: 3_400_000_000,
            real_ns: 25_000_000,
            capture: Some(CaptureFile { path: "a.pcapng".to_owned(), packets: 1234, bytes: 99_000 }),
        }
    }

    #[test]
    fn fits_100_columns_and_says_all() {
        let text = report().to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        for part in [
            "        03:00.0  fff1:0001  class ff0000  [PM PCIe MSI-X]   <- scratch\n            BAR 0: 16 KiB at 0xc0000000\n",
            "interrupts by vector 3 + 1\n          all values as expected\n",
            "2,000 reads answered, 0 writes taken, 0 interrupts raised, 1 resets\n",
            "FetchAdd64 1,234,567    105.250 ns    999.999 us     50.000 ms\n",
            "Faults    31 unsupported requests, 1 malformed TLPs\nBy rule   12 drop, 1 link-down\n",
            " 12,345,678 1,234,567,890\n  2 more that carried nothing\n\n",
            "Time      3.400 ms simulated in 25.000 ms; the host was done after 2.500 ms\n",
            "Capture   a.pcapng: 1,234 TLPs on links, 99,000 bytes\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn mismatches_are_loud() {
        let mut report = report();
        report.host.mismatches = 2;
        report.host.first_mismatches =
            vec![crate::devices::Mismatch { what: "reading SCRATCH".to_owned(), expected: 1, found: 2 }];
        let text = report.to_string();
        assert!(
            text.contains("2 values were NOT as expected") && text.contains("reading SCRATCH: 0x2, not 0x1"),
            "{text}"
        );
    }

    #[test]
    fn json_is_one_object() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(value["host"]["functions"][2]["bars"][0]["size"], 0x4000);
        assert_eq!(value["tlps"][0]["count"], 1_234_567);
        assert_eq!(value["capture"]["packets"], 1234);
    }
}
