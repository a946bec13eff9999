//! Trees of any shape: a root complex, switches, and agents at the leaves.

use std::sync::{Arc, Mutex};

use mlx5_twin_sim::config::PortType;
use mlx5_twin_sim::fabric::{
    Faults, NodeId, PeerToPeer, PortIdentity, RootSpec, add_channels, hot_plug_port_config, msi_port_config,
    port_config,
};
use mlx5_twin_sim::host::{Found, Host, Settings, Simulation, enumerate};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::ordering::{Appearance, Checker, Lane, Report, Topology};
use mlx5_twin_sim::probe::{Deliver, Direction, LinkId, Probe, Transmit};
use mlx5_twin_sim::profile::{Link, Timing};
use mlx5_twin_sim::tlp::{Bdf, Header};
use mlx5_twin_sim::{Fabric, Time};

use super::agent::{Agent, agent};
use proptest::prelude::*;

/// What is plugged in at a port.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Agent,
    /// An agent at a hot-plug port of a switch. It isn't in the slot yet.
    HotPlug,
    /// A switch, with what's below each of its ports.
    Switch(Vec<Shape>),
}

/// Any tree below one root port: switches in up to three levels, and at most 9 agents.
pub(crate) fn trees() -> impl Strategy<Value = [Shape; 1]> {
    let below =
        Just(Shape::Agent).prop_recursive(2, 9, 3, |inner| prop::collection::vec(inner, 1..=3).prop_map(Shape::Switch));
    prop::collection::vec(below, 1..=3).prop_map(|below| [Shape::Switch(below)])
}

/// What a plant is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) timing: Timing,
    pub(crate) link: Link,
    pub(crate) seed: u64,
    pub(crate) read_completion_boundary: u32,
    pub(crate) peer_to_peer: PeerToPeer,
    pub(crate) max_payload: u32,
    pub(crate) max_read_request: u32,
    /// Tags of each agent's DMA engine.
    pub(crate) tags: u16,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            timing: super::TIMING,
            link: super::link(4, 8),
            seed: 1,
            read_completion_boundary: 64,
            peer_to_peer: PeerToPeer::Refused,
            max_payload: 256,
            max_read_request: 512,
            tags: 32,
        }
    }
}

/// Memory of the root complex of a plant.
pub(crate) const MEMORY: u64 = 16 << 20;

/// A tree that has been found and configured. Agents are in the order of a depth-first walk, and so are their functions.
pub(crate) struct Plant {
    pub(crate) simulation: Simulation,
    pub(crate) root: NodeId,
    pub(crate) agents: Vec<NodeId>,
    pub(crate) found: Vec<Found>,
    /// Faults of enumeration, which asks for what isn't there.
    before: Faults,
}

fn grow(fabric: &mut Fabric, above: NodeId, shape: &Shape, spec: &Spec, agents: &mut Vec<NodeId>) {
    let (link, timeout) = (spec.link, spec.timing.completion_timeout());
    match shape {
        Shape::Agent | Shape::HotPlug => {
            let make = |node, port| -> Box<dyn mlx5_twin_sim::fabric::Device> {
                let mut agent = Agent::new(node, port, spec.tags, timeout);
                add_channels(agent.function.config_mut(), &link.virtual_channels, false).unwrap();
                Box::new(agent)
            };
            agents.push(fabric.plug(above, &link, make).unwrap());
        }
        Shape::Switch(below) => {
            let port = |port, number| port_config(identity(), port, number, &link).unwrap();
            let downstream = below.iter().zip(0..).map(|(shape, number)| match shape {
                Shape::HotPlug => hot_plug_port_config(identity(), number, &link).unwrap(),
                _ => msi_port_config(identity(), PortType::Downstream, number, &link).unwrap(),
            });
            let downstream = downstream.collect();
            let switch = fabric.add_switch(above, &link, port(PortType::Upstream, 0), downstream).unwrap();
            for shape in below {
                grow(fabric, switch, shape, spec, agents);
            }
        }
    }
}

fn identity() -> PortIdentity {
    PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 4096 }
}

/// A root complex with one port for each of `shapes`. Nothing is configured yet.
pub(crate) fn bare(shapes: &[Shape], spec: &Spec) -> Plant {
    let mut fabric = Fabric::new(spec.timing, spec.seed);
    let port = |number| port_config(identity(), PortType::RootPort, number, &spec.link).unwrap();
    let root = fabric.add_root(RootSpec {
        memory: Memory::new(MEMORY).unwrap(),
        read_completion_boundary: spec.read_completion_boundary,
        peer_to_peer: spec.peer_to_peer,
        ports: (0..shapes.len() as u8).map(port).collect(),
    });
    let mut agents = Vec::new();
    for shape in shapes {
        grow(&mut fabric, root, shape, spec, &mut agents);
    }
    Plant { simulation: Simulation::new(fabric), root, agents, found: Vec::new(), before: Faults::default() }
}

