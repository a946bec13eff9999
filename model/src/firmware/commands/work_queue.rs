//! Where contexts of receive memory pools, send queues and receive queues have their work queue, and which options need which
//! capability.

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::wq;

use super::queue::{BufferFields, UmemFields};
use crate::firmware::Firmware;
use crate::firmware::resources::Context;

/// Where the place of a work queue is whose `wq` starts `base` bits into the command.
pub(super) const fn buffer_fields(base: u32) -> BufferFields {
    BufferFields {
        log_page_size: wq::LOG_WQ_PG_SZ.within(base),
        page_offset: wq::PAGE_OFFSET.within(base),
        pas: wq::PAS.within(base),
        umem: Some(UmemFields {
            valid: wq::WQ_UMEM_VALID.within(base),
            id: wq::WQ_UMEM_ID.within(base),
            offset: wq::WQ_UMEM_OFFSET.within(base),
        }),
    }
}

/// Where the UMEM of a work queue's doorbell record is.
pub(super) const fn record_umem(base: u32) -> (Field, Field) {
    (wq::DBR_UMEM_VALID.within(base), wq::DBR_UMEM_ID.within(base))
}

/// What an option of a context needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needs {
    /// It isn't in the model.
    Never,
    /// A bit of the general capabilities.
    General(Field),
    /// One of these bits of the Ethernet capabilities.
    Ethernet(&'static [Field]),
}

/// Whether all is offered that a context asks for: each row is a field of it, and what that needs unless it's 0.
pub(super) fn all_offered(firmware: &Firmware, context: &Context, options: &[(Field, Needs)]) -> bool {
    options.iter().all(|(field, needs)| !context.flag(*field) || has(firmware, *needs))
}

/// Whether what an option needs is there.
pub(super) fn has(firmware: &Firmware, needs: Needs) -> bool {
    match needs {
        Needs::Never => false,
        Needs::General(field) => firmware.capabilities.general(field) != 0,
        Needs::Ethernet(fields) => fields.iter().any(|field| ethernet(firmware, *field) != 0),
    }
}

/// An Ethernet capability in force.
pub(super) fn ethernet(firmware: &Firmware, field: Field) -> u64 {
    let page = firmware.capabilities.page(CapType::ETHERNET_OFFLOADS, CapMode::Current);
    page.and_then(|page| field.get(page).ok()).unwrap_or(0)
}
