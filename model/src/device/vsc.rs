//! The vendor-specific capability of configuration space: a gateway into the device for whoever can't, or may no longer, use its commands.
//!
//! Registers, and how they're used, are those of `lib/pci_vsc.c` in Linux's mlx5_core: whoever has written the counter's value to the semaphore
//! chooses a space, and reads and writes dwords of it by address and data. The one space that there is here holds the semaphore which a driver
//! takes before it resets a firmware that has died (`health.c`); the others, the dump of the device's registers among them, are reported as not supported.

use mlx5_twin_sim::config::{CapabilityId, CapabilityLayout, ConfigSpace, Row};
use mlx5_twin_sim::tlp::{Header, Kind};

// Offsets (`VSC_CTRL_OFFSET` and so on).
const CONTROL: u16 = 0x04;
const COUNTER: u16 = 0x08;
const SEMAPHORE: u16 = 0x0c;
const ADDRESS: u16 = 0x10;
const DATA: u16 = 0x14;
/// Bytes of the capability. Its header has them in bits 23:16 (PCI local bus specification, appendix H); what it has in bits 31:24 isn't public.
const LENGTH: u16 = 0x18;

/// The space in Control (`VSC_SPACE_BIT_LEN`).
const SPACE: u32 = 0xffff;
/// Control's status, 0 for a space that isn't supported (`VSC_STATUS_BIT_OFFS`). That it's 1 otherwise is ours.
const STATUS: u32 = 0b111 << 29;
const SUPPORTED: u32 = 1 << 29;
/// In Address: the flag, which a write has set and a read clear, and which turns over when it's done (`VSC_FLAG_BIT_OFFS`).
const FLAG: u32 = 1 << 31;
/// In Address: something was wrong (`VSC_SYND_BIT_OFFS`); here, that nothing has this address.
const SYNDROME: u32 = 1 << 30;
/// The space of semaphores, and the one in it for a software reset (`MLX5_SEMAPHORE_SPACE_DOMAIN`, `MLX5_SEMAPHORE_SW_RESET`).
const SEMAPHORES: u32 = 0xa;
const SW_RESET: u32 = 0x20;

#[rustfmt::skip]
const ROWS: [Row; 6] = [
    //       offset     name                             reset                    rw     rw1c sticky flr
    Row::new(0,         "Vendor-specific, length",       (LENGTH as u32) << 16,   0,     0,   0,     0),
    Row::new(CONTROL,   "Control",                       0,                       SPACE, 0,   0,     0),
    Row::new(COUNTER,   "Counter",                       1,                       0,     0,   0,     0),
    Row::new(SEMAPHORE, "Semaphore",                     0,                       !0,    0,   0,     0),
    Row::new(ADDRESS,   "Address",                       0,                       !0,    0,   0,     0),
    Row::new(DATA,      "Data",                          0,                       !0,    0,   0,     0),
];

/// The capability's registers.
pub(crate) fn capability() -> CapabilityLayout {
    let (rows, watches, legal) = (ROWS.to_vec(), Vec::new(), Vec::new());
    CapabilityLayout { id: CapabilityId::VENDOR, length: LENGTH, rows, watches, legal }
}

/// A request to a register of the capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    register: u16,
    is_write: bool,
}

/// What is behind the registers.
#[derive(Debug)]
pub(super) struct Gateway {
    /// Where the capability is, in bytes; 0 if there's none.
    at: u16,
    /// Who has the gateway's semaphore; 0 if nobody.
    owner: u32,
    /// Who has the semaphore for a software reset; 0 if nobody.
    sw_reset: u32,
}

/// A semaphore takes a value if it's free, and is freed by 0.
fn take(semaphore: &mut u32, value: u32) {
    if *semaphore == 0 || value == 0 {
        *semaphore = value;
    }
}

impl Gateway {
    pub(super) fn new(config: &ConfigSpace) -> Gateway {
        Gateway { at: config.find(CapabilityId::VENDOR).unwrap_or(0), owner: 0, sw_reset: 0 }
    }

    /// Whether a request touches one of the registers.
    #[inline]
    pub(super) fn touched(&self, request: &Header) -> Option<Touch> {
        if !matches!(request.kind(), Kind::CfgRd0 | Kind::CfgWr0) || request.target().function() != 0 {
            return None;
        }
        let register = (request.register() * 4).checked_sub(self.at).filter(|register| *register < LENGTH)?;
        (self.at != 0).then_some(Touch { register, is_write: request.kind() == Kind::CfgWr0 })
    }

