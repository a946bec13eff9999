//! Virtual channels of links whose data link layer is exact: how they begin beside traffic, how they end in the midst of it, and errors on the wire.

mod common;

use common::channels::{
    ENABLE, MAX_PAYLOAD, capability, channels, classes, enable_all, exact_credits, four_of_each, pending, perform, set,
    spec, step, with_data_link, write,
};
use common::credits::SMALLEST;
use common::frames::{Frames, LOWER};
use common::plant::{MEMORY, Plant, Recorder, plant, single, trees};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::dll::{Dllp, FcStage};
use mlx5_twin_sim::fabric::rules::{Action, Rule, Rules};
use mlx5_twin_sim::fabric::{Fate, FrameKind, Noise, PortId};
use mlx5_twin_sim::host::Host;
use mlx5_twin_sim::probe::{Direction, LinkFrame, LinkId, OnWire};
use mlx5_twin_sim::profile::{Credits, Range};
use mlx5_twin_sim::tlp::{Bdf, Class};
use proptest::prelude::*;
use proptest::sample::Index;

/// Longer than any TLP is on its way, replays included.
const LONG: Time = Time::ms(1);

/// One agent whose links have VC0 and so many channels beyond it.
fn exact(credits: &[Credits]) -> Plant {
    single(&with_data_link(spec(credits, 0, common::TIMING, 1), true))
}

/// The functions above and below [`LOWER`].
fn functions(plant: &Plant) -> [Bdf; 2] {
    let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
    ids.last_chunk().copied().unwrap()
}

/// The ports at the two ends of [`LOWER`], the switch's first.
fn ports(plant: &mut Plant) -> [PortId; 2] {
    plant.fabric().ends(LOWER).unwrap().map(|end| end.port)
}

async fn disable(host: &Host, id: Bdf, number: u16) {
    let at = capability(host, id).await.unwrap() + 0x14 + 0xc * number;
    host.config_write(id, at / 4, 0).await.unwrap();
}

/// What an end says to initialize a channel, in order.
fn said(frames: &[LinkFrame], direction: Direction, id: u8) -> Vec<(FcStage, Class)> {
    let all = frames.iter().filter(|frame| frame.direction == direction);
    let all = all.filter_map(|frame| match frame.what {
        OnWire::Dllp(Dllp::FlowControl { stage: FcStage::Update, .. }) => None,
        OnWire::Dllp(Dllp::FlowControl { stage, class, channel, .. }) if channel == id => Some((stage, class)),
        _ => None,
    });
    all.collect()
}

/// VC0 carries TLPs while VC3 is initialized: InitFC1 and InitFC2 by threes with its ID, which has another resource at each end. Half of what the switch says is
/// lost, so that it takes some time.
#[test]
fn a_channel_begins_beside_traffic() {
    let mut plant = exact(&[Credits::INFINITE, SMALLEST, SMALLEST]);
    let [above, below] = functions(&plant);
    let [switch, agent] = ports(&mut plant);
    let me = plant.function(0).0;
    plant.run(move |host| async move { set(&host, below, 2, 3, 0x02).await });
    plant.settle();
    assert!(plant.fabric().set_noise(switch, Noise { lost_dllps: 500_000, ..Noise::default() }, 1));
    let frames = Frames::of(&mut plant);
    for number in 0..2_000 {
        plant.send(0, write(me, number * 128, 128, 0), &[1; 128]);
    }
    plant.run(move |host| async move {
        set(&host, above, 1, 3, 0x02).await;
        host.sleep(Time::us(50)).await;
        assert_eq!([pending(&host, above, 3).await, pending(&host, below, 3).await], [0, 0]);
    });
    plant.settle();
    let frames = frames.take();
    for direction in [Direction::Upstream, Direction::Downstream] {
        let all = said(&frames, direction, 3);
        let three = |stage| Class::ALL.map(|class| (stage, class));
        assert!(all.chunks(3).all(|said| said == three(FcStage::Init1) || said == three(FcStage::Init2)), "{all:?}");
        assert_eq!(
            (all[..3].to_vec(), all[all.len() - 3..].to_vec()),
            (three(FcStage::Init1).to_vec(), three(FcStage::Init2).to_vec())
        );
    }
    let is_init = |frame: &LinkFrame| !said(&[*frame], frame.direction, 3).is_empty();
    let (first, last) = (frames.iter().position(is_init).unwrap(), frames.iter().rposition(is_init).unwrap());
    let tlps = |frames: &[LinkFrame]| frames.iter().filter(|frame| matches!(frame.what, OnWire::Tlp { .. })).count();
    assert!(tlps(&frames[first..last]) > 0 && tlps(&frames[..first]) > 0 && tlps(&frames[last..]) > 0);
    let credits = |plant: &mut Plant, port| plant.agent(0, |_, core| core.exact_credits(port, 3, Class::Posted));
    assert!(credits(&mut plant, switch).is_some() && credits(&mut plant, agent).is_some());
    assert!(plant.fabric().is_at_rest());
}

