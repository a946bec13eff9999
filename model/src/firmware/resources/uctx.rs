//! User contexts: those who own what the driver itself does not.

use std::collections::BTreeMap;

use super::ids::Ids;
use super::owner::MAX_UID;
use crate::firmware::syndrome::Failure;

/// A user context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uctx {
    /// What it may do beyond the ordinary, as bits of the capability `uctx_cap`.
    pub cap: u32,
}

/// All user contexts, by uid. A uid is 1 to 0xfffe.
#[derive(Clone, Debug)]
pub struct Uctxs {
    ids: Ids,
    contexts: BTreeMap<u16, Uctx>,
}

impl Uctxs {
    /// No context, and room for `count`.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { ids: Ids::new(1, count.min(MAX_UID.into())), contexts: BTreeMap::new() }
    }

    /// How many contexts there are.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.contexts.len()
    }

    /// The context with this uid.
    #[must_use]
    pub fn get(&self, uid: u16) -> Option<&Uctx> {
        self.contexts.get(&uid)
    }

    /// All contexts by rising uid.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Uctx)> {
        self.contexts.iter().map(|(uid, context)| (*uid, context))
    }

    /// Adds a context under the lowest free uid.
    ///
    /// # Errors
    /// [`Failure::UCTX_FULL`].
    pub(crate) fn insert(&mut self, context: Uctx) -> Result<u16, Failure> {
        let id = self.ids.allocate().ok_or(Failure::UCTX_FULL)?;
        let uid = u16::try_from(id).map_err(|_| Failure::INTERNAL)?;
        self.contexts.insert(uid, context);
        Ok(uid)
    }

    /// Takes a context out.
    ///
    /// # Errors
    /// [`Failure::UCTX_UNKNOWN`].
    pub(crate) fn remove(&mut self, uid: u16) -> Result<Uctx, Failure> {
        let context = self.contexts.remove(&uid).ok_or(Failure::UCTX_UNKNOWN)?;
        self.ids.release(uid.into());
        Ok(context)
    }
}
