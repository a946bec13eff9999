//! The workload of `sim/oracles/cocotbext` delivers what it delivers in cocotbext-pcie 0.2.16, of which `delivered.json` keeps counts and hashes: all
//! TLPs in order for each direction and class, and what memory holds at the end.

#[path = "../examples/race/side/mod.rs"]
mod side;

use std::collections::BTreeMap;
use std::path::Path;

use mlx5_twin_sim::profile::DataLink;
use serde::Deserialize;
use side::{Race, hash};

#[derive(Debug, Deserialize)]
struct Sums {
    streams: BTreeMap<String, (usize, String)>,
    memory: BTreeMap<String, String>,
}

fn file<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles/cocotbext").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_same_is_delivered_as_in_cocotbext_pcie() {
    let theirs: Sums = file("delivered.json");
    for data_link in [DataLink::Rated, DataLink::Exact] {
        let mut race = Race::new(file("workload.json"), data_link).expect("a fabric");
        let mut streams: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for line in race.record() {
            let stream = streams.entry(format!("{} {}", line.direction, line.class)).or_default();
            stream.0 += 1;
            stream.1 += &line.text();
        }
        for (_, text) in streams.values_mut() {
            *text = format!("{:016x}", hash(text.as_bytes()));
        }
        assert_eq!(streams, theirs.streams, "{data_link:?}");
        let written = race.written().expect("memory").map(|hash| format!("{hash:016x}"));
        let memory = ["low", "high", "bar"].map(str::to_owned).into_iter().zip(written).collect();
        assert_eq!(theirs.memory, memory, "{data_link:?}");
    }
}
