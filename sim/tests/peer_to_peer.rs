//! Peer to peer in the root complex: how reads are split and answered, and how writes go on; beside the switch, which may not split.

mod common;

use common::agent::Manner;
use common::nettlp::{folder, is_tagged, packets, tlp};
use common::plant::{Plant, Recorder, Shape, Spec, plant};
use common::registers::{ACS, DPC};
use mlx5_twin_sim::Time;
use mlx5_twin_sim::fabric::{ErrorKind, PeerToPeer};
use mlx5_twin_sim::host::AccessError;
use mlx5_twin_sim::profile::{DataLink, Timing};
use mlx5_twin_sim::tlp::{AddressType, Attr, Bdf, Class, Header, Kind, Status};
use proptest::prelude::*;

const ROOT: Bdf = Bdf::new(0, 0, 0);

fn spec(peer_to_peer: PeerToPeer) -> Spec {
    let timing = Timing { completion_timeout_us: 1_000, ..common::TIMING };
    Spec { peer_to_peer, max_payload: 256, timing, ..Spec::default() }
}

/// Agents below a root port each.
fn agents(count: usize, peer_to_peer: PeerToPeer) -> Plant {
    plant(&vec![Shape::Agent; count], &spec(peer_to_peer))
}

fn read(me: Bdf, tag: u16, address: u64, len: u32) -> Header {
    Header::mem_read_bytes(me, tag, address, len).unwrap()
}

/// What an agent has received of this class since it was asked last.
fn received(plant: &mut Plant, agent: usize, class: Class) -> Vec<(Header, Vec<u8>)> {
    plant.agent(agent, |agent, _| {
        let (those, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut agent.received).into_iter().partition(|seen| seen.header.class() == class);
        agent.received = others;
        those.into_iter().map(|seen| (seen.header, seen.payload)).collect()
    })
}

/// The data of a read, checked against what each completion says of itself.
fn joined(request: &Header, completions: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let (start, mut left) = request.byte_enables().range(request.address());
    let (mut at, mut data) = (start, Vec::new());
    for (header, payload) in completions {
        assert_eq!((header.status(), header.kind()), (Status::Successful, Kind::CplD), "{header}");
        assert_eq!((header.requester(), header.tag()), (request.requester(), request.tag()), "{header}");
        assert_eq!((header.byte_count(), u64::from(header.lower_address())), (left, at & 0x7f), "{header}");
        let skip = (at & 3) as usize;
        let take = (payload.len() - skip).min(left as usize);
        data.extend_from_slice(&payload[skip..skip + take]);
        (left, at) = (left - take as u32, at + take as u64);
    }
    assert_eq!(left, 0, "{request}");
    data
}

/// What an agent answers: bytes that count up.
fn pattern(offset: u64, len: u32) -> Vec<u8> {
    (offset..offset + u64::from(len)).map(|at| at as u8).collect()
}

/// A read's offset and length, and the boundary; its parts; the payload bytes of its completions.
type Row = (u64, u32, u32, Vec<(u64, u32)>, Vec<usize>);

