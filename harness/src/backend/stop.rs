//! How a program that serves a real device is told to end.
//!
//! In a simulation a program ends when nothing will ever happen again. Real devices never say so: there somebody asks for the end, for example
//! a signal handler, and the backend passes it on to the program in the same words.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Error;

/// A request to end, for all contexts of a device: once made it can't be taken back. Afterwards [`super::Backend::wait`] gives [`super::Wake::Silent`]
/// when no event is there, [`super::Backend::pause`] gives `false`, and [`super::Backend::is_stopped`] `true`. Clones are the same request.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Nobody has asked yet.
    ///
    /// # Errors
    /// [`Error::Device`] if the operating system gives no eventfd.
    pub fn new() -> Result<Stop, Error> {
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::Device(format!("no eventfd for the request to end: {error}")))?;
        Ok(Stop(Arc::new(file)))
    }

    /// Asks for the end. Safe to call in a signal handler; calling it again changes nothing.
    pub fn request(&self) {
        // It can only fail if the count is full: then the request was made long ago.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Whether somebody has asked. That's a system call: VFIO asks by the file itself, without this process.
    pub fn is_requested(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Readable from the request on, without end: to be polled together with what a wait is for. Nobody reads it.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_stays_and_is_seen_by_clones() {
        let stop = Stop::new().expect("an eventfd");
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        stop.request();
        assert!(other.is_requested() && stop.is_requested() && other.is_requested());
    }
}
