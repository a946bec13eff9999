//! Guests for tests: only where `MLX5_TWIN_GUEST_TESTS=1` says that QEMU and Debian's packages may be had.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mlx5_twin_harness::profile;
use mlx5_twin_model::profile::Profile;
use serde_json::Value;

use crate::common::{piped, program};

/// The built-in profile.
pub(crate) fn profile() -> Profile {
    profile::load(None).expect("is sound").profile
}

/// What came of a guest.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// One guest at a time: on two cores, two would have twice the time and be taken for hanging.
static TURN: Mutex<()> = Mutex::new(());

/// `mlx5-twin guest`.
pub(crate) struct Guest {
    /// The program, whose `guest` it is.
    program: PathBuf,
    arguments: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Guest {
    /// `None`, and says so, if no guest may be run.
    pub(crate) fn new() -> Option<Guest> {
        if std::env::var_os("MLX5_TWIN_GUEST_TESTS").is_some_and(|value| value == "1") {
            let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let program = PathBuf::from(env!("CARGO_BIN_EXE_mlx5-twin"));
            return Some(Guest { program, arguments: vec!["guest".to_owned()], _turn: turn });
        }
        println!("SKIPPED: tests with a Linux guest need MLX5_TWIN_GUEST_TESTS=1, which downloads Debian packages");
        None
    }

    /// That of another program, with devices of its own.
    pub(crate) fn of(mut self, program: PathBuf) -> Guest {
        self.program = program;
        self
    }

    /// With these arguments too.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Guest {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Runs it, with this on standard input.
    pub(crate) fn run_with(&self, input: &[u8]) -> Ran {
        let output = piped(self.command(), input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// Runs a command in it.
    pub(crate) fn run(self, command: &str) -> Ran {
        self.arguments(&["--run", command]).run_with(b"")
    }

    /// The command that runs it, for whoever wants to do that otherwise.
    pub(crate) fn command(&self) -> Command {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        program(&self.program, &arguments)
    }

    fn object(self, arguments: &[&str]) -> Value {
        let ran = self.arguments(arguments).run_with(b"");
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Runs a command in it: gives the JSON object.
    pub(crate) fn json(self, command: &str) -> Value {
        self.object(&["--json", "--run", command])
    }

    /// Runs the tests of a list in it: gives the JSON object.
    pub(crate) fn list(self, path: &str) -> Value {
        self.object(&["--json", "--suite", "rdma-core", "--list", path])
    }

    /// Runs tests of rdma-core in it: gives the JSON object.
    pub(crate) fn suite(self, names: &[&str]) -> Value {
        let names = names.iter().flat_map(|name| ["-k", name]);
        let arguments: Vec<_> = ["--json", "--suite", "rdma-core"].into_iter().chain(names).collect();
        self.object(&arguments)
    }
}

/// A running `mlx5-twin guest`, whose folder for temporary files is its own. Killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    temporary: PathBuf,
    /// Whose turn it is.
    _guest: Guest,
}

impl Running {
    /// Starts it, and waits until the command in it runs.
    pub(crate) fn new(guest: Guest, test: &str, command: &str) -> Running {
        let temporary = std::env::temp_dir().join(format!("twin-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&temporary).expect("a folder");
        let guest = guest.arguments(&["--run", &format!("echo begun; {command}")]);
        let mut command = guest.command();
        command.env("TMPDIR", &temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut line = [0; 6];
        let read = child.stdout.as_mut().map(|stdout| stdout.read_exact(&mut line));
        assert!(matches!(read, Some(Ok(()))) && &line == b"begun\n", "{:?}", child.wait());
        Running { child, temporary, _guest: guest }
    }

    /// Its QEMU.
    pub(crate) fn qemu(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).expect("Linux lists children");
        text.split_whitespace().next().and_then(|id| id.parse().ok()).expect("QEMU runs")
    }

    /// Waits for its end, and that nothing of it is left but, if `killed`, its folder.
    pub(crate) fn end(mut self, qemu: u32, killed: bool) -> Ended {
        let status = self.child.wait().expect("it ends");
        let mut stderr = String::new();
        let read = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr));
        assert!(matches!(read, Some(Ok(_))), "{read:?}");
        let begin = Instant::now();
        // One that has ended and that nobody waits for is gone too: it has no command line any more.
        let runs = || std::fs::read(format!("/proc/{qemu}/cmdline")).is_ok_and(|line| !line.is_empty());
        while runs() {
            assert!(begin.elapsed() < Duration::from_secs(5), "QEMU {qemu} still runs");
            thread::sleep(Duration::from_millis(10));
        }
        let left = std::fs::read_dir(&self.temporary).map_or(0, Iterator::count);
        assert_eq!(left, usize::from(killed), "what is left in {}", self.temporary.display());
        Ended { code: status.code(), signal: status.signal(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

/// How a guest ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stderr: String,
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {process}");
}
