//! The Ethernet virtual port as its driver set it up: addresses, what packets it wants, RoCE.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::constants::{NIC_VPORT_LIST_MC, NIC_VPORT_LIST_UC, NIC_VPORT_LIST_VLAN};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{mac_address_layout, nic_vport_context};

use super::resources::Context;
use crate::profile::Profile;

/// The lists of a virtual port.
pub(super) const LISTS: [u8; 3] = [NIC_VPORT_LIST_UC, NIC_VPORT_LIST_MC, NIC_VPORT_LIST_VLAN];

/// All 48 bits of the MAC address.
pub(super) const MAC: Field =
    Field { width: 0x30, ..mac_address_layout::MAC_ADDR_47_32.within(nic_vport_context::PERMANENT_ADDRESS.bits()) };

/// What the driver can change of an Ethernet port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicVport {
    /// What is the same whichever list is asked for, a `nic_vport_context` without it.
    pub context: Context,
    /// The lists by type (`allowed_list_type`), each element as the command has it.
    pub lists: [Vec<u64>; 3],
    /// The RoCE addresses by index, each a `roce_addr_layout`; those that aren't there are none.
    pub roce: BTreeMap<u16, Context>,
    /// MTU in use, as the register PMTU has it.
    pub port_mtu: u16,
    /// Pause frames for all, sent and taken, and by priority, sent and taken (register PFCC).
    pub pause: [u8; 4],
}

impl NicVport {
    /// The port after power-on; none if it's of another type.
    pub(super) fn new(profile: &Profile) -> Option<NicVport> {
        let (device, ethernet) = (&profile.device, profile.ethernet.as_ref()?);
        let mut context = Context::new(nic_vport_context::LAYOUT);
        for (field, value) in [
            (MAC, ethernet.address().ok()?),
            (nic_vport_context::MTU, ethernet.mtu.into()),
            (nic_vport_context::SYSTEM_IMAGE_GUID, device.system_image_guid),
            (nic_vport_context::PORT_GUID, device.port_guid),
            (nic_vport_context::NODE_GUID, device.node_guid),
        ] {
            context.set(field, value).ok()?;
        }
        Some(NicVport {
            context,
            lists: Default::default(),
            roce: BTreeMap::new(),
            port_mtu: ethernet.mtu,
            pause: [0; 4],
        })
    }
}
