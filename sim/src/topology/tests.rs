//! Tests of topologies: what a text means, what's refused, and that hosts find and use all that is there.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::strategy::topology;
use super::*;
use crate::endpoint::{MemoryEndpoint, MultiEndpoint};
use crate::fabric::{Dma, FunctionKey};
use crate::host::{AddressMap, Found, Settings};
use crate::profile::{OutOfRange, Timing};
use crate::tlp::Bdf;

/// Room for many slots: 1 MiB in each range below each of them.
fn settings() -> Settings {
    let map = AddressMap { hot_plug: (1 << 20, 1 << 20), ..AddressMap::default() };
    Settings { map, max_payload: 256, max_read_request: 512 }
}

fn run(topology: &Topology, virtual_functions: u16) -> Running {
    let timing = Timing { link_training_us: 100, ..Timing::default() };
    topology.build(timing, 1).expect("a fabric").enumerate(settings(), virtual_functions).expect("all of it is found")
}

fn parse(text: &str) -> Topology {
    toml::from_str(text).expect("a topology")
}

const EXAMPLE: &str = include_str!("../../../fixtures/topologies/two-hosts.toml");

#[test]
fn the_example() {
    let topology = parse(EXAMPLE);
    let mut running = run(&topology, 2);
    let count = |name: &str| running.functions(name).len();
    let endpoints: Vec<(&str, usize)> =
        running.endpoints().map(|(part, functions)| (part.name.as_str(), functions.len())).collect();
    let mut expected: Vec<(&str, usize)> = vec![("card", 2 + 2 * 2)];
    expected.extend(
        ["drive0", "drive1", "drive2", "drive3", "leaf0", "leaf1", "leaf2", "leaf3", "leaf4", "leaf5"]
            .map(|name| (name, 1)),
    );
    expected.push(("single", 3));
    assert_eq!(endpoints, expected);
    assert_eq!((count("host"), count("backplane"), count("inner"), count("twig1"), count("later")), (3, 9, 3, 4, 0));
    assert_eq!(count("other"), 1);
    let drive = &running.functions("drive2")[0];
    assert_eq!((drive.vendor, drive.device, drive.bars[0].size), (0xfff1, 2, 0x4000));
    // The port above, with its slot: Slot Capabilities, and a link of generation 3 with 4 lanes.
    let port = running.functions("backplane")[3].clone();
    let root = running.part("host").expect("a root complex").node;
    let pcie = port.capability(0x10).expect("a port") / 4;
    let host = running.simulation.host(root);
    let read = running
        .simulation
        .run(async move { (host.config_read(port.id, pcie + 5).await, host.config_read(port.id, pcie + 4).await) });
    let (slot, link) = read.expect("an end");
    assert_eq!(slot.map(|slot| slot & 0x1_ffff), Ok(25 << 7 | 0x7f));
    assert_eq!(link.map(|link| link >> 16 & 0x3ff), Ok(0x43));
    use_all(&mut running);
}

#[test]
fn a_text_that_was_written_is_read_again() {
    let topology = parse(EXAMPLE);
    let text = toml::to_string(&topology).expect("a text");
    assert_eq!(parse(&text), topology);
}

