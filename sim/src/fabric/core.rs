//! What all nodes of the fabric share: the clock, the event queue, the TLPs under way and the links.

use super::arena::{Arena, Extra, MAX_PREFIX_BYTES, NO_PORT, NO_TICKET, TlpId};
use super::link::{Kick, Transmitter};
use super::root::timer;
use crate::event::{EventQueue, Wheel};
use crate::probe::{Deliver, Direction, LinkId, Probe, Transmit};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Header, Malformed, Status};

/// A node of the fabric: a root complex, a switch or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u16);

/// One end of a link. The two ends of link `n` are the ports `2n` (nearer to the root complex) and `2n + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub(crate) u16);

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

/// What happens at a point in virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A TLP has been received at a port.
    Arrive(PortId, TlpId),
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
    /// The node behind each port.
    pub(crate) owners: Vec<NodeId>,
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

impl Core {
    pub(crate) fn new() -> Core {
        Core {
            now: Time::ZERO,
            queue: Wheel::new(),
            arena: Arena::default(),
            transmitters: Vec::new(),
            probe: None,
            decode_at_each_hop: false,
            faults: Faults::default(),
            owners: Vec::new(),
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
    #[inline]
    pub fn send_new(&mut self, port: PortId, header: Header, payload: &[u8]) {
        let tlp = self.create(header);
        let room = self.arena.payload_mut(tlp);
        if room.len() == payload.len() {
            room.copy_from_slice(payload);
        } else {
            room.fill(0);
            let len = room.len().min(payload.len());
            room[..len].copy_from_slice(&payload[..len]);
        }
        self.send(port, tlp);
    }

    /// Sends a TLP from `port`: at once if it has the credits and nothing waits before it, else when its turn comes.
    #[inline]
    pub fn send(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let (class, payload) = (slot.header.class(), slot.header.payload_len());
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if transmitter.is_clear() && transmitter.take_credits(class, payload, self.now) {
            self.transmit(port, tlp);
        } else {
            transmitter.wait(&mut self.arena, tlp, class);
            self.pump(port);
        }
    }

    /// Sends what has got its credits.
    pub(crate) fn pump(&mut self, port: PortId) {
        let index = usize::from(port.0);
        while let Some(tlp) = self.transmitters[index].next_ready(&self.arena, self.now) {
            self.transmit(port, tlp);
        }
        if let Kick::At(at) = self.transmitters[index].wait_for_credit() {
            self.queue.push(at, Event::Kick(port));
        }
    }

    /// Whether nothing waits for credits at `port`.
    pub fn is_clear(&self, port: PortId) -> bool {
        self.transmitters[usize::from(port.0)].is_clear()
    }

    #[inline]
    fn transmit(&mut self, port: PortId, tlp: TlpId) {
        let slot = self.arena.slot_mut(tlp);
        let (class, payload, header_len) = (slot.header.class(), slot.header.payload_len(), slot.header.header_len());
        let (held_by, ticket, extra) = (slot.held_by, slot.ticket, slot.extra);
        slot.held_by = NO_PORT;
        slot.ticket = NO_TICKET;
        let mut bytes = (header_len + payload) as u64;
        if extra != u32::MAX
            && let Some(extra) = self.arena.extra(self.arena.slot(tlp))
        {
            bytes += u64::from(extra.prefix_len) + if extra.digest.is_some() { 4 } else { 0 };
        }
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let (start, arrival) = transmitter.occupy(bytes, self.now);
        let sequence = transmitter.sequence;
        transmitter.sequence += 1;
        self.queue.push(arrival, Event::Arrive(port.peer(), tlp));
        if held_by != NO_PORT {
            self.free_buffer(PortId(held_by), class, payload);
        }
        if ticket != NO_TICKET {
            let owner = self.owners[usize::from(port.0)];
            self.queue.push(start, Event::Timer(owner, timer::RETIRED | u64::from(ticket)));
        }
        if self.probe.is_some() {
            self.tell_transmit(port, tlp, start, sequence);
        }
    }

    #[inline(never)]
    fn tell_transmit(&mut self, port: PortId, tlp: TlpId, at: Time, sequence: u64) {
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

    /// Takes a received TLP's header from its bytes, when the fabric is told to decode at each hop.
    ///
    /// # Errors
    /// The rule that the bytes break.
    #[inline]
    pub(crate) fn decode_again(&mut self, tlp: TlpId) -> Result<(), Malformed> {
        let slot = self.arena.slot_mut(tlp);
        slot.header = Header::decode(&slot.raw[..slot.header.header_len()])?;
        Ok(())
    }

    /// Notes where a received TLP is stored, so that its buffer is freed when it's sent on or consumed.
    #[inline]
    pub(crate) fn hold(&mut self, port: PortId, tlp: TlpId) {
        self.arena.slot_mut(tlp).held_by = port.0;
    }

    /// Puts another header in the place of a TLP's own; both have payloads of the same length.
    pub(crate) fn rewrite(&mut self, tlp: TlpId, header: Header) {
        let slot = self.arena.slot_mut(tlp);
        slot.header = header;
        header.encode(&mut slot.raw);
    }

    /// The port at which a received TLP stands.
    pub(crate) fn holder(&self, tlp: TlpId) -> PortId {
        PortId(self.arena.slot(tlp).held_by)
    }

    /// Sees that the root complex that sends `tlp` is told of access `ticket` when it leaves.
    pub(crate) fn notify_when_sent(&mut self, tlp: TlpId, ticket: u32) {
        self.arena.slot_mut(tlp).ticket = ticket;
    }

    /// Ends a TLP: its receive buffer is free again.
    #[inline]
    pub fn consume(&mut self, tlp: TlpId) {
        let slot = self.arena.slot(tlp);
        let (held_by, class, payload) = (slot.held_by, slot.header.class(), slot.header.payload_len());
        if held_by != NO_PORT {
            self.free_buffer(PortId(held_by), class, payload);
        }
        if let Some(probe) = &mut self.probe {
            let slot = self.arena.slot(tlp);
            probe.deliver(&Deliver { at: self.now, born: slot.born, header: &slot.header });
        }
        self.arena.remove(tlp);
    }

    #[inline]
    fn free_buffer(&mut self, port: PortId, class: Class, payload: usize) {
        let sender = port.peer();
        if let Kick::At(at) = self.transmitters[usize::from(sender.0)].credit_freed(class, payload, self.now) {
            self.queue.push(at, Event::Kick(sender));
        }
    }

    /// Ends a request that came in at `port` with a completion without data, if it asks for one, and counts the fault.
    pub fn refuse(&mut self, port: PortId, tlp: TlpId, completer: Bdf, status: Status) {
        match status {
            Status::UnsupportedRequest => self.faults.unsupported_request += 1,
            Status::CompleterAbort => self.faults.completer_abort += 1,
            _ => {}
        }
        let request = *self.header(tlp);
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

    /// Counts a fault that a device has found on its own.
    pub fn count(&mut self, count: impl FnOnce(&mut Faults)) {
        count(&mut self.faults);
    }
}
