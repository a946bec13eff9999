//! A Linux guest whose device is the model.
//!
//! - [`assets`]: what the guest is made of: QEMU, a kernel, a root image.

pub mod assets;
