//! Files that can't be replayed: a message with file, offset and reason, exit code 2; and the program as a user runs it.

use std::fs;

use mlx5_twin_harness::capture::{ReadError, Reason};
use mlx5_twin_harness::replay::{Agents, ReplayError, Wrong};
use serde_json::Value;

use crate::common::{Folder, text, twin};
use crate::exact::capture;
use crate::frames::{block, conversation, pcap, pcapng};
use crate::{play, profile, profile_text};

/// Why a file of these bytes can't be replayed.
fn error(bytes: &[u8]) -> ReplayError {
    play(bytes, &capture().0, Agents::All).expect_err("an error")
}

fn wrong(bytes: &[u8]) -> (u64, Wrong) {
    match error(bytes) {
        ReplayError::At { offset, reason } => (offset, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_cut_of_a_pcap_file_is_noticed() {
    let file = pcap(&conversation(), true, false, 128);
    let mut whole = 0;
    for len in 0..file.len() {
        match play(&file[..len], &capture().0, Agents::All) {
            // Between records: nothing tells that more was to come.
            Ok(report) => {
                whole += 1;
                assert!(report.counts.frames < 9);
            }
            Err(ReplayError::Read(ReadError::Record { offset, reason: Reason::Truncated { missing } })) => {
                assert!(offset <= len as u64 && missing > 0 && missing <= (file.len() - len) as u64, "{len}");
            }
            Err(ReplayError::At { offset: 0, reason: Wrong::Empty }) => assert_eq!(len, 24),
            Err(error) => panic!("cut after {len} bytes: {error}"),
        }
    }
    assert_eq!(whole, 8);
}

#[test]
fn each_broken_rule_of_a_pcap_file_has_its_reason() {
    let file = pcap(&conversation(), true, false, 128);
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        match error(&file) {
            ReplayError::Read(ReadError::Record { offset, reason }) => (offset, reason),
            other => panic!("{other:?}"),
        }
    };
    let first = 24_u64;
    assert_eq!(changed(0, b"GIF8"), (0, Reason::NoCapture { found: u32::from_be_bytes(*b"GIF8") }));
    assert_eq!(changed(4, &[7, 0, 3, 0]), (0, Reason::Version { major: 7, minor: 3 }));
    assert_eq!(changed(28, &[0xff; 4]), (first, Reason::Fraction { fraction: u64::from(u32::MAX) }));
    assert_eq!(changed(32, &[0xff; 4]), (first, Reason::RecordLength { length: u32::MAX }));
    assert_eq!(changed(36, &[1, 0, 0, 0]), (first, Reason::Longer { captured: 60, original: 1 }));
    // USB captures, and our own link type without our file.
    for link_type in [189, 158] {
        let mut file = file.clone();
        file[20] = link_type;
        assert_eq!(wrong(&file), (0, Wrong::LinkType { found: u32::from(link_type) }));
    }
}

#[test]
fn foreign_captures_are_named_as_such() {
    let mut frames = conversation();
    for frame in &mut frames {
        // IPv6.
        frame.bytes[12] = 0x86;
        frame.bytes[13] = 0xdd;
    }
    let first = "Ethertype 0x86dd is not IPv4".to_owned();
    let expected = Wrong::Foreign { frames: 9, first };
    assert_eq!(wrong(&pcap(&frames, true, false, 128)), (24, expected.clone()));
    assert_eq!(wrong(&pcapng(&frames)), (28 + 32, expected));
    // Only simple packet blocks, which have no time.
    let mut simple = pcapng(&[]);
    simple.extend(block(3, &[&[0, 0, 0, 64][..], &[0; 64]].concat()));
    let (offset, Wrong::Foreign { frames: 1, first }) = wrong(&simple) else { panic!() };
    assert_eq!((offset, first.as_str()), (60, "no time: an older packet block of pcapng"));
    assert_eq!(wrong(&pcapng(&[])), (0, Wrong::Empty));
}

#[test]
fn our_own_captures_must_be_whole_and_of_this_profile() {
    let (_, bytes) = capture();
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text");
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let other = profile(&[("poll_ns = 100 ", "poll_ns = 101 ")]);
    let ReplayError::At { offset: 0, reason } = play(bytes, &other, Agents::All).expect_err("another profile") else {
        panic!()
    };
    let message = reason.to_string();
    assert!(message.starts_with("the capture was made with profile test (") && message.contains("and this is test ("));

    // A device that somebody else wrote replays too: nobody asks it anything.
    let other =
        crate::exact(&replaced("device scratch", "device scratcg"), &capture().0, Agents::All).expect("a capture");
    assert_eq!(other.tlps_different, 0);
    assert_eq!(wrong(&replaced("seed 1", "seed x")).1, Wrong::Comment { item: "seed", found: "x".to_owned() });
    assert_eq!(wrong(&replaced("seed 1", "need 1")).1, Wrong::Comment { item: "seed", found: String::new() });
    assert!(matches!(wrong(&replaced("profile test ", "profile test_")).1, Wrong::Comment { item: "profile", .. }));
    let (offset, reason) = wrong(&replaced("host -> switch", "host -> svitch"));
    assert!(offset > 0 && matches!(reason, Wrong::Interface { .. }), "{reason}");
    // Another seed has other latencies.
    let replay = crate::exact(&replaced("seed 1", "seed 2"), &capture().0, Agents::All).expect("a capture");
    assert!(replay.tlps_different > 100);

    // Cut between blocks: at the counts, and at a packet.
    let last = bytes.len() - u32::from_be_bytes(*bytes.last_chunk().expect("a length")) as usize;
    assert_eq!(wrong(&bytes[..last]), (last as u64, Wrong::Incomplete));
    let ReplayError::Read(ReadError::Block { reason: Reason::Truncated { missing: 5 }, .. }) =
        error(&bytes[..bytes.len() - 5])
    else {
        panic!()
    };
}

#[test]
fn the_program_says_file_offset_and_reason() {
    let folder = Folder::new("broken-captures");
    let good = pcap(&conversation(), true, false, 128);
    let own = &capture().1;
    let mut junk = good.clone();
    junk[32..36].copy_from_slice(&[0xff; 4]);
    let cases = [
        (folder.write("a.txt", b"no capture"), vec!["a.txt: record at byte 0: the file begins with 0x6e6f2063"]),
        (folder.write("empty.pcap", b""), vec!["empty.pcap: record at byte 0: the file ends 24 bytes too early"]),
        (folder.write("cut.pcap", &good[..50]), vec!["cut.pcap: record at byte 24: the file ends "]),
        (folder.write("junk.pcap", &junk), vec!["junk.pcap: record at byte 24: a record of 4294967295 bytes"]),
        (folder.write("own.pcapng", own), vec!["own.pcapng: at byte 0: the capture was made with profile test ("]),
        (folder.file("none.pcap"), vec!["none.pcap: ", "No such file"]),
        (folder.file(""), vec!["irectory"]),
    ];
    let changed = profile_text(&[("poll_ns = 100 ", "poll_ns = 101 ")]);
    let profile = folder.write("other.toml", changed.as_bytes());
    let good = folder.write("good.pcap", &good);
    let mut runs: Vec<_> =
        cases.into_iter().map(|(path, parts)| (vec![path, "--profile".to_owned(), profile.clone()], parts)).collect();
    let cut = folder.write("cut.pcapng", &own[..own.len() / 2]);
    runs.push((vec![cut], vec!["cut.pcapng: block at byte ", "too early"]));
    for (arguments, parts) in runs {
        // A good file before it makes no difference.
        let given: Vec<_> = ["replay", &good].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let output = twin(&given);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(output.stdout.is_empty(), "{given:?}");
        assert!(message.starts_with("mlx5-twin: can't replay "), "{message}");
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
    assert_eq!(twin(&["replay"]).status.code(), Some(2));
}

#[test]
fn the_program_counts_all_files() {
    let folder = Folder::new("replay-counts");
    // The name says nothing.
    let first = folder.write("first.pcapng", &pcap(&conversation(), true, false, 128));
    let second = folder.write("second.pcap", &pcapng(&conversation()[..3]));
    let output = twin(&["replay", &first, &second, "--json"]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let keys = ["frames", "decoded", "byte_exact", "requests", "completions_captured", "completions_simulated"];
    assert_eq!(keys.map(|key| report[key].as_u64().expect("a number")), [12, 12, 12, 8, 4, 7]);
    assert!(report["rejected"].as_object().expect("reasons").is_empty());
    for (number, file) in [&first, &second].into_iter().enumerate() {
        let entry = &report["files"][number];
        assert_eq!(entry["file"].as_str(), Some(file.as_str()));
        assert!(keys.iter().all(|key| entry[key].is_u64()), "{entry}");
        assert_eq!(
            (entry["framing"].as_str(), entry["container"].as_str()),
            (Some("nettlp"), Some(["pcap", "pcapng"][number]))
        );
    }
    let shown = text(&twin(&["replay", &first, &second]).stdout);
    for part in ["Device       19:00.0: 4 requests played, 1 requests the other way", "2 files", "Latency", "2 x 256 B"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for line in shown.lines().filter(|line| !line.contains(&folder.file(""))) {
        assert!(line.chars().count() <= 100 && line.trim_end() == line, "{line:?}");
    }
}

#[test]
fn the_program_replays_its_own_captures() {
    let folder = Folder::new("replay-own");
    let path = folder.file("run.pcapng");
    assert_eq!(twin(&["run", "scratch", "--seed", "3", "--capture", &path]).status.code(), Some(0));
    for mode in [&["replay", &path][..], &["replay", &path, "--model"]] {
        let output = twin(mode);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("all the same at the same picosecond"));
    }
    // A byte of the last TLP that the switch sent to the function.
    let mut bytes = fs::read(&path).expect("a capture");
    let mut reader = mlx5_twin_harness::capture::Reader::new(&bytes[..]).expect("a capture");
    let mut place = None;
    while let Some(packet) = reader.next_packet().expect("a packet") {
        if packet.interface.name == "switch -> function 0" {
            place = Some(packet.offset as usize + 28 + 24 + 6);
        }
    }
    bytes[place.expect("a TLP")] ^= 1;
    fs::write(&path, bytes).expect("a file");
    let output = twin(&["replay", &path, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 TLPs weren't replayed as they were captured"));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["files"][0]["first_difference"]["link"].as_str(), Some("switch -> function 0"));
}
