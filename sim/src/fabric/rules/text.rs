//! A rule as it's written down, and whether it can be one.

use serde::{Deserialize, Serialize};

use super::field::{Field, kinds_of_name};
use super::rule::{
    Action, Change, Draw, Filter, LinkRef, MAX_PAST, MAX_REPLAYS, MAX_SPAN, Occasion, Origin, Rule, Span,
};
use crate::probe::Direction;
use crate::time::Time;
use crate::tlp::{Bdf, Class, MAX_BYTES, Status};

/// What's wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {rule}")]
pub struct RuleError {
    /// The field.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What would be right.
    pub rule: String,
}

impl RuleError {
    pub(super) fn new(field: &'static str, value: impl std::fmt::Display, rule: impl Into<String>) -> RuleError {
        RuleError { field, value: value.to_string(), rule: rule.into() }
    }
}

/// A number, or the first and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(u64),
    Two([u64; 2]),
}

impl Numbers {
    /// Both ends, if they're in this order and not above `max`.
    fn within(self, field: &'static str, max: u64) -> Result<Span, RuleError> {
        let [first, last] = match self {
            Numbers::One(value) => [value; 2],
            Numbers::Two(ends) => ends,
        };
        if first > last {
            return Err(RuleError::new(field, format!("[{first}, {last}]"), "the first one is the larger one"));
        }
        in_range(field, last, 0, max)?;
        Ok(Span { first, last })
    }
}

impl From<Span> for Numbers {
    fn from(span: Span) -> Numbers {
        if span.first == span.last { Numbers::One(span.first) } else { Numbers::Two([span.first, span.last]) }
    }
}

/// A number; beyond the integers of TOML it's a text, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Wide {
    Number(u64),
    Text(String),
}

impl Wide {
    fn value(&self, field: &'static str) -> Result<u64, RuleError> {
        match self {
            Wide::Number(value) => Ok(*value),
            Wide::Text(text) => {
                let value = text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
                let rule = "neither a number nor the text of one in hexadecimal: \"0xffffffff80000000\"";
                value.ok_or_else(|| RuleError::new(field, format!("{text:?}"), rule))
            }
        }
    }
}

impl From<u64> for Wide {
    fn from(value: u64) -> Wide {
        if value <= MAX_NUMBER { Wide::Number(value) } else { Wide::Text(format!("{value:#x}")) }
    }
}

/// A name, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

/// The fields of a rule in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<LinkRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direction: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tlp: Option<Names>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requester: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tc: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skip: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probability_ppm: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ps: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_order: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    past: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Wide>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xor: Option<Wide>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replays: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired_by: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired_ps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
}

/// How long a TLP is held for others at most, if it isn't said.
const REORDER_LIMIT: Time = Time::us(10);
/// The largest integer of TOML: no time and no number in a file can be larger.
const MAX_NUMBER: u64 = i64::MAX as u64;

const CLASSES: [(&str, Class); 3] =
    [("posted", Class::Posted), ("nonposted", Class::NonPosted), ("completion", Class::Completion)];
const DIRECTIONS: [(&str, Direction); 2] = [("downstream", Direction::Downstream), ("upstream", Direction::Upstream)];
const STATUSES: [(&str, Status); 4] = [
    ("SC", Status::Successful),
    ("UR", Status::UnsupportedRequest),
    ("CRS", Status::ConfigRequestRetry),
    ("CA", Status::CompleterAbort),
];

fn in_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<u64, RuleError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(RuleError::new(field, value, format!("allowed is {min} to {max}")))
}

/// A value that must be in a range, and has such a type because of it.
fn small<T: TryFrom<u64>>(field: &'static str, value: u64, min: u64, max: u64) -> Result<T, RuleError> {
    let value = in_range(field, value, min, max)?;
    T::try_from(value).map_err(|_| RuleError::new(field, value, "too large"))
}

/// The value that a name stands for.
fn named<T: Copy>(field: &'static str, name: &str, all: &[(&str, T)]) -> Result<T, RuleError> {
    let found = all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        RuleError::new(field, format!("{name:?}"), format!("known are {}", names.join(", ")))
    })
}

fn name_of<T: PartialEq>(value: &T, all: &[(&str, T)]) -> Option<String> {
    all.iter().find(|(_, known)| known == value).map(|(name, _)| (*name).to_owned())
}

fn function(field: &'static str, text: Option<&String>) -> Result<Option<Bdf>, RuleError> {
    let parse = |text: &String| {
        let rule = "no function: bus:device.function in hexadecimal, 00:00.0 to ff:1f.7";
        text.parse().map_err(|_| RuleError::new(field, format!("{text:?}"), rule))
    };
    text.map(parse).transpose()
}

