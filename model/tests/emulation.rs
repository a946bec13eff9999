//! An emulated function as the host sees it: found, configured, used, reset and gone.

mod common;

use common::commands::plain;
use common::software::{BAR_SIZE, DOORBELLS, MEMORY, PBA, REGISTERS, Software, TABLE, VECTORS};
use common::twin::{Channel, user};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{Fault, gateway};
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_sim::host::{Access, AccessError, Data, enumerate};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, Kind, Status};

const COMMAND: u16 = 1;

/// A function that nobody has claimed asks to be tried again: the host gives up after a second, or gets its answer once there's one.
#[test]
fn before_the_claim() {
    let mut rig = Rig::initialised();
    let host = rig.machine.simulation.host(rig.host());
    let start = rig.machine.simulation.fabric().now();
    let found = rig.drive(async move { enumerate(&host, settings()).await }, |_| {});
    let found = found.expect("an end").expect("enumeration");
    assert!(found.iter().all(|function| function.bridge), "{found:?}");
    assert!(rig.machine.simulation.fabric().now().since(start) >= Time::ms(1000));
    let target = Bdf::new(found.last().expect("a port").id.bus() + 1, 0, 0);
    assert_eq!(rig.config_read(rig.host(), target, 0), Err(AccessError::NotReady(u64::from(target.0) << 12)));

    // The claim comes while the host tries again and again.
    let access = Access::ConfigRead { target, register: 0 };
    let ticket = rig.machine.simulation.access(rig.host(), access).expect("an access");
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 4, 0);
    assert!(rig.machine.simulation.result(ticket).is_none());
    let mut software = Software::claim(&mut rig, channel, 0);
    let mut result = None;
    rig.until(|rig| {
        software.serve(rig);
        result = rig.machine.simulation.result(ticket);
        result.is_some()
    });
    assert_eq!(result, Some(Ok(Data::new(&[0xf1, 0xff, 0x42, 0x00]))));
    assert_eq!(software.seen.len(), 1);
    software.enumerate(&mut rig);
}

#[test]
fn enumeration_finds_what_software_describes() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let found = software.enumerate(&mut rig);
    let own = found.last().expect("the function");
    assert_eq!((own.bridge, own.class), (false, 0xff_0000));
    assert_eq!((own.bars.len(), own.bars[0].size, own.bars[0].is_64bit), (1, BAR_SIZE, true));
    let capabilities: Vec<u8> = own.capabilities.iter().map(|(id, _)| *id).collect();
    assert_eq!(capabilities.len(), 2);
    assert!(capabilities.contains(&0x10) && capabilities.contains(&0x11));
    assert_eq!(software.config.max_payload(), 256);
    let query = software.query(&mut rig);
    assert_eq!(emulated_function::FUNCTION_ID.get(&query), Ok(software.id.0.into()));
    assert_eq!(emulated_function::NUM_MSIX.get(&query), Ok(VECTORS.into()));
    assert_eq!(rig.counters().gateway_unbound, 0);
    assert_eq!(software.channel.faults(&mut rig), []);
}

/// Every length and place within a line, written and read back: software sees BAR, offset and byte enables as the host meant them.
#[test]
fn transactions_reach_software() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let mut expected = [0; 128];
    let mut next = 0_u8;
    for begin in 0..64_usize {
        for len in [1, 2, 3, 4, 7, 8, 13, 16, 32, 61, 64] {
            if begin + len > 64 {
                continue;
            }
            software.seen.clear();
            let bytes: Vec<u8> = (0..len as u8).map(|number| next.wrapping_add(number.wrapping_mul(7))).collect();
            next = next.wrapping_add(101);
            expected[begin..begin + len].copy_from_slice(&bytes);
            software.write(&mut rig, MEMORY + begin as u64, &bytes).expect("a posted write");
            let read = software.read(&mut rig, MEMORY, 64).expect("an answer");
            assert_eq!(read.bytes(), &expected[..64], "{len} bytes at {begin}");
            let part = software.read(&mut rig, MEMORY + begin as u64, len as u8).expect("an answer");
            assert_eq!(part.bytes(), &bytes, "{len} bytes at {begin}");
            let kinds: Vec<Kind> = software.seen.iter().map(|message| message.header().kind()).collect();
            assert_eq!(kinds, [Kind::MWr64, Kind::MRd64, Kind::MRd64]);
            let place = Some((0, MEMORY + (begin as u64 & !3)));
            assert_eq!([software.seen[0].place, software.seen[2].place], [place, place]);
            let (start, bytes) = software.seen[0].header().byte_enables().range(MEMORY + (begin as u64 & !3));
            assert_eq!((start, bytes as usize), (MEMORY + begin as u64, len));
        }
    }
    assert_eq!(software.channel.faults(&mut rig), []);
}

