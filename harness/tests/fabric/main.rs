//! Profiles with a section `[fabric]`: several root complexes, switches in depth, endpoints beside the card, a thousand functions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use mlx5_twin_harness::capture::{Description, Recorder};
use mlx5_twin_harness::devices::{self, Console};
use mlx5_twin_harness::emulation::Serving;
use mlx5_twin_harness::faults::{self, Record};
use mlx5_twin_harness::order;
use mlx5_twin_harness::profile::{self, DEFAULT, Loaded};
use mlx5_twin_harness::replay::{Agents, Detail, Options, replay};
use mlx5_twin_harness::report::Report;
use mlx5_twin_harness::run::{self, Plan};
use mlx5_twin_sim::fabric::PeerToPeer;

/// The section that is documented.
const DEEP: &str = include_str!("../../../fixtures/topologies/deep-card.toml");

/// The built-in profile with a section `[fabric]`.
fn with_fabric(fabric: &str) -> Loaded {
    let text = format!("{DEFAULT}\n{fabric}");
    profile::parse("fabric", "fabric.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `scratch` at these ports, with what is captured and which faults happen.
fn run(profile: &Loaded, ports: impl IntoIterator<Item = u16>, capture: Option<&Path>, faults: &Record) -> Report {
    let device = devices::find("scratch").expect("is known");
    let recorder = capture.map(|path| {
        let links = run::link_names(&profile.profile).expect("a machine");
        let (device, profile, profile_hash) = (device.name.to_owned(), profile.name.clone(), profile.hash);
        let description = Description { device, profile, profile_hash, seed: 7, links };
        (path.to_owned(), Recorder::<File>::create(path, description).expect("a file"))
    });
    let plan = Plan {
        device,
        profile: profile.clone(),
        seed: 7,
        serving: Serving { ports: ports.into_iter().collect(), ..Serving::default() },
        console: Console::nobody(),
        rounds: Some(12),
        recoveries: 0,
        mistakes: None,
        capture: recorder,
        faults: faults.clone(),
    };
    run::run(plan).unwrap_or_else(|error| panic!("{error}"))
}

/// TLPs on each link, by its lower end.
fn traffic(report: &Report) -> BTreeMap<&str, u64> {
    report.links.iter().map(|row| (row.lower.as_str(), row.down_tlps + row.up_tlps)).collect()
}

#[test]
fn functions_far_from_the_card_are_used_by_the_hosts_above_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep.pcapng");
    let profile = with_fabric(DEEP);
    let report = run(&profile, 0..4, Some(&path), &Record::default());

    // The host's own: one behind the card's switch, and one behind shelf0. Seven bridges above the first, root port included.
    assert_eq!(report.host.exercised.len(), 2, "{report}");
    let deepest = report.host.functions.iter().map(|function| function.depth).max();
    assert_eq!(deepest, Some(7), "{report}");
    let plain = report.host.functions.iter().filter(|function| (function.vendor, function.device) == (0xfff1, 0x9000));
    // 4 drives have 2 functions each, and there's a GPU.
    assert_eq!(plain.count(), 8 + 1, "{report}");
    let [other] = &report.other_hosts[..] else { panic!("{report}") };
    assert_eq!((other.root.as_str(), other.report.exercised.len()), ("other", 2), "{report}");
    for host in [&report.host, &other.report] {
        assert_eq!((host.mismatches, host.lost.len(), host.rounds), (0, 0, 24), "{report}");
    }
    let links = traffic(&report);
    assert_eq!(report.links.len(), 14, "{links:?}");
    for name in ["rack", "shelf0", "shelf1", "switch", "function 0", "remote", "guest0", "guest1", "gpu", "drive3"] {
        assert!(links[name] > 10, "{name}: {links:?}");
    }

    // The same again, to the picosecond.
    let quiet = |_| {};
    for agents in [Agents::All, Agents::RootComplexes] {
        let options = Options { profile: &profile, agents, progress: &quiet };
        let replayed = replay(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        let Detail::Exact(exact) = replayed.detail else { panic!("{replayed:?}") };
        let expected = (agents != Agents::RootComplexes).then_some(0);
        assert!(expected.is_none_or(|expected| exact.tlps_different == expected), "{exact:?}");
    }
    let order = order::check(&path, None).unwrap_or_else(|error| panic!("{error}"));
    assert!(order.violations.is_empty() && order.matched > 1000, "{order}");
}

#[test]
fn faults_name_the_links_of_the_fabric_and_show_in_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("order.pcapng");
    let mut profile = with_fabric(DEEP);
    // A write to the function is held in shelf0 until what came behind it has gone.
    let rules =
        "[[faults]]\nkind = 'delay'\nlink = 'remote'\ndirection = 'downstream'\ntlp = 'MWr'\ndelay_ps = 3_000_000\n";
    profile.profile.faults = faults::parse("faults.toml", rules).unwrap_or_else(|error| panic!("{error}"));
    let record = Record::default();
    let report = run(&profile, 0..2, Some(&path), &record);
    assert!(report.fired.is_some_and(|fired| fired.values().sum::<u64>() > 0));
    let order = order::check(&path, None).unwrap_or_else(|error| panic!("{error}"));
    assert!(!order.violations.is_empty(), "{order}");
    // What was played, and what the faults did to what the switches sent, is the same again.
    let record = record.text().expect("can be written");
    profile.profile.faults = faults::parse("record.toml", &record).unwrap_or_else(|error| panic!("{error}"));
    let options = Options { profile: &profile, agents: Agents::All, progress: &|_| {} };
    let replayed = replay(&path, &options).unwrap_or_else(|error| panic!("{error}"));
    let Detail::Exact(exact) = replayed.detail else { panic!("{replayed:?}") };
    assert_eq!(exact.tlps_different, 0, "{exact:?}");

    for passed in &order.violations {
        assert_eq!((passed.node.as_str(), passed.lane.as_str(), passed.column), ("shelf0", "shelf0 -> remote", 2));
    }

    let unknown = rules.replace("remote", "nowhere");
    profile.profile.faults = faults::parse("faults.toml", &unknown).unwrap_or_else(|error| panic!("{error}"));
    assert!(run::link_names(&profile.profile).is_err_and(|error| error.to_string().contains("nowhere")));
}

/// Five root complexes with 200 functions each: 8 switches with 25 of them. The card itself has none.
fn thousand() -> String {
    let mut text = String::from("[fabric]\n");
    for root in 0..4 {
        let _ = write!(text, "[[fabric.roots]]\nname = 'server{root}'\n");
    }
    for (root, above) in ["host", "server0", "server1", "server2", "server3"].into_iter().enumerate() {
        let _ = write!(text, "[[fabric.nodes]]\nname = 'leaf{root}-'\nabove = '{above}'\ncount = 8\nswitch = {{}}\n");
        let _ =
            write!(text, "[[fabric.nodes]]\nname = 'f{root}-'\nabove = 'leaf{root}-'\ncount = 25\nemulated = {{}}\n");
    }
    text
}

#[test]
fn a_thousand_functions() {
    let text = DEFAULT.replace("\nstatic_functions = 1 ", "\nstatic_functions = 0 ");
    let text = format!("{text}\n{}", thousand());
    let profile = profile::parse("thousand", "thousand.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    let report = run(&profile, 0..1000, None, &Record::default());
    let hosts = std::iter::once(&report.host).chain(report.other_hosts.iter().map(|other| &other.report));
    let (mut used, mut rounds) = (0, 0);
    for host in hosts {
        assert_eq!((host.mismatches, host.lost.len()), (0, 0), "{:?}", host.first_mismatches);
        (used, rounds) = (used + host.exercised.len(), rounds + host.rounds);
    }
    assert_eq!((report.other_hosts.len(), used, rounds), (4, 1000, 12_000));
    assert!(traffic(&report).iter().filter(|(name, _)| name.starts_with('f')).all(|(_, count)| *count > 20));
}

#[test]
fn what_is_wrong_has_its_line() {
    let before = DEFAULT.lines().count() + 1;
    let root = "[[fabric.roots]]\nname = \"other\"\n";
    let node = |rest: &str| format!("[[fabric.nodes]]\nname = \"far\"\n{rest}\n");
    for (fabric, line, message) in [
        (
            "[fabric]\nswitch_above = \"x\"\n".to_owned(),
            2,
            "fabric.switch_above = \"x\": there's no root complex or switch of that name",
        ),
        (
            format!("[fabric]\nswitch_above = \"far\"\n{}", node("above = \"host\"\nendpoint = {}")),
            2,
            "fabric.switch_above = \"far\": there's no root complex or switch before it of that name",
        ),
        (
            format!("[fabric]\nswitch_above = \"other\"\n{root}"),
            2,
            "fabric.switch_above = other: one switch below host, or host",
        ),
        (format!("{root}memory_mib = 9999\n"), 1, "fabric.roots.other.memory_mib = 9999 is out of range: 1 to 2048"),
        (root.replace("other", "host"), 1, "fabric.roots.host.name: \"host\" is a name already"),
        (node("above = \"dpu\"\nendpoint = {}"), 1, "fabric.nodes.far.above = dpu: only mlx5 is below dpu"),
        (
            node("above = \"mlx5\"\nendpoint = {}"),
            1,
            "fabric.nodes.far.above = \"mlx5\": there's no root complex or switch before it of that name",
        ),
        (
            node("above = \"host\"\nemulated = {}\nslot = {}"),
            1,
            "fabric.nodes.far.slot = emulated: hot-plug ports are those of topology.hotplug_ports",
        ),
        (node("above = \"host\"\ncount = 40\nemulated = {}"), 1, "fabric.roots.host.ports = 41 is out of range"),
        (
            node("above = \"host\"\nlink = \"x\"\nendpoint = {}"),
            1,
            "fabric.nodes.far.link = \"x\": there's no kind of link of that name",
        ),
        (
            "[fabric.links.internal]\nlanes = 4\n".to_owned(),
            1,
            "fabric.links.internal = internal: the name of a link of [topology]",
        ),
        (
            format!("{}{}", thousand(), node("above = \"switch\"\nemulated = {}")),
            1,
            "fabric.nodes: emulated functions = 1002: allowed is 0 to 1000",
        ),
        (
            node("above = \"host\"\nendpoint = { functions = 8, virtual_functions = 1000 }"),
            1,
            "fabric.nodes: functions of endpoints = 8008: allowed is 0 to 4096",
        ),
    ] {
        let text = format!("{DEFAULT}\n{fabric}");
        let error = profile::parse("wrong", "wrong.toml", &text).expect_err("is wrong").to_string();
        assert!(error.contains(message), "{error}\nlacks {message}");
        let place = error.split(": ").next().unwrap_or_default();
        let found: usize = place.strip_prefix("wrong.toml:").and_then(|line| line.parse().ok()).unwrap_or(0);
        assert!(found >= before + line, "{error}: line {found}, from {} on", before + line);
    }
}

#[test]
fn root_complexes_may_hand_requests_on() {
    for side in ["host", "dpu"] {
        let with = |split: u32| {
            let section = format!("[topology.{side}]\n");
            let text = DEFAULT.replace(&section, &format!("{section}peer_to_peer = {{ split = {split} }}\n"));
            profile::parse("peers", "peers.toml", &text)
        };
        let profile = with(64).unwrap_or_else(|error| panic!("{error}")).profile;
        let side_of =
            |topology: mlx5_twin_sim::profile::Topology| if side == "host" { topology.host } else { topology.dpu };
        assert_eq!(side_of(profile.topology).peer_to_peer, PeerToPeer::Split(64));
        let error = with(96).expect_err("no power of two").to_string();
        let rule = format!("topology.{side}.peer_to_peer.split = 96 is out of range: a power of two, 64 to 4096");
        assert!(error.contains(&rule), "{error}");
    }
}
