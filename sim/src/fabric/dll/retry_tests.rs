use super::super::accept::{Acceptor, Integrity, Verdict};
use super::super::dllp::Dllp;
use super::*;
use crate::rng::Rng;

const LIMIT: Time = Time::us(1);
const N: fn(u16) -> Sequence = Sequence::new;

fn with(count: u32) -> Retry<u32> {
    let mut one = Retry::new(1 << 20, LIMIT);
    for n in 0..count {
        one.send(n, 100, Time::ns(n.into()));
    }
    one
}

fn purged(one: &mut Retry<u32>, named: u16, is_nak: bool) -> (Vec<u32>, Option<Replay>) {
    let mut items = Vec::new();
    let done = one.acknowledge(N(named), is_nak, Time::us(9), |entry| items.push(entry.item)).unwrap();
    assert_eq!(usize::from(done.purged), items.len());
    (items, done.replay)
}

#[test]
fn acks_purge_what_they_name_and_all_before() {
    let mut one = with(5);
    assert_eq!((one.next_sequence(), one.acked(), one.bytes()), (N(5), N(0xfff), 500));
    assert_eq!(one.timer(), Some(LIMIT), "from the first one's end");
    assert_eq!(purged(&mut one, 2, false), (vec![0, 1, 2], None));
    assert_eq!((one.acked(), one.bytes(), one.timer()), (N(2), 200, Some(Time::us(10))));
    assert_eq!(purged(&mut one, 2, false), (vec![], None), "the same again is nothing");
    assert_eq!(purged(&mut one, 4, false), (vec![3, 4], None));
    assert_eq!((one.bytes(), one.timer()), (0, None));
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged() {
    for count in [0_u32, 1, 100] {
        let mut one = with(count);
        let sent = N(count as u16).previous();
        // The last one sent is right, and so is what was acknowledged last; beyond both it's wrong.
        for named in [sent.next(), N(count as u16 + 500), N(0xffe)] {
            let error = ProtocolError { named, acked: N(0xfff), sent };
            assert_eq!(one.acknowledge(named, false, Time::ZERO, |_| panic!("nothing is purged")), Err(error));
        }
        assert!(one.acknowledge(N(0xfff), false, Time::ZERO, |_| panic!("nothing is purged")).is_ok());
        assert!(one.acknowledge(sent, false, Time::ZERO, |_| ()).is_ok());
    }
}

#[test]
fn a_nak_replays_the_rest_in_order() {
    let mut one = with(5);
    assert_eq!(purged(&mut one, 1, true), (vec![0, 1], Some(Replay::Begins)));
    assert!(one.is_replaying() && !one.may_send(0));
    assert_eq!(one.timer(), None, "held until the first one has gone");
    let mut again = Vec::new();
    while let Some(entry) = one.next_replay() {
        again.push((entry.sequence.value(), entry.item));
        one.replay_sent(Time::us(20));
    }
    assert_eq!(again, [(2, 2), (3, 3), (4, 4)]);
    assert!(!one.is_replaying() && one.may_send(0));
    assert_eq!(one.timer(), Some(Time::us(21)));
    assert_eq!(one.send(7, 1, Time::us(20)), N(5));
}

/// An Ack during a replay: what it names isn't sent again.
#[test]
fn acks_shorten_a_replay() {
    let mut one = with(6);
    purged(&mut one, 0, true);
    one.replay_sent(Time::ZERO);
    assert_eq!(one.next_replay().unwrap().item, 2);
    assert_eq!(purged(&mut one, 3, false).0, [1, 2, 3]);
    assert_eq!(one.next_replay().unwrap().item, 4);
    assert_eq!(purged(&mut one, 5, false).0, [4, 5]);
    assert!(!one.is_replaying());
}

/// The fourth replay without progress waits for the link to be retrained; progress sets REPLAY_NUM back.
#[test]
fn replay_num_rolls_over() {
    let mut one = with(2);
    let replay_all = |one: &mut Retry<u32>| {
        while one.next_replay().is_some() {
            one.replay_sent(Time::ZERO);
        }
    };
    for expected in [Replay::Begins, Replay::Begins, Replay::Begins, Replay::AfterRetraining, Replay::Begins] {
        assert_eq!(one.expired(), Some(expected));
        replay_all(&mut one);
    }
    assert_eq!(purged(&mut one, 0, true), (vec![0], Some(Replay::Begins)));
    assert_eq!(one.replay_num(), 1);
    assert_eq!(purged(&mut one, 0, true), (vec![], Some(Replay::Begins)));
    assert_eq!(one.replay_num(), 2);
    assert_eq!(purged(&mut one, 1, true), (vec![1], None));
    assert_eq!(one.expired(), None, "there's nothing to be sent again");
}

#[test]
fn bounds_of_the_buffer_and_of_numbers() {
    let mut one = Retry::new(1000, LIMIT);
    assert!(one.may_send(5000), "an empty one takes any");
    one.send(0, 400, Time::ZERO);
    assert!(one.may_send(600) && !one.may_send(601));
    let mut one = with(0);
    let mut count = 0;
    while one.may_send(0) {
        one.send(count, 0, Time::ZERO);
        count += 1;
    }
    assert_eq!(count, 2047);
    purged(&mut one, 0, false);
    assert!(one.may_send(0));
}

/// Transmitter and receiver over a line that breaks TLPs and loses TLPs, Acks and Naks: each TLP comes up once, in order, and the counters
/// wrap many times.
#[test]
fn nothing_is_lost_doubled_or_swapped() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let (errors, total) = (rng.range(0, 30), 20_000_u32);
        let mut sender: Retry<u32> = Retry::new(rng.range(500, 100_000) as u32, LIMIT);
        let mut receiver = Acceptor::new();
        let (mut sent, mut got, mut now) = (0, 0, Time::ZERO);
        let (mut tlps, mut dllps) = (VecDeque::new(), VecDeque::new());
        let mut retrained = 0;
        while got < total || sender.unacknowledged().len() > 0 {
            now += Time::ns(rng.range(1, 20));
            let note = |replay: Option<Replay>| u32::from(replay == Some(Replay::AfterRetraining));
            match rng.range(0, 3) {
                0 => {
                    if let Some(entry) = sender.next_replay().copied() {
                        sender.replay_sent(now);
                        tlps.push_back((entry.sequence, entry.item));
                    } else if sent < total && sender.may_send(100) {
                        tlps.push_back((sender.send(sent, 100, now), sent));
                        sent += 1;
                    }
                }
                1 => {
                    let Some((sequence, item)) = tlps.pop_front() else { continue };
                    let luck = rng.range(0, 99);
                    if luck < errors / 2 {
                        continue;
                    }
                    let integrity = if luck < errors { Integrity::Bad } else { Integrity::Good };
                    if receiver.receive(sequence, integrity, now, Time::ns(40)) == Verdict::Taken {
                        assert_eq!(item, got, "seed {seed}");
                        got += 1;
                    }
                }
                2 => {
                    if receiver.due().is_some_and(|due| due <= now) {
                        dllps.push_back(receiver.take());
                    }
                }
                _ => {
                    if sender.timer().is_some_and(|at| at <= now) {
                        retrained += note(sender.expired());
                    }
                    let Some(dllp) = dllps.pop_front().filter(|_| rng.range(0, 99) >= errors) else { continue };
                    let (named, is_nak) = match dllp {
                        Dllp::Ack(named) => (named, false),
                        Dllp::Nak(named) => (named, true),
                        other => panic!("{other:?}"),
                    };
                    retrained += note(sender.acknowledge(named, is_nak, now, |_| ()).unwrap().replay);
                }
            }
            assert!(now < Time::ms(200), "seed {seed}: it goes on for ever");
        }
        assert_eq!((sent, got, sender.bytes()), (total, total, 0), "seed {seed}, {retrained} retrainings");
    }
}
