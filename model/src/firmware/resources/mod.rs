//! What the firmware owns on behalf of the driver and of user contexts.
//!
//! Every resource has a number (the lowest free one, never 0, so that a field left zero names
//! nothing), an owner (a uid, see [`owner`]) and a count of other resources that use it. One that
//! is in use can't be destroyed; one of another uid can't be named. What a resource uses, and how long
//! its page list is, it says itself ([`table::Kind`]); [`uses`] does all the rest.

mod balance;
pub mod buffer;
pub mod context;
pub mod eq;
pub mod flow_counters;
pub mod flows;
pub mod ids;
mod limits;
pub mod memic;
pub mod mkey;
pub mod multicast;
pub mod object;
pub mod owner;
pub mod packets;
pub mod pages;
pub mod queues;
pub mod rate_limits;
pub mod scheduling;
pub mod simple;
pub mod table;
pub mod uctx;
pub mod umem;
pub mod uses;

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::object::ObjectType;

use super::syndrome::Failure;
pub use balance::Balance;
pub use buffer::{Buffer, DoorbellRecord, PageList, UmemRange};
pub use context::Context;
pub use eq::{Eq, Progress};
pub use flow_counters::{FlowCounterTable, FlowCounters};
pub use flows::{FlowEntry, FlowGroup, FlowTable, MAX_FLOW_ENTRIES, MAX_FLOW_TABLES};
pub use limits::{FIRST_MKEY, FIRST_QPN, Limits, MAX_OBJECTS, PAGE_BUDGET};
pub use memic::Memic;
pub use mkey::Mkey;
pub use multicast::{Gid, Groups};
pub use object::Object;
pub use owner::{MAX_UID, Owner, SHARED_UID};
pub use packets::{Rq, Rqt, Sq, Tir, Tis};
pub use pages::Pages;
pub use queues::{Cq, Qp, Queue, Rmp, Srq};
pub use rate_limits::{RateLimit, RateLimits};
pub use scheduling::{MAX_SCHEDULING_ELEMENTS, SchedulingElement};
pub use simple::{Pd, QCounter, TransportDomain, Uar, Xrcd};
use table::{Slots, Table};
pub use uctx::{Uctx, Uctxs};
pub use umem::{Access, Umem};
pub use uses::{Held, Stored};

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
    transport_domains: Table<TransportDomain>,
    xrcds: Table<Xrcd>,
    umems: Table<Umem>,
    eqs: Table<Eq>,
    cqs: Table<Cq>,
    mkeys: Table<Mkey>,
    srqs: Table<Srq>,
    rmps: Table<Rmp>,
    qps: Table<Qp>,
    groups: Groups,
    pub(crate) objects: Table<Object>,
    q_counters: Table<QCounter>,
    pub(crate) flow_counters: FlowCounterTable,
    memics: Table<Memic>,
    pub(crate) rate_limits: RateLimits,
    scheduling_elements: Table<SchedulingElement>,
    sqs: Table<Sq>,
    rqs: Table<Rq>,
    rqts: Table<Rqt>,
    tirs: Table<Tir>,
    tiss: Table<Tis>,
    flow_tables: Table<FlowTable>,
    flow_groups: Table<FlowGroup>,
    flow_entries: Table<FlowEntry>,
    /// The table that packets meet first, by the tables' type.
    pub(crate) flow_roots: BTreeMap<u8, u32>,
    /// Entries in the page lists of UMEMs, queues and memory keys together.
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
            transport_domains: Table::new(1, limits.transport_domains),
            xrcds: Table::new(1, limits.xrcds),
            umems: Table::new(1, limits.umems),
            eqs: Table::new(1, limits.eqs),
            cqs: Table::new(1, limits.cqs),
            mkeys: Table::new(FIRST_MKEY, limits.mkeys),
            srqs: Table::new(1, limits.srqs),
            // Both kinds go by one field of a queue pair, and Linux keeps both by number in one array.
            rmps: Table::new(limits.srqs + 1, limits.rmps),
            qps: Table::new(FIRST_QPN, limits.qps),
            groups: Groups::new(limits.multicast_groups, limits.multicast_qps),
            objects: Table::new(1, MAX_OBJECTS),
            q_counters: Table::new(1, limits.q_counters),
            flow_counters: FlowCounterTable::new(limits.flow_counters),
            memics: Table::new(1, limits.memics),
            rate_limits: RateLimits::default(),
            scheduling_elements: Table::new(1, MAX_SCHEDULING_ELEMENTS),
            // Doorbells have only a number, whatever kind of queue it is of.
            sqs: Table::new(limits.first_sq(), limits.sqs),
            rqs: Table::new(limits.first_rq(), limits.rqs),
            rqts: Table::new(1, limits.rqts),
            tirs: Table::new(1, limits.tirs),
            tiss: Table::new(1, limits.tiss),
            flow_tables: Table::new(1, limits.flow_tables),
            flow_groups: Table::new(1, MAX_FLOW_TABLES),
            flow_entries: Table::new(1, MAX_FLOW_ENTRIES),
            flow_roots: BTreeMap::new(),
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

    /// How many objects of all kinds are alive; flow counters that were made together are one.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.uctxs.alive() + self.tables().map(Slots::alive).sum::<usize>() + self.flow_counters.bulks()
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

    /// All completion queues with their owners.
    #[must_use]
    pub fn cqs(&self) -> &Table<Cq> {
        &self.cqs
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

    /// The rates of packet pacing.
    #[must_use]
    pub fn rate_limits(&self) -> &RateLimits {
        &self.rate_limits
    }

    /// A completion queue, to keep its progress in.
    pub(crate) fn cq_mut(&mut self, cqn: u32) -> Option<&mut Cq> {
        self.cqs.get_mut(cqn)
    }

    /// A send queue, to keep its progress in.
    pub(crate) fn sq_mut(&mut self, sqn: u32) -> Option<&mut Sq> {
        self.sqs.get_mut(sqn)
    }

    /// A flow table, to keep its entries in.
    pub(crate) fn flow_table_mut(&mut self, id: u32) -> Option<&mut FlowTable> {
        self.flow_tables.get_mut(id)
    }

    /// All user contexts.
    #[must_use]
    pub fn uctxs(&self) -> &Uctxs {
        &self.uctxs
    }

    /// All resources of a kind with their owners: `resources.of::<Cq>()`.
    #[must_use]
    pub fn of<T: Stored>(&self) -> &Table<T> {
        T::table(self)
    }

    /// The multicast groups.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What a queue pair's `srqn_rmpn_xrqn` stands for.
    #[must_use]
    pub fn shared_queue(&self, number: u32) -> Held {
        if number > self.limits.srqs { Held::Rmp(number) } else { Held::Srq(number) }
    }

    /// Puts a queue pair into a multicast group, which uses it from then on.
    ///
    /// # Errors
    /// Those of [`Groups::attach`].
    pub(crate) fn attach(&mut self, gid: Gid, qpn: u32) -> Result<(), Failure> {
        self.groups.attach(gid, qpn)?;
        self.count_uses(&[Held::Qp(qpn)], true);
        Ok(())
    }

    /// Takes a queue pair out of a multicast group.
    ///
    /// # Errors
    /// Those of [`Groups::detach`].
    pub(crate) fn detach(&mut self, gid: Gid, qpn: u32) -> Result<(), Failure> {
        self.groups.detach(gid, qpn)?;
        self.count_uses(&[Held::Qp(qpn)], false);
        Ok(())
    }

    /// Adds a general object that uses nothing yet.
    pub(crate) fn add_object(&mut self, owner: Owner, kind: ObjectType) -> Result<u32, Failure> {
        let id = self.add(owner, Object { kind, held: Vec::new(), age: self.objects_made })?;
        self.objects_made += 1;
        Ok(id)
    }

    /// Records what a general object uses from now on, in place of what it used before.
    ///
    /// # Errors
    /// Those of naming each resource as the object's owner; nothing has changed then.
    pub(crate) fn set_held(&mut self, id: u32, held: Vec<Held>) -> Result<(), Failure> {
        let (_, object) = self.objects.get(id).ok_or(Failure::OBJECT_UNKNOWN)?;
        // An object that used itself could never be destroyed.
        if held.contains(&Held::Object(id)) {
            return Err(Failure::OBJECT_UNKNOWN);
        }
        let object = Object { held, ..object.clone() };
        self.replace(id, object)
    }

    /// Every general object, newest first.
    pub(crate) fn objects_by_age(&self) -> Vec<(u32, Owner, ObjectType)> {
        let mut all: Vec<_> = self.objects.iter().map(|(id, owner, it)| (it.age, id, owner, it.kind)).collect();
        all.sort_unstable_by_key(|&(age, ..)| core::cmp::Reverse(age));
        all.into_iter().map(|(_, id, owner, kind)| (id, owner, kind)).collect()
    }

    /// Takes out a user context and all that is left of it, users before what they use: general objects
    /// (newest first), flows, transport interfaces, queues of packets, queue pairs, memory keys, receive queues, completion queues, event queues,
    /// UMEMs, domains, UARs, counters, rates, scheduling elements, the context.
    ///
    /// # Errors
    /// [`Failure::UCTX_UNKNOWN`]; [`Failure::UCTX_IN_USE`] if another uid's resource uses one of it.
    pub(crate) fn drop_uctx(&mut self, uid: u16) -> Result<Dropped, Failure> {
        let owner = Owner::of(uid);
        self.uctxs.get(uid).ok_or(Failure::UCTX_UNKNOWN)?;
        if self.is_used_by_another(owner) {
            return Err(Failure::UCTX_IN_USE);
        }
        self.uctxs.remove(uid)?;
        let mut dropped = Dropped::default();
        for (id, of, kind) in self.objects_by_age() {
            if of == owner {
                self.discard::<Object>(id);
                dropped.objects.push((kind, id));
            }
        }
        self.discard_of::<FlowEntry>(owner);
        self.discard_of::<FlowGroup>(owner);
        let tables = self.discard_of::<FlowTable>(owner);
        self.flow_roots.retain(|_, root| !tables.contains(root));
        self.discard_of::<Tir>(owner);
        self.discard_of::<Rqt>(owner);
        self.discard_of::<Rq>(owner);
        self.discard_of::<Sq>(owner);
        self.discard_of::<Tis>(owner);
        for qpn in self.discard_of::<Qp>(owner) {
            self.groups.forget(qpn);
        }
        self.discard_of::<Mkey>(owner);
        self.discard_of::<Srq>(owner);
        self.discard_of::<Rmp>(owner);
        self.discard_of::<Cq>(owner);
        dropped.eqs = self.discard_of::<Eq>(owner).into_iter().filter_map(|eqn| u8::try_from(eqn).ok()).collect();
        self.discard_of::<Umem>(owner);
        self.discard_of::<Xrcd>(owner);
        self.discard_of::<TransportDomain>(owner);
        self.discard_of::<Pd>(owner);
        self.discard_of::<Uar>(owner);
        self.discard_of::<QCounter>(owner);
        self.flow_counters.discard_of(owner);
        self.discard_of::<Memic>(owner);
        self.rate_limits.discard_of(owner);
        self.discard_of::<SchedulingElement>(owner);
        Ok(dropped)
    }
}
