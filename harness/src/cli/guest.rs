//! `mlx5-twin guest`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{Failure, HostArguments, InjectArguments, RuleArguments, print, print_json};
use crate::bounded;
use crate::devices::Device;
use crate::faults::Record;
use crate::guest::assets::{self, KernelChoice, Request, Unit};
use crate::guest::control::LONGEST_COMMAND;
use crate::guest::identity;
use crate::guest::list::{Finding, List};
use crate::guest::suite::{Results, Selection};
use crate::guest::{self, Error, Happening, Input, Job, Outcome, Pipes, Plan, terminal};
use crate::profile;
use crate::serve;

/// How much of a command's output is put into the JSON object, in bytes. Ours.
const CAPTURED: usize = 1 << 20;

/// Longest list of tests, in bytes. Ours; that of all tests of rdma-core 65 would have 30,000.
const LONGEST_LIST: u64 = 1 << 20;

/// Exit code of a guest that ended before its command did.
const DIED: u8 = 125;

/// Exit code of a command that took too long, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

#[derive(Debug, Args)]
pub(super) struct GuestArguments {
    /// Run this command (for bash) instead of a shell; its exit code is the program's
    #[arg(long, value_name = "CMD", conflicts_with = "suite")]
    run: Option<String>,
    /// Run this test suite instead of a shell
    #[arg(long, value_name = "NAME")]
    suite: Option<Suite>,
    /// Of the suite, only tests whose name contains this; may be given several times
    #[arg(short = 'k', value_name = "NAME", requires = "suite")]
    names: Vec<String>,
    /// Of the suite, just the tests of this list: each must pass, or skip as the list says
    #[arg(long, value_name = "FILE", requires = "suite", conflicts_with = "names")]
    list: Option<PathBuf>,
    /// The guest's kernel: a version of Debian's, or a kernel image (with --modules)
    #[arg(long, value_name = "VERSION|PATH")]
    kernel: Option<String>,
    /// The folder with the modules of --kernel PATH: .../lib/modules/VERSION
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Give the guest an IOMMU, so that VFIO works in it
    #[arg(long)]
    iommu: bool,
    /// Give the guest no function
    #[arg(long, conflicts_with_all = ["capture", "host", "inject", "profiles", "rules", "fired"])]
    no_function: bool,
    /// What the device and the fabric are: a file (TOML), or a built-in profile: bluefield3-ib (if none is given), bluefield3-eth.
    /// Given several times, the guest has as many functions, at most 8, in this order; --capture, --host, --inject
    /// and --faults are for the first
    #[arg(long = "profile", value_name = "FILE|NAME")]
    profiles: Vec<PathBuf>,
    /// Write each TLP on each link to this file (pcapng)
    #[arg(long, value_name = "OUT.pcapng")]
    capture: Option<PathBuf>,
    #[command(flatten)]
    host: HostArguments,
    #[command(flatten)]
    inject: InjectArguments,
    #[command(flatten)]
    rules: RuleArguments,
    /// Draws what the model and the simulated host choose
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// End a command that takes longer; the exit code is 124 then
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The suites that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// rdma-core's Python tests
    RdmaCore,
}

