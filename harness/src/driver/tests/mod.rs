mod fake;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{create_umem_in, general_obj_in_cmd_hdr, mbox_in, nop_in, umem};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;

use self::fake::{Behaviour, FakeDoor};
use super::cmdq::{CommandQueue, Mode, Purpose};
use super::{Door, Driver};
use crate::backend::{Backend, Error, Event, ObjectHandle, VarKind, Wake};

fn start(behaviour: Behaviour) -> (Arc<FakeDoor>, Result<Arc<Driver>, Error>) {
    let door = FakeDoor::new(behaviour);
    let driver = Driver::start(Arc::clone(&door) as Arc<dyn Door>);
    (door, driver)
}

fn up(behaviour: Behaviour) -> (Arc<FakeDoor>, Arc<Driver>) {
    let (door, driver) = start(behaviour);
    (door, driver.expect("comes up"))
}

fn command(opcode: Opcode, len: usize) -> Vec<u8> {
    let mut input = vec![0; len];
    mbox_in::OPCODE.set(&mut input, u64::from(opcode.0)).expect("fits");
    input
}

/// CREATE_GENERAL_OBJECT of a TLP channel.
fn channel(context: &dyn Backend) -> (ObjectHandle, u32) {
    let mut create = command(Opcode::CREATE_GENERAL_OBJECT, 0x90);
    general_obj_in_cmd_hdr::OBJ_TYPE.set(&mut create, 0x7e00).expect("fits");
    let (handle, output) = context.create_object(&create, 16).expect("works");
    (handle, u32::from_be_bytes([output[8], output[9], output[10], output[11]]))
}

fn changed(obj_type: u16, id: u32) -> Vec<u8> {
    [&[0, 0][..], &obj_type.to_be_bytes(), &id.to_be_bytes()].concat()
}

/// The order of mlx5-capable Linux: what comes up goes down in reverse.
#[test]
fn up_and_down_in_linux_order() {
    let (door, driver) = up(Behaviour::default());
    let opcodes = |from: usize| -> Vec<(Opcode, u16)> {
        door.fake().log[from..].iter().map(|(opcode, _, op_mod)| (*opcode, *op_mod)).collect()
    };
    let expected = [
        (Opcode::ENABLE_HCA, 0),
        (Opcode::QUERY_ISSI, 0),
        (Opcode::SET_ISSI, 0),
        (Opcode::QUERY_PAGES, 1),
        (Opcode::ACCESS_REG, 0),
        (Opcode::QUERY_HCA_CAP, 0),
        (Opcode::QUERY_HCA_CAP, 1),
        (Opcode::SET_HCA_CAP, 0),
        (Opcode::QUERY_PAGES, 2),
        (Opcode::INIT_HCA, 0),
        (Opcode::QUERY_HCA_CAP, 1),
        (Opcode::QUERY_HCA_CAP, 0x29),
        (Opcode::QUERY_HCA_CAP, 0x55),
        (Opcode::ALLOC_UAR, 0),
        (Opcode::CREATE_EQ, 0),
        (Opcode::CREATE_EQ, 0),
    ];
    assert_eq!(opcodes(0), expected);
    let eqn = driver.completion_eq(1).expect("there are three");
    assert_eq!(driver.completion_eq(1), Ok(eqn), "created once");
    assert_eq!(door.fake().log.last(), Some(&(Opcode::CREATE_EQ, 0xffff, 0)), "for all users");
    assert!(driver.completion_eq(3).is_err());
    driver.shut_down().expect("no context is open");
    let expected = [
        Opcode::DESTROY_EQ,
        Opcode::DESTROY_EQ,
        Opcode::DESTROY_EQ,
        Opcode::DEALLOC_UAR,
        Opcode::TEARDOWN_HCA,
        Opcode::DISABLE_HCA,
    ];
    assert_eq!(opcodes(17), expected.map(|opcode| (opcode, 0)));
    assert!(driver.open().is_err(), "it has shut down");
    drop(driver);
    assert_eq!(door.left(), (0, 0, 0, 0));
}

