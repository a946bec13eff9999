//! Clients that come, go and misbehave: the next one finds the function as new.

use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;

use crate::door::{BAR0, BUS_MASTER, COMMAND, ClientDoor};
use crate::messages::greeting;
use crate::{Rig, slow, start};

// Commands of the protocol.
const VERSION: u16 = 1;
const DMA_MAP: u16 = 2;
const REGION_INFO: u16 = 5;
const SET_IRQS: u16 = 8;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;

#[test]
fn a_client_goes_without_goodbye() {
    let rig = Rig::with_profile(slow(&[("ENABLE_HCA", 100)]), None);
    // In the middle of a command.
    let door = rig.connect();
    door.set_command(BUS_MASTER, true);
    door.post_enable_hca();
    drop(door);
    rig.gone(1);
    // With all that a driver has, and asleep.
    let door = rig.connect();
    let driver = start(&door);
    let context = driver.open().unwrap();
    let _left = ManuallyDrop::new(context.register_umem(1 << 16).unwrap());
    assert!(!rig.server.report().balance.is_empty());
    door.set_power(3);
    door.hang_up();
    let _left = ManuallyDrop::new((driver, context));
    let report = rig.gone(2);
    assert!(report.balance.is_empty(), "{report}");
    // As new.
    let mut client = vfio_user::Client::new(&rig.socket()).unwrap();
    let mut read = |offset| {
        let mut bytes = [0; 8];
        client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, offset, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(read(COMMAND)[..2], [0, 0]);
    assert_eq!(u64::from_le_bytes(read(BAR0)) & !0xf, 0);
    drop(client);
    let door = rig.connect();
    assert_eq!(door.set_power(0), 0);
    assert_eq!(door.msix_entry(0), ([0, 0, 0, 1], false));
    let driver = start(&door);
    drop(driver.open().unwrap());
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    assert_eq!((report.lives.begun, report.lives.torn_down, report.balance.len()), (2, 1, 0));
}

#[test]
fn a_second_client_waits() {
    let rig = Rig::new(None);
    let first = rig.connect();
    let socket = rig.socket();
    let second = std::thread::spawn(move || ClientDoor::connect(&socket));
    let driver = start(&first);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!second.is_finished());
    driver.shut_down().unwrap();
    first.hang_up();
    let second = Arc::new(second.join().unwrap());
    let driver = start(&second);
    driver.shut_down().unwrap();
    second.hang_up();
    assert_eq!(rig.gone(2).lives.torn_down, 2);
    rig.finish();
}

/// A header: number, command, length of the message, flags, error.
fn header(command: u16, len: u32) -> Vec<u8> {
    let mut header = vec![1, 0];
    header.extend(command.to_ne_bytes());
    header.extend(len.to_ne_bytes());
    header.extend([0; 8]);
    header
}

/// A message with a true length.
fn message(command: u16, words: &[u32]) -> Vec<u8> {
    let mut message = header(command, 16 + words.len() as u32 * 4);
    message.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    message
}

fn version(json: &[u8]) -> Vec<u8> {
    let mut message = header(VERSION, 20 + json.len() as u32);
    message.extend([0; 4]);
    message.extend(json);
    message
}

#[test]
fn malformed_messages_end_nothing_but_their_client() {
    let rig = Rig::new(None);
    let (all, half) = (u32::MAX, header(VERSION, 40)[..7].to_vec());
    let cases = [
        ("nothing", Vec::new()),
        ("half a header", half),
        ("a header without its message", header(REGION_READ, 32)),
        ("JSON without its end", version(b"{}")),
        ("JSON that is none", version(b"{\"capabilities\": [}\0")),
        ("JSON with an end in it", version(b"{}\0\0")),
        ("no JSON at all", version(b"")),
        ("a version that is shorter than itself", [header(VERSION, 4), vec![0; 4]].concat()),
        ("an endless version", [header(VERSION, all), vec![0; 64]].concat()),
        ("an unknown command", message(99, &[1, 2, 3, 4])),
        ("the unknown command", message(0, &[])),
        ("a command that clients don't get", message(11, &[0; 4])),
        ("a region that there isn't", message(REGION_INFO, &[32, 0, 77, 0, 0, 0, 0, 0])),
        ("a read of all", message(REGION_READ, &[0, 0, 0, all])),
        ("a read past the end", message(REGION_READ, &[all, all, 7, 64])),
        ("a read of another region", message(REGION_READ, &[0, 0, 400, 4])),
        ("a read of a region without bytes", message(REGION_READ, &[0, 0, 3, 4])),
        ("a write of all", message(REGION_WRITE, &[0, 0, 0, all, 5])),
        ("a write past the end", message(REGION_WRITE, &[all, all, 0, 4, 5])),
        ("vectors that there aren't", message(SET_IRQS, &[20, 0x24, 2, all, all])),
        ("more vectors than events", message(SET_IRQS, &[20, 0x24, 2, 0, 5])),
        ("a map of nothing", message(DMA_MAP, &[32, 3, 0, 0, 0, 0, 0, 0])),
        ("a map past the end", message(DMA_MAP, &[32, 3, 0, 0, all, all, all, all])),
        ("noise", (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
    ];
    let mut clients = 0;
    for (what, bytes) in &cases {
        for (greets, reads) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut stream = UnixStream::connect(rig.socket()).unwrap();
            if greets {
                stream.write_all(&greeting().bytes).unwrap();
            }
            // It may have hung up already.
            let _ = stream.write_all(bytes);
            if reads {
                stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                let _ = stream.read(&mut [0; 1 << 16]);
            }
            drop(stream);
            clients += 1;
            assert_eq!(rig.gone(clients).clients, clients, "{what}");
        }
    }
    let door = rig.connect();
    let driver = start(&door);
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    assert_eq!((report.lives.torn_down, report.balance.len()), (1, 0));
}
