//! Poisoned TLPs at bridges: ports that send none out of (Poisoned TLP Egress Blocking), and what the status registers of PCI show of one that
//! passes; what RP PIO SysError and Exception make of requests of the host that fail.

mod common;

use common::agent::Manner;
use common::plant::{Plant, Shape, Spec, plant};
use common::registers::DPC;
use mlx5_twin_sim::config::{ErrorMessage, RootPortPio};
use mlx5_twin_sim::fabric::rules::{Action, Filter, Rule, Rules};
use mlx5_twin_sim::fabric::{ErrorKind, SystemError};
use mlx5_twin_sim::host::{Access, AccessError, Data};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Atomic, Bdf, Header, Kind, Status};

/// In the host's memory, and poisoned.
const PLACE: u64 = 0x4000;
/// AER: Poisoned TLP Egress Blocked.
const BLOCKED: u32 = 1 << 26;
/// DPC Control: trigger on fatal errors (and the port's own), Completion Control, Poisoned TLP Egress Blocking Enable.
const TRIGGER: u32 = 1;
const UNSUPPORTED: u32 = 1 << 2;
const BLOCK: u32 = 1 << 5;

/// A switch with two agents: gives root port, upstream port and both downstream ports.
fn pair() -> (Plant, [Bdf; 4]) {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    let shapes = [Shape::Switch(vec![Shape::Agent, Shape::Agent])];
    let mut plant = plant(&shapes, &Spec { timing, ..Spec::default() });
    let root = plant.root;
    assert!(plant.fabric().poison_memory(root, PLACE, PLACE + 63));
    let bridges = plant.bridges().try_into().unwrap();
    (plant, bridges)
}

/// A poisoned TLP by its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A write of agent 0 to memory.
    WriteUp,
    /// Agent 0's read of memory is answered.
    AnswerDown,
    /// Agent 0 answers a read of the host's.
    AnswerUp,
    /// A write of agent 0 to agent 1.
    WriteAcross,
    /// A request with an answer, of agent 0 to agent 1.
    AtomicAcross,
    /// Agent 1 answers a read of agent 0's.
    AnswerAcross,
    /// A write of the host's to agent 0; its data goes bad on link 0.
    WriteDown,
    /// A configuration write of the host's to agent 0; its data goes bad on link 0.
    ConfigDown,
}

impl Way {
    const ALL: [Way; 8] = [
        Way::WriteUp,
        Way::AnswerDown,
        Way::AnswerUp,
        Way::WriteAcross,
        Way::AtomicAcross,
        Way::AnswerAcross,
        Way::WriteDown,
        Way::ConfigDown,
    ];

    /// The bridge whose link it leaves the switch by, of those that can block it.
    fn egress(self) -> Option<usize> {
        match self {
            Way::WriteUp | Way::AnswerUp => None,
            Way::AnswerDown | Way::AnswerAcross | Way::WriteDown | Way::ConfigDown => Some(2),
            Way::WriteAcross | Way::AtomicAcross => Some(3),
        }
    }

