//! What the author of an emulated device uses: claim a function, receive requests, answer them.
//!
//! All calls block or return at once; there is no runtime. A [`Function`] is one PCI function on a channel of its own:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use mlx5_twin_sim::config::{Bar, Type0};
//! use mlx5_twin_sim::tlp::Status;
//! # use mlx5_twin_harness::{backend::Backend, emulation};
//! use mlx5_twin_harness::emulation::{Description, Function, Request};
//!
//! # fn serve(backend: Arc<dyn Backend>) -> Result<(), emulation::Error> {
//! let header = Type0 { vendor_id: 0xfff1, bars: [Some(Bar::memory32(4096)), None, None, None, None, None], ..Type0::default() };
//! let mut function = Function::claim(backend, &Description::new(0, header).transaction(0, 0, 4096))?;
//! while let Some(request) = function.next()? {
//!     match request {
//!         Request::Read(read) => function.complete(read.id, &vec![0xaa; read.at.len()])?,
//!         Request::Write(write) => println!("{} bytes written at {:#x}", write.data.len(), write.at.offset),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Configuration requests are answered here, from the function's [`ConfigSpace`](mlx5_twin_sim::config::ConfigSpace); what they
//! change is reported. An author who wants them says so in the [`Description`]. Several functions can share a [`Channel`], served
//! from one loop.

mod behaviour;
mod channel;
mod clock;
mod description;
mod ending;
mod error;
mod function;
mod handover;
mod port;
mod regions;
mod request;
mod state;
mod succession;

#[cfg(test)]
mod tests;

pub use crate::channel::{
    Counters, Export, ExportError, HotplugState, Limits, Order, PciEvent, Region, RegionKind, Role, Scope, Settings,
    Waited,
};
pub use behaviour::{Behaviour, Serving, serve};
pub use channel::Channel;
pub use clock::DeviceClock;
pub use description::{Description, DescriptionError};
pub use error::Error;
pub use function::Function;
pub use handover::FunctionState;
pub use port::{Port, PortStatus};
pub use request::{Access, Configuration, Doorbell, Dword, Message, Read, Request, RequestId, Write};
