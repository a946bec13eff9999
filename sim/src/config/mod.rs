//! PCI configuration space, the device's side: registers as data, headers, and capabilities.
//!
//! A function's owner builds a [`ConfigSpace`] from a header ([`Type0`] or [`Type1`]) and adds
//! capabilities to it. From then on the bus reads and writes dwords with byte enables, and the
//! owner asks what it needs to know: is bus mastering on, where is BAR 0, how large may a payload
//! be. [`ConfigSpace::write`] says in a [`Changed`] what the owner may have to act upon.
//!
//! ```
//! use mlx5_twin_sim::config::{Bar, BarKind, Changed, PcieCapability, PortType, Type0};
//!
//! let mut space = Type0 {
//!     vendor_id: 0x15b3,
//!     device_id: 0xa2dc,
//!     class_code: 0x02_0700,
//!     bars: [Some(Bar::memory64(32 << 20)), None, None, None, None, None],
//!     ..Type0::default()
//! }
//! .build()?;
//! space.add(&PcieCapability::new(PortType::Endpoint))?;
//!
//! space.write(0x10 / 4, 0xf, 0xffff_ffff); // how large is BAR 0?
//! assert_eq!(space.read(0x10 / 4), 0xfe00_000c);
//! space.write(0x10 / 4, 0xf, 0x8000_0000);
//! space.write(0x14 / 4, 0xf, 0);
//! assert!(space.bar(0).is_none()); // memory decoding is still off
//! assert_eq!(space.write(0x04 / 4, 0b0011, 0x0006), Changed::COMMAND);
//! assert_eq!(space.bar(0).map(|bar| (bar.base, bar.kind)), Some((0x8000_0000, BarKind::Memory64)));
//! # Ok::<(), mlx5_twin_sim::config::ConfigError>(())
//! ```
//!
//! Where the specification leaves behaviour open the choice is marked 'ours'. Section numbers are
//! those of the PCI Express Base Specification, revision 5.0, if nothing else is said.

pub mod capability;
mod changed;
mod dump;
mod error;
pub mod header;
pub mod space;

#[cfg(test)]
mod tests;

pub use capability::acs::{Acs, AcsCapability};
pub use capability::aer::{AerCapability, CorrectableError, ErrorMessage, Recorded, TlpLog, UncorrectableError};
pub use capability::ari::AriCapability;
pub use capability::dpc::{DpcCapability, DpcReason, RootPortPio, RootPortPioRecord};
pub use capability::msi::{MsiCapability, MsiMessage};
pub use capability::msix::MsixCapability;
pub use capability::msix_table::{MsixError, MsixMessage, MsixOutcome, MsixRegion, MsixTable, MsixWindow};
pub use capability::pcie::{CompletionTimeout, PcieCapability, PortType};
pub use capability::pm::{PowerCapability, PowerState};
pub use capability::slot::{Indicator, Slot, SlotEvent};
pub use capability::sriov::{PAGE_SIZES, SriovCapability, VfAperture};
pub use capability::vc::{MAX_CHANNELS, VcCapability, VcControl, VcResource};
pub use capability::{Capability, CapabilityId, CapabilityLayout};
pub use changed::{Changed, Trigger, Watch};
pub use dump::LspciDump;
pub use error::ConfigError;
pub use header::bar::{Bar, BarKind, BarRange};
pub use header::type0::Type0;
pub use header::type1::{Type1, Window};
pub use header::{Command, Status};
pub use space::{ConfigSpace, Legal, Reset, Row, byte_mask};
