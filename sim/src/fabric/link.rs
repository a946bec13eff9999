//! The transmitting half of a port: serialisation, and the queues of what waits for credits.

use super::arena::{Arena, TlpId, Weight};
use super::core::Owner;
use super::credits::Credits;
use crate::profile;
use crate::time::Time;
use crate::tlp::Class;

const CLASSES: [Class; 3] = [Class::Posted, Class::NonPosted, Class::Completion];

/// A queue of TLPs, linked through their slots.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: TlpId,
    tail: TlpId,
}

impl Queue {
    const EMPTY: Queue = Queue { head: TlpId::NONE, tail: TlpId::NONE };
}

/// Sends TLPs over one direction of a link.
#[derive(Debug)]
pub(crate) struct Transmitter {
    ps_per_byte_q16: u64,
    framing_bytes: u64,
    /// Flight time and the receiver's own latency, by class.
    latency: [Time; 3],
    update_fc: Time,
    busy_until: Time,
    credits: [Credits; 3],
    waiting: [Queue; 3],
    /// The classes in which something waits, as a set of bits.
    waiting_classes: u8,
    next_order: u32,
    /// Whose the port at the other end is.
    pub(crate) receiver: Owner,
    /// TLPs that a probe has seen.
    pub(crate) seen: u64,
    /// When the pending `Kick` event comes, if there is one.
    kick_at: Time,
}

/// Nothing pending.
const NEVER: Time = Time::MAX;

/// What a transmitter wants next.
pub(crate) enum Kick {
    /// Nothing: it waits for a credit to be returned, or for nothing at all.
    No,
    /// To be called at this time, when a credit arrives.
    At(Time),
}

/// What may go now.
pub(crate) enum Ready {
    /// This TLP; it has its credits.
    Go(TlpId),
    /// None. The first credit that may change that, if it's known, comes at this time.
    Blocked(Option<Time>),
}

