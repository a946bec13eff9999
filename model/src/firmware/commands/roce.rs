//! SET and QUERY_ROCE_ADDRESS: the addresses that queue pairs of an Ethernet port send from, by the index of their GID.

use mlx5_twin_fw_cmds::cap::CapType;
use mlx5_twin_fw_cmds::constants::{ROCE_L3_IPV4, ROCE_L3_IPV6};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    query_roce_address_in, query_roce_address_out, roce_addr_layout as address, roce_cap, set_roce_address_in,
};

use super::nic_vport::ethernet_port;
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::port::named_port;
use crate::firmware::resources::Context;

/// Bits of the capability `l3_type`: for each type of address the next one (`device.h`, `MLX5_ROCE_L3_TYPE_IPV4_CAP`).
const L3_BITS: &[(u8, u64)] = &[(ROCE_L3_IPV4, 1 << 1), (ROCE_L3_IPV6, 1 << 2)];

/// The index in a command, which must be one of the table's.
fn index(firmware: &mut Firmware, command: &Command<'_>, [index, port]: [Field; 2]) -> Result<u16, Failure> {
    named_port(command, port)?;
    ethernet_port(firmware)?;
    let index: u16 = command.get(index)?;
    let size = firmware.capabilities.max_field(CapType::ROCE, roce_cap::ROCE_ADDRESS_TABLE_SIZE);
    if u64::from(index) < size { Ok(index) } else { Err(Failure::ROCE_INDEX) }
}

/// An address that is all 0 is none: so Linux takes one away.
pub(in super::super) fn set(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use set_roce_address_in::{ROCE_ADDRESS, ROCE_ADDRESS_INDEX, VHCA_PORT_NUM};
    let index = index(firmware, command, [ROCE_ADDRESS_INDEX, VHCA_PORT_NUM])?;
    let new = Context::read(&[address::LAYOUT], command.bytes(), ROCE_ADDRESS.bits())?;
    if new.bytes().iter().all(|byte| *byte == 0) {
        ethernet_port(firmware)?.roce.remove(&index);
        return Ok(Effect::None);
    }
    let offers = |field| firmware.capabilities.max_field(CapType::ROCE, field);
    let version = 1u64.checked_shl(new.get32(address::ROCE_VERSION)).unwrap_or(0);
    let kind = L3_BITS.iter().find(|(kind, _)| u64::from(*kind) == new.get(address::ROCE_L3_TYPE));
    let kind = kind.map_or(0, |(_, bit)| *bit);
    if offers(roce_cap::ROCE_VERSION) & version == 0 || offers(roce_cap::L3_TYPE) & kind == 0 {
        return Err(Failure::ROCE_ADDRESS);
    }
    ethernet_port(firmware)?.roce.insert(index, new);
    Ok(Effect::None)
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    use query_roce_address_in::{ROCE_ADDRESS_INDEX, VHCA_PORT_NUM};
    let index = index(firmware, command, [ROCE_ADDRESS_INDEX, VHCA_PORT_NUM])?;
    if let Some(address) = ethernet_port(firmware)?.roce.get(&index) {
        answer.set_bytes(query_roce_address_out::ROCE_ADDRESS, address.bytes())?;
    }
    Ok(Effect::None)
}
