//! Programs on virtual time: threads that take turns.
//!
//! One program runs at a time. It has the turn until it waits for something in the simulation. When all programs wait, the thread that was the last to
//! wait moves the simulation on, event by event, until one of them has what it waits for; of several, the one that was registered first.
//! So what happens, and when, doesn't depend on how the operating system schedules the threads.
//!
//! A thread takes part from its first call on, or from [`Scheduler::register`] by another program, and until it ends, however it ends.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{NodeId, Ticket};
use mlx5_twin_sim::host::{Access, AccessError, Data, Simulation};

use crate::backend::ranges::Ranges;

/// Where allocation begins: address 0 is never given out, nor is what software of the DPU itself may use.
const FIRST: u64 = 1 << 20;

/// The number of a program, in the order of registration.
pub(super) type Number = usize;

/// What a program waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Its turn.
    Turn,
    /// More interrupts than `seen`, or the time.
    Interrupt {
        /// How many it knows of.
        seen: u64,
        /// When it gives up.
        until: Option<Time>,
    },
    /// The result of an access.
    Result(Ticket),
    /// So many stores having left.
    Stores(u64),
    /// The end of a poll.
    Poll {
        /// When it began.
        since: Time,
        /// When it ends. `None` as long as nothing has happened since the last poll, so that another one would see the same.
        at: Option<Time>,
        /// What had happened by its beginning.
        activity: u64,
    },
    /// The end of a program.
    End(Number),
}

/// How a wait ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// What it waited for is there.
    Ready,
    /// The result of an access.
    Result(Result<Data, AccessError>),
    /// The time is over.
    TimedOut,
    /// Nothing will happen any more.
    Silent,
}

#[derive(Debug)]
enum Phase {
    Running,
    Waiting(Wait),
    /// Waiting no longer, as soon as its thread has noticed.
    Chosen(Outcome),
    Gone,
}

#[derive(Debug)]
struct Program {
    phase: Phase,
    wake: Arc<Condvar>,
    /// What had happened at the end of its last poll.
    polled: Option<u64>,
}

/// The simulation and whatever its programs share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) simulation: Simulation,
    /// The root complex whose cores the programs run on.
    pub(super) dpu: NodeId,
    pub(super) memory: Ranges,
    programs: Vec<Program>,
    /// Whose turn it is.
    running: Option<Number>,
    /// The program that was last told that nothing happens any more.
    silenced: Number,
    poll: Time,
    /// Counts what may be news to a program that polls.
    activity: u64,
    /// When there are wake-ups of our own in the simulation's queue.
    alarms: BTreeSet<Time>,
    /// Vectors that have interrupted and weren't taken.
    interrupts: BTreeSet<u32>,
    interrupt_count: u64,
    /// Stores that haven't left yet, the oldest first.
    stores: VecDeque<Ticket>,
    stores_sent: u64,
    stores_left: u64,
    store_error: Option<AccessError>,
}

/// Programs and their simulation.
#[derive(Debug)]
pub(super) struct Scheduler {
    shared: Mutex<Shared>,
    id: u64,
}

/// A thread's part in a schedule: when the thread ends, it leaves.
struct Member {
    scheduler: Weak<Scheduler>,
    id: u64,
    number: Number,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(scheduler) = self.scheduler.upgrade() {
            scheduler.leave(self.number);
        }
    }
}

