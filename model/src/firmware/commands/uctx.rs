//! CREATE_UCTX, DESTROY_UCTX: user contexts.

use mlx5_twin_fw_cmds::layout::{create_uctx_in, create_uctx_out, destroy_uctx_in, uctx};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::Uctx;

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let cap: u32 = command.get(uctx::CAP.within(create_uctx_in::UCTX.bits()))?;
    if cap & !firmware.resources.limits().uctx_cap != 0 {
        return Err(Failure::UCTX_CAP);
    }
    let uid = firmware.resources.uctxs.insert(Uctx { cap })?;
    answer.set(create_uctx_out::UID, uid)?;
    Ok(Effect::UidCreated(uid))
}

/// Destroys with the context all it has, in use or not.
pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    let uid: u16 = command.get(destroy_uctx_in::UID)?;
    let dropped = firmware.resources.drop_uctx(uid)?;
    for (kind, id) in dropped.objects {
        objects.dropped(kind, id, uid);
    }
    Ok(Effect::UidDestroyed { uid, eqs: dropped.eqs })
}
