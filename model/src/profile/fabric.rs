//! The section `[fabric]`: what there is beside the card, as `mlx5_twin_sim::topology` has it, and where the card is in it.
//!
//! Four names are the machine's own: the root complexes `host` and `dpu`, the card's internal `switch`, and `mlx5`, the function below `dpu`. The functions of
//! `[topology]` are `function0` and so on, and the kinds of links of that section are `host`, `dpu` and `internal`.

use std::collections::BTreeMap;

use mlx5_twin_fw_cmds::twin_v1::MAX_FUNCTIONS;
use mlx5_twin_sim::profile::Side;
use mlx5_twin_sim::topology::{
    Body, Emulated, Identity, Ids, LinkKind, Node, PartKind, PartShape, Root, Slot, SpecError, Switch, Topology,
};
use serde::Deserialize;

use super::{Profile, ProfileError, in_range, rule};

/// What errors call the topology of a machine.
pub(crate) const SECTION: &str = "fabric";
/// The host's root complex.
pub(crate) const HOST: &str = "host";
/// The root complex of the DPU's cores.
pub(crate) const DPU: &str = "dpu";
/// The card's internal switch.
pub(crate) const SWITCH: &str = "switch";
/// The function that the DPU's cores drive.
pub(crate) const MLX5: &str = "mlx5";
/// The kind of link between the internal switch and an emulated function.
const INTERNAL: &str = "internal";
/// The most functions of endpoints together, virtual ones too (ours).
const MOST_FUNCTIONS: u64 = 4096;
/// The most memory of all root complexes together, in MiB (ours).
const MOST_MEMORY_MIB: u64 = 1 << 16;

/// Identity of the root ports (ours: the vendor ID isn't assigned).
pub(crate) const ROOT_PORT: Ids = Ids { vendor_id: 0xfff1, device_id: 0x8000 };
/// Device ID of the ports of the card's internal switch (ours). The vendor is the card's own.
const SWITCH_PORT: u16 = 0x197b;

/// `[fabric]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FabricSection {
    /// What the card's internal switch is below: `host`, or a switch below that. Whatever is below the card's switch must stand behind this one.
    pub switch_above: String,
    /// What the ports and endpoints of this section say they are.
    pub identity: FabricIdentity,
    /// Kinds of links.
    pub links: BTreeMap<String, LinkKind>,
    /// Further root complexes.
    pub roots: Vec<Root>,
    /// Switches, endpoints and emulated functions.
    pub nodes: Vec<Node>,
}

impl Default for FabricSection {
    /// Nothing but the card, at the host's first root port.
    fn default() -> FabricSection {
        FabricSection {
            switch_above: HOST.to_owned(),
            identity: FabricIdentity::default(),
            links: BTreeMap::new(),
            roots: Vec::new(),
            nodes: Vec::new(),
        }
    }
}

/// `[fabric.identity]`: what the ports and endpoints of `[fabric]` say they are. The IDs that are taken if nothing is said are ours, and no device's of
/// this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FabricIdentity {
    /// Vendor ID of all: fff1.
    pub vendor_id: u16,
    /// Device ID of ports: 8001.
    pub port_device_id: u16,
    /// Device ID of endpoints: 9000. That of virtual functions is one more.
    pub device_id: u16,
    /// The largest Max_Payload_Size supported, 128 to 4,096 bytes; that of `[topology]` if nothing is said.
    pub max_payload: Option<u32>,
}

impl Default for FabricIdentity {
    fn default() -> FabricIdentity {
        FabricIdentity { vendor_id: 0xfff1, port_device_id: 0x8001, device_id: 0x9000, max_payload: None }
    }
}

/// The name of a function of `[topology]` in the topology.
pub(crate) fn function(number: u8) -> String {
    format!("function{number}")
}

impl Profile {
    /// The whole fabric: the machine of `[topology]`, and around it what `[fabric]` has.
    ///
    /// # Errors
    /// A name or a place that the machine doesn't leave to `[fabric]`. What else there is to be checked, [`Topology::shape`] checks.
    pub fn fabric_topology(&self) -> Result<Topology, ProfileError> {
        let fabric = &self.fabric;
        let mut links = fabric.links.clone();
        for (name, link) in
            [(HOST, self.topology.host.link), (DPU, self.topology.dpu.link), (INTERNAL, self.topology.internal_link)]
        {
            let free = links.insert(name.to_owned(), link.into()).is_none();
            rule(free, &format!("fabric.links.{name}"), name, "the name of a link of [topology]")?;
        }
        let mut roots = vec![self.root(HOST, &self.topology.host), self.root(DPU, &self.topology.dpu)];
        roots.extend(fabric.roots.iter().cloned());
        let mut nodes = fabric.nodes.clone();
        for node in &nodes {
            let field = format!("fabric.nodes.{}", node.name);
            rule(node.above != DPU, &format!("{field}.above"), &node.above, "only mlx5 is below dpu")?;
            let fixed = !matches!(node.body, Body::Emulated(_)) || node.slot.is_none();
            rule(fixed, &format!("{field}.slot"), "emulated", "hot-plug ports are those of topology.hotplug_ports")?;
        }
        let place = self.place_of_card()?;
        nodes.splice(place..place, self.card());
        let FabricIdentity { vendor_id, port_device_id, device_id, max_payload } = fabric.identity;
        let max_payload = max_payload.unwrap_or(self.topology.max_payload);
        let identity = Identity { vendor_id, port_device_id, device_id, max_payload };
        Ok(Topology { identity, links, roots, nodes })
    }