    /// Lets it go, and what's needed for it: gives what the agent that it's for received, and what the host's request came to.
    fn go(self, plant: &mut Plant) -> (Vec<Header>, Option<Result<Data, AccessError>>) {
        let [(me, bar), (_, other)] = [0, 1].map(|number| plant.function(number));
        for number in 0..2 {
            plant.agent(number, |agent, _| agent.received.clear());
        }
        let read = |address| Header::mem_read_bytes(me, 5, address, 4).unwrap();
        let write = |address| Header::mem_write_bytes(me, 0, address, 4).unwrap();
        let poisoned = |mut header: Header| {
            header.set_ep(true);
            header
        };
        let mut ticket = None;
        let receiver = usize::from(matches!(self, Way::WriteAcross | Way::AtomicAcross));
        match self {
            Way::WriteUp => plant.send(0, poisoned(write(PLACE)), &[0; 4]),
            Way::AnswerDown => plant.send(0, read(PLACE), &[]),
            Way::WriteAcross => plant.send(0, poisoned(write(other)), &[0; 4]),
            Way::AtomicAcross => {
                let atomic = Header::atomic(Atomic::Swap, me, 6, other, 4).unwrap();
                plant.send(0, poisoned(atomic), &[0; 4]);
            }
            Way::AnswerUp | Way::AnswerAcross => {
                let from = if self == Way::AnswerUp { 0 } else { 1 };
                plant.agent(from, |agent, _| agent.manner = Manner::Mute);
                match self {
                    Way::AnswerUp => ticket = Some(begin(plant, Access::MemoryRead { address: bar, len: 4 })),
                    _ => plant.send(0, read(other), &[]),
                }
                while plant.agent(from, |agent, _| agent.received.is_empty()) {
                    assert!(plant.simulation.step());
                }
                let (request, id) = plant.agent(from, |agent, _| (agent.received[0].header, agent.function.id()));
                let answer = Header::completion_for(&request, id, Status::Successful).unwrap();
                plant.send(from, poisoned(answer), &[0; 4]);
            }
            Way::WriteDown | Way::ConfigDown => {
                let (kinds, access) = if self == Way::WriteDown {
                    let kinds = vec![Kind::MWr32, Kind::MWr64];
                    (kinds, Access::MemoryWrite { address: bar, data: Data::new(&[1; 4]) })
                } else {
                    let kinds = vec![Kind::CfgWr0, Kind::CfgWr1];
                    (kinds, Access::ConfigWrite { target: me, register: 15, byte_enables: 1, value: 7 })
                };
                let filter = Filter { kinds, ..Filter::default() };
                let rule = Rule { link: Some(LinkId(0).into()), filter, ..Rule::new(Action::Poison) };
                plant.fabric().set_rules(Rules::new([rule], 7, |_| None).unwrap()).unwrap();
                ticket = Some(begin(plant, access));
            }
        }
        plant.settle();
        assert_eq!(plant.fabric().in_flight(), 0, "{self:?}");
        let received = plant.agent(receiver, |agent, _| std::mem::take(&mut agent.received));
        let result = ticket.map(|ticket| plant.simulation.result(ticket).expect("it's over"));
        (received.into_iter().map(|received| received.header).collect(), result)
    }
}

fn begin(plant: &mut Plant, access: Access) -> mlx5_twin_sim::fabric::Ticket {
    plant.simulation.access(plant.root, access).unwrap()
}

fn control(plant: &mut Plant, port: Bdf, control: u32) {
    let at = plant.extended(port, DPC);
    plant.config_write(port, at + 1, 0xc, control << 16);
}

#[test]
fn what_a_port_blocks() {
    for way in Way::ALL {
        for on in [false, true] {
            let (mut plant, bridges) = pair();
            for id in bridges {
                assert_eq!(plant.errors(id).mask & BLOCKED != 0, id != bridges[1], "masked at first, where it can be");
                if id != bridges[1] {
                    plant.write_errors(id, 0x08, 0);
                    control(&mut plant, id, if on && id != bridges[0] { BLOCK } else { 0 });
                }
                plant.clear_errors(id);
            }
            let (received, result) = way.go(&mut plant);
            let poisoned = received.iter().filter(|header| header.is_poisoned()).count();
            let blocked = if on { way.egress() } else { None };
            let arrives = usize::from(way.egress().is_some() && blocked.is_none());
            assert_eq!(poisoned, arrives, "{way:?} {on}");
            for (place, id) in bridges.into_iter().enumerate() {
                let errors = plant.errors(id);
                assert_eq!(errors.uncorrectable & BLOCKED != 0, blocked == Some(place), "{way:?} {on} {id}");
                if blocked == Some(place) {
                    let header = Header::from_dws(errors.header).unwrap();
                    assert!(header.is_poisoned(), "{way:?}: the log");
                }
            }
            assert_eq!(plant.fabric().detected(ErrorKind::PoisonedEgress), u64::from(blocked.is_some()), "{way:?}");
            // Who asked is answered by the port.
            if blocked.is_some() && way == Way::AtomicAcross {
                let answers = plant.agent(0, |agent, _| std::mem::take(&mut agent.received));
                let header = answers.first().unwrap().header;
                let expected = (Status::UnsupportedRequest, bridges[3], 6);
                assert_eq!((header.status(), header.completer(), header.tag()), expected);
            }
            if way == Way::ConfigDown {
                assert!(matches!(result, Some(Err(AccessError::UnsupportedRequest(_)))), "{on}: {result:?}");
            }
        }
    }
}

