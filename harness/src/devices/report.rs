//! What emulation and host programs of any device are given, and what they tell.

use mlx5_twin_sim::host::{self, AccessError, EnumerationError, Found};
use mlx5_twin_sim::time::Time;
use serde::Serialize;

use super::Console;
use super::serial::register::{LSR_BI, LSR_FE, LSR_OE, LSR_PE};
use super::serial::uart::Counts;

/// What an emulation program did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Reads answered.
    pub reads: u64,
    /// Writes taken.
    pub writes: u64,
    /// Interrupts raised.
    pub interrupts: u64,
    /// Interrupts that weren't raised, because MSI-X or bus mastering was off.
    pub interrupts_dropped: u64,
    /// Resets of the function.
    pub resets: u64,
    /// What became of characters, if the device has a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<Counts>,
}

impl std::iter::Sum for Summary {
    /// What several functions did.
    fn sum<I: Iterator<Item = Summary>>(summaries: I) -> Summary {
        summaries.fold(Summary::default(), |sum, one| Summary {
            reads: sum.reads + one.reads,
            writes: sum.writes + one.writes,
            interrupts: sum.interrupts + one.interrupts,
            interrupts_dropped: sum.interrupts_dropped + one.interrupts_dropped,
            resets: sum.resets + one.resets,
            characters: sum.characters.or(one.characters),
        })
    }
}

/// What a host program is told.
#[derive(Debug)]
pub struct HostSettings {
    /// Where BARs may lie, and which sizes to set.
    pub enumeration: host::Settings,
    /// Draws all choices of the program.
    pub seed: u64,
    /// How many rounds to go; `None` lets the seed choose, or for text, goes on until it ends.
    pub rounds: Option<u64>,
    /// How many errors may be answered by a reset of the function and another attempt, by programs that can. The next one ends them.
    pub recoveries: u64,
    /// Where text comes from and goes to.
    pub console: Console,
}

impl HostSettings {
    /// Settings that leave the rounds to the program, make each error the last one, and have nobody at the console.
    pub fn new(enumeration: host::Settings, seed: u64) -> HostSettings {
        HostSettings { enumeration, seed, rounds: None, recoveries: 0, console: Console::nobody() }
    }
}

/// A BAR of a function, as enumeration placed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundBar {
    /// Number of its first register, 0 to 5.
    pub index: u8,
    /// Its address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it's prefetchable.
    pub prefetchable: bool,
}

/// A function that enumeration found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFunction {
    /// Bus, device and function number, as `lspci` prints them.
    pub id: String,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Class code, 24 bits.
    pub class: u32,
    /// Whether it's a bridge.
    pub bridge: bool,
    /// How many bridges stand between it and bus 0.
    pub depth: u8,
    /// Its BARs.
    pub bars: Vec<FoundBar>,
    /// IDs of its capabilities, in the order of the PCI list.
    pub capabilities: Vec<u8>,
}

impl From<&Found> for FoundFunction {
    fn from(found: &Found) -> FoundFunction {
        let bar = |bar: &host::Bar| FoundBar {
            index: bar.index,
            address: bar.address,
            size: bar.size,
            prefetchable: bar.prefetchable,
        };
        FoundFunction {
            id: found.id.to_string(),
            vendor: found.vendor,
            device: found.device,
            class: found.class,
            bridge: found.bridge,
            depth: found.depth,
            bars: found.bars.iter().map(bar).collect(),
            capabilities: found.capabilities.iter().map(|&(id, _)| id).collect(),
        }
    }
}

/// A value that isn't what the host program expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// What was done.
    pub what: String,
    /// What should have come.
    pub expected: u64,
    /// What came.
    pub found: u64,
}

/// What a host program sent as text, and got back byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TextReport {
    /// The chip that it went through, by its tests.
    pub chip: String,
    /// The rate of the line.
    pub baud: u64,
    /// How many characters went there and came back.
    pub characters: u64,
    /// FNV-1a hash of them, 16 hexadecimal digits.
    pub hash: String,
}

/// What a host program found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// All functions of the host's bus.
    pub functions: Vec<FoundFunction>,
    /// Which of them are the emulated ones that the program used: indices into `functions`.
    pub exercised: Vec<usize>,
    /// Rounds of the exercise.
    pub rounds: u64,
    /// Reads of the function's registers.
    pub reads: u64,
    /// Writes of them.
    pub writes: u64,
    /// Interrupts that came, by vector.
    pub interrupts: Vec<u64>,
    /// Values that weren't as expected: how many.
    pub mismatches: u64,
    /// The first of them.
    pub first_mismatches: Vec<Mismatch>,
    /// The errors after which a function was reset and the program went on with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<String>,
    /// Functions whose exercise ended early while that of others went on: which, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// The text, if the program moves text: a round is a line of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextReport>,
    /// When the program had configured the function, in picoseconds of virtual time.
    pub configured_ps: u64,
    /// When it was done, in picoseconds of virtual time.
    pub finished_ps: u64,
}

impl HostReport {
    /// How many mismatches are kept with their values.
    const KEPT: usize = 16;

