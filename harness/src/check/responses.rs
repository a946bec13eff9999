//! Responses that break a rule, on a channel whose function no host uses: what the device counts. What needs a host's requests, or its resets, is tried by
//! `run --fault`.

use std::sync::Arc;

use mlx5_twin_sim::config::Bar;
use mlx5_twin_sim::tlp::{Attr, Bdf, Header, Status};

use super::{Case, Contexts};
use crate::backend::Error;
use crate::channel::twin_v1::TwinV1;
use crate::channel::{self, ChannelProtocol, FunctionLayout, Region, RegionKind, Settings};

/// The port whose function is used.
const PORT: u16 = 0;
/// A port that the channel hasn't claimed.
const ANOTHER: u16 = 1;
/// A request, or a credit, that there isn't.
const NONE: u32 = 0x1234;
/// `Max_Payload_Size` of a function that no host has set up, in bytes.
const MAX_PAYLOAD: usize = 128;

pub(super) const CASES: &[Case] = &[
    ("response: to no request", |contexts| counted(contexts, |channel| complete(channel, PORT, 4))),
    ("response: from another port", |contexts| counted(contexts, |channel| complete(channel, ANOTHER, 4))),
    ("response: as long as the device takes, and longer", |contexts| {
        counted(contexts, |channel| {
            let most = channel.limits().max_response_payload;
            complete(channel, PORT, most)?;
            complete(channel, PORT, most + 4)
        })
    }),
    ("response: longer than the page", |contexts| counted(contexts, |channel| complete(channel, PORT, 4096))),
    ("response: a write without a credit", |contexts| counted(contexts, |channel| write(channel, MAX_PAYLOAD))),
    ("response: a write that is longer than Max_Payload_Size", |contexts| {
        counted(contexts, |channel| write(channel, MAX_PAYLOAD + 4))
    }),
    ("response: a credit that isn't held given back", |contexts| {
        counted(contexts, |channel| channel.flush_credit(NONE))
    }),
    ("response: an interrupt that isn't enabled", |contexts| counted(contexts, |channel| channel.raise_msix(PORT, 0))),
    ("response: an interrupt that isn't there", |contexts| counted(contexts, |channel| channel.raise_msix(PORT, 1))),
    ("response: more freed than there was", |contexts| counted(contexts, ChannelProtocol::overrun)),
];

/// A function with a page of memory and a vector.
fn layout() -> FunctionLayout {
    let region = |kind, offset, length| Region { kind, bar: 0, offset, length, notify: false };
    FunctionLayout {
        port: PORT,
        vectors: 1,
        msix_capability: 0x40,
        pcie_capability: 0,
        power_capability: 0,
        no_soft_reset: false,
        bars: [Some(Bar::memory32(0x1000)), None, None, None, None, None],
        expansion_rom: None,
        regions: vec![
            region(RegionKind::Transaction, 0, 0x800),
            region(RegionKind::MsixTable, 0x800, 16),
            region(RegionKind::MsixPba, 0xc00, 8),
        ],
    }
}

fn complete(channel: &mut TwinV1, port: u16, len: usize) -> Result<(), channel::Error> {
    let dwords = (len / 4) as u32;
    let header = Header::completion(Bdf(0), Bdf(0), 0, Status::Successful, dwords * 4, 0, dwords, 0, Attr::NONE);
    // All these lengths are those of a TLP.
    let header = header.map_err(|malformed| Error::Invalid(malformed.to_string()))?;
    channel.complete(port, NONE, &header, &vec![0; len])
}

fn write(channel: &mut TwinV1, len: usize) -> Result<(), channel::Error> {
    let header = Header::mem_write_bytes(Bdf(0), 0, 0x1000, len as u32);
    let header = header.map_err(|malformed| Error::Invalid(malformed.to_string()))?;
    channel.memory_write(PORT, NONE, &header, &vec![0; len])
}

/// Does something on a channel with a function: what the device counted, or why it never came to the device.
fn counted(
    (first, _): Contexts<'_>,
    mistake: impl FnOnce(&mut TwinV1) -> Result<(), channel::Error>,
) -> Result<String, Error> {
    let mut channel = TwinV1::open(Arc::clone(first), &Settings::default()).map_err(refused)?;
    channel.attach(&layout()).map_err(refused)?;
    let made = mistake(&mut channel);
    let counted: Vec<_> = channel.counters().map_err(refused)?.faults;
    let counted: Vec<_> = counted.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    Ok(match (made, counted.is_empty()) {
        (Err(error), true) => format!("not sent: {error}"),
        (Err(error), false) => return Err(refused(error)),
        (Ok(()), true) => "nothing is counted".to_owned(),
        (Ok(()), false) => counted.join(", "),
    })
}

fn refused(error: channel::Error) -> Error {
    match error {
        channel::Error::Backend(error) => error,
        other => Error::Invalid(other.to_string()),
    }
}
