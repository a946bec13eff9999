//! A channel from the side of software: the ring and its laps, back pressure, events, credits, and what is refused at the gateway page.

mod common;

use common::commands::{Events, plain};
use common::software::{MEMORY, REGISTERS, Software};
use common::twin::{Channel, Message};
use common::{Rig, profile};
use mlx5_twin_fw_cmds::layout::*;
use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::twin_v1::{FAULT_COUNTERS, Fault, TLP_CHANNEL, gateway, message};
use mlx5_twin_sim::host::{Access, Data};
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, Status};

/// Where the function writes to in host memory.
const BUFFER: u64 = 0x4000;

fn host_memory(rig: &Rig, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rig.machine.simulation.fabric().memory(rig.host()).expect("a root").read(address, &mut bytes).expect("memory");
    bytes
}

/// Far more writes than the ring has slots, taken now and then: none is lost, none overwritten, all in order.
#[test]
fn a_full_ring_holds_back_and_loses_nothing() {
    let (mut rig, mut software) = Software::ready(2, 0);
    let count = 500_u32;
    for number in 0..count {
        let data = Data::new(&number.to_le_bytes());
        let access = Access::MemoryWrite { address: software.bar + u64::from(number % 16) * 4, data };
        rig.machine.simulation.access(rig.host(), access).expect("a posted write");
    }
    rig.pause();
    let in_flight = rig.machine.simulation.fabric().in_flight();
    assert_eq!(in_flight, count as usize - 4, "four slots, the rest waits");
    assert_eq!(software.channel.field(&mut rig, tlp_channel::PRODUCER_INDEX), u64::from(software.channel.consumer) + 4);
    // What waits in the receive buffer has come already, whenever it's delivered.
    let filled = rig.machine.simulation.fabric().now().as_ps();
    let (mut taken, mut last) = (0, 0);
    while taken < count {
        let burst = taken % 4 + 1;
        for _ in 0..burst.min(count - taken) {
            let message = software.channel.next(&rig).unwrap_or_else(|| panic!("message {taken}"));
            assert_eq!(message.payload, taken.to_le_bytes());
            assert_eq!(message.place, Some((0, u64::from(taken % 16) * 4)));
            assert_eq!(message.flags & message::NEEDS_COMPLETION, 0);
            let time = tlp_message::TIME_PS.get(&message.head).expect("a head");
            assert!(time >= last && (time < filled || taken > 8), "message {taken} came at {time}, {filled} was later");
            last = time;
            taken += 1;
        }
        software.channel.free(&mut rig);
        rig.pause();
    }
    assert!(software.channel.next(&rig).is_none());
    assert_eq!(rig.machine.simulation.fabric().in_flight(), 0);
    assert_eq!(software.channel.faults(&mut rig), []);
    let messages = software.channel.field(&mut rig, tlp_channel::MESSAGES);
    assert_eq!(messages, u64::from(software.channel.consumer));
}

/// When all requests of a function are open, a non-posted TLP waits and posted ones pass it; one completion lets it through.
#[test]
fn posted_requests_pass_a_non_posted_one_that_is_stuck() {
    let (mut rig, mut software) = Software::ready(10, 0);
    let read = |software: &Software, number: u64| Access::MemoryRead { address: software.bar + 4 * number, len: 4 };
    // A host has 256 tags: they come free again when its requests time out, while here they stay open.
    for number in 0..256 {
        let access = read(&software, number);
        rig.machine.simulation.access(rig.host(), access).expect("an access");
    }
    rig.settle();
    assert_eq!(rig.machine.simulation.fabric().faults().completion_timeout, 256);
    let open: Vec<Message> = std::iter::from_fn(|| software.channel.next(&rig)).collect();
    software.channel.free(&mut rig);
    assert_eq!(open.len(), 256);
    let access = read(&software, 300);
    let stuck = rig.machine.simulation.access(rig.host(), access).expect("an access");
    let data = Data::new(&[1, 2, 3, 4]);
    for number in 0..3 {
        let access = Access::MemoryWrite { address: software.bar + MEMORY + 4 * number, data };
        rig.machine.simulation.access(rig.host(), access).expect("an access");
    }
    rig.pause();
    let passed: Vec<Message> = std::iter::from_fn(|| software.channel.next(&rig)).collect();
    software.channel.free(&mut rig);
    assert!(passed.iter().all(|message| message.flags & message::NEEDS_COMPLETION == 0));
    assert_eq!(passed.len(), 3);
    assert_eq!(software.channel.field(&mut rig, tlp_channel::WITHHELD), 1, "only the read");
    // Its tag has timed out at the host: what comes late is unexpected there.
    software.channel.answer(&mut rig, &open[7], software.id, Ok(&[0; 4]));
    rig.pause();
    let late = software.channel.next(&rig).expect("the read");
    assert_eq!(late.place, Some((0, 4 * 300)));
    software.channel.answer(&mut rig, &late, software.id, Ok(&[5, 6, 7, 8]));
    rig.settle();
    assert_eq!(rig.machine.simulation.result(stuck), Some(Ok(Data::new(&[5, 6, 7, 8]))));
    assert_eq!(software.channel.faults(&mut rig), []);
}

