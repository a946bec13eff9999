//! CREATE_RQT, MODIFY_RQT, QUERY_RQT: tables of receive queues, over which packets are spread.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_rqt_in, modify_rqt_in, query_rqt_in, query_rqt_out, rqt_bitmask, rqtc,
};

use super::number::make;
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Rqt};

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = create_rqt_in::RQT_CONTEXT.bits();
    let context = Context::read(&[rqtc::LAYOUT], command.bytes(), BASE)?;
    let most = context.get(rqtc::RQT_MAX_SIZE);
    if most == 0 || most > 1 << firmware.capabilities.general(cmd_hca_cap::LOG_MAX_RQT_SIZE) {
        return Err(Failure::RQT_SIZE);
    }
    if context.flag(rqtc::LIST_Q_TYPE) || context.flag(rqtc::RQ_VHCA_ID_FORMAT) {
        return Err(Failure::RQT_OPTION);
    }
    let queues = list(command, BASE, most)?;
    make(firmware, command, answer, Rqt { context, queues })
}

/// The receive queues in the context that starts `base` bits into a command, of a table of so many at most.
fn list(command: &Command<'_>, base: u32, most: u64) -> Result<Vec<u32>, Failure> {
    let size: u64 = command.get(rqtc::RQT_ACTUAL_SIZE.within(base))?;
    if size == 0 || size > most {
        return Err(Failure::RQT_SIZE);
    }
    // Each number is in the lower 24 bits of its dword.
    let numbers = command.list(rqtc::RQ_NUM.within(base), size)?;
    Ok(numbers.into_iter().map(|number| number as u32 & 0xff_ffff).collect())
}

/// Puts another list in the table, if the bitmask says so.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = modify_rqt_in::CTX.bits();
    const LIST: Field = rqt_bitmask::RQN_LIST.within(modify_rqt_in::BITMASK.bits());
    const FORMAT: Field = rqtc::RQ_VHCA_ID_FORMAT.within(BASE);
    let rqtn: u32 = command.get(modify_rqt_in::RQTN)?;
    let Rqt { mut context, .. } = firmware.resources.owned::<Rqt>(rqtn, command.actor())?.clone();
    if !command.flag(LIST)? {
        return Ok(Effect::None);
    }
    if command.flag(FORMAT)? {
        return Err(Failure::RQT_OPTION);
    }
    let queues = list(command, BASE, context.get(rqtc::RQT_MAX_SIZE))?;
    context.copy(rqtc::RQT_ACTUAL_SIZE, command.bytes(), BASE)?;
    firmware.resources.replace(rqtn, Rqt { context, queues })?;
    Ok(Effect::None)
}

/// Answers as much of the list as there is room for.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let rqtn: u32 = command.get(query_rqt_in::RQTN)?;
    let table: &Rqt = firmware.resources.named(rqtn, command.actor())?;
    answer.set_bytes(query_rqt_out::RQT_CONTEXT, table.context.bytes())?;
    let queues: Vec<_> = table.queues.iter().map(|rqn| u64::from(*rqn)).collect();
    answer.set_list(rqtc::RQ_NUM.within(query_rqt_out::RQT_CONTEXT.bits()), &queues);
    Ok(Effect::None)
}
