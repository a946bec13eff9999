//! Commands whose arguments make sense.

use mlx5_twin_fw_cmds::field::{Field, FieldArray};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::transport::{AccessMode, ServiceType};
use mlx5_twin_fw_cmds::twin_v1::{EMULATED_FUNCTION, TLP_CHANNEL};
use mlx5_twin_model::firmware::{COMMANDS, spec};

use super::script::Script;
use super::{DATA, PAGE, PAGES};

/// A command; its numbers are small, as those of a device's first objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// A command without arguments.
    Plain { opcode: Opcode, uid: u8 },
    /// A command about the object of this number.
    Named { opcode: Opcode, uid: u8, number: u8 },
    /// CREATE_EQ: 2^`log_size` entries, for events of all types.
    Eq { log_size: u8, uar: u8, vector: u8, page: u8 },
    /// CREATE_CQ.
    Cq { uid: u8, uar: u8, eqn: u8, page: u8 },
    /// CREATE_UMEM of so many pages.
    Umem { uid: u8, page: u8, count: u8 },
    /// CREATE_MKEY.
    Mkey { uid: u8, pd: u8, page: u8 },
    /// CREATE_SRQ.
    Srq { uid: u8, pd: u8, page: u8 },
    /// CREATE_QP.
    Qp { uid: u8, pd: u8, cqn: u8, page: u8 },
    /// ATTACH_TO_MCG.
    Attach { qpn: u8, group: u8 },
    /// MANAGE_PAGES: gives pages, or takes some back.
    Pages { op_mod: u8, page: u8, count: u8 },
    /// CREATE_GENERAL_OBJECT of a TLP channel.
    Channel { uid: u8, umem: u8, page: u8, log_slots: u8, credits: u8 },
    /// CREATE_GENERAL_OBJECT of an emulated function.
    Function { uid: u8, channel: u8, port: u8 },
}

/// Commands that objects come from, without arguments.
const PLAIN: [Opcode; 10] = [
    Opcode::ALLOC_UAR,
    Opcode::ALLOC_PD,
    Opcode::ALLOC_TRANSPORT_DOMAIN,
    Opcode::ALLOC_XRCD,
    Opcode::ALLOC_Q_COUNTER,
    Opcode::CREATE_UCTX,
    Opcode::ENABLE_HCA,
    Opcode::INIT_HCA,
    Opcode::TEARDOWN_HCA,
    Opcode::DISABLE_HCA,
];

/// A command of at least `length` bytes with these fields set.
pub(crate) fn command(opcode: Opcode, uid: u8, length: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let usual = spec(opcode).map_or(16, |spec| spec.input);
    let mut bytes = vec![0; length.max(usual)];
    for &(field, value) in [(mbox_in::OPCODE, opcode.0.into()), (mbox_in::UID, uid.into())].iter().chain(fields) {
        // One that doesn't fit stays 0.
        let _ = field.set(&mut bytes, value);
    }
    bytes
}

fn with_pages(mut bytes: Vec<u8>, list: FieldArray, pages: impl Iterator<Item = u64>) -> Vec<u8> {
    for (index, page) in pages.enumerate() {
        let needed = (list.offset / 8) as usize + 8 * (index + 1);
        bytes.resize(bytes.len().max(needed), 0);
        let _ = list.set(&mut bytes, index, page);
    }
    bytes
}

/// `count` pages from this one on; they come round at the end.
fn pages(first: u8, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |page| DATA + PAGE * ((u64::from(first) + page) % (PAGES - 64)))
}

/// The header of a general object's creation, and its context.
fn object(kind: u16, uid: u8, len: usize, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut context = vec![0; len];
    for &(field, value) in fields {
        let _ = field.set(&mut context, value);
    }
    let header = [(general_obj_in_cmd_hdr::OBJ_TYPE, kind.into())];
    let mut bytes = command(Opcode::CREATE_GENERAL_OBJECT, uid, general_obj_in_cmd_hdr::SIZE, &header);
    bytes.truncate(general_obj_in_cmd_hdr::SIZE);
    bytes.extend(context);
    bytes
}

