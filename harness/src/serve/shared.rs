//! What the client's side and the thread that lets time pass share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use mlx5_twin_sim::Time;

use super::engine::Engine;
use super::platform::Platform;

#[derive(Debug)]
struct State {
    engine: Engine,
    platform: Platform,
    /// When the thread that lets time pass will look again by itself. `None`: not before it's called.
    alarm: Option<Time>,
    stopping: bool,
}

/// The engine and the platform, under one lock.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Calls the thread that lets time pass.
    call: Condvar,
    /// How many wait for the lock to make an access: they go first.
    waiting: AtomicUsize,
}

impl Shared {
    pub(super) fn new(engine: Engine, platform: Platform) -> Shared {
        let state = State { engine, platform, alarm: None, stopping: false };
        Shared { state: Mutex::new(state), call: Condvar::new(), waiting: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked was a client's: the engine itself is between two events.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets software outside do something.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Engine, &mut Platform) -> T) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let State { engine, platform, .. } = &mut *state;
        let result = act(engine, platform);
        platform.see_to_card(engine);
        let next = engine.run();
        if next.is_some_and(|next| state.alarm.is_none_or(|alarm| next < alarm)) {
            self.call.notify_one();
        }
        result
    }

    /// Lets time pass, until [`Shared::stop`].
    pub(super) fn run(&self) {
        let mut state = self.lock();
        while !state.stopping {
            let State { engine, platform, .. } = &mut *state;
            platform.see_to_card(engine);
            let wait = engine.catch_up();
            state.alarm = state.engine.simulation.next_time();
            state = match wait {
                Some(wait) if wait.is_zero() => {
                    drop(state);
                    while self.waiting.load(Ordering::SeqCst) > 0 {
                        std::thread::yield_now();
                    }
                    self.lock()
                }
                Some(wait) => self.call.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.call.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends [`Shared::run`].
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.call.notify_all();
    }
}
