//! One function of a channel: its configuration space, and the requests that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mlx5_twin_sim::config::header::bar::ROM_INDEX;
use mlx5_twin_sim::config::{Changed, ConfigSpace, PowerState, Reset, Status as PciStatus};
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Status};

use super::description::Built;
use super::{Access, Configuration, Error, RequestId};
use crate::channel::{FunctionLayout, PciEvent};

// Bits of Device Status (PCIe base specification 7.5.3.5), as `ConfigSpace::record_device_status` counts them.
const CORRECTABLE: u16 = 1 << 0;
const NON_FATAL: u16 = 1 << 1;
const UNSUPPORTED: u16 = 1 << 3;

/// What of a change is reported. Sizing and placing BARs is not: an author works with offsets.
const REPORTED: [Changed; 4] = [Changed::COMMAND, Changed::MSIX, Changed::DEVICE_CONTROL, Changed::LINK_CONTROL];

/// A request that waits for its completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) header: Header,
    /// What a configuration write writes, byte 0 in the low bits.
    pub(super) value: u32,
    /// How many requests came before it.
    order: u64,
    /// What it's answered with as soon as the order of completions allows.
    pub(super) put_off: Option<PutOff>,
}

/// An answer that the author has nothing to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutOff {
    /// Unsupported Request.
    Refuse,
    /// A configuration request is answered from the configuration space.
    Answer,
}

/// A claimed function.
#[derive(Debug)]
pub(super) struct State {
    pub(super) space: ConfigSpace,
    pub(super) layout: FunctionLayout,
    rom: Option<Arc<[u8]>>,
    pub(super) forward_configuration: bool,
    /// Bus, device and function number, from the last configuration write; 0 before it, and after PERST#.
    pub(super) id: Bdf,
    pub(super) open: BTreeMap<u32, Open>,
    /// Vectors to raise when a channel is primary: this one, or the one that takes over.
    pub(super) owed: BTreeSet<u16>,
    /// Requests that came so far.
    came: u64,
}

/// What a configuration write did, as far as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Configured(Changed),
    Power(PowerState),
    Reset(Reset),
}

impl State {
    pub(super) fn new(built: Built) -> State {
        let Built { space, layout, rom, forward_configuration, .. } = built;
        State {
            space,
            layout,
            rom,
            forward_configuration,
            id: Bdf(0),
            open: BTreeMap::new(),
            owed: BTreeSet::new(),
            came: 0,
        }
    }

    /// What a read of the expansion ROM gives, if the function has an image for it. Behind its end are ones, as in an empty memory.
    pub(super) fn rom(&self, at: &Access) -> Option<Vec<u8>> {
        let image = self.rom.as_ref().filter(|_| at.bar == ROM_INDEX)?;
        let begin = usize::try_from(at.offset).ok()?;
        let bytes = image.get(begin..).unwrap_or_default();
        let mut data = bytes[..bytes.len().min(at.len())].to_vec();
        data.resize(at.len(), 0xff);
        Some(data)
    }

    /// Takes up a request that waits.
    pub(super) fn begin(&mut self, id: RequestId, header: Header, value: u32, limit: u32) -> Result<(), Error> {
        if self.open.contains_key(&id.number) {
            return Err(Error::RequestTwice(id));
        }
        if self.open.len() >= limit as usize {
            return Err(Error::TooManyRequests { id, limit });
        }
        self.open.insert(id.number, Open { header, value, order: self.came, put_off: None });
        self.came += 1;
        Ok(())
    }

    /// The request that came first of those that wait.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.open.iter().min_by_key(|(_, open)| open.order).map(|(&number, _)| number)
    }

    /// The request, as its author sees it, if it's a configuration request.
    pub(super) fn configuration(&self, id: RequestId) -> Result<Configuration, Error> {
        let open = self.open.get(&id.number).ok_or(Error::UnknownRequest(id))?;
        let write = match open.header.kind() {
            Kind::CfgRd0 => None,
            Kind::CfgWr0 => Some(open.value),
            _ => return Err(Error::NotConfiguration(id)),
        };
        Ok(Configuration { id, register: open.header.register(), enables: open.header.first_be(), write })
    }

    /// Carries out a configuration write. A reset isn't part of it: it comes after the completion.
    pub(super) fn write(&mut self, configuration: &Configuration) -> Effect {
        let Some(value) = configuration.write else { return Effect::Nothing };
        let changed = self.space.write(configuration.register, configuration.enables, value);
        if changed.intersects(Changed::FUNCTION_LEVEL_RESET | Changed::SOFT_RESET) {
            Effect::Reset(Reset::FunctionLevel)
        } else if changed.contains(Changed::POWER) {
            Effect::Power(self.space.power_state())
        } else if REPORTED.iter().any(|topic| changed.intersects(*topic)) {
            Effect::Configured(changed)
        } else {
            Effect::Nothing
        }
    }

    /// What happens to the link happens to the function.
    pub(super) fn pci_event(&mut self, event: PciEvent) {
        if event == PciEvent::PerstAsserted {
            self.reset(Reset::Fundamental);
            self.id = Bdf(0);
        }
    }

    /// The registers return to what they are after a reset, and what is open is forgotten: the device has ended it.
    pub(super) fn reset(&mut self, kind: Reset) {
        self.space.reset(kind);
        self.open.clear();
    }

    /// Notes in the status registers that a request ended with `status`. To a requester that gets such a completion the error is his
    /// to report, so for the function it's an advisory one: correctable (PCIe base specification 6.2.3.2.4.1).
    pub(super) fn record(&mut self, status: Status) {
        match status {
            Status::UnsupportedRequest => self.space.record_device_status(CORRECTABLE | UNSUPPORTED),
            Status::CompleterAbort => {
                self.space.record_status(PciStatus::SIGNALED_TARGET_ABORT);
                self.space.record_device_status(CORRECTABLE);
            }
            _ => {}
        }
    }

    /// Notes in the status registers that a poisoned write came.
    pub(super) fn record_poisoned(&mut self) {
        self.space.record_status(PciStatus::DETECTED_PARITY_ERROR);
        self.space.record_device_status(NON_FATAL);
    }
}
