//! The clock of a device that has times of its own, such as the characters of a serial line.
//!
//! In the simulation it is virtual time. Where the program runs outside of it, on a kernel whose device is this project's model, the host's clock stands
//! still while software keeps the host waiting ([`serve`](crate::serve)), and nobody tells software when that is. A device whose time went on meanwhile would
//! be a thousand times too fast for its host. So there the device's clock stands still too: from a request, or from something that the device does of itself,
//! until that is dealt with and nothing has come for [`GRACE`]. The device is a little slower than it should be, and never faster.

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::time::Time;

use crate::backend::Backend;

/// How long nothing must come before time goes on (ours): longer than a host that runs takes from an answer to its next request, through a guest without KVM.
pub const GRACE: Duration = Duration::from_millis(5);

/// The clock of the devices of a program. It begins with the backend's time, and never goes back.
#[derive(Clone, Debug)]
pub struct DeviceClock {
    backend: Arc<dyn Backend>,
    /// What it showed when the program began to wait.
    shown: Time,
    /// When that was, on the backend's clock.
    waits_since: Time,
}

impl DeviceClock {
    /// The clock of a program on this backend, which waits for its first request.
    pub fn new(backend: Arc<dyn Backend>) -> DeviceClock {
        let now = time(backend.now());
        DeviceClock { backend, shown: now, waits_since: now }
    }

    /// What it shows now, as long as no request has come.
    pub fn now(&self) -> Time {
        let now = time(self.backend.now());
        if self.backend.is_simulated() {
            return now;
        }
        self.shown + Time::ps(now.since(self.waits_since).as_ps().saturating_sub(time(GRACE).as_ps()))
    }

    /// How long to wait, on the backend's clock, until it shows `at`.
    pub fn left(&self, at: Time) -> Duration {
        let mut left = at.since(self.now());
        if !self.backend.is_simulated() {
            let waited = time(self.backend.now()).since(self.waits_since);
            left += time(GRACE).since(waited);
        }
        Duration::from_nanos(left.as_ps().div_ceil(1_000))
    }

    /// A request has come, or it's time for something: gives what the clock shows until that is dealt with.
    pub fn stop(&mut self) -> Time {
        self.shown = self.now();
        self.wait();
        self.shown
    }

    /// All is dealt with: the program waits again.
    pub fn wait(&mut self) {
        self.waits_since = time(self.backend.now());
    }
}

/// As the clock has it.
fn time(since: Duration) -> Time {
    Time::ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
