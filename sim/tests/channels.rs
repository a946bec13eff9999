//! Virtual channels: what software sets, who goes first, and that none stops another; order, credits and progress as without them.

mod common;

use common::channels::{
    MAX_PAYLOAD, TRANSIT, capability, channels, classes, enable_all, exact_credits, four_of_each, pending, perform,
    set, spec, step, with_data_link, write,
};
use common::credits::SMALLEST;
use common::plant::{Plant, Recorder, Shape, configure, plant, single, trees};
use mlx5_twin_sim::config::PortType;
use mlx5_twin_sim::endpoint::MultiShape;
use mlx5_twin_sim::fabric::{
    Core, Device, ErrorKind, MultiFunction, MultiInbound, PeerToPeer, PortId, PortIdentity, RootSpec, TlpId,
    port_config,
};
use mlx5_twin_sim::host::{Host, Settings, Simulation};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::{Credits, Timing};
use mlx5_twin_sim::tlp::{Bdf, Header};
use mlx5_twin_sim::topology::Topology;
use mlx5_twin_sim::{Fabric, Time};
use proptest::prelude::*;
use proptest::sample::Index;

#[test]
fn channels_are_pending_until_both_ends_have_them() {
    for exact in [false, true] {
        let mut plant = single(&with_data_link(spec(&[SMALLEST; 3], 0, common::TIMING, 1), exact));
        let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
        let [.., above, below] = ids[..] else { panic!("{ids:?}") };
        let steps = plant.run(move |host| async move {
            let both = async |host: &Host| {
                host.sleep(Time::us(5)).await;
                [pending(host, above, 3).await, pending(host, below, 3).await]
            };
            let mut steps = vec![both(&host).await];
            // VC ID 5, in the second resource of one end and in the third of the other.
            set(&host, above, 1, 5, 0x20).await;
            steps.push(both(&host).await);
            set(&host, below, 2, 5, 0x20).await;
            steps.push(both(&host).await);
            // An ID that the other end hasn't.
            set(&host, below, 1, 6, 0x40).await;
            steps.push(both(&host).await);
            set(&host, below, 2, 4, 0x20).await;
            steps.push(both(&host).await);
            steps
        });
        assert_eq!(steps, [[0, 0], [0b010, 0], [0, 0], [0, 0b010], [0b010, 0b110]], "exact: {exact}");
        plant.settle();
        assert!(plant.fabric().is_at_rest());
    }
}

/// What a topology's text says of a link, both ends have, whatever device is there.
#[test]
fn endpoints_of_a_topology_have_the_channels_of_their_links() {
    for data_link in ["rated", "exact"] {
        let text = format!(
            r#"
            [links.default]
            data_link = "{data_link}"
            virtual_channels = {{ low_priority = 1, phases = 32, credits = [{{ posted_headers = 1, posted_data = 32, nonposted_headers = 1,
                nonposted_data = 8, completion_headers = 0, completion_data = 0 }}] }}
            [[roots]]
            name = "host"
            [[nodes]]
            name = "plain"
            above = "host"
            endpoint = {{}}
            [[nodes]]
            name = "several"
            above = "host"
            endpoint = {{ functions = 2, virtual_functions = 1, ari = true }}
            "#
        );
        let topology: Topology = toml::from_str(&text).unwrap();
        let settings = Settings { map: Default::default(), max_payload: 512, max_read_request: 512 };
        let mut running = topology.build(common::TIMING, 1).unwrap().enumerate(settings, 1).unwrap();
        let ports: Vec<Bdf> = running.functions("host").iter().map(|port| port.id).collect();
        for (port, name) in ports.into_iter().zip(["plain", "several"]) {
            let functions: Vec<Bdf> = running.functions(name).iter().map(|function| function.id).collect();
            let root = running.part("host").unwrap().node;
            let host = running.simulation.host(root);
            let seen = running.simulation.run(async move {
                let mut seen = Vec::new();
                for &function in &functions {
                    seen.push(capability(&host, function).await.is_some());
                }
                set(&host, port, 1, 1, 0x02).await;
                let before = pending(&host, port, 2).await;
                set(&host, functions[0], 1, 1, 0x02).await;
                host.sleep(Time::us(5)).await;
                (seen, before, [pending(&host, port, 2).await, pending(&host, functions[0], 2).await])
            });
            let (seen, before, after) = seen.unwrap();
            let own: Vec<bool> = (0..seen.len()).map(|function| function == 0).collect();
            assert_eq!((seen, before, after), (own, 0b10, [0, 0]), "{name} on {data_link} links");
        }
    }
}

