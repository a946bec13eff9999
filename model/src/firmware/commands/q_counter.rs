//! QUERY_Q_COUNTER: counters of what happens to queue pairs. No queue pair moves data in the model: all counts
//! are 0.

use mlx5_twin_fw_cmds::layout::query_q_counter_in;

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::resources::QCounter;

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
    let resources = &firmware.resources;
    if command.flag(CLEAR)? {
        resources.owned::<QCounter>(id, actor)?
    } else {
        resources.named::<QCounter>(id, actor)?
    };
    Ok(Effect::None)
}
