//! Emulated functions: where TLPs leave the fabric for software, and its answers come back (`twin-v1`, `harness/PROTOCOL.md`).
//!
//! A function stands at a port of its own. What reaches it goes, region by region, to its channel's ring or is answered here; what software stores
//! to the channel's gateway page goes out at that port.

mod announcement;
mod channel;
mod function;
mod gateway;
mod handover;
mod host_clock;
mod kept;
mod notice;
mod objects;
mod port;
mod region_commands;
mod requests;
mod rom;

use std::collections::{BTreeMap, VecDeque};

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::layout::twin_cap;
use mlx5_twin_fw_cmds::twin_v1::{self, MAPPED_PORTS};
use mlx5_twin_sim::config::MsixMessage;
use mlx5_twin_sim::fabric::{Core, PortId, TlpId};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, Class, Header, Kind, Status};

pub use self::channel::ChannelCounters;

use self::channel::Channel;
use self::function::{Claimed, Consequences, Target};
use self::handover::Delivered;
use self::host_clock::HostClock;
use self::notice::{News, Source};
use self::port::{Move, Presence, Slot};
use crate::bus::Bus;

/// How far this device speaks `twin-v1` (ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwinLimits {
    /// Channels at a time.
    pub max_channels: u32,
    /// log2 of the most slots of a ring.
    pub log_max_ring_slots: u8,
    /// log2 of the least bytes of a slot: a head and the largest payload.
    pub log_min_slot_stride: u8,
    /// log2 of the most bytes of a slot.
    pub log_max_slot_stride: u8,
    /// Credits of a channel.
    pub max_credits: u16,
    /// Payload bytes of a response.
    pub max_response_payload: u32,
    /// Open requests of a function.
    pub max_requests: u32,
    /// MSI-X vectors of a function.
    pub max_msix: u16,
    /// Bytes of the stateful regions of a function together.
    pub max_region_bytes: u32,
}

impl TwinLimits {
    /// The limits of a device whose emulated links carry payloads of up to `max_payload` bytes.
    pub fn new(max_payload: u32) -> TwinLimits {
        let slot = (twin_v1::MESSAGE_HEAD as u32 + max_payload).next_power_of_two();
        TwinLimits {
            max_channels: 32,
            log_max_ring_slots: 12,
            log_min_slot_stride: slot.trailing_zeros() as u8,
            log_max_slot_stride: 13,
            max_credits: 64,
            max_response_payload: 2048,
            max_requests: 256,
            max_msix: 256,
            max_region_bytes: 64 << 10,
        }
    }

    /// The capability page that tells software. Of the device's `functions` the first ones are static, the next ones at hot-plug ports, together 32 at most,
    /// and the rest is static again.
    ///
    /// # Errors
    /// A value that its field can't hold.
    pub fn page(&self, functions: usize, fixed: usize, hotplug_ports: usize) -> Result<Vec<u8>, FieldError> {
        let mut page = vec![0; twin_cap::SIZE];
        let below = |ports: usize| if ports >= MAPPED_PORTS.into() { u32::MAX } else { (1 << ports) - 1 };
        let slots = below(fixed + hotplug_ports) & !below(fixed);
        let ports = below(functions) & !slots;
        for (field, value) in [
            (twin_cap::SIGNATURE, u64::from(twin_v1::SIGNATURE)),
            (twin_cap::VERSIONS, 1 << twin_v1::VERSION),
            (twin_cap::LOG_MAX_CHANNEL, u64::from(self.max_channels.ilog2())),
            (twin_cap::LOG_MAX_RING_SLOTS, u64::from(self.log_max_ring_slots)),
            (twin_cap::LOG_MIN_SLOT_STRIDE, u64::from(self.log_min_slot_stride)),
            (twin_cap::LOG_MAX_SLOT_STRIDE, u64::from(self.log_max_slot_stride)),
            (twin_cap::MAX_FUNCTIONS, functions as u64),
            (twin_cap::MAX_CREDITS, u64::from(self.max_credits)),
            (twin_cap::MAX_RESPONSE_PAYLOAD, u64::from(self.max_response_payload)),
            (twin_cap::MAX_REQUESTS, u64::from(self.max_requests)),
            (twin_cap::MAX_REGIONS, twin_v1::MAX_REGIONS as u64),
            (twin_cap::MAX_MSIX, u64::from(self.max_msix)),
            (twin_cap::STATIC_PORTS, u64::from(ports)),
            (twin_cap::MAX_REGION_BYTES, u64::from(self.max_region_bytes)),
            (twin_cap::HOTPLUG_PORTS, u64::from(slots)),
        ] {
            field.set(&mut page, value)?;
        }
        Ok(page)
    }
}

