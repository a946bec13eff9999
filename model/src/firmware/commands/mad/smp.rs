//! The agent of subnet management. Layouts as in Linux's `ib_smi.h`, meanings as in IBTA's specification.

use mlx5_twin_fw_cmds::field::{Bytes, Field};
use mlx5_twin_fw_cmds::layout::{ib_node_info, ib_port_info, ib_smp, port_info_rest};
use mlx5_twin_fw_cmds::mad::{BASE_VERSION, CLASS_VERSION, MadStatus};

use super::super::adapter::IEEE_VENDOR_ID;
use super::super::{Answer, Failure, Firmware};
use super::Request;
use crate::firmware::port::PORT;
use crate::profile::{Port, gid_table_len, pkey_table_len};

type Got = Result<MadStatus, Failure>;

/// NodeInfo.NodeType: a channel adapter.
const CHANNEL_ADAPTER: u8 = 1;

/// PortInfo.LinkDownDefaultState: polling.
const POLLING: u8 = 2;

/// PortInfo.RespTimeValue: 4.096 us * 2^16 at most until a response (ours).
const RESPONSE_TIME: u8 = 16;

/// GUIDs in a block of GUIDInfo.
const GUIDS: usize = 8;

/// P_Keys in a block of P_KeyTable.
const PKEYS: usize = 32;

const DATA: Bytes = Bytes { offset: 0, ..ib_smp::DATA };

/// Two numbers in one byte, of 4 bits each.
const fn nibbles(upper: u8, lower: u8) -> u8 {
    upper << 4 | lower & 0xf
}

pub(super) fn node_description(firmware: &Firmware, _: &Request<'_>, data: &mut Answer<'_>) -> Got {
    data.set_bytes(DATA, &firmware.port.node_description)?;
    Ok(MadStatus::SUCCESS)
}

pub(super) fn node_info(firmware: &Firmware, _: &Request<'_>, data: &mut Answer<'_>) -> Got {
    use ib_node_info as info;
    let device = &firmware.profile.device;
    let pkeys = pkey_table_len(&firmware.capabilities) as u64;
    let fields: [(Field, u64); 11] = [
        (info::BASE_VERSION, BASE_VERSION.into()),
        (info::CLASS_VERSION, CLASS_VERSION.into()),
        (info::NODE_TYPE, CHANNEL_ADAPTER.into()),
        (info::NUM_PORTS, PORT.into()),
        (info::SYS_GUID, device.system_image_guid),
        (info::NODE_GUID, device.node_guid),
        (info::PORT_GUID, device.port_guid),
        (info::PARTITION_CAP, pkeys),
        (info::DEVICE_ID, device.device_id.into()),
        (info::REVISION, device.revision.into()),
        (info::LOCAL_PORT_NUM, PORT.into()),
    ];
    for (field, value) in fields {
        data.set(field, value)?;
    }
    let [_, vendor @ ..] = IEEE_VENDOR_ID.to_be_bytes();
    data.set_bytes(info::VENDOR_ID, &vendor)?;
    Ok(MadStatus::SUCCESS)
}

/// The modifier is the port; 0 is the one that the packet came in at.
pub(super) fn port_info(firmware: &Firmware, request: &Request<'_>, data: &mut Answer<'_>) -> Got {
    use ib_port_info as info;
    if request.modifier > PORT.into() {
        return Ok(MadStatus::INVALID_ATTRIB_VALUE);
    }
    let (port, profile) = (&firmware.port, &firmware.profile.port);
    let (_, width) = profile.width_codes();
    let speed = profile.link_speed.codes();
    // All basic speeds up to this one.
    let speeds = speed.basic | (speed.basic - 1);
    let extended = speed.extended | speed.extended.saturating_sub(1);
    let prefix = profile.prefix().map_err(|_| Failure::INTERNAL)?;
    let (lanes, mtu) = (profile.lanes_code(), Port::mtu_code(profile.mtu));
    let fields: [(Field, u64); 23] = [
        (info::GID_PREFIX, prefix),
        (info::LID, profile.lid.into()),
        (info::SM_LID, profile.sm_lid.into()),
        (info::CAP_MASK, port.cap_mask1.into()),
        (info::LOCAL_PORT_NUM, PORT.into()),
        (info::LINK_WIDTH_ENABLED, (width | 1).into()),
        (info::LINK_WIDTH_SUPPORTED, (width | 1).into()),
        (info::LINK_WIDTH_ACTIVE, width.into()),
        (info::LINKSPEED_PORTSTATE, nibbles(speeds, port.state().number()).into()),
        (info::PORTPHYSSTATE_LINKDOWN, nibbles(port.physical_state(), POLLING).into()),
        (info::MKEYPROT_RESV_LMC, profile.lmc.into()),
        (info::LINKSPEEDACTIVE_ENABLED, nibbles(speed.basic, speeds).into()),
        (info::NEIGHBORMTU_MASTERSMSL, nibbles(mtu, profile.sm_sl).into()),
        (info::VLCAP_INITTYPE, nibbles(lanes, 0).into()),
        (info::INITTYPEREPLY_MTUCAP, nibbles(0, Port::mtu_code(profile.max_mtu)).into()),
        (info::OPERATIONALVL_PEI_PEO_FPI_FPO, nibbles(lanes, 0).into()),
        (info::GUID_CAP, gid_table_len(&firmware.capabilities) as u64),
        (info::CLIENTREREG_RESV_SUBNETTO, profile.subnet_timeout.into()),
        (info::RESV_RESPTIMEVALUE, RESPONSE_TIME.into()),
        (port_info_rest::CAP_MASK2, profile.cap_mask2.into()),
        (port_info_rest::LINK_SPEED_EXT_ACTIVE, speed.extended.into()),
        (port_info_rest::LINK_SPEED_EXT_SUPPORTED, extended.into()),
        (port_info_rest::LINK_SPEED_EXT_ENABLED, extended.into()),
    ];
    for (field, value) in fields {
        data.set(field, value)?;
    }
    Ok(MadStatus::SUCCESS)
}

/// The modifier is the block of 8 GUIDs.
pub(super) fn guid_info(firmware: &Firmware, request: &Request<'_>, data: &mut Answer<'_>) -> Got {
    block(firmware.guids().map(u64::to_be_bytes), GUIDS, request.modifier, data)
}

/// The modifier is the block of 32 P_Keys; its upper half, the port of a switch, means nothing here.
pub(super) fn pkey_table(firmware: &Firmware, request: &Request<'_>, data: &mut Answer<'_>) -> Got {
    block(firmware.pkeys().map(u16::to_be_bytes), PKEYS, request.modifier & 0xffff, data)
}

/// Writes one block of a table.
fn block<const N: usize>(
    table: impl Iterator<Item = [u8; N]>,
    entries: usize,
    number: u32,
    data: &mut Answer<'_>,
) -> Got {
    let first = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(entries);
    let bytes: Vec<u8> = table.skip(first).take(entries).flatten().collect();
    if bytes.is_empty() {
        return Ok(MadStatus::INVALID_ATTRIB_VALUE);
    }
    data.set_bytes(DATA, &bytes)?;
    Ok(MadStatus::SUCCESS)
}
