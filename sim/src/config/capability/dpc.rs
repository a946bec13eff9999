//! Downstream Port Containment (section 7.9.15): on an uncorrectable error below it, a port takes its link down until software has looked
//! at it. The registers that root ports have more, RP PIO, are as `include/uapi/linux/pci_regs.h` and `drivers/pci/pcie/dpc.c` show them.

use super::super::changed::{Changed, Trigger, Watch};
use super::super::space::{ConfigSpace, Legal, Row};
use super::aer::ErrorMessage;
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of DPC Capability (low half) and DPC Control (high half).
const CONTROL: u16 = 0x04;
/// Offset of DPC Status (low half) and DPC Error Source ID (high half).
const STATUS: u16 = 0x08;
/// Offset of RP PIO Status.
const PIO_STATUS: u16 = 0x0c;
/// Offset of RP PIO Mask.
const PIO_MASK: u16 = 0x10;
/// Offset of RP PIO Severity.
const PIO_SEVERITY: u16 = 0x14;
/// Offset of RP PIO SysError.
const PIO_SYSTEM_ERROR: u16 = 0x18;
/// Offset of RP PIO Exception.
const PIO_EXCEPTION: u16 = 0x1c;
/// Offset of the first of four dwords of RP PIO Header Log.
const PIO_HEADER_LOG: u16 = 0x20;

// DPC Capability.
const ROOT_PORT_EXTENSIONS: u32 = 1 << 5;
const EGRESS_BLOCKING_SUPPORTED: u32 = 1 << 6;
const SOFTWARE_TRIGGER_SUPPORTED: u32 = 1 << 7;
/// RP PIO Log Size: four dwords, the header log alone.
const PIO_LOG_SIZE: u32 = 4 << 8;
// DPC Control, in the high half.
const TRIGGER_ENABLE: u32 = 3 << 16;
const COMPLETION_UNSUPPORTED: u32 = 1 << 18;
const INTERRUPT_ENABLE: u32 = 1 << 19;
const CORRECTABLE_ENABLE: u32 = 1 << 20;
const EGRESS_BLOCKING: u32 = 1 << 21;
const SOFTWARE_TRIGGER: u32 = 1 << 22;
const SUPPORTED: u32 = EGRESS_BLOCKING_SUPPORTED | SOFTWARE_TRIGGER_SUPPORTED;
const CONTROL_RW: u32 =
    TRIGGER_ENABLE | COMPLETION_UNSUPPORTED | INTERRUPT_ENABLE | CORRECTABLE_ENABLE | EGRESS_BLOCKING;
// DPC Status.
const TRIGGERED: u32 = 1 << 0;
const INTERRUPT: u32 = 1 << 3;
const PIO_FIRST_ERROR: u32 = 0x1f << 8;
/// Trigger Reason and its extension.
const REASON: u32 = 3 << 1 | 3 << 5;
/// What RP PIO knows: configuration, I/O and memory requests that were unsupported, aborted or not answered.
const PIO_ALL: u32 = 0x0007_0707;
const ALL: u32 = u32::MAX;

#[rustfmt::skip]
const ROWS: [Row; 2] = [
    //       offset   name                           reset      rw          rw1c                   sticky                                            flr
    Row::new(CONTROL, "DPC Capability, DPC Control", SUPPORTED, CONTROL_RW, 0,                     0,                                                0),
    Row::new(STATUS,  "DPC Status, Error Source ID", 0,         0,          TRIGGERED | INTERRUPT, 0xffff_0000 | TRIGGERED | INTERRUPT | REASON | PIO_FIRST_ERROR, 0),
];

