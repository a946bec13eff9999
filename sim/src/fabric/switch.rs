//! A switch: an upstream port, downstream ports, and a virtual bus between them. It routes TLPs and never splits them.

use super::core::Core;
use super::downstream::{Affair, DownstreamPort};
use super::error::{self, Detected, ErrorKind, Found, Role};
use super::ids::{Owner, PortId};
use super::routing::{Gate, Routes};
use super::{ConfigTarget, answer_dword};
use crate::config::{Changed, ConfigSpace, Reset, Status as Legacy};
use crate::fabric::TlpId;
use crate::tlp::{Bdf, Header, Kind, Route, Status};

/// The state of a switch.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(super) upstream: PortId,
    pub(super) config: ConfigSpace,
    /// The upstream port's bus and device number, from the last configuration write to it.
    pub(super) id: Bdf,
    pub(super) downstream: Vec<DownstreamPort>,
    /// What the upstream port lets through.
    pub(super) gate: Gate,
    pub(super) routes: Routes,
    /// Whether the link above is down.
    pub(super) link_down: bool,
    /// Whether Secondary Bus Reset of the upstream port was set when it was last looked at.
    pub(super) in_reset: bool,
}

/// Where a TLP goes on.
pub(super) enum Next {
    /// Out of this port.
    Forward(PortId),
    /// Out of this port, as another type: the last bridge before the target makes type 0 of type 1.
    ForwardAs(PortId, Header),
    /// It's a configuration request to one of the switch's own functions.
    Own(ConfigTarget),
    /// Out of every downstream port.
    Everywhere,
    /// It ends here, as it should: a message for this end of the link.
    End,
    /// It's a message that tells the root complex of an error.
    Error,
    /// Access control forbids it.
    Forbidden,
    /// Nobody claims it.
    Unclaimed,
}

impl Switch {
    /// A switch whose upstream port is `upstream`, with a downstream function for each of `downstream`.
    pub(crate) fn new(upstream: PortId, config: ConfigSpace, downstream: Vec<ConfigSpace>) -> Switch {
        let downstream = downstream.into_iter().map(DownstreamPort::new).collect();
        let gate = Gate::new(&config);
        Switch {
            upstream,
            config,
            id: Bdf(0),
            downstream,
            gate,
            routes: Routes::new(),
            link_down: false,
            in_reset: false,
        }
    }

    /// Connects a link to the first downstream port that has none: gives the port's number, and whether the link is up.
    pub(crate) fn connect(&mut self, port: PortId) -> Option<(u16, bool)> {
        let mut numbered = (0..Owner::UPWARDS).zip(&mut self.downstream);
        let (number, free) = numbered.find(|(_, downstream)| downstream.port.is_none())?;
        free.connect(port);
        Some((number, free.open().is_some()))
    }

