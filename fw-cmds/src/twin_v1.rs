//! Numbers of `twin-v1`, our protocol between emulation software and the device (`harness/PROTOCOL.md`). All of them are ours; none is
//! the vendor's. The layouts stand in [`crate::layout`]: `twin_cap`, `tlp_channel`, `emulated_function`, `tlp_message`, `notice_message`,
//! `gateway_post`, and the general commands of ours.

use crate::cap::CapType;
use crate::object::ObjectType;
use crate::opcode::Opcode;

/// The capability page that says whether a device speaks the protocol. Types from 0x7f0 on are used by no public header.
pub const TWIN_CAP: CapType = CapType(0x7f0);
/// What `twin_cap.signature` holds: "TWIN".
pub const SIGNATURE: u32 = 0x5457_494e;
/// Version 1, and its bit in `twin_cap.versions`.
pub const VERSION: u8 = 1;

/// General object type of a TLP channel. Types from 0x7e00 on are used by no public header.
pub const TLP_CHANNEL: ObjectType = ObjectType(0x7e00);
/// General object type of an emulated function.
pub const EMULATED_FUNCTION: ObjectType = ObjectType(0x7e01);

/// Opcode of the general command that asks what is at a downstream port. No public header uses opcodes from 0xcf0 on; DEVX lets all
/// general ones through.
pub const QUERY_EMULATED_PORT: Opcode = Opcode(0xcf0);
/// Opcode of the general command that creates, destroys, plugs and unplugs the function at a hot-plug port.
pub const MODIFY_EMULATED_PORT: Opcode = Opcode(0xcf1);
/// Opcode of the general command that reads bytes which the device keeps of a function.
pub const QUERY_EMULATED_REGION: Opcode = Opcode(0xcf2);
/// Opcode of the general command that sets them; its `op_mod` is one of [`scope`].
pub const MODIFY_EMULATED_REGION: Opcode = Opcode(0xcf3);

/// Bytes of a message's head; the payload follows it.
pub const MESSAGE_HEAD: usize = 64;
/// The most emulated functions of a device. Their ports are numbered from 0; a `gateway_post` has 12 bits for the number.
pub const MAX_FUNCTIONS: u16 = 1000;
/// The ports that `twin_cap.static_ports` and `hotplug_ports` have a bit for. All from this number on have static functions.
pub const MAPPED_PORTS: u16 = 32;
/// Regions that a function may have.
pub const MAX_REGIONS: usize = 16;
/// Dwords that the doorbell regions of a function may have together.
pub const MAX_DOORBELLS: usize = 48;

/// A channel: its order modes, its part in a hand-over, and what can be modified of it.
pub mod channel {
    /// `tlp_channel.flags`: a completion is refused unless its request is the oldest open one that the channel has of the function.
    pub const STRICT_FIFO: u8 = 1 << 0;
    /// `tlp_channel.flags`: such a completion is sent, and counted in `reordered`.
    pub const FLAG_ORDER: u8 = 1 << 1;
    /// `tlp_channel.flags`: a completion that breaks one of the rules 5 to 7 is counted, and sent as it is.
    pub const UNCHECKED: u8 = 1 << 2;

    /// `tlp_channel.state`: the channel gets messages.
    pub const PRIMARY: u8 = 0;
    /// `tlp_channel.state`: another channel of its group gets them, or none.
    pub const SECONDARY: u8 = 1;

    /// `tlp_channel.modify_field_select`: `state`.
    pub const SELECT_STATE: u64 = 1 << 0;
    /// `tlp_channel.modify_field_select`: `export_key`.
    pub const SELECT_EXPORT_KEY: u64 = 1 << 1;
}

/// `tlp_message.kind`.
pub mod message {
    /// A TLP that reached an emulated function.
    pub const TLP: u8 = 1;
    /// A credit for one unsolicited memory write (asynchronous credit grant). Its name is `request_id`.
    pub const CREDIT: u8 = 2;
    /// Something happened to the function's link. What, is in `event`.
    pub const PCI_EVENT: u8 = 3;
    /// The function at a hot-plug port is in another state. Which, is in `event`: a [`super::HotplugState`].
    pub const HOTPLUG_STATE: u8 = 4;
    /// A doorbell with [`NOTIFY`](super::region::NOTIFY) was written. The head is a `notice_message`.
    pub const DOORBELL: u8 = 5;
    /// A stateful region with [`NOTIFY`](super::region::NOTIFY) was written. The head is a `notice_message`.
    pub const REGION_WRITTEN: u8 = 6;

