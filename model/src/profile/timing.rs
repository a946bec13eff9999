//! `[firmware_timing]`: how long commands take.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::opcode::Opcode;
use serde::Deserialize;

use super::{ProfileError, in_range};

/// The longest a command may take, in nanoseconds: 60 s, after which Linux gives it up.
pub const MAX_COMMAND_NS: u64 = 60_000_000_000;

/// `[firmware_timing]`: nanoseconds from the doorbell's arrival to the answer being ready, without
/// the DMA of command and answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirmwareTiming {
    /// For any command that has no time of its own, in nanoseconds, 0 to [`MAX_COMMAND_NS`].
    pub command_ns: u64,
    /// By the command's name, in nanoseconds, 0 to [`MAX_COMMAND_NS`].
    pub commands: BTreeMap<String, u64>,
}

impl Default for FirmwareTiming {
    /// 10 us for any command: uncalibrated.
    fn default() -> Self {
        Self { command_ns: 10_000, commands: BTreeMap::new() }
    }
}

impl FirmwareTiming {
    /// Checks names and ranges.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`], [`ProfileError::UnknownCommand`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        in_range("firmware_timing.command_ns", self.command_ns, 0, MAX_COMMAND_NS)?;
        for (name, &ns) in &self.commands {
            if Opcode::from_name(name).is_none() {
                return Err(ProfileError::UnknownCommand { name: name.clone() });
            }
            in_range(&format!("firmware_timing.commands.{name}"), ns, 0, MAX_COMMAND_NS)?;
        }
        Ok(())
    }

    /// How long a command takes, in nanoseconds.
    #[must_use]
    pub fn command_ns(&self, opcode: Opcode) -> u64 {
        let own = opcode.name().and_then(|name| self.commands.get(name));
        own.copied().unwrap_or(self.command_ns)
    }
}
