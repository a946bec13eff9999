//! What the firmware owns on behalf of the driver and of user contexts.
//!
//! Every resource has a number (the lowest free one, from 1 on, so that a field left zero names
//! nothing), an owner (a uid, see [`owner`]) and a count of other resources that use it. One that
//! is in use can't be destroyed; one of another uid can't be named.

pub mod eq;
pub mod flow_counters;
pub mod ids;
mod limits;
pub mod object;
pub mod owner;
pub mod pages;
pub mod simple;
pub mod table;
pub mod uctx;
pub mod umem;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::object::ObjectType;

use super::syndrome::Failure;
pub use eq::{Eq, Progress};
pub use flow_counters::{FlowCounterTable, FlowCounters};
pub use limits::{Limits, MAX_OBJECTS, PAGE_BUDGET};
pub use object::{Held, Object};
pub use owner::{MAX_UID, Owner, SHARED_UID};
pub use pages::Pages;
pub use simple::{Pd, QCounter, Uar};
use table::Table;
pub use uctx::{Uctx, Uctxs};
pub use umem::{Access, Umem};

/// How many of everything are alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// User contexts.
    pub uctxs: usize,
    /// UARs.
    pub uars: usize,
    /// Protection domains.
    pub pds: usize,
    /// UMEMs.
    pub umems: usize,
    /// Event queues.
    pub eqs: usize,
    /// General objects.
    pub objects: usize,
    /// Q counters.
    pub q_counters: usize,
    /// Flow counters.
    pub flow_counters: usize,
    /// Uses of one resource by another.
    pub uses: usize,
    /// Entries in page lists of UMEMs and event queues.
    pub page_entries: usize,
    /// Pages of host memory the firmware holds.
    pub pages_given: usize,
}

impl Balance {
    /// Whether nothing is alive.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What went when a user context was destroyed, in the order in which it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// General objects, newest first.
    pub(crate) objects: Vec<(ObjectType, u32)>,
    /// Event queues, by rising number.
    pub(crate) eqs: Vec<u8>,
}

/// All resources of a function.
#[derive(Clone, Debug)]
pub struct Resources {
    pub(crate) limits: Limits,
    pub(crate) pages: Pages,
    pub(crate) uctxs: Uctxs,
    pub(crate) uars: Table<Uar>,
    pub(crate) pds: Table<Pd>,
    umems: Table<Umem>,
    eqs: Table<Eq>,
    pub(crate) objects: Table<Object>,
    pub(crate) q_counters: Table<QCounter>,
    pub(crate) flow_counters: FlowCounterTable,
    /// Entries in the page lists of UMEMs and event queues together.
    page_entries: usize,
    /// Number of general objects ever made: their age.
    objects_made: u64,
}

