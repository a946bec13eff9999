//! CREATE, MODIFY and DESTROY_FLOW_TABLE, SET_FLOW_TABLE_ROOT, CREATE and DESTROY_FLOW_GROUP. The tables are the function's own, on
//! its way in and out; those of an e-switch are not in the model.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{FLOW_MISS_DEFAULT, FLOW_MISS_FORWARD, MODIFY_FLOW_TABLE_MISS};
use mlx5_twin_fw_cmds::field::{Bytes, Field};
use mlx5_twin_fw_cmds::layout::{
    create_flow_group_in, create_flow_group_out, create_flow_table_in, create_flow_table_out, destroy_flow_group_in,
    destroy_flow_table_in, flow_table_context, flow_table_nic_cap, flow_table_prop_layout as properties,
    modify_flow_table_in, set_flow_table_root_in,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::resources::{Context, FlowGroup, FlowTable};

/// The types of tables there are (`fs.h`, `enum fs_flow_table_type`), and where their properties are among the capabilities.
const TYPES: &[(u8, Bytes)] = &[
    (NIC_RX, flow_table_nic_cap::FLOW_TABLE_PROPERTIES_NIC_RECEIVE),
    (NIC_TX, flow_table_nic_cap::FLOW_TABLE_PROPERTIES_NIC_TRANSMIT),
    (RDMA_RX, flow_table_nic_cap::FLOW_TABLE_PROPERTIES_NIC_RECEIVE_RDMA),
    (RDMA_TX, flow_table_nic_cap::FLOW_TABLE_PROPERTIES_NIC_TRANSMIT_RDMA),
];

const NIC_RX: u8 = 0;
const NIC_TX: u8 = 1;
const RDMA_RX: u8 = 7;
const RDMA_TX: u8 = 8;

/// `op_mod` of SET_FLOW_TABLE_ROOT: what there is without any table (`mlx5_cmd_update_root_ft` of the driver's `fs_cmd.c`).
const ROOT_DEFAULT: u16 = 1;

/// Whether packets come in through tables of this type, so that they can go to a receive queue.
pub(super) fn receives(table_type: u8) -> bool {
    table_type == NIC_RX
}

/// A property of tables of this type; 0 if there are none.
pub(super) fn property(firmware: &Firmware, table_type: u8, field: Field) -> u64 {
    let base = TYPES.iter().find(|row| row.0 == table_type).map(|row| row.1.bits());
    base.map_or(0, |base| firmware.capabilities.max_field(CapType::FLOW_TABLE, field.within(base)))
}

/// Where a command says of which table it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableFields {
    pub(super) others: [Field; 4],
    pub(super) table_type: Field,
    pub(super) id: Field,
}

/// The fields of a layout; all commands have the same.
macro_rules! table_fields {
    ($layout:ident) => {
        TableFields {
            others: [
                $layout::OTHER_VPORT,
                $layout::OTHER_ESWITCH,
                $layout::VPORT_NUMBER,
                $layout::ESWITCH_OWNER_VHCA_ID,
            ],
            table_type: $layout::TABLE_TYPE,
            id: $layout::TABLE_ID,
        }
    };
}
pub(super) use table_fields;

