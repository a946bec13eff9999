//! Packages from Debian's archive, without being root and without touching the system: the host's `apt-get` with folders of its own.
//!
//! Downloads are verified by apt: the suite's index by Debian's keys, each package by the hash in the index. One folder of apt's has one
//! suite. It's removed when all packages of it are unpacked; until then it's where an interrupted download goes on.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::Error;
use super::packages::Suite;
use super::progress::{Progress, Unit};
use super::tool::{not_started, run, run_lines};

/// Debian's mirror, if `MLX5_TWIN_MIRROR` names no other.
const MIRROR: &str = "http://deb.debian.org/debian";
/// The archive of security updates is beside the mirror, with this behind its name.
const SECURITY: &str = "-security";
/// The package with Debian's keys, and the files of which it has one, by its version.
const KEYRING_PACKAGE: &str = "debian-archive-keyring";
const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];
/// Programs of the host, and the packages that have them. Of some one of several is enough: how apt verifies depends on its version.
const PROGRAMS: &[(&[&str], &str)] = &[
    (&["apt-get"], "apt"),
    (&["apt-cache"], "apt"),
    (&["apt-config"], "apt"),
    (&["dpkg-deb"], "dpkg"),
    (&["gpgv", "sqv"], "gpgv"),
];
/// Where apt keeps whole downloads.
const ARCHIVES: &str = "cache/archives";
/// A folder like that, with nothing in it.
const NO_ARCHIVES: &str = "no-archives";

/// apt with one suite.
pub(super) struct Apt<'a> {
    folder: PathBuf,
    suite: Suite,
    /// The archive's address.
    url: String,
    progress: &'a dyn Progress,
}

/// A package that is to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Download {
    /// The name of its file: name, version and architecture.
    pub(super) file: String,
    /// Bytes.
    pub(super) size: u64,
}

/// A package with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
}

