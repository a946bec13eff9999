//! Faults of the device, with Linux's driver as judge: it recovers, or takes the device for what it is, and leaves nothing.

use std::fmt::Write;

use mlx5_twin_harness::profile;
use serde_json::Value;

use crate::common::Folder;
use crate::driver::{ACTIVE, complaints, nothing_is_alive};
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
    let timeout = (240 + 30 * rounds()).to_string();
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

/// Uses the function all the time, until it's told to stop.
const LOAD: &str = "load() { while :; do umems 100; done >/dev/null 2>&1; }\nload & busy=$!\n";
const STOP: &str = "\nkill $busy; wait $busy; sleep 1\n";

/// What the kernel says when the card vanishes, and why.
const VANISHED: &[(&str, &str)] = &[
    ("Fatal error 1 detected", "the health poll reads all ones"),
    ("PCI slot is unavailable", "likewise"),
    ("handling bad device here", "the driver begins to recover, before anybody tells it that the card is gone"),
    ("mlx5_error_sw_reset:", "it begins and ends to wait for a reset"),
    ("NIC IFC still 7 after", "which never comes: the interface's state is all ones"),
    ("Skipping wait for vf pages stage", "always said when a function in error is given up"),
    ("device is being removed, stop waiting for PCI", "now it's told"),
    ("health recovery flow aborted", "likewise"),
    ("interface is down, NOP", "it has given the function up already"),
    ("No done completion", "a command was under way, and nobody answers"),
    ("timeout. Will cause a leak of a command resource", "likewise"),
    ("[15b3:a2dc] type 00 class 0x020700", "the card is there again"),
];

/// A card is pulled while a program uses it, and comes back as another card of the kind would. The first time the driver finds out by itself
/// before the slot notices, the second time the slot is quicker.
#[test]
fn a_card_vanishes_and_comes_back() {
    let faults = "[[fault]]\nkind = 'removal'\nat_ms = 3000\nfor_ms = 2000\nunnoticed_ms = 1500\n\
                  [[fault]]\nkind = 'removal'\nat_ms = 11000\nfor_ms = 300\n";
    let script = format!(
        "{LOAD}\
         said 'type 00 class 0x020700' 2; active\n\
         said 'type 00 class 0x020700' 3; active; {STOP} umems 3; dmesg"
    );
    let Some(result) = with_faults("removal", faults, &script) else { return };
    assert_eq!(umems(&result), ["quick made"; 3]);
    let log = result["stdout"].as_str().unwrap();
    assert!(log.contains("PCI slot is unavailable"), "the driver has met a dead device: {log}");
    assert_eq!(complaints(log, VANISHED), [""; 0]);
    let server = &result["server"];
    let lives = (&server["lives"]["begun"], &server["lives"]["torn_down"], &server["lives"]["unclean"]);
    assert_eq!((&server["injected"]["removals"], lives), (&2.into(), (&3.into(), &1.into(), &0.into())), "{server:#}");
}

/// How many rounds of faults there are in one boot: `MLX5_TWIN_RECOVERY_ROUNDS`, else this.
const ROUNDS: u64 = 2;

fn rounds() -> u64 {
    let rounds = std::env::var("MLX5_TWIN_RECOVERY_ROUNDS").ok();
    rounds.map_or(ROUNDS, |number| number.parse().expect("MLX5_TWIN_RECOVERY_ROUNDS is a number"))
}

/// What comes when in a round: the fault's fields, and the time in milliseconds. The slot is slower than the driver's health poll, so that it's the
/// driver that meets a dead device.
const ROUND: [(&str, u64); 4] = [
    ("kind = 'internal-error'\ncommand = 'CREATE_UMEM'", 3_000),
    ("kind = 'fatal'", 4_000),
    ("kind = 'lost-interrupt'", 8_500),
    ("kind = 'removal'\nfor_ms = 2000\nunnoticed_ms = 1500", 11_000),
];

/// How long a round takes, in milliseconds. The driver needs one second and a half for each recovery, and four for the removal; the rest is for slow
/// machines.
const PERIOD: u64 = 15_000;

/// Commands fail, interrupts are lost, the firmware dies, the function is reset, and the card is pulled and comes back, all while a program uses it.
/// On a slow machine one may come before the driver has recovered from the last: then it's the card's return that mends all.
#[test]
fn a_mix_of_faults_in_one_boot() {
    let rounds = rounds();
    let mut faults = String::new();
    for (fault, at) in ROUND {
        let times = if rounds > 1 { format!("times = {rounds}\nevery_ms = {PERIOD}\n") } else { String::new() };
        let _ = write!(faults, "[[fault]]\nat_ms = {at}\n{fault}\n{times}");
    }
    let script = format!(
        // Else the driver recovers only once in three minutes, and is unloaded the next time. A card that's pulled again at that moment can't be told.
        "patient() {{ devlink health set pci/$(basename /sys/bus/pci/drivers/mlx5_core/0000:*) reporter fw_fatal grace_period 0; }}\n\
         heard() {{ for _ in $(seq $3); do [ \"$(dmesg | grep -c \"$1\")\" -ge $2 ] && return; sleep 0.1; done; }}\n\
         end=$(($(date +%s) + {rounds} * {PERIOD} / 1000)) recoveries=0 returns=0\n\
         patient || exit 7; dmesg -c >/dev/null; {LOAD}\
         while [ $(date +%s) -lt $((end - 8)) ]; do\n\
             heard 'health recovery succeeded' 1 50; flr; heard 'health recovery succeeded' 2 50\n\
             heard 'type 00 class 0x020700' 1 150; active; patient\n\
             dmesg -c >/tmp/log; grep -E 'WARN|BUG|Oops|Call Trace|general protection|hung task|blocked for more' /tmp/log && {{ cat /tmp/log >&2; exit 6; }}\n\
             recoveries=$((recoveries + $(grep -c 'health recovery succeeded' /tmp/log)))\n\
             returns=$((returns + $(grep -c 'type 00 class 0x020700' /tmp/log)))\n\
             echo \"$(cut -d' ' -f1 /proc/uptime) s: $recoveries recoveries, $returns returns\"\n\
         done\n\
         while [ $(date +%s) -lt $((end + 2)) ]; do sleep 0.2; done; active\n\
         {STOP} umems 3; echo total $recoveries $returns\n"
    );
    let Some(result) = with_faults("mix", &faults, &script) else { return };
    let text = result["stdout"].as_str().unwrap_or_default();
    println!("{text}");
    assert_eq!(umems(&result), ["quick made"; 3], "{result:#}");
    // On a slow machine a card may be pulled again before the guest has found it.
    let total = text.lines().find_map(|line| line.strip_prefix("total "));
    let total = total.map(|line| line.split(' ').filter_map(|count| count.parse::<u64>().ok()).collect::<Vec<_>>());
    assert!(
        matches!(total.as_deref(), Some([recoveries, returns]) if *recoveries >= rounds && 2 * returns > rounds),
        "{text}"
    );
    let injected = &result["server"]["injected"];
    for kind in ["fatal", "lost_interrupts", "internal_errors", "removals"] {
        assert_eq!(injected[kind], rounds, "{injected:#}");
    }
}
