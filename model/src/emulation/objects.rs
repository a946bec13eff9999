//! The general objects behind channels and emulated functions.

use std::collections::VecDeque;

use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{emulated_bar, emulated_function, emulated_region, tlp_channel};
use mlx5_twin_fw_cmds::object::ObjectType;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{
    EMULATED_FUNCTION, MAX_REGIONS, MODIFY_EMULATED_PORT, MODIFY_EMULATED_REGION, QUERY_EMULATED_PORT,
    QUERY_EMULATED_REGION, TLP_CHANNEL, VERSION, bar, channel as flags, region,
};
use mlx5_twin_sim::config::{MsixCapability, MsixTable};

use super::announcement::Announcements;
use super::channel::{Channel, ChannelSpec, set_all};
use super::function::{Claimed, EmulatedBar, Region, Shadow};
use super::kept::{self, Kept};
use super::notice::{Notices, Source};
use super::port::Presence;
use super::requests::Requests;
use super::rom::Rom;
use super::{Action, Emulation, handover};
use crate::firmware::resources::Held;
use crate::firmware::{Failure, ObjectKinds, Resources};

/// An object's context begins after the command's header: 16 bytes of input and of output.
const CONTEXT: usize = 16;

impl ObjectKinds for Emulation {
    fn handles(&self, obj_type: ObjectType) -> bool {
        self.speaks() && (obj_type == TLP_CHANNEL || obj_type == EMULATED_FUNCTION)
    }

    fn create(
        &mut self,
        obj_type: ObjectType,
        obj_id: u32,
        uid: u16,
        input: &[u8],
        resources: &Resources,
    ) -> Result<(), Failure> {
        let context = input.get(CONTEXT..).unwrap_or_default();
        if obj_type == TLP_CHANNEL {
            self.create_channel(obj_id, uid, context, resources)
        } else {
            self.create_function(obj_id, uid, context)
        }
    }

    fn held(&self, obj_type: ObjectType, obj_id: u32) -> Vec<Held> {
        if obj_type == TLP_CHANNEL {
            let channel = self.channels.get(&obj_id);
            return channel.map(|channel| Held::Umem(channel.spec.umem_id)).into_iter().collect();
        }
        Vec::new()
    }

    fn query(&self, obj_type: ObjectType, obj_id: u32, _uid: u16, output: &mut [u8]) -> Result<(), Failure> {
        let context = output.get_mut(CONTEXT..).unwrap_or_default();
        if obj_type == TLP_CHANNEL { self.query_channel(obj_id, context) } else { self.query_function(obj_id, context) }
    }

    fn modify(
        &mut self,
        obj_type: ObjectType,
        obj_id: u32,
        _uid: u16,
        input: &[u8],
        _: &Resources,
    ) -> Result<(), Failure> {
        if obj_type == TLP_CHANNEL {
            return self.modify_channel(obj_id, input.get(CONTEXT..).unwrap_or_default());
        }
        // Nothing of a function can be modified in version 1.
        Err(Failure::OBJECT_MODIFY)
    }

    fn destroy(&mut self, obj_type: ObjectType, obj_id: u32, _uid: u16) -> Result<(), Failure> {
        if obj_type == EMULATED_FUNCTION {
            self.destroy_function(obj_id);
            return Ok(());
        }
        if self.functions.values().any(|&(_, channel)| channel == obj_id) {
            return Err(Failure::OBJECT_IN_USE);
        }
        self.destroy_channel(obj_id);
        Ok(())
    }

    fn dropped(&mut self, obj_type: ObjectType, obj_id: u32, _uid: u16) {
        if obj_type == EMULATED_FUNCTION {
            return self.destroy_function(obj_id);
        }
        let left = self.functions.iter().filter(|(_, (_, channel))| *channel == obj_id);
        let left: Vec<u32> = left.map(|(&id, _)| id).collect();
        for function in left {
            self.destroy_function(function);
        }
        self.destroy_channel(obj_id);
    }

    fn general(
        &mut self,
        opcode: Opcode,
        uid: u16,
        input: &[u8],
        output: &mut [u8],
        resources: &Resources,
    ) -> Result<(), Failure> {
        rule(self.speaks(), Failure::UNKNOWN_OPCODE)?;
        match opcode {
            QUERY_EMULATED_PORT => self.query_port(input, output),
            MODIFY_EMULATED_PORT => self.modify_port(uid, input, output),
            QUERY_EMULATED_REGION => self.query_region(uid, input, output, resources),
            MODIFY_EMULATED_REGION => self.modify_region(uid, input, resources),
            _ => Err(Failure::UNKNOWN_OPCODE),
        }
    }
}

