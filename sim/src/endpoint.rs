//! Plain endpoints for tests and topologies: functions whose BAR 0 is memory.

mod multi;

pub use multi::{MultiEndpoint, MultiShape};

use crate::config::{Bar, ConfigError, ConfigSpace, PcieCapability, PortType, Type0};
use crate::fabric::{Core, Detected, Device, Function, Inbound, PortEvent, PortId, TlpId};
use crate::memory::Memory;
use crate::tlp::{Kind, Status};

/// An endpoint whose BAR 0 is memory that the host can read and write.
#[derive(Debug)]
pub struct MemoryEndpoint {
    function: Function,
    memory: Memory,
}

impl MemoryEndpoint {
    /// The registers of such an endpoint: vendor and device ID, one prefetchable 64-bit BAR of `size` bytes, a PCI Express capability.
    ///
    /// # Errors
    /// A size that no BAR can have.
    pub fn config(vendor_id: u16, device_id: u16, size: u64) -> Result<ConfigSpace, ConfigError> {
        let mut bars = [None; 6];
        bars[0] = Some(Bar::memory64(size));
        // Class code 0x058000: memory controller, other.
        let mut config = Type0 { vendor_id, device_id, class_code: 0x05_8000, bars, ..Type0::default() }.build()?;
        config.add(&PcieCapability::new(PortType::Endpoint))?;
        Ok(config)
    }

    /// An endpoint at `port` with these registers, and `memory` behind its BAR 0.
    pub fn new(port: PortId, config: ConfigSpace, memory: Memory) -> MemoryEndpoint {
        MemoryEndpoint { function: Function::new(port, config), memory }
    }

    /// Its function.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// What the BAR shows.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    fn access(&mut self, core: &mut Core, tlp: TlpId, offset: u64) {
        let header = *core.header(tlp);
        let enables = header.byte_enables();
        let (port, id) = (self.function.port(), self.function.id());
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 => {
                if self.memory.write_masked(offset, core.payload(tlp), enables.first, enables.last).is_err() {
                    return core.refuse(port, tlp, id, Status::CompleterAbort);
                }
                core.consume(tlp);
            }
            Kind::MRd32 | Kind::MRd64 => {
                let mut data = [0; 4096];
                let data = &mut data[..header.length_dw() as usize * 4];
                if self.memory.read(offset, data).is_err() {
                    return core.refuse(port, tlp, id, Status::CompleterAbort);
                }
                core.consume(tlp);
                self.function.answer(core, &header, data);
            }
            _ => core.refuse(port, tlp, id, Status::UnsupportedRequest),
        }
    }
}

impl Device for MemoryEndpoint {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.function.receive(core, tlp) {
            Inbound::Memory { offset, .. } => self.access(core, tlp, offset),
            Inbound::Completion => core.refuse_completion(self.function.port(), tlp),
            Inbound::Configured(_) | Inbound::Done => {}
        }
    }

    fn timer(&mut self, _core: &mut Core, _token: u64) {}

    fn error(&mut self, core: &mut Core, _port: PortId, error: &Detected) {
        self.function.report(core, error);
    }

    fn port_event(&mut self, _core: &mut Core, _port: PortId, event: PortEvent) {
        if let PortEvent::LinkDown(reset) = event {
            self.function.reset(reset);
        }
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}
