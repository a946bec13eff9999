//! A channel's device side: the ring in software's memory, credits, and what is staged at the gateway page.

use std::collections::VecDeque;

use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{notice_message, tlp_message};
use mlx5_twin_fw_cmds::twin_v1::{FAULT_COUNTERS, Fault, MESSAGE_HEAD, gateway, message};
use mlx5_twin_sim::fabric::MAX_PAYLOAD;
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Class;

use super::Waiting;
use super::announcement::Announcement;
use super::function::Claimed;
use super::handover::{Delivered, Unfreed};
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
    /// Completions whose request wasn't the oldest one, if the channel is to count them.
    pub reordered: u64,
    /// Messages that another channel's software hadn't finished with.
    pub redelivered: u64,
    /// Rules that software broke, by number.
    pub faults: [u32; FAULT_COUNTERS],
    /// The last of them.
    pub last_fault: Option<Fault>,
}

/// What a credit for an unsolicited memory write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CreditState {
    /// It's to be granted when there's a slot.
    Due,
    /// Software holds it.
    Granted,
    /// Software gave it back.
    Flushed,
}

/// A credit. Its name has its place in the low half and how often it was spent in the high half, so that one that's spent twice is found out.
#[derive(Clone, Copy, Debug)]
struct Credit {
    state: CreditState,
    spent: u16,
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
    /// Order modes.
    pub(super) flags: u8,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: u32,
    pub(super) spec: ChannelSpec,
    /// The channels that the functions can be handed over to, this one among them, have the same.
    pub(super) group: u32,
    /// Whether it gets the messages of its group.
    pub(super) primary: bool,
    /// Whether it has become primary after another one, and its software hasn't stored a consumer index since.
    pub(super) fresh: bool,
    /// What another channel must show to join the group; 0 if none may.
    pub(super) export_key: u64,
    /// Messages written since creation; the index on the wire is this modulo 2^24.
    pub(super) producer: u32,
    pub(super) consumer: u32,
    armed: bool,
    event: bool,
    credits: Vec<Credit>,
    due: VecDeque<u16>,
    /// Messages whose slots software hasn't freed, by number, oldest first: those that concern somebody when it frees them, or never does.
    unfreed: VecDeque<(u32, Unfreed)>,
    pub(super) staging: Box<[u8; STAGING]>,
    pub(super) counters: ChannelCounters,
}

