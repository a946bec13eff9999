//! What all nodes of the fabric share: the clock, the event queue, the TLPs under way and the links.

use std::collections::VecDeque;

use super::arena::{Arena, Extra, MAX_PAYLOAD, MAX_PREFIX_BYTES, NO_PORT, NO_TICKET, Slot, TlpId, Weight};
use super::error::{Detected, ERRORS, ErrorKind, Found};
use super::link::{Kick, Ready, Transmitter};
use super::root::timer;
use crate::event::{EventQueue, Wheel};
use crate::memory::copy;
use crate::probe::{Deliver, Direction, LinkId, Probe, Transmit};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Header, Malformed, Status};

/// A node of the fabric: a root complex, a switch or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u16);

/// One end of a link. The two ends of link `n` are the ports `2n` (nearer to the root complex) and `2n + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub(crate) u16);

impl NodeId {
    /// No node: a timer for it comes when something was found in this instant that's to be looked at. It's no event of its own, so that there are
    /// no more of them than a step can tell apart quickly.
    pub(super) const NOBODY: NodeId = NodeId(u16::MAX);
}

impl PortId {
    /// The other end of the link.
    pub(crate) const fn peer(self) -> PortId {
        PortId(self.0 ^ 1)
    }

    /// The link.
    pub const fn link(self) -> LinkId {
        LinkId(self.0 >> 1)
    }

    /// Which way this port sends.
    pub(crate) const fn direction(self) -> Direction {
        if self.0 & 1 == 0 { Direction::Downstream } else { Direction::Upstream }
    }
}

/// Whose a port is, and which of its ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) node: NodeId,
    /// The number of the root port or downstream port of a switch; [`Owner::UPWARDS`] for a port that leads to the root complex.
    pub(crate) number: u16,
}

impl Owner {
    /// The port leads to the root complex.
    pub(crate) const UPWARDS: u16 = u16::MAX;
}

/// What happens at a point in virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A TLP has been received at a port, which is this one's.
    Arrive(PortId, Owner, TlpId),
    /// A credit reaches a port's transmitter while something waits for it.
    Kick(PortId),
    /// A node asked to be called.
    Timer(NodeId, u64),
    /// A host program's sleep ends.
    Wake(u32),
}

/// What went wrong on the fabric, counted by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Requests that nobody claimed or supported (Unsupported Request).
    pub unsupported_request: u64,
    /// Requests that their target refused (Completer Abort).
    pub completer_abort: u64,
    /// Completions that answer no request.
    pub unexpected_completion: u64,
    /// Requests whose completion didn't come in time.
    pub completion_timeout: u64,
    /// TLPs that break the rules of their format.
    pub malformed: u64,
}

/// The state that nodes work on.
pub struct Core {
    pub(crate) now: Time,
    pub(crate) queue: Wheel<Event>,
    pub(crate) arena: Arena,
    pub(crate) transmitters: Vec<Transmitter>,
    pub(crate) probe: Option<Box<dyn Probe>>,
    pub(crate) decode_at_each_hop: bool,
    pub(crate) faults: Faults,
    /// Errors that were found so far, by kind.
    pub(super) errors: [u64; ERRORS.len()],
    /// What was found in the present event, and at which port.
    pub(super) found: VecDeque<(PortId, Found)>,
    /// Host programs whose sleep has ended.
    pub(crate) woken: Vec<u32>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("now", &self.now)
            .field("events", &self.queue.len())
            .field("tlps", &self.arena.len())
            .finish_non_exhaustive()
    }
}

/// What is to be done when a TLP has gone on the wire.
#[derive(Clone, Copy)]
struct Left {
    /// When its first symbol leaves.
    start: Time,
    /// The port in whose receive buffer it stood, and what it took there.
    held_by: u16,
    weight: Weight,
    /// The CPU access that waits for it to leave.
    ticket: u32,
}

/// Takes a TLP onto the wire: gives the time of its arrival, too.
#[inline(always)]
fn leave(slot: &Slot, transmitter: &mut Transmitter, now: Time) -> (Time, Left) {
    let (start, arrival) = transmitter.occupy(slot.weight, now);
    let left = Left { start, held_by: slot.held_by, weight: slot.weight, ticket: slot.ticket };
    (arrival, left)
}

impl Core {
    pub(crate) fn new() -> Core {
        Core {
            now: Time::ZERO,
            queue: Wheel::new(),
            arena: Arena::new(),
            transmitters: Vec::new(),
            probe: None,
            decode_at_each_hop: false,
            faults: Faults::default(),
            errors: [0; ERRORS.len()],
            found: VecDeque::new(),
            woken: Vec::new(),
        }
    }

