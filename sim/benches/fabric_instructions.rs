//! Instructions of the fabric, counted by valgrind: `cargo bench -p mlx5-twin-sim --bench fabric_instructions`.
//! Fails if a TLP from end to end through one switch takes more than 800, or a push and a pop of the event queue more than 200. The goal for a
//! TLP is 400 in the long run. Fails, too, if it isn't flat: with credits that are plentiful, and again with credits that are short, the most that a TLP
//! takes must lie within 1.2 times the least, from 1 to 1,000 endpoints and from 64 to 100,000 outstanding requests.
//! Needs valgrind and `cargo install gungraun-runner --version 0.20.0`.

#![allow(missing_docs, reason = "gungraun's macros make undocumented items")]

mod support;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::event::{EventQueue, Wheel};
use mlx5_twin_sim::profile::{Credits, DataLink};
use mlx5_twin_sim::rng::Rng;
use std::hint::black_box;
use support::{Load, Size, TLPS_PER_TURN};

/// The most instructions for a TLP from end to end: the root complex or endpoint makes it, each of two links carries it, each of two
/// receivers has its header's bytes and what they were encoded from, and the other end acts on it.
const TLP_GATE: u64 = 800;
/// The same, where credits are infinite: 1.2 times the 741 of one endpoint, which is the least.
const PLENTIFUL_TLP_GATE: u64 = 889;
/// The same, where links are short of credits of every class: 1.2 times the 949 of a thousand endpoints with one request each.
const STARVED_TLP_GATE: u64 = 1_139;
/// The same with the credits of the default profile, which don't suffice for all: 2 % above what was measured with 100,000 requests outstanding.
const WAITING_TLP_GATE: u64 = 1_170;
/// The same on links whose data link layer is exact, about 10 % above what was measured.
const EXACT_TLP_GATE: u64 = 7_000;
/// The most instructions for one push and one pop.
const EVENT_GATE: u64 = 200;
/// Turns of the closed loop, and pushes and pops, that are counted.
const TURNS: u64 = 4_000;
/// The same for each of a thousand endpoints.
const THOUSANDS: u64 = 200;
const EVENTS: u64 = 20_000;

#[library_benchmark]
#[bench::endpoints_1(args = (1, 32), setup = Load::warm)]
#[bench::endpoints_4(args = (4, 32), setup = Load::warm)]
fn tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    // Given back, so that its end isn't counted.
    load
}

/// Short of credits of every class: each TLP waits on each link.
fn starve(credits: &mut Credits) {
    *credits = Credits {
        posted_headers: 4,
        posted_data: 32,
        nonposted_headers: 4,
        nonposted_data: 8,
        completion_headers: 4,
        completion_data: 32,
    };
}

/// Infinite credits.
fn plentiful(roots: u16, endpoints: u8, tags: u16) -> Load {
    Load::with_credits(Size::of(roots, endpoints, tags), |credits| *credits = Credits::INFINITE)
}

fn sized(roots: u16, endpoints: u8, tags: u16) -> Load {
    Load::with_credits(Size::of(roots, endpoints, tags), |_| {})
}

fn starved(roots: u16, endpoints: u8, tags: u16) -> Load {
    Load::with_credits(Size::of(roots, endpoints, tags), starve)
}

#[library_benchmark]
#[bench::endpoints_32(args = (1, 32, 32), setup = sized)]
#[bench::credit_bound(args = (1, 4, 256), setup = sized)]
fn waiting_tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    load
}

#[library_benchmark]
#[bench::plentiful_1(args = (1, 1, 64), setup = plentiful)]
#[bench::plentiful_4(args = (1, 4, 256), setup = plentiful)]
fn plentiful_tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    load
}

#[library_benchmark]
#[bench::starved_1(args = (1, 1, 64), setup = starved)]
#[bench::starved_4(args = (1, 4, 256), setup = starved)]
fn starved_tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    load
}

#[library_benchmark]
#[bench::pending_1000(args = (40, 25, 1), setup = sized)]
#[bench::pending_100000(args = (40, 25, 100), setup = sized)]
fn thousand_endpoints(mut load: Load) -> Load {
    black_box(load.run(THOUSANDS * 1_000));
    load
}

