//! A device for tests: its registers, its command queue and its event queues, played in memory as the layouts say.
//!
//! It touches only memory that is allocated, checks all that a device may check in a command, and does what it has to do when time passes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;

use crate::backend::Error;
use crate::driver::{DmaRegion, Door, Progress, Until};

pub(super) const BAR: u64 = 64 << 20;
const UAR: u64 = 0x100;
const STEP: Duration = Duration::from_micros(1);

/// What the device does wrong, or wants.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    pub(super) revision: u32,
    /// log2 of the command queue's entries, and of an entry's bytes.
    pub(super) queue: (u32, u32),
    /// How often `initializing` reads as 1.
    pub(super) initializing: u32,
    pub(super) pages: [u32; 2],
    /// Never answers this command.
    pub(super) silent: Option<Opcode>,
    /// Answers this command without an event.
    pub(super) eventless: Option<Opcode>,
    /// The delivery status of this command.
    pub(super) undelivered: Option<(Opcode, u8)>,
    /// The command status of this command.
    pub(super) refuse: Option<(Opcode, u8)>,
    /// Memory for DMA that there is.
    pub(super) memory: usize,
    /// MANAGE_PAGES gives back addresses that it was never given.
    pub(super) invents_page: bool,
    /// Pages are asked for by events.
    pub(super) page_requests: bool,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            revision: 5,
            queue: (5, 6),
            initializing: 3,
            pages: [0, 0],
            silent: None,
            eventless: None,
            undelivered: None,
            refuse: None,
            memory: 64 << 20,
            invents_page: false,
            page_requests: false,
        }
    }
}

#[derive(Debug)]
struct Queue {
    iova: Vec<u64>,
    log_size: u32,
    vector: u32,
    events: [u64; 4],
    producer: u32,
    armed: bool,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) behaviour: Behaviour,
    now: Duration,
    memory: BTreeMap<u64, Vec<u8>>,
    next_iova: u64,
    queue: u64,
    rung: VecDeque<usize>,
    interrupts: VecDeque<u32>,
    activity: u64,
    eqs: BTreeMap<u8, Queue>,
    /// Opcode, uid and op_mod of every command.
    pub(super) log: Vec<(Opcode, u16, u16)>,
    pub(super) lent: BTreeSet<u64>,
    pub(super) stores: Vec<(u64, Vec<u8>)>,
    next_id: u32,
    pub(super) resets: u32,
    /// Vectors that may interrupt.
    pub(super) enabled: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) struct FakeDoor(Mutex<Fake>);

fn get(field: Field, bytes: &[u8]) -> u64 {
    field.get(bytes).expect("long enough")
}

impl Fake {
    fn read(&self, iova: u64, bytes: &mut [u8]) {
        let (start, memory) = self.memory.range(..=iova).next_back().expect("the device reads allocated memory");
        let offset = (iova - start) as usize;
        bytes.copy_from_slice(memory.get(offset..offset + bytes.len()).expect("the device reads allocated memory"));
    }

    fn write(&mut self, iova: u64, bytes: &[u8]) {
        let (start, memory) = self.memory.range_mut(..=iova).next_back().expect("the device writes allocated memory");
        let offset = (iova - start) as usize;
        let place = memory.get_mut(offset..offset + bytes.len()).expect("the device writes allocated memory");
        place.copy_from_slice(bytes);
    }

