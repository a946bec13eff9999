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
//! - [`identity`]: several functions in one guest are told apart.
//! - [`terminal`], [`folder`], [`program`]: what a guest needs of this machine.
//!
//! The life of a guest: it's restored (or boots, and the snapshot is made); the functions and a disk with this program are plugged in;
//! the agent waits until the driver has a device that can be used; it runs one command; QEMU is ended, whatever the guest does.

pub mod accel;
pub mod assets;
mod cache;
pub mod console;
pub mod control;
pub mod error;
pub mod folder;
pub mod identity;
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

/// Functions of a guest, at most. Ours.
pub const MOST_FUNCTIONS: usize = 8;

/// Slots for functions that any guest has, so that one snapshot is good for one function and for two. Ours.
const LEAST_SLOTS: u8 = 2;

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
    /// The functions, at most [`MOST_FUNCTIONS`], whose GUIDs and MAC addresses are all different. Without any the guest has no
    /// device.
    pub functions: Vec<serve::Options>,
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
    /// The function in the guest, when the command began. The first, if there are several.
    pub device: Option<Device>,
    /// What wasn't as it should be, when the command began.
    pub warnings: Vec<String>,
    /// The tests.
    #[serde(skip)]
    pub results: Option<Results>,
    /// What the function's server has to tell. The first's, if there are several.
    pub server: Option<serve::Report>,
    /// The second function and all that follow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
}

/// One of the functions after the first.
#[derive(Debug, Serialize)]
pub struct Other {
    /// The function in the guest, when the command began.
    pub device: Option<Device>,
    /// What its server has to tell.
    pub server: serve::Report,
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
    let slots = u8::try_from(plan.functions.len()).unwrap_or(u8::MAX).max(LEAST_SLOTS);
    let machine = Machine { accel, iommu: plan.iommu, memory_mib: MEMORY_MIB, cpus: CPUS, slots };
    let snapshot = Snapshot::new(cache, &assets.key, &machine);
    let (kernel, root) = (&assets.kernel.vmlinuz, &assets.root);
    let launch = Launch { tool: &assets.qemu, machine, kernel, root, folder: folder.path(), restore: false };
    let stage = |stage: &str| tell(Happening::Stage(stage));
    let mut session = Session::start(&launch, Some(&snapshot), &signals, &stage)?;

    let mut functions = Vec::new();
    for (slot, options) in (0..).zip(plan.functions) {
        if slot > 0 {
            // One after the other, so that the guest names them in this order.
            session.wait_for(functions.len())?;
        }
        stage("plugging the function in");
        let node_guid = options.profile.profile.device.node_guid;
        let path = qemu::socket(folder.path(), &format!("device{slot}"));
        let server = Server::start(&path, options)?;
        session.plug_function(slot, &path)?;
        if slot == 0 {
            // Faults are the first function's.
            session.watch_card(server.card_events());
        }
        functions.push(Function { node_guid, server });
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
    let started = match session.begin(functions.len(), program) {
        // Nobody has done anything to this guest yet: it may be its snapshot that is broken, and the next start shouldn't find it again.
        Err(error) if session.warm && !error.is_the_users() => {
            snapshot.remove();
            tracing::warn!("the guest's snapshot is removed, for the guest ended early: the next start boots it anew");
            return Err(error);
        }
        started => started?,
    };
    tracing::info!(?started, "the guest is ready");
    let devices: Vec<_> = functions.iter().map(|function| function.device(&started.devices)).collect();
    for (number, device) in (1..).zip(&devices) {
        if device.as_ref().is_some_and(|device| device.usable) {
            continue;
        }
        let state = device.as_ref().map_or("there's no RDMA device", |device| device.state.as_str());
        let which = if devices.len() > 1 { format!("function {number}") } else { "the function".to_owned() };
        warnings.push(format!("{which} isn't usable after {} s: {state}", session::DEVICE_SECONDS));
    }
    if !warnings.is_empty() && !started.messages.is_empty() {
        warnings.push("the kernel's last messages:".to_owned());
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
    let host_ended = || functions.first().is_some_and(|first| first.server.host_ended());
    let (exit, results) = carry_out(&mut session, plan.job, pipes, plan.timeout, tell, host_ended)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (kernel, warm) = (assets.kernel.release.clone(), session.warm);
    session.end();
    let mut reports = functions.into_iter().map(|function| function.server.finish()).zip(devices);
    let (server, device) = reports.next().unzip();
    let (server, device) = (server.transpose()?, device.flatten());
    let other = |(server, device): (Result<_, _>, _)| server.map(|server| Other { device, server });
    let others = reports.map(other).collect::<Result<_, serve::Error>>()?;
    let (exit_code, accel) = (exit.code, accel.name());
    Ok(Outcome { exit_code, seconds, start_seconds, kernel, accel, warm, device, warnings, results, server, others })
}

/// A function that has been plugged in.
struct Function {
    node_guid: u64,
    server: Server,
}

impl Function {
    /// The function among the guest's devices.
    fn device(&self, devices: &[Device]) -> Option<Device> {
        let groups = [48, 32, 16, 0].map(|shift| format!("{:04x}", self.node_guid >> shift & 0xffff));
        let guid = groups.join(":");
        devices.iter().find(|device| device.node_guid == guid).cloned()
    }
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