    /// `tlp_message.flags`: the TLP waits for a completion.
    pub const NEEDS_COMPLETION: u8 = 1 << 0;
    /// `tlp_message.flags`: the TLP had more prefixes than the message holds.
    pub const PREFIXES_CUT: u8 = 1 << 1;
    /// `tlp_message.flags`: `bar` and `bar_offset` are valid.
    pub const IN_BAR: u8 = 1 << 2;
    /// `tlp_message.flags`: the message was in another channel's ring before, whose software didn't finish with it.
    pub const REDELIVERED: u8 = 1 << 3;

    /// `tlp_message.event`: PERST# was asserted, or the link went down.
    pub const PERST_ASSERTED: u32 = 0;
    /// `tlp_message.event`: PERST# was deasserted.
    pub const PERST_DEASSERTED: u32 = 1;
}

/// `modify_emulated_port_in.op_mod`.
pub mod port_op {
    /// Creates the function at a hot-plug port: powered off, and invisible to the host.
    pub const CREATE: u16 = 0;
    /// Destroys it again; it must be powered off, and claimed by nobody.
    pub const DESTROY: u16 = 1;
    /// Puts it into the slot.
    pub const PLUG: u16 = 2;
    /// Asks the host to let it go.
    pub const UNPLUG: u16 = 3;
}

/// The state of a function at a hot-plug port: `hotplug_state`, and `tlp_message.event`. Names and numbers are those of DOCA's public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HotplugState {
    /// It isn't in the slot: the host doesn't see it.
    PowerOff = 0,
    /// The host was asked to let it go, and hasn't switched the slot's power off yet.
    UnplugInProgress = 1,
    /// It's in the slot, and waits for the host to power the slot on and for its link.
    PlugInProgress = 2,
    /// It's in the slot, and its link has come up.
    PowerOn = 3,
}

impl HotplugState {
    /// All states, in the order of their numbers.
    pub const ALL: [HotplugState; 4] =
        [HotplugState::PowerOff, HotplugState::UnplugInProgress, HotplugState::PlugInProgress, HotplugState::PowerOn];

    /// The state of this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<HotplugState> {
        HotplugState::ALL.into_iter().find(|state| *state as u64 == number)
    }
}

/// `emulated_function.power_state`: as in PMCSR (PCI power management).
pub mod power {
    /// Working.
    pub const D0: u8 = 0;
    /// Suspended: only configuration requests reach the function.
    pub const D3HOT: u8 = 3;
}

/// Offsets in a response gateway page. A store of another width than the register's, or elsewhere, is refused and counted.
pub mod gateway {
    /// Consumer index, 32 bits: how many messages software has taken, modulo 2^24. Frees their slots.
    pub const CONSUMER: u64 = 0x000;
    /// Consumer index, 32 bits: as [`CONSUMER`], and asks for one event when the ring holds more than that.
    pub const ARM: u64 = 0x004;
    /// A `gateway_post`, 64 bits: starts what has been staged.
    pub const POST: u64 = 0x008;
    /// Where the header of a response is staged: 16 bytes in wire order; three-dword headers leave the last four alone.
    pub const HEADER: u64 = 0x100;
    /// Where the payload of a response is staged, in wire order.
    pub const PAYLOAD: u64 = 0x110;
    /// End of the staging area.
    pub const END: u64 = 0x1000;
    /// Indices of messages count modulo this.
    pub const INDEX_MASK: u32 = 0xff_ffff;

    /// `gateway_post.kind`: a completion of the request `id`; `length` payload bytes are staged.
    pub const COMPLETION: u8 = 1;
    /// `gateway_post.kind`: a memory write that spends the credit `id`; `length` payload bytes are staged.
    pub const MEMORY_WRITE: u8 = 2;
    /// `gateway_post.kind`: raise MSI-X vector `id` of `function`. Nothing is staged.
    pub const MSIX: u8 = 3;
    /// `gateway_post.kind`: give the credit `id` back unspent. Nothing is staged.
    pub const FLUSH: u8 = 4;
}

