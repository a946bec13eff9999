//! CREATE_TIS, MODIFY_TIS, QUERY_TIS: what packets that a send queue sends have in common.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_tis_in, modify_tis_bitmask, modify_tis_in, query_tis_in, query_tis_out, tisc,
};

use super::number::make;
use super::work_queue::Needs::{General, Never};
use super::work_queue::{Needs, all_offered};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Tis};

/// Fields of the context that need something. `underlay_qpn` is for IP over InfiniBand.
const OPTIONS: &[(Field, Needs)] = &[
    (tisc::STRICT_LAG_TX_PORT_AFFINITY, General(cmd_hca_cap::LAG_TX_PORT_AFFINITY)),
    (tisc::LAG_TX_PORT_AFFINITY, General(cmd_hca_cap::LAG_TX_PORT_AFFINITY)),
    (tisc::TLS_EN, General(cmd_hca_cap::TLS_TX)),
    (tisc::UNDERLAY_QPN, Never),
];

/// What MODIFY_TIS changes: the bit that says so, and the field.
const MODIFIABLE: &[(Field, Field)] = &[
    (modify_tis_bitmask::PRIO, tisc::PRIO),
    (modify_tis_bitmask::LAG_TX_PORT_AFFINITY, tisc::LAG_TX_PORT_AFFINITY),
    (modify_tis_bitmask::STRICT_LAG_TX_PORT_AFFINITY, tisc::STRICT_LAG_TX_PORT_AFFINITY),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let context = Context::read(&[tisc::LAYOUT], command.bytes(), create_tis_in::CTX.bits())?;
    if !all_offered(firmware, &context, OPTIONS) {
        return Err(Failure::TIS_OPTION);
    }
    make(firmware, command, answer, Tis(context))
}

pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let tisn: u32 = command.get(modify_tis_in::TISN)?;
    let Tis(mut context) = firmware.resources.owned::<Tis>(tisn, command.actor())?.clone();
    for (bit, field) in MODIFIABLE {
        if command.flag(bit.within(modify_tis_in::BITMASK.bits()))? {
            context.copy(*field, command.bytes(), modify_tis_in::CTX.bits())?;
        }
    }
    if !all_offered(firmware, &context, OPTIONS) {
        return Err(Failure::TIS_OPTION);
    }
    firmware.resources.replace(tisn, Tis(context))?;
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let tisn: u32 = command.get(query_tis_in::TISN)?;
    let Tis(context) = firmware.resources.named(tisn, command.actor())?;
    answer.set_bytes(query_tis_out::TIS_CONTEXT, context.bytes())?;
    Ok(Effect::None)
}
