//! The kernel: which one, and its parts made ready.
//!
//! A kernel in the cache is a folder with its image, the modules that the guest may need (not compressed, with an index of their own) and
//! what it is. What was chosen for a request is kept beside it: the next request of the kind takes the same kernel, and asks no archive.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apt::{Apt, Package};
use super::cache::{Cache, Making, Name};
use super::error::Error;
use super::modules;
use super::packages::{KERNEL_SUITES, NOT_NEEDED, NOT_NEEDED_BY_KERNEL, Suite};
use super::progress::Progress;
use super::system::System;
use super::unpack::{sync, unpack};
use super::version::{begins, compare};
use super::{KernelChoice, image};

/// The release that is taken if nobody asks for another: the newest of today, so that all run the same one while the archive has it.
pub const PINNED: &str = "7.3.4+deb13";
/// If the archive hasn't it any more: the newest of this series.
const SERIES: &str = "7";
/// The names of kernel packages are the release between these.
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";
/// How many kernels an error lists.
const LISTED: usize = 40;
/// Files in a kernel's folder of the cache.
const VMLINUZ: &str = "vmlinuz";
const MODULES: &str = "modules";
const ORIGIN: &str = "origin.json";

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The image (bzImage), for QEMU's `-kernel`.
    pub vmlinuz: PathBuf,
    /// Its release, as `uname -r` shows it in the guest: `7.3.4+deb13-cloud-amd64`.
    pub release: String,
    /// Where it's from: for people.
    pub origin: Origin,
    /// A folder that holds its modules in `lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
    /// Changes when the kernel or its modules do.
    pub(super) id: String,
}

impl Kernel {
    /// Its folder in the cache.
    pub(super) fn folder(&self) -> &Path {
        self.vmlinuz.parent().unwrap_or(&self.vmlinuz)
    }
}

/// Where a kernel is from. Shown, it says what it is and why it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From Debian's archive.
    Debian {
        /// The package: `linux-image-7.3.4+deb13-cloud-amd64`.
        package: String,
        /// The version of the package.
        version: String,
        /// The suite that had it.
        suite: String,
        /// Why this one.
        why: Why,
    },
    /// From a file.
    Path {
        /// The image.
        vmlinuz: PathBuf,
    },
}

/// Why a kernel was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It's the pinned one ([`PINNED`]).
    Pinned,
    /// The archive hasn't the pinned one any more, and this is the newest of its series.
    PinnedIsGone,
    /// It's the newest that has the version that was asked for.
    Asked(String),
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Debian { package, version, suite, why } => {
                write!(f, "{package} {version} of Debian {suite}, ")?;
                match why {
                    Why::Pinned => f.write_str("the pinned one"),
                    Why::PinnedIsGone => {
                        write!(f, "the newest {SERIES}.x: the pinned {PINNED} is gone from the archive")
                    }
                    Why::Asked(asked) => write!(f, "the newest {asked}"),
                }
            }
            Origin::Path { vmlinuz } => write!(f, "{}", vmlinuz.display()),
        }
    }
}

/// Kernels that suites have, for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available(Vec<(String, &'static str)>);

impl Display for Available {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, (release, suite)) in self.0.iter().take(LISTED).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{release} ({suite})")?;
        }
        if self.0.len() > LISTED { f.write_str(", and older ones") } else { Ok(()) }
    }
}

/// The kernel for a choice, if the cache has it.
pub(super) fn cached(cache: &Cache, choice: &KernelChoice) -> Option<Kernel> {
    let folder = fs::read_to_string(cache.path(&choice_name(choice))).ok()?;
    read(&cache.path(&folder))
}

/// Gets the kernel for a choice, and puts it into the cache.
pub(super) fn make(
    cache: &Cache,
    making: &Making,
    system: &System,
    choice: &KernelChoice,
    progress: &dyn Progress,
) -> Result<Kernel, Error> {
    let folder = match choice {
        KernelChoice::Path { vmlinuz, modules } => {
            let origin = Origin::Path { vmlinuz: vmlinuz.clone() };
            let name = format!("kernel-{}", Name::default().add(choice_name(choice)).hex());
            store(cache, making, system, &Parts { vmlinuz, modules, origin, name }, progress)?
        }
        KernelChoice::Default => {
            let why = |package: &Package| match release(package) {
                PINNED => Why::Pinned,
                _ => Why::PinnedIsGone,
            };
            from_archive(cache, making, system, &Wanted { text: SERIES, pinned: Some(PINNED), why: &why }, progress)?
        }
        KernelChoice::Version(asked) => {
            let why = |_: &Package| Why::Asked(asked.clone());
            from_archive(cache, making, system, &Wanted { text: asked, pinned: None, why: &why }, progress)?
        }
    };
    remember(cache, making, choice, &folder)?;
    read(&cache.path(&folder)).ok_or_else(|| Error::Missing { what: format!("kernel in {folder}") })
}

