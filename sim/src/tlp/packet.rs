//! A whole TLP: prefixes, header, payload, digest. [`Packet`] names its bytes, [`Tlp`] is what they mean.

use super::{Header, Malformed, Part, Prefix, Prefixes, TYPES, ecrc};
use std::fmt;

/// The bytes of a TLP, with names.
///
/// After [`new_checked`](Self::new_checked) each accessor gives what it names. After [`new_unchecked`](Self::new_unchecked) on
/// bytes that are no TLP, accessors give less (empty slices), but never panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Names for bytes that are known to be a TLP.
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// Checks all of the bytes, as [`Tlp::parse`] does.
    ///
    /// # Errors
    /// As [`Tlp::parse`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Malformed> {
        Tlp::parse(buffer.as_ref())?;
        Ok(Packet { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }

    /// The prefixes' bytes.
    pub fn prefix_bytes(&self) -> &[u8] {
        let len = prefix_len(self.bytes());
        self.bytes().get(..len).unwrap_or(self.bytes())
    }

    /// Fmt and Type: the header's first byte. `None` if there is no header.
    pub fn fmt_type(&self) -> Option<u8> {
        self.bytes().get(prefix_len(self.bytes())).copied()
    }

    /// The header's bytes.
    pub fn header_bytes(&self) -> &[u8] {
        self.part(|layout| (layout.header, layout.payload))
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.part(|layout| (layout.payload, layout.digest))
    }

    /// The digest's four bytes; empty if there is none.
    pub fn digest_bytes(&self) -> &[u8] {
        self.part(|layout| (layout.digest, layout.end))
    }

    /// The prefixes.
    ///
    /// # Errors
    /// As [`Prefixes::parse`]; none after [`new_checked`](Self::new_checked).
    pub fn prefixes(&self) -> Result<Prefixes, Malformed> {
        Prefixes::parse(self.bytes())
    }

    /// The header.
    ///
    /// # Errors
    /// As [`Header::decode`]; none after [`new_checked`](Self::new_checked).
    pub fn header(&self) -> Result<Header, Malformed> {
        Header::decode(self.header_bytes())
    }

    /// The digest as the DW on the wire (most significant byte first); `None` if there is none.
    pub fn digest(&self) -> Option<u32> {
        self.digest_bytes().first_chunk().map(|dw| u32::from_be_bytes(*dw))
    }

    fn part(&self, of: impl Fn(Layout) -> (usize, usize)) -> &[u8] {
        let bytes = self.bytes();
        let (start, end) = of(Layout::of(bytes));
        bytes.get(start..end.min(bytes.len())).unwrap_or(&[])
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// The payload, to be written.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let layout = Layout::of(self.bytes());
        let bytes = self.buffer.as_mut();
        let end = layout.digest.min(bytes.len());
        bytes.get_mut(layout.payload..end).unwrap_or(&mut [])
    }

    /// Puts `header` in the place of the one that is there, if it makes the same layout: the same lengths of header and payload,
    /// the same TD. Returns whether it did.
    pub fn set_header(&mut self, header: &Header) -> bool {
        let layout = Layout::of(self.bytes());
        let same = layout.payload - layout.header == header.header_len()
            && layout.digest - layout.payload == header.payload_len()
            && layout.end - layout.header == header.tlp_len();
        let mut encoded = [0; 16];
        let len = header.encode(&mut encoded);
        let place = self.buffer.as_mut().get_mut(layout.header..layout.header + len);
        match (place, encoded.get(..len)) {
            (Some(place), Some(bytes)) if same => place.copy_from_slice(bytes),
            _ => return false,
        }
        true
    }
}

/// Where the parts of a TLP begin, in bytes, as its prefixes and DW 0 say. All equal where there is no header.
#[derive(Clone, Copy)]
struct Layout {
    header: usize,
    payload: usize,
    digest: usize,
    end: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Layout {
        let header = prefix_len(bytes);
        let dw0 = bytes.get(header..).and_then(<[u8]>::first_chunk::<4>);
        let info = dw0.and_then(|dw0| Some((dw0, TYPES[usize::from(dw0[0])]?)));
        let Some((dw0, info)) = info else {
            return Layout { header, payload: header, digest: header, end: header };
        };
        let length = usize::from(u16::from_be_bytes([dw0[2], dw0[3]]) & 0x3ff);
        let payload = header + usize::from(info.header_len);
        let data = match (info.has_data, length) {
            (false, _) => 0,
            (true, 0) => 4096,
            (true, length) => length * 4,
        };
        let digest = payload + data;
        Layout { header, payload, digest, end: digest + usize::from(dw0[2] >> 7) * 4 }
    }
}

