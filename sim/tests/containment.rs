//! Downstream Port Containment: what begins it, what it does, and that the link comes back when software lets it.

mod common;

use common::agent::Manner;
use common::plant::{Plant, Shape, Spec, configure, plant};
use common::registers::DPC;
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::Reset;
use mlx5_twin_sim::fabric::{Detected, ErrorKind, PortEvent};
use mlx5_twin_sim::host::{AccessError, Settings};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, Status};

/// DPC Control: triggers on fatal errors, or on both; Completion Control, interrupt, ERR_COR, and the trigger of software.
const ON_FATAL: u32 = 1;
const ON_BOTH: u32 = 2;
const UNSUPPORTED: u32 = 1 << 2;
const INTERRUPT: u32 = 1 << 3;
const CORRECTABLE: u32 = 1 << 4;
const SOFTWARE: u32 = 1 << 6;

const VECTOR: u32 = 0x66;
/// Longer than a link's training.
const TRAINED: Time = Time::us(1_010);

/// A switch with two agents, and everything that tells of errors enabled: gives root port, the port above agent 0, agent 0, and its BAR.
struct Rig {
    plant: Plant,
    root: Bdf,
    port: Bdf,
    agent: Bdf,
    bar: u64,
}

fn rig(control: u32) -> Rig {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    let shapes = [Shape::Switch(vec![Shape::Agent, Shape::Agent])];
    let mut plant = plant(&shapes, &Spec { timing, ..Spec::default() });
    let bridges = plant.bridges();
    let (agent, bar) = plant.function(0);
    for id in bridges.iter().copied().chain([agent]) {
        plant.enable_reporting(id, 0xf);
        plant.enable_system_errors(id, true, (id != agent).then_some(true));
        plant.clear_errors(id);
    }
    let mut rig = Rig { plant, root: bridges[0], port: bridges[2], agent, bar };
    let (port, plant) = (rig.port, &mut rig.plant);
    let msi = plant.capability(port, 0x05);
    plant.config_write(port, msi + 1, 0xf, 0xfee0_0000);
    plant.config_write(port, msi + 3, 0xf, VECTOR);
    plant.config_write(port, msi, 0xc, 1 << 16);
    rig.control(control);
    rig
}

impl Rig {
    fn control(&mut self, control: u32) {
        let at = self.plant.extended(self.port, DPC);
        self.plant.config_write(self.port, at + 1, 0xc, control << 16);
        self.plant.settle();
    }

    /// DPC Status and DPC Error Source ID.
    fn status(&mut self) -> (u32, u16) {
        let at = self.plant.extended(self.port, DPC);
        let register = self.plant.config_read(self.port, at + 2);
        (register & 0xffff, (register >> 16) as u16)
    }

    fn link_is_up(&mut self) -> bool {
        let at = self.plant.capability(self.port, 0x10);
        self.plant.config_read(self.port, at + 4) >> 29 & 1 != 0
    }

    fn interrupts(&mut self) -> usize {
        let root = self.plant.root;
        std::iter::from_fn(|| self.plant.simulation.next_interrupt(root)).filter(|vector| *vector == VECTOR).count()
    }

    /// Agent 0 finds an error.
    fn agent_finds(&mut self, kind: ErrorKind) {
        self.plant.agent(0, |agent, core| core.detect(agent.function.port(), Detected::new(kind)));
        self.plant.settle();
    }

    fn root_status(&mut self) -> (u32, u16) {
        let errors = self.plant.errors(self.root);
        (errors.root_status, errors.root_source as u16)
    }

