//! The plain event queue: a binary heap. It's the oracle of the timing wheel, and its store for the far future.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::EventQueue;
use crate::time::Time;

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Reversed, because `BinaryHeap` gives its greatest entry first.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// An event queue on a binary heap.
#[derive(Debug)]
pub struct Heap<E> {
    entries: BinaryHeap<Entry<E>>,
    pushed: u64,
    last: Time,
}

impl<E> Heap<E> {
    /// An empty queue.
    pub fn new() -> Heap<E> {
        Heap { entries: BinaryHeap::new(), pushed: 0, last: Time::ZERO }
    }

    /// When the earliest event happens.
    pub fn next_time(&self) -> Option<Time> {
        self.entries.peek().map(|entry| entry.at)
    }
}

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Heap::new()
    }
}

impl<E> EventQueue<E> for Heap<E> {
    fn push(&mut self, at: Time, event: E) {
        let at = at.max(self.last);
        self.entries.push(Entry { at, sequence: self.pushed, event });
        self.pushed += 1;
    }

    fn pop(&mut self) -> Option<(Time, E)> {
        let entry = self.entries.pop()?;
        self.last = entry.at;
        Some((entry.at, entry.event))
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}
