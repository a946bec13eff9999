//! What a port puts on the wire next, and when.

use super::{Channel, Class, Dllp, FcStage, Frame, INIT_REPEAT, LinkError, LinkState, Port, Reaction, Replay, Time};

impl<T: Copy> Port<T> {
    /// Whether a new TLP of up to so many bytes would go if [`Port::next`] gives nothing now: the link is up, and the replay buffer has room.
    pub fn takes_tlp(&self, bytes: u32, now: Time) -> bool {
        self.state == LinkState::Active && now >= self.held_until && self.retry.may_send(bytes)
    }

    /// A TLP that has its credits begins on the wire, which takes `wire` for it: [`Port::takes_tlp`], and [`Port::next`] gave nothing.
    #[inline]
    pub fn start(&mut self, item: T, bytes: u32, now: Time, wire: Time) -> Frame<T> {
        Frame::Tlp { sequence: self.retry.send(item, bytes, now + wire), item, bytes, again: false }
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
        None
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
        if self.retry.next_replay().is_some() {
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
}
