//! The simulated device in this process: the model, the DPU's cores that this crate's driver runs on, and programs that take turns on virtual time.
//!
//! [`SimDevice::new`] builds the machine that a profile describes, enumerates the DPU's bus and brings the driver up. From then on the calling thread
//! is the simulation's program 0; further programs are threads made by [`SimDevice::spawn`]. One of them runs at a time, until it waits: for a command,
//! an event, a store or a read, the end of a poll or of another program. When all of them wait, virtual time passes. The host's programs are async
//! functions on the same clock ([`SimDevice::host`], [`SimDevice::with_simulation`]).
//!
//! A program has the turn for as long as it runs: a thread that waits for something outside of the simulation (another
//! thread's `join`, a channel, the user) must [`step out`](SimDevice::step_out) first.

mod door;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{AddressMap, Found, Host, Settings, Simulation, enumerate};

use self::door::SimDoor;
use self::schedule::{Number, Outcome, Scheduler, Wait};
use super::{Backend, Error};
use crate::driver::Driver;

/// What a simulation has beside its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Page size of the DPU's operating system in bytes: 4096, 16384 or 65536. What a context maps and registers is a multiple of it.
    pub page_size: usize,
}

impl Default for Options {
    /// Pages of 4 KiB.
    fn default() -> Options {
        Options { page_size: 4096 }
    }
}

/// A simulated machine whose device is up.
#[derive(Debug)]
pub struct SimDevice {
    scheduler: Arc<Scheduler>,
    driver: Arc<Driver>,
    host: NodeId,
    dpu: NodeId,
    device: NodeId,
    found: Vec<Found>,
    links: Vec<(String, String)>,
    /// By number of an emulated function: the root complex above it.
    roots: Vec<NodeId>,
}

impl SimDevice {
    /// Builds the machine and brings its device up. The calling thread becomes program 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a profile that gives no machine, or another page size; otherwise what goes wrong while the device is brought up.
    pub fn new(profile: &Profile, seed: u64, options: Options) -> Result<Arc<SimDevice>, Error> {
        let machine = Machine::build(profile, seed).map_err(|error| Error::Invalid(format!("profile: {error}")))?;
        SimDevice::with_machine(machine, profile, options)
    }

    /// As [`SimDevice::new`], with a machine that was built before, for example to put a probe on its fabric.
    ///
    /// # Errors
    /// As [`SimDevice::new`].
    pub fn with_machine(machine: Machine, profile: &Profile, options: Options) -> Result<Arc<SimDevice>, Error> {
        let page_size = options.page_size;
        if ![4096, 16384, 65536].contains(&page_size) {
            return Err(Error::Invalid(format!("a page size of {page_size} bytes: must be 4096, 16384 or 65536")));
        }
        let Machine { mut simulation, host, dpu, device, links, functions, .. } = machine;
        let settings = Settings {
            map: AddressMap::default(),
            max_payload: profile.topology.max_payload,
            max_read_request: profile.topology.max_read_request,
        };
        let cores = simulation.host(dpu);
        let found = simulation.run(async move { enumerate(&cores, settings).await });
        let found = match found {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Err(Error::Device(format!("enumeration of the DPU's bus: {error}"))),
            None => return Err(Error::Device("enumeration of the DPU's bus doesn't end".to_owned())),
        };
        let (vendor, id) = (profile.device.vendor_id, profile.device.device_id);
        let function = found.iter().find(|found| (found.vendor, found.device) == (vendor, id)).cloned();
        let function = function
            .ok_or_else(|| Error::Device(format!("there's no function {vendor:04x}:{id:04x} on the DPU's bus")))?;
        let scheduler = Scheduler::new(simulation, dpu, Time::ns(profile.timing.poll_ns));
        let door = SimDoor::new(Arc::clone(&scheduler), &function, page_size)?;
        let driver = Driver::start(Arc::new(door))?;
        Ok(Arc::new(SimDevice { scheduler, driver, host, dpu, device, found, links, roots: functions }))
    }

