//! The host as a program sees it, and the futures it awaits.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Access, AccessError, Data};
use crate::time::Time;
use crate::tlp::Bdf;

/// What a program asks for.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// An access to the bus.
    Access(Access),
    /// Nothing but time: until then.
    Sleep(Time),
    /// The next interrupt with this vector.
    Interrupt(u32),
    /// PERST# below the root ports.
    Perst(bool),
    /// Bytes of the root complex's own memory.
    Load { address: u64, len: usize },
    /// Bytes into the root complex's own memory.
    Store { address: u64, bytes: Vec<u8> },
    /// The request of this number is no longer waited for.
    Cancel,
}

/// What a request gave.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Nothing but its end.
    Done,
    /// What an access to the bus read.
    Data(Data),
    /// What was read of memory.
    Bytes(Vec<u8>),
}

/// What became of a request.
pub(super) type Answer = Result<Reply, AccessError>;

/// A request under way.
#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Waker),
    Answered(Answer),
    /// The program no longer waits for it.
    Abandoned,
}

/// What the programs of one root complex share with the simulation.
#[derive(Debug, Default)]
pub(super) struct Shared {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Requests that the simulation has yet to take up.
    pub(super) requests: Vec<(u32, Request)>,
}

impl Shared {
    fn open(&mut self, request: Request, waker: Waker) -> u32 {
        let id = self.free.pop().unwrap_or(self.slots.len() as u32);
        let slot = Slot::Waiting(waker);
        match self.slots.get_mut(id as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.requests.push((id, request));
        id
    }

    fn close(&mut self, id: u32) {
        self.slots[id as usize] = Slot::Free;
        self.free.push(id);
    }

    /// Answers a request, and wakes the program.
    pub(super) fn answer(&mut self, id: u32, answer: Answer) {
        match std::mem::replace(&mut self.slots[id as usize], Slot::Answered(answer)) {
            Slot::Waiting(waker) => waker.wake(),
            Slot::Abandoned => self.close(id),
            Slot::Free | Slot::Answered(_) => {}
        }
    }
}

/// The view that a program on a root complex's cores has. It's cheap to clone; all clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) shared: Arc<Mutex<Shared>>,
    /// What its clock shows, in picoseconds: told after each event, which must cost little.
    now: Arc<AtomicU64>,
}

impl Host {
    pub(super) fn new() -> Host {
        Host { shared: Arc::new(Mutex::new(Shared::default())), now: Arc::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // A program that panicked has changed nothing half-way: each change is one call.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        Time(self.now.load(Ordering::Relaxed))
    }

    /// Sets its clock.
    pub(super) fn set_time(&self, now: Time) {
        self.now.store(now.as_ps(), Ordering::Relaxed);
    }

    fn request(&self, request: Request) -> Operation {
        Operation { host: self.clone(), state: State::New(request) }
    }

    async fn access(&self, access: Access) -> Result<Data, AccessError> {
        match self.request(Request::Access(access)).await? {
            Reply::Data(data) => Ok(data),
            Reply::Done | Reply::Bytes(_) => Ok(Data::EMPTY),
        }
    }

    /// Reads `len` bytes of memory space as one access.
    ///
    /// # Errors
    /// [`AccessError::Shape`] unless they're 1 to 64 bytes within an aligned line of 64; else what the bus answers.
    pub async fn read(&self, address: u64, len: u8) -> Result<Data, AccessError> {
        self.access(Access::MemoryRead { address, len }).await
    }

    /// Reads a little-endian dword of memory space.
    ///
    /// # Errors
    /// What the bus answers.
    pub async fn read32(&self, address: u64) -> Result<u32, AccessError> {
        Ok(self.read(address, 4).await?.to_u64() as u32)
    }

    /// Reads a little-endian quadword of memory space.
    ///
    /// # Errors
    /// What the bus answers.
    pub async fn read64(&self, address: u64) -> Result<u64, AccessError> {
        Ok(self.read(address, 8).await?.to_u64())
    }

    /// Writes bytes to memory space as one access. It's posted: the future is ready when the write leaves the root port.
    ///
    /// # Errors
    /// [`AccessError::Shape`] unless they're 1 to 64 bytes within an aligned line of 64; [`AccessError::UnsupportedRequest`]
    /// if no root port claims the address.
    pub async fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        let len = bytes.len();
        if len > super::access::LINE {
            return Err(AccessError::Shape { address, len });
        }
        self.access(Access::MemoryWrite { address, data: Data::new(bytes) }).await.map(drop)
    }

