//! An Ethernet port: queues of raw packets, transport interfaces, the virtual port, RoCE addresses, registers.

use mlx5_twin_fw_cmds::constants::*;
use mlx5_twin_fw_cmds::field::FieldArray;

use super::registers::{contents, read, write};
use super::*;
use crate::profile::Ethernet;

/// The small profile with an Ethernet port: 2 queues, tables and interfaces of each kind, tables of up to 4 queues, lists of up to 2
/// addresses, 2 RoCE addresses; flow tables for received packets of up to 256 entries on levels up to 4.
pub(super) fn ethernet() -> Profile {
    let mut profile = small();
    profile.ethernet = Some(Ethernet { max_mtu: 9000, ..Ethernet::default() });
    let map = |entries: &[(&str, u64)]| -> CapabilityMap {
        entries.iter().map(|(name, value)| ((*name).to_owned(), CapabilityValue::One(*value))).collect()
    };
    profile.capabilities.general.extend(map(&[
        ("port_type", 1),
        ("eth_net_offloads", 1),
        ("nic_flow_table", 1),
        ("roce", 1),
        ("log_max_sq", 1),
        ("log_max_rq", 1),
        ("log_max_rqt", 1),
        ("log_max_rqt_size", 2),
        ("log_max_tir", 1),
        ("log_max_tis", 1),
        ("log_max_current_uc_list", 1),
        ("log_max_current_mc_list", 1),
    ]));
    profile.capabilities.ethernet = Some(map(&[("vlan_cap", 1), ("self_lb_en_modifiable", 1)]));
    profile.capabilities.roce = Some(map(&[("l3_type", 6), ("roce_version", 4), ("roce_address_table_size", 2)]));
    let properties = map(&[
        ("ft_support", 1),
        ("flow_counter", 1),
        ("flow_modify_en", 1),
        ("flow_table_modify", 1),
        ("log_max_ft_size", 8),
        ("max_ft_level", 4),
        ("log_max_destination", 1),
    ]);
    let properties = CapabilityValue::Nested(properties);
    profile.capabilities.flow_table = Some([("flow_table_properties_nic_receive".to_owned(), properties)].into());
    profile
}

/// What [`super::furnished`] and CQs 1 (the driver's) and 2 (uid 1's) have, and transport domains 1 and 2 likewise.
pub(super) fn furnished_for_ethernet() -> Machine {
    let mut machine = Machine::new(&ethernet());
    for step in [
        plain(Opcode::ENABLE_HCA, 0, &[]),
        plain(Opcode::INIT_HCA, 0, &[]),
        plain(Opcode::CREATE_UCTX, 0, &[]),
        plain(Opcode::ALLOC_UAR, 0, &[]),
        plain(Opcode::ALLOC_UAR, 1, &[]),
        plain(Opcode::ALLOC_PD, 0, &[]),
        plain(Opcode::ALLOC_PD, 1, &[]),
        create_eq(0xffff, 6, 0x100, 1, 0),
        plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 0, &[]),
        plain(Opcode::ALLOC_TRANSPORT_DOMAIN, 1, &[]),
        create_cq(0, 0x100, 1),
        create_cq(1, 0x101, 1),
        plain(Opcode::ALLOC_Q_COUNTER, 0, &[]),
        create_rmp(0, 1),
    ] {
        machine.ok(&step);
    }
    machine.check();
    machine
}

/// Numbers of the first send queue and of the first receive queue: they follow those of the 4 queue pairs.
const SQN: u64 = 0x44;
const RQN: u64 = 0x46;

const fn sq_in(field: Field) -> Field {
    field.within(create_sq_in::CTX.bits())
}

const fn sq_wq(field: Field) -> Field {
    sq_in(field.within(sqc::WQ.bits()))
}

