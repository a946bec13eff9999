//! What an error does to the registers of the function that found it, and which messages it sends (base specification 6.2.4 and 6.2.5, figure
//! 6-2); which messages a bridge hands on (6.2.6, figure 6-3).

use super::{Detected, ErrorBit, ErrorRow};
use crate::config::{ConfigSpace, CorrectableError, ErrorMessage, Status, TlpLog, UncorrectableError};

/// What is left to be done about an error that was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The message that tells of it, if it's enabled. Whoever sends it calls [`signal`].
    pub message: Option<ErrorMessage>,
    /// Another `ERR_COR`: the header had no room in the log.
    pub overflow: bool,
    /// It's an uncorrectable error that isn't masked, and no advice: what begins containment.
    pub uncorrectable: bool,
}

// Device Status.
const CORRECTABLE: u16 = 1 << 0;
const NON_FATAL: u16 = 1 << 1;
const FATAL: u16 = 1 << 2;
const UNSUPPORTED: u16 = 1 << 3;

/// Records an error in the registers of the function that found it: Device Status, AER, and the status registers of PCI. `secondary` says that a
/// bridge found it on its secondary side.
pub fn record(config: &mut ConfigSpace, error: &Detected, secondary: bool) -> Report {
    let row = error.kind.row();
    record_legacy(config, error, row, secondary);
    let tlp = error.tlp.filter(|_| row.logged);
    match row.bit {
        ErrorBit::None => Report::default(),
        ErrorBit::Correctable(bit) => Report { message: record_correctable(config, bit), ..Report::default() },
        ErrorBit::Uncorrectable(bit) => {
            let default = if row.fatal { ErrorMessage::Fatal } else { ErrorMessage::NonFatal };
            let severity = if config.has_aer() { config.error_severity(bit) } else { Some(default) };
            // AER without a bit for it: the function doesn't look for this error.
            let Some(severity) = severity else { return Report::default() };
            if severity == ErrorMessage::NonFatal && row.advisory.contains(&error.role) {
                advise(config, row, bit, tlp)
            } else {
                record_uncorrectable(config, row, bit, severity, tlp)
            }
        }
    }
}

/// Bits of Status and Secondary Status, which know nothing of masks.
fn record_legacy(config: &mut ConfigSpace, error: &Detected, row: &ErrorRow, secondary: bool) {
    let mut bits = row.legacy;
    if bits == Status::DETECTED_PARITY_ERROR && error.is_of_completion() {
        let responds =
            if secondary { config.secondary_parity_response() } else { config.command().parity_error_response() };
        if responds {
            bits.0 |= Status::MASTER_DATA_PARITY_ERROR.0;
        }
    }
    if bits == Status::SIGNALED_TARGET_ABORT && error.role != super::Role::Completer {
        // Only a completion is a signal.
        return;
    }
    if secondary { config.record_secondary_status(bits) } else { config.record_status(bits) }
}

fn record_correctable(config: &mut ConfigSpace, bit: CorrectableError) -> Option<ErrorMessage> {
    config.record_device_status(CORRECTABLE);
    let masked = config.record_correctable(bit).is_some_and(|recorded| recorded.masked);
    (!masked && config.reports(ErrorMessage::Correctable)).then_some(ErrorMessage::Correctable)
}

/// An uncorrectable error that is told as a correctable one. Without AER nothing is sent (6.2.3.2.4).
fn advise(config: &mut ConfigSpace, row: &ErrorRow, bit: UncorrectableError, tlp: Option<TlpLog>) -> Report {
    let unsupported = if row.unsupported { UNSUPPORTED } else { 0 };
    config.record_device_status(CORRECTABLE | unsupported);
    let advisory = config.record_correctable(CorrectableError::AdvisoryNonFatal);
    if advisory.is_none_or(|recorded| recorded.masked) {
        return Report::default();
    }
    let overflow = log(config, bit, tlp).overflow;
    let enabled = config.reports(ErrorMessage::Correctable) && (!row.unsupported || config.reports_unsupported());
    Report { message: enabled.then_some(ErrorMessage::Correctable), overflow, uncorrectable: false }
}

fn record_uncorrectable(
    config: &mut ConfigSpace,
    row: &ErrorRow,
    bit: UncorrectableError,
    severity: ErrorMessage,
    tlp: Option<TlpLog>,
) -> Report {
    let unsupported = if row.unsupported { UNSUPPORTED } else { 0 };
    let detected = if severity == ErrorMessage::Fatal { FATAL } else { NON_FATAL };
    config.record_device_status(detected | unsupported);
    let Logged { masked, overflow } = log(config, bit, tlp);
    if masked {
        return Report::default();
    }
    let system = config.command().serr_enable();
    let enabled = (system || config.reports(severity)) && (!row.unsupported || system || config.reports_unsupported());
    Report { message: enabled.then_some(severity), overflow, uncorrectable: true }
}

struct Logged {
    masked: bool,
    overflow: bool,
}

/// Sets the error's status bit and logs the TLP. If another one has the log, that's an error of its own, a correctable one.
fn log(config: &mut ConfigSpace, bit: UncorrectableError, tlp: Option<TlpLog>) -> Logged {
    let Some(recorded) = config.record_tlp_error(bit, tlp) else { return Logged { masked: false, overflow: false } };
    let lost = !recorded.masked && !recorded.first && tlp.is_some();
    let overflow = lost && record_correctable(config, CorrectableError::HeaderLogOverflow).is_some();
    Logged { masked: recorded.masked, overflow }
}

/// A function sends `message`: what its Status shows of that.
pub fn signal(config: &mut ConfigSpace, message: ErrorMessage) {
    if message != ErrorMessage::Correctable && config.command().serr_enable() {
        config.record_status(Status::SIGNALED_SYSTEM_ERROR);
    }
}

/// An error message has come to a bridge from below: notes it, and says whether it's handed on. That needs SERR# Enable of Bridge Control, and what
/// an error of the bridge's own would need.
pub fn forward(config: &mut ConfigSpace, message: ErrorMessage) -> bool {
    if message != ErrorMessage::Correctable {
        config.record_secondary_status(Status::SIGNALED_SYSTEM_ERROR);
    }
    if !config.forwards_errors() {
        return false;
    }
    let system = message != ErrorMessage::Correctable && config.command().serr_enable();
    let enabled = system || config.reports(message);
    if enabled {
        signal(config, message);
    }
    enabled
}