    /// The function has carried out the request: what comes of it.
    pub(super) fn follow(&mut self, touch: Touch, config: &mut ConfigSpace) {
        let at = self.at;
        let read = |config: &ConfigSpace, register| config.read((at + register) / 4);
        match touch {
            // Each reader has a value of its own, and nobody 0.
            Touch { register: COUNTER, is_write: false } => {
                let next = read(config, COUNTER).wrapping_add(1).max(1);
                config.set(at + COUNTER, !0, next);
            }
            Touch { register: SEMAPHORE, is_write: true } => {
                take(&mut self.owner, read(config, SEMAPHORE));
                config.set(at + SEMAPHORE, !0, self.owner);
            }
            Touch { register: CONTROL, is_write: true } => {
                let supported = read(config, CONTROL) & SPACE == SEMAPHORES;
                config.set(at + CONTROL, STATUS, if supported { SUPPORTED } else { 0 });
            }
            Touch { register: ADDRESS, is_write: true } => {
                let (address, data) = (read(config, ADDRESS), read(config, DATA));
                let place = address & !(FLAG | SYNDROME);
                let exists = read(config, CONTROL) & SPACE == SEMAPHORES && place == SW_RESET;
                let is_write = address & FLAG != 0;
                if is_write && exists {
                    take(&mut self.sw_reset, data);
                } else if !is_write {
                    config.set(at + DATA, !0, if exists { self.sw_reset } else { 0 });
                }
                let (flag, syndrome) = (if is_write { 0 } else { FLAG }, if exists { 0 } else { SYNDROME });
                config.set(at + ADDRESS, FLAG | SYNDROME, flag | syndrome);
            }
            _ => {}
        }
    }

    /// The function was reset: nobody has anything any more.
    pub(super) fn reset(&mut self) {
        (self.owner, self.sw_reset) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx5_twin_sim::config::Type0;

    /// Accesses as a driver makes them.
    struct Driver {
        config: ConfigSpace,
        gateway: Gateway,
    }

    impl Driver {
        fn new() -> Driver {
            let mut config = Type0::default().build().unwrap();
            config.add(&capability()).unwrap();
            Driver { gateway: Gateway::new(&config), config }
        }

        fn read(&mut self, register: u16) -> u32 {
            let value = self.config.read((self.gateway.at + register) / 4);
            self.gateway.follow(Touch { register, is_write: false }, &mut self.config);
            value
        }

        fn write(&mut self, register: u16, value: u32) {
            self.config.write((self.gateway.at + register) / 4, 0xf, value);
            self.gateway.follow(Touch { register, is_write: true }, &mut self.config);
        }

        /// `mlx5_vsc_gw_write`
        fn put(&mut self, address: u32, data: u32) {
            self.write(DATA, data);
            self.write(ADDRESS, address | FLAG);
        }

        /// `mlx5_vsc_gw_read`
        fn get(&mut self, address: u32) -> u32 {
            self.write(ADDRESS, address);
            assert_eq!(self.read(ADDRESS) & FLAG, FLAG);
            self.read(DATA)
        }
    }

    #[test]
    fn one_has_the_gateway_at_a_time() {
        let mut driver = Driver::new();
        let (one, two) = (driver.read(COUNTER), driver.read(COUNTER));
        assert!(one != 0 && two != 0 && one != two);
        driver.write(SEMAPHORE, one);
        driver.write(SEMAPHORE, two);
        assert_eq!(driver.read(SEMAPHORE), one);
        driver.write(SEMAPHORE, 0);
        driver.write(SEMAPHORE, two);
        assert_eq!(driver.read(SEMAPHORE), two);
        driver.gateway.reset();
        driver.write(SEMAPHORE, one);
        assert_eq!(driver.read(SEMAPHORE), one);
    }

    #[test]
    fn the_semaphore_for_a_reset_is_taken_and_given_back() {
        let mut driver = Driver::new();
        driver.write(CONTROL, SEMAPHORES);
        assert_ne!(driver.read(CONTROL) & STATUS, 0);
        driver.put(SW_RESET, 7);
        assert_eq!(driver.read(ADDRESS), SW_RESET, "done, and the flag is clear");
        driver.put(SW_RESET, 8);
        assert_eq!(driver.get(SW_RESET), 7);
        driver.put(SW_RESET, 0);
        assert_eq!(driver.get(SW_RESET), 0);
    }

    #[test]
    fn other_spaces_and_addresses_are_not_supported() {
        let mut driver = Driver::new();
        driver.write(CONTROL, SEMAPHORES);
        driver.put(SW_RESET, 7);
        assert_eq!((driver.get(SW_RESET + 4), driver.read(ADDRESS)), (0, FLAG | SYNDROME | (SW_RESET + 4)));
        for space in [0, 2, 7, 0xffff] {
            driver.write(CONTROL, STATUS | space);
            assert_eq!(driver.read(CONTROL), space);
            assert_eq!((driver.get(SW_RESET), driver.read(ADDRESS)), (0, FLAG | SYNDROME | SW_RESET));
            driver.put(SW_RESET, 0);
        }
        driver.write(CONTROL, SEMAPHORES);
        assert_eq!(driver.get(SW_RESET), 7);
    }
}
