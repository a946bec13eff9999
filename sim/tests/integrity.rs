//! Poisoned data, digests, payloads that are too large: who finds them, and what becomes of the TLP.

mod common;

use std::sync::{Arc, Mutex};

use common::agent::Manner;
use common::plant::{Plant, Shape, Spec, plant};
use mlx5_twin_sim::fabric::{Dma, ErrorKind};
use mlx5_twin_sim::host::AccessError;
use mlx5_twin_sim::probe::{Probe, Transmit};
use mlx5_twin_sim::tlp::{Bdf, Header, Prefixes, Status, Tlp, ecrc};
use proptest::prelude::*;

const PLACE: u64 = 0x4000;
/// AER: Capabilities and Control, with ECRC Generation Enable and ECRC Check Enable; Correctable Error Mask.
const CONTROL: u16 = 0x18;
const GENERATE: u32 = 1 << 6;
const CHECK: u32 = 1 << 8;
const CORRECTABLE_MASK: u16 = 0x14;

/// A switch with two agents: gives all bridges. Advisory errors are unmasked.
fn pair() -> (Plant, Vec<Bdf>) {
    let mut plant = plant(&[Shape::Switch(vec![Shape::Agent, Shape::Agent])], &Spec::default());
    let bridges = plant.bridges();
    for id in plant.found.iter().map(|found| found.id).collect::<Vec<_>>() {
        plant.write_errors(id, CORRECTABLE_MASK, 0);
        plant.clear_errors(id);
    }
    (plant, bridges)
}

fn memory(plant: &Plant) -> [u8; 4] {
    let mut bytes = [0; 4];
    plant.simulation.fabric().memory(plant.root).unwrap().read(PLACE, &mut bytes).unwrap();
    bytes
}

/// Sends a TLP from agent `number`, with prefixes and digest.
fn send(plant: &mut Plant, number: usize, header: Header, prefixes: &[u8], digest: Option<u32>) {
    plant.agent(number, |agent, core| {
        let tlp = core.create(header);
        core.payload_mut(tlp).fill(0x5a);
        core.decorate(tlp, prefixes, digest.map(u32::to_be_bytes)).unwrap();
        core.send(agent.function.port(), tlp);
    });
    plant.settle();
}

fn write_to(plant: &Plant, address: u64, len: u32) -> Header {
    Header::mem_write_bytes(plant.function(0).0, 0, address, len).unwrap()
}

/// Uncorrectable and correctable status of these functions.
fn status(plant: &mut Plant, ids: &[Bdf]) -> Vec<(u32, u32)> {
    ids.iter().map(|&id| plant.errors(id)).map(|errors| (errors.uncorrectable, errors.correctable)).collect()
}

const NOTHING: (u32, u32) = (0, 0);
const POISONED: u32 = 1 << 12;
const MALFORMED: u32 = 1 << 18;
const ECRC: u32 = 1 << 19;
const ADVICE: u32 = 1 << 13;

#[test]
fn a_poisoned_write_changes_no_memory_and_is_told_at_each_hop() {
    let (mut plant, bridges) = pair();
    let mut header = write_to(&plant, PLACE, 4);
    header.set_ep(true);
    send(&mut plant, 0, header, &[], None);
    assert_eq!(memory(&plant), [0; 4]);
    // The root port doesn't use the data, so for it it's no advice; the switch hands it on.
    let expected = [(POISONED, 0), NOTHING, (POISONED, ADVICE), NOTHING];
    assert_eq!(status(&mut plant, &bridges), expected, "root port, upstream port, both downstream ports");
    assert_eq!(plant.config_read(bridges[0], 7) >> 31, 1, "Detected Parity Error on the side below");
    assert_eq!(plant.fabric().detected(ErrorKind::PoisonedTlp), 2);
}

#[test]
fn a_poisoned_write_reaches_no_bar() {
    let (mut plant, bridges) = pair();
    let (peer, bar) = plant.function(1);
    let mut header = write_to(&plant, bar, 4);
    header.set_ep(true);
    send(&mut plant, 0, header, &[], None);
    let ids = [bridges[2], bridges[3], peer];
    assert_eq!(status(&mut plant, &ids), [(POISONED, ADVICE), NOTHING, (POISONED, 0)]);
    assert_eq!(plant.config_read(peer, 1) >> 31, 1, "Detected Parity Error");
    assert_eq!(plant.fabric().in_flight(), 0);
}

/// What's poisoned in a request that is answered: the answer says Unsupported Request.
#[test]
fn a_poisoned_request_is_answered() {
    let (mut plant, bridges) = pair();
    let me = plant.function(0).0;
    let mut header = Header::atomic(mlx5_twin_sim::tlp::Atomic::Swap, me, 3, PLACE, 4).unwrap();
    header.set_ep(true);
    send(&mut plant, 0, header, &[], None);
    let answer = plant.agent(0, |agent, _| agent.received.pop().unwrap().header);
    assert_eq!((answer.status(), answer.tag(), memory(&plant)), (Status::UnsupportedRequest, 3, [0; 4]));
    assert_eq!(plant.errors(bridges[0]).uncorrectable, POISONED);
    // A read that's marked has no data, and so none that is poisoned.
    let mut read = Header::mem_read_bytes(me, 4, PLACE, 4).unwrap();
    read.set_ep(true);
    send(&mut plant, 0, read, &[], None);
    let answer = plant.agent(0, |agent, _| agent.received.pop().unwrap().header);
    assert_eq!((answer.status(), answer.tag()), (Status::Successful, 4));
}

