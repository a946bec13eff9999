//! The order modes of a channel, and completions that go out although they break a rule.

mod common;

use common::Rig;
use common::software::{MEMORY, Software};
use common::twin::{Channel, Message, user};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::twin_v1::channel::{FLAG_ORDER, STRICT_FIFO, UNCHECKED};
use mlx5_twin_fw_cmds::twin_v1::{Fault, gateway};
use mlx5_twin_sim::fabric::{Faults, Ticket};
use mlx5_twin_sim::host::{Access, AccessError, Data};
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, Status};
use proptest::prelude::*;

/// A function in use by a channel with these flags.
fn ready(flags: u8, log_slots: u32) -> (Rig, Software) {
    let mut rig = Rig::initialised();
    let uid = user(&mut rig);
    let channel = Channel::with(&mut rig, uid, 0, log_slots, 0, &[(tlp_channel::FLAGS, flags.into())]);
    let mut software = Software::claim(&mut rig, channel, 0);
    software.enumerate(&mut rig);
    software.set_command(&mut rig, 6);
    software.seen.clear();
    (rig, software)
}

/// Reads that wait at software, in their order.
fn reads(rig: &mut Rig, software: &mut Software, count: u64) -> (Vec<Ticket>, Vec<Message>) {
    let begin = |number| {
        let access = Access::MemoryRead { address: software.bar + MEMORY + 4 * number, len: 4 };
        rig.machine.simulation.access(rig.machine.host, access).expect("an access")
    };
    let tickets = (0..count).map(begin).collect();
    rig.pause();
    let messages = std::iter::from_fn(|| software.channel.next(rig)).collect();
    software.channel.free(rig);
    (tickets, messages)
}

fn results(rig: &mut Rig, tickets: &[Ticket]) -> Vec<Option<Result<u64, AccessError>>> {
    rig.pause();
    let result =
        |&ticket: &Ticket| rig.machine.simulation.result(ticket).map(|result| result.map(|data| data.to_u64()));
    tickets.iter().map(result).collect()
}

/// The same answers in the same order, in each mode: which of them arrive, what is counted.
#[test]
fn each_mode() {
    // Answered in the order 1, 0, 2, 1 (again, if it's still open), 3.
    let table = [
        (0, [true; 4], 0, &[(Fault::Request, 1)][..]),
        (FLAG_ORDER, [true; 4], 1, &[(Fault::Request, 1)]),
        (STRICT_FIFO, [true, true, false, false], 0, &[(Fault::OutOfOrder, 3)]),
    ];
    for (flags, arrive, reordered, faults) in table {
        let (mut rig, mut software) = ready(flags, 4);
        let (tickets, messages) = reads(&mut rig, &mut software, 4);
        for number in [1, 0, 2, 1, 3] {
            let data = (number as u32).to_le_bytes();
            software.channel.answer(&mut rig, &messages[number], software.id, Ok(&data));
        }
        let expected: Vec<_> = (0..4).map(|number| arrive[number as usize].then_some(Ok(number))).collect();
        assert_eq!(results(&mut rig, &tickets), expected, "flags {flags}");
        assert_eq!(software.channel.field(&mut rig, tlp_channel::REORDERED), reordered, "flags {flags}");
        assert_eq!(software.channel.faults(&mut rig), faults, "flags {flags}");
        assert_eq!(software.channel.field(&mut rig, tlp_channel::FLAGS), flags.into());
        // Refused for its order only: it can be answered when its turn comes.
        for number in [2, 3] {
            let data = (number as u32).to_le_bytes();
            software.channel.answer(&mut rig, &messages[number], software.id, Ok(&data));
        }
        let expected: Vec<_> = (0..4).map(|number| (!arrive[number as usize]).then_some(Ok(number))).collect();
        assert_eq!(results(&mut rig, &tickets), expected, "flags {flags}");
        rig.settle();
    }
}

/// The order is that of each function: an old request of one doesn't hold up the other.
#[test]
fn functions_have_orders_of_their_own() {
    let mut profile = common::profile();
    (profile.topology.downstream_ports, profile.topology.static_functions) = (2, 2);
    let mut rig = Rig::new(&profile).bring_up();
    let uid = user(&mut rig);
    let channel = Channel::with(&mut rig, uid, 0, 6, 0, &[(tlp_channel::FLAGS, STRICT_FIFO.into())]);
    let (_, spec) = common::software::description(channel.id, 1);
    rig.ok(&spec.create(uid));
    let mut first = Software::claim(&mut rig, channel, 0);
    // Both functions are found by one enumeration; the second one answers that nothing is there.
    let host = rig.machine.simulation.host(rig.host());
    let found = rig.drive(async move { mlx5_twin_sim::host::enumerate(&host, common::settings()).await }, |rig| {
        while let Some(message) = first.channel.next(rig) {
            first.channel.free(rig);
            if message.function == 0 {
                first.take(rig, &message);
            } else {
                let target = message.header().target();
                first.channel.answer(rig, &message, target, Err(Status::UnsupportedRequest));
            }
        }
    });
    let found = found.expect("an end").expect("enumeration");
    let own = found.iter().find(|function| function.device == 0x42).expect("the first function");
    let bus = own.id.bus();
    // One request each, the second function's first.
    let read = |rig: &mut Rig, bus| {
        let access = Access::ConfigRead { target: Bdf::new(bus, 0, 0), register: 0 };
        rig.machine.simulation.access(rig.machine.host, access).expect("an access")
    };
    let tickets = [read(&mut rig, bus + 1), read(&mut rig, bus)];
    rig.pause();
    let messages: Vec<Message> = std::iter::from_fn(|| first.channel.next(&rig)).collect();
    assert_eq!(messages.iter().map(|message| message.function).collect::<Vec<_>>(), [1, 0]);
    for (message, value) in messages.iter().zip([1_u8, 2]).rev() {
        first.channel.answer(&mut rig, message, message.header().target(), Ok(&[value, 0, 0, 0]));
    }
    assert_eq!(results(&mut rig, &tickets), [Some(Ok(1)), Some(Ok(2))]);
    assert_eq!(first.channel.faults(&mut rig), []);
}