    /// Writes a little-endian dword to memory space.
    ///
    /// # Errors
    /// As [`Host::write`].
    pub async fn write32(&self, address: u64, value: u32) -> Result<(), AccessError> {
        self.write(address, &value.to_le_bytes()).await
    }

    /// Writes a little-endian quadword to memory space.
    ///
    /// # Errors
    /// As [`Host::write`].
    pub async fn write64(&self, address: u64, value: u64) -> Result<(), AccessError> {
        self.write(address, &value.to_le_bytes()).await
    }

    /// Reads a dword of configuration space.
    ///
    /// # Errors
    /// What the bus answers; [`AccessError::UnsupportedRequest`] if there's no such function.
    pub async fn config_read(&self, target: Bdf, register: u16) -> Result<u32, AccessError> {
        Ok(self.access(Access::ConfigRead { target, register }).await?.to_u64() as u32)
    }

    /// Writes a dword of configuration space.
    ///
    /// # Errors
    /// As [`Host::config_read`].
    pub async fn config_write(&self, target: Bdf, register: u16, value: u32) -> Result<(), AccessError> {
        self.config_write_bytes(target, register, 0xf, value).await
    }

    /// Writes those bytes of a dword of configuration space whose bit is set in `byte_enables`.
    ///
    /// # Errors
    /// As [`Host::config_read`].
    pub async fn config_write_bytes(
        &self,
        target: Bdf,
        register: u16,
        byte_enables: u8,
        value: u32,
    ) -> Result<(), AccessError> {
        self.access(Access::ConfigWrite { target, register, byte_enables, value }).await.map(drop)
    }

    /// Waits for a span of virtual time.
    pub async fn sleep(&self, span: Time) {
        let until = self.now() + span;
        // A sleep has no way to fail.
        let _ = self.request(Request::Sleep(until)).await;
    }

    /// Waits for the next interrupt message with this vector. One that came before, and that nobody waited for, counts.
    pub async fn interrupt(&self, vector: u32) {
        let _ = self.request(Request::Interrupt(vector)).await;
    }

    /// Asserts or deasserts PERST# of all that is below the root ports: links go down, and everything below is reset. After it's
    /// deasserted the links need their time to be trained, and all that enumeration set must be set again.
    pub async fn set_perst(&self, asserted: bool) {
        // It has no way to fail.
        let _ = self.request(Request::Perst(asserted)).await;
    }

    /// Reads the root complex's own memory, as a core does: no TLP, no time.
    ///
    /// # Errors
    /// [`AccessError::NoMemory`].
    pub async fn load(&self, address: u64, len: usize) -> Result<Vec<u8>, AccessError> {
        match self.request(Request::Load { address, len }).await? {
            Reply::Bytes(bytes) => Ok(bytes),
            Reply::Done | Reply::Data(_) => Ok(Vec::new()),
        }
    }

    /// Writes the root complex's own memory, as a core does: no TLP, no time.
    ///
    /// # Errors
    /// [`AccessError::NoMemory`].
    pub async fn store(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.request(Request::Store { address, bytes: bytes.to_vec() }).await.map(drop)
    }
}

#[derive(Debug)]
enum State {
    New(Request),
    Open(u32),
    Over,
}

/// A request as a future.
#[derive(Debug)]
struct Operation {
    host: Host,
    state: State,
}

impl Future for Operation {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = self.get_mut();
        let mut shared = this.host.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = context.waker().clone();
        match std::mem::replace(&mut this.state, State::Over) {
            State::New(request) => {
                this.state = State::Open(shared.open(request, waker));
                Poll::Pending
            }
            State::Open(id) => match std::mem::replace(&mut shared.slots[id as usize], Slot::Waiting(waker)) {
                Slot::Answered(answer) => {
                    shared.close(id);
                    Poll::Ready(answer)
                }
                _ => {
                    this.state = State::Open(id);
                    Poll::Pending
                }
            },
            State::Over => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let State::Open(id) = self.state {
            let mut shared = self.host.lock();
            match &shared.slots[id as usize] {
                Slot::Answered(_) => shared.close(id),
                _ => {
                    shared.slots[id as usize] = Slot::Abandoned;
                    shared.requests.push((id, Request::Cancel));
                }
            }
        }
    }
}
