//! `[capabilities.*]`: the capability pages, field by field in the kernel header's names.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::field::{Field, FieldError};
use mlx5_twin_fw_cmds::layout::{FieldDesc, Kind, Layout, cmd_hca_cap};
use serde::Deserialize;

use super::{ProfileError, in_range, rule};

/// Bytes of a capability page in QUERY_HCA_CAP's answer (`mlx5_ifc.h`, `hca_cap_union`).
pub const CAP_PAGE_BYTES: usize = 4096;

/// A capability: an integer, a list for a field that is an array, or a section for one that has fields of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a number from 0 on, or a list of such numbers, or a section")]
pub enum CapabilityValue {
    /// The value of an integer field.
    One(u64),
    /// The values of an array field, all of them.
    List(Vec<u64>),
    /// The fields of a field that has some, by name.
    Nested(CapabilityMap),
}

/// The fields of a page that are not 0, by the kernel header's name.
pub type CapabilityMap = BTreeMap<String, CapabilityValue>;

/// `[capabilities.*]`. A page is answered if its section is there, or if a bit of the general page
/// makes Linux ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapabilitySections {
    /// Type 0, `cmd_hca_cap`. Always there.
    pub general: CapabilityMap,
    /// Type 0x20, `cmd_hca_cap_2`.
    pub general_2: Option<CapabilityMap>,
    /// Type 0x13, `virtio_emulation_cap`.
    pub virtio_emulation: Option<CapabilityMap>,
    /// Type 0x2a, `tlp_dev_emu_capabilities`.
    pub tlp_emulation: Option<CapabilityMap>,
    /// Type 0x14, `device_event_cap`.
    pub event: Option<CapabilityMap>,
    /// Type 1, `per_protocol_networking_offload_caps`.
    pub ethernet: Option<CapabilityMap>,
    /// Type 4, `roce_cap`.
    pub roce: Option<CapabilityMap>,
    /// Type 7, `flow_table_nic_cap`.
    pub flow_table: Option<CapabilityMap>,
    /// Type 3, `atomic_caps`.
    pub atomic: Option<CapabilityMap>,
    /// Type 0xc, `qos_cap`.
    pub qos: Option<CapabilityMap>,
    /// Type 0xf, `device_mem_cap`.
    pub device_memory: Option<CapabilityMap>,
}

/// A section of `[capabilities]` and the page it describes.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Name after `capabilities.`.
    pub name: &'static str,
    /// The page's type.
    pub cap_type: CapType,
    /// Finds the section.
    get: fn(&CapabilitySections) -> Option<&CapabilityMap>,
}

/// All sections of `[capabilities]`.
pub const SECTIONS: &[Section] = &[
    Section { name: "general", cap_type: CapType::GENERAL, get: |all| Some(&all.general) },
    Section { name: "ethernet", cap_type: CapType::ETHERNET_OFFLOADS, get: |all| all.ethernet.as_ref() },
    Section { name: "roce", cap_type: CapType::ROCE, get: |all| all.roce.as_ref() },
    Section { name: "flow_table", cap_type: CapType::FLOW_TABLE, get: |all| all.flow_table.as_ref() },
    Section { name: "atomic", cap_type: CapType::ATOMIC, get: |all| all.atomic.as_ref() },
    Section { name: "qos", cap_type: CapType::QOS, get: |all| all.qos.as_ref() },
    Section { name: "device_memory", cap_type: CapType::DEV_MEM, get: |all| all.device_memory.as_ref() },
    Section { name: "virtio_emulation", cap_type: CapType::VDPA_EMULATION, get: |all| all.virtio_emulation.as_ref() },
    Section { name: "event", cap_type: CapType::DEV_EVENT, get: |all| all.event.as_ref() },
    Section { name: "general_2", cap_type: CapType::GENERAL_2, get: |all| all.general_2.as_ref() },
    Section { name: "tlp_emulation", cap_type: CapType::TLP_EMULATION, get: |all| all.tlp_emulation.as_ref() },
];

/// Bits of the general page that make Linux's driver query another page.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Field of `cmd_hca_cap`.
    pub field: Field,
    /// Which bits of it.
    pub mask: u64,
    /// The page that is queried.
    pub cap_type: CapType,
}

const fn gate(field: Field, cap_type: CapType) -> Gate {
    Gate { field, mask: u64::MAX, cap_type }
}