    fn events(&mut self, agent: usize) -> Vec<PortEvent> {
        self.plant
            .agent(agent, |agent, _| std::mem::take(&mut agent.events))
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    fn read(&mut self) -> Result<u32, AccessError> {
        let bar = self.bar;
        self.plant.run(move |host| async move { host.read32(bar).await })
    }
}

/// What begins it, what Trigger Reason says then, and whether a message or interrupt is left over.
#[test]
fn what_begins_it() {
    // Control, what the agent finds, whether it begins, DPC Status without the interrupt.
    #[rustfmt::skip]
    let table = [
        (0,        ErrorKind::ReceiverOverflow,  false, 0),
        (ON_FATAL, ErrorKind::ReceiverOverflow,  true,  0b101),
        (ON_BOTH,  ErrorKind::ReceiverOverflow,  true,  0b101),
        (0,        ErrorKind::CompletionTimeout, false, 0),
        (ON_FATAL, ErrorKind::CompletionTimeout, false, 0),
        (ON_BOTH,  ErrorKind::CompletionTimeout, true,  0b011),
        (ON_BOTH,  ErrorKind::BadTlp,            false, 0),
    ];
    for (control, kind, begins, status) in table {
        let mut rig = rig(control | INTERRUPT);
        rig.agent_finds(kind);
        let interrupt = u32::from(begins) << 3;
        let source = if begins { rig.agent.0 } else { 0 };
        assert_eq!(rig.status(), (status | interrupt, source), "{control} {kind:?}");
        assert_eq!(rig.link_is_up(), !begins, "{control} {kind:?}");
        assert_eq!(rig.interrupts(), usize::from(begins), "{control} {kind:?}");
        // The message ends at the port that it made act.
        assert_eq!(rig.root_status().0 == 0, begins, "{control} {kind:?}");
        let expected = if begins { vec![PortEvent::LinkDown(Reset::Hot)] } else { vec![] };
        assert_eq!(rig.events(0), expected, "{control} {kind:?}");
        assert_eq!(rig.events(1), [], "the neighbour keeps its link");
    }
}

/// An error that the port finds itself begins it too, unless it's masked; and no message tells of it.
#[test]
fn the_ports_own_errors() {
    for (masked, begins) in [(false, true), (true, false)] {
        let mut rig = rig(ON_FATAL | INTERRUPT | CORRECTABLE);
        rig.plant.write_errors(rig.port, 0x08, u32::from(masked) << 16);
        let me = rig.agent;
        // A completion for a bus of the switch's own: nobody claims it. Its severity makes it no advice.
        rig.plant.write_errors(rig.port, 0x0c, 1 << 16);
        let stray = Header::completion(me, rig.port, 5, Status::Successful, 4, 0, 1, 0, Attr::NONE).unwrap();
        rig.plant.send(0, stray, &[0; 4]);
        rig.plant.settle();
        assert_eq!(rig.status(), if begins { (0b1001, 0) } else { (0, 0) });
        assert_eq!(rig.plant.errors(rig.port).uncorrectable, 1 << 16);
        assert_eq!(rig.link_is_up(), !begins);
        // ERR_COR of the containment, by the port.
        assert_eq!(rig.root_status(), if begins { (1, rig.port.0) } else { (0, 0) });
        assert_eq!(rig.plant.device_status(rig.port), if begins { 0b101 } else { 0b100 });
    }
}

#[test]
fn software_begins_it_and_ends_it() {
    let mut rig = rig(0);
    // Off, the trigger does nothing.
    rig.control(SOFTWARE);
    assert_eq!((rig.status().0, rig.link_is_up()), (0, true));
    rig.control(ON_FATAL | SOFTWARE);
    assert_eq!((rig.status().0, rig.link_is_up()), (0b10_1111, false));
    let at = rig.plant.extended(rig.port, DPC);
    assert_eq!(rig.plant.config_read(rig.port, at + 1) >> 16, ON_FATAL, "the trigger reads 0");
    assert_eq!(rig.events(0), [PortEvent::LinkDown(Reset::Hot)]);
    // Held as long as software wants, and up again when it has cleared the status.
    rig.plant.run(|host| async move { host.sleep(Time::ms(50)).await });
    assert!(!rig.link_is_up());
    rig.plant.config_write(rig.port, at + 2, 0x1, 1);
    let begun = rig.plant.simulation.fabric().now();
    rig.plant.run(|host| async move { host.sleep(TRAINED).await });
    assert_eq!((rig.status().0 & 1, rig.link_is_up()), (0, true));
    assert!(rig.plant.simulation.fabric().now().since(begun) >= Time::ms(1));
    assert_eq!(rig.events(0), [PortEvent::LinkUp]);
    // The host sets up what was reset, and it works.
    let settings = Settings { map: Default::default(), max_payload: 256, max_read_request: 512 };
    rig.plant.run(|host| async move { configure(&host, settings).await });
    assert_eq!(rig.read(), Ok(0x0302_0100));
    // It can begin again.
    rig.control(ON_FATAL | SOFTWARE);
    assert_eq!((rig.status().0 & 1, rig.link_is_up()), (1, false));
}

/// What asks for the device behind the port meanwhile gets the answer that DPC Completion Control says, and that's nobody's error.
#[test]
fn requests_meanwhile() {
    for (control, unsupported) in [(ON_FATAL, false), (ON_FATAL | UNSUPPORTED, true)] {
        let mut rig = rig(control);
        rig.agent_finds(ErrorKind::DataLinkProtocol);
        let before = rig.plant.faults();
        let (bar, agent) = (rig.bar, rig.agent);
        let place = u64::from(agent.0) << 12;
        let expected = if unsupported {
            (Err(AccessError::UnsupportedRequest(bar)), Err(AccessError::UnsupportedRequest(place)))
        } else {
            (Err(AccessError::CompleterAbort(bar)), Err(AccessError::CompleterAbort(place)))
        };
        let got = rig.plant.run(move |host| async move { (host.read32(bar).await, host.config_read(agent, 0).await) });
        assert_eq!(got, expected);
        assert_eq!(rig.plant.run(move |host| async move { host.write32(bar, 1).await }), Ok(()));
        rig.plant.settle();
        assert_eq!(rig.plant.faults(), before);
        assert_eq!(rig.plant.fabric().in_flight(), 0);
        // The neighbour is served.
        let other = rig.plant.function(1).1;
        assert_eq!(rig.plant.run(move |host| async move { host.read32(other).await }), Ok(0x0302_0100));
    }
}

/// A link that goes down by itself, with containment and without.
#[test]
fn a_link_that_breaks() {
    for control in [0, ON_FATAL | INTERRUPT] {
        let mut rig = rig(control);
        assert!(rig.plant.fabric().break_link(LinkId(1)));
        assert!(!rig.plant.fabric().break_link(LinkId(1)), "it's down");
        assert!(!rig.plant.fabric().break_link(LinkId(77)));
        rig.plant.run(|host| async move { host.sleep(TRAINED).await });
        let errors = rig.plant.errors(rig.port);
        assert_eq!(errors.uncorrectable, 1 << 5);
        if control == 0 {
            assert!(rig.link_is_up(), "it's trained again at once");
            assert_eq!(rig.plant.errors(rig.root).root_status, 0x54, "ERR_FATAL");
            assert_eq!(rig.events(0), [PortEvent::LinkDown(Reset::Hot), PortEvent::LinkUp]);
        } else {
            assert!(!rig.link_is_up());
            assert_eq!((rig.status(), rig.interrupts()), ((0b1001, 0), 1));
            assert_eq!(rig.plant.errors(rig.root).root_status, 0);
        }
    }
}

/// Software's own means are no surprise.
#[test]
fn links_that_software_takes_down_surprise_nobody() {
    let mut rig = rig(ON_FATAL);
    let pcie = rig.plant.capability(rig.port, 0x10);
    for (register, enables, bit) in [(pcie + 4, 0x3, 1 << 4), (15, 0xc, 1 << 22)] {
        let before = rig.plant.config_read(rig.port, register);
        let status = if register == 15 { 0 } else { 0xffff_0000 };
        rig.plant.config_write(rig.port, register, enables, before & !status | bit);
        rig.plant.run(|host| async move { host.sleep(Time::us(10)).await });
        rig.plant.config_write(rig.port, register, enables, before & !status);
        rig.plant.run(|host| async move { host.sleep(TRAINED).await });
        assert_eq!((rig.plant.errors(rig.port).uncorrectable, rig.status()), (0, (0, 0)));
        assert!(rig.link_is_up());
    }
}

/// The same at a root port, for its own cores.
#[test]
fn requests_to_a_root_port_meanwhile() {
    for unsupported in [false, true] {
        let mut plant = plant(&[Shape::Agent, Shape::Agent], &Spec::default());
        let (port, bar) = (plant.bridges()[0], plant.function(0).1);
        let at = plant.extended(port, DPC);
        let control = ON_FATAL | SOFTWARE | if unsupported { UNSUPPORTED } else { 0 };
        plant.config_write(port, at + 1, 0xc, control << 16);
        plant.settle();
        let read = plant.run(move |host| async move { host.read32(bar).await });
        let aborted = Err(AccessError::CompleterAbort(bar));
        assert_eq!(read, if unsupported { Err(AccessError::UnsupportedRequest(bar)) } else { aborted });
        let other = plant.function(1).1;
        assert_eq!(plant.run(move |host| async move { host.read32(other).await }), Ok(0x0302_0100));
    }
}

/// Root ports: RP PIO, of requests that the host's cores made.
#[test]
fn root_port_pio() {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    // What the agent does, bit of RP PIO Status, and what the host does.
    let table = [(Manner::Abort, 17, false), (Manner::Mute, 18, false), (Manner::Answer, 16, true)];
    for (manner, bit, beyond) in table {
        for uncorrectable in [false, true] {
            let mut plant = plant(&[Shape::Agent], &Spec { timing, ..Spec::default() });
            let (port, bar) = (plant.bridges()[0], plant.function(0).1);
            let at = plant.extended(port, DPC);
            assert_eq!(
                plant.config_read(port, at + 1) & 0xfff,
                0x4e0,
                "extensions, log size 4, egress blocking, software trigger"
            );
            plant.config_write(port, at + 4, 0xf, 0);
            plant.config_write(port, at + 5, 0xf, u32::from(uncorrectable) << bit);
            plant.config_write(port, at + 1, 0xc, ON_FATAL << 16);
            plant.agent(0, |agent, _| agent.manner = manner);
            let address = if beyond { bar + common::agent::BAR } else { bar };
            assert!(plant.run(move |host| async move { host.read32(address).await }).is_err());
            plant.settle();
            assert_eq!(plant.config_read(port, at + 3), 1 << bit);
            let status = plant.config_read(port, at + 2) & 0xffff;
            assert_eq!(status >> 8, bit, "RP PIO First Error Pointer");
            // The port has found no error of AER by an answer that it got; a timeout is one, that begins it by itself.
            let begun = if bit == 18 { 0b1001 } else { 0b1111 };
            let begins = uncorrectable || bit == 18;
            assert_eq!(status & 0xff & !(3 << 1), if begins { begun & !(3 << 1) } else { 0 }, "{manner:?}");
            let log = [8, 9, 10, 11].map(|dword| plant.config_read(port, at + dword));
            let asked = Header::from_dws(log).unwrap();
            assert_eq!((asked.address(), asked.kind().is_memory_read()), (address, true));
        }
    }
}
