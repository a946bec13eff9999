use mlx5_twin_fw_cmds::layout::{notice_message, tlp_message, twin_cap};
use mlx5_twin_fw_cmds::twin_v1::{FAULT_COUNTERS, gateway, message};
use mlx5_twin_sim::config::Bar;
use mlx5_twin_sim::tlp::{Bdf, Header, Malformed, Prefix, Status};
use proptest::prelude::*;

use super::super::{
    ChannelProtocol, Error, FunctionLayout, Message, PciEvent, Region, RegionKind, Settings, TlpMessage, Waited,
};
use super::TwinV1;
use super::fake::{Device, Fake};
use crate::backend;

const HOST: Bdf = Bdf(0x0008);

fn layout(port: u16) -> FunctionLayout {
    FunctionLayout {
        port,
        vectors: 0,
        msix_capability: 0,
        pcie_capability: 0x40,
        expansion_rom: None,
        power_capability: 0,
        no_soft_reset: false,
        bars: [Some(Bar::memory32(4096)), None, Some(Bar::memory64(1 << 20)), None, None, None],
        regions: vec![Region { kind: RegionKind::Transaction, bar: 0, offset: 0, length: 4096, notify: false }],
    }
}

/// A channel with a function at port 1.
fn open(fake: &Fake, ring_slots: u32) -> TwinV1 {
    let mut channel =
        TwinV1::open(fake.backend(), &Settings { ring_slots, credits: 2, ..Settings::default() }).unwrap();
    channel.attach(&layout(1)).unwrap();
    channel
}

fn read() -> Header {
    Header::mem_read_bytes(HOST, 5, 0x1000, 8).unwrap()
}

/// A message with a read of BAR 0.
fn read_head() -> [u8; 64] {
    let mut head = Device::tlp_head(1, &read(), Some(9));
    tlp_message::FLAGS.set(&mut head, u64::from(message::NEEDS_COMPLETION | message::IN_BAR)).unwrap();
    tlp_message::BAR_OFFSET.set(&mut head, 0x10).unwrap();
    head
}

fn credit(id: u32) -> [u8; 64] {
    let mut head = Device::head(message::CREDIT, 0);
    tlp_message::REQUEST_ID.set(&mut head, u64::from(id)).unwrap();
    head
}

#[test]
fn a_device_without_the_page_speaks_no_twin() {
    let fake = Fake::new();
    fake.device().twin_cap.clear();
    let error = TwinV1::open(fake.backend(), &Settings::default()).unwrap_err();
    assert!(matches!(error, Error::Backend(backend::Error::NoTwin(_))), "{error}");

    for field in [twin_cap::SIGNATURE, twin_cap::VERSIONS] {
        let fake = Fake::new();
        field.set(&mut fake.device().twin_cap, 1).unwrap();
        let error = TwinV1::open(fake.backend(), &Settings::default()).unwrap_err();
        assert!(matches!(error, Error::Backend(backend::Error::NoTwin(_))), "{error}");
        assert!(fake.device().gone.is_empty());
    }
}

#[test]
fn a_contradictory_capability_page_is_refused() {
    for (field, value, name) in [
        (twin_cap::LOG_MIN_SLOT_STRIDE, 6, "log_min_slot_stride"),
        (twin_cap::LOG_MIN_SLOT_STRIDE, 21, "log_min_slot_stride"),
        (twin_cap::LOG_MAX_SLOT_STRIDE, 8, "log_max_slot_stride"),
        (twin_cap::MAX_RESPONSE_PAYLOAD, 124, "max_response_payload"),
        (twin_cap::MAX_REQUESTS, 0, "max_requests"),
    ] {
        let fake = Fake::new();
        field.set(&mut fake.device().twin_cap, value).unwrap();
        let error = TwinV1::open(fake.backend(), &Settings::default()).unwrap_err();
        assert!(
            matches!(error, Error::Capability { field, value: found, .. } if (field, found) == (name, value)),
            "{error}"
        );
    }
}

