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
use mlx5_twin_sim::rng::Rng;
use std::hint::black_box;
use support::{Load, TLPS_PER_TURN};

/// The most instructions for a TLP from end to end: the root complex or endpoint makes it, each of two links carries it, each of two
/// receivers decodes its bytes, and the other end acts on it.
const TLP_GATE: u64 = 800;
/// The same for 32 endpoints, and for links that are short of credits: most TLPs wait at least once.
const WAITING_TLP_GATE: u64 = 1_390;
/// The most instructions for one push and one pop.
const EVENT_GATE: u64 = 200;
/// Turns of the closed loop, and pushes and pops, that are counted.
const TURNS: u64 = 4_000;
const EVENTS: u64 = 20_000;

#[library_benchmark]
#[bench::endpoints_1(args = (1, 32), setup = Load::warm)]
#[bench::endpoints_4(args = (4, 32), setup = Load::warm)]
fn tlp(mut load: Load) -> Load {
    black_box(load.run(TURNS));
    // Given back, so that its end isn't counted.
    load
}

#[library_benchmark]
#[bench::endpoints_32(args = (32, 32), setup = Load::warm)]
#[bench::credit_bound(args = (4, 256), setup = Load::warm)]
fn waiting_tlp(mut load: Load) -> Load {
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
    name = event_queue,
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, EVENT_GATE * EVENTS)])),
    benchmarks = [event]
);

main!(library_benchmark_groups = [end_to_end, end_to_end_waiting, event_queue]);
