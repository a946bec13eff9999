//! Programs hand a function over by a Unix socket, one to the next, while the host goes on reading and writing.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::devices::scratch::{self, Registers};
use mlx5_twin_harness::devices::{HostReport, find};
use mlx5_twin_harness::driver::Driver;
use mlx5_twin_harness::emulation::{
    Behaviour, Channel, Description, Error, Export, Port, Request, Serving, Settings, serve,
};
use mlx5_twin_harness::serve::{HostOptions, HostOutcome, Report};
use mlx5_twin_sim::time::Time;

use super::door::ClientDoor;
use super::{Rig, start};

/// Kinds of frames, as the programs exchange them.
const EXPORT: u8 = 1;
const CLAIMED: u8 = 2;
const STATE: u8 = 3;

/// `scratch`, which looks after each request whether the device has refused anything.
#[derive(Clone, Debug, Default)]
struct Watched {
    registers: Registers,
    /// Reads answered, writes taken, interrupts raised.
    done: [u64; 3],
    /// Messages that came again because another channel's software hadn't finished with them.
    redelivered: u64,
}

impl Behaviour for Watched {
    fn description(port: u16) -> Description {
        scratch::description(port)
    }

    fn request(&mut self, channel: &mut Channel, port: Port, request: Request, _: Time) -> Result<(), Error> {
        match request {
            Request::Read(read) => {
                self.done[0] += 1;
                channel.complete(read.id, &read.data(|offset, _| self.registers.read(offset)))?;
            }
            Request::Write(write) => {
                self.done[1] += 1;
                for vector in write.dwords().filter_map(|dword| self.registers.write(dword)) {
                    self.done[2] += 1;
                    channel.raise_msix(port, vector)?;
                }
            }
            _ => return Ok(()),
        }
        let counters = channel.counters()?;
        assert_eq!(counters.faults, []);
        self.redelivered = counters.redelivered;
        Ok(())
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(self.registers.to_bytes())
    }

    fn restore(saved: &[u8]) -> Option<Watched> {
        Some(Watched { registers: Registers::from_bytes(saved)?, ..Watched::default() })
    }
}

/// What a program did, or why it ended.
type Done = Result<Watched, Error>;

/// The device with a host that goes so many rounds, and programs.
struct Plant {
    rig: Rig,
    door: Arc<ClientDoor>,
    driver: Arc<Driver>,
}

impl Plant {
    fn new(rounds: u64) -> Plant {
        let scratch = find("scratch").expect("is there");
        let rig = Rig::new(Some(HostOptions { rounds: Some(rounds), ..HostOptions::new(scratch) }));
        let door = rig.connect();
        let driver = start(&door);
        Plant { rig, door, driver }
    }

    fn context(&self) -> Arc<dyn Backend> {
        self.driver.open().expect("a context")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.folder.path().join(name)
    }

    /// A program that takes the function over from one and hands it over to another.
    fn program(&self, take_over: Option<&str>, hand_over: Option<&str>) -> JoinHandle<Done> {
        let [take_over, hand_over] = [take_over, hand_over].map(|name| name.map(|name| self.path(name)));
        let (context, serving) = (self.context(), Serving { ports: vec![0], take_over, hand_over });
        thread::spawn(move || Ok(serve::<Watched>(context, &serving)?[&Port(0)].clone()))
    }

    fn is_busy(&self) -> bool {
        matches!(self.rig.server.report().host, Some(HostOutcome::Waiting))
    }

    /// Waits for the host's end, and ends the programs.
    fn host(&self) -> HostReport {
        let begun = Instant::now();
        while !self.rig.server.host_ended() && begun.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(1));
        }
        self.door.stop();
        match self.rig.server.report().host {
            Some(HostOutcome::Ended(host)) => *host,
            other => panic!("{other:?}"),
        }
    }

    /// The end: all is as it should be, and the programs together have done what the host did.
    fn finish(self, host: &HostReport, done: &[Done]) {
        let done: Vec<_> = done.iter().map(|done| done.clone().expect("no error").done).collect();
        let sum = done.iter().fold([0; 3], |sum, one| [0, 1, 2].map(|place| sum[place] + one[place]));
        assert_eq!(sum, [host.reads, host.writes, host.interrupts.iter().sum()], "{done:?}");
        assert_eq!(host.wrong(), None, "{:?}", host.first_mismatches);
        let report = self.end();
        assert_eq!((report.faults.unexpected_completion, report.faults.completion_timeout), (0, 0));
        assert_eq!((report.faults.completer_abort, report.faults.malformed), (0, 0));
    }
}

