//! TLP prefixes (PCIe base spec 2.2.10): one DW each, in front of the header.

use super::{Malformed, Part};
use std::fmt;

/// Most end-to-end prefixes that a TLP may have (base spec 2.2.10.2).
pub const MAX_END_TO_END: usize = 4;
/// Most local prefixes that this codec holds (ours).
pub const MAX_LOCAL: usize = 4;

/// What a prefix is. Fmt is `100b`; Type bit 4 says local (0) or end-to-end (1), its other bits which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrefixKind {
    /// `0x80`: multi-root I/O virtualization.
    MrIov,
    /// `0x8e`: local, vendor defined 0.
    VendorLocal0,
    /// `0x8f`: local, vendor defined 1.
    VendorLocal1,
    /// Another local prefix; holds its first byte.
    OtherLocal(u8),
    /// `0x90`: extended TPH: steering tag bits 15:8.
    ExtTph,
    /// `0x91`: process address space ID.
    Pasid,
    /// `0x92`: integrity and data encryption.
    Ide,
    /// `0x9e`: end-to-end, vendor defined 0.
    VendorEndToEnd0,
    /// `0x9f`: end-to-end, vendor defined 1.
    VendorEndToEnd1,
    /// Another end-to-end prefix; holds its first byte.
    OtherEndToEnd(u8),
}

/// One prefix, as the DW on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(u32);

/// The fields of a PASID prefix (base spec 6.20.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pasid {
    /// The process address space ID, 20 bits.
    pub pasid: u32,
    /// Execute Requested.
    pub execute: bool,
    /// Privileged Mode Requested.
    pub privileged: bool,
}

const PASID: u32 = 0x91 << 24;
const PRIVILEGED: u32 = 1 << 23;
const EXECUTE: u32 = 1 << 22;

impl Prefix {
    /// Is `fmt_type`, the first byte of a DW, that of a prefix?
    #[inline]
    pub const fn starts_with(fmt_type: u8) -> bool {
        fmt_type >> 5 == 0b100
    }

    /// The prefix that a DW is; `None` if its Fmt isn't `100b`.
    #[inline]
    pub const fn from_dw(dw: u32) -> Option<Prefix> {
        if Prefix::starts_with((dw >> 24) as u8) { Some(Prefix(dw)) } else { None }
    }

    /// A PASID prefix.
    ///
    /// # Errors
    /// [`Malformed::OutOfRange`] if the PASID has more than 20 bits.
    pub const fn from_pasid(fields: Pasid) -> Result<Prefix, Malformed> {
        if fields.pasid > 0xf_ffff {
            return Err(Malformed::OutOfRange { field: "PASID", value: fields.pasid as u64, min: 0, max: 0xf_ffff });
        }
        let privileged = if fields.privileged { PRIVILEGED } else { 0 };
        let execute = if fields.execute { EXECUTE } else { 0 };
        Ok(Prefix(PASID | privileged | execute | fields.pasid))
    }

    /// An extended TPH prefix with steering tag bits 15:8.
    pub const fn from_steering_tag_high(high: u8) -> Prefix {
        Prefix(0x90 << 24 | (high as u32) << 16)
    }

    /// The DW on the wire; its most significant byte comes first.
    pub const fn dw(self) -> u32 {
        self.0
    }

