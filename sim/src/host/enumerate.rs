//! Bus enumeration, as a host's firmware does it: by configuration requests it finds what is there, numbers the buses, gives
//! addresses to BARs and windows to bridges, sets payload and read request sizes, and turns extended tags on. Where a device has the ARI
//! capability the port above it is told to forward by ARI. Virtual functions are enabled if they're asked for.

mod assign;
mod extended;

use std::future::Future;
use std::pin::Pin;

use self::extended::Virtuals;
use super::{AccessError, Host};
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
    /// Extended capabilities: ID and offset in bytes. Only of the first function on each link, and of all functions when virtual ones are asked
    /// for: of others nobody has looked.
    pub extended_capabilities: Vec<(u16, u16)>,
    /// The physical function, if it's a virtual one. Vendor, device and class are then what its physical function says.
    pub physical: Option<Bdf>,
}

impl Found {
    /// Offset of the capability `id`, if the function has it.
    pub fn capability(&self, id: u8) -> Option<u16> {
        self.capabilities.iter().find(|(found, _)| *found == id).map(|&(_, offset)| offset)
    }

    /// Offset of the extended capability `id`, if the function has it and was asked.
    pub fn extended_capability(&self, id: u16) -> Option<u16> {
        self.extended_capabilities.iter().find(|(found, _)| *found == id).map(|&(_, offset)| offset)
    }
}

/// Why enumeration failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnumerationError {
    /// More than 255 buses, or more than a hot-plug port was given: for what is below a bridge, or for a function's virtual ones.
    #[error("no bus number is left for what belongs to {0}")]
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
    /// Its link, if it's a bridge with one below.
    link: Option<Link>,
    /// Whether something may come below it while the system runs.
    hot_plug: bool,
    /// The virtual functions that it's going to have.
    virtuals: Option<Virtuals>,
}

/// The port above a bus that is a link: its ID, and the first dword of its PCI Express capability.
#[derive(Clone, Copy, Debug)]
struct Link {
    port: Bdf,
    register: u16,
}

struct Enumerator {
    host: Host,
    settings: Settings,
    last_bus: u8,
    /// The last bus number that may be given.
    bus_limit: u8,
    /// Virtual functions to be enabled for each physical one.
    virtual_functions: u16,
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
    enumerate_virtual(host, settings, 0).await
}

/// As [`enumerate`], and enables virtual functions: `virtual_functions` of each physical function that has the SR-IOV capability, or all that it has
/// if that's less. Each is found right behind its physical function; none is a bus master yet.
///
/// # Errors
/// As [`enumerate`].
pub async fn enumerate_virtual(
    host: &Host,
    settings: Settings,
    virtual_functions: u16,
) -> Result<Vec<Found>, EnumerationError> {
    let mut work = Enumerator {
        host: host.clone(),
        settings,
        last_bus: 0,
        bus_limit: u8::MAX,
        virtual_functions,
        payload: settings.max_payload,
        next32: settings.map.memory32.0,
        next64: settings.map.memory64.0,
    };
    let functions = work.scan(0, 0, None).await?;
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
        virtual_functions: 0,
        payload,
        next32: map.memory32.0,
        next64: map.memory64.0,
    };
    let link = port.capability(PCIE).map(|offset| Link { port: id, register: offset / 4 });
    let functions = work.scan(secondary, port.depth + 1, link).await?;
    work.configure(functions).await
}

