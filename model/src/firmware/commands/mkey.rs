//! CREATE_MKEY, QUERY_MKEY: memory keys.

use mlx5_twin_fw_cmds::field::{Field, FieldArray};
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, create_mkey_in, create_mkey_umem, mkc, query_mkey_in, query_mkey_out};
use mlx5_twin_fw_cmds::transport::AccessMode;

use super::number::{make, offered};
use super::queue::{UmemFields, umem_range};
use super::{Answer, Command, Effect, Failure, Firmware, ObjectKinds, Outcome};
use crate::firmware::resources::buffer::MAX_PAGE_SHIFT;
use crate::firmware::resources::mkey::access_mode;
use crate::firmware::resources::{Context, Mkey, Umem, UmemRange};

const MKC: u32 = create_mkey_in::MEMORY_KEY_MKEY_ENTRY.bits();

/// log2 of the smallest page in bytes.
const MIN_PAGE_SHIFT: u32 = 12;

/// Bits of a page's address that say who may do what.
const PAGE_FLAGS: u64 = 0xfff;

/// Bytes of the unit in which the context counts translations.
const OCTOWORD: u64 = 16;

/// The list of translations, by quadwords.
const QUADWORDS: FieldArray = FieldArray { stride: 0x40, width: 0x40, ..create_mkey_in::KLM_PAS_MTT };

/// Fields of the context that need a capability.
const OPTIONS: &[(Field, &[Field])] = &[
    (mkc::BSF_EN, &[cmd_hca_cap::SHO]),
    (mkc::RELAXED_ORDERING_WRITE, &[cmd_hca_cap::RELAXED_ORDERING_WRITE]),
    (mkc::RELAXED_ORDERING_READ, &[cmd_hca_cap::RELAXED_ORDERING_READ, cmd_hca_cap::RELAXED_ORDERING_READ_PCI_ENABLED]),
    (mkc::PCIE_TPH_EN, &[cmd_hca_cap::MKEY_PCIE_TPH]),
    (mkc::MA_TRANSLATION_MODE, &[cmd_hca_cap::ATS]),
];

pub(in super::super) fn create(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    let context = Context::read(&[mkc::LAYOUT], command.bytes(), MKC)?;
    let data_direct =
        command.flag(create_mkey_in::DATA_DIRECT)? && firmware.capabilities.general(cmd_hca_cap::DATA_DIRECT) == 0;
    if data_direct || !offered(firmware, command, MKC, OPTIONS)? {
        return Err(Failure::MKEY_OPTION);
    }
    let mode = access_mode(&context);
    check_mode(firmware, command, mode, &context)?;
    check_range(&context)?;
    let umem = umem(firmware, command, mode, &context)?;
    let translations = match umem {
        Some(_) => Vec::new(),
        None => translations(command, mode, &context)?,
    };
    let memic = memic(firmware, mode, &context)?;
    make(firmware, command, answer, Mkey { context, translations, umem, memic })
}

/// Answers the context; with `pg_access` also the first two octowords of the list.
pub(in super::super) fn query(
    firmware: &mut Firmware,
    command: &Command<'_>,
    answer: &mut Answer<'_>,
    _: &mut dyn ObjectKinds,
) -> Outcome {
    const FIRST: u32 = query_mkey_out::BSF0_KLM0_PAS_MTT0_1.offset;
    let index: u32 = command.get(query_mkey_in::MKEY_INDEX)?;
    let mkey: &Mkey = firmware.resources.named(index, command.actor())?;
    answer.set_bytes(query_mkey_out::MEMORY_KEY_MKEY_ENTRY, mkey.context.bytes())?;
    if command.flag(query_mkey_in::PG_ACCESS)? {
        let two = FieldArray { offset: FIRST, stride: 0x40, width: 0x40, count: Some(4), ..QUADWORDS };
        answer.set_list(two, &mkey.translations);
    }
    Ok(Effect::None)
}

/// Checks the access mode, and how much the key may have room for in it.
fn check_mode(firmware: &Firmware, command: &Command<'_>, mode: AccessMode, context: &Context) -> Result<(), Failure> {
    let log_most = firmware.capabilities.general(cmd_hca_cap::LOG_MAX_KLM_LIST_SIZE);
    let offered = match mode {
        AccessMode::PA => {
            return if command.actor().is_driver() { Ok(()) } else { Err(Failure::MKEY_PA) };
        }
        AccessMode::MTT => return Ok(()),
        AccessMode::MEMIC if firmware.bar0.memic.is_some() => return Ok(()),
        AccessMode::KLMS => log_most != 0,
        AccessMode::KSM => log_most != 0 && firmware.capabilities.general(cmd_hca_cap::FIXED_BUFFER_SIZE) != 0,
        _ => false,
    };
    if !offered {
        return Err(Failure::MKEY_MODE);
    }
    if context.get(mkc::TRANSLATIONS_OCTWORD_SIZE) > 1 << log_most {
        return Err(Failure::MKEY_LIST);
    }
    Ok(())
}

