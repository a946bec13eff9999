//! A host finds, configures and uses what is plugged in below a switch, by TLPs alone.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{Tree, tree, tree_of};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::{Bar, Type0};
use mlx5_twin_sim::fabric::{Core, Device, PortId, TlpId};
use mlx5_twin_sim::host::{AccessError, Host, Settings, enumerate};
use mlx5_twin_sim::probe::{Direction, LinkId, Probe, Transmit};
use mlx5_twin_sim::tlp::{Bdf, ConfigType, Header, Kind, MessageCode, Route};

async fn find(host: &Host) -> Vec<mlx5_twin_sim::host::Found> {
    let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
    enumerate(host, settings).await.expect("enumeration")
}

#[test]
fn enumeration_finds_the_tree_and_gives_addresses() {
    let Tree { mut simulation, root, .. } = tree(3, 1);
    let host = simulation.host(root);
    let found = simulation.run(async move { find(&host).await }).expect("an end");
    let ids: Vec<_> = found.iter().map(|function| (function.id, function.bridge)).collect();
    let bdf = Bdf::new;
    assert_eq!(
        ids,
        [
            (bdf(0, 1, 0), true),
            (bdf(1, 0, 0), true),
            (bdf(2, 0, 0), true),
            (bdf(3, 0, 0), false),
            (bdf(2, 1, 0), true),
            (bdf(4, 0, 0), false),
            (bdf(2, 2, 0), true),
            (bdf(5, 0, 0), false),
        ]
    );
    let mut bars: Vec<_> = found.iter().flat_map(|function| function.bars.iter()).collect();
    bars.sort_by_key(|bar| bar.address);
    assert_eq!(bars.len(), 3);
    for pair in bars.windows(2) {
        assert!(pair[0].address + pair[0].size <= pair[1].address, "BARs overlap: {pair:?}");
    }
    assert!(bars.iter().all(|bar| bar.address % bar.size == 0 && bar.size == 1 << 20));
}

/// An expansion ROM is sized and gets an address of its own, aligned, disabled, inside the windows of the bridges above it.
#[test]
fn expansion_roms_get_addresses() {
    let sizes = [None, Some(0x800), Some(0x100_0000), Some(0x1_0000)];
    let config = |expansion_rom: Option<u32>| {
        let bars = [Some(Bar::memory32(4096)), None, None, None, None, None];
        Type0 { vendor_id: 0xfff1, device_id: 2, bars, expansion_rom, ..Type0::default() }.build().unwrap()
    };
    let Tree { mut simulation, root, .. } = tree_of(sizes.map(config).into(), 1);
    let host = simulation.host(root);
    let (found, registers) = simulation
        .run(async move {
            let found = find(&host).await;
            let mut registers = Vec::new();
            for function in &found {
                registers.push(host.config_read(function.id, if function.bridge { 8 } else { 12 }).await.unwrap());
            }
            (found, registers)
        })
        .expect("an end");
    let endpoints: Vec<_> = found.iter().zip(&registers).filter(|(function, _)| !function.bridge).collect();
    let roms: Vec<_> = endpoints.iter().map(|(function, _)| function.expansion_rom).collect();
    assert_eq!(roms.iter().map(|rom| rom.map(|rom| rom.size as u32)).collect::<Vec<_>>(), sizes);
    let mut taken: Vec<_> =
        endpoints.iter().flat_map(|(function, _)| &function.bars).chain(roms.iter().flatten()).collect();
    taken.sort_by_key(|bar| bar.address);
    for pair in taken.windows(2) {
        assert!(pair[0].address + pair[0].size <= pair[1].address, "they overlap: {pair:?}");
    }
    let mut windows = Vec::new();
    for (function, register) in found.iter().zip(&registers) {
        if function.bridge {
            assert_eq!(function.expansion_rom, None);
            windows.push((u64::from(register << 16 & 0xfff0_0000), u64::from(register | 0xf_ffff)));
        } else if let Some(rom) = function.expansion_rom {
            assert_eq!((rom.index, rom.address % rom.size, u64::from(*register)), (6, 0, rom.address), "disabled");
            let above =
                windows.iter().filter(|(base, limit)| *base <= rom.address && rom.address + rom.size - 1 <= *limit);
            assert_eq!(above.count(), 3, "root port, upstream and downstream port");
        }
    }
}

