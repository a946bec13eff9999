//! Slot registers of the PCI Express capability (sections 7.5.3.9 to 7.5.3.11): a slot's contents
//! and controls. What a control does is the business of whoever owns the slot.

use super::super::changed::{Changed, Trigger, Watch};
use super::super::space::{ConfigSpace, Legal, Row};
use super::ConfigError;
use super::pcie::CAPS;

/// Offset of Slot Capabilities.
const SLTCAP: u16 = 0x14;
/// Offset of Slot Control and Slot Status.
const SLTCTL: u16 = 0x18;
/// Offset of Slot Capabilities 2.
const SLTCAP2: u16 = 0x34;
/// PCI Express Capabilities: Slot Implemented.
const IMPLEMENTED: u32 = 1 << 24;
/// Slot Capabilities: Electromechanical Interlock Present; its control, of which a written 1 toggles it; its status.
const INTERLOCK: u32 = 1 << 17;
const INTERLOCK_CONTROL: u32 = 1 << 11;
const INTERLOCK_STATUS: u32 = 1 << 23;
/// Slot Control: In-Band PD Disable. Slot Capabilities 2: it's supported.
const IN_BAND_DISABLE: u32 = 1 << 14;
const IN_BAND_DISABLE_SUPPORTED: u32 = 1 << 0;
/// MRL Sensor State: 1 is open.
const LATCH_OPEN: u32 = 1 << 21;
/// Presence Detect State.
const PRESENT: u32 = 1 << 22;
/// Slot Capabilities: Power Controller Present, MRL Sensor Present, Hot-Plug Surprise.
const POWER_CONTROLLER: u32 = 1 << 1;
const MRL_SENSOR: u32 = 1 << 2;
const SURPRISE: u32 = 1 << 5;
/// Slot Capabilities: Hot-Plug Capable.
const HOT_PLUG: u32 = 1 << 6;
/// Slot Capabilities: No Command Completed Support.
const NO_COMMAND_COMPLETED: u32 = 1 << 18;
/// Slot Control: the enables whose events stand 16 bits further up in Slot Status, from Attention Button Pressed to Command
/// Completed.
const ENABLES: u32 = 0x1f;
/// Slot Control: Hot-Plug Interrupt Enable.
const INTERRUPT: u32 = 1 << 5;
/// Slot Control: Data Link Layer State Changed Enable.
const LINK_CHANGED_ENABLE: u32 = 1 << 12;
/// Slot Control: Attention Indicator Control and Power Indicator Control.
const ATTENTION_INDICATOR: u32 = 0x00c0;
const POWER_INDICATOR: u32 = 0x0300;
/// Power Controller Control: 1 is off.
const POWER_OFF: u32 = 1 << 10;

/// Slot Control always has the enables of presence detect and data link layer changes; what
/// depends on the slot's parts is added. Slot Status: attention button pressed, power fault, MRL,
/// presence detect changed, command completed, data link layer state changed.
#[rustfmt::skip]
const ROWS: [Row; 2] = [
    //       offset  name                         reset  rw           rw1c         sticky flr
    Row::new(SLTCAP, "Slot Capabilities",           0,   0,           0,           0,     0),
    Row::new(SLTCTL, "Slot Control, Slot Status",   0,   0x0000_1008, 0x011f_0000, 0,     0),
];

/// A slot below a root port or downstream port, and what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Physical Slot Number, 13 bits.
    pub number: u16,
    /// Can a device come and go while the system runs?
    pub hot_plug: bool,
    /// May it go without warning?
    pub surprise: bool,
    /// Is there an attention button?
    pub attention_button: bool,
    /// Is there a sensor of the manually operated retention latch (MRL)?
    pub mrl_sensor: bool,
    /// Is there an attention indicator?
    pub attention_indicator: bool,
    /// Is there a power indicator?
    pub power_indicator: bool,
    /// Can software switch the power?
    pub power_controller: bool,
    /// Is there an electromechanical interlock that software can engage?
    pub interlock: bool,
    /// Can software keep what the link detects out of the presence (In-Band PD Disable)? A device in the slot is seen by its presence pins in any
    /// case: what the link detects is the same here, so that this changes nothing but the register.
    pub in_band_disable: bool,
    /// Are commands done at once, without Command Completed?
    pub no_command_completed: bool,
    /// Slot power limit in watts, 0 to 239.
    pub power_limit: u8,
    /// Is a device in it?
    pub present: bool,
}

