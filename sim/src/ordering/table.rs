//! The ordering table as data (PCIe base specification 2.4.1, 'Ordering Rules Summary').

use std::fmt;
use std::ops::BitOr;

use crate::tlp::{Class, Header, Kind, Prefixes};

/// A row of the table, and a column too: what a TLP is to the ordering rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Row {
    /// A: memory writes and messages. Column 2.
    Posted = 0,
    /// B: memory, I/O and configuration reads. Column 3.
    Read = 1,
    /// C, 'Non-Posted Request with Data': I/O and configuration writes, atomics and deferrable memory writes. Column 4.
    NonPostedData = 2,
    /// D: completions. Column 5.
    Completion = 3,
}

/// All rows, A first.
pub const ROWS: [Row; 4] = [Row::Posted, Row::Read, Row::NonPostedData, Row::Completion];

impl Row {
    /// The row of a type of TLP.
    #[inline]
    pub const fn of(kind: Kind) -> Row {
        match kind.class() {
            Class::Posted => Row::Posted,
            Class::Completion => Row::Completion,
            Class::NonPosted => match kind {
                Kind::IOWr | Kind::CfgWr0 | Kind::CfgWr1 | Kind::DMWr32 | Kind::DMWr64 => Row::NonPostedData,
                _ if kind.is_atomic() => Row::NonPostedData,
                _ => Row::Read,
            },
        }
    }
}

/// What the table says of a later TLP that comes up behind an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passing {
    /// It must not pass.
    No,
    /// It may pass, and may be blocked ('Y/N').
    May,
    /// It must be able to pass, or there could be a deadlock.
    Yes,
}

impl Passing {
    /// Whether it isn't forbidden.
    #[inline]
    pub const fn is_allowed(self) -> bool {
        !matches!(self, Passing::No)
    }
}

/// What the table asks of a pair of TLPs, beyond their rows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Attributes(u8);

impl Attributes {
    /// Nothing of all this.
    pub const NONE: Attributes = Attributes(0);
    /// The later one has Relaxed Ordering. What the earlier one has doesn't matter.
    pub const RO: Attributes = Attributes(1);
    /// The later one has ID-based Ordering, and another ID: two requests have different Requester IDs, or both have a PASID and those
    /// differ; the Completer ID of a completion differs from the Requester ID of a request.
    pub const OTHER_ID: Attributes = Attributes(2);
    /// The later one is the completion of an I/O or configuration write. Its header doesn't show that: who knows the request adds this.
    pub const WRITE_COMPLETION: Attributes = Attributes(4);
    /// Both are completions, of different requests: Requester ID or tag differ.
    pub const OTHER_TRANSACTION: Attributes = Attributes(8);
    /// It's within a bridge to conventional PCI, on the way there. No header shows that.
    pub const TO_PCI: Attributes = Attributes(16);
    /// The two have different traffic classes, for which there's no order (2.4.1).
    pub const OTHER_CLASS: Attributes = Attributes(32);

    /// All of them, with their names.
    const NAMES: [(Attributes, &'static str); 6] = [
        (Attributes::RO, "RO"),
        (Attributes::OTHER_ID, "OTHER_ID"),
        (Attributes::WRITE_COMPLETION, "WRITE_COMPLETION"),
        (Attributes::OTHER_TRANSACTION, "OTHER_TRANSACTION"),
        (Attributes::TO_PCI, "TO_PCI"),
        (Attributes::OTHER_CLASS, "OTHER_CLASS"),
    ];

    /// The attributes that the low six bits stand for: bit 0 is [`RO`](Self::RO), and so on in their order.
    pub const fn from_bits(bits: u8) -> Attributes {
        Attributes(bits & 63)
    }

    /// Whether all of `others` are among these.
    #[inline]
    pub const fn contains(self, others: Attributes) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether any of `others` is among these.
    #[inline]
    pub const fn intersects(self, others: Attributes) -> bool {
        self.0 & others.0 != 0
    }

    /// These and `others`.
    #[inline]
    #[must_use]
    pub const fn with(self, others: Attributes) -> Attributes {
        Attributes(self.0 | others.0)
    }

    /// What the headers and prefixes of a pair say: all but [`WRITE_COMPLETION`](Self::WRITE_COMPLETION) and [`TO_PCI`](Self::TO_PCI).
    ///
    /// In I/O and configuration requests the bit of IDO is reserved (2.2.6.4), so there it says nothing.
    pub fn of(later: &Header, later_prefixes: &Prefixes, earlier: &Header, earlier_prefixes: &Prefixes) -> Attributes {
        let mut attributes = Attributes::NONE;
        let (attr, kind) = (later.attr(), later.kind());
        if attr.relaxed_ordering() {
            attributes = attributes | Attributes::RO;
        }
        if attr.id_based_ordering() && !kind.is_config() && !kind.is_io() {
            let other = if kind.is_completion() {
                later.completer() != earlier.requester()
            } else {
                let pasid = |prefixes: &Prefixes| prefixes.pasid().map(|fields| fields.pasid);
                let pasids = pasid(later_prefixes).zip(pasid(earlier_prefixes));
                later.requester() != earlier.requester() || pasids.is_some_and(|(later, earlier)| later != earlier)
            };
            if other {
                attributes = attributes | Attributes::OTHER_ID;
            }
        }
        let completions = kind.is_completion() && earlier.kind().is_completion();
        if completions && (later.requester(), later.tag()) != (earlier.requester(), earlier.tag()) {
            attributes = attributes | Attributes::OTHER_TRANSACTION;
        }
        if later.tc() != earlier.tc() {
            attributes = attributes | Attributes::OTHER_CLASS;
        }
        attributes
    }
}

impl BitOr for Attributes {
    type Output = Attributes;

