//! The command line: `mlx5-twin run DEVICE`, `caps`, `check`, `serve`, `guest`, `replay FILE` and `check-order FILE`.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the run failed, the host found something that isn't as expected, a fault was asked for, a replay differs from its capture, or a capture breaks the ordering table |
//! | 2 | an argument or a file that it names is wrong; nothing was run |
//!
//! `guest` with `--suite` has exit code 1 if a test failed, or none ran. With `--run`, or with a shell, the exit code is that of what ran in the
//! guest: 0 to 255, and 128 and a signal's number if a signal ended it. Beside them:
//!
//! | exit code | meaning |
//! |---|---|
//! | 124 | the command didn't end within `--timeout` |
//! | 125 | the guest didn't start, or ended before its command did: its kernel panicked, it said nothing any more, QEMU ended |
//! | 129, 130, 143 | the program itself was ended by SIGHUP, SIGINT or SIGTERM, and has ended the guest |

mod caps;
mod check;
mod check_order;
mod guest;
mod replay;
mod run;
mod serve;
mod share;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use mlx5_twin_fw_cmds::twin_v1::MAX_FUNCTIONS;
use mlx5_twin_model::profile::Profile;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::backend::{Backend, Choice, Stop};
use crate::channel::inject::{Injection, Mistake};
use crate::devices::Device;
use crate::emulation::Serving;
use crate::faults::{self, Record};
use crate::serve::{PATIENCE, Schedule};

/// A digital twin of an mlx5 DPU: PCI functions made of software, answered TLP by TLP.
#[derive(Debug, Parser)]
#[command(
    name = "mlx5-twin",
    version,
    after_help = "Without a command it runs 'run serial' with a greeting as its text. RUST_LOG sets what is logged."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an emulated device, with a host that finds and exercises it
    Run(RunArguments),
    /// Show the capability pages by field name
    Caps(CapsArguments),
    /// Try what software may ask of a device, and what it may not: one line for each case, with the errno that comes of it
    Check(CheckArguments),
    /// Serve the device as a PCI function to QEMU, by vfio-user; ends at SIGINT or SIGTERM with a report
    Serve(ServeArguments),
    /// Give a context of a device to another program over a unix socket, with a page, memory and a flow counter; or take one
    Share(ShareArguments),
    /// Play captures into the simulation: of real devices, and our own
    Replay(ReplayArguments),
    /// Hold captures against the ordering table: which TLP passed which one in a switch or a root complex, by row and column. Exit code 1 if the table forbids it
    CheckOrder(check_order::CheckOrderArguments),
    /// A Linux guest with the function in it: a shell, one command, or a test suite. Needs no hardware and no root rights
    Guest(guest::GuestArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The device: scratch, serial, or one of the program's own. What goes through serial is standard input, and what comes back goes to standard output, line by
    /// line; the report then goes to standard error
    device: String,
    /// What is below the emulation software: sim, uverbs[:mlx5_0], vfio[:0000:00:05.0]. With another one than sim there's no simulated host
    /// here: the emulation program runs until SIGINT or SIGTERM
    #[arg(long, value_name = "NAME", default_value = "sim")]
    backend: String,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Draws the host's choices, and latencies within the ranges of the profile; 1 if it isn't given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    serving: ServingArguments,
    /// How many rounds the host program goes: of scratch, on each function; of serial, lines. If it isn't given, scratch draws 24 to 40, and serial goes on to the
    /// end of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    host_rounds: Option<u64>,
    /// How many errors the host program answers by a reset of the function (FLR), after which it sets it up and goes on; 0 if it isn't given
    #[arg(long, value_name = "N")]
    host_recoveries: Option<u64>,
    /// Write each TLP on each link to this file (pcapng)
    #[arg(long, value_name = "OUT.pcapng")]
    capture: Option<PathBuf>,
    /// Have the emulation program make a mistake, the Nth time that it could (the first, without N); may be given several times
    #[arg(long = "fault", value_name = "NAME[@N]", long_help = fault_help())]
    faults: Vec<Injection>,
    #[command(flatten)]
    rules: RuleArguments,
    /// With --fault: the device sends completions that break a rule, instead of refusing them
    #[arg(long, requires = "faults")]
    unchecked: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
    /// The text is a greeting, and not standard input.
    #[arg(skip)]
    greeting: bool,
}

/// Faults on the links by rule, in the simulation.
#[derive(Debug, Default, Args)]
struct RuleArguments {
    /// Faults on the links by rule (TOML, tables [[faults]]): TLPs that are dropped, duplicated, delayed, reordered or corrupted, credits that are withheld, links that
    /// fail. In the place of those of the profile
    #[arg(id = "rules", long = "faults", value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Write the faults that happened by rule to this file: given to --faults, it has the same ones happen again
    #[arg(id = "fired", long = "faults-fired", value_name = "FILE")]
    fired: Option<PathBuf>,
}

