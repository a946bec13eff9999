//! TLP types of non-flit mode, and what the Fmt/Type byte says (PCIe base spec 2.2.1, tables 2-2 and 2-3).

/// The flow-control and ordering class of a TLP (base spec 2.4.1, 2.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Memory writes and messages: no completion comes back.
    Posted = 0,
    /// Requests that are answered by a completion.
    NonPosted = 1,
    /// The answers.
    Completion = 2,
}

impl Class {
    /// All, in the order of their numbers.
    pub const ALL: [Class; 3] = [Class::Posted, Class::NonPosted, Class::Completion];
}

/// How a TLP finds its way (base spec 2.2.4, and 2.2.8 for messages).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// By the address in the header. Message routing `001`.
    Address,
    /// By the bus, device and function number in the header. Message routing `010`.
    Id,
    /// Upwards to the root complex. Message routing `000`.
    ToRootComplex,
    /// From the root complex to all below it. Message routing `011`.
    Broadcast,
    /// To the other end of this link, no further. Message routing `100`.
    Local,
    /// Upwards to the root complex, gathered at each switch. Message routing `101`.
    GatherToRootComplex,
    /// Message routings `110` and `111` (held here): reserved, ends at the receiver.
    ReservedImplicit(u8),
}

impl Route {
    /// The route that the low three bits of `r` stand for in a message's Type field.
    pub const fn of_message(r: u8) -> Route {
        match r & 7 {
            0 => Route::ToRootComplex,
            1 => Route::Address,
            2 => Route::Id,
            3 => Route::Broadcast,
            4 => Route::Local,
            5 => Route::GatherToRootComplex,
            reserved => Route::ReservedImplicit(reserved),
        }
    }

    /// The three bits that stand for this route in a message's Type field.
    pub const fn message_bits(self) -> u8 {
        match self {
            Route::ToRootComplex => 0,
            Route::Address => 1,
            Route::Id => 2,
            Route::Broadcast => 3,
            Route::Local => 4,
            Route::GatherToRootComplex => 5,
            Route::ReservedImplicit(r) => r & 7,
        }
    }
}

/// The type of a TLP. The names are the spec's, with the width of the address where there are two.
/// Grouped by class: posted, then non-posted, then completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Memory write, 32-bit address.
    MWr32,
    /// Memory write, 64-bit address.
    MWr64,
    /// Message without data.
    Msg,
    /// Message with data.
    MsgD,
    /// Memory read, 32-bit address.
    MRd32,
    /// Memory read, 64-bit address.
    MRd64,
    /// Locked memory read, 32-bit address.
    MRdLk32,
    /// Locked memory read, 64-bit address.
    MRdLk64,
    /// I/O read.
    IORd,
    /// I/O write.
    IOWr,
    /// Configuration read, type 0: for the function at the end of this link.
    CfgRd0,
    /// Configuration write, type 0.
    CfgWr0,
    /// Configuration read, type 1: for a function further down.
    CfgRd1,
    /// Configuration write, type 1.
    CfgWr1,
    /// Deferrable memory write, 32-bit address.
    DMWr32,
    /// Deferrable memory write, 64-bit address.
    DMWr64,
    /// Fetch and add, 32-bit address.
    FetchAdd32,
    /// Fetch and add, 64-bit address.
    FetchAdd64,
    /// Unconditional swap, 32-bit address.
    Swap32,
    /// Unconditional swap, 64-bit address.
    Swap64,
    /// Compare and swap, 32-bit address.
    Cas32,
    /// Compare and swap, 64-bit address.
    Cas64,
    /// Completion without data.
    Cpl,
    /// Completion with data.
    CplD,
    /// Completion without data for a locked read.
    CplLk,
    /// Completion with data for a locked read.
    CplDLk,
}

/// One row of [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRow {
    /// The type.
    pub kind: Kind,
    /// Its name in print.
    pub name: &'static str,
    /// Fmt (bits 7:5) and Type (4:0): the first byte of the header. For messages the routing (2:0) is 0 here.
    pub fmt_type: u8,
    /// Its class.
    pub class: Class,
}

const fn row(kind: Kind, name: &'static str, fmt_type: u8, class: Class) -> KindRow {
    KindRow { kind, name, fmt_type, class }
}

