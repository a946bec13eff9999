//! The expansion ROM: reads of it reach software, once the host has given it an address and enabled it.

mod common;

use common::Rig;
use common::software::{Software, description};
use common::twin::{Channel, user};
use mlx5_twin_fw_cmds::layout::emulated_function;
use mlx5_twin_fw_cmds::twin_v1::bar;
use mlx5_twin_sim::config::{Bar, PcieCapability, PortType, Type0};
use mlx5_twin_sim::host::{Access, AccessError};

/// The Expansion ROM register.
const ROM: u16 = 12;
const LOG_SIZE: u8 = 12;
const SIZE: u64 = 1 << LOG_SIZE;

/// A function with a ROM, and where the host has put it.
fn ready() -> (Rig, Software, u64) {
    let mut rig = Rig::initialised();
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 4, 0);
    let (_, mut spec) = description(channel.id, 0);
    (spec.rom_log_size, spec.vectors, spec.msix_offset) = (LOG_SIZE, 0, 0);
    spec.bars[0].0 = bar::MEMORY32;
    spec.regions.retain(|(kind, ..)| *kind == mlx5_twin_fw_cmds::twin_v1::region::TRANSACTION);
    let bars = [Some(Bar::memory64(common::software::BAR_SIZE)), None, None, None, None, None];
    let header =
        Type0 { vendor_id: 0xfff1, device_id: 0x42, bars, expansion_rom: Some(SIZE as u32), ..Type0::default() };
    let mut config = header.build().expect("a header");
    spec.pcie_offset = config.add(&PcieCapability::new(PortType::Endpoint)).expect("room");
    let mut software = Software::claim_as(&mut rig, channel, config, &spec);
    let found = software.enumerate(&mut rig);
    let rom = found.last().and_then(|function| function.expansion_rom).expect("it has a ROM");
    assert_eq!((rom.size, rom.index), (SIZE, bar::ROM));
    let image = Software::at((bar::ROM, 0));
    for (at, byte) in software.memory[image..image + SIZE as usize].iter_mut().enumerate() {
        *byte = (at as u8) ^ (at >> 8) as u8;
    }
    software.memory[image..image + 2].copy_from_slice(&[0x55, 0xaa]);
    software.set_command(&mut rig, 2);
    software.seen.clear();
    (rig, software, rom.address)
}

fn read(rig: &mut Rig, software: &mut Software, address: u64, len: u8) -> Result<Vec<u8>, AccessError> {
    software.host(rig, Access::MemoryRead { address, len }).map(|data| data.bytes().to_vec())
}

#[test]
fn the_host_reads_the_header() {
    let (mut rig, mut software, rom) = ready();
    software.config_write(&mut rig, ROM, 0xf, rom as u32 | 1);
    software.seen.clear();
    assert_eq!(read(&mut rig, &mut software, rom, 2), Ok(vec![0x55, 0xaa]));
    assert_eq!(software.seen[0].place, Some((bar::ROM, 0)));
    let last = read(&mut rig, &mut software, rom + SIZE - 64, 64).expect("an answer");
    let image = Software::at((bar::ROM, SIZE - 64));
    assert_eq!(last, software.memory[image..image + 64]);
    assert_eq!(software.seen[1].place, Some((bar::ROM, SIZE - 64)));
    let query = software.query(&mut rig);
    assert_eq!(emulated_function::ROM_LOG_SIZE.get(&query), Ok(LOG_SIZE.into()));
    assert_eq!(software.channel.faults(&mut rig), []);
}

/// Command, register, address relative to the ROM, length, and whether there's an answer.
#[test]
fn when_it_decodes() {
    let (mut rig, mut software, rom) = ready();
    let base = rom as u32;
    #[rustfmt::skip]
    let cases = [
        ("enabled",                     2, base | 1,            0,             4, true),
        ("with all reserved bits",      2, base | 0x7ff,        0,             4, true),
        ("at its end",                  2, base | 1,            SIZE - 4,      4, true),
        ("not enabled",                 2, base,                0,             4, false),
        ("memory space is off",         0, base | 1,            0,             4, false),
        ("I/O space only",              1, base | 1,            0,             4, false),
        ("behind its end",              2, base | 1,            SIZE,          4, false),
        ("moved away",                  2, (base ^ 0x1000) | 1, 0,             4, false),
        ("back again",                  2, base | 1,            0x100,        64, true),
    ];
    for (what, command, register, offset, len, answered) in cases {
        software.set_command(&mut rig, command);
        software.config_write(&mut rig, ROM, 0xf, register);
        assert_eq!(software.config_read(&mut rig, ROM), Ok(register & 0xffff_f001), "{what}");
        let outcome = read(&mut rig, &mut software, rom + offset, len);
        assert_eq!(outcome.is_ok(), answered, "{what}: {outcome:?}");
        if !answered {
            assert_eq!(outcome, Err(AccessError::UnsupportedRequest(rom + offset)), "{what}");
        }
    }
    // A write of some bytes of the register changes those alone.
    software.config_write(&mut rig, ROM, 0x1, 0);
    assert!(read(&mut rig, &mut software, rom, 4).is_err());
    software.config_write(&mut rig, ROM, 0x1, 1);
    assert!(read(&mut rig, &mut software, rom, 4).is_ok());
    software.function_level_reset(&mut rig);
    assert_eq!(software.config_read(&mut rig, ROM), Ok(0));
    assert!(read(&mut rig, &mut software, rom, 4).is_err(), "a reset disables it");
}

#[test]
fn it_can_not_be_written() {
    let (mut rig, mut software, rom) = ready();
    software.config_write(&mut rig, ROM, 0xf, rom as u32 | 1);
    software.seen.clear();
    let before = rig.machine.simulation.fabric().faults().unsupported_request;
    for (offset, len) in [(0, 4), (1, 2), (0x40, 64)] {
        let data = mlx5_twin_sim::host::Data::new(&vec![0xff; len]);
        software.host(&mut rig, Access::MemoryWrite { address: rom + offset, data }).expect("posted");
    }
    software.settle(&mut rig);
    assert_eq!(rig.machine.simulation.fabric().faults().unsupported_request, before + 3);
    assert!(software.seen.is_empty(), "software hears nothing of it");
    assert_eq!(read(&mut rig, &mut software, rom, 2), Ok(vec![0x55, 0xaa]));
}

/// Where the ROM lies on a BAR, the BAR answers (ours; the specification leaves it open).
#[test]
fn a_bar_goes_before_the_rom() {
    let (mut rig, mut software, rom) = ready();
    software.config_write(&mut rig, ROM, 0xf, rom as u32 | 1);
    software.config_write(&mut rig, 4, 0xf, rom as u32);
    software.seen.clear();
    read(&mut rig, &mut software, rom, 4).expect("an answer");
    assert_eq!(software.seen[0].place, Some((0, 0)));
    software.config_write(&mut rig, 4, 0xf, software.bar as u32);
    software.seen.clear();
    read(&mut rig, &mut software, rom, 4).expect("an answer");
    assert_eq!(software.seen[0].place, Some((bar::ROM, 0)));
}
