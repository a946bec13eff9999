//! What an mlx5 driver and its firmware say to each other, and nothing else: layouts of commands,
//! contexts, capability pages and queue entries, opcodes, statuses. No state, no I/O.
//!
//! Every number is declared once, in a table that a person can hold beside the Linux header it is
//! from, and a test compares the tables with that header (see the crate's `README.md`).
//!
//! ```
//! use mlx5_twin_fw_cmds::{layout::alloc_uar_out, opcode::Opcode, status::Status};
//!
//! let mut output = [0; alloc_uar_out::SIZE];
//! alloc_uar_out::STATUS.set(&mut output, Status::OK.0.into())?;
//! alloc_uar_out::UAR.set(&mut output, 0x100)?;
//! assert_eq!(output[8..12], [0, 0, 1, 0]);
//! assert_eq!(Opcode(0x802).to_string(), "ALLOC_UAR (0x802)");
//!
//! let error = alloc_uar_out::UAR.get(&output[..8]).unwrap_err();
//! assert_eq!(error.to_string(), "alloc_uar_out.uar needs a buffer of 12 bytes, this one has 8");
//! # Ok::<(), mlx5_twin_fw_cmds::field::FieldError>(())
//! ```

pub mod cap;
pub mod constants;
pub mod event;
pub mod field;
pub mod layout;
pub mod mad;
mod named;
pub mod object;
pub mod opcode;
pub mod status;
#[cfg(any(test, feature = "proptest"))]
pub mod strategies;
pub mod transport;
pub mod twin_v1;
