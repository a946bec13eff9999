//! Faults by a timetable: `--inject FILE`.
//!
//! The file is TOML, and has any number of tables `[[fault]]`:
//!
//! | field | for | meaning |
//! |---|---|---|
//! | `kind` | all | `"fatal"`: the firmware dies. `"hang"`: a command is answered too late, or never. `"internal-error"`: a command is answered with INT_ERR and not carried out. `"lost-interrupt"`: an interrupt isn't sent |
//! | `at_ms` | all | when, in milliseconds of virtual time since the server began |
//! | `times`, `every_ms` | all | how often (once, if it isn't said), and how many milliseconds lie between |
//! | `command` | `hang`, `internal-error` | which command is meant, by its name in Linux's mlx5_ifc.h; else the next one, whichever it is |
//! | `late_ms` | `hang` | how much later it's carried out; without it, never: Linux's driver then can't be unloaded any more |
//! | `vector` | `lost-interrupt` | which MSI-X vector is meant; else the next interrupt, whichever it is |
//! | `syndrome` | `fatal` | `synd` of the health buffer, 1 to 255 (`health.c` of Linux says what they mean); 1 if it isn't said |
//!
//! A fault that is about a command or an interrupt waits for it from its time on. Virtual time follows the wall's.

use std::collections::BinaryHeap;
use std::path::Path;

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_model::device::Injection;
use mlx5_twin_sim::Time;
use serde::Deserialize;

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
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    kind: Kind,
    at_ms: u64,
    times: Option<u64>,
    every_ms: Option<u64>,
    command: Option<String>,
    late_ms: Option<u64>,
    vector: Option<u16>,
    syndrome: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Fault>,
}

/// One fault at its time. Of two the earlier is the larger, and of those at the same time the one that's earlier in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Time,
    number: usize,
    injection: Injection,
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

impl Fault {
    /// What it is for the device.
    fn injection(&self) -> Result<Injection, String> {
        let others = [
            ("command", self.command.is_some(), matches!(self.kind, Kind::Hang | Kind::InternalError)),
            ("late_ms", self.late_ms.is_some(), matches!(self.kind, Kind::Hang)),
            ("vector", self.vector.is_some(), matches!(self.kind, Kind::LostInterrupt)),
            ("syndrome", self.syndrome.is_some(), matches!(self.kind, Kind::Fatal)),
        ];
        if let Some((name, ..)) = others.iter().find(|(_, given, allowed)| *given && !allowed) {
            return Err(format!("a fault of this kind has no {name}"));
        }
        let opcode = self.command.as_deref().map(|name| Opcode::from_name(name).ok_or(name)).transpose();
        let opcode = opcode.map_err(|name| format!("command = {name:?}: Linux's mlx5_ifc.h has no such command"))?;
        match self.kind {
            Kind::Fatal => match self.syndrome.unwrap_or(1) {
                0 => Err("syndrome = 0: that is none; allowed is 1 to 255".to_owned()),
                syndrome => Ok(Injection::Fatal { syndrome }),
            },
            Kind::Hang => match self.late_ms {
                Some(late @ (0 | MAX_MS..)) => Err(format!("late_ms = {late}: allowed is 1 to {}", MAX_MS - 1)),
                late => Ok(Injection::Hang { opcode, late: late.map(Time::ms) }),
            },
            Kind::InternalError => Ok(Injection::InternalError { opcode }),
            Kind::LostInterrupt => Ok(Injection::LostInterrupt { vector: self.vector }),
        }
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
            let injection = fault.injection().map_err(rule)?;
            for ms in fault.times().map_err(rule)? {
                entries.push(Entry { at: Time::ms(ms), number, injection });
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
    pub(super) fn due(&mut self, now: Time) -> Option<Injection> {
        if self.next_time()? > now {
            return None;
        }
        self.0.pop().map(|entry| entry.injection)
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
                    [[fault]]\nkind = 'internal-error'\nat_ms = 21\n";
        let mut schedule = parse(text).unwrap();
        assert_eq!(schedule.due(Time::us(9_999)), None);
        let all: Vec<_> = std::iter::from_fn(|| Some((schedule.next_time()?, schedule.due(Time::ms(100))?))).collect();
        let fatal = Injection::Fatal { syndrome: 8 };
        let expected = [
            (Time::ms(10), fatal),
            (Time::ms(20), Injection::LostInterrupt { vector: Some(3) }),
            (Time::ms(21), Injection::InternalError { opcode: None }),
            (Time::ms(30), Injection::Hang { opcode: Some(Opcode::CREATE_CQ), late: Some(Time::ms(5)) }),
            (Time::ms(30), fatal),
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
            ("kind = 'quake'\nat_ms = 1", "f.toml: "),
            ("kind = 'hang'", "missing field `at_ms`"),
            ("kind = 'hang'\nat_ms = 1\nuntil = 2", "unknown field `until`"),
        ] {
            let error = parse(&format!("[[fault]]\n{fields}\n")).unwrap_err();
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
    }
}
