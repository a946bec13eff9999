//! Types of capability pages and how QUERY_HCA_CAP and SET_HCA_CAP name them.

use crate::layout::{self, Layout};
use crate::named::named;

named! {
    /// Type of a capability page, 0 to 0x7fff. Source: `enum mlx5_cap_type` of `device.h`.
    CapType(u16) = "MLX5_CAP_";

    GENERAL                 = 0x00;
    ETHERNET_OFFLOADS       = 0x01;
    ODP                     = 0x02;
    ATOMIC                  = 0x03;
    ROCE                    = 0x04;
    IPOIB_OFFLOADS          = 0x05;
    IPOIB_ENHANCED_OFFLOADS = 0x06;
    FLOW_TABLE              = 0x07;
    ESWITCH_FLOW_TABLE      = 0x08;
    ESWITCH                 = 0x09;
    QOS                     = 0x0c;
    DEBUG                   = 0x0d;
    RESERVED_14             = 0x0e;
    DEV_MEM                 = 0x0f;
    RESERVED_16             = 0x10;
    TLS                     = 0x11;
    VDPA_EMULATION          = 0x13;
    DEV_EVENT               = 0x14;
    IPSEC                   = 0x15;
    CRYPTO                  = 0x1a;
    SHAMPO                  = 0x1d;
    PSP                     = 0x1e;
    MACSEC                  = 0x1f;
    GENERAL_2               = 0x20;
    PORT_SELECTION          = 0x25;
    ADV_VIRTUALIZATION      = 0x26;
    ADV_RDMA                = 0x28;
    TLP_EMULATION           = 0x2a;
}

/// Which values of a capability page QUERY_HCA_CAP asks for. Source: `enum mlx5_cap_mode` of
/// `device.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CapMode {
    /// The largest values the device can have (`HCA_CAP_OPMOD_GET_MAX`).
    Max = 0,
    /// The values in force (`HCA_CAP_OPMOD_GET_CUR`).
    Current = 1,
}

impl CapType {
    /// `op_mod` of QUERY_HCA_CAP: the type in bits 15:1, the mode in bit 0. SET_HCA_CAP takes the
    /// one of [`CapMode::Max`].
    #[must_use]
    pub const fn op_mod(self, mode: CapMode) -> u16 {
        self.0 << 1 | mode as u16
    }

    /// Type and mode that an `op_mod` of QUERY_HCA_CAP stands for.
    #[must_use]
    pub const fn from_op_mod(op_mod: u16) -> (Self, CapMode) {
        let mode = if op_mod & 1 == 0 { CapMode::Max } else { CapMode::Current };
        (Self(op_mod >> 1), mode)
    }

    /// The layout of the page, `None` if this crate has none for it.
    #[must_use]
    pub const fn layout(self) -> Option<&'static Layout> {
        match self {
            Self::GENERAL => Some(layout::cmd_hca_cap::LAYOUT),
            Self::ETHERNET_OFFLOADS => Some(layout::per_protocol_networking_offload_caps::LAYOUT),
            Self::ODP => Some(layout::odp_cap::LAYOUT),
            Self::ATOMIC => Some(layout::atomic_caps::LAYOUT),
            Self::ROCE => Some(layout::roce_cap::LAYOUT),
            Self::FLOW_TABLE => Some(layout::flow_table_nic_cap::LAYOUT),
            Self::QOS => Some(layout::qos_cap::LAYOUT),
            Self::DEV_MEM => Some(layout::device_mem_cap::LAYOUT),
            Self::VDPA_EMULATION => Some(layout::virtio_emulation_cap::LAYOUT),
            Self::DEV_EVENT => Some(layout::device_event_cap::LAYOUT),
            Self::GENERAL_2 => Some(layout::cmd_hca_cap_2::LAYOUT),
            Self::TLP_EMULATION => Some(layout::tlp_dev_emu_capabilities::LAYOUT),
            _ => None,
        }
    }
}

impl CapType {
    /// More fields of the page, which Linux's header does not have.
    #[must_use]
    pub const fn more(self) -> Option<&'static Layout> {
        match self {
            Self::DEV_MEM => Some(layout::device_mem_cap_operations::LAYOUT),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn op_mod_as_the_driver_sends_it() {
        assert_eq!(CapType::TLP_EMULATION.op_mod(CapMode::Current), 0x55);
        assert_eq!(CapType::GENERAL_2.op_mod(CapMode::Max), 0x40);
        assert_eq!(CapType::from_op_mod(0x27), (CapType::VDPA_EMULATION, CapMode::Current));
    }

    #[test]
    fn op_mod_goes_both_ways() {
        for op_mod in 0..=u16::MAX {
            let (kind, mode) = CapType::from_op_mod(op_mod);
            assert_eq!(kind.op_mod(mode), op_mod);
        }
    }

    #[test]
    fn a_page_fits_into_the_answer() {
        let pages = CapType::ALL.iter().filter_map(|(_, kind)| kind.layout());
        let room = layout::query_hca_cap_out::CAPABILITY.len * 8;
        assert_eq!(pages.clone().count(), 12);
        assert!(pages.clone().all(|page| page.size_bits <= room));
    }
}
