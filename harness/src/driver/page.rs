//! Pages of BAR0 that a context has mapped: UARs and VARs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Driver;
use super::mmap::Mapping;
use crate::backend::{DevicePage, Error, VarExport};

/// Bytes of BAR0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) len: usize,
}

/// A mapped page. Once it's given back, with its handle or with its context, nothing can be stored through it: its place may be another's by then.
#[derive(Debug)]
pub(super) struct Page {
    driver: Arc<Driver>,
    uid: u16,
    /// What goes with it: nothing, if it was imported.
    handle: Option<u32>,
    /// Of a VAR: the entry that it maps.
    entry: Option<u64>,
    export: Option<VarExport>,
    page_id: u32,
    span: Span,
    mapped: Arc<AtomicBool>,
}

impl Page {
    /// A UAR.
    pub(super) fn uar(
        driver: &Arc<Driver>,
        uid: u16,
        handle: u32,
        page_id: u32,
        span: Span,
        mapped: Arc<AtomicBool>,
    ) -> Page {
        let driver = Arc::clone(driver);
        Page { driver, uid, handle: Some(handle), entry: None, export: None, page_id, span, mapped }
    }

    /// A VAR, whose owner gives it back with its handle.
    pub(super) fn var(
        driver: &Arc<Driver>,
        uid: u16,
        handle: Option<u32>,
        page_id: u32,
        export: Option<VarExport>,
        mapping: Mapping,
    ) -> Page {
        let Mapping { at, span, mapped } = mapping;
        Page { driver: Arc::clone(driver), uid, handle, entry: Some(at), export, page_id, span, mapped }
    }

    /// Where in BAR0 an access of `width` bytes goes.
    fn place(&self, offset: usize, width: usize) -> Result<u64, Error> {
        check(offset, width, self.span.len)?;
        self.driver.door.turn();
        if !self.mapped.load(Ordering::Acquire) {
            return Err(Error::Device(format!("page {} was given back: its context is closed", self.page_id)));
        }
        Ok(self.span.start + offset as u64)
    }
}

/// Checks that an aligned access lies inside `len` bytes.
pub(super) fn check(offset: usize, width: usize, len: usize) -> Result<(), Error> {
    let inside = offset.checked_add(width).is_some_and(|end| end <= len);
    if inside && offset.is_multiple_of(width) { Ok(()) } else { Err(Error::Offset { offset, width, len }) }
}

impl DevicePage for Page {
    fn page_id(&self) -> u32 {
        self.page_id
    }

    fn len(&self) -> usize {
        self.span.len
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        self.driver.door.write32(self.place(offset, 4)?, bytes)?;
        self.driver.door.settle()
    }

    fn store64(&self, offset: usize, bytes: [u8; 8]) -> Result<(), Error> {
        self.driver.door.write64(self.place(offset, 8)?, bytes)?;
        self.driver.door.settle()
    }

    fn load32(&self, offset: usize) -> Result<[u8; 4], Error> {
        self.driver.door.read32(self.place(offset, 4)?)
    }

    fn export_var(&self) -> Option<VarExport> {
        self.export
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.driver.unmap(self.uid, entry, &self.mapped);
        }
        let Some(handle) = self.handle else { return };
        if let Err(error) = self.driver.release(self.uid, handle) {
            tracing::warn!(page = self.page_id, %error, "a page wasn't given back");
        }
    }
}
