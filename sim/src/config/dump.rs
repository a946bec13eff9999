//! A configuration space as text that `lspci -F` reads.

use std::fmt;

use super::space::{ConfigSpace, REGISTERS};

/// Shows a configuration space as `lspci -xxxx` does: a line with the function's address, then
/// rows of 16 bytes in hexadecimal. Written to a file, `lspci -F file -vvv` decodes it.
#[derive(Clone, Copy, Debug)]
pub struct LspciDump<'a> {
    /// The function's bus, device and function number as in a requester id.
    pub bdf: u16,
    /// The space to show.
    pub space: &'a ConfigSpace,
}

impl fmt::Display for LspciDump<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device, function) = (self.bdf >> 8, self.bdf >> 3 & 0x1f, self.bdf & 7);
        write!(out, "{bus:02x}:{device:02x}.{function} function")?;
        for register in 0..REGISTERS {
            if register % 4 == 0 {
                write!(out, "\n{:02x}:", register * 4)?;
            }
            for byte in self.space.read(register).to_le_bytes() {
                write!(out, " {byte:02x}")?;
            }
        }
        out.write_str("\n\n")
    }
}
