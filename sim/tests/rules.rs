//! Faults by rule: what each does to the other end and to the requester; that the same seed gives the same, and the record the same again.

mod common;

use common::plant::{Plant, Spec, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::Reset;
use mlx5_twin_sim::fabric::rules::{Action, Change, Field, Filter, Passing, Rule, Rules};
use mlx5_twin_sim::fabric::{DmaError, Faults, PortEvent};
use mlx5_twin_sim::host::{Access, AccessError, Data};
use mlx5_twin_sim::probe::{Direction, LinkId, Probe, Transmit};
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Header, Kind};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct File {
    #[serde(default)]
    faults: Vec<Rule>,
}

/// The completion timeout of these plants.
const TIMEOUT: Time = Time::ms(1);

/// Link 0 is that of the switch, link 1 that of the agent.
fn one() -> Plant {
    single(&Spec { timing: Timing { completion_timeout_us: 1_000, ..common::TIMING }, ..Spec::default() })
}

fn set(plant: &mut Plant, text: &str) {
    let file: File = toml::from_str(text).unwrap();
    let rules = Rules::new(file.faults, 7, |_| None).unwrap();
    plant.fabric().set_rules(rules).unwrap();
}

/// A plant with one rule, of these fields.
fn with(fields: &str) -> Plant {
    let mut plant = one();
    set(&mut plant, &format!("[[faults]]\n{fields}"));
    plant
}

/// One read of the host's, of 4 bytes: what comes of it, and how long it takes.
fn read(plant: &mut Plant) -> (Result<u32, AccessError>, Time) {
    let bar = plant.function(0).1;
    plant.run(move |host| async move {
        let begin = host.now();
        (host.read32(bar + 8).await, host.now().since(begin))
    })
}

/// Writes of the host's, each with its number as the data; gives what the agent received of them.
fn writes(plant: &mut Plant, count: u8) -> Vec<(Time, Vec<u8>)> {
    let bar = plant.function(0).1;
    let before = plant.agent(0, |agent, _| agent.received.len());
    let root = plant.root;
    for n in 0..count {
        let access = Access::MemoryWrite { address: bar + u64::from(n) * 8, data: Data::new(&[n; 8]) };
        plant.simulation.access(root, access).unwrap();
    }
    plant.settle();
    plant.agent(0, |agent, _| {
        let memory = agent.received[before..].iter().filter(|received| received.header.address() & !0xffff == bar);
        memory.map(|received| (received.at, received.payload.clone())).collect()
    })
}

/// Nothing is left behind, the table says what was counted, and so many faults have happened.
fn check(plant: &mut Plant, what: &str, faults: Faults, fired: usize) {
    plant.settle();
    assert_eq!(plant.faults(), faults, "{what}");
    assert_eq!(plant.fabric().fired().len(), fired, "{what}");
    assert!(plant.fabric().is_at_rest(), "{what}");
    // With all its tags and credits, it goes on.
    set(plant, "");
    let bar = plant.function(0).1;
    let right = plant.run(move |host| async move {
        let mut right = true;
        for n in 0..200 {
            host.write(bar, &[1; 64]).await.unwrap();
            let value = u32::from_le_bytes([0, 1, 2, 3].map(|byte| (n * 4) as u8 + byte));
            right &= host.read32(bar + n * 4).await == Ok(value);
        }
        right
    });
    assert!(right, "{what}");
    plant.settle();
    assert!(plant.fabric().is_at_rest(), "{what}");
}

const VALUE: Result<u32, AccessError> = Ok(0x0b0a_0908);

