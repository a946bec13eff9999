//! Any bytes: as queue entries and mailboxes, as stores to gateway pages, as software's answers. Nothing panics, hangs or leaks.

mod common;

use common::commands::{create_eq, create_umem, object, plain};
use common::software::{Software, description};
use common::twin::{Channel, is_answered, user};
use common::{QUEUE, Rig, profile};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{EMULATED_FUNCTION, TLP_CHANNEL, gateway};
use mlx5_twin_model::firmware::COMMANDS;
use mlx5_twin_sim::host::{Access, AccessError, Data};
use mlx5_twin_sim::tlp::{Header, Status};
use proptest::prelude::*;
use proptest::sample::Index;

/// Memory that random pointers can hit: 64 KiB from here on.
const PLAYGROUND: u64 = 0x20_0000;

/// Bytes that are often nearly right.
fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let pointer = prop_oneof![
        4 => (0..64_u64).prop_map(|block| PLAYGROUND + 1024 * block),
        1 => any::<u64>(),
        1 => any::<u64>().prop_map(|address| address & !0x3ff),
        1 => Just(0x0fff_fc00_u64),
    ];
    let length = prop_oneof![4 => 0..3000_u32, 1 => any::<u32>(), 1 => Just(16 << 20)];
    let opcode = prop_oneof![
        9 => prop::sample::select(COMMANDS).prop_map(|spec| spec.opcode.0),
        1 => any::<u16>(),
    ];
    let fields = (prop::bool::weighted(0.9), length.clone(), length, pointer.clone(), pointer, opcode, 0..4_u64);
    (prop::collection::vec(any::<u8>(), 64), fields).prop_map(
        |(noise, (right, input, output, from, to, opcode, uid))| {
            let mut entry = noise;
            let set = |entry: &mut [u8], field: mlx5_twin_fw_cmds::field::Field, value| {
                field.set(entry, value).expect("fits");
            };
            set(&mut entry, cmd_layout::STATUS_OWN, 1);
            if right {
                set(&mut entry, cmd_layout::TYPE, 7);
                set(&mut entry, cmd_layout::TOKEN, 0x11);
            }
            set(&mut entry, cmd_layout::INLEN, input.into());
            set(&mut entry, cmd_layout::OUTLEN, output.into());
            set(&mut entry, cmd_layout::IN_PTR, from);
            set(&mut entry, cmd_layout::OUT_PTR, to);
            entry[16..18].copy_from_slice(&opcode.to_be_bytes());
            entry[18..24].copy_from_slice(&[0, uid as u8, 0, 0, 0, 0]);
            entry
        },
    )
}

/// A block whose number is one that's asked for early, and whose next one is another of the playground.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 8..40), 0..3_u64, 0..64_u64).prop_map(|(noise, number, next)| {
        let mut block: Vec<u8> = noise.iter().copied().cycle().take(cmd_prot_block::SIZE).collect();
        cmd_prot_block::NEXT.set(&mut block, PLAYGROUND + 1024 * next).expect("fits");
        cmd_prot_block::BLOCK_NUM.set(&mut block, number).expect("fits");
        cmd_prot_block::TOKEN.set(&mut block, 0x11).expect("fits");
        block
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every command ends; afterwards a reset and a fresh bring-up work, and nothing is left of what was.
    #[test]
    fn any_memory_as_a_command_queue(
        entries in prop::collection::vec(any_entry(), 32),
        blocks in prop::collection::vec(any_block(), 64),
        doorbells in prop::collection::vec(any::<u32>(), 1..12),
        moved in prop::option::of(any::<u64>()),
    ) {
        let mut rig = Rig::new(&profile());
        rig.enable_msix(4, false);
        rig = rig.bring_up();
        let uid = user(&mut rig);
        let uar = rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
        let page = rig.pages(0x4000);
        rig.ok(&create_eq(4, uar, 0, u64::MAX, page));
        rig.ok(&create_umem(uid, page, 4));
        for (number, block) in blocks.iter().enumerate() {
            rig.poke(PLAYGROUND + 1024 * number as u64, block);
        }
        for (number, doorbell) in doorbells.iter().enumerate() {
            for (slot, entry) in entries.iter().enumerate() {
                let entry_address = QUEUE + 64 * slot as u64;
                if rig.peek(entry_address + 63, 1)[0] & 1 == 0 || number == 0 {
                    rig.poke(entry_address, entry);
                }
            }
            rig.ring(*doorbell);
            if number % 3 == 2 {
                rig.pause();
            }
        }
        if let Some(address) = moved {
            rig.store(common::CMDQ_ADDR_H, &(address & !0x700).to_be_bytes());
            rig.ring(u32::MAX);
        }
        rig.settle();
        prop_assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
        // Whatever was carried out, the driver can begin anew.
        rig.function_level_reset();
        let balance = rig.device(|dpu| dpu.firmware().resources().balance());
        prop_assert!(balance.is_zero(), "{:?}", balance);
        let mut rig = rig.bring_up();
        rig.ok(&plain(Opcode::ALLOC_PD, 0, &[]));
        rig.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
        rig.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
        let balance = rig.device(|dpu| dpu.firmware().resources().balance());
        prop_assert!(balance.is_zero(), "{:?}", balance);
    }
}

