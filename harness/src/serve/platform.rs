//! The board around the function, as a guest's hypervisor expects it: a root port above it, and registers that outlive a reset.
//!
//! A vfio-user client reaches BAR 0 by offsets, and takes base addresses, MSI-X table and bridges on itself. Here they're real: the address that
//! the guest gives to BAR 0 is the one that TLPs carry, the root port's window follows it, and each entry of the MSI-X table holds the message
//! that comes back as the vector's event. What a function loses by a reset, and a hypervisor believes to be there, is put back: base addresses and
//! MSI-X entries, as Linux's vfio-pci does it.

use mlx5_twin_sim::host::{Access, Data};
use mlx5_twin_sim::tlp::Bdf;

use super::Error;
use super::engine::Engine;

/// The root port, and the function below it.
const ROOT_PORT: Bdf = Bdf::new(0, 1, 0);
const FUNCTION: Bdf = Bdf::new(1, 0, 0);

// Dwords of configuration headers (PCI local bus specification, 'Configuration Space Organization'; PCI-to-PCI bridges).
const COMMAND: u16 = 1;
const FIRST_BAR: u16 = 4;
const BUSES: u16 = 6;
const MEMORY_WINDOW: u16 = 8;
const PREFETCHABLE_WINDOW: u16 = 9;
const PREFETCHABLE_BASE_UPPER: u16 = 10;
const PREFETCHABLE_LIMIT_UPPER: u16 = 11;
const CAPABILITIES: u16 = 13;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// A window whose base is above its limit.
const CLOSED: u32 = 0x0000_fff0;

/// Capabilities, and bits of their registers (PCIe base specification, sections 7.5.2, 7.5.3 and 7.7.2).
const POWER: u8 = 0x01;
const PCIE: u8 = 0x10;
const MSIX: u8 = 0x11;
const POWER_STATE: u32 = 0b11;
const MAX_PAYLOAD: u32 = 0b111 << 5;
const INITIATE_FLR: u32 = 1 << 15;
const ENTRY: u64 = 16;
/// Where interrupt messages go: the local APICs' range. The data is the vector's number.
const INTERRUPT_ADDRESS: u32 = 0xfee0_0000;
const MASKED: u32 = 1;

/// What the board knows of the function, from what it found and from what the guest wrote.
#[derive(Debug)]
pub(super) struct Platform {
    /// Dwords of its capabilities.
    power: Option<u16>,
    pcie: Option<u16>,
    /// Dword of the root port's PCI Express capability.
    port_pcie: Option<u16>,
    /// MSI-X vectors, and where their table is in BAR 0.
    vectors: u32,
    table: u64,
    /// Size of BAR 0 in bytes, and whether its address has 64 bits.
    bar_size: u64,
    is_64bit: bool,
    /// What the guest wrote to the registers of BAR 0.
    bar: [u32; 2],
    /// Whether memory space is on, and the function in D0.
    memory_space: bool,
    awake: bool,
    /// The window of the root port that is open now.
    window: Option<u64>,
    /// By vector: whether its entry in the table has its message and isn't masked.
    programmed: Vec<bool>,
}

fn config_read(engine: &mut Engine, target: Bdf, register: u16) -> Result<u32, Error> {
    let read = engine.access(Access::ConfigRead { target, register });
    read.map(|data| data.to_u64() as u32).map_err(Error::Bus)
}

fn config_write(engine: &mut Engine, target: Bdf, register: u16, value: u32) -> Result<(), Error> {
    let write = Access::ConfigWrite { target, register, byte_enables: 0xf, value };
    engine.access(write).map(drop).map_err(Error::Bus)
}

/// The dword of a function's capability.
fn capability(engine: &mut Engine, target: Bdf, id: u8) -> Result<Option<u16>, Error> {
    let mut at = config_read(engine, target, CAPABILITIES)? as u8 / 4;
    // There's room for 48 capabilities.
    for _ in 0..48 {
        if at < 16 {
            break;
        }
        let head = config_read(engine, target, at.into())?;
        if head as u8 == id {
            return Ok(Some(at.into()));
        }
        at = (head >> 8) as u8 / 4;
    }
    Ok(None)
}

