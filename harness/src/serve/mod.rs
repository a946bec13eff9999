//! The device as a vfio-user server: QEMU, or any other client of that protocol, has it as a PCI function.
//!
//! The client is one more root complex. Its accesses to BAR 0 and configuration space become TLPs on the link above the mlx5 function, the
//! function's DMA reaches the memory that the client shares, and its MSI-X messages become events (eventfds). So what a guest's driver does is
//! captured, timed and broken like all else, and a capture of it replays without a guest.
//!
//! - [`Server`]: starts and ends it.
//! - `protocol`: messages, and what a client may not do.
//! - `client`: what a message asks for, done to the device.
//! - `engine`: the simulation, moved on by accesses and by a clock that follows the wall's.
//! - `platform`: the root port above the function, and what a hypervisor takes for granted.
//! - `memory`: the client's memory.
//! - `host`: the simulated host on the device's other side.
//! - `schedule`: faults by a timetable.
//! - `card`: the card that has the function, which can vanish.

mod card;
mod client;
mod clock;
mod engine;
mod host;
mod memory;
mod platform;
mod protocol;
mod report;
mod schedule;
mod shared;

use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mlx5_twin_model::{BuildError, Machine};
use mlx5_twin_sim::host::{AccessError, AddressMap, Settings};
use mlx5_twin_sim::memory::Memory;

use crate::backend;
use crate::capture::{self, CaptureError, Description, LinkName, Maybe, Recorder, Statistics, Tee};
use crate::faults::Record;
use crate::profile::Loaded;

pub use self::card::CardEvent;
pub use self::engine::Traffic;
pub use self::host::{HostOptions, PATIENCE};
pub use self::report::{CommandRow, HostOutcome, LivesReport, Report};
pub use self::schedule::{Schedule, ScheduleError};

use self::client::Client;
use self::engine::Engine;
use self::host::HostRun;
use self::memory::ClientMemory;
use self::platform::Platform;
use self::shared::Shared;

/// How long [`Server::finish`] waits for a client that is still connected.
const PARTING: Duration = Duration::from_secs(2);

/// How long the listener rests after a failure to take a client.
const RETRY: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Debug)]
pub struct Options {
    /// The profile.
    pub profile: Loaded,
    /// Draws what the profile gives as a range, and what a host program does.
    pub seed: u64,
    /// Where each TLP on each link is written to.
    pub capture: Option<PathBuf>,
    /// The program on the host's side of the device.
    pub host: Option<HostOptions>,
    /// Faults that the device has. A capture doesn't hold them: replayed against the model, it will differ.
    pub schedule: Schedule,
    /// Where the faults are recorded that the profile has happen on the links.
    pub faults: Record,
}

/// Why the device can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile gives no machine.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The function has not what a client needs.
    #[error("the function has no {0}")]
    Lacks(&'static str),
    /// The bus doesn't answer.
    #[error("the function can't be set up: {0}")]
    Bus(AccessError),
    /// The socket can't be had.
    #[error("can't listen at {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread can't be had.
    #[error("no thread for the server: {0}")]
    Thread(io::Error),
    /// The capture can't be written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl From<Error> for backend::Error {
    fn from(error: Error) -> backend::Error {
        backend::Error::Device(error.to_string())
    }
}

type Probe = capture::Shared<Tee<Statistics, Maybe<Recorder<File>>>>;

/// A server: it listens from [`Server::start`] on, for one client after the other.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    options: Description,
    capture: Option<PathBuf>,
    shared: Arc<Shared>,
    probe: Probe,
    /// The faults by rule, if there are rules.
    fired: Option<Record>,
    stopping: Arc<AtomicBool>,
    clients: Arc<AtomicU64>,
    listener: JoinHandle<()>,
    timekeeper: JoinHandle<u64>,
    /// CPU time of the clients' threads in nanoseconds, told as each ends.
    cpu: mpsc::Receiver<u64>,
    begun: Instant,
}

