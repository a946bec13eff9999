//! Steps of a hostile guest, and how they are drawn from bytes.

use mlx5_twin_model::firmware::COMMANDS;

use super::recipes::Recipe;
use super::{BASE, BLOCK_COUNT, BLOCKS, DATA, END, PAGE, PAGES, QUEUE};

/// A part of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The initialization segment.
    Init,
    /// A UAR page, counted from the first one.
    Uar(u8),
    /// The MSI-X table, and what follows it.
    Msix,
    /// A response gateway page.
    Gateway(u8),
    /// Anywhere.
    Any(u32),
}

/// One thing that the guest does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sends a command in a sound entry and sound mailboxes; only its bytes are odd.
    Command { slot: u8, opcode: u16, uid: u8, op_mod: u16, extra: u8, output: u16, edits: Vec<(u16, u8)> },
    /// Sends a command that makes sense.
    Make { slot: u8, recipe: Recipe },
    /// Sends the last command again, so many times.
    Again { times: u8 },
    /// Writes a queue entry of which any field may be wrong.
    Entry { slot: u8, kind: u8, token: u8, opcode: u16, input: u32, output: u32, from: u64, to: u64, owner: u8 },
    /// Writes a chain of mailbox blocks: `stride` blocks from one to the next (0: each is its own next), the last one's next is `last`.
    Chain { first: u8, count: u8, stride: u8, token: u8, number: u8, last: u64 },
    /// Rings the command doorbell.
    Ring(u32),
    /// Writes some bytes of memory.
    Poke { address: u64, bytes: Vec<u8> },
    /// Writes to BAR 0.
    Store { place: Place, offset: u16, bytes: Vec<u8> },
    /// Reads from BAR 0.
    Load { place: Place, offset: u16, len: u8 },
    /// Writes an event queue's or a completion queue's doorbell.
    Doorbell { uar: u8, arm: bool, number: u8, consumer: u32, completion: bool },
    /// Posts so many requests, in a page, to a send queue of raw packets, tells of more or fewer, and rings its doorbell.
    Send { uar: u8, number: u8, page: u8, count: u8, opcode: u8, size: u8, posted: u16 },
    /// Programs an MSI-X vector.
    Vector { number: u8, address: u64, data: u32, masked: bool },
    /// Writes a dword of configuration space.
    ConfigWrite { register: u16, enables: u8, value: u32 },
    /// Reads a dword of configuration space.
    ConfigRead { register: u16 },
    /// Takes memory away, or gives it back.
    Map { first: u8, count: u8, on: bool },
    /// Function-level reset.
    Reset,
    /// The command queue is elsewhere, or a reset is asked for by the interface's state.
    Queue { address: u64, interface: u8 },
    /// Takes the right to reach memory away, or gives it back.
    BusMaster(bool),
    /// Sends what a driver sends up to INIT_HCA.
    BringUp,
    /// Puts right what a guest can put right: base addresses, memory, settings.
    Repair,
    /// Lets so many things happen.
    Wait(u16),
}

