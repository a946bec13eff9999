//! The two objects of `twin-v1`: what creating them asks for, and whose they are.

mod common;

use common::Rig;
use common::commands::{OUTPUT, create_umem, create_umem_of, object, plain};
use common::software::{Software, description};
use common::twin::{Channel, FunctionSpec, channel_context, user};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_fw_cmds::twin_v1::{EMULATED_FUNCTION, Fault, TLP_CHANNEL, bar, gateway, region};
use mlx5_twin_model::emulation::{Emulation, TwinLimits};
use mlx5_twin_model::firmware::{Failure, Firmware};
use mlx5_twin_model::profile::Profile;
use mlx5_twin_sim::host::Access;

/// A profile with three emulated functions.
fn three_functions() -> Profile {
    let mut profile = common::profile();
    profile.topology.downstream_ports = 3;
    profile.topology.static_functions = 3;
    profile
}

fn create(uid: u16, context: &[u8]) -> Vec<u8> {
    object(Opcode::CREATE_GENERAL_OBJECT, uid, TLP_CHANNEL, 0, context)
}

fn named(opcode: Opcode, uid: u16, kind: ObjectType, id: u32) -> Vec<u8> {
    object(opcode, uid, kind, id, &[])
}

#[test]
fn channels_that_can_not_be() {
    use tlp_channel::{
        CREDITS, FLAGS, GATEWAY_PAGE_ID, LOG_RING_SLOTS, LOG_SLOT_STRIDE, RING_UMEM_ID, RING_UMEM_OFFSET, VERSION,
    };
    let mut rig = Rig::initialised();
    let (uid, other) = (user(&mut rig), user(&mut rig));
    let holder = Channel::new(&mut rig, other, 5, 2, 0);
    let memory = rig.pages(0x10_0000);
    let umem = rig.number(&create_umem(uid, memory, 256), create_umem_out::UMEM_ID);
    let readable = [memory | 3, (memory + 0x1000) | 1];
    let half = rig.number(&create_umem_of(uid, &readable), create_umem_out::UMEM_ID);
    let good = [(LOG_RING_SLOTS, 3), (LOG_SLOT_STRIDE, 10), (GATEWAY_PAGE_ID, 2), (RING_UMEM_ID, umem.into())];
    let with = |fields: &[(Field, u64)]| create(uid, &channel_context(&[&good[..], fields].concat()));
    let before = rig.device(|dpu| dpu.firmware().resources().balance());
    // The limits stand in the capability page: slots of 2^9 to 2^13 bytes, 2^12 of them, 64 credits; 15 pages.
    #[rustfmt::skip]
    let cases: &[(&str, Vec<u8>, Failure)] = &[
        ("version 0", with(&[(VERSION, 0)]), Failure::TWIN_VERSION),
        ("version 2", with(&[(VERSION, 2)]), Failure::TWIN_VERSION),
        ("too many slots", with(&[(LOG_RING_SLOTS, 13)]), Failure::TWIN_RING),
        ("slots too small", with(&[(LOG_SLOT_STRIDE, 8)]), Failure::TWIN_RING),
        ("slots too large", with(&[(LOG_SLOT_STRIDE, 14)]), Failure::TWIN_RING),
        ("too many credits", with(&[(CREDITS, 65)]), Failure::TWIN_CREDITS),
        ("no such page", with(&[(GATEWAY_PAGE_ID, 15)]), Failure::TWIN_PAGE),
        ("a page that's taken", with(&[(GATEWAY_PAGE_ID, 5)]), Failure::TWIN_PAGE_TAKEN),
        ("no such UMEM", with(&[(RING_UMEM_ID, 99)]), Failure::UMEM_UNKNOWN),
        ("another's UMEM", with(&[(RING_UMEM_ID, holder.umem.into())]), Failure::UMEM_FOREIGN),
        ("past the end of the UMEM", with(&[(RING_UMEM_OFFSET, 0xf_e400)]), Failure::TWIN_RING_MEMORY),
        ("far past its end", with(&[(RING_UMEM_OFFSET, u64::MAX << 10)]), Failure::TWIN_RING_MEMORY),
        ("not aligned to its slots", with(&[(RING_UMEM_OFFSET, 0x200)]), Failure::TWIN_RING_MEMORY),
        ("a UMEM that's too small", with(&[(LOG_RING_SLOTS, 12)]), Failure::TWIN_RING_MEMORY),
        ("a page that's only readable", with(&[(RING_UMEM_ID, half.into())]), Failure::TWIN_RING_MEMORY),
        ("a flag without meaning", with(&[(FLAGS, 8)]), Failure::TWIN_FLAGS),
        ("both order modes", with(&[(FLAGS, 3)]), Failure::TWIN_FLAGS),
        ("a context that's too short", create(uid, &channel_context(&good)[..20]), Failure::INPUT_TOO_SHORT),
        ("no context", create(uid, &[]), Failure::INPUT_TOO_SHORT),
        ("another kind", object(Opcode::CREATE_GENERAL_OBJECT, uid, ObjectType(0x7e02), 0, &[]), Failure::OBJECT_TYPE),
    ];
    for (what, command, failure) in cases {
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(rig.outcome(command).map(drop), expected, "{what}");
        let after = rig.device(|dpu| dpu.firmware().resources().balance());
        assert_eq!(after, before, "{what}: nothing was made");
    }
    rig.ok(&with(&[(RING_UMEM_OFFSET, 0xf_e000), (CREDITS, 64)]));
    rig.refused(&plain(Opcode::DESTROY_UMEM, uid, &[(destroy_umem_in::UMEM_ID, umem.into())]), Failure::UMEM_IN_USE);
}

