//! The PCI Express capability, version 2 (section 7.5.3).

use crate::time::Time;

use super::super::changed::{Changed, Trigger, Watch};
use super::super::space::{ConfigSpace, Legal, Row};
use super::aer::ErrorMessage;
use super::slot::{self, Slot};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError, amend};

/// Offset of PCI Express Capabilities, in the high half.
pub(super) const CAPS: u16 = 0x00;
/// Offset of Device Capabilities.
const DEVCAP: u16 = 0x04;
/// Offset of Device Control and Device Status.
pub(super) const DEVCTL: u16 = 0x08;
/// Offset of Link Capabilities.
const LNKCAP: u16 = 0x0c;
/// Offset of Link Control and Link Status.
pub(super) const LNKCTL: u16 = 0x10;
/// Offset of Root Control and Root Capabilities.
const ROOTCTL: u16 = 0x1c;
/// Offset of Root Status.
const ROOTSTA: u16 = 0x20;
/// Offset of Device Capabilities 2.
const DEVCAP2: u16 = 0x24;
/// Offset of Device Control 2.
pub(super) const DEVCTL2: u16 = 0x28;
/// Offset of Link Capabilities 2.
const LNKCAP2: u16 = 0x2c;
/// Offset of Link Control 2 and Link Status 2.
pub(super) const LNKCTL2: u16 = 0x30;
/// Length in bytes, slot and root registers included.
const LENGTH: u16 = 0x3c;

// Device Control and Status.
const MAX_PAYLOAD: u32 = 0x00e0;
const EXTENDED_TAG: u32 = 1 << 8;
const MAX_READ_REQUEST: u32 = 0x7000;
const FUNCTION_LEVEL_RESET: u32 = 1 << 15;
const TRANSACTIONS_PENDING: u32 = 1 << 21;
// Link Capabilities, Link Control and Status.
const LINK_ACTIVE_REPORTING: u32 = 1 << 20;
const RCB: u32 = 1 << 3;
const RETRAIN: u32 = 1 << 5;
const SPEED_AND_WIDTH: u32 = 0x03ff_0000;
const DATA_LINK_ACTIVE: u32 = 1 << 29;
// Device Control 2.
const TIMEOUT_VALUE: u32 = 0x000f;
const TIMEOUT_DISABLE: u32 = 1 << 4;
const ARI_FORWARDING: u32 = 1 << 5;
const ATOMIC_REQUESTER: u32 = 1 << 6;
const ATOMIC_EGRESS_BLOCKING: u32 = 1 << 7;
const IDO: u32 = 3 << 8;
const LTR: u32 = 1 << 10;
const TEN_BIT_TAG: u32 = 1 << 12;

/// The registers that every port has. Device Control is reset to relaxed ordering and no snoop
/// on, payload 128 and read request 512 bytes. The payload size and most of Link Control outlive
/// a function-level reset.
#[rustfmt::skip]
const ROWS: [Row; 9] = [
    //       offset   name                               reset        rw           rw1c         sticky       flr
    Row::new(CAPS,    "PCI Express Capabilities",        0x0002_0000, 0,           0,           0,           0),
    Row::new(DEVCAP,  "Device Capabilities",             0x0000_8000, 0,           0,           0,           0),
    Row::new(DEVCTL,  "Device Control, Device Status",   0x0000_2810, 0x0000_78ff, 0x000f_0000, 0,           MAX_PAYLOAD),
    Row::new(LNKCAP,  "Link Capabilities",               0x0040_0000, 0,           0,           0,           0),
    Row::new(LNKCTL,  "Link Control, Link Status",       0x1000_0000, 0x0000_00c3, 0,           0,           0x0000_03cb),
    Row::new(DEVCAP2, "Device Capabilities 2",           0,           0,           0,           0,           0),
    Row::new(DEVCTL2, "Device Control 2",                0,           0,           0,           0,           0),
    Row::new(LNKCAP2, "Link Capabilities 2",             0,           0,           0,           0,           0),
    Row::new(LNKCTL2, "Link Control 2, Link Status 2",   0,           0x0000_ff9f, 0x0020_0000, 0x0020_ff9f, 0),
];

