//! CREATE_RQ, MODIFY_RQ, QUERY_RQ: receive queues of raw packets.

use mlx5_twin_fw_cmds::constants::{
    RQ_MODIFY_COUNTER, RQ_MODIFY_SCATTER_FCS, RQ_MODIFY_VSD, RQC_INLINE, RQC_RMP, RQC_STATE_RST, WQ_TYPE_CYCLIC,
    WQ_TYPE_LINKED_LIST,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_rq_in, modify_rq_in, per_protocol_networking_offload_caps as eth, query_rq_in, query_rq_out,
    rqc, wq,
};

use super::number::make;
use super::queue::{Access, answer_queue, buffer, doorbell_record};
use super::sq::leads;
use super::srq::{ENTRY_BYTES, RECORD_BYTES};
use super::work_queue::Needs::{Ethernet, General, Never};
use super::work_queue::{Needs, all_offered, buffer_fields, has, record_umem};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Buffer, Context, DoorbellRecord, Held, QCounter, Queue, Rq};

/// Where a receive queue's context has its work queue.
const WQ: u32 = rqc::WQ.bits();

/// Fields of the context that need something.
#[rustfmt::skip]
const OPTIONS: &[(Field, Needs)] = &[
    (rqc::RLKY, General(cmd_hca_cap::UMR_PTR_RLKY)),
    (rqc::DELAY_DROP_EN, General(cmd_hca_cap::RQ_DELAY_DROP)),
    (rqc::SCATTER_FCS, Ethernet(&[eth::SCATTER_FCS])),
    (rqc::HAIRPIN, Never),
    (wq::CD_SLAVE.within(WQ), General(cmd_hca_cap::CD)),
    (wq::SHAMPO_ENABLE.within(WQ), Never),
];

/// What MODIFY_RQ can change beside the state: the bit that selects it, the field, what that needs.
const MODIFIABLE: &[(u64, Field, Needs)] = &[
    (RQ_MODIFY_VSD, rqc::VSD, Ethernet(&[eth::VLAN_CAP])),
    (RQ_MODIFY_SCATTER_FCS, rqc::SCATTER_FCS, Ethernet(&[eth::SCATTER_FCS])),
    (RQ_MODIFY_COUNTER, rqc::COUNTER_SET_ID, General(cmd_hca_cap::MAX_QP_CNT)),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = create_rq_in::CTX.bits() + WQ;
    let context = Context::read(&[rqc::LAYOUT], command.bytes(), create_rq_in::CTX.bits())?;
    if context.get(rqc::STATE) != u64::from(RQC_STATE_RST) {
        return Err(Failure::RQ_STATE);
    }
    if !all_offered(firmware, &context, OPTIONS) {
        return Err(Failure::RQ_OPTION);
    }
    check_counter(firmware, command, &context)?;
    let cq = Held::Cq(context.get32(rqc::CQN));
    let memory = u8::try_from(context.get(rqc::MEM_RQ_TYPE)).unwrap_or(u8::MAX);
    if memory == RQC_RMP {
        let uses = vec![cq, Held::Rmp(context.get32(rqc::RMPN))];
        let queue = Queue { context, buffer: Buffer::None, record: DoorbellRecord::None, uses };
        return make(firmware, command, answer, Rq(queue));
    }
    let known = [WQ_TYPE_LINKED_LIST, WQ_TYPE_CYCLIC].map(u64::from);
    if memory != RQC_INLINE || !known.contains(&context.get(wq::WQ_TYPE.within(WQ))) {
        return Err(Failure::RQ_TYPE);
    }
    let bytes = size(firmware, &context)?;
    // Linux's queue that only drops packets is in no protection domain.
    let pd = context.get32(wq::PD.within(WQ));
    let none = pd == 0 && command.actor().is_driver();
    let uses = if none { vec![cq] } else { vec![cq, Held::Pd(pd)] };
    let buffer = buffer(firmware, command, &buffer_fields(BASE), bytes, Access::Read)?;
    let record = doorbell_record(firmware, command, wq::DBR_ADDR.within(BASE), Some(record_umem(BASE)), RECORD_BYTES)?;
    make(firmware, command, answer, Rq(Queue { context, buffer, record, uses }))
}

/// Bytes of all entries.
fn size(firmware: &Firmware, context: &Context) -> Result<u64, Failure> {
    let log_size = context.get(wq::LOG_WQ_SZ.within(WQ));
    if log_size > firmware.capabilities.general(cmd_hca_cap::LOG_MAX_QP_SZ) {
        return Err(Failure::RQ_SIZE);
    }
    let entry = 1 << context.get(wq::LOG_WQ_STRIDE.within(WQ));
    let largest = firmware.capabilities.general(cmd_hca_cap::MAX_WQE_SZ_RQ);
    if (ENTRY_BYTES..=largest).contains(&entry) { Ok(entry << log_size) } else { Err(Failure::RQ_STRIDE) }
}

/// Checks that the queue's counters, if it has any, are there for whoever sends the command.
fn check_counter(firmware: &Firmware, command: &Command<'_>, context: &Context) -> Result<(), Failure> {
    match context.get32(rqc::COUNTER_SET_ID) {
        0 => Ok(()),
        id => firmware.resources.named::<QCounter>(id, command.actor()).map(drop),
    }
}

/// Changes the state from the one that the command says it has, and the fields that are selected.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const CONTEXT: u32 = modify_rq_in::CTX.bits();
    let rqn: u32 = command.get(modify_rq_in::RQN)?;
    let Rq(queue) = firmware.resources.owned::<Rq>(rqn, command.actor())?;
    let mut queue = queue.clone();
    let from: u8 = command.get(modify_rq_in::RQ_STATE)?;
    let to: u8 = command.get(rqc::STATE.within(CONTEXT))?;
    if u64::from(from) != queue.context.get(rqc::STATE) || !leads(from, to) {
        return Err(Failure::RQ_STATE);
    }
    let mut select: u64 = command.get(modify_rq_in::MODIFY_BITMASK)?;
    for (bit, field, needs) in MODIFIABLE {
        if select & bit == 0 {
            continue;
        }
        if !has(firmware, *needs) {
            return Err(Failure::RQ_MODIFY);
        }
        queue.context.copy(*field, command.bytes(), CONTEXT)?;
        select &= !bit;
        if *bit == RQ_MODIFY_COUNTER {
            check_counter(firmware, command, &queue.context)?;
        }
    }
    if select != 0 {
        return Err(Failure::RQ_MODIFY);
    }
    queue.context.set(rqc::STATE, to)?;
    firmware.resources.replace(rqn, Rq(queue))?;
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const PAS: u32 = query_rq_out::RQ_CONTEXT.bits() + WQ;
    let rqn: u32 = command.get(query_rq_in::RQN)?;
    let Rq(queue) = firmware.resources.named(rqn, command.actor())?;
    answer_queue(answer, query_rq_out::RQ_CONTEXT, wq::PAS.within(PAS), queue)?;
    Ok(Effect::None)
}