/// What is looked for in the archive.
struct Wanted<'a> {
    text: &'a str,
    pinned: Option<&'a str>,
    why: &'a dyn Fn(&Package) -> Why,
}

impl Wanted<'_> {
    /// Whether a kernel is the pinned one, or the one and only that was asked for.
    fn is_exactly(&self, package: &Package) -> bool {
        let release = release(package);
        self.pinned == Some(release) || self.text == package.name || self.text.trim_end_matches(SUFFIX) == release
    }
}

/// Takes the newest kernel that is wanted, whichever suite has it; gives the name of its folder in the cache.
fn from_archive(
    cache: &Cache,
    making: &Making,
    system: &System,
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let mut available = Vec::new();
    let mut best: Option<Found<'_>> = None;
    let mut gone = None;
    let installed = [NOT_NEEDED, NOT_NEEDED_BY_KERNEL].concat();
    for suite in KERNEL_SUITES {
        let apt = Apt::new(&cache.path(&format!("apt-{}-kernel", suite.name)), *suite, &installed, progress)?;
        // An old suite leaves the archive one day; the others still count. A mirror that can't be reached is another matter: without
        // its suites another kernel would be taken.
        match apt.update() {
            Err(error) if error.is_no_suite() => {
                apt.remove()?;
                gone = Some(error);
                continue;
            }
            updated => updated?,
        }
        let packages = cloud_kernels(apt.packages(PREFIX, SUFFIX)?);
        available.extend(packages.iter().map(|package| (release(package).to_owned(), suite.name)));
        let Some(package) = choose(&packages, wanted.text, wanted.pinned) else {
            apt.remove()?;
            continue;
        };
        let found = Found { package: package.clone(), suite: *suite, apt };
        // No suite can have a better one than the very one.
        let last = wanted.is_exactly(package);
        let better = best.as_ref().is_none_or(|best| last || compare(&package.version, &best.package.version).is_gt());
        let other = if better { best.replace(found) } else { Some(found) };
        other.map_or(Ok(()), |other| other.apt.remove())?;
        if last {
            break;
        }
    }
    let Some(Found { package, suite, apt }) = best else {
        return Err(match gone {
            Some(error) if available.is_empty() => error,
            _ => Error::NoKernel { asked: wanted.text.to_owned(), available: Available(available) },
        });
    };
    let name = download(cache, making, system, &apt, (&package, suite, (wanted.why)(&package)), progress)?;
    apt.remove()?;
    Ok(name)
}

/// A kernel that is wanted, and where it is.
struct Found<'a> {
    package: Package,
    suite: Suite,
    apt: Apt<'a>,
}

/// Downloads a kernel, and puts it into the cache if it isn't there.
fn download(
    cache: &Cache,
    making: &Making,
    system: &System,
    apt: &Apt<'_>,
    (package, suite, why): (&Package, Suite, Why),
    progress: &dyn Progress,
) -> Result<String, Error> {
    let name = format!("kernel-{}{SUFFIX}_{}", release(package), package.version);
    let packages = apt.download(&[&package.name])?;
    let new = cache.new_folder(making)?;
    unpack(&packages, new.path(), &format!("unpacking kernel {}", release(package)), progress)?;
    let release = format!("{}{SUFFIX}", release(package));
    // Where kernel and modules are has changed over the years.
    let first = |paths: [String; 2]| {
        let what = paths.join(" or ");
        let found = paths.into_iter().map(|path| new.path().join(path)).find(|path| path.exists());
        found.ok_or(Error::Missing { what })
    };
    let vmlinuz = first([format!("usr/lib/modules/{release}/vmlinuz"), format!("boot/vmlinuz-{release}")])?;
    let modules = first([format!("usr/lib/modules/{release}"), format!("lib/modules/{release}")])?;
    let origin = Origin::Debian {
        package: package.name.clone(),
        version: package.version.clone(),
        suite: suite.name.to_owned(),
        why,
    };
    store(cache, making, system, &Parts { vmlinuz: &vmlinuz, modules: &modules, origin, name }, progress)
}

/// A kernel that isn't in the cache yet.
struct Parts<'a> {
    vmlinuz: &'a Path,
    modules: &'a Path,
    origin: Origin,
    name: String,
}

