//! The registers of a configuration space as data: a value and masks for each dword.

use super::changed::{Changed, Watch};
use super::header::HeaderState;
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Number of dwords in a configuration space (section 7.2: 4096 bytes).
pub const REGISTERS: u16 = 1024;
/// Size of a configuration space in bytes.
pub const BYTES: u16 = 4096;
/// First byte of the area for capabilities of the PCI list.
const PCI_AREA: u16 = 0x40;
/// First byte of the area for extended capabilities.
const EXTENDED_AREA: u16 = 0x100;

/// One dword of a header or capability, as a row of a table. Masks name bits; a bit in no mask
/// is read-only.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Byte offset from the start of the header or capability; a multiple of 4.
    pub offset: u16,
    /// The registers in this dword, by their names in the specification.
    pub name: &'static str,
    /// Value after a reset.
    pub reset: u32,
    /// Bits that take what is written (RW).
    pub rw: u32,
    /// Bits that a written 1 clears (RW1C).
    pub rw1c: u32,
    /// Bits that only a fundamental reset returns to their reset value (the specification's
    /// 'sticky' bits: RWS, RW1CS, ROS).
    pub sticky: u32,
    /// Further bits that a function-level reset leaves alone (section 6.6.2 lists them).
    pub flr_keeps: u32,
}

impl Row {
    /// A row; the arguments are the columns of a table in the order of the fields.
    pub const fn new(
        offset: u16,
        name: &'static str,
        reset: u32,
        rw: u32,
        rw1c: u32,
        sticky: u32,
        flr_keeps: u32,
    ) -> Row {
        Row { offset, name, reset, rw, rw1c, sticky, flr_keeps }
    }
}

/// The values that a writable field can take. A write of another value leaves the field as it was,
/// as section 7.5.2.2 asks for power states; elsewhere this is ours, where the specification
/// leaves the result undefined.
#[derive(Clone, Copy, Debug)]
pub struct Legal {
    /// Byte offset of the dword, from the start of the header or capability.
    pub offset: u16,
    /// The field: neighbouring bits within one byte.
    pub mask: u32,
    /// Bit n is set if value n, shifted down, is legal.
    pub values: u32,
}

/// Kinds of reset, by what survives them (section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// Cold or warm reset: everything returns to its reset value.
    Fundamental,
    /// Hot reset, as by Secondary Bus Reset: sticky bits survive.
    Hot,
    /// Function-level reset: sticky bits survive, and the bits of section 6.6.2 such as
    /// `Max_Payload_Size`.
    FunctionLevel,
}

/// What a write may do to one dword, and what a reset makes of it.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    reset: u32,
    rw: u32,
    rw1c: u32,
    sticky: u32,
    flr_keeps: u32,
}

/// Byte offsets of the capabilities that accessors need; 0 if the function hasn't got one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Located {
    pub(super) pcie: u16,
    pub(super) msi: u16,
    pub(super) msix: u16,
    pub(super) power: u16,
    pub(super) aer: u16,
    pub(super) acs: u16,
    pub(super) dpc: u16,
    pub(super) sriov: u16,
    pub(super) vc: u16,
}

/// A function's 4096 bytes of configuration space.
///
/// Registers are host-order `u32` with byte 0 in the low bits; the byte order of a TLP's payload
/// is the caller's business. Reading a register that is not there gives 0, writing it does nothing.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    values: Box<[u32; REGISTERS as usize]>,
    pub(super) hidden: Box<Hidden>,
    watches: Vec<Watch>,
    legal: Vec<Legal>,
    /// Capabilities in the order of their lists: id, offset, length.
    capabilities: Vec<(CapabilityId, u16, u16)>,
    pub(super) located: Located,
    pub(super) header: HeaderState,
}

/// What the bus doesn't see of a configuration space, apart from it since few look at it.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    rules: [Rule; REGISTERS as usize],
    /// The VC Arbitration Table as it was loaded last.
    pub(super) vc_table: Vec<u8>,
}

