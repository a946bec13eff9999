//! A client's connection: whole messages with their descriptors, and none that takes for ever.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recv, recvmsg, send};

use super::Violation;
use super::wire::{HEADER, Header, Message};

/// The most descriptors of a message.
pub(crate) const MAX_DESCRIPTORS: usize = 16;

/// The connection.
#[derive(Debug)]
pub(super) struct Stream {
    connection: UnixStream,
    patience: Duration,
}

/// Waits until something can be read or written, at most until `end`. Whether it can.
fn wait(connection: &UnixStream, flags: PollFlags, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(connection, flags)], Some(&time)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Stream {
    pub(super) fn new(connection: UnixStream, patience: Duration) -> Stream {
        Stream { connection, patience }
    }

    /// The next message. `None` if the client has hung up. Whoever is idle may be so for as long as it likes, unless it's `urgent`.
    ///
    /// # Errors
    /// The rule that the message breaks.
    pub(super) fn receive(&mut self, urgent: bool) -> Result<Option<Message>, Violation> {
        let mut header = [0; HEADER];
        let mut files = Vec::new();
        if urgent && !wait(&self.connection, PollFlags::IN, Instant::now() + self.patience)? {
            return Err(Violation::Late { have: 0, want: HEADER, after: self.patience });
        }
        let mut have = match self.take(&mut header, &mut files, RecvFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(have) => have,
            // As good as hung up.
            Err(Violation::System(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = Instant::now() + self.patience;
        while have < HEADER {
            match self.take(&mut header[have..], &mut files, RecvFlags::DONTWAIT) {
                Ok(0) => return Err(Violation::Cut { have, want: HEADER }),
                Ok(more) => have += more,
                Err(Violation::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.more(PollFlags::IN, end, have, HEADER)?;
                }
                Err(error) => return Err(error),
            }
        }
        let header = Header::new(&header)?;
        header.check_descriptors(files.len())?;
        let mut payload = vec![0; header.size as usize - HEADER];
        let mut have = 0;
        while have < payload.len() {
            match recv(&self.connection, &mut payload[have..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(Violation::Cut { have: HEADER + have, want: header.size as usize }),
                Ok((_, more)) => have += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.more(PollFlags::IN, end, HEADER + have, header.size as usize)?,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Message::new(header, payload, files).map(Some)
    }

    fn more(&self, flags: PollFlags, end: Instant, have: usize, want: usize) -> Result<(), Violation> {
        let after = self.patience;
        match wait(&self.connection, flags, end)? {
            true => Ok(()),
            false if flags == PollFlags::IN => Err(Violation::Late { have, want, after }),
            false => Err(Violation::Unread { have, want, after }),
        }
    }

    /// Reads bytes, and the descriptors that come with them.
    fn take(&self, bytes: &mut [u8], files: &mut Vec<File>, flags: RecvFlags) -> Result<usize, Violation> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(&self.connection, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
                Err(Errno::INTR) => {}
                received => break received.map_err(io::Error::from)?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                files.extend(descriptors.map(File::from));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || files.len() > MAX_DESCRIPTORS {
            return Err(Violation::TooManyDescriptors);
        }
        Ok(received.bytes)
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// [`Violation::Unread`], [`Violation::System`].
    pub(super) fn send(&mut self, answer: &[u8]) -> Result<(), Violation> {
        let end = Instant::now() + self.patience;
        let mut have = 0;
        while have < answer.len() {
            match send(&self.connection, &answer[have..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(more) => have += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.more(PollFlags::OUT, end, have, answer.len())?,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }
}
