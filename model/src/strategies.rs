//! Property-test strategies: commands as a driver, or nobody in his right mind, would send them.

use mlx5_twin_fw_cmds::layout::mbox_in;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::strategies;
use mlx5_twin_fw_cmds::twin_v1::{EMULATED_FUNCTION, TLP_CHANNEL};
use proptest::prelude::*;

use crate::firmware::COMMANDS;

/// An opcode: mostly one that the firmware has.
pub fn any_opcode() -> impl Strategy<Value = Opcode> {
    prop_oneof![
        6 => prop::sample::select(COMMANDS).prop_map(|spec| spec.opcode),
        1 => strategies::any_opcode(),
    ]
}

/// A byte: mostly zero, else mostly small.
fn sparse_byte() -> impl Strategy<Value = u8> {
    prop_oneof![14 => Just(0u8), 2 => 1u8..5, 1 => any::<u8>()]
}

/// The body of a command, up to 400 bytes: sparse, zero or any.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(sparse_byte(), 0..400),
        prop::collection::vec(Just(0u8), 0..400),
        prop::collection::vec(any::<u8>(), 0..400),
    ]
}

/// A command with a plausible header (opcode, uid, `op_mod`) and a body that's sparse, so that some are carried out; or any bytes at all.
pub fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let uid = prop_oneof![5 => Just(0u16), 3 => 1u16..4, 1 => any::<u16>()];
    // 0x8001 is a type of nobody's.
    let object = prop::sample::select(vec![TLP_CHANNEL.0, EMULATED_FUNCTION.0, 0x8001]);
    let op_mod = prop_oneof![5 => Just(0u16), 2 => 0u16..8, 1 => object, 1 => any::<u16>()];
    let plausible = (any_opcode(), uid, op_mod, body()).prop_map(|(opcode, uid, op_mod, body)| {
        let mut bytes = vec![0; 8];
        let fields = [(mbox_in::OPCODE, opcode.0), (mbox_in::UID, uid), (mbox_in::OP_MOD, op_mod)];
        for (field, value) in fields {
            // The header has room for its own fields.
            let _ = field.set(&mut bytes, value.into());
        }
        bytes.extend(body);
        bytes
    });
    prop_oneof![9 => plausible, 1 => strategies::any_buffer(64)]
}
