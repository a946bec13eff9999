//! A channel and the functions that share it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::config::ConfigSpace;
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Status};

use super::ending::Ending;
use super::state::{Effect, Open, PutOff, State};
use super::{
    Access, Counters, Description, Doorbell, Error, Limits, Message, Port, Read, Request, RequestId, Scope, Settings,
    Write,
};
use crate::backend::Backend;
use crate::channel::twin_v1::TwinV1;
use crate::channel::{self, ChannelProtocol, Order, Role, TlpMessage, Waited, inject};

/// Completions are cut at multiples of this, except for the last (Read Completion Boundary, PCIe base specification 2.3.1.1: 128
/// bytes for all but root complexes).
const BOUNDARY: u64 = 128;

/// A TLP channel, with the functions that were claimed for it. All of them are served from one loop.
///
/// The channel takes all events of its backend context: other subscriptions, and other channels that wait in another thread, want
/// a context of their own ([`Backend::open_context`]).
///
/// Dropping it gives the functions back, then the channel.
#[derive(Debug)]
pub struct Channel {
    pub(super) functions: BTreeMap<Port, State>,
    credits: VecDeque<u32>,
    granted: u16,
    silent: bool,
    /// Whether completions must go out in the order of the requests.
    strict: bool,
    /// Whether this is the channel that may send: it wasn't imported, or has become primary, and hasn't handed over.
    pub(super) primary: bool,
    ending: Ending,
    /// What requests led to that were answered here, but not at once.
    led_to: VecDeque<(Port, Request)>,
    pub(super) protocol: Box<dyn ChannelProtocol>,
}

impl Channel {
    /// Opens a channel by the protocol `twin-v1`.
    ///
    /// # Errors
    /// [`crate::backend::Error::NoTwin`] if the device doesn't speak it; more asked for than the device can do; what it refuses.
    pub fn open(backend: Arc<dyn Backend>, settings: &Settings) -> Result<Channel, Error> {
        Ok(Channel::over(inject::open::<TwinV1>(backend, None, settings)?, settings))
    }

    /// The channel that `protocol` has opened with these settings.
    pub fn over(protocol: Box<dyn ChannelProtocol>, settings: &Settings) -> Channel {
        Channel {
            functions: BTreeMap::new(),
            credits: VecDeque::new(),
            granted: settings.credits,
            silent: false,
            strict: settings.order == Order::Strict,
            primary: true,
            ending: Ending::new(settings.ring_slots),
            led_to: VecDeque::new(),
            protocol,
        }
    }

    /// What the device can do.
    pub fn limits(&self) -> &Limits {
        self.protocol.limits()
    }

    /// Claims a function. The description's ring and credits don't count here.
    ///
    /// # Errors
    /// [`Error::Description`] with the rule that is broken; [`channel::Error::PortTaken`]; what the device answers.
    pub fn claim(&mut self, description: &Description) -> Result<Port, Error> {
        let built = description.build(self.protocol.limits())?;
        // Bytes of regions are set by who begins. For who is to take over, they are what the other program and the host have made of them.
        let own = built.defaults.is_empty() || self.protocol.role()? == Role::Primary;
        self.protocol.attach(&built.layout)?;
        let port = description.port();
        // The host sees none of these bytes before software has answered its configuration requests.
        for (region, bytes) in built.defaults.iter().filter(|_| own) {
            if let Err(error) = self.protocol.modify_region(port.0, *region, 0, bytes, Scope::Both) {
                // What went wrong first is what the author wants to know.
                let _ = self.protocol.detach(port.0);
                return Err(error.into());
            }
        }
        self.functions.insert(port, State::new(built));
        Ok(port)
    }

    /// Gives a function back: its open requests end with Completer Abort, or go to the channel that has imported it.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; what the device answers.
    pub fn release(&mut self, port: Port) -> Result<(), Error> {
        self.function(port)?;
        self.protocol.detach(port.0)?;
        self.functions.remove(&port);
        Ok(())
    }

    /// Gives everything back, and says if that went wrong.
    ///
    /// # Errors
    /// The first thing that the device refused; the rest is tried nevertheless.
    pub fn close(self) -> Result<(), Error> {
        Ok(self.protocol.close()?)
    }

