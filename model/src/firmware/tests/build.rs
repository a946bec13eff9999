//! Commands of the transport, and a machine that has some of everything.

use mlx5_twin_fw_cmds::field::FieldArray;
use mlx5_twin_fw_cmds::transport::{AccessMode, ServiceType};

use super::*;

/// The same command with these fields set, too.
pub(super) fn with(mut bytes: Vec<u8>, fields: &[(Field, u64)]) -> Vec<u8> {
    for (field, value) in fields {
        field.set(&mut bytes, *value).expect("the test's field fits");
    }
    bytes
}

/// The same command with this list of pages.
pub(super) fn with_pages(mut bytes: Vec<u8>, pas: FieldArray, pages: &[u64]) -> Vec<u8> {
    bytes.resize((pas.offset / 8) as usize + 8 * pages.len(), 0);
    for (index, page) in pages.iter().enumerate() {
        pas.set(&mut bytes, index, *page).expect("fits");
    }
    bytes
}

/// The small profile with these general capabilities.
pub(super) fn small_with(capabilities: &[(&str, u64)]) -> Machine {
    let mut profile = small();
    for (name, value) in capabilities {
        profile.capabilities.general.insert((*name).to_owned(), CapabilityValue::One(*value));
    }
    let mut machine = Machine::new(&profile);
    machine.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
    machine.ok(&plain(Opcode::INIT_HCA, 0, &[]));
    machine
}

/// Fields of CREATE_CQ's context.
pub(super) const fn cqc_in(field: Field) -> Field {
    field.within(create_cq_in::CQ_CONTEXT.bits())
}

/// A CQ of 64 entries in one page.
pub(super) fn create_cq(uid: u16, uar: u32, eqn: u32) -> Vec<u8> {
    let fields = [
        (cqc_in(cqc::LOG_CQ_SIZE), 6),
        (cqc_in(cqc::UAR_PAGE), uar.into()),
        (cqc_in(cqc::C_EQN_OR_APU_ELEMENT), eqn.into()),
        (cqc_in(cqc::DBR_ADDR), 0x9_0000_0040),
    ];
    with_pages(plain(Opcode::CREATE_CQ, uid, &fields), create_cq_in::PAS, &[0x8000_0000])
}

/// Fields of CREATE_MKEY's context.
pub(super) const fn mkc_in(field: Field) -> Field {
    field.within(create_mkey_in::MEMORY_KEY_MKEY_ENTRY.bits())
}

/// A key to these pages of 4 KiB.
pub(super) fn create_mkey(uid: u16, pd: u32, pages: &[u64]) -> Vec<u8> {
    let octowords = pages.len().div_ceil(2) as u64;
    let fields = [
        (mkc_in(mkc::ACCESS_MODE_1_0), AccessMode::MTT.0.into()),
        (mkc_in(mkc::LR), 1),
        (mkc_in(mkc::QPN), 0xff_ffff),
        (mkc_in(mkc::MKEY_7_0), 0x5a),
        (mkc_in(mkc::PD), pd.into()),
        (mkc_in(mkc::START_ADDR), 0x7f00_0000_0000),
        (mkc_in(mkc::LEN), 4096 * pages.len() as u64),
        (mkc_in(mkc::TRANSLATIONS_OCTWORD_SIZE), octowords),
        (mkc_in(mkc::LOG_PAGE_SIZE), 12),
        (create_mkey_in::TRANSLATIONS_OCTWORD_ACTUAL_SIZE, octowords),
    ];
    let list = FieldArray { stride: 64, width: 64, ..create_mkey_in::KLM_PAS_MTT };
    let mut pages = pages.to_vec();
    pages.resize(2 * octowords as usize, 0);
    with_pages(plain(Opcode::CREATE_MKEY, uid, &fields), list, &pages)
}

/// Fields of CREATE_SRQ's context.
pub(super) const fn srqc_in(field: Field) -> Field {
    field.within(create_srq_in::SRQ_CONTEXT_ENTRY.bits())
}

/// An SRQ of 64 entries of 64 bytes in one page.
pub(super) fn create_srq(uid: u16, pd: u32) -> Vec<u8> {
    let fields = [(srqc_in(srqc::LOG_SRQ_SIZE), 6), (srqc_in(srqc::LOG_RQ_STRIDE), 2), (srqc_in(srqc::PD), pd.into())];
    with_pages(plain(Opcode::CREATE_SRQ, uid, &fields), create_srq_in::PAS, &[0xa000_0000])
}

/// Fields of CREATE_XRC_SRQ's context.
pub(super) const fn xrc_srqc_in(field: Field) -> Field {
    field.within(create_xrc_srq_in::XRC_SRQ_CONTEXT_ENTRY.bits())
}

/// An XRC SRQ of 64 entries of 64 bytes in one page.
pub(super) fn create_xrc_srq(uid: u16, pd: u32, xrcd: u32, cqn: u32) -> Vec<u8> {
    let fields = [
        (xrc_srqc_in(xrc_srqc::LOG_XRC_SRQ_SIZE), 6),
        (xrc_srqc_in(xrc_srqc::LOG_RQ_STRIDE), 2),
        (xrc_srqc_in(xrc_srqc::PD), pd.into()),
        (xrc_srqc_in(xrc_srqc::XRCD), xrcd.into()),
        (xrc_srqc_in(xrc_srqc::CQN), cqn.into()),
    ];
    with_pages(plain(Opcode::CREATE_XRC_SRQ, uid, &fields), create_xrc_srq_in::PAS, &[0xb000_0000])
}

