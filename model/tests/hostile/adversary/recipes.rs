//! Commands whose arguments make sense.

use mlx5_twin_fw_cmds::constants::{
    FLOW_COUNT, FLOW_DESTINATION_TIR, FLOW_DROP, FLOW_FORWARD, SQC_STATE_RDY, SQC_STATE_RST, WQ_TYPE_CYCLIC,
};
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
    /// CREATE_SQ of 64 entries, in no transport interface or one.
    Sq { uid: u8, cqn: u8, pd: u8, uar: u8, tisn: u8, page: u8 },
    /// MODIFY_SQ from one state to another.
    SqState { number: u8, from: u8, to: u8 },
    /// CREATE_RQ.
    Rq { uid: u8, cqn: u8, pd: u8, page: u8 },
    /// CREATE_RQT with a list of so many receive queues, all of them the same.
    Rqt { uid: u8, number: u8, count: u8 },
    /// CREATE_TIS.
    Tis { domain: u8 },
    /// CREATE_TIR: straight to a receive queue, or to one of a table by hash.
    Tir { uid: u8, domain: u8, number: u8, hashed: bool },
    /// CREATE_FLOW_TABLE of 16 entries.
    FlowTable { uid: u8, level: u8 },
    /// CREATE_FLOW_GROUP of 4 entries.
    FlowGroup { uid: u8, table: u8, place: u8 },
    /// SET_FLOW_TABLE_ENTRY: packets go to a transport interface, or are dropped; a flow counter may count them.
    FlowEntry { table: u8, group: u8, index: u8, tirn: u8, counter: u8, change: bool },
    /// DELETE_FLOW_TABLE_ENTRY.
    NoFlowEntry { table: u8, index: u8 },
    /// ALLOC_FLOW_COUNTER.
    FlowCounter { uid: u8 },
}

/// Numbers of the device's first objects, where they aren't small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firsts {
    pub(crate) uar: u32,
    pub(crate) sq: u32,
    pub(crate) rq: u32,
}

