//! Shared receive queues: those of ISSI 0, those of XRC domains, receive memory pools.

use mlx5_twin_fw_cmds::transport::ServiceType;

use super::*;

#[test]
fn srqs() {
    let own = |fields: &[(Field, u64)]| {
        let fields: Vec<_> = fields.iter().map(|(field, value)| (srqc_in(*field), *value)).collect();
        with(create_srq(1, 2), &fields)
    };
    let driver = |xrcd, cqn| with(create_srq(0, 1), &[(srqc_in(srqc::XRCD), xrcd), (srqc_in(srqc::CQN), cqn)]);
    let destroy = |uid, srqn| naming(Opcode::DESTROY_SRQ, uid, destroy_srq_in::SRQN, srqn);
    let query = |uid, srqn| naming(Opcode::QUERY_SRQ, uid, query_srq_in::SRQN, srqn);
    let arm = |uid, srqn, op_mod, lwm| {
        plain(Opcode::ARM_RQ, uid, &[(arm_rq_in::OP_MOD, op_mod), (arm_rq_in::SRQ_NUMBER, srqn), (arm_rq_in::LWM, lwm)])
    };
    let mut machine = furnished_for_transport();
    // In the place of XRC SRQ 1 there is SRQ 2.
    machine.ok(&own(&[]));
    machine.ok(&naming(Opcode::DESTROY_XRC_SRQ, 0, destroy_xrc_srq_in::XRC_SRQN, 1));
    #[rustfmt::skip]
    let cases = vec![
        ("own", own(&[]), Ok(())),
        ("in no domain", create_srq(1, 9), Err(Failure::PD_UNKNOWN)),
        ("in another's domain", create_srq(2, 2), Err(Failure::PD_FOREIGN)),
        ("with the driver's CQ and XRC domain, which do not count", own(&[(srqc::XRCD, 1), (srqc::CQN, 1)]), Ok(())),
        ("the driver's with CQ and XRC domain", driver(1, 1), Ok(())),
        ("the driver's with no XRC domain", driver(3, 1), Err(Failure::XRCD_UNKNOWN)),
        ("the driver's with no CQ", driver(1, 9), Err(Failure::CQ_UNKNOWN)),
        ("as large as can be", with_pages(own(&[(srqc::LOG_SRQ_SIZE, 7)]), create_srq_in::PAS, &[0x1000, 0x2000]), Ok(())),
        ("too large", own(&[(srqc::LOG_SRQ_SIZE, 8)]), Err(Failure::SRQ_SIZE)),
        ("entries too large", own(&[(srqc::LOG_RQ_STRIDE, 3)]), Err(Failure::SRQ_STRIDE)),
        ("a page too few", own(&[(srqc::LOG_SRQ_SIZE, 7)]), Err(Failure::INPUT_TOO_SHORT)),
        ("pages too large", own(&[(srqc::LOG_PAGE_SIZE, 40)]), Err(Failure::BUFFER_PAGE_SIZE)),
        ("limit", own(&[(srqc::LWM, 63)]), Ok(())),
        ("limit beyond its size", own(&[(srqc::LWM, 64)]), Err(Failure::SRQ_LIMIT)),
        ("a record that is not aligned", own(&[(srqc::DBR_ADDR, 0x1002)]), Err(Failure::DBR_UNALIGNED)),
        ("arm", arm(1, 2, 1, 32), Ok(())),
        ("arm beyond its size", arm(1, 2, 1, 64), Err(Failure::SRQ_LIMIT)),
        ("arm another kind", arm(1, 2, 2, 1), Err(Failure::OP_MOD)),
        ("arm another's", arm(2, 2, 1, 1), Err(Failure::SRQ_FOREIGN)),
        ("arm none", arm(1, 1, 1, 1), Err(Failure::SRQ_UNKNOWN)),
        ("destroy own", destroy(1, 2), Ok(())),
        ("destroy another's", destroy(0, 2), Err(Failure::SRQ_FOREIGN)),
        ("destroy none", destroy(1, 1), Err(Failure::SRQ_UNKNOWN)),
        ("destroy it as XRC SRQ", naming(Opcode::DESTROY_XRC_SRQ, 1, destroy_xrc_srq_in::XRC_SRQN, 2), Err(Failure::SRQ_UNKNOWN)),
        ("query own", query(1, 2), Ok(())),
        ("query another's", query(2, 2), Err(Failure::SRQ_FOREIGN)),
        ("query none", query(1, 3), Err(Failure::SRQ_UNKNOWN)),
    ];
    table(&machine, cases);
    machine.ok(&arm(1, 2, 1, 17));
    let answer = machine.ok(&query(1, 2));
    let expected = own(&[(srqc::LWM, 17)]);
    assert_eq!(query_srq_out::SRQ_CONTEXT_ENTRY.slice(&answer), create_srq_in::SRQ_CONTEXT_ENTRY.slice(&expected));
    assert_eq!(query_srq_out::PAS.get(&answer, 0), Ok(0xa000_0000));
    machine.ok(&own(&[]));
    assert_eq!(machine.try_run(&own(&[])), Err(Failure::SRQ_FULL));
}

