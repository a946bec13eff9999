//! Error reporting as QEMU has it: `fixtures/aer-vectors`, replayed on a root port and a switch of ours. Its README has what QEMU is no judge of.

mod common;

use std::collections::BTreeMap;

use common::plant::{Plant, Shape, Spec, plant};
use mlx5_twin_sim::config::TlpLog;
use mlx5_twin_sim::fabric::error::Role;
use mlx5_twin_sim::fabric::{Detected, ErrorKind, PortId};
use mlx5_twin_sim::probe::LinkId;
use mlx5_twin_sim::tlp::Bdf;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Injected {
    name: String,
    correctable: bool,
    advisory: bool,
    header: Option<[u32; 4]>,
}

#[derive(Debug, Deserialize)]
struct Case {
    target: String,
    errors: Vec<Injected>,
    mask: u32,
    severity: u32,
    cor_mask: u32,
    root_command: u32,
    /// Device Control, SERR# Enable of Command, SERR# Enable of Bridge Control.
    ports: BTreeMap<String, [u32; 3]>,
    result: Outcome,
}

/// Status, Secondary Status, Device Status, Uncorrectable and Correctable Error Status.
type Registers = [u32; 5];

#[derive(Debug, Deserialize)]
struct Outcome {
    root: Registers,
    upstream: Registers,
    downstream: Registers,
    first_error: u32,
    header: [u32; 4],
    root_status: u32,
    root_source: u32,
}

/// From the root port down.
const PORTS: [&str; 3] = ["root", "upstream", "downstream"];

fn kind(name: &str) -> (ErrorKind, Role) {
    use ErrorKind as K;
    match name {
        "DLP" => (K::DataLinkProtocol, Role::Plain),
        "POISON_TLP" => (K::PoisonedTlp, Role::Intermediate),
        "FCP" => (K::FlowControlProtocol, Role::Plain),
        "COMP_TIME" => (K::CompletionTimeout, Role::Recovers),
        "COMP_ABORT" => (K::CompleterAbort, Role::Completer),
        "UNX_COMP" => (K::UnexpectedCompletion, Role::Plain),
        "RX_OVER" => (K::ReceiverOverflow, Role::Plain),
        "MALF_TLP" => (K::MalformedTlp, Role::Plain),
        "ECRC" => (K::Ecrc, Role::Intermediate),
        "UNSUP" => (K::UnsupportedRequest, Role::Completer),
        "RCVR" => (K::ReceiverError, Role::Plain),
        "BAD_TLP" => (K::BadTlp, Role::Plain),
        "BAD_DLLP" => (K::BadDllp, Role::Plain),
        "REP_ROLL" => (K::ReplayRollover, Role::Plain),
        "REP_TIMER" => (K::ReplayTimeout, Role::Plain),
        other => panic!("no error {other}"),
    }
}

/// The fabric's ends of a port: where its errors are found.
fn end(plant: &mut Plant, name: &str) -> PortId {
    let (link, end) = match name {
        "root" => (0, 0),
        "upstream" => (0, 1),
        _ => (1, 0),
    };
    plant.fabric().ends(LinkId(link)).unwrap()[end].port
}

struct Rig {
    plant: Plant,
    /// ID and dwords of the capabilities PCI Express and AER, by port.
    ports: Vec<(Bdf, u16, u16)>,
}

impl Rig {
    fn new() -> Rig {
        let mut plant = plant(&[Shape::Switch(vec![Shape::Agent])], &Spec::default());
        let ports =
            plant.bridges().into_iter().map(|id| (id, plant.capability(id, 0x10), plant.extended(id, 1))).collect();
        Rig { plant, ports }
    }

    fn set_up(&mut self, case: &Case) {
        for (name, (id, pcie, aer)) in PORTS.into_iter().zip(self.ports.clone()) {
            let [enables, system, bridge] = case.ports[name];
            let here = name == case.target;
            let own = |mask| if here { mask } else { 0 };
            let severity = case.severity;
            let (mask, cor_mask) = (own(case.mask), own(case.cor_mask));
            self.plant.run(move |host| async move {
                let writes = [
                    (1, 0xf, 0xffff_0006 | system << 8),
                    (7, 0xc, 0xffff_0000),
                    (15, 0xc, bridge << 17),
                    (pcie + 2, 0xf, 0x000f_0000 | enables),
                    (aer + 1, 0xf, u32::MAX),
                    (aer + 2, 0xf, mask),
                    (aer + 3, 0xf, severity),
                    (aer + 4, 0xf, u32::MAX),
                    (aer + 5, 0xf, cor_mask),
                ];
                for (register, enables, value) in writes {
                    host.config_write_bytes(id, register, enables, value).await.unwrap();
                }
            });
        }
        let (root, _, aer) = self.ports[0];
        self.plant.config_write(root, aer + 11, 0xf, case.root_command);
        self.plant.config_write(root, aer + 12, 0xf, 0x7f);
    }

    fn inject(&mut self, case: &Case) {
        let port = end(&mut self.plant, &case.target);
        for error in &case.errors {
            let (kind, role) = kind(&error.name);
            let role = if error.advisory { role } else { Role::Plain };
            let tlp = error.header.map(|header| TlpLog { header, prefixes: [0; 4] });
            let found = Detected { tlp, ..Detected::new(kind).as_role(role) };
            self.plant.agent(0, |_, core| core.detect(port, found));
            self.plant.settle();
        }
    }

