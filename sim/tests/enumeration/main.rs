//! Enumeration against an independent implementation: the vectors in `fixtures/enumeration-vectors`.
//!
//! Both number buses depth first, so these must be the same, and so must what both find out of BARs. Addresses are each allocator's affair: both must keep
//! the rules, which one checker knows; and our fabric must lead to each BAR by either assignment.

#[path = "../common/mod.rs"]
mod common;

mod assignment;
mod shape;

use std::path::Path;

use mlx5_twin_sim::host::{AccessError, AddressMap, Data, Found, Host, Settings, enumerate};
use mlx5_twin_sim::tlp::Bdf;
use proptest::prelude::*;
use serde::Deserialize;

use assignment::{Assignment, Bar, Bridge, Function, Window};
use shape::{Below, Kind, Node, answer, build};

/// A line of the vectors: a topology, and what the other implementation made of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    root: Vec<Below>,
    found: Vec<Entry>,
}

/// The registers of a bridge or function.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Entry {
    Bridge { id: String, buses: (u8, u8, u8), memory: Window, prefetchable: Window, io: Window },
    Function { id: String, bars: Vec<(u8, Kind, u64, u64)>, rom: Option<(u64, u64)> },
}

fn vectors() -> Vec<Vector> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/enumeration-vectors/cocotbext-pcie-0.2.16.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |(i, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", i + 1));
    text.lines().enumerate().map(parse).collect()
}

impl Vector {
    fn assignment(&self) -> Assignment {
        let mut assignment = Assignment::default();
        for entry in self.found.iter().cloned() {
            match entry {
                Entry::Bridge { id, buses, memory, prefetchable, io } => {
                    let bridge = Bridge { buses, memory, prefetchable, io };
                    assignment.bridges.insert(id.parse().unwrap(), bridge);
                }
                Entry::Function { id, bars, rom } => {
                    let bars = bars.into_iter().map(|(index, kind, size, address)| Bar { index, kind, size, address });
                    assignment.functions.insert(id.parse().unwrap(), Function { bars: bars.collect(), rom });
                }
            }
        }
        assignment
    }
}

fn settings() -> Settings {
    // Nothing is kept for empty slots, which stand for ports without a link. All of the space below 4 GiB that the other implementation has.
    let map = AddressMap { memory32: (0xc000_0000, 0xfeff_ffff), hot_plug: (0, 0), ..AddressMap::default() };
    Settings { map, max_payload: 256, max_read_request: 512 }
}

/// What our enumeration made of a topology: read from the registers, but for the sizes.
async fn ours(host: &Host) -> (Vec<Found>, Assignment) {
    let found = enumerate(host, settings()).await.unwrap();
    let mut assignment = Assignment::default();
    for function in &found {
        let id = function.id;
        if function.bridge {
            assignment.bridges.insert(id, bridge(host, id).await);
            continue;
        }
        let mut bars = Vec::new();
        for bar in &function.bars {
            let register = 4 + u16::from(bar.index);
            let mut address = u64::from(host.config_read(id, register).await.unwrap() & !0xf);
            if bar.is_64bit {
                address |= u64::from(host.config_read(id, register + 1).await.unwrap()) << 32;
            }
            assert_eq!(address, bar.address, "{id}: what enumeration says it has written");
            let kind = Kind::of(bar.is_64bit, bar.prefetchable);
            bars.push(Bar { index: bar.index, kind, size: bar.size, address });
        }
        let rom = function.expansion_rom.map(|rom| (rom.size, rom.address));
        assignment.functions.insert(id, Function { bars, rom });
    }
    (found, assignment)
}

/// The registers of a bridge.
async fn bridge(host: &Host, id: Bdf) -> Bridge {
    let mut registers = [0; 7];
    for (place, register) in registers.iter_mut().zip(6..) {
        *place = u64::from(host.config_read(id, register).await.unwrap());
    }
    let [buses, _, memory, prefetchable, base, limit, _] = registers;
    let window = |first, last| if first <= last { Some((first, last)) } else { None };
    Bridge {
        buses: (buses as u8, (buses >> 8) as u8, (buses >> 16) as u8),
        memory: window((memory & 0xfff0) << 16, memory & 0xfff0_0000 | 0xf_ffff),
        prefetchable: window(
            base << 32 | (prefetchable & 0xfff0) << 16,
            limit << 32 | prefetchable & 0xfff0_0000 | 0xf_ffff,
        ),
        // Enumeration hands out no I/O space: these windows are off in Command.
        io: None,
    }
}

