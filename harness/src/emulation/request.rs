//! What comes to an emulated function.

use std::fmt;

use mlx5_twin_sim::config::{Changed, PowerState, Reset};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, ByteEnables, Header, MessageCode, Prefix};

use super::{HotplugState, PciEvent, Port};

/// Names a request that waits for its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub(super) port: Port,
    pub(super) number: u32,
}

impl RequestId {
    /// The function that it came to.
    pub fn port(self) -> Port {
        self.port
    }
}

/// Printed as number and port: `0x12 of port 3`.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} of port {}", self.number, self.port)
    }
}

/// What a device has to act upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The host reads memory of a transaction region, or an expansion ROM without an image. To be completed or aborted.
    Read(Read),
    /// The host writes memory of a transaction region. There's nothing to answer.
    Write(Write),
    /// A message reached the function. There's nothing to answer.
    Message(Message),
    /// A configuration request, if the description asks for them. To be completed, aborted, or answered from the configuration space.
    Configuration(Configuration),
    /// The host changed configuration space: bus master or memory enable, MSI-X, device control, or whatever else the set names. It has been answered; what is true now is in the configuration space.
    Configured(Changed),
    /// The host suspended the function (D3hot) or woke it up (D0), and it keeps its state. While it's suspended only configuration requests
    /// come, and it may not send.
    Power(PowerState),
    /// The host reset the function: a function-level reset, or D3hot to D0 without No_Soft_Reset. Configuration space has been reset
    /// already, open requests are forgotten, and the device has forgotten the MSI-X table, and what the host wrote to doorbells and stateful
    /// regions; the author resets registers and stops what the function was about to send.
    Reset(Reset),
    /// Something happened to the link. As PERST# is asserted, configuration space is reset and open requests are forgotten. After it's
    /// deasserted the host finds the function as soon as this has been taken.
    PciEvent(PciEvent),
    /// The function at a hot-plug port is in another state, by the host's doing.
    Hotplug(HotplugState),
    /// A credit came, and is held.
    Credit,
    /// The host rang a doorbell that notifies. Several rings may come as one, which has the last value.
    Doorbell {
        /// Its number, in the order of [`Channel::doorbells`](super::Channel::doorbells).
        number: usize,
        /// Its place, and the value.
        doorbell: Doorbell,
        /// When it was rung; zero where there's no such clock.
        time: Time,
    },
    /// The host wrote to a stateful region that notifies. Several writes may come as one; what was written is found by reading the
    /// region.
    RegionWritten {
        /// Its number, in the order of the description.
        region: usize,
        /// When it was written; zero where there's no such clock.
        time: Time,
    },
}

/// Where a memory request goes, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The BAR that was hit, 0 to 5; 6 for the expansion ROM.
    pub bar: u8,
    /// Offset of the request's first dword in the BAR, in bytes: a multiple of 4.
    pub offset: u64,
    /// How many dwords, and which bytes of the first and last one.
    pub enables: ByteEnables,
    /// Who made the request.
    pub requester: Bdf,
    /// The first prefix of the TLP, for instance with a PASID.
    pub prefix: Option<Prefix>,
    /// When it reached the function; zero where there's no such clock.
    pub time: Time,
    /// Whether another channel's software was given it before and didn't finish with it: a write may have been carried out already.
    pub redelivered: bool,
}

impl Access {
    /// Its length in bytes, in whole dwords: 4 to 4096.
    // There's no empty access: a request without an enabled byte has one dword.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.enables.length_dw as usize * 4
    }

    /// Its dwords: offset in the BAR, and enabled bytes.
    pub fn dwords(&self) -> impl ExactSizeIterator<Item = (u64, u8)> + use<> {
        let Access { offset, enables, .. } = *self;
        (0..enables.length_dw).map(move |number| (offset + u64::from(number) * 4, enables.of_dw(number)))
    }
}

/// A read of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its name, for the answer.
    pub id: RequestId,
    /// Where, how much, and from whom.
    pub at: Access,
}

impl Read {
    /// The data for its completion, from the value of each dword. `value` is given offset and enabled bytes; none is enabled in a read
    /// that only waits for earlier writes to arrive. What stands in bytes that aren't enabled doesn't matter.
    pub fn data(&self, mut value: impl FnMut(u64, u8) -> u32) -> Vec<u8> {
        self.at.dwords().flat_map(|(offset, enables)| value(offset, enables).to_le_bytes()).collect()
    }
}

/// A write of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where, how much, and from whom.
    pub at: Access,
    /// The dwords, lowest address first. Bytes that aren't enabled mean nothing.
    pub data: Vec<u8>,
}

impl Write {
    /// The dwords of which at least one byte is enabled.
    pub fn dwords(&self) -> impl Iterator<Item = Dword> + '_ {
        let (values, _) = self.data.as_chunks::<4>();
        let dwords = self.at.dwords().zip(values);
        dwords.filter(|((_, enables), _)| enables & 0xf != 0).map(|((offset, enables), bytes)| Dword {
            offset,
            enables,
            value: u32::from_le_bytes(*bytes),
        })
    }
}

/// A dword of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dword {
    /// Its offset in the BAR in bytes.
    pub offset: u64,
    /// Bit i: byte i is written.
    pub enables: u8,
    /// The dword, byte 0 in the low bits. Bytes that aren't enabled mean nothing.
    pub value: u32,
}

impl Dword {
    /// What a register that held `old` holds after the write.
    pub fn over(self, old: u32) -> u32 {
        let mask = (0..4).filter(|lane| self.enables >> lane & 1 != 0).fold(0, |mask, lane| mask | 0xff << (lane * 8));
        old & !mask | self.value & mask
    }
}

/// A configuration request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Its name, for the answer.
    pub id: RequestId,
    /// The dword of configuration space, 0 to 1023.
    pub register: u16,
    /// Bit i: byte i is read or written.
    pub enables: u8,
    /// What is written, byte 0 in the low bits; `None` for a read.
    pub write: Option<u32>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub code: MessageCode,
    /// The whole header.
    pub header: Header,
    /// Its payload; empty without.
    pub data: Vec<u8>,
}

/// A dword of a doorbell region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// Its offset in the BAR in bytes.
    pub offset: u64,
    /// The last value written; that of a reset if none was.
    pub value: u32,
}
