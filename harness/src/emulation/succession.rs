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
//! A frame is a byte that says what it is, four bytes of length (big-endian), and what it holds (ours, version 1).
//!
//! | what goes wrong | the one that serves | the successor |
//! |---|---|---|
//! | a successor goes, or says nothing for [`PATIENCE`], before `CLAIMED` | serves on, for the next one to come | |
//! | it goes after that, before `PRIMARY` | becomes primary again, serves on | |
//! | it says nothing for [`PATIENCE`] after that | becomes primary again if the device lets it; if not, the successor is, and this one ends | is refused by the device, if it's too late |
//! | the one that serves ends or dies before `STATE` | | ends: what a device keeps in software is lost, and a host that goes on must reset the function |
//! | it dies after `STATE` | | goes on, with all that it needs |
//!
//! The device decides who is primary, so there are never two.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mlx5_twin_sim::time::Time;

use super::behaviour::{Behaviour, Service};
use super::{Channel, Error, Export, FunctionState, Port, Role, Settings};
use crate::backend::Backend;

/// How long a process may take for its next step (ours). Until it's over the functions aren't served, or the successor waits in vain.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a process tries to become primary again while the device doesn't know yet that its successor has gone (ours).
const RETRY: Duration = Duration::from_millis(5);
/// The longest frame (ours): 1,000 ports with all their registers.
const LONGEST: usize = 1 << 25;

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
    /// A successor that has got the export, and until when it must have claimed the functions.
    successor: Option<(UnixStream, Instant)>,
}

/// What becomes of a conversation that didn't end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// The other process has closed it, or died.
    Gone,
    /// It's there, and says nothing, or something wrong.
    There,
}

impl Other {
    fn after(error: &io::Error) -> Other {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Other::Gone,
            _ => Other::There,
        }
    }
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
    pub(super) fn attend<B: Behaviour>(&mut self, service: &mut Service<B>, now: Time) -> Result<Succession, Error> {
        let Some((stream, until)) = self.successor.take() else {
            if let Ok((stream, _)) = self.listener.accept() {
                let export = service.channel.export()?;
                match patient(&stream).and_then(|()| send(&stream, EXPORT, &export.to_bytes())) {
                    Ok(()) => self.successor = Some((stream, Instant::now() + PATIENCE)),
                    Err(error) => return give_up(service, &error),
                }
            }
            return Ok(Succession::Open);
        };
        match claimed(&stream) {
            Ok(true) => service.hand_over(&stream, now),
            Ok(false) if Instant::now() < until => {
                self.successor = Some((stream, until));
                Ok(Succession::Open)
            }
            Ok(false) => give_up(service, &io::ErrorKind::TimedOut.into()),
            Err(error) => give_up(service, &error),
        }
    }
}

/// Waits for another successor.
fn give_up<B>(service: &mut Service<B>, error: &io::Error) -> Result<Succession, Error> {
    let error = failed("the successor hasn't claimed the functions", error);
    tracing::warn!("{error}");
    service.channel.withdraw()?;
    Ok(Succession::Open)
}