/// No profile has more gateway pages than the device has channels, so that limit is met only where it's set lower.
#[test]
fn all_channels_taken() {
    let mut firmware = Firmware::new(&common::profile()).expect("a sound profile");
    let limits = TwinLimits { max_channels: 2, ..TwinLimits::new(256) };
    let mut emulation = Emulation::new(limits, &[], 15);
    let mut run = |input: &[u8]| {
        let mut output = vec![0; OUTPUT];
        let executed = firmware.execute(input, &mut output, &mut emulation);
        if executed.status == Status::OK { Ok(output) } else { Err(executed.syndrome) }
    };
    run(&plain(Opcode::ENABLE_HCA, 0, &[])).expect("enabled");
    run(&plain(Opcode::INIT_HCA, 0, &[])).expect("initialised");
    let umem = create_umem_out::UMEM_ID.get(&run(&create_umem(0, 0x1000, 1)).expect("a UMEM")).expect("is there");
    let mut channel = |page| {
        let fields = [
            (tlp_channel::LOG_SLOT_STRIDE, 9),
            (tlp_channel::RING_UMEM_ID, umem),
            (tlp_channel::GATEWAY_PAGE_ID, page),
        ];
        run(&create(0, &channel_context(&fields))).map(drop)
    };
    assert_eq!([0, 1, 1].map(&mut channel), [Ok(()), Ok(()), Err(Failure::TWIN_PAGE_TAKEN.syndrome.0)]);
    assert_eq!(channel(2), Err(Failure::TWIN_CHANNELS.syndrome.0));
}

