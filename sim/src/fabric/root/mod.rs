//! A root complex: memory, the CPUs' accesses to what is below its root ports, and interrupt messages.

mod cpu;
mod peer;

use std::collections::VecDeque;

pub use peer::PeerToPeer;

use super::acs;
use super::arena::TlpId;
use super::clock::HeldClock;
use super::core::Core;
use super::downstream::DownstreamPort;
use super::error::{self, Found};
use super::function::extent;
use super::ids::{NodeId, Owner, PortId};
use super::poison;
use super::requester::Requester;
use super::routing::Routes;
use crate::config::{ConfigSpace, ErrorMessage};
use crate::host::{Access, AccessError, Data};
use crate::memory::Memory;
use crate::profile;
use crate::time::Time;
use crate::tlp::{Bdf, Header, Kind, Route, Status};

/// Writes to this range are interrupt messages: the local APIC's range on x86 (Intel SDM volume 3, 'Message Address Register Format').
const INTERRUPTS: std::ops::RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;
/// Tags of a root complex: 8-bit ones.
const TAGS: u16 = 256;
/// How long a function may answer configuration requests with CRS, and how often it's asked again (PCIe base specification,
/// 'Conventional Reset': one second).
const CRS_LIMIT: Time = Time::ms(1000);
const CRS_RETRY: Time = Time::us(100);

/// Names an access that a CPU has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    root: NodeId,
    serial: u64,
}

/// An error that a root port takes for one of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemError {
    /// The root port's number, from 0.
    pub port: usize,
    /// Its severity.
    pub message: ErrorMessage,
    /// The function that found it.
    pub source: Bdf,
}

/// Errors of the system that are kept until the host takes them; later ones are dropped (ours).
const MAX_SYSTEM_ERRORS: usize = 1024;

/// What a root complex is made of.
#[derive(Clone, Debug)]
pub struct RootSpec {
    /// Its memory, from address 0.
    pub memory: Memory,
    /// Read Completion Boundary, 64 or 128 bytes.
    pub read_completion_boundary: u32,
    /// What it does with requests from one root port to what is behind another.
    pub peer_to_peer: PeerToPeer,
    /// The configuration spaces of its root ports; the first is device 1 on bus 0.
    pub ports: Vec<ConfigSpace>,
}

/// An access under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    serial: u64,
    access: Access,
    data: Data,
    /// Until when a configuration request is repeated, on the cores' own clock.
    retry_until: Time,
    /// The root port that its request has left by.
    out: Option<PortId>,
}

/// A request that failed, as the registers of its root port show it.
#[derive(Clone, Copy, Debug)]
enum Outstanding {
    Memory(Header),
    Config(Header),
}

/// What a timer of a root complex is for; the low bits say for which.
pub(super) mod timer {
    pub(in crate::fabric) const EXPIRE: u64 = 1 << 32;
    pub(in crate::fabric) const RETRY: u64 = 2 << 32;
    pub(in crate::fabric) const RETIRED: u64 = 3 << 32;
}

/// The state of a root complex.
#[derive(Debug)]
pub(crate) struct RootComplex {
    node: NodeId,
    pub(super) id: Bdf,
    memory: Memory,
    /// Addresses, first and last, whose data can't be read right.
    poisoned: Vec<(u64, u64)>,
    boundary: u64,
    pub(super) ports: Vec<DownstreamPort>,
    /// Whether PERST# is asserted below the root ports.
    pub(super) perst: bool,
    routes: Routes,
    requester: Requester,
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
    /// Accesses that wait for a tag.
    waiting: VecDeque<u32>,
    serial: u64,
    results: VecDeque<(Ticket, Result<Data, AccessError>)>,
    interrupts: VecDeque<u32>,
    system_errors: VecDeque<SystemError>,
    clock: HeldClock,
    /// A deadline came on the fabric's clock while our own was held.
    overdue: bool,
    peers: peer::Peers,
}

