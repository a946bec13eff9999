//! The states of a queue pair: which command leads from where to where, and what it sets on the way.
//!
//! Which commands there are between which states is Linux's `optab`, what each may change its
//! `opt_mask` (`drivers/infiniband/hw/mlx5/qp.c`); where that has no row for XRC it counts as RC here, and
//! QP0 and QP1 as its MLX. What a transition always sets are the attributes that the InfiniBand
//! specification requires for it, and the others that Linux sets there.
//!
//! No command leads to SQER or SQD: the first is where a failed send leads, the second is ours to leave
//! empty, as Linux has no command for it.

use mlx5_twin_fw_cmds::constants::{QPC_MTU_4K, QPC_MTU_256};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{ads, cmd_hca_cap, qpc, rst2init_qp_in};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::transport::{OptParam, QpState, ServiceType};

use super::qp::{lasting, uses};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, Qp};

/// Where all these commands have the context.
const QPC: u32 = rst2init_qp_in::QPC.bits();

const PRIMARY: u32 = qpc::PRIMARY_ADDRESS_PATH.bits();
const SECONDARY: u32 = qpc::SECONDARY_ADDRESS_PATH.bits();

/// Fields of the context, all moved by as many bits.
type Fields = (u32, &'static [Field]);

/// Half of a GID, which is too long for one integer.
const fn half_gid(byte: u32) -> Field {
    Field { layout: "ads", name: "rgid_rip", offset: ads::RGID_RIP.offset + byte * 8, width: 64 }
}

/// An address path, but for what has a bit of its own in `opt_param_mask`.
#[rustfmt::skip]
const PATH: &[Field] = &[
    ads::FL, ads::FREE_AR, ads::PLANE_INDEX, ads::GRH, ads::MLID, ads::RLID, ads::SRC_ADDR_INDEX, ads::STAT_RATE,
    ads::HOP_LIMIT, ads::TCLASS, ads::FLOW_LABEL, half_gid(0), half_gid(8), ads::F_DSCP, ads::F_ECN, ads::F_ETH_PRIO,
    ads::ECN, ads::DSCP, ads::UDP_SPORT, ads::DEI_CFI, ads::ETH_PRIO, ads::SL, ads::RMAC_47_32, ads::RMAC_31_0,
];

/// What has one.
const PATH_ENDS: &[Field] = &[ads::PKEY_INDEX, ads::VHCA_PORT_NUM, ads::ACK_TIMEOUT];

const TO_INIT: &[Fields] = &[
    (PRIMARY, &[ads::PKEY_INDEX, ads::VHCA_PORT_NUM]),
    (0, &[qpc::LAG_TX_PORT_AFFINITY, qpc::PM_STATE, qpc::COUNTER_SET_ID, qpc::DETH_SQPN, qpc::Q_KEY]),
    (0, &[qpc::RRE, qpc::RWE, qpc::RAE, qpc::ATOMIC_MODE]),
];

const TO_RTR: &[Fields] = &[
    (PRIMARY, PATH),
    (0, &[qpc::MTU, qpc::LOG_MSG_MAX, qpc::REMOTE_QPN, qpc::NEXT_RCV_PSN, qpc::LOG_RRA_MAX, qpc::MIN_RNR_NAK]),
];

const TO_RTS: &[Fields] = &[
    (PRIMARY, &[ads::ACK_TIMEOUT]),
    (0, &[qpc::LOG_ACK_REQ_FREQ, qpc::NEXT_SEND_PSN, qpc::LOG_SRA_MAX, qpc::RETRY_COUNT, qpc::RNR_RETRY]),
];

/// What each bit of `opt_param_mask` stands for. The others stand for what the model doesn't have.
const OPTIONS: &[(OptParam, &[Fields])] = &[
    (OptParam::ALT_ADDR_PATH, &[(SECONDARY, PATH), (SECONDARY, PATH_ENDS)]),
    (OptParam::RRE, &[(0, &[qpc::RRE])]),
    (OptParam::RAE, &[(0, &[qpc::RAE, qpc::ATOMIC_MODE])]),
    (OptParam::RWE, &[(0, &[qpc::RWE])]),
    (OptParam::PKEY_INDEX, &[(PRIMARY, &[ads::PKEY_INDEX])]),
    (OptParam::Q_KEY, &[(0, &[qpc::Q_KEY])]),
    (OptParam::RNR_TIMEOUT, &[(0, &[qpc::MIN_RNR_NAK])]),
    (OptParam::PM_STATE, &[(0, &[qpc::PM_STATE])]),
    (OptParam::PRI_PORT, &[(PRIMARY, &[ads::VHCA_PORT_NUM])]),
    (OptParam::SRQN, &[(0, &[qpc::SRQN_RMPN_XRQN])]),
    (OptParam::CQN_RCV, &[(0, &[qpc::CQN_RCV])]),
    (OptParam::COUNTER_SET_ID, &[(0, &[qpc::COUNTER_SET_ID])]),
];

/// Service types, as far as transitions tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// RC, XRC, DC initiators.
    Reliable,
    /// UC.
    Unreliable,
    /// UD.
    Datagram,
    /// QP0 and QP1.
    Management,
    /// Registration of memory.
    Registration,
}

