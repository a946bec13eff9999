//! What a function's software is told beside TLPs, when the function goes to another channel: writes to what the device keeps, and what happens to
//! the link. And what a reset leaves of it all.

mod common;

use common::group::{begin, crash, pair, pair_as, read, result, take, write};
use common::software::{DOORBELL_REGION, DOORBELLS, STATE, STATE_REGION, Software, description, with_state};
use common::twin::{FunctionSpec, Message};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::twin_v1::channel::{PRIMARY, SECONDARY};
use mlx5_twin_fw_cmds::twin_v1::{Fault, message};
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_sim::config::{CapabilityId, ConfigSpace, PowerCapability, Reset};
use mlx5_twin_sim::host::{Access, AccessError, Data, enumerate};

const ASSERTED: (u8, u32) = (message::PCI_EVENT, message::PERST_ASSERTED);
const DEASSERTED: (u8, u32) = (message::PCI_EVENT, message::PERST_DEASSERTED);
/// Events of the machine after which an enumeration has asked the function for long, and waits for it.
const PUT_OFF: usize = 3000;

/// A second claim describes the same function, all of it.
#[test]
fn another_layout_is_refused() {
    type Spoil = fn(&mut FunctionSpec);
    let spoils: [(&str, Spoil); 7] = [
        ("no power management", |spec| spec.pm_offset = 0),
        ("No_Soft_Reset", |spec| spec.no_soft_reset = true),
        ("an expansion ROM", |spec| spec.rom_log_size = 12),
        ("a doorbell that doesn't notify", |spec| spec.notify.retain(|&number| number != DOORBELL_REGION as usize)),
        ("a region that doesn't notify", |spec| spec.notify.retain(|&number| number != STATE_REGION as usize)),
        ("no stateful region", |spec| {
            spec.regions.truncate(STATE_REGION as usize);
            spec.notify.clear();
        }),
        ("a shorter one", |spec| spec.regions[STATE_REGION as usize].3 -= 4),
    ];
    let describe = |config: &mut ConfigSpace, spec: &mut FunctionSpec| {
        with_state(config, spec);
        spec.pm_offset = config.add(&PowerCapability { no_soft_reset: false }).expect("room");
    };
    let (mut rig, _, second) = pair_as(4, 0, describe);
    let (mut config, mut spec) = description(second.channel.id, second.port);
    describe(&mut config, &mut spec);
    rig.ok(&second.destroy());
    for (what, spoil) in spoils {
        let mut other = spec.clone();
        spoil(&mut other);
        let expected = Err((Failure::TWIN_LAYOUT.status.0, Failure::TWIN_LAYOUT.syndrome.0));
        assert_eq!(rig.outcome(&other.create(second.channel.uid)).map(drop), expected, "{what}");
    }
    rig.ok(&spec.create(second.channel.uid));
}

/// How the first channel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// Its context is gone.
    Crash,
    /// It gives its claim back, and lives.
    Release,
    /// It is secondary first, and then its context is gone.
    DemotedCrash,
}

const GOINGS: [Going; 3] = [Going::Crash, Going::Release, Going::DemotedCrash];

fn go(rig: &mut Rig, software: &mut Software, going: Going) {
    match going {
        Going::Crash => crash(rig, software),
        Going::Release => {
            rig.ok(&software.destroy());
            rig.ok(&software.channel.set_state(SECONDARY));
            // Its ring has to be empty before another one is primary. Nobody takes this for an answer to what it was told.
            take(rig, software);
        }
        Going::DemotedCrash => {
            rig.ok(&software.channel.set_state(SECONDARY));
            crash(rig, software);
        }
    }
}

fn ring(rig: &mut Rig, software: &Software, number: u64, value: u32) {
    let address = software.bar + DOORBELLS + 4 * number;
    begin(rig, Access::MemoryWrite { address, data: Data::new(&value.to_le_bytes()) });
    rig.pause();
}

fn write_state(rig: &mut Rig, software: &Software) {
    begin(rig, Access::MemoryWrite { address: software.bar + STATE, data: Data::new(&[1]) });
    rig.pause();
}

/// Kind, number and value of the notices among messages.
fn notices(messages: &[Message]) -> Vec<(u8, u32, u32)> {
    let notices = messages.iter().filter_map(Message::notice);
    notices.map(|notice| (notice.kind, notice.number, notice.value)).collect()
}

fn events(messages: &[Message]) -> Vec<(u8, u32)> {
    let others = messages.iter().filter(|message| message.kind != message::TLP && !message.is_credit());
    others.map(|message| (message.kind, message.event)).collect()
}

