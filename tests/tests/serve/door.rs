//! A door for the user-space driver to a device behind a vfio-user socket: what QEMU and a guest are otherwise.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mlx5_twin_harness::backend::Error;
use mlx5_twin_harness::driver::{DmaRegion, Door, Progress, Until};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_BAR0_REGION_INDEX,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::Client;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Registers of configuration space, and their bits.
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const PCIE: u8 = 0x10;
const MSIX: u8 = 0x11;
const MSIX_ENABLE: u16 = 1 << 15;
const FLR: u16 = 1 << 15;

/// Where BAR 0 lies, and the memory.
const BAR_ADDRESS: u64 = 0x10_0000_0000;
const MEMORY_ADDRESS: u64 = 0x4000_0000;
const MEMORY_SIZE: u64 = 64 << 20;

struct State {
    client: Client,
    events: BTreeMap<u32, EventFd>,
    next: u64,
    free: Vec<DmaRegion>,
}

/// A connection, and memory that both sides have.
pub(crate) struct ClientDoor {
    state: Mutex<State>,
    memory: File,
    bar_len: u64,
    vectors: u32,
    pcie: u64,
    msix: u64,
    activity: AtomicU64,
    begun: Instant,
}

impl std::fmt::Debug for ClientDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientDoor").finish_non_exhaustive()
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Device(error.to_string())
}

impl State {
    fn config<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, offset, &mut bytes).expect("answers");
        bytes
    }

    fn set_config(&mut self, offset: u64, bytes: &[u8]) {
        self.client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes).expect("answers");
    }

    fn set_command(&mut self, bits: u16, on: bool) {
        let command = u16::from_le_bytes(self.config(COMMAND));
        let command = if on { command | bits } else { command & !bits };
        self.set_config(COMMAND, &command.to_le_bytes());
    }

    fn capability(&mut self, id: u8) -> u64 {
        let [mut at] = self.config(CAPABILITIES);
        while at != 0 {
            let [found, next] = self.config(at.into());
            if found == id {
                return at.into();
            }
            at = next;
        }
        panic!("no capability {id:#x}");
    }
}

impl ClientDoor {
    /// Connects to the device at `socket`, gives it an address and memory.
    pub(crate) fn connect(socket: &Path) -> ClientDoor {
        let client = Client::new(socket).expect("listens");
        let memory = tempfile::tempfile().expect("a file");
        memory.set_len(MEMORY_SIZE).expect("room");
        let bar_len = client.region(VFIO_PCI_BAR0_REGION_INDEX).expect("has BAR 0").size;
        let mut state = State { client, events: BTreeMap::new(), next: MEMORY_ADDRESS, free: Vec::new() };
        let vectors = state.client.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).expect("answers").count;
        let mapped = state.client.dma_map(0, MEMORY_ADDRESS, MEMORY_SIZE, memory.as_raw_fd());
        mapped.expect("answers");
        state.set_config(BAR0, &(BAR_ADDRESS as u32).to_le_bytes());
        state.set_config(BAR0 + 4, &((BAR_ADDRESS >> 32) as u32).to_le_bytes());
        state.set_command(MEMORY_SPACE, true);
        let (pcie, msix) = (state.capability(PCIE), state.capability(MSIX));
        ClientDoor {
            state: Mutex::new(state),
            memory,
            bar_len,
            vectors,
            pcie,
            msix,
            activity: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics")
    }

    /// Calls the connection itself.
    pub(crate) fn with_client<T>(&self, call: impl FnOnce(&mut Client) -> T) -> T {
        call(&mut self.lock().client)
    }

    fn offset(&self, offset: u64, width: u64) -> Result<u64, Error> {
        let inside = offset.checked_add(width).is_some_and(|end| end <= self.bar_len);
        let error = Error::Offset { offset: offset as usize, width: width as usize, len: self.bar_len as usize };
        if inside { Ok(offset) } else { Err(error) }
    }

    fn store(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let offset = self.offset(offset, bytes.len() as u64)?;
        let stored = self.lock().client.region_write(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes);
        stored.map_err(|error| failed(&error))
    }

