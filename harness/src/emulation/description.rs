//! What an emulated function looks like, and the rules that a description must keep.

use std::sync::Arc;

use mlx5_twin_sim::config::{
    BarKind, Capability, CapabilityId, CapabilityLayout, ConfigError, ConfigSpace, MsixCapability, PcieCapability,
    PowerCapability, Type0,
};

use super::{Limits, Order, Port, Region, RegionKind, Settings};
use crate::channel::FunctionLayout;

/// No_Soft_Reset in the dword after the power management capability's first one (base specification 7.5.2.2).
const NO_SOFT_RESET: u32 = 1 << 3;

/// Sizes that an expansion ROM can have, in bytes (PCI local bus specification, 'Expansion ROM Base Address Register').
const SMALLEST_ROM: u32 = 2 << 10;
const LARGEST_ROM: u32 = 16 << 20;

/// A rule that the description of a function breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// The header or a capability can't be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An emulated function has memory BARs only.
    #[error("BAR {bar}: an emulated function can't have an I/O BAR")]
    IoBar {
        /// The BAR.
        bar: usize,
    },
    /// The image of an expansion ROM is empty, or larger than the ROM.
    #[error("the expansion ROM's image has {len:#x} bytes: it must have 1 to {most:#x}")]
    RomImage {
        /// Length of the image in bytes.
        len: usize,
        /// The header's size of the ROM in bytes, or 16 MiB.
        most: u32,
    },
    /// Nobody can be told of writes to a region that isn't kept by the device.
    #[error("region {region} can't notify: only doorbells and stateful regions can")]
    Notify {
        /// The region.
        region: usize,
    },
    /// The protocol has six bits for the size of a BAR, and 40 is the most.
    #[error("BAR {bar}: a size of {size:#x} bytes is more than 2^40")]
    BarSize {
        /// The BAR.
        bar: usize,
        /// Its size in bytes.
        size: u64,
    },
    /// A region lies in a BAR that the function hasn't got.
    #[error("region {region} lies in BAR {bar}, which the function hasn't got")]
    NoBar {
        /// The region, counted from 0 in the order of the description.
        region: usize,
        /// The BAR.
        bar: u8,
    },
    /// A region isn't whole dwords.
    #[error("region {region} has {length:#x} bytes at {offset:#x}: both must be multiples of 4, the length not 0")]
    RegionShape {
        /// The region.
        region: usize,
        /// Its offset in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// A region ends behind its BAR, or begins at 4 GiB or more.
    #[error(
        "region {region} has {length:#x} bytes at {offset:#x}, which leaves BAR {bar} of {size:#x} bytes or its first 4 GiB"
    )]
    RegionOutside {
        /// The region.
        region: usize,
        /// Its offset in bytes.
        offset: u64,
        /// Its length in bytes.
        length: u64,
        /// The BAR.
        bar: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// Two regions share bytes.
    #[error("regions {first} and {second} of BAR {bar} overlap")]
    RegionOverlap {
        /// One of them.
        first: usize,
        /// The other one.
        second: usize,
        /// The BAR.
        bar: u8,
    },
    /// More was described than the device can do.
    #[error("{what}: {value} are described, the device can do {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        value: u64,
        /// The most that is possible.
        most: u64,
    },
}

/// The description of a function: its header, capabilities, the regions of its BARs, and how its channel is to be.
#[derive(Clone, Debug)]
pub struct Description {
    port: Port,
    header: Type0,
    capabilities: Vec<Result<CapabilityLayout, ConfigError>>,
    msix: Option<MsixCapability>,
    regions: Vec<Region>,
    defaults: Vec<(usize, Vec<u8>)>,
    rom: Option<Arc<[u8]>>,
    settings: Settings,
    forward_configuration: bool,
}

/// What comes of a description that keeps the rules.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) space: ConfigSpace,
    pub(super) layout: FunctionLayout,
    /// By region: the bytes that stateful regions begin with.
    pub(super) defaults: Vec<(usize, Vec<u8>)>,
    /// What the expansion ROM holds; the author answers its reads if there's none.
    pub(super) rom: Option<Arc<[u8]>>,
    pub(super) forward_configuration: bool,
}

impl Description {
    /// A function at downstream port `port` with this header, without capabilities and regions.
    pub fn new(port: u16, header: Type0) -> Description {
        Description {
            port: Port(port),
            header,
            capabilities: Vec::new(),
            msix: None,
            regions: Vec::new(),
            defaults: Vec::new(),
            rom: None,
            settings: Settings::default(),
            forward_configuration: false,
        }
    }

