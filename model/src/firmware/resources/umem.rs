//! UMEM: memory of the DPU's host that a context registered for the device.

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// What the device may do with a page: the two lowest bits of a page's entry
/// (`mlx5_ifc.h`, `mtt`: `rd_en`, `wr_en`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
}

/// Memory as the device sees it: offsets from 0 on, laid onto pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Umem {
    /// Entries as in the command: address of the page, [`Access`] in the two lowest bits.
    pages: Vec<u64>,
    /// log2 of the page size in bytes, 12 to 43.
    page_shift: u32,
    /// Bytes from the start of the first page to offset 0.
    page_offset: u64,
}

/// Bits of a page's entry that are not address.
const FLAGS: u64 = 0xfff;

impl Umem {
    /// A UMEM of `pages` (address, with [`Access`] in the two lowest bits), each
    /// 2^`page_shift` bytes, whose offset 0 is `page_offset` bytes into the first.
    ///
    /// # Errors
    /// [`Failure::UMEM_EMPTY`], [`Failure::UMEM_PAGE_SIZE`], [`Failure::UMEM_PAGE_OFFSET`],
    /// [`Failure::UMEM_PAGE_UNALIGNED`].
    pub fn new(pages: Vec<u64>, page_shift: u32, page_offset: u64) -> Result<Self, Failure> {
        if pages.is_empty() {
            return Err(Failure::UMEM_EMPTY);
        }
        let total = 1u64.checked_shl(page_shift).and_then(|size| size.checked_mul(pages.len() as u64));
        if total.is_none() || !(12..=51).contains(&page_shift) {
            return Err(Failure::UMEM_PAGE_SIZE);
        }
        let in_page = (1u64 << page_shift) - 1;
        if page_offset > in_page {
            return Err(Failure::UMEM_PAGE_OFFSET);
        }
        if pages.iter().any(|page| page & in_page & !FLAGS != 0) {
            return Err(Failure::UMEM_PAGE_UNALIGNED);
        }
        Ok(Self { pages, page_shift, page_offset })
    }

    /// Bytes from offset 0 to the end of the last page.
    #[must_use]
    pub fn size(&self) -> u64 {
        ((self.pages.len() as u64) << self.page_shift) - self.page_offset
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    /// Number of pages.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Where an offset is: the address for the device's DMA, and how many bytes from there on are
    /// contiguous for sure (to the end of the page). `None` outside the UMEM.
    #[must_use]
    pub fn translate(&self, offset: u64) -> Option<(u64, u64)> {
        let (entry, in_page) = self.entry(offset)?;
        Some(((entry & !FLAGS) + in_page, self.page_size() - in_page))
    }

    /// What the device may do at an offset. `None` outside the UMEM.
    #[must_use]
    pub fn access(&self, offset: u64) -> Option<Access> {
        let (entry, _) = self.entry(offset)?;
        Some(Access { read: entry & 1 != 0, write: entry & 2 != 0 })
    }

    /// Whether all of `offset..offset + length` is inside the UMEM and the device may write there.
    #[must_use]
    pub fn is_writable(&self, offset: u64, length: u64) -> bool {
        self.allows(offset, length, |access| access.write)
    }

    /// Whether all of `offset..offset + length` is inside the UMEM and the device may read there.
    #[must_use]
    pub fn is_readable(&self, offset: u64, length: u64) -> bool {
        self.allows(offset, length, |access| access.read)
    }

    fn allows(&self, offset: u64, length: u64, allowed: impl Fn(Access) -> bool) -> bool {
        let Some(end) = offset.checked_add(length).filter(|&end| end <= self.size()) else {
            return false;
        };
        let mut at = offset;
        while at < end {
            let (Some(access), Some((_, contiguous))) = (self.access(at), self.translate(at)) else {
                return false;
            };
            if !allowed(access) {
                return false;
            }
            at = at.saturating_add(contiguous);
        }
        true
    }

    /// Entry of the page an offset is in, and the offset inside that page.
    fn entry(&self, offset: u64) -> Option<(u64, u64)> {
        let from_first_page = offset.checked_add(self.page_offset)?;
        let entry = self.pages.get(usize::try_from(from_first_page >> self.page_shift).ok()?)?;
        Some((*entry, from_first_page & (self.page_size() - 1)))
    }
}

impl Kind for Umem {
    const FULL: Failure = Failure::UMEM_FULL;
    const UNKNOWN: Failure = Failure::UMEM_UNKNOWN;
    const FOREIGN: Failure = Failure::UMEM_FOREIGN;
    const IN_USE: Failure = Failure::UMEM_IN_USE;