thread_local! {
    /// The schedules that this thread takes part in.
    static MEMBER: RefCell<Vec<Member>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A wake-up that no host program sleeps for: the simulation counts its sleepers from 0.
const NOBODY: u32 = u32::MAX;

impl Shared {
    pub(super) fn now(&self) -> Time {
        self.simulation.fabric().now()
    }

    /// Something has changed that a program may see.
    pub(super) fn touch(&mut self) {
        self.activity += 1;
    }

    /// Begins to store to the bus.
    pub(super) fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        if let Some(error) = self.store_error {
            return Err(error);
        }
        let ticket = self.simulation.access(self.dpu, Access::MemoryWrite { address, data: Data::new(bytes) })?;
        self.stores.push_back(ticket);
        self.stores_sent += 1;
        self.touch();
        Ok(())
    }

    /// The wait for all stores so far, and what went wrong with them.
    pub(super) fn all_stores(&self) -> Wait {
        Wait::Stores(self.stores_sent)
    }

    pub(super) fn store_error(&self) -> Option<AccessError> {
        self.store_error
    }

    pub(super) fn next_interrupt(&mut self) -> Option<u32> {
        self.interrupts.pop_first()
    }

    pub(super) fn interrupt_count(&self) -> u64 {
        self.interrupt_count
    }

    /// Counts as an interrupt.
    pub(super) fn nudge(&mut self) {
        self.interrupt_count += 1;
    }

    /// Sees that the simulation stops at this time at the latest.
    pub(super) fn alarm(&mut self, at: Time) {
        let at = at.max(self.now());
        if self.alarms.insert(at) {
            self.simulation.fabric_mut().wake_at(at, NOBODY);
        }
    }

    /// The wait of a program that polls. If nothing has happened since it polled last, it needn't look again before something does.
    fn begin_poll(&mut self, number: Number) -> Wait {
        let (since, activity) = (self.now(), self.activity);
        let news = self.programs.get(number).is_none_or(|program| program.polled != Some(activity));
        let at = news.then(|| since + self.poll);
        if let Some(at) = at {
            self.alarm(at);
        }
        Wait::Poll { since, at, activity }
    }

    /// Gives polls an end that wait for something to happen, if it has: the end is where a program that polls all the time would have noticed.
    fn end_idle_polls(&mut self) {
        let (now, poll, happened) = (self.now(), self.poll.as_ps().max(1), self.activity);
        for number in 0..self.programs.len() {
            let Phase::Waiting(Wait::Poll { since, at: at @ None, activity }) = &mut self.programs[number].phase else {
                continue;
            };
            if *activity != happened {
                let polls = now.since(*since).as_ps().div_ceil(poll).max(1);
                let end = *since + Time::ps(polls.saturating_mul(poll));
                *at = Some(end);
                self.alarm(end);
            }
        }
    }

    /// How a program's wait has ended, if it has.
    fn ended(&mut self, number: Number) -> Option<Outcome> {
        let Phase::Waiting(wait) = &self.programs[number].phase else { return None };
        let reached = |at: Option<Time>| at.is_some_and(|at| at <= self.simulation.fabric().now());
        match *wait {
            Wait::Turn => Some(Outcome::Ready),
            Wait::Interrupt { seen, .. } if self.interrupt_count > seen => Some(Outcome::Ready),
            Wait::Interrupt { until, .. } => reached(until).then_some(Outcome::TimedOut),
            Wait::Result(ticket) => self.simulation.result(ticket).map(Outcome::Result),
            Wait::Stores(count) => (self.stores_left >= count).then_some(Outcome::Ready),
            Wait::Poll { at, .. } => reached(at).then_some(Outcome::Ready),
            Wait::End(other) => matches!(self.programs.get(other), None | Some(Program { phase: Phase::Gone, .. }))
                .then_some(Outcome::Ready),
        }
    }

    fn is_waiting(&self, number: Number) -> bool {
        matches!(self.programs[number].phase, Phase::Waiting(_))
    }

    fn waits_for_end(&self, number: Number) -> bool {
        matches!(self.programs[number].phase, Phase::Waiting(Wait::End(_)))
    }

    /// Gives the turn to the next program, after as many events as that takes. Afterwards nobody has it only if nobody waits.
    fn choose(&mut self) {
        loop {
            for number in 0..self.programs.len() {
                if let Some(outcome) = self.ended(number) {
                    return self.give_turn(number, outcome);
                }
            }
            self.end_idle_polls();
            if self.step() {
                continue;
            }
            // One after the other is told, since what it does then may be news to the rest. Those that wait for another
            // program's end come last.
            let count = self.programs.len();
            let order = || (1..=count).map(|step| (self.silenced + step) % count);
            let next = order()
                .find(|&number| self.is_waiting(number) && !self.waits_for_end(number))
                .or_else(|| order().find(|&number| self.is_waiting(number)));
            if let Some(number) = next {
                self.silenced = number;
                self.give_turn(number, Outcome::Silent);
            }
            return;
        }
    }

    fn give_turn(&mut self, number: Number, outcome: Outcome) {
        self.running = Some(number);
        let program = &mut self.programs[number];
        program.phase = Phase::Chosen(outcome);
        program.wake.notify_all();
    }

    /// Lets the next event of the simulation happen. `false` if there's none.
    fn step(&mut self) -> bool {
        if !self.simulation.step() {
            return false;
        }
        let now = self.now();
        // One event at the time of an alarm is the alarm; which of them makes no difference.
        match self.alarms.first() {
            Some(&alarm) if alarm <= now => drop(self.alarms.pop_first()),
            _ => self.activity += 1,
        }
        while let Some(vector) = self.simulation.next_interrupt(self.dpu) {
            self.interrupts.insert(vector);
            self.interrupt_count += 1;
        }
        while let Some(result) = self.stores.front().and_then(|&ticket| self.simulation.result(ticket)) {
            self.stores.pop_front();
            self.stores_left += 1;
            self.store_error = self.store_error.or(result.err());
        }
        true
    }
}

