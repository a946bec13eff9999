//! A root complex: memory, the CPUs' accesses to what is below its root ports, and interrupt messages.

use std::collections::VecDeque;

use super::arena::TlpId;
use super::clock::HeldClock;
use super::core::{Core, NodeId, Owner, PortId};
use super::downstream::DownstreamPort;
use super::function::extent;
use super::requester::{Outcome, Requester};
use super::routing::Routes;
use crate::config::ConfigSpace;
use crate::host::{Access, AccessError, Data};
use crate::memory::Memory;
use crate::profile;
use crate::time::Time;
use crate::tlp::{Bdf, ConfigType, Header, Kind, Malformed, Route, Status};

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

/// What a root complex is made of.
#[derive(Clone, Debug)]
pub struct RootSpec {
    /// Its memory, from address 0.
    pub memory: Memory,
    /// Read Completion Boundary, 64 or 128 bytes.
    pub read_completion_boundary: u32,
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
    id: Bdf,
    memory: Memory,
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
    clock: HeldClock,
    /// A deadline came on the fabric's clock while our own was held.
    overdue: bool,
}

impl RootComplex {
    pub(crate) fn new(node: NodeId, spec: RootSpec, timing: &profile::Timing) -> RootComplex {
        RootComplex {
            node,
            id: Bdf::new(0, 0, 0),
            memory: spec.memory,
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
            clock: HeldClock::default(),
            overdue: false,
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

    pub(crate) fn next_interrupt(&mut self) -> Option<u32> {
        self.interrupts.pop_front()
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
        // Only a bus master passes requests from its link on.
        let upwards = self.routes.upwards(number);
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 if upwards => self.write(core, port, tlp, header),
            // The link let it arrive when the memory had been read.
            Kind::MRd32 | Kind::MRd64 if upwards && self.has(header) => self.read(core, port, number, tlp, header),
            Kind::Cpl | Kind::CplD => self.completion(core, tlp, header),
            kind if kind.is_atomic() && upwards && self.has(header) => self.atomic(core, port, tlp, header),
            Kind::Msg | Kind::MsgD if header.route() != Route::Address && header.route() != Route::Id => {
                core.consume(tlp);
            }
            kind if kind.is_completion() => {
                core.count(|faults| faults.unexpected_completion += 1);
                core.consume(tlp);
            }
            _ => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
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
            core.refuse(port, tlp, self.id, Status::UnsupportedRequest);
        }
    }

    pub(crate) fn timer(&mut self, core: &mut Core, token: u64) {
        let index = token as u32;
        match token & !u64::from(u32::MAX) {
            timer::EXPIRE => self.expire(core),
            timer::RETIRED => self.finish(index, Ok(Data::EMPTY)),
            _ => self.issue(core, index),
        }
    }

    /// Answers a read of memory: in as few completions as Max_Payload_Size allows, cut at the Read Completion Boundary.
    fn read(&mut self, core: &mut Core, port: PortId, number: usize, tlp: TlpId, request: &Header) {
        let max_payload = self.ports.get(number).map_or(128, |root_port| u64::from(root_port.config.max_payload()));
        match request.whole_completion(self.id) {
            Some(completion) if completion.payload_len() as u64 <= max_payload => {
                core.send_filled(port, completion, |payload| {
                    if self.memory.read(request.address(), payload).is_err() {
                        payload.fill(0xff);
                    }
                });
                core.consume(tlp);
            }
            _ => self.read_in_parts(core, port, max_payload, tlp, request),
        }
    }

    #[inline(never)]
    fn read_in_parts(&mut self, core: &mut Core, port: PortId, max_payload: u64, tlp: TlpId, request: &Header) {
        let (start, total) = (request.address(), request.length_dw());
        let mut from = 0;
        while from < total {
            let address = start + u64::from(from) * 4;
            let len = Header::completion_len(address, u64::from(total - from) * 4, max_payload, self.boundary);
            let length_dw = (len / 4) as u32;
            let made = Header::completion_part(request, self.id, Status::Successful, from, length_dw);
            let Ok(completion) = made else { break };
            core.send_filled(port, completion, |payload| {
                if self.memory.read(address, payload).is_err() {
                    payload.fill(0xff);
                }
            });
            from += length_dw;
        }
        core.consume(tlp);
    }

    /// Carries out an atomic operation on memory, little-endian (PCIe base specification, 'AtomicOps').
    fn atomic(&mut self, core: &mut Core, port: PortId, tlp: TlpId, header: &Header) {
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
            core.send_new(port, completion, &old[..size]);
        }
    }

    /// Makes the tables anew.
    pub(super) fn reroute(&mut self) {
        self.routes.rebuild(self.ports.iter().map(|root_port| &root_port.config));
    }

    /// Takes the interrupt message of a root port itself.
    pub(super) fn interrupt(&mut self, address: u64, data: u32) {
        if INTERRUPTS.contains(&address) {
            self.interrupts.push_back(data);
        }
    }

