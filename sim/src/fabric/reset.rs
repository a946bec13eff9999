//! Links that go down and come up, and what that does to whatever is below them: PERST#, Secondary Bus Reset, Link Disable, and slots
//! that are filled, emptied and switched.
//!
//! A link is up as long as nothing holds it down, and after that it takes its time to be trained. While it's down, its bridge claims
//! nothing for it, so that requests are Unsupported ([`Gate`](super::routing::Gate)), and so are non-posted ones that waited for it
//! ([`Fabric::end_unsent`]); what else waits for its transmitters or is on the wire is lost when it arrives, which gives the credits back. It isn't up again before all of that has arrived.

use super::core::Core;
use super::downstream::{Affair, DownstreamPort, LinkState, PortEvent};
use super::ids::{NodeId, PortId};
use super::{Fabric, Node};
use crate::config::{ConfigSpace, DpcReason, MsiMessage, Reset, SlotEvent};
use crate::probe::LinkId;
use crate::time::Time;
use crate::tlp::{Bdf, Header};

/// Which links are down, and what was lost with them.
#[derive(Debug, Default)]
pub(super) struct Links {
    down: Vec<bool>,
    /// When each of them went down.
    since: Vec<Time>,
    /// How many of them are down: mostly none.
    count: u32,
    lost: u64,
}

impl Links {
    /// Adds the next link.
    pub(super) fn add(&mut self, up: bool) {
        self.down.push(!up);
        self.since.push(Time::ZERO);
        self.count += u32::from(!up);
    }

    /// How many links are down.
    #[inline(always)]
    pub(super) fn down_count(&self) -> u32 {
        self.count
    }

    /// Whether the link of `port` is down.
    #[inline]
    pub(super) fn is_down(&self, port: PortId) -> bool {
        self.count > 0 && self.down.get(usize::from(port.link().0)).is_some_and(|down| *down)
    }

    /// When the link of `port` went down, if it has.
    pub(super) fn down_since(&self, port: PortId) -> Time {
        self.since.get(usize::from(port.link().0)).copied().unwrap_or(Time::ZERO)
    }

    /// Counts a TLP that was lost.
    pub(super) fn count_lost(&mut self) {
        self.lost += 1;
    }

    fn set(&mut self, port: PortId, is_down: bool, now: Time) {
        if let Some(since) = self.since.get_mut(usize::from(port.link().0)).filter(|_| is_down) {
            *since = now;
        }
        if let Some(down) = self.down.get_mut(usize::from(port.link().0)) {
            self.count = self.count + u32::from(is_down) - u32::from(*down);
            *down = is_down;
        }
    }
}

impl Fabric {
    /// Asserts or deasserts PERST# of all that is below the root ports of `root`. `false`, and nothing happens, if the node is no root
    /// complex. As it's asserted, links go down and everything below is reset; when it's deasserted the links are trained.
    pub fn set_perst(&mut self, root: NodeId, asserted: bool) -> bool {
        let Some((complex, _)) = self.root_mut(root) else { return false };
        complex.perst = asserted;
        let ports = complex.ports.len();
        if asserted {
            for number in 0..ports {
                self.take_down(root, number, Reset::Fundamental);
            }
        }
        self.review(root);
        true
    }

    /// Whether PERST# is asserted below the root ports of `root`. `false` if the node is no root complex.
    pub fn perst(&self, root: NodeId) -> bool {
        self.root(root).is_some_and(|complex| complex.perst)
    }

    /// TLPs that were lost because their link had gone down before they arrived, or before they left: those among the last that were answered, too.
    pub fn lost(&self) -> u64 {
        self.links.lost + self.core.lost
    }

    /// A timer of a root complex or switch that is for one of its ports.
    #[cold]
    pub(super) fn port_timer(&mut self, node: NodeId, token: u64) {
        let (affair, number) = Affair::of(token);
        match affair {
            Affair::Review => self.review(node),
            Affair::Command => {
                self.review(node);
                self.tell_indicators(node, number);
                if self.port_mut(node, number).is_some_and(|port| port.config.reports_command_completed()) {
                    let at = self.core.now + self.timing.slot_command();
                    self.core.set_timer(node, at, Affair::CommandCompleted.token(number as u16));
                }
            }
            Affair::Interrupt => self.send_interrupt(node, number),
            Affair::CommandCompleted => self.slot_event(node, number, SlotEvent::CommandCompleted),
            Affair::Contain => self.contain(node, number, DpcReason::Software),
            Affair::AttentionButton => self.slot_event(node, number, SlotEvent::AttentionButton),
            Affair::Present
            | Affair::Absent
            | Affair::Plugged
            | Affair::Unplugged
            | Affair::PowerFault
            | Affair::LatchOpen
            | Affair::LatchClosed => self.slot_affair(node, number, affair),
            Affair::Trained(attempt) => self.trained(node, number, attempt),
        }
    }

