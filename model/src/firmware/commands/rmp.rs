//! CREATE_RMP, MODIFY_RMP, QUERY_RMP: receive memory pools, which shared receive queues are from ISSI 1
//! on.

use mlx5_twin_fw_cmds::constants::{RMPC_STATE_ERR, RMPC_STATE_RDY, WQ_TYPE_CYCLIC, WQ_TYPE_LINKED_LIST};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_rmp_in, modify_rmp_in, query_rmp_in, query_rmp_out, rmp_bitmask, rmpc, wq,
};

use super::number::{make, offered};
use super::queue::{Access, answer_queue, buffer, doorbell_record};
use super::srq::{ENTRY_BYTES, RECORD_BYTES};
use super::work_queue::{buffer_fields, record_umem};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Held, Queue, Rmp};

const RMPC: u32 = create_rmp_in::CTX.bits();

/// Where a pool's context has its work queue.
const WQ: u32 = rmpc::WQ.bits();

/// Fields of the context that need a capability.
const OPTIONS: &[(Field, &[Field])] = &[
    (rmpc::BASIC_CYCLIC_RCV_WQE, &[cmd_hca_cap::BASIC_CYCLIC_RCV_WQE]),
    (wq::CD_SLAVE.within(WQ), &[cmd_hca_cap::CD]),
    (wq::SHAMPO_ENABLE.within(WQ), &[]),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = RMPC + WQ;
    let context = Context::read(&[rmpc::LAYOUT], command.bytes(), RMPC)?;
    if context.get(rmpc::STATE) != u64::from(RMPC_STATE_RDY) {
        return Err(Failure::RMP_STATE);
    }
    if ![WQ_TYPE_LINKED_LIST, WQ_TYPE_CYCLIC].map(u64::from).contains(&context.get(wq::WQ_TYPE.within(WQ))) {
        return Err(Failure::RMP_TYPE);
    }
    if !offered(firmware, command, RMPC, OPTIONS)? {
        return Err(Failure::RMP_OPTION);
    }
    let bytes = size(firmware, &context)?;
    check_limit(context.get(wq::LWM.within(WQ)), &context)?;
    let buffer = buffer(firmware, command, &buffer_fields(BASE), bytes, Access::Read)?;
    let record = doorbell_record(firmware, command, wq::DBR_ADDR.within(BASE), Some(record_umem(BASE)), RECORD_BYTES)?;
    let uses = vec![Held::Pd(context.get32(wq::PD.within(WQ)))];
    make(firmware, command, answer, Rmp(Queue { context, buffer, record, uses }))
}

/// Changes the state (to the one it has, or to error) and, if the bitmask says so, the limit at which an
/// event is raised.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const LIMIT: Field = wq::LWM.within(modify_rmp_in::CTX.bits() + WQ);
    let rmpn: u32 = command.get(modify_rmp_in::RMPN)?;
    let Rmp(queue) = firmware.resources.owned::<Rmp>(rmpn, command.actor())?;
    let mut queue = queue.clone();
    let state: u8 = command.get(modify_rmp_in::RMP_STATE)?;
    if u64::from(state) != queue.context.get(rmpc::STATE) && state != RMPC_STATE_ERR {
        return Err(Failure::RMP_STATE);
    }
    queue.context.set(rmpc::STATE, state)?;
    if command.flag(rmp_bitmask::LWM.within(modify_rmp_in::BITMASK.bits()))? {
        let limit: u64 = command.get(LIMIT)?;
        check_limit(limit, &queue.context)?;
        queue.context.set(wq::LWM.within(WQ), limit)?;
    }
    firmware.resources.replace(rmpn, Rmp(queue))?;
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const PAS: u32 = query_rmp_out::RMP_CONTEXT.bits() + WQ;
    let rmpn: u32 = command.get(query_rmp_in::RMPN)?;
    let Rmp(queue) = firmware.resources.named(rmpn, command.actor())?;
    answer_queue(answer, query_rmp_out::RMP_CONTEXT, wq::PAS.within(PAS), queue)?;
    Ok(Effect::None)
}

/// Bytes of all entries.
fn size(firmware: &Firmware, context: &Context) -> Result<u64, Failure> {
    let log_size = context.get(wq::LOG_WQ_SZ.within(WQ));
    if log_size > firmware.capabilities.general(cmd_hca_cap::LOG_MAX_SRQ_SZ) {
        return Err(Failure::RMP_SIZE);
    }
    let entry = 1 << context.get(wq::LOG_WQ_STRIDE.within(WQ));
    let largest = firmware.capabilities.general(cmd_hca_cap::MAX_WQE_SZ_RQ);
    if entry < ENTRY_BYTES || entry > largest {
        return Err(Failure::RMP_STRIDE);
    }
    Ok(entry << log_size)
}

/// Checks that fewer entries than there are can be left when the limit's event is raised; 0 is no limit.
fn check_limit(limit: u64, context: &Context) -> Result<(), Failure> {
    if limit >> context.get(wq::LOG_WQ_SZ.within(WQ)) == 0 { Ok(()) } else { Err(Failure::RMP_LIMIT) }
}
