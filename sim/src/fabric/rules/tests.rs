use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::engine::Limits;
use super::*;
use crate::fabric::PortId;
use crate::probe::{Direction, LinkId};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Header, Kind, Status};

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct File {
    #[serde(default)]
    faults: Vec<Rule>,
}

fn parse(fields: &str) -> Result<Rule, String> {
    let text = format!("[[faults]]\n{fields}\n");
    toml::from_str::<File>(&text).map(|mut file| file.faults.remove(0)).map_err(|error| error.to_string())
}

fn read(tag: u16) -> Header {
    Header::mem_read_bytes(Bdf::new(3, 0, 1), tag, 0x1000, 64).unwrap()
}

fn write(address: u64) -> Header {
    Header::mem_write_bytes(Bdf::new(3, 0, 1), 0, address, 8).unwrap()
}

fn answer(status: Status) -> Header {
    Header::completion_for(&read(9), Bdf::new(1, 0, 0), status).unwrap()
}

/// Rules of a fabric with four ports.
fn rules(text: &str) -> Rules {
    let file: File = toml::from_str(text).unwrap();
    let mut rules = Rules::new(file.faults, 7, |name| (name == "switch").then_some(LinkId(1))).unwrap();
    rules.cover(4);
    rules
}

/// What's done to a TLP of port `port`.
fn pass_at(rules: &mut Rules, port: u16, at: Time, header: Header) -> Vec<Action> {
    let port = PortId(port);
    let payload = vec![0; header.payload_len()];
    let sequence = rules.next_sequence(port);
    let (link, direction) = (port.link(), port.direction());
    let digest = header.td();
    let tlp = Passing { link, direction, sequence, at, header: &header, payload: &payload, digest };
    rules.consult(port, &tlp, Limits::default()).to_vec()
}

fn pass(rules: &mut Rules, header: Header) -> Vec<Action> {
    pass_at(rules, 0, Time::ZERO, header)
}

