//! The channel that makes mistakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_sim::rng::Rng;
use mlx5_twin_sim::tlp::{Bdf, Header, Kind, Status};

use super::plan::{Event, Mistake, Plan, When};
use crate::backend::Backend;
use crate::channel::{
    ChannelProtocol, Counters, Error, Export, FunctionLayout, Limits, Message, Role, Scope, Settings, Snooped,
    TlpMessage, Waited,
};

/// One injection at work.
#[derive(Debug)]
struct Rule {
    mistake: Mistake,
    when: When,
    rng: Rng,
    /// Events so far.
    count: u64,
}

impl Rule {
    /// An event has come: whether the mistake is made.
    fn hits(&mut self) -> bool {
        self.count += 1;
        match self.when {
            When::Nth(number) => self.count == number,
            When::OneIn { count, .. } => self.rng.range(1, count) == 1,
        }
    }
}

/// A completion that is kept back.
#[derive(Debug)]
struct Held {
    port: u16,
    request: u32,
    header: Header,
    payload: Vec<u8>,
}

/// A channel whose software makes the mistakes of a plan. What goes through it is otherwise as it was.
#[derive(Debug)]
pub struct Faulty<P: ChannelProtocol> {
    /// `None` after [`ChannelProtocol::close`].
    inner: Option<Box<P>>,
    limits: Limits,
    plan: Arc<Plan>,
    rules: Vec<Rule>,
    /// What is done to the answers of reads, by port and request.
    chosen: BTreeMap<(u16, u32), Mistake>,
    /// Writes of Device Control that initiate a function-level reset.
    resets: Vec<(u16, u32)>,
    held: Vec<Held>,
    /// By port: the dword of Device Control.
    device_control: BTreeMap<u16, u16>,
    stopped: bool,
}

impl<P: ChannelProtocol> Faulty<P> {
    /// Spoils what goes through `inner`.
    pub fn new(inner: P, plan: Arc<Plan>) -> Faulty<P> {
        let rule = |injection: &super::Injection| {
            let seed = if let When::OneIn { seed, .. } = injection.when { seed } else { 0 };
            let rng = Rng::stream(seed, injection.mistake.name());
            Rule { mistake: injection.mistake, when: injection.when, rng, count: 0 }
        };
        let rules = plan.injections().iter().map(rule).collect();
        Faulty {
            limits: *inner.limits(),
            inner: Some(Box::new(inner)),
            plan,
            rules,
            chosen: BTreeMap::new(),
            resets: Vec::new(),
            held: Vec::new(),
            device_control: BTreeMap::new(),
            stopped: false,
        }
    }

    fn inner(&mut self) -> Result<&mut P, Error> {
        self.inner.as_deref_mut().ok_or_else(|| crate::backend::Error::Device("the channel is closed".into()).into())
    }

    /// The mistakes that are made at an event.
    fn at(&mut self, event: Event) -> Vec<Mistake> {
        let mut made = Vec::new();
        for (number, rule) in self.rules.iter_mut().enumerate().filter(|(_, rule)| rule.mistake.event() == event) {
            if rule.hits() {
                made.push(rule.mistake);
                self.plan.with(|outcome| outcome.made.get_mut(number).map(|count| *count += 1));
            }
        }
        made
    }

    /// Looks at a TLP on its way to software.
    fn see(&mut self, tlp: &TlpMessage) {
        let Some(request) = tlp.request else { return };
        let header = &tlp.header;
        match header.kind() {
            Kind::MRd32 | Kind::MRd64 => {
                if let Some(&mistake) = self.at(Event::Read).first() {
                    self.chosen.insert((tlp.port, request), mistake);
                }
            }
            Kind::CfgWr0 if self.device_control.get(&tlp.port) == Some(&header.register()) => {
                let initiates = header.first_be() & 2 != 0 && tlp.payload.get(1).is_some_and(|byte| byte & 0x80 != 0);
                if initiates {
                    self.resets.push((tlp.port, request));
                }
            }
            _ => {}
        }
    }

    /// Sends what was kept back until a function was reset.
    fn let_go(&mut self, port: u16) -> Result<(), Error> {
        let (now, still) = std::mem::take(&mut self.held).into_iter().partition(|held| held.port == port);
        self.held = still;
        let now: Vec<Held> = now;
        for Held { port, request, header, payload } in now {
            self.inner()?.complete(port, request, &header, &payload)?;
        }
        Ok(())
    }

    /// Asks what the device counted.
    fn take_stock(&mut self) {
        let Some(inner) = &mut self.inner else { return };
        if let Ok(Counters { faults, .. }) = inner.counters() {
            self.plan.with(|outcome| {
                for (name, count) in faults {
                    *outcome.faults.entry(name).or_default() += count;
                }
            });
        }
    }
}

/// Whether a completion is the last of its request.
fn is_last(header: &Header, payload: &[u8]) -> bool {
    let data = payload.len().saturating_sub(usize::from(header.lower_address() & 3));
    header.status() != Status::Successful || data >= header.byte_count() as usize
}

/// The completion with four bytes more.
fn longer(header: &Header, payload: &[u8]) -> Option<(Header, Vec<u8>)> {
    let made = Header::completion(
        header.completer(),
        header.requester(),
        header.tag(),
        header.status(),
        header.byte_count() + 4,
        header.lower_address(),
        payload.len() as u32 / 4 + 1,
        header.tc(),
        header.attr(),
    );
    made.ok().map(|header| (header, [payload, &[0xee; 4]].concat()))
}

impl<P: ChannelProtocol> Drop for Faulty<P> {
    fn drop(&mut self) {
        self.take_stock();
    }
}

