//! A table of resources of one kind: number, owner, and how many other resources use each.

use super::ids::Ids;
use super::owner::Owner;
use super::queues::Queue;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// A kind of resource: its failures, so that each answers its own syndrome, and what it takes.
pub trait Kind {
    /// All numbers are taken.
    const FULL: Failure;
    /// No resource has this number.
    const UNKNOWN: Failure;
    /// The resource belongs to another uid.
    const FOREIGN: Failure;
    /// The resource is in use by another.
    const IN_USE: Failure;

    /// The queue that the resource is, if it is one.
    fn queue(&self) -> Option<&Queue> {
        None
    }

    /// What the resource uses.
    fn held(&self) -> Vec<Held> {
        self.queue().map(Queue::held).unwrap_or_default()
    }

    /// Entries of its page list.
    fn page_entries(&self) -> usize {
        self.queue().map_or(0, |queue| queue.buffer.page_entries())
    }
}

/// A table, whatever kind of resources it has.
pub(super) trait Slots {
    /// Checks that a command of `actor` may name the resource.
    fn nameable(&self, id: u32, actor: Owner) -> Result<(), Failure>;
    /// How many resources there are.
    fn alive(&self) -> usize;
    /// Whose the resource is; `None` if there is none.
    fn owner(&self, id: u32) -> Option<Owner>;
    /// Records one more use of a resource.
    fn hold(&mut self, id: u32);
    /// Records one use of a resource less.
    fn let_go(&mut self, id: u32);
    /// How many uses are recorded, over all resources.
    fn uses(&self) -> usize;
    /// Each use of another resource by one of these, with the owner of the user.
    fn uses_of_all(&self) -> Vec<(Owner, Held)>;
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

    fn slot(&self, id: u32) -> Option<&Slot<T>> {
        let index = id.checked_sub(self.first)? as usize;
        self.slots.get(index)?.as_ref()
    }

    fn slot_mut(&mut self, id: u32) -> Option<&mut Slot<T>> {
        let index = id.checked_sub(self.first)? as usize;
        self.slots.get_mut(index)?.as_mut()
    }
}

impl<T: Kind> Slots for Table<T> {
    fn alive(&self) -> usize {
        Table::alive(self)
    }

    fn nameable(&self, id: u32, actor: Owner) -> Result<(), Failure> {
        self.named(id, actor).map(drop)
    }

    fn owner(&self, id: u32) -> Option<Owner> {
        self.get(id).map(|(owner, _)| owner)
    }

    fn hold(&mut self, id: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users = slot.users.saturating_add(1);
        }
    }

    fn let_go(&mut self, id: u32) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users = slot.users.saturating_sub(1);
        }
    }

    fn uses(&self) -> usize {
        self.slots.iter().flatten().map(|slot| slot.users as usize).sum()
    }

    fn uses_of_all(&self) -> Vec<(Owner, Held)> {
        let all = self.iter().flat_map(|(_, owner, it)| it.held().into_iter().map(move |held| (owner, held)));
        all.collect()
    }
}