#[test]
fn pages_are_lent_and_come_back() {
    let (door, driver) = up(Behaviour { pages: [5, 700], ..Behaviour::default() });
    assert_eq!(door.fake().lent.len(), 705);
    driver.shut_down().expect("no context is open");
    drop(driver);
    assert_eq!(door.left(), (0, 0, 0, 0));
}

#[test]
fn a_device_that_invents_pages_is_reset() {
    let (door, driver) = up(Behaviour { pages: [5, 0], invents_page: true, ..Behaviour::default() });
    assert!(matches!(driver.shut_down(), Err(Error::Device(_))));
    drop(driver);
    assert_eq!(door.left(), (0, 0, 0, 1));
}

#[test]
fn pages_are_given_and_taken_on_request() {
    let (door, driver) = up(Behaviour { page_requests: true, ..Behaviour::default() });
    let context = driver.open().expect("opens");
    let request = |count: i32| [&[0, 0, 0, 0][..], &count.to_be_bytes()].concat();
    door.fake().event(EventType::PAGE_REQUEST, &request(9));
    assert_eq!(context.wait(Some(Duration::from_micros(9))), Ok(Wake::TimedOut), "it isn't the user's event");
    assert_eq!(door.fake().lent.len(), 9);
    door.fake().event(EventType::PAGE_REQUEST, &request(-4));
    door.fake().event(EventType::PAGE_REQUEST, &request(i32::MAX));
    context.wait(Some(Duration::from_micros(9))).expect("works");
    assert_eq!(door.fake().lent.len(), 5);
    let log = door.fake().log.clone();
    let managed: Vec<u16> =
        log.iter().filter(|(opcode, ..)| *opcode == Opcode::MANAGE_PAGES).map(|entry| entry.2).collect();
    assert_eq!(managed, [1, 2, 0], "give, take, can't give");
    drop(context);
    driver.shut_down().expect("nothing is open");
    drop(driver);
    assert_eq!(door.allocated(), 0);
}

/// Requests that are still open when the driver goes: what it has given comes back all the same, and each page once.
#[test]
fn pages_come_back_with_requests_open() {
    for requests in 1..12 {
        let (door, driver) = up(Behaviour { page_requests: true, pages: [40, 0], ..Behaviour::default() });
        for _ in 0..requests {
            door.fake().event(EventType::PAGE_REQUEST, &[&[0, 0, 0, 0][..], &(-3_i32).to_be_bytes()].concat());
        }
        driver.shut_down().expect("nothing is open");
        drop(driver);
        assert_eq!(door.left(), (0, 0, 0, 0), "{requests} requests");
    }
}

#[test]
fn what_keeps_a_device_from_coming_up() {
    let refuse = |opcode| Behaviour { refuse: Some((opcode, 3)), ..Behaviour::default() };
    let cases = [
        (Behaviour { revision: 4, ..Behaviour::default() }, "command interface revision 4"),
        (Behaviour { initializing: u32::MAX, ..Behaviour::default() }, "isn't ready after 120 s"),
        (Behaviour { queue: (6, 6), ..Behaviour::default() }, "command queue of 2^6 entries"),
        (Behaviour { queue: (15, 15), ..Behaviour::default() }, "command queue of 2^15 entries"),
        (Behaviour { queue: (5, 5), ..Behaviour::default() }, "of 2^5 bytes"),
        (
            Behaviour { silent: Some(Opcode::INIT_HCA), ..Behaviour::default() },
            "INIT_HCA (0x102) wasn't answered within 60 s",
        ),
        (
            Behaviour { undelivered: Some((Opcode::SET_HCA_CAP, 2)), ..Behaviour::default() },
            "delivery status TOK_ERR (0x2)",
        ),
        (Behaviour { pages: [1 << 20, 0], memory: 4 << 20, ..Behaviour::default() }, "no memory is left"),
        (refuse(Opcode::ENABLE_HCA), "ENABLE_HCA (0x104) failed: status BAD_PARAM (0x3), syndrome 0xbad00001"),
        (refuse(Opcode::QUERY_HCA_CAP), "QUERY_HCA_CAP (0x100) failed"),
        (refuse(Opcode::CREATE_EQ), "CREATE_EQ (0x301) failed"),
    ];
    for (behaviour, says) in cases {
        let (door, driver) = start(behaviour);
        let error = driver.expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(door.left(), (0, 0, 0, 1), "{says}");
    }
    // Old firmware has no interfaces to choose from.
    let (_, driver) = start(refuse(Opcode::QUERY_ISSI));
    assert!(driver.is_ok());
}