impl Plant {
    /// Nothing of the programs is left.
    fn end(self) -> Report {
        let Plant { rig, door, driver } = self;
        driver.shut_down().expect("in order");
        drop(driver);
        door.hang_up();
        let report = rig.finish();
        assert!(report.balance.is_empty(), "{:?}", report.balance);
        report
    }
}

/// Waits until something listens at a path, and connects.
fn connect(path: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn exists(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

fn frame(mut stream: &UnixStream, kind: u8) -> Vec<u8> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).expect("a frame");
    assert_eq!(head[0], kind);
    let mut bytes = vec![0; u32::from_be_bytes(head[1..].try_into().expect("four")) as usize];
    stream.read_exact(&mut bytes).expect("the rest");
    bytes
}

fn send(mut stream: &UnixStream, kind: u8, bytes: &[u8]) {
    let head = [&[kind][..], &(bytes.len() as u32).to_be_bytes()].concat();
    stream.write_all(&[&head, bytes].concat()).expect("somebody listens");
}

/// A successor that has claimed the function.
fn claimed(plant: &Plant, stream: &UnixStream) -> Channel {
    let export = Export::from_bytes(&frame(stream, EXPORT)).expect("is sound");
    let description = scratch::description(0);
    let mut channel = Channel::import(plant.context(), &export, &Settings::default()).expect("is exported");
    channel.claim(&description).expect("as the first has it");
    send(stream, CLAIMED, &[]);
    channel
}

/// How often the function changes hands.
const TIMES: usize = 6;

#[test]
fn one_program_after_the_other() {
    let plant = Plant::new(4000);
    let name = |number: usize| format!("at-{number}");
    let mut programs = vec![plant.program(None, Some(&name(0)))];
    let mut done = Vec::new();
    for number in 1..=TIMES {
        exists(&plant.path(&name(number - 1)));
        thread::sleep(Duration::from_millis(20));
        programs.push(plant.program(Some(&name(number - 1)), Some(&name(number))));
        done.push(programs.remove(0).join().expect("no panic"));
        assert!(plant.is_busy(), "the host ended before hand-over {number}: {done:?}");
        assert!(!plant.path(&name(number - 1)).exists());
    }
    let host = plant.host();
    done.push(programs.remove(0).join().expect("no panic"));
    println!("{done:?}");
    assert!(done.iter().flatten().all(|done| done.redelivered == 0), "{done:?}");
    plant.finish(&host, &done);
}

/// Successors that aren't any: whatever they do, the first program serves on, and a sound one can come afterwards.
#[test]
fn a_successor_that_fails() {
    let plant = Plant::new(3000);
    let first = plant.program(None, Some("first"));
    let path = plant.path("first");
    drop(connect(&path));
    send(&connect(&path), EXPORT, b"nonsense");
    let stream = connect(&path);
    frame(&stream, EXPORT);
    drop(stream);
    // It claims, and goes.
    let stream = connect(&path);
    drop(claimed(&plant, &stream));
    drop(stream);
    // It has the state, and goes: first without having become primary, then as primary; and once its channel outlives the conversation for a while.
    for (primary, late) in [(false, false), (true, false), (true, true)] {
        let stream = connect(&path);
        let mut channel = claimed(&plant, &stream);
        frame(&stream, STATE);
        if primary {
            channel.set_primary(true).expect("nobody is");
        }
        if late {
            drop(stream);
            thread::sleep(Duration::from_millis(50));
            drop(channel);
        } else {
            drop(channel);
            drop(stream);
        }
    }
    // It wants another port.
    let stranger = {
        let (context, take_over) = (plant.context(), Some(path.clone()));
        serve::<Watched>(context, &Serving { ports: vec![1], take_over, hand_over: None })
    };
    assert!(stranger.is_err(), "{stranger:?}");
    // It can't listen where it's to listen: that's found out before anything is taken over.
    let error = serve::<Watched>(
        plant.context(),
        &Serving { ports: vec![0], take_over: Some(path.clone()), hand_over: Some(path.clone()) },
    );
    assert!(error.is_err_and(|error| error.to_string().starts_with("can't listen at ")));
    assert!(plant.is_busy(), "the host ended too early");
    let second = plant.program(Some("first"), None);
    let first = first.join().expect("no panic");
    assert!(plant.is_busy(), "the host ended too early");
    let host = plant.host();
    plant.finish(&host, &[first, second.join().expect("no panic")]);
}

