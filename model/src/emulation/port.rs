//! The downstream ports of the device's switch: what is at them, the life of a function at a hot-plug port, and what the host does to their links.

use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::{
    modify_emulated_port_in, modify_emulated_port_out, query_emulated_port_in, query_emulated_port_out,
};
use mlx5_twin_fw_cmds::twin_v1::{Fault, HotplugState, port_op};
use mlx5_twin_sim::config::Reset;
use mlx5_twin_sim::fabric::{Core, PortEvent, PortId};
use mlx5_twin_sim::tlp::Bdf;

use super::announcement::Announcement;
use super::channel::set_all;
use super::objects::{rule, short};
use super::{Action, Emulation, Waiting, primary};
use crate::bus::Bus;
use crate::firmware::Failure;

/// The slot of a hot-plug port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Whether there's a function at all.
    pub(super) created: bool,
    /// Its state: `PowerOff` if there's none.
    pub(super) state: HotplugState,
    /// Whether the host has the slot's power on.
    powered: bool,
    /// The attention button is to be pressed when the link is up: before that the host would take it for a wish to be powered on.
    button_due: bool,
}

impl Slot {
    /// An empty slot, as a reset leaves it.
    pub(super) const EMPTY: Slot =
        Slot { created: false, state: HotplugState::PowerOff, powered: true, button_due: false };
}

/// What is to be done at the slot above a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// The function is put in.
    In,
    /// It's taken out.
    Out,
    /// The attention button is pressed.
    Button,
}

impl Emulation {
    /// So many ports from the one with this number on are hot-plug ports; the others have static functions. Without this, all are static.
    #[must_use]
    pub fn with_slots_from(mut self, first: usize, count: usize) -> Emulation {
        for emulated in self.ports.iter_mut().skip(first).take(count) {
            emulated.slot = Some(Slot::EMPTY);
            emulated.link_up = false;
        }
        self
    }

    /// The state of what is at a port: for a static function it's `PowerOn`.
    pub(super) fn hotplug_state(&self, number: usize) -> HotplugState {
        let slot = self.ports.get(number).and_then(|emulated| emulated.slot);
        slot.map_or(HotplugState::PowerOn, |slot| slot.state)
    }

    /// QUERY_EMULATED_PORT.
    pub(super) fn query_port(&self, input: &[u8], output: &mut [u8]) -> Result<(), Failure> {
        let number = query_emulated_port_in::PORT.get(input).map_err(short)? as usize;
        let emulated = self.ports.get(number).ok_or(Failure::TWIN_PORT)?;
        use query_emulated_port_out as out;
        let fields: [(Field, u64); 7] = [
            (out::PRESENT, emulated.slot.is_none_or(|slot| slot.created).into()),
            (out::STATIC, emulated.slot.is_none().into()),
            (out::HOTPLUG_STATE, self.hotplug_state(number) as u64),
            (out::CLAIMED, emulated.claimed.is_some().into()),
            (out::LINK_ACTIVE, emulated.link_up.into()),
            (out::FUNCTION_ID, emulated.id.0.into()),
            (out::HOST_TIME_PS, self.host_clock.time().as_ps()),
        ];
        set_all(output, &fields).map_err(|_| Failure::OUTPUT_TOO_SHORT)
    }

    /// MODIFY_EMULATED_PORT.
    pub(super) fn modify_port(&mut self, uid: u16, input: &[u8], output: &mut [u8]) -> Result<(), Failure> {
        let number = modify_emulated_port_in::PORT.get(input).map_err(short)? as usize;
        let operation = modify_emulated_port_in::OP_MOD.get(input).map_err(short)? as u16;
        let emulated = self.ports.get_mut(number).ok_or(Failure::TWIN_PORT)?;
        let slot = emulated.slot.as_mut().ok_or(Failure::TWIN_PORT_STATIC)?;
        let claimed = emulated.claimed.as_ref();
        let mut holders = claimed.iter().flat_map(|claimed| &claimed.channels).filter_map(|id| self.channels.get(id));
        let own = claimed.is_none() || holders.any(|channel| channel.spec.uid == uid);
        rule(own, Failure::TWIN_PORT_FOREIGN)?;
        rule(slot.created || operation == port_op::CREATE, Failure::TWIN_PORT_EMPTY)?;
        let mut step = None;
        match (operation, slot.state) {
            (port_op::CREATE, _) => {
                rule(!slot.created, Failure::TWIN_PORT_CREATED)?;
                slot.created = true;
            }
            (port_op::DESTROY, HotplugState::PowerOff) => {
                rule(claimed.is_none(), Failure::TWIN_PORT_TAKEN)?;
                slot.created = false;
            }
            (port_op::PLUG, HotplugState::PowerOff) => {
                slot.state = HotplugState::PlugInProgress;
                step = Some(Move::In);
            }
            (port_op::UNPLUG, HotplugState::PowerOn | HotplugState::PlugInProgress) => {
                // Where the slot has no power nobody has to be asked.
                slot.state = if slot.powered { HotplugState::UnplugInProgress } else { HotplugState::PowerOff };
                slot.button_due = slot.powered && !emulated.link_up;
                step = if !slot.powered {
                    Some(Move::Out)
                } else if emulated.link_up {
                    Some(Move::Button)
                } else {
                    None
                };
            }
            (port_op::DESTROY | port_op::PLUG | port_op::UNPLUG, _) => return Err(Failure::TWIN_HOTPLUG_STATE),
            _ => return Err(Failure::OP_MOD),
        }
        let (port, state) = (emulated.port, slot.state);
        self.actions.extend(step.map(|step| Action::Slot(port, step)));
        if matches!(step, Some(Move::Out)) {
            self.tell(number, Announcement::Hotplug(state));
        }
        let written = modify_emulated_port_out::HOTPLUG_STATE.set(output, state as u64);
        written.map_err(|_| Failure::OUTPUT_TOO_SHORT)
    }

