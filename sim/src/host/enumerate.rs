//! Bus enumeration, as a host's firmware does it: by configuration requests it finds what is there, numbers the buses, gives
//! addresses to BARs and windows to bridges, sets payload and read request sizes, and turns extended tags on.

use std::future::Future;
use std::pin::Pin;

use super::{AccessError, Host};
use crate::config::header::bar::ROM_INDEX;
use crate::tlp::Bdf;

/// Where a root complex has room for BARs. Both ranges are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressMap {
    /// For 32-bit BARs and for those that aren't prefetchable.
    pub memory32: (u64, u64),
    /// For prefetchable 64-bit BARs.
    pub memory64: (u64, u64),
    /// Bytes that are kept for what may come below each hot-plug port, in each of the two ranges.
    pub hot_plug: (u64, u64),
}

impl Default for AddressMap {
    /// 768 MiB below 4 GiB, and 1 TiB from 256 GiB on. 8 MiB and 1 GiB for each hot-plug port.
    fn default() -> AddressMap {
        AddressMap {
            memory32: (0xc000_0000, 0xefff_ffff),
            memory64: (0x40_0000_0000, 0x13f_ffff_ffff),
            hot_plug: (8 << 20, 1 << 30),
        }
    }
}

/// What enumeration sets in every function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where BARs may lie.
    pub map: AddressMap,
    /// The largest `Max_Payload_Size` in bytes; the smallest that any function supports is taken if that's less.
    pub max_payload: u32,
    /// `Max_Read_Request_Size` in bytes.
    pub max_read_request: u32,
}

/// A BAR that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Number of its first register, 0 to 5; 6 for the expansion ROM.
    pub index: u8,
    /// Its address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it has a 64-bit address.
    pub is_64bit: bool,
    /// Whether it's prefetchable.
    pub prefetchable: bool,
}

/// A function that enumeration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Bus, device and function number.
    pub id: Bdf,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code: base class, subclass, programming interface.
    pub class: u32,
    /// Whether it's a bridge (a port of a switch or root complex).
    pub bridge: bool,
    /// How many bridges stand between it and bus 0.
    pub depth: u8,
    /// Whether it's a port with a slot that something may come to, or go from, while the system runs.
    pub hot_plug: bool,
    /// Memory BARs, with their addresses.
    pub bars: Vec<Bar>,
    /// The expansion ROM, with its address. It isn't enabled: who wants to read it sets bit 0 of its register, and clears it afterwards.
    pub expansion_rom: Option<Bar>,
    /// Capabilities of the PCI list: ID and offset in bytes.
    pub capabilities: Vec<(u8, u16)>,
}

impl Found {
    /// Offset of the capability `id`, if the function has it.
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities.iter().find(|(found, _)| *found == id).map(|&(_, offset)| offset)
    }
}

/// Why enumeration failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnumerationError {
    /// More than 255 buses, or more than a hot-plug port was given.
    #[error("no bus number is left for the bridge {0}")]
    NoBus(Bdf),
    /// BARs need more room than the map has.
    #[error("no room for a BAR of {size:#x} bytes of {id}")]
    NoRoom {
        /// The function.
        id: Bdf,
        /// The BAR's size.
        size: u64,
    },
    /// A function that answered before no longer does.
    #[error("{id}: {error}")]
    Access {
        /// The function.
        id: Bdf,
        /// What the bus answered.
        error: AccessError,
    },
}

