//! Host programs: the order in which they wake, interrupts, programs that give up waiting, and runs without an end.

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use common::plant::{Plant, Spec, single};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::host::{AccessError, Host};
use mlx5_twin_sim::tlp::Header;

/// Names in the order in which programs put them there.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, host: &Host, name: impl std::fmt::Display) {
        self.0.lock().unwrap().push(format!("{name} at {} ns", host.now().as_ns()));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Waits for `what`, but no longer than `span`. Whether it came.
async fn within(host: &Host, span: Time, what: impl Future<Output = ()>) -> bool {
    let (mut what, mut sleep) = (pin!(what), pin!(host.sleep(span)));
    poll_fn(|context| match what.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| false),
    })
    .await
}

/// Lets the agent send an interrupt message.
fn interrupt(plant: &mut Plant, vector: u32) {
    let me = plant.function(0).0;
    let header = Header::mem_write_bytes(me, 0, 0xfee0_0000, 4).unwrap();
    plant.send(0, header, &vector.to_le_bytes());
}

/// A plant at a time that is a multiple of 1 ms.
fn at_rest() -> Plant {
    let mut plant = single(&Spec::default());
    plant.settle();
    let next = plant.simulation.fabric().now().as_ps().next_multiple_of(Time::ms(1).as_ps());
    plant.run(move |host| async move { host.sleep(Time(next).since(host.now())).await });
    plant
}

#[test]
fn sleepers_wake_in_order_of_time_and_then_of_their_asking() {
    let mut plant = at_rest();
    let (notes, host) = (Notes::default(), plant.simulation.host(plant.root));
    let begin = host.now().as_ns();
    for (name, ns) in [("a", 300), ("b", 100), ("c", 200), ("d", 100), ("e", 0)] {
        let (notes, host) = (notes.clone(), host.clone());
        plant.simulation.spawn(async move {
            host.sleep(Time::ns(ns)).await;
            notes.add(&host, name);
        });
    }
    assert_eq!(plant.simulation.running(), 5);
    plant.settle();
    let expected = [("e", 0), ("b", 100), ("d", 100), ("c", 200), ("a", 300)];
    assert_eq!(notes.take(), expected.map(|(name, ns)| format!("{name} at {} ns", begin + ns)));
    assert_eq!(plant.simulation.running(), 0);
}

#[test]
fn an_interrupt_that_came_before_is_not_lost() {
    let mut plant = at_rest();
    for vector in [5, 7, 5] {
        interrupt(&mut plant, vector);
    }
    plant.settle();
    let spans = plant.run(|host| async move {
        let begin = host.now();
        for vector in [5, 5, 7] {
            host.interrupt(vector).await;
        }
        host.now().since(begin)
    });
    assert_eq!(spans, Time::ZERO);
    // All three are used up.
    let came = plant.run(|host| async move { within(&host, Time::us(1), host.interrupt(5)).await });
    assert!(!came);
}

#[test]
fn interrupts_go_to_waiters_in_their_order() {
    let mut plant = at_rest();
    let (notes, host) = (Notes::default(), plant.simulation.host(plant.root));
    for (name, vector) in [("first", 3), ("other", 4), ("second", 3)] {
        let (notes, host) = (notes.clone(), host.clone());
        plant.simulation.spawn(async move {
            host.interrupt(vector).await;
            notes.add(&host, name);
        });
    }
    plant.settle();
    for (vector, name) in [(3, "first"), (3, "second"), (4, "other")] {
        interrupt(&mut plant, vector);
        plant.settle();
        let noted = notes.take();
        assert!(noted.len() == 1 && noted[0].starts_with(name), "{noted:?}");
    }
}

/// Who gave up waiting must not take an interrupt from who still waits, or from who comes later.
#[test]
fn an_interrupt_does_not_go_to_who_gave_up() {
    let mut plant = at_rest();
    let came = plant.run(|host| async move { within(&host, Time::us(1), host.interrupt(9)).await });
    assert!(!came);
    let host = plant.simulation.host(plant.root);
    let (notes, here) = (Notes::default(), host.clone());
    let noted = notes.clone();
    plant.simulation.spawn(async move {
        here.interrupt(9).await;
        noted.add(&here, "second");
    });
    plant.simulation.step();
    interrupt(&mut plant, 9);
    plant.settle();
    assert_eq!(notes.take().len(), 1);
    // And if nobody waits, it's kept.
    plant.run(|host| async move { within(&host, Time::us(1), host.interrupt(9)).await });
    interrupt(&mut plant, 9);
    plant.settle();
    let came = plant.run(|host| async move { within(&host, Time::us(1), host.interrupt(9)).await });
    assert!(came);
}