    /// With a capability, at the first free place of its list.
    #[must_use]
    pub fn capability(mut self, capability: &impl Capability) -> Description {
        self.capabilities.push(capability.layout());
        self
    }

    /// With the PCI Express capability. A PCI Express function has one.
    #[must_use]
    pub fn pcie(self, capability: &PcieCapability) -> Description {
        self.capability(capability)
    }

    /// With power management, so that the host can suspend the function. A PCI Express function has it.
    #[must_use]
    pub fn power(self, capability: &PowerCapability) -> Description {
        self.capability(capability)
    }

    /// With MSI-X: the capability, and the regions for table and pending bits, which the device keeps.
    #[must_use]
    pub fn msix(mut self, place: MsixCapability) -> Description {
        let (offset, length) = (u64::from(place.table_offset), u64::from(place.table_len()));
        self = self.region(Region { kind: RegionKind::MsixTable, bar: place.table_bar, offset, length, notify: false });
        let (offset, length) = (u64::from(place.pba_offset), u64::from(place.pba_len()));
        self = self.region(Region { kind: RegionKind::MsixPba, bar: place.pba_bar, offset, length, notify: false });
        self.msix = Some(place);
        self.capability(&place)
    }

    /// With a region whose TLPs come to the author: `length` bytes from `offset` of `bar`.
    #[must_use]
    pub fn transaction(self, bar: u8, offset: u64, length: u64) -> Description {
        self.region(Region { kind: RegionKind::Transaction, bar, offset, length, notify: false })
    }

    /// With a region of doorbells, whose last values the device keeps. The author asks for them.
    #[must_use]
    pub fn doorbells(self, bar: u8, offset: u64, length: u64) -> Description {
        self.region(Region { kind: RegionKind::Doorbell, bar, offset, length, notify: false })
    }

    /// With a region of doorbells that notify: each ring comes to the author as a [`Request::Doorbell`](super::Request::Doorbell), or
    /// several as one.
    #[must_use]
    pub fn notifying_doorbells(self, bar: u8, offset: u64, length: u64) -> Description {
        self.region(Region { kind: RegionKind::Doorbell, bar, offset, length, notify: true })
    }

    /// With a stateful region: the device keeps its bytes, and answers the host's reads. Of writes the author is told by a
    /// [`Request::RegionWritten`](super::Request::RegionWritten). `defaults` are its bytes at first and after each reset, and as many as it is
    /// long: a multiple of 4.
    #[must_use]
    pub fn stateful(mut self, bar: u8, offset: u64, defaults: impl Into<Vec<u8>>) -> Description {
        let defaults = defaults.into();
        let length = defaults.len() as u64;
        self.defaults.push((self.regions.len(), defaults));
        self.region(Region { kind: RegionKind::Stateful, bar, offset, length, notify: true })
    }

    /// With an expansion ROM that holds `image`: reads of it are answered from there, and with ones behind its end. The ROM is as large as the
    /// header says, or else the smallest that holds the image. A ROM that stands in the header alone is the author's: reads of it come
    /// to him, with BAR number 6.
    #[must_use]
    pub fn expansion_rom(mut self, image: impl Into<Arc<[u8]>>) -> Description {
        self.rom = Some(image.into());
        self
    }

    /// With a region just as it's given; a stateful one begins with zeros. Regions are numbered from 0 in the order in which they're described;
    /// [`Description::msix`] describes two.
    #[must_use]
    pub fn region(mut self, region: Region) -> Description {
        self.regions.push(region);
        self
    }

    /// With so many slots in the ring of its channel, a power of two; 256 if nothing is said. A channel that several functions share
    /// has settings of its own.
    #[must_use]
    pub fn ring_slots(mut self, slots: u32) -> Description {
        self.settings.ring_slots = slots;
        self
    }

    /// With so many credits for memory writes of its own; 0 if nothing is said.
    #[must_use]
    pub fn credits(mut self, credits: u16) -> Description {
        self.settings.credits = credits;
        self
    }

    /// With completions in this order; in any, if nothing is said.
    #[must_use]
    pub fn order(mut self, order: Order) -> Description {
        self.settings.order = order;
        self
    }

    /// With completions sent although they break a rule: to see what a host makes of them.
    #[must_use]
    pub fn unchecked(mut self) -> Description {
        self.settings.unchecked = true;
        self
    }

