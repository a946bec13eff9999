//! The simulation as software outside sees it: accesses go in, and interrupts come out.
//!
//! Each access is stamped once, with the virtual time at which it enters; from there on all that happens follows from the stamps. A capture has
//! them: what the root complex sends is on its link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mlx5_twin_model::{Dpu, Machine};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::NodeId;
use mlx5_twin_sim::host::{Access, AccessError, Data, Simulation};
use rustix::fs::OFlags;

use super::card::{Card, CardEvent, Removal, Step};
use super::clock::Clock;
use super::host::HostRun;
use super::schedule::{Fault, Schedule};

/// Events that are carried out before others may have their turn: some tens of microseconds.
const CHUNK: usize = 256;

/// What Linux calls an event descriptor.
const EVENT_DESCRIPTOR: &str = "anon_inode:[eventfd]";

/// What an interrupt is told to.
#[derive(Debug)]
pub(super) struct Vector {
    /// An event descriptor (eventfd).
    event: File,
}

impl Vector {
    /// Takes an event descriptor. It's made one that never waits: a client that lets its counter run full holds up nobody.
    ///
    /// # Errors
    /// What isn't an event descriptor is refused: writing to it could wait, or do harm.
    pub(super) fn new(event: File) -> io::Result<Vector> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", event.as_raw_fd()))?;
        if link.as_os_str() != EVENT_DESCRIPTOR {
            let what = format!("a vector's descriptor is {}, not {EVENT_DESCRIPTOR}", link.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let flags = rustix::fs::fcntl_getfl(&event)?;
        if !flags.contains(OFlags::NONBLOCK) {
            rustix::fs::fcntl_setfl(&event, flags | OFlags::NONBLOCK)?;
        }
        Ok(Vector { event })
    }
}

/// What a client has asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Reads of BAR 0 and configuration space.
    pub reads: u64,
    /// Writes of them.
    pub writes: u64,
    /// Ranges of memory that it mapped, and that it unmapped.
    pub maps: u64,
    /// Requests to unmap ranges.
    pub unmaps: u64,
    /// Interrupts that were signalled to it.
    pub interrupts: u64,
}

/// The machine, and what's outside of it.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) simulation: Simulation,
    dpu: NodeId,
    /// The root complexes that the card is plugged into: the DPU's cores and the host.
    roots: [NodeId; 2],
    device: NodeId,
    clock: Clock,
    /// By number: the vectors that the client listens to.
    pub(super) vectors: BTreeMap<u32, Vector>,
    pub(super) traffic: Traffic,
    pub(super) host: Option<HostRun>,
    /// Faults that are to come.
    schedule: Schedule,
    card: Card,
    /// Who is told what happens to the card.
    slot: Option<Sender<CardEvent>>,
    /// How often the card was removed.
    removals: u64,
}

impl Engine {
    /// An engine for a machine whose clock starts now.
    pub(super) fn new(machine: Machine, host: Option<HostRun>, schedule: Schedule) -> Engine {
        let Machine { mut simulation, dpu, device, host: other, .. } = machine;
        // From now on the root complex's interrupts are kept.
        simulation.host(dpu);
        let clock = Clock::new(simulation.fabric().now());
        Engine {
            simulation,
            dpu,
            roots: [dpu, other],
            device,
            clock,
            vectors: BTreeMap::new(),
            traffic: Traffic::default(),
            host,
            schedule,
            card: Card::default(),
            slot: None,
            removals: 0,
        }
    }

    /// Whether there's a host program that has ended and that software holds nothing of.
    pub(super) fn host_ended(&self) -> bool {
        self.host.as_ref().is_some_and(HostRun::is_over)
    }

    /// Looks at the device, or makes a fault of it.
    pub(super) fn with_device<T>(&mut self, access: impl FnOnce(&mut Dpu) -> T) -> Option<T> {
        self.simulation.fabric_mut().device(self.device, |dpu: &mut Dpu, _| access(dpu))
    }

    /// Makes an access at the virtual time that it is now, and lets the simulation go on until its result is there.
    ///
    /// # Errors
    /// What the bus answers.
    pub(super) fn access(&mut self, access: Access) -> Result<Data, AccessError> {
        self.advance();
        let ticket = self.simulation.access(self.dpu, access)?;
        loop {
            if let Some(result) = self.simulation.result(ticket) {
                self.signal();
                return result;
            }
            if !self.step() {
                // An access to nothing has its result at once, and every other has a time limit.
                return Err(AccessError::Timeout(0));
            }
        }
    }

