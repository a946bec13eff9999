//! The serial port's driver against a UART whose software makes a mistake: a clear error, and recovery by a function-level reset.

mod common;

use std::sync::Arc;

use common::Rig;
use mlx5_twin_harness::channel::inject::{self, Injection, Mistake, Plan, When};
use mlx5_twin_harness::devices::{self, HostReport};
use mlx5_twin_harness::emulation::Serving;
use mlx5_twin_harness::run::{RunError, play};

/// Enough for some hundred reads.
fn text() -> Vec<u8> {
    (0..12).flat_map(|line| format!("line {line} of a text that is long enough\n").into_bytes()).collect()
}

/// Runs `serial` with a mistake in the middle: what came of it, how often the mistake was made, and what the host's screen shows.
fn run(mistake: Mistake, unchecked: bool, recoveries: u64) -> (Result<HostReport, RunError>, u64, Vec<u8>) {
    let mut rig = Rig::new(1, &text());
    rig.settings.recoveries = recoveries;
    let plan = Plan::new(vec![Injection { mistake, when: When::Nth(200) }]);
    let plan = Arc::new(if unchecked { plan.unchecked() } else { plan });
    let device = devices::find("serial").unwrap();
    let played = inject::while_running(&plan, || play(&rig.sim, device, &Serving::default(), rig.settings));
    let made = plan.outcome().made[0];
    let shown = rig.screen.bytes();
    (played.map(|played| played.host), made, shown)
}

/// Mistake; is it made; does a driver notice; can it recover.
const TABLE: [(Mistake, bool, bool, bool); 10] = [
    (Mistake::NoCompletion, true, true, true),
    // The device, or the host's root complex, does away with the second one.
    (Mistake::TwoCompletions, true, false, true),
    (Mistake::WrongTag, true, true, true),
    (Mistake::WrongRequester, true, true, true),
    (Mistake::TooLong, true, true, true),
    (Mistake::AfterReset, true, true, true),
    // The UART writes no memory.
    (Mistake::CreditTwice, false, false, true),
    (Mistake::NoCredit, false, false, true),
    // The device refuses the index, and goes on with the one before.
    (Mistake::RingOverflow, true, false, true),
    (Mistake::StopPolling, true, true, false),
];

#[test]
fn each_mistake_ends_with_a_clear_error_or_does_no_harm() {
    assert_eq!(TABLE.map(|row| row.0), Mistake::ALL.map(|(_, mistake, _)| mistake));
    for (mistake, made, noticed, _) in TABLE {
        for unchecked in [false, true] {
            let (ran, count, shown) = run(mistake, unchecked, 0);
            let what = format!("{}, unchecked: {unchecked}", mistake.name());
            assert_eq!(count > 0, made, "{what}");
            match ran {
                Ok(_) => assert!(!noticed && shown == text(), "{what}: nothing was noticed"),
                Err(RunError::Host(error)) => {
                    assert!(noticed, "{what}: {error}");
                    assert!(error.to_string().contains("completion timeout at 0x"), "{what}: {error}");
                    assert!(text().starts_with(&shown), "{what}: what was shown isn't the beginning of the text");
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

#[test]
fn after_a_function_level_reset_the_text_goes_on() {
    for (mistake, _, noticed, recovers) in TABLE {
        let (ran, _, shown) = run(mistake, false, 1);
        match ran {
            Ok(host) => {
                assert!(recovers, "{}: nobody answers any more", mistake.name());
                assert_eq!(shown, text(), "{}", mistake.name());
                let recoveries = host.recoveries.len();
                assert_eq!(recoveries, usize::from(noticed), "{}", mistake.name());
            }
            Err(RunError::Host(error)) => assert!(!recovers, "{}: {error}", mistake.name()),
            Err(error) => panic!("{}: {error}", mistake.name()),
        }
    }
}
