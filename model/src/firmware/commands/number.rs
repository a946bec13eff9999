//! What commands of all kinds of resources do alike: answer a number, destroy what has one.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;

use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{
    Cq, Mkey, Pd, QCounter, Qp, Rmp, Rq, Rqt, Sq, Stored, Tir, Tis, TransportDomain, Uar, Umem, Xrcd,
};

/// A kind of resource whose commands name it by a number and nothing else.
pub(in super::super) trait Numbered: Stored {
    /// Where the answer of the command that makes one has the number.
    const MADE: Field;
    /// Where the command that destroys one has it.
    const DESTROYED: Field;
}

/// Where the number is, in the answer of ALLOC or CREATE and in DEALLOC or DESTROY.
macro_rules! numbered {
    ($($kind:ty: $made:expr, $destroyed:expr;)+) => {
        $(impl Numbered for $kind {
            const MADE: Field = $made;
            const DESTROYED: Field = $destroyed;
        })+
    };
}

numbered! {
    Uar: alloc_uar_out::UAR, dealloc_uar_in::UAR;
    Pd: alloc_pd_out::PD, dealloc_pd_in::PD;
    TransportDomain: alloc_transport_domain_out::TRANSPORT_DOMAIN, dealloc_transport_domain_in::TRANSPORT_DOMAIN;
    QCounter: alloc_q_counter_out::COUNTER_SET_ID, dealloc_q_counter_in::COUNTER_SET_ID;
    Xrcd: alloc_xrcd_out::XRCD, dealloc_xrcd_in::XRCD;
    Umem: create_umem_out::UMEM_ID, destroy_umem_in::UMEM_ID;
    Cq: create_cq_out::CQN, destroy_cq_in::CQN;
    Mkey: create_mkey_out::MKEY_INDEX, destroy_mkey_in::MKEY_INDEX;
    Rmp: create_rmp_out::RMPN, destroy_rmp_in::RMPN;
    Qp: create_qp_out::QPN, destroy_qp_in::QPN;
    Sq: create_sq_out::SQN, destroy_sq_in::SQN;
    Rq: create_rq_out::RQN, destroy_rq_in::RQN;
    Rqt: create_rqt_out::RQTN, destroy_rqt_in::RQTN;
    Tir: create_tir_out::TIRN, destroy_tir_in::TIRN;
    Tis: create_tis_out::TISN, destroy_tis_in::TISN;
}

/// ALLOC of a kind that is no more than a number and an owner.
pub(in super::super) fn alloc<T: Numbered + Default>(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    make(firmware, command, answer, T::default())
}

/// DEALLOC or DESTROY of any kind.
pub(in super::super) fn destroy<T: Numbered>(
    firmware: &mut Firmware,
    command: &Command<'_>,
    _: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let id: u32 = command.get(T::DESTROYED)?;
    firmware.resources.remove::<T>(id, command.actor())?;
    Ok(Effect::None)
}

/// Adds what a command has described, and answers its number.
pub(super) fn make<T: Numbered>(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    value: T,
) -> Outcome {
    let id = firmware.resources.add(command.actor(), value)?;
    answer.set(T::MADE, id)?;
    Ok(Effect::None)
}

/// Whether everything is offered that the context asks for which starts `base` bits into the command.
/// Each row is a field of the context, and the capabilities one of which must not be 0 if the field isn't.
pub(super) fn offered(
    firmware: &Firmware,
    command: &Command<'_>,
    base: u32,
    options: &[(Field, &[Field])],
) -> Result<bool, Failure> {
    for (field, capabilities) in options {
        let there = capabilities.iter().any(|capability| firmware.capabilities.general(*capability) != 0);
        if !there && command.flag(field.within(base))? {
            return Ok(false);
        }
    }
    Ok(true)
}