#[test]
fn programs_take_turns() {
    let mut plant = at_rest();
    let bar = plant.function(0).1;
    let (notes, host) = (Notes::default(), plant.simulation.host(plant.root));
    for name in ["a", "b", "c"] {
        let (notes, host) = (notes.clone(), host.clone());
        plant.simulation.spawn(async move {
            for round in 0..3 {
                assert_eq!(host.read32(bar + 4).await, Ok(0x0706_0504));
                notes.add(&host, format_args!("{name}{round}"));
            }
        });
    }
    plant.settle();
    let order: Vec<String> = notes.take().iter().map(|note| note[..2].to_owned()).collect();
    assert_eq!(order, ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]);
}

#[test]
fn an_access_may_be_given_up() {
    let mut plant = at_rest();
    let bar = plant.function(0).1;
    let answers = plant.run(move |host| async move {
        let read = async {
            let _ = host.read32(bar).await;
        };
        let came = within(&host, Time::ns(1), read).await;
        // Its answer comes later, and isn't taken for that of the next access.
        (came, host.read32(bar + 8).await, host.read32(bar + 12).await)
    });
    assert_eq!(answers, (false, Ok(0x0b0a_0908), Ok(0x0f0e_0d0c)));
    plant.settle();
    assert_eq!(plant.simulation.fabric().in_flight(), 0);
}

#[test]
fn a_run_that_never_ends_says_so() {
    let mut plant = at_rest();
    let host = plant.simulation.host(plant.root);
    let waits = host.clone();
    assert_eq!(plant.simulation.run(async move { waits.interrupt(77).await }), None);
    assert_eq!(plant.simulation.running(), 1);
    // It still waits, and ends when its interrupt comes.
    interrupt(&mut plant, 77);
    plant.settle();
    assert_eq!(plant.simulation.running(), 0);
    assert!(plant.simulation.run(async move { host.now() }).is_some());
}

#[test]
fn memory_has_an_end() {
    let mut plant = at_rest();
    let end = common::plant::MEMORY;
    let answers = plant.run(move |host| async move {
        host.store(end - 4, &[1, 2, 3, 4]).await.unwrap();
        (
            host.load(end - 4, 4).await,
            host.load(end - 4, 5).await,
            host.load(0, usize::MAX).await,
            host.load(u64::MAX, 2).await,
            host.store(end, &[0]).await,
        )
    });
    let no_memory = |address| AccessError::NoMemory(address);
    assert_eq!(answers.0, Ok(vec![1, 2, 3, 4]));
    assert_eq!(answers.1, Err(no_memory(end - 4)));
    assert_eq!(answers.2, Err(no_memory(0)));
    assert_eq!((answers.3, answers.4), (Err(no_memory(u64::MAX)), Err(no_memory(end))));
}

/// A device may send any 32 bits as a vector: no more than 65,536 of them are kept.
#[test]
fn vectors_that_nobody_takes_are_bounded() {
    let mut plant = at_rest();
    let root = plant.root;
    for vector in 0..(1 << 16) + 5 {
        interrupt(&mut plant, vector);
        plant.settle();
    }
    // One that's known has room again and again.
    interrupt(&mut plant, 3);
    plant.settle();
    let mut taken = std::iter::from_fn(|| plant.simulation.next_interrupt(root)).collect::<Vec<u32>>();
    assert_eq!(taken.len(), (1 << 16) + 1);
    taken.dedup();
    assert!(taken.into_iter().eq(0..1 << 16));
    interrupt(&mut plant, 1 << 20);
    plant.settle();
    assert_eq!(plant.simulation.next_interrupt(root), Some(1 << 20));
    assert_eq!(plant.simulation.next_interrupt(root), None);
}
