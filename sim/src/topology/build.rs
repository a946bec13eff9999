//! A fabric built as a topology says.

use std::collections::BTreeMap;

use super::plan::{Plan, Planned, Source};
use super::{Body, Endpoint, Ids, Node, SpecError, Topology};
use crate::config::{ConfigError, ConfigSpace, PortType};
use crate::endpoint::{MemoryEndpoint, MultiEndpoint, MultiShape};
use crate::fabric::{Device, Fabric, NodeId, PortId, PortIdentity, RootSpec, port_config, slot_port_config};
use crate::memory::Memory;
use crate::probe::LinkId;
use crate::profile::{Link, Timing};

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// A root complex.
    Root,
    /// A switch.
    Switch,
    /// An endpoint.
    Endpoint,
    /// A function that something outside of the topology emulates.
    Emulated,
}

/// What is known of a part before anything is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartShape {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// The name of the root complex above it; its own, if it is one.
    pub root: String,
    /// Functions that an endpoint can have, virtual ones too. Ports aren't counted.
    pub functions: u64,
}

/// A root complex, switch or endpoint of a fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Its node.
    pub node: NodeId,
    /// The root complex above it; itself, if it is one.
    pub root: NodeId,
    /// The link above it. A root complex has none.
    pub link: Option<LinkId>,
    /// Its port, if it's an emulated function.
    pub port: Option<PortId>,
    /// What its functions are, if it's an endpoint.
    pub endpoint: Option<Endpoint>,
    /// Whether it was there from the beginning: not, if its slot was empty.
    pub present: bool,
    /// The parts below, by port: their places in [`Built::parts`].
    pub(super) below: Vec<usize>,
    /// How many ports it has, those without a link too.
    pub(super) ports: usize,
}

/// The place of an endpoint, for whoever makes a device for it.
#[derive(Clone, Debug)]
pub struct Seat<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the topology says of it.
    pub endpoint: &'a Endpoint,
    /// The node that the device is going to be.
    pub node: NodeId,
    /// Its end of the link.
    pub port: PortId,
    /// The link.
    pub link: &'a Link,
    /// The largest Max_Payload_Size, in bytes.
    pub max_payload: u32,
}

/// A fabric with the names of its parts.
#[derive(Debug)]
pub struct Built {
    /// The fabric.
    pub fabric: Fabric,
    /// The node whose ports the emulated functions are at. Whoever builds with [`Topology::build_around`] installs its device.
    pub emulated: Option<NodeId>,
    pub(super) parts: Vec<Part>,
    names: BTreeMap<String, usize>,
}

impl Built {
    /// All parts, those above before those below.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.names.get(name).and_then(|&part| self.parts.get(part))
    }

    /// The root complexes.
    pub fn roots(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.kind == PartKind::Root)
    }

    /// The names of what is above and below each link, by link number.
    pub fn links(&self) -> Vec<(String, String)> {
        let mut links = Vec::new();
        for above in &self.parts {
            let below = above.below.iter().filter_map(|&below| self.parts.get(below));
            let named = |below: &Part| Some((below.link?, (above.name.clone(), below.name.clone())));
            links.extend(below.filter_map(named));
        }
        links.sort_by_key(|(link, _)| *link);
        links.into_iter().map(|(_, names)| names).collect()
    }

    /// The endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.kind == PartKind::Endpoint)
    }
}