/// Credits of VC0 come back once in 100 us; those who have another channel don't wait for that.
#[test]
fn a_starved_channel_stops_no_other() {
    let timing = Timing { update_fc_ns: 100_000, ..common::TIMING };
    let free = Credits::INFINITE;
    let mut plant = single(&spec(&[SMALLEST, free], 1, timing, 1));
    enable_all(&mut plant, &[0xfd, 0x02], false);
    assert_eq!(four_of_each(&mut plant), [0, 1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(plant.faults(), Default::default());
}

/// TC0, TC1 and TC2 go over VC0, VC1 and VC2. The first TLP finds the wire free.
#[test]
fn channels_take_turns() {
    let cases = [(0, [0, 2, 2, 2, 1, 1, 1, 0, 0]), (1, [0, 2, 2, 2, 1, 0, 1, 0, 1]), (2, [0, 1, 2, 0, 1, 2, 0, 1, 2])];
    for ((low_priority, order), exact) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        let spec = spec(&[Credits::INFINITE; 3], low_priority, common::TIMING, 1);
        let mut plant = single(&with_data_link(spec, exact));
        enable_all(&mut plant, &[0xf9, 0x02, 0x04], false);
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        for tc in 0..3 {
            for number in 0..3 {
                plant.send(0, write(me, u64::from(tc) * 0x1000 + number * 128, 128, tc), &[tc; 128]);
            }
        }
        plant.settle();
        assert_eq!(classes(&recorder, &mut plant), order, "{low_priority} in the low-priority group, exact: {exact}");
    }
}

/// A traffic class that the sender has a channel for, but not the receiver; and one that the sender has none for. Credits come back all the same.
#[test]
fn classes_without_a_channel_are_malformed() {
    for (at_receiver, exact) in [(true, false), (false, false), (true, true), (false, true)] {
        // Links with VC0 only: its traffic classes can be taken away, too.
        let mut plant = single(&with_data_link(spec(&[SMALLEST, SMALLEST], 0, common::TIMING, 1), exact));
        let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
        let [.., above, below] = ids[..] else { panic!("{ids:?}") };
        let end = if at_receiver { above } else { below };
        plant.run(move |host| async move { set(&host, end, 0, 0, 0xf7).await });
        let me = plant.function(0).0;
        for number in 0..5 {
            plant.send(0, write(me, number * 128, 128, 3), &[1; 128]);
            plant.send(0, write(me, 0x1000 + number * 128, 128, 4), &[2; 128]);
        }
        plant.settle();
        assert_eq!(plant.faults().malformed, 5);
        assert!(plant.fabric().is_at_rest());
        // The receiver finds it out, or who was to send it: each in its own registers, with the header of the first.
        assert_eq!(plant.fabric().detected(ErrorKind::MalformedTlp), 5);
        for (id, finds) in [(above, at_receiver), (below, !at_receiver)] {
            let errors = plant.errors(id);
            let bits = u32::from(finds) << 18;
            let logged = if finds { write(me, 0, 128, 3).dws() } else { [0; 4] };
            assert_eq!((errors.uncorrectable, errors.header), (bits, logged), "{id}, {at_receiver}, exact: {exact}");
        }
        let root = plant.root;
        let memory = plant.fabric().memory(root).unwrap();
        for number in 0..5 {
            assert_eq!(memory.read_u32_le(number * 128), Ok(0));
            assert_eq!(memory.read_u32_le(0x1000 + number * 128), Ok(0x0202_0202));
        }
    }
}

/// A device of two functions; only the first has the capability.
struct Pair(MultiFunction);

impl Device for Pair {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.0.receive(core, tlp) {
            MultiInbound::Memory { .. } | MultiInbound::Completion(_) => core.consume(tlp),
            MultiInbound::Configured(..) | MultiInbound::Done => {}
        }
    }

    fn timer(&mut self, _core: &mut Core, _token: u64) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// Function 0 of several shows and sets the channels of the link.
#[test]
fn function_0_of_several_has_the_channels() {
    let link = spec(&[SMALLEST, SMALLEST], 0, common::TIMING, 1).link;
    let mut fabric = Fabric::new(common::TIMING, 1);
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 512 };
    let root = fabric.add_root(RootSpec {
        memory: Memory::new(1 << 20).unwrap(),
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        ports: vec![port_config(identity, PortType::RootPort, 0, &link).unwrap()],
    });
    let virtual_channels = link.virtual_channels;
    let shape = MultiShape { functions: 2, ari: false, virtual_channels, ..MultiShape::default() };
    let specs = shape.specs().unwrap();
    let device = fabric.plug(root, &link, |_, port| Box::new(Pair(MultiFunction::new(port, specs).unwrap()))).unwrap();
    let mut simulation = Simulation::new(fabric);
    let host = simulation.host(root);
    let settings = Settings { map: Default::default(), max_payload: MAX_PAYLOAD, max_read_request: 128 };
    let (me, states) = simulation
        .run(async move {
            let found = configure(&host, settings).await;
            let [above, first, second] = [0, 1, 2].map(|place: usize| found[place].id);
            assert_eq!((found.len(), capability(&host, second).await), (3, None));
            let both = async |host: &Host| [pending(host, above, 2).await, pending(host, first, 2).await];
            let mut states = vec![both(&host).await];
            set(&host, first, 1, 3, 0x02).await;
            states.push(both(&host).await);
            set(&host, above, 1, 3, 0x02).await;
            states.push(both(&host).await);
            for id in [above, first] {
                set(&host, id, 0, 0, 0xfd).await;
            }
            (first, states)
        })
        .unwrap();
    assert_eq!(states, [[0, 0], [0, 0b10], [0, 0]]);
    // TC1 has credits of its own now: VC0's one header doesn't hold it up.
    let recorder = Recorder::default();
    let fabric = simulation.fabric_mut();
    fabric.set_probe(Some(Box::new(recorder.clone())));
    fabric.device(device, |pair: &mut Pair, core| {
        for tc in [0, 0, 1] {
            core.send_new(pair.0.port(), write(me, 0x1000, 128, tc), &[tc; 128]);
        }
    });
    while simulation.step() {}
    let log = recorder.take();
    let order: Vec<u8> = log.transmitted.iter().map(|seen| Header::decode(&seen.header).unwrap().tc()).collect();
    assert_eq!(order, [0, 1, 0]);
    assert!(simulation.fabric().is_at_rest());
}

