//! Memory on the device (MEMIC): pieces of a window of BAR 0, which software reads and writes through it and queue pairs through memory
//! keys.

use core::ops::Range;

use mlx5_twin_fw_cmds::constants::{MEMIC_INCREMENT, MEMIC_TEST_AND_SET};

use super::Resources;
use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// Alignment of a piece in bytes, and what its size is a multiple of: `log_memic_addr_alignment` counts from here (Linux's
/// `drivers/infiniband/hw/mlx5/dm.h`, `MLX5_MEMIC_BASE_SIZE`).
pub const MEMIC_UNIT: u64 = 64;

/// A piece of memory on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memic {
    /// Where it starts in BAR 0.
    pub start: u64,
    /// What is in it: zeros at first. Ours, so that nobody reads what another left.
    pub bytes: Vec<u8>,
    /// The operations that can be done on it, as bits of `memic_operations`.
    pub operations: u32,
}

impl Memic {
    /// The bytes of BAR 0 that it takes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.bytes.len() as u64)
    }

    /// Whether `length` bytes from `start` on lie in it.
    #[must_use]
    pub fn holds(&self, start: u64, length: u64) -> bool {
        let range = self.range();
        start >= range.start && start.checked_add(length).is_some_and(|end| end <= range.end)
    }
}

impl Kind for Memic {
    const FULL: Failure = Failure::MEMIC_FULL;
    const UNKNOWN: Failure = Failure::MEMIC_UNKNOWN;
    const FOREIGN: Failure = Failure::MEMIC_FOREIGN;
    const IN_USE: Failure = Failure::MEMIC_IN_USE;
}

impl Resources {
    /// The lowest start in `range` of a piece of `size` bytes that is aligned so and overlaps no other.
    pub(crate) fn memic_free(&self, range: &Range<u64>, size: u64, alignment: u64) -> Option<u64> {
        let mut taken: Vec<_> = self.memics.iter().map(|(_, _, memic)| memic.range()).collect();
        taken.sort_unstable_by_key(|taken| taken.start);
        let mut start = range.start.checked_next_multiple_of(alignment)?;
        for piece in taken {
            if piece.end > start && piece.start < start.checked_add(size)? {
                start = piece.end.checked_next_multiple_of(alignment)?;
            }
        }
        (start.checked_add(size)? <= range.end).then_some(start)
    }

    /// Bytes of all pieces together.
    pub(crate) fn memic_bytes(&self) -> u64 {
        self.memics.iter().map(|(_, _, memic)| memic.bytes.len() as u64).sum()
    }

    /// The number of the piece that has `length` bytes of BAR 0 from `start` on.
    pub(crate) fn memic_with(&self, start: u64, length: u64) -> Option<u32> {
        self.memics.iter().find(|(_, _, memic)| memic.holds(start, length)).map(|(id, _, _)| id)
    }

    /// Does an operation on one byte, which `write` is for or else is to be read. Nothing is done, and `None` given, if the byte is in no
    /// piece, the piece has no such operation, or the operation is done by the other kind of access.
    pub(crate) fn memic_operate(&mut self, operation: u8, offset: u64, write: Option<u8>) -> Option<u8> {
        let memic = self.memics.get_mut(self.memic_with(offset, 1)?)?;
        if memic.operations.checked_shr(operation.into())? & 1 == 0 {
            return None;
        }
        let byte = memic.bytes.get_mut((offset - memic.start) as usize)?;
        let before = *byte;
        *byte = match (operation, write) {
            (MEMIC_INCREMENT, Some(value)) => before.wrapping_add(value),
            (MEMIC_TEST_AND_SET, None) => 1,
            _ => return None,
        };
        Some(before)
    }

