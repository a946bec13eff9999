use std::collections::VecDeque;

use super::super::flow::{Scale, Unit};
use super::*;
use crate::rng::Rng;

const FLIGHT: Time = Time::ns(3);

/// A TLP of the test: its number, class and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    number: u64,
    channel: u8,
    class: Class,
    payload: u32,
}

#[derive(Clone, Copy)]
enum What {
    Frame(Frame<Item>, Option<Integrity>),
    Free(Item),
}

/// Two ports, the wires between them, and what happens to frames on the way.
struct Line {
    ports: [Port<Item>; 2],
    busy: [Time; 2],
    /// What happens when, at which port, in order of time and of being planned.
    plan: std::collections::BTreeMap<(Time, u64), (usize, What)>,
    planned: u64,
    waiting: [VecDeque<Item>; 2],
    got: [Vec<Item>; 2],
    errors: [[u64; LinkError::COUNT]; 2],
    rng: Rng,
    /// Of a million frames.
    broken: u64,
    lost: u64,
    hold: (u64, u64),
    now: Time,
    frames: u64,
}

impl Line {
    fn new(settings: &Settings, seed: u64) -> Line {
        let ports = [Port::new(settings.clone()), Port::new(settings.clone())];
        Line {
            ports,
            busy: [Time::ZERO; 2],
            plan: Default::default(),
            planned: 0,
            waiting: Default::default(),
            got: Default::default(),
            errors: Default::default(),
            rng: Rng::new(seed),
            broken: 0,
            lost: 0,
            hold: (0, 100_000),
            now: Time::ZERO,
            frames: 0,
        }
    }

    fn up(&mut self) {
        for port in &mut self.ports {
            port.link_up(self.now);
        }
        self.settle();
        for channel in 1..8 {
            self.ports.iter_mut().for_each(|port| port.set_channel(channel, Some(channel), self.now));
        }
    }

    fn react(&mut self, end: usize, reaction: Reaction) {
        if let Some(error) = reaction.error {
            self.errors[end][error as usize] += 1;
        }
        if reaction.retrain {
            let until = self.now + Time::us(4);
            self.ports.iter_mut().for_each(|port| port.hold(until));
        }
    }

    fn schedule(&mut self, at: Time, end: usize, what: What) {
        self.planned += 1;
        self.plan.insert((at, self.planned), (end, what));
    }

    /// Does all that can be done now.
    fn serve(&mut self) {
        let tlp_time = |bytes: u32| Time((u64::from(bytes) + 8) * 125);
        for end in 0..2 {
            let reaction = self.ports[end].check_timer(self.now);
            self.react(end, reaction);
        }
        for end in 0..2 {
            if self.busy[end] > self.now {
                continue;
            }
            let frame = self.ports[end].next(self.now, tlp_time).or_else(|| self.start(end, tlp_time));
            let Some(frame) = frame else { continue };
            self.frames += 1;
            let bytes = match frame {
                Frame::Tlp { bytes, .. } => bytes,
                Frame::Dllp(_) => 0,
            };
            self.busy[end] = self.now + tlp_time(bytes);
            let luck = self.rng.range(0, 999_999);
            let fate = if luck < self.lost {
                None
            } else if luck < self.lost + self.broken {
                Some(Integrity::Bad)
            } else {
                Some(Integrity::Good)
            };
            if let (Frame::Dllp(dllp), None | Some(Integrity::Bad)) = (&frame, fate) {
                self.ports[end].update_was_lost(dllp);
            }
            self.schedule(self.busy[end] + FLIGHT, 1 - end, What::Frame(frame, fate));
        }
    }

    /// The next new TLP, if it has its credits.
    fn start(&mut self, end: usize, tlp_time: impl Fn(u32) -> Time) -> Option<Frame<Item>> {
        let item = *self.waiting[end].front()?;
        let bytes = 16 + item.payload;
        let port = &mut self.ports[end];
        let goes = port.takes_tlp(bytes, self.now)
            && port.take_credits(item.channel, item.class, Amount::of_payload(item.payload));
        goes.then(|| {
            self.waiting[end].pop_front();
            port.start(item, bytes, self.now, tlp_time(bytes))
        })
    }