/// The driver's send queue of 64 entries, with an interface if there's one.
fn create_sq(tis: Option<u64>, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut all = vec![
        (sq_in(sqc::CQN), 1),
        (sq_wq(wq::WQ_TYPE), 1),
        (sq_wq(wq::PD), 1),
        (sq_wq(wq::UAR_PAGE), 0x100),
        (sq_wq(wq::LOG_WQ_STRIDE), 6),
        (sq_wq(wq::LOG_WQ_SZ), 6),
    ];
    if let Some(tis) = tis {
        all.extend([(sq_in(sqc::TIS_LST_SZ), 1), (sq_in(sqc::TIS_NUM_0), tis)]);
    }
    all.extend_from_slice(fields);
    let pas = wq::PAS.within(create_sq_in::CTX.bits() + sqc::WQ.bits());
    with_pages(plain(Opcode::CREATE_SQ, 0, &all), pas, &[0xe000_0000])
}

const fn rq_in(field: Field) -> Field {
    field.within(create_rq_in::CTX.bits())
}

const fn rq_wq(field: Field) -> Field {
    rq_in(field.within(rqc::WQ.bits()))
}

/// A receive queue of 64 entries of 64 bytes.
pub(super) fn create_rq(uid: u16, cqn: u64, pd: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let mut all = vec![
        (rq_in(rqc::CQN), cqn),
        (rq_wq(wq::WQ_TYPE), 1),
        (rq_wq(wq::PD), pd),
        (rq_wq(wq::LOG_WQ_STRIDE), 6),
        (rq_wq(wq::LOG_WQ_SZ), 6),
    ];
    all.extend_from_slice(fields);
    let pas = wq::PAS.within(create_rq_in::CTX.bits() + rqc::WQ.bits());
    with_pages(plain(Opcode::CREATE_RQ, uid, &all), pas, &[0xf000_0000])
}

fn create_tis(fields: &[(Field, u64)]) -> Vec<u8> {
    let fields: Vec<_> =
        fields.iter().map(|(field, value)| (field.within(create_tis_in::CTX.bits()), *value)).collect();
    plain(Opcode::CREATE_TIS, 0, &fields)
}

pub(super) fn create_tir(uid: u16, domain: u64, fields: &[(Field, u64)]) -> Vec<u8> {
    let all = [(tirc::TRANSPORT_DOMAIN, domain)].into_iter().chain(fields.iter().copied());
    let all: Vec<_> = all.map(|(field, value)| (field.within(create_tir_in::CTX.bits()), value)).collect();
    plain(Opcode::CREATE_TIR, uid, &all)
}

/// A table of receive queues with this list.
fn table_of(opcode: Opcode, uid: u16, most: u64, queues: &[u64], fields: &[(Field, u64)]) -> Vec<u8> {
    let context = |field: Field| field.within(create_rqt_in::RQT_CONTEXT.bits());
    let mut all = vec![(context(rqtc::RQT_MAX_SIZE), most), (context(rqtc::RQT_ACTUAL_SIZE), queues.len() as u64)];
    all.extend_from_slice(fields);
    let mut bytes = plain(opcode, uid, &all);
    let list = FieldArray { ..rqtc::RQ_NUM.within(create_rqt_in::RQT_CONTEXT.bits()) };
    bytes.resize(bytes.len() + 4 * queues.len(), 0);
    for (index, rqn) in queues.iter().enumerate() {
        list.set(&mut bytes, index, *rqn).expect("fits");
    }
    bytes
}