#[test]
fn every_queue_size_works() {
    for queue in [(0, 6), (1, 11), (5, 7), (0, 12)] {
        let (door, driver) = up(Behaviour { queue, ..Behaviour::default() });
        drop(driver);
        assert_eq!(door.left(), (0, 0, 0, 0), "{queue:?}");
    }
}

#[test]
fn a_command_that_is_never_answered_is_an_error() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    door.fake().behaviour.silent = Some(Opcode::NOP);
    for _ in 0..40 {
        let error = context.general_command(&command(Opcode::NOP, nop_in::SIZE), 16).expect_err("no answer");
        assert_eq!(error.errno(), 5);
    }
    // 31 slots are lost by now.
    let error = context.general_command(&command(Opcode::QUERY_ISSI, 16), 0x70).expect_err("no slot");
    assert!(error.to_string().contains("no slot"), "{error}");
}

#[test]
fn a_lost_event_is_made_up_for() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    door.fake().behaviour.eventless = Some(Opcode::NOP);
    assert!(context.general_command(&command(Opcode::NOP, nop_in::SIZE), 16).is_ok());
    assert!(context.now() >= Duration::from_secs(60));
}

#[test]
fn slots_complete_in_any_order() {
    let door = FakeDoor::new(Behaviour::default());
    let shared = Arc::clone(&door) as Arc<dyn Door>;
    let mut queue = CommandQueue::new(&shared, 5, 6).expect("fits");
    door.write32(0x10, ((queue.iova() >> 32) as u32).to_be_bytes()).expect("works");
    door.write32(0x14, (queue.iova() as u32).to_be_bytes()).expect("works");
    let mut slots = Vec::new();
    while let Some(slot) = queue.submit(&command(Opcode::NOP, 700), 700, Purpose::Caller).expect("there's memory") {
        slots.push(slot);
    }
    assert_eq!(slots, (0..31).collect::<Vec<_>>());
    assert_eq!(queue.submit(&command(Opcode::MANAGE_PAGES, 16), 16, Purpose::Pages), Ok(Some(31)), "it has its own");
    assert_eq!(queue.pages_slot(), Some(31));
    while !door.fake().log.iter().any(|(opcode, ..)| *opcode == Opcode::MANAGE_PAGES) {
        door.pause().expect("works");
    }
    for slot in slots.into_iter().rev() {
        let answer = queue.take(slot, false).expect("has completed").expect("works");
        assert_eq!(answer.len(), 700);
        assert!(queue.take(slot, false).is_none(), "once");
    }
    queue.mode = Mode::Events;
    let slot = queue.submit(&command(Opcode::NOP, 16), 16, Purpose::Caller).expect("there's memory").expect("is free");
    door.pause().expect("works");
    assert!(queue.take(slot, false).is_none(), "nothing said that it has completed");
    // Bits of idle slots do nothing.
    queue.completed(u32::MAX);
    assert!(queue.take(slot, false).is_some());
    queue.completed(u32::MAX);
    assert!(queue.take(slot, false).is_none());
    let before = door.allocated();
    for _ in 0..100 {
        let slot = queue.submit(&command(Opcode::NOP, 5000), 5000, Purpose::Caller).expect("works").expect("is free");
        door.pause().expect("works");
        assert!(queue.take(slot, true).expect("has completed").is_ok());
    }
    assert_eq!(door.allocated(), before, "mailboxes are used again");
    drop(queue);
    assert_eq!(door.allocated(), 0);
}

