//! A table of resources of one kind: number, owner, and how many other resources use each.

use super::ids::Ids;
use super::owner::Owner;
use crate::firmware::syndrome::Failure;

/// The failures of a kind of resource, so that each answers its own syndrome.
pub trait Kind {
    /// All numbers are taken.
    const FULL: Failure;
    /// No resource has this number.
    const UNKNOWN: Failure;
    /// The resource belongs to another uid.
    const FOREIGN: Failure;
    /// The resource is in use by another.
    const IN_USE: Failure;
}

#[derive(Clone, Debug)]
struct Slot<T> {
    owner: Owner,
    /// How many other resources use this one.
    users: u32,
    value: T,
}

/// All resources of one kind. Takes memory for the highest number ever used, not for the limit.
#[derive(Clone, Debug)]
pub struct Table<T> {
    first: u32,
    ids: Ids,
    slots: Vec<Option<Slot<T>>>,
}

impl<T: Kind> Table<T> {
    /// An empty table of at most `count` resources, numbered from `first` on.
    #[must_use]
    pub fn new(first: u32, count: u32) -> Self {
        Self { first, ids: Ids::new(first, count), slots: Vec::new() }
    }

    /// How many resources there are.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.ids.alive()
    }

    /// The resource and its owner, whoever asks; `None` if no resource has this number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<(Owner, &T)> {
        self.slot(id).map(|slot| (slot.owner, &slot.value))
    }

    /// The resource, whoever asks.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.slot_mut(id).map(|slot| &mut slot.value)
    }

    /// All resources by rising number, with their owners.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Owner, &T)> {
        (self.first..).zip(&self.slots).filter_map(|(id, slot)| {
            let slot = slot.as_ref()?;
            Some((id, slot.owner, &slot.value))
        })
    }

    /// How many uses are recorded, over all resources.
    #[must_use]
    pub fn uses(&self) -> usize {
        self.slots.iter().flatten().map(|slot| slot.users as usize).sum()
    }

    /// The resource, for a command of `actor` that names it.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`]; [`Kind::FOREIGN`] if the actor may not name it.
    pub fn named(&self, id: u32, actor: Owner) -> Result<&T, Failure> {
        let slot = self.slot(id).ok_or(T::UNKNOWN)?;
        if actor.may_name(slot.owner) { Ok(&slot.value) } else { Err(T::FOREIGN) }
    }

    /// Checks that `actor` may change the resource or destroy it.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`]; [`Kind::FOREIGN`] if it is not the actor's own.
    pub fn owned(&self, id: u32, actor: Owner) -> Result<&T, Failure> {
        let slot = self.slot(id).ok_or(T::UNKNOWN)?;
        if actor.may_destroy(slot.owner) { Ok(&slot.value) } else { Err(T::FOREIGN) }
    }

    /// Checks that `actor` may destroy the resource now.
    ///
    /// # Errors
    /// As [`Table::owned`]; [`Kind::IN_USE`] if another resource uses it.
    pub fn destroyable(&self, id: u32, actor: Owner) -> Result<&T, Failure> {
        let value = self.owned(id, actor)?;
        match self.slot(id) {
            Some(slot) if slot.users > 0 => Err(T::IN_USE),
            _ => Ok(value),
        }
    }

    /// Adds a resource under the lowest free number.
    ///
    /// # Errors
    /// [`Kind::FULL`].
    pub(crate) fn insert(&mut self, owner: Owner, value: T) -> Result<u32, Failure> {
        let id = self.ids.allocate().ok_or(T::FULL)?;
        let index = (id - self.first) as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Slot { owner, users: 0, value });
        Ok(id)
    }

    /// Takes a resource out.
    ///
    /// # Errors
    /// As [`Table::destroyable`]; the table is unchanged then.
    pub(crate) fn remove(&mut self, id: u32, actor: Owner) -> Result<T, Failure> {
        self.destroyable(id, actor)?;
        self.discard(id).ok_or(T::UNKNOWN)
    }

    /// Takes a resource out, whoever owns or uses it.
    pub(crate) fn discard(&mut self, id: u32) -> Option<T> {
        let index = id.checked_sub(self.first)? as usize;
        let slot = self.slots.get_mut(index)?.take()?;
        self.ids.release(id);
        Some(slot.value)
    }

    /// Numbers of all resources of `owner`, rising.
    pub(crate) fn of(&self, owner: Owner) -> Vec<u32> {
        self.iter().filter(|&(_, of, _)| of == owner).map(|(id, _, _)| id).collect()
    }

    /// Records one more use of a resource.
    pub(crate) fn hold(&mut self, id: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users = slot.users.saturating_add(1);
        }
    }

    /// Records one use of a resource less.
    pub(crate) fn let_go(&mut self, id: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users = slot.users.saturating_sub(1);
        }
    }

    fn slot(&self, id: u32) -> Option<&Slot<T>> {
        let index = id.checked_sub(self.first)? as usize;
        self.slots.get(index)?.as_ref()
    }

    fn slot_mut(&mut self, id: u32) -> Option<&mut Slot<T>> {
        let index = id.checked_sub(self.first)? as usize;
        self.slots.get_mut(index)?.as_mut()
    }
}
