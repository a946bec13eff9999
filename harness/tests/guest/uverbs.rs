//! The backend `uverbs` in a guest: Linux's driver answers as the simulation does, and emulation software runs unchanged.

use mlx5_twin_harness::profile;
use serde_json::Value;

use crate::common::{Folder, text, twin};
use crate::driver::nothing_is_alive;
use crate::rig::Guest;

/// The built-in profile with other values of some capabilities.
pub(crate) fn other(folder: &Folder, name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = profile::DEFAULT.to_owned();
    for (line, instead) in changes {
        assert!(text.contains(line), "the profile has no {line:?}");
        text = text.replace(line, instead);
    }
    folder.write(name, text.as_bytes())
}

/// The lines of cases, without whose they are.
pub(crate) fn cases(shown: &str) -> Vec<&str> {
    shown.lines().skip(1).collect()
}

/// What only this backend has.
const OWN: &[&str] = &[
    "  uverbs: a context handed over by its file: uverbs:mlx5_0, page 0, load ok, memory twin, object ok",
    "  uverbs: a file that has no context: EIO",
    "  uverbs: asynchronous commands: [Some((7, true)), Some((8, true))]; of another object: EINVAL; no more: true",
    "  uverbs: a page with write combining: EOPNOTSUPP",
];

/// Without TLP response gateway pages, and without VirtIO doorbell pages.
pub(crate) const NO_TLP: (&str, &str) = ("\ntlp_device_emulation_manager = 1", "\ntlp_device_emulation_manager = 0");
pub(crate) const NO_VIRTIO: (&str, &str) =
    ("\ngeneral_obj_types = 0x40_0000_2000", "\ngeneral_obj_types = 0x40_0000_0000");

/// What the contract says of capabilities, exhaustion, wrong arguments and handles, use after free, things in use, other contexts' things, and responses that break
/// a rule: the kernel's answers are the reference.
#[test]
fn the_kernel_answers_as_the_simulation_does() {
    let folder = Folder::new("uverbs-check");
    for (name, changes) in [
        ("all.toml", &[][..]),
        ("no-tlp.toml", &[NO_TLP]),
        ("no-virtio.toml", &[NO_VIRTIO]),
        ("neither.toml", &[NO_TLP, NO_VIRTIO]),
        ("no-devx.toml", &[("\nlog_max_uctx = 8", "\nlog_max_uctx = 0")]),
    ] {
        let Some(guest) = Guest::new() else { return };
        let path = other(&folder, name, changes);
        let simulated = twin(&["check", "--profile", &path]);
        let ran = guest.arguments(&["--profile", &path]).run("mlx5-twin check --backend uverbs");
        let (simulated, expected) = (text(&simulated.stdout), simulated.status.code());
        let real = String::from_utf8_lossy(&ran.stdout).into_owned();
        let (own, common): (Vec<_>, Vec<_>) = cases(&real).into_iter().partition(|line| line.starts_with("  uverbs: "));
        assert_eq!(common, cases(&simulated), "{name}: {}", ran.stderr);
        if changes.is_empty() {
            assert_eq!(own, OWN);
        }
        assert_eq!(Some(ran.code), expected, "{name}: {}", ran.stderr);
        assert_eq!(real.starts_with("uverbs:mlx5_0: "), ran.code == 0, "{name}: {real}");
    }
}

/// The emulation program is told to end when the host's has ended, and the shell with it.
const RUN: &str = "
trap : TERM
mlx5-twin caps --backend uverbs:mlx5_0 --json
mlx5-twin run scratch --backend uverbs:mlx5_7
echo $? >&2
mlx5-twin run scratch --backend uverbs --json
rmmod rdma_ucm ib_umad && rmmod mlx5_ib mlx5_core
";