/// Completions of several requests in any order.
#[test]
fn completions_in_any_order() {
    let (mut rig, mut software) = Software::ready(6, 0);
    let tickets: Vec<_> = (0..20)
        .map(|number| {
            let access = Access::MemoryRead { address: software.bar + 4 * number, len: 4 };
            rig.machine.simulation.access(rig.host(), access).expect("an access")
        })
        .collect();
    rig.pause();
    let mut requests: Vec<Message> = std::iter::from_fn(|| software.channel.next(&rig)).collect();
    software.channel.free(&mut rig);
    requests.reverse();
    requests.swap(3, 11);
    for request in &requests {
        let (_, offset) = request.place.expect("a place");
        software.channel.answer(&mut rig, request, software.id, Ok(&(offset as u32).to_le_bytes()));
    }
    rig.settle();
    for (number, ticket) in tickets.into_iter().enumerate() {
        let expected = Ok(Data::new(&(4 * number as u32).to_le_bytes()));
        assert_eq!(rig.machine.simulation.result(ticket), Some(expected));
    }
}

/// One event for each arming: at once if the ring holds more than the index says, else with the next message.
#[test]
fn events() {
    let (mut rig, mut software) = Software::ready(4, 0);
    rig.enable_msix(4, false);
    let uar = rig.number(&plain(Opcode::ALLOC_UAR, 0, &[]), alloc_uar_out::UAR);
    let mut events = Events::new(&mut rig, 4, uar, 2, 1 << 0x27);
    events.update(&mut rig, true);
    let write = |rig: &mut Rig, software: &Software| {
        let access = Access::MemoryWrite { address: software.bar, data: Data::new(&[0; 4]) };
        rig.machine.simulation.access(rig.host(), access).expect("an access");
        rig.settle();
    };
    let id = software.channel.id;
    let mut came = move |rig: &mut Rig| {
        rig.settle();
        let mut count = 0;
        while let Some((kind, data)) = events.next(rig) {
            assert_eq!(kind, 0x27);
            assert_eq!(data[2..4], TLP_CHANNEL.0.to_be_bytes());
            assert_eq!(data[4..8], id.to_be_bytes());
            count += 1;
        }
        let interrupts = rig.interrupts();
        assert_eq!(interrupts.len(), usize::from(count > 0));
        events.update(rig, true);
        rig.settle();
        count
    };
    write(&mut rig, &software);
    assert_eq!(came(&mut rig), 0, "a channel begins unarmed");
    software.channel.arm(&mut rig);
    assert_eq!(came(&mut rig), 1, "a message is there");
    write(&mut rig, &software);
    assert_eq!(came(&mut rig), 0, "once");
    while software.channel.next(&rig).is_some() {}
    software.channel.arm(&mut rig);
    assert_eq!(came(&mut rig), 0, "nothing is there any more");
    write(&mut rig, &software);
    assert_eq!(came(&mut rig), 1);
    write(&mut rig, &software);
    assert_eq!(came(&mut rig), 0);
    while software.channel.next(&rig).is_some() {}
    software.channel.free(&mut rig);
    software.channel.arm(&mut rig);
    software.channel.arm(&mut rig);
    write(&mut rig, &software);
    write(&mut rig, &software);
    assert_eq!(came(&mut rig), 1, "armed twice is armed once");
    assert_eq!(software.channel.faults(&mut rig), []);
}

