//! An honest device in memory, for tests: it keeps the device's side of `PROTOCOL.md`, and nothing more.
//!
//! A test delivers TLPs to it and looks at what it sends. What happens while software waits is the test's to say.

mod backend;
mod claimed;
mod kept;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{emulated_function, gateway_post, tlp_channel, tlp_message, twin_cap};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::status::Status as CommandStatus;
use mlx5_twin_fw_cmds::twin_v1::{self as numbers, FAULT_COUNTERS, Fault, gateway, message, region};
use mlx5_twin_sim::config::MsixOutcome;
use mlx5_twin_sim::tlp::{Bdf, Class, Header, Kind, Status};

use self::claimed::Claimed;
use crate::backend::{Backend, Event};

/// What a device sent to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) function: u16,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

/// A request that waits: what of it is still to be sent.
#[derive(Debug)]
struct Waiting {
    function: u16,
    header: Header,
    payload: Vec<u8>,
    left: u32,
    address: u64,
}

type Hook = Box<dyn FnMut(&mut Device) -> bool + Send>;

/// The state of the device.
#[derive(Default)]
pub(crate) struct Device {
    /// The capability page; empty if the firmware doesn't know it.
    pub(crate) twin_cap: Vec<u8>,
    channel: Vec<u8>,
    functions: BTreeMap<u16, Claimed>,
    handles: BTreeMap<u32, (ObjectType, u16)>,
    memory: Arc<Mutex<Vec<u8>>>,
    staged: Vec<u8>,
    /// The next message's number.
    pub(crate) producer: u32,
    pub(crate) consumer: u32,
    armed: bool,
    cookie: Option<u64>,
    pub(crate) events: VecDeque<Event>,
    withheld: VecDeque<([u8; 64], Vec<u8>)>,
    /// Messages that tell of writes, up to their being freed: the message's number, and whether there's more to tell.
    told: BTreeMap<kept::Source, (u32, bool)>,
    waiting: BTreeMap<u32, Waiting>,
    next_request: u32,
    credits: Vec<u32>,
    pub(crate) faults: [u64; FAULT_COUNTERS],
    responses: u64,
    pub(crate) sent: Vec<Sent>,
    /// Stores to the gateway page: offset and width.
    pub(crate) stores: Vec<(usize, usize)>,
    /// Objects, memory and page in the order in which they went.
    pub(crate) gone: Vec<&'static str>,
    /// Called while software waits or polls. `false` if nothing will ever happen again.
    hook: Option<Hook>,
    now: Duration,
    /// Whether somebody has asked for the end.
    pub(crate) stopped: bool,
}

/// A context of the device.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<Device>>);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    /// A device that can do what most tests need: rings of up to 2^20 slots, 4 credits, 256 payload bytes a response.
    pub(crate) fn new() -> Fake {
        let mut page = vec![0; twin_cap::SIZE];
        for (field, value) in [
            (twin_cap::SIGNATURE, u64::from(numbers::SIGNATURE)),
            (twin_cap::VERSIONS, 1 << numbers::VERSION),
            (twin_cap::LOG_MAX_RING_SLOTS, 20),
            (twin_cap::LOG_MIN_SLOT_STRIDE, 9),
            (twin_cap::LOG_MAX_SLOT_STRIDE, 13),
            (twin_cap::MAX_FUNCTIONS, 4),
            (twin_cap::MAX_CREDITS, 4),
            (twin_cap::MAX_RESPONSE_PAYLOAD, 256),
            (twin_cap::MAX_REQUESTS, 32),
            (twin_cap::MAX_REGIONS, 16),
            (twin_cap::MAX_MSIX, 64),
            (twin_cap::STATIC_PORTS, 0xf),
            (twin_cap::MAX_REGION_BYTES, 0x1_0000),
        ] {
            field.set(&mut page, value).unwrap();
        }
        Fake(Arc::new(Mutex::new(Device { twin_cap: page, staged: vec![0; 0x1000], ..Device::default() })))
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens while software waits or polls.
    pub(crate) fn on_wait(&self, hook: impl FnMut(&mut Device) -> bool + Send + 'static) {
        self.device().hook = Some(Box::new(hook));
    }

    /// Lets something happen.
    fn happen(&self) -> bool {
        let mut device = self.device();
        device.now += Duration::from_nanos(100);
        let Some(mut hook) = device.hook.take() else { return false };
        let happened = hook(&mut device);
        device.hook = Some(hook);
        happened
    }
}

