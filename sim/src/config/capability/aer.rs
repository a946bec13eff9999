//! Advanced Error Reporting, version 2 (section 7.8.4): registers, and helpers that record errors.

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of Uncorrectable Error Status.
const UNCORRECTABLE: u16 = 0x04;
/// Offset of Uncorrectable Error Mask.
const UNCORRECTABLE_MASK: u16 = 0x08;
/// Offset of Uncorrectable Error Severity.
const SEVERITY: u16 = 0x0c;
/// Offset of Correctable Error Status.
const CORRECTABLE: u16 = 0x10;
/// Offset of Correctable Error Mask.
const CORRECTABLE_MASK: u16 = 0x14;
/// Offset of Advanced Error Capabilities and Control.
const CONTROL: u16 = 0x18;
/// Offset of the first of four dwords of Header Log.
const HEADER_LOG: u16 = 0x1c;
/// Offset of Root Error Command.
const ROOT_COMMAND: u16 = 0x2c;
/// Offset of Root Error Status.
const ROOT_STATUS: u16 = 0x30;
/// Offset of Error Source Identification.
const ROOT_SOURCE: u16 = 0x34;
/// Offset of the first of four dwords of TLP Prefix Log.
const PREFIX_LOG: u16 = 0x38;
/// Length in bytes, room for root registers and TLP Prefix Log included.
const LENGTH: u16 = 0x48;

/// Uncorrectable errors that every port here can have: all of [`UncorrectableError`], but for
/// Surprise Down, ACS Violation and Poisoned TLP Egress Blocked.
const UNCORRECTABLE_ALL: u32 = 0x005f_f010;
/// Surprise Down, ACS Violation and Poisoned TLP Egress Blocked, for ports with a link below; the last is masked by default.
const UNCORRECTABLE_BELOW: u32 = 0x0420_0020;
const MASK_BELOW: u32 = 0x0400_0000;
/// All of [`CorrectableError`].
const CORRECTABLE_ALL: u32 = 0x0000_f1c1;
/// Errors that are fatal by default.
const FATAL_DEFAULT: u32 = 0x0046_2030;
/// Uncorrectable errors that are masked by default: the internal error.
const MASK_DEFAULT: u32 = 0x0040_0000;
/// Correctable errors that are masked by default: advisory, internal, header log overflow.
const CORRECTABLE_MASK_DEFAULT: u32 = 0x0000_e000;
/// ECRC generation and check are possible; both can be turned on.
const ECRC: (u32, u32) = (0x00a0, 0x0140);
/// First Error Pointer.
const FIRST_ERROR: u32 = 0x1f;
/// ECRC Generation Enable and ECRC Check Enable.
const ECRC_GENERATE: u32 = 1 << 6;
const ECRC_CHECK: u32 = 1 << 8;
/// TLP Prefix Log Present.
const PREFIXES_LOGGED: u32 = 1 << 11;
const ALL: u32 = u32::MAX;
const ROOT_SEEN: u32 = 0x7f;

/// The registers that every function has. All are sticky.
#[rustfmt::skip]
const ROWS: [Row; 14] = [
    //       offset              name                            reset                     rw                 rw1c               sticky             flr
    Row::new(UNCORRECTABLE,      "Uncorrectable Error Status",   0,                        0,                 UNCORRECTABLE_ALL, UNCORRECTABLE_ALL, 0),
    Row::new(UNCORRECTABLE_MASK, "Uncorrectable Error Mask",     MASK_DEFAULT,             UNCORRECTABLE_ALL, 0,                 UNCORRECTABLE_ALL, 0),
    Row::new(SEVERITY,           "Uncorrectable Error Severity", FATAL_DEFAULT & !0x20,    UNCORRECTABLE_ALL, 0,                 UNCORRECTABLE_ALL, 0),
    Row::new(CORRECTABLE,        "Correctable Error Status",     0,                        0,                 CORRECTABLE_ALL,   CORRECTABLE_ALL,   0),
    Row::new(CORRECTABLE_MASK,   "Correctable Error Mask",       CORRECTABLE_MASK_DEFAULT, CORRECTABLE_ALL,   0,                 CORRECTABLE_ALL,   0),
    Row::new(CONTROL,            "Capabilities and Control",     ECRC.0,                   ECRC.1,            0,                 ECRC.1 | FIRST_ERROR | PREFIXES_LOGGED, 0),
    Row::new(HEADER_LOG,         "Header Log",                   0,                        0,                 0,                 ALL,               0),
    Row::new(HEADER_LOG + 4,     "Header Log",                   0,                        0,                 0,                 ALL,               0),
    Row::new(HEADER_LOG + 8,     "Header Log",                   0,                        0,                 0,                 ALL,               0),
    Row::new(HEADER_LOG + 12,    "Header Log",                   0,                        0,                 0,                 ALL,               0),
    Row::new(PREFIX_LOG,         "TLP Prefix Log",               0,                        0,                 0,                 ALL,               0),
    Row::new(PREFIX_LOG + 4,     "TLP Prefix Log",               0,                        0,                 0,                 ALL,               0),
    Row::new(PREFIX_LOG + 8,     "TLP Prefix Log",               0,                        0,                 0,                 ALL,               0),
    Row::new(PREFIX_LOG + 12,    "TLP Prefix Log",               0,                        0,                 0,                 ALL,               0),
];

