//! A claimed function: the few registers that the device follows, its regions with the bytes it keeps, and its MSI-X table.

use mlx5_twin_fw_cmds::twin_v1::{bar, power, region};
use mlx5_twin_sim::config::{MsixMessage, MsixOutcome, MsixTable, Reset, byte_mask};
use mlx5_twin_sim::fabric::{Core, PortId, TlpId, answer_read};
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Route, Status};

use super::announcement::Announcements;
use super::kept::Kept;
use super::notice::{Notices, Source};
use super::port::Presence;
use super::requests::Requests;
use super::rom::{self, Rom};

/// A BAR of an emulated function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EmulatedBar {
    pub(super) is_64bit: bool,
    pub(super) size: u64,
}

/// A region of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) kind: u8,
    pub(super) bar: u8,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// For doorbell and stateful regions: place of its first byte among those that the device keeps.
    pub(super) first_byte: usize,
}

impl Region {
    /// Place of the byte at an offset of the region among those that the device keeps, if it's such a region.
    pub(super) fn kept(self, offset: u64) -> Option<usize> {
        matches!(self.kind, region::DOORBELL | region::STATEFUL).then(|| self.first_byte + offset as usize)
    }
}

/// What the device follows of configuration space: the bytes themselves are software's.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    command: u32,
    bars: [u32; 6],
    msix_control: u16,
    device_control: u16,
    /// PowerState of PMCSR: [`power::D0`] or [`power::D3HOT`].
    pub(super) power_state: u8,
}

/// What a configuration write did, beside changing the shadow.
#[derive(Debug)]
pub(super) enum Effect {
    /// These interrupt messages are to go out.
    Send(Vec<MsixMessage>),
    /// The function is reset.
    Reset,
}

/// Dwords of the configuration header.
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const LAST_BAR: u16 = 9;

impl Shadow {
    /// Whether memory requests are taken: memory space is on, in D0.
    fn memory_space(&self) -> bool {
        self.command & 1 << 1 != 0 && self.power_state == power::D0
    }

    /// Whether the function may send: it's bus master, in D0.
    pub(super) fn bus_master(&self) -> bool {
        self.command & 1 << 2 != 0 && self.power_state == power::D0
    }

    pub(super) fn msix_enabled(&self) -> bool {
        self.msix_control & 1 << 15 != 0
    }

    fn function_masked(&self) -> bool {
        self.msix_control & 1 << 14 != 0
    }

    /// `Max_Payload_Size` in bytes.
    fn max_payload(&self) -> u32 {
        128 << (self.device_control >> 5 & 7).min(5)
    }
}

/// What becomes of a request to a function.
pub(super) enum Target {
    /// It goes to software.
    Software,
    /// The device answers: the number of the region, and the offset in it.
    Device { region: usize, offset: u64 },
    /// It needs no answer.
    Ignore,
    /// Nothing is there.
    Nobody,
}

/// What an access to a region of the device's leads to.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// Interrupt messages that are to go out.
    pub(super) messages: Vec<MsixMessage>,
    /// What software may be to be told of.
    pub(super) written: Vec<Source>,
}

/// A function that software has claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) channel: u32,
    pub(super) bars: [Option<EmulatedBar>; 6],
    pub(super) regions: Vec<Region>,
    pub(super) msix: Option<MsixTable>,
    pub(super) msix_offset: u16,
    pub(super) pcie_offset: u16,
    pub(super) pm_offset: u16,
    /// Whether the function keeps its state from D3hot to D0.
    pub(super) no_soft_reset: bool,
    pub(super) presence: Presence,
    /// What software is still to be told of the function's link and slot.
    pub(super) announcements: Announcements,
    pub(super) kept: Kept,
    pub(super) notices: Notices,
    pub(super) rom: Option<Rom>,
    pub(super) requests: Requests,
    pub(super) shadow: Shadow,
}

impl Claimed {
    /// The BAR that holds `len` bytes from `address` on, and the offset in it. The expansion ROM comes last.
    fn decode(&self, address: u64, len: u64) -> Option<(u8, u64)> {
        if !self.shadow.memory_space() {
            return None;
        }
        let bar = (0..6).find_map(|number| {
            let bar = self.bars[number]?;
            let mut base = u64::from(self.shadow.bars[number]);
            if bar.is_64bit {
                base |= u64::from(*self.shadow.bars.get(number + 1)?) << 32;
            }
            let offset = address.checked_sub(base & !(bar.size - 1))?;
            (offset < bar.size && len <= bar.size - offset).then_some((number as u8, offset))
        });
        bar.or_else(|| Some((bar::ROM, self.rom?.decode(address, len)?)))
    }

