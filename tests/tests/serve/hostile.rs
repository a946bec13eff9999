//! A hostile guest and a hostile client: neither harms the server, and the next one finds the device as new.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::Client;
use vmm_sys_util::eventfd::EventFd;

use crate::adversary::{BASE, END, Guest, PAGE, PAGES, Player, Script, noise};
use crate::door::{BAR_ADDRESS, BAR0, BUS_MASTER, COMMAND, MEMORY_SPACE};
use crate::messages::{Files, Messages, Villain, greeting};
use crate::{Rig, start};

/// What the pages around the guest's memory are full of.
const GUARD: u8 = 0xa5;
const GUARD_PAGES: u64 = 4;
/// Pages that are mapped and unmapped together.
const CHUNK: u64 = 8;

/// A guest's hypervisor: it maps a file whose first and last pages it keeps to itself.
struct Hypervisor {
    client: Client,
    file: File,
    mapped: Vec<bool>,
    vectors: Vec<EventFd>,
}

impl Hypervisor {
    fn new(rig: &Rig) -> Hypervisor {
        let client = Client::new(&rig.socket()).expect("listens");
        let file = tempfile::tempfile().expect("a file");
        let guard = vec![GUARD; (GUARD_PAGES * PAGE) as usize];
        file.write_all_at(&guard, 0).expect("room");
        file.write_all_at(&guard, GUARD_PAGES * PAGE + (END - BASE)).expect("room");
        let mapped = vec![false; (PAGES / CHUNK) as usize];
        let mut hypervisor = Hypervisor { client, file, mapped, vectors: Vec::new() };
        for vector in 0..4 {
            let event = EventFd::new(0).expect("an event");
            let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
            hypervisor
                .client
                .set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, vector, 1, &[event.as_raw_fd()])
                .expect("answers");
            hypervisor.vectors.push(event);
        }
        hypervisor.repair();
        hypervisor
    }

    fn configure(&mut self, offset: u64, bytes: &[u8]) {
        self.client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes).expect("answers");
    }

    /// The pages around the guest's memory are as they were.
    fn check_guards(&self) {
        let mut guard = vec![0; (GUARD_PAGES * PAGE) as usize];
        for at in [0, GUARD_PAGES * PAGE + (END - BASE)] {
            self.file.read_exact_at(&mut guard, at).expect("is there");
            assert!(guard.iter().all(|&byte| byte == GUARD), "memory that wasn't mapped was written to");
        }
    }

    /// What isn't mapped is written to by nobody: gives a copy of it.
    fn unmapped(&self) -> Vec<(u64, Vec<u8>)> {
        let chunks = (0..).zip(&self.mapped).filter(|(_, mapped)| !**mapped);
        let copy = |chunk: u64| {
            let mut bytes = vec![0; (CHUNK * PAGE) as usize];
            let at = (GUARD_PAGES + chunk * CHUNK) * PAGE;
            self.file.read_exact_at(&mut bytes, at).expect("is there");
            (chunk, bytes)
        };
        chunks.map(|(chunk, _)| copy(chunk)).collect()
    }
}

impl Guest for Hypervisor {
    fn store(&mut self, offset: u64, bytes: &[u8]) {
        self.client.region_write(VFIO_PCI_BAR0_REGION_INDEX, offset, bytes).expect("answers");
    }

    fn load(&mut self, offset: u64, len: u8) {
        let mut bytes = vec![0; len.into()];
        self.client.region_read(VFIO_PCI_BAR0_REGION_INDEX, offset, &mut bytes).expect("answers");
    }

    fn config_write(&mut self, register: u16, enables: u8, value: u32) {
        for byte in (0..4).filter(|byte| enables >> byte & 1 == 1) {
            self.configure(u64::from(register) * 4 + byte, &[value.to_le_bytes()[byte as usize]]);
        }
    }

    fn config_read(&mut self, register: u16) {
        let offset = u64::from(register) * 4;
        self.client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, offset, &mut [0; 4]).expect("answers");
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, GUARD_PAGES * PAGE + (address - BASE)).expect("room");
    }

    fn map(&mut self, first: u64, count: u64, on: bool) {
        let last = (first + count).min(PAGES);
        for chunk in first.div_ceil(CHUNK)..last / CHUNK {
            if std::mem::replace(&mut self.mapped[chunk as usize], on) == on {
                continue;
            }
            let (inside, size) = (chunk * CHUNK * PAGE, CHUNK * PAGE);
            if on {
                let file = self.file.as_raw_fd();
                self.client.dma_map(GUARD_PAGES * PAGE + inside, BASE + inside, size, file).expect("answers");
            } else {
                self.client.dma_unmap(BASE + inside, size).expect("answers");
            }
        }
    }

    fn reset(&mut self) {
        self.client.reset().expect("answers");
    }

    fn bus_master(&mut self, on: bool) {
        let command = MEMORY_SPACE | if on { BUS_MASTER } else { 0 };
        self.configure(COMMAND, &command.to_le_bytes());
    }

    fn repair(&mut self) {
        self.map(0, PAGES, true);
        self.configure(BAR0, &BAR_ADDRESS.to_le_bytes());
        self.bus_master(true);
    }

    fn wait(&mut self, amount: u16) {
        std::thread::sleep(Duration::from_micros(u64::from(amount) / 16));
    }
}

