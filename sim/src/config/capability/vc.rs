//! Virtual Channel extended capability (section 7.9.1): which traffic classes go over which virtual channel.

use super::super::changed::{Changed, Watch};
use super::super::space::{ConfigSpace, Row};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of Port VC Capability 1.
const PORT_CAP1: u16 = 0x04;
/// Offset of Port VC Capability 2.
const PORT_CAP2: u16 = 0x08;
/// Offset of Port VC Control, with Port VC Status in the high half.
const PORT_CTL: u16 = 0x0c;
/// Offset of the first VC resource; the others follow, each of this length.
const RESOURCES: u16 = 0x10;
const RESOURCE: u16 = 0x0c;
/// Offsets in a VC resource: Capability, Control, and Status in the high half of its dword.
const CAP: u16 = 0;
const CTL: u16 = 4;
const STATUS: u16 = 8;

// Port VC Capability 1.
const EXTENDED_COUNT: u32 = 7;
const LOW_PRIORITY_AT: u32 = 4;
// Port VC Capability 2 and VC Resource Capability: arbitration as the hardware does it.
const FIXED: u32 = 1;
// VC Resource Control. The map's bit 0 stands for TC0, which is always VC0's.
const MAP: u32 = 0xff;
const MAP_RW: u32 = 0xfe;
const ID: u32 = 7 << 24;
const ENABLE: u32 = 1 << 31;
// VC Resource Status, in its dword.
const NEGOTIATION_PENDING: u32 = 1 << 17;

/// The most VC resources: VC0 to VC7.
pub const MAX_CHANNELS: usize = 8;

/// Description of the capability. All arbitration is as the hardware does it: round robin among the low-priority channels, a higher ID first among
/// the others (section 6.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcCapability {
    /// VC resources beyond VC0's, 0 to 7.
    pub extended: u8,
    /// VCs beyond VC0 in the low-priority group, 0 to `extended`: those with the IDs 0 to this.
    pub low_priority: u8,
    /// Whether the port arbitrates among other ports, as those of switches do: then it says how.
    pub arbitrates_ports: bool,
}

/// What software has set of one VC resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcResource {
    /// VC ID, 0 to 7: the same at both ends of a link. That of the first resource is 0.
    pub id: u8,
    /// VC Enable.
    pub enabled: bool,
    /// TC/VC Map: bit n stands for traffic class n.
    pub map: u8,
}

/// What software has set of a port's virtual channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcControl {
    resources: [VcResource; MAX_CHANNELS],
    count: u8,
    /// VCs with an ID up to this are in the low-priority group.
    pub low_priority: u8,
}

impl VcControl {
    /// A port without the capability: all traffic classes go over VC0.
    pub const PLAIN: VcControl = {
        let none = VcResource { id: 0, enabled: false, map: 0 };
        let mut resources = [none; MAX_CHANNELS];
        resources[0] = VcResource { id: 0, enabled: true, map: 0xff };
        VcControl { resources, count: 1, low_priority: 0 }
    };

    /// The VC resources, that of VC0 first.
    pub fn resources(&self) -> &[VcResource] {
        self.resources.get(..usize::from(self.count)).unwrap_or(&self.resources)
    }

    /// Over which resource a traffic class (0 to 7) goes: the first enabled one that it's mapped to, if there's one.
    pub fn resource_of(&self, tc: u8) -> Option<usize> {
        self.resources().iter().position(|resource| resource.enabled && resource.map >> (tc & 7) & 1 != 0)
    }

    /// The resource that's enabled with this VC ID.
    pub fn with_id(&self, id: u8) -> Option<usize> {
        self.resources().iter().position(|resource| resource.enabled && resource.id == id)
    }

    /// Whether all traffic classes go over VC0.
    pub fn is_plain(&self) -> bool {
        (0..8).all(|tc| self.resource_of(tc) == Some(0))
    }
}

