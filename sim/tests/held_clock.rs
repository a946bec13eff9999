//! The clock of a root complex, held while software outside the simulation keeps its programs waiting: time limits and sleeps are as long as
//! ever on that clock.

mod common;

use std::sync::{Arc, Mutex};

use common::agent::Manner;
use common::plant::{Plant, Recorder, Spec, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::host::{AccessError, Host};
use mlx5_twin_sim::tlp::{Header, Status};
use proptest::prelude::*;

/// The completion timeout of a plant.
const TIMEOUT: Time = Time::us(common::TIMING.completion_timeout_us);

/// A place for what a program gives, with the time on its own clock.
type Given<T> = Arc<Mutex<Option<(Time, T)>>>;

fn taken<T: Clone>(given: &Given<T>) -> Option<(Time, T)> {
    given.lock().unwrap().clone()
}

/// Starts a program that gives something.
fn start<T, F>(plant: &mut Plant, program: impl FnOnce(Host) -> F) -> Given<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let host = plant.simulation.host(plant.root);
    let (given, here) = (Given::default(), host.clone());
    let (place, program) = (Arc::clone(&given), program(host));
    plant.simulation.spawn(async move {
        let value = program.await;
        *place.lock().unwrap() = Some((here.now(), value));
    });
    given
}

fn fabric_now(plant: &Plant) -> Time {
    plant.simulation.fabric().now()
}

fn own_now(plant: &Plant) -> Time {
    plant.simulation.fabric().own_time(plant.root)
}

/// Lets time pass on the fabric's clock.
fn pass(plant: &mut Plant, span: Time) {
    let until = fabric_now(plant) + span;
    while plant.simulation.next_time().is_some_and(|next| next <= until) {
        plant.simulation.step();
    }
    assert_eq!(plant.simulation.advance_to(until), until);
}

fn hold(plant: &mut Plant, span: Time) {
    let own = own_now(plant);
    let root = plant.root;
    plant.simulation.hold_clock(root, true);
    pass(plant, span);
    assert_eq!(own_now(plant), own, "it's held");
    plant.simulation.hold_clock(root, false);
    assert_eq!(own_now(plant), own, "it goes on from where it was");
}

/// Runs until a program has given something. A tag rests for a while after a time-out, so the fabric isn't at rest then.
fn wait<T: Clone>(plant: &mut Plant, given: &Given<T>) -> (Time, T) {
    while taken(given).is_none() && plant.simulation.step() {}
    taken(given).expect("an end")
}

/// A plant whose agent answers no request of memory.
fn mute() -> Plant {
    let mut plant = single(&Spec::default());
    plant.settle();
    plant.agent(0, |agent, _| agent.manner = Manner::Mute);
    plant
}

/// Begins a read.
fn read(plant: &mut Plant) -> Given<Result<u32, AccessError>> {
    let bar = plant.function(0).1;
    start(plant, |host| async move { host.read32(bar + 8).await })
}

/// Lets the agent answer the read that it has kept.
fn answer(plant: &mut Plant) {
    let id = plant.function(0).0;
    let request = plant.agent(0, |agent, _| agent.received.pop()).expect("a request").header;
    let completion = Header::completion_for(&request, id, Status::Successful).unwrap();
    plant.send(0, completion, &0x1234_5678_u32.to_le_bytes());
}

/// When a read that isn't answered ends, from its beginning on the own clock and on the fabric's, if the clock is held so long after so much time.
fn times_out(holds: &[(Time, Time)]) -> (Time, Time) {
    let mut plant = mute();
    let (own, fabric) = (own_now(&plant), fabric_now(&plant));
    let result = read(&mut plant);
    for &(after, span) in holds {
        pass(&mut plant, after);
        hold(&mut plant, span);
    }
    assert_eq!(taken(&result), None);
    let (at, result) = wait(&mut plant, &result);
    assert!(matches!(result, Err(AccessError::Timeout(_))), "{result:?}");
    assert_eq!(plant.faults().completion_timeout, 1);
    (at.since(own), fabric_now(&plant).since(fabric))
}

#[test]
fn a_read_does_not_time_out_while_the_clock_is_held() {
    let mut plant = mute();
    let result = read(&mut plant);
    pass(&mut plant, Time::us(10));
    let root = plant.root;
    plant.simulation.hold_clock(root, true);
    pass(&mut plant, TIMEOUT + TIMEOUT);
    assert_eq!(taken(&result), None);
    // An answer that comes then is as good as any.
    answer(&mut plant);
    pass(&mut plant, Time::us(10));
    assert_eq!(taken(&result).map(|(_, result)| result), Some(Ok(0x1234_5678)));
    plant.simulation.hold_clock(root, false);
    plant.settle();
    assert_eq!(plant.faults(), Default::default());
}