#[test]
fn sizes_are_checked_before_anything_is_made() {
    let limit = |ring_slots, credits| {
        let fake = Fake::new();
        let error = TwinV1::open(fake.backend(), &Settings { ring_slots, credits, ..Settings::default() }).unwrap_err();
        assert!(fake.device().gone.is_empty(), "nothing was made");
        error
    };
    assert_eq!(limit(48, 0), Error::RingSlots(48));
    assert_eq!(limit(0, 0), Error::RingSlots(0));
    let slots = Error::Limit { what: "slots of the ring", value: 1 << 21, least: 1, most: 1 << 20 };
    assert_eq!(limit(1 << 21, 0), slots);
    assert_eq!(limit(1, 5), Error::Limit { what: "credits", value: 5, least: 0, most: 4 });
}

#[test]
fn a_ring_is_never_larger_than_an_index_can_count() {
    let fake = Fake::new();
    twin_cap::LOG_MAX_RING_SLOTS.set(&mut fake.device().twin_cap, 31).unwrap();
    let channel = TwinV1::open(fake.backend(), &Settings::default()).unwrap();
    assert_eq!(channel.limits().max_ring_slots, 1 << 23);
}

#[test]
fn a_message_comes_as_it_was_sent() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    assert_eq!(channel.poll(), Ok(None));
    let head = read_head();
    fake.device().push(head, &[]);
    let prefixed = Header::mem_write_bytes(HOST, 0, 0x1004, 4).unwrap();
    let mut head = Device::tlp_head(1, &prefixed, None);
    let flags = u64::from(message::IN_BAR | message::PREFIXES_CUT) | 0xf8; // reserved bits are ignored
    tlp_message::FLAGS.set(&mut head, flags).unwrap();
    tlp_message::PREFIX_LEN.set(&mut head, 4).unwrap();
    tlp_message::PREFIXES.slice_mut(&mut head).unwrap().copy_from_slice(&[0x91, 0, 0, 7]);
    tlp_message::BAR.set(&mut head, 2).unwrap();
    fake.device().push(head, &[1, 2, 3, 4]);
    fake.device().pci_event(1, message::PERST_DEASSERTED);
    let head = credit(77);
    fake.device().push(head, &[]);

    let Some(Message::Tlp(tlp)) = channel.poll().unwrap() else { panic!("no TLP") };
    let TlpMessage { port: 1, request: Some(9), prefix: None, bar: Some((0, 0x10)), .. } = tlp else {
        panic!("{tlp:?}")
    };
    assert_eq!((tlp.header, tlp.time.as_ps(), tlp.payload), (read(), 1_000, vec![]));
    let Some(Message::Tlp(tlp)) = channel.poll().unwrap() else { panic!("no TLP") };
    assert_eq!((tlp.request, tlp.bar, tlp.payload), (None, Some((2, 0)), vec![1, 2, 3, 4]));
    assert_eq!(tlp.prefix.map(Prefix::dw), Some(0x9100_0007));
    assert_eq!(channel.poll(), Ok(Some(Message::PciEvent { port: 1, event: PciEvent::PerstDeasserted })));
    assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id: 77 })));
    assert_eq!(channel.poll(), Ok(None));
}

