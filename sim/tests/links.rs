//! Links that go down and come up again: resets, PERST#, Link Disable; what's lost with them, and that nothing else is.

mod common;

use common::agent::Manner;
use common::plant::{Plant, Recorder, Shape, Spec, configure, plant};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::Reset;
use mlx5_twin_sim::fabric::{Noise, PortEvent};
use mlx5_twin_sim::host::{Access, AccessError, Data, Found, Host, Settings};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Bdf, Header, Status};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings { map: Default::default(), max_payload: 256, max_read_request: 512 }
}

/// Bridge Control, Secondary Bus Reset: register and bit.
const BRIDGE_CONTROL: u16 = 15;
const SECONDARY_BUS_RESET: u32 = 1 << 22;
/// The link training of these plants, and more than that.
const TRAINING: Time = Time::ms(1);
const TRAINED: Time = Time::us(1_010);

/// A switch with two agents, and a completion timeout of 20 ms.
fn pair() -> Plant {
    let timing = Timing { completion_timeout_us: 20_000, ..common::TIMING };
    plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &Spec { timing, ..Spec::default() })
}

fn bridges(plant: &Plant) -> Vec<Bdf> {
    plant.found.iter().filter(|function| function.bridge).map(|function| function.id).collect()
}

async fn link_status(host: &Host, bridge: &Found) -> u32 {
    let pcie = bridge.capability(0x10).unwrap() / 4;
    host.config_read(bridge.id, pcie + 4).await.unwrap() >> 16
}

/// How a link is taken down and brought up: by Secondary Bus Reset of bridge `n` of the walk (root port, upstream port, downstream
/// ports), by PERST#, by Link Disable of bridge `n`.
#[derive(Clone, Copy, Debug)]
enum Means {
    BusReset(usize),
    Perst,
    Disable(usize),
}

impl Means {
    /// A bridge that was reset has lost its bus numbers: then the write goes nowhere.
    async fn set(self, host: &Host, bridges: &[Found], down: bool) {
        match self {
            Means::BusReset(n) => {
                let value = if down { SECONDARY_BUS_RESET } else { 0 };
                let _ = host.config_write_bytes(bridges[n].id, BRIDGE_CONTROL, 0xc, value).await;
            }
            Means::Perst => host.set_perst(down).await,
            Means::Disable(n) => {
                let pcie = bridges[n].capability(0x10).unwrap() / 4;
                let value = if down { 1 << 4 } else { 0 };
                let _ = host.config_write_bytes(bridges[n].id, pcie + 4, 0x3, value).await;
            }
        }
    }
}

/// For each means: which of the two agents loses its link, and the kind of its reset.
const MEANS: [(Means, [bool; 2], Reset); 6] = [
    (Means::BusReset(0), [true, true], Reset::Hot),
    (Means::BusReset(1), [true, true], Reset::Hot),
    (Means::BusReset(2), [true, false], Reset::Hot),
    (Means::Perst, [true, true], Reset::Fundamental),
    (Means::Disable(0), [true, true], Reset::Hot),
    (Means::Disable(3), [false, true], Reset::Hot),
];

#[test]
fn what_each_means_does() {
    for (means, hit, reset) in MEANS {
        let mut plant = pair();
        let bridges: Vec<Found> = plant.found.iter().filter(|function| function.bridge).cloned().collect();
        let bars = [plant.function(0).1, plant.function(1).1];
        let seen = bridges.clone();
        let begin = plant.simulation.fabric().now();
        let reads = plant.run(move |host| async move {
            means.set(&host, &seen, true).await;
            host.sleep(Time::us(1)).await;
            [host.read32(bars[0]).await.is_ok(), host.read32(bars[1]).await.is_ok()]
        });
        assert_eq!(reads, hit.map(|hit| !hit), "{means:?}");
        let seen = bridges.clone();
        plant.run(move |host| async move { means.set(&host, &seen, false).await });
        let released = plant.simulation.fabric().now();
        // Two links one after the other at most.
        plant.run(|host| async move { host.sleep(TRAINED + TRAINED).await });
        for (agent, hit) in hit.into_iter().enumerate() {
            let events = plant.agent(agent, |agent, _| std::mem::take(&mut agent.events));
            if !hit {
                assert_eq!(events, [], "{means:?}");
                continue;
            }
            let kinds: Vec<PortEvent> = events.iter().map(|(_, event)| *event).collect();
            let slot = !matches!(means, Means::BusReset(2) | Means::Disable(3));
            let mut expected = vec![PortEvent::LinkDown(reset), PortEvent::SlotReset, PortEvent::LinkUp];
            expected.retain(|event| slot || *event != PortEvent::SlotReset);
            assert_eq!(kinds, expected, "{means:?}");
            assert!(events[0].0 >= begin && events[0].0 < released, "{means:?}");
            // The host hears that its write was carried out some time after it was.
            assert!(events.last().unwrap().0 + Time::us(1) >= released + TRAINING, "{means:?}");
        }
        // The host finds everything again, and uses it.
        let works = plant.run(move |host| async move {
            let found = configure(&host, settings()).await;
            let mut works = Vec::new();
            for function in found.iter().filter(|function| !function.bridge) {
                works.push(host.read32(function.bars[0].address).await);
            }
            (found.len(), works)
        });
        assert_eq!(works, (bridges.len() + 2, vec![Ok(0x0302_0100); 2]), "{means:?}");
        plant.settle();
        assert_eq!(plant.fabric().in_flight(), 0, "{means:?}");
    }
}

