//! What emulation and host programs of any device are given, and what they tell.

use mlx5_twin_sim::host::{self, AccessError, EnumerationError, Found};
use mlx5_twin_sim::time::Time;
use serde::Serialize;

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
}

/// What a host program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSettings {
    /// Where BARs may lie, and which sizes to set.
    pub enumeration: host::Settings,
    /// Draws all choices of the program.
    pub seed: u64,
    /// How many rounds to go; `None` lets the seed choose.
    pub rounds: Option<u64>,
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

/// What a host program found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// All functions of the host's bus.
    pub functions: Vec<FoundFunction>,
    /// Which of them is the emulated one: an index into `functions`.
    pub function: usize,
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
    /// When the program had configured the function, in picoseconds of virtual time.
    pub configured_ps: u64,
    /// When it was done, in picoseconds of virtual time.
    pub finished_ps: u64,
}

impl HostReport {
    /// How many mismatches are kept with their values.
    const KEPT: usize = 16;

    /// Notes a value that was read, and whether it's as expected.
    pub(super) fn compare(&mut self, what: impl FnOnce() -> String, expected: u64, found: u64) {
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
}
