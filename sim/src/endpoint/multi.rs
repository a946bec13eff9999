//! A plain device with several functions, for tests and topologies: the BAR 0 of each, virtual ones too, is memory of its own.

use std::collections::BTreeMap;

use crate::config::{
    AriCapability, Bar, Changed, ConfigError, ConfigSpace, PcieCapability, PortType, SriovCapability, Type0,
};
use crate::fabric::{
    Core, Detected, Device, FunctionKey, MultiError, MultiFunction, MultiInbound, PhysicalSpec, PortEvent, PortId,
    TlpId, VirtualSpec, add_channels,
};
use crate::memory::Memory;
use crate::profile::VirtualChannels;
use crate::tlp::{Kind, Status};

/// What a [`MultiEndpoint`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiShape {
    /// Vendor ID of all functions.
    pub vendor_id: u16,
    /// Device ID of the physical functions. That of the virtual ones is one more.
    pub device_id: u16,
    /// Size of each function's BAR 0 in bytes, a power of two; a virtual function has at least 4,096.
    pub bar: u64,
    /// Physical functions: 1 to 8, with `ari` 1 to 256.
    pub functions: u16,
    /// Virtual functions that each physical one can have: TotalVFs. 0 for no SR-IOV.
    pub virtual_functions: u16,
    /// Whether the functions have the ARI capability.
    pub ari: bool,
    /// The largest Max_Payload_Size, in bytes.
    pub max_payload: u32,
    /// Generation and lanes of the link that it can have.
    pub link: (u8, u8),
    /// The virtual channels beyond VC0 that the link has.
    pub virtual_channels: VirtualChannels,
}

impl Default for MultiShape {
    /// One function with a BAR of 64 KiB, vendor fff1 and device 3, ARI, on a link of generation 5 with 16 lanes.
    fn default() -> MultiShape {
        MultiShape {
            vendor_id: 0xfff1,
            device_id: 3,
            bar: 1 << 16,
            functions: 1,
            virtual_functions: 0,
            ari: true,
            max_payload: 512,
            link: (5, 16),
            virtual_channels: VirtualChannels::NONE,
        }
    }
}

impl MultiShape {
    /// Where virtual functions lie: First VF Offset and VF Stride. They follow the physical ones, interleaved; without ARI they begin on the next bus.
    fn sriov(&self, number: u16) -> SriovCapability {
        let mut bars = [None; 6];
        bars[0] = Some(Bar::memory64(self.bar.max(4096)));
        SriovCapability {
            total: self.virtual_functions,
            device_id: self.device_id.wrapping_add(1),
            ari: (self.functions, self.functions),
            plain: (0x100, self.functions),
            bars,
            lowest: number == 0,
        }
    }

    /// The physical functions.
    ///
    /// # Errors
    /// A size that no BAR can have, or a payload or link that can't be expressed.
    pub fn specs(&self) -> Result<Vec<PhysicalSpec>, ConfigError> {
        (0..self.functions.min(256)).map(|number| self.spec(number)).collect()
    }

    fn spec(&self, number: u16) -> Result<PhysicalSpec, ConfigError> {
        let &MultiShape { vendor_id, device_id, .. } = self;
        let mut bars = [None; 6];
        bars[0] = Some(Bar::memory64(self.bar));
        let multi_function = self.functions > 1;
        // Class code 0x058000: memory controller, other.
        let mut config =
            Type0 { vendor_id, device_id, class_code: 0x05_8000, bars, multi_function, ..Type0::default() }.build()?;
        config.add(&PcieCapability {
            max_payload: self.max_payload,
            link_generation: self.link.0,
            link_width: self.link.1,
            ..PcieCapability::new(PortType::Endpoint)
        })?;
        if number == 0 {
            add_channels(&mut config, &self.virtual_channels, false)?;
        }
        if self.ari {
            let next = if number + 1 < self.functions { number as u8 + 1 } else { 0 };
            config.add(&AriCapability { next_function: next })?;
        }
        let mut virtual_functions = None;
        if self.virtual_functions > 0 {
            let capability = self.sriov(number);
            config.add(&capability)?;
            let mut registers = config.virtual_function()?;
            if self.ari {
                registers.add(&AriCapability::default())?;
            }
            virtual_functions = Some(VirtualSpec { capability, config: registers });
        }
        Ok(PhysicalSpec { number: number as u8, config, virtual_functions })
    }

