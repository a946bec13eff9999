//! A program that is told to end while its host is always busy.

use super::{COMMAND, Rig, described};
use crate::emulation::{Function, Request};

/// What may still be taken: what the ring holds, and what comes before the next look.
fn most(rig: &Rig) -> usize {
    256 + 16 + rig.function.credits()
}

/// Serves until it's over, or too much has been: how many requests.
fn serve(rig: &mut Rig, next: fn(&mut Function) -> Option<Request>, mut host: impl FnMut(&mut Rig)) -> usize {
    for count in 0..2000 {
        host(rig);
        match next(&mut rig.function) {
            Some(Request::Read(read)) => rig.function.complete(read.id, &[0; 4]).unwrap(),
            Some(_) => {}
            None if rig.function.is_silent() => return count,
            None => panic!("there's always a request"),
        }
    }
    panic!("it goes on and on");
}

#[test]
fn a_busy_host_keeps_nobody_from_ending() {
    let calls: [fn(&mut Function) -> Option<Request>; 3] = [
        |function| function.next().unwrap(),
        |function| function.next_within(std::time::Duration::ZERO).unwrap(),
        |function| function.poll().unwrap(),
    ];
    for next in calls {
        let mut rig = Rig::ready();
        rig.fake.on_wait(|_| true);
        rig.fake.device().stopped = true;
        let served = serve(&mut rig, next, |rig| {
            rig.read(0, 4);
        });
        assert!((1..=most(&rig)).contains(&served), "{served}");
        // It stays so.
        assert!(next(&mut rig.function).is_none() && rig.function.is_silent());
        rig.assert_no_faults();
    }
}

/// Nor do requests of which the program hears nothing, since they're answered for it.
#[test]
fn configuration_requests_do_not_either() {
    let mut rig = Rig::ready();
    rig.fake.on_wait(|_| true);
    rig.fake.device().stopped = true;
    for _ in 0..2000 {
        rig.config_read(COMMAND);
    }
    assert_eq!((rig.function.next().unwrap(), rig.function.is_silent()), (None, true));
    let answered = rig.sent().len();
    assert!((256..=most(&rig)).contains(&answered), "{answered}");
}

/// What is in the ring of a channel that hands over is taken, whatever was asked for.
#[test]
fn draining_goes_on_to_its_end() {
    let mut rig = Rig::new(&described(1));
    rig.set_up();
    rig.fake.device().stopped = true;
    let served = serve(
        &mut rig,
        |function| function.next().unwrap(),
        |rig| {
            rig.read(0, 4);
        },
    );
    assert!(served > 0 && rig.function.is_silent());
    rig.function.channel.primary = false;
    assert!(matches!(rig.function.channel.take(), Ok(Some((_, Request::Read(_))))));
}
