//! Which mistakes are made, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// A read isn't answered.
    NoCompletion,
    /// Each completion of a read is sent twice.
    TwoCompletions,
    /// The completions of a read have another tag.
    WrongTag,
    /// The completions of a read go to another requester.
    WrongRequester,
    /// The completions of a read say and bring four bytes more than they should.
    TooLong,
    /// A read is answered after the next function-level reset, or never if none comes.
    AfterReset,
    /// The credit of a memory write is spent a second time.
    CreditTwice,
    /// A memory write spends a credit that was never granted.
    NoCredit,
    /// The consumer index goes past the producer index.
    RingOverflow,
    /// The program doesn't poll any more.
    StopPolling,
}

/// What a mistake is about: what [`When`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A read of memory comes out of the channel.
    Read,
    /// A memory write is posted.
    Write,
    /// A message comes out of the channel.
    Message,
}

impl Mistake {
    /// All mistakes, with their names on the command line and what they are.
    #[rustfmt::skip]
    pub const ALL: [(&str, Mistake, &str); 10] = [
        ("no-completion", Mistake::NoCompletion, "the Nth read of memory isn't answered"),
        ("two-completions", Mistake::TwoCompletions, "the Nth read is answered twice"),
        ("wrong-tag", Mistake::WrongTag, "the answer of the Nth read has another tag"),
        ("wrong-requester", Mistake::WrongRequester, "the answer of the Nth read goes to another requester"),
        ("too-long", Mistake::TooLong, "the answer of the Nth read is four bytes too long"),
        ("after-reset", Mistake::AfterReset, "the Nth read is answered after the next function-level reset"),
        ("credit-twice", Mistake::CreditTwice, "the Nth memory write spends its credit twice"),
        ("no-credit", Mistake::NoCredit, "the Nth memory write has no credit"),
        ("ring-overflow", Mistake::RingOverflow, "at the Nth message the consumer index goes past the producer index"),
        ("stop-polling", Mistake::StopPolling, "after the Nth message the program polls no more"),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Mistake::ALL.iter().find(|(_, mistake, _)| *mistake == self).map_or("", |(name, ..)| name)
    }

    pub(super) fn event(self) -> Event {
        match self {
            Mistake::NoCompletion
            | Mistake::TwoCompletions
            | Mistake::WrongTag
            | Mistake::WrongRequester
            | Mistake::TooLong
            | Mistake::AfterReset => Event::Read,
            Mistake::CreditTwice | Mistake::NoCredit => Event::Write,
            Mistake::RingOverflow | Mistake::StopPolling => Event::Message,
        }
    }
}

/// When a mistake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the event of this number, from 1 on.
    Nth(u64),
    /// At one of so many events, drawn from a seed.
    OneIn {
        /// Of how many; 0 is as 1.
        count: u64,
        /// The seed.
        seed: u64,
    },
}

/// A mistake, and when it's made. As text: `NAME` or `NAME@N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The mistake.
    pub mistake: Mistake,
    /// When it's made.
    pub when: When,
}

/// A text that names no injection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// There's no mistake of this name.
    #[error("there is no fault {0:?}; known faults: {names}", names = Mistake::ALL.map(|(name, ..)| name).join(", "))]
    Name(String),
    /// What follows `@` isn't a number from 1 on.
    #[error("{0:?} isn't a number from 1 on")]
    Number(String),
}

impl FromStr for Injection {
    type Err = InjectionError;

    fn from_str(text: &str) -> Result<Injection, InjectionError> {
        let (name, number) = text.split_once('@').unwrap_or((text, "1"));
        let found = Mistake::ALL.iter().find(|(known, ..)| *known == name);
        let &(_, mistake, _) = found.ok_or_else(|| InjectionError::Name(name.to_owned()))?;
        let count = number.parse().ok().filter(|&count| count > 0);
        let count = count.ok_or_else(|| InjectionError::Number(number.to_owned()))?;
        Ok(Injection { mistake, when: When::Nth(count) })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Nth(count) => write!(f, "{}@{count}", self.mistake.name()),
            When::OneIn { count, .. } => write!(f, "{} in one of {count}", self.mistake.name()),
        }
    }
}

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How often each mistake was made, in the order of the plan.
    pub made: Vec<u64>,
    /// What the device counted for the channels that made them, by the name of the fault.
    pub faults: BTreeMap<String, u64>,
}

/// The mistakes that channels make, and what came of them.
#[derive(Debug, Default)]
pub struct Plan {
    injections: Vec<Injection>,
    unchecked: bool,
    outcome: Mutex<Outcome>,
}

impl Plan {
    /// A plan of these mistakes, for a device that checks completions.
    pub fn new(injections: Vec<Injection>) -> Plan {
        let outcome = Outcome { made: vec![0; injections.len()], ..Outcome::default() };
        Plan { injections, unchecked: false, outcome: Mutex::new(outcome) }
    }

    /// The same, for a device that sends completions that break a rule.
    #[must_use]
    pub fn unchecked(self) -> Plan {
        Plan { unchecked: true, ..self }
    }

    /// The mistakes.
    pub fn injections(&self) -> &[Injection] {
        &self.injections
    }

    /// Whether the device sends completions that break a rule ([`Settings::unchecked`](crate::channel::Settings::unchecked)).
    pub fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    /// What came of it so far. What the device counted is known when a channel is closed.
    pub fn outcome(&self) -> Outcome {
        self.with(|outcome| outcome.clone())
    }

    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Outcome) -> T) -> T {
        call(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