    /// Reads bytes of BAR 0 that lie in one piece. False if they don't; nothing is read then.
    pub(crate) fn memic_load(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let piece = self.memics.iter().find(|(_, _, memic)| memic.holds(offset, bytes.len() as u64));
        let from = piece.and_then(|(_, _, memic)| memic.bytes.get((offset - memic.start) as usize..));
        let Some(from) = from.and_then(|from| from.get(..bytes.len())) else { return false };
        bytes.copy_from_slice(from);
        true
    }

    /// Writes bytes of BAR 0 that lie in one piece. False if they don't; nothing is written then.
    pub(crate) fn memic_store(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let Some(id) = self.memic_with(offset, bytes.len() as u64) else { return false };
        let Some(memic) = self.memics.get_mut(id) else { return false };
        let inside = (offset - memic.start) as usize;
        let Some(to) = memic.bytes.get_mut(inside..inside + bytes.len()) else { return false };
        to.copy_from_slice(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::Limits;
    use crate::firmware::resources::Owner;

    fn resources() -> Resources {
        let mut resources = Resources::new(Limits { memics: 8, ..Limits::default() });
        for (start, size) in [(0x1000, 64), (0x1080, 128)] {
            resources.add(Owner::Driver, Memic { start, bytes: vec![0; size], operations: 0 }).expect("there is room");
        }
        resources
    }

    #[test]
    fn the_lowest_gap_that_fits() {
        let resources = resources();
        let cases = [
            (0x1000..0x2000, 64, 64, Some(0x1040)),
            (0x1000..0x2000, 128, 64, Some(0x1100)),
            (0x1000..0x2000, 64, 0x200, Some(0x1200)),
            (0x1000..0x1100, 128, 64, None),
            (0x1000..0x1140, 64, 64, Some(0x1040)),
            (0x1040..0x1080, 64, 64, Some(0x1040)),
            (0x3000..0x3040, 128, 64, None),
            (u64::MAX - 63..u64::MAX, 64, 64, None),
        ];
        for (range, size, alignment, expected) in cases {
            assert_eq!(resources.memic_free(&range, size, alignment), expected, "{range:x?} {size} {alignment}");
        }
        assert_eq!(resources.memic_bytes(), 192);
    }

    #[test]
    fn bytes_are_where_they_were_written() {
        let mut resources = resources();
        assert!(resources.memic_store(0x10f8, &[1, 2, 3, 4, 5, 6, 7, 8]));
        let mut read = [0; 4];
        assert!(resources.memic_load(0x10fc, &mut read));
        assert_eq!(read, [5, 6, 7, 8]);
        for outside in [0xffc, 0x103e, 0x1040, 0x10fe, 0x1100] {
            assert!(!resources.memic_store(outside, &[9; 4]), "{outside:x}");
            assert!(!resources.memic_load(outside, &mut read), "{outside:x}");
        }
        assert_eq!(read, [5, 6, 7, 8]);
    }

    #[test]
    fn operations_are_done_where_they_may() {
        let mut resources = resources();
        let (add, test) = (MEMIC_INCREMENT, MEMIC_TEST_AND_SET);
        assert_eq!(resources.memic_operate(add, 0x1000, Some(1)), None, "not made yet");
        resources.memics.get_mut(1).expect("is there").operations = 3;
        #[rustfmt::skip]
        let steps = [
            (add, 0x1000, Some(5), Some(0)), (add, 0x1000, Some(255), Some(5)), (test, 0x1000, None, Some(4)),
            (test, 0x1000, None, Some(1)), (add, 0x1000, None, None), (test, 0x1000, Some(1), None),
            (add, 0x103f, Some(9), Some(0)), (add, 0x1040, Some(9), None), (add, 0x1080, Some(9), None),
            (2, 0x1000, Some(9), None), (255, 0x1000, Some(9), None), (test, 0x103f, None, Some(9)),
        ];
        for (step, (operation, offset, write, expected)) in steps.into_iter().enumerate() {
            assert_eq!(resources.memic_operate(operation, offset, write), expected, "step {step}");
        }
    }
}