/// Fields of CREATE_RMP's work queue.
pub(super) const fn rmp_wq(field: Field) -> Field {
    field.within(create_rmp_in::CTX.bits() + rmpc::WQ.bits())
}

/// An RMP of 64 entries of 64 bytes in one page.
pub(super) fn create_rmp(uid: u16, pd: u32) -> Vec<u8> {
    let fields = [
        (rmpc::STATE.within(create_rmp_in::CTX.bits()), 1),
        (rmp_wq(wq::LOG_WQ_SZ), 6),
        (rmp_wq(wq::LOG_WQ_STRIDE), 6),
        (rmp_wq(wq::PD), pd.into()),
    ];
    let pas = wq::PAS.within(create_rmp_in::CTX.bits() + rmpc::WQ.bits());
    with_pages(plain(Opcode::CREATE_RMP, uid, &fields), pas, &[0xc000_0000])
}

/// Fields of CREATE_QP's context.
pub(super) const fn qpc_in(field: Field) -> Field {
    field.within(create_qp_in::QPC.bits())
}

/// What a QP of a test uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct QpUses {
    pub(super) pd: u32,
    pub(super) uar: u32,
    pub(super) cq_send: u32,
    pub(super) cq_receive: u32,
}

/// A QP with 32 send entries of 64 bytes and 32 receive entries of 64 bytes in one page.
pub(super) fn create_qp(uid: u16, service: ServiceType, uses: QpUses) -> Vec<u8> {
    let fields = [
        (qpc_in(qpc::ST), service.0.into()),
        (qpc_in(qpc::PM_STATE), 3),
        (qpc_in(qpc::PD), uses.pd.into()),
        (qpc_in(qpc::LOG_SQ_SIZE), 5),
        (qpc_in(qpc::LOG_RQ_SIZE), 5),
        (qpc_in(qpc::LOG_RQ_STRIDE), 2),
        (qpc_in(qpc::UAR_PAGE), uses.uar.into()),
        (qpc_in(qpc::CQN_SND), uses.cq_send.into()),
        (qpc_in(qpc::CQN_RCV), uses.cq_receive.into()),
        (qpc_in(qpc::DBR_ADDR), 0x9_0000_0080),
    ];
    with_pages(plain(Opcode::CREATE_QP, uid, &fields), create_qp_in::PAS, &[0xd000_0000])
}

/// The driver's QPs use these.
pub(super) const DRIVER: QpUses = QpUses { pd: 1, uar: 0x100, cq_send: 1, cq_receive: 1 };

/// Those of uid 1 use these.
pub(super) const USER: QpUses = QpUses { pd: 2, uar: 0x101, cq_send: 2, cq_receive: 2 };

/// The same QP with a shared receive queue.
pub(super) fn shared(qp: Vec<u8>, number: u32) -> Vec<u8> {
    with(qp, &[(qpc_in(qpc::RQ_TYPE), 1), (qpc_in(qpc::SRQN_RMPN_XRQN), number.into())])
}

/// A transition of a QP with these fields of its context.
pub(super) fn transition(opcode: Opcode, uid: u16, qpn: u32, mask: u32, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut bytes = plain(opcode, uid, &[(rst2init_qp_in::QPN, qpn.into())]);
    if bytes.len() > rst2init_qp_in::QPC.offset as usize {
        bytes = with(bytes, &[(rst2init_qp_in::OPT_PARAM_MASK, mask.into())]);
        for (field, value) in fields {
            bytes = with(bytes, &[(field.within(rst2init_qp_in::QPC.bits()), *value)]);
        }
    }
    bytes
}

/// ATTACH_TO_MCG or DETACH_FROM_MCG for the group that ends so.
pub(super) fn group(opcode: Opcode, uid: u16, qpn: u32, first: u8, last: u8) -> Vec<u8> {
    let gid = |index, value: u8| (attach_to_mcg_in::MULTICAST_GID.at(index).expect("has 16"), value.into());
    plain(opcode, uid, &[(attach_to_mcg_in::QPN, qpn.into()), gid(0, first), gid(15, last)])
}

/// What [`furnished`] has, and of the driver's (uid 0) and of uid 1, in this order: transport domains 1
/// and 2, XRC domains 1 and 2, CQs 1 and 2 (both on EQ 2, which is shared), memory keys 2 and 3, RMPs 3
/// and 4; the driver's XRC SRQ 1; QP 0x40 (the driver's, UD), QP 0x41 (uid 1, RC, with RMP 4).
pub(super) fn furnished_for_transport() -> Machine {
    let mut machine = furnished();
    for step in [
        plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 0, &[]),
        plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 1, &[]),
        plain(Opcode::ALLOC_XRCD, 0, &[]),
        plain(Opcode::ALLOC_XRCD, 1, &[]),
        create_cq(0, 0x100, 2),
        create_cq(1, 0x101, 2),
        create_mkey(0, 1, &[0x4000_0003]),
        create_mkey(1, 2, &[0x5000_0003, 0x5000_1003]),
        create_rmp(0, 1),
        create_rmp(1, 2),
        create_xrc_srq(0, 1, 1, 1),
        create_qp(0, ServiceType::UD, DRIVER),
        shared(create_qp(1, ServiceType::RC, USER), 4),
    ] {
        machine.ok(&step);
    }
    machine.check();
    machine
}