impl Recipe {
    /// Draws one.
    pub(super) fn draw(script: &mut Script<'_>) -> Recipe {
        let kind = script.byte();
        let mut small = |most: u8| script.byte() % most;
        match kind % 16 {
            0..=2 => Recipe::Plain { opcode: PLAIN[usize::from(small(10))], uid: small(3) },
            3 | 4 => Recipe::Named {
                opcode: COMMANDS[usize::from(small(255)) % COMMANDS.len()].opcode,
                uid: small(3),
                number: small(8),
            },
            5 | 6 => Recipe::Eq { log_size: small(8), uar: small(4), vector: small(66), page: small(64) },
            7 => Recipe::Cq { uid: small(3), uar: small(4), eqn: small(4), page: small(64) },
            8 => Recipe::Umem { uid: small(3), page: small(64), count: small(255) },
            9 => Recipe::Mkey { uid: small(3), pd: small(4), page: small(64) },
            10 => Recipe::Srq { uid: small(3), pd: small(4), page: small(64) },
            11 => Recipe::Qp { uid: small(3), pd: small(4), cqn: small(4), page: small(64) },
            12 => Recipe::Attach { qpn: small(8), group: small(4) },
            13 => Recipe::Pages { op_mod: small(4), page: small(64), count: small(64) },
            14 => Recipe::Channel {
                uid: small(3),
                umem: small(4),
                page: small(4),
                log_slots: small(8),
                credits: small(8),
            },
            _ => Recipe::Function { uid: small(3), channel: small(4), port: small(4) },
        }
    }

