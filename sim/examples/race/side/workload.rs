//! The workload: `sim/oracles/cocotbext/workload.json`, whose README says what the fields mean.

use serde::Deserialize;

/// One request.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Request(pub(crate) What, pub(crate) u64, pub(crate) u32);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Read,
    Write,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    #[serde(rename = "seed")]
    _seed: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) area: u64,
    pub(crate) bar: u64,
    pub(crate) max_payload: u32,
    pub(crate) max_read_request: u32,
    pub(crate) open_reads: usize,
    pub(crate) generation: u8,
    pub(crate) lanes: u8,
    pub(crate) device: Vec<Request>,
    pub(crate) host: Vec<Request>,
}

/// What the request with this number writes.
pub(crate) fn written(number: usize, len: u32) -> Vec<u8> {
    (0..len as usize).map(|k| (number * 31 + k * 7 + 3) as u8).collect()
}

/// What is in the host's memory that is read, `len` bytes from this offset on.
pub(crate) fn prefilled(offset: u64, len: usize) -> Vec<u8> {
    (offset..).take(len).map(|at| (at * 7 + (at >> 8) * 13 + 1) as u8).collect()
}

/// FNV-1a, 64 bits.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
