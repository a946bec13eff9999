//! QUERY_HCA_CAP, SET_HCA_CAP.

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    Kind, Layout, atomic_caps, cmd_hca_cap, cmd_hca_cap_2, query_hca_cap_in, query_hca_cap_out, set_hca_cap_in,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::profile::CAP_PAGE_BYTES;

/// Pages that can be set: those of which Linux's driver sets anything the model has
/// (`mlx5_ifc.h`, `MLX5_SET_HCA_CAP_OP_MOD_*`).
const SETTABLE_PAGES: &[CapType] = &[CapType::GENERAL, CapType::ATOMIC, CapType::GENERAL_2];

/// Fields that are sets of bits: lower means a part of the set.
const BIT_SETS: &[Field] = &[
    cmd_hca_cap::GENERAL_OBJ_TYPES,
    cmd_hca_cap::UCTX_CAP,
    cmd_hca_cap::STAT_RATE_SUPPORT,
    cmd_hca_cap::VHCA_TUNNEL_COMMANDS,
    cmd_hca_cap::MATCH_DEFINER_FORMAT_SUPPORTED,
    cmd_hca_cap::FLEX_PARSER_PROTOCOLS,
    cmd_hca_cap::FLOW_COUNTER_BULK_ALLOC,
    cmd_hca_cap_2::GENERAL_OBJ_TYPES_127_64,
    cmd_hca_cap_2::CROSS_VHCA_OBJECT_TO_OBJECT_SUPPORTED,
    cmd_hca_cap_2::ALLOWED_OBJECT_FOR_OTHER_VHCA_ACCESS,
    atomic_caps::ATOMIC_OPERATIONS,
    atomic_caps::ATOMIC_SIZE_QP,
    atomic_caps::ATOMIC_SIZE_DC,
];

/// A field that may be raised: if a gate says so, to a value of its own.
struct Settable {
    cap_type: CapType,
    field: Field,
    /// Field of the same page that must be 1.
    gate: Field,
    /// Largest value.
    most: u64,
}

/// Fields that don't tell what the device can do but what the driver chose.
const SETTABLE_FIELDS: &[Settable] = &[Settable {
    cap_type: CapType::ATOMIC,
    field: atomic_caps::ATOMIC_REQ_8B_ENDIANNESS_MODE,
    gate: atomic_caps::SUPPORTED_ATOMIC_REQ_8B_ENDIANNESS_MODE_1,
    most: 1,
}];

/// Shortest answer to QUERY_HCA_CAP: half of a page. rdma-core's tests ask through DEVX for as much (`mlx5_prm_structs.py`,
/// `QueryCmdHcaCapOut`), and real devices answer them. Less: ours.
pub(in super::super) const QUERY_BYTES: usize = query_hca_cap_out::CAPABILITY.offset as usize + CAP_PAGE_BYTES / 2;

/// Answers as much of the page as there is room for.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_hca_cap_in::{EC_VF_FUNCTION, FUNCTION_ID, FUNCTION_ID_TYPE, OTHER_FUNCTION};
    own_function(command, &[OTHER_FUNCTION, EC_VF_FUNCTION, FUNCTION_ID_TYPE, FUNCTION_ID])?;
    let (cap_type, mode) = CapType::from_op_mod(command.op_mod());
    let page = firmware.capabilities.page(cap_type, mode).ok_or(Failure::CAP_TYPE)?;
    let room = answer.bytes_mut().get_mut(query_hca_cap_out::CAPABILITY.offset as usize..).unwrap_or_default();
    let len = room.len().min(page.len());
    room[..len].copy_from_slice(&page[..len]);
    Ok(Effect::None)
}

/// Puts a whole page in force: CUR is what was written from then on, up to TEARDOWN_HCA.
pub(in super::super) fn set(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use set_hca_cap_in::{EC_VF_FUNCTION, FUNCTION_ID, FUNCTION_ID_TYPE, OTHER_FUNCTION};
    own_function(command, &[OTHER_FUNCTION, EC_VF_FUNCTION, FUNCTION_ID_TYPE, FUNCTION_ID])?;
    let (cap_type, mode) = CapType::from_op_mod(command.op_mod());
    if mode == CapMode::Current {
        return Err(Failure::OP_MOD);
    }
    let max = firmware.capabilities.page(cap_type, CapMode::Max).ok_or(Failure::CAP_TYPE)?;
    let layout = cap_type.layout().filter(|_| SETTABLE_PAGES.contains(&cap_type));
    let layout = layout.ok_or(Failure::CAP_READ_ONLY)?;
    let page = set_hca_cap_in::CAPABILITY.slice(command.bytes()).map_err(|error| Failure::of_input(&error))?;
    check(cap_type, layout, page, max)?;
    if !firmware.capabilities.set_current(cap_type, page) {
        return Err(Failure::INTERNAL);
    }
    Ok(Effect::None)
}

/// Checks that no field of `page` says more than `max` does, and that no reserved bit is set.
fn check(cap_type: CapType, layout: &Layout, page: &[u8], max: &[u8]) -> Result<(), Failure> {
    let mut rest = page.to_vec();
    for desc in layout.fields {
        if desc.kind != Kind::Uint {
            continue;
        }
        let field = Field { layout: layout.name, name: desc.name, offset: desc.offset, width: desc.width };
        let read = |bytes: &[u8]| field.get(bytes).map_err(|_| Failure::INTERNAL);
        let (value, most) = (read(page)?, read(max)?);
        let lower = if BIT_SETS.contains(&field) { value & !most == 0 } else { value <= most };
        if !lower && value > chosen(cap_type, field, max) {
            return Err(Failure::CAP_RAISED);
        }
        field.set(&mut rest, 0).map_err(|_| Failure::INTERNAL)?;
    }
    if rest.iter().any(|byte| *byte != 0) { Err(Failure::CAP_RESERVED) } else { Ok(()) }
}

/// How far the driver may raise a field.
fn chosen(cap_type: CapType, field: Field, max: &[u8]) -> u64 {
    let own = SETTABLE_FIELDS.iter().find(|own| own.cap_type == cap_type && own.field == field);
    match own {
        Some(own) if own.gate.get(max) == Ok(1) => own.most,
        _ => 0,
    }
}
