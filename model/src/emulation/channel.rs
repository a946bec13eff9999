//! A channel's device side: the ring in software's memory, credits, and what is staged at the gateway page.

use std::collections::VecDeque;

use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{notice_message, tlp_message};
use mlx5_twin_fw_cmds::twin_v1::{FAULT_COUNTERS, Fault, MESSAGE_HEAD, gateway, message};
use mlx5_twin_sim::fabric::{MAX_PAYLOAD, TlpId};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Class;

use super::announcement::Announcement;
use super::function::Claimed;
use super::notice::Source;
use crate::bus::Bus;
use crate::firmware::resources::Umem;

/// What a channel has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounters {
    /// Messages written to the ring.
    pub messages: u64,
    /// Responses that were accepted.
    pub responses: u64,
    /// TLPs that had to wait for a slot or for a free request.
    pub withheld: u64,
    /// Rules that software broke, by number.
    pub faults: [u32; FAULT_COUNTERS],
    /// The last of them.
    pub last_fault: Option<Fault>,
}

/// A credit for an unsolicited memory write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credit {
    /// It's to be granted when there's a slot.
    Due,
    /// Software holds it.
    Granted,
    /// Software gave it back.
    Flushed,
}

/// Size of the staging area: a header's 16 bytes and the payload.
const STAGING: usize = (gateway::END - gateway::HEADER) as usize;

/// What a channel is created with; the ring's shape has been checked.
#[derive(Debug)]
pub(super) struct ChannelSpec {
    pub(super) id: u32,
    pub(super) uid: u16,
    pub(super) page: u32,
    pub(super) umem_id: u32,
    pub(super) umem: Umem,
    pub(super) umem_offset: u64,
    pub(super) log_slots: u8,
    pub(super) log_stride: u8,
    pub(super) credits: u16,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: u32,
    pub(super) spec: ChannelSpec,
    /// Messages written since creation; the index on the wire is this modulo 2^24.
    pub(super) producer: u32,
    pub(super) consumer: u32,
    armed: bool,
    event: bool,
    credits: Vec<Credit>,
    due: VecDeque<u16>,
    /// Notices in the ring: message, port and source, oldest first.
    notices: VecDeque<(u32, u8, Source)>,
    pub(super) staging: Box<[u8; STAGING]>,
    pub(super) counters: ChannelCounters,
}

impl Channel {
    pub(super) fn new(spec: ChannelSpec) -> Channel {
        Channel {
            id: spec.id,
            producer: 0,
            consumer: 0,
            armed: false,
            event: false,
            credits: vec![Credit::Due; usize::from(spec.credits)],
            due: (0..spec.credits).collect(),
            notices: VecDeque::new(),
            staging: Box::new([0; STAGING]),
            counters: ChannelCounters::default(),
            spec,
        }
    }

    /// Messages that software hasn't freed.
    fn in_ring(&self) -> u32 {
        self.producer.wrapping_sub(self.consumer) & gateway::INDEX_MASK
    }

    pub(super) fn has_slot(&self) -> bool {
        self.in_ring() < 1 << self.spec.log_slots
    }

    /// Payload bytes that a slot holds.
    pub(super) fn payload_room(&self) -> usize {
        (1 << self.spec.log_stride) - MESSAGE_HEAD
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        tracing::debug!(channel = self.id, ?fault, "gateway");
        let count = &mut self.counters.faults[fault as usize];
        *count = count.saturating_add(1);
        self.counters.last_fault = Some(fault);
    }

    /// Software has taken messages, and perhaps asks for an event.
    pub(super) fn consume(&mut self, index: u32, arm: bool) {
        let taken = index.wrapping_sub(self.consumer) & gateway::INDEX_MASK;
        if index > gateway::INDEX_MASK || taken > self.in_ring() {
            return self.fault(Fault::ConsumerIndex);
        }
        self.consumer = index;
        if arm {
            self.armed = true;
            self.event = self.in_ring() > 0;
        }
    }

