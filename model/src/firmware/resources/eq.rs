//! Event queues as the driver made them. What has been posted and read since is the engine's
//! concern; the firmware only reports it.

use mlx5_twin_fw_cmds::event::EventType;

use super::table::Kind;
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
    /// log2 of the size of a page in bytes, 12 to 43.
    pub page_shift: u32,
    /// Where the first entry is in the first page, in 1/64 of a page.
    pub page_offset: u32,
    /// Addresses of the pages.
    pub pages: Vec<u64>,
    /// Kept by the engine.
    pub progress: Progress,
}

impl Eq {
    /// Number of entries.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        1 << self.log_size
    }

    /// How many pages of 2^`page_shift` bytes hold 2^`log_size` entries from `page_offset` (in
    /// 1/64 of a page) on.
    #[must_use]
    pub const fn pages_needed(log_size: u32, page_shift: u32, page_offset: u32) -> u64 {
        let bytes = (EQE_BYTES << log_size) + ((page_offset as u64) << (page_shift - 6));
        bytes.div_ceil(1 << page_shift)
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
        let offset =
            (number & (self.entries() - 1)) * EQE_BYTES + (u64::from(self.page_offset) << (self.page_shift - 6));
        let page = self.pages.get(usize::try_from(offset >> self.page_shift).ok()?)?;
        Some(page + (offset & ((1 << self.page_shift) - 1)))
    }
}

impl Kind for Eq {
    const FULL: Failure = Failure::EQ_FULL;
    const UNKNOWN: Failure = Failure::EQ_UNKNOWN;
    const FOREIGN: Failure = Failure::EQ_FOREIGN;
    const IN_USE: Failure = Failure::EQ_IN_USE;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(log_size: u32, page_shift: u32, page_offset: u32, pages: Vec<u64>) -> Eq {
        let events = [1 << 0x0a, 0, 0, 1 << 63];
        let progress = Progress::default();
        Eq {
            log_size,
            uar_page: 1,
            vector: 0,
            events,
            overrun_ignore: false,
            collapsed: false,
            page_shift,
            page_offset,
            pages,
            progress,
        }
    }

    #[test]
    fn pages_needed_counts_the_offset() {
        // log entries, page shift, offset in 1/64 page, pages
        let table = [(0, 12, 0, 1), (6, 12, 0, 1), (6, 12, 1, 2), (13, 12, 0, 128), (7, 13, 63, 2)];
        for (log_size, shift, offset, pages) in table {
            assert_eq!(Eq::pages_needed(log_size, shift, offset), pages, "{log_size} {shift} {offset}");
        }
    }

    #[test]
    fn entries_follow_the_pages_and_wrap() {
        let eq = eq(7, 12, 2, vec![0x1000, 0x8000, 0x3000]);
        assert_eq!(eq.entry_address(0), Some(0x1080));
        assert_eq!(eq.entry_address(62), Some(0x8000));
        assert_eq!(eq.entry_address(127), Some(0x3040));
        assert_eq!(eq.entry_address(128), eq.entry_address(0));
    }

    #[test]
    fn wanted_events_are_bits() {
        let eq = eq(0, 12, 0, vec![0]);
        let wanted: Vec<u8> = (0..=255).filter(|&event| eq.wants(EventType(event))).collect();
        assert_eq!(wanted, [0x0a, 0xff]);
    }
}
