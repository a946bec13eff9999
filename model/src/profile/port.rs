//! `[port]`: the InfiniBand port and what it says about itself.

use core::net::Ipv6Addr;

use mlx5_twin_fw_cmds::constants::{PTYS_WIDTH_1X, PTYS_WIDTH_2X, PTYS_WIDTH_4X, PTYS_WIDTH_8X, PTYS_WIDTH_12X};
use mlx5_twin_fw_cmds::layout::{cmd_hca_cap, set_node_in};
use serde::Deserialize;

use super::{Capabilities, ProfileError, in_range, rule};

/// Bytes of a node description.
pub const NODE_DESCRIPTION_BYTES: usize = set_node_in::SIZE;

/// The largest unicast LID (IBTA).
const MAX_LID: u16 = 0xbfff;

/// The logical state of a port, as far as the model has it (IBTA, PortInfo.PortState; Linux's `enum ib_port_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// No link.
    Down,
    /// There is a link; the subnet manager has not made the port active.
    Init,
    /// Packets flow.
    Active,
}

impl PortState {
    /// The state's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Down => 1,
            Self::Init => 2,
            Self::Active => 4,
        }
    }
}

/// Speed of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LinkSpeed {
    /// 2.5 Gb/s.
    Sdr,
    /// 5 Gb/s.
    Ddr,
    /// 10 Gb/s.
    Qdr,
    /// 10.3 Gb/s.
    Fdr10,
    /// 14 Gb/s.
    Fdr,
    /// 25 Gb/s.
    Edr,
    /// 50 Gb/s.
    Hdr,
    /// 100 Gb/s.
    Ndr,
}

/// How the registers and PortInfo say a speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpeedCodes {
    /// Bit in PTYS (`ib_proto_*`), which Linux takes for its `enum ib_port_speed`.
    pub(crate) ptys: u16,
    /// PortInfo.LinkSpeedActive: bits of SDR, DDR, QDR; the others show as QDR.
    pub(crate) basic: u8,
    /// PortInfo.LinkSpeedExtActive, 0 for those that need none.
    pub(crate) extended: u8,
}

impl LinkSpeed {
    pub(crate) const fn codes(self) -> SpeedCodes {
        let (bit, basic, extended) = match self {
            Self::Sdr => (0, 1, 0),
            Self::Ddr => (1, 2, 0),
            Self::Qdr => (2, 4, 0),
            Self::Fdr10 => (3, 4, 0),
            Self::Fdr => (4, 4, 1),
            Self::Edr => (5, 4, 2),
            Self::Hdr => (6, 4, 4),
            Self::Ndr => (7, 4, 8),
        };
        SpeedCodes { ptys: 1 << bit, basic, extended }
    }
}

/// Lanes of a link: their number, the bit in PTYS (`enum mlx5_ptys_width`), the bit in PortInfo (IBTA; Linux's
/// `enum ib_port_width`).
const WIDTHS: &[(u8, u16, u8)] = &[
    (1, PTYS_WIDTH_1X, 1),
    (2, PTYS_WIDTH_2X, 16),
    (4, PTYS_WIDTH_4X, 2),
    (8, PTYS_WIDTH_8X, 4),
    (12, PTYS_WIDTH_12X, 8),
];

/// MTUs in bytes; PortInfo numbers them from 1 on (Linux's `enum ib_mtu`).
const MTUS: &[u16] = &[256, 512, 1024, 2048, 4096];

/// Data lanes a port can have; PortInfo numbers them from 1 on (Linux's `translate_max_vl_num` takes no others).
const VIRTUAL_LANES: &[u8] = &[1, 2, 4, 8, 15];

