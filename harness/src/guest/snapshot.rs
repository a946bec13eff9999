//! Snapshots: a guest that has booted and waits for its orders, in a file.
//!
//! A snapshot has no function in it: that is plugged in afterwards, as into a running machine. It's made by QEMU's migration to a file, and
//! is only good for the same QEMU, machine, kernel, root image and agent, which its name stands for. One that can't be restored is
//! removed and made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::cache::keep_newest;
use super::qemu::Machine;
use super::qmp::{Qmp, QmpError};
use crate::hash::Fnv1a;

/// How many snapshots are kept. Each has about 100 MB.
const KEPT: usize = 4;

/// Counted up when something changes that the name doesn't show.
const VERSION: u32 = 1;

/// Why a snapshot wasn't made or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// QEMU's answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU tried and failed.
    #[error("QEMU's migration failed: {0}")]
    Migration(String),
    /// The file.
    #[error("the snapshot {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where the snapshot of a machine is, or will be.
#[derive(Clone, Debug)]
pub struct Snapshot {
    path: PathBuf,
}

impl Snapshot {
    /// In the folder `cache`, for assets with this key and this machine.
    pub fn new(cache: &Path, key: &str, machine: &Machine) -> Self {
        // With KVM the CPU is the real one.
        let cpu = match machine.accel {
            super::accel::Accel::Kvm => cpu_model(),
            super::accel::Accel::Tcg => String::new(),
        };
        let name = format!("{VERSION}\n{key}\n{}\n{cpu}", machine.arguments().join("\n"));
        Self { path: cache.join("snapshots").join(format!("{:016x}", Fnv1a::of(name.as_bytes()))) }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Removes it: it's no good.
    pub fn remove(&self) {
        // If it can't be removed, it will be tried and found bad again.
        let _ = fs::remove_file(&self.path);
    }

    /// Has QEMU write it, and goes on with `wait` until that is done. The guest doesn't run afterwards.
    ///
    /// # Errors
    /// [`SnapshotError`], or that of `wait`.
    pub fn save<E: From<SnapshotError>>(
        &self,
        qmp: &mut Qmp,
        mut wait: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| E::from(SnapshotError::File { path: self.path.clone(), source });
        let qmp_failed = |error| E::from(SnapshotError::Qmp(error));
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let new = tempfile::Builder::new().prefix("new-").tempfile_in(folder).map_err(failed)?;
        qmp.execute("stop", &json!({})).map_err(qmp_failed)?;
        set_up(qmp).map_err(qmp_failed)?;
        qmp.execute("migrate", &channel(new.path())).map_err(qmp_failed)?;
        while !migrated(qmp)? {
            wait()?;
        }
        new.persist(&self.path).map_err(|error| failed(error.error))?;
        keep_newest(folder, KEPT, &self.path);
        Ok(())
    }

    /// Has a QEMU that waits for it read it, and goes on with `wait` until that is done. The guest doesn't run yet.
    ///
    /// # Errors
    /// [`SnapshotError`], or that of `wait`.
    pub fn restore<E: From<SnapshotError>>(
        &self,
        qmp: &mut Qmp,
        mut wait: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let qmp_failed = |error| E::from(SnapshotError::Qmp(error));
        // Used now: others go first.
        let _ = fs::File::open(&self.path).and_then(|file| file.set_modified(SystemTime::now()));
        set_up(qmp).map_err(qmp_failed)?;
        qmp.execute("migrate-incoming", &channel(&self.path)).map_err(qmp_failed)?;
        while !migrated(qmp)? {
            wait()?;
        }
        Ok(())
    }
}

/// Each page at a place of its own in the file: pages of zeroes cost nothing.
fn set_up(qmp: &mut Qmp) -> Result<(), QmpError> {
    let capabilities =
        json!([{ "capability": "mapped-ram", "state": true }, { "capability": "events", "state": true }]);
    qmp.execute("migrate-set-capabilities", &json!({ "capabilities": capabilities }))?;
    Ok(())
}

fn channel(path: &Path) -> Value {
    let file = json!({ "transport": "file", "filename": path.to_string_lossy(), "offset": 0 });
    json!({ "channels": [{ "channel-type": "main", "addr": file }] })
}

/// Whether the migration is done.
fn migrated(qmp: &mut Qmp) -> Result<bool, SnapshotError> {
    let state = qmp.execute("query-migrate", &json!({}))?;
    match state.get("status").and_then(Value::as_str) {
        Some("completed") => Ok(true),
        Some(status @ ("failed" | "cancelled")) => {
            let reason = state.get("error-desc").and_then(Value::as_str).unwrap_or(status);
            Err(SnapshotError::Migration(reason.to_owned()))
        }
        _ => Ok(false),
    }
}

/// The CPU that this machine has.
fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name| text.lines().find(|line: &&str| line.starts_with(name)).unwrap_or_default();
    format!("{} {}", line("model name"), line("flags"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::accel::Accel;

    #[test]
    fn another_machine_has_another_snapshot() {
        let machine = Machine { accel: Accel::Tcg, iommu: false, memory_mib: 1024, cpus: 2, slots: 1 };
        let path = |key: &str, machine: &Machine| Snapshot::new(Path::new("/c"), key, machine).path;
        let first = path("key", &machine);
        assert_eq!(first, path("key", &machine));
        assert!(first.starts_with("/c/snapshots"));
        let others = [
            path("other", &machine),
            path("key", &Machine { accel: Accel::Kvm, ..machine }),
            path("key", &Machine { iommu: true, ..machine }),
            path("key", &Machine { memory_mib: 512, ..machine }),
            path("key", &Machine { cpus: 1, ..machine }),
            path("key", &Machine { slots: 2, ..machine }),
        ];
        assert!(!others.contains(&first));
    }
}