#[test]
fn a_read_times_out_at_the_right_time_afterwards() {
    let never = times_out(&[]);
    assert_eq!(never, (TIMEOUT, TIMEOUT));
    for holds in [
        &[(Time::ms(10), Time::ms(500))][..],
        &[(Time::ZERO, Time::ms(3))],
        &[(Time::ms(1), Time::ms(1)), (Time::ms(1), Time::ms(200)), (Time::ms(40), Time::us(1))],
        // The last moment.
        &[(TIMEOUT - Time::ps(1), Time::ms(60)), (Time::ZERO, Time::ms(7))],
        &[(Time::ms(49), Time::ms(1)), (Time::us(1), Time::ms(49)), (Time::us(1), Time::ms(50))],
    ] {
        let held = holds.iter().fold(Time::ZERO, |sum, (_, span)| sum + *span);
        assert_eq!(times_out(holds), (TIMEOUT, TIMEOUT + held), "{holds:?}");
    }
}

/// Reads that begin before a hold, in it, and after it.
#[test]
fn each_request_has_its_own_time_limit() {
    let mut plant = mute();
    let own = own_now(&plant);
    let first = read(&mut plant);
    pass(&mut plant, Time::ms(20));
    let root = plant.root;
    plant.simulation.hold_clock(root, true);
    pass(&mut plant, Time::ms(100));
    let second = read(&mut plant);
    pass(&mut plant, Time::ms(100));
    plant.simulation.hold_clock(root, false);
    pass(&mut plant, Time::ms(20));
    let third = read(&mut plant);
    let ends = [first, second, third].map(|result| wait(&mut plant, &result).0.since(own));
    assert_eq!(ends, [TIMEOUT, TIMEOUT + Time::ms(20), TIMEOUT + Time::ms(40)]);
    assert_eq!(fabric_now(&plant).since(own), TIMEOUT + Time::ms(240));
}

#[test]
fn sleeps_are_as_long_as_ever() {
    let mut plant = mute();
    let own = own_now(&plant);
    let sleep = |plant: &mut Plant, ms| start(plant, move |host| async move { host.sleep(Time::ms(ms)).await });
    let early: Vec<_> = [30, 5, 10, 0].map(|ms| (ms, sleep(&mut plant, ms))).into();
    pass(&mut plant, Time::ms(10));
    assert!(early[1..].iter().all(|(_, given)| taken(given).is_some()));
    let root = plant.root;
    plant.simulation.hold_clock(root, true);
    pass(&mut plant, Time::ms(50));
    let late = sleep(&mut plant, 7);
    pass(&mut plant, Time::ms(50));
    assert!(taken(&late).is_none() && taken(&early[0].1).is_none());
    plant.simulation.hold_clock(root, false);
    pass(&mut plant, Time::ms(6));
    hold(&mut plant, Time::ms(1000));
    plant.settle();
    for (ms, given) in &early {
        assert_eq!(taken(given).map(|(at, ())| at.since(own)), Some(Time::ms(*ms)));
    }
    assert_eq!(taken(&late).map(|(at, ())| at.since(own)), Some(Time::ms(17)));
    assert_eq!(fabric_now(&plant).since(own), Time::ms(30 + 100 + 1000));
}

/// A sleep of no length ends while the clock is held; it's no time that passes.
#[test]
fn a_program_goes_on_while_its_clock_is_held() {
    let mut plant = mute();
    plant.agent(0, |agent, _| agent.manner = Manner::Answer);
    let (root, own) = (plant.root, own_now(&plant));
    plant.simulation.hold_clock(root, true);
    let bar = plant.function(0).1;
    let result = start(&mut plant, move |host| async move {
        let first = host.read32(bar).await;
        host.write32(bar, 1).await.unwrap();
        (first, host.read32(bar + 4).await)
    });
    pass(&mut plant, Time::ms(1));
    assert_eq!(taken(&result), Some((own, (Ok(0x0302_0100), Ok(0x0706_0504)))));
}

/// All that a plant does, if `disturb` is called now and then.
fn log(disturb: impl Fn(&mut Plant)) -> (Vec<common::plant::Seen>, Time) {
    let mut plant = mute();
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    let late = read(&mut plant);
    let bar = plant.function(0).1;
    let other = start(&mut plant, move |host| async move {
        for round in 0..20 {
            host.sleep(Time::us(100)).await;
            host.write32(bar, round).await.unwrap();
        }
    });
    for _ in 0..30 {
        disturb(&mut plant);
        pass(&mut plant, Time::us(70));
    }
    plant.settle();
    assert!(taken(&late).is_some() && taken(&other).is_some());
    (recorder.take().transmitted, fabric_now(&plant))
}

#[test]
fn nothing_changes_if_it_is_never_held() {
    let plain = log(|_| {});
    assert!(plain.0.len() > 20);
    let released = log(|plant| {
        let root = plant.root;
        plant.simulation.hold_clock(root, false);
    });
    let no_time = log(|plant| {
        let root = plant.root;
        for hold in [true, true, false, false] {
            plant.simulation.hold_clock(root, hold);
        }
    });
    assert!(plain == released && plain == no_time);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_holds(holds in prop::collection::vec((0_u64..6_000_000_000, 0_u64..200_000_000_000), 0..8)) {
        let holds: Vec<_> = holds.into_iter().map(|(after, span)| (Time::ps(after), Time::ps(span))).collect();
        let held = holds.iter().fold(Time::ZERO, |sum, (_, span)| sum + *span);
        prop_assert_eq!(times_out(&holds), (TIMEOUT, TIMEOUT + held));
    }
}