fn seed() -> u64 {
    std::env::var("HOSTILE_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

/// A driver's start and end on the device, by a client of its own.
fn a_driver_comes(rig: &Rig) {
    let door = rig.connect();
    let driver = start(&door);
    drop(driver.open().unwrap().register_umem(4096).unwrap());
    driver.shut_down().unwrap();
    door.hang_up();
}

#[test]
fn a_hostile_guest() {
    let rig = Rig::new(None);
    let mut clients = 0;
    let begun = Instant::now();
    let mut steps = 0;
    for round in 0..6 {
        println!("HOSTILE_SEED={} round {round}", seed());
        let mut player = Player::new(&rig.profile.profile);
        let mut hypervisor = Hypervisor::new(&rig);
        let script = noise(seed() << 8 | round, 12_000);
        for step in Script::new(&script) {
            let hidden = hypervisor.unmapped();
            let mapped = hypervisor.mapped.clone();
            steps += player.play(&mut hypervisor, &step);
            if mapped == hypervisor.mapped && !hidden.is_empty() && !touches_memory(&step) {
                assert!(hidden == hypervisor.unmapped(), "{step:?}: memory that wasn't mapped was written to");
            }
        }
        hypervisor.check_guards();
        // The same client, after a reset, is as good as a new one; so is the next.
        hypervisor.client.reset().unwrap();
        assert!(rig.server.report().balance.is_empty());
        hypervisor.client.shutdown().unwrap();
        clients += 1;
        rig.gone(clients);
        a_driver_comes(&rig);
        clients += 1;
        rig.gone(clients);
    }
    println!("{steps} steps in {:?}", begun.elapsed());
    assert!(rig.finish().balance.is_empty());
}

/// Whether the guest itself writes its memory in this step.
fn touches_memory(step: &crate::adversary::Step) -> bool {
    use crate::adversary::Step;

    let writes = matches!(step, Step::Command { .. } | Step::Make { .. } | Step::Again { .. } | Step::Entry { .. });
    writes || matches!(step, Step::Chain { .. } | Step::Poke { .. } | Step::Send { .. } | Step::BringUp)
}

#[test]
fn a_hostile_client() {
    let rig = Rig::new(None);
    let files = Files::new();
    let (mut clients, mut messages) = (0, 0);
    for round in 0..150 {
        println!("HOSTILE_SEED={} round {round}", seed());
        let mut villain = Villain::new(UnixStream::connect(rig.socket()).unwrap());
        let bytes = noise(seed() << 16 | round, 4_000);
        villain.send(&files, &greeting());
        for message in Messages::new(&bytes) {
            messages += 1;
            if !villain.send(&files, &message) {
                break;
            }
        }
        villain.finish();
        clients += 1;
        rig.gone(clients);
        if round % 50 == 49 {
            a_driver_comes(&rig);
            clients += 1;
            rig.gone(clients);
        }
    }
    println!("{messages} messages");
    assert!(rig.finish().balance.is_empty());
}

/// A client makes its memory shorter than what it shares: the device can't reach what's gone, and nobody dies of it.
#[test]
fn memory_that_is_taken_away_from_behind() {
    let rig = Rig::new(None);
    let mut hypervisor = Hypervisor::new(&rig);
    let mut player = Player::new(&rig.profile.profile);
    let script = noise(5, 3_000);
    for (number, step) in Script::new(&script).enumerate() {
        hypervisor.file.set_len(if number % 3 == 2 { GUARD_PAGES * PAGE } else { 1 << 20 }).unwrap();
        // What the guest writes makes the file longer again.
        player.play(&mut hypervisor, &step);
    }
    hypervisor.client.shutdown().unwrap();
    rig.gone(1);
    a_driver_comes(&rig);
    rig.gone(2);
    rig.finish();
}

/// An event descriptor whose counter is full, and one that isn't one: neither holds up the server.
#[test]
fn events_that_nobody_takes() {
    let rig = Rig::new(None);
    let mut client = Client::new(&rig.socket()).unwrap();
    let (full, (pipe, _other)) = (EventFd::new(0).unwrap(), UnixStream::pair().unwrap());
    full.write(u64::MAX - 1).unwrap();
    let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, 0, 1, &[full.as_raw_fd()]).unwrap();
    client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, 1, 1, &[pipe.as_raw_fd()]).unwrap();
    let begun = Instant::now();
    for _ in 0..1_000 {
        // VFIO_IRQ_SET_DATA_NONE: as if the device had raised both.
        client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, 1 | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 2, &[]).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    client.shutdown().unwrap();
    rig.gone(1);
    a_driver_comes(&rig);
    rig.gone(2);
    rig.finish();
}
