//! Requests that were to go over a link that has gone down (base specification 2.9.1): non-posted ones that haven't begun are answered by the port above
//! the link, posted requests and completions are discarded. Of what is on the wire by then nothing is heard: its requester's timeout ends it.
//!
//! A TLP whose turn on a rated link was fixed already is answered when it would have arrived (ours: the specification leaves open from which point on a
//! request can't be answered any more).

use super::arena::{Arena, TlpId, Weight};
use super::core::Core;
use super::error::{Detected, ErrorKind};
use super::ids::{Owner, PortId};
use super::link::Transmitter;
use super::{Fabric, Node};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Status};

impl Transmitter {
    /// Takes the non-posted requests out that wait for credits, of all virtual channels.
    fn take_nonposted(&mut self, arena: &mut Arena) -> Vec<TlpId> {
        let mut taken = Vec::new();
        for channel in 0..self.channel_count() {
            let (_, waiting) = self.channel(channel);
            taken.extend(waiting.take_class(arena, Class::NonPosted));
        }
        self.show_waiting();
        taken
    }

    /// When a TLP began that arrived at `arrival`.
    fn began(&self, weight: Weight, arrival: Time) -> Time {
        arrival.since(self.latency_of(weight.class) + self.wire(weight))
    }
}

impl Core {
    /// Takes the non-posted requests out that wait at `port` for credits, as its link goes down. It has none if the link is an exact one.
    #[cold]
    fn take_waiting(&mut self, port: PortId) -> Vec<TlpId> {
        let transmitter = self.transmitters.get_mut(usize::from(port.0));
        transmitter.map_or_else(Vec::new, |transmitter| transmitter.take_nonposted(&mut self.arena))
    }

    /// When a TLP began at `port` that has just arrived at the other end.
    fn began(&self, port: PortId, weight: Weight) -> Time {
        self.transmitters.get(usize::from(port.0)).map_or(Time::ZERO, |transmitter| transmitter.began(weight, self.now))
    }
}

impl Fabric {
    /// The link below `port` has gone down: ends what waited there for credits, and `others`, which were to go over it too.
    #[cold]
    pub(super) fn end_unsent(&mut self, port: PortId, others: Vec<TlpId>) {
        let waited = self.core.take_waiting(port);
        for tlp in waited.into_iter().chain(others) {
            if !self.answer_unsent(port, tlp) {
                self.forget(tlp);
            }
        }
    }

    /// A TLP has arrived at `port` over a rated link that's down by now: it never gets there, and its buffer is free. If it began only
    /// after the link had gone down, it's as if it had waited for credits.
    #[cold]
    pub(super) fn lose(&mut self, port: PortId, tlp: TlpId) {
        let upper = port.peer();
        let weight = self.core.arena.slot(tlp).weight;
        let waited = port.0 & 1 == 1
            && weight.class == Class::NonPosted
            && !self.core.is_exact(upper)
            && self.core.began(upper, weight) > self.links.down_since(port);
        if !waited || !self.answer_unsent(upper, tlp) {
            self.forget(tlp);
        }
    }

    /// Answers a non-posted request that was to go out of `port`. `false`, and it's still there, if there's no way back for an answer.
    fn answer_unsent(&mut self, port: PortId, tlp: TlpId) -> bool {
        let Owner { node, number } = self.core.owner(port);
        let (core, number) = (&mut self.core, usize::from(number));
        let request = *core.header(tlp);
        let config = match self.nodes.get(usize::from(node.0)) {
            Some(Node::Root(root)) => root.ports.get(number).map(|root_port| &root_port.config),
            Some(Node::Switch(switch)) => switch.downstream.get(number).map(|downstream| &downstream.config),
            _ => None,
        };
        let Some(config) = config else { return false };
        // In containment the port's registers say how, and it's nobody's error (2.9.3).
        let contained = config.is_contained();
        let aborts = contained && !config.containment_unsupported();
        let status = if aborts { Status::CompleterAbort } else { Status::UnsupportedRequest };
        match self.nodes.get_mut(usize::from(node.0)) {
            // A root complex asks for itself what it's asked for. That a root port needn't report this is used (2.9.1).
            Some(Node::Root(root)) if request.requester() == root.id => {
                root.answer_unsent(core, &request, status);
                self.forget(tlp);
                true
            }
            Some(Node::Switch(switch)) if !switch.link_down => {
                let id = Bdf::new(switch.config.secondary(), number as u8, 0);
                let Some(back) = switch.way_back(request.requester().bus()) else { return false };
                if !contained {
                    let error =
                        Detected { tlp: Some(core.log_of(tlp)), ..Detected::new(ErrorKind::UnsupportedRequest) };
                    core.detect(port, error.as_role(Core::answering_role(&request)).by(id));
                }
                self.forget(tlp);
                self.core.complete(back, &request, id, status);
                true
            }
            _ => false,
        }
    }

    /// A TLP is lost: it wasn't delivered, so nobody is told that it was.
    fn forget(&mut self, tlp: TlpId) {
        self.links.count_lost();
        let probe = self.core.probe.take();
        self.core.consume(tlp);
        self.core.probe = probe;
    }
}
