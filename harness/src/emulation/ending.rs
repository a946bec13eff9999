//! How a program ends whose host is always busy: it never waits, so nobody else tells it that the end was asked for.

/// How many messages are taken from one look to the next (ours): a look is a system call.
const LOOK: u32 = 16;

/// Looks whether the end was asked for. When it was, as many messages are still taken as the ring holds, and so all that were there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    ring_slots: u32,
    /// Messages taken since the last look.
    taken: u32,
    /// Messages that may still be taken, once the end was asked for.
    left: Option<u32>,
}

impl Ending {
    /// Of a channel whose ring holds so many messages.
    pub(super) fn new(ring_slots: u32) -> Ending {
        Ending { ring_slots, taken: 0, left: None }
    }

    /// A message is taken.
    pub(super) fn count(&mut self, is_stopped: impl FnOnce() -> bool) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            return;
        }
        self.taken += 1;
        if self.taken >= LOOK {
            self.taken = 0;
            self.left = is_stopped().then_some(self.ring_slots);
        }
    }

    /// Whether no more may be taken.
    pub(super) fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_taken_and_no_more() {
        let mut ending = Ending::new(8);
        let mut looks = 0;
        for _ in 0..10 * LOOK {
            ending.count(|| {
                looks += 1;
                false
            });
        }
        assert_eq!((looks, ending.is_over()), (10, false));
        let mut taken = 0;
        while !ending.is_over() {
            ending.count(|| true);
            taken += 1;
        }
        assert_eq!(taken, LOOK + 8);
    }
}
