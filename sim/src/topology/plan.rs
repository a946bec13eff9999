//! From entries to single parts: names, what is below what, and whether all of it fits.

use std::collections::BTreeMap;

use super::{
    BUSES, Body, Endpoint, Node, PartKind, PartShape, ROOT_PORTS, Root, SWITCH_PORTS, SpecError, Switch, Topology,
};
use crate::fabric::PeerToPeer;
use crate::profile::{Link, OutOfRange, check};

/// The most links of a fabric, and so the most nodes.
const LINKS: usize = 1 << 14;
/// The least that any Max_Payload_Size is.
const SMALLEST_PAYLOAD: u32 = 128;
const POWERS: &str = "128, 256, 512, 1024, 2048 or 4096";
/// The largest BAR: so that the default address map has room for it.
const LARGEST_BAR: u64 = 1 << 36;

/// What a part is made from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    Root(&'a Root),
    Node(&'a Node),
}

/// One root complex, switch or endpoint.
#[derive(Clone, Debug)]
pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) source: Source<'a>,
    /// The part above.
    pub(super) above: Option<usize>,
    /// The root complex above all.
    pub(super) root: usize,
    /// The parts below, by port.
    pub(super) below: Vec<usize>,
}

impl Planned<'_> {
    pub(super) fn kind(&self) -> PartKind {
        match self.source {
            Source::Root(_) => PartKind::Root,
            Source::Node(Node { body: Body::Switch(_), .. }) => PartKind::Switch,
            Source::Node(Node { body: Body::Endpoint(_), .. }) => PartKind::Endpoint,
            Source::Node(Node { body: Body::Emulated(_), .. }) => PartKind::Emulated,
        }
    }

    fn spare_ports(&self) -> usize {
        match self.source {
            Source::Root(root) => usize::from(root.spare_ports),
            Source::Node(Node { body: Body::Switch(switch), .. }) => usize::from(switch.spare_ports),
            Source::Node(_) => 0,
        }
    }

    fn section(&self, section: &str) -> String {
        let kind = if matches!(self.source, Source::Root(_)) { "roots" } else { "nodes" };
        format!("{section}.{kind}.{}", self.name)
    }

    /// Functions that it has if all virtual ones are enabled, without those of ports.
    fn functions(&self) -> u64 {
        let Source::Node(Node { body, .. }) = self.source else { return 0 };
        match body {
            Body::Switch(_) => 0,
            Body::Emulated(_) => 1,
            Body::Endpoint(endpoint) => u64::from(endpoint.functions) * (1 + u64::from(endpoint.virtual_functions)),
        }
    }
}

/// All parts of a topology, those above before those below.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    /// What errors call the topology: `topology`, or the section of a larger text.
    section: &'a str,
    pub(super) parts: Vec<Planned<'a>>,
    /// By name: of one part, or of all parts of an entry.
    pub(super) names: BTreeMap<String, Vec<usize>>,
}

fn name(field: impl FnOnce() -> String, name: &str) -> Result<(), SpecError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.chars().all(legal) {
        return Ok(());
    }
    Err(SpecError::Name { field: field(), name: name.to_owned() })
}

