//! Each change in the life of a function, with a request in flight at each point: what the host sees, what software sees, and that nothing
//! is left behind.

mod common;

use common::Rig;
use common::commands::{modify_port, plain, query_port};
use common::life::{Change, Life};
use common::peer::{Peer, read};
use common::software::{MEMORY, REGISTERS, Software, TABLE, suspendable};
use common::twin::{Channel, Message, user};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{Fault, HotplugState, gateway, message, port_op, power};
use mlx5_twin_sim::config::CapabilityId;
use mlx5_twin_sim::fabric::DmaError;
use mlx5_twin_sim::host::{Access, AccessError, Data};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Class, Header, Status};

/// How far the request has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// In the receive buffer of the function's link: the ring has no slot for it.
    Waiting,
    /// In the ring, where software hasn't seen it.
    Delivered,
    /// Software has it.
    Taken,
    /// Software has sent a part of the answer.
    HalfAnswered,
    /// The whole answer is on the wire of the function's link.
    OnTheWire,
}

const POINTS: [Point; 5] = [Point::Waiting, Point::Delivered, Point::Taken, Point::HalfAnswered, Point::OnTheWire];

/// What becomes of the request for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It's answered, by software.
    Data,
    /// Nothing comes: Completion Timeout.
    Nothing,
    Unsupported,
    Aborted,
}

/// What is expected: the request's fate by point, the fault of software's completion after the change if it's refused, and those of a
/// write and of an interrupt that software sends then.
type Row = (Change, [Fate; 5], Option<Fault>, [Option<Fault>; 2]);

#[rustfmt::skip]
const EXPECTED: [Row; 12] = {
    use Fate::{Aborted as A, Data as D, Nothing as N, Unsupported as U};
    use Fault::{AfterReset, BusMaster, LinkDown, MsixDisabled, Request, Vector};
    const GONE: [Option<Fault>; 2] = [Some(LinkDown), Some(LinkDown)];
    const RESET: [Option<Fault>; 2] = [Some(BusMaster), Some(MsixDisabled)];
    const MUTE: [Option<Fault>; 2] = [Some(BusMaster), Some(BusMaster)];
    [
        //                           waiting, delivered, taken, half, on the wire
        (Change::FunctionLevelReset, [N, N, N, N, D], Some(AfterReset), RESET),
        (Change::Suspend,            [U, D, D, D, D], None,             MUTE),
        (Change::SoftReset,          [N, N, N, N, D], Some(AfterReset), RESET),
        (Change::BusMasterOff,       [D, D, D, D, D], None,             MUTE),
        (Change::MemorySpaceOff,     [U, D, D, D, D], None,             [None, None]),
        (Change::SecondaryBusReset,  [N, N, N, N, N], Some(LinkDown),   GONE),
        (Change::LinkDisable,        [N, N, N, N, N], Some(LinkDown),   GONE),
        (Change::Perst,              [N, N, N, N, N], Some(LinkDown),   GONE),
        (Change::SlotPowerOff,       [N, N, N, N, N], Some(LinkDown),   GONE),
        (Change::Unplug,             [N, N, N, N, N], Some(LinkDown),   GONE),
        (Change::Release,            [A, A, A, A, D], Some(Request),    [Some(Vector), Some(Vector)]),
        (Change::ContextGone,        [A, A, A, A, D], None,             [None, None]),
    ]
};

#[test]
fn the_table_is_whole() {
    assert_eq!(EXPECTED.map(|row| row.0), Change::ALL);
}

/// The request: a read of the peer, of 256 bytes, which can be answered in two parts.
const LEN: usize = 256;

struct Case {
    life: Life,
    /// The request, once software has it.
    request: Option<Message>,
    /// Configuration writes that software is to complete.
    writes: Vec<Message>,
}

