//! The registers of ports: of a root complex and of a switch.

use crate::config::{
    AerCapability, ConfigError, ConfigSpace, MsiCapability, PcieCapability, PortType, PowerCapability, Slot, Type1,
    VcCapability,
};
use crate::profile::Link;

/// What a port says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortIdentity {
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
    /// Largest `Max_Payload_Size` that it supports, in bytes.
    pub max_payload: u32,
}

/// The configuration space of a port on `link`: a bridge with the capabilities PCI Express, power management and AER.
///
/// # Errors
/// A payload size that can't be expressed.
pub fn port_config(
    identity: PortIdentity,
    port: PortType,
    number: u8,
    link: &Link,
) -> Result<ConfigSpace, ConfigError> {
    build(identity, number, link, PcieCapability::new(port))
}

/// The configuration space of a hot-plug port of a switch on `link`: as [`port_config`], with MSI and an empty slot that has an attention
/// button and a power controller. Its link is down.
///
/// # Errors
/// A payload size or a number that can't be expressed.
pub fn hot_plug_port_config(identity: PortIdentity, number: u8, link: &Link) -> Result<ConfigSpace, ConfigError> {
    let slot = Slot {
        number: u16::from(number) + 1,
        hot_plug: true,
        attention_button: true,
        power_controller: true,
        ..Slot::default()
    };
    let port = PcieCapability { slot: Some(slot), link_up: false, ..PcieCapability::new(PortType::Downstream) };
    let mut config = build(identity, number, link, port)?;
    config.add(&MsiCapability)?;
    Ok(config)
}

fn build(identity: PortIdentity, number: u8, link: &Link, pcie: PcieCapability) -> Result<ConfigSpace, ConfigError> {
    let PortIdentity { vendor_id, device_id, max_payload } = identity;
    let mut config = Type1 { vendor_id, device_id, ..Type1::default() }.build()?;
    config.add(&PowerCapability { no_soft_reset: true })?;
    config.add(&PcieCapability {
        max_payload,
        link_generation: link.generation,
        link_width: link.lanes,
        port_number: number,
        ..pcie
    })?;
    let port = pcie.port;
    let root_port = port == PortType::RootPort;
    let downstream_facing = root_port || port == PortType::Downstream;
    config.add(&AerCapability { downstream_facing, root_port, ..AerCapability::default() })?;
    let channels = &link.virtual_channels;
    if !channels.is_empty() {
        let (extended, low_priority) = (channels.credits().len() as u8, channels.low_priority());
        config.add(&VcCapability { extended, low_priority, arbitrates_ports: true })?;
    }
    Ok(config)
}
