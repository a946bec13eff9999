//! The model's machine with a hostile guest as the driver of the mlx5 function, and what must hold whatever it does.

// Fuzzers don't need all of it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex, PoisonError};

use mlx5_twin_fw_cmds::layout::mbox_out;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Counters;
use mlx5_twin_model::firmware::resources::table::Kind;
use mlx5_twin_model::firmware::resources::{
    Cq, Eq, FlowEntry, FlowGroup, FlowTable, Memic, Mkey, Object, Pd, QCounter, Qp, Resources, Rmp, Rq, Rqt,
    SchedulingElement, Sq, Srq, Stored, Tir, Tis, TransportDomain, Uar, Umem, Xrcd,
};
use mlx5_twin_model::firmware::{Balance, Firmware, State};
use mlx5_twin_model::profile::Profile;
use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::fabric::{NodeId, Ticket};
use mlx5_twin_sim::host::{Access, AccessError, Data, Found, Settings, enumerate};
use mlx5_twin_sim::memory::{Memory, MemoryError, Outside};

use crate::adversary::{
    BASE, END, Guest, PAGE, PAGES, Player, QUEUE, Step, command, commands_of_bring_up, send, start_queue,
};

const COMMAND: u16 = 1;
const POWER: u8 = 0x01;
const PCIE: u8 = 0x10;
const MSIX: u8 = 0x11;
const CMD_DBELL: u64 = 0x18;
/// Memory space, bus master.
const MEMORY_SPACE: u32 = 2;
const BUS_MASTER: u32 = 4;
/// Accesses that are out at a time: with more, some must end first.
const MAX_OPEN: usize = 64;
/// TLPs under way at a time: an answer of 1 MiB and 31 of 64 KiB in pieces of 128 bytes, and what else there is.
const MAX_IN_FLIGHT: usize = 8_192 + 31 * 512 + 1_024;
/// Events until nothing more happens.
const PATIENCE: u64 = 20_000_000;

/// The guest's memory, of which pages may be hidden from the device.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    state: Mutex<(Vec<u8>, Vec<bool>)>,
}

impl GuestMemory {
    fn new() -> GuestMemory {
        GuestMemory { state: Mutex::new((vec![0; (END - BASE) as usize], vec![true; PAGES as usize])) }
    }

    fn with<T>(&self, address: u64, len: usize, act: impl FnOnce(&mut [u8]) -> T) -> Result<T, MemoryError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, mapped) = &mut *state;
        let error = MemoryError::NotMapped { address, length: len };
        let begin = address.checked_sub(BASE).ok_or(error)?;
        let end = begin.checked_add(len as u64).filter(|end| *end <= END - BASE).ok_or(error)?;
        let pages = begin / PAGE..end.div_ceil(PAGE);
        if !pages.clone().all(|page| mapped[page as usize]) {
            return Err(error);
        }
        Ok(act(&mut bytes[begin as usize..end as usize]))
    }

    fn poke(&self, address: u64, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (address - BASE) as usize;
        state.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0[(address - BASE) as usize..][..len].to_vec()
    }

    fn map(&self, first: u64, count: u64, on: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for page in first..(first + count).min(PAGES) {
            state.1[page as usize] = on;
        }
    }
}

impl Outside for GuestMemory {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        self.with(address, out.len(), |bytes| out.copy_from_slice(bytes))
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        self.with(address, data.len(), |bytes| bytes.copy_from_slice(data))
    }

    fn has(&self, address: u64, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| self.with(address, length, |_| ()).is_ok())
    }
}

/// The machine, and the guest's side of it.
#[derive(Debug)]
pub(crate) struct Victim {
    machine: Machine,
    memory: Arc<GuestMemory>,
    function: Found,
    /// Device Control as it was after enumeration.
    control: u32,
    open: Vec<Ticket>,
    /// Pages that the firmware wants for its start.
    pages: usize,
    most_in_flight: usize,
}

impl Victim {
    /// A machine whose function is enumerated and bus master.
    pub(crate) fn new(profile: &Profile) -> Victim {
        let memory = Arc::new(GuestMemory::new());
        let outside = Memory::outside(Arc::clone(&memory) as Arc<_>);
        let mut machine = Machine::with_memory(profile, 1, outside).expect("a machine");
        let dpu = machine.simulation.host(machine.dpu);
        machine.simulation.host(machine.host);
        let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
        let found = machine.simulation.run(async move { enumerate(&dpu, settings).await });
        let found = found.expect("an end").expect("enumeration");
        let function = found.into_iter().find(|function| !function.bridge).expect("the mlx5 function");
        let pages = (profile.pages.boot + profile.pages.init) as usize;
        let mut victim = Victim { machine, memory, function, control: 0, open: Vec::new(), pages, most_in_flight: 0 };
        victim.control = victim.config(victim.control_register()).expect("an answer") & 0xffff;
        victim.repair();
        victim
    }

