//! Faults on the links by rule, below a real driver: links that deliver all, if late, do it no harm, and the capture plays the same again.

use serde_json::Value;

use crate::common::{Folder, text, twin};
use crate::driver::{ACTIVE, complaints, nothing_is_alive};
use crate::rig::Guest;

/// Slow links, and noisy ones.
const RULES: &str = "
[[faults]]
kind = 'delay'
link = 'mlx5'
direction = 'upstream'
tlp = ['MRd', 'MWr']
every = 20
delay_ps = [1_000, 3_000_000]
in_order = true

[[faults]]
kind = 'bad-lcrc'
link = 'mlx5'
probability_ppm = 20_000
replays = 2
";

#[test]
fn a_driver_works_over_bad_links() {
    let Some(guest) = Guest::new() else { return };
    let folder = Folder::new("links");
    let rules = folder.write("rules.toml", RULES.as_bytes());
    let [fired, capture] = ["fired.toml", "links.pcapng"].map(|name| folder.file(name));
    let guest = guest.arguments(&["--faults", &rules, "--faults-fired", &fired, "--capture", &capture]);
    let script = format!("{ACTIVE}active\nrmmod rdma_ucm ib_umad\nrmmod mlx5_ib mlx5_core || exit 8\ndmesg");
    let result = guest.json(&script);
    assert_eq!(result["exit_code"], 0, "{result:#}");
    let log = result["stdout"].as_str().expect("a text");
    assert!(log.contains("mlx5_core"), "it's the kernel's log");
    assert_eq!(complaints(log, &[]), [""; 0]);
    let server = &result["server"];
    nothing_is_alive(server);
    for kind in ["delay", "bad-lcrc"] {
        assert!(server["fired"][kind].as_u64().is_some_and(|count| count > 20), "{kind}: {:#}", server["fired"]);
    }
    let replayed = twin(&["replay", "--json", "--faults", &fired, &capture]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let report: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
    let row = &report["files"][0];
    assert_eq!(row["tlps_different"], 0, "{row:#}");
    assert!(row["tlps_equal"].as_u64().is_some_and(|count| count > 1_000), "{row:#}");
}