impl<P: ChannelProtocol> ChannelProtocol for Faulty<P> {
    /// Without any mistake.
    fn open(backend: Arc<dyn Backend>, settings: &Settings) -> Result<Faulty<P>, Error> {
        Ok(Faulty::new(P::open(backend, settings)?, Arc::default()))
    }

    /// Without any mistake.
    fn import(backend: Arc<dyn Backend>, export: &Export, settings: &Settings) -> Result<Faulty<P>, Error> {
        Ok(Faulty::new(P::import(backend, export, settings)?, Arc::default()))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn attach(&mut self, layout: &FunctionLayout) -> Result<(), Error> {
        self.inner()?.attach(layout)?;
        if layout.pcie_capability != 0 {
            self.device_control.insert(layout.port, layout.pcie_capability / 4 + 2);
        }
        Ok(())
    }

    fn detach(&mut self, port: u16) -> Result<(), Error> {
        self.held.retain(|held| held.port != port);
        self.inner()?.detach(port)
    }

    fn poll(&mut self) -> Result<Option<Message>, Error> {
        if self.stopped {
            return Ok(None);
        }
        let Some(message) = self.inner()?.poll()? else { return Ok(None) };
        for mistake in self.at(Event::Message) {
            match mistake {
                Mistake::RingOverflow => self.inner()?.overrun()?,
                _ => self.stopped = true,
            }
        }
        if let Message::Tlp(tlp) = &message {
            self.see(tlp);
        }
        Ok(Some(message))
    }

    fn wait(&mut self, limit: Option<Duration>) -> Result<Waited, Error> {
        if !self.stopped {
            return self.inner()?.wait(limit);
        }
        // Who doesn't look at the ring arms nothing. What is in it would end each wait at once.
        while limit.is_none() {
            if self.inner()?.pause()? == Waited::Silent {
                return Ok(Waited::Silent);
            }
        }
        self.inner()?.pause()
    }

    fn pause(&mut self) -> Result<Waited, Error> {
        self.inner()?.pause()
    }

    fn is_stopped(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.is_stopped())
    }

    fn complete(&mut self, port: u16, request: u32, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let mistake = self.chosen.get(&(port, request)).copied();
        if is_last(header, payload) {
            self.chosen.remove(&(port, request));
        }
        let mut spoilt = *header;
        match mistake {
            Some(Mistake::NoCompletion) => return Ok(()),
            Some(Mistake::TwoCompletions) => self.inner()?.complete(port, request, header, payload)?,
            Some(Mistake::WrongTag) => spoilt.set_tag(header.tag() ^ 1),
            Some(Mistake::WrongRequester) => spoilt.set_requester(Bdf(header.requester().0 ^ 1)),
            Some(Mistake::TooLong) => {
                if let Some((header, payload)) = longer(header, payload) {
                    return self.inner()?.complete(port, request, &header, &payload);
                }
            }
            Some(Mistake::AfterReset) => {
                self.held.push(Held { port, request, header: *header, payload: payload.to_vec() });
                return Ok(());
            }
            _ => {}
        }
        self.inner()?.complete(port, request, &spoilt, payload)?;
        if let Some(place) = self.resets.iter().position(|reset| *reset == (port, request)) {
            self.resets.swap_remove(place);
            self.let_go(port)?;
        }
        Ok(())
    }

    fn memory_write(&mut self, port: u16, credit: u32, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let made = self.at(Event::Write);
        let credit = if made.contains(&Mistake::NoCredit) { u32::MAX } else { credit };
        self.inner()?.memory_write(port, credit, header, payload)?;
        if made.contains(&Mistake::CreditTwice) {
            self.inner()?.memory_write(port, credit, header, payload)?;
        }
        Ok(())
    }

    fn flush_credit(&mut self, credit: u32) -> Result<(), Error> {
        self.inner()?.flush_credit(credit)
    }

    fn raise_msix(&mut self, port: u16, vector: u16) -> Result<(), Error> {
        self.inner()?.raise_msix(port, vector)
    }

    fn doorbells(&mut self, port: u16) -> Result<Vec<u32>, Error> {
        self.inner()?.doorbells(port)
    }

    fn query_region(&mut self, port: u16, region: usize, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.inner()?.query_region(port, region, offset, len)
    }

    fn modify_region(
        &mut self,
        port: u16,
        region: usize,
        offset: u64,
        bytes: &[u8],
        scope: Scope,
    ) -> Result<(), Error> {
        self.inner()?.modify_region(port, region, offset, bytes, scope)
    }

    fn counters(&mut self) -> Result<Counters, Error> {
        self.inner()?.counters()
    }

    fn export(&mut self) -> Result<Export, Error> {
        self.inner()?.export()
    }

    fn withdraw(&mut self) -> Result<(), Error> {
        self.inner()?.withdraw()
    }

    fn set_primary(&mut self, primary: bool) -> Result<(), Error> {
        self.inner()?.set_primary(primary)
    }

    fn role(&mut self) -> Result<Role, Error> {
        self.inner()?.role()
    }

    fn is_drained(&mut self) -> Result<bool, Error> {
        self.inner()?.is_drained()
    }

    fn stand_by(&mut self) -> Result<Waited, Error> {
        self.inner()?.stand_by()
    }

    fn snooped(&mut self, port: u16) -> Result<Snooped, Error> {
        self.inner()?.snooped(port)
    }

    fn overrun(&mut self) -> Result<(), Error> {
        self.inner()?.overrun()
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        self.take_stock();
        match self.inner.take() {
            Some(inner) => inner.close(),
            None => Ok(()),
        }
    }
}