/// Bytes of the DWs at the start that are prefixes.
fn prefix_len(bytes: &[u8]) -> usize {
    let (dws, _) = bytes.as_chunks::<4>();
    let prefixes = dws.iter().take_while(|dw| Prefix::starts_with(dw[0]));
    prefixes.count() * 4
}

/// A checked TLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlp<'a> {
    /// The prefixes.
    pub prefixes: Prefixes,
    /// The header.
    pub header: Header,
    /// The payload in the order of the wire; empty if the TLP has none.
    pub payload: &'a [u8],
    /// The digest as the DW on the wire (most significant byte first). Whether it is right is not checked: see [`ecrc_is_good`](Self::ecrc_is_good).
    pub digest: Option<u32>,
}

impl<'a> Tlp<'a> {
    /// Reads a TLP that `bytes` holds from first to last byte.
    ///
    /// # Errors
    /// Those of [`Prefixes::parse`] and [`Header::decode`], [`Malformed::Truncated`], [`Malformed::TrailingBytes`].
    pub fn parse(bytes: &'a [u8]) -> Result<Tlp<'a>, Malformed> {
        let prefixes = Prefixes::parse(bytes)?;
        let start = prefixes.wire_len();
        let header = Header::decode(bytes.get(start..).unwrap_or(&[])).map_err(|e| match e {
            Malformed::Truncated { part, needs, .. } => {
                Malformed::Truncated { part, needs: needs + start, has: bytes.len() }
            }
            other => other,
        })?;
        let payload_at = start + header.header_len();
        let digest_at = payload_at + header.payload_len();
        let needs = start + header.tlp_len();
        let Some(payload) = bytes.get(payload_at..digest_at) else {
            return Err(Malformed::Truncated { part: Part::Payload, needs: digest_at, has: bytes.len() });
        };
        let rest = bytes.get(digest_at..).unwrap_or(&[]);
        let digest = match (header.td(), rest.first_chunk()) {
            (false, _) => None,
            (true, Some(dw)) => Some(u32::from_be_bytes(*dw)),
            (true, None) => {
                return Err(Malformed::Truncated { part: Part::Digest, needs, has: bytes.len() });
            }
        };
        if bytes.len() > needs {
            return Err(Malformed::TrailingBytes { needs, has: bytes.len() });
        }
        Ok(Tlp { prefixes, header, payload, digest })
    }

    /// A TLP without prefixes and digest; TD is cleared.
    ///
    /// # Errors
    /// [`Malformed::PayloadLength`] if `payload` isn't as long as the header says.
    pub fn new(mut header: Header, payload: &'a [u8]) -> Result<Tlp<'a>, Malformed> {
        header.set_td(false);
        let tlp = Tlp { prefixes: Prefixes::NONE, header, payload, digest: None };
        tlp.check()?;
        Ok(tlp)
    }

    /// The same with a digest: TD set, ECRC computed.
    #[must_use]
    pub fn with_ecrc(mut self) -> Tlp<'a> {
        self.header.set_td(true);
        self.digest = Some(ecrc(&self.prefixes, &self.header, self.payload));
        self
    }

    /// Is the digest the ECRC of the rest? `None` without a digest.
    pub fn ecrc_is_good(&self) -> Option<bool> {
        self.digest.map(|digest| digest == ecrc(&self.prefixes, &self.header, self.payload))
    }

    /// Do the parts fit together?
    ///
    /// # Errors
    /// [`Malformed::PayloadLength`], [`Malformed::DigestFlag`].
    pub const fn check(&self) -> Result<(), Malformed> {
        let needs = self.header.payload_len();
        if self.payload.len() != needs {
            return Err(Malformed::PayloadLength { needs, payload: self.payload.len() });
        }
        if self.header.td() != self.digest.is_some() {
            return Err(Malformed::DigestFlag { td: self.header.td() });
        }
        Ok(())
    }

    /// Bytes on the wire, from the first prefix to the digest.
    pub const fn wire_len(&self) -> usize {
        self.prefixes.wire_len() + self.header.tlp_len()
    }

    /// Writes the TLP to the start of `out` and returns its length.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); [`Malformed::Truncated`] if `out` is too short. Nothing is written then.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, Malformed> {
        self.check()?;
        let needs = self.wire_len();
        let has = out.len();
        let Some(mut out) = out.get_mut(..needs) else {
            return Err(Malformed::Truncated { part: Part::Output, needs, has });
        };
        let mut put = |bytes: &[u8]| {
            if let Some((place, rest)) = std::mem::take(&mut out).split_at_mut_checked(bytes.len()) {
                place.copy_from_slice(bytes);
                out = rest;
            }
        };
        for prefix in self.prefixes.iter() {
            put(&prefix.dw().to_be_bytes());
        }
        let mut header = [0; 16];
        let len = self.header.encode(&mut header);
        put(header.get(..len).unwrap_or(&header));
        put(self.payload);
        if let Some(digest) = self.digest {
            put(&digest.to_be_bytes());
        }
        Ok(needs)
    }

