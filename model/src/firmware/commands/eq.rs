//! CREATE_EQ, DESTROY_EQ, QUERY_EQ: event queues.

use mlx5_twin_fw_cmds::constants::{ADAPTER_PAGE_SHIFT, EQC_ST_ARMED, EQC_ST_FIRED};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{create_eq_in, create_eq_out, destroy_eq_in, eqc, query_eq_in, query_eq_out};

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::eq::EQE_BYTES;
use crate::firmware::resources::{Eq, Owner, PageList, Progress};

/// Events about the function as a whole, which a user context can't have.
const DRIVER_EVENTS: &[EventType] = &[EventType::CMD, EventType::PAGE_REQUEST, EventType::INTERNAL_ERROR];

/// The counters of an event queue context have 24 bits.
const COUNTER_MASK: u32 = 0xff_ffff;

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const EQC: u32 = create_eq_in::EQ_CONTEXT_ENTRY.bits();
    let owner = command.actor();
    let limits = firmware.resources.limits();
    let log_size: u32 = command.get(eqc::LOG_EQ_SIZE.within(EQC))?;
    if log_size > limits.log_eq_size {
        return Err(Failure::EQ_SIZE);
    }
    let vector: u16 = command.get(eqc::INTR.within(EQC))?;
    if vector >= limits.msix_vectors {
        return Err(Failure::EQ_VECTOR);
    }
    let mut events = [0; 4];
    for (word, value) in command.list(create_eq_in::EVENT_BITMASK, 4)?.into_iter().enumerate() {
        events[word] = value;
    }
    let log_page_size: u32 = command.get(eqc::LOG_PAGE_SIZE.within(EQC))?;
    let page_shift = ADAPTER_PAGE_SHIFT + log_page_size;
    let page_offset: u32 = command.get(eqc::PAGE_OFFSET.within(EQC))?;
    let count = PageList::needed(EQE_BYTES << log_size, page_shift, page_offset);
    let memory = PageList { page_shift, page_offset, pages: command.list(create_eq_in::PAS, count)? };
    if !memory.is_aligned() {
        return Err(Failure::EQ_PAGE_UNALIGNED);
    }
    let eq = Eq {
        log_size,
        uar_page: command.get(eqc::UAR_PAGE.within(EQC))?,
        vector,
        events,
        overrun_ignore: command.flag(eqc::OI.within(EQC))?,
        collapsed: command.flag(eqc::EC.within(EQC))?,
        memory,
        progress: Progress::default(),
    };
    if matches!(owner, Owner::User(_)) && DRIVER_EVENTS.iter().any(|event| eq.wants(*event)) {
        return Err(Failure::EQ_EVENTS);
    }
    let eqn = firmware.resources.add(owner, eq)?;
    let eqn = u8::try_from(eqn).map_err(|_| Failure::INTERNAL)?;
    answer.set(create_eq_out::EQ_NUMBER, eqn)?;
    Ok(Effect::EqCreated(eqn))
}

pub(in super::super) fn destroy(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let eqn: u8 = command.get(destroy_eq_in::EQ_NUMBER)?;
    firmware.resources.remove::<Eq>(eqn.into(), command.actor())?;
    Ok(Effect::EqDestroyed(eqn))
}

/// Answers the context, the first 64 event types, and as many pages as there is room for.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const EQC: u32 = query_eq_out::EQ_CONTEXT_ENTRY.bits();
    let eqn: u8 = command.get(query_eq_in::EQ_NUMBER)?;
    let eq = firmware.resources.named::<Eq>(eqn.into(), command.actor())?;
    let Progress { producer, consumer, armed } = eq.progress;
    let fields = [
        (eqc::EC, u32::from(eq.collapsed)),
        (eqc::OI, u32::from(eq.overrun_ignore)),
        (eqc::ST, u32::from(if armed { EQC_ST_ARMED } else { EQC_ST_FIRED })),
        (eqc::PAGE_OFFSET, eq.memory.page_offset),
        (eqc::LOG_EQ_SIZE, eq.log_size),
        (eqc::UAR_PAGE, eq.uar_page),
        (eqc::INTR, eq.vector.into()),
        (eqc::LOG_PAGE_SIZE, eq.memory.page_shift - ADAPTER_PAGE_SHIFT),
        (eqc::CONSUMER_COUNTER, consumer & COUNTER_MASK),
        (eqc::PRODUCER_COUNTER, producer & COUNTER_MASK),
    ];
    for (field, value) in fields {
        answer.set(field.within(EQC), value)?;
    }
    answer.set(query_eq_out::EVENT_BITMASK, eq.events[0])?;
    answer.set_list(query_eq_out::PAS, &eq.memory.pages);
    Ok(Effect::None)
}
