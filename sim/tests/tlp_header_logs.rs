//! Headers that real machines logged on AER errors. Found in public kernel mailing lists and issue trackers; the log has DW 0 first,
//! and its most significant byte is Fmt/Type.

use mlx5_twin_sim::tlp::{Bdf, Class, Header, Kind, Malformed, MessageCode, Route, Status};

fn decode(dws: [u32; 4]) -> Header {
    Header::from_dws(dws).unwrap_or_else(|e| panic!("{dws:08x?}: {e}"))
}

/// Each log and the line that it prints as.
#[test]
fn logs_print_as_what_they_were() {
    let table = [
        // Poisoned TLP (mask 00400000): the completion of a read for an NVMe drive at 01:00.0.
        (
            [0x4a00_4010, 0x0000_0040, 0x0100_0000, 0xffff_ffff],
            "CplD 00:00.0 -> 01:00.0 tag 0x000 SC 64 B left 64 lower 0x00 poisoned",
        ),
        // Malformed TLP at a switch whose Max_Payload_Size had fallen back on reset: the drive at ab:00.0 kept its 512 bytes.
        ([0x6000_0080, 0xab00_00ff, 0x0000_0102, 0x276f_e000], "MWr64 ab:00.0 tag 0x000 addr 0x102276fe000 512 B"),
        ([0x6000_007a, 0xab00_00ff, 0x0000_0001, 0x629d_4318], "MWr64 ab:00.0 tag 0x000 addr 0x1629d4318 488 B"),
        // Malformed TLP at a root port, from a ConnectX-3 in reset.
        ([0x4a00_0001, 0x0100_0004, 0, 0], "CplD 01:00.0 -> 00:00.0 tag 0x000 SC 4 B left 4 lower 0x00"),
        // Unsupported Request: messages that a port was not ready for.
        ([0x3400_0000, 0x0500_0010, 0, 0x8845_8845], "Msg 05:00.0 LTR (0x10) local"),
        ([0x3400_0000, 0x0800_0052, 0, 0], "Msg 08:00.0 PTM_Request (0x52) local"),
        ([0x3400_0000, 0x0a00_0052, 0, 0], "Msg 0a:00.0 PTM_Request (0x52) local"),
        // ACS Violation: the requester ID is 0.
        ([0x3400_0000, 0x0000_0052, 0, 0], "Msg 00:00.0 PTM_Request (0x52) local"),
        // Unsupported Request: payload that an endpoint out of step sent as a header.
        ([0x32d0_6208, 0xffdd_6308, 0x0000_0014, 0x5000_6107], "Msg ff:1b.5 message 0x08 -> 00:00.0 tc 5 RO poisoned"),
    ];
    for (dws, line) in table {
        let header = decode(dws);
        assert_eq!(header.to_string(), line);
        let kept = if header.header_len() == 12 { 3 } else { 4 };
        assert_eq!(header.dws()[..kept], dws[..kept]);
    }
}

#[test]
fn fields_of_the_poisoned_completion() {
    let header = decode([0x4a00_4010, 0x0000_0040, 0x0100_0000, 0xffff_ffff]);
    assert_eq!((header.kind(), header.class(), header.route()), (Kind::CplD, Class::Completion, Route::Id));
    assert!(header.ep());
    assert_eq!((header.length_dw(), header.byte_count(), header.status()), (16, 64, Status::Successful));
    assert_eq!(header.target(), Bdf::new(1, 0, 0));
}

#[test]
fn writes_of_512_bytes_break_a_smaller_max_payload() {
    for (dws, payload) in [
        ([0x6000_0080, 0xab00_00ff, 0x0000_0102, 0x276f_e000], 512),
        ([0x6000_007a, 0xab00_00ff, 0x0000_0001, 0x629d_4318], 488),
    ] {
        let header = decode(dws);
        assert_eq!(header.check_max_payload(512), Ok(()));
        assert_eq!(header.check_max_payload(256), Err(Malformed::MaxPayload { payload, max: 256 }));
    }
}

#[test]
fn messages_keep_code_and_routing() {
    let header = decode([0x3400_0000, 0x0500_0010, 0, 0x8845_8845]);
    assert_eq!((header.message_code(), header.route()), (MessageCode::LTR, Route::Local));
    assert_eq!(header.dws()[3], 0x8845_8845);
}

/// What is no header: the zeros that a completion timeout logs, and payload of an endpoint out of step.
#[test]
fn what_is_no_header_has_a_reason() {
    assert_eq!(Header::from_dws([0; 4]), Err(Malformed::FirstBeZero { length_dw: 1024 }));
    assert_eq!(
        Header::from_dws([0xca61_5a08, 0x976f_5b08, 0x345a_6d08, 0x90ea_1ccd]),
        Err(Malformed::ReservedType { fmt_type: 0xca })
    );
}
