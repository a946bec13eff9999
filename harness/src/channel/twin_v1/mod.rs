//! `twin-v1`: the channel of `harness/PROTOCOL.md`, on any backend.
//!
//! Messages come in a ring in registered memory, responses go out through a response gateway page, and all else is firmware
//! commands.

mod capability;
mod gateway;
mod handover;
mod message;
mod object;
mod region;
mod ring;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mlx5_twin_fw_cmds::event::EventType;
use mlx5_twin_fw_cmds::layout::{emulated_bar, emulated_function, emulated_region, tlp_channel};
use mlx5_twin_fw_cmds::twin_v1 as numbers;
use mlx5_twin_fw_cmds::twin_v1::Fault;
use mlx5_twin_sim::config::BarKind;
use mlx5_twin_sim::tlp::Header;

use self::capability::Capability;
use self::gateway::Gateway;
use self::object::Object;
use self::region::Place;
use self::ring::Ring;
use super::{
    ChannelProtocol, Counters, Error, Export, FunctionLayout, Limits, Message, Order, Region, RegionKind, Role, Scope,
    Settings, Snooped, Waited,
};
use crate::backend::{Backend, VarKind, Wake};

/// What the channel's subscription gives as its cookie. Nothing depends on it.
const COOKIE: u64 = 0x7477_696e_2d76_3100;

/// A function of the channel.
#[derive(Debug)]
struct Attached {
    /// `None` after it was given back: its messages may still be in the ring.
    object: Option<Object>,
    layout: FunctionLayout,
    /// Messages with a lower number are of a predecessor at the port.
    since: u64,
}

/// A `twin-v1` channel.
///
/// The order of the fields is the order of dropping: the objects have been destroyed by then, so ring and page are free.
pub struct TwinV1 {
    backend: Arc<dyn Backend>,
    limits: Limits,
    functions: BTreeMap<u16, Attached>,
    /// Exports so far.
    exports: u64,
    channel: Option<Object>,
    ring: Ring,
    gateway: Gateway,
}