    /// Fmt and Type.
    pub const fn fmt_type(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Is it for this link only?
    pub const fn is_local(self) -> bool {
        self.0 & 1 << 28 == 0
    }

    /// What it is.
    pub const fn kind(self) -> PrefixKind {
        match self.fmt_type() {
            0x80 => PrefixKind::MrIov,
            0x8e => PrefixKind::VendorLocal0,
            0x8f => PrefixKind::VendorLocal1,
            0x90 => PrefixKind::ExtTph,
            0x91 => PrefixKind::Pasid,
            0x92 => PrefixKind::Ide,
            0x9e => PrefixKind::VendorEndToEnd0,
            0x9f => PrefixKind::VendorEndToEnd1,
            other if self.is_local() => PrefixKind::OtherLocal(other),
            other => PrefixKind::OtherEndToEnd(other),
        }
    }

    /// The fields of a PASID prefix; `None` for any other.
    pub const fn pasid(self) -> Option<Pasid> {
        if self.fmt_type() != 0x91 {
            return None;
        }
        Some(Pasid { pasid: self.0 & 0xf_ffff, execute: self.0 & EXECUTE != 0, privileged: self.0 & PRIVILEGED != 0 })
    }

    /// Steering tag bits 15:8 of an extended TPH prefix; `None` for any other.
    pub const fn steering_tag_high(self) -> Option<u8> {
        if self.fmt_type() != 0x90 {
            return None;
        }
        Some((self.0 >> 16) as u8)
    }
}

/// Printed as `PASID 0x12345 exec priv`, or kind and DW.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fields) = self.pasid() {
            let execute = if fields.execute { " exec" } else { "" };
            let privileged = if fields.privileged { " priv" } else { "" };
            return write!(f, "PASID {:#07x}{execute}{privileged}", fields.pasid);
        }
        let name = match self.kind() {
            PrefixKind::MrIov => "MR-IOV",
            PrefixKind::VendorLocal0 => "VendPrefixL0",
            PrefixKind::VendorLocal1 => "VendPrefixL1",
            PrefixKind::ExtTph => "ExtTPH",
            PrefixKind::Ide => "IDE",
            PrefixKind::VendorEndToEnd0 => "VendPrefixE0",
            PrefixKind::VendorEndToEnd1 => "VendPrefixE1",
            PrefixKind::OtherLocal(_) => "local",
            PrefixKind::OtherEndToEnd(_) | PrefixKind::Pasid => "end-to-end",
        };
        write!(f, "{name} {:#010x}", self.0)
    }
}

/// The prefixes of one TLP in the order of the wire: local ones, then at most [`MAX_END_TO_END`] end-to-end ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefixes {
    dw: [u32; MAX_LOCAL + MAX_END_TO_END],
    local: u8,
    end_to_end: u8,
}

impl Prefixes {
    /// None.
    pub const NONE: Prefixes = Prefixes { dw: [0; MAX_LOCAL + MAX_END_TO_END], local: 0, end_to_end: 0 };

