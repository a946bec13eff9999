//! The fabric: nodes joined by links, and the events that move TLPs between them.
//!
//! A TLP is decoded once, where it enters, and lives in a slot of an arena until it's consumed. Its header's bytes travel with it; where a fault
//! changes them on the way, the next receiver decodes them again. Each hop is one event: a transmitter takes
//! credits, occupies the wire, and the TLP arrives at the other end when the wire, the flight and the receiver's latency are over. A receive
//! buffer stays occupied until the TLP has gone on or is consumed; only then do its credits return. What waits for credits goes on in an
//! order that the [ordering table](crate::ordering) allows; links may have several virtual channels, each with credits of its own.

mod acs;
mod arbiter;
mod arena;
mod assembly;
mod channels;
mod clock;
mod containment;
mod core;
mod cpus;
mod credits;
pub mod dll;
mod dma;
mod downstream;
pub mod error;
mod exact;
mod function;
mod ids;
mod inspect;
mod link;
mod multi;
mod poison;
mod ports;
mod requester;
mod reset;
mod root;
mod routing;
pub mod rules;
mod slots;
mod special;
mod switch;
mod unsent;
mod waiting;

use std::fmt;

pub use self::core::{Core, Faults};
pub use self::ids::{NodeId, PortId};
pub use arena::{MAX_PAYLOAD, TlpId};
pub use assembly::{LinkEnd, TopologyError};
pub use dma::{Dma, DmaError, Progress};
pub use downstream::PortEvent;
pub use error::{Detected, ErrorKind};
pub use exact::{Fate, FrameKind, LinkCounters, Noise};
pub use function::{Function, Inbound, answer_read};
pub use multi::{FunctionKey, MultiError, MultiFunction, MultiInbound, PhysicalSpec, VirtualSpec};
pub use ports::{PortIdentity, add_channels, hot_plug_port_config, msi_port_config, port_config, slot_port_config};
pub use requester::{Outcome, Requester};
pub use root::{PeerToPeer, RootSpec, SystemError, Ticket};

use self::core::Event;
use self::ids::Owner;
use self::link::Transmitter;
use self::reset::Links;
use self::root::RootComplex;
use self::switch::Switch;
use crate::event::EventQueue;
use crate::probe::Probe;
use crate::profile;
use crate::rng::Rng;
use crate::time::Time;
use crate::tlp::{Bdf, Header, Status};

/// Something that is plugged into the fabric: it consumes the TLPs that reach its ports, and sends its own.
pub trait Device: Send {
    /// A TLP has arrived at `port`. The device must see that it's consumed ([`Core::consume`]), now or later; until then it
    /// occupies the receive buffer of that port.
    fn receive(&mut self, core: &mut Core, port: PortId, tlp: TlpId);

    /// A timer set by [`Core::set_timer`] has come.
    fn timer(&mut self, core: &mut Core, token: u64);

    /// Something happened to the link of `port`, or to the slot above it. A device without this takes no notice.
    fn port_event(&mut self, core: &mut Core, port: PortId, event: PortEvent) {
        let _ = (core, port, event);
    }

    /// An error was found at `port` ([`Core::detect`], [`Core::refuse`]): the device lets the function that it is of record it
    /// ([`Function::report`]). A device without this has no registers that show errors.
    fn error(&mut self, core: &mut Core, port: PortId, error: &Detected) {
        let _ = (core, port, error);
    }

    /// The device as its own type, for whoever plugged it in.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// Which of a switch's own functions a configuration request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigTarget {
    Upstream,
    Downstream(usize),
}

enum Node {
    Root(Box<RootComplex>),
    Switch(Box<Switch>),
    Device(Box<dyn Device>),
    /// A device that isn't there yet: it swallows what reaches it.
    Reserved,
}

/// Links, nodes, and the events between them.
pub struct Fabric {
    core: Core,
    nodes: Vec<Node>,
    links: Links,
    timing: profile::Timing,
    rng: Rng,
    /// Whether a root complex's clock was ever held: if not, all show the fabric's time.
    ever_held: bool,
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric").field("core", &self.core).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Fabric {
    /// An empty fabric. `seed` draws the latencies that the profile gives as ranges.
    pub fn new(timing: profile::Timing, seed: u64) -> Fabric {
        Fabric {
            core: Core::new(),
            nodes: Vec::new(),
            links: Links::default(),
            timing,
            rng: Rng::stream(seed, "links"),
            ever_held: false,
        }
    }

