//! The device on the fabric: the mlx5 function on the DPU's side, and the emulated functions on the host's side.
//!
//! What software does reaches it as TLPs to BAR 0, what it does to memory are TLPs that it sends; there is no other way in or out.

mod bar0;
mod command_queue;
mod completion_queue;
mod event_queue;
mod init_segment;
mod injection;
mod interrupts;
mod lives;
mod send_queue;
mod tally;
pub(crate) mod vsc;

use std::any::Any;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1;
use mlx5_twin_sim::config::{Changed, ConfigSpace, MsixTable, Reset};
use mlx5_twin_sim::fabric::{Core, Detected, Device, Dma, Function, Inbound, NodeId, PortEvent, PortId, TlpId};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::{Header, Kind, Status};

use self::bar0::UarStore;
use self::command_queue::{CommandQueue, Step};
use self::init_segment::{InitSegment, Written};
use self::injection::{Faults, Verdict};
use self::send_queue::Sends;
use self::vsc::Gateway;
use crate::bus::Bus;
use crate::emulation::Emulation;
use crate::firmware::{Effect, Executed, Failure, Firmware, PageNeed};
use crate::profile::{PortState, ProfileError};

pub use self::injection::{Injected, Injection};
pub use self::lives::Lives;
pub use self::tally::{Tallies, Tally};
pub use crate::bus::Counters;

/// Tags of the function's DMA engine: all 8-bit ones.
const TAGS: u16 = 256;

/// How long a command with a long answer waits before it looks again whether it's its turn.
const TURN: Time = Time::us(1);

/// What a timer of the device is for: the upper half of its token.
mod timer {
    /// A DMA read may be late.
    pub(super) const DMA: u64 = 0;
    /// A command has had its time: the low half has slot and generation.
    pub(super) const COMMAND: u64 = 1 << 32;
}

/// The device.
#[derive(Debug)]
pub struct Dpu {
    node: NodeId,
    function: Function,
    dma: Dma,
    firmware: Firmware,
    queue: CommandQueue,
    /// Commands that wait for pages, oldest first, as their timers name them.
    waiting: Vec<u64>,
    /// Send queues at work.
    sends: Sends,
    init: InitSegment,
    msix: MsixTable,
    emulation: Emulation,
    counters: Counters,
    tallies: Tallies,
    lives: Lives,
    faults: Faults,
    gateway: Gateway,
}

impl Dpu {
    /// The device as node `node`: the mlx5 function at `port` with these registers and this MSI-X table, and emulated functions at the ports
    /// that `emulation` has.
    ///
    /// # Errors
    /// A firmware version that isn't one.
    pub fn new(
        node: NodeId,
        port: PortId,
        config: ConfigSpace,
        msix: MsixTable,
        firmware: Firmware,
        emulation: Emulation,
        timeout: Time,
    ) -> Result<Dpu, ProfileError> {
        let device = &firmware.profile().device;
        Ok(Dpu {
            node,
            gateway: Gateway::new(&config),
            function: Function::new(port, config),
            dma: Dma::new(TAGS, timeout),
            queue: CommandQueue::new(device.log_cmdq_size, device.log_cmdq_stride),
            waiting: Vec::new(),
            sends: Sends::default(),
            init: InitSegment::new(device.version()?, firmware.profile().timeouts),
            msix,
            emulation,
            counters: Counters::default(),
            tallies: Tallies::default(),
            lives: Lives::default(),
            faults: Faults::default(),
            firmware,
        })
    }

    /// The firmware.
    pub fn firmware(&self) -> &Firmware {
        &self.firmware
    }

    /// Channels and emulated functions.
    pub fn emulation(&self) -> &Emulation {
        &self.emulation
    }

    /// What happened that nobody is told of otherwise.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The commands that there were, by opcode.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// How often the function was given up, and what was left then.
    pub fn lives(&self) -> Lives {
        self.lives
    }

