//! A small user-space driver for an mlx5 function: initialization segment, command queue, pages, event queues, user contexts, VAR tables.
//!
//! The backends that have no kernel below them share it. It does what Linux's `mlx5_core`, `mlx5_ib` and its DEVX do, and what rdma-core's
//! `mlx5_vfio.c` does without a kernel; the machine is behind a [`Door`]. [`Driver::open`] gives a context, a [`Backend`].
//!
//! | file | what |
//! |---|---|
//! | `door` | what the driver needs of a machine |
//! | `bringup` | from reset to the first context, and back |
//! | `command`, `mailbox`, `cmdq` | commands: building, bytes, queue |
//! | `eq`, `events` | event queues; who gets which event |
//! | `pages` | memory for the firmware |
//! | `devx`, `context` | what a user context may do; a context |
//! | `var` | VAR pages |
//! | `mmap` | what a context's file can be mapped from |
//! | `page`, `umem` | mapped pages and registered memory |

mod bringup;
mod caps;
mod cmdq;
mod command;
mod context;
mod devx;
mod door;
mod eq;
mod events;
mod mailbox;
mod mmap;
mod page;
mod pages;
#[cfg(test)]
mod tests;
mod umem;
mod var;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{cmd_inter_comp_event, eqe};

pub use door::{DmaRegion, Door, Progress, Until};

use self::caps::Capabilities;
use self::cmdq::{CommandQueue, Mode, Purpose};
use self::eq::EventQueue;
use self::events::Subscriptions;
use self::pages::Pages;
use self::var::Vars;
use crate::backend::{Backend, Error};

/// How long a command may take (`MLX5_TO_CMD_MS` of Linux's driver).
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that the driver itself takes: kernel users see none of them.
const OWN_EVENTS: [EventType; 2] = [EventType::CMD, EventType::PAGE_REQUEST];

/// What the driver knows. Whoever holds its lock doesn't wait for anything.
#[derive(Debug)]
struct State {
    door: Arc<dyn Door>,
    /// None before bring-up and after shutdown.
    queue: Option<CommandQueue>,
    caps: Capabilities,
    vars: Vars,
    pages: Pages,
    /// The command queue's, the asynchronous one, then those of completions.
    eqs: Vec<EventQueue>,
    /// The driver's own UAR, whose doorbells its event queues take.
    uar: u32,
    /// MSI-X vectors in use; the first is the driver's own.
    vectors: u32,
    subscriptions: Subscriptions,
    contexts: BTreeMap<u16, context::State>,
    next_handle: u32,
    next_listener: u32,
}

impl State {
    fn new(door: &Arc<dyn Door>) -> State {
        let caps = Capabilities::default();
        State {
            queue: None,
            vars: Vars::new(&caps, door.page_size(), door.bar_len()),
            caps,
            pages: Pages::default(),
            eqs: Vec::new(),
            uar: 0,
            vectors: 0,
            subscriptions: Subscriptions::default(),
            contexts: BTreeMap::new(),
            next_handle: 0,
            next_listener: 0,
            door: Arc::clone(door),
        }
    }

    fn queue(&mut self) -> Result<&mut CommandQueue, Error> {
        self.queue.as_mut().ok_or_else(|| Error::Device("the driver has shut down".to_owned()))
    }

    /// Takes up what the device has to say, if it has interrupted.
    fn attend(&mut self) -> Result<(), Error> {
        while let Some(vector) = self.door.next_interrupt() {
            self.drain(|eq| eq.vector() == vector)?;
        }
        self.serve_pages()
    }

