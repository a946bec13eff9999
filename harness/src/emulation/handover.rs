//! A function goes from one program to another while the host uses it.
//!
//! | | the old program | the new one |
//! |---|---|---|
//! | 1 | [`Channel::export`] | |
//! | 2 | | [`Channel::import`], [`Channel::claim`] with the same descriptions |
//! | 3 | [`Channel::drain`], [`Channel::save`] | |
//! | 4 | | [`Channel::set_primary`], [`Channel::restore`] |
//!
//! What the programs tell each other ([`Export`], [`FunctionState`], and their own registers) is plain data. Between 3 and 4 nothing is dropped: TLPs wait in
//! their links; interrupts that the old program raises between them are in what it saves, and go out in 4. If the old program dies, the new one learns of it by [`Channel::stand_by`], and goes on after [`Channel::set_primary`] with what the device
//! knows. What the old one hadn't finished with comes again then.

use std::sync::Arc;

use mlx5_twin_fw_cmds::twin_v1::power;
use mlx5_twin_sim::config::{CapabilityId, ConfigSpace, PowerState};
use mlx5_twin_sim::tlp::Bdf;

use super::{Channel, Description, Error, Export, ExportError, Function, Port, Request, Role, Settings, Waited};
use crate::backend::Backend;
use crate::channel::twin_v1::TwinV1;
use crate::channel::{Snooped, begin, inject};

// Dwords of the configuration header.
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const ROM: u16 = 12;
/// `Max_Payload_Size` in Device Control.
const MAX_PAYLOAD: u32 = 7 << 5;

/// What the host has made of a function's configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionState {
    /// Bus, device and function number.
    pub id: Bdf,
    /// MSI-X vectors that were raised while no channel could send.
    pub interrupts: Vec<u16>,
    /// Registers that aren't as after power-on: number (0 to 1023) and value.
    pub registers: Vec<(u16, u32)>,
}

impl FunctionState {
    /// What errors call it.
    const WHAT: &str = "function state";
    /// First bytes (ours), and their version.
    const MAGIC: &str = "mtXf";
    const VERSION: u16 = 2;

    /// "mtXf", the version, bus, device and function number, how many interrupts there are and the vector of each, then for each register its number and its
    /// value; all big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = FunctionState::MAGIC.as_bytes().to_vec();
        bytes.extend(FunctionState::VERSION.to_be_bytes());
        bytes.extend(self.id.0.to_be_bytes());
        // A function has 2,048 vectors at most, each owed once.
        bytes.extend((self.interrupts.len() as u16).to_be_bytes());
        bytes.extend(self.interrupts.iter().flat_map(|vector| vector.to_be_bytes()));
        for (register, value) in &self.registers {
            bytes.extend(register.to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        bytes
    }

    /// The state that these bytes are.
    ///
    /// # Errors
    /// The rule that they break.
    pub fn from_bytes(bytes: &[u8]) -> Result<FunctionState, ExportError> {
        let what = FunctionState::WHAT;
        let rest = begin(bytes, what, FunctionState::MAGIC, FunctionState::VERSION)?;
        let rule = "must be 10, 2 for each interrupt that it names, and 6 for each register";
        let wrong = ExportError::Length { what, len: bytes.len(), rule };
        let number = |&bytes: &[u8; 2]| u16::from_be_bytes(bytes);
        let ([id, count], rest) = match rest.as_chunks::<2>() {
            ([id, count, ..], _) => ([id, count].map(number), &rest[4..]),
            _ => return Err(wrong),
        };
        let Some((vectors, rest)) = rest.split_at_checked(usize::from(count) * 2) else { return Err(wrong) };
        let (entries, []) = rest.as_chunks::<6>() else { return Err(wrong) };
        let register =
            |&[high, low, value @ ..]: &[u8; 6]| (u16::from_be_bytes([high, low]), u32::from_be_bytes(value));
        let interrupts = vectors.as_chunks::<2>().0.iter().map(number).collect();
        Ok(FunctionState { id: Bdf(id), interrupts, registers: entries.iter().map(register).collect() })
    }
}

/// Sets what the device has seen the host set.
fn follow(space: &mut ConfigSpace, snooped: &Snooped) {
    space.write(COMMAND, 0b0011, u32::from(snooped.command));
    for (register, value) in (FIRST_BAR..).zip(snooped.bars) {
        space.write(register, 0xf, value);
    }
    if let Some(msix) = space.find(CapabilityId::MSIX) {
        space.write(msix / 4, 0b1100, u32::from(snooped.msix_control) << 16);
    }
    if let Some(pcie) = space.find(CapabilityId::PCIE) {
        let control = pcie / 4 + 2;
        let value = space.read(control) & !MAX_PAYLOAD | u32::from(snooped.device_control) & MAX_PAYLOAD;
        space.write(control, 0b0011, value);
    }
    space.write(ROM, 0xf, snooped.expansion_rom);
    if let Some(power) = space.find(CapabilityId::POWER_MANAGEMENT) {
        let state = if snooped.power == PowerState::D3Hot { power::D3HOT } else { power::D0 };
        space.write(power / 4 + 1, 0b0001, u32::from(state));
    }
}

impl Channel {
    /// Opens a channel that can take over from an exported one: it gets nothing until it's [primary](Channel::set_primary). It claims
    /// the same functions by the same descriptions.
    ///
    /// # Errors
    /// As [`Channel::open`]; the device refuses an export that isn't valid any more (BAD_PARAM).
    pub fn import(backend: Arc<dyn Backend>, export: &Export, settings: &Settings) -> Result<Channel, Error> {
        let mut channel = Channel::over(inject::open::<TwinV1>(backend, Some(export), settings)?, settings);
        channel.primary = false;
        Ok(channel)
    }

