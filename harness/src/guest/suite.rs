//! What came of rdma-core's tests.
//!
//! The tests run in a process forked from a Python that has loaded them (`rootfs/suite.py`), and its test result sends each test as an
//! object: nothing has to be read out of text that is for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most tests that are kept, so that a guest can't fill our memory. The suite of rdma-core 65 has 390.
const MOST_TESTS: usize = 20_000;

/// Which tests are to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Those whose id contains one of these; all, if there's none.
    Names(Vec<String>),
    /// Those with just these ids.
    Ids(Vec<String>),
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has begun. No end.
    Begun,
    /// Well.
    Passed,
    /// It says that it can't run here.
    Skipped,
    /// It found something wrong.
    Failed,
    /// It broke, or its process did.
    Error,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Its name, as unittest has it: `tests.test_pd.PDTest.test_create_pd`.
    pub id: String,
    /// How it ended.
    pub result: Verdict,
    /// How long it took, in seconds of the guest's clock.
    #[serde(default)]
    pub seconds: f64,
    /// Why it was skipped or failed.
    #[serde(default)]
    pub reason: String,
}

/// All tests of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Results {
    /// How many ran or were skipped.
    pub run: usize,
    /// How many of them passed.
    pub passed: usize,
    /// How many couldn't run here.
    pub skipped: usize,
    /// How many found something wrong.
    pub failed: usize,
    /// How many broke.
    pub errors: usize,
    /// Each, in the order in which they ended.
    pub tests: Vec<Test>,
    #[serde(skip)]
    begun: Option<String>,
}

impl Results {
    /// Takes in what the guest tells of a test. Gives the test back if it has ended.
    pub fn take(&mut self, test: Test) -> Option<&Test> {
        if test.result == Verdict::Begun {
            self.begun = Some(test.id);
            return None;
        }
        self.begun = None;
        if self.run >= MOST_TESTS {
            return None;
        }
        self.run += 1;
        *match test.result {
            Verdict::Passed => &mut self.passed,
            Verdict::Skipped => &mut self.skipped,
            Verdict::Failed => &mut self.failed,
            Verdict::Error | Verdict::Begun => &mut self.errors,
        } += 1;
        self.tests.push(test);
        self.tests.last()
    }

    /// The run is over: a test that has begun and not ended broke, because of `reason`.
    pub fn end(&mut self, reason: &str) -> Option<&Test> {
        let id = self.begun.take()?;
        self.take(Test { id, result: Verdict::Error, seconds: 0.0, reason: reason.to_owned() })
    }

    /// Whether no test failed or broke.
    pub fn harmless(&self) -> bool {
        self.failed == 0 && self.errors == 0
    }

    /// Whether at least one test ran, and none failed or broke.
    pub fn good(&self) -> bool {
        self.passed > 0 && self.harmless()
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.result {
            Verdict::Begun => "begun",
            Verdict::Passed => "passed",
            Verdict::Skipped => "skipped",
            Verdict::Failed => "FAILED",
            Verdict::Error => "ERROR",
        };
        write!(f, "{word:<8}{:>8.3} s  {}", self.seconds, visible(&self.id))?;
        if self.reason.is_empty() {
            return Ok(());
        }
        let mut lines = self.reason.lines();
        if self.result == Verdict::Skipped {
            return write!(f, ": {}", visible(lines.next().unwrap_or_default()));
        }
        lines.try_for_each(|line| write!(f, "\n    {}", visible(line)))
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed + self.errors, self.skipped)
    }
}

/// A line of the guest's text without characters that could do something to a terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(id: &str, result: Verdict, reason: &str) -> Test {
        Test { id: id.to_owned(), result, seconds: 0.25, reason: reason.to_owned() }
    }

    #[test]
    fn each_end_is_counted_once() {
        let mut results = Results::default();
        assert_eq!(results.take(test("a", Verdict::Begun, "")), None);
        assert!(!results.good());
        for (id, result) in [("a", Verdict::Passed), ("b", Verdict::Skipped), ("c", Verdict::Passed)] {
            assert_eq!(results.take(test(id, Verdict::Begun, "")), None);
            assert_eq!(results.take(test(id, result, "")).map(|test| test.id.as_str()), Some(id));
        }
        assert!(results.good());
        assert_eq!(results.end("killed"), None);
        assert_eq!(results.to_string(), "2 passed, 0 failed, 1 skipped");
        results.take(test("setUpClass (x)", Verdict::Error, "broken"));
        results.take(test("d", Verdict::Failed, "1 != 2"));
        assert_eq!((results.run, results.failed, results.errors, results.good()), (5, 1, 1, false));
    }

    #[test]
    fn nothing_but_skips_is_not_good() {
        let mut results = Results::default();
        results.take(test("a", Verdict::Skipped, "no device"));
        assert!(!results.good());
    }

    #[test]
    fn a_test_without_end_is_an_error() {
        let mut results = Results::default();
        results.take(test("a", Verdict::Begun, ""));
        let ended = results.end("signal 11").cloned();
        assert_eq!(
            ended.map(|test| (test.id, test.result, test.reason)),
            Some(("a".to_owned(), Verdict::Error, "signal 11".to_owned()))
        );
        assert_eq!((results.errors, results.end("again")), (1, None));
    }

    #[test]
    fn lines_for_people() {
        let cases = [
            (test("a", Verdict::Passed, ""), "passed     0.250 s  a"),
            (test("a", Verdict::Skipped, "no XRC\nmore"), "skipped    0.250 s  a: no XRC"),
            (
                test("a\u{1b}[2J", Verdict::Failed, "x\ny\u{7}"),
                "FAILED     0.250 s  a\u{fffd}[2J\n    x\n    y\u{fffd}",
            ),
        ];
        for (test, expected) in cases {
            assert_eq!(test.to_string(), expected);
        }
    }

    #[test]
    fn a_guest_cannot_fill_the_memory() {
        let mut results = Results::default();
        for _ in 0..MOST_TESTS + 10 {
            results.take(test("a", Verdict::Passed, ""));
        }
        assert_eq!((results.run, results.tests.len()), (MOST_TESTS, MOST_TESTS));
    }
}
