//! The downstream ports of the device's switch, and the life of the function at a hot-plug port.
//!
//! A function at a hot-plug port is made, plugged in, unplugged and destroyed by commands. It belongs to no context: it outlives the program that
//! made it. While a context has claimed it, only that one may do any of this.

use std::fmt;

use mlx5_twin_fw_cmds::layout::{
    modify_emulated_port_in, modify_emulated_port_out, query_emulated_port_in, query_emulated_port_out,
};
use mlx5_twin_fw_cmds::twin_v1::{MODIFY_EMULATED_PORT, QUERY_EMULATED_PORT, port_op};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Bdf;

use super::{Error, HotplugState};
use crate::backend::Backend;
use crate::channel;

/// The downstream port of the device's switch that a function is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Whether there's a function, visible to the host or not.
    pub present: bool,
    /// Whether the port has a static function; else it's a hot-plug port.
    pub is_static: bool,
    /// The function's state: `PowerOn` for a static one, `PowerOff` where there's none.
    pub state: HotplugState,
    /// Whether a context has claimed the function.
    pub claimed: bool,
    /// Whether the port's link is up.
    pub link_active: bool,
    /// The function's bus, device and function number, from the last configuration write since its link came up; 0 before it.
    pub id: Bdf,
    /// What the clock of the function's host shows if it stands still while software keeps the host waiting; zero where there's no such clock.
    pub host_time: Time,
}

impl Port {
    /// Makes a function at a hot-plug port: powered off, invisible to the host, claimed by nobody.
    ///
    /// # Errors
    /// What the device refuses: there's one already, or it isn't a hot-plug port.
    pub fn create(self, backend: &dyn Backend) -> Result<(), Error> {
        self.modify(backend, port_op::CREATE).map(drop)
    }

    /// Destroys the function at a hot-plug port, which must be powered off and claimed by nobody.
    ///
    /// # Errors
    /// What the device refuses.
    pub fn destroy(self, backend: &dyn Backend) -> Result<(), Error> {
        self.modify(backend, port_op::DESTROY).map(drop)
    }

    /// Puts the function into its slot: gives its state, which is `PlugInProgress`. When the host has powered the slot on and the link is up,
    /// [`Request::Hotplug`](super::Request::Hotplug) tells of `PowerOn`.
    ///
    /// # Errors
    /// What the device refuses: the function isn't powered off, or another context has claimed it.
    pub fn plug(self, backend: &dyn Backend) -> Result<HotplugState, Error> {
        self.modify(backend, port_op::PLUG)
    }

    /// Asks the host to let the function go: gives its state, which is `UnplugInProgress`, or `PowerOff` if the slot has no power. When the
    /// host has switched the power off, [`Request::Hotplug`](super::Request::Hotplug) tells of `PowerOff`.
    ///
    /// # Errors
    /// What the device refuses: the function isn't plugged in, or another context has claimed it.
    pub fn unplug(self, backend: &dyn Backend) -> Result<HotplugState, Error> {
        self.modify(backend, port_op::UNPLUG)
    }

    /// Asks what is at the port.
    ///
    /// # Errors
    /// What the device refuses: there's no such port. [`channel::Error::HotplugState`] if it names a state that there isn't.
    pub fn query(self, backend: &dyn Backend) -> Result<PortStatus, Error> {
        let mut input = [0; query_emulated_port_in::SIZE];
        query_emulated_port_in::OPCODE.set(&mut input, u64::from(QUERY_EMULATED_PORT.0))?;
        query_emulated_port_in::PORT.set(&mut input, u64::from(self.0))?;
        let output = backend.general_command(&input, query_emulated_port_out::SIZE)?;
        use query_emulated_port_out as out;
        Ok(PortStatus {
            present: out::PRESENT.get(&output)? != 0,
            is_static: out::STATIC.get(&output)? != 0,
            state: state(out::HOTPLUG_STATE.get(&output)?)?,
            claimed: out::CLAIMED.get(&output)? != 0,
            link_active: out::LINK_ACTIVE.get(&output)? != 0,
            id: Bdf(out::FUNCTION_ID.get(&output)? as u16),
            host_time: Time(out::HOST_TIME_PS.get(&output)?),
        })
    }

    fn modify(self, backend: &dyn Backend, operation: u16) -> Result<HotplugState, Error> {
        let mut input = [0; modify_emulated_port_in::SIZE];
        modify_emulated_port_in::OPCODE.set(&mut input, u64::from(MODIFY_EMULATED_PORT.0))?;
        modify_emulated_port_in::OP_MOD.set(&mut input, u64::from(operation))?;
        modify_emulated_port_in::PORT.set(&mut input, u64::from(self.0))?;
        let output = backend.general_command(&input, modify_emulated_port_out::SIZE)?;
        state(modify_emulated_port_out::HOTPLUG_STATE.get(&output)?)
    }
}

fn state(number: u64) -> Result<HotplugState, Error> {
    HotplugState::from_number(number).ok_or(Error::Channel(channel::Error::HotplugState(number)))
}
