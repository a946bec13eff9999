//! TLPs that wait for credits, and which of them may go first: the ordering table decides.

use super::arena::{Arena, TlpId, Weight};
use crate::ordering::{Attributes, Row, may_pass};
use crate::tlp::{Class, Header, Prefixes};

/// How many TLPs of a queue are looked at (ours): what stands behind so many that it would have to pass is blocked.
pub(crate) const LOOK_BACK: usize = 32;

/// A class as a set of bits.
pub(crate) const fn bit(class: Class) -> u8 {
    1 << class as u8
}

/// The classes of which a later TLP of a class can't pass some, or not without conditions, as a set of bits. The others it always may.
const ASKED: [u8; 3] = [asked(&[Row::Posted]), asked(&[Row::Read, Row::NonPostedData]), asked(&[Row::Completion])];

const fn asked(later: &[Row]) -> u8 {
    let classes = [Class::Posted, Class::NonPosted, Class::NonPosted, Class::Completion];
    let earlier = [Row::Posted, Row::Read, Row::NonPostedData, Row::Completion];
    let (mut set, mut a) = (0, 0);
    while a < later.len() {
        let mut b = 0;
        while b < earlier.len() {
            if !may_pass(later[a], earlier[b], Attributes::NONE).is_allowed() {
                set |= bit(classes[b]);
            }
            b += 1;
        }
        a += 1;
    }
    set
}

// What follows relies on that: only posted requests can hold other classes up.
const _: () = assert!(ASKED[0] == bit(Class::Posted));
const _: () = assert!(ASKED[1] == bit(Class::Posted));
const _: () = assert!(ASKED[2] == bit(Class::Posted) | bit(Class::Completion));

/// A queue of TLPs, linked through their slots.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: TlpId,
    tail: TlpId,
}

impl Queue {
    const EMPTY: Queue = Queue { head: TlpId::NONE, tail: TlpId::NONE };
}

/// The TLPs that wait at one transmitter for one virtual channel: a queue for each class.
#[derive(Debug)]
pub(crate) struct Waiting {
    queues: [Queue; 3],
    /// The classes in which something waits, as a set of bits.
    classes: u8,
    next_order: u32,
    /// How many wait that might pass a posted request.
    relaxed: u32,
}

/// Whether something in a header, other than its type, might let a TLP pass a posted request. Without it the table says No (as long as the posted
/// one has TC0, too: that a TLP of TC0 might pass one of another class isn't made use of).
#[inline]
fn is_relaxed(header: &Header) -> bool {
    header.has_own_order()
}

/// What the table says of two TLPs.
fn passes(arena: &Arena, later: TlpId, earlier: TlpId) -> bool {
    let prefixes = |id| {
        let extra = arena.extra(arena.slot(id));
        let bytes = extra.map(|extra| &extra.prefix_bytes[..usize::from(extra.prefix_len)]);
        bytes.and_then(|bytes| Prefixes::parse(bytes).ok()).unwrap_or_default()
    };
    let (a, b) = (&arena.slot(later).header, &arena.slot(earlier).header);
    let attributes = Attributes::of(a, &prefixes(later), b, &prefixes(earlier));
    may_pass(Row::of(a.kind()), Row::of(b.kind()), attributes).is_allowed()
}

impl Waiting {
    /// Nothing waits.
    pub(crate) const EMPTY: Waiting = Waiting { queues: [Queue::EMPTY; 3], classes: 0, next_order: 0, relaxed: 0 };

    /// The classes in which something waits, as a set of bits.
    #[inline]
    pub(crate) fn classes(&self) -> u8 {
        self.classes
    }

    /// Whether something of a class waits.
    #[inline]
    pub(crate) fn holds(&self, class: Class) -> bool {
        self.classes & bit(class) != 0
    }

    /// Whether something waits that may be picked before what came earlier, and that credits alone don't hold up.
    #[inline]
    pub(crate) fn has_relaxed(&self) -> bool {
        self.relaxed != 0
    }

