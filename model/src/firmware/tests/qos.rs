//! Rates of packet pacing, and scheduling elements.

use super::*;

/// SET_PP_RATE_LIMIT of an entry.
pub(super) fn rate(uid: u16, index: u64, rate: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let base = set_pp_rate_limit_in::CTX.bits();
    let fields: Vec<_> = fields.iter().map(|(field, value)| (field.within(base), *value)).collect();
    let own =
        [(set_pp_rate_limit_in::RATE_LIMIT_INDEX, index), (set_pp_rate_limit_context::RATE_LIMIT.within(base), rate)];
    with(plain(Opcode::SET_PP_RATE_LIMIT, uid, &own), &fields)
}

#[test]
fn rates() {
    let mut machine = furnished();
    machine.ok(&rate(1, 1, 100, &[]));
    machine.ok(&rate(0xffff, 2, 100, &[]));
    #[rustfmt::skip]
    let cases = vec![
        ("a free entry", rate(1, 3, 100, &[]), Ok(())),
        ("the driver's", rate(0, 3, 100, &[]), Ok(())),
        ("with all options", rate(1, 3, 1000, &[
            (set_pp_rate_limit_context::BURST_UPPER_BOUND, 9),
            (set_pp_rate_limit_context::TYPICAL_PACKET_SIZE, 64),
        ]), Ok(())),
        ("own, to another rate", rate(1, 1, 10, &[]), Ok(())),
        ("own, to none", rate(1, 1, 0, &[]), Ok(())),
        ("a free one to none", rate(1, 3, 0, &[]), Ok(())),
        ("the driver clears the shared one", rate(0, 2, 0, &[]), Ok(())),
        ("another's", rate(2, 1, 100, &[]), Err(Failure::RATE_FOREIGN)),
        ("another's, to none", rate(2, 1, 0, &[]), Err(Failure::RATE_FOREIGN)),
        ("the driver clears a user's", rate(0, 1, 0, &[]), Err(Failure::RATE_FOREIGN)),
        ("a user clears the shared one", rate(1, 2, 0, &[]), Err(Failure::RATE_FOREIGN)),
        ("'unlimited'", rate(1, 0, 100, &[]), Err(Failure::RATE_INDEX)),
        ("beyond the table", rate(1, 4, 100, &[]), Err(Failure::RATE_INDEX)),
        ("too slow", rate(1, 3, 9, &[]), Err(Failure::RATE_RANGE)),
        ("too fast", rate(1, 3, 1001, &[]), Err(Failure::RATE_RANGE)),
    ];
    table(&machine, cases);
    assert_eq!(machine.balance().rate_limits, 2);
    machine.ok(&naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1));
    machine.check();
    assert_eq!(machine.balance().rate_limits, 1, "those of uid 1 went with it");
    machine.ok(&rate(0xffff, 2, 0, &[]));
    assert_eq!(machine.balance().rate_limits, 0);
    machine.ok(&rate(0, 2, 100, &[]));
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
}

/// A machine with one context (uid 1), and without these capabilities.
fn without(caps: &[&str]) -> Machine {
    let mut profile = small();
    for cap in caps {
        profile.capabilities.qos.as_mut().expect("has the section").remove(*cap);
    }
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine.ok(&plain(Opcode::CREATE_UCTX, 0, &[]));
    machine
}

#[test]
fn what_rates_need() {
    use set_pp_rate_limit_context::{BURST_UPPER_BOUND, TYPICAL_PACKET_SIZE};
    let mut machine = without(&["packet_pacing"]);
    assert_eq!(machine.try_run(&rate(0, 1, 100, &[])), Err(Failure::RATE_INDEX));
    let mut machine = without(&["packet_pacing_uid"]);
    assert_eq!(machine.try_run(&rate(1, 1, 100, &[])), Err(Failure::RATE_UID));
    assert_eq!(machine.try_run(&rate(0xffff, 1, 100, &[])), Err(Failure::RATE_UID));
    machine.ok(&rate(0, 1, 100, &[]));
    let mut machine = without(&["packet_pacing_burst_bound", "packet_pacing_typical_size"]);
    for option in [BURST_UPPER_BOUND, TYPICAL_PACKET_SIZE] {
        assert_eq!(machine.try_run(&rate(1, 1, 100, &[(option, 1)])), Err(Failure::RATE_OPTION));
    }
    machine.ok(&rate(1, 1, 100, &[]));
}

/// Where a command of general objects has its body.
const BODY: u32 = general_obj_in_cmd_hdr::SIZE as u32 * 8;

