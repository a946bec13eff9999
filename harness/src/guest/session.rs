//! A guest from its start to its end.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use signal_hook::consts::SIGWINCH;

use super::console::Console;
use super::control::{Exit, Notice, Order, Started, Stream};
use super::error::Error;
use super::qemu::{Launch, PROGRAM_SLOT, Ports, Qemu, disk, slot_id};
use super::qmp::Qmp;
use super::snapshot::Snapshot;
use super::streams::{self, Event, SignalEvents};
use super::suite::Test;
use super::terminal;
use super::watchdog::Watchdog;
use crate::serve::CardEvent;

/// How often is looked whether all is well, if nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// How often QEMU is asked how far it is.
const POLL: Duration = Duration::from_millis(4);

/// How long the kernel's last words may take after the agent's end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long a restored agent may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the guest waits for the functions to be there, in seconds.
pub(super) const DEVICE_SECONDS: f64 = 15.0;

/// How long the guest waits for the disk with this program, in seconds.
pub(super) const PROGRAM_SECONDS: f64 = 5.0;

/// How far a start has come when the guest waits for orders.
const STARTED: &str = "its start";

/// A running guest.
#[derive(Debug)]
pub(super) struct Session {
    qemu: Qemu,
    qmp: Qmp,
    control: UnixStream,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    streams: Option<(UnixStream, UnixStream, UnixStream)>,
    console: Console,
    watchdog: Watchdog,
    deadline: Option<(Instant, Duration)>,
    /// How far its start has come.
    stage: String,
    /// The kernel's release.
    pub(super) kernel: String,
    /// Whether it comes from a snapshot.
    pub(super) warm: bool,
}