/// What a port with a link below it has more in Link Control and Status: link disable, the two
/// bandwidth interrupts and their status.
const LINK_BELOW: (u32, u32) = (0x0000_0c10, 0xc000_0000);
/// And in Link Capabilities: surprise down error reporting, data link layer active reporting,
/// bandwidth notification.
const LINK_BELOW_CAPABLE: u32 = 0x0038_0000;

/// What root ports have more.
#[rustfmt::skip]
const ROOT_ROWS: [Row; 2] = [
    //       offset   name                               reset        rw           rw1c         sticky       flr
    Row::new(ROOTCTL, "Root Control, Root Capabilities", 0,           0x0000_000f, 0,           0,           0),
    Row::new(ROOTSTA, "Root Status",                     0,           0,           0x0001_0000, 0,           0),
];

const WATCHES: [Watch; 5] = [
    Watch::changed(DEVCTL, 0xffff, Changed::DEVICE_CONTROL),
    Watch::changed(DEVCTL2, 0xffff, Changed::DEVICE_CONTROL),
    Watch::changed(LNKCTL, 0xffff, Changed::LINK_CONTROL),
    Watch::changed(LNKCTL2, 0xffff, Changed::LINK_CONTROL),
    Watch::changed(ROOTCTL, 0xffff, Changed::ROOT_CONTROL),
];

/// Completion timeouts by Completion Timeout Value: value, shortest and longest time.
#[rustfmt::skip]
const TIMEOUTS: [(u32, Time, Time); 9] = [
    (0b0000, Time::us(50),  Time::ms(50)),
    (0b0001, Time::us(50),  Time::us(100)),
    (0b0010, Time::ms(1),   Time::ms(10)),
    (0b0101, Time::ms(16),  Time::ms(55)),
    (0b0110, Time::ms(65),  Time::ms(210)),
    (0b1001, Time::ms(260), Time::ms(900)),
    (0b1010, Time::ms(1000), Time::ms(3500)),
    (0b1101, Time::ms(4000), Time::ms(13_000)),
    (0b1110, Time::ms(17_000), Time::ms(64_000)),
];

/// Device/Port Type: the ones that the fabric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortType {
    /// A PCI Express endpoint.
    Endpoint,
    /// A root port of a root complex.
    RootPort,
    /// The upstream port of a switch.
    Upstream,
    /// A downstream port of a switch.
    Downstream,
}

impl PortType {
    /// The field's value.
    const fn code(self) -> u32 {
        match self {
            PortType::Endpoint => 0b0000,
            PortType::RootPort => 0b0100,
            PortType::Upstream => 0b0101,
            PortType::Downstream => 0b0110,
        }
    }

    /// Is its link below it, so that it can have a slot?
    pub const fn is_downstream_facing(self) -> bool {
        matches!(self, PortType::RootPort | PortType::Downstream)
    }

    /// Does it make memory requests of its own or for the host?
    const fn is_requester(self) -> bool {
        matches!(self, PortType::Endpoint | PortType::RootPort)
    }
}

/// Description of the capability. [`new`](Self::new) gives sensible values for a kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcieCapability {
    /// Device/Port Type.
    pub port: PortType,
    /// Largest payload supported in bytes: 128, 256, 512, 1024, 2048 or 4096.
    pub max_payload: u32,
    /// Fastest link: 1 (2.5 GT/s) to 5 (32 GT/s).
    pub link_generation: u8,
    /// Widest link in lanes: 1, 2, 4, 8, 12, 16 or 32.
    pub link_width: u8,
    /// Is the link up, at full speed and width? See [`ConfigSpace::set_link`] for later.
    pub link_up: bool,
    /// Port Number.
    pub port_number: u8,
    /// Can it use 8-bit tags as a requester?
    pub extended_tag: bool,
    /// Can it use 10-bit tags as a requester? Needs `ten_bit_tag_completer`.
    pub ten_bit_tag_requester: bool,
    /// Can it answer requests with 10-bit tags?
    pub ten_bit_tag_completer: bool,
    /// Can software reset the function alone? Endpoints only.
    pub function_level_reset: bool,
    /// Programmable completion timeout ranges, bit 0 to 3 for A to D: 0, A, B, AB, BC, ABC, BCD or ABCD.
    pub completion_timeout_ranges: u8,
    /// Can software turn the completion timeout off?
    pub completion_timeout_disable: bool,
    /// Does it complete AtomicOps of 32 and 64 bits and 128-bit CAS?
    pub atomic_completer: bool,
    /// Does it route AtomicOps? Not for endpoints.
    pub atomic_routing: bool,
    /// Can software let it forward by ARI, with any device number on the link below? Root ports and downstream ports only.
    pub ari_forwarding: bool,
    /// Does it support latency tolerance reporting?
    pub ltr: bool,
    /// Is the read completion boundary 128 bytes, not 64? Root ports only: an endpoint is told by software.
    pub rcb_128: bool,
    /// Can software let Configuration Request Retry Status be seen? Root ports only.
    pub crs_visibility: bool,
    /// The slot below. Root ports and downstream ports only.
    pub slot: Option<Slot>,
    /// Interrupt Message Number, 5 bits.
    pub interrupt_message: u8,
}

