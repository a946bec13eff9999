//! The command queue: slots, mailboxes, tokens, completion.

use std::sync::Arc;

use mlx5_twin_fw_cmds::constants::{
    ADAPTER_PAGE_SIZE, CMD_DATA_BLOCK_SIZE, CMD_INLINE_SIZE, CMD_MAILBOX_ALIGN, CMD_OWNER_HW, MAX_COMMANDS,
};
use mlx5_twin_fw_cmds::layout::{cmd_layout, init_seg, status_own};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::DeliveryStatus;

use super::command;
use super::door::{Dma, Door};
use super::mailbox::{Entry, block, blocks_for};
use crate::backend::Error;

/// How the driver learns that a command has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It looks at the entry's ownership bit.
    Polling,
    /// An event says so.
    Events,
}

/// Who waits for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A thread.
    Caller,
    /// The driver itself, which answers a request for pages.
    Pages,
}

/// A command under way.
#[derive(Debug)]
struct Pending {
    opcode: Opcode,
    purpose: Purpose,
    output_len: usize,
    blocks: Vec<u64>,
    output_blocks: Vec<u64>,
    /// An event said that it has completed.
    done: bool,
    /// Nobody waits for it any more; its slot and mailboxes stay taken until it completes.
    abandoned: bool,
}

/// The queue and its mailboxes.
#[derive(Debug)]
pub(super) struct CommandQueue {
    door: Arc<dyn Door>,
    memory: Dma,
    log_stride: u32,
    slots: Vec<Option<Pending>>,
    /// Mailbox blocks that are free, and the memory they lie in.
    free_blocks: Vec<u64>,
    block_memory: Vec<Dma>,
    token: u8,
    pub(super) mode: Mode,
}

impl CommandQueue {
    /// A queue with the number of slots and stride (log2) that the device asks for. It lies in one page.
    pub(super) fn new(door: &Arc<dyn Door>, log_size: u32, log_stride: u32) -> Result<CommandQueue, Error> {
        let slots = 1_usize.checked_shl(log_size).filter(|&slots| slots <= MAX_COMMANDS);
        let fits = log_size + log_stride <= ADAPTER_PAGE_SIZE.ilog2() && 1 << log_stride >= cmd_layout::SIZE;
        let Some(slots) = slots.filter(|_| fits) else {
            return Err(Error::Device(format!("command queue of 2^{log_size} entries of 2^{log_stride} bytes")));
        };
        Ok(CommandQueue {
            memory: Dma::new(door, ADAPTER_PAGE_SIZE)?,
            door: Arc::clone(door),
            log_stride,
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            free_blocks: Vec::new(),
            block_memory: Vec::new(),
            token: 0,
            mode: Mode::Polling,
        })
    }

    /// Where the queue lies.
    pub(super) fn iova(&self) -> u64 {
        self.memory.iova()
    }

    /// The slots of a purpose: the last one answers requests for pages, so that these never wait for anything else. A queue of a single slot has
    /// no choice.
    fn slots_for(&self, purpose: Purpose) -> std::ops::Range<usize> {
        let last = self.slots.len() - 1;
        match purpose {
            Purpose::Caller => 0..last.max(1),
            Purpose::Pages => last..last + 1,
        }
    }

    fn entry_address(&self, slot: usize) -> u64 {
        self.memory.iova() + ((slot as u64) << self.log_stride)
    }

    /// Takes mailbox blocks, more memory being allocated if none are free.
    fn take_blocks(&mut self, count: usize) -> Result<Vec<u64>, Error> {
        while self.free_blocks.len() < count {
            let memory = Dma::new(&self.door, ADAPTER_PAGE_SIZE)?;
            let last = memory.iova() + memory.len() as u64;
            self.free_blocks.extend((memory.iova()..last).step_by(CMD_MAILBOX_ALIGN as usize));
            self.block_memory.push(memory);
        }
        Ok(self.free_blocks.split_off(self.free_blocks.len() - count))
    }

