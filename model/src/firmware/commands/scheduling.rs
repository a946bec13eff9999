//! Scheduling elements, by commands of their own and as general objects: both name the same elements by the same numbers.

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{
    SCHEDULING_ELEMENT_TSAR, SCHEDULING_HIERARCHY_NIC, SCHEDULING_MODIFY_BW_SHARE, SCHEDULING_MODIFY_MAX_AVERAGE_BW,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_scheduling_element_in, create_scheduling_element_out, destroy_scheduling_element_in,
    general_obj_in_cmd_hdr, general_obj_out_cmd_hdr, modify_scheduling_element_in, qos_cap, sched_elem,
    scheduling_context, tsar_element,
};
use mlx5_twin_fw_cmds::object::ObjectType;

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, SchedulingElement};

/// Where a general object's body is in a command and in an answer.
const BODY: u32 = general_obj_in_cmd_hdr::SIZE as u32 * 8;

/// Bytes of a command, or an answer, with a general object's body.
const OBJECT_BYTES: usize = general_obj_in_cmd_hdr::SIZE + sched_elem::SIZE;

/// Where a command has what it says of an element.
struct Place {
    hierarchy: Field,
    select: Option<Field>,
    context: u32,
}

const CREATE: Place = Place {
    hierarchy: create_scheduling_element_in::SCHEDULING_HIERARCHY,
    select: None,
    context: create_scheduling_element_in::SCHEDULING_CONTEXT.bits(),
};

const MODIFY: Place = Place {
    hierarchy: modify_scheduling_element_in::SCHEDULING_HIERARCHY,
    select: Some(modify_scheduling_element_in::MODIFY_BITMASK),
    context: modify_scheduling_element_in::SCHEDULING_CONTEXT.bits(),
};

/// In a command of general objects. CREATE_GENERAL_OBJECT takes all fields, whatever is selected.
const OBJECT: Place = Place {
    hierarchy: sched_elem::SCHEDULING_HIERARCHY.within(BODY),
    select: Some(sched_elem::MODIFY_FIELD_SELECT.within(BODY)),
    context: BODY + sched_elem::SCHED_CONTEXT.bits(),
};

/// Fields that set how much an element gets: the capability each needs, and the bit that selects it.
const SHARES: &[(Field, Field, u64)] = &[
    (scheduling_context::BW_SHARE, qos_cap::NIC_BW_SHARE, SCHEDULING_MODIFY_BW_SHARE),
    (scheduling_context::MAX_AVERAGE_BW, qos_cap::NIC_RATE_LIMIT, SCHEDULING_MODIFY_MAX_AVERAGE_BW),
];

/// Whether scheduling elements are general objects here: the type's bit of `general_obj_types`.
pub(super) fn are_objects(firmware: &Firmware) -> bool {
    firmware.capabilities.general(cmd_hca_cap::GENERAL_OBJ_TYPES) >> ObjectType::SCHEDULING_ELEMENT.0 & 1 != 0
}

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let id = make(firmware, command, &CREATE)?;
    answer.set(create_scheduling_element_out::SCHEDULING_ELEMENT_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    change(firmware, command, &MODIFY, command.get(modify_scheduling_element_in::SCHEDULING_ELEMENT_ID)?)
}

pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    check_hierarchy(command.get(destroy_scheduling_element_in::SCHEDULING_HIERARCHY)?)?;
    let id = command.get(destroy_scheduling_element_in::SCHEDULING_ELEMENT_ID)?;
    firmware.resources.remove::<SchedulingElement>(id, command.actor())?;
    Ok(Effect::None)
}

pub(super) fn create_object(firmware: &mut Firmware, command: &Command<'_>, answer: &mut Answer<'_>) -> Outcome {
    check_input(command)?;
    let id = make(firmware, command, &OBJECT)?;
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    Ok(Effect::None)
}

pub(super) fn modify_object(firmware: &mut Firmware, command: &Command<'_>) -> Outcome {
    check_input(command)?;
    change(firmware, command, &OBJECT, command.get(general_obj_in_cmd_hdr::OBJ_ID)?)
}

pub(super) fn query_object(firmware: &Firmware, command: &Command<'_>, answer: &mut Answer<'_>) -> Outcome {
    let id = command.get(general_obj_in_cmd_hdr::OBJ_ID)?;
    let element: &SchedulingElement = firmware.resources.owned(id, command.actor())?;
    if answer.len() < OBJECT_BYTES {
        return Err(Failure::OUTPUT_TOO_SHORT);
    }
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    answer.set(OBJECT.hierarchy, SCHEDULING_HIERARCHY_NIC)?;
    answer.set_bytes(sched_elem::SCHED_CONTEXT.within(BODY), element.context.bytes())?;
    Ok(Effect::None)
}

