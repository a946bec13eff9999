//! SET_FLOW_TABLE_ENTRY and DELETE_FLOW_TABLE_ENTRY: which packets an entry of a flow table takes, and what becomes of them.
//!
//! Packets are let pass, dropped, or sent on to tables and receive queues, and may be counted. What changes packets (headers, VLANs,
//! encryption) is not in the model.

use mlx5_twin_fw_cmds::constants::{
    FLOW_ALLOW, FLOW_COUNT, FLOW_DESTINATION_TABLE, FLOW_DESTINATION_TIR, FLOW_DROP, FLOW_FORWARD, FLOW_MODIFY_ACTION,
    FLOW_MODIFY_COUNTERS, FLOW_MODIFY_DESTINATIONS, FLOW_MODIFY_TAG,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    delete_fte_in, dest_format_struct, flow_context, flow_counter_list, flow_table_prop_layout as properties,
    set_fte_in,
};

use super::flow_table::{TableFields, group_of, is_after, own_table, property, receives, table_fields};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, FlowEntry, FlowTable, Held};

const CONTEXT: u32 = set_fte_in::FLOW_CONTEXT.bits();

/// Bytes of an element of the lists behind the context.
const ELEMENT: usize = dest_format_struct::SIZE;

/// `op_mod`: make an entry, or change one (`mlx5_cmd_update_fte` of the driver's `fs_cmd.c`).
const MAKE: u16 = 0;
const CHANGE: u16 = 1;

/// What can be changed of an entry: the bit that says so.
const MODIFIABLE: u8 =
    1 << FLOW_MODIFY_ACTION | 1 << FLOW_MODIFY_TAG | 1 << FLOW_MODIFY_DESTINATIONS | 1 << FLOW_MODIFY_COUNTERS;

pub(in super::super) fn set(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if !matches!(command.op_mod(), MAKE | CHANGE) {
        return Err(Failure::OP_MOD);
    }
    let (id, table) = own_table(firmware, command, &table_fields!(set_fte_in))?;
    let index: u32 = command.get(set_fte_in::FLOW_INDEX)?;
    let there = table.entries.get(&index).copied();
    match (command.op_mod(), there) {
        (MAKE, Some(_)) => Err(Failure::FLOW_ENTRY_TAKEN),
        (MAKE, None) => {
            let entry = new(firmware, command, id, index)?;
            check(firmware, command, table, &entry)?;
            let number = firmware.resources.add(command.actor(), entry)?;
            let table = firmware.resources.flow_table_mut(id).ok_or(Failure::INTERNAL)?;
            table.entries.insert(index, number);
            Ok(Effect::None)
        }
        (_, None) => Err(Failure::FLOW_ENTRY_UNKNOWN),
        (_, Some(number)) => {
            let entry = changed(firmware, command, table, number)?;
            check(firmware, command, table, &entry)?;
            firmware.resources.replace(number, entry)?;
            Ok(Effect::None)
        }
    }
}

/// The entry that a command describes.
fn new(firmware: &Firmware, command: &Command<'_>, table: u32, index: u32) -> Result<FlowEntry, Failure> {
    let context = Context::read(&[flow_context::LAYOUT], command.bytes(), CONTEXT)?;
    let number = context.get32(flow_context::GROUP_ID);
    let group = group_of(firmware, command, table, number).ok_or(Failure::FLOW_ENTRY_INDEX)?;
    if !(group.first..=group.last).contains(&index) {
        return Err(Failure::FLOW_ENTRY_INDEX);
    }
    let (destinations, counters) = lists(command)?;
    Ok(FlowEntry { group: number, context, destinations, counters })
}

/// What an entry becomes by a command.
fn changed(firmware: &Firmware, command: &Command<'_>, table: &FlowTable, number: u32) -> Result<FlowEntry, Failure> {
    let mask: u8 = command.get(set_fte_in::MODIFY_ENABLE_MASK)?;
    let allowed = property(firmware, table.table_type, properties::FLOW_MODIFY_EN) != 0;
    if !allowed || mask & !MODIFIABLE != 0 {
        return Err(Failure::FLOW_ENTRY_MODIFY);
    }
    let mut entry = firmware.resources.owned::<FlowEntry>(number, command.actor())?.clone();
    let (destinations, counters) = lists(command)?;
    let mut take = |bit: u8, field: Field| -> Result<bool, Failure> {
        let selected = mask & 1 << bit != 0;
        if selected {
            entry.context.copy(field, command.bytes(), CONTEXT)?;
        }
        Ok(selected)
    };
    take(FLOW_MODIFY_ACTION, flow_context::ACTION)?;
    take(FLOW_MODIFY_TAG, flow_context::FLOW_TAG)?;
    let goes_elsewhere = take(FLOW_MODIFY_DESTINATIONS, flow_context::DESTINATION_LIST_SIZE)?;
    let counts_elsewhere = take(FLOW_MODIFY_COUNTERS, flow_context::FLOW_COUNTER_LIST_SIZE)?;
    if goes_elsewhere {
        entry.destinations = destinations;
    }
    if counts_elsewhere {
        entry.counters = counters;
    }
    Ok(entry)
}

