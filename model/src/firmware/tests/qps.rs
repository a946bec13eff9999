//! Queue pairs: creation, destruction, query. Their states are in `qp_states.rs`.

use mlx5_twin_fw_cmds::transport::ServiceType;

use super::*;

/// CREATE_QP of uid 1 with these fields of its context.
fn own(fields: &[(Field, u64)]) -> Vec<u8> {
    of_service(ServiceType::RC, fields)
}

fn of_service(service: ServiceType, fields: &[(Field, u64)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(field, value)| (qpc_in(*field), *value)).collect();
    with(create_qp(1, service, USER), &fields)
}

fn in_umem(id: u64, offset: u64) -> Vec<u8> {
    let fields =
        [(create_qp_in::WQ_UMEM_VALID, 1), (create_qp_in::WQ_UMEM_ID, id), (create_qp_in::WQ_UMEM_OFFSET, offset)];
    with(own(&[])[..create_qp_in::SIZE].to_vec(), &fields)
}

fn destroy(uid: u16, qpn: u64) -> Vec<u8> {
    naming(Opcode::DESTROY_QP, uid, destroy_qp_in::QPN, qpn)
}

fn query(uid: u16, qpn: u64) -> Vec<u8> {
    naming(Opcode::QUERY_QP, uid, query_qp_in::QPN, qpn)
}