/// What root ports have more.
#[rustfmt::skip]
const ROOT_ROWS: [Row; 9] = [
    //       offset               name                  reset    rw       rw1c     sticky   flr
    Row::new(PIO_STATUS,          "RP PIO Status",        0,       0,       PIO_ALL, PIO_ALL, 0),
    Row::new(PIO_MASK,            "RP PIO Mask",          PIO_ALL, PIO_ALL, 0,       PIO_ALL, 0),
    Row::new(PIO_SEVERITY,        "RP PIO Severity",      0,       PIO_ALL, 0,       PIO_ALL, 0),
    Row::new(PIO_SYSTEM_ERROR,    "RP PIO SysError",      0,       PIO_ALL, 0,       PIO_ALL, 0),
    Row::new(PIO_EXCEPTION,       "RP PIO Exception",     0,       PIO_ALL, 0,       PIO_ALL, 0),
    Row::new(PIO_HEADER_LOG,      "RP PIO Header Log",    0,       0,       0,       ALL,     0),
    Row::new(PIO_HEADER_LOG + 4,  "RP PIO Header Log",    0,       0,       0,       ALL,     0),
    Row::new(PIO_HEADER_LOG + 8,  "RP PIO Header Log",    0,       0,       0,       ALL,     0),
    Row::new(PIO_HEADER_LOG + 12, "RP PIO Header Log",    0,       0,       0,       ALL,     0),
];

/// Why containment began: DPC Trigger Reason and its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DpcReason {
    /// The port itself found an uncorrectable error that isn't masked.
    Unmasked,
    /// `ERR_NONFATAL` came from below, from the function of this ID.
    NonFatal(u16),
    /// `ERR_FATAL` came from below, from the function of this ID.
    Fatal(u16),
    /// A request of the root complex itself failed (RP PIO).
    Pio,
    /// Software wrote to DPC Software Trigger.
    Software,
}

impl DpcReason {
    /// The bits of DPC Status, and DPC Error Source ID.
    const fn bits(self) -> (u32, u16) {
        match self {
            DpcReason::Unmasked => (0, 0),
            DpcReason::NonFatal(source) => (1 << 1, source),
            DpcReason::Fatal(source) => (2 << 1, source),
            DpcReason::Pio => (3 << 1, 0),
            DpcReason::Software => (3 << 1 | 1 << 5, 0),
        }
    }
}

/// What a request of the root complex itself came to; the value is the bit in the RP PIO registers for configuration requests. Those for I/O
/// stand 8 bits higher, those for memory 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RootPortPio {
    /// A completion with Unsupported Request.
    Unsupported = 0,
    /// A completion with Completer Abort.
    Aborted = 1,
    /// No completion in time.
    Timeout = 2,
}

/// What the registers of a root port say of a request that failed and was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RootPortPioRecord {
    /// Is the error unmasked? If not, nothing else is set.
    pub unmasked: bool,
    /// Does it begin containment (RP PIO Severity)?
    pub uncorrectable: bool,
    /// Is it an error of the system (RP PIO SysError)?
    pub system_error: bool,
    /// Is the processor that asked to get an exception (RP PIO Exception)?
    pub exception: bool,
}

/// Description of the capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DpcCapability {
    /// Is it a root port? Then it has the RP PIO registers.
    pub root_port: bool,
    /// DPC Interrupt Message Number, 5 bits.
    pub interrupt_message: u8,
}

impl Capability for DpcCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        if self.interrupt_message > 31 {
            return Err(ConfigError::Value {
                field: "DPC Interrupt Message Number",
                value: u64::from(self.interrupt_message),
                allowed: "0 to 31",
            });
        }
        let mut rows = ROWS.to_vec();
        let mut capability = u32::from(self.interrupt_message);
        if self.root_port {
            capability |= ROOT_PORT_EXTENSIONS | PIO_LOG_SIZE;
            rows.extend(ROOT_ROWS);
        }
        super::amend(&mut rows, CONTROL, capability, 0);
        let released = Trigger::Transition { from: TRIGGERED, to: 0 };
        let topic = Changed::CONTAINMENT;
        let watches = vec![
            Watch::changed(CONTROL, 0xffff_0000, topic),
            Watch { offset: STATUS, mask: TRIGGERED, trigger: released, topic },
            Watch {
                offset: CONTROL,
                mask: SOFTWARE_TRIGGER,
                trigger: Trigger::WrittenOne,
                topic: Changed::SOFTWARE_TRIGGER,
            },
        ];
        Ok(CapabilityLayout {
            id: CapabilityId::DPC,
            length: if self.root_port { 0x30 } else { 0x0c },
            rows,
            watches,
            legal: vec![Legal { offset: CONTROL, mask: TRIGGER_ENABLE, values: 0b0111 }],
        })
    }
}