impl<'a> Plan<'a> {
    /// Takes a topology apart and checks all of it.
    pub(super) fn new(topology: &'a Topology, section: &'a str) -> Result<Plan<'a>, SpecError> {
        payload(&format!("{section}.identity"), topology.identity.max_payload)?;
        for (kind, link) in &topology.links {
            name(|| format!("{section}.links"), kind)?;
            // Whether its credits are enough for larger payloads depends on the node that it leads to.
            Link::from(*link).validate(&format!("{section}.links.{kind}"), SMALLEST_PAYLOAD)?;
        }
        check(section, "roots", topology.roots.len() as u64, !topology.roots.is_empty(), "1 or more")?;
        let mut plan = Plan { section, parts: Vec::new(), names: BTreeMap::new() };
        for root in &topology.roots {
            plan.root(root)?;
        }
        for node in &topology.nodes {
            topology.check_node(section, node)?;
            plan.node(node)?;
        }
        plan.check_ports()?;
        Ok(plan)
    }

    fn root(&mut self, root: &'a Root) -> Result<(), SpecError> {
        name(|| format!("{}.roots.name", self.section), &root.name)?;
        let section = format!("{}.roots.{}", self.section, root.name);
        if let Some(bytes) = root.max_payload {
            payload(&section, bytes)?;
        }
        check(&section, "memory_mib", root.memory_mib, (1..=2048).contains(&root.memory_mib), "1 to 2048")?;
        let boundary = root.read_completion_boundary;
        check(&section, "read_completion_boundary", boundary, [64, 128].contains(&boundary), "64 or 128")?;
        if let PeerToPeer::Split(split) = root.peer_to_peer {
            let valid = root.peer_to_peer.is_valid();
            check(&section, "peer_to_peer.split", split, valid, "a power of two, 64 to 4096")?;
        }
        self.add(&section, &root.name, Source::Root(root), &[None], root.count)
    }

    fn node(&mut self, node: &'a Node) -> Result<(), SpecError> {
        name(|| format!("{}.nodes.name", self.section), &node.name)?;
        let section = format!("{}.nodes.{}", self.section, node.name);
        let unknown = || SpecError::Unknown {
            field: format!("{section}.above"),
            name: node.above.clone(),
            what: "root complex or switch before it",
        };
        let above = self.names.get(&node.above).ok_or_else(unknown)?;
        let is_endpoint = |&part: &usize| {
            matches!(
                self.parts.get(part).map(|part| part.source),
                Some(Source::Node(Node { body: Body::Endpoint(_) | Body::Emulated(_), .. }))
            )
        };
        if above.iter().any(is_endpoint) {
            return Err(unknown());
        }
        let above: Vec<_> = above.iter().copied().map(Some).collect();
        self.add(&section, &node.name, Source::Node(node), &above, node.count)
    }

    /// Adds `count` parts below each of `above`.
    fn add(
        &mut self,
        section: &str,
        name: &str,
        source: Source<'a>,
        above: &[Option<usize>],
        count: Option<u16>,
    ) -> Result<(), SpecError> {
        let each = count.unwrap_or(1);
        check(section, "count", each, (1..=1024).contains(&each), "1 to 1024")?;
        let total = above.len() * usize::from(each);
        let all = self.parts.len() + total;
        check(section, "count", each, all <= LINKS, "so many that all are at most 16384")?;
        let first = self.parts.len();
        let single = count.is_none() && above.len() == 1;
        for (number, above) in above.iter().flat_map(|above| std::iter::repeat_n(*above, usize::from(each))).enumerate()
        {
            let index = first + number;
            let root = above.and_then(|above| self.parts.get(above)).map_or(index, |above| above.root);
            let name = if single { name.to_owned() } else { format!("{name}{number}") };
            if let Some(above) = above.and_then(|above| self.parts.get_mut(above)) {
                above.below.push(index);
            }
            self.call(section, &name, vec![index])?;
            self.parts.push(Planned { name, source, above, root, below: Vec::new() });
        }
        if single { Ok(()) } else { self.call(section, name, (first..first + total).collect()) }
    }

    /// Gives parts a name.
    fn call(&mut self, section: &str, name: &str, parts: Vec<usize>) -> Result<(), SpecError> {
        match self.names.insert(name.to_owned(), parts) {
            None => Ok(()),
            Some(_) => Err(SpecError::Twice { field: format!("{section}.name"), name: name.to_owned() }),
        }
    }

    /// Checks how many ports each part has, and how many buses each root complex needs.
    fn check_ports(&self) -> Result<(), OutOfRange> {
        let mut buses = vec![0; self.parts.len()];
        for part in &self.parts {
            let ports = part.below.len() + part.spare_ports();
            let (most, allowed) = match part.source {
                Source::Root(_) => (ROOT_PORTS, "0 to 31: links below and spare ports"),
                Source::Node(_) => (SWITCH_PORTS, "0 to 32: links below and spare ports"),
            };
            check(&part.section(self.section), "ports", ports as u64, ports <= most, allowed)?;
            // Each port has a bus below it, and so has the upstream port of a switch.
            let upstream = usize::from(matches!(part.source, Source::Node(Node { body: Body::Switch(_), .. })));
            if let Some(buses) = buses.get_mut(part.root) {
                *buses += ports + upstream;
            }
        }
        for (part, needed) in self.parts.iter().zip(buses) {
            let allowed = "0 to 255: one below each port, and one within each switch";
            check(&part.section(self.section), "buses", needed as u64, needed <= BUSES, allowed)?;
        }
        Ok(())
    }
}

