//! A rule: where, which TLPs, how often, and what happens to them.

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::text::Line;
use crate::probe::{Direction, LinkId};
use crate::time::Time;
use crate::tlp::{Bdf, Class, Header, Kind};

/// Most rules of a fabric (ours): as many as [faults that can happen](super::MAX_FIRED), so that every record can be played again.
pub const MAX_RULES: usize = 1 << 18;
/// The longest span of time in a rule (ours).
pub const MAX_SPAN: Time = Time::ms(100_000);
/// Most TLPs that one is held for, to be sent after them (ours).
pub const MAX_PAST: u32 = 1_000;
/// Most replays of a TLP. At the fourth NAK a real link is trained anew (PCIe base spec 3.6.2.1, REPLAY_NUM).
pub const MAX_REPLAYS: u8 = 3;

/// A link by its number, or by the name that a topology gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LinkRef {
    /// Its number.
    Number(u16),
    /// The name of its lower end.
    Name(String),
}

impl From<LinkId> for LinkRef {
    fn from(link: LinkId) -> LinkRef {
        LinkRef::Number(link.0)
    }
}

/// From the first number to the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

impl Span {
    /// One number.
    pub const fn one(value: u64) -> Span {
        Span { first: value, last: value }
    }

    /// Whether a number is in it.
    pub const fn has(self, value: u64) -> bool {
        self.first <= value && value <= self.last
    }
}

/// Which TLPs a rule is about: all that have everything that's asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their types; any if it's empty.
    pub kinds: Vec<Kind>,
    /// Who made the request; in a completion, whom it goes to.
    pub requester: Option<Bdf>,
    /// Who completed it. Only completions.
    pub completer: Option<Bdf>,
    /// The function that they are for. Only configuration requests and messages routed by ID.
    pub target: Option<Bdf>,
    /// Addresses of which they touch one at least. Only memory and I/O requests.
    pub address: Option<Span>,
    /// Their tag.
    pub tag: Option<Span>,
    /// Their traffic class.
    pub tc: Option<Span>,
    /// Their length in DWs, 1 to 1,024: of the payload, or of what is asked for.
    pub length: Option<Span>,
    /// The message code. Only messages.
    pub message: Option<u8>,
    /// The status, 3 bits. Only completions.
    pub status: Option<u8>,
}

impl Filter {
    /// TLPs of these types.
    pub fn of(kinds: impl Into<Vec<Kind>>) -> Filter {
        Filter { kinds: kinds.into(), ..Filter::default() }
    }

    /// TLPs of this class.
    pub fn of_class(class: Class) -> Filter {
        Filter::of(crate::tlp::KINDS.iter().filter(|row| row.class == class).map(|row| row.kind).collect::<Vec<_>>())
    }

    /// Whether a TLP is one of them.
    pub fn takes(&self, header: &Header) -> bool {
        let value = |field: Field| field.get(header);
        let one = |wanted: Option<u64>, field| wanted.is_none_or(|wanted| value(field) == Some(wanted));
        let span = |wanted: Option<Span>, field| {
            wanted.is_none_or(|wanted| value(field).is_some_and(|found| wanted.has(found)))
        };
        let id = |id: Option<Bdf>| id.map(|id| u64::from(id.0));
        (self.kinds.is_empty() || self.kinds.contains(&header.kind()))
            && one(id(self.requester), Field::Requester)
            && one(id(self.completer), Field::Completer)
            && one(id(self.target), Field::Target)
            && one(self.message.map(u64::from), Field::MessageCode)
            && one(self.status.map(u64::from), Field::Status)
            && span(self.tag, Field::Tag)
            && span(self.tc, Field::Tc)
            && self.length.is_none_or(|length| length.has(header.length_dw().into()))
            && self.address.is_none_or(|wanted| {
                value(Field::Address).is_some_and(|first| {
                    let last = first.saturating_add(u64::from(header.length_dw()) * 4 - 1);
                    first <= wanted.last && wanted.first <= last
                })
            })
    }
}

/// A new value for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This one.
    To(u64),
    /// The old one with these bits turned over.
    Xor(u64),
    /// Another one, drawn.
    Drawn,
}

/// From the first span of time to the last one; one of them is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The shortest.
    pub min: Time,
    /// The longest.
    pub max: Time,
}