    /// Lets other channels take over from this one: gives what they need for it. An earlier export isn't valid any more.
    ///
    /// # Errors
    /// What the device answers.
    pub fn export(&mut self) -> Result<Export, Error> {
        Ok(self.protocol.export()?)
    }

    /// Takes the export back: nobody joins any more.
    ///
    /// # Errors
    /// What the device answers.
    pub fn withdraw(&mut self) -> Result<(), Error> {
        Ok(self.protocol.withdraw()?)
    }

    /// Which channel gets the messages: this one, another one of those that were joined by exports, or none.
    ///
    /// # Errors
    /// What the device answers.
    pub fn role(&mut self) -> Result<Role, Error> {
        Ok(self.protocol.role()?)
    }

    /// Makes this channel the one that gets the messages, or not any more.
    ///
    /// One that isn't any more sends no memory writes, and notes the interrupts that it raises; it raises them itself if it becomes primary again.
    ///
    /// One that becomes primary sets in its configuration spaces what the device knows of them: Command, BARs, expansion ROM, MSI-X enable
    /// and mask, `Max_Payload_Size`, power state, and the function's number. What an orderly hand-over knows beyond that is set by [`Channel::restore`]
    /// afterwards.
    ///
    /// # Errors
    /// The device refuses (BAD_RES_STATE) while another channel is primary, or hasn't freed what is in its ring.
    pub fn set_primary(&mut self, primary: bool) -> Result<(), Error> {
        self.protocol.set_primary(primary)?;
        self.primary = primary;
        if !primary {
            return Ok(());
        }
        for (port, state) in &mut self.functions {
            let snooped = self.protocol.snooped(port.0)?;
            state.id = snooped.id;
            follow(&mut state.space, &snooped);
        }
        let owed = self.functions.iter_mut().map(|(port, state)| (*port, std::mem::take(&mut state.owed)));
        for (port, vectors) in owed.collect::<Vec<_>>() {
            self.make_up(port, vectors)?;
        }
        Ok(())
    }