/// A plant that the host has found and configured. All functions are bus masters.
pub(crate) fn plant(shapes: &[Shape], spec: &Spec) -> Plant {
    let mut plant = bare(shapes, spec);
    let host = plant.simulation.host(plant.root);
    let settings =
        Settings { map: Default::default(), max_payload: spec.max_payload, max_read_request: spec.max_read_request };
    plant.found = plant.simulation.run(async move { configure(&host, settings).await }).unwrap();
    for &node in &plant.agents {
        agent(plant.simulation.fabric_mut(), node, |agent, _| {
            agent.received.clear();
            agent.made.clear();
        });
    }
    plant.before = plant.simulation.fabric().faults();
    plant
}

/// One agent below one switch.
pub(crate) fn single(spec: &Spec) -> Plant {
    plant(&[Shape::Switch(vec![Shape::Agent])], spec)
}

pub(crate) async fn configure(host: &Host, settings: Settings) -> Vec<Found> {
    let found = enumerate(host, settings).await.unwrap();
    for function in &found {
        host.config_write(function.id, 1, 0b110).await.unwrap();
    }
    found
}

impl Plant {
    /// ID and BAR address of agent `number`.
    pub(crate) fn function(&self, number: usize) -> (Bdf, u64) {
        let mut functions = self.found.iter().filter(|function| !function.bridge);
        let function = functions.nth(number).unwrap();
        (function.id, function.bars[0].address)
    }

    /// What went wrong since the plant was found and configured.
    pub(crate) fn faults(&self) -> Faults {
        let (now, before) = (self.simulation.fabric().faults(), self.before);
        Faults {
            unsupported_request: now.unsupported_request - before.unsupported_request,
            completer_abort: now.completer_abort - before.completer_abort,
            unexpected_completion: now.unexpected_completion - before.unexpected_completion,
            completion_timeout: now.completion_timeout - before.completion_timeout,
            malformed: now.malformed - before.malformed,
        }
    }

    pub(crate) fn fabric(&mut self) -> &mut Fabric {
        self.simulation.fabric_mut()
    }

    /// Calls agent `number`.
    pub(crate) fn agent<T>(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut Agent, &mut mlx5_twin_sim::fabric::Core) -> T,
    ) -> T {
        let node = self.agents[number];
        agent(self.simulation.fabric_mut(), node, call)
    }

    /// Sends a TLP from agent `number`.
    pub(crate) fn send(&mut self, number: usize, header: Header, payload: &[u8]) {
        self.agent(number, |agent, core| agent.send(core, header, payload));
    }

    /// Runs until nothing happens any more. A fabric that never rests is a failure.
    pub(crate) fn settle(&mut self) {
        let rests = (0..2_000_000).any(|_| !self.simulation.step());
        assert!(rests, "the fabric doesn't come to rest: {:?}", self.simulation);
    }

    /// What the checker of order says of all that a recorder saw, and of the order in which agents made their TLPs. `transit` is the longest
    /// time from a first symbol to the queues of the next node.
    pub(crate) fn judge(&mut self, log: &Log, transit: Time) -> Report {
        let mut checker = Checker::new(Topology::of(self.simulation.fabric())).with_transit(transit);
        let mut made: Vec<_> = Vec::new();
        for number in 0..self.agents.len() {
            let node = self.agents[number].number();
            let all = self.agent(number, |agent, _| agent.made.clone());
            made.extend(all.into_iter().map(|(at, header, payload)| (at, node, header, payload)));
        }
        made.sort_by_key(|(at, ..)| *at);
        let mut seen: Vec<&Seen> = log.transmitted.iter().collect();
        seen.sort_by_key(|seen| seen.at);
        let mut made = made.into_iter().peekable();
        for seen in seen {
            while let Some((at, node, header, payload)) = made.next_if(|(at, ..)| *at <= seen.at) {
                let mut bytes = [0; 16];
                let len = header.encode(&mut bytes);
                checker.made(node, at, &bytes[..len], &payload).unwrap();
            }
            let direction = if seen.down { Direction::Downstream } else { Direction::Upstream };
            let lane = Lane { link: LinkId(seen.link), direction };
            checker.see(&Appearance { at: seen.at, lane, header: &seen.header, payload: &seen.payload });
        }
        checker.report()
    }

    /// Lets a host program run to its end.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        program: impl FnOnce(Host) -> F,
    ) -> T {
        let host = self.simulation.host(self.root);
        self.simulation.run(program(host)).expect("the program ends")
    }
}

/// One TLP on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at: Time,
    pub(crate) link: u16,
    pub(crate) down: bool,
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What a probe has seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) transmitted: Vec<Seen>,
    /// Headers in the order in which they were consumed.
    pub(crate) delivered: Vec<(Time, Header)>,
}

/// A probe that writes a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(pub(crate) Arc<Mutex<Log>>);

impl Recorder {
    /// Takes what was seen so far.
    pub(crate) fn take(&self) -> Log {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Probe for Recorder {
    fn transmit(&mut self, event: &Transmit<'_>) {
        self.0.lock().unwrap().transmitted.push(Seen {
            at: event.at,
            link: event.link.0,
            down: event.direction == Direction::Downstream,
            header: event.header.to_vec(),
            payload: event.payload.to_vec(),
        });
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        self.0.lock().unwrap().delivered.push((event.at, *event.header));
    }
}