/// What Linux's driver queries and when (`drivers/net/ethernet/mellanox/mlx5/core/fw.c`,
/// `mlx5_query_hca_caps`; a failure of any of these queries but DEBUG fails its probe).
pub const GATES: &[Gate] = &[
    gate(cmd_hca_cap::ETH_NET_OFFLOADS, CapType::ETHERNET_OFFLOADS),
    gate(cmd_hca_cap::PG, CapType::ODP),
    gate(cmd_hca_cap::ATOMIC, CapType::ATOMIC),
    gate(cmd_hca_cap::ROCE, CapType::ROCE),
    gate(cmd_hca_cap::IPOIB_ENHANCED_OFFLOADS, CapType::IPOIB_ENHANCED_OFFLOADS),
    gate(cmd_hca_cap::NIC_FLOW_TABLE, CapType::FLOW_TABLE),
    gate(cmd_hca_cap::IPOIB_ENHANCED_OFFLOADS, CapType::FLOW_TABLE),
    gate(cmd_hca_cap::ESWITCH_MANAGER, CapType::ESWITCH_FLOW_TABLE),
    gate(cmd_hca_cap::ESWITCH_MANAGER, CapType::ESWITCH),
    gate(cmd_hca_cap::QOS, CapType::QOS),
    gate(cmd_hca_cap::DEBUG, CapType::DEBUG),
    gate(cmd_hca_cap::DEVICE_MEMORY, CapType::DEV_MEM),
    gate(cmd_hca_cap::TLS_TX, CapType::TLS),
    gate(cmd_hca_cap::TLS_RX, CapType::TLS),
    Gate { field: cmd_hca_cap::GENERAL_OBJ_TYPES, mask: 1 << 13, cap_type: CapType::VDPA_EMULATION },
    gate(cmd_hca_cap::EVENT_CAP, CapType::DEV_EVENT),
    gate(cmd_hca_cap::IPSEC_OFFLOAD, CapType::IPSEC),
    gate(cmd_hca_cap::CRYPTO, CapType::CRYPTO),
    gate(cmd_hca_cap::SHAMPO, CapType::SHAMPO),
    gate(cmd_hca_cap::PSP, CapType::PSP),
    Gate { field: cmd_hca_cap::GENERAL_OBJ_TYPES, mask: 1 << 39, cap_type: CapType::MACSEC },
    gate(cmd_hca_cap::HCA_CAP_2, CapType::GENERAL_2),
    gate(cmd_hca_cap::PORT_SELECTION_CAP, CapType::PORT_SELECTION),
    gate(cmd_hca_cap::ADV_VIRTUALIZATION, CapType::ADV_VIRTUALIZATION),
    gate(cmd_hca_cap::ADV_RDMA, CapType::ADV_RDMA),
    gate(cmd_hca_cap::TLP_DEVICE_EMULATION_MANAGER, CapType::TLP_EMULATION),
];

/// Pages without which a gate's bit makes no sense; any other gated page may be all zero.
const NEEDS_SECTION: &[CapType] = &[CapType::VDPA_EMULATION, CapType::TLP_EMULATION];

/// Largest values the model's tables hold; where a number has 24 bits on the wire, that limit.
const LOG_LIMITS: &[(Field, u64)] = &[
    (cmd_hca_cap::LOG_MAX_UCTX, 16),
    (cmd_hca_cap::LOG_MAX_PD, 20),
    (cmd_hca_cap::LOG_MAX_UMEM, 20),
    (cmd_hca_cap::LOG_MAX_EQ_SZ, 22),
    (cmd_hca_cap::LOG_MAX_CQ, 24),
    (cmd_hca_cap::LOG_MAX_CQ_SZ, 22),
    (cmd_hca_cap::LOG_MAX_QP, 24),
    (cmd_hca_cap::LOG_MAX_QP_SZ, 15),
    (cmd_hca_cap::LOG_MAX_SRQ, 24),
    (cmd_hca_cap::LOG_MAX_SRQ_SZ, 15),
    (cmd_hca_cap::LOG_MAX_MKEY, 24),
    (cmd_hca_cap::LOG_MAX_XRCD, 24),
    (cmd_hca_cap::LOG_MAX_RMP, 24),
    (cmd_hca_cap::LOG_MAX_TRANSPORT_DOMAIN, 24),
    (cmd_hca_cap::LOG_MAX_MCG, 24),
    (cmd_hca_cap::LOG_MAX_SQ, 24),
    (cmd_hca_cap::LOG_MAX_RQ, 24),
    (cmd_hca_cap::LOG_MAX_RQT, 24),
    (cmd_hca_cap::LOG_MAX_RQT_SIZE, 16),
    (cmd_hca_cap::LOG_MAX_TIR, 24),
    (cmd_hca_cap::LOG_MAX_TIS, 24),
    (cmd_hca_cap::LOG_MAX_CURRENT_UC_LIST, 12),
    (cmd_hca_cap::LOG_MAX_CURRENT_MC_LIST, 12),
    (cmd_hca_cap::LOG_MAX_VLAN_LIST, 12),
];