    // --- What comes ---

    /// Waits for the next request. `None` if nothing will ever happen again: a simulation says so, and on a real device the end that somebody asked for is
    /// told in the same words ([`Stop`](crate::backend::Stop)), at the latest when as many messages were taken since as the ring holds. A [`Request::Credit`] is the
    /// channel's; its port means nothing.
    ///
    /// # Errors
    /// The device is gone, or wrote a message that breaks a rule. After the latter the next call goes on with the message after it.
    // An iterator would hide the errors' meaning: some of them don't end the loop.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(Port, Request)>, Error> {
        self.silent = false;
        loop {
            if let Some(found) = self.take()? {
                return Ok(Some(found));
            }
            if self.silent {
                return Ok(None);
            }
            self.silent = self.is_over() || self.protocol.wait(None)? == Waited::Silent;
        }
    }

    /// As [`Channel::next`], but waits no longer than `limit`: for software that has something to do at a time of its own. `None` may
    /// come early, for example when a configuration request was answered meanwhile: the backend's clock says what is left of the time.
    ///
    /// # Errors
    /// As [`Channel::next`].
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<(Port, Request)>, Error> {
        self.silent = false;
        let found = self.take()?;
        if found.is_some() {
            return Ok(found);
        }
        self.silent = self.is_over() || self.protocol.wait(Some(limit))? == Waited::Silent;
        self.take()
    }

    /// The next request, if one is there. If not, a little simulated time passes.
    ///
    /// # Errors
    /// As [`Channel::next`].
    pub fn poll(&mut self) -> Result<Option<(Port, Request)>, Error> {
        let found = self.take()?;
        self.silent = found.is_none() && (self.is_over() || self.protocol.pause()? == Waited::Silent);
        Ok(found)
    }

    /// Whether the last call found that nothing will ever happen again, or that the end was asked for.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether nothing more is taken, since the end was asked for. What a channel's ring holds that isn't primary any more is bounded, and taken.
    fn is_over(&self) -> bool {
        self.primary && self.ending.is_over()
    }

    /// Goes through the messages that are there, up to one that the author gets.
    pub(super) fn take(&mut self) -> Result<Option<(Port, Request)>, Error> {
        if let Some(next) = self.led_to.pop_front() {
            return Ok(Some(next));
        }
        while !self.is_over()
            && let Some(message) = self.protocol.poll()?
        {
            self.ending.count(|| self.protocol.is_stopped());
            let (port, request) = match message {
                channel::Message::Credit { port, id } => {
                    self.hold(id)?;
                    (port, Some(Request::Credit))
                }
                channel::Message::PciEvent { port, event } => {
                    self.function_mut(Port(port))?.pci_event(event);
                    (port, Some(Request::PciEvent(event)))
                }
                channel::Message::Doorbell { port, number, value, time } => {
                    let place = self.function(Port(port))?.layout.doorbells().nth(number);
                    let rung = place.map(|(bar, offset)| Request::Doorbell {
                        number,
                        doorbell: Doorbell { bar, offset, value },
                        time,
                    });
                    (port, rung)
                }
                channel::Message::RegionWritten { port, region, time } => {
                    (port, Some(Request::RegionWritten { region, time }))
                }
                channel::Message::HotplugState { port, state } => (port, Some(Request::Hotplug(state))),
                channel::Message::Tlp(tlp) => (tlp.port, self.receive(tlp)?),
            };
            if let Some(request) = request {
                return Ok(Some((Port(port), request)));
            }
        }
        Ok(None)
    }

    fn hold(&mut self, id: u32) -> Result<(), Error> {
        let held = self.credits.len();
        if held >= usize::from(self.granted) || self.credits.contains(&id) {
            return Err(Error::StrayCredit { id, held, asked: self.granted });
        }
        self.credits.push_back(id);
        Ok(())
    }

    /// Takes up a TLP: gives the request that the author gets, if he gets one.
    fn receive(&mut self, tlp: TlpMessage) -> Result<Option<Request>, Error> {
        let limit = self.protocol.limits().max_requests;
        let port = Port(tlp.port);
        let state = self.function_mut(port)?;
        let header = tlp.header;
        let id = RequestId { port, number: tlp.request.unwrap_or(0) };
        if tlp.request.is_some() {
            let value = tlp.payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            state.begin(id, header, value, limit)?;
        }
        if header.ep() && header.has_data() {
            state.record_poisoned();
            return self.refuse(tlp.request.map(|_| id));
        }
        let at = tlp.bar.map(|(bar, offset)| Access {
            bar,
            offset,
            enables: header.byte_enables(),
            requester: header.requester(),
            prefix: tlp.prefix,
            time: tlp.time,
            redelivered: tlp.redelivered,
        });
        if let (Kind::MRd32 | Kind::MRd64, Some(at)) = (header.kind(), &at)
            && let Some(data) = state.rom(at)
        {
            self.respond(id, Status::Successful, &data)?;
            return Ok(None);
        }
        match (header.kind(), at) {
            (Kind::MRd32 | Kind::MRd64, Some(at)) => Ok(Some(Request::Read(Read { id, at }))),
            (Kind::MWr32 | Kind::MWr64, Some(at)) => Ok(Some(Request::Write(Write { at, data: tlp.payload }))),
            (Kind::Msg | Kind::MsgD, _) => {
                let code = header.message_code();
                Ok(Some(Request::Message(Message { code, header, data: tlp.payload })))
            }
            // There's one function at a port.
            (Kind::CfgRd0 | Kind::CfgWr0, _) if header.target().function() != 0 => self.refuse(Some(id)),
            (Kind::CfgRd0 | Kind::CfgWr0, _) => {
                if header.kind() == Kind::CfgWr0 {
                    state.id = header.target();
                }
                if state.forward_configuration {
                    return Ok(Some(Request::Configuration(state.configuration(id)?)));
                }
                if self.must_wait(id).is_some() {
                    return self.put_off(id, PutOff::Answer);
                }
                self.answer(id)
            }
            // Locked reads, deferrable writes, atomics, and what doesn't belong here: such a function doesn't support them.
            _ => self.refuse(tlp.request.map(|_| id)),
        }
    }

    /// Ends what the function doesn't support.
    fn refuse(&mut self, id: Option<RequestId>) -> Result<Option<Request>, Error> {
        let Some(id) = id else { return Ok(None) };
        if self.must_wait(id).is_some() {
            return self.put_off(id, PutOff::Refuse);
        }
        self.respond(id, Status::UnsupportedRequest, &[])?;
        Ok(None)
    }

    /// The request that must be answered before this one, if completions must keep the order of requests.
    fn must_wait(&self, id: RequestId) -> Option<RequestId> {
        let oldest = self.functions.get(&id.port).filter(|_| self.strict)?.oldest()?;
        (oldest != id.number).then_some(RequestId { number: oldest, ..id })
    }

    /// Notes what a request is answered with when its turn comes.
    fn put_off(&mut self, id: RequestId, answer: PutOff) -> Result<Option<Request>, Error> {
        if let Some(open) = self.function_mut(id.port)?.open.get_mut(&id.number) {
            open.put_off = Some(answer);
        }
        Ok(None)
    }

    /// Answers what was put off and is in turn now.
    fn catch_up(&mut self, port: Port) -> Result<(), Error> {
        while let Some(number) = self.functions.get(&port).filter(|_| self.strict).and_then(State::oldest) {
            let id = RequestId { port, number };
            match self.waiting(id)?.put_off {
                None => return Ok(()),
                Some(PutOff::Refuse) => self.send(id, Status::UnsupportedRequest, &[])?,
                Some(PutOff::Answer) => {
                    if let Some(request) = self.carry_out(id)? {
                        self.led_to.push_back((port, request));
                    }
                }
            }
        }
        Ok(())
    }

    // --- What goes ---

    /// Answers a read with `data`: exactly [`Access::len`] bytes, from the first dword on. Large ones go out as several completions.
    /// Answers a configuration read with four bytes, and a configuration write with none.
    ///
    /// # Errors
    /// [`Error::UnknownRequest`], [`Error::OutOfOrder`], [`Error::Length`]; the device is gone.
    pub fn complete(&mut self, id: RequestId, data: &[u8]) -> Result<(), Error> {
        let open = self.in_turn(id)?;
        let needs = open.header.completion_length_dw() as usize * 4;
        if data.len() != needs {
            return Err(Error::Length { id, needs, has: data.len() });
        }
        self.respond(id, Status::Successful, data)
    }

    /// Ends a request with Unsupported Request or Completer Abort; a configuration request also with Configuration Request Retry
    /// Status. The function's status registers show it.
    ///
    /// # Errors
    /// [`Error::UnknownRequest`], [`Error::OutOfOrder`], [`Error::AbortStatus`]; the device is gone.
    pub fn abort(&mut self, id: RequestId, status: Status) -> Result<(), Error> {
        let open = self.in_turn(id)?;
        let fits = match status {
            Status::UnsupportedRequest | Status::CompleterAbort => true,
            Status::ConfigRequestRetry => open.header.kind().is_config(),
            Status::Successful | Status::Reserved(_) => false,
        };
        if !fits {
            return Err(Error::AbortStatus { id, status });
        }
        self.respond(id, status, &[])
    }

    /// Answers a configuration request from the configuration space. What the author would have been told otherwise is given back.
    ///
    /// # Errors
    /// [`Error::UnknownRequest`], [`Error::OutOfOrder`], [`Error::NotConfiguration`]; the device is gone.
    pub fn answer(&mut self, id: RequestId) -> Result<Option<Request>, Error> {
        self.in_turn(id)?;
        let led_to = self.carry_out(id)?;
        self.catch_up(id.port)?;
        Ok(led_to)
    }

    fn carry_out(&mut self, id: RequestId) -> Result<Option<Request>, Error> {
        let state = self.function_mut(id.port)?;
        let configuration = state.configuration(id)?;
        if configuration.write.is_none() {
            let data = state.space.read(configuration.register).to_le_bytes();
            self.send(id, Status::Successful, &data)?;
            return Ok(None);
        }
        let effect = state.write(&configuration);
        self.send(id, Status::Successful, &[])?;
        Ok(match effect {
            Effect::Nothing => None,
            Effect::Configured(changed) => Some(Request::Configured(changed)),
            Effect::Power(state) => Some(Request::Power(state)),
            Effect::Reset(kind) => {
                self.function_mut(id.port)?.reset(kind);
                Some(Request::Reset(kind))
            }
        })
    }

    /// Answers a request whose turn it is, and what was put off until then.
    fn respond(&mut self, id: RequestId, status: Status, data: &[u8]) -> Result<(), Error> {
        self.send(id, status, data)?;
        self.catch_up(id.port)
    }

    /// Sends the completions of a request and forgets it.
    fn send(&mut self, id: RequestId, status: Status, data: &[u8]) -> Result<(), Error> {
        let open = self.waiting(id)?;
        let request = &open.header;
        let state = self.function_mut(id.port)?;
        state.record(status);
        let completer = if request.kind().is_config() { request.target() } else { state.id };
        state.open.remove(&id.number);
        if data.is_empty() {
            let completion = Header::completion_for(request, completer, status)?;
            return Ok(self.protocol.complete(id.port.0, id.number, &completion, &[])?);
        }
        let most = self.protocol.limits().max_response_payload as u64;
        let mut from = 0;
        while from < data.len() {
            let address = request.address() + from as u64;
            let len = Header::completion_len(address, (data.len() - from) as u64, most, BOUNDARY) as usize;
            let (from_dw, length_dw) = ((from / 4) as u32, (len / 4) as u32);
            let completion = Header::completion_part(request, completer, status, from_dw, length_dw)?;
            self.protocol.complete(id.port.0, id.number, &completion, &data[from..from + len])?;
            from += len;
        }
        Ok(())
    }

    /// Writes to the host's memory with one TLP, and spends a credit for it. `data` has at most `Max_Payload_Size` bytes and doesn't
    /// cross 4 KiB. A channel that is being handed over has no credit any more: what is to be written is for the program that takes over.
    ///
    /// # Errors
    /// [`Error::NoFunction`], [`Error::NotBusMaster`], [`Error::WriteLength`], [`Error::Header`], [`Error::NoCredit`], in this order;
    /// the device is gone.
    pub fn memory_write(&mut self, port: Port, address: u64, data: &[u8]) -> Result<(), Error> {
        let most = self.protocol.limits().max_response_payload;
        let state = self.function(port)?;
        if !state.space.may_request() {
            return Err(Error::NotBusMaster(port));
        }
        let most = most.min(state.space.max_payload() as usize);
        let gap = (address & 3) as usize;
        // Even a write of no bytes has a dword.
        let needs = (gap + data.len()).next_multiple_of(4).max(4);
        if needs > most {
            return Err(Error::WriteLength { address, len: data.len(), needs, most });
        }
        let header = Header::mem_write_bytes(state.id, 0, address, data.len() as u32)?;
        let mut payload = vec![0; header.payload_len()];
        payload[gap..gap + data.len()].copy_from_slice(data);
        let credit = *self.credits.front().filter(|_| self.primary).ok_or(Error::NoCredit)?;
        self.protocol.memory_write(port.0, credit, &header, &payload)?;
        self.credits.pop_front();
        Ok(())
    }

    /// How many credits are held.
    pub fn credits(&self) -> usize {
        self.credits.len()
    }

    /// Gives a held credit back unspent. It isn't granted again.
    ///
    /// # Errors
    /// [`Error::NoCredit`]; the device is gone.
    pub fn flush_credit(&mut self) -> Result<(), Error> {
        let credit = *self.credits.front().ok_or(Error::NoCredit)?;
        self.protocol.flush_credit(credit)?;
        self.credits.pop_front();
        // One less is in circulation.
        self.granted = self.granted.saturating_sub(1);
        Ok(())
    }

    /// Raises an MSI-X vector. If it's masked, the device remembers it until it's unmasked. While this channel is handed over, it's noted for whoever is
    /// primary next.
    ///
    /// # Errors
    /// [`Error::NoFunction`], [`Error::NoVector`], [`Error::MsixDisabled`], [`Error::NotBusMaster`]; the device is gone.
    pub fn raise_msix(&mut self, port: Port, vector: u16) -> Result<(), Error> {
        let state = self.function(port)?;
        let vectors = state.layout.vectors;
        if vector >= vectors {
            return Err(Error::NoVector { port, vector, vectors });
        }
        if !state.space.msix_enabled() {
            return Err(Error::MsixDisabled(port));
        }
        if !state.space.may_request() {
            return Err(Error::NotBusMaster(port));
        }
        if !self.primary {
            self.function_mut(port)?.owed.insert(vector);
            return Ok(());
        }
        Ok(self.protocol.raise_msix(port.0, vector)?)
    }

    // --- What is ---

    /// The function's configuration space.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn config(&self, port: Port) -> Result<&ConfigSpace, Error> {
        Ok(&self.function(port)?.space)
    }

    /// The function's configuration space, for changes from the device's side. An author who answers configuration requests himself
    /// keeps it right: sending depends on what it says of bus mastering and MSI-X.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn config_mut(&mut self, port: Port) -> Result<&mut ConfigSpace, Error> {
        Ok(&mut self.function_mut(port)?.space)
    }

    /// The function's bus, device and function number, from the last configuration write; 0 before it.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn id(&self, port: Port) -> Result<Bdf, Error> {
        Ok(self.function(port)?.id)
    }

    /// What the device counted for this channel, responses that it refused included.
    ///
    /// # Errors
    /// What the device answers.
    pub fn counters(&mut self) -> Result<Counters, Error> {
        Ok(self.protocol.counters()?)
    }

    pub(super) fn function(&self, port: Port) -> Result<&State, Error> {
        self.functions.get(&port).ok_or(Error::NoFunction(port))
    }

    pub(super) fn function_mut(&mut self, port: Port) -> Result<&mut State, Error> {
        self.functions.get_mut(&port).ok_or(Error::NoFunction(port))
    }

    /// The request, if it can be answered now.
    fn in_turn(&self, id: RequestId) -> Result<Open, Error> {
        let open = self.waiting(id)?;
        match self.must_wait(id) {
            Some(oldest) => Err(Error::OutOfOrder { id, oldest }),
            None => Ok(open),
        }
    }

    fn waiting(&self, id: RequestId) -> Result<Open, Error> {
        let state = self.functions.get(&id.port);
        state.and_then(|state| state.open.get(&id.number)).copied().ok_or(Error::UnknownRequest(id))
    }
}