    /// Reads the prefixes at the start of a TLP. [`wire_len`](Self::wire_len) says where the header begins.
    ///
    /// # Errors
    /// [`Malformed::PrefixOrder`], [`Malformed::TooManyEndToEndPrefixes`], [`Malformed::TooManyLocalPrefixes`], [`Malformed::Truncated`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Prefixes, Malformed> {
        let mut prefixes = Prefixes::NONE;
        if bytes.first().is_none_or(|b| !Prefix::starts_with(*b)) {
            return Ok(prefixes);
        }
        let (dws, rest) = bytes.as_chunks::<4>();
        for dw in dws {
            match Prefix::from_dw(u32::from_be_bytes(*dw)) {
                Some(prefix) => prefixes.push(prefix)?,
                None => return Ok(prefixes),
            }
        }
        if rest.first().is_some_and(|b| Prefix::starts_with(*b)) {
            return Err(Malformed::Truncated { part: Part::Prefix, needs: prefixes.wire_len() + 4, has: bytes.len() });
        }
        Ok(prefixes)
    }

    /// Adds a prefix behind those that are there.
    ///
    /// # Errors
    /// [`Malformed::PrefixOrder`], [`Malformed::TooManyEndToEndPrefixes`], [`Malformed::TooManyLocalPrefixes`]; nothing is added then.
    pub fn push(&mut self, prefix: Prefix) -> Result<(), Malformed> {
        let position = self.len();
        let count = if prefix.is_local() {
            if self.end_to_end > 0 {
                return Err(Malformed::PrefixOrder { fmt_type: prefix.fmt_type(), position });
            }
            if usize::from(self.local) == MAX_LOCAL {
                return Err(Malformed::TooManyLocalPrefixes { max: MAX_LOCAL });
            }
            &mut self.local
        } else {
            if usize::from(self.end_to_end) == MAX_END_TO_END {
                return Err(Malformed::TooManyEndToEndPrefixes { max: MAX_END_TO_END });
            }
            &mut self.end_to_end
        };
        // Both counts are below their limits, so there is room.
        if let Some(dw) = self.dw.get_mut(position) {
            *dw = prefix.0;
            *count += 1;
        }
        Ok(())
    }

    /// Number of prefixes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.local as usize + self.end_to_end as usize
    }

    /// Is there none?
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the wire.
    #[inline]
    pub const fn wire_len(&self) -> usize {
        self.len() * 4
    }

    /// All, in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.dw.iter().take(self.len()).copied().map(Prefix)
    }

    /// The end-to-end ones: what a switch hands on and the digest covers.
    pub fn end_to_end(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.iter().skip(usize::from(self.local))
    }

    /// The fields of the PASID prefix, if there is one.
    pub fn pasid(&self) -> Option<Pasid> {
        self.end_to_end().find_map(Prefix::pasid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dws(dws: &[u32]) -> Vec<u8> {
        dws.iter().flat_map(|dw| dw.to_be_bytes()).collect()
    }

    #[test]
    fn pasid_bits_are_where_the_spec_has_them() {
        let fields = Pasid { pasid: 0x12345, execute: true, privileged: false };
        let prefix = Prefix::from_pasid(fields).unwrap();
        assert_eq!(prefix.dw(), 0x9141_2345);
        assert_eq!(prefix.pasid(), Some(fields));
        assert_eq!(prefix.to_string(), "PASID 0x12345 exec");
        let privileged = Pasid { pasid: 0xf_ffff, execute: false, privileged: true };
        assert_eq!(Prefix::from_pasid(privileged).unwrap().dw(), 0x918f_ffff);
        let large = Pasid { pasid: 0x10_0000, ..fields };
        assert!(matches!(Prefix::from_pasid(large), Err(Malformed::OutOfRange { value: 0x10_0000, .. })));
    }

    #[test]
    fn every_first_byte_has_its_kind() {
        for byte in 0..=u8::MAX {
            let prefix = Prefix::from_dw(u32::from(byte) << 24);
            assert_eq!(prefix.is_some(), (0x80..0xa0).contains(&byte), "{byte:#x}");
            let Some(prefix) = prefix else { continue };
            assert_eq!(prefix.is_local(), byte < 0x90);
            assert_eq!(prefix.pasid().is_some(), prefix.kind() == PrefixKind::Pasid);
            assert_eq!(prefix.steering_tag_high().is_some(), prefix.kind() == PrefixKind::ExtTph);
        }
    }

    #[test]
    fn order_and_number_are_checked() {
        let parse = |d: &[u32]| Prefixes::parse(&dws(d));
        let good = parse(&[0x8000_0001, 0x9100_0005, 0x9e00_0000, 0x2000_0001]).unwrap();
        assert_eq!((good.len(), good.end_to_end().count()), (3, 2));
        assert_eq!(good.pasid().map(|p| p.pasid), Some(5));
        assert_eq!(parse(&[0x9100_0005, 0x8000_0001, 0]), Err(Malformed::PrefixOrder { fmt_type: 0x80, position: 1 }));
        assert_eq!(parse(&[0x9e00_0000; 5]), Err(Malformed::TooManyEndToEndPrefixes { max: 4 }));
        assert_eq!(parse(&[0x8e00_0000; 5]), Err(Malformed::TooManyLocalPrefixes { max: 4 }));
        let mut full = [0x8e00_0000; 8];
        full[4..].fill(0x9e00_0000);
        assert_eq!(parse(&full).unwrap().len(), 8);
        assert_eq!(Prefixes::parse(&[0x91, 0, 0]), Err(Malformed::Truncated { part: Part::Prefix, needs: 4, has: 3 }));
    }
}