/// Where the error begins containment, the answer is what the registers of that say.
#[test]
fn blocking_that_begins_containment() {
    #[rustfmt::skip]
    let table = [
        // Control, masked; whether containment begins; how the request is answered.
        (BLOCK,                         false, false, Status::UnsupportedRequest),
        (BLOCK | TRIGGER,               false, true,  Status::CompleterAbort),
        (BLOCK | TRIGGER | UNSUPPORTED, false, true,  Status::UnsupportedRequest),
        (BLOCK | TRIGGER,               true,  false, Status::UnsupportedRequest),
    ];
    for (bits, masked, begins, status) in table {
        let (mut plant, bridges) = pair();
        plant.write_errors(bridges[3], 0x08, if masked { BLOCKED } else { 0 });
        control(&mut plant, bridges[3], bits);
        Way::AtomicAcross.go(&mut plant);
        let answers = plant.agent(0, |agent, _| std::mem::take(&mut agent.received));
        assert_eq!(answers.first().unwrap().header.status(), status, "{bits:#x} {masked}");
        let at = plant.extended(bridges[3], DPC);
        assert_eq!(plant.config_read(bridges[3], at + 2) & 0b111, u32::from(begins), "{bits:#x} {masked}");
        assert_eq!(plant.errors(bridges[3]).uncorrectable & BLOCKED, BLOCKED);
    }
}

/// A root port doesn't send what's bad in memory.
#[test]
fn a_root_port_blocks_too() {
    for on in [false, true] {
        let (mut plant, bridges) = pair();
        plant.write_errors(bridges[0], 0x08, 0);
        control(&mut plant, bridges[0], if on { BLOCK } else { 0 });
        let (received, _) = Way::AnswerDown.go(&mut plant);
        assert_eq!(received.len(), usize::from(!on));
        assert_eq!(plant.errors(bridges[0]).uncorrectable & BLOCKED != 0, on);
        // What's good it sends.
        let read = Header::mem_read_bytes(plant.function(0).0, 7, PLACE + 64, 4).unwrap();
        plant.send(0, read, &[]);
        plant.settle();
        assert_eq!(plant.agent(0, |agent, _| agent.received.len()), 1);
    }
}

/// Detected Parity Error and Master Data Parity Error of Status and Secondary Status.
fn parity(plant: &mut Plant, id: Bdf) -> [(bool, bool); 2] {
    [1, 7].map(|register| {
        let bits = plant.config_read(id, register) >> 16;
        (bits >> 15 & 1 != 0, bits >> 8 & 1 != 0)
    })
}

