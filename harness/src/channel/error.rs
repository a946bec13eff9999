//! What can go wrong between software and a channel.

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_sim::tlp::Malformed;

use crate::backend;

/// Why a channel can't be had, or what is wrong with what came out of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device refused, is gone, or doesn't speak the protocol.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The answer to a command is too short, or a value has no room in a command.
    #[error("a field of a command doesn't fit: {0}")]
    Field(#[from] FieldError),
    /// The device's capability page contradicts the protocol.
    #[error("twin_cap.{field} is {value:#x}, which is none of {allowed}")]
    Capability {
        /// The field of `twin_cap`.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it may hold.
        allowed: &'static str,
    },
    /// More, or less, was asked for than the device can do.
    #[error("{what}: {value} is asked for, the device can do {least} to {most}")]
    Limit {
        /// What was asked for.
        what: &'static str,
        /// How much of it.
        value: u64,
        /// The least that is possible.
        least: u64,
        /// The most that is possible.
        most: u64,
    },
    /// A number of ring slots must be a power of two.
    #[error("a ring of {0} slots: the number must be a power of two")]
    RingSlots(u32),
    /// A page or registered memory is smaller than what was asked for.
    #[error("the {what} has {len:#x} bytes, {needs:#x} are needed")]
    TooSmall {
        /// What it is.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it must be.
        needs: usize,
    },
    /// A message in the ring breaks a rule of the protocol. It is skipped: the next poll looks at the slot after it.
    #[error("message {sequence} in slot {slot} of the ring: {field} is {value:#x}, but must be {rule}")]
    Message {
        /// The slot.
        slot: u32,
        /// The number of the message.
        sequence: u32,
        /// The field of `tlp_message`.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The header in a message isn't that of a TLP. The message is skipped.
    #[error("message {sequence} in slot {slot} of the ring: header: {malformed}")]
    Header {
        /// The slot.
        slot: u32,
        /// The number of the message.
        sequence: u32,
        /// The rule of its format that is broken.
        malformed: Malformed,
    },
    /// The device's answer names a hot-plug state that there isn't.
    #[error("the device answers with hot-plug state {0}, which is none of 0 to 3")]
    HotplugState(u64),
    /// A region of which the device keeps no bytes, or hasn't got these.
    #[error("region {region} of the function at port {port}: the device keeps no {len:#x} bytes from {offset:#x} on")]
    Bytes {
        /// The function.
        port: u16,
        /// The region's number.
        region: usize,
        /// The first byte.
        offset: u64,
        /// How many of them.
        len: usize,
    },
    /// The channel already has a function at this port.
    #[error("port {0} is claimed already by this channel")]
    PortTaken(u16),
    /// The channel has no function at this port.
    #[error("this channel has no function at port {0}")]
    NoFunction(u16),
}
