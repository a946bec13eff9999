//! Two programs, each with a context and a thread of its own, hand a function over while a host uses it without a pause.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlx5_twin_sim::config::{CapabilityId, PowerCapability, PowerState};
use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::time::Time;

use super::super::{Error, Export, Function, FunctionState, RegionKind, Request, RequestId, Role, Waited};
use super::plant::{self, Place, described, faults, find, start};
use crate::backend::sim::SimDevice;

/// What the host writes to: a number that rises by 1 each time.
const NUMBER: u64 = 0;
/// What it reads: how many of them have come.
const COUNT: u64 = 8;
/// What it reads too: the offset.
const TABLE: u64 = 0x100;
/// The dword of the Expansion ROM register.
const ROM: u16 = 12;

/// What a program knows of its device.
#[derive(Clone, Debug, Default)]
struct Registers {
    /// Numbers in the order in which they came first.
    numbers: Vec<u32>,
    /// How many came again.
    again: usize,
}

impl Registers {
    fn write(&mut self, number: u32, redelivered: bool) {
        if redelivered && self.numbers.contains(&number) {
            self.again += 1;
        } else {
            self.numbers.push(number);
        }
    }

    fn read(&self, offset: u64) -> u32 {
        if offset == COUNT { self.numbers.len() as u32 } else { offset as u32 }
    }
}

/// Deals with a request; a read that is to be kept is given back.
fn deal(
    function: &mut Function,
    registers: &mut Registers,
    request: Request,
    keep: bool,
) -> Option<(RequestId, Vec<u8>)> {
    match request {
        Request::Write(write) if write.at.offset == NUMBER => {
            let number = u32::from_le_bytes(write.data[..4].try_into().expect("a dword"));
            registers.write(number, write.at.redelivered);
        }
        Request::Read(read) => {
            let data = read.data(|offset, _| registers.read(offset));
            if keep {
                return Some((read.id, data));
            }
            function.complete(read.id, &data).expect("it's open");
        }
        _ => {}
    }
    None
}

/// The host: writes and reads without a pause to speak of. Gives the number of its writes. Where software dies, registers of configuration space that the
/// device doesn't know are lost with it.
async fn host_program(host: Host, seed: u64, rounds: u32, survives: bool, found: Arc<Mutex<Option<Place>>>) -> u32 {
    let place = find(&host).await;
    let Place { id, bar, .. } = place;
    *found.lock().expect("no panic") = Some(place);
    let mut rng = Rng::new(seed);
    let mut written = 0;
    for round in 0..rounds {
        for _ in 0..rng.range(0, 6) {
            host.write32(bar + NUMBER, written).await.expect("a posted write");
            written += 1;
        }
        match rng.range(0, 2) {
            0 => assert_eq!(host.config_read(id, 1).await.map(|command| command & 0x7), Ok(6), "round {round}"),
            1 if survives => {
                let line = rng.range(0, 255) as u32;
                host.config_write_bytes(id, 15, 1, line).await.expect("a configuration write");
                assert_eq!(host.config_read(id, 15).await.map(|dword| dword & 0xff), Ok(line), "round {round}");
            }
            _ => {}
        }
        // A read pushes the writes before it.
        assert_eq!(host.read32(bar + COUNT).await, Ok(written), "round {round}");
        if rng.range(0, 3) == 0 {
            host.sleep(Time::ns(rng.range(0, 3000))).await;
        }
    }
    written
}

/// Another program of the host, which reads meanwhile.
async fn reader(host: Host, seed: u64, found: Arc<Mutex<Option<Place>>>) -> usize {
    let mut rng = Rng::new(seed);
    let mut count = 0;
    while count < 200 {
        host.sleep(Time::ns(rng.range(100, 1500))).await;
        let Some(place) = *found.lock().expect("no panic") else { continue };
        let offset = TABLE + 4 * rng.range(0, 60);
        assert_eq!(host.read32(place.bar + offset).await, Ok(offset as u32), "read {count}");
        count += 1;
    }
    count
}

/// What the programs tell each other.
#[derive(Debug, Default)]
struct Letter {
    export: Option<Vec<u8>>,
    state: Option<(Vec<u8>, Registers)>,
}

type Letters = Arc<Mutex<Letter>>;

fn export(function: &mut Function) -> Vec<u8> {
    function.export().expect("is allowed").to_bytes()
}

/// The second program: claims as soon as it can, takes over when nobody has the function, and serves to the end.
fn second(sim: &SimDevice, letters: &Letters, orderly: bool) -> (Registers, u64) {
    let export = loop {
        if let Some(export) = letters.lock().expect("no panic").export.take() {
            break Export::from_bytes(&export).expect("sound");
        }
        sim.sleep(Duration::from_micros(1));
    };
    let mut function = Function::import(sim.open().expect("opens"), &export, &described()).expect("is exported");
    assert_eq!(function.role(), Ok(Role::Secondary));
    let refused = function.set_primary(true).expect_err("another one is");
    assert!(refused.to_string().contains("BAD_RES_STATE"), "{refused}");
    assert_eq!(function.stand_by(), Ok(Waited::Woken));
    let (state, mut registers) = loop {
        if let Some(told) = letters.lock().expect("no panic").state.take() {
            break told;
        }
        sim.sleep(Duration::from_micros(1));
    };
    function.set_primary(true).expect("nobody is");
    if orderly {
        function.restore(&FunctionState::from_bytes(&state).expect("sound")).expect("it's there");
    }
    assert_eq!(function.role(), Ok(Role::Primary));
    while let Some(request) = function.next().expect("no error") {
        assert!(deal(&mut function, &mut registers, request, false).is_none());
    }
    let redelivered = function.counters().expect("is there").redelivered;
    assert_eq!(function.counters().expect("is there").faults, []);
    function.close().expect("in order");
    (registers, redelivered)
}