#[test]
fn send_queues_and_their_interfaces() {
    let modify = |sqn, from, to, mask| {
        let state = sqc::STATE.within(modify_sq_in::CTX.bits());
        let fields = [
            (modify_sq_in::SQN, sqn),
            (modify_sq_in::SQ_STATE, from),
            (state, to),
            (modify_sq_in::MODIFY_BITMASK, mask),
        ];
        plain(Opcode::MODIFY_SQ, 0, &fields)
    };
    let mut machine = furnished_for_ethernet();
    assert_eq!(machine.number(&create_tis(&[(tisc::TRANSPORT_DOMAIN, 1)]), create_tis_out::TISN), 1);
    assert_eq!(u64::from(machine.number(&create_sq(Some(1), &[]), create_sq_out::SQN)), SQN);
    machine.ok(&super::qos::rate(0, 3, 1000, &[]));
    let rate = |index| (sqc::PACKET_PACING_RATE_LIMIT_INDEX.within(modify_sq_in::CTX.bits()), index);
    let tis = |opcode, uid, field, id| naming(opcode, uid, field, id);
    #[rustfmt::skip]
    let cases = vec![
        ("without an interface", create_sq(None, &[]), Ok(())),
        ("no such interface", create_sq(Some(2), &[]), Err(Failure::TIS_UNKNOWN)),
        ("two interfaces", create_sq(None, &[(sq_in(sqc::TIS_LST_SZ), 2)]), Err(Failure::SQ_TIS)),
        ("ready at once", create_sq(None, &[(sq_in(sqc::STATE), 1)]), Err(Failure::SQ_STATE)),
        ("linked", create_sq(None, &[(sq_wq(wq::WQ_TYPE), 0)]), Err(Failure::SQ_TYPE)),
        ("too large", create_sq(None, &[(sq_wq(wq::LOG_WQ_SZ), 8)]), Err(Failure::SQ_SIZE)),
        ("entries of 128 bytes", create_sq(None, &[(sq_wq(wq::LOG_WQ_STRIDE), 7)]), Err(Failure::SQ_SIZE)),
        ("with UMR", create_sq(None, &[(sq_in(sqc::REG_UMR), 1)]), Err(Failure::SQ_OPTION)),
        ("no CQ", create_sq(None, &[(sq_in(sqc::CQN), 3)]), Err(Failure::CQ_UNKNOWN)),
        ("reset to ready", modify(SQN, 0, 1, 0), Ok(())),
        ("from another state than it has", modify(SQN, 1, 1, 0), Err(Failure::SQ_STATE)),
        ("with no rate", modify(SQN, 0, 1, 1), Ok(())),
        ("with a rate", with(modify(SQN, 0, 1, 1), &[rate(3)]), Ok(())),
        ("with a rate that isn't there", with(modify(SQN, 0, 1, 1), &[rate(2)]), Err(Failure::SQ_RATE)),
        ("with a rate that isn't selected", with(modify(SQN, 0, 1, 0), &[rate(2)]), Ok(())),
        ("of another port", modify(SQN, 0, 1, 2), Err(Failure::SQ_MODIFY)),
        ("no queue", modify(SQN + 1, 0, 1, 0), Err(Failure::SQ_UNKNOWN)),
        ("a user's command", naming(Opcode::DESTROY_SQ, 1, destroy_sq_in::SQN, SQN), Err(Failure::SQ_FOREIGN)),
        ("query", naming(Opcode::QUERY_SQ, 0, query_sq_in::SQN, SQN), Ok(())),
        ("destroy", naming(Opcode::DESTROY_SQ, 0, destroy_sq_in::SQN, SQN), Ok(())),
        ("an interface in no domain", create_tis(&[]), Err(Failure::TD_UNKNOWN)),
        ("with TLS", create_tis(&[(tisc::TRANSPORT_DOMAIN, 1), (tisc::TLS_EN, 1)]), Err(Failure::TIS_OPTION)),
        ("destroy an interface in use", tis(Opcode::DESTROY_TIS, 0, destroy_tis_in::TISN, 1), Err(Failure::TIS_IN_USE)),
        ("another's interface", tis(Opcode::DESTROY_TIS, 1, destroy_tis_in::TISN, 1), Err(Failure::TIS_FOREIGN)),
        ("query the interface", tis(Opcode::QUERY_TIS, 0, query_tis_in::TISN, 1), Ok(())),
        ("change nothing of it", tis(Opcode::MODIFY_TIS, 0, modify_tis_in::TISN, 1), Ok(())),
    ];
    table(&machine, cases);
    // From an error only a reset leads on.
    for (from, to, good) in [(0, 1, true), (1, 3, true), (3, 1, false), (3, 0, true)] {
        let outcome = machine.try_run(&modify(SQN, from, to, 0)).map(drop);
        assert_eq!(outcome, if good { Ok(()) } else { Err(Failure::SQ_STATE) }, "{from} to {to}");
    }
    machine.ok(&create_sq(None, &[]));
    assert_eq!(machine.try_run(&create_sq(None, &[])), Err(Failure::SQ_FULL));
    machine.ok(&create_tis(&[(tisc::TRANSPORT_DOMAIN, 1)]));
    assert_eq!(machine.try_run(&create_tis(&[(tisc::TRANSPORT_DOMAIN, 1)])), Err(Failure::TIS_FULL));
}

