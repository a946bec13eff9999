//! Topologies as the vectors have them, and how they're built: endpoints answer reads with who they are.

use std::any::Any;

use mlx5_twin_sim::Fabric;
use mlx5_twin_sim::config::{Bar, BarKind, ConfigSpace, PcieCapability, PortType, Slot, Type0};
use mlx5_twin_sim::endpoint::MemoryEndpoint;
use mlx5_twin_sim::fabric::{
    Core, Device, FunctionKey, MultiFunction, MultiInbound, NodeId, PeerToPeer, PhysicalSpec, PortId, PortIdentity,
    RootSpec, TlpId, port_config, slot_port_config,
};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::Link;
use mlx5_twin_sim::tlp::Status;
use proptest::prelude::*;
use serde::Deserialize;

use crate::common;

/// What is below a port. `None` if there's nothing.
pub(crate) type Below = Option<Node>;

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Node {
    Switch { switch: Vec<Below> },
    Endpoint { functions: Vec<Function> },
}

/// A function of an endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Function {
    pub(crate) number: u8,
    /// Index, kind and size of each BAR.
    pub(crate) bars: Vec<(u8, Kind, u64)>,
    /// Size of the expansion ROM; 0 if there's none.
    pub(crate) rom: u32,
}

/// What a BAR is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Memory32,
    Prefetchable32,
    Memory64,
    Prefetchable64,
    Io,
}

impl Kind {
    pub(crate) fn is_io(self) -> bool {
        self == Kind::Io
    }

    pub(crate) fn is_64bit(self) -> bool {
        matches!(self, Kind::Memory64 | Kind::Prefetchable64)
    }

    pub(crate) fn is_prefetchable(self) -> bool {
        matches!(self, Kind::Prefetchable32 | Kind::Prefetchable64)
    }

    /// As enumeration says it.
    pub(crate) fn of(is_64bit: bool, prefetchable: bool) -> Kind {
        match (is_64bit, prefetchable) {
            (false, false) => Kind::Memory32,
            (false, true) => Kind::Prefetchable32,
            (true, false) => Kind::Memory64,
            (true, true) => Kind::Prefetchable64,
        }
    }

    fn bar(self, size: u64) -> Bar {
        let kind = match self {
            Kind::Io => BarKind::Io,
            _ if self.is_64bit() => BarKind::Memory64,
            _ => BarKind::Memory32,
        };
        Bar { kind, prefetchable: self.is_prefetchable(), size }
    }
}

impl Function {
    fn spec(&self, multi_function: bool) -> PhysicalSpec {
        let mut bars = [None; 6];
        for &(index, kind, size) in &self.bars {
            bars[usize::from(index)] = Some(kind.bar(size));
        }
        let expansion_rom = (self.rom > 0).then_some(self.rom);
        let header = Type0 { vendor_id: 0xfff1, device_id: 2, bars, expansion_rom, multi_function, ..Type0::default() };
        let mut config = header.build().unwrap();
        config.add(&PcieCapability::new(PortType::Endpoint)).unwrap();
        PhysicalSpec { number: self.number, config, virtual_functions: None }
    }
}

/// A device that answers reads of any BAR with who was asked: see [`answer`].
struct Marked(MultiFunction);

/// The first dwords of an answer: ID and BAR, and the offset that was asked for.
pub(crate) fn answer(id: u16, bar: u8, offset: u64) -> [u32; 3] {
    [u32::from(id) << 16 | u32::from(bar), offset as u32, (offset >> 32) as u32]
}

impl Marked {
    fn access(&self, core: &mut Core, tlp: TlpId, key: FunctionKey, bar: usize, offset: u64) {
        let (header, id) = (*core.header(tlp), self.0.function(key).unwrap().id());
        if !header.kind().is_memory_read() {
            return core.refuse(self.0.port(), tlp, id, Status::CompleterAbort);
        }
        core.consume(tlp);
        let dwords = answer(id.0, bar as u8, offset);
        let bytes = dwords.iter().cycle().flat_map(|dword| dword.to_le_bytes());
        let data: Vec<u8> = bytes.take(header.length_dw() as usize * 4).collect();
        self.0.answer(core, key, &header, &data);
    }
}

