//! The fast event queue: a timing wheel of two levels, with a heap for the far future.
//!
//! Level 0 covers one *turn* of `SLOTS` slots of 2^`SLOT_BITS` ps; level 1 covers one turn of `SLOTS` turns of level 0; what lies
//! further ahead waits in a heap. A slot holds a linked list in order of arrival; on level 0 that's mostly the order of time, and where it
//! isn't, the list is sorted when time enters its slot. When time enters a slot of level 1, its events move down to level 0, in the order they
//! were pushed; the order among events of one time is never lost:
//!
//! - Level 0 holds the current turn only, so whatever was pushed to a turn before it began moved down before anything else
//!   could be pushed to it directly.
//! - The same is so between level 1 and the heap.

use super::{EventQueue, Heap};
use crate::time::Time;

/// Each level has 2^12 slots: 64 words of 64 bits say which aren't empty.
const LEVEL_BITS: u32 = 12;
const SLOTS: usize = 1 << LEVEL_BITS;
/// The slot of a turn within its era, and of a span of time within its turn.
const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// A slot of level 0 is 2^9 = 512 ps wide, so a turn of it is about 2.1 us, and one of level 1 about 8.6 ms.
const SLOT_BITS: u32 = 9;
const TURN_BITS: u32 = SLOT_BITS + LEVEL_BITS;
const ERA_BITS: u32 = TURN_BITS + LEVEL_BITS;

/// No entry.
const NIL: u32 = u32::MAX;
/// Added to the first entry of a list of level 0 that must be sorted before one is taken: no entry has such a number.
const UNSORTED: u32 = 1 << 31;
/// Picoseconds of a slot of level 0.
const INSTANTS: usize = 1 << SLOT_BITS;
/// As many entries of a list are passed by to put one into its place; if that isn't enough, the list is sorted later.
const SHORT: usize = 8;

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    next: u32,
    event: E,
}

/// First and last entry of a slot.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List { head: NIL, tail: NIL };
}

/// One level: a list per slot, and a bitmap of the slots that aren't empty.
#[derive(Debug)]
struct Level {
    lists: Box<[List; SLOTS]>,
    words: [u64; SLOTS / 64],
    /// The first word that may not be 0. What is popped leaves it there: nothing is pushed before that.
    first: usize,
}

impl Level {
    fn new() -> Level {
        Level { lists: Box::new([List::EMPTY; SLOTS]), words: [0; SLOTS / 64], first: 0 }
    }

    /// Notes that a slot isn't empty.
    #[inline]
    fn mark(&mut self, slot: usize) {
        let slot = slot % SLOTS;
        self.words[slot / 64] |= 1 << (slot % 64);
    }

    /// Empties a slot.
    #[inline]
    fn clear(&mut self, slot: usize) {
        let slot = slot % SLOTS;
        self.lists[slot] = List::EMPTY;
        self.words[slot / 64] &= !(1 << (slot % 64));
    }

    /// The first slot that isn't empty. Slots before the current one are empty, so no start is needed.
    #[inline]
    fn first(&mut self) -> Option<usize> {
        while let Some(&word) = self.words.get(self.first) {
            if word != 0 {
                return Some(self.first * 64 + word.trailing_zeros() as usize);
            }
            self.first += 1;
        }
        None
    }

    /// The first slot from `start` on that isn't empty. Nothing is noted: earlier ones may still be filled.
    fn peek(&self, start: usize) -> Option<usize> {
        let mut number = start / 64;
        while let Some(&word) = self.words.get(number) {
            if word != 0 {
                return Some(number * 64 + word.trailing_zeros() as usize);
            }
            number += 1;
        }
        None
    }
}

/// An event queue on a timing wheel: a push and a pop together take about 100 instructions, however many events wait.
#[derive(Debug)]
pub struct Wheel<E> {
    entries: Vec<Entry<E>>,
    free: u32,
    near: Level,
    far: Level,
    beyond: Heap<E>,
    /// The current turn of level 0 (time >> `TURN_BITS`).
    turn: u64,
    last: u64,
    /// Room to sort in: a list for each picosecond of a slot.
    instants: Box<[List; INSTANTS]>,
}

impl<E: Copy> Wheel<E> {
    /// An empty queue at time zero.
    pub fn new() -> Wheel<E> {
        Wheel {
            entries: Vec::new(),
            free: NIL,
            near: Level::new(),
            far: Level::new(),
            beyond: Heap::new(),
            turn: 0,
            last: 0,
            instants: Box::new([List::EMPTY; INSTANTS]),
        }
    }