/// A store to a gateway page: mostly to a register, mostly with a value that means something.
#[derive(Clone, Debug)]
struct Store {
    from: usize,
    offset: u64,
    bytes: Vec<u8>,
}

fn any_store() -> impl Strategy<Value = Store> {
    let post = (0..6_u8, 0..3_u8, prop_oneof![Just(0_u16), Just(4), any::<u16>()], 0..4_u32, 1..4_u32).prop_map(
        |(kind, function, length, place, uses)| {
            let id = if kind == gateway::COMPLETION { uses << 12 | place } else { place };
            let mut bytes = vec![kind, function];
            bytes.extend(length.to_be_bytes());
            bytes.extend(id.to_be_bytes());
            (gateway::POST, bytes)
        },
    );
    let index = (any::<bool>(), prop_oneof![0..40_u32, any::<u32>()])
        .prop_map(|(arm, index)| (if arm { gateway::ARM } else { gateway::CONSUMER }, index.to_be_bytes().to_vec()));
    let header = prop_oneof![
        Just([0x4a_u8, 0, 0, 1]),
        Just([0x0a, 0, 0, 0]),
        Just([0x60, 0, 0, 1]),
        Just([0x40, 0, 0, 1]),
        any::<[u8; 4]>()
    ]
    .prop_map(|dword| (gateway::HEADER, dword.to_vec()));
    let anything = (0..0x1000_u64, prop::collection::vec(any::<u8>(), 1..=8)).prop_map(|(offset, bytes)| {
        // A CPU's store stays within a line.
        (offset & !7, bytes)
    });
    let store = prop_oneof![4 => post, 2 => index, 2 => header, 2 => anything];
    (0..2_usize, store).prop_map(|(from, (offset, bytes))| Store { from, offset, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What one channel's page is told changes nothing of the other's: its ring, its credits, its requests and its counters.
    #[test]
    fn random_stores_stay_with_their_channel(stores in prop::collection::vec(any_store(), 1..120)) {
        let mut profile = profile();
        profile.topology.downstream_ports = 2;
        profile.topology.static_functions = 2;
        // The same machine three times: with the stores of both users, and with those of each one alone.
        let run = |who: &[usize]| {
            let mut rig = Rig::new(&profile).bring_up();
            let channels = [0_u32, 1].map(|page| {
                let uid = user(&mut rig);
                Channel::new(&mut rig, uid, page, 4, 3)
            });
            let functions: Vec<u32> = channels
                .iter()
                .zip(0..)
                .map(|(channel, port)| {
                    let create = description(channel.id, port).1.create(channel.uid);
                    rig.number(&create, general_obj_out_cmd_hdr::OBJ_ID)
                })
                .collect();
            for store in stores.iter().filter(|store| who.contains(&store.from)) {
                channels[store.from].store(&mut rig, store.offset, &store.bytes);
                rig.pause();
            }
            let mut state = Vec::new();
            for (channel, function) in channels.iter().zip(functions) {
                let query = object(Opcode::QUERY_GENERAL_OBJECT, channel.uid, EMULATED_FUNCTION, function, &[]);
                let mut heads: Vec<Vec<u8>> = (0..16).map(|slot| rig.peek(channel.ring + (slot << 9), 64)).collect();
                for head in &mut heads {
                    // The time may differ.
                    head[8..16].fill(0);
                }
                state.push((channel.query(&mut rig), rig.ok(&query), heads));
            }
            rig.settle();
            assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
            for channel in &channels {
                rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, channel.uid.into())]));
            }
            assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
            state
        };
        let both = run(&[0, 1]);
        prop_assert_eq!(&both[0], &run(&[0])[0]);
        prop_assert_eq!(&both[1], &run(&[1])[1]);
    }
}

/// What the host does next.
#[derive(Clone, Debug)]
enum Traffic {
    Read(u64, u8),
    Write(u64, u8),
    ConfigRead(u16),
    ConfigWrite(u16, u8, u32),
    /// Software takes some messages, and answers each as the number says.
    Serve(Vec<u8>),
    Msix(u32),
    Send(u32),
    Pause,
    /// The function is destroyed and claimed again.
    Replace,
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    // The places of the regions and a bit more.
    let offset =
        || prop_oneof![0..0x1080_u64, 0x1000..0x1080_u64, 0x2000..0x2048_u64, 0x2ff0..0x3010_u64, 0..0x1_1000_u64];
    let register = || prop_oneof![0..16_u16, 16..40_u16, 0..1024_u16];
    prop_oneof![
        4 => (offset(), 1..=64_u8).prop_map(|(offset, len)| Traffic::Read(offset, len)),
        4 => (offset(), 1..=64_u8).prop_map(|(offset, len)| Traffic::Write(offset, len)),
        1 => register().prop_map(Traffic::ConfigRead),
        2 => (register(), 0..16_u8, any::<u32>()).prop_map(|(register, be, value)| Traffic::ConfigWrite(register, be, value)),
        5 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Traffic::Serve),
        1 => (0..5_u32).prop_map(Traffic::Msix),
        1 => (0..5_u32).prop_map(Traffic::Send),
        2 => Just(Traffic::Pause),
        1 => Just(Traffic::Replace),
    ]
}

