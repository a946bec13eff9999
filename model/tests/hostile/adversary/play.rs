//! A step as accesses of a guest.

use mlx5_twin_fw_cmds::constants::{BF_OFFSET, CQ_DOORBELL, EQ_DOORBELL, EQ_DOORBELL_ARM, SEND_WQE_BB, WQE_CQ_UPDATE};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{cmd_layout, cmd_prot_block, manage_pages_in, set_issi_in, wqe_ctrl_seg};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::resources::FIRST_QPN;
use mlx5_twin_model::firmware::{Firmware, spec};
use mlx5_twin_model::profile::{Bar0Map, Profile};

use super::recipes::{Firsts, SEND_RECORD, command};
use super::script::{Place, Step};
use super::{BLOCK_COUNT, BLOCKS, DATA, END, PAGE, QUEUE};

/// Registers of the initialization segment (`struct mlx5_init_seg` of device.h).
const CMDQ_ADDR_H: u64 = 0x10;
const CMDQ_ADDR_L: u64 = 0x14;
const CMD_DBELL: u64 = 0x18;
const UAR_PAGE: u64 = 4096;
/// Bytes of a command in a block.
const BLOCK_DATA: usize = 512;
/// The longest access of a CPU.
const LINE: u64 = 64;

/// What a guest has, whatever is between it and the device.
pub(crate) trait Guest {
    /// Writes to BAR 0: within a line of 64 bytes.
    fn store(&mut self, offset: u64, bytes: &[u8]);
    /// Reads from BAR 0, within a line too.
    fn load(&mut self, offset: u64, len: u8);
    /// Writes bytes of a dword of configuration space.
    fn config_write(&mut self, register: u16, enables: u8, value: u32);
    /// Reads a dword of configuration space.
    fn config_read(&mut self, register: u16);
    /// Writes its own memory, which it always can; all of it lies between `BASE` and `END`.
    fn poke(&mut self, address: u64, bytes: &[u8]);
    /// Lets the device reach pages, or not, counted from `BASE`.
    fn map(&mut self, first: u64, count: u64, on: bool);
    /// Function-level reset.
    fn reset(&mut self);
    /// Sets or clears Bus Master Enable.
    fn bus_master(&mut self, on: bool);
    /// Puts right all that a guest can put right.
    fn repair(&mut self);
    /// Lets so many things happen.
    fn wait(&mut self, amount: u16);
}

/// The commands of a driver's start, up to INIT_HCA, with so many pages for the firmware.
pub(crate) fn commands_of_bring_up(pages: usize) -> Vec<Vec<u8>> {
    let fields = [(manage_pages_in::OP_MOD, 1), (manage_pages_in::INPUT_NUM_ENTRIES, pages as u64)];
    let mut give = command(Opcode::MANAGE_PAGES, 0, 0, &fields);
    give.truncate(manage_pages_in::SIZE);
    // The firmware only keeps their addresses.
    give.extend((0..pages as u64).flat_map(|page| (1 << 32 | page << 12).to_be_bytes()));
    let mut commands = vec![
        command(Opcode::ENABLE_HCA, 0, 0, &[]),
        command(Opcode::SET_ISSI, 0, 0, &[(set_issi_in::CURRENT_ISSI, 1)]),
        give,
        command(Opcode::INIT_HCA, 0, 0, &[]),
    ];
    if pages == 0 {
        commands.remove(2);
    }
    commands
}

/// Plays steps.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    map: Bar0Map,
    firsts: Firsts,
    /// Pages that the firmware wants for its start.
    pages: usize,
    /// The last command, as often as it's wanted again.
    last: Vec<u8>,
}

impl Player {
    pub(crate) fn new(profile: &Profile) -> Player {
        let firmware = Firmware::new(profile).expect("firmware");
        let (map, limits) = (firmware.bar0().clone(), firmware.resources().limits());
        let sq = FIRST_QPN + limits.qps;
        let firsts = Firsts { uar: (map.uars.start / UAR_PAGE) as u32, sq, rq: sq + limits.sqs };
        let pages = (profile.pages.boot + profile.pages.init) as usize;
        Player { map, firsts, pages, last: command(Opcode::ALLOC_PD, 0, 0, &[]) }
    }

    fn offset(&self, place: Place, inside: u16) -> u64 {
        let inside = u64::from(inside);
        let at = match place {
            Place::Init => self.map.init_segment.start + inside % 0x1000,
            Place::Uar(page) => self.map.uars.start + UAR_PAGE * u64::from(page) + inside % UAR_PAGE,
            Place::Msix => self.map.msix_table.start + inside % 0x2000,
            Place::Gateway(page) => match &self.map.tlp_pages {
                Some(window) => {
                    window.offset
                        + window.stride * (u64::from(page) % u64::from(window.count.max(1)))
                        + inside % UAR_PAGE
                }
                None => inside,
            },
            Place::Any(offset) => u64::from(offset),
        };
        at % self.map.size
    }

