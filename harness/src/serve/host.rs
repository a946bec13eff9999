//! The simulated host on the other side of the device: its program uses a function that software outside emulates.
//!
//! The host is switched on when software has claimed a function: a guest may take long to boot. From then on its clock waits whenever software outside
//! holds something of its, so that a slow emulator of the CPU doesn't look like a bus that doesn't answer.
//!
//! The host has one clock, and one patience for each function. When the software of a function has held the same thing for longer than that, in real time,
//! the clock doesn't wait for this thing any more, nor for anything of this function until its software has done something again. So a program that
//! has stopped costs the host that one wait and its function; for all others the clock goes on waiting as before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mlx5_twin_model::Dpu;
use mlx5_twin_model::emulation::Waits;
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{Host, Settings, Simulation};

use crate::devices::{Console, Device, HostError, HostReport, HostSettings};

/// How long the host's clock waits for the software of a function, in real time, if nothing else is said (ours).
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often in its patience the host looks whether it's at an end (ours): nobody is called when something begins to wait. So patience is at most a fourth longer.
const LOOKS: u32 = 4;

/// The program on the host's side of the device.
#[derive(Debug)]
pub struct HostOptions {
    /// Whose host program it is.
    pub device: &'static Device,
    /// Where its text comes from and goes to.
    pub console: Console,
    /// How many rounds to go: see [`HostSettings::rounds`].
    pub rounds: Option<u64>,
    /// How many errors may be answered by a reset: see [`HostSettings::recoveries`].
    pub recoveries: u64,
    /// How long its clock waits for the software of a function, in real time.
    pub patience: Duration,
}

impl HostOptions {
    /// The host program of `device` as it goes by itself, and nobody at the console.
    pub fn new(device: &'static Device) -> HostOptions {
        HostOptions { device, console: Console::nobody(), rounds: None, recoveries: 0, patience: PATIENCE }
    }
}

/// What the host waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    /// The answer to the function's request of this number.
    Answer(u64),
    /// That software takes what is in its ring, of which it had taken so much.
    Taking(u64),
}

/// The host's patience with the software of one function.
#[derive(Debug, Default)]
struct Waiting {
    /// What its clock waits for, and since when.
    held: Option<(Thing, Instant)>,
    /// Requests with a lower number were waited for long enough.
    from: u64,
    /// How far the software was when it was given up.
    given_up: Option<u64>,
}

impl Waiting {
    /// Takes note of how things are.
    fn look(&mut self, waits: Waits) {
        if !waits.claimed {
            *self = Waiting::default();
            return;
        }
        self.given_up = self.given_up.filter(|&progress| progress == waits.progress);
        let thing = match waits.request {
            _ if self.given_up.is_some() => None,
            Some(number) => Some(Thing::Answer(number)),
            None => waits.messages.then_some(Thing::Taking(waits.progress)),
        };
        if self.held.map(|(held, _)| held) != thing {
            self.held = thing.map(|thing| (thing, Instant::now()));
        }
    }

    /// What is left of the patience. `None` if nothing is waited for.
    fn rest(&self, patience: Duration) -> Option<Duration> {
        self.held.map(|(_, since)| patience.saturating_sub(since.elapsed()))
    }

    /// Doesn't wait for this thing any more.
    fn give_up(&mut self, progress: u64) {
        if let Some((Thing::Answer(number), _)) = self.held.take() {
            self.from = number + 1;
        }
        self.given_up = Some(progress);
    }
}

/// A host program, from before its beginning to its end.
#[derive(Debug)]
pub(super) struct HostRun {
    device: &'static Device,
    root: NodeId,
    host: Host,
    /// What it begins with; taken when it begins.
    settings: Option<HostSettings>,
    ended: Arc<Mutex<Option<Result<HostReport, HostError>>>>,
    patience: Duration,
    /// By port.
    waiting: Vec<Waiting>,
    /// Whether its clock waits.
    held: bool,
}

impl HostRun {
    /// The host program, to run on the cores of `root`.
    pub(super) fn new(
        options: HostOptions,
        simulation: &mut Simulation,
        root: NodeId,
        enumeration: Settings,
        seed: u64,
    ) -> HostRun {
        let HostOptions { device, console, rounds, recoveries, patience } = options;
        let settings = HostSettings { rounds, recoveries, console, ..HostSettings::new(enumeration, seed) };
        let (host, ended) = (simulation.host(root), Arc::default());
        HostRun { device, root, host, settings: Some(settings), ended, patience, waiting: Vec::new(), held: false }
    }

