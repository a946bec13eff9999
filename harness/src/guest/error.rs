//! Why a guest ended before its command did.

use std::io;

use super::assets;
use super::control::Stream;
use super::qemu::QemuError;
use super::qmp::QmpError;
use super::snapshot::SnapshotError;
use crate::serve;

/// Why a guest ended before its command did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it's made of isn't there.
    #[error(transparent)]
    Assets(#[from] assets::Error),
    /// The function can't be served.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// The private folder.
    #[error("can't make a folder for the guest's sockets: {0}")]
    Folder(io::Error),
    /// Signals.
    #[error("can't listen to signals: {0}")]
    Signals(io::Error),
    /// A port.
    #[error("a port of the guest: {0}")]
    Port(io::Error),
    /// What the command writes can't be given to whoever wants it.
    #[error("what the command writes to {stream} is lost: {source}")]
    Output {
        /// Where it writes.
        stream: Stream,
        /// Why.
        source: io::Error,
    },
    /// The terminal.
    #[error("the terminal: {0}")]
    Terminal(io::Error),
    /// QEMU didn't start.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// QEMU doesn't do what it's told.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The agent says what it shouldn't.
    #[error("{reason}")]
    Agent {
        /// What and why.
        reason: String,
        /// The guest's last words.
        console: Vec<String>,
    },
    /// The guest's kernel gave up.
    #[error("the guest's kernel panicked: {reason}")]
    Panic {
        /// Why.
        reason: String,
        /// The guest's last words.
        console: Vec<String>,
    },
    /// The guest says nothing.
    #[error("the guest has said nothing for {seconds} s; the last that it was done with: {stage}")]
    Silent {
        /// For how long.
        seconds: u64,
        /// How far its start had come.
        stage: String,
        /// The guest's last words.
        console: Vec<String>,
    },
    /// QEMU ended.
    #[error("QEMU ended while the guest was in use ({status}){}{words}", if words.is_empty() { "" } else { ": " })]
    Ended {
        /// How.
        status: String,
        /// What it said.
        words: String,
        /// The guest's last words.
        console: Vec<String>,
    },
    /// The command took too long.
    #[error("the command didn't end within {seconds} s")]
    Timeout {
        /// How long it had.
        seconds: u64,
    },
    /// A signal ended us.
    #[error("ended by signal {signal}")]
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The user left.
    #[error("left")]
    Left,
}

impl Error {
    /// Whether it's the user's will, and nothing that went wrong.
    pub fn is_the_users(&self) -> bool {
        matches!(self, Self::Signal { .. } | Self::Left | Self::Timeout { .. })
    }

    /// The last lines of the guest's console, where they can tell more.
    pub fn console(&self) -> &[String] {
        match self {
            Self::Agent { console, .. }
            | Self::Panic { console, .. }
            | Self::Silent { console, .. }
            | Self::Ended { console, .. } => console,
            _ => &[],
        }
    }
}
