//! A function at a hot-plug port through the whole machine: software makes it and plugs it in, the host finds it while it runs, uses it,
//! suspends it and lets it go; twice.

use std::sync::{Arc, Mutex};

use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::backend::{self, Backend};
use mlx5_twin_harness::channel;
use mlx5_twin_harness::emulation::{Description, Error, Function, HotplugState, PciEvent, Port, PortStatus, Request};
use mlx5_twin_harness::profile;
use mlx5_twin_sim::config::{Bar, PcieCapability, PortType, PowerCapability, PowerState, Reset, Type0};
use mlx5_twin_sim::host::{AccessError, Host, HotPlug, Settings, SlotChange, enumerate};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Bdf;

fn settings() -> Settings {
    Settings { map: Default::default(), max_payload: 256, max_read_request: 512 }
}

/// Registers: one that keeps what is written, and one whose write lets software unplug the function.
const SCRATCH: u64 = 0;
const LEAVE: u64 = 4;
const PORT: Port = Port(1);
const ROUNDS: u32 = 2;

fn description(no_soft_reset: bool) -> Description {
    let bars = [Some(Bar::memory32(4096)), None, None, None, None, None];
    Description::new(PORT.0, Type0 { vendor_id: 0xfff1, device_id: 7, bars, ..Type0::default() })
        .pcie(&PcieCapability::new(PortType::Endpoint))
        .power(&PowerCapability { no_soft_reset })
        .transaction(0, 0, 4096)
}

/// What the host saw in a round: the register after it was written, during D3hot, after D0, and after a function-level reset.
type Seen = (Result<u32, AccessError>, Result<u32, AccessError>, Result<u32, AccessError>, Result<u32, AccessError>);

async fn host(host: Host) -> Vec<Seen> {
    let found = enumerate(&host, settings()).await.expect("enumeration");
    let port = found.iter().find(|function| function.hot_plug).expect("a hot-plug port");
    let mut slot = HotPlug::new(&host, settings(), port, Vec::new(), 0x41).await.expect("a port");
    let mut seen = Vec::new();
    for round in 1..=ROUNDS {
        let Ok(SlotChange::Added(added)) = slot.next().await else { panic!("it comes") };
        let (id, bar) = (added[0].id, added[0].bars[0].address);
        let capability = |id: u8| added[0].capability(id).expect("is there") / 4;
        let (power, control) = (capability(1) + 1, capability(0x10) + 2);
        host.write32(bar + SCRATCH, round).await.expect("posted");
        let written = host.read32(bar + SCRATCH).await;
        host.config_write_bytes(id, power, 1, 3).await.expect("an answer");
        let suspended = host.read32(bar + SCRATCH).await;
        host.config_write_bytes(id, power, 1, 0).await.expect("an answer");
        let woken = host.read32(bar + SCRATCH).await;
        host.config_write_bytes(id, control, 0x3, 1 << 15).await.expect("an answer");
        // What a driver sets up again after a reset.
        host.config_write(id, 4, bar as u32).await.expect("an answer");
        host.config_write_bytes(id, 1, 0x3, 6).await.expect("an answer");
        let reset = host.read32(bar + SCRATCH).await;
        seen.push((written, suspended, woken, reset));
        host.write32(bar + LEAVE, 1).await.expect("posted");
        let removed = slot.next().await;
        assert_eq!(removed, Ok(SlotChange::Removed(added)));
    }
    seen
}

/// What software was told, in order. It waits for requests, or polls.
fn software(backend: &Arc<dyn Backend>, polls: bool) -> Result<Vec<Request>, Error> {
    PORT.create(backend.as_ref())?;
    let mut function = Function::claim(Arc::clone(backend), &description(true))?;
    assert_eq!(PORT.plug(backend.as_ref())?, HotplugState::PlugInProgress);
    let (mut told, mut scratch, mut rounds) = (Vec::new(), 0, 0);
    loop {
        let request = if polls { function.poll()? } else { function.next()? };
        let Some(request) = request else {
            if function.is_silent() {
                break;
            }
            continue;
        };
        match request {
            Request::Read(read) => function.complete(read.id, &read.data(|_, _| scratch))?,
            Request::Write(write) => {
                for dword in write.dwords() {
                    match dword.offset {
                        SCRATCH => scratch = dword.over(scratch),
                        LEAVE => assert_eq!(PORT.unplug(backend.as_ref())?, HotplugState::UnplugInProgress),
                        other => panic!("a write at {other:#x}"),
                    }
                }
            }
            Request::Configured(_) => {}
            other => {
                match &other {
                    Request::Reset(_) | Request::PciEvent(PciEvent::PerstAsserted) => scratch = 0,
                    Request::Hotplug(HotplugState::PowerOff) => {
                        rounds += 1;
                        if rounds < ROUNDS {
                            PORT.plug(backend.as_ref())?;
                        }
                    }
                    _ => {}
                }
                told.push(other);
            }
        }
    }
    assert_eq!(function.counters()?.faults, []);
    function.close()?;
    PORT.destroy(backend.as_ref())?;
    Ok(told)
}