fn span_of_time(field: &'static str, ps: Option<u64>, min: u64) -> Result<Option<Time>, RuleError> {
    ps.map(|ps| in_range(field, ps, min, MAX_SPAN.as_ps()).map(Time)).transpose()
}

impl Line {
    /// Checks that no field is there that its kind doesn't have.
    fn no_others(&self) -> Result<(), RuleError> {
        let kind = self.kind.as_str();
        #[rustfmt::skip]
        let table: [(&'static str, bool, &[&str]); 12] = [
            ("delay_ps", self.delay_ps.is_some(), &["duplicate", "delay"]),
            ("in_order", self.in_order.is_some(), &["delay"]),
            ("past", self.past.is_some(), &["reorder"]),
            ("for_ps", self.for_ps.is_some(), &["reorder", "withhold-credits", "link-down"]),
            ("field", self.field.is_some(), &["corrupt-field"]),
            ("value", self.value.is_some(), &["corrupt-field"]),
            ("xor", self.xor.is_some(), &["corrupt-field"]),
            ("bit", self.bit.is_some(), &["corrupt-header", "corrupt-payload", "ecrc"]),
            ("replays", self.replays.is_some(), &["bad-lcrc"]),
            ("class", self.class.is_some(), &["withhold-credits"]),
            ("channel", self.channel.is_some(), &["withhold-credits"]),
            ("at_ps", self.at_ps.is_some(), &["withhold-credits", "link-down"]),
        ];
        match table.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
            None => Ok(()),
            Some((field, _, kinds)) => {
                Err(RuleError::new("kind", &self.kind, format!("only {} has {field}", kinds.join(" and "))))
            }
        }
    }