/// Starts a guest, and gives the exit code of what ran in it.
pub(super) fn guest(arguments: &GuestArguments, own: &'static [Device]) -> Result<u8, Failure> {
    let list = arguments.list.as_deref().map(read_list).transpose()?;
    let job = job(arguments, list.as_ref())?;
    let faults = Record::default();
    let functions = functions(arguments, own, &faults)?;
    let request = Request { kernel: kernel(arguments)?, files: guest::root_files() };
    let bar = Bar::new();
    let assets = assets::prepare(&request, &bar);
    bar.0.finish_and_clear();
    let assets = assets.map_err(|error| {
        let message = error.to_string();
        if error.is_the_requests() { Failure::Input(format!("--kernel: {message}")) } else { Failure::Guest(message) }
    })?;

    let timeout = arguments.timeout.map(Duration::from_secs);
    let suite = matches!(job, Job::Suite(_));
    let input = match &job {
        Job::Shell { terminal: Some(_) } => Input::Terminal,
        Job::Suite(_) => Input::None,
        Job::Run(_) | Job::Shell { .. } => Input::Standard,
    };
    let (out, err) = (Captured::default(), Captured::default());
    let pipes = if arguments.json {
        Pipes { input, out: Box::new(out.clone()), err: Box::new(err.clone()) }
    } else if suite {
        // What tests print is no result.
        Pipes { input, out: Box::new(io::stderr()), err: Box::new(io::stderr()) }
    } else {
        Pipes { input, out: Box::new(io::stdout()), err: Box::new(io::stderr()) }
    };
    let stages = Bar::new();
    let tell = |happening: Happening<'_>| match happening {
        Happening::Stage(stage) => stages.0.set_message(stage.to_owned()),
        Happening::Begins(warnings) => {
            stages.0.finish_and_clear();
            for warning in warnings {
                note(warning);
            }
            if input == Input::Terminal {
                note(terminal::HELP);
            }
        }
        // Nobody is there to be told if standard output is closed.
        Happening::Test(test) if !arguments.json => drop(print(&format!("{test}\n"))),
        Happening::Test(_) => {}
    };
    let plan = Plan { job, iommu: arguments.iommu, functions, timeout };
    let outcome = guest::run(plan, &assets, pipes, &tell);
    stages.0.finish_and_clear();
    arguments.rules.write(&faults)?;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return ended(&error),
    };
    match &outcome.results {
        Some(results) => tested(arguments, results, list.as_ref(), &outcome, [out.take(), err.take()]),
        None => {
            if arguments.json {
                print_json(&Ran { outcome: &outcome, stdout: out.take(), stderr: err.take() })?;
            } else {
                let others = outcome.others.iter().map(|other| &other.server);
                for server in outcome.server.iter().chain(others) {
                    tracing::info!("{server}");
                }
            }
            Ok(outcome.exit_code)
        }
    }
}

/// What came of a suite. That no test ran is told beside it: the results alone don't look wrong.
fn tested(
    arguments: &GuestArguments,
    results: &Results,
    list: Option<&List>,
    outcome: &Outcome,
    [stdout, stderr]: [Text; 2],
) -> Result<u8, Failure> {
    let findings = list.map(|list| list.judge(results));
    let good = results.good() && findings.as_ref().is_none_or(Vec::is_empty);
    if arguments.json {
        print_json(&Tested { results, findings, outcome, stdout, stderr })?;
    } else {
        let Outcome { seconds, kernel, .. } = outcome;
        print(&format!("\nLinux {kernel}, {seconds:.1} s\n{results}\n"))?;
        for finding in findings.iter().flatten() {
            print(&format!("{finding}\n"))?;
        }
        for id in list.iter().flat_map(|list| list.unexpected(results)) {
            note(&format!("mlx5-twin: {id} passed, though the list says that it skips"));
        }
    }
    if list.is_none() {
        none_ran(results, &arguments.names)?;
    }
    Ok(u8::from(!good))
}

/// No test ran: there's none with such a name, or all were skipped.
fn none_ran(results: &Results, names: &[String]) -> Result<(), Failure> {
    let Results { run, passed, skipped, .. } = results;
    if *run == 0 && names.is_empty() {
        return Err(Failure::Run("--suite: there is no test".to_owned()));
    }
    if *run == 0 {
        return Err(Failure::Run(format!("--suite: no test's name contains {}", names.join(" or "))));
    }
    if *passed == 0 && results.harmless() {
        return Err(Failure::Run(format!("--suite: no test ran, {skipped} of {run} were skipped")));
    }
    Ok(())
}

/// Reads a list of tests.
fn read_list(path: &Path) -> Result<List, Failure> {
    let failure = |error: &dyn std::fmt::Display| Failure::Input(format!("--list {}: {error}", path.display()));
    let bytes = bounded::read(path, LONGEST_LIST).map_err(|error| failure(&error))?;
    let bytes = bytes.ok_or_else(|| failure(&format!("it has more than {LONGEST_LIST} bytes")))?;
    let text = bounded::text(bytes).map_err(|error| failure(&error))?;
    List::parse(&text).map_err(|error| failure(&error))
}

