//! The MSI capability (section 7.7.1): one vector with a 64-bit address, without per-vector masking.

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of Message Control, in the high half.
const CONTROL: u16 = 0x00;
/// Offset of Message Address.
const ADDRESS: u16 = 0x04;
/// Offset of Message Upper Address.
const ADDRESS_UPPER: u16 = 0x08;
/// Offset of Message Data.
const DATA: u16 = 0x0c;
/// MSI Enable.
const ENABLE: u32 = 1 << 16;
/// 64-bit Address Capable.
const WIDE: u32 = 1 << 23;

#[rustfmt::skip]
const ROWS: [Row; 4] = [
    //       offset         name                     reset  rw           rw1c sticky flr
    Row::new(CONTROL,       "Message Control",       WIDE,  ENABLE,      0,   0,     0),
    Row::new(ADDRESS,       "Message Address",       0,     0xffff_fffc, 0,   0,     0),
    Row::new(ADDRESS_UPPER, "Message Upper Address", 0,     0xffff_ffff, 0,   0,     0),
    Row::new(DATA,          "Message Data",          0,     0x0000_ffff, 0,   0,     0),
];

/// Description of the capability: there's nothing to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsiCapability;

/// An interrupt message as the host has set it up: a write of one dword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where to write.
    pub address: u64,
    /// What to write, 16 bits.
    pub data: u16,
}

impl Capability for MsiCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        Ok(CapabilityLayout {
            id: CapabilityId::MSI,
            length: 16,
            rows: ROWS.to_vec(),
            watches: vec![Watch::changed(CONTROL, ENABLE, Changed::MSI)],
            legal: Vec::new(),
        })
    }
}

impl ConfigSpace {
    /// The interrupt message, if MSI is on (MSI Enable). `None` without the capability.
    pub fn msi(&self) -> Option<MsiMessage> {
        let at = self.located.msi;
        if at == 0 || self.dword(at + CONTROL) & ENABLE == 0 {
            return None;
        }
        let address = u64::from(self.dword(at + ADDRESS_UPPER)) << 32 | u64::from(self.dword(at + ADDRESS));
        Some(MsiMessage { address, data: self.dword(at + DATA) as u16 })
    }
}