impl Class {
    const fn of(service: ServiceType) -> Self {
        match service {
            ServiceType::UC => Self::Unreliable,
            ServiceType::UD => Self::Datagram,
            ServiceType::QP0 | ServiceType::QP1 => Self::Management,
            ServiceType::REG_UMR => Self::Registration,
            _ => Self::Reliable,
        }
    }
}

/// A command that changes the state of a queue pair.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Transition {
    pub(in super::super) opcode: Opcode,
    /// Where it may start; empty for 'anywhere'.
    pub(in super::super) from: &'static [QpState],
    pub(in super::super) to: QpState,
    /// What it always sets.
    sets: &'static [Fields],
    /// What it may change for reliable, unreliable, datagram and management services.
    may_change: [u32; 4],
}

use OptParam as P;

const R_ACCESS: u32 = P::RRE.0 | P::RAE.0 | P::RWE.0;
const MOVED: u32 = P::PKEY_INDEX.0 | P::PRI_PORT.0;
const MIGRATION: u32 = P::ALT_ADDR_PATH.0 | P::PM_STATE.0;
const KEYS: u32 = P::PKEY_INDEX.0 | P::Q_KEY.0;
const COUNTERS: u32 = P::COUNTER_SET_ID.0;

/// What may change on the way back to RTS.
const RECOVERY: [u32; 4] = [R_ACCESS | P::RNR_TIMEOUT.0, P::RWE.0, P::Q_KEY.0, P::Q_KEY.0];

/// All transitions.
#[rustfmt::skip]
pub(in super::super) const TRANSITIONS: &[Transition] = &[
    Transition { opcode: Opcode::RST2INIT_QP, from: &[QpState::RST], to: QpState::INIT, sets: TO_INIT,
        may_change: [0; 4] },
    Transition { opcode: Opcode::INIT2INIT_QP, from: &[QpState::INIT], to: QpState::INIT, sets: &[],
        may_change: [R_ACCESS | MOVED, P::RWE.0 | MOVED, P::Q_KEY.0 | MOVED, 0] },
    Transition { opcode: Opcode::INIT2RTR_QP, from: &[QpState::INIT], to: QpState::RTR, sets: TO_RTR,
        may_change: [
            R_ACCESS | P::ALT_ADDR_PATH.0 | P::PKEY_INDEX.0, P::RWE.0 | P::ALT_ADDR_PATH.0 | P::PKEY_INDEX.0, KEYS, KEYS,
        ] },
    Transition { opcode: Opcode::RTR2RTS_QP, from: &[QpState::RTR], to: QpState::RTS, sets: TO_RTS,
        may_change: [R_ACCESS | MIGRATION | P::RNR_TIMEOUT.0, P::RWE.0 | MIGRATION, P::Q_KEY.0, 0] },
    Transition { opcode: Opcode::RTS2RTS_QP, from: &[QpState::RTS], to: QpState::RTS, sets: &[],
        may_change: [
            R_ACCESS | MIGRATION | P::RNR_TIMEOUT.0 | COUNTERS, P::RWE.0 | MIGRATION | COUNTERS,
            P::Q_KEY.0 | P::SRQN.0 | P::CQN_RCV.0 | COUNTERS, COUNTERS,
        ] },
    Transition { opcode: Opcode::SQERR2RTS_QP, from: &[QpState::SQER], to: QpState::RTS, sets: &[], may_change: RECOVERY },
    Transition { opcode: Opcode::SQD_RTS_QP, from: &[QpState::SQD], to: QpState::RTS, sets: &[], may_change: RECOVERY },
    Transition { opcode: Opcode::_2ERR_QP, from: &[], to: QpState::ERR, sets: &[], may_change: [0; 4] },
    Transition { opcode: Opcode::_2RST_QP, from: &[], to: QpState::RST, sets: &[], may_change: [0; 4] },
];

