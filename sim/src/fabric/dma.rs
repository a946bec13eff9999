//! A DMA engine: transfers of any length to and from memory, cut into requests as a function's settings ask.

use std::collections::VecDeque;

use super::arena::TlpId;
use super::core::Core;
use super::error::{Detected, ErrorKind, Role};
use super::function::Function;
use super::requester::{Outcome, Requester};
use crate::time::Time;
use crate::tlp::{Header, Status};

/// Why a transfer ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// The function may not send requests: Bus Master Enable is 0, or it isn't in D0.
    #[error("DMA while the function isn't bus master")]
    NotBusMaster,
    /// A completion with this status.
    #[error("DMA read at {address:#x} ended with {status:?}")]
    Refused {
        /// Where the transfer begins.
        address: u64,
        /// The completion's status.
        status: Status,
    },
    /// The completion's data is marked as bad.
    #[error("DMA read at {address:#x}: the data is poisoned")]
    Poisoned {
        /// Where the transfer begins.
        address: u64,
    },
    /// No completion in time.
    #[error("DMA read at {address:#x}: completion timeout")]
    Timeout {
        /// Where the transfer begins.
        address: u64,
    },
    /// The range doesn't lie in a 64-bit address space.
    #[error("DMA of {len} bytes at {address:#x} runs past the end of the address space")]
    Range {
        /// Where the transfer begins.
        address: u64,
        /// Its length.
        len: usize,
    },
}

/// A read that has ended.
#[derive(Debug)]
pub struct Progress {
    /// The owner's name for it.
    pub token: u64,
    /// What was read.
    pub result: Result<Vec<u8>, DmaError>,
}

/// A read under way.
#[derive(Debug)]
struct Read {
    token: u64,
    address: u64,
    data: Vec<u8>,
    /// Bytes that have been asked for.
    issued: usize,
    /// Requests that are out.
    open: u32,
    error: Option<DmaError>,
}

/// The engine. Its owner passes it the completions that reach the function, and the call that it asks for.
#[derive(Debug)]
pub struct Dma {
    requester: Requester,
    reads: Vec<Option<Read>>,
    free: Vec<u32>,
    /// Reads of which not all has been asked for yet; the first one goes on first.
    unissued: VecDeque<u32>,
    ended: VecDeque<Progress>,
    /// Buffers to be used again.
    buffers: Vec<Vec<u8>>,
    /// When the owner must call [`Dma::expire`].
    call: Option<Time>,
}

impl Dma {
    /// An engine with `tags` tags and this completion timeout.
    pub fn new(tags: u16, timeout: Time) -> Dma {
        Dma {
            requester: Requester::new(tags, timeout),
            reads: Vec::new(),
            free: Vec::new(),
            unissued: VecDeque::new(),
            ended: VecDeque::new(),
            buffers: Vec::new(),
            call: None,
        }
    }

    /// Begins to read `len` bytes at `address`. Its end is had by [`Dma::next_ended`]; an error too.
    pub fn read(&mut self, core: &mut Core, function: &Function, address: u64, len: usize, token: u64) {
        let mut data = self.buffers.pop().unwrap_or_default();
        data.clear();
        data.resize(len, 0);
        let error = if address.checked_add(len as u64).is_none() {
            Some(DmaError::Range { address, len })
        } else if !function.config().may_request() {
            Some(DmaError::NotBusMaster)
        } else {
            None
        };
        if error.is_some() || len == 0 {
            self.ended.push_back(Progress { token, result: error.map_or(Ok(data), Err) });
            return;
        }
        let read = Some(Read { token, address, data, issued: 0, open: 0, error: None });
        let index = self.free.pop().unwrap_or(self.reads.len() as u32);
        match self.reads.get_mut(index as usize) {
            Some(free) => *free = read,
            None => self.reads.push(read),
        }
        self.unissued.push_back(index);
        self.issue(core, function);
    }

    /// Sends requests while there are tags: each within Max_Read_Request_Size and an aligned block of that size, so that none
    /// crosses a 4 KiB boundary.
    fn issue(&mut self, core: &mut Core, function: &Function) {
        let block = u64::from(function.config().max_read_request());
        while let Some(&index) = self.unissued.front() {
            let Some(Some(read)) = self.reads.get_mut(index as usize) else {
                self.unissued.pop_front();
                continue;
            };
            if read.error.is_some() || read.issued == read.data.len() {
                self.unissued.pop_front();
                self.settle(index);
                continue;
            }
            if !function.config().may_request() {
                // Bus Master Enable was taken away: what is out still ends, nothing more goes out.
                read.error = Some(DmaError::NotBusMaster);
                continue;
            }
            let address = read.address + read.issued as u64;
            let room = block - address % block;
            let len = room.min((read.data.len() - read.issued) as u64) as u32;
            let Ok(mut header) = Header::mem_read_bytes(function.id(), 0, address, len) else { return };
            let token = u64::from(index) << 32 | read.issued as u64;
            let Some((tag, call)) = self.requester.begin(token, len, (address & 0x7f) as u8, core.now()) else {
                return;
            };
            self.call = self.call.or(call);
            header.set_tag(tag);
            read.issued += len as usize;
            read.open += 1;
            function.send(core, header, &[]);
        }
    }