/// Makes a kernel's parts ready and puts them into the cache.
fn store(
    cache: &Cache,
    making: &Making,
    system: &System,
    parts: &Parts<'_>,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let image = fs::read(parts.vmlinuz).map_err(|error| Error::Kernel {
        path: parts.vmlinuz.to_owned(),
        rule: format!("a kernel image must be a file that can be read: {error}"),
    })?;
    let release = image::release(&image);
    let release = release.map_err(|rule| Error::Kernel { path: parts.vmlinuz.to_owned(), rule })?;
    let modules = std::path::absolute(parts.modules).map_err(Error::file("finding", parts.modules))?;
    if modules.file_name().is_none_or(|name| name != release.as_str()) {
        let rule = format!("the modules of {} must be in a folder called {release}", parts.vmlinuz.display());
        return Err(Error::Kernel { path: modules, rule });
    }
    if let Err(error) = fs::read_dir(&modules) {
        let rule = format!("a kernel's modules must be in a folder that can be read: {error}");
        return Err(Error::Kernel { path: modules, rule });
    }
    let new = cache.new_folder(making)?;
    let vmlinuz = new.path().join(VMLINUZ);
    fs::write(&vmlinuz, &image).map_err(Error::file("writing", &vmlinuz))?;
    sync(&vmlinuz)?;
    modules::collect(system, &modules, &release, &new.path().join(MODULES), progress)?;
    let description = Description { release, id: id(&image, &parts.name), origin: parts.origin.clone() };
    let path = new.path().join(ORIGIN);
    let text = serde_json::to_vec_pretty(&description).map_err(|error| Error::file("writing", &path)(error.into()))?;
    fs::write(&path, text).map_err(Error::file("writing", &path))?;
    cache.keep(making, new.path(), &parts.name)?;
    Ok(parts.name.clone())
}

/// What stands for a kernel with its modules: the image's bytes, and its name, which changes when a package or a file does.
fn id(image: &[u8], name: &str) -> String {
    Name::default().add(image).add(modules::ID).add(name).hex()
}

/// What a kernel in the cache is.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    release: String,
    id: String,
    origin: Origin,
}

/// A kernel in the cache, if it's there and wasn't cut short.
fn read(folder: &Path) -> Option<Kernel> {
    let description = fs::read(folder.join(ORIGIN)).ok()?;
    let Description { release, id, origin } = serde_json::from_slice(&description).ok()?;
    let mut header = [0; image::HEADER];
    let mut vmlinuz = fs::File::open(folder.join(VMLINUZ)).ok()?;
    vmlinuz.read_exact(&mut header).ok()?;
    if vmlinuz.metadata().ok()?.len() < image::least_size(&header) {
        return None;
    }
    Some(Kernel { vmlinuz: folder.join(VMLINUZ), release, origin, modules: folder.join(MODULES), id })
}

/// Keeps which folder is the kernel for a choice.
fn remember(cache: &Cache, making: &Making, choice: &KernelChoice, folder: &str) -> Result<(), Error> {
    let new = cache.new_folder(making)?;
    let path = new.path().join("choice");
    fs::write(&path, folder).map_err(Error::file("writing", &path))?;
    cache.keep(making, &path, &choice_name(choice)).map(|_| ())
}

/// The name in the cache of what was chosen. Of files it has all that shows that they have changed.
fn choice_name(choice: &KernelChoice) -> String {
    let name = Name::default().add(modules::ID);
    let name = match choice {
        KernelChoice::Default => name.add("default").add(PINNED),
        KernelChoice::Version(version) => name.add("version").add(version),
        KernelChoice::Path { vmlinuz, modules } => {
            let name = [vmlinuz, modules].iter().fold(name.add("path"), |name, path| {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
                name.add(path.as_os_str().as_encoded_bytes())
            });
            // A folder's own time changes with things that don't count, and that one can't be read is found out by who copies it.
            let changed = fs::metadata(vmlinuz).map_or(String::new(), |metadata| modules::stamp(&metadata));
            name.add(changed).add(modules::stamps(modules))
        }
    };
    format!("choice-{}", name.hex())
}

/// The release of a kernel package, without the flavour.
fn release(package: &Package) -> &str {
    let name = package.name.strip_prefix(PREFIX).unwrap_or(&package.name);
    name.strip_suffix(SUFFIX).unwrap_or(name)
}

/// Those packages that are a kernel, and not only a reference to the newest one of a series; newest first.
fn cloud_kernels(mut packages: Vec<Package>) -> Vec<Package> {
    packages.retain(|package| {
        // A reference is called after the series, if after anything: linux-image-6.12-cloud-amd64.
        release(package).matches('.').count() >= 2
            && release(package).starts_with(|letter: char| letter.is_ascii_digit())
    });
    packages.sort_by(|a, b| compare(&b.version, &a.version).then_with(|| b.name.cmp(&a.name)));
    packages.dedup();
    packages
}

