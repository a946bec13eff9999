//! What an observer of the fabric is told: every TLP on every link, every TLP that arrived, every frame of exact links, and what happens to links
//! and slots (ours).

use crate::fabric::PortEvent;
use crate::fabric::dll::{Dllp, Sequence};
use crate::time::Time;
use crate::tlp::Header;

/// A link's number, in the order in which the topology made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u16);

/// Which way a TLP travels on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Away from the root complex.
    Downstream = 0,
    /// Towards the root complex.
    Upstream = 1,
}

/// A TLP that a link's transmitter has begun to send.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// When the first symbol left.
    pub at: Time,
    /// The link.
    pub link: LinkId,
    /// The direction on that link.
    pub direction: Direction,
    /// Number of this TLP on this link and direction, from 0.
    pub sequence: u64,
    /// Prefixes and header, in wire order.
    pub header: &'a [u8],
    /// Payload, in wire order; empty if the TLP has none.
    pub payload: &'a [u8],
    /// The digest (ECRC) in wire order, if the TLP has one.
    pub digest: Option<[u8; 4]>,
}

/// A TLP that reached the node which consumes it.
#[derive(Clone, Copy, Debug)]
pub struct Deliver<'a> {
    /// When it was taken.
    pub at: Time,
    /// When it entered the fabric at its source.
    pub born: Time,
    /// Its header.
    pub header: &'a Header,
}

/// What occupies the wire of a link whose data link layer is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWire {
    /// A TLP. If it isn't sent again, [`Probe::transmit`] is called for it as well.
    Tlp {
        /// Its number on the link.
        sequence: Sequence,
        /// It's a replay.
        again: bool,
    },
    /// A data link layer packet.
    Dllp(Dllp),
}

/// A frame that a port of an exact link has begun to send.
#[derive(Clone, Copy, Debug)]
pub struct LinkFrame {
    /// When the first symbol left.
    pub at: Time,
    /// The link.
    pub link: LinkId,
    /// The direction on that link.
    pub direction: Direction,
    /// What it is.
    pub what: OnWire,
    /// Whether it comes to the other end as it was sent.
    pub whole: bool,
}

/// An observer of the fabric. It sees; it can't change anything.
pub trait Probe: Send {
    /// A TLP begins on a link.
    fn transmit(&mut self, event: &Transmit<'_>);

    /// A frame begins on a link whose data link layer is exact. A probe without this doesn't look at the data link layer.
    fn frame(&mut self, frame: &LinkFrame) {
        let _ = frame;
    }

    /// A TLP has arrived where it is consumed.
    fn deliver(&mut self, event: &Deliver<'_>) {
        let _ = event;
    }

    /// Something happened to a link or to the slot at its upper end, and whatever is at its lower end is told.
    fn port_event(&mut self, at: Time, link: LinkId, event: PortEvent) {
        let _ = (at, link, event);
    }
}
