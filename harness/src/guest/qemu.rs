//! QEMU: its command line, and its process, which ends when ours does.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::accel::Accel;
use super::assets::Tool;
use super::console::Console;
use super::folder::LONGEST_SOCKET;

/// How long QEMU may take until it has connected to all sockets.
const CONNECT: Duration = Duration::from_secs(20);

/// How long QEMU may take to end after it was told to.
const END: Duration = Duration::from_secs(3);

/// What QEMU says each time that a function is plugged in: vfio-user has no error recovery.
const USUAL: &str = "Could not enable error recovery for the device";

/// What the guest's kernel is told. No console text but errors: it would cost time. After a panic QEMU ends (`-no-reboot`).
/// The rest saves time: nothing that a guest of ours runs needs mitigations, and an emulated CPU's clock needs no tests.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 ro rootfstype=ext4 init=/init mitigations=off \
                                tsc=reliable no_timer_check cryptomgr.notests=1";

/// What the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How its CPUs come about.
    pub accel: Accel,
    /// Whether it has an IOMMU, so that VFIO works in the guest.
    pub iommu: bool,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: u8,
    /// Slots for functions.
    pub slots: u8,
}

/// Why QEMU didn't start.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It can't be run.
    #[error("can't run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket can't be made.
    #[error("can't make the socket {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path can't be told to QEMU.
    #[error("the path {} isn't UTF-8, and QEMU reads it as JSON", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// It ended.
    #[error("QEMU ended at once ({status}): {words}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        words: String,
    },
    /// It doesn't connect.
    #[error("QEMU didn't open {name} within {} s", CONNECT.as_secs())]
    Silent {
        /// What it should have connected to.
        name: &'static str,
    },
}

/// What QEMU is started with.
#[derive(Debug)]
pub struct Launch<'a> {
    /// QEMU.
    pub tool: &'a Tool,
    /// The machine.
    pub machine: Machine,
    /// The kernel.
    pub kernel: &'a Path,
    /// The root image, which is only read.
    pub root: &'a Path,
    /// Where its sockets go.
    pub folder: &'a Path,
    /// Whether the machine waits for a snapshot, instead of booting.
    pub restore: bool,
}

/// The sockets that QEMU connects to.
const SOCKETS: [&str; 6] = ["qmp", "console", "control", "in", "out", "err"];

/// The other ends of QEMU's sockets.
#[derive(Debug)]
pub struct Ports {
    /// Its control socket.
    pub qmp: UnixStream,
    /// The guest's serial port.
    pub console: UnixStream,
    /// The agent's orders and notices.
    pub control: UnixStream,
    /// A command's standard input.
    pub input: UnixStream,
    /// A command's standard output.
    pub out: UnixStream,
    /// A command's standard error.
    pub err: UnixStream,
}

/// QEMU's name of the slot for a function, from 0.
pub fn slot_id(slot: u8) -> String {
    format!("slot{slot}")
}

/// QEMU's name of the slot for the disk with this program.
pub const PROGRAM_SLOT: &str = "program-slot";

/// Where a socket of this name is.
pub fn socket(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

/// A path within a comma-separated option.
fn escaped(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.into(),
    }
}

/// A disk that is only read, as `blockdev-add` takes it.
///
/// # Errors
/// [`QemuError::Path`]
pub fn disk(name: &str, path: &Path) -> Result<Value, QemuError> {
    let filename = path.to_str().ok_or_else(|| QemuError::Path { path: path.to_owned() })?;
    let file = json!({ "driver": "file", "filename": filename, "read-only": true });
    Ok(json!({ "driver": "raw", "node-name": name, "read-only": true, "file": file }))
}

/// Room for the BARs of a function, in MiB: a power of two, 256 at most. All windows lie below 4 GiB, where the firmware finds room for three quarters of
/// a GiB.
fn window_mib(slots: u8) -> u32 {
    let share = 768 / u32::from(slots.max(1));
    256.min(1 << share.ilog2())
}