    /// Reads a command from its entry and mailboxes: its input, where its output goes, and the output's length. `Err`: the delivery status.
    fn fetch(&self, entry: &[u8]) -> Result<(Vec<u8>, Vec<u64>, usize), u8> {
        let token = get(cmd_layout::TOKEN, entry);
        let sum = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum ^ byte);
        if get(cmd_layout::TYPE, entry) != 7 {
            return Err(0x10);
        }
        if sum(entry) != 0xff {
            return Err(1);
        }
        let (inlen, outlen) = (get(cmd_layout::INLEN, entry) as usize, get(cmd_layout::OUTLEN, entry) as usize);
        let mut input = entry[16..32].to_vec();
        let mut outputs = Vec::new();
        let chains = [(cmd_layout::IN_PTR, inlen, 5), (cmd_layout::OUT_PTR, outlen, 4)];
        for (chain, (pointer, len, misaligned)) in chains.into_iter().enumerate() {
            let mut next = get(pointer, entry);
            for number in 0..len.saturating_sub(16).div_ceil(512) {
                if next == 0 || !next.is_multiple_of(1024) {
                    return Err(misaligned);
                }
                let mut block = [0; cmd_prot_block::SIZE];
                self.read(next, &mut block);
                if get(cmd_prot_block::TOKEN, &block) != token || token == 0 {
                    return Err(2);
                }
                if get(cmd_prot_block::BLOCK_NUM, &block) != number as u64 {
                    return Err(3);
                }
                if sum(&block) != 0xff || sum(&block[512..575]) != 0xff {
                    return Err(1);
                }
                if chain == 0 {
                    input.extend_from_slice(&block[..512]);
                } else {
                    outputs.push(next);
                }
                next = get(cmd_prot_block::NEXT, &block);
            }
            if next != 0 {
                return Err(3);
            }
        }
        input.truncate(inlen);
        Ok((input, outputs, outlen))
    }

    /// Carries out the command of a slot.
    fn command(&mut self, slot: usize) {
        let address = self.queue + (slot as u64) * (1 << self.behaviour.queue.1);
        let mut entry = [0; cmd_layout::SIZE];
        self.read(address, &mut entry);
        assert_eq!(entry[0x3f], 1, "the doorbell was rung for an entry that isn't the device's");
        // Commands whose doorbell was rung before there was an event queue for them complete without an event.
        let by_event = self.eqs.iter().find(|(_, eq)| eq.events[0] >> 0x0a & 1 == 1).map(|(number, _)| *number);
        let mut delivery = 0;
        let mut opcode = Opcode(0);
        match self.fetch(&entry) {
            Err(status) => delivery = status,
            Ok((input, outputs, outlen)) => {
                opcode = Opcode(get(mbox_in::OPCODE, &input) as u16);
                if self.behaviour.silent == Some(opcode) {
                    return;
                }
                let mut output = vec![0; outlen];
                match self.behaviour.undelivered {
                    Some((refused, status)) if refused == opcode => delivery = status,
                    _ => self.execute(opcode, &input, &mut output),
                }
                let inline = outlen.min(16);
                self.write(address + 0x20, &output[..inline]);
                for (part, at) in output[inline..].chunks(512).zip(outputs) {
                    self.write(at, part);
                }
            }
        }
        self.write(address + 0x3f, &[delivery << 1]);
        if let Some(eqn) = by_event.filter(|eqn| self.eqs.contains_key(eqn) && self.behaviour.eventless != Some(opcode))
        {
            self.post(eqn, EventType::CMD, &(1_u32 << slot).to_be_bytes());
        }
    }

    /// Writes an event queue entry, and interrupts if the queue is armed.
    fn post(&mut self, eqn: u8, event: EventType, data: &[u8]) {
        let eq = self.eqs.get_mut(&eqn).expect("is there");
        let index = eq.producer & ((1 << eq.log_size) - 1);
        let owner = (eq.producer >> eq.log_size & 1) as u8;
        let at = eq.iova[index as usize / 64] + u64::from(index % 64) * 64;
        eq.producer += 1;
        let fire = std::mem::take(&mut eq.armed).then_some(eq.vector);
        let mut entry = [0; eqe::SIZE];
        entry[1] = event.0;
        entry[0x20..0x20 + data.len()].copy_from_slice(data);
        entry[0x3f] = owner;
        self.write(at, &entry);
        if let Some(vector) = fire.filter(|vector| self.enabled.contains(vector)) {
            self.interrupts.push_back(vector);
            self.activity += 1;
        }
    }

    /// Sends an event to every queue that has its type in its mask.
    pub(super) fn event(&mut self, event: EventType, data: &[u8]) {
        let wants = |eq: &Queue| eq.events[usize::from(event.0 / 64)] >> (event.0 % 64) & 1 == 1;
        let eqs: Vec<u8> = self.eqs.iter().filter(|(_, eq)| wants(eq)).map(|(number, _)| *number).collect();
        for eqn in eqs {
            self.post(eqn, event, data);
        }
    }

    fn execute(&mut self, opcode: Opcode, input: &[u8], output: &mut [u8]) {
        let (uid, op_mod) = (get(mbox_in::UID, input) as u16, get(mbox_in::OP_MOD, input) as u16);
        self.log.push((opcode, uid, op_mod));
        if let Some((_, status)) = self.behaviour.refuse.filter(|(refused, _)| *refused == opcode) {
            output[0] = status;
            output[4..8].copy_from_slice(&[0xba, 0xd0, 0, 1]);
            return;
        }
        let mut set = |field: Field, value: u64| field.set(output, value).expect("long enough");
        self.next_id += 1;
        let id = u64::from(self.next_id);
        match opcode {
            Opcode::QUERY_ISSI => set(query_issi_out::SUPPORTED_ISSI_DW0, 3),
            Opcode::QUERY_PAGES => {
                set(query_pages_out::NUM_PAGES, self.behaviour.pages[usize::from(op_mod) - 1].into());
            }
            Opcode::MANAGE_PAGES => {
                let count = get(manage_pages_in::INPUT_NUM_ENTRIES, input) as usize;
                if op_mod == 1 {
                    self.lent.extend((0..count).map(|n| manage_pages_in::PAS.get(input, n).expect("long enough")));
                } else if op_mod == 2 {
                    let back: Vec<u64> = self.lent.iter().copied().take(count.min(7)).collect();
                    set(manage_pages_out::OUTPUT_NUM_ENTRIES, back.len() as u64);
                    for (index, page) in back.into_iter().enumerate() {
                        self.lent.remove(&page);
                        let page = page + u64::from(self.behaviour.invents_page);
                        manage_pages_out::PAS.set(output, index, page).expect("long enough");
                    }
                }
            }
            Opcode::QUERY_HCA_CAP => {
                let page = &mut output[16..];
                let mut set = |field: Field, value: u64| field.set(page, value).expect("long enough");
                match CapType(op_mod >> 1) {
                    CapType::GENERAL => {
                        set(cmd_hca_cap::LOG_MAX_EQ_SZ, 10);
                        set(cmd_hca_cap::LOG_MAX_UCTX, 4);
                        set(cmd_hca_cap::EVENT_CAP, 1);
                        set(cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER, 1);
                        set(cmd_hca_cap::PAGE_REQUEST_DISABLE, u64::from(!self.behaviour.page_requests));
                    }
                    CapType::DEV_EVENT => {
                        device_event_cap::USER_AFFILIATED_EVENTS.set(page, 0, 1 << 0x27).expect("long enough");
                    }
                    CapType::TLP_EMULATION => {
                        set(tlp_dev_emu_capabilities::TLP_RSP_GW_NUM_PAGES, 2);
                        set(tlp_dev_emu_capabilities::TLP_RSP_GW_PAGES_BAR_OFFSET, 32 << 20);
                    }
                    _ => {}
                }
            }
            Opcode::ALLOC_UAR => set(alloc_uar_out::UAR, UAR + id),
            Opcode::CREATE_EQ => {
                const EQC: u32 = create_eq_in::EQ_CONTEXT_ENTRY.bits();
                let log_size = get(eqc::LOG_EQ_SIZE.within(EQC), input) as u32;
                let pages = (64_usize << log_size).div_ceil(4096);
                let eq = Queue {
                    iova: (0..pages).map(|n| create_eq_in::PAS.get(input, n).expect("long enough")).collect(),
                    log_size,
                    vector: get(eqc::INTR.within(EQC), input) as u32,
                    events: std::array::from_fn(|n| create_eq_in::EVENT_BITMASK.get(input, n).expect("long enough")),
                    producer: 0,
                    armed: false,
                };
                set(create_eq_out::EQ_NUMBER, id);
                self.eqs.insert(id as u8, eq);
            }
            Opcode::DESTROY_EQ => {
                drop(self.eqs.remove(&(get(destroy_eq_in::EQ_NUMBER, input) as u8)).expect("is there"));
            }
            Opcode::CREATE_UCTX => set(create_uctx_out::UID, id),
            Opcode::CREATE_GENERAL_OBJECT => set(general_obj_out_cmd_hdr::OBJ_ID, id),
            Opcode::CREATE_UMEM => set(create_umem_out::UMEM_ID, id),
            Opcode::ALLOC_PD => set(alloc_pd_out::PD, id),
            _ => {}
        }
    }

    /// Lets the device do something. Whether there was anything to do.
    fn work(&mut self) -> bool {
        self.now += STEP;
        let Some(slot) = self.rung.pop_front() else { return false };
        self.command(slot);
        true
    }

    fn eq_doorbell(&mut self, value: u32, arm: bool) {
        let eq = self.eqs.get_mut(&((value >> 24) as u8)).expect("the doorbell names an event queue");
        if arm {
            // What came since is told at once.
            let news = eq.producer & 0xff_ffff != value & 0xff_ffff;
            eq.armed = !news;
            if news {
                let vector = eq.vector;
                self.interrupts.push_back(vector);
                self.activity += 1;
            }
        }
    }
}

