//! Hot-plug ports: the commands, and the life of a function from its creation to its end, with a host that serves the slots.

mod common;

use std::sync::{Arc, Mutex};

use common::commands::{modify_port, plain, query_port};
use common::software::{MEMORY, Software, description};
use common::twin::{Channel, user};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::cap::CapMode;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{HotplugState, TLP_CHANNEL, TWIN_CAP, message, port_op};
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_model::profile::Profile;
use mlx5_twin_sim::host::{AccessError, Found, HotPlug, HotPlugError, SlotChange, enumerate};
use mlx5_twin_sim::tlp::Bdf;
use mlx5_twin_sim::topology::{Body, Emulated, Node};

use HotplugState::{PlugInProgress, PowerOff, PowerOn, UnplugInProgress};
use port_op::{CREATE, DESTROY, PLUG, UNPLUG};

/// A profile with so many static functions and hot-plug ports.
fn ports(functions: u8, slots: u8) -> Profile {
    let mut profile = common::profile();
    profile.topology.downstream_ports = functions + slots;
    profile.topology.static_functions = functions;
    profile.topology.hotplug_ports = slots;
    profile
}

const ASSERTED: (u8, u32) = (message::PCI_EVENT, message::PERST_ASSERTED);
const DEASSERTED: (u8, u32) = (message::PCI_EVENT, message::PERST_DEASSERTED);

fn told(state: HotplugState) -> (u8, u32) {
    (message::HOTPLUG_STATE, state as u32)
}

/// What a query says: present, static, state, claimed, link active.
fn query(rig: &mut Rig, uid: u16, port: u8) -> (bool, bool, HotplugState, bool, bool) {
    let answer = rig.ok(&query_port(uid, port));
    use query_emulated_port_out as out;
    let flag = |field: mlx5_twin_fw_cmds::field::Field| field.get(&answer) == Ok(1);
    let state = HotplugState::from_number(out::HOTPLUG_STATE.get(&answer).expect("is there")).expect("a state");
    (flag(out::PRESENT), flag(out::STATIC), state, flag(out::CLAIMED), flag(out::LINK_ACTIVE))
}

/// Carries out an operation: the state that its answer tells.
fn modify(rig: &mut Rig, uid: u16, operation: u16, port: u8) -> HotplugState {
    let answer = rig.ok(&modify_port(uid, operation, port));
    let state = modify_emulated_port_out::HOTPLUG_STATE.get(&answer).expect("is there");
    HotplugState::from_number(state).expect("a state")
}

/// Without ports for emulated functions it's a device as real ones are: none of our page, objects and commands.
#[test]
fn a_device_without_ports_speaks_no_twin() {
    let mut profile = common::profile();
    profile.topology.static_functions = 0;
    let mut rig = Rig::new(&profile).bring_up();
    assert!(rig.device(|dpu| dpu.firmware().capabilities().page(TWIN_CAP, CapMode::Current).is_none()));
    rig.refused(&query_port(0, 0), Failure::UNKNOWN_OPCODE);
    let mut channel =
        plain(Opcode::CREATE_GENERAL_OBJECT, 0, &[(general_obj_in_cmd_hdr::OBJ_TYPE, TLP_CHANNEL.0.into())]);
    channel.resize(general_obj_in_cmd_hdr::SIZE + tlp_channel::SIZE, 0);
    rig.refused(&channel, Failure::OBJECT_TYPE);
}

#[test]
fn what_the_device_says_of_its_ports() {
    for (functions, slots, fixed, hot) in
        [(1, 0, 1, 0), (0, 1, 0, 1), (2, 3, 0b11, 0b1_1100), (16, 16, 0xffff, 0xffff_0000)]
    {
        let mut rig = Rig::new(&ports(functions, slots));
        let page = rig
            .device(|dpu| dpu.firmware().capabilities().page(TWIN_CAP, CapMode::Current).expect("the page").to_vec());
        assert_eq!(twin_cap::MAX_FUNCTIONS.get(&page), Ok(u64::from(functions + slots)));
        assert_eq!(twin_cap::STATIC_PORTS.get(&page), Ok(fixed));
        assert_eq!(twin_cap::HOTPLUG_PORTS.get(&page), Ok(hot));
    }
    for (functions, slots) in [(2, 31), (33, 0), (1, 255)] {
        let mut profile = common::profile();
        profile.topology.downstream_ports = 32;
        (profile.topology.static_functions, profile.topology.hotplug_ports) = (functions, slots);
        assert!(profile.validate().is_err(), "{functions} and {slots}");
    }
}

