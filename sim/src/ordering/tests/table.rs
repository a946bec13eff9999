//! The table against a second transcription, and what must hold for any pair.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::tlp::strategy::{any_header, any_prefixes};
use crate::tlp::{Attr, Bdf, Header, KINDS, Kind, Pasid, Prefix, Prefixes};

/// The table once more, as the specification prints it: a line is a row, `|` separates columns 2 to 5, and `/` the cases of an entry. What
/// a case needs is in parentheses: it's the first of its entry of which one condition is met, or that has none.
const PRINTED: &str = "\
A: A2b may (ro, id) / A2a no                  | A3 yes | A4 yes | A5b yes (pci) / A5a may
B: B2b may (id) / B2a no                      | B3 may | B4 may | B5 may
C: C2b may (ro, id) / C2a no                  | C3 may | C4 may | C5 may
D: D2b may (io-config-write, ro, id) / D2a no | D3 yes | D4 yes | D5a may (transactions differ) / D5b no";

/// The case that the printed table gives for a pair.
pub(super) fn printed(later: usize, earlier: usize, attributes: Attributes) -> (String, Passing) {
    let line = PRINTED.lines().nth(later).unwrap();
    let entry = line.split_once(": ").unwrap().1.split('|').nth(earlier).unwrap();
    for case in entry.split('/') {
        let (case, conditions) = case.split_once('(').unwrap_or((case, ""));
        let met = |condition: &str| match condition.trim() {
            "ro" => attributes.contains(Attributes::RO),
            "id" => attributes.contains(Attributes::OTHER_ID),
            "io-config-write" => attributes.contains(Attributes::WRITE_COMPLETION),
            "transactions differ" => attributes.contains(Attributes::OTHER_TRANSACTION),
            "pci" => attributes.contains(Attributes::TO_PCI),
            other => panic!("{other:?}"),
        };
        let conditions = conditions.trim().trim_end_matches(')');
        if conditions.is_empty() || conditions.split(',').any(met) {
            let (name, passing) = case.trim().split_once(' ').unwrap();
            let passing = match passing.trim() {
                "no" => Passing::No,
                "may" => Passing::May,
                "yes" => Passing::Yes,
                other => panic!("{other:?}"),
            };
            return (name.to_owned(), passing);
        }
    }
    panic!("no case of {entry:?}");
}

#[test]
fn the_table_is_as_printed() {
    for (later, row) in ROWS.into_iter().enumerate() {
        for (earlier, column) in ROWS.into_iter().enumerate() {
            for attributes in (0..32).map(Attributes::from_bits) {
                let (name, passing) = rule(row, column, attributes);
                let what = format!("{row:?} behind {column:?}, {attributes:?}");
                assert_eq!((name.to_owned(), passing), printed(later, earlier, attributes), "{what}");
                assert_eq!(may_pass(row, column, attributes), passing);
            }
        }
    }
}

#[test]
fn entries_stand_where_they_are_looked_for() {
    for (number, entry) in TABLE.iter().enumerate() {
        assert_eq!((entry.later as usize, entry.earlier as usize), (number / 4, number % 4));
        let place = format!("{}{}", ["A", "B", "C", "D"][number / 4], number % 4 + 2);
        for (name, _) in [entry.rule, entry.other] {
            assert!(name.starts_with(&place), "{name} stands at {place}");
        }
    }
}

/// The row of every type, by its name in the specification.
#[test]
fn every_type_has_its_row() {
    use Kind::*;
    let rows: [(Row, &[Kind]); 4] = [
        (Row::Posted, &[MWr32, MWr64, Msg, MsgD]),
        (Row::Read, &[MRd32, MRd64, MRdLk32, MRdLk64, IORd, CfgRd0, CfgRd1]),
        (
            Row::NonPostedData,
            &[IOWr, CfgWr0, CfgWr1, DMWr32, DMWr64, FetchAdd32, FetchAdd64, Swap32, Swap64, Cas32, Cas64],
        ),
        (Row::Completion, &[Cpl, CplD, CplLk, CplDLk]),
    ];
    assert_eq!(rows.iter().map(|(_, kinds)| kinds.len()).sum::<usize>(), KINDS.len());
    for (row, kinds) in rows {
        assert!(kinds.iter().all(|&kind| Row::of(kind) == row));
    }
}

/// Posted requests and completions must get past non-posted ones whatever the attributes, or requests that wait for each other's completions
/// would wait for ever; nothing else must pass anything, but in a bridge to PCI.
#[test]
fn what_must_pass() {
    for attributes in (0..64).map(Attributes::from_bits) {
        for later in ROWS {
            for earlier in ROWS {
                let through = matches!(later, Row::Posted | Row::Completion);
                let held = matches!(earlier, Row::Read | Row::NonPostedData);
                let to_pci =
                    (later, earlier) == (Row::Posted, Row::Completion) && attributes.contains(Attributes::TO_PCI);
                let must = may_pass(later, earlier, attributes) == Passing::Yes;
                assert_eq!(must, through && held || to_pci, "{later:?} behind {earlier:?}, {attributes:?}");
            }
        }
    }
}

