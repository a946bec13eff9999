//! Completion queues.

use super::*;

fn destroy(uid: u16, cqn: u64) -> Vec<u8> {
    naming(Opcode::DESTROY_CQ, uid, destroy_cq_in::CQN, cqn)
}

fn query(uid: u16, cqn: u64) -> Vec<u8> {
    naming(Opcode::QUERY_CQ, uid, query_cq_in::CQN, cqn)
}

/// CREATE_CQ of uid 1 with these fields of its context.
fn own(fields: &[(Field, u64)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(field, value)| (cqc_in(*field), *value)).collect();
    with(create_cq(1, 0x101, 2), &fields)
}

/// CREATE_CQ of uid 1 that lies in a UMEM.
fn in_umem(id: u64, offset: u64) -> Vec<u8> {
    let fields =
        [(create_cq_in::CQ_UMEM_VALID, 1), (create_cq_umem::CQ_UMEM_ID, id), (create_cq_umem::CQ_UMEM_OFFSET, offset)];
    with(create_cq(1, 0x101, 2)[..create_cq_in::SIZE].to_vec(), &fields)
}

#[test]
fn cqs() {
    #[rustfmt::skip]
    let cases = vec![
        ("on the shared EQ", own(&[]), Ok(())),
        ("the driver's on its own EQ", create_cq(0, 0x100, 1), Ok(())),
        ("on the driver's EQ", create_cq(1, 0x101, 1), Err(Failure::EQ_FOREIGN)),
        ("on no EQ", create_cq(1, 0x101, 3), Err(Failure::EQ_UNKNOWN)),
        ("on an EQ whose number has more than 8 bits", create_cq(1, 0x101, 0x102), Err(Failure::EQ_UNKNOWN)),
        ("another's UAR", create_cq(2, 0x101, 2), Err(Failure::UAR_FOREIGN)),
        ("no UAR", create_cq(1, 0x105, 2), Err(Failure::UAR_UNKNOWN)),
        ("as large as can be", with_pages(own(&[(cqc::LOG_CQ_SIZE, 8)]), create_cq_in::PAS, &[0x1000; 4]), Ok(())),
        ("too large", own(&[(cqc::LOG_CQ_SIZE, 9)]), Err(Failure::CQ_SIZE)),
        ("a page too few", own(&[(cqc::LOG_CQ_SIZE, 7)]), Err(Failure::INPUT_TOO_SHORT)),
        ("a page too few for its offset", own(&[(cqc::PAGE_OFFSET, 1)]), Err(Failure::INPUT_TOO_SHORT)),
        ("a page too few for large entries", own(&[(cqc::CQE_SZ, 1)]), Err(Failure::INPUT_TOO_SHORT)),
        ("large entries", own(&[(cqc::CQE_SZ, 1), (cqc::LOG_CQ_SIZE, 5)]), Ok(())),
        ("padded entries without the capability", own(&[(cqc::CQE_SZ, 2)]), Err(Failure::CQ_ENTRY_SIZE)),
        ("no such entries", own(&[(cqc::CQE_SZ, 5)]), Err(Failure::CQ_ENTRY_SIZE)),
        ("large pages", own(&[(cqc::LOG_PAGE_SIZE, 9)]), Ok(())),
        ("pages that are not aligned", own(&[(cqc::LOG_PAGE_SIZE, 20)]), Err(Failure::BUFFER_PAGE_UNALIGNED)),
        ("a record that is not aligned", own(&[(cqc::DBR_ADDR, 0x1004)]), Err(Failure::DBR_UNALIGNED)),
        ("overrun ignored without cq_oi", own(&[(cqc::OI, 1)]), Err(Failure::CQ_OPTION)),
        ("moderated without cq_moderation", own(&[(cqc::CQ_PERIOD, 9)]), Err(Failure::CQ_OPTION)),
        ("compressed without cqe_compression", own(&[(cqc::CQE_COMP_EN, 1)]), Err(Failure::CQ_OPTION)),
        ("of an application unit", own(&[(cqc::APU_CQ, 1)]), Err(Failure::CQ_OPTION)),
        ("reserved bits and what the device keeps", own(&[(cqc::PRODUCER_COUNTER, 7), (cqc::ST, 9)]), Ok(())),
        ("in a UMEM", in_umem(2, 0x1000), Ok(())),
        ("in a UMEM, beyond its end", in_umem(2, 0x1001), Err(Failure::BUFFER_UMEM_RANGE)),
        ("in a UMEM, beyond 2^64", in_umem(2, u64::MAX), Err(Failure::BUFFER_UMEM_RANGE)),
        ("in another's UMEM", in_umem(3, 0), Err(Failure::UMEM_FOREIGN)),
        ("in no UMEM", in_umem(0, 0), Err(Failure::UMEM_UNKNOWN)),
        ("its record in a UMEM", own(&[(cqc::DBR_UMEM_VALID, 1), (cqc_umem::DBR_UMEM_ID, 2), (cqc::DBR_ADDR, 0x1ff8)]), Ok(())),
        ("its record beyond a UMEM", own(&[(cqc::DBR_UMEM_VALID, 1), (cqc_umem::DBR_UMEM_ID, 2), (cqc::DBR_ADDR, 0x2000)]), Err(Failure::DBR_UMEM)),
        ("its record in no UMEM", own(&[(cqc::DBR_UMEM_VALID, 1), (cqc_umem::DBR_UMEM_ID, 9), (cqc::DBR_ADDR, 0)]), Err(Failure::UMEM_UNKNOWN)),
        ("its record in another's UMEM", own(&[(cqc::DBR_UMEM_VALID, 1), (cqc_umem::DBR_UMEM_ID, 3), (cqc::DBR_ADDR, 0)]), Err(Failure::UMEM_FOREIGN)),
        ("destroy one in use", destroy(1, 2), Err(Failure::CQ_IN_USE)),
        ("destroy another's", destroy(2, 2), Err(Failure::CQ_FOREIGN)),
        ("the driver destroys a user's", destroy(0, 2), Err(Failure::CQ_FOREIGN)),
        ("destroy none", destroy(1, 0), Err(Failure::CQ_UNKNOWN)),
        ("query own", query(1, 2), Ok(())),
        ("the driver queries a user's", query(0, 2), Ok(())),
        ("query another's", query(1, 1), Err(Failure::CQ_FOREIGN)),
        ("query none", query(1, 5), Err(Failure::CQ_UNKNOWN)),
        ("destroy its EQ", naming(Opcode::DESTROY_EQ, 0, destroy_eq_in::EQ_NUMBER, 2), Err(Failure::EQ_IN_USE)),
        ("destroy its UAR", naming(Opcode::DEALLOC_UAR, 1, dealloc_uar_in::UAR, 0x101), Err(Failure::UAR_IN_USE)),
    ];
    let mut machine = furnished_for_transport();
    table(&machine, cases);
    assert_eq!(machine.number(&in_umem(2, 0), create_cq_out::CQN), 3);
    machine.ok(&own(&[]));
    assert_eq!(machine.try_run(&own(&[])), Err(Failure::CQ_FULL));
    machine.ok(&destroy(1, 3));
    machine.check();
    assert_eq!(machine.number(&own(&[]), create_cq_out::CQN), 3, "lowest free first");
}

