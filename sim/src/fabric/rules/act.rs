//! What rules do to TLPs and links.

use super::engine::{Passing, Rules, Witness};
use super::fired::Fired;
use super::rule::{Action, Change, Draw};
use super::text::RuleError;
use super::work::{Due, Work};
use crate::event::EventQueue;
use crate::fabric::Fabric;
use crate::fabric::arena::{MAX_PAYLOAD, MAX_PREFIX_BYTES, NO_TICKET, TlpId};
use crate::fabric::core::{Core, Event};
use crate::fabric::ids::PortId;
use crate::probe::{Direction, LinkId};
use crate::time::Time;
use crate::tlp::{Header, Malformed, Tlp};

/// The most that a TLP can have on the wire: prefixes, header, payload and digest.
const MAX_TLP: usize = MAX_PREFIX_BYTES + 16 + MAX_PAYLOAD + 4;
/// EP in DW 0.
const EP: u32 = 1 << 14;

/// What becomes of a TLP.
enum Fate {
    /// It goes on.
    Goes,
    Vanishes,
    /// It's held for so long, or until so many others have gone.
    Held(Time, u32),
}

impl Core {
    /// Asks the rules about a TLP that is to be sent from `port`, and does what they say.
    pub(crate) fn send_by_rules(&mut self, port: PortId, tlp: TlpId) {
        let Some(work) = self.rules.as_mut().filter(|work| !work.is_down(port.link())) else {
            return self.send_past_rules(port, tlp);
        };
        let slot = self.arena.slot(tlp);
        let passing = Passing {
            link: port.link(),
            direction: port.direction(),
            sequence: work.rules.next_sequence(port),
            at: self.now,
            header: &slot.header,
            payload: self.arena.payload(tlp),
            digest: self.arena.extra(slot).is_some_and(|extra| extra.digest.is_some()),
        };
        let limits = work.limits(port.link());
        let deeds = work.rules.consult(port, &passing, limits);
        if deeds.is_empty() {
            self.pass(port, tlp);
        } else {
            let deeds = deeds.to_vec();
            self.carry_out(port, tlp, &deeds);
        }
    }

    /// Sends a TLP past those that are held until others have gone.
    fn pass(&mut self, port: PortId, tlp: TlpId) {
        let class = self.arena.slot(tlp).weight.class;
        self.send_past_rules(port, tlp);
        let mut count = true;
        while let Some(held) = self.rules.as_mut().and_then(|work| work.passed(port, class, count)) {
            count = false;
            self.send_past_rules(port, held);
        }
    }

    fn carry_out(&mut self, port: PortId, tlp: TlpId, deeds: &[Action]) {
        let tlp = self.corrupt(tlp, deeds);
        let mut fate = Fate::Goes;
        let mut copies = Vec::new();
        for deed in deeds {
            match *deed {
                Action::Duplicate { after } => copies.push((after.min, self.copy(tlp))),
                Action::Drop => fate = Fate::Vanishes,
                Action::Delay { by, in_order: false } => fate = Fate::Held(by.min, u32::MAX),
                Action::Delay { by: Draw { min, .. }, .. } => {
                    self.transmitters[usize::from(port.0)].stall(self.now, min);
                }
                Action::Reorder { past, limit } => fate = Fate::Held(limit, past),
                Action::BadLcrc { replays } => self.bad_lcrc(port, tlp, replays),
                Action::WithholdCredits { class, channel, duration } => {
                    let class = class.unwrap_or(self.arena.slot(tlp).weight.class);
                    self.withhold(port, class, channel, duration);
                }
                Action::LinkDown { duration } => self.cut(port.link(), duration),
                // Done already.
                Action::CorruptField { .. }
                | Action::CorruptHeader { .. }
                | Action::CorruptPayload { .. }
                | Action::Poison
                | Action::Ecrc { .. } => {}
            }
        }
        match fate {
            Fate::Goes => self.pass(port, tlp),
            Fate::Vanishes => self.vanish(port, tlp),
            Fate::Held(limit, past) => self.hold_back(port, tlp, limit, past),
        }
        for (after, copy) in copies {
            if after == Time::ZERO {
                self.send_past_rules(port, copy);
            } else {
                self.hold_back(port, copy, after, u32::MAX);
            }
        }
    }