/// What is told, and the exit code, if the guest ended before its command.
fn ended(error: &Error) -> Result<u8, Failure> {
    match error {
        Error::Left => Ok(0),
        Error::Signal { signal } => Ok(128 + u8::try_from(*signal).unwrap_or_default()),
        Error::Timeout { .. } => {
            note(&format!("mlx5-twin: {error}"));
            Ok(TIMED_OUT)
        }
        _ => {
            for line in error.console() {
                note(&format!("guest: {line}"));
            }
            Err(Failure::Guest(error.to_string()))
        }
    }
}

/// The exit code of [`Failure::Guest`].
pub(super) const FAILED: u8 = DIED;

fn job(arguments: &GuestArguments, list: Option<&List>) -> Result<Job, Failure> {
    if let Some(command) = &arguments.run {
        if command.len() > LONGEST_COMMAND || command.contains('\0') {
            let length = command.len();
            let rule = format!(
                "--run: a command has no zero bytes and at most {LONGEST_COMMAND} bytes, this one has {length}"
            );
            return Err(Failure::Input(rule));
        }
        return Ok(Job::Run(command.clone()));
    }
    if arguments.suite.is_some() {
        let names = || Selection::Names(arguments.names.clone());
        return Ok(Job::Suite(list.map_or_else(names, |list| Selection::Ids(list.ids()))));
    }
    if arguments.json {
        return Err(Failure::Input("--json is for --run and --suite; a shell has no result".to_owned()));
    }
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let kind = std::env::var("TERM").ok().filter(|kind| kind.len() < 64);
    Ok(Job::Shell { terminal: terminal.then(|| kind.unwrap_or_else(|| "linux".to_owned())) })
}

/// The functions: one of the default profile if none is given. The first has all options.
fn functions(
    arguments: &GuestArguments,
    own: &'static [Device],
    faults: &Record,
) -> Result<Vec<serve::Options>, Failure> {
    if arguments.no_function {
        return Ok(Vec::new());
    }
    let GuestArguments { seed, capture, profiles, .. } = arguments;
    let given = profiles.len();
    if given > guest::MOST_FUNCTIONS {
        let most = guest::MOST_FUNCTIONS;
        return Err(Failure::Input(format!("--profile: a guest has at most {most} functions, {given} are given")));
    }
    let paths: Vec<_> =
        if given == 0 { vec![None] } else { profiles.iter().map(|path| Some(path.as_path())).collect() };
    let loaded: Result<Vec<_>, _> = paths.into_iter().map(profile::load).collect();
    let mut loaded = loaded.map_err(|error| Failure::Input(error.to_string()))?;
    identity::tell_apart(&mut loaded.iter_mut().map(|one| &mut one.profile).collect::<Vec<_>>());
    if let Some(first) = loaded.first_mut() {
        arguments.rules.apply(&mut first.profile)?;
    }
    let output: Box<dyn Write + Send> = if arguments.json { Box::new(io::sink()) } else { Box::new(io::stdout()) };
    let (host, schedule) = (arguments.host.program(own, output)?, arguments.inject.schedule()?);
    let mut first = Some((capture.clone(), host, schedule, faults.clone()));
    let options = loaded.into_iter().map(|profile| {
        let (capture, host, schedule, faults) = first.take().unwrap_or_default();
        serve::Options { profile, seed: *seed, capture, host, schedule, faults }
    });
    Ok(options.collect())
}

/// What is a path has a slash in it.
fn kernel(arguments: &GuestArguments) -> Result<KernelChoice, Failure> {
    match (&arguments.kernel, &arguments.modules) {
        (None, _) => Ok(KernelChoice::Default),
        (Some(path), Some(modules)) => {
            Ok(KernelChoice::Path { vmlinuz: PathBuf::from(path), modules: modules.clone() })
        }
        (Some(path), None) if path.contains('/') => Err(Failure::Input(format!(
            "--kernel {path}: a kernel that is a file needs its modules too: --modules DIR"
        ))),
        (Some(version), None) => Ok(KernelChoice::Version(version.clone())),
    }
}

