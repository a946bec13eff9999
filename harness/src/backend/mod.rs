//! The contract between emulation software and a device: what a privileged RDMA process can do with an mlx5 device.
//!
//! [`Backend`] is one open context. Its methods are those of a process that has opened the device's uverbs file: DEVX commands and objects, VAR and UAR
//! pages, registered memory, events. All else (channels, emulated functions) is built on it once, and so runs on every implementation.

mod choice;
mod error;
mod limits;
mod mapping;
mod order;
mod ranges;
mod shared;
mod stop;

pub mod sim;
pub mod uverbs;
pub mod vfio;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use serde::{Deserialize, Serialize};

pub use choice::Choice;
pub use error::Error;
pub(crate) use limits::check_event_types;
pub use shared::{UmemExport, VarExport};
pub use stop::Stop;

/// Names an object that a context created by [`Backend::create_object`]. It's all that another process needs that has opened the same context again
/// ([`Backend::import_device`]): this is what rdma-core's export of a DEVX object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectHandle(pub u32);

/// The two tables of VAR pages (Linux `drivers/infiniband/hw/mlx5/main.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarKind {
    /// VirtIO doorbell pages, described by capability page 0x13.
    Virtio,
    /// TLP response gateway pages, described by capability page 0x2a. As `MLX5_IB_UAPI_VAR_ALLOC_FLAG_TLP`.
    Tlp,
}

/// A page of the device's BAR, mapped non-cached: each store is one posted write of its width, and stores stay in order. Dropping it
/// gives the page back.
pub trait DevicePage: fmt::Debug + Send + Sync {
    /// The number by which commands name it: a VAR's `page_id`, or a UAR's index.
    fn page_id(&self) -> u32;

    /// How many bytes are mapped: a multiple of the host's page size.
    fn len(&self) -> usize;

    /// Whether nothing is mapped: never.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores four bytes at an offset that's a multiple of 4.
    ///
    /// # Errors
    /// [`Error::Offset`]; [`Error::Device`] if the device is gone.
    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error>;

    /// Stores eight bytes at an offset that's a multiple of 8.
    ///
    /// # Errors
    /// As [`DevicePage::store32`].
    fn store64(&self, offset: usize, bytes: [u8; 8]) -> Result<(), Error>;

    /// Loads four bytes at an offset that's a multiple of 4.
    ///
    /// # Errors
    /// As [`DevicePage::store32`].
    fn load32(&self, offset: usize) -> Result<[u8; 4], Error>;

    /// What another process needs to map a VAR page too ([`Backend::import_var`]). `None` for a UAR, and where pages can't be shared.
    fn export_var(&self) -> Option<VarExport> {
        None
    }
}

/// Memory that is registered with the device, which reads and writes it by DMA while software does. Dropping it unregisters it, if the device no longer uses it.
pub trait RegisteredMemory: fmt::Debug + Send + Sync {
    /// The number by which commands name it.
    fn umem_id(&self) -> u32;

    /// Its length in bytes.
    fn len(&self) -> usize;

    /// Whether it has no bytes: never.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes out of it. Nothing is said about the order in which they are read.
    ///
    /// # Errors
    /// [`Error::Offset`].
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error>;

    /// Copies bytes into it, in no particular order.
    ///
    /// # Errors
    /// [`Error::Offset`].
    fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error>;

    /// Loads four bytes at an offset that's a multiple of 4; reads that follow see what the device wrote before it (acquire).
    ///
    /// # Errors
    /// [`Error::Offset`].
    fn load32(&self, offset: usize) -> Result<[u8; 4], Error>;

    /// Stores four bytes at an offset that's a multiple of 4; the device that sees it sees what was written before it (release).
    ///
    /// # Errors
    /// [`Error::Offset`].
    fn store32(&self, offset: usize, bytes: [u8; 4]) -> Result<(), Error>;

    /// What another process needs to use the registration too ([`Backend::import_umem`]). `None` where that can't be.
    fn export_umem(&self) -> Option<UmemExport> {
        None
    }
}

/// An event to which the context subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the subscriber gave.
    pub cookie: u64,
    /// The event.
    pub event_type: EventType,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// An event came, or was there already.
    Event(Event),
    /// The time is over.
    TimedOut,
    /// Nothing will ever happen again: the simulation has no event left, and nobody else runs. Real devices never say this.
    Silent,
}

