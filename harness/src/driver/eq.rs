//! Event queues: creation, the entries' owner bit, doorbells.

use std::sync::Arc;

use mlx5_twin_fw_cmds::constants::{ADAPTER_PAGE_SIZE, EQ_DOORBELL, EQ_DOORBELL_ARM};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{create_eq_in, create_eq_out, destroy_eq_in, eqc, eqe};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::command::{Command, HEADER};
use super::door::{Dma, Door};
use crate::backend::Error;

/// An entry of an event queue.
pub(super) type Entry = [u8; eqe::SIZE];

/// Counters of event queues have 24 bits in a doorbell.
const INDEX_MASK: u32 = 0xff_ffff;
/// After so many entries without a doorbell the consumer index is told: the device's spare entries (`MLX5_NUM_SPARE_EQE` of `core/lib/eq.h`).
const SPARE: usize = 0x80;

/// What an event queue is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    /// log2 of its entries.
    pub(super) log_size: u32,
    /// Its MSI-X vector.
    pub(super) vector: u32,
    /// The UAR whose doorbells it takes.
    pub(super) uar: u32,
    /// Event types, a bit for each; none for a queue of completions.
    pub(super) events: [u64; 4],
    /// Whose it is.
    pub(super) uid: u16,
}

/// An event queue's memory, before and while the device knows it.
#[derive(Debug)]
pub(super) struct EventQueue {
    door: Arc<dyn Door>,
    memory: Dma,
    spec: Spec,
    number: u8,
    consumer: u32,
}

impl EventQueue {
    /// Memory for a queue, and the command that creates it.
    pub(super) fn prepare(door: &Arc<dyn Door>, spec: Spec) -> Result<(EventQueue, Command), Error> {
        const EQC: u32 = create_eq_in::EQ_CONTEXT_ENTRY.bits();
        let entries = 1_usize << spec.log_size;
        let memory = Dma::new(door, (entries * eqe::SIZE).max(ADAPTER_PAGE_SIZE))?;
        let mut bytes = vec![0; entries * eqe::SIZE];
        for entry in bytes.chunks_exact_mut(eqe::SIZE) {
            // The device's first lap writes owner 0, so 1 says that nothing is there.
            eqe::OWNER.set(entry, 1)?;
        }
        door.dma_write(memory.iova(), &bytes)?;
        let mut command = Command::new(Opcode::CREATE_EQ, create_eq_in::SIZE)?.uid(spec.uid)?;
        let context: [(Field, u64); 3] = [
            (eqc::LOG_EQ_SIZE, u64::from(spec.log_size)),
            (eqc::UAR_PAGE, u64::from(spec.uar)),
            (eqc::INTR, u64::from(spec.vector)),
        ];
        for (field, value) in context {
            command = command.set(field.within(EQC), value)?;
        }
        let command =
            command.list(create_eq_in::EVENT_BITMASK, spec.events)?.list(create_eq_in::PAS, memory.pages())?;
        Ok((EventQueue { door: Arc::clone(door), memory, spec, number: 0, consumer: 0 }, command))
    }

    /// The device has created the queue: takes its number and arms it.
    pub(super) fn created(&mut self, output: &[u8]) -> Result<(), Error> {
        self.number = create_eq_out::EQ_NUMBER.get(output)? as u8;
        self.ring(EQ_DOORBELL_ARM)
    }

    /// The command that destroys it.
    pub(super) fn destroy(&self) -> Result<Command, Error> {
        Command::new(Opcode::DESTROY_EQ, HEADER)?.set(destroy_eq_in::EQ_NUMBER, u64::from(self.number))
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    pub(super) fn vector(&self) -> u32 {
        self.spec.vector
    }

    /// Tells the device the consumer index.
    fn ring(&self, doorbell: u64) -> Result<(), Error> {
        let value = u32::from(self.number) << 24 | self.consumer & INDEX_MASK;
        self.door.write32(u64::from(self.spec.uar) * ADAPTER_PAGE_SIZE as u64 + doorbell, value.to_be_bytes())
    }

    /// The entry at the consumer index, if the device has written it.
    fn next(&mut self) -> Result<Option<Entry>, Error> {
        let index = self.consumer & ((1 << self.spec.log_size) - 1);
        let address = self.memory.iova() + u64::from(index) * eqe::SIZE as u64;
        let mut owner = [0];
        self.door.dma_read(address + u64::from(eqe::OWNER.offset / 8), &mut owner)?;
        // The owner bit is the parity of the device's lap.
        if (u32::from(owner[0]) ^ self.consumer >> self.spec.log_size) & 1 != 0 {
            return Ok(None);
        }
        let mut entry = [0; eqe::SIZE];
        self.door.dma_read(address, &mut entry)?;
        self.consumer = self.consumer.wrapping_add(1);
        Ok(Some(entry))
    }

    /// Takes what the device has written, at most one lap of it, and arms the queue.
    pub(super) fn drain(&mut self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        while entries.len() < 1 << self.spec.log_size
            && let Some(entry) = self.next()?
        {
            entries.push(entry);
            if entries.len().is_multiple_of(SPARE) {
                self.ring(EQ_DOORBELL)?;
            }
        }
        self.ring(EQ_DOORBELL_ARM)?;
        Ok(entries)
    }
}