impl FakeDoor {
    pub(super) fn new(behaviour: Behaviour) -> Arc<FakeDoor> {
        Arc::new(FakeDoor(Mutex::new(Fake {
            behaviour,
            now: Duration::ZERO,
            memory: BTreeMap::new(),
            next_iova: 0x1_0000_0000,
            queue: 0,
            rung: VecDeque::new(),
            interrupts: VecDeque::new(),
            activity: 0,
            eqs: BTreeMap::new(),
            log: Vec::new(),
            lent: BTreeSet::new(),
            stores: Vec::new(),
            next_id: 0,
            resets: 0,
            enabled: BTreeSet::new(),
        })))
    }

    pub(super) fn fake(&self) -> MutexGuard<'_, Fake> {
        self.0.lock().expect("nobody panics")
    }

    pub(super) fn allocated(&self) -> usize {
        self.fake().memory.values().map(Vec::len).sum()
    }

    /// What is left at the end: bytes of memory, pages that the device has, enabled vectors; and how often the device was reset.
    pub(super) fn left(&self) -> (usize, usize, usize, u32) {
        let allocated = self.allocated();
        let fake = self.fake();
        (allocated, fake.lent.len(), fake.enabled.len(), fake.resets)
    }
}

impl Door for FakeDoor {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn bar_len(&self) -> u64 {
        BAR
    }

