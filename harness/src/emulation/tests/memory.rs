use mlx5_twin_sim::config::Status as PciStatus;
use mlx5_twin_sim::tlp::{Atomic, Kind, MessageCode, Route};
use proptest::prelude::*;

use super::super::{Dword, Error, RequestId};
use super::*;
use crate::channel::twin_v1::fake::Device;

/// What the byte at an offset of the BAR holds.
fn pattern(offset: u64) -> u8 {
    (offset ^ offset >> 8) as u8
}

fn dword(offset: u64) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|lane| pattern(offset + lane)))
}

/// What a host makes of the completions of a read, by Byte Count and Lower Address alone.
fn gather(parts: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let skip = usize::from(part.header.lower_address() & 3);
        let count = (part.payload.len() - skip).min(part.header.byte_count() as usize);
        bytes.extend(&part.payload[skip..skip + count]);
    }
    bytes
}

proptest! {
    /// Reads of any place and length give the bytes that are there, in completions that an honest device takes.
    #[test]
    fn reads_of_any_shape(reads in prop::collection::vec((0_u32..0x1000, 0_u32..=4096), 1..6), order in any::<u64>()) {
        let mut rig = Rig::ready();
        let mut waiting = Vec::new();
        for (offset, len) in reads {
            let len = len.min(0x1000 - offset);
            let asked = rig.read(offset, len);
            let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
            prop_assert_eq!(read.at.dwords().len() * 4, read.at.len());
            waiting.push((offset, len, asked, read));
        }
        // In any order.
        let mut rng = mlx5_twin_sim::rng::Rng::new(order);
        while !waiting.is_empty() {
            let index = rng.range(0, waiting.len() as u64 - 1) as usize;
            let (offset, len, asked, read) = waiting.swap_remove(index);
            rig.function.complete(read.id, &read.data(|offset, _| dword(offset))).unwrap();
            let sent = rig.sent();
            prop_assert!(sent.iter().all(|part| part.header.tag() == asked.tag() && part.payload.len() <= 256));
            let mut expected: Vec<u8> = (0..u64::from(len)).map(|at| pattern(u64::from(offset) + at)).collect();
            if len == 0 {
                expected = vec![pattern(u64::from(offset & !3))]; // one byte that means nothing
            }
            prop_assert_eq!(gather(&sent), expected);
        }
        rig.assert_no_faults();
    }
}

#[test]
fn byte_enables_are_handed_on() {
    let mut rig = Rig::ready();
    rig.write(0x102, 7, &[9, 9, 1, 2, 3, 4, 5, 6, 7, 9, 9, 9]);
    let Some(Request::Write(write)) = rig.poll() else { panic!("no write") };
    assert_eq!((write.at.bar, write.at.offset, write.at.requester), (0, 0x100, HOST));
    let dwords: Vec<Dword> = write.dwords().collect();
    assert_eq!(
        dwords.iter().map(|dword| (dword.offset, dword.enables)).collect::<Vec<_>>(),
        [(0x100, 0b1100), (0x104, 0b1111), (0x108, 0b0001)]
    );
    assert_eq!(dwords[0].over(0xaaaa_aaaa), 0x0201_aaaa);
    assert_eq!(dwords[1].over(0), 0x0605_0403);
    assert_eq!(dwords[2].over(0xbbbb_bbbb), 0xbbbb_bb07);
    // A write of nothing writes nothing.
    rig.write(0x100, 0, &[1, 2, 3, 4]);
    let Some(Request::Write(write)) = rig.poll() else { panic!("no write") };
    assert_eq!(write.dwords().count(), 0);
    // A gap in the byte enables of one dword.
    let header = Header::mem_write(HOST, 0, u64::from(BAR), 0b1001, 0, 1).unwrap();
    rig.deliver(header, &[1, 2, 3, 4]);
    let Some(Request::Write(write)) = rig.poll() else { panic!("no write") };
    assert_eq!(write.dwords().map(|dword| dword.over(0)).collect::<Vec<_>>(), [0x0400_0001]);
}

#[test]
fn wrong_answers_are_errors_and_send_nothing() {
    let mut rig = Rig::ready();
    rig.read(0, 8);
    let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
    let id = read.id;
    let stranger = RequestId { port: Port(1), number: 4711 };
    assert_eq!(rig.function.complete(stranger, &[0; 8]), Err(Error::UnknownRequest(stranger)));
    for has in [0, 4, 7, 12] {
        assert_eq!(rig.function.complete(id, &vec![0; has]), Err(Error::Length { id, needs: 8, has }));
    }
    for status in [Status::Successful, Status::ConfigRequestRetry, Status::Reserved(3)] {
        assert_eq!(rig.function.abort(id, status), Err(Error::AbortStatus { id, status }));
    }
    assert_eq!(rig.function.answer(id), Err(Error::NotConfiguration(id)));
    assert!(rig.sent().is_empty());
    rig.function.complete(id, &[0; 8]).unwrap();
    assert_eq!(rig.function.complete(id, &[0; 8]), Err(Error::UnknownRequest(id)));
    assert_eq!(rig.function.abort(id, Status::CompleterAbort), Err(Error::UnknownRequest(id)));
    assert_eq!(rig.sent().len(), 1);
    rig.assert_no_faults();
}

