//! Host programs: async functions on the virtual clock.
//!
//! A program gets a [`Host`], the view that software on the cores of one root complex has: loads and stores to devices,
//! configuration accesses, its own memory, interrupts and time. What it awaits is carried out by TLPs on the fabric:
//!
//! ```
//! # use mlx5_twin_sim::host::{AccessError, Host};
//! async fn first_register(host: Host, bar: u64) -> Result<u32, AccessError> {
//!     let v = host.read32(bar + 0x10).await?;
//!     host.sleep(mlx5_twin_sim::Time::us(1)).await;
//!     host.write32(bar + 0x14, v).await?;
//!     Ok(v)
//! }
//! ```
//!
//! Programs are polled by [`Simulation`] in the order in which they became ready, so that a run is deterministic.

mod access;
mod enumerate;
mod hotplug;
mod program;
mod simulation;

pub use access::{Access, AccessError, Data, LINE};
pub use enumerate::{
    AddressMap, Bar, EnumerationError, Found, Settings, enumerate, enumerate_below, enumerate_virtual,
};
pub use hotplug::{HotPlug, HotPlugError, SlotChange};
pub use program::Host;
pub use simulation::Simulation;
