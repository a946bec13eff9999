//! MSI-X vectors as eventfds, and threads that wait for them.
//!
//! Of all threads that wait, one waits for the eventfds; the others wait until it has seen something, or gives its place up.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::backend::{Error, Stop};
use crate::driver::{Progress, Until};

/// What stands for the request to end, and for the bell, among vectors in epoll's answers.
const STOP: u64 = 1 << 32;
const BELL: u64 = 1 << 33;
/// How many events are taken at once. Ours: the rest comes the next time.
const AT_ONCE: usize = 16;

/// What has come.
#[derive(Debug, Default)]
struct Seen {
    /// Interrupts and nudges so far.
    count: u64,
    /// Vectors that have interrupted and that nobody has taken.
    pending: BTreeSet<u32>,
    /// A thread waits for the eventfds.
    watched: bool,
    stopped: bool,
}

/// A function's interrupts.
#[derive(Debug)]
pub(super) struct Interrupts {
    epoll: OwnedFd,
    stop: Stop,
    /// Wakes the thread that waits for the eventfds.
    bell: OwnedFd,
    /// By vector, made when it's first asked for.
    files: Vec<OnceLock<OwnedFd>>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

fn failed(error: Errno) -> Error {
    Error::Device(format!("waiting for interrupts: {error}"))
}

impl Interrupts {
    /// Of a function with so many vectors.
    pub(super) fn new(vectors: u32, stop: Stop) -> Result<Interrupts, Error> {
        let flags = epoll::CreateFlags::CLOEXEC;
        let epoll = epoll::create(flags).map_err(failed)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        epoll::add(&epoll, &stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN).map_err(failed)?;
        epoll::add(&epoll, &bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN).map_err(failed)?;
        let files = (0..vectors).map(|_| OnceLock::new()).collect();
        Ok(Interrupts { epoll, stop, bell, files, seen: Mutex::default(), changed: Condvar::new() })
    }

    /// How many vectors there are.
    pub(super) fn vectors(&self) -> u32 {
        self.files.len() as u32
    }