#[test]
fn what_waits_goes_to_the_next_primary() {
    let (mut rig, mut first, mut second) = pair_as(4, 0, with_state);
    ring(&mut rig, &first, 3, 1);
    ring(&mut rig, &first, 3, 2);
    rig.ok(&first.channel.set_state(SECONDARY));
    rig.refused(&second.channel.set_state(PRIMARY), Failure::TWIN_RING_HELD);
    assert_eq!(notices(&take(&mut rig, &mut first)), [(message::DOORBELL, 3, 1)]);
    // Nobody is primary: these wait, the second ring of the first doorbell among them.
    ring(&mut rig, &first, 3, 4);
    ring(&mut rig, &first, 5, 6);
    write_state(&mut rig, &first);
    assert_eq!((take(&mut rig, &mut first).len(), take(&mut rig, &mut second).len()), (0, 0));
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    let messages = take(&mut rig, &mut second);
    let state = (message::REGION_WRITTEN, STATE_REGION as u32, 0);
    // The last but one was due when the first was freed, and tells what was rung by then.
    let expected = [(message::DOORBELL, 3, 2), (message::DOORBELL, 5, 6), state];
    assert_eq!(notices(&messages), expected);
    assert_eq!(notices(&take(&mut rig, &mut second)), [(message::DOORBELL, 3, 4)], "and what came after that");
    assert_eq!(second.channel.field(&mut rig, tlp_channel::REDELIVERED), 0);
}

/// A notice that its reader never freed neither is lost nor keeps its source silent.
#[test]
fn notices_survive_their_reader() {
    for going in GOINGS {
        for rung_again in [false, true] {
            let (mut rig, mut first, mut second) = pair_as(4, 0, with_state);
            ring(&mut rig, &first, 3, 1);
            write_state(&mut rig, &first);
            assert!(first.channel.next(&rig).is_some(), "taken, not freed");
            if rung_again {
                ring(&mut rig, &first, 3, 2);
            }
            go(&mut rig, &mut first, going);
            rig.ok(&second.channel.set_state(PRIMARY));
            rig.pause();
            let what = format!("{going:?}, {rung_again}");
            let mut told = notices(&take(&mut rig, &mut second));
            told.sort_unstable();
            let last = if rung_again { 2 } else { 1 };
            let expected = [(message::DOORBELL, 3, last), (message::REGION_WRITTEN, STATE_REGION as u32, 0)];
            assert_eq!(told, expected, "{what}");
            ring(&mut rig, &second, 3, 9);
            assert_eq!(notices(&take(&mut rig, &mut second)), [(message::DOORBELL, 3, 9)], "{what}");
            write_state(&mut rig, &second);
            assert_eq!(notices(&take(&mut rig, &mut second)).len(), 1, "{what}");
            rig.settle();
        }
    }
}

/// What the host had forgotten by a reset isn't told to whoever comes next; later writes are.
#[test]
fn a_reset_ends_what_notices_told() {
    let (mut rig, mut first, mut second) = pair_as(4, 0, with_state);
    ring(&mut rig, &first, 3, 1);
    // A program that answers all but forgets to free the notice: the reset's messages are behind it in the ring.
    let held = first.channel.consumer;
    let pcie = first.config.find(CapabilityId::PCIE).expect("is there");
    let write = Access::ConfigWrite { target: first.id, register: pcie / 4 + 2, byte_enables: 3, value: 1 << 15 };
    let ticket = begin(&mut rig, write);
    rig.pause();
    while let Some(message) = first.channel.next(&rig) {
        first.take(&mut rig, &message);
    }
    rig.pause();
    assert!(first.channel.consumer > held + 1);
    assert_eq!(result(&mut rig, ticket), Some(Ok(0)));
    crash(&mut rig, &first);
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    assert_eq!(take(&mut rig, &mut second).len(), 0);
    second.function_level_reset(&mut rig);
    second.seen.clear();
    ring(&mut rig, &second, 3, 2);
    assert_eq!(notices(&take(&mut rig, &mut second)), [(message::DOORBELL, 3, 2)]);
}

