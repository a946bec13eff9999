//! A device with several functions at one end of a link: physical ones, and the virtual ones that SR-IOV lets software enable.
//!
//! Each is a [`Function`] with registers of its own. The device captures its bus number from configuration writes of type 0, for all of them. A
//! physical function's number is fixed; a virtual one has its physical function's ID plus First VF Offset and some strides, which may lead to
//! further buses. There it's reached by configuration requests of type 1, which the port above hands down as they are.

use super::answer_dword;
use super::arena::TlpId;
use super::core::Core;
use super::error::Detected;
use super::function::{Function, answer_read, extent};
use super::ids::PortId;
use crate::config::{BarKind, Changed, ConfigError, ConfigSpace, Reset, SriovCapability};
use crate::tlp::{Bdf, Header, Kind, Route, Status};

/// Names a function of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FunctionKey {
    /// A physical function, by its place in the list that the device was made of.
    Physical(u8),
    /// A virtual function.
    Virtual {
        /// Its physical function.
        physical: u8,
        /// Which of that function's virtual ones, from 0. (The specification counts from 1.)
        number: u16,
    },
}

impl FunctionKey {
    /// The physical function: itself, or the one that a virtual function belongs to.
    pub const fn physical(self) -> u8 {
        match self {
            FunctionKey::Physical(physical) | FunctionKey::Virtual { physical, .. } => physical,
        }
    }
}

/// What a physical function is made of.
#[derive(Clone, Debug)]
pub struct PhysicalSpec {
    /// Its function number: 0 to 7, or up to 255 in a device whose functions have the ARI capability.
    pub number: u8,
    /// Its registers. Those of a device of several functions say so in the header ([`Type0::multi_function`](crate::config::Type0)), and with
    /// `virtual_functions` have that SR-IOV capability.
    pub config: ConfigSpace,
    /// Its virtual functions, if it can have any.
    pub virtual_functions: Option<VirtualSpec>,
}

/// What a physical function's virtual functions are made of.
#[derive(Clone, Debug)]
pub struct VirtualSpec {
    /// The SR-IOV capability, as it was added to the physical function's registers.
    pub capability: SriovCapability,
    /// The registers of each virtual function: what [`ConfigSpace::virtual_function`] gives, and perhaps more capabilities.
    pub config: ConfigSpace,
}

/// Why a device can't be made of these functions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultiError {
    /// A device has a function 0, at most 256 physical functions, and their numbers rise.
    #[error("a device's function numbers begin with 0 and rise: {0} at place {1}")]
    Number(u8, usize),
    /// More than eight functions, or a number above 7, are for devices with ARI.
    #[error("function number {0} needs the ARI capability in function 0")]
    NeedsAri(u8),
    /// Virtual functions were described, but the registers lack the capability.
    #[error("physical function {0} has virtual functions, but no SR-IOV capability")]
    NoSriov(u8),
    /// Registers can't be built.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What a TLP means to the function it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiInbound {
    /// A request to a BAR. The owner answers and consumes the TLP.
    Memory {
        /// The function.
        function: FunctionKey,
        /// The BAR's number, 0 to 5; the VF BAR's for a virtual function.
        bar: usize,
        /// Offset of the request's address in it.
        offset: u64,
    },
    /// A completion of a request of a function. The owner consumes the TLP.
    Completion(FunctionKey),
    /// A configuration write was carried out and answered: this is what changed. With [`Changed::SRIOV`] virtual functions may have come or gone.
    Configured(FunctionKey, Changed),
    /// It was answered and consumed; there's nothing left to do.
    Done,
}

#[derive(Debug)]
struct Physical {
    number: u8,
    function: Function,
    spec: Option<VirtualSpec>,
    /// The virtual functions that are enabled.
    virtuals: Vec<Function>,
}

/// Addresses that one BAR of a function decodes, or one VF BAR of all virtual functions of one.
#[derive(Clone, Copy, Debug)]
struct Decoder {
    base: u64,
    /// The last address.
    last: u64,
    /// What each function has of it.
    size: u64,
    io: bool,
    bar: u8,
    physical: u8,
    /// Whether it's a VF BAR.
    is_virtual: bool,
}

/// A device with several functions. It lives on a link of its own.
#[derive(Debug)]
pub struct MultiFunction {
    port: PortId,
    /// The bus of the link, and the device number that the functions are reached by: always 0 with ARI.
    captured: Bdf,
    ari: bool,
    physical: Vec<Physical>,
    /// In order of their base.
    decoders: Vec<Decoder>,
}

