//! The timing wheel pops what a binary heap pops, in the same order.

use mlx5_twin_sim::Time;
use mlx5_twin_sim::event::{EventQueue, Heap, Wheel};
use proptest::prelude::*;

/// One step of a random use: push so far ahead of the last event popped, or pop.
#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Pop,
    /// Time passes up to the next event, or half the way there.
    Idle(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Spans from nothing to beyond both levels of the wheel (2.1 us and 8.6 ms), with many collisions.
    let ahead = prop_oneof![
        0..4u64,
        0..3_000u64,
        0..5_000_000u64,
        0..20_000_000_000u64,
        0..(1u64 << 45),
        prop::sample::select(vec![0, 511, 512, 1 << 21, (1 << 21) - 1, 1 << 33, (1 << 33) - 1]),
    ];
    prop::collection::vec(
        prop_oneof![3 => ahead.prop_map(Step::Push), 2 => Just(Step::Pop), 1 => any::<bool>().prop_map(Step::Idle)],
        1..400,
    )
}

proptest! {
    /// Many events close together: lists that are sorted only when their time comes, and grow again meanwhile.
    #[test]
    fn crowded_slots_are_popped_in_order(
        first in prop::collection::vec(0..1_500u64, 100..400),
        later in prop::collection::vec((0..700u64, 0..4u8), 0..400),
    ) {
        let (mut wheel, mut heap) = (Wheel::new(), Heap::new());
        let mut number = 0_u64;
        let mut push = |wheel: &mut Wheel<u64>, heap: &mut Heap<u64>, at| {
            wheel.push(Time(at), number);
            heap.push(Time(at), number);
            number += 1;
        };
        for at in first {
            push(&mut wheel, &mut heap, at);
        }
        let mut now = 0;
        for (ahead, pops) in later {
            for _ in 0..pops {
                let popped = wheel.pop();
                prop_assert_eq!(popped, heap.pop());
                now = popped.map_or(now, |(at, _)| at.0);
                prop_assert_eq!(wheel.next_time(), heap.next_time());
            }
            push(&mut wheel, &mut heap, now + ahead);
        }
        while !heap.is_empty() {
            prop_assert_eq!(wheel.pop(), heap.pop());
        }
        prop_assert_eq!(wheel.pop(), None);
    }

    #[test]
    fn wheel_equals_heap(steps in steps()) {
        let (mut wheel, mut heap) = (Wheel::new(), Heap::new());
        let mut now = 0;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(ahead) => {
                    wheel.push(Time(now + ahead), number);
                    heap.push(Time(now + ahead), number);
                }
                Step::Pop => {
                    let popped = wheel.pop();
                    prop_assert_eq!(popped, heap.pop());
                    now = popped.map_or(now, |(at, _)| at.0);
                }
                Step::Idle(half) => {
                    let next = wheel.next_time();
                    prop_assert_eq!(next, heap.next_time());
                    let wait = next.map_or(1 << 40, |next| next.0 - now);
                    now += if half { wait / 2 } else { wait };
                }
            }
            prop_assert_eq!(wheel.len(), heap.len());
        }
        while !heap.is_empty() {
            prop_assert_eq!(wheel.pop(), heap.pop());
        }
        prop_assert_eq!(wheel.pop(), None);
    }
}

#[test]
fn a_past_time_is_taken_for_now() {
    let mut wheel = Wheel::new();
    wheel.push(Time(1_000), 'a');
    assert_eq!(wheel.pop(), Some((Time(1_000), 'a')));
    wheel.push(Time(10), 'b');
    assert_eq!(wheel.pop(), Some((Time(1_000), 'b')));
}
