//! Any sequence of resets, plugging, suspending and traffic: nothing panics or hangs, no TLP is left behind, no request gets another's answer,
//! and the same twice is the same.

mod common;

use common::commands::modify_port;
use common::life::{Change, Life};
use common::peer::{Peer, read};
use common::software::{MEMORY, REGISTERS};
use common::twin::Message;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::twin_v1::{Fault, gateway, message, port_op};
use mlx5_twin_sim::fabric::Faults;
use mlx5_twin_sim::host::{Access, Data};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Class, Header, Status};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The host reads a line of memory.
    Read(u8),
    Write(u8),
    /// The peer reads so many lines.
    PeerRead(u8),
    /// Software takes so many messages, and answers all of them at once or keeps them.
    Take(u8, bool),
    /// Software answers what it has kept longest, wholly or its first 128 bytes only.
    Answer(bool),
    Interrupt,
    /// Software writes to the host with the credit that it may hold.
    Send,
    /// The host begins what changes the function, whoever completes it.
    Change(Change),
    /// It lets the link up again.
    Undo(Change),
    /// Software asks for an operation of its port; it may be refused.
    Port(u16),
    /// The host ends whatever holds the link down, and sets everything up anew.
    Recover,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let changes: Vec<Change> =
        Change::ALL.into_iter().filter(|change| change.by_software() || change.takes_link()).collect();
    let links: Vec<Change> = changes.iter().copied().filter(|change| change.takes_link()).collect();
    prop_oneof![
        6 => (0..64_u8).prop_map(Step::Read),
        4 => (0..64_u8).prop_map(Step::Write),
        2 => (1..16_u8).prop_map(Step::PeerRead),
        10 => (1..9_u8, prop::bool::weighted(0.7)).prop_map(|(count, at_once)| Step::Take(count, at_once)),
        5 => any::<bool>().prop_map(Step::Answer),
        2 => Just(Step::Interrupt),
        2 => Just(Step::Send),
        3 => prop::sample::select(changes).prop_map(Step::Change),
        4 => prop::sample::select(links).prop_map(Step::Undo),
        2 => prop::sample::select(vec![port_op::PLUG, port_op::UNPLUG]).prop_map(Step::Port),
        2 => Just(Step::Recover),
        3 => prop_oneof![0..2_000_u32, Just(12_000_000)].prop_map(Step::Wait),
    ]
}

