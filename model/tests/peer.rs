//! Requests larger than a CPU makes: another device below the same switch reads from the emulated function by DMA.

mod common;

use common::peer::{Peer, machine, read, result};
use common::software::{DOORBELLS, MEMORY, STATE, STATE_REGION, STATE_SIZE, Software, TABLE, description, with_state};
use common::twin::{Channel, FunctionSpec, Message, user};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::twin_v1::{self, Fault, gateway};
use mlx5_twin_sim::config::{CapabilityId, ConfigSpace};
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::Access;
use mlx5_twin_sim::tlp::{Attr, Header, Status};
use proptest::prelude::*;

/// A function in use, and a peer that is bus master with this Max_Read_Request_Size.
fn ready(max_read_request: u32) -> (Rig, Software, NodeId) {
    ready_as(max_read_request, |_, _| {})
}

/// The same with another description.
fn ready_as(
    max_read_request: u32,
    change: impl FnOnce(&mut ConfigSpace, &mut FunctionSpec),
) -> (Rig, Software, NodeId) {
    let profile = common::profile();
    let (machine, peer) = machine(&profile, false);
    let mut rig = Rig::of(machine, &profile).bring_up();
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 6, 0);
    let (mut config, mut spec) = description(channel.id, 0);
    change(&mut config, &mut spec);
    let mut software = Software::claim_as(&mut rig, channel, config, &spec);
    let found = software.enumerate(&mut rig);
    software.set_command(&mut rig, 6);
    let other = found.iter().find(|function| function.device == 0x9999).expect("the peer");
    let control = other.capability(0x10).expect("PCIe") / 4 + 2;
    let payload = (settings().max_payload / 128).trailing_zeros() << 5;
    let value = payload | (max_read_request / 128).trailing_zeros() << 12;
    for (register, value) in [(1, 6), (control, value)] {
        let write = Access::ConfigWrite { target: other.id, register, byte_enables: 3, value };
        software.host(&mut rig, write).expect("a configuration write");
    }
    for (number, byte) in software.memory.iter_mut().enumerate() {
        *byte = (number as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
    }
    software.seen.clear();
    (rig, software, peer)
}

/// One completion of software answers a whole request; on the wire it's cut at Max_Payload_Size, at multiples of 128 bytes.
#[test]
fn a_completion_longer_than_max_payload_is_cut() {
    for max_read_request in [128, 512, 2048] {
        let (mut rig, mut software, peer) = ready(max_read_request);
        let reads = [(0, 4), (0, 2048), (4, 2044), (0x7c, 260), (0x80, 256), (3, 1000), (0x3fd, 1025), (0x1f1, 15)];
        for (offset, len) in reads {
            let address = software.bar + MEMORY + offset;
            read(&mut rig, peer, address, len);
            software.settle(&mut rig);
            let (data, payloads) = result(&mut rig, peer);
            let begin = (MEMORY + offset) as usize;
            assert_eq!(data.as_deref(), Some(&software.memory[begin..begin + len]), "{len} bytes at {offset:#x}");
            assert!(payloads.iter().all(|&payload| payload <= 256), "{payloads:?}");

            assert!(payloads.iter().sum::<usize>() >= len);
        }
        assert_eq!(software.channel.faults(&mut rig), []);
        let faults = rig.machine.simulation.fabric().faults();
        assert_eq!((faults.unexpected_completion, faults.completion_timeout), (0, 0));
    }
}

/// A part of an answer: the DWs from `from` on of what a request asks for.
fn part(rig: &mut Rig, software: &Software, request: &Message, from: u32, dwords: u32) {
    let header = Header::completion_part(&request.header(), software.id, Status::Successful, from, dwords);
    let begin = Software::at(request.place.expect("a place")) + 4 * from as usize;
    let data = software.memory[begin..begin + 4 * dwords as usize].to_vec();
    let (kind, id) = (gateway::COMPLETION, request.request);
    software.channel.send(rig, kind, request.function, id, &header.expect("a completion"), &data);
}

