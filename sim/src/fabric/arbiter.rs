//! Whose turn it is among the virtual channels of a port (PCIe base specification 6.3.3): those above the low-priority group first, a higher VC ID
//! before a lower one; within the group one after the other, or by the phases of the VC Arbitration Table. Each turn is one TLP (ours).
//!
//! What can't go is passed over, so that a starved channel stops no other: a phase whose channel has nothing to send, or no credits, falls to
//! the next one. Channels of the group that no phase names take turns for what the others leave (ours: software isn't supposed to enable such ones).

use crate::config::MAX_CHANNELS;

/// More than any place in the low-priority group by phases.
const AFTER_ALL_PHASES: usize = 128;

/// The arbiter of a port. It knows channels by the numbers of the receiver's VC resources.
#[derive(Debug)]
pub(super) struct Arbiter {
    /// How many channels there are, VC0 included.
    count: usize,
    /// The VC ID of each channel; 0 if it has none.
    ids: [u8; MAX_CHANNELS],
    /// VCs with an ID up to this are in the low-priority group.
    low_priority: u8,
    /// The channel of the low-priority group that had its turn last.
    last: usize,
    /// The VC ID of each phase; empty if there's no weighted round robin.
    phases: Vec<u8>,
    /// The phase whose turn it is.
    phase: usize,
}

impl Arbiter {
    /// Of VC0 and so many channels beyond it.
    pub(super) fn new(beyond: usize) -> Arbiter {
        Arbiter { count: beyond + 1, ids: [0; MAX_CHANNELS], low_priority: 0, last: 0, phases: Vec::new(), phase: 0 }
    }

    /// Takes over the highest VC ID of the low-priority group, how many phases software has selected (0: none), and the table that it has loaded. Where there's
    /// none, phases are VC0's, as in the table after a reset.
    pub(super) fn select(&mut self, low_priority: u8, phases: u8, table: &[u8]) {
        self.low_priority = low_priority;
        let entries = table.iter().copied().chain(std::iter::repeat(0)).take(phases.into());
        if !entries.clone().eq(self.phases.iter().copied()) {
            (self.phases, self.phase) = (entries.collect(), 0);
        }
    }

    /// Takes over the VC ID of each channel; 0 if it has none.
    pub(super) fn set_ids(&mut self, ids: [u8; MAX_CHANNELS]) {
        self.ids = ids;
    }

    /// The VC ID of a channel; 0 if it has none, as VC0.
    pub(super) fn id(&self, channel: usize) -> u8 {
        self.ids.get(channel).copied().unwrap_or(0)
    }

    /// The channels in the order in which they may take their turn now.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.count.min(MAX_CHANNELS);
        let by_phase = self.by_phase();
        let turn = |channel: usize| (channel + count - self.last % count - 1) % count;
        let mut order = [(0, 0); MAX_CHANNELS];
        for (channel, place) in (0..count).zip(&mut order) {
            let id = self.id(channel);
            let rank = if id > self.low_priority {
                MAX_CHANNELS - usize::from(id)
            } else {
                let phase = by_phase.get(usize::from(id)).copied().flatten().filter(|_| id != 0 || channel == 0);
                MAX_CHANNELS + phase.unwrap_or(AFTER_ALL_PHASES + turn(channel))
            };
            *place = (rank, channel);
        }
        if let Some(used) = order.get_mut(..count) {
            used.sort_unstable();
        }
        order.into_iter().take(count).map(|(_, channel)| channel)
    }

    /// How many phases on the next one of each VC ID is.
    fn by_phase(&self) -> [Option<usize>; MAX_CHANNELS] {
        let mut first = [None; MAX_CHANNELS];
        let (before, from) = self.phases.split_at(self.phase.min(self.phases.len()));
        for (ahead, id) in from.iter().chain(before).enumerate() {
            if let Some(place @ None) = first.get_mut(usize::from(*id)) {
                *place = Some(ahead);
            }
        }
        first
    }

    /// A channel has had its turn.
    pub(super) fn took(&mut self, channel: usize) {
        let id = self.id(channel);
        if id > self.low_priority {
            return;
        }
        self.last = channel;
        let ahead = self.by_phase().get(usize::from(id)).copied().flatten().filter(|_| id != 0 || channel == 0);
        if let Some(ahead) = ahead {
            self.phase = (self.phase + ahead + 1) % self.phases.len().max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The channels of so many turns, in which `ready` can go.
    fn turns(arbiter: &mut Arbiter, ready: &[usize], count: usize) -> Vec<usize> {
        let mut all = Vec::new();
        for _ in 0..count {
            let Some(channel) = arbiter.order().find(|channel| ready.contains(channel)) else { break };
            arbiter.took(channel);
            all.push(channel);
        }
        all
    }

    fn arbiter(low_priority: u8, phases: u8, table: &[u8]) -> Arbiter {
        let mut arbiter = Arbiter::new(3);
        arbiter.set_ids([0, 1, 2, 5, 0, 0, 0, 0]);
        arbiter.select(low_priority, phases, table);
        arbiter
    }

    #[test]
    fn a_higher_id_goes_first() {
        assert_eq!(turns(&mut arbiter(0, 0, &[]), &[0, 1, 2, 3], 2), [3, 3]);
        assert_eq!(turns(&mut arbiter(0, 0, &[]), &[0, 1, 2], 2), [2, 2]);
        assert_eq!(turns(&mut arbiter(2, 0, &[]), &[0, 1, 2, 3], 2), [3, 3]);
        assert_eq!(turns(&mut arbiter(2, 0, &[]), &[0, 1, 2], 4), [1, 2, 0, 1]);
    }

    #[test]
    fn phases_are_turns() {
        let mut table = [0; 32];
        for (phase, id) in [(1, 1), (2, 2), (3, 2), (5, 1)] {
            table[phase] = id;
        }
        let all = turns(&mut arbiter(2, 32, &table), &[0, 1, 2], 64);
        assert_eq!(all[..32], all[32..]);
        assert_eq!(all[..32], table.map(usize::from));
        // What can't go is passed over; what is in no phase goes when nothing else can.
        assert_eq!(turns(&mut arbiter(2, 32, &table), &[1, 2], 6), [1, 2, 2, 1, 1, 2]);
        assert_eq!(turns(&mut arbiter(5, 32, &table), &[0, 3], 40), [0; 40]);
        assert_eq!(turns(&mut arbiter(5, 32, &table), &[3], 2), [3, 3]);
        // No table was loaded: all phases are VC0's.
        assert_eq!(turns(&mut arbiter(2, 32, &[]), &[0, 1, 2], 3), [0, 0, 0]);
        assert_eq!(turns(&mut arbiter(2, 32, &[]), &[1, 2], 3), [1, 2, 1]);
    }
}
