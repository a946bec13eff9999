//! The transmitter of TLPs on a link (base spec 3.6.2.1): sequence numbers, what may have to be sent again, and when.

use std::collections::VecDeque;

use super::dllp::Sequence;
use crate::time::Time;

/// A TLP in the replay buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its number on the link.
    pub sequence: Sequence,
    /// What it is.
    pub item: T,
    /// Its bytes in the buffer.
    pub bytes: u32,
}

/// A Data Link Protocol Error: an Ack or Nak of a TLP that wasn't sent or was acknowledged long ago (3.6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Ack or Nak of {named} when {acked} was acknowledged last and {sent} sent last (3.6.2.1)")]
pub struct ProtocolError {
    /// AckNak_Seq_Num.
    pub named: Sequence,
    /// ACKD_SEQ.
    pub acked: Sequence,
    /// NEXT_TRANSMIT_SEQ - 1.
    pub sent: Sequence,
}

/// What an Ack or Nak did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// TLPs that were purged from the replay buffer.
    pub purged: u16,
    /// What follows from a Nak.
    pub replay: Option<Replay>,
}

/// All that is in the replay buffer will be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Now.
    Begins,
    /// REPLAY_NUM has rolled over: when the link has been retrained.
    AfterRetraining,
}

/// The state of a transmitter: it numbers TLPs, keeps them until they're acknowledged, and says when they go again.
#[derive(Clone, Debug)]
pub struct Retry<T> {
    /// NEXT_TRANSMIT_SEQ.
    next: Sequence,
    /// ACKD_SEQ.
    acked: Sequence,
    buffer: VecDeque<Entry<T>>,
    bytes: u32,
    capacity: u32,
    /// How many of the buffer have been sent again, while a replay is under way.
    replayed: Option<usize>,
    /// REPLAY_NUM.
    replays: u8,
    /// When REPLAY_TIMER expires, if it's running.
    timer: Option<Time>,
    /// Its limit.
    limit: Time,
}

impl<T: Copy> Retry<T> {
    /// The state after DL_Inactive, with a replay buffer of `capacity` bytes and a REPLAY_TIMER that expires after `limit`.
    pub const fn new(capacity: u32, limit: Time) -> Retry<T> {
        Retry {
            next: Sequence::new(0),
            acked: Sequence::new(0xfff),
            buffer: VecDeque::new(),
            bytes: 0,
            capacity,
            replayed: None,
            replays: 0,
            timer: None,
            limit,
        }
    }

    /// Sets REPLAY_TIMER's limit from its next start on.
    pub const fn set_limit(&mut self, limit: Time) {
        self.limit = limit;
    }

    /// NEXT_TRANSMIT_SEQ.
    pub const fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// ACKD_SEQ.
    pub const fn acked(&self) -> Sequence {
        self.acked
    }

    /// REPLAY_NUM.
    pub const fn replay_num(&self) -> u8 {
        self.replays
    }

    /// TLPs that aren't acknowledged, the oldest one first.
    pub fn unacknowledged(&self) -> impl ExactSizeIterator<Item = &Entry<T>> {
        self.buffer.iter()
    }

    /// Bytes of the replay buffer that are taken.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Is a replay under way, or waiting for the link? Until it's over, no new TLP goes.
    pub const fn is_replaying(&self) -> bool {
        self.replayed.is_some()
    }

    /// Whether a new TLP may go: there's room for it in the buffer (an empty one takes any), fewer than 2,048 numbers are open, and nothing is
    /// being replayed.
    pub fn may_send(&self, bytes: u32) -> bool {
        let room = self.buffer.is_empty() || self.bytes.saturating_add(bytes) <= self.capacity;
        room && self.next.after(self.acked) < Sequence::COUNT / 2 && !self.is_replaying()
    }

    /// Numbers a new TLP and keeps it. Its last symbol leaves at `left`.
    #[inline]
    pub fn send(&mut self, item: T, bytes: u32, left: Time) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        self.bytes = self.bytes.saturating_add(bytes);
        self.buffer.push_back(Entry { sequence, item, bytes });
        self.timer = self.timer.or(Some(left + self.limit));
        sequence
    }

    /// The next TLP to be sent again. `None` if nothing is replayed.
    pub fn next_replay(&self) -> Option<&Entry<T>> {
        self.buffer.get(self.replayed?)
    }

    /// The TLP of [`Retry::next_replay`] is being sent: its last symbol leaves at `left`.
    pub fn replay_sent(&mut self, left: Time) {
        let Some(replayed) = self.replayed else { return };
        if replayed == 0 {
            // Each replay restarts the timer, at its first TLP's end.
            self.timer = Some(left + self.limit);
        }
        self.replayed = (replayed + 1 < self.buffer.len()).then_some(replayed + 1);
    }

    /// An Ack or a Nak has come. `purge` is told of each TLP that the other end has.
    ///
    /// # Errors
    /// A Data Link Protocol Error: nothing has changed.
    pub fn acknowledge(
        &mut self,
        named: Sequence,
        is_nak: bool,
        now: Time,
        mut purge: impl FnMut(Entry<T>),
    ) -> Result<Acknowledged, ProtocolError> {
        let sent = self.next.previous();
        if sent.after(named) > Sequence::COUNT / 2 || named.after(self.acked) >= Sequence::COUNT / 2 {
            return Err(ProtocolError { named, acked: self.acked, sent });
        }
        let count = named.after(self.acked);
        for _ in 0..count {
            if let Some(entry) = self.buffer.pop_front() {
                self.bytes -= entry.bytes;
                purge(entry);
            }
        }
        self.acked = named;
        if count > 0 {
            // Progress: REPLAY_NUM and REPLAY_TIMER begin anew.
            self.replays = 0;
            self.timer = (!self.buffer.is_empty()).then_some(now + self.limit);
            let left = self.replayed.map(|replayed| replayed.saturating_sub(usize::from(count)));
            self.replayed = left.filter(|replayed| *replayed < self.buffer.len());
        }
        Ok(Acknowledged { purged: count, replay: if is_nak { self.begin_replay() } else { None } })
    }

    /// When REPLAY_TIMER expires. `None` while it isn't running.
    pub const fn timer(&self) -> Option<Time> {
        self.timer
    }

    /// REPLAY_TIMER has expired, a Replay Timer Timeout. `None` if there's nothing to be sent again.
    pub fn expired(&mut self) -> Option<Replay> {
        self.begin_replay()
    }

    fn begin_replay(&mut self) -> Option<Replay> {
        // Reset and held until the first TLP has been sent again.
        self.timer = None;
        if self.buffer.is_empty() {
            return None;
        }
        self.replayed = Some(0);
        self.replays = (self.replays + 1) % 4;
        Some(if self.replays == 0 { Replay::AfterRetraining } else { Replay::Begins })
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
