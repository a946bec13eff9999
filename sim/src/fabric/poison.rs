//! Poisoned TLPs at bridges: what the status registers of the two bridges of a switch show as one passes through (base specification 7.5.1.1.4 and
//! 7.5.1.3.7), and Poisoned TLP Egress Blocking, by which a port with a link below sends none out (2.7.2.1).

use super::core::Core;
use super::downstream::DownstreamPort;
use super::error::{Detected, ErrorKind};
use super::ids::{Owner, PortId};
use super::switch::{Next, Switch};
use super::{Fabric, Node};
use crate::config::{ConfigSpace, Status as Legacy, UncorrectableError};
use crate::fabric::TlpId;
use crate::tlp::{Bdf, Class, Header, Status};

/// Notes that a bridge has received a poisoned TLP on its primary or secondary side: Detected Parity Error, and with a completion whose requester is on the
/// other side Master Data Parity Error, if the bridge responds to parity errors on this one.
fn received(bridge: &mut ConfigSpace, secondary: bool, class: Class) {
    note(bridge, secondary, Legacy::DETECTED_PARITY_ERROR);
    if class == Class::Completion {
        note_master(bridge, secondary);
    }
}

/// Notes that a bridge sends a poisoned request out of its primary or secondary side: Master Data Parity Error, if it responds to parity errors there.
fn sent(bridge: &mut ConfigSpace, secondary: bool, class: Class) {
    if class != Class::Completion {
        note_master(bridge, secondary);
    }
}

fn note_master(bridge: &mut ConfigSpace, secondary: bool) {
    let responds =
        if secondary { bridge.secondary_parity_response() } else { bridge.command().parity_error_response() };
    if responds {
        note(bridge, secondary, Legacy::MASTER_DATA_PARITY_ERROR);
    }
}

fn note(bridge: &mut ConfigSpace, secondary: bool, bits: Legacy) {
    if secondary { bridge.record_secondary_status(bits) } else { bridge.record_status(bits) }
}

impl Switch {
    /// The bridge at which a TLP comes in, or goes out: a downstream port, or the upstream port.
    fn bridge_mut(&mut self, below: Option<usize>) -> &mut ConfigSpace {
        match below.and_then(|number| self.downstream.get_mut(number)) {
            Some(port) => &mut port.config,
            None => &mut self.config,
        }
    }

    /// A poisoned TLP comes in at one bridge and goes out by another. `blocked` says that the second doesn't send it. That the first has received it is
    /// shown as its error is reported.
    fn show_poisoned(&mut self, from: Option<usize>, to: Option<usize>, class: Class, blocked: bool) {
        // The first sends it to the bus within the switch: its secondary side if it's the upstream port.
        sent(self.bridge_mut(from), from.is_none(), class);
        let second = self.bridge_mut(to);
        received(second, to.is_none(), class);
        if !blocked {
            sent(second, to.is_some(), class);
        }
    }
}

/// How a port answers a poisoned non-posted request that it blocks: if containment begins by that, as its registers say.
fn blocked_status(config: &ConfigSpace) -> Status {
    let contains = config.containment_enabled() && !config.masks_error(UncorrectableError::PoisonedEgress);
    if contains && !config.containment_unsupported() { Status::CompleterAbort } else { Status::UnsupportedRequest }
}

/// Whether a port that would send a poisoned TLP of the root complex's own doesn't, and then has noted that.
#[cold]
pub(super) fn blocks(core: &mut Core, port: PortId, config: &ConfigSpace, header: &Header) -> bool {
    let blocks = config.blocks_poisoned();
    if blocks {
        core.detect(port, Detected::new(ErrorKind::PoisonedEgress).about(header));
    }
    blocks
}

impl Fabric {
    /// A poisoned TLP has come in at a switch, and goes on. `false` if it ends here, since the port that it would go out of blocks it.
    #[cold]
    pub(super) fn pass_poisoned(&mut self, port: PortId, owner: Owner, tlp: TlpId) -> bool {
        let core = &mut self.core;
        let header = *core.header(tlp);
        let Some(Node::Switch(switch)) = self.nodes.get_mut(usize::from(owner.node.0)) else { return true };
        let from = (owner.number != Owner::UPWARDS).then_some(usize::from(owner.number));
        let (Next::Forward(out) | Next::ForwardAs(out, _)) = switch.next(from, &header) else { return true };
        let leads_out = |downstream: &DownstreamPort| downstream.port == Some(out);
        let to = switch.downstream.iter().position(leads_out);
        let config = to.and_then(|number| switch.downstream.get(number)).map(|downstream| &downstream.config);
        let blocking = config.filter(|config| config.blocks_poisoned()).map(blocked_status);
        switch.show_poisoned(from, to, header.class(), blocking.is_some());
        let Some((status, number)) = blocking.zip(to) else { return true };
        let id = Bdf::new(switch.config.secondary(), number as u8, 0);
        let error = Detected { tlp: Some(core.log_of(tlp)), ..Detected::new(ErrorKind::PoisonedEgress) };
        core.detect(out, error.by(id));
        core.consume(tlp);
        core.complete(port, &header, id, status);
        false
    }
}