    /// The TLP's bytes.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn to_vec(&self) -> Result<Vec<u8>, Malformed> {
        let mut bytes = vec![0; self.wire_len()];
        self.emit(&mut bytes)?;
        Ok(bytes)
    }
}

/// Printed as one line: the prefixes in brackets, the header, the digest.
impl fmt::Display for Tlp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for prefix in self.prefixes.iter() {
            write!(f, "[{prefix}] ")?;
        }
        write!(f, "{}", self.header)?;
        match self.digest {
            Some(digest) => write!(f, " ecrc {digest:#010x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bdf, Pasid};
    use super::*;

    /// MWr64, two bytes at 0x100000005, with PASID prefix and digest.
    fn bytes() -> Vec<u8> {
        let header = Header::mem_write_bytes(Bdf::new(1, 2, 3), 5, 0x1_0000_0005, 2).unwrap();
        let mut tlp = Tlp::new(header, &[0, 0xaa, 0xbb, 0]).unwrap();
        let pasid = Pasid { pasid: 7, execute: false, privileged: false };
        tlp.prefixes.push(Prefix::from_pasid(pasid).unwrap()).unwrap();
        tlp.with_ecrc().to_vec().unwrap()
    }

    #[test]
    fn packet_names_the_bytes() {
        let packet = Packet::new_checked(bytes()).unwrap();
        assert_eq!(packet.prefix_bytes(), [0x91, 0, 0, 7]);
        assert_eq!(packet.fmt_type(), Some(0x60));
        assert_eq!(packet.header_bytes(), [0x60, 0, 0x80, 1, 1, 0x13, 5, 6, 0, 0, 0, 1, 0, 0, 0, 4]);
        assert_eq!(packet.payload(), [0, 0xaa, 0xbb, 0]);
        assert_eq!(packet.digest_bytes().len(), 4);
        assert_eq!(packet.digest(), Tlp::parse(&bytes()).unwrap().digest);
        assert_eq!(packet.prefixes().unwrap().pasid().map(|p| p.pasid), Some(7));
        assert_eq!(packet.header().unwrap().address(), 0x1_0000_0004);
    }

    #[test]
    fn packet_is_written_in_place() {
        let mut packet = Packet::new_checked(bytes()).unwrap();
        packet.payload_mut()[1] = 0xcc;
        let mut header = packet.header().unwrap();
        header.set_tag(0x3ff);
        assert!(packet.set_header(&header));
        let other = Header::mem_read_bytes(Bdf(0), 0, 0, 4).unwrap();
        assert!(!packet.set_header(&other));
        let bytes = packet.into_inner();
        let tlp = Tlp::parse(&bytes).unwrap();
        assert_eq!((tlp.header.tag(), tlp.payload[1]), (0x3ff, 0xcc));
        assert_eq!(tlp.ecrc_is_good(), Some(false));
    }

    #[test]
    fn every_cut_names_the_part_that_is_missing() {
        let bytes = bytes();
        assert_eq!(Tlp::parse(&bytes).unwrap().ecrc_is_good(), Some(true));
        for len in 0..bytes.len() {
            let (part, needs) = match len {
                1..4 => (Part::Prefix, 4),
                0 => (Part::Header, 12),
                4 => (Part::Header, 16),
                5..20 => (Part::Header, 20),
                20..24 => (Part::Payload, 24),
                _ => (Part::Digest, 28),
            };
            let expected = Malformed::Truncated { part, needs, has: len };
            assert_eq!(Tlp::parse(&bytes[..len]), Err(expected), "{len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Tlp::parse(&longer), Err(Malformed::TrailingBytes { needs: 28, has: 29 }));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let header = Header::mem_write_bytes(Bdf(0), 0, 0, 8).unwrap();
        assert_eq!(Tlp::new(header, &[0; 4]), Err(Malformed::PayloadLength { needs: 8, payload: 4 }));
        let mut tlp = Tlp::new(header, &[0; 8]).unwrap();
        let needs = Malformed::Truncated { part: Part::Output, needs: 20, has: 19 };
        assert_eq!(tlp.emit(&mut [0; 19]), Err(needs));
        tlp.header.set_td(true);
        assert_eq!(tlp.to_vec(), Err(Malformed::DigestFlag { td: true }));
    }

    #[test]
    fn prints_one_line() {
        let bytes = bytes();
        let tlp = Tlp::parse(&bytes).unwrap();
        let digest = tlp.digest.unwrap();
        assert_eq!(
            tlp.to_string(),
            format!("[PASID 0x00007] MWr64 01:02.3 tag 0x005 addr 0x100000004 2 B be 6/0 ecrc {digest:#010x}")
        );
    }
}