#[test]
fn srqs_are_for_issi_0() {
    let mut machine = Machine::new(&small());
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&naming(Opcode::SET_ISSI, 0, set_issi_in::CURRENT_ISSI, 1));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
    assert_eq!(machine.try_run(&create_srq(0, 1)), Err(Failure::SRQ_ISSI));
    machine.ok(&create_rmp(0, 1));
}

#[test]
fn xrc_srqs() {
    let make = |fields: &[(Field, u64)]| {
        let fields: Vec<_> = fields.iter().map(|(field, value)| (xrc_srqc_in(*field), *value)).collect();
        with(create_xrc_srq(0, 1, 1, 1), &fields)
    };
    let destroy = |uid, srqn| naming(Opcode::DESTROY_XRC_SRQ, uid, destroy_xrc_srq_in::XRC_SRQN, srqn);
    let query = |uid, srqn| naming(Opcode::QUERY_XRC_SRQ, uid, query_xrc_srq_in::XRC_SRQN, srqn);
    let arm = |uid, srqn, op_mod, lwm| {
        let fields = [(arm_xrc_srq_in::OP_MOD, op_mod), (arm_xrc_srq_in::XRC_SRQN, srqn), (arm_xrc_srq_in::LWM, lwm)];
        plain(Opcode::ARM_XRC_SRQ, uid, &fields)
    };
    let mut machine = furnished_for_transport();
    let qp = with(create_qp(0, ServiceType::XRC, DRIVER), &[(qpc_in(qpc::XRCD), 1)]);
    machine.ok(&shared(qp, 1));
    machine.ok(&create_xrc_srq(1, 2, 2, 2));
    #[rustfmt::skip]
    let cases = vec![
        ("one too many", make(&[]), Err(Failure::SRQ_FULL)),
        ("the driver's with all of a user's", create_xrc_srq(0, 2, 2, 2), Err(Failure::SRQ_FULL)),
        ("a user's with the driver's domain", create_xrc_srq(1, 2, 1, 2), Err(Failure::XRCD_FOREIGN)),
        ("a user's with the driver's CQ", create_xrc_srq(1, 2, 2, 1), Err(Failure::CQ_FOREIGN)),
        ("no protection domain", create_xrc_srq(0, 0, 1, 1), Err(Failure::PD_UNKNOWN)),
        ("no XRC domain", create_xrc_srq(0, 1, 0, 1), Err(Failure::XRCD_UNKNOWN)),
        ("no CQ", create_xrc_srq(0, 1, 1, 0), Err(Failure::CQ_UNKNOWN)),
        ("too large", make(&[(xrc_srqc::LOG_XRC_SRQ_SIZE, 8)]), Err(Failure::SRQ_SIZE)),
        ("entries too large", make(&[(xrc_srqc::LOG_RQ_STRIDE, 3)]), Err(Failure::SRQ_STRIDE)),
        ("limit beyond its size", make(&[(xrc_srqc::LWM, 64)]), Err(Failure::SRQ_LIMIT)),
        ("cyclic without the capability", make(&[(xrc_srqc::BASIC_CYCLIC_RCV_WQE, 1)]), Err(Failure::SRQ_OPTION)),
        ("in a UMEM", with(make(&[]), &[(create_xrc_srq_in::XRC_SRQ_UMEM_VALID, 1)]), Err(Failure::SRQ_UMEM)),
        ("its record in a UMEM", make(&[(xrc_srqc::DBR_UMEM_VALID, 1)]), Err(Failure::SRQ_UMEM)),
        ("arm", arm(1, 2, 1, 63), Ok(())),
        ("arm with op_mod 0", arm(1, 2, 0, 1), Err(Failure::OP_MOD)),
        ("arm another's", arm(1, 1, 1, 1), Err(Failure::SRQ_FOREIGN)),
        ("arm none", arm(1, 3, 1, 1), Err(Failure::SRQ_UNKNOWN)),
        ("destroy own", destroy(1, 2), Ok(())),
        ("destroy one in use", destroy(0, 1), Err(Failure::SRQ_IN_USE)),
        ("destroy another's", destroy(0, 2), Err(Failure::SRQ_FOREIGN)),
        ("destroy it as SRQ", naming(Opcode::DESTROY_SRQ, 1, destroy_srq_in::SRQN, 2), Err(Failure::SRQ_UNKNOWN)),
        ("query own", query(1, 2), Ok(())),
        ("query it as SRQ", naming(Opcode::QUERY_SRQ, 1, query_srq_in::SRQN, 2), Err(Failure::SRQ_UNKNOWN)),
        ("query another's", query(2, 2), Err(Failure::SRQ_FOREIGN)),
    ];
    table(&machine, cases);
    machine.ok(&destroy(1, 2));
    let record = [(xrc_srqc::DB_RECORD_ADDR_H, 0x12), (xrc_srqc::DB_RECORD_ADDR_L, 0x3400_0004 >> 2)];
    let srqn = machine.number(&make(&record), create_xrc_srq_out::XRC_SRQN);
    let (_, srq) = machine.firmware.resources().of::<Srq>().get(srqn).expect("is there");
    assert_eq!(srq.queue.record, DoorbellRecord::Address(0x12_3400_0004));
    let answer = machine.ok(&query(0, srqn.into()));
    let context = create_xrc_srq_in::XRC_SRQ_CONTEXT_ENTRY;
    assert_eq!(query_xrc_srq_out::XRC_SRQ_CONTEXT_ENTRY.slice(&answer), context.slice(&make(&record)));
}