impl Case {
    /// Brings the request to its point, with the configuration writes of the change delivered to software but not completed.
    fn new(change: Change, point: Point) -> Case {
        let mut life = Life::new(3);
        life.software.memory[MEMORY as usize..][..LEN].fill(0x5a);
        let mut case = Case { life, request: None, writes: Vec::new() };
        let writes = case.life.writes(change);
        let before = case.life.software.channel.field(&mut case.life.rig, tlp_channel::WITHHELD);
        if point == Point::Waiting {
            // All slots but those for the configuration writes are full of writes that software doesn't free.
            for _ in 0..8 - writes.len() {
                case.host_write();
            }
        }
        // What is in the ring before the read is taken; the read is sent when the writes have been delivered, so that it waits behind them.
        if point != Point::Waiting {
            case.send_request();
            case.advance(point);
        }
        for (register, byte_enables, value) in writes {
            let target = case.life.software.id;
            let write = Access::ConfigWrite { target, register, byte_enables, value };
            let host = case.life.rig.host();
            case.life.rig.machine.simulation.access(host, write).expect("an access");
            case.life.moment();
        }
        if point == Point::Waiting {
            case.send_request();
            let withheld = case.life.software.channel.field(&mut case.life.rig, tlp_channel::WITHHELD);
            assert_eq!(withheld, before + 1, "it waits");
        }
        case
    }

    fn host_write(&mut self) {
        let (address, host) = (self.life.software.bar + REGISTERS, self.life.rig.host());
        let write = Access::MemoryWrite { address, data: Data::new(&[1; 4]) };
        self.life.rig.machine.simulation.access(host, write).expect("an access");
        self.life.moment();
    }

    fn send_request(&mut self) {
        read(&mut self.life.rig, self.life.peer, self.life.software.bar + MEMORY, LEN);
        self.life.moment();
    }

    /// The next message of software, which doesn't free it.
    fn next(&mut self) -> Option<Message> {
        self.life.software.channel.next(&self.life.rig)
    }

    fn advance(&mut self, point: Point) {
        if matches!(point, Point::Waiting | Point::Delivered) {
            return;
        }
        self.request = Some(self.next().expect("the read"));
        if point == Point::HalfAnswered {
            self.answer(0, 32);
            self.life.moment();
        }
    }

    /// Stages `dwords` of the answer to the request, from DW `from` on.
    fn stage(&mut self, from: u32, dwords: u32) {
        let Some(request) = &self.request else { return };
        let header = request.header();
        let part = Header::completion_part(&header, self.life.software.id, Status::Successful, from, dwords);
        let data = vec![0x5a; 4 * dwords as usize];
        self.life.software.channel.stage(&mut self.life.rig, &part.expect("a completion"), &data);
    }

    /// Posts what is staged: so many dwords.
    fn post(&mut self, dwords: u32) {
        let Some(request) = &self.request else { return };
        let (kind, id, length) = (gateway::COMPLETION, request.request, 4 * dwords as usize);
        self.life.software.channel.post(&mut self.life.rig, kind, 0, length, id);
    }

    fn answer(&mut self, from: u32, dwords: u32) {
        self.stage(from, dwords);
        self.post(dwords);
    }

    /// Completes the configuration writes, or brings the change about otherwise.
    fn change(&mut self, change: Change) {
        if !change.by_software() {
            return self.life.apply(change);
        }
        // What stands in the ring before them stays where it is: nothing is freed.
        while let Some(message) = self.next() {
            let header = message.header();
            if header.kind().is_config() {
                self.writes.push(message);
            } else if header.class() == Class::NonPosted {
                self.request = Some(message);
            }
        }
        for message in std::mem::take(&mut self.writes) {
            self.life.software.take(&mut self.life.rig, &message);
        }
        self.life.moment();
    }

    /// Takes what is left in the ring, answers the request as far as it isn't, and lets time pass.
    fn finish(&mut self, point: Point) {
        while let Some(message) = self.next() {
            if message.kind == message::TLP && message.header().class() == Class::NonPosted {
                self.request = Some(message);
            }
        }
        self.life.software.channel.free(&mut self.life.rig);
        self.life.moment();
        // It was delivered only now.
        if point == Point::Waiting {
            self.request = self.next().filter(|message| message.kind == message::TLP);
        }
        match point {
            Point::HalfAnswered => self.answer(32, 32),
            Point::OnTheWire => {}
            _ => self.answer(0, 64),
        }
        self.life.moment();
    }

