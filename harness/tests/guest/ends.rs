//! How a guest can end before its command does: each has its exit code, says why, and leaves nothing behind.

use crate::rig::{Guest, Running, signal};

#[test]
fn signals_end_the_guest() {
    if Guest::new().is_none() {
        return;
    }
    for (name, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let running = Running::new(Guest::new().unwrap(), "signals", "sleep 1000");
        let qemu = running.qemu();
        signal(running.child.id(), name);
        let ended = running.end(qemu, false);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{name}");
    }
}

/// Only a folder is left, for the next one to remove.
#[test]
fn qemu_does_not_outlive_a_runner_that_is_killed() {
    let Some(guest) = Guest::new() else { return };
    let running = Running::new(guest, "killed", "sleep 1000");
    let qemu = running.qemu();
    signal(running.child.id(), "KILL");
    assert_eq!(running.end(qemu, true).signal, Some(9));
}

#[test]
fn a_qemu_that_is_killed_is_told_of() {
    let Some(guest) = Guest::new() else { return };
    let running = Running::new(guest, "qemu", "sleep 1000");
    let qemu = running.qemu();
    signal(qemu, "KILL");
    let ended = running.end(qemu, false);
    assert_eq!(ended.code, Some(125), "{ended:?}");
    assert!(ended.stderr.ends_with("QEMU ended while the guest was in use (signal: 9 (SIGKILL))\n"), "{ended:?}");
}

#[test]
fn a_guest_that_powers_off_is_told_of() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.run("poweroff -f; sleep 1000");
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("reboot: Power down") && ran.stderr.contains("QEMU ended"), "{}", ran.stderr);
}

/// The exit code is 125, and the last words are told.
#[test]
fn a_kernel_that_panics_is_told_of() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.run("echo c >/proc/sysrq-trigger; sleep 1000");
    assert_eq!(ran.code, 125, "{}", ran.stderr);
    assert!(ran.stderr.contains("sysrq triggered crash"), "{}", ran.stderr);
}

#[test]
fn what_takes_too_long_is_ended() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.arguments(&["--timeout", "2"]).run("sleep 1000");
    assert_eq!((ran.code, ran.stderr.as_str()), (124, "mlx5-twin: the command didn't end within 2 s\n"));
}
