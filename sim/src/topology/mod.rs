//! A fabric as data: root complexes, switches and endpoints with their links and slots, as a TOML text says them.
//!
//! Whatever is below something else names what is `above` it, which must stand before it: so there can be no circle. An entry with a `count`, or one
//! above which there are several, stands for that many: their names are the entry's with a number from 0 behind it, and the entry's own name means
//! all of them. So two entries make a thousand endpoints:
//!
//! ```
//! # use mlx5_twin_sim::topology::Topology;
//! let topology: Topology = toml::from_str(
//!     r#"
//!     [[roots]]
//!     name = "host"
//!     count = 40
//!
//!     [[nodes]]
//!     name = "card"
//!     above = "host"
//!     count = 25
//!     endpoint = { bar = 65536 }
//!     "#,
//! )?;
//! let built = topology.build(Default::default(), 1)?;
//! assert_eq!(built.endpoints().count(), 1_000);
//! assert!(built.part("card999").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `fixtures/topologies/` has a documented example.

mod build;
mod error;
mod plan;
mod regular;
mod run;
#[cfg(any(test, feature = "proptest"))]
pub mod strategy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use build::{Built, Part, PartKind, PartShape, Seat};
pub use error::SpecError;
pub use regular::Regular;
pub use run::{RunError, Running};

use crate::config;
use crate::fabric::PeerToPeer;
use crate::profile::{self, Credits, DataLink, Range, VirtualChannels};

/// The most root ports that a root complex has here: the devices 1 to 31 of bus 0.
pub const ROOT_PORTS: usize = 31;
/// The most downstream ports of a switch: one for each device number of its bus.
pub const SWITCH_PORTS: usize = 32;
/// The most buses below a root complex, its own one not counted.
pub const BUSES: usize = 255;

/// A fabric. The fields are those of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// What ports and endpoints say they are, where nothing else is said.
    #[serde(default)]
    pub identity: Identity,
    /// Kinds of links, by name. `default` is taken where no other is named.
    #[serde(default)]
    pub links: BTreeMap<String, LinkKind>,
    /// Root complexes.
    pub roots: Vec<Root>,
    /// Switches, endpoints and emulated functions. Those with the same thing above are at its ports in this order.
    #[serde(default)]
    pub nodes: Vec<Node>,
}

/// What ports and endpoints say they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Vendor ID of all.
    pub vendor_id: u16,
    /// Device ID of all ports.
    pub port_device_id: u16,
    /// Device ID of endpoints. That of virtual functions is one more.
    pub device_id: u16,
    /// The largest Max_Payload_Size supported: 128 to 4,096 bytes.
    pub max_payload: u32,
}

impl Default for Identity {
    /// Vendor fff1; ports are device 1, endpoints 2; a payload of 512 bytes.
    fn default() -> Identity {
        Identity { vendor_id: 0xfff1, port_device_id: 1, device_id: 2, max_payload: 512 }
    }
}

/// What ports say they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
}

/// A kind of link. What isn't said is as in the internal link of the profile `bluefield3-ib`: generation 5 with 16 lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkKind {
    /// 1 (2.5 GT/s) to 5 (32 GT/s).
    pub generation: u8,
    /// 1, 2, 4, 8, 12, 16 or 32.
    pub lanes: u8,
    /// Time of flight.
    pub propagation: Range,
    /// What the receiver at each end advertises, for VC0.
    pub credits: Credits,
    /// The virtual channels beyond VC0: none.
    #[serde(skip_serializing_if = "VirtualChannels::is_empty")]
    pub virtual_channels: VirtualChannels,
    /// How the data link layer is simulated: `rated`.
    #[serde(skip_serializing_if = "DataLink::is_rated")]
    pub data_link: DataLink,
}

impl Default for LinkKind {
    fn default() -> LinkKind {
        profile::Topology::default().internal_link.into()
    }
}

impl From<profile::Link> for LinkKind {
    fn from(link: profile::Link) -> LinkKind {
        let profile::Link { generation, lanes, propagation, credits, virtual_channels, data_link } = link;
        LinkKind { generation, lanes, propagation, credits, virtual_channels, data_link }
    }
}

impl From<LinkKind> for profile::Link {
    fn from(kind: LinkKind) -> profile::Link {
        let LinkKind { generation, lanes, propagation, credits, virtual_channels, data_link } = kind;
        profile::Link { generation, lanes, propagation, credits, virtual_channels, data_link }
    }
}

const fn memory_mib() -> u64 {
    16
}

const fn boundary() -> u32 {
    64
}

/// A root complex, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// How many there are, 1 to 1,024. With this, even 1, they are numbered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
    /// Memory in MiB, 1 to 2,048; it begins at address 0. 16 if nothing is said.
    #[serde(default = "memory_mib")]
    pub memory_mib: u64,
    /// Read Completion Boundary: 64 (if nothing is said) or 128 bytes.
    #[serde(default = "boundary")]
    pub read_completion_boundary: u32,
    /// What it does with requests from one root port to what is behind another: `"refused"` (if nothing is said), or `{ split = N }`.
    #[serde(default)]
    pub peer_to_peer: PeerToPeer,
    /// Root ports without a link, behind those with one. With those 31 at most.
    #[serde(default)]
    pub spare_ports: u8,
    /// What its root ports say they are, if it's something else than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Ids>,
    /// The largest Max_Payload_Size that its root ports support, if it's another one than of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<u32>,
}