impl ConfigSpace {
    /// A space with these rows from offset 0, and no capabilities.
    pub(super) fn new(header: HeaderState, rows: &[Row], watches: &[Watch]) -> ConfigSpace {
        let mut space = ConfigSpace {
            values: Box::new([0; REGISTERS as usize]),
            hidden: Box::new(Hidden { rules: [Rule::default(); REGISTERS as usize], vc_table: Vec::new() }),
            watches: watches.to_vec(),
            legal: Vec::new(),
            capabilities: Vec::new(),
            located: Located::default(),
            header,
        };
        space.define(0, rows);
        space
    }

    /// The dword `register` (0 to 1023), as the bus reads it.
    pub fn read(&self, register: u16) -> u32 {
        self.values.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// Writes the bytes of `value` whose bit is set in `byte_enables` (bit 0 is byte 0; higher
    /// bits than 3 are ignored) to the dword `register`, as the bus does. Says what the owner may
    /// have to act upon.
    pub fn write(&mut self, register: u16, byte_enables: u8, value: u32) -> Changed {
        let index = usize::from(register);
        let (Some(rule), Some(slot)) = (self.hidden.rules.get(index), self.values.get_mut(index)) else {
            return Changed::NONE;
        };
        let written = byte_mask(byte_enables);
        let before = *slot;
        let mut after = (before & !(rule.rw & written)) | (value & rule.rw & written);
        after &= !(value & rule.rw1c & written);
        let offset = register * 4;
        for legal in self.legal.iter().filter(|legal| legal.offset == offset) {
            let field = (after & legal.mask) >> legal.mask.trailing_zeros();
            if legal.values.checked_shr(field).unwrap_or(0) & 1 == 0 {
                after = (after & !legal.mask) | (before & legal.mask);
            }
        }
        *slot = after;
        let changed = self
            .watches
            .iter()
            .filter(|watch| watch.offset == offset)
            .filter(|watch| watch.applies(written, value, before, after))
            .fold(Changed::NONE, |changed, watch| changed | watch.topic);
        if changed.intersects(Changed::VC_TABLE | Changed::LOAD_VC_TABLE) {
            self.act_on_vc_table(changed);
        }
        changed
    }

    /// Returns registers to their reset values, except for what survives this kind of reset.
    pub fn reset(&mut self, kind: Reset) {
        for (value, rule) in self.values.iter_mut().zip(self.hidden.rules.iter()) {
            let keep = match kind {
                Reset::Fundamental => 0,
                Reset::Hot => rule.sticky,
                Reset::FunctionLevel => rule.sticky | rule.flr_keeps,
            };
            *value = (*value & keep) | (rule.reset & !keep);
        }
        if kind != Reset::FunctionLevel {
            self.hidden.vc_table.clear();
        }
    }

    /// The registers whose writable or clearable bits aren't as after power-on, with their values.
    pub fn changes(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let all = (0..).zip(self.values.iter().zip(self.hidden.rules.iter()));
        let changed = all.filter(|(_, (value, rule))| (*value ^ rule.reset) & (rule.rw | rule.rw1c) != 0);
        changed.map(|(register, (value, _))| (register, *value))
    }

    /// Takes over what another space of the same shape has become: its [`changes`](ConfigSpace::changes). All else is as after power-on. Only
    /// bits that the bus can write or clear are taken over, and only legal values.
    pub fn restore(&mut self, changes: impl IntoIterator<Item = (u16, u32)>) {
        self.reset(Reset::Fundamental);
        for (register, value) in changes {
            let Some(&rule) = self.hidden.rules.get(usize::from(register)) else { continue };
            self.write(register, 0xf, value & rule.rw);
            self.set(register * 4, rule.rw1c, value);
        }
        // Nothing says which table was loaded last: it's the one that is there.
        self.load_vc_table();
    }

    /// Adds a capability at the first free place in the area of its list. Returns its offset.
    ///
    /// # Errors
    /// What the capability's own values break, a second one of the same id, and no room.
    pub fn add(&mut self, capability: &impl Capability) -> Result<u16, ConfigError> {
        let layout = capability.layout()?;
        let (first, end) = area(layout.id);
        let length = layout.length;
        let mut offset = first;
        while let Some(after) = self.overlapped(offset, length) {
            offset = after.1.next_multiple_of(4);
        }
        if offset.checked_add(length).is_none_or(|past| past > end) {
            return Err(ConfigError::CapabilityRoom { length });
        }
        self.place(offset, &layout)
    }

    /// Adds a capability at byte `offset`: at 0x40 or above, extended ones at 0x100 or above and
    /// the first of those exactly there. Returns the offset.
    ///
    /// # Errors
    /// As [`add`](Self::add), and a place outside the area of the list or on another capability.
    pub fn add_at(&mut self, offset: u16, capability: &impl Capability) -> Result<u16, ConfigError> {
        let layout = capability.layout()?;
        self.place(offset, &layout)
    }

    /// Byte offset of a capability, or `None` if the function hasn't got it.
    pub fn find(&self, id: CapabilityId) -> Option<u16> {
        self.capabilities.iter().find(|(other, ..)| other.same_as(id)).map(|&(_, offset, _)| offset)
    }

    /// The capabilities and their byte offsets, in the order in which they were added.
    pub fn capabilities(&self) -> impl Iterator<Item = (CapabilityId, u16)> + '_ {
        self.capabilities.iter().map(|&(id, offset, _)| (id, offset))
    }

