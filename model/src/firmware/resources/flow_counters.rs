//! Flow counters: made one at a time or in bulks whose numbers follow each other.

use std::collections::BTreeMap;

use super::owner::Owner;
use super::table::Slots;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// Counters that were made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounters {
    /// Who made them.
    pub owner: Owner,
    /// How many there are.
    pub count: u32,
    /// How many entries of flow tables use one of them.
    pub users: u32,
}

/// All flow counters. Takes memory for each time some were made, however many.
#[derive(Clone, Debug)]
pub struct FlowCounterTable {
    /// By the first one's number.
    bulks: BTreeMap<u32, FlowCounters>,
    most: u32,
    alive: u32,
}

/// Numbers of a bulk begin at a multiple of this: the numbers that Linux asks for in one query do (`mlx5_cmd_fc_bulk_query`).
const ALIGNMENT: u32 = 4;

impl FlowCounterTable {
    /// No counters, and room for `most`.
    #[must_use]
    pub(crate) fn new(most: u32) -> Self {
        Self { bulks: BTreeMap::new(), most, alive: 0 }
    }

    /// How many times counters were made that are still there.
    #[must_use]
    pub fn bulks(&self) -> usize {
        self.bulks.len()
    }

    /// How many counters there are.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive as usize
    }

    /// All counters by the number of the first of each bulk.
    pub fn iter(&self) -> impl Iterator<Item = (u32, FlowCounters)> {
        self.bulks.iter().map(|(first, bulk)| (*first, *bulk))
    }

    /// Makes `count` counters, whose numbers are the lowest that are free and follow each other. A number is 1 or more.
    ///
    /// # Errors
    /// [`Failure::FLOW_COUNTER_FULL`].
    pub(crate) fn insert(&mut self, owner: Owner, count: u32) -> Result<u32, Failure> {
        let alive = self.alive.checked_add(count).filter(|alive| *alive <= self.most);
        let alive = alive.ok_or(Failure::FLOW_COUNTER_FULL)?;
        let align = |number: u32| if count > 1 { number.checked_next_multiple_of(ALIGNMENT) } else { Some(number) };
        let mut first = align(1);
        for (&taken, bulk) in &self.bulks {
            match first {
                Some(free) if taken.checked_sub(free).is_none_or(|gap| gap < count) => {
                    first = taken.checked_add(bulk.count).and_then(align);
                }
                _ => break,
            }
        }
        let first = first.filter(|first| first.checked_add(count).is_some()).ok_or(Failure::FLOW_COUNTER_FULL)?;
        self.bulks.insert(first, FlowCounters { owner, count, users: 0 });
        self.alive = alive;
        Ok(first)
    }

    /// Takes out the counters of which this is the first.
    ///
    /// # Errors
    /// [`Failure::FLOW_COUNTER_UNKNOWN`], also for one that is not the first; [`Failure::FLOW_COUNTER_FOREIGN`];
    /// [`Failure::FLOW_COUNTER_IN_USE`].
    pub(crate) fn remove(&mut self, first: u32, actor: Owner) -> Result<(), Failure> {
        let bulk = self.bulks.get(&first).ok_or(Failure::FLOW_COUNTER_UNKNOWN)?;
        if !actor.may_destroy(bulk.owner) {
            return Err(Failure::FLOW_COUNTER_FOREIGN);
        }
        if bulk.users > 0 {
            return Err(Failure::FLOW_COUNTER_IN_USE);
        }
        self.alive -= bulk.count;
        self.bulks.remove(&first);
        Ok(())
    }

    /// Checks that `actor` may name, or if it `clears` them change, all counters among the `count` numbers from `first` on. Numbers
    /// without a counter may be among them, but not alone: Linux asks for ranges.
    ///
    /// # Errors
    /// [`Failure::FLOW_COUNTER_UNKNOWN`], [`Failure::FLOW_COUNTER_FOREIGN`].
    pub(crate) fn named(&self, first: u32, count: u32, actor: Owner, clears: bool) -> Result<(), Failure> {
        let end = u64::from(first) + u64::from(count);
        let before = self.bulks.range(..first).next_back();
        let inside = self.bulks.range(first..).take_while(|(start, _)| u64::from(**start) < end);
        let mut touched =
            before.into_iter().filter(|(start, bulk)| *start + bulk.count > first).chain(inside).peekable();
        touched.peek().ok_or(Failure::FLOW_COUNTER_UNKNOWN)?;
        let may = |owner| if clears { actor.may_destroy(owner) } else { actor.may_name(owner) };
        if touched.all(|(_, bulk)| may(bulk.owner)) { Ok(()) } else { Err(Failure::FLOW_COUNTER_FOREIGN) }
    }

    /// Takes out all counters of `owner`.
    pub(crate) fn discard_of(&mut self, owner: Owner) {
        self.bulks.retain(|_, bulk| bulk.owner != owner);
        self.alive = self.bulks.values().map(|bulk| bulk.count).sum();
    }

    fn bulk_mut(&mut self, id: u32) -> Option<&mut FlowCounters> {
        let (first, bulk) = self.bulks.range_mut(..=id).next_back()?;
        (id - first < bulk.count).then_some(bulk)
    }
}