impl Resources {
    /// No resources, and room for `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            pages: Pages::default(),
            uctxs: Uctxs::new(limits.uctxs),
            uars: Table::new(limits.first_uar, limits.uars),
            pds: Table::new(1, limits.pds),
            umems: Table::new(1, limits.umems),
            eqs: Table::new(1, limits.eqs),
            objects: Table::new(1, MAX_OBJECTS),
            q_counters: Table::new(1, limits.q_counters),
            flow_counters: FlowCounterTable::new(limits.flow_counters),
            limits,
            page_entries: 0,
            objects_made: 0,
        }
    }

    /// Forgets everything but the pages given, and takes new limits.
    pub(crate) fn clear(&mut self, limits: Limits) {
        let mut pages = core::mem::take(&mut self.pages);
        pages.close();
        *self = Self { pages, ..Self::new(limits) };
    }

    /// What may be had at most.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts everything alive.
    #[must_use]
    pub fn balance(&self) -> Balance {
        Balance {
            uctxs: self.uctxs.alive(),
            uars: self.uars.alive(),
            pds: self.pds.alive(),
            umems: self.umems.alive(),
            eqs: self.eqs.alive(),
            objects: self.objects.alive(),
            q_counters: self.q_counters.alive(),
            flow_counters: self.flow_counters.alive(),
            uses: self.uars.uses() + self.pds.uses() + self.umems.uses() + self.eqs.uses() + self.objects.uses(),
            page_entries: self.page_entries,
            pages_given: self.pages.given(),
        }
    }

    /// How many objects of all kinds are alive; flow counters that were made together are one.
    #[must_use]
    pub fn alive(&self) -> usize {
        let tables = [
            self.uars.alive(),
            self.pds.alive(),
            self.umems.alive(),
            self.eqs.alive(),
            self.objects.alive(),
            self.q_counters.alive(),
        ];
        self.uctxs.alive() + tables.iter().sum::<usize>() + self.flow_counters.bulks()
    }

    /// Whether a uid may be in the header of a command: the driver's two, and those of the user
    /// contexts there are.
    #[must_use]
    pub fn knows(&self, uid: u16) -> bool {
        Owner::of(uid).is_driver() || self.uctxs.get(uid).is_some()
    }

    /// The event queue with this number, whoever asks.
    #[must_use]
    pub fn eq(&self, eqn: u8) -> Option<&Eq> {
        self.eqs.get(eqn.into()).map(|(_, eq)| eq)
    }

    /// Where the engine keeps how far an event queue is.
    pub fn eq_progress_mut(&mut self, eqn: u8) -> Option<&mut Progress> {
        self.eqs.get_mut(eqn.into()).map(|eq| &mut eq.progress)
    }

    /// The event queues that asked for events of this type, by rising number.
    pub fn eqs_for_event(&self, event: EventType) -> impl Iterator<Item = (u8, &Eq)> {
        let wanted = self.eqs.iter().filter(move |(_, _, eq)| eq.wants(event));
        wanted.filter_map(|(eqn, _, eq)| Some((u8::try_from(eqn).ok()?, eq)))
    }

    /// All event queues with their owners.
    #[must_use]
    pub fn eqs(&self) -> &Table<Eq> {
        &self.eqs
    }

    /// A UMEM that a command of `uid` names.
    ///
    /// # Errors
    /// [`Failure::UMEM_UNKNOWN`], [`Failure::UMEM_FOREIGN`].
    pub fn umem(&self, id: u32, uid: u16) -> Result<&Umem, Failure> {
        self.umems.named(id, Owner::of(uid))
    }

    /// All UMEMs with their owners.
    #[must_use]
    pub fn umems(&self) -> &Table<Umem> {
        &self.umems
    }

    /// All UARs with their owners.
    #[must_use]
    pub fn uars(&self) -> &Table<Uar> {
        &self.uars
    }

    /// All protection domains with their owners.
    #[must_use]
    pub fn pds(&self) -> &Table<Pd> {
        &self.pds
    }

    /// All general objects with their owners.
    #[must_use]
    pub fn objects(&self) -> &Table<Object> {
        &self.objects
    }

    /// All Q counters with their owners.
    #[must_use]
    pub fn q_counters(&self) -> &Table<QCounter> {
        &self.q_counters
    }

    /// All flow counters with their owners.
    #[must_use]
    pub fn flow_counters(&self) -> &FlowCounterTable {
        &self.flow_counters
    }

    /// All user contexts.
    #[must_use]
    pub fn uctxs(&self) -> &Uctxs {
        &self.uctxs
    }

    /// Checks that a command of `uid` may name a resource.
    ///
    /// # Errors
    /// Unknown or of another uid: the failure of that kind of resource.
    pub fn nameable(&self, one: Held, uid: u16) -> Result<(), Failure> {
        let actor = Owner::of(uid);
        match one {
            Held::Uar(id) => self.uars.named(id, actor).map(drop),
            Held::Pd(id) => self.pds.named(id, actor).map(drop),
            Held::Umem(id) => self.umems.named(id, actor).map(drop),
            Held::Eq(eqn) => self.eqs.named(eqn.into(), actor).map(drop),
            Held::Object(id) => self.objects.named(id, actor).map(drop),
        }
    }

    pub(crate) fn add_umem(&mut self, owner: Owner, umem: Umem) -> Result<u32, Failure> {
        let entries = self.within_budget(umem.page_count())?;
        let id = self.umems.insert(owner, umem)?;
        self.page_entries = entries;
        Ok(id)
    }

    pub(crate) fn remove_umem(&mut self, id: u32, actor: Owner) -> Result<(), Failure> {
        let umem = self.umems.remove(id, actor)?;
        self.page_entries -= umem.page_count();
        Ok(())
    }

    /// Adds an event queue, which from then on uses its UAR.
    pub(crate) fn add_eq(&mut self, owner: Owner, eq: Eq) -> Result<u8, Failure> {
        let entries = self.within_budget(eq.pages.len())?;
        self.uars.named(eq.uar_page, owner)?;
        let uar_page = eq.uar_page;
        let id = self.eqs.insert(owner, eq)?;
        self.page_entries = entries;
        self.uars.hold(uar_page);
        u8::try_from(id).map_err(|_| Failure::INTERNAL)
    }

    pub(crate) fn remove_eq(&mut self, eqn: u32, actor: Owner) -> Result<(), Failure> {
        let eq = self.eqs.remove(eqn, actor)?;
        self.forget_eq(&eq);
        Ok(())
    }

    fn forget_eq(&mut self, eq: &Eq) {
        self.page_entries -= eq.pages.len();
        self.uars.let_go(eq.uar_page);
    }

    /// Adds a general object that uses nothing yet.
    pub(crate) fn add_object(&mut self, owner: Owner, kind: ObjectType) -> Result<u32, Failure> {
        let object = Object { kind, held: Vec::new(), age: self.objects_made };
        let id = self.objects.insert(owner, object)?;
        self.objects_made += 1;
        Ok(id)
    }

    /// Records what a general object uses from now on, in place of what it used before.
    ///
    /// # Errors
    /// Those of naming each resource as the object's owner; nothing has changed then.
    pub(crate) fn set_held(&mut self, id: u32, held: Vec<Held>) -> Result<(), Failure> {
        let (owner, _) = self.objects.get(id).ok_or(Failure::OBJECT_UNKNOWN)?;
        for one in &held {
            // An object that used itself could never be destroyed.
            if *one == Held::Object(id) {
                return Err(Failure::OBJECT_UNKNOWN);
            }
            self.nameable(*one, owner.uid())?;
        }
        for one in &held {
            self.count_use(*one, true);
        }
        let Some(object) = self.objects.get_mut(id) else { return Err(Failure::OBJECT_UNKNOWN) };
        for one in core::mem::replace(&mut object.held, held) {
            self.count_use(one, false);
        }
        Ok(())
    }

    /// Takes a general object out, whoever owns it, and ends its uses.
    pub(crate) fn discard_object(&mut self, id: u32) {
        if let Some(object) = self.objects.discard(id) {
            for one in object.held {
                self.count_use(one, false);
            }
        }
    }

    /// Every general object, newest first.
    pub(crate) fn objects_by_age(&self) -> Vec<(u32, Owner, ObjectType)> {
        let mut all: Vec<_> = self.objects.iter().map(|(id, owner, it)| (it.age, id, owner, it.kind)).collect();
        all.sort_unstable_by_key(|&(age, ..)| core::cmp::Reverse(age));
        all.into_iter().map(|(_, id, owner, kind)| (id, owner, kind)).collect()
    }

    /// Takes out a user context and all that is left of it, in this order: general objects (newest
    /// first), event queues, UMEMs, protection domains, UARs, counters, the context.
    pub(crate) fn drop_uctx(&mut self, uid: u16) -> Result<Dropped, Failure> {
        let owner = Owner::of(uid);
        self.uctxs.remove(uid)?;
        let mut dropped = Dropped::default();
        for (id, of, kind) in self.objects_by_age() {
            if of == owner {
                self.discard_object(id);
                dropped.objects.push((kind, id));
            }
        }
        for eqn in self.eqs.of(owner) {
            if let Some(eq) = self.eqs.discard(eqn) {
                self.forget_eq(&eq);
                dropped.eqs.extend(u8::try_from(eqn));
            }
        }
        for id in self.umems.of(owner) {
            if let Some(umem) = self.umems.discard(id) {
                self.page_entries -= umem.page_count();
            }
        }
        for pd in self.pds.of(owner) {
            self.pds.discard(pd);
        }
        for uar in self.uars.of(owner) {
            self.uars.discard(uar);
        }
        for id in self.q_counters.of(owner) {
            self.q_counters.discard(id);
        }
        self.flow_counters.discard_of(owner);
        Ok(dropped)
    }

    fn count_use(&mut self, one: Held, more: bool) {
        match (one, more) {
            (Held::Uar(id), true) => self.uars.hold(id),
            (Held::Uar(id), false) => self.uars.let_go(id),
            (Held::Pd(id), true) => self.pds.hold(id),
            (Held::Pd(id), false) => self.pds.let_go(id),
            (Held::Umem(id), true) => self.umems.hold(id),
            (Held::Umem(id), false) => self.umems.let_go(id),
            (Held::Eq(eqn), true) => self.eqs.hold(eqn.into()),
            (Held::Eq(eqn), false) => self.eqs.let_go(eqn.into()),
            (Held::Object(id), true) => self.objects.hold(id),
            (Held::Object(id), false) => self.objects.let_go(id),
        }
    }

    /// How many entries the page lists have with `more`, if that is not too many.
    fn within_budget(&self, more: usize) -> Result<usize, Failure> {
        let entries = self.page_entries.saturating_add(more);
        if entries > PAGE_BUDGET { Err(Failure::PAGE_BUDGET) } else { Ok(entries) }
    }
}
