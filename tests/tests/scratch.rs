//! The scratch function through the whole machine: host program, fabric, device, channel, emulation program, and back.

use std::sync::{Arc, Mutex};

use mlx5_twin_fw_cmds::constants::ADAPTER_PAGE_SIZE;
use mlx5_twin_fw_cmds::layout::{gateway_post, init_seg};
use mlx5_twin_fw_cmds::twin_v1::gateway;
use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::devices::{self, HostReport, HostSettings, Summary};
use mlx5_twin_harness::emulation::Serving;
use mlx5_twin_harness::profile;
use mlx5_twin_harness::run::play;
use mlx5_twin_model::Machine;
use mlx5_twin_model::device::Counters;
use mlx5_twin_sim::host::{AddressMap, Settings};
use mlx5_twin_sim::probe::{Direction, Probe, Transmit};
use mlx5_twin_sim::profile::{Timing, Topology};
use mlx5_twin_sim::tlp::{Class, Header, Route, Status};

/// A TLP on a link.
#[derive(Clone, Debug)]
struct Seen {
    link: u16,
    direction: Direction,
    header: Header,
    payload: Vec<u8>,
}

/// Keeps all TLPs, taken from their bytes on the wire.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<Seen>>>);

impl Probe for Tape {
    fn transmit(&mut self, event: &Transmit<'_>) {
        let header = Header::decode(event.header).expect("a legal header on the wire");
        let seen = Seen { link: event.link.0, direction: event.direction, header, payload: event.payload.to_vec() };
        self.0.lock().unwrap().push(seen);
    }
}

struct Run {
    host: HostReport,
    summary: Summary,
    tape: Vec<Seen>,
    links: Vec<(String, String)>,
    /// Where BAR 0 of the mlx5 function is.
    bar0: u64,
    /// Where the response gateway pages are in it.
    gateway: u64,
    counters: Counters,
}

fn run(seed: u64) -> Run {
    let profile = profile::load(None).unwrap().profile;
    let mut machine = Machine::build(&profile, seed).unwrap();
    let tape = Tape::default();
    machine.simulation.fabric_mut().set_probe(Some(Box::new(tape.clone())));
    let sim = SimDevice::with_machine(machine, &profile, Options::default()).unwrap();

    let map = AddressMap::default();
    let enumeration = Settings { map, max_payload: 256, max_read_request: 512 };
    let scratch = devices::find("scratch").unwrap();
    let played = play(&sim, scratch, &Serving::default(), HostSettings::new(enumeration, seed)).unwrap();
    let (host, summary) = (played.host, played.emulation);
    sim.shut_down().unwrap();

    let (counters, gateway) = sim
        .with_model(|dpu| {
            assert!(dpu.firmware().resources().balance().is_zero(), "{:?}", dpu.firmware().resources().balance());
            assert_eq!((dpu.emulation().claimed(), dpu.emulation().channels().count()), (0, 0));
            (dpu.counters(), dpu.firmware().bar0().tlp_pages.unwrap().offset)
        })
        .unwrap();
    assert_eq!(sim.with_simulation(|simulation| simulation.fabric().in_flight()), 0, "TLPs are left");
    let mlx5 = sim.found().iter().find(|found| found.vendor == profile.device.vendor_id).unwrap();
    let links = sim.links().to_vec();
    let tape = tape.0.lock().unwrap().clone();
    Run { host, summary, tape, links, bar0: mlx5.bars[0].address, gateway, counters }
}

impl Run {
    fn on(&self, lower: &str, direction: Direction) -> impl Iterator<Item = &Seen> + Clone {
        let link = self.links.iter().position(|(_, name)| name == lower).expect("the link") as u16;
        self.tape.iter().filter(move |seen| seen.link == link && seen.direction == direction)
    }