#[test]
fn reads_return_what_was_written() {
    let Tree { mut simulation, root, .. } = tree(2, 1);
    let host = simulation.host(root);
    let read = simulation.run(async move {
        let found = find(&host).await;
        let bars: Vec<_> = found.iter().flat_map(|function| function.bars.clone()).collect();
        let mut read = Vec::new();
        for (number, bar) in bars.iter().enumerate() {
            for offset in [0, 4, 0x1001, 0xff_fff] {
                let value = (number as u8 + 1) ^ offset as u8;
                host.write(bar.address + offset, &[value]).await.unwrap();
            }
            host.write64(bar.address + 0x40, 0x1122_3344_5566_7788 + number as u64).await.unwrap();
            for offset in [0, 4, 0x1001, 0xff_fff] {
                let value = host.read(bar.address + offset, 1).await.unwrap().bytes()[0];
                assert_eq!(value, (number as u8 + 1) ^ offset as u8);
            }
            read.push(host.read64(bar.address + 0x40).await.unwrap());
        }
        read
    });
    assert_eq!(read, Some(vec![0x1122_3344_5566_7788, 0x1122_3344_5566_7789]));
    assert_eq!(simulation.fabric().in_flight(), 0);
}

#[test]
fn nobody_home_is_an_unsupported_request() {
    let Tree { mut simulation, root, .. } = tree(1, 1);
    let host = simulation.host(root);
    let errors = simulation.run(async move {
        let found = find(&host).await;
        let bar = &found[3].bars[0];
        let beyond = bar.address + bar.size;
        (
            host.config_read(Bdf::new(3, 1, 0), 0).await.unwrap_err(),
            host.config_read(Bdf::new(9, 0, 0), 0).await.unwrap_err(),
            host.read32(beyond).await.unwrap_err(),
            host.read(bar.address + 60, 8).await.unwrap_err(),
        )
    });
    let config = |bus, device| AccessError::UnsupportedRequest(u64::from(Bdf::new(bus, device, 0).0) << 12);
    let (first, second, third, fourth) = errors.unwrap();
    assert_eq!((first, second), (config(3, 1), config(9, 0)));
    assert!(matches!(third, AccessError::UnsupportedRequest(_)));
    assert!(matches!(fourth, AccessError::Shape { len: 8, .. }));
}

#[test]
fn time_passes_as_the_links_say() {
    let Tree { mut simulation, root, .. } = tree(1, 1);
    let host = simulation.host(root);
    let span = simulation
        .run(async move {
            let found = find(&host).await;
            let begin = host.now();
            host.read32(found[3].bars[0].address).await.unwrap();
            host.now().since(begin)
        })
        .unwrap();
    // Two links down and up: 4DW request, 3DW completion with one dword, 8 bytes framing each; flight 1 ns, switch 100 ns,
    // endpoint 50 ns, root complex 60 ns; generation 4 x16 at 31.5 GB/s; generation 3 x8 below the switch, 7.9 GB/s.
    let wire = (24 + 24) * 1000 / 31_508 + (24 + 24) * 1000 / 7_877;
    let expected = wire + 4 + 100 + 50 + 100 + 60;
    let measured = span.as_ns();
    assert!(measured.abs_diff(expected as u64) <= 2, "{measured} ns, expected about {expected} ns");
    assert!(span < Time::us(1));
}

