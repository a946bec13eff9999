//! The command queue as a driver sees it: entries, mailboxes, delivery statuses, slots and time.

mod common;

use common::commands::{OUTPUT, command, create_umem, plain};
use common::{CMDQ_ADDR_H, CMDQ_ADDR_L, Ended, Issued, QUEUE, Rig, profile};
use mlx5_twin_fw_cmds::cap::{CapMode, CapType};
use mlx5_twin_fw_cmds::field::Field;
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::{DeliveryStatus, Status};
use mlx5_twin_model::firmware::{Failure, State};
use mlx5_twin_sim::time::Time;

fn nop() -> Vec<u8> {
    plain(Opcode::NOP, 0, &[])
}

fn query_caps(cap_type: CapType, mode: CapMode) -> Vec<u8> {
    plain(Opcode::QUERY_HCA_CAP, 0, &[(mbox_in::OP_MOD, cap_type.op_mod(mode).into())])
}

/// The commands of a probe by Linux's mlx5_core, in its order, and those of an unload; twice, because a second probe must work.
#[test]
fn bring_up_in_the_order_of_linux() {
    let mut rig = Rig::new(&profile());
    assert_eq!(rig.load32(0x04) >> 16, 5, "command interface revision");
    assert_eq!(rig.load32(0x1fc) >> 31, 0, "not initializing");
    for _ in 0..2 {
        rig.start_queue();
        assert_eq!(rig.load32(CMDQ_ADDR_L), QUEUE as u32 | 0x56, "address, 32 slots of 64 bytes, interface 0");
        rig.ok(&plain(Opcode::ENABLE_HCA, 0, &[]));
        let issi = rig.ok(&plain(Opcode::QUERY_ISSI, 0, &[]));
        assert_eq!(query_issi_out::SUPPORTED_ISSI_DW0.get(&issi), Ok(2));
        rig.ok(&plain(Opcode::SET_ISSI, 0, &[(set_issi_in::CURRENT_ISSI, 1)]));
        for stage in [1, 2] {
            let query = plain(Opcode::QUERY_PAGES, 0, &[(query_pages_in::OP_MOD, stage)]);
            assert_eq!(rig.number(&query, query_pages_out::NUM_PAGES), 0, "no pages are wanted");
        }
        for cap_type in [CapType(0), CapType(3)] {
            rig.ok(&query_caps(cap_type, CapMode::Max));
            let current = rig.ok(&query_caps(cap_type, CapMode::Current));
            let op_mod = (mbox_in::OP_MOD, cap_type.op_mod(CapMode::Max).into());
            let mut set = command(Opcode::SET_HCA_CAP, 0, set_hca_cap_in::SIZE, &[op_mod]);
            set[16..].copy_from_slice(&current[16..set_hca_cap_in::SIZE]);
            rig.ok(&set);
        }
        rig.ok(&plain(Opcode::INIT_HCA, 0, &[]));
        for cap_type in [0x13, 0x2a, 0x7f0] {
            rig.ok(&query_caps(CapType(cap_type), CapMode::Current));
        }
        rig.ok(&plain(Opcode::QUERY_ADAPTER, 0, &[]));
        let uar = rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
        assert_eq!(uar, 0x100);
        assert_eq!(rig.device(|dpu| dpu.firmware().state()), State::Initialised);

        rig.ok(&plain(Opcode::DEALLOC_UAR, 0, &[(dealloc_uar_in::UAR, uar.into())]));
        rig.ok(&plain(Opcode::TEARDOWN_HCA, 0, &[]));
        rig.ok(&plain(Opcode::DISABLE_HCA, 0, &[]));
        assert!(rig.device(|dpu| dpu.firmware().resources().balance().is_zero()));
    }
    assert_eq!(rig.counters().delivery_errors, 0);
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
}

