//! What becomes of requests that wait to go over a link when it goes down (base specification 2.9.1 and 2.9.3): non-posted ones that haven't begun are
//! answered by the port, posted ones are discarded, and of those on the wire nothing is heard.

mod common;

use common::agent::Manner;
use common::plant::{Plant, Recorder, Shape, Spec, configure, plant};
use common::registers::DPC;
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{Detected, ErrorKind};
use mlx5_twin_sim::host::{Access, AccessError, Data, Settings};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Bdf, Header, Status};
use proptest::prelude::*;

/// Non-posted headers that the receiver of a link has room for: so many reads stand in the agent, what comes after them waits.
const ROOM: usize = 32;
const READS: usize = 48;
/// Correctable Error Status: Advisory Non-Fatal Error, which an answered Unsupported Request is.
const ADVISORY: u32 = 1 << 13;

/// How the link goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By itself.
    Breaks,
    /// By Link Disable.
    Disabled,
    /// By Secondary Bus Reset of the bridge above.
    Reset,
    /// By containment: whether its requests are answered by Unsupported Request, else by Completer Abort.
    Contained(bool),
}

const MEANS: [Means; 5] =
    [Means::Breaks, Means::Disabled, Means::Reset, Means::Contained(false), Means::Contained(true)];

impl Means {
    fn status(self) -> Status {
        if self == Means::Contained(false) { Status::CompleterAbort } else { Status::UnsupportedRequest }
    }

    /// Takes down the link of `port`, whose number is `link`, to agent 0.
    fn take_down(self, plant: &mut Plant, port: Bdf, link: u16) {
        let pcie = plant.capability(port, 0x10);
        match self {
            Means::Breaks => assert!(plant.fabric().break_link(LinkId(link))),
            Means::Disabled => plant.config_write(port, pcie + 4, 0x1, 1 << 4),
            Means::Reset => plant.config_write(port, 15, 0xc, 1 << 22),
            Means::Contained(unsupported) => {
                let at = plant.extended(port, DPC);
                plant.config_write(port, at + 1, 0xc, (1 | u32::from(unsupported) << 2) << 16);
                plant.agent(0, |agent, core| {
                    core.detect(agent.function.port(), Detected::new(ErrorKind::ReceiverOverflow));
                });
            }
        }
    }
}

/// Where agent 0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    RootPort,
    Switch,
}

/// Two agents, everything that tells of errors enabled: gives the port above agent 0, and the number of its link.
fn rig(place: Place, spec: &Spec) -> (Plant, Bdf, u16) {
    let agents = vec![Shape::Agent, Shape::Agent];
    let shapes = if place == Place::RootPort { agents } else { vec![Shape::Switch(agents)] };
    let timing = Timing { completion_timeout_us: 5_000, ..common::TIMING };
    let mut plant = plant(&shapes, &Spec { timing, ..*spec });
    let bridges = plant.bridges();
    let (agent, _) = plant.function(0);
    for id in bridges.iter().copied().chain([agent]) {
        plant.enable_reporting(id, 0xf);
        plant.clear_errors(id);
    }
    plant.agent(0, |agent, _| agent.manner = Manner::Hold);
    match place {
        Place::RootPort => (plant, bridges[0], 0),
        Place::Switch => (plant, bridges[2], 1),
    }
}

/// How each of the requests ended; they're over when nothing happens any more.
fn results(plant: &mut Plant, tickets: &[mlx5_twin_sim::fabric::Ticket]) -> Vec<Result<Data, AccessError>> {
    plant.settle();
    tickets.iter().map(|ticket| plant.simulation.result(*ticket).expect("it's over")).collect()
}

fn count(results: &[Result<Data, AccessError>], is: impl Fn(&AccessError) -> bool) -> usize {
    results.iter().filter(|result| result.as_ref().is_err_and(&is)).count()
}

fn each_case(mut case: impl FnMut(Place, Means, bool)) {
    for place in [Place::RootPort, Place::Switch] {
        for means in MEANS {
            for exact in [false, true] {
                let mut run = || case(place, means, exact);
                if exact { common::with_exact(run) } else { run() }
            }
        }
    }
}