/// A command of general objects for a scheduling element, with these fields of its context.
fn as_object(opcode: Opcode, uid: u16, id: u64, select: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let context = BODY + sched_elem::SCHED_CONTEXT.bits();
    let fields: Vec<_> = fields.iter().map(|(field, value)| (field.within(context), *value)).collect();
    let header = [
        (general_obj_in_cmd_hdr::OBJ_TYPE, ObjectType::SCHEDULING_ELEMENT.0.into()),
        (general_obj_in_cmd_hdr::OBJ_ID, id),
        (sched_elem::MODIFY_FIELD_SELECT.within(BODY), select),
        (sched_elem::SCHEDULING_HIERARCHY.within(BODY), 3),
    ];
    with(command(opcode, uid, BODY as usize / 8 + sched_elem::SIZE, &header), &fields)
}

pub(super) fn create_element(uid: u16, fields: &[(Field, u64)]) -> Vec<u8> {
    as_object(Opcode::CREATE_GENERAL_OBJECT, uid, 0, 0, fields)
}

pub(super) fn modify_element(uid: u16, id: u64, select: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    as_object(Opcode::MODIFY_GENERAL_OBJECT, uid, id, select, fields)
}

fn query(uid: u16, id: u64) -> Vec<u8> {
    as_object(Opcode::QUERY_GENERAL_OBJECT, uid, id, 0, &[])
}

fn destroy(uid: u16, id: u64) -> Vec<u8> {
    as_object(Opcode::DESTROY_GENERAL_OBJECT, uid, id, 0, &[])
}

use scheduling_context::{BW_SHARE, ELEMENT_TYPE, MAX_AVERAGE_BW, MAX_BW_OBJ_ID, PARENT_ELEMENT_ID};

/// `element_type` of a group of queues.
const GROUP: (Field, u64) = (ELEMENT_TYPE, 4);

const TSAR_TYPE: Field = tsar_element::TSAR_TYPE.within(scheduling_context::ELEMENT_ATTRIBUTES.bits());

/// Of uid 1: a root 1, a node 2 below it, a group of queues 3 below that. Of the driver: a root 4.
fn forest() -> Machine {
    let mut machine = furnished();
    for (uid, fields) in [
        (1, vec![]),
        (1, vec![(PARENT_ELEMENT_ID, 1), (BW_SHARE, 10), (MAX_AVERAGE_BW, 1000)]),
        (1, vec![(PARENT_ELEMENT_ID, 2), GROUP]),
        (0, vec![]),
    ] {
        machine.ok(&create_element(uid, &fields));
    }
    machine.check();
    assert_eq!((machine.balance().scheduling_elements, machine.balance().objects), (4, 3));
    machine
}

