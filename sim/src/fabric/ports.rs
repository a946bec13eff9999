//! The registers of ports: of a root complex and of a switch.

use crate::config::{AerCapability, ConfigError, ConfigSpace, PcieCapability, PortType, PowerCapability, Type1};
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
    let PortIdentity { vendor_id, device_id, max_payload } = identity;
    let mut config = Type1 { vendor_id, device_id, ..Type1::default() }.build()?;
    config.add(&PowerCapability { no_soft_reset: true })?;
    config.add(&PcieCapability {
        max_payload,
        link_generation: link.generation,
        link_width: link.lanes,
        port_number: number,
        ..PcieCapability::new(port)
    })?;
    let root_port = port == PortType::RootPort;
    let downstream_facing = root_port || port == PortType::Downstream;
    config.add(&AerCapability { downstream_facing, root_port, ..AerCapability::default() })?;
    Ok(config)
}
