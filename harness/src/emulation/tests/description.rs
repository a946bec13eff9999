use mlx5_twin_sim::config::ConfigError;

use super::super::{DescriptionError, Error, Region, RegionKind};
use super::*;

/// The rule that a description breaks.
fn broken(description: &Description) -> DescriptionError {
    let fake = Fake::new();
    match Function::claim(fake.backend(), description) {
        Err(Error::Description(rule)) => {
            assert_eq!(fake.device().gone, ["channel", "umem", "page"], "nothing is left");
            rule
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_rule_is_named() {
    let with = |bar: usize, shape| {
        let mut header = header();
        header.bars[bar] = Some(shape);
        Description::new(1, header)
    };
    let plain = || Description::new(1, header());
    let msix = MsixCapability { vectors: 65, table_bar: 0, table_offset: 0, pba_bar: 0, pba_offset: 0x3000 };
    let many = (0..17).fold(plain(), |description, n| description.transaction(0, n * 4, 4));
    type Rule = DescriptionError;
    let cases = [
        (with(1, Bar::io(16)), Rule::IoBar { bar: 1 }),
        (with(2, Bar::memory64(1 << 41)), Rule::BarSize { bar: 2, size: 1 << 41 }),
        (plain().expansion_rom([]), Rule::RomImage { len: 0, most: 16 << 20 }),
        (plain().expansion_rom(vec![0; (16 << 20) + 1]), Rule::RomImage { len: (16 << 20) + 1, most: 16 << 20 }),
        (
            Description::new(1, Type0 { expansion_rom: Some(0x800), ..header() }).expansion_rom([0; 0x801]),
            Rule::RomImage { len: 0x801, most: 0x800 },
        ),
        (
            Description::new(1, Type0 { expansion_rom: Some(0x400), ..header() }),
            Rule::Config(ConfigError::RomSize { size: 0x400 }),
        ),
        (plain().stateful(0, 0, [0; 3]), Rule::RegionShape { region: 0, offset: 0, length: 3 }),
        (plain().stateful(0, 0, []), Rule::RegionShape { region: 0, offset: 0, length: 0 }),
        (
            with(2, Bar::memory32(0x2_0000)).stateful(2, 0, vec![0; 0x1_0000]).stateful(0, 0, [0; 4]),
            Rule::TooMany { what: "bytes of stateful regions", value: 0x1_0004, most: 0x1_0000 },
        ),
        (
            plain().region(Region { kind: RegionKind::Transaction, bar: 0, offset: 0, length: 4, notify: true }),
            Rule::Notify { region: 0 },
        ),
        (plain().transaction(1, 0, 4), Rule::NoBar { region: 0, bar: 1 }),
        (plain().transaction(6, 0, 4), Rule::NoBar { region: 0, bar: 6 }),
        (plain().transaction(0, 2, 4), Rule::RegionShape { region: 0, offset: 2, length: 4 }),
        (plain().transaction(0, 0, 6), Rule::RegionShape { region: 0, offset: 0, length: 6 }),
        (plain().doorbells(0, 0, 0), Rule::RegionShape { region: 0, offset: 0, length: 0 }),
        (
            plain().transaction(0, 0x3ffc, 8),
            Rule::RegionOutside { region: 0, offset: 0x3ffc, length: 8, bar: 0, size: 0x4000 },
        ),
        (
            with(2, Bar::memory64(1 << 33)).transaction(2, 1 << 32, 4),
            Rule::RegionOutside { region: 0, offset: 1 << 32, length: 4, bar: 2, size: 1 << 33 },
        ),
        (
            plain().transaction(0, u64::MAX - 3, 4),
            Rule::RegionOutside { region: 0, offset: u64::MAX - 3, length: 4, bar: 0, size: 0x4000 },
        ),
        (plain().transaction(0, 0, 8).doorbells(0, 4, 8), Rule::RegionOverlap { first: 0, second: 1, bar: 0 }),
        (many, Rule::TooMany { what: "regions", value: 17, most: 16 }),
        (plain().doorbells(0, 0, 196), Rule::TooMany { what: "dwords of doorbell regions", value: 49, most: 48 }),
        (plain().msix(msix), Rule::TooMany { what: "MSI-X vectors", value: 65, most: 64 }),
        (with(0, Bar::memory32(100)), Rule::Config(ConfigError::BarSize { index: 0, size: 100 })),
    ];
    for (description, rule) in cases {
        assert_eq!(broken(&description), rule);
    }
    let twice = broken(&described(1).pcie(&PcieCapability::new(PortType::Endpoint)));
    assert!(matches!(twice, Rule::Config(ConfigError::CapabilityTwice { .. })));
    let nothing = MsixCapability { vectors: 0, table_bar: 0, table_offset: 0, pba_bar: 0, pba_offset: 0x3000 };
    assert!(matches!(broken(&plain().msix(nothing)), Rule::Config(ConfigError::Value { field: "Table Size", .. })));
}

#[test]
fn ring_and_credits_are_checked() {
    let claim =
        |description: Description| Function::claim(Fake::new().backend(), &description).unwrap_err().to_string();
    assert!(claim(described(1).ring_slots(3)).contains("power of two"));
    assert!(claim(described(1).credits(5)).contains("credits: 5"));
}
