//! Links whose data link layer is exact: the state machines of [`dll`](super::dll) at both ends, and the frames on the wire between them.
//!
//! A TLP stays in its slot of the arena until the other end has taken it. The replay buffer holds its number and its size: what the other end has
//! taken already is sent again as time on the wire only.
//!
//! Ordered sets are all that's still a rate: one SKP in so many bytes.

use std::collections::VecDeque;

use super::arena::{NO_PORT, NO_TICKET, TlpId, Weight};
use super::core::{Core, Event, PortId};
use super::dll::{Amount, BadDllp, Dllp, Frame, Integrity, LinkError, LinkState, Port, Reaction, Settings};
use crate::event::EventQueue;
use crate::probe::{LinkFrame, OnWire};
use crate::profile;
use crate::rng::Rng;
use crate::time::Time;
use crate::tlp::Class;

/// How long a link is retrained when REPLAY_NUM has rolled over (ours: Recovery takes some microseconds).
const RECOVERY: Time = Time::us(4);
/// TLPs of the largest size that the replay buffer holds beyond what is on its way (ours).
const REPLAY_TLPS: u64 = 4;
/// Bytes of the largest TLP.
const LARGEST: u64 = 4096 + 32;

/// What happens at a port of an exact link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkAffair {
    /// The first frame on the wire towards it has come.
    Frame,
    /// It's time to look at what it has to send.
    Serve,
    /// What a TLP took of its receive buffer is free.
    Free { channel: u8, class: Class, data: u16 },
}

/// What becomes of a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes as it was sent.
    Good,
    /// Its LCRC or CRC is wrong.
    Broken,
    /// Its sender takes it back: the LCRC is inverted, the end is bad. A DLLP is broken by that.
    Nullified,
    /// It isn't recognized at all.
    Lost,
}

/// Which frames of a port something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// TLPs, those that are sent again among them.
    Tlp,
    /// Any DLLP.
    Dllp,
    /// Acks and Naks.
    AckNak,
    /// UpdateFCs.
    UpdateFc,
}

impl FrameKind {
    const COUNT: usize = 4;

    fn fits(self, frame: &Frame<TlpId>) -> bool {
        use super::dll::FcStage;
        match (self, frame) {
            (FrameKind::Tlp, Frame::Tlp { .. })
            | (FrameKind::Dllp, Frame::Dllp(_))
            | (FrameKind::AckNak, Frame::Dllp(Dllp::Ack(_) | Dllp::Nak(_)))
            | (FrameKind::UpdateFc, Frame::Dllp(Dllp::FlowControl { stage: FcStage::Update, .. })) => true,
            _ => false,
        }
    }

    const ALL: [FrameKind; FrameKind::COUNT] =
        [FrameKind::Tlp, FrameKind::Dllp, FrameKind::AckNak, FrameKind::UpdateFc];
}

/// How often frames of a port are broken or lost by chance, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// TLPs with a wrong LCRC.
    pub broken_tlps: u32,
    /// TLPs that aren't recognized.
    pub lost_tlps: u32,
    /// DLLPs with a wrong CRC.
    pub broken_dllps: u32,
    /// DLLPs that aren't recognized.
    pub lost_dllps: u32,
}

/// What a port of an exact link has sent and what went wrong there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// TLPs that were sent, each once.
    pub tlps: u64,
    /// TLPs that were sent again.
    pub replayed: u64,
    /// DLLPs that were sent.
    pub dllps: u64,
    /// Errors that the port found, by the numbers of [`LinkError`].
    pub errors: [u64; LinkError::COUNT],
}

impl LinkCounters {
    /// How often the port found an error.
    pub fn errors_of(&self, error: LinkError) -> u64 {
        self.errors.get(error as usize).copied().unwrap_or(0)
    }
}

/// A frame on the wire.
#[derive(Clone, Copy, Debug)]
struct Flying {
    frame: Frame<TlpId>,
    fate: Fate,
}

