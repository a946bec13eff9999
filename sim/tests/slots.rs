//! Slots at root ports and at downstream ports of switches: what registers, devices and interrupts say of what befalls them, and of commands.

mod common;

use std::sync::{Arc, Mutex};

use common::TIMING;
use common::agent::{Agent, agent};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::{Indicator, Reset};
use mlx5_twin_sim::fabric::{Fabric, NodeId, PeerToPeer, PortEvent, TopologyError};
use mlx5_twin_sim::host::{
    AccessError, AddressMap, Found, HotPlug, HotPlugError, Settings, SlotChange, enumerate_below,
};
use mlx5_twin_sim::probe::{LinkId, Probe, Transmit};
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::topology::{Body, Endpoint, Node, PartKind, Root, Running, Slot, Switch, Topology};

const VECTOR: u32 = 0x41;
/// A completion timeout of 20 ms.
const SHORT: Timing = Timing { completion_timeout_us: 20_000, ..TIMING };

fn settings() -> Settings {
    Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 }
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    RootPort,
    DownstreamPort,
}

const PLACES: [Place; 2] = [Place::RootPort, Place::DownstreamPort];

/// A host with an agent in a slot, or soldered on, and another agent beside it.
struct Rig {
    running: Running,
    root: NodeId,
    agent: NodeId,
    beside: NodeId,
    link: LinkId,
    port: Found,
}

fn rig(place: Place, slot: Option<Slot>) -> Rig {
    let node = |name: &str, above: &str, slot, body| Node {
        name: name.to_owned(),
        above: above.to_owned(),
        count: None,
        link: None,
        slot,
        max_payload: None,
        body,
    };
    let root = Root {
        name: "host".to_owned(),
        count: None,
        memory_mib: 16,
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        spare_ports: 0,
        ids: None,
        max_payload: None,
    };
    let above = if place == Place::RootPort { "host" } else { "switch" };
    let nodes = vec![
        node("switch", "host", None, Body::Switch(Switch::default())),
        node("card", above, slot, Body::Endpoint(Endpoint::default())),
        node("beside", "switch", None, Body::Endpoint(Endpoint::default())),
    ];
    let topology = Topology { roots: vec![root], nodes, ..Topology::default() };
    let built = topology
        .build_with(SHORT, 1, |seat| Some(Box::new(Agent::new(seat.node, seat.port, 32, SHORT.completion_timeout()))));
    let running = built.expect("a fabric").enumerate(settings(), 0).expect("all is found");
    let part = |name: &str| running.part(name).expect("a part").clone();
    // Of the root complex: the switch's port, the card's. Of the switch: the upstream port, the card's.
    let port = running.functions(above)[1].clone();
    let (root, card, beside) = (part("host").node, part("card"), part("beside").node);
    Rig { running, root, agent: card.node, beside, link: card.link.expect("a link"), port }
}

impl Rig {
    fn fabric(&mut self) -> &mut Fabric {
        self.running.simulation.fabric_mut()
    }

    fn settle(&mut self) {
        let rests = (0..2_000_000).any(|_| !self.running.simulation.step());
        assert!(rests, "the fabric doesn't come to rest");
    }

    fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        program: impl FnOnce(mlx5_twin_sim::host::Host) -> F,
    ) -> T {
        let host = self.running.simulation.host(self.root);
        self.running.simulation.run(program(host)).expect("the program ends")
    }

    /// Writes a register of the port, and lets all follow from that.
    fn write(&mut self, register: u16, enables: u8, value: u32) {
        let id = self.port.id;
        self.run(move |host| async move { host.config_write_bytes(id, register, enables, value).await.unwrap() });
        self.settle();
    }

    fn read(&mut self, register: u16) -> u32 {
        let id = self.port.id;
        self.run(move |host| async move { host.config_read(id, register).await.unwrap() })
    }

    fn slot(&self) -> u16 {
        self.port.capability(0x10).unwrap() / 4 + 6
    }

    fn events(&mut self) -> Vec<PortEvent> {
        let node = self.agent;
        let events = agent(self.fabric(), node, |agent, _| std::mem::take(&mut agent.events));
        events.into_iter().map(|(_, event)| event).collect()
    }

    fn interrupts(&mut self) -> usize {
        let root = self.root;
        std::iter::from_fn(|| self.running.simulation.next_interrupt(root))
            .inspect(|vector| assert_eq!(*vector, VECTOR))
            .count()
    }

    /// Sets the port's message up, enables all interrupts of the slot, and forgets what was.
    fn prepare(&mut self) {
        if let Some(msi) = self.port.capability(5) {
            let msi = msi / 4;
            for (register, enables, value) in
                [(msi + 1, 0xf, 0xfee0_0000), (msi + 3, 0x3, VECTOR), (msi, 0xc, 1 << 16), (self.slot(), 0x3, ENABLES)]
            {
                self.write(register, enables, value);
            }
        }
        self.write(self.slot(), 0xc, 0x011f_0000);
        self.events();
        self.interrupts();
    }
}

// Slot Control: all enables and the interrupt; power off. The power and the attention indicator are on and off, as after a reset.
const ENABLES: u32 = 0x103f | 0x1c0;
const POWER_OFF: u32 = 1 << 10;
// Slot Status, shifted down.
const BUTTON: u32 = 1 << 0;
const FAULT: u32 = 1 << 1;
const MRL: u32 = 1 << 2;
const CHANGED: u32 = 1 << 3;
const COMMAND: u32 = 1 << 4;
const OPEN: u32 = 1 << 5;
const PRESENT: u32 = 1 << 6;
const LOCKED: u32 = 1 << 7;
const LINK: u32 = 1 << 8;

/// What befalls a slot.
#[derive(Clone, Copy, Debug)]
enum Act {
    Button,
    Unplug,
    Replug,
    Fault,
    Latch(bool),
    /// Slot Control is written.
    Control(u32),
}

fn act(rig: &mut Rig, act: Act) {
    let link = rig.link;
    let done = match act {
        Act::Button => rig.fabric().press_attention_button(link),
        Act::Unplug => rig.fabric().unplug(link),
        Act::Replug => rig.fabric().replug(link),
        Act::Fault => rig.fabric().power_fault(link),
        Act::Latch(open) => rig.fabric().set_latch(link, open),
        Act::Control(value) => {
            rig.write(rig.slot(), 0x3, value);
            Ok(())
        }
    };
    assert_eq!(done, Ok(()));
    rig.settle();
}

/// A slot with all parts and a device in it.
const FULL: Slot = Slot {
    hot_plug: true,
    surprise: true,
    attention_button: true,
    mrl_sensor: true,
    attention_indicator: true,
    power_indicator: true,
    power_controller: true,
    interlock: true,
    in_band_disable: true,
    no_command_completed: false,
    power_limit: 25,
    present: true,
    number: None,
};

