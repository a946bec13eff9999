//! The ring in registered memory through which messages come.

use std::fmt;
use std::sync::Arc;

use mlx5_twin_fw_cmds::twin_v1::MESSAGE_HEAD;
use mlx5_twin_fw_cmds::twin_v1::gateway::INDEX_MASK;

use super::super::{Error, Message};
use super::message::{self, Place};
use crate::backend::{Backend, RegisteredMemory};

/// Where the dword with the owner bit stands in a head. The bit is its lowest one.
const OWNER_AT: usize = MESSAGE_HEAD - 4;
/// Memory is registered in whole pages of this many bytes.
const PAGE: usize = 4096;

/// Software's side of the ring.
pub(super) struct Ring {
    memory: Arc<dyn RegisteredMemory>,
    log_slots: u32,
    log_stride: u32,
    /// The number of the next message, counted without end: its `sequence` is the low 32 bits, its index the low 24.
    next: u64,
    /// The number up to which the device was told that slots are free.
    released: u64,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = 1_u32 << self.log_slots;
        f.debug_struct("Ring")
            .field("slots", &slots)
            .field("next", &self.next)
            .field("released", &self.released)
            .finish()
    }
}

impl Ring {
    /// An empty ring of 2^`log_slots` slots (at most 2^23) of 2^`log_stride` bytes.
    pub(super) fn create(backend: &dyn Backend, log_slots: u32, log_stride: u32) -> Result<Ring, Error> {
        let needs = 1_usize << (log_slots + log_stride);
        let memory = backend.register_umem(needs.next_multiple_of(PAGE))?;
        if memory.len() < needs {
            return Err(Error::TooSmall { what: "ring's registered memory", len: memory.len(), needs });
        }
        Ok(Ring { memory, log_slots, log_stride, next: 0, released: 0 })
    }

    pub(super) fn log_slots(&self) -> u32 {
        self.log_slots
    }

    pub(super) fn log_stride(&self) -> u32 {
        self.log_stride
    }

    pub(super) fn umem_id(&self) -> u32 {
        self.memory.umem_id()
    }

    /// The number of the message that has this 24-bit index and isn't older than the next one to be taken.
    pub(super) fn number_of(&self, index: u32) -> u64 {
        self.next + u64::from(index.wrapping_sub(self.next as u32) & INDEX_MASK)
    }

    /// Are there so many slots to free that the device should be told? A quarter of them.
    pub(super) fn owes(&self) -> bool {
        self.next - self.released >= (1 << self.log_slots >> 2).max(1)
    }

    /// The consumer index to tell the device now.
    pub(super) fn release(&mut self) -> u32 {
        self.released = self.next;
        self.next as u32 & INDEX_MASK
    }

    /// Takes the next message, if it's there. One that breaks a rule is taken too.
    pub(super) fn poll(&mut self) -> Result<Option<(Place, Message)>, Error> {
        let slot = self.next as u32 & ((1 << self.log_slots) - 1);
        let at = (slot as usize) << self.log_stride;
        let [.., last] = self.memory.load32(at + OWNER_AT)?;
        let lap = self.next >> self.log_slots & 1;
        if u64::from(last & 1) == lap {
            return Ok(None);
        }
        let place = Place { slot, number: self.next };
        self.next += 1;
        let mut head = [0; MESSAGE_HEAD];
        self.memory.read(at, &mut head)?;
        let room = (1 << self.log_stride) - MESSAGE_HEAD;
        let message = message::parse(place, &head, room, |payload| self.memory.read(at + MESSAGE_HEAD, payload))?;
        Ok(Some((place, message)))
    }

    /// Goes on with this number, as if so many messages had been taken.
    #[cfg(test)]
    pub(super) fn go_on_at(&mut self, number: u64) {
        self.next = number;
        self.released = number;
    }
}
