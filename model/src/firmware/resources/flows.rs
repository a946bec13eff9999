//! Flow tables, the groups of their entries that match by the same mask, and entries. No packets are steered in the model: what the
//! driver said is kept, with all rules of what uses what.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::constants::FLOW_MISS_FORWARD;
use mlx5_twin_fw_cmds::layout::flow_table_context;

use super::context::Context;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// Flow tables at most, and groups. Ours: a group's mask takes 512 bytes of the simulator's memory.
pub const MAX_FLOW_TABLES: u32 = 1 << 12;

/// Entries of all flow tables together, at most. Ours: an entry takes about 1 KiB of the simulator's memory.
pub const MAX_FLOW_ENTRIES: u32 = 1 << 14;

/// A flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTable {
    /// Its type (`fs.h`, `enum fs_flow_table_type`).
    pub table_type: u8,
    /// What the driver said of it, a `flow_table_context`.
    pub context: Context,
    /// Its entries by their index, each with its number in the table of all entries.
    pub(crate) entries: BTreeMap<u32, u32>,
}

impl FlowTable {
    /// How many entries it has room for.
    #[must_use]
    pub fn size(&self) -> u64 {
        1 << self.context.get(flow_table_context::LOG_SIZE).min(32)
    }
}

/// A group of a flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowGroup {
    /// The table.
    pub table: u32,
    /// First index of its entries.
    pub first: u32,
    /// Last index of its entries.
    pub last: u32,
    /// Which parts of the mask are used (`match_criteria_enable`).
    pub enable: u8,
    /// The mask, a `fte_match_param`.
    pub criteria: Box<[u8]>,
}

/// An entry of a flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// Its group.
    pub group: u32,
    /// What it matches and what becomes of it, a `flow_context` without its lists.
    pub context: Context,
    /// Where packets go.
    pub destinations: Vec<Held>,
    /// Flow counters that count them.
    pub counters: Vec<u32>,
}

impl Kind for FlowTable {
    const FULL: Failure = Failure::FLOW_TABLE_FULL;
    const UNKNOWN: Failure = Failure::FLOW_TABLE_UNKNOWN;
    const FOREIGN: Failure = Failure::FLOW_TABLE_FOREIGN;
    const IN_USE: Failure = Failure::FLOW_TABLE_IN_USE;

    /// Where packets go that no entry takes.
    fn held(&self) -> Vec<Held> {
        if self.context.get(flow_table_context::TABLE_MISS_ACTION) == u64::from(FLOW_MISS_FORWARD) {
            vec![Held::FlowTable(self.context.get32(flow_table_context::TABLE_MISS_ID))]
        } else {
            Vec::new()
        }
    }
}

impl Kind for FlowGroup {
    const FULL: Failure = Failure::FLOW_GROUP_FULL;
    const UNKNOWN: Failure = Failure::FLOW_GROUP_UNKNOWN;
    // Commands name a group by its table, which is looked for first: another's is none of the table's.
    const FOREIGN: Failure = Failure::INTERNAL;
    const IN_USE: Failure = Failure::FLOW_GROUP_IN_USE;

    fn held(&self) -> Vec<Held> {
        vec![Held::FlowTable(self.table)]
    }
}

impl Kind for FlowEntry {
    const FULL: Failure = Failure::FLOW_ENTRY_FULL;
    const UNKNOWN: Failure = Failure::FLOW_ENTRY_UNKNOWN;
    // Whose it is, is said by its table, which is looked for first; and nothing uses one.
    const FOREIGN: Failure = Failure::INTERNAL;
    const IN_USE: Failure = Failure::INTERNAL;

    fn held(&self) -> Vec<Held> {
        let group = core::iter::once(Held::FlowGroup(self.group));
        let counters = self.counters.iter().map(|id| Held::FlowCounter(*id));
        group.chain(self.destinations.iter().copied()).chain(counters).collect()
    }

    /// Its lists take memory as one of pages does.
    fn page_entries(&self) -> usize {
        self.destinations.len() + self.counters.len()
    }
}
