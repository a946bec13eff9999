//! The TLP digest: ECRC (PCIe base spec 2.7.1).
//!
//! CRC-32 with polynomial 0x04C11DB7 over end-to-end prefixes, header and payload, seed all ones, each byte's bit 0 first, result
//! complemented. The spec's placing of the result's bits in the digest makes the digest's bytes on the wire those of an Ethernet
//! frame check sequence. Bits that may change on the way count as 1: bit 0 of Type (configuration type 1 turns into 0) and EP.

use super::header::{EP, Header};
use super::prefix::Prefixes;

/// 0x04C11DB7 with its bits reversed, as bit 0 goes first.
const POLYNOMIAL: u32 = 0xedb8_8320;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Takes more bytes into a CRC-32 of this polynomial, bit 0 of each first, as the digest and the LCRC are made of.
pub(crate) fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The digest of a TLP, as the DW on the wire (most significant byte first). TD must be set in `header` already: it is covered.
pub fn ecrc(prefixes: &Prefixes, header: &Header, payload: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for prefix in prefixes.end_to_end() {
        crc = crc32(crc, &prefix.dw().to_be_bytes());
    }
    let mut bytes = [0; 16];
    let mut invariant = *header;
    invariant.dw[0] |= 1 << 24 | EP;
    invariant.encode(&mut bytes);
    crc = crc32(crc, bytes.get(..header.header_len()).unwrap_or(&bytes));
    (!crc32(crc, payload)).swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::{Bdf, ConfigType, Prefix};
    use super::*;

    /// The spec's figure, bit by bit: a register of 32 bits, bit 31 first out, and the result's bits placed in the digest as its table says.
    fn as_in_the_spec(bytes: &[u8]) -> u32 {
        let mut register = u32::MAX;
        for byte in bytes {
            for bit in 0..8 {
                let feedback = register >> 31 ^ u32::from(byte >> bit & 1);
                register <<= 1;
                if feedback != 0 {
                    register ^= 0x04c1_1db7;
                }
            }
        }
        let result = !register;
        // Result bit 0 becomes digest bit 7, 1 becomes 6, ... 8 becomes 15, ... 31 becomes 24.
        (0..32).map(|bit: u32| (result >> bit & 1) << (bit / 8 * 8 + 7 - bit % 8)).sum()
    }

    #[test]
    fn check_value_of_the_polynomial() {
        assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
        assert_eq!(as_in_the_spec(b"123456789"), 0xcbf4_3926_u32.swap_bytes());
    }

    #[test]
    fn covers_what_the_spec_says() {
        let mut header = Header::mem_write_bytes(Bdf::new(1, 2, 3), 5, 0x1_0000_0000, 8).unwrap();
        header.set_td(true);
        let payload = [1, 2, 3, 4, 5, 6, 7, 8];
        let mut prefixes = Prefixes::NONE;
        prefixes.push(Prefix::from_dw(0x8e12_3456).unwrap()).unwrap();
        prefixes.push(Prefix::from_dw(0x9112_3456).unwrap()).unwrap();
        let mut bytes = vec![0x91, 0x12, 0x34, 0x56];
        let mut wire = [0; 16];
        header.encode(&mut wire);
        wire[0] |= 1;
        wire[2] |= 0x40;
        bytes.extend(wire);
        bytes.extend(payload);
        assert_eq!(ecrc(&prefixes, &header, &payload), as_in_the_spec(&bytes));
    }

    #[test]
    fn variant_bits_do_not_count() {
        let type1 = Header::config_read(ConfigType::Type1, Bdf(0), 1, Bdf::new(2, 0, 0), 4, 0xf).unwrap();
        let type0 = type1.to_config_type0().unwrap();
        let mut poisoned = type0;
        poisoned.set_ep(true);
        let digest = |h: &Header| ecrc(&Prefixes::NONE, h, &[]);
        assert_eq!(digest(&type1), digest(&type0));
        assert_eq!(digest(&type0), digest(&poisoned));
        let mut other = type0;
        other.set_tag(2);
        assert_ne!(digest(&type0), digest(&other));
    }
}