/// Several completions answer one read, each on from where the last one ended; one out of turn is refused and changes nothing.
#[test]
fn partial_completions() {
    let (mut rig, mut software, peer) = ready(2048);
    let (offset, len) = (0x7a, 1003);
    read(&mut rig, peer, software.bar + MEMORY + offset, len);
    rig.pause();
    let request = software.channel.next(&rig).expect("the read");
    software.channel.free(&mut rig);
    let dwords = request.header().length_dw();
    assert_eq!(dwords, 252);
    // The first DWs end at 0x80, then 128 bytes, then 640, then the rest.
    let ends = [2, 34, 194, dwords];
    let mut from = 0;
    for (number, end) in ends.into_iter().enumerate() {
        // Out of turn, or not ending at a multiple of 128 bytes.
        if number > 0 {
            part(&mut rig, &software, &request, from - 1, 2);
            part(&mut rig, &software, &request, 0, ends[0]);
        }
        part(&mut rig, &software, &request, from, 1);
        part(&mut rig, &software, &request, from, end - from);
        rig.pause();
        from = end;
    }
    let (data, payloads) = result(&mut rig, peer);
    let begin = (MEMORY + offset) as usize;
    assert_eq!(data.as_deref(), Some(&software.memory[begin..begin + len]));
    assert_eq!(payloads.iter().sum::<usize>(), dwords as usize * 4);
    assert!(payloads.iter().all(|&payload| payload <= 256), "{payloads:?}");
    assert_eq!(software.channel.faults(&mut rig), [(Fault::ByteCount, 10)]);

    // A status other than success ends a request half-way.
    read(&mut rig, peer, software.bar + MEMORY, 512);
    rig.pause();
    let request = software.channel.next(&rig).expect("the read");
    software.channel.free(&mut rig);
    part(&mut rig, &software, &request, 0, 32);
    let asked = request.header();
    let failed = Status::CompleterAbort;
    let end = Header::completion(software.id, asked.requester(), asked.tag(), failed, 384, 0, 0, 0, Attr::NONE);
    let (kind, id) = (gateway::COMPLETION, request.request);
    software.channel.send(&mut rig, kind, 0, id, &end.expect("a completion"), &[]);
    rig.pause();
    let fabric = rig.machine.simulation.fabric_mut();
    let ended = fabric.device(peer, |peer: &mut Peer, _| peer.dma.next_ended()).expect("the peer").expect("an end");
    assert!(ended.result.is_err());
    part(&mut rig, &software, &request, 32, 32);
    assert_eq!(software.channel.faults(&mut rig), [(Fault::Request, 1), (Fault::ByteCount, 10)]);
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

/// A read that one channel's software has answered in part goes to the next as a read of what is missing.
#[test]
fn a_half_answered_read_is_handed_over() {
    use mlx5_twin_fw_cmds::layout::{destroy_uctx_in, tlp_channel};
    use mlx5_twin_fw_cmds::opcode::Opcode;
    for (offset, len, ends) in
        [(0x7a, 1003, &[2, 34][..]), (0, 2048, &[32, 64, 480]), (3, 130, &[32]), (0x40, 500, &[])]
    {
        let (mut rig, mut first, peer) = ready(2048);
        rig.ok(&first.channel.set_key(7));
        let uid = user(&mut rig);
        let key = [(tlp_channel::PRIMARY_ID, first.channel.id.into()), (tlp_channel::EXPORT_KEY, 7)];
        let channel = Channel::with(&mut rig, uid, 1, 4, 0, &key);
        let mut second = Software::claim(&mut rig, channel, 0);
        second.memory.clone_from(&first.memory);
        (second.id, second.bar) = (first.id, first.bar);
        read(&mut rig, peer, first.bar + MEMORY + offset, len);
        rig.pause();
        let request = first.channel.next(&rig).expect("the read");
        first.channel.free(&mut rig);
        let mut from = 0;
        for &end in ends {
            part(&mut rig, &first, &request, from, end - from);
            from = end;
        }
        rig.pause();
        rig.ok(&common::commands::plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, first.channel.uid.into())]));
        rig.ok(&second.channel.set_state(twin_v1::channel::PRIMARY));
        second.settle(&mut rig);
        let (data, _) = result(&mut rig, peer);
        let begin = (MEMORY + offset) as usize;
        assert_eq!(data.as_deref(), Some(&first.memory[begin..begin + len]), "{len} bytes at {offset:#x}");
        assert_eq!(second.channel.faults(&mut rig), []);
        let rest = &second.seen[0];
        assert_eq!((rest.request, rest.header().tag()), (request.request, request.header().tag()));
        assert_eq!(rest.header().length_dw(), request.header().length_dw() - from);
        assert_eq!(second.seen.len(), 1);
        let faults = rig.machine.simulation.fabric().faults();
        assert_eq!((faults.unexpected_completion, faults.completion_timeout), (0, 0));
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    }
}

/// Reads across borders of regions, larger than any region, or of nothing.
#[test]
fn large_reads_that_hit_no_single_region() {
    let (mut rig, mut software, peer) = ready(2048);
    for (offset, len) in [(0x1000, 128), (0x1000, 2048), (0x2000, 128), (0x3000, 64), (0xa000, 4)] {
        read(&mut rig, peer, software.bar + offset, len);
        software.settle(&mut rig);
        let fabric = rig.machine.simulation.fabric_mut();
        let ended = fabric.device(peer, |peer: &mut Peer, _| peer.dma.next_ended()).expect("the peer");
        assert!(ended.expect("an end").result.is_err(), "{len} bytes at {offset:#x}");
        assert!(software.seen.is_empty());
    }
}

