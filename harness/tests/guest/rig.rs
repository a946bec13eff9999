//! Guests for tests: only where `MLX5_TWIN_GUEST_TESTS=1` says that QEMU and Debian's packages may be had.

use mlx5_twin_harness::profile;
use mlx5_twin_model::profile::Profile;
use serde_json::Value;

use crate::common::piped;

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

/// `mlx5-twin guest`.
pub(crate) struct Guest(Vec<String>);

impl Guest {
    /// `None`, and says so, if no guest may be run.
    pub(crate) fn new() -> Option<Guest> {
        if std::env::var_os("MLX5_TWIN_GUEST_TESTS").is_some_and(|value| value == "1") {
            return Some(Guest(vec!["guest".to_owned()]));
        }
        println!("SKIPPED: tests with a Linux guest need MLX5_TWIN_GUEST_TESTS=1, which downloads Debian packages");
        None
    }

    /// With these arguments too.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Guest {
        self.0.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Runs it, with this on standard input.
    pub(crate) fn run_with(&self, input: &[u8]) -> Ran {
        let arguments: Vec<_> = self.0.iter().map(String::as_str).collect();
        let output = piped(&arguments, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// Runs a command in it.
    pub(crate) fn run(self, command: &str) -> Ran {
        self.arguments(&["--run", command]).run_with(b"")
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