impl Capability for VcCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        let &VcCapability { extended, low_priority, arbitrates_ports } = self;
        let value = |field, value: u8, allowed| ConfigError::Value { field, value: value.into(), allowed };
        if usize::from(extended) >= MAX_CHANNELS {
            return Err(value("Extended VC Count", extended, "0 to 7"));
        }
        if low_priority > extended {
            return Err(value("Low Priority Extended VC Count", low_priority, "0 to Extended VC Count"));
        }
        let cap1 = u32::from(extended) & EXTENDED_COUNT | u32::from(low_priority) << LOW_PRIORITY_AT;
        let cap2 = if low_priority > 0 { FIXED } else { 0 };
        let port_arbitration = if arbitrates_ports { FIXED } else { 0 };
        // The only arbitration that can be selected is number 0.
        #[rustfmt::skip]
        let mut rows = vec![
            //       offset     name                                reset  rw rw1c sticky flr
            Row::new(PORT_CAP1, "Port VC Capability 1",             cap1,  0, 0,   0,     0),
            Row::new(PORT_CAP2, "Port VC Capability 2",             cap2,  0, 0,   0,     0),
            Row::new(PORT_CTL,  "Port VC Control, Port VC Status",  0,     0, 0,   0,     0),
        ];
        let mut watches = Vec::new();
        for number in 0..=u16::from(extended) {
            let at = RESOURCES + number * RESOURCE;
            let (reset, rw) = if number == 0 { (ENABLE | MAP, MAP_RW) } else { (0, ENABLE | ID | MAP_RW) };
            #[rustfmt::skip]
            rows.extend([
                //       offset       name                      reset             rw  rw1c sticky flr
                Row::new(at + CAP,    "VC Resource Capability", port_arbitration, 0,  0,   0,     0),
                // The channels of a link outlive a function-level reset of the device at its end.
                Row::new(at + CTL,    "VC Resource Control",    reset,            rw, 0,   0,     rw),
                Row::new(at + STATUS, "VC Resource Status",     0,                0,  0,   0,     NEGOTIATION_PENDING),
            ]);
            watches.push(Watch::changed(at + CTL, ENABLE | ID | MAP, Changed::VIRTUAL_CHANNELS));
        }
        let length = RESOURCES + (u16::from(extended) + 1) * RESOURCE;
        Ok(CapabilityLayout { id: CapabilityId::VIRTUAL_CHANNEL, length, rows, watches, legal: Vec::new() })
    }
}

/// The virtual channels.
impl ConfigSpace {
    /// What software has set; `None` if the function hasn't got the capability.
    pub fn virtual_channels(&self) -> Option<VcControl> {
        let at = self.located.vc;
        if at == 0 {
            return None;
        }
        let cap1 = self.dword(at + PORT_CAP1);
        let count = (cap1 & EXTENDED_COUNT) as u8 + 1;
        let mut control = VcControl { count, low_priority: (cap1 >> LOW_PRIORITY_AT & 7) as u8, ..VcControl::PLAIN };
        for (number, resource) in (0..u16::from(count)).zip(&mut control.resources) {
            let dword = self.dword(at + RESOURCES + number * RESOURCE + CTL);
            let id = (dword >> 24) as u8 & 7;
            *resource = VcResource { id, enabled: dword & ENABLE != 0, map: (dword & MAP) as u8 };
        }
        Some(control)
    }

    /// Shows by VC Negotiation Pending which resources work: bit n of `working` stands for resource n. An enabled one that doesn't is pending.
    pub fn set_working_channels(&mut self, working: u8) {
        let Some(control) = self.virtual_channels() else { return };
        for (number, resource) in (0..).zip(control.resources()) {
            let pending = resource.enabled && working >> number & 1 == 0;
            let at = self.located.vc + RESOURCES + number * RESOURCE + STATUS;
            self.set(at, NEGOTIATION_PENDING, if pending { NEGOTIATION_PENDING } else { 0 });
        }
    }
}
