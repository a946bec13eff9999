//! What went over the links: as a capture file (pcapng), and as counts and latencies.
//!
//! [`Recorder`] and [`Statistics`] are probes of the fabric; [`Tee`] makes one of two, and [`Shared`] gives one back after the fabric had it.
//! [`Reader`] reads a capture. `harness/CAPTURE.md` describes the file. Captures of others, in pcap or pcapng files, are read for
//! [`crate::replay`].

mod blocks;
mod error;
mod format;
mod histogram;
mod nettlp;
mod pcap;
mod reader;
mod record;
mod recorder;
mod statistics;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlx5_twin_sim::probe::{Deliver, Probe, Transmit};

pub(crate) use nettlp::{ETHERNET, Flow, Frame, NotTlp};
pub(crate) use record::{Record, Records};

pub use blocks::Interface;
pub use error::{ReadError, Reason};
pub use format::{HEADER_LEN, HeaderError, LINK_TYPE, MAGIC, PacketHeader, TIMESTAMP_RESOLUTION, VERSION};
pub use histogram::Histogram;
pub use reader::{Packet, Reader};
pub use recorder::{BLOCK_BYTES, CaptureError, Description, LinkName, Recorder, Summary};
pub use statistics::{Statistics, Traffic};

/// Two probes that see the same.
#[derive(Clone, Debug, Default)]
pub struct Tee<A, B>(pub A, pub B);

impl<A: Probe, B: Probe> Probe for Tee<A, B> {
    fn transmit(&mut self, event: &Transmit<'_>) {
        self.0.transmit(event);
        self.1.transmit(event);
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        self.0.deliver(event);
        self.1.deliver(event);
    }
}

/// A probe that a fabric can have while its owner keeps a handle, to take it back.
#[derive(Debug)]
pub struct Shared<P>(Arc<Mutex<Option<P>>>);

impl<P> Clone for Shared<P> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<P> Shared<P> {
    /// A handle of `probe`.
    pub fn new(probe: P) -> Self {
        Shared(Arc::new(Mutex::new(Some(probe))))
    }

    /// Looks at the probe. `None` if it was taken.
    pub fn with<T>(&self, look: impl FnOnce(&mut P) -> T) -> Option<T> {
        self.lock().as_mut().map(look)
    }

    /// Takes the probe back; the other handles see nothing from then on. `None` if it was taken before.
    pub fn take(&self) -> Option<P> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Probe> Probe for Shared<P> {
    fn transmit(&mut self, event: &Transmit<'_>) {
        if let Some(probe) = &mut *self.lock() {
            probe.transmit(event);
        }
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        if let Some(probe) = &mut *self.lock() {
            probe.deliver(event);
        }
    }
}

/// A probe that may be missing.
#[derive(Clone, Debug)]
pub struct Maybe<P>(pub Option<P>);

impl<P> Default for Maybe<P> {
    fn default() -> Self {
        Maybe(None)
    }
}

impl<P: Probe> Probe for Maybe<P> {
    fn transmit(&mut self, event: &Transmit<'_>) {
        if let Some(probe) = &mut self.0 {
            probe.transmit(event);
        }
    }

    fn deliver(&mut self, event: &Deliver<'_>) {
        if let Some(probe) = &mut self.0 {
            probe.deliver(event);
        }
    }
}

#[cfg(test)]
mod tests;