#[test]
fn reads_are_split_and_answered_whole() {
    let all = |from: u64, count: u64, size: u32| -> Vec<(u64, u32)> {
        (0..count).map(|part| (from + part * u64::from(size), size)).collect()
    };
    let around = [vec![(0x1004, 60)], all(0x1040, 7, 64), vec![(0x1200, 4)]].concat();
    let rows: [Row; 12] = [
        (0x1000, 512, 64, all(0x1000, 8, 64), vec![256, 256]),
        (0x1000, 64, 64, vec![(0x1000, 64)], vec![64]),
        (0x1000, 4, 64, vec![(0x1000, 4)], vec![4]),
        (0x1001, 1, 64, vec![(0x1001, 1)], vec![4]),
        (0x1003, 2, 64, vec![(0x1003, 2)], vec![8]),
        (0x103f, 2, 64, vec![(0x103f, 1), (0x1040, 1)], vec![8]),
        (0x103e, 67, 64, vec![(0x103e, 2), (0x1040, 64), (0x1080, 1)], vec![72]),
        (0x1004, 512, 64, around, vec![252, 256, 4]),
        (0x1000, 4096, 64, all(0x1000, 64, 64), vec![256; 16]),
        (0x1000, 4096, 256, all(0x1000, 16, 256), vec![256; 16]),
        (0x1000, 4096, 4096, all(0x1000, 1, 4096), vec![256; 16]),
        (0x1f80, 128, 4096, vec![(0x1f80, 128)], vec![128]),
    ];
    for (offset, len, boundary, parts, sizes) in rows {
        let row = format!("{len} bytes at {offset:#x}, split at {boundary}");
        let mut plant = agents(2, PeerToPeer::Split(boundary));
        let (me, bar) = (plant.function(0).0, plant.function(1).1);
        let mut request = read(me, 9, bar + offset, len);
        request.set_attr(Attr::RO).unwrap();
        request.set_tc(3).unwrap();
        plant.send(0, request, &[]);
        plant.settle();
        let asked = received(&mut plant, 1, Class::NonPosted);
        let got: Vec<_> = asked.iter().map(|(part, _)| part.byte_enables().range(part.address() - bar)).collect();
        assert_eq!(got, parts, "{row}");
        assert!(asked.iter().all(|(part, _)| part.requester() == ROOT && part.tc() == 3), "{row}");
        assert!(asked.iter().all(|(part, _)| part.attr() == Attr::RO), "{row}");
        let completions = received(&mut plant, 0, Class::Completion);
        assert_eq!(completions.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), sizes, "{row}");
        assert!(completions.iter().all(|(header, _)| header.completer() == ROOT), "{row}");
        assert_eq!(joined(&request, &completions), pattern(offset, len), "{row}");
        assert_eq!(plant.faults(), Default::default(), "{row}");
        assert!(plant.fabric().is_at_rest(), "{row}");
    }
}

#[test]
fn a_read_of_nothing_goes_on_as_one() {
    let mut plant = agents(2, PeerToPeer::Split(64));
    let (me, bar) = (plant.function(0).0, plant.function(1).1);
    plant.send(0, read(me, 9, bar + 0x40, 0), &[]);
    plant.settle();
    let asked = received(&mut plant, 1, Class::NonPosted);
    assert_eq!(asked.iter().map(|(part, _)| (part.length_dw(), part.first_be())).collect::<Vec<_>>(), [(1, 0)]);
    let completions = received(&mut plant, 0, Class::Completion);
    assert_eq!(completions.iter().map(|(header, _)| header.byte_count()).collect::<Vec<_>>(), [1]);
}

/// What the target does, how the read ends, what is found, and the bit of Secondary Status at the root port above the target.
#[test]
fn errors_are_handed_on() {
    #[rustfmt::skip]
    let table = [
        (PeerToPeer::Split(64), Manner::Answer, 0x2_0000, Some(Status::UnsupportedRequest), ErrorKind::ReceivedUnsupported, 29),
        (PeerToPeer::Split(64), Manner::Abort,  0,        Some(Status::CompleterAbort),     ErrorKind::ReceivedAbort,       28),
        (PeerToPeer::Split(64), Manner::Mute,   0,        None,                             ErrorKind::CompletionTimeout,   0),
        (PeerToPeer::Refused,   Manner::Answer, 0,        Some(Status::UnsupportedRequest), ErrorKind::UnsupportedRequest,  0),
        (PeerToPeer::Split(96), Manner::Answer, 0,        Some(Status::UnsupportedRequest), ErrorKind::UnsupportedRequest,  0),
    ];
    for (mode, manner, offset, status, kind, bit) in table {
        let row = format!("{mode:?} {manner:?} {offset:#x}");
        let mut plant = agents(2, mode);
        let (me, bar) = (plant.function(0).0, plant.function(1).1);
        let above = plant.bridges()[1];
        for id in plant.bridges() {
            plant.clear_errors(id);
        }
        plant.agent(1, |agent, _| agent.manner = manner);
        let before = plant.fabric().detected(kind);
        plant.send(0, read(me, 9, bar + offset, 256), &[]);
        plant.settle();
        assert!(plant.fabric().detected(kind) > before, "{row}");
        let completions = received(&mut plant, 0, Class::Completion);
        let got: Vec<_> = completions.iter().map(|(header, _)| (header.status(), header.tag())).collect();
        assert_eq!(got, status.map(|status| (status, 9)).into_iter().collect::<Vec<_>>(), "{row}");
        let secondary = plant.config_read(above, 7) & 0x3000_0000;
        assert_eq!(secondary, if bit == 0 { 0 } else { 1 << bit }, "{row}");
        assert!(plant.fabric().is_at_rest(), "{row}");
        // Nothing stays behind that would keep the next from being carried out.
        if mode == PeerToPeer::Split(64) {
            plant.agent(1, |agent, _| agent.manner = Manner::Answer);
            let request = read(me, 10, bar, 256);
            plant.send(0, request, &[]);
            plant.settle();
            let completions = received(&mut plant, 0, Class::Completion);
            assert_eq!(joined(&request, &completions), pattern(0, 256), "{row}");
        }
    }
}

