//! Virtual Channel extended capability (section 7.9.1): which traffic classes go over which virtual channel, and
//! whose turn it is.

use super::super::changed::{Changed, Trigger, Watch};
use super::super::space::{ConfigSpace, Legal, Row};
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
// Port VC Capability 2: weighted round robin, by the number of phases, and where its table is in units of 16 bytes.
const WEIGHTED: [(u8, u32); 3] = [(32, 1 << 1), (64, 1 << 2), (128, 1 << 3)];
const TABLE_AT: u32 = 24;
const TABLE_UNIT: u16 = 16;
// Port VC Control, and Port VC Status in the high half of the dword.
const LOAD_TABLE: u32 = 1;
const SELECT: u32 = 7 << SELECT_AT;
const SELECT_AT: u32 = 1;
const TABLE_STATUS: u32 = 1 << 16;
// VC Arbitration Table: a VC ID in each four bits, the first phase in the lowest; the highest bit of the four is reserved.
const PHASES_IN_DWORD: u8 = 8;
const PHASE_BITS: u32 = 4;
const PHASE_RW: u32 = 0x7777_7777;
// VC Resource Control. The map's bit 0 stands for TC0, which is always VC0's.
const MAP: u32 = 0xff;
const MAP_RW: u32 = 0xfe;
const ID: u32 = 7 << 24;
const ENABLE: u32 = 1 << 31;
// VC Resource Status, in its dword.
const NEGOTIATION_PENDING: u32 = 1 << 17;

/// The most VC resources: VC0 to VC7.
pub const MAX_CHANNELS: usize = 8;

/// Description of the capability. Among channels above the low-priority group a higher ID goes first; among those in it arbitration is as the hardware
/// does it, which is round robin, or weighted round robin by a table, as software selects (section 6.3.3). Arbitration among ports is as the hardware does
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcCapability {
    /// VC resources beyond VC0's, 0 to 7.
    pub extended: u8,
    /// VCs beyond VC0 in the low-priority group, 0 to `extended`: those with the IDs 0 to this.
    pub low_priority: u8,
    /// Phases of the longest table for weighted round robin: 32, 64 or 128; shorter tables can be selected, too. 0 if there's none, as without
    /// low-priority channels beyond VC0.
    pub phases: u8,
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
    /// Phases of the table by which that group takes turns: 32, 64 or 128; 0 if it's as the hardware does it.
    pub phases: u8,
}

