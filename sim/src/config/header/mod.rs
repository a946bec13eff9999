//! The first 64 bytes of configuration space: what types 0 and 1 have in common (section 7.5.1.1).

pub mod bar;
pub mod type0;
pub mod type1;

use super::changed::{Changed, Watch};
use super::space::{ConfigSpace, Row};
use super::{ConfigError, PowerState};
use bar::Bar;

/// Byte offset of Vendor ID and Device ID.
pub(super) const IDENTITY: u16 = 0x00;
/// Byte offset of Command (low half) and Status (high half).
pub(super) const COMMAND: u16 = 0x04;
/// Byte offset of Revision ID and Class Code.
pub(super) const CLASS: u16 = 0x08;
/// Byte offset of Cache Line Size, Latency Timer, Header Type and BIST.
pub(super) const HEADER_TYPE: u16 = 0x0c;
/// Byte offset of base address register 0.
pub(super) const BAR0: u16 = 0x10;
/// Byte offset of the Capabilities Pointer.
pub(super) const CAPABILITIES_POINTER: u16 = 0x34;
/// Byte offset of Interrupt Line and Interrupt Pin, and of Bridge Control in type 1.
pub(super) const INTERRUPT: u16 = 0x3c;

/// The writable bits of Command in a PCI Express function: I/O space, memory space, bus master,
/// parity error response, SERR# and interrupt disable. The others are hardwired to 0.
const COMMAND_RW: u32 = 0x0547;
/// The RW1C bits of Status, in the high half of its dword. Secondary Status has the same.
pub(super) const STATUS_RW1C: u32 = 0xf900_0000;

/// The rows that both header types begin with. Identity, class and header type are filled in.
#[rustfmt::skip]
pub(super) const COMMON: [Row; 5] = [
    //       offset        name                      reset  rw          rw1c         sticky flr
    Row::new(IDENTITY,     "Vendor ID, Device ID",     0,   0,          0,           0,     0),
    Row::new(COMMAND,      "Command, Status",          0,   COMMAND_RW, STATUS_RW1C, 0,     0),
    Row::new(CLASS,        "Revision ID, Class Code",  0,   0,          0,           0,     0),
    Row::new(HEADER_TYPE,  "Cache Line, Header Type",  0,   0x0000_00ff, 0,          0,     0),
    Row::new(CAPABILITIES_POINTER, "Capabilities Pointer", 0, 0,        0,           0,     0),
];

/// The watches that both header types begin with.
pub(super) const COMMON_WATCHES: [Watch; 1] = [Watch::changed(COMMAND, 0xffff, Changed::COMMAND)];

/// Which header a space has, and what its base address registers decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderState {
    /// Is it type 1, a bridge's?
    pub(super) bridge: bool,
    /// The base address registers as they were asked for.
    pub(super) bars: [Option<Bar>; 6],
    /// Byte offset of the Expansion ROM register.
    pub(super) rom_at: u16,
    /// Size of the expansion ROM in bytes; 0 for none.
    pub(super) rom_size: u32,
}

/// The Command register (section 7.5.1.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Command(pub u16);

