//! The vfio-user side: what a client asks becomes accesses of the root complex.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS,
    VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE, vfio_region_info,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion};

use super::engine::Vector;
use super::memory::{ClientMemory, MapError};
use super::platform::Platform;
use super::shared::Shared;
use mlx5_twin_sim::host::{Access, Data, LINE};

/// Bytes of configuration space.
const CONFIG_SIZE: u64 = 4096;
/// QEMU and Linux unmap everything by bit 1 with an empty range; the vfio_user crate calls that bit by another name.
const UNMAP_ALL: u32 = 1 << 1 | 1 << 2;

/// What a client may know of the regions, by index (Linux's vfio.h).
pub(super) fn regions(bar_size: u64) -> Vec<ServerRegion> {
    let region = |index: u32| {
        let size = match index {
            VFIO_PCI_BAR0_REGION_INDEX => bar_size,
            VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE,
            _ => 0,
        };
        let flags = if size == 0 { 0 } else { VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE };
        let argsz = size_of::<vfio_region_info>() as u32;
        let region_info = vfio_region_info { argsz, flags, index, cap_offset: 0, size, offset: 0 };
        ServerRegion { region_info, sparse_areas: Vec::new(), mmap_fd: None }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}

/// What a client may know of the interrupts, by index. MSI-X vectors may be added while others are in use: without NORESIZE, since QEMU would
/// disable all of them for a moment each time.
pub(super) fn interrupts(vectors: u32) -> Vec<IrqInfo> {
    let interrupt = |index: u32| {
        let count = if index == VFIO_PCI_MSIX_IRQ_INDEX { vectors } else { 0 };
        IrqInfo { index, flags: if count == 0 { 0 } else { VFIO_IRQ_INFO_EVENTFD }, count }
    };
    (0..VFIO_PCI_NUM_IRQS).map(interrupt).collect()
}

/// A client's view of the device.
///
/// An error goes back to the client only where it did something wrong itself: what a guest does gets an answer as on a bus.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    memory: Arc<ClientMemory>,
}

fn invalid(error: &MapError) -> io::Error {
    tracing::warn!(%error, "the client's memory");
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, memory: Arc<ClientMemory>) -> Client {
        Client { shared, memory }
    }

    /// The client has gone: nothing of its is touched any more, and the next one finds the function as new.
    pub(super) fn gone(&self) {
        self.shared.with(|engine, platform| {
            engine.vectors.clear();
            platform.forget();
            platform.reset(engine);
            self.memory.clear();
        });
    }
}

/// The pieces that an access of a guest is made of: aligned, at most 8 bytes each for registers, or within a line of 64 bytes.
fn pieces(offset: u64, len: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at;
        let room = most - (offset + begin as u64) as usize % most;
        at = len.min(begin + room);
        (begin < at).then_some(begin..at)
    })
}

