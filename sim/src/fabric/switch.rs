//! A switch: an upstream port, downstream ports, and a virtual bus between them. It routes TLPs and never splits them.

use super::core::{Core, PortId};
use super::routing::Routes;
use super::{ConfigTarget, bridge_config};
use crate::config::ConfigSpace;
use crate::fabric::TlpId;
use crate::tlp::{Bdf, Header, Kind, Route, Status};

/// A downstream port. It has a function on the virtual bus, and a link if something is connected.
#[derive(Debug)]
struct Downstream {
    port: Option<PortId>,
    config: ConfigSpace,
}

/// The state of a switch.
#[derive(Debug)]
pub(crate) struct Switch {
    upstream: PortId,
    config: ConfigSpace,
    /// The upstream port's bus and device number, from the last configuration write to it.
    id: Bdf,
    downstream: Vec<Downstream>,
    routes: Routes,
}

/// Where a TLP goes on.
enum Next {
    /// Out of this port.
    Forward(PortId),
    /// Out of this port, as another type: the last bridge before the target makes type 0 of type 1.
    ForwardAs(PortId, Header),
    /// It's a configuration request to one of the switch's own functions.
    Own(ConfigTarget),
    /// It ends here, as it should.
    End,
    /// Nobody claims it.
    Unclaimed,
}

impl Switch {
    /// A switch whose upstream port is `upstream`, with a downstream function for each of `downstream`.
    pub(crate) fn new(upstream: PortId, config: ConfigSpace, downstream: Vec<ConfigSpace>) -> Switch {
        let downstream = downstream.into_iter().map(|config| Downstream { port: None, config }).collect();
        Switch { upstream, config, id: Bdf(0), downstream, routes: Routes::new() }
    }

    /// Connects a link to the first downstream port that has none.
    pub(crate) fn connect(&mut self, port: PortId) -> Option<usize> {
        let number = self.downstream.iter().position(|downstream| downstream.port.is_none())?;
        self.downstream[number].port = Some(port);
        Some(number)
    }

    /// Whether a link can still be connected.
    pub(crate) fn has_room(&self) -> bool {
        self.downstream.iter().any(|downstream| downstream.port.is_none())
    }

    /// A TLP has come in at `port`.
    #[inline]
    pub(crate) fn receive(&mut self, core: &mut Core, port: PortId, tlp: TlpId) {
        let header = *core.header(tlp);
        match self.next(port, &header) {
            Next::Forward(out) => core.send(out, tlp),
            Next::ForwardAs(out, header) => {
                core.rewrite(tlp, header);
                core.send(out, tlp);
            }
            Next::Own(target) => self.configure(core, port, tlp, target),
            Next::End => core.consume(tlp),
            Next::Unclaimed if header.kind().is_completion() => {
                core.count(|faults| faults.unexpected_completion += 1);
                core.consume(tlp);
            }
            Next::Unclaimed => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
        }
    }

    #[inline]
    fn next(&self, from: PortId, header: &Header) -> Next {
        let below = from != self.upstream;
        match header.route() {
            Route::Address => self.by_address(below, from, header.address()),
            Route::Id if header.kind().is_config() => self.by_config(below, header),
            Route::Id => {
                let target = if header.kind().is_completion() { header.requester() } else { header.target() };
                self.by_bus(below, from, target.bus())
            }
            Route::ToRootComplex | Route::GatherToRootComplex if below => Next::Forward(self.upstream),
            _ => Next::End,
        }
    }

    fn by_address(&self, below: bool, from: PortId, address: u64) -> Next {
        match self.routes.by_address(address) {
            Some(number) => match self.downstream[number].port {
                // A request never goes back to where it came from.
                Some(out) if out != from && self.forwards_down() => Next::Forward(out),
                _ => Next::Unclaimed,
            },
            // What lies in the window of the switch but of no port below belongs to nobody.
            None if below && self.forwards_up(from) && !self.config.forwards_address(address) => {
                Next::Forward(self.upstream)
            }
            None => Next::Unclaimed,
        }
    }

    fn forwards_down(&self) -> bool {
        self.config.command().memory_space()
    }

    /// Both bridges on the way up must be bus masters to pass requests on.
    fn forwards_up(&self, from: PortId) -> bool {
        let downstream = self.downstream.iter().find(|downstream| downstream.port == Some(from));
        self.config.command().bus_master()
            && downstream.is_some_and(|downstream| downstream.config.command().bus_master())
    }

    fn by_bus(&self, below: bool, from: PortId, bus: u8) -> Next {
        match self.routes.by_bus(bus) {
            Some(number) => match self.downstream[number].port {
                Some(out) if out != from => Next::Forward(out),
                _ => Next::Unclaimed,
            },
            None if below => Next::Forward(self.upstream),
            None => Next::Unclaimed,
        }
    }

    fn by_config(&self, below: bool, header: &Header) -> Next {
        let target = header.target();
        if below {
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

    fn configure(&mut self, core: &mut Core, port: PortId, tlp: TlpId, target: ConfigTarget) {
        let request = *core.header(tlp);
        let config = match target {
            ConfigTarget::Upstream => {
                if request.kind() == Kind::CfgWr0 {
                    self.id = request.target();
                }
                &mut self.config
            }
            ConfigTarget::Downstream(number) => &mut self.downstream[number].config,
        };
        bridge_config(core, port, tlp, config, request.target());
        if request.has_data() {
            self.routes.rebuild(self.downstream.iter().map(|downstream| &downstream.config));
        }
    }
}
