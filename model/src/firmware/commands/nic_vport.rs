//! QUERY and MODIFY_NIC_VPORT_CONTEXT, QUERY_VPORT_STATE: an Ethernet port as its driver sees it. There is one virtual port, the
//! function's own.

use mlx5_twin_fw_cmds::constants::{
    NIC_VPORT_LIST_MC, NIC_VPORT_LIST_UC, NIC_VPORT_LIST_VLAN, VPORT_ADMIN_AUTO, VPORT_STATE_VNIC,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, modify_nic_vport_context_in, modify_nic_vport_field_select as select, nic_vport_context as context,
    query_nic_vport_context_in, query_nic_vport_context_out, query_vport_state_in, query_vport_state_out,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::nic_vport::{LISTS, MAC, NicVport};
use crate::profile::PortState;

/// What MODIFY_NIC_VPORT_CONTEXT can change beside the list: the bit that selects it, the fields, the capability that this needs.
/// GUIDs and inline mode are only changed of virtual ports of other functions (`vport.c` of Linux's driver).
#[rustfmt::skip]
const MODIFIABLE: &[(Field, &[Field], Option<Field>)] = &[
    (select::MTU, &[context::MTU], None),
    (select::PERMANENT_ADDRESS, &[MAC], None),
    (select::PROMISC, &[context::PROMISC_UC, context::PROMISC_MC, context::PROMISC_ALL], None),
    (select::ROCE_EN, &[context::ROCE_EN], Some(cmd_hca_cap::ROCE)),
    (select::DISABLE_UC_LOCAL_LB, &[context::DISABLE_UC_LOCAL_LB], Some(cmd_hca_cap::DISABLE_LOCAL_LB_UC)),
    (select::DISABLE_MC_LOCAL_LB, &[context::DISABLE_MC_LOCAL_LB], Some(cmd_hca_cap::DISABLE_LOCAL_LB_MC)),
];

/// All other bits that select something.
const REFUSED: &[Field] =
    &[select::AFFILIATION, select::NODE_GUID, select::PORT_GUID, select::MIN_INLINE, select::CHANGE_EVENT];

/// How long each list may be, as log2.
const LENGTHS: &[(u8, Field)] = &[
    (NIC_VPORT_LIST_UC, cmd_hca_cap::LOG_MAX_CURRENT_UC_LIST),
    (NIC_VPORT_LIST_MC, cmd_hca_cap::LOG_MAX_CURRENT_MC_LIST),
    (NIC_VPORT_LIST_VLAN, cmd_hca_cap::LOG_MAX_VLAN_LIST),
];

/// Bytes of an element of a list.
const ELEMENT: usize = 8;

/// The Ethernet port, if the port is one.
pub(super) fn ethernet_port(firmware: &mut Firmware) -> Result<&mut NicVport, Failure> {
    firmware.nic_vport.as_mut().ok_or(Failure::NIC_VPORT_TYPE)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_nic_vport_context_in::{ALLOWED_LIST_TYPE, OTHER_VPORT, VPORT_NUMBER};
    const BASE: u32 = query_nic_vport_context_out::NIC_VPORT_CONTEXT.bits();
    own_function(command, &[OTHER_VPORT, VPORT_NUMBER])?;
    let kind: u8 = command.get(ALLOWED_LIST_TYPE)?;
    let port = ethernet_port(firmware)?;
    let list = list_of(port, kind)?;
    // Who doesn't want the list leaves no room for it: then as much is told as there's room for.
    let room = (answer.len() - query_nic_vport_context_out::SIZE) / ELEMENT;
    let told = list.get(..list.len().min(room)).unwrap_or_default().to_vec();
    answer.set_bytes(query_nic_vport_context_out::NIC_VPORT_CONTEXT, port.context.bytes())?;
    answer.set(context::ALLOWED_LIST_TYPE.within(BASE), kind)?;
    answer.set(context::ALLOWED_LIST_SIZE.within(BASE), told.len() as u64)?;
    answer.set_list(context::CURRENT_UC_MAC_ADDRESS.within(BASE), &told);
    Ok(Effect::None)
}

/// A list of the port.
fn list_of(port: &mut NicVport, kind: u8) -> Result<&mut Vec<u64>, Failure> {
    let index = LISTS.iter().position(|list| *list == kind).ok_or(Failure::NIC_VPORT_LIST)?;
    port.lists.get_mut(index).ok_or(Failure::NIC_VPORT_LIST)
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use modify_nic_vport_context_in::{FIELD_SELECT, NIC_VPORT_CONTEXT, OTHER_VPORT, VPORT_NUMBER};
    const BASE: u32 = NIC_VPORT_CONTEXT.bits();
    own_function(command, &[OTHER_VPORT, VPORT_NUMBER])?;
    let selected = |bit: Field| command.flag(bit.within(FIELD_SELECT.bits()));
    for bit in REFUSED {
        if selected(*bit)? {
            return Err(Failure::NIC_VPORT_FIELD);
        }
    }
    let mut port = ethernet_port(firmware)?.clone();
    for (bit, fields, capability) in MODIFIABLE {
        if !selected(*bit)? {
            continue;
        }
        if capability.is_some_and(|capability| firmware.capabilities.general(capability) == 0) {
            return Err(Failure::NIC_VPORT_FIELD);
        }
        fields.iter().try_for_each(|field| port.context.copy(*field, command.bytes(), BASE))?;
    }
    let largest = firmware.profile.ethernet.as_ref().map_or(0, |ethernet| ethernet.max_mtu);
    if port.context.get(context::MTU) > u64::from(largest) {
        return Err(Failure::NIC_VPORT_MTU);
    }
    if selected(select::ADDRESSES_LIST)? {
        let kind: u8 = command.get(context::ALLOWED_LIST_TYPE.within(BASE))?;
        let length: u64 = command.get(context::ALLOWED_LIST_SIZE.within(BASE))?;
        let log = LENGTHS.iter().find(|row| row.0 == kind).ok_or(Failure::NIC_VPORT_LIST)?.1;
        if length > 1 << firmware.capabilities.general(log) {
            return Err(Failure::NIC_VPORT_LIST);
        }
        *list_of(&mut port, kind)? = command.list(context::CURRENT_UC_MAC_ADDRESS.within(BASE), length)?;
    }
    firmware.nic_vport = Some(port);
    Ok(Effect::None)
}

/// The virtual port is up if the physical one is.
pub(in super::super) fn query_state(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_vport_state_in::{OTHER_VPORT, VPORT_NUMBER};
    if command.op_mod() != VPORT_STATE_VNIC {
        return Err(Failure::OP_MOD);
    }
    own_function(command, &[OTHER_VPORT, VPORT_NUMBER])?;
    let up = firmware.port.state() == PortState::Active;
    answer.set(query_vport_state_out::ADMIN_STATE, VPORT_ADMIN_AUTO)?;
    answer.set(query_vport_state_out::STATE, up)?;
    Ok(Effect::None)
}