impl Topology {
    /// Builds the fabric. `seed` draws the latencies that are ranges.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn build(&self, timing: Timing, seed: u64) -> Result<Built, SpecError> {
        self.build_with(timing, seed, |_| None)
    }

    /// Builds the fabric with devices that `make` makes for its endpoints; where it makes none, there's a plain one with memory behind its BARs.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn build_with(
        &self,
        timing: Timing,
        seed: u64,
        make: impl FnMut(&Seat<'_>) -> Option<Box<dyn Device>>,
    ) -> Result<Built, SpecError> {
        let built = self.assemble(timing, seed, "topology", BTreeMap::new(), make)?;
        match built.parts.iter().find(|part| part.kind == PartKind::Emulated) {
            None => Ok(built),
            Some(part) => Err(SpecError::NobodyEmulates { name: part.name.clone() }),
        }
    }

    /// Builds the fabric around a device of the caller, which has the ports of all emulated functions and is to be installed at
    /// [`Built::emulated`]. Errors call the topology `section`; the root complexes of these names have these memories.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn build_around(
        &self,
        timing: Timing,
        seed: u64,
        section: &str,
        memories: BTreeMap<&str, Memory>,
    ) -> Result<Built, SpecError> {
        self.assemble(timing, seed, section, memories, |_| None)
    }

    fn assemble(
        &self,
        timing: Timing,
        seed: u64,
        section: &str,
        memories: BTreeMap<&str, Memory>,
        make: impl FnMut(&Seat<'_>) -> Option<Box<dyn Device>>,
    ) -> Result<Built, SpecError> {
        let plan = Plan::new(self, section)?;
        let fabric = Fabric::new(timing, seed);
        let built = Built { fabric, emulated: None, parts: Vec::new(), names: BTreeMap::new() };
        let mut work = Builder { topology: self, plan: &plan, built, links: 0, slots: 0, memories, make };
        for part in &plan.parts {
            work.add(part)?;
        }
        let single = plan.names.iter().filter_map(|(name, parts)| match parts[..] {
            [part] => Some((name.clone(), part)),
            _ => None,
        });
        work.built.names = single.collect();
        Ok(work.built)
    }
}

struct Builder<'a, M> {
    topology: &'a Topology,
    plan: &'a Plan<'a>,
    built: Built,
    links: u16,
    slots: u16,
    /// Of root complexes whose memory isn't made here.
    memories: BTreeMap<&'a str, Memory>,
    make: M,
}

