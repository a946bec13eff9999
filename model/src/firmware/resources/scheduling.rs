//! Scheduling elements: a forest by which bandwidth is shared out. Its leaves are groups of queues.

use mlx5_twin_fw_cmds::constants::SCHEDULING_ELEMENT_TSAR;
use mlx5_twin_fw_cmds::layout::scheduling_context;

use super::context::Context;
use super::table::Kind;
use super::uses::Held;
use crate::firmware::syndrome::Failure;

/// Most elements: the number of a group of queues has 16 bits (rdma-core's `providers/mlx5/mlx5_ifc.h`, `qos_queue_group_id`), and 0
/// stands for none.
pub const MAX_SCHEDULING_ELEMENTS: u32 = 0xffff;

/// A scheduling element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulingElement {
    /// What the driver said of it, a `scheduling_context`.
    pub context: Context,
}

impl SchedulingElement {
    /// Whether other elements can be below it.
    #[must_use]
    pub fn is_tsar(&self) -> bool {
        self.context.get(scheduling_context::ELEMENT_TYPE) == u64::from(SCHEDULING_ELEMENT_TSAR)
    }

    /// The element above it; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<u32> {
        Some(self.context.get32(scheduling_context::PARENT_ELEMENT_ID)).filter(|parent| *parent != 0)
    }
}

impl Kind for SchedulingElement {
    const FULL: Failure = Failure::SCHEDULING_FULL;
    const UNKNOWN: Failure = Failure::SCHEDULING_UNKNOWN;
    const FOREIGN: Failure = Failure::SCHEDULING_FOREIGN;
    const IN_USE: Failure = Failure::SCHEDULING_IN_USE;

    fn held(&self) -> Vec<Held> {
        self.parent().map(Held::SchedulingElement).into_iter().collect()
    }
}
