//! The balance of resources.

use super::Resources;
use super::table::Slots;

/// How many of everything are alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// User contexts.
    pub uctxs: usize,
    /// UARs.
    pub uars: usize,
    /// Protection domains.
    pub pds: usize,
    /// Transport domains.
    pub transport_domains: usize,
    /// XRC domains.
    pub xrcds: usize,
    /// UMEMs.
    pub umems: usize,
    /// Event queues.
    pub eqs: usize,
    /// All completion queues with their owners.
    pub cqs: usize,
    /// Memory keys.
    pub mkeys: usize,
    /// Shared receive queues.
    pub srqs: usize,
    /// Receive memory pools.
    pub rmps: usize,
    /// Queue pairs.
    pub qps: usize,
    /// Queue pairs' places in multicast groups.
    pub attachments: usize,
    /// General objects.
    pub objects: usize,
    /// Q counters.
    pub q_counters: usize,
    /// Flow counters.
    pub flow_counters: usize,
    /// Pieces of memory on the device.
    pub memics: usize,
    /// Rates of packet pacing.
    pub rate_limits: usize,
    /// Scheduling elements.
    pub scheduling_elements: usize,
    /// Send queues.
    pub sqs: usize,
    /// Receive queues.
    pub rqs: usize,
    /// Tables of receive queues.
    pub rqts: usize,
    /// Transport interface receive objects.
    pub tirs: usize,
    /// Transport interface send objects.
    pub tiss: usize,
    /// Flow tables.
    pub flow_tables: usize,
    /// Groups of flow tables.
    pub flow_groups: usize,
    /// Entries of flow tables.
    pub flow_entries: usize,
    /// Uses of one resource by another, and of queue pairs by multicast groups.
    pub uses: usize,
    /// Entries in the lists of UMEMs, queues, memory keys, tables of receive queues and flows.
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

    /// Each kind by name, with how many of it are alive.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, usize); 30] {
        [
            ("user contexts", self.uctxs),
            ("UARs", self.uars),
            ("protection domains", self.pds),
            ("transport domains", self.transport_domains),
            ("XRC domains", self.xrcds),
            ("UMEMs", self.umems),
            ("event queues", self.eqs),
            ("completion queues", self.cqs),
            ("memory keys", self.mkeys),
            ("shared receive queues", self.srqs),
            ("receive memory pools", self.rmps),
            ("queue pairs", self.qps),
            ("multicast attachments", self.attachments),
            ("general objects", self.objects),
            ("Q counters", self.q_counters),
            ("flow counters", self.flow_counters),
            ("pieces of memory on the device", self.memics),
            ("rates of packet pacing", self.rate_limits),
            ("scheduling elements", self.scheduling_elements),
            ("send queues", self.sqs),
            ("receive queues", self.rqs),
            ("tables of receive queues", self.rqts),
            ("TIRs", self.tirs),
            ("TISs", self.tiss),
            ("flow tables", self.flow_tables),
            ("groups of flow tables", self.flow_groups),
            ("entries of flow tables", self.flow_entries),
            ("uses of one by another", self.uses),
            ("page list entries", self.page_entries),
            ("pages of host memory", self.pages_given),
        ]
    }
}

impl Resources {
    /// Counts everything alive.
    #[must_use]
    pub fn balance(&self) -> Balance {
        Balance {
            uctxs: self.uctxs.alive(),
            uars: self.uars.alive(),
            pds: self.pds.alive(),
            transport_domains: self.transport_domains.alive(),
            xrcds: self.xrcds.alive(),
            umems: self.umems.alive(),
            eqs: self.eqs.alive(),
            cqs: self.cqs.alive(),
            mkeys: self.mkeys.alive(),
            srqs: self.srqs.alive(),
            rmps: self.rmps.alive(),
            qps: self.qps.alive(),
            attachments: self.groups.attachments(),
            objects: self.objects.alive(),
            q_counters: self.q_counters.alive(),
            flow_counters: self.flow_counters.alive(),
            memics: self.memics.alive(),
            rate_limits: self.rate_limits.alive(),
            scheduling_elements: self.scheduling_elements.alive(),
            sqs: self.sqs.alive(),
            rqs: self.rqs.alive(),
            rqts: self.rqts.alive(),
            tirs: self.tirs.alive(),
            tiss: self.tiss.alive(),
            flow_tables: self.flow_tables.alive(),
            flow_groups: self.flow_groups.alive(),
            flow_entries: self.flow_entries.alive(),
            uses: self.tables().map(Slots::uses).sum::<usize>() + self.flow_counters.uses(),
            page_entries: self.page_entries,
            pages_given: self.pages.given(),
        }
    }
}