/// Most flow counters. Ours.
const MAX_FLOW_COUNTERS: u64 = 1 << 20;

/// Most event queues: their number has 8 bits, and 0 is not used.
const MAX_EQS: u64 = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    max: Vec<u8>,
    current: Vec<u8>,
}

/// The capability pages: for each type the largest values and those in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pages: BTreeMap<CapType, Page>,
}

impl Capabilities {
    /// Makes the pages of a profile and checks them.
    ///
    /// # Errors
    /// [`ProfileError::UnknownField`], [`ProfileError::TooWide`], [`ProfileError::Shape`] for a
    /// field; [`ProfileError::SectionMissing`], [`ProfileError::OutOfRange`],
    /// [`ProfileError::Rule`] for what does not fit together.
    pub fn build(sections: &CapabilitySections) -> Result<Self, ProfileError> {
        let mut built = Self { pages: BTreeMap::new() };
        for Section { name, cap_type, get } in SECTIONS {
            let (Some(map), Some(layout)) = (get(sections), cap_type.layout()) else { continue };
            let mut bytes = vec![0; CAP_PAGE_BYTES];
            for (field, value) in map {
                let layout = cap_type.more().filter(|more| more.desc(field).is_some()).unwrap_or(layout);
                set(&mut bytes, layout, 0, &format!("capabilities.{name}"), field, value)?;
            }
            built.put(*cap_type, bytes);
        }
        for Gate { field, mask, cap_type } in GATES {
            if built.general(*field) & mask == 0 || built.lists(*cap_type) {
                continue;
            }
            if NEEDS_SECTION.contains(cap_type) {
                let name = SECTIONS.iter().find(|section| section.cap_type == *cap_type);
                let section = name.map_or("?", |section| section.name);
                return Err(ProfileError::SectionMissing {
                    gate: general_name(*field),
                    section: format!("capabilities.{section}"),
                });
            }
            built.put(*cap_type, vec![0; CAP_PAGE_BYTES]);
        }
        built.check()?;
        Ok(built)
    }

    /// Adds a page, of which the rest up to [`CAP_PAGE_BYTES`] is 0; it can't be set.
    ///
    /// # Errors
    /// [`ProfileError::PageTaken`], [`ProfileError::PageTooLong`].
    pub fn add_page(&mut self, cap_type: CapType, mut bytes: Vec<u8>) -> Result<(), ProfileError> {
        if self.lists(cap_type) {
            return Err(ProfileError::PageTaken { cap_type: cap_type.0 });
        }
        if bytes.len() > CAP_PAGE_BYTES {
            return Err(ProfileError::PageTooLong { len: bytes.len() });
        }
        bytes.resize(CAP_PAGE_BYTES, 0);
        self.put(cap_type, bytes);
        Ok(())
    }

    /// Whether there is a page of this type.
    #[must_use]
    pub fn lists(&self, cap_type: CapType) -> bool {
        self.pages.contains_key(&cap_type)
    }

    /// The types of all pages, rising.
    pub fn types(&self) -> impl Iterator<Item = CapType> {
        self.pages.keys().copied()
    }

    /// A page, [`CAP_PAGE_BYTES`] long.
    #[must_use]
    pub fn page(&self, cap_type: CapType, mode: CapMode) -> Option<&[u8]> {
        let page = self.pages.get(&cap_type)?;
        Some(match mode {
            CapMode::Max => &page.max,
            CapMode::Current => &page.current,
        })
    }

    /// Largest value of a field: 0 if there is no such page.
    #[must_use]
    pub fn max_field(&self, cap_type: CapType, field: Field) -> u64 {
        self.pages.get(&cap_type).and_then(|page| field.get(&page.max).ok()).unwrap_or(0)
    }

    /// Value in force of a field of the general page.
    #[must_use]
    pub fn general(&self, field: Field) -> u64 {
        let page = self.page(CapType::GENERAL, CapMode::Current);
        page.and_then(|page| field.get(page).ok()).unwrap_or(0)
    }

    /// Largest value of a field of the general page.
    #[must_use]
    pub fn general_max(&self, field: Field) -> u64 {
        self.max_field(CapType::GENERAL, field)
    }

