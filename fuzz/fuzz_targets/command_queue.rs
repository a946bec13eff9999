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

static PROFILES: LazyLock<[Profile; 2]> = LazyLock::new(|| {
    [
        include_str!("../../fixtures/profiles/bluefield3-ib.toml"),
        include_str!("../../fixtures/profiles/bluefield3-ib-pages.toml"),
    ]
    .map(|text| toml::from_str(text).expect("the profile is sound"))
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, script)) = bytes.split_first() else { return };
    let profile = &PROFILES[usize::from(first & 1)];
    let mut victim = Victim::new(profile);
    let mut player = Player::new(profile);
    for (number, step) in Script::new(script).enumerate() {
        victim.play(&mut player, &step);
        if number % 16 == 0 {
            victim.check();
        }
    }
    victim.check();
    victim.recover();
});
