//! Two channels of one group: what the one leaves behind, the other one gets, and nothing is answered twice.

mod common;

use common::Rig;
use common::commands::{Events, plain};
use common::group::{KEY, begin, crash, pair, read, result, take, write};
use common::software::{MEMORY, Software, description};
use common::twin::{Channel, FunctionSpec, Message, user};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::channel::{PRIMARY, SECONDARY};
use mlx5_twin_fw_cmds::twin_v1::{Fault, gateway};
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_sim::host::{Access, AccessError};
use mlx5_twin_sim::tlp::{Header, Status};

fn number(message: &Message) -> u32 {
    u32::from_le_bytes(message.payload[..4].try_into().expect("a dword"))
}

#[test]
fn what_is_refused() {
    let (mut rig, first, second) = pair(4, 0);
    let uid = user(&mut rig);
    let stranger = Channel::new(&mut rig, uid, 2, 4, 0);
    let memory = rig.pages(0x2000);
    let umem = rig.number(&common::commands::create_umem(uid, memory, 2), create_umem_out::UMEM_ID);
    let create = |primary: u32, key: u64| {
        let context = common::twin::channel_context(&[
            (tlp_channel::LOG_RING_SLOTS, 4),
            (tlp_channel::LOG_SLOT_STRIDE, 9),
            (tlp_channel::GATEWAY_PAGE_ID, 3),
            (tlp_channel::RING_UMEM_ID, umem.into()),
            (tlp_channel::PRIMARY_ID, primary.into()),
            (tlp_channel::EXPORT_KEY, key),
        ]);
        let kind = mlx5_twin_fw_cmds::twin_v1::TLP_CHANNEL;
        common::commands::object(Opcode::CREATE_GENERAL_OBJECT, uid, kind, 0, &context)
    };
    let claim = |change: fn(&mut FunctionSpec)| {
        let mut spec = description(second.channel.id, 0).1;
        change(&mut spec);
        spec.create(second.channel.uid)
    };
    let state = |state| [(tlp_channel::STATE, state)];
    rig.ok(&second.destroy());
    #[rustfmt::skip]
    let cases = [
        ("a channel that isn't there", create(99, KEY), Failure::TWIN_EXPORT),
        ("a channel that isn't exported", create(stranger.id, KEY), Failure::TWIN_EXPORT),
        ("one that isn't exported, without a key", create(stranger.id, 0), Failure::TWIN_EXPORT),
        ("another key", create(first.channel.id, KEY + 1), Failure::TWIN_EXPORT),
        ("no key", create(first.channel.id, 0), Failure::TWIN_EXPORT),
        ("nothing to modify", first.channel.modify(0, &[]), Failure::TWIN_SELECT),
        ("a field that can't be modified", first.channel.modify(4, &[]), Failure::TWIN_SELECT),
        ("one of them that can't be", first.channel.modify(1 << 63 | 1, &state(1)), Failure::TWIN_SELECT),
        ("state 2", first.channel.modify(1, &state(2)), Failure::TWIN_STATE),
        ("a second primary", second.channel.set_state(PRIMARY), Failure::TWIN_PRIMARY),
        ("another's channel", Channel { uid, ..second.channel }.set_state(SECONDARY), Failure::OBJECT_FOREIGN),
        ("a function of another group", FunctionSpec { channel: stranger.id, ..description(0, 0).1 }.create(uid), Failure::TWIN_PORT_TAKEN),
        ("a function that the channel has", description(first.channel.id, 0).1.create(first.channel.uid), Failure::TWIN_PORT_TAKEN),
        ("another BAR", claim(|spec| spec.bars[2] = (1, 12)), Failure::TWIN_LAYOUT),
        ("a region less", claim(|spec| spec.regions.truncate(4)), Failure::TWIN_LAYOUT),
        ("another region", claim(|spec| spec.regions[4].3 -= 4), Failure::TWIN_LAYOUT),
        ("other vectors", claim(|spec| (spec.vectors, spec.regions[2].3) = (3, 48)), Failure::TWIN_LAYOUT),
        ("another place of MSI-X", claim(|spec| spec.msix_offset += 4), Failure::TWIN_LAYOUT),
        ("no PCI Express capability", claim(|spec| spec.pcie_offset = 0), Failure::TWIN_LAYOUT),
    ];
    for (what, command, failure) in &cases {
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(rig.outcome(command).map(drop), expected, "{what}");
    }
    rig.ok(&claim(|_| ()));
    rig.refused(&first.channel.destroy(), Failure::OBJECT_IN_USE);
    rig.refused(&second.channel.destroy(), Failure::OBJECT_IN_USE);
    // A key that is withdrawn opens nothing; who is in stays in.
    rig.ok(&first.channel.set_key(0));
    rig.refused(&create(first.channel.id, KEY), Failure::TWIN_EXPORT);
    rig.refused(&create(first.channel.id, 0), Failure::TWIN_EXPORT);
    rig.ok(&first.channel.set_state(SECONDARY));
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.refused(&first.channel.set_state(PRIMARY), Failure::TWIN_PRIMARY);
    rig.ok(&second.channel.set_state(PRIMARY));
    // State and key at once, and a third channel that joins by the second one's export.
    let both = [(tlp_channel::STATE, SECONDARY.into()), (tlp_channel::EXPORT_KEY, KEY)];
    rig.ok(&second.channel.modify(3, &both));
    assert_eq!(second.channel.field(&mut rig, tlp_channel::PRIMARY_ID), 0, "nobody is");
    let third = rig.number(&create(second.channel.id, KEY), general_obj_out_cmd_hdr::OBJ_ID);
    let third = Channel { id: third, uid, page: 3, ..stranger };
    assert_eq!(third.field(&mut rig, tlp_channel::STATE), SECONDARY.into());
    rig.ok(&third.set_state(PRIMARY));
    assert_eq!(first.channel.field(&mut rig, tlp_channel::PRIMARY_ID), third.id.into());
}

