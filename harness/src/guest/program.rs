//! This program, for the guest: the disk that the agent copies to the guest's PATH.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use crate::hash::Fnv1a;

/// A disk's sector: what its size is a multiple of.
const SECTOR: u64 = 512;

/// Larger programs stay outside: the copy is in the guest's memory.
const LARGEST: u64 = 200 << 20;

/// How many of them are kept.
const KEPT: usize = 4;

/// The running program as a disk image, without its symbols if `strip` is installed; kept in `cache`.
///
/// # Errors
/// It can't be read or written, or is too large.
pub fn image(cache: &Path) -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let metadata = fs::metadata(&program)?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("{} {} {}", program.display(), metadata.len(), modified.as_nanos());
    let folder = cache.join("programs");
    let kept = folder.join(format!("{:016x}", Fnv1a::of(name.as_bytes())));
    if kept.exists() {
        return Ok(kept);
    }
    fs::create_dir_all(&folder)?;
    let new = tempfile::Builder::new().prefix("new-").tempfile_in(&folder)?;
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(new.path())
        .arg(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        fs::copy(&program, new.path())?;
    }
    let file = File::options().write(true).open(new.path())?;
    let length = file.metadata()?.len();
    if length > LARGEST {
        return Err(io::Error::other(format!("the program has {length} bytes; {LARGEST} at most fit into a guest")));
    }
    file.set_len(length.next_multiple_of(SECTOR))?;
    new.persist(&kept)?;
    super::cache::keep_newest(&folder, KEPT, &kept);
    Ok(kept)
}
