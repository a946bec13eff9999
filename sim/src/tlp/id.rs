//! The ID of a function: bus, device and function number (PCIe base spec 2.2.4.2).

use std::fmt;
use std::str::FromStr;

/// Bus number (bits 15:8), device number (7:3) and function number (2:0) of a function, as the
/// requester, completer and target fields of a header hold it.
///
/// Under ARI the device number is zero and the low eight bits are one function number: the bits are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf(pub u16);

impl Bdf {
    /// The ID of function `function` (0..=7) of device `device` (0..=31) on bus `bus`.
    /// Only the low five bits of `device` and the low three of `function` count.
    pub const fn new(bus: u8, device: u8, function: u8) -> Bdf {
        Bdf((bus as u16) << 8 | ((device & 0x1f) as u16) << 3 | (function & 7) as u16)
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The device number, 0..=31.
    pub const fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 0x1f
    }

    /// The function number, 0..=7.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }
}

/// Printed as `lspci` does, without a domain: `03:00.1`.
impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

/// A text that is no `bus:device.function`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not bus:device.function in hexadecimal (00:00.0 to ff:1f.7)")]
pub struct ParseBdfError {
    /// The text.
    pub text: String,
}

/// Reads what `Display` prints: hexadecimal bus (1 or 2 digits), device (1 or 2 digits, up to `1f`) and function (0 to 7).
impl FromStr for Bdf {
    type Err = ParseBdfError;

    fn from_str(text: &str) -> Result<Bdf, ParseBdfError> {
        let hex = |digits: &str, max_len: usize, max: u8| {
            let plain = digits.len() <= max_len && digits.bytes().all(|b| b.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|value| plain && *value <= max)
        };
        let parse = || {
            let (bus, rest) = text.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            Some(Bdf::new(hex(bus, 2, 0xff)?, hex(device, 2, 0x1f)?, hex(function, 1, 7)?))
        };
        parse().ok_or_else(|| ParseBdfError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::Bdf;

    #[test]
    fn packs_and_prints() {
        let id = Bdf::new(0x03, 0x1f, 5);
        assert_eq!(id, Bdf(0x03fd));
        assert_eq!((id.bus(), id.device(), id.function()), (3, 31, 5));
        assert_eq!(id.to_string(), "03:1f.5");
    }

    #[test]
    fn reads_back_every_id() {
        for bits in 0..=u16::MAX {
            let text = Bdf(bits).to_string();
            assert_eq!(text.parse(), Ok(Bdf(bits)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_id() {
        for text in [
            "",
            "03",
            "03:00",
            "03:20.0",
            "03:00.8",
            "103:00.0",
            "+3:00.0",
            "03:00.",
            ":00.0",
            "0000:03:00.0",
            "03:00.00",
            "03:00.0 ",
            "é:00.0",
        ] {
            assert!(text.parse::<Bdf>().is_err(), "{text:?}");
        }
    }
}
