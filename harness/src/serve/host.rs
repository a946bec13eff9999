//! The simulated host on the other side of the device: its program uses a function that software outside emulates.
//!
//! The host is switched on when software has claimed a function: a guest may take long to boot. From then on its clock waits whenever software outside
//! holds something of its, so that a slow emulator of the CPU doesn't look like a bus that doesn't answer. A watchdog in real time ends such
//! a wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mlx5_twin_model::Dpu;
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{Host, Simulation};

use crate::devices::{Device, HostError, HostReport, HostSettings};

/// The longest wait of the host's clock for software outside, in real time (ours).
pub const HOLD_LIMIT: Duration = Duration::from_secs(30);

/// A host program, from before its beginning to its end.
#[derive(Debug)]
pub(super) struct HostRun {
    device: &'static Device,
    root: NodeId,
    host: Host,
    /// What it begins with; taken when it begins.
    settings: Option<HostSettings>,
    ended: Arc<Mutex<Option<Result<HostReport, HostError>>>>,
    /// Since when its clock waits.
    held: Option<Instant>,
    /// The watchdog has ended a wait: the clock runs until software has answered.
    overdue: bool,
}

impl HostRun {
    /// The host program of `device`, to run on the cores of `root`.
    pub(super) fn new(
        device: &'static Device,
        simulation: &mut Simulation,
        root: NodeId,
        settings: HostSettings,
    ) -> HostRun {
        let (host, ended) = (simulation.host(root), Arc::default());
        HostRun { device, root, host, settings: Some(settings), ended, held: None, overdue: false }
    }

    /// Looks at the device after each event: begins when there's a function, and lets the clock wait or run.
    pub(super) fn follow(&mut self, simulation: &mut Simulation, device: NodeId) {
        let look = |dpu: &mut Dpu, _: &mut _| (dpu.emulation().claimed(), dpu.emulation().waits_for_software());
        let Some((claimed, waits)) = simulation.fabric_mut().device(device, look) else { return };
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
        self.overdue &= waits;
        let hold = waits && !self.overdue;
        if hold != self.held.is_some() {
            simulation.hold_clock(self.root, hold);
            self.held = hold.then(Instant::now);
        }
    }

    /// When the watchdog is to be called: the rest of a wait. It ends the wait if that's over.
    pub(super) fn watch(&mut self, simulation: &mut Simulation) -> Option<Duration> {
        let rest = HOLD_LIMIT.saturating_sub(self.held?.elapsed());
        if rest.is_zero() {
            tracing::warn!("software outside holds a request of the host for {HOLD_LIMIT:?}: the host's clock goes on");
            (self.held, self.overdue) = (None, true);
            simulation.hold_clock(self.root, false);
            return None;
        }
        Some(rest)
    }

    /// Whether it has ended and software outside holds nothing of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.held.is_none() && self.result().is_some()
    }

    /// What came of it. `None` if it hasn't ended.
    pub(super) fn result(&self) -> Option<Result<HostReport, HostError>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
