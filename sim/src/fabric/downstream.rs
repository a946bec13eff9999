//! A port with a link below it, of a root complex or of a switch: the state of its link and of its slot.

use super::core::Core;
use super::ids::PortId;
use crate::config::{Changed, ConfigSpace, Indicator, Reset};
use crate::time::Time;
use crate::tlp::Bdf;

/// What can befall a port with a link below it, as a timer of its bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affair {
    /// Its registers, or those of the bridge above it, were written: its link may have to go down or come up.
    Review,
    /// Slot Control was written: a command for the hot-plug controller.
    Command,
    /// A change of its registers made the interrupt's condition true.
    Interrupt,
    /// The hot-plug controller is ready for another command.
    CommandCompleted,
    /// A device is in the slot.
    Present,
    /// None is.
    Absent,
    /// The attention button was pressed.
    AttentionButton,
    /// Software asked for containment.
    Contain,
    /// The power controller found a fault.
    PowerFault,
    /// The slot's latch was opened.
    LatchOpen,
    /// It was closed.
    LatchClosed,
    /// What is below was pulled out, slot or not.
    Unplugged,
    /// It was put back.
    Plugged,
    /// The link has been trained, if nothing came between since the attempt of this number.
    Trained(u32),
}

/// Set in the tokens of timers that are for a port.
pub(crate) const PORT: u64 = 1 << 63;

const PLAIN: [Affair; 13] = [
    Affair::Review,
    Affair::Command,
    Affair::Interrupt,
    Affair::CommandCompleted,
    Affair::Present,
    Affair::Absent,
    Affair::AttentionButton,
    Affair::Contain,
    Affair::PowerFault,
    Affair::LatchOpen,
    Affair::LatchClosed,
    Affair::Unplugged,
    Affair::Plugged,
];

impl Affair {
    /// The timer's token: bit 63, what it is from bit 48 on, the attempt from bit 16 on, the port's number.
    pub(crate) fn token(self, number: u16) -> u64 {
        let (kind, attempt) = match self {
            Affair::Trained(attempt) => (PLAIN.len(), attempt),
            plain => (PLAIN.iter().position(|&other| other == plain).unwrap_or(0), 0),
        };
        PORT | (kind as u64) << 48 | u64::from(attempt) << 16 | u64::from(number)
    }

    /// What a token says: what it is, and the port's number.
    pub(crate) fn of(token: u64) -> (Affair, usize) {
        let kind = usize::from((token >> 48) as u8);
        let trained = Affair::Trained((token >> 16) as u32);
        (PLAIN.get(kind).copied().unwrap_or(trained), usize::from(token as u16))
    }
}

/// What the link below a port is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Down,
    Training,
    Up,
}

/// A port with a function on the bus of its bridge, and with a link if something is connected.
#[derive(Debug)]
pub(crate) struct DownstreamPort {
    pub(crate) port: Option<PortId>,
    pub(crate) config: ConfigSpace,
    pub(crate) link: LinkState,
    /// The attempt to train the link: an older one is void.
    pub(crate) attempt: u32,
    /// Whether the slot's power was on when the device in it was last told.
    pub(crate) powered: bool,
    /// The power controller has switched the power off on its own, until software switches it off too.
    pub(crate) cut: bool,
    /// What was below has been pulled out.
    pub(crate) unplugged: bool,
    /// What the slot's indicators showed when the device in it was last told.
    pub(crate) indicators: (Indicator, Indicator),
    /// A write has forbidden the link since the last look at it: also if another has allowed it again in the same instant.
    pub(crate) forbidden: bool,
    /// The link has failed, and can't be trained.
    pub(crate) failed: bool,
}

impl DownstreamPort {
    /// A port without a link.
    pub(crate) fn new(config: ConfigSpace) -> DownstreamPort {
        DownstreamPort {
            port: None,
            link: LinkState::Down,
            attempt: 0,
            powered: config.slot_powered(),
            cut: false,
            unplugged: false,
            indicators: config.slot_indicators(),
            forbidden: false,
            failed: false,
            config,
        }
    }

    /// Connects a link. It's up at once if the registers say so.
    pub(crate) fn connect(&mut self, port: PortId) {
        self.port = Some(port);
        self.link = if self.config.link_active() { LinkState::Up } else { LinkState::Down };
    }

    /// The link, if it's up.
    pub(crate) fn open(&self) -> Option<PortId> {
        self.port.filter(|_| self.link == LinkState::Up)
    }

    /// Whether a function can be there, on the bus below or beyond: on a link there's only device 0, unless the port forwards by ARI.
    pub(crate) fn has_device(&self, target: Bdf) -> bool {
        target.device() == 0 || self.config.secondary() != target.bus() || self.config.ari_forwarding_enabled()
    }

