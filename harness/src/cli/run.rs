//! `mlx5-twin run`.

use std::io::{self, BufReader, IsTerminal, Write};
use std::sync::Arc;

use crate::capture::{Description, Recorder};
use crate::channel::inject;
use crate::devices::{self, Console, Device};
use crate::profile::{self, Loaded};
use crate::run::{self, Plan};

use super::{Failure, RunArguments, print, print_json, print_to};

/// The backends that there are.
const BACKENDS: &[&str] = &["sim"];

/// What goes through the serial port if nobody says anything.
const GREETING: &str = "\
Hello! A simulated host sent this text to a serial port that exists only as software on a DPU.
Each character went there and came back as a TLP, by interrupts, at 115,200 baud of virtual time.
For text of your own: echo hi | mlx5-twin run serial

";

/// Checks everything that was given, then runs.
pub(super) fn run(arguments: &RunArguments, own: &'static [Device]) -> Result<(), Failure> {
    let device = devices::known(own, &arguments.device).map_err(Failure::Input)?;
    if !BACKENDS.contains(&arguments.backend.as_str()) {
        let known = BACKENDS.join(", ");
        return Err(Failure::Input(format!("there is no backend {:?}; known backends: {known}", arguments.backend)));
    }
    let loaded = profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    let Loaded { name, hash, .. } = &loaded;
    let description = Description {
        device: device.name.to_owned(),
        profile: name.clone(),
        profile_hash: *hash,
        seed: arguments.seed,
        links: run::link_names(&loaded.profile).map_err(|error| Failure::Input(error.to_string()))?,
    };
    let capture = match &arguments.capture {
        Some(path) => {
            let recorder = Recorder::create(path, description).map_err(|error| Failure::Input(error.to_string()))?;
            Some((path.clone(), recorder))
        }
        None => None,
    };
    let console = console(device, arguments);
    let mistakes = (!arguments.faults.is_empty()).then(|| {
        let plan = inject::Plan::new(arguments.faults.clone());
        Arc::new(if arguments.unchecked { plan.unchecked() } else { plan })
    });
    let plan = Plan { device, profile: loaded, seed: arguments.seed, console, mistakes, capture };
    let report = run::run(plan).map_err(|error| Failure::Run(error.to_string()))?;
    if arguments.json {
        print_json(&report)?;
    } else if device.text && !arguments.greeting {
        // Standard output is the text's.
        print_to("standard error", io::stderr().lock(), &report.to_string())?;
    } else {
        print(&report.to_string())?;
    }
    let wrong = match report.host.mismatches {
        0 => None,
        count => Some(format!("{count} values that the host read aren't as expected")),
    };
    match report.mistakes.into_iter().chain(wrong).reduce(|first, second| format!("{first}; {second}")) {
        None => Ok(()),
        Some(message) => Err(Failure::Run(message)),
    }
}

/// Where the device's text comes from and goes to.
fn console(device: &Device, arguments: &RunArguments) -> Console {
    if !device.text {
        return Console::nobody();
    }
    let output: Box<dyn Write + Send> = if arguments.json { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    if arguments.greeting {
        return Console::new(GREETING.as_bytes(), output);
    }
    if io::stdin().is_terminal() {
        // Nobody is there to be told if standard error is closed.
        let _ = writeln!(io::stderr(), "Type lines; Ctrl-D ends.");
    }
    Console::new(BufReader::new(io::stdin()), output)
}
