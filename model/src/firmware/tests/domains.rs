//! Transport domains, XRC domains, multicast groups.

use mlx5_twin_fw_cmds::transport::ServiceType;

use super::*;

#[test]
fn domains() {
    let td = |uid, id| naming(Opcode::DEALLOC_TRANSPORT_DOMAIN, uid, dealloc_transport_domain_in::TRANSPORT_DOMAIN, id);
    let xrcd = |uid, id| naming(Opcode::DEALLOC_XRCD, uid, dealloc_xrcd_in::XRCD, id);
    let alloc_td = plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 1, &[]);
    let alloc_xrcd = plain(Opcode::ALLOC_XRCD, 1, &[]);
    #[rustfmt::skip]
    let cases = vec![
        ("own transport domain", td(1, 2), Ok(())),
        ("another's", td(2, 2), Err(Failure::TD_FOREIGN)),
        ("the driver's", td(1, 1), Err(Failure::TD_FOREIGN)),
        ("none", td(1, 0), Err(Failure::TD_UNKNOWN)),
        ("one too many", alloc_td.clone(), Err(Failure::TD_FULL)),
        ("own XRC domain", xrcd(1, 2), Ok(())),
        ("another's", xrcd(2, 2), Err(Failure::XRCD_FOREIGN)),
        ("one in use", xrcd(0, 1), Err(Failure::XRCD_IN_USE)),
        ("none", xrcd(1, 3), Err(Failure::XRCD_UNKNOWN)),
        ("one too many", alloc_xrcd.clone(), Err(Failure::XRCD_FULL)),
    ];
    let mut machine = furnished_for_transport();
    table(&machine, cases);
    machine.ok(&td(1, 2));
    machine.ok(&xrcd(1, 2));
    assert_eq!(machine.number(&alloc_td, alloc_transport_domain_out::TRANSPORT_DOMAIN), 2);
    assert_eq!(machine.number(&alloc_xrcd, alloc_xrcd_out::XRCD), 2);
}

#[test]
fn without_their_capability_there_are_none() {
    let mut machine = small_with(&[("log_max_transport_domain", 0), ("xrc", 0)]);
    assert_eq!(machine.try_run(&plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 0, &[])), Err(Failure::TD_FULL));
    assert_eq!(machine.try_run(&plain(Opcode::ALLOC_XRCD, 0, &[])), Err(Failure::XRCD_FULL));
}

#[test]
fn multicast_groups() {
    use Opcode as Op;
    let attach = |uid, qpn, last| group(Op::ATTACH_TO_MCG, uid, qpn, 0xff, last);
    let detach = |uid, qpn, last| group(Op::DETACH_FROM_MCG, uid, qpn, 0xff, last);
    let mut machine = furnished_for_transport();
    for step in [create_qp(0, ServiceType::UD, DRIVER), create_qp(2, ServiceType::UD, USER)] {
        // Uid 2 has nothing of its own to make a QP with.
        let outcome = machine.try_run(&step);
        assert_eq!(outcome.is_ok(), step[3] == 0, "{outcome:?}");
    }
    machine.ok(&create_qp(1, ServiceType::UD, USER));
    machine.ok(&attach(0, 0x40, 1));
    machine.ok(&attach(0, 0x42, 1));
    machine.ok(&attach(1, 0x43, 2));
    machine.check();
    #[rustfmt::skip]
    let cases = vec![
        ("a second group", attach(0, 0x40, 2), Ok(())),
        ("a third QP", attach(1, 0x43, 1), Err(Failure::MCG_QPS)),
        ("a third group", attach(0, 0x40, 3), Err(Failure::MCG_FULL)),
        ("twice", attach(0, 0x40, 1), Err(Failure::MCG_ATTACHED)),
        ("no multicast", group(Op::ATTACH_TO_MCG, 0, 0x40, 0xfe, 1), Err(Failure::MCG_GID)),
        ("a connected QP", attach(1, 0x41, 1), Err(Failure::MCG_SERVICE)),
        ("another's QP", attach(1, 0x40, 2), Err(Failure::QP_FOREIGN)),
        ("no QP", attach(0, 0x44, 2), Err(Failure::QP_UNKNOWN)),
        ("detach", detach(0, 0x40, 1), Ok(())),
        ("detach from another group", detach(0, 0x40, 2), Err(Failure::MCG_NOT_ATTACHED)),
        ("detach from no group", detach(0, 0x40, 3), Err(Failure::MCG_NOT_ATTACHED)),
        ("detach another's QP", detach(0, 0x43, 2), Err(Failure::QP_FOREIGN)),
        ("destroy a member", naming(Op::DESTROY_QP, 0, destroy_qp_in::QPN, 0x40), Err(Failure::QP_IN_USE)),
    ];
    table(&machine, cases);
    let gid = |last| {
        let mut gid = Gid::default();
        (gid[0], gid[15]) = (0xff, last);
        gid
    };
    let members =
        |machine: &Machine, last| machine.firmware.resources().groups().members(gid(last)).collect::<Vec<_>>();
    assert_eq!((members(&machine, 1), members(&machine, 2)), (vec![0x40, 0x42], vec![0x43]));

    // A group without members is none: there is room for another.
    machine.ok(&naming(Op::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1));
    machine.check();
    assert_eq!(members(&machine, 2), []);
    machine.ok(&attach(0, 0x40, 3));
    machine.ok(&detach(0, 0x40, 1));
    machine.ok(&detach(0, 0x40, 3));
    machine.ok(&naming(Op::DESTROY_QP, 0, destroy_qp_in::QPN, 0x40));
    machine.check();

    let mut machine = small_with(&[("max_qp_mcg", 0)]);
    for step in [plain(Op::ALLOC_UAR, 0, &[]), plain(Op::ALLOC_PD, 0, &[]), create_eq(0, 6, 0x100, 0, 0)] {
        machine.ok(&step);
    }
    machine.ok(&create_cq(0, 0x100, 1));
    machine.ok(&create_qp(0, ServiceType::UD, DRIVER));
    assert_eq!(machine.try_run(&attach(0, 0x40, 1)), Err(Failure::MCG_QPS));
}

/// What another uid uses keeps a user context alive.
#[test]
fn a_context_whose_resources_are_in_use_stays() {
    let destroy = naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1);
    let mut machine = furnished_for_transport();
    // As Linux does for memory of user space: the driver's key, the user's domain.
    machine.ok(&create_mkey(0, 2, &[0x6000_0003]));
    table(&machine, vec![("in use", destroy.clone(), Err(Failure::UCTX_IN_USE))]);
    machine.ok(&naming(Opcode::DESTROY_MKEY, 0, destroy_mkey_in::MKEY_INDEX, 4));
    table(&machine, vec![("no longer", destroy, Ok(()))]);
}