impl fmt::Debug for TwinV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.backend.name();
        f.debug_struct("TwinV1").field("backend", &backend).field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl TwinV1 {
    /// Opens a channel, perhaps in the group of an exported one.
    fn establish(backend: Arc<dyn Backend>, settings: &Settings, group: Option<&Export>) -> Result<TwinV1, Error> {
        let capability = Capability::query(backend.as_ref())?;
        let limits = capability.limits;
        let Settings { ring_slots, credits, .. } = *settings;
        if !ring_slots.is_power_of_two() {
            return Err(Error::RingSlots(ring_slots));
        }
        for (what, value, least, most) in [
            ("slots of the ring", ring_slots, 1, limits.max_ring_slots),
            ("credits", u32::from(credits), 0, u32::from(limits.max_credits)),
        ] {
            if !(least..=most).contains(&value) {
                let (value, least, most) = (u64::from(value), u64::from(least), u64::from(most));
                return Err(Error::Limit { what, value, least, most });
            }
        }
        let ring = Ring::create(backend.as_ref(), ring_slots.trailing_zeros(), capability.log_slot_stride)?;
        let gateway = Gateway::new(backend.alloc_var(VarKind::Tlp)?)?;
        let functions = BTreeMap::new();
        // From here on, dropping it undoes what was done.
        let mut opened = TwinV1 { backend, limits, functions, exports: 0, channel: None, ring, gateway };
        opened.create(settings, group)?;
        Ok(opened)
    }

    /// Creates the channel object, and subscribes to its events.
    fn create(&mut self, settings: &Settings, group: Option<&Export>) -> Result<(), Error> {
        let order = match settings.order {
            Order::Any => 0,
            Order::Flagged => numbers::channel::FLAG_ORDER,
            Order::Strict => numbers::channel::STRICT_FIFO,
        };
        let flags = order | if settings.unchecked { numbers::channel::UNCHECKED } else { 0 };
        let mut context = vec![0; tlp_channel::SIZE];
        for (field, value) in [
            (tlp_channel::VERSION, u64::from(numbers::VERSION)),
            (tlp_channel::LOG_RING_SLOTS, u64::from(self.ring.log_slots())),
            (tlp_channel::LOG_SLOT_STRIDE, u64::from(self.ring.log_stride())),
            (tlp_channel::GATEWAY_PAGE_ID, u64::from(self.gateway.page_id())),
            (tlp_channel::RING_UMEM_ID, u64::from(self.ring.umem_id())),
            (tlp_channel::RING_UMEM_OFFSET, 0),
            (tlp_channel::CREDITS, u64::from(settings.credits)),
            (tlp_channel::FLAGS, u64::from(flags)),
            (tlp_channel::PRIMARY_ID, group.map_or(0, |export| u64::from(export.channel))),
            (tlp_channel::EXPORT_KEY, group.map_or(0, |export| export.key)),
        ] {
            field.set(&mut context, value)?;
        }
        let channel = Object::create(self.backend.as_ref(), numbers::TLP_CHANNEL, &context)?;
        let handle = channel.handle();
        self.channel = Some(channel);
        self.backend.subscribe(handle, &[EventType::OBJECT_CHANGE], COOKIE)?;
        Ok(())
    }

    fn channel(&self) -> Result<&Object, Error> {
        // `None` only while the channel is being created or destroyed.
        self.channel.as_ref().ok_or_else(|| crate::backend::Error::Device("the channel is closed".into()).into())
    }

    /// The function that is at a port now.
    fn function(&self, port: u16) -> Result<&Attached, Error> {
        self.functions.get(&port).filter(|found| found.object.is_some()).ok_or(Error::NoFunction(port))
    }

    /// Where bytes are that the device keeps of a function.
    fn place(&self, port: u16, region: usize, offset: u64, len: usize) -> Result<Place, Error> {
        let found = self.function(port)?;
        let function = found.object.as_ref().ok_or(Error::NoFunction(port))?.id();
        let inside = |kept: &&Region| {
            let whole = kept.kind == RegionKind::Stateful || offset.is_multiple_of(4) && len.is_multiple_of(4);
            kept.is_kept() && whole && offset.checked_add(len as u64).is_some_and(|end| end <= kept.length)
        };
        let there = found.layout.regions.get(region).filter(inside);
        there.map(|_| Place { function, region, offset }).ok_or(Error::Bytes { port, region, offset, len })
    }

    /// Whether a message for the function at `port` is of one that was given back.
    fn is_stale(&self, port: u16, number: u64) -> bool {
        self.functions.get(&port).is_some_and(|found| found.object.is_none() || number < found.since)
    }

    /// Destroys functions, then the channel. Everything is tried; gives the first error.
    fn destroy(&mut self) -> Result<(), Error> {
        let functions = self.functions.values_mut().rev().filter_map(|found| found.object.take());
        let objects: Vec<Object> = functions.chain(self.channel.take()).collect();
        let mut first = Ok(());
        for object in objects {
            first = first.and(object.destroy(self.backend.as_ref()));
        }
        first
    }
}

impl Drop for TwinV1 {
    fn drop(&mut self) {
        // There's nobody to tell; who wants to know calls `close`.
        let _ = self.destroy();
    }
}

impl ChannelProtocol for TwinV1 {
    fn open(backend: Arc<dyn Backend>, settings: &Settings) -> Result<TwinV1, Error> {
        TwinV1::establish(backend, settings, None)
    }