/// Doorbells, MSI-X table and pending bits are the device's: software hears nothing of them but by asking.
#[test]
fn regions_of_the_device() {
    let (mut rig, mut software) = Software::ready(6, 0);
    for dword in 0..16_u64 {
        let value = (0x1111_1111 * dword as u32).to_le_bytes();
        software.write(&mut rig, DOORBELLS + 4 * dword, &value).expect("posted");
    }
    software.write(&mut rig, DOORBELLS + 5, &[0xaa, 0xbb]).expect("posted");
    software.write(&mut rig, DOORBELLS + 0x12, &[1, 2, 3, 4]).expect("posted");
    let read = software.read(&mut rig, DOORBELLS, 64).expect("an answer");
    let mut expected: Vec<u8> = (0..16).flat_map(|dword| (0x1111_1111_u32 * dword).to_le_bytes()).collect();
    expected[5..7].copy_from_slice(&[0xaa, 0xbb]);
    expected[0x12..0x16].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(read.bytes(), expected);
    let query = software.query(&mut rig);
    for (dword, bytes) in expected.chunks(4).enumerate() {
        let value = u32::from_le_bytes(bytes.try_into().expect("four"));
        assert_eq!(emulated_function::DOORBELL.get(&query, dword), Ok(value.into()));
    }
    let entry = [0x00, 0x10, 0xe0, 0xfe, 0, 0, 0, 0, 0x77, 0, 0, 0, 1, 0, 0, 0];
    software.write(&mut rig, TABLE + 32, &entry).expect("posted");
    assert_eq!(software.read(&mut rig, TABLE + 32, 16).expect("an answer").bytes(), entry);
    assert_eq!(software.read(&mut rig, TABLE, 4).expect("an answer").to_u64(), 0);
    software.write(&mut rig, PBA, &[0xff; 8]).expect("posted");
    assert_eq!(software.read(&mut rig, PBA, 8).expect("an answer").to_u64(), 0, "read-only");
    assert!(software.seen.is_empty(), "{:?}", software.seen);
}

#[test]
fn what_hits_no_region_is_unsupported() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let bar = software.bar;
    let faults = |rig: &Rig| rig.machine.simulation.fabric().faults().unsupported_request;
    for (offset, len) in [(0x1040, 4), (0x3008, 4), (0x3004, 8), (0x8000, 64), (0xfffc, 4), (BAR_SIZE, 8)] {
        let answer = software.read(&mut rig, offset, len);
        assert_eq!(answer, Err(AccessError::UnsupportedRequest(bar + offset)), "{len} bytes at {offset:#x}");
        let before = faults(&rig);
        software.write(&mut rig, offset, &vec![1; len.into()]).expect("posted");
        software.settle(&mut rig);
        assert_eq!(faults(&rig), before + 1);
    }
    // A bit outside of what was asked for counts as little as the place it's in.
    assert!(software.read(&mut rig, 0xffe, 2).is_ok());
    let other = Bdf::new(software.id.bus(), 0, 3);
    let answer = software.host(&mut rig, Access::ConfigRead { target: other, register: 0 });
    assert_eq!(answer.map(drop), Err(AccessError::UnsupportedRequest(u64::from(other.0) << 12)), "function 3");
    let write = Access::ConfigWrite { target: other, register: COMMAND, byte_enables: 3, value: 0 };
    assert!(software.host(&mut rig, write).is_err());
    let query = software.query(&mut rig);
    assert_eq!(emulated_function::FUNCTION_ID.get(&query), Ok(software.id.0.into()), "still function 0");

    software.set_command(&mut rig, 4);
    assert_eq!(software.read(&mut rig, REGISTERS, 4), Err(AccessError::UnsupportedRequest(bar)), "memory space is off");
    software.set_command(&mut rig, 6);
    assert!(software.read(&mut rig, REGISTERS, 4).is_ok());
}