/// The device writes completions, and reads records.
#[test]
fn umems_must_allow_it() {
    let mut machine = furnished_for_transport();
    machine.ok(&naming(Opcode::DESTROY_UMEM, 0, destroy_umem_in::UMEM_ID, 1));
    let read_only = machine.number(&create_umem(1, &[0x5001]), create_umem_out::UMEM_ID);
    let write_only = machine.number(&create_umem(1, &[0x6002]), create_umem_out::UMEM_ID);
    let record = |id: u32| own(&[(cqc::DBR_UMEM_VALID, 1), (cqc_umem::DBR_UMEM_ID, id.into()), (cqc::DBR_ADDR, 8)]);
    let cases = vec![
        ("completions where the device may write", in_umem(write_only.into(), 0), Ok(())),
        ("completions where it may not", in_umem(read_only.into(), 0), Err(Failure::BUFFER_UMEM_ACCESS)),
        ("a record where the device may read", record(read_only), Ok(())),
        ("a record where it may not", record(write_only), Err(Failure::DBR_UMEM)),
    ];
    table(&machine, cases);
}

#[test]
fn query_cq_answers_what_create_cq_said() {
    let mut machine = furnished_for_transport();
    let create = own(&[(cqc::PAGE_OFFSET, 0), (cqc::LOG_PAGE_SIZE, 1), (cqc::PRODUCER_COUNTER, 9), (cqc::STATUS, 9)]);
    let cqn = machine.number(&create, create_cq_out::CQN);
    let answer = machine.ok(&query(1, cqn.into()));
    let unset = [(cqc_in(cqc::PRODUCER_COUNTER), 0), (cqc_in(cqc::STATUS), 0), (cqc_in(cqc::ST), 0xa)];
    let expected = with(create.clone(), &unset);
    assert_eq!(query_cq_out::CQ_CONTEXT.slice(&answer), create_cq_in::CQ_CONTEXT.slice(&expected));
    assert_eq!(query_cq_out::PAS.get(&answer, 0), Ok(0x8000_0000));
}