// Dwords of the configuration header (PCI local bus specification, 'Configuration Space Organization').
const COMMAND: u16 = 1;
const CLASS: u16 = 2;
const HEADER_TYPE: u16 = 3;
const FIRST_BAR: u16 = 4;
/// The Expansion ROM register of an endpoint's header, and of a bridge's.
const ROM: u16 = 12;
const BRIDGE_ROM: u16 = 14;
const BUSES: u16 = 6;
const MEMORY_WINDOW: u16 = 8;
const PREFETCHABLE_WINDOW: u16 = 9;
const PREFETCHABLE_BASE_UPPER: u16 = 10;
const PREFETCHABLE_LIMIT_UPPER: u16 = 11;
const CAPABILITIES: u16 = 13;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// The PCI Express capability.
const PCIE: u8 = 0x10;
/// The address bits of an Expansion ROM register; bit 0 enables it.
const ROM_ADDRESS: u32 = 0xffff_f800;
/// Bridges' windows are aligned to this.
const WINDOW: u64 = 1 << 20;
/// PCI Express Capabilities: Slot Implemented. Slot Capabilities, in dwords from the capability on, and its Hot-Plug Capable.
const SLOT: u32 = 1 << 24;
const SLOT_CAPABILITIES: u16 = 5;
const HOT_PLUG: u32 = 1 << 6;

/// A function with what lies below it.
struct Function {
    found: Found,
    /// Registers of its BARs: number, size, 64-bit, prefetchable.
    sizes: Vec<(u8, u64, bool, bool)>,
    /// Size of its expansion ROM, if it has one.
    rom: Option<u64>,
    below: Vec<Function>,
    /// Whether something may come below it while the system runs.
    hot_plug: bool,
}

struct Enumerator {
    host: Host,
    settings: Settings,
    last_bus: u8,
    /// The last bus number that may be given.
    bus_limit: u8,
    payload: u32,
    next32: u64,
    next64: u64,
}

/// Finds and configures everything below the root complex of `host`: gives the functions in the order of a depth-first walk.
/// Memory decode is on for all of them, bus mastering only for bridges; an endpoint's driver turns its own on.
///
/// # Errors
/// No bus number or address range is left, or a function stopped answering.
pub async fn enumerate(host: &Host, settings: Settings) -> Result<Vec<Found>, EnumerationError> {
    let mut work = Enumerator {
        host: host.clone(),
        settings,
        last_bus: 0,
        bus_limit: u8::MAX,
        payload: settings.max_payload,
        next32: settings.map.memory32.0,
        next64: settings.map.memory64.0,
    };
    let functions = work.scan(0, 0, false).await?;
    work.configure(functions).await
}

/// Finds and configures what has come below a hot-plug port, `port`, within the buses and windows that enumeration kept for it.
/// `settings` are those of that enumeration; `Max_Payload_Size` is the port's.
///
/// # Errors
/// As [`enumerate`]; and as the port itself.
pub async fn enumerate_below(host: &Host, port: &Found, settings: Settings) -> Result<Vec<Found>, EnumerationError> {
    let id = port.id;
    let read =
        async |register| host.config_read(id, register).await.map_err(|error| EnumerationError::Access { id, error });
    let buses = read(BUSES).await?;
    let (secondary, subordinate) = ((buses >> 8) as u8, (buses >> 16) as u8);
    let memory = u64::from(read(MEMORY_WINDOW).await?);
    let low = u64::from(read(PREFETCHABLE_WINDOW).await?);
    let base_upper = u64::from(read(PREFETCHABLE_BASE_UPPER).await?);
    let limit_upper = u64::from(read(PREFETCHABLE_LIMIT_UPPER).await?);
    let map = AddressMap {
        memory32: ((memory & 0xfff0) << 16, memory & 0xfff0_0000 | 0xf_ffff),
        memory64: (base_upper << 32 | (low & 0xfff0) << 16, limit_upper << 32 | low & 0xfff0_0000 | 0xf_ffff),
        ..settings.map
    };
    let payload = match port.capability(PCIE) {
        Some(offset) => 128 << (read(offset / 4 + 2).await? >> 5 & 7),
        None => settings.max_payload,
    };
    let mut work = Enumerator {
        host: host.clone(),
        settings: Settings { map, ..settings },
        last_bus: secondary,
        bus_limit: subordinate,
        payload,
        next32: map.memory32.0,
        next64: map.memory64.0,
    };
    let functions = work.scan(secondary, port.depth + 1, true).await?;
    work.configure(functions).await
}

fn flatten(functions: Vec<Function>, found: &mut Vec<Found>) {
    for function in functions {
        found.push(function.found);
        flatten(function.below, found);
    }
}

