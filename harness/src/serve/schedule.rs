//! Faults by a timetable: `--inject FILE`.
//!
//! The file is TOML, and has any number of tables `[[fault]]`:
//!
//! | field | for | meaning |
//! |---|---|---|
//! | `kind` | all | `"fatal"`: the firmware dies. `"hang"`: a command is answered too late, or never. `"internal-error"`: a command is answered with INT_ERR and not carried out. `"lost-interrupt"`: an interrupt isn't sent. `"removal"`: the card vanishes, and comes back as new |
//! | `at_ms` | all | when, in milliseconds of virtual time since the server began |
//! | `times`, `every_ms` | all | how often (once, if it isn't said), and how many milliseconds lie between |
//! | `command` | `hang`, `internal-error` | which command is meant, by its name in Linux's mlx5_ifc.h; else the next one, whichever it is |
//! | `late_ms` | `hang` | how much later it's carried out; without it, never: Linux's driver then can't be unloaded any more |
//! | `vector` | `lost-interrupt` | which MSI-X vector is meant; else the next interrupt, whichever it is |
//! | `for_ms` | `removal` | for how long the card is away; without it, for good |
//! | `unnoticed_ms` | `removal` | how much later the slot notices that it's gone; at once, if it isn't said |
//! | `syndrome` | `fatal` | `synd` of the health buffer, 1 to 255 (`health.c` of Linux says what they mean); 1 if it isn't said |
//!
//! A fault that is about a command or an interrupt waits for it from its time on. Virtual time follows the wall's. A fault whose time comes while
//! the card is away waits until it's back.
//!
//! A card that is removed has no power any more: its links are down, it has lost all that it knew, reads of configuration space and BAR are all
//! ones, and writes go nowhere. `mlx5-twin guest` has its guest remove the function when the slot notices, and look for it when the card is back.
//! With `mlx5-twin serve` that's for the user's guest to do: as long as its client is connected it has a dead function, and after the card's return a
//! function that is as after power-on. Clients that come while the card is away are turned away. (QEMU 11 aborts if a vfio-user function with MSI-X is
//! taken out of a slot, dead or not.)

use std::collections::BinaryHeap;
use std::path::Path;

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Injection;
use mlx5_twin_sim::Time;
use serde::Deserialize;

use super::card::Removal;
use crate::bounded;

/// Largest file, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most faults, repetitions counted.
const MAX_FAULTS: u64 = 100_000;
/// Latest time: 30 days.
const MAX_MS: u64 = 30 * 24 * 3600 * 1000;

/// Why a timetable can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{path} has more than {MAX_BYTES} bytes")]
    Large {
        /// Its path.
        path: String,
    },
    /// It's no TOML, or has other fields.
    #[error("{path}: {source}")]
    Toml {
        /// Its path.
        path: String,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// A fault breaks a rule.
    #[error("{path}: fault {number}: {rule}")]
    Rule {
        /// The file's path.
        path: String,
        /// Its number, from 1.
        number: usize,
        /// What is wrong.
        rule: String,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Fatal,
    Hang,
    InternalError,
    LostInterrupt,
    Removal,
}

/// What happens at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A fault of the device.
    Device(Injection),
    /// The card is removed.
    Removal(Removal),
}

/// A fault as it's written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Kind,
    at_ms: u64,
    times: Option<u64>,
    every_ms: Option<u64>,
    command: Option<String>,
    late_ms: Option<u64>,
    vector: Option<u16>,
    syndrome: Option<u8>,
    for_ms: Option<u64>,
    unnoticed_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Line>,
}

/// One fault at its time. Of two the earlier is the larger, and of those at the same time the one that's earlier in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Time,
    number: usize,
    fault: Fault,
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Faults, each with its time.
#[derive(Clone, Debug, Default)]
pub struct Schedule(BinaryHeap<Entry>);

