//! Errors of the fabric: what there is to find, and what each finding does to the function that finds it (base specification 6.2).
//!
//! Whoever breaks a rule is found out by whoever checks it: [`Core::detect`](super::Core::detect). The finding reaches the registers of the port or
//! function at once, in the same instant of virtual time, and from there a message may go to the root complex.

mod detect;
mod ecrc;
mod message;
mod port;
mod report;

pub use detect::Detected;
pub use report::{Report, forward, record, signal};

pub(super) use message::{error_message, is_supported, told};
pub(super) use port::{Found, containment_by};

use crate::config::{CorrectableError, Status as Legacy, UncorrectableError};
use crate::fabric::dll::LinkError;
use crate::tlp::Status;

/// What was found: one rule of the base specification each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    /// The physical layer received what is no symbol, or no packet.
    ReceiverError,
    /// A TLP failed its LCRC, or has the wrong sequence number.
    BadTlp,
    /// A DLLP failed its CRC.
    BadDllp,
    /// A TLP was sent four times without being acknowledged.
    ReplayRollover,
    /// A TLP wasn't acknowledged in time.
    ReplayTimeout,
    /// The function corrected an error of its own.
    CorrectedInternal,
    /// An acknowledgement of what wasn't sent, and the like.
    DataLinkProtocol,
    /// The link went down, and nobody had asked for it.
    SurpriseDown,
    /// Credits were returned that weren't taken, or too many were promised.
    FlowControlProtocol,
    /// A TLP came for which there were no credits.
    ReceiverOverflow,
    /// A TLP breaks a rule of its format.
    MalformedTlp,
    /// The function found an error of its own that it can't correct.
    UncorrectableInternal,
    /// A TLP came whose data is marked as bad (EP).
    PoisonedTlp,
    /// The digest of a TLP isn't that of its bytes.
    Ecrc,
    /// A request that the receiver doesn't know or doesn't take.
    UnsupportedRequest,
    /// A request wasn't answered in time.
    CompletionTimeout,
    /// A request that the completer takes but can't carry out.
    CompleterAbort,
    /// A completion that answers nothing.
    UnexpectedCompletion,
    /// A request that access control forbids.
    AcsViolation,
    /// A poisoned TLP was to go out of a port that blocks such.
    PoisonedEgress,
    /// A request of the function's own ended with Unsupported Request. That's the completer's error; only the status register of PCI knows it.
    ReceivedUnsupported,
    /// A request of the function's own ended with Completer Abort. As the last one.
    ReceivedAbort,
}

/// In which part a function found an error: some that are harmless in this part are only told as an advice (6.2.3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// None in particular.
    Plain,
    /// It answers a non-posted request by a completion that tells the requester.
    Completer,
    /// It hands the TLP on, to somebody who will see for himself.
    Intermediate,
    /// It goes on in spite of it: it has a use for the poisoned data, or asks again.
    Recovers,
}

/// The bit of AER that stands for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorBit {
    /// One of Correctable Error Status.
    Correctable(CorrectableError),
    /// One of Uncorrectable Error Status.
    Uncorrectable(UncorrectableError),
    /// None: it's no error of this function.
    None,
}

/// One row of [`ERRORS`].
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    /// The error.
    pub kind: ErrorKind,
    /// Its bit, which tells its class too.
    pub bit: ErrorBit,
    /// Is it fatal as long as software doesn't choose?
    pub fatal: bool,
    /// Is the TLP's header logged?
    pub logged: bool,
    /// The roles in which it's an advice as long as its severity is non-fatal.
    pub advisory: &'static [Role],
    /// The status that a non-posted request gets.
    pub completion: Option<Status>,
    /// What the status register of PCI shows: Status, or in a bridge Secondary Status if it comes from below.
    pub legacy: Legacy,
    /// Does Device Status have a bit for it (Unsupported Request Detected), and Device Control another enable?
    pub unsupported: bool,
}

const NONE: Legacy = Legacy(0);

#[rustfmt::skip]
const fn row(kind: ErrorKind, bit: ErrorBit, fatal: bool, logged: bool, advisory: &'static [Role], completion: Option<Status>, legacy: Legacy) -> ErrorRow {
    ErrorRow { kind, bit, fatal, logged, advisory, completion, legacy, unsupported: matches!(kind, ErrorKind::UnsupportedRequest) }
}

