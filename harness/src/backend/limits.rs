//! Rules of the kernel that every backend keeps.

use mlx5_twin_fw_cmds::event::EventType;

use super::Error;

/// Event types of one subscription (`MAX_NUM_EVENTS` of Linux's `drivers/infiniband/hw/mlx5/devx.c`).
const MOST_EVENTS: usize = 16;

/// A subscription is to one event type at least (`MLX5_IB_ATTR_DEVX_SUBSCRIBE_EVENT_TYPE_NUM_LIST` has room for one), and not to too many.
pub(crate) fn check_event_types(events: &[EventType]) -> Result<(), Error> {
    if (1..=MOST_EVENTS).contains(&events.len()) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{} event types in one subscription: must be 1 to {MOST_EVENTS}", events.len())))
}
