//! A kernel's modules: those that the guest may need, with all that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::error::Error;
use super::packages::{MODULES, matches};
use super::progress::{Progress, Unit};
use super::system::System;
use super::tool::run;

/// Changes when other modules are taken.
pub(super) const ID: &str = "modules 1";

/// Files beside the modules that `depmod` reads, and one that the guest's `modprobe` reads.
const LISTS: &[&str] = &["modules.order", "modules.builtin", "modules.builtin.modinfo"];
/// Endings of compressed modules, with the program that decompresses them.
const COMPRESSED: &[(&str, &str)] = &[(".xz", "unxz"), (".gz", "gunzip")];

/// Copies modules from `from` (the folder `/lib/modules/RELEASE` of a kernel) to `to`, decompresses them and writes their index.
pub(super) fn collect(
    system: &System,
    from: &Path,
    release: &str,
    to: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.stage(&format!("modules of kernel {release}"), Unit::Steps, 0);
    let index = tempfile::tempdir().map_err(Error::file("making a folder for", from))?;
    // depmod wants a root with the modules in lib/modules, and writes where it's told.
    let root = index.path().join("root/lib/modules");
    fs::create_dir_all(&root).map_err(Error::file("making", &root))?;
    std::os::unix::fs::symlink(from, root.join(release)).map_err(Error::file("linking", from))?;
    let written = index.path().join("index");
    let mut command = system.depmod().command();
    command.arg("-b").arg(index.path().join("root")).arg("-o").arg(&written).arg(release);
    run(&mut command, "writing the index of all modules (depmod)")?;
    let path = written.join("lib/modules").join(release).join("modules.dep");
    let dependencies = fs::read_to_string(&path).map_err(Error::file("reading", &path))?;
    let modules = select(&dependencies);
    if modules.is_empty() {
        let rule = "a modules folder must hold drivers/infiniband and other modules, which this doesn't".to_owned();
        return Err(Error::Kernel { path: from.to_owned(), rule });
    }

    let target = to.join("lib/modules").join(release);
    for (step, module) in (1..).zip(&modules) {
        copy(&from.join(module), &target.join(module))?;
        progress.position(step);
    }
    for list in LISTS.iter().filter(|list| from.join(list).is_file()) {
        copy(&from.join(list), &target.join(list))?;
    }
    for (ending, program) in COMPRESSED {
        let compressed = modules.iter().filter(|module| module.ends_with(ending)).map(|module| target.join(module));
        let compressed = compressed.collect::<Vec<_>>();
        if !compressed.is_empty() {
            run(system.busybox().arg(program).args(compressed), "decompressing modules")?;
        }
    }
    let mut command = system.depmod().command();
    run(command.arg("-b").arg(to).arg(release), "writing the index of modules (depmod)").map(|_| ())
}

/// What shows that any file below a folder has changed: each one's path, size and time.
pub(super) fn stamps(folder: &Path) -> String {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // A link isn't followed: those beside modules lead to the kernel's sources.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => all.push(format!("{:?} {}\n", entry.path(), stamp(&metadata))),
                Err(_) => {}
            }
        }
    }
    all.sort();
    all.concat()
}

/// What shows that a file has changed: its size and time.
pub(super) fn stamp(metadata: &fs::Metadata) -> String {
    format!("{} {:?}", metadata.len(), metadata.modified().ok())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(Error::file("making", parent))?;
    fs::copy(from, to).map_err(Error::file("copying", from)).map(|_| ())
}

/// The modules that the tables name and those that they need, by the text of `modules.dep`: a line is a module, a colon, and all modules
/// that it needs, directly or not.
fn select(dependencies: &str) -> BTreeSet<&str> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let needs = lines.collect::<BTreeMap<_, _>>();
    let named = needs.iter().filter(|(module, _)| matches(MODULES, module.strip_prefix("kernel/").unwrap_or(module)));
    named.flat_map(|(module, needed)| [*module].into_iter().chain(needed.split_whitespace())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_with_what_they_need() {
        let dependencies = "kernel/drivers/infiniband/core/ib_core.ko.xz:\n\
             kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz: kernel/net/mlxfw.ko.xz kernel/drivers/infiniband/core/ib_core.ko.xz\n\
             kernel/net/mlxfw.ko.xz:\n\
             kernel/net/other.ko.xz: kernel/net/mlxfw.ko.xz\n";
        let expected = [
            "kernel/drivers/infiniband/core/ib_core.ko.xz",
            "kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz",
            "kernel/net/mlxfw.ko.xz",
        ];
        assert_eq!(select(dependencies).into_iter().collect::<Vec<_>>(), expected);
        assert!(select("").is_empty() && select("no colon").is_empty());
    }
}
