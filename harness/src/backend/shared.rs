//! What one process tells another one of what their context has, so that both can use it. Fields as in rdma-core's exports.

use serde::{Deserialize, Serialize};

/// A VAR page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VarExport {
    /// The kernel's handle of it.
    pub handle: u32,
    /// The number by which commands name it.
    pub page_id: u32,
    /// How many bytes are mapped.
    pub length: u32,
    /// Where in the context's file it's mapped from.
    pub mmap_offset: u64,
}

/// Registered memory. Both processes must have the memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UmemExport {
    /// The kernel's handle of it.
    pub handle: u32,
    /// The number by which commands name it.
    pub umem_id: u32,
}
