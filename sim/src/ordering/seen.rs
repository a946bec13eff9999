//! A TLP as an observer of links sees it, and what makes it the same on the next link.

use crate::probe::{Direction, LinkId, Transmit};
use crate::time::Time;
use crate::tlp::{Header, Malformed, Prefixes};

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The link.
    pub link: LinkId,
    /// Which way TLPs go.
    pub direction: Direction,
}

/// Printed as `link 3 down`.
impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match self.direction {
            Direction::Downstream => "down",
            Direction::Upstream => "up",
        };
        write!(f, "link {} {way}", self.link.0)
    }
}

/// A TLP that begins on a link: from a probe, or from a capture.
#[derive(Clone, Copy, Debug)]
pub struct Appearance<'a> {
    /// When its first symbol leaves.
    pub at: Time,
    /// The link and direction.
    pub lane: Lane,
    /// Prefixes and header, in wire order.
    pub header: &'a [u8],
    /// Payload, in wire order. What isn't known may be left out, if it's left out on every link.
    pub payload: &'a [u8],
}

impl<'a> From<&Transmit<'a>> for Appearance<'a> {
    fn from(event: &Transmit<'a>) -> Appearance<'a> {
        let lane = Lane { link: event.link, direction: event.direction };
        Appearance { at: event.at, lane, header: event.header, payload: event.payload }
    }
}

/// What is kept of a TLP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sketch {
    pub(super) prefixes: Prefixes,
    pub(super) header: Header,
    payload: u64,
}

/// By what a TLP is found again behind a node: its end-to-end prefixes, its header, and a digest of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    header: [u32; 4],
    rest: u64,
}

/// EP in DW 0: a TLP may be poisoned on its way.
const EP: u32 = 1 << 14;
/// The type of a configuration request in DW 0: type 0 behind the last bridge, type 1 before it.
const CONFIG_TYPE: u32 = 1 << 24;
/// FNV-1a with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

fn digest(basis: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(basis, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

impl Sketch {
    /// Reads prefixes and header.
    ///
    /// # Errors
    /// The rule that they break.
    pub(super) fn of(header: &[u8], payload: &[u8]) -> Result<Sketch, Malformed> {
        let prefixes = Prefixes::parse(header)?;
        let header = Header::decode(header.get(prefixes.wire_len()..).unwrap_or(&[]))?;
        Ok(Sketch { prefixes, header, payload: digest(FNV_BASIS, payload) })
    }

    pub(super) fn identity(&self) -> Identity {
        let mut header = self.header.dws();
        header[0] &= !EP;
        if self.header.kind().is_config() {
            header[0] |= CONFIG_TYPE;
        }
        let end_to_end = self.prefixes.end_to_end();
        let rest = end_to_end.fold(self.payload, |hash, prefix| digest(hash, &prefix.dw().to_be_bytes()));
        Identity { header, rest }
    }
}