/// What root ports have more.
#[rustfmt::skip]
const ROOT_ROWS: [Row; 3] = [
    //       offset        name                            reset  rw     rw1c       sticky     flr
    Row::new(ROOT_COMMAND, "Root Error Command",             0,   0b111, 0,         0,         0),
    Row::new(ROOT_STATUS,  "Root Error Status",              0,   0,     ROOT_SEEN, ROOT_SEEN, 0),
    Row::new(ROOT_SOURCE,  "Error Source Identification",    0,   0,     0,         ALL,       0),
];

/// Uncorrectable errors; the value is the bit number in status, mask and severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum UncorrectableError {
    /// Data Link Protocol Error.
    DataLinkProtocol = 4,
    /// Surprise Down Error.
    SurpriseDown = 5,
    /// Poisoned TLP Received.
    PoisonedTlp = 12,
    /// Flow Control Protocol Error.
    FlowControlProtocol = 13,
    /// Completion Timeout.
    CompletionTimeout = 14,
    /// Completer Abort.
    CompleterAbort = 15,
    /// Unexpected Completion.
    UnexpectedCompletion = 16,
    /// Receiver Overflow.
    ReceiverOverflow = 17,
    /// Malformed TLP.
    MalformedTlp = 18,
    /// ECRC Error.
    Ecrc = 19,
    /// Unsupported Request Error.
    UnsupportedRequest = 20,
    /// ACS Violation.
    AcsViolation = 21,
    /// Uncorrectable Internal Error.
    Internal = 22,
    /// Poisoned TLP Egress Blocked.
    PoisonedEgress = 26,
}

/// Correctable errors; the value is the bit number in status and mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CorrectableError {
    /// Receiver Error.
    Receiver = 0,
    /// Bad TLP.
    BadTlp = 6,
    /// Bad DLLP.
    BadDllp = 7,
    /// `REPLAY_NUM` Rollover.
    ReplayRollover = 8,
    /// Replay Timer Timeout.
    ReplayTimeout = 12,
    /// Advisory Non-Fatal Error.
    AdvisoryNonFatal = 13,
    /// Corrected Internal Error.
    Internal = 14,
    /// Header Log Overflow.
    HeaderLogOverflow = 15,
}

/// The three error messages; the value is the number of its enable in Root Error Command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorMessage {
    /// `ERR_COR`.
    Correctable = 0,
    /// `ERR_NONFATAL`.
    NonFatal = 1,
    /// `ERR_FATAL`.
    Fatal = 2,
}

impl ErrorMessage {
    /// All three, by their number.
    pub const ALL: [ErrorMessage; 3] = [ErrorMessage::Correctable, ErrorMessage::NonFatal, ErrorMessage::Fatal];
}

/// What the logs hold of a TLP: each dword as it was on the wire, its first byte in the high bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlpLog {
    /// The header; after one of 3 dwords comes a 0.
    pub header: [u32; 4],
    /// The end-to-end prefixes in their order; those that aren't there are 0, which is no prefix.
    pub prefixes: [u32; 4],
}