    /// A completion has come; it's consumed here.
    pub fn complete(&mut self, core: &mut Core, function: &Function, tlp: TlpId) {
        let header = *core.header(tlp);
        if header.is_poisoned() {
            // The function has noted it already.
            if let Some(token) = self.requester.abandon(&header, core.now()) {
                self.fail((token >> 32) as u32, |address| DmaError::Poisoned { address });
            }
            core.consume(tlp);
            return self.issue(core, function);
        }
        match self.requester.complete(&header) {
            Outcome::Data { token, offset, skip, len, done } => {
                let (index, base) = ((token >> 32) as u32, token as u32);
                if let Some(Some(read)) = self.reads.get_mut(index as usize) {
                    let begin = (base + offset) as usize;
                    let (skip, len) = (skip as usize, len as usize);
                    let part = core.payload(tlp).get(skip..skip + len).unwrap_or_default();
                    if let Some(room) = read.data.get_mut(begin..begin + part.len()) {
                        room.copy_from_slice(part);
                    }
                    if done {
                        read.open -= 1;
                        self.settle(index);
                    }
                }
            }
            Outcome::Failed { token, status } => {
                let kind = match status {
                    Status::UnsupportedRequest => Some(ErrorKind::ReceivedUnsupported),
                    Status::CompleterAbort => Some(ErrorKind::ReceivedAbort),
                    _ => None,
                };
                if let Some(kind) = kind {
                    core.detect(function.port(), Detected::new(kind).by(function.id()));
                }
                self.fail((token >> 32) as u32, |address| DmaError::Refused { address, status });
            }
            Outcome::Done { .. } | Outcome::Unexpected => {
                core.detect_tlp(function.port(), tlp, ErrorKind::UnexpectedCompletion, Role::Plain);
            }
        }
        core.consume(tlp);
        self.issue(core, function);
    }

    fn fail(&mut self, index: u32, error: impl FnOnce(u64) -> DmaError) {
        if let Some(Some(read)) = self.reads.get_mut(index as usize) {
            read.open -= 1;
            let address = read.address;
            read.error.get_or_insert_with(|| error(address));
            self.settle(index);
        }
    }

    /// Ends a read if nothing of it is open any more.
    fn settle(&mut self, index: u32) {
        let Some(place) = self.reads.get_mut(index as usize) else { return };
        let over = |read: &Read| read.open == 0 && (read.error.is_some() || read.issued == read.data.len());
        if place.as_ref().is_some_and(over)
            && let Some(read) = place.take()
        {
            self.free.push(index);
            let result = match read.error {
                None => Ok(read.data),
                Some(error) => Err(error),
            };
            self.ended.push_back(Progress { token: read.token, result });
        }
    }

    /// Sends `data` to `address` by posted writes within Max_Payload_Size, none of which crosses a 4 KiB boundary.
    ///
    /// # Errors
    /// [`DmaError::NotBusMaster`] and [`DmaError::Range`]: nothing was sent.
    pub fn write(core: &mut Core, function: &Function, address: u64, data: &[u8]) -> Result<(), DmaError> {
        if address.checked_add(data.len() as u64).is_none() {
            return Err(DmaError::Range { address, len: data.len() });
        }
        if !function.config().may_request() {
            return Err(DmaError::NotBusMaster);
        }
        let block = u64::from(function.config().max_payload());
        let mut sent = 0;
        while sent < data.len() {
            let at = address + sent as u64;
            let len = (block - at % block).min((data.len() - sent) as u64) as usize;
            if let Ok(header) = Header::mem_write_bytes(function.id(), 0, at, len as u32) {
                let tlp = core.create(header);
                let payload = core.payload_mut(tlp);
                payload.fill(0);
                let skip = (at & 3) as usize;
                payload[skip..skip + len].copy_from_slice(&data[sent..sent + len]);
                if function.config().generates_ecrc() {
                    core.digest(tlp);
                }
                core.send(function.port(), tlp);
            }
            sent += len;
        }
        Ok(())
    }

    /// A read that has ended.
    pub fn next_ended(&mut self) -> Option<Progress> {
        self.ended.pop_front()
    }

    /// Gives back a buffer of [`Progress::result`], to be used again.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        // A few are enough: reads that are under way at the same time.
        if self.buffers.len() < 64 {
            self.buffers.push(buffer);
        }
    }

    /// The time at which [`Dma::expire`] must be called, if a call is due that wasn't asked for before.
    pub fn take_call(&mut self) -> Option<Time> {
        self.call.take()
    }

    /// Ends the reads whose time is over.
    pub fn expire(&mut self, core: &mut Core, function: &Function) {
        let mut late = Vec::new();
        self.call = self.requester.expire(core.now(), |token| late.push((token >> 32) as u32));
        for index in late {
            core.detect(function.port(), Detected::new(ErrorKind::CompletionTimeout).by(function.id()));
            self.fail(index, |address| DmaError::Timeout { address });
        }
        self.issue(core, function);
    }

    /// Forgets all reads, as a reset does: none of them ends.
    pub fn reset(&mut self, now: Time) {
        self.requester.reset(now);
        self.reads.clear();
        self.free.clear();
        self.unissued.clear();
        self.ended.clear();
    }

    /// Reads that haven't ended.
    pub fn open(&self) -> usize {
        self.reads.len() - self.free.len()
    }
}
