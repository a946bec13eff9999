//! The registers of ports: of a root complex and of a switch.

use crate::config::{
    Acs, AcsCapability, AerCapability, ConfigError, ConfigSpace, DpcCapability, MsiCapability, PcieCapability,
    PortType, PowerCapability, Slot, Type1, VcCapability,
};
use crate::profile::{Link, VirtualChannels};

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

/// Bits of Egress Control Vector: ports of a switch or root complex that can be told apart there.
const EGRESS_PORTS: u8 = 32;

/// The configuration space of a port on `link`: a bridge with the capabilities PCI Express, power management and AER; one with the link below it
/// has access control and containment too, and a root port MSI. A root port has of access control only source
/// validation and translation blocking.
///
/// # Errors
/// A payload size that can't be expressed.
pub fn port_config(
    identity: PortIdentity,
    port: PortType,
    number: u8,
    link: &Link,
) -> Result<ConfigSpace, ConfigError> {
    build(identity, number, link, PcieCapability::new(port), port == PortType::RootPort)
}

/// As [`port_config`], with MSI whatever the port is: a downstream port tells of containment by it.
///
/// # Errors
/// A payload size that can't be expressed.
pub fn msi_port_config(
    identity: PortIdentity,
    port: PortType,
    number: u8,
    link: &Link,
) -> Result<ConfigSpace, ConfigError> {
    build(identity, number, link, PcieCapability::new(port), true)
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
    slot_port_config(identity, PortType::Downstream, number, link, slot)
}

/// The configuration space of a root port or of a downstream port of a switch with a slot: as [`port_config`], with MSI if it's a hot-plug slot. The
/// link is up if there's a device in the slot.
///
/// # Errors
/// A payload size, a number or a power limit that can't be expressed; a slot at another kind of port.
pub fn slot_port_config(
    identity: PortIdentity,
    port: PortType,
    number: u8,
    link: &Link,
    slot: Slot,
) -> Result<ConfigSpace, ConfigError> {
    let link_up = slot.present || !slot.hot_plug;
    build(
        identity,
        number,
        link,
        PcieCapability { slot: Some(slot), link_up, ..PcieCapability::new(port) },
        slot.hot_plug,
    )
}

fn build(
    identity: PortIdentity,
    number: u8,
    link: &Link,
    pcie: PcieCapability,
    msi: bool,
) -> Result<ConfigSpace, ConfigError> {
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
    add_channels(&mut config, &link.virtual_channels, true)?;
    if msi {
        config.add(&MsiCapability)?;
    }
    if downstream_facing {
        let sources = Acs::SOURCE_VALIDATION | Acs::TRANSLATION_BLOCKING;
        let services = if root_port { sources } else { Acs::ALL };
        config.add(&AcsCapability { services, egress_ports: EGRESS_PORTS })?;
        config.add(&DpcCapability { root_port, interrupt_message: 0 })?;
    }
    Ok(config)
}

/// Gives a function the registers of these virtual channels of its link, if there are any beyond VC0. Of a device it's function 0 that has them
/// (base specification 7.9.1). Ports that arbitrate among other ports, as those of switches do, say so.
///
/// # Errors
/// There's no room in the configuration space.
pub fn add_channels(
    config: &mut ConfigSpace,
    channels: &VirtualChannels,
    arbitrates_ports: bool,
) -> Result<(), ConfigError> {
    if channels.is_empty() {
        return Ok(());
    }
    let (extended, low_priority) = (channels.credits().len() as u8, channels.low_priority());
    config.add(&VcCapability { extended, low_priority, phases: channels.phases(), arbitrates_ports })?;
    Ok(())
}
