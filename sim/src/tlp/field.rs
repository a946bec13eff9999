//! Small fields of a header with names for their values.

use std::fmt;
use std::ops::BitOr;

/// The attributes of a TLP, with the spec's bit numbers: IDO is bit 2, RO bit 1, NS bit 0 (base spec 2.2.6.3 to 2.2.6.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attr(u8);

impl Attr {
    /// None: default ordering, snooped.
    pub const NONE: Attr = Attr(0);
    /// No snoop.
    pub const NS: Attr = Attr(1);
    /// Relaxed ordering.
    pub const RO: Attr = Attr(2);
    /// ID-based ordering.
    pub const IDO: Attr = Attr(4);

    /// The attributes that the low three bits stand for.
    pub const fn from_bits(bits: u8) -> Attr {
        Attr(bits & 7)
    }

    /// The three bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Is relaxed ordering set?
    pub const fn relaxed_ordering(self) -> bool {
        self.0 & 2 != 0
    }

    /// Is ID-based ordering set?
    pub const fn id_based_ordering(self) -> bool {
        self.0 & 4 != 0
    }

    /// Is no snoop set?
    pub const fn no_snoop(self) -> bool {
        self.0 & 1 != 0
    }
}

impl BitOr for Attr {
    type Output = Attr;

    fn bitor(self, other: Attr) -> Attr {
        Attr(self.0 | other.0)
    }
}

/// Printed as the names of what is set: `RO+IDO`; `-` if nothing is.
impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 & 7 {
            0 => "-",
            1 => "NS",
            2 => "RO",
            3 => "RO+NS",
            4 => "IDO",
            5 => "IDO+NS",
            6 => "RO+IDO",
            _ => "RO+IDO+NS",
        })
    }
}

/// The AT field of a memory request (base spec 10.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AddressType {
    /// The address is untranslated.
    #[default]
    Untranslated = 0,
    /// The request asks for the translation of its address.
    TranslationRequest = 1,
    /// The address has been translated.
    Translated = 2,
    /// `11`: reserved.
    Reserved = 3,
}

impl AddressType {
    /// The type that the low two bits stand for.
    pub const fn from_bits(bits: u8) -> AddressType {
        match bits & 3 {
            0 => AddressType::Untranslated,
            1 => AddressType::TranslationRequest,
            2 => AddressType::Translated,
            _ => AddressType::Reserved,
        }
    }
}

/// The status of a completion (base spec table 2-34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// `000` SC: successful.
    Successful,
    /// `001` UR: nobody serves this request.
    UnsupportedRequest,
    /// `010` CRS (RRS since 6.0): the function isn't ready for configuration requests yet.
    ConfigRequestRetry,
    /// `100` CA: the completer can't answer.
    CompleterAbort,
    /// The other values. A requester treats them as UR (base spec 2.2.9.1).
    Reserved(u8),
}

impl Status {
    /// The status that the low three bits stand for.
    pub const fn from_bits(bits: u8) -> Status {
        match bits & 7 {
            0 => Status::Successful,
            1 => Status::UnsupportedRequest,
            2 => Status::ConfigRequestRetry,
            4 => Status::CompleterAbort,
            other => Status::Reserved(other),
        }
    }

    /// The three bits.
    pub const fn bits(self) -> u8 {
        match self {
            Status::Successful => 0,
            Status::UnsupportedRequest => 1,
            Status::ConfigRequestRetry => 2,
            Status::CompleterAbort => 4,
            Status::Reserved(other) => other & 7,
        }
    }
}

/// Printed as the spec's short name: `SC`, `UR`, `CRS`, `CA`, or `reserved(3)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Successful => f.pad("SC"),
            Status::UnsupportedRequest => f.pad("UR"),
            Status::ConfigRequestRetry => f.pad("CRS"),
            Status::CompleterAbort => f.pad("CA"),
            Status::Reserved(other) => write!(f, "reserved({other})"),
        }
    }
}

/// The two types of configuration request (base spec 2.2.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigType {
    /// For the function at the end of this link.
    Type0,
    /// For a bridge to hand on.
    Type1,
}
