//! A simulated machine with a function of some memory, for tests of what a host notices.

use std::future::Future;
use std::sync::{Arc, Mutex};

use mlx5_twin_model::profile::Profile;
use mlx5_twin_sim::config::{Bar, MsixCapability, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::Faults;
use mlx5_twin_sim::host::{AddressMap, Host, Settings as Enumeration, enumerate};
use mlx5_twin_sim::tlp::Bdf;

use super::super::Description;
use crate::backend::sim::{Options, SimDevice};

/// Device ID of the function.
const DEVICE: u16 = 0x0077;
/// The PCI Express capability.
const PCIE: u8 = 0x10;

/// A function with 4 KiB that its software answers for, and two vectors.
pub(super) fn described() -> Description {
    let header = Type0 {
        vendor_id: 0xfff1,
        device_id: DEVICE,
        class_code: 0xff_0000,
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    };
    Description::new(0, header)
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 2, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0, 0x1000)
}

pub(super) fn machine(seed: u64) -> Arc<SimDevice> {
    let text = include_str!("../../../../fixtures/profiles/bluefield3-ib.toml");
    let profile: Profile = toml::from_str(text).expect("the default profile fits");
    SimDevice::new(&profile, seed, Options::default()).expect("comes up")
}

/// What a host has found: the function, and where its memory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: Bdf,
    pub(super) bar: u64,
    /// The dword of Device Control.
    pub(super) device_control: u16,
}

/// Finds the function and makes it bus master.
pub(super) async fn find(host: &Host) -> Place {
    let settings = Enumeration { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
    let found = enumerate(host, settings).await.expect("enumeration");
    let own = found.iter().find(|found| found.device == DEVICE).expect("the function");
    host.config_write_bytes(own.id, 1, 0b0011, 0b110).await.expect("Command");
    let device_control = own.capability(PCIE).expect("PCI Express") / 4 + 2;
    Place { id: own.id, bar: own.bars[0].address, device_control }
}

/// Starts a program of the host. What it gives is there when it has ended.
pub(super) fn start<T: Send + 'static>(
    sim: &SimDevice,
    program: impl Future<Output = T> + Send + 'static,
) -> Arc<Mutex<Option<T>>> {
    let place = Arc::new(Mutex::new(None));
    let result = Arc::clone(&place);
    sim.with_simulation(|simulation| {
        simulation.spawn(async move {
            let value = program.await;
            *result.lock().expect("no panic") = Some(value);
        });
    });
    place
}

pub(super) fn faults(sim: &SimDevice) -> Faults {
    sim.with_simulation(|simulation| simulation.fabric().faults())
}