/// The doorbell record of all send queues.
pub(super) const SEND_RECORD: u64 = DATA + 0x100;

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

    /// Draws one about raw packets.
    pub(super) fn draw_ethernet(script: &mut Script<'_>) -> Recipe {
        let kind = script.byte();
        let mut small = |most: u8| script.byte() % most;
        match kind % 16 {
            0..=2 => Recipe::Sq {
                uid: small(2),
                cqn: small(3),
                pd: small(3),
                uar: small(4),
                tisn: small(3),
                page: small(64),
            },
            3..=5 => Recipe::SqState { number: small(4), from: small(4), to: small(4) },
            6 => Recipe::Rq { uid: small(3), cqn: small(3), pd: small(3), page: small(64) },
            7 => Recipe::Rqt { uid: small(3), number: small(3), count: small(64) },
            8 => Recipe::Tis { domain: small(3) },
            9 => Recipe::Tir { uid: small(3), domain: small(3), number: small(3), hashed: small(2) == 1 },
            10 => Recipe::FlowTable { uid: small(3), level: small(8) },
            11 => Recipe::FlowGroup { uid: small(3), table: small(3), place: small(4) },
            12 | 13 => Recipe::FlowEntry {
                table: small(3),
                group: small(4),
                index: small(16),
                tirn: small(3),
                counter: small(4),
                change: small(4) == 0,
            },
            14 => Recipe::NoFlowEntry { table: small(3), index: small(16) },
            _ => Recipe::FlowCounter { uid: small(2) },
        }
    }

    /// The command's bytes.
    pub(crate) fn bytes(self, firsts: Firsts) -> Vec<u8> {
        let page_of = |uar: u8| u64::from(firsts.uar) + u64::from(uar);
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
            Recipe::Sq { uid, cqn, pd, uar, tisn, page } => {
                const CONTEXT: u32 = create_sq_in::CTX.bits();
                const QUEUE: u32 = CONTEXT + sqc::WQ.bits();
                let fields = [
                    (sqc::CQN.within(CONTEXT), cqn.into()),
                    (sqc::TIS_LST_SZ.within(CONTEXT), u64::from(tisn > 0)),
                    (sqc::TIS_NUM_0.within(CONTEXT), tisn.into()),
                    (wq::WQ_TYPE.within(QUEUE), WQ_TYPE_CYCLIC.into()),
                    (wq::PD.within(QUEUE), pd.into()),
                    (wq::UAR_PAGE.within(QUEUE), page_of(uar)),
                    (wq::LOG_WQ_STRIDE.within(QUEUE), 6),
                    (wq::LOG_WQ_SZ.within(QUEUE), 6),
                    (wq::DBR_ADDR.within(QUEUE), SEND_RECORD),
                ];
                with_pages(command(Opcode::CREATE_SQ, uid, 0, &fields), wq::PAS.within(QUEUE), pages(page, 1))
            }
            Recipe::SqState { number, from, to } => {
                // Mostly to work: a queue is made without any.
                let (from, to) = if from == to { (SQC_STATE_RST, SQC_STATE_RDY) } else { (from, to) };
                let fields = [
                    (modify_sq_in::SQN, u64::from(firsts.sq) + u64::from(number)),
                    (modify_sq_in::SQ_STATE, from.into()),
                    (sqc::STATE.within(modify_sq_in::CTX.bits()), to.into()),
                ];
                command(Opcode::MODIFY_SQ, 0, 0, &fields)
            }
            Recipe::Rq { uid, cqn, pd, page } => {
                const CONTEXT: u32 = create_rq_in::CTX.bits();
                const QUEUE: u32 = CONTEXT + rqc::WQ.bits();
                let fields = [
                    (rqc::CQN.within(CONTEXT), cqn.into()),
                    (wq::WQ_TYPE.within(QUEUE), WQ_TYPE_CYCLIC.into()),
                    (wq::PD.within(QUEUE), pd.into()),
                    (wq::LOG_WQ_STRIDE.within(QUEUE), 6),
                    (wq::LOG_WQ_SZ.within(QUEUE), 6),
                ];
                with_pages(command(Opcode::CREATE_RQ, uid, 0, &fields), wq::PAS.within(QUEUE), pages(page, 1))
            }
            Recipe::Rqt { uid, number, count } => {
                const CONTEXT: u32 = create_rqt_in::RQT_CONTEXT.bits();
                let fields =
                    [(rqtc::RQT_MAX_SIZE.within(CONTEXT), 64), (rqtc::RQT_ACTUAL_SIZE.within(CONTEXT), count.into())];
                let mut bytes = command(Opcode::CREATE_RQT, uid, 0, &fields);
                let rqn = u32::from(number) + firsts.rq;
                bytes.extend((0..count).flat_map(|_| rqn.to_be_bytes()));
                bytes
            }
            Recipe::Tis { domain } => {
                let domain = (tisc::TRANSPORT_DOMAIN.within(create_tis_in::CTX.bits()), domain.into());
                command(Opcode::CREATE_TIS, 0, 0, &[domain])
            }
            Recipe::Tir { uid, domain, number, hashed } => {
                let to = if hashed {
                    [(tirc::DISP_TYPE, 1), (tirc::INDIRECT_TABLE, number.into()), (tirc::RX_HASH_FN, 2)]
                } else {
                    [
                        (tirc::DISP_TYPE, 0),
                        (tirc::INLINE_RQN, u64::from(firsts.rq) + u64::from(number)),
                        (tirc::RX_HASH_FN, 0),
                    ]
                };
                let fields = to.into_iter().chain([(tirc::TRANSPORT_DOMAIN, domain.into())]);
                let fields: Vec<_> =
                    fields.map(|(field, value)| (field.within(create_tir_in::CTX.bits()), value)).collect();
                command(Opcode::CREATE_TIR, uid, 0, &fields)
            }
            Recipe::FlowTable { uid, level } => {
                const CONTEXT: u32 = create_flow_table_in::FLOW_TABLE_CONTEXT.bits();
                let fields = [
                    (flow_table_context::LEVEL.within(CONTEXT), level.into()),
                    (flow_table_context::LOG_SIZE.within(CONTEXT), 4),
                ];
                command(Opcode::CREATE_FLOW_TABLE, uid, 0, &fields)
            }
            Recipe::FlowGroup { uid, table, place } => {
                let first = 4 * u64::from(place);
                let fields = [
                    (create_flow_group_in::TABLE_ID, table.into()),
                    (create_flow_group_in::START_FLOW_INDEX, first),
                    (create_flow_group_in::END_FLOW_INDEX, first + 3),
                ];
                command(Opcode::CREATE_FLOW_GROUP, uid, 0, &fields)
            }
            Recipe::FlowEntry { table, group, index, tirn, counter, change } => {
                const CONTEXT: u32 = set_fte_in::FLOW_CONTEXT.bits();
                let (forward, counts) = (tirn > 0, counter > 0);
                let action = if forward { FLOW_FORWARD } else { FLOW_DROP } | if counts { FLOW_COUNT } else { 0 };
                let fields = [
                    (set_fte_in::OP_MOD, u64::from(change)),
                    (set_fte_in::MODIFY_ENABLE_MASK, 0xf),
                    (set_fte_in::TABLE_ID, table.into()),
                    (set_fte_in::FLOW_INDEX, index.into()),
                    (flow_context::GROUP_ID.within(CONTEXT), group.into()),
                    (flow_context::ACTION.within(CONTEXT), action.into()),
                    (flow_context::DESTINATION_LIST_SIZE.within(CONTEXT), u64::from(forward)),
                    (flow_context::FLOW_COUNTER_LIST_SIZE.within(CONTEXT), u64::from(counts)),
                ];
                let mut bytes = command(Opcode::SET_FLOW_TABLE_ENTRY, 0, set_fte_in::SIZE, &fields);
                let lists = [
                    (forward, u64::from(FLOW_DESTINATION_TIR) << 56 | u64::from(tirn) << 32),
                    (counts, u64::from(counter) << 32),
                ];
                bytes.extend(lists.into_iter().filter(|(there, _)| *there).flat_map(|(_, item)| item.to_be_bytes()));
                bytes
            }
            Recipe::NoFlowEntry { table, index } => {
                let fields = [(delete_fte_in::TABLE_ID, table.into()), (delete_fte_in::FLOW_INDEX, index.into())];
                command(Opcode::DELETE_FLOW_TABLE_ENTRY, 0, 0, &fields)
            }
            Recipe::FlowCounter { uid } => command(Opcode::ALLOC_FLOW_COUNTER, uid, 0, &[]),
        }
    }
}
