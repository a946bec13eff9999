//! One function on a channel of its own: the simple path.

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::config::ConfigSpace;
use mlx5_twin_sim::tlp::{Bdf, Status};

use super::{Channel, Counters, Description, Doorbell, Error, Limits, Port, Region, Request, RequestId};
use crate::backend::Backend;

/// An emulated PCI function.
///
/// Requests may be completed in any order. Dropping it gives the function back, then the channel.
#[derive(Debug)]
pub struct Function {
    pub(super) channel: Channel,
    pub(super) port: Port,
}

impl Function {
    /// Opens a channel, and claims the function for it.
    ///
    /// # Errors
    /// [`crate::backend::Error::NoTwin`] if the device doesn't speak our protocol; [`Error::Description`] with the rule that is
    /// broken; what the device refuses.
    pub fn claim(backend: Arc<dyn Backend>, description: &Description) -> Result<Function, Error> {
        let mut channel = Channel::open(backend, description.settings())?;
        let port = channel.claim(description)?;
        Ok(Function { channel, port })
    }

    /// Waits for the next request. `None` if nothing will ever happen again, or somebody asked for the end: see [`Channel::next`].
    ///
    /// # Errors
    /// As [`Channel::next`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Request>, Error> {
        Ok(self.channel.next()?.map(|(_, request)| request))
    }

    /// As [`Function::next`], but waits no longer than `limit`, and perhaps less: see [`Channel::next_within`].
    ///
    /// # Errors
    /// As [`Channel::next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Request>, Error> {
        Ok(self.channel.next_within(limit)?.map(|(_, request)| request))
    }

    /// The next request, if one is there. If not, a little simulated time passes.
    ///
    /// # Errors
    /// As [`Channel::next`].
    pub fn poll(&mut self) -> Result<Option<Request>, Error> {
        Ok(self.channel.poll()?.map(|(_, request)| request))
    }

    /// Whether the last call found that nothing will ever happen again, or that the end was asked for.
    pub fn is_silent(&self) -> bool {
        self.channel.is_silent()
    }

    /// Answers a request: see [`Channel::complete`].
    ///
    /// # Errors
    /// As [`Channel::complete`].
    pub fn complete(&mut self, id: RequestId, data: &[u8]) -> Result<(), Error> {
        self.channel.complete(id, data)
    }

    /// Ends a request with an error: see [`Channel::abort`].
    ///
    /// # Errors
    /// As [`Channel::abort`].
    pub fn abort(&mut self, id: RequestId, status: Status) -> Result<(), Error> {
        self.channel.abort(id, status)
    }

    /// Answers a configuration request from the configuration space: see [`Channel::answer`].
    ///
    /// # Errors
    /// As [`Channel::answer`].
    pub fn answer(&mut self, id: RequestId) -> Result<Option<Request>, Error> {
        self.channel.answer(id)
    }

    /// Writes to the host's memory, and spends a credit: see [`Channel::memory_write`].
    ///
    /// # Errors
    /// As [`Channel::memory_write`].
    pub fn memory_write(&mut self, address: u64, data: &[u8]) -> Result<(), Error> {
        self.channel.memory_write(self.port, address, data)
    }

    /// How many credits are held.
    pub fn credits(&self) -> usize {
        self.channel.credits()
    }

    /// Gives a held credit back unspent. It isn't granted again.
    ///
    /// # Errors
    /// As [`Channel::flush_credit`].
    pub fn flush_credit(&mut self) -> Result<(), Error> {
        self.channel.flush_credit()
    }

    /// Raises an MSI-X vector: see [`Channel::raise_msix`].
    ///
    /// # Errors
    /// As [`Channel::raise_msix`].
    pub fn raise_msix(&mut self, vector: u16) -> Result<(), Error> {
        self.channel.raise_msix(self.port, vector)
    }

    /// Its configuration space.
    ///
    /// # Errors
    /// None, as long as it's there.
    pub fn config(&self) -> Result<&ConfigSpace, Error> {
        self.channel.config(self.port)
    }

    /// Its configuration space, for changes from the device's side: see [`Channel::config_mut`].
    ///
    /// # Errors
    /// None, as long as it's there.
    pub fn config_mut(&mut self) -> Result<&mut ConfigSpace, Error> {
        self.channel.config_mut(self.port)
    }

    /// Its bus, device and function number, from the last configuration write; 0 before it.
    ///
    /// # Errors
    /// None, as long as it's there.
    pub fn id(&self) -> Result<Bdf, Error> {
        self.channel.id(self.port)
    }

    /// The dwords of its doorbell regions, with their last values.
    ///
    /// # Errors
    /// What the device answers.
    pub fn doorbells(&mut self) -> Result<Vec<Doorbell>, Error> {
        self.channel.doorbells(self.port)
    }

    /// Sets the value of a doorbell, as if the host had rung it: see [`Channel::set_doorbell`].
    ///
    /// # Errors
    /// As [`Channel::set_doorbell`].
    pub fn set_doorbell(&mut self, number: usize, value: u32) -> Result<(), Error> {
        self.channel.set_doorbell(self.port, number, value)
    }

    /// Its regions, by their numbers.
    ///
    /// # Errors
    /// None, as long as it's there.
    pub fn regions(&self) -> Result<&[Region], Error> {
        self.channel.regions(self.port)
    }

    /// Bytes of a stateful region: see [`Channel::region`].
    ///
    /// # Errors
    /// As [`Channel::region`].
    pub fn region(&mut self, region: usize, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.channel.region(self.port, region, offset, len)
    }

    /// Sets bytes of a stateful region: see [`Channel::set_region`].
    ///
    /// # Errors
    /// As [`Channel::set_region`].
    pub fn set_region(&mut self, region: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.channel.set_region(self.port, region, offset, bytes)
    }

    /// Sets what a reset makes of bytes: see [`Channel::set_region_defaults`].
    ///
    /// # Errors
    /// As [`Channel::set_region_defaults`].
    pub fn set_region_defaults(&mut self, region: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.channel.set_region_defaults(self.port, region, offset, bytes)
    }

    /// Its port.
    pub fn port(&self) -> Port {
        self.port
    }

    /// What the device can do.
    pub fn limits(&self) -> &Limits {
        self.channel.limits()
    }

    /// What the device counted, responses that it refused included.
    ///
    /// # Errors
    /// What the device answers.
    pub fn counters(&mut self) -> Result<Counters, Error> {
        self.channel.counters()
    }

    /// The channel, to claim further functions for it.
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    /// Gives function and channel back, and says if that went wrong.
    ///
    /// # Errors
    /// As [`Channel::close`].
    pub fn close(self) -> Result<(), Error> {
        self.channel.close()
    }
}