/// Every TLP type of non-flit mode, in the order of [`Kind`] (base spec table 2-3).
pub const KINDS: [KindRow; 26] = [
    row(Kind::MWr32, "MWr32", 0x40, Class::Posted),
    row(Kind::MWr64, "MWr64", 0x60, Class::Posted),
    row(Kind::Msg, "Msg", 0x30, Class::Posted),
    row(Kind::MsgD, "MsgD", 0x70, Class::Posted),
    row(Kind::MRd32, "MRd32", 0x00, Class::NonPosted),
    row(Kind::MRd64, "MRd64", 0x20, Class::NonPosted),
    row(Kind::MRdLk32, "MRdLk32", 0x01, Class::NonPosted),
    row(Kind::MRdLk64, "MRdLk64", 0x21, Class::NonPosted),
    row(Kind::IORd, "IORd", 0x02, Class::NonPosted),
    row(Kind::IOWr, "IOWr", 0x42, Class::NonPosted),
    row(Kind::CfgRd0, "CfgRd0", 0x04, Class::NonPosted),
    row(Kind::CfgWr0, "CfgWr0", 0x44, Class::NonPosted),
    row(Kind::CfgRd1, "CfgRd1", 0x05, Class::NonPosted),
    row(Kind::CfgWr1, "CfgWr1", 0x45, Class::NonPosted),
    row(Kind::DMWr32, "DMWr32", 0x5b, Class::NonPosted),
    row(Kind::DMWr64, "DMWr64", 0x7b, Class::NonPosted),
    row(Kind::FetchAdd32, "FetchAdd32", 0x4c, Class::NonPosted),
    row(Kind::FetchAdd64, "FetchAdd64", 0x6c, Class::NonPosted),
    row(Kind::Swap32, "Swap32", 0x4d, Class::NonPosted),
    row(Kind::Swap64, "Swap64", 0x6d, Class::NonPosted),
    row(Kind::Cas32, "CAS32", 0x4e, Class::NonPosted),
    row(Kind::Cas64, "CAS64", 0x6e, Class::NonPosted),
    row(Kind::Cpl, "Cpl", 0x0a, Class::Completion),
    row(Kind::CplD, "CplD", 0x4a, Class::Completion),
    row(Kind::CplLk, "CplLk", 0x0b, Class::Completion),
    row(Kind::CplDLk, "CplDLk", 0x4b, Class::Completion),
];

impl Kind {
    /// The name in print: `MRd64`, `CplD`.
    pub const fn name(self) -> &'static str {
        KINDS[self as usize].name
    }

    /// The class.
    pub const fn class(self) -> Class {
        KINDS[self as usize].class
    }

    /// The Fmt/Type byte; for messages with routing 0.
    pub const fn fmt_type(self) -> u8 {
        KINDS[self as usize].fmt_type
    }

    /// Bytes of the header without prefixes: 12 or 16. (Fmt bit 0 says 4 DWs.)
    pub const fn header_len(self) -> usize {
        12 + ((self.fmt_type() >> 5 & 1) as usize) * 4
    }

    /// Does a payload follow? (Fmt bit 1.)
    pub const fn has_data(self) -> bool {
        self.fmt_type() & 0x40 != 0
    }

    /// Msg and MsgD.
    pub const fn is_message(self) -> bool {
        matches!(self, Kind::Msg | Kind::MsgD)
    }

    /// Configuration reads and writes of both types.
    pub const fn is_config(self) -> bool {
        matches!(self, Kind::CfgRd0 | Kind::CfgWr0 | Kind::CfgRd1 | Kind::CfgWr1)
    }

    /// I/O read and write.
    pub const fn is_io(self) -> bool {
        matches!(self, Kind::IORd | Kind::IOWr)
    }

    /// Memory reads, locked ones too.
    pub const fn is_memory_read(self) -> bool {
        matches!(self, Kind::MRd32 | Kind::MRd64 | Kind::MRdLk32 | Kind::MRdLk64)
    }

    /// Fetch and add, swap, compare and swap.
    pub const fn is_atomic(self) -> bool {
        self as u8 >= Kind::FetchAdd32 as u8 && self as u8 <= Kind::Cas64 as u8
    }

    /// What goes to memory space: reads, writes, deferrable writes and atomics.
    pub const fn is_memory(self) -> bool {
        matches!(self, Kind::MWr32 | Kind::MWr64 | Kind::DMWr32 | Kind::DMWr64)
            || self.is_memory_read()
            || self.is_atomic()
    }

    /// All four completions.
    pub const fn is_completion(self) -> bool {
        self as u8 >= Kind::Cpl as u8
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What a Fmt/Type byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// The type.
    pub kind: Kind,
    /// Its class.
    pub class: Class,
    /// Bytes of the header: 12 or 16.
    pub header_len: u8,
    /// Does a payload follow?
    pub has_data: bool,
    /// How it is routed.
    pub route: Route,
}

/// What each Fmt/Type byte stands for; `None` for reserved values and prefixes.
pub static TYPES: [Option<TypeInfo>; 256] = types();

const fn types() -> [Option<TypeInfo>; 256] {
    let mut table = [None; 256];
    let mut i = 0;
    while i < KINDS.len() {
        let KindRow { kind, fmt_type, class, .. } = KINDS[i];
        let routings = if kind.is_message() { 8 } else { 1 };
        let mut r = 0;
        while r < routings {
            let route = if kind.is_message() {
                Route::of_message(r)
            } else if kind.is_config() || kind.is_completion() {
                Route::Id
            } else {
                Route::Address
            };
            table[(fmt_type | r) as usize] =
                Some(TypeInfo { kind, class, header_len: kind.header_len() as u8, has_data: kind.has_data(), route });
            r += 1;
        }
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (i, row) in KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            assert_eq!(TYPES[usize::from(row.fmt_type)].map(|t| t.kind), Some(row.kind));
        }
        assert!(KINDS.is_sorted_by_key(|row| row.class));
    }

    #[test]
    fn table_has_every_type_and_no_more() {
        let known = TYPES.iter().flatten().count();
        assert_eq!(known, KINDS.len() - 2 + 2 * 8);
        assert!(TYPES[0x80..].iter().all(Option::is_none));
    }

    #[test]
    fn routes_of_messages_round_trip() {
        for r in 0..8 {
            assert_eq!(Route::of_message(r).message_bits(), r);
        }
    }
}