/// Data Link Layer Link Active and Link Status of the port above follow the link.
#[test]
fn registers_show_the_link() {
    let mut plant = pair();
    let port = plant.found.iter().filter(|function| function.bridge).nth(2).unwrap().clone();
    let states = plant.run(move |host| async move {
        let before = link_status(&host, &port).await;
        host.config_write_bytes(port.id, BRIDGE_CONTROL, 0xc, SECONDARY_BUS_RESET).await.unwrap();
        host.sleep(Time::ms(5)).await;
        let during = link_status(&host, &port).await;
        host.config_write_bytes(port.id, BRIDGE_CONTROL, 0xc, 0).await.unwrap();
        host.sleep(Time::us(900)).await;
        let training = link_status(&host, &port).await;
        host.sleep(Time::us(110)).await;
        [before, during, training, link_status(&host, &port).await]
    });
    // Generation 4, x8, slot clock, link active.
    assert_eq!(states, [0x3084, 0x1000, 0x1000, 0x3084]);
}

/// What is on the wire or waits for the link is lost, and a read of it ends by the requester's timeout; later ones are Unsupported Requests.
#[test]
fn what_was_under_way_is_lost() {
    let mut plant = pair();
    let (bar, port) = (plant.function(0).1, bridges(&plant)[2]);
    plant.settle();
    let lost = plant.fabric().lost();
    let (reads, span) = plant.run(move |host| async move {
        let (one, two) = (host.clone(), host.clone());
        let begin = host.now();
        let early = async move { one.read32(bar).await };
        let reset = async move {
            // Both leave the root port back to back: the read is on the wire of the link when its port is told.
            two.config_write_bytes(port, BRIDGE_CONTROL, 0xc, SECONDARY_BUS_RESET).await.unwrap();
            let late = two.read32(bar).await;
            two.config_write_bytes(port, BRIDGE_CONTROL, 0xc, 0).await.unwrap();
            late
        };
        let (early, late) = join(early, reset).await;
        ([early, late], host.now().since(begin))
    });
    assert_eq!(reads, [Err(AccessError::Timeout(bar)), Err(AccessError::UnsupportedRequest(bar))]);
    assert!(span >= Time::ms(20));
    assert_eq!(plant.fabric().lost() - lost, 1);
    plant.settle();
    assert_eq!(plant.fabric().in_flight(), 0);
}

/// A completion that is on the wire of a link as it goes down is lost; one that has come through before is not.
#[test]
fn completions_under_way_are_lost() {
    let mut outcomes = Vec::new();
    for delay in (0..400).step_by(20) {
        let mut plant = pair();
        let (id, bar) = plant.function(0);
        let (root, port) = (plant.root, bridges(&plant)[2]);
        plant.agent(0, |agent, _| agent.manner = Manner::Mute);
        let ticket = plant.simulation.access(root, Access::MemoryRead { address: bar, len: 4 }).unwrap();
        plant.run(|host| async move { host.sleep(Time::us(2)).await });
        let request = plant.agent(0, |agent, _| agent.received.last().unwrap().header);
        let answer = Header::completion_for(&request, id, Status::Successful).unwrap();
        let value = SECONDARY_BUS_RESET;
        let write = Access::ConfigWrite { target: port, register: BRIDGE_CONTROL, byte_enables: 0xc, value };
        plant.simulation.access(root, write).unwrap();
        plant.run(move |host| async move { host.sleep(Time::ns(delay)).await });
        let before = plant.fabric().lost();
        plant.send(0, answer, &[0x55; 4]);
        plant.settle();
        let result = plant.simulation.result(ticket).unwrap().map(|data| data.to_u64());
        outcomes.push((result, plant.fabric().lost() - before));
        assert_eq!(plant.fabric().in_flight(), 0);
    }
    let through = outcomes.iter().filter(|outcome| **outcome == (Ok(0x5555_5555), 0)).count();
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, (Err(AccessError::Timeout(_)), 1))).count();
    assert!(through > 0 && lost > 0 && through + lost == outcomes.len(), "{outcomes:?}");
}