impl PcieCapability {
    /// A generation 5, 16 lane port whose link is up: payload up to 512 bytes, 8 and 10-bit tags,
    /// all timeout ranges, AtomicOps; function-level reset if an endpoint; CRS visibility if a root port; ARI
    /// forwarding if it has a link below.
    pub const fn new(port: PortType) -> PcieCapability {
        PcieCapability {
            port,
            max_payload: 512,
            link_generation: 5,
            link_width: 16,
            link_up: true,
            port_number: 0,
            extended_tag: true,
            ten_bit_tag_requester: port.is_requester(),
            ten_bit_tag_completer: true,
            function_level_reset: matches!(port, PortType::Endpoint),
            completion_timeout_ranges: if port.is_requester() { 0b1111 } else { 0 },
            completion_timeout_disable: port.is_requester(),
            atomic_completer: matches!(port, PortType::RootPort),
            atomic_routing: !matches!(port, PortType::Endpoint),
            ari_forwarding: port.is_downstream_facing(),
            ltr: false,
            rcb_128: false,
            crs_visibility: matches!(port, PortType::RootPort),
            slot: None,
            interrupt_message: 0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let port = self.port;
        let root = port == PortType::RootPort;
        let endpoint = port == PortType::Endpoint;
        let properties = [
            ("function-level reset", self.function_level_reset && !endpoint),
            ("AtomicOp routing", self.atomic_routing && endpoint),
            ("a 128-byte read completion boundary", self.rcb_128 && !root),
            ("CRS software visibility", self.crs_visibility && !root),
            ("ARI forwarding", self.ari_forwarding && !port.is_downstream_facing()),
            ("a slot", self.slot.is_some() && !port.is_downstream_facing()),
        ];
        if let Some((property, _)) = properties.into_iter().find(|&(_, wrong)| wrong) {
            return Err(ConfigError::NotForPort { property, port });
        }
        let payload = self.max_payload.is_power_of_two() && (128..=4096).contains(&self.max_payload);
        let width = matches!(self.link_width, 1 | 2 | 4 | 8 | 12 | 16 | 32);
        let ranges = self.completion_timeout_ranges;
        let ranges_ok = matches!(ranges, 0 | 1 | 2 | 3 | 6 | 7 | 14 | 15);
        let tags = self.ten_bit_tag_completer || !self.ten_bit_tag_requester;
        #[rustfmt::skip]
        let values = [
            (payload, "Max_Payload_Size Supported", self.max_payload, "128, 256, 512, 1024, 2048, 4096"),
            ((1..=5).contains(&self.link_generation), "Max Link Speed", self.link_generation.into(), "1 to 5"),
            (width, "Maximum Link Width", self.link_width.into(), "1, 2, 4, 8, 12, 16, 32"),
            (ranges_ok, "Completion Timeout Ranges", ranges.into(), "0, A, B, AB, BC, ABC, BCD, ABCD"),
            (tags, "10-Bit Tag Requester Supported", 1, "0 without 10-Bit Tag Completer Supported"),
            (self.interrupt_message < 32, "Interrupt Message Number", self.interrupt_message.into(), "0 to 31"),
        ];
        if let Some((_, field, value, allowed)) = values.into_iter().find(|&(ok, ..)| !ok) {
            let value = u64::from(value);
            return Err(ConfigError::Value { field, value, allowed });
        }
        Ok(())
    }

    /// Reset value of Device Capabilities 2.
    fn device_capabilities_2(&self) -> u32 {
        u32::from(self.completion_timeout_ranges)
            | bit(self.completion_timeout_disable, 4)
            | bit(self.ari_forwarding, 5)
            | bit(self.atomic_routing, 6)
            | bit(self.atomic_completer, 7)
            | bit(self.atomic_completer, 8)
            | bit(self.atomic_completer, 9)
            | bit(self.ltr, 11)
            | bit(self.ten_bit_tag_completer, 16)
            | bit(self.ten_bit_tag_requester, 17)
    }

    /// Writable bits of Device Control 2: each only if the port can do it.
    fn device_control_2(&self) -> u32 {
        let requester = self.port.is_requester();
        let mask = |offered: bool, mask: u32| if offered { mask } else { 0 };
        mask(self.completion_timeout_ranges != 0, TIMEOUT_VALUE)
            | mask(self.completion_timeout_disable, TIMEOUT_DISABLE)
            | mask(self.ari_forwarding, ARI_FORWARDING)
            | mask(requester, ATOMIC_REQUESTER | IDO)
            | mask(self.atomic_routing, ATOMIC_EGRESS_BLOCKING)
            | mask(self.ltr, LTR)
            | mask(self.ten_bit_tag_requester, TEN_BIT_TAG)
    }

    /// The legal values of Completion Timeout Value as bits.
    fn timeout_values(&self) -> u32 {
        let range = |letter: u32| u32::from(self.completion_timeout_ranges) >> letter & 1;
        (0..4).fold(1, |values, letter| values | (range(letter) * 0b110) << (4 * letter))
    }
}

impl Capability for PcieCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        self.check()?;
        let below = self.port.is_downstream_facing();
        let payload = self.max_payload.trailing_zeros() - 7;
        let generation = u32::from(self.link_generation);
        let speed_and_width = generation | u32::from(self.link_width) << 4;
        let caps = self.port.code() << 4 | bit(self.slot.is_some(), 8) | u32::from(self.interrupt_message) << 9;
        let devcap = payload | bit(self.extended_tag, 5) | bit(self.function_level_reset, 28);
        let mut lnkcap = speed_and_width | u32::from(self.port_number) << 24;
        let mut link_status = if self.link_up { speed_and_width << 16 } else { 0 };
        let mut watches = WATCHES.to_vec();
        let mut rows = ROWS.to_vec();

