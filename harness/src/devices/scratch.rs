//! `scratch`: the smallest useful function. A few registers, a counter, two interrupts.
//!
//! | offset | register | read | write |
//! |---|---|---|---|
//! | 0x00 | `IDENTITY` | 0x54435253 ("SRCT") | nothing |
//! | 0x04 | `SCRATCH` | what was written | sets the bytes that are enabled |
//! | 0x08 | `COUNTER` | the sum | adds the enabled bytes; a sum above `LIMIT` raises vector 1 and starts again at 0 |
//! | 0x0c | `LIMIT` | what was written | sets the bytes that are enabled |
//! | 0x10 | `TRIGGER` | how often it was written | raises vector 0 |
//!
//! All other bytes of the region read 0. Vendor and device ID are ours: nobody is assigned 0xfff1.

use std::sync::Arc;

use mlx5_twin_sim::config::{Bar, MsixCapability, PcieCapability, PortType, Type0};
use mlx5_twin_sim::time::Time;

use super::Summary;
use crate::backend::Backend;
use crate::emulation::{Behaviour, Channel, Description, Dword, Error, PciEvent, Port, Request, Serving, serve};

pub mod host;
#[cfg(test)]
mod tests;

/// Vendor ID (ours).
pub const VENDOR: u16 = 0xfff1;
/// Device ID (ours).
pub const DEVICE: u16 = 0x0001;
/// What [`IDENTITY`] reads: "SRCT".
pub const MAGIC: u32 = 0x5443_5253;
/// What [`LIMIT`] is after a reset.
pub const FIRST_LIMIT: u32 = 1000;

/// Offset of the register that says what it is.
pub const IDENTITY: u64 = 0x00;
/// Offset of the register that keeps what is written.
pub const SCRATCH: u64 = 0x04;
/// Offset of the counter.
pub const COUNTER: u64 = 0x08;
/// Offset of the counter's limit.
pub const LIMIT: u64 = 0x0c;
/// Offset of the register that raises an interrupt.
pub const TRIGGER: u64 = 0x10;

/// The vector that [`TRIGGER`] raises.
pub const TRIGGER_VECTOR: u16 = 0;
/// The vector that the counter raises.
pub const COUNTER_VECTOR: u16 = 1;

/// What the function at a port looks like: one BAR with registers in its first page, MSI-X table and pending bits in pages of their own.
pub fn description(port: u16) -> Description {
    let header = Type0 {
        vendor_id: VENDOR,
        device_id: DEVICE,
        class_code: 0xff_0000, // of no class
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    };
    Description::new(port, header)
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .msix(MsixCapability { vectors: 2, table_bar: 0, table_offset: 0x2000, pba_bar: 0, pba_offset: 0x3000 })
        .transaction(0, 0x0000, 0x1000)
}

/// The registers, as they are after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    scratch: u32,
    counter: u32,
    limit: u32,
    triggered: u32,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers { scratch: 0, counter: 0, limit: FIRST_LIMIT, triggered: 0 }
    }
}

impl Registers {
    /// The dword at `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            IDENTITY => MAGIC,
            SCRATCH => self.scratch,
            COUNTER => self.counter,
            LIMIT => self.limit,
            TRIGGER => self.triggered,
            _ => 0,
        }
    }

    /// What they hold: four numbers, big-endian (ours).
    pub fn to_bytes(&self) -> Vec<u8> {
        let Registers { scratch, counter, limit, triggered } = *self;
        [scratch, counter, limit, triggered].iter().flat_map(|register| register.to_be_bytes()).collect()
    }

    /// The registers that hold this. `None` if it isn't four numbers.
    pub fn from_bytes(bytes: &[u8]) -> Option<Registers> {
        let (registers, []) = bytes.as_chunks::<4>() else { return None };
        let &[scratch, counter, limit, triggered] = registers else { return None };
        let [scratch, counter, limit, triggered] = [scratch, counter, limit, triggered].map(u32::from_be_bytes);
        Some(Registers { scratch, counter, limit, triggered })
    }

    /// Writes a dword: gives the vector to raise.
    pub fn write(&mut self, dword: Dword) -> Option<u16> {
        match dword.offset {
            SCRATCH => self.scratch = dword.over(self.scratch),
            LIMIT => self.limit = dword.over(self.limit),
            COUNTER => match self.counter.checked_add(dword.over(0)) {
                Some(sum) if sum <= self.limit => self.counter = sum,
                _ => {
                    self.counter = 0;
                    return Some(COUNTER_VECTOR);
                }
            },
            TRIGGER => {
                self.triggered = self.triggered.wrapping_add(1);
                return Some(TRIGGER_VECTOR);
            }
            _ => {}
        }
        None
    }
}

/// A function, and what was done.
#[derive(Clone, Debug, Default)]
struct Scratch {
    registers: Registers,
    summary: Summary,
}

impl Behaviour for Scratch {
    fn description(port: u16) -> Description {
        description(port)
    }

    fn request(&mut self, channel: &mut Channel, port: Port, request: Request, _now: Time) -> Result<(), Error> {
        let Scratch { registers, summary } = self;
        match request {
            Request::Read(read) => {
                summary.reads += 1;
                channel.complete(read.id, &read.data(|offset, _| registers.read(offset)))?;
            }
            Request::Write(write) => {
                summary.writes += 1;
                for vector in write.dwords().filter_map(|dword| registers.write(dword)) {
                    match channel.raise_msix(port, vector) {
                        Ok(()) => summary.interrupts += 1,
                        Err(Error::MsixDisabled(_) | Error::NotBusMaster(_)) => summary.interrupts_dropped += 1,
                        Err(error) => return Err(error),
                    }
                }
            }
            Request::Reset(_) | Request::PciEvent(PciEvent::PerstAsserted) => {
                summary.resets += 1;
                *registers = Registers::default();
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(self.registers.to_bytes())
    }

    fn restore(saved: &[u8]) -> Option<Scratch> {
        Some(Scratch { registers: Registers::from_bytes(saved)?, summary: Summary::default() })
    }
}

/// The emulation program: serves its functions until nothing will ever happen again, or another process has taken them over.
///
/// # Errors
/// As [`serve`].
pub fn run(backend: Arc<dyn Backend>, serving: &Serving) -> Result<Summary, Error> {
    let functions = serve::<Scratch>(backend, serving)?;
    Ok(functions.into_values().map(|function| function.summary).sum())
}
