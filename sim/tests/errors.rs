//! What goes wrong on a bus: nobody home, a target that refuses, isn't ready, or never answers.

mod common;

use common::agent::Manner;
use common::plant::{Shape, Spec, bare, configure, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{Faults, Outcome, Requester};
use mlx5_twin_sim::host::{AccessError, Settings};
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, Status};

/// A completion timeout of 1 ms.
fn impatient() -> Spec {
    Spec { timing: Timing { completion_timeout_us: 1_000, ..common::TIMING }, ..Spec::default() }
}

#[test]
fn an_unclaimed_read_is_an_unsupported_request() {
    let mut plant = single(&Spec::default());
    let bar = plant.function(0).1;
    // Within the window of the bridges, beyond the BAR: the agent itself refuses it.
    let beyond = bar + common::agent::BAR;
    let read = plant.run(move |host| async move { host.read32(beyond).await });
    assert_eq!(read, Err(AccessError::UnsupportedRequest(beyond)));
    assert_eq!(plant.faults(), Faults { unsupported_request: 1, ..Faults::default() });
    // A posted write is lost, as on a real bus, but counted.
    assert_eq!(plant.run(move |host| async move { host.write32(beyond, 1).await }), Ok(()));
    plant.settle();
    assert_eq!(plant.faults().unsupported_request, 2);
}

#[test]
fn a_completer_aborts() {
    let mut plant = single(&Spec::default());
    let bar = plant.function(0).1;
    plant.agent(0, |agent, _| agent.manner = Manner::Abort);
    let read = plant.run(move |host| async move { host.read32(bar).await });
    assert_eq!(read, Err(AccessError::CompleterAbort(bar)));
    assert_eq!(plant.faults(), Faults { completer_abort: 1, ..Faults::default() });
}

#[test]
fn crs_is_retried_until_the_function_is_ready() {
    let mut plant = single(&Spec::default());
    let id = plant.function(0).0;
    let ready = plant.simulation.fabric().now() + Time::ms(30);
    plant.agent(0, |agent, _| agent.manner = Manner::NotReady(ready));
    let (identity, at) = plant.run(move |host| async move { (host.config_read(id, 0).await, host.now()) });
    assert_eq!(identity, Ok(0x0004_fff1));
    assert!(at >= ready && at < ready + Time::ms(1), "answered at {at}, ready at {ready}");
    let asked = plant.agent(0, |agent, _| agent.received.len());
    assert!((100..=400).contains(&asked), "asked {asked} times in 30 ms");
}

#[test]
fn crs_is_given_up_after_a_second() {
    let mut plant = single(&Spec::default());
    let id = plant.function(0).0;
    plant.agent(0, |agent, _| agent.manner = Manner::NotReady(Time::MAX));
    let begin = plant.simulation.fabric().now();
    let (error, at) = plant.run(move |host| async move { (host.config_read(id, 0).await, host.now()) });
    assert_eq!(error, Err(AccessError::NotReady(u64::from(id.0) << 12)));
    let span = at.since(begin);
    assert!(span >= Time::ms(1_000) && span < Time::ms(1_001), "given up after {span}");
}

#[test]
fn enumeration_waits_for_a_slow_function() {
    let mut plant = bare(&[Shape::Agent], &Spec::default());
    plant.agent(0, |agent, _| agent.manner = Manner::NotReady(Time::ms(200)));
    let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
    let found = plant.run(move |host| async move { configure(&host, settings).await });
    assert_eq!(found.len(), 2);
    assert!(plant.simulation.fabric().now() >= Time::ms(200));
}

#[test]
fn a_mute_device_times_out_and_the_tag_rests() {
    let mut plant = single(&impatient());
    let bar = plant.function(0).1;
    plant.agent(0, |agent, _| agent.manner = Manner::Mute);
    let begin = plant.simulation.fabric().now();
    let (error, at) = plant.run(move |host| async move { (host.read32(bar).await, host.now()) });
    assert_eq!(error, Err(AccessError::Timeout(bar)));
    let span = at.since(begin);
    assert!(span >= Time::ms(1) && span < Time::us(1_001), "timed out after {span}");
    assert_eq!(plant.faults().completion_timeout, 1);
    // The late completion is unexpected, and the reads that come after it get their own data.
    let request = plant.agent(0, |agent, _| agent.received[0].header);
    plant.agent(0, |agent, _| agent.manner = Manner::Answer);
    let late = Header::completion_for(&request, plant.function(0).0, Status::Successful).unwrap();
    plant.send(0, late, &[0xee; 4]);
    let read = plant.run(move |host| async move {
        let mut tags = Vec::new();
        for offset in 0..300 {
            tags.push(host.read32(bar + offset * 4).await);
        }
        tags
    });
    let right = |(offset, value): (u32, &Result<u32, AccessError>)| {
        let bytes = [0, 1, 2, 3].map(|byte| (offset * 4 + byte) as u8);
        *value == Ok(u32::from_le_bytes(bytes))
    };
    assert!((0..).zip(&read).all(right));
    assert_eq!(plant.faults().unexpected_completion, 1);
    let used: Vec<u16> = plant.agent(0, |agent, _| agent.received[1..].iter().map(|r| r.header.tag()).collect());
    assert!(!used.contains(&request.tag()), "a tag was used again while it rested");
}