/// Each counter is one resource; owner and uses are those of its bulk.
impl Slots for FlowCounterTable {
    fn nameable(&self, id: u32, actor: Owner) -> Result<(), Failure> {
        self.named(id, 1, actor, false)
    }

    fn alive(&self) -> usize {
        self.alive()
    }

    fn owner(&self, id: u32) -> Option<Owner> {
        let (first, bulk) = self.bulks.range(..=id).next_back()?;
        (id - first < bulk.count).then_some(bulk.owner)
    }

    fn hold(&mut self, id: u32) {
        if let Some(bulk) = self.bulk_mut(id) {
            bulk.users += 1;
        }
    }

    fn let_go(&mut self, id: u32) {
        if let Some(bulk) = self.bulk_mut(id) {
            bulk.users -= 1;
        }
    }

    fn uses(&self) -> usize {
        self.bulks.values().map(|bulk| bulk.users as usize).sum()
    }

    fn uses_of_all(&self) -> Vec<(Owner, Held)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: Owner = Owner::User(1);

    #[test]
    fn the_lowest_gap_that_is_large_enough() {
        let mut table = FlowCounterTable::new(1000);
        assert_eq!([1, 1, 128, 1].map(|count| table.insert(ME, count)), [Ok(1), Ok(2), Ok(4), Ok(3)]);
        assert_eq!(table.insert(ME, 1), Ok(132));
        assert_eq!(table.remove(5, ME), Err(Failure::FLOW_COUNTER_UNKNOWN), "not the first");
        assert_eq!(table.remove(4, ME), Ok(()));
        assert_eq!(table.insert(ME, 256), Ok(136), "128 are too few");
        assert_eq!(table.insert(ME, 128), Ok(4));
        assert_eq!((table.alive(), table.bulks()), (3 + 1 + 256 + 128, 6));
        assert_eq!(table.insert(ME, 640), Err(Failure::FLOW_COUNTER_FULL));
    }

    proptest! {
        /// No two counters ever have the same number, and what is counted is there.
        #[test]
        fn numbers_are_nobody_elses(steps in prop::collection::vec((0u32..3, 0usize..9, 1u32..9), 0..80)) {
            let mut table = FlowCounterTable::new(64);
            for (kind, index, count) in steps {
                let firsts: Vec<u32> = table.iter().map(|(first, _)| first).collect();
                match firsts.get(index) {
                    Some(first) if kind == 0 => prop_assert_eq!(table.remove(*first, ME), Ok(())),
                    _ => drop(table.insert(ME, count)),
                }
                let mut end = 1;
                for (first, bulk) in table.iter() {
                    prop_assert!(first >= end && bulk.count > 0);
                    prop_assert!(bulk.count == 1 || first % ALIGNMENT == 0);
                    end = first + bulk.count;
                }
                prop_assert_eq!(table.alive(), table.iter().map(|(_, bulk)| bulk.count as usize).sum::<usize>());
                prop_assert!(table.alive() <= 64);
            }
        }
    }
}
