//! A command's bytes on their way between the guest and us, and everything else that comes from outside, as events in one queue.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

use super::control::{LONGEST_NOTICE, Notice, Stream};
use super::lines::Lines;
use super::terminal::{Keys, wait_for_input};

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
    /// Our input has ended, after that many bytes.
    InputEnd(u64),
    /// The user wants to leave.
    Leave,
    /// A signal.
    Signal(i32),
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
            if open && sink.write_all(bytes).and_then(|()| sink.flush()).is_err() {
                open = false;
                let _ = events.send(Event::HungUp(which));
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

/// Signals as events, until this is dropped.
#[derive(Debug)]
pub(super) struct SignalEvents(Handle);

impl SignalEvents {
    /// Those that end us, and that the terminal's size has changed.
    pub(super) fn new(events: SyncSender<Event>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGWINCH])?;
        let handle = signals.handle();
        thread::spawn(move || {
            signals.forever().take_while(|&signal| events.send(Event::Signal(signal)).is_ok()).count()
        });
        Ok(Self(handle))
    }
}

impl Drop for SignalEvents {
    fn drop(&mut self) {
        self.0.close();
    }
}