impl<'a> Apt<'a> {
    /// apt with `folder` for all its files, in which the packages `installed` count as installed.
    pub(super) fn new(
        folder: &Path,
        suite: Suite,
        installed: &[&str],
        progress: &'a dyn Progress,
    ) -> Result<Apt<'a>, Error> {
        let mirror = env::var("MLX5_TWIN_MIRROR").ok().filter(|mirror| !mirror.is_empty());
        let url = url(mirror.as_deref().unwrap_or(MIRROR), suite);
        let apt = Apt { folder: folder.to_owned(), suite, url, progress };
        // What an interrupted update left may be half of an index, which counts as up to date.
        super::cache::remove(&apt.folder.join("lists"))?;
        for name in ["lists/partial", "cache/archives/partial", "no-archives/partial", "log"] {
            let folder = apt.folder.join(name);
            fs::create_dir_all(&folder).map_err(Error::file("making", folder))?;
        }
        apt.write("sources.list", &source(&apt.url, suite, keyring()?))?;
        apt.write("status", &status(installed))?;
        apt.write("apt.conf", &configuration(&apt.folder, &host_configuration()?))?;
        Ok(apt)
    }

    /// Fetches the suite's index.
    pub(super) fn update(&self) -> Result<(), Error> {
        self.progress.stage(&format!("package index of {}", self.suite.name), Unit::Steps, 100);
        let what = format!("fetching the package index of {} from {} (apt-get update)", self.suite.name, self.url);
        // Without this, an index that can't be fetched is no failure.
        let mut command = self.command("apt-get");
        run_lines(command.args(["update", "-q", "--error-on=any"]), &what, |line| {
            if let Some(hundredths) = hundredths(line) {
                self.progress.position(hundredths / 100);
            }
        })
    }

    /// Downloads packages with all that they need, and gives their files.
    pub(super) fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let what = format!("choosing packages of {} (apt-get install)", self.suite.name);
        // With the folder of the archives it would list only those that aren't there yet.
        let elsewhere = format!("Dir::Cache::archives={}", self.folder.join(NO_ARCHIVES).display());
        let mut command = self.command("apt-get");
        let output = run(command.args(["install", "-y", "--print-uris", "-o", &elsewhere]).args(packages), &what)?;
        let wanted = downloads(&String::from_utf8_lossy(&output));
        let archives = self.folder.join(ARCHIVES);
        let missing = wanted.iter().filter(|package| !archives.join(&package.file).is_file());
        let bytes = missing.map(|package| package.size).sum();
        self.progress.stage(&format!("{} packages of {}", wanted.len(), self.suite.name), Unit::Bytes, bytes);
        let what = format!("downloading packages of {} from {} (apt-get install)", self.suite.name, self.url);
        let mut command = self.command("apt-get");
        run_lines(command.args(["install", "-y", "-q", "--download-only"]).args(packages), &what, |line| {
            if let Some(hundredths) = hundredths(line) {
                self.progress.position(bytes / 100 * hundredths / 100);
            }
        })?;
        Ok(wanted.iter().map(|package| archives.join(&package.file)).collect())
    }

    /// The packages whose names begin with `prefix` and end with `suffix`.
    pub(super) fn packages(&self, prefix: &str, suffix: &str) -> Result<Vec<Package>, Error> {
        let what = "reading the package index (apt-cache)";
        let output = run(self.command("apt-cache").args(["pkgnames", prefix]), what)?;
        let output = String::from_utf8_lossy(&output);
        let names = output.lines().filter(|name| name.ends_with(suffix)).collect::<Vec<_>>();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // A name that only other packages refer to is no package: apt-cache says so and fails, with all others shown.
        let mut command = self.command("apt-cache");
        let command =
            command.args(["show", "--no-all-versions"]).args(names).stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().map_err(|error| not_started(command, error))?;
        Ok(stanzas(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Removes all of apt's files.
    pub(super) fn remove(self) -> Result<(), Error> {
        super::cache::remove(&self.folder)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(Error::file("writing", path))
    }
}

/// That all programs are there that this needs of the host.
pub(super) fn check_programs() -> Result<(), Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    missing(&env::split_paths(&path).collect::<Vec<_>>()).map_or(Ok(()), Err)?;
    keyring().map(|_| ())
}

/// The first program that isn't in any of these folders, as an error.
fn missing(folders: &[PathBuf]) -> Option<Error> {
    let there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let (programs, package) = PROGRAMS.iter().find(|(programs, _)| !programs.iter().any(|program| there(program)))?;
    Some(Error::NoProgram { program: programs.join(" or "), package })
}

/// The file with Debian's keys.
fn keyring() -> Result<&'static str, Error> {
    let found = KEYRINGS.iter().copied().find(|path| Path::new(path).is_file());
    found.ok_or_else(|| Error::NoKeyring { package: KEYRING_PACKAGE, looked_for: KEYRINGS.join(", ") })
}

/// The address of the archive that has a suite.
fn url(mirror: &str, suite: Suite) -> String {
    let beside = if suite.security { SECURITY } else { "" };
    format!("{}{beside}", mirror.trim_end_matches('/'))
}

/// The line of `sources.list`.
fn source(url: &str, suite: Suite, keyring: &str) -> String {
    format!("deb [arch=amd64 signed-by={keyring}] {url} {} main\n", suite.name)
}

/// The list of installed packages. Their version is above all that others may ask for.
fn status(installed: &[&str]) -> String {
    let stanza = |name: &&str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: allowed\nVersion: 9999:9999\n\
             Maintainer: none\nDescription: not needed\n\n"
        )
    };
    installed.iter().map(stanza).collect()
}

/// apt's configuration: all its files in `folder`, and of the host's only what `host` says.
fn configuration(folder: &Path, host: &str) -> String {
    let folder = folder.display();
    format!(
        r#"{host}
Dir "{folder}";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/{ARCHIVES}";
Dir::Log "{folder}/log";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
// There's no other user to whom an ordinary user could drop privileges.
APT::Sandbox::User "";
APT::Status-Fd "1";
Acquire::Languages "none";
// A mirror may be a snapshot of the archive: its index is as well signed as ever, but too old for apt.
Acquire::Check-Valid-Until "false";
"#
    )
}

