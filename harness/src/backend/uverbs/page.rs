//! Pages of the device that the kernel has given out and mapped: VARs and UARs.

use std::sync::Weak;

use super::abi;
use super::open::Open;
use crate::backend::mapping::Mapping;
use crate::backend::{DevicePage, Error, VarExport};

/// A kind of page, by how the kernel takes one back: object, method and attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageKind {
    object: u16,
    method: u16,
    handle: u16,
}

impl PageKind {
    pub(super) fn object(self) -> u16 {
        self.object
    }
}

/// A VAR.
pub(super) const VAR: PageKind =
    PageKind { object: abi::OBJECT_VAR, method: abi::METHOD_VAR_OBJ_DESTROY, handle: abi::ATTR_VAR_OBJ_DESTROY_HANDLE };
/// A UAR.
pub(super) const UAR: PageKind =
    PageKind { object: abi::OBJECT_UAR, method: abi::METHOD_UAR_OBJ_DESTROY, handle: abi::ATTR_UAR_OBJ_DESTROY_HANDLE };

/// A handle that the kernel gave for a page. Dropping it gives the page back, unless its context is closed.
#[derive(Debug)]
pub(super) struct PageHandle {
    context: Weak<Open>,
    kind: PageKind,
    handle: u32,
}

impl PageHandle {
    pub(super) fn new(context: Weak<Open>, kind: PageKind, handle: u32) -> PageHandle {
        PageHandle { context, kind, handle }
    }
}

impl Drop for PageHandle {
    fn drop(&mut self) {
        let Some(context) = self.context.upgrade() else { return };
        let PageKind { object, method, handle } = self.kind;
        if let Err(errno) = context.destroy(object, method, handle, self.handle) {
            tracing::warn!(handle = self.handle, %errno, "a page wasn't given back");
        }
    }
}

/// A mapped page. It can't be stored to when its context is closed.
///
/// The order of the fields is the order of dropping: it's unmapped before it's given back, so that the kernel can give it to the next one at once.
#[derive(Debug)]
pub(super) struct Page {
    mapping: Mapping,
    context: Weak<Open>,
    page_id: u32,
    export: Option<VarExport>,
    /// Not of a page that was imported.
    _handle: Option<PageHandle>,
}

impl Page {
    pub(super) fn new(
        context: Weak<Open>,
        mapping: Mapping,
        page_id: u32,
        export: Option<VarExport>,
        handle: Option<PageHandle>,
    ) -> Page {
        Page { mapping, context, page_id, export, _handle: handle }
    }

    /// Makes an access of `width` bytes.
    fn access<T>(&self, offset: usize, width: usize, access: impl FnOnce(&Mapping) -> Option<T>) -> Result<T, Error> {
        // It's kept from being closed meanwhile.
        let Some(_open) = self.context.upgrade() else {
            return Err(Error::Device(format!("page {} was given back: its context is closed", self.page_id)));
        };
        access(&self.mapping).ok_or(Error::Offset { offset, width, len: self.mapping.len() })
    }
}

impl DevicePage for Page {
    fn page_id(&self) -> u32 {
        self.page_id
    }

    fn len(&self) -> usize {
        self.mapping.len()
    }

    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error> {
        self.access(offset, 4, |mapping| mapping.store(offset, u32::from_ne_bytes(bytes)))
    }

    fn store64(&self, offset: usize, bytes: [u8; 8]) -> Result<(), Error> {
        self.access(offset, 8, |mapping| mapping.store(offset, u64::from_ne_bytes(bytes)))
    }

    fn load32(&self, offset: usize) -> Result<[u8; 4], Error> {
        self.access(offset, 4, |mapping| mapping.load::<u32>(offset)).map(u32::to_ne_bytes)
    }

    fn export_var(&self) -> Option<VarExport> {
        self.export
    }
}
