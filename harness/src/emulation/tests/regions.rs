use mlx5_twin_sim::config::Reset;

use super::super::{Doorbell, Error, Region, RegionKind};
use super::*;
use crate::channel;

const STATE: u32 = 0x1000;
const ROM_BAR: u32 = 0xd000_0000;
/// Regions by their numbers: `msix` describes two.
const QUIET: usize = 3;
const BELLS: usize = 4;
const STATEFUL: usize = 5;

fn description() -> Description {
    Description::new(1, header())
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 3, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0, 0x1000)
        .doorbells(0, 0x3800, 8)
        .notifying_doorbells(0, 0x3900, 16)
        .stateful(0, u64::from(STATE), (0..64).collect::<Vec<u8>>())
        .expansion_rom(*b"\x55\xaa image")
}

fn ready() -> Rig {
    let mut rig = Rig::new(&description());
    rig.set_up();
    rig
}

/// The doorbells that came: number and value.
fn rung(rig: &mut Rig) -> Vec<(usize, u32)> {
    let mut all = Vec::new();
    while let Some(request) = rig.poll() {
        let Request::Doorbell { number, doorbell, .. } = request else { panic!("{request:?}") };
        let offset = 0x3900 + 4 * (number as u64 - 2);
        assert_eq!((doorbell.bar, doorbell.offset), (0, offset));
        all.push((number, doorbell.value));
    }
    all
}

#[test]
fn doorbells_ring() {
    let mut rig = ready();
    rig.write(0x3800, 4, &[1, 0, 0, 0]);
    assert_eq!(rig.poll(), None, "these don't notify");
    rig.write(0x3904, 4, &[2, 0, 0, 0]);
    assert_eq!(rung(&mut rig), [(3, 2)]);
    // In the loop that polls, each ring is heard: the slot is free as soon as the last one was taken.
    for value in 3..100 {
        rig.write(0x3904, 4, &[value, 0, 0, 0]);
        assert_eq!(rung(&mut rig), [(3, u32::from(value))]);
    }
    // Many rings while nobody looks are one, then one more.
    for value in 1..50 {
        rig.write(0x3900, 4, &[value, 0, 0, 0]);
    }
    assert_eq!(rung(&mut rig), [(2, 1), (2, 49)]);
    let all = rig.function.doorbells().unwrap();
    assert_eq!(all.len(), 6);
    assert_eq!(all[0], Doorbell { bar: 0, offset: 0x3800, value: 1 });
    assert_eq!([all[2].value, all[3].value], [49, 99]);
    rig.assert_no_faults();
}

#[test]
fn software_sets_doorbells() {
    let mut rig = ready();
    rig.function.set_doorbell(1, 7).unwrap();
    assert_eq!(rig.poll(), None);
    rig.function.set_doorbell(5, 8).unwrap();
    assert_eq!(rung(&mut rig), [(5, 8)]);
    let values: Vec<u32> = rig.function.doorbells().unwrap().iter().map(|doorbell| doorbell.value).collect();
    assert_eq!(values, [0, 7, 0, 0, 0, 8]);
    assert_eq!(rig.function.set_doorbell(6, 0), Err(Error::NoDoorbell { port: Port(1), number: 6, count: 6 }));
    assert_eq!(rig.function.region(BELLS, 12, 4), Ok(vec![8, 0, 0, 0]));
    assert_eq!(rig.function.region(QUIET, 4, 4), Ok(vec![7, 0, 0, 0]));
}

