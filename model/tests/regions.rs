//! Regions whose bytes the device keeps: as the host reads and writes them, and by the two commands.

mod common;

use common::Rig;
use common::commands::OUTPUT;
use common::software::{DOORBELL_REGION, DOORBELLS, STATE, STATE_REGION, STATE_SIZE, Software, with_state};
use common::twin::{modify_region, query_region, user};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{bar, region, scope};
use mlx5_twin_model::firmware::Failure;
use mlx5_twin_sim::config::{Bar, Type0};
use mlx5_twin_sim::host::{Access, Data};
use proptest::prelude::*;
use proptest::sample::Index;

/// Every rule of the two commands.
#[test]
fn commands_that_can_not_be() {
    let (mut rig, mut software) = Software::ready_as(4, 0, with_state);
    let (uid, id, other) = (software.channel.uid, software.function, user(&mut rig));
    let set = |scope, region, offset, length| modify_region(uid, id, scope, region, offset, &vec![1; length]);
    let get = |region, offset, length| query_region(uid, id, region, offset, length);
    let (bells, state) = (DOORBELL_REGION, STATE_REGION);
    let end = STATE_SIZE as u64;
    #[rustfmt::skip]
    let cases = [
        ("another's", query_region(other, id, state, 0, 4), Failure::OBJECT_FOREIGN),
        ("another's, to set", modify_region(other, id, 0, state, 0, &[1]), Failure::OBJECT_FOREIGN),
        ("the driver", query_region(0, id, state, 0, 4), Failure::OBJECT_FOREIGN),
        ("no such uid", query_region(77, id, state, 0, 4), Failure::UID_UNKNOWN),
        ("no such function", query_region(uid, 99, state, 0, 4), Failure::OBJECT_UNKNOWN),
        ("a channel", query_region(uid, software.channel.id, state, 0, 4), Failure::OBJECT_UNKNOWN),
        ("no such region", get(6, 0, 4), Failure::TWIN_REGION_NUMBER),
        ("region 255", get(255, 0, 4), Failure::TWIN_REGION_NUMBER),
        ("transactions", get(0, 0, 4), Failure::TWIN_REGION_NUMBER),
        ("the MSI-X table", set(0, 2, 0, 4), Failure::TWIN_REGION_NUMBER),
        ("nothing", get(state, 0, 0), Failure::TWIN_REGION_RANGE),
        ("nothing to set", set(0, state, 0, 0), Failure::TWIN_REGION_RANGE),
        ("past the end", get(state, end - 3, 4), Failure::TWIN_REGION_RANGE),
        ("behind the end", get(state, end, 1), Failure::TWIN_REGION_RANGE),
        ("far behind it", get(state, u64::from(u32::MAX), u64::from(u32::MAX)), Failure::TWIN_REGION_RANGE),
        ("too long", get(state, 0, end + 1), Failure::TWIN_REGION_RANGE),
        ("past the last doorbell", set(0, bells, 0x3c, 8), Failure::TWIN_REGION_RANGE),
        ("half a doorbell", get(bells, 2, 4), Failure::TWIN_REGION_DWORDS),
        ("a byte of a doorbell", set(0, bells, 0, 1), Failure::TWIN_REGION_DWORDS),
        ("scope 3", set(3, state, 0, 4), Failure::OP_MOD),
        ("an op_mod that a query hasn't got", {
            let mut query = get(state, 0, 4);
            mbox_in::OP_MOD.set(&mut query, 1).expect("fits");
            query
        }, Failure::OP_MOD),
        ("fewer bytes than it says", set(0, state, 0, 8)[..39].to_vec(), Failure::INPUT_TOO_SHORT),
        ("no bytes", set(0, state, 0, 8)[..32].to_vec(), Failure::INPUT_TOO_SHORT),
        ("half a header", get(state, 0, 4)[..31].to_vec(), Failure::INPUT_TOO_SHORT),
    ];
    for (what, command, failure) in cases {
        let expected = Err((failure.status.0, failure.syndrome.0));
        assert_eq!(rig.outcome(&command).map(drop), expected, "{what}");
    }
    let output = rig.command(&get(state, 0, 100), query_emulated_region_out::SIZE + 99);
    assert_eq!(mbox_out::SYNDROME.get(&output), Ok(Failure::OUTPUT_TOO_SHORT.syndrome.0.into()));
    assert!(output[8..].iter().all(|byte| *byte == 0));
    assert_eq!(software.region(&mut rig, state, 0, STATE_SIZE), [0; STATE_SIZE], "nothing has changed");
    assert_eq!(software.region(&mut rig, bells, 0, 64), [0; 64]);
    // More of either than is needed does no harm.
    let mut long = set(0, state, 1, 2);
    long.extend([9; 100]);
    rig.ok(&long);
    let output = rig.command(&get(state, 0, 4), OUTPUT);
    let at = query_emulated_region_out::SIZE;
    assert_eq!((output[0], &output[at..at + 8]), (0, &[0, 1, 1, 0, 0, 0, 0, 0][..]));
    // It ends with the function.
    rig.ok(&software.destroy());
    rig.refused(&get(state, 0, 4), Failure::OBJECT_UNKNOWN);
    software.seen.clear();
}

