//! Memory on the device, and keys to it.

use mlx5_twin_fw_cmds::transport::AccessMode;

use super::*;

/// Where the window starts in BAR 0.
pub(super) const WINDOW: u64 = 0x10_8000;

/// ALLOC_MEMIC of these bytes, in this range, with this alignment (log2 of 64).
pub(super) fn alloc(start: u64, length: u64, size: u64, alignment: u64) -> Vec<u8> {
    let fields = [
        (alloc_memic_in::RANGE_START_ADDR, start),
        (alloc_memic_in::RANGE_SIZE, length),
        (alloc_memic_in::MEMIC_SIZE, size),
        (alloc_memic_in::LOG_MEMIC_ADDR_ALIGNMENT, alignment),
    ];
    plain(Opcode::ALLOC_MEMIC, 0, &fields)
}

pub(super) fn dealloc(start: u64, size: u64) -> Vec<u8> {
    plain(
        Opcode::DEALLOC_MEMIC,
        0,
        &[(dealloc_memic_in::MEMIC_START_ADDR, start), (dealloc_memic_in::MEMIC_SIZE, size)],
    )
}

/// A key of the driver's to these bytes of BAR 0, in the domain of uid 1.
pub(super) fn key(start: u64, length: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    key_of(0, start, length, fields)
}

fn key_of(uid: u16, start: u64, length: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let mode = u64::from(AccessMode::MEMIC.0);
    let own = [
        (mkc_in(mkc::ACCESS_MODE_1_0), mode & 3),
        (mkc_in(mkc::ACCESS_MODE_4_2), mode >> 2),
        (mkc_in(mkc::START_ADDR), start),
        (mkc_in(mkc::LEN), length),
    ];
    with(with(create_mkey(uid, 2, &[]), &own), fields)
}

/// MODIFY_MEMIC: a place for an operation, or none any more.
pub(super) fn operation(op_mod: u64, start: u64, operation: u64) -> Vec<u8> {
    let fields = [
        (modify_memic_in::OP_MOD, op_mod),
        (modify_memic_in::MEMIC_START_ADDR, start),
        (modify_memic_in::MEMIC_OPERATION_TYPE, operation),
    ];
    plain(Opcode::MODIFY_MEMIC, 0, &fields)
}

fn start_of(answer: &[u8]) -> u64 {
    alloc_memic_out::MEMIC_START_ADDR.get(answer).expect("the answer is long enough")
}

/// 256 bytes at the window's start, of which 128 have a key; 128 bytes on the second page.
fn taken() -> Machine {
    let mut machine = furnished_for_transport();
    assert_eq!(start_of(&machine.ok(&alloc(WINDOW, 0x1000, 256, 0))), WINDOW);
    assert_eq!(start_of(&machine.ok(&alloc(WINDOW + 0x1000, 0x1000, 128, 0))), WINDOW + 0x1000);
    machine.ok(&key(WINDOW + 64, 128, &[]));
    machine.check();
    machine
}

#[test]
fn memory_on_the_device() {
    #[rustfmt::skip]
    let cases = vec![
        ("the next free piece", alloc(WINDOW, 0x1000, 128, 0), Ok(())),
        ("over both pages", alloc(WINDOW, 0x2000, 128, 3), Ok(())),
        ("a range below the window", alloc(WINDOW - 0x1000, 0x1000, 128, 0), Err(Failure::MEMIC_RANGE)),
        ("a range beyond the window", alloc(WINDOW + 0x1000, 0x2000, 128, 0), Err(Failure::MEMIC_RANGE)),
        ("a range beyond 2^64", alloc(u64::MAX, 0x2000, 128, 0), Err(Failure::MEMIC_RANGE)),
        ("nothing", alloc(WINDOW, 0x1000, 0, 0), Err(Failure::MEMIC_SIZE)),
        ("less than the least", alloc(WINDOW, 0x1000, 64, 0), Err(Failure::MEMIC_SIZE)),
        ("no multiple of the least", alloc(WINDOW, 0x1000, 192, 0), Err(Failure::MEMIC_SIZE)),
        ("aligned too well", alloc(WINDOW, 0x1000, 128, 4), Err(Failure::MEMIC_ALIGNMENT)),
        ("no room in the range", alloc(WINDOW, 0x100, 128, 0), Err(Failure::MEMIC_TAKEN)),
        ("no room with this alignment", alloc(WINDOW, 0x200, 256, 3), Err(Failure::MEMIC_TAKEN)),
        ("all that is left", alloc(WINDOW, 0x2000, 0x1000 - 384, 0), Ok(())),
        ("more than is left", alloc(WINDOW, 0x2000, 0x1000 - 256, 0), Err(Failure::MEMIC_FULL)),
        ("give back", dealloc(WINDOW + 0x1000, 128), Ok(())),
        ("give back a part", dealloc(WINDOW + 0x1000, 64), Err(Failure::MEMIC_UNKNOWN)),
        ("give back from the middle", dealloc(WINDOW + 0x1040, 64), Err(Failure::MEMIC_UNKNOWN)),
        ("give back what is free", dealloc(WINDOW + 0x400, 128), Err(Failure::MEMIC_UNKNOWN)),
        ("give back what has a key", dealloc(WINDOW, 256), Err(Failure::MEMIC_IN_USE)),
        ("a place for an operation", operation(0, WINDOW, 1), Ok(())),
        ("an operation that isn't offered", operation(0, WINDOW, 0), Err(Failure::MEMIC_OPERATION)),
        ("no such operation", operation(0, WINDOW, 32), Err(Failure::MEMIC_OPERATION)),
        ("an operation on a part", operation(0, WINDOW + 64, 1), Err(Failure::MEMIC_UNKNOWN)),
        ("an operation on nothing", operation(0, WINDOW + 0x800, 1), Err(Failure::MEMIC_UNKNOWN)),
        ("a place that isn't there, to give back", operation(1, WINDOW, 1), Err(Failure::MEMIC_OPERATION_STATE)),
        ("neither", operation(2, WINDOW, 1), Err(Failure::OP_MOD)),
        ("a key to all of it", key(WINDOW, 256, &[]), Ok(())),
        ("a key to its end", key(WINDOW + 252, 4, &[]), Ok(())),
        ("a key beyond its end", key(WINDOW + 252, 5, &[]), Err(Failure::MKEY_MEMIC)),
        ("a key over two pieces", key(WINDOW, 0x1040, &[]), Err(Failure::MKEY_MEMIC)),
        ("a key to what is free", key(WINDOW + 0x200, 4, &[]), Err(Failure::MKEY_MEMIC)),
        ("a key to all there is", key(WINDOW, 256, &[(mkc_in(mkc::LENGTH64), 1)]), Err(Failure::MKEY_MEMIC)),
        ("a key with a list", key(WINDOW, 256, &[
            (mkc_in(mkc::TRANSLATIONS_OCTWORD_SIZE), 1),
            (create_mkey_in::TRANSLATIONS_OCTWORD_ACTUAL_SIZE, 1),
        ]), Err(Failure::MKEY_ROOM)),
        ("a user's own key to the driver's memory", key_of(1, WINDOW, 256, &[]), Err(Failure::MEMIC_FOREIGN)),
    ];
    table(&taken(), cases);
}

