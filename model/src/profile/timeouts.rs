//! `[timeouts]`: how long a driver is to wait for the firmware.

use serde::Deserialize;

use super::{ProfileError, in_range};

/// Longest timeout in milliseconds: what 20 bits hold.
const MAX_MS: u32 = 0xf_ffff;

/// `[timeouts]`, in milliseconds. Without the section the initialization segment tells none, and Linux's driver takes its own
/// (`core/lib/tout.c`): 60 s for a command, 2 s between two looks at the health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// `cmd_q_init_to`: until the firmware has initialized the command queue, 1 to 2^20 - 1. Ours.
    pub init_ms: u32,
    /// `cmd_exec_to`: until a command is answered, 1 to 2^20 - 1.
    pub command_ms: u32,
    /// Register DTOR, `health_poll_to`: from one look at the health to the next, 1 to 2^20 - 1.
    pub health_poll_ms: u32,
}

impl Timeouts {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        in_range("timeouts.init_ms", self.init_ms, 1, MAX_MS)?;
        in_range("timeouts.command_ms", self.command_ms, 1, MAX_MS)?;
        in_range("timeouts.health_poll_ms", self.health_poll_ms, 1, MAX_MS)
    }
}