    /// With configuration requests handed to the author. They're answered by him, or by the configuration space at his word.
    #[must_use]
    pub fn forward_configuration(mut self) -> Description {
        self.forward_configuration = true;
        self
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn port(&self) -> Port {
        self.port
    }

    /// Checks all rules, and makes the configuration space.
    pub(super) fn build(&self, limits: &Limits) -> Result<Built, DescriptionError> {
        let header = Type0 { expansion_rom: self.rom_size()?, ..self.header };
        let mut space = header.build()?;
        for capability in &self.capabilities {
            match capability {
                Ok(layout) => space.add(layout)?,
                Err(error) => return Err(error.clone().into()),
            };
        }
        for (bar, shape) in self.header.bars.iter().enumerate() {
            match shape {
                Some(shape) if shape.kind == BarKind::Io => return Err(DescriptionError::IoBar { bar }),
                Some(shape) if shape.size > 1 << 40 => return Err(DescriptionError::BarSize { bar, size: shape.size }),
                _ => {}
            }
        }
        self.check_regions()?;
        let bytes = |kind| self.regions.iter().filter(move |region| region.kind == kind).map(|region| region.length);
        let doorbells = bytes(RegionKind::Doorbell).map(|length| length / 4).sum();
        let stateful = bytes(RegionKind::Stateful).fold(0, u64::saturating_add);
        let vectors = self.msix.map_or(0, |place| place.vectors);
        for (what, value, most) in [
            ("regions", self.regions.len() as u64, u64::from(limits.max_regions)),
            ("dwords of doorbell regions", doorbells, limits.max_doorbells),
            ("bytes of stateful regions", stateful, u64::from(limits.max_region_bytes)),
            ("MSI-X vectors", u64::from(vectors), u64::from(limits.max_msix)),
        ] {
            if value > most {
                return Err(DescriptionError::TooMany { what, value, most });
            }
        }
        let power_capability = space.find(CapabilityId::POWER_MANAGEMENT).unwrap_or(0);
        let layout = FunctionLayout {
            port: self.port.0,
            vectors,
            msix_capability: space.find(CapabilityId::MSIX).unwrap_or(0),
            pcie_capability: space.find(CapabilityId::PCIE).unwrap_or(0),
            power_capability,
            no_soft_reset: power_capability != 0 && space.read(power_capability / 4 + 1) & NO_SOFT_RESET != 0,
            bars: self.header.bars,
            expansion_rom: header.expansion_rom,
            regions: self.regions.clone(),
        };
        let (defaults, rom) = (self.defaults.clone(), self.rom.clone());
        Ok(Built { space, layout, defaults, rom, forward_configuration: self.forward_configuration })
    }

    /// Size of the expansion ROM: what the header says, or what the image needs.
    fn rom_size(&self) -> Result<Option<u32>, DescriptionError> {
        let Some(image) = &self.rom else { return Ok(self.header.expansion_rom) };
        let (len, most) = (image.len(), self.header.expansion_rom.unwrap_or(LARGEST_ROM));
        if len == 0 || len > most as usize {
            return Err(DescriptionError::RomImage { len, most });
        }
        let needed = (len as u32).next_power_of_two().max(SMALLEST_ROM);
        Ok(Some(self.header.expansion_rom.unwrap_or(needed)))
    }

    fn check_regions(&self) -> Result<(), DescriptionError> {
        for (number, region) in self.regions.iter().enumerate() {
            let Region { bar, offset, length, .. } = *region;
            let Some(shape) = self.header.bars.get(usize::from(bar)).copied().flatten() else {
                return Err(DescriptionError::NoBar { region: number, bar });
            };
            if offset % 4 != 0 || length % 4 != 0 || length == 0 {
                return Err(DescriptionError::RegionShape { region: number, offset, length });
            }
            let inside = offset.checked_add(length).is_some_and(|end| end <= shape.size);
            if !inside || offset > u64::from(u32::MAX) {
                return Err(DescriptionError::RegionOutside { region: number, offset, length, bar, size: shape.size });
            }
            if region.notify && !region.is_kept() {
                return Err(DescriptionError::Notify { region: number });
            }
            let overlaps = |other: &Region| {
                other.bar == bar && other.offset < offset + length && offset < other.offset + other.length
            };
            if let Some(first) = self.regions.iter().take(number).position(overlaps) {
                return Err(DescriptionError::RegionOverlap { first, second: number, bar });
            }
        }
        Ok(())
    }
}
