//! The program as a user runs it: results, messages and exit codes.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{Folder, command, piped, text, twin};
use mlx5_twin_harness::capture::Reader;
use mlx5_twin_harness::profile;
use serde_json::Value;

/// Runs with arguments that are wrong: nothing on standard output, one message with all `parts`, exit code 2.
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = twin(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: {message:?} lacks {part:?}");
    }
}

#[test]
fn without_arguments_a_greeting_goes_through_the_serial_port() {
    // Nobody waits for standard input.
    let mut child = command(&[]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let stdin = child.stdin.take();
    let (mut shown, mut message) = (String::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_string(&mut shown).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut message).expect("text");
    assert_eq!((child.wait().expect("it ends").code(), message.as_str()), (Some(0), ""));
    drop(stdin);
    assert!(shown.starts_with("Hello! "), "{shown}");
    for part in ["\nserial on sim, profile bluefield3-ib (", "<- serial", "each as it was sent", "CplD", "simulated in"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
}

#[test]
fn scratch_reports_to_standard_output() {
    let output = twin(&["run", "scratch"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert!(shown.starts_with("scratch on sim, profile bluefield3-ib ("), "{shown}");
    for part in ["<- scratch", "all values as expected", "CfgRd0", "CplD", "median", "host - switch", "simulated in"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
}

#[test]
fn text_comes_back_on_standard_output_alone() {
    let all_bytes: Vec<u8> = (0..=255).chain(b"\r\n\n".iter().copied()).chain((0..=255).rev()).collect();
    for input in [&b"hi\n"[..], b"no end of line", b"", &all_bytes] {
        let output = piped(command(&["run", "serial"]), input);
        let report = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), input), "{report}");
        assert!(report.starts_with("serial on sim, profile bluefield3-ib ("), "{report}");
        assert!(report.contains(&format!("{} characters there and back", input.len())), "{report}");
        assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
    }
}

/// A line is answered before the next one is awaited.
#[test]
fn text_comes_back_as_it_is_typed() {
    let mut child = command(&["run", "serial", "--seed", "3"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    for line in ["one\n", "two\n", "\n"] {
        input.write_all(line.as_bytes()).expect("it reads");
        let mut answer = String::new();
        output.read_line(&mut answer).expect("text");
        assert_eq!(answer, line);
    }
    drop(input);
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(0));
}

/// However the input is cut into pieces, the same TLPs come at the same time.
#[test]
fn pieces_of_the_input_make_no_difference() {
    let folder = Folder::new("pieces");
    let lines = ["one\n", "two ", "halves\n", "end"];
    let whole = folder.file("whole.pcapng");
    let output = piped(command(&["run", "serial", "--capture", &whole]), lines.concat().as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let pieces = folder.file("pieces.pcapng");
    let mut child = command(&["run", "serial", "--capture", &pieces]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    for line in lines {
        input.write_all(line.as_bytes()).expect("it reads");
        thread::sleep(Duration::from_millis(50));
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout), (Some(0), lines.concat().into_bytes()));
    let [whole, pieces] = [whole, pieces].map(|path| fs::read(path).expect("a capture"));
    assert!(whole == pieces);
}

#[test]
fn a_reader_that_reads_no_more_is_no_error() {
    let mut child = command(&["run", "serial"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let mut input = child.stdin.take().expect("a pipe");
    // It may have ended by now.
    drop(input.write_all(&b"again and again\n".repeat(1000)));
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn json_has_the_count_and_the_hash_of_the_text() {
    let output = piped(command(&["run", "serial", "--json"]), b"foobar");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let sent = &report["host"]["text"];
    // The published test vector of FNV-1a.
    assert_eq!((sent["characters"].as_u64(), sent["hash"].as_str()), (Some(6), Some("85944171f73967e8")));
    assert_eq!(report["emulation"]["characters"]["overruns"].as_u64(), Some(0));
    assert_eq!(report["host"]["interrupts"][0], report["emulation"]["interrupts"]);
}

#[test]
fn json_is_one_object_and_nothing_else() {
    let output = twin(&["run", "scratch", "--seed", "5", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((report["seed"].as_u64(), report["host"]["mismatches"].as_u64()), (Some(5), Some(0)));
    let answered = report["emulation"]["reads"].as_u64();
    assert_eq!(report["host"]["reads"].as_u64(), answered);
    assert!(answered > Some(0));
    for row in report["tlps"].as_array().expect("rows") {
        let at = |field: &str| row[field].as_u64().expect("a number");
        assert!(
            at("min_ps") <= at("median_ps") && at("median_ps") <= at("p99_ps") && at("p99_ps") <= at("max_ps"),
            "{row}"
        );
    }
}

#[test]
fn same_seed_same_capture() {
    let folder = Folder::new("same-seed");
    let run = |name: &str, seed: &str| {
        let path = folder.file(name);
        let output = twin(&["run", "scratch", "--seed", seed, "--capture", &path, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["capture"]["path"].as_str(), Some(path.as_str()));
        (fs::read(&path).expect("a capture"), report)
    };
    let (first, report) = run("first.pcapng", "7");
    let (second, _) = run("second.pcapng", "7");
    let (other, _) = run("other.pcapng", "8");
    assert_eq!(first, second);
    assert_ne!(first, other);

    let mut reader = Reader::open(Path::new(&folder.file("first.pcapng"))).expect("a capture");
    assert!(reader.comment().is_some_and(|comment| comment.starts_with("device scratch\nprofile bluefield3-ib ")));
    let mut packets = 0;
    let mut last = BTreeMap::new();
    while let Some(packet) = reader.next_packet().expect("no damage") {
        packet.tlp().expect("a TLP of the fabric is valid");
        let before = last.insert(packet.interface.name.clone(), (packet.sequence, packet.time));
        let (sequence, time) = before.map_or((0, packet.time), |(sequence, time)| (sequence + 1, time));
        assert_eq!(packet.sequence, sequence, "{}", packet.interface.name);
        assert!(packet.time >= time, "{}: {} after {time}", packet.interface.name, packet.time);
        packets += 1;
    }
    assert_eq!(last.len(), reader.interfaces().len(), "each link is used both ways");
    assert!(reader.is_complete());
    assert_eq!(report["capture"]["packets"].as_u64(), Some(packets));
    assert_eq!(report["capture"]["bytes"].as_u64(), Some(first.len() as u64));
    let on_links = report["links"].as_array().expect("rows").iter();
    let on_links = on_links.map(|row| row["down_tlps"].as_u64().unwrap_or(0) + row["up_tlps"].as_u64().unwrap_or(0));
    assert_eq!(on_links.sum::<u64>(), packets);
}

#[test]
fn unknown_devices_and_backends() {
    refused(&["run", "toaster"], &["there is no device \"toaster\"", "scratch"]);
    refused(
        &["run", "scratch", "--backend", "steam"],
        &["there is no backend \"steam\"", "known backends: sim, uverbs"],
    );
    // No backend but the simulation has a profile, a seed, or links.
    for (option, value) in [("--profile", "x"), ("--seed", "1"), ("--capture", "x")] {
        let arguments = ["run", "scratch", "--backend", "uverbs:mlx5_0", option, value];
        refused(&arguments, &[option, "is for the backend sim", "uverbs:mlx5_0"]);
    }
    refused(&["caps", "--backend", "uverbs", "--profile", "x"], &["--profile is for the backend sim"]);
    refused(&["caps", "--backend", "steam"], &["there is no backend \"steam\""]);
}

#[test]
fn wrong_arguments() {
    refused(&["run"], &["DEVICE"]);
    refused(&["walk"], &["walk"]);
    refused(&["run", "scratch", "--seed", "-1"], &["-1"]);
    refused(&["run", "scratch", "--seed", "many"], &["--seed", "many"]);
}

/// A mistake of the emulation program: what the device counted and the host saw are in the message, and the exit code is 1.
#[test]
fn faults_are_told() {
    let cases: [(&[&str], &[&str], bool); 7] = [
        (
            &["--fault", "wrong-tag@3"],
            &[
                "wrong-tag@3 was made once; the device counted: Transaction 1; the host saw: completion timeouts 1",
                "completion timeout at 0x",
            ],
            false,
        ),
        (
            &["--fault", "wrong-tag@3", "--unchecked"],
            &["the device counted: Transaction 1; the host saw: completion timeouts 1, unexpected completions"],
            false,
        ),
        (
            &["--fault", "no-completion"],
            &["no-completion@1 was made once; the device counted: nothing", "identity: completion timeout"],
            false,
        ),
        (&["--fault", "stop-polling@60"], &["stop-polling@60 was made once", "completion timeout"], false),
        (&["--fault", "two-completions@2"], &["the device counted: Request 1; the host saw: nothing"], true),
        (&["--fault", "credit-twice"], &["credit-twice@1 was never made: it didn't come to that"], true),
        (&["--fault", "ring-overflow@9", "--fault", "two-completions"], &["ConsumerIndex 1, Request 1"], true),
    ];
    for (arguments, parts, reports) in cases {
        let arguments = [&["run", "scratch"], arguments].concat();
        let output = twin(&arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: {message:?} lacks {part:?}");
        }
        assert_eq!(!output.stdout.is_empty(), reports, "{arguments:?}");
    }
    refused(&["run", "scratch", "--fault", "fire"], &["there is no fault \"fire\"", "wrong-tag"]);
    refused(&["run", "scratch", "--fault", "wrong-tag@0"], &["\"0\" isn't a number from 1 on"]);
    refused(&["run", "scratch", "--unchecked"], &["--fault"]);
    let help = text(&twin(&["run", "--help"]).stdout);
    for name in ["no-completion", "stop-polling", "ring-overflow", "after-reset"] {
        assert!(help.contains(name), "{help}");
    }
}

#[test]
fn unwritable_captures() {
    let folder = Folder::new("unwritable");
    refused(
        &["run", "scratch", "--capture", &folder.file("none/a.pcapng")],
        &["can't create the capture", "none/a.pcapng"],
    );
    refused(&["run", "scratch", "--capture", &folder.file("")], &["can't create the capture", "irectory"]);
}

#[test]
fn bad_profiles() {
    let folder = Folder::new("profiles");
    let path = folder.file("mine.toml");
    // Every field has its case in the tests of `profile`; here it's that the program says so, for both commands.
    let cases = [
        ("poll_ns = 100 ", "poll_ns = 0 ", "timing.poll_ns = 0 is out of range: 1 to 1000000"),
        ("max_payload = 256 ", "max_payload = 100 ", "topology.max_payload = 100 is out of range: 128, 256"),
        ("msix_vectors = 64 ", "msix_vectors = 0 ", "device.msix_vectors = 0"),
        ("log_max_qp = 17 ", "log_max_qp = 99 ", "capabilities.general.log_max_qp"),
        ("boot = 0 ", "boot = -7 ", "pages.boot = -7"),
        ("NOP = 2_000", "NOPE = 2_000", "firmware_timing.commands.NOPE"),
    ];
    for (right, wrong, message) in cases {
        assert_eq!(profile::DEFAULT.matches(right).count(), 1, "{right}");
        let changed = profile::DEFAULT.replace(right, wrong);
        let line = 1 + changed.lines().position(|line| line.starts_with(wrong)).expect("a line");
        fs::write(&path, &changed).expect("a file");
        let place = format!("mine.toml:{line}: ");
        refused(&["run", "scratch", "--profile", &path], &[&place, message]);
        refused(&["caps", "--profile", &path], &[&place, message]);
    }
    fs::write(&path, "[device\n").expect("a file");
    refused(&["run", "scratch", "--profile", &path], &["mine.toml:1: "]);
    refused(&["run", "scratch", "--profile", &folder.file("none.toml")], &["can't read the profile", "none.toml"]);
}

/// A wrong profile must not cost an old capture.
#[test]
fn nothing_is_overwritten_before_all_is_checked() {
    let folder = Folder::new("overwritten");
    let capture = folder.file("old.pcapng");
    fs::write(&capture, "old").expect("a file");
    refused(&["run", "scratch", "--profile", &folder.file("none.toml"), "--capture", &capture], &["none.toml"]);
    refused(&["run", "toaster", "--capture", &capture], &["toaster"]);
    assert_eq!(fs::read(&capture).expect("a file"), b"old");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_run() {
    let output = twin(&["run", "scratch", "--capture", "/dev/full"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("can't write the capture /dev/full, which is incomplete: "), "{message}");
    assert!(output.stdout.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn text_that_cannot_be_shown_or_read_fails_the_run() {
    let folder = Folder::new("unreadable");
    let open = |path: &str, write: bool| fs::File::options().read(!write).write(write).open(path).expect("a file");
    let text_file = folder.file("text");
    fs::write(&text_file, "text").expect("a file");
    for (input, output, part) in [
        (text_file.as_str(), "/dev/full", "the text that came back: No space left on device"),
        ("/", "/dev/null", "the text to send: Is a directory"),
    ] {
        let mut command = command(&["run", "serial"]);
        let output = command.stdin(open(input, false)).stdout(open(output, true)).output().expect("it runs");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn caps_shows_fields_by_name() {
    let output = twin(&["caps"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in ["0x000 GENERAL: cmd_hca_cap (Linux mlx5_ifc.h)", "0x7f0 TWIN: twin_cap (ours)"] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    // Bits of Linux's mlx5_ifc_cmd_hca_cap_bits: vhca_id[0x10] at 0x30 is bits 15:0 of the second dword.
    assert!(shown.lines().any(|line| line.starts_with("  0x004  15:0   vhca_id ") && line.ends_with(" 1")), "{shown}");

    let output = twin(&["caps", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let types: Vec<_> = json["pages"].as_array().expect("pages").iter().map(|page| page["cap_type"].as_u64()).collect();
    assert_eq!(types, [0, 3, 0xc, 0xf, 0x13, 0x14, 0x2a, 0x7f0].map(Some));

    let all = text(&twin(&["caps", "--all"]).stdout);
    assert!(all.lines().count() > shown.lines().count() + 300);
}

/// The example of the README: what it has happen happens, is counted and recorded, and the record gives the same run again.
#[test]
fn faults_on_the_links() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("the README");
    let (_, section) = readme.split_once("## Faults on the links").expect("the section");
    let (_, example) = section.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let folder = Folder::new("faults");
    let rules = folder.write("rules.toml", example.as_bytes());
    let run = |faults: &str, seed: &str, name: &str| {
        let (capture, fired) = (folder.file(&format!("{name}.pcapng")), folder.file(&format!("{name}.toml")));
        let options = ["--seed", seed, "--capture", &capture, "--faults", faults, "--faults-fired", &fired];
        let output = twin(&[&["run", "scratch", "--json"][..], &options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let record = fs::read_to_string(fired).expect("a record");
        (fs::read(capture).expect("a capture"), record, report["fired"].clone())
    };
    let first = run(&rules, "5", "first");
    for kind in ["delay", "bad-lcrc", "withhold-credits"] {
        let count = first.2[kind].as_u64().expect("a count");
        assert!(count > 0, "{kind}: {}", first.2);
        assert_eq!(first.1.matches(&format!("kind = \"{kind}\"")).count() as u64, count);
    }
    assert_eq!(first.1, run(&rules, "5", "second").1);
    let replay = run(&folder.file("first.toml"), "5", "replay");
    assert!(first.0 == replay.0 && first.2 == replay.2, "the record gives another run");
    assert_ne!(first.1, run(&rules, "6", "other").1);

    // In a profile they're the same, and --faults takes their place.
    let all = format!("{}\n{example}", profile::DEFAULT);
    let mine = folder.write("mine.toml", all.as_bytes());
    let shown = |options: &[&str]| text(&twin(&[&["run", "scratch", "--profile", &mine][..], options].concat()).stdout);
    let with = shown(&[]);
    assert!(with.contains("\nBy rule   ") && with.contains(" bad-lcrc, ") && with.contains(" delay"), "{with}");
    assert!(!shown(&["--faults", "/dev/null"]).contains("By rule"));
}

#[test]
fn rules_that_cannot_be() {
    let folder = Folder::new("rules");
    let with = |name: &str, text: &str, parts: &[&str]| {
        let file = folder.write(name, text.as_bytes());
        refused(&["run", "scratch", "--faults", &file], parts);
    };
    with("a.toml", "[[faults]]\nkind = 'drop'\ntc = 9\n", &["a.toml", "line 1", "tc = 9: allowed is 0 to 7"]);
    with("b.toml", "[[faults]]\nkind = 'drop'\nlink = 'moon'\n", &["faults: number 1: link = \"moon\""]);
    with(
        "c.toml",
        "[[faults]]\nkind = 'drop'\n[[faults]]\nkind = 'drop'\nlink = 99\n",
        &["faults: number 2: link = 99"],
    );
    let profile = folder.write("d.toml", b"[[faults]]\nkind = 'dorp'\n");
    refused(&["run", "scratch", "--profile", &profile], &["d.toml:1", "kind = \"dorp\": known are drop, duplicate"]);
    refused(&["run", "scratch", "--faults", "/nowhere/f.toml"], &["can't read /nowhere/f.toml"]);
    refused(&["run", "scratch", "--backend", "uverbs", "--faults", &profile], &["--faults is for the backend sim"]);
    // A run that fails says what had happened.
    let lost = folder.write("e.toml", b"[[faults]]\nkind = 'drop'\ntlp = 'CplD'\nlink = 'mlx5'\nskip = 3\n");
    let output = twin(&["run", "scratch", "--faults", &lost]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("; faults by rule before that: "), "{}", text(&output.stderr));
}

/// A rule by which writes to the function are held in the switch, until one of them has gone past or a time has come.
const HELD: &str = "[[faults]]\nkind = 'reorder'\nlink = 'function 0'\ndirection = 'downstream'\ntlp = 'posted'\npast = 1\nfor_ps = 5_000_000\n";

#[test]
fn order_is_checked_and_what_was_passed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (rules, good, bad, fired) = (path("rules.toml"), path("good.pcapng"), path("bad.pcapng"), path("fired.toml"));
    std::fs::write(&rules, HELD).unwrap();
    assert_eq!(twin(&["run", "scratch", "--capture", &good]).status.code(), Some(0));
    // A read that overtakes the write before it doesn't find what was written: the host gives up.
    let run = twin(&["run", "scratch", "--faults", &rules, "--faults-fired", &fired, "--capture", &bad]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stderr));

    let output = twin(&["check-order", &good]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("no pair breaks the ordering table"), "{}", text(&output.stdout));
    let output = twin(&["check-order", &good, &bad]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let row = "row B, column 2 (B2a) in switch, out by switch -> function 0";
    assert!(text(&output.stdout).contains(row), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("pairs of TLPs break the ordering table"), "{}", text(&output.stderr));
    let output = twin(&["check-order", &bad, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &json["files"][0]["violations"][0];
    assert_eq!((&first["row"], &first["column"], &first["rule"]), (&"B".into(), &2.into(), &"B2a".into()), "{json}");

    // The record of what happened makes the replay the same; without it the switch doesn't hold anything.
    let replayed = twin(&["replay", &bad, "--faults", &fired]);
    assert_eq!(replayed.status.code(), Some(0), "{}{}", text(&replayed.stdout), text(&replayed.stderr));
    assert_eq!(twin(&["replay", &bad]).status.code(), Some(1));
}

#[test]
fn captures_without_pairs_have_no_order_to_judge() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/captures/linux-7.3.4-probe.pcapng.gz");
    let output = twin(&["check-order", fixture]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("6,178 TLPs on 3 links"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("there's nothing to judge"), "{}", text(&output.stdout));
    if let Some(folder) = std::env::var_os("MLX5_TWIN_NETTLP") {
        let capture = std::path::Path::new(&folder).join("x520-1500B-16pkt.pcap").display().to_string();
        let output = twin(&["check-order", &capture]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("144 TLPs on 1 link\n"), "{}", text(&output.stdout));
    }
    let output = twin(&["check-order", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

#[test]
fn servers_have_faults_by_rule_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (rules, socket) = (path("rules.toml"), path("socket"));
    std::fs::write(&rules, "[[faults]]\nkind = 'drop'\nlink = 'nowhere'\n").unwrap();
    for arguments in [&["serve", "--socket", &socket, "--faults", &rules][..], &["guest", "--faults", &path("none")]] {
        let output = twin(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}