#[test]
fn a_tag_comes_back_after_its_rest() {
    let mut requester = Requester::new(1, Time::us(10));
    let (tag, call) = requester.begin(7, 4, 0, Time::ZERO).unwrap();
    assert_eq!(call, Some(Time::us(10)));
    let mut late = Vec::new();
    assert_eq!(requester.expire(Time::us(10), |token| late.push(token)), Some(Time::us(20)));
    assert_eq!((late, requester.has_tag(), requester.outstanding()), (vec![7], false, 0));
    let read = Header::mem_read_bytes(Bdf(0), tag, 0, 4).unwrap();
    let completion = Header::completion_for(&read, Bdf(8), Status::Successful).unwrap();
    assert_eq!(requester.complete(&completion), Outcome::Unexpected);
    assert_eq!(requester.expire(Time::us(20), |_| panic!("nothing is late")), None);
    assert!(requester.has_tag());
    assert_eq!(requester.begin(8, 4, 0, Time::us(20)), Some((tag, Some(Time::us(30)))));
}

/// What a completion must have in common with the request that it answers.
#[test]
fn completions_that_do_not_fit_are_unexpected() {
    let id = Bdf::new(1, 0, 0);
    let completion = |tag, byte_count, lower, dwords| {
        Header::completion(Bdf(8), id, tag, Status::Successful, byte_count, lower, dwords, 0, Attr::NONE).unwrap()
    };
    let mut requester = Requester::new(4, Time::us(10));
    let (tag, _) = requester.begin(1, 128, 0x40, Time::ZERO).unwrap();
    let table = [
        ("another tag", completion(tag + 1, 128, 0x40, 32)),
        ("no such tag", completion(900, 128, 0x40, 32)),
        ("wrong byte count", completion(tag, 64, 0x40, 16)),
        ("wrong lower address", completion(tag, 128, 0x44, 32)),
        ("no data", completion(tag, 128, 0x40, 0)),
    ];
    for (what, completion) in table {
        assert_eq!(requester.complete(&completion), Outcome::Unexpected, "{what}");
    }
    let data = |offset, done| Outcome::Data { token: 1, offset, skip: 0, len: 64, done };
    assert_eq!(requester.complete(&completion(tag, 128, 0x40, 16)), data(0, false));
    assert_eq!(requester.complete(&completion(tag, 128, 0x40, 16)), Outcome::Unexpected, "the same again");
    assert_eq!(requester.complete(&completion(tag, 64, 0, 16)), data(64, true));
    assert_eq!(requester.complete(&completion(tag, 64, 0, 16)), Outcome::Unexpected, "all of it again");
}

#[test]
fn a_completion_for_another_function_of_the_bus_is_unexpected() {
    let mut plant = single(&Spec::default());
    let id = plant.function(0).0;
    plant.agent(0, |agent, core| agent.dma_read(core, 0x1000, 64, 1));
    // The first tag is out; a completion with it, but for function 3, comes first.
    let other = Bdf::new(id.bus(), 0, 3);
    let read = Header::mem_read_bytes(other, 0, 0x1000, 64).unwrap();
    let stray = Header::completion_for(&read, Bdf(0), Status::Successful).unwrap();
    let mut neighbour = stray;
    neighbour.set_requester(other);
    plant.agent(0, |agent, core| {
        let tlp = core.create(neighbour);
        core.payload_mut(tlp).fill(0xee);
        mlx5_twin_sim::fabric::Device::receive(agent, core, agent.function.port(), tlp);
    });
    plant.settle();
    assert_eq!(plant.faults().unexpected_completion, 1);
    let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].result, Ok(vec![0; 64]));
}