/// Credits: granted at creation, spent by a write, granted again; given back for good; one that isn't held is refused.
#[test]
fn credits() {
    let (mut rig, mut software) = Software::ready(4, 3);
    software.credits.sort_unstable();
    assert_eq!(software.credits, [0, 1, 2]);
    let write = |software: &Software, bytes: &[u8]| {
        Header::mem_write_bytes(software.id, 0, BUFFER, bytes.len() as u32).expect("a header")
    };
    for round in 1..20_u8 {
        let credit = software.credits.remove(0);
        let bytes = [round; 32];
        let header = write(&software, &bytes);
        software.channel.send(&mut rig, gateway::MEMORY_WRITE, 0, credit, &header, &bytes);
        // Spent: it can't be spent again.
        if round == 1 {
            rig.pause();
            software.channel.post(&mut rig, gateway::MEMORY_WRITE, 0, 32, credit);
        }
        software.settle(&mut rig);
        assert_eq!(host_memory(&rig, BUFFER, 32), bytes);
        // It comes again under another name.
        assert_eq!(software.credits.len(), 3);
        assert!(!software.credits.contains(&credit));
    }
    assert_eq!(software.channel.faults(&mut rig), [(Fault::Credit, 1)], "spent twice");
    let [kept, back, too] = software.credits[..] else { panic!("{:?}", software.credits) };
    for credit in [back, too] {
        software.channel.post(&mut rig, gateway::FLUSH, 0, 0, credit);
    }
    software.settle(&mut rig);
    for credit in [back, too, kept ^ 0x1_0000, 3, 0xffff_ffff] {
        let header = write(&software, &[0; 4]);
        software.channel.send(&mut rig, gateway::MEMORY_WRITE, 0, credit, &header, &[0; 4]);
        software.channel.post(&mut rig, gateway::FLUSH, 0, 0, credit);
    }
    software.settle(&mut rig);
    assert_eq!(software.channel.faults(&mut rig), [(Fault::Credit, 11)]);
    assert_eq!(software.credits.len(), 3, "what was given back isn't granted again");
    assert_eq!(host_memory(&rig, BUFFER, 32), [19; 32], "nothing was sent");

    software.set_command(&mut rig, 2);
    let header = write(&software, &[9; 8]);
    software.channel.send(&mut rig, gateway::MEMORY_WRITE, 0, kept, &header, &[9; 8]);
    software.settle(&mut rig);
    assert_eq!(host_memory(&rig, BUFFER, 8), [19; 8], "not bus master");
    software.set_command(&mut rig, 6);
    software.channel.send(&mut rig, gateway::MEMORY_WRITE, 0, kept, &header, &[9; 8]);
    software.settle(&mut rig);
    assert_eq!(host_memory(&rig, BUFFER, 8), [9; 8], "the credit was still held");
}

/// Grants wait for slots as all messages do.
#[test]
fn credits_wait_for_slots() {
    let mut rig = Rig::initialised();
    let uid = common::twin::user(&mut rig);
    let mut channel = Channel::new(&mut rig, uid, 3, 1, 7);
    rig.settle();
    let mut granted = Vec::new();
    for expected in [2, 2, 2, 1, 0] {
        let before = granted.len();
        while let Some(message) = channel.next(&rig) {
            assert!(message.is_credit());
            granted.push(message.request);
        }
        assert_eq!(granted.len() - before, expected);
        channel.free(&mut rig);
        rig.settle();
    }
    assert_eq!(granted, [0, 1, 2, 3, 4, 5, 6]);
}