/// What's wrong, and what is said of it.
#[test]
fn wrong_topologies_are_refused() {
    let root = "[[roots]]\nname = \"host\"\n";
    let node = |more: &str| format!("{root}[[nodes]]\nname = \"card\"\nabove = \"host\"\n{more}\n");
    let endpoint = |fields: &str| node(&format!("endpoint = {{ {fields} }}"));
    #[rustfmt::skip]
    let cases = [
        ("roots = []".to_owned(), "topology.roots = 0 is out of range: 1 or more"),
        ("[[roots]]\nname = \"\"".to_owned(), "topology.roots.name = \"\" is no name: letters, digits, '-', '_' and '.'"),
        ("[[roots]]\nname = \"a b\"".to_owned(), "topology.roots.name = \"a b\" is no name: letters, digits, '-', '_' and '.'"),
        (format!("{root}memory_mib = 4096"), "topology.roots.host.memory_mib = 4096 is out of range: 1 to 2048"),
        (format!("{root}read_completion_boundary = 96"), "topology.roots.host.read_completion_boundary = 96 is out of range: 64 or 128"),
        (format!("{root}peer_to_peer = {{ split = 96 }}"), "topology.roots.host.peer_to_peer.split = 96 is out of range: a power of two, 64 to 4096"),
        (format!("{root}count = 0"), "topology.roots.host.count = 0 is out of range: 1 to 1024"),
        (format!("{root}spare_ports = 32"), "topology.roots.host.ports = 32 is out of range: 0 to 31: links below and spare ports"),
        (format!("{root}{root}"), "topology.roots.host.name: \"host\" is a name already"),
        (format!("{root}[identity]\nmax_payload = 100"), "topology.identity.max_payload = 100 is out of range: 128, 256, 512, 1024, 2048 or 4096"),
        (format!("{root}[links.fast]\ngeneration = 6"), "topology.links.fast.generation = 6 is out of range: 1 to 5"),
        (format!("{root}[links.wide]\nlanes = 3"), "topology.links.wide.lanes = 3 is out of range: 1, 2, 4, 8, 12, 16 or 32"),
        (endpoint("bar = 100"), "topology.nodes.card.endpoint.bar = 100 is out of range: a power of two, 128 to 2^36"),
        (endpoint("functions = 9"), "topology.nodes.card.endpoint.functions = 9 is out of range: 1 to 8, or with ari 1 to 256"),
        (endpoint("functions = 257, ari = true"), "topology.nodes.card.endpoint.functions = 257 is out of range: 1 to 256"),
        (node("max_payload = 8192\nendpoint = {}"), "topology.nodes.card.max_payload = 8192 is out of range: 128, 256, 512, 1024, 2048 or 4096"),
        (node("link = \"fast\"\nendpoint = {}"), "topology.nodes.card.link = \"fast\": there's no kind of link of that name"),
        (node("slot = { power_limit = 240 }\nendpoint = {}"), "topology.nodes.card.slot.power_limit = 240 is out of range: 0 to 239"),
        (node("count = 1025\nendpoint = {}"), "topology.nodes.card.count = 1025 is out of range: 1 to 1024"),
        (node("count = 32\nendpoint = {}"), "topology.roots.host.ports = 32 is out of range: 0 to 31: links below and spare ports"),
        (node("switch = { spare_ports = 33 }"), "topology.nodes.card.ports = 33 is out of range: 0 to 32: links below and spare ports"),
        (format!("{}[[nodes]]\nname = \"x\"\nabove = \"card\"\nendpoint = {{}}", endpoint("")), "topology.nodes.x.above = \"card\": there's no root complex or switch before it of that name"),
        (format!("{root}[[nodes]]\nname = \"a\"\nabove = \"a\"\nswitch = {{}}"), "topology.nodes.a.above = \"a\": there's no root complex or switch before it of that name"),
        (format!("{}[[nodes]]\nname = \"card\"\nabove = \"host\"\nendpoint = {{}}", endpoint("")), "topology.nodes.card.name: \"card\" is a name already"),
        (format!("{}[[nodes]]\nname = \"s\"\nabove = \"card\"\ncount = 32\nswitch = {{ spare_ports = 9 }}", node("switch = {}")), "topology.roots.host.buses = 354 is out of range: 0 to 255: one below each port, and one within each switch"),
        ("[[roots]]\nname = \"host\"\ncount = 1024\n[[nodes]]\nname = \"card\"\nabove = \"host\"\ncount = 16\nendpoint = {}".to_owned(), "topology.nodes.card.count = 16 is out of range: so many that all are at most 16384"),
    ];
    for (text, message) in cases {
        let error = parse(&text).validate().expect_err(&text);
        assert_eq!(error.to_string(), message, "{text}");
        assert!(parse(&text).build(Timing::default(), 1).is_err());
    }
    // What the text itself can't be.
    let cases = [
        (node(""), "node card: one of 'switch', 'endpoint' and 'emulated' must be there, and only one"),
        (
            node("switch = {}\nendpoint = {}"),
            "node card: one of 'switch', 'endpoint' and 'emulated' must be there, and only one",
        ),
        (node("color = 1\nendpoint = {}"), "unknown field `color`"),
        (endpoint("size = 1"), "unknown field `size`"),
        (format!("{root}[links.a]\nspeed = 1"), "unknown field `speed`"),
        (String::new(), "missing field `roots`"),
    ];
    for (text, message) in cases {
        let error = toml::from_str::<Topology>(&text).expect_err(&text).to_string();
        assert!(error.contains(message), "{error} doesn't say: {message}");
    }
    let error = OutOfRange { field: "topology.roots".to_owned(), value: 0, allowed: "1 or more" };
    assert_eq!(Topology::default().validate(), Err(SpecError::OutOfRange(error)));
}

