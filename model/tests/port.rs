//! The port and the page supply as a driver meets them: by commands and events, over the fabric.

mod common;

use common::commands::{Events, command, plain};
use common::{Issued, Rig, profile};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::{Failure, State};
use mlx5_twin_model::profile::{CapabilityValue, PortState, Profile};

const PORT_CHANGE: u8 = 0x09;
const CMD: u8 = 0x0a;
const PAGE_REQUEST: u8 = 0x0b;

fn uar(rig: &mut Rig) -> u32 {
    rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR)
}

/// The `sub_type` of the entry that the driver takes next.
fn subtype(rig: &Rig, events: &Events) -> u8 {
    let slot = u64::from(events.consumer & ((1 << events.log_size) - 1));
    rig.peek(events.address + 64 * slot + 3, 1)[0]
}

fn vport_state(rig: &mut Rig) -> u32 {
    let state = hca_vport_context::VPORT_STATE.within(query_hca_vport_context_out::HCA_VPORT_CONTEXT.bits());
    rig.number(&plain(Opcode::QUERY_HCA_VPORT_CONTEXT, 0, &[]), state)
}

/// Entries as Linux's mlx5_ib reads them: type, sub type, port in the high nibble of byte 8 of the data.
#[test]
fn the_port_tells_of_its_state() {
    let mut rig = Rig::initialised();
    rig.enable_msix(8, false);
    let uar = uar(&mut rig);
    let mut events = Events::new(&mut rig, 4, uar, 2, 1 << PORT_CHANGE);
    events.update(&mut rig, true);
    rig.settle();
    for (state, expected, number) in [(PortState::Down, 1, 1), (PortState::Init, 5, 2), (PortState::Active, 4, 4)] {
        rig.machine.set_port_state(state);
        rig.settle();
        assert_eq!(rig.interrupts(), [0x102], "{state:?}");
        assert_eq!(subtype(&rig, &events), expected, "{state:?}");
        let (kind, data) = events.next(&rig).expect("an event");
        assert_eq!((kind, data[8]), (PORT_CHANGE, 0x10));
        assert_eq!(vport_state(&mut rig), number);
        rig.machine.set_port_state(state);
        rig.settle();
        assert!(events.next(&rig).is_none(), "{state:?} is no change");
        events.update(&mut rig, true);
        rig.settle();
    }

    // The driver takes the port down itself: that's an event as well.
    let mut paos = command(Opcode::ACCESS_REG, 0, 32, &[(access_register_in::REGISTER_ID, 0x5006)]);
    let within = |field: mlx5_twin_fw_cmds::field::Field| field.within(access_register_in::SIZE as u32 * 8);
    for (field, value) in [(within(paos_reg::ASE), 1), (within(paos_reg::ADMIN_STATUS), 2)] {
        field.set(&mut paos, value).expect("fits");
    }
    rig.ok(&paos);
    rig.settle();
    assert_eq!((subtype(&rig, &events), events.next(&rig).map(|event| event.0)), (1, Some(PORT_CHANGE)));
    assert_eq!(vport_state(&mut rig), 1);
}

#[test]
fn a_port_without_a_driver_changes_silently() {
    let mut rig = Rig::new(&profile());
    rig.machine.set_port_state(PortState::Down);
    rig.settle();
    let mut rig = rig.bring_up();
    assert_eq!(vport_state(&mut rig), 1);
    rig.function_level_reset();
    let mut rig = rig.bring_up();
    assert_eq!(vport_state(&mut rig), 1, "a reset of the function doesn't move the cable");
}

/// The default profile, with four pages for each object.
fn hungry() -> Profile {
    let mut profile = profile();
    profile.capabilities.general.insert("page_request_disable".to_owned(), CapabilityValue::One(0));
    (profile.pages.runtime, profile.pages.runtime_objects) = (4, 1);
    profile
}

/// A machine in which commands and page requests are told of by one queue: two objects are alive.
fn listening() -> (Rig, Events) {
    let mut rig = Rig::new(&hungry()).bring_up();
    let uar = uar(&mut rig);
    let events = Events::new(&mut rig, 6, uar, 0, 1 << CMD | 1 << PAGE_REQUEST);
    (rig, events)
}

/// Rings for ALLOC_PD in this slot and lets everything happen.
fn alloc_pd(rig: &mut Rig, slot: usize) -> Issued {
    let issued = rig.enter(slot, &plain(Opcode::ALLOC_PD, 0, &[]), 16);
    rig.ring(1 << slot);
    rig.settle();
    issued
}

fn manage(op_mod: u64, pages: &[u64], count: usize) -> Vec<u8> {
    let fields = [(manage_pages_in::OP_MOD, op_mod), (manage_pages_in::INPUT_NUM_ENTRIES, count as u64)];
    let mut bytes = command(Opcode::MANAGE_PAGES, 0, manage_pages_in::SIZE + 8 * pages.len(), &fields);
    for (index, page) in pages.iter().enumerate() {
        manage_pages_in::PAS.set(&mut bytes, index, *page).expect("fits");
    }
    bytes
}