    fn page_entries(&self) -> usize {
        self.page_count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules() {
        let page = 0x1234_5000 | 3;
        let cases = [
            (vec![], 12, 0, Err(Failure::UMEM_EMPTY)),
            (vec![page], 12, 0, Ok(4096)),
            (vec![page], 12, 4095, Ok(1)),
            (vec![page], 12, 4096, Err(Failure::UMEM_PAGE_OFFSET)),
            (vec![page], 13, 0, Err(Failure::UMEM_PAGE_UNALIGNED)),
            (vec![page], 11, 0, Err(Failure::UMEM_PAGE_SIZE)),
            (vec![0], 52, 0, Err(Failure::UMEM_PAGE_SIZE)),
            (vec![0; 1 << 13], 51, 0, Err(Failure::UMEM_PAGE_SIZE)),
            (vec![0x20_0000, 0x40_0003], 21, 0x1000, Ok(0x3f_f000)),
        ];
        for (pages, shift, offset, size) in cases {
            let umem = Umem::new(pages.clone(), shift, offset);
            assert_eq!(umem.map(|umem| umem.size()), size, "{pages:x?} {shift} {offset}");
        }
    }

    #[test]
    fn access_is_by_page() {
        let umem = Umem::new(vec![0x1003, 0x9001, 0x3002], 12, 0x800).expect("is well formed");
        assert_eq!(umem.translate(0), Some((0x1800, 0x800)));
        assert_eq!(umem.translate(0x801), Some((0x9001, 0xfff)));
        assert_eq!(umem.translate(0x2800), None);
        assert_eq!(umem.translate(u64::MAX), None);
        assert!(umem.is_writable(0, 0x800) && !umem.is_writable(0, 0x801));
        assert!(umem.is_readable(0, 0x1800) && !umem.is_readable(0, 0x1801));
        assert!(umem.is_writable(0x1800, 0x1000) && !umem.is_writable(0x1800, 0x1001));
        assert!(!umem.is_readable(u64::MAX, 2));
    }

    proptest! {
        /// Byte by byte, the UMEM is its pages one after the other.
        #[test]
        fn translation_is_the_pages_in_a_row(
            pages in prop::collection::vec(0u64..1 << 40, 1..6),
            shift in 12u32..15,
            page_offset in 0u64..1 << 14,
            at in 0u64..1 << 17,
        ) {
            let pages: Vec<u64> = pages.iter().map(|page| page << shift).collect();
            let page_offset = page_offset & ((1 << shift) - 1);
            let umem = Umem::new(pages.clone(), shift, page_offset).expect("is well formed");
            let flat: Vec<u64> =
                pages.iter().flat_map(|page| (0..1u64 << shift).map(move |byte| page + byte)).collect();
            let expected = flat.get((at + page_offset) as usize).copied();
            prop_assert_eq!(umem.translate(at).map(|(iova, _)| iova), expected);
            prop_assert_eq!(umem.size(), flat.len() as u64 - page_offset);
            if let Some((iova, length)) = umem.translate(at) {
                prop_assert_eq!((iova + length) & ((1 << shift) - 1), 0);
            }
        }
    }
}
