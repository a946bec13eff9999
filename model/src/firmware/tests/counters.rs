//! Q counters and flow counters: limits, owners, clearing.

use super::*;

fn alloc_flow(uid: u16, bulk: u64) -> Vec<u8> {
    naming(Opcode::ALLOC_FLOW_COUNTER, uid, alloc_flow_counter_in::FLOW_COUNTER_BULK, bulk)
}

fn dealloc_flow(uid: u16, id: u64) -> Vec<u8> {
    naming(Opcode::DEALLOC_FLOW_COUNTER, uid, dealloc_flow_counter_in::FLOW_COUNTER_ID, id)
}

fn query_flow(uid: u16, first: u64, number: u64, clear: u64) -> Vec<u8> {
    let fields = [
        (query_flow_counter_in::FLOW_COUNTER_ID, first),
        (query_flow_counter_in::NUM_OF_COUNTERS, number),
        (query_flow_counter_in::CLEAR, clear),
    ];
    plain(Opcode::QUERY_FLOW_COUNTER, uid, &fields)
}

fn dealloc_q(uid: u16, id: u64) -> Vec<u8> {
    naming(Opcode::DEALLOC_Q_COUNTER, uid, dealloc_q_counter_in::COUNTER_SET_ID, id)
}

fn query_q(uid: u16, id: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = naming(Opcode::QUERY_Q_COUNTER, uid, query_q_counter_in::COUNTER_SET_ID, id);
    for (field, value) in fields {
        field.set(&mut bytes, *value).expect("fits");
    }
    bytes
}

/// The furnished machine with Q counters 1 (shared, as Linux's mlx5_ib makes it) and 2 (uid 1), flow counters 1 (driver),
/// 4 to 131 (uid 1).
fn counting() -> Machine {
    let mut machine = furnished();
    let q = [0xffff, 1]
        .map(|uid| machine.number(&plain(Opcode::ALLOC_Q_COUNTER, uid, &[]), alloc_q_counter_out::COUNTER_SET_ID));
    let flow = [alloc_flow(0, 0), alloc_flow(1, 1)]
        .map(|bytes| machine.number(&bytes, alloc_flow_counter_out::FLOW_COUNTER_ID));
    assert_eq!((q, flow), ([1, 2], [1, 4]));
    let balance = machine.balance();
    assert_eq!((balance.q_counters, balance.flow_counters), (2, 129));
    machine
}

