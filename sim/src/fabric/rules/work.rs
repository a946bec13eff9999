//! What rules have done that isn't over yet: TLPs that are held, credits that are withheld, links that are down.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Limits, Rules};
use crate::fabric::arena::Weight;
use crate::fabric::{PortId, TlpId};
use crate::probe::LinkId;
use crate::time::Time;
use crate::tlp::Class;

/// Most TLPs that are held at the same time (ours). A rule that would hold another one doesn't fire.
pub const MAX_HELD: usize = 4_096;

/// What a rule has made happen at a time, as the number in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A TLP that's held goes, if it's still there.
    Held(u32),
    /// The rule of this index fires.
    Timed(u32),
    /// Credits of this port come back.
    Credits(u32),
    /// This link goes down.
    Cut(u32),
    /// This link may come up.
    Mended(u32),
}

impl Due {
    pub(crate) fn token(self) -> u64 {
        let (kind, number) = match self {
            Due::Held(number) => (0, number),
            Due::Timed(number) => (1, number),
            Due::Credits(number) => (2, number),
            Due::Cut(number) => (3, number),
            Due::Mended(number) => (4, number),
        };
        kind << 32 | u64::from(number)
    }

    pub(crate) fn of(token: u64) -> Due {
        let number = token as u32;
        match token >> 32 {
            0 => Due::Held(number),
            1 => Due::Timed(number),
            2 => Due::Credits(number),
            3 => Due::Cut(number),
            _ => Due::Mended(number),
        }
    }
}

/// A TLP that is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    port: PortId,
    tlp: TlpId,
    class: Class,
    /// It goes when so many others of its class have gone after it. `u32::MAX` if it only waits for its time.
    past: u32,
}

/// The most virtual channels that a link has.
const CHANNELS: u8 = 8;

/// Credits that a receiver doesn't give back.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    /// The transmitter that waits for them.
    port: PortId,
    class: Class,
    channel: u8,
    until: Option<Time>,
    /// What was freed meanwhile, as if it were one TLP.
    kept: Option<Weight>,
}

/// Rules, and what they have done that isn't over yet.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) rules: Rules,
    held: BTreeMap<u32, Held>,
    next_held: u32,
    /// How many of these wait for others to pass them.
    waiting_for_others: usize,
    withheld: Vec<Withheld>,
    /// Links that are down, and those that a rule takes down in this moment.
    down: BTreeSet<LinkId>,
}

impl Work {
    /// Rules for a fabric some of whose links are down, in the place of others.
    pub(crate) fn new(rules: Rules, down: BTreeSet<LinkId>, old: Option<&Work>) -> Work {
        // Events for those that were held may still come.
        let next_held = old.map_or(0, |old| old.next_held);
        Work { rules, held: BTreeMap::new(), next_held, waiting_for_others: 0, withheld: Vec::new(), down }
    }

    /// What can't happen now on a link.
    pub(crate) fn limits(&self, link: LinkId) -> Limits {
        Limits { full: self.held.len() >= MAX_HELD, down: self.is_down(link) }
    }

    /// Whether a link is down: then rules see nothing of what's sent there, which is lost in any case.
    pub(crate) fn is_down(&self, link: LinkId) -> bool {
        self.down.contains(&link)
    }

    /// A link is down, or isn't any more.
    pub(crate) fn set_down(&mut self, link: LinkId, is_down: bool) {
        if is_down {
            self.down.insert(link);
        } else {
            self.down.remove(&link);
        }
    }

    /// Holds a TLP of a class back at a port; `past` is for how many others of its class at most. Gives what is due when its time has come.
    pub(crate) fn hold(&mut self, port: PortId, tlp: TlpId, class: Class, past: u32) -> Due {
        let number = self.next_held;
        self.next_held = self.next_held.wrapping_add(1);
        self.held.insert(number, Held { port, tlp, class, past });
        self.waiting_for_others += usize::from(past != u32::MAX);
        Due::Held(number)
    }

    /// Lets a TLP go that was held.
    pub(crate) fn release(&mut self, number: u32) -> Option<(PortId, TlpId)> {
        let held = self.held.remove(&number)?;
        self.waiting_for_others -= usize::from(held.past != u32::MAX);
        Some((held.port, held.tlp))
    }

    /// Notes that another TLP has passed those that are held at its port: gives one that goes now, and must then be called again
    /// with `count` false.
    pub(crate) fn passed(&mut self, port: PortId, class: Class, count: bool) -> Option<TlpId> {
        if self.waiting_for_others == 0 {
            return None;
        }
        let mut ready = None;
        for (&number, held) in &mut self.held {
            if held.port == port && held.class == class && held.past != u32::MAX {
                held.past = held.past.saturating_sub(u32::from(count));
                if held.past == 0 && ready.is_none() {
                    ready = Some(number);
                }
            }
        }
        ready.and_then(|number| self.release(number)).map(|(_, tlp)| tlp)
    }

    /// The first TLP that's held at a port of a link, or at any: it goes now.
    pub(crate) fn release_of(&mut self, link: Option<LinkId>) -> Option<(PortId, TlpId)> {
        let mut held = self.held.iter();
        let (&number, _) = held.find(|(_, held)| link.is_none_or(|link| held.port.link() == link))?;
        self.release(number)
    }

    /// From now on no credits come back to a port, of one virtual channel or of all.
    pub(crate) fn withhold(&mut self, port: PortId, class: Class, channel: Option<u8>, until: Option<Time>) {
        match channel {
            Some(channel) => self.withhold_of(port, class, channel, until),
            None => (0..CHANNELS).for_each(|channel| self.withhold_of(port, class, channel, until)),
        }
    }

    fn withhold_of(&mut self, port: PortId, class: Class, channel: u8, until: Option<Time>) {
        let same = |entry: &&mut Withheld| entry.port == port && entry.class == class && entry.channel == channel;
        match self.withheld.iter_mut().find(same) {
            Some(entry) => entry.until = entry.until.zip(until).map(|(one, other)| one.max(other)),
            None => self.withheld.push(Withheld { port, class, channel, until, kept: None }),
        }
    }

    /// Keeps what would be freed for a port at `at`, if its credits are withheld then.
    pub(crate) fn keeps(&mut self, port: PortId, freed: Weight, at: Time) -> bool {
        let entry = self.withheld.iter_mut().find(|entry| {
            entry.port == port
                && entry.class == freed.class
                && entry.channel == freed.channel
                && entry.until.is_none_or(|until| at < until)
        });
        let Some(entry) = entry else { return false };
        entry.kept = Some(match entry.kept {
            None => freed,
            Some(kept) => Weight { cost: kept.cost.and(freed.cost), ..kept },
        });
        true
    }

    /// The next credits of a port that come back: those whose time is over by `now`, or any. There can be more.
    pub(crate) fn give_back(&mut self, port: PortId, now: Option<Time>) -> Option<Option<Weight>> {
        let over = |entry: &Withheld| {
            entry.port == port && now.is_none_or(|now| entry.until.is_some_and(|until| until <= now))
        };
        let at = self.withheld.iter().position(over)?;
        Some(self.withheld.remove(at).kept)
    }

    /// Ports to which credits don't come back.
    pub(crate) fn starved(&self) -> Vec<PortId> {
        self.withheld.iter().map(|entry| entry.port).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        for due in [Due::Held, Due::Timed, Due::Credits, Due::Cut, Due::Mended] {
            for number in [0, 7, u32::MAX] {
                assert_eq!(Due::of(due(number).token()), due(number));
            }
        }
    }
}
