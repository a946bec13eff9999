//! Whether QEMU can use the CPU's virtualization (KVM), or has to emulate a CPU (TCG).
//!
//! A device file that can be opened isn't enough: a guest may still not run. So a guest of five bytes is tried, once per boot of this machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

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

/// How long the guest of five bytes may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The firmware of the guest: from the reset vector on, `mov al, 0x21; out 0xf4, al; hlt`.
const FIRMWARE_BYTES: usize = 64 << 10;
const RESET_VECTOR: usize = FIRMWARE_BYTES - 16;
const CODE: [u8; 5] = [0xb0, 0x21, 0xe6, 0xf4, 0xf4];

/// QEMU's exit code when 0x21 is written to its exit port.
const EXIT: i32 = 0x21 << 1 | 1;

/// What can be used here. The answer is kept in `cache` until this machine is booted again; `folder` is for a file that's needed while trying.
pub fn detect(qemu: &Tool, cache: &Path, folder: &Path) -> Accel {
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
    let accel = if works(qemu, folder) { Accel::Kvm } else { Accel::Tcg };
    // If it can't be kept, it will be found out again.
    let _ = fs::create_dir_all(cache).and_then(|()| fs::write(&kept, format!("{} {boot}", accel.name())));
    accel
}

/// Whether the guest of five bytes runs by KVM.
fn works(qemu: &Tool, folder: &Path) -> bool {
    let mut image = vec![0xff; FIRMWARE_BYTES];
    image[RESET_VECTOR..RESET_VECTOR + CODE.len()].copy_from_slice(&CODE);
    let path = folder.join("probe.bin");
    if File::create(&path).and_then(|mut file| file.write_all(&image)).is_err() {
        return false;
    }
    let child = qemu
        .command()
        .args(["-M", "q35", "-m", "16M", "-nodefaults", "-display", "none", "-run-with", "exit-with-parent=on"])
        .args(Accel::Kvm.arguments())
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-bios"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code() == Some(EXIT),
            Ok(None) if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}
