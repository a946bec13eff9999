//! What a CPU asks of the bus, and what it may get instead of an answer.

use crate::config::RootPortPio;
use crate::tlp::Bdf;

/// The longest single access of a CPU: a cache line, in bytes.
pub const LINE: usize = 64;

/// Up to 64 bytes that a CPU reads or writes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; LINE],
    len: u8,
}

impl Data {
    /// Nothing.
    pub const EMPTY: Data = Data { bytes: [0; LINE], len: 0 };

    /// The first 64 bytes of `bytes`.
    pub fn new(bytes: &[u8]) -> Data {
        let len = bytes.len().min(LINE);
        let mut data = Data { bytes: [0; LINE], len: len as u8 };
        data.bytes[..len].copy_from_slice(&bytes[..len]);
        data
    }

    /// `len` bytes of value 0, 64 at most.
    pub fn zeroed(len: usize) -> Data {
        Data { bytes: [0; LINE], len: len.min(LINE) as u8 }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }

    /// The bytes as a little-endian number; those beyond the eighth don't count.
    pub fn to_u64(&self) -> u64 {
        self.bytes().iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }
}

/// One access of a CPU to something beyond its root ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads `len` bytes (1 to 64, within one aligned 64-byte line) of memory space.
    MemoryRead {
        /// Address of the first byte.
        address: u64,
        /// Number of bytes.
        len: u8,
    },
    /// Writes bytes (1 to 64, within one aligned 64-byte line) to memory space.
    MemoryWrite {
        /// Address of the first byte.
        address: u64,
        /// The bytes.
        data: Data,
    },
    /// Reads a dword of configuration space.
    ConfigRead {
        /// The function.
        target: Bdf,
        /// The dword, 0 to 1,023.
        register: u16,
    },
    /// Writes bytes of a dword of configuration space.
    ConfigWrite {
        /// The function.
        target: Bdf,
        /// The dword, 0 to 1,023.
        register: u16,
        /// Which of the four bytes are written.
        byte_enables: u8,
        /// The dword's value, byte 0 in the low bits.
        value: u32,
    },
}

/// Why an access didn't succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Nobody claims the address, or the completion says Unsupported Request.
    #[error("unsupported request: nothing answers at {0:#x}")]
    UnsupportedRequest(u64),
    /// The completion says Completer Abort.
    #[error("the completer aborted the access to {0:#x}")]
    CompleterAbort(u64),
    /// The completion says Configuration Request Retry Status, and went on doing so for a second.
    #[error("the function is still not ready for configuration requests (CRS) at {0:#x}")]
    NotReady(u64),
    /// No completion came in time.
    #[error("completion timeout at {0:#x}")]
    Timeout(u64),
    /// The completion came, and its data is marked as bad.
    #[error("the data read at {0:#x} is poisoned")]
    Poisoned(u64),
    /// The request failed so, and the root port's RP PIO Exception asks for an exception of the processor: without it, a real one reads all ones.
    #[error("an exception of the processor: its request to {0:#x} failed ({1:?})")]
    Exception(u64, RootPortPio),
    /// The access itself breaks a rule: its length, or a line that it crosses.
    #[error("an access of {len} bytes at {address:#x} isn't 1 to 64 bytes within one aligned 64-byte line")]
    Shape {
        /// Its address.
        address: u64,
        /// Its length.
        len: usize,
    },
    /// The root complex has no memory there.
    #[error("no memory at {0:#x}")]
    NoMemory(u64),
}
