//! Mistakes of an emulation program, made by `--fault` on all three backends: the program, the device and the host have the same to say of each.

use std::path::PathBuf;

use mlx5_twin_harness::channel::inject::Mistake;
use serde_json::Value;

use crate::common::{dice, program, text};
use crate::driver::nothing_is_alive;
use crate::rig::Guest;
use crate::vfio::{ACTIVE, TOOLS};

/// A run: its device makes these mistakes, while its host goes so many rounds and answers so many errors by a function-level reset.
struct Run {
    device: &'static str,
    rounds: &'static str,
    recoveries: &'static str,
    faults: &'static [&'static str],
    /// Whether the device sends completions that break a rule.
    unchecked: bool,
    /// What the device counts.
    counted: &'static str,
    /// Whether the host comes to its end.
    ends: bool,
    /// How many reads end with a completion timeout, which the host answers by a reset.
    errors: usize,
    /// How many completions come to the host for which it doesn't wait.
    unexpected: u64,
}

/// Those that a host can recover from, in one run. Of a read of four bytes eight are the oversize response.
const OF_READS: &[&str] = &[
    "no-completion@20",
    "two-completions@40",
    "wrong-tag@60",
    "wrong-requester@80",
    "too-long@100",
    "after-reset@120",
    "ring-overflow@300",
];

/// All mistakes.
const RUNS: [Run; 4] = [
    Run {
        device: "scratch",
        rounds: "150",
        recoveries: "5",
        faults: OF_READS,
        unchecked: false,
        counted: "AfterReset 1, ByteCount 1, ConsumerIndex 1, Request 1, Transaction 2",
        ends: true,
        errors: 5,
        unexpected: 0,
    },
    Run {
        device: "scratch",
        rounds: "150",
        recoveries: "5",
        faults: OF_READS,
        unchecked: true,
        counted: "AfterReset 1, ByteCount 1, ConsumerIndex 1, Request 1, Transaction 2",
        ends: true,
        errors: 5,
        unexpected: 5,
    },
    Run {
        device: "dice",
        rounds: "6",
        recoveries: "0",
        faults: &["credit-twice@1", "no-credit@2"],
        unchecked: false,
        counted: "Credit 2",
        ends: true,
        errors: 0,
        unexpected: 0,
    },
    Run {
        device: "scratch",
        rounds: "150",
        recoveries: "0",
        faults: &["stop-polling@150"],
        unchecked: false,
        counted: "nothing",
        ends: false,
        errors: 0,
        unexpected: 0,
    },
];

/// What there is to say of a run.
#[derive(Debug, PartialEq)]
struct Judged {
    /// By the program: how often each mistake was made, and what the device counted.
    program: String,
    /// By the host, if it came to its end: what it did, what wasn't as expected, and its errors. Otherwise its error.
    host: Value,
}

/// The message of a program that made mistakes.
fn message(stderr: &str) -> &str {
    let line = stderr.lines().find_map(|line| line.strip_prefix("mlx5-twin: ").filter(|line| line.contains("counted")));
    line.unwrap_or_else(|| panic!("no message: {stderr}"))
}

/// What a host has to say.
fn ended(host: &Value) -> Value {
    let keys = ["rounds", "reads", "writes", "interrupts", "mismatches", "first_mismatches", "recoveries"];
    Value::Object(keys.map(|key| (key.to_owned(), host[key].clone())).into_iter().collect())
}

/// How many completions came to a host for which it didn't wait.
fn unexpected(report: &Value) -> u64 {
    report["faults"]["unexpected_completion"].as_u64().expect("a number")
}

impl Run {
    fn program(&self) -> PathBuf {
        if self.device == "dice" { dice() } else { PathBuf::from(env!("CARGO_BIN_EXE_mlx5-twin")) }
    }

    fn faults(&self) -> Vec<&'static str> {
        let faults = self.faults.iter().flat_map(|fault| ["--fault", fault]);
        faults.chain(self.unchecked.then_some("--unchecked")).collect()
    }

    fn host(&self) -> [&'static str; 4] {
        ["--host-rounds", self.rounds, "--host-recoveries", self.recoveries]
    }

    fn sim(&self) -> Judged {
        let arguments = [&["run", self.device, "--json"][..], &self.host(), &self.faults()].concat();
        let ran = program(&self.program(), &arguments).output().expect("it runs");
        let stderr = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{stderr}");
        let (told, seen) = message(&stderr).split_once("; the host saw: ").expect("a host");
        let host = if self.ends {
            let report: Value = serde_json::from_slice(&ran.stdout).expect("a report");
            assert_eq!(unexpected(&report), self.unexpected, "{stderr}");
            ended(&report["host"])
        } else {
            seen.split_once("the host program failed: ").expect("failed").1.into()
        };
        Judged { program: told.to_owned(), host }
    }

    fn in_guest(&self, backend: &str) -> Option<Judged> {
        let host = ["--host", self.device, "--patience", "1", "--timeout", "60"];
        let guest = Guest::new()?.of(self.program()).arguments(&host).arguments(&self.host());
        let (guest, before, after) = match backend {
            "vfio" => (guest.arguments(&["--iommu"]), "to vfio-pci", ""),
            _ => (guest, "", "rmmod rdma_ucm ib_umad mlx5_ib mlx5_core"),
        };
        let (device, faults) = (self.device, self.faults().join(" "));
        let result =
            guest.json(&format!("{ACTIVE}{TOOLS}{before}\nrun {device} --backend {backend} {faults}\n{after}\n"));
        let stderr = result["stderr"].as_str().expect("text");
        assert!(stderr.contains("code 1"), "{stderr}");
        let server = &result["server"];
        nothing_is_alive(server);
        let host = if self.ends {
            // On a slow machine answers to requests that a host makes of a function which it has given up come late, and are further ones.
            assert!(unexpected(server) >= self.unexpected, "{server:#}");
            ended(&server["host"]["ended"])
        } else {
            server["host"]["failed"].clone()
        };
        println!("{} s, {backend}: {}", result["seconds"], message(stderr));
        Some(Judged { program: message(stderr).to_owned(), host })
    }

    /// What came of it is what is due, and the same on all three.
    fn judge(&self) {
        let sim = self.sim();
        for fault in self.faults {
            assert!(sim.program.contains(&format!("{fault} was made once")), "{sim:?}");
        }
        assert!(sim.program.ends_with(&format!("; the device counted: {}", self.counted)), "{sim:?}");
        if self.ends {
            let errors = sim.host["recoveries"].as_array().map_or(&[][..], Vec::as_slice);
            assert_eq!(errors.len(), self.errors, "{sim:?}");
            assert!(
                errors.iter().all(|error| error.as_str().is_some_and(|error| error.contains("completion timeout")))
            );
        }
        for backend in ["uverbs", "vfio"] {
            let Some(real) = self.in_guest(backend) else { return };
            assert_eq!(real, sim, "{backend}");
        }
    }
}

#[test]
fn each_mistake_is_in_a_run() {
    let made: Vec<_> = RUNS.iter().flat_map(|run| run.faults).filter_map(|fault| fault.split('@').next()).collect();
    for (name, ..) in Mistake::ALL {
        assert!(made.contains(&name), "{name}");
    }
}

#[test]
fn of_reads_and_of_the_ring() {
    RUNS[0].judge();
}

#[test]
fn of_reads_on_a_device_that_sends_what_it_gets() {
    RUNS[1].judge();
}

#[test]
fn of_credits() {
    RUNS[2].judge();
}

#[test]
fn of_a_program_that_polls_no_more() {
    RUNS[3].judge();
}