    /// What a notice of what was written says beside where that is.
    pub(super) fn value_of(&self, source: Source) -> u32 {
        match source {
            Source::Doorbell(number) => self.kept.doorbell(number),
            Source::Region(_) => 0,
        }
    }

    /// BAR and offset of what was written.
    pub(super) fn place_of(&self, source: Source) -> Option<(u8, u64)> {
        match source {
            Source::Doorbell(number) => {
                self.regions.iter().filter(|region| region.kind == region::DOORBELL).find_map(|region| {
                    let inside = (4 * u64::from(number)).checked_sub(region.first_byte as u64)?;
                    (inside < region.length).then_some((region.bar, region.offset + inside))
                })
            }
            Source::Region(number) => self.regions.get(number as usize).map(|region| (region.bar, region.offset)),
        }
    }

    /// BAR and offset of a memory request.
    pub(super) fn place(&self, header: &Header) -> Option<(u8, u64)> {
        if header.route() != Route::Address || header.kind().is_message() {
            return None;
        }
        self.decode(header.address(), u64::from(header.length_dw()) * 4)
    }

    /// Who deals with a request that isn't a configuration request to this function.
    pub(super) fn target(&self, header: &Header) -> Target {
        match header.kind() {
            kind if kind.is_message() => return Target::Software,
            kind if kind.is_io() || kind.is_config() => return Target::Nobody,
            _ => {}
        }
        let Some((bar, offset)) = self.place(header) else { return Target::Nobody };
        if bar == bar::ROM {
            // It can only be read.
            let read = matches!(header.kind(), Kind::MRd32 | Kind::MRd64);
            return if read { Target::Software } else { Target::Nobody };
        }
        let len = u64::from(header.length_dw()) * 4;
        let found = self.regions.iter().position(|region| {
            region.bar == bar
                && offset >= region.offset
                && offset - region.offset < region.length
                && len <= region.length - (offset - region.offset)
        });
        let Some(number) = found else { return Target::Nobody };
        let region = &self.regions[number];
        let plain = matches!(header.kind(), Kind::MRd32 | Kind::MRd64 | Kind::MWr32 | Kind::MWr64);
        match region.kind {
            region::TRANSACTION => Target::Software,
            // Poisoned data may not change anything (base spec 2.7.2.2).
            _ if !plain || header.ep() && header.has_data() => Target::Nobody,
            region::MSIX_PBA if header.has_data() => Target::Ignore,
            _ => Target::Device { region: number, offset: offset - region.offset },
        }
    }

    /// Answers a request to a region that is the device's.
    pub(super) fn access(
        &mut self,
        core: &mut Core,
        port: PortId,
        id: Bdf,
        tlp: TlpId,
        number: usize,
        offset: u64,
    ) -> Consequences {
        let header = *core.header(tlp);
        let region = self.regions[number];
        let len = header.length_dw() as usize * 4;
        let mut data = [0; 4096];
        let data = &mut data[..len];
        if header.has_data() {
            data.copy_from_slice(core.payload(tlp));
            core.consume(tlp);
            return self.write(&header, number, offset, data);
        }
        core.consume(tlp);
        let read = match region.kept(offset) {
            Some(at) => {
                data.copy_from_slice(self.kept.read(at, len));
                true
            }
            None => {
                let place = self.msix.as_ref().and_then(|table| {
                    let region = table.region(region.bar, region.offset + offset)?;
                    Some((table, region))
                });
                place.is_some_and(|(table, region)| table.read(region, data).is_ok())
            }
        };
        if read {
            answer_read(core, port, &header, id, self.shadow.max_payload(), data);
        } else {
            core.complete(port, &header, id, Status::CompleterAbort);
        }
        Consequences::default()
    }