    /// Stores of the DPU's software to this place of BAR 0 of the mlx5 function.
    fn stores(&self, offset: u64) -> impl Iterator<Item = &Seen> {
        let address = self.bar0 + offset;
        self.on("mlx5", Direction::Downstream)
            .filter(move |seen| seen.header.class() == Class::Posted && seen.header.address() == address)
    }
}

#[test]
fn every_seed_ends_well_and_leaves_nothing_behind() {
    for seed in 1..=5 {
        let Run { host, summary, counters, .. } = run(seed);
        assert_eq!(host.mismatches, 0, "seed {seed}: {:?}", host.first_mismatches);
        assert_eq!((host.reads, host.writes), (summary.reads, summary.writes), "seed {seed}");
        assert_eq!(host.interrupts.iter().sum::<u64>(), summary.interrupts, "seed {seed}");
        assert!(host.reads > 20 && host.writes > 20 && host.interrupts.iter().all(|&count| count > 0), "{host:?}");
        let expected = Counters { commands: counters.commands, ..Counters::default() };
        assert_eq!(counters, expected, "seed {seed}: something went wrong in the device");
    }
}

#[test]
fn there_is_no_shortcut_around_the_tlps() {
    let run = run(3);
    // Each command was started by a store to the doorbell.
    let doorbells: u32 = run
        .stores(u64::from(init_seg::CMD_DBELL.offset / 8))
        .map(|seen| u32::from_be_bytes(seen.payload[..4].try_into().unwrap()).count_ones())
        .sum();
    assert_eq!(u64::from(doorbells), run.counters.commands);
    assert!(doorbells > 20, "{doorbells} commands");

    // Each request that reached the function and asks for a completion was answered by one post at the gateway page.
    let asked = run.on("function 0", Direction::Downstream).filter(|seen| seen.header.class() == Class::NonPosted);
    let answered = run.on("function 0", Direction::Upstream).filter(|seen| seen.header.class() == Class::Completion);
    let pages = (0..15).map(|page| run.gateway + page * ADAPTER_PAGE_SIZE as u64);
    let posts: Vec<u64> = pages
        .flat_map(|page| run.stores(page + gateway::POST).collect::<Vec<_>>())
        .map(|seen| gateway_post::KIND.get(&seen.payload).unwrap())
        .collect();
    let completions = posts.iter().filter(|&&kind| kind == u64::from(gateway::COMPLETION)).count();
    let interrupts = posts.iter().filter(|&&kind| kind == u64::from(gateway::MSIX)).count();
    // The host was switched on when software had claimed the function: the device puts nothing off. It answers reads of the MSI-X table itself.
    let put_off = answered.clone().filter(|seen| seen.header.status() == Status::ConfigRequestRetry).count();
    let registers = run.host.functions[run.host.exercised[0]].bars[0].address;
    let table = registers + 0x2000..registers + 0x4000;
    let of_table = asked
        .clone()
        .filter(|seen| seen.header.route() == Route::Address && table.contains(&seen.header.address()))
        .count();
    assert!(put_off == 0 && of_table > 0, "{put_off} put off, {of_table} reads of the table");
    assert_eq!(asked.count(), completions + of_table);
    assert_eq!(answered.count(), completions + of_table);
    assert_eq!(interrupts as u64, run.summary.interrupts);
    assert!(completions > 50, "{completions} completions");
}

#[test]
fn a_seed_is_a_run() {
    let bytes = |run: &Run| {
        let tlps = run.tape.iter().map(|seen| (seen.link, seen.direction, seen.header.dws(), seen.payload.clone()));
        tlps.collect::<Vec<_>>()
    };
    let (first, again, other) = (run(11), run(11), run(12));
    assert_eq!(bytes(&first), bytes(&again));
    assert_ne!(bytes(&first), bytes(&other));
}

#[test]
fn the_default_profile_is_the_default_of_the_fabric() {
    let profile = profile::load(None).unwrap().profile;
    assert_eq!((profile.topology, profile.timing), (Topology::default(), Timing::default()));
}
