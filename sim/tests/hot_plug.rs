//! Hot-plug slots: events, interrupts and commands, and a host that serves them as Linux does.

mod common;

use std::sync::{Arc, Mutex};

use common::agent::{Manner, agent};
use common::plant::{Plant, Shape, Spec, plant};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::config::Reset;
use mlx5_twin_sim::fabric::PortEvent;
use mlx5_twin_sim::host::{Found, HotPlug, HotPlugError, Settings, SlotChange};
use mlx5_twin_sim::tlp::Bdf;

const VECTOR: u16 = 0x21;

fn settings() -> Settings {
    Settings { map: Default::default(), max_payload: 256, max_read_request: 512 }
}

/// A switch with an agent and two slots.
fn slots() -> (Plant, Vec<Found>) {
    let plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::HotPlug, Shape::HotPlug])], &Spec::default());
    let ports = plant.found.iter().filter(|function| function.hot_plug).cloned().collect();
    (plant, ports)
}

fn set_present(plant: &mut Plant, number: usize, present: bool) {
    plant.agent(number, |agent, core| core.set_present(agent.function.port(), present));
}

fn press(plant: &mut Plant, number: usize) {
    plant.agent(number, |agent, core| core.press_attention_button(agent.function.port()));
}

fn events(plant: &mut Plant, number: usize) -> Vec<PortEvent> {
    plant.agent(number, |agent, _| std::mem::take(&mut agent.events)).into_iter().map(|(_, event)| event).collect()
}

type Notes = Arc<Mutex<Vec<Result<SlotChange, HotPlugError>>>>;

/// Starts a program that serves the slot, and notes what happens.
fn serve(plant: &mut Plant, port: &Found) -> Notes {
    let notes = Notes::default();
    let (host, port, out) = (plant.simulation.host(plant.root), port.clone(), Arc::clone(&notes));
    plant.simulation.spawn(async move {
        let mut slot = HotPlug::new(&host, settings(), &port, Vec::new(), VECTOR).await.expect("a port");
        loop {
            let change = slot.next().await;
            out.lock().unwrap().push(change);
        }
    });
    notes
}

fn take(notes: &Notes) -> Vec<Result<SlotChange, HotPlugError>> {
    std::mem::take(&mut notes.lock().unwrap())
}

#[test]
fn enumeration_keeps_room_below_slots() {
    let (mut plant, ports) = slots();
    assert_eq!(ports.len(), 2);
    let windows: Vec<(u64, u64)> = ports
        .iter()
        .map(|port| {
            let id = port.id;
            let (memory, low) = plant.run(move |host| async move {
                (host.config_read(id, 8).await.unwrap(), host.config_read(id, 9).await.unwrap())
            });
            let size = |dword: u32| u64::from((dword & 0xfff0_0000 | 0xf_ffff) - ((dword & 0xfff0) << 16)) + 1;
            (size(memory), size(low))
        })
        .collect();
    assert_eq!(windows, [(8 << 20, 1 << 30); 2]);
    assert_eq!(plant.faults().malformed, 0);
}

/// The whole life of a device in a slot, twice.
#[test]
fn a_device_comes_and_goes() {
    let (mut plant, ports) = slots();
    let notes = serve(&mut plant, &ports[0]);
    plant.settle();
    assert_eq!(events(&mut plant, 1), [PortEvent::PowerOff], "an empty slot is powered off");
    for _ in 0..2 {
        set_present(&mut plant, 1, true);
        plant.settle();
        let Ok(SlotChange::Added(found)) = take(&notes).remove(0) else { panic!("it comes") };
        assert_eq!(events(&mut plant, 1), [PortEvent::PowerOn, PortEvent::LinkUp]);
        let device = &found[0];
        assert_eq!((found.len(), device.vendor, device.bars.len()), (1, 0xfff1, 1));
        let bar = device.bars[0].address;
        assert_eq!(plant.run(move |host| async move { host.read32(bar + 4).await }), Ok(0x0706_0504));

        press(&mut plant, 1);
        let begin = plant.simulation.fabric().now();
        plant.settle();
        assert_eq!(take(&notes), [Ok(SlotChange::Removed(found))]);
        assert!(plant.simulation.fabric().now().since(begin) >= Time::ms(6_000), "5 s and 1 s");
        assert_eq!(events(&mut plant, 1), [PortEvent::LinkDown(Reset::Fundamental), PortEvent::PowerOff]);
        assert!(plant.run(move |host| async move { host.read32(bar).await }).is_err());
        // It's still in the slot: the host takes it for one that came meanwhile, unless it's taken out.
        set_present(&mut plant, 1, false);
        plant.settle();
        take(&notes);
        events(&mut plant, 1);
    }
    plant.settle();
    assert_eq!(plant.fabric().in_flight(), 0);
}

