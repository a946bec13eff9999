//! One end of a link: the state machines together, and what goes on the wire next.
//!
//! A virtual channel goes by two numbers: that of the receive buffer at this end, which is the number of its VC resource, and its VC ID, which is the
//! same at both ends and stands in DLLPs. Credits to be spent are those of a VC ID, those to be given those of a buffer.
//!
//! A port knows no clock and no wire. Its owner asks [`Port::next`] whenever the wire is free, puts the frame on it, and tells the port at the other end
//! when it has come. [`Port::due`] says when to ask again if nothing is said.

use std::collections::VecDeque;

use super::accept::{Acceptor, Integrity, Verdict};
use super::channel::Channel;
use super::dllp::{Dllp, FcStage, Features, Sequence};
use super::flow::{Amount, ClassLedger};
use super::init::{FeatureExchange, InitState};
use super::limits::{ack_latency, replay_timeout};
use super::retry::{Replay, Retry};
use crate::time::Time;
use crate::tlp::Class;

/// Features and InitFCs that weren't heard are repeated after this time (ours; the spec's limit is 34 us).
const INIT_REPEAT: Time = Time::us(1);

/// What a port of a link is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 1 to 5.
    pub generation: u8,
    /// 1 to 32.
    pub lanes: u8,
    /// The receive buffers by VC resource and class; 0 means infinite. The first one is virtual channel 0's, at most eight.
    pub rooms: Vec<[Amount; 3]>,
    /// Bytes of the replay buffer.
    pub replay_bytes: u32,
    /// What REPLAY_TIMER waits longer than the spec says: the flights of a link that's longer than the spec's formulae know.
    pub round_trip: Time,
}

/// An error of the data link layer or of flow control, as AER names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkError {
    /// A TLP with a wrong LCRC, or out of sequence.
    BadTlp,
    /// A DLLP with a wrong CRC.
    BadDllp,
    /// REPLAY_TIMER has expired.
    ReplayTimeout,
    /// REPLAY_NUM has rolled over: the link is retrained.
    ReplayRollover,
    /// An Ack or Nak of what can't be acknowledged.
    DataLinkProtocol,
    /// A TLP for which there was no credit.
    ReceiverOverflow,
    /// A flow control DLLP that breaks a rule.
    FlowControlProtocol,
}

impl LinkError {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All, in the order of their numbers.
    pub const ALL: [LinkError; LinkError::COUNT] = [
        LinkError::BadTlp,
        LinkError::BadDllp,
        LinkError::ReplayTimeout,
        LinkError::ReplayRollover,
        LinkError::DataLinkProtocol,
        LinkError::ReceiverOverflow,
        LinkError::FlowControlProtocol,
    ];
}

/// How far a link has come up, as one end sees it (3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// DL_Inactive.
    Inactive,
    /// DL_Feature.
    Feature,
    /// DL_Init: virtual channel 0 is initialized.
    Init,
    /// DL_Active.
    Active,
}

/// What occupies the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<T> {
    /// A TLP with its sequence number.
    Tlp {
        /// The number.
        sequence: Sequence,
        /// Which TLP.
        item: T,
        /// Its bytes without framing.
        bytes: u32,
        /// It has been sent before.
        again: bool,
    },
    /// A data link layer packet.
    Dllp(Dllp),
}

/// A TLP that is to be sent, and has its credits.
#[derive(Clone, Copy, Debug)]
struct Outgoing<T> {
    item: T,
    bytes: u32,
}

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Port<T> {
    settings: Settings,
    state: LinkState,
    features: FeatureExchange,
    channels: Vec<Channel>,
    retry: Retry<T>,
    acceptor: Acceptor,
    outgoing: VecDeque<Outgoing<T>>,
    /// When features are repeated.
    say_at: Time,
    /// The link is retrained until then: nothing is sent.
    held_until: Time,
    /// The largest payload so far, as a Max_Payload_Size: the limits go by it.
    max_payload: u32,
}

/// What happened when a frame came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// What is to be reported.
    pub error: Option<LinkError>,
    /// The TLP goes up.
    pub taken: bool,
    /// The TLP was received well but is thrown away, for the error or since it has no channel: it won't come again.
    pub dropped: bool,
    /// There may be credits now for what waits.
    pub credits: bool,
    /// The link must be retrained before the port goes on: [`Port::hold`] both ends.
    pub retrain: bool,
}

