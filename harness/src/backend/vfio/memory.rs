//! Memory for DMA: anonymous memory of this process, at addresses that the IOMMU translates for the function alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vfio_ioctls::VfioOps;
use vm_memory::volatile_memory::{VolatileMemory, VolatileSlice};
use vm_memory::{Bytes, MmapRegion};

use crate::backend::ranges::Ranges;
use crate::backend::{Error, order};
use crate::driver::DmaRegion;

/// Addresses below are never given out: a mistake often writes to 0. Ours.
const FIRST: u64 = 1 << 20;
/// What is taken for translatable where the kernel doesn't tell: from 4 GiB on, above the places of interrupt messages, to what the smallest IOMMUs
/// can translate (39 bits: Intel VT-d specification, 'Supported Adjusted Guest Address Widths').
const USUAL: (u64, u64) = (4 << 30, (1 << 39) - 1);

/// Free addresses, and the memory at those that are taken.
#[derive(Debug)]
struct State {
    free: Ranges,
    mapped: BTreeMap<u64, MmapRegion>,
}

/// All memory of a function.
pub(super) struct Memory {
    /// Who maps for the IOMMU.
    iommu: Arc<dyn VfioOps>,
    page_size: usize,
    state: RwLock<State>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapped = self.read_state().mapped.len();
        f.debug_struct("Memory").field("page_size", &self.page_size).field("mapped", &mapped).finish_non_exhaustive()
    }
}

/// Whole pages of a range from its first to its last address, as a start and a length.
fn usable((first, last): (u64, u64), page_size: u64) -> Option<(u64, u64)> {
    let start = first.max(FIRST).checked_next_multiple_of(page_size)?;
    let end = last.checked_add(1).unwrap_or(last) / page_size * page_size;
    (end > start).then(|| (start, end - start))
}

