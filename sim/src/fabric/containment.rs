//! Downstream Port Containment: a port whose link goes down on an error, and stays down until software lets it come up (base specification
//! 6.2.10). And links that go down by themselves.

use super::error::{Detected, ErrorKind};
use super::ids::{NodeId, Owner, PortId};
use super::{Fabric, Node};
use crate::config::{DpcReason, ErrorMessage, Reset};
use crate::probe::LinkId;

impl Fabric {
    /// Begins containment at a port, if it's enabled there and hasn't begun: takes its link down, and tells of it by interrupt and `ERR_COR`, as
    /// its registers ask.
    pub(super) fn contain(&mut self, node: NodeId, number: usize, reason: DpcReason) {
        let mut begun = false;
        self.change(node, number, |config| begun = config.begin_containment(reason));
        if !begun {
            return;
        }
        self.take_down(node, number, Reset::Hot);
        if let Some(Node::Root(root)) = self.nodes.get_mut(usize::from(node.0)) {
            root.contained(&mut self.core, number);
        }
        let Some(port) = self.port_mut(node, number) else { return };
        if port.config.containment_is_correctable() && port.config.reports(ErrorMessage::Correctable) {
            // Correctable Error Detected; AER has no bit for it.
            port.config.record_device_status(1);
            self.tell_root(node, number, ErrorMessage::Correctable);
        }
    }

    /// Lets a link go down that nobody has told to: the port above it finds Surprise Down, and the link is trained again unless something holds
    /// it down by then. `false` if there's no such link, or it's down already.
    pub fn break_link(&mut self, link: LinkId) -> bool {
        let Some(upper) = link.0.checked_mul(2).map(PortId).filter(|port| self.ends(port.link()).is_some()) else {
            return false;
        };
        if self.links.is_down(upper) {
            return false;
        }
        let Owner { node, number } = self.core.owner(upper);
        if !matches!(self.nodes.get(usize::from(node.0)), Some(Node::Root(_) | Node::Switch(_))) {
            return false;
        }
        self.surprise(node, usize::from(number));
        self.take_down(node, usize::from(number), Reset::Hot);
        // Containment, if that's what comes of it, comes first.
        self.core.set_timer(node, self.core.now, super::downstream::Affair::Review.token(number));
        true
    }

    /// The link of a port goes down unasked: that's an error, unless the slot allows it (base specification 3.2.1).
    pub(super) fn surprise(&mut self, node: NodeId, number: usize) {
        let Some(port) = self.port_mut(node, number) else { return };
        if let Some(link) = port.port.filter(|_| port.config.reports_surprise_down() && !port.config.may_go_unasked()) {
            self.core.detect(link, Detected::new(ErrorKind::SurpriseDown));
        }
    }
}
