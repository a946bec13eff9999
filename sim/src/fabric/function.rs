//! An endpoint function: configuration space, BARs, and the answers that every function gives by itself.

use super::answer_dword;
use super::arena::TlpId;
use super::core::Core;
use super::error::{self, Detected, ErrorKind, Role};
use super::ids::PortId;
use super::inspect::{Look, look_by_payload};
use crate::config::{BarKind, BarRange, Changed, ConfigSpace, ErrorMessage};
use crate::tlp::{Bdf, Class, Header, Kind, Route, Status};

/// What a TLP means to the function it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A request to a BAR. The owner answers and consumes the TLP.
    Memory {
        /// The BAR's number, 0 to 5.
        bar: usize,
        /// Offset of the request's address in it.
        offset: u64,
    },
    /// A completion of a request of the function. The owner consumes the TLP.
    Completion,
    /// A configuration write was carried out and answered: this is what changed.
    Configured(Changed),
    /// It was answered and consumed; there's nothing left to do.
    Done,
}

/// An endpoint function with registers of its own. It lives on a link of its own, as device 0.
#[derive(Debug)]
pub struct Function {
    port: PortId,
    config: ConfigSpace,
    id: Bdf,
    /// The BARs that decode now, kept up to date with the registers.
    bars: Vec<BarRange>,
}

impl Function {
    /// The function at the end `port` of a link, with these registers.
    pub fn new(port: PortId, config: ConfigSpace) -> Function {
        Function { port, config, id: Bdf(0), bars: Vec::with_capacity(6) }
    }

    /// Its end of the link.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Its registers.
    pub fn config(&self) -> &ConfigSpace {
        &self.config
    }

    /// Its registers, for changes from the device's side. BARs and the Command register aren't changed there.
    pub fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    /// Bus, device and function number, as captured from the last configuration write (0 before it).
    pub fn id(&self) -> Bdf {
        self.id
    }

    /// Takes this for its ID, as one of several functions of a device: the device captures it for all.
    pub(super) fn capture(&mut self, id: Bdf) {
        self.id = id;
    }

    /// Writes a register.
    pub(super) fn write(&mut self, register: u16, byte_enables: u8, value: u32) -> Changed {
        let changed = self.config.write(register, byte_enables, value);
        self.decode();
        changed
    }

    /// The BARs that decode now.
    pub(super) fn decoded(&self) -> &[BarRange] {
        &self.bars
    }

    /// Resets the registers.
    pub fn reset(&mut self, kind: crate::config::Reset) {
        self.config.reset(kind);
        self.decode();
    }

    fn decode(&mut self) {
        self.bars.clear();
        self.bars.extend(self.config.bars());
    }

    /// Looks at a TLP that has arrived at the function's port.
    #[inline]
    pub fn receive(&mut self, core: &mut Core, tlp: TlpId) -> Inbound {
        if core.is_special(tlp) && !self.inspect(core, self.config.max_payload(), tlp) {
            return Inbound::Done;
        }
        let header = core.header(tlp);
        // The transaction ID is requester and tag: a completion for another function of this bus isn't ours.
        if header.kind().is_completion() && header.requester() == self.id {
            return Inbound::Completion;
        }
        let header = *header;
        match header.route() {
            Route::Address => {
                let address = header.address();
                let len = extent(&header);
                for bar in &self.bars {
                    if (bar.kind == BarKind::Io) == header.kind().is_io()
                        && let Some(offset) = bar.offset(address)
                        && len <= bar.size - offset
                    {
                        return Inbound::Memory { bar: usize::from(bar.index), offset };
                    }
                }
                core.refuse(self.port, tlp, self.id, Status::UnsupportedRequest);
                Inbound::Done
            }
            Route::Id if header.kind().is_completion() => {
                core.refuse_completion(self.port, tlp);
                Inbound::Done
            }
            Route::Id if matches!(header.kind(), Kind::CfgRd0 | Kind::CfgWr0) => self.configure(core, tlp, &header),
            Route::Id => {
                core.refuse(self.port, tlp, self.id, Status::UnsupportedRequest);
                Inbound::Done
            }
            // Messages to all, or to this end of the link, ask nothing of a function here, if it knows them.
            _ if error::is_supported(&header, &self.config) => {
                core.consume(tlp);
                Inbound::Done
            }
            _ => {
                core.refuse(self.port, tlp, self.id, Status::UnsupportedRequest);
                Inbound::Done
            }
        }
    }