/// What a read of the host's meets, and what it gives.
#[test]
fn reads() {
    let none = Faults::default();
    let late = Faults { completion_timeout: 1, ..none };
    let stray = Faults { unexpected_completion: 1, ..none };
    let both = Faults { unexpected_completion: 1, ..late };
    let broken = Faults { malformed: 1, ..late };
    #[rustfmt::skip]
    let table = [
        ("kind = 'drop'\ntlp = 'CplD'\nlink = 1", None, late),
        ("kind = 'drop'\ntlp = 'MRd'\nlink = 0", None, late),
        ("kind = 'drop'\ntlp = 'MRd'\nlink = 1", None, late),
        ("kind = 'drop'\ntlp = 'MRd'\nlink = 1\ndirection = 'upstream'", Some(VALUE), none),
        ("kind = 'duplicate'\ntlp = 'CplD'\nlink = 0", Some(VALUE), stray),
        ("kind = 'duplicate'\ntlp = 'CplD'\nlink = 1", Some(VALUE), stray),
        ("kind = 'duplicate'\ntlp = 'MRd'\nlink = 1", Some(VALUE), stray),
        ("kind = 'duplicate'\ntlp = 'CplD'\nlink = 1\ndelay_ps = 5_000_000_000", Some(VALUE), stray),
        ("kind = 'delay'\ntlp = 'CplD'\nlink = 1\ndelay_ps = 3_000_000_000", None, both),
        ("kind = 'delay'\ntlp = 'CplD'\nlink = 1\ndelay_ps = 2_000_000_000\nin_order = true", None, both),
        ("kind = 'delay'\ntlp = 'MRd'\nlink = 0\ndelay_ps = 2_000_000_000", None, both),
        ("kind = 'reorder'\ntlp = 'CplD'\nlink = 1\nfor_ps = 1_000_000", Some(VALUE), none),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 1\nfield = 'tag'\nxor = 1", None, both),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 0\nfield = 'byte_count'\nvalue = 8", None, both),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 0\nfield = 'lower_address'\nvalue = 0", None, both),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 1\nfield = 'length'\nvalue = 2", None, broken),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 0\nfield = 'fmt'\nvalue = 0", None, broken),
        ("kind = 'corrupt-field'\ntlp = 'CplD'\nlink = 0\nfield = 'td'\nvalue = 1", None, broken),
        ("kind = 'corrupt-field'\ntlp = 'MRd'\nlink = 1\nfield = 'type'\nvalue = 31", None, broken),
        ("kind = 'corrupt-header'\ntlp = 'MRd'\nlink = 1\nbit = 3", None, none),
        ("kind = 'corrupt-payload'\ntlp = 'CplD'\nlink = 0\nbit = 0", Some(Ok(0x0b0a_0909)), none),
        ("kind = 'corrupt-payload'\ntlp = 'CplD'\nlink = 1\nbit = 31", Some(Ok(0x8b0a_0908)), none),
        ("kind = 'bad-lcrc'\ntlp = 'CplD'\nlink = 1", Some(VALUE), none),
        ("kind = 'withhold-credits'\nlink = 1\nfor_ps = 1_000_000", Some(VALUE), none),
    ];
    for (fields, expected, faults) in table {
        let mut plant = with(&format!("{fields}\ntimes = 1"));
        let (result, span) = read(&mut plant);
        let fired = usize::from(!fields.contains("upstream"));
        if fields.contains("bit = 3\n") || fields.ends_with("bit = 3") {
            // 16 + 8 dwords more or less: the answer doesn't fit the question.
            assert_ne!(result, VALUE, "{fields}");
            continue;
        }
        match expected {
            Some(expected) => assert_eq!(result, expected, "{fields}"),
            None => {
                assert!(matches!(result, Err(AccessError::Timeout(_))), "{fields}: {result:?}");
                assert!(span >= TIMEOUT && span < TIMEOUT + Time::us(1), "{fields}: {span}");
            }
        }
        check(&mut plant, fields, faults, fired);
    }
}

