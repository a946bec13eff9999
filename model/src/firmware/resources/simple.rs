//! Resources that are no more than a number and an owner.

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// A user access region: a page of doorbells. Its index is the number of its page in BAR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uar;

/// A protection domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pd;

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
