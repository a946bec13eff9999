//! ALLOC_PD, DEALLOC_PD: protection domains.

use mlx5_twin_fw_cmds::layout::{alloc_pd_out, dealloc_pd_in};

use super::{Answer, Command, Effect, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::Pd;

pub(in super::super) fn alloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let pd = firmware.resources.pds.insert(command.actor(), Pd)?;
    answer.set(alloc_pd_out::PD, pd)?;
    Ok(Effect::None)
}

pub(in super::super) fn dealloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let pd: u32 = command.get(dealloc_pd_in::PD)?;
    firmware.resources.pds.remove(pd, command.actor())?;
    Ok(Effect::None)
}