    fn fate(&mut self) -> Fate {
        self.life.rig.settle();
        let fabric = self.life.rig.machine.simulation.fabric_mut();
        let ended = fabric.device(self.life.peer, |peer: &mut Peer, _| peer.dma.next_ended()).expect("the peer");
        match ended.expect("every read ends").result {
            Ok(data) => {
                assert_eq!(data, [0x5a; LEN]);
                Fate::Data
            }
            Err(DmaError::Timeout { .. }) => Fate::Nothing,
            Err(DmaError::Refused { status: Status::UnsupportedRequest, .. }) => Fate::Unsupported,
            Err(DmaError::Refused { status: Status::CompleterAbort, .. }) => Fate::Aborted,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn every_change_at_every_point() {
    for (change, fates, late, _) in EXPECTED {
        for (point, expected) in POINTS.into_iter().zip(fates) {
            // What is on the wire as its link goes down has a test of its own.
            if change.takes_link() && point == Point::OnTheWire {
                continue;
            }
            let what = format!("{change:?} while {point:?}");
            let mut case = Case::new(change, point);
            if point == Point::OnTheWire {
                case.request = case.request.take().or_else(|| case.next());
                case.answer(0, 64);
            }
            case.change(change);
            if change != Change::ContextGone {
                case.finish(point);
                case.life.software.settle(&mut case.life.rig);
            }
            assert_eq!(case.fate(), expected, "{what}");
            let (rig, channel) = (&mut case.life.rig, &case.life.software.channel);
            if change == Change::ContextGone {
                assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()), "{what}");
            } else {
                let refused = late.filter(|_| !matches!(point, Point::Waiting | Point::OnTheWire));
                let expected: Vec<_> = refused.map(|fault| (fault, 1)).into_iter().collect();
                assert_eq!(channel.faults(rig), expected, "{what}");
                assert_eq!(channel.field(rig, tlp_channel::OPEN_REQUESTS), 0, "{what}");
            }
            assert_eq!(rig.machine.simulation.fabric().in_flight(), 0, "{what}: a TLP is left");
            works_again(&mut case.life, change, &what);
        }
    }
}

/// Software's answer races with a link that goes down: it comes through, it's lost on the wire, or it's refused. Each of the three is met, and
/// nothing else.
#[test]
fn answers_that_race_with_the_link() {
    for change in Change::ALL.into_iter().filter(|change| change.takes_link()) {
        let mut met = [0; 3];
        for delay in (0..1_200).step_by(15) {
            let mut case = Case::new(change, Point::Taken);
            if change == Change::Unplug {
                let uid = case.life.software.channel.uid;
                case.life.rig.ok(&modify_port(uid, port_op::UNPLUG, 0));
            }
            case.stage(0, 64);
            case.life.moment();
            let (write, port) = (case.life.link_write(change, true), case.life.port.id);
            let simulation = &mut case.life.rig.machine.simulation;
            let lost = simulation.fabric().lost();
            let host = simulation.host(case.life.rig.machine.host);
            // The link goes down 600 ns from now, or when the write that's sent then has got there.
            simulation.spawn(async move {
                host.sleep(Time::ns(600)).await;
                match write {
                    Some((register, enables, value)) => {
                        host.config_write_bytes(port, register, enables, value).await.expect("the port answers");
                    }
                    None => host.set_perst(true).await,
                }
            });
            let clock = simulation.host(case.life.rig.machine.dpu);
            simulation.run(async move { clock.sleep(Time::ns(delay)).await });
            case.post(64);
            case.life.moment();
            let faults = case.life.software.channel.faults(&mut case.life.rig);
            let lost = case.life.rig.machine.simulation.fabric().lost() - lost;
            case.life.software.settle(&mut case.life.rig);
            let outcome = match (case.fate(), lost, &faults[..]) {
                (Fate::Data, 0, []) => 0,
                (Fate::Nothing, 1, []) => 1,
                (Fate::Nothing, 0, [(Fault::LinkDown, 1)]) => 2,
                other => panic!("{change:?} after {delay} ns: {other:?}"),
            };
            met[outcome] += 1;
            assert_eq!(case.life.rig.machine.simulation.fabric().in_flight(), 0);
        }
        assert!(met.iter().all(|count| *count > 0), "{change:?}: {met:?}");
    }
}

/// After a change: what software hears of it, what it may send, and what its function's object says.
#[test]
fn what_software_hears_and_may_send() {
    let asserted = (message::PCI_EVENT, message::PERST_ASSERTED);
    let told = |state: HotplugState| (message::HOTPLUG_STATE, state as u32);
    for (change, _, _, faults) in EXPECTED.into_iter().filter(|row| row.0 != Change::ContextGone) {
        let mut life = Life::new(4);
        let credit = life.software.credits[0];
        if change.by_software() {
            for (register, byte_enables, value) in life.writes(change) {
                life.software.config_write(&mut life.rig, register, byte_enables, value);
            }
        } else {
            life.apply(change);
        }
        life.software.settle(&mut life.rig);
        let mut expected = if change.takes_link() { vec![asserted] } else { Vec::new() };
        expected.extend((change == Change::SlotPowerOff).then_some(told(HotplugState::PlugInProgress)));
        expected.extend((change == Change::Unplug).then_some(told(HotplugState::PowerOff)));
        assert_eq!(life.software.events, expected, "{change:?}");

        let header = Header::mem_write_bytes(life.software.id, 0, 0x1000, 4).expect("a header");
        life.software.channel.send(&mut life.rig, gateway::MEMORY_WRITE, 0, credit, &header, &[1; 4]);
        life.software.channel.post(&mut life.rig, gateway::MSIX, 0, 0, 0);
        life.software.settle(&mut life.rig);
        let mut counts = std::collections::BTreeMap::new();
        for fault in faults.into_iter().flatten() {
            *counts.entry(fault).or_insert(0) += 1;
        }
        let seen: std::collections::BTreeMap<Fault, u64> =
            life.software.channel.faults(&mut life.rig).into_iter().collect();
        assert_eq!(seen, counts, "{change:?}");
        let sent = if faults == [None, None] { vec![0x40] } else { Vec::new() };
        assert_eq!(life.interrupts(), sent, "{change:?}");

        if change != Change::Release {
            let query = life.software.query(&mut life.rig);
            let suspended = change == Change::Suspend;
            let state = if suspended { power::D3HOT } else { power::D0 };
            assert_eq!(emulated_function::POWER_STATE.get(&query), Ok(state.into()), "{change:?}");
        }
        // Configuration requests reach it as long as there's a link.
        let alive = life.software.config_read(&mut life.rig, 0).is_ok();
        assert_eq!(alive, !change.takes_link() && change != Change::Release, "{change:?}");
        let what = format!("{change:?}");
        works_again(&mut life, change, &what);
    }
}

/// D3hot and back with No_Soft_Reset: nothing is forgotten, and an interrupt that was masked is still pending.
#[test]
fn suspended_without_a_soft_reset() {
    for no_soft_reset in [false, true] {
        let mut life = Life::new(4);
        life.rig.ok(&life.software.destroy());
        let (config, spec) = suspendable(life.software.channel.id, 0, no_soft_reset);
        life.software.config = config;
        let create = spec.create(life.software.channel.uid);
        life.software.function = life.rig.number(&create, general_obj_out_cmd_hdr::OBJ_ID);
        life.recover(Change::BusMasterOff);
        let software = &mut life.software;
        software.write(&mut life.rig, TABLE + 12, &[1, 0, 0, 0]).expect("posted");
        software.settle(&mut life.rig);
        software.channel.post(&mut life.rig, gateway::MSIX, 0, 0, 0);
        let power = software.config.find(CapabilityId::POWER_MANAGEMENT).expect("is there") / 4 + 1;
        software.config_write(&mut life.rig, power, 0x1, 3);
        let address = software.bar + REGISTERS;
        assert_eq!(software.read(&mut life.rig, REGISTERS, 4), Err(AccessError::UnsupportedRequest(address)));
        // D1 and D2 aren't there.
        for state in [1, 2] {
            software.config_write(&mut life.rig, power, 0x1, state);
            assert!(software.read(&mut life.rig, REGISTERS, 4).is_err());
        }
        software.config_write(&mut life.rig, power, 0x1, 0);
        let back = software.read(&mut life.rig, REGISTERS, 4);
        assert_eq!(back.is_ok(), no_soft_reset);
        if no_soft_reset {
            software.write(&mut life.rig, TABLE + 12, &[0; 4]).expect("posted");
            software.settle(&mut life.rig);
            assert_eq!(life.interrupts(), [0x40]);
        }
    }
}

/// The mlx5 function itself: a function-level reset, PERST# and a bus reset with DMA and a command under way give everything back, and it can
/// be brought up again.
#[test]
fn the_mlx5_function_is_reset() {
    for means in 0..3 {
        let mut life = Life::new(4);
        // A command whose mailboxes are being read, and messages on their way to the ring.
        let issued = life.rig.enter(0, &query_hca(), common::commands::OUTPUT);
        life.rig.ring(1);
        life.moment();
        for number in 0..3 {
            let (address, host) = (life.software.bar + MEMORY + 64 * number, life.rig.host());
            life.rig.machine.simulation.access(host, Access::MemoryRead { address, len: 8 }).expect("an access");
        }
        let rig = &mut life.rig;
        match means {
            0 => rig.function_level_reset(),
            1 => {
                let dpu = rig.machine.simulation.host(rig.dpu());
                rig.machine.simulation.run(async move {
                    dpu.set_perst(true).await;
                    dpu.set_perst(false).await;
                });
            }
            _ => {
                for value in [1 << 22, 0] {
                    rig.config_write(mlx5_twin_sim::tlp::Bdf::new(0, 1, 0), 15, 0xc, value);
                }
            }
        }
        rig.settle();
        assert!(!rig.is_over(&issued), "the command isn't carried out");
        assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
        assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
        assert_eq!(rig.device(|dpu| dpu.emulation().claimed()), 0);
        let profile = common::profile();
        let Life { rig, software, .. } = life;
        let mut rig = Rig::of(rig.machine, &profile).bring_up();
        // The function at the hot-plug port is still there, and plugged in.
        let answer = rig.ok(&query_port(0, 0));
        assert_eq!(query_emulated_port_out::HOTPLUG_STATE.get(&answer), Ok(HotplugState::PowerOn as u64));
        let uid = user(&mut rig);
        let channel = Channel::new(&mut rig, uid, 0, 6, 0);
        let mut again = Software { bar: software.bar, id: software.id, ..Software::claim(&mut rig, channel, 0) };
        again.enumerate(&mut rig);
        assert!(again.read(&mut rig, REGISTERS, 4).is_ok());
    }
}

fn query_hca() -> Vec<u8> {
    plain(Opcode::QUERY_HCA_CAP, 0, &[(query_hca_cap_in::OP_MOD, 1)])
}

/// After all of it the function is found again and works, with more TLPs than the link has credits or the ring slots.
fn works_again(life: &mut Life, change: Change, what: &str) {
    life.recover(change);
    for number in 0..80_u32 {
        let bytes = number.to_le_bytes();
        life.software.write(&mut life.rig, MEMORY + 64, &bytes).expect("posted");
        let read = life.software.read(&mut life.rig, MEMORY + 64, 4);
        assert_eq!(read.map(|data| data.to_u64()), Ok(u64::from(number)), "{what}");
    }
    life.software.settle(&mut life.rig);
    life.interrupts();
    life.software.channel.post(&mut life.rig, gateway::MSIX, 0, 0, 0);
    life.software.settle(&mut life.rig);
    assert_eq!(life.interrupts(), [0x40], "{what}");
    assert_eq!(life.rig.machine.simulation.fabric().in_flight(), 0, "{what}");
}
