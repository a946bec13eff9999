//! Programs, and how they are run.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::error::Error;

/// How many bytes of a failed program's last words are told.
const LAST_WORDS: usize = 600;

/// A program with what it always needs: arguments that come first, and environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What is executed.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
    /// Variables that are added to its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Tool {
    /// The command, to which the caller adds arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The same with one more argument that is always there.
    pub(super) fn argument(mut self, argument: impl AsRef<OsStr>) -> Tool {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// The same with one more variable in its environment.
    pub(super) fn variable(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Tool {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }
}

/// Runs a program to its end and gives what it wrote to standard output. `what` says what it does, for messages.
pub(super) fn run(command: &mut Command, what: &str) -> Result<Vec<u8>, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, error))?;
    check(&output, what)?;
    Ok(output.stdout)
}

/// Runs a program and gives each line of its standard output to `line`, as it comes.
pub(super) fn run_lines(command: &mut Command, what: &str, mut line: impl FnMut(&str)) -> Result<(), Error> {
    let io =
        |error| Error::Program { what: what.to_owned(), status: "not watched".to_owned(), output: format!("{error}") };
    let mut words = tempfile::tempfile().map_err(io)?;
    let errors = words.try_clone().map_err(io)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(|error| not_started(command, error))?;
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            line(&String::from_utf8_lossy(&text));
        }
    }
    let status = child.wait().map_err(io)?;
    let stderr = read_back(&mut words).map_err(io)?;
    check(&Output { status, stdout: Vec::new(), stderr }, what)
}

/// That a program has ended well; else its last words.
pub(super) fn check(output: &Output, what: &str) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        what: what.to_owned(),
        status: output.status.to_string(),
        output: last_words(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// Why a program didn't even start.
pub(super) fn not_started(command: &Command, error: io::Error) -> Error {
    Error::File { action: "running", path: command.get_program().into(), source: error }
}

/// What was written to `file`, from its start.
pub(super) fn read_back(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The end of what a program said, as one line.
fn last_words(text: &str) -> String {
    let line = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let mut start = line.len().saturating_sub(LAST_WORDS);
    while !line.is_char_boundary(start) {
        start += 1;
    }
    line[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_last_words() {
        let error = run(Command::new("sh").args(["-c", "echo first >&2; echo; echo last >&2; exit 3"]), "a test");
        assert_eq!(error.unwrap_err().to_string(), "a test failed (exit status: 3): first; last");
    }

    #[test]
    fn lines_come_one_by_one() {
        let mut lines = Vec::new();
        run_lines(Command::new("sh").args(["-c", "echo a; echo b"]), "a test", |line| lines.push(line.to_owned()))
            .unwrap();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn last_words_are_cut_between_characters() {
        let text = "ü".repeat(LAST_WORDS) + "x";
        assert!(last_words(&text).len() <= LAST_WORDS);
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(&mut Command::new("no-such-program-here"), "a test").unwrap_err();
        assert!(error.to_string().starts_with("running no-such-program-here: "), "{error}");
    }
}
