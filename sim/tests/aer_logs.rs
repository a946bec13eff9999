//! The header logs that real machines printed (`tlp_header_logs.rs` has where they come from), provoked: each TLP meets a fault on our fabric so that it
//! breaks the rule that it broke there, and AER shows the same bit and the same header. What software or a device did wrong there, an agent does here;
//! what went wrong on the way, a fault rule does.
//!
//! Of the eleven lines one can't be had: `ca615a08 ...` is no TLP at all, and nothing on this fabric sends such. Of headers of three dwords three
//! are compared: what follows them in the log is the hardware's affair.

mod common;

use common::plant::{Plant, Shape, Spec, bare};
use common::registers::ACS;
use mlx5_twin_sim::fabric::rules::{Rule, Rules};
use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Bdf, Header};
use serde::Deserialize;

/// How the TLP comes to break its rule.
#[derive(Clone, Copy, Debug)]
enum How {
    /// The agent reads memory, and the completion meets this.
    Read(&'static str),
    /// The agent sends it, with a larger `Max_Payload_Size` than the switch has.
    LargerPayload,
    /// The agent sends it, and the port doesn't know or doesn't take it.
    Sent,
    /// The agent sends it, and the port validates sources.
    Validated,
    /// The host reads two dwords from the agent, and the completion meets this.
    HostRead(&'static str),
}

/// Who logs it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Agent,
    /// The port above the agent.
    Port,
}

/// The data is poisoned on the way.
const POISON: &str = "[[faults]]\nkind = 'poison'\ntlp = 'CplD'\nlink = 'agent'\ntimes = 1";
/// A completion of two dwords says that it has one: that's less than what comes with it.
const SHORTER: &str = "
    [[faults]]
    kind = 'corrupt-field'\ntlp = 'CplD'\ntag = 0\nlink = 'agent'\nfield = 'byte_count'\nvalue = 4\ntimes = 1
    [[faults]]
    kind = 'corrupt-field'\ntlp = 'CplD'\ntag = 0\nlink = 'agent'\nfield = 'length'\nvalue = 1\ntimes = 1";
/// The completion never comes.
const DROP: &str = "[[faults]]\nkind = 'drop'\ntlp = 'CplD'\nlink = 'agent'\ntimes = 1";

/// Header log, bit of Uncorrectable Error Status, bus of the agent, how, and who logs it.
#[rustfmt::skip]
const LOGS: [([u32; 4], u32, u8, How, Who); 10] = [
    ([0x4a00_4010, 0x0000_0040, 0x0100_0000, 0xffff_ffff], 12, 0x01, How::Read(POISON),      Who::Agent),
    ([0x6000_0080, 0xab00_00ff, 0x0000_0102, 0x276f_e000], 18, 0xab, How::LargerPayload, Who::Port),
    ([0x6000_007a, 0xab00_00ff, 0x0000_0001, 0x629d_4318], 18, 0xab, How::LargerPayload, Who::Port),
    ([0x4a00_0001, 0x0100_0004, 0x0000_0000, 0x0000_0000], 18, 0x01, How::HostRead(SHORTER), Who::Port),
    ([0x3400_0000, 0x0500_0010, 0x0000_0000, 0x8845_8845], 20, 0x05, How::Sent,          Who::Port),
    ([0x3400_0000, 0x0800_0052, 0x0000_0000, 0x0000_0000], 20, 0x08, How::Sent,          Who::Port),
    ([0x3400_0000, 0x0a00_0052, 0x0000_0000, 0x0000_0000], 20, 0x0a, How::Sent,          Who::Port),
    ([0x3400_0000, 0x0000_0052, 0x0000_0000, 0x0000_0000], 21, 0x08, How::Validated,     Who::Port),
    ([0x0000_0000, 0x0000_0000, 0x0000_0000, 0x0000_0000], 14, 0x01, How::HostRead(DROP),    Who::Port),
    ([0x32d0_6208, 0xffdd_6308, 0x0000_0014, 0x5000_6107], 20, 0x01, How::Sent,          Who::Port),
];

/// Where BAR 0 of the agent is.
const BAR: u64 = 0xc000_0000;
/// Where the agent reads the host's memory.
const MEMORY: u64 = 0x1000;

/// Rules as a file has them.
#[derive(Deserialize)]
struct File {
    faults: Vec<Rule>,
}

/// Numbers the buses so that the agent is on bus `bus`, and turns everything on. Bridges come with their primary, secondary and last bus.
async fn set_up(host: &Host, bridges: &[(Bdf, u8)], bus: u8, agent_payload: u32) {
    for (number, &(bridge, secondary)) in bridges.iter().enumerate() {
        let buses = u32::from(bus) << 16 | u32::from(secondary) << 8 | u32::from(bridge.bus());
        host.config_write(bridge, 6, buses).await.unwrap_or_else(|error| panic!("bridge {number}: {error}"));
        host.config_write(bridge, 8, (BAR >> 16 | BAR & 0xfff0_0000) as u32).await.unwrap();
        host.config_write(bridge, 1, 0b110).await.unwrap();
    }
    let agent = Bdf::new(bus, 0, 0);
    host.config_write(agent, 4, BAR as u32).await.unwrap();
    host.config_write(agent, 5, 0).await.unwrap();
    host.config_write(agent, 1, 0b110).await.unwrap();
    // Max_Payload_Size of all; of the agent it may be another.
    let ids = bridges.iter().map(|&(id, _)| (id, 256)).chain([(agent, agent_payload)]);
    for (id, payload) in ids {
        let pcie = pcie(host, id).await;
        let control = (payload / 128_u32).ilog2() << 5 | 2 << 12;
        host.config_write_bytes(id, pcie + 2, 0x3, control).await.unwrap();
    }
}

async fn pcie(host: &Host, id: Bdf) -> u16 {
    let mut at = host.config_read(id, 13).await.unwrap() as u8;
    loop {
        let head = host.config_read(id, u16::from(at) / 4).await.unwrap();
        if head as u8 == 0x10 {
            return u16::from(at) / 4;
        }
        at = (head >> 8) as u8;
    }
}

/// The agent below a root port, or below a switch: gives the port above it and the agent.
fn built(bus: u8, with_switch: bool) -> (Plant, Bdf, Bdf) {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    let shape = if with_switch { Shape::Switch(vec![Shape::Agent]) } else { Shape::Agent };
    let mut plant = bare(&[shape], &Spec { timing, ..Spec::default() });
    let bridges = if with_switch {
        vec![(Bdf::new(0, 1, 0), bus - 2), (Bdf::new(bus - 2, 0, 0), bus - 1), (Bdf::new(bus - 1, 0, 0), bus)]
    } else {
        vec![(Bdf::new(0, 1, 0), bus)]
    };
    let port = bridges.last().unwrap().0;
    plant.run(move |host| async move { set_up(&host, &bridges, bus, 512).await });
    let agent = Bdf::new(bus, 0, 0);
    for id in [port, agent] {
        plant.clear_errors(id);
    }
    (plant, port, agent)
}

/// Lets faults happen by rule on the link of the agent.
fn set_rules(plant: &mut Plant, text: &str) {
    let File { faults } = toml::from_str(text).unwrap();
    let link = plant.agent(0, |agent, _| agent.function.port().link());
    let rules = Rules::new(faults, 1, |name| (name == "agent").then_some(link)).unwrap();
    plant.fabric().set_rules(rules).unwrap();
}

/// Sends a TLP from the agent.
fn send(plant: &mut Plant, header: [u32; 4]) {
    let header = Header::from_dws(header).unwrap();
    plant.agent(0, |agent, core| {
        let tlp = core.create(header);
        core.payload_mut(tlp).fill(0x5a);
        core.send(agent.function.port(), tlp);
    });
}

fn provoke(plant: &mut Plant, port: Bdf, log: [u32; 4], how: How) {
    match how {
        How::Read(rules) => {
            set_rules(plant, rules);
            plant.agent(0, |agent, core| agent.dma_read(core, MEMORY, 64, 1));
        }
        How::LargerPayload | How::Sent => send(plant, log),
        How::Validated => {
            let at = plant.extended(port, ACS);
            plant.config_write(port, at + 1, 0xc, 1 << 16);
            send(plant, log);
        }
        How::HostRead(rules) => {
            set_rules(plant, rules);
            // Tags take their turns: one of these reads has the one of the rule.
            let mut reads = 0..256;
            assert!(reads.any(|_| plant.run(|host| async move { host.read64(BAR).await }).is_err()));
        }
    }
    plant.settle();
}

#[test]
fn each_log_comes_of_what_happens_on_the_fabric() {
    for (log, bit, bus, how, who) in LOGS {
        // What went wrong at a switch goes wrong at a switch; all else at the first port that there is.
        let (mut plant, port, agent) = built(bus, matches!(how, How::LargerPayload));
        provoke(&mut plant, port, log, how);
        let (reporter, other) = if who == Who::Agent { (agent, port) } else { (port, agent) };
        let errors = plant.errors(reporter);
        let what = format!("{log:08x?} by {how:?}");
        // A read of the host's whose completion is no good times out in the end.
        let late = u32::from(matches!(how, How::HostRead(_))) << 14;
        assert_eq!(errors.uncorrectable, 1 << bit | late, "{what}");
        assert_eq!(errors.first(), bit, "{what}");
        let dwords = match Header::from_dws(log) {
            Ok(header) => header.header_len() / 4,
            Err(_) => 4,
        };
        assert_eq!(errors.header[..dwords], log[..dwords], "{what}: {:08x?}", errors.header);
        assert_eq!(errors.prefixes, [0; 4], "{what}");
        assert_eq!(plant.errors(other).uncorrectable, 0, "{what}: the other end has nothing to say");
        // A posted request and a fault of the format are no advice.
        assert_eq!(errors.correctable, 0, "{what}");
        let fatal = bit == 18;
        let status = u32::from(fatal) << 2 | u32::from(!fatal || late != 0) << 1 | u32::from(bit == 20) << 3;
        assert_eq!(plant.device_status(reporter), status, "{what}");
        assert_eq!(plant.fabric().in_flight(), 0, "{what}");
    }
}

/// What the poisoned completion did beyond the log: the read fails, and the PCI status shows the parity error.
#[test]
fn a_poisoned_completion_fails_its_read() {
    let (mut plant, port, agent) = built(1, false);
    plant.config_write(agent, 1, 0x3, 0b110 | 1 << 6);
    provoke(&mut plant, port, LOGS[0].0, How::Read(POISON));
    let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
    assert_eq!(ended[0].result, Err(mlx5_twin_sim::fabric::DmaError::Poisoned { address: MEMORY }));
    assert_eq!(plant.config_read(agent, 1) >> 24, 0x81, "Detected Parity Error, Master Data Parity Error");
}