impl Emulation {
    /// Whether the device speaks `twin-v1`. Real ones don't.
    fn speaks(&self) -> bool {
        self.limits.max_channels > 0
    }

    fn create_channel(&mut self, id: u32, uid: u16, context: &[u8], resources: &Resources) -> Result<(), Failure> {
        let field = |field: Field| field.get(context).map_err(short);
        let limits = self.limits;
        let version = field(tlp_channel::VERSION)?;
        rule(version == u64::from(VERSION), Failure::TWIN_VERSION)?;
        let log_slots = field(tlp_channel::LOG_RING_SLOTS)?;
        let log_stride = field(tlp_channel::LOG_SLOT_STRIDE)?;
        let shapes = u64::from(limits.log_min_slot_stride)..=u64::from(limits.log_max_slot_stride);
        let shape = log_slots <= u64::from(limits.log_max_ring_slots) && shapes.contains(&log_stride);
        rule(shape, Failure::TWIN_RING)?;
        let credits = field(tlp_channel::CREDITS)?;
        rule(credits <= u64::from(limits.max_credits), Failure::TWIN_CREDITS)?;
        let page = field(tlp_channel::GATEWAY_PAGE_ID)? as u32;
        let holder = self.pages.get(page as usize).ok_or(Failure::TWIN_PAGE)?;
        rule(holder.is_none(), Failure::TWIN_PAGE_TAKEN)?;
        let umem_id = field(tlp_channel::RING_UMEM_ID)? as u32;
        let umem = resources.umem(umem_id, uid)?;
        let umem_offset = field(tlp_channel::RING_UMEM_OFFSET)?;
        let length = 1_u64 << (log_slots + log_stride);
        let aligned = umem_offset.is_multiple_of(1 << log_stride);
        let inside = umem_offset.checked_add(length).is_some_and(|end| end <= umem.size());
        rule(aligned && inside && umem.is_writable(umem_offset, length), Failure::TWIN_RING_MEMORY)?;
        rule(self.channels.len() < limits.max_channels as usize, Failure::TWIN_CHANNELS)?;
        let modes = field(tlp_channel::FLAGS)? as u8;
        let order = flags::STRICT_FIFO | flags::FLAG_ORDER;
        rule(modes & !(order | flags::UNCHECKED) == 0 && modes & order != order, Failure::TWIN_FLAGS)?;
        let (primary, key) = (field(tlp_channel::PRIMARY_ID)? as u32, field(tlp_channel::EXPORT_KEY)?);
        let (group, primary) = self.join(primary, key)?;
        let spec = ChannelSpec {
            id,
            uid,
            page,
            umem_id,
            umem: umem.clone(),
            umem_offset,
            log_slots: log_slots as u8,
            log_stride: log_stride as u8,
            credits: credits as u16,
            flags: modes,
        };
        self.channels.insert(id, Channel::new(spec, group, primary));
        self.pages[page as usize] = Some(id);
        self.actions.push_back(Action::Grant(id));
        Ok(())
    }

    fn destroy_channel(&mut self, id: u32) {
        let Some(channel) = self.channels.remove(&id) else { return };
        if let Some(holder) = self.pages.get_mut(channel.spec.page as usize) {
            *holder = None;
        }
        if channel.primary {
            self.vacated(channel.group);
        }
    }