/// A capability page that a command sets travels through nine input blocks, and back through nine output blocks.
#[test]
fn mailboxes_of_many_blocks() {
    let mut rig = Rig::initialised();
    let page = rig.ok(&query_caps(CapType(0), CapMode::Current));
    let direct = rig.device(|dpu| dpu.firmware().capabilities().page(CapType(0), CapMode::Current).map(<[u8]>::to_vec));
    assert_eq!(Some(&page[16..16 + 4096]), direct.as_deref());

    // 2 MiB of page list: 4,096 blocks of pages of 8 KiB; each entry is looked at, because the last one is wrong.
    let count = 1 << 18;
    let mut pages: Vec<u64> = (0..count).map(|page| (0x100_0000 + 8192 * page) | 3).collect();
    let base = create_umem_in::UMEM.bits();
    let umem = |pages: &[u64]| {
        let fields = [(umem::NUM_OF_MTT.within(base), pages.len() as u64), (umem::LOG_PAGE_SIZE.within(base), 1)];
        let mut bytes = command(Opcode::CREATE_UMEM, 0, create_umem_in::SIZE + 8 * pages.len(), &fields);
        for (place, page) in bytes[create_umem_in::SIZE..].chunks_exact_mut(8).zip(pages) {
            place.copy_from_slice(&page.to_be_bytes());
        }
        bytes
    };
    pages[count as usize - 1] |= 0x1000;
    rig.refused(&umem(&pages), Failure::UMEM_PAGE_UNALIGNED);
    pages[count as usize - 1] &= !0x1000;
    rig.ok(&umem(&pages));
    let held = rig.device(|dpu| dpu.firmware().resources().balance().page_entries);
    assert_eq!(held, count as usize);
}

/// Nothing is written beyond the output's length, nor to the blocks' control data.
#[test]
fn output_stays_within_its_length() {
    let mut rig = Rig::initialised();
    let query = query_caps(CapType(0), CapMode::Current);
    for len in [8, 15, 16, 17, 100, 528, 529, 2063, 2064, 4111, 4112, 4113, 5000] {
        let issued = rig.enter(3, &query, len);
        let control = |rig: &Rig| issued.output.iter().map(|&block| rig.peek(block + 512, 64)).collect::<Vec<_>>();
        let before = control(&rig);
        rig.ring(1 << 3);
        let ended = rig.wait(&issued);
        // Half of the page is answered too.
        let expected = if len < 2064 { Status::BAD_OUTP_LEN } else { Status::OK };
        assert_eq!((ended.delivery, ended.output[0]), (0, expected.0), "{len} bytes");
        assert_eq!(control(&rig), before, "{len} bytes");
        if let Some(&last) = issued.output.last() {
            let used = (len - 16 - 1) % 512 + 1;
            assert!(rig.peek(last + used as u64, 512 - used).iter().all(|&byte| byte == 0), "beyond {len} bytes");
        }
        if len < 16 {
            assert!(rig.peek(issued.entry + 0x20 + len as u64, 16 - len).iter().all(|&byte| byte == 0));
        }
    }
}

/// A fault in the entry or the mailboxes.
type Spoil = fn(&mut Rig, &Issued);

fn set(rig: &mut Rig, address: u64, len: usize, field: Field, value: u64) {
    let mut bytes = rig.peek(address, len);
    field.set(&mut bytes, value).expect("fits");
    rig.poke(address, &bytes);
}

fn entry(rig: &mut Rig, issued: &Issued, field: Field, value: u64) {
    set(rig, issued.entry, cmd_layout::SIZE, field, value);
}

fn block(rig: &mut Rig, address: u64, field: Field, value: u64) {
    set(rig, address, cmd_prot_block::SIZE, field, value);
}