#[test]
fn reads_of_the_host_that_wait() {
    each_case(|place, means, exact| {
        let (mut plant, port, link) = rig(place, &Spec::default());
        let (bar, root) = (plant.function(0).1, plant.root);
        let before = plant.fabric().now();
        let read = |plant: &mut Plant, n| {
            let address = bar + 8 * n as u64;
            plant.simulation.access(root, Access::MemoryRead { address, len: 4 }).unwrap()
        };
        let tickets: Vec<_> = (0..READS).map(|n| read(&mut plant, n)).collect();
        plant.run(|host| async move { host.sleep(Time::us(20)).await });
        means.take_down(&mut plant, port, link);
        plant.run(|host| async move { host.sleep(Time::us(20)).await });
        let what = format!("{place:?} {means:?} exact: {exact}");
        let early = tickets.iter().filter_map(|ticket| plant.simulation.result(*ticket));
        let early: Vec<_> = early.collect();
        let refused = |error: &AccessError| match means.status() {
            Status::CompleterAbort => matches!(error, AccessError::CompleterAbort(_)),
            _ => matches!(error, AccessError::UnsupportedRequest(_)),
        };
        // Containment at a root port ends what has left by it, too.
        let all = place == Place::RootPort && matches!(means, Means::Contained(_));
        assert_eq!(early.len(), if all { READS } else { READS - ROOM }, "{what}");
        assert_eq!(count(&early, refused), early.len(), "{what}");
        plant.settle();
        let late: Vec<_> = tickets.iter().filter_map(|ticket| plant.simulation.result(*ticket)).collect();
        assert_eq!(count(&late, |error| matches!(error, AccessError::Timeout(_))), READS - early.len(), "{what}");
        assert!(plant.fabric().now().since(before) > Time::ms(4) || all, "{what}");
        assert_eq!(plant.fabric().in_flight(), 0, "{what}");
        // It's an error of the port, unless that's in containment, or a root port, which needn't tell of it (ours).
        let errors = plant.errors(port);
        let told = place == Place::Switch && !matches!(means, Means::Contained(_));
        assert_eq!(errors.correctable & ADVISORY != 0, told, "{what}");
    });
}

#[test]
fn reads_of_a_peer_that_wait() {
    for means in MEANS {
        for exact in [false, true] {
            let case = || {
                let (mut plant, port, link) = rig(Place::Switch, &Spec::default());
                let (bar, me) = (plant.function(0).1, plant.function(1).0);
                for n in 0..READS {
                    let read = Header::mem_read_bytes(me, n as u16, bar + 8 * n as u64, 4).unwrap();
                    plant.send(1, read, &[]);
                }
                plant.run(|host| async move { host.sleep(Time::us(20)).await });
                plant.agent(1, |agent, _| agent.received.clear());
                means.take_down(&mut plant, port, link);
                plant.settle();
                let got = plant.agent(1, |agent, _| std::mem::take(&mut agent.received));
                let got: Vec<_> = got.iter().filter(|got| got.header.kind().is_completion()).collect();
                let what = format!("{means:?} exact: {exact}");
                assert_eq!(got.len(), READS - ROOM, "{what}");
                for (got, n) in got.iter().zip(ROOM..) {
                    assert_eq!((got.header.status(), usize::from(got.header.tag())), (means.status(), n), "{what}");
                    assert_eq!(got.header.completer(), port, "{what}");
                }
                assert_eq!(plant.fabric().in_flight(), 0, "{what}");
            };
            if exact { common::with_exact(case) } else { case() }
        }
    }
}