impl RuleArguments {
    /// Puts the rules in the place of the profile's, if there are any.
    fn apply(&self, profile: &mut Profile) -> Result<(), Failure> {
        take_rules(self.rules.as_deref(), profile)
    }

    /// Writes what happened, if that was asked for.
    fn write(&self, record: &Record) -> Result<(), Failure> {
        let Some(path) = &self.fired else { return Ok(()) };
        record.write(path).map_err(|error| Failure::Run(error.to_string()))
    }
}

/// Puts the rules of a file in the place of the profile's, if there's one.
fn take_rules(path: Option<&Path>, profile: &mut Profile) -> Result<(), Failure> {
    if let Some(path) = path {
        profile.faults = faults::load(path).map_err(|error| Failure::Input(error.to_string()))?;
    }
    Ok(())
}

/// Which functions an emulation program serves.
#[derive(Debug, Args)]
struct ServingArguments {
    /// The downstream ports whose functions are served: 0, 0-7, 1,3
    #[arg(long, value_name = "PORTS", default_value = "0", value_parser = ports)]
    ports: Ports,
    /// Take the functions over from the process that listens at this socket, while the host uses them
    #[arg(long, value_name = "SOCKET")]
    take_over: Option<PathBuf>,
    /// Listen at this socket for a process that takes the functions over; ends when one has
    #[arg(long, value_name = "SOCKET")]
    hand_over: Option<PathBuf>,
}

impl ServingArguments {
    fn serving(&self) -> Serving {
        let ServingArguments { ports: Ports(ports), take_over, hand_over } = self;
        Serving { ports: ports.clone(), take_over: take_over.clone(), hand_over: hand_over.clone() }
    }
}

/// Numbers of ports, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<u16>);

/// Reads a list of ports and of ranges of ports.
fn ports(text: &str) -> Result<Ports, String> {
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number < MAX_FUNCTIONS);
        number.ok_or_else(|| format!("{text:?} is no port: 0 to {}", MAX_FUNCTIONS - 1))
    };
    let mut ports = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for port in number(first)?..=number(last)? {
            if ports.contains(&port) {
                return Err(format!("port {port} is there twice"));
            }
            ports.push(port);
        }
    }
    if ports.is_empty() { Err(format!("{text:?} is no port")) } else { Ok(Ports(ports)) }
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// Where to listen: a path that doesn't exist, of at most 107 bytes
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Write each TLP on each link to this file (pcapng)
    #[arg(long, value_name = "OUT.pcapng")]
    capture: Option<PathBuf>,
    #[command(flatten)]
    host: HostArguments,
    #[command(flatten)]
    inject: InjectArguments,
    #[command(flatten)]
    rules: RuleArguments,
    /// Draws latencies within the ranges of the profile, and the host's choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Faults of the device.
#[derive(Debug, Args)]
struct InjectArguments {
    /// Faults that the device has, by a timetable (TOML): its firmware dies, commands are never answered or fail, interrupts are lost, the card is removed
    #[arg(long, value_name = "FILE")]
    inject: Option<PathBuf>,
}

impl InjectArguments {
    /// The timetable.
    fn schedule(&self) -> Result<Schedule, Failure> {
        let loaded = self.inject.as_deref().map(Schedule::load).transpose();
        Ok(loaded.map_err(|error| Failure::Input(error.to_string()))?.unwrap_or_default())
    }
}

/// A simulated host on the other side of the device.
#[derive(Debug, Args)]
struct HostArguments {
    /// Run this device's host program on the host's side, as soon as software emulates a function: scratch or serial. When it has ended, what a guest's command
    /// started is told so by SIGTERM, once; a script goes on with its next command
    #[arg(long, value_name = "PROGRAM")]
    host: Option<String>,
    /// The text that the host program sends; what comes back goes to standard output
    #[arg(long, value_name = "FILE", requires = "host")]
    host_input: Option<PathBuf>,
    /// How many rounds the host program goes: of scratch, on each function; of serial, lines. If it isn't given, scratch draws 24 to 40, and serial goes on to
    /// the end of the text
    #[arg(long, value_name = "N", requires = "host", value_parser = clap::value_parser!(u64).range(1..))]
    host_rounds: Option<u64>,
    /// How many errors on a function the host program answers by a reset of the function (FLR), after which it sets it up and goes on: as when the program that
    /// emulates it was killed, and another one takes its place. The next error ends it
    #[arg(long, value_name = "N", requires = "host", default_value_t = 0)]
    host_recoveries: u64,
    /// How long the host's clock waits for the software of a function that holds something of the host's, in seconds of real time. Then the host's time goes on for
    /// it: requests time out, as on a real bus
    #[arg(long, value_name = "SECONDS", requires = "host", default_value_t = PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
}