    fn query_channel(&self, id: u32, context: &mut [u8]) -> Result<(), Failure> {
        let channel = self.channels.get(&id).ok_or(Failure::OBJECT_UNKNOWN)?;
        let counters = &channel.counters;
        let claimed = self.ports.iter().flat_map(|port| &port.claimed);
        let open: usize = claimed.map(|claimed| claimed.requests.held_by(id)).sum();
        let spec = &channel.spec;
        let fields = [
            (tlp_channel::VERSION, u64::from(VERSION)),
            (tlp_channel::LOG_RING_SLOTS, u64::from(spec.log_slots)),
            (tlp_channel::LOG_SLOT_STRIDE, u64::from(spec.log_stride)),
            (tlp_channel::GATEWAY_PAGE_ID, u64::from(spec.page)),
            (tlp_channel::RING_UMEM_ID, u64::from(spec.umem_id)),
            (tlp_channel::RING_UMEM_OFFSET, spec.umem_offset),
            (tlp_channel::CREDITS, u64::from(spec.credits)),
            (tlp_channel::PRODUCER_INDEX, u64::from(channel.producer & 0xff_ffff)),
            (tlp_channel::CONSUMER_INDEX, u64::from(channel.consumer)),
            (tlp_channel::OPEN_REQUESTS, open as u64),
            (tlp_channel::MESSAGES, counters.messages),
            (tlp_channel::RESPONSES, counters.responses),
            (tlp_channel::WITHHELD, counters.withheld),
            (tlp_channel::LAST_FAULT, counters.last_fault.map_or(0, |fault| u64::from(fault as u8) + 1)),
        ];
        set_all(context, &fields).map_err(|_| Failure::OUTPUT_TOO_SHORT)?;
        handover::describe(channel, self.primary_of(channel.group), context)?;
        for (number, &count) in counters.faults.iter().enumerate() {
            let set = tlp_channel::FAULTS.set(context, number, u64::from(count));
            set.map_err(|_| Failure::OUTPUT_TOO_SHORT)?;
        }
        Ok(())
    }

    fn create_function(&mut self, id: u32, uid: u16, context: &[u8]) -> Result<(), Failure> {
        let field = |field: Field| field.get(context).map_err(short);
        let channel = field(emulated_function::CHANNEL_ID)? as u32;
        let owner = self.channels.get(&channel).ok_or(Failure::OBJECT_UNKNOWN)?;
        rule(owner.spec.uid == uid, Failure::OBJECT_FOREIGN)?;
        let number = field(emulated_function::PORT)? as usize;
        let port = self.ports.get(number).ok_or(Failure::TWIN_PORT)?;
        rule(port.slot.is_none_or(|slot| slot.created), Failure::TWIN_PORT_EMPTY)?;
        // A function that has been claimed is to be had by the other channels of the group, each once.
        let may_follow = |holder: &u32| {
            *holder != channel && self.channels.get(holder).is_some_and(|holder| holder.group == owner.group)
        };
        let mut holders = port.claimed.iter().flat_map(|claimed| &claimed.channels);
        rule(holders.all(may_follow), Failure::TWIN_PORT_TAKEN)?;
        let presence = if port.link_up { Presence::Ready } else { Presence::Absent };
        let bars = parse_bars(context)?;
        let Regions { regions, stateful, sources } = parse_regions(context, &bars, self.limits.max_region_bytes)?;
        let vectors = field(emulated_function::NUM_MSIX)? as u16;
        rule(vectors <= self.limits.max_msix, Failure::TWIN_MSIX)?;
        let msix = parse_msix(vectors, &regions)?;
        let msix_offset = field(emulated_function::MSIX_CAP_OFFSET)? as u16;
        let pcie_offset = field(emulated_function::PCIE_CAP_OFFSET)? as u16;
        let pm_offset = field(emulated_function::PM_CAP_OFFSET)? as u16;
        for offset in [msix_offset, pcie_offset, pm_offset] {
            let legal = offset == 0 || (offset.is_multiple_of(4) && (0x40..0x100).contains(&offset));
            rule(legal, Failure::TWIN_CAPABILITY)?;
        }
        let rom = Rom::parse(context)?;
        let described = Claimed {
            channels: vec![channel],
            again: VecDeque::new(),
            bars,
            regions,
            msix,
            msix_offset,
            pcie_offset,
            pm_offset,
            no_soft_reset: field(emulated_function::NO_SOFT_RESET)? != 0,
            presence,
            announcements: Announcements::default(),
            kept: Kept::new(stateful),
            notices: Notices::new(sources),
            rom,
            requests: Requests::new(self.limits.max_requests),
            shadow: Shadow::default(),
        };
        match &mut self.ports[number].claimed {
            Some(claimed) => {
                rule(claimed.is_described_by(&described), Failure::TWIN_LAYOUT)?;
                claimed.channels.push(channel);
                // It may be the primary one, that was missing here.
                self.actions.push_back(Action::Grant(channel));
            }
            unclaimed => *unclaimed = Some(described),
        }
        self.functions.insert(id, (number, channel));
        Ok(())
    }