    fn arrive(&mut self, end: usize, what: What) {
        match what {
            What::Free(item) => {
                self.ports[end].free(item.channel, item.class, Amount::of_payload(item.payload), self.now);
            }
            What::Frame(_, None) => {}
            What::Frame(Frame::Tlp { sequence, item, .. }, Some(integrity)) => {
                let Item { channel, class, payload, .. } = item;
                let amount = Amount::of_payload(payload);
                let reaction = self.ports[end].receive_tlp(sequence, integrity, channel, class, amount, self.now);
                self.react(end, reaction);
                if reaction.taken {
                    self.got[end].push(item);
                    let free = self.now + Time(self.rng.range(self.hold.0, self.hold.1));
                    self.schedule(free, end, What::Free(item));
                }
            }
            What::Frame(Frame::Dllp(_), Some(Integrity::Bad)) => self.errors[end][LinkError::BadDllp as usize] += 1,
            What::Frame(Frame::Dllp(dllp), Some(_)) => {
                let bytes = dllp.encode();
                let dllp = Dllp::decode(&bytes).unwrap();
                let reaction = self.ports[end].receive_dllp(&dllp, self.now, |_| ());
                self.react(end, reaction);
            }
        }
    }

    /// Goes on until nothing is left to be done.
    fn settle(&mut self) {
        loop {
            self.serve();
            let mut next = self.plan.keys().next().map(|(at, _)| *at);
            for end in 0..2 {
                let ready = self.ports[end].due().map(|due| due.max(self.busy[end]));
                // What waits for the wire goes when that's free; if it is, it waits for something to come.
                let free = Some(self.busy[end]).filter(|busy| *busy > self.now && !self.waiting[end].is_empty());
                next = [next, ready, free].into_iter().flatten().min();
            }
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while let Some(first) = self.plan.first_entry().filter(|first| first.key().0 <= self.now) {
                let (end, what) = first.remove();
                self.arrive(end, what);
            }
        }
    }
}

fn settings(generation: u8, rooms: &[[(u32, u32); 3]]) -> Settings {
    let rooms = rooms.iter().map(|rooms| rooms.map(|(headers, data)| Amount { headers, data })).collect();
    Settings { generation, lanes: 8, rooms, replay_bytes: 20_000, round_trip: Time::ZERO }
}

#[test]
fn a_link_comes_up() {
    for generation in 1..=5 {
        let mut line = Line::new(&settings(generation, &[[(32, 256), (8, 8), (0, 0)], [(4, 64); 3]]), 1);
        line.settle();
        assert_eq!((line.frames, line.ports[0].state()), (0, LinkState::Inactive), "nothing is said without a link");
        line.up();
        line.settle();
        for port in &line.ports {
            assert_eq!(port.state(), LinkState::Active);
            assert!(port.is_open(0) && port.is_open(1) && !port.is_open(2));
            assert_eq!(port.credits(0, Class::Posted), Some(Amount { headers: 32, data: 256 }));
            assert_eq!(port.credits(0, Class::Completion), Some(Amount { headers: u32::MAX, data: u32::MAX }));
            assert_eq!(port.credits(1, Class::Completion), Some(Amount { headers: 4, data: 64 }));
        }
        let scaled = line.ports[0].features.common().scaled_flow_control();
        assert_eq!(scaled, generation >= 4);
        assert!(line.now < Time::us(2), "{}", line.now);
    }
}

