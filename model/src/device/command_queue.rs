//! The command queue: entries and mailboxes fetched from memory by DMA, answers written back the same way.
//!
//! A command goes through these stages, each of which waits for one read or for time to pass: its entry is fetched; then the blocks of its input,
//! one by one, because each holds the address of the next; then where the blocks of its output are; then it takes its time. At the end of that it is
//! carried out and its answer is written: output blocks first, then the entry's own part, and last the byte that gives the entry back to the driver.

use mlx5_twin_fw_cmds::constants::{CMD_DATA_BLOCK_SIZE, CMD_INLINE_SIZE, CMD_MAILBOX_ALIGN, PCI_CMD_XPORT};
use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{cmd_layout, cmd_prot_block, mbox_in, status_own};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::DeliveryStatus;
use mlx5_twin_sim::time::Time;

use crate::bus::Bus;
use crate::firmware::{Executed, MIN_OUTPUT};

/// Slots of a queue: one for each bit of the doorbell.
const SLOTS: usize = 32;
/// The longest input of a command in bytes (ours): the page list of a memory key of 8 GiB.
const MAX_INPUT: u32 = 16 << 20;
/// The longest output (ours): each 128 bytes of it may be a TLP, which takes 4.4 KiB until it's on the wire, so this is 36 MiB.
const MAX_OUTPUT: u32 = 1 << 20;
/// Inputs longer than the first of these have the second together, in bytes (ours). With those that are shorter it's 96 MiB at most that a driver
/// can make the device hold.
const LONG_INPUT: usize = 1 << 20;
const LONG_INPUTS: usize = 64 << 20;
/// An output that is longer isn't written before all else has left (ours): 32 that aren't are 70 MiB of TLPs.
const LONG_OUTPUT: usize = 64 << 10;
/// What a slot keeps between commands, in bytes.
const KEPT: usize = 64 << 10;
const ENTRY: usize = cmd_layout::SIZE;
const BLOCK: usize = cmd_prot_block::SIZE;
/// A block's own control data begins here: of output blocks nothing else is read.
const CONTROL: usize = (cmd_prot_block::NEXT.offset / 8) as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Entry,
    Input,
    Output,
    Executing,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    /// Which command this is, so that a timer from before a reset is known as such.
    generation: u32,
    entry: [u8; ENTRY],
    token: u8,
    input: Vec<u8>,
    input_len: usize,
    output_len: usize,
    /// Where the block that is being fetched is.
    block: u64,
    /// Where the blocks of the output are.
    output: Vec<u64>,
    /// When the doorbell was rung, and whether a queue for command events was there then.
    rung: Time,
    events: bool,
}

/// What a fetched piece leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another piece is on its way, or there's no command.
    Waiting,
    /// The command in this slot has ended with a delivery error. `events` as for [`CommandQueue::execute`].
    Undeliverable { slot: usize, events: bool },
    /// The command in this slot is complete: its time begins.
    Execute(usize),
}

/// The state of the queue.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    address: u64,
    log_size: u8,
    log_stride: u8,
    slots: Vec<Slot>,
    generation: u32,
    /// Filled anew by each command.
    answer: Vec<u8>,
}

