//! Channels of one group: one of them is primary and gets the messages; what its software leaves behind goes to the next one.

use std::cmp::Reverse;

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{tlp_channel, tlp_message};
use mlx5_twin_fw_cmds::twin_v1::{MESSAGE_HEAD, channel as numbers, message};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Header;

use super::announcement::Announcement;
use super::channel::{Channel, set_all};
use super::function::Claimed;
use super::notice::Source;
use super::objects::{rule, short};
use super::port::Presence;
use super::requests::Request;
use super::{Action, Emulation};
use crate::bus::Bus;
use crate::firmware::Failure;

/// A message as it was delivered, to be written again if its reader goes before he has finished with it.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub(super) head: [u8; MESSAGE_HEAD],
    pub(super) payload: Box<[u8]>,
    /// When it was delivered first.
    pub(super) time: Time,
}

impl Delivered {
    fn field(&self, field: Field) -> u64 {
        field.get(&self.head).unwrap_or(0)
    }

    /// The message for its second reader.
    fn marked(mut self) -> Delivered {
        let flags = self.field(tlp_message::FLAGS) | u64::from(message::REDELIVERED);
        let set = tlp_message::FLAGS.set(&mut self.head, flags);
        debug_assert!(set.is_ok(), "{set:?}");
        self
    }

    /// The message of a read without the `from_dw` dwords that have been answered.
    fn without(mut self, from_dw: u32, header: &Header) -> Delivered {
        let Some(rest) = rest_of(header, from_dw) else { return self };
        let mut raw = [0; 16];
        rest.encode(&mut raw);
        if let Ok(room) = tlp_message::HEADER.slice_mut(&mut self.head) {
            room.copy_from_slice(&raw);
        }
        let offset = self.field(tlp_message::BAR_OFFSET) + u64::from(from_dw) * 4;
        let set = tlp_message::BAR_OFFSET.set(&mut self.head, offset);
        debug_assert!(set.is_ok(), "{set:?}");
        self
    }
}

/// The read that asks for what is left of `read` after its first `from_dw` dwords. `None` if nothing was answered, or all.
fn rest_of(read: &Header, from_dw: u32) -> Option<Header> {
    let left = read.length_dw().checked_sub(from_dw).filter(|&left| left > 0 && from_dw > 0)?;
    let mut dws = read.dws();
    dws[0] = dws[0] & !0x3ff | left & 0x3ff;
    // Last and first byte enables: the first dword of the rest is whole, unless it's the last one too.
    let enables = if left > 1 { u32::from(read.last_be()) << 4 | 0xf } else { u32::from(read.last_be()) };
    dws[1] = dws[1] & !0xff | enables;
    let address = read.address() + u64::from(from_dw) * 4;
    if read.header_len() == 16 {
        dws[2] = (address >> 32) as u32;
        dws[3] = dws[3] & 3 | address as u32 & !3;
    } else {
        dws[2] = dws[2] & 3 | address as u32 & !3;
    }
    Header::from_dws(dws).ok()
}

/// A message in a ring that concerns somebody when software frees it, or goes without.
#[derive(Clone, Debug)]
pub(super) enum Unfreed {
    /// A TLP that nobody answers: it goes to the next reader.
    Posted(Delivered),
    /// The notice of a source of the function at a port.
    Notice(u16, Source),
    /// What software was told of the function at a port.
    Announcement(u16, Announcement),
}

impl Unfreed {
    /// The port of the function that it's for.
    pub(super) fn port(&self) -> usize {
        match self {
            Unfreed::Posted(message) => message.field(tlp_message::FUNCTION) as usize,
            Unfreed::Notice(port, _) | Unfreed::Announcement(port, _) => usize::from(*port),
        }
    }
}

/// What is to be delivered again.
#[derive(Clone, Debug)]
pub(super) enum Again {
    /// An open request, by its id.
    Request(u32),
    /// A TLP that nobody answers.
    Posted(Delivered),
}

impl Request {
    /// The message that asks for what is left of the request.
    fn rest(&self) -> Option<Delivered> {
        let message = self.message.clone()?;
        Some(if self.from_dw > 0 { message.without(self.from_dw, &self.header) } else { message })
    }
}

/// Writes to the primary's ring what another reader of the function has left behind, as far as there are slots. Whether nothing of it is left.
pub(super) fn redeliver(bus: &mut Bus<'_>, claimed: &mut Claimed, channel: &mut Channel) -> bool {
    while let Some(again) = claimed.again.front() {
        if !channel.has_slot() {
            return false;
        }
        let message = match again {
            // A request that is over by now, because a reset has ended it, is passed over.
            Again::Request(id) => claimed.requests.get_mut(*id).and_then(|request| {
                request.holder = Some(channel.id);
                request.number = channel.producer;
                request.rest()
            }),
            Again::Posted(message) => Some(message.clone()),
        };
        claimed.again.pop_front();
        match message {
            Some(message) if message.payload.len() <= channel.payload_room() => {
                channel.write_again(bus, &message.marked());
            }
            Some(_) => bus.core.count(|faults| faults.malformed += 1),
            None => {}
        }
    }
    true
}

