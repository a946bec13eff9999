//! A Linux guest whose device is the model.
//!
//! QEMU runs an unmodified kernel, without root rights and without a network. The function that its mlx5 driver finds is served by this
//! process ([`crate::serve`]).
//!
//! - [`assets`]: what the guest is made of: QEMU, a kernel, a root image.
//! - [`qemu`], [`qmp`], [`accel`]: QEMU's process, its control socket, and whether it can use the CPU's virtualization.
//! - [`control`], [`lines`]: what is said on the guest's control port. The other end is `rootfs/agent.py`, the guest's first process.
//! - [`snapshot`]: a guest that has booted, in a file. A start from there takes about a second.
//! - [`watchdog`], [`console`], [`error`]: how a guest that is dead is found out, and what is told then.
//! - [`suite`], [`list`]: rdma-core's tests, and lists of those that must pass.
//! - [`terminal`], [`folder`], [`program`]: what a guest needs of this machine.
//!
//! The life of a guest: it's restored (or boots, and the snapshot is made); the function and a disk with this program are plugged in;
//! the agent waits until the driver has a device with an active port; it runs one command; QEMU is ended, whatever the guest does.

pub mod accel;
pub mod assets;
mod cache;
pub mod console;
pub mod control;
pub mod error;
pub mod folder;
pub mod lines;
pub mod list;
pub mod program;
pub mod qemu;
pub mod qmp;
mod session;
pub mod snapshot;
mod streams;
pub mod suite;
pub mod terminal;
pub mod watchdog;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::serve::{self, Server};
use assets::{Assets, RootFile};
use control::{Device, Exit, Order};
pub use error::Error;
use folder::Folder;
use qemu::{Launch, Machine};
use session::Session;
pub use session::{Input, Pipes};
use snapshot::Snapshot;
use streams::SignalEvents;
use suite::{Results, Selection, Test, Verdict};

/// The guest's files that are ours: its path, its mode, and what is in it.
const FILES: [(&str, u32, &str); 4] = [
    ("/init", 0o755, include_str!("rootfs/init.py")),
    ("/usr/lib/mlx5-twin/agent.py", 0o644, include_str!("rootfs/agent.py")),
    ("/usr/lib/mlx5-twin/card.py", 0o644, include_str!("rootfs/card.py")),
    ("/usr/lib/mlx5-twin/suite.py", 0o644, include_str!("rootfs/suite.py")),
];

/// Memory of the guest, in MiB. Ours: Linux with all tests loaded takes 150, and the tests' huge pages 128.
const MEMORY_MIB: u32 = 1024;

/// CPUs of the guest. Ours: with two, races between them can happen, and two are there on any machine.
const CPUS: u8 = 2;

/// What the guest is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// A shell, until it ends.
    Shell {
        /// The kind of terminal that it gets (`xterm`); without one it reads commands like a script.
        terminal: Option<String>,
    },
    /// A command, for bash.
    Run(String),
    /// Tests of rdma-core.
    Suite(Selection),
}

/// What to do, with what.
#[derive(Debug)]
pub struct Plan {
    /// What the guest does.
    pub job: Job,
    /// Whether the guest has an IOMMU.
    pub iommu: bool,
    /// The function. Without it the guest has no device.
    pub function: Option<serve::Options>,
    /// How long the command may take.
    pub timeout: Option<Duration>,
}

