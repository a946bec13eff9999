//! The checker against traces of one switch, whose forbidden pairs are counted in another way.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use super::table::printed;
use crate::probe::{Direction, LinkId};
use crate::time::Time;
use crate::tlp::{Atomic, Attr, Bdf, ConfigType, Header, MessageCode, Prefixes, Route, Status};

/// Root complex 0, switch 1 below it by link 0, endpoints 2 and 3 by links 1 and 2.
fn topology() -> Topology {
    Topology::new([(LinkId(0), [0, 1]), (LinkId(1), [1, 2]), (LinkId(2), [1, 3])])
}

const fn up(link: u16) -> Lane {
    Lane { link: LinkId(link), direction: Direction::Upstream }
}

const fn down(link: u16) -> Lane {
    Lane { link: LinkId(link), direction: Direction::Downstream }
}

/// Shows a TLP whose payload is `number`: so no two are the same.
fn show(checker: &mut Checker, at: u64, lane: Lane, header: &Header, number: u32) {
    let mut bytes = [0; 16];
    let len = header.encode(&mut bytes);
    checker.see(&Appearance { at: Time::ns(at), lane, header: &bytes[..len], payload: &number.to_be_bytes() });
}

fn write(function: u16, address: u64) -> Header {
    Header::mem_write_bytes(Bdf(function), 0, address, 4).unwrap()
}

fn read(function: u16, tag: u16) -> Header {
    Header::mem_read_bytes(Bdf(function), tag, 0x1000, 4).unwrap()
}

/// The completion without data of a request of the host.
fn done(function: u16, tag: u16) -> Header {
    Header::completion(Bdf(function), HOST, tag, Status::Successful, 4, 0, 0, 0, Attr::NONE).unwrap()
}

const HOST: Bdf = Bdf(0);

/// A TLP that goes up through the switch.
#[derive(Clone, Debug)]
struct Upwards {
    header: Header,
    /// By which of the two links it comes.
    link: u16,
    /// Time since the one before it.
    pause: u64,
}

/// Any TLP of few functions, tags and traffic classes, so that there are many pairs of all sorts.
fn upwards() -> impl Strategy<Value = Upwards> {
    let attr = (0..8_u8).prop_map(Attr::from_bits);
    (
        0..6_u8,
        1..=2_u16,
        0..4_u16,
        attr,
        prop_oneof![3 => Just(0), 1 => Just(1_u8)],
        1..=2_u16,
        prop_oneof![1..4_u64, 1..400_u64],
    )
        .prop_map(|(kind, function, tag, attr, tc, link, pause)| {
            let mut header = match kind {
                0 | 1 => write(function, 0x1000),
                2 => read(function, tag),
                3 => Header::atomic(Atomic::Swap, Bdf(function), tag, 0x1000, 4).unwrap(),
                4 => done(function, tag),
                _ => Header::completion(Bdf(function), HOST, tag, Status::Successful, 4, 0, 1, 0, Attr::NONE).unwrap(),
            };
            header.set_attr(attr).unwrap();
            header.set_tc(tc).unwrap();
            Upwards { header, link, pause }
        })
}

/// What the host has asked by each of four tags before; `None` if that wasn't seen.
fn asked() -> impl Strategy<Value = [Option<bool>; 4]> {
    [(); 4].map(|()| select(&[None, Some(false), Some(true)][..]))
}

fn config_write(tag: u16) -> Header {
    Header::config_write(ConfigType::Type1, HOST, tag, Bdf(0x100), 1, 0xf).unwrap()
}

/// The longest time to the queues of the switch, in ns.
const TRANSIT: u64 = 200;

/// Pairs of forbidden passings, and of undecided ones, as numbers of the later and the earlier TLP with the rule.
type Pairs = Vec<(usize, usize, String)>;