impl RootComplex {
    pub(crate) fn new(node: NodeId, spec: RootSpec, timing: &profile::Timing) -> RootComplex {
        RootComplex {
            node,
            id: Bdf::new(0, 0, 0),
            memory: spec.memory,
            poisoned: Vec::new(),
            boundary: u64::from(spec.read_completion_boundary),
            ports: spec.ports.into_iter().map(DownstreamPort::new).collect(),
            perst: false,
            routes: Routes::new(),
            requester: Requester::new(TAGS, timing.completion_timeout()),
            pending: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            serial: 0,
            results: VecDeque::new(),
            interrupts: VecDeque::new(),
            system_errors: VecDeque::new(),
            clock: HeldClock::default(),
            overdue: false,
            peers: peer::Peers::new(spec.peer_to_peer),
        }
    }

    /// Connects a link to the first root port that has none: gives the port's number, and whether the link is up.
    pub(crate) fn connect(&mut self, port: PortId) -> Option<(u16, bool)> {
        let mut numbered = (0..Owner::UPWARDS).zip(&mut self.ports);
        let (number, free) = numbered.find(|(_, root_port)| root_port.port.is_none())?;
        free.connect(port);
        Some((number, free.open().is_some()))
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Whether there's a result or an interrupt message to be had.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !(self.results.is_empty() && self.interrupts.is_empty())
    }

    pub(crate) fn next_interrupt(&mut self) -> Option<u32> {
        self.interrupts.pop_front()
    }

    /// Notes an error of the system, if the root port takes it for one.
    pub(super) fn note_system_error(&mut self, error: SystemError) {
        let is_one = self.ports.get(error.port).is_some_and(|port| port.config.is_system_error(error.message));
        if is_one {
            self.keep_system_error(error);
        }
    }

    /// Keeps an error of the system for the host.
    fn keep_system_error(&mut self, error: SystemError) {
        if self.system_errors.len() < MAX_SYSTEM_ERRORS {
            self.system_errors.push_back(error);
        }
    }

    pub(super) fn next_system_error(&mut self) -> Option<SystemError> {
        self.system_errors.pop_front()
    }

    pub(crate) fn next_result(&mut self) -> Option<(Ticket, Result<Data, AccessError>)> {
        self.results.pop_front()
    }

    /// What the clock of its cores and their requests shows.
    #[inline]
    pub(crate) fn own_time(&self, fabric: Time) -> Time {
        self.clock.now(fabric)
    }

    /// When on the fabric's clock its own will show `own`. `None` while it's held.
    pub(crate) fn fabric_time(&self, own: Time) -> Option<Time> {
        (!self.clock.is_held()).then(|| self.clock.at(own))
    }

    /// Holds its own clock, or lets it run again.
    pub(crate) fn hold_clock(&mut self, core: &mut Core, hold: bool) {
        self.clock.hold(hold, core.now);
        if !hold && std::mem::take(&mut self.overdue) {
            self.expire(core);
        }
    }

