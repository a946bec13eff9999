//! The driver's way to the model: accesses of the DPU's cores to the fabric, the DPU's memory, and virtual time.

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::host::{Access, AccessError, Found};
use mlx5_twin_sim::tlp::Bdf;

use super::schedule::{Outcome, Scheduler, Shared, Wait};
use crate::backend::Error;
use crate::driver::{DmaRegion, Door, Progress, Until};

/// Dwords of the configuration header, and bits in them (PCI local bus specification, 'Configuration Space Organization').
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// Capability IDs, and bits of their first registers (PCIe base specification, 'MSI-X Capability' and 'PCI Express Capability Structure').
const MSIX: u8 = 0x11;
const PCIE: u8 = 0x10;
const MSIX_ENABLE: u32 = 1 << 31;
const DEVICE_CONTROL: u16 = 2;
const INITIATE_FLR: u32 = 1 << 15;
/// How long software waits after a function-level reset (PCIe base specification, 'Function Level Reset').
const FLR_TIME: Time = Time::ms(100);
/// Bytes of an entry of the MSI-X table.
const ENTRY: u64 = 16;
/// Where interrupt messages go: the local APICs' range. The data is the vector's number.
const INTERRUPT_ADDRESS: u32 = 0xfee0_0000;

/// The function's MSI-X capability.
#[derive(Clone, Copy, Debug)]
struct Msix {
    /// Dword of the capability.
    register: u16,
    vectors: u32,
    /// Where the table is in BAR0.
    table: u64,
}

/// The door to the model's PCI function.
#[derive(Debug)]
pub(super) struct SimDoor {
    scheduler: Arc<Scheduler>,
    id: Bdf,
    bar: u64,
    bar_len: u64,
    pcie: Option<u16>,
    msix: Msix,
    page_size: usize,
}

/// What the bus's answer means to the driver.
fn bus_error(error: AccessError) -> Error {
    Error::Device(error.to_string())
}

fn duration(time: Time) -> Duration {
    Duration::from_nanos(time.as_ns())
}