impl Device {
    fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    fn log_slots(&self) -> u64 {
        tlp_channel::LOG_RING_SLOTS.get(&self.channel).unwrap()
    }

    /// A head with what every message has.
    pub(crate) fn head(kind: u8, function: u16) -> [u8; 64] {
        let mut head = [0; 64];
        tlp_message::KIND.set(&mut head, u64::from(kind)).unwrap();
        tlp_message::FUNCTION.set(&mut head, u64::from(function)).unwrap();
        head
    }

    /// Puts a message into the ring, or keeps it until there's a slot. Number and owner bit are filled in.
    pub(crate) fn push(&mut self, head: [u8; 64], payload: &[u8]) {
        self.withheld.push_back((head, payload.to_vec()));
        self.fill();
    }

    /// Makes the ring look as it does when `number` messages have gone through it.
    pub(crate) fn age(&mut self, number: u32) {
        let (log_slots, stride) = (self.log_slots(), 1 << tlp_channel::LOG_SLOT_STRIDE.get(&self.channel).unwrap());
        (self.producer, self.consumer) = (number, number);
        let index = number & gateway::INDEX_MASK;
        let (lap, next) = (index >> log_slots, index & ((1 << log_slots) - 1));
        let mut memory = self.memory.lock().unwrap();
        for slot in 0..1 << log_slots {
            let written_in = if slot < next { lap } else { lap.wrapping_sub(1) };
            memory[slot as usize * stride + 63] = 1 - (written_in & 1) as u8;
        }
    }

    /// The number of messages that wait for a slot.
    pub(crate) fn withheld(&self) -> usize {
        self.withheld.len()
    }

    fn fill(&mut self) {
        let (log_slots, stride) = (self.log_slots(), 1 << tlp_channel::LOG_SLOT_STRIDE.get(&self.channel).unwrap());
        while self.producer.wrapping_sub(self.consumer) & gateway::INDEX_MASK < 1 << log_slots {
            let Some((mut head, payload)) = self.withheld.pop_front() else { return };
            let index = self.producer & gateway::INDEX_MASK;
            if tlp_message::SEQUENCE.get(&head).unwrap() == 0 {
                tlp_message::SEQUENCE.set(&mut head, u64::from(self.producer)).unwrap();
            }
            let owner = 1 - (index >> log_slots & 1);
            tlp_message::OWNER.set(&mut head, u64::from(owner)).unwrap();
            let at = (index as usize & ((1 << log_slots) - 1)) * stride;
            let mut memory = self.memory.lock().unwrap();
            memory[at + 64..at + 64 + payload.len()].copy_from_slice(&payload);
            memory[at..at + 64].copy_from_slice(&head);
            drop(memory);
            self.producer = self.producer.wrapping_add(1);
            self.raise();
        }
    }

    fn raise(&mut self) {
        if self.armed && self.producer & gateway::INDEX_MASK != self.consumer & gateway::INDEX_MASK {
            self.armed = false;
            let cookie = self.cookie.expect("an armed channel has a subscriber");
            self.events.push_back(Event { cookie, event_type: EventType::OBJECT_CHANGE });
        }
    }

    /// Software has taken the messages before `index`.
    fn consume(&mut self, index: u32) -> bool {
        let held = self.producer.wrapping_sub(self.consumer) & gateway::INDEX_MASK;
        let freed = index.wrapping_sub(self.consumer) & gateway::INDEX_MASK;
        if index > gateway::INDEX_MASK || freed > held {
            self.fault(Fault::ConsumerIndex);
            return false;
        }
        self.consumer = self.consumer.wrapping_add(freed);
        self.fill();
        self.tell_again();
        true
    }