    fn hold_back(&mut self, port: PortId, tlp: TlpId, limit: Time, past: u32) {
        let class = self.arena.slot(tlp).weight.class;
        if let Some(work) = &mut self.rules {
            let due = work.hold(port, tlp, class, past);
            self.queue.push(self.now + limit, Event::Fault(due.token()));
        }
    }

    /// Ends a TLP that will never be sent. An access that waits for it to leave is told that it has.
    fn vanish(&mut self, port: PortId, tlp: TlpId) {
        let ticket = self.arena.slot(tlp).ticket;
        if ticket != NO_TICKET {
            self.tell_left(port, ticket, self.now);
        }
        self.end_unseen(tlp);
    }

    /// Ends a TLP that wasn't delivered, so nobody is told that it was.
    fn end_unseen(&mut self, tlp: TlpId) {
        let probe = self.probe.take();
        self.consume(tlp);
        self.probe = probe;
    }

    /// Another TLP that is like this one on the wire, whatever its bytes are.
    fn copy(&mut self, tlp: TlpId) -> TlpId {
        let copy = self.duplicate(tlp);
        let slot = self.arena.slot(tlp);
        if slot.has_changed() {
            let raw = slot.raw;
            self.arena.slot_mut(copy).change_bytes(raw);
        }
        copy
    }

    /// A TLP is to arrive with a wrong LCRC so often. Where the data link layer is only a matter of time, this is its loss of time.
    fn bad_lcrc(&mut self, port: PortId, tlp: TlpId, replays: u8) {
        if self.is_exact(port) {
            self.break_lcrc_of(port, tlp, replays.into());
            return;
        }
        let weight = self.arena.slot(tlp).weight;
        self.transmitters[usize::from(port.0)].replay(weight, self.now, replays);
    }

    fn withhold(&mut self, port: PortId, class: crate::tlp::Class, channel: Option<u8>, duration: Option<Time>) {
        let until = duration.map(|span| self.now + span);
        if let Some(work) = &mut self.rules {
            work.withhold(port, class, channel, until);
        }
        if let Some(until) = until {
            self.queue.push(until, Event::Fault(Due::Credits(port.0.into()).token()));
        }
    }

    /// Gives back what was withheld from a port, if its time is over, or in any case.
    fn give_back(&mut self, port: PortId, now: Option<Time>) {
        while let Some(kept) = self.rules.as_mut().and_then(|work| work.give_back(port, now)) {
            if let Some(weight) = kept {
                self.free_buffer_in_all_cases(port, weight, self.now);
            }
        }
    }

    /// A link is to go down when everything that happens at this moment has happened, and to be trained again so much later.
    fn cut(&mut self, link: LinkId, duration: Option<Time>) {
        if let Some(work) = &mut self.rules {
            work.set_down(link, true);
        }
        self.queue.push(self.now, Event::Fault(Due::Cut(link.0.into()).token()));
        if let Some(span) = duration {
            self.queue.push(self.now + span, Event::Fault(Due::Mended(link.0.into()).token()));
        }
    }

    /// A link has gone down: what rules hold back on it goes and is lost, and flow control begins anew.
    pub(crate) fn link_went_down(&mut self, link: LinkId) {
        if let Some(work) = &mut self.rules {
            work.set_down(link, true);
            self.let_go(Some(link));
        }
    }

    /// A link is up again.
    pub(crate) fn link_came_up(&mut self, link: LinkId) {
        if let Some(work) = &mut self.rules {
            work.set_down(link, false);
        }
    }

    /// Ends what rules have done to a link, or to all, apart from its being down.
    fn let_go(&mut self, link: Option<LinkId>) {
        let starved = self.rules.as_ref().map_or_else(Vec::new, |work| work.starved());
        for port in starved.into_iter().filter(|port| link.is_none_or(|link| port.link() == link)) {
            self.give_back(port, None);
        }
        while let Some((port, tlp)) = self.rules.as_mut().and_then(|work| work.release_of(link)) {
            self.send_past_rules(port, tlp);
        }
    }