/// The functions of `[fabric]` are static, whatever their number, and those from 32 on have no bit of their own.
#[test]
fn functions_of_the_fabric_follow_those_at_hot_plug_ports() {
    let mut profile = ports(2, 3);
    profile.fabric.nodes.push(Node {
        name: "more".to_owned(),
        above: "host".to_owned(),
        count: Some(30),
        link: None,
        slot: None,
        max_payload: None,
        body: Body::Emulated(Emulated {}),
    });
    assert_eq!(profile.validate(), Ok(()));
    let mut rig = Rig::new(&profile).bring_up();
    let page =
        rig.device(|dpu| dpu.firmware().capabilities().page(TWIN_CAP, CapMode::Current).expect("the page").to_vec());
    assert_eq!(twin_cap::MAX_FUNCTIONS.get(&page), Ok(35));
    assert_eq!(twin_cap::STATIC_PORTS.get(&page), Ok(0xffff_ffe3));
    assert_eq!(twin_cap::HOTPLUG_PORTS.get(&page), Ok(0b1_1100));
    assert_eq!(query(&mut rig, 0, 4), (false, false, PowerOff, false, false));
    for port in [0, 5, 34] {
        assert_eq!(query(&mut rig, 0, port), (true, true, PowerOn, false, true), "port {port}");
    }
    rig.refused(&query_port(0, 35), Failure::TWIN_PORT);
    assert_eq!(rig.machine.links.last(), Some(&("host".to_owned(), "more29".to_owned())));
    assert_eq!(rig.machine.functions, vec![rig.machine.host; 35]);
}

#[test]
fn operations_that_can_not_be() {
    let mut rig = Rig::new(&ports(1, 3)).bring_up();
    let (uid, other) = (user(&mut rig), user(&mut rig));
    let channel = Channel::new(&mut rig, uid, 0, 4, 0);
    // Port 1 is empty, 2 has a function that's powered off, and 3 one that's claimed.
    for port in [2, 3] {
        assert_eq!(modify(&mut rig, other, CREATE, port), PowerOff);
    }
    rig.refused(&description(channel.id, 1).1.create(uid), Failure::TWIN_PORT_EMPTY);
    let claim = Software::claim(&mut rig, channel, 3);
    #[rustfmt::skip]
    let cases: &[(&str, Vec<u8>, Failure)] = &[
        ("no such port", modify_port(uid, PLUG, 4), Failure::TWIN_PORT),
        ("no such port to ask for", query_port(uid, 255), Failure::TWIN_PORT),
        ("plug a static function", modify_port(uid, PLUG, 0), Failure::TWIN_PORT_STATIC),
        ("create a static function", modify_port(uid, CREATE, 0), Failure::TWIN_PORT_STATIC),
        ("plug nothing", modify_port(uid, PLUG, 1), Failure::TWIN_PORT_EMPTY),
        ("destroy nothing", modify_port(uid, DESTROY, 1), Failure::TWIN_PORT_EMPTY),
        ("create twice", modify_port(uid, CREATE, 2), Failure::TWIN_PORT_CREATED),
        ("unplug what isn't plugged", modify_port(uid, UNPLUG, 2), Failure::TWIN_HOTPLUG_STATE),
        ("destroy what's claimed", modify_port(uid, DESTROY, 3), Failure::TWIN_PORT_TAKEN),
        ("plug what another has claimed", modify_port(other, PLUG, 3), Failure::TWIN_PORT_FOREIGN),
        ("destroy what another has claimed", modify_port(other, DESTROY, 3), Failure::TWIN_PORT_FOREIGN),
        ("the driver isn't its claimer either", modify_port(0, PLUG, 3), Failure::TWIN_PORT_FOREIGN),
        ("no such operation", modify_port(uid, 4, 2), Failure::OP_MOD),
        ("no such operation of nothing", modify_port(uid, 0xffff, 1), Failure::TWIN_PORT_EMPTY),
    ];
    let before = rig.device(|dpu| dpu.firmware().resources().balance());
    for (what, command, failure) in cases {
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(rig.outcome(command).map(drop), expected, "{what}");
    }
    assert_eq!(rig.device(|dpu| dpu.firmware().resources().balance()), before);
    let states = [0, 1, 2, 3].map(|port| query(&mut rig, other, port));
    let expected = [
        (true, true, PowerOn, false, true),
        (false, false, PowerOff, false, false),
        (true, false, PowerOff, false, false),
        (true, false, PowerOff, true, false),
    ];
    assert_eq!(states, expected);
    rig.ok(&claim.destroy());
    assert_eq!(modify(&mut rig, other, DESTROY, 3), PowerOff);
    assert_eq!(modify(&mut rig, other, PLUG, 2), PlugInProgress);
    rig.refused(&modify_port(uid, PLUG, 2), Failure::TWIN_HOTPLUG_STATE);
    rig.refused(&modify_port(uid, DESTROY, 2), Failure::TWIN_HOTPLUG_STATE);
    rig.settle();
    assert_eq!(query(&mut rig, uid, 2), (true, false, PowerOn, false, true));
    rig.refused(&modify_port(uid, PLUG, 2), Failure::TWIN_HOTPLUG_STATE);
    assert_eq!(modify(&mut rig, uid, UNPLUG, 2), UnplugInProgress);
    rig.refused(&modify_port(uid, UNPLUG, 2), Failure::TWIN_HOTPLUG_STATE);
}