impl MultiFunction {
    /// A device at the end `port` of a link, with these physical functions in the order of their numbers.
    ///
    /// # Errors
    /// [`MultiError`].
    pub fn new(port: PortId, functions: Vec<PhysicalSpec>) -> Result<MultiFunction, MultiError> {
        let ari = functions.first().is_some_and(|first| first.config.ari_next_function().is_some());
        let mut before = None;
        for (place, function) in functions.iter().enumerate() {
            let number = function.number;
            if before.map_or(number != 0, |before| number <= before) {
                return Err(MultiError::Number(number, place));
            }
            if number > 7 && !ari {
                return Err(MultiError::NeedsAri(number));
            }
            if function.virtual_functions.is_some()
                && function.config.find(crate::config::CapabilityId::SRIOV).is_none()
            {
                return Err(MultiError::NoSriov(number));
            }
            before = Some(number);
        }
        if functions.is_empty() {
            return Err(MultiError::Number(0, 0));
        }
        let physical = functions.into_iter().map(|spec| Physical {
            number: spec.number,
            function: Function::new(port, spec.config),
            spec: spec.virtual_functions,
            virtuals: Vec::new(),
        });
        let mut device =
            MultiFunction { port, captured: Bdf(0), ari, physical: physical.collect(), decoders: Vec::new() };
        device.review();
        Ok(device)
    }

