//! QUERY_SPECIAL_CONTEXTS: memory keys with a meaning of their own.

use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, query_special_contexts_out};

use super::{Answer, Command, Effect, Firmware, ObjectKinds, Outcome};

/// Ends a scatter list (`qp.h`, `MLX5_TERMINATE_SCATTER_LIST_LKEY`). Its index is 1; the other special keys have the same index
/// (ours), so that no memory key may be made with it.
const TERMINATE_SCATTER_LIST_MKEY: u32 = 0x100;

/// Reads zeros and takes any write (ours).
const NULL_MKEY: u32 = 0x101;

/// Fills with zeros what a dump would show (ours).
const DUMP_FILL_MKEY: u32 = 0x102;

/// Answers the keys whose capability is in force; the others, and the reserved lkey, are 0: they are not there.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    _: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_special_contexts_out as out;
    for (cap, field, key) in [
        (cmd_hca_cap::TERMINATE_SCATTER_LIST_MKEY, out::TERMINATE_SCATTER_LIST_MKEY, TERMINATE_SCATTER_LIST_MKEY),
        (cmd_hca_cap::NULL_MKEY, out::NULL_MKEY, NULL_MKEY),
        (cmd_hca_cap::DUMP_FILL_MKEY, out::DUMP_FILL_MKEY, DUMP_FILL_MKEY),
    ] {
        if firmware.capabilities.general(cap) != 0 {
            answer.set(field, key)?;
        }
    }
    Ok(Effect::None)
}
