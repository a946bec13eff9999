//! Virtual channels of a port (PCIe base specification 2.5 and 6.3): each has queues and credits of its own, and they take turns on the wire. Only
//! ports of links that have more than VC0, or whose software has taken traffic classes from it, have any of this.
//!
//! A TLP waits in the queue of its channel until the wire is free and its turn has come, which the [arbiter](super::arbiter) knows: then only are its credits
//! taken. So it is on links of both kinds, but that credits of an exact one are its data link layer's.

use super::arbiter::Arbiter;
use super::arena::{Arena, TlpId, Weight};
use super::core::{Core, Event, Left};
use super::credits::Credits;
use super::exact::Pair;
use super::ids::PortId;
use super::link::{Transmitter, Turn};
use super::special::Special;
use super::waiting::Waiting;
use crate::config::{ConfigSpace, MAX_CHANNELS, VcControl};
use crate::event::EventQueue;
use crate::profile;
use crate::time::Time;
use crate::tlp::Class;

/// Nothing is to come.
const NEVER: Time = Time::MAX;

/// A channel beyond VC0: the credits of one VC resource of the receiver, and what waits for them.
#[derive(Debug)]
struct Pool {
    credits: [Credits; 3],
    waiting: Waiting,
}

/// The virtual channels of a transmitter. They have the numbers of the receiver's VC resources: 0 is VC0, whose credits and queues are the
/// transmitter's own.
#[derive(Debug)]
pub(crate) struct Channels {
    /// What software has set at this port.
    control: VcControl,
    pools: Vec<Pool>,
    /// The channel of each traffic class. `None` if that's mapped to none that works.
    routes: [Option<u8>; 8],
    arbiter: Arbiter,
    /// When the next [`Event::Arbitrate`] comes.
    due: Time,
}

/// The credits of one virtual channel, by class.
pub(super) fn credits_of(c: &profile::Credits) -> [Credits; 3] {
    [
        Credits::new(c.posted_headers, c.posted_data),
        Credits::new(c.nonposted_headers, c.nonposted_data),
        Credits::new(c.completion_headers, c.completion_data),
    ]
}

impl Channels {
    /// VC0, and these beyond it. All traffic classes go over VC0.
    pub(super) fn new(beyond: &[profile::Credits]) -> Channels {
        Channels {
            control: VcControl::PLAIN,
            pools: beyond.iter().map(|c| Pool { credits: credits_of(c), waiting: Waiting::EMPTY }).collect(),
            routes: [Some(0); 8],
            arbiter: Arbiter::new(beyond.len()),
            due: NEVER,
        }
    }

    /// Whether nothing waits beyond VC0.
    pub(super) fn is_clear(&self) -> bool {
        self.pools.iter().all(|pool| pool.waiting.classes() == 0)
    }

    /// Whether all credits beyond VC0 are free or on their way back.
    pub(super) fn are_whole(&self) -> bool {
        self.pools.iter().all(|pool| pool.credits.iter().all(Credits::are_whole))
    }
}

impl Transmitter {
    /// The credits and the queues of a channel; those of VC0 if there's no such.
    pub(super) fn channel(&mut self, channel: usize) -> (&mut [Credits; 3], &mut Waiting) {
        let pools = self.special.as_deref_mut().and_then(|special| special.channels.as_mut());
        let pool = pools.and_then(|channels| channels.pools.get_mut(channel.checked_sub(1)?));
        match pool {
            Some(pool) => (&mut pool.credits, &mut pool.waiting),
            None => (&mut self.credits, &mut self.waiting),
        }
    }

    /// Whether the port has more than the plain VC0.
    pub(super) fn has_channels(&self) -> bool {
        self.channels().is_some()
    }

    /// The virtual channels, if the port has more than the plain VC0.
    fn channels(&self) -> Option<&Channels> {
        self.special.as_deref()?.channels.as_ref()
    }

    fn channels_mut(&mut self) -> Option<&mut Channels> {
        self.special.as_deref_mut()?.channels.as_mut()
    }

    /// Takes out all that waits for a channel, the oldest first.
    pub(super) fn take_all_of(&mut self, arena: &mut Arena, channel: usize) -> Vec<TlpId> {
        let all = self.channel(channel).1.take_all(arena);
        self.show_waiting();
        all
    }

    /// How many channels there are, VC0 included.
    pub(super) fn channel_count(&self) -> usize {
        self.channels().map_or(0, |channels| channels.pools.len()) + 1
    }

    /// The channel of a TLP's traffic class; `None` if that's mapped to none that works.
    pub(super) fn route(&self, arena: &Arena, tlp: TlpId) -> Option<usize> {
        let Some(channels) = self.channels() else { return Some(0) };
        let tc = usize::from(arena.slot(tlp).header.tc());
        channels.routes.get(tc).copied().flatten().map(usize::from)
    }

