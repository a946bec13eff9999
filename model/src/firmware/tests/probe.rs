//! The order in which Linux 7.3.4 drives a function, as observed on a function of this profile:
//! mlx5_core's probe, the objects that mlx5_ib makes up to uverbs0, one user context with a verbs program in
//! it, unload.

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::transport::ServiceType;

use super::*;
use crate::profile::PagesWanted;

fn query_cap(uid: u16, cap_type: CapType, mode: CapMode) -> Vec<u8> {
    plain(Opcode::QUERY_HCA_CAP, uid, &[(query_hca_cap_in::OP_MOD, cap_type.op_mod(mode).into())])
}

/// Sets a page to the values in force, after a change.
fn set_cap(machine: &mut Machine, cap_type: CapType, change: &[(Field, u64)]) {
    let current = machine.ok(&query_cap(0, cap_type, CapMode::Current));
    let mut set = plain(Opcode::SET_HCA_CAP, 0, &[(set_hca_cap_in::OP_MOD, cap_type.op_mod(CapMode::Max).into())]);
    set[16..].copy_from_slice(&current[16..]);
    for (field, value) in change {
        field.set(&mut set[16..], *value).expect("fits");
    }
    machine.ok(&set);
    let after = machine.ok(&query_cap(0, cap_type, CapMode::Current));
    assert_eq!(after[16..], set[16..], "CUR is what was set");
}

/// Reads a register of the port as the driver does, and checks the values of `required`.
fn read_register(machine: &mut Machine, id: u64, size: usize, sent: &[(Field, u64)], required: &[(Field, u64)]) {
    let base = access_register_in::SIZE as u32 * 8;
    let header = [(access_register_in::OP_MOD, 1), (access_register_in::REGISTER_ID, id)];
    let mut bytes = command(Opcode::ACCESS_REG, 0, access_register_in::SIZE + size, &header);
    for (field, value) in sent {
        field.within(base).set(&mut bytes, *value).expect("fits");
    }
    let (executed, answer) = machine.run_with(&bytes, access_register_out::SIZE + size);
    assert_eq!(executed.status, Status::OK, "register {id:#x}");
    for (field, value) in required {
        assert_eq!(field.within(base).get(&answer), Ok(*value), "{} of register {id:#x}", field.name);
    }
}