#[test]
fn scheduling_elements() {
    let below = |parent, fields: &[(Field, u64)]| {
        let fields: Vec<_> = [(PARENT_ELEMENT_ID, parent)].iter().chain(fields).copied().collect();
        create_element(1, &fields)
    };
    let hierarchy = |command: Vec<u8>| with(command, &[(sched_elem::SCHEDULING_HIERARCHY.within(BODY), 2)]);
    #[rustfmt::skip]
    let cases = vec![
        ("another root", create_element(1, &[]), Ok(())),
        ("a node", below(1, &[]), Ok(())),
        ("a node below a node", below(2, &[(BW_SHARE, 100)]), Ok(())),
        ("a group", below(2, &[GROUP]), Ok(())),
        ("a group that is a root", create_element(1, &[GROUP]), Err(Failure::SCHEDULING_PARENT)),
        ("below a group", below(3, &[]), Err(Failure::SCHEDULING_PARENT)),
        ("below nothing", below(9, &[]), Err(Failure::SCHEDULING_UNKNOWN)),
        ("below another's", below(4, &[]), Err(Failure::SCHEDULING_FOREIGN)),
        ("a virtual port", below(1, &[(ELEMENT_TYPE, 1)]), Err(Failure::SCHEDULING_TYPE)),
        ("no such type", below(1, &[(ELEMENT_TYPE, 0x44)]), Err(Failure::SCHEDULING_TYPE)),
        ("sharing in another way", below(1, &[(TSAR_TYPE, 1)]), Err(Failure::SCHEDULING_TYPE)),
        ("a group doesn't share, and so in no way", below(1, &[GROUP, (TSAR_TYPE, 1)]), Ok(())),
        ("too large a share", below(1, &[(BW_SHARE, 101)]), Err(Failure::SCHEDULING_SHARE)),
        ("with a limit for several", below(1, &[(MAX_BW_OBJ_ID, 1)]), Err(Failure::SCHEDULING_SHARE)),
        ("of the e-switch", hierarchy(create_element(1, &[])), Err(Failure::SCHEDULING_HIERARCHY)),
        ("too short", create_element(1, &[])[..0x8f].to_vec(), Err(Failure::INPUT_TOO_SHORT)),
        ("modify", modify_element(1, 2, 3, &[(BW_SHARE, 4), (MAX_AVERAGE_BW, 5)]), Ok(())),
        ("modify a root", modify_element(1, 1, 1, &[(BW_SHARE, 4)]), Ok(())),
        ("modify nothing", modify_element(1, 2, 0, &[]), Err(Failure::SCHEDULING_SELECT)),
        ("modify something else", modify_element(1, 2, 5, &[(BW_SHARE, 4)]), Err(Failure::SCHEDULING_SELECT)),
        ("modify to too large a share", modify_element(1, 2, 1, &[(BW_SHARE, 101)]), Err(Failure::SCHEDULING_SHARE)),
        ("modify with a share that isn't selected", modify_element(1, 2, 2, &[(BW_SHARE, 101)]), Ok(())),
        ("modify another's", modify_element(2, 2, 1, &[(BW_SHARE, 4)]), Err(Failure::SCHEDULING_FOREIGN)),
        ("modify none", modify_element(1, 9, 1, &[(BW_SHARE, 4)]), Err(Failure::SCHEDULING_UNKNOWN)),
        ("modify one of the e-switch", hierarchy(modify_element(1, 2, 1, &[])), Err(Failure::SCHEDULING_HIERARCHY)),
        ("query", query(1, 2), Ok(())),
        ("query another's", query(2, 2), Err(Failure::SCHEDULING_FOREIGN)),
        ("query none", query(1, 0), Err(Failure::SCHEDULING_UNKNOWN)),
        ("destroy", destroy(1, 3), Ok(())),
        ("destroy one with another below", destroy(1, 2), Err(Failure::SCHEDULING_IN_USE)),
        ("destroy another's", destroy(2, 3), Err(Failure::SCHEDULING_FOREIGN)),
        ("the driver destroys a user's", destroy(0, 3), Err(Failure::SCHEDULING_FOREIGN)),
        ("destroy none", destroy(1, 9), Err(Failure::SCHEDULING_UNKNOWN)),
        ("an offset into objects", with(query(1, 2), &[(general_obj_in_cmd_hdr::OP_PARAM, 1)]), Err(Failure::OBJECT_OPTION)),
    ];
    table(&forest(), cases);
}

#[test]
fn an_element_is_as_it_was_made_and_modified() {
    let mut machine = forest();
    let shown = |machine: &mut Machine, id, field: Field| {
        let answer = machine.ok(&query(1, id));
        assert_eq!(general_obj_out_cmd_hdr::OBJ_ID.get(&answer), Ok(id));
        assert_eq!(sched_elem::SCHEDULING_HIERARCHY.within(BODY).get(&answer), Ok(3));
        field.within(BODY + sched_elem::SCHED_CONTEXT.bits()).get(&answer).expect("the answer is long enough")
    };
    let all = [ELEMENT_TYPE, PARENT_ELEMENT_ID, BW_SHARE, MAX_AVERAGE_BW];
    assert_eq!(all.map(|field| shown(&mut machine, 2, field)), [0, 1, 10, 1000]);
    assert_eq!(all.map(|field| shown(&mut machine, 3, field)), [4, 2, 0, 0]);
    machine.ok(&modify_element(1, 2, 2, &[(BW_SHARE, 7), (MAX_AVERAGE_BW, 8)]));
    assert_eq!(all.map(|field| shown(&mut machine, 2, field)), [0, 1, 10, 8]);
    let (executed, _) = machine.run_with(&query(1, 2), 0x8f);
    assert_eq!(executed.syndrome, Failure::OUTPUT_TOO_SHORT.syndrome.0);
}

#[test]
fn elements_go_with_their_context_or_one_by_one() {
    let mut machine = forest();
    machine.ok(&create_element(1, &[(PARENT_ELEMENT_ID, 1), GROUP]));
    assert_eq!(machine.try_run(&create_element(1, &[(PARENT_ELEMENT_ID, 1), GROUP])), Err(Failure::SCHEDULING_GROUPS));
    for id in [5, 3, 2, 1] {
        machine.ok(&destroy(1, id));
        machine.check();
    }
    assert_eq!((machine.balance().scheduling_elements, machine.balance().uses), (1, furnished().balance().uses));

    let mut machine = forest();
    machine.ok(&naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1));
    machine.check();
    assert_eq!(machine.balance().scheduling_elements, 1);
    machine.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
    assert!(machine.balance().is_zero());
}