    /// Carries out one step. Gives how many it was: sending the same again counts each time.
    pub(crate) fn play(&mut self, guest: &mut impl Guest, step: &Step) -> u64 {
        match *step {
            Step::Command { slot, opcode, uid, op_mod, extra, output, ref edits } => {
                let usual = spec(Opcode(opcode)).map_or(16, |spec| spec.input);
                let mut bytes = command(Opcode(opcode), uid, usual + 8 * usize::from(extra), &[]);
                bytes[6..8].copy_from_slice(&op_mod.to_be_bytes());
                for &(at, value) in edits {
                    // The header stays.
                    let at = 8 + usize::from(at) % (bytes.len() - 8);
                    bytes[at] = value;
                }
                self.last = bytes;
                send(guest, slot, &self.last, usize::from(output));
                guest.store(CMD_DBELL, &(1_u32 << (slot % 32)).to_be_bytes());
            }
            Step::Make { slot, recipe } => {
                self.last = recipe.bytes(self.firsts);
                send(guest, slot, &self.last, 272);
                guest.store(CMD_DBELL, &(1_u32 << (slot % 32)).to_be_bytes());
                guest.wait(64);
            }
            Step::Again { times } => {
                for slot in 0..times {
                    send(guest, slot % 32, &self.last, 272);
                    guest.store(CMD_DBELL, &(1_u32 << (slot % 32)).to_be_bytes());
                    if slot % 8 == 7 {
                        guest.wait(256);
                    }
                }
                return u64::from(times).max(1);
            }
            Step::Entry { slot, kind, token, opcode, input, output, from, to, owner } => {
                let fields = [
                    (cmd_layout::TYPE, kind.into()),
                    (cmd_layout::INLEN, input.into()),
                    (cmd_layout::IN_PTR, from),
                    (cmd_layout::OUT_PTR, to),
                    (cmd_layout::OUTLEN, output.into()),
                    (cmd_layout::TOKEN, token.into()),
                    (cmd_layout::STATUS_OWN, owner.into()),
                ];
                let mut entry = filled(cmd_layout::SIZE, &fields);
                entry[16..18].copy_from_slice(&opcode.to_be_bytes());
                // Pointers that aren't aligned don't fit their fields: they're written as they are.
                entry[8..16].copy_from_slice(&from.to_be_bytes());
                entry[48..56].copy_from_slice(&to.to_be_bytes());
                guest.poke(QUEUE + 64 * u64::from(slot % 32), &entry);
            }
            Step::Chain { first, count, stride, token, number, last } => {
                let place = |index: u64| BLOCKS + 1024 * ((u64::from(first) + index * u64::from(stride)) % BLOCK_COUNT);
                for index in 0..u64::from(count) {
                    let next = if index + 1 == u64::from(count) { last } else { place(index + 1) };
                    let control =
                        [(cmd_prot_block::BLOCK_NUM, index + u64::from(number)), (cmd_prot_block::TOKEN, token.into())];
                    let mut block = filled(cmd_prot_block::SIZE, &control);
                    let at = (cmd_prot_block::NEXT.offset / 8) as usize;
                    block[at..at + 8].copy_from_slice(&next.to_be_bytes());
                    guest.poke(place(index), &block);
                }
            }
            Step::Ring(vector) => guest.store(CMD_DBELL, &vector.to_be_bytes()),
            Step::Poke { address, ref bytes } => {
                let room = (END - address).min(bytes.len() as u64) as usize;
                guest.poke(address, &bytes[..room]);
            }
            Step::Store { place, offset, ref bytes } => {
                let at = self.offset(place, offset);
                let room = (LINE - at % LINE).min(bytes.len() as u64) as usize;
                guest.store(at, &bytes[..room]);
            }
            Step::Load { place, offset, len } => {
                let at = self.offset(place, offset);
                guest.load(at, len.min((LINE - at % LINE) as u8));
            }
            Step::Doorbell { uar, arm, number, consumer, completion } => {
                let page = self.map.uars.start + UAR_PAGE * u64::from(uar);
                if completion {
                    let words = [consumer, u32::from(number)].map(u32::to_be_bytes).concat();
                    guest.store(page + CQ_DOORBELL, &words);
                } else {
                    let value = u32::from(number) << 24 | consumer & 0xff_ffff;
                    guest.store(page + if arm { EQ_DOORBELL_ARM } else { EQ_DOORBELL }, &value.to_be_bytes());
                }
            }
            Step::Send { uar, number, page, count, opcode, size, posted } => {
                let sqn = u64::from(self.firsts.sq) + u64::from(number);
                let page = DATA + PAGE * u64::from(page);
                let mut at = 0;
                for index in 0..u64::from(count) {
                    let fields = [
                        (wqe_ctrl_seg::OPMOD_IDX_OPCODE, index << 8 | u64::from(opcode)),
                        (wqe_ctrl_seg::QPN_DS, sqn << 8 | u64::from(size)),
                        (wqe_ctrl_seg::FM_CE_SE, WQE_CQ_UPDATE.into()),
                    ];
                    guest.poke(page + at % PAGE, &filled(wqe_ctrl_seg::SIZE, &fields));
                    at += SEND_WQE_BB * u64::from(size).div_ceil(4);
                }
                guest.poke(SEND_RECORD + 4, &u32::from(posted).to_be_bytes());
                guest.store(self.map.uars.start + UAR_PAGE * u64::from(uar) + BF_OFFSET, &(sqn << 8).to_be_bytes());
            }
            Step::Vector { number, address, data, masked } => {
                let mut entry = [0; 16];
                entry[..8].copy_from_slice(&(address & !3).to_le_bytes());
                entry[8..12].copy_from_slice(&data.to_le_bytes());
                entry[12] = u8::from(masked);
                guest.store(self.map.msix_table.start + 16 * u64::from(number), &entry);
            }
            Step::ConfigWrite { register, enables, value } => guest.config_write(register, enables, value),
            Step::ConfigRead { register } => guest.config_read(register),
            Step::Map { first, count, on } => guest.map(first.into(), count.into(), on),
            Step::Reset => guest.reset(),
            Step::Queue { address, interface } => start_queue(guest, address, interface),
            Step::BusMaster(on) => guest.bus_master(on),
            Step::BringUp => {
                guest.repair();
                start_queue(guest, QUEUE, 0);
                for bytes in commands_of_bring_up(self.pages) {
                    send(guest, 0, &bytes, 16);
                    guest.store(CMD_DBELL, &1_u32.to_be_bytes());
                    guest.wait(400);
                }
            }
            Step::Repair => {
                guest.repair();
                start_queue(guest, QUEUE, 0);
            }
            Step::Wait(amount) => guest.wait(amount),
        }
        1
    }
}

