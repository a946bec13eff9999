//! Vectors and who listens to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_harness::driver::Door;

use crate::{Rig, start};

/// The vector of the command queue's events.
const VECTOR: u32 = 0;

#[test]
fn a_vector_nobody_listens_to_is_pending() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let driver = start(&door);
    let context = driver.open().unwrap();
    for _ in 0..3 {
        door.stop_listening(VECTOR);
        let before = rig.server.report();
        let waits = {
            let context = Arc::clone(&context);
            let mut input = [0; 16];
            input[..2].copy_from_slice(&Opcode::NOP.0.to_be_bytes());
            std::thread::spawn(move || context.general_command(&input, 16).map(drop))
        };
        let begun = Instant::now();
        while !door.msix_entry(VECTOR).1 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (entry, pending) = door.msix_entry(VECTOR);
        assert_eq!((entry[3] & 1, pending), (1, true), "masked, and pending");
        assert!(!waits.is_finished());
        assert_eq!(rig.server.report().traffic.interrupts, before.traffic.interrupts);
        door.enable_vector(VECTOR).unwrap();
        waits.join().unwrap().unwrap();
        assert_eq!(rig.server.report().traffic.interrupts, before.traffic.interrupts + 1);
        assert_eq!(door.msix_entry(VECTOR), ([0xfee0_0000, 0, VECTOR, 0], false));
    }
    drop(context);
    driver.shut_down().unwrap();
    door.hang_up();
    assert_eq!(rig.finish().balance.len(), 0);
}

/// Each vector's event is its own.
#[test]
fn entries_are_those_of_the_listeners() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let last = door.vectors() - 1;
    for vector in [0, 1, 7, last] {
        door.enable_vector(vector).unwrap();
    }
    for vector in [0, 1, 2, 6, 7, 8, last - 1, last] {
        let (entry, pending) = door.msix_entry(vector);
        let listened = [0, 1, 7, last].contains(&vector);
        assert_eq!((entry[3] & 1 == 0, pending), (listened, false), "vector {vector}");
        assert!(!listened || entry == [0xfee0_0000, 0, vector, 0], "{entry:x?}");
    }
    door.enable().unwrap();
    door.disable().unwrap();
    assert!([0, 1, 7, last].iter().all(|&vector| door.msix_entry(vector).0[3] & 1 == 1));
    door.hang_up();
    // The next one doesn't find them.
    rig.gone(1);
    let door = rig.connect();
    assert!([0, 1, 7, last].iter().all(|&vector| door.msix_entry(vector) == ([0, 0, 0, 1], false)));
    door.hang_up();
    rig.finish();
}