/// What is told while a guest runs.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// How far the start is.
    Stage(&'a str),
    /// The command begins. What isn't as it should be, in lines.
    Begins(&'a [String]),
    /// A test has ended.
    Test(&'a Test),
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The command's exit code: 128 and the signal's number if a signal ended it.
    pub exit_code: u8,
    /// How long the command ran, in seconds.
    pub seconds: f64,
    /// How long the start took until the command began, in seconds.
    pub start_seconds: f64,
    /// The kernel's release.
    pub kernel: String,
    /// `kvm` or `tcg`.
    pub accel: &'static str,
    /// Whether the guest came from a snapshot.
    pub warm: bool,
    /// The function in the guest, when the command began.
    pub device: Option<Device>,
    /// What wasn't as it should be, when the command began.
    pub warnings: Vec<String>,
    /// The tests.
    #[serde(skip)]
    pub results: Option<Results>,
    /// What the function's server has to tell.
    pub server: Option<serve::Report>,
}

/// The files that a root image must have.
pub fn root_files() -> Vec<RootFile> {
    FILES.map(|(path, mode, text)| RootFile { path, mode, contents: text.as_bytes().to_vec() }).into()
}

/// Runs a guest for one command. `tell` hears what happens.
///
/// QEMU ends when the calling thread does. SIGINT, SIGTERM and SIGHUP end the guest from now on, and not the process.
///
/// # Errors
/// The guest ended before its command did. Nothing is left of it.
pub fn run(plan: Plan, assets: &Assets, pipes: Pipes, tell: &dyn Fn(Happening<'_>)) -> Result<Outcome, Error> {
    let begin = Instant::now();
    // Beside the root image, which is in this user's cache.
    let cache = assets.root.parent().unwrap_or(Path::new("."));
    // It may take long, and a signal simply ends it: nothing is there yet that would be left.
    let accel = accel::detect(&assets.qemu, &assets.kernel.vmlinuz, cache);
    let signals = SignalEvents::new().map_err(Error::Signals)?;
    let folder = Folder::new().map_err(Error::Folder)?;
    let machine = Machine { accel, iommu: plan.iommu, memory_mib: MEMORY_MIB, cpus: CPUS };
    let snapshot = Snapshot::new(cache, &assets.key, &machine);
    let (kernel, root) = (&assets.kernel.vmlinuz, &assets.root);
    let launch = Launch { tool: &assets.qemu, machine, kernel, root, folder: folder.path(), restore: false };
    let stage = |stage: &str| tell(Happening::Stage(stage));
    let mut session = Session::start(&launch, Some(&snapshot), &signals, &stage)?;

    let server =
        plan.function.map(|options| Server::start(&qemu::socket(folder.path(), "device"), options)).transpose()?;
    if let Some(server) = &server {
        stage("plugging the function in");
        session.plug_function(folder.path())?;
        session.watch_card(server.card_events());
    }
    let mut warnings = Vec::new();
    let program = match program::image(cache) {
        Ok(image) => session.plug_program(&image).map(|()| true)?,
        Err(error) => {
            warnings.push(format!("this program isn't in the guest: {error}"));
            false
        }
    };
    stage("waiting for the device");
    let started = match session.begin(server.is_some(), program) {
        // Nobody has done anything to this guest yet: it may be its snapshot that is broken, and the next start shouldn't find it again.
        Err(error) if session.warm && !error.is_the_users() => {
            snapshot.remove();
            tracing::warn!("the guest's snapshot is removed, for the guest ended early: the next start boots it anew");
            return Err(error);
        }
        started => started?,
    };
    tracing::info!(?started, "the guest is ready");
    if server.is_some() && started.device.as_ref().is_none_or(|device| !device.state.starts_with("4:")) {
        let state = started.device.as_ref().map_or("there's no RDMA device", |device| device.state.as_str());
        warnings.push(format!(
            "the function isn't usable after {} s: {state}; the kernel's last messages:",
            session::DEVICE_SECONDS
        ));
        warnings.extend(started.messages.iter().map(|line| format!("  {}", suite::visible(line))));
    }
    if program && !started.program {
        warnings.push(format!(
            "this program isn't in the guest: its disk didn't come within {} s",
            session::PROGRAM_SECONDS
        ));
    }
    let start_seconds = begin.elapsed().as_secs_f64();
    tell(Happening::Begins(&warnings));

    let begin = Instant::now();
    let host_ended = || server.as_ref().is_some_and(Server::host_ended);
    let (exit, results) = carry_out(&mut session, plan.job, pipes, plan.timeout, tell, host_ended)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (kernel, warm) = (assets.kernel.release.clone(), session.warm);
    session.end();
    let server = server.map(Server::finish).transpose()?;
    let (exit_code, accel, device) = (exit.code, accel.name(), started.device);
    Ok(Outcome { exit_code, seconds, start_seconds, kernel, accel, warm, device, warnings, results, server })
}

/// Has the guest do its job. A command is told to end when the simulated host's program has ended: what serves the host's function has nothing to
/// do any more, and doesn't find that out by itself, as hosts come back.
fn carry_out(
    session: &mut Session,
    job: Job,
    pipes: Pipes,
    timeout: Option<Duration>,
    tell: &dyn Fn(Happening<'_>),
    host_ended: impl Fn() -> bool,
) -> Result<(Exit, Option<Results>), Error> {
    let selection = match job {
        Job::Suite(selection) => selection,
        Job::Run(command) => {
            let order = Order::Run { command: Some(command), terminal: None, term: None };
            return Ok((session.run(&order, pipes, timeout, |_| {}, host_ended)?, None));
        }
        Job::Shell { terminal } => {
            let raw = terminal.is_some().then(terminal::Raw::set).transpose().map_err(Error::Terminal)?;
            let order = Order::Run { command: None, terminal: terminal.is_some().then(terminal::size), term: terminal };
            let exit = session.run(&order, pipes, timeout, |_| {}, || false);
            drop(raw);
            return Ok((exit?, None));
        }
    };
    let mut results = Results::default();
    let take = |test| {
        if let Some(test) = results.take(test) {
            tell(Happening::Test(test));
        }
    };
    let exit = session.run(&Order::Suite(selection), pipes, timeout, take, || false)?;
    if let Some(test) = results.end(&format!("the tests' process ended here, with exit code {}", exit.code)) {
        tell(Happening::Test(test));
    }
    // A process that ends badly although each test ended well did so before, between or after them.
    if exit.code != 0 && results.harmless() {
        let reason = format!("the tests' process ended with exit code {}, and not in a test", exit.code);
        let test = Test { id: "(the suite)".to_owned(), result: Verdict::Error, seconds: 0.0, reason };
        if let Some(test) = results.take(test) {
            tell(Happening::Test(test));
        }
    }
    Ok((exit, Some(results)))
}