impl ServerBackend for Client {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.shared.with(|engine, platform| {
            engine.traffic.reads += 1;
            let limit = match region {
                VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE,
                VFIO_PCI_BAR0_REGION_INDEX => platform.bar_size(),
                _ => 0,
            };
            let inside = offset.checked_add(data.len() as u64).is_some_and(|end| end <= limit);
            if !inside {
                tracing::debug!(region, offset, len = data.len(), "a read outside of the region");
                // As much as a guest's access can have.
                let len = data.len().min(LINE);
                data[..len].fill(0xff);
            } else if region == VFIO_PCI_CONFIG_REGION_INDEX {
                for piece in pieces(offset, data.len(), 4) {
                    let at = offset + piece.start as u64;
                    let dword = Platform::config_read(engine, at as u16 / 4).to_le_bytes();
                    let skip = (at % 4) as usize;
                    data[piece.clone()].copy_from_slice(&dword[skip..skip + piece.len()]);
                }
            } else {
                for piece in pieces(offset, data.len(), LINE) {
                    let read = platform
                        .address(offset + piece.start as u64)
                        .and_then(|address| engine.access(Access::MemoryRead { address, len: piece.len() as u8 }).ok());
                    match read {
                        Some(read) if read.bytes().len() == piece.len() => data[piece].copy_from_slice(read.bytes()),
                        // What a CPU gets for a read that nobody answers.
                        _ => data[piece].fill(0xff),
                    }
                }
            }
        });
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.shared.with(|engine, platform| {
            engine.traffic.writes += 1;
            let limit = match region {
                VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE,
                VFIO_PCI_BAR0_REGION_INDEX => platform.bar_size(),
                _ => 0,
            };
            let inside = offset.checked_add(data.len() as u64).is_some_and(|end| end <= limit);
            if !inside {
                tracing::debug!(region, offset, len = data.len(), "a write outside of the region");
            } else if region == VFIO_PCI_CONFIG_REGION_INDEX {
                for piece in pieces(offset, data.len(), 4) {
                    let at = offset + piece.start as u64;
                    let skip = (at % 4) as usize;
                    let mut dword = [0; 4];
                    dword[skip..skip + piece.len()].copy_from_slice(&data[piece.clone()]);
                    let enables = ((1_u8 << piece.len()) - 1) << skip;
                    platform.config_write(engine, at as u16 / 4, enables, u32::from_le_bytes(dword));
                }
            } else {
                for piece in pieces(offset, data.len(), LINE) {
                    // A write that nobody takes is lost, as on a bus.
                    let Some(address) = platform.address(offset + piece.start as u64) else { continue };
                    if let Err(error) = engine.access(Access::MemoryWrite { address, data: Data::new(&data[piece]) }) {
                        tracing::debug!(address, %error, "a write");
                    }
                }
            }
        });
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        self.shared.with(|engine, _| {
            engine.traffic.maps += 1;
            let may_write = flags.contains(DmaMapFlags::WRITE);
            tracing::debug!(address, size, offset, file = file.is_some(), may_write, "map");
            self.memory.map(address, size, file.map(|file| (file, offset)), may_write).map_err(|error| invalid(&error))
        })
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        self.shared.with(|engine, _| {
            engine.traffic.unmaps += 1;
            tracing::debug!(address, size, ?flags, "unmap");
            if address == 0 && size == 0 && flags.bits() & UNMAP_ALL != 0 {
                self.memory.clear();
                return Ok(());
            }
            self.memory.unmap(address, size).map(drop).map_err(|error| invalid(&error))
        })
    }

    fn reset(&mut self) -> io::Result<()> {
        self.shared.with(|engine, platform| platform.reset(engine));
        Ok(())
    }

    fn set_irqs(&mut self, index: u32, flags: u32, start: u32, count: u32, files: Vec<File>) -> io::Result<()> {
        tracing::debug!(index, flags, start, count, files = files.len(), "interrupts");
        if index != VFIO_PCI_MSIX_IRQ_INDEX {
            // The function has no other interrupts; QEMU asks for INTx all the same.
            return Ok(());
        }
        self.shared.with(|engine, platform| {
            let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
            let Some(end) = start.checked_add(count).filter(|end| *end <= platform.vectors()) else {
                return wrong("the function hasn't so many MSI-X vectors");
            };
            if flags & VFIO_IRQ_SET_ACTION_TRIGGER == 0 {
                // Masking is the guest's own, in its own MSI-X table.
                return Ok(());
            }
            match flags & (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_EVENTFD) {
                VFIO_IRQ_SET_DATA_NONE if count == 0 => engine.vectors.clear(),
                VFIO_IRQ_SET_DATA_EVENTFD if files.is_empty() => {
                    engine.vectors.retain(|vector, _| !(start..end).contains(vector));
                }
                VFIO_IRQ_SET_DATA_EVENTFD if files.len() == count as usize => {
                    let listeners = files.into_iter().map(Vector::new).collect::<io::Result<Vec<_>>>()?;
                    engine.vectors.extend((start..end).zip(listeners));
                }
                VFIO_IRQ_SET_DATA_NONE => {
                    engine.trigger(start..end);
                }
                _ => return wrong("as many event descriptors as vectors, or none"),
            }
            platform.program(engine);
            Ok(())
        })
    }
}
