//! Base address registers: what can't be built, and the sizing protocol for all that can.

use proptest::prelude::*;

use super::super::*;
use super::{physical_function, read, write};

#[test]
fn wrong_bars_are_refused() {
    let build = |slots: &[(usize, Bar)]| {
        let mut bars = [None; 6];
        for &(index, bar) in slots {
            bars[index] = Some(bar);
        }
        Type0 { bars, ..Type0::default() }.build().map(|_| ())
    };
    let range =
        |index, kind, size, smallest, largest| Err(ConfigError::BarRange { index, kind, size, smallest, largest });
    let memory32 = Bar::memory32(4096);
    let memory64 = Bar::memory64(4096);
    let io = Bar { prefetchable: true, ..Bar::io(16) };

    assert_eq!(build(&[(1, Bar::memory32(3000))]), Err(ConfigError::BarSize { index: 1, size: 3000 }));
    assert_eq!(build(&[(1, Bar::memory32(0))]), Err(ConfigError::BarSize { index: 1, size: 0 }));
    assert_eq!(build(&[(2, Bar::memory32(64))]), range(2, BarKind::Memory32, 64, 128, 1 << 31));
    assert_eq!(build(&[(2, Bar::memory32(1 << 32))]), range(2, BarKind::Memory32, 1 << 32, 128, 1 << 31));
    assert_eq!(build(&[(0, Bar::io(512))]), range(0, BarKind::Io, 512, 4, 256));
    assert_eq!(build(&[(0, io)]), Err(ConfigError::BarPrefetchable { index: 0 }));
    assert_eq!(build(&[(5, memory64)]), Err(ConfigError::BarLastSlot { index: 5, last: 5 }));
    assert_eq!(build(&[(2, memory64), (3, memory32)]), Err(ConfigError::BarSlotTaken { index: 3 }));
    assert_eq!(build(&[(2, memory64), (4, memory32), (5, Bar::io(4))]), Ok(()));

    let bridge = Type1 { bars: [None, Some(memory64)], ..Type1::default() };
    assert_eq!(bridge.build().map(|_| ()), Err(ConfigError::BarLastSlot { index: 1, last: 1 }));
    for size in [0, 0x400, 0x1800, 0x200_0000] {
        let rom = Type0 { expansion_rom: Some(size), ..Type0::default() };
        assert_eq!(rom.build().map(|_| ()), Err(ConfigError::RomSize { size }));
    }
}

#[test]
fn decoding_follows_command_and_power() -> Result<(), ConfigError> {
    let mut space = physical_function()?;
    write(&mut space, 0x10, 0x4000_0000);
    write(&mut space, 0x14, 0x0000_0012);
    write(&mut space, 0x30, 0x8010_0001);
    assert_eq!((space.bar(0), space.expansion_rom()), (None, None));
    write(&mut space, 0x04, 0x0006);
    let bar = BarRange { index: 0, base: 0x12_4000_0000, size: 64 << 20, kind: BarKind::Memory64 };
    assert_eq!(space.bar(0), Some(bar));
    assert_eq!(space.decode_memory(0x12_43ff_fffc), Some((bar, 0x3ff_fffc)));
    assert_eq!(space.decode_memory(0x12_4400_0000), None);
    assert_eq!(space.decode_memory(0x12_3fff_ffff), None);
    assert_eq!(space.expansion_rom().map(|rom| (rom.base, rom.size)), Some((0x8010_0000, 1 << 20)));
    assert!(space.may_request());
    write(&mut space, 0x44, 3);
    assert_eq!((space.bar(0), space.expansion_rom(), space.may_request()), (None, None, false));
    write(&mut space, 0x44, 0);
    assert_eq!(space.bar(0), Some(bar));
    Ok(())
}

fn any_bar() -> impl Strategy<Value = Bar> {
    prop_oneof![
        (7u32..=31, any::<bool>())
            .prop_map(|(log, prefetchable)| { Bar { kind: BarKind::Memory32, prefetchable, size: 1 << log } }),
        (7u32..=63, any::<bool>())
            .prop_map(|(log, prefetchable)| { Bar { kind: BarKind::Memory64, prefetchable, size: 1 << log } }),
        (2u32..=8).prop_map(|log| Bar::io(1 << log)),
    ]
}

proptest! {
    /// As system software sizes and places a BAR: the size is found, and the range decodes.
    #[test]
    fn sizing_finds_any_size(bar in any_bar(), index in 0usize..5, place in any::<u64>()) {
        let mut bars = [None; 6];
        bars[index] = Some(bar);
        let mut space = Type0 { bars, ..Type0::default() }.build()?;
        let at = 0x10 + 4 * index as u16;
        let wide = bar.kind == BarKind::Memory64;
        let low_mask = if bar.kind == BarKind::Io { !0b11 } else { !0b1111 };

        let kind_bits = read(&space, at) & !low_mask;
        let expected = match bar.kind {
            BarKind::Io => 1,
            BarKind::Memory32 => u32::from(bar.prefetchable) << 3,
            BarKind::Memory64 => 4 | u32::from(bar.prefetchable) << 3,
        };
        prop_assert_eq!(kind_bits, expected);

        write(&mut space, at, !0);
        let mut sized = u64::from(read(&space, at) & low_mask) | 0xffff_ffff_0000_0000;
        if wide {
            write(&mut space, at + 4, !0);
            sized = u64::from(read(&space, at + 4)) << 32 | sized & 0xffff_ffff;
        } else {
            prop_assert_eq!(write(&mut space, at + 4, !0), Changed::NONE);
            prop_assert_eq!(read(&space, at + 4), 0);
        }
        prop_assert_eq!((!sized).wrapping_add(1), bar.size);

        let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let base = place & width & !(bar.size - 1);
        write(&mut space, at, base as u32);
        if wide {
            write(&mut space, at + 4, (base >> 32) as u32);
        }
        prop_assert_eq!(space.bar(index), None);
        write(&mut space, 0x04, 0x3);
        let range = BarRange { index: index as u8, base, size: bar.size, kind: bar.kind };
        prop_assert_eq!(space.bar(index), Some(range));
        prop_assert_eq!(range.offset(base + (bar.size - 1)), Some(bar.size - 1));
        prop_assert_eq!(range.offset(base.wrapping_add(bar.size)).is_none(), true);
        prop_assert_eq!(read(&space, at) & !low_mask, expected);
    }
}