impl Channel {
    pub(super) fn new(spec: ChannelSpec, group: u32, primary: bool) -> Channel {
        Channel {
            id: spec.id,
            group,
            primary,
            fresh: false,
            export_key: 0,
            producer: 0,
            consumer: 0,
            armed: false,
            event: false,
            credits: vec![Credit { state: CreditState::Due, spent: 0 }; usize::from(spec.credits)],
            due: (0..spec.credits).collect(),
            unfreed: VecDeque::new(),
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

    /// Whether software has freed every message.
    pub(super) fn is_drained(&self) -> bool {
        self.in_ring() == 0
    }

    /// How often its software has done something: messages freed, and responses that were accepted.
    pub(super) fn progress(&self) -> u64 {
        self.counters.messages.wrapping_sub(u64::from(self.in_ring())).wrapping_add(self.counters.responses)
    }

    /// Whether one of its order modes is on.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.spec.flags & flag != 0
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
        self.fresh = false;
        if arm {
            self.armed = true;
            self.event = self.in_ring() > 0;
        }
    }

    /// The oldest message that software has freed and nobody knows of yet, with its number.
    pub(super) fn take_freed(&mut self) -> Option<(u32, Unfreed)> {
        let &(number, _) = self.unfreed.front()?;
        let behind = self.producer.wrapping_sub(number) & gateway::INDEX_MASK;
        if behind > self.in_ring() { self.unfreed.pop_front() } else { None }
    }

    /// There's something to look at beside messages.
    pub(super) fn wake(&mut self) {
        self.event = true;
    }

    /// Takes out the messages for the function at a port that software hasn't freed, with their numbers.
    pub(super) fn take_unfreed(&mut self, port: usize) -> impl Iterator<Item = (u32, Unfreed)> + use<> {
        let all = std::mem::take(&mut self.unfreed).into_iter();
        let (taken, left): (VecDeque<_>, _) = all.partition(|(_, message)| message.port() == port);
        self.unfreed = left;
        taken.into_iter()
    }

    /// The function at a port was reset: what it received before is for nobody else.
    pub(super) fn forget_posted(&mut self, port: usize) {
        self.unfreed.retain(|(_, message)| !matches!(message, Unfreed::Posted(_)) || message.port() != port);
    }

    /// Whether the event that software asked for has come; if so, it's disarmed.
    pub(super) fn take_event(&mut self) -> bool {
        let event = self.armed && std::mem::take(&mut self.event);
        self.armed &= !event;
        event
    }

    /// Writes the message of a TLP: gives what was written. There's a slot, and room for the payload.
    pub(super) fn write_tlp(
        &mut self,
        bus: &mut Bus<'_>,
        function: u16,
        request: u32,
        waiting: &Waiting,
        place: Option<(u8, u64)>,
    ) -> [u8; MESSAGE_HEAD] {
        let tlp = waiting.tlp;
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
        self.write_at(bus, waiting.time, head, payload);
        head
    }

    /// Writes a message that was in another channel's ring. There's a slot, and room for the payload.
    pub(super) fn write_again(&mut self, bus: &mut Bus<'_>, message: &Delivered) {
        self.write_at(bus, message.time, message.head, &message.payload);
        self.counters.redelivered += 1;
    }

    /// Writes the oldest notice that is due of the function at a port. There's a slot.
    pub(super) fn write_notice(&mut self, bus: &mut Bus<'_>, port: u16, claimed: &mut Claimed) {
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
        self.unfreed.push_back((sequence, Unfreed::Notice(port, source)));
        self.write_at(bus, news.time, head, &[]);
    }

    /// Grants the credits that are due, as far as there are slots.
    pub(super) fn grant(&mut self, bus: &mut Bus<'_>) {
        while self.has_slot() {
            let Some(credit) = self.due.pop_front() else { return };
            let Some(state) = self.credits.get_mut(usize::from(credit)) else { continue };
            state.state = CreditState::Granted;
            let name = u32::from(state.spent) << 16 | u32::from(credit);
            let mut head = [0; MESSAGE_HEAD];
            let fields = [(tlp_message::KIND, u64::from(message::CREDIT)), (tlp_message::REQUEST_ID, u64::from(name))];
            let written = set_all(&mut head, &fields);
            debug_assert!(written.is_ok(), "{written:?}");
            self.write(bus, head, &[]);
        }
    }

    /// Writes what software is to be told of a function: gives the message's number. There's a slot.
    pub(super) fn write_announcement(&mut self, bus: &mut Bus<'_>, port: u16, announcement: Announcement) -> u32 {
        let mut head = [0; MESSAGE_HEAD];
        let written = set_all(&mut head, &announcement.fields())
            .and_then(|()| tlp_message::FUNCTION.set(&mut head, u64::from(port)));
        debug_assert!(written.is_ok(), "{written:?}");
        let number = self.producer;
        self.unfreed.push_back((number, Unfreed::Announcement(port, announcement)));
        self.write(bus, head, &[]);
        number
    }

    /// The credit of this name, if software holds it.
    fn held(&mut self, name: u32) -> Option<&mut Credit> {
        let credit = self.credits.get_mut((name & 0xffff) as usize)?;
        (credit.state == CreditState::Granted && u32::from(credit.spent) == name >> 16).then_some(credit)
    }

    /// Whether software holds the credit.
    pub(super) fn holds(&mut self, name: u32) -> bool {
        self.held(name).is_some()
    }

    /// The credit has been spent: it's due again.
    pub(super) fn spend(&mut self, name: u32) {
        if let Some(credit) = self.held(name) {
            *credit = Credit { state: CreditState::Due, spent: credit.spent.wrapping_add(1) };
            self.due.push_back(name as u16);
        }
    }

    /// The credit has been given back: it isn't granted again.
    pub(super) fn flush(&mut self, name: u32) {
        if let Some(credit) = self.held(name) {
            credit.state = CreditState::Flushed;
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
        if is_posted(&head) {
            let message = Delivered { head, payload: payload.into(), time };
            self.unfreed.push_back((self.producer, Unfreed::Posted(message)));
        }
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

/// Whether it's the message of a TLP that nobody answers. A request is kept until it's answered, freed or not.
fn is_posted(head: &[u8; MESSAGE_HEAD]) -> bool {
    let field = |field: Field| field.get(head).unwrap_or(0) as u8;
    field(tlp_message::KIND) == message::TLP && field(tlp_message::FLAGS) & message::NEEDS_COMPLETION == 0
}

/// Sets fields of a message's head or of a context.
pub(super) fn set_all(buffer: &mut [u8], fields: &[(Field, u64)]) -> Result<(), FieldError> {
    fields.iter().try_for_each(|(field, value)| field.set(buffer, *value))
}