    /// The oldest notice that software has freed and nobody knows of yet: message, port and source.
    pub(super) fn freed_notice(&mut self) -> Option<(u32, u8, Source)> {
        let &(sequence, ..) = self.notices.front()?;
        let behind = self.producer.wrapping_sub(sequence) & gateway::INDEX_MASK;
        if behind > self.in_ring() { self.notices.pop_front() } else { None }
    }

    /// Whether the event that software asked for has come; if so, it's disarmed.
    pub(super) fn take_event(&mut self) -> bool {
        let event = self.armed && std::mem::take(&mut self.event);
        self.armed &= !event;
        event
    }

    /// Writes the message of a TLP. There's a slot, and room for the payload.
    pub(super) fn write_tlp(
        &mut self,
        bus: &mut Bus<'_>,
        function: u8,
        request: u32,
        tlp: TlpId,
        place: Option<(u8, u64)>,
    ) {
        let header = *bus.core.header(tlp);
        let mut head = [0; MESSAGE_HEAD];
        let prefixes = bus.core.prefixes(tlp);
        let waits = if header.class() == Class::NonPosted { message::NEEDS_COMPLETION } else { 0 };
        let cut = if prefixes.len() > 4 { message::PREFIXES_CUT } else { 0 };
        let in_bar = if place.is_some() { message::IN_BAR } else { 0 };
        let (bar, offset) = place.unwrap_or((0, 0));
        let fields = [
            (tlp_message::KIND, u64::from(message::TLP)),
            (tlp_message::FLAGS, u64::from(waits | cut | in_bar)),
            (tlp_message::FUNCTION, u64::from(function)),
            (tlp_message::REQUEST_ID, u64::from(request)),
            (tlp_message::HEADER_LEN, header.header_len() as u64),
            (tlp_message::PREFIX_LEN, prefixes.len().min(4) as u64),
            (tlp_message::PAYLOAD_LEN, header.payload_len() as u64),
            (tlp_message::BAR, u64::from(bar)),
            (tlp_message::BAR_OFFSET, offset),
        ];
        let written = set_all(&mut head, &fields);
        debug_assert!(written.is_ok(), "{written:?}");
        let mut raw = [0; 16];
        header.encode(&mut raw);
        if let (Ok(room), Some(first)) = (tlp_message::PREFIXES.slice_mut(&mut head), prefixes.get(..4)) {
            room.copy_from_slice(first);
        }
        if let Ok(room) = tlp_message::HEADER.slice_mut(&mut head) {
            room.copy_from_slice(&raw);
        }
        let mut payload = [0; MAX_PAYLOAD];
        let payload = &mut payload[..header.payload_len()];
        payload.copy_from_slice(bus.core.payload(tlp));
        self.write(bus, head, payload);
    }

    /// Writes the oldest notice that is due of the function at a port. There's a slot.
    pub(super) fn write_notice(&mut self, bus: &mut Bus<'_>, port: u8, claimed: &mut Claimed) {
        let sequence = self.producer;
        let Some((source, news)) = claimed.notices.send(sequence) else { return };
        let (kind, number) = match source {
            Source::Doorbell(number) => (message::DOORBELL, number),
            Source::Region(number) => (message::REGION_WRITTEN, number),
        };
        let (bar, offset) = claimed.place_of(source).unwrap_or((0, 0));
        let mut head = [0; MESSAGE_HEAD];
        let fields = [
            (notice_message::KIND, u64::from(kind)),
            (notice_message::FUNCTION, u64::from(port)),
            (notice_message::VALUE, u64::from(news.value)),
            (notice_message::NUMBER, u64::from(number)),
            (notice_message::BAR, u64::from(bar)),
            (notice_message::BAR_OFFSET, offset),
        ];
        let written = set_all(&mut head, &fields);
        debug_assert!(written.is_ok(), "{written:?}");
        self.notices.push_back((sequence, port, source));
        self.write_at(bus, news.time, head, &[]);
    }

