//! The driver's way to the function.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_NORESIZE, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_REQ_IRQ_INDEX, VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioOps};

use super::bar::Bar;
use super::config::{BUS_MASTER, Config, MEMORY_SPACE};
use super::find::Found;
use super::interrupts::Interrupts;
use super::memory::Memory;
use super::{group, ioctl};
use crate::backend::{Error, Stop};
use crate::driver::{DmaRegion, Door, Progress, Until};

/// How many vectors are taken where they must be taken all at once (ours: each costs the machine an interrupt).
const MOST_AT_ONCE: u32 = 32;
/// What is read where no device answers.
const NOBODY: [u8; 4] = [0xff; 4];

/// The MSI-X vectors that write to their eventfds. `None` while MSI-X is off.
type Enabled = Option<BTreeSet<u32>>;

/// The door to a function. What is in it goes in this order: the mappings before the device's file, that before the container.
pub(super) struct VfioDoor {
    address: String,
    bar: Bar,
    memory: Memory,
    interrupts: Interrupts,
    /// Held while VFIO changes them.
    enabled: Mutex<Enabled>,
    /// Whether the kernel can add vectors while others are in use (`VFIO_IRQ_INFO_NORESIZE` says that it can't).
    grows: bool,
    device: VfioDevice,
    config_offset: u64,
    page_size: usize,
    begin: Instant,
}

impl fmt::Debug for VfioDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VfioDoor").field("address", &self.address).finish_non_exhaustive()
    }
}

fn device_file(device: &VfioDevice) -> BorrowedFd<'_> {
    // SAFETY: the device keeps its file open as long as it lives.
    unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }
}

fn container_file(container: &VfioContainer) -> BorrowedFd<'_> {
    // SAFETY: the container keeps its file open as long as it lives.
    unsafe { BorrowedFd::borrow_raw(container.as_raw_fd()) }
}

impl VfioDoor {
    /// Opens the function. VFIO has reset it then.
    pub(super) fn open(found: &Found, stop: Stop) -> Result<VfioDoor, Error> {
        let address = found.address.clone();
        let failed = |what: &str, error: io::Error| Error::Device(format!("{address}: {what}: {error}"));
        let lacks = |what: &str| Error::Device(format!("{address} has no {what}"));
        let (container, device) = group::open(found)?;
        let file = device_file(&device);

        let config_offset = device.get_region_offset(VFIO_PCI_CONFIG_REGION_INDEX);
        let config = Config { file, offset: config_offset };
        config.power_up().map_err(|error| failed("power management", error))?;
        config.set_command(MEMORY_SPACE, true).map_err(|error| failed("switching its memory space on", error))?;

        let wanted = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_WRITE;
        if device.get_region_flags(VFIO_PCI_BAR0_REGION_INDEX) & wanted != wanted {
            return Err(lacks("BAR0 that can be mapped"));
        }
        let len = device.get_region_size(VFIO_PCI_BAR0_REGION_INDEX);
        let len = usize::try_from(len).map_err(|_| lacks("BAR0 that fits into this process"))?;
        let bar = Bar::map(file, device.get_region_offset(VFIO_PCI_BAR0_REGION_INDEX), len);
        let bar = bar.map_err(|error| failed("mapping BAR0", error))?;

        let msix = device.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).filter(|irq| irq.count > 0);
        let msix = *msix.ok_or_else(|| lacks("MSI-X capability"))?;
        let grows = msix.flags & VFIO_IRQ_INFO_NORESIZE == 0;
        let vectors = if grows { msix.count } else { msix.count.min(MOST_AT_ONCE) };

        if device.get_irq_info(VFIO_PCI_REQ_IRQ_INDEX).is_some_and(|irq| irq.count > 0) {
            // Who wants the function back (to unbind it, for example) asks for the end, and waits for it.
            ioctl::set_interrupts(file, VFIO_PCI_REQ_IRQ_INDEX, 0, &[stop.as_fd().as_raw_fd()])
                .map_err(|error| failed("hearing of those who want it back", error))?;
        }