        amend(&mut rows, CAPS, caps << 16, 0);
        amend(&mut rows, DEVCAP, devcap, 0);
        amend(&mut rows, DEVCTL, 0, if self.extended_tag { EXTENDED_TAG } else { 0 });
        amend(&mut rows, DEVCAP2, self.device_capabilities_2(), 0);
        amend(&mut rows, DEVCTL2, 0, self.device_control_2());
        amend(&mut rows, LNKCAP2, ((1 << generation) - 1) << 1, 0);
        amend(&mut rows, LNKCTL2, generation, 0);
        if below {
            let (control, status) = LINK_BELOW;
            lnkcap |= LINK_BELOW_CAPABLE;
            link_status |= if self.link_up { DATA_LINK_ACTIVE } else { 0 };
            amend(&mut rows, LNKCTL, 0, control);
            rows.iter_mut().filter(|r| r.offset == LNKCTL).for_each(|r| r.rw1c |= status);
            watches.push(pulse(LNKCTL, RETRAIN, Changed::RETRAIN_LINK));
        }
        amend(&mut rows, LNKCAP, lnkcap, 0);
        amend(&mut rows, LNKCTL, link_status, 0);
        if self.port == PortType::Endpoint {
            amend(&mut rows, LNKCTL, 0, RCB);
        }
        if self.function_level_reset {
            watches.push(pulse(DEVCTL, FUNCTION_LEVEL_RESET, Changed::FUNCTION_LEVEL_RESET));
        }
        if self.port == PortType::RootPort {
            rows.extend(ROOT_ROWS);
            let visible = bit(self.crs_visibility, 16);
            amend(&mut rows, ROOTCTL, visible, visible >> 12);
            amend(&mut rows, LNKCTL, bit(self.rcb_128, 3), 0);
        }
        if let Some(slot) = &self.slot {
            let (slot_rows, watch) = slot::registers(slot)?;
            rows.extend(slot_rows);
            watches.push(watch);
        }
        let mut legal = vec![
            Legal { offset: DEVCTL, mask: MAX_PAYLOAD, values: (2 << payload) - 1 },
            Legal { offset: DEVCTL, mask: MAX_READ_REQUEST, values: 0b11_1111 },
            Legal { offset: DEVCTL2, mask: TIMEOUT_VALUE, values: self.timeout_values() },
        ];
        if let Some(slot) = &self.slot {
            legal.extend(slot::legal(slot));
        }
        Ok(CapabilityLayout { id: CapabilityId::PCIE, length: LENGTH, rows, watches, legal })
    }
}