#[test]
fn receive_queues() {
    let modify = |fields: &[(Field, u64)]| {
        let all: Vec<_> = [(modify_rq_in::RQN, RQN)].iter().chain(fields).copied().collect();
        plain(Opcode::MODIFY_RQ, 0, &all)
    };
    let context = |field: Field| field.within(modify_rq_in::CTX.bits());
    let rmp = |rmpn| create_rq(0, 1, 1, &[(rq_in(rqc::MEM_RQ_TYPE), 1), (rq_in(rqc::RMPN), rmpn)]);
    let mut machine = furnished_for_ethernet();
    assert_eq!(u64::from(machine.number(&create_rq(0, 1, 1, &[]), create_rq_out::RQN)), RQN);
    #[rustfmt::skip]
    let cases = vec![
        ("a user's", create_rq(1, 2, 2, &[]), Ok(())),
        ("a user's in no domain", create_rq(1, 2, 0, &[]), Err(Failure::PD_UNKNOWN)),
        ("the driver's in no domain", create_rq(0, 1, 0, &[]), Ok(())),
        ("of a pool", rmp(3), Ok(())),
        ("of no pool", rmp(4), Err(Failure::RMP_UNKNOWN)),
        ("of no such memory", create_rq(0, 1, 1, &[(rq_in(rqc::MEM_RQ_TYPE), 2)]), Err(Failure::RQ_TYPE)),
        ("strided", create_rq(0, 1, 1, &[(rq_wq(wq::WQ_TYPE), 3)]), Err(Failure::RQ_TYPE)),
        ("ready at once", create_rq(0, 1, 1, &[(rq_in(rqc::STATE), 1)]), Err(Failure::RQ_STATE)),
        ("hairpin", create_rq(0, 1, 1, &[(rq_in(rqc::HAIRPIN), 1)]), Err(Failure::RQ_OPTION)),
        ("counted", create_rq(0, 1, 1, &[(rq_in(rqc::COUNTER_SET_ID), 1)]), Ok(())),
        ("counted by nothing", create_rq(0, 1, 1, &[(rq_in(rqc::COUNTER_SET_ID), 2)]), Err(Failure::Q_COUNTER_UNKNOWN)),
        ("too large", create_rq(0, 1, 1, &[(rq_wq(wq::LOG_WQ_SZ), 8)]), Err(Failure::RQ_SIZE)),
        ("entries too large", create_rq(0, 1, 1, &[(rq_wq(wq::LOG_WQ_STRIDE), 7)]), Err(Failure::RQ_STRIDE)),
        ("entries too small", create_rq(0, 1, 1, &[(rq_wq(wq::LOG_WQ_STRIDE), 3)]), Err(Failure::RQ_STRIDE)),
        ("to ready", modify(&[(context(rqc::STATE), 1)]), Ok(())),
        ("to no state", modify(&[(context(rqc::STATE), 2)]), Err(Failure::RQ_STATE)),
        ("keep VLANs", modify(&[(modify_rq_in::MODIFY_BITMASK, RQ_MODIFY_VSD), (context(rqc::VSD), 1)]), Ok(())),
        ("keep checksums", modify(&[(modify_rq_in::MODIFY_BITMASK, RQ_MODIFY_SCATTER_FCS)]), Err(Failure::RQ_MODIFY)),
        ("something else", modify(&[(modify_rq_in::MODIFY_BITMASK, 1 << 4)]), Err(Failure::RQ_MODIFY)),
        ("another's", naming(Opcode::DESTROY_RQ, 1, destroy_rq_in::RQN, RQN), Err(Failure::RQ_FOREIGN)),
        ("query", naming(Opcode::QUERY_RQ, 0, query_rq_in::RQN, RQN), Ok(())),
        ("none", naming(Opcode::QUERY_RQ, 0, query_rq_in::RQN, RQN + 1), Err(Failure::RQ_UNKNOWN)),
        ("destroy", naming(Opcode::DESTROY_RQ, 0, destroy_rq_in::RQN, RQN), Ok(())),
    ];
    table(&machine, cases);
    machine.ok(&create_rq(0, 1, 1, &[]));
    assert_eq!(machine.try_run(&create_rq(0, 1, 1, &[])), Err(Failure::RQ_FULL));
}