/// Containment, in a port that can do it. In any other nothing is on, and recording does nothing.
impl ConfigSpace {
    /// Is the port in containment (DPC Trigger Status)?
    pub fn is_contained(&self) -> bool {
        self.dpc(STATUS) & TRIGGERED != 0
    }

    /// Would this error begin containment (DPC Trigger Enable): `ERR_FATAL`, or `ERR_NONFATAL` too?
    pub fn contains_errors(&self, message: ErrorMessage) -> bool {
        match (self.dpc(CONTROL) & TRIGGER_ENABLE) >> 16 {
            1 => message == ErrorMessage::Fatal,
            2 => message != ErrorMessage::Correctable,
            _ => false,
        }
    }

    /// Can anything begin containment?
    pub fn containment_enabled(&self) -> bool {
        self.dpc(CONTROL) & TRIGGER_ENABLE != 0
    }

    /// Begins containment, if it's enabled and hasn't begun. Says whether it did.
    pub fn begin_containment(&mut self, reason: DpcReason) -> bool {
        if !self.containment_enabled() || self.is_contained() {
            return false;
        }
        let (bits, source) = reason.bits();
        let at = self.located.dpc;
        self.set(at + STATUS, REASON | 0xffff_0000, bits | u32::from(source) << 16);
        self.set(at + STATUS, TRIGGERED | INTERRUPT, TRIGGERED | INTERRUPT);
        true
    }

    /// Is the port to send its interrupt message for containment (DPC Interrupt Status and Enable)?
    pub fn containment_interrupt(&self) -> bool {
        self.dpc(STATUS) & INTERRUPT != 0 && self.dpc(CONTROL) & INTERRUPT_ENABLE != 0
    }

    /// Is the port to say by `ERR_COR` that containment began (DPC ERR_COR Enable)?
    pub fn containment_is_correctable(&self) -> bool {
        self.dpc(CONTROL) & CORRECTABLE_ENABLE != 0
    }

    /// Are requests to a link in containment answered by Unsupported Request, not by Completer Abort (DPC Completion Control)?
    pub fn containment_unsupported(&self) -> bool {
        self.dpc(CONTROL) & COMPLETION_UNSUPPORTED != 0
    }

    /// Does the port block poisoned TLPs that would go out to its link (Poisoned TLP Egress Blocking Enable)?
    pub fn blocks_poisoned(&self) -> bool {
        self.dpc(CONTROL) & EGRESS_BLOCKING != 0
    }

    /// Records that a request of the root complex itself failed: RP PIO Status, and Header Log if it's the first that isn't masked. `shift` is 0 for
    /// a configuration request, 8 for I/O, 16 for memory. `None` without these registers.
    pub fn record_root_port_pio(&mut self, pio: RootPortPio, shift: u8, header: [u32; 4]) -> Option<RootPortPioRecord> {
        let at = self.located.dpc;
        if at == 0 || self.dword(at + CONTROL) & ROOT_PORT_EXTENSIONS == 0 {
            return None;
        }
        let number = pio as u32 + u32::from(shift);
        let bit = 1 << number & PIO_ALL;
        let status = self.dword(at + PIO_STATUS);
        let unmasked = bit & !self.dword(at + PIO_MASK) != 0;
        let pointer = (self.dword(at + STATUS) & PIO_FIRST_ERROR) >> 8;
        if unmasked && status & 1 << pointer == 0 {
            self.set(at + STATUS, PIO_FIRST_ERROR, number << 8);
            for (offset, dword) in (at + PIO_HEADER_LOG..).step_by(4).zip(header) {
                self.set(offset, ALL, dword);
            }
        }
        self.set(at + PIO_STATUS, bit, bit);
        let asks = |register| unmasked && self.dword(at + register) & bit != 0;
        let (uncorrectable, system_error) = (asks(PIO_SEVERITY), asks(PIO_SYSTEM_ERROR));
        Some(RootPortPioRecord { unmasked, uncorrectable, system_error, exception: asks(PIO_EXCEPTION) })
    }

    fn dpc(&self, offset: u16) -> u32 {
        let at = self.located.dpc;
        if at == 0 { 0 } else { self.dword(at + offset) }
    }
}