/// TLPs of a virtual channel that wait for credits, by class, each with its place in the order of their coming.
type Queues = [VecDeque<(u64, TlpId)>; 3];

/// One end of an exact link.
#[derive(Debug)]
pub(crate) struct Exact {
    port: Port<TlpId>,
    ps_per_byte_q16: u64,
    framing_bytes: u64,
    flight: Time,
    /// How long the other end takes to act on a TLP of each class.
    reaction: [Time; 3],
    busy_until: Time,
    /// When all that was taken by the other end has been acted upon.
    quiet_at: Time,
    /// What is on the wire, in order. After the link was down, so many of the first ones don't count.
    flying: VecDeque<Flying>,
    dead: usize,
    waiting: Vec<Queues>,
    next_order: u64,
    /// When the next `Serve` comes.
    serve_at: Time,
    counters: LinkCounters,
    /// Frames of each kind so far, and what happens to which.
    sent: [u64; FrameKind::COUNT],
    planned: Vec<(FrameKind, u64, Fate)>,
    /// TLPs whose LCRC is to be broken so often.
    marked: Vec<(TlpId, u32)>,
    noise: Noise,
    rng: Rng,
}

impl Exact {
    /// The end of a link that sends to a port which takes `reaction` to act on a TLP of each class. Its link is down.
    pub(crate) fn new(link: &profile::Link, flight: Time, reaction: [Time; 3]) -> Exact {
        let c = &link.credits;
        let room = |headers, data| Amount { headers, data };
        let rooms = [
            room(c.posted_headers, c.posted_data),
            room(c.nonposted_headers, c.nonposted_data),
            room(c.completion_headers, c.completion_data),
        ];
        let ps_per_byte_q16 = with_skips(link.ps_per_byte_q16(), link.generation);
        // What is sent until an Ack can be there: two flights, and the largest Ack limit at both ends.
        let away = flight + flight + super::dll::ack_latency(link.generation, link.lanes, 4096);
        let on_its_way = (u128::from(away.0) << 17) / u128::from(ps_per_byte_q16.max(1));
        let replay_bytes = (on_its_way as u64 + REPLAY_TLPS * LARGEST).min(u64::from(u32::MAX)) as u32;
        let settings = Settings {
            generation: link.generation,
            lanes: link.lanes,
            rooms: vec![rooms],
            replay_bytes,
            round_trip: flight + flight,
        };
        Exact {
            port: Port::new(settings),
            ps_per_byte_q16,
            framing_bytes: link.framing_bytes(),
            flight,
            reaction,
            busy_until: Time::ZERO,
            quiet_at: Time::ZERO,
            flying: VecDeque::new(),
            dead: 0,
            waiting: vec![Queues::default()],
            next_order: 0,
            serve_at: Time::MAX,
            counters: LinkCounters::default(),
            sent: [0; FrameKind::COUNT],
            planned: Vec::new(),
            marked: Vec::new(),
            noise: Noise::default(),
            rng: Rng::new(0),
        }
    }

    /// How long so many bytes take on the wire.
    fn wire(&self, bytes: u64) -> Time {
        Time((bytes * self.ps_per_byte_q16) >> 16)
    }

    /// What becomes of the next frame.
    fn fate(&mut self, frame: &Frame<TlpId>) -> Fate {
        let mut fate = Fate::Good;
        for kind in FrameKind::ALL.into_iter().filter(|kind| kind.fits(frame)) {
            let number = &mut self.sent[kind as usize];
            let now = *number;
            *number += 1;
            if let Some(at) = self.planned.iter().position(|plan| (plan.0, plan.1) == (kind, now)) {
                fate = self.planned.swap_remove(at).2;
            }
        }
        if let Frame::Tlp { item, .. } = frame
            && let Some(at) = self.marked.iter().position(|marked| marked.0 == *item)
        {
            fate = Fate::Broken;
            self.marked[at].1 -= 1;
            if self.marked[at].1 == 0 {
                self.marked.swap_remove(at);
            }
        }
        let (broken, lost) = match frame {
            Frame::Tlp { .. } => (self.noise.broken_tlps, self.noise.lost_tlps),
            Frame::Dllp(_) => (self.noise.broken_dllps, self.noise.lost_dllps),
        };
        if fate == Fate::Good && (broken | lost) != 0 {
            let luck = self.rng.range(0, 999_999);
            let (broken, lost) = (u64::from(broken), u64::from(lost));
            if luck < broken {
                fate = Fate::Broken;
            } else if luck < broken + lost {
                fate = Fate::Lost;
            }
        }
        fate
    }

