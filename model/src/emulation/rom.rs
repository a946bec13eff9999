//! The expansion ROM's register, as the device follows it: the ROM's bytes are software's.

use mlx5_twin_fw_cmds::layout::emulated_function;
use mlx5_twin_fw_cmds::twin_v1::bar;

use super::function::merge;
use crate::firmware::Failure;

/// The dword of the Expansion ROM register in configuration space.
pub(super) const REGISTER: u16 = 12;
/// The ROM decodes its addresses.
const ENABLE: u32 = 1 << 0;

/// An expansion ROM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rom {
    log_size: u8,
    register: u32,
}

impl Rom {
    /// The ROM of a function's context, if it has one.
    pub(super) fn parse(context: &[u8]) -> Result<Option<Rom>, Failure> {
        let log_size = emulated_function::ROM_LOG_SIZE.get(context).map_err(|error| Failure::of_input(&error))?;
        match log_size {
            0 => Ok(None),
            _ if bar::ROM_LOG_SIZES.contains(&log_size) => Ok(Some(Rom { log_size: log_size as u8, register: 0 })),
            _ => Err(Failure::TWIN_ROM),
        }
    }

    pub(super) fn log_size(self) -> u8 {
        self.log_size
    }

    /// The register, as far as the device follows it.
    pub(super) fn register(self) -> u32 {
        self.register
    }

    fn size(self) -> u32 {
        1 << self.log_size
    }

    /// A configuration write takes effect.
    pub(super) fn write(&mut self, enables: u8, value: u32) {
        self.register = merge(self.register, enables, value) & (!(self.size() - 1) | ENABLE);
    }

    /// The offset of `len` bytes from `address` on, if they're in it and it's enabled.
    pub(super) fn decode(self, address: u64, len: u64) -> Option<u64> {
        if self.register & ENABLE == 0 {
            return None;
        }
        let offset = address.checked_sub(u64::from(self.register & !ENABLE))?;
        let size = u64::from(self.size());
        (offset < size && len <= size - offset).then_some(offset)
    }

    pub(super) fn reset(&mut self) {
        self.register = 0;
    }
}