    /// Posts a command and rings the doorbell: gives its slot. `None` if all slots are taken.
    pub(super) fn submit(&mut self, input: &[u8], output_len: usize, purpose: Purpose) -> Result<Option<usize>, Error> {
        let Some(slot) = self.slots_for(purpose).find(|&slot| self.slots[slot].is_none()) else { return Ok(None) };
        let inputs = blocks_for(input.len());
        let mut blocks = self.take_blocks(inputs + blocks_for(output_len))?;
        let output_blocks = blocks.split_off(inputs);
        self.token = self.token.checked_add(1).unwrap_or(1);
        let token = self.token;
        for (data, chain) in [(input, &blocks), (&[][..], &output_blocks)] {
            for (index, &address) in chain.iter().enumerate() {
                self.door.dma_write(address, &block(data, index, chain, token)?)?;
            }
        }
        let entry = Entry { input, input_blocks: &blocks, output_len, output_blocks: &output_blocks, token };
        self.door.dma_write(self.entry_address(slot), &entry.bytes()?)?;
        let opcode = command::opcode(input);
        self.slots[slot] =
            Some(Pending { opcode, purpose, output_len, blocks, output_blocks, done: false, abandoned: false });
        self.door.write32(u64::from(init_seg::CMD_DBELL.offset / 8), (1_u32 << slot).to_be_bytes())?;
        Ok(Some(slot))
    }

    /// An event said that these slots have completed, bit by bit. Bits of slots without a command mean nothing.
    pub(super) fn completed(&mut self, vector: u32) {
        for slot in (0..self.slots.len()).filter(|slot| vector >> slot & 1 == 1) {
            match &mut self.slots[slot] {
                Some(pending) if pending.abandoned => self.recycle(slot),
                Some(pending) => pending.done = true,
                None => {}
            }
        }
    }

    /// Frees a slot and its mailboxes. Whoever waits for a slot looks again.
    fn recycle(&mut self, slot: usize) {
        if self.is_full() {
            self.door.nudge();
        }
        if let Some(pending) = self.slots[slot].take() {
            self.free_blocks.extend(pending.blocks.iter().chain(&pending.output_blocks));
        }
    }

    /// Whether the device has given a slot's entry back, whatever the events say.
    fn given_back(&self, slot: usize) -> Result<Option<DeliveryStatus>, Error> {
        let mut byte = [0];
        self.door.dma_read(self.entry_address(slot) + u64::from(cmd_layout::STATUS_OWN.offset / 8), &mut byte)?;
        if status_own::OWNERSHIP.get(&byte)? == u64::from(CMD_OWNER_HW) {
            return Ok(None);
        }
        Ok(Some(DeliveryStatus(status_own::STATUS.get(&byte)? as u8)))
    }

    /// Takes the answer of a slot's command, if it has completed. `lost`: even if its event is missing.
    pub(super) fn take(&mut self, slot: usize, lost: bool) -> Option<Result<Vec<u8>, Error>> {
        let done = self.slots.get(slot)?.as_ref()?.done;
        if self.mode == Mode::Events && !done && !lost {
            return None;
        }
        match self.given_back(slot) {
            // An event for an entry that the device still owns: it must come again.
            Ok(None) => None,
            Ok(Some(delivery)) => {
                let answer = self.read_answer(slot, delivery);
                self.recycle(slot);
                Some(answer)
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn read_answer(&self, slot: usize, delivery: DeliveryStatus) -> Result<Vec<u8>, Error> {
        let Some(Some(pending)) = self.slots.get(slot) else { return Err(Error::Device("no such command".to_owned())) };
        if delivery != DeliveryStatus::OK {
            return Err(Error::Device(format!("{} wasn't delivered: delivery status {delivery}", pending.opcode)));
        }
        let mut output = vec![0; pending.output_len];
        let (inline, rest) = output.split_at_mut(pending.output_len.min(CMD_INLINE_SIZE));
        self.door.dma_read(self.entry_address(slot) + u64::from(cmd_layout::OUT.offset), inline)?;
        for (part, &address) in rest.chunks_mut(CMD_DATA_BLOCK_SIZE).zip(&pending.output_blocks) {
            self.door.dma_read(address, part)?;
        }
        command::check(pending.opcode, output)
    }

    /// Whether all slots for callers are taken.
    fn is_full(&self) -> bool {
        self.slots_for(Purpose::Caller).all(|slot| self.slots[slot].is_some())
    }

    /// Gives a command up. Its slot isn't used again before the device has given it back.
    pub(super) fn abandon(&mut self, slot: usize) {
        if let Some(Some(pending)) = self.slots.get_mut(slot) {
            pending.abandoned = true;
        }
    }

    /// The slot of the command that answers a request for pages, if one is under way.
    pub(super) fn pages_slot(&self) -> Option<usize> {
        let is_pages =
            |place: &Option<Pending>| place.as_ref().is_some_and(|pending| pending.purpose == Purpose::Pages);
        self.slots.iter().position(is_pages)
    }
}
