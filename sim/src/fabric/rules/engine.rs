//! The rules of a fabric at work: which of them fire for a TLP, and what is done.

use super::fired::Fired;
use super::rule::{Action, Change, Draw, LinkRef, MAX_RULES, Occasion, Rule};
use super::text::{Line, RuleError};
use crate::fabric::PortId;
use crate::probe::{Direction, LinkId};
use crate::rng::Rng;
use crate::time::Time;
use crate::tlp::Header;

/// Most faults of a fabric (ours): after them no rule fires any more.
pub const MAX_FIRED: usize = MAX_RULES;

/// A TLP that is about to be sent over a link.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The link.
    pub link: LinkId,
    /// In which direction.
    pub direction: Direction,
    /// Its number on that link and direction, from 0 on, counted from when rules were set.
    pub sequence: u64,
    /// When.
    pub at: Time,
    /// Its header.
    pub header: &'a Header,
    /// Its payload, in wire order; empty if it has none.
    pub payload: &'a [u8],
    /// Whether it has a digest (ECRC).
    pub digest: bool,
}

/// A program that says what happens to a TLP.
pub type Program = Box<dyn FnMut(&Passing<'_>) -> Option<Action> + Send>;

/// Somebody who is told of each fault as it happens.
pub type Witness = Box<dyn FnMut(&Fired) + Send>;

/// A rule at work.
#[derive(Debug)]
struct State {
    rule: Rule,
    /// The link that it names.
    link: Option<LinkId>,
    rng: Rng,
    /// TLPs that it's about.
    matched: u64,
    fired: u64,
}

/// The rules for one port.
#[derive(Clone, Debug, Default)]
struct PortRules {
    /// TLPs so far.
    sequence: u64,
    /// Rules for any TLP, by number.
    any: Vec<u32>,
    /// Rules for one TLP: its sequence number, and theirs.
    one: Vec<(u64, u32)>,
    /// How many of these are over.
    over: usize,
}

/// The rules of a fabric, and what came of them.
pub struct Rules {
    states: Vec<State>,
    program: Option<(Program, Rng)>,
    ports: Vec<PortRules>,
    fired: Vec<Fired>,
    witness: Option<Witness>,
    differed: u64,
    /// Rules that may concern the TLP at hand. Reused.
    candidates: Vec<u32>,
    /// What is to be done to the TLP at hand. Reused.
    deeds: Vec<Action>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("rules", &self.states.len())
            .field("fired", &self.fired.len())
            .finish_non_exhaustive()
    }
}

/// What can't happen now, although a rule says so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// No TLP more can be held.
    pub(crate) full: bool,
    /// The link is down already.
    pub(crate) down: bool,
}

impl Rules {
    /// These rules, each with draws of its own from `seed`. `link_of` gives the link of a name.
    ///
    /// # Errors
    /// The first rule that can't be one: its number, from 1 on, and what's wrong with it.
    pub fn new(
        rules: impl IntoIterator<Item = Rule>,
        seed: u64,
        link_of: impl Fn(&str) -> Option<LinkId>,
    ) -> Result<Rules, (usize, RuleError)> {
        let mut states = Vec::new();
        for (number, rule) in (1..).zip(rules) {
            let wrong = |error| (number, error);
            if number > MAX_RULES {
                return Err(wrong(RuleError::new("faults", number, format!("at most {MAX_RULES} rules"))));
            }
            let rule = Rule::try_from(Line::from(rule)).map_err(wrong)?;
            let link = match &rule.link {
                None => None,
                Some(LinkRef::Number(number)) => Some(LinkId(*number)),
                Some(LinkRef::Name(name)) => {
                    let unknown = || wrong(RuleError::new("link", format!("{name:?}"), "there's no link of this name"));
                    Some(link_of(name).ok_or_else(unknown)?)
                }
            };
            let rng = Rng::stream(seed, &format!("fault {number}"));
            states.push(State { rule, link, rng, matched: 0, fired: 0 });
        }
        Ok(Rules {
            states,
            program: None,
            ports: Vec::new(),
            fired: Vec::new(),
            witness: None,
            differed: 0,
            candidates: Vec::new(),
            deeds: Vec::new(),
        })
    }

    /// Lets a program, too, say what happens to each TLP that no rule has taken away. What it wants drawn is drawn from `seed`.
    #[must_use]
    pub fn with_program(mut self, seed: u64, program: Program) -> Rules {
        self.program = Some((program, Rng::stream(seed, "fault program")));
        self
    }