fn rom_register(bridge: bool) -> u16 {
    if bridge { BRIDGE_ROM } else { ROM }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, EnumerationError>> + Send + 'a>>;

impl Enumerator {
    /// Configures what was found, and gives it in the order of a depth-first walk.
    async fn configure(&mut self, mut functions: Vec<Function>) -> Result<Vec<Found>, EnumerationError> {
        self.assign(&mut functions).await?;
        let mut found = Vec::new();
        flatten(functions, &mut found);
        for function in &found {
            self.set_sizes(function).await?;
        }
        Ok(found)
    }

    async fn read(&self, id: Bdf, register: u16) -> Result<u32, EnumerationError> {
        self.host.config_read(id, register).await.map_err(|error| EnumerationError::Access { id, error })
    }

    async fn write(&self, id: Bdf, register: u16, value: u32) -> Result<(), EnumerationError> {
        self.host.config_write(id, register, value).await.map_err(|error| EnumerationError::Access { id, error })
    }

    /// Finds what is on `bus`, and below it. On a bus that is a link there's only device 0.
    fn scan(&mut self, bus: u8, depth: u8, link: bool) -> Boxed<'_, Vec<Function>> {
        Box::pin(async move {
            let mut functions = Vec::new();
            for device in 0..if link { 1 } else { 32 } {
                let mut several = false;
                for number in 0..8 {
                    if number > 0 && !several {
                        break;
                    }
                    let id = Bdf::new(bus, device, number);
                    // Whoever doesn't answer isn't there.
                    let Ok(identity) = self.host.config_read(id, 0).await else { continue };
                    if identity & 0xffff == 0xffff {
                        continue;
                    }
                    let header_type = self.read(id, HEADER_TYPE).await? >> 16;
                    several |= number == 0 && header_type & 0x80 != 0;
                    functions.push(self.look_at(id, identity, header_type & 0x7f == 1, depth).await?);
                }
            }
            Ok(functions)
        })
    }

    async fn look_at(&mut self, id: Bdf, identity: u32, bridge: bool, depth: u8) -> Result<Function, EnumerationError> {
        let class = self.read(id, CLASS).await? >> 8;
        let capabilities = self.capabilities(id).await?;
        let mut found = Found {
            id,
            vendor: identity as u16,
            device: (identity >> 16) as u16,
            class,
            bridge,
            depth,
            hot_plug: false,
            bars: Vec::new(),
            expansion_rom: None,
            capabilities,
        };
        let (mut link, mut hot_plug) = (false, false);
        if let Some(offset) = found.capability(PCIE) {
            let register = offset / 4;
            let capabilities = self.read(id, register).await?;
            let port_type = capabilities >> 20 & 0xf;
            // Root ports and a switch's downstream ports have a link below them.
            link = port_type == 4 || port_type == 6;
            let supported = 128 << (self.read(id, register + 1).await? & 7);
            self.payload = self.payload.min(supported);
            hot_plug =
                link && capabilities & SLOT != 0 && self.read(id, register + SLOT_CAPABILITIES).await? & HOT_PLUG != 0;
        }
        found.hot_plug = hot_plug;
        let sizes = self.size_bars(id, if bridge { 2 } else { 6 }).await?;
        let rom = self.size_rom(id, bridge).await?;
        let mut below = Vec::new();
        if bridge {
            let secondary = self.last_bus.checked_add(1).filter(|bus| *bus <= self.bus_limit);
            let secondary = secondary.ok_or(EnumerationError::NoBus(id))?;
            self.last_bus = secondary;
            // Whatever is found below gets a number from here on: until then, all of them lead there.
            self.write(id, BUSES, u32::from(self.bus_limit) << 16 | u32::from(secondary) << 8 | u32::from(id.bus()))
                .await?;
            below = self.scan(secondary, depth + 1, link).await?;
            let buses = u32::from(self.last_bus) << 16 | u32::from(secondary) << 8 | u32::from(id.bus());
            self.write(id, BUSES, buses).await?;
        }
        Ok(Function { found, sizes, rom, below, hot_plug })
    }

    async fn capabilities(&self, id: Bdf) -> Result<Vec<(u8, u16)>, EnumerationError> {
        let mut capabilities = Vec::new();
        if self.read(id, COMMAND).await? >> 16 & 1 << 4 == 0 {
            return Ok(capabilities);
        }
        let mut offset = self.read(id, CAPABILITIES).await? & 0xfc;
        // A list that runs in a circle ends after as many entries as there's room for.
        while offset >= 0x40 && capabilities.len() < 48 {
            let entry = self.read(id, offset as u16 / 4).await?;
            capabilities.push((entry as u8, offset as u16));
            offset = entry >> 8 & 0xfc;
        }
        Ok(capabilities)
    }

    /// Writes ones to each BAR, and reads back which bits stay.
    async fn size_bars(&self, id: Bdf, count: u8) -> Result<Vec<(u8, u64, bool, bool)>, EnumerationError> {
        let mut sizes = Vec::new();
        let mut index = 0;
        while index < count {
            let register = FIRST_BAR + u16::from(index);
            self.write(id, register, u32::MAX).await?;
            let low = self.read(id, register).await?;
            let (io, is_64bit, prefetchable) = (low & 1 != 0, low & 6 == 4, low & 8 != 0);
            let mut mask = u64::from(low & !0xf);
            if is_64bit && !io && index + 1 < count {
                self.write(id, register + 1, u32::MAX).await?;
                mask |= u64::from(self.read(id, register + 1).await?) << 32;
            } else {
                mask |= 0xffff_ffff_0000_0000;
            }
            // I/O space isn't handed out.
            // What isn't a power of two in size is no BAR.
            let size = (!mask).wrapping_add(1);
            if low != 0 && !io && size.is_power_of_two() {
                sizes.push((index, size, is_64bit, prefetchable));
            }
            index += if is_64bit && !io { 2 } else { 1 };
        }
        Ok(sizes)
    }

    /// Writes ones to the address bits of the Expansion ROM register, and reads back which stay.
    async fn size_rom(&self, id: Bdf, bridge: bool) -> Result<Option<u64>, EnumerationError> {
        let register = rom_register(bridge);
        self.write(id, register, ROM_ADDRESS).await?;
        let size = (!(self.read(id, register).await? & ROM_ADDRESS)).wrapping_add(1);
        Ok(size.is_power_of_two().then_some(u64::from(size)))
    }

    /// Gives addresses to the BARs of `functions` and what lies below them.
    fn assign<'a>(&'a mut self, functions: &'a mut [Function]) -> Boxed<'a, ()> {
        Box::pin(async move {
            for function in functions {
                let id = function.found.id;
                for &(index, size, is_64bit, prefetchable) in &function.sizes {
                    let address = self.take(id, size, is_64bit && prefetchable)?;
                    let register = FIRST_BAR + u16::from(index);
                    self.write(id, register, address as u32).await?;
                    if is_64bit {
                        self.write(id, register + 1, (address >> 32) as u32).await?;
                    }
                    function.found.bars.push(Bar { index, address, size, is_64bit, prefetchable });
                }
                if let Some(size) = function.rom {
                    let address = self.take(id, size, false)?;
                    self.write(id, rom_register(function.found.bridge), address as u32).await?;
                    let rom = Bar { index: ROM_INDEX, address, size, is_64bit: false, prefetchable: false };
                    function.found.expansion_rom = Some(rom);
                }
                let mut command = MEMORY_SPACE;
                if function.found.bridge {
                    command |= BUS_MASTER;
                    let grain = if function.hot_plug { self.settings.map.hot_plug } else { (0, 0) };
                    let begin = (self.align(false, grain.0), self.align(true, grain.1));
                    self.assign(&mut function.below).await?;
                    if function.hot_plug {
                        self.keep(id, begin)?;
                    }
                    let end = (self.align(false, 0), self.align(true, 0));
                    self.open_windows(id, (begin.0, end.0), (begin.1, end.1)).await?;
                }
                self.write(id, COMMAND, command).await?;
            }
            Ok(())
        })
    }

    /// Keeps room for what may come below a hot-plug port whose windows begin at `begin`.
    fn keep(&mut self, id: Bdf, begin: (u64, u64)) -> Result<(), EnumerationError> {
        let (memory, prefetchable) = self.settings.map.hot_plug;
        for (size, begin, prefetchable) in [(memory, begin.0, false), (prefetchable, begin.1, true)] {
            let used = if prefetchable { self.next64 } else { self.next32 } - begin;
            let left = size.saturating_sub(used);
            let (next, limit) = if prefetchable {
                (&mut self.next64, self.settings.map.memory64.1)
            } else {
                (&mut self.next32, self.settings.map.memory32.1)
            };
            let end = next.checked_add(left).filter(|end| left == 0 || end - 1 <= limit);
            *next = end.ok_or(EnumerationError::NoRoom { id, size: left })?;
        }
        Ok(())
    }

    /// Goes on to the next place for a window, and at least to a multiple of `grain`.
    fn align(&mut self, prefetchable: bool, grain: u64) -> u64 {
        let next = if prefetchable { &mut self.next64 } else { &mut self.next32 };
        *next = next.checked_next_multiple_of(grain.next_multiple_of(WINDOW).max(WINDOW)).unwrap_or(u64::MAX);
        *next
    }

    fn take(&mut self, id: Bdf, size: u64, prefetchable: bool) -> Result<u64, EnumerationError> {
        let map = self.settings.map;
        let (next, (_, limit)) =
            if prefetchable { (&mut self.next64, map.memory64) } else { (&mut self.next32, map.memory32) };
        let no_room = EnumerationError::NoRoom { id, size };
        let address = next.checked_next_multiple_of(size.max(16)).ok_or(no_room)?;
        let end = address.checked_add(size).ok_or(no_room)?;
        if end - 1 > limit {
            return Err(no_room);
        }
        *next = end;
        Ok(address)
    }

    /// Sets a bridge's two windows; an empty one is closed by a base above its limit.
    async fn open_windows(
        &self,
        id: Bdf,
        memory: (u64, u64),
        prefetchable: (u64, u64),
    ) -> Result<(), EnumerationError> {
        let window = |(begin, end): (u64, u64)| if begin == end { (0xfff0_0000, 0) } else { (begin, end - 1) };
        let low = |(base, limit): (u64, u64)| (limit as u32 & 0xfff0_0000) | (base >> 16) as u32 & 0xfff0;
        self.write(id, MEMORY_WINDOW, low(window(memory))).await?;
        let (base, limit) = window(prefetchable);
        self.write(id, PREFETCHABLE_WINDOW, low((base, limit))).await?;
        self.write(id, PREFETCHABLE_BASE_UPPER, (base >> 32) as u32).await?;
        self.write(id, PREFETCHABLE_LIMIT_UPPER, (limit >> 32) as u32).await
    }

    /// Sets `Max_Payload_Size`, `Max_Read_Request_Size` and Extended Tag Enable in Device Control.
    async fn set_sizes(&self, function: &Found) -> Result<(), EnumerationError> {
        let Some(offset) = function.capability(PCIE) else { return Ok(()) };
        let code = |bytes: u32| (bytes / 128).trailing_zeros();
        let register = offset / 4 + 2;
        let control = self.read(function.id, register).await? & 0xffff;
        let control = control & !(7 << 5 | 7 << 12);
        // Extended tags, where they're supported.
        let extended = (self.read(function.id, offset / 4 + 1).await? >> 5 & 1) << 8;
        let read_request = if function.bridge { 0 } else { code(self.settings.max_read_request) << 12 };
        let value = control | extended | code(self.payload) << 5 | read_request;
        let written = self.host.config_write_bytes(function.id, register, 0x3, value).await;
        written.map_err(|error| EnumerationError::Access { id: function.id, error })
    }
}