impl Emulation {
    /// The channels of a group.
    fn group(&self, group: u32) -> impl Iterator<Item = &Channel> {
        self.channels.values().filter(move |channel| channel.group == group)
    }

    /// The primary channel of a group; 0 if it has none.
    pub(super) fn primary_of(&self, group: u32) -> u32 {
        self.group(group).find(|channel| channel.primary).map_or(0, |channel| channel.id)
    }

    /// The group that a new channel belongs to, and whether it's primary in it: its own, or that of the channel whose export it shows.
    pub(super) fn join(&mut self, primary: u32, key: u64) -> Result<(u32, bool), Failure> {
        if primary == 0 {
            self.groups = self.groups.wrapping_add(1);
            return Ok((self.groups, true));
        }
        // Whether there's no such channel, no export or another key is nobody's business.
        let exported = self.channels.get(&primary).filter(|channel| channel.export_key != 0);
        let exported = exported.filter(|channel| channel.export_key == key).ok_or(Failure::TWIN_EXPORT)?;
        Ok((exported.group, false))
    }

    /// MODIFY_GENERAL_OBJECT of a channel.
    pub(super) fn modify_channel(&mut self, id: u32, context: &[u8]) -> Result<(), Failure> {
        let field = |field: Field| field.get(context).map_err(short);
        let select = field(tlp_channel::MODIFY_FIELD_SELECT)?;
        let known = numbers::SELECT_STATE | numbers::SELECT_EXPORT_KEY;
        rule(select != 0 && select & !known == 0, Failure::TWIN_SELECT)?;
        let state = (select & numbers::SELECT_STATE != 0).then(|| field(tlp_channel::STATE)).transpose()?;
        let key = (select & numbers::SELECT_EXPORT_KEY != 0).then(|| field(tlp_channel::EXPORT_KEY)).transpose()?;
        let primary = match state.map(|state| state as u8) {
            None => None,
            Some(numbers::PRIMARY) => Some(true),
            Some(numbers::SECONDARY) => Some(false),
            Some(_) => return Err(Failure::TWIN_STATE),
        };
        let channel = self.channels.get(&id).ok_or(Failure::OBJECT_UNKNOWN)?;
        if primary == Some(true) && !channel.primary {
            let others = || self.group(channel.group).filter(|other| other.id != id);
            rule(others().all(|other| !other.primary), Failure::TWIN_PRIMARY)?;
            rule(others().all(Channel::is_drained), Failure::TWIN_RING_HELD)?;
        }
        // All is checked; what follows can't be refused.
        let channel = self.channels.get_mut(&id).ok_or(Failure::OBJECT_UNKNOWN)?;
        if let Some(key) = key {
            channel.export_key = key;
        }
        let (group, before) = (channel.group, channel.primary);
        if let Some(primary) = primary {
            channel.fresh = primary && !before;
            channel.primary = primary;
        }
        match (before, primary) {
            (false, Some(true)) => self.actions.push_back(Action::Grant(id)),
            (true, Some(false)) => self.vacated(group),
            _ => {}
        }
        Ok(())
    }

    /// A group has lost its primary: those of its channels that asked for an event get it.
    pub(super) fn vacated(&mut self, group: u32) {
        for channel in self.channels.values_mut().filter(|channel| channel.group == group) {
            channel.wake();
            self.actions.push_back(Action::Grant(channel.id));
        }
    }

    /// Software has freed messages of a channel: of what they told, more can be told, and functions whose last reset it has seen are ready.
    pub(super) fn freed(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        while let Some((message, unfreed)) = channel.take_freed() {
            let claimed = self.ports.get_mut(unfreed.port()).and_then(|port| port.claimed.as_mut());
            let Some(claimed) = claimed.filter(|claimed| claimed.channels.contains(&id)) else { continue };
            match unfreed {
                Unfreed::Notice(_, source) => claimed.notices.freed(source, message),
                Unfreed::Announcement(..) if claimed.presence == (Presence::Announced { channel: id, message }) => {
                    claimed.presence = Presence::Ready;
                }
                Unfreed::Announcement(..) | Unfreed::Posted(_) => {}
            }
        }
    }