    /// Its end of the link.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The functions that there are now: each physical one, then its virtual ones.
    pub fn functions(&self) -> impl Iterator<Item = FunctionKey> + '_ {
        (0..=u8::MAX).zip(&self.physical).flat_map(|(physical, function)| {
            let virtuals = (0..=u16::MAX)
                .zip(&function.virtuals)
                .map(move |(number, _)| FunctionKey::Virtual { physical, number });
            std::iter::once(FunctionKey::Physical(physical)).chain(virtuals)
        })
    }

    /// How many virtual functions physical function `physical` has now.
    pub fn virtual_functions(&self, physical: u8) -> u16 {
        self.physical.get(usize::from(physical)).map_or(0, |physical| physical.virtuals.len() as u16)
    }

    /// A function: its ID, its registers, and what a [`Dma`](super::Dma) needs to make requests for it. `None` if it isn't there (any more).
    pub fn function(&self, key: FunctionKey) -> Option<&Function> {
        let physical = self.physical.get(usize::from(key.physical()))?;
        match key {
            FunctionKey::Physical(_) => Some(&physical.function),
            FunctionKey::Virtual { number, .. } => physical.virtuals.get(usize::from(number)),
        }
    }

    /// A function, for changes of its registers from the device's side. BARs, the Command register and SR-IOV aren't changed there.
    pub fn function_mut(&mut self, key: FunctionKey) -> Option<&mut Function> {
        let physical = self.physical.get_mut(usize::from(key.physical()))?;
        match key {
            FunctionKey::Physical(_) => Some(&mut physical.function),
            FunctionKey::Virtual { number, .. } => physical.virtuals.get_mut(usize::from(number)),
        }
    }

    /// Resets all functions, as a reset of the link does. Virtual functions are gone, and so is the bus number.
    pub fn reset(&mut self, kind: Reset) {
        self.captured = Bdf(0);
        for physical in &mut self.physical {
            physical.function.reset(kind);
        }
        self.review();
    }

    /// Resets one function alone (section 6.6.2). A physical function's virtual functions are gone with its VF Enable (section 9.2.2.2); what a virtual
    /// function loses is its own.
    pub fn reset_function(&mut self, key: FunctionKey) {
        if let Some(function) = self.function_mut(key) {
            function.reset(Reset::FunctionLevel);
        }
        self.review();
    }

    /// Looks at a TLP that has arrived at the device's port.
    pub fn receive(&mut self, core: &mut Core, tlp: TlpId) -> MultiInbound {
        let header = *core.header(tlp);
        if core.is_special(tlp) {
            let by = match header.route() {
                Route::Address => self.decode(&header).map(|(function, ..)| function),
                Route::Id if header.kind().is_completion() => self.by_id(header.requester()),
                _ => None,
            };
            let function = self.function(by.unwrap_or(FunctionKey::Physical(0)));
            if function.is_some_and(|function| !function.inspect(core, self.max_payload(function), tlp)) {
                return MultiInbound::Done;
            }
        }
        match header.route() {
            Route::Address => match self.decode(&header) {
                Some((function, bar, offset)) => MultiInbound::Memory { function, bar: usize::from(bar), offset },
                None => self.refuse(core, tlp),
            },
            Route::Id if header.kind().is_completion() => match self.by_id(header.requester()) {
                Some(function) => MultiInbound::Completion(function),
                None => {
                    core.refuse_completion(self.port, tlp);
                    MultiInbound::Done
                }
            },
            Route::Id if header.kind().is_config() => self.configure(core, tlp, &header),
            Route::Id => self.refuse(core, tlp),
            // Messages to all, or to this end of the link, ask nothing of a function here.
            _ => {
                core.consume(tlp);
                MultiInbound::Done
            }
        }
    }

    /// Lets the function that found an error record and report it ([`Function::report`]). If nobody knows whose it is, that's all physical ones, as
    /// for an error that isn't specific to a function (section 6.2.4).
    pub fn report(&mut self, core: &mut Core, error: &Detected) {
        let one = error.function.and_then(|id| self.by_id(id)).and_then(|key| self.function_mut(key));
        if let Some(function) = one {
            return function.report(core, error);
        }
        for physical in &mut self.physical {
            physical.function.report(core, error);
        }
    }

    /// Answers a read of a BAR of `function` with `data`: the dwords that the request names, in wire order.
    pub fn answer(&self, core: &mut Core, function: FunctionKey, request: &Header, data: &[u8]) {
        let Some(function) = self.function(function) else { return };
        answer_read(core, self.port, request, function.id(), self.max_payload(function), data);
    }

    /// Largest payload of what a function sends and receives: with ARI, function 0 decides for all (section 7.5.3.4).
    fn max_payload(&self, function: &Function) -> u32 {
        match self.physical.first() {
            Some(first) if self.ari => first.function.config().max_payload(),
            _ => function.config().max_payload(),
        }
    }

    fn refuse(&self, core: &mut Core, tlp: TlpId) -> MultiInbound {
        core.refuse(self.port, tlp, self.captured, Status::UnsupportedRequest);
        MultiInbound::Done
    }

    /// The function, BAR and offset that a memory or I/O request is for.
    #[inline]
    fn decode(&self, header: &Header) -> Option<(FunctionKey, u8, u64)> {
        let address = header.address();
        let after = self.decoders.partition_point(|decoder| decoder.base <= address);
        let decoder = self.decoders.get(after.checked_sub(1)?)?;
        if address > decoder.last || decoder.io != header.kind().is_io() {
            return None;
        }
        let place = address - decoder.base;
        let offset = place & (decoder.size - 1);
        if extent(header) > decoder.size - offset {
            return None;
        }
        let physical = decoder.physical;
        let function = if decoder.is_virtual {
            FunctionKey::Virtual { physical, number: (place / decoder.size) as u16 }
        } else {
            FunctionKey::Physical(physical)
        };
        Some((function, decoder.bar, offset))
    }

    /// The function that has this ID.
    pub fn by_id(&self, id: Bdf) -> Option<FunctionKey> {
        let offset = id.0.wrapping_sub(self.captured.0);
        let physical = u8::try_from(offset).ok().and_then(|number| self.by_number(number));
        physical.map(FunctionKey::Physical).or_else(|| self.virtual_by_offset(offset))
    }

    fn by_number(&self, number: u8) -> Option<u8> {
        // Mostly they're numbered without a gap.
        if self.physical.get(usize::from(number)).is_some_and(|physical| physical.number == number) {
            return Some(number);
        }
        self.physical.binary_search_by_key(&number, |physical| physical.number).ok().map(|place| place as u8)
    }

    /// The virtual function whose ID is so far from that of function 0.
    fn virtual_by_offset(&self, offset: u16) -> Option<FunctionKey> {
        (0..=u8::MAX).zip(&self.physical).find_map(|(physical, function)| {
            let count = function.virtuals.len() as u16;
            let (first, stride) = function.function.config().vf_placement();
            let beyond = offset.wrapping_sub(u16::from(function.number)).wrapping_sub(first);
            let number = beyond.checked_div(stride).unwrap_or(0);
            let fits = number < count && number.wrapping_mul(stride) == beyond;
            fits.then_some(FunctionKey::Virtual { physical, number })
        })
    }

    /// Tells each function its ID.
    fn number(&mut self) {
        for physical in &mut self.physical {
            let id = Bdf(self.captured.0.wrapping_add(u16::from(physical.number)));
            physical.function.capture(id);
            let (first, stride) = physical.function.config().vf_placement();
            for (number, function) in (0..=u16::MAX).zip(&mut physical.virtuals) {
                function.capture(Bdf(id.0.wrapping_add(first).wrapping_add(number.wrapping_mul(stride))));
            }
        }
    }

    /// The function that a configuration request is for, and what it makes the device's first ID.
    fn target(&self, request: &Header) -> Option<(FunctionKey, Bdf)> {
        let target = request.target();
        if !matches!(request.kind(), Kind::CfgRd0 | Kind::CfgWr0) {
            // A bus beyond that of the link: only virtual functions are there.
            let function = self.by_id(target).filter(|function| matches!(function, FunctionKey::Virtual { .. }));
            return function.filter(|_| target.bus() != self.captured.bus()).map(|function| (function, self.captured));
        }
        // Whatever bus number a request of type 0 has is that of the link.
        let (base, number) = if self.ari {
            (Bdf(target.0 & 0xff00), target.0 & 0xff)
        } else {
            (Bdf(target.0 & !7), u16::from(target.function()))
        };
        let physical = self.by_number(number as u8).map(FunctionKey::Physical);
        physical.or_else(|| self.virtual_by_offset(number)).map(|function| (function, base))
    }

    fn configure(&mut self, core: &mut Core, tlp: TlpId, request: &Header) -> MultiInbound {
        let (completer, register) = (request.target(), request.register());
        let Some((key, base)) = self.target(request) else { return self.refuse(core, tlp) };
        let is_virtual = matches!(key, FunctionKey::Virtual { .. });
        let port = self.port;
        // The virtual channels of the link are shown and set by function 0 (base specification 7.9.1).
        let has_channels = key == FunctionKey::Physical(0);
        let Some(function) = self.function_mut(key) else { return self.refuse(core, tlp) };
        if !request.has_data() {
            if has_channels {
                core.show_channels(port, function.config_mut());
            }
            let hidden = if is_virtual { function.config().hides(register) } else { 0 };
            let (value, digest) = (function.config().read(register) & !hidden, function.config().generates_ecrc());
            core.consume(tlp);
            answer_dword(core, self.port, request, completer, value, digest);
            return MultiInbound::Done;
        }
        let value = core.payload(tlp).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let (enables, value) = function.config().sriov_guard(register, request.first_be(), value);
        let changed = function.write(register, enables, value);
        if has_channels {
            core.set_channels_by(port, function.config());
        }
        let moved = std::mem::replace(&mut self.captured, base) != base;
        if moved || !changed.is_empty() {
            self.review();
        }
        core.consume(tlp);
        core.complete(self.port, request, completer, Status::Successful);
        MultiInbound::Configured(key, changed)
    }

    /// Brings all that follows from the registers up to date: which virtual functions there are, IDs, what is decoded, inherited settings.
    fn review(&mut self) {
        let ari =
            self.ari && self.physical.first().is_some_and(|first| first.function.config().ari_capable_hierarchy());
        let payload = self.physical.first().filter(|_| self.ari).map(|first| first.function.config().max_payload());
        for physical in &mut self.physical {
            let Some(spec) = &physical.spec else { continue };
            physical.function.config_mut().review_sriov(&spec.capability, ari);
            let config = physical.function.config();
            let count = usize::from(config.vfs_enabled());
            let port = physical.function.port();
            physical.virtuals.truncate(count);
            physical.virtuals.resize_with(count, || Function::new(port, spec.config.clone()));
            for function in &mut physical.virtuals {
                function.config_mut().inherit(config, payload.unwrap_or(config.max_payload()));
            }
        }
        self.number();
        self.decoders.clear();
        for (place, physical) in (0..=u8::MAX).zip(&self.physical) {
            let own = physical.function.decoded().iter().map(|bar| Decoder {
                base: bar.base,
                last: bar.base.saturating_add(bar.size - 1),
                size: bar.size,
                io: bar.kind == BarKind::Io,
                bar: bar.index,
                physical: place,
                is_virtual: false,
            });
            self.decoders.extend(own);
            let Some(spec) = &physical.spec else { continue };
            let count = physical.virtuals.len() as u64;
            for aperture in physical.function.config().vf_apertures(&spec.capability) {
                self.decoders.push(Decoder {
                    base: aperture.base,
                    last: aperture.base.saturating_add((aperture.size * count).saturating_sub(1)),
                    size: aperture.size,
                    io: false,
                    bar: aperture.index,
                    physical: place,
                    is_virtual: true,
                });
            }
        }
        self.decoders.sort_by_key(|decoder| (decoder.base, decoder.physical, decoder.is_virtual, decoder.bar));
    }
}
