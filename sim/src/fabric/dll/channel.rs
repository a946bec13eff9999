//! Flow control of one virtual channel, at one end of a link.

use super::flow::{Amount, ClassGate, ClassLedger, UpdateTimer};
use super::init::{FcInit, InitState};
use super::limits::FC_REPEAT;
use crate::time::Time;

/// Flow control of one virtual channel.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// Software has enabled it at both ends; virtual channel 0 always is.
    pub(super) enabled: bool,
    pub(super) init: FcInit,
    /// When InitFCs that weren't heard are repeated.
    pub(super) say_at: Time,
    /// Known from FC_INIT2 on.
    pub(super) gates: Option<[ClassGate; 3]>,
    pub(super) ledgers: [ClassLedger; 3],
    pub(super) updates: [UpdateTimer; 3],
    /// Classes of which an UpdateFC may have been lost, so that the next regular one tells the transmitter something.
    pub(super) uncertain: [bool; 3],
    /// What stands in the receive buffer now, and what of it came before the channel began anew: its credits aren't given back.
    pub(super) held: [Amount; 3],
    pub(super) stale: [Amount; 3],
}

impl Channel {
    /// A channel with this VC ID as it begins, or begins anew: not enabled, and `held` still stands in its receive buffer of these sizes.
    pub(super) fn new(id: u8, rooms: [Amount; 3], scaled: bool, held: [Amount; 3], now: Time) -> Channel {
        Channel {
            enabled: false,
            init: FcInit::new(id),
            say_at: now,
            gates: None,
            ledgers: rooms.map(|room| ClassLedger::new(room, scaled)),
            updates: [UpdateTimer::new(now, FC_REPEAT); 3],
            uncertain: [false; 3],
            held,
            stale: held,
        }
    }

    pub(super) fn is_being_initialized(&self) -> bool {
        self.enabled && self.init.state() != InitState::Done
    }

    /// Whether it's enabled with this VC ID.
    pub(super) fn has_id(&self, id: u8) -> bool {
        self.enabled && self.init.channel() == id
    }

    /// When its next InitFC goes, if it's being initialized.
    pub(super) fn init_due(&self) -> Option<Time> {
        let due = if self.init.is_within_sequence() { Time::ZERO } else { self.say_at };
        self.is_being_initialized().then_some(due)
    }

    /// What counts of an amount in the receive buffer: there's no count of what is infinite.
    pub(super) fn finite(&self, class: usize, amount: Amount) -> Amount {
        let Some(ledger) = self.ledgers.get(class) else { return amount };
        Amount {
            headers: if ledger.headers.is_infinite() { 0 } else { amount.headers },
            data: if ledger.data.is_infinite() { 0 } else { amount.data },
        }
    }
}
