//! ACCESS_REG, register by register.

use mlx5_twin_fw_cmds::constants::*;
use proptest::prelude::*;

use super::*;
use crate::profile::PortState;

/// A write of a register's bytes, or a read with these bytes in its place.
pub(super) fn access(op_mod: u16, id: u16, register: &[u8]) -> Vec<u8> {
    let fields = [(mbox_in::OP_MOD, op_mod.into()), (access_register_in::REGISTER_ID, id.into())];
    let mut bytes = command(Opcode::ACCESS_REG, 0, access_register_in::SIZE, &fields);
    bytes.extend_from_slice(register);
    bytes
}

/// A register's bytes with these fields set.
pub(super) fn register(size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (field, value) in fields {
        field.set(&mut bytes, *value).expect("fits");
    }
    bytes
}

pub(super) fn read(id: u16, size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    access(ACCESS_REGISTER_READ, id, &register(size, fields))
}

pub(super) fn write(id: u16, size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    access(ACCESS_REGISTER_WRITE, id, &register(size, fields))
}

/// What a register says, with these fields sent in its place.
pub(super) fn contents(machine: &mut Machine, id: u16, size: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let answer = machine.ok(&read(id, size, fields));
    answer[access_register_out::SIZE..][..size].to_vec()
}

fn number(machine: &mut Machine, id: u16, size: usize, field: Field) -> u64 {
    field.get(&contents(machine, id, size, &[])).expect("is there")
}

/// Every register: id, bytes (from `mlx5_ifc.h`), can be read, can be written.
const ALL: &[(u16, usize, bool, bool)] = &[
    (0x4019, 72, true, false),
    (0x5003, 16, true, false),
    (0x5004, 64, true, false),
    (0x5006, 16, true, true),
    (0x5008, 256, true, false),
    (0x500f, 16, true, false),
    (0x507f, 80, true, false),
    (0x6001, 64, true, true),
    (0x7004, 16, false, true),
    (0x907f, 72, true, false),
    (0xc00e, 64, true, false),
];

fn gates(value: u64) -> Profile {
    let mut profile = small();
    for gate in ["qcam_reg", "pcam_reg", "mcam_reg"] {
        profile.capabilities.general.insert(gate.to_owned(), CapabilityValue::One(value));
    }
    profile
}

fn enabled(profile: &Profile) -> Machine {
    let mut machine = Machine::new(profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine
}

#[test]
fn every_register_by_access_and_length() {
    let machine = enabled(&gates(1));
    for &(id, size, can_read, can_write) in ALL {
        let grp = if id == 0x5008 { vec![(ppcnt_reg::GRP, 0x20)] } else { vec![] };
        for (bytes, can) in [(read(id, size, &grp), can_read), (write(id, size, &[]), can_write)] {
            let outcome = machine.clone().try_run(&bytes).map(drop);
            assert_eq!(outcome, if can { Ok(()) } else { Err(Failure::REGISTER_ACCESS) }, "{id:#x}");
            let short = machine.clone().try_run(&bytes[..bytes.len() - 1]).map(drop);
            assert_eq!(short, Err(Failure::INPUT_TOO_SHORT), "{id:#x} with {} bytes", size - 1);
            let (executed, _) = machine.clone().run_with(&bytes, access_register_out::SIZE + size - 1);
            assert_eq!(executed.syndrome, Failure::OUTPUT_TOO_SHORT.syndrome.0, "{id:#x}");
            if can {
                let (executed, _) = machine.clone().run_with(&bytes, access_register_out::SIZE + size);
                assert_eq!(executed.status, Status::OK, "{id:#x}: exactly enough room");
            }
        }
    }
    for id in 0..=u16::MAX {
        let known = ALL.iter().any(|row| row.0 == id);
        let outcome = machine.clone().firmware.execute(&read(id, 256, &[]), &mut [0; 16], &mut Boxes::default());
        assert_eq!(outcome.syndrome != Failure::REGISTER.syndrome.0, known, "{id:#x}");
    }
}

#[test]
fn registers_of_a_capability_are_there_with_it() {
    let (mut without, mut with) = (enabled(&gates(0)), enabled(&gates(1)));
    for (id, size) in [(REG_QCAM, qcam_reg::SIZE), (REG_PCAM, pcam_reg::SIZE), (REG_MCAM, mcam_reg::SIZE)] {
        assert_eq!(without.try_run(&read(id, size, &[])), Err(Failure::REGISTER), "{id:#x}");
        contents(&mut with, id, size, &[]);
    }
    let mask = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("16 bytes"));
    let pcam = contents(&mut with, REG_PCAM, pcam_reg::SIZE, &[]);
    let ports = mask(pcam_reg::PORT_ACCESS_REG_CAP_MASK.slice(&pcam).expect("is there"));
    assert_eq!(ports, 1 << 0x03 | 1 << 0x04 | 1 << 0x06 | 1 << 0x08 | 1 << 0x0f, "PMTU, PTYS, PAOS, PPCNT, PVLC");
    // `ppcnt` of `mlx5_ifc_pcam_regs_5000_to_507f_bits` is bit 0x77 from the front: the last one of byte 14.
    assert_eq!(pcam[8 + 14] & 1, 1);
    for group in 0..4 {
        let mcam = contents(&mut with, REG_MCAM, mcam_reg::SIZE, &[(mcam_reg::ACCESS_REG_GROUP, group)]);
        assert_eq!(mcam_reg::ACCESS_REG_GROUP.get(&mcam), Ok(group));
        assert!(mcam[4..].iter().all(|byte| *byte == 0), "no management registers");
    }
    #[rustfmt::skip]
    let cases = vec![
        ("MCAM, group 4", read(REG_MCAM, mcam_reg::SIZE, &[(mcam_reg::ACCESS_REG_GROUP, 4)]), Err(Failure::REGISTER_GROUP)),
        ("PCAM, group 1", read(REG_PCAM, pcam_reg::SIZE, &[(pcam_reg::ACCESS_REG_GROUP, 1)]), Err(Failure::REGISTER_GROUP)),
        ("QCAM, features 1", read(REG_QCAM, qcam_reg::SIZE, &[(qcam_reg::FEATURE_GROUP, 1)]), Err(Failure::REGISTER_GROUP)),
    ];
    table(&with, cases);
}

