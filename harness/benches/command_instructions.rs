//! Instructions of a firmware command through the whole machine, counted by valgrind.
//!
//! `cargo bench -p mlx5-twin-harness --bench command_instructions`; needs valgrind and `cargo install gungraun-runner --version 0.20.0`.

#![allow(missing_docs, reason = "gungraun's macros make undocumented items")]

mod support;

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use std::hint::black_box;
use support::Commands;

/// How many commands are counted.
const COMMANDS: u64 = 100;
/// The most instructions for one, 2 % above what it took when this was set: NOP has no mailboxes, the answer of QUERY_HCA_CAP fills nine.
const NOP_GATE: u64 = 24_400;
const QUERY_GATE: u64 = 86_500;

#[library_benchmark]
#[bench::sim(setup = Commands::new)]
fn nop(commands: Commands) -> Commands {
    for _ in 0..COMMANDS {
        black_box(commands.nop());
    }
    // Given back, so that its end isn't counted.
    commands
}

#[library_benchmark]
#[bench::sim(setup = Commands::new)]
fn query_hca_cap(commands: Commands) -> Commands {
    for _ in 0..COMMANDS {
        black_box(commands.query_hca_cap());
    }
    commands
}

library_benchmark_group!(
    name = nops,
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, NOP_GATE * COMMANDS)])),
    benchmarks = [nop]
);

library_benchmark_group!(
    name = queries,
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, QUERY_GATE * COMMANDS)])),
    benchmarks = [query_hca_cap]
);

main!(library_benchmark_groups = [nops, queries]);
