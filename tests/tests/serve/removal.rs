//! A card that is removed while it's used: a dead function, and one that is as new when the card is back.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mlx5_twin_harness::driver::Door;
use mlx5_twin_harness::serve::{CardEvent, Schedule};

use crate::door::{BAR0, BUS_MASTER, COMMAND, MEMORY_SPACE};
use crate::{Rig, start};

/// Offset of the command interface's revision, whose low half is the firmware's.
const REVISION: u64 = 4;
const NOBODY: [u8; 4] = [0xff; 4];
const PATIENCE: Duration = Duration::from_secs(10);

fn rig(fault: &str) -> Rig {
    Rig::with_schedule(Schedule::parse("removal.toml", &format!("[[fault]]\nkind = 'removal'\n{fault}\n")).unwrap())
}

#[test]
fn a_card_vanishes_in_use_and_comes_back_as_new() {
    let rig = rig("at_ms = 1000\nfor_ms = 600\nunnoticed_ms = 200");
    let events = rig.server.card_events();
    let door = rig.connect();
    let vendor: [u8; 4] = door.config(0);
    let revision = door.read32(REVISION).unwrap();
    let driver = start(&door);
    let context = driver.open().unwrap();
    let _left = ManuallyDrop::new(context.register_umem(1 << 16).unwrap());
    assert!(!rig.server.report().balance.is_empty());

    let begun = Instant::now();
    while door.read32(REVISION).unwrap() != NOBODY {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(events.try_recv().ok(), None, "the slot hasn't noticed");
    let report = rig.server.report();
    assert_eq!((report.injected.removals, report.balance.len()), (1, 0), "what had no power has nothing");
    assert_eq!((door.config(0), door.config(BAR0)), (NOBODY, NOBODY));
    // Writes go nowhere, and whatever a hypervisor does about interrupts has no effect.
    door.write32(REVISION, [1; 4]).unwrap();
    door.set_command(BUS_MASTER | MEMORY_SPACE, true);
    door.stop_listening(0);
    door.enable_vector(0).unwrap();
    assert_eq!(events.recv_timeout(PATIENCE), Ok(CardEvent::Gone));
    // There's no card for another client.
    door.hang_up();
    rig.gone(1);
    let mut turned_away = UnixStream::connect(rig.socket()).unwrap();
    turned_away.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(turned_away.read(&mut [0]).unwrap(), 0);
    let _left = ManuallyDrop::new((driver, context));

    assert_eq!(events.recv_timeout(PATIENCE), Ok(CardEvent::Back));
    let door = rig.connect();
    assert_eq!((door.config(0), door.read32(REVISION).unwrap()), (vendor, revision));
    let driver = start(&door);
    drop(driver.open().unwrap());
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.server.finish().unwrap();
    assert_eq!((report.lives.begun, report.lives.torn_down, report.lives.unclean), (2, 1, 0), "{report}");
    assert!(report.balance.is_empty() && report.injected.waiting == 0, "{report}");
}

/// A client that stays finds the function as after power-on: asleep to all but its configuration space.
#[test]
fn whoever_notices_nothing_has_a_function_without_settings() {
    let rig = rig("at_ms = 300\nfor_ms = 100");
    let events = rig.server.card_events();
    let door = rig.connect();
    let vendor: [u8; 4] = door.config(0);
    assert_ne!(door.read32(REVISION).unwrap(), NOBODY);
    assert_eq!(events.recv_timeout(PATIENCE), Ok(CardEvent::Gone));
    assert_eq!(events.recv_timeout(PATIENCE), Ok(CardEvent::Back));
    assert_eq!((door.config(0), door.config(COMMAND)), (vendor, [0, 0]));
    assert_eq!(u64::from_le_bytes(door.config(BAR0)) & !0xf, 0);
    assert_eq!(door.read32(REVISION).unwrap(), NOBODY);
    door.hang_up();
    rig.gone(1);
    let door = rig.connect();
    start(&door).shut_down().unwrap();
    door.hang_up();
    let report = rig.server.finish().unwrap();
    assert_eq!((report.lives.torn_down, report.balance.len()), (1, 0), "{report}");
}

#[test]
fn a_card_that_goes_for_good_takes_its_faults_along() {
    let rig = rig("at_ms = 50\n[[fault]]\nkind = 'fatal'\nat_ms = 60");
    let events = rig.server.card_events();
    assert_eq!(events.recv_timeout(PATIENCE), Ok(CardEvent::Gone));
    assert!(events.recv_timeout(Duration::from_millis(100)).is_err());
    let report = rig.server.finish().unwrap();
    assert_eq!((report.injected.removals, report.injected.waiting, report.injected.happened.fatal), (1, 1, 0));
}
