//! Numbers for resources.

use bitvec::slice::BitSlice;
use bitvec::vec::BitVec;

/// Hands out numbers of a range, the lowest free one first. Takes one bit per number up to the
/// highest ever handed out.
#[derive(Clone, Debug)]
pub struct Ids {
    first: u32,
    count: u32,
    used: BitVec,
    /// No number below `first + lowest` is free.
    lowest: usize,
    alive: usize,
}

impl Ids {
    /// An allocator of the `count` numbers from `first` on.
    #[must_use]
    pub fn new(first: u32, count: u32) -> Self {
        let count = count.min(u32::MAX - first);
        Self { first, count, used: BitVec::new(), lowest: 0, alive: 0 }
    }

    /// Takes the lowest free number; `None` if all are taken.
    pub fn allocate(&mut self) -> Option<u32> {
        let free = self.used.get(self.lowest..).and_then(BitSlice::first_zero);
        let index = match free {
            Some(zero) => {
                let index = self.lowest + zero;
                self.used.set(index, true);
                index
            }
            None if self.used.len() < self.count as usize => {
                self.used.push(true);
                self.used.len() - 1
            }
            None => return None,
        };
        self.lowest = index + 1;
        self.alive += 1;
        Some(self.first + u32::try_from(index).ok()?)
    }

    /// Gives a number back. False if it was not taken.
    pub fn release(&mut self, id: u32) -> bool {
        let Some(index) = self.index(id).filter(|&index| self.used[index]) else { return false };
        self.used.set(index, false);
        self.lowest = self.lowest.min(index);
        self.alive -= 1;
        true
    }

    /// Whether the number is taken.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.index(id).is_some_and(|index| self.used[index])
    }

    /// How many numbers are taken.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// Where the bit of a number is, if there is one.
    fn index(&self, id: u32) -> Option<usize> {
        let index = id.checked_sub(self.first)? as usize;
        (index < self.used.len()).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_range_is_the_range() {
        let mut ids = Ids::new(5, 2);
        assert_eq!((ids.allocate(), ids.allocate(), ids.allocate()), (Some(5), Some(6), None));
        assert!(!ids.release(4) && !ids.release(7) && !ids.contains(7));
        assert!(ids.release(5) && !ids.release(5));
        assert_eq!(ids.allocate(), Some(5));
        assert_eq!(Ids::new(1, 0).allocate(), None);
    }

    proptest! {
        #[test]
        fn lowest_free_first(
            count in 0u32..70,
            steps in prop::collection::vec(prop::option::of(0u32..80), 0..300),
        ) {
            let mut ids = Ids::new(3, count);
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    None => {
                        let lowest = (3..3 + count).find(|id| !taken.contains(id));
                        prop_assert_eq!(ids.allocate(), lowest);
                        taken.extend(lowest);
                    }
                    Some(id) => prop_assert_eq!(ids.release(id), taken.remove(&id)),
                }
                prop_assert_eq!(ids.alive(), taken.len());
            }
            for id in 0..80 {
                prop_assert_eq!(ids.contains(id), taken.contains(&id));
            }
        }
    }
}
