//! Finding devices, through sysfs.
//!
//! `/sys/class/infiniband_verbs/uverbsN` has the files `ibdev` (the device's name) and `dev` (the numbers of its file `/dev/infiniband/uverbsN`), and
//! the link `device/driver`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::context::Context;
use crate::backend::{Error, Stop};

/// Where the kernel lists devices.
const CLASS: &str = "/sys/class/infiniband_verbs";
/// Where their files are.
const FILES: &str = "/dev/infiniband";
/// The driver whose interface this backend speaks; that of a subfunction is `mlx5_core.sf`.
const DRIVER: &str = "mlx5_core";

/// A device that the kernel lists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    /// N of uverbsN.
    number: u32,
    /// `mlx5_0`.
    name: String,
    /// Major and minor number of its file.
    numbers: (u32, u32),
    /// Whether it's one of mlx5's.
    mlx5: bool,
}

/// A file of sysfs holds one line.
fn line(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// All devices of a folder like [`CLASS`], by their numbers. What the kernel takes away meanwhile isn't listed.
fn list(class: &Path) -> Result<Vec<Listed>, Error> {
    let entries = match fs::read_dir(class) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::Device(format!("{}: {error}", class.display()))),
    };
    let listed = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("uverbs")?.parse().ok()?;
        let path = entry.path();
        let (major, minor) =
            line(&path.join("dev"))?.split_once(':').map(|(major, minor)| (major.parse(), minor.parse()))?;
        let driver = fs::read_link(path.join("device/driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str().map(str::to_owned));
        let mlx5 = driver.is_some_and(|driver| {
            driver == DRIVER || driver.strip_prefix(DRIVER).is_some_and(|rest| rest.starts_with('.'))
        });
        Some(Listed { number, name: line(&path.join("ibdev"))?, numbers: (major.ok()?, minor.ok()?), mlx5 })
    };
    let mut all: Vec<_> = entries.flatten().filter_map(listed).collect();
    all.sort_by_key(|device| device.number);
    Ok(all)
}

/// The device of that name, or the first one.
fn find(class: &Path, name: Option<&str>) -> Result<Listed, Error> {
    let all = list(class)?;
    let Some(name) = name else {
        let first = all.into_iter().find(|device| device.mlx5);
        return first.ok_or_else(|| Error::Device(format!("{} lists no device of {DRIVER}", class.display())));
    };
    let known: Vec<_> = all.iter().map(|device| device.name.clone()).collect();
    let found = all.into_iter().find(|device| device.name == name);
    let found = found.ok_or_else(|| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::Device(format!("{} lists no device {name:?}; there are: {known}", class.display()))
    })?;
    if found.mlx5 { Ok(found) } else { Err(Error::Device(format!("{name} isn't a device of {DRIVER}"))) }
}

/// Major and minor number, from the number that `stat` gives (glibc's `gnu_dev_major` and `gnu_dev_minor`).
fn numbers(rdev: u64) -> (u32, u32) {
    (rustix::fs::major(rdev), rustix::fs::minor(rdev))
}

/// A device of the kernel's mlx5 driver. Clones are the same device.
#[derive(Clone, Debug)]
pub struct Device {
    name: Arc<str>,
    node: PathBuf,
    stop: Stop,
    begin: Instant,
}

impl Device {
    /// Finds the device of that name (`mlx5_0`), or the first one. `stop` is what ends its contexts' waits.
    ///
    /// # Errors
    /// [`Error::Device`] if there's none.
    pub fn open(name: Option<&str>, stop: Stop) -> Result<Device, Error> {
        Ok(Device::new(find(Path::new(CLASS), name)?, stop))
    }

    fn new(Listed { number, name, .. }: Listed, stop: Stop) -> Device {
        Device {
            name: name.into(),
            node: Path::new(FILES).join(format!("uverbs{number}")),
            stop,
            begin: Instant::now(),
        }
    }

    /// Opens a context.
    ///
    /// # Errors
    /// [`Error::Device`] if its file can't be opened; what the kernel answers.
    pub fn open_context(&self) -> Result<Context, Error> {
        let failed = |error: io::Error| Error::Device(format!("{}: {error}", self.node.display()));
        let file = OpenOptions::new().read(true).write(true).open(&self.node).map_err(failed)?;
        Context::create(self.clone(), file.into())
    }

