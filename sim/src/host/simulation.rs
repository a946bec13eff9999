//! The fabric and the host programs on it, moved on event by event.

use std::collections::btree_map::{Entry, OccupiedEntry};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::program::{Answer, Reply, Request};
use super::{Access, AccessError, Data, Host};
use crate::fabric::{Fabric, NodeId, Ticket};
use crate::memory::Memory;
use crate::time::Time;

/// Vectors of a root complex that have pending interrupts (ours): a device may send any 32 bits as one.
const MAX_PENDING: usize = 1 << 16;

/// The numbers of programs that are to be polled, in the order in which they became ready.
type Ready = Arc<Mutex<VecDeque<u32>>>;

#[derive(Debug)]
struct ProgramWaker {
    program: u32,
    ready: Ready,
}

impl Wake for ProgramWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.program);
    }
}

type ProgramFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Program {
    future: ProgramFuture,
    waker: Waker,
}

/// A root complex on which programs run.
#[derive(Debug)]
struct Cores {
    root: NodeId,
    host: Host,
    /// Interrupts that came and that nobody waited for, by vector: none of them 0, and at most [`MAX_PENDING`] vectors.
    pending: BTreeMap<u32, u64>,
    /// Requests that wait for an interrupt, by vector, the first one first.
    waiting: BTreeMap<u32, VecDeque<u32>>,
}

/// Takes one of a vector's pending interrupts.
fn take_one(mut pending: OccupiedEntry<'_, u32, u64>) {
    *pending.get_mut() -= 1;
    if *pending.get() == 0 {
        pending.remove();
    }
}

/// Where the answer to an access or the end of a sleep goes.
#[derive(Clone, Copy, Debug)]
struct Asker {
    cores: usize,
    request: u32,
}

/// Says whether it's time for a program.
type Condition = Box<dyn FnMut(&mut Fabric) -> bool + Send>;

