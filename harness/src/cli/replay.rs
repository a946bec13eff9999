//! `mlx5-twin replay`.

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Failure, ReplayArguments, print, print_json, take_rules};
use crate::profile;
use crate::replay::{self, Agents, FileReport, Options, Progress, Report};
use crate::report::ProfileId;

/// Shorter files have no progress bar.
const LONG: u64 = 1 << 20;

/// Plays all files, then shows what came of them.
pub(super) fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    let mut loaded =
        profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    take_rules(arguments.faults.as_deref(), &mut loaded.profile)?;
    let agents = if arguments.model { Agents::RootComplexes } else { Agents::All };
    let play = |path: &Path| -> Result<FileReport, Failure> {
        let bar = bar(path);
        let progress = |progress| show(&bar, progress);
        let options = Options { profile: &loaded, agents, progress: &progress };
        let report = replay::replay(path, &options);
        bar.finish_and_clear();
        report.map_err(|error| Failure::Input(error.to_string()))
    };
    let files = arguments.files.iter().map(|path| play(path)).collect::<Result<_, _>>()?;
    let profile = ProfileId { name: loaded.name.clone(), hash: format!("{:016x}", loaded.hash) };
    let report = Report::new(profile, files);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    match report.differences() {
        0 => Ok(()),
        count => Err(Failure::Run(format!("{count} TLPs weren't replayed as they were captured"))),
    }
}

/// A bar over the bytes of a file, on standard error if that's a terminal.
fn bar(path: &Path) -> ProgressBar {
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length < LONG {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:8} {bar:30} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (message, offset) = match progress {
        Progress::Read(offset) => ("reading", offset),
        Progress::Played(offset) => ("playing", offset),
    };
    if bar.message() != message {
        bar.set_message(message);
        bar.reset();
    }
    bar.set_position(offset);
}
