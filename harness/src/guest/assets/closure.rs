//! Which libraries programs need: by what their ELF files say, and what those libraries' say.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use goblin::elf::Elf;

use super::error::Error;
use super::packages::LIBRARIES;
use super::tree::{Contents, Node, Tree};

/// The paths of all libraries that files need, directly or not, with the links that lead to them. Files that aren't ELF need none.
pub(super) fn libraries(tree: &Tree, files: impl IntoIterator<Item = String>) -> Result<BTreeSet<String>, Error> {
    let mut waiting = files.into_iter().collect::<Vec<_>>();
    let mut seen = waiting.iter().cloned().collect::<BTreeSet<_>>();
    let mut found = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        // What a link leads to is needed by what needs the link.
        let way = tree.follow(&path);
        let Some(Node::File { contents: Contents::File(file), .. }) = way.last().and_then(|path| tree.0.get(path))
        else {
            continue;
        };
        for library in needed(file, &path)? {
            let way = tree.follow(&format!("{LIBRARIES}/{library}"));
            if way.is_empty() {
                return Err(Error::Library { program: path, library });
            }
            for path in way {
                if seen.insert(path.clone()) {
                    waiting.push(path.clone());
                }
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// The names of the libraries that an ELF file says it needs.
fn needed(file: &Path, path: &str) -> Result<Vec<String>, Error> {
    let mut magic = Vec::new();
    let start = File::open(file).and_then(|file| file.take(4).read_to_end(&mut magic));
    start.map_err(Error::file("reading", file))?;
    if magic != b"\x7fELF" {
        return Ok(Vec::new());
    }
    let bytes = fs::read(file).map_err(Error::file("reading", file))?;
    let elf = Elf::parse(&bytes).map_err(|error| Error::Elf { path: path.to_owned(), reason: error.to_string() })?;
    Ok(elf.libraries.iter().map(|library| (*library).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test is an ELF file itself.
    fn this() -> (Tree, BTreeSet<String>) {
        let file = std::env::current_exe().unwrap();
        let names = needed(&file, "test").unwrap().into_iter().collect();
        let mut tree = Tree::default();
        tree.insert("usr/bin/test", Node::File { mode: 0o755, size: 0, contents: Contents::File(file) });
        tree.insert("usr/bin/link", Node::Link("test".to_owned()));
        (tree, names)
    }

    #[test]
    fn libraries_are_found_through_links() {
        let (mut tree, names) = this();
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
        let text = Node::File { mode: 0o644, size: 0, contents: Contents::Bytes(Vec::new()) };
        let mut expected = BTreeSet::new();
        for name in &names {
            tree.insert(&format!("{LIBRARIES}/{name}"), Node::Link(format!("{name}.1")));
            tree.insert(&format!("{LIBRARIES}/{name}.1"), text.clone());
            expected.extend([format!("{LIBRARIES}/{name}"), format!("{LIBRARIES}/{name}.1")]);
        }
        assert_eq!(libraries(&tree, ["usr/bin/link".to_owned()]).unwrap(), expected);
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let (tree, _) = this();
        let error = libraries(&tree, ["usr/bin/test".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("usr/bin/test needs the library lib"), "{error}");
    }

    #[test]
    fn other_files_need_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("text"), "#!").unwrap();
        assert!(needed(&folder.path().join("text"), "text").unwrap().is_empty());
        fs::write(folder.path().join("elf"), b"\x7fELF").unwrap();
        assert!(needed(&folder.path().join("elf"), "elf").is_err());
    }
}