#[test]
fn tables_and_interfaces_of_receive_queues() {
    use Opcode as O;
    let mut machine = furnished_for_ethernet();
    machine.ok(&create_rq(0, 1, 1, &[]));
    let make = |most, queues: &[u64]| table_of(O::CREATE_RQT, 0, most, queues, &[]);
    assert_eq!(machine.number(&make(4, &[RQN, RQN]), create_rqt_out::RQTN), 1);
    let option = |field: Field| (field.within(create_rqt_in::RQT_CONTEXT.bits()), 1);
    let change = |queues: &[u64], bit| {
        let list = (rqt_bitmask::RQN_LIST.within(modify_rqt_in::BITMASK.bits()), bit);
        table_of(O::MODIFY_RQT, 0, 0, queues, &[(modify_rqt_in::RQTN, 1), list])
    };
    let direct = |rqn| create_tir(0, 1, &[(tirc::INLINE_RQN, rqn)]);
    let hashed = |function, rqt| {
        let fields = [(tirc::DISP_TYPE, 1), (tirc::INDIRECT_TABLE, rqt), (tirc::RX_HASH_FN, function)];
        create_tir(0, 1, &fields)
    };
    assert_eq!(machine.number(&hashed(2, 1), create_tir_out::TIRN), 1);
    let modify = |bit: Field, fields: &[(Field, u64)]| {
        let mut all = vec![(modify_tir_in::TIRN, 1), (bit.within(modify_tir_in::BITMASK.bits()), 1)];
        all.extend(fields.iter().map(|(field, value)| (field.within(modify_tir_in::CTX.bits()), *value)));
        plain(O::MODIFY_TIR, 0, &all)
    };
    #[rustfmt::skip]
    let cases = vec![
        ("as large as can be", make(4, &[RQN]), Ok(())),
        ("too large", make(5, &[RQN]), Err(Failure::RQT_SIZE)),
        ("more than its maximum", make(1, &[RQN, RQN]), Err(Failure::RQT_SIZE)),
        ("empty", make(4, &[]), Err(Failure::RQT_SIZE)),
        ("of nothing", make(4, &[RQN + 1]), Err(Failure::RQ_UNKNOWN)),
        ("of other queues", table_of(O::CREATE_RQT, 0, 4, &[RQN], &[option(rqtc::LIST_Q_TYPE)]), Err(Failure::RQT_OPTION)),
        ("another list", change(&[RQN, RQN, RQN, RQN], 1), Ok(())),
        ("another list, not selected", change(&[], 0), Ok(())),
        ("a list too long", change(&[RQN; 5], 1), Err(Failure::RQT_SIZE)),
        ("destroy a table in use", naming(O::DESTROY_RQT, 0, destroy_rqt_in::RQTN, 1), Err(Failure::RQT_IN_USE)),
        ("another's table", naming(O::DESTROY_RQT, 1, destroy_rqt_in::RQTN, 1), Err(Failure::RQT_FOREIGN)),
        ("query the table", naming(O::QUERY_RQT, 0, query_rqt_in::RQTN, 1), Ok(())),
        ("destroy a queue in use", naming(O::DESTROY_RQ, 0, destroy_rq_in::RQN, RQN), Err(Failure::RQ_IN_USE)),
        ("straight to a queue", direct(RQN), Ok(())),
        ("to no queue", direct(RQN + 1), Err(Failure::RQ_UNKNOWN)),
        ("by no hash", hashed(0, 1), Err(Failure::TIR_TYPE)),
        ("to no table", hashed(1, 2), Err(Failure::RQT_UNKNOWN)),
        ("no such way", create_tir(0, 1, &[(tirc::DISP_TYPE, 2)]), Err(Failure::TIR_TYPE)),
        ("with LRO", create_tir(0, 1, &[(tirc::INLINE_RQN, RQN), (tirc::PACKET_MERGE_MASK, 1)]), Err(Failure::TIR_OPTION)),
        ("in another's domain", create_tir(1, 1, &[(tirc::INLINE_RQN, RQN)]), Err(Failure::TD_FOREIGN)),
        ("block loopback", modify(modify_tir_bitmask::SELF_LB_EN, &[(tirc::SELF_LB_BLOCK, 3)]), Ok(())),
        ("hash otherwise", modify(modify_tir_bitmask::HASH, &[(tirc::RX_HASH_FN, 1)]), Ok(())),
        ("hash no more", modify(modify_tir_bitmask::HASH, &[]), Err(Failure::TIR_TYPE)),
        ("merge packets", modify(modify_tir_bitmask::PACKET_MERGE, &[(tirc::PACKET_MERGE_MASK, 1)]), Err(Failure::TIR_OPTION)),
        ("another's interface", naming(O::DESTROY_TIR, 1, destroy_tir_in::TIRN, 1), Err(Failure::TIR_FOREIGN)),
        ("no interface", naming(O::QUERY_TIR, 0, query_tir_in::TIRN, 2), Err(Failure::TIR_UNKNOWN)),
        ("destroy the interface", naming(O::DESTROY_TIR, 0, destroy_tir_in::TIRN, 1), Ok(())),
    ];
    table(&machine, cases);
    let answer = machine.ok(&naming(O::QUERY_RQT, 0, query_rqt_in::RQTN, 1));
    let list = rqtc::RQ_NUM.within(query_rqt_out::RQT_CONTEXT.bits());
    assert_eq!([0, 1, 2].map(|index| list.get(&answer, index)), [Ok(RQN), Ok(RQN), Ok(0)]);
    machine.ok(&make(1, &[RQN]));
    assert_eq!(machine.try_run(&make(1, &[RQN])), Err(Failure::RQT_FULL));
    machine.ok(&direct(RQN));
    assert_eq!(machine.try_run(&direct(RQN)), Err(Failure::TIR_FULL));
}