/// What the program says of capabilities, of a device that isn't there, and of a host's use of its function.
#[test]
fn a_host_uses_a_function_of_software_in_the_guest() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.arguments(&["--host", "scratch"]).json(RUN);
    let stdout = ran["stdout"].as_str().expect("text");
    let mut objects = serde_json::Deserializer::from_str(stdout).into_iter::<Value>();
    let mut next = || objects.next().expect("another object").expect("an object");
    let (caps, report) = (next(), next());

    let profile: Value = serde_json::from_slice(&twin(&["caps", "--json"]).stdout).expect("an object");
    let pages = |value: &Value| {
        let mut pages = value["pages"].as_array().expect("pages").clone();
        pages.sort_by_key(|page| page["cap_type"].as_u64());
        pages
    };
    assert_eq!((pages(&caps), &caps["device"]), (pages(&profile), &Value::from("uverbs:mlx5_0")));
    let stderr = ran["stderr"].as_str().expect("text");
    assert!(stderr.contains(r#"lists no device "mlx5_7"; there are: mlx5_0"#) && stderr.contains("\n1\n"), "{stderr}");

    let server = &ran["server"];
    let host = &server["host"]["ended"];
    let number = |value: &Value| value.as_u64().expect("a number");
    assert_eq!(number(&host["mismatches"]), 0, "{host:#}");
    assert!(number(&host["reads"]) > 0 && host["reads"] == report["emulation"]["reads"], "{host:#} {report:#}");
    assert_eq!(host["writes"], report["emulation"]["writes"]);
    let interrupts: u64 = host["interrupts"].as_array().expect("vectors").iter().map(number).sum();
    assert_eq!(interrupts, number(&report["emulation"]["interrupts"]));
    assert_eq!((&report["backend"], ran["exit_code"].as_i64()), (&Value::from("uverbs:mlx5_0"), Some(0)));
    nothing_is_alive(server);
}

/// A context goes from this program to one of rdma-core, back, and from this program to itself.
const SHARE: &str = "
mkdir /tmp/share; cd /tmp/share
listens() { for _ in $(seq 200); do [ -S $1 ] && return; sleep 0.05; done; }
mlx5-twin share --give one & listens one; python3 share.py take one; wait
python3 share.py give two & listens two; mlx5-twin share two; wait
mlx5-twin share --give three & listens three; mlx5-twin share three; wait
";

#[test]
fn contexts_are_shared_with_rdma_core() {
    let Some(guest) = Guest::new() else { return };
    let script = SHARE.replace(
        "cd /tmp/share\n",
        &format!("cd /tmp/share\ncat >share.py <<'END'\n{}END\n", include_str!("share.py")),
    );
    let ran = guest.run(&script);
    let shown = String::from_utf8_lossy(&ran.stdout).into_owned();
    let lines: Vec<_> = shown.lines().collect();
    let taken = "taken: uverbs:mlx5_0; page 0 of 0x1000 bytes, load ok; memory twin; counter ok";
    let mut expected = [
        "given: page 0; the other says: page 0 of 0x1000 bytes; umem 1, memory twin; counter ok; counter ok".to_owned(),
        taken.to_owned(),
        format!("pyverbs gave page 0; the other says: {taken}; counter ok"),
        taken.to_owned(),
        format!("given: page 0; the other says: {taken}; counter ok"),
    ];
    // Of two programs that end at once either may be the first to say what it saw.
    let mut lines = lines;
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected, "{}", ran.stderr);
}

/// Real firmware doesn't speak `twin-v1`: what is built on it says just that, and all below it works.
#[test]
fn a_device_as_real_ones_are_has_no_channels() {
    let Some(guest) = Guest::new() else { return };
    let folder = Folder::new("uverbs-real");
    let path = other(&folder, "real.toml", &[("\nstatic_functions = 1 ", "\nstatic_functions = 0 ")]);
    let script = "mlx5-twin check --backend uverbs; mlx5-twin run scratch --backend uverbs";
    let ran = guest.arguments(&["--profile", &path]).run(script);
    let shown = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        shown.lines().any(|line| line.contains("channels: until no more can be had") && line.ends_with("EOPNOTSUPP")),
        "{shown}"
    );
    assert!(shown.lines().any(|line| line.contains("asynchronous commands")), "{shown}");
    assert_eq!(
        (ran.code, ran.stderr.contains("the device's firmware doesn't speak twin-v1")),
        (1, true),
        "{}",
        ran.stderr
    );
}