/// A TLP that waits for a slot or a free request, in the receive buffer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Its number among those that came to the port.
    order: u64,
    /// When it came.
    time: Time,
    tlp: TlpId,
}

/// A port at which an emulated function can stand.
#[derive(Debug)]
struct EmulatedPort {
    port: PortId,
    claimed: Option<Claimed>,
    /// The slot, if it's a hot-plug port.
    slot: Option<Slot>,
    link_up: bool,
    /// Bus, device and function number from the last configuration write.
    id: Bdf,
    /// TLPs that wait for a slot or a free request, in the receive buffer, oldest first: posted ones, then the others.
    waiting: [VecDeque<Waiting>; 2],
    /// Number of the next one, or of the next write that is told of.
    arrivals: u64,
}

/// What of the host's waits for software at one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Whether software has claimed the function. Nothing waits if it hasn't.
    pub claimed: bool,
    /// The oldest request that software hasn't answered: how many the function had been given before it, since it was claimed.
    pub request: Option<u64>,
    /// Whether there are TLPs that have no slot, or messages that a channel's software hasn't freed: its other functions' too, since it takes them in
    /// their order. Likewise while the function is being handed over: nobody is primary, or who is has neither freed anything nor asked for an event since.
    pub messages: bool,
    /// How often that software has done something: messages freed, and responses that were accepted.
    pub progress: u64,
}

/// Something to be done on the fabric that a command has left behind.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// End this request without success.
    Abort(PortId, Header, Bdf),
    /// Do away with what waits at this port.
    Discard(usize),
    /// Give a channel its event, if it came, and what it may have: credits, what it's to be told of its functions, and what waits there.
    Grant(u32),
    /// Tell of a write to what the device keeps for the function at this port.
    Notify(usize, Source),
    /// Do something at the slot of a port.
    Slot(PortId, Move),
}

/// Channels and emulated functions.
#[derive(Debug)]
pub struct Emulation {
    limits: TwinLimits,
    ports: Vec<EmulatedPort>,
    channels: BTreeMap<u32, Channel>,
    /// By page id: the channel that holds the gateway page.
    pages: Vec<Option<u32>>,
    /// By object id: the port of a function, and the channel that claimed it by this object.
    functions: BTreeMap<u32, (usize, u32)>,
    /// Groups of channels made so far: the number of the latest one.
    groups: u32,
    actions: VecDeque<Action>,
    events: VecDeque<u32>,
    unbound: u64,
    host_clock: HostClock,
}

impl Emulation {
    /// Emulation at these ports, with `pages` response gateway pages.
    pub fn new(limits: TwinLimits, ports: &[PortId], pages: u32) -> Emulation {
        let port = |&port: &PortId| EmulatedPort {
            port,
            claimed: None,
            slot: None,
            link_up: true,
            id: Bdf(0),
            waiting: [VecDeque::new(), VecDeque::new()],
            arrivals: 0,
        };
        Emulation {
            limits,
            ports: ports.iter().map(port).collect(),
            channels: BTreeMap::new(),
            pages: vec![None; pages as usize],
            functions: BTreeMap::new(),
            groups: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            unbound: 0,
            host_clock: HostClock::default(),
        }
    }

    /// Stores to gateway pages that no channel holds.
    pub fn unbound(&self) -> u64 {
        self.unbound
    }