impl Platform {
    /// Sets up the root port, and finds out what the function is.
    ///
    /// # Errors
    /// [`Error::Bus`], [`Error::Lacks`].
    pub(super) fn new(engine: &mut Engine) -> Result<Platform, Error> {
        config_write(engine, ROOT_PORT, BUSES, 0x0001_0100)?;
        config_write(engine, ROOT_PORT, MEMORY_WINDOW, CLOSED)?;
        config_write(engine, ROOT_PORT, PREFETCHABLE_WINDOW, CLOSED)?;
        config_write(engine, ROOT_PORT, COMMAND, MEMORY_SPACE | BUS_MASTER)?;
        let power = capability(engine, FUNCTION, POWER)?;
        let pcie = capability(engine, FUNCTION, PCIE)?;
        let port_pcie = capability(engine, ROOT_PORT, PCIE)?;
        let msix = capability(engine, FUNCTION, MSIX)?.ok_or(Error::Lacks("MSI-X capability"))?;
        let vectors = (config_read(engine, FUNCTION, msix)? >> 16 & 0x7ff) + 1;
        let table = config_read(engine, FUNCTION, msix + 1)?;
        if table & 7 != 0 {
            return Err(Error::Lacks("MSI-X table in BAR 0"));
        }
        config_write(engine, FUNCTION, FIRST_BAR, u32::MAX)?;
        config_write(engine, FUNCTION, FIRST_BAR + 1, u32::MAX)?;
        let low = config_read(engine, FUNCTION, FIRST_BAR)?;
        let high = config_read(engine, FUNCTION, FIRST_BAR + 1)?;
        let is_64bit = low & 0b110 == 0b100;
        let mask = u64::from(if is_64bit { high } else { u32::MAX }) << 32 | u64::from(low & !0xf);
        config_write(engine, FUNCTION, FIRST_BAR, 0)?;
        config_write(engine, FUNCTION, FIRST_BAR + 1, 0)?;
        let bar_size = (!mask).wrapping_add(1);
        if low & 1 != 0 || bar_size == 0 {
            return Err(Error::Lacks("memory behind BAR 0"));
        }
        Ok(Platform {
            power,
            pcie,
            port_pcie,
            vectors,
            table: u64::from(table & !7),
            bar_size,
            is_64bit,
            bar: [0; 2],
            memory_space: false,
            awake: true,
            window: None,
            programmed: vec![false; vectors as usize],
        })
    }

    /// How many MSI-X vectors the function has.
    pub(super) fn vectors(&self) -> u32 {
        self.vectors
    }

    /// The size of BAR 0 in bytes.
    pub(super) fn bar_size(&self) -> u64 {
        self.bar_size
    }

    /// The address of BAR 0, if the guest has given it one.
    fn bar_address(&self) -> Option<u64> {
        let high = if self.is_64bit { self.bar[1] } else { 0 };
        let address = (u64::from(high) << 32 | u64::from(self.bar[0] & !0xf)) & !(self.bar_size - 1);
        // All ones is how a guest asks for the size.
        let sizing = address.checked_add(self.bar_size).is_none();
        (address != 0 && !sizing).then_some(address)
    }