    /// A head for a TLP.
    pub(crate) fn tlp_head(function: u16, header: &Header, request: Option<u32>) -> [u8; 64] {
        let mut head = Device::head(message::TLP, function);
        let mut bytes = [0; 16];
        let len = header.encode(&mut bytes);
        tlp_message::HEADER.slice_mut(&mut head).unwrap().copy_from_slice(&bytes);
        let flags = u64::from(request.map_or(0, |_| message::NEEDS_COMPLETION));
        for (field, value) in [
            (tlp_message::FLAGS, flags),
            (tlp_message::REQUEST_ID, u64::from(request.unwrap_or(0))),
            (tlp_message::TIME_PS, 1_000),
            (tlp_message::HEADER_LEN, len as u64),
            (tlp_message::PAYLOAD_LEN, header.payload_len() as u64),
        ] {
            field.set(&mut head, value).unwrap();
        }
        head
    }

    /// A TLP has reached a function: it's routed by configuration requests, BARs and regions.
    pub(crate) fn deliver(&mut self, function: u16, header: &Header, payload: &[u8]) {
        let Some(claimed) = self.functions.get_mut(&function) else { return };
        let mut at = None;
        if header.kind().is_memory() {
            let hit = claimed.snooped.decode_memory(header.address());
            let hit = hit.map(|(bar, offset)| (bar.index, offset));
            let rom = claimed.snooped.expansion_rom().filter(|_| header.kind().is_memory_read());
            let rom = rom.and_then(|rom| Some((rom.index, rom.offset(header.address())?, region::TRANSACTION)));
            match hit.and_then(|(bar, offset)| Some((bar, offset, claimed.region(bar, offset)?))).or(rom) {
                Some((bar, offset, region::TRANSACTION)) => at = Some((bar, offset)),
                Some((bar, offset, region::DOORBELL | region::STATEFUL)) => {
                    return self.kept_access(function, header, bar, offset, payload);
                }
                Some((bar, offset, _)) => return self.msix_access(function, header, bar, offset, payload),
                None => return self.end(function, header, Status::UnsupportedRequest),
            }
        }
        if header.kind() == Kind::CfgWr0 {
            claimed.id = header.target();
        }
        let request = (header.class() == Class::NonPosted).then(|| {
            self.next_request += 1;
            let left = header.completion_byte_count();
            let lower = u64::from(header.completion_lower_address() & 3);
            let address = if header.kind().is_memory_read() { header.address() + lower } else { 0 };
            let payload = payload.to_vec();
            self.waiting.insert(self.next_request, Waiting { function, header: *header, payload, left, address });
            self.next_request
        });
        let mut head = Device::tlp_head(function, header, request);
        if let Some((bar, offset)) = at {
            let flags = tlp_message::FLAGS.get(&head).unwrap();
            tlp_message::FLAGS.set(&mut head, flags | u64::from(message::IN_BAR)).unwrap();
            tlp_message::BAR.set(&mut head, u64::from(bar)).unwrap();
            tlp_message::BAR_OFFSET.set(&mut head, offset).unwrap();
        }
        self.push(head, payload);
    }

    /// Grants a credit.
    pub(crate) fn grant(&mut self, id: u32) {
        self.credits.push(id);
        let mut head = Device::head(message::CREDIT, 0);
        tlp_message::REQUEST_ID.set(&mut head, u64::from(id)).unwrap();
        self.push(head, &[]);
    }

    /// Something happens to a link.
    pub(crate) fn pci_event(&mut self, function: u16, event: u32) {
        let mut head = Device::head(message::PCI_EVENT, function);
        tlp_message::EVENT.set(&mut head, u64::from(event)).unwrap();
        self.push(head, &[]);
    }

    fn end(&mut self, function: u16, request: &Header, status: Status) {
        let id = self.functions.get(&function).map_or(Bdf(0), |claimed| claimed.id);
        if let Ok(header) = Header::completion_for(request, id, status) {
            self.sent.push(Sent { function, header, payload: Vec::new() });
        }
    }

