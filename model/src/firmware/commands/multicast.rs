//! ATTACH_TO_MCG, DETACH_FROM_MCG: queue pairs of multicast groups.

use mlx5_twin_fw_cmds::field::FieldArray;
use mlx5_twin_fw_cmds::layout::{attach_to_mcg_in, detach_from_mcg_in};
use mlx5_twin_fw_cmds::transport::ServiceType;

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Gid, Qp};

pub(in super::super) fn attach(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let qpn: u32 = command.get(attach_to_mcg_in::QPN)?;
    let qp: &Qp = firmware.resources.owned(qpn, command.actor())?;
    if qp.service() != ServiceType::UD {
        return Err(Failure::MCG_SERVICE);
    }
    firmware.resources.attach(gid(command, attach_to_mcg_in::MULTICAST_GID)?, qpn)?;
    Ok(Effect::None)
}

pub(in super::super) fn detach(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let qpn: u32 = command.get(detach_from_mcg_in::QPN)?;
    firmware.resources.owned::<Qp>(qpn, command.actor())?;
    firmware.resources.detach(gid(command, detach_from_mcg_in::MULTICAST_GID)?, qpn)?;
    Ok(Effect::None)
}

fn gid(command: &Command<'_>, field: FieldArray) -> Result<Gid, Failure> {
    let mut gid = Gid::default();
    for (to, byte) in gid.iter_mut().zip(command.list(field, 16)?) {
        *to = u8::try_from(byte).map_err(|_| Failure::INTERNAL)?;
    }
    Ok(gid)
}
