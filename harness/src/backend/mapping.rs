//! Memory that a file is mapped to: pages of a device, or memory that a device reads and writes.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::order;

/// A mapping, to read and to write.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it's memory, owned by this value and reached only by volatile and atomic accesses, which may come from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file, to read and to write.
    pub(super) fn new(file: impl AsFd, offset: u64, len: usize) -> io::Result<Mapping> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, flags, file, offset)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Mapping { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where it begins.
    pub(super) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// The place of an aligned access; `None` if it doesn't lie inside.
    fn place<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.len);
        if !inside || !offset.is_multiple_of(size_of::<T>()) {
            return None;
        }
        // SAFETY: it's inside of the mapping.
        Some(unsafe { self.start.byte_add(offset) }.cast())
    }

    /// Stores to the device, as one access of the value's width, after all that was written before.
    pub(super) fn store<T: Plain>(&self, offset: usize, value: T) -> Option<()> {
        let place = self.place::<T>(offset)?;
        order::release();
        // SAFETY: it's aligned and inside of the mapping, which lives as long as this value.
        unsafe { place.write_volatile(value) };
        Some(())
    }

    /// Loads from the device, as one access of the value's width, before all that is read afterwards.
    pub(super) fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let place = self.place::<T>(offset)?;
        // SAFETY: it's aligned and inside of the mapping, which lives as long as this value; any bytes are a value.
        let value = unsafe { place.read_volatile() };
        order::acquire();
        Some(value)
    }

    /// Memory that the device may change at any time, as numbers that may be changed at any time.
    pub(super) fn cells<T: Cell>(&self) -> &[T] {
        let count = self.len / size_of::<T>();
        // SAFETY: a mapping begins at a page, it's valid as long as this value, and no other reference to it is ever given but to such cells.
        unsafe { NonNull::slice_from_raw_parts(self.start.cast(), count).as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it's what `mmap` gave, and nobody has a reference to it any more.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            tracing::warn!(%error, len = self.len, "memory wasn't unmapped");
        }
    }
}

/// Numbers that one access stores or loads.
pub(super) trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for u64 {}

/// Numbers that another may change meanwhile.
pub(super) trait Cell {}
impl Cell for AtomicU8 {}
impl Cell for AtomicU32 {}
impl Cell for AtomicU64 {}
