//! Transaction layer packets of PCIe non-flit mode: types and codec.
//!
//! Two levels. [`Packet`] gives names to the bytes of a whole TLP; [`Header`] and [`Tlp`] are checked representations.
//! Section and table numbers in the docs are those of the PCI Express Base Specification 5.0.

mod be;
mod build;
mod check;
mod completion;
mod digest;
mod display;
mod field;
mod header;
mod id;
mod kind;
mod malformed;
mod message;
mod packet;
mod prefix;
#[cfg(test)]
mod property_tests;
#[cfg(any(test, feature = "proptest"))]
pub mod strategy;

pub use be::{ByteEnables, MAX_BYTES, offset_in_dw};
pub use build::Atomic;
pub(crate) use digest::crc32;
pub use digest::ecrc;
pub use field::{AddressType, Attr, ConfigType, Status};
pub use header::Header;
pub use id::{Bdf, ParseBdfError};
pub use kind::{Class, KINDS, Kind, KindRow, Route, TYPES, TypeInfo};
pub use malformed::{Malformed, Part};
pub use message::{Data, MESSAGES, MessageCode, MessageRow};
pub use packet::{Packet, Tlp};
pub use prefix::{MAX_END_TO_END, MAX_LOCAL, Pasid, Prefix, PrefixKind, Prefixes};