        let ranges = ioctl::address_ranges(container_file(&container));
        let ranges = ranges.map_err(|error| failed("the IOMMU's addresses", error))?;
        let page_size = rustix::param::page_size();
        let memory = Memory::new(container as Arc<dyn VfioOps>, ranges, page_size);
        tracing::debug!(address, bar = len, vectors, grows, ?memory, "opened");
        Ok(VfioDoor {
            bar,
            memory,
            interrupts: Interrupts::new(vectors, stop)?,
            enabled: Mutex::default(),
            grows,
            device,
            config_offset,
            page_size,
            begin: Instant::now(),
            address,
        })
    }

    fn file(&self) -> BorrowedFd<'_> {
        device_file(&self.device)
    }

    fn config(&self) -> Config<'_> {
        Config { file: self.file(), offset: self.config_offset }
    }

    fn failed(&self, what: &str, error: &io::Error) -> Error {
        Error::Device(format!("{}: {what}: {error}", self.address))
    }

    /// As [`ioctl::set_interrupts`], of MSI-X vectors.
    fn set_vectors(&self, first: u32, eventfds: &[i32]) -> io::Result<()> {
        ioctl::set_interrupts(self.file(), VFIO_PCI_MSIX_IRQ_INDEX, first, eventfds)
    }

    /// Looks at the vectors, or changes them.
    fn with_enabled<T>(&self, call: impl FnOnce(&mut Enabled) -> Result<T, Error>) -> Result<T, Error> {
        // Each change is made in one go.
        call(&mut self.enabled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Switches MSI-X off, if it's on.
    fn switch_off(&self) -> Result<(), Error> {
        self.with_enabled(|enabled| {
            if enabled.is_some() {
                self.set_vectors(0, &[]).map_err(|error| self.failed("switching MSI-X off", &error))?;
            }
            *enabled = None;
            Ok(())
        })
    }
}

impl Door for VfioDoor {
    fn name(&self) -> String {
        format!("vfio:{}", self.address)
    }

    fn bar_len(&self) -> u64 {
        self.bar.len()
    }

    fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        let bytes = self.bar.read32(offset)?;
        if bytes == NOBODY && !self.config().answers().unwrap_or(false) {
            return Err(Error::Device(format!("{} doesn't answer: it was removed, or is being reset", self.address)));
        }
        Ok(bytes)
    }

    fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        self.bar.write32(offset, bytes)
    }

    fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        self.bar.write64(offset, bytes)
    }

    /// The processor itself holds up who stores faster than the bus takes it.
    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    fn alloc_dma(&self, len: usize) -> Result<DmaRegion, Error> {
        self.memory.alloc(len)
    }

    fn free_dma(&self, region: DmaRegion) {
        self.memory.free(region);
    }

    fn dma_read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.memory.read(iova, bytes)
    }

    fn dma_write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write(iova, bytes)
    }

    fn vectors(&self) -> u32 {
        self.interrupts.vectors()
    }

    fn enable(&self) -> Result<(), Error> {
        let command = self.config().set_command(MEMORY_SPACE | BUS_MASTER, true);
        command.map_err(|error| self.failed("letting it send requests", &error))?;
        self.with_enabled(|enabled| {
            if enabled.is_none() {
                // VFIO switches MSI-X on with the first vectors that it's told of.
                let count = if self.grows { 1 } else { self.vectors() };
                self.set_vectors(0, &vec![-1; count as usize])
                    .map_err(|error| self.failed("switching MSI-X on", &error))?;
                *enabled = Some(BTreeSet::new());
            }
            Ok(())
        })
    }

    fn enable_vector(&self, vector: u32) -> Result<(), Error> {
        let Some(file) = self.interrupts.file(vector)? else {
            return Err(Error::Invalid(format!("MSI-X vector {vector}: there are {}", self.vectors())));
        };
        self.with_enabled(|enabled| {
            let Some(enabled) = enabled else {
                return Err(Error::Device(format!("{}: MSI-X is off", self.address)));
            };
            if !enabled.contains(&vector) {
                self.set_vectors(vector, &[file.as_raw_fd()])
                    .map_err(|error| self.failed(&format!("switching MSI-X vector {vector} on"), &error))?;
                enabled.insert(vector);
            }
            Ok(())
        })
    }

    fn disable(&self) -> Result<(), Error> {
        self.switch_off()?;
        let command = self.config().set_command(BUS_MASTER, false);
        command.map_err(|error| self.failed("keeping it from sending requests", &error))
    }

    fn next_interrupt(&self) -> Option<u32> {
        self.interrupts.next()
    }

    fn activity(&self) -> u64 {
        self.interrupts.count()
    }

    fn advance(&self, seen: u64, until: Until) -> Result<Progress, Error> {
        self.interrupts.advance(seen, until, || self.now())
    }

    fn nudge(&self) {
        self.interrupts.nudge();
    }

    /// Who polls wants the answer soon: so nobody sleeps here, but others may run.
    fn pause(&self) -> Result<bool, Error> {
        thread::yield_now();
        Ok(true)
    }

    fn is_stopped(&self) -> bool {
        self.interrupts.is_stopped()
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// VFIO saves and restores the header's registers around it.
    fn reset(&self) -> Result<(), Error> {
        self.switch_off()?;
        ioctl::reset(self.file()).map_err(|error| self.failed("resetting it", &error))?;
        self.interrupts.clear();
        let command = self.config().set_command(MEMORY_SPACE, true);
        command.map_err(|error| self.failed("switching its memory space on", &error))
    }

    fn page_size(&self) -> usize {
        self.page_size
    }
}
