//! A tree of files and links: what is in a folder, and what goes into the root image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::packages::matches;

/// How many links may lead to a file.
const MAX_LINKS: usize = 16;

/// What a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Those of a file.
    File(PathBuf),
    /// These.
    Bytes(Vec<u8>),
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A folder, with its mode.
    Folder(u32),
    /// A file.
    File {
        /// Permissions.
        mode: u32,
        /// Bytes.
        size: u64,
        /// What's in it.
        contents: Contents,
    },
    /// A symbolic link to this target.
    Link(String),
}

/// Paths from the root without their first slash, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree(pub(super) BTreeMap<String, Node>);

impl Tree {
    /// What is in a folder.
    pub(super) fn read(folder: &Path) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        tree.add_folder(folder, "")?;
        Ok(tree)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), Error> {
        for entry in fs::read_dir(folder).map_err(Error::file("reading", folder))? {
            let path = entry.map_err(Error::file("reading", folder))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(Error::file("reading", &path))?;
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{prefix}{name}"))
            else {
                continue;
            };
            if metadata.is_dir() {
                self.add_folder(&path, &format!("{name}/"))?;
                self.0.insert(name, Node::Folder(0o755));
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(Error::file("reading", &path))?;
                self.0.insert(name, Node::Link(target.to_string_lossy().into_owned()));
            } else {
                // Only what a package says counts, not the umask of who unpacked it.
                let mode = if metadata.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
                self.0.insert(name, Node::File { mode, size: metadata.len(), contents: Contents::File(path) });
            }
        }
        Ok(())
    }

    /// The paths that patterns match, but for those that others do. Folders are left out.
    pub(super) fn select(&self, patterns: &[&str], but: &[&str]) -> BTreeSet<String> {
        let wanted = |(path, node): &(&String, &Node)| {
            !matches!(node, Node::Folder(_)) && matches(patterns, path) && !matches(but, path)
        };
        self.0.iter().filter(wanted).map(|(path, _)| path.clone()).collect()
    }

    /// The links that lead from a path to a file, and the file: all that must be there to open it. Nothing if there's no such file.
    pub(super) fn follow(&self, path: &str) -> Vec<String> {
        let mut way = vec![path.to_owned()];
        while let Some(last) = way.last() {
            match self.0.get(last) {
                Some(Node::Link(target)) if way.len() < MAX_LINKS => way.push(resolve(last, target)),
                Some(Node::File { .. }) => return way,
                _ => break,
            }
        }
        Vec::new()
    }

    /// Adds a node, with all folders above it that aren't there.
    pub(super) fn insert(&mut self, path: &str, node: Node) {
        for (index, _) in path.match_indices('/') {
            self.0.entry(path[..index].to_owned()).or_insert(Node::Folder(0o755));
        }
        self.0.insert(path.to_owned(), node);
    }

    /// Adds those nodes of another tree.
    pub(super) fn take(&mut self, other: &Tree, paths: impl IntoIterator<Item = String>) {
        for path in paths {
            if let Some(node) = other.0.get(&path) {
                self.insert(&path, node.clone());
            }
        }
    }
}

/// Where a link leads that is at `path`.
fn resolve(path: &str, target: &str) -> String {
    let mut components = path.split('/').collect::<Vec<_>>();
    components.pop();
    if target.starts_with('/') {
        components.clear();
    }
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            _ => components.push(component),
        }
    }
    components.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Node {
        Node::File { mode: 0o644, size: 0, contents: Contents::Bytes(Vec::new()) }
    }

    #[test]
    fn links_are_followed() {
        let mut tree = Tree::default();
        tree.insert("usr/lib64/ld.so", Node::Link("../lib/x/ld.so".to_owned()));
        tree.insert("usr/lib/x/ld.so", Node::Link("ld-1.so".to_owned()));
        tree.insert("usr/lib/x/ld-1.so", file());
        tree.insert("loop", Node::Link("/loop".to_owned()));
        assert_eq!(tree.follow("usr/lib64/ld.so"), ["usr/lib64/ld.so", "usr/lib/x/ld.so", "usr/lib/x/ld-1.so"]);
        assert!(tree.follow("loop").is_empty() && tree.follow("none").is_empty() && tree.follow("usr").is_empty());
    }

    #[test]
    fn folders_come_with_what_is_in_them() {
        let mut tree = Tree::default();
        tree.insert("a/b/c", file());
        assert_eq!(tree.0.keys().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
        assert_eq!(tree.select(&["a"], &["a/x"]).into_iter().collect::<Vec<_>>(), ["a/b/c"]);
        assert!(tree.select(&["a"], &["a/b"]).is_empty());
    }

    #[test]
    fn a_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "xy").unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a/c")).unwrap();
        let tree = Tree::read(folder.path()).unwrap();
        assert_eq!(tree.0.keys().collect::<Vec<_>>(), ["a", "a/b", "a/c"]);
        assert_eq!(tree.follow("a/c"), ["a/c", "a/b"]);
        assert!(matches!(tree.0["a/b"], Node::File { mode: 0o644, size: 2, .. }));
    }
}
