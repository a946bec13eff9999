//! The backend vfio: this project's own driver on the function, in place of Linux's.

use serde_json::Value;

use crate::common::{Folder, text, twin};
pub(crate) use crate::driver::ACTIVE;
use crate::driver::nothing_is_alive;
use crate::rig::Guest;
use crate::uverbs::{NO_TLP, NO_VIRTIO, cases, other};

/// What all scripts need: `function` is the function's address, `to DRIVER` binds it to a driver, `run DEVICE ...` runs a device and tells on standard
/// error how that ended. When the host's program has ended, the device's is told so by a signal, which the script itself survives.
pub(crate) const TOOLS: &str = r#"
trap : TERM
active
function=$(basename /sys/bus/pci/drivers/mlx5_core/0000:*)
folder=/sys/bus/pci/devices/$function
to() {
    modprobe vfio-pci
    echo "$1" >$folder/driver_override
    [ ! -e $folder/driver ] || echo $function >$folder/driver/unbind
    echo $function >/sys/bus/pci/drivers_probe
    [ "$(basename "$(readlink $folder/driver)")" = "${1:-mlx5_core}" ] || exit 8
}
run() {
    mlx5-twin run "$@" --json
    echo "code $?" >&2
}
"#;

fn guest(arguments: &[&str]) -> Option<Guest> {
    Some(Guest::new()?.arguments(&["--iommu", "--timeout", "60"]).arguments(arguments))
}

fn script(guest: Guest, text: &str) -> Value {
    let result = guest.json(&format!("{ACTIVE}{TOOLS}{text}"));
    assert_eq!(result["exit_code"], 0, "{}", result["stderr"]);
    result
}