pub(super) fn destroy_object(firmware: &mut Firmware, command: &Command<'_>) -> Outcome {
    let id = command.get(general_obj_in_cmd_hdr::OBJ_ID)?;
    firmware.resources.remove::<SchedulingElement>(id, command.actor())?;
    Ok(Effect::None)
}

/// A command that describes an object has all of the body.
fn check_input(command: &Command<'_>) -> Result<(), Failure> {
    if command.len() < OBJECT_BYTES { Err(Failure::INPUT_TOO_SHORT) } else { Ok(()) }
}

/// There's no e-switch: all elements are those of the function's own queues.
fn check_hierarchy(hierarchy: u8) -> Result<(), Failure> {
    if hierarchy == SCHEDULING_HIERARCHY_NIC { Ok(()) } else { Err(Failure::SCHEDULING_HIERARCHY) }
}

fn cap(firmware: &Firmware, field: Field) -> u64 {
    firmware.capabilities.max_field(CapType::QOS, field)
}

fn make(firmware: &mut Firmware, command: &Command<'_>, place: &Place) -> Result<u32, Failure> {
    check_hierarchy(command.get(place.hierarchy)?)?;
    let context = Context::read(&[scheduling_context::LAYOUT], command.bytes(), place.context)?;
    let element = SchedulingElement { context };
    check_type(firmware, &element)?;
    match element.parent() {
        None if element.is_tsar() => {}
        None => return Err(Failure::SCHEDULING_PARENT),
        Some(parent) => {
            let parent: &SchedulingElement = firmware.resources.named(parent, command.actor())?;
            if !parent.is_tsar() {
                return Err(Failure::SCHEDULING_PARENT);
            }
        }
    }
    check_shares(firmware, &element.context)?;
    if !element.is_tsar() {
        let groups = firmware.resources.of::<SchedulingElement>().iter().filter(|(_, _, other)| !other.is_tsar());
        if groups.count() as u64 >= 1 << cap(firmware, qos_cap::LOG_MAX_QOS_NIC_QUEUE_GROUP) {
            return Err(Failure::SCHEDULING_GROUPS);
        }
    }
    firmware.resources.add(command.actor(), element)
}

/// Checks that there are elements of this type, and if it shares bandwidth that it can do it in this way.
fn check_type(firmware: &Firmware, element: &SchedulingElement) -> Result<(), Failure> {
    const TSAR_TYPE: Field = tsar_element::TSAR_TYPE.within(scheduling_context::ELEMENT_ATTRIBUTES.bits());
    let offered = |set, number: u64| number < 16 && cap(firmware, set) >> number & 1 != 0;
    let kind = element.context.get(scheduling_context::ELEMENT_TYPE);
    let known = offered(qos_cap::NIC_ELEMENT_TYPE, kind)
        && (kind != u64::from(SCHEDULING_ELEMENT_TSAR)
            || offered(qos_cap::NIC_TSAR_TYPE, element.context.get(TSAR_TYPE)));
    if known { Ok(()) } else { Err(Failure::SCHEDULING_TYPE) }
}

fn check_shares(firmware: &Firmware, context: &Context) -> Result<(), Failure> {
    let lacking = SHARES.iter().any(|(field, need, _)| context.flag(*field) && cap(firmware, *need) == 0);
    let share = context.get(scheduling_context::BW_SHARE);
    if lacking || share > cap(firmware, qos_cap::MAX_TSAR_BW_SHARE) || context.flag(scheduling_context::MAX_BW_OBJ_ID) {
        return Err(Failure::SCHEDULING_SHARE);
    }
    Ok(())
}

/// Changes the selected fields of an element.
fn change(firmware: &mut Firmware, command: &Command<'_>, place: &Place, id: u32) -> Outcome {
    check_hierarchy(command.get(place.hierarchy)?)?;
    let select: u64 = place.select.map_or(Ok(0), |select| command.get(select))?;
    let mut element = firmware.resources.owned::<SchedulingElement>(id, command.actor())?.clone();
    let known = SHARES.iter().fold(0, |known, (_, _, bit)| known | bit);
    if select == 0 || select & !known != 0 {
        return Err(Failure::SCHEDULING_SELECT);
    }
    for (field, _, bit) in SHARES {
        if select & bit != 0 {
            element.context.copy(*field, command.bytes(), place.context)?;
        }
    }
    check_shares(firmware, &element.context)?;
    firmware.resources.replace(id, element)?;
    Ok(Effect::None)
}
