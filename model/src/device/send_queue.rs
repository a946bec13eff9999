//! Send queues of raw packets, as far as there's something to do without a network: what they send goes to a wire at whose other end
//! nobody listens, and is completed.
//!
//! Requests that work on memory, or change packets, aren't carried out: such a queue stops, in error, and a completion tells of it.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::constants::{
    CQE_REQ, CQE_REQ_ERR, CQE_SYNDROME_LOCAL_QP_OP_ERR, OPCODE_LSO, OPCODE_NOP, OPCODE_SEND, SEND_WQE_BB,
    SQC_STATE_ERR, SQC_STATE_RDY, WQE_CQ_UPDATE,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{cqe64, err_cqe, sqc, wq, wqe_ctrl_seg};
use mlx5_twin_sim::fabric::Core;

use super::{Dpu, completion_queue, event_queue};
use crate::firmware::Firmware;
use crate::firmware::resources::{Buffer, DoorbellRecord, Queue, Sq};

/// What DMA reads for send queues have in their token: below is the queue's number, above which fetch it is.
pub(super) const TOKEN: u64 = 1 << 32;

/// Where a send queue counts what was carried out (`hw_counter`) and what was posted (`sw_counter`), both in units of 64 bytes.
const DONE: Field = wq::HW_COUNTER.within(sqc::WQ.bits());
const POSTED: Field = wq::SW_COUNTER.within(sqc::WQ.bits());

/// Both counters, and a request's index, have 16 bits (`wq.h` of Linux's driver, `mlx5_wq_cyc`).
const COUNTER: u64 = 0xffff;

/// In a doorbell record: the half of the send queue (`qp.h`, `MLX5_SND_DBR`).
const SEND_RECORD: u64 = 4;

/// Numbers of queues have 24 bits.
const NUMBER: u64 = 0xff_ffff;

/// What of a send queue is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// How much was posted.
    Record,
    /// The beginning of the next request.
    Request,
}

/// Whether it's asked how far the driver is with the completion queue, which seems to be full: before there's anything to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// No.
    No,
    /// That is what is being fetched. The piece is fetched once more afterwards.
    Now,
    /// It was asked: if the queue is full now, it's overrun.
    Before,
}

/// A send queue at work.
#[derive(Clone, Copy, Debug)]
struct Work {
    piece: Piece,
    asked: Asked,
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
        None => fetch(dpu, core, sqn, (Piece::Record, Asked::No), false),
    }
}

/// The number of the completion queue of a send queue.
fn cqn_of(queue: &Queue) -> u32 {
    queue.context.get32(sqc::CQN)
}

