//! Why the parts of a guest can't be had.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

use super::kernel::Available;

/// Why [`super::prepare`] failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The packages are for another architecture than this machine's.
    #[error("a guest needs an x86_64 Linux host, and this is {found}")]
    Host {
        /// What it is.
        found: String,
    },
    /// There's no place for the cache.
    #[error("there is no place for the cache: set MLX5_TWIN_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A program of the host is missing; of several, if one would do.
    #[error("the program {program} isn't installed: it's in the package {package} of Debian and its relatives")]
    NoProgram {
        /// Its name.
        program: String,
        /// The package that has it.
        package: &'static str,
    },
    /// The keys with which Debian signs its archive are missing.
    #[error(
        "Debian's keys aren't installed, so packages can't be verified: install the package {package} (looked for {looked_for})"
    )]
    NoKeyring {
        /// The package that has them.
        package: &'static str,
        /// The files of which one must be there, with commas.
        looked_for: String,
    },
    /// A file can't be read, written, renamed, or the like.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{what} failed ({status}){}", Reason(output))]
    Program {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: String,
        /// What it said last.
        output: String,
    },
    /// No suite has such a kernel.
    #[error("no Debian suite has a cloud kernel {asked}; there are {available}")]
    NoKernel {
        /// What was asked for.
        asked: String,
        /// What there is.
        available: Available,
    },
    /// A kernel or its modules, given as paths, aren't what they must be.
    #[error("{}: {rule}", path.display())]
    Kernel {
        /// The file or folder.
        path: PathBuf,
        /// What it must be, and what it is.
        rule: String,
    },
    /// The packages don't hold what they must.
    #[error("the packages hold no {what}")]
    Missing {
        /// A file, or a pattern for files.
        what: String,
    },
    /// A program needs a library that no package has.
    #[error("{program} needs the library {library}, which isn't among the packages")]
    Library {
        /// The program or library that needs it: a path in the root image.
        program: String,
        /// What it needs.
        library: String,
    },
    /// A program or library can't be read as ELF.
    #[error("{path} is no ELF file that can be read: {reason}")]
    Elf {
        /// A path in the root image.
        path: String,
        /// What's wrong with it.
        reason: String,
    },
    /// A path in the root image that can't be one.
    #[error("{path:?} can't be a file of the root image: {rule}")]
    RootFile {
        /// The path.
        path: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl Error {
    /// Whether it's what was asked for that is wrong: a kernel that isn't there, or isn't one.
    pub fn is_the_requests(&self) -> bool {
        matches!(self, Error::Kernel { .. } | Error::NoKernel { .. })
    }

    /// Whether apt says that the mirror hasn't the suite. It's the only way to know: its exit code is the same for all failures.
    pub(super) fn is_no_suite(&self) -> bool {
        matches!(self, Error::Program { output, .. } if output.contains("does not have a Release file"))
    }

    /// For `map_err`: what was tried with which file.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }
}

/// The words of a program that failed, behind a colon, if there are any.
struct Reason<'a>(&'a str);

impl Display for Reason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_is_gone_is_no_mirror_that_is_gone() {
        let error = |output: &str| Error::Program {
            what: "fetching".to_owned(),
            status: "exit status: 100".to_owned(),
            output: output.to_owned(),
        };
        // apt's words.
        assert!(error("E: The repository 'http://m/debian x Release' does not have a Release file.").is_no_suite());
        let unreachable = "E: Failed to fetch http://m/debian/dists/sid/InRelease  Could not resolve 'm'; \
                           E: Some index files failed to download. They have been ignored, or old ones used instead.";
        assert!(!error(unreachable).is_no_suite());
    }
}