#[test]
fn all_elements_are_taken() {
    let mut machine = furnished();
    for _ in 0..MAX_SCHEDULING_ELEMENTS {
        machine.ok(&create_element(1, &[]));
    }
    assert_eq!(machine.try_run(&create_element(1, &[])), Err(Failure::SCHEDULING_FULL));
    machine.ok(&destroy(1, 77));
    assert_eq!(machine.number(&create_element(1, &[]), general_obj_out_cmd_hdr::OBJ_ID), 77);
}

/// The commands of their own name the same elements.
#[test]
fn the_commands_of_scheduling_elements() {
    let context = create_scheduling_element_in::SCHEDULING_CONTEXT.bits();
    let make = |uid, hierarchy, fields: &[(Field, u64)]| {
        let fields: Vec<_> = fields.iter().map(|(field, value)| (field.within(context), *value)).collect();
        let own = [(create_scheduling_element_in::SCHEDULING_HIERARCHY, hierarchy)];
        with(plain(Opcode::CREATE_SCHEDULING_ELEMENT, uid, &own), &fields)
    };
    let change = |uid, id, select, share| {
        use modify_scheduling_element_in::{MODIFY_BITMASK, SCHEDULING_ELEMENT_ID, SCHEDULING_HIERARCHY};
        let share = (BW_SHARE.within(modify_scheduling_element_in::SCHEDULING_CONTEXT.bits()), share);
        let own = [(SCHEDULING_HIERARCHY, 3), (SCHEDULING_ELEMENT_ID, id), (MODIFY_BITMASK, select), share];
        plain(Opcode::MODIFY_SCHEDULING_ELEMENT, uid, &own)
    };
    let end = |uid, hierarchy, id| {
        use destroy_scheduling_element_in::{SCHEDULING_ELEMENT_ID, SCHEDULING_HIERARCHY};
        let own = [(SCHEDULING_HIERARCHY, hierarchy), (SCHEDULING_ELEMENT_ID, id)];
        plain(Opcode::DESTROY_SCHEDULING_ELEMENT, uid, &own)
    };
    #[rustfmt::skip]
    let cases = vec![
        ("a root", make(0, 3, &[]), Ok(())),
        ("a group", make(1, 3, &[(PARENT_ELEMENT_ID, 2), GROUP]), Ok(())),
        ("of the e-switch", make(0, 2, &[]), Err(Failure::SCHEDULING_HIERARCHY)),
        ("below a group", make(1, 3, &[(PARENT_ELEMENT_ID, 3)]), Err(Failure::SCHEDULING_PARENT)),
        ("modify", change(1, 2, 1, 50), Ok(())),
        ("modify nothing", change(1, 2, 0, 50), Err(Failure::SCHEDULING_SELECT)),
        ("modify another's", change(2, 2, 1, 50), Err(Failure::SCHEDULING_FOREIGN)),
        ("destroy", end(1, 3, 3), Ok(())),
        ("destroy one of the e-switch", end(1, 2, 3), Err(Failure::SCHEDULING_HIERARCHY)),
        ("destroy one with another below", end(1, 3, 2), Err(Failure::SCHEDULING_IN_USE)),
        ("destroy another's", end(2, 3, 3), Err(Failure::SCHEDULING_FOREIGN)),
        ("destroy none", end(1, 3, 9), Err(Failure::SCHEDULING_UNKNOWN)),
    ];
    let mut machine = forest();
    table(&machine, cases);
    assert_eq!(machine.number(&make(0, 3, &[]), create_scheduling_element_out::SCHEDULING_ELEMENT_ID), 5);
    machine.ok(&destroy(0, 5));
}

#[test]
fn what_elements_need() {
    let mut machine = without(&["nic_element_type"]);
    assert_eq!(machine.try_run(&create_element(1, &[])), Err(Failure::SCHEDULING_TYPE));
    let mut machine = without(&["nic_bw_share", "nic_rate_limit"]);
    machine.ok(&create_element(1, &[]));
    for field in [BW_SHARE, MAX_AVERAGE_BW] {
        assert_eq!(machine.try_run(&create_element(1, &[(field, 1)])), Err(Failure::SCHEDULING_SHARE));
    }
    let mut profile = small();
    profile.capabilities.general.insert("general_obj_types".to_owned(), CapabilityValue::One(1 << 13));
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    assert_eq!(machine.try_run(&create_element(0, &[])), Err(Failure::OBJECT_TYPE));
}