/// What the pairs of a trace are: all against all.
fn expected(trace: &[Upwards], order: &[usize], asked: [Option<bool>; 4]) -> (Pairs, Pairs) {
    let (mut violations, mut undecided) = (Vec::new(), Vec::new());
    let entered: Vec<u64> = trace
        .iter()
        .scan(0, |at, tlp| {
            *at += tlp.pause;
            Some(*at)
        })
        .collect();
    let place = |number: usize| order.iter().position(|&other| other == number).unwrap();
    for earlier in 0..trace.len() {
        for later in earlier + 1..trace.len() {
            let (a, b) = (&trace[later], &trace[earlier]);
            let certain = a.link == b.link || entered[later] >= entered[earlier] + TRANSIT;
            if !certain || place(later) > place(earlier) {
                continue;
            }
            let mut attributes = Attributes::of(&a.header, &Prefixes::NONE, &b.header, &Prefixes::NONE);
            if a.header.tc() != b.header.tc() {
                continue;
            }
            let mut maybe = false;
            if a.header.kind().is_completion() {
                match asked[usize::from(a.header.tag())] {
                    Some(true) => attributes = attributes | Attributes::WRITE_COMPLETION,
                    Some(false) => {}
                    None => maybe = !a.header.has_data(),
                }
            }
            let rows = (Row::of(a.header.kind()) as usize, Row::of(b.header.kind()) as usize);
            let (name, passing) = printed(rows.0, rows.1, attributes);
            if passing != Passing::No {
                continue;
            }
            // D5 isn't helped by what the request was.
            let list = if maybe && rows.1 == 0 { &mut undecided } else { &mut violations };
            list.push((later, earlier, name));
        }
    }
    violations.sort();
    undecided.sort();
    (violations, undecided)
}

fn found(violations: &[Violation], trace: &[Upwards]) -> Pairs {
    let mut at = 0;
    let entered: Vec<u64> = trace
        .iter()
        .map(|tlp| {
            at += tlp.pause;
            at
        })
        .collect();
    let number = |moved: &Moved| entered.iter().position(|&at| Time::ns(at + 1000) == moved.entered).unwrap();
    let pair = |v: &Violation| (number(&v.later), number(&v.earlier), v.rule.to_owned());
    let mut pairs: Pairs = violations.iter().map(pair).collect();
    pairs.sort();
    pairs
}

/// Shows the checker a trace whose TLPs leave the switch in this order.
fn judge(trace: &[Upwards], order: &[usize], asked: [Option<bool>; 4]) -> Report {
    let mut checker = Checker::new(topology()).with_transit(Time::ns(TRANSIT));
    for (tag, asked) in (0..).zip(asked) {
        match asked {
            Some(true) => show(&mut checker, 0, down(0), &config_write(tag), 0),
            Some(false) => show(&mut checker, 0, down(0), &read(0, tag), 0),
            None => {}
        }
    }
    let mut at = 1000;
    for (number, tlp) in (0..).zip(trace) {
        at += tlp.pause;
        show(&mut checker, at, up(tlp.link), &tlp.header, number);
    }
    for &number in order {
        at += 1;
        show(&mut checker, at, up(0), &trace[number].header, number as u32);
    }
    checker.report()
}

