//! General commands of `twin-v1`, our own protocol (`harness/PROTOCOL.md`). What they mean is known outside of the firmware.

use super::{Answer, Command, Effect, Firmware, ObjectKinds, Outcome};

pub(in super::super) fn general(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    objects.general(command.opcode(), command.uid(), command.bytes(), answer.bytes_mut(), &firmware.resources)?;
    Ok(Effect::None)
}
