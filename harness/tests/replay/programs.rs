//! Captures of runs, made here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use mlx5_twin_harness::capture::{Description, Recorder};
use mlx5_twin_harness::devices::{self, Console};
use mlx5_twin_harness::emulation::Serving;
use mlx5_twin_harness::faults::Record;
use mlx5_twin_harness::profile::Loaded;
use mlx5_twin_harness::run::{Plan, link_names, run};

/// Runs `scratch`: the bytes of its capture.
pub(crate) fn scratch(profile: &Loaded, seed: u64) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path: PathBuf = std::env::temp_dir().join(format!("mlx5-twin-replay-{}-{number}.pcapng", std::process::id()));
    let description = Description {
        device: "scratch".to_owned(),
        profile: profile.name.clone(),
        profile_hash: profile.hash,
        seed,
        links: link_names(&profile.profile).expect("a machine"),
    };
    let recorder = Recorder::create(&path, description).expect("a capture");
    let device = devices::find("scratch").expect("a device");
    let plan = Plan {
        serving: Serving::default(),
        device,
        profile: profile.clone(),
        seed,
        console: Console::nobody(),
        rounds: None,
        recoveries: 0,
        mistakes: None,
        capture: Some((path.clone(), recorder)),
        faults: Record::default(),
    };
    run(plan).expect("a run");
    let bytes = std::fs::read(&path).expect("a capture");
    std::fs::remove_file(&path).expect("a file");
    bytes
}
