//! What an error does to the registers of its function, which message it sends, and how far that gets.

mod common;

use common::agent::Manner;
use common::plant::{Plant, Recorder, Shape, Spec, plant};
use mlx5_twin_sim::config::{AerCapability, ConfigSpace, ErrorMessage, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::error::{Role, forward, record, signal};
use mlx5_twin_sim::fabric::{Detected, ErrorKind, PortIdentity, SystemError, port_config};
use mlx5_twin_sim::host::AccessError;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, MessageCode, Status};

const EVERYTHING: u32 = 0xf;

/// A function with or without AER, whose registers are at: Command 1, Device Control 18, AER 64 (in dwords).
fn function(aer: bool) -> ConfigSpace {
    let mut config = Type0 { vendor_id: 0xfff1, device_id: 9, ..Type0::default() }.build().unwrap();
    assert_eq!(config.add(&PcieCapability::new(PortType::Endpoint)), Ok(0x40));
    if aer {
        assert_eq!(config.add(&AerCapability::default()), Ok(0x100));
    }
    config
}

const DEVICE_CONTROL: u16 = 18;
const AER: u16 = 64;

/// The settings that decide: all combinations of them are tried.
#[derive(Clone, Copy, Debug)]
struct Settings {
    aer: bool,
    masked: bool,
    fatal: bool,
    advisory_masked: bool,
    /// Device Control: correctable, non-fatal, fatal, Unsupported Request.
    enables: u32,
    system: bool,
}

/// What is to come of it: Device Status, whether the uncorrectable bit and the advisory bit are set, whether the header is logged, the message.
type Expected = (u32, bool, bool, bool, Option<ErrorMessage>);

/// Figure 6-2 once more, written as conditions.
fn expected(kind: ErrorKind, default_fatal: bool, can_be_advice: bool, s: Settings) -> Expected {
    let unsupported = kind == ErrorKind::UnsupportedRequest;
    let fatal = if s.aer { s.fatal } else { default_fatal };
    let detected = |bit: u32| bit | u32::from(unsupported) << 3;
    let told = !unsupported || s.enables & 8 != 0;
    if can_be_advice && !fatal {
        let goes_on = s.aer && !s.advisory_masked;
        let message = (goes_on && s.enables & 1 != 0 && told).then_some(ErrorMessage::Correctable);
        return (detected(1), goes_on, s.aer, goes_on && !s.masked, message);
    }
    let (bit, enable, message) = if fatal { (4, 4, ErrorMessage::Fatal) } else { (2, 2, ErrorMessage::NonFatal) };
    let sent = !(s.aer && s.masked) && (s.system || s.enables & enable != 0 && told);
    (detected(bit), s.aer, false, s.aer && !s.masked, sent.then_some(message))
}

