//! Linux's unmodified driver and rdma-core judge the model: they come up, work, go and come again, and leave nothing.

use serde_json::Value;

use crate::rig::{Guest, profile};

/// Waits until the port is active.
pub(crate) const ACTIVE: &str = r#"
active() {
    for _ in $(seq 400); do
        state=$(cat /sys/class/infiniband/mlx5_0/ports/1/state 2>/dev/null)
        [ "$state" = "4: ACTIVE" ] && [ -e /dev/infiniband/uverbs0 ] && return
        sleep 0.05
    done
    echo "the port isn't active: $state" >&2
    exit 9
}
"#;

/// Loads and unloads the drivers, then resets the function between two of its lives.
const ROUNDS: &str = r#"
set -e
active
rmmod rdma_ucm ib_umad
for _ in $(seq 20); do
    rmmod mlx5_ib mlx5_core
    modprobe mlx5_core
    modprobe mlx5_ib
    active
done
function=$(basename /sys/bus/pci/drivers/mlx5_core/0000:*)
for _ in 1 2 3; do
    echo "$function" >/sys/bus/pci/drivers/mlx5_core/unbind
    echo flr >"/sys/bus/pci/devices/$function/reset_method"
    echo 1 >"/sys/bus/pci/devices/$function/reset"
    echo "$function" >/sys/bus/pci/drivers/mlx5_core/bind
    active
done
rmmod mlx5_ib mlx5_core
"#;

/// What the kernel may say of mlx5, and why. All else that has the driver's name, or that sounds like trouble, is an error.
const ACCEPTED: &[(&str, &str)] = &[
    ("available PCIe bandwidth", "QEMU's root port has a slower link than the function"),
    ("invalid device_frequency_khz, aborting HW clock init", "the profile has no device clock: no PTP"),
    ("Flow counters bulk query buffer size increased", "always said, of one counter"),
    ("MLX5E: StrdRq", "said of any network device: how its receive queues are"),
    ("eth0: Link ", "of the network interface: it was set up or taken down"),
    ("mlx5_0: Port: 1 Link ", "of the RoCE port, which follows the interface"),
    ("Rate limit: 127 rates are supported", "said of any device that paces packets"),
    ("firmware version:", "always said"),
    ("enabling device", "of the PCI core: memory space is switched on"),
    ("PCI: Using host bridge windows from ACPI", "x86 says so of every machine, with the words 'report a bug'"),
    ("mem auto-init:", "a list of settings"),
    ("DMAR-IR: x2apic", "of QEMU's IOMMU"),
    ("OS now controls [PME AER PCIeCapability]", "of ACPI: the kernel has error reporting to itself"),
    ("AER: enabled with IRQ", "of a root port"),
];

/// What sounds like trouble.
const TROUBLE: &[&str] =
    &["mlx5", "infiniband", "WARN", "BUG", "Oops", "Call Trace", "bug", "general protection", "hung task", "AER"];

/// The lines of the kernel's log that nobody has accepted; `further` ones are what a test has an explanation for.
pub(crate) fn complaints<'a>(log: &'a str, further: &[(&str, &str)]) -> Vec<&'a str> {
    let is_trouble = |line: &&str| TROUBLE.iter().any(|word| line.contains(word));
    let is_accepted = |line: &&str| ACCEPTED.iter().chain(further).any(|(part, _)| line.contains(part));
    log.lines().filter(is_trouble).filter(|line| !is_accepted(line)).collect()
}

/// Checks that the device has no resource, and knew all commands.
pub(crate) fn nothing_is_alive(server: &Value) {
    assert_eq!(server["balance"], serde_json::json!({}));
    assert_eq!(server["unknown"], serde_json::json!([]));
}