    /// Whether nothing waits for credits.
    pub(super) fn is_clear(&self) -> bool {
        self.waiting.iter().flatten().all(VecDeque::is_empty)
    }

    /// When all that was sent so far has arrived; `None` while something waits.
    pub(crate) fn quiet_at(&self) -> Option<Time> {
        let quiet = self.is_clear() && self.port.backlog() == 0;
        quiet.then(|| self.quiet_at.max(self.busy_until + self.flight))
    }
}

/// The time of a byte with the ordered sets that come between: a SKP of four symbols in 1,180 symbols at least (8b/10b), one block in 370
/// (128b/130b) (base spec 4.2.7).
fn with_skips(ps_per_byte_q16: u64, generation: u8) -> u64 {
    if generation >= 3 { ps_per_byte_q16 * 371 / 370 } else { ps_per_byte_q16 * 1184 / 1180 }
}

impl Core {
    fn exact(&mut self, port: PortId) -> Option<&mut Exact> {
        self.transmitters.get_mut(usize::from(port.0))?.exact()
    }

    /// Sends a TLP from a port of an exact link.
    pub(super) fn send_exactly(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let (weight, ticket) = (slot.weight, slot.ticket);
        let channel = weight.channel;
        let Some(exact) = self.transmitters[usize::from(port.0)].exact() else { return };
        if exact.port.state() == LinkState::Inactive {
            return self.lose_exactly(port, tlp);
        }
        let possible = exact.port.can_ever_take(channel, weight.class, weight.cost.amount());
        let queue = exact.waiting.get_mut(usize::from(channel)).filter(|_| possible);
        let Some(queue) = queue.and_then(|queues| queues.get_mut(weight.class as usize)) else {
            // Larger than the receiver's buffer, or on a virtual channel that the link hasn't: it would wait for ever.
            self.faults.malformed += 1;
            self.tell_left(port, ticket, self.now);
            return self.consume(tlp);
        };
        queue.push_back((exact.next_order, tlp));
        exact.next_order += 1;
        self.serve(port);
    }

    /// Gives those that wait and may go their credits: in each virtual channel the oldest of the three heads first; what is behind a posted
    /// request doesn't pass it.
    fn take_exact_credits(&mut self, port: PortId) {
        let Some(exact) = self.transmitters[usize::from(port.0)].exact() else { return };
        for (channel, queues) in exact.waiting.iter_mut().enumerate() {
            if !exact.port.is_open(channel as u8) {
                continue;
            }
            let mut untried = [true; 3];
            loop {
                let heads = queues.iter().enumerate().filter(|(class, _)| untried[*class]);
                let heads = heads.filter_map(|(class, queue)| queue.front().map(|(order, tlp)| (*order, class, *tlp)));
                let Some((_, class, tlp)) = heads.min_by_key(|head| head.0) else { break };
                let Weight { class: kind, cost, bytes, .. } = self.arena.slot(tlp).weight;
                if exact.port.take_credits(channel as u8, kind, cost.amount()) {
                    queues[class].pop_front();
                    exact.port.send(tlp, bytes.into());
                    continue;
                }
                if kind == Class::Posted {
                    break;
                }
                untried[class] = false;
            }
        }
    }

