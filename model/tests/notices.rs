//! What software hears of the host's writes to doorbells and stateful regions: the last one always, and never more than it frees.

mod common;

use std::collections::BTreeMap;

use common::Rig;
use common::software::{DOORBELL_REGION, DOORBELLS, REGISTERS, STATE, STATE_REGION, STATE_SIZE, Software, with_state};
use common::twin::{Message, Notice};
use mlx5_twin_fw_cmds::layout::emulated_function;
use mlx5_twin_fw_cmds::twin_v1::{message, scope};
use mlx5_twin_sim::host::{Access, Data};
use mlx5_twin_sim::time::Time;
use mlx5_twin_sim::tlp::Kind;
use proptest::prelude::*;

/// Begins a write of the host; it arrives some time later.
fn post(rig: &mut Rig, address: u64, bytes: &[u8]) {
    let host = rig.host();
    let access = Access::MemoryWrite { address, data: Data::new(bytes) };
    rig.machine.simulation.access(host, access).expect("a write within a line");
}

/// Takes all notices that are there, and frees their slots.
fn notices(rig: &mut Rig, software: &mut Software) -> Vec<Notice> {
    software.seen.clear();
    software.serve(rig);
    rig.pause();
    software.seen.drain(..).map(|message| message.notice().expect("nothing but notices")).collect()
}

#[test]
fn a_doorbell_rings() {
    let (mut rig, mut software) = Software::ready_as(3, 0, with_state);
    let bar = software.bar;
    let begin = rig.machine.simulation.fabric().now();
    post(&mut rig, bar + DOORBELLS + 0x14, &[1, 2, 3, 4]);
    rig.pause();
    let heard = notices(&mut rig, &mut software);
    let [Notice { kind: message::DOORBELL, number: 5, value: 0x0403_0201, place: (0, 0x1014), time }] = heard[..]
    else {
        panic!("{heard:?}")
    };
    assert!(time > begin && time < begin + Time::us(1), "{time}");
    // The same value rings too: a driver's kick is often the same one. Single bytes leave the others alone.
    for (at, bytes, value) in
        [(0x14, &[1, 2, 3, 4][..], 0x0403_0201), (0x16, &[7], 0x0407_0201), (0x14, &[9, 8], 0x0407_0809)]
    {
        post(&mut rig, bar + DOORBELLS + at, bytes);
        rig.pause();
        let heard = notices(&mut rig, &mut software);
        assert_eq!(heard.iter().map(|notice| (notice.number, notice.value)).collect::<Vec<_>>(), [(5, value)]);
    }
    // One TLP over several of them.
    post(&mut rig, bar + DOORBELLS + 2, &[0xff; 7]);
    rig.pause();
    let heard = notices(&mut rig, &mut software);
    let heard: Vec<_> = heard.iter().map(|notice| (notice.number, notice.value)).collect();
    assert_eq!(heard, [(0, 0xffff_0000), (1, 0xffff_ffff), (2, 0x0000_00ff)]);
    let query = software.query(&mut rig);
    assert_eq!(emulated_function::DOORBELL.get(&query, 5), Ok(0x0407_0809));
}

/// While a message isn't freed, writes only change the value; then one more message brings the newest.
#[test]
fn rings_are_merged_until_software_frees_the_message() {
    let (mut rig, mut software) = Software::ready_as(3, 0, with_state);
    let bar = software.bar;
    let ring = |rig: &mut Rig, value: u8| {
        post(rig, bar + DOORBELLS, &[value, 0, 0, 0]);
        rig.pause();
    };
    ring(&mut rig, 1);
    let first = software.channel.next(&rig).expect("a message").notice();
    assert_eq!(first.map(|notice| notice.value), Some(1));
    for value in 2..50 {
        ring(&mut rig, value);
        assert!(software.channel.next(&rig).is_none(), "{value}");
    }
    let last = rig.machine.simulation.fabric().now();
    software.channel.free(&mut rig);
    rig.pause();
    let second = software.channel.next(&rig).expect("a message").notice().expect("a notice");
    assert_eq!((second.number, second.value), (0, 49));
    assert!(second.time < last, "of the last ring, not of its delivery");
    software.channel.free(&mut rig);
    rig.pause();
    assert!(software.channel.next(&rig).is_none(), "nothing has changed since");
}