#[test]
fn a_poisoned_completion_fails_the_hosts_read() {
    let (mut plant, bridges) = pair();
    let bar = plant.function(0).1;
    plant.agent(0, |agent, _| {
        agent.manner = Manner::Mute;
        agent.received.clear();
    });
    let host = plant.simulation.host(plant.root);
    let result = Arc::new(Mutex::new(None));
    let out = Arc::clone(&result);
    plant.simulation.spawn(async move {
        let read = host.read32(bar).await;
        *out.lock().unwrap() = Some(read);
    });
    while plant.agent(0, |agent, _| agent.received.is_empty()) {
        assert!(plant.simulation.step());
    }
    let (request, me) = plant.agent(0, |agent, _| (agent.received[0].header, agent.function.id()));
    let mut answer = Header::completion_for(&request, me, Status::Successful).unwrap();
    answer.set_ep(true);
    send(&mut plant, 0, answer, &[], None);
    assert_eq!(*result.lock().unwrap(), Some(Err(AccessError::Poisoned(bar))));
    assert_eq!(plant.errors(bridges[0]).uncorrectable, POISONED);
    // The rest of it, if more came, would be nobody's.
    answer.set_ep(false);
    send(&mut plant, 0, answer, &[], None);
    assert_eq!(plant.faults().unexpected_completion, 1);
}

/// Who has a smaller `Max_Payload_Size` than the sender takes the write for malformed: the switch, or the function at the end.
#[test]
fn payloads_that_are_too_large() {
    for (at_switch, at_peer) in [(128, 256), (256, 128), (256, 256)] {
        let (mut plant, bridges) = pair();
        let (peer, bar) = plant.function(1);
        let set = |plant: &mut Plant, id, payload: u32| {
            let at = plant.capability(id, 0x10) + 2;
            let before = plant.config_read(id, at) & 0xffff & !0xe0;
            plant.config_write(id, at, 0x3, before | (payload / 128).ilog2() << 5);
        };
        set(&mut plant, bridges[2], at_switch);
        set(&mut plant, peer, at_peer);
        plant.agent(1, |agent, _| agent.received.clear());
        let header = write_to(&plant, bar, 256);
        send(&mut plant, 0, header, &[], None);
        let expected = [
            if at_switch == 128 { (MALFORMED, 0) } else { NOTHING },
            if at_switch == 256 && at_peer == 128 { (MALFORMED, 0) } else { NOTHING },
        ];
        assert_eq!(status(&mut plant, &[bridges[2], peer]), expected);
        assert_eq!(plant.faults().malformed, u64::from(at_switch.min(at_peer) == 128));
        // A read may ask for more than that.
        let read = Header::mem_read_bytes(plant.function(0).0, 9, PLACE, 512).unwrap();
        send(&mut plant, 0, read, &[], None);
        assert_eq!(plant.faults().malformed, u64::from(at_switch.min(at_peer) == 128));
    }
}

/// Who checks a wrong digest, and what becomes of the write.
#[test]
fn wrong_digests() {
    for (switch, root) in [(false, false), (true, false), (false, true), (true, true)] {
        let (mut plant, bridges) = pair();
        plant.write_errors(bridges[2], CONTROL, if switch { CHECK } else { 0 });
        plant.write_errors(bridges[0], CONTROL, if root { CHECK } else { 0 });
        let mut header = write_to(&plant, PLACE, 4);
        header.set_td(true);
        let right = ecrc(&Prefixes::NONE, &header, &[0x5a; 4]);
        send(&mut plant, 0, header, &[], Some(right));
        assert_eq!(memory(&plant), [0x5a; 4]);
        let ids = [bridges[0], bridges[2]];
        assert_eq!(status(&mut plant, &ids), [NOTHING; 2]);
        let root_node = plant.root;
        plant.fabric().memory_mut(root_node).unwrap().write(PLACE, &[0; 4]).unwrap();
        send(&mut plant, 0, header, &[], Some(right ^ 1 << 7));
        assert_eq!(memory(&plant) == [0; 4], root, "the switch hands it on");
        let told = [if root { (ECRC, 0) } else { NOTHING }, if switch { (ECRC, ADVICE) } else { NOTHING }];
        assert_eq!(status(&mut plant, &ids), told);
    }
}

#[test]
fn a_digest_that_is_announced_and_missing_is_malformed() {
    let (mut plant, bridges) = pair();
    let mut header = write_to(&plant, PLACE, 4);
    header.set_td(true);
    send(&mut plant, 0, header, &[], None);
    assert_eq!(plant.errors(bridges[2]).uncorrectable, MALFORMED);
    assert_eq!(memory(&plant), [0; 4]);
}