    /// Whether, with a TLP that comes now, something waits that may be picked before what came earlier.
    #[inline]
    pub(crate) fn is_relaxed(&self, arena: &Arena, id: TlpId) -> bool {
        let slot = arena.slot(id);
        self.relaxed != 0 || slot.weight.class != Class::Posted && is_relaxed(&slot.header)
    }

    /// Whether a TLP that comes now may go before all that waits. Within a class none does.
    pub(crate) fn lets_pass(&self, arena: &Arena, id: TlpId) -> bool {
        let class = arena.slot(id).weight.class;
        if self.classes & (ASKED[class as usize] | bit(class)) == 0 {
            return true;
        }
        self.classes & bit(class) == 0 && self.passes_posted(arena, id, self.next_order)
    }

    /// Whether a TLP may pass all posted requests that came before number `order`.
    fn passes_posted(&self, arena: &Arena, id: TlpId, order: u32) -> bool {
        if self.classes & bit(Class::Posted) == 0 {
            return true;
        }
        let relaxed = is_relaxed(&arena.slot(id).header);
        let mut earlier = self.queues[Class::Posted as usize].head;
        for _ in 0..LOOK_BACK {
            if earlier == TlpId::NONE || self.age(arena.slot(earlier).order) <= self.age(order) {
                return true;
            }
            if !relaxed || !passes(arena, id, earlier) {
                return false;
            }
            earlier = arena.slot(earlier).next;
        }
        false
    }

    /// Age relative to the newest, so that a wrapped counter keeps the order.
    fn age(&self, order: u32) -> u32 {
        self.next_order.wrapping_sub(order)
    }

    /// Puts a TLP behind those of its class that wait.
    pub(crate) fn push(&mut self, arena: &mut Arena, id: TlpId) {
        let slot = arena.slot_mut(id);
        let class = slot.weight.class;
        slot.next = TlpId::NONE;
        slot.order = self.next_order;
        self.next_order = self.next_order.wrapping_add(1);
        self.relaxed += u32::from(class != Class::Posted && is_relaxed(&slot.header));
        let queue = &mut self.queues[class as usize];
        if self.classes & bit(class) == 0 {
            self.classes |= bit(class);
            queue.head = id;
        } else {
            arena.slot_mut(queue.tail).next = id;
        }
        queue.tail = id;
    }

    /// Takes out the next TLP of any class that goes, where `credits` gives credits for it: of the classes whose turn it may be that with the
    /// oldest head.
    pub(crate) fn pick<T>(
        &mut self,
        arena: &mut Arena,
        mut credits: impl FnMut(Weight) -> Option<T>,
    ) -> Option<(TlpId, T)> {
        let mut untried = self.classes;
        while untried != 0 {
            let class = if untried.is_power_of_two() {
                Class::ALL[untried.trailing_zeros() as usize % 3]
            } else {
                self.oldest_head(arena, untried)
            };
            if let Some(picked) = self.pick_in(arena, class, &mut credits) {
                return Some(picked);
            }
            untried &= !bit(class);
        }
        None
    }

    /// Takes out the next TLP of `class` that goes: the first one that may pass all that waits before it, if `credits` gives credits for it. Nobody
    /// gets any before an older one of its class that lacks nothing else.
    #[inline]
    pub(crate) fn pick_in<T>(
        &mut self,
        arena: &mut Arena,
        class: Class,
        credits: impl FnOnce(Weight) -> Option<T>,
    ) -> Option<(TlpId, T)> {
        if self.classes & bit(class) == 0 {
            return None;
        }
        let head = self.queues[class as usize].head;
        let blocked = class != Class::Posted && self.classes & bit(Class::Posted) != 0 && {
            let posted = arena.slot(self.queues[Class::Posted as usize].head).order;
            self.age(posted) > self.age(arena.slot(head).order)
        };
        let (before, id) = if blocked { self.first_relaxed(arena, class)? } else { (TlpId::NONE, head) };
        let found = credits(arena.slot(id).weight)?;
        self.take_out(arena, class, before, id);
        Some((id, found))
    }

