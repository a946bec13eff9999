//! The record of the faults that happened: enough to have the same ones again without a draw.

use serde::{Serialize, Serializer};

use super::rule::{Action, Occasion, Origin, Rule};
use crate::probe::{Direction, LinkId};
use crate::time::Time;

/// A fault that happened.
///
/// It's written down as the [`Rule`] that makes it happen again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The number of the rule, from 1 on in the order in which they were set; 0 if it was a program.
    pub rule: u32,
    /// On which link.
    pub link: LinkId,
    /// In which direction; none of a link that went down at a time.
    pub direction: Option<Direction>,
    /// The number of the TLP on that link and direction, from 0 on, counted from when rules were set and while the link is up. What's
    /// dropped counts, and what's sent a second time doesn't. None if there was no TLP.
    pub sequence: Option<u64>,
    /// When: when the TLP was about to be sent, before it waited for credits or the wire.
    pub at: Time,
    /// The TLP's header before that, in DWs.
    pub header: Option<[u32; 4]>,
    /// What was done, with all that was drawn.
    pub action: Action,
}

impl Fired {
    /// The rule that makes it happen again, and nothing else, if all that came before is the same.
    pub fn rule(&self) -> Rule {
        let Fired { rule, link, direction, sequence, at, header, action } = *self;
        Rule {
            link: Some(link.into()),
            direction,
            occasion: Occasion { sequence, at: sequence.is_none().then_some(at), ..Occasion::default() },
            origin: Some(Origin { rule, at, header }),
            ..Rule::new(action)
        }
    }
}

impl Serialize for Fired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rule().serialize(serializer)
    }
}