/// The first program dies when it has told the state: the second one has all that it needs, an interrupt among it that the first couldn't raise any more.
#[test]
fn the_first_dies_in_the_middle() {
    let plant = Plant::new(500);
    let listener = UnixListener::bind(plant.path("first")).expect("is free");
    let mut channel = Channel::open(plant.context(), &Settings::default()).expect("opens");
    let port = channel.claim(&scratch::description(0)).expect("is free");
    let mut function = Watched::default();
    // It goes on until a write has raised an interrupt, which isn't sent yet.
    let vector = loop {
        match channel.next().expect("no error").expect("a request") {
            (_, Request::Write(write)) => {
                function.done[1] += 1;
                let vector = write.dwords().find_map(|dword| function.registers.write(dword));
                if let Some(vector) = vector.filter(|_| function.done[1] > 100) {
                    break vector;
                }
                function.done[2] += u64::from(vector.is_some());
                if let Some(vector) = vector {
                    channel.raise_msix(port, vector).expect("may");
                }
            }
            (port, request) => function.request(&mut channel, port, request, Time::ZERO).expect("no error"),
        }
    };
    let second = plant.program(Some("first"), None);
    let (stream, _) = listener.accept().expect("comes");
    send(&stream, EXPORT, &channel.export().expect("is allowed").to_bytes());
    assert_eq!(frame(&stream, CLAIMED), b"");
    let drained = channel.drain(|channel, port, request| function.request(channel, port, request, Time::ZERO));
    drained.expect("no error");
    channel.raise_msix(port, vector).expect("it's noted");
    function.done[2] += 1;
    assert_eq!(channel.counters().expect("is there").faults, []);
    let config = channel.save(port).expect("is there").to_bytes();
    let registers = function.registers.to_bytes();
    let part = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    send(&stream, STATE, &[&[0, 0][..], &part(&config), &part(&registers)].concat());
    drop(channel);
    drop(stream);
    let host = plant.host();
    plant.finish(&host, &[Ok(function), second.join().expect("no panic")]);
}

/// Dies before that: what the registers held is lost, so there's nobody who could go on. The host loses the function, for which nothing answers any more.
#[test]
fn the_first_dies_before_it_has_told_the_state() {
    let plant = Plant::new(500);
    let listener = UnixListener::bind(plant.path("first")).expect("is free");
    let mut channel = Channel::open(plant.context(), &Settings::default()).expect("opens");
    channel.claim(&scratch::description(0)).expect("is free");
    let second = plant.program(Some("first"), None);
    let (stream, _) = listener.accept().expect("comes");
    send(&stream, EXPORT, &channel.export().expect("is allowed").to_bytes());
    assert_eq!(frame(&stream, CLAIMED), b"");
    drop(channel);
    drop(stream);
    let error = second.join().expect("no panic").expect_err("there's no state");
    assert_eq!(error.to_string(), "hand-over: the functions' state: the other process has gone");
    plant.end();
}

/// A program that is told to end while its host is busy and a successor is on its way ends as any other, and the successor learns of it.
#[test]
fn told_to_end_meanwhile() {
    let plant = Plant::new(1_000_000);
    let first = plant.program(None, Some("first"));
    let mut stream = connect(&plant.path("first"));
    frame(&stream, EXPORT);
    plant.door.stop();
    println!("{:?}", first.join().expect("no panic").expect("it ends in order"));
    assert!(!plant.path("first").exists());
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    let outcome = plant.rig.server.report().host;
    assert!(!matches!(outcome, Some(HostOutcome::Ended(_))), "the host wasn't busy: {outcome:?}");
    plant.end();
}