impl Memory {
    /// With the addresses of these ranges, each the first and the last one; `None` if the kernel doesn't tell them.
    pub(super) fn new(iommu: Arc<dyn VfioOps>, ranges: Option<Vec<(u64, u64)>>, page_size: usize) -> Memory {
        let ranges = ranges.unwrap_or_else(|| vec![USUAL]);
        let free = Ranges::new(ranges.into_iter().filter_map(|range| usable(range, page_size as u64)));
        Memory { iommu, page_size, state: RwLock::new(State { free, mapped: BTreeMap::new() }) }
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        // Each change is made in one go.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allocates zeroed memory in one piece.
    pub(super) fn alloc(&self, len: usize) -> Result<DmaRegion, Error> {
        let no_memory = Error::NoMemory { len };
        let Some(len) = len.checked_next_multiple_of(self.page_size).filter(|&len| len > 0) else {
            return Err(no_memory);
        };
        let Ok(memory) = MmapRegion::<()>::new(len) else { return Err(no_memory) };
        let taken = self.write_state().free.take(len as u64, self.page_size as u64);
        let Some(iova) = taken else { return Err(no_memory) };
        // SAFETY: the memory is new and only accessed through volatile slices; it's unmapped from the IOMMU before it's unmapped here.
        if let Err(error) = unsafe { self.iommu.vfio_dma_map(iova, len, memory.as_ptr()) } {
            tracing::warn!(len, %error, "no memory for DMA: see the limits of locked memory (ulimit -l) and of mappings (dma_entry_limit)");
            self.write_state().free.give(iova, len as u64);
            return Err(no_memory);
        }
        self.write_state().mapped.insert(iova, memory);
        Ok(DmaRegion { iova, len })
    }

    /// Gives memory back. If the IOMMU keeps it, it stays allocated.
    pub(super) fn free(&self, region: DmaRegion) {
        let Some(memory) = self.write_state().mapped.remove(&region.iova) else { return };
        let len = memory.size();
        match self.iommu.vfio_dma_unmap(region.iova, len) {
            Ok(()) => self.write_state().free.give(region.iova, len as u64),
            Err(error) => {
                tracing::warn!(iova = region.iova, %error, "memory for DMA stays mapped");
                self.write_state().mapped.insert(region.iova, memory);
            }
        }
    }

    /// Calls `access` with the bytes at an address.
    fn at(
        &self,
        iova: u64,
        len: usize,
        access: impl FnOnce(VolatileSlice<'_>) -> Result<(), vm_memory::volatile_memory::Error>,
    ) -> Result<(), Error> {
        let nothing = || Error::Device(format!("{len} bytes at {iova:#x} aren't memory that is lent to the device"));
        let state = self.read_state();
        let (start, memory) = state.mapped.range(..=iova).next_back().ok_or_else(nothing)?;
        let offset = usize::try_from(iova - start).map_err(|_| nothing())?;
        let slice = memory.get_slice(offset, len).map_err(|_| nothing())?;
        access(slice).map_err(|error| Error::Device(format!("memory at {iova:#x}: {error}")))
    }

    /// Reads memory. Aligned 4 and 8 bytes are read at once, and what is read later isn't read before it.
    pub(super) fn read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.at(iova, bytes.len(), |slice| {
            match bytes.len() {
                4 if iova.is_multiple_of(4) => {
                    bytes.copy_from_slice(&slice.load::<u32>(0, Ordering::Acquire)?.to_ne_bytes());
                }
                8 if iova.is_multiple_of(8) => {
                    bytes.copy_from_slice(&slice.load::<u64>(0, Ordering::Acquire)?.to_ne_bytes());
                }
                _ => slice.read_slice(bytes, 0)?,
            }
            Ok(())
        })?;
        order::acquire();
        Ok(())
    }

    /// Writes memory. Aligned 4 and 8 bytes are written at once, and what was written before isn't written after it.
    pub(super) fn write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error> {
        order::release();
        self.at(iova, bytes.len(), |slice| match *bytes {
            [a, b, c, d] if iova.is_multiple_of(4) => {
                slice.store(u32::from_ne_bytes([a, b, c, d]), 0, Ordering::Release)
            }
            [a, b, c, d, e, f, g, h] if iova.is_multiple_of(8) => {
                slice.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), 0, Ordering::Release)
            }
            _ => slice.write_slice(bytes, 0),
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mapped = std::mem::take(&mut self.write_state().mapped);
        for (iova, memory) in mapped {
            if let Err(error) = self.iommu.vfio_dma_unmap(iova, memory.size()) {
                // The kernel holds the pages, not their addresses in this process: the device can't reach what comes there next.
                tracing::warn!(iova, %error, "memory for DMA stays mapped until the container is closed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use vfio_ioctls::VfioError;

    use super::*;

    /// An IOMMU that knows what is mapped, and refuses what the kernel would.
    #[derive(Default)]
    struct Iommu {
        mapped: Mutex<BTreeMap<u64, usize>>,
        refuses: bool,
    }

    impl VfioOps for Iommu {
        unsafe fn vfio_dma_map(&self, iova: u64, size: usize, user_addr: *mut u8) -> vfio_ioctls::Result<()> {
            let mut mapped = self.mapped.lock().expect("nobody panicked");
            let overlaps = mapped.iter().any(|(&at, &len)| iova < at + len as u64 && at < iova + size as u64);
            if self.refuses || overlaps || user_addr.is_null() {
                return Err(VfioError::VfioExtension);
            }
            mapped.insert(iova, size);
            Ok(())
        }

        fn vfio_dma_unmap(&self, iova: u64, size: usize) -> vfio_ioctls::Result<()> {
            match self.mapped.lock().expect("nobody panicked").remove(&iova) {
                Some(len) if len == size => Ok(()),
                _ => Err(VfioError::InvalidDmaUnmapSize),
            }
        }
    }

    const RANGES: [(u64, u64); 2] = [(0, 0x1f_ffff), (0x80_0800, 0x90_07ff)];

    fn memory(iommu: &Arc<Iommu>) -> Memory {
        Memory::new(Arc::clone(iommu) as Arc<dyn VfioOps>, Some(RANGES.to_vec()), 4096)
    }

    #[test]
    fn whole_pages_of_ranges_are_used() {
        for (range, expected) in [
            (RANGES[0], Some((FIRST, 0x10_0000))),
            (RANGES[1], Some((0x80_1000, 0xf_f000))),
            ((FIRST, FIRST + 4094), None),
            ((FIRST, FIRST + 4095), Some((FIRST, 4096))),
            ((0, 100), None),
            ((0, u64::MAX), Some((FIRST, u64::MAX - 4095 - FIRST))),
            ((u64::MAX - 10, u64::MAX), None),
        ] {
            assert_eq!(usable(range, 4096), expected, "{range:x?}");
        }
    }

    proptest! {
        /// Memory is zeroed, its own, where the IOMMU translates, and comes back.
        #[test]
        fn memory_is_ones_own(steps in prop::collection::vec((1..200_000_usize, any::<bool>(), any::<u8>()), 1..60)) {
            let iommu = Arc::new(Iommu::default());
            let memory = memory(&iommu);
            let mut all: Vec<(DmaRegion, u8)> = Vec::new();
            for (len, free, fill) in steps {
                if free && !all.is_empty() {
                    let (region, fill) = all.remove(len % all.len());
                    let mut bytes = vec![0; region.len];
                    memory.read(region.iova, &mut bytes).unwrap();
                    prop_assert!(bytes.iter().all(|&byte| byte == fill));
                    memory.free(region);
                    prop_assert!(memory.read(region.iova, &mut bytes).is_err());
                    continue;
                }
                let Ok(region) = memory.alloc(len) else { continue };
                prop_assert!(region.len >= len && region.len < len + 4096 && region.iova.is_multiple_of(4096));
                let last = region.iova + region.len as u64 - 1;
                prop_assert!(region.iova >= FIRST && RANGES.iter().any(|&(first, end)| region.iova >= first && last <= end));
                let mut bytes = vec![1; region.len];
                memory.read(region.iova, &mut bytes).unwrap();
                prop_assert!(bytes.iter().all(|&byte| byte == 0));
                memory.write(region.iova, &vec![fill; region.len]).unwrap();
                all.push((region, fill));
            }
            prop_assert_eq!(iommu.mapped.lock().unwrap().len(), all.len());
            drop(memory);
            prop_assert!(iommu.mapped.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn accesses_stay_inside() {
        let memory = memory(&Arc::default());
        let DmaRegion { iova, len } = memory.alloc(5000).expect("there is some");
        assert_eq!(len, 8192);
        for (offset, width) in [(0, 1), (4, 4), (6, 4), (8, 8), (12, 8), (3, 61), (8188, 4), (8184, 8), (0, 8192)] {
            let bytes: Vec<u8> = (1..=width as u8).collect();
            let bytes = if width > 255 { vec![7; width] } else { bytes };
            memory.write(iova + offset, &bytes).expect("inside");
            let mut read = vec![0; width];
            memory.read(iova + offset, &mut read).expect("inside");
            assert_eq!(read, bytes, "{width} bytes at {offset}");
        }
        for (at, width) in [(iova - 4, 4), (iova + 8189, 4), (iova + 8192, 1), (iova, 8193), (0, 1), (u64::MAX, 2)] {
            assert!(memory.read(at, &mut vec![0; width]).is_err(), "{width} bytes at {at:#x}");
            assert!(memory.write(at, &vec![0; width]).is_err(), "{width} bytes at {at:#x}");
        }
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        let refusing = Arc::new(Iommu { refuses: true, ..Iommu::default() });
        let memory = memory(&refusing);
        for len in [4096, 0, usize::MAX, 1 << 30] {
            assert_eq!(memory.alloc(len), Err(Error::NoMemory { len }));
        }
        assert_eq!(memory.write_state().free.take(0x10_0000, 4096), Some(FIRST));
    }
}
