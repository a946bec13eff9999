//! A fabric under load: a root complex, one switch, and endpoints whose DMA never rests.
//!
//! Each endpoint runs a closed loop: it reads 64 bytes of host memory, and when the completion comes it writes them to another place
//! and reads again. Memory lies above 4 GiB, so the requests are MRd64 and MWr64, with headers of four dwords.

#![allow(dead_code, reason = "each user takes a part")]

use std::any::Any;

use mlx5_twin_sim::Fabric;
use mlx5_twin_sim::config::{PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::{
    Core, Device, Function, Inbound, NodeId, Outcome, PeerToPeer, PortId, PortIdentity, Requester, RootSpec, TlpId,
    port_config,
};
use mlx5_twin_sim::host::{Host, Settings, Simulation, enumerate};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::{Credits, DataLink, Timing, Topology};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::{Bdf, Header};

/// Where the memory that is used begins.
const BASE: u64 = 1 << 32;
/// Bytes of each read and write.
const LINE: u64 = 64;
/// TLPs of one turn of the loop: MRd64, CplD, MWr64.
pub(crate) const TLPS_PER_TURN: u64 = 3;

/// An endpoint that reads and writes host memory.
pub(crate) struct Generator {
    node: NodeId,
    function: Function,
    requester: Requester,
    rng: Rng,
    /// Bytes of memory that are used.
    span: u64,
    /// Turns that have yet to begin.
    budget: u64,
    /// Turns that are over.
    pub(crate) done: u64,
}

impl Generator {
    fn new(node: NodeId, port: PortId, tags: u16, span: u64, timing: &Timing) -> Generator {
        let mut config = Type0 { vendor_id: 0xfff1, device_id: 3, ..Type0::default() }.build().expect("no BARs");
        config.add(&PcieCapability::new(PortType::Endpoint)).expect("room for one capability");
        Generator {
            node,
            function: Function::new(port, config),
            requester: Requester::new(tags, timing.completion_timeout()),
            rng: Rng::new(u64::from(port.link().0)),
            span,
            budget: 0,
            done: 0,
        }
    }

    /// Begins `turns` turns of the loop, as many at the same time as there are tags.
    pub(crate) fn start(&mut self, core: &mut Core, turns: u64) {
        self.budget += turns;
        while self.budget > 0 && self.requester.has_tag() {
            self.read(core);
        }
    }

    fn address(&mut self) -> u64 {
        BASE + self.rng.next_u64() % (self.span / LINE) * LINE
    }

    fn read(&mut self, core: &mut Core) {
        let address = self.address();
        let header = Header::mem_read_bytes(self.function.id(), 0, address, LINE as u32);
        let mut header = header.expect("64 aligned bytes");
        let begun = self.requester.begin(address, LINE as u32, (address & 0x7f) as u8, core.now());
        let (tag, call) = begun.expect("a free tag");
        if let Some(at) = call {
            core.set_timer(self.node, at, 0);
        }
        header.set_tag(tag);
        self.budget -= 1;
        core.send_new(self.function.port(), header, &[]);
    }

    fn complete(&mut self, core: &mut Core, tlp: TlpId) {
        let completion = *core.header(tlp);
        let Outcome::Data { done: true, .. } = self.requester.complete(&completion) else {
            panic!("{completion} isn't the whole of a read");
        };
        let data: [u8; LINE as usize] = *core.payload(tlp).first_chunk().expect("64 bytes");
        core.consume(tlp);
        let address = self.address();
        let header = Header::mem_write_bytes(self.function.id(), 0, address, LINE as u32);
        core.send_new(self.function.port(), header.expect("64 aligned bytes"), &data);
        self.done += 1;
        if self.budget > 0 {
            self.read(core);
        }
    }
}

impl Device for Generator {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.function.receive(core, tlp) {
            Inbound::Completion => self.complete(core, tlp),
            Inbound::Memory { .. } | Inbound::Configured(_) | Inbound::Done => {}
        }
    }

    fn timer(&mut self, core: &mut Core, _token: u64) {
        let call = self.requester.expire(core.now(), |address| panic!("no completion for {address:#x}"));
        if let Some(at) = call {
            core.set_timer(self.node, at, 0);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// A fabric with endpoints that are ready to start.
pub(crate) struct Load {
    pub(crate) simulation: Simulation,
    /// The first root complex.
    pub(crate) root: NodeId,
    pub(crate) endpoints: Vec<NodeId>,
    /// The upstream port of its switch.
    pub(crate) bridge: Bdf,
}

/// How much there is of all.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Root complexes, each with a switch.
    pub(crate) roots: u16,
    /// Endpoints below each switch.
    pub(crate) endpoints: u8,
    /// Requests that an endpoint has outstanding at the same time.
    pub(crate) tags: u16,
    /// MiB of each root complex's memory that are used.
    pub(crate) memory_mib: u64,
}

impl Size {
    pub(crate) const fn of(roots: u16, endpoints: u8, tags: u16) -> Size {
        Size { roots, endpoints, tags, memory_mib: 1 }
    }
}

/// Root complexes, each with a switch and endpoints below it, found and configured. Links and times are those of the default profile, with credits
/// changed by `change`. Header bytes travel with each TLP.
fn load(size: Size, data_link: DataLink, change: impl Fn(&mut Credits)) -> Load {
    let (timing, topology) = (Timing::default(), Topology::default());
    let (mut upper, mut lower) = (topology.host.link, topology.internal_link);
    for link in [&mut upper, &mut lower] {
        change(&mut link.credits);
        link.data_link = data_link;
    }
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 256 };
    let port = |port, number, link| port_config(identity, port, number, link).expect("a port");
    let span = size.memory_mib << 20;
    let mut fabric = Fabric::new(timing, 1);
    let (mut roots, mut endpoints) = (Vec::new(), Vec::new());
    for _ in 0..size.roots {
        let root = fabric.add_root(RootSpec {
            memory: Memory::new(BASE + span).expect("a memory below 1 TiB"),
            read_completion_boundary: 64,
            peer_to_peer: PeerToPeer::Refused,
            ports: vec![port(PortType::RootPort, 0, &upper)],
        });
        let downstream = (0..size.endpoints).map(|number| port(PortType::Downstream, number, &lower)).collect();
        let switch = fabric.add_switch(root, &upper, port(PortType::Upstream, 0, &upper), downstream).expect("a port");
        for _ in 0..size.endpoints {
            let make =
                |node, port| -> Box<dyn Device> { Box::new(Generator::new(node, port, size.tags, span, &timing)) };
            endpoints.push(fabric.plug(switch, &lower, make).expect("a port"));
        }
        roots.push(root);
    }
    let mut simulation = Simulation::new(fabric);
    for &root in &roots {
        let host = simulation.host(root);
        simulation.run(configure(host)).expect("enumeration ends");
    }
    Load { simulation, root: roots[0], endpoints, bridge: Bdf::new(1, 0, 0) }
}

/// Finds all functions, and lets the endpoints be bus masters.
async fn configure(host: Host) {
    let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
    for function in enumerate(&host, settings).await.expect("enumeration") {
        host.config_write(function.id, 1, 0b110).await.expect("the command register");
    }
}

impl Load {
    /// A load of one root complex that has run for so long that nothing has to be allocated any more.
    pub(crate) fn warm(endpoints: u8, tags: u16) -> Load {
        Load::with_credits(Size::of(1, endpoints, tags), |_| {})
    }

    /// The same of any size, on links whose credits `change` has changed.
    pub(crate) fn with_credits(size: Size, change: impl Fn(&mut Credits)) -> Load {
        Load::on_links(size, DataLink::Rated, change)
    }

    /// The same, the data link layer of the links as a rate or exact.
    pub(crate) fn on_links(size: Size, data_link: DataLink, change: impl Fn(&mut Credits)) -> Load {
        let mut load = load(size, data_link, change);
        let endpoints = u64::from(size.roots) * u64::from(size.endpoints);
        load.run(endpoints * 1_000_u64.div_ceil(endpoints).max(2 * u64::from(size.tags)));
        load
    }

    /// Runs `turns` turns of the loop, shared among the endpoints, to their end: gives how many TLPs went from end to end.
    pub(crate) fn run(&mut self, turns: u64) -> u64 {
        let fabric = self.simulation.fabric_mut();
        let share = turns / self.endpoints.len() as u64;
        for &endpoint in &self.endpoints {
            fabric.device(endpoint, |generator: &mut Generator, core| generator.start(core, share));
        }
        while fabric.step() {}
        share * self.endpoints.len() as u64 * TLPS_PER_TURN
    }

    /// How many turns are over, in all.
    pub(crate) fn done(&mut self) -> u64 {
        let fabric = self.simulation.fabric_mut();
        let done = |endpoint: &NodeId| fabric.device(*endpoint, |generator: &mut Generator, _| generator.done);
        self.endpoints.iter().filter_map(done).sum()
    }
}