    /// Does all that a port of an exact link can do now, and sees that it's called when there's more.
    pub(super) fn serve(&mut self, port: PortId) {
        let now = self.now;
        let Some(exact) = self.exact(port) else { return };
        if exact.serve_at <= now {
            exact.serve_at = Time::MAX;
        }
        let reaction = exact.port.check_timer(now);
        self.react(port, reaction);
        self.take_exact_credits(port);
        let Some(exact) = self.exact(port) else { return };
        if exact.busy_until <= now {
            let (rate, framing) = (exact.ps_per_byte_q16, exact.framing_bytes);
            let tlp_time = |bytes: u32| Time(((u64::from(bytes) + framing) * rate) >> 16);
            if let Some(frame) = exact.port.next(now, tlp_time) {
                self.put_on_wire(port, frame);
            }
        }
        let Some(exact) = self.exact(port) else { return };
        if let Some(due) = exact.port.due() {
            let at = due.max(exact.busy_until).max(now.after(Time(1)));
            if at < exact.serve_at {
                exact.serve_at = at;
                self.queue.push(at, Event::Link(port, LinkAffair::Serve));
            }
        }
    }

    /// Puts a frame on the wire, which is free.
    fn put_on_wire(&mut self, port: PortId, frame: Frame<TlpId>) {
        let now = self.now;
        let Some(exact) = self.exact(port) else { return };
        let fate = exact.fate(&frame);
        let (wire, what, first) = match frame {
            Frame::Dllp(dllp) => {
                exact.counters.dllps += 1;
                if fate != Fate::Good {
                    exact.port.update_was_lost(&dllp);
                }
                (exact.wire(Dllp::WIRE_BYTES), OnWire::Dllp(dllp), None)
            }
            Frame::Tlp { sequence, item, bytes, again } => {
                exact.counters.tlps += u64::from(!again);
                exact.counters.replayed += u64::from(again);
                let wire = exact.wire(u64::from(bytes) + exact.framing_bytes);
                (wire, OnWire::Tlp { sequence, again }, (!again).then_some(item))
            }
        };
        exact.busy_until = now + wire;
        exact.flying.push_back(Flying { frame, fate });
        let arrival = exact.busy_until + exact.flight;
        self.queue.push(arrival, Event::Link(port.peer(), LinkAffair::Frame));
        if let Some(probe) = &mut self.probe {
            let whole = fate == Fate::Good;
            probe.frame(&LinkFrame { at: now, link: port.link(), direction: port.direction(), what, whole });
        }
        if let Some(tlp) = first {
            self.has_left_exactly(port, tlp);
        }
    }

    /// What happens at a port of an exact link.
    #[cold]
    pub(super) fn link_affair(&mut self, port: PortId, affair: LinkAffair) {
        match affair {
            LinkAffair::Serve => self.serve(port),
            LinkAffair::Frame => self.frame_arrived(port),
            LinkAffair::Free { channel, class, data } => {
                let now = self.now;
                if let Some(exact) = self.exact(port) {
                    exact.port.free(channel, class, Amount { headers: 1, data: data.into() }, now);
                    self.serve(port);
                }
            }
        }
    }

