//! The transmitting half of a port: serialisation, and the queues of what waits for credits.

use super::arena::{Arena, TlpId, Weight};
use super::core::Owner;
use super::credits::Credits;
use super::exact::Exact;
use super::special::Special;
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

/// What keeps a transmitter from sending at once; bits 0 to 2 are the classes in which something waits.
mod pending {
    /// Something waits.
    pub(super) const WAITS: u8 = 0b111;
    /// The wire is idle for a while before a TLP that is to go.
    pub(super) const GAP: u8 = 1 << 3;
    /// The port has more than the plain path: see [`Special`](super::super::special::Special).
    pub(super) const SPECIAL: u8 = 1 << 7;

    pub(super) const fn waits(class: crate::tlp::Class) -> u8 {
        1 << class as u8
    }
}

/// A span of time in which the wire is idle before TLPs whose turn is known: they go when their credits are there.
#[derive(Clone, Copy, Debug)]
struct Gap {
    from: Time,
    to: Time,
    /// The classes of the TLPs after it, as a set of bits.
    classes: u8,
}

/// Sends TLPs over one direction of a link.
///
/// A TLP that has its credits goes when the wire is free. One that hasn't waits until it's known when they will be there, which is when the
/// other end frees a buffer: then its turn on the wire is fixed. So waiting takes no event of its own.
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
    pending: u8,
    next_order: u32,
    gap: Gap,
    /// Whose the port at the other end is.
    pub(crate) receiver: Owner,
    /// TLPs that a probe has seen.
    pub(crate) seen: u64,
    /// What the port has beyond the plain path; mostly nothing.
    special: Option<Box<Special>>,
}

