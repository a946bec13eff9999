//! Virtual time beside the clock on the wall, for software outside the simulation.

use std::time::{Duration, Instant};

use mlx5_twin_sim::Time;

/// How far virtual time may lag behind. A simulation that was slower than the wall's clock for longer doesn't hurry afterwards.
const MAX_LAG: Time = Time::ms(10);

/// How far the simulation may be ahead: about as late as a thread is that sleeps for a short time (Linux's timer slack is 50 us). So a short
/// command is done by the thread that asked for it, and no other must be woken.
const LEAD: Time = Time::us(50);

/// Which virtual time belongs to which moment: it passes as fast as the wall's clock, as long as the simulation keeps up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    moment: Instant,
    time: Time,
}

impl Clock {
    /// It's virtual time `time` now.
    pub(super) fn new(time: Time) -> Clock {
        Clock { moment: Instant::now(), time }
    }

    /// The virtual time that it should be.
    pub(super) fn due(&self) -> Time {
        let passed = self.moment.elapsed().as_nanos();
        self.time + Time::ns(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Up to which virtual time things may happen now.
    pub(super) fn horizon(&self) -> Time {
        self.due() + LEAD
    }

    /// The simulation has come to `reached` only, with more to do: lets go of what lies too far behind.
    pub(super) fn lag(&mut self, reached: Time) {
        if self.due().since(reached) > MAX_LAG {
            *self = Clock::new(reached);
        }
    }

    /// How long until virtual time `at` is within the horizon. Nothing if it is.
    pub(super) fn until(&self, at: Time) -> Duration {
        match at.since(self.horizon()) {
            Time::ZERO => Duration::ZERO,
            // At least that long, so that it's over then.
            span => Duration::from_nanos(span.as_ns() + 1),
        }
    }
}