#[test]
fn a_seed_draws_the_latencies() {
    let run = |seed| {
        let Tree { mut simulation, root, .. } = tree(2, seed);
        let host = simulation.host(root);
        simulation.run(async move { find(&host).await });
        simulation.fabric().now()
    };
    assert_eq!(run(5), run(5));
    let common = common::with_jitter(|| (run(5), run(6)));
    assert_ne!(common.0, common.1);
}

/// How many messages each link has carried, by its number.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<BTreeMap<u16, u32>>>);

impl Probe for Messages {
    fn transmit(&mut self, event: &Transmit<'_>) {
        let header = Header::decode(event.header).expect("a legal header");
        if header.kind().is_message() {
            assert_eq!((header.message_code(), event.direction), (MessageCode::PME_TURN_OFF, Direction::Downstream));
            *self.0.lock().unwrap().entry(event.link.0).or_default() += 1;
        }
    }
}

#[test]
fn a_broadcast_message_reaches_everyone_once() {
    let Tree { mut simulation, root, .. } = tree(3, 1);
    let messages = Messages::default();
    simulation.fabric_mut().set_probe(Some(Box::new(messages.clone())));
    let message = |route| Header::message(Bdf(0), 0, MessageCode::PME_TURN_OFF, route, [0; 2], 0);
    let fabric = simulation.fabric_mut();
    assert!(fabric.broadcast(root, message(Route::Broadcast).unwrap(), &[]));
    let read = Header::mem_read_bytes(Bdf(0), 0, 0, 4).unwrap();
    assert!(!fabric.broadcast(root, read, &[]), "only messages are broadcast");
    while simulation.step() {}
    // One on the link to the switch, one on each link below it.
    assert_eq!(*messages.0.lock().unwrap(), BTreeMap::from([(0, 1), (1, 1), (2, 1), (3, 1)]));
    assert_eq!(simulation.fabric().in_flight(), 0);
}

/// Notes when TLPs come; sends nothing.
struct Silent(Vec<(Time, Header)>);

impl Device for Silent {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        self.0.push((core.now(), *core.header(tlp)));
        core.consume(tlp);
    }

    fn timer(&mut self, _: &mut Core, _: u64) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

#[test]
fn a_device_can_take_the_place_of_a_root_complex() {
    let Tree { mut simulation, root, switch, endpoints } = tree(2, 1);
    let fabric = simulation.fabric_mut();
    let ends: Vec<_> = (0..3).map(|link| fabric.ends(LinkId(link)).expect("a link")).collect();
    assert_eq!(fabric.ends(LinkId(3)), None);
    assert_eq!(fabric.ends(LinkId(u16::MAX)), None);
    let nodes: Vec<_> = ends.iter().map(|ends| ends.map(|end| (end.node, end.is_switch))).collect();
    let below = |number: usize| [(switch, true), (endpoints[number], false)];
    assert_eq!(nodes, [[(root, false), (switch, true)], below(0), below(1)]);

    assert!(!fabric.replace(switch, Box::new(Silent(Vec::new()))), "a switch stays");
    assert!(fabric.replace(root, Box::new(Silent(Vec::new()))));
    assert!(fabric.memory(root).is_none());
    // What it sends goes over its link: a read of the switch's own registers is answered after two links' times.
    let port = ends[0][0].port;
    let read = Header::config_read(ConfigType::Type0, Bdf(0), 5, Bdf::new(1, 0, 0), 0, 0xf).expect("a read");
    fabric.device(root, |_: &mut Silent, core| core.send_new(port, read, &[]));
    while fabric.step() {}
    let (at, completion) =
        fabric.device(root, |silent: &mut Silent, _| silent.0.pop()).flatten().expect("a completion");
    assert_eq!((completion.kind(), completion.tag()), (Kind::CplD, 5));
    // The flight is 1 ns, the switch takes 100 ns and the root complex 60 ns; generation 4 x16 needs 0.03 ns for a byte.
    let waits = Time::ns(1 + 100 + 1 + 60);
    assert!(at > waits && at < waits + Time::ns(2), "{at}");
}
