//! Power states and resets, by configuration space and by the protocol.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use mlx5_twin_harness::driver::Door;

use crate::door::{BAR_ADDRESS, BAR0, BUS_MASTER, COMMAND, ClientDoor, MEMORY_SPACE};
use crate::{Rig, slow, start};

/// Offset of the command interface's revision, whose low half is the firmware's.
const REVISION: u64 = 4;
const NOBODY: [u8; 4] = [0xff; 4];

#[test]
fn a_function_sleeps_and_wakes() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let revision = door.read32(REVISION).unwrap();
    assert_ne!(revision, NOBODY);
    let driver = start(&door);
    let context = driver.open().unwrap();
    let entry = door.msix_entry(0);
    for _ in 0..3 {
        assert_eq!(door.set_power(3), 3);
        assert_eq!(door.read32(REVISION).unwrap(), NOBODY);
        door.write32(REVISION, [1; 4]).unwrap();
        // States that the function hasn't got leave it where it is.
        assert_eq!((door.set_power(1), door.read32(REVISION).unwrap()), (3, NOBODY));
        assert_eq!(door.set_power(0), 0);
        assert_eq!(door.read32(REVISION).unwrap(), revision);
        assert_eq!((door.set_power(2), door.read32(REVISION).unwrap()), (0, revision));
        assert_eq!(door.msix_entry(0), entry);
        // It has kept all that it was.
        drop(context.register_umem(4096).unwrap());
    }
    // Whoever begins to listen in the meantime is heard afterwards.
    door.set_power(3);
    door.stop_listening(0);
    door.set_power(0);
    assert_eq!(door.msix_entry(0).0[3] & 1, 1);
    door.set_power(3);
    door.enable_vector(0).unwrap();
    door.set_power(0);
    assert_eq!(door.msix_entry(0), entry);
    drop(context.register_umem(4096).unwrap());
    // A state that it hasn't got changes nothing of that either.
    door.set_power(1);
    door.stop_listening(0);
    assert_eq!(door.msix_entry(0).0[3] & 1, 1);
    door.enable_vector(0).unwrap();
    drop(context);
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    assert_eq!((report.lives.unclean, report.balance.len()), (0, 0));
}

/// Resets the function in the middle of a command: no answer comes, and a new driver finds all in order.
fn is_reset_by(reset: impl Fn(&ClientDoor)) {
    let rig = Rig::with_profile(slow(&[("ENABLE_HCA", 300)]), None);
    let door = rig.connect();
    // A driver that isn't asked whether it agrees.
    let driver = start(&door);
    let entry = door.msix_entry(0);
    assert_eq!((entry.0[0], entry.0[3], entry.1), (0xfee0_0000, 0, false));
    reset(&door);
    let _left = ManuallyDrop::new(driver);
    assert_eq!(rig.server.report().balance.len(), 0);
    for _ in 0..2 {
        let command = u16::from_le_bytes(door.config(COMMAND));
        assert_eq!(command & BUS_MASTER, 0, "a reset takes it away");
        door.set_command(MEMORY_SPACE, true);
        let address = u64::from_le_bytes(door.config(BAR0)) & !0xf;
        assert_eq!(address, BAR_ADDRESS, "it's put back");
        assert_eq!(door.msix_entry(0), entry, "it's put back");
        door.set_command(BUS_MASTER, true);
        let posted = door.post_enable_hca();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(posted.answer(&door), None);
        reset(&door);
        assert_eq!(posted.wait(&door, Duration::from_millis(400)), None);
    }
    door.set_command(MEMORY_SPACE, true);
    for _ in 0..2 {
        let driver = start(&door);
        let context = driver.open().unwrap();
        drop(context.register_umem(4096).unwrap());
        drop(context);
        driver.shut_down().unwrap();
    }
    door.hang_up();
    let report = rig.finish();
    assert_eq!((report.lives.unclean, report.balance.len()), (0, 0));
    assert!(report.lives.resets >= 3);
}

#[test]
fn function_level_reset() {
    is_reset_by(|door| Door::reset(door).unwrap());
}

#[test]
fn device_reset_of_the_protocol() {
    is_reset_by(|door| door.with_client(vfio_user::Client::reset).unwrap());
}

/// A command of a second doesn't hold up those who only read registers.
#[test]
fn reads_are_quick_while_a_command_runs() {
    let rig = Rig::with_profile(slow(&[("ENABLE_HCA", 1000)]), None);
    let door = rig.connect();
    door.set_command(BUS_MASTER, true);
    let posted = door.post_enable_hca();
    let begun = Instant::now();
    let mut spans: Vec<_> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            assert_ne!(door.read32(REVISION).unwrap(), NOBODY);
            begun.elapsed()
        })
        .collect();
    spans.sort();
    println!("reads of BAR 0: median {:?}, longest {:?}", spans[100], spans[199]);
    assert!(spans[100] < Duration::from_millis(20) && begun.elapsed() < Duration::from_millis(900), "{spans:?}");
    assert_eq!(posted.answer(&door), None);
    assert_eq!(posted.wait(&door, Duration::from_secs(10)), Some((0, 0)));
    assert!(begun.elapsed() >= Duration::from_millis(990));
    door.hang_up();
    rig.finish();
}