/// How long a requester waits for a completion: no shorter and no longer than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CompletionTimeout {
    /// The shortest time after which it may give up.
    pub min: Time,
    /// The longest time before which it must give up.
    pub max: Time,
}

/// What the PCI Express capability says. Without it: the reset values.
impl ConfigSpace {
    /// Largest payload of a TLP in bytes, as programmed (`Max_Payload_Size`): 128 to 4096.
    pub fn max_payload(&self) -> u32 {
        128 << (self.pcie(DEVCTL) >> 5 & 7)
    }

    /// Largest read request in bytes, as programmed (`Max_Read_Request_Size`): 128 to 4096.
    pub fn max_read_request(&self) -> u32 {
        if self.located.pcie == 0 { 512 } else { 128 << (self.pcie(DEVCTL) >> 12 & 7) }
    }

    /// May the function set the relaxed ordering attribute?
    pub fn relaxed_ordering_enabled(&self) -> bool {
        self.located.pcie == 0 || self.pcie(DEVCTL) & 1 << 4 != 0
    }

    /// May it use 8-bit tags, not 5-bit?
    pub fn extended_tag_enabled(&self) -> bool {
        self.pcie(DEVCTL) & EXTENDED_TAG != 0
    }

    /// May it use 10-bit tags?
    pub fn ten_bit_tag_enabled(&self) -> bool {
        self.pcie(DEVCTL2) & TEN_BIT_TAG != 0
    }

    /// Read completion boundary in bytes: 64 or 128.
    pub fn rcb(&self) -> u32 {
        if self.pcie(LNKCTL) & RCB != 0 { 128 } else { 64 }
    }

    /// The completion timeout, or `None` if it is off.
    pub fn completion_timeout(&self) -> Option<CompletionTimeout> {
        let control = self.pcie(DEVCTL2);
        let value = control & TIMEOUT_VALUE;
        let timeout = TIMEOUTS.iter().find(|&&(code, ..)| code == value).unwrap_or(&TIMEOUTS[0]);
        let &(_, min, max) = timeout;
        (control & TIMEOUT_DISABLE == 0).then_some(CompletionTimeout { min, max })
    }

    /// May the function make AtomicOp requests?
    pub fn atomic_requester_enabled(&self) -> bool {
        self.pcie(DEVCTL2) & ATOMIC_REQUESTER != 0
    }

    /// Does a port refuse to send AtomicOps out (AtomicOp Egress Blocking)?
    pub fn atomic_egress_blocked(&self) -> bool {
        self.pcie(DEVCTL2) & ATOMIC_EGRESS_BLOCKING != 0
    }

    /// Does a port forward by ARI: configuration requests to all device numbers of the bus below, which are then parts of an 8-bit function
    /// number (ARI Forwarding Enable)?
    pub fn ari_forwarding_enabled(&self) -> bool {
        self.pcie(DEVCTL2) & ARI_FORWARDING != 0
    }

    /// Largest payload that the function supports, in bytes.
    pub fn max_payload_supported(&self) -> u32 {
        128 << (self.pcie(DEVCAP) & 7)
    }

    /// Is the link below disabled (Link Disable)?
    pub fn link_disabled(&self) -> bool {
        self.pcie(LNKCTL) & 1 << 4 != 0
    }

    /// Is the data link layer of the link below up (Data Link Layer Link Active)? A port that doesn't report it is taken for one
    /// whose link is.
    pub fn link_active(&self) -> bool {
        self.pcie(LNKCAP) & LINK_ACTIVE_REPORTING == 0 || self.pcie(LNKCTL) & DATA_LINK_ACTIVE != 0
    }

