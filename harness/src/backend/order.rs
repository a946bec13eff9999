//! The order in which the device sees what software does, and software what the device does.
//!
//! Memory that the device reads and writes is ordinary, coherent memory. On x86 its stores stay in order, and before a store to the device; on Arm it takes barriers that
//! reach beyond the cores ('outer shareable'), which Rust's fences don't (Linux `Documentation/memory-barriers.txt`, 'Kernel I/O barrier effects'; rdma-core's
//! `util/udma_barrier.h`).

use std::sync::atomic::{Ordering, fence};

/// What was stored to memory before it, the device sees before what is stored after it, to memory or to the device. What was loaded before it was there then: the
/// device may write over it when it sees what is stored after it.
pub(super) fn release() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier changes nothing.
    unsafe {
        std::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    fence(Ordering::Release);
}

/// What is read after it was there when that was which was read before it.
pub(super) fn acquire() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier changes nothing.
    unsafe {
        std::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    fence(Ordering::Acquire);
}
