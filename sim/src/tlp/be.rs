//! Arithmetic of byte enables, byte counts and lower addresses (PCIe base spec 2.2.5 and 2.3.1.1).

use super::Malformed;

/// The bytes of a memory request: First and Last DW BE and the number of DWs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteEnables {
    /// First DW BE: bit i enables byte i of the first DW.
    pub first: u8,
    /// Last DW BE: the same for the last DW; 0 if there is one DW only.
    pub last: u8,
    /// Number of DWs, 1..=1024.
    pub length_dw: u32,
}

/// Largest number of bytes that one request can cover.
pub const MAX_BYTES: u32 = 4096;

impl ByteEnables {
    /// The byte enables for `len` bytes from address `address`. `len` 0 gives a request for one DW with no byte enabled.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`] if `len` is above 4096; [`Malformed::Crosses4K`].
    pub const fn of_range(address: u64, len: u32) -> Result<ByteEnables, Malformed> {
        if len > MAX_BYTES {
            return Err(Malformed::OutOfRange {
                field: "length in bytes",
                value: len as u64,
                min: 0,
                max: MAX_BYTES as u64,
            });
        }
        if len == 0 {
            return Ok(ByteEnables { first: 0, last: 0, length_dw: 1 });
        }
        let start = (address & 3) as u32;
        let end = start + len;
        let length_dw = end.div_ceil(4);
        if (address & 0xfff) as u32 + len > 4096 {
            return Err(Malformed::Crosses4K { address: address & !3, length_dw });
        }
        let first = 0xf << start & 0xf;
        // Bytes of the last DW that lie before the end: 1..=4.
        let last = 0xf >> ((4 - (end & 3)) & 3);
        Ok(if length_dw == 1 {
            ByteEnables { first: first & last, last: 0, length_dw }
        } else {
            ByteEnables { first, last, length_dw }
        })
    }

    /// Byte Count of the first completion: from the first enabled byte to the last, gaps included; 1 if none is enabled
    /// (base spec table 2-39). 1..=4096.
    pub const fn byte_count(self) -> u32 {
        if self.length_dw == 1 {
            let span = (self.first & 0xf) as u32;
            if span == 0 {
                return 1;
            }
            return 32 - span.leading_zeros() - span.trailing_zeros();
        }
        let before = offset_in_dw(self.first) as u32;
        let last = self.last & 0xf;
        let after = if last == 0 { 0 } else { last.leading_zeros() - 4 };
        self.length_dw * 4 - before - after
    }

    /// The enabled bytes of one DW: bit i for byte i. 0 for a DW that the request hasn't got.
    pub const fn of_dw(self, number: u32) -> u8 {
        match number {
            0 => self.first & 0xf,
            _ if number + 1 < self.length_dw => 0xf,
            _ if number + 1 == self.length_dw => self.last & 0xf,
            _ => 0,
        }
    }

    /// Number of bytes that are enabled, 0..=4096. Between first and last DW all are.
    pub const fn enabled(self) -> u32 {
        let ends = (self.first & 0xf).count_ones() + (self.last & 0xf).count_ones();
        if self.length_dw == 1 { (self.first & 0xf).count_ones() } else { ends + (self.length_dw - 2) * 4 }
    }

    /// The range of addresses from the first enabled byte to the last, gaps included, of a request at `address` (its low
    /// two bits don't count): first address and number of bytes. 0 bytes if none is enabled.
    pub const fn range(self, address: u64) -> (u64, u32) {
        let start = (address & !3) + offset_in_dw(self.first) as u64;
        let bytes = if self.length_dw == 1 && self.first & 0xf == 0 { 0 } else { self.byte_count() };
        (start, bytes)
    }

    /// Lower Address of the first completion: the low seven bits of the address of the first enabled byte (base spec table 2-40).
    pub const fn lower_address(self, address: u64) -> u8 {
        (address as u8 & 0x7c) | offset_in_dw(self.first)
    }
}