impl Root {
    /// A root complex of this name, with 16 MiB and nothing else that isn't usual.
    pub fn new(name: &str) -> Root {
        Root {
            name: name.to_owned(),
            count: None,
            memory_mib: memory_mib(),
            read_completion_boundary: boundary(),
            peer_to_peer: PeerToPeer::Refused,
            spare_ports: 0,
            ids: None,
            max_payload: None,
        }
    }
}

/// A switch or endpoint, or several, and the link above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NodeText", into = "NodeText")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The name of a root complex or switch that stands before it: one, or all of an entry.
    pub above: String,
    /// How many there are below each one above, 1 to 1,024. With this, even 1, or with several above, they are numbered.
    pub count: Option<u16>,
    /// The kind of its link.
    pub link: Option<String>,
    /// The slot that it's in, at the port above. Without one it's soldered on.
    pub slot: Option<Slot>,
    /// The largest Max_Payload_Size that it supports, if it's another one than of the others.
    pub max_payload: Option<u32>,
    /// What it is.
    pub body: Body,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A switch. It has a downstream port for each node that names it.
    Switch(Switch),
    /// An endpoint.
    Endpoint(Endpoint),
    /// A function that something outside of the topology emulates.
    Emulated(Emulated),
}

/// A function that something outside of the topology emulates: all of them are ports of one device ([`Topology::build_around`]). Nothing
/// is to be said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulated {}

/// A switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Switch {
    /// Downstream ports without a link, behind those with one. With those 32 at most.
    pub spare_ports: u8,
    /// The kind of link that those could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_link: Option<String>,
    /// What its ports say they are, if it's something else than the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Ids>,
}

/// An endpoint whose functions have memory behind BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Size of each function's BAR 0 in bytes: a power of two, 128 to 2^36.
    pub bar: u64,
    /// Physical functions: 1 to 8, with `ari` 1 to 256.
    pub functions: u16,
    /// Virtual functions that each of them can have: 0 to 65,535. Software enables them.
    pub virtual_functions: u16,
    /// Whether the functions have the ARI capability.
    pub ari: bool,
}

impl Default for Endpoint {
    /// One function with a BAR of 64 KiB.
    fn default() -> Endpoint {
        Endpoint { bar: 1 << 16, functions: 1, virtual_functions: 0, ari: false }
    }
}

/// A slot. What isn't said is as in a hot-plug slot with an attention button and a power controller, and a device in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slot {
    /// Can a device come and go while the system runs?
    pub hot_plug: bool,
    /// May it go without warning?
    pub surprise: bool,
    /// Is there an attention button?
    pub attention_button: bool,
    /// Is there a sensor of the manually operated retention latch?
    pub mrl_sensor: bool,
    /// Is there an attention indicator?
    pub attention_indicator: bool,
    /// Is there a power indicator?
    pub power_indicator: bool,
    /// Can software switch the power?
    pub power_controller: bool,
    /// Is there an electromechanical interlock?
    pub interlock: bool,
    /// Can software keep what the link detects out of the presence?
    pub in_band_disable: bool,
    /// Are commands done at once, without Command Completed?
    pub no_command_completed: bool,
    /// Slot power limit in watts, 0 to 239.
    pub power_limit: u8,
    /// Is the device in it from the beginning?
    pub present: bool,
    /// Physical Slot Number, 0 to 8,191; if nothing is said, slots are counted from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            hot_plug: true,
            surprise: false,
            attention_button: true,
            mrl_sensor: false,
            attention_indicator: false,
            power_indicator: false,
            power_controller: true,
            interlock: false,
            in_band_disable: false,
            no_command_completed: false,
            power_limit: 0,
            present: true,
            number: None,
        }
    }
}

impl Slot {
    /// The slot's registers, with its number.
    fn registers(self, number: u16) -> config::Slot {
        config::Slot {
            number,
            hot_plug: self.hot_plug,
            surprise: self.surprise,
            attention_button: self.attention_button,
            mrl_sensor: self.mrl_sensor,
            attention_indicator: self.attention_indicator,
            power_indicator: self.power_indicator,
            power_controller: self.power_controller,
            interlock: self.interlock,
            in_band_disable: self.in_band_disable,
            no_command_completed: self.no_command_completed,
            power_limit: self.power_limit,
            present: self.present,
        }
    }
}

/// A node as the text has it: with one of `switch`, `endpoint` and `emulated`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeText {
    name: String,
    above: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_payload: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    switch: Option<Switch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emulated: Option<Emulated>,
}

impl TryFrom<NodeText> for Node {
    type Error = SpecError;

    fn try_from(text: NodeText) -> Result<Node, SpecError> {
        let NodeText { name, above, count, link, max_payload, slot, switch, endpoint, emulated } = text;
        let body = match (switch, endpoint, emulated) {
            (Some(switch), None, None) => Body::Switch(switch),
            (None, Some(endpoint), None) => Body::Endpoint(endpoint),
            (None, None, Some(emulated)) => Body::Emulated(emulated),
            _ => return Err(SpecError::Body { node: name }),
        };
        Ok(Node { name, above, count, link, slot, max_payload, body })
    }
}

impl From<Node> for NodeText {
    fn from(node: Node) -> NodeText {
        let Node { name, above, count, link, slot, max_payload, body } = node;
        let (mut switch, mut endpoint, mut emulated) = (None, None, None);
        match body {
            Body::Switch(body) => switch = Some(body),
            Body::Endpoint(body) => endpoint = Some(body),
            Body::Emulated(body) => emulated = Some(body),
        }
        NodeText { name, above, count, link, max_payload, slot, switch, endpoint, emulated }
    }
}
