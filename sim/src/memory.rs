//! Memory of a root complex: large, sparse, and read as zero where nothing was written (ours); or memory of software outside the simulation.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

#[cfg(test)]
mod tests;

/// Bytes of one extent, the unit of allocation: 2 MiB.
pub const EXTENT: u64 = 1 << EXTENT_SHIFT;
/// The largest memory: 1 TiB.
pub const MAX_SIZE: u64 = 1 << 40;
const EXTENT_SHIFT: u32 = 21;

/// Why an access or a memory is not possible.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MemoryError {
    /// The access leaves the memory. Nothing of it was done.
    #[error("{length} bytes at {address:#x} leave the memory of {size:#x} bytes")]
    OutOfRange {
        /// First address.
        address: u64,
        /// Length of the access in bytes.
        length: usize,
        /// Size of the memory in bytes.
        size: u64,
    },
    /// A write needs more resident memory than allowed. Nothing of it was done.
    #[error("a write at {address:#x} needs {needed:#x} resident bytes, the limit is {limit:#x}")]
    ResidentLimit {
        /// First address of the write.
        address: u64,
        /// Resident bytes it would lead to.
        needed: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A masked write must start on a dword and be whole dwords.
    #[error("a masked write of {length} bytes at {address:#x} is not whole dwords")]
    Unaligned {
        /// First address.
        address: u64,
        /// Length in bytes.
        length: usize,
    },
    /// Nothing is there, or it may not be accessed so. Nothing of the access was done.
    #[error("{length} bytes at {address:#x} aren't mapped")]
    NotMapped {
        /// First address.
        address: u64,
        /// Length of the access in bytes.
        length: usize,
    },
    /// A memory can't be so large.
    #[error("a memory of {size:#x} bytes is larger than {MAX_SIZE:#x}")]
    TooLarge {
        /// The size asked for, in bytes.
        size: u64,
    },
}

/// Memory of software outside the simulation, a guest for example. It may change at any time.
pub trait Outside: fmt::Debug + Send + Sync {
    /// Reads bytes.
    ///
    /// # Errors
    /// [`MemoryError::NotMapped`]; `out` is then as it was.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError>;

    /// Writes bytes: none is seen before those of an earlier call.
    ///
    /// # Errors
    /// [`MemoryError::NotMapped`]; nothing is then written.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError>;

    /// Whether all of the range can be read.
    fn has(&self, address: u64, length: u64) -> bool;
}

/// Memory from address 0 to its size. Extents of 2 MiB are allocated by the first write. Beyond the size there may be memory of
/// software outside.
#[derive(Clone, Debug)]
pub struct Memory {
    size: u64,
    limit: u64,
    resident: u64,
    extents: Vec<Option<Box<[u8]>>>,
    outside: Option<Arc<dyn Outside>>,
}

impl Memory {
    /// A memory of `size` bytes, at most [`MAX_SIZE`]. All of it may become resident.
    ///
    /// # Errors
    /// [`MemoryError::TooLarge`].
    pub fn new(size: u64) -> Result<Memory, MemoryError> {
        Memory::with_limit(size, MAX_SIZE)
    }

    /// A memory of `size` bytes of which at most `limit` bytes may become resident, rounded down
    /// to whole extents. A write that would need more is an error.
    ///
    /// # Errors
    /// [`MemoryError::TooLarge`].
    pub fn with_limit(size: u64, limit: u64) -> Result<Memory, MemoryError> {
        if size > MAX_SIZE {
            return Err(MemoryError::TooLarge { size });
        }
        let extents = vec![None; size.div_ceil(EXTENT) as usize];
        Ok(Memory { size, limit, resident: 0, extents, outside: None })
    }

    /// Nothing but the memory of software outside.
    pub fn outside(memory: Arc<dyn Outside>) -> Memory {
        Memory { size: 0, limit: 0, resident: 0, extents: Vec::new(), outside: Some(memory) }
    }

    /// Whether all of a range is there.
    #[inline]
    pub fn has(&self, address: u64, length: u64) -> bool {
        address.checked_add(length).is_some_and(|end| end <= self.size) || self.has_outside(address, length)
    }