    /// The first frame on the wire towards `port` has come.
    fn frame_arrived(&mut self, port: PortId) {
        let now = self.now;
        let sender = port.peer();
        let Some(from) = self.exact(sender) else { return };
        let Some(Flying { frame, fate }) = from.flying.pop_front() else { return };
        let reaction_time = from.reaction;
        if from.dead > 0 {
            from.dead -= 1;
            return;
        }
        if fate == Fate::Lost {
            return;
        }
        match frame {
            Frame::Tlp { sequence, item, .. } => {
                // Of a TLP that has been taken before, the slot may be another's by now; then nothing but its number is looked at.
                let weight = self.arena.slot(item).weight;
                let amount = weight.cost.amount();
                let integrity = match fate {
                    Fate::Good => Integrity::Good,
                    Fate::Nullified => Integrity::Nullified,
                    Fate::Broken | Fate::Lost => Integrity::Bad,
                };
                let Some(exact) = self.exact(port) else { return };
                let reaction = exact.port.receive_tlp(sequence, integrity, weight.channel, weight.class, amount, now);
                self.react(port, reaction);
                if reaction.taken {
                    let at = now + reaction_time[weight.class as usize % 3];
                    if let Some(from) = self.exact(sender) {
                        from.quiet_at = from.quiet_at.max(at);
                    }
                    let receiver = self.owner(port);
                    self.queue.push(at, Event::Arrive(port, receiver, item));
                } else if reaction.dropped {
                    self.lose_exactly(sender, item);
                }
            }
            Frame::Dllp(dllp) => {
                let bytes = dllp.encode();
                let received = if fate == Fate::Good { Dllp::decode(&bytes) } else { Dllp::decode(&broken(bytes)) };
                let Some(exact) = self.exact(port) else { return };
                let reaction = match received {
                    Ok(dllp) => exact.port.receive_dllp(&dllp, now, |_| ()),
                    Err(BadDllp::Crc { .. }) => Reaction { error: Some(LinkError::BadDllp), ..Reaction::default() },
                    Err(BadDllp::Reserved(_)) => Reaction::default(),
                };
                self.react(port, reaction);
            }
        }
        self.serve(port);
    }

    /// Does what follows from what a port has found.
    fn react(&mut self, port: PortId, reaction: Reaction) {
        if reaction.retrain {
            let until = self.now + RECOVERY;
            for end in [port, port.peer()] {
                if let Some(exact) = self.exact(end) {
                    exact.port.hold(until);
                }
            }
        }
        if let Some(error) = reaction.error {
            self.link_error(port, error);
        }
    }

    /// Reports an error that `port` has found in its data link layer or flow control.
    #[cold]
    pub(super) fn link_error(&mut self, port: PortId, error: LinkError) {
        if let Some(exact) = self.exact(port)
            && let Some(count) = exact.counters.errors.get_mut(error as usize)
        {
            *count += 1;
        }
    }

    /// A TLP has gone on the wire for the first time: it stands in no receive buffer until the other end has it.
    fn has_left_exactly(&mut self, port: PortId, tlp: TlpId) {
        let now = self.now;
        let slot = self.arena.slot_mut(tlp);
        let (held_by, weight) = (std::mem::replace(&mut slot.held_by, NO_PORT), slot.weight);
        let ticket = std::mem::replace(&mut slot.ticket, NO_TICKET);
        self.free_buffer(held_by, weight, now);
        self.tell_left(port, ticket, now);
        if self.probe.is_some() {
            self.show(port, tlp, now);
        }
    }

    /// What a TLP took of the receive buffer at the other end of `sender`'s link is free from `at` on.
    pub(super) fn free_exactly(&mut self, sender: PortId, weight: Weight, at: Time) {
        let port = sender.peer();
        let Amount { data, .. } = weight.cost.amount();
        let affair = LinkAffair::Free { channel: weight.channel, class: weight.class, data: data as u16 };
        if at > self.now {
            self.queue.push(at, Event::Link(port, affair));
        } else {
            self.link_affair(port, affair);
        }
    }

    /// A TLP that was to go from `port` never gets to the other end.
    fn lose_exactly(&mut self, port: PortId, tlp: TlpId) {
        self.lost += 1;
        let ticket = std::mem::replace(&mut self.arena.slot_mut(tlp).ticket, NO_TICKET);
        self.tell_left(port, ticket, self.now);
        // It isn't delivered, so nobody is told that it was.
        let probe = self.probe.take();
        self.consume(tlp);
        self.probe = probe;
    }

    /// The link of `port` is up: flow control is initialized, then what waits goes. Does nothing if it isn't an exact one.
    pub(super) fn exact_link_up(&mut self, port: PortId) {
        let now = self.now;
        for end in [port, port.peer()] {
            if let Some(exact) = self.exact(end) {
                exact.port.link_up(now);
                self.serve(end);
            }
        }
    }