/// What mlx5_ib asks of its port from its probe to uverbs0, in number and kind (762 x8, 805, 764 x8, 765 x130), and the values
/// without which it doesn't register (`ib/main.c`).
fn port_of_mlx5_ib(machine: &mut Machine) {
    use hca_vport_context as port;
    for _ in 0..8 {
        let answer = machine.run_with(&plain(Opcode::QUERY_HCA_VPORT_CONTEXT, 0, &[]), 528).1;
        let context = query_hca_vport_context_out::HCA_VPORT_CONTEXT.slice(&answer).expect("is there");
        for (field, value) in [
            (port::FIELD_SELECT, 0),
            (port::HAS_SMI, 0),
            (port::NUM_PORT_PLANE, 0),
            (port::VPORT_STATE, 4),
            (port::PORT_PHYSICAL_STATE, 5),
            (port::NODE_GUID, 0x0002_c903_00aa_bbcc),
            (port::SYSTEM_IMAGE_GUID, 0x0002_c903_00aa_bbcc),
            (port::CAP_MASK1, 0x0250_c848),
            (port::CAP_MASK1_FIELD_SELECT, 0x1_0000),
            (port::LID, 1),
            (port::SM_LID, 1),
        ] {
            assert_eq!(field.get(context), Ok(value), "{}", field.name);
        }
    }
    let special = machine.ok(&plain(Opcode::QUERY_SPECIAL_CONTEXTS, 0, &[]));
    assert_eq!(query_special_contexts_out::TERMINATE_SCATTER_LIST_MKEY.get(&special), Ok(0x100));
    read_register(
        machine,
        0x6001,
        64,
        &[],
        &[(Field { layout: "set_node_in", name: "start", offset: 0, width: 64 }, u64::from_be_bytes(*b"mlx5-twi"))],
    );
    for _ in 0..4 {
        let asked = [(ptys_reg::LOCAL_PORT, 1), (ptys_reg::PROTO_MASK, 1)];
        let told = [(ptys_reg::IB_LINK_WIDTH_OPER, 4), (ptys_reg::IB_PROTO_OPER, 0x20)];
        read_register(machine, 0x5004, 64, &asked, &told);
        for told in [pmtu_reg::MAX_MTU, pmtu_reg::OPER_MTU] {
            read_register(machine, 0x5003, 16, &[(pmtu_reg::LOCAL_PORT, 1)], &[(told, 4096)]);
        }
        // 1, 2, 4, 8 or 15, or the probe fails.
        read_register(machine, 0x500f, 16, &[(pvlc_reg::LOCAL_PORT, 1)], &[(pvlc_reg::VL_HW_CAP, 4)]);
    }
    for index in 0..8 {
        let query = plain(Opcode::QUERY_HCA_VPORT_GID, 0, &[(query_hca_vport_gid_in::GID_INDEX, index)]);
        let answer = machine.run_with(&query, 32).1;
        let gid = u128::from_be_bytes(answer[16..32].try_into().expect("16 bytes"));
        assert_eq!(gid, if index == 0 { 0xfe80_0000_0000_0000_0002_c903_00aa_bbcc } else { 0 }, "GID {index}");
    }
    for index in (0..128).chain([0, 1]) {
        let query = plain(Opcode::QUERY_HCA_VPORT_PKEY, 0, &[(query_hca_vport_pkey_in::PKEY_INDEX, index)]);
        let answer = machine.run_with(&query, 20).1;
        let pkey = query_hca_vport_pkey_out::PKEY.get(&answer, 0);
        assert_eq!(pkey, Ok(if index == 0 { 0xffff } else { 0 }), "P_Key {index}");
    }
    // sysfs, later: the port's counters.
    machine.ok(&plain(Opcode::QUERY_VPORT_COUNTER, 0, &[]));
}

/// Gives as many pages as the stage asks for.
fn give_pages(machine: &mut Machine, op_mod: u64, base: u64) -> u32 {
    let query = plain(Opcode::QUERY_PAGES, 0, &[(query_pages_in::OP_MOD, op_mod)]);
    let wanted = machine.number(&query, query_pages_out::NUM_PAGES);
    if wanted > 0 {
        let pages: Vec<u64> = (0..u64::from(wanted)).map(|page| base + page * 4096).collect();
        machine.ok(&manage_pages(1, wanted, &pages));
    }
    wanted
}

/// A key to all memory.
fn all_memory(pd: u32) -> Vec<u8> {
    with(
        create_mkey(0, pd, &[]),
        &[(mkc_in(mkc::ACCESS_MODE_1_0), 0), (mkc_in(mkc::LENGTH64), 1), (mkc_in(mkc::LW), 1)],
    )
}

/// A management QP from RST to RTS, with what Linux writes for one.
fn bring_up(machine: &mut Machine, qpn: u32) {
    let port = (ads::VHCA_PORT_NUM.within(qpc::PRIMARY_ADDRESS_PATH.bits()), 1);
    let always = [(qpc::PM_STATE, 3), (qpc::MTU, 1), (qpc::LOG_MSG_MAX, 8), port, (qpc::Q_KEY, 0x8001_0000)];
    for opcode in [Opcode::RST2INIT_QP, Opcode::INIT2RTR_QP, Opcode::RTR2RTS_QP] {
        machine.ok(&transition(opcode, 0, qpn, 0, &always));
    }
    let answer = machine.ok(&plain(Opcode::QUERY_QP, 0, &[(query_qp_in::QPN, qpn.into())]));
    assert_eq!(qpc::STATE.within(query_qp_out::QPC.bits()).get(&answer), Ok(3));
}