#[test]
fn all_settings_of_all_kinds() {
    let header = Header::mem_write_bytes(Bdf(0x100), 0, 0x1000, 64).unwrap();
    // Kind, bit, fatal by default, the role in which it's an advice.
    #[rustfmt::skip]
    let kinds = [
        (ErrorKind::UnsupportedRequest,   20, false, Role::Completer),
        (ErrorKind::CompleterAbort,       15, false, Role::Completer),
        (ErrorKind::PoisonedTlp,          12, false, Role::Intermediate),
        (ErrorKind::PoisonedTlp,          12, false, Role::Recovers),
        (ErrorKind::Ecrc,                 19, false, Role::Intermediate),
        (ErrorKind::UnexpectedCompletion, 16, false, Role::Completer),
        (ErrorKind::MalformedTlp,         18, true,  Role::Plain),
        (ErrorKind::CompletionTimeout,    14, false, Role::Recovers),
        (ErrorKind::ReceiverOverflow,     17, true,  Role::Plain),
    ];
    let bit_of = |number: u32, bit: u32| number >> bit & 1 != 0;
    let mut tried = 0;
    for (kind, bit, default_fatal, advice_as) in kinds {
        for number in 0..1_u32 << 10 {
            let role = if bit_of(number, 9) { advice_as } else { Role::Plain };
            let s = Settings {
                aer: bit_of(number, 0),
                masked: bit_of(number, 1),
                fatal: bit_of(number, 2),
                advisory_masked: bit_of(number, 3),
                enables: number >> 4 & 0xf,
                system: bit_of(number, 8),
            };
            let mut config = function(s.aer);
            config.write(1, 0x3, u32::from(s.system) << 8);
            config.write(DEVICE_CONTROL, 0x3, s.enables);
            if s.aer {
                config.write(AER + 2, 0xf, u32::from(s.masked) << bit);
                config.write(AER + 3, 0xf, u32::from(s.fatal) << bit);
                config.write(AER + 5, 0xf, u32::from(s.advisory_masked) << 13);
            }
            let logged = !matches!(kind, ErrorKind::CompletionTimeout | ErrorKind::ReceiverOverflow);
            let report = record(&mut config, &Detected::new(kind).about(&header).as_role(role), false);
            // An unexpected completion is an advice whoever finds it.
            let advice = advice_as != Role::Plain && (role == advice_as || kind == ErrorKind::UnexpectedCompletion);
            let (status, uncorrectable, advisory, log, message) = expected(kind, default_fatal, advice, s);
            assert_eq!(config.read(DEVICE_CONTROL) >> 16 & 0xf, status, "{kind:?} {s:?}");
            assert_eq!(config.read(AER + 1), u32::from(uncorrectable) << bit, "{kind:?} {s:?}");
            assert_eq!(config.read(AER + 4), u32::from(advisory) << 13, "{kind:?} {s:?}");
            let dws = if log && logged { header.dws() } else { [0; 4] };
            assert_eq!([7, 8, 9, 10].map(|dword| config.read(AER + dword)), dws, "{kind:?} {s:?}");
            assert_eq!(config.read(AER + 6) & 0x1f, if log { bit } else { 0 }, "{kind:?} {s:?}");
            assert_eq!(report.message, message, "{kind:?} {s:?}");
            assert!(!report.overflow);
            if let Some(message) = message {
                signal(&mut config, message);
            }
            let system = message.is_some_and(|message| message != ErrorMessage::Correctable) && s.system;
            assert_eq!(config.read(1) >> 30 & 1, u32::from(system), "{kind:?} {s:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 9 << 10);
}

#[test]
fn correctable_errors_have_one_mask_and_one_enable() {
    use ErrorKind as K;
    let kinds = [
        (K::ReceiverError, 0),
        (K::BadTlp, 6),
        (K::BadDllp, 7),
        (K::ReplayRollover, 8),
        (K::ReplayTimeout, 12),
        (K::CorrectedInternal, 14),
    ];
    for (kind, bit) in kinds {
        for (masked, enabled) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut config = function(true);
            config.write(AER + 5, 0xf, u32::from(masked) << bit);
            config.write(DEVICE_CONTROL, 0x3, u32::from(enabled));
            let report = record(&mut config, &Detected::new(kind), false);
            let message = (enabled && !masked).then_some(ErrorMessage::Correctable);
            assert_eq!((report.message, report.uncorrectable), (message, false), "{kind:?}");
            assert_eq!((config.read(AER + 4), config.read(DEVICE_CONTROL) >> 16 & 0xf), (1 << bit, 1), "{kind:?}");
        }
    }
}

#[test]
fn the_first_error_keeps_the_log_until_it_is_cleared() {
    let mut config = function(true);
    config.write(DEVICE_CONTROL, 0x3, EVERYTHING);
    // Header Log Overflow is masked after a reset.
    config.write(AER + 5, 0xf, 0);
    let header = |tag| Header::mem_write(Bdf(0x100), tag, 0x1000, 0xf, 0, 1).unwrap();
    let found = |kind, tag| Detected::new(kind).about(&header(tag));
    let log = |config: &ConfigSpace| (config.read(AER + 6) & 0x1f, config.read(AER + 8) >> 8 & 0xff);
    let first = record(&mut config, &found(ErrorKind::MalformedTlp, 1), false);
    assert_eq!((first.overflow, log(&config)), (false, (18, 1)));
    let second = record(&mut config, &found(ErrorKind::UnsupportedRequest, 2), false);
    assert_eq!((second.overflow, log(&config)), (true, (18, 1)));
    assert_eq!(second.message, Some(ErrorMessage::NonFatal));
    assert_eq!((config.read(AER + 1), config.read(AER + 4)), (1 << 18 | 1 << 20, 1 << 15));
    // The same error once more has no room either.
    assert!(record(&mut config, &found(ErrorKind::MalformedTlp, 3), false).overflow);
    // Without a header nothing is lost.
    assert!(!record(&mut config, &Detected::new(ErrorKind::CompletionTimeout), false).overflow);
    // The second is still there when the first is cleared, but its header is gone: the log is free.
    config.write(AER + 1, 0xf, 1 << 18);
    let third = record(&mut config, &found(ErrorKind::UnsupportedRequest, 4), false);
    assert_eq!((third.overflow, log(&config)), (false, (20, 4)));
    // Masked, the overflow is only noted.
    config.write(AER + 5, 0xf, 1 << 15);
    config.write(AER + 4, 0xf, u32::MAX);
    assert!(!record(&mut config, &found(ErrorKind::MalformedTlp, 5), false).overflow);
    assert_eq!(config.read(AER + 4), 1 << 15);
}

#[test]
fn prefixes_are_logged_with_the_header() {
    let mut config = function(true);
    let header = Header::mem_write_bytes(Bdf(0x100), 0, 0x1000, 64).unwrap();
    let mut found = Detected::new(ErrorKind::UnsupportedRequest).about(&header);
    found.tlp.as_mut().unwrap().prefixes = [0x9100_0007, 0x9e00_0001, 0, 0];
    record(&mut config, &found, false);
    assert_eq!(config.read(AER + 6) & 1 << 11, 1 << 11);
    assert_eq!([14, 15, 16, 17].map(|dword| config.read(AER + dword)), [0x9100_0007, 0x9e00_0001, 0, 0]);
    config.write(AER + 1, 0xf, u32::MAX);
    record(&mut config, &Detected::new(ErrorKind::UnsupportedRequest).about(&header), false);
    assert_eq!((config.read(AER + 6) & 1 << 11, config.read(AER + 14)), (0, 0));
}

/// What a bridge needs to hand a message on: Bridge Control's SERR# Enable, and Device Control's enable or for the uncorrectable ones Command's
/// SERR# Enable.
#[test]
fn what_a_bridge_hands_on() {
    let identity = PortIdentity { vendor_id: 0xfff1, device_id: 1, max_payload: 256 };
    for number in 0..1_u32 << 5 {
        let (bridge, system, enables) = (number & 1 != 0, number & 2 != 0, number >> 2);
        for message in ErrorMessage::ALL {
            let mut config = port_config(identity, PortType::Upstream, 0, &common::link(3, 4)).unwrap();
            let pcie = config.find(mlx5_twin_sim::config::CapabilityId::PCIE).unwrap() / 4;
            config.write(15, 0xf, u32::from(bridge) << 17);
            config.write(1, 0x3, u32::from(system) << 8);
            config.write(pcie + 2, 0x3, enables);
            let correctable = message == ErrorMessage::Correctable;
            let on = bridge && (enables >> message as u32 & 1 != 0 || system && !correctable);
            assert_eq!(forward(&mut config, message), on, "{number:#b} {message:?}");
            assert_eq!(config.read(7) >> 30 & 1, u32::from(!correctable), "received system error");
            assert_eq!(config.read(1) >> 30 & 1, u32::from(on && system && !correctable), "signalled system error");
        }
    }
}

/// Below two switches, with everything enabled that there is.
fn deep() -> (Plant, Vec<Bdf>, Bdf, u64) {
    let shape = Shape::Switch(vec![Shape::Switch(vec![Shape::Agent])]);
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    let mut plant = plant(&[shape], &Spec { timing, ..Spec::default() });
    let bridges = plant.bridges();
    assert_eq!(bridges.len(), 5);
    let (agent, bar) = plant.function(0);
    for &bridge in &bridges {
        plant.enable_reporting(bridge, EVERYTHING);
        plant.enable_system_errors(bridge, true, Some(true));
        plant.clear_errors(bridge);
    }
    plant.enable_reporting(agent, EVERYTHING);
    plant.clear_errors(agent);
    plant.write_errors(bridges[0], 0x2c, 0b111);
    (plant, bridges, agent, bar)
}

/// A write that the agent doesn't know: it has no BAR there.
fn stray_write(plant: &mut Plant, bar: u64) {
    plant.run(move |host| async move { host.write32(bar + common::agent::BAR, 1).await.unwrap() });
    plant.settle();
}

#[test]
fn a_message_reaches_the_root_through_two_switches() {
    let (mut plant, bridges, agent, bar) = deep();
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    stray_write(&mut plant, bar);
    let mut messages: Vec<(u16, Header)> = (recorder.take().transmitted.iter())
        .filter_map(|seen| Some((seen.link, Header::decode(&seen.header).ok()?)))
        .filter(|(_, header)| header.kind().is_message())
        .collect();
    messages.sort_unstable_by_key(|(link, _)| *link);
    let links: Vec<u16> = messages.iter().map(|(link, _)| *link).collect();
    assert_eq!(links, [0, 1, 2], "once over each link");
    for (_, header) in &messages {
        assert_eq!((header.message_code(), header.requester()), (MessageCode::ERR_NONFATAL, agent));
    }
    let root = plant.errors(bridges[0]);
    assert_eq!((root.root_status, root.root_source), (0x24, u32::from(agent.0) << 16));
    assert_eq!(root.uncorrectable, 0, "the port itself found nothing");
    for &bridge in &bridges {
        assert_eq!(plant.config_read(bridge, 7) >> 30 & 1, 1, "{bridge} received a system error");
        assert_eq!(plant.config_read(bridge, 1) >> 30 & 1, 1, "{bridge} signalled one");
    }
    assert_eq!(plant.device_status(agent), 2 | 8);
}

/// Each bridge on the way can stop it, and nothing behind that one has heard of it.
#[test]
fn each_bridge_can_keep_it_back() {
    for stop in 0..5 {
        let (mut plant, bridges, _, bar) = deep();
        plant.enable_system_errors(bridges[stop], true, Some(false));
        stray_write(&mut plant, bar);
        for (place, &bridge) in bridges.iter().enumerate() {
            let received = plant.config_read(bridge, 7) >> 30 & 1;
            assert_eq!(received, u32::from(place >= stop), "bridge {place} of {stop}");
        }
        assert_eq!(plant.errors(bridges[0]).root_status, 0);
    }
}

#[test]
fn the_root_port_counts_interrupts_and_calls_the_system() {
    let (mut plant, bridges, agent, bar) = deep();
    let (root, port) = (plant.root, bridges[0]);
    let msi = plant.capability(port, 0x05);
    plant.config_write(port, msi + 1, 0xf, 0xfee0_0000);
    plant.config_write(port, msi + 3, 0xf, 0x55);
    plant.config_write(port, msi, 0xc, 1 << 16);
    let pcie = plant.capability(port, 0x10);
    plant.config_write(port, pcie + 7, 0x3, 0b010);
    let came = |plant: &mut Plant| {
        plant.settle();
        std::iter::from_fn(|| plant.simulation.next_interrupt(root)).count()
    };
    stray_write(&mut plant, bar);
    assert_eq!(came(&mut plant), 1);
    stray_write(&mut plant, bar);
    assert_eq!(came(&mut plant), 0, "the condition is true already");
    assert_eq!(plant.errors(port).root_status, 0x2c, "several");
    let expected = SystemError { port: 0, message: ErrorMessage::NonFatal, source: agent };
    assert_eq!(plant.fabric().next_system_error(root), Some(expected));
    assert_eq!(plant.fabric().next_system_error(root), Some(expected));
    assert_eq!(plant.fabric().next_system_error(root), None);
    plant.write_errors(port, 0x30, 0x7f);
    stray_write(&mut plant, bar);
    assert_eq!(came(&mut plant), 1, "it's true again");
    // An error of the root port's own: fatal by software's choice, and so the first fatal one.
    plant.write_errors(port, 0x30, 0x7f);
    plant.write_errors(port, 0x0c, 1 << 16);
    plant.agent(0, |agent, core| {
        let header =
            Header::completion(agent.function.id(), Bdf(0), 77, Status::Successful, 4, 0, 1, 0, Attr::NONE).unwrap();
        agent.send(core, header, &[0; 4]);
    });
    assert_eq!(came(&mut plant), 1);
    let errors = plant.errors(port);
    assert_eq!((errors.uncorrectable, errors.root_status), (1 << 16, 0x54));
    assert_eq!(errors.root_source >> 16, u32::from(port.0));
    // Nobody asked to call the system for fatal ones; the other one was.
    assert!(plant.fabric().next_system_error(root).is_some());
    assert_eq!(plant.fabric().next_system_error(root), None);
}

/// The agent answers when its time is over: nobody gets that, least of all the next request.
#[test]
fn a_late_completion_is_unexpected_and_nobody_gets_it() {
    let (mut plant, bridges, _, bar) = deep();
    plant.agent(0, |agent, _| agent.manner = Manner::Mute);
    let error = plant.run(move |host| async move { host.read32(bar).await });
    assert_eq!(error, Err(AccessError::Timeout(bar)));
    let port = bridges[0];
    plant.settle();
    let errors = plant.errors(port);
    assert_eq!((errors.uncorrectable, errors.first(), errors.header), (1 << 14, 14, [0; 4]));
    assert_eq!((errors.root_status, errors.root_source >> 16), (0x24, u32::from(port.0)));
    plant.clear_errors(port);
    // Advisory errors are masked after a reset.
    plant.write_errors(port, 0x14, 0);
    let (request, me) = plant.agent(0, |agent, _| {
        agent.manner = Manner::Answer;
        let request = agent.received.iter().find(|seen| seen.header.kind().is_memory_read()).unwrap().header;
        (request, agent.function.id())
    });
    let late = Header::completion_for(&request, me, Status::Successful).unwrap();
    plant.send(0, late, &[0xee; 4]);
    let read = plant.run(move |host| async move {
        let mut all = Vec::new();
        for offset in 0..300 {
            all.push(host.read32(bar + offset * 4).await.unwrap());
        }
        all
    });
    for (offset, value) in (0_u32..).zip(read) {
        assert_eq!(value, u32::from_le_bytes([0, 1, 2, 3].map(|byte| (offset * 4 + byte) as u8)));
    }
    let errors = plant.errors(port);
    assert_eq!((errors.uncorrectable, errors.correctable), (1 << 16, 1 << 13));
    assert_eq!(errors.header, late.dws());
}

/// What an endpoint refuses: a non-posted request is an advice, a posted one isn't; and the PCI status knows aborts.
#[test]
fn what_is_answered_is_an_advice() {
    let (mut plant, bridges, agent, bar) = deep();
    // Advisory errors are masked after a reset.
    plant.write_errors(agent, 0x14, 0);
    let beyond = bar + common::agent::BAR;
    assert!(plant.run(move |host| async move { host.read32(beyond).await }).is_err());
    plant.settle();
    let errors = plant.errors(agent);
    assert_eq!((errors.uncorrectable, errors.correctable, plant.device_status(agent)), (1 << 20, 1 << 13, 1 | 8));
    assert_eq!(plant.errors(bridges[0]).root_status, 1, "ERR_COR");
    assert_eq!(plant.config_read(bridges[0], 7) >> 29 & 1, 1, "received master abort");
    plant.clear_errors(agent);
    plant.agent(0, |agent, _| agent.manner = Manner::Abort);
    assert!(plant.run(move |host| async move { host.read32(bar).await }).is_err());
    plant.settle();
    assert_eq!(plant.errors(agent).uncorrectable, 1 << 15);
    assert_eq!(plant.config_read(agent, 1) >> 27 & 1, 1, "signalled target abort");
    assert_eq!(plant.config_read(bridges[0], 7) >> 28 & 1, 1, "received target abort");
}

/// Data link errors come to the port that the layer is of.
#[test]
fn errors_of_the_data_link_layer() {
    let (mut plant, bridges, agent, _) = deep();
    plant.agent(0, |agent, core| {
        core.detect(agent.function.port(), Detected::new(ErrorKind::BadTlp));
    });
    plant.settle();
    assert_eq!(plant.errors(agent).correctable, 1 << 6);
    let root = plant.errors(bridges[0]);
    assert_eq!((root.root_status, root.root_source), (1, u32::from(agent.0)));
    assert_eq!(plant.fabric().detected(ErrorKind::BadTlp), 1);
}
