//! The type 1 header: of root ports and switch ports (section 7.5.1.3).

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::super::{ConfigError, PowerState};
use super::bar::{self, Bar};
use super::{COMMON, COMMON_WATCHES, HeaderState, INTERRUPT, Identity, STATUS_RW1C, Status};

/// Byte offset of Primary, Secondary and Subordinate Bus Number.
const BUSES: u16 = 0x18;
/// Byte offset of I/O Base, I/O Limit and Secondary Status.
const IO_WINDOW: u16 = 0x1c;
/// Byte offset of Memory Base and Memory Limit.
const MEMORY_WINDOW: u16 = 0x20;
/// Byte offset of Prefetchable Memory Base and Limit.
const PREFETCH_WINDOW: u16 = 0x24;
/// Byte offset of Prefetchable Base Upper 32 Bits.
const PREFETCH_BASE_UPPER: u16 = 0x28;
/// Byte offset of Prefetchable Limit Upper 32 Bits.
const PREFETCH_LIMIT_UPPER: u16 = 0x2c;
/// Byte offset of I/O Base and Limit Upper 16 Bits.
const IO_UPPER: u16 = 0x30;
/// Byte offset of the Expansion ROM register.
const ROM: u16 = 0x38;

/// I/O Base and Limit tell in their low bits that they have 32 bits, with the upper halves at 0x30.
const IO_RESET: u32 = 0x0101;
/// Prefetchable Base and Limit tell in their low bits that they have 64 bits.
const PREFETCH_RESET: u32 = 0x0001_0001;
/// Interrupt Line, and in Bridge Control: parity error response, SERR#, ISA and secondary bus
/// reset. VGA forwarding is not offered, so its bits are read-only 0.
const CONTROL_RW: u32 = 0x0047_00ff;

#[rustfmt::skip]
const ROWS: [Row; 8] = [
    //       offset                name                                  reset           rw           rw1c         sticky flr
    Row::new(BUSES,                "Bus Numbers",                        0,              0x00ff_ffff, 0,           0,     0),
    Row::new(IO_WINDOW,            "I/O Base, Limit, Secondary Status",  IO_RESET,       0x0000_f0f0, STATUS_RW1C, 0,     0),
    Row::new(MEMORY_WINDOW,        "Memory Base, Limit",                 0,              0xfff0_fff0, 0,           0,     0),
    Row::new(PREFETCH_WINDOW,      "Prefetchable Base, Limit",           PREFETCH_RESET, 0xfff0_fff0, 0,           0,     0),
    Row::new(PREFETCH_BASE_UPPER,  "Prefetchable Base Upper 32 Bits",    0,              0xffff_ffff, 0,           0,     0),
    Row::new(PREFETCH_LIMIT_UPPER, "Prefetchable Limit Upper 32 Bits",   0,              0xffff_ffff, 0,           0,     0),
    Row::new(IO_UPPER,             "I/O Base, Limit Upper 16 Bits",      0,              0xffff_ffff, 0,           0,     0),
    Row::new(INTERRUPT,            "Interrupt Line, Pin, Bridge Control", 0,             CONTROL_RW,  0,           0,     0),
];

const WATCHES: [Watch; 8] = [
    Watch::changed(BUSES, 0x00ff_ffff, Changed::BUS_NUMBERS),
    Watch::changed(IO_WINDOW, 0xffff, Changed::WINDOWS),
    Watch::changed(MEMORY_WINDOW, u32::MAX, Changed::WINDOWS),
    Watch::changed(PREFETCH_WINDOW, u32::MAX, Changed::WINDOWS),
    Watch::changed(PREFETCH_BASE_UPPER, u32::MAX, Changed::WINDOWS),
    Watch::changed(PREFETCH_LIMIT_UPPER, u32::MAX, Changed::WINDOWS),
    Watch::changed(IO_UPPER, u32::MAX, Changed::WINDOWS),
    Watch::changed(INTERRUPT, 0xffff_0000, Changed::BRIDGE_CONTROL),
];

