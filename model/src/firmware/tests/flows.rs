//! Flow tables, groups and entries.

use mlx5_twin_fw_cmds::constants::*;

use super::ethernet::{create_rq, create_tir, furnished_for_ethernet};
use super::*;

const fn table_in(field: Field) -> Field {
    field.within(create_flow_table_in::FLOW_TABLE_CONTEXT.bits())
}

/// A table of 16 entries on a level.
fn create(uid: u16, level: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut all = vec![(table_in(flow_table_context::LEVEL), level), (table_in(flow_table_context::LOG_SIZE), 4)];
    all.extend_from_slice(fields);
    plain(Opcode::CREATE_FLOW_TABLE, uid, &all)
}

/// A group of table 1.
fn group(first: u64, last: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    use create_flow_group_in::{END_FLOW_INDEX, START_FLOW_INDEX, TABLE_ID};
    let mut all = vec![(TABLE_ID, 1), (START_FLOW_INDEX, first), (END_FLOW_INDEX, last)];
    all.extend_from_slice(fields);
    plain(Opcode::CREATE_FLOW_GROUP, 0, &all)
}

const fn flow_in(field: Field) -> Field {
    field.within(set_fte_in::FLOW_CONTEXT.bits())
}

/// An entry of table 1 and group 1, with these destinations (type and number) and counters.
fn entry(index: u64, action: u16, to: &[(u8, u64)], counters: &[u64], fields: &[(Field, u64)]) -> Vec<u8> {
    let mut all = vec![
        (set_fte_in::TABLE_ID, 1),
        (set_fte_in::FLOW_INDEX, index),
        (flow_in(flow_context::GROUP_ID), 1),
        (flow_in(flow_context::ACTION), action.into()),
        (flow_in(flow_context::DESTINATION_LIST_SIZE), to.len() as u64),
        (flow_in(flow_context::FLOW_COUNTER_LIST_SIZE), counters.len() as u64),
    ];
    all.extend_from_slice(fields);
    let mut bytes = plain(Opcode::SET_FLOW_TABLE_ENTRY, 0, &all);
    for (kind, id) in to {
        bytes.extend((u64::from(*kind) << 56 | id << 32).to_be_bytes());
    }
    for counter in counters {
        bytes.extend((counter << 32).to_be_bytes());
    }
    bytes
}

/// Tables 1 (level 1, with group 1 of entries 2 to 5) and 2 (level 2), TIR 1, flow counter 1.
fn furnished_with_flows() -> Machine {
    let mut machine = furnished_for_ethernet();
    let rqn = machine.number(&create_rq(0, 1, 1, &[]), create_rq_out::RQN);
    machine.ok(&create_tir(0, 1, &[(tirc::INLINE_RQN, rqn.into())]));
    for step in [create(0, 1, &[]), create(0, 2, &[]), group(2, 5, &[]), plain(Opcode::ALLOC_FLOW_COUNTER, 0, &[])] {
        machine.ok(&step);
    }
    machine.check();
    machine
}

const TABLE: u8 = FLOW_DESTINATION_TABLE;
const TIR: u8 = FLOW_DESTINATION_TIR;

