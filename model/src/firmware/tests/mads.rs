//! MAD_IFC: requests as Linux's mlx5_ib builds them (`init_query_mad`, `mad.c`), answers read at the offsets at which it reads.

use proptest::prelude::*;

use super::*;
use crate::profile::PortState;

const SMP: u8 = 0x01;
const SMP_DIRECTED: u8 = 0x81;
const PMA: u8 = 0x04;
/// Where the attribute's data are: 64 bytes into both kinds of MAD (`struct ib_smp`, `struct ib_pma_mad`).
const DATA: usize = 64;

/// A MAD: base version, class, class version, method, attribute, modifier. The transaction is 0x11223344.
fn mad(class: u8, method: u8, attribute: u16, modifier: u32) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[..4].copy_from_slice(&[1, class, 1, method]);
    bytes[12..16].copy_from_slice(&[0x11, 0x22, 0x33, 0x44]);
    bytes[16..18].copy_from_slice(&attribute.to_be_bytes());
    bytes[20..24].copy_from_slice(&modifier.to_be_bytes());
    bytes
}

/// MAD_IFC as the driver sends it: `op_mod` 3 (no key is checked), port 1.
fn mad_ifc(mad: &[u8]) -> Vec<u8> {
    let mut bytes = plain(Opcode::MAD_IFC, 0, &[(mbox_in::OP_MOD, 3), (mad_ifc_in::PORT, 1)]);
    bytes[16..].copy_from_slice(mad);
    bytes
}

/// The response to a MAD.
fn response(machine: &mut Machine, mad: &[u8]) -> Vec<u8> {
    let response = machine.ok(&mad_ifc(mad))[16..272].to_vec();
    assert_eq!((response[3], &response[8..24]), (mad[3] | 0x80, &mad[8..24]), "a response to this request");
    response
}

fn status(response: &[u8]) -> u16 {
    u16::from_be_bytes([response[4], response[5]])
}

/// The data of an attribute of subnet management.
fn get(machine: &mut Machine, attribute: u16, modifier: u32) -> Vec<u8> {
    let response = response(machine, &mad(SMP, 1, attribute, modifier));
    assert_eq!(status(&response), 0, "attribute {attribute:#x}, modifier {modifier:#x}");
    response[DATA..][..64].to_vec()
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"))
}

/// A machine whose port is unlike the default one wherever it can be.
fn machine() -> Machine {
    let mut profile = small();
    profile.port.lid = 0x1234;
    profile.port.lmc = 3;
    profile.port.sm_lid = 0x0567;
    profile.port.sm_sl = 9;
    profile.port.subnet_timeout = 17;
    profile.port.alias_guids = vec![0xa1, 0xa2];
    profile.port.pkeys = (1..=40).collect();
    profile.port.cap_mask2 = 0x0abc;
    profile.port.mtu = 2048;
    profile.port.virtual_lanes = 8;
    profile.device.system_image_guid = 0x51;
    profile.device.node_guid = 0x4e;
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine
}

/// Offsets as in `mlx5_query_mad_ifc_port` and its neighbours.
#[test]
fn what_mlx5_ib_reads_without_ib_virt() {
    let mut machine = machine();
    let info = get(&mut machine, 0x11, 0);
    assert_eq!((be64(&info[4..]), be64(&info[12..]), be64(&info[20..])), (0x51, 0x4e, 0x0002_c903_00aa_bbcc));
    assert_eq!((info[..4].to_vec(), &info[28..30]), (vec![1, 1, 1, 1], &[0, 128][..]), "one port, 128 P_Keys");
    assert_eq!((&info[30..32], info[36], &info[37..40]), (&[0xa2, 0xdc][..], 1, &[0x00, 0x02, 0xc9][..]));

    assert_eq!(get(&mut machine, 0x10, 0)[..10], *b"mlx5-twin\0");
    let port = get(&mut machine, 0x15, 1);
    assert_eq!(be64(&port[8..]), 0xfe80_0000_0000_0000, "prefix");
    assert_eq!(
        (&port[16..18], &port[18..20], &port[20..24]),
        (&[0x12, 0x34][..], &[0x05, 0x67][..], &[0x02, 0x50, 0xc8, 0x48][..])
    );
    assert_eq!((port[32] & 0xf, port[33] >> 4, port[34] & 7), (4, 5, 3), "active, link up, LMC");
    assert_eq!((port[31] & 0xf, port[35] >> 4, port[62] >> 4), (2, 4, 2), "4X; QDR, extended: EDR");
    assert_eq!((port[36] >> 4, port[41] & 0xf, port[36] & 0xf), (4, 5, 9), "MTU 2048 of 4096; SM's service level");
    assert_eq!((port[37] >> 4, port[50], port[51] & 0x1f, &port[60..62]), (4, 8, 17, &[0x0a, 0xbc][..]));
    assert_eq!(get(&mut machine, 0x15, 0), port, "modifier 0 is this port");

    let guids = get(&mut machine, 0x14, 0);
    let guids: Vec<u64> = guids.chunks(8).map(be64).collect();
    assert_eq!(guids, [0x0002_c903_00aa_bbcc, 0xa1, 0xa2, 0, 0, 0, 0, 0]);
    let pkeys = [0, 1, 3].map(|block| {
        let data = get(&mut machine, 0x16, block);
        data.chunks(2).map(|pkey| u16::from_be_bytes([pkey[0], pkey[1]])).collect::<Vec<_>>()
    });
    assert_eq!(pkeys[0], (1..=32).collect::<Vec<_>>());
    assert_eq!((&pkeys[1][..9], &pkeys[2]), (&[33, 34, 35, 36, 37, 38, 39, 40, 0][..], &vec![0; 32]));
}