    /// Where a TLP goes on as it is that has come in at downstream port `number`, or at the upstream port: what nearly all do. `None` if
    /// [`Switch::receive`] must deal with it.
    #[inline(always)]
    pub(crate) fn forward(&self, number: u16, header: &Header) -> Option<PortId> {
        let below = (number != Owner::UPWARDS).then_some(usize::from(number));
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 | Kind::MRd32 | Kind::MRd64 => self.by_address(below, header.address()),
            Kind::Cpl | Kind::CplD => self.by_bus(below, header.requester().bus()),
            _ => None,
        }
    }

    /// A TLP has come in at `port`, which is downstream port `number`, or the upstream port.
    #[inline(never)]
    pub(crate) fn receive(&mut self, core: &mut Core, port: PortId, number: u16, tlp: TlpId) {
        let below = (number != Owner::UPWARDS).then_some(usize::from(number));
        match self.next(below, core.header(tlp)) {
            Next::Forward(out) => core.pass_on(out, tlp),
            Next::ForwardAs(out, header) => {
                core.rewrite(tlp, header);
                core.pass_on(out, tlp);
            }
            Next::Own(target) => self.configure(core, port, tlp, target),
            Next::Everywhere => self.broadcast(core, tlp),
            Next::End => self.end(core, port, below, tlp),
            Next::Error => self.hand_on(core, port, below, tlp),
            Next::Forbidden => core.refuse_access(port, tlp, self.id),
            Next::Unclaimed if core.header(tlp).kind().is_completion() => core.refuse_completion(port, tlp),
            Next::Unclaimed => self.unclaimed(core, port, tlp),
        }
    }

    /// A TLP that no port claims is an Unsupported Request: but if one would claim it that is in containment, its registers say how it's answered,
    /// and it's nobody's error (base specification 2.9.3).
    #[cold]
    fn unclaimed(&self, core: &mut Core, port: PortId, tlp: TlpId) {
        let header = *core.header(tlp);
        let contained = self.downstream.iter().map(|port| &port.config).filter(|config| config.is_contained());
        let claimed = contained.into_iter().find(|config| match header.route() {
            Route::Address => config.forwards_address(header.address()),
            Route::Id => config.forwards_bus(header.target().bus()),
            _ => false,
        });
        match claimed {
            Some(config) => {
                let unsupported = config.containment_unsupported();
                let status = if unsupported { Status::UnsupportedRequest } else { Status::CompleterAbort };
                core.consume(tlp);
                core.complete(port, &header, self.id, status);
            }
            None => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
        }
    }

    /// The registers of the port at which something has come in.
    fn config_of(&self, below: Option<usize>) -> &ConfigSpace {
        below.and_then(|number| self.downstream.get(number)).map_or(&self.config, |port| &port.config)
    }

    /// A message ends here, whether the port knows it or not.
    fn end(&self, core: &mut Core, port: PortId, below: Option<usize>, tlp: TlpId) {
        let header = *core.header(tlp);
        if !header.kind().is_message() || error::is_supported(&header, self.config_of(below)) {
            core.consume(tlp);
        } else {
            core.refuse(port, tlp, self.id, Status::UnsupportedRequest);
        }
    }

    /// A message that tells of an error goes up through the two bridges of the switch, if both let it; it may begin containment at the first.
    fn hand_on(&mut self, core: &mut Core, port: PortId, below: Option<usize>, tlp: TlpId) {
        let header = *core.header(tlp);
        let lower = below.and_then(|number| self.downstream.get_mut(number));
        let (Some(lower), Some(told)) = (lower, error::told(&header)) else { return core.consume(tlp) };
        if lower.config.contains_errors(told) {
            lower.config.record_secondary_status(Legacy::SIGNALED_SYSTEM_ERROR);
            core.note(port, Found::Contain(error::containment_by(told, header.requester())));
            return core.consume(tlp);
        }
        if error::forward(&mut lower.config, told) && error::forward(&mut self.config, told) {
            core.pass_on(self.upstream, tlp);
        } else {
            core.consume(tlp);
        }
    }

    /// Resets the upstream port, as the link above goes down.
    pub(super) fn reset(&mut self, reset: Reset) {
        self.config.reset(reset);
        self.config.set_link(None);
        (self.id, self.in_reset) = (Bdf(0), false);
    }

    /// Makes the tables anew.
    pub(super) fn reroute(&mut self) {
        self.gate = Gate::new(&self.config);
        self.routes.rebuild(self.downstream.iter().map(|downstream| &downstream.config));
    }

    /// Sends a copy of a message out of every downstream port whose link is up.
    #[cold]
    fn broadcast(&self, core: &mut Core, tlp: TlpId) {
        for out in self.downstream.iter().filter_map(DownstreamPort::open) {
            let copy = core.duplicate(tlp);
            core.pass_on(out, copy);
        }
        core.consume(tlp);
    }

    /// Where a TLP goes that came from downstream port `below`, or from above if that's `None`.
    pub(super) fn next(&self, below: Option<usize>, header: &Header) -> Next {
        if let Some(from) = below
            && self.routes.is_controlled(from)
        {
            return self.next_by_access(from, header);
        }
        let kind = header.kind();
        let forward = |out: Option<PortId>| out.map_or(Next::Unclaimed, Next::Forward);
        match header.route() {
            // I/O space isn't forwarded.
            Route::Address if kind.is_io() => Next::Unclaimed,
            Route::Address => forward(self.by_address(below, header.address())),
            Route::Id if kind.is_completion() => forward(self.by_bus(below, header.requester().bus())),
            Route::Id if kind.is_config() => self.by_config(below, header),
            Route::Id => forward(self.by_bus(below, header.target().bus())),
            _ => self.next_message(below, header),
        }
    }

    /// Where a message goes that is routed neither by address nor by ID.
    pub(super) fn next_message(&self, below: Option<usize>, header: &Header) -> Next {
        match header.route() {
            Route::ToRootComplex if below.is_some() && error::told(header).is_some() => Next::Error,
            Route::ToRootComplex | Route::GatherToRootComplex if below.is_some() => Next::Forward(self.upstream),
            Route::Broadcast if below.is_none() => Next::Everywhere,
            _ => Next::End,
        }
    }

    /// Where a TLP from below goes that no port below claims.
    pub(super) fn upwards_if_not_ours(&self, header: &Header) -> Next {
        let ours = match header.route() {
            Route::Address => !self.gate.upwards || self.gate.holds_address(header.address()),
            _ => self.gate.holds_bus(header.target().bus()),
        };
        if ours { Next::Unclaimed } else { Next::Forward(self.upstream) }
    }

    /// Out of which port a memory request goes on. `None` if nobody claims it.
    #[inline]
    fn by_address(&self, below: Option<usize>, address: u64) -> Option<PortId> {
        // Only a bus master passes requests from its link on: the downstream port always, the upstream port if it's on the way.
        let allowed = match below {
            Some(from) => self.routes.direct(from),
            None => self.gate.holds_address(address),
        };
        if !allowed {
            return None;
        }
        match self.routes.by_address(address) {
            Some(number) => self.down(below, number),
            // What lies in the window of the switch but of no port below belongs to nobody.
            None if below.is_some() && self.gate.upwards && !self.gate.holds_address(address) => Some(self.upstream),
            None => None,
        }
    }

    /// Out of which port a TLP for a bus goes on. `None` if nobody claims it.
    #[inline]
    fn by_bus(&self, below: Option<usize>, bus: u8) -> Option<PortId> {
        match self.routes.by_bus(bus) {
            Some(number) => self.down(below, number),
            // A bus of the switch that lies behind no port is its own, where nobody expects anything.
            None if below.is_some() && !self.gate.holds_bus(bus) => Some(self.upstream),
            None => None,
        }
    }

    /// Out of downstream port `number`, but never back to where it came from, and to a peer only where access control has no say.
    #[inline]
    fn down(&self, below: Option<usize>, number: usize) -> Option<PortId> {
        if let Some(from) = below
            && (from == number || self.routes.is_controlled(from))
        {
            return None;
        }
        self.downstream[number].port
    }

    /// Out of which port an answer goes to a requester on `bus`, from a port below. `None` if nobody is there.
    pub(super) fn way_back(&self, bus: u8) -> Option<PortId> {
        match self.routes.by_bus(bus) {
            Some(number) => self.downstream.get(number)?.port,
            None => (!self.gate.holds_bus(bus)).then_some(self.upstream),
        }
    }

    fn by_config(&self, below: Option<usize>, header: &Header) -> Next {
        let target = header.target();
        if below.is_some() {
            // Configuration requests travel downwards only.
            return Next::Unclaimed;
        }
        if matches!(header.kind(), Kind::CfgRd0 | Kind::CfgWr0) {
            let own = target.device() == 0 && target.function() == 0;
            return if own { Next::Own(ConfigTarget::Upstream) } else { Next::Unclaimed };
        }
        if target.bus() == self.config.secondary() {
            let number = usize::from(target.device());
            let own = target.function() == 0 && number < self.downstream.len();
            return if own { Next::Own(ConfigTarget::Downstream(number)) } else { Next::Unclaimed };
        }
        let Some(number) = self.routes.by_bus(target.bus()) else { return Next::Unclaimed };
        let bridge = &self.downstream[number];
        let Some(out) = bridge.port else { return Next::Unclaimed };
        if bridge.config.secondary() != target.bus() {
            return Next::Forward(out);
        }
        match header.to_config_type0() {
            Some(header) if bridge.has_device(target) => Next::ForwardAs(out, header),
            _ => Next::Unclaimed,
        }
    }

    /// Carries out a configuration request to one of the switch's own functions, and answers it.
    fn configure(&mut self, core: &mut Core, port: PortId, tlp: TlpId, target: ConfigTarget) {
        let request = *core.header(tlp);
        let (register, enables, completer) = (request.register(), request.first_be(), request.target());
        if !request.has_data() {
            let (own, config) = match target {
                ConfigTarget::Upstream => (Some(self.upstream), &mut self.config),
                ConfigTarget::Downstream(number) => {
                    let downstream = &mut self.downstream[number];
                    (downstream.port, &mut downstream.config)
                }
            };
            if let Some(own) = own {
                core.show_channels(own, config);
            }
            let (value, digest) = (config.read(register), config.generates_ecrc());
            core.consume(tlp);
            return answer_dword(core, port, &request, completer, value, digest);
        }
        if request.is_poisoned() {
            // A configuration write changes nothing then, and is answered so (2.7.2.2).
            let error = Detected { tlp: Some(core.log_of(tlp)), ..Detected::new(ErrorKind::PoisonedTlp) };
            core.detect(port, error.as_role(Role::Plain).by(completer));
            core.consume(tlp);
            return core.complete(port, &request, completer, Status::UnsupportedRequest);
        }
        let value = core.payload(tlp).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        core.consume(tlp);
        let (number, affairs) = match target {
            ConfigTarget::Upstream => {
                if request.kind() == Kind::CfgWr0 {
                    self.id = completer;
                }
                let changed = self.config.write(register, enables, value);
                (0, Vec::from_iter(changed.contains(Changed::BRIDGE_CONTROL).then_some(Affair::Review)))
            }
            ConfigTarget::Downstream(number) => (number, self.downstream[number].write(register, enables, value)),
        };
        match target {
            ConfigTarget::Upstream => core.set_channels_by(self.upstream, &self.config),
            ConfigTarget::Downstream(number) => self.downstream[number].set_channels(core),
        }
        self.reroute();
        core.complete(port, &request, completer, Status::Successful);
        let node = core.owner(self.upstream).node;
        for affair in affairs {
            core.set_timer(node, core.now(), affair.token(number as u16));
        }
    }
}