#[test]
fn poisoned_data_stays_poisoned() {
    let mut plant = agents(2, PeerToPeer::Split(64));
    let ((me, _), (target, bar)) = (plant.function(0), plant.function(1));
    plant.agent(1, |agent, _| agent.manner = Manner::Mute);
    plant.send(0, read(me, 9, bar, 512), &[]);
    while plant.agent(1, |agent, _| agent.received.len()) < 8 {
        plant.simulation.step();
    }
    for (number, (request, _)) in received(&mut plant, 1, Class::NonPosted).iter().enumerate() {
        let mut answer = Header::completion_for(request, target, Status::Successful).unwrap();
        answer.set_ep(number == 5);
        plant.send(1, answer, &[number as u8; 64]);
    }
    plant.settle();
    let completions = received(&mut plant, 0, Class::Completion);
    assert_eq!(completions.iter().map(|(header, _)| header.ep()).collect::<Vec<_>>(), [false, true]);
    // By the root port, and by the requester.
    assert_eq!(plant.fabric().detected(ErrorKind::PoisonedTlp), 2);
}

/// Parts of two requesters' reads take turns once there are more of them than tags, and each requester gets its own.
#[test]
fn two_requesters_at_once() {
    let mut plant = agents(3, PeerToPeer::Split(64));
    let bar = plant.function(2).1;
    let requests: Vec<(usize, Header)> = (0..8)
        .map(|number| {
            let agent = number % 2;
            let address = bar + 0x4000 * agent as u64 + number as u64 / 2 * 4096;
            (agent, read(plant.function(agent).0, number as u16, address, 4096))
        })
        .collect();
    for (agent, request) in &requests {
        plant.send(*agent, *request, &[]);
    }
    plant.settle();
    let asked = received(&mut plant, 2, Class::NonPosted);
    assert_eq!(asked.len(), 8 * 64);
    let halves: Vec<bool> = asked.iter().map(|(part, _)| part.address() >= bar + 0x4000).collect();
    let turns = halves.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns > 200, "{turns}");
    let completions: Vec<_> = (0..2).map(|agent| received(&mut plant, agent, Class::Completion)).collect();
    for (agent, request) in &requests {
        let own: Vec<_> = completions[*agent].iter().filter(|(it, _)| it.tag() == request.tag()).cloned().collect();
        assert_eq!(joined(request, &own), pattern(0, 4096));
    }
    assert!(plant.fabric().is_at_rest());
}

/// More reads than the root complex carries out at a time, of two requesters: none is lost, and each is answered once.
#[test]
fn many_reads_wait_in_their_buffers() {
    for boundary in [64, 4096] {
        let mut plant = agents(3, PeerToPeer::Split(boundary));
        let bar = plant.function(2).1;
        for tag in 0..100 {
            for agent in 0..2 {
                let me = plant.function(agent).0;
                plant.send(agent, read(me, tag, bar + u64::from(tag % 8) * 4096, 4096), &[]);
            }
        }
        plant.settle();
        for agent in 0..2 {
            let completions = received(&mut plant, agent, Class::Completion);
            assert_eq!(completions.iter().map(|(_, payload)| payload.len()).sum::<usize>(), 100 * 4096);
            let mut last: Vec<u16> =
                completions.iter().filter(|(it, _)| it.byte_count() == 256).map(|(it, _)| it.tag()).collect();
            last.sort_unstable();
            assert_eq!(last, (0..100).collect::<Vec<_>>());
        }
        assert_eq!(plant.faults(), Default::default());
        assert!(plant.fabric().is_at_rest());
    }
}

