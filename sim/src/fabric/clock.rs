//! The clock of a root complex's cores and of their requests. It passes as the fabric's does, and can be held: while software outside the simulation
//! owes an answer, it's not the bus that is slow.

use crate::time::Time;

/// A clock that may be held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeldClock {
    /// For how long it was held, all together; a hold that lasts isn't in it.
    held: Time,
    /// Since when it's held.
    since: Option<Time>,
}

impl HeldClock {
    /// What it shows when the fabric's shows `fabric`.
    #[inline]
    pub(super) fn now(&self, fabric: Time) -> Time {
        self.since.unwrap_or(fabric) - self.held
    }

    /// When on the fabric's clock it will show `own`, unless it's held again before.
    #[inline]
    pub(super) fn at(&self, own: Time) -> Time {
        own + self.held
    }

    pub(super) fn is_held(&self) -> bool {
        self.since.is_some()
    }

    /// Holds it, or lets it run again.
    pub(super) fn hold(&mut self, hold: bool, fabric: Time) {
        match self.since {
            None if hold => self.since = Some(fabric),
            Some(since) if !hold => {
                self.held += fabric - since;
                self.since = None;
            }
            _ => {}
        }
    }
}