type Notes = Arc<Mutex<Vec<Result<SlotChange, HotPlugError>>>>;

/// A host that has enumerated, and serves the slot of `port` as Linux does.
fn serve_slot(rig: &mut Rig, port: &Found) -> Notes {
    let notes = Notes::default();
    let (host, port, out) = (rig.machine.simulation.host(rig.host()), port.clone(), Arc::clone(&notes));
    rig.machine.simulation.spawn(async move {
        let mut slot = HotPlug::new(&host, settings(), &port, Vec::new(), 0x30).await.expect("a port");
        loop {
            let change = slot.next().await;
            // A port that's gone stays gone.
            let over = matches!(change, Err(HotPlugError::Port { .. }));
            out.lock().expect("no panic").push(change);
            if over {
                return;
            }
        }
    });
    notes
}

fn take(notes: &Notes) -> Vec<Result<SlotChange, HotPlugError>> {
    std::mem::take(&mut notes.lock().expect("no panic"))
}

/// Enumerates with nothing but what's there: the hot-plug ports that are found.
fn slots(rig: &mut Rig) -> Vec<Found> {
    let host = rig.machine.simulation.host(rig.host());
    let found = rig.machine.simulation.run(async move { enumerate(&host, settings()).await });
    let found = found.expect("an end").expect("enumeration");
    found.into_iter().filter(|function| function.hot_plug).collect()
}

/// A machine with one hot-plug port, whose function is created and claimed; the host serves the slot.
fn served() -> (Rig, Software, Notes, Found) {
    let mut rig = Rig::new(&ports(0, 1)).bring_up();
    let port = slots(&mut rig).remove(0);
    let notes = serve_slot(&mut rig, &port);
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 6, 0);
    modify(&mut rig, uid, CREATE, 0);
    let mut software = Software::claim(&mut rig, channel, 0);
    software.settle(&mut rig);
    assert_eq!(software.events, [], "the host has powered the empty slot off");
    (rig, software, notes, port)
}

fn plug(rig: &mut Rig, software: &mut Software, notes: &Notes) -> Found {
    assert_eq!(modify(rig, software.channel.uid, PLUG, software.port), PlugInProgress);
    software.settle(rig);
    assert_eq!(std::mem::take(&mut software.events), [DEASSERTED, told(PowerOn)]);
    let Ok(SlotChange::Added(mut found)) = take(notes).remove(0) else { panic!("it was plugged in") };
    let function = found.remove(0);
    (software.id, software.bar) = (function.id, function.bars[0].address);
    software.set_command(rig, 6);
    function
}