    /// Adds what another function's exercise did, on the same bus.
    pub fn add(&mut self, other: HostReport) {
        self.rounds += other.rounds;
        self.reads += other.reads;
        self.writes += other.writes;
        for (sum, count) in self.interrupts.iter_mut().zip(other.interrupts) {
            *sum += count;
        }
        self.mismatches += other.mismatches;
        let room = HostReport::KEPT.saturating_sub(self.first_mismatches.len());
        self.first_mismatches.extend(other.first_mismatches.into_iter().take(room));
        self.recoveries.extend(other.recoveries);
        self.configured_ps = self.configured_ps.max(other.configured_ps);
        self.finished_ps = self.finished_ps.max(other.finished_ps);
    }

    /// What isn't as it should be, in words: `None` if all is.
    pub fn wrong(&self) -> Option<String> {
        let values =
            (self.mismatches > 0).then(|| format!("{} values that the host read aren't as expected", self.mismatches));
        let lost = self.lost.iter().map(|lost| format!("the host lost {lost}"));
        values.into_iter().chain(lost).reduce(|first, second| format!("{first}; {second}"))
    }

    /// Notes a value that was read, and whether it's as expected.
    pub fn compare(&mut self, what: impl FnOnce() -> String, expected: u64, found: u64) {
        if expected == found {
            return;
        }
        self.mismatches += 1;
        if self.first_mismatches.len() < HostReport::KEPT {
            self.first_mismatches.push(Mismatch { what: what(), expected, found });
        }
    }
}

/// Why a host program ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The bus can't be enumerated.
    #[error("enumeration: {0}")]
    Enumeration(#[from] EnumerationError),
    /// An access to the function failed.
    #[error("{what}: {error}")]
    Access {
        /// What was done.
        what: &'static str,
        /// What the bus answered.
        error: AccessError,
    },
    /// The function isn't on the bus.
    #[error("no function {vendor:04x}:{device:04x} among the {found} that were found")]
    NotFound {
        /// Vendor ID.
        vendor: u16,
        /// Device ID.
        device: u16,
        /// How many functions there are.
        found: usize,
    },
    /// The function hasn't got what its driver needs.
    #[error("the function {id} has no {what}")]
    Missing {
        /// Its bus, device and function number.
        id: String,
        /// What it lacks.
        what: &'static str,
    },
    /// An interrupt didn't come.
    #[error("vector {vector} was to be raised by {cause}, but no interrupt came within {within}")]
    NoInterrupt {
        /// The MSI-X vector.
        vector: u16,
        /// What should have raised it.
        cause: &'static str,
        /// How long was waited.
        within: Time,
    },
    /// The chip isn't the one that its driver is for: a test failed.
    #[error("{test}: {register} reads {found:#04x}, but under the mask {mask:#04x} it must be {expected:#04x}")]
    Probe {
        /// The test.
        test: &'static str,
        /// The register.
        register: &'static str,
        /// The bits that count.
        mask: u8,
        /// What they must be.
        expected: u8,
        /// What the register reads.
        found: u8,
    },
    /// The chip names a source of its interrupt that doesn't exist.
    #[error("IIR reads {found:#04x}, which names no source of an interrupt")]
    InterruptSource {
        /// What it reads.
        found: u8,
    },
    /// The chip's interrupt has no end.
    #[error("after {passes} sources in one interrupt there's still another one")]
    InterruptStuck {
        /// How many were looked after.
        passes: u64,
    },
    /// A character came with an error, or was lost.
    #[error("character {position}: LSR reads {status:#04x}: {}", line_errors(*.status))]
    LineStatus {
        /// How many characters had come by then.
        position: u64,
        /// The line status register.
        status: u8,
    },
    /// Another character came back than the one that was sent.
    #[error("character {position}: {found:#04x} came back, not {expected:#04x}")]
    WrongByte {
        /// Which one, from 0.
        position: u64,
        /// What was sent.
        expected: u8,
        /// What came.
        found: u8,
    },
    /// A function doesn't answer configuration requests any more, or not yet.
    #[error("the function {id} wasn't ready for configuration requests within {within}: {error}")]
    NotReady {
        /// Its bus, device and function number.
        id: String,
        /// How long was waited.
        within: Time,
        /// What the bus answered last.
        error: AccessError,
    },
    /// A character came that wasn't sent.
    #[error("character {position}: {found:#04x} came, but nothing had been sent")]
    StrayByte {
        /// Which one, from 0.
        position: u64,
        /// What came.
        found: u8,
    },
    /// The console failed.
    #[error("{what}: {error}")]
    Console {
        /// What was done.
        what: &'static str,
        /// What the operating system said.
        error: String,
    },
}

/// The errors that LSR shows.
fn line_errors(status: u8) -> String {
    let errors = [(LSR_OE, "overrun"), (LSR_PE, "parity error"), (LSR_FE, "framing error"), (LSR_BI, "break")];
    let shown: Vec<_> = errors.iter().filter(|(bit, _)| status & bit != 0).map(|(_, error)| *error).collect();
    shown.join(", ")
}
