//! Messages: those that tell of errors, and which others a port takes.

use crate::config::{ConfigSpace, ErrorMessage};
use crate::tlp::{Bdf, Header, MessageCode, Route};

/// The message that tells the root complex of an error that `source` has found. `None` never comes for these.
pub(in crate::fabric) fn error_message(source: Bdf, message: ErrorMessage) -> Option<Header> {
    let code = match message {
        ErrorMessage::Correctable => MessageCode::ERR_COR,
        ErrorMessage::NonFatal => MessageCode::ERR_NONFATAL,
        ErrorMessage::Fatal => MessageCode::ERR_FATAL,
    };
    Header::message(source, 0, code, Route::ToRootComplex, [0, 0], 0).ok()
}

/// What an error message tells. `None` for any other TLP.
pub(in crate::fabric) fn told(header: &Header) -> Option<ErrorMessage> {
    if !header.kind().is_message() || header.route() != Route::ToRootComplex {
        return None;
    }
    match header.message_code() {
        MessageCode::ERR_COR => Some(ErrorMessage::Correctable),
        MessageCode::ERR_NONFATAL => Some(ErrorMessage::NonFatal),
        MessageCode::ERR_FATAL => Some(ErrorMessage::Fatal),
        _ => None,
    }
}

/// Whether a message that ends at a port or function is one that it knows; another is an Unsupported Request (base specification 2.3.1, 2.2.8).
/// Vendor-defined ones of type 1 and those of 1.0a's signalling are for everybody to ignore. Latency tolerance is reported to ports that have it
/// enabled; precision time and address translation nobody here has.
pub(in crate::fabric) fn is_supported(header: &Header, config: &ConfigSpace) -> bool {
    match header.message_code() {
        MessageCode::LTR => config.ltr_enabled(),
        MessageCode::OBFF
        | MessageCode::PTM_REQUEST
        | MessageCode::PTM_RESPONSE
        | MessageCode::VENDOR_DEFINED_0
        | MessageCode::INVALIDATE_REQUEST
        | MessageCode::INVALIDATE_COMPLETION
        | MessageCode::PAGE_REQUEST
        | MessageCode::PRG_RESPONSE => false,
        code => code.row().is_some(),
    }
}
