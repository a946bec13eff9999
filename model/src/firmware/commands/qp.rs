//! CREATE_QP, QUERY_QP: queue pairs. What changes their state is in [`qp_state`](super::qp_state).

use mlx5_twin_fw_cmds::constants::{RQ_TYPE_NONE, RQ_TYPE_OWN, RQ_TYPE_SRQ, SEND_WQE_BB};
use mlx5_twin_fw_cmds::field::{Field, FieldArray};
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, create_qp_in, qpc, qpc_umem, query_qp_in, query_qp_out};
use mlx5_twin_fw_cmds::transport::{QpState, ServiceType};

use super::number::make;
use super::queue::{Access, BufferFields, UmemFields, answer_queue, buffer, doorbell_record};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Context, DoorbellRecord, Held, Qp, Queue, Resources};

const QPC: u32 = create_qp_in::QPC.bits();

/// Where QUERY_QP's answer has the list of pages: user space that wants none leaves the room for it, and
/// for the extended context, out.
const QUERY_PAS: u32 = query_qp_out::QP_PAS_OR_QPC_EXT_AND_PAS.bits();

/// Bytes of QUERY_QP's answer without the list of pages.
pub(in super::super) const QUERY_BYTES: usize = query_qp_out::QP_PAS_OR_QPC_EXT_AND_PAS.offset as usize;

/// Bytes of the smallest entry of a receive queue: `log_rq_stride` counts from there.
const RECEIVE_ENTRY_BYTES: u64 = 16;

/// Bytes of a doorbell record: how much has been posted to either queue.
const RECORD_BYTES: u64 = 8;

/// The service types there are, and the capability each needs.
const SERVICES: &[(ServiceType, Option<Field>)] = &[
    (ServiceType::RC, Some(cmd_hca_cap::RC)),
    (ServiceType::UC, Some(cmd_hca_cap::UC)),
    (ServiceType::UD, Some(cmd_hca_cap::UD)),
    (ServiceType::XRC, Some(cmd_hca_cap::XRC)),
    (ServiceType::DCI, Some(cmd_hca_cap::DCT)),
    (ServiceType::QP0, None),
    (ServiceType::QP1, None),
    (ServiceType::REG_UMR, None),
];

/// Fields of the context that are said at creation and last over resets. All others are set by
/// transitions, or kept by the device.
#[rustfmt::skip]
pub(super) const LASTING: &[Field] = &[
    qpc::LAG_TX_PORT_AFFINITY, qpc::ST, qpc::ISOLATE_VL_TC, qpc::PM_STATE, qpc::REQ_E2E_CREDIT_MODE, qpc::OFFLOAD_TYPE,
    qpc::END_PADDING_MODE, qpc::WQ_SIGNATURE, qpc::BLOCK_LB_MC, qpc::ATOMIC_LIKE_WRITE_EN, qpc::LATENCY_SENSITIVE,
    qpc::DRAIN_SIGERR, qpc::DP_ORDERING_FORCE, qpc::PD, qpc::LOG_RQ_SIZE, qpc::LOG_RQ_STRIDE, qpc::NO_SQ,
    qpc::LOG_SQ_SIZE, qpc::RETRY_MODE, qpc::TS_FORMAT, qpc::RLKY, qpc::ULP_STATELESS_OFFLOAD_MODE,
    qpc::COUNTER_SET_ID, qpc::UAR_PAGE, qpc::USER_INDEX, qpc::LOG_PAGE_SIZE, qpc::FRE, qpc::CQN_SND,
    qpc::LOG_NUM_DCI_STREAM_CHANNELS, qpc::LOG_NUM_DCI_ERRORED_STREAMS, qpc::DETH_SQPN, qpc::PAGE_OFFSET,
    qpc::DP_ORDERING_1, qpc::CD_SLAVE_RECEIVE, qpc::CD_SLAVE_SEND, qpc::CD_MASTER, qpc::XRCD, qpc::CQN_RCV,
    qpc::DBR_ADDR, qpc::RQ_TYPE, qpc::SRQN_RMPN_XRQN, qpc::CGS, qpc::CS_REQ, qpc::CS_RES, qpc::DBR_UMEM_VALID,
    qpc_umem::DBR_UMEM_ID,
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const FIELDS: BufferFields = BufferFields {
        log_page_size: qpc::LOG_PAGE_SIZE.within(QPC),
        page_offset: qpc::PAGE_OFFSET.within(QPC),
        pas: create_qp_in::PAS,
        umem: Some(UmemFields {
            valid: create_qp_in::WQ_UMEM_VALID,
            id: create_qp_in::WQ_UMEM_ID,
            offset: create_qp_in::WQ_UMEM_OFFSET,
        }),
    };
    const RECORD_UMEM: (Field, Field) = (qpc::DBR_UMEM_VALID.within(QPC), qpc_umem::DBR_UMEM_ID.within(QPC));
    if command.flag(create_qp_in::INPUT_QPN)? || command.flag(create_qp_in::QPC_EXT)? {
        return Err(Failure::QP_OPTION);
    }
    let context = lasting(&Context::read(&[qpc::LAYOUT, qpc_umem::LAYOUT], command.bytes(), QPC)?)?;
    check_service(firmware, command, &context)?;
    let bytes = size(firmware, &context)?;
    let buffer = buffer(firmware, command, &FIELDS, bytes, Access::Read)?;
    let record = match bytes {
        0 => DoorbellRecord::None,
        _ => doorbell_record(firmware, command, qpc::DBR_ADDR.within(QPC), Some(RECORD_UMEM), RECORD_BYTES)?,
    };
    let uses = uses(&firmware.resources, &context);
    make(firmware, command, answer, Qp(Queue { context, buffer, record, uses }))
}

pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    if command.flag(query_qp_in::QPC_EXT)? {
        return Err(Failure::QP_OPTION);
    }
    let qpn: u32 = command.get(query_qp_in::QPN)?;
    let Qp(queue) = firmware.resources.named(qpn, command.actor())?;
    let pas = FieldArray { offset: QUERY_PAS, ..create_qp_in::PAS };
    answer_queue(answer, query_qp_out::QPC, pas, queue)?;
    Ok(Effect::None)
}

/// A context with only what lasts over resets, in the state RST.
pub(super) fn lasting(context: &Context) -> Result<Context, Failure> {
    let mut lasting = Context::new(qpc::LAYOUT);
    for field in LASTING {
        lasting.set(*field, context.get(*field))?;
    }
    lasting.set(qpc::STATE, QpState::RST.0)?;
    Ok(lasting)
}

/// What a queue pair with this context uses. Numbers of what it has no use for are not looked at:
/// Linux writes those of its own there.
pub(super) fn uses(resources: &Resources, context: &Context) -> Vec<Held> {
    let rq_type = context.get(qpc::RQ_TYPE);
    let mut uses = Vec::new();
    // One that only changes memory keys works in no protection domain: Linux leaves the field 0 (`create_kernel_qp`).
    if context.get(qpc::ST) != u64::from(ServiceType::REG_UMR.0) {
        uses.push(Held::Pd(context.get32(qpc::PD)));
    }
    if !context.flag(qpc::NO_SQ) {
        uses.push(Held::Uar(context.get32(qpc::UAR_PAGE)));
        uses.push(Held::Cq(context.get32(qpc::CQN_SND)));
    }
    if rq_type != u64::from(RQ_TYPE_NONE) {
        uses.push(Held::Cq(context.get32(qpc::CQN_RCV)));
    }
    if rq_type == u64::from(RQ_TYPE_SRQ) {
        uses.push(resources.shared_queue(context.get32(qpc::SRQN_RMPN_XRQN)));
    }
    if context.get(qpc::ST) == u64::from(ServiceType::XRC.0) {
        uses.push(Held::Xrcd(context.get32(qpc::XRCD)));
    }
    uses
}

fn check_service(firmware: &Firmware, command: &Command<'_>, context: &Context) -> Result<(), Failure> {
    let service = context.get(qpc::ST);
    let Some((service, capability)) = SERVICES.iter().find(|(known, _)| u64::from(known.0) == service) else {
        return Err(Failure::QP_SERVICE);
    };
    if capability.is_some_and(|capability| firmware.capabilities.general(capability) == 0) {
        return Err(Failure::QP_SERVICE);
    }
    let management = [ServiceType::QP0, ServiceType::QP1].contains(service);
    if management && !command.actor().is_driver() { Err(Failure::QP_MANAGEMENT) } else { Ok(()) }
}

/// Bytes of both queues, as far as they are the queue pair's own.
fn size(firmware: &Firmware, context: &Context) -> Result<u64, Failure> {
    let most = firmware.capabilities.general(cmd_hca_cap::LOG_MAX_QP_SZ);
    let mut bytes = 0;
    if !context.flag(qpc::NO_SQ) {
        let log_size = context.get(qpc::LOG_SQ_SIZE);
        if log_size > most {
            return Err(Failure::QP_SIZE);
        }
        bytes += SEND_WQE_BB << log_size;
    }
    match u8::try_from(context.get(qpc::RQ_TYPE)) {
        Ok(RQ_TYPE_OWN) => {
            let log_size = context.get(qpc::LOG_RQ_SIZE);
            if log_size > most {
                return Err(Failure::QP_SIZE);
            }
            let entry = RECEIVE_ENTRY_BYTES << context.get(qpc::LOG_RQ_STRIDE);
            if entry > firmware.capabilities.general(cmd_hca_cap::MAX_WQE_SZ_RQ) {
                return Err(Failure::QP_STRIDE);
            }
            bytes += entry << log_size;
        }
        Ok(RQ_TYPE_SRQ | RQ_TYPE_NONE) => {}
        _ => return Err(Failure::QP_RQ_TYPE),
    }
    Ok(bytes)
}
