//! Whether QEMU can use the CPU's virtualization (KVM), or has to emulate a CPU (TCG).
//!
//! A device file that can be opened isn't enough: a guest may still not run, or not all of it (within some virtual machines a guest of a
//! few bytes runs, and Linux doesn't). So the kernel is tried, without a root file system, once per boot of this machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::assets::Tool;

/// How a guest's CPU comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the real one.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accel {
    /// QEMU's arguments for it.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// Its name, for reports and cache names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// How long the kernel may take until it has found that it has nothing to run.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the kernel says then.
const GOOD: &str = "Kernel panic - not syncing: VFS";

/// What QEMU says if the CPU's virtualization isn't complete.
const BAD: &str = "KVM internal error";

/// A kernel that says more than this, in bytes, has no end.
const LONGEST: usize = 1 << 18;

/// What can be used here, tried with this kernel. The answer is kept in `cache` until this machine is booted again.
pub fn detect(qemu: &Tool, kernel: &Path, cache: &Path) -> Accel {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Accel::Tcg;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let kept = cache.join("accel");
    if let Ok(text) = fs::read_to_string(&kept)
        && let Some((name, when)) = text.split_once(' ')
        && !boot.is_empty()
        && when == boot
        && let Some(accel) = [Accel::Kvm, Accel::Tcg].into_iter().find(|accel| accel.name() == name)
    {
        return accel;
    }
    let accel = if works(qemu, kernel) { Accel::Kvm } else { Accel::Tcg };
    // If it can't be kept, it will be found out again.
    let _ = fs::create_dir_all(cache).and_then(|()| fs::write(&kept, format!("{} {boot}", accel.name())));
    accel
}

/// Whether the kernel runs by KVM.
fn works(qemu: &Tool, kernel: &Path) -> bool {
    let Ok((mut reader, writer)) = io::pipe() else { return false };
    let Ok(errors) = writer.try_clone() else { return false };
    let child = qemu
        .command()
        .args(["-M", "q35", "-m", "256M", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-run-with", "exit-with-parent=on", "-serial", "stdio"])
        .args(Accel::Kvm.arguments())
        .args(["-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .process_group(0)
        .spawn();
    let Ok(mut child) = child else { return false };
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            text.extend_from_slice(&bytes[..count]);
            let has = |what: &str| text.windows(what.len()).any(|part| part == what.as_bytes());
            if has(GOOD) || has(BAD) || text.len() > LONGEST {
                let _ = sender.send(has(GOOD));
                return;
            }
        }
        let _ = sender.send(false);
    });
    let good = answer.recv_timeout(PATIENCE).unwrap_or(false);
    let _ = child.kill();
    let _ = child.wait();
    good
}