#[test]
fn qps() {
    let none = &[(qpc::RQ_TYPE, 3), (qpc::NO_SQ, 1)];
    let uses = |change: fn(&mut QpUses)| {
        let mut uses = USER;
        change(&mut uses);
        create_qp(1, ServiceType::RC, uses)
    };
    let record = |id, at| [(qpc::DBR_UMEM_VALID, 1), (qpc_umem::DBR_UMEM_ID, id), (qpc::DBR_ADDR, at)];
    #[rustfmt::skip]
    let cases = vec![
        ("RC", own(&[]), Ok(())),
        ("UC", of_service(ServiceType::UC, &[]), Ok(())),
        ("UD", of_service(ServiceType::UD, &[]), Ok(())),
        ("XRC", of_service(ServiceType::XRC, &[(qpc::XRCD, 2)]), Ok(())),
        ("XRC with the driver's domain", of_service(ServiceType::XRC, &[(qpc::XRCD, 1)]), Err(Failure::XRCD_FOREIGN)),
        ("XRC without a domain", of_service(ServiceType::XRC, &[]), Err(Failure::XRCD_UNKNOWN)),
        ("RC with a domain of the driver's, which does not count", own(&[(qpc::XRCD, 1)]), Ok(())),
        ("for memory registration", of_service(ServiceType::REG_UMR, &[]), Ok(())),
        ("for memory registration, in no domain, as Linux makes it", create_qp(0, ServiceType::REG_UMR, QpUses { pd: 0, ..DRIVER }), Ok(())),
        ("QP0 of a user's", of_service(ServiceType::QP0, &[]), Err(Failure::QP_MANAGEMENT)),
        ("QP1 of a user's", of_service(ServiceType::QP1, &[]), Err(Failure::QP_MANAGEMENT)),
        ("QP0", create_qp(0, ServiceType::QP0, DRIVER), Ok(())),
        ("QP1", create_qp(0, ServiceType::QP1, DRIVER), Ok(())),
        ("DCI without dct", of_service(ServiceType::DCI, &[]), Err(Failure::QP_SERVICE)),
        ("DCT, which has a command of its own", of_service(ServiceType::DCT, &[]), Err(Failure::QP_SERVICE)),
        ("raw Ethernet", of_service(ServiceType::RAW_ETHERTYPE, &[]), Err(Failure::QP_SERVICE)),
        ("no such service", own(&[(qpc::ST, 0xff)]), Err(Failure::QP_SERVICE)),
        ("a number of its own choice", with(own(&[]), &[(create_qp_in::INPUT_QPN, 7)]), Err(Failure::QP_OPTION)),
        ("an extended context", with(own(&[]), &[(create_qp_in::QPC_EXT, 1)]), Err(Failure::QP_OPTION)),
        ("another's PD", uses(|uses| uses.pd = 1), Err(Failure::PD_FOREIGN)),
        ("no PD", uses(|uses| uses.pd = 0), Err(Failure::PD_UNKNOWN)),
        ("another's UAR", uses(|uses| uses.uar = 0x100), Err(Failure::UAR_FOREIGN)),
        ("another's CQ for sends", uses(|uses| uses.cq_send = 1), Err(Failure::CQ_FOREIGN)),
        ("no CQ for sends", uses(|uses| uses.cq_send = 0), Err(Failure::CQ_UNKNOWN)),
        ("another's CQ for receives", uses(|uses| uses.cq_receive = 1), Err(Failure::CQ_FOREIGN)),
        ("the driver's with all of a user's", create_qp(0, ServiceType::RC, USER), Ok(())),
        ("with an RMP", shared(own(&[]), 4), Ok(())),
        ("with another's RMP", shared(own(&[]), 3), Err(Failure::RMP_FOREIGN)),
        ("with another's SRQ", shared(own(&[]), 1), Err(Failure::SRQ_FOREIGN)),
        ("with no SRQ", shared(own(&[]), 2), Err(Failure::SRQ_UNKNOWN)),
        ("with no RMP", shared(own(&[]), 5), Err(Failure::RMP_UNKNOWN)),
        ("an SRQ that does not count", own(&[(qpc::SRQN_RMPN_XRQN, 1)]), Ok(())),
        ("without receives, another's CQ does not count", with(uses(|uses| uses.cq_receive = 1), &[(qpc_in(qpc::RQ_TYPE), 3)]), Ok(())),
        ("without sends, neither CQ nor UAR for them counts", with(uses(|uses| uses.cq_send = 1), &[(qpc_in(qpc::NO_SQ), 1)]), Ok(())),
        ("with neither: no pages, no record", own(none)[..create_qp_in::SIZE].to_vec(), Ok(())),
        ("no such receive queue", own(&[(qpc::RQ_TYPE, 2)]), Err(Failure::QP_RQ_TYPE)),
        ("as large as can be", with_pages(own(&[(qpc::LOG_SQ_SIZE, 7), (qpc::LOG_RQ_SIZE, 7)]), create_qp_in::PAS, &[0x1000; 4]), Ok(())),
        ("too many sends", own(&[(qpc::LOG_SQ_SIZE, 8)]), Err(Failure::QP_SIZE)),
        ("too many receives", own(&[(qpc::LOG_RQ_SIZE, 8)]), Err(Failure::QP_SIZE)),
        ("receives too large", own(&[(qpc::LOG_RQ_STRIDE, 3)]), Err(Failure::QP_STRIDE)),
        ("a page too few", own(&[(qpc::LOG_SQ_SIZE, 6)]), Err(Failure::INPUT_TOO_SHORT)),
        ("a page too few for its offset", own(&[(qpc::PAGE_OFFSET, 1)]), Err(Failure::INPUT_TOO_SHORT)),
        ("pages that are not aligned", own(&[(qpc::LOG_PAGE_SIZE, 20)]), Err(Failure::BUFFER_PAGE_UNALIGNED)),
        ("a record that is not aligned", own(&[(qpc::DBR_ADDR, 0x1004)]), Err(Failure::DBR_UNALIGNED)),
        ("in a UMEM", in_umem(2, 0x1000), Ok(())),
        ("beyond a UMEM", in_umem(2, 0x1001), Err(Failure::BUFFER_UMEM_RANGE)),
        ("in another's UMEM", in_umem(3, 0), Err(Failure::UMEM_FOREIGN)),
        ("in no UMEM", in_umem(0, 0), Err(Failure::UMEM_UNKNOWN)),
        ("its record in a UMEM", own(&record(2, 8)), Ok(())),
        ("its record beyond a UMEM", own(&record(2, 0x2000)), Err(Failure::DBR_UMEM)),
        ("destroy own", destroy(1, 0x41), Ok(())),
        ("destroy another's", destroy(1, 0x40), Err(Failure::QP_FOREIGN)),
        ("the driver destroys a user's", destroy(0, 0x41), Err(Failure::QP_FOREIGN)),
        ("destroy none", destroy(0, 0x42), Err(Failure::QP_UNKNOWN)),
        ("QPN 0 is nobody's", destroy(0, 0), Err(Failure::QP_UNKNOWN)),
        ("QPN 1 is nobody's", destroy(0, 1), Err(Failure::QP_UNKNOWN)),
        ("QPN 0xffffff is nobody's", destroy(0, 0xff_ffff), Err(Failure::QP_UNKNOWN)),
        ("query own", query(1, 0x41), Ok(())),
        ("the driver queries a user's, as Linux does", query(0, 0x41), Ok(())),
        ("query another's", query(1, 0x40), Err(Failure::QP_FOREIGN)),
        ("query none", query(1, 0x3f), Err(Failure::QP_UNKNOWN)),
        ("query an extended context", with(query(1, 0x41), &[(query_qp_in::QPC_EXT, 1)]), Err(Failure::QP_OPTION)),
        ("free its PD", naming(Opcode::DEALLOC_PD, 1, dealloc_pd_in::PD, 2), Err(Failure::PD_IN_USE)),
    ];
    let mut machine = furnished_for_transport();
    table(&machine, cases);
    assert_eq!(machine.number(&in_umem(2, 0), create_qp_out::QPN), 0x42);
    let in_use = naming(Opcode::DESTROY_UMEM, 1, destroy_umem_in::UMEM_ID, 2);
    assert_eq!(machine.try_run(&in_use), Err(Failure::UMEM_IN_USE));
    machine.ok(&own(&[]));
    assert_eq!(machine.try_run(&own(&[])), Err(Failure::QP_FULL));
    machine.ok(&destroy(1, 0x42));
    machine.check();
}

