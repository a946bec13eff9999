//! Weighted round robin among virtual channels, on links of both kinds: each channel has the share that the VC Arbitration Table gives it.

mod common;

use common::channels::{
    MAX_PAYLOAD, TRANSIT, classes, enable_all, load_table, perform, set, spec, step, with_data_link, write,
};
use common::credits::SMALLEST;
use common::plant::{Plant, Recorder, Spec, plant, single, trees};
use mlx5_twin_sim::profile::Credits;
use mlx5_twin_sim::tlp::Bdf;
use proptest::prelude::*;

/// A plant whose links have so many channels, all in the low-priority group, with these credits each, and tables of up to 128 phases.
fn weighted(count: u8, credits: Credits, seed: u64, exact: bool) -> Spec {
    let mut spec = spec(&vec![credits; count.into()], count - 1, common::TIMING, seed);
    spec.link.virtual_channels = spec.link.virtual_channels.with_phases(128).unwrap();
    with_data_link(spec, exact)
}

/// The traffic class of the same number for each channel, and the others for VC0.
fn maps(count: u8) -> Vec<u8> {
    let beyond = (1..count).map(|channel| 1 << channel);
    let first = beyond.clone().fold(0xff, |map, bit: u8| map & !bit);
    std::iter::once(first).chain(beyond).collect()
}

fn load_everywhere(plant: &mut Plant, table: &[u8]) {
    let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
    let table = table.to_vec();
    plant.run(move |host| async move {
        for id in ids {
            assert_eq!(load_table(&host, id, &table).await, [1, 0], "{id}");
        }
    });
    plant.settle();
}

/// What goes in which order from this phase on if each channel has so many TLPs, those of channel 0 come first and find the wire free, and only the table
/// decides.
fn expected(table: &[u8], mut phase: usize, mut left: Vec<usize>) -> Vec<u8> {
    while table[phase % table.len()] != 0 {
        phase += 1;
    }
    phase += 1;
    let mut order = vec![0];
    left[0] -= 1;
    while left.iter().any(|left| *left > 0) {
        let id = table[phase % table.len()];
        phase += 1;
        if left[usize::from(id)] > 0 {
            left[usize::from(id)] -= 1;
            order.push(id);
        }
    }
    order
}

/// A number of channels, and a table of 32, 64 or 128 phases that has each of them.
fn tables() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (2..=5_u8, prop_oneof![Just(32_usize), Just(64), Just(128)]).prop_flat_map(|(count, phases)| {
        let entries = prop::collection::vec(0..count, phases - usize::from(count));
        let all = entries.prop_map(move |entries| entries.into_iter().chain(0..count).collect::<Vec<u8>>());
        (Just(count), all.prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// As long as all channels have something to send, each has its phases' share, in their order; then the others have what's left.
    #[test]
    fn shares_are_those_of_the_table((count, table) in tables(), rounds in 1..4_usize, more in 0..40_usize, exact in any::<bool>()) {
        let mut plant = single(&weighted(count, Credits::INFINITE, 1, exact));
        enable_all(&mut plant, &maps(count), false);
        load_everywhere(&mut plant, &table);
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let phases_of = |id: u8| table.iter().filter(|entry| **entry == id).count();
        // The last channel has more than its share of these rounds.
        let left: Vec<usize> =
            (0..count).map(|id| phases_of(id) * rounds + if id + 1 == count { more } else { 0 }).collect();
        for (id, left) in (0..).zip(&left) {
            for number in 0..*left as u64 {
                plant.send(0, write(me, (u64::from(id) << 16) + number * 128, 128, id), &[id; 128]);
            }
        }
        plant.settle();
        let seen = classes(&recorder, &mut plant);
        // At which phase it begins depends on the completions that have gone since the table was loaded.
        prop_assert!((0..table.len()).any(|phase| seen == expected(&table, phase, left.clone())), "{:?}", seen);
        let round = table.len();
        for id in 0..count {
            // The first TLP went before the table counted.
            let share = seen[1..].iter().take(round * (rounds - 1)).filter(|class| **class == id).count();
            prop_assert_eq!(share, phases_of(id) * (rounds - 1));
        }
        prop_assert!(plant.fabric().is_at_rest());
    }

    /// Any table, with phases for channels that there aren't, and channels without a phase: nothing stands still, however few the credits are.
    #[test]
    fn any_table_lets_all_go(
        tree in trees(),
        count in 2..=4_u8,
        table in prop::collection::vec(0..8_u8, 64),
        steps in prop::collection::vec(step(), 1..120),
        seed in any::<u64>(),
        exact in any::<bool>(),
    ) {
        let mut plant = plant(&tree, &weighted(count, SMALLEST, seed, exact));
        enable_all(&mut plant, &maps(count), false);
        load_everywhere(&mut plant, &table);
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        perform(&mut plant, &steps);
        prop_assert!(plant.fabric().is_at_rest(), "something was left behind: {:?}", plant.fabric());
        prop_assert_eq!(plant.faults(), Default::default());
        let log = recorder.take();
        let report = plant.judge(&log, TRANSIT);
        prop_assert_eq!(&report.violations, &[]);
        let writes = steps.iter().filter(|step| step.write).count();
        prop_assert_eq!(log.delivered.iter().filter(|(_, header)| header.class() as u8 == 0).count(), writes);
    }
}

/// Channels above the group go before all phases; and a table counts only when it has been loaded and selected.
#[test]
fn the_table_is_for_the_low_priority_group() {
    for exact in [false, true] {
        let mut spec = weighted(3, Credits::INFINITE, 1, exact);
        spec.link.virtual_channels = spec.link.virtual_channels.with_low_priority(1);
        let mut plant = single(&spec);
        enable_all(&mut plant, &maps(3), false);
        let table: Vec<u8> = (0..32).map(|phase| u8::from(phase % 4 == 3)).collect();
        let me = plant.function(0).0;
        let recorder = Recorder::default();
        let run = |plant: &mut Plant| {
            plant.fabric().set_probe(Some(Box::new(recorder.clone())));
            for tc in 0..3 {
                for number in 0..4 {
                    plant.send(0, write(me, u64::from(tc) * 0x1000 + number * 128, MAX_PAYLOAD, tc), &[tc; 128]);
                }
            }
            plant.settle();
            plant.fabric().set_probe(None);
            classes(&recorder, plant)
        };
        assert_eq!(run(&mut plant), [0, 2, 2, 2, 2, 1, 0, 1, 0, 1, 0, 1], "round robin, exact: {exact}");
        load_everywhere(&mut plant, &table);
        // Phases 0 and 1 were those of the last completions.
        assert_eq!(run(&mut plant), [0, 2, 2, 2, 2, 1, 0, 0, 0, 1, 1, 1], "by the table, exact: {exact}");
        // A channel that's enabled again has its phases again.
        let [.., above, below] = plant.found.iter().map(|function| function.id).collect::<Vec<_>>()[..] else {
            panic!("too few functions")
        };
        plant.run(move |host| async move {
            let at = common::channels::capability(&host, below).await.unwrap() + 0x14 + 0xc;
            host.config_write(below, at / 4, 0).await.unwrap();
            assert_eq!(common::channels::pending(&host, above, 2).await, 0b10);
            set(&host, below, 1, 1, 0x02).await;
        });
        plant.settle();
        assert_eq!(run(&mut plant).len(), 12);
        assert!(plant.fabric().is_at_rest());
    }
}
