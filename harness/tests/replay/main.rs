//! Captures played into the simulation: real ones, made-up ones, our own, and broken ones.

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod exact;
mod frames;
mod fuzz;
mod nettlp;
mod programs;

use std::path::{Path, PathBuf};

use mlx5_twin_harness::profile::{self, Loaded};
use mlx5_twin_harness::replay::{Agents, Detail, Exact, FileReport, NetTlp, Options, ReplayError, replay_input};

/// The text of the built-in profile with some of it replaced.
fn profile_text(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(profile::DEFAULT.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

/// The profile of that text.
fn profile(changes: &[(&str, &str)]) -> Loaded {
    profile::parse("test", "test.toml", &profile_text(changes)).expect("a profile")
}

fn play(bytes: &[u8], profile: &Loaded, agents: Agents) -> Result<FileReport, ReplayError> {
    replay_input("memory", bytes, &Options { profile, agents, progress: &|_| {} })
}

/// Plays a capture in NetTLP's framing.
fn nettlp(bytes: &[u8], profile: &Loaded) -> (FileReport, NetTlp) {
    let report = play(bytes, profile, Agents::All).unwrap_or_else(|error| panic!("{error}"));
    match report.detail.clone() {
        Detail::NetTlp(detail) => (report, detail),
        Detail::Exact(_) => panic!("not NetTLP's framing"),
    }
}

/// Plays a capture of ours.
fn exact(bytes: &[u8], profile: &Loaded, agents: Agents) -> Result<Exact, ReplayError> {
    match play(bytes, profile, agents)?.detail {
        Detail::Exact(detail) => Ok(detail),
        Detail::NetTlp(_) => panic!("not a capture of ours"),
    }
}

/// The folder of NetTLP's captures, which carry no licence and so aren't in this project. `MLX5_TWIN_NETTLP` names it; else it's
/// `shared/captures/nettlp` beside the checkout.
fn folder() -> PathBuf {
    std::env::var_os("MLX5_TWIN_NETTLP")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/nettlp"), PathBuf::from)
}

/// The captures in that folder, by name. Empty if there are none, which is said.
fn captures() -> Vec<(String, Vec<u8>)> {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no NetTLP captures in {}", folder.display());
        return Vec::new();
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "pcap"));
    files.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).expect("a capture"))).collect()
}
