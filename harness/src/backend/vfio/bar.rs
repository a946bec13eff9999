//! BAR 0, mapped into this process.

use std::io;
use std::os::fd::BorrowedFd;

use crate::backend::Error;
use crate::backend::mapping::Mapping;

/// The mapping: non-cached, so that each access is one TLP of its width, and stores stay in order (Linux `drivers/vfio/pci/vfio_pci_core.c`,
/// `vfio_pci_core_mmap`).
#[derive(Debug)]
pub(super) struct Bar(Mapping);

impl Bar {
    /// Maps `len` bytes of a file.
    pub(super) fn map(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Bar> {
        Ok(Bar(Mapping::new(file, offset, len)?))
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Makes an access of `width` bytes.
    fn access<T>(
        &self,
        offset: u64,
        width: usize,
        access: impl FnOnce(&Mapping, usize) -> Option<T>,
    ) -> Result<T, Error> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        access(&self.0, offset).ok_or(Error::Offset { offset, width, len: self.0.len() })
    }

    pub(super) fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        self.access(offset, 4, Mapping::load::<u32>).map(u32::to_ne_bytes)
    }

    pub(super) fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        self.access(offset, 4, |bar, offset| bar.store(offset, u32::from_ne_bytes(bytes)))
    }

    pub(super) fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        self.access(offset, 8, |bar, offset| bar.store(offset, u64::from_ne_bytes(bytes)))
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