impl VcControl {
    /// A port without the capability: all traffic classes go over VC0.
    pub const PLAIN: VcControl = {
        let none = VcResource { id: 0, enabled: false, map: 0 };
        let mut resources = [none; MAX_CHANNELS];
        resources[0] = VcResource { id: 0, enabled: true, map: 0xff };
        VcControl { resources, count: 1, low_priority: 0, phases: 0 }
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
        let &VcCapability { extended, low_priority, phases, arbitrates_ports } = self;
        let value = |field, value: u8, allowed| ConfigError::Value { field, value: value.into(), allowed };
        if usize::from(extended) >= MAX_CHANNELS {
            return Err(value("Extended VC Count", extended, "0 to 7"));
        }
        if low_priority > extended {
            return Err(value("Low Priority Extended VC Count", low_priority, "0 to Extended VC Count"));
        }
        if phases != 0 && WEIGHTED.iter().all(|(count, _)| *count != phases) {
            return Err(value("phases of the VC Arbitration Table", phases, "0, 32, 64 or 128"));
        }
        if phases != 0 && low_priority == 0 {
            return Err(value("phases of the VC Arbitration Table", phases, "0 without low-priority channels"));
        }
        let end = RESOURCES + (u16::from(extended) + 1) * RESOURCE;
        let table = end.next_multiple_of(TABLE_UNIT);
        let cap1 = u32::from(extended) & EXTENDED_COUNT | u32::from(low_priority) << LOW_PRIORITY_AT;
        let fixed = if low_priority > 0 { FIXED } else { 0 };
        let offered = WEIGHTED.iter().filter(|(count, _)| *count <= phases);
        let choices = offered.clone().count() as u32 + 1;
        let place = if phases > 0 { u32::from(table / TABLE_UNIT) << TABLE_AT } else { 0 };
        let cap2 = offered.fold(fixed | place, |cap, (_, bit)| cap | bit);
        let select = if phases > 0 { SELECT } else { 0 };
        let port_arbitration = if arbitrates_ports { FIXED } else { 0 };
        #[rustfmt::skip]
        let mut rows = vec![
            //       offset     name                                reset  rw      rw1c sticky flr
            Row::new(PORT_CAP1, "Port VC Capability 1",             cap1,  0,      0,   0,     0),
            Row::new(PORT_CAP2, "Port VC Capability 2",             cap2,  0,      0,   0,     0),
            Row::new(PORT_CTL,  "Port VC Control, Port VC Status",  0,     select, 0,   0,     select | TABLE_STATUS),
        ];
        let (mut watches, mut legal) = (Vec::new(), Vec::new());
        if phases > 0 {
            // Software may select another arbitration at any time (ours: it's not supposed to when several channels of the group are enabled).
            legal.push(Legal { offset: PORT_CTL, mask: SELECT, values: (1 << choices) - 1 });
            watches.push(Watch::changed(PORT_CTL, SELECT, Changed::VIRTUAL_CHANNELS));
            let (mask, trigger) = (LOAD_TABLE, Trigger::WrittenOne);
            watches.push(Watch { offset: PORT_CTL, mask, trigger, topic: Changed::LOAD_VC_TABLE });
        }
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
        for dword in 0..u16::from(phases / PHASES_IN_DWORD) {
            let offset = table + dword * 4;
            rows.push(Row::new(offset, "VC Arbitration Table", 0, PHASE_RW, 0, 0, PHASE_RW));
            let (mask, trigger) = (u32::MAX, Trigger::Written);
            watches.push(Watch { offset, mask, trigger, topic: Changed::VC_TABLE });
        }
        let length = if phases > 0 { table + u16::from(phases / PHASES_IN_DWORD) * 4 } else { end };
        Ok(CapabilityLayout { id: CapabilityId::VIRTUAL_CHANNEL, length, rows, watches, legal })
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
        let low_priority = (cap1 >> LOW_PRIORITY_AT & 7) as u8;
        let select = (self.dword(at + PORT_CTL) & SELECT) >> SELECT_AT;
        let weighted = (select as usize).checked_sub(1).and_then(|place| WEIGHTED.get(place));
        let phases = weighted.map_or(0, |(phases, _)| *phases);
        let mut control = VcControl { count, low_priority, phases, ..VcControl::PLAIN };
        for (number, resource) in (0..u16::from(count)).zip(&mut control.resources) {
            let dword = self.dword(at + RESOURCES + number * RESOURCE + CTL);
            let id = (dword >> 24) as u8 & 7;
            *resource = VcResource { id, enabled: dword & ENABLE != 0, map: (dword & MAP) as u8 };
        }
        Some(control)
    }

    /// The VC Arbitration Table as it was loaded last: the VC ID of each phase of the longest table. Empty if none was loaded since the last reset.
    pub fn vc_arbitration_table(&self) -> &[u8] {
        &self.hidden.vc_table
    }

    /// Does what a write to the table or to Load VC Arbitration Table does: the table's status shows whether something was written since it was
    /// loaded, which takes no time.
    pub(in super::super) fn act_on_vc_table(&mut self, changed: Changed) {
        let at = self.located.vc;
        if changed.contains(Changed::VC_TABLE) {
            self.set(at + PORT_CTL, TABLE_STATUS, TABLE_STATUS);
        }
        if changed.contains(Changed::LOAD_VC_TABLE) {
            self.load_vc_table();
        }
    }

    /// Loads the table, if there's one.
    pub(in super::super) fn load_vc_table(&mut self) {
        let at = self.located.vc;
        let cap2 = if at == 0 { 0 } else { self.dword(at + PORT_CAP2) };
        let Some((phases, _)) = WEIGHTED.iter().rfind(|(_, bit)| cap2 & bit != 0) else { return };
        let table = at + (cap2 >> TABLE_AT) as u16 * TABLE_UNIT;
        let entry = |phase: u8| {
            let dword = self.dword(table + u16::from(phase / PHASES_IN_DWORD) * 4);
            (dword >> (PHASE_BITS * u32::from(phase % PHASES_IN_DWORD)) & 7) as u8
        };
        self.hidden.vc_table = (0..*phases).map(entry).collect();
        self.set(at + PORT_CTL, TABLE_STATUS, 0);
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
