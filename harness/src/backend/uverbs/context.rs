//! A context of a device: the contract, by calls of the kernel's verbs interface.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use rustix::io::Errno;
use rustix::param::page_size;

use super::abi;
use super::call::{Call, Done};
use super::commands::AsyncCommands;
use super::device::Device;
use super::events::Events;
use super::open::Open;
use super::page::{Page, PageHandle, PageKind, UAR, VAR};
use super::refusal::{command_refused, handle_refused, page_refused, refused};
use super::umem::{Memory, Umem};
use crate::backend::mapping::Mapping;
use crate::backend::{
    Backend, DevicePage, Error, ObjectHandle, RegisteredMemory, UmemExport, VarExport, VarKind, Wake,
};

/// An open context, through one of its files.
#[derive(Debug)]
pub struct Context {
    /// It goes before the file: the kernel counts its files.
    events: Events,
    open: Arc<Open>,
}

/// Object, method and attributes of a command on an object: its handle, the command, its output.
type ObjectCommand = (&'static str, u16, [u16; 3]);

const QUERY: ObjectCommand = (
    "a command that is to query an object",
    abi::METHOD_DEVX_OBJ_QUERY,
    [abi::ATTR_DEVX_OBJ_QUERY_HANDLE, abi::ATTR_DEVX_OBJ_QUERY_CMD_IN, abi::ATTR_DEVX_OBJ_QUERY_CMD_OUT],
);
const MODIFY: ObjectCommand = (
    "a command that is to modify an object",
    abi::METHOD_DEVX_OBJ_MODIFY,
    [abi::ATTR_DEVX_OBJ_MODIFY_HANDLE, abi::ATTR_DEVX_OBJ_MODIFY_CMD_IN, abi::ATTR_DEVX_OBJ_MODIFY_CMD_OUT],
);

/// What the kernel says of a page that it gives out.
#[derive(Debug, Default)]
struct Place {
    offset: [u8; 8],
    length: [u8; 4],
    page_id: [u8; 4],
}

impl Place {
    fn export(&self, handle: u32) -> VarExport {
        VarExport {
            handle,
            page_id: u32::from_ne_bytes(self.page_id),
            length: u32::from_ne_bytes(self.length),
            mmap_offset: u64::from_ne_bytes(self.offset),
        }
    }
}

impl Context {
    /// Makes the context of a file that was just opened.
    pub(super) fn create(device: Device, file: OwnedFd) -> Result<Context, Error> {
        Context::over(Open::create(device, file).map_err(|errno| refused("a context", errno))?)
    }

    /// Opens the context of a file once more.
    pub(super) fn import(device: Device, file: OwnedFd) -> Result<Context, Error> {
        Context::over(Open::import(device, file).map_err(|errno| refused("to import a context", errno))?)
    }

    fn over(open: Open) -> Result<Context, Error> {
        Ok(Context { events: Events::new(&open)?, open: Arc::new(open) })
    }

    /// The context's file: another process that gets it, over a unix socket, opens the same context once more ([`Device::import`]).
    pub fn file(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }

    /// The memory that is registered under a handle, as a file that another process can map too. `None` if this process hasn't got it.
    pub fn memory_file(&self, export: &UmemExport) -> Option<OwnedFd> {
        self.open.memory(export.handle)?.file().try_clone_to_owned().ok()
    }

    /// Uses memory that another process has registered in this context, and whose file ([`Context::memory_file`]) it has given to this one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the file can't be mapped.
    pub fn import_umem_of(&self, export: &UmemExport, memory: OwnedFd) -> Result<Arc<dyn RegisteredMemory>, Error> {
        let memory = Arc::new(Memory::of(memory)?);
        self.open.keep_memory(export.handle, &memory);
        Ok(Arc::new(Umem::new(Arc::downgrade(&self.open), *export, memory, false)))
    }

    /// Has the kernel make a file from which answers of asynchronous commands are read.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn async_commands(&self) -> Result<AsyncCommands, Error> {
        AsyncCommands::new(&self.open)
    }

    /// Allocates a UAR page that is mapped with write combining, for whole queue entries by BlueFlame.
    ///
    /// # Errors
    /// As [`Backend::alloc_uar`]; [`Error::NotSupported`] if the kernel has found that the machine can't combine writes.
    pub fn alloc_blue_flame_uar(&self) -> Result<Arc<dyn DevicePage>, Error> {
        self.uar(abi::UAR_ALLOC_TYPE_BF)
    }

    fn uar(&self, uar_type: u64) -> Result<Arc<dyn DevicePage>, Error> {
        let mut place = Place::default();
        let handle = abi::ATTR_UAR_OBJ_ALLOC_HANDLE;
        let done = Call::new(abi::OBJECT_UAR, abi::METHOD_UAR_OBJ_ALLOC)
            .new_handle(handle)
            .number64(abi::ATTR_UAR_OBJ_ALLOC_TYPE, uar_type)
            .output(abi::ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET, &mut place.offset)
            .output(abi::ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH, &mut place.length)
            .output(abi::ATTR_UAR_OBJ_ALLOC_PAGE_ID, &mut place.page_id)
            .run(&self.open)
            .and_then(|done| done.handle(handle));
        let handle = done.map_err(|errno| page_refused("UAR pages of that kind", "UAR page", errno))?;
        self.page(UAR, &place.export(handle))
    }

    /// Maps a page that the kernel has just given out.
    fn page(&self, kind: PageKind, export: &VarExport) -> Result<Arc<dyn DevicePage>, Error> {
        let context = Arc::downgrade(&self.open);
        let handle = PageHandle::new(context.clone(), kind, export.handle);
        let mapping = self.map(export)?;
        let var = (kind.object() == abi::OBJECT_VAR).then_some(*export);
        Ok(Arc::new(Page::new(context, mapping, export.page_id, var, Some(handle))))
    }

    fn map(&self, export: &VarExport) -> Result<Mapping, Error> {
        Mapping::new(&self.open, export.mmap_offset, export.length as usize)
            .map_err(|error| refused("to map a page", Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))
    }

    fn command_on(
        &self,
        (what, method, [handle, command, answer]): ObjectCommand,
        object: ObjectHandle,
        input: &[u8],
        output_len: usize,
    ) -> Result<Vec<u8>, Error> {
        let mut output = vec![0; output_len];
        Call::new(abi::OBJECT_DEVX_OBJ, method)
            .handle(handle, object.0)
            .input(command, input)
            .output(answer, &mut output)
            .run(&self.open)
            .map_err(|errno| match errno {
                Errno::NOENT => handle_refused("object", what, object.0, errno),
                errno => command_refused(what, errno, input, &output),
            })?;
        Ok(output)
    }
}

