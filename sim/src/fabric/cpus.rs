//! What the cores of a root complex have of it: memory, accesses, interrupts, a clock.

use super::root::{RootComplex, Ticket};
use super::{Core, Fabric, Node, NodeId};
use crate::host::{Access, AccessError, Data};
use crate::memory::Memory;
use crate::time::Time;
use crate::tlp::{Header, Route};

impl Fabric {
    pub(super) fn root(&self, node: NodeId) -> Option<&RootComplex> {
        match self.nodes.get(usize::from(node.0))? {
            Node::Root(root) => Some(root),
            _ => None,
        }
    }

    pub(super) fn root_mut(&mut self, node: NodeId) -> Option<(&mut RootComplex, &mut Core)> {
        match self.nodes.get_mut(usize::from(node.0))? {
            Node::Root(root) => Some((root, &mut self.core)),
            _ => None,
        }
    }

    /// The memory of a root complex. `None` if the node is none.
    pub fn memory(&self, root: NodeId) -> Option<&Memory> {
        self.root(root).map(RootComplex::memory)
    }

    /// The memory of a root complex. `None` if the node is none.
    pub fn memory_mut(&mut self, root: NodeId) -> Option<&mut Memory> {
        self.root_mut(root).map(|(root, _)| root.memory_mut())
    }

    /// Makes the memory of a root complex bad from address `first` to `last`: who reads there over the bus gets poisoned data, whatever is written
    /// there afterwards. `false` if the node is no root complex.
    pub fn poison_memory(&mut self, root: NodeId, first: u64, last: u64) -> bool {
        self.root_mut(root).map(|(root, _)| root.poison(first, last)).is_some()
    }

    /// Begins an access of a CPU of `root`. Its result will be had by [`Fabric::next_result`].
    ///
    /// # Errors
    /// What's wrong with the access itself, before any TLP is sent.
    pub fn access(&mut self, root: NodeId, access: Access) -> Result<Ticket, AccessError> {
        let no_root = AccessError::UnsupportedRequest(0);
        let (root, core) = self.root_mut(root).ok_or(no_root)?;
        root.access(core, access)
    }

    /// Broadcasts a message from a root complex to all that is below it. `false`, and nothing is sent, if the node is no root complex or
    /// the header no message of that routing.
    pub fn broadcast(&mut self, root: NodeId, header: Header, payload: &[u8]) -> bool {
        match self.root_mut(root) {
            Some((root, core)) if header.kind().is_message() && header.route() == Route::Broadcast => {
                root.broadcast(core, header, payload);
                true
            }
            _ => false,
        }
    }

    /// What the clock of a root complex's cores and of their requests shows: it's the fabric's, less the time for which it was held.
    #[inline]
    pub fn own_time(&self, root: NodeId) -> Time {
        if !self.ever_held {
            return self.core.now;
        }
        self.root(root).map_or(self.core.now, |root| root.own_time(self.core.now))
    }

    /// When on the fabric's clock a root complex's own will show `own`, if it isn't held until then. `None` while it's held.
    pub(crate) fn fabric_time(&self, root: NodeId, own: Time) -> Option<Time> {
        self.root(root).map_or(Some(own), |root| root.fabric_time(own))
    }

    /// Holds the clock of a root complex's cores, and of the time limits of their requests, or lets it run again.
    pub(crate) fn hold_clock(&mut self, root: NodeId, hold: bool) {
        self.ever_held |= hold;
        if let Some((root, core)) = self.root_mut(root) {
            root.hold_clock(core, hold);
        }
    }

    /// Whether there's a result or an interrupt message that `root` hasn't been asked for.
    #[inline]
    pub(crate) fn has_news(&self, root: NodeId) -> bool {
        self.root(root).is_some_and(RootComplex::has_news)
    }

    /// The next result of an access that was begun at `root`.
    pub fn next_result(&mut self, root: NodeId) -> Option<(Ticket, Result<Data, AccessError>)> {
        self.root_mut(root)?.0.next_result()
    }

    /// The next interrupt message that reached `root`: its data.
    pub fn next_interrupt(&mut self, root: NodeId) -> Option<u32> {
        self.root_mut(root)?.0.next_interrupt()
    }
}
