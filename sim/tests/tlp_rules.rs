//! Each rule of the codec: a header that breaks it and nothing else, and the reason it is refused for.

use mlx5_twin_sim::tlp::{Header, Kind, Malformed, MessageCode, Route, Status};

/// DWs, and what `decode` says of them.
const DECODE: &[([u32; 4], Malformed)] = &[
    ([0x1b00_0001, 0, 0, 0], Malformed::ReservedType { fmt_type: 0x1b }),
    ([0x9100_0001, 0, 0, 0], Malformed::PrefixForHeader { fmt_type: 0x91 }),
    ([0x0000_0001, 0x0000_001f, 0, 0], Malformed::LastBeOfOneDw { last_be: 1 }),
    ([0x4000_0002, 0x0000_00f0, 0, 0], Malformed::FirstBeZero { length_dw: 2 }),
    ([0x4000_0000, 0x0000_000f, 0, 0], Malformed::LastBeZero { length_dw: 1024 }),
    // Two DWs aligned to 8 bytes may have gaps, others may not.
    ([0x0000_0002, 0x0000_00fb, 4, 0], Malformed::BeGap { first_be: 0xb, last_be: 0xf, length_dw: 2, address: 4 }),
    ([0x2000_0003, 0x0000_00e8, 1, 0], Malformed::BeGap { first_be: 8, last_be: 0xe, length_dw: 3, address: 1 << 32 }),
    ([0x2000_0002, 0x0000_00ff, 1, 0xffc], Malformed::Crosses4K { address: 0x1_0000_0ffc, length_dw: 2 }),
    ([0x0000_0000, 0x0000_00ff, 4, 0], Malformed::Crosses4K { address: 4, length_dw: 1024 }),
    ([0x0000_0c01, 0x0000_000f, 0, 0], Malformed::ReservedAt { kind: Kind::MRd32 }),
    ([0x4c00_0c01, 0, 0, 0], Malformed::ReservedAt { kind: Kind::FetchAdd32 }),
    ([0x0200_0002, 0x0000_000f, 0, 0], Malformed::LengthNotOne { kind: Kind::IORd, length_dw: 2 }),
    ([0x4400_0000, 0x0000_000f, 0, 0], Malformed::LengthNotOne { kind: Kind::CfgWr0, length_dw: 1024 }),
    ([0x0430_0001, 0x0000_000f, 0, 0], Malformed::FieldNotZero { kind: Kind::CfgRd0, field: "TC", value: 3 }),
    ([0x0500_2001, 0x0000_000f, 0, 0], Malformed::FieldNotZero { kind: Kind::CfgRd1, field: "Attr[1:0]", value: 2 }),
    ([0x4200_0801, 0x0000_000f, 0, 0], Malformed::FieldNotZero { kind: Kind::IOWr, field: "AT", value: 2 }),
    ([0x0400_0001, 0x0000_00ff, 0, 0], Malformed::LastBeOfOneDw { last_be: 0xf }),
    ([0x4c00_0003, 0, 0, 0], Malformed::AtomicLength { kind: Kind::FetchAdd32, length_dw: 3 }),
    ([0x6e00_0001, 0, 1, 0], Malformed::AtomicLength { kind: Kind::Cas64, length_dw: 1 }),
    ([0x4d00_0002, 0, 4, 0], Malformed::AtomicAlignment { kind: Kind::Swap32, address: 4, operand: 8 }),
    ([0x6e00_0008, 0, 1, 8], Malformed::AtomicAlignment { kind: Kind::Cas64, address: 0x1_0000_0008, operand: 16 }),
    ([0x5b00_0021, 0x0000_00ff, 0, 0], Malformed::DmwrLength { kind: Kind::DMWr32, length_dw: 33 }),
    // ERR_COR as a broadcast, as MsgD, in TC1.
    (
        [0x3300_0000, 0x0000_0030, 0, 0],
        Malformed::MessageRouting { code: MessageCode::ERR_COR, route: Route::Broadcast },
    ),
    ([0x7000_0001, 0x0000_0030, 0, 0], Malformed::MessageData { code: MessageCode::ERR_COR, kind: Kind::MsgD }),
    ([0x3010_0000, 0x0000_0030, 0, 0], Malformed::MessageTc { code: MessageCode::ERR_COR, tc: 1 }),
    (
        [0x3400_0000, 0x0000_0050, 0, 0],
        Malformed::MessageData { code: MessageCode::SET_SLOT_POWER_LIMIT, kind: Kind::Msg },
    ),
    (
        [0x7400_0002, 0x0000_0050, 0, 0],
        Malformed::MessageLength { code: MessageCode::SET_SLOT_POWER_LIMIT, length_dw: 2, expected: 1 },
    ),
];

