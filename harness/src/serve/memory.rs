//! The memory of the software outside: files that a client shares, at the addresses that it gives them.
//!
//! Each file is mapped once, as a whole, however many ranges of it the client names: an IOMMU in a guest names thousands, page by page.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use mlx5_twin_sim::memory::{MemoryError, Outside};
use rustix::fs::{OFlags, SealFlags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

#[cfg(test)]
mod tests;

/// Writes to these addresses are interrupt messages, never memory (Intel SDM volume 3, 'Message Address Register Format').
const INTERRUPTS: std::ops::Range<u64> = 0xfee0_0000..0xfef0_0000;
/// The most ranges at a time (ours): what a Linux IOMMU driver would need for 16 GiB page by page.
const MAX_RANGES: usize = 1 << 22;
/// The most files at a time (ours): each takes a descriptor, of which a process has 1,024 by default. A virtual machine has one for each piece
/// of its memory.
const MAX_FILES: usize = 256;

/// Why a range can't be mapped or unmapped.
#[derive(Debug, thiserror::Error)]
pub(super) enum MapError {
    /// The range is empty, or runs past the end of the address space.
    #[error("{size:#x} bytes at {address:#x} are no range of addresses")]
    Range {
        /// Its first address.
        address: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// Something is mapped there already.
    #[error("{size:#x} bytes at {address:#x} overlap the range at {other:#x}")]
    Overlap {
        /// Its first address.
        address: u64,
        /// Its length in bytes.
        size: u64,
        /// The first address of the other one.
        other: u64,
    },
    /// The file is too short.
    #[error("a file of {len:#x} bytes has no {size:#x} bytes at offset {offset:#x}")]
    File {
        /// The file's length in bytes.
        len: u64,
        /// Offset of the range in the file.
        offset: u64,
        /// Its length in bytes.
        size: u64,
    },
    /// The system refuses.
    #[error("can't map the file: {0}")]
    System(String),
    /// There are more ranges than the server keeps.
    #[error("more than {MAX_RANGES} ranges are mapped")]
    TooMany,
    /// There are more files than the server keeps.
    #[error("more than {MAX_FILES} files are mapped")]
    TooManyFiles,
}

/// A file in our address space.
#[derive(Debug)]
struct Mapped {
    device: u64,
    inode: u64,
    writable: bool,
    /// Whether the system lets nobody make the file shorter.
    sealed: bool,
    region: MmapRegion,
}

/// A range of the client's addresses.
#[derive(Clone, Debug)]
struct Range {
    size: u64,
    writable: bool,
    /// What is behind it, and where; nothing behind ranges without a file, which the device can't reach.
    memory: Option<(Arc<Mapped>, u64)>,
}

#[derive(Debug, Default)]
struct Table {
    /// By first address; no two overlap.
    ranges: BTreeMap<u64, Range>,
    files: Vec<Weak<Mapped>>,
}

/// What a client has mapped. Shared between the client's side and the root complex.
#[derive(Debug, Default)]
pub(super) struct ClientMemory {
    table: RwLock<Table>,
}

/// Whether a descriptor lets its holder write.
fn is_writable(file: &File) -> Result<bool, MapError> {
    let flags = rustix::fs::fcntl_getfl(file).map_err(|error| MapError::System(error.to_string()))?;
    Ok(flags & OFlags::RWMODE == OFlags::RDWR)
}

impl Mapped {
    fn new(file: File, len: u64, writable: bool) -> Result<Mapped, MapError> {
        let system = |error: &dyn std::fmt::Display| MapError::System(error.to_string());
        let metadata = file.metadata().map_err(|error| system(&error))?;
        let len = usize::try_from(len).map_err(|error| system(&error))?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        // Only memory files have seals.
        let sealed = rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        let place = FileOffset::new(file, 0);
        let region = if writable {
            MmapRegion::from_file(place, len)
        } else {
            MmapRegion::build(Some(place), len, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_NORESERVE)
        };
        Ok(Mapped { device, inode, writable, sealed, region: region.map_err(|error| system(&error))? })
    }

    /// Whether `len` bytes at `offset` are still there: a client may have made its file shorter, and touching what was behind its end would
    /// end the process (SIGBUS). One that does it at the very moment of an access isn't found out; a sealed file can't be made shorter.
    fn holds(&self, offset: usize, len: usize) -> bool {
        let end = offset as u64 + len as u64;
        let now = || self.region.file_offset().and_then(|place| place.file().metadata().ok());
        self.sealed || now().is_some_and(|metadata| end <= metadata.len())
    }
}

impl Table {
    /// The mapping of a file, made if there's none that is long enough.
    fn file(&mut self, file: File, end: u64, writable: bool) -> Result<Arc<Mapped>, MapError> {
        let metadata = file.metadata().map_err(|error| MapError::System(error.to_string()))?;
        self.files.retain(|known| known.strong_count() > 0);
        let fits = |known: &Arc<Mapped>| {
            (known.device, known.inode) == (metadata.dev(), metadata.ino())
                && known.region.len() as u64 >= end
                && (known.writable || !writable)
        };
        if let Some(known) = self.files.iter().filter_map(Weak::upgrade).find(fits) {
            return Ok(known);
        }
        if self.files.len() >= MAX_FILES {
            return Err(MapError::TooManyFiles);
        }
        let mapped = Arc::new(Mapped::new(file, metadata.len(), writable)?);
        self.files.push(Arc::downgrade(&mapped));
        Ok(mapped)
    }

    /// The range that holds an address.
    fn find(&self, address: u64) -> Option<(u64, &Range)> {
        let (&start, range) = self.ranges.range(..=address).next_back()?;
        (address - start < range.size).then_some((start, range))
    }

    /// Whether all of `len` bytes at `address` is there.
    fn has(&self, address: u64, len: usize, write: bool) -> bool {
        self.pieces(address, len, write, |mapped, offset, _, len| mapped.holds(offset, len))
    }

    /// Visits the pieces of mapped memory that `len` bytes at `address` are made of, as long as `visit` says so: mapping, offset in its file, and
    /// the piece's place and length. Whether all is there.
    fn pieces<'a>(
        &'a self,
        address: u64,
        len: usize,
        write: bool,
        mut visit: impl FnMut(&'a Mapped, usize, usize, usize) -> bool,
    ) -> bool {
        let mut done = 0;
        while done < len {
            let Some(at) = address.checked_add(done as u64) else { return false };
            if INTERRUPTS.contains(&at) {
                return false;
            }
            let Some((start, range)) = self.find(at) else { return false };
            let Some((mapped, offset)) = range.memory.as_ref().filter(|_| range.writable || !write) else {
                return false;
            };
            let inside = at - start;
            // Not beyond the first interrupt message.
            let room = if at < INTERRUPTS.start { INTERRUPTS.start - at } else { u64::MAX };
            let piece = (range.size - inside).min(room).min((len - done) as u64) as usize;
            if !visit(mapped, (offset + inside) as usize, done, piece) {
                return false;
            }
            done += piece;
        }
        true
    }
}

impl ClientMemory {
    /// Maps `size` bytes of `file` from `offset` on at `address`. Without a file the range is known, and the device can't reach it.
    ///
    /// # Errors
    /// [`MapError`]; nothing is changed then.
    pub(super) fn map(
        &self,
        address: u64,
        size: u64,
        file: Option<(File, u64)>,
        mut writable: bool,
    ) -> Result<(), MapError> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let last = size.checked_sub(1).and_then(|size| address.checked_add(size));
        let last = last.ok_or(MapError::Range { address, size })?;
        if let Some((&other, range)) = table.ranges.range(..=last).next_back()
            && other + (range.size - 1) >= address
        {
            return Err(MapError::Overlap { address, size, other });
        }
        if table.ranges.len() >= MAX_RANGES {
            return Err(MapError::TooMany);
        }
        let memory = match file {
            None => None,
            Some((file, offset)) => {
                let len = file.metadata().map_err(|error| MapError::System(error.to_string()))?.len();
                let end = offset.checked_add(size).filter(|end| *end <= len);
                let end = end.ok_or(MapError::File { len, offset, size })?;
                // A client may ask for more than its descriptor gives.
                writable &= is_writable(&file)?;
                Some((table.file(file, end, writable)?, offset))
            }
        };
        table.ranges.insert(address, Range { size, writable, memory });
        Ok(())
    }

    /// Unmaps the ranges that lie within `size` bytes from `address` on: gives how many they were.
    ///
    /// # Errors
    /// [`MapError::Range`].
    pub(super) fn unmap(&self, address: u64, size: u64) -> Result<usize, MapError> {
        let last = size.checked_sub(1).and_then(|size| address.checked_add(size));
        let last = last.ok_or(MapError::Range { address, size })?;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let within = table.ranges.range(address..=last).filter(|(start, range)| **start + (range.size - 1) <= last);
        let starts: Vec<u64> = within.map(|(&start, _)| start).collect();
        for start in &starts {
            table.ranges.remove(start);
        }
        Ok(starts.len())
    }

    /// Unmaps everything.
    pub(super) fn clear(&self) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Table::default();
    }

    /// How many ranges there are, and how many files are mapped.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        (table.ranges.len(), table.files.iter().filter(|known| known.strong_count() > 0).count())
    }
}

impl Outside for ClientMemory {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let length = out.len();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if !table.has(address, length, false) {
            return Err(MemoryError::NotMapped { address, length });
        }
        table.pieces(address, length, false, |mapped, offset, done, len| {
            if let Ok(slice) = mapped.region.get_slice(offset, len) {
                slice.copy_to(&mut out[done..done + len]);
            }
            true
        });
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let length = data.len();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if !table.has(address, length, true) {
            return Err(MemoryError::NotMapped { address, length });
        }
        // What was written before is seen before: an owner bit never comes before what it stands for.
        fence(Ordering::Release);
        table.pieces(address, length, true, |mapped, offset, done, len| {
            if let Ok(slice) = mapped.region.get_slice(offset, len) {
                slice.copy_from(&data[done..done + len]);
            }
            true
        });
        Ok(())
    }

    fn has(&self, address: u64, length: u64) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(length).is_ok_and(|length| table.has(address, length, false))
    }
}