/// A structure with these fields; a value that doesn't fit leaves its field 0.
fn filled(size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for &(field, value) in fields {
        let _ = field.set(&mut bytes, value);
    }
    bytes
}

/// Tells the device of the queue.
pub(crate) fn start_queue(guest: &mut impl Guest, address: u64, interface: u8) {
    guest.store(CMDQ_ADDR_H, &((address >> 32) as u32).to_be_bytes());
    let low = address as u32 & 0xffff_f000 | u32::from(interface) << 8;
    guest.store(CMDQ_ADDR_L, &low.to_be_bytes());
}

/// Writes a command with its mailboxes. Those of different slots overlap if they're long.
pub(crate) fn send(guest: &mut impl Guest, slot: u8, input: &[u8], output: usize) {
    let slot = slot % 32;
    let token = u64::from(slot) + 1;
    let first = u64::from(slot) * 7;
    let (inline, rest) = input.split_at(input.len().min(16));
    let inputs = rest.len().div_ceil(BLOCK_DATA) as u64;
    let outputs = output.saturating_sub(16).div_ceil(BLOCK_DATA) as u64;
    let place = |index: u64| BLOCKS + 1024 * ((first + index) % BLOCK_COUNT);
    let empty = [0; 0];
    let data = rest.chunks(BLOCK_DATA).chain(std::iter::repeat(&empty[..]));
    for (index, data) in (0..inputs + outputs).zip(data) {
        let (number, end) = if index < inputs { (index, inputs) } else { (index - inputs, outputs) };
        let next = if number + 1 == end { 0 } else { place(index + 1) };
        let control =
            [(cmd_prot_block::NEXT, next), (cmd_prot_block::BLOCK_NUM, number), (cmd_prot_block::TOKEN, token)];
        let mut block = filled(cmd_prot_block::SIZE, &control);
        block[..data.len()].copy_from_slice(data);
        guest.poke(place(index), &block);
    }
    let fields = [
        (cmd_layout::TYPE, 7),
        (cmd_layout::INLEN, input.len() as u64),
        (cmd_layout::IN_PTR, if inputs == 0 { 0 } else { place(0) }),
        (cmd_layout::OUT_PTR, if outputs == 0 { 0 } else { place(inputs) }),
        (cmd_layout::OUTLEN, output as u64),
        (cmd_layout::TOKEN, token),
        (cmd_layout::STATUS_OWN, 1),
    ];
    let mut entry = filled(cmd_layout::SIZE, &fields);
    entry[16..16 + inline.len()].copy_from_slice(inline);
    guest.poke(QUEUE + 64 * u64::from(slot), &entry);
}