    /// Checks the whole fabric.
    ///
    /// # Errors
    /// The first rule that's broken.
    pub(super) fn check_fabric(&self) -> Result<(), ProfileError> {
        let topology = self.fabric_topology()?;
        let parts = topology.shape(SECTION).map_err(|error| Box::new(of_the_text(error)))?;
        let card = parts.iter().find(|part| part.name == SWITCH);
        let rule_of_card = "one switch below host, or host";
        let field = "fabric.switch_above";
        rule(card.is_some_and(|card| card.root == HOST), field, &self.fabric.switch_above, rule_of_card)?;
        // The one that isn't an emulated function is mlx5.
        let emulated = count(&parts, PartKind::Emulated) - 1;
        in_range("fabric.nodes: emulated functions", emulated, 0, u64::from(MAX_FUNCTIONS))?;
        let functions = count(&parts, PartKind::Endpoint);
        in_range("fabric.nodes: functions of endpoints", functions, 0, MOST_FUNCTIONS)?;
        let memory = |root: &Root| root.memory_mib * u64::from(root.count.unwrap_or(1));
        let memory = topology.roots.iter().map(memory).sum();
        in_range("fabric.roots: MiB of memory, with those of [topology]", memory, 0, MOST_MEMORY_MIB)
    }

    fn root(&self, name: &str, side: &Side) -> Root {
        Root {
            memory_mib: side.memory_mib,
            read_completion_boundary: self.topology.read_completion_boundary,
            peer_to_peer: side.peer_to_peer,
            ids: Some(ROOT_PORT),
            max_payload: Some(self.topology.max_payload),
            ..Root::new(name)
        }
    }

    /// Where among the section's nodes those of the card stand: behind the one that the card is below.
    fn place_of_card(&self) -> Result<usize, ProfileError> {
        let FabricSection { switch_above: above, nodes, roots, .. } = &self.fabric;
        let names = |name: &str| {
            let number = above.strip_prefix(name);
            number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let exact = nodes.iter().position(|node| node.name == *above);
        if above == HOST || exact.is_none() && roots.iter().any(|root| names(&root.name)) {
            return Ok(0);
        }
        let place = exact.or_else(|| nodes.iter().position(|node| names(&node.name)));
        let what = "root complex or switch";
        let unknown = || SpecError::Unknown { field: "fabric.switch_above".to_owned(), name: above.clone(), what };
        Ok(1 + place.ok_or_else(unknown).map_err(Box::new)?)
    }

    /// The nodes of the card.
    fn card(&self) -> Vec<Node> {
        let topology = &self.topology;
        let node = |name: &str, above: &str, link: &str, body| Node {
            name: name.to_owned(),
            above: above.to_owned(),
            count: None,
            link: Some(link.to_owned()),
            slot: None,
            max_payload: Some(topology.max_payload),
            body,
        };
        let fixed = topology.static_functions;
        let used = fixed.saturating_add(topology.hotplug_ports);
        let switch = Switch {
            spare_ports: topology.downstream_ports.saturating_sub(used),
            spare_link: Some(INTERNAL.to_owned()),
            ids: Some(Ids { vendor_id: self.device.vendor_id, device_id: SWITCH_PORT }),
        };
        let mut nodes = vec![
            node(SWITCH, &self.fabric.switch_above, HOST, Body::Switch(switch)),
            node(MLX5, DPU, DPU, Body::Emulated(Emulated {})),
        ];
        nodes.extend((0..used).map(|number| Node {
            slot: (number >= fixed).then(|| Slot {
                present: false,
                number: Some(u16::from(number) + 1),
                ..Slot::default()
            }),
            ..node(&function(number), SWITCH, INTERNAL, Body::Emulated(Emulated {}))
        }));
        nodes
    }
}

/// An error with the name that the field has in the profile.
fn of_the_text(mut error: SpecError) -> SpecError {
    if let SpecError::Unknown { field, .. } = &mut error
        && *field == format!("{SECTION}.nodes.{SWITCH}.above")
    {
        *field = format!("{SECTION}.switch_above");
    }
    error
}

/// How many parts of that kind there are; of endpoints, how many functions.
fn count(parts: &[PartShape], kind: PartKind) -> u64 {
    parts.iter().filter(|part| part.kind == kind).map(|part| part.functions).sum()
}
