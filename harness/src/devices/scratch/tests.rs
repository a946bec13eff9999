use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use mlx5_twin_fw_cmds::twin_v1::FAULT_COUNTERS;
use mlx5_twin_sim::Fabric;
use mlx5_twin_sim::fabric::{Core, Device, PeerToPeer, PortId, PortIdentity, RootSpec, TlpId, port_config};
use mlx5_twin_sim::host::{AddressMap, Settings, Simulation};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::{Credits, Link, Range, Timing};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Bdf, ByteEnables, Header};
use proptest::prelude::*;

use super::*;
use crate::channel::twin_v1::fake::Fake;
use crate::devices::{HostError, HostReport, HostSettings, find};
use crate::emulation::{Access, Write};

/// The registers as bytes, one at a time.
struct Naive {
    scratch: [u8; 4],
    limit: [u8; 4],
    counter: u64,
    triggered: u32,
}

impl Naive {
    fn byte(&self, at: u64) -> u8 {
        let lane = (at % 4) as usize;
        match at {
            0..4 => b"SRCT"[lane],
            4..8 => self.scratch[lane],
            8..12 => (self.counter as u32).to_le_bytes()[lane],
            12..16 => self.limit[lane],
            16..20 => self.triggered.to_le_bytes()[lane],
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8], enabled: &dyn Fn(usize) -> bool) -> Vec<u16> {
        let mut vectors = Vec::new();
        for (n, chunk) in bytes.chunks(4).enumerate() {
            let written: Vec<usize> = (0..4).filter(|lane| enabled(n * 4 + lane)).collect();
            if written.is_empty() {
                continue;
            }
            let sum: u64 = written.iter().map(|&lane| u64::from(chunk[lane]) << (8 * lane)).sum();
            match offset / 4 + n as u64 {
                1 => written.iter().for_each(|&lane| self.scratch[lane] = chunk[lane]),
                3 => written.iter().for_each(|&lane| self.limit[lane] = chunk[lane]),
                2 if self.counter + sum > u64::from(u32::from_le_bytes(self.limit)) => {
                    self.counter = 0;
                    vectors.push(1);
                }
                2 => self.counter += sum,
                4 => {
                    self.triggered += 1;
                    vectors.push(0);
                }
                _ => {}
            }
        }
        vectors
    }
}

fn access(offset: u64, enables: ByteEnables) -> Access {
    Access { bar: 0, offset, enables, requester: Bdf(0), prefix: None, time: Time::ZERO, redelivered: false }
}

proptest! {
    /// Any sequence of writes and reads with any byte enables does what a model of single bytes says.
    #[test]
    fn registers_agree_with_a_naive_model(
        steps in prop::collection::vec((0_u64..7, 1_u32..5, 0_u8..16, 0_u8..16, prop::collection::vec(any::<u8>(), 16)), 1..60)
    ) {
        let mut registers = Registers::default();
        let mut naive = Naive { scratch: [0; 4], limit: 1000_u32.to_le_bytes(), counter: 0, triggered: 0 };
        for (dword, length_dw, first, last, data) in steps {
            let offset = dword * 4;
            let enables = ByteEnables { first, last: if length_dw == 1 { 0 } else { last }, length_dw };
            let data = data[..length_dw as usize * 4].to_vec();
            let enabled = |at: usize| match at / 4 {
                0 => first >> at & 1 != 0,
                n if n as u32 == length_dw - 1 => last >> (at % 4) & 1 != 0,
                _ => true,
            };
            let expected = naive.write(offset, &data, &enabled);
            let write = Write { at: access(offset, enables), data };
            let vectors: Vec<u16> = write.dwords().filter_map(|dword| registers.write(dword)).collect();
            prop_assert_eq!(vectors, expected);
            for at in (0..32).step_by(4) {
                let bytes = registers.read(at).to_le_bytes();
                prop_assert_eq!(bytes, [at, at + 1, at + 2, at + 3].map(|at| naive.byte(at)));
            }
        }
    }
}

/// The end of a link whose TLPs go to a fake device, and come from there.
struct Endpoint {
    port: PortId,
    inbox: VecDeque<(Header, Vec<u8>)>,
}

impl Device for Endpoint {
    fn receive(&mut self, core: &mut Core, _: PortId, tlp: TlpId) {
        self.inbox.push_back((*core.header(tlp), core.payload(tlp).to_vec()));
        core.consume(tlp);
    }