/// The pinned one if it's there, else the newest of which the release or the package's version begins with what was asked for.
fn choose<'a>(newest_first: &'a [Package], asked: &str, pinned: Option<&str>) -> Option<&'a Package> {
    let is_asked = |package: &&Package| {
        let full = format!("{}{SUFFIX}", release(package));
        begins(release(package), asked) || begins(&package.version, asked) || full == asked || package.name == asked
    };
    let is_pinned = |package: &&Package| pinned.is_some_and(|pinned| release(package) == pinned);
    newest_first.iter().find(is_pinned).or_else(|| newest_first.iter().find(is_asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernels() -> Vec<Package> {
        let rows = [
            ("linux-image-6.12-cloud-amd64", "6.12.117-1~deb12u1"),
            ("linux-image-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("linux-image-6.12.95+deb12-cloud-amd64", "6.12.95-1~bpo12+1"),
            ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
            ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
            ("linux-image-7.2.12+deb13-cloud-amd64", "7.2.12-1~bpo13+1"),
            ("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
        ];
        cloud_kernels(
            rows.map(|(name, version)| Package { name: name.to_owned(), version: version.to_owned() }).to_vec(),
        )
    }

    #[test]
    fn references_to_the_newest_are_no_kernels() {
        let kernels = kernels();
        let releases = kernels.iter().map(release).collect::<Vec<_>>();
        assert_eq!(releases, ["7.3.4+deb13", "7.2.12+deb13", "6.12.117+deb13", "6.12.95+deb12", "6.1.0-56"]);
    }

    #[test]
    fn what_was_asked_for_is_chosen() {
        let kernels = kernels();
        let chosen = |asked: &str| choose(&kernels, asked, None).map(release);
        assert_eq!(chosen("6.12"), Some("6.12.117+deb13"));
        assert_eq!(chosen("6.12.95"), Some("6.12.95+deb12"));
        assert_eq!(chosen("6.1"), Some("6.1.0-56"));
        assert_eq!(chosen("6.1.192"), Some("6.1.0-56"));
        assert_eq!(chosen("6.12.117+deb13-cloud-amd64"), Some("6.12.117+deb13"));
        assert_eq!(chosen("7"), Some("7.3.4+deb13"));
        assert_eq!(chosen("7.4"), None);
    }

    #[test]
    fn the_pinned_one_comes_first_while_it_is_there() {
        let kernels = kernels();
        assert_eq!(choose(&kernels, "7", Some("7.2.12+deb13")).map(release), Some("7.2.12+deb13"));
        assert_eq!(choose(&kernels, "7", Some("7.0.1+deb13")).map(release), Some("7.3.4+deb13"));
    }

    #[test]
    fn choices_have_names_of_their_own() {
        let version = |text: &str| choice_name(&KernelChoice::Version(text.to_owned()));
        assert_eq!(version("6.12"), version("6.12"));
        assert_ne!(version("6.12"), version("6.1"));
        assert_ne!(version("default"), choice_name(&KernelChoice::Default));
    }

    #[test]
    fn changed_modules_are_another_choice() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("modules");
        let below = modules.join("kernel/drivers");
        fs::create_dir_all(&below).unwrap();
        std::os::unix::fs::symlink("/nowhere", modules.join("build")).unwrap();
        let choice = KernelChoice::Path { vmlinuz: folder.path().join("vmlinuz"), modules };
        let mut names = vec![choice_name(&choice)];
        let file = below.join("a.ko");
        for (path, text) in [(&file, "a"), (&file, "ab"), (&folder.path().join("vmlinuz"), "image")] {
            fs::write(path, text).unwrap();
            assert_eq!(choice_name(&choice), choice_name(&choice));
            names.push(choice_name(&choice));
        }
        fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        names.push(choice_name(&choice));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        // And what's made of them is another image.
        assert_ne!(id(b"image", &names[0]), id(b"image", &names[1]));
    }

    #[test]
    fn only_the_very_kernel_ends_the_search() {
        let kernels = kernels();
        let wanted = |text, pinned| Wanted { text, pinned, why: &|_: &Package| Why::Pinned };
        let exactly = |text, pinned| kernels.iter().filter(|kernel| wanted(text, pinned).is_exactly(kernel)).count();
        assert_eq!((exactly("6.12", None), exactly("7", Some("7.3.4+deb13")), exactly("7", Some("7.3.5"))), (0, 1, 0));
        assert_eq!((exactly("6.12.95+deb12", None), exactly("6.12.95+deb12-cloud-amd64", None)), (1, 1));
        assert_eq!((exactly("linux-image-6.12.95+deb12-cloud-amd64", None), exactly("6.12.95", None)), (1, 0));
    }

    #[test]
    fn an_error_lists_kernels() {
        let available =
            Available(vec![("7.3.4+deb13".to_owned(), "trixie-backports"), ("6.1.0-56".to_owned(), "bookworm")]);
        let error = Error::NoKernel { asked: "5.4".to_owned(), available };
        let text =
            "no Debian suite has a cloud kernel 5.4; there are 7.3.4+deb13 (trixie-backports), 6.1.0-56 (bookworm)";
        assert_eq!(error.to_string(), text);
    }
}