/// Answers a message rightly, wrongly, twice, or not at all.
fn answer(rig: &mut Rig, software: &mut Software, message: &common::twin::Message, how: u8) {
    if message.is_credit() || !is_answered(&message.header()) {
        return;
    }
    let asked = message.header();
    let data = vec![how; asked.completion_length_dw() as usize * 4];
    let (channel, id) = (&software.channel, software.id);
    match how % 12 {
        0..=3 => channel.answer(rig, message, id, Ok(&data)),
        4 => channel.answer(rig, message, id, Err(Status::UnsupportedRequest)),
        5 => channel.answer(rig, message, id, Err(Status::ConfigRequestRetry)),
        6 => channel.answer(rig, message, id, Err(Status::CompleterAbort)),
        7 => {
            channel.answer(rig, message, id, Ok(&data));
            channel.answer(rig, message, id, Ok(&data));
        }
        8 => channel.post(rig, gateway::COMPLETION, how % 3, 4, message.request),
        9 => {
            let wrong = Header::completion_for(&asked, id, Status::Successful).expect("a completion");
            channel.send(rig, gateway::COMPLETION, 0, message.request ^ u32::from(how), &wrong, &data);
        }
        10 => channel.store(rig, gateway::CONSUMER, &[how; 4]),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever host and software do, every access of the host ends and no TLP stays behind.
    #[test]
    fn random_traffic(steps in prop::collection::vec(any_traffic(), 1..80), pick in any::<Index>()) {
        let (mut rig, mut software) = Software::ready(2 + pick.index(4) as u32, 3);
        let mut tickets = Vec::new();
        for step in steps {
            let (bar, target) = (software.bar, software.id);
            let line = |offset: u64, len: u8| len.min((64 - offset % 64) as u8);
            let access = match step {
                Traffic::Read(offset, len) => Access::MemoryRead { address: bar + offset, len: line(offset, len) },
                Traffic::Write(offset, len) => {
                    let data = Data::new(&[len; 64][..line(offset, len).into()]);
                    Access::MemoryWrite { address: bar + offset, data }
                }
                Traffic::ConfigRead(register) => Access::ConfigRead { target, register },
                Traffic::ConfigWrite(register, byte_enables, value) => {
                    Access::ConfigWrite { target, register, byte_enables, value }
                }
                Traffic::Serve(answers) => {
                    for how in answers {
                        let Some(message) = software.channel.next(&rig) else { break };
                        answer(&mut rig, &mut software, &message, how);
                        software.channel.free(&mut rig);
                    }
                    continue;
                }
                Traffic::Msix(vector) => {
                    software.channel.post(&mut rig, gateway::MSIX, 0, 0, vector);
                    continue;
                }
                Traffic::Send(credit) => {
                    let header = Header::mem_write_bytes(target, 0, 0x8000, 64).expect("a header");
                    software.channel.send(&mut rig, gateway::MEMORY_WRITE, 0, credit, &header, &[7; 64]);
                    continue;
                }
                Traffic::Pause => {
                    rig.pause();
                    continue;
                }
                Traffic::Replace => {
                    rig.ok(&software.destroy());
                    let create = description(software.channel.id, 0).1.create(software.channel.uid);
                    software.function = rig.number(&create, general_obj_out_cmd_hdr::OBJ_ID);
                    continue;
                }
            };
            tickets.push(rig.machine.simulation.access(rig.host(), access).expect("a sound access"));
        }
        // Requests that nobody answers time out; the others may have any end but none.
        rig.settle();
        rig.ok(&plain(Opcode::DESTROY_UCTX, 0, &[(destroy_uctx_in::UID, software.channel.uid.into())]));
        rig.settle();
        prop_assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
        for ticket in tickets {
            let result = rig.machine.simulation.result(ticket);
            prop_assert!(result.is_some(), "an access without end");
            let odd = matches!(result, Some(Err(AccessError::Shape { .. } | AccessError::NoMemory(_))));
            prop_assert!(!odd, "{:?}", result);
        }
        prop_assert_eq!(rig.device(|dpu| dpu.emulation().channels().count()), 0);
        prop_assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
        // And the function can be claimed and used again.
        let uid = user(&mut rig);
        let channel = Channel::new(&mut rig, uid, 0, 4, 0);
        let mut again = Software::claim(&mut rig, channel, 0);
        again.enumerate(&mut rig);
        prop_assert!(again.read(&mut rig, 0, 4).is_ok());
        let query = object(Opcode::QUERY_GENERAL_OBJECT, uid, TLP_CHANNEL, again.channel.id, &[]);
        rig.ok(&query);
    }
}
