//! The program as a user runs it, and folders for its files.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// The program with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_mlx5-twin")), arguments)
}

/// Another program with these arguments.
pub(crate) fn program(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// The example `dice`, which cargo has built beside the program.
pub(crate) fn dice() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_mlx5-twin")).with_file_name("examples").join("dice");
    assert!(path.exists(), "'cargo test' builds examples; with '--test NAME' only, 'cargo build --example dice' does");
    path
}

/// Runs the program.
pub(crate) fn twin(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program runs")
}

/// Runs a command with this standard input.
pub(crate) fn piped(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let (mut pipe, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    // Whoever reads no more closes the pipe: that's no error here.
    let writer = thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the input is written");
    output
}

/// What the program printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8")
}

/// A folder of its own for each test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mlx5-twin-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file into it: gives its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