    #[inline]
    fn allocate(&mut self, at: u64, event: E) -> u32 {
        let id = self.free;
        match self.entries.get_mut(id as usize) {
            Some(entry) => {
                self.free = entry.next;
                *entry = Entry { at, next: NIL, event };
                id
            }
            // The free list has come to its end.
            None => {
                self.entries.push(Entry { at, next: NIL, event });
                self.entries.len() as u32 - 1
            }
        }
    }

    /// Puts an entry of the current turn into its slot.
    #[inline]
    fn insert_near(&mut self, id: u32, at: u64) {
        let slot = (at >> SLOT_BITS) as usize % SLOTS;
        let list = &mut self.near.lists[slot];
        match self.entries.get_mut(list.tail as usize) {
            None => {
                *list = List { head: id, tail: id };
                self.near.mark(slot);
            }
            Some(last) if last.at <= at => {
                last.next = id;
                list.tail = id;
            }
            Some(_) => self.insert_early(slot, id, at),
        }
    }

    /// Puts an entry into a slot whose last entry comes later than it.
    #[inline(never)]
    fn insert_early(&mut self, slot: usize, id: u32, at: u64) {
        let list = &mut self.near.lists[slot % SLOTS];
        if list.head & UNSORTED == 0 {
            // In a short list it goes to its place.
            let mut before = NIL;
            let mut after = list.head;
            for _ in 0..SHORT {
                match self.entries.get(after as usize) {
                    Some(entry) if entry.at <= at => (before, after) = (after, entry.next),
                    _ => {
                        self.entries[id as usize].next = after;
                        match self.entries.get_mut(before as usize) {
                            Some(before) => before.next = id,
                            None => list.head = id,
                        }
                        return;
                    }
                }
            }
        }
        if let Some(last) = self.entries.get_mut(list.tail as usize) {
            last.next = id;
        }
        (list.head, list.tail) = (list.head | UNSORTED, id);
    }

    /// Sorts a slot of level 0 by time; what comes at the same time stays in order of arrival. Each entry goes to the list of its picosecond, and
    /// these follow each other then, so that it takes the same for each entry however many there are.
    #[cold]
    fn sort(&mut self, slot: usize) {
        let mut filled = [0_u64; INSTANTS / 64];
        let list = &mut self.near.lists[slot % SLOTS];
        let mut id = list.head & !UNSORTED;
        while let Some(entry) = self.entries.get_mut(id as usize) {
            let (instant, this) = (entry.at as usize % INSTANTS, id);
            id = std::mem::replace(&mut entry.next, NIL);
            let instants = &mut self.instants[instant];
            if filled[instant / 64] >> (instant % 64) & 1 == 0 {
                filled[instant / 64] |= 1 << (instant % 64);
                *instants = List { head: this, tail: this };
            } else {
                let last = std::mem::replace(&mut instants.tail, this);
                self.entries[last as usize].next = this;
            }
        }
        *list = List::EMPTY;
        for (number, mut word) in filled.into_iter().enumerate() {
            while word != 0 {
                let instants = self.instants[number * 64 + word.trailing_zeros() as usize];
                match self.entries.get_mut(list.tail as usize) {
                    Some(last) => last.next = instants.head,
                    None => list.head = instants.head,
                }
                list.tail = instants.tail;
                word &= word - 1;
            }
        }
    }

    /// Adds an event that lies beyond the current turn, or for which an entry must be made.
    #[inline(never)]
    fn push_later(&mut self, at: u64, event: E) {
        if at >> TURN_BITS == self.turn {
            let id = self.allocate(at, event);
            self.insert_near(id, at);
        } else if at >> ERA_BITS == self.turn >> LEVEL_BITS {
            let id = self.allocate(at, event);
            self.insert_far(id, at);
        } else {
            self.beyond.push(Time(at), event);
        }
    }

    /// Puts an entry of the current era into the list of its turn, at the end.
    fn insert_far(&mut self, id: u32, at: u64) {
        let slot = (at >> TURN_BITS) as usize % SLOTS;
        let list = &mut self.far.lists[slot];
        match self.entries.get_mut(list.tail as usize) {
            None => {
                *list = List { head: id, tail: id };
                self.far.mark(slot);
            }
            Some(last) => {
                last.next = id;
                list.tail = id;
            }
        }
    }

