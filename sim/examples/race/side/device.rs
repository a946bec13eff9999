//! The endpoint: it sends its part of the workload by its DMA engine, and has memory behind BAR 0.

use std::any::Any;
use std::sync::Arc;

use mlx5_twin_sim::config::{Bar, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::{Core, Device, Dma, Function, Inbound, NodeId, PortId, TlpId};
use mlx5_twin_sim::memory::Memory;
use mlx5_twin_sim::profile::Timing;
use mlx5_twin_sim::tlp::{Bdf, Kind, Status};

use super::workload::{What, Workload, prefilled};

pub(crate) struct Runner {
    node: NodeId,
    function: Function,
    dma: Dma,
    bar: Memory,
    work: Arc<Workload>,
    /// What each write sends; empty for reads.
    data: Arc<Vec<Vec<u8>>>,
    /// The request that comes next.
    next: usize,
    /// Reads that ended.
    pub(crate) read: usize,
    /// Whether what was read is compared with what it should be.
    pub(crate) check: bool,
}

impl Runner {
    pub(crate) fn new(
        node: NodeId,
        port: PortId,
        work: Arc<Workload>,
        data: Arc<Vec<Vec<u8>>>,
        timing: &Timing,
    ) -> Runner {
        let bars = [Some(Bar::memory32(work.bar)), None, None, None, None, None];
        let header = Type0 { vendor_id: 0x1234, device_id: 0xff, bars, ..Type0::default() };
        let mut config = header.build().expect("a BAR of a size that one can have");
        config.add(&PcieCapability::new(PortType::Endpoint)).expect("room for one capability");
        let (function, bar) = (Function::new(port, config), Memory::new(work.bar).expect("memory for the BAR"));
        let dma = Dma::new(32, timing.completion_timeout());
        let next = work.device.len();
        Runner { node, function, dma, bar, work, data, next, read: 0, check: true }
    }

    pub(crate) fn id(&self) -> Bdf {
        self.function.id()
    }

    pub(crate) fn bar(&self) -> &Memory {
        &self.bar
    }

    /// Whether all requests were sent and all reads ended.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.work.device.len() && self.dma.open() == 0
    }

    /// Begins the workload.
    pub(crate) fn start(&mut self, core: &mut Core) {
        (self.next, self.read) = (0, 0);
        self.go_on(core);
    }

    fn go_on(&mut self, core: &mut Core) {
        while let Some(request) = self.work.device.get(self.next) {
            match request.0 {
                What::Write => {
                    let written = Dma::write(core, &self.function, request.1, &self.data[self.next]);
                    written.expect("a bus master");
                }
                What::Read if self.dma.open() < self.work.open_reads => {
                    self.dma.read(core, &self.function, request.1, request.2 as usize, self.next as u64);
                }
                What::Read => break,
            }
            self.next += 1;
        }
        if let Some(at) = self.dma.take_call() {
            core.set_timer(self.node, at, 0);
        }
    }

    fn take_ended(&mut self) {
        while let Some(progress) = self.dma.next_ended() {
            let data = progress.result.expect("a read of memory that's there");
            if self.check {
                let request = self.work.device[progress.token as usize];
                let base = if request.1 < self.work.high { self.work.low } else { self.work.high };
                assert_eq!(data, prefilled(request.1 - base, request.2 as usize), "{request:x?}");
            }
            self.dma.recycle(data);
            self.read += 1;
        }
    }

    fn access(&mut self, core: &mut Core, tlp: TlpId, offset: u64) {
        let header = *core.header(tlp);
        let enables = header.byte_enables();
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 => {
                let written = self.bar.write_masked(offset, core.payload(tlp), enables.first, enables.last);
                written.expect("within the BAR");
                core.consume(tlp);
            }
            Kind::MRd32 | Kind::MRd64 => {
                let mut data = [0; 4096];
                let data = &mut data[..header.length_dw() as usize * 4];
                self.bar.read(offset, data).expect("within the BAR");
                core.consume(tlp);
                self.function.answer(core, &header, data);
            }
            _ => core.refuse(self.function.port(), tlp, self.function.id(), Status::UnsupportedRequest),
        }
    }
}

impl Device for Runner {
    fn receive(&mut self, core: &mut Core, _port: PortId, tlp: TlpId) {
        match self.function.receive(core, tlp) {
            Inbound::Memory { offset, .. } => self.access(core, tlp, offset),
            Inbound::Completion => {
                self.dma.complete(core, &self.function, tlp);
                self.take_ended();
                self.go_on(core);
            }
            Inbound::Configured(_) | Inbound::Done => {}
        }
    }

    fn timer(&mut self, core: &mut Core, _token: u64) {
        self.dma.expire(core, &self.function);
        self.go_on(core);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
