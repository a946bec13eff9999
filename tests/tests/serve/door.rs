//! A door for the user-space driver to a device behind a vfio-user socket: what QEMU and a guest are otherwise.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
pub(crate) const COMMAND: u64 = 0x04;
pub(crate) const BAR0: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
pub(crate) const MEMORY_SPACE: u16 = 1 << 1;
pub(crate) const BUS_MASTER: u16 = 1 << 2;
const POWER: u8 = 0x01;
const PCIE: u8 = 0x10;
const MSIX: u8 = 0x11;
const MSIX_ENABLE: u16 = 1 << 15;
const FLR: u16 = 1 << 15;

/// In BAR 0 (`struct mlx5_init_seg`): the command queue's address, and its doorbell.
const CMDQ_ADDRESS: u64 = 0x10;
const DOORBELL: u64 = 0x18;

/// Where BAR 0 lies, and the memory.
pub(crate) const BAR_ADDRESS: u64 = 0x10_0000_0000;
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
    stopped: AtomicBool,
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

    fn set_interrupt(&mut self, vector: u32, events: &[i32]) {
        let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        self.client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, vector, 1, events).expect("answers");
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
        state.client.dma_map(0, MEMORY_ADDRESS, MEMORY_SIZE, memory.as_raw_fd()).expect("answers");
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
            stopped: AtomicBool::new(false),
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

    /// Closes the connection, as the end of a process does.
    pub(crate) fn hang_up(&self) {
        self.with_client(|client| client.shutdown()).expect("is connected");
    }

    /// Asks the programs for their end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Unmaps the memory.
    pub(crate) fn unmap(&self) {
        self.with_client(|client| client.dma_unmap(MEMORY_ADDRESS, MEMORY_SIZE)).expect("answers");
    }

    /// Maps it again.
    pub(crate) fn map(&self) {
        let file = self.memory.as_raw_fd();
        self.with_client(|client| client.dma_map(0, MEMORY_ADDRESS, MEMORY_SIZE, file)).expect("answers");
    }

    /// Reads configuration space.
    pub(crate) fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        self.lock().config(offset)
    }

    /// Sets or clears bits of the command register.
    pub(crate) fn set_command(&self, bits: u16, on: bool) {
        self.lock().set_command(bits, on);
    }

    /// Writes the power state, and gives what it is then.
    pub(crate) fn set_power(&self, value: u16) -> u16 {
        let mut state = self.lock();
        let at = state.capability(POWER) + 4;
        state.set_config(at, &value.to_le_bytes());
        u16::from_le_bytes(state.config(at)) & 3
    }

    /// A vector's entry in the MSI-X table, and whether it's pending.
    pub(crate) fn msix_entry(&self, vector: u32) -> ([u32; 4], bool) {
        let [table, pending] = [4, 8].map(|at| u32::from_le_bytes(self.config(self.msix + at)) & !7);
        let read = |offset| u32::from_le_bytes(self.read32(offset).expect("answers"));
        let entry = u64::from(table) + u64::from(vector) * 16;
        let words = [0, 4, 8, 12].map(|at| read(entry + at));
        (words, read(u64::from(pending) + u64::from(vector / 32 * 4)) >> (vector % 32) & 1 == 1)
    }

    /// Takes a vector's event away from the server: nobody listens to it any more.
    pub(crate) fn stop_listening(&self, vector: u32) {
        self.lock().set_interrupt(vector, &[]);
    }

    /// Gives the device a command queue of one page, which the first command is then written to: ENABLE_HCA, in slot 0.
    pub(crate) fn post_enable_hca(&self) -> Posted {
        let queue = self.alloc_dma(4096).expect("room").iova;
        self.write32(CMDQ_ADDRESS, ((queue >> 32) as u32).to_be_bytes()).expect("answers");
        self.write32(CMDQ_ADDRESS + 4, (queue as u32).to_be_bytes()).expect("answers");
        let posted = Posted { queue };
        posted.post(self);
        posted
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

/// A command queue with a command in its slot 0, written without a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    queue: u64,
}

impl Posted {
    /// Writes the command and rings the doorbell.
    pub(crate) fn post(self, door: &ClientDoor) {
        let mut entry = [0; 64];
        // Type 7 (PCIe), input length, opcode; output length, and the owner is the hardware.
        (entry[0], entry[7], entry[0x3b], entry[0x3f]) = (7, 16, 16, 1);
        entry[0x10..0x12].copy_from_slice(&0x104_u16.to_be_bytes());
        door.dma_write(self.queue, &entry).expect("room");
        door.write32(DOORBELL, 1_u32.to_be_bytes()).expect("answers");
    }

    /// Delivery status and status, once the command is answered.
    pub(crate) fn answer(self, door: &ClientDoor) -> Option<(u8, u8)> {
        let mut entry = [0; 64];
        door.dma_read(self.queue, &mut entry).expect("room");
        (entry[0x3f] & 1 == 0).then_some((entry[0x3f] >> 1, entry[0x20]))
    }

    /// Waits for the answer, at most so long.
    pub(crate) fn wait(self, door: &ClientDoor, most: Duration) -> Option<(u8, u8)> {
        let begun = Instant::now();
        while self.answer(door).is_none() && begun.elapsed() < most {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.answer(door)
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
        state.set_interrupt(vector, &[event.as_raw_fd()]);
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
            if self.is_stopped() && !matches!(until, Until::Watchdog(_)) {
                return Ok(Progress::Silent);
            }
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

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
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