/// When a TLP is on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When its first symbol leaves.
    pub(crate) start: Time,
    /// When the receiver acts on it.
    pub(crate) arrival: Time,
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
            pending: 0,
            next_order: 0,
            gap: Gap { from: Time::ZERO, to: Time::ZERO, classes: 0 },
            receiver,
            seen: 0,
            special: None,
        }
    }

    /// Whether a TLP that has its credits can go at once, without a look at anything else.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.pending == 0
    }

    /// Whether nothing waits for credits.
    pub(crate) fn is_clear(&self) -> bool {
        self.pending & pending::WAITS == 0 && self.exact_ref().is_none_or(Exact::is_clear)
    }

    /// What the port has beyond the plain path, made if there was nothing. From then on all that it sends and gets back passes by it.
    pub(crate) fn make_special(&mut self) -> &mut Special {
        self.pending |= pending::SPECIAL;
        self.special.get_or_insert_default()
    }

    /// Whether the port has more than the plain path.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.pending & pending::SPECIAL != 0
    }

    /// What the port has beyond the plain path.
    #[inline]
    pub(crate) fn special(&mut self) -> Option<&mut Special> {
        self.special.as_deref_mut()
    }

    /// The port's end of a link whose data link layer is exact.
    pub(super) fn exact(&mut self) -> Option<&mut Exact> {
        self.special.as_mut()?.exact.as_deref_mut()
    }

    /// The same, to be looked at.
    pub(super) fn exact_ref(&self) -> Option<&Exact> {
        self.special.as_ref()?.exact.as_deref()
    }

    /// When all that was sent so far has arrived; `None` while something waits for credits.
    pub(crate) fn quiet_at(&self) -> Option<Time> {
        if let Some(exact) = self.exact_ref() {
            return exact.quiet_at();
        }
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

    /// How long a TLP occupies the wire.
    #[inline]
    fn wire(&self, weight: Weight) -> Time {
        Time(((u64::from(weight.bytes) + self.framing_bytes) * self.ps_per_byte_q16) >> 16)
    }

    /// Puts a TLP on the wire as soon as it's free.
    #[inline]
    pub(crate) fn occupy(&mut self, weight: Weight, now: Time) -> Turn {
        let start = now.max(self.busy_until);
        self.busy_until = start.after(self.wire(weight));
        Turn { start, arrival: self.busy_until.after(self.latency[weight.class as usize]) }
    }

    /// Finds the turn of a TLP that can't go at once, if it may pass all that waits and it's known when its credits are there: they're
    /// taken then.
    #[inline(never)]
    pub(crate) fn reserve(&mut self, weight: Weight, now: Time) -> Option<Turn> {
        // Posted requests pass all but each other; nothing else passes them, nor others of its class.
        if self.pending & (pending::waits(Class::Posted) | pending::waits(weight.class)) != 0 {
            return None;
        }
        let at = self.credits[weight.class as usize].reserve(weight.cost, now)?;
        Some(self.fix(weight, at, now))
    }

    /// Fixes the turn of a TLP whose credits are there from `at` on.
    fn fix(&mut self, weight: Weight, at: Time, now: Time) -> Turn {
        let class = pending::waits(weight.class);
        if self.pending & pending::GAP != 0 {
            // At the end of the gap, too, so that what follows is seen after what goes then.
            if now > self.gap.to {
                self.pending &= !pending::GAP;
            } else if let Some(turn) = self.fit(weight, at.max(now)) {
                return turn;
            } else {
                self.gap.classes |= class;
            }
        }
        let from = now.max(self.busy_until);
        if at > from && (self.pending & pending::GAP == 0 || at.since(from) > self.gap.to.since(now.max(self.gap.from)))
        {
            self.gap = Gap { from, to: at, classes: class };
            self.pending |= pending::GAP;
        }
        self.occupy(weight, from.max(at))
    }

    /// Finds the turn of a TLP in the gap, if there's room and it may pass what comes after that.
    fn fit(&mut self, weight: Weight, at: Time) -> Option<Turn> {
        let first = pending::waits(Class::Posted) | pending::waits(weight.class);
        let start = at.max(self.gap.from);
        let end = start.after(self.wire(weight));
        if self.gap.classes & first != 0 || end > self.gap.to {
            return None;
        }
        self.gap.from = end;
        Some(Turn { start, arrival: end.after(self.latency[weight.class as usize]) })
    }

    /// Whether turns are fixed now whose order on the wire may be another than that in which they were fixed.
    #[inline]
    pub(crate) fn has_gap(&self, now: Time) -> bool {
        self.pending & pending::GAP != 0 && now <= self.gap.to
    }

    /// Puts a TLP behind those of its class that wait.
    pub(crate) fn wait(&mut self, arena: &mut Arena, id: TlpId, class: Class) {
        let slot = arena.slot_mut(id);
        slot.next = TlpId::NONE;
        slot.order = self.next_order;
        self.next_order = self.next_order.wrapping_add(1);
        let queue = &mut self.waiting[class as usize];
        if self.pending & pending::waits(class) == 0 {
            self.pending |= pending::waits(class);
            queue.head = id;
        } else {
            arena.slot_mut(queue.tail).next = id;
        }
        queue.tail = id;
    }

    /// Takes the next TLP whose turn can be fixed: the oldest of the three heads whose credits will be there and that would not pass a posted
    /// request, which neither a non-posted request nor a completion may do (PCIe base specification, 'Transaction Ordering').
    pub(crate) fn next_turn(&mut self, arena: &Arena, now: Time) -> Option<(TlpId, Turn)> {
        // At most once for each class that waits, the one with the oldest head first.
        let mut untried = self.pending & pending::WAITS;
        while untried != 0 {
            let class = if untried.is_power_of_two() {
                CLASSES[untried.trailing_zeros() as usize % 3]
            } else {
                self.oldest_head(arena, untried)
            };
            let id = self.waiting[class as usize].head;
            let slot = arena.slot(id);
            if let Some(at) = self.credits[class as usize].reserve(slot.weight.cost, now) {
                self.waiting[class as usize].head = slot.next;
                if slot.next == TlpId::NONE {
                    self.pending &= !pending::waits(class);
                }
                return Some((id, self.fix(slot.weight, at, now)));
            }
            if class == Class::Posted {
                // Whatever follows is younger than this posted request and may not pass it.
                return None;
            }
            untried &= !pending::waits(class);
        }
        None
    }

    /// The class whose first waiting TLP is the oldest, among those in the set `classes`, all of which wait.
    #[inline(never)]
    fn oldest_head(&self, arena: &Arena, classes: u8) -> Class {
        let mut oldest = (0, Class::Posted);
        for class in CLASSES.into_iter().filter(|&class| classes & pending::waits(class) != 0) {
            // Age relative to the newest, so that a wrapped counter keeps the order.
            let age = self.next_order.wrapping_sub(arena.slot(self.waiting[class as usize].head).order);
            if age > oldest.0 {
                oldest = (age, class);
            }
        }
        oldest.1
    }

    /// Notes that the receiver frees a buffer at `at`, if nothing waits for it and it's as simple as mostly. If it gives `false`, nothing has
    /// been done yet, and [`Transmitter::credit_freed_in_all_cases`] must be called.
    #[inline]
    #[must_use]
    pub(crate) fn credit_freed(&mut self, weight: Weight, at: Time) -> bool {
        let simple = self.pending & (pending::SPECIAL | pending::waits(weight.class)) == 0;
        simple && self.credits[weight.class as usize].give_back(weight.cost, at.after(self.update_fc))
    }

    /// Notes that the receiver frees a buffer at `at`. Says whether something of its class waits for it.
    pub(crate) fn credit_freed_in_all_cases(&mut self, weight: Weight, at: Time) -> bool {
        self.credits[weight.class as usize].give_back_in_all_cases(weight.cost, at.after(self.update_fc));
        self.pending & pending::waits(weight.class) != 0
    }
}
