//! A hostile guest: what it may do, drawn from a string of bytes, so that random tests and fuzzers share it.
//!
//! - `script`: steps, and how bytes become some.
//! - `recipes`: commands with arguments that make sense, so that the rest happens to a device that has something.
//! - `play`: a step as accesses of a [`Guest`], whatever the device is behind.
//!
//! The files are taken in by path where they're needed: nothing here is part of the model.

// Not everybody who takes this in needs all of it.
#![allow(dead_code, unused_imports)]

mod play;
mod recipes;
mod script;

pub(crate) use play::{Guest, Player, commands_of_bring_up, send, start_queue};
pub(crate) use recipes::{Recipe, command};
pub(crate) use script::{Script, Step};

/// Where the guest's memory is: the command queue, then mailbox blocks, then pages for all else.
pub(crate) const BASE: u64 = 0x4000_0000;
/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;
/// Pages of memory.
pub(crate) const PAGES: u64 = 128;
/// The command queue.
pub(crate) const QUEUE: u64 = BASE;
/// The first mailbox block, and how many there are.
pub(crate) const BLOCKS: u64 = QUEUE + PAGE;
pub(crate) const BLOCK_COUNT: u64 = 252;
/// The first page that queues and the like may have.
pub(crate) const DATA: u64 = BASE + 64 * PAGE;
/// The first address that isn't memory any more.
pub(crate) const END: u64 = BASE + PAGES * PAGE;

/// A sequence of bytes that a seed gives (SplitMix64).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31).to_le_bytes()
    });
    words.flatten().take(len).collect()
}