fn machine() -> Arc<SimDevice> {
    let mut profile = profile::load(None).expect("the profile").profile;
    profile.topology.downstream_ports = 2;
    profile.topology.hotplug_ports = 1;
    SimDevice::new(&profile, 3, Options::default()).expect("a machine")
}

#[test]
fn a_life_in_a_slot() {
    for polls in [false, true] {
        life(polls);
    }
}

fn life(polls: bool) {
    let sim = machine();
    let backend = sim.open().expect("a context");
    // Port 0 has a static function, which nobody claims: the host gives it a second, and goes on.
    let ended = Arc::new(Mutex::new(None));
    let (program, place) = (host(sim.host()), Arc::clone(&ended));
    sim.with_simulation(|simulation| {
        simulation.spawn(async move {
            let seen = program.await;
            *place.lock().unwrap() = Some(seen);
        });
    });
    let told = software(&backend, polls).expect("the software");
    let seen = ended.lock().unwrap().take().expect("the host program has ended");
    assert_eq!(seen.len(), ROUNDS as usize);
    for (round, (written, suspended, woken, reset)) in (1..).zip(seen) {
        assert_eq!((written, woken, reset), (Ok(round), Ok(round), Ok(0)));
        assert!(matches!(suspended, Err(AccessError::UnsupportedRequest(_))), "{suspended:?}");
    }
    let round = [
        Request::PciEvent(PciEvent::PerstDeasserted),
        Request::Hotplug(HotplugState::PowerOn),
        Request::Power(PowerState::D3Hot),
        Request::Power(PowerState::D0),
        Request::Reset(Reset::FunctionLevel),
        Request::PciEvent(PciEvent::PerstAsserted),
        Request::Hotplug(HotplugState::PowerOff),
    ];
    assert_eq!(told, [&round[..], &round[..]].concat());
    drop(backend);
    sim.shut_down().expect("everything was given back");
    assert_eq!(sim.with_simulation(|simulation| simulation.fabric().in_flight()), 0);
}

/// What is at a port, whatever the time.
fn what_is_at(port: Port, backend: &Arc<dyn Backend>) -> Result<PortStatus, Error> {
    port.query(backend.as_ref()).map(|status| PortStatus { host_time: Time::ZERO, ..status })
}

/// The commands by the harness's own names, and what the device refuses.
#[test]
fn ports() {
    let sim = machine();
    let (backend, other) = (sim.open().expect("a context"), sim.open().expect("a context"));
    let fixed = PortStatus {
        present: true,
        is_static: true,
        state: HotplugState::PowerOn,
        claimed: false,
        link_active: true,
        id: Bdf(0),
        host_time: Time::ZERO,
    };
    assert_eq!(what_is_at(Port(0), &backend), Ok(fixed));
    let empty = PortStatus {
        present: false,
        is_static: false,
        state: HotplugState::PowerOff,
        claimed: false,
        link_active: false,
        id: Bdf(0),
        host_time: Time::ZERO,
    };
    assert_eq!(what_is_at(PORT, &backend), Ok(empty));
    let refused = |result: Result<(), Error>| {
        matches!(result, Err(Error::Channel(channel::Error::Backend(backend::Error::Command { .. }))))
    };
    assert!(refused(Port(2).query(backend.as_ref()).map(drop)));
    assert!(refused(Port(0).plug(backend.as_ref()).map(drop)));
    assert!(refused(PORT.plug(backend.as_ref()).map(drop)));
    assert!(refused(Function::claim(Arc::clone(&backend), &description(false)).map(drop)));
    PORT.create(backend.as_ref()).expect("created");
    assert!(refused(PORT.create(other.as_ref())));
    let function = Function::claim(Arc::clone(&backend), &description(false)).expect("claimed");
    assert_eq!(function.limits().hotplug_ports, 0b10);
    assert!(refused(PORT.plug(other.as_ref()).map(drop)));
    assert!(refused(PORT.destroy(backend.as_ref())));
    assert_eq!(what_is_at(PORT, &other), Ok(PortStatus { present: true, claimed: true, ..empty }));
    // It outlives the context that made it, and anyone may have it then.
    drop(function);
    drop(backend);
    assert_eq!(what_is_at(PORT, &other), Ok(PortStatus { present: true, ..empty }));
    PORT.destroy(other.as_ref()).expect("destroyed");
    assert_eq!(what_is_at(PORT, &other), Ok(empty));
}
