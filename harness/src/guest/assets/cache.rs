//! The folder that holds what was prepared.
//!
//! A thing gets its name by one rename when it's whole; until then it's below `new/`. So what has a name is whole, whenever it was that
//! something was interrupted. Making is done by one process at a time (a lock); looking for what's there needs no lock.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::error::Error;

/// What isn't whole yet.
const NEW: &str = "new";
/// What only one process at a time holds.
const LOCK: &str = "lock";

/// The cache folder.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// The right to make things; given back when dropped.
#[derive(Debug)]
pub(super) struct Making {
    // The lock lasts as long as the file is open.
    _lock: File,
}

impl Cache {
    /// The cache of this user: `MLX5_TWIN_CACHE`, else `$XDG_CACHE_HOME/mlx5-twin`, else `~/.cache/mlx5-twin`. Nothing is made yet.
    pub(super) fn of_user() -> Result<Cache, Error> {
        let folder = folder(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
        // Programs that are run have the paths in their arguments, whatever their working folder is.
        let folder = folder.ok_or(Error::NoCache)?;
        let folder = std::path::absolute(&folder).map_err(Error::file("finding", folder))?;
        Ok(Cache { folder })
    }

    /// Where a thing is, or will be.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the folder if needed, and waits for the lock. `waiting` is called if another process has it. What an interrupted process left
    /// is removed.
    pub(super) fn lock(&self, waiting: impl FnOnce()) -> Result<Making, Error> {
        fs::create_dir_all(&self.folder).map_err(Error::file("making", &self.folder))?;
        let path = self.path(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(Error::file("opening", &path))?;
        if lock.try_lock().is_err() {
            waiting();
            lock.lock().map_err(Error::file("locking", &path))?;
        }
        // Programs that this one starts have the lock too: if this one is killed, they may go on for a second or two, and nobody should make
        // anything until then.
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())
            .map_err(|error| Error::file("locking", &path)(error.into()))?;
        remove(&self.path(NEW))?;
        Ok(Making { _lock: lock })
    }

    /// An empty folder for what isn't whole yet. It's removed when dropped.
    pub(super) fn new_folder(&self, _: &Making) -> Result<TempDir, Error> {
        let path = self.path(NEW);
        fs::create_dir_all(&path).map_err(Error::file("making", &path))?;
        TempDir::new_in(&path).map_err(Error::file("making a folder in", &path))
    }

    /// Gives a file or folder that is whole its name.
    pub(super) fn keep(&self, _: &Making, from: &Path, name: &str) -> Result<PathBuf, Error> {
        let to = self.path(name);
        remove(&to)?;
        fs::rename(from, &to).map_err(Error::file("renaming to", &to))?;
        Ok(to)
    }

    /// Removes all files and folders whose names begin with `prefix`, but the `count` that were used last.
    pub(super) fn keep_newest(&self, _: &Making, prefix: &str, count: usize) -> Result<(), Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::file("reading", &self.folder))? {
            let entry = entry.map_err(Error::file("reading", &self.folder))?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let used = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((used, entry.path()));
            }
        }
        found.sort();
        let surplus = found.len().saturating_sub(count);
        found.iter().take(surplus).try_for_each(|(_, path)| remove(path))
    }
}

/// The cache folder by the environment.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("MLX5_TWIN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("mlx5-twin")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/mlx5-twin")))
}

/// Notes that a file or folder was used now. No harm is done if it can't be noted: it counts as older then.
pub(super) fn used(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes a file or folder, if it's there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("removing", path)(error)),
        _ => Ok(()),
    }
}

/// A name for contents: 64 bits of SHA-256 over parts, as hex digits. Each part is hashed with its length, so that no two lists of parts
/// are the same bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Name(Sha256);

impl Name {
    /// Adds a part.
    pub(super) fn add(mut self, part: impl AsRef<[u8]>) -> Name {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The name.
    pub(super) fn hex(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (TempDir, Cache) {
        let folder = TempDir::new().unwrap();
        let cache = Cache { folder: folder.path().join("cache") };
        (folder, cache)
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        let set = |names: &'static [&str]| folder(move |name| names.contains(&name).then(|| PathBuf::from("/x")));
        assert_eq!(set(&["MLX5_TWIN_CACHE", "XDG_CACHE_HOME", "HOME"]), Some(PathBuf::from("/x")));
        assert_eq!(set(&["XDG_CACHE_HOME", "HOME"]), Some(PathBuf::from("/x/mlx5-twin")));
        assert_eq!(set(&["HOME"]), Some(PathBuf::from("/x/.cache/mlx5-twin")));
        assert_eq!(set(&[]), None);
    }

    #[test]
    fn what_was_interrupted_is_removed() {
        // Another test's program may have the lock for a moment, as one that's started while it's open.
        let (_folder, cache) = cache();
        let making = cache.lock(|| ()).unwrap();
        let half = cache.new_folder(&making).unwrap().keep();
        drop(making);
        cache.lock(|| ()).unwrap();
        assert!(!half.exists());
    }

    #[test]
    fn programs_that_outlive_their_parent_keep_the_lock() {
        let (_folder, cache) = cache();
        let making = cache.lock(|| ()).unwrap();
        // Ends when its input does.
        let mut orphan = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut pipe = orphan.stdin.take();
        // As if this process had been killed.
        drop(making);
        cache.lock(|| drop(pipe.take())).unwrap();
        assert!(pipe.is_none(), "the lock was free while the program ran");
        orphan.wait().unwrap();
    }

    #[test]
    fn what_is_kept_replaces_what_was_there() {
        let (_folder, cache) = cache();
        let making = cache.lock(|| ()).unwrap();
        for text in ["old", "new"] {
            let folder = cache.new_folder(&making).unwrap();
            fs::write(folder.path().join("a"), text).unwrap();
            cache.keep(&making, folder.path(), "thing").unwrap();
        }
        assert_eq!(fs::read_to_string(cache.path("thing/a")).unwrap(), "new");
    }

    #[test]
    fn the_newest_stay() {
        let (_folder, cache) = cache();
        let making = cache.lock(|| ()).unwrap();
        for (name, second) in [("image-a", 3), ("image-b", 1), ("image-c", 2), ("other", 0)] {
            let file = File::create(cache.path(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
        }
        cache.keep_newest(&making, "image-", 2).unwrap();
        assert!(["image-a", "image-c", "other"].iter().all(|name| cache.path(name).exists()));
        assert!(!cache.path("image-b").exists());
    }

    #[test]
    fn a_name_depends_on_where_parts_end() {
        assert_eq!(Name::default().add("ab").add("c").hex(), Name::default().add("ab").add("c").hex());
        assert_ne!(Name::default().add("ab").add("c").hex(), Name::default().add("a").add("bc").hex());
        assert_eq!(Name::default().hex().len(), 16);
    }
}
