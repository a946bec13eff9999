//! CREATE, DESTROY, QUERY and ARM of shared receive queues: CREATE_SRQ and ARM_RQ for those of ISSI 0,
//! the XRC commands for those of XRC domains.

use mlx5_twin_fw_cmds::constants::{ARM_RQ_SRQ, ARM_XRC_SRQ};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    arm_rq_in, arm_xrc_srq_in, cmd_hca_cap, create_srq_in, create_srq_out, create_xrc_srq_in, create_xrc_srq_out,
    destroy_srq_in, destroy_xrc_srq_in, query_srq_in, query_srq_out, query_xrc_srq_in, query_xrc_srq_out, srqc,
    xrc_srqc,
};

use super::number::offered;
use super::queue::{Access, BufferFields, answer_queue, buffer, doorbell_record};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Held, Queue, Srq};

const SRQC: u32 = create_srq_in::SRQ_CONTEXT_ENTRY.bits();
const XRC_SRQC: u32 = create_xrc_srq_in::XRC_SRQ_CONTEXT_ENTRY.bits();

/// Bytes of the smallest entry: `log_rq_stride` counts from there.
pub(super) const ENTRY_BYTES: u64 = 16;

/// Bytes of a doorbell record: how many entries have been posted.
pub(super) const RECORD_BYTES: u64 = 4;

/// Fields of an XRC shared receive queue's context that need a capability.
const XRC_OPTIONS: &[(Field, &[Field])] = &[(xrc_srqc::BASIC_CYCLIC_RCV_WQE, &[cmd_hca_cap::BASIC_CYCLIC_RCV_WQE])];

/// In a user context's command neither `xrcd` nor `cqn` counts: Linux writes numbers of the driver's
/// own there, which a queue without XRC doesn't use.
pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const FIELDS: BufferFields = BufferFields {
        log_page_size: srqc::LOG_PAGE_SIZE.within(SRQC),
        page_offset: srqc::PAGE_OFFSET.within(SRQC),
        pas: create_srq_in::PAS,
        umem: None,
    };
    if firmware.issi != 0 {
        return Err(Failure::SRQ_ISSI);
    }
    let context = Context::read(&[srqc::LAYOUT], command.bytes(), SRQC)?;
    let bytes = size(firmware, context.get(srqc::LOG_SRQ_SIZE), context.get(srqc::LOG_RQ_STRIDE))?;
    check_limit(context.get(srqc::LWM), context.get(srqc::LOG_SRQ_SIZE))?;
    let buffer = buffer(firmware, command, &FIELDS, bytes, Access::Read)?;
    let record = doorbell_record(firmware, command, srqc::DBR_ADDR.within(SRQC), None, RECORD_BYTES)?;
    let mut uses = vec![Held::Pd(context.get32(srqc::PD))];
    if command.actor().is_driver() {
        let (xrcd, cqn) = (context.get32(srqc::XRCD), context.get32(srqc::CQN));
        uses.extend((xrcd != 0).then_some(Held::Xrcd(xrcd)));
        uses.extend((cqn != 0).then_some(Held::Cq(cqn)));
    }
    let queue = Queue { context, buffer, record, uses };
    let srqn = firmware.resources.add(command.actor(), Srq { xrc: false, queue })?;
    answer.set(create_srq_out::SRQN, srqn)?;
    Ok(Effect::None)
}

pub(in super::super) fn create_xrc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const FIELDS: BufferFields = BufferFields {
        log_page_size: xrc_srqc::LOG_PAGE_SIZE.within(XRC_SRQC),
        page_offset: xrc_srqc::PAGE_OFFSET.within(XRC_SRQC),
        pas: create_xrc_srq_in::PAS,
        umem: None,
    };
    // The record's address without its two lowest bits, which are 0.
    const RECORD: Field = Field { width: 0x40, ..xrc_srqc::DB_RECORD_ADDR_H };
    let context = Context::read(&[xrc_srqc::LAYOUT], command.bytes(), XRC_SRQC)?;
    if command.flag(create_xrc_srq_in::XRC_SRQ_UMEM_VALID)? || context.flag(xrc_srqc::DBR_UMEM_VALID) {
        return Err(Failure::SRQ_UMEM);
    }
    if !offered(firmware, command, XRC_SRQC, XRC_OPTIONS)? {
        return Err(Failure::SRQ_OPTION);
    }
    let bytes = size(firmware, context.get(xrc_srqc::LOG_XRC_SRQ_SIZE), context.get(xrc_srqc::LOG_RQ_STRIDE))?;
    check_limit(context.get(xrc_srqc::LWM), context.get(xrc_srqc::LOG_XRC_SRQ_SIZE))?;
    let buffer = buffer(firmware, command, &FIELDS, bytes, Access::Read)?;
    let record = doorbell_record(firmware, command, RECORD.within(XRC_SRQC), None, RECORD_BYTES)?;
    let uses = vec![
        Held::Pd(context.get32(xrc_srqc::PD)),
        Held::Xrcd(context.get32(xrc_srqc::XRCD)),
        Held::Cq(context.get32(xrc_srqc::CQN)),
    ];
    let queue = Queue { context, buffer, record, uses };
    let srqn = firmware.resources.add(command.actor(), Srq { xrc: true, queue })?;
    answer.set(create_xrc_srq_out::XRC_SRQN, srqn)?;
    Ok(Effect::None)
}

pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    remove(firmware, command, destroy_srq_in::SRQN, false)
}

pub(in super::super) fn destroy_xrc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    remove(firmware, command, destroy_xrc_srq_in::XRC_SRQN, true)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let srqn = number(firmware, command, query_srq_in::SRQN, false)?;
    let Srq { queue, .. } = firmware.resources.named(srqn, command.actor())?;
    answer_queue(answer, query_srq_out::SRQ_CONTEXT_ENTRY, query_srq_out::PAS, queue)?;
    Ok(Effect::None)
}

pub(in super::super) fn query_xrc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let srqn = number(firmware, command, query_xrc_srq_in::XRC_SRQN, true)?;
    let Srq { queue, .. } = firmware.resources.named(srqn, command.actor())?;
    answer_queue(answer, query_xrc_srq_out::XRC_SRQ_CONTEXT_ENTRY, query_xrc_srq_out::PAS, queue)?;
    Ok(Effect::None)
}

pub(in super::super) fn arm(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if command.op_mod() != ARM_RQ_SRQ {
        return Err(Failure::OP_MOD);
    }
    let srqn = number(firmware, command, arm_rq_in::SRQ_NUMBER, false)?;
    set_limit(firmware, command, srqn, arm_rq_in::LWM, (srqc::LOG_SRQ_SIZE, srqc::LWM))
}

pub(in super::super) fn arm_xrc(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if command.op_mod() != ARM_XRC_SRQ {
        return Err(Failure::OP_MOD);
    }
    let srqn = number(firmware, command, arm_xrc_srq_in::XRC_SRQN, true)?;
    set_limit(firmware, command, srqn, arm_xrc_srq_in::LWM, (xrc_srqc::LOG_XRC_SRQ_SIZE, xrc_srqc::LWM))
}

/// Bytes of all entries.
fn size(firmware: &Firmware, log_size: u64, log_stride: u64) -> Result<u64, Failure> {
    if log_size > firmware.capabilities.general(cmd_hca_cap::LOG_MAX_SRQ_SZ) {
        return Err(Failure::SRQ_SIZE);
    }
    let entry = ENTRY_BYTES << log_stride;
    if entry > firmware.capabilities.general(cmd_hca_cap::MAX_WQE_SZ_RQ) {
        return Err(Failure::SRQ_STRIDE);
    }
    Ok(entry << log_size)
}

/// Checks that fewer entries than there are can be left when the limit's event is raised; 0 is no limit.
fn check_limit(limit: u64, log_size: u64) -> Result<(), Failure> {
    if limit >> log_size == 0 { Ok(()) } else { Err(Failure::SRQ_LIMIT) }
}

/// The number of a shared receive queue of that kind.
fn number(firmware: &Firmware, command: &Command<'_>, field: Field, xrc: bool) -> Result<u32, Failure> {
    let srqn: u32 = command.get(field)?;
    match firmware.resources.of::<Srq>().get(srqn) {
        Some((_, srq)) if srq.xrc == xrc => Ok(srqn),
        _ => Err(Failure::SRQ_UNKNOWN),
    }
}

fn remove(firmware: &mut Firmware, command: &Command<'_>, field: Field, xrc: bool) -> Outcome {
    let srqn = number(firmware, command, field, xrc)?;
    firmware.resources.remove::<Srq>(srqn, command.actor())?;
    Ok(Effect::None)
}

/// Sets the limit at which an event is raised.
fn set_limit(
    firmware: &mut Firmware,
    command: &Command<'_>,
    srqn: u32,
    limit: Field,
    (log_size, lwm): (Field, Field),
) -> Outcome {
    let limit: u64 = command.get(limit)?;
    let mut srq = firmware.resources.owned::<Srq>(srqn, command.actor())?.clone();
    check_limit(limit, srq.queue.context.get(log_size))?;
    srq.queue.context.set(lwm, limit)?;
    firmware.resources.replace(srqn, srq)?;
    Ok(Effect::None)
}
