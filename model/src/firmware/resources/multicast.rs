//! Multicast groups: which queue pairs get what is sent to a group.

use std::collections::{BTreeMap, BTreeSet};

use crate::firmware::syndrome::Failure;

/// A multicast GID, as in the command.
pub type Gid = [u8; 16];

/// All groups that have a queue pair.
#[derive(Clone, Debug)]
pub struct Groups {
    most: usize,
    most_qps: usize,
    groups: BTreeMap<Gid, BTreeSet<u32>>,
}

impl Groups {
    /// No group, and room for `most` with `most_qps` queue pairs each.
    #[must_use]
    pub fn new(most: u32, most_qps: u32) -> Self {
        Self { most: most as usize, most_qps: most_qps as usize, groups: BTreeMap::new() }
    }

    /// The queue pairs of a group, by rising number.
    pub fn members(&self, gid: Gid) -> impl Iterator<Item = u32> {
        self.groups.get(&gid).into_iter().flatten().copied()
    }

    /// All groups by rising GID, with their queue pairs.
    pub fn iter(&self) -> impl Iterator<Item = (Gid, &BTreeSet<u32>)> {
        self.groups.iter().map(|(gid, qps)| (*gid, qps))
    }

    /// Places in groups that are taken, over all groups.
    #[must_use]
    pub fn attachments(&self) -> usize {
        self.groups.values().map(BTreeSet::len).sum()
    }

    /// Puts a queue pair into a group.
    ///
    /// # Errors
    /// [`Failure::MCG_GID`], [`Failure::MCG_ATTACHED`], [`Failure::MCG_FULL`], [`Failure::MCG_QPS`].
    pub(super) fn attach(&mut self, gid: Gid, qpn: u32) -> Result<(), Failure> {
        // An IPv6 multicast address, as the InfiniBand specification has it.
        if gid[0] != 0xff {
            return Err(Failure::MCG_GID);
        }
        let members = self.groups.get(&gid);
        if members.is_some_and(|qps| qps.contains(&qpn)) {
            return Err(Failure::MCG_ATTACHED);
        }
        if members.is_none() && self.groups.len() >= self.most {
            return Err(Failure::MCG_FULL);
        }
        if members.map_or(0, BTreeSet::len) >= self.most_qps {
            return Err(Failure::MCG_QPS);
        }
        self.groups.entry(gid).or_default().insert(qpn);
        Ok(())
    }

    /// Takes a queue pair out of a group, and the group away if that was the last.
    ///
    /// # Errors
    /// [`Failure::MCG_NOT_ATTACHED`].
    pub(super) fn detach(&mut self, gid: Gid, qpn: u32) -> Result<(), Failure> {
        let qps = self.groups.get_mut(&gid).ok_or(Failure::MCG_NOT_ATTACHED)?;
        if !qps.remove(&qpn) {
            return Err(Failure::MCG_NOT_ATTACHED);
        }
        self.groups.retain(|_, qps| !qps.is_empty());
        Ok(())
    }

    /// Takes a queue pair out of all groups.
    pub(super) fn forget(&mut self, qpn: u32) {
        for qps in self.groups.values_mut() {
            qps.remove(&qpn);
        }
        self.groups.retain(|_, qps| !qps.is_empty());
    }
}