/// A fabric with host programs.
pub struct Simulation {
    fabric: Fabric,
    cores: Vec<Cores>,
    programs: Vec<Option<Program>>,
    free_programs: Vec<u32>,
    running: usize,
    /// Programs that begin when their conditions are met.
    later: Vec<(Condition, ProgramFuture)>,
    ready: Ready,
    /// By ticket: who asked.
    /// Only looked up, so that its order doesn't matter; unlike a tree it keeps its room.
    askers: HashMap<Ticket, Asker>,
    /// Results of accesses that no program asked for: they were made by [`Simulation::access`].
    results: BTreeMap<Ticket, Result<Data, AccessError>>,
    /// By number of the wake-up: who sleeps, and until when on the clock of its cores.
    sleepers: Vec<Option<(Asker, Time)>>,
    free_sleepers: Vec<u32>,
    /// Sleepers whose wake-up came while the clock of their cores was held.
    held_sleepers: Vec<u32>,
    /// Reused while requests are taken up.
    taken: Vec<(u32, Request)>,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("fabric", &self.fabric)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// A simulation of `fabric`, without programs.
    pub fn new(fabric: Fabric) -> Simulation {
        Simulation {
            fabric,
            cores: Vec::new(),
            programs: Vec::new(),
            free_programs: Vec::new(),
            running: 0,
            later: Vec::new(),
            ready: Ready::default(),
            askers: HashMap::new(),
            results: BTreeMap::new(),
            sleepers: Vec::new(),
            free_sleepers: Vec::new(),
            held_sleepers: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// The fabric.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The fabric.
    pub fn fabric_mut(&mut self) -> &mut Fabric {
        &mut self.fabric
    }

    /// The host of a root complex. From the first call on, that root complex's interrupts go to its programs.
    pub fn host(&mut self, root: NodeId) -> Host {
        if let Some(cores) = self.cores.iter().find(|cores| cores.root == root) {
            return cores.host.clone();
        }
        let host = Host::new();
        host.set_time(self.fabric.own_time(root));
        self.cores.push(Cores { root, host: host.clone(), pending: BTreeMap::new(), waiting: BTreeMap::new() });
        host
    }

    /// Starts a program. It's first polled by the next [`Simulation::step`].
    pub fn spawn(&mut self, program: impl Future<Output = ()> + Send + 'static) {
        self.start(Box::pin(program));
    }

    /// Starts a program as soon as a condition is met, which is looked at after each event. It counts as [running](Simulation::running) from then on.
    pub fn spawn_when(
        &mut self,
        condition: impl FnMut(&mut Fabric) -> bool + Send + 'static,
        program: impl Future<Output = ()> + Send + 'static,
    ) {
        self.later.push((Box::new(condition), Box::pin(program)));
    }

    /// Starts the programs whose time has come.
    fn start_later(&mut self) {
        let mut number = 0;
        while let Some((condition, _)) = self.later.get_mut(number) {
            if condition(&mut self.fabric) {
                let (_, program) = self.later.remove(number);
                self.start(program);
            } else {
                number += 1;
            }
        }
    }

    fn start(&mut self, future: ProgramFuture) {
        let number = self.free_programs.pop().unwrap_or(self.programs.len() as u32);
        let waker = Waker::from(Arc::new(ProgramWaker { program: number, ready: Arc::clone(&self.ready) }));
        let program = Some(Program { future, waker });
        match self.programs.get_mut(number as usize) {
            Some(free) => *free = program,
            None => self.programs.push(program),
        }
        self.running += 1;
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
    }

    /// How many programs haven't ended.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Runs a program to its end, together with all else that happens in the meantime. `None` if nothing more can happen and
    /// it still waits.
    pub fn run<T: Send + 'static>(&mut self, program: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        self.spawn(async move {
            let value = program.await;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        });
        loop {
            if let Some(value) = result.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Some(value);
            }
            if !self.step() {
                return result.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        }
    }

    /// Lets the programs that are ready run; if none is, lets the next event happen. Gives `false` if there was neither.
    pub fn step(&mut self) -> bool {
        if self.run_ready() {
            // Some accesses need no TLP and are answered at once.
            self.hand_out();
            return true;
        }
        let happened = self.fabric.step();
        if happened {
            self.hand_out();
            if !self.later.is_empty() {
                self.start_later();
            }
        }
        happened
    }

    /// When something happens next: now, if a program is ready. `None` if nothing ever will without an access from outside.
    pub fn next_time(&self) -> Option<Time> {
        let ready = !self.ready.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if ready { Some(self.fabric.now()) } else { self.fabric.next_time() }
    }

    /// Lets time pass up to `at`, as far as nothing happens before it: for software outside, whose accesses come at times of its own. Gives the
    /// time that it is then.
    pub fn advance_to(&mut self, at: Time) -> Time {
        let now = match self.next_time() {
            Some(next) if next <= self.fabric.now() => self.fabric.now(),
            _ => self.fabric.advance_to(at),
        };
        self.tell_time();
        now
    }

    /// Tells each host what its clock shows.
    fn tell_time(&self) {
        for cores in &self.cores {
            cores.host.set_time(self.fabric.own_time(cores.root));
        }
    }

    /// Makes an access from outside, as software on the cores of `root` that isn't one of the programs here. Its result is had by
    /// [`Simulation::result`].
    ///
    /// # Errors
    /// What is wrong with the access itself.
    pub fn access(&mut self, root: NodeId, access: Access) -> Result<Ticket, AccessError> {
        let ticket = self.fabric.access(root, access)?;
        // Some need no TLP and have their result at once.
        self.hand_out();
        Ok(ticket)
    }

    /// Takes the result of such an access, if it has come.
    pub fn result(&mut self, ticket: Ticket) -> Option<Result<Data, AccessError>> {
        self.results.remove(&ticket)
    }

    /// Takes an interrupt of `root` that no program waited for; of several, the one with the lowest vector.
    pub fn next_interrupt(&mut self, root: NodeId) -> Option<u32> {
        let cores = self.cores.iter_mut().find(|cores| cores.root == root)?;
        let first = cores.pending.first_entry()?;
        let vector = *first.key();
        take_one(first);
        Some(vector)
    }

    /// Polls the programs that are ready, and takes up what they ask for, until none is ready. Whether any was.
    fn run_ready(&mut self) -> bool {
        let mut any = false;
        loop {
            let next = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(number) = next else { return any };
            let Some(program) = &mut self.programs[number as usize] else { continue };
            any = true;
            let mut context = Context::from_waker(&program.waker);
            if let Poll::Ready(()) = program.future.as_mut().poll(&mut context) {
                self.programs[number as usize] = None;
                self.free_programs.push(number);
                self.running -= 1;
            }
            for cores in 0..self.cores.len() {
                self.take_up(cores);
            }
        }
    }

    /// Takes up the requests that the programs of one host have made.
    fn take_up(&mut self, cores: usize) {
        let mut taken = std::mem::take(&mut self.taken);
        std::mem::swap(&mut taken, &mut self.cores[cores].host.lock().requests);
        for (request, what) in taken.drain(..) {
            let asker = Asker { cores, request };
            let root = self.cores[cores].root;
            match what {
                Request::Access(access) => self.begin(asker, root, access),
                Request::Sleep(until) => self.sleep(asker, until),
                Request::Interrupt(vector) => self.interrupt(asker, vector),
                Request::Cancel => self.cancel(asker),
                Request::Perst(asserted) => {
                    self.fabric.set_perst(root, asserted);
                    self.answer(asker, Ok(Reply::Done));
                }
                Request::Load { address, len } => {
                    let memory = self.fabric.memory(root);
                    // Nothing is allocated for more than there is.
                    let inside = |memory: &&Memory| u64::try_from(len).is_ok_and(|len| len <= memory.size());
                    let read = memory.filter(inside).and_then(|memory| {
                        let mut bytes = vec![0; len];
                        memory.read(address, &mut bytes).ok().map(|()| bytes)
                    });
                    self.answer(asker, read.map(Reply::Bytes).ok_or(AccessError::NoMemory(address)));
                }
                Request::Store { address, bytes } => {
                    let written = self.fabric.memory_mut(root).and_then(|memory| memory.write(address, &bytes).ok());
                    self.answer(asker, written.map(|()| Reply::Done).ok_or(AccessError::NoMemory(address)));
                }
            }
        }
        self.taken = taken;
    }

    fn begin(&mut self, asker: Asker, root: NodeId, access: Access) {
        match self.fabric.access(root, access) {
            Ok(ticket) => {
                self.askers.insert(ticket, asker);
            }
            Err(error) => self.answer(asker, Err(error)),
        }
    }

    fn sleep(&mut self, asker: Asker, until: Time) {
        let number = self.free_sleepers.pop().unwrap_or(self.sleepers.len() as u32);
        match self.sleepers.get_mut(number as usize) {
            Some(free) => *free = Some((asker, until)),
            None => self.sleepers.push(Some((asker, until))),
        }
        self.wake_later(number, asker, until);
    }

    /// Sees that a sleeper is woken when the clock of its cores shows `until`.
    fn wake_later(&mut self, number: u32, asker: Asker, until: Time) {
        match self.fabric.fabric_time(self.cores[asker.cores].root, until) {
            Some(at) => self.fabric.wake_at(at, number),
            None => self.held_sleepers.push(number),
        }
    }

    /// A wake-up has come: it's answered, unless the clock of its cores was held in the meantime and has some way to go.
    fn woken(&mut self, number: u32) {
        let Some(Some((asker, until))) = self.sleepers.get(number as usize).copied() else { return };
        if self.fabric.own_time(self.cores[asker.cores].root) < until {
            return self.wake_later(number, asker, until);
        }
        self.sleepers[number as usize] = None;
        self.free_sleepers.push(number);
        self.answer(asker, Ok(Reply::Done));
    }

    /// Holds the clock that the programs on the cores of `root` have, and the time limits of their accesses, or lets it run again: for as long as
    /// software outside the simulation keeps them waiting.
    pub fn hold_clock(&mut self, root: NodeId, hold: bool) {
        self.fabric.hold_clock(root, hold);
        if !hold {
            for number in std::mem::take(&mut self.held_sleepers) {
                self.woken(number);
            }
        }
    }

    fn interrupt(&mut self, asker: Asker, vector: u32) {
        let cores = &mut self.cores[asker.cores];
        match cores.pending.entry(vector) {
            Entry::Occupied(pending) => {
                take_one(pending);
                self.answer(asker, Ok(Reply::Done));
            }
            Entry::Vacant(_) => cores.waiting.entry(vector).or_default().push_back(asker.request),
        }
    }

    /// Forgets that a request waits for an interrupt, so that the interrupt goes to somebody who still waits. What else was asked for
    /// still ends, and then nobody is told.
    fn cancel(&mut self, asker: Asker) {
        let cores = &mut self.cores[asker.cores];
        for waiting in cores.waiting.values_mut() {
            if let Some(place) = waiting.iter().position(|&request| request == asker.request) {
                waiting.remove(place);
                self.answer(asker, Ok(Reply::Done));
                return;
            }
        }
    }

    /// Hands out what the last event brought: answers, wake-ups and interrupts.
    fn hand_out(&mut self) {
        self.tell_time();
        while let Some(number) = self.fabric.next_woken() {
            self.woken(number);
        }
        for number in 0..self.cores.len() {
            let root = self.cores[number].root;
            if !self.fabric.has_news(root) {
                continue;
            }
            while let Some((ticket, result)) = self.fabric.next_result(root) {
                match self.askers.remove(&ticket) {
                    Some(asker) => self.answer(asker, result.map(Reply::Data)),
                    None => {
                        self.results.insert(ticket, result);
                    }
                }
            }
            while let Some(vector) = self.fabric.next_interrupt(root) {
                let cores = &mut self.cores[number];
                let waiter = cores.waiting.get_mut(&vector).and_then(VecDeque::pop_front);
                match waiter {
                    Some(request) => self.answer(Asker { cores: number, request }, Ok(Reply::Done)),
                    None if cores.pending.len() < MAX_PENDING || cores.pending.contains_key(&vector) => {
                        *cores.pending.entry(vector).or_default() += 1;
                    }
                    // Nobody who is there waits for so many.
                    None => {}
                }
            }
        }
    }

    fn answer(&mut self, asker: Asker, answer: Answer) {
        self.cores[asker.cores].host.lock().answer(asker.request, answer);
    }
}
