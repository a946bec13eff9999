//! Folders of files that can be made again.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Another process may still be busy with a file that is younger.
const YOUNG: Duration = Duration::from_secs(600);

/// Removes all files of a folder but `keep`, the `count` that were changed last, and those that are young.
/// Nobody is told if that fails: it'll be tried again.
pub(super) fn keep_newest(folder: &Path, count: usize, keep: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path() != keep)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let surplus = found.len().saturating_sub(count.saturating_sub(1));
    for (changed, path) in found.into_iter().take(surplus) {
        if SystemTime::now().duration_since(changed).is_ok_and(|age| age > YOUNG) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn old_files_go_and_young_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        for (name, hours) in [("a", 5), ("b", 4), ("c", 3), ("d", 0), ("kept", 9)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        }
        keep_newest(folder.path(), 1, &folder.path().join("kept"));
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["d", "kept"]);
    }
}