/// Created, claimed, plugged, used, unplugged, plugged again, released, plugged by another, destroyed.
#[test]
fn a_life() {
    let (mut rig, mut software, notes, _) = served();
    let uid = software.channel.uid;
    for round in 0..2_u8 {
        let function = plug(&mut rig, &mut software, &notes);
        assert_eq!((function.vendor, function.device), (0xfff1, 0x0042));
        assert_eq!(query(&mut rig, uid, 0), (true, false, PowerOn, true, true));
        software.write(&mut rig, MEMORY, &[round; 8]).expect("posted");
        assert_eq!(software.read(&mut rig, MEMORY, 8).expect("an answer").bytes(), [round; 8]);

        assert_eq!(modify(&mut rig, uid, UNPLUG, 0), UnplugInProgress);
        assert_eq!(query(&mut rig, uid, 0), (true, false, UnplugInProgress, true, true));
        software.settle(&mut rig);
        assert_eq!(std::mem::take(&mut software.events), [ASSERTED, told(PowerOff)]);
        assert_eq!(take(&notes), [Ok(SlotChange::Removed(vec![function]))]);
        assert_eq!(query(&mut rig, uid, 0), (true, false, PowerOff, true, false));
        let gone = software.read(&mut rig, MEMORY, 8);
        assert_eq!(gone, Err(AccessError::UnsupportedRequest(software.bar + MEMORY)));
    }
    // It outlives the process that made it, powered on or off.
    plug(&mut rig, &mut software, &notes);
    rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, uid.into())]));
    assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
    assert_eq!(query(&mut rig, 0, 0), (true, false, PowerOn, false, true));
    let heir = user(&mut rig);
    let channel = Channel::new(&mut rig, heir, 3, 6, 0);
    let mut software = Software { bar: software.bar, id: software.id, ..Software::claim(&mut rig, channel, 0) };
    // The new one answers; it was never told of a reset, so it's ready at once.
    assert_eq!(software.config_read(&mut rig, 0), Ok(0x0042_fff1));
    assert_eq!(modify(&mut rig, heir, UNPLUG, 0), UnplugInProgress);
    software.settle(&mut rig);
    assert_eq!(software.events, [ASSERTED, told(PowerOff)]);
    rig.ok(&software.destroy());
    assert_eq!(modify(&mut rig, heir, DESTROY, 0), PowerOff);
    assert_eq!(query(&mut rig, heir, 0), (false, false, PowerOff, false, false));
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

/// The host switches the slot's power by itself; unplugging where nobody has to be asked, or before the link is up; a reset of the host meanwhile.
#[test]
fn states_that_the_host_brings_about() {
    let (mut rig, mut software, notes, port) = served();
    let uid = software.channel.uid;
    let slot = port.capability(0x10).expect("PCIe") / 4 + 6;
    let power = |rig: &mut Rig, software: &mut Software, on: bool| {
        let control = 0x1039 | if on { 0 } else { 1 << 10 };
        let write = mlx5_twin_sim::host::Access::ConfigWrite {
            target: port.id,
            register: slot,
            byte_enables: 0x3,
            value: control,
        };
        software.host(rig, write).expect("the port answers");
        software.settle(rig);
        std::mem::take(&mut software.events)
    };
    plug(&mut rig, &mut software, &notes);
    // Power off by the host: the function stays in its slot. The program then finds a device there, and powers it on again.
    let events = power(&mut rig, &mut software, false);
    assert_eq!(events[..2], [ASSERTED, told(PlugInProgress)]);
    assert_eq!(events[2..], [DEASSERTED, told(PowerOn)]);
    assert_eq!(query(&mut rig, uid, 0).2, PowerOn);
    take(&notes);

    // PERST# while the host is asked to let it go: the host has forgotten, and doesn't use it.
    assert_eq!(modify(&mut rig, uid, UNPLUG, 0), UnplugInProgress);
    let host = rig.machine.simulation.host(rig.host());
    rig.drive(async move { host.set_perst(true).await }, |rig| software.serve(rig)).expect("an end");
    software.settle(&mut rig);
    assert_eq!(std::mem::take(&mut software.events), [ASSERTED, told(PowerOff)]);
    assert_eq!(query(&mut rig, uid, 0), (true, false, PowerOff, true, false));
}