#[derive(Debug, Args)]
struct CapsArguments {
    /// Whose pages: sim, uverbs[:mlx5_0], vfio[:0000:00:05.0]
    #[arg(long, value_name = "NAME", default_value = "sim")]
    backend: String,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Show the fields that are 0 too
    #[arg(long)]
    all: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Which device: sim, uverbs[:mlx5_0], vfio[:0000:00:05.0]. Pages, channels and contexts are taken until none is left, so nobody else should need any meanwhile
    #[arg(long, value_name = "NAME", default_value = "sim")]
    backend: String,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShareArguments {
    /// The socket: a path that doesn't exist, with --give, or at which the other program listens
    #[arg(value_name = "SOCKET")]
    socket: PathBuf,
    /// Give, to the first program that connects, and wait until it closes the connection. Without this, take
    #[arg(long)]
    give: bool,
    /// The device to give from: uverbs[:mlx5_0]
    #[arg(long, value_name = "NAME", default_value = "uverbs")]
    backend: String,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    /// Captures in NetTLP's framing or written by 'run --capture', as pcap or pcapng
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Of our own captures, play root complexes only, and let the model be the device
    #[arg(long)]
    model: bool,
    /// The record of faults that 'run', 'serve' or 'guest' has written with --faults-fired beside the capture: those on what switches send happen again. In the place of the
    /// profile's
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ProfileArgument {
    /// What the device and the fabric are: a file (TOML), or a built-in profile: bluefield3-ib (if none is given), bluefield3-eth
    #[arg(long = "profile", value_name = "FILE|NAME")]
    path: Option<PathBuf>,
}

/// The help of `--fault`: all mistakes.
fn fault_help() -> String {
    let lines = Mistake::ALL.map(|(name, _, what)| format!("\n  {name:<16} {what}"));
    let text = "Have the emulation program make a mistake, to see what the device and the host make of it; the exit code is 1 then. \
                N is 1 if it isn't given. May be given several times:";
    format!("{text}{}", lines.concat())
}

/// Why the program ends with another exit code than 0.
#[derive(Debug)]
enum Failure {
    /// Something that the user gave is wrong: exit code 2.
    Input(String),
    /// Running failed: exit code 1.
    Run(String),
    /// A guest ended before its command did: exit code 125.
    Guest(String),
}

/// The program. Results go to standard output; messages and logs to standard error.
pub fn main() -> ExitCode {
    main_with(&[])
}

/// The program, with more devices: for whoever writes a device and wants all this for it. Its `guest` puts the running program into the guest, as
/// `mlx5-twin`, so that the device is known there too.
pub fn main_with(own: &'static [Device]) -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let command = arguments.command.unwrap_or_else(|| {
        let profile = ProfileArgument { path: None };
        Command::Run(RunArguments {
            device: "serial".to_owned(),
            backend: "sim".to_owned(),
            profile,
            seed: None,
            serving: ServingArguments { ports: Ports(vec![0]), take_over: None, hand_over: None },
            host_rounds: None,
            host_recoveries: None,
            capture: None,
            faults: Vec::new(),
            rules: RuleArguments::default(),
            unchecked: false,
            json: false,
            greeting: true,
        })
    });
    let result = match command {
        Command::Run(arguments) => run::run(&arguments, own),
        Command::Caps(arguments) => caps::caps(&arguments),
        Command::Share(arguments) => share::share(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments, own),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::CheckOrder(arguments) => check_order::check_order(&arguments),
        Command::Guest(arguments) => match guest::guest(&arguments, own) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
    };
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(message)) => (1, message),
        Err(Failure::Input(message)) => (2, message),
        Err(Failure::Guest(message)) => (guest::FAILED, message),
    };
    // Nobody is there to be told if standard error is closed.
    let _ = writeln!(io::stderr(), "mlx5-twin: {message}");
    ExitCode::from(code)
}

/// Opens a context of a device that isn't simulated, which no profile describes.
fn open(choice: &Choice, profile: &ProfileArgument) -> Result<Arc<dyn Backend>, Failure> {
    if profile.path.is_some() {
        return Err(Failure::Input(format!("--profile is for the backend sim; of {choice}, its device is what it is")));
    }
    let opened = Stop::new().and_then(|stop| choice.open(stop));
    let opened = opened.map_err(|error| Failure::Run(format!("{choice}: {error}")))?;
    opened.ok_or_else(|| Failure::Run(format!("{choice} has no device")))
}

/// Prints a result. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    print_to("standard output", io::stdout().lock(), text)
}

fn print_to(name: &str, mut output: impl Write, text: &str) -> Result<(), Failure> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Run(format!("{name}: {error}"))),
        _ => Ok(()),
    }
}

/// Prints a result as one JSON object.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Failure::Run(error.to_string()))?;
    text.push('\n');
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        for (text, expected) in [("0", &[0][..]), ("2-4,0", &[2, 3, 4, 0]), ("999", &[999]), ("7-7", &[7])] {
            assert_eq!(ports(text), Ok(Ports(expected.to_vec())), "{text}");
        }
        for text in ["", "-", "1-", "1000", "1,1", "0-3,2", "4-2", "x", "1 2"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn help_names_every_device() {
        let help = Arguments::command().find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for device in crate::devices::DEVICES {
            assert!(help.contains(device.name), "{help}");
        }
    }
}