    pub(super) fn slot_event(&mut self, node: NodeId, number: usize, event: SlotEvent) {
        if self.port_mut(node, number).is_some_and(|port| port.config.is_hot_plug_slot()) {
            self.change(node, number, |config| config.record_slot_event(event));
        }
    }

    fn ports(&self, node: NodeId) -> &[DownstreamPort] {
        match self.nodes.get(usize::from(node.0)) {
            Some(Node::Root(root)) => &root.ports,
            Some(Node::Switch(switch)) => &switch.downstream,
            _ => &[],
        }
    }

    pub(super) fn port_mut(&mut self, node: NodeId, number: usize) -> Option<&mut DownstreamPort> {
        match self.nodes.get_mut(usize::from(node.0))? {
            Node::Root(root) => root.ports.get_mut(number),
            Node::Switch(switch) => switch.downstream.get_mut(number),
            _ => None,
        }
    }

    /// Makes the tables of a bridge anew.
    fn reroute(&mut self, node: NodeId) {
        match self.nodes.get_mut(usize::from(node.0)) {
            Some(Node::Root(root)) => root.reroute(),
            Some(Node::Switch(switch)) => switch.reroute(),
            _ => {}
        }
    }

    /// Changes a port's registers from the hardware's side, and sends its interrupt message if that makes the condition true.
    pub(super) fn change(&mut self, node: NodeId, number: usize, change: impl FnOnce(&mut ConfigSpace)) {
        let Some(port) = self.port_mut(node, number) else { return };
        let before = port.interrupts();
        change(&mut port.config);
        if !before & port.interrupts() != 0 {
            self.send_interrupt(node, number);
        }
    }

    fn send_interrupt(&mut self, node: NodeId, number: usize) {
        let Some(port) = self.port_mut(node, number) else { return };
        let Some(MsiMessage { address, data }) = port.config.msi().filter(|_| port.config.may_request()) else {
            return;
        };
        match &mut self.nodes[usize::from(node.0)] {
            Node::Root(root) => root.interrupt(address, data.into()),
            Node::Switch(switch) => {
                let id = Bdf::new(switch.config.secondary(), number as u8, 0);
                if let (true, Ok(header)) = (switch.gate.upwards, Header::mem_write_bytes(id, 0, address, 4)) {
                    self.core.send_new(switch.upstream, header, &u32::from(data).to_le_bytes());
                }
            }
            Node::Device(_) | Node::Reserved => {}
        }
    }

    /// Looks at all that can hold the links of a bridge down, and takes them down or begins to train them.
    pub(super) fn review(&mut self, node: NodeId) {
        let (held, reset) = match self.nodes.get_mut(usize::from(node.0)) {
            Some(Node::Root(root)) => (root.perst, false),
            Some(Node::Switch(switch)) => {
                // Secondary Bus Reset of the upstream port is a hot reset of the bus that the downstream ports are on.
                let reset = switch.config.secondary_bus_reset();
                let begins = reset && !switch.in_reset;
                switch.in_reset = reset;
                (reset || switch.link_down, begins)
            }
            _ => return,
        };
        if reset {
            self.reset_ports(node, Reset::Hot);
        }
        for number in 0..self.ports(node).len() {
            let Some(port) = self.port_mut(node, number) else { continue };
            let Some(link) = port.port else { continue };
            let powered = port.has_power();
            let switched = std::mem::replace(&mut port.powered, powered) != powered;
            let forbidden = std::mem::take(&mut port.forbidden);
            let wanted = !held && !forbidden && port.wants_link();
            if wanted && port.link == LinkState::Down {
                port.link = LinkState::Training;
                port.attempt = port.attempt.wrapping_add(1);
                let token = Affair::Trained(port.attempt).token(number as u16);
                let at = self.core.now + self.timing.link_training();
                self.core.set_timer(node, at, token);
            } else if !wanted {
                let slot = port.config.is_hot_plug_slot();
                let dark = port.unplugged || slot && !(port.config.slot_present() && powered);
                self.take_down(node, number, if dark { Reset::Fundamental } else { Reset::Hot });
            }
            if switched {
                let event = if powered { PortEvent::PowerOn } else { PortEvent::PowerOff };
                self.tell_below(link, event);
            }
        }
    }

