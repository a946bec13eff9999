//! Peer to peer: memory requests from one root port to what is behind another. The base specification leaves it to the root complex whether it does
//! that, and lets it split them, which a switch may not (1.3.1).
//!
//! A read becomes requests of the root complex's own, with its own ID and tags, none across a boundary; when all is there it's answered as if
//! it had been read from memory. A write goes on as it is, or in parts if the port that it leaves by takes no such payload.
//!
//! A request may leave by the port that it came in at: access control of a switch has redirected it then. (Ours: no register of the root port says so.)

use std::collections::VecDeque;

use super::{Outstanding, RootComplex, timer};
use crate::config::RootPortPio;
use crate::fabric::arena::TlpId;
use crate::fabric::core::Core;
use crate::fabric::error::{Detected, ErrorKind};
use crate::fabric::ids::PortId;
use crate::fabric::poison;
use crate::fabric::requester::Outcome;
use crate::tlp::{Header, Kind, Malformed, Status};

/// What a root complex does with a memory request from one of its root ports to what is behind another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerToPeer {
    /// It's an Unsupported Request.
    #[default]
    Refused,
    /// It's handed on; reads are split at multiples of so many bytes: a power of two, 64 to 4096.
    Split(u32),
}

impl PeerToPeer {
    /// Whether it's an Unsupported Request.
    pub const fn is_refused(&self) -> bool {
        matches!(self, PeerToPeer::Refused)
    }

    /// Whether it can be so.
    pub const fn is_valid(self) -> bool {
        match self {
            PeerToPeer::Refused => true,
            PeerToPeer::Split(boundary) => boundary.is_power_of_two() && boundary >= 64 && boundary <= 4096,
        }
    }
}

/// Reads whose data a root complex collects at a time (ours): further ones stay in the receive buffers.
const MAX_READS: usize = 32;
/// Tags that parts of reads have at a time (ours): the others are left to the CPUs.
const MAX_PARTS: u32 = 128;
/// In the token of a request: it's a part of a read; then come the read's place from bit 32 on, and the part's first dword.
const PART: u64 = 1 << 63;
/// In the ticket of a TLP: it's the last part of a write.
const WRITE: u32 = 1 << 31;

/// A read that is being carried out.
#[derive(Debug)]
struct Read {
    request: Header,
    from: Ingress,
    out: PortId,
    /// The first dword that hasn't been asked for.
    next: u32,
    /// Parts that aren't answered.
    outstanding: u32,
    data: Vec<u8>,
    /// First dword and end of parts whose data came poisoned.
    poisoned: Vec<(u32, u32)>,
    /// How it ends, if not well.
    failed: Option<End>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// With this status of the part that failed first.
    Status(Status),
    /// Without an answer, as a part had none.
    Silence,
}

/// Where a request came in: the root port, its link, and how often that had been trained. What came before the link went down isn't answered.
#[derive(Clone, Copy, Debug)]
struct Ingress {
    number: usize,
    port: PortId,
    attempt: u32,
}

/// What is under way between root ports.
#[derive(Debug, Default)]
pub(super) struct Peers {
    mode: PeerToPeer,
    reads: Vec<Option<Read>>,
    /// Reads of which parts are still to be asked for, in the order of their turns.
    ready: VecDeque<usize>,
    outstanding: u32,
    /// Reads for which there's no place yet: they stand in the receive buffer.
    waiting: VecDeque<(Ingress, TlpId)>,
    /// Writes whose parts haven't all left: they stand in the receive buffer.
    writes: Vec<Option<TlpId>>,
}

impl Peers {
    pub(super) fn new(mode: PeerToPeer) -> Peers {
        Peers { mode: if mode.is_valid() { mode } else { PeerToPeer::Refused }, ..Peers::default() }
    }

    /// Whether parts of reads wait for tags.
    #[inline]
    pub(super) fn want_tags(&self) -> bool {
        !self.ready.is_empty()
    }

    fn read(&mut self, token: u64) -> Option<&mut Read> {
        self.reads.get_mut(place(token)).and_then(Option::as_mut)
    }
}

/// Whether a token stands for a part of a read.
pub(super) const fn is_part(token: u64) -> bool {
    token & PART != 0
}

const fn place(token: u64) -> usize {
    ((token & !PART) >> 32) as usize
}

/// So many dwords of a memory request, from `from` on, as a request of its own kind. Whose it is and its tag are those of the request.
fn part(request: &Header, from: u32, length_dw: u32) -> Result<Header, Malformed> {
    let enables = request.byte_enables();
    let make = if request.class() == crate::tlp::Class::Posted { Header::mem_write } else { Header::mem_read };
    let last = if length_dw > 1 { enables.of_dw(from + length_dw - 1) } else { 0 };
    let address = request.address() + u64::from(from) * 4;
    let mut part = make(request.requester(), request.tag(), address, enables.of_dw(from), last, length_dw)?;
    part.set_tc(request.tc())?;
    part.set_attr(request.attr())?;
    part.set_at(request.at())?;
    Ok(part)
}

