//! Registered memory (UMEM).

use std::sync::Arc;

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{create_umem_in, mtt, umem};
use mlx5_twin_fw_cmds::opcode::Opcode;

use super::Driver;
use super::command::Command;
use super::door::Dma;
use super::page::check;
use crate::backend::{Error, RegisteredMemory, UmemExport};

/// The bits of a translation entry that allow the device to read and to write.
const ACCESS: u64 = bit(mtt::RD_EN) | bit(mtt::WR_EN);

const fn bit(field: Field) -> u64 {
    1 << (63 - field.offset)
}

/// The command that registers memory: one entry for each page of 4 KiB.
pub(super) fn create(uid: u16, memory: &Dma) -> Result<Command, Error> {
    const UMEM: u32 = create_umem_in::UMEM.bits();
    Command::new(Opcode::CREATE_UMEM, create_umem_in::SIZE)?
        .uid(uid)?
        .set(umem::NUM_OF_MTT.within(UMEM), memory.pages().count() as u64)?
        .list(umem::MTT.within(UMEM), memory.pages().map(|page| page | ACCESS))
}

/// Memory that a context has registered.
#[derive(Debug)]
pub(super) struct Umem {
    driver: Arc<Driver>,
    uid: u16,
    handle: u32,
    id: u32,
    memory: Arc<Dma>,
    /// Whether the registration goes with it: not if it was imported.
    owner: bool,
}

impl Umem {
    pub(super) fn new(driver: &Arc<Driver>, uid: u16, handle: u32, id: u32, memory: Arc<Dma>, owner: bool) -> Umem {
        Umem { driver: Arc::clone(driver), uid, handle, id, memory, owner }
    }

    /// Where an access of `width` bytes goes that needn't be aligned.
    fn place(&self, offset: usize, width: usize) -> Result<u64, Error> {
        let len = self.memory.len();
        match offset.checked_add(width) {
            Some(end) if end <= len => Ok(self.memory.iova() + offset as u64),
            _ => Err(Error::Offset { offset, width, len }),
        }
    }
}

impl RegisteredMemory for Umem {
    fn umem_id(&self) -> u32 {
        self.id
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.driver.door.dma_read(self.place(offset, bytes.len())?, bytes)
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.driver.door.dma_write(self.place(offset, bytes.len())?, bytes)
    }

    fn load32(&self, offset: usize) -> Result<[u8; 4], Error> {
        check(offset, 4, self.memory.len())?;
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        check(offset, 4, self.memory.len())?;
        self.write(offset, &bytes)
    }

    fn export_umem(&self) -> Option<UmemExport> {
        Some(UmemExport { handle: self.handle, umem_id: self.id })
    }
}

impl Drop for Umem {
    /// If the device still uses the memory, it stays until its context closes.
    fn drop(&mut self) {
        if !self.owner {
            return;
        }
        if let Err(error) = self.driver.release(self.uid, self.handle) {
            tracing::debug!(umem = self.id, %error, "registered memory is still in use");
        }
    }
}
