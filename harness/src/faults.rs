//! Faults on the fabric by rule: `--faults FILE`, which takes the place of a profile's section `[[faults]]`, and the record of what happened:
//! `--faults-fired FILE`.
//!
//! Both are TOML, and have any number of tables `[[faults]]`, each with the fields of a [`Rule`]. The record of a run is a file for
//! `--faults` that makes the same faults happen again, without a draw.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use mlx5_twin_sim::fabric::rules::{Fired, Rule, Witness};
use serde::{Deserialize, Serialize};

use crate::bounded;

/// Largest file, in bytes: a record of as many faults as can be has less.
const MAX_BYTES: u64 = 1 << 28;

/// Why rules can't be had, or the record can't be written.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
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
    /// It's no TOML, or a rule in it can't be one.
    #[error("{path}: {source}")]
    Toml {
        /// Its path.
        path: String,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// The file can't be written.
    #[error("can't write {path}: {reason}")]
    Write {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    faults: Vec<Rule>,
}

/// A record of one fault.
#[derive(Serialize)]
struct One<'a> {
    faults: [&'a Fired; 1],
}

/// Reads rules.
///
/// # Errors
/// [`FaultsError`]
pub fn load(path: &Path) -> Result<Vec<Rule>, FaultsError> {
    let name = path.display().to_string();
    let failed = |source| FaultsError::Read { path: name.clone(), source };
    let bytes = bounded::read(path, MAX_BYTES).map_err(failed)?;
    let bytes = bytes.ok_or_else(|| FaultsError::Large { path: name.clone() })?;
    parse(&name, &bounded::text(bytes).map_err(failed)?)
}

/// Takes the text of rules.
///
/// # Errors
/// [`FaultsError::Toml`]
pub fn parse(path: &str, text: &str) -> Result<Vec<Rule>, FaultsError> {
    let wrong = |source| FaultsError::Toml { path: path.to_owned(), source: Box::new(source) };
    toml::from_str::<File>(text).map(|file| file.faults).map_err(wrong)
}

/// The faults of a run, as they happen.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Vec<Fired>>>);

impl Record {
    /// Notes all that happens.
    pub fn witness(&self) -> Witness {
        let record = self.clone();
        Box::new(move |fired| record.with(|all| all.push(fired.clone())))
    }

    fn with<T>(&self, call: impl FnOnce(&mut Vec<Fired>) -> T) -> T {
        call(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        self.with(|all| {
            for fired in all {
                *counts.entry(fired.action.name().to_owned()).or_default() += 1;
            }
        });
        counts
    }

    /// All of them as rules that make them happen again.
    ///
    /// # Errors
    /// A number that TOML doesn't have.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        let mut text = String::from("# Faults that happened in a run of mlx5-twin. With --faults they happen again.\n");
        self.with(|all| {
            for fired in all {
                // A text can always be written to.
                let _ = write!(text, "\n{}", toml::to_string(&One { faults: [fired] })?);
            }
            Ok(text)
        })
    }

    /// Writes them to a file.
    ///
    /// # Errors
    /// [`FaultsError::Write`]
    pub fn write(&self, path: &Path) -> Result<(), FaultsError> {
        let failed = |reason| FaultsError::Write { path: path.display().to_string(), reason };
        let text = self.text().map_err(|error| failed(error.to_string()))?;
        std::fs::write(path, text).map_err(|error| failed(error.to_string()))
    }
}

/// Numbers of faults in words: `3 drop, 1 link-down`; `none`.
pub fn in_words(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_sim::Time;
    use mlx5_twin_sim::fabric::rules::Action;
    use mlx5_twin_sim::probe::{Direction, LinkId};

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("[[fault]]\nkind = 'drop'\n", "unknown field `fault`"),
            ("[[faults]]\nkind = 'drop'\ntc = 9\n", "tc = 9: allowed is 0 to 7"),
            ("faults = 1", "f.toml: TOML parse error at line 1"),
        ] {
            let error = parse("f.toml", text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error:?} lacks {reason:?}");
        }
        assert!(load(Path::new("/dev/null")).unwrap().is_empty());
        assert!(load(Path::new("/dev/null/none")).unwrap_err().to_string().starts_with("can't read /dev/null/none: "));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record::default();
        let mut witness = record.witness();
        let fired = |sequence, action| Fired {
            rule: 2,
            link: LinkId(1),
            direction: Some(Direction::Upstream),
            sequence,
            at: Time(5),
            header: sequence.map(|_| [0x4000_0001, 2, 3, 4]),
            action,
        };
        let all = [
            fired(Some(0), Action::Drop),
            fired(Some(1), Action::Drop),
            Fired { direction: None, ..fired(None, Action::LinkDown { duration: Some(Time(9)) }) },
        ];
        all.iter().for_each(&mut witness);
        assert_eq!(in_words(&record.counts()), "2 drop, 1 link-down");
        assert_eq!(in_words(&BTreeMap::new()), "none");
        let text = record.text().unwrap();
        assert_eq!(parse("r.toml", &text).unwrap(), all.map(|fired| fired.rule()), "{text}");
    }
}
