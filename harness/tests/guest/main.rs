//! Real Linux guests whose device is the model.

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod rig;
mod runner;
