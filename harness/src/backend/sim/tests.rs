use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{alloc_pd_in, alloc_pd_out, mbox_in, query_hca_cap_in, query_hca_cap_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::Balance;
use mlx5_twin_model::profile::{CapabilityValue, PagesWanted, Profile};

use super::*;
use crate::backend::{VarKind, Wake};
use crate::driver::Door;

/// The default profile of the project.
fn profile() -> Profile {
    let text = include_str!("../../../../fixtures/profiles/bluefield3-ib.toml");
    toml::from_str(text).expect("the default profile fits")
}

fn device() -> Arc<SimDevice> {
    SimDevice::new(&profile(), 1, Options::default()).expect("comes up")
}

fn command(opcode: Opcode, len: usize) -> Vec<u8> {
    let mut input = vec![0; len];
    mbox_in::OPCODE.set(&mut input, u64::from(opcode.0)).expect("fits");
    input
}

fn balance(device: &SimDevice) -> Balance {
    device.with_model(|model| model.firmware().resources().balance()).expect("is there")
}

#[test]
fn contexts_have_what_they_made_and_leave_nothing() {
    let device = device();
    let contexts: Vec<_> = (0..3).map(|_| device.open().expect("there's room")).collect();
    let mut pages = Vec::new();
    for index in 0..15 {
        let page = contexts[index % 3].alloc_var(VarKind::Tlp).expect("there are 15");
        assert_eq!((page.page_id(), page.len()), (index as u32, 4096));
        pages.push(page);
    }
    assert_eq!(contexts[0].alloc_var(VarKind::Tlp).map_err(|error| error.errno()).err(), Some(28), "ENOSPC");
    let virtio = contexts[1].alloc_var(VarKind::Virtio).expect("there are 256");
    assert_eq!(virtio.page_id(), 0);

    let memory = contexts[2].register_umem(5000).expect("there's memory");
    assert_eq!(memory.len(), 8192);
    memory.write(4090, &[1, 2, 3, 4, 5, 6, 7, 8]).expect("inside");
    let mut bytes = [0; 8];
    memory.read(4090, &mut bytes).expect("inside");
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(memory.read(8190, &mut bytes).is_err() && memory.load32(8192).is_err() && memory.load32(2).is_err());

    let uar = contexts[0].alloc_uar().expect("there's one");
    uar.store32(0x40, [0; 4]).expect("inside");
    uar.store64(0x800, [0; 8]).expect("inside");
    assert!(uar.store32(4096, [0; 4]).is_err() && uar.store32(2, [0; 4]).is_err() && uar.store64(4, [0; 8]).is_err());

    let (pd, output) =
        contexts[0].create_object(&command(Opcode::ALLOC_PD, alloc_pd_in::SIZE), 16).expect("there's one");
    assert!(alloc_pd_out::PD.get(&output).is_ok());
    assert!(contexts[1].destroy_object(pd).is_err(), "another context's object");
    contexts[0].destroy_object(pd).expect("its own");
    assert!(contexts[0].destroy_object(pd).is_err(), "twice");
    contexts[0].create_object(&command(Opcode::ALLOC_PD, alloc_pd_in::SIZE), 16).expect("there's one");

    assert_eq!(contexts[0].query_eqn(0), contexts[1].query_eqn(0));
    assert!(contexts[0].query_eqn(62).is_ok() && contexts[0].query_eqn(63).is_err());

    let mut query = command(Opcode::QUERY_HCA_CAP, query_hca_cap_in::SIZE);
    mbox_in::OP_MOD.set(&mut query, 0x55).expect("fits");
    let answer = contexts[0].general_command(&query, query_hca_cap_out::SIZE).expect("is listed");
    assert_eq!(answer[16 + 0x21], 0x0f, "15 response gateway pages");
    assert!(contexts[0].general_command(&command(Opcode::ENABLE_HCA, 16), 16).is_err());
    assert!(contexts[0].general_command(&[1, 0], 16).is_err());

    let before = balance(&device);
    assert_ne!(before, Balance::default());
    assert!(device.shut_down().is_err(), "contexts are open");
    drop((pages, virtio, memory, uar, contexts));
    device.shut_down().expect("nothing is open");
    assert_eq!(balance(&device), Balance::default());
}

/// A firmware that lives on the driver's pages: it gets them by events while contexts come and go, and gives all of them back.
#[test]
fn the_driver_serves_page_requests() {
    let mut profile = profile();
    let page_requests = ("page_request_disable".to_owned(), CapabilityValue::One(0));
    profile.capabilities.general.extend([page_requests]);
    profile.pages = PagesWanted { boot: 3, init: 2, runtime: 4, runtime_objects: 2 };
    let device = SimDevice::new(&profile, 1, Options::default()).expect("comes up");
    let given = || balance(&device).pages_given;
    let idle = given();
    for round in 0..3 {
        let contexts: Vec<_> = (0..5).map(|_| device.open().expect("there's room")).collect();
        for context in &contexts {
            for _ in 0..8 {
                context.create_object(&command(Opcode::ALLOC_PD, alloc_pd_in::SIZE), 16).expect("there are pages");
            }
        }
        let busy = given();
        assert!(busy >= 5 + 4 * 45 / 2, "45 objects and more, round {round}: {busy} pages");
        drop(contexts);
        device.open().expect("there's room");
        assert!(given() < busy, "round {round}: {} pages", given());
    }
    assert!(idle < given(), "a reserve is kept");
    device.shut_down().expect("nothing is open");
    assert_eq!(balance(&device), Balance::default());
}

#[test]
fn a_page_outlives_its_context_but_reaches_nobody() {
    let device = device();
    let (first, second) = (device.open().expect("opens"), device.open().expect("opens"));
    let stale = first.alloc_var(VarKind::Tlp).expect("there's one");
    let memory = first.register_umem(4096).expect("there's memory");
    stale.store32(0, [1; 4]).expect("its own");
    drop(first);
    let page = second.alloc_var(VarKind::Tlp).expect("there's one");
    assert_eq!(page.page_id(), stale.page_id());
    assert!(matches!(stale.store32(0, [1; 4]), Err(Error::Device(_))));
    assert!(matches!(stale.store64(0, [1; 8]), Err(Error::Device(_))));
    assert!(matches!(stale.load32(0), Err(Error::Device(_))));
    memory.write(0, &[7]).expect("the memory is there as long as its handle");
    drop(stale);
    page.store32(0, [1; 4]).expect("still its own");
    drop((page, memory, second));
    device.shut_down().expect("nothing is open");
    assert_eq!(balance(&device), Balance::default());
}

#[test]
fn nothing_more_happens() {
    let device = device();
    let context = device.open().expect("opens");
    assert_eq!(context.wait(None), Ok(Wake::Silent));
    let start = context.now();
    assert_eq!(context.wait(Some(Duration::from_micros(3))), Ok(Wake::TimedOut));
    assert_eq!(context.now() - start, Duration::from_micros(3));
    let mut polls = 0;
    while context.pause().expect("no error") {
        polls += 1;
        assert!(polls < 10);
    }
}

#[test]
fn hosts_have_pages_of_their_own_size() {
    for page_size in [4096, 16384, 65536] {
        let device = SimDevice::new(&profile(), 1, Options { page_size }).expect("comes up");
        let context = device.open().expect("opens");
        assert_eq!(context.register_umem(1).expect("there's memory").len(), page_size);
        let first = context.alloc_var(VarKind::Tlp).expect("there's one");
        let second = context.alloc_var(VarKind::Tlp).expect("there's one");
        assert_eq!((first.len(), second.len(), second.page_id()), (page_size, page_size, 1));
    }
    assert!(SimDevice::new(&profile(), 1, Options { page_size: 5000 }).is_err());
}

#[test]
fn a_device_without_enough_memory_for_its_pages_says_so() {
    let mut profile = profile();
    profile.pages.boot = 1 << 20;
    let error = SimDevice::new(&profile, 1, Options::default()).expect_err("4 GiB are too much");
    assert_eq!(error, Error::NoMemory { len: 4096 });
    profile.pages.boot = 300;
    profile.pages.init = 5000;
    let device = SimDevice::new(&profile, 1, Options::default()).expect("comes up");
    assert_eq!(balance(&device).pages_given, 5300);
    device.shut_down().expect("nothing is open");
    assert_eq!(balance(&device), Balance::default());
}

/// A function-level reset while a context is open: nothing works any more, nothing hangs, and the function can be brought up again.
#[test]
fn a_function_that_is_reset_comes_up_again() {
    let profile = profile();
    let Machine { mut simulation, dpu, .. } = Machine::build(&profile, 1).expect("is sound");
    let cores = simulation.host(dpu);
    let settings = Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
    let found = simulation.run(async move { enumerate(&cores, settings).await }).expect("ends").expect("works");
    let function = found.iter().find(|found| found.device == 0xa2dc).expect("is there");
    let scheduler = Scheduler::new(simulation, dpu, Time::ns(100));
    let door: Arc<dyn Door> = Arc::new(SimDoor::new(scheduler, function, 4096).expect("has all it needs"));
    for _ in 0..2 {
        let driver = Driver::start(Arc::clone(&door)).expect("comes up");
        let context = driver.open().expect("opens");
        door.reset().expect("works");
        assert!(matches!(context.general_command(&command(Opcode::NOP, 16), 16), Err(Error::Device(_))));
    }
    let driver = Driver::start(Arc::clone(&door)).expect("comes up");
    let context = driver.open().expect("opens");
    context.general_command(&command(Opcode::NOP, 16), 16).expect("works");
}

#[test]
fn subscriptions_follow_the_device_and_the_owner() {
    let device = device();
    let (context, other) = (device.open().expect("opens"), device.open().expect("opens"));
    let (pd, _) = context.create_object(&command(Opcode::ALLOC_PD, alloc_pd_in::SIZE), 16).expect("there's one");
    context.subscribe(pd, &[EventType::OBJECT_CHANGE], 5).expect("is listed");
    assert!(context.subscribe(pd, &[EventType::CMD], 5).is_err());
    assert!(context.subscribe(pd, &[EventType::PORT_CHANGE], 5).is_err());
    assert!(context.subscribe(pd, &[EventType::OBJECT_CHANGE; 17], 5).is_err());
    assert!(other.subscribe(pd, &[EventType::OBJECT_CHANGE], 5).is_err());
}

/// What three programs do, in the order in which they do it: with commands, stores, polls and waits between them.
fn trace(seed: u64) -> Vec<(String, u64)> {
    let device = SimDevice::new(&profile(), seed, Options::default()).expect("comes up");
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut programs = Vec::new();
    for number in 0..3_u64 {
        let context = device.open().expect("opens");
        let (log, name) = (Arc::clone(&log), format!("p{number}"));
        let program = move || {
            let note = |what: &str| {
                let at = context.now().as_nanos() as u64;
                log.lock().expect("nobody panics").push((format!("{number} {what}"), at));
            };
            let page = context.alloc_var(VarKind::Virtio).expect("there are 256");
            for round in 0..5 {
                match (number + round) % 3 {
                    0 => drop(context.general_command(&command(Opcode::NOP, 16), 16).expect("works")),
                    1 => page.store64(0, [number as u8; 8]).expect("works"),
                    _ => drop(context.pause().expect("works")),
                }
                note(&format!("round {round}"));
                context.wait(Some(Duration::from_nanos(100 * (number + 1)))).expect("works");
                note("waited");
            }
            drop(page);
            drop(context);
        };
        programs.push(device.spawn(&name, program).expect("there's a thread"));
    }
    for program in programs {
        program.join().expect("ends");
    }
    device.shut_down().expect("nothing is open");
    log.lock().expect("nobody panics").push(("end".to_owned(), device.now().as_ps()));
    Arc::into_inner(log).expect("all have ended").into_inner().expect("nobody panics")
}

#[test]
fn threads_make_no_difference() {
    let first = trace(3);
    assert_eq!(first.len(), 31);
    for again in 1..20 {
        assert_eq!(trace(3), first, "run {again}");
    }
}

#[test]
fn a_program_that_panics_holds_nobody_up() {
    let device = device();
    let context = device.open().expect("opens");
    let other = device.open().expect("opens");
    let broken = device
        .spawn("broken", move || {
            let _page = other.alloc_var(VarKind::Tlp);
            other.wait(Some(Duration::from_micros(1))).expect("works");
            panic!("as it should");
        })
        .expect("there's a thread");
    assert_eq!(context.wait(Some(Duration::from_micros(5))), Ok(Wake::TimedOut));
    assert!(matches!(broken.join(), Err(Error::Device(_))));
    drop(context);
    device.shut_down().expect("the broken program's context was closed");
    assert_eq!(balance(&device), Balance::default());
}

#[test]
fn polls_end_when_something_happens_and_not_before() {
    let device = device();
    let context = device.open().expect("opens");
    let host = device.host();
    let (poll, quiet) = (profile().timing.poll_ns, 1_000_000);
    let shared = Arc::new(Mutex::new(false));
    let done = Arc::clone(&shared);
    device.with_simulation(|simulation| {
        simulation.spawn(async move {
            host.sleep(Time::ns(quiet)).await;
            *done.lock().expect("nobody panics") = true;
        });
    });
    let start = device.now();
    let mut polls = 0;
    while !*shared.lock().expect("nobody panics") {
        assert!(context.pause().expect("no error"), "something will happen");
        polls += 1;
    }
    let took = device.now().since(start).as_ns();
    // It's noticed at the first poll after it, as if all the polls before had been made.
    assert!((quiet..=quiet + 2 * poll).contains(&took), "{took} ns");
    assert!(polls < 20, "{polls} polls");
}

#[test]
fn programs_may_be_waited_for_outside() {
    let device = device();
    let (send, receive) = std::sync::mpsc::channel();
    let context = device.open().expect("opens");
    let program = device
        .spawn("sender", move || {
            context.wait(Some(Duration::from_micros(1))).expect("works");
            send.send(context.now()).expect("somebody listens");
        })
        .expect("there's a thread");
    device.step_out();
    assert!(receive.recv().expect("it sends") >= Duration::from_micros(1));
    program.join().expect("ends");
}
