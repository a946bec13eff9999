//! Error registers as the host reads and writes them.

use mlx5_twin_sim::tlp::Bdf;

use super::plant::Plant;

/// IDs of extended capabilities.
pub(crate) const AER: u16 = 0x0001;
pub(crate) const ACS: u16 = 0x000d;
pub(crate) const DPC: u16 = 0x001d;

/// The first 0x48 bytes of AER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errors {
    pub(crate) uncorrectable: u32,
    pub(crate) mask: u32,
    pub(crate) severity: u32,
    pub(crate) correctable: u32,
    pub(crate) correctable_mask: u32,
    pub(crate) control: u32,
    pub(crate) header: [u32; 4],
    pub(crate) root_command: u32,
    pub(crate) root_status: u32,
    pub(crate) root_source: u32,
    pub(crate) prefixes: [u32; 4],
}

impl Errors {
    /// First Error Pointer.
    pub(crate) fn first(&self) -> u32 {
        self.control & 0x1f
    }
}

/// The access to registers, by the host's configuration requests.
impl Plant {
    pub(crate) fn config_read(&mut self, id: Bdf, register: u16) -> u32 {
        self.run(move |host| async move { host.config_read(id, register).await.unwrap() })
    }

    pub(crate) fn config_write(&mut self, id: Bdf, register: u16, enables: u8, value: u32) {
        self.run(move |host| async move { host.config_write_bytes(id, register, enables, value).await.unwrap() });
    }

    /// The dword at which an extended capability begins.
    pub(crate) fn extended(&mut self, id: Bdf, capability: u16) -> u16 {
        self.run(move |host| async move {
            let mut at = 0x100;
            loop {
                let head = host.config_read(id, at / 4).await.unwrap();
                if head as u16 == capability {
                    return at / 4;
                }
                at = (head >> 20) as u16;
                assert_ne!(at, 0, "{id} has no capability {capability:#x}");
            }
        })
    }

    /// The dword at which a capability of the PCI list begins.
    pub(crate) fn capability(&mut self, id: Bdf, capability: u8) -> u16 {
        self.run(move |host| async move {
            let mut at = host.config_read(id, 13).await.unwrap() as u8;
            loop {
                let head = host.config_read(id, u16::from(at) / 4).await.unwrap();
                if head as u8 == capability {
                    return u16::from(at) / 4;
                }
                at = (head >> 8) as u8;
                assert_ne!(at, 0, "{id} has no capability {capability:#x}");
            }
        })
    }

    /// The registers of AER.
    pub(crate) fn errors(&mut self, id: Bdf) -> Errors {
        let at = self.extended(id, AER);
        let dw: Vec<u32> = (0..0x12).map(|dword| self.config_read(id, at + dword)).collect();
        Errors {
            uncorrectable: dw[1],
            mask: dw[2],
            severity: dw[3],
            correctable: dw[4],
            correctable_mask: dw[5],
            control: dw[6],
            header: [dw[7], dw[8], dw[9], dw[10]],
            root_command: dw[11],
            root_status: dw[12],
            root_source: dw[13],
            prefixes: [dw[14], dw[15], dw[16], dw[17]],
        }
    }

    /// Writes the dword of AER at byte `offset`.
    pub(crate) fn write_errors(&mut self, id: Bdf, offset: u16, value: u32) {
        let at = self.extended(id, AER);
        self.config_write(id, at + offset / 4, 0xf, value);
    }

    /// Sets the low 4 bits of Device Control: enables of correctable, non-fatal and fatal errors, and of Unsupported Requests.
    pub(crate) fn enable_reporting(&mut self, id: Bdf, bits: u32) {
        let at = self.capability(id, 0x10) + 2;
        let before = self.config_read(id, at);
        self.config_write(id, at, 0x3, before & !0xf | bits);
    }

    /// The low 4 bits of Device Status: correctable, non-fatal and fatal error, Unsupported Request detected.
    pub(crate) fn device_status(&mut self, id: Bdf) -> u32 {
        let at = self.capability(id, 0x10) + 2;
        self.config_read(id, at) >> 16 & 0xf
    }

    /// Sets SERR# Enable of Command, and of Bridge Control if it's a bridge.
    pub(crate) fn enable_system_errors(&mut self, id: Bdf, command: bool, bridge: Option<bool>) {
        let before = self.config_read(id, 1);
        self.config_write(id, 1, 0x3, before & !(1 << 8) | u32::from(command) << 8);
        if let Some(bridge) = bridge {
            let before = self.config_read(id, 15);
            self.config_write(id, 15, 0xc, before & !(1 << 17) | u32::from(bridge) << 17);
        }
    }

    /// Clears all that shows errors: the status registers of a function, with those of AER.
    pub(crate) fn clear_errors(&mut self, id: Bdf) {
        self.config_write(id, 1, 0xc, 0xffff_0000);
        if self.config_read(id, 3) >> 16 & 0x7f == 1 {
            self.config_write(id, 7, 0xc, 0xffff_0000);
        }
        let pcie = self.capability(id, 0x10) + 2;
        self.config_write(id, pcie, 0xc, 0x000f_0000);
        for offset in [0x04, 0x10, 0x30] {
            self.write_errors(id, offset, u32::MAX);
        }
    }

    /// The bridges, in the order of the walk: root port, upstream port, downstream ports.
    pub(crate) fn bridges(&self) -> Vec<Bdf> {
        self.found.iter().filter(|found| found.bridge).map(|found| found.id).collect()
    }
}
