//! CREATE_UMEM: registered memory.

use mlx5_twin_fw_cmds::constants::ADAPTER_PAGE_SHIFT;
use mlx5_twin_fw_cmds::layout::{create_umem_in, umem};

use super::number::make;
use super::{Answer, Command, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::{Owner, Umem};

const UMEM: u32 = create_umem_in::UMEM.bits();

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let owner = command.actor();
    let limits = firmware.resources.limits();
    if owner == Owner::Driver && !limits.umem_uid_0 {
        return Err(Failure::UMEM_UID_0);
    }
    if command.flag(umem::ATS.within(UMEM))? && !limits.ats {
        return Err(Failure::UMEM_ATS);
    }
    let count: u64 = command.get(umem::NUM_OF_MTT.within(UMEM))?;
    let pages = command.list(umem::MTT.within(UMEM), count)?;
    let log_page_size: u32 = command.get(umem::LOG_PAGE_SIZE.within(UMEM))?;
    let page_offset: u64 = command.get(umem::PAGE_OFFSET.within(UMEM))?;
    let memory = Umem::new(pages, ADAPTER_PAGE_SHIFT + log_page_size, page_offset)?;
    make(firmware, command, answer, memory)
}