/// A line on standard error. Nobody is there to be told if that is closed.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The result of `--run`.
#[derive(Debug, Serialize)]
struct Ran<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(flatten, serialize_with = "as_stdout")]
    stdout: Text,
    #[serde(flatten, serialize_with = "as_stderr")]
    stderr: Text,
}

/// The result of `--suite`.
#[derive(Debug, Serialize)]
struct Tested<'a> {
    #[serde(flatten)]
    results: &'a Results,
    /// What is wrong with the tests of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(flatten, serialize_with = "as_stdout")]
    stdout: Text,
    #[serde(flatten, serialize_with = "as_stderr")]
    stderr: Text,
}

/// The beginning of a command's output.
#[derive(Debug)]
struct Text {
    text: String,
    bytes: u64,
    cut: bool,
}

fn as_stdout<S: serde::Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    as_fields(text, ["stdout", "stdout_bytes", "stdout_cut"], serializer)
}

fn as_stderr<S: serde::Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
    as_fields(text, ["stderr", "stderr_bytes", "stderr_cut"], serializer)
}

fn as_fields<S: serde::Serializer>(text: &Text, names: [&'static str; 3], serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry(names[0], &text.text)?;
    map.serialize_entry(names[1], &text.bytes)?;
    map.serialize_entry(names[2], &text.cut)?;
    map.end()
}

/// Keeps the beginning of what is written to it.
#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<(Vec<u8>, u64)>>);

impl Captured {
    fn take(&self) -> Text {
        let (kept, bytes) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = *bytes > kept.len() as u64;
        Text { text: String::from_utf8_lossy(kept).into_owned(), bytes: *bytes, cut }
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (kept, count) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CAPTURED.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        *count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far it is, on standard error if that's a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = match ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl assets::Progress for Bar {
    fn stage(&self, name: &str, unit: Unit, total: u64) {
        let template = match (unit, total) {
            (_, 0) => "{spinner} {msg}, {elapsed}",
            (Unit::Bytes, _) => "{spinner} {msg} {bar:30} {bytes} of {total_bytes}, {eta} left",
            (Unit::Steps, _) => "{spinner} {msg} {bar:30} {pos} of {len}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_length(total);
        self.0.set_position(0);
        self.0.set_message(name.to_owned());
    }

    fn position(&self, position: u64) {
        self.0.set_position(position);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_of_which_nothing_ran_says_so() {
        let results = |run, passed, skipped, failed| {
            let mut results = Results::default();
            (results.run, results.passed, results.skipped, results.failed) = (run, passed, skipped, failed);
            results
        };
        let message = |results: &Results, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            match none_ran(results, &names) {
                Ok(()) => results.good().to_string(),
                Err(Failure::Run(message)) => message,
                Err(failure) => format!("{failure:?}"),
            }
        };
        assert_eq!(message(&results(0, 0, 0, 0), &["x", "y"]), "--suite: no test's name contains x or y");
        assert_eq!(message(&results(0, 0, 0, 0), &[]), "--suite: there is no test");
        assert_eq!(message(&results(2, 0, 2, 0), &["x"]), "--suite: no test ran, 2 of 2 were skipped");
        assert_eq!(message(&results(2, 1, 1, 0), &["x"]), "true");
        assert_eq!(message(&results(2, 0, 1, 1), &["x"]), "false");
    }

    #[test]
    fn captured_output_is_cut_and_says_so() {
        let captured = Captured::default();
        let mut sink = captured.clone();
        sink.write_all(b"a\xffb").unwrap();
        let text = captured.take();
        assert_eq!((text.text.as_str(), text.bytes, text.cut), ("a\u{fffd}b", 3, false));
        sink.write_all(&vec![b'x'; 2 * CAPTURED]).unwrap();
        let text = captured.take();
        assert_eq!((text.bytes, text.cut), (3 + 2 * CAPTURED as u64, true));
        assert!(text.text.len() <= CAPTURED + 2);
    }
}