/// Writes go on as they are, or in parts where the link takes no such payload, in their order; a read behind them finds them done.
#[test]
fn writes_go_on_in_their_order() {
    // Offset and length, the Max_Payload_Size of the way out in its encoding, and the parts.
    type Written = (u64, u32, u32, Vec<(u64, u32)>);
    let table: [Written; 6] = [
        (0, 256, 1, vec![(0, 256)]),
        (4, 4, 1, vec![(4, 4)]),
        (0, 256, 0, vec![(0, 128), (128, 128)]),
        (0x44, 200, 0, vec![(0x44, 60), (0x80, 128), (0x100, 12)]),
        (0x7f, 253, 0, vec![(0x7f, 1), (0x80, 128), (0x100, 124)]),
        (0x21, 3, 0, vec![(0x21, 3)]),
    ];
    for (offset, len, size, parts) in table {
        let row = format!("{len} bytes at {offset:#x}, Max_Payload_Size {size}");
        let mut plant = agents(2, PeerToPeer::Split(64));
        let ((me, _), (target, bar)) = (plant.function(0), plant.function(1));
        for id in [plant.bridges()[1], target] {
            let at = plant.capability(id, 0x10) + 2;
            let before = plant.config_read(id, at) & 0xff1f;
            plant.config_write(id, at, 0x3, before | size << 5);
        }
        plant.agent(1, |agent, _| (agent.manner, agent.received) = (Manner::Remember, Vec::new()));
        let data: Vec<u8> = (0..len).map(|byte| byte as u8 ^ 0x5a).collect();
        let write = Header::mem_write_bytes(me, 0, bar + offset, len).unwrap();
        let skip = (offset & 3) as usize;
        let mut payload = vec![0; write.payload_len()];
        payload[skip..skip + data.len()].copy_from_slice(&data);
        let early = Header::mem_write_bytes(me, 0, bar + 0x800, 4).unwrap();
        let request = read(me, 9, bar + offset, len);
        plant.send(0, early, &[1; 4]);
        plant.send(0, write, &payload);
        plant.send(0, request, &[]);
        plant.settle();
        let posted = received(&mut plant, 1, Class::Posted);
        let got: Vec<_> = posted.iter().map(|(part, _)| part.byte_enables().range(part.address() - bar)).collect();
        assert_eq!(got, [vec![(0x800, 4)], parts].concat(), "{row}");
        assert!(posted.iter().all(|(part, _)| part.requester() == me), "{row}");
        let completions = received(&mut plant, 0, Class::Completion);
        assert_eq!(joined(&request, &completions), data, "{row}");
        assert_eq!(plant.faults(), Default::default(), "{row}");
        assert!(plant.fabric().is_at_rest(), "{row}");
    }
}

/// Access control of a switch sends requests to a peer up: the root complex sends them down again. It's the root complex that asks the peer then.
#[test]
fn what_access_control_redirects_comes_back() {
    for (services, redirected) in [(0, false), (1 << 2, true)] {
        let shape = Shape::Switch(vec![Shape::Agent, Shape::Agent]);
        let mut plant = plant(&[shape], &spec(PeerToPeer::Split(64)));
        let ((me, _), (_, bar)) = (plant.function(0), plant.function(1));
        let port = plant.bridges()[2];
        let at = plant.extended(port, ACS);
        plant.config_write(port, at + 1, 0xc, services << 16);
        let recorder = Recorder::default();
        plant.fabric().set_probe(Some(Box::new(recorder.clone())));
        let request = read(me, 9, bar + 0x100, 128);
        plant.send(0, Header::mem_write_bytes(me, 0, bar, 4).unwrap(), &[1; 4]);
        plant.send(0, request, &[]);
        plant.settle();
        let asked = received(&mut plant, 1, Class::NonPosted);
        let askers: Vec<Bdf> = asked.iter().map(|(part, _)| part.requester()).collect();
        assert_eq!(askers, if redirected { vec![ROOT; 2] } else { vec![me] });
        assert_eq!(received(&mut plant, 1, Class::Posted).len(), 1);
        let completions = received(&mut plant, 0, Class::Completion);
        assert_eq!(joined(&request, &completions), pattern(0x100, 128));
        let on_top = recorder.take().transmitted.iter().filter(|seen| seen.link == 0).count();
        // Write and read up and down, two parts, their completions, and one for the requester.
        assert_eq!(on_top, if redirected { 2 + 1 + 2 + 2 + 1 } else { 0 });
        assert_eq!(plant.faults(), Default::default());
        assert!(plant.fabric().is_at_rest());
    }
}

