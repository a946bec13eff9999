//! The root image: an ext4 file system with the guest's programs, the kernel's modules and the caller's files.
//!
//! The same contents make the same image, whoever makes it and when: all times are one, all files belong to root, and identifiers are fixed.
//! mke2fs reads the contents as a tar file that is written to it as it's made; no copy of them is on the disk.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;

use super::cache::Name;
use super::error::Error;
use super::kernel::Kernel;
use super::packages::{FOLDERS, GUEST, LINKS, NOT_IN_GUEST, TEXTS};
use super::progress::{Progress, Unit};
use super::system::System;
use super::tool::{check, not_started, read_back, run};
use super::tree::{Contents, Node, Tree};
use super::{RootFile, closure};

/// Changes when images are made in another way, for which no table tells.
const ID: &str = "image 1";
/// Identifies the file system, and seeds its directory hashes.
const UUID: &str = "6d6c7835-7477-496e-8000-726f6f743031";
/// When all files were made, in seconds since 1970. Not 0, which stands for no time at all.
const TIME: u64 = 1_000_000_000;
/// Free bytes in the image, for what the guest writes.
const FREE: u64 = 64 << 20;
/// Free inodes in the image.
const FREE_INODES: u64 = 4096;
/// Bytes of a block, and of an inode.
const BLOCK: u64 = 4096;
const INODE: u64 = 256;
/// Where a file system's superblock is, how much of it is looked at, and what it's known by.
const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_HEAD: usize = 0x40;
const MAGIC: u32 = 0xef53;
/// Bytes between two tellings of how far it has come.
const TELL: u64 = 1 << 20;

/// What an image is made from, as a name.
pub(super) fn key(system: &System, kernel: &Kernel, files: &[RootFile]) -> String {
    let lists = [GUEST, NOT_IN_GUEST].map(|list| list.join(" "));
    let pairs =
        [LINKS, TEXTS].map(|table| table.iter().map(|(path, text)| format!("{path} {text}\n")).collect::<String>());
    let folders = FOLDERS.iter().map(|(path, mode)| format!("{path} {mode:o}\n")).collect::<String>();
    let name = Name::default().add(ID).add(&system.id).add(&kernel.id).add(&kernel.release).add(folders);
    let name = lists.iter().chain(&pairs).fold(name, Name::add);
    files.iter().fold(name, |name, file| name.add(file.path).add(file.mode.to_le_bytes()).add(&file.contents)).hex()
}

/// Writes an image to `to`.
pub(super) fn make(
    system: &System,
    kernel: &Kernel,
    files: &[RootFile],
    to: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let tree = contents(system, kernel, files)?;
    let bytes = tree.0.values().map(size).sum::<u64>();
    let inodes = tree.0.len() as u64 + FREE_INODES;
    // Folders and block maps need less than a 32nd of what is in the files.
    let total = bytes + bytes / 32 + inodes * INODE + FREE;
    progress.stage("root image", Unit::Bytes, bytes);

    let mut words = tempfile::tempfile().map_err(Error::file("writing", to))?;
    let mut command = system.mke2fs().command();
    command.env("SOURCE_DATE_EPOCH", TIME.to_string()).env("E2FSPROGS_FAKE_TIME", TIME.to_string());
    // Nobody repairs a root image: a journal would only take time and place.
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0", "-L", "root", "-U", UUID]);
    command.args(["-b", &BLOCK.to_string(), "-I", &INODE.to_string(), "-N", &inodes.to_string()]);
    command.args(["-E", &format!("hash_seed={UUID},lazy_itable_init=0,nodiscard,root_owner=0:0"), "-d", "-"]);
    command.arg(to).arg(format!("{}k", total.div_ceil(BLOCK) * (BLOCK >> 10)));
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(words.try_clone().map_err(Error::file("writing", to))?);
    let mut child = command.spawn().map_err(|error| not_started(&command, error))?;
    let written = child.stdin.take().map_or(Ok(()), |stdin| write_tar(&tree, BufWriter::new(stdin), progress));
    let status = child.wait().map_err(Error::file("writing", to))?;
    let stderr = read_back(&mut words).map_err(Error::file("writing", to))?;
    // If mke2fs failed, it also read no further: then what it says is the reason.
    check(&std::process::Output { status, stdout: Vec::new(), stderr }, "making the root image (mke2fs)")?;
    written.map_err(Error::file("writing", to))
}

/// Whether an image has the size that its file system says it has (struct ext4_super_block): the file may have been cut short.
pub(super) fn is_whole(image: &Path) -> bool {
    let Ok(mut file) = File::open(image) else { return false };
    let mut block = [0; SUPERBLOCK_HEAD];
    let read = file.seek(SeekFrom::Start(SUPERBLOCK)).and_then(|_| file.read_exact(&mut block));
    let (Ok(()), Ok(metadata)) = (read, file.metadata()) else { return false };
    let number = |offset: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| block[offset + index]));
    let (blocks, log_size, magic) = (number(0x04), number(0x18), number(0x38) & 0xffff);
    magic == MAGIC && u64::from(blocks).checked_shl(log_size.saturating_add(10)) == Some(metadata.len())
}

