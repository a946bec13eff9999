//! What the CPUs of a root complex do: accesses to what is below its root ports, and what becomes of them.

use super::peer::is_part;
use super::{CRS_LIMIT, CRS_RETRY, Outstanding, Pending, RootComplex, SystemError, Ticket, timer};
use crate::config::{DpcReason, ErrorMessage, RootPortPio};
use crate::fabric::arena::TlpId;
use crate::fabric::core::Core;
use crate::fabric::error::{Detected, ErrorKind, Found, Role};
use crate::fabric::ids::PortId;
use crate::fabric::requester::Outcome;
use crate::host::{Access, AccessError, Data};
use crate::tlp::{Bdf, ConfigType, Header, Malformed, Status};

impl RootComplex {
    /// Begins an access of a CPU.
    pub(in crate::fabric) fn access(&mut self, core: &mut Core, access: Access) -> Result<Ticket, AccessError> {
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
        let pending = Some(Pending { serial, access, data: Data::EMPTY, retry_until, out: None });
        match self.pending.get_mut(index as usize) {
            Some(free) => *free = pending,
            None => self.pending.push(pending),
        }
        self.issue(core, index);
        Ok(Ticket { root: self.node, serial })
    }

    pub(super) fn finish(&mut self, index: u32, result: Result<Data, AccessError>) {
        if let Some(pending) = self.pending.get_mut(index as usize).and_then(Option::take) {
            self.free.push(index);
            self.results.push_back((Ticket { root: self.node, serial: pending.serial }, result));
        }
    }

