//! The root complex as a completer: atomics and byte enables; and bridges: configuration routing, and what they keep back.

mod common;

use common::plant::{MEMORY, Plant, Recorder, Shape, Spec, plant, single};
use mlx5_twin_sim::host::AccessError;
use mlx5_twin_sim::tlp::{Atomic, Bdf, Header, Kind, Status};

/// An atomic, its operands, what memory holds before, and after.
type Row = (Atomic, u32, &'static [u8], u128, u128);

const U64: u128 = u64::MAX as u128;
const ATOMICS: [Row; 9] = [
    (Atomic::FetchAdd, 4, &[5, 0, 0, 0], 7, 12),
    (Atomic::FetchAdd, 4, &[1, 0, 0, 0], 0xffff_ffff, 0),
    (Atomic::FetchAdd, 8, &[0xff; 8], 1, 0),
    (Atomic::FetchAdd, 8, &[1, 0, 0, 0, 0, 0, 0, 0], 0xffff_ffff, 0x1_0000_0000),
    (Atomic::Swap, 4, &[4, 3, 2, 1], 0xdead_beef, 0x0102_0304),
    (Atomic::Swap, 8, &[8, 7, 6, 5, 4, 3, 2, 1], U64, 0x0102_0304_0506_0708),
    (Atomic::Cas, 4, &[9, 0, 0, 0, 6, 0, 0, 0], 9, 6),
    (Atomic::Cas, 4, &[9, 0, 0, 0, 6, 0, 0, 0], 8, 8),
    (
        Atomic::Cas,
        16,
        &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
        2 << 64 | 1,
        4 << 64 | 3,
    ),
];

fn read(plant: &Plant, address: u64, out: &mut [u8]) {
    plant.simulation.fabric().memory(plant.root).unwrap().read(address, out).unwrap();
}

fn write(plant: &mut Plant, address: u64, data: &[u8]) {
    let root = plant.root;
    plant.fabric().memory_mut(root).unwrap().write(address, data).unwrap();
}

#[test]
fn atomics_change_memory_and_give_what_was_there() {
    const AT: u64 = 0x2340;
    let mut plant = single(&Spec::default());
    let me = plant.function(0).0;
    for (operation, size, operands, before, after) in ATOMICS {
        let row = format!("{operation:?} of {size} bytes on {before:#x}");
        let bytes = size as usize;
        // What lies beside it must stay.
        write(&mut plant, AT - 16, &[0xaa; 48]);
        write(&mut plant, AT, &before.to_le_bytes()[..bytes]);
        plant.send(0, Header::atomic(operation, me, 3, AT, size).unwrap(), operands);
        plant.settle();
        let answer = plant.agent(0, |agent, _| agent.received.pop()).unwrap();
        assert_eq!((answer.header.status(), answer.header.tag()), (Status::Successful, 3), "{row}");
        assert_eq!(answer.payload, before.to_le_bytes()[..bytes], "{row}");
        let mut memory = [0; 48];
        read(&plant, AT - 16, &mut memory);
        let mut expected = [0xaa; 48];
        expected[16..16 + bytes].copy_from_slice(&after.to_le_bytes()[..bytes]);
        assert_eq!(memory, expected, "{row}");
    }
    // At the end of memory, of which a compare and swap touches no more than one operand.
    plant.send(0, Header::atomic(Atomic::Cas, me, 5, MEMORY - 8, 8).unwrap(), &[0; 16]);
    plant.settle();
    let answer = plant.agent(0, |agent, _| agent.received.pop()).unwrap();
    assert_eq!(answer.header.status(), Status::Successful);
    plant.send(0, Header::atomic(Atomic::Swap, me, 4, MEMORY, 4).unwrap(), &[0; 4]);
    plant.settle();
    let answer = plant.agent(0, |agent, _| agent.received.pop()).unwrap();
    assert_eq!(answer.header.status(), Status::UnsupportedRequest);
}

#[test]
fn only_enabled_bytes_are_written() {
    const AT: u64 = 0x800;
    let mut plant = single(&Spec::default());
    let me = plant.function(0).0;
    for first in 0..16_u8 {
        for (last, dwords) in (0..16).map(|last| (last, 2)).chain([(0, 1)]) {
            // With two dwords both must have a byte (and then any pattern is good, as they are aligned to 8 bytes).
            let Ok(header) = Header::mem_write(me, 0, AT, first, last, dwords) else {
                assert!(dwords == 2 && (first == 0 || last == 0));
                continue;
            };
            write(&mut plant, AT, &[0; 8]);
            let data = [1, 2, 3, 4, 5, 6, 7, 8];
            plant.send(0, header, &data[..header.payload_len()]);
            plant.settle();
            let mut memory = [0; 8];
            read(&plant, AT, &mut memory);
            let enabled = u32::from(first) | u32::from(last) << 4;
            let expected = std::array::from_fn(|byte| if enabled >> byte & 1 != 0 { data[byte] } else { 0 });
            assert_eq!(memory, expected, "byte enables {first:04b} {last:04b}");
        }
    }
}

#[test]
fn a_write_past_the_end_of_memory_changes_nothing() {
    let mut plant = single(&Spec::default());
    let me = plant.function(0).0;
    plant.send(0, Header::mem_write_bytes(me, 0, MEMORY - 4, 4).unwrap(), &[1; 4]);
    plant.send(0, Header::mem_write_bytes(me, 0, MEMORY, 4).unwrap(), &[2; 4]);
    plant.settle();
    let mut memory = [0; 4];
    read(&plant, MEMORY - 4, &mut memory);
    assert_eq!((memory, plant.faults().unsupported_request), ([1; 4], 1));
}

/// Host, switch, switch, agent: a configuration request is type 1 until the link on which its target lives.
#[test]
fn configuration_requests_become_type_0_at_the_last_bridge() {
    let shape = Shape::Switch(vec![Shape::Agent, Shape::Switch(vec![Shape::Agent])]);
    let mut plant = plant(&[shape], &Spec::default());
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    for found in plant.found.clone() {
        recorder.take();
        let id = found.id;
        let identity = plant.run(move |host| async move { host.config_read(id, 0).await }).unwrap();
        assert_eq!(identity, u32::from(found.device) << 16 | u32::from(found.vendor), "{id}");
        let kinds: Vec<Kind> = (recorder.take().transmitted.iter())
            .filter(|seen| seen.down)
            .map(|seen| Header::decode(&seen.header).unwrap().kind())
            .collect();
        // Every other step of the walk down is the bus within a switch, where there's no link.
        assert_eq!(kinds.len(), usize::from(found.depth).div_ceil(2), "{id} of depth {}: {kinds:?}", found.depth);
        let internal = found.bridge && found.depth % 2 == 0;
        for (hop, &kind) in kinds.iter().enumerate() {
            let direct = hop + 1 == kinds.len() && !internal;
            assert_eq!(kind, if direct { Kind::CfgRd0 } else { Kind::CfgRd1 }, "{id}, hop {hop}");
        }
    }
}

/// IDs of the bridges from the root port down to the agent of [`single`]: root port, upstream port, downstream port.
fn bridges(plant: &Plant) -> Vec<Bdf> {
    plant.found.iter().filter(|found| found.bridge).map(|found| found.id).collect()
}

fn command(plant: &mut Plant, id: Bdf, value: u32) {
    plant.run(move |host| async move { host.config_write_bytes(id, 1, 0x3, value).await }).unwrap();
}

const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;

#[test]
fn a_bridge_without_memory_space_passes_nothing_down() {
    let mut plant = single(&Spec::default());
    let bar = plant.function(0).1;
    for bridge in bridges(&plant) {
        command(&mut plant, bridge, BUS_MASTER);
        let read = plant.run(move |host| async move { host.read32(bar).await });
        assert_eq!(read, Err(AccessError::UnsupportedRequest(bar)), "{bridge} off");
        command(&mut plant, bridge, BUS_MASTER | MEMORY_SPACE);
        let read = plant.run(move |host| async move { host.read32(bar).await });
        assert_eq!(read, Ok(0x0302_0100), "{bridge} on again");
    }
}

#[test]
fn a_bridge_that_is_no_bus_master_passes_no_requests_up() {
    let mut plant = single(&Spec::default());
    let (me, bar) = plant.function(0);
    for bridge in bridges(&plant) {
        command(&mut plant, bridge, MEMORY_SPACE);
        let before = plant.faults().unsupported_request;
        plant.send(0, Header::mem_write_bytes(me, 0, 0x100, 4).unwrap(), &[1; 4]);
        plant.send(0, Header::mem_read_bytes(me, 1, 0x100, 4).unwrap(), &[]);
        plant.settle();
        assert_eq!(plant.faults().unsupported_request - before, 2, "{bridge} off");
        let mut memory = [0; 4];
        read(&plant, 0x100, &mut memory);
        assert_eq!(memory, [0; 4], "{bridge} off");
        let answer = plant.agent(0, |agent, _| agent.received.pop()).unwrap().header;
        assert_eq!(answer.status(), Status::UnsupportedRequest);
        // Completions aren't requests: the host still reads through it.
        assert!(plant.run(move |host| async move { host.read32(bar).await }).is_ok());
        command(&mut plant, bridge, BUS_MASTER | MEMORY_SPACE);
        plant.send(0, Header::mem_write_bytes(me, 0, 0x100, 4).unwrap(), &[1; 4]);
        plant.settle();
        read(&plant, 0x100, &mut memory);
        assert_eq!(memory, [1; 4], "{bridge} on again");
        write(&mut plant, 0x100, &[0; 4]);
    }
}

#[test]
fn peers_need_only_the_bridges_between_them() {
    let mut plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &Spec::default());
    let (me, bar) = (plant.function(0).0, plant.function(1).1);
    let bridges = bridges(&plant);
    // Root port, upstream port, downstream ports of both: what each has on, and whether the write gets through.
    let table = [
        ([6, 6, 6, 6], true),
        ([0, 0, 6, 6], true),
        ([6, 6, MEMORY_SPACE, 6], false),
        ([6, 6, BUS_MASTER, 6], true),
        ([6, 6, 6, BUS_MASTER], false),
        ([6, 6, 6, MEMORY_SPACE], true),
    ];
    for (commands, arrives) in table {
        for (&bridge, value) in bridges.iter().zip(commands) {
            command(&mut plant, bridge, value);
        }
        plant.agent(1, |agent, _| agent.received.clear());
        plant.send(0, Header::mem_write_bytes(me, 0, bar, 4).unwrap(), &[1; 4]);
        plant.settle();
        assert_eq!(plant.agent(1, |agent, _| agent.received.len()), usize::from(arrives), "{commands:?}");
    }
}