    fn registers(&mut self, place: usize) -> Registers {
        let (id, pcie, aer) = self.ports[place];
        self.plant.run(move |host| async move {
            let read = async |register| host.config_read(id, register).await.unwrap();
            [
                read(1).await >> 16 & 0xf900,
                read(7).await >> 16 & 0xf900,
                read(pcie + 2).await >> 16 & 0xf,
                read(aer + 1).await,
                read(aer + 4).await,
            ]
        })
    }
}

/// Received, or signalled, system error; parity errors and aborts are the TLP's, and QEMU has none.
const SYSTEM_ERROR: u32 = 1 << 14;

#[test]
fn errors_show_as_in_qemu() {
    let text = include_str!("../../fixtures/aer-vectors/qemu-7.2.jsonl");
    let mut rig = Rig::new();
    let (mut cases, mut logs, mut ways, mut arrived) = (0, 0, 0, 0);
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let place = PORTS.iter().position(|name| *name == case.target).unwrap();
        let advice = |error: &Injected| {
            let bit = kind(&error.name).0.row().bit;
            let mlx5_twin_sim::fabric::error::ErrorBit::Uncorrectable(bit) = bit else { return false };
            error.advisory && case.severity >> bit as u32 & 1 == 0
        };
        // An unexpected completion that isn't injected as an advice isn't one to QEMU.
        let stray = |error: &Injected| error.name == "UNX_COMP" && !error.advisory && case.severity >> 16 & 1 == 0;
        if case.errors.iter().any(stray) {
            continue;
        }
        rig.set_up(&case);
        rig.inject(&case);
        cases += 1;
        let theirs = [case.result.root, case.result.upstream, case.result.downstream];
        let ours: Vec<Registers> = (0..3).map(|port| rig.registers(port)).collect();
        for port in 0..3 {
            let [.., uncorrectable, correctable] = ours[port];
            // Header Log Overflow is ours alone, and Device Status shows it as one more correctable error.
            let overflow = correctable >> 15 & 1;
            assert_eq!(uncorrectable, theirs[port][3], "{} of {line}", PORTS[port]);
            assert_eq!(correctable & !(1 << 15), theirs[port][4], "{} of {line}", PORTS[port]);
            assert_eq!(ours[port][2] & !overflow, theirs[port][2] & !overflow, "{} of {line}", PORTS[port]);
        }
        let (_, _, aer) = rig.ports[place];
        let id = rig.ports[place].0;
        // The log is about the first that isn't masked: to QEMU about the last one.
        let unmasked = |error: &&Injected| !error.correctable && (!advice(error) || case.cor_mask >> 13 & 1 == 0);
        if case.errors.iter().filter(unmasked).count() <= 1 {
            logs += 1;
            let (first, header) = rig.plant.run(move |host| async move {
                let mut header = [0; 4];
                for (dword, place) in header.iter_mut().zip(aer + 7..) {
                    *dword = host.config_read(id, place).await.unwrap();
                }
                (host.config_read(id, aer + 6).await.unwrap() & 0x1f, header)
            });
            let logged = ours[place][3] & !case.mask != 0;
            if logged {
                assert_eq!((first, header), (case.result.first_error, case.result.header), "{line}");
            }
        }
        // QEMU wants both enables where one is enough, and the port's own Bridge Control for its own errors.
        let severities = case.errors.iter().filter(|error| !error.correctable && !advice(error)).map(|error| {
            let mlx5_twin_sim::fabric::error::ErrorBit::Uncorrectable(bit) = kind(&error.name).0.row().bit else {
                panic!("{} is uncorrectable", error.name);
            };
            (error.name == "UNSUP", case.severity >> bit as u32 & 1)
        });
        let clear_cut = severities.clone().all(|(unsupported, fatal)| {
            (0..=place).all(|port| {
                let [enables, system, _] = case.ports[PORTS[port]];
                let enabled = enables >> (1 + fatal) & 1;
                enabled == system && !(port == place && unsupported && enables & 8 == 0)
            })
        });
        if !clear_cut || case.ports[PORTS[place]][2] == 0 {
            continue;
        }
        ways += 1;
        // The uncorrectable half of the root's registers: ERR_COR goes nowhere in QEMU.
        let (root, _, root_aer) = rig.ports[0];
        let status = rig.plant.config_read(root, root_aer + 12) & !3;
        assert_eq!(status, case.result.root_status & !3, "{line}");
        if status & 1 << 2 != 0 {
            arrived += 1;
            let source = rig.plant.config_read(root, root_aer + 13) >> 16;
            let expected = match case.result.root_source >> 16 {
                // Their root port is device 2, ours device 1.
                0x10 => 0x08,
                other => other,
            };
            assert_eq!(source, expected, "{line}");
        }
        // The bridges above the one that found it.
        for port in 0..place {
            let [signaled, received] = [0, 1].map(|register| (ours[port][register], theirs[port][register]));
            assert_eq!(signaled.0 & SYSTEM_ERROR, signaled.1 & SYSTEM_ERROR, "{} of {line}", PORTS[port]);
            // QEMU can't clear what was received: it may be left from an earlier case.
            assert_eq!(received.0 & !received.1 & SYSTEM_ERROR, 0, "{} of {line}", PORTS[port]);
        }
    }
    println!("{cases} cases, {logs} logs, {ways} ways to the root, {arrived} arrivals as in QEMU");
    assert!(cases > 550 && logs > 400 && ways > 200 && arrived > 100, "{cases} {logs} {ways} {arrived}");
}
