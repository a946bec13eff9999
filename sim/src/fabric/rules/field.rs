//! The fields of a header by name, and where their bits are (PCIe base spec 2.2).

use crate::tlp::{Header, Kind, Route};

/// Bits of a header that belong together: DW, lowest bit, number of bits.
type Piece = (usize, u32, u32);

/// Where a field is.
struct Layout {
    /// How far a value is shifted to the right before its bits are placed: an address has no bits 1:0 in a header.
    shift: u32,
    /// Its pieces, the one with the lowest bits first.
    pieces: &'static [Piece],
}

const fn at(pieces: &'static [Piece]) -> Option<Layout> {
    Some(Layout { shift: 0, pieces })
}

/// A field of a header. Values are as on the wire: a Length of 1,024 DWs and a Byte Count of 4,096 are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Field {
    /// Fmt, 3 bits.
    Fmt,
    /// Type, 5 bits.
    Type,
    /// Traffic class, 3 bits.
    Tc,
    /// Attributes: IDO, RO, NS.
    Attr,
    /// Address type, 2 bits.
    At,
    /// TLP hints.
    Th,
    /// Whether a digest follows.
    Td,
    /// Whether the payload is poisoned.
    Ep,
    /// Length in DWs, 10 bits.
    Length,
    /// Requester ID.
    Requester,
    /// Tag, 10 bits.
    Tag,
    /// First DW byte enables.
    FirstBe,
    /// Last DW byte enables.
    LastBe,
    /// Address; bits 1:0 are 0.
    Address,
    /// The function that a configuration request or a message routed by ID is for.
    Target,
    /// Number of a configuration register, in DWs.
    Register,
    /// Message code.
    MessageCode,
    /// Completer ID.
    Completer,
    /// Completion status, 3 bits.
    Status,
    /// Byte Count Modified.
    Bcm,
    /// Byte Count, 12 bits.
    ByteCount,
    /// Lower Address, 7 bits.
    LowerAddress,
}

impl Field {
    /// All fields with their names in a rule, in the order of [`Field`].
    #[rustfmt::skip]
    pub const ALL: [(&str, Field); 22] = [
        ("fmt", Field::Fmt), ("type", Field::Type), ("tc", Field::Tc), ("attr", Field::Attr), ("at", Field::At),
        ("th", Field::Th), ("td", Field::Td), ("ep", Field::Ep), ("length", Field::Length),
        ("requester", Field::Requester), ("tag", Field::Tag), ("first_be", Field::FirstBe), ("last_be", Field::LastBe),
        ("address", Field::Address), ("target", Field::Target), ("register", Field::Register),
        ("message_code", Field::MessageCode), ("completer", Field::Completer), ("status", Field::Status),
        ("bcm", Field::Bcm), ("byte_count", Field::ByteCount), ("lower_address", Field::LowerAddress),
    ];