/// Events of a slot, as bits of Slot Status that software clears by writing 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SlotEvent {
    /// The attention button was pressed.
    AttentionButton = 1 << 16,
    /// The power controller found a fault.
    PowerFault = 1 << 17,
    /// The latch was opened or closed.
    MrlChanged = 1 << 18,
    /// A device came or went.
    PresenceChanged = 1 << 19,
    /// The hot-plug controller is ready for another command.
    CommandCompleted = 1 << 20,
    /// The data link layer came up or went down.
    LinkChanged = 1 << 24,
}

/// What an indicator of a slot shows: on, blinking, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indicator {
    /// On.
    On,
    /// Blinking.
    Blink,
    /// Off. One that isn't there is off.
    Off,
}

impl Indicator {
    /// From the two bits of its control.
    const fn of(bits: u32) -> Indicator {
        match bits & 3 {
            0b01 => Indicator::On,
            0b10 => Indicator::Blink,
            _ => Indicator::Off,
        }
    }
}

/// The values that the controls of the slot's indicators take: 00b is reserved, and a write of it leaves the indicator as it was (ours).
pub(super) fn legal(slot: &Slot) -> impl Iterator<Item = Legal> {
    let fields = [(slot.attention_indicator, ATTENTION_INDICATOR), (slot.power_indicator, POWER_INDICATOR)];
    let there = fields.into_iter().filter(|(there, _)| *there);
    there.map(|(_, mask)| Legal { offset: SLTCTL, mask, values: 0b1110 })
}

/// The rows of a slot, and the watch on its control register. The power is on, the power
/// indicator on, the attention indicator off.
pub(super) fn registers(slot: &Slot) -> Result<([Row; 3], Watch), ConfigError> {
    let value = |field, value, allowed| ConfigError::Value { field, value, allowed };
    if slot.number >= 1 << 13 {
        return Err(value("Physical Slot Number", u64::from(slot.number), "13 bits"));
    }
    if slot.power_limit > 239 {
        return Err(value("Slot Power Limit Value", u64::from(slot.power_limit), "0 to 239"));
    }
    // Part: is it there, its bit in Slot Capabilities, and in Slot Control what it makes writable
    // and what it is reset to.
    #[rustfmt::skip]
    let parts = [
        (slot.attention_button,      1 << 0,  0x0001,    0),
        (slot.power_controller,      POWER_CONTROLLER, 0x0002 | POWER_OFF, 0),
        (slot.mrl_sensor,            MRL_SENSOR,  0x0004,    0),
        (slot.attention_indicator,   1 << 3,  ATTENTION_INDICATOR, 0x00c0),
        (slot.power_indicator,       1 << 4,  POWER_INDICATOR, 0x0100),
        (slot.surprise,              SURPRISE,  0,         0),
        (slot.hot_plug,              HOT_PLUG, INTERRUPT, 0),
        (slot.interlock,             INTERLOCK, 0,       0),
        (slot.in_band_disable,       0,       IN_BAND_DISABLE, 0),
        (slot.no_command_completed,  NO_COMMAND_COMPLETED, 0, 0),
        (!slot.no_command_completed, 0,       0x0010,    0),
    ];
    let [mut capabilities, mut control] = ROWS;
    capabilities.reset = u32::from(slot.power_limit) << 7 | u32::from(slot.number) << 19;
    for (_, capability, writable, reset) in parts.into_iter().filter(|part| part.0) {
        capabilities.reset |= capability;
        control.rw |= writable;
        control.reset |= reset;
    }
    control.reset |= if slot.present { PRESENT } else { 0 };
    let watch = Watch { offset: SLTCTL, mask: 0xffff, trigger: Trigger::Written, topic: Changed::SLOT_CONTROL };
    let supported = if slot.in_band_disable { IN_BAND_DISABLE_SUPPORTED } else { 0 };
    let capabilities_2 = Row::new(SLTCAP2, "Slot Capabilities 2", supported, 0, 0, 0, 0);
    Ok(([capabilities, control, capabilities_2], watch))
}

/// What the slot registers say. Without a slot: nothing, and setting does nothing.
impl ConfigSpace {
    /// Is there a slot below this port?
    pub fn has_slot(&self) -> bool {
        self.pcie(CAPS) & IMPLEMENTED != 0
    }

    /// The Slot Control register.
    pub fn slot_control(&self) -> u16 {
        if self.has_slot() { self.pcie(SLTCTL) as u16 } else { 0 }
    }

    /// Is a device in the slot (Presence Detect State)?
    pub fn slot_present(&self) -> bool {
        self.has_slot() && self.pcie(SLTCTL) & PRESENT != 0
    }

    /// Is the slot's power on? Without a power controller it always is.
    pub fn slot_powered(&self) -> bool {
        u32::from(self.slot_control()) & POWER_OFF == 0
    }

