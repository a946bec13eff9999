//! Event queues as the driver made them. What has been posted and read since is the engine's
//! concern; the firmware only reports it.

use mlx5_twin_fw_cmds::event::EventType;

use super::buffer::PageList;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// Bytes of an event queue entry (`device.h`, `struct mlx5_eqe`).
pub const EQE_BYTES: u64 = 64;

/// What the engine that posts events knows of a queue; QUERY_EQ reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries posted since creation, modulo 2^24.
    pub producer: u32,
    /// What the driver last wrote as its consumer index, 24 bits.
    pub consumer: u32,
    /// Whether the next event raises the interrupt.
    pub armed: bool,
}

/// An event queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eq {
    /// log2 of the number of entries.
    pub log_size: u32,
    /// UAR page that has the queue's doorbell.
    pub uar_page: u32,
    /// MSI-X vector to raise.
    pub vector: u16,
    /// Event types the queue asked for: type `t` is bit `t % 64` of word `t / 64`.
    pub events: [u64; 4],
    /// `oi`: overrun is ignored.
    pub overrun_ignore: bool,
    /// `ec`: collapsed queue.
    pub collapsed: bool,
    /// Where its entries are.
    pub memory: PageList,
    /// Kept by the engine.
    pub progress: Progress,
}

impl Eq {
    /// Number of entries.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        1 << self.log_size
    }

    /// Whether the queue asked for events of this type.
    #[must_use]
    pub fn wants(&self, event: EventType) -> bool {
        let (word, bit) = (usize::from(event.0 / 64), event.0 % 64);
        self.events.get(word).is_some_and(|word| word >> bit & 1 != 0)
    }

    /// Address of the entry with this number; numbers beyond the last wrap around.
    #[must_use]
    pub fn entry_address(&self, number: u64) -> Option<u64> {
        self.memory.address((number & (self.entries() - 1)) * EQE_BYTES)
    }
}

impl Kind for Eq {
    const FULL: Failure = Failure::EQ_FULL;
    const UNKNOWN: Failure = Failure::EQ_UNKNOWN;
    const FOREIGN: Failure = Failure::EQ_FOREIGN;
    const IN_USE: Failure = Failure::EQ_IN_USE;

    fn held(&self) -> Vec<Held> {
        vec![Held::Uar(self.uar_page)]
    }

    fn page_entries(&self) -> usize {
        self.memory.pages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(log_size: u32, memory: PageList) -> Eq {
        let events = [1 << 0x0a, 0, 0, 1 << 63];
        let progress = Progress::default();
        Eq { log_size, uar_page: 1, vector: 0, events, overrun_ignore: false, collapsed: false, memory, progress }
    }

    #[test]
    fn entries_follow_the_pages_and_wrap() {
        let memory = PageList { page_shift: 12, page_offset: 2, pages: vec![0x1000, 0x8000, 0x3000] };
        let eq = eq(7, memory);
        assert_eq!(eq.entry_address(0), Some(0x1080));
        assert_eq!(eq.entry_address(62), Some(0x8000));
        assert_eq!(eq.entry_address(127), Some(0x3040));
        assert_eq!(eq.entry_address(128), eq.entry_address(0));
    }

    #[test]
    fn wanted_events_are_bits() {
        let eq = eq(0, PageList { page_shift: 12, page_offset: 0, pages: vec![0] });
        let wanted: Vec<u8> = (0..=255).filter(|&event| eq.wants(EventType(event))).collect();
        assert_eq!(wanted, [0x0a, 0xff]);
    }
}
