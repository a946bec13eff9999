//! Time of a firmware command through the whole machine: entry, doorbell, DMA, answer, event, interrupt.
//!
//! `cargo bench -p mlx5-twin-harness --bench command`

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::Commands;

fn commands(c: &mut Criterion) {
    let commands = Commands::new();
    c.bench_function("command/NOP", |b| b.iter(|| commands.nop()));
    c.bench_function("command/QUERY_HCA_CAP", |b| b.iter(|| commands.query_hca_cap()));
}

criterion_group!(benches, commands);
criterion_main!(benches);
