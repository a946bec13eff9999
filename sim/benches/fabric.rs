//! Time of the fabric. `cargo bench -p mlx5-twin-sim --bench fabric`; instruction counts are in `fabric_instructions`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::event::{EventQueue, Heap, Wheel};
use mlx5_twin_sim::rng::Rng;
use std::hint::black_box;
use support::{Load, Size, TLPS_PER_TURN};

/// One element is a TLP from end to end through the switch, with the bytes of its header at each hop.
fn tlps(c: &mut Criterion) {
    const TURNS: u64 = 3_200;
    let mut group = c.benchmark_group("tlp");
    group.throughput(Throughput::Elements(TURNS * TLPS_PER_TURN));
    for (endpoints, tags) in [(1, 32), (4, 32), (32, 32), (4, 256)] {
        let mut load = Load::warm(endpoints, tags);
        group.bench_function(format!("{endpoints} endpoints, {tags} tags"), |b| b.iter(|| load.run(TURNS)));
    }
    for memory_mib in [1, 64] {
        let mut load = Load::with_credits(Size { memory_mib, ..Size::of(1, 4, 32) }, |_| {});
        group.bench_function(format!("{memory_mib} MiB of memory"), |b| b.iter(|| load.run(TURNS)));
    }
    group.finish();
}

/// One pop, and one push of an event within the next microsecond.
fn events(c: &mut Criterion) {
    fn hold(queue: &mut impl EventQueue<u64>, rng: &mut Rng) {
        if let Some((at, event)) = queue.pop() {
            queue.push(at + Time(rng.range(0, 1_000_000)), black_box(event));
        }
    }
    let mut group = c.benchmark_group("event");
    for pending in [64, 1_000, 10_000] {
        let (mut wheel, mut heap, mut rng) = (Wheel::new(), Heap::new(), Rng::new(1));
        for number in 0..pending {
            let at = Time(rng.range(0, 1_000_000));
            wheel.push(at, number);
            heap.push(at, number);
        }
        group.bench_function(BenchmarkId::new("wheel", pending), |b| b.iter(|| hold(&mut wheel, &mut rng)));
        group.bench_function(BenchmarkId::new("heap", pending), |b| b.iter(|| hold(&mut heap, &mut rng)));
    }
    group.finish();
}

criterion_group!(benches, tlps, events);
criterion_main!(benches);