/// What a verbs program makes in its user context, and unmakes: domains, a key, queues, a QP to RTS.
fn verbs_program(machine: &mut Machine, uid: u16, eqn: u32) {
    let td =
        machine.number(&plain(Opcode::ALLOC_TRANSPORT_DOMAIN, uid, &[]), alloc_transport_domain_out::TRANSPORT_DOMAIN);
    let uar = machine.number(&plain(Opcode::ALLOC_UAR, uid, &[]), alloc_uar_out::UAR);
    let pd = machine.number(&plain(Opcode::ALLOC_PD, uid, &[]), alloc_pd_out::PD);
    // The kernel makes keys as its own (uid 0), in the user's domain.
    let key = machine.number(&create_mkey(0, pd, &[0x1_0000_0003; 16]), create_mkey_out::MKEY_INDEX);
    let cqn = machine.number(&create_cq(uid, uar, eqn), create_cq_out::CQN);
    let rmpn = machine.number(&create_rmp(uid, pd), create_rmp_out::RMPN);
    let uses = QpUses { pd, uar, cq_send: cqn, cq_receive: cqn };
    let qpn = machine.number(&shared(create_qp(uid, ServiceType::RC, uses), rmpn), create_qp_out::QPN);
    for (opcode, fields) in [
        (Opcode::RST2INIT_QP, vec![(qpc::RWE, 1)]),
        (Opcode::INIT2RTR_QP, vec![(qpc::MTU, 5), (qpc::LOG_MSG_MAX, 30), (qpc::REMOTE_QPN, qpn.into())]),
        (Opcode::RTR2RTS_QP, vec![(qpc::RETRY_COUNT, 7)]),
    ] {
        machine.ok(&transition(opcode, uid, qpn, 0, &fields));
    }
    // The kernel asks without a uid.
    machine.ok(&plain(Opcode::QUERY_QP, 0, &[(query_qp_in::QPN, qpn.into())]));
    for (opcode, uid, field, id) in [
        (Opcode::_2RST_QP, uid, qp_2rst_in::QPN, qpn),
        (Opcode::DESTROY_QP, uid, destroy_qp_in::QPN, qpn),
        (Opcode::DESTROY_RMP, uid, destroy_rmp_in::RMPN, rmpn),
        (Opcode::DESTROY_CQ, uid, destroy_cq_in::CQN, cqn),
        (Opcode::DESTROY_MKEY, 0, destroy_mkey_in::MKEY_INDEX, key),
        (Opcode::DEALLOC_PD, uid, dealloc_pd_in::PD, pd),
        (Opcode::DEALLOC_UAR, uid, dealloc_uar_in::UAR, uar),
        (Opcode::DEALLOC_TRANSPORT_DOMAIN, uid, dealloc_transport_domain_in::TRANSPORT_DOMAIN, td),
    ] {
        machine.ok(&plain(opcode, uid, &[(field, id.into())]));
    }
}