/// As long as what one end says isn't heard, its channel is pending there, and a TLP for it waits; then it goes.
#[test]
fn a_channel_is_pending_until_it_is_initialized() {
    let mut plant = exact(&[SMALLEST; 2]);
    let [above, below] = functions(&plant);
    let [switch, _] = ports(&mut plant);
    let me = plant.function(0).0;
    plant.run(move |host| async move {
        set(&host, below, 1, 1, 0x02).await;
        set(&host, below, 0, 0, 0xfd).await;
    });
    plant.settle();
    let silent = |lost_dllps| Noise { lost_dllps, ..Noise::default() };
    assert!(plant.fabric().set_noise(switch, silent(1_000_000), 1));
    let states = plant.run(move |host| async move {
        set(&host, above, 1, 1, 0x02).await;
        host.sleep(Time::us(10)).await;
        pending(&host, above, 2).await
    });
    assert_eq!(states, 0b10);
    plant.send(0, write(me, 0, 128, 1), &[9; 128]);
    plant.run(|host| async move { host.sleep(Time::us(3)).await });
    assert_eq!(plant.fabric().in_flight(), 1);
    assert!(plant.fabric().set_noise(switch, silent(0), 1));
    let states = plant.run(move |host| async move {
        host.sleep(Time::us(5)).await;
        pending(&host, above, 2).await
    });
    assert_eq!(states, 0);
    plant.settle();
    let root = plant.root;
    assert_eq!(plant.fabric().memory(root).unwrap().read_u32_le(0), Ok(0x0909_0909));
    assert!(plant.fabric().is_at_rest());
}