    /// The link of `port` is down: what waits for it or is on its way over it is lost. Does nothing if it isn't an exact one.
    pub(super) fn exact_link_down(&mut self, port: PortId) {
        for end in [port, port.peer()] {
            let Some(other) = self.exact(end.peer()) else { return };
            let other = *other.port.receiver();
            let Some(exact) = self.exact(end) else { return };
            exact.dead = exact.flying.len();
            exact.marked.clear();
            let mut lost = Vec::new();
            exact.port.link_down(|sequence, tlp| {
                if sequence.is_none_or(|sequence| !other.has_taken(sequence)) {
                    lost.push(tlp);
                }
            });
            let mut waited: Vec<_> = exact.waiting.iter_mut().flatten().flat_map(|queue| queue.drain(..)).collect();
            waited.sort_unstable_by_key(|(order, _)| *order);
            lost.extend(waited.into_iter().map(|(_, tlp)| tlp));
            for tlp in lost {
                self.lose_exactly(end, tlp);
            }
        }
    }

    /// Enables or disables a virtual channel of the link of `port`, at both ends. Does nothing if it isn't an exact one.
    pub fn enable_exact_channel(&mut self, port: PortId, channel: u8, enabled: bool) {
        let now = self.now;
        for end in [port, port.peer()] {
            if let Some(exact) = self.exact(end) {
                exact.port.enable_channel(channel, enabled, now);
                self.serve(end);
            }
        }
    }

    /// Whether the link of `port` is an exact one.
    pub(super) fn is_exact(&self, port: PortId) -> bool {
        self.transmitters.get(usize::from(port.0)).is_some_and(|transmitter| transmitter.exact_ref().is_some())
    }

    /// Breaks the LCRC of a TLP that `port` is going to send: the next one if `nth` is 0. TLPs that are sent again count, too. `false` if the link
    /// isn't an exact one.
    pub fn break_lcrc(&mut self, port: PortId, nth: u64) -> bool {
        self.meddle(port, FrameKind::Tlp, nth, Fate::Broken)
    }

    /// Breaks the LCRC of a TLP each time that `port` sends it, for so many times. To be called before it's sent. `false` if the link isn't an exact one.
    pub fn break_lcrc_of(&mut self, port: PortId, tlp: TlpId, times: u32) -> bool {
        self.exact(port).is_some_and(|exact| {
            if times > 0 {
                exact.marked.push((tlp, times));
            }
            true
        })
    }

    /// Decides what becomes of a frame that `port` is going to send: the next one of its kind if `nth` is 0. `false` if the link isn't an exact one.
    pub fn meddle(&mut self, port: PortId, kind: FrameKind, nth: u64, fate: Fate) -> bool {
        self.exact(port).is_some_and(|exact| {
            let number = exact.sent[kind as usize] + nth;
            exact.planned.push((kind, number, fate));
            true
        })
    }

    /// Lets frames that `port` sends be broken or lost by chance, as `seed` decides. `false` if the link isn't an exact one.
    pub fn set_noise(&mut self, port: PortId, noise: Noise, seed: u64) -> bool {
        self.exact(port).is_some_and(|exact| {
            exact.noise = noise;
            exact.rng = Rng::stream(seed, "noise");
            true
        })
    }

    /// What `port` has sent and which errors it has found. `None` if its link isn't an exact one.
    pub fn link_counters(&self, port: PortId) -> Option<LinkCounters> {
        self.transmitters.get(usize::from(port.0))?.exact_ref().map(|exact| exact.counters)
    }

    /// The credits that `port` has left in a class of a virtual channel; `u32::MAX` means infinite. `None` if its link isn't an exact one, or the channel
    /// isn't initialized.
    pub fn exact_credits(&self, port: PortId, channel: u8, class: Class) -> Option<Amount> {
        self.transmitters.get(usize::from(port.0))?.exact_ref()?.port.credits(channel, class)
    }
}

/// A DLLP with a wrong bit.
const fn broken(bytes: [u8; Dllp::LEN]) -> [u8; Dllp::LEN] {
    let [a, b, c, d, e, f] = bytes;
    [a, b, c, d ^ 1, e, f]
}
