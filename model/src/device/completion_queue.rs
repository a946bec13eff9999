//! Completion queues at work: entries written to memory by DMA, and the events that tell of them.
//!
//! How far the driver is stands in its memory, in the queue's doorbell record. The device reads it only when the queue is full as far as it knows, as it knows it from
//! the doorbell that arms the queue. If it's full indeed, the queue is overrun (`oi` off): what is to be written is lost, an event of type CQ_ERROR tells of it, and the
//! queue takes nothing more until it's destroyed. With `oi` the oldest entry is overwritten.

use mlx5_twin_fw_cmds::constants::{
    CQC_ST_ARMED, CQC_ST_FIRED, CQC_ST_SOLICITED, CQC_STATUS_OK, CQC_STATUS_OVERFLOW, CQE_SIZE_64,
};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{comp_event, cqc, cqe64, eqe, eqe_cq_err};
use mlx5_twin_sim::fabric::{Core, Dma};

use super::bar0::CqDoorbell;
use super::send_queue::address;
use super::{Dpu, event_queue};
use crate::firmware::Firmware;
use crate::firmware::resources::{Context, Cq, DoorbellRecord, Queue};

/// Syndrome of CQ_ERROR: the queue is overrun. mlx5's headers have no name for it; mlx4's driver, whose event is the same, reads it so.
const SYNDROME_OVERRUN: u8 = 1;

/// Producer and consumer index count modulo 2^24.
const INDEX: u64 = 0xff_ffff;

/// Whether a completion queue takes entries: it isn't in error.
fn is_good(context: &Context) -> bool {
    context.get(cqc::STATUS) == u64::from(CQC_STATUS_OK)
}

/// Where the driver says how far it is, if the queue has no room as far as is known. `None` if there's room, if none is needed, and if the record is in a UMEM, which
/// can't be read here: such a queue is never overrun.
fn full(queue: &Queue) -> Option<u64> {
    let Queue { context, record: DoorbellRecord::Address(record), .. } = queue else { return None };
    let behind = context.get(cqc::PRODUCER_COUNTER).wrapping_sub(context.get(cqc::CONSUMER_COUNTER)) & INDEX;
    let full = behind >= 1 << context.get(cqc::LOG_CQ_SIZE);
    (full && is_good(context) && !context.flag(cqc::OI)).then_some(*record)
}

/// What must be read before an entry is put in this queue: four bytes at this address, for [`consumed`].
pub(super) fn to_read(firmware: &Firmware, cqn: u32) -> Option<u64> {
    firmware.resources().cqs().get(cqn).and_then(|(_, Cq(queue))| full(queue))
}

/// Takes up how far the driver is, as its doorbell record says.
pub(super) fn consumed(dpu: &mut Dpu, cqn: u32, record: u32) {
    if let Some(Cq(queue)) = dpu.firmware.resources_mut().cq_mut(cqn) {
        event_queue::set(&queue.context.set(cqc::CONSUMER_COUNTER, u64::from(record) & INDEX));
    }
}

/// Puts an entry in a completion queue, and tells of it if the driver wants that. `false` if the queue is overrun, or was it before.
pub(super) fn complete(dpu: &mut Dpu, core: &mut Core, cqn: u32, opcode: u8, fields: &[(Field, u64)]) -> bool {
    let Some(Cq(queue)) = dpu.firmware.resources_mut().cq_mut(cqn) else { return false };
    if full(queue).is_some() {
        overrun(dpu, core, cqn);
        return false;
    }
    let context = &mut queue.context;
    if !is_good(context) {
        return false;
    }
    let (producer, log_size) = (context.get(cqc::PRODUCER_COUNTER), context.get(cqc::LOG_CQ_SIZE));
    let owner = producer >> log_size & 1;
    let mut entry = [0; cqe64::SIZE];
    for (field, value) in fields.iter().copied().chain([(cqe64::OP_OWN, u64::from(opcode) << 4 | owner)]) {
        event_queue::set(&field.set(&mut entry, value));
    }
    let index = producer & ((1 << log_size) - 1);
    // Of an entry of 128 bytes, the second half.
    let small = context.get(cqc::CQE_SZ) == u64::from(CQE_SIZE_64);
    let at = if small { index * 64 } else { index * 128 + 64 };
    let Some(address) = address(&queue.buffer, at) else { return true };
    let armed = context.get(cqc::ST) == u64::from(CQC_ST_ARMED);
    event_queue::set(&context.set(cqc::PRODUCER_COUNTER, (producer + 1) & INDEX));
    if armed {
        event_queue::set(&context.set(cqc::ST, CQC_ST_FIRED));
    }
    let eqn = context.get(cqc::C_EQN_OR_APU_ELEMENT);
    if Dma::write(core, &dpu.function, address, &entry).is_err() {
        dpu.counters.dma_errors += 1;
        return true;
    }
    if armed {
        tell(dpu, core, cqn, eqn);
    }
    true
}

/// A completion queue is overrun: it's in error from now on.
fn overrun(dpu: &mut Dpu, core: &mut Core, cqn: u32) {
    dpu.counters.cq_overruns += 1;
    if let Some(Cq(queue)) = dpu.firmware.resources_mut().cq_mut(cqn) {
        event_queue::set(&queue.context.set(cqc::STATUS, CQC_STATUS_OVERFLOW));
    }
    let mut data = [0; eqe::DATA.len as usize];
    event_queue::set(&eqe_cq_err::CQN.set(&mut data, u64::from(cqn)));
    event_queue::set(&eqe_cq_err::SYNDROME.set(&mut data, u64::from(SYNDROME_OVERRUN)));
    event_queue::post(dpu, core, EventType::CQ_ERROR, 0, &data);
}

/// Tells of entries in a completion queue.
fn tell(dpu: &mut Dpu, core: &mut Core, cqn: u32, eqn: u64) {
    let mut data = [0; eqe::DATA.len as usize];
    event_queue::set(&comp_event::CQ_NUMBER.set(&mut data, u64::from(cqn)));
    if let Ok(eqn) = u8::try_from(eqn) {
        event_queue::post_to(dpu, core, eqn, (EventType::COMP, 0), &data);
    }
}

/// A driver has taken completions, and asks to be told of the next. If there's one that it hasn't taken, it's told at once. None of those
/// that come asks for it to be told where only such are wanted.
pub(super) fn arm(dpu: &mut Dpu, core: &mut Core, doorbell: CqDoorbell) {
    let CqDoorbell { cqn, consumer, solicited } = doorbell;
    let Some(Cq(queue)) = dpu.firmware.resources_mut().cq_mut(cqn) else { return };
    let context = &mut queue.context;
    let behind = !solicited && context.get(cqc::PRODUCER_COUNTER) != u64::from(consumer);
    let state = match (solicited, behind) {
        (true, _) => CQC_ST_SOLICITED,
        (false, true) => CQC_ST_FIRED,
        (false, false) => CQC_ST_ARMED,
    };
    event_queue::set(&context.set(cqc::CONSUMER_COUNTER, consumer).and(context.set(cqc::ST, state)));
    let eqn = context.get(cqc::C_EQN_OR_APU_ELEMENT);
    if behind {
        tell(dpu, core, cqn, eqn);
    }
}
