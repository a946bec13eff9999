//! PCI Power Management Interface capability (section 7.5.2).

use super::super::changed::{Changed, Trigger, Watch};
use super::super::space::{ConfigSpace, Legal, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of Power Management Capabilities, in the high half.
const PMC: u16 = 0x00;
/// Offset of Power Management Control/Status.
const PMCSR: u16 = 0x04;
/// PMCSR: PowerState.
const STATE: u32 = 0b11;
/// PMCSR: No_Soft_Reset.
const NO_SOFT_RESET: u32 = 1 << 3;

#[rustfmt::skip]
const ROWS: [Row; 2] = [
    //       offset name                                reset        rw     rw1c sticky flr
    Row::new(PMC,   "Power Management Capabilities",    0x0003_0000, 0,     0,   0,     0),
    Row::new(PMCSR, "Power Management Control/Status",  0,           STATE, 0,   0,     0),
];

/// Description of the capability: D0 and D3hot, no PME, version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCapability {
    /// Does the function keep its state from D3hot to D0? If not, it is reset on the way.
    pub no_soft_reset: bool,
}

/// A function's power state. D1 and D2 are optional and not offered: writing them changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerState {
    /// Working.
    D0,
    /// Off, but for configuration requests: makes no requests, answers others with Unsupported Request.
    D3Hot,
}

impl Capability for PowerCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        let mut rows = ROWS.to_vec();
        let mut watches = vec![Watch::changed(PMCSR, STATE, Changed::POWER)];
        if self.no_soft_reset {
            super::amend(&mut rows, PMCSR, NO_SOFT_RESET, 0);
        } else {
            watches.push(Watch {
                offset: PMCSR,
                mask: STATE,
                trigger: Trigger::Transition { from: 3, to: 0 },
                topic: Changed::SOFT_RESET,
            });
        }
        Ok(CapabilityLayout {
            id: CapabilityId::POWER_MANAGEMENT,
            length: 8,
            rows,
            watches,
            legal: vec![Legal { offset: PMCSR, mask: STATE, values: 0b1001 }],
        })
    }
}

impl ConfigSpace {
    /// The power state; D0 without a power management capability.
    pub fn power_state(&self) -> PowerState {
        let at = self.located.power;
        if at != 0 && self.dword(at + PMCSR) & STATE == 3 { PowerState::D3Hot } else { PowerState::D0 }
    }
}