async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(context)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(context)
        {
            second = Some(value);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

/// All of the above on links whose data link layer is exact: what waits for an Ack or for the wire is lost with the link, what was taken isn't.
#[test]
fn the_same_on_exact_links() {
    common::with_exact(|| {
        what_each_means_does();
        registers_show_the_link();
        what_was_under_way_is_lost();
        completions_under_way_are_lost();
    });
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(usize),
    /// The agent writes to the host's memory.
    Dma(usize),
    Down(usize),
    Up(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_usize).prop_map(Step::Read),
        4 => (0..2_usize).prop_map(Step::Write),
        3 => (0..2_usize).prop_map(Step::Dma),
        1 => (0..MEANS.len()).prop_map(Step::Down),
        2 => (0..MEANS.len()).prop_map(Step::Up),
        2 => (0..3_000_000_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens to the links while there's traffic: no TLP stays behind, no credit is lost, nothing goes to the wrong place, and
    /// the same twice is the same.
    #[test]
    fn links_come_and_go(steps in steps()) {
        let runs = [run(&steps, None), run(&steps, None)];
        prop_assert!(runs[0] == runs[1], "two runs differ");
    }

    /// The same on exact links, with errors on the wire.
    #[test]
    fn exact_links_come_and_go(steps in steps(), seed in any::<u64>()) {
        let runs = [(); 2].map(|()| common::with_exact(|| run(&steps, Some(seed))));
        prop_assert!(runs[0] == runs[1], "two runs differ");
    }
}

/// Breaks and loses frames of all links.
fn make_noise(plant: &mut Plant, noise: Noise, seed: u64) {
    for link in 0..3 {
        for end in plant.fabric().ends(LinkId(link)).unwrap() {
            assert!(plant.agent(0, |_, core| core.set_noise(end.port, noise, seed ^ u64::from(link))));
        }
    }
}

fn run(steps: &[Step], seed: Option<u64>) -> (u64, usize) {
    let mut plant = pair();
    if let Some(seed) = seed {
        let noise = Noise { broken_tlps: 20_000, lost_tlps: 20_000, broken_dllps: 20_000, lost_dllps: 20_000 };
        make_noise(&mut plant, noise, seed);
    }
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    let bridges: Vec<Found> = plant.found.iter().filter(|function| function.bridge).cloned().collect();
    let bars = [plant.function(0).1, plant.function(1).1];
    let ids = [plant.function(0).0, plant.function(1).0];
    let root = plant.root;
    let mut tickets = Vec::new();
    for step in steps {
        match *step {
            Step::Read(n) => {
                let access = Access::MemoryRead { address: bars[n] + 64, len: 64 };
                tickets.push((plant.simulation.access(root, access).unwrap(), true));
            }
            Step::Write(n) => {
                let data = Data::new(&[7; 64]);
                let access = Access::MemoryWrite { address: bars[n], data };
                tickets.push((plant.simulation.access(root, access).unwrap(), false));
            }
            Step::Dma(n) => {
                let header = Header::mem_write_bytes(ids[n], 0, 0x1000, 256).unwrap();
                plant.send(n, header, &[9; 256]);
            }
            Step::Down(n) | Step::Up(n) => {
                let (means, down) = (MEANS[n].0, matches!(step, Step::Down(_)));
                let bridges = bridges.clone();
                let host = plant.simulation.host(root);
                plant.simulation.spawn(async move { means.set(&host, &bridges, down).await });
            }
            Step::Wait(ns) => plant.run(move |host| async move { host.sleep(Time::ns(ns)).await }),
        }
    }
    plant.settle();
    assert_eq!(plant.fabric().in_flight(), 0, "a TLP is left");
    for (ticket, read) in tickets {
        match plant.simulation.result(ticket).expect("every access ends") {
            Ok(data) if read => {
                let expected: Vec<u8> = (64..128).collect();
                assert_eq!(data.bytes(), expected, "another's data");
            }
            _ => {}
        }
    }
    // Everything is released; what was reset is set up anew, and works, with more TLPs than there are credits.
    plant.run(move |host| async move {
        host.set_perst(false).await;
        for means in [Means::BusReset(0), Means::Disable(0)] {
            means.set(&host, &bridges, false).await;
        }
        host.sleep(TRAINED).await;
        host.set_perst(true).await;
        host.set_perst(false).await;
        host.sleep(TRAINED + TRAINED).await;
        let found = configure(&host, settings()).await;
        let functions: Vec<&Found> = found.iter().filter(|function| !function.bridge).collect();
        assert_eq!(functions.len(), 2);
        for function in functions {
            let bar = function.bars[0].address;
            for _ in 0..70 {
                host.write(bar, &[1; 64]).await.unwrap();
            }
            assert_eq!(host.read32(bar).await, Ok(0x0302_0100));
        }
    });
    plant.settle();
    assert_eq!(plant.fabric().in_flight(), 0);
    let log = recorder.take();
    (plant.fabric().lost(), log.transmitted.len())
}
