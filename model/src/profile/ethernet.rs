//! `[ethernet]`: what a port of type Ethernet says about itself, beside what `[port]` says of any.

use mlx5_twin_fw_cmds::constants::{
    ETH_10GBASE_CR, ETH_25GBASE_CR, ETH_40GBASE_CR4, ETH_50GBASE_CR2, ETH_100GBASE_CR4,
};
use serde::Deserialize;

use super::{ProfileError, in_range, rule};

/// Smallest MTU that a port may have: that of IPv4 (`ETH_MIN_MTU` of Linux's `if_ether.h`).
const SMALLEST_MTU: u16 = 68;

/// Speed of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum EthernetSpeed {
    /// 10 Gb/s.
    #[serde(rename = "10G")]
    Gb10,
    /// 25 Gb/s.
    #[serde(rename = "25G")]
    Gb25,
    /// 40 Gb/s, of four lanes.
    #[serde(rename = "40G")]
    Gb40,
    /// 50 Gb/s, of two lanes.
    #[serde(rename = "50G")]
    Gb50,
    /// 100 Gb/s, of four lanes.
    #[serde(rename = "100G")]
    Gb100,
}

impl EthernetSpeed {
    /// Bit in PTYS (`eth_proto_*`; Linux's `enum mlx5e_link_mode` of `port.h`), over copper.
    pub(crate) const fn ptys(self) -> u32 {
        1 << match self {
            Self::Gb10 => ETH_10GBASE_CR,
            Self::Gb25 => ETH_25GBASE_CR,
            Self::Gb40 => ETH_40GBASE_CR4,
            Self::Gb50 => ETH_50GBASE_CR2,
            Self::Gb100 => ETH_100GBASE_CR4,
        }
    }
}

/// `[ethernet]`. The default is a port of 100 Gb/s.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ethernet {
    /// The port's MAC address, `"xx:xx:xx:xx:xx:xx"` in hex: unicast, and not all 0.
    pub mac: String,
    /// Speed of the link: `"10G"`, `"25G"`, `"40G"`, `"50G"` or `"100G"`.
    pub speed: EthernetSpeed,
    /// MTU after power-on, in bytes of payload and headers, as the register PMTU has it: 68 to `max_mtu`.
    pub mtu: u16,
    /// Largest MTU, at least 68.
    pub max_mtu: u16,
}

impl Default for Ethernet {
    fn default() -> Self {
        Self { mac: "02:54:57:00:00:01".to_owned(), speed: EthernetSpeed::Gb100, mtu: 1522, max_mtu: 10_000 }
    }
}

impl Ethernet {
    /// Checks ranges and formats.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`], [`ProfileError::Rule`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        self.address()?;
        in_range("ethernet.max_mtu", self.max_mtu, SMALLEST_MTU, u16::MAX)?;
        in_range("ethernet.mtu", self.mtu, SMALLEST_MTU, self.max_mtu)
    }

    /// The MAC address in the lower 48 bits.
    ///
    /// # Errors
    /// [`ProfileError::Rule`] if the text is no such address.
    pub fn address(&self) -> Result<u64, ProfileError> {
        let byte = |text: &str| if text.len() == 2 { u8::from_str_radix(text, 16).ok() } else { None };
        let bytes: Option<Vec<u8>> = self.mac.split(':').map(byte).collect();
        let address = bytes.filter(|bytes| bytes.len() == 6).map(|bytes| {
            let multicast = bytes.first().is_some_and(|first| first & 1 != 0);
            let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            if multicast { 0 } else { number }
        });
        let address = address.unwrap_or(0);
        let rule_text = "must be a unicast MAC address: six bytes in hex with colons between, not all 0";
        rule(address != 0, "ethernet.mac", &self.mac, rule_text)?;
        Ok(address)
    }
}
