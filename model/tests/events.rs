//! Event queues and interrupts of the mlx5 function, and what resets leave of a command under way.

mod common;

use common::commands::{Events, create_eq, plain};
use common::{CMDQ_ADDR_L, Rig, profile};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Injection;
use mlx5_twin_model::firmware::State;

const CMD: u8 = 0x0a;
const CMD_MASK: u64 = 1 << CMD;

fn nop() -> Vec<u8> {
    plain(Opcode::NOP, 0, &[])
}

fn uar(rig: &mut Rig) -> u32 {
    rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR)
}

/// A machine with MSI-X on, and an armed queue of 2^`log_size` entries for command events on vector 3.
fn event_mode(log_size: u32) -> (Rig, Events) {
    let mut rig = Rig::initialised();
    rig.enable_msix(8, false);
    let uar = uar(&mut rig);
    let events = Events::new(&mut rig, log_size, uar, 3, CMD_MASK);
    events.update(&mut rig, true);
    rig.settle();
    assert_eq!(rig.interrupts(), []);
    (rig, events)
}

/// The slots that an event tells of.
fn slots(event: &(u8, Vec<u8>)) -> u32 {
    assert_eq!(event.0, CMD);
    u32::from_be_bytes(event.1[..4].try_into().expect("four bytes"))
}

fn run_in_slot(rig: &mut Rig, slot: usize) {
    let issued = rig.enter(slot, &nop(), 16);
    rig.ring(1 << slot);
    assert_eq!(rig.wait(&issued).delivery, 0);
    rig.settle();
}

#[test]
fn a_command_in_event_mode_posts_its_slot() {
    let (mut rig, mut events) = event_mode(4);
    assert!(events.next(&rig).is_none(), "nothing for the command that made the queue");
    for slot in [0, 5, 30, 31] {
        let issued = rig.enter(slot, &nop(), 16);
        rig.ring(1 << slot);
        // The answer is there before the event, the event before the interrupt.
        assert!(rig.until(|rig| events.clone().next(rig).is_some() || !rig.interrupts().is_empty()));
        assert!(rig.is_over(&issued));
        let event = events.next(&rig).expect("an event");
        assert_eq!(slots(&event), 1 << slot);
        rig.settle();
        assert_eq!(rig.interrupts(), [0x103]);
        events.update(&mut rig, true);
    }
    assert!(events.next(&rig).is_none());
}

/// The event is there, and only nobody is told of it.
#[test]
fn an_interrupt_is_lost() {
    let (mut rig, mut events) = event_mode(4);
    rig.with_device(|dpu| dpu.inject(Injection::LostInterrupt { vector: Some(2) }));
    run_in_slot(&mut rig, 1);
    assert_eq!(rig.interrupts(), [0x103], "another vector isn't meant");
    assert_eq!(slots(&events.next(&rig).expect("an event")), 2);
    events.update(&mut rig, true);
    rig.with_device(|dpu| dpu.inject(Injection::LostInterrupt { vector: None }));
    run_in_slot(&mut rig, 2);
    assert_eq!(rig.interrupts(), []);
    assert_eq!(slots(&events.next(&rig).expect("an event")), 4);
    events.update(&mut rig, true);
    run_in_slot(&mut rig, 3);
    assert_eq!(rig.interrupts(), [0x103]);
    assert_eq!(rig.device(|dpu| (dpu.injected().0.lost_interrupts, dpu.injected().1)), (1, 1));
}