/// What the registers say about an error that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The message it calls for, by severity. Whether it is sent depends on `masked` and on the
    /// enables in Device Control and Command.
    pub message: ErrorMessage,
    /// Is the error masked, so that no message is sent for it?
    pub masked: bool,
    /// Uncorrectable: are Header Log and First Error Pointer about it? Correctable: was its status
    /// bit clear before?
    pub first: bool,
}

/// Description of the capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AerCapability {
    /// Has the function a link below it (root port, downstream port)? Then it can see Surprise
    /// Down, ACS Violation and Poisoned TLP Egress Blocked.
    pub downstream_facing: bool,
    /// Is it a root port? Then it has the root error registers.
    pub root_port: bool,
    /// Advanced Error Interrupt Message Number of a root port, 5 bits.
    pub interrupt_message: u8,
}

impl Capability for AerCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        if self.interrupt_message > 31 {
            return Err(ConfigError::Value {
                field: "Advanced Error Interrupt Message Number",
                value: u64::from(self.interrupt_message),
                allowed: "0 to 31",
            });
        }
        let mut rows = ROWS.to_vec();
        let mut watches = Vec::new();
        if self.downstream_facing || self.root_port {
            let more = UNCORRECTABLE_BELOW;
            for row in &mut rows {
                match row.offset {
                    UNCORRECTABLE => row.rw1c |= more,
                    UNCORRECTABLE_MASK => {
                        row.rw |= more;
                        row.reset |= MASK_BELOW;
                    }
                    SEVERITY => {
                        row.rw |= more;
                        row.reset = FATAL_DEFAULT;
                    }
                    _ => continue,
                }
                row.sticky |= more;
            }
        }
        if self.root_port {
            rows.extend(ROOT_ROWS);
            let message = u32::from(self.interrupt_message) << 27;
            super::amend(&mut rows, ROOT_STATUS, message, 0);
            watches.push(Watch::changed(ROOT_COMMAND, 0b111, Changed::ROOT_CONTROL));
        }
        Ok(CapabilityLayout { id: CapabilityId::AER, length: LENGTH, rows, watches, legal: Vec::new() })
    }
}

/// Recording errors. Without the capability nothing is recorded: `None`.
impl ConfigSpace {
    /// Sets an uncorrectable error's status bit. If it is not masked and no earlier error holds
    /// the log, `header` goes to Header Log and the error's number to First Error Pointer. The
    /// header is that of the TLP in question, if there is one, with Fmt and Type in the high byte of
    /// the first dword; after one of 3 dwords comes a 0. `None` also if the function can't have
    /// this error.
    pub fn record_uncorrectable(&mut self, error: UncorrectableError, header: Option<[u32; 4]>) -> Option<Recorded> {
        self.record_tlp_error(error, header.map(|header| TlpLog { header, ..TlpLog::default() }))
    }

    /// As [`record_uncorrectable`](Self::record_uncorrectable), of a TLP that may have prefixes: those go to TLP Prefix Log.
    pub fn record_tlp_error(&mut self, error: UncorrectableError, tlp: Option<TlpLog>) -> Option<Recorded> {
        let at = self.aer()?;
        let number = error as u32;
        let bit = 1 << number;
        if self.clearable(at + UNCORRECTABLE) & bit == 0 {
            return None;
        }
        let masked = self.dword(at + UNCORRECTABLE_MASK) & bit != 0;
        let status = self.dword(at + UNCORRECTABLE);
        let pointer = self.dword(at + CONTROL) & FIRST_ERROR;
        let held = status & 1 << pointer != 0;
        let first = !masked && !held;
        if first {
            let log = tlp.unwrap_or_default();
            let prefixed = if log.prefixes[0] == 0 { 0 } else { PREFIXES_LOGGED };
            self.set(at + CONTROL, FIRST_ERROR | PREFIXES_LOGGED, number | prefixed);
            let dwords = (at + HEADER_LOG..).step_by(4).zip(log.header);
            for (offset, dword) in dwords.chain((at + PREFIX_LOG..).step_by(4).zip(log.prefixes)) {
                self.set(offset, ALL, dword);
            }
        } else if !held && pointer == number {
            // The pointer is left from an error that was cleared; it isn't about this masked one.
            self.set(at + CONTROL, FIRST_ERROR, 0);
        }
        self.set(at + UNCORRECTABLE, bit, bit);
        let message = match self.dword(at + SEVERITY) & bit {
            0 => ErrorMessage::NonFatal,
            _ => ErrorMessage::Fatal,
        };
        Some(Recorded { message, masked, first })
    }