impl Session {
    /// Starts a guest: from the snapshot if there's one that can be restored; else it boots, and the snapshot is made. It waits for
    /// orders then, and runs. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`Error`]
    pub(super) fn start(
        launch: &Launch<'_>,
        snapshot: Option<&Snapshot>,
        signals: &SignalEvents,
        tell: &dyn Fn(&str),
    ) -> Result<Self, Error> {
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.exists()) {
            tell("restoring the guest");
            match Self::restore(launch, snapshot, signals) {
                Err(error) if !error.is_the_users() => {
                    tracing::info!(%error, "the snapshot can't be restored, and is made anew");
                    snapshot.remove();
                }
                result => return result,
            }
        }
        tell("booting the guest");
        let mut session = Self::launch(&Launch { restore: false, ..*launch }, signals)?;
        let mut stage = String::new();
        while session.kernel.is_empty() {
            session.next(TICK)?;
            if stage != session.stage {
                stage.clone_from(&session.stage);
                tell(&format!("booting the guest: {stage}"));
            }
        }
        if let Some(snapshot) = snapshot {
            tell("saving the guest for quicker starts");
            // Without a snapshot all goes on, and it will be tried again.
            match session.with_qmp(|session, qmp| snapshot.save(qmp, || session.next(POLL).map(drop))) {
                Err(error) if error.is_the_users() => return Err(error),
                Err(error) => tracing::warn!("the guest wasn't saved for quicker starts: {error}"),
                Ok(()) => {}
            }
            session.qmp.execute("cont", &json!({}))?;
        }
        Ok(session)
    }

    fn restore(launch: &Launch<'_>, snapshot: &Snapshot, signals: &SignalEvents) -> Result<Self, Error> {
        let mut session = Self::launch(&Launch { restore: true, ..*launch }, signals)?;
        session.with_qmp(|session, qmp| snapshot.restore(qmp, || session.next(POLL).map(drop)))?;
        session.qmp.execute("cont", &json!({}))?;
        session.order(&Order::Ping)?;
        let begin = Instant::now();
        while !matches!(session.next(TICK)?, Some(Notice::Pong(_))) {
            if begin.elapsed() > ANSWER {
                return Err(session.silent(begin.elapsed()));
            }
        }
        session.warm = true;
        session.watchdog.agent(Instant::now());
        Ok(session)
    }

    fn launch(launch: &Launch<'_>, signals: &SignalEvents) -> Result<Self, Error> {
        let (sender, events) = sync_channel(1024);
        signals.listen(sender.clone());
        let (qemu, Ports { qmp, console, control, input, out, err }) = Qemu::start(launch)?;
        let qmp = Qmp::open(qmp)?;
        streams::control(control.try_clone().map_err(Error::Port)?, sender.clone());
        streams::console(console, sender.clone());
        control.set_write_timeout(Some(ANSWER)).map_err(Error::Port)?;
        Ok(Self {
            qemu,
            qmp,
            control,
            events,
            sender,
            streams: Some((input, out, err)),
            console: Console::default(),
            watchdog: Watchdog::new(Instant::now()),
            deadline: None,
            stage: "nothing".to_owned(),
            kernel: String::new(),
            warm: false,
        })
    }

    /// Runs something that needs QEMU's control socket beside the rest.
    fn with_qmp<T>(&mut self, run: impl FnOnce(&mut Rest<'_>, &mut Qmp) -> T) -> T {
        let Self { qemu, qmp, events, console, watchdog, deadline, stage, kernel, .. } = self;
        let mut rest = Rest { qemu, events, console, watchdog, deadline: *deadline, stage, kernel };
        run(&mut rest, qmp)
    }

    fn rest(&mut self) -> Rest<'_> {
        let Self { qemu, events, console, watchdog, deadline, stage, kernel, .. } = self;
        Rest { qemu, events, console, watchdog, deadline: *deadline, stage, kernel }
    }

    /// The next notice that somebody must act on, if it comes within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<Notice>, Error> {
        match self.event(wait)? {
            Some(Event::Notice(notice)) => Ok(Some(notice)),
            _ => Ok(None),
        }
    }

    /// The next event that somebody must act on, if it comes within `wait`. What happens to the card is told to the agent.
    fn event(&mut self, wait: Duration) -> Result<Option<Event>, Error> {
        let event = self.rest().event(wait)?;
        match event {
            Some(Event::Card(event)) => self.order(&Order::Card { present: event == CardEvent::Back }).map(|()| None),
            event => Ok(event),
        }
    }

    fn silent(&mut self, time: Duration) -> Error {
        Error::Silent { seconds: time.as_secs(), stage: self.stage.clone(), console: self.console.lines() }
    }

    fn order(&mut self, order: &Order) -> Result<(), Error> {
        self.control.write_all(&order.line()).map_err(Error::Port)
    }

    /// From now on the guest is told when the card has gone or come back.
    pub(super) fn watch_card(&self, happenings: Receiver<CardEvent>) {
        streams::card(happenings, self.sender.clone());
    }

    /// Plugs a function into a slot. Its server listens at `path`.
    pub(super) fn plug_function(&mut self, slot: u8, path: &std::path::Path) -> Result<(), Error> {
        let path = path.to_string_lossy();
        let (id, bus) = (format!("function{slot}"), slot_id(slot));
        let device = json!({
            "driver": "vfio-user-pci", "id": id, "bus": bus, "socket": { "type": "unix", "path": path }
        });
        self.qmp.execute("device_add", &device)?;
        Ok(())
    }

    /// Has the agent wait until so many functions are there.
    pub(super) fn wait_for(&mut self, devices: usize) -> Result<(), Error> {
        self.order(&Order::Devices { devices, device_s: DEVICE_SECONDS })?;
        while !matches!(self.next(TICK)?, Some(Notice::Devices(_))) {}
        Ok(())
    }

    /// Plugs in a disk that is the file.
    pub(super) fn plug_program(&mut self, image: &std::path::Path) -> Result<(), Error> {
        self.qmp.execute("blockdev-add", &disk("program", image)?)?;
        let device =
            json!({ "driver": "nvme", "id": "program", "bus": PROGRAM_SLOT, "serial": "program", "drive": "program" });
        self.qmp.execute("device_add", &device)?;
        Ok(())
    }

    /// Has the agent do what is only possible now.
    pub(super) fn begin(&mut self, devices: usize, program: bool) -> Result<Started, Error> {
        let time_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let order = Order::Start {
            time_s,
            entropy: entropy(),
            devices,
            device_s: if devices > 0 { DEVICE_SECONDS } else { 0.0 },
            program_s: if program { PROGRAM_SECONDS } else { 0.0 },
        };
        self.order(&order)?;
        loop {
            if let Some(Notice::Started(started)) = self.next(TICK)? {
                return Ok(started);
            }
        }
    }

    /// Has the agent run a command, and moves its bytes until it has ended. `test` hears of tests. Once `enough` says so, the command is told to end.
    pub(super) fn run(
        &mut self,
        order: &Order,
        pipes: Pipes,
        timeout: Option<Duration>,
        mut test: impl FnMut(Test),
        enough: impl Fn() -> bool,
    ) -> Result<Exit, Error> {
        let Some((input, out, err)) = self.streams.take() else {
            return Err(Error::Port(io::Error::other("the guest runs one command only")));
        };
        let taken = [
            streams::output(out, Stream::Out, pipes.out, self.sender.clone()),
            streams::output(err, Stream::Err, pipes.err, self.sender.clone()),
        ];
        // Open until the command has ended: QEMU drops what it hasn't read of a closed socket.
        let _input = input.try_clone().map_err(Error::Port)?;
        let begin = Instant::now();
        self.deadline = timeout.and_then(|timeout| Some((begin.checked_add(timeout)?, timeout)));
        self.order(order)?;
        // Closed when this function ends: then nobody reads standard input any more.
        let _stop = if let Input::None = pipes.input {
            self.order(&Order::InputEnd { bytes: 0 })?;
            None
        } else {
            let (ours, theirs) = UnixStream::pair().map_err(Error::Port)?;
            streams::input(input, theirs, pipes.input == Input::Terminal, self.sender.clone());
            Some(ours)
        };
        let mut end: Option<Exit> = None;
        let mut told = false;
        loop {
            if !told && enough() {
                told = true;
                self.order(&Order::Terminate)?;
            }
            if let Some(exit) = end
                && counts(&taken) >= [exit.out, exit.err]
            {
                return Ok(exit);
            }
            match self.event(TICK)? {
                Some(Event::Notice(Notice::Exit(exit))) => end = Some(exit),
                Some(Event::Notice(Notice::Test(result))) => test(result),
                Some(Event::InputEnd(bytes)) => self.order(&Order::InputEnd { bytes })?,
                Some(Event::HungUp(stream)) => self.order(&Order::Close { stream })?,
                Some(Event::Signal(SIGWINCH)) if pipes.input == Input::Terminal => {
                    let (rows, columns) = terminal::size();
                    self.order(&Order::Resize { rows, columns })?;
                }
                _ => {}
            }
        }
    }

    /// Ends the guest.
    pub(super) fn end(mut self) {
        // It's killed if it doesn't obey.
        let _ = self.qmp.execute("quit", &json!({}));
        self.qemu.end();
    }
}