    /// The dword at byte `offset`, as the device sees it.
    pub(super) fn dword(&self, offset: u16) -> u32 {
        self.values[usize::from(offset >> 2) % usize::from(REGISTERS)]
    }

    /// The RW1C bits of the dword at byte `offset`: for a status register, what it can show.
    pub(super) fn clearable(&self, offset: u16) -> u32 {
        self.hidden.rules[usize::from(offset >> 2) % usize::from(REGISTERS)].rw1c
    }

    /// The device's own change of the bits of `mask`, whatever the bus may write there.
    pub fn set(&mut self, offset: u16, mask: u32, bits: u32) {
        let value = &mut self.values[usize::from(offset >> 2) % usize::from(REGISTERS)];
        *value = (*value & !mask) | (bits & mask);
    }

    /// As [`set`](Self::set), for state of the hardware (HwInit): it is the same after any reset.
    pub(super) fn set_hardware(&mut self, offset: u16, mask: u32, bits: u32) {
        self.set(offset, mask, bits);
        let rule = &mut self.hidden.rules[usize::from(offset >> 2) % usize::from(REGISTERS)];
        rule.reset = (rule.reset & !mask) | (bits & mask);
    }

    /// Lets the bus write these bits of the dword at byte `offset`, and no others. Bits that it can't write any more go back to their reset values.
    pub(super) fn set_writable(&mut self, offset: u16, mask: u32) {
        let index = usize::from(offset >> 2) % usize::from(REGISTERS);
        let rule = &mut self.hidden.rules[index];
        let gone = rule.rw & !mask;
        rule.rw = mask;
        self.values[index] = self.values[index] & !gone | rule.reset & gone;
    }

    fn define(&mut self, base: u16, rows: &[Row]) {
        for row in rows {
            let index = usize::from((base + row.offset) >> 2) % usize::from(REGISTERS);
            let Row { reset, rw, rw1c, sticky, flr_keeps, .. } = *row;
            self.hidden.rules[index] = Rule { reset, rw, rw1c, sticky, flr_keeps };
            self.values[index] = reset;
        }
    }

    /// First and past-the-end byte of a capability that `length` bytes at `offset` would overlap.
    fn overlapped(&self, offset: u16, length: u16) -> Option<(u16, u16)> {
        let past = offset.saturating_add(length);
        self.capabilities
            .iter()
            .map(|&(_, first, length)| (first, first + length))
            .find(|&(first, end)| offset < end && first < past)
    }

