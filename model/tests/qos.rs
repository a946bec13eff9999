//! Packet pacing and scheduling elements through the command queue, with the default profile's capabilities.

mod common;

use common::Rig;
use common::commands::{object, plain};
use common::twin::user;
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::firmware::{Balance, Failure};

fn balance(rig: &mut Rig) -> Balance {
    rig.device(|device| device.firmware().resources().balance())
}

fn rate(uid: u16, index: u64, rate: u64) -> Vec<u8> {
    let rate = (set_pp_rate_limit_context::RATE_LIMIT.within(set_pp_rate_limit_in::CTX.bits()), rate);
    plain(Opcode::SET_PP_RATE_LIMIT, uid, &[(set_pp_rate_limit_in::RATE_LIMIT_INDEX, index), rate])
}

/// A command for a scheduling element of the function's own queues, with these fields of its context.
fn element(opcode: Opcode, uid: u16, id: u32, select: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut body = vec![0; sched_elem::SIZE];
    sched_elem::MODIFY_FIELD_SELECT.set(&mut body, select).expect("fits");
    sched_elem::SCHEDULING_HIERARCHY.set(&mut body, 3).expect("fits");
    for (field, value) in fields {
        field.within(sched_elem::SCHED_CONTEXT.bits()).set(&mut body, *value).expect("fits");
    }
    object(opcode, uid, ObjectType::SCHEDULING_ELEMENT, id, &body)
}

/// As Linux does for rdma-core's `test_mlx5_pp.py`: a shared entry and a dedicated one.
#[test]
fn rates_come_and_go() {
    let mut rig = Rig::initialised();
    let uid = user(&mut rig);
    let before = balance(&mut rig);
    rig.ok(&rate(0xffff, 1, 100));
    rig.ok(&rate(uid, 2, 100));
    assert_eq!(balance(&mut rig), Balance { rate_limits: 2, ..before });
    rig.refused(&rate(uid, 1, 0), Failure::RATE_FOREIGN);
    rig.refused(&rate(uid, 0, 100), Failure::RATE_INDEX);
    rig.refused(&rate(uid, 128, 100), Failure::RATE_INDEX);
    rig.refused(&rate(uid, 3, 100_000_001), Failure::RATE_RANGE);
    rig.ok(&rate(uid, 2, 0));
    rig.ok(&rate(0xffff, 1, 0));
    assert_eq!(balance(&mut rig), before);
}

/// As rdma-core's `test_mlx5_sched.py` does: root, node, leaf, both modified, and all given back from below.
#[test]
fn a_tree_of_scheduling_elements() {
    use scheduling_context::{BW_SHARE, ELEMENT_TYPE, MAX_AVERAGE_BW, PARENT_ELEMENT_ID};
    let (create, modify) = (Opcode::CREATE_GENERAL_OBJECT, Opcode::MODIFY_GENERAL_OBJECT);
    let destroy = |uid, id| element(Opcode::DESTROY_GENERAL_OBJECT, uid, id, 0, &[]);
    let mut rig = Rig::initialised();
    let uid = user(&mut rig);
    let before = balance(&mut rig);
    let number = |rig: &mut Rig, fields: &[(Field, u64)]| {
        rig.number(&element(create, uid, 0, 0, fields), general_obj_out_cmd_hdr::OBJ_ID)
    };
    let root = number(&mut rig, &[]);
    let node = number(&mut rig, &[(PARENT_ELEMENT_ID, u64::from(root)), (BW_SHARE, 2), (MAX_AVERAGE_BW, 10)]);
    let leaf = number(&mut rig, &[(PARENT_ELEMENT_ID, u64::from(node)), (ELEMENT_TYPE, 4)]);
    let balance_now = balance(&mut rig);
    assert_eq!((balance_now.scheduling_elements, balance_now.uses - before.uses), (3, 2));
    rig.ok(&element(modify, uid, node, 3, &[(BW_SHARE, 1), (MAX_AVERAGE_BW, 4)]));
    rig.ok(&element(modify, uid, leaf, 3, &[(BW_SHARE, 3), (MAX_AVERAGE_BW, 3)]));
    rig.refused(&element(modify, uid, leaf, 1, &[(BW_SHARE, 101)]), Failure::SCHEDULING_SHARE);
    rig.refused(&element(create, uid, 0, 0, &[(PARENT_ELEMENT_ID, leaf.into())]), Failure::SCHEDULING_PARENT);
    rig.refused(&destroy(uid, root), Failure::SCHEDULING_IN_USE);
    rig.refused(&destroy(0, leaf), Failure::SCHEDULING_FOREIGN);
    for id in [leaf, node, root] {
        rig.ok(&destroy(uid, id));
    }
    assert_eq!(balance(&mut rig), before);
}

#[test]
fn a_context_takes_all_it_has_with_it() {
    let mut rig = Rig::initialised();
    let before = balance(&mut rig);
    let uid = user(&mut rig);
    rig.ok(&rate(uid, 2, 100));
    rig.ok(&element(Opcode::CREATE_GENERAL_OBJECT, uid, 0, 0, &[]));
    rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, uid.into())]));
    assert_eq!(balance(&mut rig), before);
}
