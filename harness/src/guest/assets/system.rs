//! The tree of packages: QEMU and the other programs that the host runs come from it, and the guest's files are picked from it.
//!
//! Nothing in it is installed: its programs are run by its own dynamic linker with its own libraries, whatever the host has.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::apt::Apt;
use super::cache::{Cache, Making, Name};
use super::closure;
use super::error::Error;
use super::packages::{
    GUEST, HOST_PROGRAMS, LIBRARIES, NOT_IN_GUEST, NOT_NEEDED, NOT_UNPACKED, PACKAGES, PYTHON_CODE, SYSTEM_SUITE,
    TESTS, UNPACKED_DOC,
};
use super::progress::{Progress, Unit};
use super::tool::{Tool, run};
use super::tree::Tree;
use super::unpack::{find, sync, unpack};

/// Changes when trees are made in another way, for which no table tells.
const ID: &str = "system 1";
/// The packages of a tree with their versions, one per line. It's written last.
const LIST: &str = "packages";
/// The tree, beside the list.
const TREE: &str = "tree";
/// Its dynamic linker.
const LINKER: &str = "ld-linux-x86-64.so.2";

/// A tree of packages.
#[derive(Clone, Debug)]
pub(super) struct System {
    tree: PathBuf,
    /// Changes when the packages or what is taken of them do.
    pub(super) id: String,
}

impl System {
    /// The tree, if the cache has it.
    pub(super) fn cached(cache: &Cache) -> Option<System> {
        System::read(&cache.path(&name()))
    }

    /// Makes the tree.
    pub(super) fn make(cache: &Cache, making: &Making, progress: &dyn Progress) -> Result<System, Error> {
        let apt = Apt::new(&cache.path(&format!("apt-{}", SYSTEM_SUITE.name)), SYSTEM_SUITE, NOT_NEEDED, progress)?;
        apt.update()?;
        let packages = apt.download(PACKAGES)?;
        let new = cache.new_folder(making)?;
        let system = System { tree: new.path().join(TREE), id: String::new() };
        fs::create_dir(&system.tree).map_err(Error::file("making", &system.tree))?;
        unpack(&packages, &system.tree, "unpacking QEMU and the guest's programs", progress)?;
        system.make_tests_ready()?;
        system.compile(progress)?;
        system.check_libraries()?;
        let names = packages.iter().filter_map(|path| path.file_stem()?.to_str()).map(|name| format!("{name}\n"));
        let list = new.path().join(LIST);
        fs::write(&list, names.collect::<String>()).map_err(Error::file("writing", &list))?;
        sync(&list)?;
        let folder = cache.keep(making, new.path(), &name())?;
        apt.remove()?;
        System::read(&folder).ok_or_else(|| Error::Missing { what: format!("tree in {}", folder.display()) })
    }

    fn read(folder: &Path) -> Option<System> {
        let list = fs::read(folder.join(LIST)).ok()?;
        Some(System { tree: folder.join(TREE), id: Name::default().add(name()).add(list).hex() })
    }

    /// Its folder in the cache.
    pub(super) fn folder(&self) -> &Path {
        self.tree.parent().unwrap_or(&self.tree)
    }

    /// The tree as files and links.
    pub(super) fn files(&self) -> Result<Tree, Error> {
        Tree::read(&self.tree)
    }

