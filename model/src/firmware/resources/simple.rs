//! Resources that are no more than a number and an owner.

use super::table::Kind;
use crate::firmware::syndrome::Failure;

/// Makes each kind, with its failures: all numbers taken, unknown, of another uid, in use.
macro_rules! simple {
    ($($(#[doc = $doc:literal])+ $name:ident: $full:ident, $unknown:ident, $foreign:ident, $in_use:ident;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name;

            impl Kind for $name {
                const FULL: Failure = Failure::$full;
                const UNKNOWN: Failure = Failure::$unknown;
                const FOREIGN: Failure = Failure::$foreign;
                const IN_USE: Failure = Failure::$in_use;
            }
        )+
    };
}

simple! {
    /// A user access region: a page of doorbells. Its index is the number of its page in BAR0.
    Uar: UAR_FULL, UAR_UNKNOWN, UAR_FOREIGN, UAR_IN_USE;
    /// A protection domain.
    Pd: PD_FULL, PD_UNKNOWN, PD_FOREIGN, PD_IN_USE;
    /// A transport domain.
    TransportDomain: TD_FULL, TD_UNKNOWN, TD_FOREIGN, TD_IN_USE;
    /// An XRC domain.
    Xrcd: XRCD_FULL, XRCD_UNKNOWN, XRCD_FOREIGN, XRCD_IN_USE;
    /// A set of counters for queue pairs. Nothing uses one: a queue pair only names it.
    QCounter: Q_COUNTER_FULL, Q_COUNTER_UNKNOWN, Q_COUNTER_FOREIGN, INTERNAL;
}