#[test]
fn aborted_requests_show_in_the_status_registers() {
    let mut rig = Rig::ready();
    for status in [Status::UnsupportedRequest, Status::CompleterAbort] {
        rig.read(0, 64);
        let Some(Request::Read(read)) = rig.poll() else { panic!("no read") };
        rig.function.abort(read.id, status).unwrap();
        let sent = rig.sent();
        assert_eq!((sent.len(), sent[0].header.status(), sent[0].header.kind()), (1, status, Kind::Cpl));
    }
    assert!(rig.function.config().unwrap().status().contains(PciStatus::SIGNALED_TARGET_ABORT));
    rig.config_read(DEVICE_CONTROL);
    rig.poll();
    assert_eq!(rig.sent()[0].payload[2] & 0xf, 0b1001, "correctable error, unsupported request");
    rig.assert_no_faults();
}

#[test]
fn what_a_function_does_not_support_ends_so() {
    let mut rig = Rig::ready();
    let address = u64::from(BAR);
    let mut locked = Header::mem_read(HOST, 0, address, 0xf, 0, 1).unwrap().dws();
    locked[0] |= 1 << 24;
    let locked = Header::from_dws(locked).unwrap();
    let add = Header::atomic(Atomic::FetchAdd, HOST, 0, address, 8).unwrap();
    let deferrable = Header::deferrable_write(HOST, 0, address, 0xf, 0, 1).unwrap();
    for (request, kind) in [(locked, Kind::CplLk), (add, Kind::Cpl), (deferrable, Kind::Cpl)] {
        rig.deliver(request, &vec![0; request.payload_len()]);
        assert_eq!(rig.poll(), None);
        let sent = rig.sent();
        assert_eq!((sent[0].header.status(), sent[0].header.kind()), (Status::UnsupportedRequest, kind));
    }
    rig.assert_no_faults();
}

#[test]
fn poisoned_data_reach_no_register() {
    let mut rig = Rig::ready();
    let mut write = Header::mem_write_bytes(HOST, 0, u64::from(BAR), 4).unwrap();
    write.set_ep(true);
    rig.deliver(write, &[1, 2, 3, 4]);
    assert_eq!(rig.poll(), None);
    assert!(rig.function.config().unwrap().status().contains(PciStatus::DETECTED_PARITY_ERROR));
    let mut write = Header::config_write(ConfigType::Type0, HOST, 0, ID, COMMAND, 0xf).unwrap();
    write.set_ep(true);
    rig.deliver(write, &[0; 4]);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.statuses(), [Status::UnsupportedRequest]);
    assert!(rig.function.config().unwrap().command().bus_master());
}

#[test]
fn messages_are_handed_on() {
    let mut rig = Rig::ready();
    let dw0 = u32::from(Kind::Msg.fmt_type() | Route::Broadcast.message_bits()) << 24;
    let dw1 = u32::from(HOST.0) << 16 | u32::from(MessageCode::PME_TURN_OFF.0);
    rig.deliver(Header::from_dws([dw0, dw1, 0, 0]).unwrap(), &[]);
    let Some(Request::Message(message)) = rig.poll() else { panic!("no message") };
    assert_eq!((message.code, message.data.len()), (MessageCode::PME_TURN_OFF, 0));
}

#[test]
fn a_device_that_delivers_too_much_is_found_out() {
    let mut rig = Rig::ready();
    for _ in 0..32 {
        rig.read(0, 4);
        assert!(rig.poll().is_some());
    }
    rig.read(0, 4);
    assert!(matches!(rig.function.poll(), Err(Error::TooManyRequests { limit: 32, .. })));

    let mut rig = Rig::new(&described(1).forward_configuration());
    let request = Header::config_read(ConfigType::Type0, HOST, 0, ID, 0, 0xf).unwrap();
    for _ in 0..2 {
        let head = Device::tlp_head(1, &request, Some(7));
        rig.fake.device().push(head, &[]);
    }
    assert!(rig.poll().is_some());
    assert!(matches!(rig.function.poll(), Err(Error::RequestTwice(_))));
}