    fn write(&mut self, header: &Header, number: usize, offset: u64, data: &[u8]) -> Consequences {
        let enables = header.byte_enables();
        let region = self.regions[number];
        if let Some(at) = region.kept(offset) {
            self.kept.write(at, data, enables);
            let written = if region.kind == region::DOORBELL {
                let rung = (0..enables.length_dw).filter(|&dword| enables.of_dw(dword) != 0);
                rung.map(|dword| Source::Doorbell((at / 4) as u32 + dword)).collect()
            } else if enables.enabled() > 0 {
                vec![Source::Region(number as u32)]
            } else {
                Vec::new()
            };
            return Consequences { written, ..Consequences::default() };
        }
        if let Some(table) = &mut self.msix
            && let Some(place) = table.region(region.bar, region.offset + offset)
            && table.write(place, data, enables.first, enables.last).is_ok()
        {
            return Consequences { messages: self.unmasked(), ..Consequences::default() };
        }
        Consequences::default()
    }

    /// The messages that nothing holds back any more.
    fn unmasked(&mut self) -> Vec<MsixMessage> {
        let (enabled, masked) = (self.shadow.msix_enabled(), self.shadow.function_masked());
        // While the function may not send, they stay pending.
        let may_send = enabled && self.shadow.bus_master();
        match &mut self.msix {
            Some(table) => table.unmasked(may_send, masked).collect(),
            None => Vec::new(),
        }
    }

    /// Software raises a vector. `None` if there's no such vector.
    pub(super) fn raise(&mut self, vector: u16) -> Option<MsixOutcome> {
        let (enabled, masked) = (self.shadow.msix_enabled(), self.shadow.function_masked());
        self.msix.as_mut()?.raise(vector, enabled, masked).ok()
    }

    /// Software has completed a configuration write: it takes effect here.
    pub(super) fn configured(&mut self, register: u16, enables: u8, value: u32) -> Effect {
        match register {
            COMMAND => self.shadow.command = merge(self.shadow.command, enables, value) & 0xffff,
            FIRST_BAR..=LAST_BAR => {
                let number = usize::from(register - FIRST_BAR);
                let mask = self.bar_mask(number);
                self.shadow.bars[number] = merge(self.shadow.bars[number], enables, value) & mask;
            }
            rom::REGISTER => {
                if let Some(rom) = &mut self.rom {
                    rom.write(enables, value);
                }
            }
            _ => {}
        }
        if self.msix_offset != 0 && register == self.msix_offset / 4 {
            let control = u32::from(self.shadow.msix_control) << 16;
            self.shadow.msix_control = (merge(control, enables, value) >> 16) as u16;
        }
        if self.pcie_offset != 0 && register == self.pcie_offset / 4 + 2 {
            let control = merge(u32::from(self.shadow.device_control), enables, value);
            self.shadow.device_control = control as u16 & !(1 << 15);
            if control & 1 << 15 != 0 {
                return Effect::Reset;
            }
        }
        if self.pm_offset != 0 && register == self.pm_offset / 4 + 1 {
            let before = self.shadow.power_state;
            let state = (merge(u32::from(before), enables, value) & 0b11) as u8;
            // D1 and D2 aren't there: writing them changes nothing.
            if state == power::D0 || state == power::D3HOT {
                self.shadow.power_state = state;
            }
            if (before, state) == (power::D3HOT, power::D0) && !self.no_soft_reset {
                return Effect::Reset;
            }
        }
        Effect::Send(self.unmasked())
    }

    /// The bits of a BAR register that are an address.
    fn bar_mask(&self, number: usize) -> u32 {
        if let Some(bar) = self.bars[number] {
            return !(bar.size - 1) as u32 & !0xf;
        }
        let below = number.checked_sub(1).and_then(|below| self.bars[below]);
        below.filter(|bar| bar.is_64bit).map_or(0, |bar| (!(bar.size - 1) >> 32) as u32)
    }

    /// The device forgets what the host has set. Max_Payload_Size survives a function-level reset.
    pub(super) fn reset(&mut self, kind: Reset) {
        let keeps = if kind == Reset::FunctionLevel { 7 << 5 } else { 0 };
        let device_control = self.shadow.device_control & keeps;
        self.shadow = Shadow { device_control, ..Shadow::default() };
        self.kept.reset();
        self.notices.forget();
        if let Some(rom) = &mut self.rom {
            rom.reset();
        }
        if let Some(table) = &mut self.msix {
            table.reset();
        }
    }

    /// `Max_Payload_Size` in bytes.
    pub(super) fn max_payload(&self) -> u32 {
        self.shadow.max_payload()
    }
}

/// Writes the bytes of `value` that `enables` names over those of `old`.
pub(super) fn merge(old: u32, enables: u8, value: u32) -> u32 {
    let mask = byte_mask(enables);
    old & !mask | value & mask
}