/// Unplugged before the link has come up: the host is asked when it's up. Where the slot has no power nobody is asked.
#[test]
fn unplugged_while_it_is_plugged() {
    let mut rig = Rig::new(&ports(0, 1)).bring_up();
    let port = slots(&mut rig).remove(0);
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 6, 0);
    modify(&mut rig, uid, CREATE, 0);
    let mut software = Software::claim(&mut rig, channel, 0);
    let status = |rig: &mut Rig| {
        let slot = port.capability(0x10).expect("PCIe") / 4 + 6;
        rig.config_read(rig.host(), port.id, slot).expect("the port answers") >> 16
    };
    assert_eq!(modify(&mut rig, uid, PLUG, 0), PlugInProgress);
    rig.pause();
    assert_eq!(modify(&mut rig, uid, UNPLUG, 0), UnplugInProgress);
    rig.pause();
    assert_eq!(status(&mut rig) & 0x149, 0x48, "presence; no button yet, and no link");
    software.settle(&mut rig);
    assert_eq!(software.events, [DEASSERTED]);
    assert_eq!(status(&mut rig) & 0x149, 0x149, "presence, link, button");
    assert_eq!(query(&mut rig, uid, 0), (true, false, UnplugInProgress, true, true));
    let slot = port.capability(0x10).expect("PCIe") / 4 + 6;
    let control = |rig: &mut Rig, value| {
        let target = port.id;
        let write = mlx5_twin_sim::host::Access::ConfigWrite { target, register: slot, byte_enables: 0x3, value };
        rig.access(rig.host(), write, |_| {}).expect("the port answers");
    };
    control(&mut rig, 1 << 10);
    software.settle(&mut rig);
    assert_eq!(software.events, [DEASSERTED, ASSERTED, told(PowerOff)]);
    software.events.clear();

    // The power is off now.
    assert_eq!(modify(&mut rig, uid, PLUG, 0), PlugInProgress);
    software.settle(&mut rig);
    assert_eq!(query(&mut rig, uid, 0), (true, false, PlugInProgress, true, false));
    assert_eq!(modify(&mut rig, uid, UNPLUG, 0), PowerOff);
    software.settle(&mut rig);
    assert_eq!(software.events, [told(PowerOff)]);
    assert_eq!(status(&mut rig) & 0x40, 0, "gone");
}

/// Until software has taken the message that the link is up, configuration requests are put off.
#[test]
fn a_function_is_ready_when_software_knows_of_its_reset() {
    let mut rig = Rig::new(&ports(0, 1)).bring_up();
    slots(&mut rig);
    let uid = user(&mut rig);
    let channel = Channel::new(&mut rig, uid, 0, 4, 0);
    modify(&mut rig, uid, CREATE, 0);
    let mut software = Software::claim(&mut rig, channel, 0);
    modify(&mut rig, uid, PLUG, 0);
    rig.settle();
    let target = Bdf::new(3, 0, 0);
    let asleep = rig.config_read(rig.host(), target, 0);
    assert_eq!(asleep, Err(AccessError::NotReady(u64::from(target.0) << 12)));
    let first = software.channel.next(&rig).expect("a message");
    assert_eq!((first.kind, first.event), DEASSERTED);
    let asleep = rig.config_read(rig.host(), target, 0);
    assert!(asleep.is_err(), "it has been read, but not freed");
    software.channel.free(&mut rig);
    rig.pause();
    software.id = target;
    assert_eq!(software.config_read(&mut rig, 0), Ok(0x0042_fff1));
}

