//! A capture of Linux's driver: what the device sent to it then, the model sends again.

use std::path::Path;

use mlx5_twin_harness::profile;
use mlx5_twin_harness::replay::Agents;

use crate::exact;

fn capture() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captures/linux-7.3.4-probe.pcapng.gz");
    std::fs::read(path).expect("is part of the project")
}

#[test]
fn linux_gets_the_same_again() {
    let profile = profile::load(None).unwrap();
    for agents in [Agents::All, Agents::RootComplexes] {
        let replay = exact(&capture(), &profile, agents).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(replay.first_difference, None, "made anew by fixtures/captures/make.sh, if it's meant to differ");
        assert_eq!(replay.tlps_different, 0, "{agents:?}");
        let from_device = replay.links.iter().find(|lane| lane.name == "mlx5 -> dpu").expect("the device's lane");
        assert_eq!(from_device.played, agents == Agents::All);
        assert!(from_device.equal > 3_000, "{from_device:?}");
    }
}

/// A device that answers one command otherwise is found out.
#[test]
fn another_device_differs() {
    let text = profile::DEFAULT.replace("lid = 1  ", "lid = 2  ");
    assert_ne!(text, profile::DEFAULT);
    let mut other = profile::parse("other", "other.toml", &text).unwrap();
    other.hash = profile::load(None).unwrap().hash;
    let replay = exact(&capture(), &other, Agents::RootComplexes).unwrap_or_else(|error| panic!("{error}"));
    assert!(replay.tlps_different > 0 && replay.first_difference.is_some());
}

#[test]
fn compressed_captures_that_are_cut_or_broken_say_so() {
    let profile = profile::load(None).unwrap();
    let whole = capture();
    for broken in
        [&whole[..whole.len() / 2], &whole[..20], &whole[..2], &[&whole[..5_000], &[0; 999], &whole[5_999..]].concat()]
    {
        exact(broken, &profile, Agents::All).expect_err("isn't whole");
    }
}