/// Writes an assignment into the registers of a fabric on which nothing is configured: parents first, as their IDs are in that order.
async fn program(host: &Host, assignment: &Assignment) {
    let write = async |id, register, value: u64| host.config_write(id, register, value as u32).await.unwrap();
    for (&id, bridge) in &assignment.bridges {
        let (primary, secondary, subordinate) = bridge.buses;
        let buses = u64::from(subordinate) << 16 | u64::from(secondary) << 8 | u64::from(primary);
        write(id, 6, buses).await;
        let closed = (0xfff0_0000, 0xf_ffff);
        let low = |(first, last): (u64, u64)| last & 0xfff0_0000 | first >> 16 & 0xfff0;
        let (memory, prefetchable) = (bridge.memory.unwrap_or(closed), bridge.prefetchable.unwrap_or(closed));
        write(id, 8, low(memory)).await;
        write(id, 9, low(prefetchable)).await;
        write(id, 10, prefetchable.0 >> 32).await;
        write(id, 11, prefetchable.1 >> 32).await;
        write(id, 1, 0b110).await;
    }
    for (&id, function) in &assignment.functions {
        for bar in &function.bars {
            let register = 4 + u16::from(bar.index);
            write(id, register, bar.address).await;
            if bar.kind.is_64bit() {
                write(id, register + 1, bar.address >> 32).await;
            }
        }
        write(id, 1, 0b10).await;
    }
}

/// Reads both ends of each memory BAR, which must reach that function and BAR; then beside all BARs and windows, where nobody may answer.
async fn reach(host: &Host, assignment: &Assignment) {
    let memory = || {
        let bars =
            |(&id, function): (&Bdf, &Function)| function.bars.iter().map(move |&bar| (id, bar)).collect::<Vec<_>>();
        assignment.functions.iter().flat_map(bars).filter(|(_, bar)| !bar.kind.is_io())
    };
    for (id, bar) in memory() {
        for offset in [0, bar.size - 16] {
            let data = host.read(bar.address + offset, 12).await;
            let expected: Vec<u8> =
                answer(id.0, bar.index, offset).iter().flat_map(|dword| dword.to_le_bytes()).collect();
            assert_eq!(data.as_ref().map(Data::bytes), Ok(&expected[..]), "{id}, {bar:x?}, {offset:#x}");
        }
    }
    let after = memory().map(|(_, bar)| bar.address + bar.size);
    let before = memory().map(|(_, bar)| bar.address - 4);
    let windows = assignment.bridges.values().flat_map(|bridge| [bridge.memory, bridge.prefetchable]).flatten();
    let beside: Vec<u64> = windows.flat_map(|(first, last)| [first - 4, last + 1]).chain(after).chain(before).collect();
    for address in beside {
        if memory().any(|(_, bar)| bar.address <= address && address < bar.address + bar.size) {
            continue;
        }
        let read = host.read32(address).await;
        assert_eq!(read, Err(AccessError::UnsupportedRequest(address)), "nobody is at {address:#x}");
    }
}

/// Runs `program` on the root complex of a topology on which nothing is configured.
fn run<T, F>(root: &[Below], program: impl FnOnce(Host) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut simulation, complex) = build(root);
    let host = simulation.host(complex);
    simulation.run(program(host)).expect("the program ends")
}

/// Where functions and bridges are, and what functions have, without addresses. I/O BARs are left out: our enumeration leaves them alone.
fn outline(assignment: &Assignment) -> Outlines {
    let bars = |function: &Function| {
        let memory = function.bars.iter().filter(|bar| !bar.kind.is_io());
        (memory.map(|bar| (bar.index, bar.kind, bar.size)).collect(), function.rom.map(|(size, _)| size))
    };
    let bridges = assignment.bridges.iter().map(|(&id, bridge)| (id, bridge.buses));
    (bridges.collect(), assignment.functions.iter().map(|(&id, function)| (id, bars(function))).collect())
}

/// Primary, secondary and subordinate bus number.
type Buses = (u8, u8, u8);
/// All bridges and functions by their IDs.
type Outlines = (Vec<(Bdf, Buses)>, Vec<(Bdf, Outline)>);
/// Index, kind and size of each BAR, and the size of the expansion ROM.
type Outline = (Vec<(u8, Kind, u64)>, Option<u64>);

/// What the functions of a topology have, in the order of a depth-first walk.
fn declared(below: &[Below], out: &mut Vec<Outline>) {
    for node in below.iter().flatten() {
        match node {
            Node::Switch { switch } => declared(switch, out),
            Node::Endpoint { functions } => out.extend(functions.iter().map(|function| {
                let memory = function.bars.iter().filter(|(_, kind, _)| !kind.is_io());
                (memory.copied().collect(), (function.rom > 0).then_some(function.rom.into()))
            })),
        }
    }
}

