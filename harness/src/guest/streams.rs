//! A command's bytes on their way between the guest and us, and everything else that comes from outside, as events in one queue.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

use super::control::{LONGEST_NOTICE, Notice, Stream};
use super::lines::Lines;
use super::terminal::{Keys, wait_for_input};
use crate::serve::CardEvent;

/// How much is moved at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Something from outside.
#[derive(Debug)]
pub(super) enum Event {
    /// From the guest's agent.
    Notice(Notice),
    /// The guest's agent says something that it shouldn't.
    Broken(String),
    /// The guest's agent can't say anything any more: QEMU has ended.
    Closed,
    /// From the guest's console.
    Console(Vec<u8>),
    /// Something of the command's output was taken.
    Moved,
    /// Nobody takes this output any more.
    HungUp(Stream),
    /// This output can't be given to whoever wants it.
    Lost(Stream, io::Error),
    /// Our input has ended, after that many bytes.
    InputEnd(u64),
    /// The user wants to leave.
    Leave,
    /// A signal.
    Signal(i32),
    /// The card has gone or come back.
    Card(CardEvent),
}

/// Reads from `stream` until its end.
fn read_all(mut stream: impl Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut bytes = vec![0; CHUNK];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if !take(&bytes[..count]) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Reads notices.
pub(super) fn control(stream: UnixStream, events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut lines = Lines::new(LONGEST_NOTICE);
        read_all(stream, |bytes| {
            let notices = match lines.push(bytes) {
                Ok(lines) => lines,
                Err(error) => return events.send(Event::Broken(format!("the guest's agent: {error}"))).is_ok(),
            };
            notices.iter().all(|line| {
                let event = match Notice::parse(line) {
                    Ok(notice) => Event::Notice(notice),
                    Err(error) => Event::Broken(error.to_string()),
                };
                events.send(event).is_ok()
            })
        });
        let _ = events.send(Event::Closed);
    });
}

/// Hears what happens to the card, as long as its server is there.
pub(super) fn card(happenings: Receiver<CardEvent>, events: SyncSender<Event>) {
    thread::spawn(move || happenings.iter().all(|happening| events.send(Event::Card(happening)).is_ok()));
}

/// Reads the console.
pub(super) fn console(stream: UnixStream, events: SyncSender<Event>) {
    thread::spawn(move || read_all(stream, |bytes| events.send(Event::Console(bytes.to_vec())).is_ok()));
}

/// Takes a command's output. Gives the count of bytes that were taken.
pub(super) fn output(
    stream: UnixStream,
    which: Stream,
    mut sink: Box<dyn Write + Send>,
    events: SyncSender<Event>,
) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&count);
    thread::spawn(move || {
        let mut open = true;
        read_all(stream, |bytes| {
            if open && let Err(error) = sink.write_all(bytes).and_then(|()| sink.flush()) {
                open = false;
                // A terminal that is gone is an I/O error.
                let nobody = error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO);
                let _ = events.send(if nobody { Event::HungUp(which) } else { Event::Lost(which, error) });
            }
            taken.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            // If the queue is full, whoever looks there will look at the count too.
            let _ = events.try_send(Event::Moved);
            true
        });
    });
    count
}

/// Gives standard input to the command, until its end or until `stop` is closed. With `terminal`, some keys are for us.
pub(super) fn input(mut stream: UnixStream, stop: UnixStream, terminal: bool, events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut keys = Keys::default();
        let mut bytes = vec![0; CHUNK];
        let mut total = 0;
        while let Ok(true) = wait_for_input(&stop) {
            let count = match io::stdin().lock().read(&mut bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Input that can't be read is input that has ended.
                Err(_) => 0,
            };
            if count == 0 {
                let _ = events.send(Event::InputEnd(total));
                return;
            }
            let (typed, leave) = if terminal { keys.take(&bytes[..count]) } else { (bytes[..count].to_vec(), false) };
            if stream.write_all(&typed).is_err() {
                return;
            }
            total += typed.len() as u64;
            if leave {
                let _ = events.send(Event::Leave);
                return;
            }
        }
    });
}

/// Signals as events, until this is dropped: for one listener after the other, because a guest may be started twice.
#[derive(Debug)]
pub(super) struct SignalEvents {
    handle: Handle,
    state: Arc<Mutex<Heard>>,
}

/// What is known of signals.
#[derive(Debug, Default)]
struct Heard {
    listener: Option<SyncSender<Event>>,
    /// The last one that ends us.
    end: Option<i32>,
}

impl SignalEvents {
    /// Those that end us, and that the terminal's size has changed. From now on they do nothing else.
    pub(super) fn new() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
        let handle = signals.handle();
        let state = Arc::new(Mutex::new(Heard::default()));
        let heard = Arc::clone(&state);
        thread::spawn(move || {
            for signal in signals.forever() {
                let listener = {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    if signal != SIGWINCH {
                        heard.end = Some(signal);
                    }
                    heard.listener.clone()
                };
                // A listener that is gone will be followed by one that is told.
                drop(listener.map(|listener| listener.send(Event::Signal(signal))));
            }
        });
        Ok(Self { handle, state })
    }

    /// From now on the events go to `listener`, first the one that has come when nobody listened.
    pub(super) fn listen(&self, listener: SyncSender<Event>) {
        let mut heard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = heard.end {
            let _ = listener.try_send(Event::Signal(signal));
        }
        heard.listener = Some(listener);
    }
}

impl Drop for SignalEvents {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    #[test]
    fn a_signal_that_nobody_heard_is_told_to_the_next_listener() {
        let signals = SignalEvents::new().unwrap();
        let (sender, first) = sync_channel(8);
        signals.listen(sender);
        signal_hook::low_level::raise(SIGHUP).unwrap();
        let patience = Duration::from_secs(10);
        assert!(matches!(first.recv_timeout(patience), Ok(Event::Signal(SIGHUP))));
        drop(first);
        let (sender, second) = sync_channel(8);
        signals.listen(sender);
        assert!(matches!(second.try_recv(), Ok(Event::Signal(SIGHUP))));
    }

    /// Takes nothing, for a reason.
    struct Full(io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_that_is_lost_is_told_apart_from_output_that_nobody_wants() {
        for (kind, lost) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (sender, events) = sync_channel(8);
            let count = output(ours, Stream::Out, Box::new(Full(kind)), sender);
            theirs.write_all(b"abc").unwrap();
            drop(theirs);
            let event = events.recv_timeout(Duration::from_secs(10)).unwrap();
            match event {
                Event::HungUp(Stream::Out) => assert!(!lost),
                Event::Lost(Stream::Out, error) => assert!(lost && error.kind() == kind),
                other => panic!("{other:?}"),
            }
            assert!(matches!(events.recv_timeout(Duration::from_secs(10)), Ok(Event::Moved)));
            assert_eq!(count.load(Ordering::SeqCst), 3);
        }
    }
}