#[test]
fn cases() {
    use query_q_counter_in::{AGGREGATE, CLEAR, OTHER_VPORT};
    #[rustfmt::skip]
    let cases = vec![
        ("own", dealloc_q(1, 2), Ok(())),
        ("the driver frees the shared one", dealloc_q(0, 1), Ok(())),
        ("a user frees the shared one", dealloc_q(1, 1), Err(Failure::Q_COUNTER_FOREIGN)),
        ("another's", dealloc_q(2, 2), Err(Failure::Q_COUNTER_FOREIGN)),
        ("none", dealloc_q(0, 3), Err(Failure::Q_COUNTER_UNKNOWN)),
        ("0", dealloc_q(0, 0), Err(Failure::Q_COUNTER_UNKNOWN)),
        ("query own", query_q(1, 2, &[(CLEAR, 1)]), Ok(())),
        ("query the shared one", query_q(1, 1, &[]), Ok(())),
        ("clear the shared one", query_q(1, 1, &[(CLEAR, 1)]), Err(Failure::Q_COUNTER_FOREIGN)),
        ("query another's", query_q(2, 2, &[]), Err(Failure::Q_COUNTER_FOREIGN)),
        ("query none", query_q(0, 9, &[]), Err(Failure::Q_COUNTER_UNKNOWN)),
        ("add up", query_q(0, 1, &[(AGGREGATE, 1)]), Err(Failure::Q_COUNTER_AGGREGATE)),
        ("of another function", query_q(0, 1, &[(OTHER_VPORT, 1)]), Err(Failure::OTHER_FUNCTION)),

        ("a flow counter", dealloc_flow(0, 1), Ok(())),
        ("a bulk", dealloc_flow(1, 4), Ok(())),
        ("a part of a bulk", dealloc_flow(1, 5), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("no flow counter", dealloc_flow(0, 2), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("another's flow counter", dealloc_flow(1, 1), Err(Failure::FLOW_COUNTER_FOREIGN)),
        ("query one", query_flow(0, 1, 0, 1), Ok(())),
        ("query a part of a bulk", query_flow(1, 100, 4, 1), Ok(())),
        ("query the last of a bulk, and behind", query_flow(1, 131, 4, 0), Ok(())),
        ("query behind the last", query_flow(1, 132, 4, 0), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("query before the first", query_flow(0, 0, 1, 0), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("the driver queries a range with a user's in it", query_flow(0, 1, 4, 0), Ok(())),
        ("query a range with another's in it", query_flow(1, 1, 4, 0), Err(Failure::FLOW_COUNTER_FOREIGN)),
        ("query another's", query_flow(2, 4, 1, 0), Err(Failure::FLOW_COUNTER_FOREIGN)),
        ("query too many", query_flow(1, 4, 5, 0), Err(Failure::FLOW_COUNTER_RANGE)),
        ("query at the end of the numbers", query_flow(0, 0xffff_ffff, 4, 0), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("a bulk that is not offered", alloc_flow(0, 2), Err(Failure::FLOW_COUNTER_BULK)),
        ("a bulk by its log2", naming(Opcode::ALLOC_FLOW_COUNTER, 0, alloc_flow_counter_in::FLOW_COUNTER_BULK_LOG_SIZE, 1), Err(Failure::FLOW_COUNTER_BULK)),
    ];
    let machine = counting();
    table(&machine, cases);
    let bulk = query_flow(1, 4, 4, 0);
    assert_eq!(machine.clone().run_with(&bulk, 16 + 4 * 16).0.status, Status::OK);
    assert_eq!(machine.clone().run_with(&bulk, 16 + 4 * 16 - 1).0.syndrome, Failure::OUTPUT_TOO_SHORT.syndrome.0);
}

#[test]
fn limits_and_what_a_context_leaves() {
    let mut machine = counting();
    machine.ok(&plain(Opcode::ALLOC_Q_COUNTER, 2, &[]));
    assert_eq!(machine.try_run(&plain(Opcode::ALLOC_Q_COUNTER, 2, &[])), Err(Failure::Q_COUNTER_FULL));
    machine.ok(&alloc_flow(2, 1));
    assert_eq!(machine.try_run(&alloc_flow(2, 1)), Err(Failure::FLOW_COUNTER_FULL), "260 - 257 are left");
    machine.ok(&naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1));
    machine.check();
    let balance = machine.balance();
    assert_eq!((balance.q_counters, balance.flow_counters), (2, 129), "those of uid 1 went with it");
    assert_eq!(machine.number(&plain(Opcode::ALLOC_Q_COUNTER, 2, &[]), alloc_q_counter_out::COUNTER_SET_ID), 2);
    assert_eq!(machine.number(&alloc_flow(2, 1), alloc_flow_counter_out::FLOW_COUNTER_ID), 4);
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
}

#[test]
fn without_the_capabilities_there_are_none() {
    let mut profile = small();
    for cap in ["max_qp_cnt", "max_flow_counter_15_0", "flow_counter_bulk_alloc"] {
        profile.capabilities.general.remove(cap);
    }
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    assert_eq!(machine.try_run(&plain(Opcode::ALLOC_Q_COUNTER, 0, &[])), Err(Failure::Q_COUNTER_FULL));
    assert_eq!(machine.try_run(&alloc_flow(0, 0)), Err(Failure::FLOW_COUNTER_FULL));
    assert_eq!(machine.try_run(&alloc_flow(0, 1)), Err(Failure::FLOW_COUNTER_BULK));
}
