//! Exact links that come up and go down, and what they show of themselves.

use super::super::Fabric;
use super::super::arena::TlpId;
use super::super::core::{Core, PortId};
use super::super::dll::Amount;
use super::{Exact, Fate, FrameKind, LinkCounters, Noise};
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
            let (mut lost, mut waited_for_wire) = (Vec::new(), Vec::new());
            exact.port.link_down(|sequence, tlp| match sequence {
                Some(sequence) if other.has_taken(sequence) => {}
                Some(_) => lost.push(tlp),
                None => waited_for_wire.push(tlp),
            });
            let mut waited: Vec<_> = exact.waiting.iter_mut().flatten().flat_map(|queue| queue.drain(..)).collect();
            waited.sort_unstable_by_key(|(order, _)| *order);
            for tlp in waited_for_wire.into_iter().chain(waited.into_iter().map(|(_, tlp)| tlp)) {
                let nonposted = self.arena.slot(tlp).weight.class == Class::NonPosted;
                if end == port && nonposted { unsent.push(tlp) } else { lost.push(tlp) }
            }
            for tlp in lost {
                self.lose_exactly(end, tlp);
            }
        }
        unsent
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
    pub(crate) fn is_exact(&self, port: PortId) -> bool {
        self.transmitters.get(usize::from(port.0)).is_some_and(|transmitter| transmitter.exact_ref().is_some())
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