/// The JSON objects on standard output, one after another.
fn objects(result: &Value) -> Vec<Value> {
    let text = result["stdout"].as_str().expect("text");
    let objects: Result<_, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    objects.unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `scratch` serves a host, which finds all as expected; afterwards Linux's own driver has the function again.
#[test]
fn a_run_serves_a_host_and_leaves_nothing() {
    let Some(guest) = guest(&["--host", "scratch"]) else { return };
    let result = script(
        guest,
        "to vfio-pci; run scratch --backend vfio; to ''; active; rmmod rdma_ucm ib_umad mlx5_ib mlx5_core",
    );
    assert!(result["stderr"].as_str().expect("text").contains("code 0"), "{}", result["stderr"]);
    let report = &objects(&result)[0];
    assert_eq!((&report["device"], &report["backend"]), (&"scratch".into(), &"vfio:0000:01:00.0".into()));
    let server = &result["server"];
    let host = &server["host"]["ended"];
    assert_eq!(host["mismatches"], 0, "{server:#}");
    for key in ["reads", "writes"] {
        assert!(host[key].as_u64().is_some_and(|count| count > 0), "{host:#}");
        assert_eq!(report["emulation"][key], host[key]);
    }
    // Linux's driver, this one, Linux's again: each has given all back.
    let lives = &server["lives"];
    assert_eq!((&lives["begun"], &lives["torn_down"], &lives["unclean"]), (&3.into(), &3.into(), &0.into()));
    nothing_is_alive(server);
}

/// Text goes there and back. It's short: the line is as quick as a real one, and software in an emulated guest may be slower.
#[test]
fn serial_sends_text() {
    let Some(guest) = guest(&["--host", "serial"]) else { return };
    let text = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(text.path(), "mlx5-twin\n").expect("written");
    let guest = guest.arguments(&["--host-input", text.path().to_str().expect("UTF-8")]);
    let result = script(guest, "to vfio-pci; run serial --backend vfio:$function");
    let server = &result["server"];
    let host = &server["host"]["ended"];
    assert_eq!((&host["mismatches"], &host["text"]["characters"]), (&0.into(), &10.into()), "{server:#}");
    nothing_is_alive(server);
}

/// The capability pages are those of the model's profile, and each case of the contract has the outcome that it has in the simulation.
#[test]
fn the_device_is_as_in_the_simulation() {
    let Some(guest) = guest(&[]) else { return };
    let text = r#"
        to vfio-pci
        for command in "caps --all" check; do
            mlx5-twin $command --json
            mlx5-twin $command --json --backend vfio
        done
    "#;
    let result = script(guest, text);
    let [caps, device_caps, check, device_check] = &objects(&result)[..] else { panic!("four objects: {result:#}") };
    assert_eq!(device_caps["device"], "vfio:0000:01:00.0");
    assert_eq!(device_caps["pages"], caps["pages"]);
    assert!(check["cases"].as_array().is_some_and(|cases| cases.len() >= 50), "{check:#}");
    assert_eq!(device_check["device"], "vfio:0000:01:00.0");
    assert_eq!(device_check["cases"], check["cases"]);
    nothing_is_alive(&result["server"]);
}

/// Each case has the outcome that it has in the simulation when the device lacks pages, too.
#[test]
fn a_device_without_pages_is_as_in_the_simulation() {
    let folder = Folder::new("vfio-check");
    for (name, lacks) in [("no-tlp.toml", NO_TLP), ("no-virtio.toml", NO_VIRTIO)] {
        let path = other(&folder, name, &[lacks]);
        let Some(guest) = guest(&["--profile", &path]) else { return };
        let ran = guest.run(&format!("{ACTIVE}{TOOLS} to vfio-pci; mlx5-twin check --backend vfio"));
        let real = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert_eq!(cases(&real), cases(&text(&twin(&["check", "--profile", &path]).stdout)), "{name}: {}", ran.stderr);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
    }
}

/// A program that is killed leaves a function that the next one finds as new, and so does one whose function is taken away.
#[test]
fn who_is_killed_leaves_nothing() {
    let Some(guest) = guest(&[]) else { return };
    let text = r#"
        to vfio-pci
        mlx5-twin run scratch --backend vfio &
        program=$!
        up() { for _ in $(seq 200); do grep -q vfio-msix.*$function /proc/interrupts && return; sleep 0.02; done; exit 7; }
        up
        sleep 1
        run scratch --backend vfio
        kill -9 $program
        wait $program 2>/dev/null
        mlx5-twin run scratch --json --backend vfio &
        program=$!
        up
        sleep 1
        # This waits until the program has given the function up.
        to ''
        wait $program
        echo "taken away: $?" >&2
        active
        rmmod rdma_ucm ib_umad mlx5_ib mlx5_core
    "#;
    let result = script(guest, text);
    let stderr = result["stderr"].as_str().expect("text");
    assert!(stderr.contains("another program has 0000:01:00.0: /dev/vfio/"), "{stderr}");
    assert!(stderr.contains("code 1") && stderr.contains("taken away: 0"), "{stderr}");
    assert_eq!(objects(&result)[0]["device"], "scratch");
    let lives = &result["server"]["lives"];
    // All but the one that was killed have torn down what they had; the reset has done so for that one.
    assert_eq!((&lives["begun"], &lives["torn_down"]), (&4.into(), &3.into()), "{lives}");
    nothing_is_alive(&result["server"]);
}

/// What isn't ready for VFIO says so, and what is to be done.
#[test]
fn what_is_not_ready_says_so() {
    let Some(guest) = guest(&[]) else { return };
    let text = r#"
        run scratch --backend vfio
        run scratch --backend vfio:$function
        run scratch --backend vfio:07:00.0
        run scratch --backend vfio:00:01.0
        run scratch --backend vfio:01.0
        to vfio-pci
        nobody() { setpriv --reuid 65534 --clear-groups timeout -s TERM $1 mlx5-twin run scratch --json --backend vfio; }
        nobody 2
        chown 65534 /dev/vfio/[0-9]*
        (ulimit -l 64; nobody 2)
        (ulimit -l 65536; nobody 2) && echo "nobody ran it" >&2
    "#;
    let result = script(guest, text);
    let stderr = result["stderr"].as_str().expect("text");
    for part in [
        "no mlx5 function is bound to vfio-pci; there are:\n  0000:01:00.0: driver mlx5_core\n",
        "0000:01:00.0 is bound to mlx5_core, Linux's own driver",
        "echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override",
        "there is no PCI function 0000:07:00.0",
        "0000:00:01.0 isn't an mlx5 function",
        "\"01.0\" isn't the address of a PCI function",
        "no access to /dev/vfio/",
        "see the limits of locked memory (ulimit -l)",
        "nobody ran it",
    ] {
        assert!(stderr.contains(part), "{part:?} isn't in {stderr}");
    }
    assert_eq!(objects(&result).len(), 1, "{result:#}");
    nothing_is_alive(&result["server"]);
}