impl<M: FnMut(&Seat<'_>) -> Option<Box<dyn Device>>> Builder<'_, M> {
    fn add(&mut self, part: &Planned<'_>) -> Result<(), SpecError> {
        let mut port = None;
        let (node, endpoint, ports) = match part.source {
            Source::Root(root) => {
                let error = |error| SpecError::Memory { name: part.name.clone(), error };
                let ports = self.ports(part, PortType::RootPort, root.spare_ports)?;
                let count = ports.len();
                let memory = match self.memories.remove(part.name.as_str()) {
                    Some(memory) => memory,
                    None => Memory::new(root.memory_mib << 20).map_err(error)?,
                };
                let spec = RootSpec {
                    memory,
                    read_completion_boundary: root.read_completion_boundary,
                    peer_to_peer: root.peer_to_peer,
                    ports,
                };
                (self.built.fabric.add_root(spec), None, count)
            }
            Source::Node(node) => match &node.body {
                Body::Switch(switch) => {
                    let link = self.topology.link(&part.name, node.link.as_deref())?;
                    let upstream =
                        port_config(self.identity(switch.ids, node.max_payload), PortType::Upstream, 0, &link);
                    let upstream = upstream.map_err(config_error(part))?;
                    let downstream = self.ports(part, PortType::Downstream, switch.spare_ports)?;
                    let count = downstream.len();
                    let above = self.above(part);
                    let added = self.built.fabric.add_switch(above, &link, upstream, downstream);
                    (added.map_err(connect_error(part))?, None, count)
                }
                Body::Endpoint(endpoint) => (self.endpoint(part, node, endpoint)?, Some(*endpoint), 0),
                Body::Emulated(_) => {
                    let link = self.topology.link(&part.name, node.link.as_deref())?;
                    let id = self.built.emulated.unwrap_or_else(|| self.built.fabric.reserve());
                    self.built.emulated = Some(id);
                    let above = self.above(part);
                    port = Some(self.built.fabric.attach(id, above, &link).map_err(connect_error(part))?);
                    (id, None, 0)
                }
            },
        };
        let (link, present) = match part.source {
            Source::Root(_) => (None, true),
            Source::Node(node) => {
                let link = LinkId(self.links);
                self.links += 1;
                (Some(link), node.slot.is_none_or(|slot| slot.present || !slot.hot_plug))
            }
        };
        let root = self.built.parts.get(part.root).map_or(node, |root| root.node);
        let (name, kind, below) = (part.name.clone(), part.kind(), part.below.clone());
        self.built.parts.push(Part { name, kind, node, root, link, port, endpoint, present, below, ports });
        Ok(())
    }

    fn above(&self, part: &Planned<'_>) -> NodeId {
        // Those above come before those below.
        part.above.and_then(|above| self.built.parts.get(above)).map_or(NodeId(u16::MAX), |above| above.node)
    }

    fn identity(&self, ids: Option<Ids>, max_payload: Option<u32>) -> PortIdentity {
        let identity = &self.topology.identity;
        let usual = Ids { vendor_id: identity.vendor_id, device_id: identity.port_device_id };
        let Ids { vendor_id, device_id } = ids.unwrap_or(usual);
        PortIdentity { vendor_id, device_id, max_payload: max_payload.unwrap_or(identity.max_payload) }
    }

    /// The registers of the ports below a part.
    fn ports(&mut self, part: &Planned<'_>, port: PortType, spare: u8) -> Result<Vec<ConfigSpace>, SpecError> {
        let (ids, max_payload, spare_link) = match part.source {
            Source::Root(root) => (root.ids, root.max_payload, None),
            Source::Node(Node { max_payload, body: Body::Switch(switch), .. }) => {
                (switch.ids, *max_payload, switch.spare_link.as_deref())
            }
            Source::Node(node) => (None, node.max_payload, None),
        };
        let identity = self.identity(ids, max_payload);
        let mut ports = Vec::new();
        for &below in &part.below {
            let Some(Planned { source: Source::Node(node), .. }) = self.plan.parts.get(below) else { continue };
            let link = self.topology.link(&node.name, node.link.as_deref())?;
            let number = ports.len() as u8;
            let config = match node.slot {
                None => port_config(identity, port, number, &link),
                Some(slot) => {
                    self.slots += 1;
                    let registers = slot.registers(slot.number.unwrap_or(self.slots));
                    slot_port_config(identity, port, number, &link, registers)
                }
            };
            ports.push(config.map_err(config_error(part))?);
        }
        let link = self.topology.link(&part.name, spare_link)?;
        for _ in 0..spare {
            ports.push(port_config(identity, port, ports.len() as u8, &link).map_err(config_error(part))?);
        }
        Ok(ports)
    }

    fn endpoint(&mut self, part: &Planned<'_>, node: &Node, endpoint: &Endpoint) -> Result<NodeId, SpecError> {
        let link = self.topology.link(&part.name, node.link.as_deref())?;
        let above = self.above(part);
        let identity = &self.topology.identity;
        let shape = MultiShape {
            vendor_id: identity.vendor_id,
            device_id: identity.device_id,
            bar: endpoint.bar,
            functions: endpoint.functions,
            virtual_functions: endpoint.virtual_functions,
            ari: endpoint.ari,
            max_payload: node.max_payload.unwrap_or(identity.max_payload),
            link: (link.generation, link.lanes),
            virtual_channels: link.virtual_channels,
        };
        let id = self.built.fabric.reserve();
        let port = self.built.fabric.attach(id, above, &link).map_err(connect_error(part))?;
        let max_payload = shape.max_payload;
        let seat = Seat { name: &part.name, endpoint, node: id, port, link: &link, max_payload };
        let device = match (self.make)(&seat) {
            Some(device) => device,
            None => plain(port, &shape, &part.name)?,
        };
        self.built.fabric.install(id, device);
        Ok(id)
    }
}

/// A device with memory behind its BARs.
fn plain(port: PortId, shape: &MultiShape, name: &str) -> Result<Box<dyn Device>, SpecError> {
    if shape.functions > 1 || shape.virtual_functions > 0 || shape.ari {
        let device = MultiEndpoint::new(port, shape);
        return Ok(Box::new(device.map_err(|error| SpecError::Functions { name: name.to_owned(), error })?));
    }
    let specs = shape.specs().map_err(|error| SpecError::Config { name: name.to_owned(), error })?;
    let memory = Memory::new(shape.bar).map_err(|error| SpecError::Memory { name: name.to_owned(), error })?;
    let none = ConfigError::Value { field: "functions", value: 0, allowed: "1" };
    let spec = specs.into_iter().next().ok_or(SpecError::Config { name: name.to_owned(), error: none })?;
    Ok(Box::new(MemoryEndpoint::new(port, spec.config, memory)))
}

fn config_error(part: &Planned<'_>) -> impl Fn(ConfigError) -> SpecError {
    let name = part.name.clone();
    move |error| SpecError::Config { name: name.clone(), error }
}

fn connect_error(part: &Planned<'_>) -> impl Fn(crate::fabric::TopologyError) -> SpecError {
    let name = part.name.clone();
    move |error| SpecError::Connect { name: name.clone(), error }
}