    /// The virtual time.
    #[inline]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Calls the device's [`super::Device::timer`] with `token` at `at`.
    pub fn set_timer(&mut self, node: NodeId, at: Time, token: u64) {
        self.queue.push(at, Event::Timer(node, token));
    }

    /// The header of a TLP under way.
    #[inline]
    pub fn header(&self, tlp: TlpId) -> &Header {
        &self.arena.slot(tlp).header
    }

    /// The payload of a TLP under way, in wire order; empty if it has none.
    #[inline]
    pub fn payload(&self, tlp: TlpId) -> &[u8] {
        self.arena.payload(tlp)
    }

    /// The bytes of prefixes that stand before the header of a TLP under way; mostly empty.
    pub fn prefixes(&self, tlp: TlpId) -> &[u8] {
        let extra = self.arena.extra(self.arena.slot(tlp));
        extra.map_or(&[], |extra| &extra.prefix_bytes[..usize::from(extra.prefix_len)])
    }

    /// Makes a TLP whose payload is still to be filled in with [`Core::payload_mut`], and sent with [`Core::send`].
    #[inline]
    pub fn create(&mut self, header: Header) -> TlpId {
        self.arena.insert(header, self.now)
    }

    /// The payload of a TLP under way, to be filled in.
    #[inline]
    pub fn payload_mut(&mut self, tlp: TlpId) -> &mut [u8] {
        self.arena.payload_mut(tlp)
    }

    /// Gives a TLP prefixes (whole dwords in wire order, at most eight) and a digest.
    ///
    /// # Errors
    /// Gives the number of prefix bytes back if there are too many for a TLP.
    pub fn decorate(&mut self, tlp: TlpId, prefixes: &[u8], digest: Option<[u8; 4]>) -> Result<(), usize> {
        if prefixes.len() > MAX_PREFIX_BYTES || !prefixes.len().is_multiple_of(4) {
            return Err(prefixes.len());
        }
        let mut extra = Extra { prefix_len: prefixes.len() as u8, digest, ..Extra::default() };
        extra.prefix_bytes[..prefixes.len()].copy_from_slice(prefixes);
        self.arena.set_extra(tlp, extra);
        Ok(())
    }

    /// Makes a TLP with a payload and sends it from `port`. A payload of another length than the header says is cut, or filled up
    /// with zeroes.
    pub fn send_new(&mut self, port: PortId, header: Header, payload: &[u8]) {
        self.send_filled(port, header, |room| {
            if room.len() == payload.len() {
                copy(room, payload);
            } else {
                room.fill(0);
                let len = room.len().min(payload.len());
                room[..len].copy_from_slice(&payload[..len]);
            }
        });
    }

    /// Makes a TLP whose payload `fill` writes, and sends it from `port`.
    #[inline(always)]
    pub(crate) fn send_filled(&mut self, port: PortId, header: Header, fill: impl FnOnce(&mut [u8])) {
        let tlp = self.arena.insert(header, self.now);
        let (weight, payload) = self.arena.unfilled(tlp);
        fill(payload);
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if !transmitter.is_clear() || !transmitter.take_credits(weight, self.now) {
            return self.send_later(port, tlp);
        }
        let (start, arrival) = transmitter.occupy(weight, self.now);
        self.queue.push(arrival, Event::Arrive(port.peer(), transmitter.receiver, tlp));
        // It comes from no buffer, and no access waits for it.
        if self.probe.is_some() {
            self.tell_transmit(port, tlp, start);
        }
    }

    /// Sends a TLP from `port`: at once if it has the credits and nothing waits before it, else when its turn comes.
    #[inline(always)]
    pub fn send(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if transmitter.is_clear() && transmitter.take_credits(slot.weight, self.now) {
            let (arrival, left) = leave(slot, transmitter, self.now);
            self.queue.push(arrival, Event::Arrive(port.peer(), transmitter.receiver, tlp));
            self.has_left(port, tlp, left);
        } else {
            self.send_later(port, tlp);
        }
    }

    #[inline(never)]
    fn send_later(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let (weight, ticket) = (slot.weight, slot.ticket);
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if !transmitter.can_ever_send(weight) {
            // Larger than the receiver's buffer: it would stop the link for ever.
            self.faults.malformed += 1;
            self.tell_left(port, ticket, self.now);
            return self.consume(tlp);
        }
        transmitter.wait(&mut self.arena, tlp, weight.class);
        self.pump(port);
    }

