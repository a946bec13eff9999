//! Time on links against figures worked out by hand, and the same run from the same seed.

mod common;

use common::plant::{Plant, Recorder, Seen, Shape, Spec, plant, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::profile::{Link, Range, Timing};
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::Header;

/// Generation, lanes, payload of a write below 4 GiB (12 bytes of header, 8 of framing), and its time on the wire in ps.
///
/// 2.5, 5, 8, 16 and 32 GT/s a lane; 10 bits a byte up to generation 2, then 8 bits and two more in 128.
const WIRE: [(u8, u8, u32, u64); 10] = [
    // 24 bytes x 4 ns.
    (1, 1, 4, 96_000),
    (1, 4, 64, 84_000),
    // 148 bytes x 2 ns / 8.
    (2, 8, 128, 37_000),
    // 84 bytes x 8 / 8 GT/s = 84 ns, x 130 / 128 = 85.3125 ns.
    (3, 1, 64, 85_312),
    (3, 8, 64, 10_664),
    // 276 bytes x 0.5 ns = 138 ns, x 130 / 128 = 140.15625 ns, / 16.
    (4, 16, 256, 8_759),
    (4, 2, 4, 6_093),
    (5, 16, 64, 1_333),
    (5, 32, 256, 2_189),
    (5, 12, 128, 3_131),
];

fn spec(generation: u8, lanes: u8, timing: Timing) -> Spec {
    let propagation = Range { min_ps: 2_000, max_ps: 2_000 };
    Spec { link: Link { propagation, ..common::link(generation, lanes) }, timing, ..Spec::default() }
}

/// Sends `count` writes at once; when each was delivered, from their sending on.
fn deliveries(plant: &mut Plant, payload: u32, count: u64) -> Vec<u64> {
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    let me = plant.function(0).0;
    let begin = plant.simulation.fabric().now();
    for number in 0..count {
        let header = Header::mem_write_bytes(me, 0, number * 256, payload).unwrap();
        plant.send(0, header, &vec![0; payload as usize]);
    }
    plant.settle();
    recorder.take().delivered.iter().map(|(at, _)| at.since(begin).as_ps()).collect()
}

#[test]
fn the_wire_takes_as_long_as_the_table_says() {
    for (generation, lanes, payload, wire) in WIRE {
        let row = format!("generation {generation} x{lanes}, {payload} bytes");
        let mut plant = single(&spec(generation, lanes, common::TIMING));
        let delivered = deliveries(&mut plant, payload, 5);
        // Two links, each with the wire and 2 ns of flight; the switch takes 100 ns, the root complex 60 ns.
        let first = 2 * (wire + 2_000) + 100_000 + 60_000;
        assert!(delivered[0].abs_diff(first) <= 4, "{row}: {} ps, not {first}", delivered[0]);
        // One after the other on the wire; both links are the same, so the second adds no gap.
        for pair in delivered.windows(2) {
            assert!((pair[1] - pair[0]).abs_diff(wire) <= 1, "{row}: {delivered:?}");
        }
    }
}

#[test]
fn data_link_packets_take_their_share() {
    let timing = Timing { dllp_permille: 200, ..common::TIMING };
    let mut plant = single(&spec(1, 1, timing));
    let delivered = deliveries(&mut plant, 4, 2);
    // 96 ns at four fifths of the rate.
    assert!((delivered[1] - delivered[0]).abs_diff(120_000) <= 1, "{delivered:?}");
}

/// One header credit: the next write leaves when the credit of the one before is back.
#[test]
fn a_credit_takes_its_way_back() {
    let mut spec = spec(4, 16, common::TIMING);
    spec.link.credits.posted_headers = 1;
    let mut plant = single(&spec);
    let delivered = deliveries(&mut plant, 4, 3);
    // Wire of 24 bytes at generation 4 x16: 761 ps. There: 2 ns and the switch's 100 ns; back: 2 ns and 30 ns of update. The link
    // above gives its credit back after 761 ps, 2 ns, 60 ns, 2 ns and 30 ns, so it's never waited for.
    for pair in delivered.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(761 + 102_000 + 32_000) <= 2, "{delivered:?}");
    }
}

fn transcript(seed: u64, work: u64) -> Vec<Seen> {
    let shape = Shape::Switch(vec![Shape::Agent, Shape::Switch(vec![Shape::Agent, Shape::Agent])]);
    let mut spec = Spec { seed, ..spec(3, 2, common::TIMING) };
    spec.link.propagation.max_ps = 9_000;
    let mut plant = plant(&[shape], &spec);
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    let mut rng = Rng::new(work);
    for tag in 0..200 {
        let from = rng.range(0, 2) as usize;
        let address = rng.range(0, 4_000) * 64;
        let me = plant.function(from).0;
        if rng.range(0, 1) == 0 {
            plant.send(from, Header::mem_read_bytes(me, tag, address, 64).unwrap(), &[]);
        } else {
            plant.send(from, Header::mem_write_bytes(me, 0, address, 64).unwrap(), &[tag as u8; 64]);
        }
        for _ in 0..rng.range(0, 9) {
            plant.simulation.step();
        }
    }
    plant.settle();
    assert!(plant.simulation.fabric().now() > Time::ZERO);
    recorder.take().transmitted
}

#[test]
fn the_same_seed_gives_the_same_tlps_at_the_same_time() {
    let first = transcript(7, 1);
    assert!(first.len() > 800, "{} TLPs", first.len());
    assert!(first == transcript(7, 1), "the same run was another");
    assert!(first != transcript(8, 1), "another seed changed nothing");
    assert!(first != transcript(7, 2), "other work changed nothing");
}