#[test]
fn both_find_the_same() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 55);
    for vector in &vectors {
        let theirs = vector.assignment();
        let (found, ours) = run(&vector.root, |host| async move { ours(&host).await });
        assert_eq!(outline(&ours), outline(&theirs), "{}", vector.name);
        let mut expected = Vec::new();
        declared(&vector.root, &mut expected);
        // As sets: functions beside a switch have lower IDs than those below it, wherever they stand.
        let functions = found.iter().filter(|function| !function.bridge);
        assert_eq!(functions.count(), expected.len(), "{}", vector.name);
        for outline in outline(&ours).1 {
            let place = expected.iter().position(|declared| *declared == outline.1);
            expected.swap_remove(place.unwrap_or_else(|| panic!("{}: {outline:x?}", vector.name)));
        }
    }
}

#[test]
fn both_assign_by_the_rules() {
    for vector in vectors() {
        let ours = run(&vector.root, |host| async move { ours(&host).await.1 });
        assert_eq!(vector.assignment().check(), Ok(()), "{}: theirs", vector.name);
        assert_eq!(ours.check(), Ok(()), "{}: ours", vector.name);
    }
}

#[test]
fn the_fabric_leads_to_each_bar_by_either_assignment() {
    for vector in vectors() {
        let theirs = vector.assignment();
        run(&vector.root, |host| async move {
            program(&host, &theirs).await;
            reach(&host, &theirs).await;
        });
        run(&vector.root, |host| async move {
            let (_, ours) = ours(&host).await;
            reach(&host, &ours).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_topology_is_assigned_by_the_rules(root in shape::root()) {
        let (assignment, found) = run(&root, |host| async move {
            let (found, assignment) = ours(&host).await;
            reach(&host, &assignment).await;
            (assignment, found.len())
        });
        prop_assert_eq!(assignment.check(), Ok(()));
        prop_assert_eq!(assignment.bridges.len() + assignment.functions.len(), found);
    }
}

/// The checker finds what is wrong: each change of an assignment that keeps the rules breaks one.
#[test]
fn the_checker_sees_what_is_wrong() {
    let vector = vectors().into_iter().find(|vector| vector.name == "two trees of switches").unwrap();
    let good = vector.assignment();
    assert_eq!(good.check(), Ok(()));
    let functions: Vec<Bdf> = good.functions.keys().copied().collect();
    let bridges: Vec<Bdf> = good.bridges.keys().copied().collect();
    let mut broken = 0;
    let mut expect = |what: &str, changed: &Assignment| {
        assert!(changed.check().is_err(), "{what}");
        broken += 1;
    };
    for id in functions {
        let change = |what: &dyn Fn(&mut Bar)| {
            let mut changed = good.clone();
            what(&mut changed.functions.get_mut(&id).unwrap().bars[0]);
            changed
        };
        expect("not at a multiple of its size", &change(&|bar| bar.address += bar.size / 2));
        expect("outside all windows", &change(&|bar| bar.address = 0x8000_0000));
        expect("a size that's no power of two", &change(&|bar| bar.size = 3 * bar.size / 2));
        let other = good
            .functions
            .iter()
            .find(|(other, function)| **other != id && function.bars[0].kind == good.functions[&id].bars[0].kind);
        let address = other.unwrap().1.bars[0].address;
        expect("where another one is", &change(&|bar| bar.address = address));
    }
    for id in bridges {
        let change = |what: &dyn Fn(&mut Bridge)| {
            let mut changed = good.clone();
            what(changed.bridges.get_mut(&id).unwrap());
            changed
        };
        expect("the wrong primary bus", &change(&|bridge| bridge.buses.0 = bridge.buses.0.wrapping_sub(1)));
        expect("secondary is primary", &change(&|bridge| bridge.buses.1 = bridge.buses.0));
        if id.bus() != 0 {
            expect("more buses than above", &change(&|bridge| bridge.buses.2 = u8::MAX));
        }
        if good.bridges[&id].memory.is_some() {
            expect("closed", &change(&|bridge| bridge.memory = None));
            expect("too far", &change(&|bridge| bridge.memory = bridge.memory.map(|(first, _)| (first, u64::MAX))));
            expect("in one another", &change(&|bridge| bridge.prefetchable = bridge.memory));
        }
    }
    assert!(broken > 100, "{broken}");
}
