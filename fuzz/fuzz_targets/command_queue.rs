//! Bytes as steps of a hostile guest: registers, queue entries, mailboxes, doorbells, resets. The first byte chooses the profile.

#![no_main]

#[path = "../../model/tests/hostile/adversary/mod.rs"]
mod adversary;
#[path = "../../model/tests/hostile/victim.rs"]
mod victim;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mlx5_twin_model::profile::Profile;

use adversary::{Player, Script};
use victim::Victim;

static PROFILES: LazyLock<[Profile; 3]> = LazyLock::new(|| {
    [
        include_str!("../../fixtures/profiles/bluefield3-ib.toml"),
        include_str!("../../fixtures/profiles/bluefield3-ib-pages.toml"),
        include_str!("../../fixtures/profiles/bluefield3-eth.toml"),
    ]
    .map(|text| toml::from_str(text).expect("the profile is sound"))
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, script)) = bytes.split_first() else { return };
    let number = usize::from(first % 3);
    let profile = &PROFILES[number];
    let steps = if number == 2 { Script::for_ethernet(script) } else { Script::new(script) };
    let mut victim = Victim::new(profile);
    let mut player = Player::new(profile);
    for (number, step) in steps.enumerate() {
        victim.play(&mut player, &step);
        if number % 16 == 0 {
            victim.check();
        }
    }
    victim.check();
    victim.recover();
});
