//! Requests larger than a CPU makes: another device below the same switch reads from the emulated function by DMA.

mod common;

use std::any::Any;

use common::software::{MEMORY, Software};
use common::twin::{Channel, Message, user};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::twin_v1::{self, Fault, gateway};
use mlx5_twin_model::emulation::{Emulation, TwinLimits};
use mlx5_twin_model::firmware::Firmware;
use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::config::{Bar, ConfigSpace, MsixCapability, MsixTable, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::{
    Core, Device, Dma, Fabric, Function, Inbound, NodeId, PortId, PortIdentity, RootSpec, TlpId, port_config,
};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::tlp::{Attr, Header, Status};

/// A function with a DMA engine and nothing else.
struct Peer {
    node: NodeId,
    function: Function,
    dma: Dma,
    payloads: Vec<usize>,
}

impl Peer {
    fn call(&mut self, core: &mut Core) {
        if let Some(at) = self.dma.take_call() {
            core.set_timer(self.node, at, 0);
        }
    }
}

impl Device for Peer {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        match self.function.receive(core, tlp) {
            Inbound::Completion => {
                self.payloads.push(core.header(tlp).payload_len());
                self.dma.complete(core, &self.function, tlp);
            }
            Inbound::Memory { .. } => core.consume(tlp),
            Inbound::Configured(_) | Inbound::Done => {}
        }
        self.call(core);
    }

    fn timer(&mut self, core: &mut Core, _: u64) {
        self.dma.expire(core, &self.function);
        self.call(core);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn endpoint(device_id: u16, bar: Option<Bar>) -> ConfigSpace {
    let mut bars = [None; 6];
    bars[0] = bar;
    let mut config = Type0 { vendor_id: 0x15b3, device_id, bars, ..Type0::default() }.build().expect("a header");
    config.add(&PcieCapability::new(PortType::Endpoint)).expect("room");
    config
}

/// The machine of a profile, with a peer at a second downstream port.
fn machine(profile: &Profile) -> (Machine, NodeId) {
    let topology = &profile.topology;
    let mut fabric = Fabric::new(profile.timing, 1);
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: topology.max_payload };
    let mut root = || {
        fabric.add_root(RootSpec {
            memory: Memory::new(1 << 28).expect("a size"),
            read_completion_boundary: 64,
            ports: vec![port_config(identity, PortType::RootPort, 0, &topology.host.link).expect("a port")],
        })
    };
    let (host, dpu) = (root(), root());
    let port = |kind, number| port_config(identity, kind, number, &topology.internal_link).expect("a port");
    let downstream = vec![port(PortType::Downstream, 0), port(PortType::Downstream, 1)];
    let upstream = port(PortType::Upstream, 0);
    let switch = fabric.add_switch(host, &topology.host.link, upstream, downstream).expect("a switch");
    let device = fabric.reserve();
    let mlx5 = fabric.attach(device, dpu, &topology.dpu.link).expect("a link");
    let emulated = fabric.attach(device, switch, &topology.internal_link).expect("a link");
    let timeout = profile.timing.completion_timeout();
    let peer = fabric
        .plug(switch, &topology.internal_link, |node, port| {
            let function = Function::new(port, endpoint(0x9999, None));
            Box::new(Peer { node, function, dma: Dma::new(32, timeout), payloads: Vec::new() })
        })
        .expect("a link");

    let mut firmware = Firmware::new(profile).expect("firmware");
    let limits = TwinLimits::new(topology.max_payload);
    firmware.add_page(twin_v1::TWIN_CAP, limits.page(1).expect("a page")).expect("no such page yet");
    let map = firmware.bar0();
    let mut config = endpoint(profile.device.device_id, Some(Bar::memory64(map.size)));
    let place = MsixCapability {
        vectors: profile.device.msix_vectors,
        table_bar: 0,
        table_offset: map.msix_table.start as u32,
        pba_bar: 0,
        pba_offset: map.msix_pba.start as u32,
    };
    config.add(&place).expect("room");
    let emulation = Emulation::new(limits, &[emulated], 15);
    let msix = MsixTable::new(&place).expect("a table");
    let dpu_device = Dpu::new(device, mlx5, config, msix, firmware, emulation, timeout).expect("a device");
    fabric.install(device, Box::new(dpu_device));
    (Machine { simulation: Simulation::new(fabric), host, dpu, device, links: Vec::new() }, peer)
}

/// A function in use, and a peer that is bus master with this Max_Read_Request_Size.
fn ready(max_read_request: u32) -> (Rig, Software, NodeId) {
    let profile = common::profile();
    let (machine, peer) = machine(&profile);
    let mut rig = Rig::of(machine, &profile).bring_up();
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 6, 0);
    let mut software = Software::claim(&mut rig, channel, 0);
    let found = software.enumerate(&mut rig);
    software.set_command(&mut rig, 6);
    let other = found.iter().find(|function| function.device == 0x9999).expect("the peer");
    let control = other.capability(0x10).expect("PCIe") / 4 + 2;
    let payload = (settings().max_payload / 128).trailing_zeros() << 5;
    let value = payload | (max_read_request / 128).trailing_zeros() << 12;
    for (register, value) in [(1, 6), (control, value)] {
        let write = mlx5_twin_sim::host::Access::ConfigWrite { target: other.id, register, byte_enables: 3, value };
        software.host(&mut rig, write).expect("a configuration write");
    }
    for (number, byte) in software.memory.iter_mut().enumerate() {
        *byte = (number as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
    }
    software.seen.clear();
    (rig, software, peer)
}

fn read(rig: &mut Rig, peer: NodeId, address: u64, len: usize) {
    let fabric = rig.machine.simulation.fabric_mut();
    let begun = fabric.device(peer, |peer: &mut Peer, core| {
        peer.payloads.clear();
        peer.dma.read(core, &peer.function, address, len, 0);
        peer.call(core);
    });
    begun.expect("the peer");
}

fn result(rig: &mut Rig, peer: NodeId) -> (Option<Vec<u8>>, Vec<usize>) {
    let fabric = rig.machine.simulation.fabric_mut();
    let ended = fabric.device(peer, |peer: &mut Peer, _| (peer.dma.next_ended(), std::mem::take(&mut peer.payloads)));
    let (progress, payloads) = ended.expect("the peer");
    (progress.map(|progress| progress.result.expect("data")), payloads)
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
