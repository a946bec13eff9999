//! The receiver of TLPs on a link (base spec 3.6.3.1): which are taken, and when they're acknowledged.

use super::dllp::{Dllp, Sequence};
use crate::time::Time;

/// What becomes of a TLP that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It's the next one: it goes up.
    Taken,
    /// It has been taken before. It's thrown away and acknowledged; no error.
    Duplicate,
    /// A Bad TLP error: its LCRC is wrong.
    BadLcrc,
    /// A Bad TLP error: one before it is missing.
    OutOfSequence,
    /// One before it is missing and has been asked for already. It's thrown away; the error was reported with the Nak (our reading of 3.6.3.1).
    Awaited,
    /// Its sender took it back (end bad, inverted LCRC): it's thrown away; no error.
    Nullified,
}

impl Verdict {
    /// Is it a Bad TLP error?
    pub const fn is_bad(self) -> bool {
        matches!(self, Verdict::BadLcrc | Verdict::OutOfSequence)
    }
}

/// The check of a TLP, as the receiver finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The LCRC is right.
    Good,
    /// It's wrong.
    Bad,
    /// It's the inverse of the right one, and the TLP ends with 'end bad'.
    Nullified,
}

/// The state of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptor {
    /// NEXT_RCV_SEQ.
    next: Sequence,
    /// NAK_SCHEDULED.
    nak_scheduled: bool,
    /// A Nak is to be sent.
    nak: bool,
    /// When an Ack is to be sent at the latest, if one is.
    ack: Option<Time>,
}

impl Default for Acceptor {
    fn default() -> Acceptor {
        Acceptor::new()
    }
}

impl Acceptor {
    /// The state after DL_Inactive.
    pub const fn new() -> Acceptor {
        Acceptor { next: Sequence::new(0), nak_scheduled: false, nak: false, ack: None }
    }

    /// NEXT_RCV_SEQ.
    pub const fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// NAK_SCHEDULED.
    pub const fn nak_scheduled(&self) -> bool {
        self.nak_scheduled
    }

    /// Whether the TLP of that number has been taken; it's one of the last 2,048 or of those that are yet to come.
    pub const fn has_taken(&self, sequence: Sequence) -> bool {
        let behind = self.next.after(sequence);
        behind != 0 && behind <= Sequence::COUNT / 2
    }

    /// A TLP has been received, whose sequence number is believed only if it's whole. `latency`: the Ack limit.
    pub fn receive(&mut self, sequence: Sequence, integrity: Integrity, now: Time, latency: Time) -> Verdict {
        match integrity {
            Integrity::Nullified => return Verdict::Nullified,
            Integrity::Bad => {
                self.schedule_nak();
                return Verdict::BadLcrc;
            }
            Integrity::Good => {}
        }
        if sequence == self.next {
            self.next = sequence.next();
            self.nak_scheduled = false;
            self.nak = false;
            // AckNak_LATENCY_TIMER runs from the first one that isn't acknowledged.
            self.ack = self.ack.or(Some(now + latency));
            return Verdict::Taken;
        }
        if self.next.after(sequence) <= Sequence::COUNT / 2 {
            self.ack = Some(now);
            return Verdict::Duplicate;
        }
        let awaited = self.nak_scheduled;
        self.schedule_nak();
        if awaited { Verdict::Awaited } else { Verdict::OutOfSequence }
    }

    fn schedule_nak(&mut self) {
        if !self.nak_scheduled {
            self.nak_scheduled = true;
            self.nak = true;
        }
    }

    /// When an Ack or Nak is to be sent; a Nak at once. `None` if none is.
    pub const fn due(&self) -> Option<Time> {
        if self.nak { Some(Time::ZERO) } else { self.ack }
    }

    /// The Ack or Nak that is sent now. Either says all that there is to say.
    pub const fn take(&mut self) -> Dllp {
        let named = self.next.previous();
        let nak = self.nak;
        self.nak = false;
        self.ack = None;
        if nak { Dllp::Nak(named) } else { Dllp::Ack(named) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Time = Time::ns(40);
    const N: fn(u16) -> Sequence = Sequence::new;

    #[test]
    fn one_ack_for_what_came_within_the_limit() {
        let mut one = Acceptor::new();
        assert_eq!(one.due(), None);
        for n in 0..5 {
            assert_eq!(one.receive(N(n), Integrity::Good, Time::ns(n.into()), LIMIT), Verdict::Taken);
            assert_eq!(one.due(), Some(LIMIT), "the first one counts");
        }
        assert_eq!(one.take(), Dllp::Ack(N(4)));
        assert_eq!(one.due(), None);
    }

    #[test]
    fn one_nak_until_something_good_comes() {
        let mut one = Acceptor::new();
        one.receive(N(0), Integrity::Good, Time::ZERO, LIMIT);
        assert_eq!(one.receive(N(1), Integrity::Bad, Time::ns(1), LIMIT), Verdict::BadLcrc);
        assert_eq!(one.due(), Some(Time::ZERO));
        assert_eq!(one.receive(N(2), Integrity::Good, Time::ns(2), LIMIT), Verdict::Awaited);
        assert_eq!(one.take(), Dllp::Nak(N(0)), "it acknowledges what is good");
        assert_eq!(one.due(), None);
        // More of the kind: nothing is said until the right one has come.
        assert_eq!(one.receive(N(3), Integrity::Good, Time::ns(3), LIMIT), Verdict::Awaited);
        assert_eq!(one.receive(N(1), Integrity::Bad, Time::ns(3), LIMIT), Verdict::BadLcrc);
        assert_eq!((one.due(), one.nak_scheduled()), (None, true));
        assert_eq!(one.receive(N(1), Integrity::Good, Time::ns(4), LIMIT), Verdict::Taken);
        assert_eq!((one.due(), one.nak_scheduled()), (Some(Time::ns(44)), false));
        assert_eq!(one.receive(N(3), Integrity::Good, Time::ns(5), LIMIT), Verdict::OutOfSequence);
        assert_eq!(one.take(), Dllp::Nak(N(1)));
    }

    #[test]
    fn duplicates_are_acknowledged_at_once() {
        let mut one = Acceptor::new();
        for n in 0..4096 + 10 {
            assert_eq!(one.receive(N(n), Integrity::Good, Time::ZERO, LIMIT), Verdict::Taken);
        }
        one.take();
        // 10 is next: the 2,048 before it are old ones, the others are yet to come.
        for (number, verdict) in [
            (9, Verdict::Duplicate),
            (4095, Verdict::Duplicate),
            (2058, Verdict::Duplicate),
            (2057, Verdict::OutOfSequence),
            (11, Verdict::OutOfSequence),
        ] {
            let mut one = one;
            assert_eq!(one.receive(N(number), Integrity::Good, Time::us(1), LIMIT), verdict, "{number}");
            let answer = if verdict == Verdict::Duplicate { Dllp::Ack(N(9)) } else { Dllp::Nak(N(9)) };
            assert!(one.due().unwrap() <= Time::us(1));
            assert_eq!(one.take(), answer, "{number}");
        }
    }

    #[test]
    fn nullified_ones_leave_no_trace() {
        let mut one = Acceptor::new();
        let before = one;
        assert_eq!(one.receive(N(0), Integrity::Nullified, Time::ZERO, LIMIT), Verdict::Nullified);
        assert_eq!(one, before);
    }
}