/// Linux makes its other queues in event mode: it waits for the event of each CREATE_EQ but the first.
#[test]
fn every_command_but_the_one_that_made_the_queue_posts_an_event() {
    let (mut rig, mut events) = event_mode(4);
    let page = Events::memory(&mut rig, 2);
    for (number, input) in [
        create_eq(2, events.uar, 0, 1 << 0x27, page),
        plain(Opcode::DESTROY_EQ, 0, &[(destroy_eq_in::EQ_NUMBER, 2)]),
        plain(Opcode::DEALLOC_PD, 0, &[(dealloc_pd_in::PD, 77)]),
    ]
    .iter()
    .enumerate()
    {
        let issued = rig.enter(number, input, 64);
        rig.ring(1 << number);
        rig.wait(&issued);
        rig.settle();
        let event = events.next(&rig).unwrap_or_else(|| panic!("no event for command {number}"));
        assert_eq!(slots(&event), 1 << number);
    }
    // Its own end isn't told of by a queue that's gone.
    rig.ok(&plain(Opcode::DESTROY_EQ, 0, &[(destroy_eq_in::EQ_NUMBER, events.eqn.into())]));
    rig.settle();
    assert!(events.next(&rig).is_none());
}

/// A delivery error ends a command too: a driver in event mode waits for the event.
#[test]
fn a_delivery_error_posts_an_event() {
    let (mut rig, mut events) = event_mode(4);
    let issued = rig.enter(6, &nop(), 16);
    rig.poke(issued.entry, &[0]);
    rig.ring(1 << 6);
    assert_eq!(rig.wait(&issued).delivery, 0x10);
    rig.settle();
    assert_eq!(events.next(&rig).as_ref().map(slots), Some(1 << 6));
    assert_eq!(rig.interrupts(), [0x103]);
}

#[test]
fn a_command_rung_before_the_queue_posts_nothing() {
    let mut profile = profile();
    profile.firmware_timing.commands.insert("NOP".to_owned(), 100_000);
    let mut rig = Rig::new(&profile).bring_up();
    let uar = uar(&mut rig);
    let slow = rig.enter(9, &nop(), 16);
    rig.ring(1 << 9);
    let mut events = Events::new(&mut rig, 4, uar, 3, CMD_MASK);
    assert!(!rig.is_over(&slow), "it still runs");
    rig.wait(&slow);
    rig.settle();
    assert!(events.next(&rig).is_none());
    run_in_slot(&mut rig, 9);
    assert_eq!(events.next(&rig).as_ref().map(slots), Some(1 << 9));
}

/// An event comes once per arming, at once if there's one that the driver hasn't taken.
#[test]
fn arming() {
    let (mut rig, mut events) = event_mode(4);
    run_in_slot(&mut rig, 1);
    assert_eq!(rig.interrupts(), [0x103]);
    run_in_slot(&mut rig, 2);
    assert_eq!(rig.interrupts(), [], "not armed again");
    events.next(&rig).expect("the first");
    events.update(&mut rig, true);
    rig.settle();
    assert_eq!(rig.interrupts(), [0x103], "the second waits already");
    run_in_slot(&mut rig, 3);
    assert_eq!(rig.interrupts(), [], "and that was the one that was asked for");
    events.next(&rig).expect("the second");
    events.next(&rig).expect("the third");
    events.update(&mut rig, false);
    run_in_slot(&mut rig, 4);
    assert_eq!(rig.interrupts(), [], "an update doesn't arm");
    events.next(&rig).expect("the fourth");
    events.update(&mut rig, true);
    events.update(&mut rig, false);
    run_in_slot(&mut rig, 5);
    assert_eq!(rig.interrupts(), [0x103], "nor disarm");
}

/// The owner bit over several laps of a queue of four, and what comes when the driver doesn't take.
#[test]
fn laps_and_overrun() {
    let (mut rig, mut events) = event_mode(2);
    for lap in 0..20 {
        for slot in 0..=lap % 4 {
            run_in_slot(&mut rig, slot);
        }
        for slot in 0..=lap % 4 {
            assert_eq!(events.next(&rig).as_ref().map(slots), Some(1 << slot), "lap {lap}");
        }
        assert!(events.next(&rig).is_none(), "lap {lap}");
        events.update(&mut rig, true);
    }
    for slot in 0..6 {
        run_in_slot(&mut rig, slot);
    }
    assert_eq!(rig.counters().eq_overruns, 2);
    let kept: Vec<u32> = std::iter::from_fn(|| events.next(&rig)).map(|event| slots(&event)).collect();
    assert_eq!(kept, [1, 2, 4, 8], "what's there isn't overwritten");
}

