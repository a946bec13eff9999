//! What the checker has to say.

use super::seen::Lane;
use crate::time::Time;
use crate::tlp::Header;

/// The most violations of a kind that are kept; the others are only counted.
pub(super) const MAX_KEPT: usize = 1000;

/// A TLP that went through a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its header as it came in.
    pub header: Header,
    /// By which link it came; `None` if the node made it.
    pub by: Option<Lane>,
    /// When its first symbol was sent to the node, or when the node made it.
    pub entered: Time,
    /// When its first symbol left the node.
    pub left: Time,
}

/// One TLP has passed another, which the table forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rule}: at node {node} on {lane}: {} (in at {}, out at {}) passed {} (in at {}, out at {})",
    later.header, later.entered, later.left, earlier.header, earlier.entered, earlier.left
)]
pub struct Violation {
    /// The node in which it happened.
    pub node: u16,
    /// By which lane both left it.
    pub lane: Lane,
    /// The one that passed.
    pub later: Moved,
    /// The one that was passed.
    pub earlier: Moved,
    /// The case of the table that forbids it: `A2a`, `B2a`, `C2a`, `D2a` or `D5b`.
    pub rule: &'static str,
}

/// What a checker has found, and how much it has understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pairs that break the table, in the order in which it showed; the first thousand.
    pub violations: Vec<Violation>,
    /// How many there are beyond those.
    pub more_violations: u64,
    /// Pairs that break the table unless the later one completes an I/O or configuration write; the first thousand.
    pub undecided: Vec<Violation>,
    /// How many there are beyond those.
    pub more_undecided: u64,
    /// TLPs on links.
    pub seen: u64,
    /// Those of them that left a node into which they had come.
    pub matched: u64,
    /// Those that hadn't: the node made them, or something changed them.
    pub made: u64,
    /// TLPs that came into a node from which they might have gone on, and didn't so far.
    pub inside: u64,
    /// TLPs that left a node in which there were several that are the same.
    pub ambiguous: u64,
    /// TLPs that no longer count, as too many have come into their node since.
    pub forgotten: u64,
    /// TLPs with prefixes or headers that can't be read.
    pub unreadable: u64,
    /// TLPs on links that the topology hasn't got.
    pub unknown_links: u64,
}

impl Report {
    /// Whether nothing broke the table.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}
