//! Pages of host memory that the driver gave the firmware to keep.

use std::collections::BTreeSet;

use crate::firmware::syndrome::Failure;

/// Bytes of a page the driver gives (`device.h`, `MLX5_ADAPTER_PAGE_SIZE`).
pub const PAGE_BYTES: u64 = 4096;

/// Which pages the firmware holds.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    given: BTreeSet<u64>,
    /// Pages asked for by an event that the driver has not answered.
    asked: usize,
    /// Pages offered back by an event that the driver has not answered.
    offered: usize,
}

impl Pages {
    /// How many pages the firmware holds.
    #[must_use]
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// Pages that an event has asked for, and the driver has neither given nor refused.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// Pages that an event has offered back, and the driver has not taken.
    #[must_use]
    pub fn offered(&self) -> usize {
        self.offered
    }

    /// So many pages are asked for from now on; 0: the driver has answered.
    pub(crate) fn ask(&mut self, pages: usize) {
        self.asked = pages;
    }

    /// So many pages are offered back from now on; 0: the driver has answered.
    pub(crate) fn offer(&mut self, pages: usize) {
        self.offered = pages;
    }

    /// Forgets what was asked for and offered: nobody is left to answer.
    pub(crate) fn close(&mut self) {
        (self.asked, self.offered) = (0, 0);
    }

    /// Takes all of `pages`, or none: each a multiple of 4096, none held already or named twice,
    /// and in total not more than `wanted`.
    ///
    /// # Errors
    /// [`Failure::PAGE_UNALIGNED`], [`Failure::PAGE_GIVEN_TWICE`], [`Failure::PAGES_NOT_WANTED`].
    pub(crate) fn give(&mut self, pages: &[u64], wanted: usize) -> Result<(), Failure> {
        if pages.len() > wanted.saturating_sub(self.given.len()) {
            return Err(Failure::PAGES_NOT_WANTED);
        }
        if pages.iter().any(|page| page % PAGE_BYTES != 0) {
            return Err(Failure::PAGE_UNALIGNED);
        }
        for (index, &page) in pages.iter().enumerate() {
            if !self.given.insert(page) {
                // Those before it were new: take them out again.
                for page in &pages[..index] {
                    self.given.remove(page);
                }
                return Err(Failure::PAGE_GIVEN_TWICE);
            }
        }
        Ok(())
    }

    /// Hands back at most `count` pages, lowest address first.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u64> {
        let taken: Vec<u64> = self.given.iter().copied().take(count).collect();
        for page in &taken {
            self.given.remove(page);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_none() {
        let mut pages = Pages::default();
        assert_eq!(pages.give(&[0x3000, 0x1000], 4), Ok(()));
        assert_eq!(pages.give(&[0x5000, 0x1000], 4), Err(Failure::PAGE_GIVEN_TWICE));
        assert_eq!(pages.give(&[0x5000, 0x5000], 4), Err(Failure::PAGE_GIVEN_TWICE));
        assert_eq!(pages.give(&[0x5000, 0x6001], 4), Err(Failure::PAGE_UNALIGNED));
        assert_eq!(pages.give(&[0x5000, 0x6000, 0x7000], 4), Err(Failure::PAGES_NOT_WANTED));
        assert_eq!(pages.given(), 2);
        assert_eq!(pages.take(1), [0x1000]);
        assert_eq!(pages.take(9), [0x3000]);
        assert_eq!(pages.given(), 0);
    }
}