#[test]
fn a_stateful_region_is_the_devices() {
    let mut rig = ready();
    rig.read(STATE + 8, 8);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.sent()[0].payload, [8, 9, 10, 11, 12, 13, 14, 15], "its defaults");
    for _ in 0..3 {
        rig.write(STATE + 9, 2, &[0xee, 1, 2, 0xee]);
    }
    let told = |request| matches!(request, Some(Request::RegionWritten { region: STATEFUL, .. }));
    assert!(told(rig.poll()));
    assert!(told(rig.poll()), "it was written again before the first message was taken");
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.function.region(STATEFUL, 8, 4), Ok(vec![8, 1, 2, 11]));

    rig.function.set_region(STATEFUL, 0, &[0xff; 4]).unwrap();
    rig.function.set_region_defaults(STATEFUL, 0, &[0x77, 0x78]).unwrap();
    assert_eq!(rig.poll(), None, "nobody is told of software's own changes");
    assert_eq!(rig.function.region(STATEFUL, 0, 4), Ok(vec![0xff; 4]));
    rig.config_write(DEVICE_CONTROL, 0b0011, 1 << 15);
    assert_eq!(rig.poll(), Some(Request::Reset(Reset::FunctionLevel)));
    assert_eq!(rig.function.region(STATEFUL, 0, 12), Ok(vec![0x77, 0x78, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
    rig.assert_no_faults();
}

#[test]
fn bytes_that_are_not_there() {
    let mut rig = ready();
    let regions = rig.function.regions().unwrap();
    assert_eq!(regions.len(), 6);
    assert_eq!(
        regions[STATEFUL],
        Region { kind: RegionKind::Stateful, bar: 0, offset: u64::from(STATE), length: 64, notify: true }
    );
    for (region, offset, len) in
        [(6, 0, 4), (0, 0, 4), (2, 0, 4), (STATEFUL, 61, 4), (STATEFUL, u64::MAX, 4), (BELLS, 2, 4), (BELLS, 0, 3)]
    {
        let error = Err(Error::Channel(channel::Error::Bytes { port: 1, region, offset, len }));
        assert_eq!(rig.function.region(region, offset, len).map(drop), error);
        assert_eq!(rig.function.set_region(region, offset, &vec![0; len]), error);
        assert_eq!(rig.function.set_region_defaults(region, offset, &vec![0; len]), error);
    }
    assert_eq!(rig.function.region(STATEFUL, 64, 0), Ok(Vec::new()), "nothing is there");
    let mut channel = rig.function.into_channel();
    assert_eq!(channel.region(Port(2), STATEFUL, 0, 4), Err(Error::NoFunction(Port(2))));
    assert_eq!(channel.set_doorbell(Port(2), 0, 4), Err(Error::NoFunction(Port(2))));
}

/// More than one command takes, at first and later.
#[test]
fn a_large_region_takes_several_commands() {
    let header = Type0 { bars: [Some(Bar::memory32(0x1_0000)), None, None, None, None, None], ..header() };
    let bytes: Vec<u8> = (0..0x1_0000_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let mut rig = Rig::new(&Description::new(1, header).stateful(0, 0, bytes.clone()));
    assert_eq!(rig.function.region(0, 0, 0x1_0000).unwrap(), bytes);
    assert_eq!(rig.function.region(0, 5, 0xc001).unwrap(), bytes[5..0xc006]);
    let other: Vec<u8> = bytes.iter().rev().copied().collect();
    rig.function.set_region(0, 3, &other[..0x9000]).unwrap();
    let mut expected = bytes;
    expected[3..0x9003].copy_from_slice(&other[..0x9000]);
    assert_eq!(rig.function.region(0, 0, 0x1_0000).unwrap(), expected);
}

impl Rig {
    fn read_rom(&mut self, offset: u32, len: u32) -> Header {
        self.deliver(Header::mem_read_bytes(HOST, 0, u64::from(ROM_BAR + offset), len).unwrap(), &[])
    }
}

#[test]
fn a_rom_with_an_image_is_answered() {
    let mut rig = ready();
    assert_eq!(rig.function.config().unwrap().expansion_rom(), None);
    rig.config_write(12, 0xf, ROM_BAR | 1);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.function.config().unwrap().expansion_rom().map(|rom| rom.size), Some(2048));
    rig.sent();
    for (offset, data) in [(0, &b"\x55\xaa image"[..]), (4, b"mage\xff\xff\xff\xff"), (0x7fc, &[0xff; 4])] {
        rig.read_rom(offset, data.len() as u32);
        assert_eq!(rig.poll(), None, "the author hears nothing of it");
        assert_eq!(rig.sent()[0].payload, data, "at {offset:#x}");
    }
    // A large read goes out in parts.
    rig.read_rom(0, 1024);
    assert_eq!(rig.poll(), None);
    let sent = rig.sent();
    assert_eq!(sent.len(), 4);
    assert_eq!(sent.iter().flat_map(|part| &part.payload).filter(|byte| **byte != 0xff).count(), 8);
    rig.assert_no_faults();
}

#[test]
fn a_rom_without_an_image_is_the_authors() {
    let mut rig = Rig::new(&Description::new(1, Type0 { expansion_rom: Some(0x1000), ..header() }));
    rig.set_up();
    rig.config_write(12, 0xf, ROM_BAR | 1);
    assert_eq!(rig.poll(), None);
    rig.sent();
    rig.read_rom(0x10, 8);
    let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
    assert_eq!((read.at.bar, read.at.offset, read.at.len()), (6, 0x10, 8));
    rig.function.complete(read.id, &read.data(|offset, _| offset as u32)).unwrap();
    assert_eq!(rig.sent()[0].payload, [0x10, 0, 0, 0, 0x14, 0, 0, 0]);
    rig.assert_no_faults();
}