    /// Takes the entries of some event queues.
    fn drain(&mut self, which: impl Fn(&EventQueue) -> bool) -> Result<(), Error> {
        for index in 0..self.eqs.len() {
            let Some(eq) = self.eqs.get_mut(index).filter(|eq| which(eq)) else { continue };
            for entry in eq.drain()? {
                self.event(&entry)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, entry: &eq::Entry) -> Result<(), Error> {
        let event = EventType(eqe::TYPE.get(entry)? as u8);
        match event {
            EventType::CMD => {
                let vector = cmd_inter_comp_event::COMMAND_COMPLETION_VECTOR.within(eqe::DATA.bits()).get(entry)?;
                self.queue()?.completed(vector as u32);
            }
            EventType::PAGE_REQUEST => self.pages.requested(entry)?,
            _ => {
                let key = events::key(event, entry)?;
                if !self.subscriptions.dispatch(key) {
                    tracing::debug!(%event, kind = key.1, number = key.2, "an event that nobody subscribed to");
                }
            }
        }
        Ok(())
    }

    /// Answers the device's requests for pages, one at a time.
    fn serve_pages(&mut self) -> Result<(), Error> {
        let Some(queue) = self.queue.as_mut() else { return Ok(()) };
        if let Some(slot) = queue.pages_slot() {
            let Some(answer) = queue.take(slot, false) else { return Ok(()) };
            if let Err(error) = self.pages.answered(answer) {
                tracing::warn!(%error, "the device asked for pages and didn't take the answer");
            }
        }
        if let Some((command, output_len)) = self.pages.next_answer(&self.door)? {
            queue.submit(command.bytes(), output_len, Purpose::Pages)?;
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        self.queue.as_ref().map_or(Mode::Polling, |queue| queue.mode)
    }

    /// A number for a file of a context, that no other one has or had.
    fn new_listener(&mut self) -> Result<u32, Error> {
        let listener = self.next_listener;
        self.next_listener = listener.checked_add(1).ok_or(Error::NoSpace("number for a file"))?;
        Ok(listener)
    }

    /// A handle that no other thing has or had.
    fn new_handle(&mut self) -> Result<u32, Error> {
        let handle = self.next_handle;
        self.next_handle = handle.checked_add(1).ok_or(Error::NoSpace("object handle"))?;
        Ok(handle)
    }
}

/// The driver of one function.
#[derive(Debug)]
pub struct Driver {
    door: Arc<dyn Door>,
    state: Mutex<State>,
}

impl Driver {
    /// Brings the function up: afterwards contexts can be opened.
    ///
    /// # Errors
    /// [`Error::Device`] if it doesn't behave as it must; [`Error::Command`] if it refuses a command that bring-up needs.
    pub fn start(door: Arc<dyn Door>) -> Result<Arc<Driver>, Error> {
        let driver = Driver { state: Mutex::new(State::new(&door)), door };
        match driver.bring_up() {
            Ok(()) => Ok(Arc::new(driver)),
            Err(error) => {
                // The device must forget the memory that it was given before others get it.
                if let Err(error) = driver.door.reset() {
                    tracing::warn!(%error, "the function can't be reset after a failed bring-up");
                }
                driver.lock().queue = None;
                Err(error)
            }
        }
    }

    /// Opens a context.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the device has no user contexts; [`Error::Command`] if all are taken.
    pub fn open(self: &Arc<Driver>) -> Result<Arc<dyn Backend>, Error> {
        Ok(Arc::new(context::Context::open(self)?))
    }

    /// Gives everything back and disables the function. All contexts must be closed. Dropping the driver does the same.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a context is open; otherwise as [`Driver::start`].
    pub fn shut_down(&self) -> Result<(), Error> {
        let open = self.lock().contexts.len();
        if open > 0 {
            return Err(Error::Invalid(format!("{open} contexts are still open")));
        }
        self.tear_down()
    }

    /// The state, once it's this thread's turn.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.door.turn();
        // Each change is made in one go: a thread that panicked has left nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` until it gives something, each time after the device's events have been taken up. `None` if time is over first, or if
    /// nothing more will happen.
    fn until<T>(
        &self,
        until: Until,
        mut look: impl FnMut(&mut State) -> Result<Option<T>, Error>,
    ) -> Result<Result<T, Progress>, Error> {
        let mut ended = None;
        loop {
            let (seen, mode) = {
                let mut state = self.lock();
                let seen = self.door.activity();
                state.attend()?;
                if let Some(found) = look(&mut state)? {
                    return Ok(Ok(found));
                }
                (seen, state.mode())
            };
            if let Some(ended) = ended {
                return Ok(Err(ended));
            }
            let over = match until {
                Until::Deadline(at) | Until::Watchdog(at) => self.door.now() >= at,
                Until::Forever => false,
            };
            let progress = match mode {
                _ if over => Progress::TimedOut,
                Mode::Events => self.door.advance(seen, until)?,
                Mode::Polling if self.door.pause()? => Progress::Happened,
                Mode::Polling => Progress::Silent,
            };
            // One more look, in case it happened at the last moment.
            ended = (progress != Progress::Happened).then_some(progress);
        }
    }

    /// Executes a command: gives its output.
    fn execute(&self, input: &[u8], output_len: usize) -> Result<Vec<u8>, Error> {
        let opcode = command::opcode(input);
        let until = Until::Watchdog(self.door.now() + COMMAND_TIMEOUT);
        let submitted = self.until(until, |state| state.queue()?.submit(input, output_len, Purpose::Caller))?;
        let slot =
            submitted.map_err(|_| Error::Device(format!("no slot of the command queue came free for {opcode}")))?;
        let ended = match self.until(until, |state| state.queue()?.take(slot, false).transpose())? {
            Ok(output) => return Ok(output),
            Err(ended) => ended,
        };
        // As Linux does: perhaps only an interrupt was lost.
        let mut state = self.lock();
        state.drain(|_| true)?;
        let queue = state.queue()?;
        if let Some(answer) = queue.take(slot, true) {
            tracing::warn!(%opcode, "completed, but nothing said so");
            return answer;
        }
        queue.abandon(slot);
        Err(Error::Device(match ended {
            Progress::Silent => format!("{opcode} isn't answered, and nothing more will happen"),
            _ => format!("{opcode} wasn't answered within {} s", COMMAND_TIMEOUT.as_secs()),
        }))
    }

    /// Executes a command of the driver's own.
    fn send(&self, command: &command::Command, output_len: usize) -> Result<Vec<u8>, Error> {
        self.execute(command.bytes(), output_len)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let up = self.lock().queue.is_some();
        if up && let Err(error) = self.tear_down() {
            tracing::warn!(%error, "the function wasn't shut down in order");
            if let Err(error) = self.door.reset() {
                tracing::warn!(%error, "the function can't be reset");
            }
        }
    }
}
