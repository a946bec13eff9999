//! Any bytes as commands: nothing panics, the tables stay sound.

use mlx5_twin_fw_cmds::strategies;
use proptest::prelude::*;

use super::*;
use crate::profile::PagesWanted;

/// An opcode: mostly one that the firmware has.
fn any_opcode() -> impl Strategy<Value = Opcode> {
    prop_oneof![
        6 => prop::sample::select(COMMANDS).prop_map(|spec| spec.opcode),
        1 => strategies::any_opcode(),
    ]
}

/// A byte: mostly zero, else mostly small.
fn sparse_byte() -> impl Strategy<Value = u8> {
    prop_oneof![14 => Just(0u8), 2 => 1u8..5, 1 => any::<u8>()]
}

/// A command with a plausible header; its body is sparse, so that some are carried out.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        prop::collection::vec(sparse_byte(), 0..400),
        prop::collection::vec(Just(0u8), 0..400),
        prop::collection::vec(any::<u8>(), 0..400),
    ];
    let uid = prop_oneof![5 => Just(0u16), 3 => 1u16..4, 1 => any::<u16>()];
    let op_mod = prop_oneof![5 => Just(0u16), 2 => 0u16..8, 1 => Just(BOX.0), 1 => any::<u16>()];
    let parts = (any_opcode(), uid, op_mod, body);
    let plausible = parts.prop_map(|(opcode, uid, op_mod, body)| {
        let mut bytes = command(opcode, uid, 8, &[(mbox_in::OP_MOD, op_mod.into())]);
        bytes.extend(body);
        bytes
    });
    prop_oneof![9 => plausible, 1 => strategies::any_buffer(64)]
}

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
    ]);
    let step = prop_oneof![2 => usual, 3 => any_command()];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_keep_the_tables_sound(steps in path(), room in prop::collection::vec(0usize..300, 60)) {
        let mut profile = small();
        profile.pages = PagesWanted { boot: 2, init: 0 };
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