    /// Looks at a TLP that has what few have. `false` if it has ended here. `max_payload` is the function's `Max_Payload_Size`, whoever decides it.
    #[cold]
    pub(super) fn inspect(&self, core: &mut Core, max_payload: u32, tlp: TlpId) -> bool {
        match look_by_payload(core, &self.config, max_payload, tlp) {
            Look::Good => true,
            Look::Bad(kind) => {
                core.detect_tlp(self.port, tlp, kind, Role::Plain);
                core.consume(tlp);
                false
            }
            Look::Poisoned => {
                // Poisoned data changes nothing here (ours, for BARs that are memory; 2.7.2.2). A completion goes on to whoever has asked.
                core.detect_tlp(self.port, tlp, ErrorKind::PoisonedTlp, Role::Plain);
                let request = *core.header(tlp);
                let goes_on = request.class() == Class::Completion;
                if !goes_on {
                    core.consume(tlp);
                    core.complete(self.port, &request, self.id, Status::UnsupportedRequest);
                }
                goes_on
            }
        }
    }

    /// Records an error of the function in its registers, and sends the messages that they ask for: what a device does in
    /// [`Device::error`](super::Device::error).
    pub fn report(&mut self, core: &mut Core, error: &Detected) {
        let report = error::record(&mut self.config, error, false);
        let overflow = report.overflow.then_some(ErrorMessage::Correctable);
        for told in report.message.into_iter().chain(overflow) {
            error::signal(&mut self.config, told);
            if let Some(header) = error::error_message(self.id, told) {
                self.send(core, header, &[]);
            }
        }
    }

    /// Sends a TLP of the function, with a digest if its registers ask for that (ECRC Generation Enable).
    pub fn send(&self, core: &mut Core, header: Header, payload: &[u8]) {
        core.send_with_digest(self.port, header, payload, self.config.generates_ecrc());
    }

    fn configure(&mut self, core: &mut Core, tlp: TlpId, request: &Header) -> Inbound {
        let target = request.target();
        if target.function() != 0 {
            core.refuse(self.port, tlp, self.id, Status::UnsupportedRequest);
            return Inbound::Done;
        }
        if request.kind() == Kind::CfgRd0 {
            core.show_channels(self.port, &mut self.config);
            let value = self.config.read(request.register());
            core.consume(tlp);
            answer_dword(core, self.port, request, target, value, self.config.generates_ecrc());
            return Inbound::Done;
        }
        self.id = target;
        let value = core.payload(tlp).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let changed = self.write(request.register(), request.first_be(), value);
        core.set_channels_by(self.port, &self.config);
        core.consume(tlp);
        core.complete(self.port, request, target, Status::Successful);
        Inbound::Configured(changed)
    }

    /// Answers a read of a BAR with `data`: the dwords that the request names, in wire order. One completion carries all of it,
    /// cut at 128-byte boundaries only if Max_Payload_Size asks for it.
    pub fn answer(&self, core: &mut Core, request: &Header, data: &[u8]) {
        let (max_payload, digest) = (self.config.max_payload(), self.config.generates_ecrc());
        answer_in_parts(core, self.port, request, self.id, max_payload, data, digest);
    }
}

/// How many bytes from its address on a request reaches. A compare and swap has two operands but touches the place of one; a message
/// is at its address only.
#[inline]
pub(super) fn extent(request: &Header) -> u64 {
    let kind = request.kind();
    if kind.is_atomic() {
        u64::from(request.completion_byte_count())
    } else if kind.is_message() {
        1
    } else {
        u64::from(request.length_dw()) * 4
    }
}

/// Answers a read with `data`, in completions of at most `max_payload` bytes that end at 128-byte boundaries.
pub fn answer_read(core: &mut Core, port: PortId, request: &Header, completer: Bdf, max_payload: u32, data: &[u8]) {
    answer_in_parts(core, port, request, completer, max_payload, data, false);
}

fn answer_in_parts(
    core: &mut Core,
    port: PortId,
    request: &Header,
    completer: Bdf,
    max_payload: u32,
    data: &[u8],
    digest: bool,
) {
    let (start, total, max_payload) = (request.address(), request.length_dw(), u64::from(max_payload));
    let mut from = 0;
    while from < total {
        let address = start + u64::from(from) * 4;
        let len = Header::completion_len(address, u64::from(total - from) * 4, max_payload, 128);
        let length_dw = (len / 4) as u32;
        let Ok(completion) = Header::completion_part(request, completer, Status::Successful, from, length_dw) else {
            return;
        };
        let begin = from as usize * 4;
        let part = data.get(begin..begin + len as usize).unwrap_or_default();
        core.send_with_digest(port, completion, part, digest);
        from += length_dw;
    }
}
