//! The user's terminal, while the guest's shell has it.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The key before a key that is for us, as in QEMU: Ctrl-A.
const PREFIX: u8 = 0x01;

/// What is told before a shell begins.
pub const HELP: &str = "Ctrl-A x ends the guest at once, 'exit' ends the shell.";

/// The terminal of standard input in raw mode. It gets its old mode back when this is dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Sets the mode.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn set() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The terminal's size, as rows and columns; 24 and 80 if it doesn't say.
pub fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// Waits until standard input has something to read, or its end. Gives false if `stop` has instead.
///
/// # Errors
/// The system can't wait.
pub fn wait_for_input(stop: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let stdin = io::stdin();
    loop {
        let mut files = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut files, None) {
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
            Ok(_) if !files[1].revents().is_empty() => return Ok(false),
            Ok(_) => return Ok(true),
        }
    }
}

/// Finds the keys that are for us among those that are for the guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    prefix: bool,
}

impl Keys {
    /// What of `typed` is for the guest; true if the user wants to end it. Ctrl-A twice is one Ctrl-A for the guest.
    pub fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = Vec::with_capacity(typed.len());
        for &key in typed {
            if !std::mem::take(&mut self.prefix) {
                if key == PREFIX {
                    self.prefix = true;
                } else {
                    bytes.push(key);
                }
            } else if matches!(key, b'x' | b'X') {
                return (bytes, true);
            } else if key == PREFIX {
                bytes.push(PREFIX);
            } else {
                bytes.extend([PREFIX, key]);
            }
        }
        (bytes, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_is_for_us_and_the_rest_for_the_guest() {
        type Case<'a> = (&'a [&'a [u8]], &'a [u8], bool);
        let cases: [Case<'_>; 6] = [
            (&[b"ls\r"], b"ls\r", false),
            (&[b"a\x01xb"], b"a", true),
            (&[b"a\x01", b"X"], b"a", true),
            (&[b"\x01", b"\x01x"], b"\x01x", false),
            (&[b"\x01c"], b"\x01c", false),
            (&[b"\xff\x00\x03"], b"\xff\x00\x03", false),
        ];
        for (pieces, expected, ends) in cases {
            let mut keys = Keys::default();
            let mut bytes = Vec::new();
            let mut end = false;
            for piece in pieces {
                let (part, wants) = keys.take(piece);
                bytes.extend(part);
                end |= wants;
            }
            assert_eq!((bytes.as_slice(), end), (expected, ends), "{pieces:?}");
        }
    }
}
