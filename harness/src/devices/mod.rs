//! Emulated devices, each with a host program that exercises it: what `mlx5-twin run DEVICE` runs.

mod console;
mod report;
pub mod scratch;
pub mod serial;
mod setup;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mlx5_twin_sim::host::Host;

use crate::backend::Backend;
use crate::emulation::{self, Serving};

pub use console::Console;
pub use report::{FoundBar, FoundFunction, HostError, HostReport, HostSettings, Mismatch, Summary, TextReport};
pub use setup::{Driven, access_failed, side_by_side};

/// A host program that runs: an async function on the virtual clock.
pub type HostProgram = Pin<Box<dyn Future<Output = Result<HostReport, HostError>> + Send>>;

/// An emulated device.
#[derive(Clone, Copy)]
pub struct Device {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub description: &'static str,
    /// Whether its host program sends and receives the text of the [`Console`].
    pub text: bool,
    /// The emulation program: serves functions until nothing will ever happen again.
    pub emulate: fn(Arc<dyn Backend>, &Serving) -> Result<Summary, emulation::Error>,
    /// The host program: finds the function, configures and exercises it.
    pub host: fn(Host, HostSettings) -> HostProgram,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All devices, in the order in which the command line lists them.
pub const DEVICES: &[Device] = &[
    Device {
        name: "scratch",
        description: "a few registers, a counter and two interrupts: the smallest useful function",
        text: false,
        emulate: scratch::run,
        host: |host, settings| Box::pin(scratch::host::run(host, settings)),
    },
    Device {
        name: "serial",
        description: "a serial port with a 16550A, whose far end sends back each line of standard input",
        text: true,
        emulate: serial::run,
        host: |host, settings| Box::pin(serial::host::run(host, settings)),
    },
];

/// The device of that name.
pub fn find(name: &str) -> Option<&'static Device> {
    DEVICES.iter().find(|device| device.name == name)
}

/// The device of that name, among `own` and those that come with the project.
///
/// # Errors
/// There's none: a message that lists those there are.
pub fn known(own: &'static [Device], name: &str) -> Result<&'static Device, String> {
    own.iter().find(|device| device.name == name).or_else(|| find(name)).ok_or_else(|| {
        let all = own.iter().chain(DEVICES);
        let known = all.map(|device| format!("\n  {:<10}{}", device.name, device.description));
        format!("there is no device {name:?}; known devices:{}", known.collect::<String>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for device in DEVICES {
            let same = DEVICES.iter().filter(|other| other.name == device.name);
            assert_eq!(same.count(), 1, "{}", device.name);
            assert_eq!(find(device.name).map(|found| found.name), Some(device.name));
        }
        assert!(find("").is_none());
    }
}
