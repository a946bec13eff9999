//! `mlx5-twin check-order`.

use std::path::PathBuf;

use clap::Args;
use mlx5_twin_sim::Time;

use super::{Failure, print, print_json};
use crate::order::{self, OrderReport};

#[derive(Debug, Args)]
pub(super) struct CheckOrderArguments {
    /// Captures written by 'run', 'serve' or 'guest' with --capture, or in NetTLP's framing, as pcap or pcapng
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Judge pairs that came into a node by different links too: the longest time from a TLP's first symbol on any link to its place in the queues of the node at
    /// the other end, in nanoseconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    transit_ns: Option<u64>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Checks all files, then shows what was found.
pub(super) fn check_order(arguments: &CheckOrderArguments) -> Result<(), Failure> {
    let transit = arguments.transit_ns.map(Time::ns);
    let check = |path: &PathBuf| order::check(path, transit).map_err(|error| Failure::Input(error.to_string()));
    let report = OrderReport { files: arguments.files.iter().map(check).collect::<Result<_, _>>()? };
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    match report.violations() {
        0 => Ok(()),
        1 => Err(Failure::Run("1 pair of TLPs breaks the ordering table".to_owned())),
        count => Err(Failure::Run(format!("{count} pairs of TLPs break the ordering table"))),
    }
}