    /// Something happened to the link of a port, or to its slot.
    pub(crate) fn port_event(&mut self, bus: &mut Bus<'_>, port: PortId, event: PortEvent) {
        let Some(number) = self.ports.iter().position(|emulated| emulated.port == port) else { return };
        let emulated = &mut self.ports[number];
        match event {
            PortEvent::LinkDown(reset) => {
                emulated.link_up = false;
                emulated.id = Bdf(0);
                self.reset_function(bus.core, number, reset, Fault::LinkDown);
                self.tell(number, Announcement::Asserted);
            }
            PortEvent::LinkUp => {
                emulated.link_up = true;
                let plugged = emulated.slot.as_mut().filter(|slot| slot.state == HotplugState::PlugInProgress);
                let plugged = plugged.map(|slot| slot.state = HotplugState::PowerOn).is_some();
                if emulated.slot.as_mut().is_some_and(|slot| std::mem::take(&mut slot.button_due)) {
                    bus.core.press_attention_button(port);
                }
                self.tell(number, Announcement::Deasserted);
                if plugged {
                    self.tell(number, Announcement::Hotplug(HotplugState::PowerOn));
                }
            }
            // What follows from these is told on its own; indicators aren't passed on.
            PortEvent::SurpriseDown | PortEvent::AttentionIndicator(_) | PortEvent::PowerIndicator(_) => return,
            PortEvent::PowerOff | PortEvent::PowerOn | PortEvent::SlotReset => {
                let Some(slot) = &mut emulated.slot else { return };
                slot.powered = event != PortEvent::PowerOff;
                slot.state = match (event, slot.state) {
                    // The host lets it go; or it has forgotten that it was asked to, and doesn't use it.
                    (PortEvent::PowerOff | PortEvent::SlotReset, HotplugState::UnplugInProgress) => {
                        slot.button_due = false;
                        bus.core.set_present(port, false);
                        HotplugState::PowerOff
                    }
                    // It's still in the slot, and comes back with the power.
                    (PortEvent::PowerOff, HotplugState::PowerOn) => HotplugState::PlugInProgress,
                    _ => return,
                };
                let state = slot.state;
                self.tell(number, Announcement::Hotplug(state));
            }
        }
        self.pump(bus, number);
    }

    /// Sees that software is told, if there's any: now, or as soon as there's a primary channel.
    fn tell(&mut self, number: usize, announcement: Announcement) {
        if let Some(claimed) = &mut self.ports[number].claimed {
            claimed.announcements.push(announcement);
            self.actions.extend(primary(&mut self.channels, claimed).map(|channel| Action::Grant(channel.id)));
        }
    }

    /// Tells software what it's to be told of a function, as far as there are slots. Whether all has been told.
    pub(super) fn announce(&mut self, bus: &mut Bus<'_>, number: usize) -> bool {
        let Some(claimed) = &mut self.ports[number].claimed else { return true };
        let Some(channel) = primary(&mut self.channels, claimed) else { return claimed.announcements.is_empty() };
        while channel.has_slot() {
            let Some(announcement) = claimed.announcements.pop() else { break };
            let message = channel.write_announcement(bus, number as u16, announcement);
            if announcement == Announcement::Deasserted {
                claimed.presence = Presence::Announced { channel: channel.id, message };
            }
            if channel.take_event() {
                self.events.push_back(channel.id);
            }
        }
        claimed.announcements.is_empty()
    }

    /// A function is reset: the device forgets what the host has set. What is open ends silently, and what waits is dropped; software's
    /// later completions are refused by `fault`, and nothing of what a channel leaves behind is delivered again.
    pub(super) fn reset_function(&mut self, core: &mut Core, number: usize, reset: Reset, fault: Fault) {
        let emulated = &mut self.ports[number];
        for Waiting { tlp, .. } in emulated.waiting.each_mut().map(std::mem::take).into_iter().flatten() {
            core.consume(tlp);
        }
        let Some(claimed) = &mut emulated.claimed else { return };
        claimed.reset(reset);
        claimed.requests.end_all(fault);
        claimed.again.clear();
        for id in &claimed.channels {
            if let Some(channel) = self.channels.get_mut(id) {
                channel.forget_posted(number);
            }
        }
        if fault == Fault::LinkDown {
            claimed.presence = Presence::Absent;
        }
    }
}

/// Whether a claimed function answers configuration requests. While it doesn't, they're put off (Configuration Request Retry Status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its link is down, or software hasn't been told yet that it's up.
    Absent,
    /// Software was told by the message of this number in this channel, and hasn't freed it.
    Announced { channel: u32, message: u32 },
    /// Software has seen the last reset.
    Ready,
}
