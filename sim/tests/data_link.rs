//! Links whose data link layer is exact: what is on the wire, what happens when it's broken or lost, and how long it all takes.

mod common;

use common::frames::{Frames, LOWER};
use common::plant::{Plant, Shape, Spec, plant, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::dll::{Dllp, FcStage, LinkError, Sequence, ack_latency, latency_symbols, replay_timeout};
use mlx5_twin_sim::fabric::{Core, Fate, FrameKind, LinkCounters, Noise, PortId};
use mlx5_twin_sim::probe::{Direction, LinkFrame, LinkId, OnWire};
use mlx5_twin_sim::profile::{Credits, DataLink, Link, Range, Timing};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::{Class, Header};

const FLIGHT: Time = Time::ns(2);

fn spec(generation: u8, lanes: u8) -> Spec {
    let propagation = Range { min_ps: FLIGHT.0, max_ps: FLIGHT.0 };
    let link = Link { propagation, data_link: DataLink::Exact, ..common::link(generation, lanes) };
    Spec { link, ..Spec::default() }
}

/// The agent's end of its link, and the switch's.
fn ends(plant: &mut Plant) -> (PortId, PortId) {
    let [upper, lower] = plant.fabric().ends(LOWER).unwrap();
    (lower.port, upper.port)
}

fn core<T>(plant: &mut Plant, call: impl FnOnce(&mut Core) -> T) -> T {
    plant.agent(0, |_, core| call(core))
}

fn counters(plant: &mut Plant, port: PortId) -> LinkCounters {
    core(plant, |core| core.link_counters(port)).unwrap()
}

/// Lets the agent send posted writes with so many bytes each, one after the other in memory.
fn send_writes(plant: &mut Plant, count: u64, payload: u32) {
    let me = plant.function(0).0;
    for number in 0..count {
        let header = Header::mem_write_bytes(me, 0, number * u64::from(payload), payload).unwrap();
        plant.send(0, header, &vec![number as u8 + 1; payload as usize]);
    }
}

/// The bytes that [`send_writes`] leaves behind.
fn check_writes(plant: &mut Plant, count: u64, payload: u32) {
    let root = plant.root;
    let mut bytes = vec![0; (count * u64::from(payload)) as usize];
    plant.fabric().memory_mut(root).unwrap().read(0, &mut bytes).unwrap();
    let expected: Vec<u8> = (0..count).flat_map(|number| vec![number as u8 + 1; payload as usize]).collect();
    assert!(bytes == expected, "memory differs");
}

/// Picoseconds for so many bytes with framing on the wire, ordered sets included.
fn wire(plant_link: &Link, bytes: u64) -> u64 {
    let rate = plant_link.ps_per_byte_q16();
    let rate = if plant_link.generation >= 3 { rate * 371 / 370 } else { rate * 1184 / 1180 };
    (bytes * rate) >> 16
}

/// What comes before the first TLP: features if the ports know them, then InitFC1 and InitFC2 of the three classes.
#[test]
fn a_link_is_initialized_before_traffic() {
    for generation in 1..=5 {
        let mut fresh = common::plant::bare(&[Shape::Switch(vec![Shape::Agent])], &spec(generation, 4));
        let frames = Frames::of(&mut fresh);
        let begin = fresh.simulation.fabric().now();
        fresh.settle();
        assert!(fresh.simulation.fabric().now().since(begin) < Time::us(2));
        let frames = frames.take();
        for direction in [Direction::Upstream, Direction::Downstream] {
            let sent: Vec<String> = frames.iter().filter(|frame| frame.direction == direction).map(name).collect();
            let init = ["Init1 Posted", "Init1 NonPosted", "Init1 Completion"];
            let said = |what: &[&str]| sent.windows(3).any(|three| three == what);
            // What was sent before the probe saw anything may be missing.
            assert!(said(&init.map(|name| name.replace("Init1", "Init2")).each_ref().map(String::as_str)), "{sent:?}");
            let has_features = sent.iter().any(|name| name == "Feature");
            assert_eq!(has_features, generation >= 4, "{generation}: {sent:?}");
        }
    }
}

fn name(frame: &LinkFrame) -> String {
    match frame.what {
        OnWire::Dllp(Dllp::FlowControl { stage, class, .. }) => format!("{stage:?} {class:?}"),
        OnWire::Dllp(Dllp::Feature { .. }) => "Feature".into(),
        OnWire::Dllp(Dllp::Ack(sequence)) => format!("Ack {sequence}"),
        OnWire::Dllp(Dllp::Nak(sequence)) => format!("Nak {sequence}"),
        OnWire::Dllp(other) => format!("{other:?}"),
        OnWire::Tlp { sequence, again } => format!("{} {sequence}", if again { "again" } else { "TLP" }),
    }
}

/// A write, its Ack and its UpdateFC, to the picosecond.
#[test]
fn one_write_is_acknowledged_in_time() {
    for (generation, lanes, payload) in [(1, 1, 64), (2, 4, 128), (3, 8, 256), (4, 16, 256), (5, 16, 64)] {
        let row = format!("generation {generation} x{lanes}, {payload} bytes");
        let spec = spec(generation, lanes);
        let mut plant = single(&spec);
        plant.settle();
        let frames = Frames::of(&mut plant);
        let begin = plant.simulation.fabric().now();
        send_writes(&mut plant, 1, payload);
        plant.settle();
        let seen = frames.take();
        let at = |direction, what: &str| {
            let found = seen.iter().find(|f| f.direction == direction && name(f).starts_with(what));
            found.unwrap_or_else(|| panic!("{row}: no {what} in {:?}", seen.iter().map(name).collect::<Vec<_>>())).at
        };
        let taken = begin + Time(wire(&spec.link, u64::from(12 + payload) + 8)) + FLIGHT;
        // Enumeration has seen no payload above 128 bytes.
        let limit = ack_latency(generation, lanes, payload.max(128));
        assert_eq!(at(Direction::Upstream, "TLP"), begin, "{row}");
        let ack = at(Direction::Downstream, "Ack");
        assert_eq!(ack, taken + limit, "{row}");
        // The switch has the TLP after 100 ns and sends it on at once: its buffer is free then.
        let update = at(Direction::Downstream, "Update Posted");
        let free = taken + Time::ns(100) + limit;
        let busy = ack + Time(wire(&spec.link, 8));
        let expected = if (ack..busy).contains(&free) { busy } else { free };
        assert_eq!(update, expected, "{row}");
        assert_eq!(seen.len(), 3, "{row}: {:?}", seen.iter().map(name).collect::<Vec<_>>());
    }
}

/// The second of three TLPs is broken: a Nak comes, it and the third are sent again, and all arrive once and in order.
#[test]
fn a_broken_tlp_is_replayed() {
    let spec = spec(3, 8);
    let mut plant = single(&spec);
    plant.settle();
    let (agent, switch) = ends(&mut plant);
    let before = [counters(&mut plant, agent), counters(&mut plant, switch)];
    let frames = Frames::of(&mut plant);
    let begin = plant.simulation.fabric().now();
    assert!(core(&mut plant, |core| core.break_lcrc(agent, 1)));
    send_writes(&mut plant, 3, 64);
    plant.settle();
    check_writes(&mut plant, 3, 64);
    let after = [counters(&mut plant, agent), counters(&mut plant, switch)];
    assert_eq!(after[0].tlps - before[0].tlps, 3);
    assert_eq!(after[0].replayed - before[0].replayed, 2);
    assert_eq!(after[1].errors_of(LinkError::BadTlp), 1, "the one after it is awaited, no error of its own");
    assert_eq!(after[0].errors.iter().sum::<u64>() + after[1].errors.iter().sum::<u64>(), 1);
    let seen = frames.take();
    let up: Vec<&LinkFrame> = seen.iter().filter(|frame| frame.direction == Direction::Upstream).collect();
    let tlps: Vec<String> = up.iter().map(|frame| name(frame)).filter(|name| !name.contains("Update")).collect();
    let first = tlps[0].split(' ').nth(1).unwrap().to_owned();
    let n = |plus| Sequence::new(u16::from_str_radix(&first, 16).unwrap() + plus);
    let expected = [(0, "TLP"), (1, "TLP"), (2, "TLP"), (1, "again"), (2, "again")];
    assert_eq!(tlps, expected.map(|(plus, what)| format!("{what} {}", n(plus))));
    // The broken one ends after two; the Nak takes eight bytes, and all fly.
    let (tlp, dllp) = (wire(&spec.link, 84), wire(&spec.link, 8));
    let nak = seen.iter().find(|frame| name(frame).starts_with("Nak")).unwrap();
    assert_eq!(name(nak), format!("Nak {}", n(0)));
    assert_eq!(nak.at, begin + Time(2 * tlp) + FLIGHT);
    let again = up.iter().find(|frame| name(frame).starts_with("again")).unwrap();
    let heard = (nak.at + Time(dllp) + FLIGHT).max(begin + Time(3 * tlp));
    assert_eq!(again.at, heard);
}

/// An Ack that's lost: REPLAY_TIMER expires, the TLP comes twice, and is taken once.
#[test]
fn a_lost_ack_costs_a_replay() {
    for fate in [Fate::Lost, Fate::Broken] {
        let spec = spec(5, 16);
        let mut plant = single(&spec);
        plant.settle();
        let (agent, switch) = ends(&mut plant);
        let before = counters(&mut plant, agent);
        assert!(core(&mut plant, |core| core.meddle(switch, FrameKind::AckNak, 0, fate)));
        let frames = Frames::of(&mut plant);
        let begin = plant.simulation.fabric().now();
        send_writes(&mut plant, 1, 64);
        plant.settle();
        check_writes(&mut plant, 1, 64);
        let after = counters(&mut plant, agent);
        assert_eq!((after.tlps - before.tlps, after.replayed - before.replayed), (1, 1));
        assert_eq!(after.errors_of(LinkError::ReplayTimeout), 1);
        assert_eq!(after.errors_of(LinkError::BadDllp), u64::from(fate == Fate::Broken));
        let again = frames.take().into_iter().find(|frame| name(frame).starts_with("again")).unwrap();
        let left = begin + Time(wire(&spec.link, 84));
        assert_eq!(again.at, left + replay_timeout(5, 16, 128) + FLIGHT + FLIGHT);
    }
}

/// An UpdateFC that's lost: what waits for it goes after the regular one, 30 us later.
#[test]
fn a_lost_update_costs_thirty_microseconds() {
    let mut spec = spec(4, 8);
    spec.link.credits.posted_headers = 1;
    let mut plant = single(&spec);
    plant.settle();
    let (_, switch) = ends(&mut plant);
    assert!(core(&mut plant, |core| core.meddle(switch, FrameKind::UpdateFc, 0, Fate::Lost)));
    let frames = Frames::of(&mut plant);
    send_writes(&mut plant, 2, 64);
    plant.settle();
    check_writes(&mut plant, 2, 64);
    let sent: Vec<Time> =
        frames.take().iter().filter(|frame| name(frame).starts_with("TLP")).map(|frame| frame.at).collect();
    assert_eq!(sent.len(), 2);
    let took = sent[1].since(sent[0]);
    assert!((Time::us(30)..Time::us(31)).contains(&took), "{took}");
}

/// A TLP that is broken again and again: the second time there's no Nak, so REPLAY_TIMER expires; the fourth replay waits until the link
/// has been retrained.
#[test]
fn replays_without_progress_retrain_the_link() {
    let mut plant = single(&spec(4, 8));
    plant.settle();
    let (agent, switch) = ends(&mut plant);
    for nth in 0..5 {
        assert!(core(&mut plant, |core| core.break_lcrc(agent, nth)));
    }
    let before = counters(&mut plant, agent);
    let begin = plant.simulation.fabric().now();
    send_writes(&mut plant, 1, 64);
    plant.settle();
    check_writes(&mut plant, 1, 64);
    let (after, found) = (counters(&mut plant, agent), counters(&mut plant, switch));
    assert_eq!(after.replayed - before.replayed, 5);
    assert_eq!(found.errors_of(LinkError::BadTlp), 5);
    assert_eq!((after.errors_of(LinkError::ReplayRollover), after.errors_of(LinkError::ReplayTimeout)), (1, 3));
    // Four times 12 us of REPLAY_TIMER.
    assert!(plant.simulation.fabric().now().since(begin) > Time::us(48));
}

/// A chosen TLP is broken as often as one says, whatever goes before and after it.
#[test]
fn a_chosen_tlp_is_broken_so_often() {
    let mut plant = single(&spec(5, 8));
    plant.settle();
    let (agent, switch) = ends(&mut plant);
    send_writes(&mut plant, 3, 64);
    let me = plant.function(0).0;
    core(&mut plant, |core| {
        let tlp = core.create(Header::mem_write_bytes(me, 0, 3 * 64, 64).unwrap());
        core.payload_mut(tlp).fill(4);
        assert!(core.break_lcrc_of(agent, tlp, 2));
        core.send(agent, tlp);
    });
    plant.settle();
    check_writes(&mut plant, 4, 64);
    let found = plant.fabric().link_counters(switch).unwrap();
    assert_eq!(found.errors_of(LinkError::BadTlp), 2);
    // A Nak for the first, REPLAY_TIMER for the second.
    assert_eq!(plant.fabric().link_counters(agent).unwrap().errors_of(LinkError::ReplayTimeout), 1);
    // Links without an exact data link layer have none of this.
    let mut plant = single(&Spec::default());
    let (agent, _) = ends(&mut plant);
    assert!(!plant.fabric().meddle(agent, FrameKind::Dllp, 0, Fate::Lost));
    assert_eq!(plant.fabric().link_counters(agent), None);
}

/// How many TLPs: many more by DLL_TLPS.
fn tlps(default: u64) -> u64 {
    std::env::var("DLL_TLPS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Writes and reads of two agents and the host over links with errors. Gives all that can be compared.
fn traffic(seed: u64, count: u64, noise: Noise, credits: Credits) -> (Time, Vec<LinkCounters>) {
    let mut spec = Spec { seed, ..spec(4, 4) };
    spec.link.credits = credits;
    spec.tags = 64;
    let mut plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &spec);
    plant.settle();
    let ports: Vec<PortId> =
        (0..3).flat_map(|link| plant.fabric().ends(LinkId(link)).unwrap().map(|end| end.port)).collect();
    let all = |plant: &mut Plant| -> Vec<_> {
        let one = |core: &mut Core, port| Class::ALL.map(|class| core.exact_credits(port, 0, class));
        core(plant, |core| ports.iter().map(|port| one(core, *port)).collect())
    };
    let initial = all(&mut plant);
    assert!(initial.iter().flatten().all(Option::is_some));
    for (number, port) in ports.iter().enumerate() {
        core(&mut plant, |core| core.set_noise(*port, noise, seed + number as u64));
    }
    let mut rng = Rng::new(seed);
    let (mut begun, mut ended) = (0, 0);
    let mut memory = vec![0_u8; 1 << 16];
    while core(&mut plant, |core| core.link_counters(ports[0]).unwrap().tlps) < count / 4 {
        for _ in 0..rng.range(1, 200) {
            let from = rng.range(0, 1) as usize;
            let (me, bar) = plant.function(from);
            let len = rng.range(1, 64) as u32 * 4;
            match rng.range(0, 3) {
                0 | 1 => {
                    // Each agent has its half of the memory; later writes overwrite earlier ones.
                    let at = rng.range(0, 127) * 256 + from as u64 * (1 << 15);
                    let data: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
                    plant.send(from, Header::mem_write_bytes(me, 0, at, len).unwrap(), &data);
                    memory[at as usize..][..len as usize].copy_from_slice(&data);
                }
                2 => {
                    let at = (1 << 16) + rng.range(0, 1000) * 4096;
                    begun += 1;
                    plant.agent(from, |agent, core| agent.dma_read(core, at, 512, 0));
                }
                _ => {
                    let root = plant.root;
                    let data = mlx5_twin_sim::host::Data::new(&[rng.next_u32() as u8; 64]);
                    let access = mlx5_twin_sim::host::Access::MemoryWrite { address: bar + 128, data };
                    plant.simulation.access(root, access).unwrap();
                }
            }
            for _ in 0..rng.range(0, 20) {
                plant.simulation.step();
            }
        }
        plant.settle();
        for agent in 0..2 {
            ended += plant.agent(agent, |agent, _| {
                agent.received.clear();
                agent.sent.clear();
                agent.ended.drain(..).len()
            });
        }
        assert_eq!(ended, begun, "seed {seed}: reads");
        assert!(plant.fabric().is_at_rest(), "seed {seed}: a TLP is left, or credits: {:?}", plant.fabric());
        assert_eq!(all(&mut plant), initial, "seed {seed}: credits");
        let mut bytes = vec![0; memory.len()];
        let root = plant.root;
        plant.fabric().memory_mut(root).unwrap().read(0, &mut bytes).unwrap();
        assert!(bytes == memory, "seed {seed}: a write is lost or out of order");
    }
    assert_eq!(plant.faults(), Default::default(), "seed {seed}");
    let counted: Vec<LinkCounters> = ports.iter().map(|port| counters(&mut plant, *port)).collect();
    for error in [LinkError::DataLinkProtocol, LinkError::ReceiverOverflow, LinkError::FlowControlProtocol] {
        assert!(counted.iter().all(|counters| counters.errors_of(error) == 0), "seed {seed}: {error:?}");
    }
    (plant.simulation.fabric().now(), counted)
}

const FEW: Credits = Credits {
    posted_headers: 2,
    posted_data: 18,
    nonposted_headers: 1,
    nonposted_data: 8,
    completion_headers: 2,
    completion_data: 20,
};
const MANY: Credits = Credits {
    posted_headers: 127,
    posted_data: 2047,
    nonposted_headers: 100,
    nonposted_data: 100,
    completion_headers: 0,
    completion_data: 0,
};

#[test]
fn errors_on_the_wire_lose_nothing() {
    let noise = |tlps, dllps| Noise { broken_tlps: tlps, lost_tlps: tlps / 2, broken_dllps: dllps, lost_dllps: dllps };
    let count = tlps(100_000);
    let cases = [
        (1, noise(0, 0), FEW),
        (2, noise(2_000, 1_000), FEW),
        (3, noise(5_000, 5_000), MANY),
        (4, noise(30_000, 30_000), MANY),
    ];
    for (seed, noise, credits) in cases {
        let (now, counted) = traffic(seed, count / 4, noise, credits);
        let sum = |of: fn(&LinkCounters) -> u64| counted.iter().map(of).sum::<u64>();
        let (sent, replayed, dllps) = (sum(|c| c.tlps), sum(|c| c.replayed), sum(|c| c.dllps));
        let errors = LinkError::ALL.map(|error| counted.iter().map(|counters| counters.errors_of(error)).sum::<u64>());
        println!("seed {seed}: {sent} TLPs, {replayed} again, {dllps} DLLPs in {now}; errors {errors:?}");
        assert_eq!(replayed > 0, noise != Noise::default());
        assert_eq!(errors[LinkError::BadTlp as usize] > 0, noise != Noise::default());
    }
}

#[test]
fn the_same_seed_gives_the_same_errors() {
    let noise = Noise { broken_tlps: 10_000, lost_tlps: 10_000, broken_dllps: 10_000, lost_dllps: 10_000 };
    let run = |seed| traffic(seed, 4_000, noise, FEW);
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}

/// Megabytes of payload in a second that an agent writes to another one, in the middle of many writes of 256 bytes. Both ways: the other one writes
/// as much to it.
fn throughput(link: Link, timing: Timing, both_ways: bool) -> f64 {
    const WRITES: u64 = 4_000;
    let spec = Spec { link, timing, ..Spec::default() };
    let mut plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &spec);
    plant.settle();
    let functions = [plant.function(0), plant.function(1)];
    for number in 0..WRITES {
        for from in 0..if both_ways { 2 } else { 1 } {
            let to = functions[1 - from].1 + number % 64 * 256;
            plant.send(from, Header::mem_write_bytes(functions[from].0, 0, to, 256).unwrap(), &[0; 256]);
        }
    }
    plant.settle();
    let times: Vec<Time> = plant.agent(1, |agent, _| agent.received.iter().map(|tlp| tlp.at).collect());
    assert_eq!(times.len() as u64, WRITES);
    let span = times[3_500].since(times[500]).as_ps() as f64;
    3_000.0 * 256.0 * 1e6 / span
}

/// The share of the wire that DLLPs and ordered sets take when both directions are full, in thousandths: an Ack and an UpdateFC of eight bytes each in
/// `bytes`, and a SKP in 371 blocks.
fn share(bytes: u64) -> f64 {
    1000.0 * (16.0 / bytes as f64 + 1.0 / 371.0)
}

/// What a direction carries from one Ack to the next, at the Ack limit for 256 bytes.
fn per_ack(generation: u8, lanes: u8) -> u64 {
    latency_symbols(generation, lanes, 256) * u64::from(lanes)
}

/// `dllp_permille` = 13 is what a link of eight lanes takes. The rated link is as fast as the exact one within 0.6 % when both directions are full, and
/// within 1.1 % when one of them is empty, since then the exact one needs no DLLPs beside the TLPs.
#[test]
fn the_rated_link_is_as_fast_as_the_exact_one() {
    assert_eq!(share(per_ack(3, 8)).round(), 13.0);
    for (generation, lanes) in [(3, 4), (3, 8), (3, 16), (4, 8), (4, 16), (5, 4), (5, 8), (5, 16)] {
        for both_ways in [false, true] {
            let link = Link { credits: MANY, ..spec(generation, lanes).link };
            let timing = Timing { dllp_permille: 13, update_fc_ns: 50, ..common::TIMING };
            let exact = throughput(link, timing, both_ways);
            let rated = throughput(Link { data_link: DataLink::Rated, ..link }, timing, both_ways);
            let more = (exact - rated) / rated * 1000.0;
            let row =
                format!("generation {generation} x{lanes}, both ways {both_ways}: {exact:.0} and {rated:.0} MB/s");
            println!("{row}, {more:+.1} thousandths");
            assert!(more.abs() < if both_ways { 6.0 } else { 11.0 }, "{row}, {more:+.1}");
            // By arithmetic: the payload's share of what DLLPs and ordered sets leave. An Ack waits for the TLP before it on the wire, and the limit runs
            // from the next TLP on that comes: on average that is half a TLP each.
            let raw = 256.0 / 280.0 * 65536e6 / link.ps_per_byte_q16() as f64;
            let taken = if both_ways { share(per_ack(generation, lanes) + 288) } else { 1000.0 / 371.0 };
            let expected = raw * (1.0 - taken / 1000.0);
            assert!((exact - expected).abs() / expected < 0.002, "{row}, by arithmetic {expected:.0}");
        }
    }
}

/// UpdateFCs are counted in the frames: none is sent for what is infinite, and no link says anything when it's at rest.
#[test]
fn a_link_at_rest_is_silent() {
    let mut plant = single(&spec(5, 8));
    plant.settle();
    let frames = Frames::of(&mut plant);
    let now = plant.simulation.fabric().now();
    plant.run(|host| async move { host.sleep(Time::ms(1)).await });
    assert!(plant.simulation.fabric().now() > now);
    assert!(frames.take().is_empty());
    send_writes(&mut plant, 200, 64);
    let bar = plant.function(0).1;
    plant.run(move |host| async move { host.read32(bar).await.unwrap() });
    plant.settle();
    let updates = frames.take().into_iter().filter_map(|frame| match frame.what {
        OnWire::Dllp(Dllp::FlowControl { stage: FcStage::Update, class, .. }) => Some(class),
        _ => None,
    });
    let updates: Vec<Class> = updates.collect();
    assert!(updates.contains(&Class::Posted) && updates.contains(&Class::NonPosted));
    assert!(!updates.contains(&Class::Completion), "completions have infinite credits");
}
