//! ALLOC_UAR, DEALLOC_UAR: doorbell pages.

use mlx5_twin_fw_cmds::layout::{alloc_uar_out, dealloc_uar_in};

use super::{Answer, Command, Effect, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::Uar;

pub(in super::super) fn alloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let index = firmware.resources.uars.insert(command.actor(), Uar)?;
    answer.set(alloc_uar_out::UAR, index)?;
    Ok(Effect::None)
}

pub(in super::super) fn dealloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let index: u32 = command.get(dealloc_uar_in::UAR)?;
    firmware.resources.uars.remove(index, command.actor())?;
    Ok(Effect::None)
}
