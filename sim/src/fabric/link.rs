//! The transmitting half of a port: serialisation, credits per class, and the queues of what waits for credits.

use super::arena::{Arena, TlpId};
use crate::profile;
use crate::time::Time;
use crate::tlp::Class;

/// Returns that can be on their way at the same time in one class: more than there are finite header credits.
const RETURNS: usize = 128;

/// Credits on their way back, the first one first.
#[derive(Debug)]
struct Returns {
    /// When they arrive, and how much data they free (with one header).
    ring: Box<[(Time, u32); RETURNS]>,
    /// How many have been put in and taken out.
    entered: usize,
    left: usize,
}

impl Returns {
    fn new() -> Returns {
        Returns { ring: Box::new([(Time::ZERO, 0); RETURNS]), entered: 0, left: 0 }
    }

    #[inline]
    fn push(&mut self, at: Time, data: u32) {
        if self.entered - self.left == RETURNS {
            // Only where headers are infinite: the newest two arrive together.
            let (last, freed) = &mut self.ring[(self.entered - 1) % RETURNS];
            *last = at;
            *freed += data;
            return;
        }
        self.ring[self.entered % RETURNS] = (at, data);
        self.entered += 1;
    }

    #[inline]
    fn first(&self) -> Option<(Time, u32)> {
        (self.left != self.entered).then(|| self.ring[self.left % RETURNS])
    }
}

/// Credits left in one class. Infinite ones cost nothing and are never returned.
#[derive(Debug)]
struct Credits {
    headers: u32,
    data: u32,
    /// What a TLP takes: a header, and which bits of its data; 0 of what is infinite.
    header_cost: u32,
    data_mask: u32,
    /// All that the receiver has: more is never free.
    data_limit: u32,
    returning: Returns,
}

impl Credits {
    fn new(headers: u32, data: u32) -> Credits {
        Credits {
            headers,
            data,
            header_cost: u32::from(headers != 0),
            data_mask: if data == 0 { 0 } else { u32::MAX },
            data_limit: data,
            returning: Returns::new(),
        }
    }

    #[inline]
    fn take(&mut self, data: u16, now: Time) -> bool {
        let data = u32::from(data) & self.data_mask;
        if (self.headers < self.header_cost || self.data < data) && !self.collect(data, now) {
            return false;
        }
        self.headers -= self.header_cost;
        self.data -= data;
        true
    }

    /// Takes in what has come back. Whether that's enough for a TLP with so much data.
    #[inline(never)]
    fn collect(&mut self, data: u32, now: Time) -> bool {
        while let Some((_, freed)) = self.returning.first().filter(|(at, _)| *at <= now) {
            self.returning.left += 1;
            self.headers += self.header_cost;
            self.data += freed;
        }
        self.headers >= self.header_cost && self.data >= data
    }

    /// Lets the credits of a freed buffer come back at `at`.
    #[inline]
    fn give_back(&mut self, data: u16, at: Time) {
        let data = u32::from(data) & self.data_mask;
        // Of infinite credits there's nothing to be given back; without this, they would pile up.
        if self.header_cost | data != 0 {
            self.returning.push(at, data);
        }
    }
}

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
    /// Number of the next TLP.
    pub(crate) sequence: u64,
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
    /// The transmitter of a link whose receiver takes `receiver` to act on a TLP of each class.
    pub(crate) fn new(
        link: &profile::Link,
        flight: Time,
        receiver: [Time; 3],
        timing: &profile::Timing,
    ) -> Transmitter {
        let c = &link.credits;
        let rate = link.ps_per_byte_q16();
        Transmitter {
            ps_per_byte_q16: rate * 1000 / (1000 - timing.dllp_permille.min(999)),
            framing_bytes: link.framing_bytes(),
            latency: receiver.map(|latency| flight + latency),
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
            sequence: 0,
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

    /// Whether a TLP with so much data can ever get its credits.
    pub(crate) fn can_ever_send(&self, class: Class, data: u16) -> bool {
        let credits = &self.credits[class as usize];
        u32::from(data) & credits.data_mask <= credits.data_limit
    }

    /// Takes the credits of a TLP, if they're there.
    #[inline]
    pub(crate) fn take_credits(&mut self, class: Class, data: u16, now: Time) -> bool {
        self.credits[class as usize].take(data, now)
    }

    /// Puts `bytes` on the wire as soon as it's free: gives the times of the first symbol and of use at the receiver.
    #[inline]
    pub(crate) fn occupy(&mut self, class: Class, bytes: u16, now: Time) -> (Time, Time) {
        let start = now.max(self.busy_until);
        let wire = ((u64::from(bytes) + self.framing_bytes) * self.ps_per_byte_q16) >> 16;
        self.busy_until = start + Time(wire);
        (start, self.busy_until + self.latency[class as usize])
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
            if credits.take(slot.data_credits, now) {
                self.waiting[class as usize].head = slot.next;
                if slot.next == TlpId::NONE {
                    self.waiting_classes &= !(1 << class as u8);
                }
                return Ready::Go(id);
            }
            // All that came before now has been collected, so this lies ahead.
            if let Some((at, _)) = credits.returning.first() {
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

    /// Notes that the receiver has freed a buffer. If one of its class waits for it, says when to look again.
    #[inline]
    pub(crate) fn credit_freed(&mut self, class: Class, data: u16, now: Time) -> Kick {
        let at = now + self.update_fc;
        self.credits[class as usize].give_back(data, at);
        if self.waiting_classes & 1 << class as u8 == 0 { Kick::No } else { self.kick_at(at) }
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