    /// The command's bytes.
    pub(crate) fn bytes(self, first_uar: u32) -> Vec<u8> {
        let page_of = |uar: u8| u64::from(first_uar) + u64::from(uar);
        match self {
            Recipe::Plain { opcode, uid } => command(opcode, uid, 0, &[]),
            Recipe::Named { opcode, uid, number } => {
                let mut bytes = command(opcode, uid, 16, &[]);
                bytes[11] = number;
                bytes
            }
            Recipe::Eq { log_size, uar, vector, page } => {
                let base = create_eq_in::EQ_CONTEXT_ENTRY.bits();
                let mut fields = vec![
                    (eqc::LOG_EQ_SIZE.within(base), u64::from(log_size)),
                    (eqc::UAR_PAGE.within(base), page_of(uar)),
                    (eqc::INTR.within(base), vector.into()),
                ];
                fields.extend((0..4).filter_map(|word| Some((create_eq_in::EVENT_BITMASK.at(word).ok()?, u64::MAX))));
                let list = pages(page, (64_u64 << log_size).div_ceil(PAGE));
                with_pages(command(Opcode::CREATE_EQ, 0, create_eq_in::SIZE, &fields), create_eq_in::PAS, list)
            }
            Recipe::Cq { uid, uar, eqn, page } => {
                let base = create_cq_in::CQ_CONTEXT.bits();
                let fields = [
                    (cqc::LOG_CQ_SIZE.within(base), 6),
                    (cqc::UAR_PAGE.within(base), page_of(uar)),
                    (cqc::C_EQN_OR_APU_ELEMENT.within(base), eqn.into()),
                    (cqc::DBR_ADDR.within(base), DATA),
                ];
                with_pages(command(Opcode::CREATE_CQ, uid, 0, &fields), create_cq_in::PAS, pages(page, 1))
            }
            Recipe::Umem { uid, page, count } => {
                let base = create_umem_in::UMEM.bits();
                let bytes = command(Opcode::CREATE_UMEM, uid, 0, &[(umem::NUM_OF_MTT.within(base), count.into())]);
                with_pages(bytes, umem::MTT.within(base), pages(page, count.into()).map(|page| page | 3))
            }
            Recipe::Mkey { uid, pd, page } => {
                let base = create_mkey_in::MEMORY_KEY_MKEY_ENTRY.bits();
                let fields = [
                    (mkc::ACCESS_MODE_1_0.within(base), AccessMode::MTT.0.into()),
                    (mkc::LR.within(base), 1),
                    (mkc::QPN.within(base), 0xff_ffff),
                    (mkc::PD.within(base), pd.into()),
                    (mkc::LEN.within(base), 2 * PAGE),
                    (mkc::TRANSLATIONS_OCTWORD_SIZE.within(base), 1),
                    (mkc::LOG_PAGE_SIZE.within(base), 12),
                    (create_mkey_in::TRANSLATIONS_OCTWORD_ACTUAL_SIZE, 1),
                ];
                let list = FieldArray { stride: 64, width: 64, ..create_mkey_in::KLM_PAS_MTT };
                with_pages(command(Opcode::CREATE_MKEY, uid, 0, &fields), list, pages(page, 2).map(|page| page | 3))
            }
            Recipe::Srq { uid, pd, page } => {
                let base = create_srq_in::SRQ_CONTEXT_ENTRY.bits();
                let fields = [
                    (srqc::LOG_SRQ_SIZE.within(base), 6),
                    (srqc::LOG_RQ_STRIDE.within(base), 2),
                    (srqc::PD.within(base), pd.into()),
                ];
                with_pages(command(Opcode::CREATE_SRQ, uid, 0, &fields), create_srq_in::PAS, pages(page, 1))
            }
            Recipe::Qp { uid, pd, cqn, page } => {
                let base = create_qp_in::QPC.bits();
                let fields = [
                    (qpc::ST.within(base), ServiceType::UD.0.into()),
                    (qpc::PM_STATE.within(base), 3),
                    (qpc::PD.within(base), pd.into()),
                    (qpc::LOG_SQ_SIZE.within(base), 5),
                    (qpc::LOG_RQ_SIZE.within(base), 5),
                    (qpc::LOG_RQ_STRIDE.within(base), 2),
                    (qpc::UAR_PAGE.within(base), page_of(0)),
                    (qpc::CQN_SND.within(base), cqn.into()),
                    (qpc::CQN_RCV.within(base), cqn.into()),
                    (qpc::DBR_ADDR.within(base), DATA + 0x80),
                ];
                with_pages(command(Opcode::CREATE_QP, uid, 0, &fields), create_qp_in::PAS, pages(page, 1))
            }
            Recipe::Attach { qpn, group } => {
                let mut fields = vec![(attach_to_mcg_in::QPN, 0x40 + u64::from(qpn))];
                let gid = [(0, 0xff_u64), (15, group.into())];
                fields.extend(
                    gid.into_iter().filter_map(|(at, to)| Some((attach_to_mcg_in::MULTICAST_GID.at(at).ok()?, to))),
                );
                command(Opcode::ATTACH_TO_MCG, 0, 0, &fields)
            }
            Recipe::Pages { op_mod, page, count } => {
                let fields =
                    [(manage_pages_in::OP_MOD, u64::from(op_mod)), (manage_pages_in::INPUT_NUM_ENTRIES, count.into())];
                let bytes = command(Opcode::MANAGE_PAGES, 0, 0, &fields);
                let mut list = bytes;
                list.truncate(manage_pages_in::SIZE.max(16));
                list.extend(pages(page, count.into()).flat_map(u64::to_be_bytes));
                list
            }
            Recipe::Channel { uid, umem, page, log_slots, credits } => {
                let fields = [
                    (tlp_channel::VERSION, 1),
                    (tlp_channel::LOG_RING_SLOTS, log_slots.into()),
                    (tlp_channel::LOG_SLOT_STRIDE, 9),
                    (tlp_channel::GATEWAY_PAGE_ID, page.into()),
                    (tlp_channel::RING_UMEM_ID, umem.into()),
                    (tlp_channel::CREDITS, credits.into()),
                ];
                object(TLP_CHANNEL.0, uid, tlp_channel::SIZE, &fields)
            }
            Recipe::Function { uid, channel, port } => {
                let fields =
                    [(emulated_function::CHANNEL_ID, u64::from(channel)), (emulated_function::PORT, port.into())];
                object(EMULATED_FUNCTION.0, uid, emulated_function::SIZE, &fields)
            }
        }
    }
}
