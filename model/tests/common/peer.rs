//! Another device below the same switch: it reads by DMA, and so makes larger requests than a CPU does.

use std::any::Any;

use mlx5_twin_fw_cmds::twin_v1;
use mlx5_twin_model::emulation::{Emulation, TwinLimits};
use mlx5_twin_model::firmware::Firmware;
use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::config::{Bar, ConfigSpace, MsixCapability, MsixTable, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::{
    Core, Device, Dma, Fabric, Function, Inbound, NodeId, PeerToPeer, PortId, PortIdentity, RootSpec, TlpId,
    hot_plug_port_config, port_config,
};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::Memory;

use super::Rig;

/// A function with a DMA engine and nothing else.
pub(crate) struct Peer {
    node: NodeId,
    pub(crate) function: Function,
    pub(crate) dma: Dma,
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

/// The machine of a profile with one function, at a hot-plug port if `slot`, and a peer at a second downstream port.
pub(crate) fn machine(profile: &Profile, slot: bool) -> (Machine, NodeId) {
    let topology = &profile.topology;
    let mut fabric = Fabric::new(profile.timing, 1);
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: topology.max_payload };
    let mut root = || {
        fabric.add_root(RootSpec {
            memory: Memory::new(1 << 28).expect("a size"),
            read_completion_boundary: 64,
            peer_to_peer: PeerToPeer::Refused,
            ports: vec![port_config(identity, PortType::RootPort, 0, &topology.host.link).expect("a port")],
        })
    };
    let (host, dpu) = (root(), root());
    let port = |kind, number| port_config(identity, kind, number, &topology.internal_link).expect("a port");
    let first = if slot {
        hot_plug_port_config(identity, 0, &topology.internal_link).expect("a port")
    } else {
        port(PortType::Downstream, 0)
    };
    let downstream = vec![first, port(PortType::Downstream, 1)];
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
    firmware
        .add_page(twin_v1::TWIN_CAP, limits.page(1, usize::from(!slot), usize::from(slot)).expect("a page"))
        .expect("no such page yet");
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
    let emulation = Emulation::new(limits, &[emulated], 15).with_slots_from(usize::from(!slot), 1);
    let msix = MsixTable::new(&place).expect("a table");
    let dpu_device = Dpu::new(device, mlx5, config, msix, firmware, emulation, timeout).expect("a device");
    fabric.install(device, Box::new(dpu_device));
    let simulation = Simulation::new(fabric);
    let functions = vec![host];
    let (links, other_roots, endpoints) = Default::default();
    (Machine { simulation, host, dpu, device, links, functions, other_roots, endpoints }, peer)
}

/// Begins a read of the peer.
pub(crate) fn read(rig: &mut Rig, peer: NodeId, address: u64, len: usize) {
    let fabric = rig.machine.simulation.fabric_mut();
    let begun = fabric.device(peer, |peer: &mut Peer, core| {
        peer.payloads.clear();
        peer.dma.read(core, &peer.function, address, len, 0);
        peer.call(core);
    });
    begun.expect("the peer");
}

/// The end of its read, if it has come, and the payloads of the completions.
pub(crate) fn result(rig: &mut Rig, peer: NodeId) -> (Option<Vec<u8>>, Vec<usize>) {
    let fabric = rig.machine.simulation.fabric_mut();
    let ended = fabric.device(peer, |peer: &mut Peer, _| (peer.dma.next_ended(), std::mem::take(&mut peer.payloads)));
    let (progress, payloads) = ended.expect("the peer");
    (progress.map(|progress| progress.result.expect("data")), payloads)
}
