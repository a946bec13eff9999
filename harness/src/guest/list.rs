//! A list of tests of a suite: each must run and pass, or skip for the reason that the list gives.
//!
//! One test a line, by its whole id. `#` begins a comment, to the end of the line. `# skips: REASON` behind an id marks a test that can't
//! run here; the reason is a part of what the test itself says.
//!
//! ```text
//! # Protection domains.
//! tests.test_pd.PDTest.test_alloc_pd
//! tests.test_addr.AHTest.test_create_ah_roce  # skips: skip RoCE test
//! ```

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use super::suite::{Results, Verdict, visible};

/// What marks a test that skips.
const MARK: &str = "skips:";

/// A test of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    id: String,
    /// Why it skips, if it does.
    skips: Option<String>,
}

/// A list of tests. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(Vec<Listed>);

/// Why a text is no list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// A line has something else than an id.
    #[error("line {line}: a test's id has letters, digits, '_' and at least one '.', this is '{found}'")]
    Id {
        /// The line, from 1 on.
        line: usize,
        /// What is there.
        found: String,
    },
    /// A line has a test that an earlier one has.
    #[error("line {line}: {id} is in the list already")]
    Twice {
        /// The line, from 1 on.
        line: usize,
        /// The test.
        id: String,
    },
    /// A line has a mark without a reason.
    #[error("line {line}: '# skips:' needs a reason, a part of what the test says")]
    Reason {
        /// The line, from 1 on.
        line: usize,
    },
    /// There's no test in it.
    #[error("no test is in it")]
    Empty,
}

/// What is wrong with a test of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The suite has no such test, or its process ended before.
    NotRun,
    /// It failed or broke.
    Failed,
    /// It skipped, and isn't marked as one that does.
    Skipped,
    /// It skipped for another reason than the list has.
    OtherReason,
}

