//! QUERY_ADAPTER: which board this is.

use mlx5_twin_fw_cmds::layout::{query_adapter_out, query_adapter_param_block};

use super::{Answer, Command, Effect, Firmware, ObjectKinds, Outcome};

/// The vendor's IEEE company id, as Linux shows it for every mlx5 device (`vendor_id: 0x02c9`).
pub(super) const IEEE_VENDOR_ID: u32 = 0x2c9;

const BLOCK: u32 = query_adapter_out::QUERY_ADAPTER_STRUCT.bits();

pub(in super::super) fn query(
    firmware: &mut Firmware,
    _: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    answer.set(query_adapter_param_block::IEEE_VENDOR_ID.within(BLOCK), IEEE_VENDOR_ID)?;
    let psid = query_adapter_param_block::VSD_CONTD_PSID.within(BLOCK);
    answer.set_bytes(psid, firmware.profile.device.psid.as_bytes())?;
    Ok(Effect::None)
}
