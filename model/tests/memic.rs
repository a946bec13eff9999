//! Memory on the device, as software reads and writes it: through BAR 0.

mod common;

use common::Rig;
use common::commands::plain;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_sim::host::Access;

/// The window of the default profile (`capabilities.device_memory.memic_bar_start_addr`).
const WINDOW: u64 = 0x300_0000;

fn alloc(size: u64, page: u64) -> Vec<u8> {
    let fields = [
        (alloc_memic_in::RANGE_START_ADDR, WINDOW + 0x1000 * page),
        (alloc_memic_in::RANGE_SIZE, 0x1000),
        (alloc_memic_in::MEMIC_SIZE, size),
    ];
    plain(Opcode::ALLOC_MEMIC, 0, &fields)
}

fn dealloc(start: u64, size: u64) -> Vec<u8> {
    let fields = [(dealloc_memic_in::MEMIC_START_ADDR, start), (dealloc_memic_in::MEMIC_SIZE, size)];
    plain(Opcode::DEALLOC_MEMIC, 0, &fields)
}

fn start_of(answer: &[u8]) -> u64 {
    alloc_memic_out::MEMIC_START_ADDR.get(answer).expect("the answer is long enough")
}

/// Bytes keep their order, whatever the width of the stores and loads.
#[test]
fn what_is_stored_is_loaded() {
    let mut rig = Rig::initialised();
    let first = start_of(&rig.ok(&alloc(128, 0)));
    let second = start_of(&rig.ok(&alloc(64, 1)));
    assert_eq!((first, second), (WINDOW, WINDOW + 0x1000));
    rig.store(first, &[1, 2, 3, 4, 5, 6, 7, 8]);
    rig.store(first + 12, &[9, 10, 11, 12]);
    rig.store(first + 17, &[13]);
    rig.store(first + 64, &(100..164).collect::<Vec<u8>>());
    rig.store(second, &[0xff; 4]);
    let mut load = |at| rig.load32(at);
    // The rig takes the first byte for the most significant.
    for (at, bytes) in [
        (0, [1, 2, 3, 4]),
        (4, [5, 6, 7, 8]),
        (8, [0; 4]),
        (12, [9, 10, 11, 12]),
        (16, [0, 13, 0, 0]),
        (64, [100, 101, 102, 103]),
        (124, [160, 161, 162, 163]),
    ] {
        assert_eq!(load(first + at).to_be_bytes(), bytes, "at {at}");
    }
    assert_eq!(load(second), u32::MAX);
    assert_eq!(rig.counters().stray_accesses, 0);
}

/// rdma-core's `test_mlx5_dm_ops.py` does the same through Linux.
#[test]
fn accesses_to_their_places_are_operations() {
    let mut rig = Rig::initialised();
    let start = start_of(&rig.ok(&alloc(64, 1)));
    let mut place = |operation| {
        let fields = [(modify_memic_in::MEMIC_START_ADDR, start), (modify_memic_in::MEMIC_OPERATION_TYPE, operation)];
        let answer = rig.ok(&plain(Opcode::MODIFY_MEMIC, 0, &fields));
        modify_memic_out::MEMIC_OPERATION_ADDR.get(&answer).expect("the answer is long enough")
    };
    let (add, test) = (place(0), place(1));
    let byte = |rig: &mut Rig, at: u64| {
        let access = Access::MemoryRead { address: rig.bar0 + at, len: 1 };
        rig.access(rig.dpu(), access, |_| {}).expect("a byte").bytes()[0]
    };
    rig.store(add + 3, &[1]);
    rig.store(add + 3, &[1]);
    assert_eq!(
        (byte(&mut rig, test + 3), byte(&mut rig, test + 3)),
        (2, 1),
        "what was there, and then what it was set to"
    );
    rig.store(add + 3, &[6]);
    assert_eq!(rig.load32(start), 7, "the memory itself, most significant byte first");
    assert_eq!(rig.counters().stray_accesses, 0);
    // Other widths, the other kind of access, another's byte.
    rig.store(add, &[1; 4]);
    rig.store(test, &[1]);
    rig.store(add + 64, &[1]);
    assert_eq!((byte(&mut rig, add + 3), rig.load32(test), byte(&mut rig, test + 64)), (0, 0, 0));
    assert_eq!((rig.load32(start), rig.counters().stray_accesses), (7, 6));
}

#[test]
fn what_is_nobodys_takes_nothing() {
    let mut rig = Rig::initialised();
    let start = start_of(&rig.ok(&alloc(64, 0)));
    rig.store(start + 64, &[1; 4]);
    rig.store(start + 128, &[1; 64]);
    rig.store(start + 0x1000, &[1; 4]);
    assert_eq!((rig.load32(start + 64), rig.load32(start + 0x1000)), (0, 0));
    assert_eq!(rig.counters().stray_accesses, 3);
    rig.store(start, &[1; 4]);
    rig.ok(&dealloc(start, 64));
    assert_eq!(rig.load32(start), 0, "it is gone");
    rig.ok(&alloc(64, 0));
    assert_eq!(rig.load32(start), 0, "nobody reads what another left");
    rig.refused(&alloc(64, 64), Failure::MEMIC_RANGE);
}

#[test]
fn a_reset_takes_it_away() {
    let mut rig = Rig::initialised();
    let start = start_of(&rig.ok(&alloc(64, 0)));
    rig.store(start, &[1; 4]);
    rig.function_level_reset();
    assert!(rig.device(|device| device.firmware().resources().balance().is_zero()));
    let mut rig = rig.bring_up();
    assert_eq!(start_of(&rig.ok(&alloc(64, 0))), start);
    assert_eq!(rig.load32(start), 0);
}