/// What happens to writes on their way, and which of ten arrive, in which order.
#[test]
fn posted_writes() {
    let none = Faults::default();
    let all = (0..10).collect::<Vec<u8>>();
    #[rustfmt::skip]
    let table = [
        ("kind = 'drop'\nskip = 3\ntimes = 2", vec![0, 1, 2, 5, 6, 7, 8, 9], none, 2),
        ("kind = 'drop'\nevery = 4", vec![1, 2, 3, 5, 6, 7, 9], none, 3),
        ("kind = 'duplicate'\nskip = 4\ntimes = 1", vec![0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9], none, 1),
        ("kind = 'duplicate'\nskip = 4\ntimes = 1\ndelay_ps = 100_000_000", vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4], none, 1),
        ("kind = 'reorder'\nskip = 2\ntimes = 1", vec![0, 1, 3, 2, 4, 5, 6, 7, 8, 9], none, 1),
        ("kind = 'reorder'\nskip = 2\ntimes = 1\npast = 3", vec![0, 1, 3, 4, 5, 2, 6, 7, 8, 9], none, 1),
        ("kind = 'reorder'\nskip = 2\ntimes = 2\npast = 2", vec![0, 1, 4, 5, 2, 3, 6, 7, 8, 9], none, 2),
        ("kind = 'reorder'\nskip = 9\ntimes = 1", all.clone(), none, 1),
        ("kind = 'delay'\nskip = 2\ntimes = 1\ndelay_ps = 100_000_000", vec![0, 1, 3, 4, 5, 6, 7, 8, 9, 2], none, 1),
        ("kind = 'delay'\nskip = 2\ntimes = 1\ndelay_ps = 100_000_000\nin_order = true", all.clone(), none, 1),
        ("kind = 'corrupt-field'\nfield = 'length'\nvalue = 1\nskip = 2\ntimes = 1", vec![0, 1, 3, 4, 5, 6, 7, 8, 9], Faults { malformed: 1, ..none }, 1),
        ("kind = 'corrupt-field'\nfield = 'address'\nxor = 0x4000_0000\nskip = 2\ntimes = 1", vec![0, 1, 3, 4, 5, 6, 7, 8, 9], Faults { unsupported_request: 1, ..none }, 1),
        ("kind = 'bad-lcrc'\nreplays = 3\nevery = 2", all.clone(), none, 5),
    ];
    for link in [0, 1] {
        for (fields, expected, faults, fired) in &table {
            let fields = format!("{fields}\ntlp = 'MWr'\nlink = {link}\ndirection = 'downstream'");
            let mut plant = with(&fields);
            let arrived: Vec<u8> = writes(&mut plant, 10).into_iter().map(|(_, payload)| payload[0]).collect();
            assert_eq!(&arrived, expected, "{fields}");
            check(&mut plant, &fields, *faults, *fired);
        }
    }
}

#[test]
fn poison_is_seen_at_the_other_end() {
    let mut plant = with("kind = 'poison'\ntlp = 'MWr'\nlink = 0\ntimes = 1");
    writes(&mut plant, 2);
    let poisoned: Vec<bool> = plant.agent(0, |agent, _| agent.received.iter().map(|seen| seen.header.ep()).collect());
    assert_eq!(poisoned, [true, false]);
    assert_eq!(plant.fabric().fired().len(), 1);
}

/// Notes the digests of what goes over link 0.
struct Digests(std::sync::Arc<std::sync::Mutex<Vec<Option<[u8; 4]>>>>);

impl Probe for Digests {
    fn transmit(&mut self, event: &Transmit<'_>) {
        if event.link == LinkId(0) {
            self.0.lock().unwrap().push(event.digest);
        }
    }
}