    /// Tells `witness` of each fault as it happens: for whoever may not be there any more when it's over.
    pub(crate) fn set_witness(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    /// All faults so far.
    pub fn fired(&self) -> &[Fired] {
        &self.fired
    }

    /// How often each rule has fired, in their order.
    pub fn counts(&self) -> impl Iterator<Item = (&Rule, u64)> {
        self.states.iter().map(|state| (&state.rule, state.fired))
    }

    /// How many TLPs rules were asked about: one that crosses three links counts three times.
    pub fn seen(&self) -> u64 {
        self.ports.iter().map(|port| port.sequence).sum()
    }

    /// Of the faults that are the replay of others, how many met another TLP than those, or another time.
    pub fn differed(&self) -> u64 {
        self.differed
    }

    /// The first rule for a link that isn't there, of so many.
    pub(crate) fn check_links(&self, links: usize) -> Result<(), (usize, RuleError)> {
        let missing = |state: &State| state.link.is_some_and(|link| usize::from(link.0) >= links);
        match self.states.iter().position(missing) {
            Some(at) => {
                let number = self.states[at].link.map_or(0, |link| link.0);
                Err((at + 1, RuleError::new("link", number, format!("the fabric has {links} links"))))
            }
            None => Ok(()),
        }
    }

    /// Makes the tables for so many ports. Those that are there keep their counts.
    pub(crate) fn cover(&mut self, ports: usize) {
        for port in self.ports.len()..ports {
            let port = PortId(port as u16);
            let mut table = PortRules::default();
            for (state, number) in self.states.iter().zip(0..) {
                let Rule { direction, occasion, .. } = &state.rule;
                let here = state.link.is_none_or(|link| link == port.link())
                    && direction.is_none_or(|direction| direction == port.direction());
                match occasion.sequence {
                    _ if !here || occasion.at.is_some() => {}
                    Some(sequence) => table.one.push((sequence, number)),
                    None => table.any.push(number),
                }
            }
            table.one.sort_unstable();
            self.ports.push(table);
        }
    }

    /// Whether there can be a fault at a port because of a TLP.
    pub(crate) fn watches(&self, port: PortId) -> bool {
        let rules = self.ports.get(usize::from(port.0));
        self.program.is_some() || rules.is_some_and(|rules| !rules.any.is_empty() || !rules.one.is_empty())
    }

    /// The rules that fire at a time: when, and the rule's index.
    pub(crate) fn timed(&self) -> impl Iterator<Item = (Time, u32)> {
        self.states.iter().zip(0..).filter_map(|(state, number)| Some((state.rule.occasion.at?, number)))
    }

    /// The link that a rule names.
    pub(crate) fn link_of(&self, number: u32) -> Option<LinkId> {
        self.states.get(number as usize)?.link
    }

    /// The time of a rule has come: gives link, direction and what is to be done.
    pub(crate) fn at_its_time(&mut self, number: u32, now: Time, limits: Limits) -> Option<Fired> {
        if self.fired.len() >= MAX_FIRED {
            return None;
        }
        let state = self.states.get_mut(number as usize)?;
        let Rule { direction, action, origin, occasion, .. } = &state.rule;
        // An event for a rule that was there before can still come.
        if state.fired > 0 || occasion.at.is_none_or(|at| at > now) {
            return None;
        }
        if matches!(action, Action::LinkDown { .. }) && limits.down {
            return None;
        }
        let link = state.link?;
        let fired = Fired {
            rule: number + 1,
            link,
            direction: *direction,
            sequence: None,
            at: now,
            header: None,
            action: *action,
        };
        state.fired += 1;
        self.differed += u64::from(origin.as_ref().is_some_and(|origin| origin.at != now));
        note(&mut self.fired, &mut self.witness, fired.clone());
        Some(fired)
    }

    /// The number of the next TLP at a port: it's about to be sent.
    pub(crate) fn next_sequence(&mut self, port: PortId) -> u64 {
        let Some(rules) = self.ports.get_mut(usize::from(port.0)) else { return 0 };
        rules.sequence += 1;
        rules.sequence - 1
    }

    /// What is to be done to a TLP, with all that had to be drawn, in the order of the rules. What takes the TLP away is the last.
    pub(crate) fn consult(&mut self, port: PortId, tlp: &Passing<'_>, limits: Limits) -> &[Action] {
        self.deeds.clear();
        let Some(rules) = self.ports.get_mut(usize::from(port.0)) else { return &self.deeds };
        self.candidates.clear();
        while let Some(&(sequence, number)) = rules.one.get(rules.over).filter(|(wanted, _)| *wanted <= tlp.sequence) {
            if sequence == tlp.sequence {
                self.candidates.push(number);
            }
            rules.over += 1;
        }
        if self.candidates.is_empty() {
            self.candidates.extend_from_slice(&rules.any);
        } else if !rules.any.is_empty() {
            self.candidates.extend_from_slice(&rules.any);
            self.candidates.sort_unstable();
        }
        for &number in &self.candidates {
            let Some(state) = self.states.get_mut(number as usize) else { continue };
            if self.fired.len() >= MAX_FIRED {
                break;
            }
            let Some(action) = state.fires(tlp, limits) else { continue };
            if let Some(origin) = &state.rule.origin {
                self.differed += u64::from(origin.at != tlp.at || origin.header != Some(tlp.header.dws()));
            }
            note(&mut self.fired, &mut self.witness, record(number + 1, tlp, action));
            self.deeds.push(action);
            if action.takes_away() {
                return &self.deeds;
            }
        }
        if let Some((program, rng)) = &mut self.program
            && self.fired.len() < MAX_FIRED
            && let Some(action) = program(tlp)
            && let Some(action) = action.settled(tlp, limits, rng)
        {
            note(&mut self.fired, &mut self.witness, record(0, tlp, action));
            self.deeds.push(action);
        }
        &self.deeds
    }
}

/// Puts a fault into the record.
fn note(fired: &mut Vec<Fired>, witness: &mut Option<Witness>, fault: Fired) {
    if let Some(witness) = witness {
        witness(&fault);
    }
    fired.push(fault);
}

fn record(rule: u32, tlp: &Passing<'_>, action: Action) -> Fired {
    let Passing { link, direction, sequence, at, header, .. } = *tlp;
    Fired { rule, link, direction: Some(direction), sequence: Some(sequence), at, header: Some(header.dws()), action }
}

impl State {
    /// What it does to a TLP, if it's about it, can do it, and it's its turn.
    fn fires(&mut self, tlp: &Passing<'_>, limits: Limits) -> Option<Action> {
        let Occasion { from, until, skip, every, probability_ppm, times, .. } = self.rule.occasion;
        if self.fired >= times || tlp.at < from || tlp.at >= until || !self.rule.filter.takes(tlp.header) {
            return None;
        }
        if !self.rule.action.applies(tlp) {
            return None;
        }
        let number = self.matched;
        self.matched += 1;
        if number < skip || !(number - skip).is_multiple_of(every) {
            return None;
        }
        if probability_ppm < 1_000_000 && self.rng.range(0, 999_999) >= u64::from(probability_ppm) {
            return None;
        }
        let action = self.rule.action.settled(tlp, limits, &mut self.rng)?;
        self.fired += 1;
        Some(action)
    }
}

fn drawn(draw: Draw, rng: &mut Rng) -> Time {
    if draw.min == draw.max { draw.min } else { Time(rng.range(draw.min.as_ps(), draw.max.as_ps())) }
}

impl Action {
    /// Whether the TLP is out of the hands of those that come after it.
    fn takes_away(&self) -> bool {
        matches!(self, Action::Drop | Action::Delay { in_order: false, .. } | Action::Reorder { .. })
    }

