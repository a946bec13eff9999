//! ENABLE_HCA, DISABLE_HCA, INIT_HCA, TEARDOWN_HCA, QUERY_ISSI, SET_ISSI, NOP.

use mlx5_twin_fw_cmds::constants::TEARDOWN_GRACEFUL_CLOSE;
use mlx5_twin_fw_cmds::layout::{disable_hca_in, enable_hca_in, query_issi_out, set_issi_in, teardown_hca_in};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome, own_function};
use crate::firmware::State;
use crate::firmware::resources::{Limits, Pages};

/// The interface step (ISSI) the model has, besides the 0 from before SET_ISSI.
const ISSI: u16 = 1;

/// Steps that QUERY_ISSI offers: bit n stands for step n.
const SUPPORTED_ISSI: u32 = 1 << ISSI;

pub(in super::super) fn enable(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use enable_hca_in::{EMBEDDED_CPU_FUNCTION, FUNCTION_ID, FUNCTION_ID_TYPE};
    own_function(command, &[EMBEDDED_CPU_FUNCTION, FUNCTION_ID_TYPE, FUNCTION_ID])?;
    firmware.state = State::Enabled;
    Ok(Effect::HcaEnabled)
}

/// Forgets pages the driver has not taken back: it may free them now.
pub(in super::super) fn disable(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use disable_hca_in::{EMBEDDED_CPU_FUNCTION, FUNCTION_ID, FUNCTION_ID_TYPE};
    own_function(command, &[EMBEDDED_CPU_FUNCTION, FUNCTION_ID_TYPE, FUNCTION_ID])?;
    firmware.resources.pages = Pages::default();
    firmware.disable();
    Ok(Effect::HcaDisabled)
}

/// From here on the limits of resources are those of the capabilities now in force.
pub(in super::super) fn init(
    firmware: &mut Firmware,
    _: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if firmware.resources.pages.given() < firmware.pages_wanted() {
        return Err(Failure::PAGES_MISSING);
    }
    let limits = Limits::new(&firmware.profile, &firmware.capabilities).map_err(|_| Failure::INTERNAL)?;
    firmware.resources.clear(limits);
    firmware.state = State::Initialised;
    Ok(Effect::HcaInitialised)
}

pub(in super::super) fn teardown(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    objects: &mut dyn ObjectKinds,
) -> Outcome {
    // The others are gated by the capabilities force_teardown and fast_teardown.
    if command.get::<u16>(teardown_hca_in::PROFILE)? != TEARDOWN_GRACEFUL_CLOSE {
        return Err(Failure::TEARDOWN_PROFILE);
    }
    firmware.tear_down(objects);
    Ok(Effect::HcaTornDown)
}

pub(in super::super) fn query_issi(
    firmware: &mut Firmware,
    _: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    answer.set(query_issi_out::CURRENT_ISSI, firmware.issi)?;
    answer.set(query_issi_out::SUPPORTED_ISSI_DW0, SUPPORTED_ISSI)?;
    Ok(Effect::None)
}

pub(in super::super) fn set_issi(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let issi: u16 = command.get(set_issi_in::CURRENT_ISSI)?;
    if issi != ISSI {
        return Err(Failure::ISSI);
    }
    firmware.issi = issi;
    Ok(Effect::None)
}

pub(in super::super) fn nop(_: &mut Firmware, _: &Command<'_>, _: &mut Answer<'_>, _: &mut dyn ObjectKinds) -> Outcome {
    Ok(Effect::None)
}