impl Backend for Context {
    fn name(&self) -> String {
        format!("uverbs:{}", self.open.device().name())
    }

    fn open_context(&self) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(self.open.device().open_context()?))
    }

    fn general_command(&self, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        let mut output = vec![0; output_len];
        Call::new(abi::OBJECT_DEVX, abi::METHOD_DEVX_OTHER)
            .input(abi::ATTR_DEVX_OTHER_CMD_IN, input)
            .output(abi::ATTR_DEVX_OTHER_CMD_OUT, &mut output)
            .run(&self.open)
            .map_err(|errno| command_refused("a general command", errno, input, &output))?;
        Ok(output)
    }

    fn create_object(&self, input: &[u8], output_len: usize) -> Result<(ObjectHandle, Vec<u8>), Error> {
        let mut output = vec![0; output_len];
        let handle = abi::ATTR_DEVX_OBJ_CREATE_HANDLE;
        let created = Call::new(abi::OBJECT_DEVX_OBJ, abi::METHOD_DEVX_OBJ_CREATE)
            .new_handle(handle)
            .input(abi::ATTR_DEVX_OBJ_CREATE_CMD_IN, input)
            .output(abi::ATTR_DEVX_OBJ_CREATE_CMD_OUT, &mut output)
            .run(&self.open)
            .and_then(|done: Done| done.handle(handle));
        let what = "a command that is to create an object";
        let handle = created.map_err(|errno| command_refused(what, errno, input, &output))?;
        Ok((ObjectHandle(handle), output))
    }

    fn query_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        self.command_on(QUERY, object, input, output_len)
    }

    fn modify_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        self.command_on(MODIFY, object, input, output_len)
    }

    fn destroy_object(&self, object: ObjectHandle) -> Result<(), Error> {
        let (method, handle) = (abi::METHOD_DEVX_OBJ_DESTROY, abi::ATTR_DEVX_OBJ_DESTROY_HANDLE);
        let destroyed = self.open.destroy(abi::OBJECT_DEVX_OBJ, method, handle, object.0);
        destroyed.map_err(|errno| handle_refused("object", "to destroy an object", object.0, errno))?;
        self.events.forget(object);
        Ok(())
    }

    fn alloc_var(&self, kind: VarKind) -> Result<Arc<dyn DevicePage>, Error> {
        let (flags, kinds, one) = match kind {
            VarKind::Virtio => (0, "VirtIO doorbell pages (VIRTIO_NET_Q of general_obj_types)", "VirtIO doorbell page"),
            VarKind::Tlp => (
                abi::VAR_ALLOC_FLAG_TLP,
                "TLP response gateway pages (tlp_device_emulation_manager)",
                "TLP response gateway page",
            ),
        };
        let mut place = Place::default();
        let handle = abi::ATTR_VAR_OBJ_ALLOC_HANDLE;
        let mut call = Call::new(abi::OBJECT_VAR, abi::METHOD_VAR_OBJ_ALLOC)
            .new_handle(handle)
            .output(abi::ATTR_VAR_OBJ_ALLOC_MMAP_OFFSET, &mut place.offset)
            .output(abi::ATTR_VAR_OBJ_ALLOC_MMAP_LENGTH, &mut place.length)
            .output(abi::ATTR_VAR_OBJ_ALLOC_PAGE_ID, &mut place.page_id);
        if flags != 0 {
            // Older kernels have one table and don't know the attribute.
            call = call.number32(abi::ATTR_VAR_OBJ_ALLOC_FLAGS, flags);
        }
        let done = call.run(&self.open).and_then(|done| done.handle(handle));
        let handle = done.map_err(|errno| page_refused(kinds, one, errno))?;
        self.page(VAR, &place.export(handle))
    }

    fn import_device(&self) -> Result<Arc<dyn Backend>, Error> {
        self.open.query().map_err(|errno| refused("to import a context", errno))?;
        Ok(Arc::new(Context { events: Events::new(&self.open)?, open: Arc::clone(&self.open) }))
    }

    fn query_var(&self, handle: u32) -> Result<VarExport, Error> {
        let mut place = Place::default();
        Call::new(abi::OBJECT_VAR, abi::METHOD_VAR_OBJ_QUERY)
            .handle(abi::ATTR_VAR_OBJ_QUERY_HANDLE, handle)
            .output(abi::ATTR_VAR_OBJ_QUERY_PAGE_ID, &mut place.page_id)
            .output(abi::ATTR_VAR_OBJ_QUERY_MMAP_OFFSET, &mut place.offset)
            .output(abi::ATTR_VAR_OBJ_QUERY_MMAP_LENGTH, &mut place.length)
            .run(&self.open)
            .map_err(|errno| match errno {
                Errno::PROTONOSUPPORT => Error::NotSupported("queries of VAR pages: the kernel has no VAR_OBJ_QUERY"),
                errno => handle_refused("VAR", "to query a VAR", handle, errno),
            })?;
        Ok(place.export(handle))
    }

    fn import_var(&self, export: &VarExport) -> Result<Arc<dyn DevicePage>, Error> {
        let mapping = self.map(export)?;
        Ok(Arc::new(Page::new(Arc::downgrade(&self.open), mapping, export.page_id, Some(*export), None)))
    }

    fn import_umem(&self, export: &UmemExport) -> Result<Arc<dyn RegisteredMemory>, Error> {
        let memory = self.open.memory(export.handle).ok_or_else(|| {
            Error::Invalid(format!("this process has no registered memory with handle {}", export.handle))
        })?;
        Ok(Arc::new(Umem::new(Arc::downgrade(&self.open), *export, memory, false)))
    }

    fn alloc_uar(&self) -> Result<Arc<dyn DevicePage>, Error> {
        self.uar(abi::UAR_ALLOC_TYPE_NC)
    }

    fn register_umem(&self, len: usize) -> Result<Arc<dyn RegisteredMemory>, Error> {
        if len == 0 {
            return Err(Error::Invalid("a UMEM of 0 bytes".to_owned()));
        }
        let len = len.checked_next_multiple_of(page_size()).ok_or(Error::NoMemory { len })?;
        let memory = Arc::new(Memory::new(len)?);
        let mut id = [0; 4];
        let handle = abi::ATTR_DEVX_UMEM_REG_HANDLE;
        let registered = Call::new(abi::OBJECT_DEVX_UMEM, abi::METHOD_DEVX_UMEM_REG)
            .new_handle(handle)
            .number64(abi::ATTR_DEVX_UMEM_REG_ADDR, memory.address())
            .number64(abi::ATTR_DEVX_UMEM_REG_LEN, len as u64)
            .number32(abi::ATTR_DEVX_UMEM_REG_ACCESS, abi::ACCESS_LOCAL_WRITE)
            .output(abi::ATTR_DEVX_UMEM_REG_OUT_ID, &mut id)
            .run(&self.open)
            .and_then(|done| done.handle(handle));
        let handle = registered.map_err(|errno| match errno {
            Errno::NOMEM => Error::NoMemory { len },
            errno => refused("to register memory", errno),
        })?;
        self.open.keep_memory(handle, &memory);
        let export = UmemExport { handle, umem_id: u32::from_ne_bytes(id) };
        Ok(Arc::new(Umem::new(Arc::downgrade(&self.open), export, memory, true)))
    }

    fn query_eqn(&self, vector: u32) -> Result<u32, Error> {
        let mut eqn = [0; 4];
        Call::new(abi::OBJECT_DEVX, abi::METHOD_DEVX_QUERY_EQN)
            .number32(abi::ATTR_DEVX_QUERY_EQN_USER_VEC, vector)
            .output(abi::ATTR_DEVX_QUERY_EQN_DEV_EQN, &mut eqn)
            .run(&self.open)
            .map_err(|errno| refused("to tell the EQ of a vector", errno))?;
        Ok(u32::from_ne_bytes(eqn))
    }

    fn subscribe(&self, object: ObjectHandle, events: &[EventType], cookie: u64) -> Result<(), Error> {
        self.events.subscribe(&self.open, object, events, cookie)
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<Wake, Error> {
        self.events.wait(self.open.device().stop(), timeout)
    }

    fn pause(&self) -> Result<bool, Error> {
        thread::yield_now();
        Ok(!self.is_stopped())
    }

    fn is_stopped(&self) -> bool {
        self.open.device().stop().is_requested()
    }

    fn now(&self) -> Duration {
        self.open.device().begin().elapsed()
    }
}