    /// Fastest generation and widest width in lanes of the link (Link Capabilities); 0 without the capability.
    pub fn link_capability(&self) -> (u8, u8) {
        let capabilities = self.pcie(LNKCAP);
        ((capabilities & 0xf) as u8, (capabilities >> 4 & 0x3f) as u8)
    }

    /// Does a root port show Configuration Request Retry Status to software (section 2.3.2)?
    pub fn crs_visible(&self) -> bool {
        self.pcie(ROOTCTL) & 1 << 4 != 0
    }

    /// Sets the bits of Device Status that software clears by writing 1: correctable (0),
    /// non-fatal (1), fatal (2) error detected, unsupported request (3). Other bits are ignored.
    pub fn record_device_status(&mut self, bits: u16) {
        let bits = u32::from(bits & 0xf) << 16;
        self.set_pcie(DEVCTL, bits, bits);
    }

    /// May the function send this error message (Correctable, Non-Fatal and Fatal Error Reporting Enable)? Without the capability it may not.
    pub fn reports(&self, message: ErrorMessage) -> bool {
        self.pcie(DEVCTL) & 1 << message as u32 != 0
    }

    /// May it send messages for Unsupported Requests (Unsupported Request Reporting Enable)?
    pub fn reports_unsupported(&self) -> bool {
        self.pcie(DEVCTL) & 1 << 3 != 0
    }

    /// The lower half of Device Status: what [`record_device_status`](Self::record_device_status) has set, in its four low bits.
    pub fn device_status(&self) -> u16 {
        (self.pcie(DEVCTL) >> 16) as u16
    }

    /// Does a root port take this message for an error of the system (System Error on Correctable, Non-Fatal and Fatal Error Enable)?
    pub fn is_system_error(&self, message: ErrorMessage) -> bool {
        self.pcie(ROOTCTL) & 1 << message as u32 != 0
    }

    /// Does the port take latency tolerance reports (LTR Mechanism Enable)?
    pub fn ltr_enabled(&self) -> bool {
        self.pcie(DEVCTL2) & LTR != 0
    }

    /// Can the port report that its link went down unasked (Surprise Down Error Reporting Capable)?
    pub fn reports_surprise_down(&self) -> bool {
        self.pcie(LNKCAP) & 1 << 19 != 0
    }

    /// Shows in Device Status whether the function waits for completions.
    pub fn set_transactions_pending(&mut self, pending: bool) {
        self.set_pcie(DEVCTL, TRANSACTIONS_PENDING, if pending { u32::MAX } else { 0 });
    }

    /// Shows the link in Link Status: generation (1 to 5) and width in lanes, or `None` if it is
    /// down. A port with the link below it shows Data Link Layer Link Active too, and in Slot
    /// Status that it changed. Resets don't undo it.
    pub fn set_link(&mut self, link: Option<(u8, u8)>) {
        if self.located.pcie == 0 {
            return;
        }
        let at = self.located.pcie;
        let (generation, width) = link.unwrap_or((0, 0));
        let speed_and_width = u32::from(generation) | u32::from(width) << 4;
        self.set_hardware(at + LNKCTL, SPEED_AND_WIDTH, speed_and_width << 16);
        if self.dword(at + LNKCAP) & LINK_ACTIVE_REPORTING != 0 {
            let before = self.dword(at + LNKCTL) & DATA_LINK_ACTIVE;
            let active = if link.is_some() { DATA_LINK_ACTIVE } else { 0 };
            self.set_hardware(at + LNKCTL, DATA_LINK_ACTIVE, active);
            if before != active {
                self.record_link_change();
            }
        }
    }

    /// The dword at `offset` of the capability; 0 without it.
    pub(super) fn pcie(&self, offset: u16) -> u32 {
        let at = self.located.pcie;
        if at == 0 { 0 } else { self.dword(at + offset) }
    }

    /// Sets the bits of `mask` at `offset` of the capability, if it is there.
    pub(super) fn set_pcie(&mut self, offset: u16, mask: u32, bits: u32) {
        if self.located.pcie != 0 {
            self.set(self.located.pcie + offset, mask, bits);
        }
    }
}

const fn pulse(offset: u16, mask: u32, topic: Changed) -> Watch {
    Watch { offset, mask, trigger: Trigger::WrittenOne, topic }
}

fn bit(set: bool, number: u32) -> u32 {
    u32::from(set) << number
}