#[test]
fn flow_tables() {
    use flow_table_context as context;
    let miss = |level, action, id| {
        create(0, level, &[(table_in(context::TABLE_MISS_ACTION), action), (table_in(context::TABLE_MISS_ID), id)])
    };
    let modify = |select, action, id| {
        let fields = [
            (modify_flow_table_in::TABLE_ID, 1),
            (modify_flow_table_in::MODIFY_FIELD_SELECT, select),
            (table_in(context::TABLE_MISS_ACTION), action),
            (table_in(context::TABLE_MISS_ID), id),
        ];
        plain(Opcode::MODIFY_FLOW_TABLE, 0, &fields)
    };
    let destroy = |uid, id| naming(Opcode::DESTROY_FLOW_TABLE, uid, destroy_flow_table_in::TABLE_ID, id);
    let root = |op_mod, id, fields: &[(Field, u64)]| {
        let mut all = vec![(mbox_in::OP_MOD, op_mod), (set_flow_table_root_in::TABLE_ID, id)];
        all.extend_from_slice(fields);
        plain(Opcode::SET_FLOW_TABLE_ROOT, 0, &all)
    };
    let mut machine = furnished_with_flows();
    #[rustfmt::skip]
    let cases = vec![
        ("on the last level", create(1, 4, &[]), Ok(())),
        ("on no level", create(0, 5, &[]), Err(Failure::FLOW_TABLE_LEVEL)),
        ("for sent packets", create(0, 0, &[(create_flow_table_in::TABLE_TYPE, 1)]), Err(Failure::FLOW_TABLE_TYPE)),
        ("too large", create(0, 0, &[(table_in(context::LOG_SIZE), 9)]), Err(Failure::FLOW_TABLE_SIZE)),
        ("the software's", create(0, 0, &[(table_in(context::SW_OWNER), 1)]), Err(Failure::FLOW_TABLE_OPTION)),
        ("another port's", create(0, 0, &[(create_flow_table_in::OTHER_VPORT, 1)]), Err(Failure::OTHER_FUNCTION)),
        ("misses go on", miss(0, 1, 1), Ok(())),
        ("misses go back", miss(2, 1, 2), Err(Failure::FLOW_TABLE_MISS)),
        ("misses go nowhere", miss(0, 1, 9), Err(Failure::FLOW_TABLE_UNKNOWN)),
        ("no such way", miss(0, 2, 0), Err(Failure::FLOW_TABLE_MISS)),
        ("misses go on from now on", modify(1, 1, 2), Ok(())),
        ("misses go to itself", modify(1, 1, 1), Err(Failure::FLOW_TABLE_MISS)),
        ("change nothing", modify(0, 0, 0), Err(Failure::FLOW_TABLE_MODIFY)),
        ("destroy", destroy(0, 2), Ok(())),
        ("destroy one with a group", destroy(0, 1), Err(Failure::FLOW_TABLE_IN_USE)),
        ("destroy another's", destroy(1, 2), Err(Failure::FLOW_TABLE_FOREIGN)),
        ("destroy none", destroy(0, 3), Err(Failure::FLOW_TABLE_UNKNOWN)),
        ("destroy as one of another type", with(destroy(0, 2), &[(destroy_flow_table_in::TABLE_TYPE, 1)]), Err(Failure::FLOW_TABLE_TYPE)),
        ("first", root(0, 1, &[]), Ok(())),
        ("first for a queue pair", root(0, 1, &[(set_flow_table_root_in::UNDERLAY_QPN, 7)]), Err(Failure::FLOW_TABLE_ROOT)),
        ("none is first", root(1, 0, &[]), Ok(())),
        ("no such operation", root(2, 1, &[]), Err(Failure::OP_MOD)),
    ];
    table(&machine, cases);
    machine.ok(&root(0, 2, &[]));
    assert_eq!(machine.try_run(&root(0, 1, &[])), Err(Failure::FLOW_TABLE_ROOT), "modify_root is 0");
    machine.ok(&destroy(0, 2));
    machine.ok(&root(0, 1, &[]));
    for _ in 1..MAX_FLOW_TABLES {
        machine.ok(&create(0, 0, &[]));
    }
    assert_eq!(machine.try_run(&create(0, 0, &[])), Err(Failure::FLOW_TABLE_FULL));
}

#[test]
fn groups_of_flows() {
    let destroy = |uid, table, id| {
        let fields = [(destroy_flow_group_in::TABLE_ID, table), (destroy_flow_group_in::GROUP_ID, id)];
        plain(Opcode::DESTROY_FLOW_GROUP, uid, &fields)
    };
    let mut machine = furnished_with_flows();
    #[rustfmt::skip]
    let cases = vec![
        ("before", group(0, 1, &[]), Ok(())),
        ("behind", group(6, 15, &[]), Ok(())),
        ("over another", group(5, 6, &[]), Err(Failure::FLOW_GROUP_OVERLAP)),
        ("beyond the table", group(6, 16, &[]), Err(Failure::FLOW_GROUP_RANGE)),
        ("backwards", group(7, 6, &[]), Err(Failure::FLOW_GROUP_RANGE)),
        ("by hash", group(6, 6, &[(create_flow_group_in::GROUP_TYPE, 1)]), Err(Failure::FLOW_GROUP_OPTION)),
        ("of no table", group(6, 6, &[(create_flow_group_in::TABLE_ID, 9)]), Err(Failure::FLOW_TABLE_UNKNOWN)),
        ("destroy", destroy(0, 1, 1), Ok(())),
        ("destroy that of another table", destroy(0, 2, 1), Err(Failure::FLOW_GROUP_UNKNOWN)),
        ("destroy another's", destroy(1, 1, 1), Err(Failure::FLOW_TABLE_FOREIGN)),
    ];
    table(&machine, cases);
    machine.ok(&entry(2, FLOW_DROP, &[], &[], &[]));
    assert_eq!(machine.try_run(&destroy(0, 1, 1)), Err(Failure::FLOW_GROUP_IN_USE));
    // As many as there may be are of several tables: of 16 groups of one entry each, here.
    for table in 0..MAX_FLOW_TABLES / 16 {
        let table = match table {
            0 => 2,
            _ => machine.number(&create(0, 1, &[]), create_flow_table_out::TABLE_ID).into(),
        };
        for index in 0..16 {
            let bytes = group(index, index, &[(create_flow_group_in::TABLE_ID, table)]);
            let full = machine.balance().flow_groups == MAX_FLOW_TABLES as usize;
            assert_eq!(machine.try_run(&bytes).map(drop), if full { Err(Failure::FLOW_GROUP_FULL) } else { Ok(()) });
        }
    }
    assert_eq!(machine.balance().flow_groups, MAX_FLOW_TABLES as usize);
    machine.check();
}

