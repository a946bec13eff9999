//! Events of a context: the file from which they are read, and what was subscribed to.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mlx5_twin_fw_cmds::event::EventType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

use super::abi;
use super::call::Call;
use super::refusal::{handle_refused, refused};
use crate::backend::{Error, Event, ObjectHandle, Stop, Wake, check_event_types};

/// What a subscription is known by. The kernel's cookie is a number of our own, of one object and one event type: so an event says its type, and the kernel
/// needs to keep no more than one event of each subscription.
#[derive(Debug, Default)]
struct Subscriptions {
    next: u64,
    all: BTreeMap<u64, (ObjectHandle, Event)>,
}

/// The events of one context, as one of its files has them.
#[derive(Debug)]
pub(super) struct Events {
    file: OwnedFd,
    subscriptions: Mutex<Subscriptions>,
}

impl Events {
    /// Has the kernel make the file.
    pub(super) fn new(context: impl AsFd) -> Result<Events, Error> {
        let what = "a file for events";
        let done = Call::new(abi::OBJECT_DEVX_ASYNC_EVENT_FD, abi::METHOD_DEVX_ASYNC_EVENT_FD_ALLOC)
            .new_file(abi::ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_HANDLE)
            .number32(abi::ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_FLAGS, abi::EVENT_CHANNEL_OMIT_DATA)
            .run(context)
            .and_then(|done| done.file(abi::ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_HANDLE));
        let file = done.map_err(|errno| refused(what, errno))?;
        fcntl_setfl(&file, OFlags::NONBLOCK).map_err(|errno| refused(what, errno))?;
        Ok(Events { file, subscriptions: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to events of an object: all of them, or none.
    pub(super) fn subscribe(
        &self,
        context: impl AsFd,
        object: ObjectHandle,
        events: &[EventType],
        cookie: u64,
    ) -> Result<(), Error> {
        check_event_types(events)?;
        let mut made = Vec::new();
        let result = events.iter().try_for_each(|&event_type| {
            let number = {
                let mut subscriptions = self.lock();
                subscriptions.next += 1;
                let number = subscriptions.next;
                subscriptions.all.insert(number, (object, Event { cookie, event_type }));
                number
            };
            made.push(number);
            Call::new(abi::OBJECT_DEVX, abi::METHOD_DEVX_SUBSCRIBE_EVENT)
                .file(abi::ATTR_DEVX_SUBSCRIBE_EVENT_FD_HANDLE, self.file.as_fd())
                .handle(abi::ATTR_DEVX_SUBSCRIBE_EVENT_OBJ_HANDLE, object.0)
                .input(abi::ATTR_DEVX_SUBSCRIBE_EVENT_TYPE_NUM_LIST, &u16::from(event_type.0).to_ne_bytes())
                .number64(abi::ATTR_DEVX_SUBSCRIBE_EVENT_COOKIE, number)
                .run(&context)
                .map(drop)
        });
        result.map_err(|errno| {
            // The kernel takes no subscription back: what was made of them is not listened to.
            self.lock().all.retain(|number, _| !made.contains(number));
            handle_refused("object", "a subscription to an event of an object", object.0, errno)
        })
    }

    /// An object was destroyed, and with it its subscriptions.
    pub(super) fn forget(&self, object: ObjectHandle) {
        self.lock().all.retain(|_, (subscribed, _)| *subscribed != object);
    }

    /// Takes the first event that is there.
    fn take(&self) -> Result<Option<Event>, Error> {
        loop {
            let mut cookie = [0; 8];
            match rustix::io::read(&self.file, &mut cookie) {
                Ok(8) => {}
                Ok(len) => return Err(Error::Device(format!("an event of {len} bytes: a cookie has 8"))),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(refused("reading an event", errno)),
            }
            let found = self.lock().all.get(&u64::from_ne_bytes(cookie)).map(|(_, event)| *event);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Waits for the next event, for the request to end, or until the time is over.
    pub(super) fn wait(&self, stop: &Stop, timeout: Option<Duration>) -> Result<Wake, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut gone = false;
        loop {
            if let Some(event) = self.take()? {
                return Ok(Wake::Event(event));
            }
            if gone {
                return Err(Error::Device("the device is gone".to_owned()));
            }
            if stop.is_requested() {
                return Ok(Wake::Silent);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Wake::TimedOut);
            }
            // A time that is too long for the kernel is without end.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut files =
                [PollFd::new(&self.file, PollFlags::IN | PollFlags::RDHUP), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut files, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("waiting for an event", errno)),
            }
            // When the kernel has taken the device away, the file says so for good.
            gone = files[0].revents().intersects(PollFlags::RDHUP | PollFlags::ERR | PollFlags::HUP);
        }
    }
}