    fn parts<'a>(
        &'a mut self,
        core: &'a mut Core,
    ) -> (Bus<'a>, &'a mut CommandQueue, &'a mut Firmware, &'a mut Emulation) {
        let bus = Bus { core, function: &self.function, dma: &mut self.dma, counters: &mut self.counters };
        (bus, &mut self.queue, &mut self.firmware, &mut self.emulation)
    }

    // --- TLPs to BAR 0 ---

    fn access(&mut self, core: &mut Core, tlp: TlpId, offset: u64) {
        let header = *core.header(tlp);
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 => self.write_bar(core, tlp, &header, offset),
            Kind::MRd32 | Kind::MRd64 => {
                let mut data = [0; 4096];
                let len = header.length_dw() as usize * 4;
                let (start, count) = header.byte_enables().range(offset);
                if let Some((operation, byte)) = self.firmware.bar0().locate_memic_operation(start) {
                    self.read_operation(operation, byte, &mut data[(start - offset) as usize..], count);
                } else {
                    self.read_bar(core.now(), offset, &mut data[..len]);
                }
                core.consume(tlp);
                self.function.answer(core, &header, &data[..len]);
            }
            _ => core.refuse(self.function.port(), tlp, self.function.id(), Status::UnsupportedRequest),
        }
    }

    fn write_bar(&mut self, core: &mut Core, tlp: TlpId, header: &Header, offset: u64) {
        // What is written is copied out first: it's at most a cache line, or else nothing that BAR 0 has a place for.
        let payload = core.payload(tlp);
        let mut bytes = [0; 64];
        let len = payload.len().min(64);
        bytes[..len].copy_from_slice(&payload[..len]);
        let whole = payload.len() <= 64;
        let enables = header.byte_enables();
        let (start, count) = enables.range(offset);
        let contiguous = enables.enabled() == count;
        core.consume(tlp);
        if self.write_msix(core, offset, &bytes[..len], enables.first, enables.last) {
            return;
        }
        let skip = (start - offset) as usize;
        let Some(data) = bytes.get(skip..skip + count as usize).filter(|_| whole && contiguous && count > 0) else {
            self.counters.stray_accesses += 1;
            return;
        };
        self.store(core, start, data);
    }

    /// A store of software has arrived: bytes at an offset of BAR 0.
    fn store(&mut self, core: &mut Core, offset: u64, bytes: &[u8]) {
        let map = self.firmware.bar0();
        if map.init_segment.contains(&offset) {
            match self.init.write(offset, bytes) {
                Written::Nothing => {}
                Written::Stray => self.counters.stray_accesses += 1,
                Written::QueueAddress(address) => {
                    // What still runs at the old place may not touch it any more.
                    self.dma.reset(core.now());
                    self.queue.set_address(address);
                    self.waiting.clear();
                    self.sends.clear();
                }
                Written::ResetRequest => self.reset(core),
                Written::Doorbell(vector) => {
                    let events = event_queue::exists(&self.firmware, EventType::CMD);
                    let (mut bus, queue, ..) = self.parts(core);
                    queue.doorbell(&mut bus, vector, events);
                    self.go_on(core);
                }
            }
        } else if let Some((page, inside)) = map.tlp_pages.as_ref().and_then(|window| window.locate(offset)) {
            let (mut bus, _, _, emulation) = self.parts(core);
            emulation.store(&mut bus, page, inside, bytes);
            self.counters.gateway_unbound = self.emulation.unbound();
            self.go_on(core);
        } else if map.uars.contains(&offset) {
            match bar0::uar_store(&self.firmware, offset, bytes) {
                Some(UarStore::Eq(doorbell)) => event_queue::doorbell(self, core, doorbell),
                Some(UarStore::Cq(doorbell)) => {
                    completion_queue::arm(self, core, doorbell);
                    self.go_on(core);
                }
                Some(UarStore::Sq(sqn)) => {
                    send_queue::doorbell(self, core, sqn);
                    self.go_on(core);
                }
                None => self.counters.stray_accesses += 1,
            }
        } else if map.memic.as_ref().is_some_and(|window| window.contains(&offset)) {
            if !self.firmware.resources_mut().memic_store(offset, bytes) {
                self.counters.stray_accesses += 1;
            }
        } else if let Some((operation, byte)) = map.locate_memic_operation(offset) {
            let [value] = *bytes else {
                self.counters.stray_accesses += 1;
                return;
            };
            if self.firmware.resources_mut().memic_operate(operation, byte, Some(value)).is_none() {
                self.counters.stray_accesses += 1;
            }
        } else if map.virtio_vars.as_ref().is_none_or(|window| window.locate(offset).is_none()) {
            // A VirtIO doorbell page takes any store; no queue listens yet.
            self.counters.stray_accesses += 1;
        }
    }

    /// A read of memory on the device that is an operation: of one byte, or it's none.
    fn read_operation(&mut self, operation: u8, byte: u64, data: &mut [u8], count: u32) {
        let read = if count == 1 { self.firmware.resources_mut().memic_operate(operation, byte, None) } else { None };
        match (read, data.first_mut()) {
            (Some(value), Some(first)) => *first = value,
            _ => self.counters.stray_accesses += 1,
        }
    }

    fn read_bar(&mut self, now: Time, offset: u64, data: &mut [u8]) {
        if let Some(region) = self.msix.region(0, offset) {
            if self.msix.read(region, data).is_err() {
                self.counters.stray_accesses += 1;
                data.fill(0);
            }
            return;
        }
        for (dword, bytes) in (offset..).step_by(4).zip(data.chunks_exact_mut(4)) {
            let map = self.firmware.bar0();
            let value = if map.init_segment.contains(&dword) {
                self.init.read(dword, now, &self.queue, self.faults.syndrome())
            } else {
                let memory = map.memic.as_ref().is_some_and(|window| window.contains(&dword));
                if memory && self.firmware.resources().memic_load(dword, bytes) {
                    continue;
                }
                0
            };
            bytes.copy_from_slice(&value.to_be_bytes());
        }
    }

    // --- What goes on inside ---

    /// Carries on with all that the last step has made possible: DMA reads that have ended, commands, events.
    fn go_on(&mut self, core: &mut Core) {
        while let Some(progress) = self.dma.next_ended() {
            let (mut bus, queue, ..) = self.parts(core);
            if progress.result.is_err() {
                bus.counters.dma_errors += 1;
            }
            if progress.token & send_queue::TOKEN != 0 {
                send_queue::fetched(self, core, progress.token, progress.result.as_deref().ok());
                if let Ok(buffer) = progress.result {
                    self.dma.recycle(buffer);
                }
                continue;
            }
            match queue.fetched(&mut bus, progress.token, progress.result.as_deref().ok()) {
                Step::Waiting => {}
                Step::Undeliverable { slot, events } => {
                    if events {
                        event_queue::post_command(self, core, slot);
                    }
                }
                Step::Execute(slot) => {
                    let span = Time::ns(self.firmware.command_ns(self.queue.opcode(slot)));
                    self.execute_after(core, slot, span);
                }
            }
            if let Ok(buffer) = progress.result {
                self.dma.recycle(buffer);
            }
        }
        let (mut bus, _, _, emulation) = self.parts(core);
        emulation.settle(&mut bus);
        while let Some(channel) = self.emulation.next_event() {
            event_queue::post_object(self, core, twin_v1::TLP_CHANNEL, channel);
        }
        if let Some(at) = self.dma.take_call() {
            core.set_timer(self.node, at, timer::DMA);
        }
    }

    /// Puts off a command whose answer is long until what was written before has left, so that few TLPs wait. Whether it has to wait.
    fn put_off(&self, core: &mut Core, slot: usize) -> bool {
        let waits = self.queue.is_long(slot) && !core.is_clear(self.function.port());
        if waits {
            self.execute_after(core, slot, TURN);
        }
        waits
    }

    /// Has the command in `slot` executed so much later.
    fn execute_after(&self, core: &mut Core, slot: usize, span: Time) {
        core.set_timer(self.node, core.now() + span, timer::COMMAND | self.queue.timer_token(slot));
    }

    /// The command in `slot` has had its time. It may have to wait for its turn, and for pages that the driver must give first.
    fn execute(&mut self, core: &mut Core, slot: usize) {
        if self.put_off(core, slot) {
            return;
        }
        match self.faults.command(self.queue.opcode(slot)) {
            Verdict::CarriedOut => {}
            Verdict::Refused(failure) => return self.carry_out(core, slot, Some(failure)),
            Verdict::Late(span) => return self.execute_after(core, slot, span),
            Verdict::Lost => return,
        }
        let need = self.firmware.page_need(self.queue.input(slot));
        if need == PageNeed::None {
            return self.carry_out(core, slot, None);
        }
        self.waiting.push(self.queue.timer_token(slot));
        if let PageNeed::Ask(pages) = need {
            event_queue::post_pages(self, core, i32::try_from(pages).unwrap_or(i32::MAX));
        }
    }

    /// Carries out the command in `slot`, or answers it with `refusal`.
    fn carry_out(&mut self, core: &mut Core, slot: usize, refusal: Option<Failure>) {
        let opcode = self.queue.opcode(slot);
        if matches!(opcode, Opcode::INIT_HCA | Opcode::TEARDOWN_HCA | Opcode::DISABLE_HCA) {
            self.lives.command(opcode, self.firmware.resources().balance());
        }
        let (mut bus, queue, firmware, emulation) = self.parts(core);
        let executed = queue.execute(&mut bus, slot, |input, output| match refusal {
            None => firmware.execute(input, output, emulation),
            Some(failure) => firmware.refuse(input, output, failure),
        });
        let Some((executed, events)) = executed else { return };
        self.sends.forget(&self.firmware);
        self.counters.commands += 1;
        self.tallies.count(&executed, core.now().since(self.queue.rung(slot)));
        let Executed { opcode, op_mod, uid, status, syndrome, effect } = executed;
        tracing::debug!(at = %core.now(), %opcode, op_mod, uid, %status, syndrome, "command");
        if events {
            event_queue::post_command(self, core, slot);
        }
        if let Effect::PortChanged(state) = effect {
            event_queue::post_port(self, core, state);
        }
        self.resume(core, (effect == Effect::PagesRefused).then_some(Failure::PAGES_REFUSED));
        if let Some(pages) = self.firmware.page_offer() {
            event_queue::post_pages(self, core, -i32::try_from(pages).unwrap_or(i32::MAX));
        }
        self.go_on(core);
    }

    /// Looks again at the commands that wait for pages, or answers them all with `refusal`.
    fn resume(&mut self, core: &mut Core, refusal: Option<Failure>) {
        for token in std::mem::take(&mut self.waiting) {
            match (self.queue.due(token), refusal) {
                (None, _) => {}
                (Some(slot), None) => self.execute(core, slot),
                (Some(slot), Some(_)) if self.put_off(core, slot) => {}
                (Some(slot), Some(_)) => self.carry_out(core, slot, refusal),
            }
        }
    }

    /// Gives the port's link another state, as what is at its other end would: the driver is told by an event.
    pub fn set_port_state(&mut self, core: &mut Core, link: PortState) {
        if let Some(state) = self.firmware.set_port_state(link) {
            event_queue::post_port(self, core, state);
            self.go_on(core);
        }
    }

    fn configured(&mut self, core: &mut Core, changed: Changed) {
        if changed.contains(Changed::FUNCTION_LEVEL_RESET) {
            self.reset_function(core, Reset::FunctionLevel);
        } else if changed.contains(Changed::MSIX) {
            self.send_unmasked(core);
        }
    }

    fn reset_function(&mut self, core: &mut Core, kind: Reset) {
        self.function.reset(kind);
        self.gateway.reset();
        self.reset(core);
    }

    /// A reset of the function or of its link, or the one that a driver asks for by the interface state: everything that software made is gone.
    fn reset(&mut self, core: &mut Core) {
        self.lives.resets += 1;
        self.dma.reset(core.now());
        self.queue.reset();
        self.waiting.clear();
        self.sends.clear();
        self.init.reset();
        self.faults.reset();
        self.msix.reset();
        self.firmware.reset(&mut self.emulation);
        self.go_on(core);
    }
}