impl From<Time> for Draw {
    fn from(span: Time) -> Draw {
        Draw { min: span, max: span }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The TLP vanishes on the wire; its sender takes it for sent.
    Drop,
    /// The TLP is sent a second time, so much later. Others can come between.
    Duplicate {
        /// How much later.
        after: Draw,
    },
    /// The TLP is sent so much later.
    Delay {
        /// How much later.
        by: Draw,
        /// Whether all that comes after it over this link waits, too. If not, it passes the late one, whatever the ordering rules say.
        in_order: bool,
    },
    /// The TLP is held until others of its class that came after it have been sent, or until it has waited long enough.
    Reorder {
        /// How many others.
        past: u32,
        /// How long it waits at most.
        limit: Time,
    },
    /// A field of the header changes. Only headers that have the field, and where something does change.
    CorruptField {
        /// The field.
        field: Field,
        /// To what.
        change: Change,
    },
    /// A bit of the header is turned over.
    CorruptHeader {
        /// Which: 32 times the DW, and the number of the bit in that. Drawn if it isn't said.
        bit: Option<u8>,
    },
    /// A bit of the payload is turned over. Only TLPs that have it.
    CorruptPayload {
        /// Which: 8 times the byte in the order of the wire, and the number of the bit in that. Drawn if it isn't said.
        bit: Option<u16>,
    },
    /// The payload is marked as poisoned (EP). Only TLPs with a payload that isn't marked.
    Poison,
    /// A bit of the digest (ECRC) is turned over. Only TLPs that have one.
    Ecrc {
        /// Which of the 32. Drawn if it isn't said.
        bit: Option<u8>,
    },
    /// The TLP arrives with a wrong LCRC, and is replayed: it and all that follows is late by a NAK's round trip each time.
    BadLcrc {
        /// How often it must be replayed, up to [`MAX_REPLAYS`].
        replays: u8,
    },
    /// From now on the receiver gives no credits back.
    WithholdCredits {
        /// Of which class; that of the TLP if it isn't said.
        class: Option<Class>,
        /// Of which virtual channel, by its index at the port; of all if it isn't said.
        channel: Option<u8>,
        /// For how long; until the link goes down if it isn't said. Then they all come back.
        duration: Option<Time>,
    },
    /// The link goes down. What is on it is lost, the TLP among it.
    LinkDown {
        /// How long until it's trained again; for ever if it isn't said.
        duration: Option<Time>,
    },
}

impl Action {
    /// The names of what can happen, in the order of [`Action`].
    pub const NAMES: [&str; 12] = [
        "drop",
        "duplicate",
        "delay",
        "reorder",
        "corrupt-field",
        "corrupt-header",
        "corrupt-payload",
        "poison",
        "ecrc",
        "bad-lcrc",
        "withhold-credits",
        "link-down",
    ];

    /// Its name in a rule.
    pub fn name(&self) -> &'static str {
        let number = match self {
            Action::Drop => 0,
            Action::Duplicate { .. } => 1,
            Action::Delay { .. } => 2,
            Action::Reorder { .. } => 3,
            Action::CorruptField { .. } => 4,
            Action::CorruptHeader { .. } => 5,
            Action::CorruptPayload { .. } => 6,
            Action::Poison => 7,
            Action::Ecrc { .. } => 8,
            Action::BadLcrc { .. } => 9,
            Action::WithholdCredits { .. } => 10,
            Action::LinkDown { .. } => 11,
        };
        Action::NAMES[number]
    }

    /// Whether it's about a link, so that it can happen at a time, without a TLP.
    pub fn is_of_the_link(&self) -> bool {
        matches!(self, Action::WithholdCredits { .. } | Action::LinkDown { .. })
    }
}

/// When a rule fires, of the TLPs that it's about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// Not before this time.
    pub from: Time,
    /// Not from this time on.
    pub until: Time,
    /// So many TLPs that it's about go by first.
    pub skip: u64,
    /// Of the others the first, and each one of this number after it.
    pub every: u64,
    /// With this probability, in millionths.
    pub probability_ppm: u32,
    /// At most so often.
    pub times: u64,
    /// Only the TLP of this number on its link and direction, from 0 on, counted from when rules were set.
    pub sequence: Option<u64>,
    /// At this time, without a TLP.
    pub at: Option<Time>,
}

impl Default for Occasion {
    fn default() -> Occasion {
        Occasion {
            from: Time::ZERO,
            until: Time::MAX,
            skip: 0,
            every: 1,
            probability_ppm: 1_000_000,
            times: u64::MAX,
            sequence: None,
            at: None,
        }
    }
}

/// What a rule is the replay of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The number of the rule that fired, from 1 on; 0 if it was a program.
    pub rule: u32,
    /// When.
    pub at: Time,
    /// The TLP's header in DWs; none if there was no TLP.
    pub header: Option<[u32; 4]>,
}

