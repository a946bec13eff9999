//! Errors found by the ports of switches and root complexes, and error messages on their way up: through the bridges to the root port, which notes
//! them for software.

use super::{Detected, forward, message, record, signal};
use crate::config::{DpcReason, ErrorMessage};
use crate::fabric::ids::{NodeId, Owner};
use crate::fabric::{Fabric, Node, SystemError};
use crate::tlp::Bdf;

/// What was found at a port in the present event.
#[derive(Clone, Copy, Debug)]
pub(in crate::fabric) enum Found {
    /// An error.
    Error(Detected),
    /// A root port received a message from a function below it.
    Message(ErrorMessage, Bdf),
    /// Something that begins containment.
    Contain(DpcReason),
}

impl Fabric {
    /// Looks at the first thing that was found.
    #[cold]
    pub(in crate::fabric) fn report(&mut self) {
        let Some((port, found)) = self.core.found.pop_front() else { return };
        let Owner { node, number } = self.core.owner(port);
        match (&mut self.nodes[usize::from(node.0)], found) {
            (Node::Device(device), Found::Error(error)) => device.error(&mut self.core, port, &error),
            (Node::Switch(switch), Found::Error(error)) if number == Owner::UPWARDS => {
                let report = record(&mut switch.config, &error, false);
                let overflow = report.overflow.then_some(ErrorMessage::Correctable);
                for told in report.message.into_iter().chain(overflow) {
                    signal(&mut switch.config, told);
                    if let Some(header) = message::error_message(switch.id, told) {
                        self.core.send_new(port, header, &[]);
                    }
                }
            }
            (Node::Root(_) | Node::Switch(_), Found::Error(error)) => {
                self.port_error(node, usize::from(number), &error);
            }
            (Node::Root(_) | Node::Switch(_), Found::Contain(reason)) => {
                self.contain(node, usize::from(number), reason);
            }
            (Node::Root(root), Found::Message(told, source)) => {
                let Some(port) = root.ports.get_mut(usize::from(number)) else { return };
                if port.config.contains_errors(told) {
                    port.config.record_secondary_status(crate::config::Status::SIGNALED_SYSTEM_ERROR);
                    return self.contain(node, usize::from(number), containment_by(told, source));
                }
                if forward(&mut port.config, told) {
                    self.note_at_root(node, usize::from(number), told, source);
                }
            }
            _ => {}
        }
    }

    /// A port with a link below it has found an error.
    fn port_error(&mut self, node: NodeId, number: usize, error: &Detected) {
        let Some(port) = self.port_mut(node, number) else { return };
        let report = record(&mut port.config, error, true);
        if report.uncorrectable && port.config.containment_enabled() && !port.config.is_contained() {
            // Containment tells of the error, no message does.
            self.contain(node, number, DpcReason::Unmasked);
        } else if let Some(told) = report.message {
            self.tell_root(node, number, told);
        }
        if report.overflow {
            self.tell_root(node, number, ErrorMessage::Correctable);
        }
    }

    /// A port with a link below it tells the root complex of an error of its own.
    pub(in crate::fabric) fn tell_root(&mut self, node: NodeId, number: usize, told: ErrorMessage) {
        let Some(port) = self.port_mut(node, number) else { return };
        signal(&mut port.config, told);
        match &mut self.nodes[usize::from(node.0)] {
            Node::Switch(switch) => {
                let id = Bdf::new(switch.config.secondary(), number as u8, 0);
                // The upstream port is the bridge above the bus that the port is on.
                if let (true, Some(header)) = (forward(&mut switch.config, told), message::error_message(id, told)) {
                    self.core.send_new(switch.upstream, header, &[]);
                }
            }
            Node::Root(_) => self.note_at_root(node, number, told, Bdf::new(0, number as u8 + 1, 0)),
            Node::Device(_) | Node::Reserved => {}
        }
    }

    /// An error message has reached its end: the registers of the root port, an interrupt, the host's error of the system.
    fn note_at_root(&mut self, node: NodeId, number: usize, told: ErrorMessage, source: Bdf) {
        self.change(node, number, |config| {
            config.record_root_error(told, source.0);
        });
        if let Some(Node::Root(root)) = self.nodes.get_mut(usize::from(node.0)) {
            root.note_system_error(SystemError { port: number, message: told, source });
        }
    }

    /// Takes an error of the system that a root complex has noted, if there is one: a root port received a message, or found an error itself, that
    /// its Root Control calls one. What a real machine makes of it is its firmware's affair.
    pub fn next_system_error(&mut self, root: NodeId) -> Option<SystemError> {
        match self.nodes.get_mut(usize::from(root.0))? {
            Node::Root(root) => root.next_system_error(),
            _ => None,
        }
    }
}

/// Why containment begins when this message comes from below.
pub(in crate::fabric) fn containment_by(told: ErrorMessage, source: Bdf) -> DpcReason {
    match told {
        ErrorMessage::Fatal => DpcReason::Fatal(source.0),
        _ => DpcReason::NonFatal(source.0),
    }
}
