//! The response gateway page: stores of software, and what they start.

use mlx5_twin_fw_cmds::layout::gateway_post;
use mlx5_twin_fw_cmds::twin_v1::{Fault, channel as flags, gateway};
use mlx5_twin_sim::config::{MsixOutcome, Reset};
use mlx5_twin_sim::fabric::{Core, PortId};
use mlx5_twin_sim::tlp::{Header, Kind, Status};

use super::Emulation;
use super::channel::Channel;
use super::function::Effect;
use super::requests::is_sent_unchecked;
use crate::bus::Bus;

/// A store to `POST`, taken apart.
#[derive(Clone, Copy, Debug)]
struct Post {
    kind: u8,
    function: usize,
    length: usize,
    id: u32,
}

impl Post {
    fn parse(bytes: &[u8]) -> Option<Post> {
        let field = |field: mlx5_twin_fw_cmds::field::Field| field.get(bytes).ok();
        Some(Post {
            kind: field(gateway_post::KIND)? as u8,
            function: (field(gateway_post::FUNCTION_HIGH)? << 8 | field(gateway_post::FUNCTION)?) as usize,
            length: field(gateway_post::LENGTH)? as usize,
            id: field(gateway_post::ID)? as u32,
        })
    }
}

impl Emulation {
    /// Software has stored `bytes` at `offset` of a gateway page.
    pub(crate) fn store(&mut self, bus: &mut Bus<'_>, page: u32, offset: u64, bytes: &[u8]) {
        let holder = self.pages.get(page as usize).copied().flatten();
        let Some((id, channel)) = holder.and_then(|id| Some((id, self.channels.get_mut(&id)?))) else {
            self.unbound += 1;
            return;
        };
        match (offset, bytes.len()) {
            (gateway::CONSUMER | gateway::ARM, 4) => {
                let index = bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
                channel.consume(index, offset == gateway::ARM);
                self.freed(id);
                self.pump_channel(bus, id);
            }
            (gateway::POST, 8) => match Post::parse(bytes) {
                Some(post) => self.post(bus, id, post),
                None => channel.fault(Fault::Store),
            },
            // Aligned, so none reaches past the end.
            (gateway::HEADER..gateway::END, 4 | 8) if offset.is_multiple_of(bytes.len() as u64) => {
                let begin = (offset - gateway::HEADER) as usize;
                channel.staging[begin..begin + bytes.len()].copy_from_slice(bytes);
            }
            _ => channel.fault(Fault::Store),
        }
    }

    fn post(&mut self, bus: &mut Bus<'_>, id: u32, post: Post) {
        let outcome = match post.kind {
            gateway::COMPLETION => self.post_completion(bus, id, post),
            gateway::MEMORY_WRITE => self.post_write(bus, id, post),
            gateway::MSIX => self.post_msix(bus, id, post),
            gateway::FLUSH => self.post_flush(id, post),
            _ => Err(Fault::PostKind),
        };
        if let Some(channel) = self.channels.get_mut(&id) {
            match outcome {
                Ok(()) => channel.counters.responses += 1,
                Err(fault) => channel.fault(fault),
            }
        }
        // A completion makes room for another request, a spent credit for another grant.
        self.pump_channel(bus, id);
    }

    /// The staged header, if it's a legal one, and as long a payload as the post says.
    fn staged(channel: &Channel, post: Post, max_payload: u32) -> Result<Header, Fault> {
        if post.length as u64 > u64::from(max_payload) {
            return Err(Fault::Length);
        }
        let header = Header::decode(&channel.staging[..16]).map_err(|_| Fault::Header)?;
        if header.payload_len() != post.length {
            return Err(Fault::Length);
        }
        if header.td() || header.ep() {
            // Digest and poison have no place in a response yet.
            return Err(Fault::Header);
        }
        Ok(header)
    }

    /// The number of the port whose function is this channel's.
    fn own_function(&self, id: u32, post: Post) -> Result<usize, Fault> {
        let claimed = self.ports.get(post.function).and_then(|port| port.claimed.as_ref());
        claimed.filter(|claimed| claimed.channels.contains(&id)).map(|_| post.function).ok_or(Fault::Vector)
    }

    /// The same, if the channel may send what nobody has asked for.
    fn own_initiative(&self, id: u32, post: Post) -> Result<usize, Fault> {
        let number = self.own_function(id, post)?;
        let primary = self.channels.get(&id).is_some_and(|channel| channel.primary);
        if primary { Ok(number) } else { Err(Fault::NotPrimary) }
    }