/// Checks that the range ends at 2^64 at most. With `length64` it has that length, wherever it starts.
fn check_range(context: &Context) -> Result<(), Failure> {
    let last = context.get(mkc::LEN).saturating_sub(1);
    let ends = context.flag(mkc::LENGTH64) || context.get(mkc::START_ADDR).checked_add(last).is_some();
    if ends { Ok(()) } else { Err(Failure::MKEY_LENGTH) }
}

/// The part of a UMEM that the key translates to, from its first byte on.
fn umem(
    firmware: &Firmware,
    command: &Command<'_>,
    mode: AccessMode,
    context: &Context,
) -> Result<Option<UmemRange>, Failure> {
    const FIELDS: UmemFields = UmemFields {
        valid: create_mkey_in::MKEY_UMEM_VALID,
        id: create_mkey_umem::MKEY_UMEM_ID,
        offset: create_mkey_umem::MKEY_UMEM_OFFSET,
    };
    let Some(range) = umem_range(command, Some(&FIELDS))? else { return Ok(None) };
    if mode != AccessMode::MTT {
        // Linux sets the valid bit in every such command of user space; keys over keys name no UMEM.
        return if range.id == 0 { Ok(None) } else { Err(Failure::MKEY_UMEM) };
    }
    let umem: &Umem = firmware.resources.named(range.id, command.actor())?;
    let end = range.offset.checked_add(context.get(mkc::LEN));
    if context.flag(mkc::LENGTH64) || end.is_none_or(|end| end > umem.size()) {
        return Err(Failure::MKEY_LENGTH);
    }
    Ok(Some(range))
}

/// The piece of memory on the device that the key is for: addresses are those of BAR 0 then (Linux's `mlx5_ib_reg_dm_mr`), and all of
/// them lie in one piece.
fn memic(firmware: &Firmware, mode: AccessMode, context: &Context) -> Result<Option<u32>, Failure> {
    if mode != AccessMode::MEMIC {
        return Ok(None);
    }
    let (start, length) = (context.get(mkc::START_ADDR), context.get(mkc::LEN));
    let piece = firmware.resources.memic_with(start, length).filter(|_| !context.flag(mkc::LENGTH64));
    piece.map(Some).ok_or(Failure::MKEY_MEMIC)
}

/// The list of translations that comes with the command, which may be empty: work requests fill it then.
fn translations(command: &Command<'_>, mode: AccessMode, context: &Context) -> Result<Vec<u64>, Failure> {
    let octowords: u64 = command.get(create_mkey_in::TRANSLATIONS_OCTWORD_ACTUAL_SIZE)?;
    let without_list = [AccessMode::PA, AccessMode::MEMIC].contains(&mode);
    let room = if without_list { 0 } else { context.get(mkc::TRANSLATIONS_OCTWORD_SIZE) };
    if octowords > room {
        return Err(Failure::MKEY_ROOM);
    }
    let list = command.list(QUADWORDS, octowords * (OCTOWORD / 8))?;
    if mode == AccessMode::MTT && !list.is_empty() {
        check_pages(context, &list)?;
    }
    Ok(list)
}

/// Checks that pages are aligned and cover the key's range.
fn check_pages(context: &Context, pages: &[u64]) -> Result<(), Failure> {
    let page_shift = context.get32(mkc::LOG_PAGE_SIZE);
    if !(MIN_PAGE_SHIFT..=MAX_PAGE_SHIFT).contains(&page_shift) {
        return Err(Failure::MKEY_PAGE_SIZE);
    }
    let in_page = (1u64 << page_shift) - 1;
    if pages.iter().any(|page| page & in_page & !PAGE_FLAGS != 0) {
        return Err(Failure::MKEY_PAGE_UNALIGNED);
    }
    let covered = u128::from(pages.len() as u64) << page_shift;
    let end = u128::from(context.get(mkc::START_ADDR) & in_page) + u128::from(context.get(mkc::LEN));
    if context.flag(mkc::LENGTH64) || end > covered { Err(Failure::MKEY_LENGTH) } else { Ok(()) }
}