    /// Takes out the next TLP whose channel's turn it is and that gets its credits now: gives its channel, too.
    pub(super) fn pick_by_channel(&mut self, arena: &mut Arena, now: Time) -> Option<(TlpId, usize)> {
        let Transmitter { credits, waiting, special, .. } = self;
        let Special { channels, exact } = special.as_deref_mut()?;
        let mut pick = |credits: &mut [Credits; 3], waiting: &mut Waiting, id: u8| match exact.as_deref_mut() {
            Some(exact) => waiting.pick(arena, |weight| exact.take_credits(id, weight).then_some(())),
            None => waiting.pick(arena, |weight| credits[weight.class as usize].take(weight.cost, now).then_some(())),
        };
        let picked = match channels {
            None => pick(credits, waiting, 0).map(|(tlp, ())| (tlp, 0)),
            Some(Channels { pools, arbiter, .. }) => arbiter.order().find_map(|channel| {
                let pool = channel.checked_sub(1).and_then(|place| pools.get_mut(place));
                let (credits, waiting) = match pool {
                    Some(pool) => (&mut pool.credits, &mut pool.waiting),
                    None => (&mut *credits, &mut *waiting),
                };
                let (tlp, ()) = pick(credits, waiting, arbiter.id(channel))?;
                arbiter.took(channel);
                Some((tlp, channel))
            }),
        };
        if picked.is_some() {
            self.show_waiting();
        }
        picked
    }

    /// Takes the next TLP that goes now, if the wire is free: gives its channel and its turn, too.
    fn next_by_channel(&mut self, arena: &mut Arena, now: Time) -> Option<(TlpId, usize, Turn)> {
        if self.busy_until > now {
            return None;
        }
        let (id, channel) = self.pick_by_channel(arena, now)?;
        Some((id, channel, self.occupy(arena.slot(id).weight, now)))
    }

    /// When to look again at what waits: when the wire is free, or else when credits come back. `None` if nothing waits, or for credits
    /// of which nothing is known.
    fn look_again(&self, now: Time) -> Option<Time> {
        let channels = self.channels()?;
        if self.is_clear() {
            return None;
        }
        if self.busy_until > now {
            return Some(self.busy_until);
        }
        let beyond = channels.pools.iter().map(|pool| (&pool.credits, &pool.waiting));
        let all = std::iter::once((&self.credits, &self.waiting)).chain(beyond);
        let returns = all.flat_map(|(credits, waiting)| {
            let waits = Class::ALL.map(|class| waiting.holds(class));
            credits.iter().zip(waits).filter(|(_, waits)| *waits).filter_map(|(credits, _)| credits.next_return(now))
        });
        returns.min()
    }
}

impl Core {
    /// Sends a TLP of a port with virtual channels, when its channel's turn has come.
    pub(super) fn send_by_channel(&mut self, port: PortId, tlp: TlpId) {
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let weight = self.arena.slot(tlp).weight;
        // Software mustn't let a class be used before its channel works at both ends: what's sent all the same is dropped here (ours).
        let Some(channel) = transmitter.route(&self.arena, tlp) else { return self.cannot_send(port, tlp) };
        let (credits, waiting) = transmitter.channel(channel);
        if !credits[weight.class as usize].can_ever_take(weight.cost) {
            return self.cannot_send(port, tlp);
        }
        waiting.push(&mut self.arena, tlp);
        transmitter.show_waiting();
        self.arbitrate(port);
    }

    /// Sends what has its turn now, and sees that what waits has its own.
    pub(super) fn arbitrate(&mut self, port: PortId) {
        let index = usize::from(port.0);
        while let Some((tlp, channel, turn)) = self.transmitters[index].next_by_channel(&mut self.arena, self.now) {
            let left = Left::new(self.arena.slot(tlp), turn.start);
            let receiver = self.transmitters[index].receiver;
            self.queue.push(turn.arrival, Event::ArriveSpecially(port.peer(), receiver, tlp));
            self.has_left(port, tlp, left);
            // Where it comes from it stood in the buffer of another channel, perhaps.
            self.arena.slot_mut(tlp).weight.channel = channel as u8;
        }
        self.look_again(port);
    }

    /// An [`Event::Arbitrate`] has come.
    #[cold]
    pub(super) fn arbitrate_when_due(&mut self, port: PortId) {
        let now = self.now;
        if let Some(channels) = self.transmitters[usize::from(port.0)].channels_mut()
            && channels.due <= now
        {
            channels.due = NEVER;
        }
        self.arbitrate(port);
    }

    fn look_again(&mut self, port: PortId) {
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        let Some(at) = transmitter.look_again(self.now) else { return };
        if let Some(channels) = transmitter.channels_mut()
            && at < channels.due
        {
            channels.due = at;
            self.queue.push(at, Event::Arbitrate(port));
        }
    }