    fn filter(&self) -> Result<Filter, RuleError> {
        let names = match &self.tlp {
            None => &[][..],
            Some(Names::One(name)) => std::slice::from_ref(name),
            Some(Names::Many(names)) => names,
        };
        if matches!(&self.tlp, Some(Names::Many(names)) if names.is_empty()) {
            return Err(RuleError::new("tlp", "[]", "the list is empty"));
        }
        let mut kinds = Vec::new();
        for name in names {
            let rule = "no type of TLP and no class: MRd64, MWr, CplD, posted, ...";
            let some = kinds_of_name(name).ok_or_else(|| RuleError::new("tlp", format!("{name:?}"), rule))?;
            for kind in some {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
        }
        let span = |field, value: Option<Numbers>, max| value.map(|value| value.within(field, max)).transpose();
        let status = self.status.as_deref().map(|status| match status.parse::<u8>() {
            // The reserved ones have no name.
            Ok(bits) if bits < 8 => Ok(bits),
            _ => named("status", status, &STATUSES).map(Status::bits),
        });
        Ok(Filter {
            kinds,
            requester: function("requester", self.requester.as_ref())?,
            completer: function("completer", self.completer.as_ref())?,
            target: function("target", self.target.as_ref())?,
            address: span("address", self.address, MAX_NUMBER)?,
            tag: span("tag", self.tag, 0x3ff)?,
            tc: span("tc", self.tc, 7)?,
            length: span("length", self.length, u64::from(MAX_BYTES) / 4)?,
            message: self.message.map(|code| small("message", code, 0, 255)).transpose()?,
            status: status.transpose()?,
        })
    }

    fn occasion(&self, action: &Action) -> Result<Occasion, RuleError> {
        let all = Occasion::default();
        let (from, until) = (self.from_ps.unwrap_or(0), self.until_ps.unwrap_or(u64::MAX));
        if from >= until {
            return Err(RuleError::new("until_ps", until, format!("it must be later than from_ps = {from}")));
        }
        let count = |field, value: Option<u64>, min, other| {
            value.map_or(Ok(other), |value| in_range(field, value, min, MAX_NUMBER))
        };
        let ppm = self.probability_ppm.map(|ppm| small("probability_ppm", ppm, 1, 1_000_000));
        if let Some(at) = self.at_ps {
            let needs_direction = matches!(action, Action::WithholdCredits { .. });
            if self.link.is_none() || self.direction.is_some() != needs_direction {
                let what = if needs_direction { "link and direction" } else { "link, and no direction" };
                return Err(RuleError::new("at_ps", at, format!("a fault at a time needs {what}")));
            }
            if matches!(action, Action::WithholdCredits { class: None, .. }) {
                return Err(RuleError::new("at_ps", at, "a fault at a time needs a class"));
            }
            let about_tlps = Line {
                kind: self.kind.clone(),
                link: self.link.clone(),
                direction: self.direction.clone(),
                at_ps: self.at_ps,
                for_ps: self.for_ps,
                class: self.class.clone(),
                channel: self.channel,
                fired_by: self.fired_by,
                fired_ps: self.fired_ps,
                ..Line::default()
            };
            if about_tlps != *self {
                return Err(RuleError::new("at_ps", at, "it happens at this time, once, whatever TLPs there are"));
            }
        }
        Ok(Occasion {
            from: Time(from),
            until: Time(until),
            skip: self.skip.unwrap_or(0),
            every: count("every", self.every, 1, all.every)?,
            probability_ppm: ppm.transpose()?.unwrap_or(all.probability_ppm),
            times: count("times", self.times, 1, all.times)?,
            sequence: self.sequence,
            at: self.at_ps.map(Time),
        })
    }

    fn action(&self) -> Result<Action, RuleError> {
        self.no_others()?;
        let delay = |other: Option<Draw>| match self.delay_ps {
            Some(span) => span
                .within("delay_ps", MAX_SPAN.as_ps())
                .map(|span| Draw { min: Time(span.first), max: Time(span.last) }),
            None => other.ok_or_else(|| RuleError::new("kind", &self.kind, "it needs delay_ps")),
        };
        let bit = |max| self.bit.map(|bit| small::<u16>("bit", bit, 0, max)).transpose();
        let class = self.class.as_deref().map(|class| named("class", class, &CLASSES)).transpose()?;
        let duration = span_of_time("for_ps", self.for_ps, 1)?;
        Ok(match self.kind.as_str() {
            "drop" => Action::Drop,
            "duplicate" => Action::Duplicate { after: delay(Some(Time::ZERO.into()))? },
            "delay" => Action::Delay { by: delay(None)?, in_order: self.in_order.unwrap_or(false) },
            "reorder" => Action::Reorder {
                past: self.past.map_or(Ok(1), |past| small("past", past, 1, MAX_PAST.into()))?,
                limit: duration.unwrap_or(REORDER_LIMIT),
            },
            "corrupt-field" => self.corrupt_field()?,
            "corrupt-header" => Action::CorruptHeader { bit: bit(127)?.map(|bit| bit as u8) },
            "corrupt-payload" => Action::CorruptPayload { bit: bit(u64::from(MAX_BYTES) * 8 - 1)? },
            "poison" => Action::Poison,
            "ecrc" => Action::Ecrc { bit: bit(31)?.map(|bit| bit as u8) },
            "bad-lcrc" => Action::BadLcrc {
                replays: self.replays.map_or(Ok(1), |replays| small("replays", replays, 1, MAX_REPLAYS.into()))?,
            },
            "withhold-credits" => {
                let channel = self.channel.map(|channel| small("channel", channel, 0, 7)).transpose()?;
                Action::WithholdCredits { class, channel, duration }
            }
            "link-down" => Action::LinkDown { duration },
            other => {
                let known = Action::NAMES.join(", ");
                return Err(RuleError::new("kind", format!("{other:?}"), format!("known are {known}")));
            }
        })
    }

    fn corrupt_field(&self) -> Result<Action, RuleError> {
        let name = self.field.as_deref().ok_or_else(|| RuleError::new("kind", &self.kind, "it needs a field"))?;
        let field = named("field", name, &Field::ALL)?;
        let fits = |what, bits: u64| {
            let rule = || format!("the bits that {name} can have are {:#x}", field.widest());
            if bits & !field.widest() == 0 { Ok(bits) } else { Err(RuleError::new(what, format!("{bits:#x}"), rule())) }
        };
        let value = self.value.as_ref().map(|value| value.value("value")).transpose()?;
        let xor = self.xor.as_ref().map(|xor| xor.value("xor")).transpose()?;
        let change = match (value, xor) {
            (Some(_), Some(xor)) => return Err(RuleError::new("xor", xor, "there is a value, too")),
            (Some(value), None) => Change::To(fits("value", value)?),
            (None, Some(0)) => return Err(RuleError::new("xor", 0, "nothing would change")),
            (None, Some(xor)) => Change::Xor(fits("xor", xor)?),
            (None, None) => Change::Drawn,
        };
        Ok(Action::CorruptField { field, change })
    }

    fn origin(&self) -> Result<Option<Origin>, RuleError> {
        let (rule, at) = match (self.fired_by, self.fired_ps) {
            (None, None) if self.header.is_none() => return Ok(None),
            (Some(rule), Some(at)) => (small("fired_by", rule, 0, u32::MAX.into())?, Time(at)),
            _ => return Err(RuleError::new("fired_by", "?", "fired_by and fired_ps go together")),
        };
        let header = |text: &String| {
            let mut dws = [0; 4];
            let mut words = text.split(' ');
            let all = dws.iter_mut().all(|dw| {
                let word = words.next().filter(|word| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit()));
                word.and_then(|word| u32::from_str_radix(word, 16).ok()).is_some_and(|value| {
                    *dw = value;
                    true
                })
            });
            let rule = "four DWs of eight hexadecimal digits";
            if all && words.next().is_none() {
                Ok(dws)
            } else {
                Err(RuleError::new("header", format!("{text:?}"), rule))
            }
        };
        Ok(Some(Origin { rule, at, header: self.header.as_ref().map(header).transpose()? }))
    }
}