    /// Whether the port's own registers let the link be up: no Secondary Bus Reset, no Link Disable, no containment, and a slot has a device
    /// and power.
    pub(crate) fn wants_link(&self) -> bool {
        let filled = !self.config.is_hot_plug_slot() || self.config.slot_present() && self.has_power();
        filled && !self.unplugged && !self.failed && !self.is_forbidden()
    }

    /// Whether software, or containment, holds the link down.
    fn is_forbidden(&self) -> bool {
        self.config.secondary_bus_reset() || self.config.link_disabled() || self.config.is_contained()
    }

    /// What the port is to send its interrupt message for, if MSI is on: events of the slot whose interrupt is enabled, containment, error messages of
    /// each kind. A bit for each; the message is sent whenever one becomes 1.
    pub(crate) fn interrupts(&self) -> u8 {
        if self.config.msi().is_none() {
            return 0;
        }
        let slot = u8::from(self.config.slot_interrupt());
        slot | u8::from(self.config.containment_interrupt()) << 1 | self.config.root_error_interrupts() << 2
    }

    /// Lets the link have the virtual channels that the registers say.
    pub(crate) fn set_channels(&self, core: &mut Core) {
        if let Some(port) = self.port {
            core.set_channels_by(port, &self.config);
        }
    }

    /// Writes a register, and sees to what comes of it.
    pub(crate) fn write(&mut self, register: u16, byte_enables: u8, value: u32) -> Vec<Affair> {
        let before = self.interrupts();
        let changed = self.config.write(register, byte_enables, value);
        let mut affairs = Vec::new();
        if changed.intersects(Changed::BRIDGE_CONTROL | Changed::LINK_CONTROL | Changed::CONTAINMENT) {
            self.forbidden |= !self.wants_link();
            affairs.push(Affair::Review);
        }
        if changed.contains(Changed::SOFTWARE_TRIGGER) {
            affairs.push(Affair::Contain);
        }
        if changed.contains(Changed::SLOT_CONTROL) {
            self.cut &= self.config.slot_powered();
            self.config.toggle_interlock(register, byte_enables, value);
            affairs.push(Affair::Command);
        }
        if !before & self.interrupts() != 0 {
            affairs.push(Affair::Interrupt);
        }
        affairs
    }
}

/// What happened to the link above a device, or to the slot that it's in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortEvent {
    /// The link went down, by a reset, a power-off or Link Disable. For the device this is a reset: a fundamental one if PERST# was
    /// asserted or the power switched off, else a hot one. What it holds of TLPs that came over this link must be consumed.
    LinkDown(Reset),
    /// The link is up.
    LinkUp,
    /// The slot's power was switched off.
    PowerOff,
    /// The slot's power was switched on.
    PowerOn,
    /// The registers of the port above were reset, those of the slot among them.
    SlotReset,
    /// The link is about to go down without anybody having asked for it: what is below was pulled out.
    SurpriseDown,
    /// Software has set the slot's attention indicator to something else.
    AttentionIndicator(Indicator),
    /// Software has set the slot's power indicator to something else.
    PowerIndicator(Indicator),
}

/// What a device does to the slot that it's in.
impl Core {
    /// Shows in the slot above a device's end of a link that the device is in it, or that it's gone. Does nothing without a hot-plug slot.
    pub fn set_present(&mut self, port: PortId, present: bool) {
        self.tell_port_above(port, if present { Affair::Present } else { Affair::Absent });
    }

    /// Presses the attention button of the slot above a device's end of a link. Does nothing without a hot-plug slot.
    pub fn press_attention_button(&mut self, port: PortId) {
        self.tell_port_above(port, Affair::AttentionButton);
    }

    pub(super) fn tell_port_above(&mut self, port: PortId, affair: Affair) {
        let owner = self.owner(port.peer());
        self.set_timer(owner.node, self.now(), affair.token(owner.number));
    }

    /// When all that was sent over the link of `port`, in both directions, has arrived; `None` while something waits for credits.
    pub(crate) fn link_quiet_at(&self, port: PortId) -> Option<Time> {
        let quiet = |port: PortId| self.transmitters[usize::from(port.0)].quiet_at();
        Some(quiet(port)?.max(quiet(port.peer())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written() {
        for affair in PLAIN.into_iter().chain([Affair::Trained(0), Affair::Trained(u32::MAX)]) {
            for number in [0, 31, u16::MAX] {
                let token = affair.token(number);
                assert_ne!(token & PORT, 0);
                assert_eq!(Affair::of(token), (affair, usize::from(number)));
            }
        }
    }
}
