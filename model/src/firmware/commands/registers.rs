//! The registers of the port, the timeouts, and which registers there are; [`super::register`] has the table.

use mlx5_twin_fw_cmds::constants::{
    ETHERNET_EXTENDED_COUNTERS_GROUP, IEEE_802_3_COUNTERS_GROUP, INFINIBAND_EXTENDED_PORT_COUNTERS_GROUP,
    INFINIBAND_PORT_COUNTERS_GROUP, PER_PRIORITY_COUNTERS_GROUP, PER_TRAFFIC_CLASS_COUNTERS_GROUP,
    PHYSICAL_LAYER_COUNTERS_GROUP, PORT_DOWN, PORT_UP, PTYS_EN, PTYS_IB, PTYS_WIDTH_1X, RFC_2819_COUNTERS_GROUP,
    RFC_2863_COUNTERS_GROUP, RFC_3635_COUNTERS_GROUP,
};
use mlx5_twin_fw_cmds::field::{Bytes, Field};
use mlx5_twin_fw_cmds::layout::{
    default_timeout, dtor_reg, ib_port_cntrs_grp_data_layout, mcam_reg, paos_reg, pcam_reg, pfcc_reg, pmtu_reg,
    ppcnt_reg, ptys_reg, pvlc_reg, qcam_reg, set_node_in,
};

use super::nic_vport::ethernet_port;
use super::register::REGISTERS;
use super::{Answer, Command, Effect, Failure, Firmware, Outcome};
use crate::firmware::port::{PORT, named_port};
use crate::profile::{Port, PortState};

type Done = Result<(), Failure>;

/// Checks that a register is asked for port 1 and no plane of it; the answer repeats the port.
fn port(register: &Command<'_>, answer: &mut Answer<'_>, local_port: Field, plane: Option<Field>) -> Done {
    named_port(register, local_port)?;
    if let Some(plane) = plane
        && register.flag(plane)?
    {
        return Err(Failure::PORT_PLANE);
    }
    answer.set(local_port, PORT)
}

/// The fields of the port's type, if they are asked for; there is nothing to tell of the other.
pub(super) fn read_ptys(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    use ptys_reg::{LOCAL_PORT, PLANE_IND, PROTO_MASK};
    port(register, answer, LOCAL_PORT, Some(PLANE_IND))?;
    let mask: u8 = register.get(PROTO_MASK)?;
    answer.set(PROTO_MASK, mask)?;
    let up = firmware.port.state() != PortState::Down;
    if let Some(ethernet) = &firmware.profile.ethernet {
        if mask & PTYS_EN != 0 {
            let modes = ethernet.speed.ptys();
            answer.set(ptys_reg::ETH_PROTO_CAPABILITY, modes)?;
            answer.set(ptys_reg::ETH_PROTO_ADMIN, modes)?;
            answer.set(ptys_reg::ETH_PROTO_OPER, if up { modes } else { 0 })?;
        }
        return Ok(());
    }
    if mask & PTYS_IB == 0 {
        return Ok(());
    }
    let profile = &firmware.profile.port;
    let (width, _) = profile.width_codes();
    let speed = profile.link_speed.codes().ptys;
    // The link can also do what is slower or narrower (ours: a single lane).
    let (widths, speeds) = (width | PTYS_WIDTH_1X, speed | (speed - 1));
    for (field, value) in [
        (ptys_reg::IB_LINK_WIDTH_CAPABILITY, widths),
        (ptys_reg::IB_PROTO_CAPABILITY, speeds),
        (ptys_reg::IB_LINK_WIDTH_ADMIN, widths),
        (ptys_reg::IB_PROTO_ADMIN, speeds),
        (ptys_reg::IB_LINK_WIDTH_OPER, if up { width } else { PTYS_WIDTH_1X }),
        (ptys_reg::IB_PROTO_OPER, if up { speed } else { 1 }),
    ] {
        answer.set(field, value)?;
    }
    Ok(())
}

pub(super) fn read_pmtu(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    port(register, answer, pmtu_reg::LOCAL_PORT, None)?;
    let Port { mtu, max_mtu, .. } = firmware.profile.port;
    let (mtu, max_mtu) = match (&firmware.nic_vport, &firmware.profile.ethernet) {
        (Some(port), Some(ethernet)) => (port.port_mtu, ethernet.max_mtu),
        _ => (mtu, max_mtu),
    };
    answer.set(pmtu_reg::MAX_MTU, max_mtu)?;
    answer.set(pmtu_reg::ADMIN_MTU, mtu)?;
    answer.set(pmtu_reg::OPER_MTU, mtu)
}