#[test]
fn what_is_wrong_is_named() {
    for (fields, reason) in [
        ("kind = 'explode'", "kind = \"explode\": known are drop, duplicate"),
        ("kind = 'drop'\ndelay_ps = 1", "kind = drop: only duplicate and delay has delay_ps"),
        ("kind = 'drop'\ndirection = 'left'", "direction = \"left\": known are downstream, upstream"),
        ("kind = 'drop'\ntlp = 'MRd65'", "tlp = \"MRd65\": no type"),
        ("kind = 'drop'\ntlp = []", "tlp = []: the list is empty"),
        ("kind = 'drop'\nrequester = '3'", "requester = \"3\": no function"),
        ("kind = 'drop'\ntag = 1024", "tag = 1024: allowed is 0 to 1023"),
        ("kind = 'drop'\ntag = [5, 4]", "tag = [5, 4]: the first one is the larger one"),
        ("kind = 'drop'\ntc = 8", "tc = 8: allowed is 0 to 7"),
        ("kind = 'drop'\nlength = 1025", "length = 1025: allowed is 0 to 1024"),
        ("kind = 'drop'\nmessage = 256", "message = 256: allowed is 0 to 255"),
        ("kind = 'drop'\nstatus = 'XX'", "status = \"XX\": known are SC, UR, CRS, CA"),
        ("kind = 'drop'\nfrom_ps = 5\nuntil_ps = 5", "until_ps = 5: it must be later than from_ps = 5"),
        ("kind = 'drop'\nevery = 0", "every = 0: allowed is 1 to"),
        ("kind = 'drop'\ntimes = 0", "times = 0: allowed is 1 to"),
        ("kind = 'drop'\nprobability_ppm = 1000001", "probability_ppm = 1000001: allowed is 1 to 1000000"),
        ("kind = 'delay'", "kind = delay: it needs delay_ps"),
        (
            "kind = 'delay'\ndelay_ps = 100_000_000_000_001",
            "delay_ps = 100000000000001: allowed is 0 to 100000000000000",
        ),
        ("kind = 'reorder'\npast = 0", "past = 0: allowed is 1 to 1000"),
        ("kind = 'reorder'\nfor_ps = 0", "for_ps = 0: allowed is 1 to"),
        ("kind = 'corrupt-field'", "kind = corrupt-field: it needs a field"),
        ("kind = 'corrupt-field'\nfield = 'tagg'", "field = \"tagg\": known are fmt, type"),
        ("kind = 'corrupt-field'\nfield = 'tag'\nvalue = 1024", "value = 0x400: the bits that tag can have are 0x3ff"),
        ("kind = 'corrupt-field'\nfield = 'address'\nxor = 2", "xor = 0x2: the bits that address can have"),
        ("kind = 'corrupt-field'\nfield = 'tag'\nxor = 0", "xor = 0: nothing would change"),
        ("kind = 'corrupt-field'\nfield = 'tag'\nxor = 1\nvalue = 1", "xor = 1: there is a value, too"),
        ("kind = 'corrupt-field'\nfield = 'address'\nvalue = '12'", "value = \"12\": neither a number"),
        ("kind = 'corrupt-header'\nbit = 128", "bit = 128: allowed is 0 to 127"),
        ("kind = 'corrupt-payload'\nbit = 32768", "bit = 32768: allowed is 0 to 32767"),
        ("kind = 'ecrc'\nbit = 32", "bit = 32: allowed is 0 to 31"),
        ("kind = 'bad-lcrc'\nreplays = 4", "replays = 4: allowed is 1 to 3"),
        ("kind = 'withhold-credits'\nclass = 'all'", "class = \"all\": known are posted"),
        ("kind = 'withhold-credits'\nchannel = 8", "channel = 8: allowed is 0 to 7"),
        ("kind = 'drop'\nat_ps = 1", "kind = drop: only withhold-credits and link-down has at_ps"),
        ("kind = 'link-down'\nat_ps = 1", "at_ps = 1: a fault at a time needs link, and no direction"),
        ("kind = 'link-down'\nat_ps = 1\nlink = 0\ntimes = 2", "at_ps = 1: it happens at this time, once"),
        ("kind = 'withhold-credits'\nat_ps = 1\nlink = 0", "at_ps = 1: a fault at a time needs link and direction"),
        (
            "kind = 'withhold-credits'\nat_ps = 1\nlink = 0\ndirection = 'upstream'",
            "at_ps = 1: a fault at a time needs a class",
        ),
        ("kind = 'drop'\nheader = '00'\nfired_by = 1\nfired_ps = 1", "header = \"00\": four DWs"),
        ("kind = 'drop'\nfired_by = 1", "fired_by = ?: fired_by and fired_ps go together"),
        ("kind = 'drop'\nwhere = 1", "unknown field `where`"),
        ("link = 1", "missing field `kind`"),
    ] {
        let error = parse(fields).unwrap_err();
        assert!(error.contains(reason), "{fields:?}: {error:?} lacks {reason:?}");
    }
}

#[test]
fn links_are_checked() {
    let named = |name: &str| Rule { link: Some(LinkRef::Name(name.to_owned())), ..Rule::new(Action::Drop) };
    let error = Rules::new([named("switch"), named("nowhere")], 0, |name| (name == "switch").then_some(LinkId(0)));
    let (number, error) = error.unwrap_err();
    assert_eq!((number, error.to_string().as_str()), (2, "link = \"nowhere\": there's no link of this name"));
    let beyond = Rules::new([Rule::new(Action::Drop).on(LinkId(2), Direction::Upstream)], 0, |_| None).unwrap();
    let (number, error) = beyond.check_links(2).unwrap_err();
    assert_eq!((number, error.to_string().as_str()), (1, "link = 2: the fabric has 2 links"));
    let wrong = Rules::new([Rule::new(Action::BadLcrc { replays: 9 })], 0, |_| None).unwrap_err();
    assert_eq!(wrong.1.to_string(), "replays = 9: allowed is 1 to 3", "rules of a program are checked, too");
}