impl Device for Marked {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.0.receive(core, tlp) {
            MultiInbound::Memory { function, bar, offset } => self.access(core, tlp, function, bar, offset),
            MultiInbound::Completion(_) => core.refuse_completion(self.0.port(), tlp),
            MultiInbound::Configured(..) | MultiInbound::Done => {}
        }
    }

    fn timer(&mut self, _core: &mut Core, _token: u64) {}

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn port(port: PortType, number: u8, below: &Below, link: &Link) -> ConfigSpace {
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 512 };
    match below {
        Some(_) => port_config(identity, port, number, link).unwrap(),
        // Links are given to ports in their order: one that stays without is a slot that is empty.
        None => {
            let slot = Slot { number: u16::from(number) + 1, hot_plug: true, present: false, ..Slot::default() };
            slot_port_config(identity, port, number, link, slot).unwrap()
        }
    }
}

fn ports(kind: PortType, below: &[Below], link: &Link) -> Vec<ConfigSpace> {
    below.iter().zip(0..).map(|(below, number)| port(kind, number, below, link)).collect()
}

fn grow(fabric: &mut Fabric, above: NodeId, below: &[Below], link: &Link) {
    for node in below {
        match node {
            Some(Node::Switch { switch }) => {
                let upstream = port(PortType::Upstream, 0, node, link);
                let added = fabric.add_switch(above, link, upstream, ports(PortType::Downstream, switch, link));
                grow(fabric, added.unwrap(), switch, link);
            }
            Some(Node::Endpoint { functions }) => {
                let specs = functions.iter().map(|function| function.spec(functions.len() > 1)).collect();
                let device =
                    |_, port| -> Box<dyn Device> { Box::new(Marked(MultiFunction::new(port, specs).unwrap())) };
                fabric.plug(above, link, device).unwrap();
            }
            None => {
                let config = MemoryEndpoint::config(0xfff1, 2, 4096).unwrap();
                let memory = Memory::new(4096).unwrap();
                let device = |_, port| -> Box<dyn Device> { Box::new(MemoryEndpoint::new(port, config, memory)) };
                fabric.plug(above, link, device).unwrap();
            }
        }
    }
}

/// The fabric of a topology, and its root complex.
pub(crate) fn build(root: &[Below]) -> (Simulation, NodeId) {
    let mut fabric = Fabric::new(common::TIMING, 1);
    let link = common::link(4, 8);
    let complex = fabric.add_root(RootSpec {
        memory: Memory::new(1 << 20).unwrap(),
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        ports: ports(PortType::RootPort, root, &link),
    });
    grow(&mut fabric, complex, root, &link);
    (Simulation::new(fabric), complex)
}

fn function() -> impl Strategy<Value = Function> {
    let kind = prop_oneof![
        3 => Just(None),
        1 => (7..=20_u32).prop_map(|log| Some((Kind::Memory32, log))),
        1 => (7..=20_u32).prop_map(|log| Some((Kind::Prefetchable32, log))),
        1 => (7..=20_u32).prop_map(|log| Some((Kind::Memory64, log))),
        2 => (7..=34_u32).prop_map(|log| Some((Kind::Prefetchable64, log))),
        1 => (2..=8_u32).prop_map(|log| Some((Kind::Io, log))),
    ];
    let rom = prop_oneof![3 => Just(0), 1 => (11..=20_u32).prop_map(|log| 1 << log)];
    (prop::collection::vec(kind, 6), rom).prop_map(|(kinds, rom)| {
        let (mut bars, mut index) = (Vec::new(), 0);
        while let Some(kind) = kinds.get(usize::from(index)) {
            // A BAR of 64 bits takes two registers.
            let kind = kind.filter(|(kind, _)| index < 5 || !kind.is_64bit());
            bars.extend(kind.map(|(kind, log)| (index, kind, 1 << log)));
            index += if kind.is_some_and(|(kind, _)| kind.is_64bit()) { 2 } else { 1 };
        }
        Function { number: 0, bars, rom }
    })
}

fn endpoint() -> impl Strategy<Value = Node> {
    let others = prop::collection::btree_map(1..8_u8, function(), 0..=7);
    (function(), prop_oneof![2 => Just(Default::default()), 1 => others]).prop_map(|(first, others)| {
        let others = others.into_iter().map(|(number, function)| Function { number, ..function });
        Node::Endpoint { functions: [first].into_iter().chain(others).collect() }
    })
}

/// Any topology of a moderate size.
pub(crate) fn root() -> impl Strategy<Value = Vec<Below>> {
    let leaf = prop_oneof![1 => Just(None), 3 => endpoint().prop_map(Some)];
    let below = leaf.prop_recursive(4, 24, 4, |inner| {
        prop::collection::vec(inner, 0..=4).prop_map(|switch| Some(Node::Switch { switch }))
    });
    prop::collection::vec(below, 1..=4)
}