/// Each way in which a message can be wrong: who breaks it, and the field that the error names.
#[test]
fn each_field_of_a_message_is_checked() {
    type Break = fn(&mut [u8; 64]);
    let cases: &[(&str, Break)] = &[
        ("kind", |head| tlp_message::KIND.set(head, 0).unwrap()),
        ("kind", |head| tlp_message::KIND.set(head, 0xff).unwrap()),
        ("sequence", |head| tlp_message::SEQUENCE.set(head, 99).unwrap()),
        ("function", |head| tlp_message::FUNCTION.set(head, 2).unwrap()),
        ("header_len", |head| tlp_message::HEADER_LEN.set(head, 0).unwrap()),
        ("header_len", |head| tlp_message::HEADER_LEN.set(head, 255).unwrap()),
        ("header_len", |head| tlp_message::HEADER_LEN.set(head, 16).unwrap()),
        ("flags", |head| tlp_message::FLAGS.set(head, u64::from(message::IN_BAR)).unwrap()),
        ("flags", |head| tlp_message::FLAGS.set(head, u64::from(message::NEEDS_COMPLETION)).unwrap()),
        ("flags", |head| tlp_message::FLAGS.set(head, 0b111).unwrap()),
        ("prefix_len", |head| tlp_message::PREFIX_LEN.set(head, 8).unwrap()),
        ("prefixes", |head| tlp_message::PREFIX_LEN.set(head, 4).unwrap()),
        ("payload_len", |head| tlp_message::PAYLOAD_LEN.set(head, 4).unwrap()),
        ("bar", |head| tlp_message::BAR.set(head, 7).unwrap()),
        ("bar", |head| tlp_message::BAR.set(head, 6).unwrap()),
        ("bar", |head| tlp_message::BAR.set(head, 1).unwrap()),
        ("bar_offset", |head| tlp_message::BAR_OFFSET.set(head, 2).unwrap()),
        ("bar_offset", |head| tlp_message::BAR_OFFSET.set(head, 4092).unwrap()),
        ("bar_offset", |head| tlp_message::BAR_OFFSET.set(head, u64::MAX - 3).unwrap()),
        ("event", |head| {
            tlp_message::KIND.set(head, u64::from(message::PCI_EVENT)).unwrap();
            tlp_message::EVENT.set(head, 2).unwrap();
        }),
        ("event", |head| {
            tlp_message::KIND.set(head, u64::from(message::HOTPLUG_STATE)).unwrap();
            tlp_message::EVENT.set(head, 4).unwrap();
        }),
        ("number", |head| {
            tlp_message::KIND.set(head, u64::from(message::DOORBELL)).unwrap();
            notice_message::NUMBER.set(head, 0).unwrap();
        }),
        ("number", |head| {
            tlp_message::KIND.set(head, u64::from(message::REGION_WRITTEN)).unwrap();
            notice_message::NUMBER.set(head, 0).unwrap();
        }),
        ("number", |head| {
            tlp_message::KIND.set(head, u64::from(message::REGION_WRITTEN)).unwrap();
            notice_message::NUMBER.set(head, u64::from(u32::MAX)).unwrap();
        }),
        ("header", |head| {
            let completion = Header::completion_for(&read(), HOST, Status::UnsupportedRequest).unwrap();
            let mut bytes = [0; 16];
            completion.encode(&mut bytes);
            tlp_message::HEADER.slice_mut(head).unwrap().copy_from_slice(&bytes);
        }),
    ];
    for (number, (name, break_it)) in cases.iter().enumerate() {
        let fake = Fake::new();
        let mut channel = open(&fake, 4);
        let mut bad = read_head();
        break_it(&mut bad);
        let good = read_head();
        fake.device().push(bad, &[]);
        fake.device().push(good, &[]);
        let error = channel.poll().unwrap_err();
        assert!(
            matches!(error, Error::Message { slot: 0, sequence: 0, field, .. } if field == *name),
            "case {number}, {name}: {error}"
        );
        assert!(channel.poll().unwrap().is_some(), "the next one is fine");
    }
}

#[test]
fn a_payload_must_fit_its_slot() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    let header = Header::mem_write_bytes(HOST, 0, 0x1000, 512).unwrap(); // a slot of 512 bytes holds 448
    let mut head = Device::tlp_head(1, &header, None);
    tlp_message::FLAGS.set(&mut head, u64::from(message::IN_BAR)).unwrap();
    fake.device().push(head, &[]);
    let error = channel.poll().unwrap_err();
    assert!(matches!(error, Error::Message { field: "payload_len", value: 512, .. }), "{error}");
}

#[test]
fn a_header_must_be_one() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    let mut head = read_head();
    tlp_message::HEADER.slice_mut(&mut head).unwrap()[0] = 0xff;
    fake.device().push(head, &[]);
    let malformed = Malformed::ReservedType { fmt_type: 0xff };
    assert_eq!(channel.poll(), Err(Error::Header { slot: 0, sequence: 0, malformed }));
}