    /// Lets `probe` see every TLP from now on.
    pub fn set_probe(&mut self, probe: Option<Box<dyn Probe>>) -> Option<Box<dyn Probe>> {
        std::mem::replace(&mut self.core.probe, probe)
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// What went wrong so far.
    pub fn faults(&self) -> Faults {
        self.core.faults
    }

    /// How many errors of this kind were found so far.
    pub fn detected(&self, kind: ErrorKind) -> u64 {
        self.core.detected(kind)
    }

    /// How many TLPs are under way.
    pub fn in_flight(&self) -> usize {
        self.core.arena.len()
    }

    /// Whether no TLP is under way, and all credits of all links are where they were at the beginning, or on their way there.
    pub fn is_at_rest(&self) -> bool {
        self.in_flight() == 0 && self.core.transmitters.iter().all(Transmitter::is_at_rest)
    }

    /// When the next event happens. `None` if there's none.
    pub fn next_time(&self) -> Option<Time> {
        self.core.queue.next_time()
    }

    /// Lets time pass up to `at`, as far as no event lies before it: for software outside the simulation, whose accesses come at times of its
    /// own. Gives the time that it is then.
    pub fn advance_to(&mut self, at: Time) -> Time {
        let until = self.next_time().map_or(at, |next| next.min(at));
        self.core.now = self.core.now.max(until);
        self.core.now
    }

    /// Lets the next event happen. `false` if there's none.
    #[inline]
    pub fn step(&mut self) -> bool {
        let Some((at, event)) = self.core.queue.pop() else { return false };
        self.core.now = at;
        match event {
            Event::Arrive(port, owner, tlp) => self.arrive(port, owner, tlp),
            Event::ArriveSpecially(port, owner, tlp) => self.arrive_specially(port, owner, tlp),
            Event::Arbitrate(port) => self.core.arbitrate_when_due(port),
            Event::Transmit(port, tlp) => self.core.show(port, tlp, at),
            Event::Link(port, token) => self.core.link_affair(port, token),
            Event::Timer(node, token) => self.timer(node, token),
            Event::Fault(token) => self.fault_due(token),
            Event::Wake(sleeper) => self.core.woken.push(sleeper),
        }
        true
    }

    #[inline(never)]
    fn timer(&mut self, node: NodeId, token: u64) {
        if node == NodeId::NOBODY {
            return self.report();
        }
        match &mut self.nodes[usize::from(node.0)] {
            Node::Root(root) if token < downstream::PORT => root.timer(&mut self.core, token),
            Node::Root(_) | Node::Switch(_) => self.port_timer(node, token),
            Node::Reserved => {}
            Node::Device(device) => device.timer(&mut self.core, token),
        }
    }

    /// A TLP has arrived over a virtual channel.
    #[cold]
    fn arrive_specially(&mut self, port: PortId, owner: Owner, tlp: TlpId) {
        if self.core.takes_class(port, tlp) {
            return self.arrive(port, owner, tlp);
        }
        self.core.hold(port, tlp);
        if self.links.is_down(port) {
            return self.lose(port, tlp);
        }
        self.core.refuse_malformed(port, tlp);
    }

    #[inline(always)]
    fn arrive(&mut self, port: PortId, owner: Owner, tlp: TlpId) {
        let slot = self.core.hold(port, tlp);
        if slot.special_bits() | self.links.down_count() != 0 {
            return self.arrive_in_all_cases(port, owner, tlp);
        }
        match &mut self.nodes[usize::from(owner.node.0)] {
            Node::Switch(switch) => match switch.forward(owner.number, &slot.header) {
                Some(out) => self.core.send(out, tlp),
                None => switch.receive(&mut self.core, port, owner.number, tlp),
            },
            Node::Root(root) => {
                let header = slot.header;
                root.receive(&mut self.core, port, usize::from(owner.number), tlp, &header);
            }
            Node::Device(device) => device.receive(&mut self.core, port, tlp),
            Node::Reserved => self.core.consume(tlp),
        }
    }

    #[cold]
    #[inline(never)]
    fn arrive_in_all_cases(&mut self, port: PortId, owner: Owner, tlp: TlpId) {
        if self.links.is_down(port) {
            return self.lose(port, tlp);
        }
        if self.core.is_special(tlp) {
            if self.core.arena.slot(tlp).has_changed() && self.core.decode_anew(tlp).is_err() {
                return self.core.refuse_malformed(port, tlp);
            }
            if !self.inspect(port, owner, tlp) {
                return;
            }
        }
        match &mut self.nodes[usize::from(owner.node.0)] {
            Node::Switch(switch) => match switch.forward(owner.number, self.core.header(tlp)) {
                Some(out) => self.core.pass_on(out, tlp),
                None => switch.receive(&mut self.core, port, owner.number, tlp),
            },
            Node::Root(root) => {
                let header = *self.core.header(tlp);
                root.receive(&mut self.core, port, usize::from(owner.number), tlp, &header);
            }
            Node::Device(device) => device.receive(&mut self.core, port, tlp),
            Node::Reserved => self.core.consume(tlp),
        }
    }

    /// Calls a device that was added to the fabric, as the type `D` that it has. `None` if it isn't one.
    pub fn device<D: 'static, T>(&mut self, node: NodeId, call: impl FnOnce(&mut D, &mut Core) -> T) -> Option<T> {
        match self.nodes.get_mut(usize::from(node.0))? {
            Node::Device(device) => device.as_any().downcast_mut().map(|device| call(device, &mut self.core)),
            _ => None,
        }
    }

    /// Sees that [`Fabric::next_woken`] gives `sleeper` at `at`.
    pub fn wake_at(&mut self, at: Time, sleeper: u32) {
        self.core.queue.push(at, Event::Wake(sleeper));
    }

    /// A sleeper whose time has come.
    pub fn next_woken(&mut self) -> Option<u32> {
        self.core.woken.pop()
    }
}

/// Sends the completion of a one-dword read, with a digest if it's to have one.
pub(crate) fn answer_dword(core: &mut Core, port: PortId, request: &Header, completer: Bdf, value: u32, digest: bool) {
    if let Ok(completion) = Header::completion_for(request, completer, Status::Successful) {
        core.send_with_digest(port, completion, &value.to_le_bytes(), digest);
    }
}
