//! The virtual port: its context, GIDs, P_Keys, counters; and the special memory keys.

use super::*;
use crate::profile::PortState;

fn context(fields: &[(Field, u64)]) -> Vec<u8> {
    plain(Opcode::QUERY_HCA_VPORT_CONTEXT, 0, fields)
}

/// MODIFY_HCA_VPORT_CONTEXT with these fields of the context.
fn modify(fields: &[(Field, u64)]) -> Vec<u8> {
    let base = modify_hca_vport_context_in::HCA_VPORT_CONTEXT.bits();
    let fields: Vec<_> = fields.iter().map(|(field, value)| (field.within(base), *value)).collect();
    plain(Opcode::MODIFY_HCA_VPORT_CONTEXT, 0, &fields)
}

fn gid(index: u64) -> Vec<u8> {
    naming(Opcode::QUERY_HCA_VPORT_GID, 0, query_hca_vport_gid_in::GID_INDEX, index)
}

fn pkey_at(index: u64) -> Vec<u8> {
    naming(Opcode::QUERY_HCA_VPORT_PKEY, 0, query_hca_vport_pkey_in::PKEY_INDEX, index)
}

/// A field of the context as it is.
fn shown(machine: &mut Machine, field: Field) -> u64 {
    let answer = machine.ok(&context(&[]));
    field.within(query_hca_vport_context_out::HCA_VPORT_CONTEXT.bits()).get(&answer).expect("is there")
}

#[test]
fn cases() {
    use hca_vport_context as port;
    let all = [(port::CAP_MASK1, 0xffff_ffff), (port::CAP_MASK1_FIELD_SELECT, 0x1_0000)];
    #[rustfmt::skip]
    let cases = vec![
        ("context of port 1", context(&[(query_hca_vport_context_in::PORT_NUM, 1)]), Ok(())),
        ("context of port 2", context(&[(query_hca_vport_context_in::PORT_NUM, 2)]), Err(Failure::PORT)),
        ("context of another function", context(&[(query_hca_vport_context_in::OTHER_VPORT, 1)]), Err(Failure::OTHER_FUNCTION)),
        ("context of vport 1", context(&[(query_hca_vport_context_in::VPORT_NUMBER, 1)]), Err(Failure::OTHER_FUNCTION)),
        ("a user's context", naming(Opcode::QUERY_HCA_VPORT_CONTEXT, 1, query_hca_vport_context_in::PORT_NUM, 1), Ok(())),
        ("GID 0", gid(0), Ok(())),
        ("GID 7", gid(7), Ok(())),
        ("GID 8", gid(8), Err(Failure::GID_INDEX)),
        ("all GIDs", gid(0xffff), Ok(())),
        ("GID of port 3", naming(Opcode::QUERY_HCA_VPORT_GID, 0, query_hca_vport_gid_in::PORT_NUM, 3), Err(Failure::PORT)),
        ("GID of another function", naming(Opcode::QUERY_HCA_VPORT_GID, 0, query_hca_vport_gid_in::OTHER_VPORT, 1), Err(Failure::OTHER_FUNCTION)),
        ("P_Key 127", pkey_at(127), Ok(())),
        ("P_Key 128", pkey_at(128), Err(Failure::PKEY_INDEX)),
        ("all P_Keys", pkey_at(0xffff), Ok(())),
        ("P_Key of port 2", naming(Opcode::QUERY_HCA_VPORT_PKEY, 0, query_hca_vport_pkey_in::PORT_NUM, 2), Err(Failure::PORT)),
        ("P_Key of vport 9", naming(Opcode::QUERY_HCA_VPORT_PKEY, 0, query_hca_vport_pkey_in::VPORT_NUMBER, 9), Err(Failure::OTHER_FUNCTION)),
        ("counters", naming(Opcode::QUERY_VPORT_COUNTER, 1, query_vport_counter_in::CLEAR, 1), Ok(())),
        ("counters of port 2", naming(Opcode::QUERY_VPORT_COUNTER, 0, query_vport_counter_in::PORT_NUM, 2), Err(Failure::PORT)),
        ("counters of another function", naming(Opcode::QUERY_VPORT_COUNTER, 0, query_vport_counter_in::OTHER_VPORT, 1), Err(Failure::OTHER_FUNCTION)),
        ("set a capability", modify(&all), Ok(())),
        ("select nothing", modify(&all[..1]), Ok(())),
        ("select one that is fixed", modify(&[(port::CAP_MASK1_FIELD_SELECT, 0x2)]), Err(Failure::VPORT_CAP_MASK)),
        ("select of the second mask", modify(&[(port::CAP_MASK2_FIELD_SELECT, 0x1)]), Err(Failure::VPORT_CAP_MASK)),
        ("another port GUID", modify(&[(port::FIELD_SELECT, 1), (port::PORT_GUID, 5)]), Err(Failure::VPORT_FIELD)),
        ("another policy", modify(&[(port::FIELD_SELECT, 4)]), Err(Failure::VPORT_FIELD)),
        ("modify port 2", naming(Opcode::MODIFY_HCA_VPORT_CONTEXT, 0, modify_hca_vport_context_in::PORT_NUM, 2), Err(Failure::PORT)),
        ("modify another function", naming(Opcode::MODIFY_HCA_VPORT_CONTEXT, 0, modify_hca_vport_context_in::OTHER_VPORT, 1), Err(Failure::OTHER_FUNCTION)),
    ];
    let machine = in_state(State::Initialised);
    table(&machine, cases);
    for (bytes, needs) in
        [(gid(0), 16 + 16), (gid(0xffff), 16 + 8 * 16), (pkey_at(0), 16 + 4), (pkey_at(0xffff), 16 + 512)]
    {
        assert_eq!(machine.clone().run_with(&bytes, needs).0.status, Status::OK);
        assert_eq!(machine.clone().run_with(&bytes, needs - 1).0.syndrome, Failure::OUTPUT_TOO_SHORT.syndrome.0);
    }
}

