//! What every protocol of a TLP channel offers, in the terms of PCI Express.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_fw_cmds::twin_v1::HotplugState;
use mlx5_twin_sim::config::{Bar, PowerState};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, Header, Prefix};

use super::{Error, Export};
use crate::backend::Backend;

/// In which order the completions of different requests of a function may go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// In any: what PCI Express allows.
    #[default]
    Any,
    /// In any; the device counts those whose request isn't the oldest one ([`Counters::reordered`]).
    Flagged,
    /// In the order of the requests: the device refuses all others.
    Strict,
}

/// What software asks of a channel when it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Messages that the ring holds: a power of two.
    pub ring_slots: u32,
    /// Asynchronous credits, each good for one unsolicited memory write.
    pub credits: u16,
    /// The order of completions.
    pub order: Order,
    /// Whether completions that break a rule are sent nevertheless, and counted. For those who want to see what a host makes of them.
    pub unchecked: bool,
}

impl Default for Settings {
    /// 256 slots, no credits, any order, checked.
    fn default() -> Settings {
        Settings { ring_slots: 256, credits: 0, order: Order::Any, unchecked: false }
    }
}

/// What the device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most slots of a ring.
    pub max_ring_slots: u32,
    /// Emulated functions of the device.
    pub max_functions: u16,
    /// Credits of a channel.
    pub max_credits: u16,
    /// Payload bytes of one response: a multiple of 4, at least 128.
    pub max_response_payload: usize,
    /// Requests of a function that may wait for their completion.
    pub max_requests: u32,
    /// Regions of a function.
    pub max_regions: u16,
    /// Dwords of all doorbell regions of a function together.
    pub max_doorbells: u64,
    /// MSI-X vectors of a function.
    pub max_msix: u16,
    /// Bytes of all stateful regions of a function together.
    pub max_region_bytes: u32,
    /// Bit n: port n has a static function, which the host sees from its start on. All ports from 32 on have one, up to `max_functions`.
    pub static_ports: u32,
    /// Bit n: port n is a hot-plug port, where functions can be created, plugged and unplugged.
    pub hotplug_ports: u32,
}

/// What becomes of accesses to a region of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Every TLP goes to software.
    Transaction,
    /// The device keeps the last value of each dword.
    Doorbell,
    /// The device keeps the MSI-X table.
    MsixTable,
    /// The device keeps the MSI-X pending bits.
    MsixPba,
    /// The device keeps the bytes: it answers the host's reads from them, and applies its writes.
    Stateful,
}

/// A region of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// What becomes of accesses to it.
    pub kind: RegionKind,
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// Offset in the BAR in bytes: a multiple of 4, below 4 GiB.
    pub offset: u64,
    /// Length in bytes: a multiple of 4, not 0.
    pub length: u64,
    /// Is software told of the host's writes? Only for doorbells and stateful regions.
    pub notify: bool,
}

impl Region {
    /// Does the device keep its bytes, for software to read and set them?
    pub fn is_kept(&self) -> bool {
        matches!(self.kind, RegionKind::Doorbell | RegionKind::Stateful)
    }
}

/// What software sets of the bytes that the device keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The bytes as they are now. For a doorbell that's a write like the host's: it notifies.
    Values,
    /// What a reset makes of them; they stay as they are.
    Defaults,
    /// Both, without telling anyone.
    Both,
}

/// What the device must know of a function to route its TLPs. Everything else in configuration space is software's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionLayout {
    /// The downstream port of the device's switch.
    pub port: u16,
    /// MSI-X vectors; 0 for none.
    pub vectors: u16,
    /// Byte offset of the MSI-X capability; 0 for none.
    pub msix_capability: u16,
    /// Byte offset of the PCI Express capability; 0 for none.
    pub pcie_capability: u16,
    /// Byte offset of the power management capability; 0 for none.
    pub power_capability: u16,
    /// Whether the function keeps its state from D3hot to D0 (No_Soft_Reset).
    pub no_soft_reset: bool,
    /// Memory BARs by slot. The slot after a 64-bit one is `None`.
    pub bars: [Option<Bar>; 6],
    /// Size of the expansion ROM in bytes: a power of two from 2 KiB to 16 MiB.
    pub expansion_rom: Option<u32>,
    /// Regions.
    pub regions: Vec<Region>,
}

impl FunctionLayout {
    /// BAR and offset of each dword of the doorbell regions, in the order of the regions: the doorbells by their numbers.
    pub fn doorbells(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        let regions = self.regions.iter().filter(|region| region.kind == RegionKind::Doorbell);
        regions.flat_map(|region| (0..region.length / 4).map(|dword| (region.bar, region.offset + dword * 4)))
    }
}

/// What happened to a function's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PciEvent {
    /// PERST# was asserted, or the link went down.
    PerstAsserted,
    /// PERST# was deasserted.
    PerstDeasserted,
}

