//! CREATE_CQ, QUERY_CQ, MODIFY_CQ: completion queues.

use mlx5_twin_fw_cmds::constants::{
    CQ_MODIFY_COUNT, CQ_MODIFY_EQN, CQ_MODIFY_OVERRUN, CQ_MODIFY_PERIOD, CQ_MODIFY_PERIOD_MODE, CQ_RESIZE_LOG_SIZE,
    CQ_RESIZE_PAGE_OFFSET, CQ_RESIZE_PAGE_SIZE, CQC_ST_FIRED, CQE_SIZE_64, CQE_SIZE_128, CQE_SIZE_128_PAD,
    MODIFY_CQ_FIELDS, MODIFY_CQ_RESIZE,
};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, cqc, cqc_umem, create_cq_in, create_cq_umem, modify_cq_in, modify_field_select, query_cq_in,
    query_cq_out,
};

use super::number::{make, offered};
use super::queue::{Access, BufferFields, UmemFields, answer_queue, buffer, doorbell_record};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Cq, Held, Queue};

const CQC: u32 = create_cq_in::CQ_CONTEXT.bits();

/// Bytes of a doorbell record: the consumer's index, and what arms the queue.
const RECORD_BYTES: u64 = 8;

/// Fields of the context that need a capability. What `apu_cq` turns `c_eqn` into is not public.
const OPTIONS: &[(Field, &[Field])] = &[
    (cqc::OI, &[cmd_hca_cap::CQ_OI]),
    (cqc::CQ_PERIOD, &[cmd_hca_cap::CQ_MODERATION]),
    (cqc::CQ_MAX_COUNT, &[cmd_hca_cap::CQ_MODERATION]),
    (cqc::CQ_PERIOD_MODE, &[cmd_hca_cap::CQ_PERIOD_START_FROM_CQE]),
    (cqc::CQE_COMP_EN, &[cmd_hca_cap::CQE_COMPRESSION]),
    (cqc::SCQE_BREAK_MODERATION_EN, &[cmd_hca_cap::SCQE_BREAK_MODERATION]),
    (cqc::APU_CQ, &[]),
];

/// What MODIFY_CQ can change with `op_mod` 0: the bit that selects it, the field, the capability.
const MODIFIABLE: &[(u32, Field, Field)] = &[
    (CQ_MODIFY_PERIOD, cqc::CQ_PERIOD, cmd_hca_cap::CQ_MODERATION),
    (CQ_MODIFY_COUNT, cqc::CQ_MAX_COUNT, cmd_hca_cap::CQ_MODERATION),
    (CQ_MODIFY_OVERRUN, cqc::OI, cmd_hca_cap::CQ_OI),
    (CQ_MODIFY_EQN, cqc::C_EQN_OR_APU_ELEMENT, cmd_hca_cap::CQ_EQ_REMAP),
    (CQ_MODIFY_PERIOD_MODE, cqc::CQ_PERIOD_MODE, cmd_hca_cap::CQ_PERIOD_MODE_MODIFY),
];

/// What MODIFY_CQ can change with `op_mod` 1.
const RESIZABLE: &[(u32, Field)] = &[
    (CQ_RESIZE_LOG_SIZE, cqc::LOG_CQ_SIZE),
    (CQ_RESIZE_PAGE_OFFSET, cqc::PAGE_OFFSET),
    (CQ_RESIZE_PAGE_SIZE, cqc::LOG_PAGE_SIZE),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const FIELDS: BufferFields = BufferFields {
        log_page_size: cqc::LOG_PAGE_SIZE.within(CQC),
        page_offset: cqc::PAGE_OFFSET.within(CQC),
        pas: create_cq_in::PAS,
        umem: Some(UmemFields {
            valid: create_cq_in::CQ_UMEM_VALID,
            id: create_cq_umem::CQ_UMEM_ID,
            offset: create_cq_umem::CQ_UMEM_OFFSET,
        }),
    };
    const RECORD_UMEM: (Field, Field) = (cqc::DBR_UMEM_VALID.within(CQC), cqc_umem::DBR_UMEM_ID.within(CQC));
    let bytes = size(firmware, command, CQC)?;
    if !offered(firmware, command, CQC, OPTIONS)? {
        return Err(Failure::CQ_OPTION);
    }
    let mut context = Context::read(&[cqc::LAYOUT, cqc_umem::LAYOUT], command.bytes(), CQC)?;
    let kept_by_the_device =
        [cqc::STATUS, cqc::LAST_NOTIFIED_INDEX, cqc::LAST_SOLICIT_INDEX, cqc::CONSUMER_COUNTER, cqc::PRODUCER_COUNTER];
    for field in kept_by_the_device {
        context.set(field, 0u32)?;
    }
    // It raises no event until the driver arms it.
    context.set(cqc::ST, CQC_ST_FIRED)?;
    let buffer = buffer(firmware, command, &FIELDS, bytes, Access::Write)?;
    let record = doorbell_record(firmware, command, cqc::DBR_ADDR.within(CQC), Some(RECORD_UMEM), RECORD_BYTES)?;
    let uses = uses(&context)?;
    make(firmware, command, answer, Cq(Queue { context, buffer, record, uses }))
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let cqn: u32 = command.get(query_cq_in::CQN)?;
    let Cq(queue) = firmware.resources.named(cqn, command.actor())?;
    answer_queue(answer, query_cq_out::CQ_CONTEXT, query_cq_out::PAS, queue)?;
    Ok(Effect::None)
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let resize = match command.op_mod() {
        MODIFY_CQ_FIELDS => false,
        MODIFY_CQ_RESIZE => true,
        _ => return Err(Failure::OP_MOD),
    };
    let cqn: u32 = command.get(modify_cq_in::CQN)?;
    let Cq(queue) = firmware.resources.owned::<Cq>(cqn, command.actor())?;
    let mut queue = queue.clone();
    if resize {
        resized(firmware, command, &mut queue)?;
    } else {
        modified(firmware, command, &mut queue)?;
    }
    firmware.resources.replace(cqn, Cq(queue))?;
    Ok(Effect::None)
}