fn probe_and_remove(machine: &mut Machine) {
    // mlx5_core: function_setup.
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    let issi = machine.ok(&plain(Opcode::QUERY_ISSI, 0, &[]));
    assert_eq!(query_issi_out::SUPPORTED_ISSI_DW0.get(&issi), Ok(1 << 1));
    machine.ok(&plain(Opcode::SET_ISSI, 0, &[(set_issi_in::CURRENT_ISSI, 1)]));
    let boot = give_pages(machine, 1, 0x10_0000);
    machine.ok(&command(Opcode::ACCESS_REG, 0, 32, &[(access_register_in::REGISTER_ID, 0x7004)]));
    machine.ok(&query_cap(0, CapType::GENERAL, CapMode::Current));
    machine.ok(&query_cap(0, CapType::GENERAL, CapMode::Max));
    set_cap(machine, CapType::GENERAL, &[]);
    machine.ok(&query_cap(0, CapType::ATOMIC, CapMode::Current));
    machine.ok(&query_cap(0, CapType::ATOMIC, CapMode::Max));
    set_cap(machine, CapType::ATOMIC, &[(atomic_caps::ATOMIC_REQ_8B_ENDIANNESS_MODE, 1)]);
    let init = give_pages(machine, 2, 0x20_0000);
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    for cap_type in
        [CapType::GENERAL, CapType::ATOMIC, CapType::VDPA_EMULATION, CapType::DEV_EVENT, CapType::TLP_EMULATION]
    {
        machine.ok(&query_cap(0, cap_type, CapMode::Current));
    }
    let adapter = machine.ok(&plain(Opcode::QUERY_ADAPTER, 0, &[]));
    assert_eq!(adapter[0x29..0x2c], [0x00, 0x02, 0xc9], "ieee_vendor_id");
    assert_eq!(adapter[0x100..0x110], *b"TWIN000000001\0\0\0", "vsd_contd_psid");

    // mlx5_core: load.
    let uar = machine.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
    assert_eq!(uar, 0x100);
    let command_eq = machine.number(&create_eq(0, 8, uar, 0, 0x400), create_eq_out::EQ_NUMBER);
    let async_eq = machine.number(&create_eq(0, 13, uar, 0, 0x1f02be), create_eq_out::EQ_NUMBER);
    let resources = machine.firmware.resources();
    let for_commands: Vec<_> = resources.eqs_for_event(EventType::CMD).map(|(eqn, _)| u32::from(eqn)).collect();
    assert_eq!(for_commands, [command_eq]);

    // mlx5_ib: its port, and its objects up to uverbs0.
    port_of_mlx5_ib(machine);
    let xrcds = [(); 2].map(|()| machine.number(&plain(Opcode::ALLOC_XRCD, 0, &[]), alloc_xrcd_out::XRCD));
    let user_uar = machine.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
    let whitelist = machine.number(&plain(Opcode::CREATE_UCTX, 0, &[]), create_uctx_out::UID);
    let completion_eq = machine.number(&create_eq(0xffff, 11, uar, 1, 0), create_eq_out::EQ_NUMBER);
    // ib_mad's domain, that of mlx5_ib's own resources, and that of its memory registration.
    let pds = [(); 3].map(|()| machine.number(&plain(Opcode::ALLOC_PD, 0, &[]), alloc_pd_out::PD));
    let mkeys = pds.map(|pd| machine.number(&all_memory(pd), create_mkey_out::MKEY_INDEX));
    let cqs = [(); 3].map(|()| machine.number(&create_cq(0, user_uar, completion_eq), create_cq_out::CQN));
    let srqn = machine.number(&create_xrc_srq(0, pds[1], xrcds[0], cqs[1]), create_xrc_srq_out::XRC_SRQN);
    let rmpn = machine.number(&create_rmp(0, pds[1]), create_rmp_out::RMPN);
    let qps = [ServiceType::QP0, ServiceType::QP1].map(|service| {
        let uses = QpUses { pd: pds[0], uar: user_uar, cq_send: cqs[0], cq_receive: cqs[2] };
        // As Linux writes it: of what is not used, the numbers of its own.
        let unused = [(qpc_in(qpc::SRQN_RMPN_XRQN), rmpn.into()), (qpc_in(qpc::XRCD), xrcds[1].into())];
        machine.number(&with(create_qp(0, service, uses), &unused), create_qp_out::QPN)
    });
    assert!(qps.iter().all(|qpn| (0x40..0xff_ffff).contains(qpn)));
    for qpn in qps {
        bring_up(machine, qpn);
    }

    // A user context.
    let uid = machine.number(&plain(Opcode::CREATE_UCTX, 0, &[]), create_uctx_out::UID) as u16;
    machine.ok(&query_cap(uid, CapType::GENERAL, CapMode::Current));
    machine.ok(&query_cap(uid, CapType::ATOMIC, CapMode::Current));
    machine.ok(&plain(Opcode::QUERY_ADAPTER, uid, &[]));
    machine.ok(&plain(Opcode::QUERY_EQ, uid, &[(query_eq_in::EQ_NUMBER, completion_eq.into())]));
    verbs_program(machine, uid, completion_eq);
    machine.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, uid.into())]));
    machine.check();

    // Unload.
    for qpn in qps {
        machine.ok(&plain(Opcode::_2RST_QP, 0, &[(qp_2rst_in::QPN, qpn.into())]));
        machine.ok(&plain(Opcode::DESTROY_QP, 0, &[(destroy_qp_in::QPN, qpn.into())]));
    }
    machine.ok(&plain(Opcode::DESTROY_RMP, 0, &[(destroy_rmp_in::RMPN, rmpn.into())]));
    machine.ok(&plain(Opcode::DESTROY_XRC_SRQ, 0, &[(destroy_xrc_srq_in::XRC_SRQN, srqn.into())]));
    for cqn in cqs {
        machine.ok(&plain(Opcode::DESTROY_CQ, 0, &[(destroy_cq_in::CQN, cqn.into())]));
    }
    for index in mkeys {
        machine.ok(&plain(Opcode::DESTROY_MKEY, 0, &[(destroy_mkey_in::MKEY_INDEX, index.into())]));
    }
    for pd in pds {
        machine.ok(&plain(Opcode::DEALLOC_PD, 0, &[(dealloc_pd_in::PD, pd.into())]));
    }
    machine.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, whitelist.into())]));
    for xrcd in xrcds {
        machine.ok(&plain(Opcode::DEALLOC_XRCD, 0, &[(dealloc_xrcd_in::XRCD, xrcd.into())]));
    }
    machine.ok(&plain(Opcode::DEALLOC_UAR, 0, &[(dealloc_uar_in::UAR, user_uar.into())]));
    for eqn in [completion_eq, async_eq, command_eq] {
        machine.ok(&plain(Opcode::DESTROY_EQ, 0, &[(destroy_eq_in::EQ_NUMBER, eqn.into())]));
    }
    machine.ok(&plain(Opcode::DEALLOC_UAR, 0, &[(dealloc_uar_in::UAR, uar.into())]));
    let left = Balance { pages_given: (boot + init) as usize, ..Balance::default() };
    assert_eq!(machine.balance(), left, "the driver destroyed all it made");
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    while machine.balance().pages_given > 0 {
        let taken = machine.ok(&manage_pages(2, 5, &[]));
        let number = manage_pages_out::OUTPUT_NUM_ENTRIES.get(&taken).expect("is there");
        assert!((1..=5).contains(&number));
    }
    machine.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
}