#[test]
fn delivery_statuses() {
    use cmd_layout::{IN_PTR, INLEN, OUT_PTR, OUTLEN, TOKEN, TYPE};
    use cmd_prot_block::{BLOCK_NUM, NEXT, TOKEN as BLOCK_TOKEN};
    // Past the end of the DPU's 256 MiB.
    const OUTSIDE: u64 = 0x1000_0000;
    let cases: &[(&str, DeliveryStatus, Spoil)] = &[
        ("type", DeliveryStatus::CMD_DESCR, |r, c| entry(r, c, TYPE, 6)),
        ("token of the entry", DeliveryStatus::TOK_ERR, |r, c| entry(r, c, TOKEN, 1)),
        ("token of an input block", DeliveryStatus::TOK_ERR, |r, c| block(r, c.input[1], BLOCK_TOKEN, 9)),
        ("token of an output block", DeliveryStatus::TOK_ERR, |r, c| block(r, c.output[1], BLOCK_TOKEN, 9)),
        ("number of the first input block", DeliveryStatus::BAD_BLK_NUM, |r, c| block(r, c.input[0], BLOCK_NUM, 1)),
        ("number of an output block", DeliveryStatus::BAD_BLK_NUM, |r, c| block(r, c.output[2], BLOCK_NUM, 1)),
        ("input pointer", DeliveryStatus::IN_PTR_ALIGN, |r, c| entry(r, c, IN_PTR, c.input[0] + 512)),
        ("no input pointer", DeliveryStatus::IN_PTR_ALIGN, |r, c| entry(r, c, IN_PTR, 0)),
        ("output pointer", DeliveryStatus::OUT_PTR_ALIGN, |r, c| entry(r, c, OUT_PTR, c.output[0] + 4)),
        ("no output pointer", DeliveryStatus::OUT_PTR_ALIGN, |r, c| entry(r, c, OUT_PTR, 0)),
        ("input pointer of a block", DeliveryStatus::IN_PTR_ALIGN, |r, c| block(r, c.input[0], NEXT, c.input[1] + 1)),
        ("output pointer of a block", DeliveryStatus::OUT_PTR_ALIGN, |r, c| {
            block(r, c.output[0], NEXT, c.output[1] + 1);
        }),
        ("input chain ends early", DeliveryStatus::IN_PTR_ALIGN, |r, c| block(r, c.input[1], NEXT, 0)),
        ("output chain ends early", DeliveryStatus::OUT_PTR_ALIGN, |r, c| block(r, c.output[1], NEXT, 0)),
        ("input chain is a loop", DeliveryStatus::BAD_BLK_NUM, |r, c| block(r, c.input[1], NEXT, c.input[0])),
        ("output chain is a loop", DeliveryStatus::BAD_BLK_NUM, |r, c| block(r, c.output[1], NEXT, c.output[1])),
        ("input outside of memory", DeliveryStatus::FW_ERR, |r, c| entry(r, c, IN_PTR, OUTSIDE)),
        ("output outside of memory", DeliveryStatus::FW_ERR, |r, c| entry(r, c, OUT_PTR, OUTSIDE)),
        ("an input block outside of memory", DeliveryStatus::FW_ERR, |r, c| block(r, c.input[0], NEXT, OUTSIDE)),
        ("at the end of the address space", DeliveryStatus::FW_ERR, |r, c| entry(r, c, OUT_PTR, !0x3ff)),
        ("input shorter than its inline part", DeliveryStatus::IN_LENGTH, |r, c| entry(r, c, INLEN, 15)),
        ("no input", DeliveryStatus::IN_LENGTH, |r, c| entry(r, c, INLEN, 0)),
        ("input of 4 GiB", DeliveryStatus::IN_LENGTH, |r, c| entry(r, c, INLEN, 0xffff_ffff)),
        ("output without room for a status", DeliveryStatus::OUT_LENGTH, |r, c| entry(r, c, OUTLEN, 7)),
        ("output of 2 GiB", DeliveryStatus::OUT_LENGTH, |r, c| entry(r, c, OUTLEN, 0x8000_0000)),
    ];
    let mut rig = Rig::initialised();
    let memory = rig.pages(0x10_0000);
    let input = create_umem(0, memory, 200);
    for (number, (what, expected, spoil)) in cases.iter().enumerate() {
        let issued = rig.enter(number % 32, &input, 2000);
        spoil(&mut rig, &issued);
        let carried_out = rig.counters().commands;
        rig.ring(1 << issued.slot);
        let Ended { delivery, output } = rig.wait(&issued);
        assert_eq!(DeliveryStatus(delivery), *expected, "{what}");
        assert!(output[..16].iter().all(|&byte| byte == 0), "{what}: no output");
        assert!(output[16..].iter().all(|&byte| byte == 0xa5), "{what}: no output");
        assert_eq!(rig.counters().commands, carried_out, "{what}: not carried out");
        assert_eq!(rig.counters().delivery_errors, number as u64 + 1);
    }
    assert_eq!(rig.device(|dpu| dpu.firmware().resources().balance().umems), 0);
    rig.ok(&input);
}

