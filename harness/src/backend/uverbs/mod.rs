//! The backend `uverbs`: a device of the kernel's mlx5 driver, by ioctls on `/dev/infiniband/uverbsN`. Real hardware, or a Linux guest whose device is the model.
//!
//! No C library takes part: what is said to the kernel is that of its headers `include/uapi/rdma/`, in [`abi`] as tables.
//!
//! A program shares what it has with another one as rdma-core's programs do: it sends the context's file over a unix socket ([`share`]), and tells the handles. The
//! other one opens the context once more ([`Device::import`]).
//!
//! | file | what |
//! |---|---|
//! | `device` | which device, by sysfs |
//! | `open`, `context` | a context's file, and the contract on it |
//! | `abi`, `call` | the kernel's numbers, and one call of its interface |
//! | `refusal` | its answers as errors of the contract |
//! | `page`, `umem` | pages of the device, and registered memory |
//! | `events`, `commands` | files from which events and answers of asynchronous commands are read |
//! | `share` | what goes to another process |
//! | `raw` | what the compiler can't check of it |

pub mod abi;
mod call;
mod commands;
mod context;
mod device;
mod events;
mod open;
mod page;
mod raw;
mod refusal;
pub mod share;
mod umem;

pub use commands::{Answer, AsyncCommands};
pub use context::Context;
pub use device::Device;