fn time(duration: Duration) -> Time {
    Time::ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

impl SimDoor {
    /// The door to a function that enumeration has found.
    pub(super) fn new(scheduler: Arc<Scheduler>, found: &Found, page_size: usize) -> Result<SimDoor, Error> {
        let lacks = |what: &str| Error::Device(format!("the function {} has no {what}", found.id));
        let bar = found.bars.iter().find(|bar| bar.index == 0).ok_or_else(|| lacks("BAR0"))?;
        let register = found.capability(MSIX).ok_or_else(|| lacks("MSI-X capability"))? / 4;
        let mut door = SimDoor {
            scheduler,
            id: found.id,
            bar: bar.address,
            bar_len: bar.size,
            pcie: found.capability(PCIE).map(|offset| offset / 4),
            msix: Msix { register, vectors: 0, table: 0 },
            page_size,
        };
        let table_size = door.config_read(register)? >> 16 & 0x7ff;
        let table = door.config_read(register + 1)?;
        door.msix.vectors = table_size + 1;
        door.msix.table = u64::from(table & !7);
        let end = door.msix.table + u64::from(door.msix.vectors) * ENTRY;
        if table & 7 != 0 || end > door.bar_len {
            return Err(lacks("MSI-X table in BAR0"));
        }
        Ok(door)
    }

    /// Makes an access, and waits for its result.
    fn access(&self, access: Access) -> Result<u64, Error> {
        let mut refused = None;
        let outcome = self.scheduler.wait(|shared| {
            shared.touch();
            match shared.simulation.access(shared.dpu, access) {
                Ok(ticket) => Wait::Result(ticket),
                Err(error) => {
                    refused = Some(error);
                    Wait::Turn
                }
            }
        });
        match (refused, outcome) {
            (Some(error), _) | (None, Outcome::Result(Err(error))) => Err(bus_error(error)),
            (None, Outcome::Result(Ok(data))) => Ok(data.to_u64()),
            (None, _) => Err(Error::Device("the device doesn't answer, and nothing more will happen".to_owned())),
        }
    }

    fn config_read(&self, register: u16) -> Result<u32, Error> {
        Ok(self.access(Access::ConfigRead { target: self.id, register })? as u32)
    }

    fn config_write(&self, register: u16, value: u32) -> Result<(), Error> {
        self.access(Access::ConfigWrite { target: self.id, register, byte_enables: 0xf, value }).map(drop)
    }

    /// Sets or clears bits of the Command register; those of the Status register in the same dword are written 0, which changes none.
    fn set_command(&self, bits: u32, on: bool) -> Result<(), Error> {
        let command = self.config_read(COMMAND)? & 0xffff;
        self.config_write(COMMAND, if on { command | bits } else { command & !bits })
    }

    /// The bus address of an aligned access to BAR0.
    fn address(&self, offset: u64, width: u64) -> Result<u64, Error> {
        let inside = offset.checked_add(width).is_some_and(|end| end <= self.bar_len);
        if inside && offset.is_multiple_of(width) {
            return Ok(self.bar + offset);
        }
        Err(Error::Offset { offset: offset as usize, width: width as usize, len: self.bar_len as usize })
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let address = self.address(offset, bytes.len() as u64)?;
        self.scheduler.enter().0.store(address, bytes).map_err(bus_error)
    }

    fn with<T>(&self, call: impl FnOnce(&mut Shared) -> T) -> T {
        call(&mut self.scheduler.enter().0)
    }
}

fn no_memory(iova: u64, len: usize) -> Error {
    Error::Device(format!("{len} bytes at {iova:#x} aren't memory of the DPU"))
}

impl Door for SimDoor {
    fn name(&self) -> String {
        "sim".to_owned()
    }

    fn turn(&self) {
        drop(self.scheduler.enter());
    }

    fn bar_len(&self) -> u64 {
        self.bar_len
    }

    fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        let address = self.address(offset, 4)?;
        // The bytes lie in the order of their addresses: on this bus, little-endian.
        Ok((self.access(Access::MemoryRead { address, len: 4 })? as u32).to_le_bytes())
    }

    fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        self.store(offset, &bytes)
    }

    fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        self.store(offset, &bytes)
    }

    fn settle(&self) -> Result<(), Error> {
        if let Outcome::Silent = self.scheduler.wait(|shared| shared.all_stores()) {
            return Err(Error::Device("a store doesn't leave for the device, and nothing more will happen".to_owned()));
        }
        self.with(|shared| shared.store_error()).map_or(Ok(()), |error| Err(bus_error(error)))
    }

    fn alloc_dma(&self, len: usize) -> Result<DmaRegion, Error> {
        let no_memory = Error::NoMemory { len };
        let Some(len) = len.checked_next_multiple_of(self.page_size) else { return Err(no_memory) };
        self.with(|shared| {
            let Some(iova) = shared.memory.take(len as u64, self.page_size as u64) else { return Err(no_memory) };
            let dpu = shared.dpu;
            let zeroed = shared.simulation.fabric_mut().memory_mut(dpu).map(|memory| memory.write(iova, &vec![0; len]));
            if !matches!(zeroed, Some(Ok(()))) {
                shared.memory.give(iova, len as u64);
                return Err(no_memory);
            }
            Ok(DmaRegion { iova, len })
        })
    }

    fn free_dma(&self, region: DmaRegion) {
        self.with(|shared| shared.memory.give(region.iova, region.len as u64));
    }

    fn dma_read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let read = self.with(|shared| {
            shared.simulation.fabric().memory(shared.dpu).is_some_and(|memory| memory.read(iova, bytes).is_ok())
        });
        if read { Ok(()) } else { Err(no_memory(iova, bytes.len())) }
    }

    fn dma_write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.with(|shared| {
            shared.touch();
            let dpu = shared.dpu;
            shared.simulation.fabric_mut().memory_mut(dpu).is_some_and(|memory| memory.write(iova, bytes).is_ok())
        });
        if written { Ok(()) } else { Err(no_memory(iova, bytes.len())) }
    }

    fn vectors(&self) -> u32 {
        self.msix.vectors
    }

    fn enable(&self) -> Result<(), Error> {
        self.set_command(MEMORY_SPACE | BUS_MASTER, true)?;
        let control = self.config_read(self.msix.register)?;
        self.config_write(self.msix.register, control | MSIX_ENABLE)
    }

    fn enable_vector(&self, vector: u32) -> Result<(), Error> {
        if vector >= self.msix.vectors {
            return Err(Error::Invalid(format!("MSI-X vector {vector}: there are {}", self.msix.vectors)));
        }
        let entry = self.msix.table + u64::from(vector) * ENTRY;
        // Address, upper address, data, and the vector control, which unmasks it. Until then the vector is masked, as after a reset.
        for (at, value) in (entry..).step_by(4).zip([INTERRUPT_ADDRESS, 0, vector, 0]) {
            self.write32(at, value.to_le_bytes())?;
        }
        self.settle()
    }

    fn disable(&self) -> Result<(), Error> {
        let control = self.config_read(self.msix.register)?;
        self.config_write(self.msix.register, control & !MSIX_ENABLE)?;
        self.set_command(BUS_MASTER, false)
    }

    fn next_interrupt(&self) -> Option<u32> {
        self.with(Shared::next_interrupt)
    }

    fn activity(&self) -> u64 {
        self.with(|shared| shared.interrupt_count())
    }

    fn advance(&self, seen: u64, until: Until) -> Result<Progress, Error> {
        let outcome = self.scheduler.wait(|shared| {
            if let Until::Deadline(at) = until {
                shared.alarm(time(at));
            }
            let until = match until {
                Until::Forever => None,
                Until::Deadline(at) | Until::Watchdog(at) => Some(time(at)),
            };
            Wait::Interrupt { seen, until }
        });
        Ok(match outcome {
            Outcome::TimedOut => Progress::TimedOut,
            Outcome::Silent => Progress::Silent,
            Outcome::Ready | Outcome::Result(_) => Progress::Happened,
        })
    }

    fn nudge(&self) {
        self.with(Shared::nudge);
    }

    fn pause(&self) -> Result<bool, Error> {
        Ok(self.scheduler.poll())
    }

    fn now(&self) -> Duration {
        duration(self.with(|shared| shared.now()))
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn reset(&self) -> Result<(), Error> {
        let Some(pcie) = self.pcie else {
            return Err(Error::Device(format!(
                "the function {} has no PCI Express capability to reset it by",
                self.id
            )));
        };
        let control = self.config_read(pcie + DEVICE_CONTROL)?;
        // The upper half is the status register, whose bits are cleared by writing 1.
        self.config_write(pcie + DEVICE_CONTROL, control & 0xffff | INITIATE_FLR)?;
        let end = self.now() + duration(FLR_TIME);
        while self.advance(u64::MAX, Until::Deadline(end))? == Progress::Happened {}
        self.config_write(FIRST_BAR, self.bar as u32)?;
        self.config_write(FIRST_BAR + 1, (self.bar >> 32) as u32)?;
        self.config_write(pcie + DEVICE_CONTROL, control & 0x7fff)?;
        self.set_command(MEMORY_SPACE, true)
    }

    fn page_size(&self) -> usize {
        self.page_size
    }
}