#[test]
fn an_entry_that_is_not_the_devices_is_left_alone() {
    let mut rig = Rig::initialised();
    let issued = rig.enter(4, &nop(), 16);
    entry(&mut rig, &issued, cmd_layout::STATUS_OWN, 0);
    let before = rig.peek(issued.entry, 64);
    let carried_out = rig.counters().commands;
    rig.ring(1 << 4);
    rig.settle();
    assert_eq!(rig.peek(issued.entry, 64), before);
    assert_eq!(rig.counters().commands, carried_out);
    entry(&mut rig, &issued, cmd_layout::STATUS_OWN, 1);
    rig.ring(1 << 4);
    assert_eq!(rig.wait(&issued).delivery, 0);
}

#[test]
fn an_entry_that_can_not_be_read_leaves_its_slot_free() {
    let mut rig = Rig::initialised();
    rig.store32(CMDQ_ADDR_H, 1);
    rig.store32(CMDQ_ADDR_L, 0);
    rig.ring(0xffff_ffff);
    rig.settle();
    assert_eq!(rig.counters().dma_errors, 32);
    rig.start_queue();
    rig.ok(&nop());
}

#[test]
fn the_doorbell_of_a_busy_slot_is_counted_and_changes_nothing() {
    let mut rig = Rig::initialised();
    let carried_out = rig.counters().commands;
    let issued = rig.enter(7, &nop(), 16);
    rig.ring(1 << 7);
    rig.ring(1 << 7);
    rig.ring(1 << 7);
    assert_eq!(rig.wait(&issued).delivery, 0);
    rig.settle();
    assert_eq!(rig.counters().commands, carried_out + 1);
    assert_eq!(rig.counters().busy_doorbells, 2);
}

#[test]
fn a_doorbell_before_there_is_a_queue_does_nothing() {
    let mut rig = Rig::new(&profile());
    let issued = rig.enter(0, &nop(), 16);
    rig.ring(1);
    rig.settle();
    assert!(!rig.is_over(&issued));
    assert_eq!(rig.counters().busy_doorbells, 1);
    rig.start_queue();
    rig.ring(1);
    assert_eq!(rig.wait(&issued).delivery, 0);
}

/// All slots at once, by one doorbell: each has its own answer, and none waits for another.
#[test]
fn all_slots_at_once() {
    let mut rig = Rig::initialised();
    let inputs: Vec<Vec<u8>> = (0..32)
        .map(|slot| match slot % 4 {
            0 => nop(),
            1 => query_caps(CapType(0), CapMode::Max),
            2 => command(Opcode(0x0bad), 0, 40, &[]),
            _ => plain(Opcode::ALLOC_PD, 0, &[]),
        })
        .collect();
    let issued: Vec<Issued> = inputs.iter().enumerate().map(|(slot, input)| rig.enter(slot, input, OUTPUT)).collect();
    let start = rig.machine.simulation.fabric().now();
    rig.ring(u32::MAX);
    let mut pds = Vec::new();
    for (slot, issued) in issued.iter().enumerate() {
        let ended = rig.wait(issued);
        let expected = if slot % 4 == 2 { Status::BAD_OP } else { Status::OK };
        assert_eq!((ended.delivery, ended.output[0]), (0, expected.0), "slot {slot}");
        if slot % 4 == 3 {
            pds.push(alloc_pd_out::PD.get(&ended.output).expect("is there"));
        }
    }
    pds.sort_unstable();
    pds.dedup();
    assert_eq!(pds.len(), 8, "each has its own");
    // One after another they'd take 8 times 27 us.
    let span = rig.machine.simulation.fabric().now().since(start);
    assert!(span < Time::us(40), "{span}");
}

