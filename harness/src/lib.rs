//! How software meets an mlx5 device, real or simulated.
//!
//! - [`backend`]: the contract between emulation software and a device, and who keeps it.
//! - [`driver`]: the small user-space driver under the backends that have no kernel below them.
//! - [`channel`]: how TLPs reach software and how it answers: `twin-v1`.
//! - [`emulation`]: what the author of a device uses.
//! - [`devices`]: devices that come with the project, each with a host program that exercises it.
//! - [`profile`]: profile files.
//! - [`capture`]: TLPs recorded, read back and counted.
//! - [`replay`]: captures played into the simulation.
//! - [`faults`]: what goes wrong on the fabric by rule, and the record of it.
//! - [`run`], [`report`]: a device and its host program on the simulation, and what came of it.
//! - [`hardware`]: a device on a backend that isn't the simulation.
//! - [`check`]: the contract, tried on a device.
//! - [`serve`]: the device as a vfio-user server, for a guest in QEMU.
//! - [`guest`]: a Linux guest whose device is the model.
//! - [`cli`]: the command line.

pub mod backend;
mod bounded;
pub mod capture;
pub mod channel;
pub mod check;
pub mod cli;
pub mod devices;
pub mod driver;
pub mod emulation;
pub mod faults;
pub mod guest;
pub mod hardware;
mod hash;
pub mod order;
pub mod profile;
pub mod replay;
pub mod report;
pub mod run;
pub mod serve;
