//! The port as it is now: what the machine's owner makes of its link, and what the driver set.

use mlx5_twin_fw_cmds::constants::{
    PORT_CHANGE_SUBTYPE_ACTIVE, PORT_CHANGE_SUBTYPE_DOWN, PORT_CHANGE_SUBTYPE_INITIALIZED,
};
use mlx5_twin_fw_cmds::field::Field;

use super::Firmware;
use super::dispatch::Command;
use super::syndrome::Failure;
use crate::profile::{self, NODE_DESCRIPTION_BYTES, PortState};

/// The only port there is.
pub const PORT: u8 = 1;

/// What can change of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// State of the link, the driver's wish left aside.
    link: PortState,
    /// Whether the driver wants the port up (register PAOS).
    pub(super) admin_up: bool,
    /// PortInfo.CapabilityMask.
    pub(super) cap_mask1: u32,
    /// What the register NODE_DESC says.
    pub(super) node_description: [u8; NODE_DESCRIPTION_BYTES],
    /// How often the port went down, up to 255 (PortCounters.LinkDownedCounter).
    pub(super) link_downed: u8,
}

impl Port {
    /// The port after power-on.
    pub(super) fn new(profile: &profile::Port) -> Self {
        Self {
            link: profile.state,
            admin_up: true,
            cap_mask1: profile.cap_mask1,
            node_description: profile.description(),
            link_downed: 0,
        }
    }

    /// Forgets what the driver set. The link and its counter are not the driver's: they stay.
    pub(super) fn reset(&mut self, profile: &profile::Port) {
        *self = Self { link: self.link, link_downed: self.link_downed, ..Self::new(profile) };
    }

    /// The port's state: that of its link, or down if the driver wants it so.
    #[must_use]
    pub fn state(&self) -> PortState {
        if self.admin_up { self.link } else { PortState::Down }
    }

    /// PortInfo.PortPhysicalState (IBTA; Linux's `enum ib_port_phys_state`): polling, disabled or up.
    pub(super) fn physical_state(&self) -> u8 {
        match self.state() {
            PortState::Init | PortState::Active => 5,
            PortState::Down if self.admin_up => 2,
            PortState::Down => 3,
        }
    }

    /// Whether the driver wants the port up. Gives the port's new state if it's another one.
    pub(super) fn set_admin(&mut self, up: bool) -> Option<PortState> {
        self.change(|port| port.admin_up = up)
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Option<PortState> {
        let before = self.state();
        change(self);
        let state = self.state();
        if state == before {
            return None;
        }
        if state == PortState::Down {
            self.link_downed = self.link_downed.saturating_add(1);
        }
        Some(state)
    }
}

impl Firmware {
    /// The port as it is now.
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// The machine's owner gives the port's link another state. Gives the state that the port has from now on if it's another one
    /// than before: then an event of [`port_subtype`] is due. As long as the driver has the port down, nothing is to be seen of it.
    pub fn set_port_state(&mut self, link: PortState) -> Option<PortState> {
        self.port.change(|port| port.link = link)
    }
}

/// `sub_type` of the PORT_CHANGE event that tells of a state.
#[must_use]
pub const fn port_subtype(state: PortState) -> u8 {
    match state {
        PortState::Down => PORT_CHANGE_SUBTYPE_DOWN,
        PortState::Init => PORT_CHANGE_SUBTYPE_INITIALIZED,
        PortState::Active => PORT_CHANGE_SUBTYPE_ACTIVE,
    }
}

/// Checks that a field names the port: 1, or 0, which a driver of a single port sends (`vport.c`).
pub(super) fn named_port(command: &Command<'_>, field: Field) -> Result<(), Failure> {
    let port: u8 = command.get(field)?;
    if port > PORT { Err(Failure::PORT) } else { Ok(()) }
}