impl Reaction {
    const NOTHING: Reaction = Reaction { error: None, taken: false, dropped: false, credits: false, retrain: false };

    const fn error(error: LinkError) -> Reaction {
        Reaction { error: Some(error), ..Reaction::NOTHING }
    }
}

impl<T: Copy> Port<T> {
    /// A port whose link is down.
    pub fn new(settings: Settings) -> Port<T> {
        let retry = Retry::new(settings.replay_bytes, Time::ZERO);
        let fresh = |rooms: &[Amount; 3]| Channel::new(0, *rooms, false, [Amount::default(); 3], Time::ZERO);
        let mut channels: Vec<Channel> = settings.rooms.iter().map(fresh).collect();
        if let Some(first) = channels.first_mut() {
            first.enabled = true;
        }
        Port {
            state: LinkState::Inactive,
            features: FeatureExchange::new(None),
            channels,
            retry,
            acceptor: Acceptor::new(),
            outgoing: VecDeque::new(),
            say_at: Time::ZERO,
            held_until: Time::ZERO,
            max_payload: 128,
            settings,
        }
    }

    /// How far the link is up.
    pub const fn state(&self) -> LinkState {
        self.state
    }

    /// The Ack limit, which is that of UpdateFCs, too.
    fn latency(&self) -> Time {
        ack_latency(self.settings.generation, self.settings.lanes, self.max_payload)
    }

    fn replay_limit(&self) -> Time {
        let Settings { generation, lanes, round_trip, .. } = self.settings;
        replay_timeout(generation, lanes, self.max_payload) + round_trip
    }

    /// The physical layer says that the link is up: features and InitFCs go. Ports that can do 16 GT/s exchange features.
    pub fn link_up(&mut self, now: Time) {
        let local = (self.settings.generation >= 4).then_some(Features::SCALED_FLOW_CONTROL);
        self.features = FeatureExchange::new(local);
        self.state = LinkState::Feature;
        self.say_at = now;
        self.held_until = now;
        self.retry = Retry::new(self.settings.replay_bytes, self.replay_limit());
        self.acceptor = Acceptor::new();
        self.after_features(now);
    }

    /// Goes on to DL_Init if the features are exchanged.
    fn after_features(&mut self, now: Time) {
        if self.state != LinkState::Feature || !self.features.is_done() {
            return;
        }
        self.state = LinkState::Init;
        for number in 0..self.channels.len() {
            let id = self.channels.get(number).and_then(|channel| channel.enabled.then(|| channel.init.channel()));
            self.begin(number, id, now);
        }
    }

    /// Lets the channel of a buffer begin anew, with this VC ID or without any. What stands in the buffer came before that.
    fn begin(&mut self, number: usize, id: Option<u8>, now: Time) {
        let scaled = self.features.common().scaled_flow_control();
        if let (Some(channel), Some(rooms)) = (self.channels.get_mut(number), self.settings.rooms.get(number)) {
            let fresh = Channel::new(id.unwrap_or(0), *rooms, scaled, channel.held, now);
            *channel = Channel { enabled: id.is_some(), ..fresh };
        }
    }

    /// The link is down: all that waits for the wire or for an Ack is given out, the oldest first, with its sequence number if it has been
    /// sent: whether the other end has it, that one knows.
    pub fn link_down(&mut self, mut lost: impl FnMut(Option<Sequence>, T)) {
        self.state = LinkState::Inactive;
        self.retry.unacknowledged().for_each(|entry| lost(Some(entry.sequence), entry.item));
        self.retry = Retry::new(self.settings.replay_bytes, Time::ZERO);
        self.outgoing.drain(..).for_each(|outgoing| lost(None, outgoing.item));
    }

    /// The receiver of TLPs: it keeps its state after the link is down, until it's up again.
    pub const fn receiver(&self) -> &Acceptor {
        &self.acceptor
    }

    /// Nothing is sent before `until`: the link is retrained.
    pub fn hold(&mut self, until: Time) {
        self.held_until = self.held_until.max(until);
    }