#[test]
fn ports_and_planes() {
    #[rustfmt::skip]
    let cases = vec![
        ("PTYS of port 0", read(REG_PTYS, 64, &[]), Ok(())),
        ("PTYS of port 1", read(REG_PTYS, 64, &[(ptys_reg::LOCAL_PORT, 1)]), Ok(())),
        ("PTYS of port 2", read(REG_PTYS, 64, &[(ptys_reg::LOCAL_PORT, 2)]), Err(Failure::PORT)),
        ("PTYS of a plane", read(REG_PTYS, 64, &[(ptys_reg::PLANE_IND, 1)]), Err(Failure::PORT_PLANE)),
        ("PMTU of port 2", read(REG_PMTU, 16, &[(pmtu_reg::LOCAL_PORT, 2)]), Err(Failure::PORT)),
        ("PVLC of port 255", read(REG_PVLC, 16, &[(pvlc_reg::LOCAL_PORT, 255)]), Err(Failure::PORT)),
        ("PAOS of port 2", read(REG_PAOS, 16, &[(paos_reg::LOCAL_PORT, 2)]), Err(Failure::PORT)),
        ("set PAOS of port 2", write(REG_PAOS, 16, &[(paos_reg::LOCAL_PORT, 2), (paos_reg::ASE, 1), (paos_reg::ADMIN_STATUS, 2)]), Err(Failure::PORT)),
        ("set PAOS to 3", write(REG_PAOS, 16, &[(paos_reg::ASE, 1), (paos_reg::ADMIN_STATUS, 3)]), Err(Failure::REGISTER_VALUE)),
        ("PPCNT of port 2", read(REG_PPCNT, 256, &[(ppcnt_reg::LOCAL_PORT, 2), (ppcnt_reg::GRP, 0x20)]), Err(Failure::PORT)),
        ("PPCNT of a plane", read(REG_PPCNT, 256, &[(ppcnt_reg::PLANE_IND, 3), (ppcnt_reg::GRP, 0x20)]), Err(Failure::PORT_PLANE)),
        ("PPCNT, InfiniBand", read(REG_PPCNT, 256, &[(ppcnt_reg::GRP, 0x20)]), Ok(())),
        ("PPCNT, InfiniBand extended", read(REG_PPCNT, 256, &[(ppcnt_reg::GRP, 0x21)]), Ok(())),
        ("PPCNT, IEEE 802.3", read(REG_PPCNT, 256, &[]), Err(Failure::COUNTER_GROUP)),
        ("PPCNT, physical layer", read(REG_PPCNT, 256, &[(ppcnt_reg::GRP, 0x12)]), Err(Failure::COUNTER_GROUP)),
        ("a user", naming(Opcode::ACCESS_REG, 1, access_register_in::REGISTER_ID, 0x6001), Err(Failure::DRIVER_ONLY)),
    ];
    table(&in_state(State::Initialised), cases);
}