/// Posted requests are discarded; whatever had credits comes back with them.
#[test]
fn writes_that_wait() {
    each_case(|place, means, exact| {
        let (mut plant, port, link) = rig(place, &Spec::default());
        let (bar, root) = (plant.function(0).1, plant.root);
        for n in 0..READS as u64 {
            let access = Access::MemoryWrite { address: bar + 8 * n, data: Data::new(&[1; 4]) };
            plant.simulation.access(root, access).unwrap();
        }
        plant.run(|host| async move { host.sleep(Time::us(20)).await });
        let unsupported = plant.faults().unsupported_request;
        means.take_down(&mut plant, port, link);
        plant.settle();
        let what = format!("{place:?} {means:?} exact: {exact}");
        assert_eq!(plant.faults().unsupported_request, unsupported, "{what}");
        assert_eq!(plant.fabric().in_flight(), 0, "{what}");
    });
}

/// What only waits for the wire hasn't begun either: it's what the probe hasn't seen begin by then.
#[test]
fn reads_that_wait_for_the_wire() {
    for exact in [false, true] {
        let case = || {
            let spec = Spec { link: common::link(1, 1), ..Spec::default() };
            let (mut plant, port, link) = rig(Place::RootPort, &spec);
            let recorder = Recorder::default();
            plant.fabric().set_probe(Some(Box::new(recorder.clone())));
            let (bar, root) = (plant.function(0).1, plant.root);
            let tickets: Vec<_> = (0..ROOM as u64)
                .map(|n| plant.simulation.access(root, Access::MemoryRead { address: bar + 8 * n, len: 4 }).unwrap())
                .collect();
            plant.run(|host| async move { host.sleep(Time::ns(1_234)).await });
            let down = plant.fabric().now();
            Means::Breaks.take_down(&mut plant, port, link);
            let results = results(&mut plant, &tickets);
            let log = recorder.take();
            let begun = log.transmitted.iter().filter(|seen| seen.down && seen.link == link && seen.at <= down).count();
            assert!((2..ROOM - 2).contains(&begun), "{begun}");
            assert_eq!(count(&results, |error| matches!(error, AccessError::Timeout(_))), begun, "exact: {exact}");
            let refused = count(&results, |error| matches!(error, AccessError::UnsupportedRequest(_)));
            assert_eq!(refused, ROOM - begun, "exact: {exact}");
        };
        if exact { common::with_exact(case) } else { case() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whenever a link breaks under whatever load: each read ends once, nothing is left on the fabric, and afterwards the host reads right values.
    #[test]
    fn every_read_ends(
        exact: bool,
        at_switch: bool,
        holds: bool,
        reads in 1..80_usize,
        writes in 0..80_usize,
        peers in 0..80_u16,
        down_ns in 0..6_000_u64,
    ) {
        let case = || {
            let place = if at_switch { Place::Switch } else { Place::RootPort };
            let spec = Spec { link: common::link(1, 2), ..Spec::default() };
            let (mut plant, _, link) = rig(place, &spec);
            if !holds {
                plant.agent(0, |agent, _| agent.manner = Manner::Answer);
            }
            let (bar, root, me) = (plant.function(0).1, plant.root, plant.function(1).0);
            for n in 0..peers {
                plant.send(1, Header::mem_read_bytes(me, n, bar + 8 * u64::from(n), 4).unwrap(), &[]);
            }
            let mut tickets = Vec::new();
            for n in 0..reads.max(writes) as u64 {
                let (address, data) = (bar + 8 * n, Data::new(&[1; 4]));
                if n < writes as u64 {
                    plant.simulation.access(root, Access::MemoryWrite { address, data }).unwrap();
                }
                if n < reads as u64 {
                    tickets.push(plant.simulation.access(root, Access::MemoryRead { address, len: 4 }).unwrap());
                }
            }
            plant.run(move |host| async move { host.sleep(Time::ns(down_ns)).await });
            assert!(plant.fabric().break_link(LinkId(link)));
            let results = results(&mut plant, &tickets);
            assert_eq!(results.len(), reads);
            assert_eq!(plant.fabric().in_flight(), 0);
            assert!(plant.fabric().is_at_rest());
            plant.agent(0, |agent, _| agent.manner = Manner::Answer);
            let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
            plant.run(|host| async move { configure(&host, settings).await });
            assert_eq!(plant.run(move |host| async move { host.read32(bar).await }), Ok(0x0302_0100));
        };
        if exact { common::with_exact(case) } else { case() }
    }
}
