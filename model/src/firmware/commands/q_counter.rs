//! ALLOC, DEALLOC and QUERY_Q_COUNTER: counters of what happens to queue pairs. No queue pair moves data in the model: all counts
//! are 0.

use mlx5_twin_fw_cmds::layout::{alloc_q_counter_out, dealloc_q_counter_in, query_q_counter_in};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::resources::QCounter;

pub(in super::super) fn alloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let id = firmware.resources.q_counters.insert(command.actor(), QCounter)?;
    answer.set(alloc_q_counter_out::COUNTER_SET_ID, id)?;
    Ok(Effect::None)
}

pub(in super::super) fn dealloc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let id: u32 = command.get(dealloc_q_counter_in::COUNTER_SET_ID)?;
    firmware.resources.q_counters.remove(id, command.actor())?;
    Ok(Effect::None)
}

/// Clearing is changing: only the counter's owner may.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_q_counter_in::{AGGREGATE, CLEAR, COUNTER_SET_ID, OTHER_VPORT, VPORT_NUMBER};
    own_function(command, &[OTHER_VPORT, VPORT_NUMBER])?;
    if command.flag(AGGREGATE)? {
        return Err(Failure::Q_COUNTER_AGGREGATE);
    }
    let (id, actor): (u32, _) = (command.get(COUNTER_SET_ID)?, command.actor());
    let counters = &firmware.resources.q_counters;
    if command.flag(CLEAR)? {
        counters.owned(id, actor)?
    } else {
        counters.named(id, actor)?
    };
    Ok(Effect::None)
}