    /// Does to the bytes of a TLP what `deeds` say. It can be another one after that.
    fn corrupt(&mut self, tlp: TlpId, deeds: &[Action]) -> TlpId {
        let header = *self.header(tlp);
        let mut dws = header.dws();
        for deed in deeds {
            match *deed {
                Action::CorruptField { field, change: Change::To(value) } => field.put(&header, &mut dws, value),
                Action::CorruptHeader { bit: Some(bit) } => {
                    if let Some(dw) = dws.get_mut(usize::from(bit / 32)) {
                        *dw ^= 1 << (bit % 32);
                    }
                }
                Action::Poison => dws[0] |= EP,
                Action::CorruptPayload { bit: Some(bit) } => {
                    if let Some(byte) = self.payload_mut(tlp).get_mut(usize::from(bit / 8)) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
                Action::Ecrc { bit: Some(bit) } => {
                    let mut extra = self.arena.extra(self.arena.slot(tlp)).copied();
                    if let Some((extra, digest)) = extra.as_mut().and_then(|extra| Some((*extra, extra.digest?))) {
                        let digest = (u32::from_be_bytes(digest) ^ 1 << (bit % 32)).to_be_bytes();
                        self.arena.set_extra(tlp, crate::fabric::arena::Extra { digest: Some(digest), ..extra });
                    }
                }
                _ => {}
            }
        }
        if dws == header.dws() { tlp } else { self.put_header(tlp, dws) }
    }

    /// Puts other bytes in the place of a TLP's header. If there's still a TLP that is as long, that's what is sent; if not, the next
    /// receiver finds out.
    fn put_header(&mut self, tlp: TlpId, dws: [u32; 4]) -> TlpId {
        let old = *self.header(tlp);
        let mut raw = [0; 16];
        for (bytes, dw) in raw.as_chunks_mut::<4>().0.iter_mut().zip(dws) {
            *bytes = dw.to_be_bytes();
        }
        self.arena.slot_mut(tlp).change_bytes(raw);
        let mut buffer = [0; MAX_TLP];
        let Ok(new) = Tlp::parse(self.wire_bytes(tlp, &mut buffer)) else { return tlp };
        let header = new.header;
        let shape = |header: &Header| (header.class(), header.header_len(), header.payload_len(), header.td());
        if shape(&header) == shape(&old) {
            self.rewrite(tlp, header);
            return tlp;
        }
        // It takes other credits than before: it's another TLP.
        let prefixes: Vec<u8> = new.prefixes.iter().flat_map(|prefix| prefix.dw().to_be_bytes()).collect();
        let (born, ticket) = (self.arena.slot(tlp).born, self.arena.slot(tlp).ticket);
        let other = self.arena.insert(header, born);
        self.payload_mut(other).copy_from_slice(new.payload);
        if !prefixes.is_empty() || new.digest.is_some() {
            // As many as there were: there's room.
            let _ = self.decorate(other, &prefixes, new.digest.map(u32::to_be_bytes));
        }
        self.arena.slot_mut(other).ticket = ticket;
        self.end_unseen(tlp);
        other
    }

    /// Writes a TLP as it is on the wire.
    fn wire_bytes<'a>(&self, tlp: TlpId, buffer: &'a mut [u8; MAX_TLP]) -> &'a [u8] {
        let slot = self.arena.slot(tlp);
        let extra = self.arena.extra(slot);
        let digest = extra.and_then(|extra| extra.digest);
        let header = slot.raw.get(..slot.header.header_len()).unwrap_or(&slot.raw);
        let mut len = 0;
        for part in [self.prefixes(tlp), header, self.payload(tlp), digest.as_ref().map_or(&[][..], |digest| digest)] {
            if let Some(place) = buffer.get_mut(len..len + part.len()) {
                place.copy_from_slice(part);
                len += part.len();
            }
        }
        buffer.get(..len).unwrap_or(&[])
    }

    /// Takes the header of a TLP that has been received from its bytes, which have changed on the way: none of them may be missing, or too many.
    ///
    /// # Errors
    /// The rule that the bytes break.
    #[cold]
    pub(crate) fn decode_anew(&mut self, tlp: TlpId) -> Result<(), Malformed> {
        let mut buffer = [0; MAX_TLP];
        let header = Tlp::parse(self.wire_bytes(tlp, &mut buffer))?.header;
        self.arena.slot_mut(tlp).replace_header(header);
        Ok(())
    }

    /// Whether the credits of a buffer that's freed at `at` aren't to be given back to `sender` now.
    #[cold]
    pub(crate) fn keeps_credits(&mut self, sender: PortId, weight: crate::fabric::arena::Weight, at: Time) -> bool {
        let weight = self.transmitters[usize::from(sender.0)].kept_weight(weight);
        self.rules.as_mut().is_some_and(|work| work.keeps(sender, weight, at))
    }
}

