//! Capabilities: each one a table of registers that is placed into a configuration space.
//!
//! The first dword of a table is the capability's header. Its id, version and link to the next one
//! are filled in when it is placed.

pub mod acs;
pub mod aer;
pub mod ari;
pub mod dpc;
pub mod msi;
pub mod msix;
pub mod msix_table;
pub mod pcie;
pub mod pm;
pub mod slot;
pub mod sriov;
pub mod vc;

use super::space::{Legal, Row};
use super::{ConfigError, Watch};

/// Which capability it is. The set is open: any number can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilityId {
    /// One of the PCI list, which starts at the Capabilities Pointer and lies below 0x100.
    Pci(u8),
    /// One of the PCI Express extended list, which starts at 0x100.
    Extended {
        /// PCI Express Extended Capability ID.
        id: u16,
        /// Capability Version, 4 bits. Not part of the identity.
        version: u8,
    },
}

impl CapabilityId {
    /// PCI Power Management Interface.
    pub const POWER_MANAGEMENT: CapabilityId = CapabilityId::Pci(0x01);
    /// Message Signalled Interrupts.
    pub const MSI: CapabilityId = CapabilityId::Pci(0x05);
    /// Vendor-specific.
    pub const VENDOR: CapabilityId = CapabilityId::Pci(0x09);
    /// PCI Express.
    pub const PCIE: CapabilityId = CapabilityId::Pci(0x10);
    /// MSI-X.
    pub const MSIX: CapabilityId = CapabilityId::Pci(0x11);
    /// Advanced Error Reporting.
    pub const AER: CapabilityId = CapabilityId::Extended { id: 0x0001, version: 2 };
    /// Access Control Services.
    pub const ACS: CapabilityId = CapabilityId::Extended { id: 0x000d, version: 1 };
    /// Downstream Port Containment.
    pub const DPC: CapabilityId = CapabilityId::Extended { id: 0x001d, version: 1 };
    /// Alternative Routing-ID Interpretation.
    pub const ARI: CapabilityId = CapabilityId::Extended { id: 0x000e, version: 1 };
    /// Single Root I/O Virtualization.
    pub const SRIOV: CapabilityId = CapabilityId::Extended { id: 0x0010, version: 1 };
    /// Virtual Channel, for a function without multi-function virtual channels.
    pub const VIRTUAL_CHANNEL: CapabilityId = CapabilityId::Extended { id: 0x0002, version: 1 };
    /// Vendor-specific extended capability.
    pub const VENDOR_EXTENDED: CapabilityId = CapabilityId::Extended { id: 0x000b, version: 1 };

    /// Is it the same capability, of whatever version?
    pub fn same_as(self, other: CapabilityId) -> bool {
        match (self, other) {
            (CapabilityId::Pci(one), CapabilityId::Pci(two)) => one == two,
            (CapabilityId::Extended { id: one, .. }, CapabilityId::Extended { id: two, .. }) => one == two,
            _ => false,
        }
    }

    /// Has a function at most one of it? Only the vendor-specific ones can be there several times.
    pub(super) fn is_unique(self) -> bool {
        !self.same_as(CapabilityId::VENDOR) && !self.same_as(CapabilityId::VENDOR_EXTENDED)
    }
}

/// A capability as data: its registers, what to report when they are written, legal values.
#[derive(Clone, Debug)]
pub struct CapabilityLayout {
    /// Which one it is.
    pub id: CapabilityId,
    /// Length in bytes, at least 4.
    pub length: u16,
    /// Its dwords. Those without a row read 0.
    pub rows: Vec<Row>,
    /// What a write reports.
    pub watches: Vec<Watch>,
    /// Fields that don't take every value.
    pub legal: Vec<Legal>,
}

/// Something that describes a capability. A [`CapabilityLayout`] describes itself, for
/// capabilities that this crate doesn't know.
pub trait Capability {
    /// The registers.
    ///
    /// # Errors
    /// The rule that the description breaks.
    fn layout(&self) -> Result<CapabilityLayout, ConfigError>;
}

impl Capability for CapabilityLayout {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        Ok(self.clone())
    }
}

/// Adds bits to the reset value and to the writable mask of the row at `offset`.
fn amend(rows: &mut [Row], offset: u16, reset: u32, rw: u32) {
    for row in rows.iter_mut().filter(|row| row.offset == offset) {
        row.reset |= reset;
        row.rw |= rw;
    }
}