    /// A TLP has come in at root port `number`, whose link is `port`.
    #[inline]
    pub(crate) fn receive(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, header: &Header) {
        // Only a bus master passes requests from its link on; one with access control looks at them first.
        let upwards = self.routes.direct(number);
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 if upwards => self.write(core, port, tlp, header),
            // The link let it arrive when the memory had been read.
            Kind::MRd32 | Kind::MRd64 if upwards && self.has(header) => self.read(core, port, number, tlp, header),
            Kind::Cpl | Kind::CplD => self.completion(core, port, tlp, header),
            _ => self.receive_in_all_cases(core, port, number, tlp, header),
        }
    }

    #[inline(never)]
    fn receive_in_all_cases(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, header: &Header) {
        if self.ports.get(number).is_some_and(|root_port| acs::violates(&root_port.config, header)) {
            return core.refuse_access(port, tlp, self.id);
        }
        let upwards = self.routes.upwards(number);
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 if upwards => self.write(core, port, tlp, header),
            Kind::MRd32 | Kind::MRd64 if upwards && self.has(header) => self.read(core, port, number, tlp, header),
            Kind::MRd32 | Kind::MRd64 if upwards => self.hand_to_peer(core, port, tlp, header),
            kind if kind.is_atomic() && upwards && self.has(header) => self.atomic(core, port, number, tlp, header),
            Kind::Msg | Kind::MsgD if header.route() != Route::Address && header.route() != Route::Id => {
                self.message(core, port, number, tlp, header);
            }
            kind if kind.is_completion() => core.refuse_completion(port, tlp),
            _ => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
        }
    }

    /// A message ends here. One that tells of an error is noted; one that the port doesn't know is an Unsupported Request.
    fn message(&self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, header: &Header) {
        if let Some(told) = error::told(header) {
            core.note(port, Found::Message(told, header.requester()));
            return core.consume(tlp);
        }
        let known = |root_port: &DownstreamPort| error::is_supported(header, &root_port.config);
        if self.ports.get(number).is_some_and(known) {
            core.consume(tlp);
        } else {
            core.refuse(port, tlp, self.id, Status::UnsupportedRequest);
        }
    }

    /// Whether the memory has all that a request names.
    #[inline]
    fn has(&self, header: &Header) -> bool {
        self.memory.has(header.address(), extent(header))
    }

    #[inline]
    fn write(&mut self, core: &mut Core, port: PortId, tlp: TlpId, header: &Header) {
        let address = header.address();
        if self.has(header) {
            let enables = header.byte_enables();
            let payload = core.payload(tlp);
            let whole = enables.first == 0xf && (enables.last == 0xf || enables.length_dw == 1);
            let written = if whole {
                self.memory.write(address, payload)
            } else {
                self.memory.write_masked(address, payload, enables.first, enables.last)
            };
            if written.is_err() {
                return core.refuse(port, tlp, self.id, Status::CompleterAbort);
            }
            core.consume(tlp);
        } else if INTERRUPTS.contains(&address) {
            if let Some(data) = core.payload(tlp).first_chunk() {
                self.interrupts.push_back(u32::from_le_bytes(*data));
            }
            core.consume(tlp);
        } else {
            self.hand_to_peer(core, port, tlp, header);
        }
    }

    pub(crate) fn timer(&mut self, core: &mut Core, token: u64) {
        let index = token as u32;
        match token & !u64::from(u32::MAX) {
            timer::EXPIRE => self.expire(core),
            timer::RETIRED if self.part_has_left(core, index) => {}
            timer::RETIRED => self.finish(index, Ok(Data::EMPTY)),
            _ => self.issue(core, index),
        }
    }

    /// Answers a read of memory: in as few completions as Max_Payload_Size allows, cut at the Read Completion Boundary.
    fn read(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, request: &Header) {
        let max_payload = self.routes.plain_payload(number);
        match request.whole_completion(self.id) {
            Some(completion) if completion.payload_len() as u64 <= max_payload => {
                core.send_filled(port, completion, |payload| {
                    if self.memory.read(request.address(), payload).is_err() {
                        payload.fill(0xff);
                    }
                });
                core.consume(tlp);
            }
            _ => self.read_in_parts(core, port, number, tlp, request),
        }
    }

    /// The completion of a read from a DW of it on, as long as Max_Payload_Size and the Read Completion Boundary allow.
    #[inline]
    fn part(&self, request: &Header, from: u32, max_payload: u64) -> Option<Header> {
        let address = request.address() + u64::from(from) * 4;
        let left = u64::from(request.length_dw() - from) * 4;
        let len = Header::completion_len(address, left, max_payload, self.boundary);
        Header::completion_part(request, self.id, Status::Successful, from, (len / 4) as u32).ok()
    }

    #[inline(never)]
    fn read_in_parts(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, request: &Header) {
        let config = self.ports.get(number).map(|root_port| &root_port.config);
        let max_payload = config.map_or(128, |config| u64::from(config.max_payload()));
        let digest = config.is_some_and(ConfigSpace::generates_ecrc);
        let mut from = 0;
        while from < request.length_dw() {
            let Some(mut completion) = self.part(request, from, max_payload) else { break };
            let length_dw = completion.length_dw();
            let address = request.address() + u64::from(from) * 4;
            let last = address + u64::from(length_dw) * 4 - 1;
            if self.poisoned.iter().any(|&(first, end)| first <= last && address <= end) {
                completion.set_ep(true);
                if config.is_some_and(|config| poison::blocks(core, port, config, &completion)) {
                    from += length_dw;
                    continue;
                }
            }
            let fill = |payload: &mut [u8]| {
                if self.memory.read(address, payload).is_err() {
                    payload.fill(0xff);
                }
            };
            if digest {
                core.send_digested(port, completion, fill);
            } else {
                core.send_filled(port, completion, fill);
            }
            from += length_dw;
        }
        core.consume(tlp);
    }

    /// Carries out an atomic operation on memory, little-endian (PCIe base specification, 'AtomicOps').
    fn atomic(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, header: &Header) {
        let digest = self.digests(number);
        let mut operands = [0; 32];
        let payload = core.payload(tlp);
        operands[..payload.len().min(32)].copy_from_slice(&payload[..payload.len().min(32)]);
        let size = header.completion_byte_count().min(16) as usize;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u128, |n, &byte| n << 8 | u128::from(byte));
        let (first, second) = (number(&operands[..size]), number(&operands[size..size * 2]));
        let mut old = [0; 16];
        let address = header.address();
        if self.memory.read(address, &mut old[..size]).is_err() {
            return core.refuse(port, tlp, self.id, Status::CompleterAbort);
        }
        let before = number(&old[..size]);
        let after = match header.kind() {
            Kind::FetchAdd32 | Kind::FetchAdd64 => before.wrapping_add(first),
            Kind::Swap32 | Kind::Swap64 => first,
            _ if before == first => second,
            _ => before,
        };
        if self.memory.write(address, &after.to_le_bytes()[..size]).is_err() {
            return core.refuse(port, tlp, self.id, Status::CompleterAbort);
        }
        core.consume(tlp);
        if let Ok(completion) = Header::completion_for(header, self.id, Status::Successful) {
            core.send_with_digest(port, completion, &old[..size], digest);
        }
    }

    /// Makes the tables anew.
    pub(super) fn reroute(&mut self) {
        self.routes.rebuild(self.ports.iter().map(|root_port| &root_port.config));
        if !self.poisoned.is_empty() {
            self.routes.look_at_payloads();
        }
    }

    /// Marks the data of these addresses as bad: whoever reads it gets it poisoned. What is written there later doesn't heal it.
    pub(super) fn poison(&mut self, first: u64, last: u64) {
        self.poisoned.push((first, last));
        self.routes.look_at_payloads();
    }

    /// Takes the interrupt message of a root port itself.
    pub(super) fn interrupt(&mut self, address: u64, data: u32) {
        if INTERRUPTS.contains(&address) {
            self.interrupts.push_back(data);
        }
    }

    /// Whether root port `number` gives the TLPs that are made here a digest.
    fn digests(&self, number: usize) -> bool {
        self.ports.get(number).is_some_and(|root_port| root_port.config.generates_ecrc())
    }

    fn port(&self, port: PortId) -> Option<&DownstreamPort> {
        self.ports.iter().find(|root_port| root_port.port == Some(port))
    }

    /// Sends a message down every root port whose link is up.
    pub(crate) fn broadcast(&self, core: &mut Core, header: Header, payload: &[u8]) {
        for root_port in &self.ports {
            if let Some(port) = root_port.open() {
                core.send_with_digest(port, header, payload, root_port.config.generates_ecrc());
            }
        }
    }
}