    fn place(&mut self, offset: u16, layout: &CapabilityLayout) -> Result<u16, ConfigError> {
        let length = layout.length;
        let (first, end) = area(layout.id);
        let past = offset.saturating_add(length);
        if !offset.is_multiple_of(4) || length < 4 || offset < first || past > end {
            return Err(ConfigError::CapabilityPlace { offset, length });
        }
        if let Some((other, _)) = self.overlapped(offset, length) {
            return Err(ConfigError::CapabilityOverlap { offset, length, other });
        }
        if layout.id.is_unique() && self.find(layout.id).is_some() {
            return Err(ConfigError::CapabilityTwice { id: layout.id });
        }
        let extended = matches!(layout.id, CapabilityId::Extended { .. });
        let previous = self
            .capabilities
            .iter()
            .rev()
            .find_map(|&(id, at, _)| (matches!(id, CapabilityId::Extended { .. }) == extended).then_some(at));
        if extended && previous.is_none() && offset != EXTENDED_AREA {
            return Err(ConfigError::FirstExtended { offset });
        }
        let offsets = layout.rows.iter().map(|row| row.offset);
        let offsets = offsets.chain(layout.watches.iter().map(|watch| watch.offset));
        for inner in offsets.chain(layout.legal.iter().map(|legal| legal.offset)) {
            if !inner.is_multiple_of(4) || inner >= length {
                return Err(ConfigError::RowOutside { offset: inner, length });
            }
        }

        self.define(offset, &layout.rows);
        let shifted = layout.watches.iter().map(|w| Watch { offset: offset + w.offset, ..*w });
        self.watches.extend(shifted);
        let shifted = layout.legal.iter().map(|l| Legal { offset: offset + l.offset, ..*l });
        self.legal.extend(shifted);
        self.link(offset, layout.id, previous);
        self.capabilities.push((layout.id, offset, length));
        match layout.id {
            CapabilityId::PCIE => self.located.pcie = offset,
            CapabilityId::MSI => self.located.msi = offset,
            CapabilityId::MSIX => self.located.msix = offset,
            CapabilityId::POWER_MANAGEMENT => self.located.power = offset,
            id if id.same_as(CapabilityId::AER) => self.located.aer = offset,
            id if id.same_as(CapabilityId::ACS) => self.located.acs = offset,
            id if id.same_as(CapabilityId::DPC) => self.located.dpc = offset,
            id if id.same_as(CapabilityId::SRIOV) => self.located.sriov = offset,
            id if id.same_as(CapabilityId::VIRTUAL_CHANNEL) => self.located.vc = offset,
            _ => {}
        }
        Ok(offset)
    }

    /// Makes the capability at `offset` the last of its list.
    fn link(&mut self, offset: u16, id: CapabilityId, previous: Option<u16>) {
        let pointer = u32::from(offset);
        match (id, previous) {
            (CapabilityId::Pci(id), previous) => {
                self.set_hardware(offset, 0xffff, u32::from(id));
                if let Some(previous) = previous {
                    self.set_hardware(previous, 0xff00, pointer << 8);
                } else {
                    self.set_hardware(super::header::CAPABILITIES_POINTER, 0xff, pointer);
                    // Status, Capabilities List
                    self.set_hardware(super::header::COMMAND, 1 << 20, 1 << 20);
                }
            }
            (CapabilityId::Extended { id, version }, previous) => {
                let header = u32::from(id) | u32::from(version & 0xf) << 16;
                self.set_hardware(offset, u32::MAX, header);
                if let Some(previous) = previous {
                    self.set_hardware(previous, 0xfff0_0000, pointer << 20);
                }
            }
        }
    }
}

/// First and past-the-end byte of the area in which a capability may lie.
const fn area(id: CapabilityId) -> (u16, u16) {
    match id {
        CapabilityId::Pci(_) => (PCI_AREA, EXTENDED_AREA),
        CapabilityId::Extended { .. } => (EXTENDED_AREA, BYTES),
    }
}

/// The bits of a dword's enabled bytes: bit 0 of `byte_enables` stands for byte 0, in the low bits; bits beyond the fourth don't count.
pub const fn byte_mask(byte_enables: u8) -> u32 {
    let enables = byte_enables as u32;
    let spread = (enables & 1) | (enables & 2) << 7 | (enables & 4) << 14 | (enables & 8) << 21;
    spread * 0xff
}
