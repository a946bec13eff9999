//! What a port of a switch or root complex looks for in the few TLPs that have it: more data than it takes, poisoned data, a digest,
//! prefixes.

use super::error::{ErrorKind, Role};
use super::ids::{Owner, PortId};
use super::{Fabric, Node};
use crate::config::ConfigSpace;
use crate::fabric::{Core, TlpId};
use crate::tlp::{Class, Prefixes, Status};

/// What a receiver finds that looks at a TLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing that it would mind.
    Good,
    /// It breaks a rule of its format, or its digest is wrong: it ends here, as if it had never come.
    Bad(ErrorKind),
    /// Its data is poisoned.
    Poisoned,
}

/// Looks at a TLP as the receiver with these registers.
#[inline]
pub(super) fn look(core: &Core, config: &ConfigSpace, tlp: TlpId) -> Look {
    look_by_payload(core, config, config.max_payload(), tlp)
}

/// As [`look`], of a receiver whose `Max_Payload_Size` another function decides.
#[inline]
pub(super) fn look_by_payload(core: &Core, config: &ConfigSpace, max_payload: u32, tlp: TlpId) -> Look {
    if core.header(tlp).check_max_payload(max_payload).is_err() {
        return Look::Bad(ErrorKind::MalformedTlp);
    }
    if core.is_only_large(tlp) { Look::Good } else { look_closely(core, config, tlp) }
}

/// Looks at what else there may be about a TLP than its size.
#[cold]
fn look_closely(core: &Core, config: &ConfigSpace, tlp: TlpId) -> Look {
    let header = core.header(tlp);
    let digest = core.digest_is_right(tlp);
    let prefixes = Prefixes::parse(core.prefixes(tlp));
    if prefixes.is_err() || header.td() != digest.is_some() {
        return Look::Bad(ErrorKind::MalformedTlp);
    }
    if digest == Some(false) && config.checks_ecrc() {
        return Look::Bad(ErrorKind::Ecrc);
    }
    if header.is_poisoned() { Look::Poisoned } else { Look::Good }
}

impl Fabric {
    /// Looks at a TLP that has arrived. `false` if it has ended here. Devices look themselves.
    pub(super) fn inspect(&mut self, port: PortId, owner: Owner, tlp: TlpId) -> bool {
        let core = &mut self.core;
        let header = *core.header(tlp);
        match &self.nodes[usize::from(owner.node.0)] {
            Node::Switch(switch) => {
                let config = match switch.downstream.get(usize::from(owner.number)) {
                    Some(downstream) => &downstream.config,
                    None => &switch.config,
                };
                match look(core, config, tlp) {
                    Look::Bad(ErrorKind::MalformedTlp) => {
                        core.refuse_malformed(port, tlp);
                        return false;
                    }
                    // The digest is for the one at the end, who will see for himself; so is poisoned data. What ends here isn't passed on.
                    Look::Bad(kind) => core.detect_tlp(port, tlp, kind, Role::Intermediate),
                    Look::Poisoned => {
                        if !header.kind().is_config() {
                            core.detect_tlp(port, tlp, ErrorKind::PoisonedTlp, Role::Intermediate);
                        }
                        return self.pass_poisoned(port, owner, tlp);
                    }
                    Look::Good => {}
                }
                true
            }
            Node::Root(root) => {
                let Some(root_port) = root.ports.get(usize::from(owner.number)) else { return true };
                match look(core, &root_port.config, tlp) {
                    Look::Good => true,
                    Look::Bad(kind) => {
                        core.detect_tlp(port, tlp, kind, Role::Plain);
                        core.consume(tlp);
                        false
                    }
                    Look::Poisoned => {
                        core.detect_tlp(port, tlp, ErrorKind::PoisonedTlp, Role::Plain);
                        // It fails the request that it answers; memory isn't written (ours: 2.7.2.2 leaves it open).
                        let goes_on = header.class() == Class::Completion;
                        if !goes_on {
                            core.consume(tlp);
                            core.complete(port, &header, root.id, Status::UnsupportedRequest);
                        }
                        goes_on
                    }
                }
            }
            Node::Device(_) | Node::Reserved => true,
        }
    }
}
