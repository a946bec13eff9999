//! In steady state neither a TLP nor a host program's access allocates anything.

#![allow(unsafe_code, reason = "an allocator can't be counted without")]

#[path = "../benches/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use support::{Load, Size};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // While a thread ends, its counter may be gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`, and `memory` came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the rules of `realloc`, and `memory` came from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `f` allocates.
fn allocations<T>(f: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = f();
    (ALLOCATIONS.get() - before, result)
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| Box::new([0_u8; 100])).0 >= 1);
    assert_eq!(allocations(|| 1 + 1).0, 0);
}

#[test]
fn a_tlp_allocates_nothing() {
    for (endpoints, tags) in [(1, 32), (4, 32), (32, 32), (4, 256)] {
        let mut load = Load::warm(endpoints, tags);
        let (allocated, tlps) = allocations(|| load.run(10_000));
        assert!(tlps > 29_000);
        assert_eq!(allocated, 0, "{endpoints} endpoints with {tags} tags: allocations in {tlps} TLPs");
    }
}

/// Credits of which only the headers are infinite once piled up at the transmitter.
#[test]
fn infinite_credits_do_not_pile_up() {
    let mut load = Load::with_credits(Size::of(1, 4, 32), |credits| {
        credits.posted_headers = 0;
        credits.nonposted_headers = 0;
        credits.completion_headers = 0;
    });
    load.run(4_000);
    let (allocated, tlps) = allocations(|| load.run(40_000));
    assert_eq!(allocated, 0, "allocations in {tlps} TLPs");
}

#[test]
fn a_host_program_allocates_nothing_for_an_access() {
    let mut load = Load::warm(1, 32);
    let host = load.simulation.host(load.root);
    let bridge = load.bridge;
    let counts = load.simulation.run(async move {
        let mut counts = Vec::with_capacity(3);
        for round in 0..3 {
            let before = ALLOCATIONS.get();
            for number in 0..200 {
                host.config_read(bridge, number % 64).await.expect("a register");
                host.sleep(mlx5_twin_sim::Time::ns(u64::from(number))).await;
            }
            counts.push((round, ALLOCATIONS.get() - before));
        }
        counts
    });
    // The first round warms up.
    assert_eq!(counts.expect("an end")[1..], [(1, 0), (2, 0)]);
}
