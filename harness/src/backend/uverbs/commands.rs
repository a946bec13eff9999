//! Commands whose answers aren't waited for: they come through a file.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

use super::abi;
use super::call::Call;
use super::open::Open;
use super::refusal::refused;
use crate::backend::{Error, ObjectHandle};

/// Bytes before the output: `struct mlx5_ib_uapi_devx_async_cmd_hdr` of `mlx5_user_ioctl_verbs.h`.
const HEADER: usize = 8;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the sender gave.
    pub id: u64,
    /// The command's output, which begins with its status.
    pub output: Vec<u8>,
}

/// A file from which answers of asynchronous commands are read.
#[derive(Debug)]
pub struct AsyncCommands {
    file: OwnedFd,
    open: Arc<Open>,
}

impl AsyncCommands {
    pub(super) fn new(open: &Arc<Open>) -> Result<AsyncCommands, Error> {
        let what = "a file for answers of commands";
        let file = Call::new(abi::OBJECT_DEVX_ASYNC_CMD_FD, abi::METHOD_DEVX_ASYNC_CMD_FD_ALLOC)
            .new_file(abi::ATTR_DEVX_ASYNC_CMD_FD_ALLOC_HANDLE)
            .run(open)
            .and_then(|done| done.file(abi::ATTR_DEVX_ASYNC_CMD_FD_ALLOC_HANDLE))
            .map_err(|errno| refused(what, errno))?;
        fcntl_setfl(&file, OFlags::NONBLOCK).map_err(|errno| refused(what, errno))?;
        Ok(AsyncCommands { file, open: Arc::clone(open) })
    }

    /// Sends a command that queries an object, and doesn't wait for its answer, which will have `output_len` bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] as of [`crate::backend::Backend::query_object`]; EAGAIN while too many bytes of answers haven't been read.
    pub fn query(&self, object: ObjectHandle, input: &[u8], output_len: u16, id: u64) -> Result<(), Error> {
        Call::new(abi::OBJECT_DEVX_OBJ, abi::METHOD_DEVX_OBJ_ASYNC_QUERY)
            .handle(abi::ATTR_DEVX_OBJ_QUERY_ASYNC_HANDLE, object.0)
            .input(abi::ATTR_DEVX_OBJ_QUERY_ASYNC_CMD_IN, input)
            .file(abi::ATTR_DEVX_OBJ_QUERY_ASYNC_FD, self.file.as_fd())
            .number64(abi::ATTR_DEVX_OBJ_QUERY_ASYNC_WR_ID, id)
            .number64(abi::ATTR_DEVX_OBJ_QUERY_ASYNC_OUT_LEN, u64::from(output_len))
            .run(&self.open)
            .map(drop)
            .map_err(|errno| refused("an asynchronous command that is to query an object", errno))
    }

    /// Waits for the next answer. `None` if the time is over before it comes.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is gone.
    pub fn next(&self, timeout: Duration) -> Result<Option<Answer>, Error> {
        // A time that is too long for the clock is without end.
        let deadline = Instant::now().checked_add(timeout);
        let mut gone = false;
        loop {
            let mut bytes = vec![0; HEADER + usize::from(u16::MAX)];
            match rustix::io::read(&self.file, bytes.as_mut_slice()) {
                Ok(len) => {
                    bytes.truncate(len);
                    let Some((id, output)) = bytes.split_first_chunk() else {
                        return Err(Error::Device(format!("an answer of {len} bytes: its header has {HEADER}")));
                    };
                    return Ok(Some(Answer { id: u64::from_ne_bytes(*id), output: output.to_vec() }));
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(refused("reading the answer to a command", errno)),
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if gone {
                return Err(Error::Device("the device is gone".to_owned()));
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let mut files = [PollFd::new(&self.file, PollFlags::IN | PollFlags::RDHUP)];
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut files, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(refused("waiting for the answer to a command", errno)),
            }
            gone = files[0].revents().intersects(PollFlags::RDHUP | PollFlags::ERR | PollFlags::HUP);
        }
    }
}