#[test]
fn a_doorbell_of_another_page_or_queue_is_stray() {
    let (mut rig, events) = event_mode(4);
    let other = Events { uar: uar(&mut rig), ..events.clone() };
    rig.settle();
    rig.interrupts();
    let before = rig.counters().stray_accesses;
    for wrong in [other, Events { eqn: 9, ..events.clone() }, Events { uar: 0x150, ..events }] {
        wrong.update(&mut rig, true);
    }
    rig.settle();
    assert_eq!(rig.counters().stray_accesses, before + 3);
    assert_eq!(rig.interrupts(), []);
}

#[test]
fn masked_interrupts_wait() {
    let (mut rig, mut events) = event_mode(4);
    let pending = |rig: &mut Rig| rig.load32(0x3000);
    // The pending bits are little-endian, as all of MSI-X is.
    let bit = 1_u32 << 3 << 24;
    rig.msix_entry(3, true);
    run_in_slot(&mut rig, 0);
    assert_eq!(rig.interrupts(), []);
    assert_eq!(pending(&mut rig), bit);
    rig.msix_entry(3, false);
    rig.settle();
    assert_eq!(rig.interrupts(), [0x103]);
    assert_eq!(pending(&mut rig), 0);

    rig.enable_msix(8, true);
    events.next(&rig).expect("an event");
    events.update(&mut rig, true);
    run_in_slot(&mut rig, 0);
    assert_eq!(rig.interrupts(), []);
    assert_eq!(pending(&mut rig), bit);
    rig.enable_msix(8, false);
    rig.settle();
    assert_eq!(rig.interrupts(), [0x103]);
    assert_eq!(pending(&mut rig), 0);
}

/// A function-level reset while a command is under way: at each step of it nothing is written afterwards, and a fresh bring-up works.
#[test]
fn reset_in_the_middle_of_a_command() {
    let (mut rig, _) = event_mode(4);
    for steps in 0..60 {
        let memory = rig.pages(0x10_0000);
        let input = common::commands::create_umem(0, memory, 200);
        let issued = rig.enter(2, &input, 2000);
        rig.ring(1 << 2);
        for _ in 0..steps {
            rig.machine.simulation.step();
        }
        let is_over = rig.is_over(&issued);
        rig.function_level_reset();
        // The driver's memory is its own again: what the device still wrote would be seen.
        let was_over = rig.is_over(&issued);
        assert!(was_over || !is_over);
        rig.poke(issued.entry, &[0x5a; 64]);
        rig.settle();
        assert_eq!(rig.peek(issued.entry, 64), [0x5a; 64], "after {steps} steps");
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
        let (state, balance) = rig.device(|dpu| (dpu.firmware().state(), dpu.firmware().resources().balance()));
        assert_eq!(state, State::Disabled);
        assert!(balance.is_zero());
        // Bits 10:8: the interface is down.
        assert_eq!(rig.load32(CMDQ_ADDR_L), 0x156);
        rig = rig.bring_up();
        assert_eq!(rig.load32(CMDQ_ADDR_L) & 0xfff, 0x56);
    }
}

#[test]
fn not_bus_master() {
    let mut rig = Rig::initialised();
    rig.set_bus_master(false);
    let issued = rig.enter(1, &nop(), 16);
    rig.ring(1 << 1);
    rig.settle();
    assert!(!rig.is_over(&issued), "nothing can be read or written");
    assert!(rig.counters().dma_errors > 0);
    rig.set_bus_master(true);
    rig.settle();
    assert!(!rig.is_over(&issued));
    rig.ring(1 << 1);
    assert_eq!(rig.wait(&issued).delivery, 0, "the slot is free");
}
