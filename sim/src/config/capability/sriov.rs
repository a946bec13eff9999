//! Single Root I/O Virtualization (chapter 9, section 9.3.3): a physical function's virtual functions, and their registers.

use super::super::changed::{Changed, Watch};
use super::super::header::bar::{self, Bar, BarKind};
use super::super::space::{ConfigSpace, Row};
use super::super::{PowerState, Type0};
use super::pcie::{DEVCTL, DEVCTL2, LNKCTL, LNKCTL2, PcieCapability, PortType};
use super::{Capability, CapabilityId, CapabilityLayout, ConfigError};

/// Offset of SR-IOV Capabilities.
const CAPABILITIES: u16 = 0x04;
/// Offset of SR-IOV Control, with SR-IOV Status in the high half.
const CONTROL: u16 = 0x08;
/// Offset of InitialVFs, with TotalVFs in the high half.
const INITIAL: u16 = 0x0c;
/// Offset of NumVFs, with Function Dependency Link above it.
const NUMBER: u16 = 0x10;
/// Offset of First VF Offset, with VF Stride in the high half.
const OFFSET: u16 = 0x14;
/// Offset of a reserved half, with VF Device ID in the high half.
const DEVICE_ID: u16 = 0x18;
/// Offset of Supported Page Sizes.
const SUPPORTED_PAGES: u16 = 0x1c;
/// Offset of System Page Size.
const SYSTEM_PAGE: u16 = 0x20;
/// Offset of VF BAR 0.
const BAR0: u16 = 0x24;
/// Length in bytes, VF Migration State Array Offset included.
const LENGTH: u16 = 0x40;

// SR-IOV Control.
const ENABLE: u32 = 1 << 0;
const MEMORY_SPACE: u32 = 1 << 3;
const ARI_HIERARCHY: u32 = 1 << 4;
/// SR-IOV Capabilities: ARI Capable Hierarchy Preserved, by resets of the function's power state.
const HIERARCHY_PRESERVED: u32 = 1 << 1;

/// The page sizes that every device must support: 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB. Bit n is 2^(n + 12) bytes.
pub const PAGE_SIZES: u32 = 0x553;
/// Device ID and Vendor ID as a virtual function's own header shows them.
const NOBODY: u16 = 0xffff;
/// What a virtual function's Device Control shows of its own: nothing but the pulse of Initiate Function Level Reset. The settings are
/// those of its physical function (table 9-16).
const DEVICE_CONTROL: u32 = 0xffff;

#[rustfmt::skip]
const ROWS: [Row; 8] = [
    //       offset           name                                 reset       rw                     rw1c sticky flr
    Row::new(CAPABILITIES,    "SR-IOV Capabilities",               HIERARCHY_PRESERVED, 0,            0,   0,     0),
    Row::new(CONTROL,         "SR-IOV Control, SR-IOV Status",     0,          ENABLE | MEMORY_SPACE, 0,   0,     ARI_HIERARCHY),
    Row::new(INITIAL,         "InitialVFs, TotalVFs",              0,          0,                     0,   0,     0),
    Row::new(NUMBER,          "NumVFs, Function Dependency Link",  0,          0x0000_ffff,           0,   0,     0),
    Row::new(OFFSET,          "First VF Offset, VF Stride",        0,          0,                     0,   0,     0),
    Row::new(DEVICE_ID,       "VF Device ID",                      0,          0,                     0,   0,     0),
    Row::new(SUPPORTED_PAGES, "Supported Page Sizes",              PAGE_SIZES, 0,                     0,   0,     0),
    Row::new(SYSTEM_PAGE,     "System Page Size",                  1,          u32::MAX,              0,   0,     0),
];

/// Description of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SriovCapability {
    /// TotalVFs and InitialVFs, at least 1.
    pub total: u16,
    /// VF Device ID.
    pub device_id: u16,
    /// First VF Offset and VF Stride below a port with ARI forwarding, once software has set ARI Capable Hierarchy. Virtual function n (from 1) has
    /// the ID of its physical function, plus the offset, plus n - 1 strides.
    pub ari: (u16, u16),
    /// The same without ARI: function numbers above 7 are then possible only on further buses.
    pub plain: (u16, u16),
    /// VF BARs by slot, memory only: each virtual function has one of that size. A 64-bit one takes the next slot too.
    pub bars: [Option<Bar>; 6],
    /// Is it the device's lowest physical function, which has the bit ARI Capable Hierarchy for all of them?
    pub lowest: bool,
}

