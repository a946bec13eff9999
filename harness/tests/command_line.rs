//! The program as a user runs it: results, messages and exit codes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mlx5_twin_harness::capture::Reader;
use mlx5_twin_harness::profile;
use serde_json::Value;

fn twin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlx5-twin"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8")
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mlx5-twin-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

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
fn without_arguments_it_runs_scratch() {
    let output = twin(&[]);
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
    refused(&["run", "scratch", "--backend", "steam"], &["there is no backend \"steam\"", "known backends: sim"]);
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
    assert_eq!(types, [0, 3, 0x13, 0x14, 0x2a, 0x7f0].map(Some));

    let all = text(&twin(&["caps", "--all"]).stdout);
    assert!(all.lines().count() > shown.lines().count() + 300);
}
