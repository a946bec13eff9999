//! Faults by rule: which TLPs on which link, and what happens to them; from a profile's section, a file, or code.
//!
//! The rules of a port see each TLP that is about to be sent there, before it waits for credits or the wire. Each draws from a stream of its
//! own, so that a seed means the same whatever other rules there are. All that fires is recorded with what was drawn ([`Fired`]); the record
//! is a list of rules, each for one TLP, that makes the same happen again without a draw.

mod act;
mod engine;
mod field;
mod fired;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod work;

pub use engine::{MAX_FIRED, Passing, Program, Rules, Witness};
pub use field::Field;
pub use fired::Fired;
pub use rule::{
    Action, Change, Draw, Filter, LinkRef, MAX_PAST, MAX_REPLAYS, MAX_RULES, MAX_SPAN, Occasion, Origin, Rule, Span,
};
pub use text::RuleError;
pub use work::MAX_HELD;

pub(crate) use work::Work;