    fn read32(&self, offset: u64) -> Result<[u8; 4], Error> {
        let mut fake = self.fake();
        let (log_size, log_stride) = fake.behaviour.queue;
        let value = match offset {
            0x004 => fake.behaviour.revision << 16 | 1014,
            0x014 => fake.queue as u32 | log_size << 4 | log_stride,
            0x1fc => {
                fake.behaviour.initializing = fake.behaviour.initializing.saturating_sub(1);
                u32::from(fake.behaviour.initializing > 0) << 31
            }
            _ => 0,
        };
        Ok(value.to_be_bytes())
    }

    fn write32(&self, offset: u64, bytes: [u8; 4]) -> Result<(), Error> {
        let mut fake = self.fake();
        let value = u32::from_be_bytes(bytes);
        match offset {
            0x010 => fake.queue = u64::from(value) << 32,
            0x014 => fake.queue |= u64::from(value & 0xffff_f000),
            0x018 => fake.rung.extend((0..32).filter(|slot| value >> slot & 1 == 1)),
            _ if (0x10_0000..0x20_0000).contains(&offset) && [0x40, 0x48].contains(&(offset & 0xfff)) => {
                fake.eq_doorbell(value, offset & 0xfff == 0x40);
            }
            _ => fake.stores.push((offset, bytes.to_vec())),
        }
        Ok(())
    }

    fn write64(&self, offset: u64, bytes: [u8; 8]) -> Result<(), Error> {
        self.fake().stores.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    fn alloc_dma(&self, len: usize) -> Result<DmaRegion, Error> {
        let len = len.next_multiple_of(4096);
        if self.allocated() + len > self.fake().behaviour.memory {
            return Err(Error::NoMemory { len });
        }
        let mut fake = self.fake();
        let iova = fake.next_iova;
        // A hole, so that nobody runs from one allocation into the next.
        fake.next_iova += len as u64 + 4096;
        fake.memory.insert(iova, vec![0; len]);
        Ok(DmaRegion { iova, len })
    }

    fn free_dma(&self, region: DmaRegion) {
        let mut fake = self.fake();
        assert!(fake.memory.remove(&region.iova).is_some(), "memory is given back once");
        assert!(fake.resets > 0 || !fake.lent.contains(&region.iova), "the device still has this page");
    }

    fn dma_read(&self, iova: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.fake().read(iova, bytes);
        Ok(())
    }

    fn dma_write(&self, iova: u64, bytes: &[u8]) -> Result<(), Error> {
        self.fake().write(iova, bytes);
        Ok(())
    }

    fn vectors(&self) -> u32 {
        4
    }

    fn enable(&self) -> Result<(), Error> {
        Ok(())
    }

    fn enable_vector(&self, vector: u32) -> Result<(), Error> {
        self.fake().enabled.insert(vector);
        Ok(())
    }

    fn disable(&self) -> Result<(), Error> {
        self.fake().enabled.clear();
        Ok(())
    }

    fn next_interrupt(&self) -> Option<u32> {
        self.fake().interrupts.pop_front()
    }

    fn activity(&self) -> u64 {
        self.fake().activity
    }

    fn advance(&self, seen: u64, until: Until) -> Result<Progress, Error> {
        let mut fake = self.fake();
        loop {
            if fake.activity > seen {
                return Ok(Progress::Happened);
            }
            if !fake.work() {
                return Ok(match until {
                    Until::Forever => Progress::Silent,
                    Until::Deadline(at) | Until::Watchdog(at) => {
                        fake.now = fake.now.max(at);
                        Progress::TimedOut
                    }
                });
            }
        }
    }

    fn nudge(&self) {
        self.fake().activity += 1;
    }

    fn pause(&self) -> Result<bool, Error> {
        let mut fake = self.fake();
        if !fake.work() {
            // Nothing under way: time flies.
            fake.now += Duration::from_secs(1);
        }
        Ok(true)
    }

    fn now(&self) -> Duration {
        self.fake().now
    }

    fn reset(&self) -> Result<(), Error> {
        let mut fake = self.fake();
        fake.resets += 1;
        fake.rung.clear();
        fake.eqs.clear();
        fake.lent.clear();
        fake.enabled.clear();
        Ok(())
    }

    fn page_size(&self) -> usize {
        4096
    }
}