impl Scheduler {
    /// A schedule in which the calling thread is program 0, and has the turn.
    pub(super) fn new(mut simulation: Simulation, dpu: NodeId, poll: Time) -> Arc<Scheduler> {
        // From now on the root complex's interrupts are kept for the programs.
        simulation.host(dpu);
        let size = simulation.fabric().memory(dpu).map_or(0, mlx5_twin_sim::memory::Memory::size);
        let shared = Shared {
            simulation,
            dpu,
            memory: Ranges::new(size.checked_sub(FIRST).map(|len| (FIRST, len))),
            programs: Vec::new(),
            running: None,
            silenced: 0,
            poll,
            activity: 0,
            alarms: BTreeSet::new(),
            interrupts: BTreeSet::new(),
            interrupt_count: 0,
            stores: VecDeque::new(),
            stores_sent: 0,
            stores_left: 0,
            store_error: None,
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let scheduler = Arc::new(Scheduler { shared: Mutex::new(shared), id });
        drop(scheduler.enter());
        scheduler
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a program that waits for its first turn. A thread takes its place by [`Scheduler::join`].
    pub(super) fn register(self: &Arc<Scheduler>) -> Number {
        let (mut shared, _) = self.enter();
        Self::add(&mut shared)
    }

    fn add(shared: &mut Shared) -> Number {
        let program = Program { phase: Phase::Waiting(Wait::Turn), wake: Arc::new(Condvar::new()), polled: None };
        shared.programs.push(program);
        shared.programs.len() - 1
    }

    /// Makes the calling thread the program of this number, and waits for its first turn.
    pub(super) fn join(self: &Arc<Scheduler>, number: Number) {
        let member = Member { scheduler: Arc::downgrade(self), id: self.id, number };
        MEMBER.with_borrow_mut(|members| {
            members.retain(|member| member.scheduler.strong_count() > 0);
            members.push(member);
        });
        drop(turn(self.lock(), number));
    }

    /// The simulation, when it's the calling thread's turn, with its number. A thread that isn't part of the schedule becomes one.
    pub(super) fn enter(self: &Arc<Scheduler>) -> (MutexGuard<'_, Shared>, Number) {
        let number = MEMBER
            .with_borrow(|members| members.iter().find(|member| member.id == self.id).map(|member| member.number));
        if let Some(number) = number {
            return (self.lock(), number);
        }
        let number = Self::add(&mut self.lock());
        self.join(number);
        (self.lock(), number)
    }

    /// Waits. Whoever calls has the turn, and has it again afterwards.
    pub(super) fn wait(self: &Arc<Scheduler>, wait: impl FnOnce(&mut Shared) -> Wait) -> Outcome {
        let (mut shared, number) = self.enter();
        let wait = wait(&mut shared);
        wait_for(shared, number, wait).1
    }

    /// Lets the time of one poll pass. `false` if nothing will happen any more.
    pub(super) fn poll(self: &Arc<Scheduler>) -> bool {
        let (mut shared, number) = self.enter();
        let wait = shared.begin_poll(number);
        let (mut shared, outcome) = wait_for(shared, number, wait);
        let activity = shared.activity;
        shared.programs[number].polled = Some(activity);
        !matches!(outcome, Outcome::Silent)
    }

    /// A program's thread is no longer part of the schedule.
    fn leave(&self, number: Number) {
        let mut shared = self.lock();
        shared.programs[number].phase = Phase::Gone;
        shared.touch();
        if shared.running == Some(number) {
            // Not this thread, which may be on its way out of the process, but one that waits moves the simulation on.
            shared.running = None;
            if let Some(waiting) = (0..shared.programs.len()).find(|&other| shared.is_waiting(other)) {
                shared.programs[waiting].wake.notify_all();
            }
        }
    }

    /// A program that was registered has got no thread.
    pub(super) fn forget(self: &Arc<Scheduler>, number: Number) {
        self.enter().0.programs[number].phase = Phase::Gone;
    }

    /// Takes the calling thread out of the schedule until its next call.
    pub(super) fn step_out(&self) {
        let left: Vec<Member> =
            MEMBER.with_borrow_mut(|members| members.extract_if(.., |member| member.id == self.id).collect());
        drop(left);
    }
}

/// Makes a running program wait, and waits with it.
fn wait_for(mut shared: MutexGuard<'_, Shared>, number: Number, wait: Wait) -> (MutexGuard<'_, Shared>, Outcome) {
    shared.programs[number].phase = Phase::Waiting(wait);
    shared.running = None;
    turn(shared, number)
}

/// Waits until a waiting program has the turn. As long as nobody has it, the thread sees itself that somebody gets it.
fn turn(mut shared: MutexGuard<'_, Shared>, number: Number) -> (MutexGuard<'_, Shared>, Outcome) {
    loop {
        if shared.running.is_none() {
            shared.choose();
        }
        let program = &mut shared.programs[number];
        match std::mem::replace(&mut program.phase, Phase::Running) {
            Phase::Chosen(outcome) => return (shared, outcome),
            other => program.phase = other,
        }
        let wake = Arc::clone(&program.wake);
        shared = wake.wait(shared).unwrap_or_else(PoisonError::into_inner);
    }
}