    /// Notes that the buffer of a TLP that came from `port` over one of its channels is freed at `at`. `false`, and nothing is done, if the port has
    /// none.
    pub(super) fn channel_freed(&mut self, port: PortId, weight: Weight, at: Time) -> bool {
        let transmitter = &mut self.transmitters[usize::from(port.0)];
        if transmitter.channels().is_none() {
            return false;
        }
        let back = at.after(transmitter.update_fc);
        let (credits, waiting) = transmitter.channel(usize::from(weight.channel));
        credits[weight.class as usize].give_back_in_all_cases(weight.cost, back);
        if waiting.holds(weight.class) {
            self.look_again(port);
        }
        true
    }

    /// Whether the receiver at `port` has a virtual channel for the traffic class of a TLP that has arrived there.
    pub(super) fn takes_class(&self, port: PortId, tlp: TlpId) -> bool {
        let channels = self.transmitters[usize::from(port.0)].channels();
        channels.is_none_or(|channels| channels.control.resource_of(self.arena.slot(tlp).header.tc()).is_some())
    }

    /// Takes over what software has set of the virtual channels of a port, if its registers have them.
    #[inline]
    pub(super) fn set_channels_by(&mut self, port: PortId, config: &ConfigSpace) {
        if let Some(control) = config.virtual_channels() {
            self.set_channels(port, &control);
            if let Some(channels) = self.transmitters[usize::from(port.0)].channels_mut() {
                channels.arbiter.select(control.low_priority, control.phases, config.vc_arbitration_table());
            }
        }
    }

    /// Shows in the registers of a port which of its virtual channels work.
    #[inline]
    pub(super) fn show_channels(&self, port: PortId, config: &mut ConfigSpace) {
        if let Some(control) = config.virtual_channels() {
            let working = (0_u8..8).zip(control.resources());
            let bits = working.filter(|(number, resource)| {
                self.far_end(port, &control, usize::from(*number)).is_some() && self.is_initialized(port, resource.id)
            });
            config.set_working_channels(bits.fold(0, |bits, (number, _)| bits | 1 << number));
        }
    }

    /// The registers of a port were reset.
    pub(super) fn reset_channels(&mut self, port: PortId) {
        self.set_channels(port, &VcControl::PLAIN);
        if let Some(channels) = self.transmitters[usize::from(port.0)].channels_mut() {
            channels.arbiter.select(0, 0, &[]);
        }
    }

    fn set_channels(&mut self, port: PortId, control: &VcControl) {
        let known = self.transmitters[usize::from(port.0)].channels();
        if known.map_or_else(|| control.is_plain(), |channels| channels.control == *control) {
            return;
        }
        for end in [port, port.peer()] {
            self.transmitters[usize::from(end.0)].make_special().channels.get_or_insert_with(|| Channels::new(&[]));
        }
        if let Some(channels) = self.transmitters[usize::from(port.0)].channels_mut() {
            channels.control = *control;
        }
        for end in [port, port.peer()] {
            self.map_classes(end);
        }
    }

    /// Finds the channels of all traffic classes at a port anew.
    fn map_classes(&mut self, port: PortId) {
        let Some(control) = self.transmitters[usize::from(port.0)].channels().map(|channels| channels.control) else {
            return;
        };
        let far = |resource| self.far_end(port, &control, resource).map(|far| far as u8);
        let routes = [0, 1, 2, 3, 4, 5, 6, 7].map(|tc| control.resource_of(tc).and_then(far));
        let (mut ids, mut pairs) = ([0; MAX_CHANNELS], [None; MAX_CHANNELS]);
        for ((number, resource), pair) in control.resources().iter().enumerate().zip(&mut pairs).skip(1) {
            let Some(far) = far(number) else { continue };
            *pair = Some(Pair { id: resource.id, far });
            if let Some(id) = ids.get_mut(usize::from(far)) {
                *id = resource.id;
            }
        }
        if let Some(channels) = self.transmitters[usize::from(port.0)].channels_mut() {
            channels.routes = routes;
            channels.arbiter.set_ids(ids);
        }
        self.set_exact_channels(port, pairs);
    }

    /// The VC resource at the other end with the VC ID of resource `number` of `control`, if the channel works: it's enabled at both ends, and
    /// both have buffers for it.
    fn far_end(&self, port: PortId, control: &VcControl, number: usize) -> Option<usize> {
        if number == 0 {
            return Some(0);
        }
        let id = control.resources().get(number).filter(|resource| resource.enabled && resource.id != 0)?.id;
        let (near, far) = (&self.transmitters[usize::from(port.0)], &self.transmitters[usize::from(port.peer().0)]);
        let other = far.channels()?.control.with_id(id)?;
        let buffers = near.channels()?.pools.len() >= other && far.channels()?.pools.len() >= number;
        (control.with_id(id) == Some(number) && other != 0 && buffers).then_some(other)
    }
}
