//! How nodes and ports are named.

use crate::probe::{Direction, LinkId};

/// A node of the fabric: a root complex, a switch or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u16);

impl NodeId {
    /// No node: a timer for it comes when something was found in this instant that's to be looked at. It's no event of its own, so that there are
    /// no more of them than a step can tell apart quickly.
    pub(super) const NOBODY: NodeId = NodeId(u16::MAX);

    /// Its number, in the order in which the topology made the nodes.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// One end of a link. The two ends of link `n` are the ports `2n` (nearer to the root complex) and `2n + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub(crate) u16);

impl PortId {
    /// The other end of the link.
    pub(crate) const fn peer(self) -> PortId {
        PortId(self.0 ^ 1)
    }

    /// The link.
    pub const fn link(self) -> LinkId {
        LinkId(self.0 >> 1)
    }

    /// Which way this port sends.
    pub(crate) const fn direction(self) -> Direction {
        if self.0 & 1 == 0 { Direction::Downstream } else { Direction::Upstream }
    }
}

/// Whose a port is, and which of its ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) node: NodeId,
    /// The number of the root port or downstream port of a switch; [`Owner::UPWARDS`] for a port that leads to the root complex.
    pub(crate) number: u16,
}

impl Owner {
    /// The port leads to the root complex.
    pub(crate) const UPWARDS: u16 = u16::MAX;
}
