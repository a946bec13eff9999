//! The MSI-X table and pending bit array (section 7.7.2.5 on, and 6.1.4): what lies behind the capability.

use thiserror::Error;

use super::super::ConfigError;
use super::msix::MsixCapability;

/// Dwords of a table entry: message address, upper address, data, vector control.
const ENTRY: usize = 4;
/// What is kept of each dword of an entry that is written. The address is dword-aligned; of
/// vector control only the mask bit exists.
const WRITABLE: [u32; ENTRY] = [0xffff_fffc, u32::MAX, u32::MAX, MASK_BIT];
/// Vector control: the mask bit, set by reset.
const MASK_BIT: u32 = 1;

/// A rule broken by a use of the table.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MsixError {
    /// The function has not so many vectors.
    #[error("vector {vector} of {vectors}")]
    NoSuchVector {
        /// The vector asked for.
        vector: u16,
        /// How many there are.
        vectors: u16,
    },
    /// An access that doesn't start on a dword, isn't whole dwords, or leaves table or array.
    #[error("{length} bytes at offset {offset:#x} of the {window:?} of {size} bytes: not whole dwords inside it")]
    Access {
        /// Table or pending bits.
        window: MsixWindow,
        /// Offset in bytes.
        offset: u32,
        /// Length of the access in bytes.
        length: usize,
        /// Length of the window in bytes.
        size: u32,
    },
}

/// Table or pending bit array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsixWindow {
    /// The table: 16 bytes per vector.
    Table,
    /// The pending bit array: 8 bytes per 64 vectors. Writes do nothing.
    PendingBits,
}

/// A place in table or pending bit array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsixRegion {
    /// Which one.
    pub window: MsixWindow,
    /// Offset in it in bytes.
    pub offset: u32,
}

/// The memory write that is an interrupt: 4 bytes to a dword-aligned address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsixMessage {
    /// The vector.
    pub vector: u16,
    /// Where to write.
    pub address: u64,
    /// What to write, least significant byte first on the wire.
    pub data: u32,
}

/// What becomes of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsixOutcome {
    /// Send it.
    Send(MsixMessage),
    /// Vector or function is masked: its pending bit is set.
    Pending,
    /// MSI-X is off: nothing is sent and nothing is remembered (ours; the specification only
    /// forbids to send).
    NotEnabled,
}

/// Table and pending bits of a function.
///
/// Function Mask and MSI-X Enable are in configuration space: their state is an argument here.
#[derive(Clone, Debug)]
pub struct MsixTable {
    place: MsixCapability,
    /// Four dwords per vector.
    entries: Vec<u32>,
    /// One bit per vector, vector 0 lowest.
    pending: Vec<u64>,
}

impl MsixTable {
    /// A table as after reset: all masked, nothing pending.
    ///
    /// # Errors
    /// What [`MsixCapability::check`] says.
    pub fn new(place: &MsixCapability) -> Result<MsixTable, ConfigError> {
        place.check()?;
        let vectors = usize::from(place.vectors);
        let mut table =
            MsixTable { place: *place, entries: vec![0; vectors * ENTRY], pending: vec![0; vectors.div_ceil(64)] };
        table.reset();
        Ok(table)
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        self.place.vectors
    }

    /// Masks all vectors, clears addresses, data and pending bits.
    pub fn reset(&mut self) {
        for entry in self.entries.chunks_exact_mut(ENTRY) {
            entry.copy_from_slice(&[0, 0, 0, MASK_BIT]);
        }
        self.pending.fill(0);
    }

    /// Which place is at byte `offset` of base address register `bar`, if any.
    pub fn region(&self, bar: u8, offset: u64) -> Option<MsixRegion> {
        let place = &self.place;
        let windows = [
            (MsixWindow::Table, place.table_bar, place.table_offset, place.table_len()),
            (MsixWindow::PendingBits, place.pba_bar, place.pba_offset, place.pba_len()),
        ];
        windows.into_iter().find_map(|(window, in_bar, start, length)| {
            let inside = offset.checked_sub(u64::from(start)).filter(|&o| o < u64::from(length));
            let offset = inside.filter(|_| bar == in_bar)? as u32;
            Some(MsixRegion { window, offset })
        })
    }

