//! A fabric is put together: root complexes, switches and devices, and the links between them.

use super::exact::Exact;
use super::ids::Owner;
use super::link::Transmitter;
use super::root::{RootComplex, RootSpec};
use super::switch::Switch;
use super::{Device, Fabric, Node, NodeId, PortId};
use crate::config::ConfigSpace;
use crate::probe::LinkId;
use crate::profile;
use crate::time::Time;

/// What's wrong with a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The node above has no port left, or can't have one.
    #[error("node {0} has no free port for another link")]
    NoPort(u16),
    /// There's no link of that number.
    #[error("the fabric has no link {0}")]
    NoLink(u16),
    /// There are too many links.
    #[error("a fabric has at most 16384 links")]
    TooManyLinks,
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// The node there.
    pub node: NodeId,
    /// Its port: what is sent from it goes over the link.
    pub port: PortId,
    /// Whether the node is a switch.
    pub is_switch: bool,
}

impl Fabric {
    fn add_node(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() as u16 - 1)
    }

    /// Adds a root complex.
    pub fn add_root(&mut self, spec: RootSpec) -> NodeId {
        let id = NodeId(self.nodes.len() as u16);
        let root = RootComplex::new(id, spec, &self.timing);
        self.add_node(Node::Root(Box::new(root)))
    }

    /// Makes room for a device with several ports: it's connected by [`Fabric::attach`], and put in place by [`Fabric::install`].
    pub fn reserve(&mut self) -> NodeId {
        self.add_node(Node::Reserved)
    }

    /// Puts a device in the place that was reserved for it.
    pub fn install(&mut self, node: NodeId, device: Box<dyn Device>) {
        if let Some(place @ Node::Reserved) = self.nodes.get_mut(usize::from(node.0)) {
            *place = Node::Device(device);
        }
    }

    /// Puts a device in the place of a root complex or of another device, which is dropped. Links and latencies stay as they are: so can what a
    /// node once sent be sent again without it. `false` if there's no such node, or it's a switch.
    pub fn replace(&mut self, node: NodeId, device: Box<dyn Device>) -> bool {
        match self.nodes.get_mut(usize::from(node.0)) {
            None | Some(Node::Switch(_)) => false,
            Some(place) => {
                *place = Node::Device(device);
                true
            }
        }
    }

    /// The two ends of a link, the one nearer to the root complex first. `None` if there's no such link.
    pub fn ends(&self, link: LinkId) -> Option<[LinkEnd; 2]> {
        let upper = link.0.checked_mul(2)?;
        self.core.transmitters.get(usize::from(upper))?;
        Some([upper, upper + 1].map(PortId).map(|port| {
            let node = self.core.owner(port).node;
            let is_switch = matches!(self.nodes.get(usize::from(node.0)), Some(Node::Switch(_)));
            LinkEnd { node, port, is_switch }
        }))
    }

    /// Adds a switch below `above`, with the configuration spaces of its upstream and its downstream ports.
    ///
    /// # Errors
    /// No free port above, or too many links.
    pub fn add_switch(
        &mut self,
        above: NodeId,
        link: &profile::Link,
        upstream: ConfigSpace,
        downstream: Vec<ConfigSpace>,
    ) -> Result<NodeId, TopologyError> {
        let id = NodeId(self.nodes.len() as u16);
        let port = self.connect(above, id, link, self.timing.switch_ns)?;
        Ok(self.add_node(Node::Switch(Box::new(Switch::new(port, upstream, downstream)))))
    }

    /// Connects a device to the next free port of `above`: gives the device's end of the link.
    ///
    /// # Errors
    /// No free port above, or too many links.
    pub fn attach(&mut self, device: NodeId, above: NodeId, link: &profile::Link) -> Result<PortId, TopologyError> {
        self.connect(above, device, link, self.timing.endpoint_ns)
    }

    /// Plugs a device with one port in below `above`: `make` makes it for its node and its end of the link.
    ///
    /// # Errors
    /// No free port above, or too many links.
    pub fn plug(
        &mut self,
        above: NodeId,
        link: &profile::Link,
        make: impl FnOnce(NodeId, PortId) -> Box<dyn Device>,
    ) -> Result<NodeId, TopologyError> {
        let id = NodeId(self.nodes.len() as u16);
        let port = self.connect(above, id, link, self.timing.endpoint_ns)?;
        Ok(self.add_node(Node::Device(make(id, port))))
    }

    fn connect(
        &mut self,
        above: NodeId,
        below: NodeId,
        link: &profile::Link,
        below_ns: u64,
    ) -> Result<PortId, TopologyError> {
        let upper = u16::try_from(self.core.transmitters.len()).map_err(|_| TopologyError::TooManyLinks)?;
        if upper >= 1 << 15 {
            return Err(TopologyError::TooManyLinks);
        }
        let (upper, lower) = (PortId(upper), PortId(upper + 1));
        let no_port = TopologyError::NoPort(above.0);
        let (number, up, above_ns) = match self.nodes.get_mut(usize::from(above.0)).ok_or(no_port)? {
            // What reads memory is acted upon when the memory has been read.
            Node::Root(root) => {
                let ns = self.timing.root_complex_ns;
                root.connect(upper).map(|(number, up)| (number, up, [ns, ns + self.timing.memory_read_ns, ns]))
            }
            Node::Switch(switch) => switch.connect(upper).map(|(number, up)| (number, up, [self.timing.switch_ns; 3])),
            _ => None,
        }
        .ok_or(no_port)?;
        let mut transmitter = |receiver: Owner, reaction_ns: [u64; 3]| {
            let flight = Time(self.rng.range(link.propagation.min_ps, link.propagation.max_ps));
            let reaction = reaction_ns.map(Time::ns);
            let mut transmitter = Transmitter::new(receiver, link, flight, reaction, &self.timing);
            if link.data_link == profile::DataLink::Exact {
                transmitter.make_special().exact = Some(Box::new(Exact::new(link, flight, reaction)));
            }
            transmitter
        };
        let pair = [
            transmitter(Owner { node: below, number: Owner::UPWARDS }, [below_ns; 3]),
            transmitter(Owner { node: above, number }, above_ns),
        ];
        self.core.transmitters.extend(pair);
        self.links.add(up);
        if up {
            self.core.exact_link_up(lower);
        }
        if self.core.rules.is_some() {
            self.watch();
        }
        Ok(lower)
    }
}