    fn post_completion(&mut self, bus: &mut Bus<'_>, id: u32, post: Post) -> Result<(), Fault> {
        let channel = self.channels.get(&id).ok_or(Fault::Request)?;
        let header = Emulation::staged(channel, post, self.limits.max_response_payload)?;
        if !header.kind().is_completion() {
            return Err(Fault::Header);
        }
        let number = self.own_function(id, post).map_err(|_| Fault::Request)?;
        let port = &mut self.ports[number];
        let claimed = port.claimed.as_mut().ok_or(Fault::Request)?;
        let payload = &channel.staging[16..16 + post.length];
        if let Err(fault) = claimed.requests.judge(id, post.id, &header) {
            let fits = post.length as u32 <= claimed.max_payload();
            if is_sent_unchecked(fault) && channel.has(flags::UNCHECKED) && fits && port.link_up {
                bus.core.send_new(port.port, header, payload);
            }
            return Err(fault);
        }
        let ordered = channel.has(flags::STRICT_FIFO | flags::FLAG_ORDER);
        let overtakes = ordered && !claimed.requests.is_oldest(post.id);
        if overtakes && channel.has(flags::STRICT_FIFO) {
            return Err(Fault::OutOfOrder);
        }
        let request = claimed.requests.get_mut(post.id).ok_or(Fault::Request)?;
        let (asked, from_dw, written) = (request.header, request.from_dw, request.value);
        let dwords = if header.has_data() { header.length_dw() } else { 0 };
        request.from_dw += dwords;
        let over = header.status() != Status::Successful || request.from_dw == asked.completion_length_dw();
        let max_payload = claimed.max_payload();
        if over {
            claimed.requests.close(post.id);
        }
        let mut effect = Effect::Send(Vec::new());
        if over && header.status() == Status::Successful && asked.kind() == Kind::CfgWr0 {
            effect = claimed.configured(asked.register(), asked.first_be(), written);
        }
        let port = &self.ports[number];
        if post.length as u32 <= max_payload {
            bus.core.send_new(port.port, header, payload);
        } else {
            cut(bus.core, port.port, &asked, &header, from_dw, max_payload, payload);
        }
        if overtakes && let Some(channel) = self.channels.get_mut(&id) {
            channel.counters.reordered += 1;
        }
        match effect {
            Effect::Send(messages) => self.send_messages(bus.core, number, &messages),
            Effect::Reset => self.reset_function(bus.core, number, Reset::FunctionLevel, Fault::AfterReset),
        }
        Ok(())
    }

    fn post_write(&mut self, bus: &mut Bus<'_>, id: u32, post: Post) -> Result<(), Fault> {
        let channel = self.channels.get(&id).ok_or(Fault::Credit)?;
        let header = Emulation::staged(channel, post, self.limits.max_response_payload)?;
        if !matches!(header.kind(), Kind::MWr32 | Kind::MWr64) {
            return Err(Fault::Header);
        }
        let number = self.own_initiative(id, post)?;
        let port = &self.ports[number];
        if !port.link_up {
            return Err(Fault::LinkDown);
        }
        let claimed = port.claimed.as_ref().ok_or(Fault::Vector)?;
        if header.requester() != port.id {
            return Err(Fault::Transaction);
        }
        if post.length as u32 > claimed.max_payload() {
            return Err(Fault::Length);
        }
        let channel = self.channels.get_mut(&id).ok_or(Fault::Credit)?;
        if !channel.holds(post.id) {
            return Err(Fault::Credit);
        }
        if !claimed.shadow.bus_master() {
            return Err(Fault::BusMaster);
        }
        bus.core.send_new(port.port, header, &channel.staging[16..16 + post.length]);
        channel.spend(post.id);
        Ok(())
    }

    fn post_msix(&mut self, bus: &mut Bus<'_>, id: u32, post: Post) -> Result<(), Fault> {
        let number = self.own_initiative(id, post)?;
        if !self.ports[number].link_up {
            return Err(Fault::LinkDown);
        }
        let claimed = self.ports[number].claimed.as_mut().ok_or(Fault::Vector)?;
        let vector = u16::try_from(post.id).map_err(|_| Fault::Vector)?;
        if claimed.shadow.msix_enabled() && !claimed.shadow.bus_master() {
            return Err(Fault::BusMaster);
        }
        match claimed.raise(vector).ok_or(Fault::Vector)? {
            MsixOutcome::Send(message) => self.send_messages(bus.core, number, &[message]),
            MsixOutcome::Pending => {}
            MsixOutcome::NotEnabled => return Err(Fault::MsixDisabled),
        }
        Ok(())
    }

    fn post_flush(&mut self, id: u32, post: Post) -> Result<(), Fault> {
        let channel = self.channels.get_mut(&id).ok_or(Fault::Credit)?;
        if !channel.holds(post.id) {
            return Err(Fault::Credit);
        }
        channel.flush(post.id);
        Ok(())
    }
}

/// Sends a completion that's longer than Max_Payload_Size in parts that end at multiples of 128 bytes.
fn cut(
    core: &mut Core,
    port: PortId,
    request: &Header,
    completion: &Header,
    first_dw: u32,
    max_payload: u32,
    payload: &[u8],
) {
    let mut sent = 0;
    while sent < payload.len() {
        let from_dw = first_dw + (sent / 4) as u32;
        let address = request.address() + u64::from(from_dw) * 4;
        let left = (payload.len() - sent) as u64;
        let len = Header::completion_len(address, left, u64::from(max_payload), 128) as usize;
        let part =
            Header::completion_part(request, completion.completer(), Status::Successful, from_dw, (len / 4) as u32);
        let Ok(part) = part else { return };
        core.send_new(port, part, &payload[sent..sent + len]);
        sent += len;
    }
}