/// A command takes its time from the profile, and what the DMA of its parts takes.
#[test]
fn a_command_takes_its_time() {
    let mut profile = profile();
    for (command_ns, nop_ns) in [(10_000, 2_000), (50_000, 1), (1_000, 300_000)] {
        profile.firmware_timing.command_ns = command_ns;
        profile.firmware_timing.commands.insert("NOP".to_owned(), nop_ns);
        let mut rig = Rig::new(&profile).bring_up();
        for (input, expected) in [(nop(), nop_ns), (plain(Opcode::QUERY_ISSI, 0, &[]), command_ns)] {
            let issued = rig.enter(0, &input, 16);
            rig.settle();
            let start = rig.machine.simulation.fabric().now();
            rig.ring(1);
            rig.wait(&issued);
            let span = rig.machine.simulation.fabric().now().since(start);
            let least = Time::ns(expected);
            assert!(span >= least && span.since(least) < Time::us(2), "{expected} ns: {span}");
        }
    }
}

#[test]
fn an_unknown_opcode_is_bad_op() {
    let mut rig = Rig::initialised();
    for opcode in [0, 0x0bad, 0x7ff, 0xffff] {
        rig.refused(&command(Opcode(opcode), 0, 64, &[]), Failure::UNKNOWN_OPCODE);
    }
}

/// Both halves of the queue's address in one store of eight bytes; a reset request, and what the driver sees of it.
#[test]
fn the_initialization_segment() {
    let mut rig = Rig::initialised();
    rig.store(CMDQ_ADDR_H, &(QUEUE | 0x3f).to_be_bytes());
    assert_eq!(rig.load32(CMDQ_ADDR_L), QUEUE as u32 | 0x56, "the low byte is the device's");
    rig.ok(&plain(Opcode::CREATE_UCTX, 0, &[]));
    let earlier = rig.load32(0x1010);
    assert_ne!(earlier, 0);
    let host = rig.machine.simulation.host(rig.machine.dpu);
    rig.machine.simulation.run(async move { host.sleep(Time::ms(50)).await });
    assert_ne!(rig.load32(0x1010), earlier, "the health counter counts");

    rig.store32(CMDQ_ADDR_L, 7 << 8);
    assert_eq!(rig.load32(CMDQ_ADDR_L) >> 8 & 7, 1, "the interface is down");
    let (state, balance) = rig.device(|dpu| (dpu.firmware().state(), dpu.firmware().resources().balance()));
    assert_eq!(state, State::Disabled);
    assert!(balance.is_zero(), "{balance:?}");
    let mut rig = rig.bring_up();
    assert_eq!(rig.load32(CMDQ_ADDR_L) >> 8 & 7, 0);
    // A driver that doesn't know of a function-level reset sees that the interface is down.
    rig.function_level_reset();
    assert_eq!(rig.load32(CMDQ_ADDR_L), 0x156, "the address is gone, and the interface is down");
}

/// A driver that gives a new address may free the old queue: from then on nothing is written to it, nor anything of it to the new one.
#[test]
fn a_new_address_ends_what_runs_at_the_old_one() {
    let mut rig = Rig::initialised();
    for steps in 0..40 {
        let issued = rig.enter(9, &query_caps(CapType(0), CapMode::Max), OUTPUT);
        rig.ring(1 << 9);
        for _ in 0..steps {
            rig.machine.simulation.step();
        }
        let other = rig.pages(4096);
        rig.store32(CMDQ_ADDR_H, (other >> 32) as u32);
        rig.store32(CMDQ_ADDR_L, other as u32);
        assert_eq!(rig.load32(CMDQ_ADDR_L), other as u32 | 0x56);
        rig.poke(issued.entry, &[0x5a; 64]);
        rig.settle();
        assert!(rig.peek(other, 4096).iter().all(|&byte| byte == 0), "nothing was rung there, {steps} steps");
        assert_eq!(rig.peek(issued.entry, 64), [0x5a; 64], "{steps} steps");
        rig.start_queue();
        rig.ok(&nop());
    }
}
