//! SET_PP_RATE_LIMIT: the rates of packet pacing.

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{qos_cap, set_pp_rate_limit_context, set_pp_rate_limit_in};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Owner};

/// Fields of the rate that need a capability.
const OPTIONS: &[(Field, Field)] = &[
    (set_pp_rate_limit_context::BURST_UPPER_BOUND, qos_cap::PACKET_PACING_BURST_BOUND),
    (set_pp_rate_limit_context::TYPICAL_PACKET_SIZE, qos_cap::PACKET_PACING_TYPICAL_SIZE),
];

/// Gives an entry of the table a rate, or with rate 0 frees it: so Linux does (`mlx5_rl_entry_put`).
pub(in super::super) fn set(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let cap = |field| firmware.capabilities.max_field(CapType::QOS, field);
    let index: u16 = command.get(set_pp_rate_limit_in::RATE_LIMIT_INDEX)?;
    let entries = if cap(qos_cap::PACKET_PACING) == 0 { 0 } else { cap(qos_cap::PACKET_PACING_RATE_TABLE_SIZE) };
    if index == 0 || u64::from(index) >= entries {
        return Err(Failure::RATE_INDEX);
    }
    if command.actor() != Owner::Driver && cap(qos_cap::PACKET_PACING_UID) == 0 {
        return Err(Failure::RATE_UID);
    }
    let base = set_pp_rate_limit_in::CTX.bits();
    let context = Context::read(&[set_pp_rate_limit_context::LAYOUT], command.bytes(), base)?;
    let rate = context.get(set_pp_rate_limit_context::RATE_LIMIT);
    let rates = cap(qos_cap::PACKET_PACING_MIN_RATE)..=cap(qos_cap::PACKET_PACING_MAX_RATE);
    if rate != 0 && !rates.contains(&rate) {
        return Err(Failure::RATE_RANGE);
    }
    if OPTIONS.iter().any(|(field, capability)| context.flag(*field) && cap(*capability) == 0) {
        return Err(Failure::RATE_OPTION);
    }
    let context = (rate != 0).then_some(context);
    firmware.resources.rate_limits.set(index, command.actor(), context)?;
    Ok(Effect::None)
}
