//! ALLOC, DEALLOC and QUERY_FLOW_COUNTER. No flows are steered in the model: all counts are 0.

use mlx5_twin_fw_cmds::constants::FC_BULK_SIZE_FACTOR;
use mlx5_twin_fw_cmds::layout::{
    alloc_flow_counter_in, alloc_flow_counter_out, dealloc_flow_counter_in, query_flow_counter_in,
    query_flow_counter_out, traffic_counter,
};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};

/// One counter, or 128 for each unit of `flow_counter_bulk`, whose bits must be among those of the capability
/// `flow_counter_bulk_alloc`: Linux sends the capability as it is (`mlx5_cmd_fc_bulk_alloc`). The other way to say the number,
/// `flow_counter_bulk_log_size`, has no capability in Linux's header.
pub(in super::super) fn alloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use alloc_flow_counter_in::{FLOW_COUNTER_BULK, FLOW_COUNTER_BULK_LOG_SIZE};
    let bulk: u32 = command.get(FLOW_COUNTER_BULK)?;
    let offered = firmware.resources.limits().flow_counter_bulk;
    if bulk & !offered != 0 || command.flag(FLOW_COUNTER_BULK_LOG_SIZE)? {
        return Err(Failure::FLOW_COUNTER_BULK);
    }
    let count = if bulk == 0 { 1 } else { bulk * FC_BULK_SIZE_FACTOR };
    let id = firmware.resources.flow_counters.insert(command.actor(), count)?;
    answer.set(alloc_flow_counter_out::FLOW_COUNTER_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn dealloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let id: u32 = command.get(dealloc_flow_counter_in::FLOW_COUNTER_ID)?;
    firmware.resources.flow_counters.remove(id, command.actor())?;
    Ok(Effect::None)
}

/// Clearing is changing: only the counters' owner may.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_flow_counter_in::{CLEAR, FLOW_COUNTER_ID, NUM_OF_COUNTERS};
    let count = command.get::<u32>(NUM_OF_COUNTERS)?.max(1);
    if count > firmware.resources.limits().flow_counter_query {
        return Err(Failure::FLOW_COUNTER_RANGE);
    }
    let (first, clears) = (command.get(FLOW_COUNTER_ID)?, command.flag(CLEAR)?);
    firmware.resources.flow_counters.named(first, count, command.actor(), clears)?;
    if answer.len() - query_flow_counter_out::SIZE < count as usize * traffic_counter::SIZE {
        return Err(Failure::OUTPUT_TOO_SHORT);
    }
    Ok(Effect::None)
}