impl CommandQueue {
    pub(super) fn new(log_size: u8, log_stride: u8) -> CommandQueue {
        let slot = || Slot {
            stage: Stage::Idle,
            generation: 0,
            entry: [0; ENTRY],
            token: 0,
            input: Vec::new(),
            input_len: 0,
            output_len: 0,
            block: 0,
            output: Vec::new(),
            rung: Time::ZERO,
            events: false,
        };
        let slots = (0..SLOTS.min(1 << log_size)).map(|_| slot()).collect();
        CommandQueue { address: 0, log_size, log_stride, slots, generation: 0, answer: Vec::new() }
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn log_size(&self) -> u8 {
        self.log_size
    }

    pub(super) fn log_stride(&self) -> u8 {
        self.log_stride
    }

    /// The queue is at `address` from now on. Commands under way are forgotten.
    pub(super) fn set_address(&mut self, address: u64) {
        self.address = address;
        for slot in &mut self.slots {
            slot.forget();
        }
    }

    /// Forgets all commands and the queue's address.
    pub(super) fn reset(&mut self) {
        self.set_address(0);
    }

    /// The opcode of the command in `slot`.
    pub(super) fn opcode(&self, slot: usize) -> Opcode {
        let value = self.slots.get(slot).and_then(|slot| mbox_in::OPCODE.get(&slot.input).ok());
        Opcode(value.unwrap_or(0) as u16)
    }

    /// Whether the answer of the command in `slot` is so long that it has to wait for its turn.
    pub(super) fn is_long(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.output_len > LONG_OUTPUT)
    }

    /// Bytes of the long inputs under way.
    fn long_inputs(&self) -> usize {
        let under_way = self.slots.iter().filter(|slot| !matches!(slot.stage, Stage::Idle | Stage::Entry));
        under_way.map(|slot| slot.input_len).filter(|len| *len > LONG_INPUT).sum()
    }

    /// The input of the command in `slot`, as far as it has been fetched.
    pub(super) fn input(&self, slot: usize) -> &[u8] {
        self.slots.get(slot).map_or(&[], |slot| &slot.input)
    }

    /// When the doorbell was rung for the command in `slot`.
    pub(super) fn rung(&self, slot: usize) -> Time {
        self.slots.get(slot).map_or(Time::ZERO, |slot| slot.rung)
    }

    /// What a timer needs to find the command in `slot` again: 5 bits of slot, 27 bits of generation.
    pub(super) fn timer_token(&self, slot: usize) -> u64 {
        let generation = self.slots.get(slot).map_or(0, |slot| slot.generation);
        u64::from(generation << 5 | slot as u32)
    }

    /// The slot of a timer whose command still waits for it.
    pub(super) fn due(&self, token: u64) -> Option<usize> {
        let (slot, generation) = ((token & 0x1f) as usize, (token >> 5) as u32);
        let found = self.slots.get(slot)?;
        (found.stage == Stage::Executing && found.generation & 0x7ff_ffff == generation).then_some(slot)
    }

    /// The driver has written the doorbell: fetches the entries of the slots whose bit is set.
    pub(super) fn doorbell(&mut self, bus: &mut Bus<'_>, vector: u32, events: bool) {
        for number in 0..SLOTS {
            if vector >> number & 1 == 0 {
                continue;
            }
            match self.slots.get_mut(number) {
                Some(slot) if slot.stage == Stage::Idle && self.address != 0 => {
                    self.generation = self.generation.wrapping_add(1);
                    slot.generation = self.generation;
                    slot.stage = Stage::Entry;
                    slot.rung = bus.core.now();
                    slot.events = events;
                    bus.read(self.address + ((number as u64) << self.log_stride), ENTRY, number as u64);
                }
                _ => bus.counters.busy_doorbells += 1,
            }
        }
    }

