//! TO BE REPLACED: what the guest is made of, from a folder that a variable names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Kernel.
    pub kernel: KernelChoice,
    /// Files of ours.
    pub files: Vec<RootFile>,
}
/// Kernel.
#[derive(Clone, Debug)]
pub enum KernelChoice {
    /// Default.
    Default,
    /// Version.
    Version(String),
    /// Path.
    Path {
        /// Kernel.
        vmlinuz: PathBuf,
        /// Modules.
        modules: PathBuf,
    },
}
/// File.
#[derive(Clone, Debug)]
pub struct RootFile {
    /// Path.
    pub path: &'static str,
    /// Mode.
    pub mode: u32,
    /// Contents.
    pub contents: Vec<u8>,
}
/// Unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Steps.
    Steps,
}
/// Progress.
pub trait Progress {
    /// Stage.
    fn stage(&self, name: &str, unit: Unit, total: u64);
    /// Position.
    fn position(&self, position: u64);
    /// Finish.
    fn finish(&self);
}
/// Tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Program.
    pub program: PathBuf,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Environment.
    pub environment: Vec<(&'static str, OsString)>,
}
impl Tool {
    /// Command.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}
/// Kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Image.
    pub vmlinuz: PathBuf,
    /// Release.
    pub release: String,
    /// Origin.
    pub origin: String,
}
/// Assets.
#[derive(Clone, Debug)]
pub struct Assets {
    /// QEMU.
    pub qemu: Tool,
    /// mke2fs.
    pub mke2fs: Tool,
    /// Kernel.
    pub kernel: Kernel,
    /// Root.
    pub root: PathBuf,
    /// Key.
    pub key: String,
}
/// Error.
#[derive(Debug, thiserror::Error)]
#[error("stub: {0}")]
pub struct Error(String);

/// Prepare.
///
/// # Errors
/// Some.
pub fn prepare(request: &Request, _: &dyn Progress) -> Result<Assets, Error> {
    let folder = PathBuf::from(std::env::var_os("MLX5_TWIN_STUB").ok_or_else(|| Error("no folder".to_owned()))?);
    let failed = |error: std::io::Error| Error(error.to_string());
    let guest = folder.join("guest");
    let mut key = crate::hash::Fnv1a::default();
    for file in &request.files {
        key.update(&file.contents);
    }
    let key = format!("{:016x}", key.value());
    let root = folder.join("cache").join(format!("{key}.img"));
    if !root.exists() {
        for file in &request.files {
            let path = guest.join(file.path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap_or(&guest)).map_err(failed)?;
            std::fs::write(&path, &file.contents).map_err(failed)?;
        }
        let script = "mkdir -p cache; truncate -s 400M $1; mke2fs -q -F -t ext4 -O ^has_journal -d guest $1";
        Command::new("sh").current_dir(&folder).args(["-c", script, "x"]).arg(&root).status().map_err(failed)?;
    }
    let tool = |name| Tool { program: folder.join(name), arguments: Vec::new(), environment: Vec::new() };
    let kernel = Kernel {
        vmlinuz: folder.join("vmlinuz"),
        release: "7.3.4+deb13-cloud-amd64".to_owned(),
        origin: String::new(),
    };
    Ok(Assets { qemu: tool("q"), mke2fs: tool("mke2fs"), kernel, root, key })
}