#[test]
fn functions_that_can_not_be() {
    let mut rig = Rig::new(&three_functions()).bring_up();
    let (uid, other) = (user(&mut rig), user(&mut rig));
    let channel = Channel::new(&mut rig, uid, 0, 2, 0);
    let foreign = Channel::new(&mut rig, other, 1, 2, 0);
    rig.ok(&FunctionSpec { channel: foreign.id, port: 2, ..Default::default() }.create(other));
    let good = description(channel.id, 1).1;
    let with = |change: fn(&mut FunctionSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec
    };
    let transaction = |offset, length| (region::TRANSACTION, 0, offset, length);
    let regions = |regions: &[(u8, u8, u32, u64)]| FunctionSpec {
        regions: regions.to_vec(),
        vectors: 0,
        msix_offset: 0,
        ..good.clone()
    };
    let large = |stateful: &[(u8, u8, u32, u64)]| {
        let mut spec = regions(stateful);
        spec.bars[2] = (bar::MEMORY64, 40);
        spec
    };
    #[rustfmt::skip]
    let cases: &[(&str, FunctionSpec, Failure)] = &[
        ("no such port", with(|f| f.port = 3), Failure::TWIN_PORT),
        ("port 255", with(|f| f.port = 255), Failure::TWIN_PORT),
        ("a port that's taken", with(|f| f.port = 2), Failure::TWIN_PORT_TAKEN),
        ("no such channel", with(|f| f.channel = 77), Failure::OBJECT_UNKNOWN),
        ("another's channel", FunctionSpec { channel: foreign.id, ..good.clone() }, Failure::OBJECT_FOREIGN),
        ("kind 3 of BAR", with(|f| f.bars[2] = (3, 12)), Failure::TWIN_BAR),
        ("a BAR too small", with(|f| f.bars[2] = (bar::MEMORY32, 6)), Failure::TWIN_BAR),
        ("a 32-bit BAR too large", with(|f| f.bars[2] = (bar::MEMORY32, 32)), Failure::TWIN_BAR),
        ("a 64-bit BAR too large", with(|f| f.bars[2] = (bar::MEMORY64, 41)), Failure::TWIN_BAR),
        ("half a BAR", with(|f| f.bars[5] = (bar::MEMORY64, 12)), Failure::TWIN_BAR),
        ("a BAR on another's upper half", with(|f| f.bars[1] = (bar::MEMORY32, 12)), Failure::TWIN_BAR),
        ("a region of no BAR", with(|f| f.regions[0].1 = 2), Failure::TWIN_REGION),
        ("a region of an upper half", with(|f| f.regions[0].1 = 1), Failure::TWIN_REGION),
        ("BAR 6", with(|f| f.regions[0].1 = 6), Failure::TWIN_REGION),
        ("kind 5 of region", with(|f| f.regions[0].0 = 5), Failure::TWIN_REGION),
        ("transactions that notify", with(|f| f.notify = vec![0]), Failure::TWIN_NOTIFY),
        ("an MSI-X table that notifies", with(|f| f.notify = vec![2]), Failure::TWIN_NOTIFY),
        ("too large a stateful region", large(&[(region::STATEFUL, 2, 0, 0x1_0004)]), Failure::TWIN_REGION_BYTES),
        ("too many bytes", large(&[(region::STATEFUL, 2, 0, 0xfffc), (region::STATEFUL, 0, 0, 8)]), Failure::TWIN_REGION_BYTES),
        ("a stateful region of 2^39 bytes", large(&[(region::STATEFUL, 2, 0, 1 << 39)]), Failure::TWIN_REGION_BYTES),
        ("a ROM of 1 KiB", with(|f| f.rom_log_size = 10), Failure::TWIN_ROM),
        ("a ROM of 32 MiB", with(|f| f.rom_log_size = 25), Failure::TWIN_ROM),
        ("an empty region", with(|f| f.regions[0].3 = 0), Failure::TWIN_REGION),
        ("odd length", with(|f| f.regions[0].3 = 10), Failure::TWIN_REGION),
        ("odd offset", with(|f| f.regions[0].2 = 2), Failure::TWIN_REGION),
        ("past the end of its BAR", with(|f| f.regions[4].3 = 0xc004), Failure::TWIN_REGION),
        ("an endless region", with(|f| f.regions[4].3 = u64::MAX - 3), Failure::TWIN_REGION),
        ("17 regions", regions(&(0..17).map(|n| transaction(16 * n, 4)).collect::<Vec<_>>()), Failure::TWIN_REGION),
        ("two at one place", regions(&[transaction(0, 8), transaction(4, 8)]), Failure::TWIN_REGION_OVERLAP),
        ("one in the other", regions(&[transaction(0, 64), transaction(8, 4)]), Failure::TWIN_REGION_OVERLAP),
        ("49 doorbells", regions(&[(region::DOORBELL, 0, 0, 100), (region::DOORBELL, 0, 128, 96)]), Failure::TWIN_DOORBELLS),
        ("doorbells without end", regions(&[(region::DOORBELL, 0, 0, 0x1_0000)]), Failure::TWIN_DOORBELLS),
        ("a table without vectors", with(|f| f.vectors = 0), Failure::TWIN_MSIX),
        ("vectors without a table", with(|f| { f.regions.remove(2); }), Failure::TWIN_MSIX),
        ("vectors without pending bits", with(|f| { f.regions.remove(3); }), Failure::TWIN_MSIX),
        ("two tables", with(|f| f.regions.push((region::MSIX_TABLE, 0, 0x9000, 64))), Failure::TWIN_MSIX),
        ("a table too short", with(|f| f.regions[2].3 = 48), Failure::TWIN_MSIX),
        ("pending bits too long", with(|f| f.regions[3].3 = 16), Failure::TWIN_MSIX),
        ("too many vectors", with(|f| {
            f.vectors = 257;
            f.regions[2].3 = 16 * 257;
            f.regions[3] = (region::MSIX_PBA, 0, 0x9000, 40);
        }), Failure::TWIN_MSIX),
        ("a table at an odd place", with(|f| f.regions[2].2 += 4), Failure::TWIN_MSIX),
        ("a capability in the header", with(|f| f.msix_offset = 0x3c), Failure::TWIN_CAPABILITY),
        ("a capability in extended space", with(|f| f.pcie_offset = 0x100), Failure::TWIN_CAPABILITY),
        ("a capability at an odd place", with(|f| f.pcie_offset = 0x42), Failure::TWIN_CAPABILITY),
    ];
    for (what, spec, failure) in cases {
        let mut command = spec.create(uid);
        let count = 16 + emulated_function::NUM_REGIONS.offset as usize / 8;
        command[count] = spec.regions.len() as u8;
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(rig.outcome(&command).map(drop), expected, "{what}");
        assert_eq!(rig.device(|dpu| dpu.emulation().claimed()), 1, "{what}: nothing was claimed");
    }
    for length in [0, 8, 31, 100] {
        rig.refused(
            &object(Opcode::CREATE_GENERAL_OBJECT, uid, EMULATED_FUNCTION, 0, &good.context()[..length]),
            Failure::INPUT_TOO_SHORT,
        );
    }
    // At the limits.
    let mut spec =
        regions(&[(region::DOORBELL, 0, 0, 96), (region::DOORBELL, 2, 12, 4), (region::DOORBELL, 0, 128, 92)]);
    spec.bars = [(bar::MEMORY64, 40), (0, 0), (bar::MEMORY32, 7), (bar::MEMORY32, 31), (bar::MEMORY64, 7), (0, 0)];
    spec.regions.extend((0..13).map(|n| transaction(0x1000 + 16 * n, 16)));
    (spec.rom_log_size, spec.notify) = (24, vec![0, 2]);
    rig.ok(&spec.create(uid));
}