/// A full ring holds back requests of software's regions, but no ring of a doorbell: the link takes all of them.
#[test]
fn a_doorbell_never_blocks_the_link() {
    let (mut rig, mut software) = Software::ready_as(0, 0, with_state);
    let bar = software.bar;
    for number in 0..400_u64 {
        post(&mut rig, bar + DOORBELLS + 4 * (number % 16), &(number as u32).to_le_bytes());
        if number % 32 == 31 {
            rig.pause();
        }
    }
    post(&mut rig, bar + STATE, &[1]);
    rig.pause();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0, "nothing waits on the link");
    // The host reads them back, though the ring's only slot is taken.
    let access = Access::MemoryRead { address: bar + DOORBELLS, len: 64 };
    let read = rig.access(rig.host(), access, |_| {}).expect("an answer");
    let expected: Vec<u8> = (0..16_u32).flat_map(|number| (384 + number).to_le_bytes()).collect();
    assert_eq!(read.bytes(), expected);
    let mut heard = BTreeMap::new();
    for _ in 0..40 {
        for notice in notices(&mut rig, &mut software) {
            let count = heard.entry((notice.kind, notice.number)).or_insert((0, 0));
            *count = (count.0 + 1, notice.value);
        }
    }
    assert_eq!(heard.remove(&(message::REGION_WRITTEN, STATE_REGION as u32)), Some((1, 0)));
    // Of each doorbell the first ring, and the last of all the others.
    let others: Vec<_> = heard.into_iter().collect();
    assert_eq!(others, (0..16).map(|number| ((message::DOORBELL, number), (2, 384 + number))).collect::<Vec<_>>());
}

#[test]
fn quiet_regions_are_quiet() {
    let (mut rig, mut software) = Software::ready_as(3, 0, |config, spec| {
        with_state(config, spec);
        spec.notify.clear();
    });
    let bar = software.bar;
    post(&mut rig, bar + DOORBELLS, &[1; 8]);
    post(&mut rig, bar + STATE, &[1; 8]);
    rig.pause();
    software.set_region(&mut rig, scope::VALUES, DOORBELL_REGION, 0, &[7; 4]);
    rig.pause();
    assert_eq!(notices(&mut rig, &mut software), []);
}

/// Software's own change of a doorbell is like the host's; initial values and those of stateful regions change silently.
#[test]
fn software_rings() {
    let (mut rig, mut software) = Software::ready_as(3, 0, with_state);
    for (scope, region, number) in
        [(scope::BOTH, DOORBELL_REGION, 0), (scope::DEFAULTS, DOORBELL_REGION, 0), (scope::VALUES, STATE_REGION, 0)]
    {
        software.set_region(&mut rig, scope, region, number, &[1, 0, 0, 0]);
        rig.pause();
        assert_eq!(notices(&mut rig, &mut software), []);
    }
    software.set_region(&mut rig, scope::VALUES, DOORBELL_REGION, 8, &[1, 0, 0, 0, 2, 0, 0, 0]);
    rig.pause();
    let heard: Vec<_> = notices(&mut rig, &mut software).iter().map(|notice| (notice.number, notice.value)).collect();
    assert_eq!(heard, [(2, 1), (3, 2)]);
    // As the host's, they merge with those that the host rings.
    let bar = software.bar;
    post(&mut rig, bar + DOORBELLS, &[5, 0, 0, 0]);
    rig.pause();
    software.set_region(&mut rig, scope::VALUES, DOORBELL_REGION, 0, &[6, 0, 0, 0]);
    software.set_region(&mut rig, scope::VALUES, DOORBELL_REGION, 0, &[7, 0, 0, 0]);
    let mut heard = notices(&mut rig, &mut software);
    heard.extend(notices(&mut rig, &mut software));
    assert_eq!(heard.iter().map(|notice| notice.value).collect::<Vec<_>>(), [5, 7]);
}

/// A reset takes back what nobody has heard of; a message in the ring stays there, and counts until it's freed.
#[test]
fn a_reset_takes_back_what_was_not_told() {
    let (mut rig, mut software) = Software::ready_as(1, 0, with_state);
    let bar = software.bar;
    software.set_region(&mut rig, scope::DEFAULTS, DOORBELL_REGION, 0, &[0x77, 0, 0, 0]);
    for value in [1, 2] {
        post(&mut rig, bar + DOORBELLS, &[value, 0, 0, 0]);
        rig.pause();
    }
    // The reset goes past the notice that isn't freed: the ring has two slots.
    software.function_level_reset(&mut rig);
    rig.pause();
    let told: Vec<_> = software.seen.iter().filter_map(Message::notice).map(|notice| notice.value).collect();
    assert!(told.len() <= 2 && told[0] == 1, "{told:?}");
    assert_eq!(notices(&mut rig, &mut software), []);
    assert_eq!(software.region(&mut rig, DOORBELL_REGION, 0, 4), [0x77, 0, 0, 0]);
    post(&mut rig, bar + DOORBELLS + 2, &[3]);
    rig.pause();
    let heard = notices(&mut rig, &mut software);
    assert_eq!(heard.iter().map(|notice| notice.value).collect::<Vec<_>>(), [0x0003_0077]);
}