/// What an unchecked channel sends, what the device counts, and what the host sees of it: what the PCIe base specification says of
/// completions that answer no request (2.3.2), and of requests that aren't answered (2.8).
#[test]
fn unchecked_completions_reach_the_host() {
    /// What is posted for a request: its name, tag, requester, Byte Count, Lower Address and dwords, each as it should be.
    #[derive(Clone, Copy)]
    struct Posted {
        call: u32,
        tag: u16,
        to: Bdf,
        count: u32,
        lower: u8,
        dwords: u32,
    }
    // What is wrong, the fault, whether the host takes it for the answer.
    type Case = (&'static str, fn(&mut Posted), Fault, bool);
    let cases: [Case; 6] = [
        ("another tag", |posted| posted.tag ^= 0x55, Fault::Transaction, false),
        ("another requester", |posted| posted.to.0 ^= 1, Fault::Transaction, false),
        ("more than was asked for", |posted| (posted.count, posted.dwords) = (8, 2), Fault::ByteCount, false),
        ("another Lower Address", |posted| posted.lower ^= 4, Fault::ByteCount, false),
        ("data that are missing", |posted| (posted.count, posted.dwords) = (4, 0), Fault::ByteCount, false),
        ("another request's name", |posted| posted.call ^= 1 << 12, Fault::Request, true),
    ];
    for (flags, (what, spoil, fault, is_taken)) in
        [0, UNCHECKED].into_iter().flat_map(|flags| cases.map(|case| (flags, case)))
    {
        let (mut rig, mut software) = ready(flags, 4);
        let (tickets, messages) = reads(&mut rig, &mut software, 1);
        let asked = messages[0].header();
        let (call, tag, to) = (messages[0].request, asked.tag(), asked.requester());
        let right = Posted { call, tag, to, count: 4, lower: asked.completion_lower_address(), dwords: 1 };
        let mut wrong = right;
        spoil(&mut wrong);
        let post = |rig: &mut Rig, posted: Posted, byte: u8| {
            let Posted { call, tag, to, count, lower, dwords } = posted;
            let ok = Status::Successful;
            let header = Header::completion(software.id, to, tag, ok, count, lower, dwords, 0, Attr::NONE);
            let data = vec![byte; 4 * dwords as usize];
            software.channel.send(rig, gateway::COMPLETION, 0, call, &header.expect("a header"), &data);
            rig.pause();
        };
        let unexpected = |rig: &Rig| rig.machine.simulation.fabric().faults().unexpected_completion;
        let sent = flags == UNCHECKED;
        post(&mut rig, wrong, 0x11);
        assert_eq!(software.channel.faults(&mut rig), [(fault, 1)], "{what}");
        assert_eq!(unexpected(&rig), u64::from(sent && !is_taken), "{what}, flags {flags}");
        let taken = sent && is_taken;
        assert_eq!(results(&mut rig, &tickets), [taken.then_some(Ok(0x1111_1111))], "{what}, flags {flags}");
        // For the device the request is as it was: it can still be answered.
        post(&mut rig, right, 0x22);
        assert_eq!(results(&mut rig, &tickets), [(!taken).then_some(Ok(0x2222_2222))], "{what}, flags {flags}");
        assert_eq!(unexpected(&rig), u64::from(sent), "{what}, flags {flags}");
        // It's over; a second answer answers nothing.
        post(&mut rig, right, 0x33);
        assert_eq!(unexpected(&rig), 2 * u64::from(sent), "{what}, flags {flags}");
        rig.settle();
        assert_eq!(rig.machine.simulation.fabric().faults().completion_timeout, 0);
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    }
}

/// What isn't a completion of the function's, or no legal TLP on its link, isn't sent by an unchecked channel either.
#[test]
fn unchecked_has_its_limits() {
    let (mut rig, mut software) = ready(UNCHECKED, 4);
    let (tickets, messages) = reads(&mut rig, &mut software, 1);
    let asked = messages[0].header();
    let call = messages[0].request;
    let completion = |dwords: u32| {
        let ok = Status::Successful;
        let header =
            Header::completion(software.id, asked.requester(), asked.tag(), ok, 4 * dwords, 0, dwords, 0, Attr::NONE);
        header.expect("a header")
    };
    let mut poisoned = completion(1);
    poisoned.set_ep(true);
    let write = Header::mem_write_bytes(software.id, 0, 0x4000, 4).expect("a header");
    let channel = &software.channel;
    channel.send(&mut rig, gateway::COMPLETION, 0, call, &poisoned, &[0; 4]);
    channel.send(&mut rig, gateway::COMPLETION, 0, call, &write, &[0; 4]);
    channel.send(&mut rig, gateway::COMPLETION, 1, call, &completion(1), &[0; 4]);
    // Max_Payload_Size is 256.
    channel.send(&mut rig, gateway::COMPLETION, 0, call, &completion(65), &[0; 260]);
    channel.stage(&mut rig, &completion(1), &[0; 4]);
    channel.post(&mut rig, gateway::COMPLETION, 0, 8, call);
    rig.pause();
    let faults = [(Fault::Length, 1), (Fault::Header, 2), (Fault::Request, 1), (Fault::ByteCount, 1)];
    assert_eq!(software.channel.faults(&mut rig), faults);
    let seen = rig.machine.simulation.fabric().faults();
    assert_eq!(
        seen,
        Faults { unsupported_request: seen.unsupported_request, ..Faults::default() },
        "the host saw nothing"
    );
    rig.settle();
    assert_eq!(results(&mut rig, &tickets), [Some(Err(AccessError::Timeout(software.bar + MEMORY)))]);
    // Too late: it's sent in every mode, as the device doesn't know.
    software.channel.send(&mut rig, gateway::COMPLETION, 0, call, &completion(1), &[0; 4]);
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().faults().unexpected_completion, 1);
}