    /// A credit may have come that something waits for.
    #[inline(never)]
    pub(crate) fn kicked(&mut self, port: PortId) {
        self.transmitters[usize::from(port.0)].kicked(self.now);
        self.pump(port);
    }

    /// Sends what has got its credits.
    #[inline(never)]
    fn pump(&mut self, port: PortId) {
        let index = usize::from(port.0);
        let credit = loop {
            match self.transmitters[index].next_ready(&self.arena, self.now) {
                Ready::Go(tlp) => self.transmit(port, tlp),
                Ready::Blocked(credit) => break credit,
            }
        };
        if let Some(at) = credit
            && let Kick::At(at) = self.transmitters[index].kick_at(at)
        {
            self.kick(port, at);
        }
    }

    /// Whether nothing waits for credits at `port`.
    pub fn is_clear(&self, port: PortId) -> bool {
        self.transmitters[usize::from(port.0)].is_clear()
    }

    /// Puts a TLP that has its credits on the wire.
    fn transmit(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let (arrival, left) = leave(slot, transmitter, self.now);
        self.queue.push(arrival, Event::Arrive(port.peer(), transmitter.receiver, tlp));
        self.has_left(port, tlp, left);
    }

    /// Tells whom it concerns that a TLP is on the wire.
    #[inline(always)]
    fn has_left(&mut self, port: PortId, tlp: TlpId, left: Left) {
        self.free_buffer(left.held_by, left.weight);
        if left.ticket != NO_TICKET {
            self.arena.slot_mut(tlp).ticket = NO_TICKET;
            self.tell_left(port, left.ticket, left.start);
        }
        if self.probe.is_some() {
            self.tell_transmit(port, tlp, left.start);
        }
    }

    /// Tells the root complex at `port` that the write of access `ticket` leaves at `at`.
    #[inline(never)]
    fn tell_left(&mut self, port: PortId, ticket: u32, at: Time) {
        if ticket != NO_TICKET {
            let owner = self.owner(port).node;
            self.queue.push(at, Event::Timer(owner, timer::RETIRED | u64::from(ticket)));
        }
    }

    #[inline(never)]
    fn tell_transmit(&mut self, port: PortId, tlp: TlpId, at: Time) {
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let sequence = transmitter.seen;
        transmitter.seen += 1;
        let slot = self.arena.slot(tlp);
        let mut bytes = [0; MAX_PREFIX_BYTES + 16];
        let mut len = 0;
        let mut digest = None;
        if let Some(extra) = self.arena.extra(slot) {
            len = usize::from(extra.prefix_len);
            bytes[..len].copy_from_slice(&extra.prefix_bytes[..len]);
            digest = extra.digest;
        }
        let header_len = slot.header.header_len();
        bytes[len..len + header_len].copy_from_slice(&slot.raw[..header_len]);
        let payload = self.arena.payload(tlp);
        if let Some(probe) = &mut self.probe {
            let header = &bytes[..len + header_len];
            let direction = port.direction();
            probe.transmit(&Transmit { at, link: port.link(), direction, sequence, header, payload, digest });
        }
    }

    /// Notes that a TLP has been received at `port`, so that its buffer there is freed when it's sent on or consumed. Gives its slot, with the
    /// header taken from its bytes if the fabric is told to decode at each hop: as long as they are those that the header was decoded from or encoded
    /// to, decoding them again would give the same.
    ///
    /// # Errors
    /// The rule that the bytes break.
    #[inline(always)]
    pub(crate) fn hold(&mut self, port: PortId, tlp: TlpId) -> Result<&Slot, Malformed> {
        let slot = self.arena.slot_mut(tlp);
        slot.held_by = port.0;
        if self.decode_at_each_hop && slot.raw != slot.decoded {
            let header = Header::decode(&slot.raw)?;
            slot.replace_header(header);
        }
        Ok(slot)
    }

    /// Whether there's something about a TLP that few have, and that a receiver has to look at.
    #[inline(always)]
    pub(super) fn is_special(&self, tlp: TlpId) -> bool {
        self.arena.slot(tlp).is_special()
    }

    /// Whether all that is special about a TLP is its size.
    #[inline]
    pub(super) fn is_only_large(&self, tlp: TlpId) -> bool {
        self.arena.slot(tlp).is_only_large()
    }

