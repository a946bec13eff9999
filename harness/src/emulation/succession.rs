//! Two processes hand functions over by a Unix socket, while the host uses them ([`handover`](super::handover) has the steps, this file their conversation).
//!
//! | the one that serves | the successor |
//! |---|---|
//! | listens; serves | connects |
//! | `EXPORT` | opens its channel, claims the functions |
//! | serves on meanwhile | `CLAIMED` |
//! | serves what is in its ring and frees it; `STATE` | becomes primary, goes on from the state |
//! | ends | `PRIMARY` |
//!
//! A frame is a byte that says what it is, four bytes of length (big-endian), and what it holds (ours, version 1). Whatever goes wrong before `PRIMARY`, the first process
//! becomes primary again and serves on; if it dies, the successor still can take over with what the device knows.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::time::Time;

use super::behaviour::{Behaviour, Service};
use super::{Channel, Error, Export, FunctionState, Port, Settings};
use crate::backend::Backend;

/// How long a process may take for its next step (ours). Until it's over the functions aren't served, or the successor waits in vain.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest frame (ours): 32 ports with all their registers.
const LONGEST: usize = 1 << 20;

const EXPORT: u8 = 1;
const CLAIMED: u8 = 2;
const STATE: u8 = 3;
const PRIMARY: u8 = 4;

/// How far a hand-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    /// This process serves.
    Open,
    /// Another one does.
    Done,
}

/// A process that lets another one take over.
#[derive(Debug)]
pub(super) struct Offer {
    listener: UnixListener,
    path: PathBuf,
    /// A successor that has got the export.
    successor: Option<UnixStream>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What went wrong with the other process.
fn failed(what: &str, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("nothing came within {} s", PATIENCE.as_secs()),
        io::ErrorKind::UnexpectedEof => "the other process has gone".to_owned(),
        _ => error.to_string(),
    };
    Error::Serving(format!("hand-over: {what}: {reason}"))
}

fn send(mut stream: &UnixStream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other(format!("{} bytes are more than {LONGEST}", bytes.len())))?;
    let mut frame = vec![kind];
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    stream.write_all(&frame)
}