impl TryFrom<Line> for Rule {
    type Error = RuleError;

    fn try_from(line: Line) -> Result<Rule, RuleError> {
        let action = line.action()?;
        Ok(Rule {
            direction: line.direction.as_deref().map(|name| named("direction", name, &DIRECTIONS)).transpose()?,
            filter: line.filter()?,
            occasion: line.occasion(&action)?,
            origin: line.origin()?,
            action,
            link: line.link,
        })
    }
}

impl From<Rule> for Line {
    fn from(rule: Rule) -> Line {
        let Rule { link, direction, filter, occasion, action, origin } = rule;
        let all = Occasion::default();
        let id = |id: Option<Bdf>| id.map(|id| id.to_string());
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| kind.name().to_owned()).collect();
        let status =
            filter.status.map(|bits| name_of(&Status::from_bits(bits), &STATUSES).unwrap_or_else(|| bits.to_string()));
        let other = |value: u64, usual: u64| (value != usual).then_some(value);
        let mut line = Line {
            kind: action.name().to_owned(),
            link,
            direction: direction.and_then(|direction| name_of(&direction, &DIRECTIONS)),
            tlp: (!kinds.is_empty()).then_some(Names::Many(kinds)),
            requester: id(filter.requester),
            completer: id(filter.completer),
            target: id(filter.target),
            address: filter.address.map(Numbers::from),
            tag: filter.tag.map(Numbers::from),
            tc: filter.tc.map(Numbers::from),
            length: filter.length.map(Numbers::from),
            message: filter.message.map(u64::from),
            status,
            from_ps: other(occasion.from.as_ps(), all.from.as_ps()),
            until_ps: other(occasion.until.as_ps(), all.until.as_ps()),
            skip: other(occasion.skip, all.skip),
            every: other(occasion.every, all.every),
            times: other(occasion.times, all.times),
            probability_ppm: other(occasion.probability_ppm.into(), all.probability_ppm.into()),
            sequence: occasion.sequence,
            at_ps: occasion.at.map(Time::as_ps),
            ..Line::default()
        };
        if let Some(Origin { rule, at, header }) = origin {
            line.fired_by = Some(rule.into());
            line.fired_ps = Some(at.as_ps());
            line.header = header.map(|[a, b, c, d]| format!("{a:08x} {b:08x} {c:08x} {d:08x}"));
        }
        let numbers = |draw: Draw| Some(Span { first: draw.min.as_ps(), last: draw.max.as_ps() }.into());
        match action {
            Action::Drop | Action::Poison => {}
            Action::Duplicate { after } => line.delay_ps = numbers(after),
            Action::Delay { by, in_order } => {
                line.delay_ps = numbers(by);
                line.in_order = in_order.then_some(true);
            }
            Action::Reorder { past, limit } => {
                line.past = Some(past.into());
                line.for_ps = Some(limit.as_ps());
            }
            Action::CorruptField { field, change } => {
                line.field = Some(field.name().to_owned());
                match change {
                    Change::To(value) => line.value = Some(value.into()),
                    Change::Xor(bits) => line.xor = Some(bits.into()),
                    Change::Drawn => {}
                }
            }
            Action::CorruptHeader { bit } | Action::Ecrc { bit } => line.bit = bit.map(u64::from),
            Action::CorruptPayload { bit } => line.bit = bit.map(u64::from),
            Action::BadLcrc { replays } => line.replays = Some(replays.into()),
            Action::WithholdCredits { class, channel, duration } => {
                line.class = class.and_then(|class| name_of(&class, &CLASSES));
                line.channel = channel.map(u64::from);
                line.for_ps = duration.map(Time::as_ps);
            }
            Action::LinkDown { duration } => line.for_ps = duration.map(Time::as_ps),
        }
        line
    }
}
