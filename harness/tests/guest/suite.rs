//! rdma-core's tests, as `--suite` runs and tells them.

use crate::rig::Guest;

const ARGUMENTS: [&str; 3] = ["--suite", "rdma-core", "-k"];

#[test]
fn chosen_tests_are_told_for_people_and_programs() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.arguments(&ARGUMENTS).arguments(&["tests.test_pd."]).run_with(b"");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.code, 0, "{text}{}", ran.stderr);
    let passed = text.lines().filter(|line| line.starts_with("passed ") && line.contains(" tests.test_pd.")).count();
    assert!(passed > 0 && text.ends_with(&format!("\n{passed} passed, 0 failed, 0 skipped\n")), "{text}");

    let told = Guest::new().unwrap().suite(&["tests.test_pd."]);
    let count = |name: &str| told[name].as_u64().unwrap_or(u64::MAX);
    let passed = passed as u64;
    assert_eq!(["run", "passed", "skipped", "failed", "errors"].map(count), [passed, passed, 0, 0, 0]);
    assert_eq!(told["tests"].as_array().map(Vec::len), usize::try_from(passed).ok());
    assert_eq!((told["tests"][0]["result"].as_str(), told["exit_code"].as_u64()), (Some("passed"), Some(0)));
}

#[test]
fn a_name_that_no_test_has_is_an_error() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.arguments(&ARGUMENTS).arguments(&["nothing_matches"]).run_with(b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "mlx5-twin: --suite: no test's name contains nothing_matches\n"));
}