/// A function that goes, with a notice in the ring, and comes again: nothing of the old one holds the new one back.
#[test]
fn a_claim_begins_afresh() {
    let (mut rig, software) = Software::ready_as(3, 0, with_state);
    let bar = software.bar;
    post(&mut rig, bar + DOORBELLS, &[1, 0, 0, 0]);
    rig.pause();
    rig.ok(&software.destroy());
    let (mut config, mut spec) = common::software::description(software.channel.id, 0);
    with_state(&mut config, &mut spec);
    let channel = software.channel;
    let mut software = Software::claim_as(&mut rig, channel, config, &spec);
    let old = software.channel.next(&rig).expect("the old one's message").notice();
    assert_eq!(old.map(|notice| notice.value), Some(1));
    software.enumerate(&mut rig);
    software.set_command(&mut rig, 6);
    let bar = software.bar;
    for value in [2, 3] {
        post(&mut rig, bar + DOORBELLS, &[value, 0, 0, 0]);
        rig.pause();
        let heard: Vec<_> = notices(&mut rig, &mut software).iter().map(|notice| notice.value).collect();
        assert_eq!(heard, [u32::from(value)]);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ring(u32),
    /// A write to the stateful region.
    State(u16),
    /// A write to a transaction region.
    Register,
    /// Software takes a message without freeing it.
    Take,
    Free,
    Pause,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32).prop_map(Step::Ring),
        2 => (0..STATE_SIZE as u16).prop_map(Step::State),
        2 => Just(Step::Register),
        4 => Just(Step::Take),
        2 => Just(Step::Free),
        4 => Just(Step::Pause),
    ]
}

/// Software as the rule sees it.
#[derive(Default)]
struct Heard {
    /// Writes to transaction regions that were taken.
    registers: u32,
    /// Sources with a message that's taken and not freed.
    unfreed: Vec<(u8, u32)>,
    last: BTreeMap<(u8, u32), Notice>,
}

impl Heard {
    /// Takes a message. `before` says how many register writes preceded the ring of a value.
    fn take(&mut self, rig: &Rig, software: &mut Software, before: &BTreeMap<u32, u32>) -> bool {
        let Some(message) = software.channel.next(rig) else { return false };
        let Some(notice) = message.notice() else {
            assert!(matches!(message.header().kind(), Kind::MWr32 | Kind::MWr64));
            let value = u32::from_le_bytes(message.payload[..4].try_into().expect("a dword"));
            assert_eq!(value, self.registers, "posted writes come in order, none twice");
            self.registers += 1;
            return true;
        };
        let source = (notice.kind, notice.number);
        assert!(!self.unfreed.contains(&source), "a second message before the first was freed: {notice:?}");
        self.unfreed.push(source);
        if notice.kind == message::DOORBELL {
            assert!(self.registers >= before[&notice.value], "a ring overtook a write: {notice:?}");
        }
        let earlier = self.last.insert(source, notice);
        assert!(earlier.is_none_or(|earlier| earlier.time <= notice.time));
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random writes, stalls and frees: software ends up with the host's last value of each doorbell, and never has two messages of one.
    #[test]
    fn software_hears_of_the_last_write(steps in prop::collection::vec(any_step(), 1..120), log_slots in 0..4_u32) {
        let (mut rig, mut software) = Software::ready_as(log_slots, 0, with_state);
        let bar = software.bar;
        let mut heard = Heard::default();
        let (mut registers, mut value) = (0_u32, 0_u32);
        let (mut rung, mut before) = (BTreeMap::new(), BTreeMap::new());
        let mut state = vec![0; STATE_SIZE];
        let mut written = None;
        for step in steps {
            match step {
                Step::Ring(number) => {
                    value += 1;
                    rung.insert(number, value);
                    before.insert(value, registers);
                    post(&mut rig, bar + DOORBELLS + 4 * u64::from(number), &value.to_le_bytes());
                }
                Step::State(offset) => {
                    state[usize::from(offset)] ^= 0x5a;
                    written = Some(rig.machine.simulation.fabric().now());
                    post(&mut rig, bar + STATE + u64::from(offset), &[state[usize::from(offset)]]);
                }
                Step::Register => {
                    post(&mut rig, bar + REGISTERS, &registers.to_le_bytes());
                    registers += 1;
                }
                Step::Take => {
                    heard.take(&rig, &mut software, &before);
                }
                Step::Free => {
                    software.channel.free(&mut rig);
                    heard.unfreed.clear();
                }
                Step::Pause => rig.pause(),
            }
        }
        // In the end software takes all there is.
        for _ in 0..200 {
            while heard.take(&rig, &mut software, &before) {}
            software.channel.free(&mut rig);
            heard.unfreed.clear();
            rig.pause();
        }
        prop_assert_eq!(heard.registers, registers);
        for (number, value) in rung {
            prop_assert_eq!(heard.last[&(message::DOORBELL, number)].value, value);
        }
        let told = heard.last.get(&(message::REGION_WRITTEN, STATE_REGION as u32)).map(|notice| notice.time);
        prop_assert!(told >= written, "{:?} {:?}", told, written);
        prop_assert_eq!(software.region(&mut rig, STATE_REGION, 0, STATE_SIZE), state);
        prop_assert_eq!(software.channel.faults(&mut rig), []);
        rig.settle();
        prop_assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    }
}
