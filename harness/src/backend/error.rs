//! What a backend can answer but success.

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;

/// Why a call of a [`super::Backend`] failed. Each variant has the errno that the kernel's verbs interface gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The firmware answered with a status.
    #[error("{opcode} failed: status {status}, syndrome {syndrome:#x}")]
    Command {
        /// The command.
        opcode: Opcode,
        /// Its status.
        status: Status,
        /// Its syndrome; the model's are explained in `model/SYNDROMES.md`.
        syndrome: u32,
    },
    /// The call itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A handle that the context never got, or gave back.
    #[error("this context has no {what} with handle {handle}")]
    NoHandle {
        /// What it should be of.
        what: &'static str,
        /// The handle.
        handle: u32,
    },
    /// The device lacks the capability.
    #[error("the device doesn't support {0}")]
    NotSupported(&'static str),
    /// The kernel has no methods for this with such a device.
    #[error("the kernel offers no {0}: the device has no capability that needs them")]
    NoMethod(&'static str),
    /// Nothing of the kind is left.
    #[error("no {0} is left")]
    NoSpace(&'static str),
    /// A number doesn't fit the field that the kernel's interface has for it.
    #[error("{what} is {value:#x}, which is too large for the kernel's interface")]
    Overflow {
        /// What it is.
        what: &'static str,
        /// How much.
        value: u64,
    },
    /// No memory for DMA is left.
    #[error("no memory is left for {len} bytes")]
    NoMemory {
        /// How much was asked for.
        len: usize,
    },
    /// An access outside of a page or of memory, or at an offset that isn't a multiple of its width.
    #[error("an access of {width} bytes at offset {offset:#x} doesn't fit {len:#x} bytes")]
    Offset {
        /// Where.
        offset: usize,
        /// How many bytes.
        width: usize,
        /// How many there are.
        len: usize,
    },
    /// The firmware doesn't speak our protocol.
    #[error("the device's firmware doesn't speak twin-v1 (capability page 0x7f0: {0})")]
    NoTwin(String),
    /// The kernel refuses, for a reason that has no variant of its own here.
    #[error("the kernel refuses {what}: {}", std::io::Error::from_raw_os_error(*.errno))]
    Kernel {
        /// What it refuses.
        what: &'static str,
        /// Its errno.
        errno: i32,
    },
    /// The device is gone, or doesn't behave as it must.
    #[error("device error: {0}")]
    Device(String),
}

impl Error {
    /// The errno that Linux gives in this case.
    pub fn errno(&self) -> i32 {
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const ENOMEM: i32 = 12;
        const EFAULT: i32 = 14;
        const EINVAL: i32 = 22;
        const ENOSPC: i32 = 28;
        const EOVERFLOW: i32 = 75;
        const EPROTONOSUPPORT: i32 = 93;
        const EOPNOTSUPP: i32 = 95;
        match self {
            Error::Command { status, .. } => status.errno().unwrap_or(EIO),
            Error::Invalid(_) => EINVAL,
            Error::NoHandle { .. } => ENOENT,
            Error::NotSupported(_) | Error::NoTwin(_) => EOPNOTSUPP,
            Error::NoMethod(_) => EPROTONOSUPPORT,
            Error::NoSpace(_) => ENOSPC,
            Error::Overflow { .. } => EOVERFLOW,
            Error::NoMemory { .. } => ENOMEM,
            Error::Offset { .. } => EFAULT,
            Error::Kernel { errno, .. } => *errno,
            Error::Device(_) => EIO,
        }
    }
}

/// A command or an answer that is too short for a field of it, or a value that doesn't fit its field.
impl From<FieldError> for Error {
    fn from(error: FieldError) -> Error {
        Error::Invalid(error.to_string())
    }
}