/// Takes all messages: reads that are open, and writes, whose numbers go on from `taken`. Gives the next one.
fn take(rig: &Rig, software: &mut Software, open: &mut Vec<Message>, mut taken: u32) -> u32 {
    while let Some(message) = software.channel.next(rig) {
        if message.payload.is_empty() {
            open.push(message);
        } else {
            assert_eq!(message.payload, taken.to_le_bytes());
            taken += 1;
        }
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any traffic in a ring of any size, taken, freed and answered in any order: messages come in order and once, whatever the lap,
    /// and a strict channel lets exactly the answers pass that are in turn.
    #[test]
    fn laps_in_every_mode(
        log_slots in 0_u32..5,
        flags in prop_oneof![Just(0), Just(FLAG_ORDER), Just(STRICT_FIFO), Just(UNCHECKED)],
        steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 1..80),
    ) {
        let (mut rig, mut software) = ready(flags, log_slots);
        let (mut sent, mut taken, mut reordered, mut refused) = (0_u32, 0_u32, 0, 0);
        let mut tickets: Vec<(Ticket, u32, bool)> = Vec::new();
        let mut open: Vec<Message> = Vec::new();
        for (step, index) in steps {
            match step {
                0 => {
                    let data = Data::new(&sent.to_le_bytes());
                    let access = Access::MemoryWrite { address: software.bar + MEMORY, data };
                    rig.machine.simulation.access(rig.host(), access).expect("an access");
                    sent += 1;
                }
                1 => {
                    let number = tickets.len() as u32;
                    let access = Access::MemoryRead { address: software.bar + MEMORY + 4 * u64::from(number), len: 4 };
                    let ticket = rig.machine.simulation.access(rig.host(), access).expect("an access");
                    tickets.push((ticket, number, false));
                }
                2 => taken = take(&rig, &mut software, &mut open, taken),
                3 => software.channel.free(&mut rig),
                _ if open.is_empty() => {}
                _ => {
                    let place = index.index(open.len());
                    let number = (open[place].place.expect("a place").1 - MEMORY) as u32 / 4;
                    software.channel.answer(&mut rig, &open[place], software.id, Ok(&number.to_le_bytes()));
                    let overtakes = place != 0;
                    if overtakes && flags == STRICT_FIFO {
                        refused += 1;
                    } else {
                        reordered += u64::from(overtakes && flags == FLAG_ORDER);
                        open.remove(place);
                        tickets[number as usize].2 = true;
                    }
                }
            }
            rig.pause();
        }
        for (ticket, number, answered) in &tickets {
            let expected = answered.then_some(Ok(Data::new(&number.to_le_bytes())));
            prop_assert_eq!(rig.machine.simulation.result(*ticket), expected);
        }
        prop_assert_eq!(software.channel.field(&mut rig, tlp_channel::REORDERED), reordered);
        let faults = if refused > 0 { vec![(Fault::OutOfOrder, refused)] } else { Vec::new() };
        prop_assert_eq!(software.channel.faults(&mut rig), faults);
        // What is left comes too.
        for _ in 0..sent as usize + tickets.len() + 1 {
            taken = take(&rig, &mut software, &mut open, taken);
            software.channel.free(&mut rig);
            rig.pause();
        }
        prop_assert_eq!(taken, sent);
        prop_assert_eq!(open.len(), tickets.iter().filter(|(.., answered)| !answered).count());
    }
}
