//! Strategies for property tests: any topology of a moderate size.

use proptest::prelude::*;
use proptest::sample::select;

use super::{Body, Endpoint, LinkKind, Node, Root, Slot, Switch, Topology};
use crate::fabric::PeerToPeer;

/// What is drawn of a node before it's known what can be above it.
#[derive(Clone, Debug)]
struct Draw {
    above: prop::sample::Index,
    count: Option<u16>,
    link: Option<usize>,
    slot: Option<Slot>,
    body: Body,
}

/// Any endpoint.
pub fn endpoint() -> impl Strategy<Value = Endpoint> {
    let bar = (7..=21_u32).prop_map(|log| 1 << log);
    let functions = prop_oneof![4 => Just(1), 2 => 2..=8_u16];
    let virtual_functions = prop_oneof![3 => Just(0), 1 => 1..=9_u16];
    (bar, functions, virtual_functions, any::<bool>(), any::<bool>()).prop_map(
        |(bar, functions, virtual_functions, ari, many)| Endpoint {
            bar,
            functions: if ari && many { functions * 5 } else { functions },
            virtual_functions,
            ari,
        },
    )
}

/// Any slot.
pub fn slot() -> impl Strategy<Value = Slot> {
    (any::<[bool; 9]>(), 0..=239_u8, any::<bool>()).prop_map(|(parts, power_limit, present)| Slot {
        hot_plug: true,
        surprise: parts[0],
        attention_button: parts[1],
        mrl_sensor: parts[2],
        attention_indicator: parts[3],
        power_indicator: parts[4],
        power_controller: parts[5],
        no_command_completed: parts[6],
        interlock: parts[7],
        in_band_disable: parts[8],
        power_limit,
        present,
        number: None,
    })
}

fn draw() -> impl Strategy<Value = Draw> {
    let body = prop_oneof![
        2 => (0..=2_u8).prop_map(|spare_ports| Body::Switch(Switch { spare_ports, ..Switch::default() })),
        3 => endpoint().prop_map(Body::Endpoint),
    ];
    let slot = proptest::option::weighted(0.2, slot());
    let count = proptest::option::weighted(0.3, 1..=3_u16);
    let link = proptest::option::of(0..3_usize);
    (any::<prop::sample::Index>(), count, link, slot, body).prop_map(|(above, count, link, slot, body)| Draw {
        above,
        count,
        link,
        slot,
        body,
    })
}

/// Any topology: 1 to 3 root complexes and up to about 40 nodes of all kinds, that can be built.
pub fn topology() -> impl Strategy<Value = Topology> {
    let link = (1..=5_u8, select(&[1_u8, 2, 4, 8, 12, 16, 32][..]));
    let link = link.prop_map(|(generation, lanes)| LinkKind { generation, lanes, ..LinkKind::default() });
    let peers = select(&[PeerToPeer::Refused, PeerToPeer::Split(64), PeerToPeer::Split(4096)][..]);
    let root = (1..=2_u64, select(&[64_u32, 128][..]), peers, 0..=2_u8);
    (
        proptest::collection::vec(link, 3),
        proptest::collection::vec(root, 1..=3),
        proptest::collection::vec(draw(), 0..=14),
    )
        .prop_map(|(links, roots, draws)| assemble(links, roots, draws))
        .prop_filter("more ports or buses than there are", |topology| topology.validate().is_ok())
}

fn assemble(links: Vec<LinkKind>, roots: Vec<(u64, u32, PeerToPeer, u8)>, draws: Vec<Draw>) -> Topology {
    let links = links.into_iter().enumerate().map(|(number, link)| (format!("kind{number}"), link)).collect();
    let roots = roots.into_iter().enumerate().map(
        |(number, (memory_mib, read_completion_boundary, peer_to_peer, spare_ports))| Root {
            memory_mib,
            read_completion_boundary,
            peer_to_peer,
            spare_ports,
            ..Root::new(&format!("root-{number}"))
        },
    );
    let roots: Vec<Root> = roots.collect();
    let mut above: Vec<String> = roots.iter().map(|root| root.name.clone()).collect();
    let mut nodes = Vec::new();
    for (number, draw) in draws.into_iter().enumerate() {
        let Draw { above: index, count, link, slot, body } = draw;
        let name = format!("node-{number}-");
        let node = Node {
            above: index.get(&above).clone(),
            name: name.clone(),
            count,
            link: link.map(|link| format!("kind{link}")),
            slot,
            max_payload: None,
            body,
        };
        if matches!(node.body, Body::Switch(_)) {
            above.push(name);
        }
        nodes.push(node);
    }
    Topology { links, roots, nodes, ..Topology::default() }
}