/// Each end begins with another channel than the other: neither waits for the other's. A VC ID has another buffer at each end.
#[test]
fn ends_may_begin_with_different_channels() {
    let mut line = Line::new(&settings(3, &[[(32, 256); 3], [(4, 64); 3], [(5, 65); 3]]), 1);
    line.ports.iter_mut().for_each(|port| port.link_up(Time::ZERO));
    for (end, ids) in [(0, [1, 2]), (1, [2, 1])] {
        for (number, id) in (1..).zip(ids) {
            line.ports[end].set_channel(number, Some(id), Time::ZERO);
        }
    }
    line.settle();
    assert!(line.ports.iter().all(|port| (0..3).all(|id| port.is_open(id))));
    let headers = |end: usize, id| line.ports[end].credits(id, Class::Posted).map(|credits| credits.headers);
    assert_eq!([headers(0, 1), headers(0, 2)], [Some(5), Some(4)]);
    assert_eq!([headers(1, 1), headers(1, 2)], [Some(4), Some(5)]);
    assert!(line.now < Time::us(1), "{}", line.now);
    // One that is closed, and begins anew with another ID.
    line.ports.iter_mut().zip([1, 2]).for_each(|(port, number)| port.set_channel(number, None, Time::us(1)));
    line.settle();
    assert!(line.ports.iter().all(|port| !port.is_open(1) && port.credits(1, Class::Posted).is_none()));
    line.ports.iter_mut().zip([1, 2]).for_each(|(port, number)| port.set_channel(number, Some(7), Time::us(2)));
    line.settle();
    assert!(line.ports.iter().all(|port| !port.is_open(1) && port.is_open(2) && port.is_open(7)));
}

