//! BAR 0, mapped into this process.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::backend::Error;

/// Keeps the order of accesses to memory and to the device, as the device sees it: what comes before in the program comes before there.
/// (Linux `Documentation/memory-barriers.txt`, 'Kernel I/O barrier effects'; rdma-core's `util/udma_barrier.h`.)
pub(super) fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction only orders accesses. Rust's own fences order them for other cores, but not for devices.
    unsafe {
        std::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// The mapping: non-cached, so that each access is one TLP of its width, and stores stay in order (Linux `drivers/vfio/pci/vfio_pci_core.c`,
/// `vfio_pci_core_mmap`).
#[derive(Debug)]
pub(super) struct Bar {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only accessed by volatile loads and stores of the hardware's width.
unsafe impl Send for Bar {}
// SAFETY: as above; nobody has a reference into it.
unsafe impl Sync for Bar {}

impl Bar {
    /// Maps `len` bytes of a file.
    pub(super) fn map(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Bar> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses touches no other memory.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, flags, file, offset) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("a mapping at address 0"))?;
        Ok(Bar { base, len })
    }

    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Where an aligned access of a `T` goes.
    fn place<T>(&self, offset: u64) -> Result<NonNull<T>, Error> {
        let (width, len) = (size_of::<T>(), self.len);
        let wrong = Error::Offset { offset: usize::try_from(offset).unwrap_or(usize::MAX), width, len };
        let Ok(offset) = usize::try_from(offset) else { return Err(wrong) };
        let inside = offset.checked_add(width).is_some_and(|end| end <= len);
        if !inside || !offset.is_multiple_of(width) {
            return Err(wrong);
        }
        // SAFETY: the offset lies within the mapping.
        Ok(unsafe { self.base.byte_add(offset) }.cast())
    }

    pub(super) fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        let place = self.place::<u32>(offset)?;
        // SAFETY: an aligned place within the mapping, which lives as long as `self`; any bytes are a value.
        let value = unsafe { place.read_volatile() };
        barrier();
        Ok(value.to_ne_bytes())
    }

    pub(super) fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        let place = self.place::<u32>(offset)?;
        barrier();
        // SAFETY: an aligned place within the mapping, which lives as long as `self`; nobody has a reference into it.
        unsafe { place.write_volatile(u32::from_ne_bytes(bytes)) };
        Ok(())
    }

    pub(super) fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        let place = self.place::<u64>(offset)?;
        barrier();
        // SAFETY: as in `write32`.
        unsafe { place.write_volatile(u64::from_ne_bytes(bytes)) };
        Ok(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and nobody can access it any more.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.len) } {
            tracing::warn!(%error, "a BAR stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsFd;

    use super::*;

    /// A file of one page stands for a BAR.
    #[test]
    fn accesses_go_where_they_should() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[0x5a; 4096]).expect("written");
        let bar = Bar::map(file.as_fd(), 0, 4096).expect("mapped");
        assert_eq!((bar.len(), bar.read32(4092)), (4096, Ok([0x5a; 4])));
        bar.write32(8, [1, 2, 3, 4]).expect("inside");
        bar.write64(4088, [1, 2, 3, 4, 5, 6, 7, 8]).expect("inside");
        assert_eq!((bar.read32(8), bar.read32(4092)), (Ok([1, 2, 3, 4]), Ok([5, 6, 7, 8])));
        for (offset, done) in [
            (2, bar.read32(2).map(drop)),
            (4094, bar.read32(4094).map(drop)),
            (4096, bar.write32(4096, [0; 4])),
            (u64::MAX, bar.write32(u64::MAX, [0; 4])),
            (4, bar.write64(4, [0; 8])),
            (4096, bar.write64(4096, [0; 8])),
        ] {
            assert!(matches!(done, Err(Error::Offset { .. })), "{offset}: {done:?}");
        }
        drop(bar);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).expect("sought");
        file.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes[..16], [[0x5a; 8], [1, 2, 3, 4, 0x5a, 0x5a, 0x5a, 0x5a]].concat());
    }
}