    /// Puts other values in force. False if there is no such page or it has another length.
    pub(crate) fn set_current(&mut self, cap_type: CapType, bytes: &[u8]) -> bool {
        match self.pages.get_mut(&cap_type) {
            Some(page) if page.current.len() == bytes.len() => {
                page.current.copy_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Puts the largest values of every page in force again.
    pub(crate) fn reset(&mut self) {
        for page in self.pages.values_mut() {
            page.current.copy_from_slice(&page.max);
        }
    }

    fn put(&mut self, cap_type: CapType, bytes: Vec<u8>) {
        self.pages.insert(cap_type, Page { current: bytes.clone(), max: bytes });
    }

    fn check(&self) -> Result<(), ProfileError> {
        for &(field, most) in LOG_LIMITS {
            in_range(&general_name(field), self.general(field), 0, most)?;
        }
        in_range(&general_name(cmd_hca_cap::MAX_NUM_EQS), self.general(cmd_hca_cap::MAX_NUM_EQS), 0, MAX_EQS)?;
        if self.general(cmd_hca_cap::MAX_NUM_EQS) == 0 {
            let log_max_eq = self.general(cmd_hca_cap::LOG_MAX_EQ);
            in_range(&general_name(cmd_hca_cap::LOG_MAX_EQ), log_max_eq, 0, 7)?;
        }
        let high = self.general(cmd_hca_cap::MAX_FLOW_COUNTER_31_16);
        in_range(&general_name(cmd_hca_cap::MAX_FLOW_COUNTER_31_16), high, 0, (MAX_FLOW_COUNTERS >> 16) - 1)?;
        let uar_4k = self.general(cmd_hca_cap::UAR_4K);
        rule(
            uar_4k == 0 || self.general(cmd_hca_cap::NUM_OF_UARS_PER_PAGE) != 0,
            &general_name(cmd_hca_cap::UAR_4K),
            uar_4k,
            "with num_of_uars_per_page = 0 Linux's driver would use an empty bitmap",
        )
    }
}

/// A field of the general page as a profile names it.
fn general_name(field: Field) -> String {
    format!("capabilities.general.{}", field.name)
}

/// Writes one entry of a section into its page, in which the section's layout starts `base` bits in.
fn set(
    page: &mut [u8],
    layout: &'static Layout,
    base: u32,
    section: &str,
    name: &str,
    value: &CapabilityValue,
) -> Result<(), ProfileError> {
    let path = format!("{section}.{name}");
    let Some(&FieldDesc { name, offset, kind, .. }) = layout.desc(name) else {
        return Err(ProfileError::UnknownField { field: path, layout: layout.name });
    };
    let shape = |expected: String| {
        let found = match value {
            CapabilityValue::One(_) => "a number".to_owned(),
            CapabilityValue::List(list) => format!("a list of {}", list.len()),
            CapabilityValue::Nested(_) => "a section".to_owned(),
        };
        Err(ProfileError::Shape { field: path.clone(), expected, found })
    };
    let write = |page: &mut [u8], field: Field, value: u64| match field.set(page, value) {
        Ok(()) => Ok(()),
        Err(FieldError::TooLarge { width, .. }) => Err(ProfileError::TooWide { field: path.clone(), value, width }),
        Err(_) => Err(ProfileError::UnknownField { field: path.clone(), layout: layout.name }),
    };
    let at = |offset, width| Field { layout: layout.name, name, offset: base + offset, width };
    match (kind, value) {
        (Kind::Uint, CapabilityValue::One(value)) => match layout.field(name) {
            Some(field) => write(page, field.within(base), *value),
            None => Err(ProfileError::UnknownField { field: path.clone(), layout: layout.name }),
        },
        (Kind::Array { element, count: Some(count) }, CapabilityValue::List(list)) if list.len() == count as usize => {
            let offsets = (offset..).step_by(element as usize);
            offsets.zip(list).try_for_each(|(offset, value)| write(page, at(offset, element), *value))
        }
        (Kind::Nested(inner), CapabilityValue::Nested(map)) => {
            map.iter().try_for_each(|(field, value)| set(page, inner, base + offset, &path, field, value))
        }
        (Kind::Nested(_), _) => shape("a section of its own".to_owned()),
        (Kind::Array { count: Some(count), .. }, _) => shape(format!("a list of {count} numbers")),
        (Kind::Uint, CapabilityValue::List(_) | CapabilityValue::Nested(_)) => shape("a number".to_owned()),
        (Kind::Array { .. } | Kind::Bytes, _) => shape("no value: it can't be set by a profile".to_owned()),
    }
}
