//! What comes at a port, and what follows from that.

use super::{
    Amount, Class, Dllp, FcStage, InitState, Integrity, LinkError, LinkState, Port, Reaction, Replay, Sequence, Time,
    Verdict,
};

impl<T: Copy> Port<T> {
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
    pub(super) fn after_init(&mut self, now: Time) {
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