/// A translated request stays one; with Translation Blocking at the root port it doesn't get through.
#[test]
fn access_control_of_the_root_port_comes_first() {
    for (services, at, passes) in [
        (0, AddressType::Translated, true),
        (1 << 1, AddressType::Translated, false),
        (1 << 1, AddressType::Untranslated, true),
    ] {
        let mut plant = agents(2, PeerToPeer::Split(64));
        let ((me, _), (_, bar)) = (plant.function(0), plant.function(1));
        let port = plant.bridges()[0];
        let place = plant.extended(port, ACS);
        plant.config_write(port, place + 1, 0xc, services << 16);
        let mut request = read(me, 9, bar, 128);
        request.set_at(at).unwrap();
        plant.send(0, request, &[]);
        plant.settle();
        let asked = received(&mut plant, 1, Class::NonPosted);
        assert_eq!(
            asked.iter().map(|(part, _)| part.at()).collect::<Vec<_>>(),
            if passes { vec![at; 2] } else { vec![] }
        );
        let status = received(&mut plant, 0, Class::Completion)[0].0.status();
        assert_eq!(status, if passes { Status::Successful } else { Status::CompleterAbort });
    }
}

/// When containment begins at a root port, what the CPUs and peers have asked for by it ends at once, as DPC Control says; what is asked later, too.
#[test]
fn containment_ends_what_is_out() {
    for (control, status) in [(0, Status::CompleterAbort), (1 << 2, Status::UnsupportedRequest)] {
        let mut plant = agents(2, PeerToPeer::Split(64));
        let ((me, _), (_, bar)) = (plant.function(0), plant.function(1));
        let port = plant.bridges()[1];
        let dpc = plant.extended(port, DPC) + 1;
        plant.agent(1, |agent, _| agent.manner = Manner::Mute);
        plant.config_write(port, dpc, 0xc, (2 | control) << 16);
        plant.send(0, read(me, 9, bar, 512), &[]);
        let begun = plant.simulation.fabric().now();
        let error = plant.run(move |host| async move {
            let other = host.clone();
            let trigger = async move {
                other.sleep(Time::us(5)).await;
                other.config_write_bytes(port, dpc, 0xc, (2 | control | 1 << 6) << 16).await
            };
            let (read, written) = futures(host.read32(bar), trigger).await;
            written.unwrap();
            read.unwrap_err()
        });
        let took = plant.simulation.fabric().now().since(begun);
        assert!(took < Time::us(20), "{took:?}");
        let expected = match status {
            Status::CompleterAbort => AccessError::CompleterAbort(bar),
            _ => AccessError::UnsupportedRequest(bar),
        };
        assert_eq!(error, expected);
        plant.send(0, read(me, 10, bar, 4), &[]);
        plant.settle();
        let ends: Vec<_> = received(&mut plant, 0, Class::Completion)
            .iter()
            .map(|(header, _)| (header.status(), header.tag()))
            .collect();
        assert_eq!(ends, [(status, 9), (status, 10)]);
        assert_eq!(plant.fabric().detected(ErrorKind::CompletionTimeout), 0);
        assert!(plant.fabric().is_at_rest());
    }
}

