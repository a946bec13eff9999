//! CREATE_SQ, MODIFY_SQ, QUERY_SQ: send queues of raw packets.

use mlx5_twin_fw_cmds::constants::{SEND_WQE_BB, SQC_STATE_ERR, SQC_STATE_RDY, SQC_STATE_RST, WQ_TYPE_CYCLIC};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_sq_in, modify_sq_in, per_protocol_networking_offload_caps as eth, query_sq_in, query_sq_out,
    sqc, wq,
};

use super::number::make;
use super::queue::{Access, answer_queue, buffer, doorbell_record};
use super::work_queue::Needs::{Ethernet, General, Never};
use super::work_queue::{Needs, all_offered, buffer_fields, record_umem};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Held, Queue, Sq};

/// Where a send queue's context has its work queue.
const WQ: u32 = sqc::WQ.bits();

/// Bytes of a doorbell record: that of a queue pair, whose second half is the send queue's.
const RECORD_BYTES: u64 = 8;

/// Bit of `modify_bitmask`: the index of the rate. It has no name in Linux's headers (`modify_raw_packet_qp_sq` of `qp.c`).
const MODIFY_RATE: u64 = 1;

/// Fields of the context that need something. What is paced, and the other end of hairpins, are not in the model.
#[rustfmt::skip]
const OPTIONS: &[(Field, Needs)] = &[
    (sqc::RLKY, General(cmd_hca_cap::UMR_PTR_RLKY)),
    (sqc::CD_MASTER, General(cmd_hca_cap::CD)),
    (sqc::ALLOW_MULTI_PKT_SEND_WQE, Ethernet(&[eth::MULTI_PKT_SEND_WQE, eth::ENHANCED_MULTI_PKT_SEND_WQE])),
    (sqc::REG_UMR, Ethernet(&[eth::REG_UMR_SQ])),
    (sqc::ALLOW_SWP, Ethernet(&[eth::SWP])),
    (sqc::HAIRPIN, Never),
    (sqc::NON_WIRE, Never),
    (sqc::TS_CQE_TO_DEST_CQN, General(cmd_hca_cap::TS_CQE_TO_DEST_CQN)),
    (sqc::PACKET_PACING_RATE_LIMIT_INDEX, Never),
    (sqc::QOS_QUEUE_GROUP_ID, Never),
    (wq::CD_SLAVE.within(WQ), General(cmd_hca_cap::CD)),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = create_sq_in::CTX.bits() + WQ;
    let mut context = Context::read(&[sqc::LAYOUT], command.bytes(), create_sq_in::CTX.bits())?;
    if context.get(sqc::STATE) != u64::from(SQC_STATE_RST) {
        return Err(Failure::SQ_STATE);
    }
    if context.get(wq::WQ_TYPE.within(WQ)) != u64::from(WQ_TYPE_CYCLIC) {
        return Err(Failure::SQ_TYPE);
    }
    if !all_offered(firmware, &context, OPTIONS) {
        return Err(Failure::SQ_OPTION);
    }
    let log_size = context.get(wq::LOG_WQ_SZ.within(WQ));
    let stride = 1 << context.get(wq::LOG_WQ_STRIDE.within(WQ));
    if log_size > firmware.capabilities.general(cmd_hca_cap::LOG_MAX_QP_SZ) || stride != SEND_WQE_BB {
        return Err(Failure::SQ_SIZE);
    }
    let mut uses = vec![
        Held::Cq(context.get32(sqc::CQN)),
        Held::Pd(context.get32(wq::PD.within(WQ))),
        Held::Uar(context.get32(wq::UAR_PAGE.within(WQ))),
    ];
    // A queue that only works on memory, and sends nothing, has none.
    match context.get(sqc::TIS_LST_SZ) {
        0 => {}
        1 => uses.push(Held::Tis(context.get32(sqc::TIS_NUM_0))),
        _ => return Err(Failure::SQ_TIS),
    }
    start_anew(&mut context)?;
    let buffer = buffer(firmware, command, &buffer_fields(BASE), stride << log_size, Access::Read)?;
    let record = doorbell_record(firmware, command, wq::DBR_ADDR.within(BASE), Some(record_umem(BASE)), RECORD_BYTES)?;
    make(firmware, command, answer, Sq(Queue { context, buffer, record, uses }))
}