    /// A channel no longer has the function at a port, which others have: what it leaves behind waits for the primary, TLPs in the order in
    /// which they were delivered.
    pub(super) fn leave(&mut self, number: usize, id: u32) {
        let Some(claimed) = self.ports.get_mut(number).and_then(|port| port.claimed.as_mut()) else { return };
        let mut left: Vec<(u32, Again)> = Vec::new();
        let (mut last, mut unheard) = (0, Vec::new());
        if let Some(channel) = self.channels.get_mut(&id) {
            last = channel.producer;
            for (at, unfreed) in channel.take_unfreed(number) {
                match unfreed {
                    Unfreed::Posted(message) => left.push((at, Again::Posted(message))),
                    Unfreed::Notice(_, source) => claimed.notices.returned(source, at),
                    Unfreed::Announcement(_, announcement) => unheard.push(announcement),
                }
            }
        }
        claimed.announcements.put_back(unheard);
        if matches!(claimed.presence, Presence::Announced { channel, .. } if channel == id) {
            // Who is told next has to see the reset.
            claimed.presence = Presence::Absent;
        }
        left.extend(claimed.requests.orphan(id).map(|(at, request)| (at, Again::Request(request))));
        // The numbers go round: what is farthest behind the next one is oldest.
        left.sort_by_key(|(at, _)| Reverse(last.wrapping_sub(*at)));
        // What was delivered at the same time as something that waits still was delivered before it.
        let mut all: Vec<Again> = left.into_iter().map(|(_, again)| again).chain(claimed.again.drain(..)).collect();
        let requests = &mut claimed.requests;
        all.sort_by_cached_key(|again| match again {
            Again::Request(id) => requests
                .get_mut(*id)
                .and_then(|request| request.message.as_ref())
                .map_or(Time::ZERO, |message| message.time),
            Again::Posted(message) => message.time,
        });
        claimed.again.extend(all);
        let group = self.channels.get(&id).map_or(0, |channel| channel.group);
        let primary = self.primary_of(group);
        if primary != id {
            self.actions.push_back(Action::Grant(primary));
        }
    }
}

/// Sets the fields of a channel's context that tell of its group.
pub(super) fn describe(channel: &Channel, primary: u32, context: &mut [u8]) -> Result<(), Failure> {
    let state = if channel.primary { numbers::PRIMARY } else { numbers::SECONDARY };
    let fields = [
        (tlp_channel::FLAGS, u64::from(channel.spec.flags)),
        (tlp_channel::STATE, u64::from(state)),
        (tlp_channel::PRIMARY_ID, u64::from(primary)),
        (tlp_channel::EXPORT_KEY, channel.export_key),
        (tlp_channel::REORDERED, channel.counters.reordered),
        (tlp_channel::REDELIVERED, channel.counters.redelivered),
    ];
    set_all(context, &fields).map_err(|_| Failure::OUTPUT_TOO_SHORT)
}

#[cfg(test)]
mod tests {
    use mlx5_twin_sim::tlp::{Attr, Bdf, Status};
    use proptest::prelude::*;

    use super::*;

    const HOST: Bdf = Bdf(0x0008);
    const SELF: Bdf = Bdf(0x0300);

    proptest! {
        /// The completions that the rest of a read asks for are those that the read itself still waits for.
        #[test]
        fn the_rest_of_a_read_asks_for_what_is_missing(
            address in 0_u64..1 << 40, len in 129_u32..3000, cut in 1_u32..24, tag in 0_u16..1024, tc in 0_u8..8,
        ) {
            let address = address & !0xfff | address & 0x3ff;
            let mut read = Header::mem_read_bytes(HOST, tag, address, len).expect("within 4 KiB");
            read.set_tc(tc).expect("three bits");
            read.set_attr(Attr::RO).expect("legal");
            // Parts end at multiples of 128 bytes.
            let from_dw = (read.address() / 128 * 128 + u64::from(cut) * 128 - read.address()) as u32 / 4;
            prop_assume!(from_dw < read.length_dw());
            let rest = rest_of(&read, from_dw).expect("something is left");
            prop_assert_eq!((rest.tag(), rest.requester(), rest.tc(), rest.attr()), (tag, HOST, tc, Attr::RO));
            prop_assert_eq!(rest.address(), read.address() + u64::from(from_dw) * 4);
            let whole = Header::completion_for(&rest, SELF, Status::Successful).expect("a completion");
            let left = read.length_dw() - from_dw;
            let expected = Header::completion_part(&read, SELF, Status::Successful, from_dw, left);
            prop_assert_eq!(Ok(whole), expected);
        }
    }

    #[test]
    fn nothing_is_left_of_nothing() {
        let read = Header::mem_read_bytes(HOST, 1, 0x1000, 256).expect("a read");
        assert_eq!(rest_of(&read, 0), None);
        assert_eq!(rest_of(&read, 64), None);
        assert_eq!(rest_of(&read, 65), None);
    }
}