/// A test of a list that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The test.
    pub id: String,
    /// What is wrong.
    pub problem: Problem,
    /// What the test said.
    pub reason: String,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that is no line of a list.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let mut listed = Vec::new();
        let mut known = BTreeSet::new();
        for (line, text) in (1..).zip(text.lines()) {
            let (id, comment) = text.split_once('#').unwrap_or((text, ""));
            let id = id.trim();
            if id.is_empty() {
                continue;
            }
            if !id.contains('.') || !id.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c)) {
                return Err(ListError::Id { line, found: visible(id) });
            }
            if !known.insert(id) {
                return Err(ListError::Twice { line, id: id.to_owned() });
            }
            let skips = comment.trim().strip_prefix(MARK).map(|reason| reason.trim().to_owned());
            if skips.as_ref().is_some_and(String::is_empty) {
                return Err(ListError::Reason { line });
            }
            listed.push(Listed { id: id.to_owned(), skips });
        }
        if listed.is_empty() { Err(ListError::Empty) } else { Ok(Self(listed)) }
    }

    /// The tests' ids, in the list's order.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|listed| listed.id.clone()).collect()
    }

    /// How many tests there are, and how many of them are marked as skipping.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().filter(|listed| listed.skips.is_some()).count())
    }

    /// What is wrong with the results of a run of this list, in the list's order.
    #[must_use]
    pub fn judge(&self, results: &Results) -> Vec<Finding> {
        let judge_one = |Listed { id, skips }: &Listed| {
            let finding = |problem, reason: &str| Some(Finding { id: id.clone(), problem, reason: reason.to_owned() });
            let Some(test) = results.tests.iter().find(|test| test.id == *id) else {
                return finding(Problem::NotRun, "");
            };
            match (test.result, skips) {
                (Verdict::Passed, _) => None,
                (Verdict::Skipped, Some(reason)) if test.reason.contains(reason) => None,
                (Verdict::Skipped, Some(_)) => finding(Problem::OtherReason, &test.reason),
                (Verdict::Skipped, None) => finding(Problem::Skipped, &test.reason),
                (Verdict::Failed | Verdict::Error | Verdict::Begun, _) => finding(Problem::Failed, &test.reason),
            }
        };
        self.0.iter().filter_map(judge_one).collect()
    }

    /// The tests that are marked as skipping and passed: their marks are out of date.
    #[must_use]
    pub fn unexpected(&self, results: &Results) -> Vec<&str> {
        let passed = |id: &str| results.tests.iter().any(|test| test.id == id && test.result == Verdict::Passed);
        let marked = self.0.iter().filter(|listed| listed.skips.is_some());
        marked.map(|listed| listed.id.as_str()).filter(|id| passed(id)).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::NotRun => "did not run: the suite has no such test, or ended before it",
            Problem::Failed => "failed",
            Problem::Skipped => "skipped and isn't marked so",
            Problem::OtherReason => "skipped for another reason than the list's",
        };
        write!(f, "{}: {problem}", visible(&self.id))?;
        match self.problem {
            Problem::Skipped | Problem::OtherReason => write!(f, ": {}", visible(&self.reason)),
            Problem::NotRun | Problem::Failed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::Test;
    use super::*;

    const TEXT: &str = "# All there is.\n\n  a.b \na.c # a remark\na.d  # skips: no GPU\n";

    #[test]
    fn lists_are_read() {
        let list = List::parse(TEXT).expect("is a list");
        assert_eq!(list.ids(), ["a.b", "a.c", "a.d"]);
        assert_eq!(list.counts(), (3, 1));
        assert_eq!(list.0[2].skips.as_deref(), Some("no GPU"));
    }

    #[test]
    fn what_is_no_list_is_named() {
        let id = |line, found: &str| ListError::Id { line, found: found.to_owned() };
        let cases = [
            ("", ListError::Empty),
            ("# nothing\n\n", ListError::Empty),
            ("a.b\nab", id(2, "ab")),
            ("a.b a.c", id(1, "a.b a.c")),
            ("a.*", id(1, "a.*")),
            ("a.\u{1b}", id(1, "a.\u{fffd}")),
            ("a.b\na.c\na.b # twice", ListError::Twice { line: 3, id: "a.b".to_owned() }),
            ("a.b # skips:", ListError::Reason { line: 1 }),
        ];
        for (text, expected) in cases {
            assert_eq!(List::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn every_way_to_end() {
        let list = List::parse("a.b\na.c # skips: no GPU\n").expect("is a list");
        let run = |ends: &[(&str, Verdict, &str)]| {
            let mut results = Results::default();
            for (id, result, reason) in ends {
                let (id, reason) = ((*id).to_owned(), (*reason).to_owned());
                results.take(Test { id, result: *result, seconds: 0.0, reason });
            }
            results
        };
        use Verdict::{Error, Failed, Passed, Skipped};
        let good = ("a.b", Passed, "");
        #[rustfmt::skip]
        let cases = [
            (vec![good, ("a.c", Skipped, "there is no GPU here")], vec![]),
            (vec![good, ("a.c", Passed, "")], vec![]),
            (vec![good, ("a.c", Skipped, "no port")], vec![("a.c", Problem::OtherReason)]),
            (vec![good, ("a.c", Failed, "no GPU")], vec![("a.c", Problem::Failed)]),
            (vec![("a.b", Skipped, "no GPU"), ("a.c", Error, "")], vec![("a.b", Problem::Skipped), ("a.c", Problem::Failed)]),
            (vec![good], vec![("a.c", Problem::NotRun)]),
            (vec![], vec![("a.b", Problem::NotRun), ("a.c", Problem::NotRun)]),
        ];
        for (ends, expected) in cases {
            let findings = list.judge(&run(&ends));
            let found: Vec<_> = findings.iter().map(|finding| (finding.id.as_str(), finding.problem)).collect();
            assert_eq!(found, expected, "{ends:?}");
        }
        assert_eq!(list.unexpected(&run(&[good, ("a.c", Passed, "")])), ["a.c"]);
        assert_eq!(list.unexpected(&run(&[good, ("a.c", Skipped, "no GPU")])), [""; 0]);
        let text = list.judge(&run(&[("a.b", Skipped, "no\u{7}port"), ("a.c", Failed, "x")]));
        let text: Vec<_> = text.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a.b: skipped and isn't marked so: no\u{fffd}port", "a.c: failed"]);
    }
}