#[library_benchmark]
#[bench::plentiful_pending_1000(args = (40, 25, 1), setup = plentiful)]
#[bench::plentiful_pending_100000(args = (40, 25, 100), setup = plentiful)]
fn thousand_plentiful(mut load: Load) -> Load {
    black_box(load.run(THOUSANDS * 1_000));
    load
}

#[library_benchmark]
#[bench::starved_pending_1000(args = (40, 25, 1), setup = starved)]
#[bench::starved_pending_100000(args = (40, 25, 100), setup = starved)]
fn thousand_starved(mut load: Load) -> Load {
    black_box(load.run(THOUSANDS * 1_000));
    load
}

fn exact(endpoints: u8, tags: u16) -> Load {
    Load::on_links(Size::of(1, endpoints, tags), DataLink::Exact, |_| {})
}

#[library_benchmark]
#[bench::endpoints_1(args = (1, 32), setup = exact)]
#[bench::endpoints_4(args = (4, 32), setup = exact)]
fn exact_tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    load
}

/// A wheel with `pending` events within the next microsecond.
fn wheel(pending: u64) -> (Wheel<u64>, Rng) {
    let (mut wheel, mut rng) = (Wheel::new(), Rng::new(1));
    for number in 0..pending {
        wheel.push(Time(rng.range(0, 1_000_000)), number);
    }
    (wheel, rng)
}

#[library_benchmark]
#[bench::pending_64(args = (64), setup = wheel)]
#[bench::pending_1000(args = (1_000), setup = wheel)]
#[bench::pending_10000(args = (10_000), setup = wheel)]
fn event((mut wheel, mut rng): (Wheel<u64>, Rng)) -> Wheel<u64> {
    for _ in 0..EVENTS {
        if let Some((at, event)) = wheel.pop() {
            wheel.push(at + Time(rng.range(0, 1_000_000)), black_box(event));
        }
    }
    wheel
}

/// At most `gate` instructions for each TLP of so many turns.
fn limited(gate: u64, turns: u64) -> LibraryBenchmarkConfig {
    let most = gate * TLPS_PER_TURN * turns;
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, most)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

library_benchmark_group!(name = end_to_end, config = limited(TLP_GATE, TURNS), benchmarks = [tlp]);

library_benchmark_group!(
    name = end_to_end_waiting,
    config = limited(WAITING_TLP_GATE, TURNS),
    benchmarks = [waiting_tlp]
);

library_benchmark_group!(
    name = end_to_end_plentiful,
    config = limited(PLENTIFUL_TLP_GATE, TURNS),
    benchmarks = [plentiful_tlp]
);

library_benchmark_group!(
    name = end_to_end_starved,
    config = limited(STARVED_TLP_GATE, TURNS),
    benchmarks = [starved_tlp]
);

library_benchmark_group!(
    name = end_to_end_thousand,
    config = limited(WAITING_TLP_GATE, THOUSANDS * 1_000),
    benchmarks = [thousand_endpoints]
);

library_benchmark_group!(
    name = end_to_end_thousand_plentiful,
    config = limited(PLENTIFUL_TLP_GATE, THOUSANDS * 1_000),
    benchmarks = [thousand_plentiful]
);

library_benchmark_group!(
    name = end_to_end_thousand_starved,
    config = limited(STARVED_TLP_GATE, THOUSANDS * 1_000),
    benchmarks = [thousand_starved]
);

library_benchmark_group!(name = end_to_end_exact, config = limited(EXACT_TLP_GATE, TURNS), benchmarks = [exact_tlp]);

library_benchmark_group!(
    name = event_queue,
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, EVENT_GATE * EVENTS)])),
    benchmarks = [event]
);

main!(
    library_benchmark_groups = [
        end_to_end,
        end_to_end_waiting,
        end_to_end_plentiful,
        end_to_end_starved,
        end_to_end_thousand,
        end_to_end_thousand_plentiful,
        end_to_end_thousand_starved,
        end_to_end_exact,
        event_queue
    ]
);