#[test]
fn a_wrong_digest() {
    let mut plant = with("kind = 'ecrc'\nlink = 0\nbit = 8\ntimes = 1");
    let digests = std::sync::Arc::default();
    plant.fabric().set_probe(Some(Box::new(Digests(std::sync::Arc::clone(&digests)))));
    let id = plant.function(0).0;
    plant.agent(0, |agent, core| {
        for digest in [None, Some([1, 2, 3, 4]), Some([1, 2, 3, 4])] {
            let mut header = Header::mem_write_bytes(id, 0, 0x1000, 4).unwrap();
            header.set_td(digest.is_some());
            let tlp = core.create(header);
            core.payload_mut(tlp).fill(0);
            core.decorate(tlp, &[], digest).unwrap();
            core.send(agent.function.port(), tlp);
        }
    });
    plant.settle();
    assert_eq!(*digests.lock().unwrap(), [None, Some([1, 2, 2, 4]), Some([1, 2, 3, 4])]);
    check(&mut plant, "ecrc", Faults::default(), 1);
}

/// A late answer is late by what the rule says, and by nothing else.
#[test]
fn delays_are_exact() {
    let usual = read(&mut with("kind = 'drop'\ntlp = 'IORd'")).1;
    for (fields, ps) in [
        ("kind = 'delay'\ntlp = 'CplD'\nlink = 1\ndelay_ps = 345_678", 345_678),
        ("kind = 'delay'\ntlp = 'CplD'\nlink = 1\ndelay_ps = 345_678\nin_order = true", 345_678),
        ("kind = 'reorder'\ntlp = 'MRd'\nlink = 0\nfor_ps = 123_456", 123_456),
        // 12 + 4 bytes, 8 of framing, at 16 GT/s x8; 1 ns of flight twice, and 8 bytes of NAK.
        ("kind = 'bad-lcrc'\ntlp = 'CplD'\nlink = 1", 1_523 + 2_000 + 507),
        ("kind = 'bad-lcrc'\ntlp = 'CplD'\nlink = 1\nreplays = 2", 2 * (1_523 + 2_000 + 507)),
    ] {
        let span = read(&mut with(fields)).1;
        let late = span.since(usual).as_ps();
        assert!(late.abs_diff(ps) <= 4, "{fields}: {late} ps late");
    }
}

/// A completion that comes after its timeout never goes to the tag's next owner, however many reads there are.
#[test]
fn a_late_completion_goes_to_nobody() {
    let mut plant =
        with("kind = 'delay'\ntlp = 'CplD'\nlink = 1\ndirection = 'upstream'\nevery = 3\ndelay_ps = 1_500_000_000");
    let bar = plant.function(0).1;
    let results = plant.run(move |host| async move {
        let mut results = Vec::new();
        for n in 0..300_u64 {
            results.push(host.read32(bar + n % 50 * 4).await);
        }
        results
    });
    for (n, result) in (0..).zip(results) {
        let value = u32::from_le_bytes([0, 1, 2, 3].map(|byte| (n % 50 * 4 + byte) as u8));
        let expected = if n % 3 == 0 { Err(AccessError::Timeout(bar + n % 50 * 4)) } else { Ok(value) };
        assert_eq!(result, expected, "read {n}");
    }
    let faults = Faults { completion_timeout: 100, unexpected_completion: 100, ..Faults::default() };
    check(&mut plant, "late", faults, 100);
}

/// Completions of one read that pass each other are noticed: their requester doesn't take them for what they aren't.
#[test]
fn completions_out_of_order_are_noticed() {
    let mut plant = with("kind = 'reorder'\ntlp = 'CplD'\nlink = 1\ndirection = 'downstream'\ntimes = 1");
    let root = plant.root;
    let bytes: Vec<u8> = (0..512).map(|n| (n / 2) as u8).collect();
    plant.fabric().memory_mut(root).unwrap().write(0x1000, &bytes).unwrap();
    for _ in 0..2 {
        plant.agent(0, |agent, core| agent.dma_read(core, 0x1000, 512, 1));
        plant.settle();
    }
    let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
    let results: Vec<_> = ended.into_iter().map(|ended| ended.result).collect();
    assert_eq!(results, [Err(DmaError::Timeout { address: 0x1000 }), Ok(bytes)]);
    assert_eq!(plant.faults().unexpected_completion, 1);
    assert!(plant.fabric().is_at_rest());
}

