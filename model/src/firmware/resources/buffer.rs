//! Where queues lie: lists of pages, parts of UMEMs, doorbell records.

use super::uses::Held;

/// log2 of the largest page in bytes.
pub const MAX_PAGE_SHIFT: u32 = 51;

/// Pages of one size, one after the other, in memory the driver named by its bus addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageList {
    /// log2 of the size of a page in bytes, 12 to [`MAX_PAGE_SHIFT`].
    pub page_shift: u32,
    /// Where the first byte is in the first page, in 1/64 of a page.
    pub page_offset: u32,
    /// Addresses of the pages.
    pub pages: Vec<u64>,
}

impl PageList {
    /// How many pages of 2^`page_shift` bytes hold `bytes` from `page_offset` (in 1/64 of a page) on.
    #[must_use]
    pub const fn needed(bytes: u64, page_shift: u32, page_offset: u32) -> u64 {
        let end = bytes + ((page_offset as u64) << (page_shift - 6));
        end.div_ceil(1 << page_shift)
    }

    /// Whether all pages are aligned to their size.
    #[must_use]
    pub fn is_aligned(&self) -> bool {
        self.pages.iter().all(|page| page & ((1 << self.page_shift) - 1) == 0)
    }

    /// Address of the byte `at` bytes from the start; `None` beyond the last page.
    #[must_use]
    pub fn address(&self, at: u64) -> Option<u64> {
        let offset = at.checked_add(u64::from(self.page_offset) << (self.page_shift - 6))?;
        let page = self.pages.get(usize::try_from(offset >> self.page_shift).ok()?)?;
        Some(page + (offset & ((1 << self.page_shift) - 1)))
    }
}

/// A part of a UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UmemRange {
    /// The UMEM.
    pub id: u32,
    /// Where the part starts, in bytes.
    pub offset: u64,
}

/// Where the entries of a queue are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The queue has none.
    None,
    /// In pages.
    Pages(PageList),
    /// In a UMEM.
    Umem(UmemRange),
}

impl Buffer {
    /// Entries of the page list.
    #[must_use]
    pub fn page_entries(&self) -> usize {
        self.pages().len()
    }

    /// Addresses of the pages; none if the buffer is not made of pages.
    #[must_use]
    pub fn pages(&self) -> &[u64] {
        match self {
            Self::Pages(list) => &list.pages,
            Self::None | Self::Umem(_) => &[],
        }
    }

    /// The UMEM that the buffer uses.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        match self {
            Self::Umem(range) => Some(Held::Umem(range.id)),
            Self::None | Self::Pages(_) => None,
        }
    }
}

/// Where the driver writes how far it is with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorbellRecord {
    /// The queue has none.
    None,
    /// At this bus address.
    Address(u64),
    /// In a UMEM.
    Umem(UmemRange),
}

impl DoorbellRecord {
    /// The UMEM that the record uses.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        match self {
            Self::Umem(range) => Some(Held::Umem(range.id)),
            Self::None | Self::Address(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_needed_counts_the_offset() {
        // bytes, page shift, offset in 1/64 page, pages
        let table = [(64, 12, 0, 1), (4096, 12, 0, 1), (4096, 12, 1, 2), (64 << 13, 12, 0, 128), (64 << 7, 13, 63, 2)];
        for (bytes, shift, offset, pages) in table {
            assert_eq!(PageList::needed(bytes, shift, offset), pages, "{bytes} {shift} {offset}");
        }
    }

    #[test]
    fn addresses_follow_the_pages() {
        let list = PageList { page_shift: 12, page_offset: 2, pages: vec![0x1000, 0x8000] };
        assert_eq!(list.address(0), Some(0x1080));
        assert_eq!(list.address(0xf80), Some(0x8000));
        assert_eq!(list.address(0x1f80), None);
        assert_eq!(list.address(u64::MAX), None);
        assert!(list.is_aligned() && !PageList { page_shift: 13, ..list }.is_aligned());
    }
}