/// The index (0..=3) of the first byte that `be` enables; 0 if it enables none.
pub const fn offset_in_dw(be: u8) -> u8 {
    if be & 0xf == 0 { 0 } else { be.trailing_zeros() as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base spec table 2-39, rows for one DW: First DW BE and the Byte Count it gives.
    #[test]
    fn byte_count_of_one_dw_is_the_specs_table() {
        let table = [
            (0b1001, 4),
            (0b1011, 4),
            (0b1101, 4),
            (0b1111, 4),
            (0b0101, 3),
            (0b0111, 3),
            (0b1010, 3),
            (0b1110, 3),
            (0b0011, 2),
            (0b0110, 2),
            (0b1100, 2),
            (0b0001, 1),
            (0b0010, 1),
            (0b0100, 1),
            (0b1000, 1),
            (0b0000, 1),
        ];
        for (first, count) in table {
            let be = ByteEnables { first, last: 0, length_dw: 1 };
            assert_eq!(be.byte_count(), count, "{first:04b}");
        }
    }

    /// Base spec table 2-39, rows for more DWs: what the byte enables take from 4 * Length.
    #[test]
    fn byte_count_of_more_dws_is_the_specs_table() {
        let first = [(0b0001, 0), (0b1111, 0), (0b0010, 1), (0b1110, 1), (0b0100, 2), (0b1100, 2), (0b1000, 3)];
        let last = [(0b1000, 0), (0b1111, 0), (0b0100, 1), (0b0111, 1), (0b0010, 2), (0b0011, 2), (0b0001, 3)];
        for length_dw in [2, 3, 1024] {
            for (first, before) in first {
                for (last, after) in last {
                    let be = ByteEnables { first, last, length_dw };
                    assert_eq!(be.byte_count(), length_dw * 4 - before - after, "{be:?}");
                }
            }
        }
    }

    /// All offsets and lengths within a page against a byte-by-byte count.
    #[test]
    fn ranges_agree_with_a_naive_count() {
        for start in (0..70_u64).chain(4000..4096) {
            for len in (1..70_u32).chain(4020..=4096) {
                let made = ByteEnables::of_range(0x1_0000 + start, len);
                let first_dw = start / 4;
                let last_dw = (start + u64::from(len) - 1) / 4;
                let length_dw = (last_dw - first_dw + 1) as u32;
                if start + u64::from(len) > 4096 {
                    assert_eq!(made, Err(Malformed::Crosses4K { address: 0x1_0000 + (start & !3), length_dw }));
                    continue;
                }
                let enables = |dw: u64| {
                    (0..4)
                        .filter(|i| (start..start + u64::from(len)).contains(&(dw * 4 + i)))
                        .map(|i| 1 << i)
                        .sum::<u8>()
                };
                let last = if length_dw == 1 { 0 } else { enables(last_dw) };
                let naive = ByteEnables { first: enables(first_dw), last, length_dw };
                assert_eq!(made, Ok(naive));
                assert_eq!(naive.byte_count(), len);
                assert_eq!(naive.enabled(), len);
                for dw in first_dw..=last_dw + 1 {
                    assert_eq!(naive.of_dw((dw - first_dw) as u32), enables(dw));
                }
                assert_eq!(naive.range(0x1_0000 + start), (0x1_0000 + start, len));
                assert_eq!(u64::from(naive.lower_address(0x1_0000 + start)), start & 0x7f);
            }
        }
    }

    #[test]
    fn nothing_is_a_zero_length_request() {
        let be = ByteEnables::of_range(0x1003, 0).unwrap();
        assert_eq!(be, ByteEnables { first: 0, last: 0, length_dw: 1 });
        assert_eq!((be.byte_count(), be.enabled(), be.range(0x1003)), (1, 0, (0x1000, 0)));
        assert!(matches!(ByteEnables::of_range(0, 4097), Err(Malformed::OutOfRange { value: 4097, .. })));
    }
}