/// A post against the rules: what is staged and posted, and the fault it is. Nothing leaves the function.
#[test]
fn every_fault() {
    let (mut rig, mut software) = Software::ready(6, 2);
    let id = software.id;
    let ticket = {
        let access = Access::MemoryRead { address: software.bar + 0x10, len: 16 };
        rig.machine.simulation.access(rig.host(), access).expect("an access")
    };
    rig.pause();
    let request = std::iter::from_fn(|| software.channel.next(&rig)).find(|m| !m.is_credit()).expect("the read");
    software.channel.free(&mut rig);
    let asked = request.header();
    let (tag, host, call) = (asked.tag(), asked.requester(), request.request);
    let completion = |host: Bdf, tag, status, count, lower, dwords| {
        Header::completion(id, host, tag, status, count, lower, dwords, 0, Attr::NONE).expect("a header")
    };
    let ok = Status::Successful;
    let good = completion(host, tag, ok, 16, 0x10, 4);
    let write = |from: Bdf, len: u32| Header::mem_write_bytes(from, 0, BUFFER, len).expect("a header");
    let mut poisoned = good;
    poisoned.set_ep(true);
    let mut digest = good;
    digest.set_td(true);
    let read = Header::mem_read_bytes(id, 0, BUFFER, 4).expect("a header");
    let (cpl, mwr, msix, flush) = (gateway::COMPLETION, gateway::MEMORY_WRITE, gateway::MSIX, gateway::FLUSH);
    let status = |status| completion(host, tag, status, 16, 0x10, 0);
    // Kind, function, id, header, posted length, fault.
    let posts: &[(&str, u8, u8, u32, Header, usize, Fault)] = &[
        ("kind 0", 0, 0, call, good, 16, Fault::PostKind),
        ("kind 5", 5, 0, call, good, 16, Fault::PostKind),
        ("longer than the header says", cpl, 0, call, good, 20, Fault::Length),
        ("shorter than the header says", cpl, 0, call, good, 12, Fault::Length),
        ("data without a header for it", cpl, 0, call, status(Status::CompleterAbort), 4, Fault::Length),
        ("too long", cpl, 0, call, completion(host, tag, ok, 2052, 0x10, 513), 2052, Fault::Length),
        ("a write as completion", cpl, 0, call, write(id, 16), 16, Fault::Header),
        ("a completion as write", mwr, 0, 0, good, 16, Fault::Header),
        ("a read", mwr, 0, 0, read, 0, Fault::Header),
        ("poisoned", cpl, 0, call, poisoned, 16, Fault::Header),
        ("with a digest", cpl, 0, call, digest, 16, Fault::Header),
        ("no such request", cpl, 0, call ^ 1, good, 16, Fault::Request),
        ("an old use of its place", cpl, 0, call.wrapping_sub(1 << 12), good, 16, Fault::Request),
        ("request 0", cpl, 0, 0, good, 16, Fault::Request),
        ("no such function", cpl, 1, call, good, 16, Fault::Request),
        ("another tag", cpl, 0, call, completion(host, tag ^ 1, ok, 16, 0x10, 4), 16, Fault::Transaction),
        ("another requester", cpl, 0, call, completion(Bdf(8), tag, ok, 16, 0x10, 4), 16, Fault::Transaction),
        ("the write of another", mwr, 0, 0, write(Bdf(id.0 + 8), 16), 16, Fault::Transaction),
        ("byte count too small", cpl, 0, call, completion(host, tag, ok, 12, 0x10, 3), 12, Fault::ByteCount),
        ("byte count too large", cpl, 0, call, completion(host, tag, ok, 20, 0x10, 4), 16, Fault::ByteCount),
        ("lower address", cpl, 0, call, completion(host, tag, ok, 16, 0x14, 4), 16, Fault::ByteCount),
        ("a part that ends anywhere", cpl, 0, call, completion(host, tag, ok, 16, 0x10, 2), 8, Fault::ByteCount),
        ("nothing for a read", cpl, 0, call, completion(host, tag, ok, 16, 0x10, 0), 0, Fault::ByteCount),
        ("retry of a read", cpl, 0, call, status(Status::ConfigRequestRetry), 0, Fault::ByteCount),
        ("a credit that isn't there", mwr, 0, 2, write(id, 16), 16, Fault::Credit),
        ("longer than Max_Payload_Size", mwr, 0, 0, write(id, 260), 260, Fault::Length),
        ("a write of no function", mwr, 7, 0, write(id, 16), 16, Fault::Vector),
        ("no such credit to give back", flush, 0, 9, good, 0, Fault::Credit),
        ("a vector of no function", msix, 1, 0, good, 0, Fault::Vector),
        ("vector 65536", msix, 0, 0x1_0000, good, 0, Fault::Vector),
        ("MSI-X is off", msix, 0, 0, good, 0, Fault::MsixDisabled),
    ];
    let mut expected = [0; FAULT_COUNTERS];
    for (what, kind, function, id, header, length, fault) in posts {
        software.channel.stage(&mut rig, header, &vec![0x77; header.payload_len().min(256)]);
        software.channel.post(&mut rig, *kind, *function, *length, *id);
        expected[*fault as usize] += 1;
        let context = software.channel.query(&mut rig);
        assert_eq!(tlp_channel::LAST_FAULT.get(&context), Ok(*fault as u64 + 1), "{what}");
        let count = tlp_channel::FAULTS.get(&context, *fault as usize);
        assert_eq!(count, Ok(expected[*fault as usize]), "{what}");
    }
    // A header that is none.
    for dword in [[0xff; 4], [0x4a, 0, 0, 0]] {
        software.channel.store(&mut rig, gateway::HEADER, &dword);
        software.channel.post(&mut rig, cpl, 0, 0, call);
        expected[Fault::Header as usize] += u64::from(dword[0] == 0xff);
        expected[Fault::Length as usize] += u64::from(dword[0] != 0xff);
    }
    // Stores that fit no register.
    #[rustfmt::skip]
    let stores: &[(u64, usize)] = &[(0, 8), (0, 2), (4, 1), (2, 2), (8, 4), (12, 4), (16, 4), (16, 8), (0xfc, 4), (0x100, 2), (0x101, 1),
        (0x100, 16), (0x102, 4), (0x104, 8), (0x110, 12), (0xffc, 2), (0x800, 64)];
    for &(offset, len) in stores {
        software.channel.store(&mut rig, offset, &vec![0; len]);
        expected[Fault::Store as usize] += 1;
    }
    // Consumer indices of what wasn't delivered, or of what was freed before.
    let consumer = software.channel.consumer;
    for index in [consumer + 1, consumer.wrapping_sub(1), consumer + 0x80_0000, 0x0100_0000 | consumer, u32::MAX] {
        for register in [gateway::CONSUMER, gateway::ARM] {
            software.channel.store(&mut rig, register, &index.to_be_bytes());
            expected[Fault::ConsumerIndex as usize] += 1;
        }
    }
    rig.pause();
    let context = software.channel.query(&mut rig);
    for fault in Fault::ALL {
        let count = tlp_channel::FAULTS.get(&context, fault as usize);
        assert_eq!(count, Ok(expected[fault as usize]), "{fault:?}");
    }
    assert_eq!(host_memory(&rig, BUFFER, 16), [0; 16], "nothing was sent");
    assert!(rig.machine.simulation.result(ticket).is_none(), "the request is still open");
    software.channel.send(&mut rig, cpl, 0, call, &good, &[0x42; 16]);
    rig.pause();
    assert_eq!(rig.machine.simulation.result(ticket), Some(Ok(Data::new(&[0x42; 16]))));
    software.channel.post(&mut rig, cpl, 0, 16, call);
    assert_eq!(software.channel.field(&mut rig, tlp_channel::LAST_FAULT), Fault::Request as u64 + 1, "it's over");
    assert_eq!(rig.counters().gateway_unbound, 0);
    assert_eq!(software.read(&mut rig, REGISTERS, 4).map(|data| data.to_u64()), Ok(0));
}