/// For each filter: TLPs that it takes, and TLPs that it doesn't.
#[test]
fn filters() {
    let message = Header::from_dws([0x3000_0000, 0x0100_0031, 0, 0]).unwrap();
    for (fields, takes, leaves) in [
        ("tlp = 'MRd32'", vec![read(0)], vec![write(0), answer(Status::Successful)]),
        (
            "tlp = ['MWr', 'Cpl']",
            vec![write(0), write(1 << 32), answer(Status::UnsupportedRequest)],
            vec![read(0), answer(Status::Successful)],
        ),
        ("tlp = 'nonposted'", vec![read(0)], vec![write(0), message]),
        ("requester = '03:00.1'", vec![read(0), answer(Status::Successful)], vec![message]),
        ("completer = '01:00.0'", vec![answer(Status::Successful)], vec![read(0), message]),
        ("address = 0x1007", vec![write(0x1000), read(0)], vec![write(0x1008), message]),
        ("address = [0x1004, 0x1fff]", vec![write(0x1000), write(0x1ff8)], vec![write(0xff8), write(0x2000)]),
        ("tag = [3, 4]", vec![read(3), read(4)], vec![read(2), read(5)]),
        ("tag = 9", vec![answer(Status::Successful)], vec![read(8)]),
        ("length = [16, 1024]", vec![read(0)], vec![write(0)]),
        ("tc = 0", vec![read(0)], vec![Header::from_dws([0x3010_0000, 0x0100_007f, 0, 0]).unwrap()]),
        ("message = 0x31", vec![message], vec![read(0)]),
        ("status = 'UR'", vec![answer(Status::UnsupportedRequest)], vec![answer(Status::CompleterAbort), read(0)]),
        (
            "status = '3'",
            vec![Header::from_dws([0x0a00_0000, 0x0100_6004, 0x0301_0900, 0]).unwrap()],
            vec![answer(Status::Successful)],
        ),
    ] {
        let filter = parse(&format!("kind = 'drop'\n{fields}")).unwrap().filter;
        for header in takes {
            assert!(filter.takes(&header), "{fields}: {header}");
        }
        for header in leaves {
            assert!(!filter.takes(&header), "{fields}: {header}");
        }
    }
    assert_eq!(Filter::of_class(Class::Completion).kinds.len(), 4);
}

/// Of twelve reads, one each nanosecond, those that are dropped.
#[test]
fn occasions() {
    for (fields, expected) in [
        ("", (0..12).collect::<Vec<u64>>()),
        ("times = 2", vec![0, 1]),
        ("skip = 3\ntimes = 2", vec![3, 4]),
        ("every = 5", vec![0, 5, 10]),
        ("skip = 4\nevery = 3\ntimes = 2", vec![4, 7]),
        ("from_ps = 2000\nuntil_ps = 4000", vec![2, 3]),
        ("from_ps = 5000\nskip = 1\nevery = 2", vec![6, 8, 10]),
        ("sequence = 7", vec![7]),
        ("tag = [8, 10]\nskip = 1", vec![9, 10]),
    ] {
        let mut rules = rules(&format!("[[faults]]\nkind = 'drop'\n{fields}"));
        let dropped = |n: &u64| pass_at(&mut rules, 0, Time::ns(*n), read(*n as u16)) == [Action::Drop];
        assert_eq!((0..12).filter(dropped).collect::<Vec<u64>>(), expected, "{fields:?}");
    }
}

#[test]
fn places() {
    for (fields, expected) in [
        ("", [true; 4]),
        ("link = 0", [true, true, false, false]),
        ("link = 'switch'", [false, false, true, true]),
        ("direction = 'upstream'", [false, true, false, true]),
        ("link = 1\ndirection = 'downstream'", [false, false, true, false]),
    ] {
        let mut rules = rules(&format!("[[faults]]\nkind = 'drop'\n{fields}"));
        for (port, expected) in (0..).zip(expected) {
            assert_eq!(rules.watches(PortId(port)), expected, "{fields:?}");
            assert_eq!(!pass_at(&mut rules, port, Time::ZERO, read(0)).is_empty(), expected, "{fields:?}");
        }
    }
}