impl Transition {
    /// The bits of `opt_param_mask` that the transition takes for a service type.
    pub(in super::super) fn may_change(&self, service: ServiceType) -> u32 {
        match Class::of(service) {
            Class::Reliable => self.may_change[0],
            Class::Unreliable => self.may_change[1],
            Class::Datagram => self.may_change[2],
            Class::Management => self.may_change[3],
            Class::Registration => 0,
        }
    }
}

pub(in super::super) fn change(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let opcode = command.opcode();
    let transition = TRANSITIONS.iter().find(|transition| transition.opcode == opcode).ok_or(Failure::INTERNAL)?;
    let qpn: u32 = command.get(rst2init_qp_in::QPN)?;
    let Qp(queue) = firmware.resources.owned::<Qp>(qpn, command.actor())?;
    let mut qp = Qp(queue.clone());
    if !transition.from.is_empty() && !transition.from.contains(&qp.state()) {
        return Err(Failure::QP_STATE);
    }
    match transition.to {
        QpState::RST => qp.0.context = lasting(&qp.0.context)?,
        QpState::ERR => qp.0.context.set(qpc::STATE, QpState::ERR.0)?,
        _ => {
            set_fields(&mut qp, transition, command)?;
            check(firmware, &qp)?;
            qp.0.uses = uses(&firmware.resources, &qp.0.context);
        }
    }
    firmware.resources.replace(qpn, qp)?;
    Ok(Effect::None)
}

/// Sets what the transition always sets, and what `opt_param_mask` says.
fn set_fields(qp: &mut Qp, transition: &Transition, command: &Command<'_>) -> Result<(), Failure> {
    let mask: u32 = command.get(rst2init_qp_in::OPT_PARAM_MASK)?;
    if mask & !transition.may_change(qp.service()) != 0 {
        return Err(Failure::QP_OPT_PARAM);
    }
    let chosen = OPTIONS.iter().filter(|(param, _)| mask & param.0 != 0).flat_map(|(_, fields)| *fields);
    for (base, fields) in transition.sets.iter().chain(chosen) {
        for field in *fields {
            qp.0.context.copy(field.within(*base), command.bytes(), QPC)?;
        }
    }
    qp.0.context.set(qpc::STATE, transition.to.0)
}

/// Checks a context after a transition: ports, indices, sizes.
fn check(firmware: &Firmware, qp: &Qp) -> Result<(), Failure> {
    let (context, cap) = (&qp.0.context, |field| firmware.capabilities.general(field));
    for path in [PRIMARY, SECONDARY] {
        check_path(firmware, context, path)?;
    }
    if qp.state() == QpState::INIT {
        return Ok(());
    }
    let mtu = context.get(qpc::MTU);
    // Without a connection there is nobody to agree with on an MTU.
    let connected = matches!(Class::of(qp.service()), Class::Reliable | Class::Unreliable);
    let known = (u64::from(QPC_MTU_256)..=u64::from(QPC_MTU_4K)).contains(&mtu);
    if !known && (connected || mtu != 0) {
        return Err(Failure::QP_MTU);
    }
    if context.get(qpc::LOG_MSG_MAX) > cap(cmd_hca_cap::LOG_MAX_MSG) {
        return Err(Failure::QP_MESSAGE);
    }
    let reads =
        [(qpc::LOG_RRA_MAX, cmd_hca_cap::LOG_MAX_RA_RES_QP), (qpc::LOG_SRA_MAX, cmd_hca_cap::LOG_MAX_RA_REQ_QP)];
    if reads.iter().any(|(field, most)| context.get(*field) > cap(*most)) {
        return Err(Failure::QP_READS);
    }
    Ok(())
}