    /// The eventfd of a vector. `None` if there's no such vector.
    pub(super) fn file(&self, vector: u32) -> Result<Option<BorrowedFd<'_>>, Error> {
        let Some(place) = self.files.get(vector as usize) else { return Ok(None) };
        if let Some(file) = place.get() {
            return Ok(Some(file.as_fd()));
        }
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let mut new = false;
        let file = place.get_or_init(|| {
            new = true;
            file
        });
        if new {
            let data = epoll::EventData::new_u64(vector.into());
            epoll::add(&self.epoll, file, data, epoll::EventFlags::IN).map_err(failed)?;
        }
        Ok(Some(file.as_fd()))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Each change is made in one go.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is readable: gives what. Nothing if the time is over, or for no reason.
    fn poll(&self, time: Option<Duration>) -> Result<Vec<u64>, Error> {
        // A time that doesn't fit is as good as none.
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut events = Vec::with_capacity(AT_ONCE);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), time.as_ref()) {
            Ok(_) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes up what was readable.
    fn take(&self, seen: &mut Seen, events: &[u64]) -> Result<(), Error> {
        let counted = |file: &OwnedFd| rustix::io::read(file, &mut [0; 8]).is_ok();
        for &event in events {
            match event {
                STOP => {
                    seen.stopped = true;
                    // It stays readable for ever, and nobody would wait any more.
                    match epoll::delete(&self.epoll, &self.stop) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                BELL => drop(counted(&self.bell)),
                vector => {
                    let file = self.files.get(vector as usize).and_then(OnceLock::get);
                    if file.is_some_and(counted) {
                        seen.count += 1;
                        seen.pending.insert(vector as u32);
                    }
                }
            }
        }
        Ok(())
    }

    /// As [`crate::driver::Door::next_interrupt`].
    pub(super) fn next(&self) -> Option<u32> {
        let mut seen = self.lock();
        if seen.pending.is_empty() && !seen.watched {
            let polled = self.poll(Some(Duration::ZERO)).and_then(|events| self.take(&mut seen, &events));
            if let Err(error) = polled {
                // Whoever waits next is told.
                tracing::warn!(%error, "interrupts can't be looked for");
            }
        }
        seen.pending.pop_first()
    }

    /// As [`crate::driver::Door::activity`].
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// As [`crate::driver::Door::nudge`].
    pub(super) fn nudge(&self) {
        let mut seen = self.lock();
        seen.count += 1;
        if seen.watched {
            // It can only fail if it was rung long ago.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
        self.changed.notify_all();
    }

    /// As [`crate::driver::Door::advance`].
    pub(super) fn advance(&self, known: u64, until: Until, now: impl Fn() -> Duration) -> Result<Progress, Error> {
        let mut seen = self.lock();
        loop {
            if seen.count > known {
                return Ok(Progress::Happened);
            }
            if seen.stopped && !matches!(until, Until::Watchdog(_)) {
                return Ok(Progress::Silent);
            }
            let rest = match until {
                Until::Forever => None,
                Until::Deadline(at) | Until::Watchdog(at) => Some(at.saturating_sub(now())),
            };
            if rest == Some(Duration::ZERO) {
                return Ok(Progress::TimedOut);
            }
            if seen.watched {
                seen = match rest {
                    None => self.changed.wait(seen).unwrap_or_else(PoisonError::into_inner),
                    Some(rest) => self.changed.wait_timeout(seen, rest).unwrap_or_else(PoisonError::into_inner).0,
                };
                continue;
            }
            seen.watched = true;
            drop(seen);
            let events = self.poll(rest);
            seen = self.lock();
            seen.watched = false;
            // Another thread takes the place of this one, if this one goes.
            self.changed.notify_all();
            self.take(&mut seen, &events?)?;
        }
    }

    /// Forgets what has come.
    pub(super) fn clear(&self) {
        for file in self.files.iter().filter_map(OnceLock::get) {
            // It fails if nothing has come.
            let _ = rustix::io::read(file, &mut [0; 8]);
        }
        self.lock().pending.clear();
    }

    /// Whether the end was asked for.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_requested()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// Longer than any wait of these tests may take.
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    struct Rig {
        interrupts: Arc<Interrupts>,
        stop: Stop,
        begin: Instant,
    }

    impl Rig {
        fn new() -> Rig {
            let stop = Stop::new().expect("an eventfd");
            let interrupts = Interrupts::new(4, stop.clone()).expect("an epoll file");
            Rig { interrupts: Arc::new(interrupts), stop, begin: Instant::now() }
        }

        fn fire(&self, vector: u32) {
            let file = self.interrupts.file(vector).expect("an eventfd").expect("there is such a vector");
            rustix::io::write(file, &1_u64.to_ne_bytes()).expect("written");
        }

        fn advance(&self, known: u64, until: Until) -> Progress {
            self.interrupts.advance(known, until, || self.begin.elapsed()).expect("waits")
        }

        fn deadline(&self, time: Duration) -> Until {
            Until::Deadline(self.begin.elapsed() + time)
        }
    }

    #[test]
    fn interrupts_are_counted_and_taken() {
        let rig = Rig::new();
        assert_eq!((rig.interrupts.next(), rig.interrupts.count()), (None, 0));
        rig.fire(2);
        rig.fire(0);
        rig.fire(2);
        assert_eq!(rig.advance(0, Until::Forever), Progress::Happened);
        let all: Vec<u32> = std::iter::from_fn(|| rig.interrupts.next()).collect();
        assert_eq!((all, rig.interrupts.count()), (vec![0, 2], 2));
        // One that nobody waited for is found too.
        rig.fire(3);
        assert_eq!((rig.interrupts.next(), rig.interrupts.count()), (Some(3), 3));
        assert_eq!(rig.advance(3, rig.deadline(SHORT)), Progress::TimedOut);
        rig.interrupts.nudge();
        assert_eq!((rig.advance(3, Until::Forever), rig.interrupts.next()), (Progress::Happened, None));
        rig.fire(1);
        rig.interrupts.clear();
        assert_eq!(rig.interrupts.next(), None);
        assert!(rig.interrupts.file(4).expect("no failure").is_none(), "there are four");
    }

    #[test]
    fn the_end_ends_users_waits_but_not_commands() {
        let rig = Rig::new();
        rig.fire(0);
        rig.stop.request();
        assert!(rig.interrupts.is_stopped());
        assert_eq!(rig.advance(0, Until::Forever), Progress::Happened, "what is there comes first");
        assert_eq!(rig.advance(1, Until::Forever), Progress::Silent);
        assert_eq!(rig.advance(1, rig.deadline(LONG)), Progress::Silent);
        let begin = Instant::now();
        assert_eq!(rig.advance(1, Until::Watchdog(rig.begin.elapsed() + SHORT)), Progress::TimedOut);
        assert!(begin.elapsed() >= SHORT);
        rig.fire(1);
        assert_eq!(rig.advance(1, Until::Watchdog(rig.begin.elapsed() + LONG)), Progress::Happened);
    }

    /// Whoever waits for the eventfds wakes the others, and when it goes another one takes its place.
    #[test]
    fn all_threads_that_wait_are_woken() {
        for what in ["interrupt", "nudge", "stop"] {
            let rig = Rig::new();
            // The first one to wait goes before anything happens.
            let waits = [SHORT, LONG, LONG, LONG];
            let progress: Vec<Progress> = thread::scope(|scope| {
                let wait = |time| {
                    let rig = &rig;
                    let thread = scope.spawn(move || rig.advance(0, rig.deadline(time)));
                    thread::sleep(SHORT / 4);
                    thread
                };
                let threads = waits.map(wait);
                thread::sleep(2 * SHORT);
                match what {
                    "interrupt" => rig.fire(1),
                    "nudge" => rig.interrupts.nudge(),
                    _ => rig.stop.request(),
                }
                threads.map(|thread| thread.join().expect("it ends")).into_iter().collect()
            });
            let rest = if what == "stop" { Progress::Silent } else { Progress::Happened };
            assert_eq!(progress, [Progress::TimedOut, rest, rest, rest], "{what}");
            assert!(rig.begin.elapsed() < LONG / 2, "{what}");
        }
    }
}