    fn has_interrupt(&self) -> bool {
        self.lock().events.values().any(|event| {
            let came = event.read().is_ok();
            if came {
                // It's still to be taken.
                event.write(1).expect("there's room");
            }
            came
        })
    }
}

impl Door for ClientDoor {
    fn name(&self) -> String {
        "vfio-user".to_owned()
    }

    fn bar_len(&self) -> u64 {
        self.bar_len
    }

    fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        let offset = self.offset(offset, 4)?;
        let mut bytes = [0; 4];
        let read = self.lock().client.region_read(VFIO_PCI_BAR0_REGION_INDEX, offset, &mut bytes);
        read.map(|()| bytes).map_err(|error| failed(&error))
    }

    fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        self.store(offset, &bytes)
    }

    fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        self.store(offset, &bytes)
    }

    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    fn alloc_dma(&self, len: usize) -> Result<DmaRegion, Error> {
        let len = len.next_multiple_of(4096);
        let mut state = self.lock();
        let region = match state.free.iter().position(|region| region.len == len) {
            Some(place) => state.free.swap_remove(place),
            None if state.next + len as u64 <= MEMORY_ADDRESS + MEMORY_SIZE => {
                let iova = state.next;
                state.next += len as u64;
                DmaRegion { iova, len }
            }
            None => return Err(Error::NoMemory { len }),
        };
        drop(state);
        self.dma_write(region.iova, &vec![0; len])?;
        Ok(region)
    }

    fn free_dma(&self, region: DmaRegion) {
        self.lock().free.push(region);
    }

    fn dma_read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.memory.read_exact_at(bytes, iova - MEMORY_ADDRESS).map_err(|error| failed(&error))
    }

    fn dma_write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write_all_at(bytes, iova - MEMORY_ADDRESS).map_err(|error| failed(&error))
    }

    fn vectors(&self) -> u32 {
        self.vectors
    }

    fn enable(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.set_command(MEMORY_SPACE | BUS_MASTER, true);
        let control = u16::from_le_bytes(state.config(self.msix + 2));
        state.set_config(self.msix + 2, &(control | MSIX_ENABLE).to_le_bytes());
        Ok(())
    }

    fn enable_vector(&self, vector: u32) -> Result<(), Error> {
        let event = EventFd::new(EFD_NONBLOCK).map_err(|error| failed(&error))?;
        let mut state = self.lock();
        let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        let set = state.client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, vector, 1, &[event.as_raw_fd()]);
        set.map_err(|error| failed(&error))?;
        state.events.insert(vector, event);
        Ok(())
    }

    fn disable(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
        state.client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, 0, 0, &[]).map_err(|error| failed(&error))?;
        state.events.clear();
        let control = u16::from_le_bytes(state.config(self.msix + 2));
        state.set_config(self.msix + 2, &(control & !MSIX_ENABLE).to_le_bytes());
        state.set_command(BUS_MASTER, false);
        Ok(())
    }

    fn next_interrupt(&self) -> Option<u32> {
        let state = self.lock();
        let vector = state.events.iter().find(|(_, event)| event.read().is_ok()).map(|(&vector, _)| vector);
        if vector.is_some() {
            self.activity.fetch_add(1, Ordering::SeqCst);
        }
        vector
    }

    fn activity(&self) -> u64 {
        self.activity.load(Ordering::SeqCst)
    }

    fn advance(&self, seen: u64, until: Until) -> Result<Progress, Error> {
        loop {
            if self.activity() > seen || self.has_interrupt() {
                return Ok(Progress::Happened);
            }
            if let Until::Deadline(at) | Until::Watchdog(at) = until
                && self.now() >= at
            {
                return Ok(Progress::TimedOut);
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn nudge(&self) {
        self.activity.fetch_add(1, Ordering::SeqCst);
    }

    fn pause(&self) -> Result<bool, Error> {
        std::thread::sleep(Duration::from_micros(20));
        Ok(true)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn reset(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let control = u16::from_le_bytes(state.config(self.pcie + 8));
        state.set_config(self.pcie + 8, &(control | FLR).to_le_bytes());
        state.set_command(MEMORY_SPACE, true);
        Ok(())
    }

    fn page_size(&self) -> usize {
        4096
    }
}
