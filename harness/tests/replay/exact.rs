//! Our own captures: the same TLPs at the same picosecond.

use std::sync::OnceLock;

use mlx5_twin_harness::capture::Reader;
use mlx5_twin_harness::profile::Loaded;
use mlx5_twin_harness::replay::Agents;
use mlx5_twin_sim::probe::Direction;

use crate::programs::scratch;
use crate::{exact, profile};

/// A capture of seed 1 with the built-in profile.
pub(crate) fn capture() -> &'static (Loaded, Vec<u8>) {
    static CAPTURE: OnceLock<(Loaded, Vec<u8>)> = OnceLock::new();
    CAPTURE.get_or_init(|| {
        let profile = profile(&[]);
        let bytes = scratch(&profile, 1);
        (profile, bytes)
    })
}

fn is_exact(profile: &Loaded, bytes: &[u8], what: &str) {
    for agents in [Agents::All, Agents::RootComplexes] {
        let replay = exact(bytes, profile, agents).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(replay.first_difference, None, "{what}, {agents:?}");
        assert_eq!(replay.tlps_different, 0, "{what}, {agents:?}");
        let sum = |played| replay.links.iter().filter(|lane| lane.played == played).map(|lane| lane.equal).sum::<u64>();
        assert!(sum(true) > 300 && sum(false) > 200, "{what}, {agents:?}: {:?}", replay.links);
        assert_eq!(replay.tlps_equal, sum(true) + sum(false));
    }
}

#[test]
fn captures_of_several_seeds_replay_exactly() {
    let profile = profile(&[]);
    for seed in 1..=6 {
        is_exact(&profile, &scratch(&profile, seed), &format!("seed {seed}"));
    }
}

/// Links on which TLPs wait for credits, and for a slow wire.
#[test]
fn waiting_replays_exactly() {
    let narrow = [
        ("posted_headers = 32 ", "posted_headers = 1 "),
        ("posted_data = 256 ", "posted_data = 16 "),
        ("nonposted_data = 64 ", "nonposted_data = 8 "),
        ("completion_headers = 32 ", "completion_headers = 1 "),
        ("completion_data = 256 ", "completion_data = 16 "),
        ("update_fc_ns = 50 ", "update_fc_ns = 700 "),
    ];
    let slow =
        [("generation = 5\nlanes = 16", "generation = 1\nlanes = 1"), ("update_fc_ns = 50 ", "update_fc_ns = 3 ")];
    let wide = [("downstream_ports = 1 ", "downstream_ports = 3 "), ("static_functions = 1 ", "static_functions = 2 ")];
    for (what, changes) in [("few credits", &narrow[..]), ("slow wires", &slow[..]), ("several ports", &wide[..])] {
        let profile = profile(changes);
        for seed in 1..=2 {
            is_exact(&profile, &scratch(&profile, seed), what);
        }
    }
}

/// Where each packet's header of ours and TLP lie in the file, with link and direction.
fn packets(bytes: &[u8]) -> Vec<(usize, usize, u16, Direction)> {
    let mut reader = Reader::new(bytes).expect("a capture");
    let mut found = Vec::new();
    while let Some(packet) = reader.next_packet().expect("a packet") {
        // Block type, length, and 20 bytes before the packet; 24 bytes before the TLP.
        found.push((packet.offset as usize + 28, packet.bytes.len(), packet.link.0, packet.direction));
    }
    found
}

/// What the fabric carries is its own doing, so each changed byte of it shows.
#[test]
fn a_changed_byte_of_what_is_carried_is_noticed() {
    let (profile, bytes) = capture();
    let carried = |link: u16, direction| (link == 0) == (direction == Direction::Upstream) && link != 1;
    let carried: Vec<_> =
        packets(bytes).into_iter().filter(|&(_, _, link, direction)| carried(link, direction)).collect();
    assert!(carried.len() > 200);
    let mut noticed = 0;
    for (number, &(begin, len, ..)) in carried.iter().enumerate().step_by(5) {
        // Each byte of our header has its turn but for the flags, then the TLP's.
        let header = [0, 1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 20, 22, 23];
        let place = begin + if number % 2 == 0 { header[number / 10 % header.len()] } else { 24 + number % len };
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (number % 8);
        if let Ok(replay) = exact(&changed, profile, Agents::All) {
            assert!(replay.tlps_different > 0, "byte {place} ({} of the packet) makes no difference", place - begin);
            let first = replay.first_difference.expect("a difference");
            assert!(first.recorded.is_some() || first.replayed.is_some());
        }
        noticed += 1;
    }
    assert!(noticed > 40, "{noticed}");
}

/// What is played shows on the other side of the switch.
#[test]
fn a_changed_byte_of_what_is_played_comes_out_elsewhere() {
    let (profile, bytes) = capture();
    let packets = packets(bytes);
    let writes: Vec<_> = packets
        .iter()
        .filter(|&&(begin, len, link, direction)| {
            // A write of the host with data, 3 dwords of header.
            link == 0 && direction == Direction::Downstream && bytes[begin + 24] == 0x40 && len > 12
        })
        .collect();
    assert!(writes.len() > 10);
    for &&(begin, len, ..) in writes.iter().step_by(7) {
        let mut changed = bytes.clone();
        changed[begin + 24 + len - 1] ^= 0x10;
        let replay = exact(&changed, profile, Agents::All).expect("a capture");
        let first = replay.first_difference.expect("a difference");
        assert_eq!((replay.tlps_different, first.link.as_str()), (1, "switch -> function 0"));
        let (recorded, replayed) = (first.recorded.expect("a TLP"), first.replayed.expect("a TLP"));
        assert_eq!((recorded.time_ps, &recorded.tlp), (replayed.time_ps, &replayed.tlp));
        assert_ne!(recorded.bytes, replayed.bytes);
    }
}

/// The device's model does what the software asks it: changed commands have other consequences.
#[test]
fn the_model_notices_what_the_software_did() {
    let (profile, bytes) = capture();
    // The last completion of a read of DPU memory by the device before the end: an entry of the command queue.
    let found = packets(bytes).into_iter().rfind(|&(begin, len, link, direction)| {
        link == 1 && direction == Direction::Downstream && bytes[begin + 24] == 0x4a && len > 64
    });
    let (begin, ..) = found.expect("a completion with data");
    let mut changed = bytes.clone();
    // The first byte of the entry: its type.
    changed[begin + 24 + 12] ^= 0xff;
    assert_eq!(exact(&changed, profile, Agents::All).expect("a capture").tlps_different, 0);
    assert!(exact(&changed, profile, Agents::RootComplexes).expect("a capture").tlps_different > 0);
}