    /// Reads whole dwords, least significant byte first.
    ///
    /// # Errors
    /// [`MsixError::Access`]; `out` is then as it was.
    pub fn read(&self, at: MsixRegion, out: &mut [u8]) -> Result<(), MsixError> {
        let first = self.first_dword(at, out.len())?;
        for (index, bytes) in (first..).zip(out.chunks_exact_mut(4)) {
            let value = match at.window {
                MsixWindow::Table => self.entries[index],
                MsixWindow::PendingBits => (self.pending[index / 2] >> (index % 2 * 32)) as u32,
            };
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    /// Writes whole dwords, least significant byte first. `first_be` and `last_be` are the byte
    /// enables of the first and last dword, as a TLP has them: with one dword `last_be` is not
    /// used. After a write to the table, [`unmasked`](Self::unmasked) says what is to be sent.
    ///
    /// # Errors
    /// [`MsixError::Access`]; nothing is then written.
    pub fn write(&mut self, at: MsixRegion, data: &[u8], first_be: u8, last_be: u8) -> Result<(), MsixError> {
        let first = self.first_dword(at, data.len())?;
        if at.window == MsixWindow::PendingBits {
            return Ok(());
        }
        let last = data.len() / 4;
        for (number, bytes) in data.chunks_exact(4).enumerate() {
            let enables = match number {
                0 => first_be,
                _ if number + 1 == last => last_be,
                _ => 0xf,
            };
            let index = first + number;
            let mut value = self.entries[index].to_le_bytes();
            for (lane, (old, &new)) in value.iter_mut().zip(bytes).enumerate() {
                if enables & 1 << lane != 0 {
                    *old = new;
                }
            }
            self.entries[index] = u32::from_le_bytes(value) & WRITABLE[index % ENTRY];
        }
        Ok(())
    }

    /// An interrupt: the function has something to say on `vector`. `enabled` and
    /// `function_masked` are the bits of Message Control.
    ///
    /// # Errors
    /// [`MsixError::NoSuchVector`].
    pub fn raise(&mut self, vector: u16, enabled: bool, function_masked: bool) -> Result<MsixOutcome, MsixError> {
        let masked = self.masked(vector)?;
        Ok(if !enabled {
            MsixOutcome::NotEnabled
        } else if function_masked || masked {
            self.set_pending(vector, true);
            MsixOutcome::Pending
        } else {
            MsixOutcome::Send(self.message(vector))
        })
    }

    /// The messages to send now, lowest vector first, because what kept them back is gone: to be
    /// asked after each write to the table or to Message Control. Each comes once: its pending bit
    /// is cleared as it is taken.
    pub fn unmasked(&mut self, enabled: bool, function_masked: bool) -> impl Iterator<Item = MsixMessage> + '_ {
        let mut next = if enabled && !function_masked { 0 } else { self.place.vectors };
        std::iter::from_fn(move || {
            while next < self.place.vectors {
                let left = self.pending[usize::from(next / 64)] >> (next % 64);
                if left == 0 {
                    next = (next / 64 + 1) * 64;
                    continue;
                }
                let vector = next + left.trailing_zeros() as u16;
                next = vector + 1;
                if self.entry(vector)[3] & MASK_BIT == 0 {
                    self.set_pending(vector, false);
                    return Some(self.message(vector));
                }
            }
            None
        })
    }

    /// Takes back a pending interrupt whose cause is gone (section 6.1.4.5). Was it pending?
    ///
    /// # Errors
    /// [`MsixError::NoSuchVector`].
    pub fn withdraw(&mut self, vector: u16) -> Result<bool, MsixError> {
        let pending = self.pending(vector)?;
        self.set_pending(vector, false);
        Ok(pending)
    }

    /// Is the vector's own mask bit set?
    ///
    /// # Errors
    /// [`MsixError::NoSuchVector`].
    pub fn masked(&self, vector: u16) -> Result<bool, MsixError> {
        self.check(vector)?;
        Ok(self.entry(vector)[3] & MASK_BIT != 0)
    }

    /// Is the vector's pending bit set?
    ///
    /// # Errors
    /// [`MsixError::NoSuchVector`].
    pub fn pending(&self, vector: u16) -> Result<bool, MsixError> {
        self.check(vector)?;
        Ok(self.pending[usize::from(vector / 64)] & 1 << (vector % 64) != 0)
    }

    fn check(&self, vector: u16) -> Result<(), MsixError> {
        let vectors = self.place.vectors;
        if vector < vectors { Ok(()) } else { Err(MsixError::NoSuchVector { vector, vectors }) }
    }

    /// The entry of a vector that was checked.
    fn entry(&self, vector: u16) -> &[u32] {
        &self.entries[usize::from(vector) * ENTRY..][..ENTRY]
    }

    fn message(&self, vector: u16) -> MsixMessage {
        let entry = self.entry(vector);
        let address = u64::from(entry[0]) | u64::from(entry[1]) << 32;
        MsixMessage { vector, address, data: entry[2] }
    }

    fn set_pending(&mut self, vector: u16, pending: bool) {
        let word = &mut self.pending[usize::from(vector / 64)];
        let bit = 1 << (vector % 64);
        *word = if pending { *word | bit } else { *word & !bit };
    }

    /// Index of the first dword of an access, after a check that it is inside.
    fn first_dword(&self, at: MsixRegion, length: usize) -> Result<usize, MsixError> {
        let size = match at.window {
            MsixWindow::Table => self.place.table_len(),
            MsixWindow::PendingBits => self.place.pba_len(),
        };
        let offset = at.offset as usize;
        let past = offset.saturating_add(length);
        if !offset.is_multiple_of(4) || !length.is_multiple_of(4) || past > size as usize {
            let MsixRegion { window, offset } = at;
            return Err(MsixError::Access { window, offset, length, size });
        }
        Ok(offset / 4)
    }
}