/// The four steps of a hand-over, with traffic all the time: nothing is dropped, nothing comes twice.
#[test]
fn in_good_order() {
    let (mut rig, mut first, mut second) = pair(3, 0);
    // Step by step more traffic, so that some waits at each of them.
    let mut next = 0;
    let traffic = |rig: &mut Rig, next: &mut u32, software: &Software| {
        for _ in 0..5 {
            begin(rig, write(software, *next));
            *next += 1;
        }
        rig.pause();
    };
    let answered = begin(&mut rig, read(&first, 0));
    rig.pause();
    let open = take(&mut rig, &mut first).remove(0);
    traffic(&mut rig, &mut next, &first);
    let mut seen: Vec<u32> = take(&mut rig, &mut first)[..].iter().map(number).collect();
    traffic(&mut rig, &mut next, &first);
    traffic(&mut rig, &mut next, &first);
    rig.ok(&first.channel.set_state(SECONDARY));
    traffic(&mut rig, &mut next, &first);
    let late = begin(&mut rig, read(&first, 8));
    rig.pause();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 8, "they wait in the link's receive buffer");
    rig.refused(&second.channel.set_state(PRIMARY), Failure::TWIN_RING_HELD);
    let rest = take(&mut rig, &mut first);
    assert_eq!(rest.len(), 8, "what was in the ring, and no more");
    seen.extend(rest.iter().map(number));
    assert_eq!(take(&mut rig, &mut first).len() + take(&mut rig, &mut second).len(), 0);
    assert_eq!(first.channel.field(&mut rig, tlp_channel::OPEN_REQUESTS), 1);

    rig.ok(&second.channel.set_state(PRIMARY));
    assert_eq!(second.channel.field(&mut rig, tlp_channel::OPEN_REQUESTS), 1);
    // Only who was given a request can answer it.
    second.channel.answer(&mut rig, &open, second.id, Ok(&[9; 4]));
    rig.pause();
    assert_eq!(result(&mut rig, answered), None);
    first.channel.answer(&mut rig, &open, first.id, Ok(&[1, 0, 0, 0]));
    rig.pause();
    assert_eq!(result(&mut rig, answered), Some(Ok(1)));
    let mut requests = Vec::new();
    for _ in 0..3 {
        for message in take(&mut rig, &mut second) {
            assert!(!message.is_again());
            if message.payload.is_empty() { requests.push(message) } else { seen.push(number(&message)) }
        }
    }
    assert_eq!(seen, (0..next).collect::<Vec<_>>());
    let [request] = &requests[..] else { panic!("{requests:?}") };
    first.channel.answer(&mut rig, request, first.id, Ok(&[9; 4]));
    second.channel.answer(&mut rig, request, second.id, Ok(&[2, 0, 0, 0]));
    rig.pause();
    assert_eq!(result(&mut rig, late), Some(Ok(2)));
    assert_eq!(first.channel.faults(&mut rig), [(Fault::Request, 1)]);
    assert_eq!(second.channel.faults(&mut rig), [(Fault::Request, 1)]);
    // The old one leaves; the function stays.
    rig.ok(&first.destroy());
    rig.ok(&first.channel.destroy());
    second.seen.clear();
    assert!(second.read(&mut rig, MEMORY, 4).is_ok());
    rig.settle();
    let faults = rig.machine.simulation.fabric().faults();
    assert_eq!((faults.completion_timeout, faults.unexpected_completion, faults.completer_abort), (0, 0, 0));
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