/// DWs that decode, and what `check_strict` says of them.
const STRICT: &[([u32; 4], Malformed)] = &[
    ([0x2000_0001, 0x0000_000f, 0, 0x1000], Malformed::Address64Below4G { kind: Kind::MRd64, address: 0x1000 }),
    (
        [0x3600_0000, 0x0000_0099, 0, 0],
        Malformed::MessageRouting { code: MessageCode(0x99), route: Route::ReservedImplicit(6) },
    ),
    ([0x0a00_0000, 0x0000_6004, 0, 0], Malformed::CompletionStatus { status: Status::Reserved(3) }),
    (
        [0x4a00_0001, 0x0000_2004, 0, 0],
        Malformed::CompletionData { kind: Kind::CplD, status: Status::UnsupportedRequest },
    ),
    (
        [0x4a00_0003, 0x0000_0006, 2, 0],
        Malformed::CompletionLength { length_dw: 3, byte_count: 6, lower_address: 2, needs: 2 },
    ),
];

/// DWs that break no rule, at the edges of the rules.
const VALID: &[[u32; 4]] = &[
    // Nothing enabled in one DW; gaps in one DW, and in two aligned to 8 bytes.
    [0x0000_0001, 0, 0, 0],
    [0x4000_0001, 0x0000_0009, 0, 0],
    [0x4000_0002, 0x0000_00a5, 8, 0],
    // A whole page.
    [0x0000_0000, 0x0000_00ff, 0xffff_f000, 0],
    // The steering tag of a read in the place of its byte enables.
    [0x0001_0001, 0x0000_00ff, 0, 0],
    [0x0001_0002, 0, 0, 0],
    // Atomics: all operand sizes; byte enables are reserved.
    [0x4c00_0001, 0x0000_00ff, 4, 0],
    [0x6d00_0002, 0, 1, 8],
    [0x4e00_0002, 0, 4, 0],
    [0x4e00_0004, 0, 8, 0],
    [0x4e00_0008, 0, 0x10, 0],
    [0x7b00_0020, 0x0000_00ff, 1, 0],
    // IDO is reserved in I/O and configuration requests, not forbidden.
    [0x0404_0001, 0x0000_000f, 0, 0],
    // Messages: PTM Response with and without data; vendor defined; a code without a name.
    [0x3400_0000, 0x0000_0053, 0, 0],
    [0x7400_0001, 0x0000_0053, 0, 0],
    [0x7200_0005, 0x0000_007e, 0, 0],
    [0x3110_0000, 0x0000_0099, 0, 0],
];

#[test]
fn decode_names_the_rule() {
    for (dws, reason) in DECODE {
        assert_eq!(Header::from_dws(*dws), Err(*reason), "{dws:08x?}");
        let bytes: Vec<u8> = dws.iter().flat_map(|dw| dw.to_be_bytes()).collect();
        assert_eq!(Header::decode(&bytes), Err(*reason), "{dws:08x?}");
        assert!(!reason.to_string().is_empty());
    }
}

#[test]
fn strict_check_names_the_rule() {
    for (dws, reason) in STRICT {
        let header = Header::from_dws(*dws).unwrap_or_else(|e| panic!("{dws:08x?}: {e}"));
        assert_eq!(header.check_strict(), Err(*reason), "{dws:08x?}");
    }
}

#[test]
fn edges_of_the_rules_decode() {
    for dws in VALID {
        let header = Header::from_dws(*dws);
        assert_eq!(header.map(|h| h.dws()), Ok(*dws), "{dws:08x?}");
    }
}

/// Every first byte: a type decodes or is refused for a reason other than its type; all else is reserved or a prefix.
#[test]
fn every_type_byte_is_known_or_refused() {
    let mut types = 0;
    for byte in 0..=u8::MAX {
        let dws = [u32::from(byte) << 24 | 1, 0x0000_0099, 1, 0];
        match Header::from_dws(dws) {
            Err(Malformed::ReservedType { fmt_type }) => assert_eq!((fmt_type, byte >> 5 == 4), (byte, false)),
            Err(Malformed::PrefixForHeader { fmt_type }) => assert_eq!((fmt_type, byte >> 5), (byte, 4)),
            _ => types += 1,
        }
    }
    assert_eq!(types, 24 + 16);
}