    /// Software has enabled a virtual channel other than 0 at both ends: buffer `number` (1 to 7) serves VC ID `id` (1 to 7), which is initialized as soon as
    /// virtual channel 0 is; or with `None` it has disabled it, and it's closed. The other end must do the same at the same time. Whatever was
    /// under way on it before doesn't count any more.
    pub fn set_channel(&mut self, number: u8, id: Option<u8>, now: Time) {
        if number != 0 && id != Some(0) {
            self.begin(number.into(), id, now);
        }
    }

    fn with_id(&self, id: u8) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.has_id(id))
    }

    #[inline]
    fn with_id_mut(&mut self, id: u8) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.has_id(id))
    }

    /// Whether the virtual channel of a VC ID is initialized, so that TLPs may go.
    pub fn is_open(&self, id: u8) -> bool {
        self.with_id(id).is_some_and(|channel| channel.init.state() == InitState::Done)
    }

    /// Credits left of a class of the virtual channel of a VC ID: headers and data; `u32::MAX` means infinite. `None` if it isn't initialized.
    pub fn credits(&self, id: u8, class: Class) -> Option<Amount> {
        let gate = self.with_id(id)?.gates.as_ref()?.get(class as usize)?;
        Some(Amount { headers: gate.headers.unused(), data: gate.data.unused() })
    }

    /// What the receiver of buffer `number` has allowed and what hasn't been used of it, as [`Port::credits`] of the other end.
    pub fn allowed(&self, number: u8, class: Class) -> Option<Amount> {
        let ledger = self.channels.get(usize::from(number))?.ledgers.get(class as usize)?;
        Some(Amount { headers: ledger.headers.unused(), data: ledger.data.unused() })
    }

    /// Whether nothing stands in the receive buffer, and if the link is up, all of it is advertised.
    pub fn buffers_are_free(&self) -> bool {
        let up = self.state >= LinkState::Init;
        self.channels.iter().all(|channel| {
            let empty = channel.held.iter().all(|held| *held == Amount::default());
            empty && (!up || channel.ledgers.iter().all(ClassLedger::is_whole))
        })
    }

    /// Whether a TLP can ever get its credits, if the other end has a buffer as large as buffer `number` here.
    pub fn can_ever_take(&self, number: u8, class: Class, need: Amount) -> bool {
        let room = self.settings.rooms.get(usize::from(number)).map(|rooms| rooms[class as usize % 3]);
        room.is_some_and(|room| {
            (room.headers == 0 || need.headers <= room.headers) && (room.data == 0 || need.data <= room.data)
        })
    }

    /// Takes the credits of a TLP for a VC ID, if the channel is initialized and they're there.
    pub fn take_credits(&mut self, id: u8, class: Class, need: Amount) -> bool {
        let Some(channel) = self.with_id_mut(id) else { return false };
        let open = channel.init.state() == InitState::Done;
        let gate = channel.gates.as_mut().and_then(|gates| gates.get_mut(class as usize));
        open && gate.is_some_and(|gate| gate.take(need))
    }

    /// A TLP that has its credits goes as soon as its turn comes.
    pub fn send(&mut self, item: T, bytes: u32) {
        self.outgoing.push_back(Outgoing { item, bytes });
    }

    /// Whether nothing waits for the wire or for an Ack.
    pub fn is_quiet(&self) -> bool {
        self.outgoing.is_empty() && self.retry.unacknowledged().len() == 0
    }

    /// Whether a new TLP of up to so many bytes would go if [`Port::next`] gives nothing now: the link is up, and the replay buffer has room.
    pub fn takes_tlp(&self, bytes: u32, now: Time) -> bool {
        self.state == LinkState::Active && now >= self.held_until && self.retry.may_send(bytes)
    }

    /// Until when nothing is sent since the link is retrained; a time gone by if it isn't.
    pub const fn held_until(&self) -> Time {
        self.held_until
    }

    /// TLPs that were sent and aren't acknowledged, with their sequence numbers, the oldest one first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (Sequence, T)> {
        self.retry.unacknowledged().map(|entry| (entry.sequence, entry.item))
    }

    /// A TLP that has its credits begins on the wire, which takes `wire` for it: [`Port::takes_tlp`], and [`Port::next`] gave nothing.
    #[inline]
    pub fn start(&mut self, item: T, bytes: u32, now: Time, wire: Time) -> Frame<T> {
        Frame::Tlp { sequence: self.retry.send(item, bytes, now + wire), item, bytes, again: false }
    }

    /// Notes the size of a payload that passes: limits go by the Max_Payload_Size that it shows.
    pub fn note_payload(&mut self, bytes: u32) {
        if bytes > self.max_payload {
            self.max_payload = bytes.next_power_of_two().min(4096);
            let limit = self.replay_limit();
            self.retry.set_limit(limit);
        }
    }

    /// The next frame for the wire, which is free now, in the order that 3.5.2.1 recommends. `wire` gives the time that a frame of so many bytes, framing
    /// included, takes. `None` if nothing is to be sent now.
    pub fn next(&mut self, now: Time, tlp_time: impl Fn(u32) -> Time) -> Option<Frame<T>> {
        if now < self.held_until {
            return None;
        }
        match self.state {
            LinkState::Inactive => None,
            LinkState::Feature => (now >= self.say_at).then(|| {
                self.say_at = now + INIT_REPEAT;
                Frame::Dllp(self.features.next())
            }),
            LinkState::Init => self.next_init(1, now).map(Frame::Dllp),
            LinkState::Active => self.next_active(now, tlp_time),
        }
    }

    /// The next InitFC of the first `count` channels, if it's its time.
    #[inline]
    fn next_init(&mut self, count: usize, now: Time) -> Option<Dllp> {
        let any = self.channels.iter().any(Channel::is_being_initialized);
        if any { self.initialize(count, now) } else { None }
    }

    /// The same, if any channel is being initialized. A sequence of three that has begun isn't broken off by another channel's.
    #[inline(never)]
    fn initialize(&mut self, count: usize, now: Time) -> Option<Dllp> {
        let due = |channel: &&mut Channel| channel.init_due().is_some_and(|due| due <= now);
        let all = self.channels.iter_mut().take(count).filter(due);
        let channel = all.min_by_key(|channel| (!channel.init.has_begun(), channel.say_at))?;
        let dllp = channel.init.next(&channel.ledgers);
        channel.say_at = now + INIT_REPEAT;
        self.after_init(now);
        dllp
    }

    fn next_active(&mut self, now: Time, tlp_time: impl Fn(u32) -> Time) -> Option<Frame<T>> {
        if self.acceptor.due().is_some_and(|due| due <= now) {
            return Some(Frame::Dllp(self.acceptor.take()));
        }
        if let Some(update) = self.next_update(now) {
            return Some(Frame::Dllp(update));
        }
        // Other virtual channels are initialized while TLPs go.
        if let Some(init) = self.next_init(usize::MAX, now) {
            return Some(Frame::Dllp(init));
        }
        if let Some(entry) = self.retry.next_replay().copied() {
            self.retry.replay_sent(now + tlp_time(entry.bytes));
            return Some(Frame::Tlp { sequence: entry.sequence, item: entry.item, bytes: entry.bytes, again: true });
        }
        let first = self.outgoing.front().filter(|first| self.retry.may_send(first.bytes))?;
        let Outgoing { item, bytes } = *first;
        self.outgoing.pop_front();
        Some(self.start(item, bytes, now, tlp_time(bytes)))
    }

    /// The next UpdateFC, if it's the time of one.
    fn next_update(&mut self, now: Time) -> Option<Dllp> {
        for channel in self.channels.iter_mut().filter(|channel| channel.enabled) {
            let parts = channel.updates.iter_mut().zip(&channel.ledgers).zip(&mut channel.uncertain);
            for (class, ((timer, ledger), uncertain)) in Class::ALL.into_iter().zip(parts) {
                let repeat = *uncertain && timer.repeat_due() <= now;
                if repeat || timer.owed().is_some_and(|owed| owed <= now) {
                    timer.sent(now);
                    *uncertain = false;
                    let (headers, data) = (ledger.headers.field(), ledger.data.field());
                    let channel = channel.init.channel();
                    return Some(Dllp::FlowControl { stage: FcStage::Update, class, channel, headers, data });
                }
            }
        }
        None
    }

    /// When to ask for the next frame if nothing happens until then. `None` if nothing is going to be sent. Regular UpdateFCs that would tell nothing new
    /// are left out: a link at rest stays at rest.
    pub fn due(&self) -> Option<Time> {
        let due = match self.state {
            LinkState::Inactive => None,
            LinkState::Feature => Some(self.say_at),
            LinkState::Init => self.channels.first().and_then(Channel::init_due),
            LinkState::Active => self.active_due(),
        };
        due.map(|due| due.max(self.held_until))
    }

    fn active_due(&self) -> Option<Time> {
        let sends = self.retry.next_replay().is_some()
            || self.outgoing.front().is_some_and(|first| self.retry.may_send(first.bytes));
        if sends {
            return Some(Time::ZERO);
        }
        let enabled = self.channels.iter().filter(|channel| channel.enabled);
        let inits = enabled.clone().filter_map(Channel::init_due);
        let updates = enabled.flat_map(|channel| {
            channel
                .updates
                .iter()
                .zip(&channel.uncertain)
                .filter_map(|(timer, uncertain)| if *uncertain { Some(timer.due()) } else { timer.owed() })
        });
        updates.chain(self.acceptor.due()).chain(inits).chain(self.retry.timer()).min()
    }

    /// REPLAY_TIMER may have expired: what follows from that.
    pub fn check_timer(&mut self, now: Time) -> Reaction {
        if self.retry.timer().is_none_or(|at| at > now) {
            return Reaction::NOTHING;
        }
        if now < self.held_until {
            // It doesn't run while the link is retrained.
            return Reaction::NOTHING;
        }
        match self.retry.expired() {
            None => Reaction::NOTHING,
            Some(Replay::Begins) => Reaction::error(LinkError::ReplayTimeout),
            Some(Replay::AfterRetraining) => Reaction { retrain: true, ..Reaction::error(LinkError::ReplayRollover) },
        }
    }

    /// An UpdateFC of this port has been lost or broken on its way, as far as its owner can see: the next regular one is needed.
    pub fn update_was_lost(&mut self, dllp: &Dllp) {
        if let Dllp::FlowControl { stage: FcStage::Update, class, channel, .. } = *dllp
            && let Some(channel) = self.with_id_mut(channel)
            && let Some(uncertain) = channel.uncertain.get_mut(class as usize)
        {
            *uncertain = true;
        }
    }

    /// A TLP has come, which takes `amount` of a class of receive buffer `number`; that is looked at only if it's the next one. If no channel is
    /// enabled for that buffer, it's dropped without an error of the link's.
    pub fn receive_tlp(
        &mut self,
        sequence: Sequence,
        integrity: Integrity,
        number: u8,
        class: Class,
        amount: Amount,
        now: Time,
    ) -> Reaction {
        if self.state < LinkState::Init {
            return Reaction::NOTHING;
        }
        if integrity == Integrity::Good && sequence == self.acceptor.next_sequence() {
            self.note_payload(amount.data * 16);
        }
        let latency = self.latency();
        let verdict = self.acceptor.receive(sequence, integrity, now, latency);
        if verdict.is_bad() {
            return Reaction::error(LinkError::BadTlp);
        }
        if verdict != Verdict::Taken {
            return Reaction::NOTHING;
        }
        // The link has done its part: what there's no room for is acknowledged all the same.
        let Some(state) = self.channels.get_mut(usize::from(number)).filter(|state| state.enabled) else {
            return Reaction { dropped: true, ..Reaction::NOTHING };
        };
        let opened = state.init.receive_tlp();
        let class = class as usize % 3;
        if state.ledgers[class].receive(amount).is_err() {
            return Reaction { dropped: true, ..Reaction::error(LinkError::ReceiverOverflow) };
        }
        let counted = state.finite(class, amount);
        state.held[class].headers += counted.headers;
        state.held[class].data += counted.data;
        if opened {
            self.after_init(now);
        }
        Reaction { taken: true, credits: opened, ..Reaction::NOTHING }
    }

    /// What a TLP took of receive buffer `number` is free again.
    pub fn free(&mut self, number: u8, class: Class, amount: Amount, now: Time) {
        let latency = self.latency();
        let largest = Amount { headers: 1, data: self.max_payload.div_ceil(16) };
        let Some(channel) = self.channels.get_mut(usize::from(number)) else { return };
        let class = class as usize % 3;
        let amount = channel.finite(class, amount);
        let (held, stale) = (&mut channel.held[class], &mut channel.stale[class]);
        held.headers = held.headers.saturating_sub(amount.headers);
        held.data = held.data.saturating_sub(amount.data);
        // What was there before the link was down isn't given back.
        let (headers, data) = (stale.headers.min(amount.headers), stale.data.min(amount.data));
        stale.headers -= headers;
        stale.data -= data;
        let amount = Amount { headers: amount.headers - headers, data: amount.data - data };
        let ledger = &mut channel.ledgers[class];
        if self.state < LinkState::Init || ledger.is_infinite() || amount == Amount::default() {
            return;
        }
        let within = if ledger.is_short(largest) { Time::ZERO } else { latency };
        ledger.free(amount);
        channel.updates[class].freed(now, within);
    }

    /// A DLLP has come, and its check is right.
    pub fn receive_dllp(&mut self, dllp: &Dllp, now: Time, mut purge: impl FnMut(T)) -> Reaction {
        if self.state == LinkState::Inactive {
            return Reaction::NOTHING;
        }
        if self.state == LinkState::Feature && self.features.receive(dllp) {
            self.say_at = now;
            self.after_features(now);
        }
        match *dllp {
            Dllp::Ack(named) => self.acknowledged(named, false, now, &mut purge),
            Dllp::Nak(named) => self.acknowledged(named, true, now, &mut purge),
            Dllp::FlowControl { stage, class, channel, headers, data } => {
                let latency = self.latency();
                let Some(state) = self.with_id_mut(channel) else { return Reaction::NOTHING };
                if state.init.state() == InitState::Done {
                    if stage != FcStage::Update {
                        // The other end hasn't heard that this one is ready: any UpdateFC tells it so.
                        state.updates[class as usize % 3].freed(now, latency);
                        return Reaction::NOTHING;
                    }
                    let gate = state.gates.as_mut().and_then(|gates| gates.get_mut(class as usize));
                    return match gate.map(|gate| gate.update(headers, data)) {
                        Some(Err(_)) => Reaction::error(LinkError::FlowControlProtocol),
                        _ => Reaction { credits: true, ..Reaction::NOTHING },
                    };
                }
                // Values count until FC_INIT1 is over, UpdateFCs from then on.
                if stage == FcStage::Update
                    && let Some(gate) = state.gates.as_mut().and_then(|gates| gates.get_mut(class as usize))
                    && gate.update(headers, data).is_err()
                {
                    return Reaction::error(LinkError::FlowControlProtocol);
                }
                let changed = state.init.receive(stage, class, headers, data);
                if state.gates.is_none() {
                    state.gates = state.init.gates();
                }
                if changed {
                    self.after_init(now);
                }
                Reaction { credits: changed, ..Reaction::NOTHING }
            }
            Dllp::Feature { .. } | Dllp::Power(_) | Dllp::Vendor(_) | Dllp::Nop => Reaction::NOTHING,
        }
    }

    /// Goes on to DL_Active when virtual channel 0 is initialized.
    fn after_init(&mut self, now: Time) {
        if self.state == LinkState::Init && self.is_open(0) {
            self.state = LinkState::Active;
            self.say_at = now;
        }
    }

    fn acknowledged(&mut self, named: Sequence, is_nak: bool, now: Time, purge: &mut impl FnMut(T)) -> Reaction {
        match self.retry.acknowledge(named, is_nak, now, |entry| purge(entry.item)) {
            Err(_) => Reaction::error(LinkError::DataLinkProtocol),
            Ok(done) if done.replay == Some(Replay::AfterRetraining) => {
                Reaction { retrain: true, ..Reaction::error(LinkError::ReplayRollover) }
            }
            Ok(_) => Reaction::NOTHING,
        }
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