#[test]
fn the_context_follows_the_port() {
    use hca_vport_context as port;
    let mut machine = in_state(State::Initialised);
    for (state, numbers) in [(PortState::Init, (2, 5)), (PortState::Down, (1, 2)), (PortState::Active, (4, 5))] {
        machine.firmware.set_port_state(state);
        let seen = (shown(&mut machine, port::VPORT_STATE), shown(&mut machine, port::PORT_PHYSICAL_STATE));
        assert_eq!(seen, numbers, "{state:?}");
        assert_eq!(shown(&mut machine, port::PORT_STATE), numbers.0);
    }
}

/// `set_port_caps_atomic` of Linux's mlx5_ib: ib_cm sets IB_PORT_CM_SUP when it finds a port, and clears it when it goes.
#[test]
fn ib_cm_sets_its_capability() {
    use hca_vport_context as port;
    const CM_SUP: u64 = 0x1_0000;
    let mut machine = in_state(State::Initialised);
    let before = shown(&mut machine, port::CAP_MASK1);
    assert_eq!((before, shown(&mut machine, port::CAP_MASK1_FIELD_SELECT) & CM_SUP), (0x0250_c848, CM_SUP));
    // The value has bits that aren't selected: `~clear | set`.
    machine.ok(&modify(&[(port::CAP_MASK1, 0xffff_ffff), (port::CAP_MASK1_FIELD_SELECT, CM_SUP)]));
    assert_eq!(shown(&mut machine, port::CAP_MASK1), before | CM_SUP);
    machine.ok(&modify(&[(port::CAP_MASK1, 0xffff_ffff & !CM_SUP), (port::CAP_MASK1_FIELD_SELECT, CM_SUP)]));
    assert_eq!(shown(&mut machine, port::CAP_MASK1), before);
}

#[test]
fn tables_of_several_entries() {
    let mut profile = small();
    profile.port.alias_guids = vec![0x11, 0x22];
    profile.port.pkeys = vec![0xffff, 0x7fff, 0x8001];
    profile.port.subnet_prefix = "fec0:0:0:1::".to_owned();
    profile.capabilities.general.insert("gid_table_size".to_owned(), CapabilityValue::One(1));
    profile.capabilities.general.insert("pkey_table_size".to_owned(), CapabilityValue::One(2));
    let mut machine = enabled_and_initialised(&profile);
    let answer = machine.ok(&gid(0xffff));
    assert_eq!(query_hca_vport_gid_out::GIDS_NUM.get(&answer), Ok(16));
    let all: Vec<u128> = (0..17)
        .map(|index| u128::from_be_bytes(answer[16 + 16 * index..][..16].try_into().expect("16 bytes")))
        .collect();
    let prefix = 0xfec0_0000_0000_0001_u128 << 64;
    assert_eq!(all[..4], [prefix | 0x0002_c903_00aa_bbcc, prefix | 0x11, prefix | 0x22, 0]);
    assert!(all[3..].iter().all(|gid| *gid == 0));
    for (index, expected) in all[..16].iter().enumerate() {
        let one = machine.ok(&gid(index as u64));
        assert_eq!((query_hca_vport_gid_out::GIDS_NUM.get(&one), &one[16..32]), (Ok(1), &expected.to_be_bytes()[..]));
    }
    let answer = machine.ok(&pkey_at(0xffff));
    let all: Vec<u64> =
        (0..512).map(|index| query_hca_vport_pkey_out::PKEY.get(&answer, index).expect("is there")).collect();
    assert_eq!(all[..4], [0xffff, 0x7fff, 0x8001, 0]);
    assert_eq!(machine.try_run(&pkey_at(512)), Err(Failure::PKEY_INDEX));
}

fn enabled_and_initialised(profile: &Profile) -> Machine {
    let mut machine = Machine::new(profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine
}

#[test]
fn special_keys_are_there_with_their_capabilities() {
    use query_special_contexts_out as out;
    let fields =
        [out::TERMINATE_SCATTER_LIST_MKEY, out::NULL_MKEY, out::DUMP_FILL_MKEY, out::RESD_LKEY, out::REPEATED_MKEY];
    let keys = |machine: &mut Machine| {
        let answer = machine.ok(&plain(Opcode::QUERY_SPECIAL_CONTEXTS, 0, &[]));
        fields.map(|field| field.get(&answer).expect("is there"))
    };
    assert_eq!(keys(&mut in_state(State::Initialised)), [0; 5]);
    let mut profile = small();
    for cap in ["terminate_scatter_list_mkey", "null_mkey", "dump_fill_mkey"] {
        profile.capabilities.general.insert(cap.to_owned(), CapabilityValue::One(1));
    }
    // The first is `MLX5_TERMINATE_SCATTER_LIST_LKEY` of Linux's `qp.h`.
    assert_eq!(keys(&mut enabled_and_initialised(&profile)), [0x100, 0x101, 0x102, 0, 0]);
}