/// Checks an address path. Port 0 stands for port 1.
fn check_path(firmware: &Firmware, context: &Context, path: u32) -> Result<(), Failure> {
    let get = |field: Field| context.get(field.within(path));
    let cap = |field| firmware.capabilities.general(field);
    if get(ads::VHCA_PORT_NUM) > cap(cmd_hca_cap::NUM_PORTS) {
        return Err(Failure::QP_PORT);
    }
    if get(ads::PKEY_INDEX) >= PKEYS.entries(cap(cmd_hca_cap::PKEY_TABLE_SIZE)) {
        return Err(Failure::QP_PKEY_INDEX);
    }
    if get(ads::GRH) != 0 && get(ads::SRC_ADDR_INDEX) >= GIDS.entries(cap(cmd_hca_cap::GID_TABLE_SIZE)) {
        return Err(Failure::QP_GID_INDEX);
    }
    Ok(())
}

/// How a capability tells the size of a table: so many entries for 0, twice as many with each step, none
/// beyond the last.
struct TableSize {
    smallest: u64,
    steps: u64,
}

/// `pkey_table_size`. Source: `mlx5_to_sw_pkey_sz` of `device.h`.
const PKEYS: TableSize = TableSize { smallest: 128, steps: 5 };

/// `gid_table_size`. Source: `mlx5_get_gid_table_len` of `driver.h`.
const GIDS: TableSize = TableSize { smallest: 8, steps: 4 };

impl TableSize {
    const fn entries(&self, capability: u64) -> u64 {
        if capability > self.steps { 0 } else { self.smallest << capability }
    }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_fw_cmds::layout::{self, Layout};

    use super::*;

    /// Whoever reads one of these commands reads all of them: the fields are at the same places.
    #[test]
    fn all_transitions_have_one_layout() {
        let place = |layout: &Layout, name| layout.field(name).map(|field| (field.offset, field.width));
        let with_context = ["rst2init", "init2rtr", "rtr2rts", "rts2rts", "sqerr2rts", "sqd2rts", "init2init"]
            .map(|name| format!("{name}_qp_in"));
        for name in with_context.iter().map(String::as_str).chain(["qp_2err_in", "qp_2rst_in"]) {
            let layout = layout::find(name).expect("is a layout");
            assert_eq!(place(layout, "qpn"), place(rst2init_qp_in::LAYOUT, "qpn"), "{name}");
            if with_context.iter().any(|known| known == name) {
                let mask = place(rst2init_qp_in::LAYOUT, "opt_param_mask");
                assert_eq!(place(layout, "opt_param_mask"), mask, "{name}");
                assert_eq!(layout.desc("qpc").map(|desc| desc.offset), Some(QPC), "{name}");
            }
        }
    }

    #[test]
    fn all_that_may_change_can_be_changed() {
        let known = OPTIONS.iter().fold(0, |bits, (param, _)| bits | param.0);
        for transition in TRANSITIONS {
            assert_eq!(transition.may_change.iter().fold(0, |bits, mask| bits | mask) & !known, 0, "{transition:?}");
        }
    }

    #[test]
    fn tables_double_up_to_a_last_step() {
        assert_eq!([0, 1, 5, 6, 0xffff].map(|capability| PKEYS.entries(capability)), [128, 256, 4096, 0, 0]);
        assert_eq!([0, 4, 5].map(|capability| GIDS.entries(capability)), [8, 128, 0]);
    }

    /// A path's fields are each in one of the two lists.
    #[test]
    fn a_path_is_all_of_it() {
        let bits: u32 = PATH.iter().chain(PATH_ENDS).map(|field| field.width).sum();
        assert_eq!(bits, ads::LAYOUT.fields.iter().map(|desc| desc.width).sum::<u32>());
    }
}