/// All that is in the image.
fn contents(system: &System, kernel: &Kernel, files: &[RootFile]) -> Result<Tree, Error> {
    let packages = system.files()?;
    let programs = packages.select(GUEST, NOT_IN_GUEST);
    let libraries = closure::libraries(&packages, programs.clone())?;
    let applets = run(system.busybox().arg("--list"), "listing busybox's applets")?;

    let mut tree = Tree::default();
    for (path, mode) in FOLDERS {
        tree.insert(path, Node::Folder(*mode));
    }
    for (path, target) in LINKS {
        tree.insert(path, Node::Link((*target).to_owned()));
    }
    for (path, text) in TEXTS {
        tree.insert(path, bytes(0o644, text.as_bytes().to_vec()));
    }
    let linked = programs.iter().flat_map(|path| packages.follow(path)).collect::<Vec<_>>();
    tree.take(&packages, programs.into_iter().chain(linked).chain(libraries));
    add_applets(&mut tree, &String::from_utf8_lossy(&applets));
    let modules = Tree::read(&kernel.modules)?;
    for (path, node) in modules.0 {
        tree.insert(&format!("usr/{path}"), node);
    }
    for file in files {
        tree.insert(checked(file.path)?, bytes(file.mode, file.contents.clone()));
    }
    Ok(tree)
}

/// Links for what busybox can do and no other program of the image does.
fn add_applets(tree: &mut Tree, applets: &str) {
    for applet in applets.lines().filter(|applet| !applet.is_empty() && !applet.contains('/')) {
        if ["bin", "sbin"].iter().all(|folder| !tree.0.contains_key(&format!("usr/{folder}/{applet}"))) {
            tree.insert(&format!("usr/bin/{applet}"), Node::Link("busybox".to_owned()));
        }
    }
}

/// The path of a caller's file, without its first slash.
fn checked(path: &str) -> Result<&str, Error> {
    let wrong = |rule| Error::RootFile { path: path.to_owned(), rule };
    let relative = path.strip_prefix('/').ok_or_else(|| wrong("it must begin with a slash"))?;
    if relative.split('/').any(|component| ["", ".", ".."].contains(&component)) {
        return Err(wrong("its components must be names"));
    }
    if LINKS.iter().any(|(link, _)| relative.strip_prefix(link).is_some_and(|rest| rest.starts_with('/'))) {
        return Err(wrong("it must not go through a link: say /usr/bin instead of /bin"));
    }
    Ok(relative)
}

fn bytes(mode: u32, contents: Vec<u8>) -> Node {
    Node::File { mode: mode & 0o7777, size: contents.len() as u64, contents: Contents::Bytes(contents) }
}

/// The bytes that a node takes in the image, without its inode.
fn size(node: &Node) -> u64 {
    match node {
        Node::File { size, .. } => size.div_ceil(BLOCK) * BLOCK,
        Node::Folder(_) => BLOCK,
        Node::Link(_) => 0,
    }
}

/// Writes the contents as a tar file: folders before what's in them.
fn write_tar(tree: &Tree, to: impl Write, progress: &dyn Progress) -> io::Result<()> {
    let mut builder = tar::Builder::new(to);
    let (mut position, mut told) = (0, 0);
    for (path, node) in &tree.0 {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        match node {
            Node::Folder(mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                builder.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, path, target)?;
            }
            Node::File { mode, size, contents } => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(*size);
                match contents {
                    Contents::Bytes(bytes) => builder.append_data(&mut header, path, bytes.as_slice())?,
                    Contents::File(file) => builder.append_data(&mut header, path, File::open(file)?)?,
                }
            }
        }
        position += size(node);
        if position - told >= TELL {
            told = position;
            progress.position(position);
        }
    }
    builder.into_inner()?.flush()
}

#[cfg(test)]
mod tests {
    use super::super::progress::Silent;
    use super::*;

    #[test]
    fn callers_paths_are_checked() {
        assert_eq!(checked("/init").unwrap(), "init");
        assert_eq!(checked("/usr/bin/x").unwrap(), "usr/bin/x");
        for path in ["init", "/", "/a/../b", "/a//b", "/bin/x", "/lib64/x"] {
            assert!(checked(path).is_err(), "{path}");
        }
    }

    #[test]
    fn applets_stand_behind_real_programs() {
        let mut tree = Tree::default();
        tree.insert("usr/sbin/ip", bytes(0o755, Vec::new()));
        add_applets(&mut tree, "ip\nls\n[\n");
        assert_eq!(tree.0.get("usr/bin/ls"), Some(&Node::Link("busybox".to_owned())));
        assert!(!tree.0.contains_key("usr/bin/ip") && tree.0.contains_key("usr/bin/["));
    }

    #[test]
    fn an_image_that_was_cut_short_is_found_out() {
        let mut image = vec![0; 16 << 10];
        image[0x404..0x408].copy_from_slice(&4_u32.to_le_bytes());
        image[0x418..0x41c].copy_from_slice(&2_u32.to_le_bytes());
        image[0x438..0x43a].copy_from_slice(&0xef53_u16.to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let whole = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            is_whole(&path)
        };
        assert!(whole(&image));
        assert!(!whole(&image[..12 << 10]) && !whole(&image[..100]) && !whole(&vec![0; 16 << 10]));
        assert!(!is_whole(&folder.path().join("none")));
    }

    #[test]
    fn the_tar_file_depends_on_contents_only() {
        let mut tree = Tree::default();
        tree.insert("a/b", bytes(0o755, b"text".to_vec()));
        tree.insert("a/c", Node::Link("b".to_owned()));
        tree.insert(&format!("a/{}", "long".repeat(60)), bytes(0o644, Vec::new()));
        let tar = |tree: &Tree| {
            let mut bytes = Vec::new();
            write_tar(tree, &mut bytes, &Silent).unwrap();
            bytes
        };
        assert_eq!(tar(&tree), tar(&tree.clone()));
        let bytes = tar(&tree);
        let mut archive = tar::Archive::new(&bytes[..]);
        let paths = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(paths.collect::<Vec<_>>(), ["a/", "a/b", "a/c", &format!("a/{}", "long".repeat(60))]);
    }
}
