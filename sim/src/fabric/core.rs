//! What all nodes of the fabric share: the clock, the event queue, the TLPs under way and the links.

use std::collections::VecDeque;

use super::arena::{Arena, Extra, MAX_PAYLOAD, MAX_PREFIX_BYTES, NO_PORT, NO_TICKET, Slot, TlpId, Weight};
use super::error::{Detected, ERRORS, ErrorKind, Found, Role};
use super::ids::{NodeId, Owner, PortId};
use super::link::{Transmitter, Turn};
use super::root::timer;
use super::rules::Work;
use crate::event::{EventQueue, Wheel};
use crate::memory::copy;
use crate::probe::{Deliver, Probe, Transmit};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Header, Status};

/// What happens at a point in virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A TLP has been received at a port, which is this one's.
    Arrive(PortId, Owner, TlpId),
    /// A TLP has been received that came over a virtual channel: as `Arrive`, but for one look at its traffic class.
    ArriveSpecially(PortId, Owner, TlpId),
    /// The virtual channels of a port take their turns on the wire.
    Arbitrate(PortId),
    /// A TLP begins on the link of a port, whose probe is to see it now.
    Transmit(PortId, TlpId),
    /// Something happens at a port of a link whose data link layer is exact.
    Link(PortId, u32),
    /// A node asked to be called.
    Timer(NodeId, u64),
    /// Something that a fault rule has made happen is due.
    Fault(u64),
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
    pub(crate) faults: Faults,
    /// Errors that were found so far, by kind.
    pub(super) errors: [u64; ERRORS.len()],
    /// What was found in the present event, and at which port.
    pub(super) found: VecDeque<(PortId, Found)>,
    /// Faults by rule; mostly none.
    pub(crate) rules: Option<Box<Work>>,
    /// TLPs that were lost with exact links.
    pub(crate) lost: u64,
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

/// What is to be done when the turn of a TLP on the wire is known.
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// When its first symbol leaves.
    start: Time,
    /// The port in whose receive buffer it stood, and what it took there.
    held_by: u16,
    weight: Weight,
    /// The CPU access that waits for it to leave.
    ticket: u32,
}

impl Left {
    #[inline(always)]
    pub(super) fn new(slot: &Slot, start: Time) -> Left {
        Left { start, held_by: slot.held_by, weight: slot.weight, ticket: slot.ticket }
    }
}