impl Machine {
    /// The part of the command line that says what the machine is, without any path. A snapshot is only good for the same.
    pub fn arguments(&self) -> Vec<String> {
        let Self { accel, iommu, memory_mib, cpus, slots } = self;
        let mut all: Vec<String> = Vec::new();
        // Remapping of interrupts, as VFIO in the guest wants it, needs the interrupt controller's user-space half.
        let chip = if *iommu && *accel == Accel::Kvm { ",kernel-irqchip=split" } else { "" };
        all.extend(["-M".to_owned(), format!("q35,memory-backend=memory{chip}")]);
        all.extend(accel.arguments().map(str::to_owned));
        // The model reaches the guest's memory by mapping it: so it must be a file that can be shared.
        all.extend(["-object".to_owned(), format!("memory-backend-memfd,id=memory,size={memory_mib}M,share=on")]);
        all.extend(["-m".to_owned(), format!("{memory_mib}M"), "-smp".to_owned(), cpus.to_string()]);
        all.extend("-nodefaults -vga none -nic none -display none -no-reboot".split(' ').map(str::to_owned));
        let mut device = |text: &str| all.extend(["-device".to_owned(), text.to_owned()]);
        if *iommu {
            device("intel-iommu,intremap=on,caching-mode=on");
        }
        for slot in 0..*slots {
            let number = slot + 1;
            let (id, room) = (slot_id(slot), window_mib(*slots));
            device(&format!("pcie-root-port,id={id},chassis={number},slot={number},pref64-reserve={room}M"));
        }
        let number = slots + 1;
        device(&format!("pcie-root-port,id={PROGRAM_SLOT},chassis={number},slot={number}"));
        device("virtio-serial-pci");
        for name in ["control", "in", "out", "err"] {
            device(&format!("virtserialport,chardev={name},name={name}"));
        }
        device("isa-serial,chardev=console");
        device("nvme,drive=root,serial=root");
        all.extend(["-append".to_owned(), KERNEL_ARGUMENTS.to_owned()]);
        all
    }
}

impl Launch<'_> {
    /// The whole command line, without the program.
    ///
    /// # Errors
    /// [`QemuError::Path`]
    fn arguments(&self) -> Result<Vec<OsString>, QemuError> {
        let mut all: Vec<OsString> = vec!["-run-with".into(), "exit-with-parent=on".into()];
        for name in SOCKETS {
            let mut text = OsString::from(format!("socket,id={name},path="));
            text.push(escaped(&socket(self.folder, name)));
            all.extend(["-chardev".into(), text]);
        }
        all.extend(["-qmp".into(), "chardev:qmp".into()]);
        all.extend(["-blockdev".into(), disk("root", self.root)?.to_string().into()]);
        all.extend(self.machine.arguments().into_iter().map(OsString::from));
        all.extend(["-kernel".into(), self.kernel.into()]);
        if self.restore {
            all.extend(["-S", "-incoming", "defer"].map(OsString::from));
        }
        Ok(all)
    }
}

/// The process.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    words: Arc<Mutex<Console>>,
}

