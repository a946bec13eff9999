//! The Virtual Channel capability: its registers, and what software sets by them.

use proptest::prelude::*;

use super::super::*;
use super::{read, write};

fn space(capability: VcCapability) -> ConfigSpace {
    let mut space = Type0::default().build().unwrap();
    space.add(&AerCapability::default()).unwrap();
    space.add(&capability).unwrap();
    space
}

const THREE: VcCapability = VcCapability { extended: 2, low_priority: 1, phases: 0, arbitrates_ports: true };

#[test]
fn registers_after_reset() {
    let mut space = space(THREE);
    let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
    assert_eq!(at, 0x148);
    let dwords = |space: &ConfigSpace| (0..13).map(|dword| read(space, at + dword * 4)).collect::<Vec<_>>();
    let reset = [0x0001_0002, 0x12, 1, 0, 1, 0x8000_00ff, 0, 1, 0, 0, 1, 0, 0];
    assert_eq!(dwords(&space), reset);
    assert_eq!(space.virtual_channels().map(|control| control.is_plain()), Some(true));
    // Everything written: TC0 stays with VC0, which stays enabled; no arbitration table can be loaded or selected.
    for dword in 1..13 {
        write(&mut space, at + dword * 4, 0xffff_ffff);
    }
    let written = [0x0001_0002, 0x12, 1, 0, 1, 0x8000_00ff, 0, 1, 0x8700_00fe, 0, 1, 0x8700_00fe, 0];
    assert_eq!(dwords(&space), written);
    for dword in 1..13 {
        write(&mut space, at + dword * 4, 0);
    }
    assert_eq!(read(&space, at + 0x14), 0x8000_0001);
    // A function-level reset leaves the link's channels alone.
    space.reset(Reset::FunctionLevel);
    assert_eq!(read(&space, at + 0x14), 0x8000_0001);
    space.reset(Reset::Hot);
    assert_eq!(dwords(&space), reset);
}

#[test]
fn writes_are_reported() {
    let mut space = space(THREE);
    let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
    assert_eq!(write(&mut space, at + 0x14, 0x8000_00ff), Changed::NONE);
    assert_eq!(write(&mut space, at + 0x14, 0x8000_000f), Changed::VIRTUAL_CHANNELS);
    assert_eq!(write(&mut space, at + 0x20, 0x8100_00f0), Changed::VIRTUAL_CHANNELS);
    assert_eq!(write(&mut space, at + 0x0c, 0x0000_000f), Changed::NONE);
    let control = space.virtual_channels().unwrap();
    let resource = |id, enabled, map| VcResource { id, enabled, map };
    assert_eq!(control.resources(), [resource(0, true, 0xf), resource(1, true, 0xf0), resource(0, false, 0)]);
    assert_eq!(
        (control.low_priority, control.is_plain(), control.with_id(1), control.with_id(2)),
        (1, false, Some(1), None)
    );
    assert_eq!([0, 3, 4, 7].map(|tc| control.resource_of(tc)), [Some(0), Some(0), Some(1), Some(1)]);
    assert_eq!(Type0::default().build().unwrap().virtual_channels(), None);
}

#[test]
fn what_does_not_work_is_pending() {
    let mut space = space(THREE);
    let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
    write(&mut space, at + 0x20, 0x8100_0002);
    let pending = |space: &ConfigSpace| [0x18, 0x24, 0x30].map(|status| read(space, at + status));
    space.set_working_channels(0b001);
    assert_eq!(pending(&space), [0, 0x0002_0000, 0]);
    space.set_working_channels(0b011);
    assert_eq!(pending(&space), [0, 0, 0]);
}