/// A configuration write takes effect in the device when software completes it, and not if software refuses it.
#[test]
fn a_refused_configuration_write_has_no_effect() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let id = software.id;
    let access = Access::ConfigWrite { target: id, register: COMMAND, byte_enables: 3, value: 0 };
    for status in [Status::UnsupportedRequest, Status::CompleterAbort] {
        let answer = rig.access(rig.host(), access, |rig| {
            while let Some(message) = software.channel.next(rig) {
                software.channel.answer(rig, &message, id, Err(status));
                software.channel.free(rig);
            }
        });
        assert!(answer.is_err());
        assert!(software.read(&mut rig, REGISTERS, 4).is_ok(), "memory space is still on");
    }
    // Software puts a request off: the host sends it again.
    let mut tries = 0;
    let answer = rig.access(rig.host(), access, |rig| {
        while let Some(message) = software.channel.next(rig) {
            tries += 1;
            let answer = if tries < 3 { Err(Status::ConfigRequestRetry) } else { Ok(&[][..]) };
            software.channel.answer(rig, &message, id, answer);
            software.channel.free(rig);
        }
    });
    assert!(answer.is_ok());
    assert_eq!(tries, 3);
    assert!(software.read(&mut rig, REGISTERS, 4).is_err(), "memory space is off");
}

/// Enable, function mask and vector mask: what is sent at once, what waits, and what the host sees of it.
#[test]
fn interrupts() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let register = software.config.find(mlx5_twin_sim::config::CapabilityId::Pci(0x11)).expect("MSI-X") / 4;
    for vector in 0..u64::from(VECTORS) {
        let mut entry = [0; 16];
        entry[..4].copy_from_slice(&0xfee0_1000_u32.to_le_bytes());
        entry[8] = 0x40 + vector as u8;
        software.write(&mut rig, TABLE + 16 * vector, &entry).expect("posted");
    }
    let raise = |rig: &mut Rig, software: &mut Software, vector| {
        // What the host has just written is there first.
        software.settle(rig);
        software.channel.post(rig, gateway::MSIX, 0, 0, vector);
        software.settle(rig);
        let host = rig.host();
        std::iter::from_fn(|| rig.machine.simulation.next_interrupt(host)).collect::<Vec<_>>()
    };
    let host = rig.host();
    let arrived =
        |rig: &mut Rig| std::iter::from_fn(|| rig.machine.simulation.next_interrupt(host)).collect::<Vec<_>>();
    assert_eq!(raise(&mut rig, &mut software, 0), [], "not enabled");
    assert_eq!(software.channel.faults(&mut rig), [(Fault::MsixDisabled, 1)]);
    let control = |rig: &mut Rig, software: &mut Software, value: u32| {
        software.config_write(rig, register, 0xc, value << 16);
        software.settle(rig);
    };
    control(&mut rig, &mut software, 0x8000);
    assert_eq!(raise(&mut rig, &mut software, 2), [0x42]);
    control(&mut rig, &mut software, 0xc000);
    assert_eq!(raise(&mut rig, &mut software, 1), [], "function mask");
    assert_eq!(raise(&mut rig, &mut software, 3), []);
    assert_eq!(raise(&mut rig, &mut software, 3), [], "twice is once");
    assert_eq!(software.read(&mut rig, PBA, 8).expect("an answer").to_u64(), 0b1010);
    control(&mut rig, &mut software, 0x8000);
    assert_eq!(arrived(&mut rig), [0x41, 0x43]);
    assert_eq!(software.read(&mut rig, PBA, 8).expect("an answer").to_u64(), 0);
    software.write(&mut rig, TABLE + 12, &[1, 0, 0, 0]).expect("posted");
    assert_eq!(raise(&mut rig, &mut software, 0), [], "vector mask");
    assert_eq!(software.read(&mut rig, PBA, 4).expect("an answer").to_u64(), 1);
    software.set_command(&mut rig, 2);
    software.write(&mut rig, TABLE + 12, &[0; 4]).expect("posted");
    software.settle(&mut rig);
    assert_eq!(arrived(&mut rig), [], "not bus master");
    assert_eq!(raise(&mut rig, &mut software, 1), []);
    software.set_command(&mut rig, 6);
    software.settle(&mut rig);
    assert_eq!(arrived(&mut rig), [0x40], "what was pending goes out");
    assert_eq!(raise(&mut rig, &mut software, 4), []);
    let faults = software.channel.faults(&mut rig);
    assert_eq!(faults, [(Fault::BusMaster, 1), (Fault::Vector, 1), (Fault::MsixDisabled, 1)]);
}