    /// A piece has been fetched, or couldn't be (`None`): then the command ends with a delivery error.
    pub(super) fn fetched(&mut self, bus: &mut Bus<'_>, token: u64, data: Option<&[u8]>) -> Step {
        let number = token as usize;
        let Some(slot) = self.slots.get_mut(number) else { return Step::Waiting };
        let stage = slot.stage;
        let mut next = match (stage, data) {
            (Stage::Entry, Some(data)) => slot.take_entry(data),
            (Stage::Input, Some(data)) => slot.take_input(data),
            (Stage::Output, Some(data)) => slot.take_output(data),
            (Stage::Entry, None) => {
                // Without its entry nothing is known of the command, not even whether it's ours.
                slot.stage = Stage::Idle;
                return Step::Waiting;
            }
            (Stage::Input | Stage::Output, None) => Err(DeliveryStatus::FW_ERR),
            (Stage::Idle | Stage::Executing, _) => return Step::Waiting,
        };
        let long = (next == Ok(Stage::Input) && stage == Stage::Entry).then_some(slot.input_len);
        if let Some(long) = long.filter(|len| *len > LONG_INPUT)
            && long + self.long_inputs() > LONG_INPUTS
        {
            next = Err(DeliveryStatus::IN_LENGTH);
        }
        let Some(slot) = self.slots.get_mut(number) else { return Step::Waiting };
        match next {
            Ok(Stage::Input) => bus.read(slot.block, BLOCK, token),
            Ok(Stage::Output) => bus.read(slot.block + CONTROL as u64, BLOCK - CONTROL, token),
            Ok(Stage::Executing) => {
                slot.stage = Stage::Executing;
                return Step::Execute(number);
            }
            Ok(stage) => {
                slot.stage = stage;
                return Step::Waiting;
            }
            Err(status) => {
                let events = slot.events;
                self.give_back(bus, number, status);
                return Step::Undeliverable { slot: number, events };
            }
        }
        if let (Ok(stage), Some(slot)) = (next, self.slots.get_mut(number)) {
            slot.stage = stage;
        }
        Step::Waiting
    }

    /// Carries out the command in `slot` and writes its answer. Gives what came of it, and whether to post an event: if there was a queue
    /// for command events when the doorbell was rung. So the command that makes that queue posts none: its sender polls.
    pub(super) fn execute(
        &mut self,
        bus: &mut Bus<'_>,
        number: usize,
        execute: impl FnOnce(&[u8], &mut [u8]) -> Executed,
    ) -> Option<(Executed, bool)> {
        let slot = self.slots.get_mut(number)?;
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        answer.resize(slot.output_len, 0);
        let executed = execute(&slot.input, &mut answer);
        let (inline, rest) = answer.split_at(answer.len().min(CMD_INLINE_SIZE));
        for (block, &address) in rest.chunks(CMD_DATA_BLOCK_SIZE).zip(&slot.output) {
            bus.write(address, block);
        }
        let out = u64::from(cmd_layout::OUT.offset);
        bus.write(self.address + ((number as u64) << self.log_stride) + out, inline);
        let events = slot.events;
        answer.shrink_to(KEPT);
        self.answer = answer;
        self.give_back(bus, number, DeliveryStatus::OK);
        Some((executed, events))
    }

    /// Writes the entry's last dword: delivery status, and the entry is the driver's again.
    fn give_back(&mut self, bus: &mut Bus<'_>, number: usize, status: DeliveryStatus) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        if status != DeliveryStatus::OK {
            bus.counters.delivery_errors += 1;
        }
        let last = (cmd_layout::TOKEN.offset / 8) as usize;
        let owner = status.0 << status_own::OWNERSHIP.width;
        let dword = [slot.entry[last], slot.entry[last + 1], 0, owner];
        bus.write(self.address + ((number as u64) << self.log_stride) + last as u64, &dword);
        slot.forget();
    }
}

/// What a stage leads to: the next one, or the end.
type Next = Result<Stage, DeliveryStatus>;

impl Slot {
    /// There's no command any more, and no room for a long one is kept.
    fn forget(&mut self) {
        self.stage = Stage::Idle;
        self.input.clear();
        self.input.shrink_to(KEPT);
        self.output.clear();
        self.output.shrink_to(KEPT / size_of::<u64>());
    }