#[test]
fn laps_and_the_index_go_round() {
    let fake = Fake::new();
    let mut channel = open(&fake, 8);
    // Just before the 24 bits, and just before the 32 bits are used up.
    for start in [0, 0xff_fffa, 0xffff_fffa_u32] {
        channel.ring.go_on_at(u64::from(start));
        fake.device().age(start);
        for id in 0..100 {
            let head = credit(id);
            fake.device().push(head, &[]);
            assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id })), "start {start:#x}");
            assert_eq!(channel.poll(), Ok(None));
        }
        assert_eq!(fake.device().faults, [0; FAULT_COUNTERS]);
    }
}

#[test]
fn a_full_ring_withholds_and_loses_nothing() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    for id in 0..50 {
        let head = credit(id);
        fake.device().push(head, &[]);
    }
    let state = |fake: &Fake| {
        let device = fake.device();
        (device.producer, device.withheld())
    };
    assert_eq!(state(&fake), (4, 46));
    for id in 0..50 {
        assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id })));
    }
    assert_eq!(channel.poll(), Ok(None));
    assert_eq!(fake.device().faults, [0; FAULT_COUNTERS]);
}

#[test]
fn slots_are_freed_a_quarter_at_a_time_and_before_a_wait() {
    let fake = Fake::new();
    let mut channel = open(&fake, 16);
    for id in 0..10 {
        let head = credit(id);
        fake.device().push(head, &[]);
        channel.poll().unwrap();
    }
    let stores = |fake: &Fake, at: u64| fake.device().stores.iter().filter(|(offset, _)| *offset as u64 == at).count();
    assert_eq!(stores(&fake, gateway::CONSUMER), 2);
    assert_eq!(fake.device().consumer, 8);
    assert_eq!(channel.wait(None), Ok(Waited::Silent));
    assert_eq!(stores(&fake, gateway::CONSUMER), 2);
    assert_eq!(stores(&fake, gateway::ARM), 1);
    assert_eq!(fake.device().consumer, 10);
}

#[test]
fn broken_messages_free_their_slots_too() {
    let fake = Fake::new();
    let mut channel = open(&fake, 1);
    for _ in 0..5 {
        let head = Device::head(0, 0);
        fake.device().push(head, &[]);
    }
    for _ in 0..5 {
        assert!(channel.poll().is_err());
    }
    assert_eq!(channel.poll(), Ok(None));
    assert_eq!(fake.device().withheld(), 0);
}

/// A message between the last poll and the arming must end the wait: there's no other event for it.
#[test]
fn a_message_that_comes_before_the_arming_ends_the_wait() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    assert_eq!(channel.poll(), Ok(None));
    let head = credit(1);
    fake.device().push(head, &[]);
    assert!(fake.device().events.is_empty(), "nobody asked for an event yet");
    assert_eq!(channel.wait(None), Ok(Waited::Woken));
    assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id: 1 })));
    // And one that comes while it waits.
    let head = credit(2);
    let mut left = Some(head);
    fake.on_wait(move |device| left.take().map(|head| device.push(head, &[])).is_some());
    assert_eq!(channel.wait(None), Ok(Waited::Woken));
    assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id: 2 })));
    assert_eq!(channel.wait(None), Ok(Waited::Silent));
}

#[test]
fn equal_parts_are_staged_once() {
    let fake = Fake::new();
    let mut channel = open(&fake, 4);
    let payload: Vec<u8> = (0..20).collect();
    let mut post = |request: u32, payload: &[u8]| {
        fake.device().stores.clear();
        let completion = Header::completion_for(&read(), Bdf(0), Status::Successful).unwrap();
        channel.complete(1, request, &completion, payload).unwrap();
        fake.device().stores.clone()
    };
    let first = [(0x100, 8), (0x108, 4), (0x110, 8), (0x118, 8), (0x120, 4), (0x008, 8)];
    assert_eq!(post(1, &payload), first);
    assert_eq!(post(2, &payload), [(0x008, 8)]);
    let mut other = payload.clone();
    other[9] = 0xff;
    other.extend([1, 2, 3, 4]);
    assert_eq!(post(3, &other), [(0x118, 8), (0x120, 8), (0x008, 8)]);
}