/// The driver of an Ethernet port chooses its MTU; that of an InfiniBand port is the subnet manager's.
pub(super) fn write_pmtu(firmware: &mut Firmware, register: &Command<'_>) -> Outcome {
    named_port(register, pmtu_reg::LOCAL_PORT)?;
    let mtu: u16 = register.get(pmtu_reg::ADMIN_MTU)?;
    let ethernet = firmware.profile.ethernet.as_ref().ok_or(Failure::REGISTER_ACCESS)?;
    if mtu == 0 || mtu > ethernet.max_mtu {
        return Err(Failure::REGISTER_VALUE);
    }
    ethernet_port(firmware)?.port_mtu = mtu;
    Ok(Effect::None)
}

/// What PFCC tells of pause frames: the fields, and the mask by which a write chooses among priorities.
const PAUSE: &[(Field, Option<Field>)] = &[
    (pfcc_reg::PPTX, None),
    (pfcc_reg::PPRX, None),
    (pfcc_reg::PFCTX, Some(pfcc_reg::PRIO_MASK_TX)),
    (pfcc_reg::PFCRX, Some(pfcc_reg::PRIO_MASK_RX)),
];

pub(super) fn read_pfcc(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    let pause = ethernet_port(firmware)?.pause;
    port(register, answer, pfcc_reg::LOCAL_PORT, None)?;
    PAUSE.iter().zip(pause).try_for_each(|((field, _), value)| answer.set(*field, value))
}

/// Linux writes either pause for all, with empty masks, or by priority, and then without the other: what is by priority changes by
/// the masks, what is for all always.
pub(super) fn write_pfcc(firmware: &mut Firmware, register: &Command<'_>) -> Outcome {
    named_port(register, pfcc_reg::LOCAL_PORT)?;
    let port = ethernet_port(firmware)?;
    for ((field, mask), kept) in PAUSE.iter().zip(&mut port.pause) {
        let value: u8 = register.get(*field)?;
        let mask = mask.map_or(Ok(u8::MAX), |mask| register.get(mask))?;
        *kept = *kept & !mask | value & mask;
    }
    Ok(Effect::None)
}

pub(super) fn read_pvlc(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    port(register, answer, pvlc_reg::LOCAL_PORT, None)?;
    let lanes = firmware.profile.port.virtual_lanes;
    answer.set(pvlc_reg::VL_HW_CAP, lanes)?;
    answer.set(pvlc_reg::VL_ADMIN, lanes)?;
    answer.set(pvlc_reg::VL_OPERATIONAL, lanes)
}

pub(super) fn read_paos(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    port(register, answer, paos_reg::LOCAL_PORT, None)?;
    let status = |up| if up { PORT_UP } else { PORT_DOWN };
    answer.set(paos_reg::ADMIN_STATUS, status(firmware.port.admin_up))?;
    answer.set(paos_reg::OPER_STATUS, status(firmware.port.state() != PortState::Down))
}

/// Takes the port up or down, if `ase` says that the status is meant.
pub(super) fn write_paos(firmware: &mut Firmware, register: &Command<'_>) -> Outcome {
    named_port(register, paos_reg::LOCAL_PORT)?;
    if !register.flag(paos_reg::ASE)? {
        return Ok(Effect::None);
    }
    let up = match register.get(paos_reg::ADMIN_STATUS)? {
        PORT_UP => true,
        PORT_DOWN => false,
        _ => return Err(Failure::REGISTER_VALUE),
    };
    Ok(firmware.port.set_admin(up).map_or(Effect::None, Effect::PortChanged))
}

/// The groups of counters that an Ethernet port has.
const ETHERNET_GROUPS: &[u8] = &[
    IEEE_802_3_COUNTERS_GROUP,
    RFC_2863_COUNTERS_GROUP,
    RFC_2819_COUNTERS_GROUP,
    RFC_3635_COUNTERS_GROUP,
    ETHERNET_EXTENDED_COUNTERS_GROUP,
    PER_PRIORITY_COUNTERS_GROUP,
    PER_TRAFFIC_CLASS_COUNTERS_GROUP,
    PHYSICAL_LAYER_COUNTERS_GROUP,
];

/// The groups that the port's type has; InfiniBand's are there with RoCE too (`mlx5_ib_process_mad`). No packets move in the model: all counts are 0, but for how often the port went down.
pub(super) fn read_ppcnt(firmware: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    use ppcnt_reg::{COUNTER_SET, GRP, LOCAL_PORT, PLANE_IND};
    port(register, answer, LOCAL_PORT, Some(PLANE_IND))?;
    let group: u8 = register.get(GRP)?;
    answer.set(GRP, group)?;
    match group {
        INFINIBAND_PORT_COUNTERS_GROUP => {
            let downed = ib_port_cntrs_grp_data_layout::LINK_DOWNED_COUNTER.within(COUNTER_SET.bits());
            answer.set(downed, firmware.port.link_downed)?;
            if register.flag(ppcnt_reg::CLR)? {
                firmware.port.link_downed = 0;
            }
            Ok(())
        }
        INFINIBAND_EXTENDED_PORT_COUNTERS_GROUP => Ok(()),
        group if firmware.profile.ethernet.is_some() && ETHERNET_GROUPS.contains(&group) => Ok(()),
        _ => Err(Failure::COUNTER_GROUP),
    }
}

