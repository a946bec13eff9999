//! A claimed function: the few registers that the device follows, its regions, and its MSI-X table.

use std::collections::VecDeque;

use mlx5_twin_fw_cmds::field::FieldError;
use mlx5_twin_fw_cmds::layout::emulated_function;
use mlx5_twin_fw_cmds::twin_v1::{MAX_DOORBELLS, region};
use mlx5_twin_sim::config::{MsixMessage, MsixOutcome, MsixTable, byte_mask};
use mlx5_twin_sim::fabric::{Core, PortId, TlpId, answer_read};
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Route, Status};

use super::handover::Again;
use super::requests::Requests;

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
    /// For doorbell regions: number of its first dword among all of the function.
    pub(super) first_doorbell: usize,
}

impl Region {
    /// Number of the doorbell at an offset of the region.
    fn doorbell(self, offset: u64) -> usize {
        self.first_doorbell + (offset / 4) as usize
    }
}

/// What the device follows of configuration space: the bytes themselves are software's.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    command: u32,
    bars: [u32; 6],
    msix_control: u16,
    device_control: u16,
}

/// Dwords of the configuration header.
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const LAST_BAR: u16 = 9;

impl Shadow {
    fn memory_space(&self) -> bool {
        self.command & 1 << 1 != 0
    }

    pub(super) fn bus_master(&self) -> bool {
        self.command & 1 << 2 != 0
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

    /// What software is told of it, so that another can go on where it stopped.
    pub(super) fn describe(&self, context: &mut [u8]) -> Result<(), FieldError> {
        emulated_function::COMMAND.set(context, u64::from(self.command))?;
        emulated_function::MSIX_CONTROL.set(context, u64::from(self.msix_control))?;
        emulated_function::DEVICE_CONTROL.set(context, u64::from(self.device_control))?;
        for (number, &value) in self.bars.iter().enumerate() {
            emulated_function::BAR_VALUES.set(context, number, u64::from(value))?;
        }
        Ok(())
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

/// A function that software has claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    /// The channels that have claimed it. The primary one among them gets its TLPs.
    pub(super) channels: Vec<u32>,
    /// What a channel has left behind that's gone: it's delivered before all that waits.
    pub(super) again: VecDeque<Again>,
    pub(super) bars: [Option<EmulatedBar>; 6],
    pub(super) regions: Vec<Region>,
    pub(super) msix: Option<MsixTable>,
    pub(super) msix_offset: u16,
    pub(super) pcie_offset: u16,
    pub(super) doorbells: [u32; MAX_DOORBELLS],
    pub(super) requests: Requests,
    pub(super) shadow: Shadow,
}

impl Claimed {
    /// Whether a second claim describes the same function.
    pub(super) fn is_described_by(&self, other: &Claimed) -> bool {
        let vectors = |claimed: &Claimed| claimed.msix.as_ref().map_or(0, MsixTable::vectors);
        (&self.bars, &self.regions, self.msix_offset, self.pcie_offset, vectors(self))
            == (&other.bars, &other.regions, other.msix_offset, other.pcie_offset, vectors(other))
    }

    /// The BAR that holds `len` bytes from `address` on, and the offset in it.
    fn decode(&self, address: u64, len: u64) -> Option<(u8, u64)> {
        if !self.shadow.memory_space() {
            return None;
        }
        (0..6).find_map(|number| {
            let bar = self.bars[number]?;
            let mut base = u64::from(self.shadow.bars[number]);
            if bar.is_64bit {
                base |= u64::from(*self.shadow.bars.get(number + 1)?) << 32;
            }
            let offset = address.checked_sub(base & !(bar.size - 1))?;
            (offset < bar.size && len <= bar.size - offset).then_some((number as u8, offset))
        })
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
            _ if !plain => Target::Nobody,
            region::MSIX_PBA if header.has_data() => Target::Ignore,
            _ => Target::Device { region: number, offset: offset - region.offset },
        }
    }

    /// Answers a request to a region that is the device's. Gives the interrupt messages that are to go out.
    pub(super) fn access(
        &mut self,
        core: &mut Core,
        port: PortId,
        id: Bdf,
        tlp: TlpId,
        region: usize,
        offset: u64,
    ) -> Vec<MsixMessage> {
        let header = *core.header(tlp);
        let region = self.regions[region];
        let len = header.length_dw() as usize * 4;
        let mut data = [0; 4096];
        let data = &mut data[..len];
        if header.has_data() {
            data.copy_from_slice(core.payload(tlp));
            core.consume(tlp);
            return self.write(&header, region, offset, data);
        }
        core.consume(tlp);
        let read = match region.kind {
            region::DOORBELL => {
                for (number, bytes) in (region.doorbell(offset)..).zip(data.chunks_exact_mut(4)) {
                    bytes.copy_from_slice(&self.doorbells.get(number).copied().unwrap_or(0).to_le_bytes());
                }
                true
            }
            _ => {
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
        Vec::new()
    }

    fn write(&mut self, header: &Header, region: Region, offset: u64, data: &[u8]) -> Vec<MsixMessage> {
        let enables = header.byte_enables();
        if region.kind == region::DOORBELL {
            let first = region.doorbell(offset);
            let last = data.len() / 4 - 1;
            for (number, bytes) in data.chunks_exact(4).enumerate() {
                let enabled = match number {
                    0 => enables.first,
                    _ if number == last => enables.last,
                    _ => 0xf,
                };
                if let (Some(value), Ok(bytes)) = (self.doorbells.get_mut(first + number), bytes.try_into()) {
                    *value = merge(*value, enabled, u32::from_le_bytes(bytes));
                }
            }
            return Vec::new();
        }
        if let Some(table) = &mut self.msix
            && let Some(place) = table.region(region.bar, region.offset + offset)
            && table.write(place, data, enables.first, enables.last).is_ok()
        {
            return self.unmasked();
        }
        Vec::new()
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

    /// Software has completed a configuration write: it takes effect here. Gives the interrupt messages that are to go out.
    pub(super) fn configured(&mut self, register: u16, enables: u8, value: u32) -> Vec<MsixMessage> {
        match register {
            COMMAND => self.shadow.command = merge(self.shadow.command, enables, value) & 0xffff,
            FIRST_BAR..=LAST_BAR => {
                let number = usize::from(register - FIRST_BAR);
                let mask = self.bar_mask(number);
                self.shadow.bars[number] = merge(self.shadow.bars[number], enables, value) & mask;
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
                self.reset();
                return Vec::new();
            }
        }
        self.unmasked()
    }

    /// The bits of a BAR register that are an address.
    fn bar_mask(&self, number: usize) -> u32 {
        if let Some(bar) = self.bars[number] {
            return !(bar.size - 1) as u32 & !0xf;
        }
        let below = number.checked_sub(1).and_then(|below| self.bars[below]);
        below.filter(|bar| bar.is_64bit).map_or(0, |bar| (!(bar.size - 1) >> 32) as u32)
    }

    /// Function-level reset: the device forgets what the host has set. Max_Payload_Size survives it.
    fn reset(&mut self) {
        let device_control = self.shadow.device_control & 7 << 5;
        self.shadow = Shadow { device_control, ..Shadow::default() };
        self.doorbells.fill(0);
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
fn merge(old: u32, enables: u8, value: u32) -> u32 {
    let mask = byte_mask(enables);
    old & !mask | value & mask
}
