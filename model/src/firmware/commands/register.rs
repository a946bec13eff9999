//! ACCESS_REG: the one register the driver writes at its probe.

use mlx5_twin_fw_cmds::constants::{ACCESS_REGISTER_READ, ACCESS_REGISTER_WRITE, REG_HOST_ENDIANNESS};
use mlx5_twin_fw_cmds::layout::{access_register_in, access_register_out, register_host_endianness};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};

/// HOST_ENDIANNESS can be written, with 'little-endian', which is all the model is. No other
/// register is there.
pub(in super::super) fn access(
    _: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let register: u16 = command.get(access_register_in::REGISTER_ID)?;
    match command.op_mod() {
        ACCESS_REGISTER_WRITE if register == REG_HOST_ENDIANNESS => {}
        ACCESS_REGISTER_WRITE | ACCESS_REGISTER_READ => return Err(Failure::REGISTER),
        _ => return Err(Failure::OP_MOD),
    }
    let size = register_host_endianness::SIZE;
    if command.len() < access_register_in::SIZE + size {
        return Err(Failure::INPUT_TOO_SHORT);
    }
    if answer.len() < access_register_out::SIZE + size {
        return Err(Failure::OUTPUT_TOO_SHORT);
    }
    let data = access_register_in::REGISTER_DATA.offset;
    if command.flag(register_host_endianness::HE.within(data))? {
        return Err(Failure::REGISTER_VALUE);
    }
    Ok(Effect::None)
}
