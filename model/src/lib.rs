//! The device: mlx5 firmware as a state machine, the resources it owns, and the emulated functions that it shows to a host.
//!
//! - [`profile`]: what a device is made of, from a profile file.
//! - [`firmware`]: commands in, answers out, and what the firmware owns.
//! - [`device`]: the device on the fabric: BAR 0, command queue, event queues, interrupts. It reaches memory and software only by TLPs.
//! - [`emulation`]: TLP channels and emulated functions (`twin-v1`).
//! - [`Machine`]: host, DPU and device, put together as a profile says.

mod bus;
pub mod device;
pub mod emulation;
pub mod firmware;
mod machine;
pub mod profile;
#[cfg(any(test, feature = "proptest"))]
pub mod strategies;

pub use device::Dpu;
pub use machine::{BuildError, Machine};