    /// Channels alive, with their counters.
    pub fn channels(&self) -> impl Iterator<Item = (u32, ChannelCounters)> + '_ {
        self.channels.iter().map(|(&id, channel)| (id, channel.counters))
    }

    /// Functions that software has claimed, each counted once.
    pub fn claimed(&self) -> usize {
        self.ports.iter().filter(|port| port.claimed.is_some()).count()
    }

    /// How many ports there are at which an emulated function can stand.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// What of the host's waits for software at a port. Of the function's open requests those count that have the number `from` or a higher one.
    pub fn waits_for_software(&self, port: usize, from: u64) -> Waits {
        let Some(emulated) = self.ports.get(port) else { return Waits::default() };
        let Some(claimed) = &emulated.claimed else { return Waits::default() };
        let channels = || claimed.channels.iter().filter_map(|id| self.channels.get(id));
        Waits {
            claimed: true,
            request: claimed.requests.oldest(from),
            messages: emulated.waiting.iter().any(|waiting| !waiting.is_empty())
                || !claimed.again.is_empty()
                || channels().any(|channel| !channel.is_drained() || channel.fresh)
                || channels().all(|channel| !channel.primary),
            progress: channels().fold(0, |sum, channel| sum.wrapping_add(channel.progress())),
        }
    }

    /// It's `now`, and all that happened until now has been dealt with.
    pub(crate) fn look_at_the_clock(&mut self, now: Time) {
        let waits = (0..self.ports.len()).any(|port| self.keeps_the_host_waiting(port));
        self.host_clock.look(now, waits);
    }

    /// Whether anything of the host's waits for software at a port.
    fn keeps_the_host_waiting(&self, port: usize) -> bool {
        if self.ports.get(port).is_none_or(|emulated| emulated.claimed.is_none()) {
            return false;
        }
        let waits = self.waits_for_software(port, 0);
        waits.request.is_some() || waits.messages
    }

    /// The next channel that has asked for an event which has come.
    pub(crate) fn next_event(&mut self) -> Option<u32> {
        self.events.pop_front()
    }

    // --- From the host ---

    /// A TLP has reached an emulated function's port.
    pub(crate) fn receive(&mut self, bus: &mut Bus<'_>, port: PortId, tlp: TlpId) {
        let Some(number) = self.ports.iter().position(|emulated| emulated.port == port) else {
            return bus.core.consume(tlp);
        };
        let header = *bus.core.header(tlp);
        let emulated = &mut self.ports[number];
        let kind = header.kind();
        if kind.is_completion() {
            // Software sends no requests that are answered.
            return bus.core.refuse_completion(port, tlp);
        }
        if matches!(kind, Kind::CfgRd0 | Kind::CfgWr0) && header.target().function() == 0 {
            let ready = |claimed: &Claimed| claimed.presence == Presence::Ready;
            if !emulated.claimed.as_ref().is_some_and(ready) {
                return bus.core.refuse(port, tlp, header.target(), Status::ConfigRequestRetry);
            }
            if header.has_data() {
                emulated.id = header.target();
            }
            return self.deliver(bus, number, tlp);
        }
        let id = emulated.id;
        let Some(claimed) = &mut emulated.claimed else {
            return refuse(bus.core, port, tlp, id);
        };
        // The largest payload that the function takes is what its Device Control says (base spec 2.2.2).
        if header.payload_len() > claimed.max_payload() as usize {
            return bus.core.refuse_malformed(port, tlp);
        }
        match claimed.target(&header) {
            Target::Software => self.deliver(bus, number, tlp),
            Target::Device { region, offset } => {
                let Consequences { messages, written } = claimed.access(bus.core, port, id, tlp, region, offset);
                self.send_messages(bus.core, number, &messages);
                for source in written {
                    self.notify(bus, number, source);
                }
            }
            Target::Ignore => bus.core.consume(tlp),
            Target::Nobody => refuse(bus.core, port, tlp, id),
        }
    }

    /// Hands a TLP to software, or lets it wait.
    fn deliver(&mut self, bus: &mut Bus<'_>, number: usize, tlp: TlpId) {
        let class = usize::from(bus.core.header(tlp).class() != Class::Posted);
        let emulated = &mut self.ports[number];
        let arrival = emulated.arrivals;
        emulated.waiting[class].push_back(Waiting { order: arrival, time: bus.core.now(), tlp });
        emulated.arrivals += 1;
        self.pump(bus, number);
        // Others may wait that came before.
        let waits = self.ports[number].waiting[class].back().is_some_and(|last| last.order == arrival);
        if waits && let Some(channel) = self.channel_of(number) {
            channel.counters.withheld += 1;
        }
    }

    /// What the device keeps for a function was written: software hears of it now, or later.
    fn notify(&mut self, bus: &mut Bus<'_>, number: usize, source: Source) {
        let emulated = &mut self.ports[number];
        let Some(claimed) = &mut emulated.claimed else { return };
        let value = claimed.value_of(source);
        claimed.notices.written(source, News { order: emulated.arrivals, time: bus.core.now(), value });
        emulated.arrivals += 1;
        self.pump(bus, number);
    }

    /// The primary channel of the function at a port.
    fn channel_of(&mut self, number: usize) -> Option<&mut Channel> {
        primary(&mut self.channels, self.ports.get(number)?.claimed.as_ref()?)
    }

    /// Delivers what waits at a port as far as there are slots and free requests, if the function has a primary channel: what software is to
    /// be told of the function, what another channel has left behind, then what came from the host. A posted TLP passes a non-posted
    /// one that is stuck; a non-posted one never passes a posted one. A notice goes where the write that it tells of came, if it may go.
    fn pump(&mut self, bus: &mut Bus<'_>, number: usize) {
        if !self.announce(bus, number) {
            return;
        }
        if let Some(claimed) = &mut self.ports[number].claimed
            && !claimed.again.is_empty()
        {
            let Some(channel) = primary(&mut self.channels, claimed) else { return };
            let done = handover::redeliver(bus, claimed, channel);
            if channel.take_event() {
                self.events.push_back(channel.id);
            }
            if !done {
                return;
            }
        }
        loop {
            let emulated = &mut self.ports[number];
            let first = |class: usize| emulated.waiting[class].front().map(|first| first.order);
            let Some(claimed) = &mut emulated.claimed else { return };
            let posted = first(0);
            let other = first(1).filter(|_| !claimed.requests.is_full());
            let notice = claimed.notices.first_due();
            let Some(oldest) = [posted, other, notice].into_iter().flatten().min() else { return };
            let Some(channel) = primary(&mut self.channels, claimed) else { return };
            if !channel.has_slot() {
                return;
            }
            if notice == Some(oldest) {
                channel.write_notice(bus, number as u16, claimed);
                if channel.take_event() {
                    self.events.push_back(channel.id);
                }
                continue;
            }
            let class = usize::from(other == Some(oldest));
            let Some(waiting) = emulated.waiting[class].pop_front() else { return };
            let tlp = waiting.tlp;
            let header = *bus.core.header(tlp);
            if header.payload_len() > channel.payload_room() {
                bus.core.count(|faults| faults.malformed += 1);
                refuse(bus.core, emulated.port, tlp, emulated.id);
                continue;
            }
            let place = claimed.place(&header);
            if !header.kind().is_config() && !matches!(claimed.target(&header), Target::Software) {
                // It waited, and meanwhile the host has turned memory space off, or moved the BAR.
                refuse(bus.core, emulated.port, tlp, emulated.id);
                continue;
            }
            let value = bus.core.payload(tlp).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let waits = header.class() == Class::NonPosted;
            let request = if waits { claimed.requests.open(header, value, channel.id) } else { 0 };
            let head = channel.write_tlp(bus, number as u16, request, &waiting, place);
            if let Some(request) = claimed.requests.get_mut(request) {
                request.number = channel.producer.wrapping_sub(1);
                let payload = bus.core.payload(tlp).into();
                request.message = Some(Delivered { head, payload, time: waiting.time });
            }
            bus.core.consume(tlp);
            if channel.take_event() {
                self.events.push_back(channel.id);
            }
        }
    }

    /// Delivers what waits for slots of a channel: credits first, then the TLPs of its functions, port by port.
    fn pump_channel(&mut self, bus: &mut Bus<'_>, id: u32) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.primary {
            channel.grant(bus);
        }
        if channel.take_event() {
            self.events.push_back(id);
        }
        if !channel.primary {
            return;
        }
        for number in 0..self.ports.len() {
            if self.ports[number].claimed.as_ref().is_some_and(|claimed| claimed.channels.contains(&id)) {
                self.pump(bus, number);
            }
        }
    }

    /// Does what commands have left behind.
    pub(crate) fn settle(&mut self, bus: &mut Bus<'_>) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Abort(port, request, id) => bus.core.complete(port, &request, id, Status::CompleterAbort),
                Action::Discard(number) => self.discard(bus.core, number),
                Action::Grant(channel) => self.pump_channel(bus, channel),
                Action::Notify(number, source) => self.notify(bus, number, source),
                Action::Slot(port, Move::In) => bus.core.set_present(port, true),
                Action::Slot(port, Move::Out) => bus.core.set_present(port, false),
                Action::Slot(port, Move::Button) => bus.core.press_attention_button(port),
            }
        }
    }

    fn discard(&mut self, core: &mut Core, number: usize) {
        let emulated = &mut self.ports[number];
        if emulated.claimed.is_some() {
            return;
        }
        let waiting = emulated.waiting.each_mut().map(std::mem::take);
        for Waiting { tlp, .. } in waiting.into_iter().flatten() {
            core.refuse(emulated.port, tlp, emulated.id, Status::CompleterAbort);
        }
    }

    /// Sends interrupt messages of a function, if it's bus master.
    fn send_messages(&self, core: &mut Core, number: usize, messages: &[MsixMessage]) {
        let emulated = &self.ports[number];
        if !emulated.claimed.as_ref().is_some_and(|claimed| claimed.shadow.bus_master()) {
            return;
        }
        for message in messages {
            if let Ok(header) = Header::mem_write_bytes(emulated.id, 0, message.address, 4) {
                core.send_new(emulated.port, header, &message.data.to_le_bytes());
            }
        }
    }
}

/// The primary one of the channels that have claimed a function.
fn primary<'a>(channels: &'a mut BTreeMap<u32, Channel>, claimed: &Claimed) -> Option<&'a mut Channel> {
    let id = claimed.channels.iter().find(|id| channels.get(id).is_some_and(|channel| channel.primary))?;
    channels.get_mut(id)
}

fn refuse(core: &mut Core, port: PortId, tlp: TlpId, id: Bdf) {
    core.refuse(port, tlp, id, Status::UnsupportedRequest);
}
