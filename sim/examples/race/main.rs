//! Our side of a race with cocotbext-pcie: runs a workload file on the fabric, writes what was delivered, and says how long it took.
//!
//! ```sh
//! cargo run --release -p mlx5-twin-sim --example race -- WORKLOAD.json DELIVERED.jsonl RUNS [exact]
//! ```
//!
//! A root complex, a switch, an endpoint. The first run is recorded and not timed, the `RUNS` others are timed and not recorded: by the CPU time of
//! this process, without building and enumeration. `exact` simulates the data link layer packet by packet.
//! `sim/oracles/cocotbext/race.py` runs both sides.

mod side;

use std::error::Error;
use std::io::Write as _;

use mlx5_twin_sim::profile::DataLink;
use rustix::time::{ClockId, clock_gettime};
use side::Race;

/// CPU time of this process in seconds.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (workload, delivered, runs, data_link) = match args.as_slice() {
        [workload, delivered, runs] => (workload, delivered, runs, DataLink::Rated),
        [workload, delivered, runs, exact] if exact == "exact" => (workload, delivered, runs, DataLink::Exact),
        _ => return Err("usage: race WORKLOAD.json DELIVERED.jsonl RUNS [exact]".into()),
    };
    let runs: u32 = runs.parse()?;
    let mut race = Race::new(serde_json::from_str(&std::fs::read_to_string(workload)?)?, data_link)?;

    let lines = race.record();
    let [low, high, bar] = race.written()?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(delivered)?);
    for line in &lines {
        writeln!(file, "{}", serde_json::to_string(line)?)?;
    }
    writeln!(file, r#"{{"low":"{low:016x}","high":"{high:016x}","bar":"{bar:016x}"}}"#)?;
    file.flush()?;

    let start = cpu_time();
    for _ in 0..runs {
        race.run();
    }
    let seconds = cpu_time() - start;
    println!(r#"{{"runs":{runs},"tlps":{},"seconds":{seconds:.6}}}"#, lines.len());
    Ok(())
}