/// `emulated_region.kind`: what becomes of accesses to a region of a BAR.
pub mod region {
    /// Every TLP goes to software.
    pub const TRANSACTION: u8 = 0;
    /// The device keeps the last value of each dword; software reads them by a query, or is told of them.
    pub const DOORBELL: u8 = 1;
    /// The device keeps the MSI-X table.
    pub const MSIX_TABLE: u8 = 2;
    /// The device keeps the MSI-X pending bits.
    pub const MSIX_PBA: u8 = 3;
    /// The device keeps the bytes; software reads them by a query, and may be told that some were written.
    pub const STATEFUL: u8 = 4;

    /// `emulated_region.flags` of a doorbell or stateful region: software is told of the host's writes by messages in the ring.
    pub const NOTIFY: u8 = 1 << 0;
}

/// `modify_emulated_region_in.op_mod`: what is set.
pub mod scope {
    /// The bytes as they are now. For a doorbell that's a write like the host's.
    pub const VALUES: u16 = 0;
    /// What a reset makes of them; they stay as they are.
    pub const DEFAULTS: u16 = 1;
    /// Both, without telling anyone.
    pub const BOTH: u16 = 2;
}

/// `emulated_bar.kind`.
pub mod bar {
    /// No BAR.
    pub const NONE: u8 = 0;
    /// A memory BAR with a 32-bit address.
    pub const MEMORY32: u8 = 1;
    /// A memory BAR with a 64-bit address; it takes two registers.
    pub const MEMORY64: u8 = 2;

    /// `tlp_message.bar` of a request to the expansion ROM.
    pub const ROM: u8 = 6;
    /// `emulated_function.rom_log_size`, if it isn't 0: 2 KiB to 16 MiB, as the PCI specification has it.
    pub const ROM_LOG_SIZES: core::ops::RangeInclusive<u64> = 11..=24;
}

/// What software may do wrong at a gateway page: index into `tlp_channel.faults`, and the value of `tlp_channel.last_fault` less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fault {
    /// A store that fits no register: its offset or its width.
    Store = 0,
    /// A consumer index that isn't between the last one and the producer index.
    ConsumerIndex = 1,
    /// A `gateway_post.kind` that doesn't exist.
    PostKind = 2,
    /// A length beyond `max_response_payload`, or that isn't the header's.
    Length = 3,
    /// The staged header isn't one: it breaks a rule of its format, or is of the wrong type.
    Header = 4,
    /// No request with that id waits for a completion.
    Request = 5,
    /// The completion's tag or requester isn't the request's.
    Transaction = 6,
    /// The completion's status, byte count or lower address doesn't continue the request.
    ByteCount = 7,
    /// The credit isn't held.
    Credit = 8,
    /// The function may not send: it isn't bus master, or it's in D3hot.
    BusMaster = 9,
    /// The function doesn't have that vector, or isn't one of the channel's.
    Vector = 10,
    /// MSI-X isn't enabled.
    MsixDisabled = 11,
    /// The request isn't the oldest open one, on a channel with `STRICT_FIFO`.
    OutOfOrder = 12,
    /// The request ended when the function was reset.
    AfterReset = 13,
    /// The channel isn't primary, so it sends no writes and no interrupts.
    NotPrimary = 14,
    /// The request ended when the function's link went down, or the link is down now.
    LinkDown = 15,
}

/// Counters in `tlp_channel.faults`: one for each number of a fault, used or not.
pub const FAULT_COUNTERS: usize = 16;

impl Fault {
    /// All faults, in the order of their numbers.
    pub const ALL: [Fault; FAULT_COUNTERS] = [
        Fault::Store,
        Fault::ConsumerIndex,
        Fault::PostKind,
        Fault::Length,
        Fault::Header,
        Fault::Request,
        Fault::Transaction,
        Fault::ByteCount,
        Fault::Credit,
        Fault::BusMaster,
        Fault::Vector,
        Fault::MsixDisabled,
        Fault::OutOfOrder,
        Fault::AfterReset,
        Fault::NotPrimary,
        Fault::LinkDown,
    ];
}