    fn timer(&mut self, _: &mut Core, _: u64) {}

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

type Outcome = Result<HostReport, HostError>;

/// Runs host and emulation program against each other: a simulated host, a link, an honest device in memory.
fn play(seed: u64, rounds: Option<u64>) -> (Outcome, Summary, Fake) {
    let link = Link {
        generation: 4,
        lanes: 8,
        propagation: Range { min_ps: 1_000, max_ps: 1_000 },
        credits: Credits::INFINITE,
        virtual_channels: Default::default(),
        data_link: Default::default(),
    };
    let timing = Timing {
        endpoint_ns: 100,
        switch_ns: 100,
        root_complex_ns: 100,
        memory_read_ns: 100,
        update_fc_ns: 100,
        completion_timeout_us: 10_000,
        dllp_permille: 0,
        poll_ns: 100,
        link_training_us: 1_000,
        slot_command_us: 100,
    };
    let mut fabric = Fabric::new(timing, seed);
    let identity = PortIdentity { vendor_id: 0x15b3, device_id: 1, max_payload: 512 };
    let port = port_config(identity, PortType::RootPort, 0, &link).unwrap();
    let memory = Memory::new(1 << 24).unwrap();
    let root = fabric.add_root(RootSpec {
        memory,
        read_completion_boundary: 64,
        peer_to_peer: PeerToPeer::Refused,
        ports: vec![port],
    });
    let endpoint = |_, port| Box::new(Endpoint { port, inbox: VecDeque::new() }) as Box<dyn Device>;
    let node = fabric.plug(root, &link, endpoint).unwrap();
    let mut simulation = Simulation::new(fabric);
    let host = simulation.host(root);
    let settings = Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
    let settings = HostSettings { rounds, ..HostSettings::new(settings, seed) };
    let outcome = Arc::new(Mutex::new(None));
    let place = Arc::clone(&outcome);
    let program = (find("scratch").unwrap().host)(host, settings);
    simulation.spawn(async move { *place.lock().unwrap() = Some(program.await) });

    let fake = Fake::new();
    fake.on_wait(move |device| {
        let sent = std::mem::take(&mut device.sent);
        let fabric = simulation.fabric_mut();
        let arrived = fabric.device(node, |endpoint: &mut Endpoint, core| {
            for sent in sent {
                core.send_new(endpoint.port, sent.header, &sent.payload);
            }
            std::mem::take(&mut endpoint.inbox)
        });
        for (header, payload) in arrived.unwrap() {
            device.deliver(0, &header, &payload);
        }
        // No time passes between a message and the software that waits for it.
        !device.events.is_empty() || !device.sent.is_empty() || simulation.step()
    });
    let summary = run(fake.backend(), &Serving::default()).unwrap();
    let outcome = outcome.lock().unwrap().take().expect("the host program ended");
    (outcome, summary, fake)
}

#[test]
fn host_and_device_understand_each_other() {
    let (outcome, summary, fake) = play(1, None);
    let report = outcome.unwrap();
    assert_eq!((report.mismatches, report.first_mismatches.len()), (0, 0));
    assert!((24..=40).contains(&report.rounds));
    let found = &report.functions[report.exercised[0]];
    assert_eq!((found.vendor, found.device, found.bars[0].size), (VENDOR, DEVICE, 0x4000));
    assert_eq!(found.capabilities, [0x10, 0x11]);
    assert_eq!((summary.reads, summary.writes), (report.reads, report.writes));
    assert_eq!(report.interrupts.iter().sum::<u64>(), summary.interrupts);
    assert!(report.interrupts.iter().all(|&count| count > 0), "{:?}", report.interrupts);
    assert_eq!((summary.interrupts_dropped, fake.device().faults), (0, [0; FAULT_COUNTERS]));
    assert!(report.configured_ps > 0 && report.finished_ps > report.configured_ps);
}

#[test]
fn a_seed_decides_everything() {
    let first = play(7, None);
    let again = play(7, None);
    assert_eq!((&first.0, first.1), (&again.0, again.1));
    assert_ne!(first.0, play(8, None).0);
}

#[test]
fn many_rounds_stay_right() {
    for seed in 0..4 {
        let (outcome, _, fake) = play(seed, Some(500));
        let report = outcome.unwrap();
        assert_eq!((report.rounds, report.mismatches), (500, 0), "{:?}", report.first_mismatches);
        assert_eq!(fake.device().faults, [0; FAULT_COUNTERS]);
    }
}
