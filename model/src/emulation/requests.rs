//! The requests of a function that wait for software's completion.

use mlx5_twin_fw_cmds::twin_v1::Fault;
use mlx5_twin_sim::tlp::{Header, Kind, Status};

use super::handover::Delivered;

/// Bits of a request's id that are its place in the table; the others count how often the place was used.
const PLACE_BITS: u32 = 12;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;

/// An open request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The request itself.
    pub(super) header: Header,
    /// What a configuration write wants to write.
    pub(super) value: u32,
    /// Dwords that have been answered.
    pub(super) from_dw: u32,
    /// The channel that was given it; `None` while it waits for another one.
    pub(super) holder: Option<u32>,
    /// The number of its message in that channel.
    pub(super) number: u32,
    /// The message itself.
    pub(super) message: Option<Delivered>,
    /// How many requests were opened before it.
    order: u64,
    id: u32,
}

impl Request {
    /// Byte Count and Lower Address that the next completion must have.
    pub(super) fn expected(&self) -> (u32, u8) {
        self.header.completion_remaining(self.from_dw)
    }

    /// Whether a completion continues the request: its status, Byte Count and Lower Address, and how much data it has.
    pub(super) fn continues(&self, completion: &Header) -> bool {
        let asked = self.header.completion_length_dw();
        match completion.status() {
            Status::Successful => {}
            // Only a configuration request can be put off (base spec 2.3.1), and a deferrable write.
            Status::ConfigRequestRetry
                if !self.header.kind().is_config() && !matches!(self.header.kind(), Kind::DMWr32 | Kind::DMWr64) =>
            {
                return false;
            }
            Status::Reserved(_) => return false,
            _ => return !completion.has_data(),
        }
        if asked == 0 {
            return !completion.has_data();
        }
        let dwords = if completion.has_data() { completion.length_dw() } else { 0 };
        let (count, lower) = self.expected();
        // A part that isn't the last ends on a boundary of 128 bytes: the Read Completion Boundary of all but root complexes.
        let end = self.from_dw + dwords;
        let cut_well = end == asked || (self.header.address() / 4 + u64::from(end)).is_multiple_of(32);
        dwords > 0
            && end <= asked
            && cut_well
            && completion.byte_count() == count
            && completion.lower_address() == lower
    }
}

/// Whether it's a locked read, or the completion of one.
fn is_locked(kind: Kind) -> bool {
    matches!(kind, Kind::MRdLk32 | Kind::MRdLk64 | Kind::CplLk | Kind::CplDLk)
}

/// Whether a completion with this fault is sent nevertheless, on a channel that isn't checked.
pub(super) fn is_sent_unchecked(fault: Fault) -> bool {
    matches!(fault, Fault::Request | Fault::Transaction | Fault::ByteCount | Fault::AfterReset)
}

/// The table of open requests.
#[derive(Debug)]
pub(super) struct Requests {
    open: Vec<Option<Request>>,
    uses: Vec<u32>,
    free: Vec<u32>,
    /// By place: the last request there that ended without software, and the fault of a completion that comes for it nevertheless.
    ended: Vec<Option<(u32, Fault)>>,
    /// Requests opened so far.
    opened: u64,
}

