//! A switch: an upstream port, downstream ports, and a virtual bus between them. It routes TLPs and never splits them.

use super::core::{Core, Owner, PortId};
use super::downstream::{Affair, DownstreamPort};
use super::routing::{Gate, Routes};
use super::{ConfigTarget, answer_dword};
use crate::config::{Changed, ConfigSpace, Reset};
use crate::fabric::TlpId;
use crate::tlp::{Bdf, Header, Kind, Route, Status};

/// The state of a switch.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(super) upstream: PortId,
    pub(super) config: ConfigSpace,
    /// The upstream port's bus and device number, from the last configuration write to it.
    id: Bdf,
    pub(super) downstream: Vec<DownstreamPort>,
    /// What the upstream port lets through.
    pub(super) gate: Gate,
    routes: Routes,
    /// Whether the link above is down.
    pub(super) link_down: bool,
    /// Whether Secondary Bus Reset of the upstream port was set when it was last looked at.
    pub(super) in_reset: bool,
}

/// Where a TLP goes on.
enum Next {
    /// Out of this port.
    Forward(PortId),
    /// Out of this port, as another type: the last bridge before the target makes type 0 of type 1.
    ForwardAs(PortId, Header),
    /// It's a configuration request to one of the switch's own functions.
    Own(ConfigTarget),
    /// Out of every downstream port.
    Everywhere,
    /// It ends here, as it should.
    End,
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
            Next::Forward(out) => core.send(out, tlp),
            Next::ForwardAs(out, header) => {
                core.rewrite(tlp, header);
                core.send(out, tlp);
            }
            Next::Own(target) => self.configure(core, port, tlp, target),
            Next::Everywhere => self.broadcast(core, tlp),
            Next::End => core.consume(tlp),
            Next::Unclaimed if core.header(tlp).kind().is_completion() => {
                core.count(|faults| faults.unexpected_completion += 1);
                core.consume(tlp);
            }
            Next::Unclaimed => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
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
            core.send(out, copy);
        }
        core.consume(tlp);
    }

    /// Where a TLP goes that came from downstream port `below`, or from above if that's `None`.
    fn next(&self, below: Option<usize>, header: &Header) -> Next {
        let kind = header.kind();
        let forward = |out: Option<PortId>| out.map_or(Next::Unclaimed, Next::Forward);
        match header.route() {
            // I/O space isn't forwarded.
            Route::Address if kind.is_io() => Next::Unclaimed,
            Route::Address => forward(self.by_address(below, header.address())),
            Route::Id if kind.is_completion() => forward(self.by_bus(below, header.requester().bus())),
            Route::Id if kind.is_config() => self.by_config(below, header),
            Route::Id => forward(self.by_bus(below, header.target().bus())),
            Route::ToRootComplex | Route::GatherToRootComplex if below.is_some() => Next::Forward(self.upstream),
            Route::Broadcast if below.is_none() => Next::Everywhere,
            _ => Next::End,
        }
    }

    /// Out of which port a memory request goes on. `None` if nobody claims it.
    #[inline]
    fn by_address(&self, below: Option<usize>, address: u64) -> Option<PortId> {
        // Only a bus master passes requests from its link on: the downstream port always, the upstream port if it's on the way.
        let allowed = match below {
            Some(from) => self.routes.upwards(from),
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

    /// Out of downstream port `number`, but never back to where it came from.
    #[inline]
    fn down(&self, below: Option<usize>, number: usize) -> Option<PortId> {
        if below == Some(number) {
            return None;
        }
        self.downstream[number].port
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
        // Below a link there's only device 0 (without ARI).
        match header.to_config_type0() {
            Some(header) if target.device() == 0 => Next::ForwardAs(out, header),
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
            let value = config.read(register);
            core.consume(tlp);
            return answer_dword(core, port, &request, completer, value);
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