/// The steps that a string of bytes stands for. Every string stands for some.
#[derive(Clone, Debug)]
pub(crate) struct Script<'a> {
    bytes: &'a [u8],
    ethernet: bool,
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script { bytes, ethernet: false }
    }

    /// With what can be done to an Ethernet port.
    pub(crate) fn for_ethernet(bytes: &'a [u8]) -> Script<'a> {
        Script { bytes, ethernet: true }
    }

    /// What's left of the bytes.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte; 0 beyond the last one.
    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn dword(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn several(&mut self, most: u8) -> Vec<u8> {
        let count = self.byte() % most + 1;
        (0..count).map(|_| self.byte()).collect()
    }

    /// A number that is mostly small.
    fn number(&mut self) -> u32 {
        match self.byte() % 8 {
            0..=5 => u32::from(self.byte() % 16),
            6 => u32::from(self.word()),
            _ => self.dword(),
        }
    }

    /// A length of a command or its answer.
    fn length(&mut self) -> u32 {
        match self.byte() % 8 {
            0 => 16,
            1..=4 => u32::from(self.word() % 3000),
            5 => 16 << 20,
            6 => u32::from(self.byte()),
            _ => self.dword(),
        }
    }

    fn opcode(&mut self) -> u16 {
        let number = self.word();
        if number % 16 == 15 { number } else { COMMANDS[usize::from(number) % COMMANDS.len()].opcode.0 }
    }

    /// An address: mostly of a mailbox block, and else what a guest shouldn't name.
    pub(super) fn address(&mut self) -> u64 {
        match self.byte() % 16 {
            0..=6 => BLOCKS + 1024 * (u64::from(self.byte()) % BLOCK_COUNT),
            7 | 8 => DATA + PAGE * (u64::from(self.byte()) % (PAGES - 64)),
            9 => BLOCKS + u64::from(self.word()),
            10 => QUEUE + 1024 * u64::from(self.byte() % 4),
            // At both ends of memory, and across them.
            11 => [BASE - 1024, BASE - 4, END - 1024, END - 8, END][usize::from(self.byte() % 5)],
            // Interrupt messages.
            12 => 0xfee0_0000 + 1024 * u64::from(self.byte()),
            // Where BAR 0 may be.
            13 => [0xc000_0000, 0x10_0000_0000][usize::from(self.byte() % 2)] + u64::from(self.word()),
            14 => [0, 1 << 40, !0x3ff, !0xfff, u64::MAX][usize::from(self.byte() % 5)],
            _ => u64::from(self.dword()) << 32 | u64::from(self.dword()),
        }
    }

    fn place(&mut self) -> Place {
        match self.byte() % 8 {
            0 | 1 => Place::Init,
            2 | 3 => Place::Uar(self.byte() % 8),
            4 => Place::Msix,
            5 | 6 => Place::Gateway(self.byte() % 4),
            _ => Place::Any(self.dword()),
        }
    }

    fn offset(&mut self) -> u16 {
        match self.byte() % 4 {
            // Registers are at the beginning of each page.
            0..=2 => u16::from(self.byte() % 32) * 8,
            _ => self.word(),
        }
    }

    fn command(&mut self) -> Step {
        let (slot, opcode) = (self.byte() % 32, self.opcode());
        let selectors = self.byte();
        let uid = if selectors.is_multiple_of(4) { self.byte() % 8 } else { 0 };
        let op_mod = if (selectors / 4).is_multiple_of(4) { self.word() % 64 } else { 0 };
        let extra = if (selectors / 16).is_multiple_of(4) { self.byte() } else { 0 };
        let output = if selectors / 64 == 0 { self.word() % 6000 } else { 4112 };
        let edits = (0..self.byte() % 12).map(|_| (self.word() % 640, self.byte())).collect();
        Step::Command { slot, opcode, uid, op_mod, extra, output, edits }
    }

    fn send(&mut self) -> Step {
        let (selectors, count) = (self.byte(), self.byte() % 64);
        Step::Send {
            uar: self.byte() % 4,
            number: self.byte() % 4,
            page: self.byte() % 64,
            count,
            // Packets for the most part, and numbers as they should be.
            opcode: if selectors.is_multiple_of(4) { self.byte() } else { 0x0a },
            size: if (selectors / 4).is_multiple_of(4) { self.byte() % 64 } else { 4 },
            posted: if (selectors / 16).is_multiple_of(4) { self.word() } else { count.into() },
        }
    }

    fn entry(&mut self) -> Step {
        let selectors = self.byte();
        Step::Entry {
            slot: self.byte() % 32,
            kind: if selectors.is_multiple_of(8) { self.byte() } else { 7 },
            token: selectors / 8 % 4,
            opcode: self.opcode(),
            input: self.length(),
            output: self.length(),
            from: self.address(),
            to: self.address(),
            owner: if selectors >= 0xe0 { self.byte() } else { 1 },
        }
    }

    fn chain(&mut self) -> Step {
        let selectors = self.byte();
        Step::Chain {
            first: self.byte(),
            count: self.byte() % 33,
            stride: selectors / 4 % 4,
            token: selectors % 4,
            number: if selectors >= 0xf0 { self.byte() } else { 0 },
            last: self.address(),
        }
    }
}

impl Iterator for Script<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.bytes.is_empty() {
            return None;
        }
        let step = match self.byte() % 64 {
            0..=9 => self.command(),
            10..=13 if self.ethernet => Step::Make { slot: self.byte() % 32, recipe: Recipe::draw_ethernet(self) },
            10..=16 => Step::Make { slot: self.byte() % 32, recipe: Recipe::draw(self) },
            17 => Step::Again { times: self.byte() % 96 },
            18..=21 => self.entry(),
            22..=25 => self.chain(),
            26..=33 => {
                let one = self.byte();
                Step::Ring(if one < 0xe0 { 1 << (one % 32) } else { self.dword() })
            }
            34 | 35 => Step::Poke { address: BASE + u64::from(self.dword()) % (PAGES * PAGE), bytes: self.several(64) },
            36 | 37 if self.ethernet => self.send(),
            36..=39 => Step::Store { place: self.place(), offset: self.offset(), bytes: self.several(64) },
            40 | 41 => Step::Load { place: self.place(), offset: self.offset(), len: self.byte() % 64 + 1 },
            42..=44 => {
                let (selectors, number) = (self.byte(), self.byte() % 8);
                let (arm, completion) = (selectors & 1 == 1, selectors & 2 == 2);
                Step::Doorbell { uar: selectors / 4 % 4, arm, number, consumer: self.number(), completion }
            }
            45 => {
                let (number, selectors) = (self.byte() % 66, self.byte());
                let address = if selectors & 1 == 1 { 0xfee0_0000 } else { self.address() };
                Step::Vector { number, address, data: self.number(), masked: selectors & 2 == 2 }
            }
            46 | 47 => {
                let selectors = self.byte();
                let register = if selectors & 1 == 1 { self.word() % 1024 } else { u16::from(self.byte() % 64) };
                Step::ConfigWrite { register, enables: selectors >> 4, value: self.dword() }
            }
            48 => Step::ConfigRead { register: self.word() % 1024 },
            49 | 50 => Step::Map { first: self.byte() % 128, count: self.byte() % 64, on: self.byte() & 1 == 1 },
            51 => Step::Reset,
            52 => Step::Queue {
                address: self.address(),
                interface: if self.byte().is_multiple_of(4) { self.byte() % 8 } else { 0 },
            },
            53 => Step::BusMaster(self.byte() & 1 == 1),
            54 | 55 => Step::BringUp,
            56..=58 => Step::Repair,
            59 => Step::Wait(u16::from(self.byte()) * 16),
            _ => Step::Wait(u16::from(self.byte())),
        };
        Some(step)
    }
}