/// A fault that happens by rule. As a table `[[faults]]` of TOML:
///
/// | field | for | meaning |
/// |---|---|---|
/// | `kind` | all | what happens: a name of [`Action::NAMES`] |
/// | `link` | all | the link's number, or the name of its lower end; any if it isn't said |
/// | `direction` | all | `"downstream"` or `"upstream"`; both if it isn't said |
/// | `tlp` | all | type (`"MRd64"`), types of both widths (`"MRd"`, `"MWr"`, `"DMWr"`, `"CfgRd"`, `"CfgWr"`, `"AtomicOp"`) or class (`"posted"`, `"nonposted"`, `"completion"`), or a list of these |
/// | `requester`, `completer`, `target` | all | functions: `"03:00.1"` |
/// | `address`, `tag`, `tc`, `length` | all | a number or `[first, last]`; `length` is in DWs, and of `address` one byte must be touched |
/// | `message`, `status` | all | message code; completion status by its short name (`"UR"`) |
/// | `from_ps`, `until_ps` | all | from when on and until when |
/// | `skip`, `every`, `times` | all | how many go by first; then each one of this number; how often at most |
/// | `probability_ppm` | all | how likely it happens to each of them, in millionths |
/// | `sequence` | all | only the TLP of this number on the link and direction |
/// | `at_ps` | `withhold-credits`, `link-down` | at this time, without a TLP; nothing is said of TLPs then |
/// | `delay_ps` | `duplicate`, `delay` | how much later: a number or `[min, max]`, of which one is drawn |
/// | `in_order` | `delay` | whether all that comes after it waits, too |
/// | `past`, `for_ps` | `reorder` | how many others of its class pass it (1), and how long it waits at most (10 us) |
/// | `field`, `value`, `xor` | `corrupt-field` | a name of [`Field::ALL`], and its new value or the bits to be turned over; else drawn |
/// | `bit` | `corrupt-header`, `corrupt-payload`, `ecrc` | which bit; else drawn |
/// | `replays` | `bad-lcrc` | how often it's replayed (1) |
/// | `class`, `channel`, `for_ps` | `withhold-credits` | whose credits, and for how long; until the link goes down if it isn't said |
/// | `for_ps` | `link-down` | how long until the link is trained; for ever if it isn't said |
/// | `fired_by`, `fired_ps`, `header` | all | in the record of what fired: which rule did, when, and the TLP's header |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Rule {
    /// On which link; any if it isn't said.
    pub link: Option<LinkRef>,
    /// In which direction; both if it isn't said.
    pub direction: Option<Direction>,
    /// What it's about.
    pub filter: Filter,
    /// When it fires.
    pub occasion: Occasion,
    /// What happens.
    pub action: Action,
    /// What it's the replay of.
    pub origin: Option<Origin>,
}

impl Rule {
    /// A rule for all TLPs of all links.
    pub fn new(action: Action) -> Rule {
        let (filter, occasion) = (Filter::default(), Occasion::default());
        Rule { link: None, direction: None, filter, occasion, action, origin: None }
    }

    /// The same for one link and direction.
    #[must_use]
    pub fn on(self, link: impl Into<LinkRef>, direction: Direction) -> Rule {
        Rule { link: Some(link.into()), direction: Some(direction), ..self }
    }

    /// The same for these TLPs.
    #[must_use]
    pub fn of(self, filter: Filter) -> Rule {
        Rule { filter, ..self }
    }

    /// The same after so many TLPs that it's about.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Rule {
        self.occasion.skip = skip;
        self
    }

    /// The same for one in so many TLPs that it's about.
    #[must_use]
    pub fn every(mut self, every: u64) -> Rule {
        self.occasion.every = every;
        self
    }

    /// The same, at most so often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Rule {
        self.occasion.times = times;
        self
    }

    /// The same with a probability in millionths.
    #[must_use]
    pub fn probability_ppm(mut self, probability_ppm: u32) -> Rule {
        self.occasion.probability_ppm = probability_ppm;
        self
    }

    /// The same, from one time on until another.
    #[must_use]
    pub fn between(mut self, from: Time, until: Time) -> Rule {
        (self.occasion.from, self.occasion.until) = (from, until);
        self
    }

    /// At a time, without a TLP.
    #[must_use]
    pub fn at(mut self, at: Time) -> Rule {
        self.occasion.at = Some(at);
        self
    }
}
