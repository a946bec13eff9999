//! Where commands say that a queue and its doorbell record are.

use mlx5_twin_fw_cmds::constants::ADAPTER_PAGE_SHIFT;
use mlx5_twin_fw_cmds::field::{Bytes, Field, FieldArray};

use super::{Answer, Command, Failure, Firmware};
use crate::firmware::resources::buffer::MAX_PAGE_SHIFT;
use crate::firmware::resources::{Buffer, DoorbellRecord, PageList, Queue, Umem, UmemRange};

/// A UMEM in a command: whether there is one, which, and where in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct UmemFields {
    pub(super) valid: Field,
    pub(super) id: Field,
    pub(super) offset: Field,
}

/// Where a command has the place of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferFields {
    /// log2 of 4096-byte pages.
    pub(super) log_page_size: Field,
    /// In 1/64 of a page.
    pub(super) page_offset: Field,
    pub(super) pas: FieldArray,
    /// What stands for the page list if it's valid.
    pub(super) umem: Option<UmemFields>,
}

/// What the device does with a queue's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Where a queue of so many bytes is.
pub(super) fn buffer(
    firmware: &Firmware,
    command: &Command<'_>,
    fields: &BufferFields,
    bytes: u64,
    access: Access,
) -> Result<Buffer, Failure> {
    if bytes == 0 {
        return Ok(Buffer::None);
    }
    if let Some(range) = umem_range(command, fields.umem.as_ref())? {
        let umem: &Umem = firmware.resources.named(range.id, command.actor())?;
        if range.offset.checked_add(bytes).is_none_or(|end| end > umem.size()) {
            return Err(Failure::BUFFER_UMEM_RANGE);
        }
        let allowed = match access {
            Access::Read => umem.is_readable(range.offset, bytes),
            Access::Write => umem.is_writable(range.offset, bytes),
        };
        return if allowed { Ok(Buffer::Umem(range)) } else { Err(Failure::BUFFER_UMEM_ACCESS) };
    }
    let page_shift = ADAPTER_PAGE_SHIFT + command.get::<u32>(fields.log_page_size)?;
    if page_shift > MAX_PAGE_SHIFT {
        return Err(Failure::BUFFER_PAGE_SIZE);
    }
    let page_offset = command.get(fields.page_offset)?;
    let pages = command.list(fields.pas, PageList::needed(bytes, page_shift, page_offset))?;
    let list = PageList { page_shift, page_offset, pages };
    if list.is_aligned() { Ok(Buffer::Pages(list)) } else { Err(Failure::BUFFER_PAGE_UNALIGNED) }
}

/// Where a doorbell record of so many bytes is: at an address, or, if the UMEM is valid, that many bytes
/// into it.
pub(super) fn doorbell_record(
    firmware: &Firmware,
    command: &Command<'_>,
    address: Field,
    umem: Option<(Field, Field)>,
    bytes: u64,
) -> Result<DoorbellRecord, Failure> {
    let umem = umem.map(|(valid, id)| UmemFields { valid, id, offset: address });
    let range = umem_range(command, umem.as_ref())?;
    let at: u64 = command.get(address)?;
    if !at.is_multiple_of(bytes) {
        return Err(Failure::DBR_UNALIGNED);
    }
    let Some(range) = range else { return Ok(DoorbellRecord::Address(at)) };
    let umem: &Umem = firmware.resources.named(range.id, command.actor())?;
    if umem.is_readable(range.offset, bytes) { Ok(DoorbellRecord::Umem(range)) } else { Err(Failure::DBR_UMEM) }
}

/// The part of a UMEM that a command names, if it says that there is one.
pub(super) fn umem_range(command: &Command<'_>, fields: Option<&UmemFields>) -> Result<Option<UmemRange>, Failure> {
    let Some(UmemFields { valid, id, offset }) = fields else { return Ok(None) };
    if !command.flag(*valid)? {
        return Ok(None);
    }
    Ok(Some(UmemRange { id: command.get(*id)?, offset: command.get(*offset)? }))
}

/// Answers a queue's context, and as many pages as there is room for.
pub(super) fn answer_queue(
    answer: &mut Answer<'_>,
    context: Bytes,
    pas: FieldArray,
    queue: &Queue,
) -> Result<(), Failure> {
    answer.set_bytes(context, queue.context.bytes())?;
    answer.set_list(pas, queue.buffer.pages());
    Ok(())
}