/// The lists of destinations and counters behind the context.
fn lists(command: &Command<'_>) -> Result<(Vec<Held>, Vec<u32>), Failure> {
    let size = |field: Field| command.get::<usize>(field.within(CONTEXT));
    let destinations = size(flow_context::DESTINATION_LIST_SIZE)?;
    let counters = size(flow_context::FLOW_COUNTER_LIST_SIZE)?;
    let rest = command.bytes().get(set_fte_in::SIZE..).unwrap_or_default();
    let rest = rest.get(..(destinations + counters) * ELEMENT).ok_or(Failure::INPUT_TOO_SHORT)?;
    let (to, counted) = rest.split_at(destinations * ELEMENT);
    let to = to.chunks_exact(ELEMENT).map(|bytes| destination(&Command::new(bytes))).collect::<Result<_, _>>()?;
    let counter = |bytes: &[u8]| Command::new(bytes).get(flow_counter_list::FLOW_COUNTER_ID);
    let counted = counted.chunks_exact(ELEMENT).map(counter).collect::<Result<_, _>>()?;
    Ok((to, counted))
}

/// One element of the list of destinations.
fn destination(element: &Command<'_>) -> Result<Held, Failure> {
    use dest_format_struct::{
        DESTINATION_ESWITCH_OWNER_VHCA_ID_VALID, DESTINATION_ID, DESTINATION_TYPE, PACKET_REFORMAT,
    };
    if element.flag(DESTINATION_ESWITCH_OWNER_VHCA_ID_VALID)? || element.flag(PACKET_REFORMAT)? {
        return Err(Failure::FLOW_ENTRY_DESTINATION);
    }
    let id = element.get(DESTINATION_ID)?;
    match element.get(DESTINATION_TYPE)? {
        FLOW_DESTINATION_TABLE => Ok(Held::FlowTable(id)),
        FLOW_DESTINATION_TIR => Ok(Held::Tir(id)),
        _ => Err(Failure::FLOW_ENTRY_DESTINATION),
    }
}

/// Checks what an entry does: one of pass, drop and send on, and the lists are there that this needs.
fn check(firmware: &Firmware, command: &Command<'_>, table: &FlowTable, entry: &FlowEntry) -> Result<(), Failure> {
    let has = |field| property(firmware, table.table_type, field);
    let action = u16::try_from(entry.context.get(flow_context::ACTION)).unwrap_or(u16::MAX);
    let does = |bit: u16| action & bit != 0;
    let one = [FLOW_ALLOW, FLOW_DROP, FLOW_FORWARD].into_iter().filter(|bit| does(*bit)).count() == 1;
    let known = action & !(FLOW_ALLOW | FLOW_DROP | FLOW_FORWARD | FLOW_COUNT) == 0;
    let option = entry.context.flag(flow_context::EXTENDED_DESTINATION);
    if !one || !known || option || does(FLOW_COUNT) && has(properties::FLOW_COUNTER) == 0 {
        return Err(Failure::FLOW_ENTRY_ACTION);
    }
    let fits = |list: usize, wanted: bool, log_most: u64| {
        (list > 0) == wanted && list as u64 <= 1u64.checked_shl(log_most as u32).unwrap_or(u64::MAX)
    };
    if !fits(entry.destinations.len(), does(FLOW_FORWARD), has(properties::LOG_MAX_DESTINATION))
        || !fits(entry.counters.len(), does(FLOW_COUNT), has(properties::LOG_MAX_FLOW_COUNTER))
    {
        return Err(Failure::FLOW_ENTRY_DESTINATION);
    }
    // A table of no higher level may come next where levels may be ignored.
    let ignore = command.flag(set_fte_in::IGNORE_FLOW_LEVEL)?;
    if ignore && has(properties::IGNORE_FLOW_LEVEL) == 0 {
        return Err(Failure::FLOW_ENTRY_DESTINATION);
    }
    for destination in &entry.destinations {
        let good = match destination {
            Held::FlowTable(id) => match firmware.resources.of::<FlowTable>().get(*id) {
                Some((_, next)) if ignore => next.table_type == table.table_type,
                Some((_, next)) => is_after(next, table.table_type, &table.context),
                // That it's unknown is said when it's used.
                None => true,
            },
            _ => receives(table.table_type),
        };
        if !good {
            return Err(Failure::FLOW_ENTRY_DESTINATION);
        }
    }
    Ok(())
}

pub(in super::super) fn delete(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let (id, table) = own_table(firmware, command, &table_fields!(delete_fte_in))?;
    let index: u32 = command.get(delete_fte_in::FLOW_INDEX)?;
    let number = table.entries.get(&index).copied().ok_or(Failure::FLOW_ENTRY_UNKNOWN)?;
    firmware.resources.remove::<FlowEntry>(number, command.actor())?;
    let table = firmware.resources.flow_table_mut(id).ok_or(Failure::INTERNAL)?;
    table.entries.remove(&index);
    Ok(Effect::None)
}