#[test]
fn a_device_that_is_torn_out() {
    let (mut plant, ports) = slots();
    let notes = serve(&mut plant, &ports[1]);
    plant.settle();
    set_present(&mut plant, 2, true);
    plant.settle();
    let Ok(SlotChange::Added(found)) = take(&notes).remove(0) else { panic!("it comes") };
    set_present(&mut plant, 2, false);
    plant.settle();
    assert_eq!(take(&notes), [Ok(SlotChange::Removed(found))]);
    let expected = [PortEvent::PowerOff, PortEvent::PowerOn, PortEvent::LinkUp];
    assert_eq!(events(&mut plant, 2)[..3], expected);
    // The other slot saw nothing of it.
    assert_eq!(events(&mut plant, 1), []);
}

/// A device that never answers, and one whose link is held down.
#[test]
fn a_slot_that_can_not_be_served() {
    let (mut plant, ports) = slots();
    let notes = serve(&mut plant, &ports[0]);
    plant.settle();
    plant.agent(1, |agent, _| agent.manner = Manner::NotReady(Time::MAX));
    set_present(&mut plant, 1, true);
    plant.settle();
    assert_eq!(take(&notes), [Err(HotPlugError::Nobody(ports[0].id))]);
    set_present(&mut plant, 1, false);
    let (id, pcie) = (ports[0].id, ports[0].capability(0x10).unwrap() / 4);
    plant.run(move |host| async move { host.config_write_bytes(id, pcie + 4, 0x3, 1 << 4).await.unwrap() });
    set_present(&mut plant, 1, true);
    plant.settle();
    assert_eq!(take(&notes), [Err(HotPlugError::NoLink(ports[0].id))]);
    let not_a_port = plant.found.iter().find(|function| !function.bridge).unwrap().clone();
    let refused = plant.run(move |host| async move {
        HotPlug::new(&host, settings(), &not_a_port, Vec::new(), VECTOR).await.map(drop)
    });
    assert!(matches!(refused, Err(HotPlugError::NotAPort(_))));
}

/// When a port interrupts: enabled event, interrupt enable, MSI enable, bus master; once for each time that the condition becomes true.
#[test]
fn interrupts_of_a_slot() {
    let (mut plant, ports) = slots();
    let (id, root) = (ports[0].id, plant.root);
    let slot = ports[0].capability(0x10).unwrap() / 4 + 6;
    let msi = ports[0].capability(5).unwrap() / 4;
    let write = |plant: &mut Plant, register: u16, enables: u8, value: u32| {
        plant.run(move |host| async move { host.config_write_bytes(id, register, enables, value).await.unwrap() });
        plant.settle();
    };
    let came = |plant: &mut Plant| {
        plant.settle();
        std::iter::from_fn(|| plant.simulation.next_interrupt(root)).collect::<Vec<u32>>()
    };
    write(&mut plant, msi + 1, 0xf, 0xfee0_0000);
    write(&mut plant, msi + 3, 0xf, 0x77);
    // Attention button, interrupt; but MSI is off.
    write(&mut plant, slot, 0x3, 0x21);
    write(&mut plant, slot, 0xc, 0x011f_0000);
    press(&mut plant, 1);
    assert_eq!(came(&mut plant), []);
    write(&mut plant, msi, 0xc, 1 << 16);
    assert_eq!(came(&mut plant), [0x77], "it becomes true as MSI is turned on");
    press(&mut plant, 1);
    assert_eq!(came(&mut plant), [], "it is true already");
    write(&mut plant, slot, 0xc, 1 << 16);
    press(&mut plant, 1);
    assert_eq!(came(&mut plant), [0x77]);
    write(&mut plant, slot, 0xc, 1 << 16);
    set_present(&mut plant, 1, true);
    assert_eq!(came(&mut plant), [], "presence isn't enabled");
    write(&mut plant, slot, 0x3, 0x29);
    assert_eq!(came(&mut plant), [0x77], "now it is");
    write(&mut plant, slot, 0xc, 0x011f_0000);
    write(&mut plant, slot, 0x3, 0x31);
    assert_eq!(came(&mut plant), [0x77], "command completed");
    write(&mut plant, slot, 0xc, 0x011f_0000);
    write(&mut plant, 1, 0x3, 0x2);
    press(&mut plant, 1);
    assert_eq!(came(&mut plant), [], "not bus master");
    // The message is the port's own.
    assert_eq!(id.bus(), plant.found[1].id.bus() + 1);
    assert_eq!(Bdf::new(id.bus(), 1, 0), id);
}

/// A reset from above leaves the device in its slot, and powers it on.
#[test]
fn perst_with_a_device_in_the_slot() {
    let (mut plant, ports) = slots();
    let notes = serve(&mut plant, &ports[0]);
    plant.settle();
    set_present(&mut plant, 1, true);
    plant.settle();
    take(&notes);
    events(&mut plant, 1);
    plant.run(|host| async move {
        host.set_perst(true).await;
        host.set_perst(false).await;
        host.sleep(Time::ms(5)).await;
    });
    let expected = [PortEvent::LinkDown(Reset::Fundamental), PortEvent::SlotReset, PortEvent::LinkUp];
    assert_eq!(events(&mut plant, 1), expected);
    let nodes = plant.agents.clone();
    assert!(
        agent(plant.fabric(), nodes[2], |agent, _| agent.events.clone()).iter().all(|e| e.1 == PortEvent::SlotReset)
    );
}