#[test]
fn flow_entries() {
    let delete = |index| {
        let fields = [(delete_fte_in::TABLE_ID, 1), (delete_fte_in::FLOW_INDEX, index)];
        plain(Opcode::DELETE_FLOW_TABLE_ENTRY, 0, &fields)
    };
    let change = |mask: u8, action, to: &[(u8, u64)], counters: &[u64]| {
        entry(2, action, to, counters, &[(mbox_in::OP_MOD, 1), (set_fte_in::MODIFY_ENABLE_MASK, mask.into())])
    };
    let mut machine = furnished_with_flows();
    machine.ok(&entry(2, FLOW_FORWARD, &[(TABLE, 2)], &[], &[]));
    let (forward, drop) = (FLOW_FORWARD, FLOW_DROP);
    #[rustfmt::skip]
    let cases = vec![
        ("to a queue", entry(3, forward, &[(TIR, 1)], &[], &[]), Ok(())),
        ("to both", entry(3, forward, &[(TIR, 1), (TABLE, 2)], &[], &[]), Ok(())),
        ("to too many", entry(3, forward, &[(TIR, 1); 3], &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("counted", entry(3, drop | FLOW_COUNT, &[], &[1], &[]), Ok(())),
        ("counted by nothing", entry(3, drop | FLOW_COUNT, &[], &[9], &[]), Err(Failure::FLOW_COUNTER_UNKNOWN)),
        ("counted without a counter", entry(3, drop | FLOW_COUNT, &[], &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("sent on and dropped", entry(3, forward | drop, &[(TIR, 1)], &[], &[]), Err(Failure::FLOW_ENTRY_ACTION)),
        ("changed", entry(3, forward | 0x40, &[(TIR, 1)], &[], &[]), Err(Failure::FLOW_ENTRY_ACTION)),
        ("sent nowhere", entry(3, forward, &[], &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("to a virtual port", entry(3, forward, &[(0, 1)], &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("to itself", entry(3, forward, &[(TABLE, 1)], &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("to no interface", entry(3, forward, &[(TIR, 2)], &[], &[]), Err(Failure::TIR_UNKNOWN)),
        ("levels ignored", entry(3, forward, &[(TABLE, 2)], &[], &[(set_fte_in::IGNORE_FLOW_LEVEL, 1)]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("where there's one", entry(2, drop, &[], &[], &[]), Err(Failure::FLOW_ENTRY_TAKEN)),
        ("outside its group", entry(6, drop, &[], &[], &[]), Err(Failure::FLOW_ENTRY_INDEX)),
        ("of no group", entry(3, drop, &[], &[], &[(flow_in(flow_context::GROUP_ID), 2)]), Err(Failure::FLOW_ENTRY_INDEX)),
        ("a list too short", entry(3, forward, &[(TIR, 1)], &[], &[])[..set_fte_in::SIZE].to_vec(), Err(Failure::INPUT_TOO_SHORT)),
        ("change where it goes", change(1 << FLOW_MODIFY_DESTINATIONS, forward, &[(TIR, 1)], &[]), Ok(())),
        ("drop from now on", change(1 << FLOW_MODIFY_ACTION | 1 << FLOW_MODIFY_DESTINATIONS, drop, &[], &[]), Ok(())),
        ("drop, but to somewhere", change(1 << FLOW_MODIFY_ACTION, drop, &[], &[]), Err(Failure::FLOW_ENTRY_DESTINATION)),
        ("change its encryption", change(1 << 4, forward, &[(TIR, 1)], &[]), Err(Failure::FLOW_ENTRY_MODIFY)),
        ("delete", delete(2), Ok(())),
        ("delete none", delete(3), Err(Failure::FLOW_ENTRY_UNKNOWN)),
        ("destroy a table that one leads to", naming(Opcode::DESTROY_FLOW_TABLE, 0, destroy_flow_table_in::TABLE_ID, 2), Err(Failure::FLOW_TABLE_IN_USE)),
    ];
    table(&machine, cases);
    machine.ok(&change(1 << FLOW_MODIFY_DESTINATIONS, forward, &[(TIR, 1)], &[]));
    machine.check();
    let destroy = naming(Opcode::DESTROY_TIR, 0, destroy_tir_in::TIRN, 1);
    assert_eq!(machine.try_run(&destroy), Err(Failure::TIR_IN_USE));
    machine.ok(&delete(2));
    machine.ok(&destroy);
}

/// An entry uses its counters, and with each all that were made with it.
#[test]
fn counters_of_flows() {
    let dealloc = |id| naming(Opcode::DEALLOC_FLOW_COUNTER, 0, dealloc_flow_counter_in::FLOW_COUNTER_ID, id);
    let change = |counters: &[u64]| {
        let mask = (set_fte_in::MODIFY_ENABLE_MASK, 1 << FLOW_MODIFY_COUNTERS);
        entry(2, FLOW_DROP | FLOW_COUNT, &[], counters, &[(mbox_in::OP_MOD, 1), mask])
    };
    let delete =
        plain(Opcode::DELETE_FLOW_TABLE_ENTRY, 0, &[(delete_fte_in::TABLE_ID, 1), (delete_fte_in::FLOW_INDEX, 2)]);
    let mut machine = furnished_with_flows();
    let alloc = |bulk| naming(Opcode::ALLOC_FLOW_COUNTER, 0, alloc_flow_counter_in::FLOW_COUNTER_BULK, bulk);
    let first = u64::from(machine.number(&alloc(1), alloc_flow_counter_out::FLOW_COUNTER_ID));
    let foreign = machine.number(&plain(Opcode::ALLOC_FLOW_COUNTER, 1, &[]), alloc_flow_counter_out::FLOW_COUNTER_ID);
    machine.ok(&entry(2, FLOW_DROP | FLOW_COUNT, &[], &[1], &[]));
    machine.check();
    #[rustfmt::skip]
    let cases = vec![
        ("one in use", dealloc(1), Err(Failure::FLOW_COUNTER_IN_USE)),
        ("one that isn't", dealloc(first), Ok(())),
        ("another counts", change(&[first + 5]), Ok(())),
        ("nothing counts", change(&[first + 128]), Err(Failure::FLOW_COUNTER_UNKNOWN)),
    ];
    table(&machine, cases);
    machine.ok(&change(&[first + 127]));
    assert_eq!(machine.try_run(&dealloc(first)), Err(Failure::FLOW_COUNTER_IN_USE));
    machine.ok(&dealloc(1));
    machine.ok(&change(&[foreign.into()]));
    machine.check();
    let destroy = naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1);
    assert_eq!(machine.try_run(&destroy), Err(Failure::UCTX_IN_USE));
    machine.ok(&delete);
    machine.ok(&destroy);
    machine.ok(&dealloc(first));
    machine.check();
    assert_eq!(machine.balance().flow_counters, 0);
}

/// As many entries as there may be are of several tables: of 256 each, here.
#[test]
fn the_most_flow_entries() {
    let mut machine = furnished_with_flows();
    for _ in 0..MAX_FLOW_ENTRIES / 256 {
        let of = machine
            .number(&create(0, 1, &[(table_in(flow_table_context::LOG_SIZE), 8)]), create_flow_table_out::TABLE_ID);
        let of = u64::from(of);
        let id =
            machine.number(&group(0, 255, &[(create_flow_group_in::TABLE_ID, of)]), create_flow_group_out::GROUP_ID);
        for index in 0..256 {
            let fields = [(set_fte_in::TABLE_ID, of), (flow_in(flow_context::GROUP_ID), id.into())];
            machine.ok(&entry(index, FLOW_DROP, &[], &[], &fields));
        }
    }
    assert_eq!(machine.try_run(&entry(2, FLOW_DROP, &[], &[], &[])), Err(Failure::FLOW_ENTRY_FULL));
}