    fn dpu(&self) -> NodeId {
        self.machine.dpu
    }

    fn control_register(&self) -> u16 {
        self.function.capability(PCIE).expect("PCIe") / 4 + 2
    }

    fn bar(&self) -> u64 {
        self.function.bars[0].address
    }

    fn access(&mut self, access: Access) {
        match self.machine.simulation.access(self.dpu(), access) {
            Ok(ticket) => self.open.push(ticket),
            Err(error) => panic!("the guest's own access {access:?}: {error}"),
        }
        if self.open.len() > MAX_OPEN {
            self.run(4096);
        }
    }

    /// Reads a dword of configuration space, now.
    fn config(&mut self, register: u16) -> Result<u32, AccessError> {
        let access = Access::ConfigRead { target: self.function.id, register };
        let ticket = self.machine.simulation.access(self.dpu(), access)?;
        loop {
            if let Some(result) = self.machine.simulation.result(ticket) {
                return result.map(|data| data.to_u64() as u32);
            }
            assert!(self.machine.simulation.step(), "an access without end");
        }
    }

    fn set_config(&mut self, register: u16, enables: u8, value: u32) {
        self.access(Access::ConfigWrite { target: self.function.id, register, byte_enables: enables, value });
    }

    /// Lets at most so many events happen, and takes what has ended. Whether more will happen.
    fn run(&mut self, events: u64) -> bool {
        let mut more = true;
        for _ in 0..events {
            more = self.machine.simulation.step();
            if !more {
                break;
            }
        }
        let in_flight = self.machine.simulation.fabric().in_flight();
        self.most_in_flight = self.most_in_flight.max(in_flight);
        let simulation = &mut self.machine.simulation;
        self.open.retain(|ticket| simulation.result(*ticket).is_none());
        while self.machine.simulation.next_interrupt(self.machine.dpu).is_some() {}
        while self.machine.simulation.next_interrupt(self.machine.host).is_some() {}
        more
    }

    /// Lets everything happen that happens by itself.
    fn settle(&mut self) {
        let mut events = 0;
        while self.run(1 << 16) {
            events += 1 << 16;
            assert!(events < PATIENCE, "it doesn't become quiet");
        }
        assert_eq!(self.open.len(), 0, "accesses without end");
        assert_eq!(self.machine.simulation.fabric().in_flight(), 0, "TLPs stay behind");
    }

    /// Plays a step. Gives how many it was.
    pub(crate) fn play(&mut self, player: &mut Player, step: &Step) -> u64 {
        player.play(self, step)
    }

    /// What holds at any time.
    pub(crate) fn check(&mut self) {
        let in_flight = self.machine.simulation.fabric().in_flight();
        assert!(in_flight <= MAX_IN_FLIGHT, "{in_flight} TLPs are under way");
        assert!(self.open.len() <= MAX_OPEN + 1, "{} accesses are open", self.open.len());
        self.machine.with_device(|dpu| balances(dpu.firmware())).expect("the device");
    }

    fn balance(&mut self) -> Balance {
        self.machine.with_device(|dpu| dpu.firmware().resources().balance()).expect("the device")
    }

    /// A driver comes after all that: it resets the function, and finds it as new.
    pub(crate) fn recover(&mut self) {
        self.repair();
        self.reset();
        self.settle();
        assert!(self.balance().is_zero(), "after a reset: {:?}", self.balance());
        self.repair();
        for round in 0..2 {
            start_queue(self, QUEUE, 0);
            for bytes in commands_of_bring_up(self.pages) {
                self.must(&bytes);
            }
            // A firmware that wants pages wants more for an object, and asks for them by an event.
            let object = (self.pages == 0).then_some(Opcode::ALLOC_PD);
            for opcode in object.into_iter().chain([Opcode::TEARDOWN_HCA, Opcode::DISABLE_HCA]) {
                self.must(&command(opcode, 0, 0, &[]));
            }
            if self.pages > 0 {
                self.reset();
                self.settle();
                self.repair();
            }
            assert!(self.balance().is_zero(), "after teardown {round}: {:?}", self.balance());
        }
    }

    /// Sends a command that must be carried out.
    fn must(&mut self, bytes: &[u8]) {
        send(self, 0, bytes, 16);
        self.store(CMD_DBELL, &1_u32.to_be_bytes());
        self.settle();
        let entry = self.memory.peek(QUEUE, 64);
        assert_eq!(entry[63], 0, "opcode {:02x?}: the delivery status", &bytes[..2]);
        let syndrome = mbox_out::SYNDROME.get(&entry[32..48]).expect("is there");
        assert_eq!((entry[32], syndrome), (0, 0), "opcode {:02x?}", &bytes[..2]);
    }

