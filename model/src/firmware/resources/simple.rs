//! Resources that are no more than a number and an owner.

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// A user access region: a page of doorbells. Its index is the number of its page in BAR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uar;

/// A protection domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pd;

/// A set of counters for queue pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QCounter;

impl Kind for Uar {
    const FULL: Failure = Failure::UAR_FULL;
    const UNKNOWN: Failure = Failure::UAR_UNKNOWN;
    const FOREIGN: Failure = Failure::UAR_FOREIGN;
    const IN_USE: Failure = Failure::UAR_IN_USE;
}

impl Kind for Pd {
    const FULL: Failure = Failure::PD_FULL;
    const UNKNOWN: Failure = Failure::PD_UNKNOWN;
    const FOREIGN: Failure = Failure::PD_FOREIGN;
    const IN_USE: Failure = Failure::PD_IN_USE;
}

impl Kind for QCounter {
    const FULL: Failure = Failure::Q_COUNTER_FULL;
    const UNKNOWN: Failure = Failure::Q_COUNTER_UNKNOWN;
    const FOREIGN: Failure = Failure::Q_COUNTER_FOREIGN;
    /// Nothing uses one: a queue pair only names it.
    const IN_USE: Failure = Failure::INTERNAL;
}