/// Section 6.7: for each slot and what befalls it, Slot Status afterwards, what the device in it was told, and how many messages the port has sent.
/// What is done to which slot, and what comes of it: the bits of Slot Status, what the device is told, interrupts.
type Case = (&'static str, Slot, Vec<Act>, u32, Vec<PortEvent>, usize);

#[test]
fn what_befalls_a_slot() {
    use PortEvent::{AttentionIndicator, LinkDown, LinkUp, PowerIndicator, PowerOff, PowerOn, SurpriseDown};
    let dark = LinkDown(Reset::Fundamental);
    let empty = Slot { present: false, ..FULL };
    let bare =
        Slot { power_controller: false, mrl_sensor: false, attention_indicator: false, power_indicator: false, ..FULL };
    let latched = Slot { power_controller: false, ..FULL };
    let silent = Slot { no_command_completed: true, ..FULL };
    let fixed = Slot { hot_plug: false, power_controller: false, ..FULL };
    let on = ENABLES;
    let off = ENABLES | POWER_OFF;
    let attention = |bits: u32| ENABLES & !0xc0 | bits << 6;
    let power = |bits: u32| ENABLES & !0x300 | bits << 8;
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("button",                 FULL,    vec![Act::Button],                     BUTTON | PRESENT, vec![], 1),
        ("pulled out",             FULL,    vec![Act::Unplug],                     CHANGED | LINK, vec![SurpriseDown, dark], 1),
        ("pulled out twice",       FULL,    vec![Act::Unplug, Act::Unplug],        CHANGED | LINK, vec![SurpriseDown, dark], 1),
        ("out and in",             FULL,    vec![Act::Unplug, Act::Replug],        CHANGED | LINK | PRESENT, vec![SurpriseDown, dark, LinkUp], 1),
        ("put in",                 empty,   vec![Act::Replug],                     CHANGED | LINK | PRESENT, vec![LinkUp], 1),
        ("nothing to pull out",    empty,   vec![Act::Unplug],                     0, vec![], 0),
        ("power fault",            FULL,    vec![Act::Fault],                      FAULT | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("fault of no power",      FULL,    vec![Act::Control(off), Act::Fault],   COMMAND | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("fault, on without off",  FULL,    vec![Act::Fault, Act::Control(on)],    FAULT | COMMAND | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("fault, off and on",      FULL,    vec![Act::Fault, Act::Control(off), Act::Control(on)], FAULT | COMMAND | LINK | PRESENT, vec![dark, PowerOff, PowerOn, LinkUp], 1),
        ("no power controller",    bare,    vec![Act::Fault, Act::Control(off)],   COMMAND | PRESENT, vec![], 1),
        ("latch opened",           FULL,    vec![Act::Latch(true)],                MRL | OPEN | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("latch opened and closed", FULL,   vec![Act::Latch(true), Act::Latch(false)], MRL | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("open latch, off and on", FULL,    vec![Act::Latch(true), Act::Control(off), Act::Control(on)], MRL | OPEN | COMMAND | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("closed, off and on",     FULL,    vec![Act::Latch(true), Act::Latch(false), Act::Control(off), Act::Control(on)], MRL | COMMAND | LINK | PRESENT, vec![dark, PowerOff, PowerOn, LinkUp], 1),
        ("latch without power",    FULL,    vec![Act::Control(off), Act::Latch(true), Act::Latch(false), Act::Control(on)], MRL | COMMAND | LINK | PRESENT, vec![dark, PowerOff, PowerOn, LinkUp], 1),
        ("latch without switch",   latched, vec![Act::Latch(true)],                MRL | OPEN | PRESENT, vec![], 1),
        ("no sensor",              bare,    vec![Act::Latch(true)],                PRESENT, vec![], 0),
        ("power off",              FULL,    vec![Act::Control(off)],               COMMAND | LINK | PRESENT, vec![dark, PowerOff], 1),
        ("power off and on",       FULL,    vec![Act::Control(off), Act::Control(on)], COMMAND | LINK | PRESENT, vec![dark, PowerOff, PowerOn, LinkUp], 1),
        ("put in without power",   empty,   vec![Act::Control(off), Act::Replug],  COMMAND | CHANGED | PRESENT, vec![PowerOff], 1),
        ("power for a new one",    empty,   vec![Act::Control(off), Act::Replug, Act::Control(on)], COMMAND | CHANGED | LINK | PRESENT, vec![PowerOff, PowerOn, LinkUp], 1),
        ("attention indicator",    FULL,    vec![Act::Control(attention(1)), Act::Control(attention(2)), Act::Control(attention(3))], COMMAND | PRESENT,
            vec![AttentionIndicator(Indicator::On), AttentionIndicator(Indicator::Blink), AttentionIndicator(Indicator::Off)], 1),
        ("power indicator",        FULL,    vec![Act::Control(power(2)), Act::Control(power(3)), Act::Control(power(1))], COMMAND | PRESENT,
            vec![PowerIndicator(Indicator::Blink), PowerIndicator(Indicator::Off), PowerIndicator(Indicator::On)], 1),
        ("reserved indicators",    FULL,    vec![Act::Control(attention(2)), Act::Control(0x103f)], COMMAND | PRESENT, vec![AttentionIndicator(Indicator::Blink)], 1),
        ("interlock engaged",      FULL,    vec![Act::Control(on | 1 << 11)],      COMMAND | PRESENT | LOCKED, vec![], 1),
        ("interlock released",     FULL,    vec![Act::Control(on | 1 << 11), Act::Control(on), Act::Control(on | 1 << 11)], COMMAND | PRESENT, vec![], 1),
        ("presence by pins only",  FULL,    vec![Act::Control(on | 1 << 14)],      COMMAND | PRESENT, vec![], 1),
        ("no indicators",          bare,    vec![Act::Control(attention(1))],      COMMAND | PRESENT, vec![], 1),
        ("the same again",         FULL,    vec![Act::Control(on)],                COMMAND | PRESENT, vec![], 1),
        ("commands done at once",  silent,  vec![Act::Control(attention(1))],      PRESENT, vec![AttentionIndicator(Indicator::On)], 0),
        ("no hot-plug slot",       fixed,   vec![Act::Button, Act::Fault],         PRESENT, vec![], 0),
    ];
    for (name, slot, acts, status, events, interrupts) in cases {
        for place in PLACES {
            let mut rig = rig(place, Some(slot));
            rig.prepare();
            for step in acts.iter().copied() {
                act(&mut rig, step);
            }
            let register = rig.slot();
            assert_eq!(rig.read(register) >> 16, status, "{name} at {place:?}: Slot Status");
            assert_eq!(rig.events(), events, "{name} at {place:?}");
            assert_eq!(rig.interrupts(), interrupts, "{name} at {place:?}: messages");
            assert_eq!(rig.fabric().in_flight(), 0);
        }
    }
}

/// Each event interrupts if it's enabled, the interrupt is, MSI is and the port is a bus master; and not otherwise.
#[test]
fn each_event_has_its_enable() {
    let cases = [
        (Act::Button, 1 << 0, BUTTON),
        (Act::Fault, 1 << 1, FAULT),
        (Act::Latch(true), 1 << 2, MRL),
        (Act::Unplug, 1 << 3, CHANGED),
        (Act::Unplug, 1 << 12, LINK),
    ];
    for place in PLACES {
        for (step, enable, event) in cases {
            // The interrupt alone, with the enable, the enable alone, and all enables but this one and those of what the act also leads to.
            let others = 0x103f & !0x1018 & !enable;
            for (control, expected) in [(1 << 5, 0), (1 << 5 | enable, 1), (enable, 0), (others, 0)] {
                let mut rig = rig(place, Some(Slot { no_command_completed: true, ..FULL }));
                rig.prepare();
                act(&mut rig, Act::Control(control | 0x1c0));
                act(&mut rig, step);
                let register = rig.slot();
                assert_ne!(rig.read(register) >> 16 & event, 0, "{step:?}");
                assert_eq!(rig.interrupts(), expected, "{step:?} with {control:#x} at {place:?}");
            }
        }
    }
}

/// Without a slot, what is cut off is cut off all the same.
#[test]
fn a_cable_is_cut() {
    for place in PLACES {
        let mut rig = rig(place, None);
        let bar = rig.running.functions("card")[0].bars[0].address;
        assert_eq!(rig.run(move |host| async move { host.read32(bar).await }), Ok(0x0302_0100));
        rig.events();
        act(&mut rig, Act::Button);
        act(&mut rig, Act::Unplug);
        assert_eq!(rig.events(), [PortEvent::SurpriseDown, PortEvent::LinkDown(Reset::Fundamental)]);
        let refused = Err(AccessError::UnsupportedRequest(bar));
        assert_eq!(rig.run(move |host| async move { host.read32(bar).await }), refused);
        let link = rig.port.capability(0x10).unwrap() / 4 + 4;
        assert_eq!(rig.read(link) >> 29 & 1, 0, "Data Link Layer Link Active");
        act(&mut rig, Act::Replug);
        assert_eq!(rig.events(), [PortEvent::LinkUp]);
        assert_eq!(rig.read(link) >> 29 & 1, 1);
        let nobody = LinkId(99);
        assert_eq!(rig.fabric().unplug(nobody), Err(TopologyError::NoLink(99)));
    }
}

/// What's under way as a device is pulled out: the host's requests that it hasn't got yet or whose completions are on the wire end with a timeout, those
/// made later are unsupported; what the device itself has asked for never comes.
#[test]
fn requests_of_a_device_that_is_pulled_out() {
    for place in PLACES {
        let mut outcomes = Vec::new();
        // From before the request has left its root port until after its completion is back.
        for after_ns in [0, 50, 150, 300, 450, 700, 1_000, 5_000] {
            let mut rig = rig(place, Some(FULL));
            let found = rig.running.functions("card")[0].clone();
            let beside = rig.running.functions("beside")[0].bars[0].address;
            let (bar, id, node, link) = (found.bars[0].address, found.id, rig.agent, rig.link);
            rig.run(move |host| async move { host.config_write_bytes(id, 1, 0x3, 0x6).await.unwrap() });
            let begin = rig.running.simulation.fabric().now();
            let result = Arc::new(Mutex::new(None));
            let (host, place_of_result) = (rig.running.simulation.host(rig.root), Arc::clone(&result));
            rig.running.simulation.spawn(async move {
                *place_of_result.lock().unwrap() = Some(host.read32(bar).await);
            });
            agent(rig.fabric(), node, |agent, core| agent.dma_read(core, 0, 4096, 7));
            let at = begin + Time::ns(after_ns);
            while rig.running.simulation.next_time().is_some_and(|next| next <= at) {
                rig.running.simulation.step();
            }
            rig.running.simulation.advance_to(at);
            rig.fabric().unplug(link).unwrap();
            rig.settle();
            let first = result.lock().unwrap().take().expect("an end");
            match first {
                Ok(value) => assert_eq!(value, 0x0302_0100),
                Err(error) => {
                    assert!([AccessError::Timeout(bar), AccessError::UnsupportedRequest(bar)].contains(&error));
                }
            }
            outcomes.push(first);
            // The pulled device was reset: its read has ended without a word.
            assert!(agent(rig.fabric(), node, |agent, _| agent.dma.open() == 0));
            let (later, neighbour) =
                rig.run(move |host| async move { (host.read32(bar).await, host.read32(beside).await) });
            assert_eq!(later, Err(AccessError::UnsupportedRequest(bar)));
            assert_eq!(neighbour, Ok(0x0302_0100), "the one beside it doesn't notice");
            assert_eq!(rig.fabric().in_flight(), 0, "all credits are back");
            let other = rig.beside;
            assert!(agent(rig.fabric(), other, |agent, _| agent.events.is_empty()));
        }
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(AccessError::Timeout(_)))), "{outcomes:?}");
        assert!(outcomes.last().is_some_and(Result::is_ok), "{outcomes:?}");
    }
}

type Notes = Arc<Mutex<Vec<Result<SlotChange, HotPlugError>>>>;

fn serve(rig: &mut Rig, below: Vec<Found>) -> Notes {
    let notes = Notes::default();
    let (host, port, out) = (rig.running.simulation.host(rig.root), rig.port.clone(), Arc::clone(&notes));
    rig.running.simulation.spawn(async move {
        let mut slot = HotPlug::new(&host, settings(), &port, below, VECTOR as u16).await.expect("a port");
        loop {
            let change = slot.next().await;
            out.lock().unwrap().push(change);
        }
    });
    rig.settle();
    notes
}

fn take(notes: &Notes) -> Vec<Result<SlotChange, HotPlugError>> {
    std::mem::take(&mut notes.lock().unwrap())
}

/// A host serves a slot, at a root port as well: a device goes and comes back, with and without warning; after a power fault it's left alone until
/// somebody presses the button.
#[test]
fn a_host_serves_the_slot() {
    for place in PLACES {
        let mut rig = rig(place, Some(FULL));
        let below = rig.running.functions("card").to_vec();
        let bar = below[0].bars[0].address;
        let notes = serve(&mut rig, below.clone());
        let added = |notes: &Notes| match take(notes).as_slice() {
            [Ok(SlotChange::Added(found))] => assert_eq!((found.len(), found[0].vendor), (1, 0xfff1)),
            other => panic!("{other:?}"),
        };
        let answers = |rig: &mut Rig| rig.run(move |host| async move { host.read32(bar).await }) == Ok(0x0302_0100);
        assert!(answers(&mut rig));
        // Torn out, and put back.
        act(&mut rig, Act::Unplug);
        assert_eq!(take(&notes), [Ok(SlotChange::Removed(below.clone()))], "{place:?}");
        assert!(!answers(&mut rig));
        act(&mut rig, Act::Replug);
        added(&notes);
        assert!(answers(&mut rig));
        // A power fault.
        act(&mut rig, Act::Fault);
        assert_eq!(take(&notes).len(), 1);
        assert!(!answers(&mut rig));
        act(&mut rig, Act::Button);
        added(&notes);
        assert!(answers(&mut rig));
        // By the button.
        act(&mut rig, Act::Button);
        assert!(matches!(take(&notes).as_slice(), [Ok(SlotChange::Removed(_))]));
        assert!(!answers(&mut rig));
        assert_eq!(rig.fabric().in_flight(), 0);
    }
}

/// A switch in a slot is pulled out with all that is below it, and comes back with it.
#[test]
fn a_switch_in_a_slot() {
    let text = r#"
        [[roots]]
        name = "host"
        [[nodes]]
        name = "cage"
        above = "host"
        slot = { surprise = true }
        switch = {}
        [[nodes]]
        name = "card"
        above = "cage"
        count = 3
        endpoint = { functions = 2, virtual_functions = 2, ari = true }
    "#;
    let topology: Topology = toml::from_str(text).unwrap();
    let mut running = topology.build(SHORT, 1).unwrap().enumerate(settings(), 2).unwrap();
    assert_eq!(running.endpoints().count(), 3);
    let (root, link) = (running.part("host").unwrap().node, running.part("cage").unwrap().link.unwrap());
    let port = running.functions("host")[0].clone();
    let bars: Vec<u64> =
        running.endpoints().flat_map(|(_, own)| own.iter().map(|found| found.bars[0].address)).collect();
    let host = running.simulation.host(root);
    running.simulation.fabric_mut().unplug(link).unwrap();
    while running.simulation.step() {}
    let reader = host.clone();
    let gone = running.simulation.run(async move {
        for bar in bars {
            assert_eq!(reader.read32(bar).await, Err(AccessError::UnsupportedRequest(bar)));
        }
    });
    assert_eq!(gone, Some(()));
    running.simulation.fabric_mut().replug(link).unwrap();
    while running.simulation.step() {}
    let found =
        running.simulation.run(async move { enumerate_below(&host, &port, settings()).await }).unwrap().unwrap();
    let endpoints = found.iter().filter(|function| !function.bridge).count();
    assert_eq!((endpoints, found.len()), (6, 6 + 1 + 3), "without virtual functions: they are gone");
    assert!(running.parts().iter().any(|part| part.kind == PartKind::Switch));
}

/// An observer sees what happens to links and slots.
#[test]
fn an_observer_is_told() {
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(LinkId, PortEvent)>>>);
    impl Probe for Seen {
        fn transmit(&mut self, _: &Transmit<'_>) {}
        fn port_event(&mut self, _: Time, link: LinkId, event: PortEvent) {
            self.0.lock().unwrap().push((link, event));
        }
    }
    let mut rig = rig(Place::DownstreamPort, Some(FULL));
    rig.prepare();
    let seen = Seen::default();
    rig.fabric().set_probe(Some(Box::new(seen.clone())));
    for step in [Act::Control(ENABLES & !0xc0 | 0x80), Act::Unplug, Act::Replug] {
        act(&mut rig, step);
    }
    let expected = [
        PortEvent::AttentionIndicator(Indicator::Blink),
        PortEvent::SurpriseDown,
        PortEvent::LinkDown(Reset::Fundamental),
        PortEvent::LinkUp,
    ];
    assert_eq!(*seen.0.lock().unwrap(), expected.map(|event| (rig.link, event)));
}
