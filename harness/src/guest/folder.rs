//! The private folder of one guest: its sockets, and what it needs for a moment.
//!
//! It goes with the guest. If this process was killed before it could remove it, the next one does.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// How the folder's name begins. Short: a socket's path may have 107 bytes.
const PREFIX: &str = "mlx5-twin-";

/// The file that's locked as long as the folder's owner lives.
const LOCK: &str = "lock";

/// A folder that is younger may not have its lock yet.
const YOUNG: Duration = Duration::from_secs(10);

/// Longest path of a socket, in bytes (unix(7): 108, less the zero).
pub const LONGEST_SOCKET: usize = 107;

/// The folder. Removed when dropped.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    // Locked as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes it, and removes those whose owners were killed.
    ///
    /// # Errors
    /// There's no place for it.
    pub fn new() -> io::Result<Self> {
        let parent = std::env::temp_dir();
        // Where sockets would have no place.
        let parent = if parent.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { parent };
        remove_left(&parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders that nobody owns any more. Nobody is told if that fails: it'll be tried again.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if !ours || !metadata.is_dir() || age.is_none_or(|age| age < YOUNG) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                let _ = fs::remove_dir_all(entry.path());
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_owns_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, old: bool| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            let lock = File::create(folder.join(LOCK)).unwrap();
            let seconds = if old { 100 } else { 0 };
            File::open(&folder).unwrap().set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
            lock
        };
        let owned = make("mlx5-twin-owned", true);
        owned.lock().unwrap();
        for (name, old) in [("mlx5-twin-left", true), ("mlx5-twin-young", false), ("other", true)] {
            drop(make(name, old));
        }
        remove_left(parent.path());
        let mut names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["mlx5-twin-owned", "mlx5-twin-young", "other"]);
    }

    #[test]
    fn it_goes_when_it_is_dropped() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        assert!(path.join("device.sock").as_os_str().len() <= LONGEST_SOCKET && path.exists());
        drop(folder);
        assert!(!path.exists());
    }
}