impl Command {
    /// Does the function answer to I/O requests (a bridge: forward them)?
    pub const fn io_space(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// Does the function answer to memory requests (a bridge: forward them)?
    pub const fn memory_space(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// May the function make memory and I/O requests (a bridge: forward them upstream)? MSI and
    /// MSI-X are memory requests.
    pub const fn bus_master(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// Is Master Data Parity Error in Status to be set on poisoned data?
    pub const fn parity_error_response(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    /// Are fatal and non-fatal errors to be reported (SERR# Enable)?
    pub const fn serr_enable(self) -> bool {
        self.0 & 1 << 8 != 0
    }

    /// Is the function forbidden to send INTx messages?
    pub const fn intx_disable(self) -> bool {
        self.0 & 1 << 10 != 0
    }
}

/// The Status register (section 7.5.1.1.4), or a bridge's Secondary Status (7.5.1.3.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// An INTx interrupt is pending. Read-only to software.
    pub const INTERRUPT: Status = Status(1 << 3);
    /// The function has a list of capabilities. Read-only.
    pub const CAPABILITIES_LIST: Status = Status(1 << 4);
    /// A poisoned completion was received, or a poisoned request sent.
    pub const MASTER_DATA_PARITY_ERROR: Status = Status(1 << 8);
    /// A completion with Completer Abort was sent.
    pub const SIGNALED_TARGET_ABORT: Status = Status(1 << 11);
    /// A completion with Completer Abort was received.
    pub const RECEIVED_TARGET_ABORT: Status = Status(1 << 12);
    /// A completion with Unsupported Request was received.
    pub const RECEIVED_MASTER_ABORT: Status = Status(1 << 13);
    /// `ERR_FATAL` or `ERR_NONFATAL` was sent with SERR# Enable set. In Secondary Status: received.
    pub const SIGNALED_SYSTEM_ERROR: Status = Status(1 << 14);
    /// A poisoned TLP was received.
    pub const DETECTED_PARITY_ERROR: Status = Status(1 << 15);

    /// Are all bits of `other` set?
    pub const fn contains(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }
}

impl ConfigSpace {
    /// The Command register.
    pub fn command(&self) -> Command {
        Command(self.dword(COMMAND) as u16)
    }

    /// The Status register.
    pub fn status(&self) -> Status {
        Status((self.dword(COMMAND) >> 16) as u16)
    }

    /// Sets bits of Status that software clears by writing 1: errors seen by the function. Other
    /// bits are ignored.
    pub fn record_status(&mut self, bits: Status) {
        let bits = u32::from(bits.0) << 16 & STATUS_RW1C;
        self.set(COMMAND, bits, bits);
    }

    /// Shows in Status whether an INTx interrupt is pending.
    pub fn set_interrupt_status(&mut self, pending: bool) {
        let bit = u32::from(Status::INTERRUPT.0) << 16;
        self.set(COMMAND, bit, if pending { bit } else { 0 });
    }

    /// May the function make memory requests: is it a bus master, in D0?
    pub fn may_request(&self) -> bool {
        self.command().bus_master() && self.power_state() == PowerState::D0
    }

    /// Is the header type 1, a bridge's?
    pub fn is_bridge(&self) -> bool {
        self.header.bridge
    }

    /// Vendor ID and Device ID.
    pub fn identity(&self) -> (u16, u16) {
        let dword = self.dword(IDENTITY);
        (dword as u16, (dword >> 16) as u16)
    }

    /// The system's choice of interrupt line; a register without effect on the function.
    pub fn interrupt_line(&self) -> u8 {
        self.dword(INTERRUPT) as u8
    }

    /// The INTx pin: 0 for none, 1 to 4 for A to D.
    pub fn interrupt_pin(&self) -> u8 {
        (self.dword(INTERRUPT) >> 8) as u8
    }
}

/// What identifies a function, as both header types hold it.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    pub(super) vendor_id: u16,
    pub(super) device_id: u16,
    pub(super) revision: u8,
    pub(super) class_code: u32,
    pub(super) header_type: u8,
    pub(super) multi_function: bool,
    pub(super) interrupt_pin: u8,
}

impl Identity {
    /// Fills in the common registers.
    fn fill(self, space: &mut ConfigSpace) -> Result<(), ConfigError> {
        if self.class_code > 0xff_ffff {
            return Err(ConfigError::Value {
                field: "Class Code",
                value: u64::from(self.class_code),
                allowed: "24 bits",
            });
        }
        if self.interrupt_pin > 4 {
            return Err(ConfigError::Value {
                field: "Interrupt Pin",
                value: u64::from(self.interrupt_pin),
                allowed: "0 to 4",
            });
        }
        let ids = u32::from(self.vendor_id) | u32::from(self.device_id) << 16;
        space.set_hardware(IDENTITY, u32::MAX, ids);
        space.set_hardware(CLASS, u32::MAX, u32::from(self.revision) | self.class_code << 8);
        let kind = u32::from(self.header_type) | u32::from(self.multi_function) << 7;
        space.set_hardware(HEADER_TYPE, 0x00ff_0000, kind << 16);
        space.set_hardware(INTERRUPT, 0xff00, u32::from(self.interrupt_pin) << 8);
        Ok(())
    }
}
