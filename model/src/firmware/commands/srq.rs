//! CREATE, DESTROY, QUERY and ARM of shared receive queues: CREATE_SRQ and ARM_RQ for those of ISSI 0,
//! the XRC commands for those of XRC domains.

use mlx5_twin_fw_cmds::constants::{ARM_RQ_SRQ, ARM_XRC_SRQ};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    arm_rq_in, cmd_hca_cap, create_srq_in, create_srq_out, create_xrc_srq_in, create_xrc_srq_out, destroy_srq_in,
    query_srq_out, srqc, xrc_srqc,
};
use mlx5_twin_fw_cmds::opcode::Opcode;

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
    let srqn = number(firmware, command, Flavour::of(command))?;
    firmware.resources.remove::<Srq>(srqn, command.actor())?;
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let srqn = number(firmware, command, Flavour::of(command))?;
    let Srq { queue, .. } = firmware.resources.named(srqn, command.actor())?;
    answer_queue(answer, query_srq_out::SRQ_CONTEXT_ENTRY, query_srq_out::PAS, queue)?;
    Ok(Effect::None)
}

/// Sets the limit at which an event is raised.
pub(in super::super) fn arm(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let flavour = Flavour::of(command);
    if command.op_mod() != flavour.arm {
        return Err(Failure::OP_MOD);
    }
    let srqn = number(firmware, command, flavour)?;
    let limit: u64 = command.get(arm_rq_in::LWM)?;
    let mut srq = firmware.resources.owned::<Srq>(srqn, command.actor())?.clone();
    check_limit(limit, srq.queue.context.get(flavour.log_size))?;
    srq.queue.context.set(flavour.lwm, limit)?;
    firmware.resources.replace(srqn, srq)?;
    Ok(Effect::None)
}

/// What differs between the two kinds, whose commands are alike otherwise: they have the number, the
/// limit, the context and the list of pages at the same places.
#[derive(Debug)]
struct Flavour {
    xrc: bool,
    /// `op_mod` of the command that sets the limit.
    arm: u16,
    log_size: Field,
    lwm: Field,
}

const PLAIN: Flavour = Flavour { xrc: false, arm: ARM_RQ_SRQ, log_size: srqc::LOG_SRQ_SIZE, lwm: srqc::LWM };

const XRC: Flavour = Flavour { xrc: true, arm: ARM_XRC_SRQ, log_size: xrc_srqc::LOG_XRC_SRQ_SIZE, lwm: xrc_srqc::LWM };

impl Flavour {
    /// The kind that a command is for.
    fn of(command: &Command<'_>) -> &'static Self {
        match command.opcode() {
            Opcode::DESTROY_XRC_SRQ | Opcode::QUERY_XRC_SRQ | Opcode::ARM_XRC_SRQ => &XRC,
            _ => &PLAIN,
        }
    }
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
fn number(firmware: &Firmware, command: &Command<'_>, flavour: &Flavour) -> Result<u32, Failure> {
    let srqn: u32 = command.get(destroy_srq_in::SRQN)?;
    match firmware.resources.of::<Srq>().get(srqn) {
        Some((_, srq)) if srq.xrc == flavour.xrc => Ok(srqn),
        _ => Err(Failure::SRQ_UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_fw_cmds::field::Bytes;
    use mlx5_twin_fw_cmds::layout::{
        arm_xrc_srq_in, destroy_xrc_srq_in, query_srq_in, query_xrc_srq_in, query_xrc_srq_out,
    };

    use super::*;

    #[test]
    fn both_kinds_have_their_fields_at_the_same_places() {
        let place = |field: Field| (field.offset, field.width);
        let numbers = [
            destroy_xrc_srq_in::XRC_SRQN,
            query_srq_in::SRQN,
            query_xrc_srq_in::XRC_SRQN,
            arm_rq_in::SRQ_NUMBER,
            arm_xrc_srq_in::XRC_SRQN,
        ];
        for number in numbers {
            assert_eq!(place(number), place(destroy_srq_in::SRQN), "{}", number.layout);
        }
        assert_eq!(place(arm_xrc_srq_in::LWM), place(arm_rq_in::LWM));
        let range = |bytes: Bytes| bytes.range();
        assert_eq!(range(query_xrc_srq_out::XRC_SRQ_CONTEXT_ENTRY), range(query_srq_out::SRQ_CONTEXT_ENTRY));
        assert_eq!(query_xrc_srq_out::PAS.offset, query_srq_out::PAS.offset);
    }
}