/// `[port]`. The default is an active port of 4X EDR, as a subnet manager would have set it up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Port {
    /// State after power-on: `"down"`, `"init"` or `"active"`.
    pub state: PortState,
    /// Local identifier, 0 to 0xbfff; 0 is 'none yet'.
    pub lid: u16,
    /// log2 of the number of LIDs, 0 to 7.
    pub lmc: u8,
    /// LID of the subnet manager, 0 to 0xbfff.
    pub sm_lid: u16,
    /// Service level to the subnet manager, 0 to 15.
    pub sm_sl: u8,
    /// Subnet timeout, 4.096 us * 2^n, 0 to 31.
    pub subnet_timeout: u8,
    /// Upper half of the port's GIDs, as an IPv6 address whose lower half is 0.
    pub subnet_prefix: String,
    /// GUIDs from GID index 1 on, none 0; index 0 has `device.port_guid`.
    pub alias_guids: Vec<u64>,
    /// P_Keys from index 0 on; the rest of the table is 0.
    pub pkeys: Vec<u16>,
    /// PortInfo.CapabilityMask (Linux's `IB_PORT_*` of `ib_mad.h`).
    pub cap_mask1: u32,
    /// Bits of `cap_mask1` that a driver may change.
    pub cap_mask1_writable: u32,
    /// PortInfo.CapabilityMask2.
    pub cap_mask2: u16,
    /// Whether the virtual port may send and receive subnet management packets.
    pub has_smi: bool,
    /// Lanes of the link: 1, 2, 4, 8 or 12.
    pub link_width: u8,
    /// Speed of a lane: `"SDR"`, `"DDR"`, `"QDR"`, `"FDR10"`, `"FDR"`, `"EDR"`, `"HDR"` or `"NDR"`.
    pub link_speed: LinkSpeed,
    /// MTU in use, in bytes: 256, 512, 1024, 2048 or 4096, and not more than `max_mtu`.
    pub mtu: u16,
    /// Largest MTU in bytes: as `mtu`.
    pub max_mtu: u16,
    /// Virtual lanes for data: 1, 2, 4, 8 or 15.
    pub virtual_lanes: u8,
    /// Description of the node: at most 64 printable ASCII characters and blanks.
    pub node_description: String,
}

impl Default for Port {
    fn default() -> Self {
        Self {
            state: PortState::Active,
            lid: 1,
            lmc: 0,
            sm_lid: 1,
            sm_sl: 0,
            subnet_timeout: 18,
            subnet_prefix: "fe80::".to_owned(),
            alias_guids: Vec::new(),
            pkeys: vec![0xffff],
            cap_mask1: 0x0250_c848,
            cap_mask1_writable: 0x0001_0000,
            cap_mask2: 0,
            has_smi: false,
            link_width: 4,
            link_speed: LinkSpeed::Edr,
            mtu: 4096,
            max_mtu: 4096,
            virtual_lanes: 4,
            node_description: "mlx5-twin".to_owned(),
        }
    }
}

impl Port {
    /// Checks ranges and formats.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`], [`ProfileError::Rule`].
    pub fn validate(&self) -> Result<(), ProfileError> {
        in_range("port.lid", self.lid, 0, MAX_LID)?;
        in_range("port.lmc", self.lmc, 0, 7)?;
        in_range("port.sm_lid", self.sm_lid, 0, MAX_LID)?;
        in_range("port.sm_sl", self.sm_sl, 0, 15)?;
        in_range("port.subnet_timeout", self.subnet_timeout, 0, 31)?;
        self.prefix()?;
        for guid in &self.alias_guids {
            rule(*guid != 0, "port.alias_guids", guid, "must not be 0")?;
        }
        let width = WIDTHS.iter().any(|row| row.0 == self.link_width);
        rule(width, "port.link_width", self.link_width, "must be 1, 2, 4, 8 or 12")?;
        for (field, mtu) in [("port.mtu", self.mtu), ("port.max_mtu", self.max_mtu)] {
            rule(MTUS.contains(&mtu), field, mtu, "must be 256, 512, 1024, 2048 or 4096")?;
        }
        rule(self.mtu <= self.max_mtu, "port.mtu", self.mtu, "must not be more than port.max_mtu")?;
        let lanes = VIRTUAL_LANES.contains(&self.virtual_lanes);
        rule(lanes, "port.virtual_lanes", self.virtual_lanes, "must be 1, 2, 4, 8 or 15")?;
        let printable = self.node_description.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        rule(
            self.node_description.len() <= NODE_DESCRIPTION_BYTES && printable,
            "port.node_description",
            &self.node_description,
            "must be at most 64 printable ASCII characters and blanks",
        )
    }