/// A device made by whoever builds the fabric.
#[test]
fn own_devices() {
    let topology =
        parse("[[roots]]\nname = \"host\"\n[[nodes]]\nname = \"card\"\nabove = \"host\"\ncount = 3\nendpoint = {}");
    let mut seen = Vec::new();
    let built = topology.build_with(Timing::default(), 1, |seat| {
        seen.push((seat.name.to_owned(), seat.max_payload, seat.link.lanes));
        let config = MemoryEndpoint::config(7, 8, 4096).ok()?;
        let memory = crate::memory::Memory::new(4096).ok()?;
        (seat.name == "card1").then(|| Box::new(MemoryEndpoint::new(seat.port, config, memory)) as _)
    });
    let running = built.expect("a fabric").enumerate(settings(), 0).expect("all of it is found");
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1], ("card1".to_owned(), 512, 16));
    let identities: Vec<_> =
        running.endpoints().map(|(_, functions)| (functions[0].vendor, functions[0].device)).collect();
    assert_eq!(identities, [(0xfff1, 2), (7, 8), (0xfff1, 2)]);
}

/// Writes to both ends of each function's BAR and reads all of it again, on every host; then lets neighbours write to each other.
fn use_all(running: &mut Running) {
    let roots: Vec<_> = running.parts().iter().filter(|part| part.kind == PartKind::Root).cloned().collect();
    for root in roots {
        let own = running.endpoints().filter(|(part, _)| part.root == root.node);
        let functions: Vec<(crate::fabric::NodeId, Found)> =
            own.flat_map(|(part, functions)| functions.iter().map(|found| (part.node, found.clone()))).collect();
        let places: Vec<(u64, u64)> =
            functions.iter().map(|(_, found)| (found.bars[0].address, found.bars[0].size)).collect();
        let ids: Vec<Bdf> = functions.iter().map(|(_, found)| found.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each ID is one function's");
        let host = running.simulation.host(root.node);
        let done = running.simulation.run(async move {
            for (number, (address, size)) in (1..).zip(&places) {
                host.write64(*address, number).await.expect("a write");
                host.write64(address + size - 8, number << 20).await.expect("a write");
            }
            for (number, (address, size)) in (1..).zip(&places) {
                assert_eq!(host.read64(*address).await, Ok(number), "{address:#x}");
                assert_eq!(host.read64(address + size - 8).await, Ok(number << 20), "{address:#x}");
            }
            for id in ids {
                host.config_write_bytes(id, 1, 0x3, 0x6).await.expect("a write");
            }
        });
        assert_eq!(done, Some(()));
        peer_to_peer(running, root.node, &functions);
    }
    assert_eq!(running.simulation.fabric().in_flight(), 0);
}

/// Each function writes into the BAR of the one before it; the first one into that of the last.
fn peer_to_peer(running: &mut Running, root: crate::fabric::NodeId, functions: &[(crate::fabric::NodeId, Found)]) {
    if functions.len() < 2 {
        return;
    }
    let before = functions.iter().cycle().skip(functions.len() - 1);
    let mut expected = Vec::new();
    for ((node, from), (other, to)) in functions.iter().zip(before) {
        // Within a device nothing reaches the link and comes back; and a root complex here sends nothing from one of its ports to another.
        if node == other || domain(running.parts(), *node) != domain(running.parts(), *other) {
            continue;
        }
        let address = to.bars[0].address + 16;
        let data = u64::from(from.id.0) << 32 | 0x5a;
        expected.push((address, data));
        let fabric = running.simulation.fabric_mut();
        let id = from.id;
        let sent = fabric.device(*node, |device: &mut MemoryEndpoint, core| {
            assert_eq!(device.function().id(), id);
            Dma::write(core, device.function(), address, &data.to_le_bytes())
        });
        let sent = sent.or_else(|| {
            fabric.device(*node, |device: &mut MultiEndpoint, core| {
                let key: FunctionKey = device.device().by_id(id).expect("a function of this ID");
                Dma::write(core, device.device().function(key).expect("there"), address, &data.to_le_bytes())
            })
        });
        assert_eq!(sent, Some(Ok(())));
    }
    while running.simulation.step() {}
    let host = running.simulation.host(root);
    let done = running.simulation.run(async move {
        for (address, data) in expected {
            assert_eq!(host.read64(address).await, Ok(data), "{address:#x}");
        }
    });
    assert_eq!(done, Some(()));
}

/// The part below the root port that a node is below, or that it is.
fn domain(parts: &[Part], node: crate::fabric::NodeId) -> Option<usize> {
    let mut place = parts.iter().position(|part| part.node == node)?;
    loop {
        let above = parts.iter().position(|part| part.below.contains(&place))?;
        if parts[above].kind == PartKind::Root {
            return Some(place);
        }
        place = above;
    }
}

#[test]
fn regular_shapes() {
    let plain = Endpoint::default();
    let several = Endpoint { functions: 3, virtual_functions: 2, bar: 4096, ari: true };
    #[rustfmt::skip]
    let cases = [
        Regular { roots: 1, depth: 0, fan_out: 1,  endpoint: plain },
        Regular { roots: 3, depth: 0, fan_out: 31, endpoint: plain },
        Regular { roots: 2, depth: 1, fan_out: 32, endpoint: plain },
        Regular { roots: 1, depth: 2, fan_out: 5,  endpoint: several },
        Regular { roots: 1, depth: 6, fan_out: 2,  endpoint: plain },
        Regular { roots: 1, depth: 40, fan_out: 1, endpoint: plain },
    ];
    for shape in cases {
        let mut running = run(&shape.topology(), 2);
        assert_eq!(running.endpoints().count() as u64, shape.endpoints(), "{shape:?}");
        use_all(&mut running);
    }
    // The deepest tree that has bus numbers: two for each switch, and one below the root port.
    let deepest = |depth| Regular { roots: 1, depth, fan_out: 1, endpoint: plain }.topology();
    assert_eq!(deepest(127).validate(), Ok(()));
    assert!(deepest(128).validate().is_err());
    assert_eq!(run(&deepest(127), 0).endpoints().count(), 1);
}

/// A thousand functions, and more, in three ways: many endpoints, many functions, many virtual functions.
#[test]
fn a_thousand_functions() {
    let many = parse(
        r#"
        [[roots]]
        name = "host"
        count = 5
        [[nodes]]
        name = "top"
        above = "host"
        switch = {}
        [[nodes]]
        name = "switch"
        above = "top"
        count = 8
        switch = {}
        [[nodes]]
        name = "end"
        above = "switch"
        count = 25
        endpoint = {}
        "#,
    );
    let functions = Regular {
        roots: 1,
        depth: 1,
        fan_out: 4,
        endpoint: Endpoint { functions: 250, ari: true, bar: 4096, virtual_functions: 0 },
    };
    let virtuals = Regular {
        roots: 2,
        depth: 0,
        fan_out: 5,
        endpoint: Endpoint { functions: 1, ari: true, bar: 8192, virtual_functions: 99 },
    };
    for (topology, asked) in [(many, 0), (functions.topology(), 0), (virtuals.topology(), 99)] {
        let mut running = run(&topology, asked);
        assert_eq!(running.endpoints().map(|(_, functions)| functions.len()).sum::<usize>(), 1_000);
        use_all(&mut running);
    }
}

/// A bridge's buses and windows, and where it is.
struct Bridge {
    bus: u8,
    secondary: u8,
    subordinate: u8,
    windows: [(u64, u64); 2],
}

/// Reads what enumeration has set in a bridge.
fn bridge(running: &mut Running, root: crate::fabric::NodeId, id: Bdf) -> Bridge {
    let host = running.simulation.host(root);
    let read = async move {
        let mut dwords = [0; 6];
        for (dword, register) in dwords.iter_mut().zip([6, 8, 9, 10, 11, 1]) {
            *dword = host.config_read(id, register).await.expect("a bridge");
        }
        dwords
    };
    let [buses, memory, low, base_upper, limit_upper, command] = running.simulation.run(read).expect("an end");
    assert_eq!(command & 0x7, 0x6, "memory space and bus master");
    let range = |dword: u32| (u64::from(dword & 0xfff0) << 16, u64::from(dword & 0xfff0_0000 | 0xf_ffff));
    let (base, limit) = range(low);
    let prefetchable = (u64::from(base_upper) << 32 | base, u64::from(limit_upper) << 32 | limit);
    Bridge {
        bus: id.bus(),
        secondary: (buses >> 8) as u8,
        subordinate: (buses >> 16) as u8,
        windows: [range(memory), prefetchable],
    }
}

/// Each window and each range of buses lies within that of the bridge above and touches none beside it, and so does each BAR.
fn check_windows(running: &mut Running) -> Result<(), TestCaseError> {
    let roots: Vec<_> = running.parts().iter().filter(|part| part.kind == PartKind::Root).cloned().collect();
    for root in roots {
        let below: Vec<_> = running.parts().iter().filter(|part| part.root == root.node).cloned().collect();
        let functions: Vec<Found> = below.iter().flat_map(|part| running.functions(&part.name).to_vec()).collect();
        let ids: Vec<Bdf> = functions.iter().filter(|found| found.bridge).map(|found| found.id).collect();
        let bridges: Vec<Bridge> = ids.into_iter().map(|id| bridge(running, root.node, id)).collect();
        // By the bridge above: what is directly below it, in the two kinds of memory, and the buses.
        for above in std::iter::once(None).chain(bridges.iter().map(Some)) {
            let (bus, last) = above.map_or((0, 255), |above| (above.secondary, above.subordinate));
            let within = bridges.iter().filter(|bridge| bridge.bus == bus);
            let mut buses: Vec<(u64, u64)> =
                within.clone().map(|bridge| (bridge.secondary.into(), bridge.subordinate.into())).collect();
            buses.sort_unstable();
            prop_assert!(
                buses.iter().all(|range| range.0 > bus.into() && range.0 <= range.1 && range.1 <= last.into())
            );
            prop_assert!(buses.windows(2).all(|pair| pair[0].1 < pair[1].0), "{buses:?}");
            for kind in 0..2 {
                let open = within.clone().map(|bridge| bridge.windows[kind]).filter(|window| window.0 <= window.1);
                let own =
                    functions.iter().filter(|found| !found.bridge && found.physical.unwrap_or(found.id).bus() == bus);
                let bars =
                    own.flat_map(|found| &found.bars).filter(|bar| (bar.is_64bit && bar.prefetchable) == (kind == 1));
                let mut ranges: Vec<(u64, u64)> =
                    open.chain(bars.map(|bar| (bar.address, bar.address + bar.size - 1))).collect();
                ranges.sort_unstable();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:x?}");
                if let Some(above) = above {
                    let (base, limit) = above.windows[kind];
                    prop_assert!(
                        ranges.iter().all(|range| base <= range.0 && range.1 <= limit),
                        "{ranges:x?} in {base:x}"
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Enumeration finds exactly what was built, gives windows that nest, and all that was found can be used.
    #[test]
    fn any_topology(topology in topology(), virtual_functions in 0..=9_u16) {
        let text = toml::to_string(&topology).expect("a text");
        prop_assert_eq!(&parse(&text), &topology);
        let mut running = run(&topology, virtual_functions);
        check_windows(&mut running)?;
        use_all(&mut running);
    }
}