/// A page without a channel: its stores are counted, and that's all.
#[test]
fn a_page_that_no_channel_holds() {
    let (mut rig, software) = Software::ready(4, 0);
    let other = Channel { page: 14, ..software.channel };
    for (number, offset) in [0, 4, 8, 0x100, 0xff8].into_iter().enumerate() {
        other.store(&mut rig, offset, &[0xff; 8]);
        rig.pause();
        assert_eq!(rig.counters().gateway_unbound, number as u64 + 1);
    }
    // Beyond the last page there is nothing.
    let before = rig.counters();
    Channel { page: 15, ..other }.store(&mut rig, 0, &[0; 4]);
    rig.pause();
    let after = rig.counters();
    assert_eq!((after.gateway_unbound, after.stray_accesses), (before.gateway_unbound, before.stray_accesses + 1));
}

/// Rings that lie anywhere in a UMEM, on pages that don't follow each other.
#[test]
fn a_ring_on_scattered_pages() {
    let mut rig = Rig::new(&profile()).bring_up();
    let uid = common::twin::user(&mut rig);
    let memory = rig.pages(0x1_0000);
    let pages = [7, 2, 9, 4].map(|page| (memory + page * 0x1000) | 3);
    let create = common::commands::create_umem_of(uid, &pages);
    let umem = rig.number(&create, create_umem_out::UMEM_ID);
    let context = common::twin::channel_context(&[
        (tlp_channel::LOG_RING_SLOTS, 2),
        // Slots of two pages: the second one's payload would be on another page than its head.
        (tlp_channel::LOG_SLOT_STRIDE, 12),
        (tlp_channel::RING_UMEM_ID, umem.into()),
        (tlp_channel::CREDITS, 4),
    ]);
    rig.ok(&common::commands::object(Opcode::CREATE_GENERAL_OBJECT, uid, TLP_CHANNEL, 0, &context));
    rig.settle();
    for (credit, page) in [7, 2, 9, 4].into_iter().enumerate() {
        let head = rig.peek(memory + page * 0x1000, 64);
        assert_eq!(tlp_message::REQUEST_ID.get(&head), Ok(credit as u64));
        assert_eq!(tlp_message::OWNER.get(&head), Ok(1));
    }
    assert_eq!(rig.peek(memory, 0x1000), [0; 0x1000]);
}
