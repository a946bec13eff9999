//! `mlx5-twin serve`.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Failure, HostArguments, ServeArguments, print, print_json};
use crate::devices::{self, Console, Device};
use crate::faults::Record;
use crate::profile;
use crate::serve::{Error, HostOptions, HostOutcome, Options, Server};

impl HostArguments {
    /// The host program; what comes back of its text goes to `output`.
    pub(super) fn program(
        &self,
        own: &'static [Device],
        output: Box<dyn Write + Send>,
    ) -> Result<Option<HostOptions>, Failure> {
        let HostArguments { host, host_input, host_rounds, host_recoveries, patience } = self;
        let Some(name) = host else { return Ok(None) };
        let device = devices::known(own, name).map_err(Failure::Input)?;
        let console = match host_input {
            None => Console::nobody(),
            Some(path) => {
                let file = File::open(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
                Console::new(BufReader::new(file), output)
            }
        };
        let patience = Duration::from_secs(*patience);
        Ok(Some(HostOptions { device, console, rounds: *host_rounds, recoveries: *host_recoveries, patience }))
    }
}

/// Serves until a signal comes, then tells what there was.
pub(super) fn serve(arguments: &ServeArguments, own: &'static [Device]) -> Result<(), Failure> {
    let mut profile =
        profile::load(arguments.profile.path.as_deref()).map_err(|error| Failure::Input(error.to_string()))?;
    arguments.rules.apply(&mut profile.profile)?;
    let host = arguments.host.program(own, Box::new(io::stdout()))?;
    // Before there is anything to be ended.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| Failure::Run(format!("signals: {error}")))?;
    let schedule = arguments.inject.schedule()?;
    let faults = Record::default();
    let (seed, capture) = (arguments.seed, arguments.capture.clone());
    let options = Options { profile, seed, capture, host, schedule, faults: faults.clone() };
    let server = Server::start(&arguments.socket, options).map_err(|error| match error {
        Error::Bus(_) | Error::Thread(_) => Failure::Run(error.to_string()),
        _ => Failure::Input(error.to_string()),
    })?;
    // Nobody is there to be told if standard error is closed.
    let _ = writeln!(io::stderr(), "mlx5-twin: listening at {}; ^C ends", arguments.socket.display());
    signals.forever().next();
    let finished = server.finish();
    arguments.rules.write(&faults)?;
    let report = finished.map_err(|error| Failure::Run(error.to_string()))?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    match report.host {
        Some(HostOutcome::Failed(error)) => Err(Failure::Run(format!("the host program: {error}"))),
        _ => Ok(()),
    }
}
