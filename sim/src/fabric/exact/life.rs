//! Exact links that come up and go down, and what they show of themselves.

use super::super::Fabric;
use super::super::arena::TlpId;
use super::super::core::Core;
use super::super::dll::{Amount, Dllp, Frame};
use super::super::ids::PortId;
use super::{Exact, Fate, FrameKind, LinkCounters, NO_CHANNEL, Noise, Pair};
use crate::config::MAX_CHANNELS;
use crate::tlp::Class;

impl Core {
    pub(crate) fn exact(&mut self, port: PortId) -> Option<&mut Exact> {
        self.transmitters.get_mut(usize::from(port.0))?.exact()
    }

    /// The link of `port` is up: flow control is initialized, then what waits goes. Does nothing if it isn't an exact one.
    pub(crate) fn exact_link_up(&mut self, port: PortId) {
        let now = self.now;
        for end in [port, port.peer()] {
            if let Some(exact) = self.exact(end) {
                exact.port.link_up(now);
                self.serve(end);
            }
        }
    }

    /// The link below `port` is down: what waits for it or is on its way over it is lost. Gives the non-posted requests that `port` hadn't sent yet:
    /// they aren't lost, but for the caller to end. Does nothing if it isn't an exact one.
    pub(crate) fn exact_link_down(&mut self, port: PortId) -> Vec<TlpId> {
        let mut unsent = Vec::new();
        for end in [port, port.peer()] {
            let Some(other) = self.exact(end.peer()) else { return unsent };
            let other = *other.port.receiver();
            let Some(exact) = self.exact(end) else { return unsent };
            exact.dead = exact.flying.len();
            exact.marked.clear();
            let mut lost = Vec::new();
            exact.port.link_down(|sequence, tlp| {
                if !other.has_taken(sequence) {
                    lost.push(tlp);
                }
            });
            let transmitter = &mut self.transmitters[usize::from(end.0)];
            for channel in 0..transmitter.channel_count() {
                for tlp in transmitter.take_all_of(&mut self.arena, channel) {
                    let nonposted = self.arena.slot(tlp).weight.class == Class::NonPosted;
                    if end == port && nonposted { unsent.push(tlp) } else { lost.push(tlp) }
                }
            }
            for tlp in lost {
                self.lose_exactly(end, tlp);
            }
        }
        unsent
    }

    /// Takes over which virtual channels beyond VC0 both ends of the link of `port` have, by the number of the VC resource there: those that have begun are
    /// initialized, those that have ended are closed. Does nothing if it isn't an exact link. The other end must be told at the same time.
    #[cold]
    pub(in crate::fabric) fn set_exact_channels(&mut self, port: PortId, pairs: [Option<Pair>; MAX_CHANNELS]) {
        let Some(exact) = self.exact(port) else { return };
        let before = std::mem::replace(&mut exact.pairs, pairs);
        if before == pairs {
            return;
        }
        let now = self.now;
        let mut stranded = Vec::new();
        for ((number, old), new) in (0..).zip(before).zip(pairs).filter(|((_, old), new)| old != new) {
            if let Some(pair) = old {
                self.recall(port, pair);
                let transmitter = &mut self.transmitters[usize::from(port.0)];
                stranded.extend(transmitter.take_all_of(&mut self.arena, pair.far.into()));
            }
            if let Some(exact) = self.exact(port) {
                exact.port.set_channel(number, new.map(|pair| pair.id), now);
            }
        }
        for tlp in stranded {
            self.cannot_send(port, tlp);
        }
        self.serve(port);
    }

    /// A channel of `port` has ended: what it has on the wire comes to nothing. Its flow control isn't heard, and for its TLPs the receiver has no buffer.
    #[cold]
    fn recall(&mut self, port: PortId, pair: Pair) {
        let Some(other) = self.exact(port.peer()) else { return };
        let other = *other.port.receiver();
        let Some(exact) = self.exact(port) else { return };
        for flying in &mut exact.flying {
            if matches!(flying.frame, Frame::Dllp(Dllp::FlowControl { channel, .. }) if channel == pair.id) {
                flying.fate = Fate::Lost;
            }
        }
        let open = exact.port.unacknowledged().filter(|(sequence, _)| !other.has_taken(*sequence));
        let open: Vec<TlpId> = open.map(|(_, tlp)| tlp).collect();
        for tlp in open {
            let weight = &mut self.arena.slot_mut(tlp).weight;
            if weight.channel == pair.far {
                weight.channel = NO_CHANNEL;
            }
        }
    }

    /// Whether the channel of a VC ID is initialized at `port`; on links that aren't exact it takes no time.
    pub(in crate::fabric) fn is_initialized(&self, port: PortId, id: u8) -> bool {
        let exact = self.transmitters.get(usize::from(port.0)).and_then(|transmitter| transmitter.exact_ref());
        exact.is_none_or(|exact| exact.port.is_open(id))
    }

    /// Whether the link of `port` is an exact one.
    pub(crate) fn is_exact(&self, port: PortId) -> bool {
        self.transmitters.get(usize::from(port.0)).is_some_and(|transmitter| transmitter.exact_ref().is_some())
    }

    /// What `port` has sent and which errors it has found. `None` if its link isn't an exact one.
    pub fn link_counters(&self, port: PortId) -> Option<LinkCounters> {
        self.transmitters.get(usize::from(port.0))?.exact_ref().map(|exact| exact.counters)
    }

    /// The credits that `port` has left in a class of the virtual channel of a VC ID; `u32::MAX` means infinite. `None` if its link isn't an exact one, or the channel
    /// isn't initialized.
    pub fn exact_credits(&self, port: PortId, id: u8, class: Class) -> Option<Amount> {
        self.transmitters.get(usize::from(port.0))?.exact_ref()?.port.credits(id, class)
    }
}

impl Fabric {
    /// What `port` has sent and which errors of its data link layer it has found. `None` if its link isn't an exact one.
    pub fn link_counters(&self, port: PortId) -> Option<LinkCounters> {
        self.core.link_counters(port)
    }

    /// Decides what becomes of a frame that `port` is going to send: see [`Core::meddle`].
    pub fn meddle(&mut self, port: PortId, kind: FrameKind, nth: u64, fate: Fate) -> bool {
        self.core.meddle(port, kind, nth, fate)
    }

    /// Lets frames that `port` sends be broken or lost by chance: see [`Core::set_noise`].
    pub fn set_noise(&mut self, port: PortId, noise: Noise, seed: u64) -> bool {
        self.core.set_noise(port, noise, seed)
    }
}