/// After a function-level reset nothing decodes, nothing is enabled, and the host can configure it anew.
#[test]
fn function_level_reset() {
    let (mut rig, mut software) = Software::ready(6, 0);
    software.write(&mut rig, DOORBELLS, &[9; 4]).expect("posted");
    let register = software.config.find(mlx5_twin_sim::config::CapabilityId::Pci(0x10)).expect("PCIe") / 4 + 2;
    software.config_write(&mut rig, register, 0x3, 1 << 15 | 1 << 5);
    assert!(software.read(&mut rig, REGISTERS, 4).is_err());
    software.config.reset(mlx5_twin_sim::config::Reset::FunctionLevel);
    software.enumerate(&mut rig);
    assert_eq!(software.read(&mut rig, DOORBELLS, 4).expect("an answer").to_u64(), 0);
    assert!(software.read(&mut rig, REGISTERS, 4).is_ok());
    software.channel.post(&mut rig, gateway::MSIX, 0, 0, 0);
    software.settle(&mut rig);
    assert_eq!(software.channel.faults(&mut rig), [(Fault::MsixDisabled, 1)]);
}

/// Destroying a function ends what is open, and what hasn't reached software, with Completer Abort; then it can be claimed again.
#[test]
fn destroying_a_function_ends_its_requests() {
    for by_context in [false, true] {
        let (mut rig, mut software) = Software::ready(2, 3);
        let reads: Vec<_> = (0..9)
            .map(|number| {
                let access = Access::MemoryRead { address: software.bar + 8 * number, len: 4 };
                rig.machine.simulation.access(rig.host(), access).expect("an access")
            })
            .collect();
        rig.pause();
        assert_eq!(software.channel.field(&mut rig, tlp_channel::OPEN_REQUESTS), 4);
        assert_eq!(software.channel.field(&mut rig, tlp_channel::WITHHELD), 5);
        rig.refused(&software.channel.destroy(), Failure::OBJECT_IN_USE);
        if by_context {
            let uid = (destroy_uctx_in::UID, u64::from(software.channel.uid));
            rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[uid]));
            assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
        } else {
            rig.ok(&software.destroy());
        }
        rig.settle();
        for (number, read) in reads.into_iter().enumerate() {
            let expected = Err(AccessError::CompleterAbort(software.bar + 8 * number as u64));
            assert_eq!(rig.machine.simulation.result(read), Some(expected));
        }
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
        assert_eq!(rig.device(|dpu| dpu.emulation().claimed()), 0);
        let unclaimed = rig.access(rig.host(), Access::MemoryRead { address: software.bar, len: 4 }, |_| {});
        assert_eq!(unclaimed, Err(AccessError::UnsupportedRequest(software.bar)));

        let channel = if by_context {
            let uid = user(&mut rig);
            Channel::new(&mut rig, uid, 0, 4, 0)
        } else {
            std::iter::from_fn(|| software.channel.next(&rig)).count();
            software.channel.free(&mut rig);
            software.channel
        };
        let mut again = Software::claim(&mut rig, channel, 0);
        again.enumerate(&mut rig);
        assert!(again.read(&mut rig, REGISTERS, 4).is_ok());
    }
}
