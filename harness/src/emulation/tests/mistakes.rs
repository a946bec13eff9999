//! Each mistake of emulation software: what the device counts, what the host sees, what the software itself gets to know.
//!
//! What the host sees is the PCIe base specification's: a completion that answers no outstanding request is an Unexpected Completion and is
//! discarded (2.3.2); a request whose completion doesn't come ends with a Completion Timeout (2.8).

use std::sync::Arc;

use mlx5_twin_sim::host::{AccessError, Host};
use mlx5_twin_sim::time::Time;

use super::super::{Error, Function, Request};
use super::plant::{self, described, faults, find, start};
use crate::backend::Wake;
use crate::channel::inject::{Injection, Plan, while_running};

/// Where the software writes in the host's memory when the host writes to [`SEND`].
const BUFFER: u64 = 0x10_0000;
const SEND: u64 = 0x800;

/// Answers reads with their offset, and writes to the host's memory what is written to [`SEND`].
fn serve(function: &mut Function) -> Result<(), Error> {
    while let Some(request) = function.next()? {
        match request {
            Request::Read(read) => function.complete(read.id, &read.data(|offset, _| offset as u32 | 0xab00_0000))?,
            Request::Write(write) if write.at.offset == SEND => function.memory_write(BUFFER, &write.data)?,
            _ => {}
        }
    }
    Ok(())
}

/// What the host saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Four reads, of which the second one may be spoilt, and one after a reset.
    reads: Vec<Option<u32>>,
    /// What the software wrote to memory: once, then again.
    sent: Vec<u32>,
}

async fn host_program(host: Host) -> Seen {
    let place = find(&host).await;
    let mut seen = Seen::default();
    let read = async |offset: u64| match host.read32(place.bar + offset).await {
        Ok(value) => Some(value),
        Err(AccessError::Timeout(_)) => None,
        Err(error) => panic!("{error}"),
    };
    for offset in [0, 4, 8, 12] {
        seen.reads.push(read(offset).await);
    }
    for value in [0x1111, 0x2222] {
        host.write32(place.bar + SEND, value).await.expect("a posted write");
        host.sleep(Time::us(50)).await;
        let bytes = host.load(BUFFER, 4).await.expect("memory");
        seen.sent.push(u32::from_le_bytes(bytes.try_into().expect("four")));
    }
    // A function-level reset, and what a host does after it.
    if host.config_write_bytes(place.id, place.device_control, 0b0011, 1 << 15).await.is_ok() {
        host.sleep(Time::ms(100)).await;
        let configured = host.config_write(place.id, 4, place.bar as u32).await.is_ok()
            && host.config_write_bytes(place.id, 1, 0b0011, 0b110).await.is_ok();
        if configured {
            seen.reads.push(read(16).await);
        }
    }
    seen
}

/// What a mistake leads to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    made: u64,
    /// What the device counted.
    counted: Vec<(String, u64)>,
    seen: Seen,
    unexpected: u64,
    timeouts: u64,
    /// How the software ended.
    software: Result<(), String>,
}

fn run(injection: &str, unchecked: bool) -> Outcome {
    let sim = plant::machine(3);
    let seen = start(&sim, host_program(sim.host()));
    let injection: Injection = injection.parse().expect("a mistake");
    let plan = Plan::new(vec![injection]);
    let plan = Arc::new(if unchecked { plan.unchecked() } else { plan });
    let context = sim.open().expect("opens");
    let (software, counted) = while_running(&plan, || {
        let mut function = Function::claim(context, &described().credits(1)).expect("is free");
        let software = serve(&mut function).map_err(|error| error.to_string());
        // Before the function goes: then the device ends what is still open, which is late for the host.
        (software, faults(&sim))
    });
    // If the software ended early, the host goes on without it.
    let idle = sim.open().expect("opens");
    while idle.wait(None) != Ok(Wake::Silent) {}
    drop(idle);
    let outcome = plan.outcome();
    let seen = seen.lock().expect("no panic").take().expect("the host has ended");
    sim.shut_down().expect("nothing is open");
    Outcome {
        made: outcome.made[0],
        counted: outcome.faults.into_iter().collect(),
        seen,
        unexpected: counted.unexpected_completion,
        timeouts: counted.completion_timeout,
        software,
    }
}

