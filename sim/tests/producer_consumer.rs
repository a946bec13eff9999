//! Producer and consumer: a producer writes data and then a flag; whoever has seen the flag gets the data, wherever both lie, and whatever else is
//! under way and starved. Unless ID-based Ordering says that it needn't.

mod common;

use common::agent::{BAR, Manner};
use common::credits::SMALLEST;
use common::plant::{Log, MEMORY, Plant, Recorder, Shape, Spec, plant};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::ordering::{Appearance, Handshake, Lane};
use mlx5_twin_sim::probe::{Direction, LinkId};
use mlx5_twin_sim::profile::{Credits, Timing};
use mlx5_twin_sim::tlp::{Attr, Class, Header};
use proptest::prelude::*;

const MAX_PAYLOAD: u32 = 128;
const TRANSIT: Time = Time::ns(310);
/// Bytes of data: several TLPs.
const DATA: u64 = 320;
/// Offsets of data and flag in a BAR or in memory.
const DATA_AT: u64 = 0x1000;
const FLAG_AT: u64 = 0x3000;
/// Where something lies: at an agent, or in the host's memory.
type Place = Option<usize>;

/// Agents 0 and 1 below one switch, 2 higher up, 3 and 4 below another.
fn tree() -> [Shape; 1] {
    let agents = || vec![Shape::Agent, Shape::Agent];
    [Shape::Switch(vec![Shape::Switch(agents()), Shape::Agent, Shape::Switch(agents())])]
}

fn grown(credits: Credits, update_fc_ns: u64, seed: u64) -> (Plant, Recorder) {
    let mut link = common::link(3, 1);
    link.credits = credits;
    let timing = Timing { update_fc_ns, ..common::TIMING };
    let spec = Spec { link, timing, seed, max_payload: MAX_PAYLOAD, max_read_request: 512, ..Spec::default() };
    let mut plant = plant(&tree(), &spec);
    for agent in 0..plant.agents.len() {
        plant.agent(agent, |agent, _| agent.manner = Manner::Remember);
    }
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    (plant, recorder)
}

/// A producer and a consumer at work.
struct Pair {
    producer: usize,
    consumer: usize,
    data: Place,
    flag: Place,
    /// What the consumer's reads of data have.
    attr: Attr,
    tc: u8,
    /// How much of what the consumer has received was looked at.
    looked: usize,
    /// Whether a read of the flag, or of data, is under way.
    asked: [bool; 2],
    wants_data: bool,
}

const FLAG_TAG: u16 = 0x101;
const DATA_TAG: u16 = 0x102;

impl Pair {
    fn address(plant: &Plant, place: Place, offset: u64) -> u64 {
        place.map_or(MEMORY / 2, |agent| plant.function(agent).1) + offset
    }

    fn data_at(&self, plant: &Plant) -> u64 {
        Pair::address(plant, self.data, DATA_AT)
    }

    fn flag_at(&self, plant: &Plant) -> u64 {
        Pair::address(plant, self.flag, FLAG_AT)
    }

    fn produce(&self, plant: &mut Plant, version: u32) {
        let me = plant.function(self.producer).0;
        let write = |plant: &mut Plant, address: u64, len: u64| {
            let mut header = Header::mem_write_bytes(me, 0, address, len as u32).unwrap();
            header.set_tc(self.tc).unwrap();
            plant.send(self.producer, header, &version.to_le_bytes().repeat(len as usize / 4));
        };
        for offset in (0..DATA).step_by(128) {
            write(plant, self.data_at(plant) + offset, 128.min(DATA - offset));
        }
        write(plant, self.flag_at(plant), 4);
    }

    fn read(&self, plant: &mut Plant, tag: u16, address: u64, len: u64, attr: Attr) {
        let me = plant.function(self.consumer).0;
        let mut header = Header::mem_read_bytes(me, tag, address, len as u32).unwrap();
        header.set_tc(self.tc).unwrap();
        header.set_attr(attr).unwrap();
        plant.send(self.consumer, header, &[]);
    }

    /// Looks at what the consumer has received, and goes on: asks for the flag if `poll` says so, and for data when the flag has come.
    fn consume(&mut self, plant: &mut Plant, poll: bool) {
        let (looked, flag) = (self.looked, self.flag_at(plant));
        let new = plant.agent(self.consumer, |agent, _| {
            agent.received[looked..].iter().map(|received| received.header).collect::<Vec<_>>()
        });
        self.looked += new.len();
        for header in new {
            let last = header.byte_count() as usize <= header.payload_len();
            match header.class() {
                Class::Posted if header.address() == flag => self.wants_data = true,
                Class::Completion if header.tag() == FLAG_TAG => {
                    self.asked[0] = false;
                    self.wants_data = true;
                }
                Class::Completion if header.tag() == DATA_TAG && last => self.asked[1] = false,
                _ => {}
            }
        }
        if poll && self.flag != Some(self.consumer) && !self.asked[0] {
            self.asked[0] = true;
            self.read(plant, FLAG_TAG, flag, 4, Attr::NONE);
        }
        if self.wants_data && self.data != Some(self.consumer) && !self.asked[1] {
            (self.asked[1], self.wants_data) = (true, false);
            let address = self.data_at(plant);
            self.read(plant, DATA_TAG, address, DATA, self.attr);
        }
    }

    /// Lets everything happen that is to happen.
    fn settle(&mut self, plant: &mut Plant) {
        while plant.simulation.step() {
            self.consume(plant, false);
        }
    }