impl Core {
    pub(crate) fn new() -> Core {
        Core {
            now: Time::ZERO,
            queue: Wheel::new(),
            arena: Arena::new(),
            transmitters: Vec::new(),
            probe: None,
            faults: Faults::default(),
            errors: [0; ERRORS.len()],
            found: VecDeque::new(),
            rules: None,
            lost: 0,
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
        if !transmitter.is_free() || !transmitter.take_credits(weight, self.now) {
            return self.send_later(port, tlp);
        }
        let Turn { start, arrival } = transmitter.occupy(weight, self.now);
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
        if transmitter.is_free() && transmitter.take_credits(slot.weight, self.now) {
            let Turn { start, arrival } = transmitter.occupy(slot.weight, self.now);
            let left = Left::new(slot, start);
            self.queue.push(arrival, Event::Arrive(port.peer(), transmitter.receiver, tlp));
            self.has_left(port, tlp, left);
        } else {
            self.send_later(port, tlp);
        }
    }

    /// Sends a TLP from `port`, where something keeps it from going at once.
    #[inline(never)]
    fn send_later(&mut self, port: PortId, tlp: TlpId) {
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if transmitter.is_special() {
            return self.send_specially(port, tlp);
        }
        if !transmitter.wait_behind(&mut self.arena, tlp) {
            self.send_in_turn(port, tlp);
        }
    }

    /// Sends a TLP from `port`, where it may have to wait.
    #[inline(never)]
    pub(super) fn send_in_turn(&mut self, port: PortId, tlp: TlpId) {
        let weight = self.arena.slot(tlp).weight;
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if let Some(turn) = transmitter.reserve(&self.arena, tlp, self.now) {
            return self.transmit(port, tlp, turn);
        }
        if !transmitter.can_ever_send(weight) {
            return self.cannot_send(port, tlp);
        }
        if transmitter.wait(&mut self.arena, tlp) {
            self.pump(port, weight.class);
        }
    }

    /// Drops a TLP that can never be sent, since it's larger than the receiver's buffer or no virtual channel is for it: it would stop the
    /// link for ever. It's malformed for the port at which it came in (base specification 2.5.3), or for the one that was to send it, if it was made there.
    #[cold]
    pub(super) fn cannot_send(&mut self, port: PortId, tlp: TlpId) {
        let held_by = self.arena.slot(tlp).held_by;
        let finder = if held_by == NO_PORT { port } else { PortId(held_by) };
        self.detect_tlp(finder, tlp, ErrorKind::MalformedTlp, Role::Plain);
        self.tell_left(port, self.arena.slot(tlp).ticket, self.now);
        self.consume(tlp);
    }

    /// Fixes the turns of what waits, as far as it's known when the credits are there, after there are more for `class`.
    #[inline(never)]
    fn pump(&mut self, port: PortId, class: Class) {
        let (index, mut any) = (usize::from(port.0), false);
        while let Some((tlp, turn, more)) = self.transmitters[index].next_turn(&mut self.arena, class, self.now) {
            self.transmit(port, tlp, turn);
            any = true;
            if !more {
                break;
            }
        }
        // What may not pass a posted request goes on when that does.
        if any && class == Class::Posted && self.transmitters[index].others_wait() {
            self.pump(port, Class::Completion);
            self.pump(port, Class::NonPosted);
        }
    }

    /// Whether nothing waits for credits at `port`.
    pub fn is_clear(&self, port: PortId) -> bool {
        self.transmitters[usize::from(port.0)].is_clear()
    }

    /// Puts a TLP on the wire when its turn comes.
    #[inline(always)]
    fn transmit(&mut self, port: PortId, tlp: TlpId, turn: Turn) {
        let receiver = self.transmitters[usize::from(port.0)].receiver;
        self.queue.push(turn.arrival, Event::Arrive(port.peer(), receiver, tlp));
        let left = Left::new(self.arena.slot(tlp), turn.start);
        self.has_left(port, tlp, left);
    }

    /// Tells whom it concerns that a TLP is on the wire.
    #[inline(always)]
    pub(super) fn has_left(&mut self, port: PortId, tlp: TlpId, left: Left) {
        self.free_buffer(left.held_by, left.weight, tlp, left.start);
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
    pub(super) fn tell_left(&mut self, port: PortId, ticket: u32, at: Time) {
        if ticket != NO_TICKET {
            let owner = self.owner(port).node;
            self.queue.push(at, Event::Timer(owner, timer::RETIRED | u64::from(ticket)));
        }
    }

    #[inline(never)]
    fn tell_transmit(&mut self, port: PortId, tlp: TlpId, at: Time) {
        // Where turns may be fixed in another order than they come, the probe is told of each as it comes.
        if self.transmitters[usize::from(port.0)].shows_later(at, self.now) {
            self.queue.push(at, Event::Transmit(port, tlp));
        } else {
            self.show(port, tlp, at);
        }
    }

    /// Shows the probe a TLP that begins at `at` on the link of `port`.
    #[inline(never)]
    pub(super) fn show(&mut self, port: PortId, tlp: TlpId, at: Time) {
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

    /// Notes that a TLP has been received at `port`, so that its buffer there is freed when it's sent on or consumed.
    #[inline(always)]
    pub(crate) fn hold(&mut self, port: PortId, tlp: TlpId) -> &Slot {
        let slot = self.arena.slot_mut(tlp);
        slot.held_by = port.0;
        slot
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
        self.free_buffer(held_by, weight, tlp, self.now);
    }

    #[inline(never)]
    fn consume_in_all_cases(&mut self, tlp: TlpId) {
        self.tell_deliver(tlp);
        self.arena.drop_parts(tlp);
        let (held_by, weight) = self.arena.remove(tlp);
        self.free_buffer(held_by, weight, tlp, self.now);
    }

    fn tell_deliver(&mut self, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        if let Some(probe) = &mut self.probe {
            probe.deliver(&Deliver { at: self.now, born: slot.born, header: &slot.header });
        }
    }

    /// Frees at `at` what a TLP took of the receive buffer of port `held_by`, if it was in one. It may be gone already, but nothing new in its place.
    #[inline(always)]
    pub(super) fn free_buffer(&mut self, held_by: u16, weight: Weight, tlp: TlpId, at: Time) {
        if held_by == NO_PORT {
            return;
        }
        let sender = PortId(held_by).peer();
        if !self.transmitters[usize::from(sender.0)].credit_freed(weight, at) {
            self.free_buffer_of(sender, tlp, at);
        }
    }

    /// Frees what a TLP took of the receive buffer at the other end of the link of `sender`. Its weight is taken from its place, so that what's mostly not
    /// needed of it isn't carried here.
    #[inline(never)]
    fn free_buffer_of(&mut self, sender: PortId, tlp: TlpId, at: Time) {
        let weight = self.arena.slot(tlp).weight;
        self.free_buffer_in_all_cases(sender, weight, at);
    }

    /// Frees at `at` what a TLP took of the receive buffer at the other end of the link of `sender`.
    #[inline]
    pub(super) fn free_buffer_in_all_cases(&mut self, sender: PortId, weight: Weight, at: Time) {
        if self.transmitters[usize::from(sender.0)].is_special() && self.freed_specially(sender, weight, at) {
            return;
        }
        if self.transmitters[usize::from(sender.0)].credit_freed_in_all_cases(weight, at) {
            self.pump(sender, weight.class);
        }
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