impl SriovCapability {
    fn check(&self) -> Result<(), ConfigError> {
        let value = |field, value: u16, allowed| ConfigError::Value { field, value: value.into(), allowed };
        if self.total == 0 {
            return Err(value("TotalVFs", 0, "1 to 65535"));
        }
        for (offset, stride) in [self.ari, self.plain] {
            if offset == 0 {
                return Err(value("First VF Offset", 0, "1 to 65535"));
            }
            if stride == 0 && self.total > 1 {
                return Err(value("VF Stride", 0, "1 to 65535 for more than one VF"));
            }
        }
        if let Some(index) = self.bars.iter().flatten().position(|bar| bar.kind == BarKind::Io) {
            return Err(value("VF BAR", index as u16, "a memory BAR"));
        }
        Ok(())
    }
}

impl Capability for SriovCapability {
    fn layout(&self) -> Result<CapabilityLayout, ConfigError> {
        self.check()?;
        let mut rows = ROWS.to_vec();
        let mut amend = |offset, reset, rw| super::amend(&mut rows, offset, reset, rw);
        amend(CONTROL, 0, if self.lowest { ARI_HIERARCHY } else { 0 });
        amend(INITIAL, u32::from(self.total) * 0x1_0001, 0);
        amend(OFFSET, placement(self.plain), 0);
        amend(DEVICE_ID, u32::from(self.device_id) << 16, 0);
        let (bars, _) = bar::registers(&self.bars)?;
        rows.extend(bars.into_iter().map(|row| Row { offset: row.offset - bar::FIRST + BAR0, name: "VF BAR", ..row }));
        let bars = (0..6).map(|index| Watch::changed(BAR0 + 4 * index, u32::MAX, Changed::SRIOV));
        let watches = [
            Watch::changed(CONTROL, 0xffff, Changed::SRIOV),
            Watch::changed(NUMBER, 0xffff, Changed::SRIOV),
            Watch::changed(SYSTEM_PAGE, u32::MAX, Changed::SRIOV),
        ];
        Ok(CapabilityLayout {
            id: CapabilityId::SRIOV,
            length: LENGTH,
            rows,
            watches: watches.into_iter().chain(bars).collect(),
            legal: Vec::new(),
        })
    }
}

/// First VF Offset and VF Stride as their dword.
fn placement((offset, stride): (u16, u16)) -> u32 {
    u32::from(offset) | u32::from(stride) << 16
}

/// Where a VF BAR puts the memory of the virtual functions: one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VfAperture {
    /// The VF BAR, 0 to 5.
    pub index: u8,
    /// First address: that of the first virtual function.
    pub base: u64,
    /// What each virtual function has of it, in bytes: a power of two, and at least the system's page.
    pub size: u64,
}

/// What the SR-IOV capability of a physical function says. Without it: 0, `false`, nothing.
impl ConfigSpace {
    /// How many virtual functions there are now: NumVFs, but no more than TotalVFs, if VF Enable is set.
    pub fn vfs_enabled(&self) -> u16 {
        let at = self.located.sriov;
        if at == 0 || self.dword(at + CONTROL) & ENABLE == 0 {
            return 0;
        }
        (self.dword(at + NUMBER) as u16).min((self.dword(at + INITIAL) >> 16) as u16)
    }

    /// First VF Offset and VF Stride, as they are now.
    pub fn vf_placement(&self) -> (u16, u16) {
        let dword = if self.located.sriov == 0 { 0 } else { self.dword(self.located.sriov + OFFSET) };
        (dword as u16, (dword >> 16) as u16)
    }

    /// Has software said that all ports above forward by ARI (ARI Capable Hierarchy)? The device's lowest physical function has the bit.
    pub fn ari_capable_hierarchy(&self) -> bool {
        self.located.sriov != 0 && self.dword(self.located.sriov + CONTROL) & ARI_HIERARCHY != 0
    }

    /// The system's page size in bytes: 4,096 and more.
    fn vf_page(&self) -> u64 {
        let code = self.dword(self.located.sriov + SYSTEM_PAGE);
        if code == 0 { 4096 } else { 4096 << code.trailing_zeros() }
    }

    /// The memory of the virtual functions, by VF BAR. Nothing while there are none, while VF MSE is clear, or in D3hot.
    pub fn vf_apertures(&self, shape: &SriovCapability) -> Vec<VfAperture> {
        let at = self.located.sriov;
        if self.vfs_enabled() == 0
            || self.dword(at + CONTROL) & MEMORY_SPACE == 0
            || self.power_state() != PowerState::D0
        {
            return Vec::new();
        }
        let bars = (0..).zip(&shape.bars).filter_map(|(index, bar)| bar.map(|bar| (index, bar)));
        let aperture = |(index, bar): (u8, Bar)| {
            let size = bar.size.max(self.vf_page());
            let register = at + BAR0 + 4 * u16::from(index);
            let upper = if bar.kind == BarKind::Memory64 { u64::from(self.dword(register + 4)) << 32 } else { 0 };
            VfAperture { index, base: (u64::from(self.dword(register)) | upper) & !(size - 1), size }
        };
        bars.map(aperture).collect()
    }

