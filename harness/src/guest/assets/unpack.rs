//! Packages unpacked into a folder.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::Error;
use super::packages::{NOT_UNPACKED, UNPACKED_DOC, matches};
use super::progress::{Progress, Unit};
use super::tool::{check, not_started, read_back};

/// Unpacks packages into `folder`, but for what isn't wanted. `stage` is the name for the progress.
pub(super) fn unpack(packages: &[PathBuf], folder: &Path, stage: &str, progress: &dyn Progress) -> Result<(), Error> {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    progress.stage(stage, Unit::Bytes, packages.iter().map(size).sum());
    let mut position = 0;
    for package in packages {
        unpack_one(package, folder)?;
        position += size(package);
        progress.position(position);
    }
    Ok(())
}

fn unpack_one(package: &Path, folder: &Path) -> Result<(), Error> {
    let io = |action| Error::file(action, package);
    let mut words = tempfile::tempfile().map_err(io("unpacking"))?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--fsys-tarfile").arg(package).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(words.try_clone().map_err(io("unpacking"))?);
    let mut child = command.spawn().map_err(|error| not_started(&command, error))?;
    let extracted = child.stdout.take().map_or(Ok(()), |stdout| extract(BufReader::new(stdout), folder));
    let status = child.wait().map_err(io("unpacking"))?;
    let stderr = read_back(&mut words).map_err(io("unpacking"))?;
    // If dpkg-deb failed, the end of the tar file is missing only because of that.
    check(&std::process::Output { status, stdout: Vec::new(), stderr }, &format!("unpacking {}", package.display()))?;
    extracted.map_err(io("unpacking"))
}

/// Writes what is wanted of a tar file. No entry can leave the folder.
fn extract(mut tar: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(&mut tar);
    archive.set_preserve_mtime(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned();
        if wanted(&path) {
            entry.unpack_in(folder)?;
        }
    }
    // The writer of a pipe must not be cut off before its last padding.
    io::copy(&mut tar, &mut io::sink()).map(|_| ())
}

/// True if a file is unpacked. Documentation isn't, but for the tests in it.
fn wanted(path: &str) -> bool {
    !path.is_empty()
        && !matches(NOT_UNPACKED, path)
        && (!path.starts_with("usr/share/doc/") || matches(&[UNPACKED_DOC], path))
}

/// The path of a file or link below a folder that a pattern of one component at its end matches; the first by name.
pub(super) fn find(folder: &Path, pattern: &str) -> Result<PathBuf, Error> {
    let missing = || Error::Missing { what: pattern.to_owned() };
    let (parent, _) = pattern.rsplit_once('/').ok_or_else(missing)?;
    let entries = fs::read_dir(folder.join(parent)).map_err(|_| missing())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found = names.filter(|name| matches(&[pattern], &format!("{parent}/{name}"))).min();
    found.map(|name| folder.join(parent).join(name)).ok_or_else(missing)
}

/// Waits until a file's contents are on the disk.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::file("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_stays_away_but_for_the_tests() {
        assert!(wanted("usr/bin/ip") && wanted("usr/share/doc/rdma-core/tests/base.py.gz"));
        assert!(!wanted("usr/share/doc/rdma-core/copyright") && !wanted("usr/share/man/man1") && !wanted(""));
    }

    #[test]
    fn a_tar_file_is_unpacked_within_its_folder() {
        let mut builder = tar::Builder::new(Vec::new());
        for path in ["usr/bin/a", "usr/share/man/b"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o755);
            builder.append_data(&mut header, path, &b"x"[..]).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        extract(&tar[..], folder.path()).unwrap();
        assert!(folder.path().join("usr/bin/a").is_file() && !folder.path().join("usr/share/man").exists());
        assert_eq!(find(folder.path(), "usr/bin/*").unwrap(), folder.path().join("usr/bin/a"));
        assert!(find(folder.path(), "usr/bin/b*").is_err());
    }
}