    /// Its name in a rule.
    pub fn name(self) -> &'static str {
        Field::ALL.get(self as usize).map_or("", |(name, _)| name)
    }

    /// The field of a name.
    pub fn from_name(name: &str) -> Option<Field> {
        Field::ALL.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// Where it is in a header of such a type; `None` if that has no such field.
    fn layout(self, header: &Header) -> Option<Layout> {
        let kind = header.kind();
        let (completion, message, config) = (kind.is_completion(), kind.is_message(), kind.is_config());
        let by_address = kind.is_memory() || kind.is_io();
        match self {
            Field::Fmt => at(&[(0, 29, 3)]),
            Field::Type => at(&[(0, 24, 5)]),
            Field::Tc => at(&[(0, 20, 3)]),
            Field::Attr => at(&[(0, 12, 2), (0, 18, 1)]),
            Field::At => at(&[(0, 10, 2)]),
            Field::Th => at(&[(0, 16, 1)]),
            Field::Td => at(&[(0, 15, 1)]),
            Field::Ep => at(&[(0, 14, 1)]),
            Field::Length => at(&[(0, 0, 10)]),
            Field::Requester if completion => at(&[(2, 16, 16)]),
            Field::Requester => at(&[(1, 16, 16)]),
            Field::Tag if completion => at(&[(2, 8, 8), (0, 19, 1), (0, 23, 1)]),
            Field::Tag => at(&[(1, 8, 8), (0, 19, 1), (0, 23, 1)]),
            Field::FirstBe if by_address || config => at(&[(1, 0, 4)]),
            Field::LastBe if by_address || config => at(&[(1, 4, 4)]),
            Field::Address if by_address && kind.header_len() == 16 => {
                Some(Layout { shift: 2, pieces: &[(3, 2, 30), (2, 0, 32)] })
            }
            Field::Address if by_address => Some(Layout { shift: 2, pieces: &[(2, 2, 30)] }),
            Field::Target if config || message && header.route() == Route::Id => at(&[(2, 16, 16)]),
            Field::Register if config => at(&[(2, 2, 10)]),
            Field::MessageCode if message => at(&[(1, 0, 8)]),
            Field::Completer if completion => at(&[(1, 16, 16)]),
            Field::Status if completion => at(&[(1, 13, 3)]),
            Field::Bcm if completion => at(&[(1, 12, 1)]),
            Field::ByteCount if completion => at(&[(1, 0, 12)]),
            Field::LowerAddress if completion => at(&[(2, 0, 7)]),
            _ => None,
        }
    }

    /// All bits that a value in such a header can have; `None` if it has no such field.
    pub fn mask(self, header: &Header) -> Option<u64> {
        let layout = self.layout(header)?;
        let width: u32 = layout.pieces.iter().map(|(_, _, width)| width).sum();
        Some((u64::MAX >> (64 - width)) << layout.shift)
    }

    /// All bits that a value can have in any header.
    pub fn widest(self) -> u64 {
        match self {
            Field::Fmt | Field::Tc | Field::Attr | Field::Status => 7,
            Field::Type => 0x1f,
            Field::At => 3,
            Field::Th | Field::Td | Field::Ep | Field::Bcm => 1,
            Field::Length | Field::Tag | Field::Register => 0x3ff,
            Field::Requester | Field::Target | Field::Completer => 0xffff,
            Field::FirstBe | Field::LastBe => 0xf,
            Field::Address => !3,
            Field::MessageCode => 0xff,
            Field::ByteCount => 0xfff,
            Field::LowerAddress => 0x7f,
        }
    }

    /// Its value; `None` if the header has no such field.
    pub fn get(self, header: &Header) -> Option<u64> {
        let Layout { shift, pieces } = self.layout(header)?;
        let dws = header.dws();
        let (mut value, mut place) = (0, 0);
        for &(dw, low, width) in pieces {
            let bits = u64::from(dws.get(dw)? >> low) & (u64::MAX >> (64 - width));
            value |= bits << place;
            place += width;
        }
        Some(value << shift)
    }

    /// Puts a value in its place in the DWs of what was `header`. Bits that it has no room for are left out. Does nothing if there is no
    /// such field in it.
    pub(crate) fn put(self, header: &Header, dws: &mut [u32; 4], value: u64) {
        let Some(Layout { shift, pieces }) = self.layout(header) else { return };
        let mut value = value >> shift;
        for &(dw, low, width) in pieces {
            let mask = u64::MAX >> (64 - width);
            if let Some(place) = dws.get_mut(dw) {
                *place = *place & !((mask as u32) << low) | ((value & mask) as u32) << low;
            }
            value = value.checked_shr(width).unwrap_or(0);
        }
    }
}

/// Types that a rule can name together.
#[rustfmt::skip]
const GROUPS: [(&str, &[Kind]); 6] = [
    ("MRd", &[Kind::MRd32, Kind::MRd64]),
    ("MWr", &[Kind::MWr32, Kind::MWr64]),
    ("DMWr", &[Kind::DMWr32, Kind::DMWr64]),
    ("CfgRd", &[Kind::CfgRd0, Kind::CfgRd1]),
    ("CfgWr", &[Kind::CfgWr0, Kind::CfgWr1]),
    ("AtomicOp", &[Kind::FetchAdd32, Kind::FetchAdd64, Kind::Swap32, Kind::Swap64, Kind::Cas32, Kind::Cas64]),
];