#[test]
fn an_infiniband_port_has_none_of_it() {
    let mut machine = furnished_for_transport();
    assert_eq!(machine.try_run(&create_sq(None, &[])), Err(Failure::SQ_FULL));
    assert_eq!(machine.try_run(&plain(Opcode::QUERY_NIC_VPORT_CONTEXT, 0, &[])), Err(Failure::NIC_VPORT_TYPE));
    assert_eq!(machine.try_run(&plain(Opcode::SET_ROCE_ADDRESS, 0, &[])), Err(Failure::NIC_VPORT_TYPE));
}

#[test]
fn the_virtual_port() {
    let base = modify_nic_vport_context_in::NIC_VPORT_CONTEXT.bits();
    let modify = |bit: Field, fields: &[(Field, u64)]| {
        let mut all = vec![(bit.within(modify_nic_vport_context_in::FIELD_SELECT.bits()), 1)];
        all.extend(fields.iter().map(|(field, value)| (field.within(base), *value)));
        plain(Opcode::MODIFY_NIC_VPORT_CONTEXT, 0, &all)
    };
    let list = |kind, addresses: &[u64]| {
        use nic_vport_context::{ALLOWED_LIST_SIZE, ALLOWED_LIST_TYPE, CURRENT_UC_MAC_ADDRESS};
        let fields = [(ALLOWED_LIST_TYPE, kind), (ALLOWED_LIST_SIZE, addresses.len() as u64)];
        with_pages(
            modify(modify_nic_vport_field_select::ADDRESSES_LIST, &fields),
            CURRENT_UC_MAC_ADDRESS.within(base),
            addresses,
        )
    };
    let query = |kind| naming(Opcode::QUERY_NIC_VPORT_CONTEXT, 0, query_nic_vport_context_in::ALLOWED_LIST_TYPE, kind);
    let address = |index, version, kind| {
        let fields = [
            (roce_addr_layout::ROCE_VERSION, version),
            (roce_addr_layout::ROCE_L3_TYPE, kind),
            (roce_addr_layout::SOURCE_MAC_31_0, 7),
        ];
        let fields = fields.map(|(field, value)| (field.within(set_roce_address_in::ROCE_ADDRESS.bits()), value));
        with(naming(Opcode::SET_ROCE_ADDRESS, 0, set_roce_address_in::ROCE_ADDRESS_INDEX, index), &fields)
    };
    let mut machine = furnished_for_ethernet();
    #[rustfmt::skip]
    let cases = vec![
        ("promiscuous", modify(modify_nic_vport_field_select::PROMISC, &[(nic_vport_context::PROMISC_ALL, 1)]), Ok(())),
        ("RoCE", modify(modify_nic_vport_field_select::ROCE_EN, &[(nic_vport_context::ROCE_EN, 1)]), Ok(())),
        ("MTU", modify(modify_nic_vport_field_select::MTU, &[(nic_vport_context::MTU, 9000)]), Ok(())),
        ("MTU too large", modify(modify_nic_vport_field_select::MTU, &[(nic_vport_context::MTU, 9001)]), Err(Failure::NIC_VPORT_MTU)),
        ("its GUID", modify(modify_nic_vport_field_select::NODE_GUID, &[]), Err(Failure::NIC_VPORT_FIELD)),
        ("loopback without the capability", modify(modify_nic_vport_field_select::DISABLE_UC_LOCAL_LB, &[]), Err(Failure::NIC_VPORT_FIELD)),
        ("another port", with(query(0), &[(query_nic_vport_context_in::OTHER_VPORT, 1)]), Err(Failure::OTHER_FUNCTION)),
        ("two addresses", list(0, &[1, 2]), Ok(())),
        ("three addresses", list(1, &[1, 2, 3]), Err(Failure::NIC_VPORT_LIST)),
        ("no such list", list(3, &[]), Err(Failure::NIC_VPORT_LIST)),
        ("query no such list", query(3), Err(Failure::NIC_VPORT_LIST)),
        ("state", plain(Opcode::QUERY_VPORT_STATE, 0, &[]), Ok(())),
        ("state of the e-switch's port", naming(Opcode::QUERY_VPORT_STATE, 0, mbox_in::OP_MOD, 1), Err(Failure::OP_MOD)),
        ("a RoCE address", address(1, 2, 1), Ok(())),
        ("beyond the table", address(2, 2, 1), Err(Failure::ROCE_INDEX)),
        ("of RoCE version 1", address(1, 0, 1), Err(Failure::ROCE_ADDRESS)),
        ("of no layer 3", address(1, 2, 2), Err(Failure::ROCE_ADDRESS)),
    ];
    table(&machine, cases);
    machine.ok(&list(0, &[0x0200_0000_0001, 0x0200_0000_0002]));
    let answer = machine.ok(&query(0));
    let told = |field: Field| field.within(query_nic_vport_context_out::NIC_VPORT_CONTEXT.bits()).get(&answer);
    assert_eq!(told(nic_vport_context::ALLOWED_LIST_SIZE), Ok(2));
    assert_eq!(told(nic_vport_context::NODE_GUID), Ok(Profile::default().device.node_guid));
    assert_eq!(told(nic_vport::MAC), Ok(0x0254_5700_0001));
    machine.ok(&address(1, 2, 1));
    let answer = machine.ok(&naming(Opcode::QUERY_ROCE_ADDRESS, 0, query_roce_address_in::ROCE_ADDRESS_INDEX, 1));
    let mac = roce_addr_layout::SOURCE_MAC_31_0.within(query_roce_address_out::ROCE_ADDRESS.bits());
    assert_eq!(mac.get(&answer), Ok(7));
    machine.ok(&naming(Opcode::SET_ROCE_ADDRESS, 0, set_roce_address_in::ROCE_ADDRESS_INDEX, 1));
    assert!(machine.firmware.nic_vport().expect("is Ethernet").roce.is_empty(), "all 0 is none");
}

