//! Which accesses of a host reach software, and which the device answers: random BARs and regions, against a map of every dword.

mod common;

use common::software::{BAR_SIZE, Software};
use common::twin::{Channel, FunctionSpec, user};
use common::{Rig, settings};
use mlx5_twin_fw_cmds::twin_v1::{bar, region};
use mlx5_twin_sim::config::{Bar, Type0};
use mlx5_twin_sim::host::{AccessError, Found, enumerate};
use proptest::prelude::*;

/// A BAR by its kind and log2 of its size, at most that of the memory that software has for it.
fn any_bar() -> impl Strategy<Value = (u8, u8)> {
    (0..=2_u8, 7..=BAR_SIZE.ilog2() as u8)
}

/// Cuts a BAR at some dwords, and gives some of the pieces a kind.
type Cuts = Vec<(u64, Option<u8>)>;

fn any_cuts() -> impl Strategy<Value = Cuts> {
    let kind = prop_oneof![
        2 => Just(None),
        4 => Just(Some(region::TRANSACTION)),
        1 => Just(Some(region::DOORBELL)),
        1 => Just(Some(region::STATEFUL)),
    ];
    // Many small pieces near the beginning, so that accesses cross their borders.
    prop::collection::vec((1..40_u64, kind), 0..5)
}

/// An access: where, in dwords of the BAR's beginning or end, which bytes, and whether it's a write.
#[derive(Clone, Debug)]
struct Hit {
    bar: prop::sample::Index,
    place: u64,
    from_end: bool,
    len: u8,
    write: bool,
}

fn any_hit() -> impl Strategy<Value = Hit> {
    let parts = (any::<prop::sample::Index>(), 0..640_u64, prop::bool::weighted(0.2), 1..=64_u8, any::<bool>());
    parts.prop_map(|(bar, place, from_end, len, write)| Hit { bar, place, from_end, len, write })
}

/// The kind of what's in the expansion ROM, beside those of regions.
const ROM: u8 = 0xff;
/// The Expansion ROM register.
const ROM_REGISTER: u16 = 12;

/// What's at a dword of a BAR: number and kind of its region.
type Map = Vec<[Option<(usize, u8)>; BAR_SIZE as usize / 4]>;

/// A description, and the map of it.
fn describe(bars: [(u8, u8); 3], cuts: &[Cuts], rom: Option<u8>) -> (Type0, FunctionSpec, Map) {
    let mut header = Type0 { vendor_id: 0xfff1, device_id: 0x42, ..Type0::default() };
    let mut spec = FunctionSpec::default();
    let mut map: Map = vec![[None; BAR_SIZE as usize / 4]; 7];
    if let Some(log_size) = rom {
        header.expansion_rom = Some(1 << log_size);
        spec.rom_log_size = log_size;
        map[usize::from(bar::ROM)][..1 << (log_size - 2)].fill(Some((usize::MAX, ROM)));
    }
    let mut doorbells = 0;
    for (number, (kind, log_size)) in bars.into_iter().enumerate() {
        // Each has two registers, so that all may be 64-bit ones.
        let index = 2 * number;
        let size = 1 << log_size;
        header.bars[index] = match kind {
            bar::MEMORY32 => Some(Bar::memory32(size)),
            bar::MEMORY64 => Some(Bar::memory64(size)),
            _ => continue,
        };
        spec.bars[index] = (kind, log_size);
        let mut at = 0;
        for &(dwords, kind) in &cuts[number] {
            let dwords = dwords.min(size / 4 - at);
            let Some(kind) = kind.filter(|_| dwords > 0) else {
                at += dwords;
                continue;
            };
            let kind = if kind == region::DOORBELL && doorbells + dwords > 48 { region::TRANSACTION } else { kind };
            doorbells += if kind == region::DOORBELL { dwords } else { 0 };
            map[index][at as usize..][..dwords as usize].fill(Some((spec.regions.len(), kind)));
            spec.regions.push((kind, index as u8, 4 * at as u32, 4 * dwords));
            at += dwords;
        }
    }
    (header, spec, map)
}

