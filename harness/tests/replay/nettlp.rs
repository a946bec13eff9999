//! NetTLP's framing: the public captures where they are, and made-up ones.

use std::collections::BTreeMap;

use mlx5_twin_harness::replay::{Counts, SplitRow};
use mlx5_twin_sim::tlp::Header;

use crate::frames::{self, Frame, back, conversation, pcap, pcapng, read, request};
use crate::{captures, nettlp, profile};

/// The same judgement as that of the codec's own test of these captures, frame by frame.
#[test]
fn every_frame_of_the_public_captures_is_byte_exact_or_has_its_reason() {
    let profile = profile(&[]);
    let files = captures();
    let mut rejected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let (mut exact, mut compared, mut equal, mut early) = (0, 0, 0, 0);
    for (name, bytes) in &files {
        let (report, detail) = nettlp(bytes, &profile);
        let Counts { frames, decoded, byte_exact, .. } = report.counts;
        assert_eq!(decoded, byte_exact, "{name}");
        assert_eq!(frames, decoded + report.counts.rejected.values().sum::<u64>(), "{name}");
        assert_eq!(decoded, report.counts.requests + report.counts.completions_captured, "{name}");
        for (reason, count) in report.counts.rejected {
            rejected.insert((name.clone(), reason), count);
        }
        exact += byte_exact;
        compared += detail.splits.compared;
        equal += detail.splits.equal;
        early += detail.completions_before_request;
        assert_eq!(detail.unanswered + detail.unexpected_completions + detail.tags_reused_in_flight, 0, "{name}");
        // Real devices asked for nothing that the simulated root complex hasn't got.
        assert_eq!((detail.faults.unsupported_request, detail.faults.malformed), (0, 0), "{name}");
        let latencies =
            [detail.latency_captured, detail.latency_simulated].map(|latency| latency.map_or(0, |l| l.count));
        assert_eq!(latencies, [detail.splits.compared; 2], "{name}");
    }
    if files.is_empty() {
        return;
    }
    println!(
        "{} files: {exact} byte-exact, {compared} requests compared, {equal} split alike; rejected: {rejected:?}",
        files.len()
    );
    assert_eq!((files.len(), exact), (30, 1_610));
    let junk: u64 = rejected.values().sum();
    assert_eq!(junk, 92);
    for (file, reason) in rejected.keys() {
        assert!(["pm1725-read-16blk.pcap", "pm1725-read-8blk.pcap"].contains(&file.as_str()), "{file}");
        assert!(["malformed TLP: FirstBeZero", "malformed TLP: ReservedType"].contains(&reason.as_str()), "{reason}");
    }
    // In one file an answer was captured 3.5 us before its question.
    assert_eq!(early, 1);
    // All of them were taken with 256-byte payloads, the profile's.
    assert_eq!(compared, equal);
}

/// A root complex may make several reads of one, a switch may not.
#[test]
fn the_public_captures_of_two_ways_show_who_splits() {
    let profile = profile(&[]);
    for (name, bytes) in captures() {
        let (expected, other) = match name.as_str() {
            "mrd-512byte-rc.pcap" => ("MRd32 512 B by 1a:00.0 -> 8 x 64 B by 64:00.0", 8),
            "mrd-512byte-plx.pcap" => ("MRd32 512 B by 1b:00.0 -> 512 B by 1b:00.0", 1),
            _ => continue,
        };
        let (_, detail) = nettlp(&bytes, &profile);
        let sent_on: Vec<_> =
            detail.forwarded.iter().map(|row| (format!("{} -> {}", row.request, row.sent_on), row.count)).collect();
        assert_eq!(sent_on, [(expected.to_owned(), 1)], "{name}");
        assert_eq!((detail.requests_played, detail.requests_other_direction), (1, other), "{name}");
    }
}

#[test]
fn every_kind_of_file_says_the_same() {
    let profile = profile(&[]);
    let frames = conversation();
    let (first, detail) = nettlp(&pcap(&frames, true, false, 65_535), &profile);
    assert_eq!(detail.device.as_deref(), Some("19:00.0"));
    assert_eq!((first.counts.frames, first.counts.decoded, first.counts.byte_exact), (9, 9, 9));
    assert_eq!(
        (first.counts.requests, first.counts.completions_captured, first.counts.completions_simulated),
        (5, 4, 4)
    );
    assert_eq!((detail.requests_played, detail.requests_other_direction), (4, 1));
    assert_eq!((detail.splits.compared, detail.splits.equal, detail.cut_payloads), (3, 3, 0));
    let latency = detail.latency_captured.expect("latencies");
    assert_eq!((latency.count, latency.min_ps, latency.max_ps), (3, 1_000_000, 1_200_000));

    let text = |bytes: &[u8]| {
        let (report, detail) = nettlp(bytes, &profile);
        (report.counts, serde_json::to_value(detail).expect("JSON"))
    };
    let expected = (first.counts.clone(), serde_json::to_value(&detail).expect("JSON"));
    for (nano, big) in [(true, true), (false, false), (false, true)] {
        // All times are whole microseconds but for tenths, which the coarser files lack.
        let frames: Vec<_> = frames.iter().map(|frame| Frame { ns: frame.ns * 10, ..frame.clone() }).collect();
        let other = pcap(&frames, true, false, 65_535);
        assert_eq!(text(&pcap(&frames, nano, big, 65_535)), text(&other), "{nano} {big}");
    }
    assert_eq!(text(&pcapng(&frames)), expected);

    let (cut, detail) = nettlp(&pcap(&frames, true, false, 128), &profile);
    assert_eq!((cut.counts.byte_exact, detail.cut_payloads), (9, 4));
    assert_eq!((detail.splits.compared, detail.splits.equal), (3, 3));
}