/// A reset of what is below a link takes its channels away, and all goes over VC0 again until software enables them anew.
#[test]
fn a_reset_takes_channels_away() {
    for exact in [false, true] {
        let mut plant = single(&with_data_link(spec(&[SMALLEST, SMALLEST], 1, common::TIMING, 1), exact));
        enable_all(&mut plant, &[0xfd, 0x02], false);
        let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
        let [.., above, below] = ids[..] else { panic!("{ids:?}") };
        let states = plant.run(move |host| async move {
            let mut states = vec![pending(&host, above, 2).await];
            for value in [1 << 22, 0] {
                host.config_write_bytes(above, 15, 0xc, value).await.unwrap();
                host.sleep(Time::us(1)).await;
            }
            host.sleep(Time::ms(2)).await;
            states.push(pending(&host, above, 2).await);
            host.config_read(below, 0).await.unwrap();
            states.push(pending(&host, below, 2).await);
            set(&host, below, 1, 1, 0x02).await;
            host.sleep(Time::us(5)).await;
            states.push(pending(&host, above, 2).await);
            states
        });
        assert_eq!(states, [0, 0b10, 0, 0], "exact: {exact}");
        plant.settle();
        assert!(plant.fabric().is_at_rest());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Any tree, any channels, any traffic: everything arrives, in an order that the table allows.
    #[test]
    fn everything_arrives_in_order(
        tree in trees(),
        (credits, low_priority, maps) in channels(),
        rotated in any::<bool>(),
        steps in prop::collection::vec(step(), 1..200),
        update_fc_ns in prop_oneof![0..400u64, 0..20_000u64],
        seed in any::<u64>(),
        exact in any::<bool>(),
    ) {
        let timing = Timing { update_fc_ns, ..common::TIMING };
        let mut plant = plant(&tree, &with_data_link(spec(&credits, low_priority, timing, seed), exact));
        if credits.len() > 1 {
            enable_all(&mut plant, &maps, rotated);
        }
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let asked = perform(&mut plant, &steps);
        prop_assert!(plant.fabric().is_at_rest(), "something was left behind: {:?}", plant.fabric());
        prop_assert_eq!(plant.faults(), Default::default());
        let log = recorder.take();
        let report = plant.judge(&log, TRANSIT);
        prop_assert_eq!(&report.violations, &[]);
        prop_assert_eq!(&report.undecided, &[]);
        let writes = steps.iter().filter(|step| step.write).count();
        prop_assert_eq!(log.delivered.iter().filter(|(_, header)| header.class() as u8 == 0).count(), writes);
        let agents = plant.agents.len();
        let got = |plant: &mut Plant, agent| plant.agent(agent, |agent, _| {
            let completions = agent.received.iter().filter(|received| received.header.kind().is_completion());
            completions.map(|received| received.payload.len()).sum::<usize>()
        });
        let got: usize = (0..agents).map(|agent| got(&mut plant, agent)).sum();
        prop_assert_eq!(got, asked);
    }

    /// Links go down and come up in the midst of traffic: nothing stays behind, and with the channels set up anew everything arrives again.
    #[test]
    fn links_with_channels_come_and_go(
        (credits, low_priority, maps) in channels(),
        rotated in any::<bool>(),
        parts in prop::collection::vec((prop::collection::vec(step(), 1..60), any::<Index>()), 1..4),
        seed in any::<u64>(),
        exact in any::<bool>(),
    ) {
        let shape = [Shape::Switch(vec![Shape::Agent, Shape::Switch(vec![Shape::Agent, Shape::Agent])])];
        let mut plant = plant(&shape, &with_data_link(spec(&credits, low_priority, common::TIMING, seed), exact));
        let bridges: Vec<Bdf> = plant.found.iter().filter(|function| function.bridge).map(|function| function.id).collect();
        for (steps, bridge) in &parts {
            if credits.len() > 1 {
                enable_all(&mut plant, &maps, rotated);
            }
            let bridge = bridges[bridge.index(bridges.len())];
            let host = plant.simulation.host(plant.root);
            plant.simulation.spawn(async move {
                host.sleep(Time::ns(700)).await;
                for value in [1 << 22, 0] {
                    let _ = host.config_write_bytes(bridge, 15, 0xc, value).await;
                    host.sleep(Time::us(3)).await;
                }
            });
            perform(&mut plant, steps);
            prop_assert!(plant.fabric().is_at_rest(), "something was left behind");
            let settings = Settings { map: Default::default(), max_payload: MAX_PAYLOAD, max_read_request: 128 };
            plant.found = plant.run(move |host| async move {
                host.sleep(Time::ms(4)).await;
                configure(&host, settings).await
            });
        }
        prop_assert_eq!(plant.found.len(), 10);
        if credits.len() > 1 {
            enable_all(&mut plant, &maps, rotated);
        }
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let before = plant.faults().malformed;
        for tc in 0..8 {
            for agent in 0..3 {
                let me = plant.function(agent).0;
                for number in 0..6 {
                    plant.send(agent, write(me, number * 128, 128, tc), &[tc; 128]);
                }
            }
        }
        plant.settle();
        prop_assert_eq!((plant.fabric().in_flight(), plant.faults().malformed - before), (0, 0));
        let delivered = recorder.take().delivered;
        prop_assert_eq!(delivered.len(), 8 * 3 * 6);
    }

    /// The same burst over all channels takes the same time again and again: all credits of all channels have come back.
    #[test]
    fn all_credits_of_all_channels_come_back(
        (credits, low_priority, maps) in channels(),
        rotated in any::<bool>(),
        burst in prop::collection::vec((any::<bool>(), 0..8_u8, 1..=32_u32), 1..80),
        exact in any::<bool>(),
    ) {
        let mut plant = single(&with_data_link(spec(&credits, low_priority, common::TIMING, 1), exact));
        if credits.len() > 1 {
            enable_all(&mut plant, &maps, rotated);
        }
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let mut spans = Vec::new();
        plant.settle();
        let before = exact_credits(&mut plant);
        for _ in 0..3 {
            plant.run(|host| async move { host.sleep(Time::us(50)).await });
            let begin = plant.simulation.fabric().now();
            recorder.take();
            for (number, &(write, tc, dwords)) in (0_u64..).zip(&burst) {
                let address = number * 128;
                let make = if write { Header::mem_write_bytes } else { Header::mem_read_bytes };
                let mut header = make(me, if write { 0 } else { number as u16 }, address, dwords * 4).unwrap();
                header.set_tc(tc).unwrap();
                plant.send(0, header, &vec![7; header.payload_len()]);
            }
            plant.settle();
            prop_assert!(plant.simulation.fabric().is_at_rest());
            prop_assert_eq!(&exact_credits(&mut plant), &before);
            let all: Vec<_> = recorder.take().delivered.iter().map(|(at, header)| (at.since(begin), *header)).collect();
            spans.push(all);
        }
        // An exact link's limits go by the largest payload so far, and the arbiter's turn among the low-priority channels may be another, so the burst may be arranged otherwise the first time.
        let last = |span: &Vec<(Time, Header)>| span.last().map(|(at, _)| *at);
        if low_priority == 0 && !exact {
            prop_assert_eq!(&spans[0], &spans[1]);
            prop_assert_eq!(&spans[1], &spans[2]);
        }
        prop_assert_eq!(spans[0].len(), spans[2].len());
        prop_assert!(last(&spans[0]).is_some());
    }
}