/// The same by the layouts, and what both ways of asking tell must agree.
#[test]
fn a_mad_and_the_context_agree() {
    let mut machine = machine();
    for state in [PortState::Down, PortState::Init, PortState::Active] {
        machine.firmware.set_port_state(state);
        let info = get(&mut machine, 0x15, 1);
        let context = machine.ok(&plain(Opcode::QUERY_HCA_VPORT_CONTEXT, 0, &[]));
        let context = query_hca_vport_context_out::HCA_VPORT_CONTEXT.slice(&context).expect("is there");
        use hca_vport_context as of;
        use ib_port_info as ib;
        for (field, shift, mask, same) in [
            (ib::LID, 0, 0xffff, of::LID),
            (ib::SM_LID, 0, 0xffff, of::SM_LID),
            (ib::CAP_MASK, 0, 0xffff_ffff, of::CAP_MASK1),
            (ib::LINKSPEED_PORTSTATE, 0, 0xf, of::VPORT_STATE),
            (ib::PORTPHYSSTATE_LINKDOWN, 4, 0xf, of::PORT_PHYSICAL_STATE),
            (ib::MKEYPROT_RESV_LMC, 0, 7, of::LMC),
            (ib::NEIGHBORMTU_MASTERSMSL, 0, 0xf, of::SM_SL),
            (ib::CLIENTREREG_RESV_SUBNETTO, 0, 0x1f, of::SUBNET_TIMEOUT),
            (port_info_rest::CAP_MASK2, 0, 0xffff, of::CAP_MASK2),
        ] {
            let told = field.get(&info).expect("is there") >> shift & mask;
            assert_eq!(Ok(told), same.get(context), "{} when {state:?}", field.name);
        }
        assert_eq!(ib_port_info::LOCAL_PORT_NUM.get(&info), Ok(1));
    }
}

/// `process_mad` of Linux without the capability `vport_counters`.
#[test]
fn counters_by_mad() {
    let mut machine = machine();
    let info = response(&mut machine, &mad(PMA, 1, 0x01, 0));
    assert_eq!((status(&info), &info[DATA..DATA + 4]), (0, &[1, 1, 2, 0][..]), "64-bit counters are there");
    machine.firmware.set_port_state(PortState::Down);
    for (port, expected) in [(1, 0), (0xff, 0), (0, 0x1c), (2, 0x1c)] {
        for (attribute, downed) in [(0x12, 1), (0x1d, 0)] {
            let mut request = mad(PMA, 1, attribute, 0);
            request[DATA + 1] = port;
            let response = response(&mut machine, &request);
            assert_eq!(status(&response), expected, "port_select {port}");
            if expected == 0 {
                assert_eq!(
                    (response[DATA + 1], response[DATA + 7]),
                    (port, downed),
                    "port_select, link_downed_counter"
                );
            } else {
                assert_eq!(response[DATA..], request[DATA..], "sent back as it came");
            }
        }
    }
}

