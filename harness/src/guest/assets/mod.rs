//! What a Linux guest is made of: QEMU, a kernel, a root image. All of it comes from Debian's packages, as an ordinary user: nothing is
//! installed, and all is in one cache folder.
//!
//! | in the cache | is |
//! |---|---|
//! | `system-*` | the tree of packages: QEMU, other programs for the host, and what the guest's files are picked from |
//! | `kernel-*` | kernels with the modules that the guest may need |
//! | `choice-*` | which kernel was taken for a choice |
//! | `root-*.ext4` | root images |
//! | `apt-*` | downloads that aren't finished |
//! | `new/`, `lock` | what is being made, and by whom |
//!
//! The cache is `MLX5_TWIN_CACHE`, else `$XDG_CACHE_HOME/mlx5-twin`, else `~/.cache/mlx5-twin`. It may be removed at any time. Packages are
//! from the Debian mirror `MLX5_TWIN_MIRROR`, else from deb.debian.org.

mod apt;
mod cache;
mod closure;
mod error;
mod image;
mod kernel;
mod modules;
mod packages;
mod progress;
mod root;
mod system;
mod tool;
mod tree;
mod unpack;
mod version;

use std::env::consts::{ARCH, OS};
use std::path::PathBuf;

pub use error::Error;
pub use kernel::{Available, Kernel, Origin, PINNED, Why};
pub use progress::{Progress, Silent, Unit};
pub use tool::Tool;

use cache::Cache;
use system::System;

/// The beginning of root images' names in the cache.
const IMAGE: &str = "root-";
/// How many of each stay in the cache, with the beginning of their names. Whoever still uses one that goes has its files open.
const KEPT: &[(&str, usize)] = &[(IMAGE, 4), ("kernel-", 8), ("system-", 2)];

/// What a guest is to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its kernel.
    pub kernel: KernelChoice,
    /// What the caller puts into the root image. A file with the path of one that is there replaces it.
    pub files: Vec<RootFile>,
}

/// Which kernel. Debian's cloud kernels have what a root image on `nvme` needs built in, so that they boot without an initrd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The pinned one ([`PINNED`]), and if Debian hasn't it any more, its newest 7.x.
    #[default]
    Default,
    /// Debian's newest cloud kernel of this version: `6.12`, `6.12.117`, `6.12.117+deb13`.
    Version(String),
    /// Files.
    Path {
        /// The image (bzImage).
        vmlinuz: PathBuf,
        /// Its modules: a folder like `/lib/modules/RELEASE`.
        modules: PathBuf,
    },
}

/// A file of the root image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFile {
    /// Where it is: `/init`.
    pub path: &'static str,
    /// Permissions: `0o755`.
    pub mode: u32,
    /// What's in it.
    pub contents: Vec<u8>,
}

/// What a guest is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// `qemu-system-x86_64`, which has the device `vfio-user-pci`.
    pub qemu: Tool,
    /// `mke2fs`: makes small images with `-d FOLDER`.
    pub mke2fs: Tool,
    /// The kernel.
    pub kernel: Kernel,
    /// The root image: a raw ext4 file system. QEMU must open it read-only, or with `snapshot=on`: others use it too.
    pub root: PathBuf,
    /// 16 hex digits that change when QEMU, the kernel or the root image do: a name for what is made from them.
    pub key: String,
}

/// Gets all that a guest needs, from the cache or from Debian. What the cache has, is there in milliseconds. Two processes may do this at
/// once, and it may be interrupted at any time: the next one goes on.
///
/// # Errors
///
/// [`Error`] says what the host lacks, what can't be downloaded, or which rule a kernel or file breaks.
pub fn prepare(request: &Request, progress: &dyn Progress) -> Result<Assets, Error> {
    let prepared = prepare_unfinished(request, progress);
    progress.finish();
    prepared
}

fn prepare_unfinished(request: &Request, progress: &dyn Progress) -> Result<Assets, Error> {
    if (OS, ARCH) != ("linux", "x86_64") {
        return Err(Error::Host { found: format!("{ARCH} {OS}") });
    }
    let cache = Cache::of_user()?;
    if let Some(assets) = cached(&cache, request) {
        return Ok(assets);
    }
    let making = cache.lock(|| progress.stage("waiting for another process", Unit::Steps, 0))?;
    // Another process may have made it all while this one waited.
    if let Some(assets) = cached(&cache, request) {
        return Ok(assets);
    }
    let found = (System::cached(&cache), kernel::cached(&cache, &request.kernel));
    if found.0.is_none() || found.1.is_none() {
        apt::check_programs()?;
    }
    let system = found.0.map_or_else(|| System::make(&cache, &making, progress), Ok)?;
    let make_kernel = || kernel::make(&cache, &making, &system, &request.kernel, progress);
    let kernel = found.1.map_or_else(make_kernel, Ok)?;
    let key = root::key(&system, &kernel, &request.files);
    let new = cache.new_folder(&making)?;
    let image = new.path().join("root.ext4");
    root::make(&system, &kernel, &request.files, &image, progress)?;
    unpack::sync(&image)?;
    let image = cache.keep(&making, &image, &image_name(&key))?;
    for (prefix, count) in KEPT {
        cache.keep_newest(&making, prefix, *count)?;
    }
    Ok(assets(&system, kernel, image, &key))
}

/// All of it, if the cache has all of it.
fn cached(cache: &Cache, request: &Request) -> Option<Assets> {
    let system = System::cached(cache)?;
    let kernel = kernel::cached(cache, &request.kernel)?;
    let key = root::key(&system, &kernel, &request.files);
    let image = cache.path(&image_name(&key));
    root::is_whole(&image).then(|| {
        [&image, kernel.folder(), system.folder()].into_iter().for_each(cache::used);
        assets(&system, kernel, image, &key)
    })
}

fn assets(system: &System, kernel: Kernel, root: PathBuf, key: &str) -> Assets {
    // QEMU is of the same packages as what's in the image.
    Assets { qemu: system.qemu(), mke2fs: system.mke2fs(), kernel, root, key: key.to_owned() }
}

fn image_name(key: &str) -> String {
    format!("{IMAGE}{key}.ext4")
}
