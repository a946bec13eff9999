//! Base address registers and the Expansion ROM register (sections 7.5.1.2.1 and 7.5.1.2.4).

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::super::{ConfigError, PowerState};
use super::BAR0;

/// Index under which [`ConfigSpace::expansion_rom`] reports its range: one past the last BAR.
pub const ROM_INDEX: u8 = 6;

/// Byte offset of the first register.
pub(in super::super) const FIRST: u16 = BAR0;

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarKind {
    /// Memory, with a 32-bit base.
    Memory32,
    /// Memory, with a 64-bit base in this slot and the next.
    Memory64,
    /// I/O ports.
    Io,
}

impl BarKind {
    /// Smallest and largest size in bytes. The smallest are what the low, read-only bits leave:
    /// a memory BAR of PCI Express has at least 128 bytes. An I/O BAR asks for at most 256 bytes.
    const fn sizes(self) -> (u64, u64) {
        match self {
            BarKind::Memory32 => (128, 1 << 31),
            BarKind::Memory64 => (128, 1 << 63),
            BarKind::Io => (4, 256),
        }
    }
}

/// A base address register as its function is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bar {
    /// What it decodes.
    pub kind: BarKind,
    /// May memory be read ahead and writes merged? Not for I/O.
    pub prefetchable: bool,
    /// Size in bytes, a power of two: memory 128 and more, I/O 4 to 256.
    pub size: u64,
}

impl Bar {
    /// A 64-bit prefetchable memory BAR of `size` bytes.
    pub const fn memory64(size: u64) -> Bar {
        Bar { kind: BarKind::Memory64, prefetchable: true, size }
    }

    /// A 32-bit memory BAR of `size` bytes, not prefetchable.
    pub const fn memory32(size: u64) -> Bar {
        Bar { kind: BarKind::Memory32, prefetchable: false, size }
    }

    /// An I/O BAR of `size` bytes.
    pub const fn io(size: u64) -> Bar {
        Bar { kind: BarKind::Io, prefetchable: false, size }
    }

    /// The read-only low bits that tell its kind.
    const fn low_bits(self) -> u32 {
        match self.kind {
            BarKind::Memory32 => (self.prefetchable as u32) << 3,
            BarKind::Memory64 => 0b100 | (self.prefetchable as u32) << 3,
            BarKind::Io => 1,
        }
    }

    fn check(self, index: usize) -> Result<(), ConfigError> {
        let Bar { kind, size, .. } = self;
        if !size.is_power_of_two() {
            return Err(ConfigError::BarSize { index, size });
        }
        let (smallest, largest) = kind.sizes();
        if !(smallest..=largest).contains(&size) {
            return Err(ConfigError::BarRange { index, kind, size, smallest, largest });
        }
        if kind == BarKind::Io && self.prefetchable {
            return Err(ConfigError::BarPrefetchable { index });
        }
        Ok(())
    }
}

/// The addresses that a base address register decodes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BarRange {
    /// The register, 0 to 5, or [`ROM_INDEX`].
    pub index: u8,
    /// First address; a multiple of `size`.
    pub base: u64,
    /// Size in bytes, a power of two.
    pub size: u64,
    /// What it decodes.
    pub kind: BarKind,
}

impl BarRange {
    /// Offset of `address` within the range, or `None` outside of it.
    pub const fn offset(&self, address: u64) -> Option<u64> {
        let inside = self.size - 1;
        if address & !inside == self.base { Some(address & inside) } else { None }
    }
}

impl ConfigSpace {
    /// What base address register `index` decodes now. `None` without such a register, or if its
    /// space is off in Command, or the function is in D3hot.
    pub fn bar(&self, index: usize) -> Option<BarRange> {
        let bar = self.header.bars.get(index).copied().flatten()?;
        let command = self.command();
        let decodes = match bar.kind {
            BarKind::Io => command.io_space(),
            BarKind::Memory32 | BarKind::Memory64 => command.memory_space(),
        };
        if !decodes || self.power_state() != PowerState::D0 {
            return None;
        }
        Some(BarRange { index: index as u8, base: self.base(index, bar), size: bar.size, kind: bar.kind })
    }

