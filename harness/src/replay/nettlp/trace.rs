//! The TLPs of a capture in NetTLP's framing, in order of time.

use std::collections::BTreeMap;
use std::io::Read;

use mlx5_twin_sim::Time;
use mlx5_twin_sim::tlp::{Bdf, Header, Malformed, Prefixes, Tlp};

use crate::capture::{ETHERNET, Flow, Frame, NotTlp, Record, Records};
use crate::replay::report::Counts;
use crate::replay::{PROGRESS_FRAMES, Progress, ReplayError, Wrong};

/// Farthest from the first frame that a frame is taken: 100 days. Ours, so that nothing overflows.
const MAX_SPAN: u128 = 100 * 86_400 * 1_000_000_000_000;

/// Number of a flow.
pub(super) type FlowId = u32;

/// A TLP of the capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// When it was captured, since the first frame.
    pub(super) time: Time,
    /// Which way it went.
    pub(super) flow: FlowId,
    /// Its header.
    pub(super) header: Header,
    /// Where its record begins in the file.
    pub(super) offset: u64,
    /// Where its whole bytes begin in those of the trace, and how many they are.
    begin: usize,
    len: u32,
}

/// All TLPs of a capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// By time; those of one time in the order of the file.
    pub(super) items: Vec<Item>,
    flows: Vec<Flow>,
    numbers: BTreeMap<Flow, FlowId>,
    bytes: Vec<u8>,
    first: Option<u128>,
    last: u128,
    /// TLPs of which something is missing.
    pub(super) cut: u64,
    /// Frames that are earlier than the one before.
    pub(super) steps_back: u64,
}

/// The device: whose requests are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its requester ID.
    pub(super) id: Bdf,
    /// Which way its requests go.
    pub(super) flow: FlowId,
}

impl Trace {
    /// Reads a capture to its end.
    pub(super) fn read<R: Read>(
        records: &mut Records<R>,
        counts: &mut Counts,
        progress: &dyn Fn(Progress),
    ) -> Result<Trace, ReplayError> {
        let mut trace = Trace::default();
        let mut first_wrong = None;
        if let Some(found) = records.link_type().filter(|&found| found != ETHERNET) {
            return Err(ReplayError::At { offset: 0, reason: Wrong::LinkType { found } });
        }
        while let Some(record) = records.next_record()? {
            if counts.frames.is_multiple_of(PROGRESS_FRAMES) {
                progress(Progress::Read(record.offset));
            }
            counts.frames += 1;
            let offset = record.offset;
            match trace.take(&record) {
                Ok((header, exact)) => counts.decoded(&header, exact),
                Err(reason) => {
                    counts.reject(&reason);
                    first_wrong.get_or_insert((offset, reason));
                }
            }
        }
        if trace.items.is_empty() {
            let (offset, reason) = first_wrong.map_or((0, Wrong::Empty), |(offset, first)| {
                (offset, Wrong::Foreign { frames: counts.frames, first: first.to_string() })
            });
            return Err(ReplayError::At { offset, reason });
        }
        trace.items.sort_by_key(|item| item.time);
        Ok(trace)
    }

    /// Takes a frame up: gives the TLP's header, and whether it's encoded to the same bytes, as far as they were captured.
    fn take(&mut self, record: &Record<'_>) -> Result<(Header, bool), NotTlp> {
        let time = self.time(record)?;
        if record.link_type != ETHERNET {
            return Err(NotTlp::LinkType(record.link_type));
        }
        let Frame { flow, tlp: captured } = Frame::decode(record.data)?;
        let prefixes = Prefixes::parse(captured)?;
        let header = Header::decode(captured.get(prefixes.wire_len()..).unwrap_or_default())?;
        let needs = prefixes.wire_len() + header.tlp_len();
        if captured.len() > needs {
            return Err(Malformed::TrailingBytes { needs, has: captured.len() }.into());
        }
        // What was cut is filled up with zeroes.
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(captured);
        self.bytes.resize(begin + needs, 0);
        self.cut += u64::from(captured.len() < needs);
        let again = self.bytes.get(begin..).and_then(|whole| Tlp::parse(whole).ok()?.to_vec().ok());
        let exact = again.is_some_and(|again| again.starts_with(captured));
        let next = self.flows.len() as FlowId;
        let flow = *self.numbers.entry(flow).or_insert_with(|| {
            self.flows.push(flow);
            next
        });
        self.items.push(Item { time, flow, header, offset: record.offset, begin, len: needs as u32 });
        Ok((header, exact))
    }

    /// A frame's time since the first frame.
    fn time(&mut self, record: &Record<'_>) -> Result<Time, NotTlp> {
        let time = record.time.ok_or(NotTlp::NoTime)?;
        let first = *self.first.get_or_insert(time);
        if time.abs_diff(first) > MAX_SPAN {
            return Err(NotTlp::Time);
        }
        self.steps_back += u64::from(time < self.last);
        self.last = time;
        // A span of 100 days fits. What is earlier than the first frame comes with it.
        Ok(Time::ps(time.saturating_sub(first) as u64))
    }

    /// The whole bytes of a TLP.
    pub(super) fn bytes(&self, item: &Item) -> &[u8] {
        self.bytes.get(item.begin..item.begin + item.len as usize).unwrap_or_default()
    }

    /// The way back.
    pub(super) fn reverse(&self, flow: FlowId) -> Option<FlowId> {
        let flow = self.flows.get(flow as usize)?;
        self.numbers.get(&flow.reverse()).copied()
    }

    /// Which requester is the device: the one whose memory requests ask for or bring the most bytes, from one address to one other; of
    /// equal ones, the one that comes first.
    pub(super) fn device(&self) -> Option<Device> {
        let mut bytes: BTreeMap<(FlowId, Bdf), (u64, usize)> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            if item.header.kind().is_memory() {
                let (sum, _) = bytes.entry((item.flow, item.header.requester())).or_insert((0, number));
                *sum += u64::from(item.header.length_dw()) * 4;
            }
        }
        let most = bytes.into_iter().max_by_key(|&(_, (sum, first))| (sum, std::cmp::Reverse(first)));
        most.map(|((flow, id), _)| Device { id, flow })
    }
}