/// The next frame, which must be of this kind.
fn receive(mut stream: &UnixStream, kind: u8) -> io::Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [found, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if found != kind || length > LONGEST {
        return Err(io::Error::other(format!(
            "frame {found} of {length} bytes came, frame {kind} of at most {LONGEST} is due"
        )));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Offer {
    /// Listens at a path that doesn't exist.
    pub(super) fn listen(path: &Path) -> Result<Offer, Error> {
        let failed = |error: io::Error| Error::Serving(format!("can't listen at {}: {error}", path.display()));
        let listener = UnixListener::bind(path).map_err(failed)?;
        let offer = Offer { listener, path: path.to_owned(), successor: None };
        offer.listener.set_nonblocking(true).map_err(failed)?;
        Ok(offer)
    }

    /// Looks whether somebody has come or has gone on, and does the next step.
    ///
    /// # Errors
    /// Those that end the program. A successor that fails isn't one.
    pub(super) fn attend<B: Behaviour>(
        &mut self,
        service: &mut Service<B>,
        now: impl Fn() -> Time,
    ) -> Result<Succession, Error> {
        let Some(stream) = self.successor.take() else {
            if let Ok((stream, _)) = self.listener.accept() {
                let export = service.channel.export()?;
                match stream.set_nonblocking(false).and_then(|()| send(&stream, EXPORT, &export.to_bytes())) {
                    Ok(()) => self.successor = Some(stream),
                    Err(error) => tracing::warn!(%error, "a successor came and went"),
                }
            }
            return Ok(Succession::Open);
        };
        match claimed(&stream) {
            Ok(false) => self.successor = Some(stream),
            Ok(true) => return service.hand_over(&stream, now),
            Err(error) => {
                tracing::warn!(%error, "the successor gave up before it had claimed the functions");
                service.channel.withdraw()?;
            }
        }
        Ok(Succession::Open)
    }
}

/// Whether the successor has claimed the functions. Doesn't wait for it.
fn claimed(stream: &UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let begun = rustix::net::recv(stream, &mut [0][..], rustix::net::RecvFlags::PEEK);
    stream.set_nonblocking(false)?;
    match begun {
        Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            receive(stream, CLAIMED).map(|_| true)
        }
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<B: Behaviour> Service<B> {
    /// Serves what is there, tells the successor how all is, and waits until it serves.
    fn hand_over(&mut self, stream: &UnixStream, now: impl Fn() -> Time) -> Result<Succession, Error> {
        let Service { channel, functions } = self;
        channel.drain(|channel, port, request| match functions.get_mut(&port) {
            Some(function) => function.request(channel, port, request, now()),
            None => Err(Error::NoFunction(port)),
        })?;
        let told = self.state().and_then(|state| send(stream, STATE, &state));
        let taken = told.and_then(|()| stream.set_read_timeout(Some(PATIENCE))).and_then(|()| receive(stream, PRIMARY));
        let Err(error) = taken else { return Ok(Succession::Done) };
        tracing::warn!(%error, "the successor doesn't say that it serves");
        match self.channel.set_primary(true) {
            Ok(()) => {
                self.channel.withdraw()?;
                Ok(Succession::Open)
            }
            // It does, and has only failed to say so.
            Err(_) => Ok(Succession::Done),
        }
    }

    /// For each port: its number, and with their lengths what the host made of its configuration space, and how it behaves.
    fn state(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (port, function) in &self.functions {
            let config = self.channel.save(*port).map_err(io::Error::other)?.to_bytes();
            let saved = function.save().ok_or_else(|| io::Error::other("this device can't be handed over"))?;
            bytes.push(port.0);
            for part in [config, saved] {
                bytes.extend((part.len() as u32).to_be_bytes());
                bytes.extend(part);
            }
        }
        Ok(bytes)
    }
}

/// What [`Service::state`] has made. `None` if it isn't that.
fn states<B: Behaviour>(mut bytes: &[u8]) -> Option<BTreeMap<Port, (FunctionState, B)>> {
    let mut states = BTreeMap::new();
    while let [port, rest @ ..] = bytes {
        let (config, rest) = part(rest)?;
        let (saved, rest) = part(rest)?;
        states.insert(Port(*port), (FunctionState::from_bytes(config).ok()?, B::restore(saved)?));
        bytes = rest;
    }
    Some(states)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Takes functions over from the process that listens at `path`.
pub(super) fn take_over<B: Behaviour>(
    backend: Arc<dyn Backend>,
    ports: &[u8],
    settings: &Settings,
    path: &Path,
) -> Result<Service<B>, Error> {
    let stream =
        UnixStream::connect(path).map_err(|error| failed(&format!("connecting to {}", path.display()), &error))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failed("the socket", &error))?;
    let export = receive(&stream, EXPORT).map_err(|error| failed("the export", &error))?;
    let export = Export::from_bytes(&export).map_err(|error| Error::Serving(format!("hand-over: {error}")))?;
    let mut service = Service::<B>::begin(Channel::import(backend, &export, settings)?, ports)?;
    send(&stream, CLAIMED, &[]).map_err(|error| failed("saying that the functions are claimed", &error))?;
    let state = receive(&stream, STATE).map_err(|error| failed("the functions' state", &error))?;
    let states = states::<B>(&state).filter(|states| states.keys().eq(service.functions.keys()));
    let states =
        states.ok_or_else(|| Error::Serving("hand-over: the state isn't that of these functions".to_owned()))?;
    service.channel.set_primary(true)?;
    for (port, (config, function)) in states {
        service.channel.restore(port, &config)?;
        service.functions.insert(port, function);
    }
    // If nobody hears it the other process finds out by the device.
    if let Err(error) = send(&stream, PRIMARY, &[]) {
        tracing::warn!(%error, "the process that served before doesn't hear that it's free");
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_of_another_kind_or_too_long_is_refused() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        send(&theirs, STATE, b"abc").expect("room");
        assert_eq!(receive(&ours, STATE).expect("a frame"), b"abc");
        send(&theirs, CLAIMED, &[]).expect("room");
        let error = receive(&ours, PRIMARY).expect_err("another kind").to_string();
        assert_eq!(error, "frame 2 of 0 bytes came, frame 4 of at most 1048576 is due");
        (&theirs).write_all(&[STATE, 0xff, 0, 0, 0]).expect("room");
        assert!(receive(&ours, STATE).is_err());
        assert!(send(&theirs, STATE, &vec![0; LONGEST + 1]).is_err());
        drop(theirs);
        assert_eq!(receive(&ours, STATE).expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_successor_that_says_nothing_has_not_claimed() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        assert!(!claimed(&ours).expect("still there"));
        send(&theirs, CLAIMED, &[]).expect("room");
        assert!(claimed(&ours).expect("still there"));
        drop(theirs);
        assert!(claimed(&ours).is_err());
    }

    #[derive(Debug, Default)]
    struct Nothing(Vec<u8>);

    impl Behaviour for Nothing {
        fn description(_: u8) -> crate::emulation::Description {
            unreachable!("nobody claims it")
        }

        fn request(&mut self, _: &mut Channel, _: Port, _: crate::emulation::Request, _: Time) -> Result<(), Error> {
            Ok(())
        }

        fn restore(saved: &[u8]) -> Option<Nothing> {
            Some(Nothing(saved.to_vec()))
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_states_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(states) = states::<Nothing>(&bytes) {
                let held: usize = states.values().map(|(config, Nothing(saved))| 9 + config.to_bytes().len() + saved.len()).sum();
                prop_assert!(held <= bytes.len());
            }
        }
    }
}
