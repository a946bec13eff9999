//! Who gets a TLP: random trees, random targets, against an oracle that knows addresses and buses but nothing of routing.

mod common;

use common::agent::BAR;
use common::plant::{MEMORY, Plant, Recorder, Shape, Spec, plant};
use mlx5_twin_sim::tlp::{Attr, Bdf, Class, ConfigType, Header, MessageCode, Route, Status};
use proptest::prelude::*;
use proptest::sample::Index;

/// Where a request or message is to go.
#[derive(Clone, Debug)]
enum Target {
    Memory(u64),
    /// Near the BAR of an agent: this far from its beginning.
    Bar(Index, i64),
    Anywhere(u64),
}

#[derive(Clone, Debug)]
enum What {
    Read(Target),
    Write(Target),
    Io(u32),
    Config(ConfigType, Bdf),
    /// A message to an ID: the bus of an agent or bridge, or any other.
    IdMessage(Index, Option<u16>),
    Completion(Index, Option<u16>),
    AddressMessage(Target),
    Implicit(Route),
}

/// Who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Agent(usize),
    Root,
    UnsupportedRequest,
    UnexpectedCompletion,
    /// The first receiver, which has no use for it.
    NextReceiver,
}

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let leaf = prop_oneof![Just(Shape::Agent)];
    let shape = leaf.prop_recursive(3, 16, 4, |inner| prop::collection::vec(inner, 1..=4).prop_map(Shape::Switch));
    prop::collection::vec(shape, 1..=3)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (0..MEMORY / 4 + 64).prop_map(|dword| Target::Memory(dword * 4)),
        (any::<Index>(), 0..BAR as i64 / 4).prop_map(|(who, dword)| Target::Bar(who, dword * 4)),
        (any::<Index>(), -0x50_0000..0x50_0000_i64).prop_map(|(who, offset)| Target::Bar(who, offset & !3)),
        any::<u64>().prop_map(|address| Target::Anywhere(address & !3)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let route = [Route::ToRootComplex, Route::GatherToRootComplex, Route::Broadcast, Route::Local];
    let id = || (any::<Index>(), prop::option::weighted(0.3, any::<u16>()));
    prop_oneof![
        4 => target().prop_map(What::Read),
        4 => target().prop_map(What::Write),
        1 => any::<u32>().prop_map(|address| What::Io(address & !3)),
        1 => (any::<bool>(), any::<u16>()).prop_map(|(near, id)| {
            What::Config(if near { ConfigType::Type0 } else { ConfigType::Type1 }, Bdf(id))
        }),
        2 => id().prop_map(|(near, any)| What::IdMessage(near, any)),
        2 => id().prop_map(|(near, any)| What::Completion(near, any)),
        1 => target().prop_map(What::AddressMessage),
        2 => prop::sample::select(route.to_vec()).prop_map(What::Implicit),
    ]
}

fn address(plant: &Plant, target: &Target) -> u64 {
    match target {
        Target::Memory(address) | Target::Anywhere(address) => *address,
        Target::Bar(who, offset) => plant.function(who.index(plant.agents.len())).1.wrapping_add_signed(*offset),
    }
}

/// An ID: that of some function, or any.
fn id(plant: &Plant, near: &Index, any: Option<u16>) -> Bdf {
    any.map_or_else(|| plant.found[near.index(plant.found.len())].id, Bdf)
}

fn header(plant: &Plant, from: usize, what: &What) -> Header {
    let me = plant.function(from).0;
    // A code without a name: no rule says how it's routed.
    let code = MessageCode(0xf0);
    match what {
        What::Read(target) => Header::mem_read(me, 5, address(plant, target), 0xf, 0, 1),
        What::Write(target) => Header::mem_write(me, 0, address(plant, target), 0xf, 0, 1),
        What::Io(address) => Header::io_read(me, 6, *address, 0xf),
        What::Config(config_type, target) => Header::config_read(*config_type, me, 7, *target, 0, 0xf),
        What::IdMessage(near, any) => {
            Header::message(me, 0, code, Route::Id, [u32::from(id(plant, near, *any).0) << 16, 0], 0)
        }
        What::Completion(near, any) => {
            let to = id(plant, near, *any);
            Header::completion(me, to, 900, Status::Successful, 4, 0, 1, 0, Attr::NONE)
        }
        What::AddressMessage(target) => {
            let address = address(plant, target);
            Header::message(me, 0, code, Route::Address, [(address >> 32) as u32, address as u32], 0)
        }
        What::Implicit(route) => Header::message(me, 0, code, *route, [0, 0], 0),
    }
    .unwrap()
}

/// The oracle: from addresses and bus numbers alone.
fn expected(plant: &Plant, from: usize, header: &Header) -> Expected {
    let agents = 0..plant.agents.len();
    let at_bus = |bus: u8| agents.clone().find(|&agent| agent != from && plant.function(agent).0.bus() == bus);
    let kind = header.kind();
    match header.route() {
        _ if kind.is_io() || kind.is_config() => Expected::UnsupportedRequest,
        Route::Address => {
            let address = header.address();
            let inside = |agent: &usize| {
                let bar = plant.function(*agent).1;
                // What lies in the window of a bridge goes through it, though the BAR is smaller than the window.
                (bar & !0xf_ffff..=bar | 0xf_ffff).contains(&address)
            };
            if let Some(agent) = agents.clone().find(inside) {
                let same_port = port(plant, agent) == port(plant, from);
                // The root complex routes nothing from one of its ports to another.
                if agent == from || !same_port { Expected::UnsupportedRequest } else { Expected::Agent(agent) }
            } else if address + 4 <= MEMORY && !kind.is_message() {
                Expected::Root
            } else if (0xfee0_0000..0xfef0_0000).contains(&address) && header.class() == Class::Posted {
                if kind.is_message() { Expected::UnsupportedRequest } else { Expected::Root }
            } else {
                Expected::UnsupportedRequest
            }
        }
        Route::Id => {
            let target = if kind.is_completion() { header.requester() } else { header.target() };
            match at_bus(target.bus()).filter(|&agent| port(plant, agent) == port(plant, from)) {
                Some(agent) => Expected::Agent(agent),
                None if kind.is_completion() => Expected::UnexpectedCompletion,
                None => Expected::UnsupportedRequest,
            }
        }
        Route::ToRootComplex | Route::GatherToRootComplex => Expected::Root,
        _ => Expected::NextReceiver,
    }
}

