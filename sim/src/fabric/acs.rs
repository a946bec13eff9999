//! Access control: what a port with Access Control Services does with what comes from below (base specification 6.12).
//!
//! A port without any service turned on never comes here: the tables that route say so ([`Gate`](super::routing::Gate)).

use super::core::Core;
use super::error::ErrorKind;
use super::ids::PortId;
use super::switch::{Next, Switch};
use crate::config::{Acs, ConfigSpace};
use crate::fabric::TlpId;
use crate::tlp::{AddressType, Bdf, Header, Route, Status};

/// Whether a request from below breaks Source Validation or Translation Blocking of the port with these registers. Completions break neither.
pub(super) fn violates(config: &ConfigSpace, header: &Header) -> bool {
    let acs = config.acs();
    if acs.is_empty() || header.kind().is_completion() {
        return false;
    }
    let stranger = acs.contains(Acs::SOURCE_VALIDATION) && !config.forwards_bus(header.requester().bus());
    let translated = acs.contains(Acs::TRANSLATION_BLOCKING)
        && header.kind().is_memory()
        && header.at() != AddressType::Untranslated;
    stranger || translated
}

impl Core {
    /// Ends a request that access control forbids, with Completer Abort if it's answered.
    #[cold]
    pub(super) fn refuse_access(&mut self, port: PortId, tlp: TlpId, completer: Bdf) {
        let request = *self.header(tlp);
        self.detect_tlp(port, tlp, ErrorKind::AcsViolation, Core::answering_role(&request));
        self.consume(tlp);
        self.complete(port, &request, completer, Status::CompleterAbort);
    }
}

impl Switch {
    /// Where a TLP goes that came from downstream port `from`, where services are on.
    #[cold]
    pub(super) fn next_by_access(&self, from: usize, header: &Header) -> Next {
        let Some(port) = self.downstream.get(from) else { return Next::Unclaimed };
        let (config, acs) = (&port.config, port.config.acs());
        if violates(config, header) {
            return Next::Forbidden;
        }
        let kind = header.kind();
        let target = match header.route() {
            Route::Address if kind.is_io() => return Next::Unclaimed,
            Route::Address if !self.routes.upwards(from) => return Next::Unclaimed,
            Route::Address => self.routes.by_address(header.address()),
            Route::Id if kind.is_config() => return Next::Unclaimed,
            Route::Id if kind.is_completion() => self.routes.by_bus(header.requester().bus()),
            Route::Id => self.routes.by_bus(header.target().bus()),
            _ => return self.next_message(Some(from), header),
        };
        let Some(target) = target else { return self.upwards_if_not_ours(header) };
        if target == from {
            // It was redirected further down, or is a mistake.
            let forwards = acs.contains(Acs::UPSTREAM_FORWARDING);
            return if forwards { Next::Forward(self.upstream) } else { Next::Unclaimed };
        }
        let direct = self.downstream.get(target).and_then(|port| port.port).map_or(Next::Unclaimed, Next::Forward);
        if kind.is_completion() {
            let relaxed = header.attr().relaxed_ordering();
            let redirected = acs.contains(Acs::COMPLETION_REDIRECT) && !relaxed;
            return if redirected { Next::Forward(self.upstream) } else { direct };
        }
        if acs.contains(Acs::DIRECT_TRANSLATED) && kind.is_memory() && header.at() == AddressType::Translated {
            return direct;
        }
        // What egress control is on for, it decides alone.
        let (controls, redirects) = (acs.contains(Acs::EGRESS_CONTROL), acs.contains(Acs::REQUEST_REDIRECT));
        match (controls, config.acs_controls(target), redirects) {
            (true, true, false) => Next::Forbidden,
            (true, true, true) | (false, _, true) => Next::Forward(self.upstream),
            (true, false, _) | (false, _, false) => direct,
        }
    }
}
