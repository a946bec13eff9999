//! Which parts of an address space are lent to the device.

use std::collections::BTreeMap;

/// Free ranges of an address space, by address: the lowest one that fits is taken.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Start to length.
    free: BTreeMap<u64, u64>,
}

impl Ranges {
    /// All of these, each a start and a length; they don't touch or overlap.
    pub(super) fn new(free: impl IntoIterator<Item = (u64, u64)>) -> Ranges {
        Ranges { free: free.into_iter().filter(|&(_, len)| len > 0).collect() }
    }

    /// Takes `len` bytes, a multiple of `align`.
    pub(super) fn take(&mut self, len: u64, align: u64) -> Option<u64> {
        let fits = |(&start, &free): (&u64, &u64)| {
            let aligned = start.checked_next_multiple_of(align)?;
            let needed = (aligned - start).checked_add(len)?;
            (needed <= free).then_some((start, free, aligned))
        };
        let (start, free, aligned) = self.free.iter().find_map(fits)?;
        self.free.remove(&start);
        if aligned > start {
            self.free.insert(start, aligned - start);
        }
        let (end, free_end) = (aligned + len, start + free);
        if end < free_end {
            self.free.insert(end, free_end - end);
        }
        Some(aligned)
    }

    /// Gives bytes back that were taken.
    pub(super) fn give(&mut self, start: u64, len: u64) {
        let mut range = (start, len);
        if let Some((&before, &free)) = self.free.range(..start).next_back()
            && before + free == start
        {
            self.free.remove(&before);
            range = (before, free + len);
        }
        if let Some(after) = self.free.remove(&(start + len)) {
            range.1 += after;
        }
        self.free.insert(range.0, range.1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two ranges, the second of which begins at no multiple of a large page.
    const ALL: [(u64, u64); 2] = [(1 << 20, 1 << 20), (0x30_3000, 0x12_3000)];

    proptest! {
        /// What is taken is aligned and never taken twice, and all of it comes back.
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((1..40_u64, 12..17_u32, any::<bool>()), 1..80)) {
            let mut ranges = Ranges::new(ALL);
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (pages, log_align, give) in steps {
                if give && let Some((start, len)) = taken.pop() {
                    ranges.give(start, len);
                    continue;
                }
                let len = pages << log_align;
                if let Some(start) = ranges.take(len, 1 << log_align) {
                    prop_assert!(start % (1 << log_align) == 0);
                    prop_assert!(ALL.iter().any(|&(first, all)| start >= first && start + len <= first + all));
                    prop_assert!(taken.iter().all(|&(other, other_len)| start + len <= other || other + other_len <= start));
                    taken.insert(taken.len() / 2, (start, len));
                }
            }
            for (start, len) in taken {
                ranges.give(start, len);
            }
            prop_assert_eq!(ranges.free, BTreeMap::from(ALL));
        }
    }
}
