//! Why a fabric can't be built as a text says.

use crate::config::ConfigError;
use crate::fabric::{MultiError, TopologyError};
use crate::memory::MemoryError;
use crate::profile::OutOfRange;

/// What's wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A value that no fabric can have; ports and buses that an entry leads to are named as if they were its fields.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A name that stands for nothing.
    #[error("{field} = {name:?}: there's no {what} of that name")]
    Unknown {
        /// The field: `topology.nodes.card.above`.
        field: String,
        /// What it says.
        name: String,
        /// What it should name.
        what: &'static str,
    },
    /// A name that isn't one: letters, digits, `-`, `_` and `.`, at least one.
    #[error("{field} = {name:?} is no name: letters, digits, '-', '_' and '.'")]
    Name {
        /// The field.
        field: String,
        /// What it says.
        name: String,
    },
    /// A name that something else has already.
    #[error("{field}: {name:?} is a name already")]
    Twice {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// A node that isn't one of the three.
    #[error("node {node}: one of 'switch', 'endpoint' and 'emulated' must be there, and only one")]
    Body {
        /// The node.
        node: String,
    },
    /// An emulated function, where nothing emulates any.
    #[error("topology: {name}: nobody emulates functions here")]
    NobodyEmulates {
        /// The function.
        name: String,
    },
    /// The registers of something can't be built.
    #[error("topology: {name}: {error}")]
    Config {
        /// What.
        name: String,
        /// Why.
        error: ConfigError,
    },
    /// An endpoint can't have such functions.
    #[error("topology: {name}: {error}")]
    Functions {
        /// The endpoint.
        name: String,
        /// Why.
        error: MultiError,
    },
    /// There can't be so much memory.
    #[error("topology: {name}: {error}")]
    Memory {
        /// What has it.
        name: String,
        /// Why.
        error: MemoryError,
    },
    /// A link can't be connected.
    #[error("topology: {name}: {error}")]
    Connect {
        /// What is below it.
        name: String,
        /// Why.
        error: TopologyError,
    },
}