/// The table that a command names, which must be the sender's own.
pub(super) fn own_table<'a>(
    firmware: &'a Firmware,
    command: &Command<'_>,
    fields: &TableFields,
) -> Result<(u32, &'a FlowTable), Failure> {
    own_function(command, &fields.others)?;
    let id: u32 = command.get(fields.id)?;
    let table = firmware.resources.owned::<FlowTable>(id, command.actor())?;
    if command.get::<u8>(fields.table_type)? != table.table_type {
        return Err(Failure::FLOW_TABLE_TYPE);
    }
    Ok((id, table))
}

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use create_flow_table_in as input;
    own_function(
        command,
        &[input::OTHER_VPORT, input::OTHER_ESWITCH, input::VPORT_NUMBER, input::ESWITCH_OWNER_VHCA_ID],
    )?;
    let table_type: u8 = command.get(input::TABLE_TYPE)?;
    let has = |field| property(firmware, table_type, field);
    if has(properties::FT_SUPPORT) == 0 {
        return Err(Failure::FLOW_TABLE_TYPE);
    }
    let context = Context::read(&[flow_table_context::LAYOUT], command.bytes(), input::FLOW_TABLE_CONTEXT.bits())?;
    let options = [
        (flow_table_context::REFORMAT_EN, has(properties::REFORMAT)),
        (flow_table_context::DECAP_EN, has(properties::DECAP)),
        (flow_table_context::TERMINATION_TABLE, has(properties::TERMINATION_TABLE)),
        (flow_table_context::SW_OWNER, 0),
        (flow_table_context::RTC_VALID, 0),
    ];
    if options.iter().any(|(field, capability)| context.flag(*field) && *capability == 0) {
        return Err(Failure::FLOW_TABLE_OPTION);
    }
    if context.get(flow_table_context::LEVEL) > has(properties::MAX_FT_LEVEL) {
        return Err(Failure::FLOW_TABLE_LEVEL);
    }
    if context.get(flow_table_context::LOG_SIZE) > has(properties::LOG_MAX_FT_SIZE) {
        return Err(Failure::FLOW_TABLE_SIZE);
    }
    check_miss(firmware, table_type, &context)?;
    let table = FlowTable { table_type, context, entries: BTreeMap::new() };
    let id = firmware.resources.add(command.actor(), table)?;
    answer.set(create_flow_table_out::TABLE_ID, id)?;
    Ok(Effect::None)
}

/// Checks where packets go that no entry takes. Whether there is such a table, and whose, is checked when it's used.
fn check_miss(firmware: &Firmware, table_type: u8, context: &Context) -> Result<(), Failure> {
    match u8::try_from(context.get(flow_table_context::TABLE_MISS_ACTION)) {
        Ok(FLOW_MISS_DEFAULT) => Ok(()),
        Ok(FLOW_MISS_FORWARD) => {
            let next = firmware.resources.of::<FlowTable>().get(context.get32(flow_table_context::TABLE_MISS_ID));
            match next {
                Some((_, next)) if !is_after(next, table_type, context) => Err(Failure::FLOW_TABLE_MISS),
                _ => Ok(()),
            }
        }
        _ => Err(Failure::FLOW_TABLE_MISS),
    }
}

/// Whether a table comes after one of that type and context: packets only go on, so that they come to an end.
pub(super) fn is_after(next: &FlowTable, table_type: u8, context: &Context) -> bool {
    let level = flow_table_context::LEVEL;
    next.table_type == table_type && next.context.get(level) > context.get(level)
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let (id, table) = own_table(firmware, command, &table_fields!(modify_flow_table_in))?;
    let mut table = table.clone();
    let allowed = property(firmware, table.table_type, properties::FLOW_TABLE_MODIFY) != 0;
    if !allowed || command.get::<u16>(modify_flow_table_in::MODIFY_FIELD_SELECT)? != MODIFY_FLOW_TABLE_MISS {
        return Err(Failure::FLOW_TABLE_MODIFY);
    }
    for field in [flow_table_context::TABLE_MISS_ACTION, flow_table_context::TABLE_MISS_ID] {
        table.context.copy(field, command.bytes(), modify_flow_table_in::FLOW_TABLE_CONTEXT.bits())?;
    }
    check_miss(firmware, table.table_type, &table.context)?;
    firmware.resources.replace(id, table)?;
    Ok(Effect::None)
}

/// If packets met this table first, they meet none from then on: Linux destroys its last table so.
pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let (id, _) = own_table(firmware, command, &table_fields!(destroy_flow_table_in))?;
    firmware.resources.remove::<FlowTable>(id, command.actor())?;
    firmware.resources.flow_roots.retain(|_, root| *root != id);
    Ok(Effect::None)
}