#[test]
fn rmps() {
    let own = |fields: &[(Field, u64)]| {
        let fields: Vec<_> = fields.iter().map(|(field, value)| (rmp_wq(*field), *value)).collect();
        with(create_rmp(1, 2), &fields)
    };
    let umem = |id, offset| {
        own(&[(wq::WQ_UMEM_VALID, 1), (wq::WQ_UMEM_ID, id), (wq::WQ_UMEM_OFFSET, offset)])[..create_rmp_in::SIZE]
            .to_vec()
    };
    let of_pool = |field: Field, value| with(own(&[]), &[(field.within(create_rmp_in::CTX.bits()), value)]);
    let destroy = |uid, rmpn| naming(Opcode::DESTROY_RMP, uid, destroy_rmp_in::RMPN, rmpn);
    let query = |uid, rmpn| naming(Opcode::QUERY_RMP, uid, query_rmp_in::RMPN, rmpn);
    let modify = |uid, rmpn, state, limit: Option<u64>| {
        let limit_at = wq::LWM.within(modify_rmp_in::CTX.bits() + rmpc::WQ.bits());
        let fields = [
            (modify_rmp_in::RMPN, rmpn),
            (modify_rmp_in::RMP_STATE, state),
            (rmp_bitmask::LWM.within(modify_rmp_in::BITMASK.bits()), limit.is_some().into()),
            (limit_at, limit.unwrap_or(60)),
        ];
        plain(Opcode::MODIFY_RMP, uid, &fields)
    };
    let mut machine = furnished_for_transport();
    machine.ok(&destroy(0, 3));
    #[rustfmt::skip]
    let cases = vec![
        ("own", own(&[]), Ok(())),
        ("in the driver's domain", create_rmp(1, 1), Err(Failure::PD_FOREIGN)),
        ("in no domain", create_rmp(1, 0), Err(Failure::PD_UNKNOWN)),
        ("not ready", of_pool(rmpc::STATE, 0), Err(Failure::RMP_STATE)),
        ("cyclic without the capability", of_pool(rmpc::BASIC_CYCLIC_RCV_WQE, 1), Err(Failure::RMP_OPTION)),
        ("cyclic", own(&[(wq::WQ_TYPE, 1)]), Ok(())),
        ("striding", own(&[(wq::WQ_TYPE, 2)]), Err(Failure::RMP_TYPE)),
        ("as large as can be", with_pages(own(&[(wq::LOG_WQ_SZ, 7)]), wq::PAS.within(rmp_wq(wq::WQ_TYPE).offset), &[0x1000, 0x2000]), Ok(())),
        ("too large", own(&[(wq::LOG_WQ_SZ, 8)]), Err(Failure::RMP_SIZE)),
        ("entries too large", own(&[(wq::LOG_WQ_STRIDE, 7)]), Err(Failure::RMP_STRIDE)),
        ("entries too small", own(&[(wq::LOG_WQ_STRIDE, 3)]), Err(Failure::RMP_STRIDE)),
        ("a page too few", own(&[(wq::LOG_WQ_SZ, 7)]), Err(Failure::INPUT_TOO_SHORT)),
        ("limit beyond its size", own(&[(wq::LWM, 64)]), Err(Failure::RMP_LIMIT)),
        ("in a UMEM", umem(2, 0x1000), Ok(())),
        ("beyond a UMEM", umem(2, 0x1040), Err(Failure::BUFFER_UMEM_RANGE)),
        ("in another's UMEM", umem(3, 0), Err(Failure::UMEM_FOREIGN)),
        ("its record in a UMEM", own(&[(wq::DBR_UMEM_VALID, 1), (wq::DBR_UMEM_ID, 2), (wq::DBR_ADDR, 0x1ffc)]), Ok(())),
        ("its record beyond a UMEM", own(&[(wq::DBR_UMEM_VALID, 1), (wq::DBR_UMEM_ID, 2), (wq::DBR_ADDR, 0x2000)]), Err(Failure::DBR_UMEM)),
        ("arm", modify(1, 4, 1, Some(63)), Ok(())),
        ("arm beyond its size", modify(1, 4, 1, Some(64)), Err(Failure::RMP_LIMIT)),
        ("to error", modify(1, 4, 3, None), Ok(())),
        ("to no state", modify(1, 4, 0, None), Err(Failure::RMP_STATE)),
        ("modify another's", modify(2, 4, 1, None), Err(Failure::RMP_FOREIGN)),
        ("modify none", modify(1, 5, 1, None), Err(Failure::RMP_UNKNOWN)),
        ("an SRQ's number", modify(0, 1, 1, None), Err(Failure::RMP_UNKNOWN)),
        ("destroy one in use", destroy(1, 4), Err(Failure::RMP_IN_USE)),
        ("destroy another's", destroy(0, 4), Err(Failure::RMP_FOREIGN)),
        ("destroy none", destroy(0, 3), Err(Failure::RMP_UNKNOWN)),
        ("query own", query(1, 4), Ok(())),
        ("query another's", query(2, 4), Err(Failure::RMP_FOREIGN)),
        ("query none", query(1, 9), Err(Failure::RMP_UNKNOWN)),
    ];
    table(&machine, cases);

    assert_eq!(machine.number(&own(&[]), create_rmp_out::RMPN), 3);
    assert_eq!(machine.try_run(&own(&[])), Err(Failure::RMP_FULL));
    machine.ok(&modify(1, 3, 1, Some(9)));
    let answer = machine.ok(&query(1, 3));
    let expected = own(&[(wq::LWM, 9)]);
    assert_eq!(query_rmp_out::RMP_CONTEXT.slice(&answer), create_rmp_in::CTX.slice(&expected));
    let pas = wq::PAS.within(query_rmp_out::RMP_CONTEXT.bits() + rmpc::WQ.bits());
    assert_eq!(pas.get(&answer, 0), Ok(0xc000_0000));
    machine.ok(&modify(1, 3, 3, None));
    assert_eq!(machine.try_run(&modify(1, 3, 1, None)), Err(Failure::RMP_STATE), "there is no way back from error");
}
