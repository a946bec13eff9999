//! Why a configuration space can't be built as asked.

use thiserror::Error;

use super::BarKind;

/// A rule broken by the description of a configuration space.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The size of a base address register must be a power of two.
    #[error("BAR {index}: size {size:#x} is not a power of two")]
    BarSize {
        /// The register, 0 to 5.
        index: usize,
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The size of a base address register is outside what its kind can express.
    #[error("BAR {index}: size {size:#x} of a {kind:?} BAR is outside {smallest:#x} to {largest:#x}")]
    BarRange {
        /// The register, 0 to 5.
        index: usize,
        /// What it decodes.
        kind: BarKind,
        /// The size asked for, in bytes.
        size: u64,
        /// The smallest size, in bytes.
        smallest: u64,
        /// The largest size, in bytes.
        largest: u64,
    },
    /// Only memory can be prefetchable.
    #[error("BAR {index}: an I/O BAR can't be prefetchable")]
    BarPrefetchable {
        /// The register, 0 to 5.
        index: usize,
    },
    /// A 64-bit BAR takes two slots, and there is no slot after the last.
    #[error("BAR {index}: a 64-bit BAR needs the slot after it, but the last slot is {last}")]
    BarLastSlot {
        /// The register.
        index: usize,
        /// The last slot of this header type.
        last: usize,
    },
    /// The upper half of a 64-bit BAR takes the slot that another BAR asks for.
    #[error("BAR {index}: the slot holds the upper half of 64-bit BAR {}", index - 1)]
    BarSlotTaken {
        /// The register.
        index: usize,
    },
    /// The size of an expansion ROM is a power of two from 2 KiB to 16 MiB.
    #[error("expansion ROM: size {size:#x} is not a power of two from 0x800 to 0x1000000")]
    RomSize {
        /// The size asked for, in bytes.
        size: u32,
    },
    /// A value has more bits than its field, or is a reserved one.
    #[error("{field}: {value:#x} is not one of {allowed}")]
    Value {
        /// The field, by its name in the specification.
        field: &'static str,
        /// The value asked for.
        value: u64,
        /// What the field can hold.
        allowed: &'static str,
    },
    /// A property was asked of a kind of port that can't have it.
    #[error("{property} is not for a {port:?}")]
    NotForPort {
        /// The property.
        property: &'static str,
        /// The kind of port.
        port: super::PortType,
    },
    /// A capability must start at a multiple of 4 and lie in the area of its list:
    /// 0x40 to 0xff, or 0x100 to 0xfff for extended ones.
    #[error("a capability of {length:#x} bytes can't be at {offset:#x}: outside its area, or not dword-aligned")]
    CapabilityPlace {
        /// Where it was to start.
        offset: u16,
        /// Its length in bytes.
        length: u16,
    },
    /// A capability lies on another.
    #[error("a capability of {length:#x} bytes at {offset:#x} overlaps the one at {other:#x}")]
    CapabilityOverlap {
        /// Where it was to start.
        offset: u16,
        /// Its length in bytes.
        length: u16,
        /// Where the other one starts.
        other: u16,
    },
    /// The list of extended capabilities begins at 0x100, so the first one must be there.
    #[error("the first extended capability must be at 0x100, not at {offset:#x}")]
    FirstExtended {
        /// Where it was to start.
        offset: u16,
    },
    /// There is no room left for a capability.
    #[error("no room for a capability of {length:#x} bytes")]
    CapabilityRoom {
        /// Its length in bytes.
        length: u16,
    },
    /// A function has at most one of this capability.
    #[error("the function has {id:?} already")]
    CapabilityTwice {
        /// The capability.
        id: super::CapabilityId,
    },
    /// A row, watch or legal-values rule lies outside its capability or is not dword-aligned.
    #[error("offset {offset:#x} is outside a capability of {length:#x} bytes, or not dword-aligned")]
    RowOutside {
        /// The offset within the capability.
        offset: u16,
        /// The capability's length in bytes.
        length: u16,
    },
}