#[test]
fn events_reach_their_subscribers() {
    let (door, driver) = up(Behaviour::default());
    let (first, second) = (driver.open().expect("opens"), driver.open().expect("opens"));
    let (handle, id) = channel(&*first);
    let (other_handle, other) = channel(&*second);
    first.subscribe(handle, &[EventType::OBJECT_CHANGE], 11).expect("is listed");
    second.subscribe(other_handle, &[EventType::OBJECT_CHANGE], 22).expect("is listed");
    let event = |cookie| Ok(Wake::Event(Event { cookie, event_type: EventType::OBJECT_CHANGE }));
    door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, id));
    assert_eq!(second.wait(Some(Duration::from_micros(3))), Ok(Wake::TimedOut));
    assert_eq!(first.wait(None), event(11));
    assert_eq!(first.wait(None), Ok(Wake::Silent));
    // Many laps of a queue of 1,024 entries, with commands between them; what nobody wants goes by.
    for round in 0..3000_u32 {
        let to_second = round % 3 == 0;
        door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e01, id));
        door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, if to_second { other } else { id }));
        if round % 100 == 0 {
            first.general_command(&command(Opcode::NOP, 16), 16).expect("works");
        }
        let woken = if to_second { second.wait(None) } else { first.wait(None) };
        assert_eq!(woken, event(if to_second { 22 } else { 11 }), "round {round}");
    }
    for _ in 0..500 {
        door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, id));
    }
    assert_eq!((first.wait(None), first.wait(None)), (event(11), Ok(Wake::Silent)), "events that wait are one");
    door.fake().event(EventType::OBJECT_CHANGE, &changed(0x7e00, id));
    first.destroy_object(handle).expect("its own");
    assert_eq!(first.wait(None), Ok(Wake::Silent), "who is gone has no events");
}

#[test]
fn closing_destroys_the_newest_first() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let (first, _) = channel(&*context);
    context.create_object(&command(Opcode::ALLOC_PD, 16), 16).expect("works");
    let memory = context.register_umem(10_000).expect("works");
    let uar = context.alloc_uar().expect("works");
    let (last, _) = channel(&*context);
    let uid = door.fake().log.last().expect("not empty").1;
    assert_ne!(uid, 0);
    let from = door.fake().log.len();
    drop(context);
    let log = door.fake().log.clone();
    let closed: Vec<_> = log[from..].iter().map(|(opcode, uid, _)| (*opcode, *uid)).collect();
    let expected = [
        (Opcode::DESTROY_GENERAL_OBJECT, uid),
        (Opcode::DEALLOC_UAR, uid),
        (Opcode::DESTROY_UMEM, uid),
        (Opcode::DEALLOC_PD, uid),
        (Opcode::DESTROY_GENERAL_OBJECT, uid),
        (Opcode::DESTROY_UCTX, 0),
    ];
    assert_eq!(closed, expected);
    assert!(first < last);
    drop((memory, uar));
    assert_eq!(door.fake().log.len(), from + expected.len(), "nothing is destroyed twice");
    drop(driver);
    assert_eq!(door.left(), (0, 0, 0, 0));
}

#[test]
fn what_the_device_refuses_to_destroy_lives_on() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let (handle, _) = channel(&*context);
    let memory = context.register_umem(4096).expect("works");
    let before = door.allocated();
    door.fake().behaviour.refuse = Some((Opcode::DESTROY_UMEM, Status::BAD_RES_STATE.0));
    drop(memory);
    assert_eq!(door.allocated(), before, "the device may still write to it");
    door.fake().behaviour.refuse = Some((Opcode::DESTROY_GENERAL_OBJECT, Status::BAD_RES_STATE.0));
    let error = context.destroy_object(handle).expect_err("is refused");
    assert_eq!(
        error,
        Error::Command { opcode: Opcode::DESTROY_GENERAL_OBJECT, status: Status::BAD_RES_STATE, syndrome: 0xbad0_0001 }
    );
    door.fake().behaviour.refuse = None;
    context.destroy_object(handle).expect("lived on");
    drop(context);
    assert!(door.allocated() < before);
}