/// A TLP that the peer sends as it is.
fn send(rig: &mut Rig, peer: NodeId, header: Header, payload: &[u8]) {
    let fabric = rig.machine.simulation.fabric_mut();
    let sent = fabric.device(peer, |peer: &mut Peer, core| core.send_new(peer.function.port(), header, payload));
    sent.expect("the peer");
    rig.pause();
}

/// Poisoned data changes nothing that the device keeps: the write is refused (base spec 2.7.2.2).
#[test]
fn poisoned_writes() {
    let (mut rig, mut software, peer) = ready_as(128, with_state);
    for place in [DOORBELLS, STATE, TABLE] {
        let mut header =
            Header::mem_write_bytes(mlx5_twin_sim::tlp::Bdf(0x400), 0, software.bar + place, 4).expect("a header");
        header.set_ep(true);
        let before = rig.machine.simulation.fabric().faults().unsupported_request;
        send(&mut rig, peer, header, &[0xff; 4]);
        assert_eq!(rig.machine.simulation.fabric().faults().unsupported_request, before + 1, "{place:#x}");
        assert_eq!(software.read(&mut rig, place, 4).expect("an answer").to_u64(), 0, "{place:#x}");
    }
    assert!(software.seen.is_empty());
}

/// A write as a header can name it: from a dword on, with these byte enables.
fn any_write() -> impl Strategy<Value = (u64, Header)> {
    let shape = (0..STATE_SIZE as u64 / 4, 1..=64_u32, 0..16_u8, 0..16_u8);
    shape.prop_filter_map("byte enables that a TLP can have", |(dword, length, first, last)| {
        let length = length.min((STATE_SIZE as u64 / 4 - dword) as u32).min((32 - dword % 32) as u32);
        let last = if length == 1 { 0 } else { last };
        let header =
            Header::mem_write(mlx5_twin_sim::tlp::Bdf(0x400), 0, STATE + 4 * dword, first, last, length).ok()?;
        header.check_strict().ok()?;
        Some((4 * dword, header))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A stateful region is an array of bytes, of which a write changes those that its byte enables name, and tells if there are any.
    #[test]
    fn any_byte_enables(writes in prop::collection::vec((any_write(), any::<u8>()), 1..40)) {
        let (mut rig, mut software, peer) = ready_as(128, with_state);
        let mut oracle = vec![0_u8; STATE_SIZE];
        for ((offset, header), fill) in writes {
            let length = header.length_dw();
            let payload: Vec<u8> = (0..length * 4).map(|at| fill.wrapping_add(at as u8)).collect();
            let enables = |dword: u32| match dword {
                0 => header.first_be(),
                _ if dword == length - 1 => header.last_be(),
                _ => 0xf,
            };
            let mut any = false;
            for (at, byte) in payload.iter().enumerate() {
                if enables(at as u32 / 4) >> (at % 4) & 1 != 0 {
                    oracle[offset as usize + at] = *byte;
                    any = true;
                }
            }
            let at = Header::mem_write(
                header.requester(), 0, software.bar + STATE + offset, header.first_be(), header.last_be(), length,
            );
            software.seen.clear();
            send(&mut rig, peer, at.expect("a header"), &payload);
            software.serve(&mut rig);
            prop_assert_eq!(software.seen.len(), usize::from(any));
            prop_assert!(software.seen.iter().all(|message| message.notice().is_some()));
            rig.pause();
        }
        prop_assert_eq!(software.region(&mut rig, STATE_REGION, 0, STATE_SIZE), oracle);
    }
}

/// The function takes no more data in a TLP than its Device Control says, which is software's register: more is malformed, and nobody sees it.
#[test]
fn a_payload_beyond_that_of_device_control_is_malformed() {
    let (mut rig, mut software, peer) = ready_as(128, with_state);
    let control = software.config.find(CapabilityId::PCIE).expect("PCIe") / 4 + 2;
    let mut malformed = rig.machine.simulation.fabric().faults().malformed;
    for (log, payload, taken) in [
        (0, 128, true),
        (0, 132, false),
        (0, 256, false),
        (1, 132, true),
        (1, 256, true),
        (0, 128, true),
        (0, 132, false),
    ] {
        let set = Access::ConfigWrite { target: software.id, register: control, byte_enables: 3, value: log << 5 };
        software.host(&mut rig, set).expect("a configuration write");
        for offset in [MEMORY, STATE] {
            software.seen.clear();
            let address = software.bar + offset;
            let header = Header::mem_write_bytes(software.id, 0, address, payload).expect("a header");
            send(&mut rig, peer, header, &vec![0x5a; payload as usize]);
            software.settle(&mut rig);
            malformed += u64::from(!taken);
            let what = format!("{payload} bytes at {offset:#x} with {}", 128 << log);
            assert_eq!(software.seen.len(), usize::from(taken), "{what}");
            assert_eq!(rig.machine.simulation.fabric().faults().malformed, malformed, "{what}");
        }
    }
    assert!(rig.machine.simulation.fabric().is_at_rest());
}
