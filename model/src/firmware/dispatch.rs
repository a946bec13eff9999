//! Which commands there are: one table of opcodes, lengths, states and handlers.

use mlx5_twin_fw_cmds::field::{Bytes, Field, FieldArray};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_fw_cmds::twin_v1;

use super::commands::{
    adapter, caps, cq, eq, flow_counter, flow_entry, flow_table, hca, mad, memic, mkey, multicast, nic_vport, number,
    object, pacing, pages, q_counter, qp, qp_state, register, rmp, roce, rq, rqt, scheduling, special, sq, srq, tir,
    tis, twin, uctx, umem, vport,
};
use super::resources::{
    Cq, Mkey, Owner, Pd, QCounter, Qp, Rmp, Rq, Rqt, Sq, Tir, Tis, TransportDomain, Uar, Umem, Xrcd,
};
use super::syndrome::{Failure, Syndrome};
use super::{Effect, Firmware, ObjectKinds, State};

/// Bytes of a command that hold opcode, uid and op_mod.
pub(super) const MIN_INPUT: usize = 8;

/// Carries out one command, whose lengths, state and caller have been checked.
pub(super) type Handler =
    fn(&mut Firmware, &Command<'_>, &mut Answer<'_>, &mut dyn ObjectKinds) -> Result<Effect, Failure>;

/// Who may send a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The driver only (uid 0 or 0xffff). Ours: what a user context may send is not public, but
    /// none of these can be meant.
    Driver,
    /// The driver, and user contexts.
    Any,
}

/// Which operation modifiers a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpMods {
    /// Only 0.
    Zero,
    /// What the command's own rules say.
    Own,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its opcode.
    pub opcode: Opcode,
    /// Shortest input, in bytes.
    pub input: usize,
    /// Shortest output, in bytes.
    pub output: usize,
    /// States in which it is allowed.
    pub states: &'static [State],
    /// Who may send it.
    pub caller: Caller,
    /// Its operation modifiers.
    pub op_mods: OpMods,
    pub(super) handler: Handler,
}

/// The command with this opcode, if there is one.
#[must_use]
pub fn spec(opcode: Opcode) -> Option<&'static Spec> {
    let index = COMMANDS.binary_search_by_key(&opcode, |spec| spec.opcode).ok()?;
    COMMANDS.get(index)
}

const ANY_STATE: &[State] = &[State::Disabled, State::Enabled, State::Initialised, State::TornDown];
const DISABLED: &[State] = &[State::Disabled];
const ENABLED: &[State] = &[State::Enabled];
const INITIALISED: &[State] = &[State::Initialised];
const AT_REST: &[State] = &[State::Enabled, State::TornDown];
const RUNNING: &[State] = &[State::Enabled, State::Initialised];
const NOT_DISABLED: &[State] = &[State::Enabled, State::Initialised, State::TornDown];

const fn row(
    opcode: Opcode,
    (input, output): (usize, usize),
    states: &'static [State],
    caller: Caller,
    op_mods: OpMods,
    handler: Handler,
) -> Spec {
    Spec { opcode, input, output, states, caller, op_mods, handler }
}

use Caller::{Any, Driver};
use OpMods::{Own, Zero};