    /// Can a device come and go while the system runs?
    pub fn is_hot_plug_slot(&self) -> bool {
        self.has_slot() && self.pcie(SLTCAP) & HOT_PLUG != 0
    }

    /// Does the hot-plug controller say when it's ready for another command?
    pub fn reports_command_completed(&self) -> bool {
        self.is_hot_plug_slot() && self.pcie(SLTCAP) & NO_COMMAND_COMPLETED == 0
    }

    /// Is there an event of the slot whose interrupt is enabled (section 6.7.3.4)? When this becomes true, the port sends its
    /// message.
    pub fn slot_interrupt(&self) -> bool {
        let register = if self.has_slot() { self.pcie(SLTCTL) } else { 0 };
        let enabled = register & ENABLES & register >> 16 != 0
            || register & LINK_CHANGED_ENABLE != 0 && register & SlotEvent::LinkChanged as u32 != 0;
        register & INTERRUPT != 0 && enabled
    }

    /// Shows whether a device is in the slot, and that this changed if it did. Resets don't undo
    /// the presence.
    pub fn set_slot_present(&mut self, present: bool) {
        if self.has_slot() && present != self.slot_present() {
            let bits = if present { PRESENT } else { 0 };
            self.set_hardware(self.located.pcie + SLTCTL, PRESENT, bits);
            self.record_slot_event(SlotEvent::PresenceChanged);
        }
    }

    /// Can software switch the slot's power?
    pub fn slot_has_power_controller(&self) -> bool {
        self.has_slot() && self.pcie(SLTCAP) & POWER_CONTROLLER != 0
    }

    /// Is there a sensor of the slot's latch?
    pub fn slot_has_latch(&self) -> bool {
        self.has_slot() && self.pcie(SLTCAP) & MRL_SENSOR != 0
    }

    /// May the device in the slot go without warning (Hot-Plug Surprise)? Then a link that goes down is no error (section 3.2.1).
    pub fn may_go_unasked(&self) -> bool {
        self.has_slot() && self.pcie(SLTCAP) & SURPRISE != 0
    }

    /// Is the slot's latch open (MRL Sensor State)?
    pub fn slot_latch_open(&self) -> bool {
        self.has_slot() && self.pcie(SLTCTL) & LATCH_OPEN != 0
    }

    /// What the attention and the power indicator show, as software has set them.
    pub fn slot_indicators(&self) -> (Indicator, Indicator) {
        let (capabilities, control) = (self.pcie(SLTCAP), u32::from(self.slot_control()));
        let indicator =
            |part: u32, bits: u32| if capabilities & part == 0 { Indicator::Off } else { Indicator::of(bits) };
        (indicator(1 << 3, control >> 6), indicator(1 << 4, control >> 8))
    }

    /// Shows whether the slot's latch is open, and that this changed if it did. Does nothing without a sensor. Resets don't undo it.
    pub fn set_slot_latch(&mut self, open: bool) {
        if self.slot_has_latch() && open != self.slot_latch_open() {
            self.set_hardware(self.located.pcie + SLTCTL, LATCH_OPEN, if open { LATCH_OPEN } else { 0 });
            self.record_slot_event(SlotEvent::MrlChanged);
        }
    }

    /// Is the slot's interlock engaged?
    pub fn slot_interlocked(&self) -> bool {
        self.has_slot() && self.pcie(SLTCTL) & INTERLOCK_STATUS != 0
    }

    /// Engages or releases the slot's interlock, if that's what this write of a register asks for (Electromechanical Interlock Control reads 0).
    pub(crate) fn toggle_interlock(&mut self, register: u16, byte_enables: u8, value: u32) {
        let asked = self.has_slot()
            && self.pcie(SLTCAP) & INTERLOCK != 0
            && register * 4 == self.located.pcie + SLTCTL
            && value & super::super::space::byte_mask(byte_enables) & INTERLOCK_CONTROL != 0;
        if asked {
            let engaged = self.pcie(SLTCTL) & INTERLOCK_STATUS != 0;
            self.set_hardware(self.located.pcie + SLTCTL, INTERLOCK_STATUS, if engaged { 0 } else { INTERLOCK_STATUS });
        }
    }

    /// Sets the event's bit in Slot Status.
    pub fn record_slot_event(&mut self, event: SlotEvent) {
        if self.has_slot() {
            self.set_pcie(SLTCTL, event as u32, event as u32);
        }
    }

    /// Notes in Slot Status that the data link layer came up or went down.
    pub(super) fn record_link_change(&mut self) {
        self.record_slot_event(SlotEvent::LinkChanged);
    }
}