    /// Whether a TLP has what is to be changed.
    fn applies(&self, tlp: &Passing<'_>) -> bool {
        let header = tlp.header;
        match *self {
            Action::CorruptField { field, change } => match (field.mask(header), change) {
                (None, _) => false,
                (Some(mask), Change::To(value)) => value & !mask == 0 && field.get(header) != Some(value),
                (Some(mask), Change::Xor(bits)) => bits & mask != 0,
                (Some(_), Change::Drawn) => true,
            },
            Action::CorruptHeader { bit: Some(bit) } => usize::from(bit) < header.header_len() * 8,
            Action::CorruptPayload { bit: Some(bit) } => usize::from(bit) < tlp.payload.len() * 8,
            Action::CorruptPayload { bit: None } => !tlp.payload.is_empty(),
            Action::Poison => !tlp.payload.is_empty() && !header.ep(),
            Action::Ecrc { .. } => tlp.digest,
            _ => true,
        }
    }

    /// The same with all that has to be drawn, for a TLP to which it applies; `None` if it can't happen.
    fn settled(&self, tlp: &Passing<'_>, limits: Limits, rng: &mut Rng) -> Option<Action> {
        if !self.applies(tlp) {
            return None;
        }
        let bits = |count: usize, rng: &mut Rng| rng.range(0, (count * 8).saturating_sub(1) as u64);
        Some(match *self {
            Action::Duplicate { .. } | Action::Delay { in_order: false, .. } | Action::Reorder { .. }
                if limits.full =>
            {
                return None;
            }
            Action::LinkDown { .. } if limits.down => return None,
            Action::Duplicate { after } => Action::Duplicate { after: drawn(after, rng).into() },
            Action::Delay { by, in_order } => Action::Delay { by: drawn(by, rng).into(), in_order },
            Action::CorruptField { field, change } => {
                let (mask, value) = (field.mask(tlp.header)?, field.get(tlp.header)?);
                let value = match change {
                    Change::To(value) => value,
                    Change::Xor(bits) => value ^ bits & mask,
                    Change::Drawn => value ^ other_than_none(mask, rng),
                };
                Action::CorruptField { field, change: Change::To(value) }
            }
            Action::CorruptHeader { bit: None } => {
                Action::CorruptHeader { bit: Some(bits(tlp.header.header_len(), rng) as u8) }
            }
            Action::CorruptPayload { bit: None } => {
                Action::CorruptPayload { bit: Some(bits(tlp.payload.len(), rng) as u16) }
            }
            Action::Ecrc { bit: None } => Action::Ecrc { bit: Some(rng.range(0, 31) as u8) },
            Action::WithholdCredits { class: None, channel, duration } => {
                Action::WithholdCredits { class: Some(tlp.header.class()), channel, duration }
            }
            other => other,
        })
    }
}

/// Some of the bits of `mask`, at least one. `mask` isn't 0.
fn other_than_none(mask: u64, rng: &mut Rng) -> u64 {
    let bits = rng.next_u64() & mask;
    // One of them if none was drawn: any, but each as likely.
    if bits == 0 { mask & mask.wrapping_neg() } else { bits }
}