#[test]
fn what_an_agent_can_not_do_its_status_says() {
    let mut machine = machine();
    let versioned = |class_version| {
        let mut request = mad(SMP, 1, 0x15, 1);
        request[2] = class_version;
        request
    };
    #[rustfmt::skip]
    let cases = [
        ("PortInfo by directed route", mad(SMP_DIRECTED, 1, 0x15, 1), 0),
        ("PortInfo of port 2", mad(SMP, 1, 0x15, 2), 0x1c),
        ("GUIDInfo beyond the table", mad(SMP, 1, 0x14, 1), 0x1c),
        ("GUIDInfo far beyond the table", mad(SMP, 1, 0x14, u32::MAX), 0x1c),
        ("P_KeyTable beyond the table", mad(SMP, 1, 0x16, 4), 0x1c),
        ("P_KeyTable, port of a switch", mad(SMP, 1, 0x16, 0x1_0000), 0),
        ("another class version", versioned(2), 0x04),
        ("a class without agent", mad(0x21, 1, 0x01, 0), 0x04),
        ("a vendor's class", mad(0x09, 1, 0x01, 0), 0x04),
        ("Set of PortInfo", mad(SMP, 2, 0x15, 1), 0x0c),
        ("Get of SMInfo", mad(SMP, 1, 0x20, 0), 0x0c),
        ("Get of the vendor's ExtendedPortInfo", mad(SMP, 1, 0xff90, 1), 0x0c),
        ("Get of samples", mad(PMA, 1, 0x10, 0), 0x0c),
        ("TrapRepress", mad(SMP, 7, 0x02, 0), 0x08),
        ("Send", mad(PMA, 3, 0x12, 0), 0x08),
    ];
    for (what, request, expected) in cases {
        let response = response(&mut machine, &request);
        assert_eq!(status(&response), expected, "{what}");
        if expected != 0 {
            assert_eq!(response[24..], request[24..], "{what}: sent back as it came");
        }
    }
}

#[test]
fn what_is_no_request_is_refused() {
    let request = mad(SMP, 1, 0x15, 1);
    let changed = |at: usize, value: u8| {
        let mut bytes = mad_ifc(&request);
        bytes[at] = value;
        bytes
    };
    let with = |field: Field, value| {
        let mut bytes = mad_ifc(&request);
        field.set(&mut bytes, value).expect("fits");
        bytes
    };
    #[rustfmt::skip]
    let cases = vec![
        ("a request", mad_ifc(&request), Ok(())),
        ("base version 0", changed(16, 0), Err(Failure::MAD_VERSION)),
        ("OPA's base version", changed(16, 0x80), Err(Failure::MAD_VERSION)),
        ("a response", changed(19, 0x81), Err(Failure::MAD_RESPONSE)),
        ("port 0", with(mad_ifc_in::PORT, 0), Ok(())),
        ("port 2", with(mad_ifc_in::PORT, 2), Err(Failure::PORT)),
        ("a plane", with(mad_ifc_in::PLANE_INDEX, 1), Err(Failure::PORT_PLANE)),
        ("keys checked", with(mbox_in::OP_MOD, 0), Ok(())),
        ("no such op_mod", with(mbox_in::OP_MOD, 4), Err(Failure::OP_MOD)),
        ("a MAD that is cut off", mad_ifc(&request)[..271].to_vec(), Err(Failure::INPUT_TOO_SHORT)),
    ];
    table(&in_state(State::Initialised), cases);
    assert_eq!(Failure::MAD_VERSION.status, Status::BAD_PKT);
}

proptest! {
    /// Any MAD is answered by a response to it, or refused; nothing but Get of the port's own attributes succeeds.
    #[test]
    fn any_mad(
        start in prop::collection::vec(any::<u8>(), 24),
        plausible in prop::option::of((prop::sample::select(vec![SMP, PMA]), 0u8..8, 0u16..0x22, 0u32..6)),
    ) {
        let mut request = vec![0x5a; 256];
        request[..24].copy_from_slice(&start);
        if let Some((class, method, attribute, modifier)) = plausible {
            request[..24].copy_from_slice(&mad(class, method, attribute, modifier)[..24]);
        }
        let mut machine = machine();
        match machine.try_run(&mad_ifc(&request)) {
            Ok(output) => {
                let response = &output[16..272];
                prop_assert_eq!((&response[..3], response[3]), (&request[..3], request[3] | 0x80));
                prop_assert_eq!(&response[6..64], &request[6..64]);
                prop_assert!(status(response) != 0 || request[3] == 1);
                prop_assert!(status(response) == 0 || response[64..] == request[64..]);
            }
            Err(failure) => prop_assert!(failure == Failure::MAD_VERSION || failure == Failure::MAD_RESPONSE),
        }
    }
}
