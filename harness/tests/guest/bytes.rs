//! A command's bytes, whoever is at their other end.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use sha2::{Digest, Sha256};

use crate::rig::Guest;

/// And standard error isn't mixed with it.
#[test]
fn ten_megabytes_of_output_are_exact() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.run("head -c 10000000 /dev/urandom | tee /tmp/bytes; sha256sum </tmp/bytes >&2");
    let sum: String = Sha256::digest(&ran.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((ran.code, ran.stdout.len()), (0, 10_000_000), "{}", ran.stderr);
    assert_eq!(ran.stderr, format!("{sum}  -\n"));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command() {
    let Some(guest) = Guest::new() else { return };
    let guest = guest.arguments(&["--run", "yes"]);
    let mut child = guest.command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut bytes = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"y\ny\ny\ny\ny\n");
    // SIGPIPE's, as with any pipe.
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
}

#[test]
fn output_that_is_lost_is_an_error() {
    let Some(guest) = Guest::new() else { return };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let guest = guest.arguments(&["--run", "echo; sleep 1000"]);
    let output = guest.command().stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("standard output is lost: No space left on device"), "{stderr}");
}

/// A signal's exit code is the shell's.
#[test]
fn input_that_nobody_reads_is_no_error_and_signals_have_codes() {
    let Some(guest) = Guest::new() else { return };
    let ran = guest.arguments(&["--run", "kill -KILL $$"]).run_with(&vec![7; 3_000_000]);
    assert_eq!((ran.code, ran.stdout.len(), ran.stderr.as_str()), (128 + 9, 0, ""));
}