    /// When the earliest event happens. The queue stays as it is, so that an earlier one can still be pushed.
    pub fn next_time(&self) -> Option<Time> {
        // Nothing lies before what was popped last, which may be of an earlier turn.
        let past = if self.last >> TURN_BITS == self.turn { (self.last >> SLOT_BITS) as usize % SLOTS } else { 0 };
        if let Some(slot) = self.near.peek(past) {
            let head = self.near.lists[slot].head;
            return match self.entries.get(head as usize) {
                Some(entry) => Some(Time(entry.at)),
                None => self.earliest(head & !UNSORTED),
            };
        }
        let Some(slot) = self.far.peek(self.turn as usize % SLOTS) else { return self.beyond.next_time() };
        self.earliest(self.far.lists[slot].head)
    }

    /// The earliest time in a list that isn't sorted.
    fn earliest(&self, mut id: u32) -> Option<Time> {
        let mut earliest = None;
        while let Some(entry) = self.entries.get(id as usize) {
            earliest = Some(earliest.unwrap_or(entry.at).min(entry.at));
            id = entry.next;
        }
        earliest.map(Time)
    }

    /// Moves on until level 0 holds the earliest event, and gives its slot.
    #[inline(never)]
    fn settle(&mut self) -> Option<usize> {
        loop {
            if let Some(slot) = self.near.first() {
                return Some(slot);
            }
            if let Some(slot) = self.far.first() {
                self.turn = (self.turn & !SLOT_MASK) | slot as u64;
                self.near.first = 0;
                let mut id = self.far.lists[slot].head;
                self.far.clear(slot);
                while id != NIL {
                    let (at, next) = (self.entries[id as usize].at, self.entries[id as usize].next);
                    self.entries[id as usize].next = NIL;
                    self.insert_near(id, at);
                    id = next;
                }
                continue;
            }
            let Some(next) = self.beyond.next_time() else {
                // Both levels are empty up to their ends; what is pushed next may lie anywhere from now on.
                self.near.first = (self.last >> SLOT_BITS) as usize % SLOTS / 64;
                self.far.first = self.turn as usize % SLOTS / 64;
                return None;
            };
            let era = next.0 >> ERA_BITS;
            self.turn = era << LEVEL_BITS;
            (self.near.first, self.far.first) = (0, 0);
            while self.beyond.next_time().is_some_and(|at| at.0 >> ERA_BITS == era) {
                let Some((at, event)) = self.beyond.pop() else { break };
                let id = self.allocate(at.0, event);
                if at.0 >> TURN_BITS == self.turn { self.insert_near(id, at.0) } else { self.insert_far(id, at.0) }
            }
        }
    }
}

impl<E: Copy> Default for Wheel<E> {
    fn default() -> Self {
        Wheel::new()
    }
}

impl<E: Copy> EventQueue<E> for Wheel<E> {
    #[inline]
    fn push(&mut self, at: Time, event: E) {
        let at = at.0.max(self.last);
        // Whatever needs more than a free entry in the current turn happens elsewhere, so that this stays short.
        let id = self.free;
        match self.entries.get_mut(id as usize) {
            Some(entry) if at >> TURN_BITS == self.turn => {
                self.free = entry.next;
                *entry = Entry { at, next: NIL, event };
                self.insert_near(id, at);
            }
            _ => self.push_later(at, event),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(Time, E)> {
        let slot = match self.near.first() {
            Some(slot) => slot,
            None => self.settle()?,
        };
        let id = self.near.lists[slot % SLOTS].head;
        let Some(entry) = self.entries.get_mut(id as usize) else {
            self.sort(slot);
            return self.pop();
        };
        let (at, event, next) = (entry.at, entry.event, entry.next);
        entry.next = self.free;
        self.free = id;
        if next == NIL {
            self.near.clear(slot);
        } else {
            self.near.lists[slot % SLOTS].head = next;
        }
        self.last = at;
        Some((Time(at), event))
    }

    /// Counts: it takes the longer the more free entries there are.
    fn len(&self) -> usize {
        let mut free = 0;
        let mut id = self.free;
        while let Some(entry) = self.entries.get(id as usize) {
            free += 1;
            id = entry.next;
        }
        self.entries.len() - free + self.beyond.len()
    }
}
