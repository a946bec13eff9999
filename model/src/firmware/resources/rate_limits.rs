//! The table of packet pacing's rates. The driver chooses the index of an entry; one with no rate is free.

use std::collections::BTreeMap;

use super::context::Context;
use super::owner::Owner;
use crate::firmware::syndrome::Failure;

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Who set it.
    pub owner: Owner,
    /// The rate, a `set_pp_rate_limit_context`.
    pub context: Context,
}

/// All entries that have a rate, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits(BTreeMap<u16, RateLimit>);

impl RateLimits {
    /// How many entries have a rate.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.0.len()
    }

    /// All entries that have a rate, by rising index.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &RateLimit)> {
        self.0.iter().map(|(index, entry)| (*index, entry))
    }

    /// Whether an entry has a rate.
    #[must_use]
    pub fn has(&self, index: u16) -> bool {
        self.0.contains_key(&index)
    }

    /// Gives an entry another rate, or none.
    ///
    /// # Errors
    /// [`Failure::RATE_FOREIGN`].
    pub(crate) fn set(&mut self, index: u16, owner: Owner, context: Option<Context>) -> Result<(), Failure> {
        if self.0.get(&index).is_some_and(|entry| !owner.may_destroy(entry.owner)) {
            return Err(Failure::RATE_FOREIGN);
        }
        match context {
            Some(context) => drop(self.0.insert(index, RateLimit { owner, context })),
            None => drop(self.0.remove(&index)),
        }
        Ok(())
    }

    /// Frees all entries of `owner`.
    pub(crate) fn discard_of(&mut self, owner: Owner) {
        self.0.retain(|_, entry| entry.owner != owner);
    }
}