    fn judge(&self, plant: &mut Plant, log: &Log) -> Handshake {
        let me = plant.function(self.consumer).0;
        // The consumer's link is that from which its own requests come first.
        let own = log
            .transmitted
            .iter()
            .find(|seen| !seen.down && Header::decode(&seen.header).is_ok_and(|header| header.requester() == me));
        let link = LinkId(own.expect("the consumer has asked for something").link);
        let lane = Lane { link, direction: Direction::Downstream };
        let (data, flag) = (self.data_at(plant), self.flag_at(plant));
        let mut handshake = Handshake::new(lane, TRANSIT, data..data + DATA, flag);
        let mut seen: Vec<_> = log.transmitted.iter().collect();
        seen.sort_by_key(|seen| seen.at);
        for seen in seen {
            let direction = if seen.down { Direction::Downstream } else { Direction::Upstream };
            let lane = Lane { link: LinkId(seen.link), direction };
            handshake.see(&Appearance { at: seen.at, lane, header: &seen.header, payload: &seen.payload });
        }
        handshake
    }
}

/// What others do meanwhile: who, to whom, write or read, attributes.
type Noise = (usize, Place, bool, u8, u32);

fn noise() -> impl Strategy<Value = Noise> {
    (0..5_usize, prop::option::weighted(0.6, 0..5_usize), any::<bool>(), 0..8_u8, 1..=32_u32)
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![1 => Just(None), 2 => (0..5_usize).prop_map(Some)]
}

fn credits() -> impl Strategy<Value = Credits> {
    prop_oneof![2 => Just(SMALLEST), 3 => common::credits::credits()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn who_sees_the_flag_gets_the_data(
        credits in credits(),
        (producer, consumer) in (0..5_usize, 0..4_usize).prop_map(|(a, b)| (a, (a + 1 + b) % 5)),
        (data, flag) in (place(), place()),
        relaxed in any::<bool>(),
        tc in 0..2_u8,
        rounds in prop::collection::vec((prop::collection::vec(noise(), 0..4), 0..120_u16), 1..16),
        update_fc_ns in 0..2_000_u64,
        seed in any::<u64>(),
    ) {
        // What a producer writes to itself is no matter of the bus.
        prop_assume!(data != Some(producer) && flag != Some(producer));
        let (mut plant, recorder) = grown(credits, update_fc_ns, seed);
        // Relaxed Ordering doesn't help a read, so the consumer may have it.
        let attr = if relaxed { Attr::RO } else { Attr::NONE };
        let (asked, looked, wants_data) = ([false; 2], 0, false);
        let mut pair = Pair { producer, consumer, data, flag, attr, tc, looked, asked, wants_data };
        let mut number = 0;
        for (version, (noise, pause)) in (1..).zip(&rounds) {
            pair.produce(&mut plant, version);
            for &(from, to, write, attr, dwords) in noise {
                number += 1;
                let (me, base) = (plant.function(from).0, Pair::address(&plant, to.filter(|to| *to != from), BAR / 2));
                let address = base + number * 128;
                let make = if write { Header::mem_write_bytes } else { Header::mem_read_bytes };
                let mut header = make(me, number as u16 & 0xff, address, dwords * 4).unwrap();
                header.set_attr(Attr::from_bits(attr)).unwrap();
                plant.send(from, header, &vec![0xee; header.payload_len()]);
            }
            for step in 0..*pause {
                plant.simulation.step();
                pair.consume(&mut plant, step % 8 == 0);
            }
        }
        pair.settle(&mut plant);
        // At last the consumer looks once more, so that something is compared.
        pair.consume(&mut plant, true);
        pair.settle(&mut plant);
        let address = pair.data_at(&plant);
        pair.read(&mut plant, DATA_TAG, if data == Some(consumer) { MEMORY / 2 } else { address }, DATA, attr);
        pair.settle(&mut plant);
        prop_assert_eq!(plant.fabric().in_flight(), 0);
        prop_assert_eq!(plant.faults(), Default::default());
        let log = recorder.take();
        prop_assert_eq!(&plant.judge(&log, TRANSIT).violations, &[]);
        let handshake = pair.judge(&mut plant, &log);
        prop_assert_eq!(handshake.stale(), &[]);
        prop_assert!(handshake.compared() > 0);
    }
}

/// Data go to the host over a link that others have filled, and the flag to a neighbour. The neighbour's read of the data must wait behind
/// them at the switch, unless it has ID-based Ordering: it's another's write that it passes then (B2b).
#[test]
fn id_based_ordering_gives_it_up() {
    for (attr, stale) in [(Attr::NONE, false), (Attr::RO, false), (Attr::NS, false), (Attr::IDO, true)] {
        let credits =
            Credits { posted_headers: 4, posted_data: 0, nonposted_headers: 0, nonposted_data: 0, ..SMALLEST };
        let (mut plant, recorder) = grown(credits, 3_000, 1);
        let (asked, looked, wants_data) = ([false; 2], 0, false);
        let (data, flag) = (None, Some(3));
        for number in 0..24 {
            for other in [1, 4] {
                let (me, address) = (plant.function(other).0, MEMORY / 4 + number * 128);
                plant.send(other, Header::mem_write_bytes(me, 0, address, 128).unwrap(), &[0xee; 128]);
            }
        }
        let mut pair = Pair { producer: 2, consumer: 3, data, flag, attr, tc: 0, looked, asked, wants_data };
        for version in 1..6 {
            pair.produce(&mut plant, version);
        }
        pair.settle(&mut plant);
        let log = recorder.take();
        // Both are within the table, which is why software mustn't set IDO where it needs this.
        assert_eq!(plant.judge(&log, TRANSIT).violations, []);
        let handshake = pair.judge(&mut plant, &log);
        assert!(handshake.compared() > 0);
        assert_eq!(!handshake.stale().is_empty(), stale, "{attr}: {:?}", handshake.stale());
    }
}