/// What the host sees if all goes well.
fn well() -> Seen {
    let reads = [0, 4, 8, 12, 16].map(|offset| Some(0xab00_0000 | offset));
    Seen { reads: reads.into(), sent: vec![0x1111, 0x2222] }
}

#[test]
fn each_mistake() {
    let good = well;
    let second_lost = || {
        let mut seen = well();
        seen.reads[1] = None;
        seen
    };
    type Case = (&'static str, bool, Option<&'static str>, Seen, u64, u64);
    // Mistake; unchecked; what the device counts; what the host sees; unexpected completions and timeouts.
    #[rustfmt::skip]
    let table: [Case; 17] = [
        ("no-completion@2", false, None, second_lost(), 0, 1),
        ("no-completion@2", true, None, second_lost(), 0, 1),
        ("two-completions@2", false, Some("Request"), good(), 0, 0),
        ("two-completions@2", true, Some("Request"), good(), 1, 0),
        ("wrong-tag@2", false, Some("Transaction"), second_lost(), 0, 1),
        ("wrong-tag@2", true, Some("Transaction"), second_lost(), 1, 1),
        ("wrong-requester@2", false, Some("Transaction"), second_lost(), 0, 1),
        ("wrong-requester@2", true, Some("Transaction"), second_lost(), 1, 1),
        ("too-long@2", false, Some("ByteCount"), second_lost(), 0, 1),
        ("too-long@2", true, Some("ByteCount"), second_lost(), 1, 1),
        // By the time of the reset the host has given up.
        ("after-reset@2", false, Some("AfterReset"), second_lost(), 0, 1),
        ("after-reset@2", true, Some("AfterReset"), second_lost(), 1, 1),
        ("credit-twice", false, Some("Credit"), good(), 0, 0),
        ("credit-twice@2", true, Some("Credit"), good(), 0, 0),
        ("no-credit@9", false, None, good(), 0, 0),
        ("ring-overflow@7", false, Some("ConsumerIndex"), good(), 0, 0),
        ("ring-overflow@30", true, Some("ConsumerIndex"), good(), 0, 0),
    ];
    for (mistake, unchecked, fault, seen, unexpected, timeouts) in table {
        let made = u64::from(mistake != "no-credit@9");
        let counted = fault.map(|fault| (fault.to_owned(), 1)).into_iter().collect();
        let expected = Outcome { made, counted, seen, unexpected, timeouts, software: Ok(()) };
        assert_eq!(run(mistake, unchecked), expected, "{mistake}, unchecked: {unchecked}");
    }
    // The device didn't take the credit that the program thinks is spent: there's none for the second write.
    let no_credit = run("no-credit", false);
    let ended = Err(Error::NoCredit.to_string());
    assert_eq!((no_credit.counted, no_credit.software), (vec![("Credit".to_owned(), 1)], ended));
    assert_eq!(no_credit.seen.sent, [0, 0], "neither arrives");
}

/// A program that polls no more: what isn't answered times out, and the host goes on.
#[test]
fn a_program_that_stops() {
    for number in [1, 20, 60] {
        let mistake = format!("stop-polling@{number}");
        let sim = plant::machine(3);
        let ended = start(&sim, {
            let host = sim.host();
            async move {
                let settings = mlx5_twin_sim::host::Settings {
                    map: mlx5_twin_sim::host::AddressMap::default(),
                    max_payload: 256,
                    max_read_request: 512,
                };
                mlx5_twin_sim::host::enumerate(&host, settings).await.is_ok()
            }
        });
        let plan = Arc::new(Plan::new(vec![mistake.parse().expect("a mistake")]));
        let context = sim.open().expect("opens");
        while_running(&plan, || {
            let mut function = Function::claim(context, &described()).expect("is free");
            serve(&mut function).expect("it just stops");
        });
        assert!(ended.lock().expect("no panic").is_some(), "{mistake}: the host's program has ended");
        let stopped = plan.outcome().made == [1];
        assert_eq!(faults(&sim).completion_timeout > 0, stopped, "{mistake}");
        sim.shut_down().expect("nothing is open");
    }
}