impl Qemu {
    /// Starts QEMU, and waits until it has connected to its sockets. QEMU ends when the calling thread does (Linux ties it to the thread).
    ///
    /// # Errors
    /// It doesn't start, ends at once, or says nothing.
    pub fn start(launch: &Launch<'_>) -> Result<(Self, Ports), QemuError> {
        let mut listeners = Vec::new();
        for name in SOCKETS {
            let path = socket(launch.folder, name);
            let failed = |source| QemuError::Socket { path: path.clone(), source };
            if path.as_os_str().len() > LONGEST_SOCKET {
                return Err(failed(io::Error::other(format!("the path has more than {LONGEST_SOCKET} bytes"))));
            }
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            listeners.push((name, path, listener));
        }
        let mut command = launch.tool.command();
        command.args(launch.arguments()?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        tracing::debug!(?command, "QEMU");
        // Of its own group: ^C is for us, and we end it.
        let child = command.process_group(0).spawn();
        let mut child = child.map_err(|source| QemuError::Run { program: launch.tool.program.clone(), source })?;
        let words = Arc::new(Mutex::new(Console::default()));
        if let Some(stderr) = child.stderr.take() {
            let words = Arc::clone(&words);
            thread::spawn(move || listen(stderr, &words));
        }
        let mut qemu = Self { child, words };
        let begin = Instant::now();
        let mut open = listeners.into_iter().map(|(name, path, listener)| qemu.accept(name, &path, &listener, begin));
        let mut next = || open.next().unwrap_or(Err(QemuError::Silent { name: "a socket" }));
        let ports =
            Ports { qmp: next()?, console: next()?, control: next()?, input: next()?, out: next()?, err: next()? };
        drop(open);
        Ok((qemu, ports))
    }

    fn accept(
        &mut self,
        name: &'static str,
        path: &Path,
        listener: &UnixListener,
        begin: Instant,
    ) -> Result<UnixStream, QemuError> {
        loop {
            let failed = |source| QemuError::Socket { path: path.to_owned(), source };
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(failed)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            if let Some(status) = self.ended() {
                return Err(QemuError::Ended { status, words: self.words() });
            }
            if begin.elapsed() > CONNECT {
                return Err(QemuError::Silent { name });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it said last, in one line.
    pub fn words(&self) -> String {
        // What it said just before its end may still be on its way.
        thread::sleep(Duration::from_millis(20));
        telling(self.words.lock().unwrap_or_else(PoisonError::into_inner).lines())
    }

    /// Waits until it has ended, and kills it if it doesn't.
    pub fn end(&mut self) {
        let begin = Instant::now();
        while self.ended().is_none() && begin.elapsed() < END {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as one, without what QEMU says each time.
fn telling(mut lines: Vec<String>) -> String {
    lines.retain(|line| !line.contains(USUAL));
    lines.join("; ")
}

/// Keeps the last lines of what QEMU says.
fn listen(mut stderr: impl Read, words: &Mutex<Console>) {
    let mut bytes = [0; 4096];
    loop {
        match stderr.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => words.lock().unwrap_or_else(PoisonError::into_inner).push(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { accel: Accel::Tcg, iommu: false, memory_mib: 1024, cpus: 2, slots: 1 }
    }

    fn tool() -> Tool {
        Tool { program: "qemu".into(), arguments: Vec::new(), environment: Vec::new() }
    }

    fn line(machine: Machine, folder: &str, restore: bool) -> String {
        let tool = tool();
        let (kernel, root, folder) = (Path::new("/k"), Path::new("/r \"1\".img"), Path::new(folder));
        let launch = Launch { tool: &tool, machine, kernel, root, folder, restore };
        let arguments = launch.arguments().unwrap();
        arguments.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_command_line_has_what_the_guest_needs() {
        let text = line(machine(), "/tmp/x", false);
        for part in [
            "-run-with exit-with-parent=on ",
            "-chardev socket,id=control,path=/tmp/x/control.sock ",
            r#""filename":"/r \"1\".img""#,
            "memory-backend-memfd,id=memory,size=1024M,share=on ",
            "-accel tcg,thread=multi -cpu max ",
            "-device pcie-root-port,id=slot0,chassis=1,slot=1,pref64-reserve=256M ",
            "-device pcie-root-port,id=program-slot,chassis=2,slot=2 ",
            "virtserialport,chardev=err,name=err ",
            " -kernel /k",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("iommu") && !text.contains("-incoming"), "{text}");
    }

    #[test]
    fn options_change_it() {
        let iommu = Machine { iommu: true, ..machine() };
        assert!(line(iommu, "/t", false).contains("-device intel-iommu,intremap=on,caching-mode=on "));
        let two = line(Machine { slots: 2, ..machine() }, "/t", false);
        assert!(two.contains("id=slot1,chassis=2,slot=2,pref64") && two.contains("id=program-slot,chassis=3,slot=3"));
        let rooms = [1, 3, 4, 6, 7, 8].map(window_mib);
        assert_eq!(rooms, [256, 256, 128, 128, 64, 64]);
        let kvm = line(Machine { accel: Accel::Kvm, ..iommu }, "/t", true);
        assert!(
            kvm.contains("kernel-irqchip=split -accel kvm -cpu host ") && kvm.ends_with(" -S -incoming defer"),
            "{kvm}"
        );
        assert!(line(machine(), "/a,b", false).contains("path=/a,,b/qmp.sock "));
    }

    #[test]
    fn what_qemu_always_says_tells_nothing() {
        let lines = ["qemu: warning: vfio x: Could not enable error recovery for the device", "qemu: first", "last"];
        assert_eq!(telling(lines.map(str::to_owned).to_vec()), "qemu: first; last");
    }

    #[test]
    fn what_cannot_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let start = |tool: &Tool| {
            let launch = Launch {
                tool,
                machine: machine(),
                kernel: Path::new("/k"),
                root: Path::new("/r"),
                folder: folder.path(),
                restore: false,
            };
            Qemu::start(&launch).map(|_| ()).unwrap_err().to_string()
        };
        let missing = start(&Tool { program: "/no/such/qemu".into(), ..tool() });
        assert!(missing.starts_with("can't run /no/such/qemu: "), "{missing}");
        let script = ["-c", "echo first >&2; echo last >&2; exit 3", "qemu"].map(OsString::from).to_vec();
        let ended = start(&Tool { program: "/bin/sh".into(), arguments: script, environment: Vec::new() });
        assert_eq!(ended, "QEMU ended at once (exit status: 3): first; last");
    }
}
