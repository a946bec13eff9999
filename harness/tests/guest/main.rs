//! Real Linux guests whose device is the model.

mod backends;
mod bytes;
mod cache;
#[path = "../common/mod.rs"]
mod common;
mod driver;
mod ends;
mod link_layers;
mod links;
mod mistakes;
mod processes;
mod recovery;
mod rig;
mod runner;
mod suite;
mod terminal;
mod uverbs;
mod vfio;
