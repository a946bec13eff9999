//! The transmitting half of a port: serialisation, credits per class, and the queues of what waits for credits.

use std::collections::VecDeque;

use super::arena::{Arena, TlpId};
use crate::profile;
use crate::time::Time;
use crate::tlp::Class;

/// One flow-control credit for data is four dwords (PCIe base specification, 'Flow Control Rules').
const DATA_CREDIT_BYTES: usize = 16;

/// Credits left in one class. Infinite ones never run out and are never returned.
#[derive(Debug)]
struct Credits {
    headers: u32,
    data: u32,
    infinite_headers: bool,
    infinite_data: bool,
    /// Credits on their way back: when they arrive, and how much data they free (with one header).
    returning: VecDeque<(Time, u32)>,
}

impl Credits {
    fn new(headers: u32, data: u32) -> Credits {
        Credits {
            headers,
            data,
            infinite_headers: headers == 0,
            infinite_data: data == 0,
            returning: VecDeque::with_capacity(128),
        }
    }

    #[inline]
    fn enough(&self, data: u32) -> bool {
        (self.infinite_headers || self.headers > 0) && (self.infinite_data || self.data >= data)
    }

    #[inline]
    fn take(&mut self, data: u32, now: Time) -> bool {
        if !self.enough(data) {
            while let Some(&(at, freed)) = self.returning.front() {
                if at > now {
                    break;
                }
                self.returning.pop_front();
                self.headers = self.headers.wrapping_add(1);
                self.data = self.data.wrapping_add(freed);
            }
            if !self.enough(data) {
                return false;
            }
        }
        if !self.infinite_headers {
            self.headers -= 1;
        }
        if !self.infinite_data {
            self.data -= data;
        }
        true
    }
}

/// A queue of TLPs, linked through their slots.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: TlpId,
    tail: TlpId,
}

impl Queue {
    const EMPTY: Queue = Queue { head: TlpId::NONE, tail: TlpId::NONE };

    fn is_empty(&self) -> bool {
        self.head == TlpId::NONE
    }
}

/// Sends TLPs over one direction of a link.
#[derive(Debug)]
pub(crate) struct Transmitter {
    ps_per_byte_q16: u64,
    framing_bytes: u64,
    /// Flight time and the receiver's own latency.
    latency: Time,
    update_fc: Time,
    busy_until: Time,
    credits: [Credits; 3],
    waiting: [Queue; 3],
    waiting_count: u32,
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

impl Transmitter {
    /// The transmitter of a link whose receiver takes `receiver` to act on a TLP.
    pub(crate) fn new(link: &profile::Link, flight: Time, receiver: Time, timing: &profile::Timing) -> Transmitter {
        let c = &link.credits;
        let rate = link.ps_per_byte_q16();
        Transmitter {
            ps_per_byte_q16: rate * 1000 / (1000 - timing.dllp_permille),
            framing_bytes: link.framing_bytes(),
            latency: flight + receiver,
            update_fc: Time::ns(timing.update_fc_ns) + flight,
            busy_until: Time::ZERO,
            credits: [
                Credits::new(c.posted_headers, c.posted_data),
                Credits::new(c.nonposted_headers, c.nonposted_data),
                Credits::new(c.completion_headers, c.completion_data),
            ],
            waiting: [Queue::EMPTY; 3],
            waiting_count: 0,
            next_order: 0,
            sequence: 0,
            kick_at: NEVER,
        }
    }

    /// Whether nothing waits for credits.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting_count == 0
    }

    /// Takes the credits for a TLP, if it may go right now.
    #[inline]
    pub(crate) fn take_credits(&mut self, class: Class, payload: usize, now: Time) -> bool {
        self.credits[class as usize].take(payload.div_ceil(DATA_CREDIT_BYTES) as u32, now)
    }

    /// Puts `bytes` on the wire as soon as it's free: gives the times of the first symbol and of use at the receiver.
    #[inline]
    pub(crate) fn occupy(&mut self, bytes: u64, now: Time) -> (Time, Time) {
        let start = now.max(self.busy_until);
        let wire = ((bytes + self.framing_bytes) * self.ps_per_byte_q16) >> 16;
        self.busy_until = start + Time(wire);
        (start, self.busy_until + self.latency)
    }

    /// Puts a TLP behind those of its class that wait.
    pub(crate) fn wait(&mut self, arena: &mut Arena, id: TlpId, class: Class) {
        let slot = arena.slot_mut(id);
        slot.next = TlpId::NONE;
        slot.order = self.next_order;
        self.next_order = self.next_order.wrapping_add(1);
        self.waiting_count += 1;
        let queue = &mut self.waiting[class as usize];
        if queue.is_empty() {
            queue.head = id;
        } else {
            arena.slot_mut(queue.tail).next = id;
        }
        queue.tail = id;
    }

    /// Takes the next TLP that may go: the oldest of the three heads that has its credits and would not pass a posted
    /// request, which neither a non-posted request nor a completion may do (PCIe base specification, 'Transaction Ordering').
    pub(crate) fn next_ready(&mut self, arena: &Arena, now: Time) -> Option<TlpId> {
        let mut heads = [(Class::Posted, u32::MAX); 3];
        let mut count = 0;
        for class in [Class::Posted, Class::NonPosted, Class::Completion] {
            let queue = self.waiting[class as usize];
            if !queue.is_empty() {
                // Age relative to the newest, so that a wrapped counter keeps the order.
                heads[count] = (class, self.next_order.wrapping_sub(arena.slot(queue.head).order));
                count += 1;
            }
        }
        let heads = &mut heads[..count];
        heads.sort_unstable_by_key(|&(_, age)| std::cmp::Reverse(age));
        for &(class, _) in heads.iter() {
            let id = self.waiting[class as usize].head;
            if self.take_credits(class, arena.slot(id).header.payload_len(), now) {
                let queue = &mut self.waiting[class as usize];
                queue.head = arena.slot(id).next;
                if queue.head == TlpId::NONE {
                    queue.tail = TlpId::NONE;
                }
                self.waiting_count -= 1;
                return Some(id);
            }
            if class == Class::Posted {
                // Whatever follows is younger than this posted request and may not pass it.
                return None;
            }
        }
        None
    }

    /// Notes that the receiver has freed a buffer. If something waits for it, says when to look again.
    #[inline]
    pub(crate) fn credit_freed(&mut self, class: Class, payload: usize, now: Time) -> Kick {
        let credits = &mut self.credits[class as usize];
        if credits.infinite_headers && credits.infinite_data {
            return Kick::No;
        }
        let at = now + self.update_fc;
        credits.returning.push_back((at, payload.div_ceil(DATA_CREDIT_BYTES) as u32));
        if self.waiting_count == 0 { Kick::No } else { self.kick_at(at) }
    }

    /// What to do after all that could go has gone.
    pub(crate) fn wait_for_credit(&mut self) -> Kick {
        if self.waiting_count == 0 {
            return Kick::No;
        }
        let next = self.waiting.iter().zip(&self.credits).filter(|(queue, _)| !queue.is_empty());
        match next.filter_map(|(_, credits)| credits.returning.front()).map(|&(at, _)| at).min() {
            Some(at) => self.kick_at(at),
            None => Kick::No,
        }
    }

    fn kick_at(&mut self, at: Time) -> Kick {
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