#[test]
fn registers_of_an_ethernet_port() {
    use REG_PFCC as PFCC;
    let mtu = |mtu| write(REG_PMTU, 16, &[(pmtu_reg::ADMIN_MTU, mtu)]);
    let mut machine = furnished_for_ethernet();
    #[rustfmt::skip]
    let cases = vec![
        ("MTU", mtu(9000), Ok(())),
        ("MTU too large", mtu(9001), Err(Failure::REGISTER_VALUE)),
        ("MTU of 0", mtu(0), Err(Failure::REGISTER_VALUE)),
        ("pause frames of port 2", write(PFCC, 32, &[(pfcc_reg::LOCAL_PORT, 2)]), Err(Failure::PORT)),
        ("PPCNT, IEEE 802.3", read(REG_PPCNT, 256, &[]), Ok(())),
        ("PPCNT, physical layer", read(REG_PPCNT, 256, &[(ppcnt_reg::GRP, 0x12)]), Ok(())),
        ("PPCNT, no such group", read(REG_PPCNT, 256, &[(ppcnt_reg::GRP, 0x3f)]), Err(Failure::COUNTER_GROUP)),
    ];
    table(&machine, cases);
    machine.ok(&mtu(1600));
    let told = contents(&mut machine, REG_PMTU, 16, &[]);
    assert_eq!([pmtu_reg::OPER_MTU, pmtu_reg::MAX_MTU].map(|field| field.get(&told)), [Ok(1600), Ok(9000)]);
    // Priority 1 is paused, then all but what isn't in the mask.
    machine.ok(&write(PFCC, 32, &[(pfcc_reg::PFCTX, 2), (pfcc_reg::PRIO_MASK_TX, 0xff)]));
    machine.ok(&write(PFCC, 32, &[(pfcc_reg::PFCTX, 5), (pfcc_reg::PRIO_MASK_TX, 0x04), (pfcc_reg::PPRX, 1)]));
    let told = contents(&mut machine, PFCC, 32, &[]);
    let fields = [pfcc_reg::PFCTX, pfcc_reg::PPRX, pfcc_reg::PPTX].map(|field| field.get(&told));
    assert_eq!(fields, [Ok(6), Ok(1), Ok(0)]);
    let told = contents(&mut machine, REG_PTYS, 64, &[(ptys_reg::PROTO_MASK, 4)]);
    let modes = [ptys_reg::ETH_PROTO_OPER, ptys_reg::ETH_PROTO_CAPABILITY].map(|field| field.get(&told));
    assert_eq!(modes, [Ok(1 << ETH_100GBASE_CR4), Ok(1 << ETH_100GBASE_CR4)]);
}

#[test]
fn what_a_user_context_leaves_goes_with_it() {
    let mut machine = furnished_for_ethernet();
    let before = machine.balance();
    machine.ok(&create_rq(1, 2, 2, &[]));
    machine.ok(&create_tir(1, 2, &[(tirc::INLINE_RQN, RQN)]));
    machine.ok(&table_of(Opcode::CREATE_RQT, 1, 2, &[RQN], &[]));
    machine.check();
    machine.ok(&naming(Opcode::DESTROY_UCTX, 0, destroy_uctx_in::UID, 1));
    machine.check();
    let after = machine.balance();
    assert_eq!((after.rqs, after.rqts, after.tirs, after.cqs), (0, 0, 0, before.cqs - 1));
}
