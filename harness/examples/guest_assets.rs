//! Gets what a guest needs and shows it: `cargo run --example guest_assets -- [--kernel VERSION | --kernel VMLINUZ MODULES] [--init FILE]
//! [--boot]`. With `--boot` it starts the guest, on this terminal and without a device.

use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use mlx5_twin_harness::guest::assets::{KernelChoice, Progress, Request, RootFile, Unit, prepare};

/// Shows each stage when it begins.
struct Lines(Instant);

impl Progress for Lines {
    fn stage(&self, name: &str, unit: Unit, total: u64) {
        eprintln!("{:7.3} s: {name} ({total} {unit:?})", self.0.elapsed().as_secs_f64());
    }
    fn position(&self, _: u64) {}
    fn finish(&self) {
        eprintln!("{:7.3} s: done", self.0.elapsed().as_secs_f64());
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest_assets: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut request = Request { kernel: KernelChoice::Default, files: Vec::new() };
    let mut boot = false;
    let mut words = env::args().skip(1).peekable();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--boot" => boot = true,
            "--init" => {
                let contents = fs::read(words.next().ok_or("--init needs a file")?)?;
                request.files.push(RootFile { path: "/init", mode: 0o755, contents });
            }
            "--kernel" => {
                let first = words.next().ok_or("--kernel needs a version, or two paths")?;
                request.kernel = match words.next_if(|word| !word.starts_with("--")) {
                    Some(modules) => KernelChoice::Path { vmlinuz: first.into(), modules: modules.into() },
                    None => KernelChoice::Version(first),
                };
            }
            _ => return Err(format!("what is {word}?").into()),
        }
    }
    let assets = prepare(&request, &Lines(Instant::now()))?;
    writeln!(
        stdout(),
        "kernel {}: {}\nvmlinuz {}",
        assets.kernel.release,
        assets.kernel.origin,
        assets.kernel.vmlinuz.display()
    )?;
    writeln!(stdout(), "root image {}\nkey {}\nqemu {:?}", assets.root.display(), assets.key, assets.qemu.command())?;
    if boot {
        let mut qemu = assets.qemu.command();
        qemu.args([
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-m",
            "512M",
            "-smp",
            "2",
            "-vga",
            "none",
            "-nic",
            "none",
        ]);
        qemu.args(["-nographic", "-no-reboot", "-device", "nvme,drive=root,serial=root", "-drive"]);
        qemu.arg(format!("if=none,id=root,format=raw,snapshot=on,file={}", assets.root.display()));
        qemu.arg("-kernel").arg(&assets.kernel.vmlinuz);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 rootfstype=ext4 rw init=/init"]);
        writeln!(stdout(), "QEMU ended: {}", qemu.status()?)?;
    }
    Ok(())
}
