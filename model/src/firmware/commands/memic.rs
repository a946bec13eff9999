//! ALLOC_MEMIC, DEALLOC_MEMIC, MODIFY_MEMIC: memory on the device.

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{MODIFY_MEMIC_ALLOC, MODIFY_MEMIC_DEALLOC};
use mlx5_twin_fw_cmds::layout::{
    alloc_memic_in, alloc_memic_out, dealloc_memic_in, device_mem_cap, modify_memic_in, modify_memic_out,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::Memic;
use crate::firmware::resources::memic::MEMIC_UNIT;

/// Takes the lowest free piece of the range that the driver names: of whole pages of the window, which it hands out itself. If none is
/// free there it tries the next range (`mlx5_cmd_alloc_memic`).
pub(in super::super) fn alloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use alloc_memic_in::{LOG_MEMIC_ADDR_ALIGNMENT, MEMIC_SIZE, RANGE_SIZE, RANGE_START_ADDR};
    let cap = |field| firmware.capabilities.max_field(CapType::DEV_MEM, field);
    let window = firmware.bar0.memic.clone().ok_or(Failure::MEMIC_RANGE)?;
    let (start, length): (u64, u64) = (command.get(RANGE_START_ADDR)?, command.get(RANGE_SIZE)?);
    let end = start.checked_add(length).filter(|end| start >= window.start && *end <= window.end);
    let end = end.ok_or(Failure::MEMIC_RANGE)?;
    let size: u64 = command.get(MEMIC_SIZE)?;
    let unit = MEMIC_UNIT.max(1 << cap(device_mem_cap::LOG_MIN_MEMIC_ALLOC_SIZE));
    if size == 0 || !size.is_multiple_of(unit) {
        return Err(Failure::MEMIC_SIZE);
    }
    let log_alignment: u64 = command.get(LOG_MEMIC_ADDR_ALIGNMENT)?;
    if log_alignment > cap(device_mem_cap::LOG_MAX_MEMIC_ADDR_ALIGNMENT) {
        return Err(Failure::MEMIC_ALIGNMENT);
    }
    let alignment = u32::try_from(log_alignment).ok().and_then(|log| MEMIC_UNIT.checked_shl(log));
    let alignment = alignment.filter(|alignment| *alignment != 0).ok_or(Failure::MEMIC_ALIGNMENT)?;
    if firmware.resources.memic_bytes() + size > cap(device_mem_cap::MAX_MEMIC_SIZE) {
        return Err(Failure::MEMIC_FULL);
    }
    let free = firmware.resources.memic_free(&(start..end), size, alignment).ok_or(Failure::MEMIC_TAKEN)?;
    let bytes = vec![0; usize::try_from(size).map_err(|_| Failure::MEMIC_FULL)?];
    firmware.resources.add(command.actor(), Memic { start: free, bytes, operations: 0 })?;
    answer.set(alloc_memic_out::MEMIC_START_ADDR, free)?;
    Ok(Effect::None)
}

/// Makes a place where accesses are operations on a piece, or gives it back.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use modify_memic_in::{MEMIC_OPERATION_TYPE, MEMIC_START_ADDR};
    let make = match command.op_mod() {
        MODIFY_MEMIC_ALLOC => true,
        MODIFY_MEMIC_DEALLOC => false,
        _ => return Err(Failure::OP_MOD),
    };
    let start: u64 = command.get(MEMIC_START_ADDR)?;
    let piece = firmware.resources.of::<Memic>().iter().find(|(_, _, memic)| memic.start == start);
    let (id, ..) = piece.ok_or(Failure::MEMIC_UNKNOWN)?;
    let memic: &Memic = firmware.resources.owned(id, command.actor())?;
    let operation: u32 = command.get(MEMIC_OPERATION_TYPE)?;
    let offered = firmware.capabilities.max_field(CapType::DEV_MEM, device_mem_cap::MEMIC_OPERATIONS);
    let bit = 1u32.checked_shl(operation).filter(|bit| offered & u64::from(*bit) != 0);
    let bit = bit.ok_or(Failure::MEMIC_OPERATION)?;
    if (memic.operations & bit != 0) == make {
        return Err(Failure::MEMIC_OPERATION_STATE);
    }
    let memic = Memic { operations: memic.operations ^ bit, ..memic.clone() };
    let address = firmware.bar0.memic_operation(start, operation);
    firmware.resources.replace(id, memic)?;
    if make {
        answer.set(modify_memic_out::MEMIC_OPERATION_ADDR, address)?;
    }
    Ok(Effect::None)
}

/// A piece goes as a whole, after the places of its operations.
pub(in super::super) fn dealloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use dealloc_memic_in::{MEMIC_SIZE, MEMIC_START_ADDR};
    let (start, size): (u64, u64) = (command.get(MEMIC_START_ADDR)?, command.get(MEMIC_SIZE)?);
    let whole = |memic: &Memic| memic.start == start && memic.bytes.len() as u64 == size;
    let piece = firmware.resources.of::<Memic>().iter().find(|(_, _, memic)| whole(memic));
    let (id, _, memic) = piece.ok_or(Failure::MEMIC_UNKNOWN)?;
    if memic.operations != 0 {
        return Err(Failure::MEMIC_IN_USE);
    }
    firmware.resources.remove::<Memic>(id, command.actor())?;
    Ok(Effect::None)
}