    /// Opens a context.
    ///
    /// # Errors
    /// As [`Backend::open_context`].
    pub fn open(&self) -> Result<Arc<dyn Backend>, Error> {
        self.driver.open()
    }

    /// Gives everything back and disables the device. Dropping the last context and the device does the same, but tells nobody of errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a context is open; what the device refuses.
    pub fn shut_down(&self) -> Result<(), Error> {
        self.driver.shut_down()
    }

    /// The host, for its programs.
    pub fn host(&self) -> Host {
        self.with_simulation(|simulation| simulation.host(self.host))
    }

    /// The root complex above an emulated function, by the function's number. `None` if there's no such function.
    pub fn root_of(&self, function: u16) -> Option<NodeId> {
        self.roots.get(usize::from(function)).copied()
    }

    /// The host's root complex.
    pub fn host_node(&self) -> NodeId {
        self.host
    }

    /// The device.
    pub fn device_node(&self) -> NodeId {
        self.device
    }

    /// The root complex of the DPU's cores.
    pub fn dpu_node(&self) -> NodeId {
        self.dpu
    }

    /// What enumeration found on the DPU's bus.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// The names of the links' two ends, upper end first, by link number.
    pub fn links(&self) -> &[(String, String)] {
        &self.links
    }

    /// Looks at the simulation or changes it, for example to start a program of the host. No time passes.
    pub fn with_simulation<T>(&self, call: impl FnOnce(&mut Simulation) -> T) -> T {
        let (mut shared, _) = self.scheduler.enter();
        shared.touch();
        call(&mut shared.simulation)
    }

    /// Looks at the device's model. `None` only if the fabric has lost it.
    pub fn with_model<T>(&self, look: impl FnOnce(&Dpu) -> T) -> Option<T> {
        self.with_simulation(|simulation| simulation.fabric_mut().device(self.device, |dpu: &mut Dpu, _| look(dpu)))
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.scheduler.enter().0.now()
    }

    /// Lets the calling thread's program wait for a span of virtual time.
    pub fn sleep(&self, span: Duration) {
        let span = Time::ns(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.scheduler.wait(|shared| {
            let end = shared.now() + span;
            shared.alarm(end);
            Wait::Interrupt { seen: u64::MAX, until: Some(end) }
        });
    }

    /// Starts a program in a thread of its own. It gets its first turn when others wait.
    ///
    /// # Errors
    /// [`Error::Device`] if the operating system gives no thread.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        program: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Program<T>, Error> {
        let number = self.scheduler.register();
        let scheduler = Arc::clone(&self.scheduler);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            scheduler.join(number);
            drop(scheduler);
            program()
        });
        match thread {
            Ok(thread) => Ok(Program { scheduler: Arc::clone(&self.scheduler), number, thread }),
            Err(error) => {
                self.scheduler.forget(number);
                Err(Error::Device(format!("no thread for the program {name}: {error}")))
            }
        }
    }

    /// Takes the calling thread out of the schedule, so that others can run while it waits for something outside of the simulation.
    /// Its next call takes part again, as the newest program.
    pub fn step_out(&self) {
        self.scheduler.step_out();
    }
}

/// A program that was started by [`SimDevice::spawn`].
#[must_use = "a program whose end nobody waits for ends when it likes"]
pub struct Program<T> {
    scheduler: Arc<Scheduler>,
    number: Number,
    thread: JoinHandle<T>,
}

impl<T> fmt::Debug for Program<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("number", &self.number).field("name", &self.thread.thread().name()).finish()
    }
}

impl<T> Program<T> {
    /// Waits for the program's end while virtual time passes: gives its result.
    ///
    /// # Errors
    /// [`Error::Device`] if it panicked, or if it and the caller wait for each other.
    pub fn join(self) -> Result<T, Error> {
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        if let Outcome::Silent = self.scheduler.wait(|_| Wait::End(self.number)) {
            return Err(Error::Device(format!("the program {name} waits for one that waits for it")));
        }
        self.thread.join().map_err(|_| Error::Device(format!("the program {name} panicked")))
    }
}