/// A TLP that reached an emulated function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlpMessage {
    /// The function's port: one of this channel.
    pub port: u16,
    /// Names the request if it waits for a completion: exactly then is it a non-posted one.
    pub request: Option<u32>,
    /// When it reached the function; zero where there's no such clock.
    pub time: Time,
    /// Whether another channel was given it before, whose software didn't finish with it.
    pub redelivered: bool,
    /// Its header: not that of a completion.
    pub header: Header,
    /// Its first prefix.
    pub prefix: Option<Prefix>,
    /// For memory requests, and only for them: the BAR that was hit, or 6 for the expansion ROM, and the offset in it of the request's first
    /// dword. All of the request lies in it.
    pub bar: Option<(u8, u64)>,
    /// Its payload in wire order, as long as the header says.
    pub payload: Vec<u8>,
}

/// What comes out of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A TLP.
    Tlp(TlpMessage),
    /// A credit.
    Credit {
        /// The port that the message names. The credit is the channel's, whichever it is.
        port: u16,
        /// The credit's name.
        id: u32,
    },
    /// Something happened to a function's link.
    PciEvent {
        /// The function's port: one of this channel.
        port: u16,
        /// What happened.
        event: PciEvent,
    },
    /// The function at a hot-plug port is in another state, by another's doing than software's.
    HotplugState {
        /// The function's port: one of this channel.
        port: u16,
        /// Its state now.
        state: HotplugState,
    },
    /// The host has written to a doorbell that notifies.
    Doorbell {
        /// The function's port: one of this channel.
        port: u16,
        /// The doorbell's number, in the order of [`FunctionLayout::doorbells`].
        number: usize,
        /// What it held after the write.
        value: u32,
        /// When it was written; zero where there's no such clock.
        time: Time,
    },
    /// The host has written to a stateful region that notifies.
    RegionWritten {
        /// The function's port: one of this channel.
        port: u16,
        /// The region's number in the function's layout.
        region: usize,
        /// When it was written; zero where there's no such clock.
        time: Time,
    },
}

/// How a wait for messages ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waited {
    /// Something happened, or the time is over: it is time to poll.
    Woken,
    /// Nothing will ever happen again. Real devices never say this.
    Silent,
}

/// What the device counted for a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that wait for their completion.
    pub open_requests: u32,
    /// Messages written to the ring.
    pub messages: u64,
    /// Responses accepted.
    pub responses: u64,
    /// TLPs that had to wait for a free slot of the ring.
    pub withheld: u64,
    /// Completions whose request wasn't the oldest one, if the channel is to count them ([`Order::Flagged`]).
    pub reordered: u64,
    /// Messages that another channel's software hadn't finished with.
    pub redelivered: u64,
    /// Responses refused, by the rule that they broke: its name and how many. Only those that aren't 0.
    pub faults: Vec<(String, u64)>,
}

/// Which channel of a group gets the messages of its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// This one.
    Primary,
    /// Another one.
    Secondary,
    /// None: what comes waits for one.
    Vacant,
}

/// What the device follows of a function's configuration space: what the host has set, as far as it must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snooped {
    /// Bus, device and function number from the last configuration write.
    pub id: Bdf,
    /// The Command register.
    pub command: u16,
    /// Message Control of MSI-X: enable and function mask.
    pub msix_control: u16,
    /// Device Control, as far as it was written.
    pub device_control: u16,
    /// The BAR registers.
    pub bars: [u32; 6],
    /// The Expansion ROM register: address and enable bit.
    pub expansion_rom: u32,
    /// PowerState of PMCSR.
    pub power: PowerState,
}

/// A protocol between software and a TLP channel of the device.
///
/// What it hands out is checked: a [`Message`] keeps the rules of its docs, whatever the device wrote. Responses are checked by who
/// calls it, and again by the device, which counts what it refuses ([`Counters::faults`]).
///
/// A channel takes all events of its backend context while it waits: software with other subscriptions gives it a context of its own.
pub trait ChannelProtocol: fmt::Debug + Send {
    /// Opens a channel.
    ///
    /// # Errors
    /// [`crate::backend::Error::NoTwin`] if the device doesn't speak the protocol; [`Error::Capability`], [`Error::Limit`],
    /// [`Error::RingSlots`], [`Error::TooSmall`]; what the device answers. Nothing is left behind.
    fn open(backend: Arc<dyn Backend>, settings: &Settings) -> Result<Self, Error>
    where
        Self: Sized;

    /// Opens a channel that joins the group of an exported one: it's secondary, and gets nothing yet. It claims the functions that it is to
    /// take over by [`ChannelProtocol::attach`], with the same layouts.
    ///
    /// # Errors
    /// As [`ChannelProtocol::open`]; the device refuses an export that isn't valid any more.
    fn import(backend: Arc<dyn Backend>, export: &Export, settings: &Settings) -> Result<Self, Error>
    where
        Self: Sized;

    /// What the device can do.
    fn limits(&self) -> &Limits;

    /// Claims the function at a port.
    ///
    /// # Errors
    /// [`Error::PortTaken`]; [`Error::Field`] if a value of the layout has no room in the command; what the device answers.
    fn attach(&mut self, layout: &FunctionLayout) -> Result<(), Error>;