    /// Raises what couldn't be raised before, if the host hasn't switched interrupts off since.
    fn make_up(&mut self, port: Port, vectors: impl IntoIterator<Item = u16>) -> Result<(), Error> {
        for vector in vectors {
            match self.raise_msix(port, vector) {
                Ok(()) | Err(Error::MsixDisabled(_) | Error::NotBusMaster(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until no channel is primary: the one that was has handed over, or is gone.
    ///
    /// # Errors
    /// What the device answers.
    pub fn stand_by(&mut self) -> Result<Waited, Error> {
        Ok(self.protocol.stand_by()?)
    }

    /// Stops getting messages, has those served that are in the ring, and frees it. Requests that aren't answered by then can still be answered as long
    /// as this channel has the function.
    ///
    /// # Errors
    /// As [`Channel::next`] and [`Channel::set_primary`]; what `serve` gives; [`Error::NotDrained`].
    pub fn drain<E: From<Error>>(
        &mut self,
        mut serve: impl FnMut(&mut Channel, Port, Request) -> Result<(), E>,
    ) -> Result<(), E> {
        self.set_primary(false)?;
        loop {
            while let Some((port, request)) = self.take()? {
                serve(self, port, request)?;
            }
            if self.is_drained()? {
                return Ok(());
            }
        }
    }

    /// Frees what was taken. `false` if there may be more to take.
    fn is_drained(&mut self) -> Result<bool, Error> {
        if self.protocol.is_drained()? {
            return Ok(true);
        }
        if self.protocol.pause()? == Waited::Silent { Err(Error::NotDrained) } else { Ok(false) }
    }

    /// What the host has made of a function's configuration space, and interrupts that are still to be raised: for the program that takes over.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn save(&self, port: Port) -> Result<FunctionState, Error> {
        let state = self.function(port)?;
        let interrupts = state.owed.iter().copied().collect();
        Ok(FunctionState { id: state.id, interrupts, registers: state.space.changes().collect() })
    }

    /// Goes on with what another program has saved, and raises the interrupts that it couldn't. Of its registers only bits are taken over that a host can
    /// write or clear.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`Error::NoVector`] if it names an interrupt that the function doesn't have; the device is gone.
    pub fn restore(&mut self, port: Port, saved: &FunctionState) -> Result<(), Error> {
        let state = self.function_mut(port)?;
        state.space.restore(saved.registers.iter().copied());
        state.id = saved.id;
        self.make_up(port, saved.interrupts.iter().copied())
    }
}

impl Function {
    /// A function that can take over from one that another program has exported: see [`Channel::import`].
    ///
    /// # Errors
    /// As [`Channel::import`] and [`Channel::claim`].
    pub fn import(backend: Arc<dyn Backend>, export: &Export, description: &Description) -> Result<Function, Error> {
        let mut channel = Channel::import(backend, export, description.settings())?;
        let port = channel.claim(description)?;
        Ok(Function { channel, port })
    }

    /// Lets other programs take over: see [`Channel::export`].
    ///
    /// # Errors
    /// As [`Channel::export`].
    pub fn export(&mut self) -> Result<Export, Error> {
        self.channel.export()
    }

    /// Takes the export back: see [`Channel::withdraw`].
    ///
    /// # Errors
    /// As [`Channel::withdraw`].
    pub fn withdraw(&mut self) -> Result<(), Error> {
        self.channel.withdraw()
    }

    /// Which program gets the messages: see [`Channel::role`].
    ///
    /// # Errors
    /// As [`Channel::role`].
    pub fn role(&mut self) -> Result<Role, Error> {
        self.channel.role()
    }

    /// Makes this program the one that gets the messages, or not any more: see [`Channel::set_primary`].
    ///
    /// # Errors
    /// As [`Channel::set_primary`].
    pub fn set_primary(&mut self, primary: bool) -> Result<(), Error> {
        self.channel.set_primary(primary)
    }

    /// Waits until no program gets the messages: see [`Channel::stand_by`].
    ///
    /// # Errors
    /// As [`Channel::stand_by`].
    pub fn stand_by(&mut self) -> Result<Waited, Error> {
        self.channel.stand_by()
    }

    /// Stops getting messages, and has those served that are there: see [`Channel::drain`].
    ///
    /// # Errors
    /// As [`Channel::drain`].
    pub fn drain<E: From<Error>>(
        &mut self,
        mut serve: impl FnMut(&mut Function, Request) -> Result<(), E>,
    ) -> Result<(), E> {
        self.set_primary(false)?;
        loop {
            while let Some((_, request)) = self.channel.take()? {
                serve(self, request)?;
            }
            if self.channel.is_drained()? {
                return Ok(());
            }
        }
    }

    /// What the host has made of its configuration space: see [`Channel::save`].
    ///
    /// # Errors
    /// None, as long as it's there.
    pub fn save(&self) -> Result<FunctionState, Error> {
        self.channel.save(self.port)
    }

    /// Goes on with what another program has saved: see [`Channel::restore`].
    ///
    /// # Errors
    /// As [`Channel::restore`].
    pub fn restore(&mut self, saved: &FunctionState) -> Result<(), Error> {
        self.channel.restore(self.port, saved)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_state_is_told_by_its_bytes() {
        let registers = vec![(1, 6), (0x3ff, 0x0102_0304)];
        let state = FunctionState { id: Bdf(0x0300), interrupts: vec![1, 0x7ff], registers };
        let bytes = state.to_bytes();
        let expected = b"mtXf\x00\x02\x03\x00\x00\x02\x00\x01\x07\xff\x00\x01\x00\x00\x00\x06\x03\xff\x01\x02\x03\x04";
        assert_eq!(bytes, expected);
        assert_eq!(FunctionState::from_bytes(&bytes), Ok(state));
        for len in [0, 5, 7, 9, 13, 19, 25, 27] {
            let mut bytes = bytes.clone();
            bytes.resize(len, 0);
            assert!(FunctionState::from_bytes(&bytes).is_err(), "{len} bytes");
        }
        assert!(FunctionState::from_bytes(b"mtXc\x00\x02\x03\x00\x00\x00").is_err());
        assert!(FunctionState::from_bytes(b"mtXf\x00\x01\x03\x00\x00\x00").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_state_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60), sound: bool) {
            let bytes = if sound { [&b"mtXf\x00\x02"[..], &bytes].concat() } else { bytes };
            if let Ok(state) = FunctionState::from_bytes(&bytes) {
                prop_assert_eq!(state.to_bytes(), bytes);
            }
        }
    }
}