    fn destroy_function(&mut self, id: u32) {
        let Some((number, channel)) = self.functions.remove(&id) else { return };
        let port = &mut self.ports[number];
        if let Some(claimed) = &mut port.claimed {
            claimed.channels.retain(|other| *other != channel);
            if !claimed.channels.is_empty() {
                return self.leave(number, channel);
            }
        }
        if let Some(channel) = self.channels.get_mut(&channel) {
            // The next function at the port isn't this one.
            drop(channel.take_unfreed(number));
        }
        if let Some(claimed) = port.claimed.take() {
            // Over a link that's down nothing is left open.
            for request in claimed.requests.iter() {
                self.actions.push_back(Action::Abort(port.port, request.header, port.id));
            }
        }
        self.actions.push_back(Action::Discard(number));
    }

    fn query_function(&self, id: u32, context: &mut [u8]) -> Result<(), Failure> {
        let (number, channel) = *self.functions.get(&id).ok_or(Failure::OBJECT_UNKNOWN)?;
        let port = &self.ports[number];
        let claimed = port.claimed.as_ref().ok_or(Failure::OBJECT_UNKNOWN)?;
        let vectors = claimed.msix.as_ref().map_or(0, MsixTable::vectors);
        let fields = [
            (emulated_function::CHANNEL_ID, u64::from(channel)),
            (emulated_function::PORT, number as u64),
            (emulated_function::NUM_MSIX, u64::from(vectors)),
            (emulated_function::MSIX_CAP_OFFSET, u64::from(claimed.msix_offset)),
            (emulated_function::PCIE_CAP_OFFSET, u64::from(claimed.pcie_offset)),
            (emulated_function::NUM_REGIONS, claimed.regions.len() as u64),
            (emulated_function::FUNCTION_ID, u64::from(port.id.0)),
            (emulated_function::ROM_LOG_SIZE, claimed.rom.map_or(0, |rom| u64::from(rom.log_size()))),
            (emulated_function::ROM_VALUE, claimed.rom.map_or(0, |rom| u64::from(rom.register()))),
            (emulated_function::PM_CAP_OFFSET, u64::from(claimed.pm_offset)),
            (emulated_function::NO_SOFT_RESET, u64::from(claimed.no_soft_reset)),
            (emulated_function::POWER_STATE, u64::from(claimed.shadow.power_state)),
            (emulated_function::HOTPLUG_STATE, self.hotplug_state(number) as u64),
        ];
        let set = set_all(context, &fields).and_then(|()| claimed.shadow.describe(context));
        let doorbells = claimed.kept.doorbells().enumerate();
        let values = doorbells.map(|(number, value)| (emulated_function::DOORBELL, number, u64::from(value)));
        set.and_then(|()| {
            for (array, number, value) in values {
                array.set(context, number, value)?;
            }
            Ok(())
        })
        .map_err(|_| Failure::OUTPUT_TOO_SHORT)
    }
}

pub(super) fn rule(holds: bool, failure: Failure) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(failure) }
}

/// A context that ends before one of its fields.
pub(super) fn short(_: FieldError) -> Failure {
    Failure::INPUT_TOO_SHORT
}

fn parse_bars(context: &[u8]) -> Result<[Option<EmulatedBar>; 6], Failure> {
    let entries = emulated_function::BARS.slice(context).map_err(short)?;
    let mut bars = [None; 6];
    let mut upper_half = false;
    for (number, entry) in entries.chunks_exact(emulated_bar::SIZE).enumerate() {
        let kind = emulated_bar::KIND.get(entry).map_err(short)? as u8;
        let log_size = emulated_bar::LOG_SIZE.get(entry).map_err(short)?;
        let taken = std::mem::take(&mut upper_half);
        if kind == bar::NONE {
            continue;
        }
        let limit = match kind {
            bar::MEMORY32 => 31,
            bar::MEMORY64 if number < 5 => 40,
            _ => return Err(Failure::TWIN_BAR),
        };
        rule(!taken && (7..=limit).contains(&log_size), Failure::TWIN_BAR)?;
        upper_half = kind == bar::MEMORY64;
        bars[number] = Some(EmulatedBar { is_64bit: upper_half, size: 1 << log_size });
    }
    Ok(bars)
}