    /// The severity that software has given to an uncorrectable error: the message that tells of it. `None` also if the function can't have
    /// this error.
    pub fn error_severity(&self, error: UncorrectableError) -> Option<ErrorMessage> {
        let at = self.aer()?;
        let bit = 1 << error as u32;
        let fatal = self.dword(at + SEVERITY) & bit != 0;
        let severity = if fatal { ErrorMessage::Fatal } else { ErrorMessage::NonFatal };
        (self.clearable(at + UNCORRECTABLE) & bit != 0).then_some(severity)
    }

    /// Is an uncorrectable error masked, or can the function not have it?
    pub fn masks_error(&self, error: UncorrectableError) -> bool {
        let bit = 1 << error as u32;
        self.aer()
            .is_none_or(|at| (self.clearable(at + UNCORRECTABLE) & !self.dword(at + UNCORRECTABLE_MASK)) & bit == 0)
    }

    /// Sets a correctable error's status bit.
    pub fn record_correctable(&mut self, error: CorrectableError) -> Option<Recorded> {
        let at = self.aer()?;
        let bit = 1 << error as u32;
        let masked = self.dword(at + CORRECTABLE_MASK) & bit != 0;
        let first = self.dword(at + CORRECTABLE) & bit == 0;
        self.set(at + CORRECTABLE, bit, bit);
        Some(Recorded { message: ErrorMessage::Correctable, masked, first })
    }

    /// Notes in a root port that it received `message` from the function `source`, or found the
    /// error itself: Root Error Status, and Error Source Identification for the first of its kind.
    /// Says whether Root Error Command asks for an interrupt; `None` if it is not a root port.
    pub fn record_root_error(&mut self, message: ErrorMessage, source: u16) -> Option<bool> {
        let at = self.aer()?;
        if self.clearable(at + ROOT_STATUS) == 0 {
            return None;
        }
        // Received and multiple, the shift of the source's half, and the bits that tell severity.
        let (received, shift, severity, first_severity) = match message {
            ErrorMessage::Correctable => (1 << 0, 0, 0, 0),
            ErrorMessage::NonFatal => (1 << 2, 16, 1 << 5, 0),
            ErrorMessage::Fatal => (1 << 2, 16, 1 << 6, 1 << 4),
        };
        let mut bits = received | severity;
        if self.dword(at + ROOT_STATUS) & received == 0 {
            bits |= first_severity;
            self.set(at + ROOT_SOURCE, 0xffff << shift, u32::from(source) << shift);
        } else {
            bits |= received << 1;
        }
        self.set(at + ROOT_STATUS, bits, bits);
        Some(self.dword(at + ROOT_COMMAND) & 1 << message as u32 != 0)
    }

    /// The kinds of error message that a root port has received, or sent to itself, and whose interrupt Root Error Command enables: a bit for
    /// each [`ErrorMessage`]. 0 if it is not a root port.
    pub fn root_error_interrupts(&self) -> u8 {
        let Some(at) = self.aer().filter(|at| self.clearable(at + ROOT_STATUS) != 0) else { return 0 };
        let status = self.dword(at + ROOT_STATUS);
        // Correctable, non-fatal, fatal received.
        let received = status & 1 | (status >> 5 & 1) << 1 | (status >> 6 & 1) << 2;
        (received & self.dword(at + ROOT_COMMAND)) as u8
    }

    /// Does the function report its errors through these registers?
    pub fn has_aer(&self) -> bool {
        self.located.aer != 0
    }

    /// Does the function give the TLPs that it makes a digest (ECRC Generation Enable)?
    pub fn generates_ecrc(&self) -> bool {
        self.aer().is_some_and(|at| self.dword(at + CONTROL) & ECRC_GENERATE != 0)
    }

    /// Does it check the digests of the TLPs that it receives (ECRC Check Enable)?
    pub fn checks_ecrc(&self) -> bool {
        self.aer().is_some_and(|at| self.dword(at + CONTROL) & ECRC_CHECK != 0)
    }

    /// Offset of the capability.
    fn aer(&self) -> Option<u16> {
        (self.located.aer != 0).then_some(self.located.aer)
    }
}
