//! What is in the cache may have been damaged: a guest is made all the same.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::common::Folder;
use crate::rig::Guest;

/// The cache that other tests use.
fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("MLX5_TWIN_CACHE").or_else(|| Some(variable("XDG_CACHE_HOME")?.join("mlx5-twin")));
    folder.unwrap_or_else(|| variable("HOME").expect("a home").join(".cache/mlx5-twin"))
}

/// The first bytes of a file, as another file.
fn cut(from: &Path, to: &Path) {
    let mut start = io::Read::take(File::open(from).unwrap(), 3 << 20);
    io::copy(&mut start, &mut File::create(to).unwrap()).unwrap();
}

/// Root image and snapshot are cut short.
#[test]
fn damaged_files_are_made_anew() {
    let Some(guest) = Guest::new() else { return };
    // So that there's something to damage.
    assert_eq!(guest.run("true").code, 0);
    let folder = Folder::new("cache");
    fs::create_dir(folder.file("snapshots")).unwrap();
    for entry in fs::read_dir(cache()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match name.split('-').next() {
            Some("system" | "kernel" | "choice") => symlink(entry.path(), folder.file(&name)).unwrap(),
            Some("root") => cut(&entry.path(), Path::new(&folder.file(&name))),
            _ => {}
        }
    }
    for entry in fs::read_dir(cache().join("snapshots")).unwrap().map(Result::unwrap) {
        cut(&entry.path(), &Path::new(&folder.file("snapshots")).join(entry.file_name()));
    }
    let guest = Guest::new().unwrap().arguments(&["--json", "--run", "ibv_devices"]);
    let output = guest.command().env("MLX5_TWIN_CACHE", folder.file("")).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((told["exit_code"].as_u64(), told["warm"].as_bool()), (Some(0), Some(false)), "{told}");
    assert!(told["stdout"].as_str().is_some_and(|text| text.contains("mlx5_0")), "{told}");
}
