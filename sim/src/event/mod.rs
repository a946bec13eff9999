//! The queue of what happens next: events in the order of their time, and those of one time in the order they were pushed.

mod heap;
mod wheel;

pub use heap::Heap;
pub use wheel::Wheel;

use crate::time::Time;

/// A queue of events. Two implementations of it, the fast [`Wheel`] and the plain [`Heap`], give the same order; a property
/// test holds them together.
pub trait EventQueue<E> {
    /// Adds an event. One whose time lies before the last event popped is taken for that event's time.
    fn push(&mut self, at: Time, event: E);

    /// Takes the earliest event; among those of one time, the one pushed first.
    fn pop(&mut self) -> Option<(Time, E)>;

    /// How many events wait.
    fn len(&self) -> usize;

    /// Whether no event waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
