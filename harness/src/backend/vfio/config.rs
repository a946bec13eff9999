//! The function's configuration space, as VFIO shows it: a region of the device's file.

use std::io;
use std::os::fd::BorrowedFd;

/// Offsets in the header, and bits (PCI local bus specification, 'Configuration Space Organization').
const VENDOR: u64 = 0;
const COMMAND: u64 = 4;
const FIRST_CAPABILITY: u64 = 0x34;
pub(super) const MEMORY_SPACE: u16 = 1 << 1;
pub(super) const BUS_MASTER: u16 = 1 << 2;
/// The capability of power management, its control register, and there the power state, of which 0 is D0 (PCI bus power management specification).
const POWER: u8 = 1;
const POWER_CONTROL: u64 = 4;
const POWER_STATE: u16 = 3;
/// What is read where no device answers.
const NOBODY: u16 = 0xffff;

/// The space, through the device's file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config<'a> {
    pub(super) file: BorrowedFd<'a>,
    /// Where it begins in the file.
    pub(super) offset: u64,
}

impl Config<'_> {
    fn read<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        match rustix::io::pread(self.file, &mut bytes, self.offset + at)? {
            count if count == N => Ok(bytes),
            count => Err(io::Error::other(format!("{count} of {N} bytes of configuration space were read"))),
        }
    }

    fn read16(&self, at: u64) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.read(at)?))
    }

    fn write16(&self, at: u64, value: u16) -> io::Result<()> {
        match rustix::io::pwrite(self.file, &value.to_le_bytes(), self.offset + at)? {
            2 => Ok(()),
            count => Err(io::Error::other(format!("{count} of 2 bytes of configuration space were written"))),
        }
    }

    /// Whether the function answers.
    pub(super) fn answers(&self) -> io::Result<bool> {
        Ok(self.read16(VENDOR)? != NOBODY)
    }

    /// Sets or clears bits of the Command register.
    pub(super) fn set_command(&self, bits: u16, on: bool) -> io::Result<()> {
        let command = self.read16(COMMAND)?;
        self.write16(COMMAND, if on { command | bits } else { command & !bits })
    }

    /// Where a capability is.
    fn capability(&self, id: u8) -> io::Result<Option<u64>> {
        let [mut at] = self.read(FIRST_CAPABILITY)?;
        // More than these don't fit: whatever the links say, this ends.
        for _ in 0..48 {
            at &= !3;
            if at < 0x40 {
                break;
            }
            let [found, next] = self.read(at.into())?;
            if found == id {
                return Ok(Some(at.into()));
            }
            at = next;
        }
        Ok(None)
    }

    /// Puts the function into D0. VFIO does so when it's opened; but one that stayed in D3 would answer no access to its BAR.
    pub(super) fn power_up(&self) -> io::Result<()> {
        let Some(power) = self.capability(POWER)? else { return Ok(()) };
        let control = self.read16(power + POWER_CONTROL)?;
        if control & POWER_STATE == 0 {
            return Ok(());
        }
        self.write16(power + POWER_CONTROL, control & !POWER_STATE)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    const SPACE: u64 = 0x100;

    /// A file that has a configuration space at `SPACE`.
    fn file(bytes: &[(usize, &[u8])]) -> std::fs::File {
        let mut all = vec![0; SPACE as usize + 256];
        for (at, some) in bytes {
            all[SPACE as usize + at..][..some.len()].copy_from_slice(some);
        }
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&all).expect("written");
        file
    }

    #[test]
    fn command_bits_are_set_and_cleared() {
        let file = file(&[(0, &[0xb3, 0x15]), (4, &[2, 4])]);
        let config = Config { file: file.as_fd(), offset: SPACE };
        assert!(config.answers().expect("read"));
        config.set_command(BUS_MASTER, true).expect("written");
        assert_eq!(config.read16(COMMAND).expect("read"), 0x406);
        config.set_command(MEMORY_SPACE, false).expect("written");
        assert_eq!(config.read16(COMMAND).expect("read"), 0x404);
    }

    #[test]
    fn a_function_is_powered_up() {
        // PCI Express, then power management in D3hot, with PME enabled.
        let file = file(&[(0x34, &[0x60]), (0x60, &[0x10, 0x42]), (0x40, &[1, 0, 3, 0, 0x0b, 1])]);
        let config = Config { file: file.as_fd(), offset: SPACE };
        config.power_up().expect("done");
        assert_eq!(config.read16(0x44).expect("read"), 0x108);
    }

    #[test]
    fn odd_spaces_end() {
        let circle = file(&[(0x34, &[0x40]), (0x40, &[9, 0x40])]);
        Config { file: circle.as_fd(), offset: SPACE }.power_up().expect("nothing to do");
        let nobody = file(&[(0, &[0xff; 256])]);
        let config = Config { file: nobody.as_fd(), offset: SPACE };
        assert!(!config.answers().expect("read"));
        config.power_up().expect("nothing to do");
        assert!(Config { file: nobody.as_fd(), offset: 1 << 20 }.answers().is_err(), "beyond the file");
    }
}
