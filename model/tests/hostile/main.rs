//! A hostile guest: whatever it writes to registers, memory and queues, nothing panics, hangs or grows without bound, and a driver that comes
//! afterwards finds the device as new.
//!
//! `HOSTILE_STEPS` and `HOSTILE_SEED` in the environment choose how many steps there are, and which.

mod adversary;
mod lengths;
mod victim;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlx5_twin_model::profile::Profile;

use adversary::{Player, Script, Step, noise};
use victim::Victim;

/// Steps that this test takes by itself.
const STEPS: u64 = 1_000_000;
/// Bytes of a round's script: after each round a driver comes.
const ROUND: usize = 6_000;
/// Rounds with the same machine.
const ROUNDS: u64 = 16;
/// Steps from one check to the next.
const CHECK: u64 = 32;
/// How much the process may grow after the first machine, in bytes: the device holds inputs of 96 MiB at most, and TLPs of 110 MiB.
const GROWTH: u64 = 256 << 20;

/// What the guest has before it. Cases begin with its number, modulo 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Plain,
    /// The firmware wants pages.
    Pages,
    Ethernet,
}

impl Device {
    fn of(number: u64) -> Device {
        [Device::Plain, Device::Pages, Device::Ethernet][(number % 3) as usize]
    }

    fn profile(self) -> Profile {
        let text = match self {
            Device::Plain => include_str!("../../../fixtures/profiles/bluefield3-ib.toml"),
            Device::Pages => include_str!("../../../fixtures/profiles/bluefield3-ib-pages.toml"),
            Device::Ethernet => include_str!("../../../fixtures/profiles/bluefield3-eth.toml"),
        };
        toml::from_str(text).expect("the profile is sound")
    }

    fn script(self, bytes: &[u8]) -> Script<'_> {
        if self == Device::Ethernet { Script::for_ethernet(bytes) } else { Script::new(bytes) }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| {
        value.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={value} is no number"))
    })
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Tells what was played if it panics: the last steps, and a file to play all of it again.
struct Witness {
    script: Vec<u8>,
    steps: Vec<Step>,
    device: Device,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile.case");
        let case = [&[self.device as u8], &*self.script].concat();
        println!("written to {}: {:?}", path.display(), std::fs::write(&path, case));
        println!("step {} and those before it:", self.steps.len());
        for step in self.steps.iter().rev().take(24).rev() {
            println!("    {step:?}");
        }
    }
}

/// Plays a script, and lets a driver come. Gives how many steps it was.
fn round(victim: &mut Victim, player: &mut Player, device: Device, script: &[u8]) -> u64 {
    let mut witness = Witness { script: script.to_vec(), steps: Vec::new(), device };
    let mut steps = 0;
    let mut checked = 0;
    for step in device.script(script) {
        witness.steps.push(step.clone());
        steps += victim.play(player, &step);
        if steps >= checked + CHECK {
            victim.check();
            checked = steps;
        }
    }
    victim.check();
    victim.recover();
    steps
}

#[test]
fn a_hostile_guest_harms_nobody_but_itself() {
    let (wanted, seed) = (number("HOSTILE_STEPS", STEPS), number("HOSTILE_SEED", 1));
    let (mut steps, mut game) = (0, seed);
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut before = None;
    let (mut most, mut counters) = (0, [0; 5]);
    while steps < wanted {
        let device = Device::of(game);
        let profile = device.profile();
        let mut player = Player::new(&profile);
        let mut victim = Victim::new(&profile);
        for lap in 0..ROUNDS {
            println!("HOSTILE_SEED={game} round {lap}");
            steps += round(&mut victim, &mut player, device, &noise(game << 8 | lap, ROUND));
            if steps >= wanted {
                break;
            }
        }
        most = most.max(victim.most_in_flight());
        for (all, some) in counters.iter_mut().zip(victim.counters()) {
            *all += some;
        }
        drop(victim);
        let now = resident();
        let before = *before.get_or_insert(now);
        assert!(now <= before + GROWTH, "{now} bytes are resident, {before} at first");
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            eprintln!("{steps} steps in {:?}, {} MiB more", begun.elapsed(), now.saturating_sub(before) >> 20);
        }
        game += 1;
    }
    let grown = resident().saturating_sub(before.unwrap_or(0)) >> 20;
    let rate = steps as f64 / begun.elapsed().as_secs_f64();
    let [commands, undelivered, overruns, overrun, errors] = counters;
    eprintln!(
        "{steps} steps in {:?} ({rate:.0} a second), seeds {seed} to {}: {commands} commands, {undelivered} undelivered, {overruns} events lost, \
         {overrun} completion queues overrun, {errors} DMA errors, at most {most} TLPs under way, {grown} MiB grown",
        begun.elapsed(),
        game - 1
    );
    // It was no idle talk.
    assert!(steps < 100_000 || commands > steps / 20 && undelivered > 0 && overruns > 0 && errors > 0);
}

/// Cases that once did harm, and seeds for fuzzers.
#[test]
fn cases_that_are_kept_do_no_harm() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/cases");
    for entry in std::fs::read_dir(folder).expect("is part of the project") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "case") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        let Some((&first, script)) = bytes.split_first() else { continue };
        println!("{}", path.display());
        let device = Device::of(first.into());
        let profile = device.profile();
        round(&mut Victim::new(&profile), &mut Player::new(&profile), device, script);
    }
}
