//! Captures of runs behind the socket: played again without a client, every TLP is the same at the same picosecond.

use std::path::Path;

use mlx5_twin_fw_cmds::opcode::Opcode;
use mlx5_twin_fw_cmds::status::Status;
use mlx5_twin_harness::backend::Error;
use mlx5_twin_harness::faults;
use mlx5_twin_harness::profile::{self, Loaded};
use mlx5_twin_harness::replay::{Agents, Detail, Exact, Options, replay};

use crate::{Rig, start};

fn play(path: &Path, profile: &Loaded, agents: Agents) -> Exact {
    let options = Options { profile, agents, progress: &|_| {} };
    match replay(path, &options).unwrap_or_else(|error| panic!("{error}")).detail {
        Detail::Exact(exact) => exact,
        Detail::NetTlp(_) => panic!("not a capture of ours"),
    }
}

/// Checks that a capture replays when these agents' parts are played.
pub(crate) fn is_exact(path: &Path, profile: &Loaded, agents: &[Agents]) {
    for &agents in agents {
        let exact = play(path, profile, agents);
        println!("{agents:?}: {} TLPs equal, {} different", exact.tlps_equal, exact.tlps_different);
        assert_eq!(exact.first_difference, None, "{agents:?}");
        assert!(exact.tlps_different == 0 && exact.tlps_equal > 20, "{agents:?}");
    }
}

/// A command's input of 16 bytes.
fn input(opcode: Opcode) -> [u8; 16] {
    let mut input = [0; 16];
    input[..2].copy_from_slice(&opcode.0.to_be_bytes());
    input
}

#[test]
fn a_command_that_the_model_lacks_is_named() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let driver = start(&door);
    let context = driver.open().unwrap();
    for _ in 0..2 {
        let error = context.general_command(&input(Opcode::QUERY_CONG_STATUS), 16).unwrap_err();
        assert!(matches!(error, Error::Command { status: Status::BAD_OP, .. }), "{error}");
    }
    let answer = context.general_command(&input(Opcode::NOP), 16);
    assert!(answer.is_ok(), "{answer:?}");
    drop(context);
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    let unknown: Vec<_> = report.unknown.iter().map(|row| (row.opcode, row.name, row.count, row.failed)).collect();
    assert_eq!(unknown, [(Opcode::QUERY_CONG_STATUS.0, Opcode::QUERY_CONG_STATUS.name().unwrap(), 2, 2)]);
    let text = report.to_string();
    assert!(text.contains("QUERY_CONG_STATUS, answered with BAD_OP 2 times"), "{text}");
}

/// Which TLPs a rule finds depends on when the client does something; the record says which they were.
#[test]
fn faults_by_rule_happen_again() {
    let rule = "[[faults]]\nkind = 'delay'\nlink = 'mlx5'\ndirection = 'upstream'\nevery = 7\ndelay_ps = [1_000, 2_000_000]\nin_order = true\n";
    let mut profile = profile::load(None).unwrap();
    profile.profile.faults = faults::parse("rules.toml", rule).unwrap();
    let rig = Rig::with_profile(profile, None);
    let door = rig.connect();
    let driver = start(&door);
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    assert!(report.fired.as_ref().is_some_and(|fired| fired["delay"] > 10), "{report}");
    assert!(report.to_string().contains("By rule   "), "{report}");
}

/// Several threads at once, so that accesses meet the device's own traffic.
#[test]
fn a_busy_run_replays() {
    let rig = Rig::new(None);
    let door = rig.connect();
    let driver = start(&door);
    let contexts: Vec<_> = (0..3).map(|_| driver.open().unwrap()).collect();
    std::thread::scope(|scope| {
        for context in &contexts {
            scope.spawn(move || {
                for _ in 0..40 {
                    context.general_command(&input(Opcode::NOP), 16).unwrap();
                    let memory = context.register_umem(4096 * 3).unwrap();
                    drop(memory);
                    let mut query = input(Opcode::QUERY_HCA_CAP);
                    query[7] = 1;
                    context.general_command(&query, 16 + 4096).unwrap();
                }
            });
        }
    });
    drop(contexts);
    driver.shut_down().unwrap();
    door.hang_up();
    let report = rig.finish();
    assert!(report.balance.is_empty() && report.command_count() > 400, "{report}");
}