    /// Opens a context once more whose file another process has given to this one (`ibv_import_device`).
    ///
    /// # Errors
    /// [`Error::Device`] if it isn't the file of a device of the kernel's mlx5 driver; what the kernel answers if the file has no context.
    pub fn import(file: OwnedFd, stop: Stop) -> Result<Context, Error> {
        let file = File::from(file);
        let metadata = file.metadata().map_err(|error| Error::Device(format!("the file of a context: {error}")))?;
        let wanted = numbers(metadata.rdev());
        let found = list(Path::new(CLASS))?.into_iter().find(|device| device.mlx5 && device.numbers == wanted);
        let found = found.filter(|_| metadata.file_type().is_char_device());
        let found = found.ok_or_else(|| {
            Error::Device(format!("a file that was to be a context's is none of a device of {DRIVER}"))
        })?;
        Context::import(Device::new(found, stop), file.into())
    }

    /// Its name: `mlx5_0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What ends its contexts' waits.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Since when its contexts count time.
    pub(super) fn begin(&self) -> Instant {
        self.begin
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder like [`CLASS`]: number, name, numbers of the file, driver.
    fn class(devices: &[(&str, &str, &str, &str)]) -> tempfile::TempDir {
        let class = tempfile::tempdir().expect("a folder");
        for (entry, name, numbers, driver) in devices {
            let path = class.path().join(entry);
            fs::create_dir_all(path.join("device")).expect("a folder");
            fs::write(path.join("ibdev"), format!("{name}\n")).expect("a file");
            fs::write(path.join("dev"), format!("{numbers}\n")).expect("a file");
            symlink(format!("../../../bus/pci/drivers/{driver}"), path.join("device/driver")).expect("a link");
        }
        fs::write(class.path().join("abi_version"), "6\n").expect("a file");
        class
    }

    fn message(result: Result<Listed, Error>) -> String {
        result.map_or_else(|error| error.to_string(), |device| device.name)
    }

    #[test]
    fn the_first_is_the_first_of_mlx5() {
        let class = class(&[
            ("uverbs10", "mlx5_9", "231:202", "mlx5_core"),
            ("uverbs2", "mlx5_1", "231:194", "mlx5_core.sf"),
            ("uverbs0", "rxe0", "231:192", "rdma_rxe"),
            ("uverbs1", "mlx5like", "231:193", "mlx5_corex"),
        ]);
        let found = find(class.path(), None).expect("there's one");
        assert_eq!(found, Listed { number: 2, name: "mlx5_1".to_owned(), numbers: (231, 194), mlx5: true });
        assert_eq!(find(class.path(), Some("mlx5_9")).map(|device| device.number), Ok(10));
        assert!(message(find(class.path(), Some("rxe0"))).contains("rxe0 isn't a device of mlx5_core"));
        let unknown = message(find(class.path(), Some("mlx5_7")));
        assert!(
            unknown.ends_with(r#"lists no device "mlx5_7"; there are: rxe0, mlx5like, mlx5_1, mlx5_9"#),
            "{unknown}"
        );
    }

    #[test]
    fn without_devices_it_says_so() {
        let class = class(&[("uverbs0", "rxe0", "231:192", "rdma_rxe")]);
        assert!(message(find(class.path(), None)).ends_with("lists no device of mlx5_core"));
        let nowhere = class.path().join("nowhere");
        assert!(message(find(&nowhere, None)).ends_with("nowhere lists no device of mlx5_core"));
        assert!(message(find(&nowhere, Some("mlx5_0"))).ends_with("there are: none"));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let class = class(&[
            ("uverbs", "mlx5_0", "231:192", "mlx5_core"),
            ("uverbs1", "mlx5_1", "231", "mlx5_core"),
            ("uverbs3", "mlx5_3", "231:195", "mlx5_core"),
        ]);
        assert_eq!(list(class.path()).map(|all| all.len()), Ok(1));
    }

    #[test]
    fn a_file_of_no_device_is_refused() {
        let file = File::open("/dev/null").expect("is there");
        let error = Device::import(file.into(), Stop::new().expect("an eventfd")).map(drop);
        assert!(matches!(error, Err(Error::Device(_))), "{error:?}");
    }
}
