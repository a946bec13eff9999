//! The scratch function through the whole machine: host program, fabric, device, channel, emulation program and back.

use std::sync::{Arc, Mutex};

use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::devices::{self, HostReport, HostSettings};
use mlx5_twin_harness::profile;
use mlx5_twin_sim::host::{AddressMap, Settings};

#[test]
fn scratch_runs_on_the_simulation() {
    let loaded = profile::load(None).unwrap();
    let device = SimDevice::new(&loaded.profile, 1, Options::default()).unwrap();
    let scratch = devices::find("scratch").unwrap();
    let host = device.host();
    let report: Arc<Mutex<Option<Result<HostReport, _>>>> = Arc::default();
    let place = Arc::clone(&report);
    let settings = HostSettings { enumeration: Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 }, seed: 1, rounds: None };
    let program = (scratch.host)(host, settings);
    device.with_simulation(|simulation| {
        simulation.spawn(async move {
            *place.lock().unwrap() = Some(program.await);
        });
    });
    let backend = device.open().unwrap();
    let summary = (scratch.emulate)(backend).unwrap();
    let report = report.lock().unwrap().take().expect("the host program ended").unwrap();
    println!("{summary:?}\n{report:?}");
}