/// The types of a name in a rule: a type's own, `MRd` and the like for both widths of address, or a class.
pub(super) fn kinds_of_name(name: &str) -> Option<Vec<Kind>> {
    use crate::tlp::{Class, KINDS};
    let class = match name {
        "posted" => Some(Class::Posted),
        "nonposted" => Some(Class::NonPosted),
        "completion" => Some(Class::Completion),
        _ => None,
    };
    if let Some((_, group)) = GROUPS.iter().find(|(group, _)| *group == name) {
        return Some(group.to_vec());
    }
    let named: Vec<Kind> = KINDS
        .iter()
        .filter(|row| class.map_or(row.name == name, |class| row.class == class))
        .map(|row| row.kind)
        .collect();
    (!named.is_empty()).then_some(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlp::{Bdf, Status, strategy};

    #[test]
    fn fields_stand_in_the_order_of_the_enum() {
        for (n, (name, field)) in Field::ALL.into_iter().enumerate() {
            assert_eq!((field as usize, field.name(), Field::from_name(name)), (n, name, Some(field)));
        }
    }

    #[test]
    fn names_of_types() {
        assert_eq!(kinds_of_name("MRd"), Some(vec![Kind::MRd32, Kind::MRd64]));
        assert_eq!(kinds_of_name("CAS64"), Some(vec![Kind::Cas64]));
        assert_eq!(kinds_of_name("posted").map(|kinds| kinds.len()), Some(4));
        assert_eq!(kinds_of_name("Mrd"), None);
    }

    /// The codec's own accessors are what the table must agree with.
    fn by_accessor(field: Field, header: &Header) -> u64 {
        match field {
            Field::Fmt => u64::from(header.dws()[0] >> 29),
            Field::Type => u64::from(header.dws()[0] >> 24 & 0x1f),
            Field::Tc => header.tc().into(),
            Field::Attr => header.attr().bits().into(),
            Field::At => header.at() as u64,
            Field::Th => header.th().into(),
            Field::Td => header.td().into(),
            Field::Ep => header.ep().into(),
            Field::Length => u64::from(header.length_dw()) & 0x3ff,
            Field::Requester => header.requester().0.into(),
            Field::Tag => header.tag().into(),
            Field::FirstBe => header.first_be().into(),
            Field::LastBe => header.last_be().into(),
            Field::Address => header.address(),
            Field::Target => header.target().0.into(),
            Field::Register => header.register().into(),
            Field::MessageCode => header.message_code().0.into(),
            Field::Completer => header.completer().0.into(),
            Field::Status => header.status().bits().into(),
            Field::Bcm => header.bcm().into(),
            Field::ByteCount => u64::from(header.byte_count()) & 0xfff,
            Field::LowerAddress => header.lower_address().into(),
        }
    }

    proptest! {
        #[test]
        fn fields_are_where_the_codec_has_them(header in strategy::any_header(), value: u64) {
            for (name, field) in Field::ALL {
                let Some(mask) = field.mask(&header) else {
                    prop_assert_eq!(field.get(&header), None);
                    continue;
                };
                prop_assert_eq!(field.get(&header), Some(by_accessor(field, &header)), "{}", name);
                prop_assert_eq!(mask & !field.widest(), 0);
                let mut dws = header.dws();
                field.put(&header, &mut dws, value);
                // What isn't the field's stays, and what was there can be put back.
                let mut back = dws;
                field.put(&header, &mut back, by_accessor(field, &header));
                prop_assert_eq!(back, header.dws());
                if let Ok(changed) = Header::from_dws(dws)
                    && changed.kind() == header.kind()
                    && changed.route() == header.route()
                {
                    prop_assert_eq!(by_accessor(field, &changed), value & mask, "{}", name);
                }
            }
        }
    }

    #[test]
    fn what_a_type_does_not_have() {
        let read = Header::mem_read_bytes(Bdf(1), 2, 0x1000, 4).unwrap();
        let answer = Header::completion_for(&read, Bdf(8), Status::Successful).unwrap();
        assert_eq!(Field::ByteCount.get(&read), None);
        assert_eq!(Field::Address.get(&answer), None);
        assert_eq!((Field::Address.mask(&read), Field::ByteCount.get(&answer)), (Some(0xffff_fffc), Some(4)));
    }
}