impl Line {
    /// What it is.
    fn fault(&self) -> Result<Fault, String> {
        let others = [
            ("command", self.command.is_some(), matches!(self.kind, Kind::Hang | Kind::InternalError)),
            ("late_ms", self.late_ms.is_some(), matches!(self.kind, Kind::Hang)),
            ("vector", self.vector.is_some(), matches!(self.kind, Kind::LostInterrupt)),
            ("syndrome", self.syndrome.is_some(), matches!(self.kind, Kind::Fatal)),
            ("for_ms", self.for_ms.is_some(), matches!(self.kind, Kind::Removal)),
            ("unnoticed_ms", self.unnoticed_ms.is_some(), matches!(self.kind, Kind::Removal)),
        ];
        if let Some((name, ..)) = others.iter().find(|(_, given, allowed)| *given && !allowed) {
            return Err(format!("a fault of this kind has no {name}"));
        }
        let opcode = self.command.as_deref().map(|name| Opcode::from_name(name).ok_or(name)).transpose();
        let opcode = opcode.map_err(|name| format!("command = {name:?}: Linux's mlx5_ifc.h has no such command"))?;
        let injection = match self.kind {
            Kind::Fatal => match self.syndrome.unwrap_or(1) {
                0 => return Err("syndrome = 0: that is none; allowed is 1 to 255".to_owned()),
                syndrome => Injection::Fatal { syndrome },
            },
            Kind::Hang => match self.late_ms {
                Some(late @ (0 | MAX_MS..)) => return Err(format!("late_ms = {late}: allowed is 1 to {}", MAX_MS - 1)),
                late => Injection::Hang { opcode, late: late.map(Time::ms) },
            },
            Kind::InternalError => Injection::InternalError { opcode },
            Kind::LostInterrupt => Injection::LostInterrupt { vector: self.vector },
            Kind::Removal => return self.removal().map(Fault::Removal),
        };
        Ok(Fault::Device(injection))
    }

    fn removal(&self) -> Result<Removal, String> {
        let (away, unnoticed) = (self.for_ms, self.unnoticed_ms.unwrap_or(0));
        if let Some(away @ (0 | MAX_MS..)) = away {
            return Err(format!("for_ms = {away}: allowed is 1 to {}", MAX_MS - 1));
        }
        let end = away.unwrap_or(MAX_MS);
        if unnoticed >= end {
            return Err(format!(
                "unnoticed_ms = {unnoticed}: the slot must notice before the card is back, or at all: allowed is less than {end}"
            ));
        }
        if away.is_none() && self.times.is_some() {
            return Err("times: a card that is removed for good, without for_ms, is removed once".to_owned());
        }
        Ok(Removal { away: away.map(Time::ms), unnoticed: Time::ms(unnoticed) })
    }

    /// Its times in milliseconds.
    fn times(&self) -> Result<impl Iterator<Item = u64> + use<>, String> {
        let (first, times) = (self.at_ms, self.times.unwrap_or(1));
        let every = match (self.every_ms, times) {
            (Some(every), 2..) if every > 0 => every,
            (None, 0 | 1) => 0,
            _ => return Err("times, of 2 or more, and every_ms, of 1 or more, go together".to_owned()),
        };
        if times == 0 || times > MAX_FAULTS {
            return Err(format!("times = {times}: allowed is 1 to {MAX_FAULTS}"));
        }
        let last = every.checked_mul(times - 1).and_then(|span| span.checked_add(first));
        if last.is_none_or(|last| last > MAX_MS) {
            return Err(format!("its last time is later than {MAX_MS} ms"));
        }
        Ok((0..times).map(move |number| first + number * every))
    }
}

impl Schedule {
    /// Reads a timetable.
    ///
    /// # Errors
    /// [`ScheduleError`]
    pub fn load(path: &Path) -> Result<Schedule, ScheduleError> {
        let name = path.display().to_string();
        let failed = |source| ScheduleError::File { path: name.clone(), source };
        let bytes = bounded::read(path, MAX_BYTES).map_err(failed)?;
        let bytes = bytes.ok_or_else(|| ScheduleError::Large { path: name.clone() })?;
        Schedule::parse(&name, &bounded::text(bytes).map_err(failed)?)
    }

    /// Takes a timetable's text.
    ///
    /// # Errors
    /// [`ScheduleError`]
    pub fn parse(path: &str, text: &str) -> Result<Schedule, ScheduleError> {
        let path = || path.to_owned();
        let file: File =
            toml::from_str(text).map_err(|source| ScheduleError::Toml { path: path(), source: Box::new(source) })?;
        let mut entries = Vec::new();
        for (index, fault) in file.fault.iter().enumerate() {
            let number = index + 1;
            let rule = |rule| ScheduleError::Rule { path: path(), number, rule };
            let (times, fault) = (fault.times().map_err(rule)?, fault.fault().map_err(rule)?);
            for ms in times {
                entries.push(Entry { at: Time::ms(ms), number, fault });
            }
            if entries.len() as u64 > MAX_FAULTS {
                return Err(rule(format!("with it there are more than {MAX_FAULTS} faults")));
            }
        }
        Ok(Schedule(entries.into()))
    }

    /// When the next one happens.
    pub(super) fn next_time(&self) -> Option<Time> {
        self.0.peek().map(|entry| entry.at)
    }

    /// Takes the next one, if it's due.
    pub(super) fn due(&mut self, now: Time) -> Option<Fault> {
        if self.next_time()? > now {
            return None;
        }
        self.0.pop().map(|entry| entry.fault)
    }

