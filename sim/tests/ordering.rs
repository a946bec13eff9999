//! Order, credits and progress: nothing passes a posted request, nothing is lost, nothing stands still, however few the credits are.

mod common;

use std::collections::BTreeMap;

use common::agent::{Agent, Received};
use common::channels::with_data_link;
use common::credits::{SMALLEST, credits};
use common::plant::{MEMORY, Plant, Recorder, Shape, Spec, plant, single, trees};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::ordering::{Checker, OrderProbe, Topology};
use mlx5_twin_sim::profile::{Credits, Link, Range, Timing, VirtualChannels};
use mlx5_twin_sim::tlp::{Atomic, Attr, Bdf, Class, Header, Kind, Status};
use proptest::prelude::*;
use proptest::sample::Index;

const MAX_PAYLOAD: u32 = 128;
/// The longest time from a first symbol to the queues of the next node: 160 bytes on the wire at 1,016 ps, 5 ns of flight, and 140 ns of the
/// root complex.
const TRANSIT: Time = Time::ns(310);

fn spec(credits: Credits, timing: Timing, seed: u64) -> Spec {
    let link = Link {
        generation: 3,
        lanes: 1,
        propagation: Range { min_ps: 0, max_ps: 5_000 },
        credits,
        virtual_channels: VirtualChannels::NONE,
        data_link: Default::default(),
    };
    Spec { link, timing, seed, max_payload: MAX_PAYLOAD, max_read_request: 128, ..Spec::default() }
}

/// What one agent does: a write of so many dwords, or a read, or an atomic.
#[derive(Clone, Debug)]
struct Step {
    from: Index,
    /// Another agent, or host memory.
    to: Option<Index>,
    write: bool,
    /// A fetch and add in the place of the read. Only the host knows it.
    atomic: bool,
    attr: Attr,
    tc: u8,
    dwords: u32,
    /// How many events happen before the next step.
    pause: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop::option::weighted(0.6, any::<Index>());
    let pause = prop_oneof![Just(0), 0..20u8];
    (any::<Index>(), to, any::<bool>(), 1..=MAX_PAYLOAD / 4, pause).prop_map(|(from, to, write, dwords, pause)| Step {
        from,
        to,
        write,
        atomic: false,
        attr: Attr::NONE,
        tc: 0,
        dwords,
        pause,
    })
}

/// A step with attributes and traffic classes up to `classes` - 1, and atomics.
fn relaxed_step(classes: u8) -> impl Strategy<Value = Step> {
    let attr = prop_oneof![2 => Just(Attr::NONE), 3 => (0..8_u8).prop_map(Attr::from_bits)];
    (step(), attr, 0..classes, any::<bool>()).prop_map(|(step, attr, tc, atomic)| Step { attr, tc, atomic, ..step })
}

/// Two switches and four agents, one of them higher up.
fn tree() -> [Shape; 1] {
    let agents = || vec![Shape::Agent, Shape::Agent];
    [Shape::Switch(vec![Shape::Switch(agents()), Shape::Agent, Shape::Switch(agents())])]
}

/// What makes a TLP one of its kind here.
type Name = (u16, u16, u64, u8);

fn name(header: &Header) -> Name {
    if header.class() == Class::Completion {
        return (header.requester().0, header.tag(), u64::from(header.completer().0), 2);
    }
    (header.requester().0, header.tag(), header.address(), header.class() as u8)
}

/// Carries out the steps; each request has an address and a tag of its own.
fn perform(plant: &mut Plant, steps: &[Step]) {
    let agents = plant.agents.len();
    for (number, step) in (0_u64..).zip(steps) {
        let from = step.from.index(agents);
        let me = plant.function(from).0;
        let base = match step.to.map(|to| to.index(agents)).filter(|&to| to != from) {
            Some(to) => plant.function(to).1,
            None => MEMORY / 2,
        };
        let (address, tag) = (base + number * 128, number as u16);
        let make = if step.write { Header::mem_write } else { Header::mem_read };
        let last = if step.dwords == 1 { 0 } else { 0xf };
        let tag = if step.write { tag & 0xff } else { tag };
        let host = base == MEMORY / 2;
        let mut header = match step.atomic && !step.write && host {
            true => Header::atomic(Atomic::FetchAdd, me, tag, address, 8).unwrap(),
            false => make(me, tag, address, 0xf, last, step.dwords).unwrap(),
        };
        header.set_attr(step.attr).unwrap();
        header.set_tc(step.tc).unwrap();
        plant.send(from, header, &vec![number as u8; header.payload_len()]);
        for _ in 0..step.pause {
            plant.simulation.step();
        }
    }
    plant.settle();
}

