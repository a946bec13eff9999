//! A device that does what a test tells it: it sends any TLP, notes all that reach it, and answers well, badly or not at all.

use std::any::Any;

use mlx5_twin_sim::config::{AerCapability, Bar, ConfigSpace, PcieCapability, PortType, Type0};
use mlx5_twin_sim::fabric::{
    Core, Detected, Device, Dma, Function, Inbound, NodeId, PortEvent, PortId, Progress, TlpId,
};
use mlx5_twin_sim::tlp::{Header, Kind, Status};
use mlx5_twin_sim::{Fabric, Time};

/// Size of BAR 0 of an agent: less than the smallest window of a bridge.
pub(crate) const BAR: u64 = 1 << 16;

/// How an agent treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Reads of the BAR give bytes that count up from the offset; writes are taken.
    Answer,
    /// The BAR is memory.
    Remember,
    /// Memory requests vanish.
    Mute,
    /// Memory requests stay in the receive buffer until the link goes down.
    Hold,
    /// Memory requests are aborted.
    Abort,
    /// Until this time configuration requests are answered with CRS.
    NotReady(Time),
}

/// A TLP that reached an agent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Time,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Agent {
    node: NodeId,
    pub(crate) function: Function,
    pub(crate) dma: Dma,
    pub(crate) ended: Vec<Progress>,
    pub(crate) manner: Manner,
    /// Whether completions go to the DMA engine, or are only noted.
    pub(crate) dma_takes_completions: bool,
    /// What was written to the BAR, if that's memory.
    pub(crate) memory: Vec<u8>,
    /// Memory requests that stand in the receive buffer.
    held: Vec<TlpId>,
    pub(crate) sent: Vec<Header>,
    /// The same, with when and with what payload.
    pub(crate) made: Vec<(Time, Header, Vec<u8>)>,
    pub(crate) received: Vec<Received>,
    /// What happened to its link and its slot.
    pub(crate) events: Vec<(Time, PortEvent)>,
}

impl Agent {
    pub(crate) fn config(device_id: u16) -> ConfigSpace {
        let mut bars = [None; 6];
        bars[0] = Some(Bar::memory64(BAR));
        let mut config = Type0 { vendor_id: 0xfff1, device_id, bars, ..Type0::default() }.build().unwrap();
        config.add(&PcieCapability { max_payload: 4096, ..PcieCapability::new(PortType::Endpoint) }).unwrap();
        config.add(&AerCapability::default()).unwrap();
        config
    }

    pub(crate) fn new(node: NodeId, port: PortId, tags: u16, timeout: Time) -> Agent {
        Agent {
            node,
            function: Function::new(port, Agent::config(4)),
            dma: Dma::new(tags, timeout),
            ended: Vec::new(),
            manner: Manner::Answer,
            dma_takes_completions: false,
            memory: Vec::new(),
            held: Vec::new(),
            sent: Vec::new(),
            made: Vec::new(),
            received: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, core: &mut Core, header: Header, payload: &[u8]) {
        self.sent.push(header);
        self.made.push((core.now(), header, payload.to_vec()));
        core.send_new(self.function.port(), header, payload);
    }

    /// Begins a read by the DMA engine.
    pub(crate) fn dma_read(&mut self, core: &mut Core, address: u64, len: usize, token: u64) {
        self.dma_takes_completions = true;
        self.dma.read(core, &self.function, address, len, token);
        self.after_dma(core);
    }

    fn after_dma(&mut self, core: &mut Core) {
        self.ended.extend(std::iter::from_fn(|| self.dma.next_ended()));
        if let Some(at) = self.dma.take_call() {
            core.set_timer(self.node, at, 0);
        }
    }

    fn remembered(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.memory.resize(BAR as usize, 0);
        &mut self.memory[offset..offset + len]
    }

    fn memory(&mut self, core: &mut Core, tlp: TlpId, offset: u64) {
        let (header, id, port) = (*core.header(tlp), self.function.id(), self.function.port());
        match self.manner {
            Manner::Abort => return core.refuse(port, tlp, id, Status::CompleterAbort),
            Manner::Mute => return core.consume(tlp),
            Manner::Hold => return self.held.push(tlp),
            Manner::Answer | Manner::Remember | Manner::NotReady(_) => {}
        }
        match header.kind() {
            Kind::MRd32 | Kind::MRd64 => {
                core.consume(tlp);
                let len = header.length_dw() as usize * 4;
                let data: Vec<u8> = match self.manner {
                    Manner::Remember => self.remembered(offset as usize, len).to_vec(),
                    _ => (0..len).map(|byte| (offset as usize + byte) as u8).collect(),
                };
                let answer = Header::completion_for(&header, id, Status::Successful).unwrap();
                self.sent.push(answer);
                self.made.push((core.now(), answer, data.clone()));
                self.function.answer(core, &header, &data);
            }
            Kind::MWr32 | Kind::MWr64 if self.manner == Manner::Remember => {
                let payload = core.payload(tlp).to_vec();
                self.remembered(offset as usize, payload.len()).copy_from_slice(&payload);
                core.consume(tlp);
            }
            kind if kind.is_message() || matches!(kind, Kind::MWr32 | Kind::MWr64) => core.consume(tlp),
            _ => core.refuse(port, tlp, id, Status::UnsupportedRequest),
        }
    }
}

impl Device for Agent {
    fn receive(&mut self, core: &mut Core, port: PortId, tlp: TlpId) {
        let (at, header, payload) = (core.now(), *core.header(tlp), core.payload(tlp).to_vec());
        self.received.push(Received { at, header, payload });
        if let Manner::NotReady(until) = self.manner
            && header.kind().is_config()
            && at < until
        {
            return core.refuse(port, tlp, header.target(), Status::ConfigRequestRetry);
        }
        match self.function.receive(core, tlp) {
            Inbound::Memory { offset, .. } => self.memory(core, tlp, offset),
            Inbound::Completion if self.dma_takes_completions => {
                self.dma.complete(core, &self.function, tlp);
                self.after_dma(core);
            }
            Inbound::Completion => core.consume(tlp),
            Inbound::Configured(_) | Inbound::Done => {}
        }
    }

    fn timer(&mut self, core: &mut Core, _token: u64) {
        self.dma.expire(core, &self.function);
        self.after_dma(core);
    }

    fn port_event(&mut self, core: &mut Core, _port: PortId, event: PortEvent) {
        self.events.push((core.now(), event));
        if let PortEvent::LinkDown(reset) = event {
            std::mem::take(&mut self.held).into_iter().for_each(|tlp| core.consume(tlp));
            self.function.reset(reset);
            self.dma.reset(core.now());
        }
    }

    fn error(&mut self, core: &mut Core, _port: PortId, error: &Detected) {
        self.function.report(core, error);
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Calls the agent at `node`.
pub(crate) fn agent<T>(fabric: &mut Fabric, node: NodeId, call: impl FnOnce(&mut Agent, &mut Core) -> T) -> T {
    fabric.device(node, call).expect("an agent")
}
