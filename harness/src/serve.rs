//! TO BE REPLACED: the vfio-user server.

use std::fmt;
use std::path::{Path, PathBuf};

/// Options.
#[derive(Debug)]
pub struct Options {
    /// Profile.
    pub profile: crate::profile::Loaded,
    /// Seed.
    pub seed: u64,
    /// Capture.
    pub capture: Option<PathBuf>,
    /// Host program and its input.
    pub host: Option<(String, Option<PathBuf>)>,
}
/// Error.
#[derive(Debug, thiserror::Error)]
#[error("there is no server yet")]
pub struct Error;
/// Report.
#[derive(Debug, serde::Serialize)]
pub struct Report;
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stub")
    }
}
/// Server.
#[derive(Debug)]
pub struct Server;
impl Server {
    /// Start.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &Path, _: Options) -> Result<Server, Error> {
        Err(Error)
    }
    /// Finish.
    ///
    /// # Errors
    /// Never.
    pub fn finish(self) -> Result<Report, Error> {
        Ok(Report)
    }
}
