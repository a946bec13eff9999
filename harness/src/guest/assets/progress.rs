//! How far preparing has come.

/// What a stage's position counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, packages, percent: anything that is no byte.
    Steps,
}

/// Is told how far preparing has come. One stage is active at a time; a new one ends the one before it.
pub trait Progress {
    /// A stage begins. Its end is at `total`; 0 if that isn't known.
    fn stage(&self, name: &str, unit: Unit, total: u64);
    /// The active stage has come to `position`.
    fn position(&self, position: u64);
    /// All is done, or has failed.
    fn finish(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _: &str, _: Unit, _: u64) {}
    fn position(&self, _: u64) {}
    fn finish(&self) {}
}
