//! Any bytes as commands: nothing panics, the tables stay sound.

use mlx5_twin_fw_cmds::transport::ServiceType;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::profile::PagesWanted;
use crate::strategies::any_command;

/// Commands that make and change things, one of each kind.
fn usual() -> Vec<Vec<u8>> {
    vec![
        plain(Opcode::ENABLE_HCA, 0, &[]),
        manage_pages(1, 2, &[0x1000, 0x2000]),
        plain(Opcode::INIT_HCA, 0, &[]),
        plain(Opcode::CREATE_UCTX, 0, &[]),
        plain(Opcode::ALLOC_UAR, 1, &[]),
        create_umem(1, &[0x5003]),
        create_eq(0xffff, 2, 0x100, 0, 1),
        object(Opcode::CREATE_GENERAL_OBJECT, 1, 0, 1, 0),
        plain(Opcode::ALLOC_PD, 0, &[]),
        plain(Opcode::ALLOC_XRCD, 0, &[]),
        create_cq(0, 0x100, 1),
        create_mkey(0, 1, &[0x1003]),
        create_rmp(0, 1),
        create_srq(0, 1),
        create_xrc_srq(0, 1, 1, 1),
        create_qp(0, ServiceType::UD, DRIVER),
        transition(Opcode::RST2INIT_QP, 0, 0x40, 0, &[]),
        transition(Opcode::INIT2RTR_QP, 0, 0x40, 0, &[(qpc::MTU, 5)]),
        transition(Opcode::RTR2RTS_QP, 0, 0x40, 0, &[]),
        transition(Opcode::RTS2RTS_QP, 0, 0x40, 0x24, &[]),
        transition(Opcode::_2ERR_QP, 0, 0x40, 0, &[]),
        transition(Opcode::_2RST_QP, 0, 0x40, 0, &[]),
        naming(Opcode::QUERY_QP, 0, query_qp_in::QPN, 0x40),
        naming(Opcode::DESTROY_QP, 0, destroy_qp_in::QPN, 0x40),
        naming(Opcode::QUERY_MKEY, 0, query_mkey_in::MKEY_INDEX, 2),
        naming(Opcode::QUERY_CQ, 0, query_cq_in::CQN, 1),
        group(Opcode::ATTACH_TO_MCG, 0, 0x40, 0xff, 1),
        memic::alloc(memic::WINDOW, 0x1000, 128, 0),
        memic::key(memic::WINDOW, 128, &[]),
        memic::operation(0, memic::WINDOW, 1),
        memic::dealloc(memic::WINDOW, 128),
        qos::rate(1, 1, 100, &[]),
        qos::create_element(1, &[]),
        qos::create_element(1, &[(scheduling_context::PARENT_ELEMENT_ID, 1)]),
        qos::modify_element(1, 1, 1, &[(scheduling_context::BW_SHARE, 5)]),
    ]
}

/// A usual command of which a few bytes are others.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(usual()), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes
    })
}

/// Runs commands, with room for some answers and not for others: the tables stay sound, and a refused
/// command changes nothing.
fn run_all(machine: &mut Machine, steps: &[Vec<u8>], room: &[usize]) -> Result<(), TestCaseError> {
    for (step, room) in steps.iter().zip(room) {
        let state = machine.firmware.state();
        let before = machine.balance();
        let room = if room % 3 == 0 { *room } else { 5000 };
        let (executed, _) = machine.run_with(step, room);
        machine.check();
        if executed.status != Status::OK {
            prop_assert_eq!(&executed.effect, &Effect::None);
            prop_assert_eq!((state, before), (machine.firmware.state(), machine.balance()));
        }
        let refused = executed.syndrome != 0;
        prop_assert_eq!(refused, executed.status != Status::OK);
        prop_assert_ne!(executed.syndrome, Failure::INTERNAL.syndrome.0);
    }
    machine.firmware.reset(&mut machine.boxes);
    prop_assert!(machine.balance().is_zero());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A way through the states, so that commands are met in each of them.
    #[test]
    fn any_bytes_keep_the_tables_sound(
        steps in prop::collection::vec(prop_oneof![2 => prop::sample::select(usual()), 3 => any_command()], 0..60),
        room in prop::collection::vec(0usize..300, 60),
    ) {
        let mut profile = small();
        profile.pages = PagesWanted { boot: 2, ..PagesWanted::default() };
        run_all(&mut Machine::new(&profile), &steps, &room)?;
    }

    /// Where there is some of everything already.
    #[test]
    fn any_bytes_keep_full_tables_sound(
        steps in prop::collection::vec(prop_oneof![2 => spoilt(), 1 => any_command()], 0..60),
        room in prop::collection::vec(0usize..300, 60),
    ) {
        run_all(&mut furnished_for_transport(), &steps, &room)?;
    }
}