/// Dwords of a request from dword `from` on that don't cross a multiple of `boundary` bytes.
fn len_to_boundary(request: &Header, from: u32, boundary: u32) -> u32 {
    let address = request.address() + u64::from(from) * 4;
    let room = u64::from(boundary) - address % u64::from(boundary);
    (room / 4).min(u64::from(request.length_dw() - from)) as u32
}

impl RootComplex {
    fn ingress(&self, port: PortId) -> Option<Ingress> {
        let number = self.ports.iter().position(|root_port| root_port.port == Some(port))?;
        Some(Ingress { number, port, attempt: self.ports.get(number)?.attempt })
    }

    /// The root port by which a request for memory that isn't here goes on.
    fn peer(&self, header: &Header) -> Option<usize> {
        let PeerToPeer::Split(_) = self.peers.mode else { return None };
        self.routes.by_address(header.address())
    }

    /// A memory request has come in that is for nothing in the root complex itself.
    #[cold]
    #[inline(never)]
    pub(super) fn hand_to_peer(&mut self, core: &mut Core, port: PortId, tlp: TlpId, header: &Header) {
        let out = self.peer(header).and_then(|number| self.ports.get(number)).and_then(|root_port| root_port.port);
        let (Some(out), Some(from)) = (out, self.ingress(port)) else { return self.no_peer(core, port, tlp, header) };
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 => self.write_to_peer(core, out, tlp, header),
            _ => {
                self.peers.waiting.push_back((from, tlp));
                self.admit(core);
                self.ask_peers(core);
            }
        }
    }

    /// Begins reads that wait, as long as there's a place. What came before its link went down isn't begun.
    fn admit(&mut self, core: &mut Core) {
        while self.peers.reads.iter().flatten().count() < MAX_READS {
            let Some((from, tlp)) = self.peers.waiting.pop_front() else { return };
            if self.still_there(from) {
                self.begin_read(core, from, tlp);
            } else {
                core.consume(tlp);
            }
        }
    }

    /// Nobody claims a request; but if a port would that is in containment, its registers say how it's answered, and it's nobody's error (2.9.3).
    fn no_peer(&self, core: &mut Core, port: PortId, tlp: TlpId, header: &Header) {
        let contained = self.ports.iter().map(|root_port| &root_port.config).filter(|config| config.is_contained());
        let claims = contained.into_iter().find(|config| config.forwards_address(header.address()));
        match claims.filter(|_| self.peers.mode != PeerToPeer::Refused) {
            Some(config) => {
                let status = contained_status(config.containment_unsupported());
                core.consume(tlp);
                core.complete(port, header, self.id, status);
            }
            None => core.refuse(port, tlp, self.id, Status::UnsupportedRequest),
        }
    }

    /// Hands a write on. One that is cut stays in its receive buffer until the last part has left, so that no more waits here than has room there.
    fn write_to_peer(&mut self, core: &mut Core, out: PortId, tlp: TlpId, header: &Header) {
        let config = self.port(out).map(|root_port| &root_port.config);
        let (max_payload, digest) = config.map_or((128, false), |it| (it.max_payload(), it.generates_ecrc()));
        if header.payload_len() <= max_payload as usize {
            return core.pass_on(out, tlp);
        }
        let mut parts = Vec::new();
        let mut from = 0;
        while from < header.length_dw() {
            let length_dw = len_to_boundary(header, from, max_payload);
            let Ok(mut part) = part(header, from, length_dw) else { break };
            part.set_ep(header.ep());
            let made = core.create(part);
            let (start, end) = (from as usize * 4, (from + length_dw) as usize * 4);
            let data = core.payload(tlp).get(start..end).unwrap_or_default().to_vec();
            let room = core.payload_mut(made);
            if room.len() == data.len() {
                room.copy_from_slice(&data);
            }
            if digest {
                core.digest(made);
            }
            parts.push(made);
            from += length_dw;
        }
        let free = self.peers.writes.iter().position(Option::is_none).unwrap_or(self.peers.writes.len());
        if free == self.peers.writes.len() {
            self.peers.writes.push(None);
        }
        if let (Some(place), Some(&last)) = (self.peers.writes.get_mut(free), parts.last()) {
            *place = Some(tlp);
            core.notify_when_sent(last, WRITE | free as u32);
        }
        for part in parts {
            core.pass_on(out, part);
        }
    }

    /// The TLP with this ticket has left. `false` if it was no part of a write.
    pub(super) fn part_has_left(&mut self, core: &mut Core, ticket: u32) -> bool {
        if ticket & WRITE == 0 {
            return false;
        }
        if let Some(whole) = self.peers.writes.get_mut((ticket & !WRITE) as usize).and_then(Option::take) {
            core.consume(whole);
        }
        true
    }

    /// Begins a read, for which there's a place.
    fn begin_read(&mut self, core: &mut Core, from: Ingress, tlp: TlpId) {
        let request = *core.header(tlp);
        // What it's for may have gone while it waited.
        let out = self.peer(&request).and_then(|number| self.ports.get(number)).and_then(|root_port| root_port.port);
        let Some(out) = out else { return self.no_peer(core, from.port, tlp, &request) };
        core.consume(tlp);
        let peers = &mut self.peers;
        let free = peers.reads.iter().position(Option::is_none).unwrap_or(peers.reads.len());
        if free == peers.reads.len() {
            peers.reads.push(None);
        }
        let data = vec![0; request.length_dw() as usize * 4];
        let (next, outstanding, poisoned, failed) = (0, 0, Vec::new(), None);
        if let Some(place) = peers.reads.get_mut(free) {
            *place = Some(Read { request, from, out, next, outstanding, data, poisoned, failed });
            peers.ready.push_back(free);
        }
    }

    /// Sends parts of reads as long as there are tags: one of each read in turn.
    #[cold]
    #[inline(never)]
    pub(super) fn ask_peers(&mut self, core: &mut Core) {
        let PeerToPeer::Split(boundary) = self.peers.mode else { return };
        while self.peers.outstanding < MAX_PARTS && self.requester.has_tag() {
            let Some(index) = self.peers.ready.pop_front() else { return };
            let Some(Some(read)) = self.peers.reads.get_mut(index) else { continue };
            let from = read.next;
            let length_dw = len_to_boundary(&read.request, from, boundary);
            let Ok(mut header) = part(&read.request, from, length_dw) else {
                read.failed.get_or_insert(End::Status(Status::CompleterAbort));
                read.next = read.request.length_dw();
                self.close_read(core, index);
                continue;
            };
            let out = read.out;
            header.set_requester(self.id);
            let token = PART | (index as u64) << 32 | u64::from(from);
            let (count, lower) = (header.completion_byte_count(), header.completion_lower_address());
            let now = self.clock.now(core.now);
            let Some((tag, call)) = self.requester.begin(token, count, lower, now) else { return };
            if let Some(at) = call {
                core.set_timer(self.node, self.clock.at(at), timer::EXPIRE);
            }
            header.set_tag(tag);
            read.next += length_dw;
            read.outstanding += 1;
            self.peers.outstanding += 1;
            if read.next < read.request.length_dw() {
                self.peers.ready.push_back(index);
            }
            let digest = self.port(out).is_some_and(|root_port| root_port.config.generates_ecrc());
            core.send_with_digest(out, header, &[], digest);
        }
    }

    /// A part has been answered.
    #[cold]
    #[inline(never)]
    pub(super) fn part_completed(&mut self, core: &mut Core, tlp: TlpId, outcome: Outcome) {
        match outcome {
            Outcome::Data { token, offset, skip, len, done } => {
                self.part_data(core, token, tlp, (offset, skip, len), done);
            }
            Outcome::Failed { token, status } => {
                let tag = core.header(tlp).tag();
                self.part_failed(core, token, status, tag);
            }
            Outcome::Done { .. } | Outcome::Unexpected => {}
        }
    }

    /// Data of a part has come: `len` bytes after `skip` in the payload of `tlp`, which belong at `offset` of the part.
    fn part_data(&mut self, core: &mut Core, token: u64, tlp: TlpId, place: (u32, u32, u32), done: bool) {
        let (offset, skip, len) = place;
        let Some(read) = self.peers.read(token) else { return };
        let from = token as u32;
        let before = crate::tlp::offset_in_dw(read.request.byte_enables().of_dw(from));
        let start = from as usize * 4 + usize::from(before) + offset as usize;
        let data = core.payload(tlp).get(skip as usize..(skip + len) as usize).unwrap_or_default();
        if let Some(room) = read.data.get_mut(start..start + data.len()) {
            room.copy_from_slice(data);
        }
        if done {
            self.part_ended(core, token);
        }
    }

    /// A part was answered by poisoned data: so is what the requester gets of it.
    #[cold]
    #[inline(never)]
    pub(super) fn part_poisoned(&mut self, core: &mut Core, token: u64) {
        let PeerToPeer::Split(boundary) = self.peers.mode else { return };
        if let Some(read) = self.peers.read(token) {
            let from = token as u32;
            read.poisoned.push((from, from + len_to_boundary(&read.request, from, boundary)));
        }
        self.part_ended(core, token);
    }

    /// A part ended with a status that isn't success: the read ends with that.
    fn part_failed(&mut self, core: &mut Core, token: u64, status: Status, tag: u16) {
        let status = if status == Status::CompleterAbort { status } else { Status::UnsupportedRequest };
        let (kind, pio) = match status {
            Status::CompleterAbort => (ErrorKind::ReceivedAbort, RootPortPio::Aborted),
            _ => (ErrorKind::ReceivedUnsupported, RootPortPio::Unsupported),
        };
        self.note_part(core, token, kind, pio, tag);
        self.end_read(core, token, End::Status(status));
    }

    /// A part wasn't answered in time: nor is the read, whose requester finds that out for itself.
    #[cold]
    #[inline(never)]
    pub(super) fn part_late(&mut self, core: &mut Core, token: u64) {
        self.note_part(core, token, ErrorKind::CompletionTimeout, RootPortPio::Timeout, 0);
        self.end_read(core, token, End::Silence);
    }

    /// Containment has begun at the port that a part has left by.
    pub(super) fn part_contained(&mut self, core: &mut Core, token: u64, unsupported: bool) {
        self.end_read(core, token, End::Status(contained_status(unsupported)));
    }

    /// Whether a part has left by this port.
    pub(super) fn part_is_at(&self, token: u64, port: PortId) -> bool {
        self.peers.reads.get(place(token)).and_then(Option::as_ref).is_some_and(|read| read.out == port)
    }

    /// Notes how a part failed in the registers of the port that it had left by.
    fn note_part(&mut self, core: &mut Core, token: u64, kind: ErrorKind, pio: RootPortPio, tag: u16) {
        let PeerToPeer::Split(boundary) = self.peers.mode else { return };
        let Some(read) = self.peers.read(token) else { return };
        let (out, from) = (read.out, token as u32);
        let header = part(&read.request, from, len_to_boundary(&read.request, from, boundary));
        core.detect(out, Detected::new(kind));
        if let Ok(mut header) = header {
            header.set_requester(self.id);
            self.note_pio(core, out, Outstanding::Memory(header), pio, tag);
        }
    }

    fn end_read(&mut self, core: &mut Core, token: u64, end: End) {
        if let Some(read) = self.peers.read(token) {
            read.failed.get_or_insert(end);
            // No more of it is asked for.
            read.next = read.request.length_dw();
            self.peers.ready.retain(|&ready| ready != place(token));
        }
        self.part_ended(core, token);
    }

    fn part_ended(&mut self, core: &mut Core, token: u64) {
        self.peers.outstanding = self.peers.outstanding.saturating_sub(1);
        if let Some(read) = self.peers.read(token) {
            read.outstanding = read.outstanding.saturating_sub(1);
        }
        self.close_read(core, place(token));
    }

    /// Answers a read if all its parts have ended, which makes room for another.
    fn close_read(&mut self, core: &mut Core, index: usize) {
        let Some(place) = self.peers.reads.get_mut(index) else { return };
        let Some(read) = place.take_if(|read| read.outstanding == 0 && read.next == read.request.length_dw()) else {
            return;
        };
        self.answer_peer(core, &read);
        self.admit(core);
    }

    fn still_there(&self, from: Ingress) -> bool {
        let root_port = self.ports.get(from.number);
        root_port.is_some_and(|it| it.attempt == from.attempt && it.open() == Some(from.port))
    }

    /// Answers a read whose parts have all ended: in as few completions as Max_Payload_Size allows, cut at the Read Completion Boundary.
    fn answer_peer(&self, core: &mut Core, read: &Read) {
        let request = &read.request;
        let Some(root_port) = self.ports.get(read.from.number).filter(|_| self.still_there(read.from)) else { return };
        match read.failed {
            Some(End::Status(status)) => return core.complete(read.from.port, request, self.id, status),
            Some(End::Silence) => return,
            None => {}
        }
        let (max_payload, digest) = (u64::from(root_port.config.max_payload()), root_port.config.generates_ecrc());
        let mut from = 0;
        while from < request.length_dw() {
            let Some(mut completion) = self.part(request, from, max_payload) else { return };
            let end = from + completion.length_dw();
            let data = read.data.get(from as usize * 4..end as usize * 4).unwrap_or_default();
            let is_poisoned = read.poisoned.iter().any(|&(first, after)| first < end && from < after);
            completion.set_ep(is_poisoned);
            from = end;
            if !is_poisoned || !poison::blocks(core, read.from.port, &root_port.config, &completion) {
                core.send_with_digest(read.from.port, completion, data, digest);
            }
        }
    }
}

/// The status of what containment ends: DPC Completion Control says it.
const fn contained_status(unsupported: bool) -> Status {
    if unsupported { Status::UnsupportedRequest } else { Status::CompleterAbort }
}