/// What can't be done to a TLP isn't done, and isn't counted.
#[test]
fn only_what_applies() {
    let (read, write) = (read(5), write(0x1000));
    let mut digested = write;
    digested.set_td(true);
    let mut poisoned = write;
    poisoned.set_ep(true);
    for (fields, takes, leaves) in [
        ("kind = 'corrupt-payload'", write, read),
        ("kind = 'corrupt-payload'\nbit = 63", write, read),
        ("kind = 'corrupt-header'\nbit = 96", Header::mem_read_bytes(Bdf(0), 0, 1 << 32, 4).unwrap(), read),
        ("kind = 'poison'", write, poisoned),
        ("kind = 'ecrc'", digested, write),
        ("kind = 'corrupt-field'\nfield = 'byte_count'", answer(Status::Successful), read),
        ("kind = 'corrupt-field'\nfield = 'tag'\nvalue = 5", write, read),
    ] {
        let mut rules = rules(&format!("[[faults]]\n{fields}\ntimes = 1"));
        assert_eq!(pass(&mut rules, leaves), [], "{fields}");
        assert_eq!(pass(&mut rules, takes).len(), 1, "{fields}");
    }
    let mut rules = rules("[[faults]]\nkind = 'corrupt-payload'\nbit = 64");
    assert_eq!(pass(&mut rules, write), [], "the payload has 64 bits");
}

#[test]
fn several_rules_for_one_tlp() {
    let mut rules = rules(
        "[[faults]]\nkind = 'poison'\n[[faults]]\nkind = 'bad-lcrc'\nreplays = 2\n[[faults]]\nkind = 'drop'\nskip = 1\n\
         [[faults]]\nkind = 'duplicate'",
    );
    let (poison, lcrc) = (Action::Poison, Action::BadLcrc { replays: 2 });
    let twice = Action::Duplicate { after: Time::ZERO.into() };
    assert_eq!(pass(&mut rules, write(0)), [poison, lcrc, twice]);
    assert_eq!(pass(&mut rules, write(0)), [poison, lcrc, Action::Drop], "nothing comes after it's gone");
    let fired: Vec<(u32, Option<u64>)> = rules.fired().iter().map(|fired| (fired.rule, fired.sequence)).collect();
    assert_eq!(fired, [1, 2, 4, 1, 2, 3].into_iter().zip([0, 0, 0, 1, 1, 1].map(Some)).collect::<Vec<_>>());
    assert_eq!(rules.counts().map(|(_, count)| count).collect::<Vec<_>>(), [2, 2, 1, 1]);
}

#[test]
fn what_cannot_happen_now_does_not() {
    let mut rules = rules("[[faults]]\nkind = 'link-down'\n[[faults]]\nkind = 'delay'\ndelay_ps = 5");
    let header = read(0);
    let tlp = Passing {
        link: LinkId(0),
        direction: Direction::Downstream,
        sequence: 0,
        at: Time::ZERO,
        header: &header,
        payload: &[],
        digest: false,
    };
    assert_eq!(rules.consult(PortId(0), &tlp, Limits { full: true, down: true }), []);
    assert_eq!(rules.consult(PortId(0), &tlp, Limits::default()).len(), 2);
}

#[test]
fn faults_at_a_time() {
    let mut rules = rules(
        "[[faults]]\nkind = 'link-down'\nlink = 'switch'\nat_ps = 500\nfor_ps = 7\n\
         [[faults]]\nkind = 'withhold-credits'\nclass = 'posted'\nlink = 0\ndirection = 'upstream'\nat_ps = 100",
    );
    assert!(!rules.watches(PortId(0)), "no TLP is looked at");
    assert_eq!(rules.timed().collect::<Vec<_>>(), [(Time(500), 0), (Time(100), 1)]);
    assert_eq!(rules.at_its_time(0, Time(500), Limits { full: true, down: true }), None);
    let down = rules.at_its_time(0, Time(500), Limits::default()).unwrap();
    assert_eq!(
        (down.link, down.sequence, down.action),
        (LinkId(1), None, Action::LinkDown { duration: Some(Time(7)) })
    );
    assert_eq!(down.rule().occasion.at, Some(Time(500)));
    assert_eq!(rules.fired().len(), 1);
}

#[test]
fn programs() {
    let asked = |tlp: &Passing<'_>| {
        (tlp.header.tag() == 3).then_some(Action::CorruptField { field: Field::Tag, change: Change::Xor(1) })
    };
    let mut rules = rules("").with_program(1, Box::new(asked));
    assert!(rules.watches(PortId(3)));
    assert_eq!(pass(&mut rules, read(2)), []);
    let to = |value| Action::CorruptField { field: Field::Tag, change: Change::To(value) };
    assert_eq!(pass(&mut rules, read(3)), [to(2)]);
    assert_eq!((rules.fired()[0].rule, rules.fired()[0].sequence), (0, Some(1)));
}