/// What memory holds, by offset.
fn pattern(offset: usize) -> u8 {
    ((offset as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

struct World {
    life: Life,
    kept: Vec<(Message, u32)>,
    seen: Vec<(u8, u32, u32)>,
}

impl World {
    fn new() -> World {
        let mut life = Life::new(3);
        for (offset, byte) in life.software.memory.iter_mut().enumerate() {
            *byte = pattern(offset);
        }
        World { life, kept: Vec::new(), seen: Vec::new() }
    }

    /// Answers the request from DW `from` on: all that's left, or up to the next multiple of 128 bytes.
    fn answer(&mut self, request: &Message, from: u32, whole: bool) -> Option<u32> {
        let (rig, software) = (&mut self.life.rig, &mut self.life.software);
        let header = request.header();
        if header.kind().is_config() {
            software.take(rig, request);
            return None;
        }
        // What is no memory request any more to the device, as memory space was turned off, has no place.
        let begin = common::software::Software::at(request.place?);
        let all = header.length_dw();
        let cut = (from + 32).min(all);
        let end = if whole { all } else { cut };
        let end = if (header.address() / 4 + u64::from(end)).is_multiple_of(32) { end } else { all };
        let data = software.memory[begin + 4 * from as usize..begin + 4 * end as usize].to_vec();
        let part = Header::completion_part(&header, software.id, Status::Successful, from, end - from);
        let (kind, id) = (gateway::COMPLETION, request.request);
        software.channel.send(rig, kind, 0, id, &part.expect("a completion"), &data);
        (end < all).then_some(end)
    }

    fn take(&mut self, at_once: bool) -> bool {
        let Some(message) = self.life.software.channel.next(&self.life.rig) else { return false };
        self.life.software.channel.free(&mut self.life.rig);
        self.seen.push((message.kind, message.request, message.event));
        if message.kind != message::TLP {
            self.life.software.take(&mut self.life.rig, &message);
        } else if message.header().class() == Class::NonPosted {
            if at_once || message.header().kind().is_config() {
                self.answer(&message, 0, true);
            } else {
                self.kept.push((message, 0));
            }
        }
        true
    }

    fn config_write(&mut self, register: u16, byte_enables: u8, value: u32) {
        let target = self.life.software.id;
        let write = Access::ConfigWrite { target, register, byte_enables, value };
        let host = self.life.rig.host();
        self.life.rig.machine.simulation.access(host, write).expect("an access");
    }

    fn link(&mut self, change: Change, down: bool) {
        let host = self.life.rig.machine.simulation.host(self.life.rig.host());
        let (write, port) = (self.life.link_write(change, down), self.life.port.id);
        self.life.rig.machine.simulation.spawn(async move {
            match write {
                // A port that was reset itself doesn't answer.
                Some((register, enables, value)) => drop(host.config_write_bytes(port, register, enables, value).await),
                None => host.set_perst(down).await,
            }
        });
    }
}

/// What there is to compare of a run.
type Summary = (Time, u64, Faults, Vec<(u8, u32, u32)>, Vec<(Fault, u64)>);

fn run(steps: &[Step]) -> Summary {
    let mut world = World::new();
    let mut tickets = Vec::new();
    let (host, bar) = (world.life.rig.host(), world.life.software.bar);
    for &step in steps {
        let simulation = &mut world.life.rig.machine.simulation;
        match step {
            Step::Read(line) => {
                let offset = MEMORY + 64 * u64::from(line);
                let access = Access::MemoryRead { address: bar + offset, len: 64 };
                tickets.push((simulation.access(host, access).expect("an access"), offset));
            }
            Step::Write(line) => {
                let (address, data) = (bar + REGISTERS + 64 * u64::from(line), Data::new(&[line; 64]));
                simulation.access(host, Access::MemoryWrite { address, data }).expect("an access");
            }
            Step::PeerRead(lines) => {
                read(&mut world.life.rig, world.life.peer, bar + MEMORY, 64 * usize::from(lines));
            }
            Step::Take(count, at_once) => {
                for _ in 0..count {
                    if !world.take(at_once) {
                        break;
                    }
                }
            }
            Step::Answer(whole) => {
                if !world.kept.is_empty() {
                    let (request, from) = world.kept.remove(0);
                    if let Some(next) = world.answer(&request, from, whole) {
                        world.kept.insert(0, (request, next));
                    }
                }
            }
            Step::Interrupt => world.life.software.channel.post(&mut world.life.rig, gateway::MSIX, 0, 0, 0),
            Step::Send => {
                if let Some(credit) = world.life.software.credits.pop() {
                    let header = Header::mem_write_bytes(world.life.software.id, 0, 0x1000, 64).expect("a header");
                    let channel = &world.life.software.channel;
                    channel.send(&mut world.life.rig, gateway::MEMORY_WRITE, 0, credit, &header, &[7; 64]);
                }
            }
            Step::Change(change) if change.by_software() => {
                for (register, byte_enables, value) in world.life.writes(change) {
                    world.config_write(register, byte_enables, value);
                }
            }
            Step::Change(change) => world.link(change, true),
            Step::Undo(change) => world.link(change, false),
            Step::Port(operation) => {
                let _ = world.life.rig.outcome(&modify_port(world.life.software.channel.uid, operation, 0));
            }
            Step::Recover => {
                for change in Change::ALL.into_iter().filter(|change| change.takes_link()) {
                    world.link(change, false);
                }
                let _ = world.life.rig.outcome(&modify_port(world.life.software.channel.uid, port_op::PLUG, 0));
                world.life.recover(Change::MemorySpaceOff);
            }
            Step::Wait(ns) => {
                let clock = simulation.host(world.life.rig.machine.dpu);
                simulation.run(async move { clock.sleep(Time::ns(ns.into())).await });
            }
        }
    }
    // Software takes and answers what is left; everything ends, if only by a timeout.
    let rests = (0..2_000_000).any(|_| {
        while world.take(true) {}
        !world.life.rig.machine.simulation.step()
    });
    assert!(rests, "it never becomes quiet");
    for (request, from) in std::mem::take(&mut world.kept) {
        world.answer(&request, from, true);
    }
    world.life.software.settle(&mut world.life.rig);
    world.life.rig.settle();
    let simulation = &mut world.life.rig.machine.simulation;
    assert_eq!(simulation.fabric().in_flight(), 0, "a TLP is left");
    for (ticket, offset) in tickets {
        if let Ok(data) = simulation.result(ticket).expect("every access ends") {
            let expected: Vec<u8> = (0..64).map(|byte| pattern(offset as usize + byte)).collect();
            assert_eq!(data.bytes(), expected, "another's answer");
        }
    }
    let fabric = simulation.fabric_mut();
    fabric.device(world.life.peer, |peer: &mut Peer, _| {
        for data in std::iter::from_fn(|| peer.dma.next_ended()).filter_map(|progress| progress.result.ok()) {
            let right = data.iter().enumerate().all(|(at, byte)| *byte == pattern(MEMORY as usize + at));
            assert!(right, "another's answer");
        }
        assert_eq!(peer.dma.open(), 0);
    });
    let (rig, channel) = (&mut world.life.rig, &world.life.software.channel);
    let faults = channel.faults(rig);
    let allowed = [Fault::AfterReset, Fault::LinkDown, Fault::BusMaster, Fault::MsixDisabled, Fault::Transaction];
    assert!(faults.iter().all(|(fault, _)| allowed.contains(fault)), "{faults:?}");
    assert_eq!(channel.field(rig, tlp_channel::OPEN_REQUESTS), 0);
    let fabric = rig.machine.simulation.fabric();
    (fabric.now(), fabric.lost(), fabric.faults(), world.seen, faults)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_left_and_nothing_goes_astray(steps in prop::collection::vec(step(), 1..70)) {
        prop_assert_eq!(run(&steps), run(&steps));
    }
}