/// Without credits 32 writes arrive, and the others when the credits come; what isn't posted has its own.
#[test]
fn withheld_credits() {
    let mut plant = with(
        "kind = 'withhold-credits'\ntlp = 'MWr'\nlink = 1\ndirection = 'downstream'\ntimes = 1\nfor_ps = 50_000_000",
    );
    let begin = plant.fabric().now();
    let bar = plant.function(0).1;
    let root = plant.root;
    for n in 0..40 {
        let access = Access::MemoryWrite { address: bar + n * 8, data: Data::new(&[n as u8; 8]) };
        plant.simulation.access(root, access).unwrap();
    }
    let early = Time::us(20);
    plant.run(move |host| async move { host.sleep(early).await });
    assert_eq!(plant.agent(0, |agent, _| agent.received.len()), 32);
    plant.settle();
    let times: Vec<Time> = plant.agent(0, |agent, _| agent.received.iter().map(|seen| seen.at.since(begin)).collect());
    assert_eq!(times.len(), 40);
    assert!(times[31] < Time::us(2) && times[32] > Time::us(50) && times[39] < Time::us(52), "{times:?}");
    check(&mut plant, "withheld", Faults::default(), 1);

    // For ever: until the link goes down, at which all that waits is lost.
    let mut plant = with("kind = 'withhold-credits'\ntlp = 'MWr'\nlink = 1\ndirection = 'downstream'\ntimes = 1");
    let arrived = writes(&mut plant, 40);
    assert_eq!((arrived.len(), plant.fabric().in_flight()), (32, 8));
    assert!(read(&mut plant).0.is_err(), "a read may not pass the writes");
    let lost = plant.fabric().lost();
    set_again(&mut plant, Rule::new(Action::LinkDown { duration: Some(Time::us(1)) }));
    plant.settle();
    assert_eq!(plant.fabric().in_flight(), 0);
    assert!(plant.fabric().is_at_rest() && plant.fabric().lost() <= lost + 9);
}

/// Adds a rule for link 1 that fires now.
fn set_again(plant: &mut Plant, rule: Rule) {
    let now = plant.fabric().now();
    let rule = Rule { link: Some(LinkId(1).into()), ..rule }.at(now);
    let rules = Rules::new([rule], 7, |_| None).unwrap();
    plant.fabric().set_rules(rules).unwrap();
}

#[test]
fn a_link_that_fails() {
    for (fields, lost) in [("tlp = 'MRd'\ntimes = 1", 1), ("tlp = 'CplD'\ntimes = 1", 1)] {
        let fields = format!("kind = 'link-down'\nlink = 1\nfor_ps = 100_000_000\n{fields}");
        let mut plant = with(&fields);
        plant.agent(0, |agent, _| agent.events.clear());
        let result = read(&mut plant).0;
        assert!(matches!(result, Err(AccessError::Timeout(_))), "{fields}: {result:?}");
        plant.settle();
        assert_eq!((plant.fabric().lost(), plant.fabric().fired().len()), (lost, 1), "{fields}");
        let events = plant.agent(0, |agent, _| std::mem::take(&mut agent.events));
        assert_eq!(
            events.iter().map(|(_, event)| *event).collect::<Vec<_>>(),
            [PortEvent::LinkDown(Reset::Hot), PortEvent::LinkUp]
        );
        // So long it's down, and then it's trained.
        let span = events[1].0.since(events[0].0);
        assert_eq!(span, Time::us(100) + Time::us(common::TIMING.link_training_us), "{fields}");
        assert!(plant.fabric().is_at_rest());
    }
    // Meanwhile its bridge claims nothing for it, and rules see nothing of what's lost in any case.
    let mut plant = with(
        "kind = 'link-down'\nlink = 1\n[[faults]]\nkind = 'delay'\ndelay_ps = 100_000_000_000\nlink = 1\nskip = 1",
    );
    let results = [read(&mut plant).0.is_err(), matches!(read(&mut plant).0, Err(AccessError::UnsupportedRequest(_)))];
    assert_eq!(results, [true; 2]);
    let id = plant.function(0).0;
    plant.send(0, Header::mem_write_bytes(id, 0, 0x1000, 4).unwrap(), &[0; 4]);
    plant.settle();
    assert_eq!((plant.fabric().in_flight(), plant.fabric().fired().len()), (0, 1));
    // For ever.
    plant.run(|host| async move { host.sleep(Time::ms(50)).await });
    assert_eq!(plant.agent(0, |agent, _| agent.events.len()), 1);
}