fn modify(op_mod: u64, select: u32, fields: &[(Field, u64)], pages: &[u64]) -> Vec<u8> {
    let base = modify_cq_in::CQ_CONTEXT.bits();
    let select_at =
        modify_field_select::MODIFY_FIELD_SELECT.within(modify_cq_in::MODIFY_FIELD_SELECT_RESIZE_FIELD_SELECT.bits());
    let head = [(modify_cq_in::OP_MOD, op_mod), (modify_cq_in::CQN, 1), (select_at, select.into())];
    let fields: Vec<_> = fields.iter().map(|(field, value)| (field.within(base), *value)).collect();
    with_pages(with(plain(Opcode::MODIFY_CQ, 0, &head), &fields), modify_cq_in::PAS, pages)
}

#[test]
fn modify_cq() {
    let prepare = |capabilities: &[(&str, u64)]| {
        let mut machine = small_with(capabilities);
        machine.ok(&plain(Opcode::CREATE_UCTX, 0, &[]));
        machine.ok(&plain(Opcode::ALLOC_UAR, 0, &[]));
        machine.ok(&create_eq(0, 6, 0x100, 0, 0));
        machine.ok(&create_eq(0, 6, 0x100, 0, 0));
        machine.ok(&create_cq(0, 0x100, 1));
        machine
    };
    let period = modify(0, 1, &[(cqc::CQ_PERIOD, 16)], &[]);
    let larger = modify(1, 7, &[(cqc::LOG_CQ_SIZE, 7)], &[0x1000, 0x2000]);
    #[rustfmt::skip]
    let without = vec![
        ("moderation", period.clone(), Err(Failure::CQ_MODIFY)),
        ("overrun", modify(0, 4, &[(cqc::OI, 1)], &[]), Err(Failure::CQ_MODIFY)),
        ("its EQ", modify(0, 8, &[(cqc::C_EQN_OR_APU_ELEMENT, 2)], &[]), Err(Failure::CQ_MODIFY)),
        ("its size", larger.clone(), Err(Failure::CQ_MODIFY)),
        ("no such op_mod", modify(2, 1, &[], &[]), Err(Failure::OP_MOD)),
    ];
    table(&prepare(&[]), without);

    let foreign = with(period.clone(), &[(mbox_in::UID, 1)]);
    #[rustfmt::skip]
    let cases = vec![
        ("moderation", period, Ok(())),
        ("how many", modify(0, 2, &[(cqc::CQ_MAX_COUNT, 16)], &[]), Ok(())),
        ("nothing", modify(0, 0, &[], &[]), Err(Failure::CQ_MODIFY)),
        ("its status", modify(0, 32, &[], &[]), Err(Failure::CQ_MODIFY)),
        ("another's", foreign, Err(Failure::CQ_FOREIGN)),
        ("to an EQ", modify(0, 8, &[(cqc::C_EQN_OR_APU_ELEMENT, 2)], &[]), Ok(())),
        ("to no EQ", modify(0, 8, &[(cqc::C_EQN_OR_APU_ELEMENT, 3)], &[]), Err(Failure::EQ_UNKNOWN)),
        ("larger", larger.clone(), Ok(())),
        ("larger, a page too few", modify(1, 7, &[(cqc::LOG_CQ_SIZE, 7)], &[0x1000]), Err(Failure::INPUT_TOO_SHORT)),
        ("too large", modify(1, 7, &[(cqc::LOG_CQ_SIZE, 9)], &[0x1000]), Err(Failure::CQ_SIZE)),
        ("without saying the size", modify(1, 6, &[], &[0x1000]), Err(Failure::CQ_MODIFY)),
        ("onto a UMEM", modify(1, 9, &[], &[0x1000]), Err(Failure::CQ_MODIFY)),
    ];
    let all = [("cq_moderation", 1), ("cq_oi", 1), ("cq_eq_remap", 1), ("cq_resize", 1)];
    let mut machine = prepare(&all);
    table(&machine, cases);

    machine.ok(&modify(0, 8 | 4, &[(cqc::C_EQN_OR_APU_ELEMENT, 2), (cqc::OI, 1)], &[]));
    machine.ok(&larger);
    machine.check();
    machine.ok(&naming(Opcode::DESTROY_EQ, 0, destroy_eq_in::EQ_NUMBER, 1));
    let in_use = naming(Opcode::DESTROY_EQ, 0, destroy_eq_in::EQ_NUMBER, 2);
    assert_eq!(machine.try_run(&in_use), Err(Failure::EQ_IN_USE));
    let answer = machine.ok(&query(0, 1));
    let context = query_cq_out::CQ_CONTEXT.bits();
    let fields = [(cqc::C_EQN_OR_APU_ELEMENT, 2), (cqc::OI, 1), (cqc::LOG_CQ_SIZE, 7), (cqc::DBR_ADDR, 0x9_0000_0040)];
    for (field, value) in fields {
        assert_eq!(field.within(context).get(&answer), Ok(value), "{}", field.name);
    }
    assert_eq!([0, 1].map(|page| query_cq_out::PAS.get(&answer, page)), [Ok(0x1000), Ok(0x2000)]);
}
