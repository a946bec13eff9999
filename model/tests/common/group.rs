//! Channels of one group, whose software doesn't answer by itself.

use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_sim::config::ConfigSpace;
use mlx5_twin_sim::fabric::Ticket;
use mlx5_twin_sim::host::{Access, AccessError, Data};

use super::Rig;
use super::commands::plain;
use super::software::{MEMORY, Software, description};
use super::twin::{Channel, FunctionSpec, Message, user};

pub(crate) const KEY: u64 = 0x5eed_0000_0000_0001;

/// A function in use by one channel, and a second channel of another user that has claimed it too.
pub(crate) fn pair(log_slots: u32, credits: u16) -> (Rig, Software, Software) {
    pair_as(log_slots, credits, |_, _| {})
}

/// The same with another description.
pub(crate) fn pair_as(
    log_slots: u32,
    credits: u16,
    change: impl Fn(&mut ConfigSpace, &mut FunctionSpec),
) -> (Rig, Software, Software) {
    let (mut rig, first) = Software::ready_as(log_slots, credits, &change);
    rig.ok(&first.channel.set_key(KEY));
    let second = join_as(&mut rig, &first, 1, log_slots, credits, change);
    (rig, first, second)
}

/// Another user's channel, on gateway page `page`, in the group of a channel.
pub(crate) fn join(rig: &mut Rig, of: &Software, page: u32, log_slots: u32, credits: u16) -> Software {
    join_as(rig, of, page, log_slots, credits, |_, _| {})
}

/// The same with another description.
pub(crate) fn join_as(
    rig: &mut Rig,
    of: &Software,
    page: u32,
    log_slots: u32,
    credits: u16,
    change: impl FnOnce(&mut ConfigSpace, &mut FunctionSpec),
) -> Software {
    let uid = user(rig);
    let key = [(tlp_channel::PRIMARY_ID, of.channel.id.into()), (tlp_channel::EXPORT_KEY, KEY)];
    let channel = Channel::with(rig, uid, page, log_slots, credits, &key);
    let (mut config, mut spec) = description(channel.id, of.port);
    change(&mut config, &mut spec);
    let mut second = Software::claim_as(rig, channel, config, &spec);
    (second.id, second.bar) = (of.id, of.bar);
    second
}

pub(crate) fn begin(rig: &mut Rig, access: Access) -> Ticket {
    rig.machine.simulation.access(rig.host(), access).expect("an access")
}

pub(crate) fn write(software: &Software, number: u32) -> Access {
    Access::MemoryWrite { address: software.bar + MEMORY, data: Data::new(&number.to_le_bytes()) }
}

pub(crate) fn read(software: &Software, offset: u64) -> Access {
    Access::MemoryRead { address: software.bar + MEMORY + offset, len: 4 }
}

pub(crate) fn result(rig: &mut Rig, ticket: Ticket) -> Option<Result<u64, AccessError>> {
    rig.machine.simulation.result(ticket).map(|result| result.map(|data| data.to_u64()))
}

/// Takes all messages, and frees their slots.
pub(crate) fn take(rig: &mut Rig, software: &mut Software) -> Vec<Message> {
    let messages: Vec<Message> = std::iter::from_fn(|| software.channel.next(rig)).collect();
    software.channel.free(rig);
    rig.pause();
    messages
}

pub(crate) fn crash(rig: &mut Rig, software: &Software) {
    rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, software.channel.uid.into())]));
}