/// The values that Linux's mlx5_ib takes for a port of 4X EDR.
#[test]
fn an_edr_port() {
    let mut machine = in_state(State::Initialised);
    let ptys = contents(&mut machine, REG_PTYS, 64, &[(ptys_reg::LOCAL_PORT, 1), (ptys_reg::PROTO_MASK, 1)]);
    let [width, speed] = [ptys_reg::IB_LINK_WIDTH_OPER, ptys_reg::IB_PROTO_OPER].map(|field| field.get(&ptys));
    assert_eq!((width, speed), (Ok(4), Ok(0x20)), "MLX5_PTYS_WIDTH_4X, IB_SPEED_EDR");
    assert_eq!(ptys_reg::IB_PROTO_CAPABILITY.get(&ptys), Ok(0x3f));
    let ethernet = contents(&mut machine, REG_PTYS, 64, &[(ptys_reg::PROTO_MASK, 4)]);
    assert!(ethernet[4..].iter().all(|byte| *byte == 0), "no Ethernet modes");
    let mtu = contents(&mut machine, REG_PMTU, 16, &[]);
    assert_eq!([pmtu_reg::MAX_MTU, pmtu_reg::OPER_MTU].map(|field| field.get(&mtu)), [Ok(4096), Ok(4096)]);
    assert_eq!(number(&mut machine, REG_PVLC, 16, pvlc_reg::VL_HW_CAP), 4);
    let dtor = contents(&mut machine, REG_DTOR, 64, &[]);
    let reclaim = default_timeout::TO_VALUE.within(dtor_reg::RECLAIM_PAGES_TO.bits());
    assert_eq!(reclaim.get(&dtor), Ok(5000));
    for desc in dtor_reg::LAYOUT.fields {
        assert_ne!(dtor[desc.offset as usize / 8..][..4], [0; 4], "{}: 0 would be no patience at all", desc.name);
    }
}

#[test]
fn a_port_goes_down_and_up() {
    let mut machine = in_state(State::Initialised);
    let oper = |machine: &mut Machine| number(machine, REG_PAOS, 16, paos_reg::OPER_STATUS);
    let downed = |machine: &mut Machine, clear| {
        let fields = [(ppcnt_reg::GRP, 0x20), (ppcnt_reg::CLR, clear)];
        let counters = contents(machine, REG_PPCNT, 256, &fields);
        let field = ib_port_cntrs_grp_data_layout::LINK_DOWNED_COUNTER.within(ppcnt_reg::COUNTER_SET.bits());
        field.get(&counters).expect("is there")
    };
    let admin = |status| write(REG_PAOS, 16, &[(paos_reg::ASE, 1), (paos_reg::ADMIN_STATUS, status)]);
    let effect = |machine: &mut Machine, bytes: &[u8]| machine.run(bytes).0.effect;

    assert_eq!(oper(&mut machine), 1);
    let without_ase = write(REG_PAOS, 16, &[(paos_reg::ADMIN_STATUS, 2)]);
    assert_eq!(effect(&mut machine, &without_ase), Effect::None);
    assert_eq!(effect(&mut machine, &admin(2)), Effect::PortChanged(PortState::Down));
    assert_eq!(effect(&mut machine, &admin(2)), Effect::None, "it is down");
    assert_eq!((oper(&mut machine), number(&mut machine, REG_PAOS, 16, paos_reg::ADMIN_STATUS)), (2, 2));
    assert_eq!(machine.firmware.set_port_state(PortState::Init), None, "the driver doesn't want it up");
    assert_eq!(effect(&mut machine, &admin(1)), Effect::PortChanged(PortState::Init));
    assert_eq!(machine.firmware.set_port_state(PortState::Active), Some(PortState::Active));
    assert_eq!(machine.firmware.set_port_state(PortState::Active), None);
    assert_eq!(machine.firmware.set_port_state(PortState::Down), Some(PortState::Down));
    let ptys = contents(&mut machine, REG_PTYS, 64, &[(ptys_reg::PROTO_MASK, 1)]);
    let oper = [ptys_reg::IB_LINK_WIDTH_OPER, ptys_reg::IB_PROTO_OPER].map(|field| field.get(&ptys));
    assert_eq!(oper, [Ok(1), Ok(1)], "1X SDR without a link");
    assert_eq!([0, 1, 0].map(|clear| downed(&mut machine, clear)), [2, 2, 0], "read, read and cleared, read");

    // What the driver set goes with its reset, the link stays as it is.
    machine.ok(&admin(2));
    machine.firmware.set_port_state(PortState::Init);
    machine.firmware.reset(&mut machine.boxes);
    assert_eq!(machine.firmware.port().state(), PortState::Init);
}

proptest! {
    /// What was written is read, up to the next reset.
    #[test]
    fn a_node_description_is_what_was_written(text in prop::collection::vec(any::<u8>(), 64)) {
        let mut machine = in_state(State::Enabled);
        let before = contents(&mut machine, REG_NODE_DESC, 64, &[]);
        prop_assert_eq!(&before[..10], b"mlx5-twin\0");
        machine.ok(&access(ACCESS_REGISTER_WRITE, REG_NODE_DESC, &text));
        prop_assert_eq!(contents(&mut machine, REG_NODE_DESC, 64, &[]), text);
        machine.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
        machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
        prop_assert_eq!(contents(&mut machine, REG_NODE_DESC, 64, &[]), before);
    }
}
