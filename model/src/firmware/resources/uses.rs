//! What uses what: one way to add, change and destroy resources of any kind.

use super::flows::{FlowEntry, FlowGroup, FlowTable};
use super::memic::Memic;
use super::object::Object;
use super::owner::Owner;
use super::packets::{Rq, Rqt, Sq, Tir, Tis};
use super::queues::{Cq, Qp, Rmp, Srq};
use super::scheduling::SchedulingElement;
use super::simple::{Pd, QCounter, TransportDomain, Uar, Xrcd};
use super::table::{Kind, Slots, Table};
use super::{Eq, Mkey, PAGE_BUDGET, Resources, Umem};
use crate::firmware::syndrome::Failure;

/// A resource that another uses, and that can't be destroyed as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A UAR, by its index.
    Uar(u32),
    /// A protection domain.
    Pd(u32),
    /// A transport domain.
    TransportDomain(u32),
    /// An XRC domain.
    Xrcd(u32),
    /// A UMEM.
    Umem(u32),
    /// An event queue.
    Eq(u8),
    /// A completion queue.
    Cq(u32),
    /// A memory key, by its index.
    Mkey(u32),
    /// A shared receive queue, with XRC or without.
    Srq(u32),
    /// A receive memory pool.
    Rmp(u32),
    /// A queue pair.
    Qp(u32),
    /// A general object.
    Object(u32),
    /// Memory on the device.
    Memic(u32),
    /// A scheduling element.
    SchedulingElement(u32),
    /// A receive queue.
    Rq(u32),
    /// A table of receive queues.
    Rqt(u32),
    /// A transport interface receive object.
    Tir(u32),
    /// A transport interface send object.
    Tis(u32),
    /// A flow table.
    FlowTable(u32),
    /// A group of a flow table.
    FlowGroup(u32),
    /// A flow counter.
    FlowCounter(u32),
}

/// A kind of resource and the table that has all of it.
pub trait Stored: Kind + Sized {
    /// The table.
    fn table(all: &Resources) -> &Table<Self>;
    /// The table, to change it.
    fn table_mut(all: &mut Resources) -> &mut Table<Self>;
}

/// Says for each field of [`Resources`] that is a table which kind it has.
macro_rules! stored {
    ($($field:ident: $kind:ty;)+) => {
        $(impl Stored for $kind {
            fn table(all: &Resources) -> &Table<Self> {
                &all.$field
            }

            fn table_mut(all: &mut Resources) -> &mut Table<Self> {
                &mut all.$field
            }
        })+

        impl Resources {
            /// All tables.
            pub(super) fn tables(&self) -> impl Iterator<Item = &dyn Slots> {
                [$(&self.$field as &dyn Slots),+].into_iter()
            }
        }
    };
}

stored! {
    uars: Uar;
    pds: Pd;
    transport_domains: TransportDomain;
    xrcds: Xrcd;
    umems: Umem;
    eqs: Eq;
    cqs: Cq;
    mkeys: Mkey;
    srqs: Srq;
    rmps: Rmp;
    qps: Qp;
    q_counters: QCounter;
    objects: Object;
    memics: Memic;
    scheduling_elements: SchedulingElement;
    sqs: Sq;
    rqs: Rq;
    rqts: Rqt;
    tirs: Tir;
    tiss: Tis;
    flow_tables: FlowTable;
    flow_groups: FlowGroup;
    flow_entries: FlowEntry;
}

impl Resources {
    /// The resource, for a command of `actor` that names it.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`], [`Kind::FOREIGN`].
    pub(crate) fn named<T: Stored>(&self, id: u32, actor: Owner) -> Result<&T, Failure> {
        T::table(self).named(id, actor)
    }

    /// The resource, for a command of `actor` that changes it.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`], [`Kind::FOREIGN`].
    pub(crate) fn owned<T: Stored>(&self, id: u32, actor: Owner) -> Result<&T, Failure> {
        T::table(self).owned(id, actor)
    }

    /// Adds a resource, which from then on uses what it [holds](Kind::held).
    ///
    /// # Errors
    /// [`Failure::PAGE_BUDGET`]; those of naming what it uses, as its owner; [`Kind::FULL`].
    pub(crate) fn add<T: Stored>(&mut self, owner: Owner, value: T) -> Result<u32, Failure> {
        let entries = self.within_budget(0, value.page_entries())?;
        let held = value.held();
        self.all_nameable(&held, owner)?;
        let id = T::table_mut(self).insert(owner, value)?;
        self.page_entries = entries;
        self.count_uses(&held, true);
        Ok(id)
    }

    /// Puts a changed resource in the place of what it was.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`], and those of [`Resources::add`]; nothing has changed then.
    pub(crate) fn replace<T: Stored>(&mut self, id: u32, value: T) -> Result<(), Failure> {
        let (owner, old) = T::table(self).get(id).ok_or(T::UNKNOWN)?;
        let (old_held, held) = (old.held(), value.held());
        let entries = self.within_budget(old.page_entries(), value.page_entries())?;
        self.all_nameable(&held, owner)?;
        let slot = T::table_mut(self).get_mut(id).ok_or(T::UNKNOWN)?;
        *slot = value;
        self.page_entries = entries;
        self.count_uses(&held, true);
        self.count_uses(&old_held, false);
        Ok(())
    }

