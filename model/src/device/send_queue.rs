//! Send queues of raw packets, as far as there's something to do without a network: what they send goes to a wire at whose other end
//! nobody listens, and is completed. Completions are entries of completion queues, and events for those that are armed.
//!
//! Requests that work on memory, or change packets, aren't carried out: such a queue stops, in error, and a completion tells of it.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::constants::{
    CQC_ST_ARMED, CQC_ST_FIRED, CQC_ST_SOLICITED, CQE_REQ, CQE_REQ_ERR, CQE_SIZE_64, CQE_SYNDROME_LOCAL_QP_OP_ERR,
    OPCODE_LSO, OPCODE_NOP, OPCODE_SEND, SEND_WQE_BB, SQC_STATE_ERR, SQC_STATE_RDY, WQE_CQ_UPDATE,
};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{cqc, cqe64, eqe, err_cqe, sqc, wq, wqe_ctrl_seg};
use mlx5_twin_sim::fabric::{Core, Dma};

use super::bar0::CqDoorbell;
use super::{Dpu, event_queue};
use crate::firmware::Firmware;
use crate::firmware::resources::{Buffer, Cq, DoorbellRecord, Queue, Sq};

/// What DMA reads for send queues have in their token: below is the queue's number, above which fetch it is.
pub(super) const TOKEN: u64 = 1 << 32;

/// Where a send queue counts what was carried out (`hw_counter`) and what was posted (`sw_counter`), both in units of 64 bytes.
const DONE: Field = wq::HW_COUNTER.within(sqc::WQ.bits());
const POSTED: Field = wq::SW_COUNTER.within(sqc::WQ.bits());

/// Both counters, and a request's index, have 16 bits (`wq.h` of Linux's driver, `mlx5_wq_cyc`).
const COUNTER: u64 = 0xffff;

/// In a doorbell record: the half of the send queue (`qp.h`, `MLX5_SND_DBR`).
const SEND_RECORD: u64 = 4;

/// Producer and consumer index of a completion queue count modulo 2^24.
const INDEX: u64 = 0xff_ffff;

/// What of a send queue is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// How much was posted.
    Record,
    /// The beginning of the next request.
    Request,
}

/// A send queue at work.
#[derive(Clone, Copy, Debug)]
struct Work {
    piece: Piece,
    /// The token of what is being fetched.
    token: u64,
    /// Whether its doorbell was rung since how much was posted has been read.
    rung: bool,
}

/// All send queues at work.
#[derive(Debug, Default)]
pub(super) struct Sends {
    by_number: BTreeMap<u32, Work>,
    /// How many fetches there were, so that one for a queue that's gone isn't taken for one of the next queue of its number.
    fetches: u64,
}

impl Sends {
    /// Forgets all work. What is still being fetched is for nobody.
    pub(super) fn clear(&mut self) {
        self.by_number.clear();
    }

    /// Forgets the work of queues that aren't ready any more, after a command that may have been about them.
    pub(super) fn forget(&mut self, firmware: &Firmware) {
        self.by_number.retain(|sqn, _| ready(firmware, *sqn).is_some());
    }
}

/// The queue with this number, if it's ready, and the address of its doorbell record. Queues in UMEMs stay as they are.
fn ready(firmware: &Firmware, sqn: u32) -> Option<(&Queue, u64)> {
    let (_, Sq(queue)) = firmware.resources().of::<Sq>().get(sqn)?;
    let DoorbellRecord::Address(record) = queue.record else { return None };
    (queue.context.get(sqc::STATE) == u64::from(SQC_STATE_RDY)).then_some((queue, record))
}

/// The driver has rung a send queue's doorbell.
pub(super) fn doorbell(dpu: &mut Dpu, core: &mut Core, sqn: u32) {
    match dpu.sends.by_number.get_mut(&sqn) {
        Some(work) => work.rung = true,
        None => fetch(dpu, core, sqn, Piece::Record, false),
    }
}

/// Begins to fetch a piece. The work ends if the queue isn't ready, or has no place that the piece could be at.
fn fetch(dpu: &mut Dpu, core: &mut Core, sqn: u32, piece: Piece, rung: bool) {
    let Some((queue, record)) = ready(&dpu.firmware, sqn) else { return };
    let (address, len) = match piece {
        Piece::Record => (Some(record + SEND_RECORD), 4),
        Piece::Request => {
            let entries = 1 << queue.context.get(wq::LOG_WQ_SZ.within(sqc::WQ.bits()));
            let at = (queue.context.get(DONE) & (entries - 1)) * SEND_WQE_BB;
            (address(&queue.buffer, at), wqe_ctrl_seg::SIZE)
        }
    };
    let Some(address) = address else { return };
    dpu.sends.fetches += 1;
    let token = dpu.sends.fetches << 33 | TOKEN | u64::from(sqn);
    dpu.sends.by_number.insert(sqn, Work { piece, token, rung });
    let (mut bus, ..) = dpu.parts(core);
    bus.read(address, len, token);
}

/// The address of the byte `at` bytes into a queue's buffer.
fn address(buffer: &Buffer, at: u64) -> Option<u64> {
    match buffer {
        Buffer::Pages(list) => list.address(at),
        Buffer::None | Buffer::Umem(_) => None,
    }
}