/// MANAGE_PAGES in slot 31, as Linux sends it.
fn in_slot_31(rig: &mut Rig, input: &[u8]) -> Vec<u8> {
    let issued = rig.enter(31, input, 16 + 8 * 64);
    rig.ring(1 << 31);
    let output = rig.wait(&issued).output;
    rig.settle();
    assert_eq!(output[0], 0, "MANAGE_PAGES: {output:x?}");
    output
}

/// Pages for the first `count` after those given before.
fn pages(from: usize, count: usize) -> Vec<u64> {
    (from..from + count).map(|page| 0x40_0000 + 4096 * page as u64).collect()
}

/// The number of pages that the next event asks for, commands' own events passed over.
fn request(rig: &Rig, events: &mut Events) -> Option<i32> {
    loop {
        let (kind, data) = events.next(rig)?;
        if kind == PAGE_REQUEST {
            assert_eq!(data[..4], [0; 4], "function 0");
            return Some(i32::from_be_bytes(data[4..8].try_into().expect("four bytes")));
        }
    }
}

#[test]
fn commands_wait_for_pages_and_others_do_not() {
    let (mut rig, mut events) = listening();
    let first = alloc_pd(&mut rig, 1);
    let second = alloc_pd(&mut rig, 2);
    assert_eq!(request(&rig, &mut events), Some(12), "two objects are there, one is to be");
    assert_eq!(request(&rig, &mut events), None, "one request at a time");
    assert!(!rig.is_over(&first) && !rig.is_over(&second));
    rig.ok(&plain(Opcode::QUERY_ADAPTER, 0, &[]));

    in_slot_31(&mut rig, &manage(1, &pages(0, 12), 12));
    assert!(rig.is_over(&first) && !rig.is_over(&second), "in their order");
    assert_eq!(rig.ended(&first).output[8..12], [0, 0, 0, 1]);
    assert_eq!(request(&rig, &mut events), Some(4));
    in_slot_31(&mut rig, &manage(1, &pages(12, 4), 4));
    assert_eq!(rig.ended(&second).output[8..12], [0, 0, 0, 2]);
    assert_eq!(request(&rig, &mut events), None);

    // Both go again: one group more than the reserve isn't needed.
    for pd in [1, 2] {
        rig.ok(&plain(Opcode::DEALLOC_PD, 0, &[(dealloc_pd_in::PD, pd)]));
    }
    rig.settle();
    assert_eq!(request(&rig, &mut events), Some(-4));
    let output = in_slot_31(&mut rig, &manage(2, &[], 4));
    let back: Vec<_> = (0..4).map(|index| manage_pages_out::PAS.get(&output, index).expect("is there")).collect();
    assert_eq!((manage_pages_out::OUTPUT_NUM_ENTRIES.get(&output), back), (Ok(4), pages(0, 4)));
}

#[test]
fn without_pages_the_command_fails() {
    let (mut rig, mut events) = listening();
    let waiting = [1, 2, 3].map(|slot| alloc_pd(&mut rig, slot));
    assert_eq!(request(&rig, &mut events), Some(12));
    in_slot_31(&mut rig, &manage(0, &[], 0));
    for issued in &waiting {
        let output = rig.ended(issued).output;
        let expected = Failure::PAGES_REFUSED;
        assert_eq!((output[0], &output[4..8]), (expected.status.0, &expected.syndrome.0.to_be_bytes()[..]));
    }
    assert_eq!(rig.device(|dpu| dpu.firmware().resources().balance().pds), 0);
    // The next one asks anew.
    let issued = alloc_pd(&mut rig, 1);
    assert_eq!(request(&rig, &mut events), Some(12));
    in_slot_31(&mut rig, &manage(1, &pages(0, 12), 12));
    assert_eq!(rig.ended(&issued).output[0], 0);
}

/// A command that waits ends with the state it waits in; a reset leaves nothing of it.
#[test]
fn teardown_and_reset_while_a_command_waits() {
    let (mut rig, mut events) = listening();
    let issued = alloc_pd(&mut rig, 1);
    assert_eq!(request(&rig, &mut events), Some(12));
    rig.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    rig.settle();
    assert_eq!(rig.ended(&issued).output[0], Failure::WRONG_STATE.status.0);

    let (mut rig, _) = listening();
    let issued = alloc_pd(&mut rig, 1);
    rig.function_level_reset();
    rig.settle();
    assert!(!rig.is_over(&issued), "nothing is written after a reset");
    assert_eq!(rig.device(|dpu| dpu.firmware().state()), State::Disabled);
    let mut rig = rig.bring_up();
    rig.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
}