    /// Looks at the device after each event: begins when there's a function, and lets the clock wait or run.
    pub(super) fn follow(&mut self, simulation: &mut Simulation, device: NodeId) {
        let waiting = &mut self.waiting;
        let look = |dpu: &mut Dpu, _: &mut _| {
            let emulation = dpu.emulation();
            for port in 0..emulation.ports() {
                if port == waiting.len() {
                    waiting.push(Waiting::default());
                }
                let one = &mut waiting[port];
                one.look(emulation.waits_for_software(port, one.from));
            }
            emulation.claimed()
        };
        let Some(claimed) = simulation.fabric_mut().device(device, look) else { return };
        if claimed > 0
            && let Some(settings) = self.settings.take()
        {
            tracing::info!(device = self.device.name, "a function is there: the host is switched on");
            let program = (self.device.host)(self.host.clone(), settings);
            let ended = Arc::clone(&self.ended);
            simulation.spawn(async move {
                let result = program.await;
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            });
        }
        self.hold(simulation);
    }

    /// Holds the clock as long as there's something to wait for.
    fn hold(&mut self, simulation: &mut Simulation) {
        let hold = self.waiting.iter().any(|waiting| waiting.held.is_some());
        if hold != self.held {
            simulation.hold_clock(self.root, hold);
            self.held = hold;
        }
    }

    /// When this is to be called again: when the patience with some software is at its end, or may be. If it is, that one isn't waited for any more.
    pub(super) fn watch(&mut self, simulation: &mut Simulation, device: NodeId) -> Option<Duration> {
        let HostRun { waiting, patience, .. } = self;
        let over = |waiting: &Waiting| waiting.rest(*patience).is_some_and(|rest| rest.is_zero());
        if waiting.iter().any(over) {
            let look = |dpu: &mut Dpu, _: &mut _| {
                for (port, waiting) in waiting.iter_mut().enumerate().filter(|(_, waiting)| over(waiting)) {
                    tracing::warn!(
                        "the software of port {port} is in the host's debt for {patience:?}: the host's clock goes on"
                    );
                    let emulation = dpu.emulation();
                    waiting.give_up(emulation.waits_for_software(port, 0).progress);
                    waiting.look(emulation.waits_for_software(port, waiting.from));
                }
            };
            // It's there as long as the fabric.
            let _ = simulation.fabric_mut().device(device, look);
            self.hold(simulation);
        }
        let rest = self.waiting.iter().filter_map(|waiting| waiting.rest(self.patience)).min();
        let look = self.result().is_none().then_some(self.patience / LOOKS);
        rest.into_iter().chain(look).min()
    }

    /// Whether it has ended and software outside holds nothing of it any more, or was given up.
    pub(super) fn is_over(&self) -> bool {
        !self.held && self.result().is_some()
    }

    /// What came of it. `None` if it hasn't ended.
    pub(super) fn result(&self) -> Option<Result<HostReport, HostError>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(request: Option<u64>, messages: bool, progress: u64) -> Waits {
        Waits { claimed: true, request, messages, progress }
    }

    fn waits_for(waiting: &Waiting) -> Option<Thing> {
        waiting.held.map(|(thing, _)| thing)
    }

    #[test]
    fn patience_begins_anew_with_each_thing() {
        let mut waiting = Waiting::default();
        waiting.look(held(Some(0), true, 5));
        let begun = waiting.held;
        assert_eq!(waits_for(&waiting), Some(Thing::Answer(0)));
        // Software takes other things, but doesn't answer this one.
        waiting.look(held(Some(0), true, 7));
        assert_eq!(waiting.held, begun);
        waiting.look(held(Some(1), true, 8));
        assert_eq!(waits_for(&waiting), Some(Thing::Answer(1)));
        waiting.look(held(None, true, 9));
        assert_eq!(waits_for(&waiting), Some(Thing::Taking(9)));
        waiting.look(held(None, true, 10));
        assert_eq!(waits_for(&waiting), Some(Thing::Taking(10)));
        waiting.look(held(None, false, 11));
        assert_eq!(waits_for(&waiting), None);
    }

    #[test]
    fn software_that_was_given_up_is_waited_for_when_it_does_something() {
        let mut waiting = Waiting::default();
        waiting.look(held(Some(3), true, 5));
        waiting.give_up(5);
        assert_eq!(waiting.from, 4);
        for still in [held(None, true, 5), held(None, false, 5), held(Some(4), true, 5)] {
            waiting.look(still);
            assert_eq!(waits_for(&waiting), None, "{still:?}");
        }
        // What it was given up for isn't waited for again, but what came since is.
        waiting.look(held(Some(4), true, 6));
        assert_eq!(waits_for(&waiting), Some(Thing::Answer(4)));
        waiting.look(Waits::default());
        assert_eq!((waits_for(&waiting), waiting.from), (None, 0), "another program begins anew");
    }
}
