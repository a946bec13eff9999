//! Event queues: entries written to memory by DMA, and the interrupts that tell of them.

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{
    affiliated_event_header, cmd_inter_comp_event, eqe, pages_req_event, port_state_change_event,
};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_sim::fabric::{Core, Dma};

use super::Dpu;
use super::bar0::EqDoorbell;
use crate::firmware::Firmware;
use crate::firmware::port::{PORT, port_subtype};
use crate::profile::PortState;

/// Producer and consumer indices count modulo 2^24 (lib/eq.h, `eq_update_ci`).
const INDEX_MASK: u32 = 0xff_ffff;

/// Whether some event queue takes events of this type.
pub(super) fn exists(firmware: &Firmware, event: EventType) -> bool {
    firmware.resources().eqs_for_event(event).next().is_some()
}

/// Tells of the end of the command in `slot`.
pub(super) fn post_command(dpu: &mut Dpu, core: &mut Core, slot: usize) {
    let mut data = [0; eqe::DATA.len as usize];
    set(&cmd_inter_comp_event::COMMAND_COMPLETION_VECTOR.set(&mut data, 1 << slot));
    post(dpu, core, EventType::CMD, 0, &data);
}

/// Asks the driver for pages, or if negative offers some back.
pub(super) fn post_pages(dpu: &mut Dpu, core: &mut Core, pages: i32) {
    let mut data = [0; eqe::DATA.len as usize];
    set(&pages_req_event::NUM_PAGES.set(&mut data, u64::from(pages.cast_unsigned())));
    post(dpu, core, EventType::PAGE_REQUEST, 0, &data);
}

/// Tells that the port has another state.
pub(super) fn post_port(dpu: &mut Dpu, core: &mut Core, state: PortState) {
    let mut data = [0; eqe::DATA.len as usize];
    set(&port_state_change_event::PORT_NUM.set(&mut data, u64::from(PORT)));
    post(dpu, core, EventType::PORT_CHANGE, port_subtype(state), &data);
}

/// Tells that something happened to an object of a user.
pub(super) fn post_object(dpu: &mut Dpu, core: &mut Core, kind: ObjectType, id: u32) {
    let mut data = [0; eqe::DATA.len as usize];
    set(&affiliated_event_header::OBJ_TYPE.set(&mut data, u64::from(kind.0)));
    set(&affiliated_event_header::OBJ_ID.set(&mut data, u64::from(id)));
    post(dpu, core, EventType::OBJECT_CHANGE, 0, &data);
}

/// The layouts have room for the values that are put into them here: nothing can fail but by a wrong table.
pub(super) fn set<E: std::fmt::Debug>(result: &Result<(), E>) {
    debug_assert!(result.is_ok(), "{result:?}");
}

/// Puts an event in each event queue that takes events of this type.
pub(super) fn post(dpu: &mut Dpu, core: &mut Core, event: EventType, subtype: u8, data: &[u8]) {
    let eqns: Vec<u8> = dpu.firmware.resources().eqs_for_event(event).map(|(eqn, _)| eqn).collect();
    for eqn in eqns {
        post_to(dpu, core, eqn, (event, subtype), data);
    }
}

/// Puts an event in one event queue.
pub(super) fn post_to(dpu: &mut Dpu, core: &mut Core, eqn: u8, (event, subtype): (EventType, u8), data: &[u8]) {
    let Some(eq) = dpu.firmware.resources().eq(eqn) else { return };
    let progress = eq.progress;
    let waiting = progress.producer.wrapping_sub(progress.consumer) & INDEX_MASK;
    if u64::from(waiting) >= eq.entries() && !eq.overrun_ignore {
        dpu.counters.eq_overruns += 1;
        return;
    }
    let Some(address) = eq.entry_address(u64::from(progress.producer)) else { return };
    let (vector, owner) = (eq.vector, progress.producer >> eq.log_size & 1);
    let mut entry = [0; eqe::SIZE];
    set(&eqe::TYPE.set(&mut entry, u64::from(event.0)));
    set(&eqe::SUB_TYPE.set(&mut entry, u64::from(subtype)));
    set(&eqe::OWNER.set(&mut entry, u64::from(owner)));
    if let Ok(room) = eqe::DATA.slice_mut(&mut entry) {
        room.copy_from_slice(data);
    }
    if Dma::write(core, &dpu.function, address, &entry).is_err() {
        dpu.counters.dma_errors += 1;
        return;
    }
    let fire = progress.armed;
    if let Some(progress) = dpu.firmware.resources_mut().eq_progress_mut(eqn) {
        progress.producer = (progress.producer + 1) & INDEX_MASK;
        progress.armed = false;
    }
    if fire {
        dpu.interrupt(core, vector);
    }
}

/// A driver has taken events, and perhaps asks for the next interrupt. If there's an event that it hasn't taken, it comes at once.
pub(super) fn doorbell(dpu: &mut Dpu, core: &mut Core, doorbell: EqDoorbell) {
    let Some(eq) = dpu.firmware.resources().eq(doorbell.eqn).filter(|eq| eq.uar_page == doorbell.uar) else {
        dpu.counters.stray_accesses += 1;
        return;
    };
    let vector = eq.vector;
    let behind = eq.progress.producer != doorbell.consumer;
    if let Some(progress) = dpu.firmware.resources_mut().eq_progress_mut(doorbell.eqn) {
        progress.consumer = doorbell.consumer;
        progress.armed = if doorbell.arm { !behind } else { progress.armed };
    }
    if doorbell.arm && behind {
        dpu.interrupt(core, vector);
    }
}
