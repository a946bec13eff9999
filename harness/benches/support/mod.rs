//! A device on the simulation, and commands for it.

use std::sync::Arc;

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::layout::{mbox_in, query_hca_cap_in, query_hca_cap_out};
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_harness::backend::Backend;
use mlx5_twin_harness::backend::sim::{Options, SimDevice};
use mlx5_twin_harness::profile;

/// An open context, and two commands.
pub(crate) struct Commands {
    backend: Arc<dyn Backend>,
    nop: Vec<u8>,
    query: Vec<u8>,
    _device: Arc<SimDevice>,
}

impl Commands {
    pub(crate) fn new() -> Commands {
        let profile = profile::load(None).expect("the default profile").profile;
        let device = SimDevice::new(&profile, 1, Options::default()).expect("a device");
        let backend = device.open().expect("a context");
        let mut nop = vec![0; 16];
        mbox_in::OPCODE.set(&mut nop, Opcode::NOP.0.into()).expect("room");
        let mut query = vec![0; query_hca_cap_in::SIZE];
        let op_mod = CapType::GENERAL.op_mod(CapMode::Current);
        mbox_in::OPCODE.set(&mut query, Opcode::QUERY_HCA_CAP.0.into()).expect("room");
        mbox_in::OP_MOD.set(&mut query, op_mod.into()).expect("room");
        let commands = Commands { backend, nop, query, _device: device };
        commands.nop();
        commands.query_hca_cap();
        commands
    }

    /// The command that does nothing.
    pub(crate) fn nop(&self) -> Vec<u8> {
        self.backend.general_command(&self.nop, 16).expect("NOP")
    }

    /// The general capabilities: an answer of 4 KiB, in nine mailbox blocks.
    pub(crate) fn query_hca_cap(&self) -> Vec<u8> {
        self.backend.general_command(&self.query, query_hca_cap_out::SIZE).expect("QUERY_HCA_CAP")
    }
}