/// Neither reading nor writing takes longer than the patience.
fn patient(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Whether the successor has claimed the functions. Doesn't wait for it.
fn claimed(stream: &UnixStream) -> io::Result<bool> {
    let mut frame = [0; 5];
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    match rustix::net::recv(stream, &mut frame[..], flags) {
        Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok((_, length)) if length < frame.len() => Ok(false),
        Ok(_) => receive(stream, CLAIMED).map(|_| true),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<B: Behaviour> Service<B> {
    /// Serves what is there, tells the successor how all is, and waits until it serves.
    fn hand_over(&mut self, stream: &UnixStream, now: Time) -> Result<Succession, Error> {
        let Service { channel, functions } = self;
        channel.drain(|channel, port, request| match functions.get_mut(&port) {
            Some(function) => function.request(channel, port, request, now),
            None => Err(Error::NoFunction(port)),
        })?;
        let told = self.state().and_then(|state| send(stream, STATE, &state));
        let Err(error) = told.and_then(|()| receive(stream, PRIMARY)) else { return Ok(Succession::Done) };
        let other = Other::after(&error);
        let error = failed("the successor doesn't say that it serves", &error);
        tracing::warn!("{error}");
        self.resume(other)
    }

    /// Becomes primary again after a hand-over that failed, unless the successor is.
    fn resume(&mut self, other: Other) -> Result<Succession, Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(error) = self.channel.set_primary(true) else {
                self.channel.withdraw()?;
                return Ok(Succession::Open);
            };
            if other == Other::There && self.channel.role()? == Role::Secondary {
                // The successor is, and only doesn't say so.
                return Ok(Succession::Done);
            }
            // The device may learn a little later than we do that a process has gone, and then gives back what it had.
            if Instant::now() >= until {
                return Err(error);
            }
            thread::sleep(RETRY);
        }
    }

    /// For each port: its number, and with their lengths what the host made of its configuration space, and how it behaves.
    fn state(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (port, function) in &self.functions {
            let config = self.channel.save(*port).map_err(io::Error::other)?.to_bytes();
            let saved = function.save().ok_or_else(|| io::Error::other("this device can't be handed over"))?;
            bytes.extend(port.0.to_be_bytes());
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
    while let Some((port, rest)) = bytes.split_first_chunk() {
        let (config, rest) = part(rest)?;
        let (saved, rest) = part(rest)?;
        states.insert(Port(u16::from_be_bytes(*port)), (FunctionState::from_bytes(config).ok()?, B::restore(saved)?));
        bytes = rest;
    }
    bytes.is_empty().then_some(states)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Takes functions over from the process that listens at `path`.
pub(super) fn take_over<B: Behaviour>(
    backend: Arc<dyn Backend>,
    ports: &[u16],
    settings: &Settings,
    path: &Path,
) -> Result<Service<B>, Error> {
    let stream =
        UnixStream::connect(path).map_err(|error| failed(&format!("connecting to {}", path.display()), &error))?;
    patient(&stream).map_err(|error| failed("the socket", &error))?;
    let export = receive(&stream, EXPORT).map_err(|error| failed("the export", &error))?;
    let export = Export::from_bytes(&export).map_err(|error| Error::Serving(format!("hand-over: {error}")))?;
    let mut service = Service::<B>::begin(Channel::import(backend, &export, settings)?, ports)?;
    send(&stream, CLAIMED, &[]).map_err(|error| failed("saying that the functions are claimed", &error))?;
    let state = receive(&stream, STATE).map_err(|error| failed("the functions' state", &error))?;
    let states = states::<B>(&state)
        .ok_or_else(|| Error::Serving("hand-over: the state isn't one of functions of this kind".to_owned()))?;
    if !states.keys().eq(service.functions.keys()) {
        let list = |ports: &mut dyn Iterator<Item = &Port>| ports.map(Port::to_string).collect::<Vec<_>>().join(", ");
        let (theirs, ours) = (list(&mut states.keys()), list(&mut service.functions.keys()));
        return Err(Error::Serving(format!("hand-over: of ports {theirs}, but ports {ours} were to be taken over")));
    }
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
        assert_eq!(error, format!("frame 2 of 0 bytes came, frame 4 of at most {LONGEST} is due"));
        (&theirs).write_all(&[STATE, 2, 0, 0, 1]).expect("room");
        assert!(receive(&ours, STATE).is_err());
        assert!(send(&theirs, STATE, &vec![0; LONGEST + 1]).is_err());
        drop(theirs);
        assert_eq!(receive(&ours, STATE).expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_successor_that_says_nothing_or_half_of_it_has_not_claimed() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        assert!(!claimed(&ours).expect("still there"));
        (&theirs).write_all(&[CLAIMED, 0]).expect("room");
        assert!(!claimed(&ours).expect("a part of a frame"));
        (&theirs).write_all(&[0, 0, 0]).expect("room");
        assert!(claimed(&ours).expect("still there"));
        send(&theirs, CLAIMED, &[]).expect("room");
        assert!(claimed(&ours).expect("still there"));
        drop(theirs);
        assert!(claimed(&ours).is_err());
    }

    #[derive(Debug, Default)]
    struct Nothing(Vec<u8>);

    impl Behaviour for Nothing {
        fn description(_: u16) -> crate::emulation::Description {
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