/// VC0 has no credits for 30 us, since an UpdateFC is lost; those who have another channel don't wait for that.
#[test]
fn a_starved_channel_stops_no_other() {
    let mut plant = exact(&[SMALLEST, Credits::INFINITE]);
    enable_all(&mut plant, &[0xfd, 0x02], false);
    let [switch, _] = ports(&mut plant);
    assert!(plant.fabric().meddle(switch, FrameKind::UpdateFc, 0, Fate::Lost));
    assert_eq!(four_of_each(&mut plant), [0, 1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(plant.faults(), Default::default());
}

/// Credits of several TLPs that a rule has kept back come together, all of them, and those of another channel aren't kept.
#[test]
fn withheld_credits_come_back() {
    let four = Credits { posted_headers: 4, posted_data: 32, ..SMALLEST };
    let mut plant = exact(&[four, four]);
    enable_all(&mut plant, &[0xfd, 0x02], false);
    let before = exact_credits(&mut plant);
    let me = plant.function(0).0;
    let action = Action::WithholdCredits { class: Some(Class::Posted), channel: Some(1), duration: Some(Time::us(50)) };
    let rule = Rule::new(action).on(LOWER, Direction::Upstream);
    plant.fabric().set_rules(Rules::new([rule], 1, |_| None).unwrap()).unwrap();
    let recorder = Recorder::default();
    plant.fabric().set_probe(Some(Box::new(recorder.clone())));
    for number in 0..6 {
        plant.send(0, write(me, number * 128, 128, 1), &[1; 128]);
        plant.send(0, write(me, 0x1000 + number * 128, 128, 0), &[1; 128]);
    }
    plant.settle();
    assert_eq!(classes(&recorder, &mut plant), [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert!(plant.fabric().is_at_rest());
    assert_eq!(exact_credits(&mut plant), before);
}

/// What waits for a channel that ends is malformed for who was to send it; what is on the wire, for who gets it. Anew, the channel has all its credits.
#[test]
fn a_channel_ends_in_the_midst_of_traffic() {
    let mut plant = exact(&[SMALLEST; 2]);
    enable_all(&mut plant, &[0xfd, 0x02], false);
    let [above, _] = functions(&plant);
    let me = plant.function(0).0;
    let credits = exact_credits(&mut plant);
    for number in 0..40 {
        plant.send(0, write(me, number * 128, 128, 1), &[1; 128]);
        plant.send(0, write(me, 0x10_0000 + number * 128, 128, 0), &[2; 128]);
    }
    plant.run(move |host| async move { disable(&host, above, 1).await });
    plant.settle();
    let root = plant.root;
    let memory = plant.fabric().memory(root).unwrap();
    let arrived = |base: u64| (0..40).filter(|number| memory.read_u32_le(base + number * 128) != Ok(0)).count() as u64;
    let (first, other) = (arrived(0), arrived(0x10_0000));
    assert_eq!(other, 40, "VC0 goes on");
    assert!(first < 40);
    assert_eq!(plant.faults().malformed, 40 - first);
    assert!(plant.fabric().is_at_rest());
    plant.run(move |host| async move { set(&host, above, 1, 1, 0x02).await });
    plant.settle();
    assert_eq!(exact_credits(&mut plant), credits);
}

/// Something that software does to a channel while TLPs go.
#[derive(Clone, Debug)]
enum Change {
    Disable(Index, u16),
    Enable(Index, u16, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..=2_u16).prop_map(|(function, number)| Change::Disable(function, number)),
        (any::<Index>(), 1..=2_u16, 1..=2_u8).prop_map(|(function, number, id)| Change::Enable(function, number, id)),
    ]
}

/// The control register of another VC resource than that of VC0, whose own this is.
fn at_resource((id, register): (Bdf, u16), number: u16) -> (Bdf, u16) {
    (id, register + 3 * number)
}

fn noise() -> impl Strategy<Value = Noise> {
    let some = || prop_oneof![2 => Just(0), 3 => 0..40_000_u32];
    (some(), some(), some(), some()).prop_map(|(broken_tlps, lost_tlps, broken_dllps, lost_dllps)| Noise {
        broken_tlps,
        lost_tlps,
        broken_dllps,
        lost_dllps,
    })
}

fn set_noise(plant: &mut Plant, noise: Noise, seed: u64) {
    let links = (0..u16::MAX).map_while(|link| plant.fabric().ends(LinkId(link)));
    let ports: Vec<PortId> = links.flatten().map(|end| end.port).collect();
    for (number, port) in (0..).zip(ports) {
        assert!(plant.fabric().set_noise(port, noise, seed ^ number));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Frames are broken and lost: everything arrives all the same, in an order that the table allows, and all credits come back.
    #[test]
    fn everything_arrives_over_a_noisy_wire(
        tree in trees(),
        (credits, low_priority, maps) in channels(),
        rotated in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
        noise in noise(),
        seed in any::<u64>(),
    ) {
        let mut plant = plant(&tree, &with_data_link(spec(&credits, low_priority, common::TIMING, seed), true));
        set_noise(&mut plant, noise, seed);
        if credits.len() > 1 {
            enable_all(&mut plant, &maps, rotated);
        }
        plant.settle();
        let before = exact_credits(&mut plant);
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        perform(&mut plant, &steps);
        prop_assert!(plant.fabric().is_at_rest(), "something was left behind: {:?}", plant.fabric());
        prop_assert_eq!(plant.faults(), Default::default());
        prop_assert_eq!(exact_credits(&mut plant), before);
        let log = recorder.take();
        prop_assert_eq!(&plant.judge(&log, LONG).violations, &[]);
        let writes = steps.iter().filter(|step| step.write).count();
        prop_assert_eq!(log.delivered.iter().filter(|(_, header)| header.class() as u8 == 0).count(), writes);
    }

    /// Channels begin, end and change places at either end while TLPs go: each write is in memory or was malformed, and nothing is left.
    #[test]
    fn channels_come_and_go(
        changes in prop::collection::vec((change(), prop_oneof![0..300_u64, 0..3_000_u64]), 1..16),
        writes in prop::collection::vec((0..4_u8, 1..=MAX_PAYLOAD / 4, 0..30_u8), 1..100),
        credits in prop::collection::vec(common::channels::credits(), 3),
        noise in noise(),
        flight_ps in prop_oneof![Just(1_000), 0..5_000_000_u64],
        seed in any::<u64>(),
    ) {
        let mut spec = with_data_link(spec(&credits, 1, common::TIMING, seed), true);
        spec.link.propagation = Range { min_ps: flight_ps, max_ps: flight_ps };
        let mut plant = single(&spec);
        set_noise(&mut plant, noise, seed);
        plant.settle();
        let before = exact_credits(&mut plant);
        let ids: Vec<Bdf> = plant.found.iter().map(|function| function.id).collect();
        let found = ids.clone();
        let registers = plant.run(move |host| async move {
            let mut registers = Vec::new();
            for id in found {
                for number in 1..=2 {
                    set(&host, id, number, number as u8, 1 << number).await;
                }
                set(&host, id, 0, 0, 0xf9).await;
                registers.push((id, capability(&host, id).await.unwrap() / 4 + 5));
            }
            registers
        });
        // Each by a program of its own, so that they may come closer to each other than a TLP and its Ack.
        let mut at = Time::ZERO;
        for (change, pause) in changes {
            at += Time::ns(pause);
            let host = plant.simulation.host(plant.root);
            let ((id, register), value) = match change {
                Change::Disable(function, number) => (at_resource(*function.get(&registers), number), 0),
                Change::Enable(function, number, channel) => {
                    let value = ENABLE | u32::from(channel) << 24 | 1 << channel;
                    (at_resource(*function.get(&registers), number), value)
                }
            };
            plant.simulation.spawn(async move {
                host.sleep(at).await;
                host.config_write(id, register, value).await.unwrap();
            });
        }
        let me = plant.function(0).0;
        for (number, (tc, dwords, pause)) in (0..).zip(&writes) {
            plant.send(0, write(me, MEMORY / 2 + number * 128, dwords * 4, *tc), &vec![0xee; *dwords as usize * 4]);
            for _ in 0..*pause {
                plant.simulation.step();
            }
        }
        plant.settle();
        prop_assert!(plant.fabric().is_at_rest(), "something was left behind: {:?}", plant.fabric());
        let root = plant.root;
        let memory = plant.fabric().memory(root).unwrap();
        let arrived = (0..writes.len() as u64).filter(|number| memory.read_u32_le(MEMORY / 2 + number * 128) == Ok(0xeeee_eeee));
        let arrived = arrived.count() as u64;
        prop_assert_eq!(arrived + plant.faults().malformed, writes.len() as u64);
        prop_assert_eq!(plant.fabric().lost(), 0);
        // Set up anew, everything goes again.
        plant.run(move |host| async move {
            for id in &ids {
                for number in 1..=2 {
                    disable(&host, *id, number).await;
                }
            }
            for id in &ids {
                set(&host, *id, 0, 0, 0xff).await;
            }
        });
        plant.settle();
        prop_assert_eq!(exact_credits(&mut plant), before);
        for tc in 0..8 {
            plant.send(0, write(me, 0x1000 * u64::from(tc), 128, tc), &[3; 128]);
        }
        plant.settle();
        let memory = plant.fabric().memory(root).unwrap();
        prop_assert!((0..8).all(|tc| memory.read_u32_le(0x1000 * tc) == Ok(0x0303_0303)));
        prop_assert!(plant.fabric().is_at_rest());
    }
}
