//! Stores to UAR pages.

use mlx5_twin_fw_cmds::constants::{CQ_DOORBELL, EQ_DOORBELL, EQ_DOORBELL_ARM};
use mlx5_twin_fw_cmds::layout::cqc;

use crate::firmware::Firmware;
use crate::firmware::resources::Cq;

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

/// What a store to the UAR pages means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UarStore {
    /// An event queue's doorbell.
    Eq(EqDoorbell),
    /// The doorbell that arms a completion queue. Nothing moves through queue pairs yet, so no completion comes that it could tell of.
    Cq,
}

/// What a store to the UAR pages means. `None` if there's no such register, the page isn't allocated, or a completion queue isn't there.
pub(super) fn uar_store(firmware: &Firmware, offset: u64, bytes: &[u8]) -> Option<UarStore> {
    // The index of a UAR is the number of its page in BAR 0.
    let uar = u32::try_from(offset / PAGE).ok()?;
    firmware.resources().uars().get(uar)?;
    let arm = match offset % PAGE {
        EQ_DOORBELL_ARM => true,
        EQ_DOORBELL => false,
        CQ_DOORBELL => {
            // Sequence number, command and consumer index, then the queue's number (cq.h, `mlx5_cq_arm`).
            let [_, _, _, _, _, number @ ..] = <[u8; 8]>::try_from(bytes).ok()?;
            let number = number.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
            let (_, Cq(queue)) = firmware.resources().cqs().get(number)?;
            return (queue.context.get(cqc::UAR_PAGE) == u64::from(uar)).then_some(UarStore::Cq);
        }
        _ => return None,
    };
    let value = u32::from_be_bytes(bytes.try_into().ok()?);
    let (eqn, consumer) = ((value >> 24) as u8, value & 0xff_ffff);
    Some(UarStore::Eq(EqDoorbell { uar, eqn, consumer, arm }))
}