/// All errors, in the order of [`ErrorKind`] (6.2.7, tables 6-3 to 6-5).
///
/// An unexpected completion is an advice in every role. A violation of access control is answered by Completer Abort, and shows in Status as that.
#[rustfmt::skip]
pub static ERRORS: [ErrorRow; 22] = {
    use CorrectableError as C;
    use ErrorBit::{Correctable as Cor, Uncorrectable as Unc};
    use ErrorKind as K;
    use Role::{Completer, Intermediate, Plain, Recovers};
    use UncorrectableError as U;
    [
        //  kind                     bit                            fatal  logged advisory                       completion                        legacy
        row(K::ReceiverError,         Cor(C::Receiver),              false, false, &[],                            None,                             NONE),
        row(K::BadTlp,                Cor(C::BadTlp),                false, false, &[],                            None,                             NONE),
        row(K::BadDllp,               Cor(C::BadDllp),               false, false, &[],                            None,                             NONE),
        row(K::ReplayRollover,        Cor(C::ReplayRollover),        false, false, &[],                            None,                             NONE),
        row(K::ReplayTimeout,         Cor(C::ReplayTimeout),         false, false, &[],                            None,                             NONE),
        row(K::CorrectedInternal,     Cor(C::Internal),              false, false, &[],                            None,                             NONE),
        row(K::DataLinkProtocol,      Unc(U::DataLinkProtocol),      true,  false, &[],                            None,                             NONE),
        row(K::SurpriseDown,          Unc(U::SurpriseDown),          true,  false, &[],                            None,                             NONE),
        row(K::FlowControlProtocol,   Unc(U::FlowControlProtocol),   true,  false, &[],                            None,                             NONE),
        row(K::ReceiverOverflow,      Unc(U::ReceiverOverflow),      true,  false, &[],                            None,                             NONE),
        row(K::MalformedTlp,          Unc(U::MalformedTlp),          true,  true,  &[],                            None,                             NONE),
        row(K::UncorrectableInternal, Unc(U::Internal),              true,  false, &[],                            None,                             NONE),
        row(K::PoisonedTlp,           Unc(U::PoisonedTlp),           false, true,  &[Intermediate, Recovers],      Some(Status::UnsupportedRequest), Legacy::DETECTED_PARITY_ERROR),
        row(K::Ecrc,                  Unc(U::Ecrc),                  false, true,  &[Intermediate],                None,                             NONE),
        row(K::UnsupportedRequest,    Unc(U::UnsupportedRequest),    false, true,  &[Completer],                   Some(Status::UnsupportedRequest), NONE),
        row(K::CompletionTimeout,     Unc(U::CompletionTimeout),     false, false, &[Recovers],                    None,                             NONE),
        row(K::CompleterAbort,        Unc(U::CompleterAbort),        false, true,  &[Completer],                   Some(Status::CompleterAbort),     Legacy::SIGNALED_TARGET_ABORT),
        row(K::UnexpectedCompletion,  Unc(U::UnexpectedCompletion),  false, true,  &[Plain, Completer, Intermediate, Recovers], None,               NONE),
        row(K::AcsViolation,          Unc(U::AcsViolation),          false, true,  &[Completer],                   Some(Status::CompleterAbort),     Legacy::SIGNALED_TARGET_ABORT),
        row(K::PoisonedEgress,        Unc(U::PoisonedEgress),        false, true,  &[],                            Some(Status::UnsupportedRequest), NONE),
        row(K::ReceivedUnsupported,   ErrorBit::None,                false, false, &[],                            None,                             Legacy::RECEIVED_MASTER_ABORT),
        row(K::ReceivedAbort,         ErrorBit::None,                false, false, &[],                            None,                             Legacy::RECEIVED_TARGET_ABORT),
    ]
};

impl From<LinkError> for ErrorKind {
    fn from(error: LinkError) -> ErrorKind {
        match error {
            LinkError::BadTlp => ErrorKind::BadTlp,
            LinkError::BadDllp => ErrorKind::BadDllp,
            LinkError::ReplayTimeout => ErrorKind::ReplayTimeout,
            LinkError::ReplayRollover => ErrorKind::ReplayRollover,
            LinkError::DataLinkProtocol => ErrorKind::DataLinkProtocol,
            LinkError::ReceiverOverflow => ErrorKind::ReceiverOverflow,
            LinkError::FlowControlProtocol => ErrorKind::FlowControlProtocol,
        }
    }
}

impl ErrorKind {
    /// All, in their order.
    pub fn all() -> impl Iterator<Item = ErrorKind> {
        ERRORS.iter().map(|row| row.kind)
    }

    /// What the table says of it.
    pub fn row(self) -> &'static ErrorRow {
        // Each kind has its row, at its place.
        &ERRORS[self as usize % ERRORS.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_row_at_its_place() {
        for (place, row) in ERRORS.iter().enumerate() {
            assert_eq!(row.kind as usize, place);
            assert_eq!(row.kind.row().kind, row.kind);
        }
        assert_eq!(ErrorKind::ReceivedAbort as usize + 1, ERRORS.len());
    }

    /// Default severities are those that the register is reset to.
    #[test]
    fn severities_are_those_of_the_register() {
        let port = crate::fabric::port_config(
            crate::fabric::PortIdentity { vendor_id: 1, device_id: 1, max_payload: 512 },
            crate::config::PortType::Downstream,
            0,
            &crate::profile::Topology::default().host.link,
        )
        .unwrap();
        for row in &ERRORS {
            if let ErrorBit::Uncorrectable(error) = row.bit {
                let fatal = port.error_severity(error) == Some(crate::config::ErrorMessage::Fatal);
                assert_eq!(fatal, row.fatal, "{:?}", row.kind);
            }
        }
    }
}