impl Device for Dpu {
    fn receive(&mut self, core: &mut Core, port: PortId, tlp: TlpId) {
        if port != self.function.port() {
            let (mut bus, _, _, emulation) = self.parts(core);
            emulation.receive(&mut bus, port, tlp);
            self.go_on(core);
            return self.emulation.look_at_the_clock(core.now());
        }
        let touch = self.gateway.touched(core.header(tlp));
        let inbound = self.function.receive(core, tlp);
        if let Some(touch) = touch {
            self.gateway.follow(touch, self.function.config_mut());
        }
        match inbound {
            Inbound::Memory { offset, .. } => self.access(core, tlp, offset),
            Inbound::Completion => {
                self.dma.complete(core, &self.function, tlp);
                self.go_on(core);
            }
            Inbound::Configured(changed) => self.configured(core, changed),
            Inbound::Done => {}
        }
        self.emulation.look_at_the_clock(core.now());
    }

    fn timer(&mut self, core: &mut Core, token: u64) {
        // What a command tells of the clock is of its own time.
        self.emulation.look_at_the_clock(core.now());
        if token & timer::COMMAND == 0 {
            self.dma.expire(core, &self.function);
            self.go_on(core);
        } else if let Some(slot) = self.queue.due(token & 0xffff_ffff) {
            self.execute(core, slot);
        }
        self.emulation.look_at_the_clock(core.now());
    }

    fn port_event(&mut self, core: &mut Core, port: PortId, event: PortEvent) {
        if port != self.function.port() {
            let (mut bus, _, _, emulation) = self.parts(core);
            emulation.port_event(&mut bus, port, event);
            self.go_on(core);
            return self.emulation.look_at_the_clock(core.now());
        }
        if let PortEvent::LinkDown(reset) = event {
            self.reset_function(core, reset);
        }
    }

    /// The mlx5 function's registers show its errors. What an emulated function's show is for the software that answers for them.
    fn error(&mut self, core: &mut Core, port: PortId, error: &Detected) {
        if port == self.function.port() {
            self.function.report(core, error);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
