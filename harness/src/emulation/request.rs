//! What comes to an emulated function.

use std::fmt;

use mlx5_twin_sim::config::{Changed, Reset};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, ByteEnables, Header, MessageCode, Prefix};

use super::PciEvent;

/// The downstream port of the device's switch that a function is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u8);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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
    /// The host reads memory of a transaction region. To be completed or aborted.
    Read(Read),
    /// The host writes memory of a transaction region. There's nothing to answer.
    Write(Write),
    /// A message reached the function. There's nothing to answer.
    Message(Message),
    /// A configuration request, if the description asks for them. To be completed, aborted, or answered from the configuration space.
    Configuration(Configuration),
    /// The host changed configuration space: bus master or memory enable, MSI-X, device control, power state, or whatever else the
    /// set names. It has been answered; what is true now is in the configuration space.
    Configured(Changed),
    /// The host reset the function: a function-level reset, or D3hot to D0. Configuration space has been reset already, and the
    /// device has forgotten the MSI-X table; the author resets registers and stops what the function was about to send.
    Reset(Reset),
    /// Something happened to the link. As PERST# is asserted, configuration space is reset and open requests are forgotten.
    PciEvent(PciEvent),
    /// A credit came, and is held.
    Credit,
}

/// Where a memory request goes, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The BAR that was hit, 0 to 5.
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
        let last = enables.length_dw.saturating_sub(1);
        (0..enables.length_dw).map(move |number| {
            let enabled = match number {
                0 => enables.first,
                _ if number == last => enables.last,
                _ => 0xf,
            };
            (offset + u64::from(number) * 4, enabled)
        })
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
    /// The last value written; 0 if none was.
    pub value: u32,
}