    fn port(&self, port: PortId) -> Option<&DownstreamPort> {
        self.ports.iter().find(|root_port| root_port.port == Some(port))
    }

    /// Sends a message down every root port whose link is up.
    pub(crate) fn broadcast(&self, core: &mut Core, header: Header, payload: &[u8]) {
        for port in self.ports.iter().filter_map(DownstreamPort::open) {
            core.send_new(port, header, payload);
        }
    }

    // --- What the CPUs do ---

    /// Begins an access of a CPU.
    pub(crate) fn access(&mut self, core: &mut Core, access: Access) -> Result<Ticket, AccessError> {
        if let Access::MemoryRead { address, len } = access {
            shape(address, usize::from(len))?;
        }
        if let Access::MemoryWrite { address, data } = access {
            shape(address, data.bytes().len())?;
        }
        let serial = self.serial;
        self.serial += 1;
        let index = self.free.pop().unwrap_or(self.pending.len() as u32);
        let retry_until = self.own_time(core.now) + CRS_LIMIT;
        let pending = Some(Pending { serial, access, data: Data::EMPTY, retry_until });
        match self.pending.get_mut(index as usize) {
            Some(free) => *free = pending,
            None => self.pending.push(pending),
        }
        self.issue(core, index);
        Ok(Ticket { root: self.node, serial })
    }

    fn finish(&mut self, index: u32, result: Result<Data, AccessError>) {
        if let Some(pending) = self.pending.get_mut(index as usize).and_then(Option::take) {
            self.free.push(index);
            self.results.push_back((Ticket { root: self.node, serial: pending.serial }, result));
        }
    }

    /// Sends the TLP of an access, or carries it out here if it needs none.
    fn issue(&mut self, core: &mut Core, index: u32) {
        let Some(pending) = self.pending.get(index as usize).copied().flatten() else { return };
        let nobody = Err(AccessError::UnsupportedRequest(place(&pending.access)));
        let out = match pending.access {
            Access::MemoryRead { address, .. } | Access::MemoryWrite { address, .. } => {
                self.routes.by_address(address).and_then(|number| self.ports[number].port)
            }
            Access::ConfigRead { target, .. } | Access::ConfigWrite { target, .. } if target.bus() == 0 => {
                let result = self.own_config(core, target, &pending.access).map_or(nobody, Ok);
                return self.finish(index, result);
            }
            Access::ConfigRead { target, .. } | Access::ConfigWrite { target, .. } => {
                let number = self.routes.by_bus(target.bus());
                // Directly below a root port there's only device 0 (without ARI).
                let exists =
                    |number: &usize| self.ports[*number].config.secondary() != target.bus() || target.device() == 0;
                number.filter(exists).and_then(|number| self.ports[number].port)
            }
        };
        let Some(out) = out else { return self.finish(index, nobody) };
        if let Access::MemoryWrite { address, data } = pending.access {
            match Header::mem_write_bytes(self.id, 0, address, data.bytes().len() as u32) {
                Ok(header) => {
                    let tlp = core.create(header);
                    let skip = (address & 3) as usize;
                    let payload = core.payload_mut(tlp);
                    payload.fill(0);
                    payload[skip..skip + data.bytes().len()].copy_from_slice(data.bytes());
                    core.notify_when_sent(tlp, index);
                    core.send(out, tlp);
                }
                Err(_) => self.finish(index, nobody),
            }
            return;
        }
        if !self.requester.has_tag() {
            self.waiting.push_back(index);
            return;
        }
        self.request(core, index, &pending.access, out);
    }

    /// Sends a non-posted request; a tag is free.
    fn request(&mut self, core: &mut Core, index: u32, access: &Access, out: PortId) {
        let config_type = |target: Bdf| {
            let direct = self.port(out).is_some_and(|root_port| root_port.config.secondary() == target.bus());
            if direct { ConfigType::Type0 } else { ConfigType::Type1 }
        };
        let made: Result<Header, Malformed> = match *access {
            Access::MemoryRead { address, len } => Header::mem_read_bytes(self.id, 0, address, u32::from(len)),
            Access::ConfigRead { target, register } => {
                Header::config_read(config_type(target), self.id, 0, target, register, 0xf)
            }
            Access::ConfigWrite { target, register, byte_enables, .. } => {
                Header::config_write(config_type(target), self.id, 0, target, register, byte_enables & 0xf)
            }
            Access::MemoryWrite { .. } => return,
        };
        let Ok(mut header) = made else {
            return self.finish(index, Err(AccessError::UnsupportedRequest(place(access))));
        };
        let expected = if header.completion_length_dw() == 0 { 0 } else { header.completion_byte_count() };
        let lower = header.completion_lower_address();
        let now = self.own_time(core.now);
        let Some((tag, call)) = self.requester.begin(u64::from(index), expected, lower, now) else { return };
        if let Some(at) = call {
            core.set_timer(self.node, self.clock.at(at), timer::EXPIRE);
        }
        header.set_tag(tag);
        let value = if let Access::ConfigWrite { value, .. } = access { value.to_le_bytes() } else { [0; 4] };
        core.send_new(out, header, &value[..header.payload_len()]);
    }