    fn msix_access(&mut self, function: u16, header: &Header, bar: u8, offset: u64, payload: &[u8]) {
        let claimed = self.functions.get_mut(&function).unwrap();
        let id = claimed.id;
        let table = claimed.table.as_mut().unwrap();
        let place = table.region(bar, offset).unwrap();
        if header.has_data() {
            table.write(place, payload, header.first_be(), header.last_be()).unwrap();
            let control = claimed.msix_control;
            let unmasked: Vec<_> = table.unmasked(control >> 15 != 0, control >> 14 & 1 != 0).collect();
            for interrupt in unmasked {
                self.send_interrupt(function, interrupt.address, interrupt.data);
            }
        } else {
            let mut data = vec![0; header.length_dw() as usize * 4];
            table.read(place, &mut data).unwrap();
            let header = Header::completion_for(header, id, Status::Successful).unwrap();
            self.sent.push(Sent { function, header, payload: data });
        }
    }

    fn send_interrupt(&mut self, function: u16, address: u64, data: u32) {
        let header = Header::mem_write_bytes(self.functions[&function].id, 0, address, 4).unwrap();
        self.sent.push(Sent { function, header, payload: data.to_le_bytes().to_vec() });
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.stores.push((offset, bytes.len()));
        let place = offset as u64;
        match (place, bytes.len()) {
            (gateway::CONSUMER | gateway::ARM, 4) => {
                let index = u32::from_be_bytes(*bytes.first_chunk().unwrap());
                if self.consume(index) && place == gateway::ARM {
                    self.armed = true;
                    self.raise();
                }
            }
            (gateway::POST, 8) => {
                if let Err(fault) = self.post(bytes) {
                    self.fault(fault);
                } else {
                    self.responses += 1;
                }
            }
            (gateway::HEADER..gateway::END, _) if (offset + bytes.len()) as u64 <= gateway::END => {
                self.staged[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            _ => self.fault(Fault::Store),
        }
    }

    fn post(&mut self, post: &[u8]) -> Result<(), Fault> {
        let kind = gateway_post::KIND.get(post).unwrap() as u8;
        let function = gateway_post::FUNCTION.get(post).unwrap() as u16;
        let length = gateway_post::LENGTH.get(post).unwrap() as usize;
        let id = gateway_post::ID.get(post).unwrap() as u32;
        let most = twin_cap::MAX_RESPONSE_PAYLOAD.get(&self.twin_cap).unwrap() as usize;
        if length > most {
            return Err(Fault::Length);
        }
        let at = gateway::PAYLOAD as usize;
        let payload = self.staged[at..at + length].to_vec();
        let staged = Header::decode(&self.staged[gateway::HEADER as usize..at]).map_err(|_| Fault::Header);
        match kind {
            gateway::COMPLETION => self.completion(function, id, &staged?, payload),
            gateway::MEMORY_WRITE => {
                let header = staged?;
                let claimed = self.functions.get(&function).ok_or(Fault::Vector)?;
                if !matches!(header.kind(), Kind::MWr32 | Kind::MWr64) || header.requester() != claimed.id {
                    return Err(Fault::Header);
                }
                if header.payload_len() != payload.len() {
                    return Err(Fault::Length);
                }
                if !claimed.snooped.command().bus_master() {
                    return Err(Fault::BusMaster);
                }
                self.spend(id)?;
                self.sent.push(Sent { function, header, payload });
                self.grant(id);
                Ok(())
            }
            gateway::MSIX => {
                let claimed = self.functions.get_mut(&function).ok_or(Fault::Vector)?;
                let control = claimed.msix_control;
                if control >> 15 == 0 {
                    return Err(Fault::MsixDisabled);
                }
                if !claimed.snooped.command().bus_master() {
                    return Err(Fault::BusMaster);
                }
                let table = claimed.table.as_mut().ok_or(Fault::Vector)?;
                let masked = control >> 14 & 1 != 0;
                match table.raise(id as u16, true, masked).map_err(|_| Fault::Vector)? {
                    MsixOutcome::Send(interrupt) => self.send_interrupt(function, interrupt.address, interrupt.data),
                    MsixOutcome::Pending | MsixOutcome::NotEnabled => {}
                }
                Ok(())
            }
            gateway::FLUSH => self.spend(id),
            _ => Err(Fault::PostKind),
        }
    }

    fn spend(&mut self, id: u32) -> Result<(), Fault> {
        let at = self.credits.iter().position(|&held| held == id).ok_or(Fault::Credit)?;
        self.credits.remove(at);
        Ok(())
    }

    fn completion(&mut self, function: u16, id: u32, header: &Header, payload: Vec<u8>) -> Result<(), Fault> {
        let waiting = self.waiting.get_mut(&id).filter(|waiting| waiting.function == function).ok_or(Fault::Request)?;
        if !header.kind().is_completion() || header.check_strict().is_err() {
            return Err(Fault::Header);
        }
        if header.payload_len() != payload.len() {
            return Err(Fault::Length);
        }
        let request = waiting.header;
        if (header.requester(), header.tag()) != (request.requester(), request.tag()) {
            return Err(Fault::Transaction);
        }
        let over = if header.status() == Status::Successful && request.completion_length_dw() > 0 {
            if header.byte_count() != waiting.left || u64::from(header.lower_address()) != waiting.address & 0x7f {
                return Err(Fault::ByteCount);
            }
            let bytes = (payload.len() as u32).saturating_sub(waiting.address as u32 & 3).min(waiting.left);
            waiting.left -= bytes;
            waiting.address += u64::from(bytes);
            if bytes == 0 || waiting.left > 0 && waiting.address % 128 != 0 {
                return Err(Fault::ByteCount);
            }
            waiting.left == 0
        } else {
            true
        };
        self.sent.push(Sent { function, header: *header, payload });
        if over {
            let waiting = self.waiting.remove(&id).unwrap();
            if request.kind() == Kind::CfgWr0 && header.status() == Status::Successful {
                self.snoop(function, &request, &waiting.payload);
            }
        }
        Ok(())
    }

    /// A configuration write has been completed.
    fn snoop(&mut self, function: u16, request: &Header, payload: &[u8]) {
        let claimed = self.functions.get_mut(&function).unwrap();
        let (register, enables) = (request.register(), request.first_be());
        let value = u32::from_le_bytes(*payload.first_chunk().unwrap());
        if register < 0x28 / 4 || register == 0x30 / 4 {
            claimed.snooped.write(register, enables, value);
        }
        let offset = |field: mlx5_twin_fw_cmds::field::Field| field.get(&claimed.context).unwrap() as u16;
        let msix = offset(emulated_function::MSIX_CAP_OFFSET);
        let pcie = offset(emulated_function::PCIE_CAP_OFFSET);
        if msix != 0 && register == msix / 4 && enables & 8 != 0 {
            claimed.msix_control = (value >> 16) as u16 & 0xc000;
            let control = claimed.msix_control;
            let table = claimed.table.as_mut().unwrap();
            let unmasked: Vec<_> = table.unmasked(control >> 15 != 0, control >> 14 & 1 != 0).collect();
            for interrupt in unmasked {
                self.send_interrupt(function, interrupt.address, interrupt.data);
            }
        } else if pcie != 0 && register == pcie / 4 + 2 && enables & 2 != 0 && value & 1 << 15 != 0 {
            claimed.snooped.reset(mlx5_twin_sim::config::Reset::FunctionLevel);
            claimed.msix_control = 0;
            claimed.kept.reset();
            if let Some(table) = &mut claimed.table {
                table.reset();
            }
        }
    }

    /// What is the matter with a channel's or function's context, if anything.
    fn create(&mut self, kind: ObjectType, context: &[u8]) -> Result<u16, CommandStatus> {
        if kind == numbers::TLP_CHANNEL {
            self.channel = context.to_vec();
            self.channel.resize(tlp_channel::SIZE, 0);
            assert_eq!(tlp_channel::VERSION.get(context), Ok(1));
            return Ok(0);
        }
        let port = emulated_function::PORT.get(context).unwrap() as u16;
        if self.functions.contains_key(&port) {
            return Err(CommandStatus::BAD_RES_STATE);
        }
        self.functions.insert(port, Claimed::new(context));
        Ok(port)
    }
}