/// All that agent `from` sent to the place `to` (an agent, or host memory), in order.
fn sent_to(plant: &mut Plant, from: usize, to: Option<usize>) -> Vec<Header> {
    let bars: Vec<_> = (0..plant.agents.len()).map(|agent| plant.function(agent)).collect();
    let place = |header: &Header| {
        if header.class() == Class::Completion {
            return bars.iter().position(|&(id, _)| id == header.requester());
        }
        bars.iter().position(|&(_, bar)| (bar..bar + common::agent::BAR).contains(&header.address()))
    };
    plant.agent(from, |agent, _| agent.sent.iter().filter(|header| place(header) == to).copied().collect())
}

fn check(plant: &mut Plant, recorder: &Recorder) -> Result<(), TestCaseError> {
    prop_assert_eq!(plant.simulation.fabric().in_flight(), 0, "something was left behind");
    prop_assert_eq!(plant.faults(), Default::default());
    let log = recorder.take();
    let report = plant.judge(&log, TRANSIT);
    prop_assert_eq!(&report.violations, &[]);
    prop_assert_eq!(&report.undecided, &[]);
    prop_assert_eq!((report.unreadable, report.unknown_links, report.forgotten), (0, 0, 0));
    let agents = plant.agents.len();
    let arrived = |agent: &mut Agent| agent.received.iter().map(|received| name(&received.header)).collect::<Vec<_>>();
    for to in (0..agents).map(Some).chain([None]) {
        let arrivals = match to {
            Some(to) => plant.agent(to, |agent, _| arrived(agent)),
            None => log.delivered.iter().map(|(_, header)| name(header)).collect(),
        };
        let places: BTreeMap<Name, usize> = arrivals.iter().enumerate().map(|(place, &name)| (name, place)).collect();
        for from in (0..agents).filter(|&from| Some(from) != to) {
            // By traffic class: there's no order between those.
            let mut last_posted = [None; 8];
            for header in sent_to(plant, from, to) {
                let place = places.get(&name(&header)).copied();
                prop_assert!(place.is_some(), "{} from {} to {:?} was lost", header, from, to);
                let (attr, last_posted) = (header.attr(), &mut last_posted[usize::from(header.tc())]);
                let may_pass = attr.relaxed_ordering() || attr.id_based_ordering();
                prop_assert!(may_pass || place > *last_posted, "{} passed a posted request", header);
                if header.class() == Class::Posted {
                    *last_posted = place.max(*last_posted);
                }
            }
        }
    }
    // Every read came back whole.
    for agent in 0..agents {
        let (reads, data) = plant.agent(agent, |agent, _| {
            let reads = agent.sent.iter().filter(|header| header.class() == Class::NonPosted);
            let data = agent.received.iter().filter(|received| received.header.kind() == Kind::CplD);
            (
                reads.map(|header| header.completion_length_dw() as usize * 4).sum::<usize>(),
                data.map(|received| received.payload.len()).sum::<usize>(),
            )
        });
        prop_assert_eq!(reads, data);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_a_posted_request_and_nothing_is_lost(
        credits in prop_oneof![1 => Just(SMALLEST), 3 => credits()],
        steps in prop::collection::vec(step(), 1..250),
        update_fc_ns in 0..400u64,
        seed in any::<u64>(),
        exact in any::<bool>(),
    ) {
        let timing = Timing { update_fc_ns, ..common::TIMING };
        let mut plant = plant(&tree(), &with_data_link(spec(credits, timing, seed), exact));
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        perform(&mut plant, &steps);
        check(&mut plant, &recorder)?;
    }

    /// Relaxed and ID-based Ordering, and traffic classes that share one channel, in any tree: what the table allows may happen, nothing else.
    #[test]
    fn relaxed_tlps_pass_only_what_they_may(
        tree in trees(),
        credits in prop_oneof![1 => Just(SMALLEST), 3 => credits()],
        steps in (1..=3_u8).prop_flat_map(|classes| prop::collection::vec(relaxed_step(classes), 1..250)),
        update_fc_ns in 0..400u64,
        seed in any::<u64>(),
        exact in any::<bool>(),
    ) {
        let timing = Timing { update_fc_ns, ..common::TIMING };
        let mut plant = plant(&tree, &with_data_link(spec(credits, timing, seed), exact));
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        perform(&mut plant, &steps);
        check(&mut plant, &recorder)?;
    }

    /// The checker as the fabric's own observer: it finds every TLP again behind each switch.
    #[test]
    fn the_checker_watches_a_live_fabric(
        tree in trees(),
        credits in credits(),
        steps in prop::collection::vec(relaxed_step(1), 1..120),
        seed in any::<u64>(),
    ) {
        let mut plant = plant(&tree, &spec(credits, common::TIMING, seed));
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        perform(&mut plant, &steps);
        let transmitted = recorder.take().transmitted.len() as u64;
        let mut again = common::plant::plant(&tree, &spec(credits, common::TIMING, seed));
        let probe = OrderProbe::new(Checker::new(Topology::of(again.fabric())).with_transit(TRANSIT));
        again.fabric().set_probe(Some(Box::new(probe.clone())));
        perform(&mut again, &steps);
        let report = probe.report();
        prop_assert_eq!((&report.violations, &report.undecided), (&vec![], &vec![]));
        // Who makes a TLP isn't watched here: each is new on its first link.
        let agents = again.agents.len();
        let made: u64 = (0..agents).map(|agent| again.agent(agent, |agent, _| agent.made.len() as u64)).sum();
        let answers: u64 = (0..agents).map(|agent| again.agent(agent, |agent, _| {
            let root = |received: &&Received| received.header.kind() == Kind::CplD && received.header.completer() == Bdf(0);
            agent.received.iter().filter(root).count() as u64
        })).sum();
        prop_assert_eq!((report.seen, report.made, report.inside), (transmitted, made + answers, 0));
        prop_assert_eq!(report.matched, report.seen - report.made);
    }

    /// The same burst takes the same time again and again: all credits have come back.
    #[test]
    fn all_credits_come_back(credits in credits(), writes in 1..80u64, reads in 0..80u64) {
        let mut plant = single(&spec(credits, common::TIMING, 1));
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let mut spans = Vec::new();
        for _ in 0..3 {
            // Long after all that was: no credit is on its way any more.
            plant.run(|host| async move { host.sleep(Time::us(50)).await });
            let begin = plant.simulation.fabric().now();
            recorder.take();
            for number in 0..writes.max(reads) {
                let address = number * 128;
                if number < writes {
                    plant.send(0, Header::mem_write_bytes(me, 0, address, MAX_PAYLOAD).unwrap(), &[7; 128]);
                }
                if number < reads {
                    plant.send(0, Header::mem_read_bytes(me, number as u16, address, MAX_PAYLOAD).unwrap(), &[]);
                }
            }
            plant.settle();
            prop_assert_eq!(plant.simulation.fabric().in_flight(), 0);
            let delivered = recorder.take().delivered;
            prop_assert_eq!(delivered.len() as u64, writes + 2 * reads);
            spans.push(delivered.last().map(|(at, _)| at.since(begin)));
        }
        prop_assert_eq!(spans[0], spans[1]);
        prop_assert_eq!(spans[1], spans[2]);
    }
}

/// A non-posted request that waits behind a posted one, while credits of its own have long come back, once made the fabric look for
/// them at one point in time for ever.
#[test]
fn returned_credits_of_another_class_do_not_stop_the_clock() {
    let credits = Credits { nonposted_headers: 4, ..SMALLEST };
    let mut plant = single(&spec(credits, common::TIMING, 1));
    let me = plant.function(0).0;
    let read = |tag| Header::mem_read_bytes(me, tag, 0, 64).unwrap();
    let write = || Header::mem_write_bytes(me, 0, 0x1000, 128).unwrap();
    plant.send(0, read(1), &[]);
    plant.settle();
    for tag in 2..4 {
        plant.send(0, write(), &[1; 128]);
        plant.send(0, read(tag), &[]);
    }
    plant.settle();
    assert_eq!(plant.agent(0, |agent, _| agent.received.len()), 3);
}

/// A TLP with more data than the other end can ever take is dropped and counted; what comes after it goes on.
#[test]
fn what_can_never_be_sent_is_malformed() {
    let mut plant = single(&spec(SMALLEST, common::TIMING, 1));
    let me = plant.function(0).0;
    plant.send(0, Header::mem_write_bytes(me, 0, 0, 256).unwrap(), &[1; 256]);
    plant.send(0, Header::mem_write_bytes(me, 0, 0x1000, 128).unwrap(), &[2; 128]);
    plant.settle();
    assert_eq!(plant.faults().malformed, 1);
    assert_eq!(plant.simulation.fabric().in_flight(), 0);
    let memory = plant.simulation.fabric().memory(plant.root).unwrap();
    assert_eq!(memory.read_u32_le(0), Ok(0));
    assert_eq!(memory.read_u32_le(0x1000), Ok(0x0202_0202));
}

/// Behind a posted request that waits for credits: who passes it, and by which case of the table. The rows A to D of column 2.
#[test]
fn who_passes_a_blocked_posted_request() {
    let (ro, ido) = (Attr::RO, Attr::IDO);
    let other = Bdf::new(9, 0, 0);
    let completion = |me, attr| Header::completion(me, Bdf(0), 7, Status::Successful, 4, 0, 1, 0, attr).unwrap();
    type Make = fn(Bdf, Attr) -> Header;
    let write: Make = |_, _| Header::mem_write_bytes(Bdf::new(9, 0, 0), 0, 0x2000, 4).unwrap();
    let read: Make = |me, _| Header::mem_read_bytes(me, 7, 0x2000, 4).unwrap();
    let others_read: Make = |_, _| Header::mem_read_bytes(Bdf::new(9, 0, 0), 7, 0x2000, 4).unwrap();
    let atomic: Make = |me, _| Header::atomic(Atomic::Swap, me, 7, 0x2000, 4).unwrap();
    let cases: [(&str, Make, Attr, bool); 12] = [
        // Nothing is done with A2b: a posted request stays behind those before it.
        ("A2", write, Attr::NONE, false),
        ("A2b", write, ro | ido, false),
        ("B2a", read, Attr::NONE, false),
        ("B2a", read, ro, false),
        ("B2a", read, ido, false),
        ("B2b", others_read, ido, true),
        ("B2a", others_read, ro, false),
        ("C2a", atomic, Attr::NONE, false),
        ("C2b", atomic, ro, true),
        ("C2a", atomic, ido, false),
        ("C2a", atomic, Attr::NS, false),
        ("B2a", others_read, Attr::NS, false),
    ];
    let run_on = |make: &dyn Fn(Bdf) -> Header, exact| {
        let mut plant = single(&with_data_link(spec(SMALLEST, common::TIMING, 1), exact));
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let mut header = make(me);
        // The second write waits for the first one's buffer.
        for address in [0, 0x1000] {
            plant.send(0, Header::mem_write_bytes(me, 0, address, 128).unwrap(), &[1; 128]);
        }
        header.set_tc(0).unwrap();
        plant.send(0, header, &vec![0; header.payload_len()]);
        plant.settle();
        let log = recorder.take();
        assert_eq!(plant.judge(&log, TRANSIT).violations, []);
        let first = log.transmitted[0].link;
        let link: Vec<_> = log.transmitted.iter().filter(|seen| seen.link == first && !seen.down).collect();
        assert_eq!(link.len(), 3);
        let place = link.iter().position(|seen| Header::decode(&seen.header) == Ok(header)).unwrap();
        place == 1
    };
    let run = |make: &dyn Fn(Bdf) -> Header| {
        let [rated, exact] = [false, true].map(|exact| run_on(make, exact));
        assert_eq!(rated, exact, "links of both kinds go by the table");
        rated
    };
    for (rule, make, attr, passes) in cases {
        let passed = run(&|me| {
            let mut header = make(me, attr);
            header.set_attr(attr).unwrap();
            header
        });
        assert_eq!(passed, passes, "{rule} with {attr}");
    }
    for (completer, attr, passes) in
        [(None, Attr::NONE, false), (None, ro, true), (None, ido, false), (Some(other), ido, true)]
    {
        assert_eq!(run(&|me| completion(completer.unwrap_or(me), attr)), passes, "D2 with {attr}");
    }
}

/// What may pass does so out of the middle of its queue, too, and what stands before it there goes in its own order.
#[test]
fn a_relaxed_request_leaves_a_blocked_one_behind() {
    let credits = Credits { nonposted_headers: 4, ..SMALLEST };
    for exact in [false, true] {
        let mut plant = single(&with_data_link(spec(credits, common::TIMING, 1), exact));
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let read = |tag| Header::mem_read_bytes(me, tag, 0x2000, 4).unwrap();
        let atomic = |tag, attr| {
            let mut header = Header::atomic(Atomic::Swap, me, tag, 0x2000, 4).unwrap();
            header.set_attr(attr).unwrap();
            header
        };
        for address in [0, 0x1000] {
            plant.send(0, Header::mem_write_bytes(me, 0, address, 128).unwrap(), &[1; 128]);
        }
        for header in [read(1), atomic(2, Attr::NONE), atomic(3, Attr::RO), read(4), atomic(5, Attr::RO)] {
            plant.send(0, header, &vec![0; header.payload_len()]);
        }
        plant.settle();
        let log = recorder.take();
        assert_eq!(plant.judge(&log, TRANSIT).violations, []);
        let first = log.transmitted[0].link;
        let tags: Vec<u16> = log
            .transmitted
            .iter()
            .filter(|seen| seen.link == first && !seen.down)
            .map(|seen| Header::decode(&seen.header).unwrap())
            .map(|header| header.tag())
            .collect();
        assert_eq!(tags, [0, 3, 5, 0, 1, 2, 4], "exact: {exact}");
    }
}