impl Transmitter {
    /// The transmitter of a link to `receiver`, which takes `reaction` to act on a TLP of each class.
    pub(crate) fn new(
        receiver: Owner,
        link: &profile::Link,
        flight: Time,
        reaction: [Time; 3],
        timing: &profile::Timing,
    ) -> Transmitter {
        let c = &link.credits;
        let rate = link.ps_per_byte_q16();
        Transmitter {
            ps_per_byte_q16: rate * 1000 / (1000 - timing.dllp_permille.min(999)),
            framing_bytes: link.framing_bytes(),
            latency: reaction.map(|latency| flight + latency),
            update_fc: Time::ns(timing.update_fc_ns) + flight,
            busy_until: Time::ZERO,
            credits: [
                Credits::new(c.posted_headers, c.posted_data),
                Credits::new(c.nonposted_headers, c.nonposted_data),
                Credits::new(c.completion_headers, c.completion_data),
            ],
            waiting: [Queue::EMPTY; 3],
            waiting_classes: 0,
            next_order: 0,
            receiver,
            seen: 0,
            kick_at: NEVER,
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting_classes == 0
    }

    /// When all that was sent so far has arrived; `None` while something waits for credits.
    pub(crate) fn quiet_at(&self) -> Option<Time> {
        let [posted, nonposted, completion] = self.latency;
        self.is_clear().then(|| self.busy_until + posted.max(nonposted).max(completion))
    }

    /// Whether a TLP can ever get its credits.
    pub(crate) fn can_ever_send(&self, weight: Weight) -> bool {
        self.credits[weight.class as usize].can_ever_take(weight.cost)
    }

    /// Takes the credits of a TLP, if they're there.
    #[inline]
    pub(crate) fn take_credits(&mut self, weight: Weight, now: Time) -> bool {
        self.credits[weight.class as usize].take(weight.cost, now)
    }

    /// Puts a TLP on the wire as soon as it's free: gives the times of the first symbol and of use at the receiver.
    #[inline]
    pub(crate) fn occupy(&mut self, weight: Weight, now: Time) -> (Time, Time) {
        let start = now.max(self.busy_until);
        let wire = ((u64::from(weight.bytes) + self.framing_bytes) * self.ps_per_byte_q16) >> 16;
        self.busy_until = start.after(Time(wire));
        (start, self.busy_until.after(self.latency[weight.class as usize]))
    }

    /// Puts a TLP behind those of its class that wait.
    pub(crate) fn wait(&mut self, arena: &mut Arena, id: TlpId, class: Class) {
        let slot = arena.slot_mut(id);
        slot.next = TlpId::NONE;
        slot.order = self.next_order;
        self.next_order = self.next_order.wrapping_add(1);
        let queue = &mut self.waiting[class as usize];
        if self.waiting_classes & 1 << class as u8 == 0 {
            self.waiting_classes |= 1 << class as u8;
            queue.head = id;
        } else {
            arena.slot_mut(queue.tail).next = id;
        }
        queue.tail = id;
    }

    /// Takes the next TLP that may go: the oldest of the three heads that has its credits and would not pass a posted
    /// request, which neither a non-posted request nor a completion may do (PCIe base specification, 'Transaction Ordering').
    #[inline]
    pub(crate) fn next_ready(&mut self, arena: &Arena, now: Time) -> Ready {
        let mut first_credit = NEVER;
        // At most once for each class that waits, the one with the oldest head first.
        let mut untried = self.waiting_classes;
        while untried != 0 {
            let class = if untried.is_power_of_two() {
                CLASSES[untried.trailing_zeros() as usize % 3]
            } else {
                self.oldest_head(arena, untried)
            };
            let id = self.waiting[class as usize].head;
            let slot = arena.slot(id);
            let credits = &mut self.credits[class as usize];
            if credits.take(slot.weight.cost, now) {
                self.waiting[class as usize].head = slot.next;
                if slot.next == TlpId::NONE {
                    self.waiting_classes &= !(1 << class as u8);
                }
                return Ready::Go(id);
            }
            // All that came before now has been collected, so this lies ahead.
            if let Some(at) = credits.first_return() {
                first_credit = first_credit.min(at);
            }
            if class == Class::Posted {
                // Whatever follows is younger than this posted request and may not pass it.
                break;
            }
            untried &= !(1 << class as u8);
        }
        Ready::Blocked((first_credit != NEVER).then_some(first_credit))
    }

    /// The class whose first waiting TLP is the oldest, among those in the set `classes`, all of which wait.
    #[inline(never)]
    fn oldest_head(&self, arena: &Arena, classes: u8) -> Class {
        let mut oldest = (0, Class::Posted);
        for class in CLASSES.into_iter().filter(|&class| classes & 1 << class as u8 != 0) {
            // Age relative to the newest, so that a wrapped counter keeps the order.
            let age = self.next_order.wrapping_sub(arena.slot(self.waiting[class as usize].head).order);
            if age > oldest.0 {
                oldest = (age, class);
            }
        }
        oldest.1
    }

    /// Notes that the receiver has freed a buffer, if nothing waits for it and it's as simple as mostly. If it gives `false`, nothing has
    /// been done yet, and [`Transmitter::credit_freed_in_all_cases`] must be called.
    #[inline]
    #[must_use]
    pub(crate) fn credit_freed(&mut self, weight: Weight, now: Time) -> bool {
        let waits = self.waiting_classes & 1 << weight.class as u8 != 0;
        !waits && self.credits[weight.class as usize].give_back(weight.cost, now.after(self.update_fc))
    }

    /// Notes that the receiver has freed a buffer. If one of its class waits for it, says when to look again.
    pub(crate) fn credit_freed_in_all_cases(&mut self, weight: Weight, now: Time) -> Kick {
        let at = now.after(self.update_fc);
        let credits = &mut self.credits[weight.class as usize];
        if !credits.give_back(weight.cost, at) {
            credits.give_back_with_newest(weight.cost, at);
        }
        if self.waiting_classes & 1 << weight.class as u8 == 0 { Kick::No } else { self.kick_at(at) }
    }

    /// Asks to be called at `at`, unless that's going to happen no later anyway.
    pub(crate) fn kick_at(&mut self, at: Time) -> Kick {
        if at >= self.kick_at {
            return Kick::No;
        }
        self.kick_at = at;
        Kick::At(at)
    }

    /// A `Kick` event has come.
    pub(crate) fn kicked(&mut self, now: Time) {
        if self.kick_at <= now {
            self.kick_at = NEVER;
        }
    }
}