    fn import(backend: Arc<dyn Backend>, export: &Export, settings: &Settings) -> Result<TwinV1, Error> {
        TwinV1::establish(backend, settings, Some(export))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn attach(&mut self, layout: &FunctionLayout) -> Result<(), Error> {
        let port = layout.port;
        let before = self.functions.get(&port);
        if before.is_some_and(|found| found.object.is_some()) {
            return Err(Error::PortTaken(port));
        }
        let since = before.map_or(0, |found| found.since);
        let context = function_context(self.channel()?.id(), layout)?;
        let object = Object::create(self.backend.as_ref(), numbers::EMULATED_FUNCTION, &context)?;
        self.functions.insert(port, Attached { object: Some(object), layout: layout.clone(), since });
        Ok(())
    }

    fn detach(&mut self, port: u16) -> Result<(), Error> {
        let found = self.functions.get_mut(&port).ok_or(Error::NoFunction(port))?;
        let object = found.object.take().ok_or(Error::NoFunction(port))?;
        if let Err(error) = object.destroy(self.backend.as_ref()) {
            found.object = Some(object);
            return Err(error);
        }
        // What the ring holds for the port by now is of the function that is gone.
        let context = self.channel()?.query(self.backend.as_ref(), tlp_channel::SIZE)?;
        let producer = tlp_channel::PRODUCER_INDEX.get(&context)? as u32;
        let since = self.ring.number_of(producer);
        if let Some(found) = self.functions.get_mut(&port) {
            found.since = since;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let taken = self.ring.poll();
            if self.ring.owes() {
                self.gateway.consumer(self.ring.release())?;
            }
            let Some((place, message)) = taken? else { return Ok(None) };
            let port = match &message {
                Message::Credit { .. } => return Ok(Some(message)),
                Message::PciEvent { port, .. } | Message::HotplugState { port, .. } => *port,
                Message::Doorbell { port, .. } | Message::RegionWritten { port, .. } => {
                    // The device tells of the next write when this message is freed.
                    self.gateway.consumer(self.ring.release())?;
                    *port
                }
                Message::Tlp(tlp) => tlp.port,
            };
            if self.is_stale(port, place.number) {
                continue;
            }
            let Some(found) = self.functions.get(&port) else {
                return Err(place.error("function", u64::from(port), "a port with a function of the channel"));
            };
            if matches!(message, Message::PciEvent { .. }) {
                // The device waits for this one to be freed before it lets the host see the function.
                self.gateway.consumer(self.ring.release())?;
            }
            message::check(place, &message, &found.layout)?;
            return Ok(Some(message));
        }
    }

    fn wait(&mut self, limit: Option<Duration>) -> Result<Waited, Error> {
        // The device compares this index with what it has written: a message that came after the last poll gives an event at once.
        self.gateway.arm(self.ring.release())?;
        Ok(match self.backend.wait(limit)? {
            Wake::Event(_) | Wake::TimedOut => Waited::Woken,
            Wake::Silent => Waited::Silent,
        })
    }

    fn pause(&mut self) -> Result<Waited, Error> {
        Ok(if self.backend.pause()? { Waited::Woken } else { Waited::Silent })
    }

    fn is_stopped(&self) -> bool {
        self.backend.is_stopped()
    }

    fn complete(&mut self, port: u16, request: u32, header: &Header, payload: &[u8]) -> Result<(), Error> {
        self.gateway.post(numbers::gateway::COMPLETION, port, request, Some(header), payload)
    }

    fn memory_write(&mut self, port: u16, credit: u32, header: &Header, payload: &[u8]) -> Result<(), Error> {
        self.gateway.post(numbers::gateway::MEMORY_WRITE, port, credit, Some(header), payload)
    }

    fn flush_credit(&mut self, credit: u32) -> Result<(), Error> {
        self.gateway.post(numbers::gateway::FLUSH, 0, credit, None, &[])
    }

    fn raise_msix(&mut self, port: u16, vector: u16) -> Result<(), Error> {
        self.gateway.post(numbers::gateway::MSIX, port, u32::from(vector), None, &[])
    }

    fn doorbells(&mut self, port: u16) -> Result<Vec<u32>, Error> {
        let found = self.function(port)?;
        let count = found.layout.doorbells().count();
        let object = found.object.as_ref().ok_or(Error::NoFunction(port))?;
        let context = object.query(self.backend.as_ref(), emulated_function::SIZE)?;
        (0..count).map(|index| Ok(emulated_function::DOORBELL.get(&context, index)? as u32)).collect()
    }

    fn query_region(&mut self, port: u16, region: usize, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        self.place(port, region, offset, len)?.query(self.backend.as_ref(), len)
    }

    fn modify_region(
        &mut self,
        port: u16,
        region: usize,
        offset: u64,
        bytes: &[u8],
        scope: Scope,
    ) -> Result<(), Error> {
        self.place(port, region, offset, bytes.len())?.modify(self.backend.as_ref(), bytes, scope)
    }

    fn counters(&mut self) -> Result<Counters, Error> {
        let context = self.channel()?.query(self.backend.as_ref(), tlp_channel::SIZE)?;
        let mut faults = Vec::new();
        for fault in Fault::ALL {
            let count = tlp_channel::FAULTS.get(&context, fault as usize)?;
            if count > 0 {
                faults.push((format!("{fault:?}"), count));
            }
        }
        Ok(Counters {
            open_requests: tlp_channel::OPEN_REQUESTS.get(&context)? as u32,
            messages: tlp_channel::MESSAGES.get(&context)?,
            responses: tlp_channel::RESPONSES.get(&context)?,
            withheld: tlp_channel::WITHHELD.get(&context)?,
            reordered: tlp_channel::REORDERED.get(&context)?,
            redelivered: tlp_channel::REDELIVERED.get(&context)?,
            faults,
        })
    }

    fn export(&mut self) -> Result<Export, Error> {
        self.set_export(true)
    }

    fn withdraw(&mut self) -> Result<(), Error> {
        self.set_export(false).map(drop)
    }

    fn set_primary(&mut self, primary: bool) -> Result<(), Error> {
        self.set_state(primary)
    }

    fn role(&mut self) -> Result<Role, Error> {
        self.query_role()
    }

    fn is_drained(&mut self) -> Result<bool, Error> {
        self.free_all()
    }

    fn stand_by(&mut self) -> Result<Waited, Error> {
        self.wait_vacant()
    }

    fn snooped(&mut self, port: u16) -> Result<Snooped, Error> {
        self.query_snooped(port)
    }

    fn overrun(&mut self) -> Result<(), Error> {
        let context = self.channel()?.query(self.backend.as_ref(), tlp_channel::SIZE)?;
        let producer = tlp_channel::PRODUCER_INDEX.get(&context)? as u32;
        self.gateway.consumer(producer.wrapping_add(1) & numbers::gateway::INDEX_MASK)
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        self.destroy()
    }
}

/// The context of an emulated function.
fn function_context(channel_id: u32, layout: &FunctionLayout) -> Result<Vec<u8>, Error> {
    let mut context = vec![0; emulated_function::SIZE];
    for (field, value) in [
        (emulated_function::CHANNEL_ID, u64::from(channel_id)),
        (emulated_function::PORT, u64::from(layout.port)),
        (emulated_function::NUM_MSIX, u64::from(layout.vectors)),
        (emulated_function::MSIX_CAP_OFFSET, u64::from(layout.msix_capability)),
        (emulated_function::PCIE_CAP_OFFSET, u64::from(layout.pcie_capability)),
        (emulated_function::PM_CAP_OFFSET, u64::from(layout.power_capability)),
        (emulated_function::NO_SOFT_RESET, u64::from(layout.no_soft_reset)),
        (emulated_function::NUM_REGIONS, layout.regions.len() as u64),
        (emulated_function::ROM_LOG_SIZE, layout.expansion_rom.map_or(0, |size| u64::from(size.trailing_zeros()))),
    ] {
        field.set(&mut context, value)?;
    }
    let bars = emulated_function::BARS.slice_mut(&mut context)?;
    for (entry, bar) in bars.chunks_exact_mut(emulated_bar::SIZE).zip(layout.bars) {
        let Some(bar) = bar else { continue };
        let kind = match bar.kind {
            BarKind::Memory32 => numbers::bar::MEMORY32,
            BarKind::Memory64 => numbers::bar::MEMORY64,
            // The protocol has no I/O BARs; the description of a function refuses them.
            BarKind::Io => continue,
        };
        emulated_bar::KIND.set(entry, u64::from(kind))?;
        emulated_bar::PREFETCHABLE.set(entry, u64::from(bar.prefetchable))?;
        emulated_bar::LOG_SIZE.set(entry, u64::from(bar.size.trailing_zeros()))?;
    }
    let regions = emulated_function::REGIONS.slice_mut(&mut context)?;
    for (entry, region) in regions.chunks_exact_mut(emulated_region::SIZE).zip(&layout.regions) {
        let kind = match region.kind {
            RegionKind::Transaction => numbers::region::TRANSACTION,
            RegionKind::Doorbell => numbers::region::DOORBELL,
            RegionKind::MsixTable => numbers::region::MSIX_TABLE,
            RegionKind::MsixPba => numbers::region::MSIX_PBA,
            RegionKind::Stateful => numbers::region::STATEFUL,
        };
        emulated_region::KIND.set(entry, u64::from(kind))?;
        emulated_region::BAR.set(entry, u64::from(region.bar))?;
        emulated_region::FLAGS.set(entry, if region.notify { u64::from(numbers::region::NOTIFY) } else { 0 })?;
        emulated_region::OFFSET.set(entry, region.offset)?;
        emulated_region::LENGTH.set(entry, region.length)?;
    }
    Ok(context)
}