    /// Carries out an access to a root port's own registers. `None` if there's no such function.
    fn own_config(&mut self, core: &mut Core, target: Bdf, access: &Access) -> Option<Data> {
        let number = usize::from(target.device()).checked_sub(1)?;
        let root_port = self.ports.get_mut(number).filter(|_| target.function() == 0)?;
        match *access {
            Access::ConfigRead { register, .. } => {
                if let Some(port) = root_port.port {
                    core.show_channels(port, &mut root_port.config);
                }
                Some(Data::new(&root_port.config.read(register).to_le_bytes()))
            }
            Access::ConfigWrite { register, byte_enables, value, .. } => {
                for affair in root_port.write(register, byte_enables, value) {
                    core.set_timer(self.node, core.now(), affair.token(number as u16));
                }
                root_port.set_channels(core);
                self.reroute();
                Some(Data::EMPTY)
            }
            _ => None,
        }
    }

    fn completion(&mut self, core: &mut Core, tlp: TlpId, header: &Header) {
        // The transaction ID is requester and tag.
        let outcome = if header.requester() == self.id { self.requester.complete(header) } else { Outcome::Unexpected };
        match outcome {
            Outcome::Data { token, offset, skip, len, done } => {
                let (skip, len) = (skip as usize, len as usize);
                if let Some(Some(pending)) = self.pending.get_mut(token as usize) {
                    let mut bytes = Data::zeroed(offset as usize + len);
                    let kept = pending.data.bytes().len().min(offset as usize);
                    bytes.bytes_mut()[..kept].copy_from_slice(&pending.data.bytes()[..kept]);
                    let part = core.payload(tlp).get(skip..skip + len).unwrap_or_default();
                    if let Some(room) = bytes.bytes_mut().get_mut(offset as usize..offset as usize + part.len()) {
                        room.copy_from_slice(part);
                    }
                    pending.data = bytes;
                    if done {
                        let data = pending.data;
                        self.finish(token as u32, Ok(data));
                    }
                }
            }
            Outcome::Done { token } => self.finish(token as u32, Ok(Data::EMPTY)),
            Outcome::Failed { token, status } => self.failed(core, token as u32, status),
            Outcome::Unexpected => core.count(|faults| faults.unexpected_completion += 1),
        }
        core.consume(tlp);
        self.go_on(core);
    }

    fn failed(&mut self, core: &mut Core, index: u32, status: Status) {
        let Some(pending) = self.pending.get(index as usize).copied().flatten() else { return };
        let place = place(&pending.access);
        match status {
            Status::ConfigRequestRetry if self.own_time(core.now) < pending.retry_until => {
                core.set_timer(self.node, core.now + CRS_RETRY, timer::RETRY | u64::from(index));
            }
            Status::ConfigRequestRetry => self.finish(index, Err(AccessError::NotReady(place))),
            Status::CompleterAbort => self.finish(index, Err(AccessError::CompleterAbort(place))),
            _ => self.finish(index, Err(AccessError::UnsupportedRequest(place))),
        }
    }

    fn expire(&mut self, core: &mut Core) {
        let mut late = Vec::new();
        let call = self.requester.expire(self.own_time(core.now), |token| late.push(token as u32));
        match call {
            Some(_) if self.clock.is_held() => self.overdue = true,
            Some(at) => core.set_timer(self.node, self.clock.at(at), timer::EXPIRE),
            None => {}
        }
        for index in late {
            core.count(|faults| faults.completion_timeout += 1);
            let address =
                self.pending.get(index as usize).copied().flatten().map_or(0, |pending| place(&pending.access));
            self.finish(index, Err(AccessError::Timeout(address)));
        }
        self.go_on(core);
    }

    /// Issues what waited for a tag.
    fn go_on(&mut self, core: &mut Core) {
        while self.requester.has_tag() {
            let Some(index) = self.waiting.pop_front() else { return };
            self.issue(core, index);
        }
    }
}

/// What an error calls the target of an access: an address, or ID and register.
fn place(access: &Access) -> u64 {
    match *access {
        Access::MemoryRead { address, .. } | Access::MemoryWrite { address, .. } => address,
        // As in ECAM: the ID, then 12 bits of register.
        Access::ConfigRead { target, register } | Access::ConfigWrite { target, register, .. } => {
            u64::from(target.0) << 12 | u64::from(register) << 2
        }
    }
}

/// A CPU's access lies within a line.
fn shape(address: u64, len: usize) -> Result<(), AccessError> {
    let line = crate::host::LINE as u64;
    if (1..=crate::host::LINE).contains(&len) && address % line + len as u64 <= line {
        return Ok(());
    }
    Err(AccessError::Shape { address, len })
}
