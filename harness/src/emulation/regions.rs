//! What the device keeps of a function: its doorbells, and the bytes of its stateful regions.

use super::{Channel, Doorbell, Error, Port, Region, RegionKind, Scope};

impl Channel {
    /// The dwords of the function's doorbell regions, in the order of the description, with their last values.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; what the device answers.
    pub fn doorbells(&mut self, port: Port) -> Result<Vec<Doorbell>, Error> {
        let values = self.protocol.doorbells(port.0)?;
        let places = self.function(port)?.layout.doorbells();
        Ok(places.zip(values).map(|((bar, offset), value)| Doorbell { bar, offset, value }).collect())
    }

    /// Sets the value of a doorbell, by its number in the order of [`Channel::doorbells`], as if the host had rung it: one that notifies
    /// does.
    ///
    /// # Errors
    /// [`Error::NoFunction`], [`Error::NoDoorbell`]; what the device answers.
    pub fn set_doorbell(&mut self, port: Port, number: usize, value: u32) -> Result<(), Error> {
        let layout = &self.function(port)?.layout;
        let (wanted, mut before) = (number as u64, 0);
        for (region, found) in layout.regions.iter().enumerate().filter(|(_, one)| one.kind == RegionKind::Doorbell) {
            let inside = wanted - before;
            if inside < found.length / 4 {
                let bytes = value.to_le_bytes();
                return Ok(self.protocol.modify_region(port.0, region, 4 * inside, &bytes, Scope::Values)?);
            }
            before += found.length / 4;
        }
        Err(Error::NoDoorbell { port, number, count: before as usize })
    }

    /// The function's regions, by their numbers.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn regions(&self, port: Port) -> Result<&[Region], Error> {
        Ok(&self.function(port)?.layout.regions)
    }

    /// Bytes of a stateful region, as the host reads them now: `len` of them from `offset` on. The host may write while they are read; what is
    /// read by one command (16 KiB) is of one moment.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`crate::channel::Error::Bytes`] if the region hasn't got them; what the device answers.
    pub fn region(&mut self, port: Port, region: usize, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.function(port)?;
        Ok(self.protocol.query_region(port.0, region, offset, len)?)
    }

    /// Sets bytes of a stateful region, as the host reads them from now on: nobody is told. Doorbells can be set by this too, in whole dwords,
    /// and that's a ring of each.
    ///
    /// # Errors
    /// As [`Channel::region`].
    pub fn set_region(&mut self, port: Port, region: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.function(port)?;
        Ok(self.protocol.modify_region(port.0, region, offset, bytes, Scope::Values)?)
    }

    /// Sets what a reset makes of bytes of a stateful region, or of doorbells. What they are now doesn't change.
    ///
    /// # Errors
    /// As [`Channel::region`].
    pub fn set_region_defaults(&mut self, port: Port, region: usize, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.function(port)?;
        Ok(self.protocol.modify_region(port.0, region, offset, bytes, Scope::Defaults)?)
    }
}