    #[cold]
    fn has_outside(&self, address: u64, length: u64) -> bool {
        self.outside.as_ref().is_some_and(|outside| outside.has(address, length))
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes allocated so far.
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// Reads `out.len()` bytes from `address`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`], or [`MemoryError::NotMapped`] of memory outside; `out` is then as it was.
    #[inline]
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        if let Err(error) = self.check(address, out.len()) {
            return self.outside_or(error, |outside| outside.read(address, out));
        }
        let (index, offset) = split(address);
        if out.len() <= EXTENT as usize - offset {
            if let Some(Some(extent)) = self.extents.get(index)
                && let Some(bytes) = extent.get(offset..offset + out.len())
            {
                copy(out, bytes);
            } else {
                out.fill(0);
            }
            return Ok(());
        }
        self.read_across(address, out);
        Ok(())
    }

    /// Writes `data` to `address`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`] and [`MemoryError::ResidentLimit`], or [`MemoryError::NotMapped`] of memory outside; nothing is then written.
    #[inline]
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        if let Err(error) = self.check(address, data.len()) {
            return self.outside_or(error, |outside| outside.write(address, data));
        }
        let (index, offset) = split(address);
        if let Some(Some(extent)) = self.extents.get_mut(index)
            && let Some(bytes) = extent.get_mut(offset..offset + data.len())
        {
            copy(bytes, data);
            return Ok(());
        }
        self.write_slow(address, data)
    }

    /// Writes whole dwords with the byte enables of the first and last, as a TLP has them: bit 0
    /// is the lowest address. With one dword `last_be` is not used.
    ///
    /// # Errors
    /// [`MemoryError::Unaligned`], and those of [`write`](Self::write); nothing is then written.
    #[inline]
    pub fn write_masked(&mut self, address: u64, data: &[u8], first_be: u8, last_be: u8) -> Result<(), MemoryError> {
        if !address.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            return Err(MemoryError::Unaligned { address, length: data.len() });
        }
        let last_be = if data.len() == 4 { 0xf } else { last_be };
        if first_be & 0xf == 0xf && last_be & 0xf == 0xf {
            return self.write(address, data);
        }
        self.write_partial(address, data, first_be, last_be)
    }

    /// Reads a little-endian `u32`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read_u32_le(&self, address: u64) -> Result<u32, MemoryError> {
        self.read_array(address).map(u32::from_le_bytes)
    }

    /// Reads a big-endian `u32`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read_u32_be(&self, address: u64) -> Result<u32, MemoryError> {
        self.read_array(address).map(u32::from_be_bytes)
    }

    /// Reads a little-endian `u64`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read_u64_le(&self, address: u64) -> Result<u64, MemoryError> {
        self.read_array(address).map(u64::from_le_bytes)
    }

    /// Reads a big-endian `u64`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn read_u64_be(&self, address: u64) -> Result<u64, MemoryError> {
        self.read_array(address).map(u64::from_be_bytes)
    }

    /// Writes a little-endian `u32`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_u32_le(&mut self, address: u64, value: u32) -> Result<(), MemoryError> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes a big-endian `u32`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_u32_be(&mut self, address: u64, value: u32) -> Result<(), MemoryError> {
        self.write(address, &value.to_be_bytes())
    }

    /// Writes a little-endian `u64`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_u64_le(&mut self, address: u64, value: u64) -> Result<(), MemoryError> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes a big-endian `u64`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_u64_be(&mut self, address: u64, value: u64) -> Result<(), MemoryError> {
        self.write(address, &value.to_be_bytes())
    }

    fn read_array<const N: usize>(&self, address: u64) -> Result<[u8; N], MemoryError> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    #[inline]
    fn check(&self, address: u64, length: usize) -> Result<(), MemoryError> {
        match address.checked_add(length as u64) {
            Some(past) if past <= self.size => Ok(()),
            _ => Err(MemoryError::OutOfRange { address, length, size: self.size }),
        }
    }

    /// What the memory outside gives, or `error` if there's none.
    #[cold]
    fn outside_or(
        &self,
        error: MemoryError,
        access: impl FnOnce(&dyn Outside) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        self.outside.as_ref().map_or(Err(error), |outside| access(&**outside))
    }

    #[cold]
    fn read_across(&self, address: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let (index, offset) = split(address + done as u64);
            let length = (out.len() - done).min(EXTENT as usize - offset);
            let part = &mut out[done..done + length];
            match &self.extents[index] {
                Some(extent) => part.copy_from_slice(&extent[offset..offset + length]),
                None => part.fill(0),
            }
            done += length;
        }
    }

    /// Writes what was checked, across extents or to ones that have to be allocated.
    #[cold]
    fn write_slow(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        self.reserve(address, data.len())?;
        let mut done = 0;
        while done < data.len() {
            let (index, offset) = split(address + done as u64);
            let length = (data.len() - done).min(EXTENT as usize - offset);
            if let Some(extent) = &mut self.extents[index] {
                extent[offset..offset + length].copy_from_slice(&data[done..done + length]);
            }
            done += length;
        }
        Ok(())
    }

    /// Allocates the extents of a write that was checked: all of them, or none.
    fn reserve(&mut self, address: u64, length: usize) -> Result<(), MemoryError> {
        let Some(after) = (length as u64).checked_sub(1) else {
            return Ok(());
        };
        let (first, _) = split(address);
        let (last, _) = split(address + after);
        let extents = &mut self.extents[first..=last];
        let missing = extents.iter().filter(|extent| extent.is_none()).count();
        let needed = self.resident + missing as u64 * EXTENT;
        if missing > 0 && needed > self.limit {
            let limit = self.limit;
            return Err(MemoryError::ResidentLimit { address, needed, limit });
        }
        for extent in extents.iter_mut().filter(|extent| extent.is_none()) {
            *extent = Some(vec![0; EXTENT as usize].into_boxed_slice());
        }
        self.resident = needed;
        Ok(())
    }

    /// A masked write with a first or last dword that isn't whole. Room is made for all of it
    /// before any of it is written.
    fn write_partial(&mut self, address: u64, data: &[u8], first_be: u8, last_be: u8) -> Result<(), MemoryError> {
        if self.outside.is_none() {
            self.check(address, data.len())?;
        }
        let Some((first, rest)) = data.split_first_chunk::<4>() else {
            return Ok(());
        };
        if rest.is_empty() && first_be & 0xf == 0 {
            return Ok(()); // a zero-length write
        }
        if self.outside.is_none() {
            self.reserve(address, data.len())?;
        }
        self.merge(address, *first, first_be)?;
        if let Some((middle, last)) = rest.split_last_chunk::<4>() {
            self.write(address + 4, middle)?;
            self.merge(address + (data.len() as u64 - 4), *last, last_be)?;
        }
        Ok(())
    }

    /// Writes the enabled bytes of a dword.
    fn merge(&mut self, address: u64, data: [u8; 4], enables: u8) -> Result<(), MemoryError> {
        let mut bytes: [u8; 4] = self.read_array(address)?;
        for (lane, (old, new)) in bytes.iter_mut().zip(data).enumerate() {
            if enables & 1 << lane != 0 {
                *old = new;
            }
        }
        self.write(address, &bytes)
    }
}

/// Index of the extent, and offset in it.
#[inline]
const fn split(address: u64) -> (usize, usize) {
    ((address >> EXTENT_SHIFT) as usize, (address & (EXTENT - 1)) as usize)
}

/// Copies bytes, as many on both sides. A cache line, as much as most transfers have that aren't registers, takes no call.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    const LINE: usize = 64;
    match (<&mut [u8; LINE]>::try_from(&mut *to), <&[u8; LINE]>::try_from(from)) {
        (Ok(to), Ok(from)) => *to = *from,
        _ if from.is_empty() => {}
        _ => copy_any(to, from),
    }
}

/// Apart, because a compiler that sees both makes one call of them.
#[inline(never)]
fn copy_any(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}