    /// How many are still to come.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is to come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schedule, String> {
        Schedule::parse("f.toml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn faults_come_in_the_order_of_their_times() {
        let text = "[[fault]]\nkind = 'hang'\nat_ms = 30\ncommand = 'CREATE_CQ'\nlate_ms = 5\n\
                    [[fault]]\nkind = 'fatal'\nat_ms = 10\ntimes = 2\nevery_ms = 20\nsyndrome = 8\n\
                    [[fault]]\nkind = 'lost-interrupt'\nat_ms = 20\nvector = 3\n\
                    [[fault]]\nkind = 'internal-error'\nat_ms = 21\n\
                    [[fault]]\nkind = 'removal'\nat_ms = 22\nfor_ms = 7\nunnoticed_ms = 6\n\
                    [[fault]]\nkind = 'removal'\nat_ms = 40\n";
        let mut schedule = parse(text).unwrap();
        assert_eq!(schedule.due(Time::us(9_999)), None);
        let all: Vec<_> = std::iter::from_fn(|| Some((schedule.next_time()?, schedule.due(Time::ms(100))?))).collect();
        let fatal = Fault::Device(Injection::Fatal { syndrome: 8 });
        let hang = Injection::Hang { opcode: Some(Opcode::CREATE_CQ), late: Some(Time::ms(5)) };
        let expected = [
            (Time::ms(10), fatal),
            (Time::ms(20), Fault::Device(Injection::LostInterrupt { vector: Some(3) })),
            (Time::ms(21), Fault::Device(Injection::InternalError { opcode: None })),
            (Time::ms(22), Fault::Removal(Removal { away: Some(Time::ms(7)), unnoticed: Time::ms(6) })),
            (Time::ms(30), Fault::Device(hang)),
            (Time::ms(30), fatal),
            (Time::ms(40), Fault::Removal(Removal { away: None, unnoticed: Time::ZERO })),
        ];
        assert_eq!(all, expected);
        assert!(schedule.is_empty() && parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, reason) in [
            ("kind = 'fatal'\nat_ms = 1\nsyndrome = 0", "fault 1: syndrome = 0"),
            ("kind = 'fatal'\nat_ms = 1\nvector = 0", "fault 1: a fault of this kind has no vector"),
            ("kind = 'hang'\nat_ms = 1\nlate_ms = 0", "fault 1: late_ms = 0"),
            ("kind = 'fatal'\nat_ms = 1\nlate_ms = 1", "fault 1: a fault of this kind has no late_ms"),
            ("kind = 'hang'\nat_ms = 1\nsyndrome = 1", "fault 1: a fault of this kind has no syndrome"),
            ("kind = 'hang'\nat_ms = 1\ncommand = 'NOTHING'", "fault 1: command = \"NOTHING\""),
            ("kind = 'hang'\nat_ms = 1\ntimes = 2", "fault 1: times, of 2 or more, and every_ms"),
            ("kind = 'hang'\nat_ms = 1\nevery_ms = 2", "fault 1: times, of 2 or more, and every_ms"),
            ("kind = 'hang'\nat_ms = 1\ntimes = 0", "fault 1: times = 0"),
            ("kind = 'hang'\nat_ms = 1\ntimes = 100001\nevery_ms = 1", "fault 1: times = 100001"),
            ("kind = 'hang'\nat_ms = 2592000001", "fault 1: its last time is later"),
            ("kind = 'hang'\nat_ms = 1\ntimes = 3\nevery_ms = 9000000000000000000", "fault 1: its last time is later"),
            ("kind = 'hang'\nat_ms = 1\nfor_ms = 1", "fault 1: a fault of this kind has no for_ms"),
            ("kind = 'fatal'\nat_ms = 1\nunnoticed_ms = 1", "fault 1: a fault of this kind has no unnoticed_ms"),
            ("kind = 'removal'\nat_ms = 1\nfor_ms = 0", "fault 1: for_ms = 0"),
            ("kind = 'removal'\nat_ms = 1\nfor_ms = 5\nunnoticed_ms = 5", "fault 1: unnoticed_ms = 5"),
            ("kind = 'removal'\nat_ms = 1\ntimes = 2\nevery_ms = 9", "fault 1: times: a card that is removed for good"),
            ("kind = 'quake'\nat_ms = 1", "f.toml: "),
            ("kind = 'hang'", "missing field `at_ms`"),
            ("kind = 'hang'\nat_ms = 1\nuntil = 2", "unknown field `until`"),
        ] {
            let error = parse(&format!("[[fault]]\n{fields}\n")).unwrap_err();
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
    }
}