/// Description of a bridge's header: bus numbers, a 32-bit I/O window, a memory window and a
/// 64-bit prefetchable window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type1 {
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class Code, 24 bits. A PCI-to-PCI bridge, and so every port, is 0x060400.
    pub class_code: u32,
    /// Base address registers of the bridge itself, by slot.
    pub bars: [Option<Bar>; 2],
    /// Size of the expansion ROM in bytes: a power of two from 2 KiB to 16 MiB.
    pub expansion_rom: Option<u32>,
    /// INTx pin: 0 for none, 1 to 4 for A to D.
    pub interrupt_pin: u8,
    /// Has the device functions other than 0?
    pub multi_function: bool,
}

impl Default for Type1 {
    fn default() -> Type1 {
        Type1 {
            vendor_id: 0,
            device_id: 0,
            revision: 0,
            class_code: 0x06_0400,
            bars: [None; 2],
            expansion_rom: None,
            interrupt_pin: 0,
            multi_function: false,
        }
    }
}

impl Type1 {
    /// A configuration space with this header and no capabilities.
    ///
    /// # Errors
    /// As [`Type0::build`](super::type0::Type0::build).
    pub fn build(&self) -> Result<ConfigSpace, ConfigError> {
        let (mut rows, mut watches) = bar::registers(&self.bars)?;
        rows.extend(COMMON);
        rows.extend(ROWS);
        watches.extend(COMMON_WATCHES);
        watches.extend(WATCHES);
        if let Some(size) = self.expansion_rom {
            let (row, watch) = bar::rom_register(ROM, size)?;
            rows.push(row);
            watches.push(watch);
        }
        let [bar0, bar1] = self.bars;
        let header = HeaderState {
            bridge: true,
            bars: [bar0, bar1, None, None, None, None],
            rom_at: ROM,
            rom_size: self.expansion_rom.unwrap_or(0),
        };
        let mut space = ConfigSpace::new(header, &rows, &watches);
        Identity {
            vendor_id: self.vendor_id,
            device_id: self.device_id,
            revision: self.revision,
            class_code: self.class_code,
            header_type: 1,
            multi_function: self.multi_function,
            interrupt_pin: self.interrupt_pin,
        }
        .fill(&mut space)?;
        Ok(space)
    }
}

/// The addresses that a bridge forwards downstream, first and last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First address.
    pub base: u64,
    /// Last address.
    pub limit: u64,
}

impl Window {
    /// Is `address` in the window?
    pub const fn contains(&self, address: u64) -> bool {
        self.base <= address && address <= self.limit
    }

    /// A window whose base is above its limit is closed.
    const fn open(base: u64, limit: u64) -> Option<Window> {
        if base <= limit { Some(Window { base, limit }) } else { None }
    }
}

/// The helpers of a bridge. On a type 0 header they say `None`, 0 or `false`.
impl ConfigSpace {
    /// Number of the bus above the bridge.
    pub fn primary(&self) -> u8 {
        self.bridge_dword(BUSES) as u8
    }

    /// Number of the bus just below the bridge; 0 until it is programmed.
    pub fn secondary(&self) -> u8 {
        (self.bridge_dword(BUSES) >> 8) as u8
    }

    /// Highest bus number below the bridge.
    pub fn subordinate(&self) -> u8 {
        (self.bridge_dword(BUSES) >> 16) as u8
    }

    /// Is bus `number` below the bridge: from secondary to subordinate? Bus 0 never is.
    pub fn forwards_bus(&self, number: u8) -> bool {
        self.secondary() != 0 && (self.secondary()..=self.subordinate()).contains(&number)
    }

