//! `mlx5-twin check`.

use std::fmt::Write;

use serde::Serialize;

use super::{CheckArguments, Failure, open, print, print_json};
use crate::backend::sim::{Options, SimDevice};
use crate::backend::{Choice, Stop, uverbs};
use crate::check::{self, Line};
use crate::profile;

/// All lines.
#[derive(Debug, Serialize)]
struct Shown {
    device: String,
    cases: Vec<Line>,
}

/// Tries all cases.
pub(super) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let choice = Choice::parse(&arguments.backend).map_err(Failure::Input)?;
    let shown = if choice == Choice::Sim {
        let loaded =
            profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
        let failed = |error: crate::backend::Error| Failure::Run(format!("{choice}: {error}"));
        let sim = SimDevice::new(&loaded.profile, 1, Options::default()).map_err(failed)?;
        let cases = check::run(&sim.open().map_err(failed)?);
        sim.shut_down().map_err(failed)?;
        Shown { device: choice.to_string(), cases }
    } else {
        let context = open(&choice, &arguments.profile)?;
        let mut cases = check::run(&context);
        if let Choice::Uverbs(name) = &choice {
            let device = Stop::new().and_then(|stop| uverbs::Device::open(name.as_deref(), stop));
            let device = device.map_err(|error| Failure::Run(format!("{choice}: {error}")))?;
            cases.extend(check::uverbs::run(&device));
        }
        Shown { device: context.name(), cases }
    };
    if arguments.json {
        return print_json(&shown);
    }
    let mut text = format!("{}: {} cases\n", shown.device, shown.cases.len());
    for line in &shown.cases {
        // Writing to a string doesn't fail.
        let _ = writeln!(text, "  {line}");
    }
    print(&text)
}