    /// The most TLPs that were under way at a time, as far as was looked.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.most_in_flight
    }

    /// What happened to the device: commands, delivery errors, events that found their queue full, completion queues that were overrun, DMA errors.
    pub(crate) fn counters(&mut self) -> [u64; 5] {
        let counters = self.machine.with_device(Dpu::counters).expect("the device");
        let Counters { commands, delivery_errors, eq_overruns, cq_overruns, dma_errors, .. } = counters;
        [commands, delivery_errors, eq_overruns, cq_overruns, dma_errors]
    }
}

/// Counts all resources of a kind, their page list entries and what they use.
fn count<T: Stored + Kind>(resources: &Resources, counted: &mut Balance) -> usize {
    let mut alive = 0;
    for (id, owner, value) in resources.of::<T>().iter() {
        assert!(resources.knows(owner.uid()), "{id:#x} has the owner {owner:?}, who isn't there");
        counted.uses += value.held().len();
        counted.page_entries += value.page_entries();
        alive += 1;
    }
    alive
}

/// The firmware's counts are those of what it has.
fn balances(firmware: &Firmware) {
    let resources = firmware.resources();
    let balance = resources.balance();
    let mut counted = Balance {
        uctxs: balance.uctxs,
        flow_counters: balance.flow_counters,
        pages_given: balance.pages_given,
        ..Balance::default()
    };
    counted.uars = count::<Uar>(resources, &mut counted);
    counted.pds = count::<Pd>(resources, &mut counted);
    counted.transport_domains = count::<TransportDomain>(resources, &mut counted);
    counted.xrcds = count::<Xrcd>(resources, &mut counted);
    counted.umems = count::<Umem>(resources, &mut counted);
    counted.eqs = count::<Eq>(resources, &mut counted);
    counted.cqs = count::<Cq>(resources, &mut counted);
    counted.mkeys = count::<Mkey>(resources, &mut counted);
    counted.srqs = count::<Srq>(resources, &mut counted);
    counted.rmps = count::<Rmp>(resources, &mut counted);
    counted.qps = count::<Qp>(resources, &mut counted);
    counted.q_counters = count::<QCounter>(resources, &mut counted);
    counted.memics = count::<Memic>(resources, &mut counted);
    counted.rate_limits = resources.rate_limits().iter().count();
    counted.scheduling_elements = count::<SchedulingElement>(resources, &mut counted);
    counted.sqs = count::<Sq>(resources, &mut counted);
    counted.rqs = count::<Rq>(resources, &mut counted);
    counted.rqts = count::<Rqt>(resources, &mut counted);
    counted.tirs = count::<Tir>(resources, &mut counted);
    counted.tiss = count::<Tis>(resources, &mut counted);
    counted.flow_tables = count::<FlowTable>(resources, &mut counted);
    counted.flow_groups = count::<FlowGroup>(resources, &mut counted);
    counted.flow_entries = count::<FlowEntry>(resources, &mut counted);
    counted.objects = count::<Object>(resources, &mut counted);
    counted.attachments = resources.groups().iter().map(|(_, members)| members.len()).sum();
    counted.uses += counted.attachments;
    assert_eq!(balance, counted);
    if firmware.state() != State::Initialised {
        let pages_given = balance.pages_given;
        assert_eq!(balance, Balance { pages_given, ..Balance::default() }, "{}", firmware.state());
    }
}

impl Guest for Victim {
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        self.access(Access::MemoryWrite { address: self.bar() + offset, data: Data::new(bytes) });
    }

    fn load(&mut self, offset: u64, len: u8) {
        self.access(Access::MemoryRead { address: self.bar() + offset, len });
    }

    fn config_write(&mut self, register: u16, enables: u8, value: u32) {
        self.set_config(register, enables, value);
    }

    fn config_read(&mut self, register: u16) {
        self.access(Access::ConfigRead { target: self.function.id, register });
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.memory.poke(address, bytes);
    }

    fn map(&mut self, first: u64, count: u64, on: bool) {
        self.memory.map(first, count, on);
    }

    fn reset(&mut self) {
        self.set_config(self.control_register(), 3, self.control | 1 << 15);
    }

    fn bus_master(&mut self, on: bool) {
        self.set_config(COMMAND, 1, MEMORY_SPACE | if on { BUS_MASTER } else { 0 });
    }

    fn repair(&mut self) {
        self.memory.map(0, PAGES, true);
        let (power, msix) = (self.function.capability(POWER), self.function.capability(MSIX));
        if let Some(power) = power {
            self.set_config(power / 4 + 1, 1, 0);
        }
        self.set_config(self.control_register(), 3, self.control);
        self.set_config(msix.expect("MSI-X") / 4, 0xc, 1 << 31);
        self.set_config(4, 0xf, self.bar() as u32);
        self.set_config(5, 0xf, (self.bar() >> 32) as u32);
        self.bus_master(true);
    }

    fn wait(&mut self, amount: u16) {
        self.run(amount.into());
    }
}
