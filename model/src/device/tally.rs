//! What commands there were: how many of each, how long they took, and how many ended without success.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_sim::time::Time;

use crate::firmware::{Executed, Failure};

/// The commands of one opcode (ours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were carried out, whatever their status.
    pub count: u64,
    /// How many of them ended with a status other than OK.
    pub failed: u64,
    /// How many of them ended with BAD_OP because the model has no such command.
    pub unknown: u64,
    /// From doorbell to answer, all together; DMA included.
    pub time: Time,
}

/// The tallies of all opcodes that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies(BTreeMap<Opcode, Tally>);

impl Tallies {
    /// Counts a command that took so long.
    pub(super) fn count(&mut self, executed: &Executed, time: Time) {
        let tally = self.0.entry(executed.opcode).or_default();
        tally.count += 1;
        tally.failed += u64::from(executed.status != Status::OK);
        tally.unknown += u64::from(executed.syndrome == Failure::UNKNOWN_OPCODE.syndrome.0);
        tally.time += time;
    }

    /// All opcodes that were sent, in rising order. There are at most 65,536.
    pub fn iter(&self) -> impl Iterator<Item = (Opcode, Tally)> + '_ {
        self.0.iter().map(|(&opcode, &tally)| (opcode, tally))
    }
}
