//! The parts of a profile file that describe the device: `[device]`, `[port]`, `[ethernet]`, `[capabilities.*]`, `[pages]`,
//! `[firmware_timing]` and `[timeouts]`, and what is around it: `[fabric]`.
//!
//! A profile is a TOML file; other sections of it belong to other crates. Every section refuses
//! keys it doesn't know and checks its own ranges; [`Capabilities::build`] and [`Profile::bar0`]
//! check what only makes sense together.

mod bar0;
mod capabilities;
mod device;
mod ethernet;
pub(crate) mod fabric;
mod pages;
mod port;
mod timeouts;
mod timing;

use core::fmt::Display;

use mlx5_twin_fw_cmds::constants::{PORT_TYPE_ETH, PORT_TYPE_IB};
use mlx5_twin_fw_cmds::layout::cmd_hca_cap;
use mlx5_twin_sim::fabric::rules::Rule;
use mlx5_twin_sim::profile::{OutOfRange, Timing, Topology};
use mlx5_twin_sim::topology::SpecError;
use serde::Deserialize;
use thiserror::Error;

pub use bar0::{Bar0Map, Window};
pub use capabilities::{
    CAP_PAGE_BYTES, Capabilities, CapabilityMap, CapabilitySections, CapabilityValue, GATES, Gate, SECTIONS, Section,
};
pub use device::{Device, FirmwareVersion};
pub use ethernet::{Ethernet, EthernetSpeed};
pub use fabric::{FabricIdentity, FabricSection};
pub use pages::{MAX_PAGES, MAX_RUNTIME_PAGES, PagesWanted};
pub use port::{LinkSpeed, NODE_DESCRIPTION_BYTES, Port, PortState};
pub(crate) use port::{gid_table_len, pkey_table_len};
pub use timeouts::Timeouts;
pub use timing::{FirmwareTiming, MAX_COMMAND_NS};

/// What the model takes from a profile file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// `[device]`: the PCI function and what it says about itself.
    pub device: Device,
    /// `[port]`: the port; what is InfiniBand's own in it means nothing for one of type Ethernet.
    pub port: Port,
    /// `[ethernet]`: the port, if it's of type Ethernet.
    pub ethernet: Option<Ethernet>,
    /// `[capabilities.*]`: the capability pages.
    pub capabilities: CapabilitySections,
    /// `[pages]`: host memory the firmware asks for.
    pub pages: PagesWanted,
    /// `[firmware_timing]`: how long commands take.
    pub firmware_timing: FirmwareTiming,
    /// `[timeouts]`: how long a driver is to wait, if the device says so.
    pub timeouts: Option<Timeouts>,
    /// `[topology]`: the card, and the links of both its sides.
    pub topology: Topology,
    /// `[fabric]`: what there is beside the card, and where the card is in it.
    pub fabric: FabricSection,
    /// `[timing]`: how long things take on the fabric.
    pub timing: Timing,
    /// `[[faults]]`: what goes wrong on the fabric.
    pub faults: Vec<Rule>,
}

impl Profile {
    /// Checks every section on its own and all together.
    ///
    /// # Errors
    /// The first rule that is broken, with section, field, value and what is allowed.
    pub fn validate(&self) -> Result<(), ProfileError> {
        self.device.validate()?;
        self.port.validate()?;
        if let Some(ethernet) = &self.ethernet {
            ethernet.validate()?;
        }
        self.pages.validate()?;
        self.firmware_timing.validate()?;
        if let Some(timeouts) = &self.timeouts {
            timeouts.validate()?;
        }
        self.topology.validate()?;
        self.check_fabric()?;
        self.timing.validate()?;
        let capabilities = Capabilities::build(&self.capabilities)?;
        self.port.fits(&capabilities)?;
        self.port_type_fits(&capabilities)?;
        self.pages.fits(&capabilities)?;
        self.bar0(&capabilities).map(drop)
    }

    /// Checks that the section of the port's type is there, and no other.
    fn port_type_fits(&self, capabilities: &Capabilities) -> Result<(), ProfileError> {
        let port_type = capabilities.general_max(cmd_hca_cap::PORT_TYPE);
        in_range("capabilities.general.port_type", port_type, PORT_TYPE_IB.into(), PORT_TYPE_ETH.into())?;
        rule(
            self.ethernet.is_some() == (port_type == u64::from(PORT_TYPE_ETH)),
            "capabilities.general.port_type",
            port_type,
            "1 (Ethernet) needs a section [ethernet], and only 1 may have one",
        )
    }

