//! Any bytes as commands: nothing panics, the tables stay sound.

use mlx5_twin_fw_cmds::transport::ServiceType;
use proptest::prelude::*;

use super::*;
use crate::profile::PagesWanted;
use crate::strategies::any_command;

/// A way through the states, so that commands are met in each of them.
fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let usual = prop::sample::select(vec![
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
        create_xrc_srq(0, 1, 1, 1),
        create_qp(0, ServiceType::UD, DRIVER),
        transition(Opcode::RST2INIT_QP, 0, 0x40, 0, &[]),
        transition(Opcode::_2ERR_QP, 0, 0x40, 0, &[]),
        group(Opcode::ATTACH_TO_MCG, 0, 0x40, 0xff, 1),
    ]);
    let step = prop_oneof![2 => usual, 3 => any_command()];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_keep_the_tables_sound(steps in path(), room in prop::collection::vec(0usize..300, 60)) {
        let mut profile = small();
        profile.pages = PagesWanted { boot: 2, ..PagesWanted::default() };
        let mut machine = Machine::new(&profile);
        for (step, room) in steps.iter().zip(room) {
            let state = machine.firmware.state();
            let before = machine.balance();
            // Some outputs are roomy, some short.
            let room = if room % 3 == 0 { room } else { 5000 };
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
    }
}