/// No opcode beside ours is one, though the kernel lets them pass.
#[test]
fn no_other_general_command_is_there() {
    let mut rig = Rig::initialised();
    let uid = user(&mut rig);
    for opcode in [0xb00, 0xcef, 0xcf4, 0xcff] {
        rig.refused(&common::commands::command(Opcode(opcode), uid, 32, &[]), Failure::UNKNOWN_OPCODE);
    }
}

/// A region as large as all of a function may be together.
#[test]
fn a_region_of_64_kib() {
    let (mut rig, mut software) = Software::ready_as(4, 0, |config, spec| {
        let bars = [Some(Bar::memory64(0x1_0000)), None, Some(Bar::memory32(0x2_0000)), None, None, None];
        *config = Type0 { vendor_id: 0xfff1, device_id: 0x42, bars, ..Type0::default() }.build().expect("a header");
        (spec.bars[2], spec.vectors, spec.msix_offset) = ((bar::MEMORY32, 17), 0, 0);
        spec.regions = vec![(region::STATEFUL, 2, 0x1_0000, 0x1_0000)];
    });
    let bytes: Vec<u8> = (0..0x1_0000_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    software.set_region(&mut rig, scope::BOTH, 0, 0, &bytes);
    assert_eq!(software.region(&mut rig, 0, 0, 0x1_0000), bytes);
    let found = software.enumerate(&mut rig);
    software.bar = found.last().expect("the function").bars[1].address;
    assert_eq!(software.read(&mut rig, 0x1_ffc0, 64).expect("an answer").bytes(), &bytes[0xffc0..]);
    software.write(&mut rig, 0x1_ffff, &[!bytes[0xffff]]).expect("posted");
    software.settle(&mut rig);
    assert_eq!(software.region(&mut rig, 0, 0xfffe, 2), [bytes[0xfffe], !bytes[0xffff]]);
}

/// What happens to the bytes.
#[derive(Clone, Debug)]
enum Step {
    /// The host writes bytes from a place on, within a line.
    Write(Index, u8, u8),
    /// The host reads them.
    Read(Index, u8),
    /// Software sets bytes.
    Set(u16, Index, usize, u8),
    /// Software reads them.
    Query(Index, usize),
    Reset,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<Index>(), 1..=64_u8, any::<u8>()).prop_map(|(at, len, fill)| Step::Write(at, len, fill)),
        3 => (any::<Index>(), 1..=64_u8).prop_map(|(at, len)| Step::Read(at, len)),
        3 => (0..=2_u16, any::<Index>(), 1..300_usize, any::<u8>()).prop_map(|(scope, at, len, fill)| Step::Set(scope, at, len, fill)),
        2 => (any::<Index>(), 1..300_usize).prop_map(|(at, len)| Step::Query(at, len)),
        1 => Just(Step::Reset),
    ]
}

fn bytes(fill: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| fill.wrapping_add((at as u8).wrapping_mul(29))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A stateful region is two arrays of bytes: what is, and what a reset makes of it. So are the doorbells.
    #[test]
    fn the_bytes_are_what_was_written_last(steps in prop::collection::vec(any_step(), 1..60), doorbells in any::<bool>()) {
        let (mut rig, mut software) = Software::ready_as(4, 0, with_state);
        let (number, place, size) =
            if doorbells { (DOORBELL_REGION, DOORBELLS, 64) } else { (STATE_REGION, STATE, STATE_SIZE) };
        let (mut values, mut defaults) = (vec![0; size], vec![0; size]);
        // Commands about doorbells are of whole dwords.
        let span = |at: &Index, len: usize| {
            let unit = if doorbells { 4 } else { 1 };
            let at = at.index(size) / unit * unit;
            (at, len.next_multiple_of(unit).min(size - at))
        };
        for step in steps {
            match step {
                Step::Write(at, len, fill) => {
                    let at = at.index(size);
                    let len = usize::from(len).min(64 - at % 64);
                    let data = bytes(fill, len);
                    values[at..at + len].copy_from_slice(&data);
                    let access = Access::MemoryWrite { address: software.bar + place + at as u64, data: Data::new(&data) };
                    software.host(&mut rig, access).expect("posted");
                    rig.pause();
                }
                Step::Read(at, len) => {
                    let at = at.index(size);
                    let len = usize::from(len).min(64 - at % 64);
                    let read = software.read(&mut rig, place + at as u64, len as u8).expect("an answer");
                    prop_assert_eq!(read.bytes(), &values[at..at + len]);
                }
                Step::Set(scope, at, len, fill) => {
                    let (at, len) = span(&at, len);
                    let data = bytes(fill, len);
                    software.set_region(&mut rig, scope, number, at as u64, &data);
                    if scope != scope::DEFAULTS {
                        values[at..at + len].copy_from_slice(&data);
                    }
                    if scope != scope::VALUES {
                        defaults[at..at + len].copy_from_slice(&data);
                    }
                }
                Step::Query(at, len) => {
                    let (at, len) = span(&at, len);
                    prop_assert_eq!(software.region(&mut rig, number, at as u64, len), &values[at..at + len]);
                }
                Step::Reset => {
                    software.function_level_reset(&mut rig);
                    values.copy_from_slice(&defaults);
                }
            }
        }
        prop_assert_eq!(software.region(&mut rig, number, 0, size), values);
        prop_assert!(software.seen.iter().all(|message| message.place.is_none()), "no TLP of the region reaches software");
    }
}