impl Requests {
    /// A table for `count` requests, 4,096 at most.
    pub(super) fn new(count: u32) -> Requests {
        let count = count.min(PLACE_MASK + 1);
        Requests {
            open: vec![None; count as usize],
            uses: vec![0; count as usize],
            free: (0..count).rev().collect(),
            ended: vec![None; count as usize],
            opened: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// How many of them a channel was given.
    pub(super) fn held_by(&self, channel: u32) -> usize {
        self.iter().filter(|request| request.holder == Some(channel)).count()
    }

    /// Enters a request that a channel is given: gives its id, which is never 0. The table isn't full.
    pub(super) fn open(&mut self, header: Header, value: u32, channel: u32) -> u32 {
        let Some(place) = self.free.pop() else { return 0 };
        let uses = &mut self.uses[place as usize];
        // 20 bits of count, without 0.
        *uses = *uses % ((1 << (32 - PLACE_BITS)) - 1) + 1;
        let id = *uses << PLACE_BITS | place;
        let (holder, order) = (Some(channel), self.opened);
        self.opened += 1;
        self.open[place as usize] =
            Some(Request { header, value, from_dw: 0, holder, number: 0, message: None, order, id });
        id
    }

    /// The open request with this id.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Request> {
        self.open.get_mut((id & PLACE_MASK) as usize)?.as_mut().filter(|request| request.id == id)
    }

    /// Holds a completion of a channel against the request that it names.
    pub(super) fn judge(&mut self, channel: u32, id: u32, completion: &Header) -> Result<(), Fault> {
        let not_open = self.fault(id);
        let request = self.get_mut(id).filter(|request| request.holder == Some(channel)).ok_or(not_open)?;
        let asked = &request.header;
        if completion.tag() != asked.tag() || completion.requester() != asked.requester() {
            return Err(Fault::Transaction);
        }
        if is_locked(completion.kind()) != is_locked(asked.kind()) {
            return Err(Fault::Header);
        }
        if request.continues(completion) { Ok(()) } else { Err(Fault::ByteCount) }
    }

    /// Whether of the open requests that its channel was given this one came first.
    pub(super) fn is_oldest(&self, id: u32) -> bool {
        let Some(this) = self.iter().find(|request| request.id == id) else { return false };
        self.iter().all(|other| other.holder != this.holder || other.order >= this.order)
    }

    /// Takes the open requests from a channel: gives the number of each one's message, and its id.
    pub(super) fn orphan(&mut self, channel: u32) -> impl Iterator<Item = (u32, u32)> {
        let held = self.open.iter_mut().flatten().filter(move |request| request.holder == Some(channel));
        held.map(|request| {
            request.holder = None;
            (request.number, request.id)
        })
    }

    /// Ends a request.
    pub(super) fn close(&mut self, id: u32) {
        let place = id & PLACE_MASK;
        if self.get_mut(id).is_some() {
            self.open[place as usize] = None;
            self.free.push(place);
        }
    }

    /// Ends all requests silently: completions that come for them are refused by `fault`. Their places are the last to be used again, so that
    /// the fault is remembered for long.
    pub(super) fn end_all(&mut self, fault: Fault) {
        let mut places = Vec::new();
        for (place, ended) in self.ended.iter_mut().enumerate() {
            if let Some(request) = self.open[place].take() {
                *ended = Some((request.id, fault));
                places.push(place as u32);
            }
        }
        self.free.splice(0..0, places);
    }

    /// By which fault a completion of the request `id` is refused, which isn't open.
    pub(super) fn fault(&self, id: u32) -> Fault {
        let ended = self.ended.get((id & PLACE_MASK) as usize).copied().flatten();
        ended.filter(|(last, _)| *last == id).map_or(Fault::Request, |(_, fault)| fault)
    }

    /// The number of the oldest open request, of those that were opened as number `from` or later.
    pub(super) fn oldest(&self, from: u64) -> Option<u64> {
        if self.free.len() == self.open.len() {
            return None;
        }
        self.iter().map(|request| request.order).filter(|&order| order >= from).min()
    }

    /// All open requests, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.open.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use mlx5_twin_sim::tlp::{Attr, Bdf};

    use super::*;

    const HOST: Bdf = Bdf(0);
    const SELF: Bdf = Bdf(0x300);

    #[test]
    fn an_id_is_used_once() {
        let header = Header::mem_read_bytes(HOST, 1, 0x1000, 4).unwrap();
        let mut requests = Requests::new(1);
        let first = requests.open(header, 0, 1);
        assert!(requests.is_full());
        requests.close(first);
        let second = requests.open(header, 0, 1);
        assert_ne!(first, second);
        assert!(requests.get_mut(first).is_none());
        requests.close(first);
        assert_eq!(requests.held_by(1), 1);
        assert!(requests.get_mut(second).is_some());
        assert_eq!((requests.oldest(0), requests.oldest(1), requests.oldest(2)), (Some(1), Some(1), None));
        requests.close(second);
        assert_eq!(requests.oldest(0), None);
    }

    #[test]
    fn a_request_that_was_ended_is_remembered() {
        let header = Header::mem_read_bytes(HOST, 1, 0x1000, 4).unwrap();
        let mut requests = Requests::new(2);
        let [kept, ended] = [requests.open(header, 0, 1), requests.open(header, 0, 1)];
        requests.close(kept);
        requests.end_all(Fault::LinkDown);
        assert_eq!(requests.iter().count(), 0);
        assert_eq!((requests.fault(ended), requests.fault(kept)), (Fault::LinkDown, Fault::Request));
        let again = [requests.open(header, 0, 1), requests.open(header, 0, 1)];
        assert!(requests.is_full());
        assert_eq!(requests.fault(ended), Fault::LinkDown, "as long as nothing else ends there");
        requests.end_all(Fault::AfterReset);
        assert_eq!(again.map(|id| requests.fault(id)), [Fault::AfterReset; 2]);
        assert_eq!(requests.fault(ended), Fault::Request);
        assert_eq!(requests.fault(u32::MAX), Fault::Request);
    }

    #[test]
    fn a_request_that_was_ended_is_nobodys() {
        let header = Header::mem_read_bytes(HOST, 1, 0x1000, 4).unwrap();
        let completion = Header::completion(SELF, HOST, 1, Status::Successful, 4, 0, 1, 0, Attr::NONE).unwrap();
        let mut requests = Requests::new(4);
        let [held, orphaned] = [1, 2].map(|channel| requests.open(header, 0, channel));
        assert_eq!(requests.orphan(2).count(), 1);
        // It's open, but not this channel's.
        assert_eq!(requests.judge(2, held, &completion), Err(Fault::Request));
        requests.end_all(Fault::AfterReset);
        for (channel, id) in [(1, held), (2, orphaned)] {
            assert_eq!(requests.judge(channel, id, &completion), Err(Fault::AfterReset));
        }
        assert_eq!((requests.orphan(1).count(), requests.held_by(1)), (0, 0));
        assert!(requests.get_mut(orphaned).is_none(), "nothing is left to be delivered again");
    }

    #[test]
    fn each_channel_has_an_oldest_request_of_its_own() {
        let header = Header::mem_read_bytes(HOST, 1, 0x1000, 4).unwrap();
        let mut requests = Requests::new(8);
        let ids = [1, 2, 1, 2].map(|channel| requests.open(header, 0, channel));
        assert_eq!(ids.map(|id| requests.is_oldest(id)), [true, true, false, false]);
        requests.close(ids[0]);
        assert_eq!(ids.map(|id| requests.is_oldest(id)), [false, true, true, false]);
        // A place that is used again holds a younger request.
        let again = requests.open(header, 0, 1);
        assert!(!requests.is_oldest(again));
        assert_eq!(requests.orphan(2).map(|(_, id)| id).collect::<Vec<_>>(), [ids[1], ids[3]]);
        assert_eq!((requests.held_by(1), requests.held_by(2)), (2, 0));
    }

    #[test]
    fn a_completion_must_continue_its_request() {
        let header = Header::mem_read_bytes(HOST, 1, 0x1002, 200).unwrap();
        let mut requests = Requests::new(4);
        let id = requests.open(header, 0, 1);
        let request = requests.get_mut(id).unwrap();
        let completion = |count, lower, dwords, status| {
            Header::completion(SELF, HOST, 1, status, count, lower, dwords, 0, Attr::NONE).unwrap()
        };
        let ok = Status::Successful;
        assert!(request.continues(&completion(200, 2, 51, ok)));
        assert!(request.continues(&completion(200, 2, 32, ok)), "ends at 0x1080");
        assert!(!request.continues(&completion(200, 2, 16, ok)), "ends at 0x1040");
        assert!(!request.continues(&completion(198, 2, 32, ok)), "wrong byte count");
        assert!(!request.continues(&completion(200, 0, 16, ok)), "wrong lower address");
        assert!(request.continues(&completion(4, 0, 0, Status::CompleterAbort)));
        request.from_dw = 32;
        assert_eq!(request.expected(), (74, 0));
        assert!(request.continues(&completion(74, 0, 19, ok)));
        assert!(!request.continues(&completion(200, 2, 32, ok)), "the first part again");
    }
}
