//! Faults of the device, with Linux's driver as judge: it recovers, or takes the device for what it is, and leaves nothing.

use std::fmt::Write;

use mlx5_twin_harness::profile;
use serde_json::Value;

use crate::common::Folder;
use crate::driver::{ACTIVE, nothing_is_alive};
use crate::rig::Guest;

/// Added to the built-in profile: a driver that isn't patient.
const IMPATIENT: &str = "\n[timeouts]\ninit_ms = 2000\ncommand_ms = 1500\nhealth_poll_ms = 200\n";

/// Opens the device and makes as many UMEMs; says of each how long it took, and why there's none.
const UMEMS: &str = r#"
umems() {
    python3 - "$1" <<'END'
import sys, time
from pyverbs.providers.mlx5.mlx5dv import Mlx5Context, Mlx5DVContextAttr, Mlx5UMEM
context = Mlx5Context(Mlx5DVContextAttr(flags=1), "mlx5_0")
for number in range(int(sys.argv[1])):
    begin = time.monotonic()
    try:
        umem = Mlx5UMEM(context, size=4096)
        umem.close()
        what = "made"
    except Exception as error:
        what = f"failed {error}"
    print("umem", "slow" if time.monotonic() - begin > 1.4 else "quick", what, flush=True)
END
}
said() {
    for _ in $(seq 600); do
        [ "$(dmesg | grep -c "$1")" -ge "$2" ] && return
        sleep 0.1
    done
    echo "the kernel doesn't say '$1' $2 times" >&2
    dmesg | tail -30 >&2
    exit 9
}
flr() {
    function=$(basename /sys/bus/pci/drivers/mlx5_core/0000:*)
    echo flr >"/sys/bus/pci/devices/$function/reset_method"
    echo 1 >"/sys/bus/pci/devices/$function/reset"
}
"#;

/// The drivers go.
const UNLOAD: &str = "\nrmmod rdma_ucm ib_umad\nrmmod mlx5_ib mlx5_core || exit 8\n";

/// Runs a script in a guest whose device has these faults.
fn with_faults(test: &str, faults: &str, script: &str) -> Option<Value> {
    let guest = Guest::new()?;
    let folder = Folder::new(test);
    let profile = folder.write("impatient.toml", format!("{}{IMPATIENT}", profile::DEFAULT).as_bytes());
    let faults = folder.write("faults.toml", faults.as_bytes());
    let timeout = (240 + 40 * rounds()).to_string();
    let guest = guest.arguments(&["--profile", &profile, "--inject", &faults, "--timeout", &timeout]);
    let result = guest.json(&format!("{ACTIVE}{UMEMS}active\n{script}{UNLOAD}"));
    assert_eq!(result["exit_code"], 0, "{} {}", result["stdout"], result["stderr"]);
    nothing_is_alive(&result["server"]);
    assert_eq!(result["server"]["injected"]["waiting"], 0, "{:#}", result["server"]["injected"]);
    Some(result)
}

/// What was said of UMEMs.
fn umems(result: &Value) -> Vec<String> {
    let text = result["stdout"].as_str().unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("umem ")).map(str::to_owned).collect()
}

#[test]
fn a_driver_recovers_when_the_firmware_dies() {
    let faults = "[[fault]]\nkind = 'fatal'\nsyndrome = 8\nat_ms = 2500\n";
    let script = "said 'health recovery succeeded' 1\nactive\numems 1\ndmesg | grep synd";
    let Some(result) = with_faults("fatal", faults, script) else { return };
    assert_eq!(umems(&result), ["quick made"]);
    assert!(result["stdout"].as_str().unwrap().contains("synd 0x8: unrecoverable hardware error"), "{result:#}");
    let server = &result["server"];
    assert_eq!((&server["injected"]["fatal"], &server["lives"]["begun"]), (&1.into(), &2.into()), "{server:#}");
}

/// One fails at once, one is given up and answered when nobody waits for it any more, and the next is made.
#[test]
fn commands_fail_and_are_late() {
    let faults = "[[fault]]\nkind = 'internal-error'\ncommand = 'CREATE_UMEM'\nat_ms = 10\n\
                  [[fault]]\nkind = 'hang'\ncommand = 'CREATE_UMEM'\nlate_ms = 9000\nat_ms = 10\n";
    let script = "umems 3\nsaid 'completion arrived after timeout' 1";
    let Some(result) = with_faults("commands", faults, script) else { return };
    let umems = umems(&result);
    assert_eq!(umems.len(), 3, "{result:#}");
    assert!(umems[0].starts_with("quick failed") && umems[0].contains("Errno: 5,"), "{umems:?}");
    assert!(umems[1].starts_with("slow failed") && umems[1].contains("Errno: 110"), "{umems:?}");
    assert_eq!(umems[2], "quick made");
}

/// A command whose interrupt is lost is found in its event queue when its time is over.
#[test]
fn a_lost_interrupt_costs_time_only() {
    let faults = "[[fault]]\nkind = 'lost-interrupt'\nat_ms = 3500\n";
    let script = "sleep 4\numems 5\nsaid 'recovered after timeout' 1";
    let Some(result) = with_faults("interrupt", faults, script) else { return };
    assert!(umems(&result).iter().all(|umem| umem.ends_with(" made")), "{result:#}");
    assert_eq!(umems(&result).len(), 5);
}

/// How often the firmware dies and the function is reset in one boot: `MLX5_TWIN_RECOVERY_ROUNDS`, else this.
const ROUNDS: u64 = 2;

fn rounds() -> u64 {
    let rounds = std::env::var("MLX5_TWIN_RECOVERY_ROUNDS").ok();
    rounds.map_or(ROUNDS, |number| number.parse().expect("MLX5_TWIN_RECOVERY_ROUNDS is a number"))
}

/// Commands fail, interrupts are lost, the function is reset while a program uses it, and the firmware dies while one does.
#[test]
fn a_mix_of_faults_in_one_boot() {
    let rounds = rounds();
    let mut faults = String::new();
    for (kind, first) in [("fatal", 4_000), ("lost-interrupt", 4_700), ("internal-error", 3_000)] {
        let command = if kind == "internal-error" { "command = 'CREATE_UMEM'\n" } else { "" };
        let times = if rounds > 1 { format!("times = {rounds}\nevery_ms = 25000\n") } else { String::new() };
        let _ = write!(faults, "[[fault]]\nkind = '{kind}'\nat_ms = {first}\n{command}{times}");
    }
    let script = format!(
        // Else the driver recovers only once in three minutes, and is unloaded the next time.
        "devlink health set pci/$(basename /sys/bus/pci/drivers/mlx5_core/0000:*) reporter fw_fatal grace_period 0 || exit 7\n\
         load() {{ while :; do umems 100; done >/dev/null 2>&1; }}\n\
         load & busy=$!\n\
         for round in $(seq {rounds}); do\n\
             said 'health recovery succeeded' $((2 * round - 1))\n\
             active; sleep 1; flr\n\
             said 'health recovery succeeded' $((2 * round)); active\n\
         done\n\
         sleep 2; kill $busy; wait $busy; sleep 1; umems 3\n"
    );
    let Some(result) = with_faults("mix", &faults, &script) else { return };
    assert!(umems(&result).iter().all(|umem| umem == "quick made"), "{result:#}");
    let injected = &result["server"]["injected"];
    for kind in ["fatal", "lost_interrupts", "internal_errors"] {
        assert_eq!(injected[kind], rounds, "{injected:#}");
    }
}
