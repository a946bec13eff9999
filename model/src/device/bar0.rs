//! Stores to UAR pages.

use mlx5_twin_fw_cmds::constants::{EQ_DOORBELL, EQ_DOORBELL_ARM};

use crate::firmware::Firmware;

/// Bytes of a UAR page.
const PAGE: u64 = 4096;

/// A store to an event queue's doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EqDoorbell {
    /// The UAR page it was written to.
    pub(super) uar: u32,
    /// The event queue.
    pub(super) eqn: u8,
    /// How many events the driver has taken, modulo 2^24.
    pub(super) consumer: u32,
    /// Whether the next event is to raise the interrupt.
    pub(super) arm: bool,
}

/// What a store to the UAR pages means. `None` if there's no such register, or the page isn't allocated.
pub(super) fn uar_store(firmware: &Firmware, offset: u64, bytes: &[u8]) -> Option<EqDoorbell> {
    // The index of a UAR is the number of its page in BAR 0.
    let uar = u32::try_from(offset / PAGE).ok()?;
    firmware.resources().uars().get(uar)?;
    let arm = match offset % PAGE {
        EQ_DOORBELL_ARM => true,
        EQ_DOORBELL => false,
        _ => return None,
    };
    let value = u32::from_be_bytes(bytes.try_into().ok()?);
    Some(EqDoorbell { uar, eqn: (value >> 24) as u8, consumer: value & 0xff_ffff, arm })
}