fn default_profile() -> Profile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/profiles/bluefield3-ib.toml");
    let text = std::fs::read_to_string(path).expect("the default profile can be read");
    toml::from_str(&text).expect("the default profile fits")
}

#[test]
fn linux_probes_and_removes_again_and_again() {
    let mut machine = Machine::new(&default_profile());
    let atomic = |machine: &Machine| {
        let page = machine.firmware.capabilities().page(CapType::ATOMIC, CapMode::Current);
        page.map(<[u8]>::to_vec)
    };
    let fresh = atomic(&machine);
    for _ in 0..3 {
        probe_and_remove(&mut machine);
        assert_eq!(atomic(&machine), fresh, "the capabilities are those of the profile again");
    }
}

#[test]
fn linux_gives_pages_and_takes_them_back() {
    let mut profile = default_profile();
    profile.pages = PagesWanted { boot: 3, init: 9, ..PagesWanted::default() };
    let mut machine = Machine::new(&profile);
    for _ in 0..2 {
        probe_and_remove(&mut machine);
    }
}

#[test]
fn a_reset_at_any_point_is_a_fresh_start() {
    let mut machine = Machine::new(&default_profile());
    machine.firmware.reset(&mut machine.boxes);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.firmware.reset(&mut machine.boxes);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine.ok(&plain(Opcode::CREATE_UCTX, 0, &[]));
    machine.ok(&object(Opcode::CREATE_GENERAL_OBJECT, 1, 0, 0, 0));
    machine.firmware.reset(&mut machine.boxes);
    machine.check();
    assert_eq!((machine.firmware.state(), machine.boxes.boxes.len()), (State::Disabled, 0));
    probe_and_remove(&mut machine);
}