/// 32 functions at once, half of them plugged in, on eight channels of eight contexts: each answers its own.
#[test]
fn thirty_two_functions() {
    let mut rig = Rig::new(&ports(16, 16)).bring_up();
    // The eight channels, and which of the functions are whose, dealt out in turn.
    let mut software: Vec<Software> = Vec::new();
    let users: Vec<u16> = (0..8).map(|_| user(&mut rig)).collect();
    let mut channels = Vec::new();
    for port in 16..32 {
        modify(&mut rig, users[usize::from(port) % 8], CREATE, port);
    }
    // One channel for each of the first 15 ports, as there are 15 gateway pages; the others share the last one's.
    for port in 0..14_u8 {
        let uid = users[usize::from(port) % 8];
        channels.push(Channel::new(&mut rig, uid, port.into(), 5, 0));
    }
    for (port, channel) in (0..).zip(channels) {
        software.push(Software::claim(&mut rig, channel, port));
    }
    let shared = Channel::new(&mut rig, users[0], 14, 8, 0);
    let mut rest = Vec::new();
    for port in 14..32 {
        let (config, spec) = description(shared.id, port);
        rig.number(&spec.create(users[0]), general_obj_out_cmd_hdr::OBJ_ID);
        rest.push(config);
    }
    for port in 16..32 {
        assert_eq!(modify(&mut rig, users[0], PLUG, port), PlugInProgress);
    }
    // The link of each is trained before the host looks.
    let mut crowd = Crowd { software, shared, rest, values: Vec::new() };
    let serve = |rig: &mut Rig, crowd: &mut Crowd| crowd.serve(rig);
    assert!(!rig.until(|rig| {
        serve(rig, &mut crowd);
        false
    }));
    let host = rig.machine.simulation.host(rig.host());
    let found = rig.drive(async move { enumerate(&host, settings()).await }, |rig| crowd.serve(rig));
    let found = found.expect("an end").expect("enumeration");
    let functions: Vec<Found> = found.into_iter().filter(|function| !function.bridge).collect();
    assert_eq!(functions.len(), 32);
    let host = rig.machine.simulation.host(rig.host());
    let bars: Vec<u64> = functions.iter().map(|function| function.bars[0].address).collect();
    let values = rig.drive(
        async move {
            let mut values = Vec::new();
            for round in 0..3 {
                for bar in &bars {
                    values.push(host.read32(bar + MEMORY + 4 * round).await);
                }
            }
            values
        },
        |rig| crowd.serve(rig),
    );
    let expected: Vec<Result<u32, AccessError>> =
        (0..3).flat_map(|round| (0..32).map(move |port| Ok(port << 8 | round))).collect();
    assert_eq!(values.expect("an end"), expected);
    for software in &crowd.software {
        assert_eq!(software.channel.faults(&mut rig), []);
    }
    assert_eq!(crowd.shared.faults(&mut rig), []);
    assert_eq!(rig.machine.simulation.fabric().faults().completion_timeout, 0);
}

/// The software of all functions: reads of memory give the port and the dword.
struct Crowd {
    software: Vec<Software>,
    shared: Channel,
    /// Configuration spaces of the functions that share the last channel, from port 14 on.
    rest: Vec<mlx5_twin_sim::config::ConfigSpace>,
    values: Vec<u32>,
}

impl Crowd {
    fn serve(&mut self, rig: &mut Rig) {
        for (port, software) in (0_u32..).zip(&mut self.software) {
            software.memory[MEMORY as usize..][..12]
                .copy_from_slice(&[0, 1, 2].map(|dword| (port << 8 | dword).to_le_bytes()).concat());
            software.serve(rig);
        }
        while let Some(message) = self.shared.next(rig) {
            self.shared.free(rig);
            if message.kind != message::TLP {
                continue;
            }
            let (header, port) = (message.header(), u32::from(message.function));
            let config = &mut self.rest[port as usize - 14];
            use mlx5_twin_sim::tlp::Kind;
            match header.kind() {
                Kind::CfgRd0 => {
                    let value = config.read(header.register()).to_le_bytes();
                    self.shared.answer(rig, &message, header.target(), Ok(&value));
                }
                Kind::CfgWr0 => {
                    let value = u32::from_le_bytes(message.payload[..].try_into().expect("a dword"));
                    config.write(header.register(), header.first_be(), value);
                    self.shared.answer(rig, &message, header.target(), Ok(&[]));
                }
                Kind::MRd32 | Kind::MRd64 => {
                    let (_, offset) = message.place.expect("a place");
                    let value = port << 8 | ((offset - MEMORY) / 4) as u32;
                    self.values.push(value);
                    self.shared.answer(rig, &message, Bdf(0x300), Ok(&value.to_le_bytes()));
                }
                kind => panic!("an unexpected {kind:?}"),
            }
        }
    }
}
