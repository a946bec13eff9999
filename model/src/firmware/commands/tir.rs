//! CREATE_TIR, MODIFY_TIR, QUERY_TIR: by which rule received packets get to a receive queue.

use mlx5_twin_fw_cmds::constants::{RX_HASH_TOEPLITZ, RX_HASH_XOR8, TIRC_DIRECT, TIRC_INDIRECT};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    cmd_hca_cap, create_tir_in, modify_tir_bitmask, modify_tir_in, per_protocol_networking_offload_caps as eth,
    query_tir_in, query_tir_out, rx_hash_field_select, tirc,
};

use super::number::make;
use super::work_queue::Needs::{Ethernet, General};
use super::work_queue::{Needs, all_offered};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Tir};

/// What can be done with packets in tunnels.
#[rustfmt::skip]
const TUNNELS: &[Field] = &[
    eth::TUNNEL_STATELESS_GRE, eth::TUNNEL_STATELESS_VXLAN, eth::TUNNEL_STATELESS_GENEVE_RX,
    eth::TUNNEL_STATELESS_IP_OVER_IP, eth::TUNNEL_STATELESS_IP_OVER_IP_RX,
];

/// Fields of the context that need something.
const OPTIONS: &[(Field, Needs)] = &[
    (tirc::TLS_EN, General(cmd_hca_cap::TLS_RX)),
    (tirc::PACKET_MERGE_MASK, Ethernet(&[eth::LRO_CAP])),
    (tirc::TUNNELED_OFFLOAD_EN, Ethernet(TUNNELS)),
    (tirc::SELF_LB_BLOCK, Ethernet(&[eth::SELF_LB_EN_MODIFIABLE])),
];

/// What MODIFY_TIR changes: the bit that says so, and the fields.
const MODIFIABLE: &[(Field, &[Field])] = &[
    (
        modify_tir_bitmask::PACKET_MERGE,
        &[tirc::LRO_TIMEOUT_PERIOD_USECS, tirc::PACKET_MERGE_MASK, tirc::LRO_MAX_IP_PAYLOAD_SIZE],
    ),
    (modify_tir_bitmask::SELF_LB_EN, &[tirc::SELF_LB_BLOCK]),
    (modify_tir_bitmask::HASH, &[tirc::RX_HASH_SYMMETRIC, tirc::RX_HASH_FN]),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let context = Context::read(&[tirc::LAYOUT], command.bytes(), create_tir_in::CTX.bits())?;
    check(firmware, &context)?;
    make(firmware, command, answer, Tir(context))
}

/// Checks how a receive queue is chosen, and that all is offered. A queue of a table is chosen by a hash.
fn check(firmware: &Firmware, context: &Context) -> Result<(), Failure> {
    let hash = [RX_HASH_XOR8, RX_HASH_TOEPLITZ].map(u64::from).contains(&context.get(tirc::RX_HASH_FN));
    match u8::try_from(context.get(tirc::DISP_TYPE)) {
        Ok(TIRC_DIRECT) => {}
        Ok(TIRC_INDIRECT) if hash => {}
        _ => return Err(Failure::TIR_TYPE),
    }
    if all_offered(firmware, context, OPTIONS) { Ok(()) } else { Err(Failure::TIR_OPTION) }
}

/// What it leads to, and its domain, stay.
pub(in super::super) fn modify(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const BASE: u32 = modify_tir_in::CTX.bits();
    let tirn: u32 = command.get(modify_tir_in::TIRN)?;
    let Tir(mut context) = firmware.resources.owned::<Tir>(tirn, command.actor())?.clone();
    let selected = |bit: Field| command.flag(bit.within(modify_tir_in::BITMASK.bits()));
    for (bit, fields) in MODIFIABLE {
        if selected(*bit)? {
            fields.iter().try_for_each(|field| context.copy(*field, command.bytes(), BASE))?;
        }
    }
    if selected(modify_tir_bitmask::HASH)? {
        copy_hash(&mut context, command, BASE)?;
    }
    check(firmware, &context)?;
    firmware.resources.replace(tirn, Tir(context))?;
    Ok(Effect::None)
}

/// The hash's key, and the fields that it's made of.
fn copy_hash(context: &mut Context, command: &Command<'_>, base: u32) -> Result<(), Failure> {
    for selector in [tirc::RX_HASH_FIELD_SELECTOR_OUTER, tirc::RX_HASH_FIELD_SELECTOR_INNER] {
        use rx_hash_field_select::{L3_PROT_TYPE, L4_PROT_TYPE, SELECTED_FIELDS};
        for field in [L3_PROT_TYPE, L4_PROT_TYPE, SELECTED_FIELDS] {
            context.copy(field.within(selector.bits()), command.bytes(), base)?;
        }
    }
    let key = tirc::RX_HASH_TOEPLITZ_KEY;
    for word in 0..key.count.unwrap_or(0) {
        let field =
            Field { layout: key.layout, name: key.name, offset: key.offset + word * key.stride, width: key.width };
        context.copy(field, command.bytes(), base)?;
    }
    Ok(())
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let tirn: u32 = command.get(query_tir_in::TIRN)?;
    let Tir(context) = firmware.resources.named(tirn, command.actor())?;
    answer.set_bytes(query_tir_out::TIR_CONTEXT, context.bytes())?;
    Ok(Effect::None)
}
