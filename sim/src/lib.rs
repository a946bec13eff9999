//! A PCI Express fabric at the level of TLPs, on a virtual clock.
//!
//! - [`tlp`]: the codec of transaction layer packets (non-flit mode).
//! - [`config`]: configuration space and capabilities, seen from the device.
//! - [`fabric`]: links with credits and timing, switches, root complexes, and the devices that others plug in.
//! - [`endpoint`]: a plain endpoint whose BAR is memory.
//! - [`host`]: host programs, written as async functions on the virtual clock, and bus enumeration.
//! - [`topology`]: what a fabric consists of, as a text says it.
//! - [`event`]: the queue of what happens next.
//! - [`ordering`]: what may pass what, and a checker of that.
//!
//! The crate knows nothing of mlx5. Everything here is deterministic: the same topology, seed and inputs
//! give the same TLPs at the same picosecond on every machine.

pub mod config;
pub mod endpoint;
pub mod event;
pub mod fabric;
pub mod host;
pub mod memory;
pub mod ordering;
pub mod probe;
pub mod profile;
pub mod rng;
pub mod time;
pub mod tlp;
pub mod topology;

pub use fabric::Fabric;
pub use time::Time;
