//! Producer and consumer: whoever sees the flag sees the data that were written before it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::seen::{Appearance, Lane, Sketch};
use crate::time::Time;
use crate::tlp::{Bdf, Kind};

/// A consumer has seen a flag, and after that data that are older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at {at} the consumer got version {data} of the data at {address:#x}, after it had seen version {flag} of the flag"
)]
pub struct Stale {
    /// When the first symbol of what brought the data, or the flag, was sent to the consumer.
    pub at: Time,
    /// The version of the flag.
    pub flag: u32,
    /// The version of the data.
    pub data: u32,
    /// The address of the first DW that's too old.
    pub address: u64,
}

/// Watches the link of a consumer, while a producer does this for version 1, 2, 3, ...: it writes the version to every DW of the data, and then to the
/// flag, a DW too, both little-endian. The flag may lie anywhere, and so may the data: at the consumer, at the producer, or at a third place.
/// So the consumer may have them written to it, or read them.
///
/// What must hold, as long as neither producer nor consumer uses Relaxed Ordering or ID-based Ordering:
///
/// - data that are written to the consumer are there before the flag, whether that is written to it or it reads it;
/// - data that the consumer asks for when it has got the flag are at least as new as the flag.
///
/// Both are judged by what arrives at the consumer. What a CPU reads from its own memory shows on no link: whoever knows it says so by
/// [`Handshake::flag_seen`] and [`Handshake::data_seen`].
#[derive(Debug)]
pub struct Handshake {
    lane: Lane,
    transit: Time,
    data: Range<u64>,
    flag: u64,
    /// Versions of the flag, and from when on the consumer certainly had them.
    flags: Vec<(Time, u32)>,
    /// The newest version in each DW that was written to the consumer, by address.
    written: BTreeMap<u64, u32>,
    /// Reads under way: the next address, and the version of the flag that the consumer had when it asked.
    reads: BTreeMap<(Bdf, u16), (u64, u32)>,
    stale: Vec<Stale>,
    /// DWs of data that were compared with a flag.
    compared: u64,
}

impl Handshake {
    /// Watches what goes to a consumer by `lane`. `transit` is the longest time from a first symbol on that lane to its use. `data` are the
    /// addresses of the data, and `flag` is that of the flag; all are multiples of 4.
    pub fn new(lane: Lane, transit: Time, data: Range<u64>, flag: u64) -> Handshake {
        Handshake {
            lane,
            transit,
            data,
            flag,
            flags: Vec::new(),
            written: BTreeMap::new(),
            reads: BTreeMap::new(),
            stale: Vec::new(),
            compared: 0,
        }
    }

    /// A TLP begins on a link. Those of other links don't count.
    pub fn see(&mut self, appearance: &Appearance<'_>) {
        if appearance.lane.link != self.lane.link {
            return;
        }
        let Ok(sketch) = Sketch::of(appearance.header, appearance.payload) else { return };
        let header = &sketch.header;
        let inward = appearance.lane.direction == self.lane.direction;
        let transaction = (header.requester(), header.tag());
        match header.kind() {
            Kind::MWr32 | Kind::MWr64 if inward => {
                let enables = header.byte_enables();
                let length = header.length_dw();
                // A version that isn't written whole is none.
                let whole = |dw: u32| {
                    let mask = if dw == 0 { enables.first } else { enables.last };
                    dw > 0 && dw + 1 < length || mask == 0xf
                };
                self.brought(appearance, header.address(), whole, None);
            }
            Kind::MRd32 | Kind::MRd64 if !inward => {
                let flag = self.flag_at(appearance.at);
                // Requests leave in order of time, so of the flags up to now only the newest one will be asked for again.
                self.flags.retain(|(seen, version)| *seen > appearance.at || *version == flag);
                self.reads.insert(transaction, (header.address(), flag));
            }
            Kind::CplD if inward => {
                let Some(&(address, flag)) = self.reads.get(&transaction) else { return };
                let length = u64::from(header.length_dw()) * 4;
                if header.byte_count() <= header.length_dw() * 4 {
                    self.reads.remove(&transaction);
                } else {
                    self.reads.insert(transaction, (address + length, flag));
                }
                self.brought(appearance, address, |_| true, Some(flag));
            }
            Kind::Cpl if inward => {
                self.reads.remove(&transaction);
            }
            _ => {}
        }
    }

    /// The consumer has seen this version of the flag.
    pub fn flag_seen(&mut self, at: Time, version: u32) {
        self.flags.push((at, version));
        let written: Vec<_> = self.written.iter().map(|(&address, &data)| (address, data)).collect();
        for (address, data) in written {
            self.compare(at, version, data, address);
        }
    }

    /// The consumer asked at `asked` for the DW of the data at `address`, and got this version.
    pub fn data_seen(&mut self, asked: Time, at: Time, address: u64, version: u32) {
        let flag = self.flag_at(asked);
        self.compare(at, flag, version, address);
    }

    /// All that was too old.
    pub fn stale(&self) -> &[Stale] {
        &self.stale
    }

    /// DWs of data that were compared with a flag that the consumer had seen.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// A TLP brings DWs to the consumer from `address` on: written to it, or read by it when it had version `asked_with` of the flag.
    fn brought(
        &mut self,
        appearance: &Appearance<'_>,
        address: u64,
        whole: impl Fn(u32) -> bool,
        asked_with: Option<u32>,
    ) {
        let mut flag = None;
        // One TLP's DWs have no order among each other, so its data count first.
        for (number, dw) in (0..).zip(appearance.payload.as_chunks().0) {
            let (at, version) = (address + 4 * u64::from(number), u32::from_le_bytes(*dw));
            if !whole(number) {
                continue;
            }
            if at == self.flag {
                flag = Some(version);
            } else if self.data.contains(&at) {
                match asked_with {
                    Some(flag) => self.compare(appearance.at, flag, version, at),
                    None => self.write(appearance.at, at, version),
                }
            }
        }
        let Some(version) = flag else { return };
        // What was written to the consumer came by the same lane, so that no time lies between.
        self.flag_seen(appearance.at, version);
        if let Some((at, _)) = self.flags.last_mut() {
            *at += self.transit;
        }
    }

    /// A version is written to a DW at the consumer.
    fn write(&mut self, now: Time, address: u64, version: u32) {
        let before = self.written.insert(address, version);
        // The flag of this version mustn't have come before it. If there was another, that has shown when the flag came.
        let newest = self.flags.iter().map(|(_, version)| *version).max();
        if let (None, Some(flag)) = (before, newest.filter(|flag| *flag >= version)) {
            self.stale.push(Stale { at: now, flag, data: 0, address });
        }
    }

    /// The newest version of the flag that the consumer had at `at`.
    fn flag_at(&self, at: Time) -> u32 {
        self.flags.iter().filter(|(seen, _)| *seen <= at).map(|(_, version)| *version).max().unwrap_or(0)
    }

    fn compare(&mut self, at: Time, flag: u32, data: u32, address: u64) {
        self.compared += u64::from(flag > 0);
        if data < flag {
            self.stale.push(Stale { at, flag, data, address });
        }
    }
}
