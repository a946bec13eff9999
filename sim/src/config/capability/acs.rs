//! Access Control Services (section 7.7.8): which requests of its own bus a port lets through, and which it sends upwards instead of to a peer.

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of ACS Capability (low half) and ACS Control (high half).
const CONTROL: u16 = 0x04;
/// Offset of the first dword of Egress Control Vector.
const VECTOR: u16 = 0x08;

/// A set of the services, as bits of ACS Capability and of ACS Control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Acs(pub u8);

impl Acs {
    /// None.
    pub const NONE: Acs = Acs(0);
    /// Source Validation: the requester's bus number must be one of those below the port.
    pub const SOURCE_VALIDATION: Acs = Acs(1 << 0);
    /// Translation Blocking: no request may have an address type other than untranslated.
    pub const TRANSLATION_BLOCKING: Acs = Acs(1 << 1);
    /// P2P Request Redirect: requests to a peer go to the root complex.
    pub const REQUEST_REDIRECT: Acs = Acs(1 << 2);
    /// P2P Completion Redirect: completions to a peer go to the root complex, unless they are relaxed in their order.
    pub const COMPLETION_REDIRECT: Acs = Acs(1 << 3);
    /// Upstream Forwarding: what comes from below and belongs there goes to the root complex, as it was redirected further down.
    pub const UPSTREAM_FORWARDING: Acs = Acs(1 << 4);
    /// P2P Egress Control: Egress Control Vector names the peers that requests may not reach directly.
    pub const EGRESS_CONTROL: Acs = Acs(1 << 5);
    /// Direct Translated P2P: requests with translated addresses go to a peer in spite of the two above.
    pub const DIRECT_TRANSLATED: Acs = Acs(1 << 6);
    /// All of them.
    pub const ALL: Acs = Acs(0x7f);

    /// Are all services of `other` in the set?
    pub const fn contains(self, other: Acs) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is the set empty?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Acs {
    type Output = Acs;

    fn bitor(self, other: Acs) -> Acs {
        Acs(self.0 | other.0)
    }
}

/// Description of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcsCapability {
    /// The services that software can turn on.
    pub services: Acs,
    /// Number of bits in Egress Control Vector: as many as the switch or root complex has ports, 1 to 32. Without egress control it's ignored.
    pub egress_ports: u8,
}

impl Capability for AcsCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        let services = u32::from(self.services.0 & Acs::ALL.0);
        let controlled = self.services.contains(Acs::EGRESS_CONTROL);
        if controlled && !(1..=32).contains(&self.egress_ports) {
            return Err(ConfigError::Value {
                field: "Egress Control Vector Size",
                value: u64::from(self.egress_ports),
                allowed: "1 to 32",
            });
        }
        let size = if controlled { u32::from(self.egress_ports) } else { 0 };
        let vector = u32::MAX.checked_shr(32 - size).unwrap_or(0);
        let mut rows =
            vec![Row::new(CONTROL, "ACS Capability, ACS Control", services | size << 8, services << 16, 0, 0, 0)];
        let mut watches = vec![Watch::changed(CONTROL, services << 16, Changed::ACS)];
        if controlled {
            rows.push(Row::new(VECTOR, "Egress Control Vector", 0, vector, 0, 0, 0));
            watches.push(Watch::changed(VECTOR, vector, Changed::ACS));
        }
        let length = if controlled { 12 } else { 8 };
        Ok(CapabilityLayout { id: CapabilityId::ACS, length, rows, watches, legal: Vec::new() })
    }
}

/// What the capability says. Without it: nothing is on.
impl ConfigSpace {
    /// The services that are on.
    pub fn acs(&self) -> Acs {
        let at = self.located.acs;
        if at == 0 { Acs::NONE } else { Acs((self.dword(at + CONTROL) >> 16) as u8 & Acs::ALL.0) }
    }

    /// Does Egress Control Vector name port `number`?
    pub fn acs_controls(&self, number: usize) -> bool {
        let at = self.located.acs;
        let vector = if at != 0 && self.dword(at + CONTROL) & u32::from(Acs::EGRESS_CONTROL.0) != 0 {
            self.dword(at + VECTOR)
        } else {
            0
        };
        u32::try_from(number).ok().and_then(|number| vector.checked_shr(number)).unwrap_or(0) & 1 != 0
    }
}
