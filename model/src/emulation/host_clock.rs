//! How much time the host has had in which nothing of its waited for software.

use mlx5_twin_sim::time::Time;

/// A clock that stands still while software keeps the host waiting: as that of a host does whose software is outside of the simulation, where
/// virtual time follows the machine's and a moment's work of software takes longer than it would on a DPU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostClock {
    /// When it was looked at last.
    now: Time,
    /// For how long it has stood still, up to the last time that it did.
    stood: Time,
    /// Since when it stands still.
    since: Option<Time>,
}

impl HostClock {
    /// It is `now`, and something waits for software from now on, or nothing does.
    pub(super) fn look(&mut self, now: Time, waits: bool) {
        self.now = now;
        match self.since {
            None if waits => self.since = Some(now),
            Some(since) if !waits => {
                self.stood += now.since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// What it shows.
    pub(super) fn time(&self) -> Time {
        self.since.unwrap_or(self.now).since(self.stood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_while_software_is_waited_for() {
        let mut clock = HostClock::default();
        let looks = [
            (10, false, 10),
            (20, true, 20),
            (25, true, 20),
            (50, false, 20),
            (55, false, 25),
            (60, true, 30),
            (99, true, 30),
        ];
        for (now, waits, shown) in looks {
            clock.look(Time(now), waits);
            assert_eq!(clock.time(), Time(shown), "at {now}");
        }
    }
}