pub(in super::super) fn set_root(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use set_flow_table_root_in as input;
    if !matches!(command.op_mod(), 0 | ROOT_DEFAULT) {
        return Err(Failure::OP_MOD);
    }
    let others = [
        input::OTHER_VPORT,
        input::OTHER_ESWITCH,
        input::VPORT_NUMBER,
        input::ESWITCH_OWNER_VHCA_ID,
        input::TABLE_OF_OTHER_VPORT,
        input::TABLE_ESWITCH_OWNER_VHCA_ID_VALID,
    ];
    own_function(command, &others)?;
    let table_type: u8 = command.get(input::TABLE_TYPE)?;
    if property(firmware, table_type, properties::FT_SUPPORT) == 0 {
        return Err(Failure::FLOW_TABLE_TYPE);
    }
    let root = match command.op_mod() {
        0 => {
            let (id, _) = own_table(firmware, command, &table_fields!(set_flow_table_root_in))?;
            Some(id)
        }
        _ => None,
    };
    let needed = if root.is_some() { properties::MODIFY_ROOT } else { properties::RESET_ROOT_TO_DEFAULT };
    let changes = firmware.resources.flow_roots.contains_key(&table_type);
    if command.flag(input::UNDERLAY_QPN)? || changes && property(firmware, table_type, needed) == 0 {
        return Err(Failure::FLOW_TABLE_ROOT);
    }
    match root {
        Some(id) => firmware.resources.flow_roots.insert(table_type, id),
        None => firmware.resources.flow_roots.remove(&table_type),
    };
    Ok(Effect::None)
}

pub(in super::super) fn create_group(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use create_flow_group_in as input;
    let (table, found) = own_table(firmware, command, &table_fields!(create_flow_group_in))?;
    let options = [input::GROUP_TYPE, input::SOURCE_ESWITCH_OWNER_VHCA_ID_VALID, input::MATCH_DEFINER_ID];
    for option in options {
        if command.flag(option)? {
            return Err(Failure::FLOW_GROUP_OPTION);
        }
    }
    let (first, last): (u32, u32) = (command.get(input::START_FLOW_INDEX)?, command.get(input::END_FLOW_INDEX)?);
    if first > last || u64::from(last) >= found.size() {
        return Err(Failure::FLOW_GROUP_RANGE);
    }
    let overlaps = |group: &FlowGroup| group.table == table && group.first <= last && first <= group.last;
    if firmware.resources.of::<FlowGroup>().iter().any(|(_, _, group)| overlaps(group)) {
        return Err(Failure::FLOW_GROUP_OVERLAP);
    }
    let criteria = input::MATCH_CRITERIA.slice(command.bytes()).map_err(|error| Failure::of_input(&error))?;
    let enable = command.get(input::MATCH_CRITERIA_ENABLE)?;
    let group = FlowGroup { table, first, last, enable, criteria: criteria.into() };
    let id = firmware.resources.add(command.actor(), group)?;
    answer.set(create_flow_group_out::GROUP_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn destroy_group(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let (table, _) = own_table(firmware, command, &table_fields!(destroy_flow_group_in))?;
    let id: u32 = command.get(destroy_flow_group_in::GROUP_ID)?;
    group_of(firmware, command, table, id).ok_or(Failure::FLOW_GROUP_UNKNOWN)?;
    firmware.resources.remove::<FlowGroup>(id, command.actor())?;
    Ok(Effect::None)
}

/// The group with this number, if it's one of the table's.
pub(super) fn group_of<'a>(
    firmware: &'a Firmware,
    command: &Command<'_>,
    table: u32,
    id: u32,
) -> Option<&'a FlowGroup> {
    let group = firmware.resources.owned::<FlowGroup>(id, command.actor()).ok();
    group.filter(|group| group.table == table)
}