    /// What is to be written of a write that software makes to this register: NumVFs, System Page Size and ARI Capable Hierarchy don't change
    /// while VF Enable is set, and System Page Size takes one supported size only (the specification leaves both undefined).
    pub(crate) fn sriov_guard(&self, register: u16, byte_enables: u8, value: u32) -> (u8, u32) {
        let at = self.located.sriov;
        if at == 0 {
            return (byte_enables, value);
        }
        let enabled = self.dword(at + CONTROL) & ENABLE != 0;
        match (register * 4).wrapping_sub(at) {
            CONTROL if enabled => (byte_enables, value & !ARI_HIERARCHY | self.dword(at + CONTROL) & ARI_HIERARCHY),
            NUMBER if enabled => (byte_enables & !0b11, value),
            SYSTEM_PAGE if enabled || !value.is_power_of_two() || value & self.dword(at + SUPPORTED_PAGES) == 0 => {
                (0, 0)
            }
            _ => (byte_enables, value),
        }
    }

    /// Brings the registers that depend on others up to date: First VF Offset and VF Stride, by whether the hierarchy forwards by ARI, and the
    /// address bits of VF BARs, which are no smaller than the system's page.
    pub(crate) fn review_sriov(&mut self, shape: &SriovCapability, ari: bool) {
        let at = self.located.sriov;
        if at == 0 {
            return;
        }
        self.set_hardware(at + OFFSET, u32::MAX, placement(if ari { shape.ari } else { shape.plain }));
        let page = self.vf_page();
        for (index, bar) in (0..).zip(&shape.bars) {
            let Some(bar) = bar else { continue };
            let writable = !(bar.size.max(page) - 1);
            let register = at + BAR0 + 4 * index;
            self.set_writable(register, writable as u32);
            if bar.kind == BarKind::Memory64 {
                self.set_writable(register + 4, (writable >> 32) as u32);
            }
        }
    }

    /// The registers of a virtual function of this physical one: a header without IDs and BARs, whose only control is Bus Master Enable, and a PCI
    /// Express capability that can do no more than a function-level reset (section 9.3.4). The owner adds what else its virtual functions have.
    ///
    /// # Errors
    /// None that a physical function's registers lead to.
    pub fn virtual_function(&self) -> Result<ConfigSpace, ConfigError> {
        let class = self.dword(super::super::header::CLASS);
        let subsystem = self.dword(super::super::header::type0::SUBSYSTEM);
        let mut space = Type0 {
            vendor_id: NOBODY,
            device_id: NOBODY,
            revision: class as u8,
            class_code: class >> 8,
            subsystem_vendor_id: subsystem as u16,
            subsystem_id: (subsystem >> 16) as u16,
            ..Type0::default()
        }
        .build()?;
        space.set_writable(super::super::header::COMMAND, 1 << 2);
        for register in [super::super::header::HEADER_TYPE, super::super::header::INTERRUPT] {
            space.set_writable(register, 0);
        }
        let (link_generation, link_width) = self.link_capability();
        let pcie = PcieCapability::new(PortType::Endpoint);
        let link_generation = if link_generation == 0 { pcie.link_generation } else { link_generation };
        let link_width = if link_width == 0 { pcie.link_width } else { link_width };
        let at = space.add(&PcieCapability {
            link_generation,
            link_width,
            max_payload: self.max_payload_supported(),
            ..pcie
        })?;
        for register in [DEVCTL, LNKCTL, DEVCTL2, LNKCTL2] {
            space.set_writable(at + register, 0);
        }
        Ok(space)
    }

    /// Lets a virtual function work by the settings of its physical one, which decide for all (Device Control and Device Control 2), with the
    /// payload size `max_payload` in bytes. The bus doesn't see them in the virtual function: [`ConfigSpace::hides`].
    pub(crate) fn inherit(&mut self, physical: &ConfigSpace, max_payload: u32) {
        const PAYLOAD: u32 = 0xe0;
        let code = (max_payload / 128).trailing_zeros() << 5 & PAYLOAD;
        let control = physical.pcie(DEVCTL) & DEVICE_CONTROL & !PAYLOAD | code;
        self.set_pcie(DEVCTL, DEVICE_CONTROL, control);
        self.set_pcie(DEVCTL2, 0xffff, physical.pcie(DEVCTL2));
    }

    /// Bits of a virtual function's dword `register` that the bus reads as 0: the settings that it has from its physical function.
    pub(crate) fn hides(&self, register: u16) -> u32 {
        let at = self.located.pcie;
        let offset = (register * 4).wrapping_sub(at);
        if at != 0 && (offset == DEVCTL || offset == DEVCTL2) { DEVICE_CONTROL } else { 0 }
    }
}