    /// The first TLP of a class that may pass all that waits before it, and the one that stands before it in its queue.
    #[inline]
    fn first_relaxed(&self, arena: &Arena, class: Class) -> Option<(TlpId, TlpId)> {
        if self.relaxed == 0 { None } else { self.look_for_relaxed(arena, class) }
    }

    #[inline(never)]
    fn look_for_relaxed(&self, arena: &Arena, class: Class) -> Option<(TlpId, TlpId)> {
        let head = self.queues[class as usize].head;
        let (mut before, mut id) = (TlpId::NONE, head);
        for _ in 0..LOOK_BACK {
            if id == TlpId::NONE {
                return None;
            }
            let slot = arena.slot(id);
            if self.passes_posted(arena, id, slot.order) && passes_from(arena, id, head) {
                return Some((before, id));
            }
            (before, id) = (id, slot.next);
        }
        None
    }

    /// Takes out all of a class, in their order.
    pub(crate) fn take_class(&mut self, arena: &mut Arena, class: Class) -> Vec<TlpId> {
        let mut taken = Vec::new();
        while self.classes & bit(class) != 0 {
            let head = self.queues[class as usize].head;
            self.take_out(arena, class, TlpId::NONE, head);
            taken.push(head);
        }
        taken
    }

    fn take_out(&mut self, arena: &mut Arena, class: Class, before: TlpId, id: TlpId) {
        let next = arena.slot(id).next;
        if self.relaxed != 0 {
            self.relaxed -= u32::from(class != Class::Posted && is_relaxed(&arena.slot(id).header));
        }
        let queue = &mut self.queues[class as usize];
        if before == TlpId::NONE {
            queue.head = next;
            if next == TlpId::NONE {
                self.classes &= !bit(class);
            }
            return;
        }
        arena.slot_mut(before).next = next;
        if queue.tail == id {
            queue.tail = before;
        }
    }

    /// Takes out all that waits, the oldest first.
    pub(crate) fn take_all(&mut self, arena: &mut Arena) -> Vec<TlpId> {
        let mut all = Vec::new();
        while self.classes != 0 {
            let class = self.oldest_head(arena, self.classes);
            let id = self.queues[class as usize].head;
            self.take_out(arena, class, TlpId::NONE, id);
            all.push(id);
        }
        all
    }

    /// The class whose first waiting TLP is the oldest, among those in the set `classes`, all of which wait.
    #[inline(never)]
    fn oldest_head(&self, arena: &Arena, classes: u8) -> Class {
        let mut oldest = (0, Class::Posted);
        for class in Class::ALL.into_iter().filter(|&class| classes & bit(class) != 0) {
            let age = self.age(arena.slot(self.queues[class as usize].head).order);
            if age > oldest.0 {
                oldest = (age, class);
            }
        }
        oldest.1
    }
}

/// Whether a TLP may pass all of these, which are not too many: made use of only if there's something special about it.
#[inline]
pub(crate) fn passes_all(arena: &Arena, id: TlpId, others: &[TlpId]) -> bool {
    let header = &arena.slot(id).header;
    header.class() != Class::Posted
        && is_relaxed(header)
        && others.len() <= LOOK_BACK
        && others.iter().all(|&other| passes(arena, id, other))
}

/// Whether a TLP may pass those before it in its queue, the first one of which is `head`.
fn passes_from(arena: &Arena, id: TlpId, head: TlpId) -> bool {
    let mut earlier = head;
    while earlier != id {
        if earlier == TlpId::NONE || !passes(arena, id, earlier) {
            return false;
        }
        earlier = arena.slot(earlier).next;
    }
    true
}