    /// Lets virtual time follow the wall's, as far as nothing happens before it, and makes the faults that are due. While the card is away they wait.
    fn advance(&mut self) {
        let now = self.simulation.advance_to(self.clock.due());
        while let Some(fault) = self.card.is_in().then(|| self.schedule.due(now)).flatten() {
            tracing::info!(at = %now, ?fault, "a fault");
            match fault {
                Fault::Device(injection) => {
                    self.with_device(|dpu| dpu.inject(injection));
                }
                Fault::Removal(removal) => self.remove_card(now, removal),
            }
        }
    }

    // --- The card ---

    fn remove_card(&mut self, now: Time, removal: Removal) {
        self.removals += 1;
        self.card = Card::removed(now, removal);
        self.power(false);
    }

    /// Without power nothing that the card has survives, and its links are down.
    fn power(&mut self, on: bool) {
        for root in self.roots {
            self.simulation.fabric_mut().set_perst(root, !on);
        }
    }

    /// Does what is due about the card. `true`: it may be there again, and is to be asked whether it answers.
    pub(super) fn see_to_card(&mut self) -> bool {
        let now = self.now();
        while let Some(step) = self.card.due(now) {
            tracing::info!(at = %now, ?step, "the card");
            match step {
                Step::Notice => self.tell_slot(CardEvent::Gone),
                Step::Power => self.power(true),
                Step::Ask => return true,
            }
        }
        false
    }

    /// Whether the card answers, which was asked.
    pub(super) fn card_answers(&mut self, answers: bool) {
        let now = self.now();
        self.card.answers(now, answers);
        if answers {
            self.tell_slot(CardEvent::Back);
        }
    }

    /// Whether the card is there.
    pub(super) fn has_card(&self) -> bool {
        self.card.is_in()
    }

    /// From now on this one is told what happens to the card.
    pub(super) fn tell_of_card(&mut self, slot: Sender<CardEvent>) {
        self.slot = Some(slot);
    }

    fn tell_slot(&self, event: CardEvent) {
        // Whoever listened may be gone.
        let _ = self.slot.as_ref().map(|slot| slot.send(event));
    }

    /// How often the card was removed.
    pub(super) fn removals(&self) -> u64 {
        self.removals
    }

    fn step(&mut self) -> bool {
        let more = self.simulation.step();
        if let Some(host) = &mut self.host {
            host.follow(&mut self.simulation, self.device);
        }
        more
    }

    /// Carries out what is due, but not all of it if that's much. When to come again: `None` if nothing will happen by itself.
    pub(super) fn catch_up(&mut self) -> Option<Duration> {
        let next = self.run();
        let watchdog = self.host.as_mut().and_then(|host| host.watch(&mut self.simulation, self.device));
        let event = next.map(|next| self.clock.until(next));
        if event == Some(Duration::ZERO) {
            self.clock.lag(self.simulation.fabric().now());
        } else {
            self.advance();
        }
        let fault = if self.card.is_in() { self.schedule.next_time() } else { self.card.next_time() };
        let fault = fault.map(|at| self.clock.until(at));
        event.into_iter().chain(watchdog).chain(fault).min()
    }

    /// Carries out what is due, but not all of it if that's much. Gives the time of what happens next.
    pub(super) fn run(&mut self) -> Option<Time> {
        let horizon = self.clock.horizon();
        let mut next = self.simulation.next_time();
        for _ in 0..CHUNK {
            if next.is_none_or(|next| next > horizon) {
                break;
            }
            self.step();
            next = self.simulation.next_time();
        }
        self.signal();
        next
    }

    /// Signals the interrupts that have come.
    fn signal(&mut self) {
        while let Some(vector) = self.simulation.next_interrupt(self.dpu) {
            self.tell(vector);
        }
    }

    fn tell(&mut self, vector: u32) {
        let Some(listener) = self.vectors.get(&vector) else { return };
        self.traffic.interrupts += 1;
        if let Err(error) = (&listener.event).write(&1_u64.to_ne_bytes()) {
            tracing::debug!(vector, %error, "an interrupt can't be signalled");
        }
    }

    /// Signals vectors that the device didn't raise, as a client may ask for to try them.
    pub(super) fn trigger(&mut self, vectors: Range<u32>) {
        for vector in vectors {
            self.tell(vector);
        }
    }

    /// How many faults are still to come.
    pub(super) fn scheduled(&self) -> usize {
        self.schedule.len()
    }

    /// The virtual time.
    pub(super) fn now(&self) -> Time {
        self.simulation.fabric().now()
    }
}