pub(super) fn read_node_desc(firmware: &mut Firmware, _: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    answer.set_bytes(set_node_in::NODE_DESCRIPTION, &firmware.port.node_description)
}

pub(super) fn write_node_desc(firmware: &mut Firmware, register: &Command<'_>) -> Outcome {
    let text = set_node_in::NODE_DESCRIPTION.slice(register.bytes()).map_err(|error| Failure::of_input(&error))?;
    for (to, from) in firmware.port.node_description.iter_mut().zip(text) {
        *to = *from;
    }
    Ok(Effect::None)
}

/// Milliseconds, with the values that Linux's driver has without the register (`core/lib/tout.c`).
const TIMEOUTS: &[(Bytes, u32)] = &[
    (dtor_reg::PCIE_TOGGLE_TO, 2_000),
    (dtor_reg::HEALTH_POLL_TO, 2_000),
    (dtor_reg::FULL_CRDUMP_TO, 60_000),
    (dtor_reg::FW_RESET_TO, 60_000),
    (dtor_reg::FLUSH_ON_ERR_TO, 2_000),
    (dtor_reg::PCI_SYNC_UPDATE_TO, 5_000),
    (dtor_reg::TEAR_DOWN_TO, 3_000),
    (dtor_reg::FSM_REACTIVATE_TO, 5_000),
    (dtor_reg::RECLAIM_PAGES_TO, 5_000),
    (dtor_reg::RECLAIM_VFS_PAGES_TO, 120_000),
    (dtor_reg::RESET_UNLOAD_TO, 300_000),
];

pub(super) fn read_dtor(firmware: &mut Firmware, _: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    for (timeout, milliseconds) in TIMEOUTS {
        answer.set(default_timeout::TO_VALUE.within(timeout.bits()), *milliseconds)?;
    }
    if let Some(timeouts) = &firmware.profile.timeouts {
        answer.set(default_timeout::TO_VALUE.within(dtor_reg::HEALTH_POLL_TO.bits()), timeouts.health_poll_ms)?;
    }
    Ok(())
}

/// Registers that one group of PCAM, MCAM or QCAM tells of (`driver.h`, `enum mlx5_mcam_reg_groups`).
const GROUP: u16 = 0x80;

/// What PCAM, MCAM and QCAM have in common.
struct Presence {
    /// Number of the first register of group 0.
    first: u16,
    /// Groups there are.
    groups: u16,
    access_reg_group: Field,
    feature_group: Field,
    mask: Bytes,
}

/// Sets a bit for each register of the group that is in the table and has no bit of its own in the general capabilities. There
/// are none of the features that other registers may have.
fn presence(register: &Command<'_>, answer: &mut Answer<'_>, of: &Presence) -> Done {
    let group: u16 = register.get(of.access_reg_group)?;
    if group >= of.groups || register.flag(of.feature_group)? {
        return Err(Failure::REGISTER_GROUP);
    }
    answer.set(of.access_reg_group, group)?;
    let first = of.first + group * GROUP;
    let mut bits: u128 = 0;
    for id in REGISTERS.iter().filter(|register| !register.is_gated()).map(|register| register.id) {
        if let Some(bit) = id.checked_sub(first).filter(|bit| *bit < GROUP) {
            bits |= 1 << bit;
        }
    }
    answer.set_bytes(of.mask, &bits.to_be_bytes())
}

pub(super) fn read_pcam(_: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    use pcam_reg::{ACCESS_REG_GROUP, FEATURE_GROUP, PORT_ACCESS_REG_CAP_MASK};
    let of = Presence {
        first: 0x5000,
        groups: 1,
        access_reg_group: ACCESS_REG_GROUP,
        feature_group: FEATURE_GROUP,
        mask: PORT_ACCESS_REG_CAP_MASK,
    };
    presence(register, answer, &of)
}

pub(super) fn read_mcam(_: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    use mcam_reg::{ACCESS_REG_GROUP, FEATURE_GROUP, MNG_ACCESS_REG_CAP_MASK};
    let of = Presence {
        first: 0x9000,
        groups: 4,
        access_reg_group: ACCESS_REG_GROUP,
        feature_group: FEATURE_GROUP,
        mask: MNG_ACCESS_REG_CAP_MASK,
    };
    presence(register, answer, &of)
}

pub(super) fn read_qcam(_: &mut Firmware, register: &Command<'_>, answer: &mut Answer<'_>) -> Done {
    use qcam_reg::{ACCESS_REG_GROUP, FEATURE_GROUP, QOS_ACCESS_REG_CAP_MASK};
    let of = Presence {
        first: 0x4000,
        groups: 1,
        access_reg_group: ACCESS_REG_GROUP,
        feature_group: FEATURE_GROUP,
        mask: QOS_ACCESS_REG_CAP_MASK,
    };
    presence(register, answer, &of)
}
