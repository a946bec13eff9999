//! Doorbells, a stateful region and an expansion ROM through the whole machine: what a host does to them, and what its driver's counterpart
//! on the DPU hears of it.

use std::sync::{Arc, Mutex};

use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::emulation::{Description, Function, Request};
use mlx5_twin_harness::profile;
use mlx5_twin_sim::config::{Bar, PcieCapability, PortType, Type0};
use mlx5_twin_sim::host::{AccessError, AddressMap, Host, Settings, enumerate};
use mlx5_twin_sim::time::Time;

const DOORBELLS: u64 = 0x1000;
const STATE: u64 = 0x2000;
const STATUS: u64 = 0x3000;
/// Rings of each of the doorbells.
const RINGS: u32 = 300;

fn description() -> Description {
    let header = Type0 {
        vendor_id: 0xfff1,
        device_id: 0x77,
        bars: [Some(Bar::memory32(0x4000)), None, None, None, None, None],
        ..Type0::default()
    };
    let mut image = vec![0; 3000];
    image[..4].copy_from_slice(&[0x55, 0xaa, 6, 0xeb]);
    image[2999] = 0x99;
    Description::new(0, header)
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .notifying_doorbells(0, DOORBELLS, 16)
        .stateful(0, STATE, vec![0x11; 256])
        .transaction(0, STATUS, 4)
        .expansion_rom(image)
}

/// What the host read: of the ROM its head and end, of the stateful region its defaults and what it wrote, and at last what software makes
/// of all this.
#[derive(Debug, PartialEq)]
struct HostSaw {
    rom: [u32; 3],
    defaults: u32,
    written: u32,
    sum: u32,
}

async fn host_program(host: Host) -> Result<HostSaw, AccessError> {
    let settings = Settings { map: AddressMap::default(), max_payload: 256, max_read_request: 512 };
    let found = enumerate(&host, settings).await.expect("enumeration");
    let function = found.iter().find(|found| found.device == 0x77).expect("the function");
    let (bar, rom) = (function.bars[0].address, function.expansion_rom.expect("a ROM"));
    assert_eq!(rom.size, 4096);
    // As firmware does: enabled, read, disabled.
    host.config_write(function.id, 12, rom.address as u32 | 1).await?;
    let rom_read = [
        host.read32(rom.address).await?,
        host.read32(rom.address + 2996).await?,
        host.read32(rom.address + 4092).await?,
    ];
    host.config_write(function.id, 12, rom.address as u32).await?;
    assert!(host.read32(rom.address).await.is_err(), "it's off");

    let defaults = host.read32(bar + STATE + 0x80).await?;
    for ring in 1..=RINGS {
        for bell in 0..4_u32 {
            host.write32(bar + DOORBELLS + 4 * u64::from(bell), ring << 8 | bell).await?;
        }
        host.write32(bar + STATE + 4 * u64::from(ring % 64), ring).await?;
        if ring % 50 == 0 {
            host.sleep(Time::us(20)).await;
        }
    }
    let written = host.read32(bar + STATE + 4 * u64::from(RINGS % 64)).await?;
    host.sleep(Time::ms(1)).await;
    let sum = host.read32(bar + STATUS).await?;
    Ok(HostSaw { rom: rom_read, defaults, written, sum })
}

/// What the program on the DPU heard.
#[derive(Debug, Default, PartialEq)]
struct SoftwareHeard {
    rings: u64,
    writes: u64,
    values: [u32; 4],
    state: Vec<u8>,
    end: Time,
}

fn run(seed: u64) -> (HostSaw, SoftwareHeard) {
    let profile = profile::load(None).unwrap().profile;
    let sim = SimDevice::new(&profile, seed, Options::default()).unwrap();
    let program = host_program(sim.host());
    let ended = Arc::new(Mutex::new(None));
    let place = Arc::clone(&ended);
    sim.with_simulation(|simulation| {
        simulation.spawn(async move {
            let result = program.await;
            *place.lock().unwrap() = Some(result);
        });
    });
    let mut heard = SoftwareHeard::default();
    let mut function = Function::claim(sim.open().unwrap(), &description()).unwrap();
    while let Some(request) = function.next().unwrap() {
        match request {
            Request::Doorbell { number, doorbell, time } => {
                assert!(time > Time::ZERO && time <= sim.now());
                assert!(doorbell.value > heard.values[number], "values come in their order");
                heard.values[number] = doorbell.value;
                heard.rings += 1;
            }
            Request::RegionWritten { region, .. } => {
                heard.state = function.region(region, 0, 256).unwrap();
                heard.writes += 1;
            }
            Request::Read(read) => {
                let sum = heard.values.iter().sum::<u32>();
                function.complete(read.id, &read.data(|_, _| sum)).unwrap();
            }
            _ => {}
        }
    }
    let values: Vec<u32> = function.doorbells().unwrap().iter().map(|doorbell| doorbell.value).collect();
    assert_eq!(values, heard.values);
    assert!(function.counters().unwrap().faults.is_empty());
    function.close().unwrap();
    sim.shut_down().unwrap();
    assert_eq!(sim.with_simulation(|simulation| simulation.fabric().in_flight()), 0);
    heard.end = sim.now();
    (ended.lock().unwrap().take().expect("the host program has ended").unwrap(), heard)
}

#[test]
fn host_and_software_agree() {
    let (host, heard) = run(1);
    let last = [0, 1, 2, 3].map(|bell| RINGS << 8 | bell);
    assert_eq!(heard.values, last);
    let sum = last.iter().sum();
    assert_eq!(
        host,
        HostSaw { rom: [0xeb06_aa55, 0x9900_0000, 0xffff_ffff], defaults: 0x1111_1111, written: RINGS, sum }
    );
    // Of entry n the last of the rings n, n + 64, ...
    let state: Vec<u8> = (0..64_u32).flat_map(|entry| (RINGS - (RINGS - entry) % 64).to_le_bytes()).collect();
    assert_eq!(heard.state, state);
    let all = u64::from(4 * RINGS);
    assert!(heard.rings >= 4 && heard.rings < all, "{} of {all} rings", heard.rings);
    assert!(heard.writes >= 1 && heard.writes < u64::from(RINGS), "{} writes", heard.writes);
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run(7), run(7));
}
