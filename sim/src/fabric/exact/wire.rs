//! TLPs and DLLPs on the wire of exact links: from the queue at one end to the buffer at the other and back.

use super::super::arena::{NO_PORT, NO_TICKET, TlpId, Weight};
use super::super::core::{Core, Event};
use super::super::dll::{BadDllp, Dllp, Frame, Integrity, LinkError, LinkState, Reaction};
use super::super::error::Detected;
use super::super::ids::PortId;
use super::fate::{Fate, broken};
use super::{Flying, LARGEST, LinkAffair, RECOVERY};
use crate::event::EventQueue;
use crate::probe::{LinkFrame, OnWire};
use crate::time::Time;

impl Core {
    /// Sends a TLP from a port of an exact link.
    pub(crate) fn send_exactly(&mut self, port: PortId, tlp: TlpId) {
        let weight = self.arena.slot(tlp).weight;
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let route = transmitter.route(&self.arena, tlp);
        let Some(exact) = transmitter.exact() else { return };
        if exact.port.state() == LinkState::Inactive {
            return self.lose_exactly(port, tlp);
        }
        let possible = |channel: &usize| exact.port.can_ever_take(*channel as u8, weight.class, weight.cost.amount());
        // Larger than the receiver's buffer, or of a class that no virtual channel carries: it would wait for ever.
        let Some(channel) = route.filter(possible) else { return self.cannot_send(port, tlp) };
        transmitter.channel(channel).1.push(&mut self.arena, tlp);
        transmitter.show_waiting();
        self.serve(port);
    }

    /// Does all that a port of an exact link can do now, and sees that it's called when there's more.
    pub(crate) fn serve(&mut self, port: PortId) {
        let now = self.now;
        let Some(exact) = self.exact(port) else { return };
        if exact.serve_at <= now {
            exact.serve_at = Time::MAX;
        }
        let reaction = exact.port.check_timer(now);
        self.react(port, reaction);
        if let Some((frame, channel)) = self.next_exactly(port) {
            self.put_on_wire(port, frame, channel);
        }
        self.serve_later(port);
    }

    /// The next frame, if the wire is free: a new TLP if there's nothing else. Gives the receive buffer that it's for, too.
    fn next_exactly(&mut self, port: PortId) -> Option<(Frame<TlpId>, u8)> {
        let now = self.now;
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let exact = transmitter.exact()?;
        if exact.busy_until > now {
            return None;
        }
        let (rate, framing) = (exact.ps_per_byte_q16, exact.framing_bytes);
        let tlp_time = |bytes: u32| Time(((u64::from(bytes) + framing) * rate) >> 16);
        if let Some(frame) = exact.port.next(now, tlp_time) {
            return Some((frame, 0));
        }
        if !exact.port.takes_tlp(LARGEST as u32, now) || transmitter.is_clear() {
            return None;
        }
        let (tlp, channel) = transmitter.pick_by_channel(&mut self.arena, now)?;
        let bytes = self.arena.slot(tlp).weight.bytes.into();
        let frame = transmitter.exact()?.port.start(tlp, bytes, now, tlp_time(bytes));
        Some((frame, channel as u8))
    }

    /// Sees that a port of an exact link is served when there's more to be done, unless that's so only when something comes.
    fn serve_later(&mut self, port: PortId) {
        let now = self.now;
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let waits = !transmitter.is_clear();
        let Some(exact) = transmitter.exact() else { return };
        // What waits and couldn't go though the wire is free waits for credits, or for room in the replay buffer.
        let free = exact.busy_until.max(exact.port.held_until());
        let next_tlp = (waits && free > now).then_some(free);
        if let Some(due) = next_tlp.into_iter().chain(exact.port.due()).min() {
            let at = due.max(exact.busy_until).max(now.after(Time(1)));
            if at < exact.serve_at {
                exact.serve_at = at;
                self.queue.push(at, Event::Link(port, LinkAffair::Serve.token()));
            }
        }
    }

    /// Puts a frame on the wire, which is free. A new TLP is for receive buffer `channel`.
    fn put_on_wire(&mut self, port: PortId, frame: Frame<TlpId>, channel: u8) {
        let now = self.now;
        let Some(exact) = self.exact(port) else { return };
        let fate = exact.fate(&frame);
        let (wire, what, first) = match frame {
            Frame::Dllp(dllp) => {
                exact.counters.dllps += 1;
                if fate != Fate::Good {
                    exact.port.update_was_lost(&dllp);
                }
                (exact.wire(Dllp::WIRE_BYTES), OnWire::Dllp(dllp), None)
            }
            Frame::Tlp { sequence, item, bytes, again } => {
                exact.counters.tlps += u64::from(!again);
                exact.counters.replayed += u64::from(again);
                let wire = exact.wire(u64::from(bytes) + exact.framing_bytes);
                (wire, OnWire::Tlp { sequence, again }, (!again).then_some(item))
            }
        };
        exact.busy_until = now + wire;
        exact.flying.push_back(Flying { frame, fate });
        let arrival = exact.busy_until + exact.flight;
        self.queue.push(arrival, Event::Link(port.peer(), LinkAffair::Frame.token()));
        if let Some(probe) = &mut self.probe {
            let whole = fate == Fate::Good;
            probe.frame(&LinkFrame { at: now, link: port.link(), direction: port.direction(), what, whole });
        }
        if let Some(tlp) = first {
            self.has_left_exactly(port, tlp, channel);
        }
    }

