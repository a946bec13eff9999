//! The type 0 header: of endpoints (section 7.5.1.2).

use super::super::ConfigError;
use super::super::space::{ConfigSpace, Row};
use super::bar::{self, Bar};
use super::{COMMON, COMMON_WATCHES, HeaderState, INTERRUPT, Identity};

/// Byte offset of Subsystem Vendor ID and Subsystem ID.
pub(in super::super) const SUBSYSTEM: u16 = 0x2c;
/// Byte offset of the Expansion ROM register.
const ROM: u16 = 0x30;

#[rustfmt::skip]
const ROWS: [Row; 2] = [
    //       offset     name                                 reset  rw           rw1c  sticky flr
    Row::new(SUBSYSTEM, "Subsystem Vendor ID, Subsystem ID",   0,   0,           0,    0,     0),
    Row::new(INTERRUPT, "Interrupt Line, Interrupt Pin",       0,   0x0000_00ff, 0,    0,     0),
];

/// Description of an endpoint's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Type0 {
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class Code, 24 bits: base class, sub-class, programming interface.
    pub class_code: u32,
    /// Subsystem Vendor ID.
    pub subsystem_vendor_id: u16,
    /// Subsystem ID.
    pub subsystem_id: u16,
    /// Base address registers by slot. A 64-bit one takes the next slot too: leave it `None`.
    pub bars: [Option<Bar>; 6],
    /// Size of the expansion ROM in bytes: a power of two from 2 KiB to 16 MiB.
    pub expansion_rom: Option<u32>,
    /// INTx pin: 0 for none, 1 to 4 for A to D.
    pub interrupt_pin: u8,
    /// Has the device functions other than 0?
    pub multi_function: bool,
}

impl Type0 {
    /// A configuration space with this header and no capabilities.
    ///
    /// # Errors
    /// A BAR that can't be: not a power of two, of a size that its kind can't express, on a slot
    /// that is taken or doesn't exist; ROM size, class code or pin out of range.
    pub fn build(&self) -> Result<ConfigSpace, ConfigError> {
        let (mut rows, mut watches) = bar::registers(&self.bars)?;
        rows.extend(COMMON);
        rows.extend(ROWS);
        watches.extend(COMMON_WATCHES);
        if let Some(size) = self.expansion_rom {
            let (row, watch) = bar::rom_register(ROM, size)?;
            rows.push(row);
            watches.push(watch);
        }
        let header =
            HeaderState { bridge: false, bars: self.bars, rom_at: ROM, rom_size: self.expansion_rom.unwrap_or(0) };
        let mut space = ConfigSpace::new(header, &rows, &watches);
        let subsystem = u32::from(self.subsystem_vendor_id) | u32::from(self.subsystem_id) << 16;
        space.set_hardware(SUBSYSTEM, u32::MAX, subsystem);
        Identity {
            vendor_id: self.vendor_id,
            device_id: self.device_id,
            revision: self.revision,
            class_code: self.class_code,
            header_type: 0,
            multi_function: self.multi_function,
            interrupt_pin: self.interrupt_pin,
        }
        .fill(&mut space)?;
        Ok(space)
    }
}
