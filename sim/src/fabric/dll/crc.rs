//! The checks of the data link layer: CRC-16 of DLLPs (3.5.1) and LCRC of TLPs (3.6.2.2).
//!
//! Both begin with all ones, take each byte's bit 0 first, and are complemented. The figures that place the result's bits in its bytes make
//! those bytes the ones of a reflected CRC, the low byte first.

use super::Sequence;
use crate::tlp::crc32;

/// 0x100B with its bits reversed, as bit 0 goes first.
const POLYNOMIAL: u16 = 0xd008;

/// The check of a DLLP's four bytes: its fifth and sixth.
pub fn crc16(bytes: &[u8]) -> [u8; 2] {
    let mut crc = u16::MAX;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

/// The check of a TLP with its sequence number: `parts` are the TLP's bytes, prefixes to digest, in pieces. Four reserved bits that are 0 stand
/// before the sequence number and are covered, too.
pub fn lcrc(sequence: Sequence, parts: &[&[u8]]) -> [u8; 4] {
    let crc = crc32(u32::MAX, &sequence.value().to_be_bytes());
    (!parts.iter().fold(crc, |crc, part| crc32(crc, part))).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of warp-pipe's tests (tests/test_crc.cc of github.com/antmicro/warp-pipe, Apache-2.0): an Ack of sequence number 0, and
    /// a memory read whose header is all zeroes with sequence number 0.
    #[test]
    fn known_answers() {
        assert_eq!(crc16(&[0; 4]), 0x62b3_u16.to_le_bytes());
        assert_eq!(lcrc(Sequence::new(0), &[&[0; 12]]), 0xd1bb_79c7_u32.to_le_bytes());
    }

    /// The spec's figure bit by bit: a register whose top bit goes out first, and the result's bits mirrored within each byte.
    fn as_in_the_figure(bytes: &[u8]) -> [u8; 2] {
        let mut register = u16::MAX;
        for byte in bytes {
            for bit in 0..8 {
                let feedback = register >> 15 ^ u16::from(byte >> bit & 1);
                register <<= 1;
                if feedback != 0 {
                    register ^= 0x100b;
                }
            }
        }
        let [high, low] = (!register).to_be_bytes();
        [high.reverse_bits(), low.reverse_bits()]
    }

    #[test]
    fn the_figure_and_the_reflected_form_are_the_same() {
        for bytes in [[0_u8, 0, 0, 0], [1, 2, 3, 4], [0xff; 4], [0x80, 0x40, 0x00, 0x10], [0x10, 0, 0x0f, 0xff]] {
            assert_eq!(crc16(&bytes), as_in_the_figure(&bytes));
        }
    }

    #[test]
    fn the_sequence_number_and_each_piece_count() {
        let whole = lcrc(Sequence::new(5), &[&[1, 2, 3, 4, 5, 6, 7, 8]]);
        assert_eq!(whole, lcrc(Sequence::new(5), &[&[1, 2, 3], &[4], &[], &[5, 6, 7, 8]]));
        assert_ne!(whole, lcrc(Sequence::new(6), &[&[1, 2, 3, 4, 5, 6, 7, 8]]));
        assert_ne!(whole, lcrc(Sequence::new(5), &[&[1, 2, 3, 4, 5, 6, 7, 9]]));
    }
}