#[test]
fn operations_have_places() {
    let mut machine = taken();
    let second = WINDOW + 0x1000;
    let answer = machine.ok(&operation(0, second, 1));
    let place = modify_memic_out::MEMIC_OPERATION_ADDR.get(&answer).expect("the answer is long enough");
    // Behind the window of 0x2000 bytes there is one for each operation up to this.
    assert_eq!(place, second + 2 * 0x2000);
    assert_eq!(machine.firmware.bar0().locate_memic_operation(place + 5), Some((1, second + 5)));
    assert_eq!(machine.firmware.bar0().locate_memic_operation(WINDOW + 0x2000), Some((0, WINDOW)));
    for outside in [second, WINDOW + 3 * 0x2000] {
        assert_eq!(machine.firmware.bar0().locate_memic_operation(outside), None);
    }
    assert_eq!(machine.try_run(&operation(0, second, 1)), Err(Failure::MEMIC_OPERATION_STATE));
    assert_eq!(machine.try_run(&dealloc(second, 128)), Err(Failure::MEMIC_IN_USE));
    machine.ok(&operation(1, second, 1));
    machine.ok(&dealloc(second, 128));
    machine.check();
}

#[test]
fn what_is_given_back_is_free_and_empty() {
    let mut machine = taken();
    assert_eq!((machine.balance().memics, machine.balance().mkeys), (2, 3));
    let resources = machine.firmware.resources_mut();
    assert!(resources.memic_store(WINDOW + 8, &[7; 8]));
    machine.ok(&naming(Opcode::DESTROY_MKEY, 0, destroy_mkey_in::MKEY_INDEX, 4));
    machine.ok(&dealloc(WINDOW, 256));
    assert!(!machine.firmware.resources_mut().memic_store(WINDOW + 8, &[7; 8]), "nobody's");
    assert_eq!(start_of(&machine.ok(&alloc(WINDOW, 0x1000, 128, 0))), WINDOW);
    let mut bytes = [1; 8];
    assert!(machine.firmware.resources().memic_load(WINDOW + 8, &mut bytes));
    assert_eq!(bytes, [0; 8]);
    machine.ok(&dealloc(WINDOW, 128));
    machine.ok(&dealloc(WINDOW + 0x1000, 128));
    assert_eq!(machine.balance().memics, 0);
    machine.check();
    machine.ok(&alloc(WINDOW, 0x1000, 128, 0));
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
}

#[test]
fn without_the_capability_there_is_none() {
    let mut profile = small();
    profile.capabilities.general.remove("device_memory");
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
    machine.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
    assert_eq!(machine.try_run(&alloc(WINDOW, 0x1000, 128, 0)), Err(Failure::MEMIC_RANGE));
    assert_eq!(machine.try_run(&dealloc(WINDOW, 128)), Err(Failure::MEMIC_UNKNOWN));
    assert_eq!(machine.try_run(&key(WINDOW, 128, &[])), Err(Failure::MKEY_MODE));
}