    /// What happens at a port of an exact link.
    #[cold]
    #[inline(never)]
    pub(crate) fn link_affair(&mut self, port: PortId, token: u32) {
        match LinkAffair::of(token) {
            LinkAffair::Serve => self.serve(port),
            LinkAffair::Frame => self.frame_arrived(port),
            LinkAffair::Free { channel, class, amount } => {
                let now = self.now;
                if let Some(exact) = self.exact(port) {
                    exact.port.free(channel, class, amount, now);
                    self.serve(port);
                }
            }
        }
    }

    /// The first frame on the wire towards `port` has come.
    fn frame_arrived(&mut self, port: PortId) {
        let now = self.now;
        let sender = port.peer();
        let Some(from) = self.exact(sender) else { return };
        let Some(Flying { frame, fate }) = from.flying.pop_front() else { return };
        let reaction_time = from.reaction;
        if from.dead > 0 {
            from.dead -= 1;
            return;
        }
        if fate == Fate::Lost {
            return;
        }
        match frame {
            Frame::Tlp { sequence, item, .. } => {
                // Of a TLP that has been taken before, the slot may be another's by now; then nothing but its number is looked at.
                let weight = self.arena.slot(item).weight;
                let amount = weight.cost.amount();
                let integrity = match fate {
                    Fate::Good => Integrity::Good,
                    Fate::Nullified => Integrity::Nullified,
                    Fate::Broken | Fate::Lost => Integrity::Bad,
                };
                let Some(exact) = self.exact(port) else { return };
                let reaction = exact.port.receive_tlp(sequence, integrity, weight.channel, weight.class, amount, now);
                self.react(port, reaction);
                if reaction.taken {
                    let at = now + reaction_time[weight.class as usize % 3];
                    if let Some(from) = self.exact(sender) {
                        from.quiet_at = from.quiet_at.max(at);
                    }
                    let receiver = self.owner(port);
                    let arrive = if self.transmitters[usize::from(port.0)].has_channels() {
                        Event::ArriveSpecially
                    } else {
                        Event::Arrive
                    };
                    self.queue.push(at, arrive(port, receiver, item));
                } else if reaction.dropped && reaction.error.is_some() {
                    self.lose_exactly(sender, item);
                } else if reaction.dropped {
                    self.refuse_unclaimed(port, item);
                }
            }
            Frame::Dllp(dllp) => {
                let bytes = dllp.encode();
                let received = if fate == Fate::Good { Dllp::decode(&bytes) } else { Dllp::decode(&broken(bytes)) };
                let Some(exact) = self.exact(port) else { return };
                let reaction = match received {
                    Ok(dllp) => exact.port.receive_dllp(&dllp, now, |_| ()),
                    Err(BadDllp::Crc { .. }) => Reaction { error: Some(LinkError::BadDllp), ..Reaction::default() },
                    Err(BadDllp::Reserved(_)) => Reaction::default(),
                };
                self.react(port, reaction);
            }
        }
        self.serve(port);
    }

    /// A TLP has come for which the receiver has no channel.
    #[cold]
    #[inline(never)]
    fn refuse_unclaimed(&mut self, port: PortId, tlp: TlpId) {
        self.refuse_malformed(port, tlp);
    }

    /// Does what follows from what a port has found.
    fn react(&mut self, port: PortId, reaction: Reaction) {
        if reaction.retrain {
            let until = self.now + RECOVERY;
            for end in [port, port.peer()] {
                if let Some(exact) = self.exact(end) {
                    exact.port.hold(until);
                }
            }
        }
        if let Some(error) = reaction.error {
            self.link_error(port, error);
        }
    }

    /// Reports an error that `port` has found in its data link layer or flow control.
    #[cold]
    pub(crate) fn link_error(&mut self, port: PortId, error: LinkError) {
        if let Some(exact) = self.exact(port)
            && let Some(count) = exact.counters.errors.get_mut(error as usize)
        {
            *count += 1;
        }
        self.detect(port, Detected::new(error.into()));
    }

    /// A TLP has gone on the wire for the first time: it stands in no receive buffer until the other end has it, in buffer `channel` there.
    fn has_left_exactly(&mut self, port: PortId, tlp: TlpId, channel: u8) {
        let now = self.now;
        let slot = self.arena.slot_mut(tlp);
        let (held_by, weight) = (std::mem::replace(&mut slot.held_by, NO_PORT), slot.weight);
        let ticket = std::mem::replace(&mut slot.ticket, NO_TICKET);
        self.free_buffer(held_by, weight, tlp, now);
        self.arena.slot_mut(tlp).weight.channel = channel;
        self.tell_left(port, ticket, now);
        if self.probe.is_some() {
            self.show(port, tlp, now);
        }
    }

    /// What a TLP took of the receive buffer at the other end of `sender`'s link is free from `at` on.
    pub(crate) fn free_exactly(&mut self, sender: PortId, weight: Weight, at: Time) {
        let port = sender.peer();
        let affair = LinkAffair::Free { channel: weight.channel, class: weight.class, amount: weight.cost.amount() };
        if at > self.now {
            self.queue.push(at, Event::Link(port, affair.token()));
        } else {
            self.link_affair(port, affair.token());
        }
    }

    /// A TLP that was to go from `port` never gets to the other end.
    pub(super) fn lose_exactly(&mut self, port: PortId, tlp: TlpId) {
        self.lost += 1;
        let ticket = std::mem::replace(&mut self.arena.slot_mut(tlp).ticket, NO_TICKET);
        self.tell_left(port, ticket, self.now);
        // It isn't delivered, so nobody is told that it was.
        let probe = self.probe.take();
        self.consume(tlp);
        self.probe = probe;
    }
}
