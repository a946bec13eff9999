//! What the driver needs of a machine: a few accesses to a function's BAR0, memory for DMA, interrupts, and time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Error;

/// Memory that the device reaches by DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRegion {
    /// Address of the first byte as the device sees it, a multiple of [`Door::page_size`].
    pub iova: u64,
    /// Length in bytes, a multiple of [`Door::page_size`].
    pub len: usize,
}

/// How [`Door::advance`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An interrupt came.
    Happened,
    /// The deadline is over.
    TimedOut,
    /// Nothing will ever happen again: a simulation says so, and a real device's door once the end was asked for ([`Door::is_stopped`]).
    Silent,
}

/// How long [`Door::advance`] may take, on the clock of [`Door::now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Without end.
    Forever,
    /// To this time.
    Deadline(Duration),
    /// To about this time, after which something must be wrong. A simulation may notice late that it's over, with the next event: it doesn't keep
    /// an event of its own for a time that is hardly ever reached.
    Watchdog(Duration),
}

/// The way to one PCI function. The driver knows nothing else of the machine that it runs on.
///
/// The driver keeps its state under a lock. It holds this lock while it calls the methods that return at once, and never while it calls one that may wait:
/// [`Door::turn`], [`Door::read32`], [`Door::settle`], [`Door::advance`], [`Door::pause`], [`Door::enable`], [`Door::enable_vector`],
/// [`Door::disable`] and [`Door::reset`].
///
/// Registers are passed as bytes in the order of their addresses: the device's big-endian numbers are the driver's business.
pub trait Door: fmt::Debug + Send + Sync {
    /// Which device it is: `sim`, `vfio:0000:00:05.0`.
    fn name(&self) -> String;

    /// Waits until it's the calling thread's turn to run, where threads take turns. The driver calls it before it locks its state.
    fn turn(&self) {}

    /// Size of BAR0 in bytes.
    fn bar_len(&self) -> u64;

    /// Reads four bytes of BAR0 at an offset that's a multiple of 4.
    ///
    /// # Errors
    /// [`Error::Offset`] outside of BAR0; [`Error::Device`] if the device doesn't answer.
    fn read32(&self, offset: u64) -> Result<[u8; 4], Error>;

    /// Sends four bytes to BAR0 as one posted write, at an offset that's a multiple of 4. Writes stay in order.
    ///
    /// # Errors
    /// [`Error::Offset`] outside of BAR0; [`Error::Device`] if this or an earlier write couldn't be sent.
    fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error>;

    /// As [`Door::write32`], eight bytes at an offset that's a multiple of 8.
    ///
    /// # Errors
    /// As [`Door::write32`].
    fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error>;

    /// Waits until the writes so far have left for the device. A program that stores without end is held up here.
    ///
    /// # Errors
    /// As [`Door::write32`].
    fn settle(&self) -> Result<(), Error>;

    /// Allocates zeroed memory in one piece; the length is rounded up to whole pages.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    fn alloc_dma(&self, len: usize) -> Result<DmaRegion, Error>;

    /// Gives memory back.
    fn free_dma(&self, region: DmaRegion);

    /// Reads memory that was allocated here.
    ///
    /// # Errors
    /// [`Error::Device`] if there's no such memory.
    fn dma_read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error>;

    /// Writes memory that was allocated here. A later [`Door::write32`] doesn't overtake it.
    ///
    /// # Errors
    /// [`Error::Device`] if there's no such memory.
    fn dma_write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error>;

    /// How many interrupt vectors the function has.
    fn vectors(&self) -> u32;

    /// Lets the function send requests and interrupts (Bus Master Enable and MSI-X Enable); of the vectors none is enabled yet.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn enable(&self) -> Result<(), Error>;

    /// Lets one vector interrupt. A vector that already may stays so.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there's no such vector; [`Error::Device`].
    fn enable_vector(&self, vector: u32) -> Result<(), Error>;

    /// The reverse of [`Door::enable`].
    ///
    /// # Errors
    /// [`Error::Device`].
    fn disable(&self) -> Result<(), Error>;

    /// Takes a vector that has interrupted.
    fn next_interrupt(&self) -> Option<u32>;

    /// How many interrupts have come so far, nudges included.
    fn activity(&self) -> u64;

    /// Lets time pass until more interrupts than `seen` have come, or the time of `until` is over. Once the end was asked for it gives
    /// [`Progress::Silent`], but not to who waits with [`Until::Watchdog`]: commands are finished all the same.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn advance(&self, seen: u64, until: Until) -> Result<Progress, Error>;

    /// Counts as an interrupt for all that are in [`Door::advance`]: there's something to look at.
    fn nudge(&self);

    /// Lets the time of one poll pass; `false` if nothing will ever happen again.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn pause(&self) -> Result<bool, Error>;

    /// Whether somebody has asked for the end: then what users wait for doesn't come any more, and their polls end.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Time since some fixed point.
    fn now(&self) -> Duration;

    /// Whether that clock is a simulation's: see [`Backend::is_simulated`](crate::backend::Backend::is_simulated).
    fn is_simulated(&self) -> bool {
        false
    }

    /// Resets the function (function-level reset) and makes it usable again; interrupts are off then.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn reset(&self) -> Result<(), Error>;

    /// The host's page size in bytes, a power of two from 4096 on.
    fn page_size(&self) -> usize;
}

/// Memory for DMA that is given back when it's dropped.
#[derive(Debug)]
pub(super) struct Dma {
    door: Arc<dyn Door>,
    region: DmaRegion,
}

impl Dma {
    /// Allocates zeroed memory.
    pub(super) fn new(door: &Arc<dyn Door>, len: usize) -> Result<Dma, Error> {
        Ok(Dma { region: door.alloc_dma(len)?, door: Arc::clone(door) })
    }

    pub(super) fn iova(&self) -> u64 {
        self.region.iova
    }

    pub(super) fn len(&self) -> usize {
        self.region.len
    }

    /// Addresses of its 4 KiB pages.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        let DmaRegion { iova, len } = self.region;
        (iova..iova + len as u64).step_by(mlx5_twin_fw_cmds::constants::ADAPTER_PAGE_SIZE)
    }
}

impl Drop for Dma {
    fn drop(&mut self) {
        self.door.free_dma(self.region);
    }
}