/// How a primary can go, and what it had by then.
#[test]
fn a_primary_that_goes_leaves_everything_to_the_next() {
    // Its context, its channel's claim; and whether it had handed over before.
    for (by_context, demoted) in [(true, false), (false, false), (true, true), (false, true)] {
        let (mut rig, mut first, mut second) = pair(4, 2);
        take(&mut rig, &mut first);
        let config = Access::ConfigWrite { target: first.id, register: 1, byte_enables: 3, value: 2 };
        let tickets = [read(&first, 0), config, read(&first, 4)].map(|access| begin(&mut rig, access));
        rig.pause();
        let open = take(&mut rig, &mut first);
        assert_eq!(open.len(), 3);
        // Answered requests don't come again.
        first.channel.answer(&mut rig, &open[0], first.id, Ok(&[7, 0, 0, 0]));
        for value in 0..3 {
            begin(&mut rig, write(&first, value));
        }
        let unread = begin(&mut rig, read(&first, 12));
        rig.pause();
        if demoted {
            rig.ok(&first.channel.set_state(SECONDARY));
        }
        // It has taken two of the writes, and freed none.
        assert_eq!((0..2).filter_map(|_| first.channel.next(&rig)).count(), 2);
        if by_context {
            crash(&mut rig, &first);
        } else {
            rig.ok(&first.destroy());
        }
        begin(&mut rig, write(&second, 3));
        rig.pause();
        assert_eq!(take(&mut rig, &mut second).len(), 0, "it isn't primary yet");
        if !by_context {
            if !demoted {
                rig.ok(&first.channel.set_state(SECONDARY));
            }
            rig.refused(&second.channel.set_state(PRIMARY), Failure::TWIN_RING_HELD);
            std::iter::from_fn(|| first.channel.next(&rig)).count();
            first.channel.free(&mut rig);
            rig.pause();
        }
        rig.ok(&second.channel.set_state(PRIMARY));
        rig.pause();
        let mut messages = take(&mut rig, &mut second);
        messages.retain(|message| !message.is_credit());
        let kinds: Vec<_> = messages
            .iter()
            .map(|message| {
                (message.is_again(), message.header().payload_len(), message.place.map(|(_, offset)| offset))
            })
            .collect();
        let place = |offset| Some(MEMORY + offset);
        let expected = [
            (true, 4, None),
            (true, 0, place(4)),
            (true, 4, place(0)),
            (true, 4, place(0)),
            (true, 4, place(0)),
            (true, 0, place(12)),
            (false, 4, place(0)),
        ];
        assert_eq!(kinds, expected, "in the order in which they came");
        assert_eq!(messages[2..5].iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((messages[0].payload.as_slice(), number(&messages[6])), (&[2, 0, 0, 0][..], 3));
        assert_eq!(messages[1].head[8..16], open[2].head[8..16], "the time at which it came first");
        assert_eq!(second.channel.field(&mut rig, tlp_channel::REDELIVERED), 6);
        assert_eq!(second.channel.field(&mut rig, tlp_channel::OPEN_REQUESTS), 3);
        if !by_context {
            first.channel.answer(&mut rig, &open[2], first.id, Ok(&[9; 4]));
            rig.pause();
            assert_eq!(first.channel.faults(&mut rig), [(Fault::Request, 1)], "it isn't its any more");
        }
        for (message, value) in [(5, 5), (1, 4)] {
            second.channel.answer(&mut rig, &messages[message], second.id, Ok(&[value, 0, 0, 0]));
        }
        second.channel.answer(&mut rig, &messages[0], second.id, Ok(&[]));
        rig.pause();
        let results = tickets.map(|ticket| result(&mut rig, ticket));
        assert_eq!(results, [Some(Ok(7)), Some(Ok(0)), Some(Ok(4))]);
        assert_eq!(result(&mut rig, unread), Some(Ok(5)));
        assert_eq!(second.channel.faults(&mut rig), []);
        rig.settle();
        let faults = rig.machine.simulation.fabric().faults();
        assert_eq!((faults.completion_timeout, faults.unexpected_completion, faults.completer_abort), (0, 0, 0));
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    }
}

/// What waits to be delivered again and what was delivered again just now, when its reader goes too: none overtakes another.
#[test]
fn what_is_left_behind_twice_keeps_its_order() {
    let (mut rig, mut first, mut second) = pair(3, 0);
    for value in 0..7 {
        begin(&mut rig, write(&first, value));
    }
    rig.pause();
    // A slot is free: the first write is delivered again to the same channel, the others wait.
    rig.ok(&first.destroy());
    first.function =
        rig.number(&description(first.channel.id, 0).1.create(first.channel.uid), general_obj_out_cmd_hdr::OBJ_ID);
    rig.pause();
    assert_eq!(first.channel.field(&mut rig, tlp_channel::REDELIVERED), 1);
    crash(&mut rig, &first);
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    let messages = take(&mut rig, &mut second);
    assert_eq!(messages.iter().map(number).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    assert!(messages.iter().all(Message::is_again));
}

/// When the last claim goes, the requests end; what had been left behind goes with them.
#[test]
fn with_the_last_claim_the_requests_end() {
    let (mut rig, mut first, second) = pair(4, 0);
    let tickets = [0, 8].map(|offset| begin(&mut rig, read(&first, offset)));
    begin(&mut rig, write(&first, 1));
    rig.pause();
    take(&mut rig, &mut first);
    crash(&mut rig, &first);
    let waiting = begin(&mut rig, read(&second, 16));
    rig.pause();
    crash(&mut rig, &second);
    rig.settle();
    for (ticket, offset) in tickets.into_iter().chain([waiting]).zip([0, 8, 16]) {
        let aborted = AccessError::CompleterAbort(second.bar + MEMORY + offset);
        assert_eq!(result(&mut rig, ticket), Some(Err(aborted)));
    }
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
    assert_eq!(rig.device(|dpu| dpu.emulation().claimed()), 0);
}

/// What only the primary may do, and what is each channel's own.
#[test]
fn writes_and_interrupts_are_the_primarys() {
    let (mut rig, mut first, mut second) = pair(4, 2);
    assert_eq!(take(&mut rig, &mut second).len(), 0, "a secondary gets no credits");
    let header = Header::mem_write_bytes(first.id, 0, 0x4000, 4).expect("a header");
    let send = |rig: &mut Rig, software: &Software| {
        software.channel.send(rig, gateway::MEMORY_WRITE, 0, 0, &header, &[1; 4]);
        software.channel.post(rig, gateway::MSIX, 0, 0, 0);
        rig.pause();
    };
    send(&mut rig, &second);
    assert_eq!(second.channel.faults(&mut rig), [(Fault::NotPrimary, 2)]);
    send(&mut rig, &first);
    assert_eq!(first.channel.faults(&mut rig), [(Fault::MsixDisabled, 1)], "the write went out");
    rig.ok(&first.channel.set_state(SECONDARY));
    let granted = take(&mut rig, &mut first);
    assert_eq!(granted.len(), 1, "the credit had come back before");
    send(&mut rig, &first);
    assert_eq!(first.channel.faults(&mut rig), [(Fault::MsixDisabled, 1), (Fault::NotPrimary, 2)]);
    // It still holds its credits, and may give them back.
    first.channel.post(&mut rig, gateway::FLUSH, 0, 0, granted[0].request);
    rig.pause();
    assert_eq!(first.channel.faults(&mut rig).len(), 2);
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    let credits = take(&mut rig, &mut second);
    assert_eq!(credits.iter().filter(|message| message.is_credit()).count(), 2);
    send(&mut rig, &second);
    assert_eq!(second.channel.faults(&mut rig), [(Fault::MsixDisabled, 1), (Fault::NotPrimary, 2)]);
}

/// A channel that waits learns by its event that the group has no primary any more.
#[test]
fn the_next_one_is_told() {
    for crashes in [false, true] {
        let (mut rig, first, second) = pair(4, 0);
        rig.enable_msix(4, false);
        let uar = rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
        let mut events = Events::new(&mut rig, 4, uar, 2, 1 << 0x27);
        second.channel.arm(&mut rig);
        rig.pause();
        assert_eq!(events.next(&rig), None);
        assert_eq!(second.channel.field(&mut rig, tlp_channel::PRIMARY_ID), first.channel.id.into());
        if crashes {
            crash(&mut rig, &first);
        } else {
            rig.ok(&first.channel.set_state(SECONDARY));
        }
        rig.pause();
        let (kind, data) = events.next(&rig).expect("an event");
        assert_eq!((kind, &data[4..8]), (0x27, &second.channel.id.to_be_bytes()[..]));
        assert_eq!(second.channel.field(&mut rig, tlp_channel::PRIMARY_ID), 0);
    }
}

/// What the device knows of configuration space is there for the next one: it can go on without the old one's word.
#[test]
fn the_device_tells_what_the_host_has_set() {
    let (mut rig, mut first, second) = pair(4, 0);
    let control = first.config.find(mlx5_twin_sim::config::CapabilityId::MSIX).expect("MSI-X") / 4;
    first.config_write(&mut rig, control, 0xc, 0xc000 << 16);
    crash(&mut rig, &first);
    let context = second.query(&mut rig);
    let bar = |number| emulated_function::BAR_VALUES.get(&context, number).expect("is there");
    assert_eq!(bar(1) << 32 | bar(0), second.bar);
    assert_eq!(emulated_function::COMMAND.get(&context), Ok(6));
    assert_eq!(emulated_function::MSIX_CONTROL.get(&context).map(|control| control & 0xc000), Ok(0xc000));
    assert_eq!(emulated_function::DEVICE_CONTROL.get(&context).map(|control| control >> 5 & 7), Ok(1));
    assert_eq!(emulated_function::FUNCTION_ID.get(&context), Ok(second.id.0.into()));
}

/// A request that the old one has refused to answer ends at the host by its own clock.
#[test]
fn nobody_takes_over() {
    let (mut rig, mut first, second) = pair(4, 0);
    let ticket = begin(&mut rig, read(&first, 0));
    rig.pause();
    take(&mut rig, &mut first);
    crash(&mut rig, &first);
    rig.settle();
    assert_eq!(result(&mut rig, ticket), Some(Err(AccessError::Timeout(second.bar + MEMORY))));
    // The answer of one that comes after it is late.
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    let mut second = second;
    let request = take(&mut rig, &mut second).remove(0);
    second.channel.answer(&mut rig, &request, second.id, Err(Status::CompleterAbort));
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().faults().unexpected_completion, 1);
}