/// A trace, and an order in which it leaves: in order, or with some TLPs taken out and put in elsewhere.
fn trace_and_order() -> impl Strategy<Value = (Vec<Upwards>, Vec<usize>)> {
    prop::collection::vec(upwards(), 1..24).prop_flat_map(|trace| {
        let all: Vec<usize> = (0..trace.len()).collect();
        let shuffled = Just(all.clone()).prop_shuffle();
        let moves = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
        let moved = moves.prop_map(move |moves| {
            let mut order = all.clone();
            for (from, to) in moves {
                let number = order.remove(from.index(order.len()));
                order.insert(to.index(order.len() + 1), number);
            }
            order
        });
        (Just(trace), prop_oneof![1 => shuffled, 3 => moved])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Exactly the pairs that the table forbids are named, in whatever order TLPs leave.
    #[test]
    fn forbidden_pairs_are_named((trace, order) in trace_and_order(), asked in asked()) {
        let report = judge(&trace, &order, asked);
        let (violations, undecided) = expected(&trace, &order, asked);
        prop_assert_eq!(found(&report.violations, &trace), violations);
        prop_assert_eq!(found(&report.undecided, &trace), undecided);
        prop_assert_eq!((report.ambiguous, report.forgotten, report.unreadable, report.unknown_links), (0, 0, 0, 0));
        prop_assert_eq!(report.matched as usize, trace.len());
    }

    /// A trace in order is clean; with two neighbours swapped it's flagged if and only if the second may not pass the first.
    #[test]
    fn one_swap((trace, at) in prop::collection::vec(upwards(), 2..24).prop_flat_map(|trace| {
        let at = 0..trace.len() - 1;
        (Just(trace), at)
    }), asked in asked()) {
        let mut order: Vec<usize> = (0..trace.len()).collect();
        prop_assert_eq!(judge(&trace, &order, asked).violations, []);
        order.swap(at, at + 1);
        let report = judge(&trace, &order, asked);
        let (a, b) = (&trace[at + 1], &trace[at]);
        let (violations, undecided) = expected(&trace, &order, asked);
        prop_assert_eq!(report.is_clean(), violations.is_empty());
        prop_assert!(report.violations.len() + report.undecided.len() == violations.len() + undecided.len());
        prop_assert!(violations.iter().chain(&undecided).all(|pair| (pair.0, pair.1) == (at + 1, at)), "{:?} {:?}", a, b);
    }

    /// TLPs that are the same can't be told from each other: whichever left is taken for the one that makes no violation.
    #[test]
    fn the_same_are_not_accused(
        trace in prop::collection::vec((any::<bool>(), 0..3_u32), 1..40),
        lost in any::<prop::sample::Index>(),
    ) {
        let mut checker = Checker::new(topology());
        let header = |write_: bool| if write_ { write(1, 0x1000) } else { read(1, 0) };
        for (at, (write, number)) in (0..).zip(&trace) {
            show(&mut checker, at, up(1), &header(*write), *number);
        }
        // One of them never leaves.
        let lost = lost.index(trace.len());
        for (at, (write, number)) in (0..).zip(&trace).filter(|(at, _)| *at != lost as u64) {
            show(&mut checker, at + 100, up(0), &header(*write), *number);
        }
        let report = checker.report();
        prop_assert_eq!(&report.violations, &[]);
        prop_assert_eq!((report.matched as usize, report.inside), (trace.len() - 1, 1));
    }

    /// What a subset of a trace's TLPs do doesn't depend on the others, which end in the switch.
    #[test]
    fn what_never_leaves_is_not_passed((trace, order) in trace_and_order(), seed in any::<u64>()) {
        let gone = |number: usize| seed >> (number % 64) & 1 == 0;
        let order: Vec<usize> = order.into_iter().filter(|&number| !gone(number)).collect();
        let report = judge(&trace, &order, [None; 4]);
        let left: Vec<usize> = order.clone();
        let named = found(&report.violations, &trace);
        prop_assert!(named.iter().all(|(later, earlier, _)| left.contains(later) && left.contains(earlier)));
        prop_assert_eq!(report.inside as usize, trace.len() - order.len());
    }
}

#[test]
fn a_violation_says_all() {
    let mut checker = Checker::new(topology());
    show(&mut checker, 10, up(1), &write(0x300, 0x1000), 1);
    show(&mut checker, 20, up(1), &read(0x300, 7), 2);
    show(&mut checker, 30, up(0), &read(0x300, 7), 2);
    assert!(checker.report().is_clean(), "the write may be consumed within");
    show(&mut checker, 40, up(0), &write(0x300, 0x1000), 1);
    let report = checker.report();
    let [violation] = report.violations[..] else { panic!("{report:?}") };
    assert_eq!((violation.node, violation.lane, violation.rule), (1, up(0), "B2a"));
    let text = violation.to_string();
    for part in ["B2a: at node 1 on link 0 up", "MRd", "MWr", "in at 20", "out at 40"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A configuration request of type 1 comes out as type 0, a poisoned TLP may have been whole before, local prefixes end at each link.
#[test]
fn what_changes_on_the_way_is_found_again() {
    let mut checker = Checker::new(topology());
    let request = config_write(3);
    show(&mut checker, 10, down(0), &request, 1);
    show(&mut checker, 20, down(1), &request.to_config_type0().unwrap(), 1);
    let mut poisoned = write(1, 0x1000);
    show(&mut checker, 30, up(1), &poisoned, 2);
    poisoned.set_ep(true);
    show(&mut checker, 40, up(0), &poisoned, 2);
    let bytes = |dw: u32| {
        let mut bytes = dw.to_be_bytes().to_vec();
        let mut header = [0; 16];
        let len = write(1, 0x2000).encode(&mut header);
        bytes.extend(&header[..len]);
        bytes
    };
    for (at, lane, prefix) in [(50, up(1), 0x8e00_0001), (60, up(0), 0x8e00_0002)] {
        checker.see(&Appearance { at: Time::ns(at), lane, header: &bytes(prefix), payload: &[] });
    }
    let report = checker.report();
    assert_eq!((report.matched, report.made, report.inside), (3, 3, 0));
    // An end-to-end prefix stays as it is.
    for (at, lane, prefix) in [(70, up(1), 0x9e00_0001), (80, up(0), 0x9e00_0002)] {
        checker.see(&Appearance { at: Time::ns(at), lane, header: &bytes(prefix), payload: &[] });
    }
    assert_eq!((checker.report().matched, checker.report().inside), (3, 1));
}

/// A broadcast leaves by several links, and may pass nothing on any of them.
#[test]
fn broadcasts_leave_by_all_links() {
    let mut checker = Checker::new(topology());
    let message = Header::message(HOST, 0, MessageCode(0x19), Route::Broadcast, [0, 0], 0).unwrap();
    show(&mut checker, 10, down(0), &write(0, 0x1000), 1);
    show(&mut checker, 11, down(0), &message, 2);
    show(&mut checker, 20, down(1), &message, 2);
    show(&mut checker, 20, down(2), &message, 2);
    assert_eq!(checker.report().matched, 2);
    show(&mut checker, 30, down(2), &write(0, 0x1000), 1);
    let report = checker.report();
    assert_eq!((report.violations.len(), report.violations[0].lane, report.violations[0].rule), (1, down(2), "A2a"));
}

/// What a node makes itself has an order that only the node knows.
#[test]
fn what_a_node_makes_is_judged_if_it_is_shown() {
    let bytes = |header: Header| {
        let mut bytes = [0; 16];
        let len = header.encode(&mut bytes);
        bytes[..len].to_vec()
    };
    let mut checker = Checker::new(topology());
    checker.made(2, Time::ns(1), &bytes(write(1, 0x1000)), &1_u32.to_be_bytes()).unwrap();
    checker.made(2, Time::ns(1), &bytes(read(1, 0)), &2_u32.to_be_bytes()).unwrap();
    show(&mut checker, 2, up(1), &read(1, 0), 2);
    show(&mut checker, 3, up(1), &write(1, 0x1000), 1);
    let report = checker.report();
    assert_eq!((report.violations.len(), report.violations[0].node, report.violations[0].rule), (1, 2, "B2a"));
    assert!(checker.made(2, Time::ns(4), &[0xff; 12], &[]).is_err());
}

#[test]
fn what_cannot_be_read_is_counted() {
    let mut checker = Checker::new(topology());
    show(&mut checker, 1, up(9), &read(1, 0), 0);
    checker.see(&Appearance { at: Time::ns(2), lane: up(1), header: &[0xff; 12], payload: &[] });
    checker.see(&Appearance { at: Time::ns(3), lane: up(1), header: &[], payload: &[] });
    let report = checker.report();
    assert_eq!((report.unknown_links, report.unreadable, report.seen), (1, 2, 0));
}