impl Fabric {
    /// Has faults happen by rule from now on, by these instead of those before. What those have done ends: TLPs that they hold go, and
    /// credits come back; only what they cut off stays so until its time.
    ///
    /// # Errors
    /// The number of the first rule for a link that isn't there, and what is wrong with it.
    pub fn set_rules(&mut self, rules: Rules) -> Result<(), (usize, RuleError)> {
        rules.check_links(self.core.transmitters.len() / 2)?;
        self.core.let_go(None);
        let links = (0..self.core.transmitters.len() / 2).map(|link| LinkId(link as u16));
        let down = links.filter(|link| self.links.is_down(PortId(link.0 << 1))).collect();
        for (at, number) in rules.timed() {
            self.core.queue.push(at, Event::Fault(Due::Timed(number).token()));
        }
        self.core.rules = Some(Box::new(Work::new(rules, down, self.core.rules.as_deref())));
        self.watch();
        Ok(())
    }

    /// Has `witness` told of each fault by rule as it happens. `false` if there are no rules.
    pub fn witness_faults(&mut self, witness: Witness) -> bool {
        let Some(work) = &mut self.core.rules else { return false };
        work.rules.set_witness(witness);
        true
    }

    /// The rules, and what came of them.
    pub fn rules(&self) -> Option<&Rules> {
        self.core.rules.as_ref().map(|work| &work.rules)
    }

    /// All faults by rule so far.
    pub fn fired(&self) -> &[Fired] {
        self.rules().map_or(&[], Rules::fired)
    }

    /// Sees that the rules see what they're about, of all links that there are.
    pub(crate) fn watch(&mut self) {
        let Core { rules: Some(work), transmitters, .. } = &mut self.core else { return };
        work.rules.cover(transmitters.len());
        for (number, transmitter) in (0..).zip(transmitters.iter_mut()) {
            if work.rules.watches(PortId(number)) {
                transmitter.make_special();
            }
        }
    }

    /// Something that a rule has made happen is due.
    #[cold]
    pub(crate) fn fault_due(&mut self, token: u64) {
        let core = &mut self.core;
        match Due::of(token) {
            Due::Held(number) => {
                if let Some((port, tlp)) = core.rules.as_mut().and_then(|work| work.release(number)) {
                    core.send_past_rules(port, tlp);
                }
            }
            Due::Timed(number) => {
                let now = core.now;
                let fired = core.rules.as_mut().and_then(|work| {
                    let link = work.rules.link_of(number)?;
                    let limits = work.limits(link);
                    work.rules.at_its_time(number, now, limits)
                });
                match fired {
                    Some(Fired { link, action: Action::LinkDown { duration }, .. }) => core.cut(link, duration),
                    Some(Fired {
                        link,
                        direction: Some(direction),
                        action: Action::WithholdCredits { class: Some(class), channel, duration },
                        ..
                    }) => {
                        let port = PortId(link.0 << 1 | u16::from(direction == Direction::Upstream));
                        core.transmitters[usize::from(port.0)].make_special();
                        core.withhold(port, class, channel, duration);
                    }
                    _ => {}
                }
            }
            Due::Credits(port) => {
                let now = core.now;
                core.give_back(PortId(port as u16), Some(now));
            }
            Due::Cut(link) => self.cut_link(LinkId(link as u16), true),
            Due::Mended(link) => self.cut_link(LinkId(link as u16), false),
        }
    }
}
