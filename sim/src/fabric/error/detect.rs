//! Finding errors: what is noted of each.

use super::{ErrorKind, Found, Role};
use crate::config::TlpLog;
use crate::fabric::core::Core;
use crate::fabric::ids::{NodeId, PortId};
use crate::fabric::{Faults, TlpId};
use crate::tlp::{Bdf, Class, Header, Prefixes};

/// An error as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// What it is.
    pub kind: ErrorKind,
    /// In which part it was found.
    pub role: Role,
    /// The TLP, if it's about one.
    pub tlp: Option<TlpLog>,
    /// Whose error it is, if the one who found it knows: what is behind a port can be several functions.
    pub function: Option<Bdf>,
}

impl Detected {
    /// An error that is about no TLP.
    pub const fn new(kind: ErrorKind) -> Detected {
        Detected { kind, role: Role::Plain, tlp: None, function: None }
    }

    /// The same, found in another part.
    #[must_use]
    pub const fn as_role(self, role: Role) -> Detected {
        Detected { role, ..self }
    }

    /// The same, about a TLP with this header and without prefixes.
    #[must_use]
    pub const fn about(self, header: &Header) -> Detected {
        Detected { tlp: Some(TlpLog { header: header.dws(), prefixes: [0; 4] }), ..self }
    }

    /// The same, by this function.
    #[must_use]
    pub const fn by(self, function: Bdf) -> Detected {
        Detected { function: Some(function), ..self }
    }

    /// Whether the TLP that it is about is a completion.
    pub fn is_of_completion(&self) -> bool {
        // Type is 0 1010 or 0 1011, whatever Fmt says.
        self.tlp.is_some_and(|tlp| tlp.header[0] >> 25 & 0xf == 0b0101)
    }
}

impl Faults {
    fn count(&mut self, kind: ErrorKind) {
        match kind {
            ErrorKind::UnsupportedRequest => self.unsupported_request += 1,
            ErrorKind::CompleterAbort => self.completer_abort += 1,
            ErrorKind::UnexpectedCompletion => self.unexpected_completion += 1,
            ErrorKind::CompletionTimeout => self.completion_timeout += 1,
            ErrorKind::MalformedTlp => self.malformed += 1,
            _ => {}
        }
    }
}

impl Core {
    /// Notes an error that was found at `port`: by the function or port there. Its registers show it still in this instant, and it may send a
    /// message. The data link layer reports its errors by this, too.
    #[cold]
    pub fn detect(&mut self, port: PortId, error: Detected) {
        self.faults.count(error.kind);
        if let Some(count) = self.errors.get_mut(error.kind as usize) {
            *count += 1;
        }
        self.note(port, Found::Error(error));
    }

    /// Sees that what was found at `port` is looked at when the present event is over.
    pub(in crate::fabric) fn note(&mut self, port: PortId, found: Found) {
        self.found.push_back((port, found));
        self.set_timer(NodeId::NOBODY, self.now(), 0);
    }

    /// Notes an error about a TLP that has arrived at `port`.
    #[cold]
    pub fn detect_tlp(&mut self, port: PortId, tlp: TlpId, kind: ErrorKind, role: Role) {
        let error = Detected { kind, role, tlp: Some(self.log_of(tlp)), function: None };
        self.detect(port, error);
    }

    /// A completion has arrived at `port` that answers no request of those behind it: it's counted, noted and consumed.
    #[cold]
    pub fn refuse_completion(&mut self, port: PortId, tlp: TlpId) {
        self.detect_tlp(port, tlp, ErrorKind::UnexpectedCompletion, Role::Plain);
        self.consume(tlp);
    }

    /// A TLP has arrived at `port` that breaks a rule of its format: it's counted, noted and consumed, and not answered.
    #[cold]
    pub fn refuse_malformed(&mut self, port: PortId, tlp: TlpId) {
        self.detect_tlp(port, tlp, ErrorKind::MalformedTlp, Role::Plain);
        self.consume(tlp);
    }

    /// The role of who answers this request, or can't as it's posted.
    pub(in crate::fabric) fn answering_role(request: &Header) -> Role {
        if request.class() == Class::NonPosted { Role::Completer } else { Role::Plain }
    }

    /// What the logs hold of a TLP: its bytes as they came.
    pub(in crate::fabric) fn log_of(&self, tlp: TlpId) -> TlpLog {
        let mut log = TlpLog::default();
        let (dwords, _) = self.arena.slot(tlp).raw.as_chunks::<4>();
        for (place, dword) in log.header.iter_mut().zip(dwords) {
            *place = u32::from_be_bytes(*dword);
        }
        // A header of three dwords is followed by nothing.
        if log.header[0] & 1 << 29 == 0 {
            log.header[3] = 0;
        }
        if let Ok(prefixes) = Prefixes::parse(self.prefixes(tlp)) {
            for (place, prefix) in log.prefixes.iter_mut().zip(prefixes.end_to_end()) {
                *place = prefix.dw();
            }
        }
        log
    }

    /// How many errors of this kind were found so far.
    pub fn detected(&self, kind: ErrorKind) -> u64 {
        self.errors.get(kind as usize).copied().unwrap_or(0)
    }
}