/// Changes fields of the context.
fn modified(firmware: &Firmware, command: &Command<'_>, queue: &mut Queue) -> Result<(), Failure> {
    let mut select = selected(command)?;
    for (bit, field, capability) in MODIFIABLE {
        if select & bit == 0 {
            continue;
        }
        if firmware.capabilities.general(*capability) == 0 {
            return Err(Failure::CQ_MODIFY);
        }
        queue.context.copy(*field, command.bytes(), modify_cq_in::CQ_CONTEXT.bits())?;
        select &= !bit;
    }
    if select != 0 {
        return Err(Failure::CQ_MODIFY);
    }
    queue.uses = uses(&queue.context)?;
    Ok(())
}

/// Puts another buffer in the place of the queue's. Entries of it may have another size: no bit selects
/// that, and Linux always says which.
fn resized(firmware: &Firmware, command: &Command<'_>, queue: &mut Queue) -> Result<(), Failure> {
    const BASE: u32 = modify_cq_in::CQ_CONTEXT.bits();
    // The UMEM's place in this command is not public: the list of pages it is.
    const FIELDS: BufferFields = BufferFields {
        log_page_size: cqc::LOG_PAGE_SIZE.within(BASE),
        page_offset: cqc::PAGE_OFFSET.within(BASE),
        pas: modify_cq_in::PAS,
        umem: None,
    };
    let select = selected(command)?;
    let known = RESIZABLE.iter().fold(0, |bits, (bit, _)| bits | bit);
    let allowed = firmware.capabilities.general(cmd_hca_cap::CQ_RESIZE) != 0;
    if !allowed || select & !known != 0 || select & CQ_RESIZE_LOG_SIZE == 0 {
        return Err(Failure::CQ_MODIFY);
    }
    let bytes = size(firmware, command, BASE)?;
    for field in RESIZABLE.iter().map(|(_, field)| *field).chain([cqc::CQE_SZ]) {
        queue.context.copy(field, command.bytes(), BASE)?;
    }
    queue.buffer = buffer(firmware, command, &FIELDS, bytes, Access::Write)?;
    Ok(())
}

/// What MODIFY_CQ selects: at least one thing.
fn selected(command: &Command<'_>) -> Result<u32, Failure> {
    const SELECT: u32 = modify_cq_in::MODIFY_FIELD_SELECT_RESIZE_FIELD_SELECT.bits();
    match command.get(modify_field_select::MODIFY_FIELD_SELECT.within(SELECT))? {
        0 => Err(Failure::CQ_MODIFY),
        select => Ok(select),
    }
}

/// Bytes of all entries, from the context that starts `base` bits into the command.
fn size(firmware: &Firmware, command: &Command<'_>, base: u32) -> Result<u64, Failure> {
    let log_size: u64 = command.get(cqc::LOG_CQ_SIZE.within(base))?;
    if log_size > firmware.capabilities.general(cmd_hca_cap::LOG_MAX_CQ_SZ) {
        return Err(Failure::CQ_SIZE);
    }
    let padded = firmware.capabilities.general(cmd_hca_cap::CQE_128_ALWAYS) != 0;
    let entry: u64 = match command.get(cqc::CQE_SZ.within(base))? {
        CQE_SIZE_64 => 64,
        CQE_SIZE_128 => 128,
        CQE_SIZE_128_PAD if padded => 128,
        _ => return Err(Failure::CQ_ENTRY_SIZE),
    };
    Ok(entry << log_size)
}

/// The event queue and the UAR that a completion queue uses.
fn uses(context: &Context) -> Result<Vec<Held>, Failure> {
    let eqn = u8::try_from(context.get(cqc::C_EQN_OR_APU_ELEMENT)).map_err(|_| Failure::EQ_UNKNOWN)?;
    Ok(vec![Held::Uar(context.get32(cqc::UAR_PAGE)), Held::Eq(eqn)])
}