impl Topology {
    /// Checks all of it: what [`Topology::build`] checks.
    ///
    /// # Errors
    /// [`SpecError`]: the first thing that's wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.shape("topology").map(|_| ())
    }

    /// The names of all single parts, and what they are; checks what [`Topology::validate`] checks. Errors call the topology `section`.
    ///
    /// # Errors
    /// [`SpecError`]: the first thing that's wrong.
    pub fn shape(&self, section: &str) -> Result<Vec<PartShape>, SpecError> {
        let plan = Plan::new(self, section)?;
        let shape = |part: &Planned<'_>| PartShape {
            name: part.name.clone(),
            kind: part.kind(),
            root: plan.parts.get(part.root).map_or_else(String::new, |root| root.name.clone()),
            functions: part.functions(),
        };
        Ok(plan.parts.iter().map(shape).collect())
    }

    /// The kind of link of that name, or the one without a name.
    pub(super) fn link(&self, section: &str, kind: Option<&str>) -> Result<Link, SpecError> {
        let unknown = |kind: &str| SpecError::Unknown {
            field: format!("{section}.link"),
            name: kind.to_owned(),
            what: "kind of link",
        };
        match kind {
            Some(kind) => self.links.get(kind).map(|&kind| kind.into()).ok_or_else(|| unknown(kind)),
            None => Ok(self.links.get("default").copied().unwrap_or_default().into()),
        }
    }

    fn check_node(&self, section: &str, node: &Node) -> Result<(), SpecError> {
        let section = format!("{section}.nodes.{}", node.name);
        let link = self.link(&section, node.link.as_deref())?;
        let max_payload = node.max_payload.unwrap_or(self.identity.max_payload);
        payload(&section, max_payload)?;
        link.validate(&format!("{section}.link"), max_payload)?;
        if let Some(slot) = node.slot {
            let watts = slot.power_limit;
            let section = format!("{section}.slot");
            check(&section, "power_limit", watts, watts <= 239, "0 to 239")?;
            let number = slot.number.unwrap_or_default();
            check(&section, "number", number, number < 1 << 13, "0 to 8191")?;
        }
        if let Body::Switch(Switch { spare_link, .. }) = &node.body {
            self.link(&format!("{section}.switch.spare"), spare_link.as_deref())?;
        }
        if let Body::Endpoint(endpoint) = &node.body {
            let section = format!("{section}.endpoint");
            let &Endpoint { bar, functions, ari, .. } = endpoint;
            let ok = bar.is_power_of_two() && (128..=LARGEST_BAR).contains(&bar);
            check(&section, "bar", bar, ok, "a power of two, 128 to 2^36")?;
            let (most, allowed) = if ari { (256, "1 to 256") } else { (8, "1 to 8, or with ari 1 to 256") };
            check(&section, "functions", functions, (1..=most).contains(&functions), allowed)?;
        }
        Ok(())
    }
}

fn payload(section: &str, max_payload: u32) -> Result<(), OutOfRange> {
    let ok = max_payload.is_power_of_two() && (128..=4096).contains(&max_payload);
    check(section, "max_payload", max_payload, ok, POWERS)
}
