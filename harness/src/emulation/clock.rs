//! The clock of a device that has times of its own, such as the characters of a serial line.
//!
//! In the simulation it is virtual time. Where the program runs outside of it, on a kernel whose device is this project's model, the host's clock stands
//! still while software keeps the host waiting ([`serve`](crate::serve)). A device whose time went on meanwhile would be a thousand times too fast for its host. So
//! there the clock is the host's, which the device tells ([`PortStatus::host_time`](super::PortStatus)); and where the device tells none, the machine's.
//!
//! The host's clock doesn't wait for what a device does of itself. A program that is late with that, as one in an emulated guest is by milliseconds, sets its
//! clock back to when it was due ([`DeviceClock::set_back`]): so the device is a little slower than it should be, and never does in a moment what
//! should have taken it long.

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::time::Time;

use super::{Error, Port};
use crate::backend::Backend;

/// The least time to wait for the clock (ours): a look at it may take a tenth of a millisecond.
const LEAST_WAIT: Duration = Duration::from_micros(50);

/// The clock of a function. It never goes back but by [`DeviceClock::set_back`].
#[derive(Clone, Debug)]
pub struct DeviceClock {
    backend: Arc<dyn Backend>,
    port: Port,
    shown: Time,
    /// How much it is behind the host's.
    behind: Time,
}

impl DeviceClock {
    /// The clock of the function at a port.
    ///
    /// # Errors
    /// What the device answers.
    pub fn new(backend: Arc<dyn Backend>, port: Port) -> Result<DeviceClock, Error> {
        let mut clock = DeviceClock { backend, port, shown: Time::ZERO, behind: Time::ZERO };
        clock.look()?;
        Ok(clock)
    }

    /// What it shows now. When there are requests that haven't been taken, it shows the time at which the first of them came.
    ///
    /// # Errors
    /// What the device answers.
    pub fn look(&mut self) -> Result<Time, Error> {
        let machine = || Time::ns(u64::try_from(self.backend.now().as_nanos()).unwrap_or(u64::MAX));
        let now = match self.backend.is_simulated() {
            true => machine(),
            false => match self.port.query(self.backend.as_ref())?.host_time {
                Time::ZERO => machine().since(self.behind),
                host => host.since(self.behind),
            },
        };
        self.shown = self.shown.max(now);
        Ok(self.shown)
    }

    /// What it showed at the last look.
    pub fn shown(&self) -> Time {
        self.shown
    }

    /// Whether it's the simulation's: see [`Backend::is_simulated`].
    pub fn is_simulated(&self) -> bool {
        self.backend.is_simulated()
    }

    /// Sets the clock back to `at`, if it shows a later time: software took longer than the device should have. In the simulation software takes no time.
    pub fn set_back(&mut self, at: Time) {
        if !self.backend.is_simulated() {
            self.behind += self.shown.since(at);
            self.shown = self.shown.min(at);
        }
    }

    /// How long to wait before it may show `at`. It may show less then: the host may have been kept waiting meanwhile.
    pub fn left(&self, at: Time) -> Duration {
        if self.backend.is_simulated() {
            let now = Time::ns(u64::try_from(self.backend.now().as_nanos()).unwrap_or(u64::MAX));
            return Duration::from_nanos(at.since(now).as_ps().div_ceil(1_000));
        }
        Duration::from_nanos(at.since(self.shown).as_ps().div_ceil(1_000)).max(LEAST_WAIT)
    }
}