impl Server {
    /// Builds the machine and listens at `socket`, which must not exist.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(socket: &Path, options: Options) -> Result<Server, Error> {
        let Options { profile, seed, capture, host, schedule, faults } = options;
        let topology = profile.profile.topology;
        let memory = Arc::new(ClientMemory::default());
        let outside = Memory::outside(Arc::clone(&memory) as Arc<_>);
        let mut machine = Machine::with_memory(&profile.profile, seed, outside)?;
        let links = machine.links.iter().map(|(upper, lower)| LinkName::new(upper, lower)).collect();
        let device = host.as_ref().map_or(NO_DEVICE, |host| host.device.name).to_owned();
        let description =
            Description { device, profile: profile.name.clone(), profile_hash: profile.hash, seed, links };
        let recorder = capture.as_deref().map(|path| Recorder::create(path, description.clone())).transpose()?;
        let probe = Probe::new(Tee(Statistics::default(), Maybe(recorder)));
        machine.simulation.fabric_mut().set_probe(Some(Box::new(probe.clone())));
        let by_rule = machine.simulation.fabric_mut().witness_faults(faults.witness());
        let host = host.map(|options| {
            let enumeration = Settings {
                map: AddressMap::default(),
                max_payload: topology.max_payload,
                max_read_request: topology.max_read_request,
            };
            HostRun::new(options, &mut machine.simulation, machine.host, enumeration, seed)
        });
        let mut engine = Engine::new(machine, host, schedule);
        let platform = Platform::new(&mut engine)?;
        let failed = |source| Error::Socket { path: socket.to_owned(), source };
        let listener = UnixListener::bind(socket).map_err(failed)?;
        let about = protocol::Description {
            regions: client::regions(platform.bar_size()),
            interrupts: client::interrupts(platform.vectors()),
        };
        let shared = Arc::new(Shared::new(engine, platform));
        let (stopping, clients) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (tell, cpu) = mpsc::channel();
        let serving = {
            let (shared, stopping, clients) = (Arc::clone(&shared), Arc::clone(&stopping), Arc::clone(&clients));
            move || serve(&listener, &about, &shared, &memory, &stopping, &clients, &tell)
        };
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let listener = thread("vfio-user").spawn(serving).map_err(Error::Thread)?;
        let keeper = Arc::clone(&shared);
        let keeping = move || {
            keeper.run();
            report::cpu_time_ns()
        };
        let timekeeper = thread("time").spawn(keeping).map_err(Error::Thread)?;
        Ok(Server {
            socket: socket.to_owned(),
            options: description,
            capture,
            shared,
            probe,
            fired: by_rule.then_some(faults),
            stopping,
            clients,
            listener,
            timekeeper,
            cpu,
            begun: Instant::now(),
        })
    }

    /// What there is to say now.
    pub fn report(&self) -> Report {
        let traffic = self.clients.load(Ordering::SeqCst);
        let statistics = self.probe.with(|Tee(statistics, _)| statistics.clone()).unwrap_or_default();
        let mut report = self.shared.with(|engine, _| Report::new(&self.options, engine, &statistics, traffic));
        report.fired = self.fired.as_ref().map(Record::counts);
        report
    }

    /// What happens to the card from now on, for whoever plugs it into a machine.
    pub fn card_events(&self) -> mpsc::Receiver<CardEvent> {
        let (tell, events) = mpsc::channel();
        self.shared.with(|engine, _| engine.tell_of_card(tell));
        events
    }

    /// Whether the program on the host's side has ended, well or badly, and software holds nothing of it any more. `false` if there is none.
    pub fn host_ended(&self) -> bool {
        self.shared.with(|engine, _| engine.host_ended())
    }

    /// Ends it: a client that is still there is left alone with its connection. The socket is removed.
    ///
    /// # Errors
    /// [`Error::Capture`].
    pub fn finish(self) -> Result<Report, Error> {
        self.stopping.store(true, Ordering::SeqCst);
        // Whoever waits for a client gets one that says nothing.
        drop(UnixStream::connect(&self.socket));
        let until = Instant::now() + PARTING;
        while !self.listener.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let mut report = self.report();
        self.shared.stop();
        let mut cpu = self.timekeeper.join().unwrap_or(0);
        cpu += self.cpu.try_iter().sum::<u64>();
        report.cpu_ns = cpu;
        report.real_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // It's gone if somebody else has removed it.
        let _ = std::fs::remove_file(&self.socket);
        if let Some(Tee(_, Maybe(Some(recorder)))) = self.probe.take() {
            let (_, summary) = recorder.finish()?;
            report.captured(self.capture.as_deref(), summary);
        }
        Ok(report)
    }
}

/// How a capture calls the device if no program runs on the host's side.
pub const NO_DEVICE: &str = "none";

/// Serves one client after the other.
fn serve(
    listener: &UnixListener,
    about: &protocol::Description,
    shared: &Arc<Shared>,
    memory: &Arc<ClientMemory>,
    stopping: &AtomicBool,
    clients: &AtomicU64,
    cpu: &mpsc::Sender<u64>,
) {
    let mut told = 0;
    while !stopping.load(Ordering::SeqCst) {
        let connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "no client can be taken");
                // Without descriptors for example: it may be better soon.
                thread::sleep(RETRY);
                continue;
            }
        };
        if !stopping.load(Ordering::SeqCst) && !shared.with(|engine, _| engine.has_card()) {
            tracing::warn!("a client is turned away: the card isn't there");
            continue;
        }
        let mut client = Client::new(Arc::clone(shared), Arc::clone(memory));
        // Whatever goes wrong with a client ends that client, and not the server.
        let serving = AssertUnwindSafe(|| protocol::serve(connection, about, &mut client, protocol::PATIENCE));
        let ended = panic::catch_unwind(serving);
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        match ended {
            Ok(Ok(())) => tracing::info!("the client has gone"),
            Ok(Err(error)) => tracing::warn!(%error, "the client was disconnected"),
            Err(_) => tracing::error!("the client was disconnected: the server failed"),
        }
        client.gone();
        // Whoever hears of it finds nothing of its any more.
        clients.fetch_add(1, Ordering::SeqCst);
        let used = report::cpu_time_ns();
        // The receiver is there as long as the server.
        let _ = cpu.send(used - told);
        told = used;
    }
    let _ = cpu.send(report::cpu_time_ns() - told);
}