fn pasid(pasid: u32) -> Prefixes {
    let mut prefixes = Prefixes::NONE;
    prefixes.push(Prefix::from_pasid(Pasid { pasid, execute: false, privileged: false }).unwrap()).unwrap();
    prefixes
}

/// Requests by requester and PASID: which are another's to ID-based Ordering.
#[test]
fn other_ids() {
    let header = |function, attr| {
        let mut header = Header::mem_write_bytes(Bdf(function), 0, 0x1000, 4).unwrap();
        header.set_attr(attr).unwrap();
        header
    };
    let (none, one, two) = (Prefixes::NONE, pasid(1), pasid(2));
    for (later, earlier, other) in [
        ((1, &none), (1, &none), false),
        ((1, &none), (2, &none), true),
        ((1, &one), (1, &two), true),
        ((1, &one), (1, &one), false),
        ((1, &one), (2, &one), true),
        // Only if both have a PASID do they differ.
        ((1, &one), (1, &none), false),
        ((1, &none), (1, &two), false),
    ] {
        let before = header(earlier.0, Attr::NONE);
        let with = Attributes::of(&header(later.0, Attr::IDO), later.1, &before, earlier.1);
        let without = Attributes::of(&header(later.0, Attr::RO), later.1, &before, earlier.1);
        assert_eq!(with.contains(Attributes::OTHER_ID), other, "{later:?} behind {earlier:?}");
        assert_eq!(without, Attributes::RO);
    }
}

#[test]
fn printed_names() {
    assert_eq!(format!("{:?}", Attributes::NONE), "NONE");
    assert_eq!(format!("{:?}", Attributes::RO | Attributes::OTHER_CLASS), "RO | OTHER_CLASS");
}

fn any_row() -> impl Strategy<Value = Row> {
    select(&ROWS[..])
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    (0..64_u8).prop_map(Attributes::from_bits)
}

proptest! {
    /// What is given in addition never forbids.
    #[test]
    fn attributes_only_permit(later in any_row(), earlier in any_row(), some in any_attributes(), more in any_attributes()) {
        prop_assert!(may_pass(later, earlier, some | more) >= may_pass(later, earlier, some));
    }

    /// Across traffic classes nothing is forbidden.
    #[test]
    fn classes_do_not_order_each_other(later in any_row(), earlier in any_row(), some in any_attributes()) {
        prop_assert!(may_pass(later, earlier, some | Attributes::OTHER_CLASS).is_allowed());
    }

    /// Relaxed Ordering means nothing to a read.
    #[test]
    fn relaxed_ordering_does_not_help_a_read(earlier in any_row(), some in any_attributes()) {
        prop_assert_eq!(rule(Row::Read, earlier, some | Attributes::RO), rule(Row::Read, earlier, some));
    }

    /// What headers say, bit by bit of the wire.
    #[test]
    fn headers_say_it(
        (later, earlier) in (any_header(), any_header()),
        (behind, before) in (any_prefixes(), any_prefixes()),
        same_ids in any::<bool>(),
    ) {
        let mut earlier = earlier;
        if same_ids {
            earlier.set_requester(if later.kind().is_completion() { later.completer() } else { later.requester() });
        }
        let attributes = Attributes::of(&later, &behind, &earlier, &before);
        let dws = later.dws();
        let completion = later.kind().is_completion();
        prop_assert_eq!(attributes.contains(Attributes::RO), dws[0] >> 13 & 1 == 1);
        prop_assert_eq!(attributes.contains(Attributes::OTHER_CLASS), (dws[0] ^ earlier.dws()[0]) >> 20 & 7 != 0);
        // DW 1 begins with the Requester ID of a request, and the Completer ID of a completion.
        let requester = earlier.dws()[if earlier.kind().is_completion() { 2 } else { 1 }] >> 16;
        let pasids = [&behind, &before].map(|prefixes| prefixes.end_to_end().find(|p| p.fmt_type() == 0x91));
        let other = dws[1] >> 16 != requester
            || matches!(pasids, [Some(a), Some(b)] if !completion && (a.dw() ^ b.dw()) & 0xf_ffff != 0);
        let plain = later.kind().is_config() || later.kind().is_io();
        prop_assert_eq!(attributes.contains(Attributes::OTHER_ID), dws[0] >> 18 & 1 == 1 && !plain && other);
        let both = completion && earlier.kind().is_completion();
        let same = later.requester() == earlier.requester() && later.tag() == earlier.tag();
        prop_assert_eq!(attributes.contains(Attributes::OTHER_TRANSACTION), both && !same);
        prop_assert!(!attributes.intersects(Attributes::WRITE_COMPLETION | Attributes::TO_PCI));
    }
}