    /// The bus address of an offset in BAR 0, if the function decodes it.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.window.map(|window| window + offset)
    }

    /// Reads a dword of configuration space.
    pub(super) fn config_read(engine: &mut Engine, register: u16) -> u32 {
        // Nothing but a function that's gone doesn't answer.
        config_read(engine, FUNCTION, register).unwrap_or(u32::MAX)
    }

    /// Writes bytes of a dword of configuration space for the guest. Where no card is, it goes nowhere.
    pub(super) fn config_write(&mut self, engine: &mut Engine, register: u16, byte_enables: u8, value: u32) {
        if !engine.has_card() {
            return;
        }
        let write = Access::ConfigWrite { target: FUNCTION, register, byte_enables, value };
        if let Err(error) = engine.access(write) {
            tracing::warn!(register, %error, "a configuration write had no success");
            return;
        }
        let merge = |old: u32| {
            (0..4).fold(old, |merged, byte| {
                let lane = 0xff_u32 << (8 * byte);
                if byte_enables >> byte & 1 == 1 { merged & !lane | value & lane } else { merged }
            })
        };
        let written = merge(0);
        match register {
            FIRST_BAR => self.bar[0] = merge(self.bar[0]),
            register if register == FIRST_BAR + 1 => self.bar[1] = merge(self.bar[1]),
            COMMAND if byte_enables & 1 == 1 => self.memory_space = written & MEMORY_SPACE != 0,
            register if Some(register) == self.power.map(|power| power + 1) && byte_enables & 1 == 1 => {
                // The function has no other states, and ignores who asks for them.
                match written & POWER_STATE {
                    0 => self.awake = true,
                    POWER_STATE => self.awake = false,
                    _ => {}
                }
            }
            register if Some(register) == self.pcie.map(|pcie| pcie + 2) => {
                if byte_enables & 1 == 1 {
                    self.set_max_payload(engine, written & MAX_PAYLOAD);
                }
                if byte_enables & 2 == 2 && written & INITIATE_FLR != 0 {
                    return self.after_reset(engine);
                }
            }
            _ => return,
        }
        self.follow(engine);
    }

    /// Resets the function, as a hypervisor does it.
    pub(super) fn reset(&mut self, engine: &mut Engine) {
        if !engine.has_card() {
            return;
        }
        match self.pcie {
            Some(pcie) => {
                let control = config_read(engine, FUNCTION, pcie + 2).unwrap_or(0) & 0xffff;
                self.config_write(engine, pcie + 2, 0b11, control | INITIATE_FLR);
            }
            None => tracing::warn!("the function has no PCI Express capability to reset it by"),
        }
    }

    /// The next guest begins anew: the function's base addresses are gone.
    pub(super) fn forget(&mut self) {
        self.bar = [0; 2];
    }

    /// Does what is due about the card. One that answers again is set up as the first one was: the next guest finds it as new.
    pub(super) fn see_to_card(&mut self, engine: &mut Engine) {
        if engine.see_to_card() {
            let answers = config_read(engine, FUNCTION, 0).is_ok();
            engine.card_answers(answers);
            if answers {
                self.forget();
                self.set_max_payload(engine, 0);
                self.after_reset(engine);
            }
        }
    }

    /// The function has lost its registers: those that a guest believes to be there are put back.
    fn after_reset(&mut self, engine: &mut Engine) {
        self.memory_space = false;
        self.awake = true;
        self.programmed.fill(false);
        for (register, value) in (FIRST_BAR..).zip(self.bar).take(if self.is_64bit { 2 } else { 1 }) {
            if let Err(error) = config_write(engine, FUNCTION, register, value) {
                tracing::warn!(%error, "a base address can't be put back");
            }
        }
        self.follow(engine);
    }

    /// Lets the root port's payload size follow the function's, so that each takes what the other sends.
    fn set_max_payload(&self, engine: &mut Engine, payload: u32) {
        let Some(pcie) = self.port_pcie else { return };
        let control = config_read(engine, ROOT_PORT, pcie + 2).map(|control| control & 0xffff & !MAX_PAYLOAD | payload);
        if let Err(error) = control.and_then(|control| config_write(engine, ROOT_PORT, pcie + 2, control)) {
            tracing::warn!(%error, "the root port's payload size can't be set");
        }
    }

    /// Lets the root port's window follow BAR 0, and the MSI-X table the vectors that are listened to.
    fn follow(&mut self, engine: &mut Engine) {
        let window = self.bar_address().filter(|_| self.memory_space);
        if window != self.window {
            self.window = window;
            let written = match window {
                None => config_write(engine, ROOT_PORT, PREFETCHABLE_WINDOW, CLOSED),
                Some(base) => self.open(engine, base),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "the root port's window can't be set");
            }
        }
        self.program(engine);
    }

    fn open(&self, engine: &mut Engine, base: u64) -> Result<(), Error> {
        let limit = base + (self.bar_size - 1);
        let low = (base >> 16) as u32 & 0xfff0 | limit as u32 & 0xfff0_0000;
        config_write(engine, ROOT_PORT, PREFETCHABLE_BASE_UPPER, (base >> 32) as u32)?;
        config_write(engine, ROOT_PORT, PREFETCHABLE_LIMIT_UPPER, (limit >> 32) as u32)?;
        config_write(engine, ROOT_PORT, PREFETCHABLE_WINDOW, low)
    }

    /// Makes the entries of the MSI-X table those of the vectors that are listened to; the others are masked, so that what they would
    /// tell is pending until somebody listens.
    pub(super) fn program(&mut self, engine: &mut Engine) {
        let Some(table) = self.address(self.table).filter(|_| self.awake && engine.has_card()) else { return };
        for vector in 0..self.vectors {
            let wanted = engine.vectors.contains_key(&vector);
            let Some(programmed) = self.programmed.get_mut(vector as usize) else { return };
            if std::mem::replace(programmed, wanted) == wanted {
                continue;
            }
            let entry = table + u64::from(vector) * ENTRY;
            let words = if wanted { [INTERRUPT_ADDRESS, 0, vector, 0] } else { [0, 0, 0, MASKED] };
            for (address, value) in (entry..).step_by(4).zip(words) {
                let data = Data::new(&value.to_le_bytes());
                if let Err(error) = engine.access(Access::MemoryWrite { address, data }) {
                    tracing::warn!(vector, %error, "an entry of the MSI-X table can't be written");
                }
            }
        }
    }
}