#[test]
fn commands_of_users_bear_their_uid() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let (handle, id) = channel(&*context);
    let uid = door.fake().log.last().expect("not empty").1;
    let mut query = command(Opcode::QUERY_GENERAL_OBJECT, 16);
    mbox_in::UID.set(&mut query, 0x7777).expect("fits");
    general_obj_in_cmd_hdr::OBJ_TYPE.set(&mut query, 0x7e00).expect("fits");
    general_obj_in_cmd_hdr::OBJ_ID.set(&mut query, id.into()).expect("fits");
    assert_eq!(context.query_object(handle, &query, 1000).map(|output| output.len()), Ok(1000));
    assert_eq!(door.fake().log.last(), Some(&(Opcode::QUERY_GENERAL_OBJECT, uid, 0x7e00)));
    context.general_command(&command(Opcode::NOP, 16), 16).expect("works");
    assert_eq!(door.fake().log.last(), Some(&(Opcode::NOP, uid, 0)));
    for (input, output_len) in [(vec![0; 15], 16), (command(Opcode::NOP, 16), 15), (command(Opcode::NOP, 1 << 16), 16)]
    {
        assert!(matches!(context.general_command(&input, output_len), Err(Error::Invalid(_))));
    }
    assert!(matches!(context.modify_object(handle, &query, 16), Err(Error::Invalid(_))), "a query doesn't modify");
    assert!(matches!(context.query_object(ObjectHandle(999), &query, 16), Err(Error::NoHandle { .. })));
}

#[test]
fn a_page_is_stored_to_where_it_lies() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let page = context.alloc_var(VarKind::Tlp).expect("there are two");
    let second = context.alloc_var(VarKind::Tlp).expect("there are two");
    assert_eq!(context.alloc_var(VarKind::Tlp).map_err(|error| error.errno()).err(), Some(28));
    assert_eq!(context.alloc_var(VarKind::Virtio).map_err(|error| error.errno()).err(), Some(95));
    page.store32(8, [1, 2, 3, 4]).expect("inside");
    second.store64(0xff8, [5; 8]).expect("inside");
    assert_eq!(door.fake().stores, [(0x200_0008, vec![1, 2, 3, 4]), (0x200_1ff8, vec![5; 8])]);
    for (offset, width) in [(0xffc, 8), (0x1000, 4), (usize::MAX - 3, 4), (2, 4), (4, 8)] {
        let stored = if width == 4 { page.store32(offset, [0; 4]) } else { page.store64(offset, [0; 8]) };
        assert_eq!(stored, Err(Error::Offset { offset, width, len: 4096 }));
    }
    drop(page);
    assert_eq!(context.alloc_var(VarKind::Tlp).map(|page| page.page_id()), Ok(0), "it was given back");
}

#[test]
fn memory_is_registered_page_by_page() {
    let (door, driver) = up(Behaviour::default());
    let context = driver.open().expect("opens");
    let memory = super::door::Dma::new(&driver.door, 10_000).expect("there's memory");
    let create = super::umem::create(7, &memory).expect("fits");
    let bytes = create.bytes();
    assert_eq!(bytes.len(), create_umem_in::SIZE + 3 * 8);
    assert_eq!(umem::NUM_OF_MTT.within(create_umem_in::UMEM.bits()).get(bytes), Ok(3));
    for page in 0..3 {
        let at = create_umem_in::SIZE + page * 8;
        let entry = u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!(entry, memory.iova() + page as u64 * 4096 + 3, "read and write");
    }
    // 16 MiB have 4,096 entries, which take 64 mailboxes.
    let large = context.register_umem(16 << 20).expect("there's memory");
    assert_eq!(large.len(), 16 << 20);
    let error = context.register_umem(1 << 30).expect_err("that's too much");
    assert_eq!((error.errno(), context.register_umem(0).map_err(|error| error.errno()).err()), (12, Some(22)));
    drop((memory, large, context, driver));
    assert_eq!(door.allocated(), 0);
}