/// What the host's configuration says on how to reach the network: proxies, time limits.
fn host_configuration() -> Result<String, Error> {
    let output =
        run(Command::new("apt-config").arg("dump").env("LC_ALL", "C"), "reading apt's configuration (apt-config)")?;
    Ok(network_lines(&String::from_utf8_lossy(&output)))
}

/// The lines of a dumped configuration that are on the network.
fn network_lines(dump: &str) -> String {
    let wanted = ["Acquire::http::", "Acquire::https::", "Acquire::ftp::", "Acquire::Retries "];
    let lines = dump.lines().filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// How far apt is, in hundredths of a percent, if the line tells: `dlstatus:FILE:PERCENT:TEXT`.
fn hundredths(line: &str) -> Option<u64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let part = part.get(..2).unwrap_or("0");
    Some((whole.parse::<u64>().ok()? * 100 + part.parse::<u64>().ok()?).min(10_000))
}

/// What `--print-uris` lists: `'URI' FILE SIZE HASH`.
fn downloads(output: &str) -> Vec<Download> {
    let download = |line: &str| {
        let mut words = line.strip_prefix('\'')?.split(' ').skip(1);
        Some(Download { file: words.next()?.to_owned(), size: words.next()?.parse().ok()? })
    };
    output.lines().filter_map(download).collect()
}

/// The packages that `apt-cache show` shows.
fn stanzas(output: &str) -> Vec<Package> {
    let stanza = |text: &str| {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        Some(Package { name: field("Package:")?, version: field("Version:")? })
    };
    output.split("\n\n").filter_map(stanza).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_updates_are_beside_the_mirror() {
        let suite = Suite { name: "trixie-security", security: true };
        let line = source(&url("http://mirror/debian/", suite), suite, "/k.gpg");
        assert_eq!(line, "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian-security trixie-security main\n");
    }

    #[test]
    fn progress_is_read() {
        assert_eq!(hundredths("dlstatus:1:12.3456:Retrieving file 1 of 2"), Some(1234));
        assert_eq!(hundredths("dlstatus:113:100.0000:x"), Some(10_000));
        assert_eq!(hundredths("Reading package lists..."), None);
        assert_eq!(hundredths("dlstatus:1:x:y"), None);
    }

    #[test]
    fn downloads_are_read() {
        let output = "Reading...\n'http://m/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 77 SHA256:00\n";
        assert_eq!(downloads(output), [Download { file: "a_1%3a2_amd64.deb".to_owned(), size: 77 }]);
    }

    #[test]
    fn packages_are_read() {
        let output = "Package: a\nVersion: 1\nDepends: b\n\nPackage: c\nInstalled-Size: 3\nVersion: 2-1\n\n";
        let package = |name: &str, version: &str| Package { name: name.to_owned(), version: version.to_owned() };
        assert_eq!(stanzas(output), [package("a", "1"), package("c", "2-1")]);
    }

    #[test]
    fn of_the_hosts_configuration_only_the_network_counts() {
        let dump = "Dir \"/\";\nAcquire::http::Proxy \"http://p:3128\";\nAPT::Sandbox::User \"_apt\";\n";
        assert_eq!(network_lines(dump), "Acquire::http::Proxy \"http://p:3128\";\n");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("nothing"), folder.path().to_owned()];
        let mut named = Vec::new();
        while let Some(Error::NoProgram { program, .. }) = missing(&folders) {
            let one = program.rsplit(' ').next().unwrap_or_default();
            fs::write(folder.path().join(one), "").unwrap();
            named.push(program);
        }
        assert_eq!(named, ["apt-get", "apt-cache", "apt-config", "dpkg-deb", "gpgv or sqv"]);
    }

    #[test]
    fn verification_stays_on() {
        let text = configuration(Path::new("/x"), "");
        assert!(!text.contains("llow") && !source("m", Suite { name: "s", security: false }, "k").contains("trusted"));
    }
}