    /// Gives the function at a port back. What is left of it in the channel is dropped. The device ends its open requests with Completer Abort; if
    /// another channel of the group has the function too, they go there.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; what the device answers.
    fn detach(&mut self, port: u16) -> Result<(), Error>;

    /// The next message, if one is there.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::Header`] for a message that breaks a rule; the next call goes on with the one after it.
    fn poll(&mut self) -> Result<Option<Message>, Error>;

    /// Waits until there may be a message again, but no longer than `limit`: to be called after [`ChannelProtocol::poll`] had none.
    /// A message that came in between ends the wait at once.
    ///
    /// # Errors
    /// The device is gone.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Waited, Error>;

    /// To be called in a loop that polls, if a poll had nothing: lets simulated time pass.
    ///
    /// # Errors
    /// The device is gone.
    fn pause(&mut self) -> Result<Waited, Error>;

    /// Whether somebody has asked for the end: [`Backend::is_stopped`].
    fn is_stopped(&self) -> bool;

    /// Sends one completion of a request.
    ///
    /// # Errors
    /// The device is gone.
    fn complete(&mut self, port: u16, request: u32, header: &Header, payload: &[u8]) -> Result<(), Error>;

    /// Sends a memory write and spends a credit for it.
    ///
    /// # Errors
    /// The device is gone.
    fn memory_write(&mut self, port: u16, credit: u32, header: &Header, payload: &[u8]) -> Result<(), Error>;

    /// Gives a credit back unspent. It isn't granted again.
    ///
    /// # Errors
    /// The device is gone.
    fn flush_credit(&mut self, credit: u32) -> Result<(), Error>;

    /// Raises an MSI-X vector.
    ///
    /// # Errors
    /// The device is gone.
    fn raise_msix(&mut self, port: u16, vector: u16) -> Result<(), Error>;

    /// The last values written to the dwords of the doorbell regions of a function, in the order of its regions. 0 where nothing
    /// was written.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; what the device answers.
    fn doorbells(&mut self, port: u16) -> Result<Vec<u32>, Error>;

    /// Bytes that the device keeps of a function: `len` of them, from `offset` of a region on. For doorbells both are whole dwords, which stand
    /// as the host writes them, byte 0 first. Many bytes take several commands, and the host may write in between.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`Error::Bytes`] if the region hasn't got them; what the device answers.
    fn query_region(&mut self, port: u16, region: usize, offset: u64, len: usize) -> Result<Vec<u8>, Error>;

    /// Sets bytes that the device keeps of a function.
    ///
    /// # Errors
    /// As [`ChannelProtocol::query_region`]; those that one of several commands has set stay set if the next one fails.
    fn modify_region(&mut self, port: u16, region: usize, offset: u64, bytes: &[u8], scope: Scope)
    -> Result<(), Error>;

    /// What the device counted.
    ///
    /// # Errors
    /// What the device answers.
    fn counters(&mut self) -> Result<Counters, Error>;

    /// Lets other channels join this one's group: gives what they need for it. An earlier export isn't valid any more.
    ///
    /// # Errors
    /// What the device answers.
    fn export(&mut self) -> Result<Export, Error>;

    /// Takes the export back: nobody joins any more.
    ///
    /// # Errors
    /// What the device answers.
    fn withdraw(&mut self) -> Result<(), Error>;

    /// Makes the channel the primary one of its group, or a secondary one. After the latter the ring gets nothing more; what it holds is still to be
    /// polled, and the slots to be freed ([`ChannelProtocol::is_drained`]).
    ///
    /// # Errors
    /// The device refuses (BAD_RES_STATE) while another channel of the group is primary, or its ring isn't drained.
    fn set_primary(&mut self, primary: bool) -> Result<(), Error>;

    /// Which channel of the group is primary.
    ///
    /// # Errors
    /// What the device answers.
    fn role(&mut self) -> Result<Role, Error>;

    /// Frees the slots of all that was polled, and asks the device whether it knows that the ring is empty.
    ///
    /// # Errors
    /// What the device answers.
    fn is_drained(&mut self) -> Result<bool, Error>;

    /// Waits until the group has no primary channel. At once if it has none.
    ///
    /// # Errors
    /// What the device answers.
    fn stand_by(&mut self) -> Result<Waited, Error>;

    /// What the device follows of the configuration space of a function.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; what the device answers.
    fn snooped(&mut self, port: u16) -> Result<Snooped, Error>;

    /// Tells the device that one message more was taken than it has written: for those who want to see what becomes of that. The device refuses
    /// it and counts a fault.
    ///
    /// # Errors
    /// The device is gone.
    fn overrun(&mut self) -> Result<(), Error>;

    /// Destroys functions, channel, ring and gateway page, in this order. Dropping does the same and tells nothing.
    ///
    /// # Errors
    /// The first thing that the device refused; the rest is tried nevertheless.
    fn close(self: Box<Self>) -> Result<(), Error>;
}