/// Begins to fetch a piece. The work ends if the queue isn't ready, or has no place that the piece could be at.
fn fetch(dpu: &mut Dpu, core: &mut Core, sqn: u32, (piece, asked): (Piece, Asked), rung: bool) {
    let Some((queue, record)) = ready(&dpu.firmware, sqn) else { return };
    let (address, len) = match piece {
        _ if asked == Asked::Now => (completion_queue::to_read(&dpu.firmware, cqn_of(queue)), 4),
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
    dpu.sends.by_number.insert(sqn, Work { piece, asked, token, rung });
    let (mut bus, ..) = dpu.parts(core);
    bus.read(address, len, token);
}

/// The address of the byte `at` bytes into a queue's buffer.
pub(super) fn address(buffer: &Buffer, at: u64) -> Option<u64> {
    match buffer {
        Buffer::Pages(list) => list.address(at),
        Buffer::None | Buffer::Umem(_) => None,
    }
}

/// A piece has been fetched; none if it couldn't be.
pub(super) fn fetched(dpu: &mut Dpu, core: &mut Core, token: u64, data: Option<&[u8]>) {
    let sqn = (token & NUMBER) as u32;
    let Some(work) = dpu.sends.by_number.get(&sqn).copied().filter(|work| work.token == token) else { return };
    let Work { piece, asked, rung, .. } = work;
    dpu.sends.by_number.remove(&sqn);
    let Some((queue, _)) = ready(&dpu.firmware, sqn) else { return };
    let cqn = cqn_of(queue);
    let number = |data: &[u8]| data.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    if asked == Asked::Now {
        if let Some(data) = data {
            completion_queue::consumed(dpu, cqn, number(data));
        }
        return fetch(dpu, core, sqn, (piece, Asked::Before), rung);
    }
    let (done, posted) = (queue.context.get(DONE), queue.context.get(POSTED));
    // What the piece comes to. An error for a queue that stops, with the opcode of the request that stops it.
    let outcome = match (piece, data) {
        (_, None) => Err(0),
        (Piece::Record, Some(data)) => Ok((done, u64::from(number(data)) & COUNTER)),
        (Piece::Request, Some(data)) => {
            let length = length(data).filter(|length| *length <= posted.wrapping_sub(done) & COUNTER);
            length.map(|length| ((done + length) & COUNTER, posted)).ok_or(opcode(data))
        }
    };
    let request = data.filter(|data| piece == Piece::Request && outcome.is_ok() && is_told_of(data));
    if asked == Asked::No
        && (outcome.is_err() || request.is_some())
        && completion_queue::to_read(&dpu.firmware, cqn).is_some()
    {
        return fetch(dpu, core, sqn, (piece, Asked::Now), rung);
    }
    let (done, posted) = match outcome {
        Ok(progress) => progress,
        Err(opcode) => return stop(dpu, core, sqn, opcode),
    };
    if let Some(request) = request
        && !tell(dpu, core, sqn, request)
    {
        return fail(dpu, sqn);
    }
    let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) else { return };
    let kept = queue.context.set(DONE, done).and(queue.context.set(POSTED, posted));
    debug_assert!(kept.is_ok(), "{kept:?}");
    if done != posted {
        fetch(dpu, core, sqn, (Piece::Request, Asked::No), rung);
    } else if rung {
        fetch(dpu, core, sqn, (Piece::Record, Asked::No), false);
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

/// Whether a request that is carried out is to be told of.
fn is_told_of(request: &[u8]) -> bool {
    part(request, wqe_ctrl_seg::FM_CE_SE) as u8 & WQE_CQ_UPDATE != 0
}

/// Tells of a request that is carried out: there's nothing else to do for it. Whether there was room for that.
fn tell(dpu: &mut Dpu, core: &mut Core, sqn: u32, request: &[u8]) -> bool {
    // By this index Linux knows its request; in sound ones it's that of the queue, too.
    let index = part(request, wqe_ctrl_seg::OPMOD_IDX_OPCODE) >> 8 & COUNTER;
    let fields = [(cqe64::SOP_DROP_QPN, u64::from(sqn)), (cqe64::WQE_COUNTER, index)];
    complete(dpu, core, sqn, CQE_REQ, &fields)
}

/// Puts a queue in error.
fn fail(dpu: &mut Dpu, sqn: u32) {
    if let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) {
        event_queue::set(&queue.context.set(sqc::STATE, SQC_STATE_ERR));
    }
}

/// Puts a queue in error. A completion tells of it, whether or not the request asked for one, if there's room.
fn stop(dpu: &mut Dpu, core: &mut Core, sqn: u32, opcode: u8) {
    fail(dpu, sqn);
    let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) else { return };
    let fields = [
        (err_cqe::SYNDROME, CQE_SYNDROME_LOCAL_QP_OP_ERR.into()),
        (err_cqe::S_WQE_OPCODE_QPN, u64::from(opcode) << 24 | u64::from(sqn)),
        (err_cqe::WQE_COUNTER, queue.context.get(DONE)),
    ];
    complete(dpu, core, sqn, CQE_REQ_ERR, &fields);
}

/// Puts an entry in the completion queue of a send queue: whether it's there.
fn complete(dpu: &mut Dpu, core: &mut Core, sqn: u32, opcode: u8, fields: &[(Field, u64)]) -> bool {
    let Some(Sq(queue)) = dpu.firmware.resources_mut().sq_mut(sqn) else { return false };
    let cqn = cqn_of(queue);
    completion_queue::complete(dpu, core, cqn, opcode, fields)
}
