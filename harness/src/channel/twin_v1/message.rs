//! From the bytes of a message to what they say. The bytes are not to be trusted: each field is checked.

use mlx5_twin_fw_cmds::layout::{notice_message, tlp_message};
use mlx5_twin_fw_cmds::twin_v1::{HotplugState, MESSAGE_HEAD, bar, message};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Class, Header, Prefix};

use super::super::{Error, FunctionLayout, Message, PciEvent, RegionKind, TlpMessage};
use crate::backend;

/// Which message it is: for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The slot of the ring.
    pub(super) slot: u32,
    /// The message's number, counted without end.
    pub(super) number: u64,
}

impl Place {
    /// The 32 bits of the number that the message holds.
    fn sequence(self) -> u32 {
        self.number as u32
    }

    /// The error for a field that breaks a rule.
    #[cold]
    pub(super) fn error(self, field: &'static str, value: u64, rule: &'static str) -> Error {
        Error::Message { slot: self.slot, sequence: self.sequence(), field, value, rule }
    }

    fn check(self, ok: bool, field: &'static str, value: u64, rule: &'static str) -> Result<(), Error> {
        if ok { Ok(()) } else { Err(self.error(field, value, rule)) }
    }
}

/// Reads a message's head. `room` is how many payload bytes a slot has; `payload` reads that many of them as it is given.
pub(super) fn parse(
    place: Place,
    head: &[u8; MESSAGE_HEAD],
    room: usize,
    payload: impl FnOnce(&mut [u8]) -> Result<(), backend::Error>,
) -> Result<Message, Error> {
    let sequence = tlp_message::SEQUENCE.get(head)?;
    place.check(sequence == u64::from(place.sequence()), "sequence", sequence, "the message's number")?;
    let port = tlp_message::FUNCTION.get(head)? as u16;
    let id = tlp_message::REQUEST_ID.get(head)? as u32;
    let kind = tlp_message::KIND.get(head)?;
    match kind as u8 {
        message::TLP => parse_tlp(place, head, port, id, room, payload).map(Message::Tlp),
        message::CREDIT => Ok(Message::Credit { port, id }),
        message::PCI_EVENT => match tlp_message::EVENT.get(head)? as u32 {
            message::PERST_ASSERTED => Ok(Message::PciEvent { port, event: PciEvent::PerstAsserted }),
            message::PERST_DEASSERTED => Ok(Message::PciEvent { port, event: PciEvent::PerstDeasserted }),
            other => Err(place.error("event", u64::from(other), "0 or 1")),
        },
        message::HOTPLUG_STATE => {
            let event = tlp_message::EVENT.get(head)?;
            let state = HotplugState::from_number(event).ok_or_else(|| place.error("event", event, "0 to 3"))?;
            Ok(Message::HotplugState { port, state })
        }
        message::DOORBELL | message::REGION_WRITTEN => parse_notice(head, port, kind as u8),
        _ => Err(place.error("kind", kind, "1 to 6")),
    }
}

fn parse_notice(head: &[u8; MESSAGE_HEAD], port: u16, kind: u8) -> Result<Message, Error> {
    let number = notice_message::NUMBER.get(head)? as usize;
    let time = Time(notice_message::TIME_PS.get(head)?);
    if kind == message::REGION_WRITTEN {
        return Ok(Message::RegionWritten { port, region: number, time });
    }
    let value = notice_message::VALUE.get(head)? as u32;
    Ok(Message::Doorbell { port, number, value, time })
}