#[test]
fn what_is_left_of_a_function_that_was_given_back_is_dropped() {
    let fake = Fake::new();
    let mut channel = open(&fake, 8);
    channel.attach(&layout(2)).unwrap();
    assert_eq!(channel.attach(&layout(1)), Err(Error::PortTaken(1)));
    for port in [1, 2, 1] {
        fake.device().pci_event(port, message::PERST_ASSERTED);
    }
    channel.detach(1).unwrap();
    assert_eq!(channel.detach(1), Err(Error::NoFunction(1)));
    assert_eq!(channel.doorbells(1), Err(Error::NoFunction(1)));
    channel.attach(&layout(1)).unwrap();
    fake.device().pci_event(1, message::PERST_DEASSERTED);
    let event = |port, event| Ok(Some(Message::PciEvent { port, event }));
    assert_eq!(channel.poll(), event(2, PciEvent::PerstAsserted));
    assert_eq!(channel.poll(), event(1, PciEvent::PerstDeasserted));
    assert_eq!(channel.poll(), Ok(None));
}

#[test]
fn things_go_in_the_order_in_which_they_depend_on_each_other() {
    let order = ["function", "function", "channel", "umem", "page"];
    for close in [false, true] {
        let fake = Fake::new();
        let mut channel = open(&fake, 4);
        channel.attach(&layout(2)).unwrap();
        if close {
            Box::new(channel).close().unwrap();
        } else {
            drop(channel);
        }
        assert_eq!(fake.device().gone, order);
    }
}

#[test]
fn what_the_device_refuses_is_told_and_leaves_nothing() {
    let fake = Fake::new();
    let mut first = open(&fake, 4);
    let mut second = TwinV1::open(fake.backend(), &Settings::default()).unwrap();
    let error = second.attach(&layout(1)).unwrap_err();
    assert!(error.to_string().contains("BAD_RES_STATE"), "{error}");
    first.detach(1).unwrap();
    second.attach(&layout(1)).unwrap();
}

#[test]
fn a_protocol_can_be_shared_as_an_object() {
    let fake = Fake::new();
    let boxed: Box<dyn ChannelProtocol> = Box::new(open(&fake, 4));
    assert_eq!(boxed.limits().max_response_payload, 256);
}

proptest! {
    /// Any 64 bytes are a message or an error, and the next message is found behind them.
    #[test]
    fn any_bytes_are_a_message_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 64),
        kind in 0_u8..8, lens in any::<bool>(), valid in any::<bool>()
    ) {
        let fake = Fake::new();
        let mut channel = open(&fake, 4);
        let mut head: [u8; 64] = bytes.try_into().unwrap();
        tlp_message::KIND.set(&mut head, u64::from(kind)).unwrap();
        tlp_message::SEQUENCE.set(&mut head, 0).unwrap();
        if lens {
            tlp_message::HEADER_LEN.set(&mut head, 12).unwrap();
            tlp_message::FUNCTION.set(&mut head, 1).unwrap();
        }
        if valid {
            let mut header = [0; 16];
            read().encode(&mut header);
            tlp_message::HEADER.slice_mut(&mut head).unwrap().copy_from_slice(&header);
        }
        fake.device().push(head, &[]);
        let next = credit(5);
        fake.device().push(next, &[]);
        if let Ok(Some(Message::Tlp(tlp))) = channel.poll() {
            prop_assert_eq!(tlp.payload.len(), tlp.header.payload_len());
            prop_assert_eq!(tlp.bar.is_some(), tlp.header.kind().is_memory());
        }
        prop_assert_eq!(channel.poll(), Ok(Some(Message::Credit { port: 0, id: 5 })));
    }
}
