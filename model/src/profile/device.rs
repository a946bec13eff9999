//! `[device]`: the PCI function and what it says about itself.

use core::fmt;
use core::str::FromStr;

use serde::Deserialize;

use super::{ProfileError, in_range, rule};

/// `[device]`. The default is a BlueField-3 with an InfiniBand port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// PCI vendor id.
    pub vendor_id: u16,
    /// PCI device id.
    pub device_id: u16,
    /// PCI revision id.
    pub revision: u8,
    /// PCI subsystem vendor id.
    pub subsystem_vendor_id: u16,
    /// PCI subsystem id.
    pub subsystem_id: u16,
    /// PCI class code: class, subclass, interface; 24 bits.
    pub class_code: u32,
    /// Firmware version, `major.minor.subminor`, each 0 to 65535.
    pub firmware_version: String,
    /// Size of BAR0 in bytes: a power of two, 32 MiB to 1 GiB.
    pub bar0_size: u64,
    /// MSI-X vectors, 1 to 2048.
    pub msix_vectors: u16,
    /// log2 of the number of command queue entries, 0 to 5.
    pub log_cmdq_size: u8,
    /// log2 of the bytes from one command queue entry to the next, 6 to 12; with `log_cmdq_size`
    /// not more than 12, so that the queue fits in a page.
    pub log_cmdq_stride: u8,
    /// Index of the first UAR page, from 1 on (index 0 is the initialization segment): the number
    /// of its 4 KiB page in BAR0.
    pub first_uar: u32,
    /// Board id: 1 to 16 printable ASCII characters.
    pub psid: String,
    /// GUID of the node, not 0.
    pub node_guid: u64,
    /// GUID of the system, not 0.
    pub system_image_guid: u64,
    /// GUID of the port, not 0.
    pub port_guid: u64,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            vendor_id: 0x15b3,
            device_id: 0xa2dc,
            revision: 0x01,
            subsystem_vendor_id: 0x15b3,
            subsystem_id: 0x0001,
            class_code: 0x02_0700,
            firmware_version: "32.43.1014".to_owned(),
            bar0_size: 64 << 20,
            msix_vectors: 64,
            log_cmdq_size: 5,
            log_cmdq_stride: 6,
            first_uar: 0x100,
            psid: "TWIN000000001".to_owned(),
            node_guid: 0x0002_c903_00aa_bbcc,
            system_image_guid: 0x0002_c903_00aa_bbcc,
            port_guid: 0x0002_c903_00aa_bbcc,
        }
    }
}

impl Device {
    /// Most MSI-X vectors a function can have (PCI: the table size field has 11 bits).
    pub const MAX_MSIX_VECTORS: u16 = 2048;

    /// Checks ranges and formats.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`], [`ProfileError::Rule`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        in_range("device.class_code", self.class_code, 0, 0xff_ffff)?;
        in_range("device.bar0_size", self.bar0_size, 32 << 20, 1 << 30)?;
        let power = self.bar0_size.is_power_of_two();
        rule(power, "device.bar0_size", self.bar0_size, "must be a power of two")?;
        in_range("device.msix_vectors", self.msix_vectors, 1, Self::MAX_MSIX_VECTORS)?;
        in_range("device.log_cmdq_size", self.log_cmdq_size, 0, 5)?;
        in_range("device.log_cmdq_stride", self.log_cmdq_stride, 6, 12)?;
        rule(
            self.log_cmdq_size + self.log_cmdq_stride <= 12,
            "device.log_cmdq_stride",
            self.log_cmdq_stride,
            "log_cmdq_size + log_cmdq_stride must be at most 12: the queue is one page",
        )?;
        in_range("device.first_uar", self.first_uar, 1, (1 << 18) - 1)?;
        self.version()?;
        let printable = self.psid.bytes().all(|byte| byte.is_ascii_graphic());
        rule(
            (1..=16).contains(&self.psid.len()) && printable,
            "device.psid",
            &self.psid,
            "must be 1 to 16 printable ASCII characters",
        )?;
        let guids = [
            ("device.node_guid", self.node_guid),
            ("device.system_image_guid", self.system_image_guid),
            ("device.port_guid", self.port_guid),
        ];
        for (field, guid) in guids {
            rule(guid != 0, field, guid, "must not be 0")?;
        }
        Ok(())
    }

    /// The firmware version as numbers.
    ///
    /// # Errors
    /// [`ProfileError::Rule`] if the text is no `major.minor.subminor`.
    pub fn version(&self) -> Result<FirmwareVersion, ProfileError> {
        self.firmware_version.parse()
    }
}

/// A firmware version, as the initialization segment has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Subminor version.
    pub subminor: u16,
}

impl FromStr for FirmwareVersion {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let mut parts = text.split('.').map(u16::from_str);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(subminor)), None) => Ok(Self { major, minor, subminor }),
            _ => Err(ProfileError::Rule {
                field: "device.firmware_version".to_owned(),
                value: text.to_owned(),
                rule: "must be major.minor.subminor, each 0 to 65535",
            }),
        }
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.subminor)
    }
}
