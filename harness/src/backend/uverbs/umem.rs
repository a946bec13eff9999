//! Registered memory: memory of this process that the kernel has pinned and told the device of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::abi;
use super::open::Open;
use super::refusal::refused;
use crate::backend::mapping::Mapping;
use crate::backend::{Error, RegisteredMemory, UmemExport, order};

/// Memory that may be shared with another process: an anonymous file, mapped.
#[derive(Debug)]
pub(super) struct Memory {
    file: OwnedFd,
    mapping: Mapping,
}

impl Memory {
    /// `len` bytes of zeroes.
    pub(super) fn new(len: usize) -> Result<Memory, Error> {
        let no_memory = || Error::NoMemory { len };
        let file = memfd_create(c"mlx5-twin umem", MemfdFlags::CLOEXEC).map_err(|errno| refused("memory", errno))?;
        ftruncate(&file, len as u64).map_err(|_| no_memory())?;
        let mapping = Mapping::new(&file, 0, len).map_err(|_| no_memory())?;
        Ok(Memory { file, mapping })
    }

    /// What another process has allocated.
    pub(super) fn of(file: OwnedFd) -> Result<Memory, Error> {
        let what = "memory that another process has allocated";
        let stat = rustix::fs::fstat(&file).map_err(|errno| refused(what, errno))?;
        let len = usize::try_from(stat.st_size).unwrap_or(0);
        let mapping = Mapping::new(&file, 0, len).map_err(|error| Error::Invalid(format!("{what}: {error}")))?;
        Ok(Memory { file, mapping })
    }

    pub(super) fn address(&self) -> u64 {
        self.mapping.address()
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The bytes of an access that needn't be aligned.
    fn bytes(&self, offset: usize, width: usize) -> Result<&[AtomicU8], Error> {
        let all = self.mapping.cells::<AtomicU8>();
        let end = offset.checked_add(width);
        end.and_then(|end| all.get(offset..end)).ok_or(Error::Offset { offset, width, len: all.len() })
    }

    /// The dword of an aligned access.
    fn dword(&self, offset: usize) -> Result<&AtomicU32, Error> {
        let all = self.mapping.cells::<AtomicU32>();
        let aligned = offset.is_multiple_of(4).then_some(offset / 4);
        let wrong = Error::Offset { offset, width: 4, len: self.mapping.len() };
        aligned.and_then(|index| all.get(index)).ok_or(wrong)
    }
}

/// Memory that a context has registered.
#[derive(Debug)]
pub(super) struct Umem {
    context: Weak<Open>,
    export: UmemExport,
    memory: Arc<Memory>,
    /// Whether the registration goes with it: not if it was imported.
    owner: bool,
}

impl Umem {
    pub(super) fn new(context: Weak<Open>, export: UmemExport, memory: Arc<Memory>, owner: bool) -> Umem {
        Umem { context, export, memory, owner }
    }
}

impl RegisteredMemory for Umem {
    fn umem_id(&self) -> u32 {
        self.export.umem_id
    }

    fn len(&self) -> usize {
        self.memory.mapping.len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let from = self.memory.bytes(offset, bytes.len())?;
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let to = self.memory.bytes(offset, bytes.len())?;
        for (from, to) in bytes.iter().zip(to) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    fn load32(&self, offset: usize) -> Result<[u8; 4], Error> {
        let value = self.memory.dword(offset)?.load(Ordering::Relaxed);
        order::acquire();
        Ok(value.to_ne_bytes())
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        let place = self.memory.dword(offset)?;
        order::release();
        place.store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
        Ok(())
    }

    fn export_umem(&self) -> Option<UmemExport> {
        Some(self.export)
    }
}

impl Drop for Umem {
    /// If the device still uses the memory, the kernel keeps it registered until its context closes.
    fn drop(&mut self) {
        let Some(context) = self.context.upgrade().filter(|_| self.owner) else { return };
        let (method, handle) = (abi::METHOD_DEVX_UMEM_DEREG, abi::ATTR_DEVX_UMEM_DEREG_HANDLE);
        match context.destroy(abi::OBJECT_DEVX_UMEM, method, handle, self.export.handle) {
            Ok(()) => context.forget_memory(self.export.handle),
            Err(errno) => tracing::warn!(umem = self.export.umem_id, %errno, "registered memory is still in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn umem(memory: Memory) -> Umem {
        Umem::new(Weak::new(), UmemExport { handle: 1, umem_id: 2 }, Arc::new(memory), true)
    }

    #[test]
    fn memory_is_zero_and_keeps_what_is_written() {
        let umem = umem(Memory::new(8192).expect("there's some"));
        let mut bytes = [1; 8];
        umem.read(4093, &mut bytes).expect("inside");
        assert_eq!(bytes, [0; 8]);
        umem.write(4093, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("inside");
        assert_eq!(umem.load32(4096), Ok([4, 5, 6, 7]));
        umem.store32(8188, [9, 8, 7, 6]).expect("inside");
        umem.read(8184, &mut bytes).expect("inside");
        assert_eq!(bytes, [0, 0, 0, 0, 9, 8, 7, 6]);
    }

    #[test]
    fn another_mapping_of_it_sees_the_same() {
        let memory = Memory::new(4096).expect("there's some");
        let again = Memory::of(memory.file().try_clone_to_owned().expect("a file")).expect("is mapped");
        let (first, second) = (umem(memory), umem(again));
        assert_eq!(second.len(), 4096);
        first.store32(16, *b"twin").expect("inside");
        assert_eq!(second.load32(16), Ok(*b"twin"));
    }

    #[test]
    fn accesses_outside_are_refused() {
        let umem = umem(Memory::new(4096).expect("there's some"));
        let wrong = |offset, width| Err(Error::Offset { offset, width, len: 4096 });
        assert_eq!(umem.read(4090, &mut [0; 7]), wrong(4090, 7));
        assert_eq!(umem.write(usize::MAX, &[0; 2]), wrong(usize::MAX, 2));
        assert_eq!(umem.read(4096, &mut []), Ok(()));
        for offset in [4094, 2, 4096, usize::MAX] {
            assert_eq!(umem.load32(offset).map(drop), wrong(offset, 4));
            assert_eq!(umem.store32(offset, [0; 4]), wrong(offset, 4));
        }
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let file = std::fs::File::open("/dev/null").expect("is there");
        assert!(matches!(Memory::of(file.into()), Err(Error::Invalid(_))));
        assert_eq!(Memory::new(usize::MAX & !4095).map(drop), Err(Error::NoMemory { len: usize::MAX & !4095 }));
    }
}
