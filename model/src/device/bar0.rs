//! Stores to UAR pages.

use mlx5_twin_fw_cmds::constants::{BF_OFFSET, CQ_DB_SOLICITED, CQ_DOORBELL, EQ_DOORBELL, EQ_DOORBELL_ARM};
use mlx5_twin_fw_cmds::layout::{cqc, sqc, wq};

use crate::firmware::Firmware;
use crate::firmware::resources::{Cq, Sq};

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

/// A store to a completion queue's doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CqDoorbell {
    /// The completion queue.
    pub(super) cqn: u32,
    /// How many completions the driver has taken, modulo 2^24.
    pub(super) consumer: u32,
    /// Whether only completions that ask for it are to raise the event.
    pub(super) solicited: bool,
}

/// What a store to the UAR pages means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UarStore {
    /// An event queue's doorbell.
    Eq(EqDoorbell),
    /// The doorbell that arms a completion queue.
    Cq(CqDoorbell),
    /// The doorbell of a send queue, with its number. Nothing moves through queue pairs yet: theirs is none.
    Sq(u32),
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
            let value = u64::from_be_bytes(bytes.try_into().ok()?);
            let (cqn, consumer) = (value as u32 & 0xff_ffff, (value >> 32) as u32 & 0xff_ffff);
            let solicited = value >> 32 & u64::from(CQ_DB_SOLICITED) != 0;
            let (_, Cq(queue)) = firmware.resources().cqs().get(cqn)?;
            let doorbell = UarStore::Cq(CqDoorbell { cqn, consumer, solicited });
            return (queue.context.get(cqc::UAR_PAGE) == u64::from(uar)).then_some(doorbell);
        }
        register if register >= BF_OFFSET => {
            // The beginning of the last request: the queue's number is in the upper bits of the second dword (doorbell.h).
            let value = u64::from_be_bytes(bytes.try_into().ok()?);
            let sqn = value as u32 >> 8;
            let (_, Sq(queue)) = firmware.resources().of::<Sq>().get(sqn)?;
            let page = queue.context.get(wq::UAR_PAGE.within(sqc::WQ.bits()));
            return (page == u64::from(uar)).then_some(UarStore::Sq(sqn));
        }
        _ => return None,
    };
    let value = u32::from_be_bytes(bytes.try_into().ok()?);
    let (eqn, consumer) = ((value >> 24) as u8, value & 0xff_ffff);
    Some(UarStore::Eq(EqDoorbell { uar, eqn, consumer, arm }))
}
