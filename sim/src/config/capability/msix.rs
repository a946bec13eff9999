//! The MSI-X capability (section 7.7.2). The table itself is in [`msix_table`](super::msix_table).

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of Message Control, in the high half.
const CONTROL: u16 = 0x00;
/// Offset of Table Offset and Table BIR.
const TABLE: u16 = 0x04;
/// Offset of PBA Offset and PBA BIR.
const PBA: u16 = 0x08;
/// Function Mask.
const FUNCTION_MASK: u32 = 1 << 30;
/// MSI-X Enable.
const ENABLE: u32 = 1 << 31;

#[rustfmt::skip]
const ROWS: [Row; 3] = [
    //       offset   name                     reset  rw                      rw1c sticky flr
    Row::new(CONTROL, "Message Control",         0,   ENABLE | FUNCTION_MASK, 0,   0,     0),
    Row::new(TABLE,   "Table Offset, Table BIR", 0,   0,                      0,   0,     0),
    Row::new(PBA,     "PBA Offset, PBA BIR",     0,   0,                      0,   0,     0),
];

/// Description of the capability: how many vectors, and where table and pending bits lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixCapability {
    /// Number of vectors, 1 to 2048.
    pub vectors: u16,
    /// The base address register with the table, 0 to 5.
    pub table_bar: u8,
    /// The table's offset in it in bytes, a multiple of 8. The table has 16 bytes per vector.
    pub table_offset: u32,
    /// The base address register with the pending bit array, 0 to 5.
    pub pba_bar: u8,
    /// The array's offset in it in bytes, a multiple of 8. It has 8 bytes per 64 vectors.
    pub pba_offset: u32,
}

impl MsixCapability {
    /// Bytes of the table.
    pub const fn table_len(&self) -> u32 {
        self.vectors as u32 * 16
    }

    /// Bytes of the pending bit array.
    pub const fn pba_len(&self) -> u32 {
        (self.vectors as u32).div_ceil(64) * 8
    }

    /// Checks the ranges of all fields, and that table and array don't overlap.
    ///
    /// # Errors
    /// The field that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |field, value: u32, allowed| ConfigError::Value { field, value: u64::from(value), allowed };
        if !(1..=2048).contains(&self.vectors) {
            return Err(value("Table Size", u32::from(self.vectors), "1 to 2048"));
        }
        let places = [
            ("Table BIR", self.table_bar, "Table Offset", self.table_offset, self.table_len()),
            ("PBA BIR", self.pba_bar, "PBA Offset", self.pba_offset, self.pba_len()),
        ];
        for (bir, bar, field, offset, length) in places {
            if bar > 5 {
                return Err(value(bir, u32::from(bar), "0 to 5"));
            }
            if !offset.is_multiple_of(8) || offset.checked_add(length).is_none() {
                return Err(value(field, offset, "the multiples of 8 with room below 4 GiB"));
            }
        }
        let overlap = self.table_bar == self.pba_bar
            && self.table_offset < self.pba_offset + self.pba_len()
            && self.pba_offset < self.table_offset + self.table_len();
        if overlap {
            return Err(value("PBA Offset", self.pba_offset, "the places outside the table"));
        }
        Ok(())
    }
}

impl Capability for MsixCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        self.check()?;
        let mut rows = ROWS.to_vec();
        super::amend(&mut rows, CONTROL, u32::from(self.vectors - 1) << 16, 0);
        super::amend(&mut rows, TABLE, self.table_offset | u32::from(self.table_bar), 0);
        super::amend(&mut rows, PBA, self.pba_offset | u32::from(self.pba_bar), 0);
        Ok(CapabilityLayout {
            id: CapabilityId::MSIX,
            length: 12,
            rows,
            watches: vec![Watch::changed(CONTROL, ENABLE | FUNCTION_MASK, Changed::MSIX)],
            legal: Vec::new(),
        })
    }
}

impl ConfigSpace {
    /// Is MSI-X on (MSI-X Enable)? `false` without the capability.
    pub fn msix_enabled(&self) -> bool {
        self.msix_control() & ENABLE != 0
    }

    /// Are all vectors masked together (Function Mask)?
    pub fn msix_function_masked(&self) -> bool {
        self.msix_control() & FUNCTION_MASK != 0
    }

    fn msix_control(&self) -> u32 {
        let at = self.located.msix;
        if at == 0 { 0 } else { self.dword(at + CONTROL) }
    }
}