/// Two users with a function each: neither can touch what the other has, by no command and by no store.
#[test]
fn another_user_can_not_touch_anything() {
    let mut rig = Rig::new(&three_functions()).bring_up();
    let (uid, thief) = (user(&mut rig), user(&mut rig));
    let channel = Channel::new(&mut rig, uid, 0, 4, 2);
    let mut own = Software::claim(&mut rig, channel, 1);
    let other = Channel::new(&mut rig, thief, 1, 4, 2);
    own.enumerate(&mut rig);
    own.set_command(&mut rig, 6);
    for opcode in [Opcode::QUERY_GENERAL_OBJECT, Opcode::MODIFY_GENERAL_OBJECT, Opcode::DESTROY_GENERAL_OBJECT] {
        for from in [thief, 0] {
            rig.refused(&named(opcode, from, TLP_CHANNEL, own.channel.id), Failure::OBJECT_FOREIGN);
            rig.refused(&named(opcode, from, EMULATED_FUNCTION, own.function), Failure::OBJECT_FOREIGN);
        }
        // One's kind under the other's name.
        rig.refused(&named(opcode, uid, EMULATED_FUNCTION, own.channel.id), Failure::OBJECT_UNKNOWN);
    }
    rig.refused(&named(Opcode::MODIFY_GENERAL_OBJECT, uid, EMULATED_FUNCTION, own.function), Failure::OBJECT_MODIFY);
    rig.refused(&FunctionSpec { channel: own.channel.id, ..Default::default() }.create(thief), Failure::OBJECT_FOREIGN);
    rig.refused(
        &FunctionSpec { channel: other.id, port: 1, ..Default::default() }.create(thief),
        Failure::TWIN_PORT_TAKEN,
    );

    // A request that waits at the owner's: the other's page can't answer it, nor send in the function's name.
    let access = Access::MemoryRead { address: own.bar, len: 4 };
    let ticket = rig.machine.simulation.access(rig.host(), access).expect("an access");
    rig.pause();
    let request = std::iter::from_fn(|| own.channel.next(&rig)).find(|message| !message.is_credit()).expect("a read");
    other.answer(&mut rig, &request, own.id, Ok(&[0xee; 4]));
    let write = mlx5_twin_sim::tlp::Header::mem_write_bytes(own.id, 0, 0x8000, 4).expect("a header");
    other.send(&mut rig, gateway::MEMORY_WRITE, 1, 0, &write, &[0xee; 4]);
    other.post(&mut rig, gateway::MSIX, 1, 0, 0);
    rig.pause();
    assert!(rig.machine.simulation.result(ticket).is_none());
    assert_eq!(other.faults(&mut rig), [(Fault::Request, 1), (Fault::Vector, 2)]);
    assert_eq!(own.channel.faults(&mut rig), []);
    own.channel.answer(&mut rig, &request, own.id, Ok(&[1, 0, 0, 0]));
    rig.pause();
    assert_eq!(rig.machine.simulation.result(ticket).map(|result| result.map(|data| data.to_u64())), Some(Ok(1)));

    // The page is free once its channel is gone: a store is counted, then another may have it.
    rig.ok(&own.destroy());
    rig.ok(&own.channel.destroy());
    own.channel.post(&mut rig, gateway::FLUSH, 1, 0, 0);
    rig.pause();
    assert_eq!(rig.counters().gateway_unbound, 1);
    let next = Channel::new(&mut rig, thief, 0, 4, 1);
    assert_eq!(next.faults(&mut rig), [], "and knows nothing of before");
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}