fn flatten(functions: Vec<Function>, found: &mut Vec<Found>) {
    for function in functions {
        found.push(function.found);
        found.extend(function.virtuals.into_iter().flat_map(|virtuals| virtuals.found));
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
        self.enable_virtuals(&mut functions).await?;
        let mut found = Vec::new();
        flatten(functions, &mut found);
        for function in found.iter().filter(|function| function.physical.is_none()) {
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
    fn scan(&mut self, bus: u8, depth: u8, link: Option<Link>) -> Boxed<'_, Vec<Function>> {
        Box::pin(async move {
            let mut functions = Vec::new();
            for device in 0..if link.is_some() { 1 } else { 32 } {
                self.scan_device(Bdf::new(bus, device, 0), depth, link, &mut functions).await?;
            }
            for function in functions.iter_mut().filter(|function| function.found.bridge) {
                self.descend(function).await?;
            }
            Ok(functions)
        })
    }

    /// Finds the functions of the device whose first one would be `first`.
    async fn scan_device(
        &mut self,
        first: Bdf,
        depth: u8,
        link: Option<Link>,
        functions: &mut Vec<Function>,
    ) -> Result<(), EnumerationError> {
        let Some((mut function, several)) = self.probe(first, depth).await? else { return Ok(()) };
        if link.is_some() || self.virtual_functions > 0 {
            function.found.extended_capabilities = self.extended_capabilities(&function.found).await?;
        }
        let ari = self.forward_by_ari(&function.found, link).await?;
        let mut numbers = if several && !ari { 1..8 } else { 1..1 };
        let begin = functions.len();
        let mut next = if ari { self.next_function(&function.found).await? } else { 0 };
        functions.push(function);
        while let Some(number) = if ari { Some(next).filter(|next| *next != 0) } else { numbers.next() } {
            let id = Bdf(first.0 & 0xff00 | first.0 & if ari { 0 } else { 0xf8 } | u16::from(number));
            let Some((mut function, _)) = self.probe(id, depth).await? else {
                if ari {
                    break;
                }
                continue;
            };
            if ari || self.virtual_functions > 0 {
                function.found.extended_capabilities = self.extended_capabilities(&function.found).await?;
            }
            if ari {
                // A chain that runs in a circle ends: numbers rise.
                next = Some(self.next_function(&function.found).await?).filter(|next| *next > number).unwrap_or(0);
            }
            functions.push(function);
        }
        for function in functions.iter_mut().skip(begin) {
            self.prepare_virtuals(function, ari).await?;
        }
        Ok(())
    }

    /// Looks whether there's a function: gives it, and whether its header says that the device has several.
    async fn probe(&mut self, id: Bdf, depth: u8) -> Result<Option<(Function, bool)>, EnumerationError> {
        // Whoever doesn't answer isn't there.
        let Ok(identity) = self.host.config_read(id, 0).await else { return Ok(None) };
        if identity & 0xffff == 0xffff {
            return Ok(None);
        }
        let header_type = self.read(id, HEADER_TYPE).await? >> 16;
        let function = self.look_at(id, identity, header_type & 0x7f == 1, depth).await?;
        Ok(Some((function, header_type & 0x80 != 0)))
    }

    /// Gives a bridge its bus numbers, and finds what is below it.
    async fn descend(&mut self, function: &mut Function) -> Result<(), EnumerationError> {
        let Found { id, depth, .. } = function.found;
        let secondary = self.last_bus.checked_add(1).filter(|bus| *bus <= self.bus_limit);
        let secondary = secondary.ok_or(EnumerationError::NoBus(id))?;
        self.last_bus = secondary;
        // Whatever is found below gets a number from here on: until then, all of them lead there.
        self.write(id, BUSES, u32::from(self.bus_limit) << 16 | u32::from(secondary) << 8 | u32::from(id.bus()))
            .await?;
        function.below = self.scan(secondary, depth + 1, function.link).await?;
        let buses = u32::from(self.last_bus) << 16 | u32::from(secondary) << 8 | u32::from(id.bus());
        self.write(id, BUSES, buses).await
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
            extended_capabilities: Vec::new(),
            physical: None,
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
        let sizes = self.size_bars(id, FIRST_BAR, if bridge { 2 } else { 6 }).await?;
        let rom = self.size_rom(id, bridge).await?;
        let link =
            if link { found.capability(PCIE).map(|offset| Link { port: id, register: offset / 4 }) } else { None };
        Ok(Function { found, sizes, rom, below: Vec::new(), link, hot_plug, virtuals: None })
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

    /// Writes ones to each of `count` BARs from dword `first` on, and reads back which bits stay.
    async fn size_bars(&self, id: Bdf, first: u16, count: u8) -> Result<Vec<(u8, u64, bool, bool)>, EnumerationError> {
        let mut sizes = Vec::new();
        let mut index = 0;
        while index < count {
            let register = first + u16::from(index);
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
            if io {
                // I/O space isn't handed out: the register goes back to what it is after a reset.
                self.write(id, register, 0).await?;
            }
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