    /// Makes another TLP that is like `tlp` in all, but isn't in any receive buffer.
    pub(crate) fn duplicate(&mut self, tlp: TlpId) -> TlpId {
        let (header, extra) = (*self.header(tlp), self.arena.extra(self.arena.slot(tlp)).copied());
        let copy = self.create(header);
        let mut payload = [0; MAX_PAYLOAD];
        let payload = &mut payload[..header.payload_len()];
        payload.copy_from_slice(self.payload(tlp));
        self.payload_mut(copy).copy_from_slice(payload);
        if let Some(extra) = extra {
            self.arena.set_extra(copy, extra);
        }
        copy
    }

    /// Puts another header in the place of a TLP's own; both have payloads of the same length.
    pub(crate) fn rewrite(&mut self, tlp: TlpId, header: Header) {
        let slot = self.arena.slot_mut(tlp);
        slot.replace_header(header);
    }

    /// Whose `port` is: the receiver of what the other end of its link sends.
    pub(crate) fn owner(&self, port: PortId) -> Owner {
        self.transmitters[usize::from(port.peer().0)].receiver
    }

    /// Sees that the root complex that sends `tlp` is told of access `ticket` when it leaves.
    pub(crate) fn notify_when_sent(&mut self, tlp: TlpId, ticket: u32) {
        self.arena.slot_mut(tlp).ticket = ticket;
    }

    /// Ends a TLP: its receive buffer is free again.
    #[inline]
    pub fn consume(&mut self, tlp: TlpId) {
        if self.probe.is_some() || !self.arena.is_plain(tlp) {
            return self.consume_in_all_cases(tlp);
        }
        let (held_by, weight) = self.arena.remove(tlp);
        self.free_buffer(held_by, weight);
    }

    #[inline(never)]
    fn consume_in_all_cases(&mut self, tlp: TlpId) {
        self.tell_deliver(tlp);
        self.arena.drop_parts(tlp);
        let (held_by, weight) = self.arena.remove(tlp);
        self.free_buffer(held_by, weight);
    }

    fn tell_deliver(&mut self, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        if let Some(probe) = &mut self.probe {
            probe.deliver(&Deliver { at: self.now, born: slot.born, header: &slot.header });
        }
    }

    /// Frees what a TLP took of the receive buffer of port `held_by`, if it was in one.
    #[inline(always)]
    fn free_buffer(&mut self, held_by: u16, weight: Weight) {
        if held_by == NO_PORT {
            return;
        }
        let sender = PortId(held_by).peer();
        if !self.transmitters[usize::from(sender.0)].credit_freed(weight, self.now) {
            self.free_buffer_in_all_cases(sender, weight);
        }
    }

    #[inline(never)]
    fn free_buffer_in_all_cases(&mut self, sender: PortId, weight: Weight) {
        let transmitter = &mut self.transmitters[usize::from(sender.0)];
        if let Kick::At(at) = transmitter.credit_freed_in_all_cases(weight, self.now) {
            self.kick(sender, at);
        }
    }

    #[inline(never)]
    fn kick(&mut self, port: PortId, at: Time) {
        self.queue.push(at, Event::Kick(port));
    }

    /// Ends a request that came in at `port` with a completion without data, if it asks for one. A status that stands for an error is counted and
    /// noted as one that was found there, by the function `completer`.
    pub fn refuse(&mut self, port: PortId, tlp: TlpId, completer: Bdf, status: Status) {
        let request = *self.header(tlp);
        let kind = match status {
            Status::UnsupportedRequest => Some(ErrorKind::UnsupportedRequest),
            Status::CompleterAbort => Some(ErrorKind::CompleterAbort),
            _ => None,
        };
        if let Some(kind) = kind {
            let error = Detected { tlp: Some(self.log_of(tlp)), ..Detected::new(kind) };
            self.detect(port, error.as_role(Core::answering_role(&request)).by(completer));
        }
        self.consume(tlp);
        self.complete(port, &request, completer, status);
    }

    /// Sends the completion without data of a request that came in at `port`, if it's one that is answered.
    pub fn complete(&mut self, port: PortId, request: &Header, completer: Bdf, status: Status) {
        if request.class() == Class::NonPosted {
            // Only a successful status would need data; no request is answered here with that and data.
            if let Ok(completion) = Header::completion_part(request, completer, status, 0, 0) {
                self.send_new(port, completion, &[]);
            }
        }
    }

    /// Counts a fault that a device has found on its own, and that is no error of a function on the bus; those are for [`Core::detect`].
    pub fn count(&mut self, count: impl FnOnce(&mut Faults)) {
        count(&mut self.faults);
    }
}
