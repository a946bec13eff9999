//! What befalls slots and what is in them: devices that come, go and are pulled out, faults of the power, latches, indicators.

use super::core::Core;
use super::downstream::{Affair, DownstreamPort, LinkState, PortEvent};
use super::ids::{NodeId, PortId};
use super::{Fabric, TopologyError};
use crate::config::SlotEvent;
use crate::probe::LinkId;

impl DownstreamPort {
    /// Whether the slot has power: software has it on, the power controller hasn't cut it, and no latch is open over it.
    pub(super) fn has_power(&self) -> bool {
        let open = self.config.slot_has_power_controller() && self.config.slot_latch_open();
        self.config.slot_powered() && !self.cut && !open
    }

    /// The registers were reset: power and indicators are what they say then, and the device isn't told of each.
    pub(super) fn after_reset(&mut self) {
        self.cut = false;
        self.powered = self.has_power();
        self.indicators = self.config.slot_indicators();
    }
}

impl Core {
    /// Lets the power controller of the slot above a device's end of a link find a fault: it cuts the power, until software has switched it off and on
    /// again. Does nothing without a power controller, or if the power is off.
    pub fn power_fault(&mut self, port: PortId) {
        self.tell_port_above(port, Affair::PowerFault);
    }

    /// Opens or closes the latch of the slot above a device's end of a link. With a power controller, an open latch takes the power away, until software
    /// has switched it off and on again. Does nothing without a sensor of the latch.
    pub fn set_latch(&mut self, port: PortId, open: bool) {
        self.tell_port_above(port, if open { Affair::LatchOpen } else { Affair::LatchClosed });
    }
}

impl Fabric {
    /// Pulls out what is at the lower end of a link, a device or a switch with all that is below it, without a warning: its link goes down, and what is
    /// under way on it is lost. In a slot its presence goes away too. Without a slot it's as if a cable were cut.
    ///
    /// # Errors
    /// [`TopologyError::NoLink`].
    pub fn unplug(&mut self, link: LinkId) -> Result<(), TopologyError> {
        self.befall(link, Affair::Unplugged)
    }

    /// Puts back what was pulled out by [`Fabric::unplug`], or puts into a slot what wasn't there yet. The link is trained if the slot has power.
    ///
    /// # Errors
    /// [`TopologyError::NoLink`].
    pub fn replug(&mut self, link: LinkId) -> Result<(), TopologyError> {
        self.befall(link, Affair::Plugged)
    }

    /// Presses the attention button of the slot at the upper end of a link, as [`Core::press_attention_button`].
    ///
    /// # Errors
    /// [`TopologyError::NoLink`].
    pub fn press_attention_button(&mut self, link: LinkId) -> Result<(), TopologyError> {
        self.befall(link, Affair::AttentionButton)
    }

    /// Lets the slot at the upper end of a link have a power fault, as [`Core::power_fault`].
    ///
    /// # Errors
    /// [`TopologyError::NoLink`].
    pub fn power_fault(&mut self, link: LinkId) -> Result<(), TopologyError> {
        self.befall(link, Affair::PowerFault)
    }

    /// Opens or closes the latch of the slot at the upper end of a link, as [`Core::set_latch`].
    ///
    /// # Errors
    /// [`TopologyError::NoLink`].
    pub fn set_latch(&mut self, link: LinkId, open: bool) -> Result<(), TopologyError> {
        self.befall(link, if open { Affair::LatchOpen } else { Affair::LatchClosed })
    }

    /// Sees that something happens to the port at the upper end of a link, now but not before this call is over.
    fn befall(&mut self, link: LinkId, affair: Affair) -> Result<(), TopologyError> {
        let [_, lower] = self.ends(link).ok_or(TopologyError::NoLink(link.0))?;
        self.core.tell_port_above(lower.port, affair);
        Ok(())
    }

    /// Something has happened to a slot, or to what is below a port.
    pub(super) fn slot_affair(&mut self, node: NodeId, number: usize, affair: Affair) {
        let Some(port) = self.port_mut(node, number) else { return };
        let (slot, up) = (port.config.is_hot_plug_slot(), port.link == LinkState::Up);
        match affair {
            Affair::Present | Affair::Absent if !slot => return,
            Affair::Present | Affair::Plugged => {
                port.unplugged = false;
                self.change(node, number, |config| config.set_slot_present(true));
            }
            Affair::Absent | Affair::Unplugged => {
                port.unplugged = affair == Affair::Unplugged;
                if up {
                    self.surprise_down(node, number);
                }
                self.change(node, number, |config| config.set_slot_present(false));
            }
            Affair::PowerFault => {
                let faulty = port.config.slot_has_power_controller() && port.has_power();
                if !faulty {
                    return;
                }
                port.cut = true;
                self.slot_event(node, number, SlotEvent::PowerFault);
            }
            _ => {
                let open = affair == Affair::LatchOpen;
                port.cut |=
                    open && port.config.slot_has_latch() && port.config.slot_has_power_controller() && port.has_power();
                self.change(node, number, |config| config.set_slot_latch(open));
            }
        }
        self.review(node);
    }

    /// What is below a port whose link is up is pulled out: the link is about to go down, and nobody has asked for it.
    fn surprise_down(&mut self, node: NodeId, number: usize) {
        self.surprise(node, number);
        if let Some(link) = self.port_mut(node, number).and_then(|port| port.port) {
            self.tell_below(link, PortEvent::SurpriseDown);
        }
    }

    /// Tells whoever is in a slot what its indicators show, if that has changed.
    pub(super) fn tell_indicators(&mut self, node: NodeId, number: usize) {
        let Some(port) = self.port_mut(node, number) else { return };
        let now = port.config.slot_indicators();
        let before = std::mem::replace(&mut port.indicators, now);
        let Some(link) = port.port else { return };
        if before.0 != now.0 {
            self.tell_below(link, PortEvent::AttentionIndicator(now.0));
        }
        if before.1 != now.1 {
            self.tell_below(link, PortEvent::PowerIndicator(now.1));
        }
    }
}
