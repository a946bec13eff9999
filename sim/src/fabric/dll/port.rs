//! One end of a link: the state machines together, and what goes on the wire next.
//!
//! A virtual channel goes by two numbers: that of the receive buffer at this end, which is the number of its VC resource, and its VC ID, which is the
//! same at both ends and stands in DLLPs. Credits to be spent are those of a VC ID, those to be given those of a buffer.
//!
//! A port knows no clock and no wire. Its owner asks [`Port::next`] whenever the wire is free, puts the frame on it, and tells the port at the other end
//! when it has come. [`Port::due`] says when to ask again if nothing is said.

mod receiving;
mod sending;

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

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Port<T> {
    settings: Settings,
    state: LinkState,
    features: FeatureExchange,
    channels: Vec<Channel>,
    retry: Retry<T>,
    acceptor: Acceptor,
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

    /// The link is down: all that waits for an Ack is given out with its sequence number, the oldest first. Whether the other end has it, that one knows.
    pub fn link_down(&mut self, mut lost: impl FnMut(Sequence, T)) {
        self.state = LinkState::Inactive;
        self.retry.unacknowledged().for_each(|entry| lost(entry.sequence, entry.item));
        self.retry = Retry::new(self.settings.replay_bytes, Time::ZERO);
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

    /// Whether nothing waits for an Ack.
    pub fn is_quiet(&self) -> bool {
        self.retry.unacknowledged().len() == 0
    }

    /// Until when nothing is sent since the link is retrained; a time gone by if it isn't.
    pub const fn held_until(&self) -> Time {
        self.held_until
    }

    /// TLPs that were sent and aren't acknowledged, with their sequence numbers, the oldest one first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (Sequence, T)> {
        self.retry.unacknowledged().map(|entry| (entry.sequence, entry.item))
    }

    /// Notes the size of a payload that passes: limits go by the Max_Payload_Size that it shows.
    pub fn note_payload(&mut self, bytes: u32) {
        if bytes > self.max_payload {
            self.max_payload = bytes.next_power_of_two().min(4096);
            let limit = self.replay_limit();
            self.retry.set_limit(limit);
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
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