fn find(rig: &mut Rig, software: &mut Software) -> Found {
    let host = rig.machine.simulation.host(rig.host());
    let found = rig.drive(async move { enumerate(&host, settings()).await }, |rig| software.serve(rig));
    let found = found.expect("an end").expect("enumeration");
    found.into_iter().find(|function| !function.bridge).expect("the function")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_access_goes_where_its_dwords_say(
        bars in [any_bar(), any_bar(), any_bar()],
        cuts in prop::collection::vec(any_cuts(), 3),
        rom in prop::option::of(11..=BAR_SIZE.ilog2() as u8),
        hits in prop::collection::vec(any_hit(), 1..60),
    ) {
        let (header, spec, map) = describe(bars, &cuts, rom);
        let mut rig = Rig::initialised();
        let uid = user(&mut rig);
        let channel = Channel::new(&mut rig, uid, 0, 5, 0);
        let spec = FunctionSpec { channel: channel.id, ..spec };
        let config = header.build().expect("a header");
        let mut software = Software::claim_as(&mut rig, channel, config, &spec);
        let found = find(&mut rig, &mut software);
        software.id = found.id;
        software.set_command(&mut rig, 6);
        let mut ranges = found.bars.clone();
        if let Some(rom) = found.expansion_rom {
            software.config_write(&mut rig, ROM_REGISTER, 0xf, rom.address as u32 | 1);
            ranges.push(rom);
        }
        prop_assume!(!ranges.is_empty());
        // What was written last: by BAR, all bytes of it.
        let mut model = vec![vec![0_u8; BAR_SIZE as usize]; 7];
        for (number, hit) in hits.into_iter().enumerate() {
            let bar = ranges[hit.bar.index(ranges.len())];
            let place = if hit.from_end { (bar.size + 16).saturating_sub(hit.place % 128) } else { hit.place };
            let address = bar.address + place;
            let len = u64::from(hit.len).min(64 - address % 64);
            // The dwords that the TLP names; those of an access outside of all BARs are nobody's, and so is one that leaves its BAR.
            let inside = ranges.iter().find(|bar| (bar.address..bar.address + bar.size).contains(&address));
            let expected = inside.and_then(|bar| {
                let (first, last) = ((address - bar.address) / 4, (address - bar.address + len - 1) / 4);
                let what = *map[usize::from(bar.index)].get(first as usize)?;
                let same = (first..=last).all(|dword| {
                    map[usize::from(bar.index)].get(dword as usize).is_some_and(|other| *other == what)
                });
                // A ROM is only read.
                let there = what.filter(|(_, kind)| same && last < bar.size / 4 && !(hit.write && *kind == ROM));
                there.map(|(_, kind)| (kind, bar.index, address - bar.address))
            });
            software.seen.clear();
            software.bar = address;
            let refused = rig.machine.simulation.fabric().faults().unsupported_request;
            let bytes: Vec<u8> = (0..len).map(|byte| (number as u8).wrapping_mul(31).wrapping_add(byte as u8)).collect();
            let answer = if hit.write {
                let answer = software.write(&mut rig, 0, &bytes);
                software.settle(&mut rig);
                answer
            } else {
                software.read(&mut rig, 0, len as u8)
            };
            let now_refused = rig.machine.simulation.fabric().faults().unsupported_request - refused;
            prop_assert_eq!(now_refused, u64::from(expected.is_none()), "{:#x} {} {:?}", address, len, expected);
            let seen: Vec<_> = software.seen.iter().map(|message| message.place).collect();
            match expected {
                Some((region::TRANSACTION | ROM, bar, offset)) => prop_assert_eq!(seen, [Some((bar, offset & !3))]),
                _ => prop_assert_eq!(seen, []),
            }
            if let Some((_, bar, offset)) = expected {
                let place = &mut model[usize::from(bar)][offset as usize..(offset + len) as usize];
                if hit.write {
                    place.copy_from_slice(&bytes);
                } else {
                    let read = answer.expect("an answer");
                    prop_assert_eq!(read.bytes(), &*place);
                }
            } else if !hit.write {
                prop_assert_eq!(answer.map(drop), Err(AccessError::UnsupportedRequest(address)));
            }
        }
        prop_assert_eq!(software.channel.faults(&mut rig), []);
    }
}