/// One open context of a device. Everything that a context made is its own: another can't touch it.
/// Dropping the context destroys what is left of it.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Which backend it is, and of which device: `sim`, `uverbs:mlx5_0`, `vfio:0000:00:05.0`.
    fn name(&self) -> String;

    /// Opens another context of the same device.
    ///
    /// # Errors
    /// The device's limit of contexts.
    fn open_context(&self) -> Result<Arc<dyn Backend>, Error>;

    /// Executes a command that creates and destroys nothing (DEVX 'general' commands: `devx.c` has the list). The context's uid is put
    /// into the header.
    ///
    /// # Errors
    /// [`Error::Command`] with the firmware's status; [`Error::Invalid`] for an opcode that isn't a general command.
    fn general_command(&self, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error>;

    /// Executes a command that creates an object: gives its handle, and the output.
    ///
    /// # Errors
    /// As [`Backend::general_command`].
    fn create_object(&self, input: &[u8], output_len: usize) -> Result<(ObjectHandle, Vec<u8>), Error>;

    /// Executes a command that queries the object.
    ///
    /// # Errors
    /// As [`Backend::general_command`]; [`Error::Invalid`] if the command names another object; [`Error::NoHandle`].
    fn query_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error>;

    /// Executes a command that modifies the object.
    ///
    /// # Errors
    /// As [`Backend::query_object`].
    fn modify_object(&self, object: ObjectHandle, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error>;

    /// Destroys the object.
    ///
    /// # Errors
    /// [`Error::Command`], or what the kernel makes of it, if the firmware refuses; the object lives on then. [`Error::NoHandle`].
    fn destroy_object(&self, object: ObjectHandle) -> Result<(), Error>;

    /// Allocates a VAR page, the lowest free one of its table.
    ///
    /// # Errors
    /// [`Error::NotSupported`] if the device lacks the capability, [`Error::NoMethod`] if it lacks that of the other table too, [`Error::NoSpace`] if all
    /// are taken, as Linux has it.
    fn alloc_var(&self, kind: VarKind) -> Result<Arc<dyn DevicePage>, Error>;

    /// Opens this context once more, as another process does that got its file (`ibv_import_device`): it has the same uid, and the same handles
    /// name the same things. Each of both waits for its own subscriptions. What the context has lives until the last of them is dropped.
    ///
    /// # Errors
    /// [`Error::NotSupported`].
    fn import_device(&self) -> Result<Arc<dyn Backend>, Error> {
        Err(Error::NotSupported("contexts that are opened again"))
    }

    /// What there is to know of a VAR by its handle: the method VAR_OBJ_QUERY of the kernel's TLP series, as posted. The handle may have been made by
    /// the same context through another file.
    ///
    /// # Errors
    /// [`Error::NoHandle`] if the context has no such VAR; [`Error::Overflow`] if its length doesn't fit 32 bits; [`Error::NotSupported`].
    fn query_var(&self, _handle: u32) -> Result<VarExport, Error> {
        Err(Error::NotSupported("queries of VAR pages"))
    }

    /// Maps a VAR page that the same context allocated, perhaps through another file. As in rdma-core, what the export says isn't checked, except that
    /// the kernel must know the offset and the length, in whole pages. Dropping it unmaps it: the page is given back when its owner has given it back and
    /// nobody has it mapped any more.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Overflow`] if it ends beyond 64 bits; [`Error::NotSupported`].
    fn import_var(&self, _export: &VarExport) -> Result<Arc<dyn DevicePage>, Error> {
        Err(Error::NotSupported("VAR pages that are shared"))
    }

    /// Uses memory that the same context registered, perhaps through another file. Dropping it unregisters nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the context has no such memory; [`Error::NotSupported`].
    fn import_umem(&self, _export: &UmemExport) -> Result<Arc<dyn RegisteredMemory>, Error> {
        Err(Error::NotSupported("registered memory that is shared"))
    }

    /// Allocates a UAR page, mapped non-cached.
    ///
    /// # Errors
    /// [`Error::Command`].
    fn alloc_uar(&self) -> Result<Arc<dyn DevicePage>, Error>;

    /// Allocates zeroed memory of a whole number of pages and registers it as a UMEM that the device may read and write.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a length of 0; [`Error::NoMemory`]; [`Error::Command`].
    fn register_umem(&self, len: usize) -> Result<Arc<dyn RegisteredMemory>, Error>;

    /// The number of the completion EQ of a vector, of which the kernel takes the low 16 bits.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there's no such vector.
    fn query_eqn(&self, vector: u32) -> Result<u32, Error>;

    /// Subscribes to events of the object. Each of them will be a [`Wake::Event`] with `cookie`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an event type that the device doesn't list for users, for none, and for more than 16; [`Error::NoHandle`].
    fn subscribe(&self, object: ObjectHandle, events: &[EventType], cookie: u64) -> Result<(), Error>;

    /// Waits for the next event. `None` waits without end.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is gone.
    fn wait(&self, timeout: Option<Duration>) -> Result<Wake, Error>;

    /// To be called in a loop that polls: where time is simulated, it lets a little of it pass. `false` if nothing will ever happen again.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is gone.
    fn pause(&self) -> Result<bool, Error>;

    /// Whether somebody has asked for the end ([`Stop`]): for programs that always find something to do, and so never wait. Never in a simulation.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Time since some fixed point: virtual, or the machine's monotonic clock.
    fn now(&self) -> Duration;

    /// Whether that time is the simulation's, which stands still while software works. Otherwise it's the machine's.
    fn is_simulated(&self) -> bool {
        false
    }
}
