//! A small tree for tests: a root complex, a switch, and endpoints whose BARs are memory.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod agent;
pub(crate) mod channels;
pub(crate) mod credits;
pub(crate) mod frames;
pub(crate) mod nettlp;
pub(crate) mod plant;
pub(crate) mod registers;

use std::cell::Cell;

use mlx5_twin_sim::Fabric;
use mlx5_twin_sim::config::{ConfigSpace, PortType};
use mlx5_twin_sim::endpoint::MemoryEndpoint;
use mlx5_twin_sim::fabric::{NodeId, PeerToPeer, PortIdentity, RootSpec, port_config};
use mlx5_twin_sim::host::Simulation;
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::{Credits, DataLink, Link, Range, Timing, VirtualChannels};

pub(crate) struct Tree {
    pub(crate) simulation: Simulation,
    pub(crate) root: NodeId,
    pub(crate) switch: NodeId,
    pub(crate) endpoints: Vec<NodeId>,
}

pub(crate) const TIMING: Timing = Timing {
    endpoint_ns: 50,
    switch_ns: 100,
    root_complex_ns: 60,
    memory_read_ns: 80,
    update_fc_ns: 30,
    completion_timeout_us: 50_000,
    dllp_permille: 0,
    poll_ns: 100,
    link_training_us: 1_000,
    slot_command_us: 100,
};

thread_local! {
    static JITTER: Cell<u64> = const { Cell::new(0) };
    static EXACT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with links whose flight time is a range.
pub(crate) fn with_jitter<T>(f: impl FnOnce() -> T) -> T {
    JITTER.set(500);
    let result = f();
    JITTER.set(0);
    result
}

/// Runs `f` with links whose data link layer is exact.
pub(crate) fn with_exact<T>(f: impl FnOnce() -> T) -> T {
    EXACT.set(true);
    let result = f();
    EXACT.set(false);
    result
}

pub(crate) fn link(generation: u8, lanes: u8) -> Link {
    let credits = Credits {
        posted_headers: 32,
        posted_data: 256,
        nonposted_headers: 32,
        nonposted_data: 32,
        completion_headers: 0,
        completion_data: 0,
    };
    Link {
        generation,
        lanes,
        propagation: Range { min_ps: 1_000, max_ps: 1_000 + JITTER.get() },
        credits,
        virtual_channels: VirtualChannels::NONE,
        data_link: if EXACT.get() { DataLink::Exact } else { DataLink::Rated },
    }
}

/// A root complex with 64 MiB, a switch, and `count` endpoints with a BAR of 1 MiB each.
pub(crate) fn tree(count: u8, seed: u64) -> Tree {
    let config = || MemoryEndpoint::config(0xfff1, 2, 1 << 20).unwrap();
    tree_of((0..count).map(|_| config()).collect(), seed)
}

/// A root complex with 64 MiB, a switch, and endpoints with these registers.
pub(crate) fn tree_of(configs: Vec<ConfigSpace>, seed: u64) -> Tree {
    let mut fabric = Fabric::new(TIMING, seed);
    let (upper, lower) = (link(4, 16), link(3, 8));
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 512 };
    let port = |port_type, number, link| port_config(identity, port_type, number, link).unwrap();
    let root = fabric.add_root(RootSpec {
        memory: Memory::new(64 << 20).unwrap(),
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        ports: vec![port(PortType::RootPort, 0, &upper)],
    });
    let downstream = (0..configs.len() as u8).map(|number| port(PortType::Downstream, number, &lower)).collect();
    let switch = fabric.add_switch(root, &upper, port(PortType::Upstream, 0, &upper), downstream).unwrap();
    let endpoint = |config| {
        fabric
            .plug(switch, &lower, |_, port| Box::new(MemoryEndpoint::new(port, config, Memory::new(1 << 20).unwrap())))
            .unwrap()
    };
    let endpoints = configs.into_iter().map(endpoint).collect();
    Tree { simulation: Simulation::new(fabric), root, switch, endpoints }
}
