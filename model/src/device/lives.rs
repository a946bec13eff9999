//! What a driver leaves behind when it goes: nothing, if it's sound.

use mlx5_twin_fw_cmds::opcode::Opcode;

use crate::firmware::Balance;

/// How often the function was given up, and what was left then (ours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// INIT_HCA: how often a driver brought the function up.
    pub begun: u64,
    /// TEARDOWN_HCA: how often it took it down.
    pub torn_down: u64,
    /// How many of these, and of DISABLE_HCA, found something left: resources, or at DISABLE_HCA pages.
    pub unclean: u64,
    /// What the last one of them found.
    pub left: Balance,
    /// Resets: function-level ones, of the link, or asked for by the interface state.
    pub resets: u64,
}

impl Lives {
    /// A command is about to be carried out, with this balance.
    pub(super) fn command(&mut self, opcode: Opcode, balance: Balance) {
        let left = match opcode {
            Opcode::INIT_HCA => {
                self.begun += 1;
                return;
            }
            Opcode::TEARDOWN_HCA => {
                self.torn_down += 1;
                // They're taken back afterwards.
                Balance { pages_given: 0, ..balance }
            }
            Opcode::DISABLE_HCA => balance,
            _ => return,
        };
        if !left.is_zero() {
            self.unclean += 1;
            self.left = left;
        }
    }
}