/// Both at once.
async fn futures<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |context| {
        if first.is_none()
            && let std::task::Poll::Ready(value) = a.as_mut().poll(context)
        {
            first = Some(value);
        }
        if second.is_none()
            && let std::task::Poll::Ready(value) = b.as_mut().poll(context)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => std::task::Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

/// The requester's link goes down and comes up while its read is carried out: nothing is answered, and nothing stays behind.
#[test]
fn who_was_reset_gets_no_answer() {
    let mut plant = agents(2, PeerToPeer::Split(64));
    let (me, bar) = (plant.function(0).0, plant.function(1).1);
    let port = plant.bridges()[0];
    for tag in 0..60 {
        plant.send(0, read(me, tag, bar, 4096), &[]);
    }
    plant.run(move |host| async move {
        host.sleep(Time::us(2)).await;
        for value in [1 << 22, 0] {
            host.config_write_bytes(port, 15, 0xc, value).await.unwrap();
        }
        host.sleep(Time::ms(2)).await;
    });
    plant.settle();
    let answered = received(&mut plant, 0, Class::Completion).len();
    assert!(answered < 60 * 16, "{answered}");
    assert!(plant.fabric().is_at_rest(), "{:?}", plant.fabric());
    assert_eq!(plant.faults(), Default::default());
}

/// One request: who sends it to whom, whether it's a write, offset and length, and steps of the fabric until the next.
type Step = (usize, usize, bool, u64, u32, u8);

fn step() -> impl Strategy<Value = Step> {
    let range = (0..16_u64, 0..4096_u64, 1..=4096_u32)
        .prop_map(|(page, offset, len)| (page * 4096 + offset, len.min(4096 - offset as u32)));
    (0..4_usize, 0..3_usize, any::<bool>(), range, 0..40_u8).prop_map(|(from, to, write, (offset, len), pause)| {
        // A write within Max_Payload_Size; nobody asks himself.
        let len = if write { len.min(120) } else { len };
        (from, (from + 1 + to) % 4, write, offset, len, pause)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any requests of four agents, two of them below one switch: each read is answered once, with the right data; each write arrives; all credits
    /// are back.
    #[test]
    fn nothing_is_lost_between_root_ports(
        steps in proptest::collection::vec(step(), 1..120),
        boundary in (6..=12_u32).prop_map(|bits| 1 << bits),
        max_payload in prop_oneof![Just(128_u32), Just(512)],
        exact in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let shapes = [Shape::Agent, Shape::Switch(vec![Shape::Agent, Shape::Agent]), Shape::Agent];
        let mut spec = Spec { max_payload, seed, ..spec(PeerToPeer::Split(boundary)) };
        spec.timing.completion_timeout_us = 50_000;
        if exact {
            spec.link.data_link = DataLink::Exact;
        }
        spec.link.credits.nonposted_headers = 2;
        let mut plant = plant(&shapes, &spec);
        for (tag, &(from, to, write, offset, len, pause)) in (0_u16..).zip(&steps) {
            let (me, bar) = (plant.function(from).0, plant.function(to).1);
            let header = if write {
                Header::mem_write_bytes(me, 0, bar + offset, len).unwrap()
            } else {
                read(me, tag, bar + offset, len)
            };
            plant.send(from, header, &vec![0; header.payload_len()]);
            for _ in 0..pause {
                plant.simulation.step();
            }
        }
        plant.settle();
        let completions: Vec<_> = (0..4).map(|agent| received(&mut plant, agent, Class::Completion)).collect();
        for (tag, &(from, to, _, offset, len, _)) in (0_u16..).zip(&steps).filter(|(_, step)| !step.2) {
            let (me, bar) = (plant.function(from).0, plant.function(to).1);
            let own: Vec<_> = completions[from].iter().filter(|(it, _)| it.tag() == tag).cloned().collect();
            prop_assert_eq!(joined(&read(me, tag, bar + offset, len), &own), pattern(offset, len));
        }
        for agent in 0..4 {
            let bytes: usize = received(&mut plant, agent, Class::Posted).iter().map(|(it, _)| it.payload_len()).sum();
            let to_it = steps.iter().filter(|step| step.2 && step.1 == agent);
            let sent: usize = to_it.map(|step| read(ROOT, 0, step.3, step.4).length_dw() as usize * 4).sum();
            prop_assert_eq!(bytes, sent);
        }
        prop_assert_eq!(plant.faults(), Default::default());
        prop_assert!(plant.fabric().is_at_rest(), "{:?}", plant.fabric());
    }
}

/// What matters of a TLP here: its kind, length, byte count and Lower Address of a completion; the offset of a request, and whether it's the first one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Request { kind: Kind, length_dw: u32, offset: u64, own: bool },
    Completion { kind: Kind, length_dw: u32, byte_count: u32, lower_address: u8, own: bool },
}

/// `base` is the address of the target, `me` who asked first.
fn look(header: &Header, base: u64, me: Bdf) -> Look {
    let (kind, length_dw, own) = (header.kind(), header.length_dw(), header.requester() == me);
    if kind.is_completion() {
        let (byte_count, lower_address) = (header.byte_count(), header.lower_address());
        return Look::Completion { kind, length_dw, byte_count, lower_address, own };
    }
    // Whether it has a 32-bit or a 64-bit address depends on where the BAR lies, which is elsewhere here.
    let kind = if kind == Kind::MRd64 { Kind::MRd32 } else { kind };
    Look::Request { kind, length_dw, offset: header.address() - base, own }
}

/// A read of 512 bytes by a peer, captured on its way through a root complex and through a PLX switch: asked the same, and with the target
/// answering as it did there, our fabric sends the same.
#[test]
fn captured_paths_are_reproduced() {
    let cases = [
        ("mrd-512byte-rc.pcap", vec![Shape::Agent, Shape::Agent], (8, 8, 2)),
        ("mrd-512byte-plx.pcap", vec![Shape::Switch(vec![Shape::Agent, Shape::Agent])], (1, 2, 2)),
    ];
    for (name, shapes, counts) in cases {
        let path = folder().join(name);
        let Ok(file) = std::fs::read(&path) else {
            println!("SKIPPED: no NetTLP capture {}", path.display());
            continue;
        };
        let headers: Vec<(bool, Header)> = packets(&file)
            .into_iter()
            .filter_map(|packet| Some((is_tagged(packet), Header::decode(tlp(packet)?).ok()?)))
            .collect();
        let of = |sent: bool, class: Class| -> Vec<Header> {
            headers.iter().filter(|(tagged, it)| *tagged == sent && it.class() == class).map(|(_, it)| *it).collect()
        };
        let (asked, passed) = (of(true, Class::NonPosted), of(false, Class::NonPosted));
        let (answered, returned) = (of(true, Class::Completion), of(false, Class::Completion));
        assert_eq!((asked.len(), passed.len(), answered.len(), returned.len()), (1, counts.0, counts.1, counts.2));
        let (their, base) = (asked[0].requester(), asked[0].address());

        let mut plant = plant(&shapes, &spec(PeerToPeer::Split(64)));
        let ((me, _), (target, bar)) = (plant.function(0), plant.function(1));
        plant.agent(1, |agent, _| agent.manner = Manner::Mute);
        let (_, len) = asked[0].byte_enables().range(base);
        plant.send(0, read(me, asked[0].tag(), bar, len), &[]);
        while plant.agent(1, |agent, _| agent.received.len()) < passed.len() {
            assert!(plant.simulation.step(), "{name}: too few requests");
        }
        let ours: Vec<Header> = received(&mut plant, 1, Class::NonPosted).into_iter().map(|(it, _)| it).collect();
        let looks = |all: &[Header], base, me| all.iter().map(|it| look(it, base, me)).collect::<Vec<_>>();
        assert_eq!(looks(&ours, bar, me), looks(&passed, base, their), "{name}");

        // The target answers in the order in which it did: the tags of parts are ours.
        for captured in &answered {
            let place = passed.iter().position(|it| it.tag() == captured.tag()).expect("an answer to a request");
            let request = ours[place];
            let from = request.length_dw() - captured.byte_count() / 4;
            let length_dw = captured.length_dw();
            let made = Header::completion_part(&request, target, Status::Successful, from, length_dw).unwrap();
            assert_eq!(look(&made, 0, me), look(captured, 0, their), "{name}");
            let offset = request.address() - bar + u64::from(from) * 4;
            plant.send(1, made, &pattern(offset, length_dw * 4));
        }
        plant.settle();
        let got = received(&mut plant, 0, Class::Completion);
        let theirs: Vec<Header> = got.iter().map(|(it, _)| *it).collect();
        assert_eq!(looks(&theirs, 0, me), looks(&returned, 0, their), "{name}");
        // The root complex answers by its own ID, here and there; the switch leaves the target's.
        let by = |all: &[Header], target: Bdf| all.iter().map(|it| it.completer() == target).collect::<Vec<_>>();
        assert_eq!(by(&theirs, target), by(&returned, answered[0].completer()), "{name}");
        assert_eq!(joined(&read(me, asked[0].tag(), bar, len), &got), pattern(0, len), "{name}");
        assert_eq!(plant.faults(), Default::default());
    }
}