    /// Destroys a resource.
    ///
    /// # Errors
    /// [`Kind::UNKNOWN`]; [`Kind::FOREIGN`]; [`Kind::IN_USE`] if another resource uses it.
    pub(crate) fn remove<T: Stored>(&mut self, id: u32, actor: Owner) -> Result<T, Failure> {
        T::table(self).destroyable(id, actor)?;
        self.discard(id).ok_or(T::UNKNOWN)
    }

    /// Takes a resource out, whoever owns or uses it, and ends its uses.
    pub(crate) fn discard<T: Stored>(&mut self, id: u32) -> Option<T> {
        let value = T::table_mut(self).discard(id)?;
        self.page_entries -= value.page_entries();
        self.count_uses(&value.held(), false);
        Some(value)
    }

    /// Takes out all resources of a kind that `owner` has, by rising number.
    pub(super) fn discard_of<T: Stored>(&mut self, owner: Owner) -> Vec<u32> {
        let all = T::table(self).of(owner);
        for id in &all {
            self.discard::<T>(*id);
        }
        all
    }

    /// Whether a resource of `owner` is in use by one of another owner's.
    pub(super) fn is_used_by_another(&self, owner: Owner) -> bool {
        let others = self.tables().flat_map(Slots::uses_of_all).filter(|(user, _)| *user != owner);
        let mut used = others.map(|(_, held)| held);
        used.any(|held| {
            let (table, id) = self.slots(held);
            table.owner(id) == Some(owner)
        })
    }

    /// Checks that a command of `uid` may name a resource.
    ///
    /// # Errors
    /// Unknown or of another uid: the failure of that kind of resource.
    pub fn nameable(&self, one: Held, uid: u16) -> Result<(), Failure> {
        let (table, id) = self.slots(one);
        table.nameable(id, Owner::of(uid))
    }

    fn all_nameable(&self, held: &[Held], actor: Owner) -> Result<(), Failure> {
        held.iter().try_for_each(|one| {
            let (table, id) = self.slots(*one);
            table.nameable(id, actor)
        })
    }

    /// Records one more or one fewer use of each.
    pub(super) fn count_uses(&mut self, held: &[Held], more: bool) {
        for one in held {
            let (table, id) = self.slots_mut(*one);
            if more { table.hold(id) } else { table.let_go(id) }
        }
    }

    /// The table that a resource is in, and its number there.
    fn slots(&self, one: Held) -> (&dyn Slots, u32) {
        match one {
            Held::Uar(id) => (&self.uars, id),
            Held::Pd(id) => (&self.pds, id),
            Held::TransportDomain(id) => (&self.transport_domains, id),
            Held::Xrcd(id) => (&self.xrcds, id),
            Held::Umem(id) => (&self.umems, id),
            Held::Eq(eqn) => (&self.eqs, eqn.into()),
            Held::Cq(id) => (&self.cqs, id),
            Held::Mkey(id) => (&self.mkeys, id),
            Held::Srq(id) => (&self.srqs, id),
            Held::Rmp(id) => (&self.rmps, id),
            Held::Qp(id) => (&self.qps, id),
            Held::Object(id) => (&self.objects, id),
            Held::Memic(id) => (&self.memics, id),
            Held::SchedulingElement(id) => (&self.scheduling_elements, id),
            Held::Rq(id) => (&self.rqs, id),
            Held::Rqt(id) => (&self.rqts, id),
            Held::Tir(id) => (&self.tirs, id),
            Held::Tis(id) => (&self.tiss, id),
            Held::FlowTable(id) => (&self.flow_tables, id),
            Held::FlowGroup(id) => (&self.flow_groups, id),
            Held::FlowCounter(id) => (&self.flow_counters, id),
        }
    }

    fn slots_mut(&mut self, one: Held) -> (&mut dyn Slots, u32) {
        match one {
            Held::Uar(id) => (&mut self.uars, id),
            Held::Pd(id) => (&mut self.pds, id),
            Held::TransportDomain(id) => (&mut self.transport_domains, id),
            Held::Xrcd(id) => (&mut self.xrcds, id),
            Held::Umem(id) => (&mut self.umems, id),
            Held::Eq(eqn) => (&mut self.eqs, eqn.into()),
            Held::Cq(id) => (&mut self.cqs, id),
            Held::Mkey(id) => (&mut self.mkeys, id),
            Held::Srq(id) => (&mut self.srqs, id),
            Held::Rmp(id) => (&mut self.rmps, id),
            Held::Qp(id) => (&mut self.qps, id),
            Held::Object(id) => (&mut self.objects, id),
            Held::Memic(id) => (&mut self.memics, id),
            Held::SchedulingElement(id) => (&mut self.scheduling_elements, id),
            Held::Rq(id) => (&mut self.rqs, id),
            Held::Rqt(id) => (&mut self.rqts, id),
            Held::Tir(id) => (&mut self.tirs, id),
            Held::Tis(id) => (&mut self.tiss, id),
            Held::FlowTable(id) => (&mut self.flow_tables, id),
            Held::FlowGroup(id) => (&mut self.flow_groups, id),
            Held::FlowCounter(id) => (&mut self.flow_counters, id),
        }
    }

    /// How many entries the page lists have with `more` in place of `fewer`, if that is not too many.
    fn within_budget(&self, fewer: usize, more: usize) -> Result<usize, Failure> {
        let entries = self.page_entries.saturating_sub(fewer).saturating_add(more);
        if entries > PAGE_BUDGET { Err(Failure::PAGE_BUDGET) } else { Ok(entries) }
    }
}
