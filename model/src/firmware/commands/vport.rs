//! QUERY and MODIFY_HCA_VPORT_CONTEXT, QUERY_HCA_VPORT_GID, QUERY_HCA_VPORT_PKEY, QUERY_VPORT_COUNTER: the port as its driver
//! sees it. There is one virtual port, the function's own.

use mlx5_twin_fw_cmds::constants::POLICY_FOLLOW;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    hca_vport_context, modify_hca_vport_context_in, pkey, query_hca_vport_context_in, query_hca_vport_context_out,
    query_hca_vport_gid_in, query_hca_vport_gid_out, query_hca_vport_pkey_in, query_hca_vport_pkey_out,
    query_vport_counter_in,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::port::named_port;
use crate::profile::{gid_table_len, pkey_table_len};

/// Index that stands for all entries of a table (`vport.c`, `mlx5_query_hca_vport_gid`).
const ALL: u16 = 0xffff;

/// Checks that the command is about the function's own virtual port, and port 1.
fn own_vport(command: &Command<'_>, other: Field, number: Field, port: Field) -> Result<(), Failure> {
    own_function(command, &[other, number])?;
    named_port(command, port)
}

impl Firmware {
    /// The port's GIDs, all of the table: prefix and GUID of each, or zeros.
    pub(super) fn gids(&self) -> Result<Vec<[u8; 16]>, Failure> {
        let prefix = self.profile.port.prefix().map_err(|_| Failure::INTERNAL)?;
        let gid = |guid: u64| match guid {
            0 => [0; 16],
            guid => (u128::from(prefix) << 64 | u128::from(guid)).to_be_bytes(),
        };
        Ok(self.guids().map(gid).collect())
    }

    /// The port's GUIDs, all of the table.
    pub(super) fn guids(&self) -> impl Iterator<Item = u64> {
        let own = core::iter::once(self.profile.device.port_guid);
        let guids = own.chain(self.profile.port.alias_guids.iter().copied());
        guids.chain(core::iter::repeat(0)).take(gid_table_len(&self.capabilities))
    }

    /// The port's P_Keys, all of the table.
    pub(super) fn pkeys(&self) -> impl Iterator<Item = u16> {
        let pkeys = self.profile.port.pkeys.iter().copied();
        pkeys.chain(core::iter::repeat(0)).take(pkey_table_len(&self.capabilities))
    }
}

pub(in super::super) fn query_context(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use hca_vport_context as context;
    use query_hca_vport_context_in::{OTHER_VPORT, PORT_NUM, VPORT_NUMBER};
    own_vport(command, OTHER_VPORT, VPORT_NUMBER, PORT_NUM)?;
    let (device, profile, port) = (&firmware.profile.device, &firmware.profile.port, &firmware.port);
    let state = port.state().number();
    let fields = [
        (context::HAS_SMI, u64::from(profile.has_smi)),
        (context::PORT_PHYSICAL_STATE, port.physical_state().into()),
        (context::VPORT_STATE_POLICY, POLICY_FOLLOW.into()),
        (context::PORT_STATE, state.into()),
        (context::VPORT_STATE, state.into()),
        (context::SYSTEM_IMAGE_GUID, device.system_image_guid),
        (context::PORT_GUID, device.port_guid),
        (context::NODE_GUID, device.node_guid),
        (context::CAP_MASK1, port.cap_mask1.into()),
        (context::CAP_MASK1_FIELD_SELECT, profile.cap_mask1_writable.into()),
        (context::CAP_MASK2, profile.cap_mask2.into()),
        (context::LID, profile.lid.into()),
        (context::LMC, profile.lmc.into()),
        (context::SUBNET_TIMEOUT, profile.subnet_timeout.into()),
        (context::SM_LID, profile.sm_lid.into()),
        (context::SM_SL, profile.sm_sl.into()),
    ];
    for (field, value) in fields {
        answer.set(field.within(query_hca_vport_context_out::HCA_VPORT_CONTEXT.bits()), value)?;
    }
    Ok(Effect::None)
}

/// Changes the bits of `cap_mask1` that are selected. What `field_select` is for, GUIDs and policy, is only changed of virtual
/// ports of other functions.
pub(in super::super) fn modify_context(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use hca_vport_context as context;
    use modify_hca_vport_context_in::{OTHER_VPORT, PORT_NUM, VPORT_NUMBER};
    own_vport(command, OTHER_VPORT, VPORT_NUMBER, PORT_NUM)?;
    let within = |field: Field| field.within(modify_hca_vport_context_in::HCA_VPORT_CONTEXT.bits());
    if command.flag(within(context::FIELD_SELECT))? {
        return Err(Failure::VPORT_FIELD);
    }
    let select: u32 = command.get(within(context::CAP_MASK1_FIELD_SELECT))?;
    let writable = firmware.profile.port.cap_mask1_writable;
    if select & !writable != 0 || command.flag(within(context::CAP_MASK2_FIELD_SELECT))? {
        return Err(Failure::VPORT_CAP_MASK);
    }
    let value: u32 = command.get(within(context::CAP_MASK1))?;
    firmware.port.cap_mask1 = firmware.port.cap_mask1 & !select | value & select;
    Ok(Effect::None)
}

/// The entries of a table that an index asks for.
fn chosen<T: Copy>(table: Vec<T>, index: u16, beyond: Failure) -> Result<Vec<T>, Failure> {
    match index {
        ALL => Ok(table),
        index => table.get(usize::from(index)).map(|one| vec![*one]).ok_or(beyond),
    }
}

pub(in super::super) fn query_gid(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_hca_vport_gid_in::{GID_INDEX, OTHER_VPORT, PORT_NUM, VPORT_NUMBER};
    own_vport(command, OTHER_VPORT, VPORT_NUMBER, PORT_NUM)?;
    let gids = chosen(firmware.gids()?, command.get(GID_INDEX)?, Failure::GID_INDEX)?;
    let number = u16::try_from(gids.len()).map_err(|_| Failure::INTERNAL)?;
    let start = query_hca_vport_gid_out::GID.range().start;
    let room = answer.bytes_mut().get_mut(start..).unwrap_or_default();
    let room = room.get_mut(..16 * gids.len()).ok_or(Failure::OUTPUT_TOO_SHORT)?;
    room.copy_from_slice(gids.as_flattened());
    answer.set(query_hca_vport_gid_out::GIDS_NUM, number)?;
    Ok(Effect::None)
}

pub(in super::super) fn query_pkey(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_hca_vport_pkey_in::{OTHER_VPORT, PKEY_INDEX, PORT_NUM, VPORT_NUMBER};
    own_vport(command, OTHER_VPORT, VPORT_NUMBER, PORT_NUM)?;
    let pkeys = chosen(firmware.pkeys().collect(), command.get(PKEY_INDEX)?, Failure::PKEY_INDEX)?;
    if answer.len() - query_hca_vport_pkey_out::SIZE < pkey::SIZE * pkeys.len() {
        return Err(Failure::OUTPUT_TOO_SHORT);
    }
    let pkeys: Vec<u64> = pkeys.into_iter().map(u64::from).collect();
    answer.set_list(query_hca_vport_pkey_out::PKEY, &pkeys);
    Ok(Effect::None)
}

/// No packets move in the model: every count is 0, and there is nothing to clear.
pub(in super::super) fn query_counter(
    _: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_vport_counter_in::{OTHER_VPORT, PORT_NUM, VPORT_NUMBER};
    own_vport(command, OTHER_VPORT, VPORT_NUMBER, PORT_NUM)?;
    Ok(Effect::None)
}