fn parse_tlp(
    place: Place,
    head: &[u8; MESSAGE_HEAD],
    port: u16,
    id: u32,
    room: usize,
    read_payload: impl FnOnce(&mut [u8]) -> Result<(), backend::Error>,
) -> Result<TlpMessage, Error> {
    let flags = tlp_message::FLAGS.get(head)?;
    let set = |flag: u8| flags as u8 & flag != 0;

    let header_len = tlp_message::HEADER_LEN.get(head)?;
    place.check(matches!(header_len, 12 | 16), "header_len", header_len, "12 or 16")?;
    let bytes = tlp_message::HEADER.slice(head)?;
    let header = Header::decode(bytes.get(..header_len as usize).unwrap_or_default())
        .map_err(|malformed| Error::Header { slot: place.slot, sequence: place.sequence(), malformed })?;
    place.check(header.header_len() as u64 == header_len, "header_len", header_len, "what the header's Fmt says")?;
    let class = header.class();
    let fmt_type = u64::from(header.kind().fmt_type());
    place.check(class != Class::Completion, "header", fmt_type, "that of a request or message")?;
    let waits = set(message::NEEDS_COMPLETION);
    place.check(waits == (class == Class::NonPosted), "flags", flags, "with bit 0 exactly if the TLP is non-posted")?;

    let prefix_len = tlp_message::PREFIX_LEN.get(head)?;
    place.check(matches!(prefix_len, 0 | 4), "prefix_len", prefix_len, "0 or 4")?;
    let cut = set(message::PREFIXES_CUT);
    place.check(!cut || prefix_len == 4, "flags", flags, "without bit 1 if there's no prefix")?;
    let prefix = match tlp_message::PREFIXES.slice(head)?.first_chunk() {
        Some(bytes) if prefix_len == 4 => {
            let dw = u32::from_be_bytes(*bytes);
            Some(Prefix::from_dw(dw).ok_or_else(|| place.error("prefixes", u64::from(dw), "a prefix: Fmt 100b"))?)
        }
        _ => None,
    };

    let in_bar = set(message::IN_BAR);
    place.check(in_bar == header.kind().is_memory(), "flags", flags, "with bit 2 exactly if it's a memory request")?;
    let bar = if in_bar {
        let bar = tlp_message::BAR.get(head)?;
        place.check(bar <= u64::from(bar::ROM), "bar", bar, "0 to 6")?;
        let offset = tlp_message::BAR_OFFSET.get(head)?;
        place.check(offset % 4 == 0, "bar_offset", offset, "a multiple of 4")?;
        Some((bar as u8, offset))
    } else {
        None
    };

    let payload_len = tlp_message::PAYLOAD_LEN.get(head)?;
    place.check(
        payload_len == header.payload_len() as u64,
        "payload_len",
        payload_len,
        "what the header's Length says",
    )?;
    place.check(payload_len <= room as u64, "payload_len", payload_len, "no more than a slot holds")?;
    let mut payload = vec![0; payload_len as usize];
    read_payload(&mut payload)?;
    let time = Time(tlp_message::TIME_PS.get(head)?);
    let redelivered = set(message::REDELIVERED);
    Ok(TlpMessage { port, request: waits.then_some(id), time, redelivered, header, prefix, bar, payload })
}

/// Does a message fit the function that it is for?
pub(super) fn check(place: Place, message: &Message, layout: &FunctionLayout) -> Result<(), Error> {
    match *message {
        Message::Tlp(ref tlp) => check_bar(place, tlp, layout),
        Message::Doorbell { number, .. } => {
            let there = layout.doorbells().nth(number).is_some();
            place.check(there, "number", number as u64, "that of a doorbell")
        }
        Message::RegionWritten { region, .. } => {
            let found = layout.regions.get(region).is_some_and(|found| found.kind == RegionKind::Stateful);
            place.check(found, "number", region as u64, "that of a stateful region")
        }
        Message::Credit { .. } | Message::PciEvent { .. } | Message::HotplugState { .. } => Ok(()),
    }
}

/// Does a memory request lie in a BAR that its function has, or in its expansion ROM?
fn check_bar(place: Place, tlp: &TlpMessage, layout: &FunctionLayout) -> Result<(), Error> {
    let Some((bar, offset)) = tlp.bar else { return Ok(()) };
    let size = if bar == bar::ROM {
        layout.expansion_rom.map(u64::from)
    } else {
        layout.bars.get(usize::from(bar)).copied().flatten().map(|shape| shape.size)
    };
    let Some(size) = size else {
        return Err(place.error("bar", u64::from(bar), "a BAR of the function"));
    };
    let len = u64::from(tlp.header.length_dw()) * 4;
    let inside = offset.checked_add(len).is_some_and(|end| end <= size);
    place.check(inside, "bar_offset", offset, "so that the request lies in the BAR")
}