    /// What all base address registers decode now.
    pub fn bars(&self) -> impl Iterator<Item = BarRange> + '_ {
        (0..self.header.bars.len()).filter_map(|index| self.bar(index))
    }

    /// Which memory BAR decodes `address` now, and the offset in it. If two overlap, the lower
    /// index answers (ours; the specification leaves it undefined).
    pub fn decode_memory(&self, address: u64) -> Option<(BarRange, u64)> {
        self.bars()
            .filter(|bar| bar.kind != BarKind::Io)
            .find_map(|bar| bar.offset(address).map(|offset| (bar, offset)))
    }

    /// Which I/O BAR decodes `address` now, and the offset in it.
    pub fn decode_io(&self, address: u32) -> Option<(BarRange, u64)> {
        self.bars()
            .filter(|bar| bar.kind == BarKind::Io)
            .find_map(|bar| bar.offset(u64::from(address)).map(|offset| (bar, offset)))
    }

    /// The register as it was asked for, whatever is programmed.
    pub fn bar_shape(&self, index: usize) -> Option<Bar> {
        self.header.bars.get(index).copied().flatten()
    }

    /// What the Expansion ROM register decodes now. `None` without one, if it or memory space is
    /// off, or in D3hot.
    pub fn expansion_rom(&self) -> Option<BarRange> {
        let size = self.header.rom_size;
        let register = self.dword(self.header.rom_at);
        let on =
            size != 0 && register & 1 != 0 && self.command().memory_space() && self.power_state() == PowerState::D0;
        on.then(|| BarRange {
            index: ROM_INDEX,
            base: u64::from(register & !(size - 1)),
            size: u64::from(size),
            kind: BarKind::Memory32,
        })
    }

    fn base(&self, index: usize, bar: Bar) -> u64 {
        let at = BAR0 + 4 * index as u16;
        let low = u64::from(self.dword(at));
        let register = match bar.kind {
            BarKind::Memory64 => low | u64::from(self.dword(at + 4)) << 32,
            BarKind::Memory32 | BarKind::Io => low,
        };
        register & !(bar.size - 1)
    }
}

/// The rows and watches of these registers. A type 0 header has 6 slots, type 1 has 2.
pub(in super::super) fn registers(bars: &[Option<Bar>]) -> Result<(Vec<Row>, Vec<Watch>), ConfigError> {
    const NAME: &str = "Base Address Register";
    let mut rows = Vec::new();
    let mut watches = Vec::new();
    let mut row = |index: usize, reset, rw| {
        let at = BAR0 + 4 * index as u16;
        rows.push(Row::new(at, NAME, reset, rw, 0, 0, 0));
        watches.push(Watch::changed(at, u32::MAX, Changed::BARS));
    };
    for (index, bar) in bars.iter().enumerate() {
        let Some(bar) = bar else { continue };
        bar.check(index)?;
        if index > 0 && bars[index - 1].is_some_and(|lower| lower.kind == BarKind::Memory64) {
            return Err(ConfigError::BarSlotTaken { index });
        }
        let writable = !(bar.size - 1);
        row(index, bar.low_bits(), writable as u32);
        if bar.kind == BarKind::Memory64 {
            if index + 1 == bars.len() {
                return Err(ConfigError::BarLastSlot { index, last: index });
            }
            row(index + 1, 0, (writable >> 32) as u32);
        }
    }
    Ok((rows, watches))
}

/// The row and watch of an Expansion ROM register of `size` bytes at byte `at`.
pub(super) fn rom_register(at: u16, size: u32) -> Result<(Row, Watch), ConfigError> {
    if !size.is_power_of_two() || !(0x800..=0x100_0000).contains(&size) {
        return Err(ConfigError::RomSize { size });
    }
    let writable = !(size - 1) | 1;
    let row = Row::new(at, "Expansion ROM Base Address", 0, writable, 0, 0, 0);
    Ok((row, Watch::changed(at, u32::MAX, Changed::BARS)))
}