/// Every command, by rising opcode.
#[rustfmt::skip]
pub const COMMANDS: &[Spec] = &[
    row(Opcode::QUERY_HCA_CAP, (query_hca_cap_in::SIZE, caps::QUERY_BYTES), RUNNING, Any, Own, caps::query),
    row(Opcode::QUERY_ADAPTER, (query_adapter_in::SIZE, query_adapter_out::SIZE), RUNNING, Any, Zero, adapter::query),
    row(Opcode::INIT_HCA, (init_hca_in::SIZE, init_hca_out::SIZE), ENABLED, Driver, Zero, hca::init),
    row(Opcode::TEARDOWN_HCA, (teardown_hca_in::SIZE, teardown_hca_out::SIZE), INITIALISED, Driver, Zero, hca::teardown),
    row(Opcode::ENABLE_HCA, (enable_hca_in::SIZE, enable_hca_out::SIZE), DISABLED, Driver, Zero, hca::enable),
    row(Opcode::DISABLE_HCA, (disable_hca_in::SIZE, disable_hca_out::SIZE), AT_REST, Driver, Zero, hca::disable),
    row(Opcode::QUERY_PAGES, (query_pages_in::SIZE, query_pages_out::SIZE), NOT_DISABLED, Driver, Own, pages::query),
    row(Opcode::MANAGE_PAGES, (manage_pages_in::SIZE, manage_pages_out::SIZE), NOT_DISABLED, Driver, Own, pages::manage),
    row(Opcode::SET_HCA_CAP, (set_hca_cap_in::SIZE, set_hca_cap_out::SIZE), ENABLED, Driver, Own, caps::set),
    row(Opcode::QUERY_ISSI, (query_issi_in::SIZE, query_issi_out::SIZE), NOT_DISABLED, Any, Zero, hca::query_issi),
    row(Opcode::SET_ISSI, (set_issi_in::SIZE, set_issi_out::SIZE), ENABLED, Driver, Zero, hca::set_issi),
    row(Opcode::CREATE_MKEY, (create_mkey_in::SIZE, create_mkey_out::SIZE), INITIALISED, Any, Zero, mkey::create),
    row(Opcode::QUERY_MKEY, (query_mkey_in::SIZE, query_mkey_out::SIZE), INITIALISED, Any, Zero, mkey::query),
    row(Opcode::DESTROY_MKEY, (destroy_mkey_in::SIZE, destroy_mkey_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Mkey>),
    row(Opcode::QUERY_SPECIAL_CONTEXTS, (query_special_contexts_in::SIZE, query_special_contexts_out::SIZE), INITIALISED, Any, Zero, special::query),
    row(Opcode::ALLOC_MEMIC, (alloc_memic_in::SIZE, alloc_memic_out::SIZE), INITIALISED, Driver, Zero, memic::alloc),
    row(Opcode::DEALLOC_MEMIC, (dealloc_memic_in::SIZE, dealloc_memic_out::SIZE), INITIALISED, Driver, Zero, memic::dealloc),
    row(Opcode::MODIFY_MEMIC, (modify_memic_in::SIZE, modify_memic_out::SIZE), INITIALISED, Driver, Own, memic::modify),
    row(Opcode::CREATE_EQ, (create_eq_in::SIZE, create_eq_out::SIZE), INITIALISED, Any, Zero, eq::create),
    row(Opcode::DESTROY_EQ, (destroy_eq_in::SIZE, destroy_eq_out::SIZE), INITIALISED, Any, Zero, eq::destroy),
    row(Opcode::QUERY_EQ, (query_eq_in::SIZE, query_eq_out::SIZE), INITIALISED, Any, Zero, eq::query),
    row(Opcode::CREATE_CQ, (create_cq_in::SIZE, create_cq_out::SIZE), INITIALISED, Any, Zero, cq::create),
    row(Opcode::DESTROY_CQ, (destroy_cq_in::SIZE, destroy_cq_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Cq>),
    row(Opcode::QUERY_CQ, (query_cq_in::SIZE, query_cq_out::SIZE), INITIALISED, Any, Zero, cq::query),
    row(Opcode::MODIFY_CQ, (modify_cq_in::SIZE, modify_cq_out::SIZE), INITIALISED, Any, Own, cq::modify),
    row(Opcode::CREATE_QP, (create_qp_in::SIZE, create_qp_out::SIZE), INITIALISED, Any, Zero, qp::create),
    row(Opcode::DESTROY_QP, (destroy_qp_in::SIZE, destroy_qp_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Qp>),
    row(Opcode::RST2INIT_QP, (rst2init_qp_in::SIZE, rst2init_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::INIT2RTR_QP, (init2rtr_qp_in::SIZE, init2rtr_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::RTR2RTS_QP, (rtr2rts_qp_in::SIZE, rtr2rts_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::RTS2RTS_QP, (rts2rts_qp_in::SIZE, rts2rts_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::SQERR2RTS_QP, (sqerr2rts_qp_in::SIZE, sqerr2rts_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::_2ERR_QP, (qp_2err_in::SIZE, qp_2err_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::_2RST_QP, (qp_2rst_in::SIZE, qp_2rst_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::QUERY_QP, (query_qp_in::SIZE, qp::QUERY_BYTES), INITIALISED, Any, Zero, qp::query),
    row(Opcode::SQD_RTS_QP, (sqd2rts_qp_in::SIZE, sqd2rts_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::MAD_IFC, (mad_ifc_in::SIZE, mad_ifc_out::SIZE), INITIALISED, Driver, Own, mad::exchange),
    row(Opcode::INIT2INIT_QP, (init2init_qp_in::SIZE, init2init_qp_out::SIZE), INITIALISED, Any, Zero, qp_state::change),
    row(Opcode::CREATE_SRQ, (create_srq_in::SIZE, create_srq_out::SIZE), INITIALISED, Any, Zero, srq::create),
    row(Opcode::DESTROY_SRQ, (destroy_srq_in::SIZE, destroy_srq_out::SIZE), INITIALISED, Any, Zero, srq::destroy),
    row(Opcode::QUERY_SRQ, (query_srq_in::SIZE, query_srq_out::SIZE), INITIALISED, Any, Zero, srq::query),
    row(Opcode::ARM_RQ, (arm_rq_in::SIZE, arm_rq_out::SIZE), INITIALISED, Any, Own, srq::arm),
    row(Opcode::CREATE_XRC_SRQ, (create_xrc_srq_in::SIZE, create_xrc_srq_out::SIZE), INITIALISED, Any, Zero, srq::create_xrc),
    row(Opcode::DESTROY_XRC_SRQ, (destroy_xrc_srq_in::SIZE, destroy_xrc_srq_out::SIZE), INITIALISED, Any, Zero, srq::destroy),
    row(Opcode::QUERY_XRC_SRQ, (query_xrc_srq_in::SIZE, query_xrc_srq_out::SIZE), INITIALISED, Any, Zero, srq::query),
    row(Opcode::ARM_XRC_SRQ, (arm_xrc_srq_in::SIZE, arm_xrc_srq_out::SIZE), INITIALISED, Any, Own, srq::arm),
    row(Opcode::QUERY_VPORT_STATE, (query_vport_state_in::SIZE, query_vport_state_out::SIZE), INITIALISED, Any, Own, nic_vport::query_state),
    row(Opcode::QUERY_NIC_VPORT_CONTEXT, (query_nic_vport_context_in::SIZE, query_nic_vport_context_out::SIZE), INITIALISED, Any, Zero, nic_vport::query),
    row(Opcode::MODIFY_NIC_VPORT_CONTEXT, (modify_nic_vport_context_in::SIZE, modify_nic_vport_context_out::SIZE), INITIALISED, Driver, Zero, nic_vport::modify),
    row(Opcode::QUERY_ROCE_ADDRESS, (query_roce_address_in::SIZE, query_roce_address_out::SIZE), INITIALISED, Any, Zero, roce::query),
    row(Opcode::SET_ROCE_ADDRESS, (set_roce_address_in::SIZE, set_roce_address_out::SIZE), INITIALISED, Driver, Zero, roce::set),
    row(Opcode::QUERY_HCA_VPORT_CONTEXT, (query_hca_vport_context_in::SIZE, query_hca_vport_context_out::SIZE), INITIALISED, Any, Zero, vport::query_context),
    row(Opcode::MODIFY_HCA_VPORT_CONTEXT, (modify_hca_vport_context_in::SIZE, modify_hca_vport_context_out::SIZE), INITIALISED, Driver, Zero, vport::modify_context),
    row(Opcode::QUERY_HCA_VPORT_GID, (query_hca_vport_gid_in::SIZE, query_hca_vport_gid_out::SIZE), INITIALISED, Any, Zero, vport::query_gid),
    row(Opcode::QUERY_HCA_VPORT_PKEY, (query_hca_vport_pkey_in::SIZE, query_hca_vport_pkey_out::SIZE), INITIALISED, Any, Zero, vport::query_pkey),
    row(Opcode::QUERY_VPORT_COUNTER, (query_vport_counter_in::SIZE, query_vport_counter_out::SIZE), INITIALISED, Any, Zero, vport::query_counter),
    row(Opcode::ALLOC_Q_COUNTER, (alloc_q_counter_in::SIZE, alloc_q_counter_out::SIZE), INITIALISED, Any, Zero, number::alloc::<QCounter>),
    row(Opcode::DEALLOC_Q_COUNTER, (dealloc_q_counter_in::SIZE, dealloc_q_counter_out::SIZE), INITIALISED, Any, Zero, number::destroy::<QCounter>),
    row(Opcode::QUERY_Q_COUNTER, (query_q_counter_in::SIZE, query_q_counter_out::SIZE), INITIALISED, Any, Zero, q_counter::query),
    row(Opcode::SET_PP_RATE_LIMIT, (set_pp_rate_limit_in::SIZE, set_pp_rate_limit_out::SIZE), INITIALISED, Any, Zero, pacing::set),
    row(Opcode::CREATE_SCHEDULING_ELEMENT, (create_scheduling_element_in::SIZE, create_scheduling_element_out::SIZE), INITIALISED, Any, Zero, scheduling::create),
    row(Opcode::DESTROY_SCHEDULING_ELEMENT, (destroy_scheduling_element_in::SIZE, destroy_scheduling_element_out::SIZE), INITIALISED, Any, Zero, scheduling::destroy),
    row(Opcode::MODIFY_SCHEDULING_ELEMENT, (modify_scheduling_element_in::SIZE, modify_scheduling_element_out::SIZE), INITIALISED, Any, Zero, scheduling::modify),
    row(Opcode::ALLOC_PD, (alloc_pd_in::SIZE, alloc_pd_out::SIZE), INITIALISED, Any, Zero, number::alloc::<Pd>),
    row(Opcode::DEALLOC_PD, (dealloc_pd_in::SIZE, dealloc_pd_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Pd>),
    row(Opcode::ALLOC_UAR, (alloc_uar_in::SIZE, alloc_uar_out::SIZE), INITIALISED, Any, Zero, number::alloc::<Uar>),
    row(Opcode::DEALLOC_UAR, (dealloc_uar_in::SIZE, dealloc_uar_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Uar>),
    row(Opcode::ACCESS_REG, (access_register_in::SIZE, access_register_out::SIZE), RUNNING, Driver, Own, register::access),
    row(Opcode::ATTACH_TO_MCG, (attach_to_mcg_in::SIZE, attach_to_mcg_out::SIZE), INITIALISED, Any, Zero, multicast::attach),
    row(Opcode::DETACH_FROM_MCG, (detach_from_mcg_in::SIZE, detach_from_mcg_out::SIZE), INITIALISED, Any, Zero, multicast::detach),
    row(Opcode::NOP, (nop_in::SIZE, nop_out::SIZE), ANY_STATE, Any, Zero, hca::nop),
    row(Opcode::ALLOC_XRCD, (alloc_xrcd_in::SIZE, alloc_xrcd_out::SIZE), INITIALISED, Any, Zero, number::alloc::<Xrcd>),
    row(Opcode::DEALLOC_XRCD, (dealloc_xrcd_in::SIZE, dealloc_xrcd_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Xrcd>),
    row(Opcode::ALLOC_TRANSPORT_DOMAIN, (alloc_transport_domain_in::SIZE, alloc_transport_domain_out::SIZE), INITIALISED, Any, Zero, number::alloc::<TransportDomain>),
    row(Opcode::DEALLOC_TRANSPORT_DOMAIN, (dealloc_transport_domain_in::SIZE, dealloc_transport_domain_out::SIZE), INITIALISED, Any, Zero, number::destroy::<TransportDomain>),
    row(Opcode::CREATE_TIR, (create_tir_in::SIZE, create_tir_out::SIZE), INITIALISED, Any, Zero, tir::create),
    row(Opcode::MODIFY_TIR, (modify_tir_in::SIZE, modify_tir_out::SIZE), INITIALISED, Any, Zero, tir::modify),
    row(Opcode::DESTROY_TIR, (destroy_tir_in::SIZE, destroy_tir_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Tir>),
    row(Opcode::QUERY_TIR, (query_tir_in::SIZE, query_tir_out::SIZE), INITIALISED, Any, Zero, tir::query),
    row(Opcode::CREATE_SQ, (create_sq_in::SIZE, create_sq_out::SIZE), INITIALISED, Any, Zero, sq::create),
    row(Opcode::MODIFY_SQ, (modify_sq_in::SIZE, modify_sq_out::SIZE), INITIALISED, Any, Zero, sq::modify),
    row(Opcode::DESTROY_SQ, (destroy_sq_in::SIZE, destroy_sq_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Sq>),
    row(Opcode::QUERY_SQ, (query_sq_in::SIZE, query_sq_out::SIZE), INITIALISED, Any, Zero, sq::query),
    row(Opcode::CREATE_RQ, (create_rq_in::SIZE, create_rq_out::SIZE), INITIALISED, Any, Zero, rq::create),
    row(Opcode::MODIFY_RQ, (modify_rq_in::SIZE, modify_rq_out::SIZE), INITIALISED, Any, Zero, rq::modify),
    row(Opcode::DESTROY_RQ, (destroy_rq_in::SIZE, destroy_rq_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Rq>),
    row(Opcode::QUERY_RQ, (query_rq_in::SIZE, query_rq_out::SIZE), INITIALISED, Any, Zero, rq::query),
    row(Opcode::CREATE_RMP, (create_rmp_in::SIZE, create_rmp_out::SIZE), INITIALISED, Any, Zero, rmp::create),
    row(Opcode::MODIFY_RMP, (modify_rmp_in::SIZE, modify_rmp_out::SIZE), INITIALISED, Any, Zero, rmp::modify),
    row(Opcode::DESTROY_RMP, (destroy_rmp_in::SIZE, destroy_rmp_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Rmp>),
    row(Opcode::QUERY_RMP, (query_rmp_in::SIZE, query_rmp_out::SIZE), INITIALISED, Any, Zero, rmp::query),
    row(Opcode::CREATE_TIS, (create_tis_in::SIZE, create_tis_out::SIZE), INITIALISED, Any, Zero, tis::create),
    row(Opcode::MODIFY_TIS, (modify_tis_in::SIZE, modify_tis_out::SIZE), INITIALISED, Any, Zero, tis::modify),
    row(Opcode::DESTROY_TIS, (destroy_tis_in::SIZE, destroy_tis_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Tis>),
    row(Opcode::QUERY_TIS, (query_tis_in::SIZE, query_tis_out::SIZE), INITIALISED, Any, Zero, tis::query),
    row(Opcode::CREATE_RQT, (create_rqt_in::SIZE, create_rqt_out::SIZE), INITIALISED, Any, Zero, rqt::create),
    row(Opcode::MODIFY_RQT, (modify_rqt_in::SIZE, modify_rqt_out::SIZE), INITIALISED, Any, Zero, rqt::modify),
    row(Opcode::DESTROY_RQT, (destroy_rqt_in::SIZE, destroy_rqt_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Rqt>),
    row(Opcode::QUERY_RQT, (query_rqt_in::SIZE, query_rqt_out::SIZE), INITIALISED, Any, Zero, rqt::query),
    row(Opcode::SET_FLOW_TABLE_ROOT, (set_flow_table_root_in::SIZE, set_flow_table_root_out::SIZE), INITIALISED, Any, Own, flow_table::set_root),
    row(Opcode::CREATE_FLOW_TABLE, (create_flow_table_in::SIZE, create_flow_table_out::SIZE), INITIALISED, Any, Zero, flow_table::create),
    row(Opcode::DESTROY_FLOW_TABLE, (destroy_flow_table_in::SIZE, destroy_flow_table_out::SIZE), INITIALISED, Any, Zero, flow_table::destroy),
    row(Opcode::CREATE_FLOW_GROUP, (create_flow_group_in::SIZE, create_flow_group_out::SIZE), INITIALISED, Any, Zero, flow_table::create_group),
    row(Opcode::DESTROY_FLOW_GROUP, (destroy_flow_group_in::SIZE, destroy_flow_group_out::SIZE), INITIALISED, Any, Zero, flow_table::destroy_group),
    row(Opcode::SET_FLOW_TABLE_ENTRY, (set_fte_in::SIZE, set_fte_out::SIZE), INITIALISED, Any, Own, flow_entry::set),
    row(Opcode::DELETE_FLOW_TABLE_ENTRY, (delete_fte_in::SIZE, delete_fte_out::SIZE), INITIALISED, Any, Zero, flow_entry::delete),
    row(Opcode::ALLOC_FLOW_COUNTER, (alloc_flow_counter_in::SIZE, alloc_flow_counter_out::SIZE), INITIALISED, Any, Zero, flow_counter::alloc),
    row(Opcode::DEALLOC_FLOW_COUNTER, (dealloc_flow_counter_in::SIZE, dealloc_flow_counter_out::SIZE), INITIALISED, Any, Zero, flow_counter::dealloc),
    row(Opcode::QUERY_FLOW_COUNTER, (query_flow_counter_in::SIZE, query_flow_counter_out::SIZE), INITIALISED, Any, Zero, flow_counter::query),
    row(Opcode::MODIFY_FLOW_TABLE, (modify_flow_table_in::SIZE, modify_flow_table_out::SIZE), INITIALISED, Any, Zero, flow_table::modify),
    row(Opcode::CREATE_GENERAL_OBJECT, (general_obj_in_cmd_hdr::SIZE, general_obj_out_cmd_hdr::SIZE), INITIALISED, Any, Own, object::create),
    row(Opcode::MODIFY_GENERAL_OBJECT, (general_obj_in_cmd_hdr::SIZE, general_obj_out_cmd_hdr::SIZE), INITIALISED, Any, Own, object::modify),
    row(Opcode::QUERY_GENERAL_OBJECT, (general_obj_in_cmd_hdr::SIZE, general_obj_out_cmd_hdr::SIZE), INITIALISED, Any, Own, object::query),
    row(Opcode::DESTROY_GENERAL_OBJECT, (general_obj_in_cmd_hdr::SIZE, general_obj_out_cmd_hdr::SIZE), INITIALISED, Any, Own, object::destroy),
    row(Opcode::CREATE_UCTX, (create_uctx_in::SIZE, create_uctx_out::SIZE), INITIALISED, Driver, Zero, uctx::create),
    row(Opcode::DESTROY_UCTX, (destroy_uctx_in::SIZE, destroy_uctx_out::SIZE), INITIALISED, Driver, Zero, uctx::destroy),
    row(Opcode::CREATE_UMEM, (create_umem_in::SIZE, create_umem_out::SIZE), INITIALISED, Any, Zero, umem::create),
    row(Opcode::DESTROY_UMEM, (destroy_umem_in::SIZE, destroy_umem_out::SIZE), INITIALISED, Any, Zero, number::destroy::<Umem>),
    row(twin_v1::QUERY_EMULATED_PORT, (query_emulated_port_in::SIZE, query_emulated_port_out::SIZE), INITIALISED, Any, Zero, twin::general),
    row(twin_v1::MODIFY_EMULATED_PORT, (modify_emulated_port_in::SIZE, modify_emulated_port_out::SIZE), INITIALISED, Any, Own, twin::general),
    row(twin_v1::QUERY_EMULATED_REGION, (query_emulated_region_in::SIZE, query_emulated_region_out::SIZE), INITIALISED, Any, Zero, twin::general),
    row(twin_v1::MODIFY_EMULATED_REGION, (modify_emulated_region_in::SIZE, modify_emulated_region_out::SIZE), INITIALISED, Any, Own, twin::general),
];

/// The opcodes of `twin-v1`, which are ours: no public header has a name for them.
#[cfg(test)]
const OURS: core::ops::Range<u16> = 0xcf0..0xd00;

/// The bytes of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a> {
    bytes: &'a [u8],
}

impl<'a> Command<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Opcode; 0 if the command is too short for one. The other two fields of the header likewise.
    pub(super) fn opcode(&self) -> Opcode {
        Opcode(self.get(mbox_in::OPCODE).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> u16 {
        self.get(mbox_in::UID).unwrap_or(0)
    }

    pub(super) fn op_mod(&self) -> u16 {
        self.get(mbox_in::OP_MOD).unwrap_or(0)
    }

    /// Who sends the command.
    pub(super) fn actor(&self) -> Owner {
        Owner::of(self.uid())
    }

    /// A field as the integer it fits in.
    pub(super) fn get<T: TryFrom<u64>>(&self, field: Field) -> Result<T, Failure> {
        let value = field.get(self.bytes).map_err(|error| Failure::of_input(&error))?;
        T::try_from(value).map_err(|_| Failure::INTERNAL)
    }

    /// A field of one bit.
    pub(super) fn flag(&self, field: Field) -> Result<bool, Failure> {
        Ok(self.get::<u64>(field)? != 0)
    }

    /// The first `count` elements of an array. Checks that they are there before it stores any.
    pub(super) fn list(&self, array: FieldArray, count: u64) -> Result<Vec<u64>, Failure> {
        let count = usize::try_from(count).map_err(|_| Failure::INPUT_TOO_SHORT)?;
        let Some(last) = count.checked_sub(1) else { return Ok(Vec::new()) };
        let element = |index| array.get(self.bytes, index).map_err(|error| Failure::of_input(&error));
        element(last)?;
        (0..count).map(element).collect()
    }
}

/// The bytes of an answer: all zero at first.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Answer<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        if bytes.len() >= super::MIN_OUTPUT {
            bytes.fill(0);
        }
        Self { bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Writes a field.
    pub(super) fn set(&mut self, field: Field, value: impl Into<u64>) -> Result<(), Failure> {
        field.set(self.bytes, value.into()).map_err(|error| Failure::of_output(&error))
    }

    /// Writes a byte region, as long as `bytes` or longer.
    pub(super) fn set_bytes(&mut self, region: Bytes, bytes: &[u8]) -> Result<(), Failure> {
        let room = region.slice_mut(self.bytes).map_err(|error| Failure::of_output(&error))?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(())
    }

    /// Writes as many elements of an array as there is room for.
    pub(super) fn set_list(&mut self, array: FieldArray, values: &[u64]) {
        for (index, value) in values.iter().enumerate() {
            if array.set(self.bytes, index, *value).is_err() {
                break;
            }
        }
    }

    /// Writes status and syndrome. A refused command answers nothing else.
    pub(super) fn finish(&mut self, status: Status, syndrome: Syndrome) {
        if self.bytes.len() < super::MIN_OUTPUT {
            return;
        }
        if status != Status::OK {
            self.bytes.fill(0);
        }
        let fields = [(mbox_out::STATUS, status.0.into()), (mbox_out::SYNDROME, syndrome.0.into())];
        for (field, value) in fields {
            let written = field.set(self.bytes, value);
            debug_assert!(written.is_ok(), "the length was checked above: {written:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_by_opcode() {
        for pair in COMMANDS.windows(2) {
            assert!(pair[0].opcode < pair[1].opcode, "{} before {}", pair[0].opcode, pair[1].opcode);
        }
    }

    #[test]
    fn every_command_has_a_name_and_room_for_its_status() {
        for spec in COMMANDS {
            assert!(spec.opcode.name().is_some() || OURS.contains(&spec.opcode.0), "{}", spec.opcode);
            assert!(spec.input >= MIN_INPUT && spec.output >= super::super::MIN_OUTPUT);
        }
    }
}
