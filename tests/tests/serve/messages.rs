//! Messages of a client that means no good, drawn from a string of bytes; random tests and fuzzers share this.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// A message and the descriptors that come with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// By number of [`Files`]; at most 17.
    pub(crate) files: Vec<u8>,
}

/// Files of the kinds that a client may send, fit or not.
#[derive(Debug)]
pub(crate) struct Files {
    memory: File,
    event: EventFd,
    pipe: UnixStream,
    null: File,
}

impl Files {
    pub(crate) fn new() -> Files {
        let memory = tempfile::tempfile().expect("a file");
        memory.set_len(1 << 20).expect("room");
        let (pipe, _) = UnixStream::pair().expect("a socket");
        let (event, null) = (EventFd::new(EFD_NONBLOCK).expect("an event"), File::open("/dev/null").expect("is there"));
        Files { memory, event, pipe, null }
    }

    fn raw(&self, number: u8) -> RawFd {
        match number % 8 {
            0..=2 => self.memory.as_raw_fd(),
            3..=5 => self.event.as_raw_fd(),
            6 => self.pipe.as_raw_fd(),
            _ => self.null.as_raw_fd(),
        }
    }
}

/// A greeting that keeps the rules.
pub(crate) fn greeting() -> Message {
    let mut bytes = vec![0, 0, 1, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(b"{}\0");
    Message { bytes, files: Vec::new() }
}

/// The messages that a string of bytes stands for.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a> {
    bytes: &'a [u8],
    next: u16,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Messages<'a> {
        Messages { bytes, next: 1 }
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    fn dword(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A word of a message: small, a register's offset, a page, or anything.
    fn word(&mut self) -> u32 {
        match self.byte() % 8 {
            0..=2 => u32::from(self.byte() % 16),
            3 => u32::from(self.byte()) * 4,
            4 | 5 => u32::from(self.byte()) << 12,
            6 => u32::MAX - u32::from(self.byte()),
            _ => self.dword(),
        }
    }

    fn words(&mut self, command: u16) -> Vec<u32> {
        let page = |byte: u8| 0x4000_0000 + (u32::from(byte % 32) << 12);
        match command {
            2 | 3 if !self.byte().is_multiple_of(4) => {
                let (flags, offset) = (u32::from(self.byte() % 8), u32::from(self.byte() % 32) << 12);
                let (address, size) = (page(self.byte()), u32::from(self.byte() % 33) << 12);
                if command == 2 {
                    vec![32, flags, offset, 0, address, 0, size, 0]
                } else {
                    vec![24, flags, address, 0, size, 0]
                }
            }
            8 if !self.byte().is_multiple_of(4) => {
                let flags = [0x24, 0x21, 0x22, 0x0c, 0x14, 0x20][usize::from(self.byte() % 6)];
                let count = u32::from(self.byte() % 18);
                vec![20, flags, 2, u32::from(self.byte() % 70), count]
            }
            9 | 10 if !self.byte().is_multiple_of(8) => {
                // Configuration space, and registers of BAR 0.
                let region = if self.byte().is_multiple_of(2) { 7 } else { 0 };
                let (offset, count) = (u32::from(self.byte()) * 4, u32::from(self.byte() % 68));
                let mut words = vec![offset, 0, region, count];
                if command == 10 {
                    words.extend((0..count.div_ceil(4)).map(|_| self.dword()));
                }
                words
            }
            _ => (0..self.byte() % 12).map(|_| self.word()).collect(),
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.bytes.is_empty() {
            return None;
        }
        let selectors = self.byte();
        let command = match self.byte() % 32 {
            0..=3 => 2,
            4 | 5 => 3,
            6 => 4,
            7 => 5,
            8 => 7,
            9..=12 => 8,
            13..=18 => 9,
            19..=27 => 10,
            28 => 13,
            29 => u16::from(self.byte() % 16),
            _ => self.dword() as u16,
        };
        let mut payload: Vec<u8> = self.words(command).iter().flat_map(|word| word.to_le_bytes()).collect();
        if command == 10 && payload.len() > 16 && payload[13..16] == [0; 3] {
            payload.truncate(16 + usize::from(payload[12]));
        }
        // One of 32 each has a wrong length, odd flags, or is cut.
        let size = if selectors % 32 == 31 { self.word() } else { 16 + payload.len() as u32 };
        let flags = match selectors % 32 {
            30 => self.word(),
            20..=22 => 0x10,
            _ => 0,
        };
        let mut bytes = self.next.to_le_bytes().to_vec();
        self.next = self.next.wrapping_add(1);
        bytes.extend(command.to_le_bytes());
        bytes.extend([size, flags, 0].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(payload);
        if selectors % 32 == 29 {
            bytes.truncate(usize::from(self.byte()) % bytes.len());
        }
        let files = match (command, selectors / 32) {
            (2, 1..) => vec![if selectors / 32 == 7 { self.byte() } else { 0 }],
            (8, 1..) if bytes.len() >= 36 => {
                vec![if selectors / 32 == 7 { self.byte() } else { 3 }; usize::from(bytes[32] % 18)]
            }
            (_, 6) if selectors % 32 == 28 => vec![0; 17],
            _ => Vec::new(),
        };
        Some(Message { bytes, files })
    }
}

/// A client that sends such messages. It reads what comes back, and doesn't understand it.
#[derive(Debug)]
pub(crate) struct Villain {
    stream: UnixStream,
}

impl Villain {
    pub(crate) fn new(stream: UnixStream) -> Villain {
        stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a time");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        Villain { stream }
    }

    /// Sends a message. Whether the connection is still there.
    pub(crate) fn send(&mut self, files: &Files, message: &Message) -> bool {
        let sent = if message.files.is_empty() || message.bytes.is_empty() {
            self.stream.write_all(&message.bytes).is_ok()
        } else {
            let files: Vec<RawFd> = message.files.iter().map(|number| files.raw(*number)).collect();
            self.stream.send_with_fds(&[&message.bytes[..]], &files).is_ok()
        };
        sent && self.drain()
    }

    /// Takes what answers there are.
    fn drain(&mut self) -> bool {
        let mut answers = [0; 1 << 16];
        self.stream.set_nonblocking(true).expect("a socket");
        let open = loop {
            match self.stream.read(&mut answers) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).expect("a socket");
        open
    }

    /// Says no more, and reads to the end.
    pub(crate) fn finish(mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut answers = [0; 1 << 16];
        while self.stream.read(&mut answers).is_ok_and(|count| count > 0) {}
    }
}