#[test]
fn services_need_their_capability() {
    let services = [ServiceType::RC, ServiceType::UC, ServiceType::UD, ServiceType::XRC];
    let mut machine = small_with(&[("rc", 0), ("uc", 0), ("ud", 0), ("xrc", 0)]);
    for service in services {
        assert_eq!(machine.try_run(&create_qp(0, service, DRIVER)), Err(Failure::QP_SERVICE), "{service}");
    }
    let mut machine = small_with(&[("dct", 1)]);
    // It comes as far as its domain, which is not there.
    assert_eq!(machine.try_run(&create_qp(0, ServiceType::DCI, DRIVER)), Err(Failure::PD_UNKNOWN));
}

#[test]
fn query_qp_answers_what_create_qp_said() {
    let mut machine = furnished_for_transport();
    // A state, an MTU and a peer are no concern of CREATE_QP.
    let said = [(qpc::USER_INDEX, 0x12_3456), (qpc::CS_REQ, 0x11), (qpc::RLKY, 1), (qpc::LOG_PAGE_SIZE, 3)];
    let ignored = [(qpc::STATE, 3), (qpc::MTU, 5), (qpc::REMOTE_QPN, 9), (qpc::HW_RQ_COUNTER, 7)];
    let create = own(&[said, ignored].concat());
    let qpn = machine.number(&create, create_qp_out::QPN);
    let (executed, answer) = machine.run_with(&query(1, qpn.into()), query_qp_out::SIZE);
    assert_eq!(executed.status, Status::OK);
    let expected = own(&said);
    assert_eq!(query_qp_out::QPC.slice(&answer), create_qp_in::QPC.slice(&expected));
    assert_eq!(answer[272..280], 0xd000_0000u64.to_be_bytes(), "the list of pages");
    // User space may have no room for the list.
    assert_eq!(machine.run_with(&query(1, qpn.into()), 272).0.status, Status::OK);
}