/// How many TLPs: many more by DLL_TLPS.
fn tlps(default: u64) -> u64 {
    std::env::var("DLL_TLPS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// `count` TLPs in both directions. Gives all that can be compared.
fn traffic(seed: u64, count: u64, noise: (u64, u64), settings: &Settings) -> (Time, u64, [[u64; LinkError::COUNT]; 2]) {
    let mut line = Line::new(settings, seed);
    (line.broken, line.lost) = noise;
    line.up();
    line.settle();
    let channels = settings.rooms.len() as u64;
    let initial: Vec<_> = line.ports.iter().map(credits).collect();
    let mut rng = Rng::new(seed + 1);
    let mut sent: [Vec<Item>; 2] = Default::default();
    let mut total = 0;
    while total < count {
        for _ in 0..2_000.min(count - total) {
            let end = rng.range(0, 1) as usize;
            let class = Class::ALL[rng.range(0, 2) as usize];
            let payload = if rng.range(0, 1) == 0 { 0 } else { rng.range(1, 128) as u32 };
            let item = Item { number: total, channel: rng.range(0, channels - 1) as u8, class, payload };
            sent[end].push(item);
            line.waiting[end].push_back(item);
            total += 1;
        }
        line.settle();
        for end in 0..2 {
            assert!(line.waiting[end].is_empty() && line.ports[end].is_quiet(), "seed {seed}: something is left");
            assert!(line.got[1 - end] == sent[end], "seed {seed}: lost, doubled or swapped");
            all_back(&line.ports[end], &initial[end]);
            sent[end].clear();
            line.got[1 - end].clear();
        }
    }
    for errors in line.errors {
        for error in [LinkError::DataLinkProtocol, LinkError::ReceiverOverflow, LinkError::FlowControlProtocol] {
            assert_eq!(errors[error as usize], 0, "seed {seed}: {error:?}");
        }
    }
    (line.now, line.frames, line.errors)
}

/// What a port may send, and what it has allowed, by channel and class.
fn credits(port: &Port<Item>) -> Vec<(Option<Amount>, Option<Amount>)> {
    let all =
        (0..8).flat_map(|channel| Class::ALL.map(|class| (port.credits(channel, class), port.allowed(channel, class))));
    all.collect()
}

/// All credits are back, but for what a scale factor hides: less than one unit of it.
fn all_back(port: &Port<Item>, initial: &[(Option<Amount>, Option<Amount>)]) {
    for ((now, allowed), (before, allowed_before)) in credits(port).into_iter().zip(initial) {
        assert_eq!(allowed, *allowed_before);
        let (Some(now), Some(before)) = (now, *before) else { continue };
        for (unit, now, before) in [(Unit::Headers, now.headers, before.headers), (Unit::Data, now.data, before.data)] {
            let hidden = if before == u32::MAX { 1 } else { 1 << Scale::fitting(unit, before, true).shift() };
            assert!(now <= before && before - now < hidden, "{unit}: {now} of {before}");
        }
    }
}

#[test]
fn nothing_is_lost_and_all_credits_come_back() {
    let few = settings(3, &[[(2, 8), (1, 8), (3, 9)]]);
    let many = settings(5, &[[(127, 2047), (127, 128), (0, 0)], [(16, 64); 3]]);
    let scaled = settings(5, &[[(400, 8000), (200, 128), (2000, 30_000)]]);
    let count = tlps(100_000) / 4;
    for (seed, noise, settings) in
        [(1, (0, 0), &few), (2, (20_000, 10_000), &few), (3, (1_000, 200), &many), (4, (50_000, 50_000), &scaled)]
    {
        let (now, frames, errors) = traffic(seed, count, noise, settings);
        println!("seed {seed}: {count} TLPs in {now}, {frames} frames, errors {errors:?}");
        let bad = errors[0][LinkError::BadTlp as usize] + errors[1][LinkError::BadTlp as usize];
        assert_eq!(bad > 0, noise != (0, 0));
    }
}

#[test]
fn the_same_seed_gives_the_same() {
    let settings = settings(4, &[[(8, 32), (4, 8), (8, 32)]]);
    let run = |seed| traffic(seed, 4_000, (30_000, 10_000), &settings);
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// A port in DL_Active whose other end has one header and four units of data of each class, as it has itself.
fn active() -> Port<Item> {
    let mut line = Line::new(&settings(3, &[[(1, 4); 3]]), 1);
    line.up();
    line.settle();
    line.ports[0].clone()
}

/// What breaks a rule is named, and changes nothing.
#[test]
fn errors_are_told_apart() {
    let (now, good) = (Time::us(1), Integrity::Good);
    let update = |class, channel, headers: u16, data: u16| {
        let field = |value| super::super::dllp::FcField { scale: Scale::Unscaled, value };
        Dllp::FlowControl { stage: FcStage::Update, class, channel, headers: field(headers), data: field(data) }
    };
    let posted = |count| update(Class::Posted, 0, count, 4);
    let cases = [
        (Dllp::Ack(Sequence::new(0)), Some(LinkError::DataLinkProtocol)),
        (Dllp::Nak(Sequence::new(7)), Some(LinkError::DataLinkProtocol)),
        (Dllp::Ack(Sequence::new(0xfff)), None),
        (posted(129), Some(LinkError::FlowControlProtocol)),
        (posted(255), Some(LinkError::FlowControlProtocol)),
        (posted(2), None),
        (update(Class::Posted, 3, 200, 9), None),
        (Dllp::Nop, None),
        (Dllp::Vendor([1, 2, 3]), None),
    ];
    for (dllp, error) in cases {
        let mut port = active();
        let before = port.credits(0, Class::Posted);
        assert_eq!(port.receive_dllp(&dllp, now, |_| ()).error, error, "{dllp:?}");
        if error.is_some() {
            assert_eq!(port.credits(0, Class::Posted), before, "{dllp:?}");
            assert_eq!(port.due(), None, "{dllp:?}");
        }
    }
    let mut port = active();
    let one = Amount { headers: 1, data: 4 };
    let tlp = |port: &mut Port<Item>, number, channel, amount| {
        let reaction = port.receive_tlp(Sequence::new(number), good, channel, Class::NonPosted, amount, now);
        (reaction.error, reaction.taken, reaction.dropped)
    };
    assert_eq!(tlp(&mut port, 0, 0, one), (None, true, false));
    let overflow = (Some(LinkError::ReceiverOverflow), false, true);
    assert_eq!(tlp(&mut port, 1, 0, one), overflow);
    port.free(0, Class::NonPosted, one, now);
    assert_eq!(tlp(&mut port, 2, 0, Amount { headers: 1, data: 5 }), overflow);
    assert_eq!(tlp(&mut port, 3, 0, one), (None, true, false), "what was dropped took nothing");
    assert_eq!(tlp(&mut port, 4, 1, one), (None, false, true), "a channel that isn't enabled has no buffer");
    assert_eq!(tlp(&mut port, 6, 0, one), (Some(LinkError::BadTlp), false, false));
    assert!(!port.receiver().has_taken(Sequence::new(5)) && port.receiver().has_taken(Sequence::new(4)));
}

/// An UpdateFC goes at once if the other end may be waiting for it, else when the limit is over; a Nak before all else.
#[test]
fn what_goes_first() {
    let mut line = Line::new(&settings(3, &[[(8, 64); 3]]), 1);
    line.up();
    line.settle();
    let mut port = line.ports[0].clone();
    let now = Time::ms(1);
    let amount = Amount { headers: 1, data: 8 };
    for number in 0..2 {
        port.receive_tlp(Sequence::new(number), Integrity::Good, 0, Class::Posted, amount, now);
    }
    let limit = ack_latency(3, 8, 128);
    port.free(0, Class::Posted, amount, now);
    assert_eq!(port.due(), Some(now + limit), "there's no hurry");
    let item = Item { number: 0, channel: 0, class: Class::Posted, payload: 0 };
    assert!(port.take_credits(0, Class::Posted, Amount { headers: 1, data: 0 }));
    for _ in 0..6 {
        port.receive_tlp(Sequence::new(9), Integrity::Bad, 0, Class::Posted, amount, now);
    }
    let later = now + limit;
    let mut order = Vec::new();
    while let Some(frame) = port.next(later, |_| Time::ZERO) {
        order.push(frame);
    }
    assert!(port.takes_tlp(12, later));
    order.push(port.start(item, 12, later, Time::ZERO));
    let headers = port.channels[0].ledgers[0].headers.field();
    let data = port.channels[0].ledgers[0].data.field();
    let update = Dllp::FlowControl { stage: FcStage::Update, class: Class::Posted, channel: 0, headers, data };
    let tlp = Frame::Tlp { sequence: Sequence::new(0), item, bytes: 12, again: false };
    assert_eq!(order, [Frame::Dllp(Dllp::Nak(Sequence::new(1))), Frame::Dllp(update), tlp]);
    // The buffer is full, so what's freed is told at once.
    let mut port = line.ports[0].clone();
    for number in 0..8 {
        port.receive_tlp(Sequence::new(number), Integrity::Good, 0, Class::Posted, amount, now);
    }
    port.free(0, Class::Posted, amount, now);
    assert!(matches!(port.next(now, |_| Time::ZERO), Some(Frame::Dllp(Dllp::FlowControl { .. }))));
}

/// What still stands in the buffer when the link is down isn't given back to the next life of the link.
#[test]
fn buffers_outlive_the_link() {
    let mut line = Line::new(&settings(3, &[[(4, 64), (4, 64), (4, 64)]]), 1);
    line.hold = (50_000_000, 50_000_000);
    line.up();
    line.settle();
    let item = |number| Item { number, channel: 0, class: Class::Posted, payload: 64 };
    (0..4).for_each(|number| line.waiting[0].push_back(item(number)));
    for _ in 0..40 {
        line.serve();
        line.now += Time::ns(100);
        while let Some(first) = line.plan.first_entry().filter(|first| first.key().0 <= line.now) {
            let (end, what) = first.remove();
            line.arrive(end, what);
        }
    }
    assert_eq!(line.got[1].len(), 4);
    assert_eq!(line.ports[0].credits(0, Class::Posted), Some(Amount { headers: 0, data: 48 }));
    let mut open = 0;
    line.ports[0].link_down(|_, _| open += 1);
    line.ports[1].link_down(|_, _| open += 1);
    assert_eq!(open, 0, "all were acknowledged");
    line.up();
    line.settle();
    for port in &line.ports {
        assert_eq!(port.state(), LinkState::Active);
    }
    assert_eq!(line.ports[0].credits(0, Class::Posted), Some(Amount { headers: 4, data: 64 }));
    assert_eq!(line.ports[1].allowed(0, Class::Posted), Some(Amount { headers: 4, data: 64 }));
    line.hold = (0, 0);
    (4..100).for_each(|number| line.waiting[0].push_back(item(number)));
    line.settle();
    assert_eq!(line.got[1].len(), 100);
    assert_eq!(line.ports[0].credits(0, Class::Posted), Some(Amount { headers: 4, data: 64 }));
}