/// Bytes of every TLP on the wire, and whether its digest is right.
#[derive(Clone, Default)]
struct Digests(Arc<Mutex<Vec<Option<bool>>>>);

impl Probe for Digests {
    fn transmit(&mut self, event: &Transmit<'_>) {
        let mut bytes = event.header.to_vec();
        bytes.extend_from_slice(event.payload);
        bytes.extend(event.digest.into_iter().flatten());
        self.0.lock().unwrap().push(Tlp::parse(&bytes).unwrap().ecrc_is_good());
    }
}

/// With generation and check on everywhere, all TLPs have a digest, all are right, and nobody finds an error.
#[test]
fn digests_from_end_to_end() {
    let (mut plant, _) = pair();
    let digests = Digests::default();
    let (bar, ids) = (plant.function(0).1, plant.found.iter().map(|found| found.id).collect::<Vec<_>>());
    for &id in &ids {
        plant.write_errors(id, CONTROL, GENERATE | CHECK);
    }
    plant.fabric().set_probe(Some(Box::new(digests.clone())));
    plant.agent(0, |agent, core| {
        Dma::write(core, &agent.function, PLACE, &[7; 600]).unwrap();
        agent.dma_read(core, PLACE, 600, 1);
    });
    plant.run(move |host| async move {
        host.write32(bar, 1).await.unwrap();
        host.read32(bar).await.unwrap();
    });
    plant.settle();
    let ended = plant.agent(0, |agent, _| std::mem::take(&mut agent.ended));
    assert_eq!(ended[0].result, Ok(vec![7; 600]));
    let seen = std::mem::take(&mut *digests.0.lock().unwrap());
    assert!(seen.len() > 20 && seen.iter().all(|digest| *digest == Some(true)), "{seen:?}");
    for id in ids {
        assert_eq!(status(&mut plant, &[id]), [NOTHING], "{id}");
    }
}

/// A card that's torn out of its slot: the port above finds its link down, and nobody had told it so.
#[test]
fn a_torn_out_card_is_a_surprise() {
    let mut plant = plant(&[Shape::Switch(vec![Shape::HotPlug])], &Spec::default());
    let port = plant.found.iter().find(|found| found.hot_plug).unwrap().id;
    let set_present = |plant: &mut Plant, present| {
        plant.agent(0, |agent, core| core.set_present(agent.function.port(), present));
        plant.settle();
    };
    set_present(&mut plant, true);
    assert_eq!(plant.errors(port).uncorrectable, 0);
    set_present(&mut plant, false);
    assert_eq!(plant.errors(port).uncorrectable, 1 << 5);
    assert_eq!(plant.fabric().detected(ErrorKind::SurpriseDown), 1);
    // Powered off first, it's none.
    plant.clear_errors(port);
    set_present(&mut plant, true);
    let pcie = plant.capability(port, 0x10);
    plant.config_write(port, pcie + 6, 0x3, 1 << 10);
    plant.settle();
    set_present(&mut plant, false);
    assert_eq!(plant.errors(port).uncorrectable, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is marked on a write, and whoever checks it: it's written, or somebody has found an error, and nothing is left over.
    #[test]
    fn nothing_is_lost_in_silence(
        writes in prop::collection::vec((any::<bool>(), prop::option::of(any::<bool>()), 0..6_usize, 1..=128_u32), 1..20),
        checks in any::<[bool; 2]>(),
    ) {
        let (mut plant, bridges) = pair();
        for (&port, check) in [bridges[0], bridges[2]].iter().zip(checks) {
            plant.write_errors(port, CONTROL, if check { CHECK } else { 0 });
        }
        for (poisoned, digest, prefixes, dwords) in writes {
            let before: u64 = ErrorKind::all().map(|kind| plant.fabric().detected(kind)).sum();
            let root = plant.root;
            plant.fabric().memory_mut(root).unwrap().write(PLACE, &[0; 4]).unwrap();
            let mut header = write_to(&plant, PLACE, dwords * 4);
            header.set_ep(poisoned);
            header.set_td(digest.is_some());
            let prefix = [0x9e, 0, 0, 1].repeat(prefixes);
            let parsed = Prefixes::parse(&prefix).unwrap_or_default();
            let right = ecrc(&parsed, &header, &vec![0x5a; dwords as usize * 4]);
            send(&mut plant, 0, header, &prefix, digest.map(|good| if good { right } else { !right }));
            let found = ErrorKind::all().map(|kind| plant.fabric().detected(kind)).sum::<u64>() - before;
            let bad_digest = digest == Some(false);
            let malformed = dwords * 4 > 256 || prefixes > 4;
            let dropped = malformed || poisoned || bad_digest && checks[0];
            prop_assert_eq!(memory(&plant) == [0x5a; 4], !dropped);
            let noticed = malformed || poisoned || bad_digest && (checks[0] || checks[1]);
            prop_assert_eq!(found > 0, noticed);
            prop_assert_eq!(plant.fabric().in_flight(), 0);
        }
    }
}