#[test]
fn faults_at_a_time() {
    let mut plant = one();
    let now = plant.fabric().now();
    let at = now + Time::us(10);
    set_again(&mut plant, Rule::new(Action::LinkDown { duration: Some(Time::us(5)) }));
    let down = Rule { link: Some(LinkId(1).into()), ..Rule::new(Action::LinkDown { duration: Some(Time::us(5)) }) };
    let rules = Rules::new([down.at(at)], 7, |_| None).unwrap();
    // These come in the place of those that were to fire at once.
    plant.fabric().set_rules(rules).unwrap();
    plant.settle();
    let events = plant.agent(0, |agent, _| std::mem::take(&mut agent.events));
    assert_eq!(events[0], (at, PortEvent::LinkDown(Reset::Hot)));
    assert_eq!(events.len(), 2);
    assert_eq!(plant.fabric().fired().len(), 1);
}

#[test]
fn rules_are_made_in_code() {
    let mut plant = one();
    let swap = Action::CorruptField { field: Field::Tag, change: Change::Xor(1) };
    let rule = Rule::new(swap).on(LinkId(1), Direction::Upstream).of(Filter::of([Kind::CplD])).skip(1).times(1);
    let program = |tlp: &Passing<'_>| (tlp.payload == [3; 8]).then_some(Action::Drop);
    let rules = Rules::new([rule], 7, |_| None).unwrap().with_program(7, Box::new(program));
    plant.fabric().set_rules(rules).unwrap();
    let reads: Vec<bool> = (0..3).map(|_| read(&mut plant).0.is_ok()).collect();
    assert_eq!(reads, [true, false, true]);
    let arrived: Vec<u8> = writes(&mut plant, 5).into_iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(arrived, [0, 1, 2, 4]);
    let who: Vec<u32> = plant.fabric().fired().iter().map(|fired| fired.rule).collect();
    assert_eq!(who, [1, 0]);
}

/// What rules hold doesn't stay when they go.
#[test]
fn rules_that_go() {
    let mut plant = with(
        "kind = 'delay'\ntlp = 'MWr'\nlink = 1\ndelay_ps = 100_000_000_000_000\n[[faults]]\nkind = 'withhold-credits'\nlink = 1\ntlp = 'MWr'\nclass = 'nonposted'",
    );
    let bar = plant.function(0).1;
    plant.run(move |host| async move { host.write(bar, &[1; 8]).await.unwrap() });
    plant.run(|host| async move { host.sleep(Time::us(10)).await });
    assert_eq!((plant.fabric().in_flight(), plant.agent(0, |agent, _| agent.received.len())), (1, 0));
    set(&mut plant, "");
    plant.run(|host| async move { host.sleep(Time::us(10)).await });
    assert_eq!((plant.fabric().in_flight(), plant.agent(0, |agent, _| agent.received.len())), (0, 1));
    assert!(plant.fabric().is_at_rest());
}

#[test]
fn a_link_that_is_not_there() {
    let rules = Rules::new([Rule::new(Action::Drop).on(LinkId(2), Direction::Upstream)], 1, |_| None).unwrap();
    let (number, error) = one().fabric().set_rules(rules).unwrap_err();
    assert_eq!((number, error.to_string().as_str()), (1, "link = 2: the fabric has 2 links"));
}