    /// Checks that the port's tables fit the sizes that the capabilities tell, and that there is one port.
    ///
    /// # Errors
    /// [`ProfileError::OutOfRange`], [`ProfileError::Rule`].
    pub fn fits(&self, capabilities: &Capabilities) -> Result<(), ProfileError> {
        let general = |field| capabilities.general_max(field);
        in_range("capabilities.general.num_ports", general(cmd_hca_cap::NUM_PORTS), 0, 1)?;
        in_range("capabilities.general.gid_table_size", general(cmd_hca_cap::GID_TABLE_SIZE), 0, 4)?;
        in_range("capabilities.general.pkey_table_size", general(cmd_hca_cap::PKEY_TABLE_SIZE), 0, 5)?;
        rule(
            self.alias_guids.len() < gid_table_len(capabilities),
            "port.alias_guids",
            format_args!("{} GUIDs", self.alias_guids.len()),
            "with port_guid they must fit the table, 8 * 2^capabilities.general.gid_table_size",
        )?;
        rule(
            self.pkeys.len() <= pkey_table_len(capabilities),
            "port.pkeys",
            format_args!("{} P_Keys", self.pkeys.len()),
            "they must fit the table, 128 * 2^capabilities.general.pkey_table_size",
        )
    }

    /// The upper half of the port's GIDs.
    ///
    /// # Errors
    /// [`ProfileError::Rule`] if the text is no such address.
    pub fn prefix(&self) -> Result<u64, ProfileError> {
        let address: Option<Ipv6Addr> = self.subnet_prefix.parse().ok();
        let prefix = address.map(Ipv6Addr::to_bits).filter(|bits| bits & u128::from(u64::MAX) == 0);
        prefix.map(|bits| (bits >> 64) as u64).ok_or_else(|| ProfileError::Rule {
            field: "port.subnet_prefix".to_owned(),
            value: self.subnet_prefix.clone(),
            rule: "must be an IPv6 address whose lower 64 bits are 0",
        })
    }

    /// The bit of the link's width in PTYS and the one in PortInfo.
    pub(crate) fn width_codes(&self) -> (u16, u8) {
        let row = WIDTHS.iter().find(|row| row.0 == self.link_width);
        row.map_or((0, 0), |&(_, ptys, info)| (ptys, info))
    }

    /// PortInfo's number of an MTU.
    pub(crate) fn mtu_code(mtu: u16) -> u8 {
        code(MTUS, mtu)
    }

    /// PortInfo's number of the virtual lanes.
    pub(crate) fn lanes_code(&self) -> u8 {
        code(VIRTUAL_LANES, self.virtual_lanes)
    }

    /// The description with zeros behind it.
    pub(crate) fn description(&self) -> [u8; NODE_DESCRIPTION_BYTES] {
        let mut bytes = [0; NODE_DESCRIPTION_BYTES];
        for (to, from) in bytes.iter_mut().zip(self.node_description.bytes()) {
            *to = from;
        }
        bytes
    }
}

/// Place in a table, from 1 on; 0 if it is not there.
fn code<T: Copy + PartialEq>(table: &[T], value: T) -> u8 {
    table.iter().position(|one| *one == value).map_or(0, |index| index as u8 + 1)
}

/// Entries of the GID table: 8 * 2^`gid_table_size` (`mlx5_get_gid_table_len` of Linux's `driver.h`).
pub(crate) fn gid_table_len(capabilities: &Capabilities) -> usize {
    8 << capabilities.general(cmd_hca_cap::GID_TABLE_SIZE).min(4)
}

/// Entries of the P_Key table: 128 * 2^`pkey_table_size` (`mlx5_to_sw_pkey_sz` of Linux's `device.h`).
pub(crate) fn pkey_table_len(capabilities: &Capabilities) -> usize {
    128 << capabilities.general(cmd_hca_cap::PKEY_TABLE_SIZE).min(5)
}