    /// The memory window as programmed, whether or not memory is forwarded; `None` if closed.
    /// Granularity is 1 MiB, below 4 GiB.
    pub fn memory_window(&self) -> Option<Window> {
        let dword = u64::from(self.bridge_dword(MEMORY_WINDOW));
        let (base, limit) = ((dword & 0xfff0) << 16, dword & 0xfff0_0000 | 0xf_ffff);
        self.is_bridge().then(|| Window::open(base, limit)).flatten()
    }

    /// The prefetchable window as programmed, 64 bits; `None` if closed. Granularity is 1 MiB.
    pub fn prefetchable_window(&self) -> Option<Window> {
        let dword = u64::from(self.bridge_dword(PREFETCH_WINDOW));
        let upper = |offset| u64::from(self.bridge_dword(offset)) << 32;
        let base = upper(PREFETCH_BASE_UPPER) | (dword & 0xfff0) << 16;
        let limit = upper(PREFETCH_LIMIT_UPPER) | dword & 0xfff0_0000 | 0xf_ffff;
        self.is_bridge().then(|| Window::open(base, limit)).flatten()
    }

    /// The I/O window as programmed, 32 bits; `None` if closed. Granularity is 4 KiB.
    pub fn io_window(&self) -> Option<Window> {
        let low = u64::from(self.bridge_dword(IO_WINDOW));
        let upper = u64::from(self.bridge_dword(IO_UPPER));
        let base = (upper & 0xffff) << 16 | (low & 0xf0) << 8;
        let limit = (upper >> 16) << 16 | (low & 0xf000) | 0xfff;
        self.is_bridge().then(|| Window::open(base, limit)).flatten()
    }

    /// Does the bridge forward a memory request for `address` downstream: memory space on, in D0,
    /// and the address in the memory or the prefetchable window?
    pub fn forwards_address(&self, address: u64) -> bool {
        let inside = |window: Option<Window>| window.is_some_and(|w| w.contains(address));
        self.command().memory_space()
            && self.power_state() == PowerState::D0
            && (inside(self.memory_window()) || inside(self.prefetchable_window()))
    }

    /// Does the bridge forward an I/O request for `address` downstream: I/O space on, in D0, the
    /// address in the I/O window, and not kept back by ISA Enable (the last 768 bytes of each KiB
    /// of the first 64 KiB)?
    pub fn forwards_io(&self, address: u32) -> bool {
        let isa = self.bridge_dword(INTERRUPT) & 1 << 18 != 0;
        let kept_back = isa && address < 0x1_0000 && address & 0x300 != 0;
        self.command().io_space()
            && self.power_state() == PowerState::D0
            && self.io_window().is_some_and(|window| window.contains(u64::from(address)))
            && !kept_back
    }

    /// Is the secondary bus held in reset (Bridge Control)?
    pub fn secondary_bus_reset(&self) -> bool {
        self.bridge_dword(INTERRUPT) & 1 << 22 != 0
    }

    /// Does the bridge forward error messages from below to above (Bridge Control, SERR# Enable)?
    pub fn forwards_errors(&self) -> bool {
        self.bridge_dword(INTERRUPT) & 1 << 17 != 0
    }

    /// Is Master Data Parity Error in Secondary Status to be set on poisoned data (Bridge Control, Parity Error Response Enable)?
    pub fn secondary_parity_response(&self) -> bool {
        self.bridge_dword(INTERRUPT) & 1 << 16 != 0
    }

    /// The Secondary Status register.
    pub fn secondary_status(&self) -> Status {
        Status((self.bridge_dword(IO_WINDOW) >> 16) as u16)
    }

    /// Sets bits of Secondary Status that software clears by writing 1. Other bits are ignored.
    pub fn record_secondary_status(&mut self, bits: Status) {
        if self.is_bridge() {
            let bits = u32::from(bits.0) << 16 & STATUS_RW1C;
            self.set(IO_WINDOW, bits, bits);
        }
    }

    fn bridge_dword(&self, offset: u16) -> u32 {
        if self.is_bridge() { self.dword(offset) } else { 0 }
    }
}
