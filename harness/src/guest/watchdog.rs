//! How long a guest may say nothing, in real time.

use std::time::{Duration, Instant};

/// A guest that boots says little, on a machine that may be slow.
const BOOT: Duration = Duration::from_secs(120);

/// An agent says every second that it's alive.
const AGENT: Duration = Duration::from_secs(30);

/// If nobody has looked for this long, it was us who didn't run (stopped, suspended), and so maybe the guest too.
const ABSENCE: Duration = Duration::from_secs(5);

/// Watches one guest.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    limit: Duration,
    last_sign: Instant,
    last_look: Instant,
}

impl Watchdog {
    /// For a guest that begins to boot at `now`.
    pub fn new(now: Instant) -> Self {
        Self { limit: BOOT, last_sign: now, last_look: now }
    }

    /// From `now` on the agent answers.
    pub fn agent(&mut self, now: Instant) {
        self.limit = AGENT;
        self.sign(now);
    }

    /// The guest has said something.
    pub fn sign(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// The guest's kernel has said something on its console. While it boots that's a sign; later only its agent gives one: a kernel that
    /// hangs may complain about it for ever.
    pub fn words(&mut self, now: Instant) {
        if self.limit == BOOT {
            self.sign(now);
        }
    }

    /// Looks at the clock. For how long the guest has said nothing, if that's too long.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        if now.duration_since(self.last_look) > ABSENCE {
            self.last_sign = now;
        }
        self.last_look = now;
        let silent = now.duration_since(self.last_sign);
        (silent > self.limit).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every second from `from` until `to` seconds; at which one the guest counts as dead.
    fn dead_at(watchdog: &mut Watchdog, begin: Instant, from: u64, to: u64) -> Option<u64> {
        (from..=to).find(|&second| watchdog.look(begin + Duration::from_secs(second)).is_some())
    }

    #[test]
    fn silence_ends_it_and_signs_do_not() {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(begin);
        assert_eq!(dead_at(&mut watchdog, begin, 0, 1000), Some(121));
        let mut watchdog = Watchdog::new(begin);
        watchdog.agent(begin);
        assert_eq!(dead_at(&mut watchdog, begin, 0, 20), None);
        watchdog.sign(begin + Duration::from_secs(20));
        assert_eq!(dead_at(&mut watchdog, begin, 21, 1000), Some(51));
    }

    #[test]
    fn a_kernel_that_complains_is_alive_only_while_it_boots() {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut watchdog = Watchdog::new(begin);
        assert_eq!(dead_at(&mut watchdog, begin, 0, 100), None);
        watchdog.words(at(100));
        assert_eq!(dead_at(&mut watchdog, begin, 101, 200), None);
        watchdog.agent(at(200));
        assert_eq!(dead_at(&mut watchdog, begin, 201, 220), None);
        watchdog.words(at(220));
        assert_eq!(dead_at(&mut watchdog, begin, 221, 1000), Some(231));
    }

    #[test]
    fn our_own_absence_is_not_the_guests() {
        let begin = Instant::now();
        let mut watchdog = Watchdog::new(begin);
        watchdog.agent(begin);
        assert_eq!(dead_at(&mut watchdog, begin, 0, 10), None);
        // Suspended for an hour; the guest has again the whole time.
        assert_eq!(dead_at(&mut watchdog, begin, 3600, 3630), None);
        assert_eq!(dead_at(&mut watchdog, begin, 3631, 4000), Some(3631));
    }
}
