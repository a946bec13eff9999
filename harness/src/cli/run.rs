//! `mlx5-twin run`.

use std::io::{self, BufReader, IsTerminal, Write};
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::backend::{Choice, Stop};
use crate::capture::{Description, Recorder};
use crate::channel::inject;
use crate::devices::{self, Console, Device, HostReport};
use crate::faults::{self, Record};
use crate::hardware;
use crate::profile::{self, Loaded};
use crate::run::{self, Plan};

use super::{Failure, RunArguments, print, print_json, print_to};

/// The seed if none is given.
const SEED: u64 = 1;

/// What goes through the serial port if nobody says anything.
const GREETING: &str = "\
Hello! A simulated host sent this text to a serial port that exists only as software on a DPU.
Each character went there and came back as a TLP, by interrupts, at 115,200 baud of virtual time.
For text of your own: echo hi | mlx5-twin run serial

";

/// Checks everything that was given, then runs.
pub(super) fn run(arguments: &RunArguments, own: &'static [Device]) -> Result<(), Failure> {
    let device = devices::known(own, &arguments.device).map_err(Failure::Input)?;
    let choice = Choice::parse(&arguments.backend).map_err(Failure::Input)?;
    let mistakes = (!arguments.faults.is_empty()).then(|| {
        let plan = inject::Plan::new(arguments.faults.clone());
        Arc::new(if arguments.unchecked { plan.unchecked() } else { plan })
    });
    let serving = arguments.serving.serving();
    if choice != Choice::Sim {
        return on_hardware(device, &choice, arguments, mistakes.as_ref());
    }
    let seed = arguments.seed.unwrap_or(SEED);
    let mut loaded =
        profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    arguments.rules.apply(&mut loaded.profile)?;
    let Loaded { name, hash, .. } = &loaded;
    let description = Description {
        device: device.name.to_owned(),
        profile: name.clone(),
        profile_hash: *hash,
        seed,
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
    if serving.take_over.is_some() || serving.hand_over.is_some() {
        let rule =
            "--take-over and --hand-over are for devices that two processes can open; that of sim is in this process";
        return Err(Failure::Input(rule.to_owned()));
    }
    let record = Record::default();
    let (rounds, recoveries) = (arguments.host_rounds, arguments.host_recoveries.unwrap_or_default());
    let faults = record.clone();
    let plan = Plan { device, profile: loaded, seed, serving, console, rounds, recoveries, mistakes, capture, faults };
    let ran = run::run(plan);
    arguments.rules.write(&record)?;
    let counts = record.counts();
    let report = ran.map_err(|error| {
        let before = || format!("; faults by rule before that: {}", faults::in_words(&counts));
        Failure::Run(format!("{error}{}", if counts.is_empty() { String::new() } else { before() }))
    })?;
    if arguments.json {
        print_json(&report)?;
    } else if device.text && !arguments.greeting {
        // Standard output is the text's.
        print_to("standard error", io::stderr().lock(), &report.to_string())?;
    } else {
        print(&report.to_string())?;
    }
    let others = report.other_hosts.iter().map(|host| &host.report);
    let wrong: Vec<_> = std::iter::once(&report.host).chain(others).filter_map(HostReport::wrong).collect();
    match report.mistakes.into_iter().chain(wrong).reduce(|first, second| format!("{first}; {second}")) {
        None => Ok(()),
        Some(message) => Err(Failure::Run(message)),
    }
}

/// What only a simulation can have can't be asked for.
fn refuse_simulated(choice: &Choice, arguments: &RunArguments) -> Result<(), Failure> {
    for (option, given, why) in [
        ("--profile", arguments.profile.path.is_some(), "its device is what it is"),
        ("--seed", arguments.seed.is_some(), "nothing in it is drawn"),
        ("--capture", arguments.capture.is_some(), "its links aren't seen here"),
        ("--faults", arguments.rules.rules.is_some(), "its links are what they are"),
        ("--faults-fired", arguments.rules.fired.is_some(), "its links aren't seen here"),
        ("--host-rounds", arguments.host_rounds.is_some(), "its host is elsewhere"),
        ("--host-recoveries", arguments.host_recoveries.is_some(), "its host is elsewhere"),
    ] {
        if given {
            return Err(Failure::Input(format!("{option} is for the backend sim; of {choice}, {why}")));
        }
    }
    Ok(())
}

/// Runs the emulation program alone, until a signal comes. The second one ends this process.
fn on_hardware(
    device: &'static Device,
    choice: &Choice,
    arguments: &RunArguments,
    mistakes: Option<&Arc<inject::Plan>>,
) -> Result<(), Failure> {
    refuse_simulated(choice, arguments)?;
    let failed = |error: &dyn std::fmt::Display| Failure::Run(error.to_string());
    let stop = Stop::new().map_err(|error| failed(&error))?;
    // Before there is anything to be ended.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| Failure::Run(format!("signals: {error}")))?;
    let request = stop.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if request.is_requested() {
                // It can't fail with a signal that is caught.
                let _ = emulate_default_handler(signal);
            }
            request.request();
        }
    });
    let opened = choice.open(stop).map_err(|error| Failure::Run(format!("{choice}: {error}")))?;
    let context = opened.ok_or_else(|| Failure::Run(format!("{choice} has no device")))?;
    // Nobody is there to be told if standard error is closed.
    let _ = writeln!(io::stderr(), "mlx5-twin: {} on {}; ^C ends", device.name, context.name());
    let report =
        hardware::run(device, context, &arguments.serving.serving(), mistakes).map_err(|error| failed(&error))?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    report.mistakes.map_or(Ok(()), |message| Err(Failure::Run(message)))
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