/// Changes the state from the one that the command says it has, and the rate if that's selected. Whose the rate is doesn't matter: Linux
/// itself sets those that it gives to queues of user contexts. Nothing is ever sent at it.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let sqn: u32 = command.get(modify_sq_in::SQN)?;
    let Sq(queue) = firmware.resources.owned::<Sq>(sqn, command.actor())?;
    let mut queue = queue.clone();
    let from: u8 = command.get(modify_sq_in::SQ_STATE)?;
    let to: u8 = command.get(sqc::STATE.within(modify_sq_in::CTX.bits()))?;
    if u64::from(from) != queue.context.get(sqc::STATE) || !leads(from, to) {
        return Err(Failure::SQ_STATE);
    }
    let selected: u64 = command.get(modify_sq_in::MODIFY_BITMASK)?;
    if selected & !MODIFY_RATE != 0 {
        return Err(Failure::SQ_MODIFY);
    }
    if selected & MODIFY_RATE != 0 {
        const RATE: Field = sqc::PACKET_PACING_RATE_LIMIT_INDEX;
        queue.context.copy(RATE, command.bytes(), modify_sq_in::CTX.bits())?;
        let index = queue.context.get(RATE);
        if index != 0 && !u16::try_from(index).is_ok_and(|index| firmware.resources.rate_limits.has(index)) {
            return Err(Failure::SQ_RATE);
        }
    }
    queue.context.set(sqc::STATE, to)?;
    if to == SQC_STATE_RST {
        start_anew(&mut queue.context)?;
    }
    firmware.resources.replace(sqn, Sq(queue))?;
    Ok(Effect::None)
}

/// Nothing was posted, and nothing carried out.
fn start_anew(context: &mut Context) -> Result<(), Failure> {
    [wq::HW_COUNTER, wq::SW_COUNTER].iter().try_for_each(|counter| context.set(counter.within(WQ), 0u32))
}

/// Whether a queue can go from one state to another: to any, but from an error only by a reset. Receive queues have the same
/// states.
pub(super) fn leads(from: u8, to: u8) -> bool {
    match to {
        SQC_STATE_RST | SQC_STATE_ERR => true,
        SQC_STATE_RDY => from != SQC_STATE_ERR,
        _ => false,
    }
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const PAS: u32 = query_sq_out::SQ_CONTEXT.bits() + WQ;
    let sqn: u32 = command.get(query_sq_in::SQN)?;
    let Sq(queue) = firmware.resources.named(sqn, command.actor())?;
    answer_queue(answer, query_sq_out::SQ_CONTEXT, wq::PAS.within(PAS), queue)?;
    Ok(Effect::None)
}

#[cfg(test)]
mod tests {
    use mlx5_twin_fw_cmds::constants::{RQC_STATE_ERR, RQC_STATE_RDY, RQC_STATE_RST};

    use super::*;

    #[test]
    fn states_of_send_and_receive_queues_have_the_same_numbers() {
        let send = [SQC_STATE_RST, SQC_STATE_RDY, SQC_STATE_ERR];
        assert_eq!(send, [RQC_STATE_RST, RQC_STATE_RDY, RQC_STATE_ERR]);
        let ways: Vec<_> = send.iter().flat_map(|from| send.iter().filter(|to| leads(*from, **to))).collect();
        assert_eq!(ways.len(), 8, "all but from an error to ready");
        assert!(!leads(SQC_STATE_ERR, SQC_STATE_RDY) && !leads(SQC_STATE_RST, 2));
    }
}
