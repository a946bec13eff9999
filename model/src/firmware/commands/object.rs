//! CREATE, MODIFY, QUERY and DESTROY_GENERAL_OBJECT.

use mlx5_twin_fw_cmds::layout::{general_obj_in_cmd_hdr, general_obj_out_cmd_hdr};
use mlx5_twin_fw_cmds::object::ObjectType;

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, scheduling};
use crate::firmware::resources::Object;

/// The type in a command's header, checked together with the rest of the header.
fn obj_type(firmware: &Firmware, command: &Command<'_>, objects: &dyn ObjectKinds) -> Result<ObjectType, Failure> {
    if command.flag(general_obj_in_cmd_hdr::VHCA_TUNNEL_ID)? {
        return Err(Failure::OBJECT_TUNNEL);
    }
    let obj_type = ObjectType(command.get(general_obj_in_cmd_hdr::OBJ_TYPE)?);
    // Those the firmware itself knows, then the others.
    let own = obj_type == ObjectType::SCHEDULING_ELEMENT && scheduling::are_objects(firmware);
    if !own && !objects.handles(obj_type) {
        return Err(Failure::OBJECT_TYPE);
    }
    if command.flag(general_obj_in_cmd_hdr::OP_PARAM)? {
        return Err(Failure::OBJECT_OPTION);
    }
    Ok(obj_type)
}

/// The object that a command names, which must be its actor's own, and be of that type.
fn own_object<'a>(
    firmware: &'a Firmware,
    command: &Command<'_>,
    obj_type: ObjectType,
) -> Result<(u32, &'a Object), Failure> {
    let id: u32 = command.get(general_obj_in_cmd_hdr::OBJ_ID)?;
    match firmware.resources.objects.get(id) {
        Some((_, object)) if object.kind == obj_type => {}
        _ => return Err(Failure::OBJECT_UNKNOWN),
    }
    Ok((id, firmware.resources.objects.owned(id, command.actor())?))
}

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    let obj_type = obj_type(firmware, command, objects)?;
    if obj_type == ObjectType::SCHEDULING_ELEMENT {
        return scheduling::create_object(firmware, command, answer);
    }
    let uid = command.uid();
    let id = firmware.resources.add_object(command.actor(), obj_type)?;
    if let Err(failure) = objects.create(obj_type, id, uid, command.bytes(), &firmware.resources) {
        firmware.resources.discard::<Object>(id);
        return Err(failure);
    }
    let held = objects.held(obj_type, id);
    if let Err(failure) = firmware.resources.set_held(id, held) {
        objects.dropped(obj_type, id, uid);
        firmware.resources.discard::<Object>(id);
        return Err(failure);
    }
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    let obj_type = obj_type(firmware, command, objects)?;
    if obj_type == ObjectType::SCHEDULING_ELEMENT {
        return scheduling::modify_object(firmware, command);
    }
    let (id, _) = own_object(firmware, command, obj_type)?;
    objects.modify(obj_type, id, command.uid(), command.bytes(), &firmware.resources)?;
    firmware.resources.set_held(id, objects.held(obj_type, id))?;
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    let obj_type = obj_type(firmware, command, objects)?;
    if obj_type == ObjectType::SCHEDULING_ELEMENT {
        return scheduling::query_object(firmware, command, answer);
    }
    let (id, _) = own_object(firmware, command, obj_type)?;
    objects.query(obj_type, id, command.uid(), answer.bytes_mut())?;
    if let Some(header) = answer.bytes_mut().get_mut(..general_obj_out_cmd_hdr::SIZE) {
        header.fill(0);
    }
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    let obj_type = obj_type(firmware, command, objects)?;
    if obj_type == ObjectType::SCHEDULING_ELEMENT {
        return scheduling::destroy_object(firmware, command);
    }
    let (id, _) = own_object(firmware, command, obj_type)?;
    firmware.resources.objects.destroyable(id, command.actor())?;
    objects.destroy(obj_type, id, command.uid())?;
    firmware.resources.discard::<Object>(id);
    answer.set(general_obj_out_cmd_hdr::OBJ_ID, id)?;
    Ok(Effect::None)
}