fn row(request: &str, captured: &str, simulated: &str, different: &[&'static str], count: u64) -> SplitRow {
    let [request, captured, simulated] = [request, captured, simulated].map(str::to_owned);
    SplitRow { request, captured, simulated, different: different.to_vec(), count }
}

#[test]
fn sizes_of_the_profile_decide_the_splits() {
    let file = pcap(&conversation(), true, false, 65_535);
    let sizes = |payload: u32, boundary: u32| {
        let payload = format!("max_payload = {payload} ");
        let boundary = format!("read_completion_boundary = {boundary} ");
        profile(&[("max_payload = 256 ", &payload), ("read_completion_boundary = 64 ", &boundary)])
    };
    let (_, small) = nettlp(&file, &sizes(128, 64));
    assert_eq!((small.max_payload, small.read_completion_boundary), (128, 64));
    assert_eq!((small.splits.equal, small.splits.different), (1, 2));
    assert_eq!(
        small.splits.rows,
        [
            row("MRd32 256 B", "256 B", "2 x 128 B", &["number", "lengths"], 1),
            row("MRd32 512 B", "2 x 256 B", "4 x 128 B", &["number", "lengths", "byte counts"], 1),
            row("MRd64 12 B", "12 B", "12 B", &[], 1),
        ]
    );
    // A read of 256 bytes that begins 64 bytes before a multiple of 128 ends at the boundary.
    let reads = [read(1, 0x1040, 256)];
    let file = pcap(&[request(0, &reads[0]), back(9, &frames::part(&reads[0], 0, 64))], true, false, 65_535);
    let splits = |payload, boundary| nettlp(&file, &sizes(payload, boundary)).1.splits.rows[0].simulated.clone();
    assert_eq!(splits(128, 64), "2 x 128 B");
    assert_eq!(splits(128, 128), "64 B + 128 B + 64 B");
    assert_eq!(splits(512, 64), "256 B");
}

#[test]
fn what_does_not_match_is_counted() {
    let profile = profile(&[]);
    let (first, second) = (read(7, 0x1000, 64), read(7, 0x2000, 128));
    let frames = [
        request(100, &first),
        // The same tag while the first is open, and never answered.
        request(110, &second),
        back(120, &frames::part(&first, 0, 16)),
        // Nobody asked for it.
        back(130, &frames::part(&read(8, 0x3000, 4), 0, 1)),
        // Earlier than the one before.
        request(90, &Header::mem_write_bytes(frames::DEVICE, 0, 0x4000, 4).expect("a write")),
        // Above all memory that can be simulated.
        request(200, &read(9, 1 << 50, 4)),
        back(300, &frames::part(&read(9, 1 << 50, 4), 0, 1)),
    ];
    let (report, detail) = nettlp(&pcap(&frames, true, false, 65_535), &profile);
    assert_eq!((detail.tags_reused_in_flight, detail.unanswered, detail.unexpected_completions), (1, 1, 1));
    assert_eq!((detail.time_steps_back, detail.requests_played), (1, 4));
    assert_eq!(report.counts.completions_simulated, 3);
    assert_eq!((detail.splits.equal, detail.splits.different), (1, 1));
    let refused = &detail.splits.rows[1];
    assert_eq!((refused.captured.as_str(), refused.simulated.as_str()), ("4 B", "UnsupportedRequest"));
    assert_eq!(refused.different, ["lengths", "statuses"]);
    assert_eq!(detail.faults.unsupported_request, 1);
}

#[test]
fn the_device_is_who_moves_the_most() {
    let profile = profile(&[]);
    let host = |ns| back(ns, &Header::mem_write_bytes(frames::ROOT, 0, 0xc000_0000, 4).expect("a write"));
    let mut frames: Vec<_> = (0..10).map(host).collect();
    frames.push(request(50, &read(0, 0x1000, 64)));
    let (_, detail) = nettlp(&pcap(&frames, true, false, 65_535), &profile);
    assert_eq!((detail.device.as_deref(), detail.requests_played), (Some("19:00.0"), 1));
    // Of equal ones, the first.
    frames.truncate(1);
    frames.push(request(50, &read(0, 0x1000, 4)));
    let (_, detail) = nettlp(&pcap(&frames, true, false, 65_535), &profile);
    assert_eq!(detail.device.as_deref(), Some("00:00.0"));
}
