//! What a check of captures against the ordering table has to say: as text, and as JSON.

use std::fmt;

use mlx5_twin_sim::ordering::{Lane, Moved, Report, Row, Violation};
use mlx5_twin_sim::probe::Direction;
use serde::Serialize;

use crate::report::grouped;

/// How many violations the text shows of each file.
const SHOWN: usize = 20;

/// All files that were checked.
#[derive(Clone, Debug, Serialize)]
pub struct OrderReport {
    /// The files, in their order.
    pub files: Vec<FileReport>,
}

impl OrderReport {
    /// Pairs that break the table, in all files.
    pub fn violations(&self) -> u64 {
        self.files.iter().map(|file| file.violations.len() as u64 + file.more_violations).sum()
    }
}

/// What was found in a file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub file: String,
    /// How many links it's of.
    pub links: usize,
    /// TLPs on links.
    pub tlps: u64,
    /// Those of them that left a node into which they had come: only they can have passed another one.
    pub matched: u64,
    /// Those whose node made them, or something changed them.
    pub made: u64,
    /// Those that came into a node from which they might have gone on, and didn't.
    pub inside: u64,
    /// TLPs that left a node in which there were several that are the same.
    pub ambiguous: u64,
    /// TLPs that didn't count any more, as too many had come into their node since.
    pub forgotten: u64,
    /// TLPs that can't be read.
    pub unreadable: u64,
    /// Pairs that break the table, in the order in which it showed; the first thousand.
    pub violations: Vec<Passed>,
    /// How many there are beyond those.
    pub more_violations: u64,
    /// Pairs that break the table unless the later one completes an I/O or configuration write whose request wasn't captured; the first thousand.
    pub undecided: Vec<Passed>,
    /// How many there are beyond those.
    pub more_undecided: u64,
}

/// One TLP has passed another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// The case of the table that forbids it: `A2a`.
    pub rule: String,
    /// The row: what the later one is.
    pub row: char,
    /// The column: what the earlier one is.
    pub column: u8,
    /// The node in which it happened.
    pub node: String,
    /// The link and direction by which both left it: `switch -> function 0`.
    pub lane: String,
    /// The one that passed.
    pub later: TlpRow,
    /// The one that was passed.
    pub earlier: TlpRow,
}

/// A TLP that went through a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlpRow {
    /// Its header, in words.
    pub header: String,
    /// The link and direction by which it came.
    pub by: Option<String>,
    /// When its first symbol was sent to the node, in picoseconds.
    pub entered_ps: u64,
    /// When its first symbol left the node, in picoseconds.
    pub left_ps: u64,
}

/// The letter of a row: A to D (PCIe base specification 2.4.1, 'Ordering Rules Summary').
fn letter(row: Row) -> char {
    char::from(b'A' + row as u8)
}

impl FileReport {
    /// What a checker found in `file`, with the names that nodes and lanes have there.
    pub(super) fn new<'a>(
        file: &str,
        report: &Report,
        links: usize,
        node: impl Fn(u16) -> Option<&'a String>,
        lane: impl Fn(Lane) -> Option<&'a str>,
    ) -> FileReport {
        let lane = |of: Lane| {
            let way = if of.direction == Direction::Downstream { "downstream" } else { "upstream" };
            lane(of).map_or_else(|| format!("link {} {way}", of.link.0), str::to_owned)
        };
        let moved = |moved: &Moved| TlpRow {
            header: moved.header.to_string(),
            by: moved.by.map(&lane),
            entered_ps: moved.entered.as_ps(),
            left_ps: moved.left.as_ps(),
        };
        let passed = |violation: &Violation| Passed {
            rule: violation.rule.to_owned(),
            row: letter(Row::of(violation.later.header.kind())),
            column: Row::of(violation.earlier.header.kind()) as u8 + 2,
            node: node(violation.node).map_or_else(|| violation.node.to_string(), String::clone),
            lane: lane(violation.lane),
            later: moved(&violation.later),
            earlier: moved(&violation.earlier),
        };
        FileReport {
            file: file.to_owned(),
            links,
            tlps: report.seen,
            matched: report.matched,
            made: report.made,
            inside: report.inside,
            ambiguous: report.ambiguous,
            forgotten: report.forgotten,
            unreadable: report.unreadable,
            violations: report.violations.iter().map(passed).collect(),
            more_violations: report.more_violations,
            undecided: report.undecided.iter().map(passed).collect(),
            more_undecided: report.more_undecided,
        }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passed { rule, row, column, node, lane, later, earlier } = self;
        writeln!(f, "  row {row}, column {column} ({rule}) in {node}, out by {lane}")?;
        for (what, TlpRow { header, entered_ps, left_ps, .. }) in [("      ", later), ("passed", earlier)] {
            let (entered, left) = (grouped(*entered_ps), grouped(*left_ps));
            writeln!(f, "    {what} {header}: in at {entered} ps, out at {left} ps")?;
        }
        Ok(())
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileReport { file, links, tlps, matched, made, inside, .. } = self;
        let [tlps, matched, made, inside] = [*tlps, *matched, *made, *inside].map(grouped);
        let s = if *links == 1 { "" } else { "s" };
        writeln!(f, "{file}: {tlps} TLPs on {links} link{s}")?;
        writeln!(f, "  {matched} went through a node, {made} were made by one, {inside} ended in one")?;
        for (count, what) in [
            (self.ambiguous, "had others in their node that are the same"),
            (self.forgotten, "didn't count any more"),
            (self.unreadable, "can't be read"),
        ] {
            if count > 0 {
                writeln!(f, "  {} {what}", grouped(count))?;
            }
        }
        if self.matched == 0 {
            writeln!(f, "  nothing was seen to go through a node: there's nothing to judge")?;
        }
        for (list, more, what) in [
            (&self.violations, self.more_violations, "break the ordering table"),
            (
                &self.undecided,
                self.more_undecided,
                "break it unless they complete a write whose request wasn't captured",
            ),
        ] {
            let count = list.len() as u64 + more;
            if count > 0 {
                writeln!(f, "  {} pairs {what}", grouped(count))?;
            }
            list.iter().take(SHOWN).try_for_each(|passed| write!(f, "{passed}"))?;
            if let Some(rest) = count.checked_sub(SHOWN as u64).filter(|&rest| rest > 0) {
                writeln!(f, "  and {} more", grouped(rest))?;
            }
        }
        if self.violations.is_empty() && self.matched > 0 {
            writeln!(f, "  no pair breaks the ordering table")?;
        }
        Ok(())
    }
}

impl fmt::Display for OrderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.iter().try_for_each(|file| write!(f, "{file}"))
    }
}