    /// Grants the credits that are due, as far as there are slots.
    pub(super) fn grant(&mut self, bus: &mut Bus<'_>) {
        while self.has_slot() {
            let Some(credit) = self.due.pop_front() else { return };
            self.credits[usize::from(credit)] = Credit::Granted;
            let mut head = [0; MESSAGE_HEAD];
            let fields =
                [(tlp_message::KIND, u64::from(message::CREDIT)), (tlp_message::REQUEST_ID, u64::from(credit))];
            let written = set_all(&mut head, &fields);
            debug_assert!(written.is_ok(), "{written:?}");
            self.write(bus, head, &[]);
        }
    }

    /// Writes what software is to be told of a function: gives the message's number. There's a slot.
    pub(super) fn write_announcement(&mut self, bus: &mut Bus<'_>, function: u8, announcement: Announcement) -> u32 {
        let mut head = [0; MESSAGE_HEAD];
        let written = set_all(&mut head, &announcement.fields())
            .and_then(|()| tlp_message::FUNCTION.set(&mut head, u64::from(function)));
        debug_assert!(written.is_ok(), "{written:?}");
        let number = self.producer;
        self.write(bus, head, &[]);
        number
    }

    /// Whether software has freed the message of this number.
    pub(super) fn has_freed(&self, number: u32) -> bool {
        self.consumer.wrapping_sub(number.wrapping_add(1)) & gateway::INDEX_MASK <= gateway::INDEX_MASK / 2
    }

    /// Whether software holds the credit.
    pub(super) fn holds(&self, credit: u32) -> bool {
        self.credits.get(credit as usize) == Some(&Credit::Granted)
    }

    /// The credit has been spent: it's due again.
    pub(super) fn spend(&mut self, credit: u32) {
        if let Some(state) = self.credits.get_mut(credit as usize) {
            *state = Credit::Due;
            self.due.push_back(credit as u16);
        }
    }

    /// The credit has been given back: it isn't granted again.
    pub(super) fn flush(&mut self, credit: u32) {
        if let Some(state) = self.credits.get_mut(credit as usize) {
            *state = Credit::Flushed;
        }
    }

    /// Writes a message of now.
    fn write(&mut self, bus: &mut Bus<'_>, head: [u8; MESSAGE_HEAD], payload: &[u8]) {
        let now = bus.core.now();
        self.write_at(bus, now, head, payload);
    }

    /// Writes a message: its payload first, then its head, with number, time and owner bit.
    fn write_at(&mut self, bus: &mut Bus<'_>, time: Time, mut head: [u8; MESSAGE_HEAD], payload: &[u8]) {
        let lap = self.producer >> self.spec.log_slots & 1;
        let fields = [
            (tlp_message::TIME_PS, time.as_ps()),
            (tlp_message::SEQUENCE, u64::from(self.producer)),
            (tlp_message::OWNER, u64::from(1 - lap)),
        ];
        let written = set_all(&mut head, &fields);
        debug_assert!(written.is_ok(), "{written:?}");
        let slot = u64::from(self.producer & ((1 << self.spec.log_slots) - 1)) << self.spec.log_stride;
        let offset = self.spec.umem_offset + slot;
        self.write_umem(bus, offset + MESSAGE_HEAD as u64, payload);
        self.write_umem(bus, offset, &head);
        self.producer = self.producer.wrapping_add(1);
        self.counters.messages += 1;
        self.event = true;
    }

    /// Writes to the ring's memory, page by page.
    fn write_umem(&self, bus: &mut Bus<'_>, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let Some((address, contiguous)) = self.spec.umem.translate(offset) else {
                bus.counters.dma_errors += 1;
                return;
            };
            let len = data.len().min(usize::try_from(contiguous).unwrap_or(usize::MAX));
            bus.write(address, &data[..len]);
            data = &data[len..];
            offset += len as u64;
        }
    }
}

/// Sets fields of a message's head or of a context.
pub(super) fn set_all(buffer: &mut [u8], fields: &[(Field, u64)]) -> Result<(), FieldError> {
    fields.iter().try_for_each(|(field, value)| field.set(buffer, *value))
}
