//! Instructions of the fabric, counted by valgrind: `cargo bench -p mlx5-twin-sim --bench fabric_instructions`.
//! Fails if a TLP from end to end through one switch takes more than 800, or a push and a pop of the event queue more than 200. The goal for a
//! TLP is 400 in the long run. TLPs that must wait for credits take more; their gate is 2 % above what was measured.
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
/// The same for 32 endpoints, and for links that are short of credits: most TLPs wait at least once.
const WAITING_TLP_GATE: u64 = 1_390;
/// The same for a thousand endpoints below forty root complexes: with 100,000 requests outstanding, most events lie close together.
const THOUSAND_TLP_GATE: u64 = 1_560;
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
    let none = Credits {
        posted_headers: 0,
        posted_data: 0,
        nonposted_headers: 0,
        nonposted_data: 0,
        completion_headers: 0,
        completion_data: 0,
    };
    Load::with_credits(Size::of(roots, endpoints, tags), |credits| *credits = none)
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
#[bench::starved_1(args = (1, 1, 64), setup = starved)]
#[bench::starved_4(args = (1, 4, 256), setup = starved)]
fn waiting_tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    load
}

#[library_benchmark]
#[bench::pending_1000(args = (40, 25, 1), setup = sized)]
#[bench::pending_100000(args = (40, 25, 100), setup = sized)]
#[bench::plentiful_pending_1000(args = (40, 25, 1), setup = plentiful)]
#[bench::plentiful_pending_100000(args = (40, 25, 100), setup = plentiful)]
#[bench::starved_pending_1000(args = (40, 25, 1), setup = starved)]
#[bench::starved_pending_100000(args = (40, 25, 100), setup = starved)]
fn thousand_endpoints(mut load: Load) -> Load {
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

library_benchmark_group!(
    name = end_to_end,
    config = LibraryBenchmarkConfig::default().tool(
        Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, TLP_GATE * TLPS_PER_TURN * TURNS)])
    ),
    benchmarks = [tlp]
);

library_benchmark_group!(
    name = end_to_end_waiting,
    config = LibraryBenchmarkConfig::default().tool(
        Callgrind::with_args(["--cache-sim=no"])
            .hard_limits([(EventKind::Ir, WAITING_TLP_GATE * TLPS_PER_TURN * TURNS)])
    ),
    benchmarks = [waiting_tlp]
);

library_benchmark_group!(
    name = end_to_end_thousand,
    config = LibraryBenchmarkConfig::default().tool(
        Callgrind::with_args(["--cache-sim=no"])
            .hard_limits([(EventKind::Ir, THOUSAND_TLP_GATE * TLPS_PER_TURN * THOUSANDS * 1_000)])
    ),
    benchmarks = [thousand_endpoints]
);

library_benchmark_group!(
    name = end_to_end_exact,
    config = LibraryBenchmarkConfig::default().tool(
        Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, EXACT_TLP_GATE * TLPS_PER_TURN * TURNS)])
    ),
    benchmarks = [exact_tlp]
);

library_benchmark_group!(
    name = event_queue,
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, EVENT_GATE * EVENTS)])),
    benchmarks = [event]
);

main!(library_benchmark_groups = [end_to_end, end_to_end_waiting, end_to_end_thousand, end_to_end_exact, event_queue]);
