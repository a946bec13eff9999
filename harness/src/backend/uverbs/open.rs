//! The file of a context, and the calls that need no more than it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;

use super::abi;
use super::call::Call;
use super::device::Device;
use super::umem::Memory;

/// A context's file. When the last one who has it drops it, the kernel closes the context: it destroys all that is left of it, the newest first, tries again
/// what the device refuses, and waits for the last mapping to go.
#[derive(Debug)]
pub(super) struct Open {
    file: OwnedFd,
    device: Device,
    /// Memory that this process has, by the handle under which the context has registered it.
    memory: Mutex<BTreeMap<u32, Weak<Memory>>>,
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What a user context is asked for: `struct mlx5_ib_alloc_ucontext_req_v2` of `mlx5-abi.h`, 32 bytes.
fn request() -> [u8; 32] {
    let mut request = [0; 32];
    request[8..12].copy_from_slice(&abi::ALLOC_UCTX_DEVX.to_ne_bytes()); // flags
    request[24..32].copy_from_slice(&abi::LIB_CAPS.to_ne_bytes()); // lib_caps
    request
}

impl Open {
    /// Makes the file's context.
    pub(super) fn create(device: Device, file: OwnedFd) -> Result<Open, Errno> {
        let request = request();
        let mut response = [0; abi::ALLOC_UCONTEXT_RESP];
        Call::new(abi::OBJECT_DEVICE, abi::METHOD_GET_CONTEXT)
            .input(abi::ATTR_UHW_IN, &request)
            .output(abi::ATTR_UHW_OUT, &mut response)
            .run(&file)?;
        Ok(Open { file, device, memory: Mutex::default() })
    }

    /// Takes a file that has a context.
    pub(super) fn import(device: Device, file: OwnedFd) -> Result<Open, Errno> {
        let open = Open { file, device, memory: Mutex::default() };
        open.query()?;
        Ok(open)
    }

    /// Asks the kernel for the context, as who imports it does.
    pub(super) fn query(&self) -> Result<(), Errno> {
        let mut response = [0; abi::ALLOC_UCONTEXT_RESP];
        Call::new(abi::OBJECT_DEVICE, abi::METHOD_QUERY_CONTEXT)
            .output(abi::ATTR_QUERY_CONTEXT_RESP_UCTX, &mut response)
            .run(self)
            .map(drop)
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Destroys what a handle stands for.
    pub(super) fn destroy(&self, object: u16, method: u16, attribute: u16, handle: u32) -> Result<(), Errno> {
        Call::new(object, method).handle(attribute, handle).run(self).map(drop)
    }

    fn memories(&self) -> MutexGuard<'_, BTreeMap<u32, Weak<Memory>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which memory is registered under a handle.
    pub(super) fn keep_memory(&self, handle: u32, memory: &Arc<Memory>) {
        self.memories().insert(handle, Arc::downgrade(memory));
    }

    pub(super) fn forget_memory(&self, handle: u32) {
        self.memories().remove(&handle);
    }

    /// The memory that is registered under a handle, if this process has it.
    pub(super) fn memory(&self, handle: u32) -> Option<Arc<Memory>> {
        self.memories().get(&handle)?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the struct of the header, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_context_is_asked_for_with_devx_and_no_uars() {
        let mut expected = [0; 32];
        expected[8] = 1;
        expected[24] = 3;
        assert_eq!(request(), expected);
    }
}
