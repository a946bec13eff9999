//! Captures played into the simulation: those of real devices, and our own.
//!
//! What a file is, its content says, not its name:
//!
//! - **NetTLP's framing** (Ethernet, IPv4, UDP, 6 bytes, TLP), in a pcap or pcapng file: [`mod@nettlp`]. The requests of the device's side enter a fabric
//!   at their recorded times; a simulated root complex with memory answers them. Its completions are compared with those of the capture.
//! - **Our own captures**: [`mod@exact`]. What the agents at the fabric's edges sent is sent again; then everything on every link is
//!   compared, to the picosecond.

pub mod exact;
pub mod nettlp;
mod report;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use mlx5_twin_model::BuildError;
use mlx5_twin_sim::Time;
use serde::Serialize;

use crate::capture::{ReadError, Reader, Records};
use crate::profile::Loaded;

pub use report::{
    Counts, Detail, Difference, Exact, FileReport, Forwarded, LaneRow, Latency, NetTlp, Report, Seen, SplitRow, Splits,
};

/// Whose TLPs are played from one of our captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agents {
    /// All that isn't a switch: root complexes, and the device with its functions.
    #[default]
    All,
    /// Root complexes only. The models of the device and of other endpoints do themselves what they do.
    RootComplexes,
}

/// Frames, and events of a simulation, between two tellings of how far it has come.
const PROGRESS_FRAMES: u64 = 1 << 10;
const PROGRESS_STEPS: u64 = 1 << 14;

/// How far a replay has come: offsets in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The file has been read up to here.
    Read(u64),
    /// TLPs have been played up to here.
    Played(u64),
}

/// What is the same for all files of a replay.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The profile.
    pub profile: &'a Loaded,
    /// Whose TLPs are played from our own captures.
    pub agents: Agents,
    /// Is told now and then how far it has come.
    pub progress: &'a dyn Fn(Progress),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("profile", &self.profile.name)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a capture that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It doesn't say what was run.
    #[error("the capture has no comment that says what was run")]
    NoComment,
    /// It says it in a way that isn't ours.
    #[error("the capture's comment says {found:?} behind {item:?}")]
    Comment {
        /// The line.
        item: &'static str,
        /// What follows.
        found: String,
    },
    /// The profile is another one.
    #[error("the capture was made with profile {name} ({hash:016x}), and this is {given} ({given_hash:016x})")]
    Profile {
        /// Its name in the capture.
        name: String,
        /// Its hash in the capture.
        hash: u64,
        /// The name of the one given.
        given: String,
        /// The hash of the one given.
        given_hash: u64,
    },
    /// A link that the profile's machine hasn't.
    #[error("link {found}: the profile's machine has {count}")]
    Link {
        /// The link.
        found: u16,
        /// How many there are.
        count: usize,
    },
    /// An interface has another name than the link.
    #[error("the interface is called {found:?}, the link is {expected:?}")]
    Interface {
        /// The interface's name.
        found: String,
        /// That of the link and direction.
        expected: String,
    },
    /// A TLP is missing, or there twice.
    #[error("sequence number {found}, where {expected} is next")]
    Sequence {
        /// What is there.
        found: u64,
        /// What would be next.
        expected: u64,
    },
    /// A TLP is earlier than the one before it, or too late for any simulation.
    #[error("a TLP at {found} after one at {last}")]
    Time {
        /// Its time.
        found: Time,
        /// That of the one before.
        last: Time,
    },
    /// The counts at the end are missing, or aren't those of the packets.
    #[error("the capture was cut: packets, or the counts at its end, are missing")]
    Incomplete,
    /// It holds no packet at all.
    #[error("the capture holds no packets")]
    Empty,
    /// It holds no TLP in any framing that is known.
    #[error("none of the capture's {frames} packets is a TLP in NetTLP's framing or ours; the first: {first}")]
    Foreign {
        /// Packets.
        frames: u64,
        /// What's wrong with the first.
        first: String,
    },
    /// A pcap file of another link type.
    #[error("the packets have link type {found}: TLPs are read from Ethernet (1) and from our own captures (158)")]
    LinkType {
        /// The link type.
        found: u32,
    },
}

/// Why a file can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It can't be opened.
    #[error("{0}")]
    Open(io::Error),
    /// It can't be read on.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// What is in it can't be played.
    #[error("at byte {offset}: {reason}")]
    At {
        /// Where in the file.
        offset: u64,
        /// The rule.
        reason: Wrong,
    },
    /// The profile gives no machine.
    #[error("the profile gives no machine: {0}")]
    Build(#[from] BuildError),
}

/// A file that can't be replayed.
#[derive(Debug, thiserror::Error)]
#[error("can't replay {}: {error}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub error: ReplayError,
}

/// Plays the capture in a file.
///
/// # Errors
/// [`FileError`] with the file, the offset and the reason.
pub fn replay(path: &Path, options: &Options<'_>) -> Result<FileReport, FileError> {
    let failed = |error| FileError { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| failed(ReplayError::Open(error)))?;
    replay_input(&path.display().to_string(), file, options).map_err(failed)
}

/// How a file begins that gzip has compressed (RFC 1952, section 2.3.1).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Plays a capture that is read from `input`; the report will call it `name`. It may be compressed by gzip: offsets are then those of what was
/// compressed.
///
/// # Errors
/// [`ReplayError`] with the offset and the reason.
pub fn replay_input<R: Read>(name: &str, mut input: R, options: &Options<'_>) -> Result<FileReport, ReplayError> {
    let mut begin = Vec::new();
    (&mut input).take(GZIP.len() as u64).read_to_end(&mut begin).map_err(ReplayError::Open)?;
    let compressed = begin == GZIP;
    let whole = io::Cursor::new(begin).chain(input);
    if compressed {
        replay_plain(name, MultiGzDecoder::new(whole), options)
    } else {
        replay_plain(name, whole, options)
    }
}

fn replay_plain<R: Read>(name: &str, input: R, options: &Options<'_>) -> Result<FileReport, ReplayError> {
    let mut counts = Counts::default();
    let (container, detail) = match Records::open(input)? {
        Records::Ours(blocks) => ("pcapng", exact::replay(Reader::from_blocks(blocks), options, &mut counts)?),
        records @ Records::Pcap(_) => ("pcap", nettlp::replay(records, options, &mut counts)?),
        records @ Records::PcapNg(_) => ("pcapng", nettlp::replay(records, options, &mut counts)?),
    };
    Ok(FileReport { file: name.to_owned(), container: container.to_owned(), counts, detail })
}