/// Runs both programs: the first one goes after `after` requests, or with the next read that it doesn't answer any more. Gives when it ended.
fn hand_over(seed: u64, after: usize, orderly: bool) -> u64 {
    let sim = plant::machine(seed);
    let found = Arc::default();
    let written = start(&sim, host_program(sim.host(), seed, 120, orderly, Arc::clone(&found)));
    let read = start(&sim, reader(sim.host(), seed, found));
    let letters = Letters::default();
    let next = {
        let (sim, letters) = (Arc::clone(&sim), Arc::clone(&letters));
        let device = Arc::clone(&sim);
        sim.spawn("second", move || second(&device, &letters, orderly)).expect("a thread")
    };
    let mut function = Function::claim(sim.open().expect("opens"), &described().ring_slots(16)).expect("is free");
    letters.lock().expect("no panic").export = Some(export(&mut function));
    let mut registers = Registers::default();
    let mut kept = Vec::new();
    let mut number = 0;
    while kept.is_empty() && number < after + 7 {
        let Some(request) = function.next().expect("no error") else { break };
        kept.extend(deal(&mut function, &mut registers, request, number >= after));
        number += 1;
    }
    if orderly {
        let drained: Result<(), Error> = function.drain(|function, request| {
            kept.extend(deal(function, &mut registers, request, true));
            Ok(())
        });
        drained.expect("no error");
        assert_eq!(function.role(), Ok(Role::Vacant));
        let state = function.save().expect("it's there").to_bytes();
        letters.lock().expect("no panic").state = Some((state, registers.clone()));
        // It answers what it was given, while the other one is at work already.
        sim.sleep(Duration::from_micros(3));
        for (id, data) in kept {
            function.complete(id, &data).expect("it's still open");
        }
        assert_eq!(function.counters().expect("is there").faults, []);
        function.close().expect("in order");
    } else {
        // It just goes: what it had taken and not answered, or not even taken, comes again. Of its registers there's a copy.
        drop(function);
        letters.lock().expect("no panic").state = Some((Vec::new(), registers.clone()));
    }
    let (registers, redelivered) = next.join().expect("no panic");
    let written = written.lock().expect("no panic").take().expect("the host has ended");
    assert_eq!(read.lock().expect("no panic").take(), Some(200));
    assert_eq!(registers.numbers, (0..written).collect::<Vec<_>>(), "seed {seed}, after {after}: each write, in order");
    if orderly {
        assert_eq!((registers.again, redelivered), (0, 0));
    }
    let faults = faults(&sim);
    let wrong = (faults.completion_timeout, faults.unexpected_completion, faults.completer_abort, faults.malformed);
    assert_eq!(wrong, (0, 0, 0, 0), "seed {seed}, after {after}");
    let end = sim.now().as_ps();
    sim.shut_down().expect("nothing is open");
    end
}

/// Beside the TLPs there's what the device knows: who takes over from a program that died goes on with it, and claiming the function changes nothing of it.
#[test]
fn who_takes_over_finds_what_the_host_has_made() {
    let sim = plant::machine(5);
    let description = described()
        .power(&PowerCapability { no_soft_reset: true })
        .stateful(0, 0x1000, vec![7; 8])
        .expansion_rom(vec![0x55, 0xaa, 1, 0]);
    let mut first = Function::claim(sim.open().expect("opens"), &description).expect("is free");
    let power = first.config().expect("is there").find(CapabilityId::POWER_MANAGEMENT).expect("power management");
    let host = sim.host();
    let rom = start(&sim, async move {
        let place = find(&host).await;
        host.write32(place.bar + 0x1004, 0x1234_5678).await.expect("posted");
        let rom = host.config_read(place.id, ROM).await.expect("the register") | 1;
        host.config_write(place.id, ROM, rom).await.expect("enabled");
        host.config_write_bytes(place.id, power / 4 + 1, 1, 3).await.expect("suspended");
        rom
    });
    while first.next().expect("no error").is_some() {}
    let rom = rom.lock().expect("no panic").expect("the host has ended");
    let state = first.regions().expect("is there").iter().position(|region| region.kind == RegionKind::Stateful);
    let state = state.expect("a stateful region");
    let export = first.export().expect("is allowed");
    let mut second = Function::import(sim.open().expect("opens"), &export, &description).expect("is exported");
    drop(first);
    second.set_primary(true).expect("nobody is");
    assert_eq!(second.region(state, 0, 8), Ok(vec![7, 7, 7, 7, 0x78, 0x56, 0x34, 0x12]));
    let config = second.config().expect("is there");
    assert_eq!((config.power_state(), config.read(ROM)), (PowerState::D3Hot, rom));
    second.close().expect("in order");
    sim.shut_down().expect("nothing is open");
}

#[test]
fn in_good_order_the_host_notices_nothing() {
    for (seed, after) in [(1, 1), (2, 3), (3, 10), (4, 57), (5, 120), (6, 200)] {
        hand_over(seed, after, true);
    }
}

#[test]
fn after_a_crash_the_host_notices_nothing() {
    for (seed, after) in [(1, 1), (2, 3), (3, 10), (4, 57), (5, 120), (6, 200)] {
        hand_over(seed, after, false);
    }
}

#[test]
fn the_same_seed_gives_the_same_picosecond() {
    for orderly in [false, true] {
        assert_eq!(hand_over(9, 40, orderly), hand_over(9, 40, orderly));
    }
}
