//! Faults that are made on purpose: what a driver sees of each, and that a reset brings the device back.

mod common;

use common::commands::plain;
use common::{Issued, Rig, profile};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Injection;
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_model::profile::Timeouts;
use mlx5_twin_sim::time::Time;

/// `synd`, and the byte with the bit that asks for a reset (`struct health_buffer` of device.h); `initializing`, and the two timeouts.
const SYND: u64 = 0x23c;
const RFR: u64 = 0x238;
const INITIALIZING: u64 = 0x1fc;
const CMD_EXEC_TO: u64 = 0xff8;
const CMD_Q_INIT_TO: u64 = 0xffc;

fn nop() -> Vec<u8> {
    plain(Opcode::NOP, 0, &[])
}

fn inject(rig: &mut Rig, fault: Injection) {
    rig.with_device(|dpu| dpu.inject(fault));
}

fn ring(rig: &mut Rig, slot: usize, input: &[u8]) -> Issued {
    let issued = rig.enter(slot, input, 16);
    rig.ring(1 << slot);
    rig.settle();
    issued
}

#[test]
fn a_firmware_that_dies_answers_nothing_until_it_is_reset() {
    let mut rig = Rig::initialised();
    assert_eq!((rig.load32(SYND), rig.load32(RFR)), (0, 0));
    assert_eq!(rig.load32(INITIALIZING), 1 << 30, "a reset by the interface state is supported");
    inject(&mut rig, Injection::Fatal { syndrome: 8 });
    assert_eq!((rig.load32(SYND), rig.load32(RFR)), (8 << 16, 1 << 31));
    for slot in 0..3 {
        let issued = ring(&mut rig, slot, &nop());
        assert!(!rig.is_over(&issued));
    }
    rig.function_level_reset();
    assert_eq!((rig.load32(SYND), rig.load32(RFR)), (0, 0));
    let mut rig = rig.bring_up();
    rig.ok(&nop());
    assert_eq!(rig.device(|dpu| dpu.injected().0.fatal), 1);
}

#[test]
fn a_command_is_never_answered() {
    let mut rig = Rig::initialised();
    inject(&mut rig, Injection::Hang { opcode: Some(Opcode::NOP), late: None });
    let other = ring(&mut rig, 0, &plain(Opcode::QUERY_ISSI, 0, &[]));
    assert!(rig.is_over(&other), "it isn't meant");
    let lost = ring(&mut rig, 1, &nop());
    assert!(!rig.is_over(&lost));
    let next = ring(&mut rig, 2, &nop());
    assert!(rig.is_over(&next), "only one is lost");
    assert_eq!(rig.device(|dpu| (dpu.injected().0.hangs, dpu.injected().1)), (1, 0));
    rig.function_level_reset();
    rig.bring_up().ok(&nop());
}

#[test]
fn a_command_is_answered_late() {
    let mut rig = Rig::initialised();
    inject(&mut rig, Injection::Hang { opcode: None, late: Some(Time::ms(70)) });
    let begun = rig.machine.simulation.fabric().now();
    let issued = rig.enter(0, &nop(), 16);
    rig.ring(1);
    assert_eq!(rig.wait(&issued).delivery, 0);
    let took = rig.machine.simulation.fabric().now().since(begun);
    assert!(took > Time::ms(70) && took < Time::ms(71), "{took}");
}

#[test]
fn a_command_is_answered_with_an_internal_error() {
    let mut rig = Rig::initialised();
    let before = rig.device(|dpu| dpu.firmware().resources().balance());
    inject(&mut rig, Injection::InternalError { opcode: Some(Opcode::ALLOC_PD) });
    let alloc = plain(Opcode::ALLOC_PD, 0, &[]);
    rig.refused(&alloc, Failure::INJECTED);
    assert_eq!(rig.device(|dpu| dpu.firmware().resources().balance()), before);
    rig.ok(&alloc);
    assert_eq!(rig.device(|dpu| dpu.injected().0.internal_errors), 1);
}

#[test]
fn too_many_faults_are_refused() {
    let mut rig = Rig::initialised();
    for _ in 0..1030 {
        inject(&mut rig, Injection::LostInterrupt { vector: Some(3) });
    }
    assert_eq!(rig.device(|dpu| (dpu.injected().0.refused, dpu.injected().1)), (6, 1024));
    rig.ok(&nop());
}

#[test]
fn the_driver_is_told_how_long_to_wait() {
    let mut rig = Rig::initialised();
    assert_eq!((rig.load32(CMD_EXEC_TO), rig.load32(CMD_Q_INIT_TO)), (0, 0));
    let timeouts = Timeouts { init_ms: 3000, command_ms: 1500, health_poll_ms: 250 };
    let mut profile = profile();
    profile.timeouts = Some(timeouts);
    let mut rig = Rig::new(&profile);
    assert_eq!((rig.load32(CMD_EXEC_TO), rig.load32(CMD_Q_INIT_TO)), (1500, 3000));
    profile.timeouts = Some(Timeouts { command_ms: 0, ..timeouts });
    assert!(profile.validate().unwrap_err().to_string().contains("timeouts.command_ms"));
}