/// A table of each length: where it is, which arbitration can be selected, and what its status shows.
#[test]
fn an_arbitration_table_is_loaded() {
    for (phases, cap2) in [(32, 0x0400_0003), (64, 0x0400_0007), (128, 0x0400_000f)] {
        let mut space = space(VcCapability { phases, ..THREE });
        let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
        assert_eq!(read(&space, at + 8), cap2);
        let table = at + 0x40;
        let dwords = u16::from(phases) / 8;
        // The reserved bit of each phase isn't written; behind the table there's nothing.
        for dword in 0..=dwords {
            write(&mut space, table + dword * 4, 0xffff_ffff);
        }
        assert_eq!(read(&space, table + (dwords - 1) * 4), 0x7777_7777);
        assert_eq!(read(&space, table + dwords * 4), 0);
        assert_eq!(write(&mut space, table, 0x0001_2021), Changed::VC_TABLE);
        assert_eq!((read(&space, at + 0xc), space.vc_arbitration_table()), (0x0001_0000, &[][..]));
        // Selected and loaded; the bit reads 0, the status is clear.
        assert_eq!(write(&mut space, at + 0xc, 3), Changed::VIRTUAL_CHANNELS | Changed::LOAD_VC_TABLE);
        assert_eq!(read(&space, at + 0xc), 2);
        assert_eq!(space.virtual_channels().unwrap().phases, 32);
        let loaded = space.vc_arbitration_table().to_vec();
        assert_eq!((loaded.len(), &loaded[..9]), (usize::from(phases), &[1, 2, 0, 2, 1, 0, 0, 0, 7][..]));
        // The same value written again counts, too. What was loaded stays.
        write(&mut space, table, 0x0001_2021);
        assert_eq!(read(&space, at + 0xc), 0x0001_0002);
        write(&mut space, table, 0);
        assert_eq!(space.vc_arbitration_table(), loaded);
        // Longer tables than there are can't be selected.
        for (select, longest) in [(1, 32), (2, 64), (3, 128)] {
            write(&mut space, at + 0xc, select << 1);
            assert_eq!(space.virtual_channels().unwrap().phases, longest.min(phases));
        }
        write(&mut space, at + 0xc, 4 << 1);
        assert_eq!(space.virtual_channels().unwrap().phases, phases);
        space.reset(Reset::FunctionLevel);
        assert_eq!((space.virtual_channels().unwrap().phases, space.vc_arbitration_table()), (phases, &loaded[..]));
        space.reset(Reset::Hot);
        assert_eq!((space.virtual_channels().unwrap().phases, space.vc_arbitration_table()), (0, &[][..]));
    }
}

/// Registers that are taken over from another space bring its table with them.
#[test]
fn a_table_is_restored() {
    let capability = VcCapability { phases: 32, ..THREE };
    let (mut space, mut other) = (space(capability), space(capability));
    let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
    write(&mut space, at + 0x40, 0x2121_0000);
    write(&mut space, at + 0xc, 3);
    other.restore(space.changes());
    assert_eq!(other.vc_arbitration_table(), space.vc_arbitration_table());
    assert_eq!(other.virtual_channels(), space.virtual_channels());
}

#[test]
fn wrong_numbers_are_refused() {
    for (low_priority, phases) in [(1, 31), (1, 129), (0, 32)] {
        let capability = VcCapability { extended: 2, low_priority, phases, arbitrates_ports: false };
        assert!(matches!(capability.layout(), Err(ConfigError::Value { .. })), "{capability:?}");
    }
    for (extended, low_priority) in [(8, 0), (0, 1), (3, 4)] {
        let capability = VcCapability { extended, low_priority, phases: 0, arbitrates_ports: false };
        assert!(matches!(capability.layout(), Err(ConfigError::Value { .. })), "{capability:?}");
    }
    assert!((0..=7).all(|extended| VcCapability { extended, ..THREE }.layout().is_ok() == (extended > 0)));
}

proptest! {
    /// Whatever software writes, TC0 goes over VC0, and what's said of resources is what can be read.
    #[test]
    fn whatever_is_written(
        extended in 0..8_u8,
        phases in prop::sample::select(vec![0_u8, 32, 64, 128]),
        writes in prop::collection::vec((0..30_u16, any::<u32>()), 0..40),
    ) {
        let (low_priority, phases) = if extended > 0 { (extended, phases) } else { (0, 0) };
        let mut space = space(VcCapability { extended, low_priority, phases, ..VcCapability::default() });
        let at = space.find(CapabilityId::VIRTUAL_CHANNEL).unwrap();
        for (dword, value) in writes {
            let inside = dword * 4 < 0x10 + 0xc * (u16::from(extended) + 1);
            if inside {
                let before = space.virtual_channels();
                let changed = write(&mut space, at + dword * 4, value);
                prop_assert_eq!(changed.contains(Changed::VIRTUAL_CHANNELS), before != space.virtual_channels());
            }
        }
        let control = space.virtual_channels().unwrap();
        prop_assert_eq!(control.resources().len(), usize::from(extended) + 1);
        prop_assert_eq!(control.resource_of(0), Some(0));
        for (number, resource) in (0..).zip(control.resources()) {
            let dword = read(&space, at + 0x14 + number * 0xc);
            prop_assert_eq!(dword & 0x8700_00ff, u32::from(resource.enabled) << 31 | u32::from(resource.id) << 24 | u32::from(resource.map));
        }
    }
}
