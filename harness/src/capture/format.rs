//! The header in front of each TLP of a capture. `harness/CAPTURE.md` has it bit by bit.

use mlx5_twin_sim::Time;
use mlx5_twin_sim::probe::{Direction, LinkId};

/// LINKTYPE_USER11: no link type for PCI Express is assigned (tcpdump.org's list), the 16 USER types are free for all.
pub const LINK_TYPE: u16 = 158;

/// `if_tsresol` of every interface: timestamps count 10^-9 seconds.
pub const TIMESTAMP_RESOLUTION: u8 = 9;

/// "TW" in ASCII: the first two bytes of each packet. Ours.
pub const MAGIC: u16 = 0x5457;

/// Version of [`PacketHeader`]. Ours.
pub const VERSION: u8 = 1;

/// Bytes of the header of this version.
pub const HEADER_LEN: usize = 24;

/// What stands in front of each TLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// The link.
    pub link: LinkId,
    /// The direction on it.
    pub direction: Direction,
    /// None is defined in version 1: written as 0, ignored by readers.
    pub flags: u8,
    /// Number of the TLP on this link and direction, from 0.
    pub sequence: u64,
    /// When the first symbol left.
    pub time: Time,
}

/// Why bytes are no [`PacketHeader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There are too few bytes.
    #[error("a packet of {has} bytes has no room for our header of {HEADER_LEN}")]
    Short {
        /// How many there are.
        has: usize,
    },
    /// The first two bytes are others.
    #[error("a packet begins with {found:#06x} and not with our magic number {MAGIC:#06x}")]
    Magic {
        /// What is there.
        found: u16,
    },
    /// Another version.
    #[error("header version {found}: only version {VERSION} is known")]
    Version {
        /// What is there.
        found: u8,
    },
    /// Another length of the header.
    #[error("a header of {found} bytes: version {VERSION} has {HEADER_LEN}")]
    Length {
        /// What is there.
        found: u8,
    },
    /// Neither downstream nor upstream.
    #[error("direction {found}: 0 (downstream) and 1 (upstream) exist")]
    Direction {
        /// What is there.
        found: u8,
    },
}

impl PacketHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [m0, m1] = MAGIC.to_be_bytes();
        let [l0, l1] = self.link.0.to_be_bytes();
        let mut bytes = [0; HEADER_LEN];
        let (front, numbers) = bytes.split_at_mut(8);
        front.copy_from_slice(&[m0, m1, VERSION, HEADER_LEN as u8, l0, l1, self.direction as u8, self.flags]);
        let (sequence, time) = numbers.split_at_mut(8);
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        time.copy_from_slice(&self.time.as_ps().to_be_bytes());
        bytes
    }

    /// Reads the header at the start of `packet`: gives it and what follows, the TLP.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn decode(packet: &[u8]) -> Result<(PacketHeader, &[u8]), HeaderError> {
        let Some((header, tlp)) = packet.split_first_chunk::<HEADER_LEN>() else {
            return Err(HeaderError::Short { has: packet.len() });
        };
        let [m0, m1, version, length, l0, l1, direction, flags, numbers @ ..] = *header;
        let found = u16::from_be_bytes([m0, m1]);
        if found != MAGIC {
            return Err(HeaderError::Magic { found });
        }
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        if usize::from(length) != HEADER_LEN {
            return Err(HeaderError::Length { found: length });
        }
        let direction = match direction {
            0 => Direction::Downstream,
            1 => Direction::Upstream,
            found => return Err(HeaderError::Direction { found }),
        };
        let numbers = u128::from_be_bytes(numbers);
        let header = PacketHeader {
            link: LinkId(u16::from_be_bytes([l0, l1])),
            direction,
            flags,
            sequence: (numbers >> 64) as u64,
            time: Time::ps(numbers as u64),
        };
        Ok((header, tlp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; HEADER_LEN] =
        [0x54, 0x57, 1, 24, 0x01, 0x02, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0x49, 0x96, 0x02, 0xd2];

    #[test]
    fn the_bytes_of_the_document() {
        let header = PacketHeader {
            link: LinkId(0x102),
            direction: Direction::Upstream,
            flags: 0,
            sequence: 7,
            time: Time::ps(1_234_567_890),
        };
        assert_eq!(header.encode(), BYTES);
        let mut packet = BYTES.to_vec();
        packet.extend([0xaa, 0xbb]);
        assert_eq!(PacketHeader::decode(&packet), Ok((header, &[0xaa, 0xbb][..])));
    }

    #[test]
    fn each_rule_has_its_error() {
        let cases = [
            (0, 0, HeaderError::Magic { found: 0x0057 }),
            (2, 2, HeaderError::Version { found: 2 }),
            (3, 28, HeaderError::Length { found: 28 }),
            (6, 2, HeaderError::Direction { found: 2 }),
        ];
        for (at, byte, error) in cases {
            let mut bytes = BYTES;
            bytes[at] = byte;
            assert_eq!(PacketHeader::decode(&bytes), Err(error));
        }
        for has in 0..HEADER_LEN {
            assert_eq!(PacketHeader::decode(&BYTES[..has]), Err(HeaderError::Short { has }));
        }
    }
}
