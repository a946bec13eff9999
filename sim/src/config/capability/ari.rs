//! Alternative Routing-ID Interpretation (section 7.8.8): functions of one device beyond the eighth, chained by their numbers.

use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of ARI Capability, with ARI Control in the high half.
const CAPABILITY: u16 = 0x04;
/// Length in bytes.
const LENGTH: u16 = 0x08;

/// Description of the capability. There are no function groups, so that nothing in it can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AriCapability {
    /// Next Function Number: that of the next higher function of the device, 0 in the last one and in virtual functions.
    pub next_function: u8,
}

impl Capability for AriCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        let row = Row::new(CAPABILITY, "ARI Capability, ARI Control", u32::from(self.next_function) << 8, 0, 0, 0, 0);
        Ok(CapabilityLayout {
            id: CapabilityId::ARI,
            length: LENGTH,
            rows: vec![row],
            watches: Vec::new(),
            legal: Vec::new(),
        })
    }
}

impl ConfigSpace {
    /// Next Function Number of the ARI capability; 0 in the last function. `None` without the capability.
    pub fn ari_next_function(&self) -> Option<u8> {
        let at = self.find(CapabilityId::ARI)?;
        Some((self.dword(at + CAPABILITY) >> 8) as u8)
    }
}
