//! A channel that keeps the order of requests: what is answered here waits its turn, what the author answers out of turn is refused.

use super::super::{Error, Order, RequestId};
use super::*;

fn strict() -> Rig {
    let mut rig = Rig::new(&described(1).order(Order::Strict));
    rig.set_up();
    rig
}

fn read(rig: &mut Rig, offset: u32) -> RequestId {
    rig.read(offset, 4);
    match rig.poll() {
        Some(Request::Read(read)) => read.id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_author_answers_in_turn() {
    let mut rig = strict();
    let ids = [0, 4, 8].map(|offset| read(&mut rig, offset));
    let refused = |id| Err(Error::OutOfOrder { id, oldest: ids[0] });
    assert_eq!(rig.function.complete(ids[1], &[0; 4]), refused(ids[1]));
    assert_eq!(rig.function.abort(ids[2], Status::CompleterAbort), refused(ids[2]));
    assert!(rig.sent().is_empty());
    for (number, id) in ids.into_iter().enumerate() {
        rig.function.complete(id, &[number as u8; 4]).unwrap();
    }
    assert_eq!(rig.sent().iter().map(|sent| sent.payload[0]).collect::<Vec<_>>(), [0, 1, 2]);
    rig.assert_no_faults();
}

/// Configuration requests and what isn't supported are answered without the author, but not before their turn; what they lead to is reported then.
#[test]
fn what_is_answered_here_waits() {
    let mut rig = strict();
    let first = read(&mut rig, 0);
    rig.config_read(0);
    rig.config_write(COMMAND, 0b0011, 0b010);
    let atomic = Header::atomic(mlx5_twin_sim::tlp::Atomic::FetchAdd, HOST, 0, u64::from(BAR), 8).unwrap();
    rig.deliver(atomic, &[0; 8]);
    let last = read(&mut rig, 4);
    rig.config_read(1);
    assert_eq!(rig.poll(), None);
    assert!(rig.sent().is_empty());
    assert!(rig.function.config().unwrap().command().bus_master(), "not yet");
    rig.function.complete(first, &[1; 4]).unwrap();
    let sent = rig.sent();
    let kinds: Vec<_> = sent.iter().map(|sent| (sent.header.status(), sent.payload.len())).collect();
    let ok = Status::Successful;
    assert_eq!(kinds, [(ok, 4), (ok, 4), (ok, 0), (Status::UnsupportedRequest, 0)]);
    assert_eq!(sent[1].payload, [0xf1, 0xff, 2, 0]);
    assert_eq!(rig.poll(), Some(Request::Configured(mlx5_twin_sim::config::Changed::COMMAND)));
    assert!(!rig.function.config().unwrap().command().bus_master());
    assert_eq!(rig.poll(), None);
    rig.function.complete(last, &[2; 4]).unwrap();
    assert_eq!(rig.sent().len(), 2, "and the last configuration read");
    rig.assert_no_faults();
}

#[test]
fn who_wants_configuration_requests_answers_in_turn_too() {
    let mut rig = Rig::new(&described(1).order(Order::Strict).forward_configuration());
    let ask = |rig: &mut Rig| {
        rig.config_read(0);
        match rig.poll() {
            Some(Request::Configuration(configuration)) => configuration.id,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (ask(&mut rig), ask(&mut rig));
    assert_eq!(rig.function.answer(second), Err(Error::OutOfOrder { id: second, oldest: first }));
    assert_eq!((rig.function.answer(first), rig.function.answer(second)), (Ok(None), Ok(None)));
    assert_eq!(rig.sent().len(), 2);
}
