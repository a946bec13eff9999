//! The messages' layout (QEMU's `docs/interop/vfio-user.rst`): a header of 16 bytes, and what follows it, in the byte order of both sides.

use std::fs::File;

use super::{MAX_DATA, MAX_DESCRIPTORS, MAX_MESSAGE, Violation};

/// Bytes of a header.
pub(super) const HEADER: usize = 16;
/// Commands of a client to a server.
pub(super) mod command {
    pub(crate) const VERSION: u16 = 1;
    pub(crate) const DMA_MAP: u16 = 2;
    pub(crate) const DMA_UNMAP: u16 = 3;
    pub(crate) const GET_INFO: u16 = 4;
    pub(crate) const GET_REGION_INFO: u16 = 5;
    pub(crate) const GET_IRQ_INFO: u16 = 7;
    pub(crate) const SET_IRQS: u16 = 8;
    pub(crate) const REGION_READ: u16 = 9;
    pub(crate) const REGION_WRITE: u16 = 10;
    pub(crate) const DEVICE_RESET: u16 = 13;
}

/// Flags of a header. The low four bits are 0 for a command and 1 for a reply.
const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;
/// Bytes that may follow what is known of a message (ours): data for a later version.
const TAIL: u32 = 4096;

/// What the server tells of itself; what is allowed is more, so that no client is cut short.
pub(super) const VERSION_DATA: &[u8] =
    b"{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576,\"migration\":{\"pgsize\":4096}}}\0";

/// A header that keeps the rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) command: u16,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// A whole message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) command: u16,
    pub(super) flags: u32,
    /// What follows the header: at least as much as the command must have.
    pub(super) payload: Vec<u8>,
    pub(super) files: Vec<File>,
}

impl Header {
    /// Takes a header apart.
    ///
    /// # Errors
    /// The rule that it breaks by itself.
    pub(super) fn new(bytes: &[u8; HEADER]) -> Result<Header, Violation> {
        let [i, d, c, m, s0, s1, s2, s3, f0, f1, f2, f3, ..] = *bytes;
        let header = Header {
            id: u16::from_ne_bytes([i, d]),
            command: u16::from_ne_bytes([c, m]),
            size: u32::from_ne_bytes([s0, s1, s2, s3]),
            flags: u32::from_ne_bytes([f0, f1, f2, f3]),
        };
        let Header { command, size, flags, .. } = header;
        if flags & !NO_REPLY != 0 {
            return Err(Violation::Flags { command, flags });
        }
        let asks = matches!(
            command,
            command::VERSION
                | command::GET_INFO
                | command::GET_REGION_INFO
                | command::GET_IRQ_INFO
                | command::REGION_READ
        );
        if asks && flags & NO_REPLY != 0 {
            return Err(Violation::NoReply(command));
        }
        let (least, most) = sizes(command);
        if !(least..=most).contains(&size) {
            return Err(Violation::Size { command, size, least, most });
        }
        Ok(header)
    }

    /// How many descriptors it may have.
    ///
    /// # Errors
    /// [`Violation::Descriptors`] if there are more.
    pub(super) fn check_descriptors(&self, count: usize) -> Result<(), Violation> {
        let most = match self.command {
            command::DMA_MAP => 1,
            command::SET_IRQS => MAX_DESCRIPTORS,
            _ => 0,
        };
        let command = self.command;
        if count <= most { Ok(()) } else { Err(Violation::Descriptors { command, count, most }) }
    }
}

/// The shortest and the longest message with a command, in bytes.
const fn sizes(command: u16) -> (u32, u32) {
    let fixed = match command {
        command::VERSION => 20,
        command::DMA_MAP | command::GET_REGION_INFO => 48,
        command::DMA_UNMAP => 40,
        command::GET_INFO | command::GET_IRQ_INFO => 32,
        command::SET_IRQS => 36,
        command::REGION_READ => return (32, 32),
        command::REGION_WRITE => return (32, MAX_MESSAGE),
        // What isn't known is read all the same, so that the next message is found.
        _ => 16,
    };
    (fixed, fixed + TAIL)
}

impl Message {
    /// Puts a message together.
    ///
    /// # Errors
    /// [`Violation::Count`].
    pub(super) fn new(header: Header, payload: Vec<u8>, files: Vec<File>) -> Result<Message, Violation> {
        let Header { id, command, size, flags } = header;
        let message = Message { id, command, flags, payload, files };
        let count = message.word(3);
        let sound = match command {
            command::REGION_READ => count <= MAX_DATA,
            command::REGION_WRITE => count <= MAX_DATA && count == size - 32,
            _ => true,
        };
        if sound { Ok(message) } else { Err(Violation::Count { command, count, size }) }
    }

    /// Whether the client wants no answer.
    pub(super) fn no_reply(&self) -> bool {
        self.flags & NO_REPLY != 0
    }

    /// A word of what follows the header; 0 beyond its end.
    pub(super) fn word(&self, index: usize) -> u32 {
        let bytes = self.payload.get(4 * index..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// What follows the first `skip` bytes behind the header.
    pub(super) fn data(&self, skip: usize) -> &[u8] {
        self.payload.get(skip..).unwrap_or_default()
    }
}

/// Checks what a client tells of itself: nothing, or a JSON object with a 0 at its end. What it says makes no difference.
pub(super) fn check_version(data: &[u8]) -> Result<(), String> {
    if data.is_empty() {
        return Ok(());
    }
    let Some((0, json)) = data.split_last() else { return Err("no 0 at its end".to_owned()) };
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(json);
    parsed.map(drop).map_err(|error| error.to_string())
}

/// An answer, whose header is filled in last.
#[derive(Debug)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn new() -> Answer {
        Answer(vec![0; HEADER])
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Answer {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn word(self, word: u32) -> Answer {
        self.bytes(&word.to_ne_bytes())
    }

    pub(super) fn long(self, long: u64) -> Answer {
        self.bytes(&long.to_ne_bytes())
    }

    /// Room for this many bytes more.
    pub(super) fn room(&mut self, count: usize) -> &mut [u8] {
        let at = self.0.len();
        self.0.resize(at + count, 0);
        &mut self.0[at..]
    }

    fn with_header(mut self, id: u16, command: u16, flags: u32, error: u32) -> Vec<u8> {
        let size = self.0.len() as u32;
        self.0[..2].copy_from_slice(&id.to_ne_bytes());
        self.0[2..4].copy_from_slice(&command.to_ne_bytes());
        for (at, word) in [(4, size), (8, flags), (12, error)] {
            self.0[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        self.0
    }

    /// The answer's bytes.
    pub(super) fn finish(self, id: u16, command: u16) -> Vec<u8> {
        self.with_header(id, command, REPLY, 0)
    }

    /// The answer that refuses a command.
    pub(super) fn refusal(id: u16, command: u16, error: u32) -> Vec<u8> {
        Answer::new().with_header(id, command, REPLY | ERROR, error)
    }
}