/// Rules whose choices are drawn.
const DRAWN: &str = "
[[faults]]
kind = 'delay'
delay_ps = [1, 1_000_000]
probability_ppm = 100_000
[[faults]]
kind = 'corrupt-field'
field = 'address'
probability_ppm = 100_000
[[faults]]
kind = 'corrupt-header'
probability_ppm = 100_000
[[faults]]
kind = 'corrupt-payload'
every = 7
[[faults]]
kind = 'duplicate'
delay_ps = [0, 5]
probability_ppm = 100_000
[[faults]]
kind = 'withhold-credits'
for_ps = 1000
probability_ppm = 1_000
";

fn headers(count: usize) -> Vec<Header> {
    let header = |n| match n % 5 {
        0 => read(n as u16 % 768),
        1 => write(n as u64 * 8),
        2 => answer(Status::Successful),
        3 => answer(Status::CompleterAbort),
        _ => write(1 << 40),
    };
    (0..count).map(header).collect()
}

fn play(rules: &mut Rules, headers: &[Header]) -> Vec<Vec<Action>> {
    let one = |(n, header): (u64, &Header)| pass_at(rules, (n / 3 % 4) as u16, Time(n * 100), *header);
    (0..).zip(headers).map(one).collect()
}

/// The same seed gives the same; what was recorded gives the same without a draw, also from its text.
#[test]
fn a_record_is_a_schedule() {
    let headers = headers(20_000);
    let (mut first, mut again) = (rules(DRAWN), rules(DRAWN));
    let deeds = play(&mut first, &headers);
    assert_eq!(deeds, play(&mut again, &headers));
    assert_eq!(first.fired(), again.fired());
    let count = first.fired().len();
    assert!(count > 8_000, "{count}");
    assert!(first.counts().all(|(_, count)| count > 0));

    let record = File { faults: first.fired().iter().map(Fired::rule).collect() };
    let text = toml::to_string(&record).unwrap();
    assert_eq!(toml::from_str::<File>(&text).unwrap(), record);
    for line in first.fired().iter().take(500) {
        let json = serde_json::to_string(line).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), line.rule());
    }
    let mut replay = rules(&text);
    assert_eq!(deeds, play(&mut replay, &headers));
    assert_eq!(replay.differed(), 0);
    let what = |fired: &Fired| Fired { rule: 0, ..fired.clone() };
    assert!(replay.fired().iter().map(what).eq(first.fired().iter().map(what)));

    // Another seed gives others, and a replay of something else notices.
    let file: File = toml::from_str(DRAWN).unwrap();
    let mut other = Rules::new(file.faults, 8, |_| None).unwrap();
    other.cover(4);
    assert_ne!(deeds, play(&mut other, &headers));
    let mut replay = rules(&text);
    play(&mut replay, &headers[1..]);
    assert!(replay.differed() > 1_000);
}

/// A rule draws the same whatever other rules there are.
#[test]
fn draws_are_independent() {
    let (head, rest) = DRAWN.trim().split_at(DRAWN.trim().find("[[faults]]\nkind = 'corrupt-field'").unwrap());
    let headers = headers(2_000);
    let (mut alone, mut all) = (rules(head), rules(&format!("{head}{rest}")));
    play(&mut alone, &headers);
    play(&mut all, &headers);
    let of_first = |rules: &Rules| rules.fired().iter().filter(|fired| fired.rule == 1).cloned().collect::<Vec<_>>();
    assert_eq!(of_first(&alone), of_first(&all));
}

#[test]
fn faults_end_when_the_record_is_full() {
    let mut rules = rules("[[faults]]\nkind = 'drop'");
    for n in 0..MAX_FIRED as u64 + 10 {
        assert_eq!(pass_at(&mut rules, 0, Time(n), read(0)).is_empty(), n >= MAX_FIRED as u64);
    }
    assert_eq!(rules.fired().len(), MAX_FIRED);
}