    /// How many buses beyond that of its link it takes with this many virtual functions for each physical one, if ports above forward by ARI or
    /// if not.
    pub fn further_buses(&self, virtual_functions: u16, ari_hierarchy: bool) -> u16 {
        let count = virtual_functions.min(self.virtual_functions);
        if count == 0 || self.functions == 0 {
            return 0;
        }
        let SriovCapability { ari, plain, .. } = self.sriov(0);
        let (first, stride) = if self.ari && ari_hierarchy { ari } else { plain };
        let last = u32::from(self.functions - 1) + u32::from(first) + u32::from(count - 1) * u32::from(stride);
        (last >> 8).min(0xffff) as u16
    }
}

/// A device whose functions each have memory behind BAR 0, which the host can read and write.
#[derive(Debug)]
pub struct MultiEndpoint {
    device: MultiFunction,
    size: u64,
    memories: BTreeMap<FunctionKey, Memory>,
}

impl MultiEndpoint {
    /// A device of this shape at `port`.
    ///
    /// # Errors
    /// More functions than there can be, or registers that can't be.
    pub fn new(port: PortId, shape: &MultiShape) -> Result<MultiEndpoint, MultiError> {
        if shape.functions > 256 {
            return Err(MultiError::Number(0, 256));
        }
        let device = MultiFunction::new(port, shape.specs()?)?;
        Ok(MultiEndpoint { device, size: shape.bar, memories: BTreeMap::new() })
    }

    /// Its functions.
    pub fn device(&self) -> &MultiFunction {
        &self.device
    }

    /// Its functions, for changes from the device's side.
    pub fn device_mut(&mut self) -> &mut MultiFunction {
        &mut self.device
    }

    /// Registers of a function, as the device sees them.
    pub fn config(&self, key: FunctionKey) -> Option<&ConfigSpace> {
        self.device.function(key).map(crate::fabric::Function::config)
    }

    /// The memory of a function, to be read and written. `None` if the function isn't there.
    pub fn memory_mut(&mut self, key: FunctionKey) -> Option<&mut Memory> {
        self.device.function(key)?;
        let size = if matches!(key, FunctionKey::Virtual { .. }) { self.size.max(4096) } else { self.size };
        match self.memories.entry(key) {
            std::collections::btree_map::Entry::Occupied(memory) => Some(memory.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                Memory::new(size).ok().map(|memory| place.insert(memory))
            }
        }
    }

    /// Forgets the memory of functions that are gone.
    fn forget(&mut self) {
        let device = &self.device;
        self.memories.retain(|&key, _| device.function(key).is_some());
    }

    fn access(&mut self, core: &mut Core, tlp: TlpId, key: FunctionKey, offset: u64) {
        let header = *core.header(tlp);
        let enables = header.byte_enables();
        let port = self.device.port();
        let Some(id) = self.device.function(key).map(crate::fabric::Function::id) else { return core.consume(tlp) };
        let Some(memory) = self.memory_mut(key) else {
            return core.refuse(port, tlp, id, Status::CompleterAbort);
        };
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 => {
                if memory.write_masked(offset, core.payload(tlp), enables.first, enables.last).is_err() {
                    return core.refuse(port, tlp, id, Status::CompleterAbort);
                }
                core.consume(tlp);
            }
            Kind::MRd32 | Kind::MRd64 => {
                let mut data = [0; 4096];
                let data = &mut data[..header.length_dw() as usize * 4];
                if memory.read(offset, data).is_err() {
                    return core.refuse(port, tlp, id, Status::CompleterAbort);
                }
                core.consume(tlp);
                self.device.answer(core, key, &header, data);
            }
            _ => core.refuse(port, tlp, id, Status::UnsupportedRequest),
        }
    }
}

impl Device for MultiEndpoint {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.device.receive(core, tlp) {
            MultiInbound::Memory { function, offset, .. } => self.access(core, tlp, function, offset),
            MultiInbound::Completion(_) => {
                core.refuse_completion(self.device.port(), tlp);
            }
            MultiInbound::Configured(function, changed) => {
                if changed.contains(Changed::FUNCTION_LEVEL_RESET) {
                    self.device.reset_function(function);
                }
                self.forget();
            }
            MultiInbound::Done => {}
        }
    }

    fn timer(&mut self, _core: &mut Core, _token: u64) {}

    fn error(&mut self, core: &mut Core, _port: PortId, error: &Detected) {
        self.device.report(core, error);
    }

    fn port_event(&mut self, _core: &mut Core, _port: PortId, event: PortEvent) {
        if let PortEvent::LinkDown(reset) = event {
            self.device.reset(reset);
            self.forget();
        }
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
