//! The client's memory comes and goes, and so does the right to reach it.

use std::mem::ManuallyDrop;
use std::time::Duration;

use mlx5_twin_harness::driver::Door;

use crate::door::{BUS_MASTER, MEMORY_SPACE};
use crate::{Rig, start};

const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(10);

#[test]
fn only_a_bus_master_reaches_memory() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let posted = door.post_enable_hca();
    assert_eq!(posted.wait(&door, SOON), None);
    let refused = rig.server.report().device["dma_errors"];
    assert!(refused > 0);
    for _ in 0..2 {
        door.set_command(BUS_MASTER, true);
        posted.post(&door);
        assert!(posted.wait(&door, LATE).is_some());
        door.set_command(BUS_MASTER, false);
        posted.post(&door);
        assert_eq!(posted.wait(&door, SOON), None);
    }
    assert!(rig.server.report().device["dma_errors"] > refused);
    // Nothing of it is left to a driver that comes then.
    Door::reset(&*door).unwrap();
    let driver = start(&door);
    driver.shut_down().unwrap();
    door.hang_up();
    assert_eq!(rig.finish().balance.len(), 0);
}

#[test]
fn memory_is_unmapped_under_a_driver() {
    let rig = Rig::new(None);
    let door = rig.connect();
    for _ in 0..2 {
        let driver = start(&door);
        let _left = ManuallyDrop::new(driver.open().unwrap());
        let before = rig.server.report();
        door.unmap();
        // The driver's queue has its doorbell rung, for a command that can't be read any more.
        for slot in 0..5 {
            door.write32(0x18, (1_u32 << slot).to_be_bytes()).unwrap();
        }
        std::thread::sleep(SOON);
        let after = rig.server.report();
        assert!(after.device["dma_errors"] > before.device["dma_errors"], "{after}");
        assert_ne!(door.read32(4).unwrap(), [0xff; 4]);
        let _left = ManuallyDrop::new(driver);
        door.map();
        Door::reset(&*door).unwrap();
        door.set_command(MEMORY_SPACE, true);
        let driver = start(&door);
        drop(driver.open().unwrap());
        driver.shut_down().unwrap();
    }
    door.hang_up();
    let report = rig.finish();
    assert_eq!((report.balance.len(), report.traffic.maps, report.traffic.unmaps), (0, 3, 2));
}