fn any_action() -> impl Strategy<Value = Action> {
    let time = || (0..=MAX_SPAN.as_ps()).prop_map(Time);
    let some_time = || (1..=MAX_SPAN.as_ps()).prop_map(Time);
    let draw = || (time(), time()).prop_map(|(a, b)| Draw { min: a.min(b), max: a.max(b) });
    let change = |mask: u64| {
        prop_oneof![
            any::<u64>().prop_map(move |value| Change::To(value & mask)),
            any::<u64>().prop_map(move |bits| Change::Xor(bits & mask | mask & mask.wrapping_neg())),
            Just(Change::Drawn),
        ]
    };
    let field = proptest::sample::select(Field::ALL.map(|(_, field)| field).to_vec());
    let class = proptest::sample::select(&Class::ALL);
    prop_oneof![
        Just(Action::Drop),
        Just(Action::Poison),
        draw().prop_map(|after| Action::Duplicate { after }),
        (draw(), any::<bool>()).prop_map(|(by, in_order)| Action::Delay { by, in_order }),
        (1..=MAX_PAST, some_time()).prop_map(|(past, limit)| Action::Reorder { past, limit }),
        field
            .prop_flat_map(move |field| (Just(field), change(field.widest())))
            .prop_map(|(field, change)| Action::CorruptField { field, change }),
        proptest::option::of(0..128_u8).prop_map(|bit| Action::CorruptHeader { bit }),
        proptest::option::of(0..32_768_u16).prop_map(|bit| Action::CorruptPayload { bit }),
        proptest::option::of(0..32_u8).prop_map(|bit| Action::Ecrc { bit }),
        (1..=MAX_REPLAYS).prop_map(|replays| Action::BadLcrc { replays }),
        (proptest::option::of(class), proptest::option::of(0..8_u8), proptest::option::of(some_time()))
            .prop_map(|(class, channel, duration)| Action::WithholdCredits { class, channel, duration }),
        proptest::option::of(some_time()).prop_map(|duration| Action::LinkDown { duration }),
    ]
}

fn any_span(max: u64) -> impl Strategy<Value = Option<Span>> {
    let span = (0..=max, 0..=max).prop_map(|(a, b)| Span { first: a.min(b), last: a.max(b) });
    proptest::option::of(span)
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let kinds = proptest::sample::subsequence(crate::tlp::KINDS.map(|row| row.kind).to_vec(), 0..5);
    let id = || proptest::option::of(any::<u16>().prop_map(Bdf));
    let spans = (any_span(i64::MAX as u64), any_span(1023), any_span(7), any_span(1024));
    let codes = (proptest::option::of(any::<u8>()), proptest::option::of(0..8_u8));
    (kinds, id(), id(), id(), spans, codes).prop_map(
        |(kinds, requester, completer, target, (address, tag, tc, length), (message, status)): (
            Vec<Kind>,
            _,
            _,
            _,
            _,
            _,
        )| { Filter { kinds, requester, completer, target, address, tag, tc, length, message, status } },
    )
}

proptest! {
    /// Every rule can be written down, in TOML and in JSON, and read again.
    #[test]
    fn rules_are_read_as_they_were_written(
        action in any_action(),
        filter in any_filter(),
        link in proptest::option::of(prop_oneof![any::<u16>().prop_map(LinkRef::Number), "[a-z ]{1,9}".prop_map(LinkRef::Name)]),
        upstream in proptest::option::of(any::<bool>()),
        (from, span) in (0..1_u64 << 60, 1..1_u64 << 60),
        (skip, every, times) in (0..1_u64 << 62, 1..1_u64 << 62, 1..1_u64 << 62),
        probability_ppm in 1..=1_000_000_u32,
        sequence in proptest::option::of(0..1_u64 << 62),
    ) {
        let direction = upstream.map(|up| if up { Direction::Upstream } else { Direction::Downstream });
        let (from, until) = (Time(from), Time(from + span));
        let occasion = Occasion { from, until, skip, every, probability_ppm, times, sequence, at: None };
        let rule = Rule { link, direction, filter, occasion, action, origin: None };
        let file = File { faults: vec![rule.clone()] };
        let text = toml::to_string(&file).unwrap();
        prop_assert_eq!(toml::from_str::<File>(&text).map_err(|error| error.to_string()), Ok(file));
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rule>(&json).map_err(|error| error.to_string()), Ok(rule));
    }
}