/// Where a command's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// There's none.
    None,
    /// Standard input, as it is.
    Standard,
    /// Standard input, which is a terminal in raw mode.
    Terminal,
}

/// Where a command's bytes come from and go to.
pub struct Pipes {
    /// Its input.
    pub input: Input,
    /// Its output.
    pub out: Box<dyn Write + Send>,
    /// Its messages.
    pub err: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Pipes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipes").field("input", &self.input).finish_non_exhaustive()
    }
}

fn counts(taken: &[Arc<AtomicU64>; 2]) -> [u64; 2] {
    [taken[0].load(Ordering::SeqCst), taken[1].load(Ordering::SeqCst)]
}

/// A session without QEMU's control socket.
struct Rest<'a> {
    qemu: &'a mut Qemu,
    events: &'a Receiver<Event>,
    console: &'a mut Console,
    watchdog: &'a mut Watchdog,
    deadline: Option<(Instant, Duration)>,
    stage: &'a mut String,
    kernel: &'a mut String,
}

impl Rest<'_> {
    fn next(&mut self, wait: Duration) -> Result<(), Error> {
        self.event(wait).map(drop)
    }

    /// What happens next, if it happens within `wait`. What is the same for all is dealt with here.
    ///
    /// # Errors
    /// The guest is dead, a signal ends us, or time is over.
    fn event(&mut self, wait: Duration) -> Result<Option<Event>, Error> {
        let now = Instant::now();
        if let Some(silent) = self.watchdog.look(now) {
            let (seconds, stage) = (silent.as_secs(), self.stage.clone());
            return Err(Error::Silent { seconds, stage, console: self.console.lines() });
        }
        if let Some((deadline, limit)) = self.deadline
            && now >= deadline
        {
            return Err(Error::Timeout { seconds: limit.as_secs() });
        }
        let event = match self.events.recv_timeout(wait) {
            Ok(Event::Lost(stream, source)) => return Err(Error::Output { stream, source }),
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        };
        match &event {
            Event::Notice(notice) => {
                self.watchdog.sign(Instant::now());
                match notice {
                    Notice::Stage(stage) => self.stage.clone_from(stage),
                    Notice::Pong(_) => STARTED.clone_into(self.stage),
                    Notice::Ready(kernel) => {
                        STARTED.clone_into(self.stage);
                        self.kernel.clone_from(kernel);
                        self.watchdog.agent(Instant::now());
                    }
                    _ => {}
                }
            }
            Event::Console(bytes) => {
                self.watchdog.words(Instant::now());
                self.console.push(bytes);
                if self.console.panic().is_some() {
                    return Err(self.died());
                }
            }
            // The guest has taken something, or it's we who take nothing.
            Event::Moved => self.watchdog.sign(Instant::now()),
            Event::Broken(reason) => {
                return Err(Error::Agent { reason: reason.clone(), console: self.console.lines() });
            }
            Event::Closed => return Err(self.died()),
            Event::Leave => return Err(Error::Left),
            Event::Signal(SIGWINCH) | Event::HungUp(_) | Event::Lost(..) | Event::InputEnd(_) | Event::Card(_) => {}
            Event::Signal(signal) => return Err(Error::Signal { signal: *signal }),
        }
        Ok(Some(event))
    }

    /// Why the guest has ended. Waits for what its kernel says last.
    fn died(&mut self) -> Error {
        let begin = Instant::now();
        while let Some(left) = LAST_WORDS.checked_sub(begin.elapsed()) {
            match self.events.recv_timeout(left) {
                Ok(Event::Console(bytes)) => self.console.push(&bytes),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let console = self.console.lines();
        if let Some(reason) = self.console.panic() {
            return Error::Panic { reason: reason.to_owned(), console };
        }
        let status = self.qemu.ended().map_or_else(|| "still running".to_owned(), |status| status.to_string());
        Error::Ended { status, words: self.qemu.words(), console }
    }
}

/// Random bytes for the guest, in hex. Without them the guest's random numbers would be the same after each restore.
fn entropy() -> String {
    let mut bytes = [0; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    if let Err(error) = read {
        tracing::warn!("the guest gets no entropy: {error}");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
