//! The backend `uverbs`: a device of the kernel's mlx5 driver, by ioctls on `/dev/infiniband/uverbsN`. Real hardware, or a Linux guest whose device is the model.
//!
//! No C library takes part: what is said to the kernel is that of its headers `include/uapi/rdma/`, in [`abi`] as tables.
//!
//! A program shares what it has with another one as rdma-core's programs do: it sends the context's file over a unix socket ([`share`]), and tells the handles. The
//! other one opens the context once more ([`Device::import`]).

pub mod abi;
mod call;
mod commands;
mod context;
mod device;
mod events;
mod open;
mod order;
mod page;
mod raw;
mod refusal;
pub mod share;
mod umem;

pub use commands::{Answer, AsyncCommands};
pub use context::Context;
pub use device::Device;