/// The root port above an agent: the last function on bus 0 before it.
fn port(plant: &Plant, agent: usize) -> Bdf {
    let id = plant.function(agent).0;
    let before = plant.found.iter().take_while(|function| function.id != id);
    before.filter(|function| function.id.bus() == 0).last().unwrap().id
}

/// One TLP at a time: it gets where it should, over no link twice, and the answer comes back.
fn check(plant: &mut Plant, recorder: &Recorder, from: usize, what: &What) -> Result<(), TestCaseError> {
    let header = header(plant, from, what);
    let expected = expected(plant, from, &header);
    let before = plant.simulation.fabric().faults();
    recorder.take();
    plant.send(from, header, &[1, 2, 3, 4][..header.payload_len()]);
    plant.settle();
    let log = recorder.take();
    let mut got = None;
    let mut answers = Vec::new();
    for agent in 0..plant.agents.len() {
        for received in plant.agent(agent, |agent, _| std::mem::take(&mut agent.received)) {
            if received.header == header && agent != from {
                prop_assert_eq!(got, None);
                got = Some(agent);
            } else {
                prop_assert_eq!(agent, from, "a stray {}", received.header);
                answers.push(received.header);
            }
        }
    }
    let faults = plant.simulation.fabric().faults();
    let unsupported = faults.unsupported_request - before.unsupported_request;
    let unexpected = faults.unexpected_completion - before.unexpected_completion;
    prop_assert_eq!(faults.malformed + faults.completer_abort, 0);
    let mut raw = [0; 16];
    let len = header.encode(&mut raw);
    let mut links: Vec<_> =
        log.transmitted.iter().filter(|seen| seen.header == raw[..len]).map(|seen| seen.link).collect();
    let hops = links.len();
    links.sort_unstable();
    links.dedup();
    prop_assert_eq!(hops, links.len(), "{} went back to where it came from", header);
    let what = || format!("{header} from {}", plant.function(from).0);
    match expected {
        Expected::Agent(agent) => {
            prop_assert_eq!(got, Some(agent), "{}", what());
            // In the window but not in the BAR, or no function of that number: the agent itself refuses it.
            let bar = plant.function(agent).1;
            let foreign = match header.route() {
                Route::Address => !(bar..bar + BAR).contains(&header.address()),
                _ => !header.kind().is_completion(),
            };
            prop_assert_eq!(unsupported, u64::from(foreign), "{}", what());
            let stray = header.kind().is_completion() && header.requester() != plant.function(agent).0;
            prop_assert_eq!(unexpected, u64::from(stray), "{}", what());
        }
        _ => {
            prop_assert_eq!(got, None, "{}", what());
            // Nobody knows a message of this code, whoever it ends at.
            let implicit = header.kind().is_message() && !matches!(header.route(), Route::Address | Route::Id);
            let refused = expected == Expected::UnsupportedRequest || implicit;
            prop_assert_eq!(unsupported, u64::from(refused), "{}", what());
            prop_assert_eq!(unexpected, u64::from(expected == Expected::UnexpectedCompletion), "{}", what());
            if expected == Expected::NextReceiver {
                prop_assert_eq!(hops, 1);
            }
        }
    }
    if header.class() == Class::NonPosted {
        prop_assert_eq!(answers.len(), 1, "{}", what());
        let status = if unsupported == 0 { Status::Successful } else { Status::UnsupportedRequest };
        prop_assert_eq!((answers[0].status(), answers[0].tag()), (status, header.tag()), "{}", what());
    } else {
        prop_assert!(answers.is_empty(), "{}", what());
    }
    prop_assert_eq!(plant.simulation.fabric().in_flight(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_tlp_reaches_whom_the_oracle_says(
        shapes in shapes(),
        sends in prop::collection::vec((any::<Index>(), what()), 1..60),
    ) {
        let mut plant = plant(&shapes, &Spec::default());
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        for (from, what) in &sends {
            let from = from.index(plant.agents.len());
            check(&mut plant, &recorder, from, what)?;
        }
    }

    #[test]
    fn the_host_reaches_every_bar_and_nothing_else(
        shapes in shapes(),
        targets in prop::collection::vec(target(), 1..40),
    ) {
        let mut plant = plant(&shapes, &Spec::default());
        for target in &targets {
            let address = address(&plant, target);
            let read = plant.run(move |host| async move { host.read32(address).await });
            let bars = (0..plant.agents.len()).map(|agent| plant.function(agent).1);
            let inside = bars.into_iter().find(|&bar| (bar..bar + BAR).contains(&address));
            match inside {
                Some(bar) => {
                    let low = (address - bar) as u8;
                    let bytes = [0, 1, 2, 3].map(|byte| low.wrapping_add(byte));
                    prop_assert_eq!(read, Ok(u32::from_le_bytes(bytes)));
                }
                None => prop_assert!(read.is_err(), "{address:#x}: {read:?}"),
            }
        }
    }
}