    /// QEMU. It looks for firmware in the tree, and loads no modules of the host's QEMU.
    pub(super) fn qemu(&self) -> Tool {
        let mut tool = self.tool("usr/bin/qemu-system-x86_64", "qemu-system-x86_64");
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            tool = tool.argument("-L").argument(self.tree.join(folder));
        }
        tool.variable("QEMU_MODULE_DIR", self.tree.join(LIBRARIES).join("qemu"))
    }

    /// mke2fs with the configuration of its package.
    pub(super) fn mke2fs(&self) -> Tool {
        self.tool("usr/sbin/mke2fs", "mke2fs").variable("MKE2FS_CONFIG", self.tree.join("etc/mke2fs.conf"))
    }

    /// depmod.
    pub(super) fn depmod(&self) -> Tool {
        self.tool("usr/bin/kmod", "depmod")
    }

    /// busybox, which needs no libraries.
    pub(super) fn busybox(&self) -> Command {
        Command::new(self.tree.join("usr/bin/busybox"))
    }

    /// A program of the tree, run by the tree's dynamic linker as `name`.
    fn tool(&self, program: &str, name: &str) -> Tool {
        let libraries = self.tree.join(LIBRARIES);
        let arguments: [OsString; 6] = [
            "--inhibit-cache".into(),
            "--library-path".into(),
            libraries.clone().into(),
            "--argv0".into(),
            name.into(),
            self.tree.join(program).into(),
        ];
        Tool { program: libraries.join(LINKER), arguments: arguments.into(), environment: Vec::new() }
    }

    /// Puts the tests of rdma-core where they are looked for, not compressed.
    fn make_tests_ready(&self) -> Result<(), Error> {
        let (from, to) = (self.tree.join(UNPACKED_DOC), self.tree.join(TESTS));
        let parent = to.parent().unwrap_or(&to);
        fs::create_dir_all(parent).map_err(Error::file("making", parent))?;
        fs::rename(&from, &to).map_err(Error::file("renaming", from))?;
        let mut compressed = Vec::new();
        for entry in fs::read_dir(&to).map_err(Error::file("reading", &to))? {
            let path = entry.map_err(Error::file("reading", &to))?.path();
            if path.extension().is_some_and(|extension| extension == "gz") {
                compressed.push(path);
            }
        }
        if compressed.is_empty() {
            return Ok(());
        }
        compressed.sort();
        run(self.busybox().arg("gunzip").args(compressed), "decompressing the tests of rdma-core").map(|_| ())
    }

    /// Compiles Python code, so that the guest needn't. What is compiled has no times in it and counts as up to date, whatever the times of
    /// files in the image are.
    fn compile(&self, progress: &dyn Progress) -> Result<(), Error> {
        progress.stage("compiling Python code", Unit::Steps, PYTHON_CODE.len() as u64);
        let python = find(&self.tree, "usr/bin/python3.*")?;
        let python = python.strip_prefix(&self.tree).unwrap_or(&python).to_string_lossy().into_owned();
        let compile = |pattern: &str| {
            let folder = find(&self.tree, pattern)?;
            let mut command = self.tool(&python, "python3").command();
            command.env("PYTHONHOME", self.tree.join("usr")).env("PYTHONHASHSEED", "0");
            command.args(["-s", "-B", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s"]);
            command.arg(&self.tree).args(["-p", "/"]).arg(folder);
            run(&mut command, &format!("compiling Python code in {pattern}")).map(|_| ())
        };
        thread::scope(|scope| {
            let threads = PYTHON_CODE.iter().map(|pattern| scope.spawn(|| compile(pattern))).collect::<Vec<_>>();
            for (done, thread) in (1..).zip(threads) {
                thread.join().unwrap_or_else(|_| Err(Error::Missing { what: "result of a thread".to_owned() }))?;
                progress.position(done);
            }
            Ok(())
        })
    }

    /// That all libraries are there which the host's and the guest's programs need.
    fn check_libraries(&self) -> Result<(), Error> {
        let files = self.files()?;
        let host = files.select(HOST_PROGRAMS, &[]);
        let guest = files.select(GUEST, NOT_IN_GUEST);
        closure::libraries(&files, host.into_iter().chain(guest)).map(|_| ())
    }
}

/// The name of the tree in the cache. It changes with the tables from which it's made.
fn name() -> String {
    let tables = [PACKAGES, NOT_NEEDED, NOT_UNPACKED, PYTHON_CODE];
    let name = Name::default().add(ID).add(SYSTEM_SUITE.name);
    let name = tables.iter().fold(name, |name, table| name.add(table.join(" ")));
    format!("system-{}", name.hex())
}
