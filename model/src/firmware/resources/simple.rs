//! Resources that are no more than a number and an owner.

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// A user access region: a page of doorbells. Its index is the number of its page in BAR0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uar;

/// A protection domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pd;

/// A transport domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportDomain;

/// An XRC domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Xrcd;

/// A set of counters for queue pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl Kind for TransportDomain {
    const FULL: Failure = Failure::TD_FULL;
    const UNKNOWN: Failure = Failure::TD_UNKNOWN;
    const FOREIGN: Failure = Failure::TD_FOREIGN;
    const IN_USE: Failure = Failure::TD_IN_USE;
}

impl Kind for Xrcd {
    const FULL: Failure = Failure::XRCD_FULL;
    const UNKNOWN: Failure = Failure::XRCD_UNKNOWN;
    const FOREIGN: Failure = Failure::XRCD_FOREIGN;
    const IN_USE: Failure = Failure::XRCD_IN_USE;
}

impl Kind for QCounter {
    const FULL: Failure = Failure::Q_COUNTER_FULL;
    const UNKNOWN: Failure = Failure::Q_COUNTER_UNKNOWN;
    const FOREIGN: Failure = Failure::Q_COUNTER_FOREIGN;
    /// Nothing uses one: a queue pair only names it.
    const IN_USE: Failure = Failure::INTERNAL;
}