/// After a reset nothing of before is delivered again: neither requests nor posted writes, freed or not.
#[test]
fn nothing_comes_again_after_a_reset() {
    let (mut rig, mut first, mut second) = pair(4, 0);
    let open = begin(&mut rig, read(&first, 0));
    let posted = write(&first, 7);
    begin(&mut rig, posted);
    rig.pause();
    let messages: Vec<Message> = std::iter::from_fn(|| first.channel.next(&rig)).collect();
    assert_eq!(messages.len(), 2);
    let pcie = first.config.find(CapabilityId::PCIE).expect("is there");
    begin(&mut rig, Access::ConfigWrite { target: first.id, register: pcie / 4 + 2, byte_enables: 3, value: 1 << 15 });
    rig.pause();
    let reset = first.channel.next(&rig).expect("the write");
    first.take(&mut rig, &reset);
    rig.pause();
    let request = messages.iter().find(|message| message.request != 0).expect("the read");
    first.channel.answer(&mut rig, request, first.id, Ok(&[1; 4]));
    rig.pause();
    assert_eq!(first.channel.faults(&mut rig), [(Fault::AfterReset, 1)]);
    crash(&mut rig, &first);
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    assert_eq!(take(&mut rig, &mut second).len(), 0);
    second.channel.answer(&mut rig, request, second.id, Ok(&[2; 4]));
    rig.pause();
    assert_eq!(second.channel.faults(&mut rig), [(Fault::AfterReset, 1)], "it isn't open for anybody");
    assert_eq!(second.channel.field(&mut rig, tlp_channel::REDELIVERED), 0);
    rig.settle();
    assert!(matches!(result(&mut rig, open), Some(Err(AccessError::Timeout(_)))));
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

fn set_perst(rig: &mut Rig, asserted: bool) {
    let host = rig.machine.simulation.host(rig.host());
    rig.machine.simulation.run(async move { host.set_perst(asserted).await }).expect("an end");
    rig.settle();
}

/// What was left behind by a channel and waits for another one, when the link goes down and up.
#[test]
fn link_down_ends_what_was_left_behind() {
    let (mut rig, mut first, mut second) = pair(4, 0);
    let open = begin(&mut rig, read(&first, 0));
    let posted = write(&first, 7);
    begin(&mut rig, posted);
    rig.pause();
    let request = first.channel.next(&rig).filter(|message| message.request != 0);
    let request = request.or_else(|| first.channel.next(&rig)).expect("the read");
    crash(&mut rig, &first);
    set_perst(&mut rig, true);
    set_perst(&mut rig, false);
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    let messages = take(&mut rig, &mut second);
    assert_eq!((messages.len(), events(&messages)), (2, vec![ASSERTED, DEASSERTED]));
    second.channel.answer(&mut rig, &request, second.id, Ok(&[2; 4]));
    rig.pause();
    assert_eq!(second.channel.faults(&mut rig), [(Fault::LinkDown, 1)]);
    rig.settle();
    assert!(result(&mut rig, open).is_some_and(|result| result.is_err()));
    second.events.clear();
    second.config.reset(Reset::Fundamental);
    second.enumerate(&mut rig);
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

/// A function whose link has come up is put off until its primary has freed the message, whoever was told before.
#[test]
fn a_link_that_comes_up_is_told_to_who_is_there() {
    for going in GOINGS {
        let (mut rig, mut first, mut second) = pair(4, 0);
        set_perst(&mut rig, true);
        assert_eq!(events(&take(&mut rig, &mut first)), [ASSERTED]);
        set_perst(&mut rig, false);
        let told = first.channel.next(&rig).expect("a message");
        assert_eq!((told.kind, told.event), DEASSERTED, "told, not freed");
        go(&mut rig, &mut first, going);
        rig.ok(&second.channel.set_state(PRIMARY));
        rig.pause();
        let host = rig.machine.simulation.host(rig.host());
        let mut steps = 0;
        let found = rig.drive(async move { enumerate(&host, settings()).await }, |rig| {
            steps += 1;
            if steps == PUT_OFF {
                let messages: Vec<Message> = std::iter::from_fn(|| second.channel.next(rig)).collect();
                assert_eq!((messages.len(), events(&messages)), (1, vec![DEASSERTED]), "{going:?}: nothing else");
                second.channel.free(rig);
            } else if steps > PUT_OFF {
                second.serve(rig);
            }
        });
        let found = found.expect("an end").expect("enumeration");
        assert!(found.iter().any(|function| (function.vendor, function.device) == (0xfff1, 0x0042)), "{going:?}");
        assert!(second.events.is_empty(), "{going:?}");
        rig.settle();
    }
    // What was freed counts as told, whoever is primary afterwards.
    let (mut rig, mut first, mut second) = pair(4, 0);
    set_perst(&mut rig, true);
    set_perst(&mut rig, false);
    assert_eq!(events(&take(&mut rig, &mut first)), [ASSERTED, DEASSERTED]);
    rig.ok(&first.channel.set_state(SECONDARY));
    rig.ok(&second.channel.set_state(PRIMARY));
    rig.pause();
    assert_eq!(take(&mut rig, &mut second).len(), 0);
    second.enumerate(&mut rig);
}