/// What each bridge shows of a poisoned TLP that passes: primary and secondary side, each with whether one was detected there, and whether one went
/// with the bridge, or what's behind it, as the master.
#[test]
fn bridges_show_what_passes() {
    const NONE: [(bool, bool); 2] = [(false, false); 2];
    /// It came in on the primary or secondary side.
    const IN: (bool, bool) = (true, false);
    /// It came in as an answer to what's on the other side.
    const ANSWER: (bool, bool) = (true, true);
    /// It went out as a request.
    const OUT: (bool, bool) = (false, true);
    const NOT: (bool, bool) = (false, false);
    #[rustfmt::skip]
    let table = [
        //                  root port      upstream port  port 0         port 1
        (Way::WriteUp,      [[NOT, IN],     [OUT, IN],     [OUT, IN],     NONE]),
        (Way::AnswerDown,   [NONE,          [ANSWER, NOT], [ANSWER, NOT], NONE]),
        (Way::AnswerUp,     [[NOT, ANSWER], [NOT, ANSWER], [NOT, ANSWER], NONE]),
        (Way::WriteAcross,  [NONE,          NONE,          [OUT, IN],     [IN, OUT]]),
        (Way::AtomicAcross, [NONE,          NONE,          [OUT, IN],     [IN, OUT]]),
        (Way::AnswerAcross, [NONE,          NONE,          [ANSWER, NOT], [NOT, ANSWER]]),
        (Way::WriteDown,    [NONE,          [IN, OUT],     [IN, OUT],     NONE]),
    ];
    for (way, expected) in table {
        for responds in [false, true] {
            let (mut plant, bridges) = pair();
            for id in bridges {
                let command = plant.config_read(id, 1) & 0xffff;
                plant.config_write(id, 1, 0x3, command | u32::from(responds) << 6);
                plant.config_write(id, 15, 0xc, u32::from(responds) << 16);
                plant.clear_errors(id);
            }
            way.go(&mut plant);
            for (id, expected) in bridges.into_iter().zip(expected) {
                let expected = expected.map(|(detected, master)| (detected, master && responds));
                assert_eq!(parity(&mut plant, id), expected, "{way:?} {responds} {id}");
            }
        }
    }
    // What the second bridge blocks it has received, but not sent.
    let (mut plant, bridges) = pair();
    control(&mut plant, bridges[3], BLOCK);
    plant.config_write(bridges[3], 15, 0xc, 1 << 16);
    Way::WriteAcross.go(&mut plant);
    assert_eq!(parity(&mut plant, bridges[3]), [IN, NOT]);
}

/// RP PIO SysError and Exception: each for itself, and only of what isn't masked.
#[test]
fn what_a_root_port_makes_of_failed_requests() {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    // What the agent does; whether the host asks beyond its BAR.
    let table = [
        (Manner::Answer, true, RootPortPio::Unsupported),
        (Manner::Abort, false, RootPortPio::Aborted),
        (Manner::Mute, false, RootPortPio::Timeout),
    ];
    for (manner, beyond, pio) in table {
        for bits in 0..16_u32 {
            let [masked, uncorrectable, system, exception] = [0, 1, 2, 3].map(|bit| bits >> bit & 1 != 0);
            let mut plant = plant(&[Shape::Agent], &Spec { timing, ..Spec::default() });
            let (port, bar) = (plant.bridges()[0], plant.function(0).1);
            let at = plant.extended(port, DPC);
            for (register, is) in [(4, masked), (5, uncorrectable), (6, system), (7, exception)] {
                plant.config_write(port, at + register, 0xf, u32::from(is) << (16 + pio as u32));
            }
            plant.agent(0, |agent, _| agent.manner = manner);
            let address = if beyond { bar + common::agent::BAR } else { bar };
            let result = plant.run(move |host| async move { host.read32(address).await });
            let plain = match pio {
                RootPortPio::Unsupported => AccessError::UnsupportedRequest(address),
                RootPortPio::Aborted => AccessError::CompleterAbort(address),
                RootPortPio::Timeout => AccessError::Timeout(address),
            };
            let raised = exception && !masked;
            assert_eq!(
                result,
                Err(if raised { AccessError::Exception(address, pio) } else { plain }),
                "{pio:?} {bits:04b}"
            );
            plant.settle();
            let root = plant.root;
            let message = if uncorrectable { ErrorMessage::Fatal } else { ErrorMessage::Correctable };
            let error = SystemError { port: 0, message, source: port };
            let told = plant.fabric().next_system_error(root);
            assert_eq!(told, (system && !masked).then_some(error), "{pio:?} {bits:04b}");
            assert_eq!(plant.fabric().next_system_error(root), None);
            assert_eq!(plant.config_read(port, at + 3), 1 << (16 + pio as u32), "the status is set in any case");
        }
    }
}