    fn bitor(self, other: Attributes) -> Attributes {
        self.with(other)
    }
}

/// Printed as the names of what is set: `RO | OTHER_ID`; `NONE` if nothing is.
impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Attributes::NONE {
            return f.write_str("NONE");
        }
        let names = Attributes::NAMES.iter().filter(|(bit, _)| self.contains(*bit));
        for (number, (_, name)) in names.enumerate() {
            let separator = if number == 0 { "" } else { " | " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

/// An entry of the table: a later TLP of one row behind an earlier one of another. Most have two cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row.
    pub later: Row,
    /// The column.
    pub earlier: Row,
    /// What holds where nothing else is said, and its name.
    pub rule: (&'static str, Passing),
    /// If one of these is given, the other case holds.
    pub unless: Attributes,
    /// The other case. The same as `rule` if there's only one.
    pub other: (&'static str, Passing),
}

const fn one(later: Row, earlier: Row, name: &'static str, passing: Passing) -> Entry {
    let rule = (name, passing);
    Entry { later, earlier, rule, unless: Attributes::NONE, other: rule }
}

const fn two(
    later: Row,
    earlier: Row,
    rule: (&'static str, Passing),
    unless: Attributes,
    other: (&'static str, Passing),
) -> Entry {
    Entry { later, earlier, rule, unless, other }
}

/// Relaxed Ordering, or ID-based Ordering with another ID.
const RO_OR_ID: Attributes = Attributes::RO.with(Attributes::OTHER_ID);

/// The table, a row after the other, each from column 2 on.
#[rustfmt::skip]
pub const TABLE: [Entry; 16] = {
    use Passing::{May, No, Yes};
    use Row::{Completion as D, NonPostedData as C, Posted as A, Read as B};
    [
        //  row      rule          unless                                       then
        two(A, A, ("A2a", No),  RO_OR_ID,                                    ("A2b", May)),
        one(A, B,  "A3",  Yes),
        one(A, C,  "A4",  Yes),
        two(A, D, ("A5a", May), Attributes::TO_PCI,                          ("A5b", Yes)),
        // Relaxed Ordering doesn't help a read.
        two(B, A, ("B2a", No),  Attributes::OTHER_ID,                        ("B2b", May)),
        one(B, B,  "B3",  May),
        one(B, C,  "B4",  May),
        one(B, D,  "B5",  May),
        two(C, A, ("C2a", No),  RO_OR_ID,                                    ("C2b", May)),
        one(C, B,  "C3",  May),
        one(C, C,  "C4",  May),
        one(C, D,  "C5",  May),
        two(D, A, ("D2a", No),  RO_OR_ID.with(Attributes::WRITE_COMPLETION), ("D2b", May)),
        one(D, B,  "D3",  Yes),
        one(D, C,  "D4",  Yes),
        two(D, D, ("D5b", No),  Attributes::OTHER_TRANSACTION,               ("D5a", May)),
    ]
};

/// The name that [`rule`] gives where traffic classes differ and the table would say No.
pub const OTHER_CLASS_RULE: &str = "other TC";

/// Whether a later TLP may pass an earlier one, and the name of the case that says so, as in the specification.
///
/// The table holds within one traffic class. Between two of them it forbids nothing; what must be able to pass must be all the same (ours: they may
/// share a virtual channel, and so its credits).
#[inline]
pub const fn rule(later: Row, earlier: Row, attributes: Attributes) -> (&'static str, Passing) {
    // Two rows are at most 3, so that's at most 15.
    let entry = &TABLE[later as usize * 4 + earlier as usize];
    let (name, passing) = if attributes.intersects(entry.unless) { entry.other } else { entry.rule };
    if attributes.contains(Attributes::OTHER_CLASS) && !passing.is_allowed() {
        return (OTHER_CLASS_RULE, Passing::May);
    }
    (name, passing)
}

/// Whether a later TLP may pass an earlier one, as [`rule`] says.
#[inline]
pub const fn may_pass(later: Row, earlier: Row, attributes: Attributes) -> Passing {
    rule(later, earlier, attributes).1
}