    /// Takes the link of a port down, if it's up, and resets what is below it.
    pub(super) fn take_down(&mut self, node: NodeId, number: usize, reset: Reset) {
        let Some(port) = self.port_mut(node, number) else { return };
        let was = std::mem::replace(&mut port.link, LinkState::Down);
        let Some(link) = port.port.filter(|_| was == LinkState::Up) else { return };
        self.links.set(link, true, self.core.now);
        self.core.link_went_down(link.link());
        let unsent = self.core.exact_link_down(link);
        self.change(node, number, |config| config.set_link(None));
        self.reroute(node);
        self.end_unsent(link, unsent);
        let below = self.core.owner(link.peer()).node;
        // What is below is reset, and with it the channels of its end.
        self.core.reset_channels(link.peer());
        match &mut self.nodes[usize::from(below.0)] {
            Node::Switch(switch) => {
                switch.link_down = true;
                switch.reset(reset);
                self.reset_ports(below, reset);
            }
            _ => self.tell_below(link, PortEvent::LinkDown(reset)),
        }
    }

    /// Resets the downstream ports of a bridge, and with them all that is below.
    fn reset_ports(&mut self, node: NodeId, reset: Reset) {
        for number in 0..self.ports(node).len() {
            self.take_down(node, number, reset);
            let Some(port) = self.port_mut(node, number) else { continue };
            port.config.reset(reset);
            port.after_reset();
            if let Some(link) = port.port {
                self.core.reset_channels(link);
                self.tell_below(link, PortEvent::SlotReset);
            }
        }
        self.reroute(node);
    }

    /// The time to train a link is over.
    fn trained(&mut self, node: NodeId, number: usize, attempt: u32) {
        let Some(port) = self.port_mut(node, number) else { return };
        let Some(link) = port.port.filter(|_| port.link == LinkState::Training && port.attempt == attempt) else {
            return;
        };
        // What was sent before may not arrive afterwards.
        let quiet = self.core.link_quiet_at(link).unwrap_or(self.core.now + Time::us(1));
        if quiet > self.core.now {
            return self.core.set_timer(node, quiet, Affair::Trained(attempt).token(number as u16));
        }
        if let Some(port) = self.port_mut(node, number) {
            port.link = LinkState::Up;
        }
        self.links.set(link, false, self.core.now);
        self.core.link_came_up(link.link());
        self.core.exact_link_up(link);
        self.change(node, number, |config| config.set_link(Some(config.link_capability())));
        self.reroute(node);
        let below = self.core.owner(link.peer()).node;
        match &mut self.nodes[usize::from(below.0)] {
            Node::Switch(switch) => {
                switch.link_down = false;
                switch.config.set_link(Some(switch.config.link_capability()));
                self.review(below);
            }
            _ => self.tell_below(link, PortEvent::LinkUp),
        }
    }

    /// Tells the device at the lower end of a link.
    pub(super) fn tell_below(&mut self, link: PortId, event: PortEvent) {
        let port = link.peer();
        let core: &mut Core = &mut self.core;
        let at = core.now;
        if let Some(probe) = &mut core.probe {
            probe.port_event(at, link.link(), event);
        }
        let node = core.owner(port).node;
        if let Some(Node::Device(device)) = self.nodes.get_mut(usize::from(node.0)) {
            device.port_event(core, port, event);
        }
    }
}

/// Links that fail by themselves.
impl Fabric {
    /// A link fails, whatever is on it, or could be trained again. Nobody is told beforehand.
    pub(crate) fn cut_link(&mut self, link: LinkId, is_cut: bool) {
        let upper = PortId(link.0 << 1);
        let owner = self.core.owner(upper);
        let (node, number) = (owner.node, usize::from(owner.number));
        let Some(port) = self.port_mut(node, number) else { return };
        port.failed = is_cut;
        if is_cut {
            if port.link == LinkState::Up {
                self.surprise(node, number);
            }
            self.take_down(node, number, Reset::Hot);
        } else {
            self.review(node);
        }
    }
}