/// Checks what the server has to say of drivers that came `lives` times and went as often.
pub(crate) fn nothing_is_left(server: &Value, lives: u64) {
    assert_eq!(server["lives"]["begun"], lives, "{server:#}");
    assert_eq!(server["lives"]["torn_down"], lives);
    assert_eq!(server["lives"]["unclean"], 0, "left by a driver: {}", server["lives"]["left"]);
    nothing_is_alive(server);
    let device = server["device"].as_object().unwrap();
    let faults: Vec<_> = device.iter().filter(|(name, count)| *name != "commands" && **count != 0).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

fn rounds(arguments: &[&str]) {
    let Some(guest) = Guest::new() else { return };
    let result = guest.arguments(arguments).json(&format!("{ACTIVE}{ROUNDS}dmesg"));
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    let log = result["stdout"].as_str().unwrap();
    assert!(log.contains("mlx5_core"), "it's the kernel's log");
    assert_eq!(complaints(log, &[]), [""; 0]);
    nothing_is_left(&result["server"], 24);
}

#[test]
fn the_port_is_as_the_profile_says() {
    let Some(guest) = Guest::new() else { return };
    let result = guest.json("ibv_devinfo -v");
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    let text = result["stdout"].as_str().unwrap();
    let shown = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{name}:")));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.split_whitespace().next());
        value.flatten().unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    let profile = profile();
    let device = &profile.device;
    let guid = |guid: u64| [48, 32, 16, 0].map(|shift| format!("{:04x}", guid >> shift & 0xffff)).join(":");
    for (name, value) in [
        ("hca_id", "mlx5_0"),
        ("fw_ver", device.firmware_version.as_str()),
        ("node_guid", &guid(device.node_guid)),
        ("sys_image_guid", &guid(device.system_image_guid)),
        ("vendor_part_id", &device.device_id.to_string()),
        ("board_id", device.psid.as_str()),
        ("state", "PORT_ACTIVE"),
        ("port_lid", &profile.port.lid.to_string()),
        ("sm_lid", &profile.port.sm_lid.to_string()),
        ("link_layer", "InfiniBand"),
        ("active_mtu", &profile.port.mtu.to_string()),
        ("active_width", "4X"),
        ("phys_state", "LINK_UP"),
    ] {
        assert_eq!(shown(name), value, "{name} in {text}");
    }
    assert!(text.contains(&format!("fe80:0000:0000:0000:{}", guid(device.port_guid))), "{text}");
}

#[test]
fn drivers_come_and_go() {
    rounds(&[]);
}

#[test]
fn drivers_come_and_go_behind_an_iommu() {
    rounds(&["--iommu"]);
}

#[test]
fn drivers_come_and_go_and_give_pages() {
    rounds(&["--profile", "../fixtures/profiles/bluefield3-ib-pages.toml"]);
}

/// A driver that doesn't know of a reset learns of it by its health poll, and recovers.
#[test]
fn a_driver_recovers_from_a_reset() {
    let Some(guest) = Guest::new() else { return };
    let script = "active; function=$(basename /sys/bus/pci/drivers/mlx5_core/0000:*); \
                  echo flr >/sys/bus/pci/devices/$function/reset_method; echo 1 >/sys/bus/pci/devices/$function/reset; \
                  for _ in $(seq 100); do dmesg | grep -q 'health recovery succeeded' && break; sleep 0.1; done; \
                  dmesg | grep 'health recovery'; active; ibv_devinfo | grep state; rmmod rdma_ucm ib_umad; rmmod mlx5_ib mlx5_core";
    let result = guest.json(&format!("{ACTIVE}{script}"));
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    let text = result["stdout"].as_str().unwrap();
    assert!(text.contains("health recovery succeeded") && text.contains("PORT_ACTIVE"), "{text}");
    assert_eq!(result["server"]["balance"], serde_json::json!({}));
}

#[test]
fn rdma_cores_tests_pass() {
    let Some(guest) = Guest::new() else { return };
    let result = guest.suite(&["tests.test_pd.", "tests.test_mlx5_var."]);
    assert_eq!((&result["run"], &result["passed"]), (&7.into(), &7.into()), "{result:#}");
    for key in ["skipped", "failed", "errors"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
}

/// All tests that need no data movement: each passes, or skips for the reason in the list.
#[test]
fn rdma_cores_control_plane_passes() {
    let Some(guest) = Guest::new() else { return };
    let result = guest.list("../tests/rdma-core/control-plane.txt");
    assert_eq!(result["findings"], serde_json::json!([]), "{result:#}");
    assert_eq!(result["server"]["unknown"], serde_json::json!([]), "opcodes that the model doesn't know");
    let count = |key: &str| result[key].as_u64().unwrap();
    assert_eq!(count("run"), count("passed") + count("skipped"));
    assert!(count("passed") >= 75, "{} passed", count("passed"));
}

#[test]
fn a_list_that_is_not_met_says_so() {
    let Some(guest) = Guest::new() else { return };
    let list = tempfile::NamedTempFile::new().unwrap();
    let text = "tests.test_pd.PDTest.test_alloc_pd\n\
                tests.test_pd.PDTest.test_that_is_not_there\n\
                tests.test_addr.AHTest.test_create_ah_roce\n\
                tests.test_qp.QPTest.test_query_raw_qp # skips: another reason\n";
    std::fs::write(list.path(), text).unwrap();
    let result = guest.list(list.path().to_str().unwrap());
    let findings: Vec<_> = result["findings"].as_array().unwrap().iter().map(|finding| &finding["problem"]).collect();
    assert_eq!(findings, ["not_run", "skipped", "other_reason"], "{result:#}");
    assert_eq!((&result["passed"], &result["skipped"]), (&1.into(), &2.into()));
}

#[test]
fn complaints_are_found() {
    let log = "[1.0] mlx5_core 0000:01:00.0: firmware version: 32.43.1014\n[1.1] mlx5_core 0000:01:00.0: poll_health:803\n[1.2] usb";
    assert_eq!(complaints(log, &[]), ["[1.1] mlx5_core 0000:01:00.0: poll_health:803"]);
}