    fn take_entry(&mut self, data: &[u8]) -> Next {
        let Some(entry) = data.first_chunk::<ENTRY>() else { return Err(DeliveryStatus::FW_ERR) };
        self.entry = *entry;
        let field = |field: Field| field.get(entry).unwrap_or(0);
        if field(cmd_layout::STATUS_OWN) & 1 == 0 {
            // The entry isn't ours: the doorbell was rung for nothing.
            return Ok(Stage::Idle);
        }
        if field(cmd_layout::TYPE) != u64::from(PCI_CMD_XPORT) {
            return Err(DeliveryStatus::CMD_DESCR);
        }
        self.token = field(cmd_layout::TOKEN) as u8;
        let (input, output) = (field(cmd_layout::INLEN) as u32, field(cmd_layout::OUTLEN) as u32);
        if !(CMD_INLINE_SIZE as u32..=MAX_INPUT).contains(&input) {
            return Err(DeliveryStatus::IN_LENGTH);
        }
        if !(MIN_OUTPUT as u32..=MAX_OUTPUT).contains(&output) {
            return Err(DeliveryStatus::OUT_LENGTH);
        }
        (self.input_len, self.output_len) = (input as usize, output as usize);
        self.input.clear();
        self.input.extend_from_slice(cmd_layout::IN.slice(entry).map_err(table)?);
        self.output.clear();
        if self.input.len() < self.input_len {
            self.block = field(cmd_layout::IN_PTR);
            return aligned(self.block, DeliveryStatus::IN_PTR_ALIGN).map(|()| Stage::Input);
        }
        self.begin_output()
    }

    fn take_input(&mut self, data: &[u8]) -> Next {
        let number = (self.input.len() - CMD_INLINE_SIZE) / CMD_DATA_BLOCK_SIZE;
        let next = self.check_block(data, number)?;
        let bytes = cmd_prot_block::DATA.slice(data).map_err(table)?;
        let left = self.input_len - self.input.len();
        self.input.extend_from_slice(&bytes[..bytes.len().min(left)]);
        if self.input.len() < self.input_len {
            self.block = next;
            return aligned(next, DeliveryStatus::IN_PTR_ALIGN).map(|()| Stage::Input);
        }
        self.begin_output()
    }

    fn begin_output(&mut self) -> Next {
        if self.output_len <= CMD_INLINE_SIZE {
            return Ok(Stage::Executing);
        }
        self.block = cmd_layout::OUT_PTR.get(&self.entry).map_err(table)?;
        aligned(self.block, DeliveryStatus::OUT_PTR_ALIGN).map(|()| Stage::Output)
    }

    fn take_output(&mut self, data: &[u8]) -> Next {
        // What was read begins at the block's control data.
        let mut block = [0; BLOCK];
        let Some(room) = block.get_mut(CONTROL..CONTROL + data.len()) else { return Err(DeliveryStatus::FW_ERR) };
        room.copy_from_slice(data);
        let next = self.check_block(&block, self.output.len())?;
        self.output.push(self.block);
        let needed = (self.output_len - CMD_INLINE_SIZE).div_ceil(CMD_DATA_BLOCK_SIZE);
        if self.output.len() == needed {
            return Ok(Stage::Executing);
        }
        self.block = next;
        aligned(next, DeliveryStatus::OUT_PTR_ALIGN).map(|()| Stage::Output)
    }

    /// Checks a block's token and number: gives the address of the next one.
    fn check_block(&self, block: &[u8], number: usize) -> Result<u64, DeliveryStatus> {
        if cmd_prot_block::TOKEN.get(block).map_err(table)? != u64::from(self.token) {
            return Err(DeliveryStatus::TOK_ERR);
        }
        if cmd_prot_block::BLOCK_NUM.get(block).map_err(table)? != number as u64 {
            return Err(DeliveryStatus::BAD_BLK_NUM);
        }
        cmd_prot_block::NEXT.get(block).map_err(table)
    }
}

fn aligned(address: u64, error: DeliveryStatus) -> Result<(), DeliveryStatus> {
    if address != 0 && address.is_multiple_of(CMD_MAILBOX_ALIGN) { Ok(()) } else { Err(error) }
}

/// A piece is shorter than its layout: the device itself failed.
fn table(_: FieldError) -> DeliveryStatus {
    DeliveryStatus::FW_ERR
}
