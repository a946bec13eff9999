//! The transmitting half of a port: serialisation, and the queues of what waits for credits.

use super::arena::{Arena, TlpId, Weight};
use super::channels::{Channels, credits_of};
use super::credits::Credits;
use super::exact::Exact;
use super::ids::Owner;
use super::special::Special;
use super::waiting::{LOOK_BACK, Waiting, passes_all};
use crate::profile;
use crate::time::Time;
use crate::tlp::Class;

/// Bytes of a DLLP on the wire: four, a CRC of two, and their framing (PCIe base spec 3.5.1).
const NAK_BYTES: u64 = 8;

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
#[derive(Debug)]
struct Gap {
    from: Time,
    to: Time,
    /// The classes of the TLPs after it, as a set of bits.
    classes: u8,
    /// These TLPs, up to one more than anything may pass.
    after: Vec<TlpId>,
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
    pub(super) update_fc: Time,
    /// From the end of a TLP on the wire to that of the NAK for it: both fly, and the NAK has its time on the wire. That the receiver may take some
    /// time to decide isn't in it.
    nak: Time,
    pub(super) busy_until: Time,
    /// Of VC0, by class.
    pub(super) credits: [Credits; 3],
    /// For VC0.
    pub(super) waiting: Waiting,
    pending: u8,
    gap: Gap,
    /// When the last TLP begins that's shown to the probe only then.
    shows_until: Time,
    /// Whose the port at the other end is.
    pub(crate) receiver: Owner,
    /// TLPs that a probe has seen.
    pub(crate) seen: u64,
    /// What the port has beyond the plain path; mostly nothing.
    pub(super) special: Option<Box<Special>>,
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
        let rate = link.ps_per_byte_q16();
        let mut transmitter = Transmitter {
            ps_per_byte_q16: rate * 1000 / (1000 - timing.dllp_permille.min(999)),
            framing_bytes: link.framing_bytes(),
            latency: reaction.map(|latency| flight + latency),
            update_fc: Time::ns(timing.update_fc_ns) + flight,
            nak: flight + flight + Time((NAK_BYTES * rate) >> 16),
            busy_until: Time::ZERO,
            credits: credits_of(&link.credits),
            waiting: Waiting::EMPTY,
            pending: 0,
            gap: Gap { from: Time::ZERO, to: Time::ZERO, classes: 0, after: Vec::new() },
            shows_until: Time::ZERO,
            receiver,
            seen: 0,
            special: None,
        };
        if !link.virtual_channels.is_empty() {
            transmitter.make_special().channels = Some(Channels::new(link.virtual_channels.credits()));
        }
        transmitter
    }

    /// Whether a TLP that has its credits can go at once, without a look at anything else.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.pending == 0
    }

    /// Whether nothing waits for credits.
    pub(crate) fn is_clear(&self) -> bool {
        let channels = self.special.as_deref().and_then(|special| special.channels.as_ref());
        self.pending & pending::WAITS == 0 && channels.is_none_or(Channels::is_clear)
    }

    /// Takes over which classes of VC0 have something waiting.
    pub(super) fn show_waiting(&mut self) {
        self.pending = self.pending & !pending::WAITS | self.waiting.classes();
    }

    /// Whether nothing waits, and all credits, of all virtual channels, are free or on their way back.
    pub(crate) fn is_at_rest(&self) -> bool {
        let channels = self.special.as_deref().and_then(|special| special.channels.as_ref());
        self.is_clear()
            && self.credits.iter().all(Credits::are_whole)
            && channels.is_none_or(Channels::are_whole)
            && self.exact_ref().is_none_or(Exact::is_at_rest)
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
            return self.is_clear().then(|| exact.quiet_at());
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

    /// Flight time and the receiver's own latency for a class.
    pub(super) fn latency_of(&self, class: Class) -> Time {
        self.latency[class as usize]
    }

    /// How long a TLP occupies the wire.
    #[inline]
    pub(super) fn wire(&self, weight: Weight) -> Time {
        Time(((u64::from(weight.bytes) + self.framing_bytes) * self.ps_per_byte_q16) >> 16)
    }

    /// Puts a TLP on the wire as soon as it's free.
    #[inline]
    pub(crate) fn occupy(&mut self, weight: Weight, now: Time) -> Turn {
        let start = now.max(self.busy_until);
        self.busy_until = start.after(self.wire(weight));
        Turn { start, arrival: self.busy_until.after(self.latency[weight.class as usize]) }
    }

    /// Leaves the wire idle for `span` before all that comes now.
    pub(crate) fn stall(&mut self, now: Time, span: Time) {
        self.busy_until = now.max(self.busy_until) + span;
        // Nothing fits into a gap that lies before that.
        self.gap.from = self.gap.to;
    }

    /// Lets the wire be busy with a TLP so often in vain: each time it's sent, and the NAK for it comes back. What is sent meanwhile is
    /// discarded by the receiver and replayed, which is as if it came after that.
    pub(crate) fn replay(&mut self, weight: Weight, now: Time, times: u8) {
        let once = self.wire(weight) + self.nak;
        self.stall(now, Time(once.as_ps() * u64::from(times)));
    }

    /// The weight of a TLP that came over this link, in what's finite of its credits, and with the virtual channel that it came over.
    pub(crate) fn kept_weight(&mut self, weight: Weight) -> Weight {
        let channel = if self.has_channels() || self.exact_ref().is_some() { weight.channel } else { 0 };
        let (credits, _) = self.channel(usize::from(channel));
        Weight { cost: credits[weight.class as usize].finite(weight.cost), channel, ..weight }
    }

    /// Finds the turn of a TLP that can't go at once, if it may pass all that waits and it's known when its credits are there: they're
    /// taken then.
    #[inline(always)]
    pub(crate) fn reserve(&mut self, arena: &Arena, id: TlpId, now: Time) -> Option<Turn> {
        if !self.waiting.lets_pass(arena, id) {
            return None;
        }
        let weight = arena.slot(id).weight;
        let at = self.credits[weight.class as usize].reserve(weight.cost, now)?;
        Some(self.fix(arena, id, at, now))
    }

    /// Fixes the turn of a TLP whose credits are there from `at` on.
    #[inline(always)]
    fn fix(&mut self, arena: &Arena, id: TlpId, at: Time, now: Time) -> Turn {
        let weight = arena.slot(id).weight;
        let class = pending::waits(weight.class);
        if self.pending & pending::GAP != 0 {
            // At the end of the gap, too, so that what follows is seen after what goes then.
            if now > self.gap.to {
                self.pending &= !pending::GAP;
            } else if let Some(turn) = self.fit(arena, id, at.max(now)) {
                return turn;
            } else {
                self.gap.classes |= class;
                if self.gap.after.len() <= LOOK_BACK {
                    self.gap.after.push(id);
                }
            }
        }
        let from = now.max(self.busy_until);
        if at > from && (self.pending & pending::GAP == 0 || at.since(from) > self.gap.to.since(now.max(self.gap.from)))
        {
            (self.gap.from, self.gap.to, self.gap.classes) = (from, at, class);
            self.gap.after.clear();
            self.gap.after.push(id);
            self.pending |= pending::GAP;
        }
        self.occupy(weight, from.max(at))
    }

    /// Finds the turn of a TLP in the gap, if there's room and it may pass what comes after that.
    fn fit(&mut self, arena: &Arena, id: TlpId, at: Time) -> Option<Turn> {
        let weight = arena.slot(id).weight;
        let first = pending::waits(Class::Posted) | pending::waits(weight.class);
        let start = at.max(self.gap.from);
        let end = start.after(self.wire(weight));
        if end > self.gap.to || self.gap.classes & first != 0 && !passes_all(arena, id, &self.gap.after) {
            return None;
        }
        self.gap.from = end;
        Some(Turn { start, arrival: end.after(self.latency[weight.class as usize]) })
    }

    /// Whether a TLP whose turn has been fixed for `start` must be shown to the probe only then: there are turns whose order on the wire is
    /// another than that in which they were fixed, or such TLPs are still to be shown.
    pub(crate) fn shows_later(&mut self, start: Time, now: Time) -> bool {
        let gap = self.pending & pending::GAP != 0 && now <= self.gap.to;
        let later = start > now && (gap || now <= self.shows_until);
        if later {
            self.shows_until = self.shows_until.max(start);
        }
        later
    }

    /// Puts a TLP behind those of its class that wait. Says whether it may have to be picked before others.
    pub(crate) fn wait(&mut self, arena: &mut Arena, id: TlpId) -> bool {
        self.waiting.push(arena, id);
        self.pending |= self.waiting.classes();
        self.waiting.has_relaxed()
    }

    /// Puts a TLP behind those of its class that wait, if that's all there is to do. If it gives `false`, nothing has been done.
    #[inline]
    pub(crate) fn wait_behind(&mut self, arena: &mut Arena, id: TlpId) -> bool {
        let weight = arena.slot(id).weight;
        let waits = self.pending & pending::waits(weight.class) != 0
            && !self.waiting.is_relaxed(arena, id)
            && self.can_ever_send(weight);
        if waits {
            self.waiting.push(arena, id);
        }
        waits
    }

    /// Takes the next TLP of `class` whose turn can be fixed. Says, too, whether another one's may be.
    #[inline]
    pub(crate) fn next_turn(&mut self, arena: &mut Arena, class: Class, now: Time) -> Option<(TlpId, Turn, bool)> {
        let credits = &mut self.credits[class as usize % 3];
        let (id, at) = self.waiting.pick_in(arena, class, |weight| credits.reserve(weight.cost, now))?;
        let more = self.waiting.holds(class) && !credits.are_spent();
        self.show_waiting();
        Some((id, self.fix(arena, id, at, now), more))
    }

    /// Whether anything but posted requests waits.
    #[inline]
    pub(crate) fn others_wait(&self) -> bool {
        self.pending & pending::WAITS & !pending::waits(Class::Posted) != 0
    }

    /// Notes that the receiver frees a buffer at `at`, if nothing waits and it's as simple as mostly. If it gives `false`, nothing has been done
    /// yet, and [`Transmitter::credit_freed_in_all_cases`] must be called.
    #[inline]
    #[must_use]
    pub(crate) fn credit_freed(&mut self, weight: Weight, at: Time) -> bool {
        (self.is_free() || self.pending & (pending::SPECIAL | pending::waits(weight.class)) == 0)
            && self.credits[weight.class as usize].give_back(weight.cost, at.after(self.update_fc))
    }

    /// Notes that the receiver frees a buffer at `at`. Says whether something of its class waits for it.
    #[inline]
    pub(crate) fn credit_freed_in_all_cases(&mut self, weight: Weight, at: Time) -> bool {
        self.credits[weight.class as usize].give_back_in_all_cases(weight.cost, at.after(self.update_fc));
        self.pending & pending::waits(weight.class) != 0
    }
}