    /// Sends the TLP of an access, or carries it out here if it needs none.
    pub(super) fn issue(&mut self, core: &mut Core, index: u32) {
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
                let exists = |number: &usize| self.ports[*number].has_device(target);
                number.filter(exists).and_then(|number| self.ports[number].port)
            }
        };
        let Some(out) = out else { return self.finish(index, Err(self.unclaimed(&pending.access))) };
        if let Access::MemoryWrite { address, data } = pending.access {
            match Header::mem_write_bytes(self.id, 0, address, data.bytes().len() as u32) {
                Ok(header) => {
                    let tlp = core.create(header);
                    let skip = (address & 3) as usize;
                    let payload = core.payload_mut(tlp);
                    payload.fill(0);
                    payload[skip..skip + data.bytes().len()].copy_from_slice(data.bytes());
                    if self.port(out).is_some_and(|root_port| root_port.config.generates_ecrc()) {
                        core.digest(tlp);
                    }
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

    /// What an access gets that no root port claims: but if one would claim it that is in containment, its registers say what.
    #[cold]
    fn unclaimed(&self, access: &Access) -> AccessError {
        let mut contained = self.ports.iter().map(|port| &port.config).filter(|config| config.is_contained());
        let aborts = contained.any(|config| {
            let claims = match *access {
                Access::MemoryRead { address, .. } | Access::MemoryWrite { address, .. } => {
                    config.forwards_address(address)
                }
                Access::ConfigRead { target, .. } | Access::ConfigWrite { target, .. } => {
                    config.forwards_bus(target.bus())
                }
            };
            claims && !config.containment_unsupported()
        });
        not_reached(access, !aborts)
    }

    /// Sends a non-posted request; a tag is free.
    fn request(&mut self, core: &mut Core, index: u32, access: &Access, out: PortId) {
        let Some(mut header) = self.header_of(access, out) else {
            return self.finish(index, Err(AccessError::UnsupportedRequest(place(access))));
        };
        if let Some(Some(pending)) = self.pending.get_mut(index as usize) {
            pending.out = Some(out);
        }
        let expected = if header.completion_length_dw() == 0 { 0 } else { header.completion_byte_count() };
        let lower = header.completion_lower_address();
        let now = self.own_time(core.now);
        let Some((tag, call)) = self.requester.begin(u64::from(index), expected, lower, now) else { return };
        if let Some(at) = call {
            core.set_timer(self.node, self.clock.at(at), timer::EXPIRE);
        }
        header.set_tag(tag);
        let value = if let Access::ConfigWrite { value, .. } = access { value.to_le_bytes() } else { [0; 4] };
        let digest = self.port(out).is_some_and(|root_port| root_port.config.generates_ecrc());
        core.send_with_digest(out, header, &value[..header.payload_len()], digest);
    }

    /// The header of the request that carries out an access by root port `out`, without its tag. `None` for a write to memory, and if there can't be one.
    fn header_of(&self, access: &Access, out: PortId) -> Option<Header> {
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
            Access::MemoryWrite { .. } => return None,
        };
        made.ok()
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

    pub(super) fn completion(&mut self, core: &mut Core, port: PortId, tlp: TlpId, header: &Header) {
        if header.requester() == self.id && header.is_poisoned() {
            // The port has noted it already.
            let abandoned = self.requester.abandon(header, self.own_time(core.now));
            if let Some(token) = abandoned.filter(|token| is_part(*token)) {
                self.part_poisoned(core, token);
            } else if let Some(token) = abandoned {
                let at = self.pending.get(token as usize).copied().flatten();
                let at = at.map_or(0, |pending| place(&pending.access));
                self.finish(token as u32, Err(AccessError::Poisoned(at)));
            }
            core.consume(tlp);
            return self.go_on(core);
        }
        // The transaction ID is requester and tag.
        let outcome = if header.requester() == self.id { self.requester.complete(header) } else { Outcome::Unexpected };
        match outcome {
            Outcome::Data { token, .. } | Outcome::Failed { token, .. } if is_part(token) => {
                self.part_completed(core, tlp, outcome);
            }
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
            Outcome::Failed { token, status } => self.failed(core, port, token as u32, header, status),
            Outcome::Unexpected => core.detect_tlp(port, tlp, ErrorKind::UnexpectedCompletion, Role::Plain),
        }
        core.consume(tlp);
        self.go_on(core);
    }

    fn failed(&mut self, core: &mut Core, port: PortId, index: u32, completion: &Header, status: Status) {
        let Some(pending) = self.pending.get(index as usize).copied().flatten() else { return };
        let place = place(&pending.access);
        let received = match status {
            Status::UnsupportedRequest => Some((ErrorKind::ReceivedUnsupported, RootPortPio::Unsupported)),
            Status::CompleterAbort => Some((ErrorKind::ReceivedAbort, RootPortPio::Aborted)),
            _ => None,
        };
        if let Some((kind, pio)) = received {
            core.detect(port, Detected::new(kind));
            if self.note_access(core, port, &pending.access, pio, completion.tag()) {
                return self.finish(index, Err(AccessError::Exception(place, pio)));
            }
        }
        match status {
            Status::ConfigRequestRetry if self.own_time(core.now) < pending.retry_until => {
                core.set_timer(self.node, core.now + CRS_RETRY, timer::RETRY | u64::from(index));
            }
            Status::ConfigRequestRetry => self.finish(index, Err(AccessError::NotReady(place))),
            Status::CompleterAbort => self.finish(index, Err(AccessError::CompleterAbort(place))),
            _ => self.finish(index, Err(AccessError::UnsupportedRequest(place))),
        }
    }

    pub(super) fn expire(&mut self, core: &mut Core) {
        let mut late = Vec::new();
        let call = self.requester.expire(self.own_time(core.now), |token| late.push(token));
        match call {
            Some(_) if self.clock.is_held() => self.overdue = true,
            Some(at) => core.set_timer(self.node, self.clock.at(at), timer::EXPIRE),
            None => {}
        }
        for token in late {
            if is_part(token) {
                self.part_late(core, token);
                continue;
            }
            let index = token as u32;
            let Some(pending) = self.pending.get(index as usize).copied().flatten() else { continue };
            let (pio, at) = (RootPortPio::Timeout, place(&pending.access));
            let exception = pending.out.is_some_and(|port| {
                core.detect(port, Detected::new(ErrorKind::CompletionTimeout));
                self.note_access(core, port, &pending.access, pio, 0)
            });
            let error = if exception { AccessError::Exception(at, pio) } else { AccessError::Timeout(at) };
            self.finish(index, Err(error));
        }
        self.go_on(core);
    }

    /// Notes how an access failed: whether the processor gets an exception for it.
    fn note_access(&mut self, core: &mut Core, port: PortId, access: &Access, pio: RootPortPio, tag: u16) -> bool {
        let Some(header) = self.header_of(access, port) else { return false };
        let is_memory = matches!(access, Access::MemoryRead { .. } | Access::MemoryWrite { .. });
        let request = if is_memory { Outstanding::Memory(header) } else { Outstanding::Config(header) };
        self.note_pio(core, port, request, pio, tag)
    }

    /// Notes in the registers of a root port that has RP PIO how a request by it failed: whether the processor that asked gets an exception. A request
    /// that wasn't answered is logged with tag 0 (ours). An error of the system is told with the severity that containment gives the error: fatal if it's
    /// uncorrectable, else correctable (ours).
    pub(super) fn note_pio(
        &mut self,
        core: &mut Core,
        port: PortId,
        request: Outstanding,
        pio: RootPortPio,
        tag: u16,
    ) -> bool {
        let (mut header, shift) = match request {
            Outstanding::Memory(header) => (header, 16),
            Outstanding::Config(header) => (header, 0),
        };
        header.set_tag(tag);
        let Some(number) = self.ports.iter().position(|root_port| root_port.port == Some(port)) else { return false };
        let config = self.ports.get_mut(number).map(|root_port| &mut root_port.config);
        let record =
            config.and_then(|config| config.record_root_port_pio(pio, shift, header.dws())).unwrap_or_default();
        if record.uncorrectable {
            core.note(port, Found::Contain(DpcReason::Pio));
        }
        if record.system_error {
            let message = if record.uncorrectable { ErrorMessage::Fatal } else { ErrorMessage::Correctable };
            self.keep_system_error(SystemError { port: number, message, source: Bdf::new(0, number as u8 + 1, 0) });
        }
        record.exception
    }

    /// Issues what waited for a tag.
    fn go_on(&mut self, core: &mut Core) {
        while self.requester.has_tag() {
            let Some(index) = self.waiting.pop_front() else { break };
            self.issue(core, index);
        }
        if self.peers.want_tags() {
            self.ask_peers(core);
        }
    }

    /// A request of our own ends that never left, since its link has gone down, as if it had been answered with `status`.
    #[cold]
    pub(in crate::fabric) fn answer_unsent(&mut self, core: &mut Core, request: &Header, status: Status) {
        let Ok(answer) = Header::completion_part(request, self.id, status, 0, 0) else { return };
        let Outcome::Failed { token, .. } = self.requester.complete(&answer) else { return };
        let unsupported = status == Status::UnsupportedRequest;
        if is_part(token) {
            self.part_contained(core, token, unsupported);
        } else if let Some(pending) = self.pending.get(token as usize).copied().flatten() {
            self.finish(token as u32, Err(not_reached(&pending.access, unsupported)));
        }
        self.go_on(core);
    }

    /// Containment has begun at a root port: what was asked for by it ends now, as its registers say (base specification 2.9.3).
    #[cold]
    pub(in crate::fabric) fn contained(&mut self, core: &mut Core, number: usize) {
        let Some(root_port) = self.ports.get(number) else { return };
        let (Some(port), unsupported) = (root_port.port, root_port.config.containment_unsupported()) else { return };
        let now = self.own_time(core.now);
        let tokens: Vec<u64> = self.requester.tokens().collect();
        for token in tokens {
            if is_part(token) {
                if self.part_is_at(token, port) {
                    self.requester.forget(token, now);
                    self.part_contained(core, token, unsupported);
                }
                continue;
            }
            let Some(pending) = self.pending.get(token as usize).copied().flatten() else { continue };
            if pending.out == Some(port) {
                self.requester.forget(token, now);
                self.finish(token as u32, Err(not_reached(&pending.access, unsupported)));
            }
        }
        self.go_on(core);
    }
}

/// What an access ends with that the link doesn't let through.
fn not_reached(access: &Access, unsupported: bool) -> AccessError {
    let place = place(access);
    if unsupported { AccessError::UnsupportedRequest(place) } else { AccessError::CompleterAbort(place) }
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