    /// Where everything is in BAR0.
    ///
    /// # Errors
    /// [`ProfileError::OutsideBar`], [`ProfileError::Overlap`], [`ProfileError::Rule`].
    pub fn bar0(&self, capabilities: &Capabilities) -> Result<Bar0Map, ProfileError> {
        Bar0Map::new(&self.device, capabilities)
    }
}

/// Why a profile can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// A number is outside its range.
    #[error("{field} = {value}: allowed is {min} to {max}")]
    OutOfRange {
        /// Section and field.
        field: String,
        /// The value in the profile.
        value: i128,
        /// Smallest value allowed.
        min: i128,
        /// Largest value allowed.
        max: i128,
    },
    /// A number of `[topology]` or `[timing]` is outside its range.
    #[error(transparent)]
    Fabric(#[from] OutOfRange),
    /// The fabric was built without the card (that can't be).
    #[error("the fabric has no card")]
    NoCard,
    /// Something in `[fabric]` can't be.
    #[error(transparent)]
    Topology(#[from] Box<SpecError>),
    /// A value breaks a rule that is no range.
    #[error("{field} = {value}: {rule}")]
    Rule {
        /// Section and field.
        field: String,
        /// The value in the profile.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A capability section names a field that its page does not have.
    #[error("{field}: {layout} of Linux's mlx5_ifc.h has no such field")]
    UnknownField {
        /// Section and field.
        field: String,
        /// Name of the page's layout.
        layout: &'static str,
    },
    /// A capability's value has more bits than its field.
    #[error("{field} = {value:#x}: the field has {width} bits")]
    TooWide {
        /// Section and field.
        field: String,
        /// The value in the profile.
        value: u64,
        /// Width of the field in bits.
        width: u32,
    },
    /// A list has another length than the field.
    #[error("{field}: the field takes {expected}, the profile has {found}")]
    Shape {
        /// Section and field.
        field: String,
        /// What the field takes.
        expected: String,
        /// What the profile has.
        found: String,
    },
    /// A bit says that there is a capability page, and the profile has no section for it.
    #[error("{gate} says there is a capability page {section}, but the profile has no such section")]
    SectionMissing {
        /// Section and field of the bit.
        gate: String,
        /// The section that is missing.
        section: String,
    },
    /// A region does not lie inside BAR0.
    #[error("{region} is {start:#x}..{end:#x}, BAR0 ends at {size:#x} (device.bar0_size)")]
    OutsideBar {
        /// What the region is, and the fields that place it.
        region: &'static str,
        /// First byte.
        start: u64,
        /// End, exclusive.
        end: u64,
        /// Size of BAR0.
        size: u64,
    },
    /// Two regions of BAR0 overlap.
    #[error("{first} overlaps {second}: both have byte {at:#x} of BAR0")]
    Overlap {
        /// What the first region is, and the fields that place it.
        first: &'static str,
        /// What the second region is, and the fields that place it.
        second: &'static str,
        /// The first byte both have.
        at: u64,
    },
    /// `firmware_timing.commands` names a command that mlx5 does not have.
    #[error("firmware_timing.commands.{name}: no command of Linux's mlx5_ifc.h has this name")]
    UnknownCommand {
        /// The name in the profile.
        name: String,
    },
    /// A page can't be added: there is one of this type.
    #[error("capability type {cap_type:#x} has a page already")]
    PageTaken {
        /// The capability type.
        cap_type: u16,
    },
    /// A capability page is longer than an answer can hold.
    #[error("capability page of {len} bytes: allowed is up to {CAP_PAGE_BYTES}")]
    PageTooLong {
        /// Its length.
        len: usize,
    },
}

/// Checks that a number is in its range.
pub(crate) fn in_range<T>(field: &str, value: T, min: T, max: T) -> Result<(), ProfileError>
where
    T: Copy + PartialOrd + Into<i128>,
{
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let (value, min, max) = (value.into(), min.into(), max.into());
    Err(ProfileError::OutOfRange { field: field.to_owned(), value, min, max })
}

/// Checks a rule that is no range.
pub(crate) fn rule(holds: bool, field: &str, value: impl Display, rule: &'static str) -> Result<(), ProfileError> {
    if holds {
        return Ok(());
    }
    Err(ProfileError::Rule { field: field.to_owned(), value: value.to_string(), rule })
}

#[cfg(test)]
mod tests;