/// Regions of a function.
struct Regions {
    regions: Vec<Region>,
    /// Bytes of the stateful ones together.
    stateful: usize,
    /// What software wants to be told of.
    sources: Vec<Source>,
}

fn parse_regions(context: &[u8], bars: &[Option<EmulatedBar>; 6], max_bytes: u32) -> Result<Regions, Failure> {
    let count = emulated_function::NUM_REGIONS.get(context).map_err(short)? as usize;
    rule(count <= MAX_REGIONS, Failure::TWIN_REGION)?;
    let entries = emulated_function::REGIONS.slice(context).map_err(short)?;
    let mut regions: Vec<Region> = Vec::with_capacity(count);
    let (mut doorbells, mut stateful) = (0, 0);
    let mut sources = Vec::new();
    for entry in entries.chunks_exact(emulated_region::SIZE).take(count) {
        let field = |field: Field| field.get(entry).map_err(short);
        let kind = field(emulated_region::KIND)? as u8;
        let (offset, length) = (field(emulated_region::OFFSET)?, field(emulated_region::LENGTH)?);
        let bar = field(emulated_region::BAR)?;
        let size = bars.get(bar as usize).copied().flatten().ok_or(Failure::TWIN_REGION)?.size;
        let notify = field(emulated_region::FLAGS)? as u8 & region::NOTIFY != 0;
        let legal = kind <= region::STATEFUL
            && length > 0
            && offset.is_multiple_of(4)
            && length.is_multiple_of(4)
            && offset.checked_add(length).is_some_and(|end| end <= size);
        rule(legal, Failure::TWIN_REGION)?;
        let apart = |other: &Region| {
            u64::from(other.bar) != bar || offset + length <= other.offset || other.offset + other.length <= offset
        };
        rule(regions.iter().all(apart), Failure::TWIN_REGION_OVERLAP)?;
        rule(!notify || matches!(kind, region::DOORBELL | region::STATEFUL), Failure::TWIN_NOTIFY)?;
        let mut first_byte = 0;
        if kind == region::DOORBELL {
            first_byte = doorbells;
            doorbells += usize::try_from(length).unwrap_or(usize::MAX).min(kept::STATEFUL + 1);
            rule(doorbells <= kept::STATEFUL, Failure::TWIN_DOORBELLS)?;
            let numbers = first_byte / 4..doorbells / 4;
            sources.extend(numbers.filter(|_| notify).map(|number| Source::Doorbell(number as u32)));
        } else if kind == region::STATEFUL {
            rule(length <= u64::from(max_bytes) - stateful, Failure::TWIN_REGION_BYTES)?;
            first_byte = kept::STATEFUL + stateful as usize;
            stateful += length;
            sources.extend(notify.then_some(Source::Region(regions.len() as u32)));
        }
        regions.push(Region { kind, bar: bar as u8, offset, length, first_byte });
    }
    Ok(Regions { regions, stateful: stateful as usize, sources })
}

/// The MSI-X table: its two regions are there, with the lengths it needs, exactly if there are vectors.
fn parse_msix(vectors: u16, regions: &[Region]) -> Result<Option<MsixTable>, Failure> {
    let mut tables = regions.iter().filter(|region| region.kind == region::MSIX_TABLE);
    let mut pbas = regions.iter().filter(|region| region.kind == region::MSIX_PBA);
    let (table, pba) = match (tables.next(), pbas.next(), vectors) {
        (None, None, 0) => return Ok(None),
        (Some(table), Some(pba), 1..) if tables.next().is_none() && pbas.next().is_none() => (table, pba),
        _ => return Err(Failure::TWIN_MSIX),
    };
    let lengths = table.length == u64::from(vectors) * 16 && pba.length == u64::from(vectors).div_ceil(64) * 8;
    rule(lengths, Failure::TWIN_MSIX)?;
    let offset = |region: &Region| u32::try_from(region.offset).map_err(|_| Failure::TWIN_MSIX);
    let place = MsixCapability {
        vectors,
        table_bar: table.bar,
        table_offset: offset(table)?,
        pba_bar: pba.bar,
        pba_offset: offset(pba)?,
    };
    MsixTable::new(&place).map(Some).map_err(|_| Failure::TWIN_MSIX)
}