/// A piece has been fetched; none if it couldn't be.
pub(super) fn fetched(dpu: &mut Dpu, core: &mut Core, token: u64, data: Option<&[u8]>) {
    let sqn = (token & INDEX) as u32;
    let Some(Work { piece, rung, .. }) = dpu.sends.by_number.get(&sqn).copied().filter(|work| work.token == token)
    else {
        return;
    };
    dpu.sends.by_number.remove(&sqn);
    let Some((queue, _)) = ready(&dpu.firmware, sqn) else { return };
    let (done, posted) = (queue.context.get(DONE), queue.context.get(POSTED));
    let Some(data) = data else { return stop(dpu, core, sqn, 0) };
    let (done, posted) = match piece {
        Piece::Record => {
            let value = data.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            (done, u64::from(value) & COUNTER)
        }
        Piece::Request => match length(data).filter(|length| *length <= posted.wrapping_sub(done) & COUNTER) {
            Some(length) => {
                carry_out(dpu, core, sqn, data);
                ((done + length) & COUNTER, posted)
            }
            None => return stop(dpu, core, sqn, opcode(data)),
        },
    };
    let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) else { return };
    let kept = queue.context.set(DONE, done).and(queue.context.set(POSTED, posted));
    debug_assert!(kept.is_ok(), "{kept:?}");
    if done != posted {
        fetch(dpu, core, sqn, Piece::Request, rung);
    } else if rung {
        fetch(dpu, core, sqn, Piece::Record, false);
    }
}

fn part(request: &[u8], field: Field) -> u64 {
    field.get(request).unwrap_or(0)
}

fn opcode(request: &[u8]) -> u8 {
    part(request, wqe_ctrl_seg::OPMOD_IDX_OPCODE) as u8
}

/// How long a request is, in units of 64 bytes; none if it can't be carried out.
fn length(request: &[u8]) -> Option<u64> {
    // In units of 16 bytes.
    let size = part(request, wqe_ctrl_seg::QPN_DS) & 0x3f;
    let good = [OPCODE_NOP, OPCODE_SEND, OPCODE_LSO].contains(&opcode(request)) && size > 0;
    good.then_some(size.div_ceil(4))
}

/// Carries out a request: there's nothing to do but to tell of it, if that's wanted.
fn carry_out(dpu: &mut Dpu, core: &mut Core, sqn: u32, request: &[u8]) {
    if part(request, wqe_ctrl_seg::FM_CE_SE) as u8 & WQE_CQ_UPDATE == 0 {
        return;
    }
    // By this index Linux knows its request; in sound ones it's that of the queue, too.
    let index = part(request, wqe_ctrl_seg::OPMOD_IDX_OPCODE) >> 8 & COUNTER;
    let fields = [(cqe64::SOP_DROP_QPN, u64::from(sqn)), (cqe64::WQE_COUNTER, index)];
    complete(dpu, core, sqn, CQE_REQ, &fields);
}

/// Puts a queue in error. A completion tells of it, whether or not the request asked for one.
fn stop(dpu: &mut Dpu, core: &mut Core, sqn: u32, opcode: u8) {
    let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) else { return };
    let stopped = queue.context.set(sqc::STATE, SQC_STATE_ERR);
    debug_assert!(stopped.is_ok(), "{stopped:?}");
    let fields = [
        (err_cqe::SYNDROME, CQE_SYNDROME_LOCAL_QP_OP_ERR.into()),
        (err_cqe::S_WQE_OPCODE_QPN, u64::from(opcode) << 24 | u64::from(sqn)),
        (err_cqe::WQE_COUNTER, queue.context.get(DONE)),
    ];
    complete(dpu, core, sqn, CQE_REQ_ERR, &fields);
}

/// Puts an entry in the completion queue of a send queue, and tells of it if the driver wants that. That the queue is full isn't noticed:
/// how far the driver is, is only in its memory.
fn complete(dpu: &mut Dpu, core: &mut Core, sqn: u32, opcode: u8, fields: &[(Field, u64)]) {
    let resources = dpu.firmware.resources_mut();
    let Some(cqn) = resources.sq_mut(sqn).map(|Sq(queue)| queue.context.get32(sqc::CQN)) else { return };
    let Some(Cq(queue)) = resources.cq_mut(cqn) else { return };
    let context = &mut queue.context;
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
    let Some(address) = address(&queue.buffer, at) else { return };
    let armed = context.get(cqc::ST) == u64::from(CQC_ST_ARMED);
    let mut kept = context.set(cqc::PRODUCER_COUNTER, (producer + 1) & INDEX);
    if armed {
        kept = kept.and(context.set(cqc::ST, CQC_ST_FIRED));
    }
    debug_assert!(kept.is_ok(), "{kept:?}");
    let eqn = context.get(cqc::C_EQN_OR_APU_ELEMENT);
    if Dma::write(core, &dpu.function, address, &entry).is_err() {
        dpu.counters.dma_errors += 1;
        return;
    }
    if armed {
        tell(dpu, core, cqn, eqn);
    }
}

/// Tells of entries in a completion queue.
fn tell(dpu: &mut Dpu, core: &mut Core, cqn: u32, eqn: u64) {
    use mlx5_twin_fw_cmds::layout::comp_event;
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
    let kept = context.set(cqc::CONSUMER_COUNTER, consumer).and(context.set(cqc::ST, state));
    debug_assert!(kept.is_ok(), "{kept:?}");
    let eqn = context.get(cqc::C_EQN_OR_APU_ELEMENT);
    if behind {
        tell(dpu, core, cqn, eqn);
    }
}
